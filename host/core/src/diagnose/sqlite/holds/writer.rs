//! The write lock: who holds it, and whether that is a process that has come to a standstill or one
//! that is at work.

use super::super::{Diagnosis, Look, NO_LOSS, integer, text};
use super::{
    Conduct, Holds, ProcessKey, confirmed, holder_facts, is_candidate, is_outside, key,
    may_be_ended, named, resume, seconds, standstill,
};
use crate::model::{Candidate, CascadeLevel};
use crate::sqlite_state::rollback::{self, Alone, Why};
use crate::sqlite_state::{Lock, LockHolder, SqliteState};

/// How long a process that runs now and then must be found holding the lock, in every sample, until
/// it is reported: a worker that takes the lock again and again is nearly always found letting go
/// by then, and a large transaction is over.
pub(in crate::diagnose) const LONG_HOLD_MS: u64 = 10_000;

pub(super) const STALE: &str = "lock.stale-holder";
pub(super) const LONG: &str = "lock.long-holder";

/// What must not move while the write lock counts as one hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    change_counter: u32,
    salts: (u32, u32),
    max_frame: u32,
}

impl Progress {
    /// By the wal-index where the lock lies there, by the file's header in rollback mode. None while the
    /// index cannot be read.
    fn of(lock: Lock, state: &SqliteState) -> Option<Self> {
        if lock != Lock::WalWrite {
            let header = state.set.header;
            return Some(Self {
                change_counter: header.map_or(0, |header| header.change_counter),
                salts: (0, 0),
                max_frame: 0,
            });
        }
        let index = state.wal_index.as_ref()?;
        Some(Self {
            change_counter: index.change_counter,
            salts: index.salts,
            max_frame: index.max_frame,
        })
    }
}

/// The write lock in somebody's hands.
#[derive(Debug, Clone)]
pub(super) struct WriteHold {
    holder: ProcessKey,
    progress: Progress,
    /// Since when it was found held by this process in every sample, without a commit.
    since_ms: u64,
    conduct: Conduct,
    /// As what it was reported: a hold keeps its kind, so that it is one incident.
    reported: Option<&'static str>,
}

fn write_lock(state: &SqliteState) -> Option<&LockHolder> {
    let mut locks = state.locks.iter();
    locks
        .find(|holder| holder.lock == Lock::WalWrite && holder.exclusive)
        .or_else(|| rollback::write_lock(&state.locks))
}

/// Who had the database file for itself, from look to look.
#[derive(Debug, Clone, Default)]
pub(super) struct Possession {
    /// The process that has it on purpose, and did not let go since that was seen.
    on_purpose: Option<ProcessKey>,
}

impl Possession {
    fn follow(&mut self, state: &SqliteState) {
        let mut locks = state.locks.iter();
        let owner = locks.find(|held| held.lock == Lock::Shared && held.exclusive);
        let Some(owner) = owner else {
            self.on_purpose = None;
            return;
        };
        let owner = key(&owner.process);
        let is_on_purpose = alone(state)
            .is_some_and(|alone| alone.why == Why::OnPurpose && key(&alone.process) == owner);
        if is_on_purpose {
            self.on_purpose = Some(owner);
        } else {
            self.on_purpose = self.on_purpose.filter(|known| *known == owner);
        }
    }

    /// Whether a lock is proven to be held by a transaction. What is, or may be, kept on purpose is no hold:
    /// nothing is claimed of it, and nobody is ended for it.
    fn is_transaction(&self, state: &SqliteState, holder: &LockHolder) -> bool {
        let process = key(&holder.process);
        holder.lock == Lock::WalWrite
            || self.on_purpose != Some(process)
                && rollback::is_in_transaction(state, |one| key(one) == process)
    }
}

fn alone(state: &SqliteState) -> Option<&Alone> {
    state.standing.as_ref()?.alone.as_ref()
}

impl Holds {
    pub(super) fn follow_writer(&mut self, at_ms: u64, state: &SqliteState, gap: bool) {
        let before = self.writer.take();
        if gap {
            self.possession = Possession::default();
        }
        self.possession.follow(state);
        let Some(holder) = write_lock(state) else {
            return;
        };
        let Some(progress) = Progress::of(holder.lock, state) else {
            return;
        };
        let Some(probe) = confirmed(state, holder) else {
            return;
        };
        if !self.possession.is_transaction(state, holder) {
            return;
        }
        let same =
            before.filter(|hold| hold.holder == key(&holder.process) && hold.progress == progress);
        self.writer = Some(match same {
            Some(mut hold) if !gap => {
                hold.conduct.go_on(at_ms, probe);
                hold
            }
            same => WriteHold {
                holder: key(&holder.process),
                progress,
                since_ms: at_ms,
                conduct: Conduct::begin(at_ms, probe),
                reported: same.and_then(|hold| hold.reported),
            },
        });
    }
}

