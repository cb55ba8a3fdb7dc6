//! `lock.end-holder`: ends the process that holds the write lock and commits nothing, or in rollback
//! mode a read lock for which a writer waits.
//!
//! Safe at every kill point: a transaction that was not committed is rolled back by SQLite when its
//! process is gone, and no committed row is touched. Killed before the signal, nothing was done;
//! after it, the step is taken again, with all its checks. An ended process is not started again.

use serde::{Deserialize, Serialize};

use super::InRepair as _;
use super::end_process::{Culprit, Ending, GRACE, Moment};
use super::hold::{HeldLock, standing};
use super::{Scene, fact, is_busy, step};
use crate::model::Value;
use crate::repair::{Intent, Loss, PlannedStep, Proof, Repair, RepairError, Resume};
use crate::sqlite_state::SqliteState;

/// What the holder must not move while it is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    /// The count of commits, in the wal-index or in the file's header.
    change_counter: u32,
    /// By which it is seen whether the holder ran since; none in what older versions wrote down.
    #[serde(default)]
    run_mark: Option<u64>,
}

/// The repair.
pub(super) struct EndHolder {
    scene: Scene,
    holder: Culprit,
    lock: HeldLock,
    /// The count of commits when the finding was made, if it says.
    found_at: Option<i64>,
    /// The holder's run mark then, if it says.
    found_mark: Option<i64>,
    before: Option<Before>,
    /// How the process was ended, in this run of dbmedic.
    ending: Option<Ending>,
}

impl EndHolder {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let finding = &intent.finding;
        let whole = |name: &str| match fact(finding, name) {
            Some(Value::Integer(count)) => Some(*count),
            _ => None,
        };
        Ok(Self {
            scene,
            holder: Culprit::of(finding, "holder")?,
            lock: HeldLock::of(finding),
            found_at: whole("change_counter"),
            found_mark: whole("holder_run_mark"),
            before: Deserialize::deserialize(&intent.before)?,
            ending: None,
        })
    }

    /// What must not move, while the process holds the lock and is at rest.
    fn held(&mut self) -> Result<Before, RepairError> {
        let lock = self.lock;
        let standing = standing(&mut self.scene, &self.holder, &|held, _| lock.is(held))?;
        if standing.ran {
            return Err(self.ran());
        }
        if let Some(why) = lock.objection(&self.holder, &standing.state) {
            return Err(why);
        }
        match lock.change_counter(&standing.state) {
            Some(change_counter) => Ok(Before {
                change_counter,
                run_mark: Some(standing.activity.mark()),
            }),
            // A holder that changes the index right now is at work.
            None => Err(self.commits()),
        }
    }

    /// The same right before a signal: nothing has moved since the repair was begun.
    fn in_the_way(&mut self, moment: Moment) -> Result<(), RepairError> {
        let now = self.held()?;
        let Some(before) = self.before else {
            return Ok(());
        };
        if before.change_counter != now.change_counter {
            return Err(self.commits());
        }
        // The first signal made it run.
        if moment == Moment::First && before.run_mark.is_some() && before.run_mark != now.run_mark {
            return Err(self.ran());
        }
        Ok(())
    }

    /// Whether the process still holds its lock.
    fn holds(&self, state: &SqliteState) -> bool {
        let mut held = state.locks.iter().filter(|held| self.lock.is(held));
        held.any(|held| self.holder.holds(held))
    }

    fn commits(&self) -> RepairError {
        RepairError::Unmet {
            name: "makes-no-progress",
            detail: format!("process {} commits", self.holder.pid),
        }
    }

    fn ran(&self) -> RepairError {
        RepairError::Unmet {
            name: "has-not-run",
            detail: format!(
                "process {} ran since the finding: whether it still is the same hold is not proven",
                self.holder.pid
            ),
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
        let mark = now.run_mark.and_then(|mark| i64::try_from(mark).ok());
        if self.found_mark.is_some() && self.found_mark != mark {
            return Err(self.ran());
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
        let ending = holder.end(&may_end, &mut |moment| self.in_the_way(moment))?;
        self.ending = Some(ending);
        Ok(())
    }

    /// The holder does not hold it any more, what became of it, and a writer can begin.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let pid = self.holder.pid;
        let state = self.scene.look(false)?;
        if self.holds(&state) {
            let detail = format!("process {pid} still holds the lock");
            return Err(RepairError::Unproven(detail));
        }
        let what = match self.ending {
            Some(Ending::AfterTerm) => format!("process {pid} ended on SIGTERM"),
            Some(Ending::AfterKill) => format!("process {pid} was ended with SIGKILL"),
            Some(Ending::LetGo) => format!("process {pid} let go on SIGTERM and lives"),
            Some(Ending::WasGone) => format!("process {pid} had ended by itself"),
            None if self.holder.is_running() => format!("process {pid} let go and lives"),
            None => format!("process {pid} is gone"),
        };
        let now = self.lock.change_counter(&state);
        let commits = self.before.zip(now).map_or("", |(before, now)| {
            if before.change_counter == now {
                "; nothing was committed meanwhile"
            } else {
                "; others committed since, or it did before it ended"
            }
        });
        let db = self.scene.open()?;
        let begun = db.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        let way = match begun.in_repair() {
            Ok(()) => "a write transaction can begin",
            // Whoever waited longest has it now: the way is free, only not for this process.
            Err(error) if is_busy(&error) => "others write",
            Err(error) => return Err(error),
        };
        Ok(Proof::new(
            format!("{what}{commits}; {way}"),
            Loss::OnlyUncommitted,
        ))
    }

    fn undo(&mut self, _begun: &[String]) -> Result<String, RepairError> {
        let state = self.scene.look(false)?;
        if self.holds(&state) {
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
