//! `wal.release-reader`: ends the reader that pins the log, then checkpoints and truncates it.
//!
//! Safe at every kill point: a reader has nothing to lose, and a checkpoint can be done again.
//! Killed before the signal, nothing was done; after it, the rest is done at the next start. An
//! ended process is not started again.

use serde::{Deserialize, Serialize};

use super::end_process::{Culprit, GRACE};
use super::{
    NO_LOSS, Scene, checkpoint_and_truncate, integer_fact, step, text_fact, wal_checkpoint,
};
use crate::journal::{Intent, PlannedStep};
use crate::repair::{Proof, Repair, RepairError, Resume};
use crate::target::sqlite::{Lock, SqliteState};

/// How often verification looks for a moment without a frame that was appended since.
const LOOKS: u32 = 20;

/// The read mark by which the reader pins the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    slot: u8,
    mark: u32,
}

/// The repair.
pub(super) struct ReleaseReader {
    scene: Scene,
    reader: Culprit,
    before: Option<Pin>,
}

impl ReleaseReader {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let finding = &intent.finding;
        Ok(Self {
            scene,
            reader: Culprit {
                pid: u32::try_from(integer_fact(finding, "reader_pid")?)
                    .map_err(|_| RepairError::MissingFact("reader_pid"))?,
                start_ticks: integer_fact(finding, "reader_start_ticks")?,
                name: text_fact(finding, "reader_name")?,
            },
            before: Deserialize::deserialize(&intent.before)?,
        })
    }

    fn pinned(&mut self) -> Result<Pin, RepairError> {
        let state = self.scene.look(false)?;
        pin(&self.reader, &state).ok_or_else(|| RepairError::Unmet {
            name: "still-pins",
            detail: format!("process {} does not pin the log", self.reader.pid),
        })
    }
}

impl Repair for ReleaseReader {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        self.reader.may_be_ended(&self.scene.site.may_end)?;
        self.scene.sound_log()?;
        Ok(serde_json::to_value(self.pinned()?)?)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let end = format!(
            "SIGTERM to process {} ({}), SIGKILL after {} s, if it still pins the log",
            self.reader.pid,
            self.reader.name,
            GRACE.as_secs()
        );
        let checkpoint = "checkpoint the log into the database and truncate it".to_owned();
        vec![step("end-process", end), step("checkpoint", checkpoint)]
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        if step == "checkpoint" {
            return checkpoint_and_truncate(&self.scene.open()?);
        }
        let (reader, may_end) = (self.reader.clone(), self.scene.site.may_end.clone());
        let before = self.before;
        reader.end(&may_end, &mut || {
            let now = self.pinned()?;
            if before.is_some_and(|before| before != now) {
                return Err(RepairError::Unmet {
                    name: "still-pins",
                    detail: format!("process {} began to read anew", self.reader.pid),
                });
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The reader is out of the way and the log is checkpointed to its end: `log == checkpointed`,
    /// as the file's size says nothing (a log that is reused keeps its size).
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let pid = self.reader.pid;
        if self.before.is_some() && pin(&self.reader, &self.scene.look(false)?) == self.before {
            let detail = format!("process {pid} still pins the log");
            return Err(RepairError::Unproven(detail));
        }
        let db = self.scene.open()?;
        let mut backlog = 0;
        // Writers go on meanwhile: a frame appended since is not a failure.
        for _ in 0..LOOKS {
            backlog = wal_checkpoint(&db, "PASSIVE")?.backlog();
            if backlog == 0 {
                let text =
                    format!("process {pid} is out of the way, the log is checkpointed to its end");
                return Ok(Proof {
                    text,
                    loss: NO_LOSS,
                });
            }
        }
        Err(RepairError::Unproven(format!(
            "{backlog} frames are still not checkpointed: another reader holds them"
        )))
    }

    fn undo(&mut self, _begun: &[String]) -> Result<String, RepairError> {
        if pin(&self.reader, &self.scene.look(false)?).is_some() {
            return Ok("the reader was not ended, no row is changed".to_owned());
        }
        Err(RepairError::NoWayBack(
            "an ended process is not started again",
        ))
    }

    fn resume(&self, _step: &str) -> Resume {
        Resume::Finish
    }
}

/// The read mark of the reader that keeps frames from being checkpointed. Mark 0 reads the
/// database alone, and so keeps every frame out of it.
fn pin(reader: &Culprit, state: &SqliteState) -> Option<Pin> {
    let index = state.wal_index.as_ref()?;
    let pins = state.locks.iter().filter(|held| reader.holds(held));
    pins.filter_map(|held| match held.lock {
        Lock::WalRead(slot) => {
            let mark = *index.read_marks.get(usize::from(slot))?;
            (mark < index.max_frame).then_some(Pin { slot, mark })
        }
        _ => None,
    })
    .min_by_key(|pin| pin.mark)
}
