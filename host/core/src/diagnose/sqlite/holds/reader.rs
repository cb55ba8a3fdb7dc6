//! Read locks that keep the log from being checkpointed.
//!
//! That a slot is held with the same read mark in two observations does not yet make it one
//! transaction: others may have taken the same slot since. What makes it one is how SQLite chooses
//! a slot (`walTryBeginRead` in <https://sqlite.org/src/file/src/wal.c>): it takes the largest mark
//! that is not behind the last commit, and moves a free slot's mark there when that one is too old.
//! So nobody begins to read
//!
//! - in slot 0 while there are frames that are not copied into the database;
//! - in another slot while a further slot has a larger mark that is not behind the last commit.
//!
//! Whoever holds a slot in two observations of the same log, with such a mark in both, has read all
//! the time: the process and, of its connections and threads, at least one.

use super::super::{AUTOCHECKPOINT_FRAMES, Diagnosis, Look, NO_LOSS, backlog_frames, integer};
use super::{
    Conduct, Holds, confirmed, holder_facts, is_candidate, is_outside, key, may_be_ended, named,
    resume, seconds, standstill,
};
use crate::model::{Candidate, CascadeLevel, Precondition};
use crate::sqlite_state::{Lock, LockHolder, SqliteState, WalIndexState, on_purpose};

/// How long a program that holds the log on purpose must hold it until that is reported: longer
/// than any of them does while it is well (Litestream checkpoints at least once a minute).
const ON_PURPOSE_HOLD_MS: u64 = 300_000;

/// A process that held the log back twice within this time does so again and again.
const HABIT_MS: u64 = 60_000;

/// What must stay as it is while a read lock counts as one hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pin {
    salts: (u32, u32),
    mark: u32,
    /// For slot 0: frames that were copied. While it is held there can be no more.
    backfilled: Option<u32>,
}

impl Pin {
    /// What the lock pins; none when it keeps nothing from being checkpointed.
    fn of(lock: Lock, index: &WalIndexState) -> Option<Self> {
        let mark = index.read_mark(lock)?;
        index.is_pinned_by(lock).then_some(Self {
            salts: index.salts,
            mark,
            backfilled: (lock == Lock::WalRead(0)).then_some(index.backfilled),
        })
    }
}

/// Whether a transaction that begins now could not come to hold this lock.
fn is_closed_to_newcomers(lock: Lock, index: &WalIndexState) -> bool {
    let Lock::WalRead(slot) = lock else {
        return false;
    };
    let Some(mark) = index.read_mark(lock) else {
        return false;
    };
    slot == 0
        || (1..index.read_marks.len()).any(|other| {
            let larger = index.read_marks[other];
            other != usize::from(slot) && mark < larger && larger <= index.max_frame
        })
}

/// A read lock that keeps frames from being checkpointed.
#[derive(Debug, Clone)]
pub(super) struct ReadHold {
    pin: Pin,
    /// Whether no newcomer could take it at the last observation.
    closed: bool,
    /// The first observation in which it pinned the log.
    since_ms: u64,
    conduct: Conduct,
    reported: bool,
}

/// That a process holds the log back again and again.
#[derive(Debug, Clone)]
pub(super) struct Habit {
    name: String,
    times: u64,
    longest_ms: u64,
    last_ms: u64,
}

impl Holds {
    pub(super) fn follow_readers(&mut self, at_ms: u64, state: &SqliteState, gap: bool) {
        let mut before = std::mem::take(&mut self.readers);
        self.habits.retain(|process, habit| {
            at_ms.saturating_sub(habit.last_ms) <= HABIT_MS
                && state.locks.iter().any(|h| key(&h.process) == *process)
        });
        let Some(index) = &state.wal_index else {
            return;
        };
        for holder in &state.locks {
            let Some(pin) = Pin::of(holder.lock, index) else {
                continue;
            };
            let Some(probe) = confirmed(state, holder) else {
                continue;
            };
            let name = (holder.lock, key(&holder.process));
            let closed = is_closed_to_newcomers(holder.lock, index);
            let same = before.remove(&name).filter(|hold| hold.pin == pin);
            let reported = same.as_ref().is_some_and(|hold| hold.reported);
            let went_on = same.filter(|_| !gap).and_then(|mut hold| {
                let unmoved = hold.conduct.go_on(at_ms, probe);
                let proven = unmoved || hold.closed && closed;
                hold.closed = closed;
                proven.then_some(hold)
            });
            let hold = went_on.unwrap_or_else(|| ReadHold {
                pin,
                closed,
                since_ms: at_ms,
                conduct: Conduct::begin(at_ms, probe),
                reported: reported && gap,
            });
            self.readers.insert(name, hold);
        }
    }

