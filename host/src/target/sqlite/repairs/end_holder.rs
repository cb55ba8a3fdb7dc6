//! `lock.end-holder`: ends the process that holds the write lock and commits nothing.
//!
//! Safe at every kill point: a transaction that was not committed is rolled back by SQLite when its
//! process is gone, and no committed row is touched. Killed before the signal, nothing was done;
//! after it, the step is taken again, with all its checks. An ended process is not started again.

use serde::{Deserialize, Serialize};

use super::end_process::{Culprit, GRACE};
use super::{NO_LOSS, Scene, fact, integer_fact, is_busy, step, text_fact};
use crate::journal::{Intent, PlannedStep};
use crate::model::Value;
use crate::repair::{Proof, Repair, RepairError, Resume};
use crate::target::sqlite::{Lock, SqliteState};

/// What the holder must not move while it is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    /// The count of commits in the wal-index.
    change_counter: u32,
}

/// The repair.
pub(super) struct EndHolder {
    scene: Scene,
    holder: Culprit,
    /// The count of commits when the finding was made, if it says.
    found_at: Option<i64>,
    before: Option<Before>,
}

impl EndHolder {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let finding = &intent.finding;
        Ok(Self {
            scene,
            holder: Culprit {
                pid: u32::try_from(integer_fact(finding, "holder_pid")?)
                    .map_err(|_| RepairError::MissingFact("holder_pid"))?,
                start_ticks: integer_fact(finding, "holder_start_ticks")?,
                name: text_fact(finding, "holder_name")?,
            },
            found_at: match fact(finding, "change_counter") {
                Some(Value::Integer(count)) => Some(*count),
                _ => None,
            },
            before: Deserialize::deserialize(&intent.before)?,
        })
    }

    /// The count of commits while the process holds the lock.
    fn held(&mut self) -> Result<Before, RepairError> {
        let state = self.scene.look(false)?;
        if !holds_write_lock(&self.holder, &state) {
            return Err(RepairError::Unmet {
                name: "still-holds",
                detail: format!("process {} does not hold the write lock", self.holder.pid),
            });
        }
        match state.wal_index {
            Some(index) => Ok(Before {
                change_counter: index.change_counter,
            }),
            // A holder that changes the index right now is at work.
            None => Err(self.commits()),
        }
    }

    fn commits(&self) -> RepairError {
        RepairError::Unmet {
            name: "makes-no-progress",
            detail: format!("process {} commits", self.holder.pid),
        }
    }
}

impl Repair for EndHolder {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        self.holder.may_be_ended(&self.scene.site.may_end)?;
        let now = self.held()?;
        if self
            .found_at
            .is_some_and(|count| count != i64::from(now.change_counter))
        {
            return Err(self.commits());
        }
        Ok(serde_json::to_value(now)?)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let what = format!(
            "SIGTERM to process {} ({}), SIGKILL after {} s, if it still holds the lock and commits nothing",
            self.holder.pid,
            self.holder.name,
            GRACE.as_secs()
        );
        vec![step("end-process", what)]
    }

    fn apply(&mut self, _step: &str) -> Result<(), RepairError> {
        let (holder, may_end) = (self.holder.clone(), self.scene.site.may_end.clone());
        let before = self.before;
        holder.end(&may_end, &mut || {
            let now = self.held()?;
            if before.is_some_and(|before| before != now) {
                return Err(self.commits());
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The holder does not hold it any more, and a writer can begin.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let pid = self.holder.pid;
        if holds_write_lock(&self.holder, &self.scene.look(false)?) {
            let detail = format!("process {pid} still holds the lock");
            return Err(RepairError::Unproven(detail));
        }
        let db = self.scene.open()?;
        let begun = db.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        let text = match begun.map_err(RepairError::from) {
            Ok(()) => format!("process {pid} is out of the way, a write transaction can begin"),
            // Whoever waited longest has it now: the way is free, only not for this process.
            Err(error) if is_busy(&error) => {
                format!("process {pid} is out of the way, others write")
            }
            Err(error) => return Err(error),
        };
        Ok(Proof {
            text,
            loss: NO_LOSS,
        })
    }

    fn undo(&mut self, _begun: &[String]) -> Result<String, RepairError> {
        if holds_write_lock(&self.holder, &self.scene.look(false)?) {
            return Ok("the holder was not ended, nothing is changed".to_owned());
        }
        Err(RepairError::NoWayBack(
            "an ended process is not started again",
        ))
    }

    fn resume(&self, _step: &str) -> Resume {
        Resume::Finish
    }
}

fn holds_write_lock(holder: &Culprit, state: &SqliteState) -> bool {
    let held = |lock: &&crate::target::sqlite::LockHolder| lock.lock == Lock::WalWrite;
    state.locks.iter().filter(held).any(|h| holder.holds(h))
}
