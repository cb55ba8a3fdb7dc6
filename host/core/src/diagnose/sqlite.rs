//! What ails a SQLite database, told from a look at its files and locks.
//!
//! Pure. What cannot be known for sure (a lock seen twice may have been let go in between) is not
//! claimed: see [`holds`].

mod belonging;
mod files;
mod holds;
mod log;
mod pages;
mod rules;
mod virtuals;

use std::collections::BTreeSet;

use super::{DiagnoseOptions, Diagnosis, Findings, Part, boolean, integer, number, text};
use crate::constraint::CheckedConstraint;
use crate::model::{DataLoss, Fact};
use crate::source::Observation;
use crate::sqlite_state::{Mode, SqliteState, WalIndexState, set};
use belonging::Belonging;
use files::FileMemory;
use holds::Holds;
pub(super) use holds::LONG_HOLD_MS;
use pages::Comparisons;

/// Frames behind the last checkpoint from which on SQLite itself wants to checkpoint
/// (`SQLITE_DEFAULT_WAL_AUTOCHECKPOINT`); a reader that keeps more than that waiting starves it.
const AUTOCHECKPOINT_FRAMES: u64 = 1000;

/// The series of the log's size, which has a kind of problem of its own.
pub(super) const LOG_BYTES: &str = "wal_bytes";

const NO_LOSS: DataLoss = DataLoss::NONE;

/// What is remembered from look to look.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    holds: Holds,
    files: FileMemory,
    belonging: Belonging,
    /// Whether the last scan found the log damaged: a checkpoint would then drop what follows.
    log_damaged: bool,
    comparisons: Comparisons,
}

impl Memory {
    /// Diagnoses one look.
    pub(super) fn diagnose(
        &mut self,
        seen: &Observation,
        state: &SqliteState,
        constraints: &[CheckedConstraint],
        options: &DiagnoseOptions,
    ) -> Findings {
        let look = Look {
            seen,
            state,
            options,
        };
        // What cannot be judged is said, and nothing else.
        if let Some(why) = self.files.unjudgeable(state) {
            return Findings {
                problems: vec![files::not_judgeable(why)],
                examined: BTreeSet::from([Part::Reach, Part::Files]),
            };
        }
        let files = self.files.problems(&look);
        let mut problems = files.problems;
        let mut examined = BTreeSet::from([Part::Reach, Part::Locks]);
        if !files.is_pending {
            examined.insert(Part::Files);
        }
        if state.set.hidden_uses.is_some() {
            examined.insert(Part::Descriptors);
        }
        self.holds.follow(seen.at_ms, state, options);
        match &state.wal {
            Some(wal) if wal.scanned => self.log_damaged = wal.first_bad_frame.is_some(),
            Some(_) => {}
            None => self.log_damaged = false,
        }
        problems.extend(self.holds.held_write_lock(&look));
        problems.extend(self.holds.hindering_reader(&look));
        let starved = self.holds.starved_checkpoint(&look);
        let held_back = starved.is_some() || self.log_damaged || look.is_pinned();
        // A log beside an emptied file is all that is left of it: nothing of it is to be moved.
        let held_back = held_back || set::is_emptied(state);
        let oversized = look.oversized_log(constraints).filter(|_| !held_back);
        problems.extend(starved.or(oversized));
        if let Some(wal) = &state.wal {
            if wal.scanned {
                examined.insert(Part::LogFrames);
                problems.extend(look.corrupt_log(wal));
            }
        } else {
            examined.insert(Part::LogFrames);
        }
        examined.insert(Part::Belonging);
        let beside = self.belonging.problem(&look);
        if let Some(integrity) = &state.integrity {
            // A quick check does not compare indexes with tables: its silence says nothing of them.
            // That of a part says nothing at all of what was damaged before, and neither does that
            // of a check that was cut off; what it found until then counts.
            match integrity.mode {
                _ if integrity.error.is_some() => {}
                Mode::Full => {
                    examined.extend([Part::Pages, Part::Indexes]);
                    if integrity.rules_checked {
                        examined.insert(Part::Rules);
                    }
                }
                Mode::Quick => {
                    examined.insert(Part::Pages);
                }
                // Rows and entries were compared both ways, but for those that are named.
                Mode::Sliced if integrity.unjudged.is_empty() => {
                    examined.insert(Part::Indexes);
                }
                Mode::Sampled { .. } | Mode::Incremental | Mode::Sliced => {}
            }
            self.comparisons.follow(integrity);
            // A mixture of two databases says nothing of either.
            if !self.belonging.is_foreign() {
                problems.extend(rules::problems(integrity));
                problems.extend(look.page_problems(integrity, &self.comparisons));
            }
        }
        // No repair opens files that must not be opened. The one that moves a log out of the way opens
        // nothing.
        if set::objection(state).is_some()
            || self.files.has_hidden_use()
            || self.belonging.is_foreign()
        {
            for problem in &mut problems {
                problem.candidates.clear();
            }
        }
        if let Some(doubt) = self.belonging.doubt() {
            let candidates = problems.iter_mut().flat_map(|p| &mut p.candidates);
            candidates.for_each(|candidate| candidate.preconditions.push(doubt.clone()));
        }
        problems.extend(beside);
        Findings { problems, examined }
    }
}

fn backlog_frames(index: &WalIndexState) -> u64 {
    u64::from(index.max_frame.saturating_sub(index.backfilled))
}

/// One look with what is needed to read it.
struct Look<'a> {
    seen: &'a Observation,
    state: &'a SqliteState,
    options: &'a DiagnoseOptions,
}

impl Look<'_> {
    /// Whether some reader keeps the log from being checkpointed to its end, for however short: dbmedic
    /// itself while it takes a snapshot, too.
    fn is_pinned(&self) -> bool {
        let others = self.state.locks.iter().map(|holder| holder.lock);
        let mut held = others.chain(self.state.own_read_locks.iter().copied());
        let index = self.state.wal_index.as_ref();
        index.is_some_and(|index| held.any(|lock| index.is_pinned_by(lock)))
    }

    fn snapshot_facts(&self) -> Vec<Fact> {
        let age = self
            .seen
            .snapshot_at_ms
            .map(|at| self.seen.at_ms.saturating_sub(at));
        let recent = age.is_some_and(|age| age <= self.options.snapshot_recent_ms);
        let mut facts = vec![boolean("has_recent_snapshot", recent)];
        facts.extend(age.map(|age| integer("snapshot_age_ms", age)));
        facts
    }

    fn log_facts(&self, backlog: u64) -> Vec<Fact> {
        let bytes = self.state.wal.as_ref().map_or(0, |wal| wal.bytes);
        let mut facts = vec![
            integer("wal_bytes", bytes),
            integer("backlog_frames", backlog),
        ];
        let index = self.state.wal_index.as_ref();
        let own = |index: &WalIndexState| {
            let mut own = self.state.own_read_locks.iter();
            own.any(|lock| index.is_pinned_by(*lock))
        };
        if index.is_some_and(own) {
            facts.push(boolean("dbmedic_reads", true));
        }
        facts
    }
}

fn first_of(messages: &[&str]) -> String {
    match messages {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of transactions stay far below 2^52"
)]
fn share_percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests;