impl WriteHold {
    /// `waiting` is how many processes wait for the lock.
    pub(super) fn diagnose(&mut self, look: &Look<'_>, waiting: u64) -> Option<Diagnosis> {
        let at_ms = look.seen.at_ms;
        let holder = write_lock(look.state)?;
        let stood_ms = at_ms.saturating_sub(self.conduct.idle_since_ms);
        let found_ms = at_ms.saturating_sub(self.since_ms);
        let at_rest = !self.conduct.is_at_work();
        let kind = match self.reported {
            Some(STALE) => STALE,
            _ if at_rest && stood_ms >= look.options.lock_hold_ms => STALE,
            Some(kind) => kind,
            // It is held up by others, which are named.
            None if waits_for_others(look.state, holder) => return None,
            None if found_ms >= look.options.lock_hold_ms.max(LONG_HOLD_MS) => LONG,
            None => return None,
        };
        self.reported = Some(kind);
        let proven = kind == STALE && at_rest && stood_ms >= look.options.lock_hold_ms;
        let age_ms = if kind == STALE { stood_ms } else { found_ms };
        Some(Diagnosis {
            kind: kind.into(),
            subject: "write lock".into(),
            summary: self.summary(look, holder, kind, proven),
            severity: if kind == STALE { 0.4 } else { 0.3 },
            facts: self.facts(look, holder, (age_ms, found_ms), waiting),
            series: &["commits_per_s", "concurrent_transaction_count"],
            candidates: if proven {
                self.candidates(look, holder)
            } else {
                Vec::new()
            },
        })
    }

    fn summary(&self, look: &Look<'_>, holder: &LockHolder, kind: &str, proven: bool) -> String {
        let at_ms = look.seen.at_ms;
        let found = seconds(at_ms.saturating_sub(self.since_ms));
        let stood = seconds(at_ms.saturating_sub(self.conduct.idle_since_ms));
        let who = named(&holder.process);
        let lock = lock_in_words(look.state, holder);
        if is_outside(&holder.process) {
            return format!(
                "{lock} is held from outside of this container, in every sample for {found:.1} s: run dbmedic where it can see the process"
            );
        }
        if proven {
            let state = standstill(self.conduct.state());
            return format!("{who}{state} holds {lock} for {stood:.1} s and commits nothing");
        }
        if kind == STALE {
            return format!(
                "{who} holds {lock}, in every sample for {found:.1} s, and commits nothing; it ran {stood:.1} s ago and may have let go for a moment"
            );
        }
        let works = at_ms.saturating_sub(self.conduct.idle_since_ms) == 0;
        match self.conduct.cpu_ms() {
            Some(cpu_ms) if works => format!(
                "{who} holds {lock}, in every sample for {found:.1} s, and is at work, or what it started is: it used {:.1} s of processor time",
                seconds(cpu_ms)
            ),
            _ => format!(
                "{who} holds {lock}, in every sample for {found:.1} s; it runs now and then and may have let go for moments"
            ),
        }
    }

    fn facts(
        &self,
        look: &Look<'_>,
        holder: &LockHolder,
        (age_ms, found_ms): (u64, u64),
        waiting: u64,
    ) -> Vec<crate::model::Fact> {
        let concurrent: usize = look
            .state
            .locks
            .iter()
            .filter(|h| matches!(h.lock, Lock::WalCheckpoint | Lock::WalRecover) && h.exclusive)
            .count();
        let mut facts = holder_facts("holder", &holder.process, &self.conduct, look.options);
        facts.extend([
            integer("age_ms", age_ms),
            integer("found_held_ms", found_ms),
            integer("commits_during_hold", 0),
            integer("change_counter", u64::from(self.progress.change_counter)),
            text("holder_lock", lock_name(look.state, holder)),
            integer(
                "concurrent_operations",
                waiting.saturating_add(concurrent as u64),
            ),
            integer("waiting_processes", waiting),
        ]);
        facts.extend(
            self.conduct
                .cpu_ms()
                .map(|cpu_ms| integer("holder_cpu_ms", cpu_ms)),
        );
        facts.extend(look.snapshot_facts());
        facts
    }

    fn candidates(&self, look: &Look<'_>, holder: &LockHolder) -> Vec<Candidate> {
        let process = &holder.process;
        if !is_candidate(process, &self.conduct) {
            return Vec::new();
        }
        let resume = resume("holder", process, &self.conduct, look.options);
        let end = Candidate {
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
        };
        resume.into_iter().chain([end]).collect()
    }
}

/// Whether a writer waits for readers to leave, so that it may write its transaction into the file.
fn waits_for_others(state: &SqliteState, writer: &LockHolder) -> bool {
    let process = key(&writer.process);
    let waits = rollback::waits_for_readers(&state.locks);
    waits.is_some_and(|waits| key(&waits.process) == process)
        && state.locks.iter().any(|held| {
            held.lock == Lock::Shared && !held.exclusive && key(&held.process) != process
        })
}

/// Which lock a writer holds: the strongest one, in SQLite's words for rollback mode.
fn lock_name(state: &SqliteState, holder: &LockHolder) -> &'static str {
    if holder.lock == Lock::WalWrite {
        return "wal_write";
    }
    let process = key(&holder.process);
    let has = |lock| {
        state
            .locks
            .iter()
            .any(|held| held.lock == lock && held.exclusive && key(&held.process) == process)
    };
    if has(Lock::Shared) {
        "exclusive"
    } else if has(Lock::Pending) {
        "pending"
    } else {
        "reserved"
    }
}

/// The same as a person reads it.
fn lock_in_words(state: &SqliteState, holder: &LockHolder) -> &'static str {
    match lock_name(state, holder) {
        "exclusive" => "the write lock (EXCLUSIVE: nobody else can read)",
        "pending" => "the write lock (PENDING: nobody else can begin to read)",
        "reserved" => "the write lock (RESERVED)",
        _ => "the write lock",
    }
}
