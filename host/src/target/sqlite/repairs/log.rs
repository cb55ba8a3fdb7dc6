//! Repairs of the write-ahead log: emptying it, and keeping what is valid of a damaged one.

use std::path::PathBuf;

use rusqlite::Connection;

use super::{Scene, integer_fact, step};
use crate::journal::{Intent, PlannedStep};
use crate::model::DataLoss;
use crate::repair::{Proof, Repair, RepairError};

const NO_LOSS: DataLoss = DataLoss {
    commits: 0,
    percent: 0.0,
};

/// What `PRAGMA wal_checkpoint` answers.
struct CheckpointAnswer {
    busy: bool,
    log_frames: i64,
    checkpointed_frames: i64,
}

fn checkpoint(db: &Connection, mode: &str) -> Result<CheckpointAnswer, RepairError> {
    Ok(
        db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok(CheckpointAnswer {
                busy: row.get::<_, i64>(0)? != 0,
                log_frames: row.get(1)?,
                checkpointed_frames: row.get(2)?,
            })
        })?,
    )
}

pub(super) fn truncate_step() -> PlannedStep {
    step(
        "checkpoint",
        "checkpoint the whole log into the database and truncate it".to_owned(),
    )
}

/// Checkpoints and truncates; with others at work, as far as it goes. Safe at every point: SQLite
/// syncs the database before it lets go of a frame.
pub(super) fn truncate_log(scene: &Scene) -> Result<(), RepairError> {
    let db = scene.open()?;
    if checkpoint(&db, "TRUNCATE")?.busy {
        checkpoint(&db, "PASSIVE")?;
    }
    Ok(())
}

/// Proves that nothing keeps the log from being checkpointed: `log == checkpointed`, as the file's
/// size says nothing (a log that is reused keeps its size).
pub(super) fn checkpointed(scene: &Scene) -> Result<String, RepairError> {
    let db = scene.open()?;
    let mut left = 0;
    // Writers go on meanwhile: a frame appended between two looks is not a failure.
    for _ in 0..20 {
        let answer = checkpoint(&db, "PASSIVE")?;
        left = answer.log_frames - answer.checkpointed_frames;
        if left <= 0 {
            return Ok(format!(
                "the log is checkpointed to its end ({} frames)",
                answer.log_frames.max(0)
            ));
        }
    }
    Err(RepairError::Unproven(format!(
        "{left} frames are still not checkpointed"
    )))
}

/// `wal.checkpoint`: empties a log that nobody holds back.
pub(super) struct Checkpoint(Scene);

impl Checkpoint {
    pub(super) fn new(scene: Scene) -> Self {
        Self(scene)
    }
}

impl Repair for Checkpoint {
    fn precondition(&mut self) -> Result<(), RepairError> {
        let mut raw = self.0.raw()?;
        let state = self.0.look(&mut raw, true)?;
        if let Some(frame) = state.wal.and_then(|wal| wal.first_bad_frame) {
            let detail = format!("frame {frame} is damaged: a checkpoint would drop what follows");
            return Err(RepairError::Unmet {
                name: "log-sound",
                detail,
            });
        }
        Ok(())
    }

    fn plan(&self) -> Vec<PlannedStep> {
        vec![truncate_step()]
    }

    fn apply(&mut self, _step: &str) -> Result<(), RepairError> {
        truncate_log(&self.0)
    }

    fn verify(&mut self) -> Result<Proof, RepairError> {
        Ok(Proof {
            text: checkpointed(&self.0)?,
            loss: NO_LOSS,
        })
    }

    /// A checkpoint moves frames from one place of the same database to another: no row changes.
    fn undo(&mut self) -> Result<String, RepairError> {
        Ok("a checkpoint changes no row, nothing is to be taken back".to_owned())
    }
}

/// `wal.keep-valid-prefix`: replays a damaged log up to its last sound transaction.
///
/// SQLite does the replaying: its own recovery takes the longest valid prefix and its checkpoint
/// moves it into the database, which is safe to interrupt at any point. Until then the database is
/// held exclusively, so nobody appends behind the damage, and all its files are copied aside first.
pub(super) struct KeepValidPrefix {
    scene: Scene,
    copy: PathBuf,
    salts: (u64, u64),
    first_bad_frame: u64,
    last_commit_frame: u64,
    loss: DataLoss,
    /// Held from the first look in the act to the end of verification.
    held: Option<Connection>,
}

