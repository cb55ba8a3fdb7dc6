//! What a repair is: six parts, written for each repair.
//!
//! Precondition (again, in the act), plan, apply, verify, undo, and level, which stands in the candidate.
//! Who carries a repair out is the module `repair_run`; which repairs there are belongs to each kind of
//! database.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Candidate, DataLoss, Finding};

/// A repair that is about to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Unique within the journal.
    pub repair_id: String,
    /// The target's name.
    pub target: String,
    /// The database file.
    pub path: PathBuf,
    /// Names of processes that the repair may end.
    pub may_end: Vec<String>,
    /// How long the repair may hold writers out, milliseconds; 0 in what older
    /// versions wrote.
    #[serde(default)]
    pub max_lock_ms: u64,
    /// The problem.
    pub finding: Finding,
    /// The repair.
    pub candidate: Candidate,
    /// What it will do, step by step.
    pub plan: Vec<PlannedStep>,
    /// What was seen right before, as far as the repair needs it to know its work again.
    pub before: serde_json::Value,
}

/// A step of a repair, as it is shown beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Stable name.
    pub name: String,
    /// What it does, in one line.
    pub what: String,
}

/// Why a part of a repair did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// What must hold does not. This repair has changed nothing of the target.
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
    /// What was written down before cannot be read.
    #[error("what the repair wrote down cannot be read: {0}")]
    Notes(#[from] serde_json::Error),
    /// The worker that carries it out said no.
    #[error("{text}")]
    InWorker {
        /// Whether this repair has changed nothing of the target: as [`Self::Unmet`].
        changed_nothing: bool,
        /// What it said.
        text: String,
    },
    /// The database, or the worker that was to ask it, said no.
    #[error("{0}")]
    Database(#[source] Box<dyn Error + Send + Sync>),
    /// The system said no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl RepairError {
    /// Whether it says that this repair has changed nothing of the target.
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::Unmet { .. } => true,
            Self::InWorker {
                changed_nothing, ..
            } => *changed_nothing,
            _ => false,
        }
    }
}

/// One statement about what a repair came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Claim {
    /// It was proven.
    Proven(String),
    /// It may be so, and could not be proven: what, and why.
    NotProven(String, String),
}

/// What verification says of committed data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Loss {
    /// Everything that was committed before is there: it was compared.
    Nothing,
    /// So much is lost, as was announced before.
    Announced(DataLoss),
    /// This repair writes nothing to the database; what an ended process had not committed is gone.
    OnlyUncommitted,
    /// This repair writes nothing to the database and ends nobody.
    Untouched,
    /// Whether anything is lost could not be found out, and why.
    NotProven(String),
}

/// What verification came to. What a person reads of it is made from its claims, so that nothing is
/// called proven, and nothing lost, that was not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    claims: Vec<Claim>,
    loss: Loss,
    old_state: Option<PathBuf>,
}

impl Proof {
    /// The problem is gone: `claim` was proven. `loss` says what became of committed data.
    pub fn new(claim: impl Into<String>, loss: Loss) -> Self {
        Self {
            claims: vec![Claim::Proven(claim.into())],
            loss,
            old_state: None,
        }
    }

    /// A further claim that was proven.
    #[must_use]
    pub fn and(mut self, claim: impl Into<String>) -> Self {
        self.claims.push(Claim::Proven(claim.into()));
        self
    }

    /// A claim that could not be proven, and why.
    #[must_use]
    pub fn but_not(mut self, claim: impl Into<String>, why: impl Into<String>) -> Self {
        self.claims.push(Claim::NotProven(claim.into(), why.into()));
        self
    }

    /// Where the state before the repair is kept.
    #[must_use]
    pub fn keeping(mut self, old_state: PathBuf) -> Self {
        self.old_state = Some(old_state);
        self
    }

    /// Whether every claim was proven, and that nothing is lost but what was announced.
    pub fn is_whole(&self) -> bool {
        let proven = |claim: &Claim| matches!(claim, Claim::Proven(_));
        self.claims.iter().all(proven) && !matches!(self.loss, Loss::NotProven(_))
    }

    /// What was lost, as a number; what is not known counts as nothing.
    pub fn loss(&self) -> DataLoss {
        match &self.loss {
            Loss::Announced(loss) => *loss,
            Loss::Nothing | Loss::OnlyUncommitted | Loss::Untouched | Loss::NotProven(_) => {
                DataLoss::NONE
            }
        }
    }
}

impl Proof {
    /// What could not be proven and where the state before the repair is kept, each in one line.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for claim in &self.claims {
            if let Claim::NotProven(claim, why) = claim {
                notes.push(format!("not proven: {claim} ({why})"));
            }
        }
        if let Loss::NotProven(why) = &self.loss {
            notes.push(format!("not proven: that nothing is lost ({why})"));
        }
        if let Some(path) = &self.old_state {
            notes.push(format!("the state before is kept in {}", path.display()));
        }
        notes
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for claim in &self.claims {
            match claim {
                Claim::Proven(claim) => write!(f, "{claim}; ")?,
                Claim::NotProven(claim, why) => write!(f, "not proven: {claim} ({why}); ")?,
            }
        }
        match &self.loss {
            Loss::Nothing => f.write_str("nothing lost")?,
            Loss::Announced(loss) => write!(f, "{} commits lost, as announced", loss.commits)?,
            Loss::OnlyUncommitted => f.write_str("what it had not committed is gone")?,
            Loss::Untouched => f.write_str("nothing of the database was written")?,
            Loss::NotProven(why) => write!(f, "not proven: that nothing is lost ({why})")?,
        }
        match &self.old_state {
            Some(path) => write!(f, "; the state before is kept in {}", path.display()),
            None => Ok(()),
        }
    }
}

/// What becomes of a repair that was interrupted in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The step is taken again, and those after it: doing it twice is doing it once.
    Finish,
    /// It is taken back.
    TakeBack,
}

/// The parts of a repair; the sixth, its level, stands in the candidate. A repair is built from its
/// intent alone, so that it can be built again after a crash, and each part may be called again.
pub trait Repair {
    /// Whether what must hold still holds, seen now; [`RepairError::Unmet`] if not. Gives what the
    /// other parts need to know again later; it comes back in [`Intent::before`].
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError>;
    /// The steps, in order.
    fn plan(&self) -> Vec<PlannedStep>;
    /// Takes one step of the plan. [`RepairError::Unmet`] only while this repair has changed
    /// nothing of the target.
    fn apply(&mut self, step: &str) -> Result<(), RepairError>;
    /// Proves that the problem is gone and nothing else is.
    fn verify(&mut self) -> Result<Proof, RepairError>;
    /// Puts everything back as it was before, and proves it. Says what that means here. `begun`
    /// are the steps that were begun, by this process or by one that was killed.
    fn undo(&mut self, begun: &[String]) -> Result<String, RepairError>;
    /// What to do when the process was killed in (or after) this step.
    fn resume(&self, step: &str) -> Resume;
}

/// The repairs of one kind of database.
pub trait Repairs {
    /// Checks what must hold, completes the intent, and builds the repair from it.
    ///
    /// # Errors
    /// What must hold does not, the repair is unknown, or the finding lacks a fact that it needs.
    fn prepare(&self, intent: &mut Intent, site: &Site) -> Result<Box<dyn Repair>, RepairError>;

    /// Builds a repair that an earlier run began.
    ///
    /// # Errors
    /// The repair is unknown, or the finding lacks a fact that it needs.
    fn resumed(&self, intent: &Intent, site: &Site) -> Result<Box<dyn Repair>, RepairError>;
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
