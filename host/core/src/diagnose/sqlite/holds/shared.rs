//! Readers in rollback mode that keep a writer from committing.
//!
//! A read lock hinders nobody until a writer has written its transaction and waits with PENDING for
//! the readers to leave; from then on nobody else begins to read either. So a reader counts from the
//! first observation in which a writer waits for it, and only while it is proven not to have run: that
//! it holds the lock in two observations does not make it one transaction, and one reader after the
//! other is no fault.

use super::super::{Diagnosis, Look, NO_LOSS, boolean, integer, text};
use super::{
    Conduct, Holds, ProcessKey, confirmed, holder_facts, is_candidate, is_outside, key,
    may_be_ended, named, resume, seconds, standstill, writer::LONG, writer::LONG_HOLD_MS,
    writer::STALE,
};
use crate::model::{Candidate, CascadeLevel, Precondition};
use crate::sqlite_state::{Lock, LockHolder, Process, SqliteState, rollback};

/// How long a reader is held to be in the way after a writer waited for it last: writers give up after
/// some seconds (the usual busy timeouts are 5 s to 30 s) and try again.
const HINDERS_MS: u64 = 60_000;

/// A read lock in rollback mode.
#[derive(Debug, Clone)]
pub(super) struct SharedHold {
    conduct: Conduct,
    /// The first observation in which it was held, and in every sample since.
    since_ms: u64,
    /// The first observation in which a writer waited for it, and the last one.
    hinders: Option<(u64, u64)>,
    /// The writer.
    writer: Option<Process>,
    reported: Option<&'static str>,
}

/// A writer that waits for readers, as it was seen last.
#[derive(Debug, Clone)]
pub(super) struct WaitingWriter {
    process: ProcessKey,
    run_mark: Option<u64>,
    change_counter: u32,
}

fn change_counter(state: &SqliteState) -> u32 {
    state.set.header.map_or(0, |header| header.change_counter)
}

impl Holds {
    pub(super) fn follow_shared(&mut self, at_ms: u64, state: &SqliteState, gap: bool) {
        let mut before = std::mem::take(&mut self.shared);
        let writer = self.follow_waiting_writer(state, gap);
        if rollback::uses_log(state) {
            return;
        }
        for holder in &state.locks {
            if holder.lock != Lock::Shared || holder.exclusive {
                continue;
            }
            let Some(probe) = confirmed(state, holder) else {
                continue;
            };
            let process = key(&holder.process);
            let mut same = before.remove(&process);
            let reported = same.as_ref().and_then(|hold| hold.reported);
            if gap {
                same = None;
            }
            let mut hold = match same {
                Some(mut hold) => {
                    hold.conduct.go_on(at_ms, probe);
                    hold
                }
                None => SharedHold {
                    conduct: Conduct::begin(at_ms, probe),
                    since_ms: at_ms,
                    hinders: None,
                    writer: None,
                    reported: reported.filter(|_| gap),
                },
            };
            if let Some(waits) = writer.as_ref().filter(|writer| key(writer) != process) {
                let first_ms = hold.hinders.map_or(at_ms, |(first_ms, _)| first_ms);
                hold.hinders = Some((first_ms, at_ms));
                hold.writer = Some(waits.clone());
            }
            hold.hinders = hold
                .hinders
                .filter(|(_, last_ms)| at_ms.saturating_sub(*last_ms) <= HINDERS_MS);
            self.shared.insert(process, hold);
        }
    }

    /// The writer that waits for readers and still tries: it ran since it was seen last. One that has
    /// come to a standstill holds the others up by itself.
    fn follow_waiting_writer(&mut self, state: &SqliteState, gap: bool) -> Option<Process> {
        let before = self.waiting_writer.take().filter(|_| !gap);
        let holder = rollback::waits_for_readers(&state.locks)?;
        let probe = confirmed(state, holder)?;
        let now = WaitingWriter {
            process: key(&holder.process),
            run_mark: probe.activity.map(|activity| activity.run_mark),
            change_counter: change_counter(state),
        };
        let ran = probe.ran
            || before.as_ref().is_some_and(|before| {
                before.process == now.process && before.run_mark != now.run_mark
            });
        // Between two commits it did not wait.
        let is_same = before.is_none_or(|before| {
            (before.process, before.change_counter) == (now.process, now.change_counter)
        });
        self.waiting_writer = Some(now);
        (ran && is_same).then(|| holder.process.clone())
    }

    /// A reader that keeps a writer waiting: the one that does so for longest.
    pub(in super::super) fn hindering_reader(&mut self, look: &Look<'_>) -> Option<Diagnosis> {
        let is_in_the_way = |hold: &SharedHold| hold.hinders.map(|(first_ms, _)| first_ms);
        let (process, _) = self
            .shared
            .iter()
            .filter_map(|(process, hold)| {
                let first_ms = is_in_the_way(hold)?;
                let kind = hold.kind(look.seen.at_ms, look.options.lock_hold_ms)?;
                Some((*process, (kind != STALE, first_ms)))
            })
            .min_by_key(|(_, order)| *order)?;
        let waiting = self.waiting;
        let holder = look
            .state
            .locks
            .iter()
            .find(|holder| holder.lock == Lock::Shared && key(&holder.process) == process)?;
        self.shared
            .get_mut(&process)?
            .diagnose(look, holder, waiting)
    }
}

