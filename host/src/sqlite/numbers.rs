//! The numbers of a look: the series that are learnt and compared. Pure.

use std::collections::BTreeSet;

use crate::source::{Sample, float};
use crate::sqlite_state::{Lock, LockHolder, SqliteState, rollback};

/// The numbers of a look. `elapsed_ms` is the time since `previous`. Series whose value is not
/// known are left out; every value is finite.
pub fn samples(
    state: &SqliteState,
    previous: Option<&SqliteState>,
    elapsed_ms: u64,
) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(8);
    let mut add = |series: &str, value: f64| {
        samples.push(Sample {
            series: series.to_owned(),
            value,
        });
    };
    if let Some(bytes) = state.database_bytes {
        // What is committed counts, wherever it stands: a database whose file grows at each checkpoint alone
        // does not grow by leaps.
        let committed = state.wal_index.as_ref().map(|index| index.database_bytes);
        let bytes = committed.filter(|bytes| *bytes > 0).unwrap_or(bytes);
        add("database_bytes", float(bytes));
    }
    add(
        "wal_bytes",
        float(state.wal.as_ref().map_or(0, |wal| wal.bytes)),
    );
    if let Some(index) = &state.wal_index {
        let backlog = index.max_frame.saturating_sub(index.backfilled);
        add("wal_frames", f64::from(index.max_frame));
        add("wal_backlog_frames", f64::from(backlog));
    }
    if let Some(commits) = commits_since(state, previous)
        && elapsed_ms > 0
    {
        add(
            "commits_per_s",
            f64::from(commits) * 1000.0 / float(elapsed_ms),
        );
    }
    if let Some(pages) = pages_of_a_transaction(state, previous) {
        add("transaction_pages", pages);
    }
    let uses_log = rollback::uses_log(state);
    let reads = |holder: &&LockHolder| match holder.lock {
        Lock::WalRead(_) => !holder.exclusive,
        Lock::Shared => !uses_log && !holder.exclusive,
        _ => false,
    };
    let readers = state.locks.iter().filter(reads);
    add("readers", float(readers.count() as u64));
    let at_work = |holder: &&LockHolder| {
        reads(holder) || holder.lock == Lock::WalWrite || rollback::is_write_lock(holder)
    };
    let at_work: BTreeSet<u32> = state
        .locks
        .iter()
        .filter(at_work)
        .map(|holder| holder.process.pid)
        .collect();
    let others = |state: &SqliteState| state.standing.as_ref().map(|seen| seen.others.clone());
    let before = previous.and_then(others).unwrap_or_default();
    let waiting = others(state).map_or(0, |now| rollback::waiting(&now, &before, elapsed_ms));
    add(
        "concurrent_transaction_count",
        float((at_work.len() as u64).saturating_add(waiting)),
    );
    add("waiting_process_count", float(waiting));
    if let Some(count) = corruption_count(state) {
        add("corruption_count", float(count));
    }
    samples
}

/// Transactions since the previous look, by the counter of the wal-index, or in rollback mode by that
/// in the file's header. None when it is missing in one of them, was begun anew in between, so that it
/// seems to run backwards, or does not count: a program that has the database for itself counts only
/// its first transaction.
fn commits_since(state: &SqliteState, previous: Option<&SqliteState>) -> Option<u32> {
    let previous = previous?;
    let (before, now) = if rollback::uses_log(state) {
        let count = |state: &SqliteState| Some(state.wal_index.as_ref()?.change_counter);
        (count(previous)?, count(state)?)
    } else {
        let (then, file) = (previous.set.file?, state.set.file?);
        let is_counted = then.is(&file)
            && !rollback::uses_log(previous)
            && [previous, state]
                .iter()
                .all(|state| rollback::for_itself(state).is_none());
        let count = |state: &SqliteState| Some(state.set.header?.change_counter);
        is_counted.then_some((count(previous)?, count(state)?))?
    };
    Some(now.wrapping_sub(before)).filter(|&commits| commits <= u32::MAX / 2)
}

/// Pages that a transaction wrote in the mean since the previous look, by the frames that were added to
/// the log. None without a commit, and when the log was begun anew in between.
fn pages_of_a_transaction(state: &SqliteState, previous: Option<&SqliteState>) -> Option<f64> {
    let (before, now) = (previous?.wal_index.as_ref()?, state.wal_index.as_ref()?);
    let commits = now.change_counter.wrapping_sub(before.change_counter);
    let is_counted = before.salts == now.salts && (1..=u32::MAX / 2).contains(&commits);
    let frames = now.max_frame.checked_sub(before.max_frame)?;
    is_counted.then(|| f64::from(frames) / f64::from(commits))
}

/// What was found damaged; none when nothing was checked in this look.
fn corruption_count(state: &SqliteState) -> Option<u64> {
    let checked = state
        .integrity
        .as_ref()
        .filter(|integrity| integrity.error.is_none())
        .map(|integrity| integrity.faults.len() as u64);
    let scanned = state
        .wal
        .as_ref()
        .filter(|wal| wal.scanned)
        .map(|wal| u64::from(wal.first_bad_frame.is_some()));
    (checked.is_some() || scanned.is_some()).then(|| checked.unwrap_or(0) + scanned.unwrap_or(0))
}

#[cfg(test)]
mod tests;
