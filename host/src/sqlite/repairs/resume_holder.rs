//! `lock.resume-holder`: lets a stopped process go on (SIGCONT), so that it can finish its
//! transaction and let go of its lock by itself.
//!
//! Somebody may have stopped it for a reason: only a process that may be ended is let go on. Safe at
//! every kill point: a process that goes on is not stopped again, and to let it go on twice is to do
//! so once.

use std::thread;
use std::time::{Duration, Instant};

use super::end_process::Culprit;
use super::hold::{HeldLock, STILL_HOLDS, standing};
use super::{Scene, fact, step};
use crate::repair::{Intent, Loss, PlannedStep, Proof, Repair, RepairError, Resume};
use crate::sqlite_state::{LockHolder, RunState, SqliteState};

/// How long a process that goes on is waited for to let go of its lock.
const WAIT: Duration = Duration::from_secs(2);

/// Between two looks meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// The repair.
pub(super) struct ResumeHolder {
    scene: Scene,
    holder: Culprit,
    /// The lock that it holds; none for one that pins the log.
    lock: Option<HeldLock>,
}

/// Whether a lock is one that it is let go on for.
fn is_in_the_way(lock: Option<HeldLock>, held: &LockHolder, state: &SqliteState) -> bool {
    if let Some(lock) = lock {
        return lock.is(held);
    }
    let index = state.wal_index.as_ref();
    index.is_some_and(|index| index.is_pinned_by(held.lock))
}

impl ResumeHolder {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let finding = &intent.finding;
        let holds = fact(finding, "holder_pid").is_some();
        Ok(Self {
            scene,
            holder: Culprit::of(finding, if holds { "holder" } else { "reader" })?,
            lock: holds.then(|| HeldLock::of(finding)),
        })
    }

    fn stopped(&mut self) -> Result<(), RepairError> {
        let lock = self.lock;
        let which = move |held: &LockHolder, state: &SqliteState| is_in_the_way(lock, held, state);
        let standing = standing(&mut self.scene, &self.holder, &which)?;
        let objection = lock.and_then(|lock| lock.objection(&self.holder, &standing.state));
        if let Some(why) = objection {
            return Err(why);
        }
        if standing.activity.state == RunState::Stopped {
            return Ok(());
        }
        Err(RepairError::Unmet {
            name: "is-stopped",
            detail: format!("process {} is not stopped", self.holder.pid),
        })
    }

    /// Whether it holds what it was let go on for.
    fn still_holds(&mut self) -> Result<bool, RepairError> {
        let state = self.scene.look(false)?;
        let lock = self.lock;
        let holds =
            |held: &LockHolder| self.holder.holds(held) && is_in_the_way(lock, held, &state);
        Ok(state.locks.iter().any(holds))
    }
}

impl Repair for ResumeHolder {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        self.holder.may_be_ended(&self.scene.site.may_end)?;
        self.stopped()?;
        Ok(serde_json::Value::Null)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let what = format!(
            "SIGCONT to process {} ({}), if it is still stopped and holds the lock",
            self.holder.pid, self.holder.name
        );
        vec![step("resume-process", what)]
    }

    fn apply(&mut self, _step: &str) -> Result<(), RepairError> {
        let (holder, may_end) = (self.holder.clone(), self.scene.site.may_end.clone());
        let gone = !holder.let_go_on(&may_end, &mut || self.stopped())?;
        if gone {
            return Err(RepairError::Unmet {
                name: STILL_HOLDS,
                detail: format!("process {} is gone", holder.pid),
            });
        }
        Ok(())
    }

    /// The lock is free, or at least the process goes on and may free it.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let pid = self.holder.pid;
        let until = Instant::now() + WAIT;
        while self.still_holds()? {
            if Instant::now() < until {
                thread::sleep(PAUSE);
                continue;
            }
            if self.holder.state() == Some(RunState::Stopped) {
                let detail = format!("process {pid} is stopped all the same");
                return Err(RepairError::Unproven(detail));
            }
            return Ok(Proof::new(
                format!("process {pid} goes on; it has not let go of the lock yet"),
                Loss::Untouched,
            ));
        }
        Ok(Proof::new(
            format!("process {pid} went on and let go of the lock"),
            Loss::Untouched,
        ))
    }

    fn undo(&mut self, _begun: &[String]) -> Result<String, RepairError> {
        if self.holder.state() == Some(RunState::Stopped) {
            return Ok("it is stopped as before, nothing is changed".to_owned());
        }
        Err(RepairError::NoWayBack(
            "a process that goes on is not stopped again",
        ))
    }

    fn resume(&self, _step: &str) -> Resume {
        Resume::Finish
    }
}
