//! Whether a process still stands in the way, asked again right before it is acted on.

use super::end_process::Culprit;
use super::{Scene, fact};
use crate::model::{Finding, Value};
use crate::repair::RepairError;
use crate::sqlite_state::rollback::{self, LEAST_SAMPLES};
use crate::sqlite_state::{Activity, Lock, LockHolder, Probe, Process, RunState, SqliteState};

/// The precondition that fails once the process has let go.
pub(super) const STILL_HOLDS: &str = "still-holds";

/// By which lock a holder is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldLock {
    /// The write lock of the log's index.
    WalWrite,
    /// RESERVED, PENDING or EXCLUSIVE of rollback mode.
    Write,
    /// SHARED of rollback mode, while a writer waits for it to leave.
    Read,
}

impl HeldLock {
    /// The lock that a finding speaks of. Findings of older versions know the log's only.
    pub(super) fn of(finding: &Finding) -> Self {
        match fact(finding, "holder_lock") {
            Some(Value::Text(name)) => match name.as_str() {
                "reserved" | "pending" | "exclusive" => Self::Write,
                "shared" => Self::Read,
                _ => Self::WalWrite,
            },
            _ => Self::WalWrite,
        }
    }

    /// Whether it is this one.
    pub(super) fn is(self, held: &LockHolder) -> bool {
        match self {
            Self::WalWrite => held.lock == Lock::WalWrite,
            Self::Write => rollback::is_write_lock(held),
            Self::Read => held.lock == Lock::Shared && !held.exclusive,
        }
    }

    /// What a process must not do meanwhile, in one count.
    pub(super) fn change_counter(self, state: &SqliteState) -> Option<u32> {
        if self == Self::WalWrite {
            return state.wal_index.as_ref().map(|index| index.change_counter);
        }
        Some(state.set.header.map_or(0, |header| header.change_counter))
    }

    /// Why nobody is to be ended for it just now; none when it is in the way.
    pub(super) fn objection(self, culprit: &Culprit, state: &SqliteState) -> Option<RepairError> {
        let pid = culprit.pid;
        let unmet = |name, detail| Some(RepairError::Unmet { name, detail });
        match self {
            Self::WalWrite => None,
            Self::Write => {
                let is_culprit = |process: &Process| {
                    (process.pid, process.start_ticks) == (pid, culprit.start_ticks)
                };
                if rollback::is_in_transaction(state, is_culprit) {
                    return None;
                }
                unmet(
                    "is-a-transaction",
                    format!(
                        "process {pid} may keep the database for itself on purpose (locking_mode=EXCLUSIVE): nothing proves a transaction"
                    ),
                )
            }
            Self::Read => {
                let waits = rollback::waits_for_readers(&state.locks);
                let waits = waits.filter(|waits| {
                    !culprit.holds(waits) && rollback::confirmed(&state.probes, waits).is_some()
                });
                if waits.is_some() {
                    return None;
                }
                unmet(
                    "a-writer-waits",
                    format!("no writer waits for process {pid} just now"),
                )
            }
        }
    }
}

/// A lock that a process was found to hold in every sample of a probe.
pub(super) struct Standing {
    /// What the same observation showed beside it.
    pub(super) state: SqliteState,
    /// What the process had done by then.
    pub(super) activity: Activity,
    /// Whether it ran while the lock was probed.
    pub(super) ran: bool,
}

/// Probes the lock that a process holds. `which` says which of its locks is meant.
///
/// # Errors
/// [`RepairError::Unmet`] when it holds none, lets go of it, is at work, or cannot be seen.
pub(super) fn standing(
    scene: &mut Scene,
    culprit: &Culprit,
    which: &dyn Fn(&LockHolder, &SqliteState) -> bool,
) -> Result<Standing, RepairError> {
    let state = scene.look(false)?;
    let unmet = |name: &'static str, detail: String| RepairError::Unmet { name, detail };
    let pid = culprit.pid;
    let held: Vec<Lock> = state
        .locks
        .iter()
        .filter(|held| culprit.holds(held) && which(held, &state))
        .map(|held| held.lock)
        .collect();
    if held.is_empty() {
        let detail = format!("process {pid} does not hold it any more");
        return Err(unmet(STILL_HOLDS, detail));
    }
    let of_culprit = |probe: &&Probe| {
        (probe.pid, probe.start_ticks) == (pid, culprit.start_ticks) && held.contains(&probe.lock)
    };
    let Some(probe) = state.probes.iter().find(of_culprit) else {
        let detail = format!("something was committed meanwhile: process {pid} is at work");
        return Err(unmet("makes-no-progress", detail));
    };
    if probe.held < probe.samples || probe.samples < LEAST_SAMPLES {
        let detail = format!(
            "process {pid} held it in {} of {} samples",
            probe.held, probe.samples
        );
        return Err(unmet("held-throughout", detail));
    }
    let Some(activity) = probe.activity else {
        let detail = format!("what process {pid} does cannot be seen");
        return Err(unmet("is-at-rest", detail));
    };
    if !matches!(activity.state, RunState::Sleeping | RunState::Stopped) {
        let detail = match activity.state {
            RunState::Traced => format!("process {pid} is stopped by a debugger"),
            RunState::Frozen => format!("process {pid} is paused: its control group is frozen"),
            _ => format!("process {pid} is at work"),
        };
        return Err(unmet("is-at-rest", detail));
    }
    if activity.is_at_work() {
        let detail = format!("process {pid} waits for a process that it started, which is at work");
        return Err(unmet("is-at-rest", detail));
    }
    let ran = probe.ran;
    Ok(Standing {
        state,
        activity,
        ran,
    })
}
