//! Who holds a lock, since when, and what that keeps from going on.

use std::collections::BTreeMap;

use super::{
    AUTOCHECKPOINT_FRAMES, DiagnoseOptions, Diagnosis, Look, NO_LOSS, backlog_frames, boolean,
    integer, text,
};
use crate::model::{Candidate, CascadeLevel, Fact, Precondition};
use crate::target::sqlite::{Lock, LockHolder, Process, SqliteState, WalIndexState};

/// Clock ticks a second in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux architecture in use.
const TICKS_PER_S: u64 = 100;

/// A lock that was seen in the same hands, without progress, in every look since.
#[derive(Debug, Clone, Copy)]
struct Hold {
    since_ms: u64,
    /// What must not move while it counts as one hold: the count of commits for the write lock,
    /// the read mark for a reader.
    progress: u32,
    cpu_ticks: u64,
}

/// The holds under watch, by lock and process.
#[derive(Debug, Clone, Default)]
pub(super) struct Holds {
    held: BTreeMap<(Lock, u32, u64), Hold>,
}

impl Holds {
    /// Takes over the locks of this look: a hold goes on only in the same hands and without progress.
    pub(super) fn follow(&mut self, at_ms: u64, state: &SqliteState) {
        let mut next = BTreeMap::new();
        for holder in &state.locks {
            let Some(progress) = progress_of(holder, state.wal_index.as_ref()) else {
                continue;
            };
            let process = &holder.process;
            let key = (holder.lock, process.pid, process.start_ticks);
            let hold = self
                .held
                .get(&key)
                .filter(|hold| hold.progress == progress)
                .copied()
                .unwrap_or(Hold {
                    since_ms: at_ms,
                    progress,
                    cpu_ticks: process.cpu_ticks,
                });
            next.insert(key, hold);
        }
        self.held = next;
    }

    fn hold_of(&self, holder: &LockHolder) -> Option<Hold> {
        self.held
            .get(&(holder.lock, holder.process.pid, holder.process.start_ticks))
            .copied()
    }

    /// A process that holds the write lock and commits nothing.
    pub(super) fn stale_lock(&self, look: &Look<'_>) -> Option<Diagnosis> {
        let holder = look
            .state
            .locks
            .iter()
            .find(|h| h.lock == Lock::WalWrite && h.exclusive)?;
        let hold = self.hold_of(holder)?;
        let age_ms = look.seen.at_ms.saturating_sub(hold.since_ms);
        if age_ms < look.options.lock_hold_ms {
            return None;
        }
        let process = &holder.process;
        let concurrent = look
            .state
            .locks
            .iter()
            .filter(|h| matches!(h.lock, Lock::WalCheckpoint | Lock::WalRecover) && h.exclusive)
            .count();
        let mut facts = holder_facts("holder", process, look.options);
        facts.extend([
            integer("age_ms", age_ms),
            integer("holder_cpu_ms", cpu_ms_since(process, &hold)),
            integer("commits_during_hold", 0),
            integer("concurrent_operations", concurrent as u64),
        ]);
        facts.extend(look.snapshot_facts());
        Some(Diagnosis {
            kind: "lock.stale-holder".into(),
            subject: "write lock".into(),
            summary: format!(
                "process {} ({}) holds the write lock for {:.1} s and commits nothing",
                process.pid,
                process.name,
                seconds(age_ms)
            ),
            severity: 0.4,
            facts,
            series: &["commits_per_s"],
            candidates: vec![Candidate {
                id: "lock.end-holder".into(),
                summary: format!(
                    "end process {} ({}), which holds the lock",
                    process.pid, process.name
                ),
                level: CascadeLevel::InPlace,
                preconditions: vec![may_be_ended("holder-may-be-ended", process, look.options)],
                expected_duration_ms: 500,
                expected_loss: NO_LOSS,
                undoable: false,
            }],
        })
    }

