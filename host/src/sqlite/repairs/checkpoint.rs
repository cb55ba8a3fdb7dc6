//! `wal.checkpoint`: empties a log that nobody holds back.
//!
//! Safe at every kill point: a checkpoint copies committed frames into the database and syncs it
//! before it lets go of them; cut off anywhere, the log still holds them and it is done again.

use serde::{Deserialize, Serialize};

use super::frames::{self, Noted};
use super::{Scene, step, wal_checkpoint};
use crate::repair::{Intent, PlannedStep, Proof, Repair, RepairError, Resume};

/// The log before the repair.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Before {
    bytes: u64,
    /// Frames that were not checkpointed.
    backlog: u64,
}

/// The repair.
pub(super) struct Checkpoint {
    scene: Scene,
    before: Before,
    /// What the log held, when this process checkpointed it.
    noted: Option<Noted>,
}

impl Checkpoint {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let before = Option::<Before>::deserialize(&intent.before)?.unwrap_or_default();
        Ok(Self {
            scene,
            before,
            noted: None,
        })
    }
}

impl Repair for Checkpoint {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        let Some(wal) = self.scene.sound_log()? else {
            return Err(RepairError::Unmet {
                name: "log-exists",
                detail: "there is no log, or it is empty".to_owned(),
            });
        };
        let backlog = match self.scene.look(false)?.wal_index {
            Some(index) => u64::from(index.max_frame.saturating_sub(index.backfilled)),
            None => wal.last_commit_frame,
        };
        Ok(serde_json::to_value(Before {
            bytes: wal.bytes,
            backlog,
        })?)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let what = "checkpoint the log into the database and truncate it".to_owned();
        vec![step("checkpoint", what)]
    }

    fn apply(&mut self, _step: &str) -> Result<(), RepairError> {
        self.noted = Some(frames::checkpoint(&mut self.scene)?);
        Ok(())
    }

    /// The file is shorter, or fewer frames wait than before; and what the log held is there.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let answer = wal_checkpoint(&self.scene.open()?, "PASSIVE")?;
        let bytes = self.scene.look(false)?.wal.map_or(0, |wal| wal.bytes);
        let backlog = answer.backlog();
        if bytes >= self.before.bytes && backlog >= self.before.backlog {
            return Err(RepairError::Unproven(format!(
                "{backlog} frames wait in {bytes} bytes, no fewer than before"
            )));
        }
        let claim = format!(
            "{backlog} frames wait (before {}), the log has {bytes} bytes (before {})",
            self.before.backlog, self.before.bytes
        );
        frames::prove(&mut self.scene, self.noted.as_ref(), claim)
    }

    fn undo(&mut self, _begun: &[String]) -> Result<String, RepairError> {
        Ok("a checkpoint changes no row, nothing is to be taken back".to_owned())
    }

    fn resume(&self, _step: &str) -> Resume {
        Resume::Finish
    }
}
