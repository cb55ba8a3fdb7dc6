//! Carrying out an approved repair, so that it is never half done.
//!
//! Six parts, written for each repair: precondition (again, in the act), plan, apply, verify, undo,
//! level (which stands in the candidate). The intent is on disk before the first effect, each step
//! before it is taken; at start every open entry is finished or taken back. Nothing here chooses:
//! what is applied was approved by the guard.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::guard::ApprovedRepair;
use crate::journal::{Intent, Journal, JournalEntry, JournalError, OpenRepair, PlannedStep};
use crate::model::{DataLoss, Outcome, OutcomeResult};
use crate::target::sqlite::repairs;

/// The step under which an undo stands in the journal.
const UNDO: &str = "undo";

/// Why a part of a repair did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// What must hold does not. Nothing was done.
    #[error("{name} does not hold: {detail}")]
    Unmet {
        /// The precondition's name.
        name: &'static str,
        /// What was seen instead.
        detail: String,
    },
    /// The proof did not come out.
    #[error("not proven: {0}")]
    Unproven(String),
    /// There is no way back by design; what was done stands.
    #[error("cannot be taken back: {0}")]
    NoWayBack(&'static str),
    /// The finding lacks a fact that the repair needs.
    #[error("the finding has no fact `{0}`")]
    MissingFact(&'static str),
    /// dbmedic does not know this repair.
    #[error("unknown repair `{0}`")]
    UnknownRepair(String),
    /// SQLite said no.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The raw process said no.
    #[error(transparent)]
    Raw(#[from] crate::target::sqlite::raw::RawError),
    /// The system said no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What verification proved.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// In one line.
    pub text: String,
    /// What was lost, measured.
    pub loss: DataLoss,
}

/// The parts of a repair. Each may be called again after a crash: doing a step twice is doing it once.
pub trait Repair {
    /// Whether what must hold still holds, seen now.
    fn precondition(&mut self) -> Result<(), RepairError>;
    /// The steps, in order.
    fn plan(&self) -> Vec<PlannedStep>;
    /// Takes one step of the plan.
    fn apply(&mut self, step: &str) -> Result<(), RepairError>;
    /// Proves that the problem is gone and nothing else is.
    fn verify(&mut self) -> Result<Proof, RepairError>;
    /// Puts everything back as it was before, and proves it. Says what that means here.
    fn undo(&mut self) -> Result<String, RepairError>;
}

/// Where repairs act and where they may put their copies.
#[derive(Debug, Clone)]
pub struct Site {
    /// The database file.
    pub path: PathBuf,
    /// Names of processes that a repair may end.
    pub may_end: Vec<String>,
    /// Where damaged originals are copied to, one directory for each repair.
    pub copies: PathBuf,
    /// The binary that serves as raw process.
    pub exe: PathBuf,
}

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

/// Runs an approved repair to its end.
///
/// # Errors
/// Only when the journal cannot be written: then nothing further is done, and the next start closes
/// the repair. Everything else that goes wrong is an outcome.
pub fn run(
    journal: &Journal,
    approved: &ApprovedRepair,
    site: &Site,
    clock: &Clock<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Outcome, JournalError> {
    let begun_ms = clock();
    let mut intent = Intent {
        repair_id: journal.new_repair_id(),
        target: approved.target().to_owned(),
        path: site.path.clone(),
        may_end: site.may_end.clone(),
        finding: approved.finding().clone(),
        candidate: approved.candidate().clone(),
        plan: Vec::new(),
    };
    let refused = |error: RepairError| {
        outcome(
            &intent,
            begun_ms,
            clock(),
            OutcomeResult::Refused,
            error.to_string(),
            None,
        )
    };
    let mut repair = match repairs::for_intent(&intent, site) {
        Ok(repair) => repair,
        Err(error) => return Ok(refused(error)),
    };
    if let Err(error) = repair.precondition() {
        return Ok(refused(error));
    }
    intent.plan = repair.plan();
    journal.append(
        clock(),
        &JournalEntry::RepairIntended(Box::new(intent.clone())),
    )?;
    let run = Run {
        journal,
        intent: &intent,
        clock,
        begun_ms,
    };
    run.finish(repair.as_mut(), 0, on_step)
}

/// Finishes, or takes back, each repair that an earlier run left open. Returns the target and the
/// outcome of each.
///
/// # Errors
/// When the journal cannot be written.
pub fn recover(
    journal: &Journal,
    site_of: &dyn Fn(&Intent) -> Site,
    clock: &Clock<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Vec<(String, Outcome)>, JournalError> {
    let mut ended = Vec::new();
    for OpenRepair { intent, steps } in journal.open_repairs() {
        let run = Run {
            journal,
            intent: &intent,
            clock,
            begun_ms: clock(),
        };
        let outcome = match repairs::for_intent(&intent, &site_of(&intent)) {
            Err(error) => run.close(OutcomeResult::Failed, error.to_string(), None)?,
            Ok(mut repair) => match steps.last().map(String::as_str) {
                None => run.close(
                    OutcomeResult::RolledBack,
                    "interrupted before its first step: nothing was done".to_owned(),
                    None,
                )?,
                Some(UNDO) => {
                    run.take_back(repair.as_mut(), "interrupted while undoing", on_step)?
                }
                // The step may or may not have happened: doing it twice is doing it once.
                Some(last) => {
                    let reached = intent.plan.iter().position(|s| s.name == last);
                    run.finish(repair.as_mut(), reached.unwrap_or(0), on_step)?
                }
            },
        };
        ended.push((intent.target.clone(), outcome));
    }
    Ok(ended)
}

/// One repair under way.
struct Run<'a> {
    journal: &'a Journal,
    intent: &'a Intent,
    clock: &'a Clock<'a>,
    begun_ms: u64,
}

impl Run<'_> {
    /// Takes the steps from the given one on, verifies, and closes.
    fn finish(
        &self,
        repair: &mut dyn Repair,
        from: usize,
        on_step: &mut OnStep<'_>,
    ) -> Result<Outcome, JournalError> {
        for step in &self.intent.plan[from..] {
            self.begin(&step.name, &step.what, on_step)?;
            if let Err(error) = repair.apply(&step.name) {
                let why = format!("step {} failed: {error}", step.name);
                return self.take_back(repair, &why, on_step);
            }
        }
        match repair.verify() {
            Ok(proof) => {
                self.tell("verify", &proof.text, on_step);
                self.close(OutcomeResult::Verified, proof.text, Some(proof.loss))
            }
            Err(error) => self.take_back(repair, &format!("verification failed: {error}"), on_step),
        }
    }

    fn take_back(
        &self,
        repair: &mut dyn Repair,
        why: &str,
        on_step: &mut OnStep<'_>,
    ) -> Result<Outcome, JournalError> {
        self.begin(UNDO, why, on_step)?;
        match repair.undo() {
            Ok(text) => self.close(OutcomeResult::RolledBack, format!("{why}; {text}"), None),
            Err(error) => self.close(OutcomeResult::Failed, format!("{why}; {error}"), None),
        }
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
        let now_ms = (self.clock)();
        let outcome = outcome(self.intent, self.begun_ms, now_ms, result, reason, loss);
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
        loss: loss.unwrap_or(DataLoss {
            commits: 0,
            percent: 0.0,
        }),
    }
}