impl KeepValidPrefix {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let finding = &intent.finding;
        Ok(Self {
            copy: scene.site.copies.join(&intent.repair_id),
            salts: (
                integer_fact(finding, "salt_1")?,
                integer_fact(finding, "salt_2")?,
            ),
            first_bad_frame: integer_fact(finding, "first_bad_frame")?,
            last_commit_frame: integer_fact(finding, "last_commit_frame")?,
            loss: intent.candidate.expected_loss,
            scene,
            held: None,
        })
    }

    /// Takes the database for this process alone. The wal-index then lives in this process's memory
    /// and SQLite has read the log; nothing is written.
    fn hold(&mut self) -> Result<&Connection, RepairError> {
        if self.held.is_none() {
            let db = self.scene.open()?;
            db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                row.get::<_, i64>(0)
            })?;
            self.held = Some(db);
        }
        self.held
            .as_ref()
            .ok_or(RepairError::Unproven("the database is not held".to_owned()))
    }

    /// Whether the log is still damaged in the very way that was planned for.
    fn is_as_planned(&self) -> Result<bool, RepairError> {
        let mut raw = self.scene.raw()?;
        let state = self.scene.look(&mut raw, true)?;
        Ok(state.wal.is_some_and(|wal| {
            (u64::from(wal.salts.0), u64::from(wal.salts.1)) == self.salts
                && wal.first_bad_frame == Some(self.first_bad_frame)
                && wal.last_commit_frame == self.last_commit_frame
        }))
    }
}

impl Repair for KeepValidPrefix {
    fn precondition(&mut self) -> Result<(), RepairError> {
        let mut raw = self.scene.raw()?;
        let state = self.scene.look(&mut raw, false)?;
        if let Some(other) = state.locks.first() {
            let detail = format!("open in {} (pid {})", other.process.name, other.process.pid);
            return Err(RepairError::Unmet {
                name: "no-other-process",
                detail,
            });
        }
        if !self.is_as_planned()? {
            let detail = "the log is not damaged as it was planned for".to_owned();
            return Err(RepairError::Unmet {
                name: "same-damage",
                detail,
            });
        }
        Ok(())
    }

    fn plan(&self) -> Vec<PlannedStep> {
        vec![
            step(
                "copy-aside",
                "take the database alone and copy its files aside, synced".to_owned(),
            ),
            step(
                "replay",
                format!(
                    "replay the log up to frame {}, truncate it",
                    self.last_commit_frame
                ),
            ),
        ]
    }

    fn apply(&mut self, name: &str) -> Result<(), RepairError> {
        match name {
            "copy-aside" => {
                self.hold()?;
                if !self.is_as_planned()? {
                    let detail = "the log changed before it was held".to_owned();
                    return Err(RepairError::Unmet {
                        name: "same-damage",
                        detail,
                    });
                }
                self.scene.raw()?.copy(self.scene.path(), &self.copy)?;
                Ok(())
            }
            _ => {
                let last_commit_frame = self.last_commit_frame;
                let db = self.hold()?;
                let answer = checkpoint(db, "TRUNCATE")?;
                // -1 and 0: the log was already replayed and truncated before an interruption.
                let replayed = answer.log_frames.max(0);
                if answer.busy || (replayed != 0 && replayed.unsigned_abs() != last_commit_frame) {
                    return Err(RepairError::Unproven(format!(
                        "{replayed} frames were replayed, {last_commit_frame} were planned"
                    )));
                }
                Ok(())
            }
        }
    }

    /// The log is empty, and SQLite finds the database whole.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let (kept, loss) = (self.last_commit_frame, self.loss);
        let db = self.hold()?;
        let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(RepairError::Unproven(verdict));
        }
        // In exclusive mode the lock outlives the transaction; closing gives the database back.
        self.held = None;
        let state = self.scene.look(&mut self.scene.raw()?, true)?;
        if let Some(frame) = state.wal.and_then(|wal| wal.first_bad_frame) {
            return Err(RepairError::Unproven(format!(
                "frame {frame} of the log is still damaged"
            )));
        }
        let text = format!(
            "{kept} frames replayed, the log is empty, integrity check ok, originals in {}",
            self.copy.display()
        );
        Ok(Proof { text, loss })
    }

    /// Puts the files back as they were copied. Before the copy was whole nothing was changed.
    fn undo(&mut self) -> Result<String, RepairError> {
        self.held = None;
        let mut raw = self.scene.raw()?;
        if self.is_as_planned()? {
            return Ok("the files are as they were".to_owned());
        }
        raw.restore(self.scene.path(), &self.copy)?;
        if !self.is_as_planned()? {
            return Err(RepairError::Unproven(
                "the files are not as they were".to_owned(),
            ));
        }
        Ok("the files were put back as they were".to_owned())
    }
}
