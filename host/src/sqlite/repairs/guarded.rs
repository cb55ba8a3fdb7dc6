//! What holds for every repair: it opens no files that must not be opened.
//!
//! Before the precondition, before each step and before verification the files are read raw. Where
//! they do not belong together, or cannot be judged, SQLite is not let near them.

use super::Scene;
use crate::repair::{PlannedStep, Proof, Repair, RepairError, Resume};
use crate::sqlite_state::SqliteState;

/// A repair behind a look at the set of files.
pub(super) struct Guarded {
    pub(super) scene: Scene,
    /// Why the repair must not be made on these files.
    pub(super) objection: fn(&SqliteState) -> Option<String>,
    pub(super) repair: Box<dyn Repair>,
}

impl Guarded {
    fn objection(&mut self) -> Result<Option<String>, RepairError> {
        let state = self.scene.look(true)?;
        Ok((self.objection)(&state))
    }
}

impl Repair for Guarded {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        if let Some(detail) = self.objection()? {
            return Err(RepairError::Unmet {
                name: "files-belong-together",
                detail,
            });
        }
        self.repair.precondition()
    }

    fn plan(&self) -> Vec<PlannedStep> {
        self.repair.plan()
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        if let Some(detail) = self.objection()? {
            let is_first = self.plan().first().is_some_and(|first| first.name == step);
            return Err(if is_first {
                RepairError::Unmet {
                    name: "files-belong-together",
                    detail,
                }
            } else {
                RepairError::Unproven(detail)
            });
        }
        self.repair.apply(step)
    }

    fn verify(&mut self) -> Result<Proof, RepairError> {
        match self.objection()? {
            Some(detail) => Err(RepairError::Unproven(detail)),
            None => self.repair.verify(),
        }
    }

    fn undo(&mut self, begun: &[String]) -> Result<String, RepairError> {
        self.repair.undo(begun)
    }

    fn resume(&self, step: &str) -> Resume {
        self.repair.resume(step)
    }
}
