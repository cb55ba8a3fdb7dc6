//! Carrying out an approved repair, so that it is never half done.
//!
//! The intent is on disk before the first effect, each step before it is taken; at start every open entry
//! is finished or taken back. Nothing here chooses: what is applied was approved by the guard.

use std::fmt;

use serde::Serialize;

use crate::guard::ApprovedRepair;
use crate::journal::{Journal, JournalEntry, JournalError, OpenRepair};
use crate::model::{DataLoss, Outcome, OutcomeResult};
use crate::repair::{Intent, Proof, Repair, Repairs, Resume, Site};

/// The step under which an undo stands in the journal.
const UNDO: &str = "undo";

/// Room in the journal that a repair takes before it begins, bytes: for its own entries, which are
/// some kilobytes, and for what others write meanwhile.
const ROOM_BYTES: u64 = 256 << 10;

/// Steps of one repair that were begun, and begun again, after which it is no longer finished but
/// taken back: a step that kills dbmedic each time must not kill it for ever.
const INTERRUPTIONS: usize = 12;

/// A step that was taken, to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The repair.
    pub repair: String,
    /// The step.
    pub step: String,
    /// What it does, or what came of it.
    pub what: String,
}

impl fmt::Display for StepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.what)
    }
}

/// Reads the clock, milliseconds since the Unix epoch.
pub type Clock<'a> = dyn Fn() -> u64 + 'a;

/// Hears of each step.
pub type OnStep<'a> = dyn FnMut(&StepReport) + 'a;

/// How a repair ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// Whether its intent was written down: before that nothing is done.
    pub begun: bool,
}

/// Runs an approved repair to its end. Once it has begun nothing stops it half way: a wish to stop
/// is for the caller to heed before or after.
///
/// # Errors
/// Only when the journal cannot be written any more once the repair has begun: then nothing further
/// is done, and the next start closes it. Everything else that goes wrong is an outcome.
pub fn run(
    journal: &Journal,
    repairs: &dyn Repairs,
    approved: &ApprovedRepair,
    site: &Site,
    clock: &Clock<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Ended, JournalError> {
    let begun_ms = clock();
    let mut intent = Intent {
        repair_id: journal.new_repair_id(),
        target: approved.target().to_owned(),
        // Whoever recovers it may run in another directory.
        path: std::path::absolute(&site.path).unwrap_or_else(|_| site.path.clone()),
        may_end: site.may_end.clone(),
        max_lock_ms: approved.max_lock_ms(),
        finding: approved.finding().clone(),
        candidate: approved.candidate().clone(),
        plan: Vec::new(),
        before: serde_json::Value::Null,
    };
    match repairs.prepare(&mut intent, site) {
        // From here on it is made of nothing but its intent, as it would be after a crash.
        Ok(mut repair) => {
            let entry = JournalEntry::RepairIntended(Box::new(intent.clone()));
            let begun = journal.reserve(ROOM_BYTES);
            match begun.and_then(|()| journal.append(clock(), &entry)) {
                Ok(_) => {}
                Err(error @ JournalError::Unusable { .. }) => return Err(error),
                // Nothing was begun: the disk is full, and may have room the next time.
                Err(error) => {
                    let reason = format!("it cannot be written down: {error}");
                    return Ok(not_begun(&intent, begun_ms, clock(), reason));
                }
            }
            let run = Run {
                journal,
                intent: &intent,
                clock,
                begun_ms,
            };
            let outcome = run.finish(&mut *repair, Vec::new(), 0, on_step)?;
            Ok(Ended {
                outcome,
                begun: true,
            })
        }
        Err(error) => Ok(not_begun(&intent, begun_ms, clock(), error.to_string())),
    }
}

/// An approved repair that is not begun, because something came to speak against it while it waited for its turn.
pub fn withdrawn(approved: &ApprovedRepair, reason: String) -> Ended {
    let finding = approved.finding();
    Ended {
        outcome: Outcome {
            incident: finding.incident.clone(),
            kind: finding.kind.clone(),
            subject: finding.subject.clone(),
            repair: approved.candidate().id.clone(),
            outcome_result: OutcomeResult::Refused,
            reason,
            duration_ms: 0,
            loss: DataLoss::NONE,
            notes: Vec::new(),
        },
        begun: false,
    }
}

fn not_begun(intent: &Intent, begun_ms: u64, ended_ms: u64, reason: String) -> Ended {
    let refused = OutcomeResult::Refused;
    Ended {
        outcome: outcome(intent, begun_ms, ended_ms, refused, reason, None),
        begun: false,
    }
}

/// What became of the repairs that an earlier run left open.
#[derive(Debug, Default, PartialEq)]
pub struct Recovered {
    /// Each that was finished or taken back.
    pub ended: Vec<RecoveredRepair>,
    /// Those of databases that are nobody's to touch here: they stay open.
    pub left: Vec<Intent>,
}

/// How a repair ended that an earlier run left open.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveredRepair {
    /// The target.
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it was taken back only because the process was interrupted: that is no failure of
    /// the repair.
    pub interrupted: bool,
}