    /// A reader that never ends, so that the log cannot be checkpointed past it.
    pub(super) fn starved_checkpoint(&self, look: &Look<'_>) -> Option<Diagnosis> {
        let index = look.state.wal_index.as_ref()?;
        let backlog = backlog_frames(index);
        if backlog < AUTOCHECKPOINT_FRAMES {
            return None;
        }
        let (reader, hold) = look
            .state
            .locks
            .iter()
            .filter(|h| pins_log(h, index))
            .filter_map(|h| Some((h, self.hold_of(h)?)))
            .min_by_key(|(_, hold)| hold.since_ms)?;
        let age_ms = look.seen.at_ms.saturating_sub(hold.since_ms);
        if age_ms < look.options.reader_hold_ms {
            return None;
        }
        let process = &reader.process;
        let mut facts = look.log_facts(backlog);
        facts.extend(holder_facts("reader", process, look.options));
        facts.push(integer("reader_age_ms", age_ms));
        Some(Diagnosis {
            kind: "wal.checkpoint-starved".into(),
            subject: "write-ahead log".into(),
            summary: format!(
                "process {} ({}) reads for {:.1} s and keeps {backlog} frames from being checkpointed",
                process.pid,
                process.name,
                seconds(age_ms)
            ),
            severity: 0.5,
            facts,
            series: &["wal_bytes", "wal_backlog_frames", "wal_frames"],
            candidates: vec![Candidate {
                id: "wal.release-reader".into(),
                summary: format!(
                    "end process {} ({}), then checkpoint and truncate the log",
                    process.pid, process.name
                ),
                level: CascadeLevel::InPlace,
                preconditions: vec![may_be_ended("reader-may-be-ended", process, look.options)],
                expected_duration_ms: 1000,
                expected_loss: NO_LOSS,
                undoable: false,
            }],
        })
    }
}

/// What must stand still while a lock counts as one hold; none when the lock is not followed.
fn progress_of(holder: &LockHolder, index: Option<&WalIndexState>) -> Option<u32> {
    let index = index?;
    match holder.lock {
        Lock::WalWrite if holder.exclusive => Some(index.change_counter),
        Lock::WalRead(slot) => index.read_marks.get(usize::from(slot)).copied(),
        _ => None,
    }
}

/// Whether a reader keeps the checkpointer from the end of the log. Read mark 0 reads the
/// database alone, and so keeps every frame out of it.
pub(super) fn pins_log(holder: &LockHolder, index: &WalIndexState) -> bool {
    match holder.lock {
        Lock::WalRead(slot) => index
            .read_marks
            .get(usize::from(slot))
            .is_some_and(|&mark| mark < index.max_frame),
        _ => false,
    }
}

fn cpu_ms_since(process: &Process, hold: &Hold) -> u64 {
    process.cpu_ticks.saturating_sub(hold.cpu_ticks) * 1000 / TICKS_PER_S
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds for display stay far below 2^52"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn may_end(process: &Process, options: &DiagnoseOptions) -> bool {
    options.may_end.contains(&process.name)
}

fn may_be_ended(name: &str, process: &Process, options: &DiagnoseOptions) -> Precondition {
    let holds = may_end(process, options);
    let detail = if holds {
        format!("`{}` stands in may_end", process.name)
    } else {
        format!("`{}` does not stand in the target's may_end", process.name)
    };
    Precondition {
        name: name.into(),
        holds,
        detail,
    }
}

/// The facts of a process, each name with the given prefix.
fn holder_facts(prefix: &str, process: &Process, options: &DiagnoseOptions) -> Vec<Fact> {
    vec![
        integer(&format!("{prefix}_pid"), u64::from(process.pid)),
        text(&format!("{prefix}_name"), &process.name),
        integer(&format!("{prefix}_start_ticks"), process.start_ticks),
        boolean(&format!("{prefix}_may_be_ended"), may_end(process, options)),
    ]
}