impl SharedHold {
    /// Since when it is proven to be one hold that is in the way.
    fn stood_since_ms(&self) -> u64 {
        let first_ms = self.hinders.map_or(u64::MAX, |(first_ms, _)| first_ms);
        self.conduct.idle_since_ms.max(first_ms)
    }

    fn is_at_rest(&self) -> bool {
        !self.conduct.is_at_work()
    }

    fn is_proven(&self, at_ms: u64, hold_ms: u64) -> bool {
        self.is_at_rest() && at_ms.saturating_sub(self.stood_since_ms()) >= hold_ms
    }

    fn found_ms(&self, at_ms: u64) -> u64 {
        let first_ms = self.hinders.map_or(at_ms, |(first_ms, _)| first_ms);
        at_ms.saturating_sub(self.since_ms.max(first_ms))
    }

    /// As what it is to be reported, if at all.
    fn kind(&self, at_ms: u64, hold_ms: u64) -> Option<&'static str> {
        let hinders_now = self.hinders.is_some_and(|(_, last_ms)| last_ms == at_ms);
        match self.reported {
            Some(STALE) => Some(STALE),
            _ if self.is_proven(at_ms, hold_ms) => Some(STALE),
            Some(kind) => Some(kind),
            None if hinders_now && self.found_ms(at_ms) >= hold_ms.max(LONG_HOLD_MS) => Some(LONG),
            None => None,
        }
    }

    fn diagnose(
        &mut self,
        look: &Look<'_>,
        holder: &LockHolder,
        waiting: u64,
    ) -> Option<Diagnosis> {
        let at_ms = look.seen.at_ms;
        let kind = self.kind(at_ms, look.options.lock_hold_ms)?;
        self.reported = Some(kind);
        let proven = kind == STALE && self.is_proven(at_ms, look.options.lock_hold_ms);
        let stood_ms = at_ms.saturating_sub(self.stood_since_ms());
        let found_ms = self.found_ms(at_ms);
        let writer = self.writer.as_ref();
        let for_whom = writer.map_or_else(|| "a writer".to_owned(), named);
        let who = named(&holder.process);
        let summary = if is_outside(&holder.process) {
            format!(
                "{for_whom} waits for {found:.1} s to commit, for a reader outside of this container: run dbmedic where it can see the process",
                found = seconds(found_ms)
            )
        } else if proven {
            format!(
                "{who}{state} holds a read lock and keeps {for_whom} from committing for {stood:.1} s",
                state = standstill(self.conduct.state()),
                stood = seconds(stood_ms)
            )
        } else {
            format!(
                "{who} reads and keeps {for_whom} from committing, in every sample for {found:.1} s; it ran {ago:.1} s ago",
                found = seconds(found_ms),
                ago = seconds(at_ms.saturating_sub(self.conduct.idle_since_ms))
            )
        };
        let mut facts = holder_facts("holder", &holder.process, &self.conduct, look.options);
        facts.extend([
            text("holder_lock", "shared"),
            integer("age_ms", if kind == STALE { stood_ms } else { found_ms }),
            integer("found_held_ms", found_ms),
            integer("commits_during_hold", 0),
            integer("change_counter", u64::from(change_counter(look.state))),
            // The writer that waits is one of them.
            integer("concurrent_operations", waiting.saturating_add(1)),
            integer("waiting_processes", waiting.saturating_add(1)),
            boolean("writer_waits", self.hinders_now(at_ms)),
        ]);
        facts.extend(writer.map(|writer| integer("writer_pid", u64::from(writer.pid))));
        facts.extend(writer.map(|writer| text("writer_name", &writer.name)));
        facts.extend(
            self.conduct
                .cpu_ms()
                .map(|cpu_ms| integer("holder_cpu_ms", cpu_ms)),
        );
        facts.extend(look.snapshot_facts());
        let candidates = if proven {
            self.candidates(look, holder)
        } else {
            Vec::new()
        };
        Some(Diagnosis {
            kind: kind.into(),
            subject: "read lock".into(),
            summary,
            severity: if kind == STALE { 0.4 } else { 0.3 },
            facts,
            series: &["commits_per_s", "concurrent_transaction_count"],
            candidates,
        })
    }

    fn hinders_now(&self, at_ms: u64) -> bool {
        self.hinders.is_some_and(|(_, last_ms)| last_ms == at_ms)
    }

    fn candidates(&self, look: &Look<'_>, holder: &LockHolder) -> Vec<Candidate> {
        let process = &holder.process;
        if !is_candidate(process, &self.conduct) {
            return Vec::new();
        }
        let waits = self.hinders_now(look.seen.at_ms);
        let end = Candidate {
            id: "lock.end-holder".into(),
            summary: format!(
                "end process {} ({}), which reads and keeps a writer waiting",
                process.pid, process.name
            ),
            level: CascadeLevel::InPlace,
            preconditions: vec![
                may_be_ended("holder-may-be-ended", process, look.options),
                Precondition {
                    name: "a-writer-waits".into(),
                    holds: waits,
                    detail: if waits {
                        "a writer waits for it to leave".into()
                    } else {
                        "no writer waits for it just now".into()
                    },
                },
            ],
            expected_duration_ms: 500,
            expected_loss: NO_LOSS,
            undoable: false,
        };
        let resume = resume("holder", process, &self.conduct, look.options);
        resume.into_iter().chain([end]).collect()
    }
}