/// Finishes, or takes back, each repair that an earlier run left open. `site_of` says where it acts;
/// none when its database is not under care, and then nothing is done. It may itself be killed at any
/// point and run again.
///
/// # Errors
/// When the journal cannot be written.
pub fn recover(
    journal: &Journal,
    repairs: &dyn Repairs,
    site_of: &dyn Fn(&Intent) -> Option<Site>,
    clock: &Clock<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Recovered, JournalError> {
    let mut recovered = Recovered::default();
    for OpenRepair { intent, steps } in journal.open_repairs() {
        // The number names a directory of copies: nothing else may stand there.
        let site = site_of(&intent).filter(|_| is_repair_id(&intent.repair_id));
        let Some(site) = site else {
            recovered.left.push(intent);
            continue;
        };
        let run = Run {
            journal,
            intent: &intent,
            clock,
            begun_ms: clock(),
        };
        let (outcome, interrupted) = run.resume(repairs, &site, steps, on_step)?;
        recovered.ended.push(RecoveredRepair {
            target: intent.target.clone(),
            interrupted: interrupted && outcome.outcome_result == OutcomeResult::RolledBack,
            outcome,
        });
    }
    Ok(recovered)
}

/// Whether an identifier is one that [`Journal::new_repair_id`] gives.
fn is_repair_id(id: &str) -> bool {
    let number = id.strip_prefix("R-");
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// One repair under way.
struct Run<'a> {
    journal: &'a Journal,
    intent: &'a Intent,
    clock: &'a Clock<'a>,
    begun_ms: u64,
}

impl Run<'_> {
    /// Brings an interrupted repair to its end. Says also whether, if it was taken back, the
    /// interruption alone was why.
    fn resume(
        &self,
        repairs: &dyn Repairs,
        site: &Site,
        begun: Vec<String>,
        on_step: &mut OnStep<'_>,
    ) -> Result<(Outcome, bool), JournalError> {
        let mut repair = match repairs.resumed(self.intent, site) {
            Ok(repair) => repair,
            Err(error) => {
                let outcome = self.close(OutcomeResult::Failed, error.to_string(), None)?;
                return Ok((outcome, false));
            }
        };
        let repair = &mut *repair;
        let Some(last) = begun.last().cloned() else {
            let reason = "interrupted before its first step: nothing was done".to_owned();
            let outcome = self.close(OutcomeResult::RolledBack, reason, None)?;
            return Ok((outcome, true));
        };
        if begun.iter().any(|step| step == UNDO) {
            // Why it was being undone stands in the journal of the run that began it.
            let outcome = self.take_back(repair, &begun, "interrupted while undoing", on_step)?;
            return Ok((outcome, false));
        }
        if begun.len() > INTERRUPTIONS {
            let reason = format!("interrupted in step {last} again and again");
            let outcome = self.take_back(repair, &begun, &reason, on_step)?;
            return Ok((outcome, false));
        }
        let reached = self.intent.plan.iter().position(|s| s.name == last);
        // The last step may have come to its end before the process did.
        let is_last = reached.is_some_and(|at| at + 1 == self.intent.plan.len());
        if is_last && let Ok(proof) = repair.verify() {
            return Ok((self.proven(&proof, on_step)?, false));
        }
        if let (Resume::Finish, Some(at)) = (repair.resume(&last), reached) {
            return Ok((self.finish(repair, begun, at, on_step)?, false));
        }
        let why = format!("interrupted in step {last}");
        Ok((self.take_back(repair, &begun, &why, on_step)?, true))
    }

    /// Takes the steps from the given one on, verifies, and closes.
    fn finish(
        &self,
        repair: &mut dyn Repair,
        mut begun: Vec<String>,
        from: usize,
        on_step: &mut OnStep<'_>,
    ) -> Result<Outcome, JournalError> {
        let resumed = !begun.is_empty();
        for step in &self.intent.plan[from..] {
            self.begin(&step.name, &step.what, on_step)?;
            begun.push(step.name.clone());
            match repair.apply(&step.name) {
                Ok(()) => {}
                // Before the interruption something may have been done: then it is taken back.
                Err(error) if error.changed_nothing() && !resumed => {
                    return self.close(OutcomeResult::Refused, error.to_string(), None);
                }
                Err(error) => {
                    let why = format!("step {} failed: {error}", step.name);
                    return self.take_back(repair, &begun, &why, on_step);
                }
            }
        }
        match repair.verify() {
            Ok(proof) => self.proven(&proof, on_step),
            Err(error) => {
                let why = format!("verification failed: {error}");
                self.take_back(repair, &begun, &why, on_step)
            }
        }
    }

    fn proven(&self, proof: &Proof, on_step: &mut OnStep<'_>) -> Result<Outcome, JournalError> {
        let text = proof.to_string();
        self.tell("verify", &text, on_step);
        let notes = proof.notes();
        self.close_with(OutcomeResult::Verified, text, Some(proof.loss()), notes)
    }

    fn take_back(
        &self,
        repair: &mut dyn Repair,
        begun: &[String],
        why: &str,
        on_step: &mut OnStep<'_>,
    ) -> Result<Outcome, JournalError> {
        self.begin(UNDO, why, on_step)?;
        let notes = vec![format!("steps that were begun: {}", begun.join(", "))];
        let (result, reason) = match repair.undo(begun) {
            Ok(text) => (OutcomeResult::RolledBack, format!("{why}; {text}")),
            Err(error) => (OutcomeResult::Failed, format!("{why}; {error}")),
        };
        self.close_with(result, reason, None, notes)
    }

    /// Writes down that a step begins, before it does.
    fn begin(&self, step: &str, what: &str, on_step: &mut OnStep<'_>) -> Result<(), JournalError> {
        let entry = JournalEntry::RepairStep {
            repair_id: self.intent.repair_id.clone(),
            incident: self.intent.finding.incident.clone(),
            step: step.to_owned(),
        };
        self.journal.append((self.clock)(), &entry)?;
        self.tell(step, what, on_step);
        Ok(())
    }

    fn tell(&self, step: &str, what: &str, on_step: &mut OnStep<'_>) {
        on_step(&StepReport {
            at_ms: (self.clock)(),
            repair: self.intent.candidate.id.clone(),
            step: step.to_owned(),
            what: what.to_owned(),
        });
    }

    fn close(
        &self,
        result: OutcomeResult,
        reason: String,
        loss: Option<DataLoss>,
    ) -> Result<Outcome, JournalError> {
        self.close_with(result, reason, loss, Vec::new())
    }

    fn close_with(
        &self,
        result: OutcomeResult,
        reason: String,
        loss: Option<DataLoss>,
        notes: Vec<String>,
    ) -> Result<Outcome, JournalError> {
        let now_ms = (self.clock)();
        let ended = outcome(self.intent, self.begun_ms, now_ms, result, reason, loss);
        let outcome = Outcome { notes, ..ended };
        let entry = JournalEntry::RepairClosed {
            repair_id: self.intent.repair_id.clone(),
            outcome: outcome.clone(),
        };
        self.journal.append(now_ms, &entry)?;
        Ok(outcome)
    }
}

fn outcome(
    intent: &Intent,
    begun_ms: u64,
    ended_ms: u64,
    outcome_result: OutcomeResult,
    reason: String,
    loss: Option<DataLoss>,
) -> Outcome {
    Outcome {
        incident: intent.finding.incident.clone(),
        kind: intent.finding.kind.clone(),
        subject: intent.finding.subject.clone(),
        repair: intent.candidate.id.clone(),
        outcome_result,
        reason,
        duration_ms: ended_ms.saturating_sub(begun_ms),
        loss: loss.unwrap_or(DataLoss::NONE),
        notes: Vec::new(),
    }
}
