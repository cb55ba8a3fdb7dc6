//! The write lock: who holds it, and whether that is a process that has come to a standstill or one
//! that is at work.

use super::super::{Diagnosis, Look, NO_LOSS, integer};
use super::{
    Conduct, Holds, ProcessKey, confirmed, holder_facts, is_candidate, is_outside, key,
    may_be_ended, named, resume, seconds, standstill,
};
use crate::model::{Candidate, CascadeLevel};
use crate::target::sqlite::activity::RunState;
use crate::target::sqlite::{Lock, LockHolder, SqliteState, WalIndexState};

/// How long a process that runs now and then must be found holding the lock, in every sample, until
/// it is reported: a worker that takes the lock again and again is nearly always found letting go
/// by then, and a large transaction is over.
pub(in crate::diagnose) const LONG_HOLD_MS: u64 = 10_000;

const STALE: &str = "lock.stale-holder";
const LONG: &str = "lock.long-holder";

/// What must not move while the write lock counts as one hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    change_counter: u32,
    salts: (u32, u32),
    max_frame: u32,
}

impl Progress {
    fn of(index: &WalIndexState) -> Self {
        Self {
            change_counter: index.change_counter,
            salts: index.salts,
            max_frame: index.max_frame,
        }
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
    locks.find(|holder| holder.lock == Lock::WalWrite && holder.exclusive)
}

impl Holds {
    pub(super) fn follow_writer(&mut self, at_ms: u64, state: &SqliteState, gap: bool) {
        let before = self.writer.take();
        let (Some(holder), Some(index)) = (write_lock(state), &state.wal_index) else {
            return;
        };
        let Some(probe) = confirmed(state, holder) else {
            return;
        };
        let progress = Progress::of(index);
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
    pub(super) fn diagnose(&mut self, look: &Look<'_>) -> Option<Diagnosis> {
        let at_ms = look.seen.at_ms;
        let holder = write_lock(look.state)?;
        let stood_ms = at_ms.saturating_sub(self.conduct.unmoved_since_ms);
        let found_ms = at_ms.saturating_sub(self.since_ms);
        let at_rest = !matches!(
            self.conduct.state(),
            None | Some(RunState::Running | RunState::Disk)
        );
        let kind = match self.reported {
            Some(STALE) => STALE,
            _ if at_rest && stood_ms >= look.options.lock_hold_ms => STALE,
            Some(kind) => kind,
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
            facts: self.facts(look, holder, age_ms, found_ms),
            series: &["commits_per_s"],
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
        let stood = seconds(at_ms.saturating_sub(self.conduct.unmoved_since_ms));
        let who = named(&holder.process);
        if is_outside(&holder.process) {
            return format!(
                "the write lock is held from outside of this container, in every sample for {found:.1} s: run dbmedic where it can see the process"
            );
        }
        if proven {
            let state = standstill(self.conduct.state());
            return format!(
                "{who}{state} holds the write lock for {stood:.1} s and commits nothing"
            );
        }
        if kind == STALE {
            return format!(
                "{who} holds the write lock, in every sample for {found:.1} s, and commits nothing; it ran {stood:.1} s ago and may have let go for a moment"
            );
        }
        let works = at_ms.saturating_sub(self.conduct.idle_since_ms) == 0;
        match self.conduct.cpu_ms() {
            Some(cpu_ms) if works => format!(
                "{who} holds the write lock, in every sample for {found:.1} s, and is at work: it used {:.1} s of processor time",
                seconds(cpu_ms)
            ),
            _ => format!(
                "{who} holds the write lock, in every sample for {found:.1} s; it runs now and then and may have let go for moments"
            ),
        }
    }

    fn facts(
        &self,
        look: &Look<'_>,
        holder: &LockHolder,
        age_ms: u64,
        found_ms: u64,
    ) -> Vec<crate::model::Fact> {
        let concurrent = look
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
            integer("concurrent_operations", concurrent as u64),
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
