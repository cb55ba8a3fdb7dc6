//! Carrying out an approved repair, so that it is never half done.
//!
//! The intent is on disk before the first effect, each step before it is taken; at start every open entry
//! is finished or taken back. Nothing here chooses: what is applied was approved by the guard.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;

use crate::guard::ApprovedRepair;
use crate::model::{DataLoss, Outcome, OutcomeResult};
use crate::repair::{Intent, Proof, Repair, Repairs, Resume, Site};
use crate::store::{OpenRepair, Store, StoreError};

/// The step under which an undo stands in the journal.
const UNDO: &str = "undo";

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

/// Writes down that a repair begins; says why, where it may not.
pub type Begin<'a> = dyn FnMut(&Intent) -> Result<(), String> + 'a;

/// How a repair ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// The number of its end in the journal; none where its intent was never written down: then nothing was done.
    pub closed: Option<u64>,
}

impl Ended {
    /// Whether its intent was written down.
    pub fn begun(&self) -> bool {
        self.closed.is_some()
    }
}

/// Runs an approved repair to its end. Once it has begun nothing stops it half way: a wish to stop
/// is for the caller to heed before or after.
///
/// # Errors
/// Only when the store cannot be written any more once the repair has begun: then nothing further
/// is done, and the next start closes it. Everything else that goes wrong is an outcome.
pub fn run(
    store: &Store,
    repairs: &dyn Repairs,
    approved: &ApprovedRepair,
    site: &Site,
    clock: &Clock<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Ended, StoreError> {
    let begin = &mut |intent: &Intent| {
        let begun = store.begin_repair(clock(), intent);
        begun.map_err(|error| cannot_be_written(&error))
    };
    run_begun_by(begin, store, repairs, approved, site, clock, on_step)
}

/// Why a repair that cannot be written down is not begun: the disk is full, and may have room the next time.
pub(crate) fn cannot_be_written(error: &dyn fmt::Display) -> String {
    format!("it cannot be written down: {error}")
}

/// The same where `begin` writes down that it begins.
///
/// # Errors
/// As for [`run`].
pub fn run_begun_by(
    begin: &mut Begin<'_>,
    store: &Store,
    repairs: &dyn Repairs,
    approved: &ApprovedRepair,
    site: &Site,
    clock: &Clock<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Ended, StoreError> {
    let begun_ms = clock();
    let mut intent = Intent {
        repair_id: store.new_repair_id(),
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
            if let Err(reason) = begin(&intent) {
                return Ok(not_begun(&intent, begun_ms, clock(), reason));
            }
            let run = Run {
                store,
                intent: &intent,
                clock,
                begun_ms,
                interrupted: Cell::new(false),
            };
            let (outcome, seq) = run.finish(&mut *repair, Vec::new(), 0, on_step)?;
            Ok(Ended {
                outcome,
                closed: Some(seq),
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
        closed: None,
    }
}

fn not_begun(intent: &Intent, begun_ms: u64, ended_ms: u64, reason: String) -> Ended {
    let refused = OutcomeResult::Refused;
    Ended {
        outcome: outcome(intent, begun_ms, ended_ms, refused, reason, None),
        closed: None,
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
    /// The number of its end in the journal.
    pub closed: u64,
}

/// Finishes, or takes back, each repair that an earlier run left open. `site_of` says where it acts;
/// none when its database is not under care, and then nothing is done. It may itself be killed at any
/// point and run again.
///
/// # Errors
/// When the store cannot be read or written.
pub fn recover(
    store: &Store,
    repairs: &dyn Repairs,
    site_of: &dyn Fn(&Intent) -> Option<Site>,
    clock: &Clock<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    for OpenRepair { intent, steps } in store.open_repairs()? {
        // The number names a directory of copies: nothing else may stand there.
        let site = site_of(&intent).filter(|_| is_repair_id(&intent.repair_id));
        let Some(site) = site else {
            recovered.left.push(intent);
            continue;
        };
        let run = Run {
            store,
            intent: &intent,
            clock,
            begun_ms: clock(),
            interrupted: Cell::new(false),
        };
        let (outcome, closed) = run.resume(repairs, &site, steps, on_step)?;
        recovered.ended.push(RecoveredRepair {
            target: intent.target.clone(),
            interrupted: run.is_interrupted(&outcome),
            outcome,
            closed,
        });
    }
    Ok(recovered)
}

/// Whether an identifier is one that [`Store::new_repair_id`] gives.
fn is_repair_id(id: &str) -> bool {
    let number = id.strip_prefix("R-");
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// One repair under way.
struct Run<'a> {
    store: &'a Store,
    intent: &'a Intent,
    clock: &'a Clock<'a>,
    begun_ms: u64,
    /// Whether, if it is taken back, the interruption alone is why.
    interrupted: Cell<bool>,
}

/// How a repair ended, and the number of that in the journal.
type Closed = (Outcome, u64);

impl Run<'_> {
    /// Whether it was taken back only because dbmedic was interrupted in it.
    fn is_interrupted(&self, outcome: &Outcome) -> bool {
        self.interrupted.get() && outcome.outcome_result == OutcomeResult::RolledBack
    }

    /// Brings an interrupted repair to its end.
    fn resume(
        &self,
        repairs: &dyn Repairs,
        site: &Site,
        begun: Vec<String>,
        on_step: &mut OnStep<'_>,
    ) -> Result<Closed, StoreError> {
        let mut repair = match repairs.resumed(self.intent, site) {
            Ok(repair) => repair,
            Err(error) => {
                return self.close(OutcomeResult::Failed, error.to_string(), None);
            }
        };
        let repair = &mut *repair;
        let Some(last) = begun.last().cloned() else {
            let reason = "interrupted before its first step: nothing was done".to_owned();
            self.interrupted.set(true);
            return self.close(OutcomeResult::RolledBack, reason, None);
        };
        if begun.iter().any(|step| step == UNDO) {
            // Why it was being undone stands in the journal of the run that began it.
            return self.take_back(repair, &begun, "interrupted while undoing", on_step);
        }
        if begun.len() > INTERRUPTIONS {
            let reason = format!("interrupted in step {last} again and again");
            return self.take_back(repair, &begun, &reason, on_step);
        }
        let reached = self.intent.plan.iter().position(|s| s.name == last);
        // The last step may have come to its end before the process did.
        let is_last = reached.is_some_and(|at| at + 1 == self.intent.plan.len());
        if is_last && let Ok(proof) = repair.verify() {
            return self.proven(&proof, on_step);
        }
        if let (Resume::Finish, Some(at)) = (repair.resume(&last), reached) {
            return self.finish(repair, begun, at, on_step);
        }
        let why = format!("interrupted in step {last}");
        self.interrupted.set(true);
        self.take_back(repair, &begun, &why, on_step)
    }

    /// Takes the steps from the given one on, verifies, and closes.
    fn finish(
        &self,
        repair: &mut dyn Repair,
        mut begun: Vec<String>,
        from: usize,
        on_step: &mut OnStep<'_>,
    ) -> Result<Closed, StoreError> {
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

    fn proven(&self, proof: &Proof, on_step: &mut OnStep<'_>) -> Result<Closed, StoreError> {
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
    ) -> Result<Closed, StoreError> {
        self.begin(UNDO, why, on_step)?;
        let notes = vec![format!("steps that were begun: {}", begun.join(", "))];
        let (result, reason) = match repair.undo(begun) {
            Ok(text) => (OutcomeResult::RolledBack, format!("{why}; {text}")),
            Err(error) => (OutcomeResult::Failed, format!("{why}; {error}")),
        };
        self.close_with(result, reason, None, notes)
    }

    /// Writes down that a step begins, before it does.
    fn begin(&self, step: &str, what: &str, on_step: &mut OnStep<'_>) -> Result<(), StoreError> {
        self.store.begin_step((self.clock)(), self.intent, step)?;
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
    ) -> Result<Closed, StoreError> {
        self.close_with(result, reason, loss, Vec::new())
    }

    fn close_with(
        &self,
        result: OutcomeResult,
        reason: String,
        loss: Option<DataLoss>,
        notes: Vec<String>,
    ) -> Result<Closed, StoreError> {
        let now_ms = (self.clock)();
        let ended = outcome(self.intent, self.begun_ms, now_ms, result, reason, loss);
        let outcome = Outcome { notes, ..ended };
        let interrupted = self.is_interrupted(&outcome);
        let seq = self
            .store
            .close_repair(now_ms, self.intent, &outcome, interrupted)?;
        Ok((outcome, seq))
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