    /// A reader that does not end, so that the log cannot be checkpointed past it.
    pub(in super::super) fn starved_checkpoint(&mut self, look: &Look<'_>) -> Option<Diagnosis> {
        let index = look.state.wal_index.as_ref()?;
        let at_ms = look.seen.at_ms;
        let pinned = |lock| {
            let end = index.pinned_at(lock)?;
            let frames = u64::from(index.max_frame.saturating_sub(end));
            (frames >= AUTOCHECKPOINT_FRAMES).then_some(frames)
        };
        // Whoever reads furthest back is in the way of all others too.
        let first = look
            .state
            .locks
            .iter()
            .filter_map(|holder| {
                let hold = self.readers.get(&(holder.lock, key(&holder.process)))?;
                let frames = pinned(holder.lock)?;
                Some((holder, hold.since_ms, frames))
            })
            .filter(|(holder, since_ms, _)| {
                let least_ms = match on_purpose::purpose(&holder.process.name) {
                    Some(_) => look.options.reader_hold_ms.max(ON_PURPOSE_HOLD_MS),
                    None => look.options.reader_hold_ms,
                };
                let hold = self.readers.get(&(holder.lock, key(&holder.process)));
                at_ms.saturating_sub(*since_ms) >= least_ms
                    || hold.is_some_and(|hold| hold.reported)
            })
            .min_by_key(|(_, since_ms, frames)| (u64::MAX - frames, *since_ms));
        let Some((holder, since_ms, frames)) = first else {
            return self.habit(look, index);
        };
        let hold = self.readers.get_mut(&(holder.lock, key(&holder.process)))?;
        let age_ms = at_ms.saturating_sub(since_ms);
        let habit = self
            .habits
            .entry(key(&holder.process))
            .or_insert_with(|| Habit {
                name: holder.process.name.clone(),
                times: 0,
                longest_ms: 0,
                last_ms: at_ms,
            });
        habit.times += u64::from(!std::mem::replace(&mut hold.reported, true));
        habit.longest_ms = habit.longest_ms.max(age_ms);
        habit.last_ms = at_ms;
        Some(hold.diagnose(look, holder, index, frames))
    }

    /// A process that held the log back more than once within a minute, and does not just now: one
    /// incident, not a new one each time.
    fn habit(&self, look: &Look<'_>, index: &WalIndexState) -> Option<Diagnosis> {
        let (&(pid, start_ticks), habit) = self
            .habits
            .iter()
            .filter(|(_, habit)| habit.times > 1)
            .max_by_key(|(_, habit)| habit.last_ms)?;
        let mut facts = look.log_facts(backlog_frames(index));
        facts.extend([
            integer("reader_pid", u64::from(pid)),
            super::text("reader_name", &habit.name),
            integer("reader_start_ticks", start_ticks),
            super::boolean("reader_may_be_ended", false),
            integer("reader_age_ms", 0),
            integer("reader_idle_ms", 0),
            integer("reader_holds", habit.times),
            integer("reader_longest_ms", habit.longest_ms),
        ]);
        Some(Diagnosis {
            kind: "wal.checkpoint-starved".into(),
            subject: "write-ahead log".into(),
            summary: format!(
                "process {pid} ({}) keeps frames from being checkpointed again and again: {} times, the longest for {:.1} s; not just now",
                habit.name,
                habit.times,
                seconds(habit.longest_ms)
            ),
            severity: 0.3,
            facts,
            series: &["wal_bytes", "wal_backlog_frames", "wal_frames"],
            candidates: Vec::new(),
        })
    }
}

impl ReadHold {
    fn diagnose(
        &self,
        look: &Look<'_>,
        holder: &LockHolder,
        index: &WalIndexState,
        frames: u64,
    ) -> Diagnosis {
        let at_ms = look.seen.at_ms;
        let age_ms = at_ms.saturating_sub(self.since_ms);
        let idle_ms = at_ms.saturating_sub(self.conduct.idle_since_ms);
        let process = &holder.process;
        let mut facts = look.log_facts(backlog_frames(index));
        facts.extend(holder_facts("reader", process, &self.conduct, look.options));
        facts.extend([
            integer("pinned_frames", frames),
            integer("reader_age_ms", age_ms),
            integer("reader_idle_ms", idle_ms),
            integer("read_mark", u64::from(self.pin.mark)),
            integer("salt_1", u64::from(self.pin.salts.0)),
            integer("salt_2", u64::from(self.pin.salts.1)),
        ]);
        let who = named(process);
        let state = standstill(self.conduct.state());
        let age = seconds(age_ms);
        let mut summary = format!(
            "{who}{state} reads for {age:.1} s and keeps {frames} frames from being checkpointed"
        );
        if is_outside(process) {
            summary.push_str(": run dbmedic where it can see the process");
        } else if idle_ms == 0 {
            summary.push_str("; it is at work");
        }
        Diagnosis {
            kind: "wal.checkpoint-starved".into(),
            subject: "write-ahead log".into(),
            summary,
            severity: 0.5,
            facts,
            series: &["wal_bytes", "wal_backlog_frames", "wal_frames"],
            candidates: self.candidates(look, holder, age_ms, idle_ms),
        }
    }

    fn candidates(
        &self,
        look: &Look<'_>,
        holder: &LockHolder,
        age_ms: u64,
        idle_ms: u64,
    ) -> Vec<Candidate> {
        let process = &holder.process;
        // A person is told of a reader at work; it is not ended in the middle of its reading.
        let rests_ms = look.options.reader_hold_ms;
        if age_ms < rests_ms || !is_candidate(process, &self.conduct) {
            return Vec::new();
        }
        let resume = resume("reader", process, &self.conduct, look.options);
        let end = Candidate {
            id: "wal.release-reader".into(),
            summary: format!(
                "end process {} ({}), then checkpoint and truncate the log",
                process.pid, process.name
            ),
            level: CascadeLevel::InPlace,
            preconditions: vec![
                may_be_ended("reader-may-be-ended", process, look.options),
                Precondition {
                    name: "reader-is-idle".into(),
                    holds: idle_ms >= rests_ms,
                    detail: if idle_ms >= rests_ms {
                        "it does no work".into()
                    } else {
                        "it is at work, or was a moment ago".into()
                    },
                },
            ],
            expected_duration_ms: 1000,
            expected_loss: NO_LOSS,
            undoable: false,
        };
        resume.into_iter().chain([end]).collect()
    }
}
