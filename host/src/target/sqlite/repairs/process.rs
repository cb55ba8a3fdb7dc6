//! Ending a process that holds what others need: the write lock, or the end of the log.
//!
//! Safe at every point: a transaction that was not committed is rolled back by SQLite when its
//! process is gone; no committed row is touched. Only a process on the target's list is ended, and
//! only the very one that was seen: its start time is compared again through a pidfd, which names
//! one process and never its successor.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::log::truncate_log;
use super::{Scene, integer_fact, is_same, step, text_fact};
use crate::journal::PlannedStep;
use crate::model::{DataLoss, Finding};
use crate::repair::{Proof, Repair, RepairError};
use crate::target::sqlite::locks;
use crate::target::sqlite::{Lock, SqliteState};

/// How long a process has to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait for the kernel to end a process after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(2);

const NO_LOSS: DataLoss = DataLoss {
    commits: 0,
    percent: 0.0,
};

/// A process that may be ended.
struct Holder {
    scene: Scene,
    pid: u32,
    start_ticks: u64,
    name: String,
    /// Whether a lock is one that it holds up others with.
    in_the_way: fn(&Lock) -> bool,
}

impl Holder {
    fn new(
        scene: Scene,
        finding: &Finding,
        facts: [&'static str; 3],
        in_the_way: fn(&Lock) -> bool,
    ) -> Result<Self, RepairError> {
        let [pid, start_ticks, name] = facts;
        Ok(Self {
            scene,
            pid: u32::try_from(integer_fact(finding, pid)?).unwrap_or_default(),
            start_ticks: integer_fact(finding, start_ticks)?,
            name: text_fact(finding, name)?,
            in_the_way,
        })
    }

    fn has_lock(&self, state: &SqliteState) -> bool {
        state.locks.iter().any(|held| {
            is_same(&held.process, self.pid, self.start_ticks) && (self.in_the_way)(&held.lock)
        })
    }

    /// On the list, the same process, still in the way, and without a commit between two looks.
    fn precondition(&self) -> Result<(), RepairError> {
        if !self.scene.site.may_end.contains(&self.name) {
            let detail = format!("`{}` does not stand in the target's may_end", self.name);
            return Err(RepairError::Unmet {
                name: "process-may-be-ended",
                detail,
            });
        }
        // Init, this process and the one that started it are never ended, whatever a list says.
        if self.pid <= 1
            || self.pid == std::process::id()
            || self.pid == std::os::unix::process::parent_id()
        {
            let detail = format!("pid {} is init, dbmedic or its parent", self.pid);
            return Err(RepairError::Unmet {
                name: "holder-is-another",
                detail,
            });
        }
        let mut raw = self.scene.raw()?;
        let first = self.scene.look(&mut raw, false)?;
        let second = self.scene.look(&mut raw, false)?;
        let commits = |state: &SqliteState| state.wal_index.as_ref().map(|i| i.change_counter);
        if !self.has_lock(&first) || !self.has_lock(&second) {
            let detail = format!("process {} has let go", self.pid);
            return Err(RepairError::Unmet {
                name: "still-holds",
                detail,
            });
        }
        if (self.in_the_way)(&Lock::WalWrite) && commits(&first) != commits(&second) {
            let detail = format!("process {} commits", self.pid);
            return Err(RepairError::Unmet {
                name: "makes-no-progress",
                detail,
            });
        }
        Ok(())
    }

    /// Ends the process: SIGTERM, then SIGKILL. One that is already gone needs no ending.
    fn end(&self) -> Result<(), RepairError> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(std::io::Error::from(error).into()),
        };
        // The descriptor names one process from here on; only now is it worth comparing.
        match locks::process(self.pid) {
            Some(seen) if is_same(&seen, self.pid, self.start_ticks) => {}
            _ => return Ok(()),
        }
        for (signal, wait) in [(Signal::TERM, GRACE), (Signal::KILL, KILL_WAIT)] {
            match pidfd_send_signal(&process, signal) {
                Ok(()) => {}
                Err(rustix::io::Errno::SRCH) => return Ok(()),
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
            if has_ended(&process, wait)? {
                return Ok(());
            }
        }
        Err(RepairError::Unproven(format!(
            "process {} outlives SIGKILL",
            self.pid
        )))
    }

    /// Whether it is out of the way.
    fn is_gone(&self) -> Result<bool, RepairError> {
        let state = self.scene.look(&mut self.scene.raw()?, false)?;
        Ok(!self.has_lock(&state))
    }

    fn end_step(&self) -> PlannedStep {
        let what = format!(
            "SIGTERM to process {} ({}), SIGKILL after {} s",
            self.pid,
            self.name,
            GRACE.as_secs()
        );
        step("end-process", what)
    }
}

/// Waits for a process's end.
fn has_ended(process: &OwnedFd, wait: Duration) -> Result<bool, RepairError> {
    let timeout = Timespec {
        tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    let ready = poll(&mut fds, Some(&timeout)).map_err(std::io::Error::from)?;
    Ok(ready > 0)
}

/// `lock.end-holder`: ends the process that holds the write lock and commits nothing.
pub(super) struct EndHolder(Holder);

impl EndHolder {
    pub(super) fn new(scene: Scene, finding: &Finding) -> Result<Self, RepairError> {
        let facts = ["holder_pid", "holder_start_ticks", "holder_name"];
        Ok(Self(Holder::new(scene, finding, facts, |lock| {
            *lock == Lock::WalWrite
        })?))
    }
}

impl Repair for EndHolder {
    fn precondition(&mut self) -> Result<(), RepairError> {
        self.0.precondition()
    }

    fn plan(&self) -> Vec<PlannedStep> {
        vec![self.0.end_step()]
    }

    fn apply(&mut self, _step: &str) -> Result<(), RepairError> {
        self.0.end()
    }

    /// The holder is gone and a writer can begin.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        if !self.0.is_gone()? {
            return Err(RepairError::Unproven(format!(
                "process {} still holds the lock",
                self.0.pid
            )));
        }
        let db = self.0.scene.open()?;
        db.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?;
        let text = format!(
            "process {} is gone, a write transaction can begin",
            self.0.pid
        );
        Ok(Proof {
            text,
            loss: NO_LOSS,
        })
    }

    fn undo(&mut self) -> Result<String, RepairError> {
        if self.0.is_gone()? {
            return Err(RepairError::NoWayBack(
                "an ended process is not started again",
            ));
        }
        Ok("the holder was not ended, nothing is changed".to_owned())
    }
}

/// `wal.release-reader`: ends the reader that pins the log, then empties the log.
pub(super) struct ReleaseReader(Holder);

impl ReleaseReader {
    pub(super) fn new(scene: Scene, finding: &Finding) -> Result<Self, RepairError> {
        let facts = ["reader_pid", "reader_start_ticks", "reader_name"];
        Ok(Self(Holder::new(scene, finding, facts, |lock| {
            matches!(lock, Lock::WalRead(_))
        })?))
    }
}

impl Repair for ReleaseReader {
    fn precondition(&mut self) -> Result<(), RepairError> {
        self.0.precondition()
    }

    fn plan(&self) -> Vec<PlannedStep> {
        vec![self.0.end_step(), super::log::truncate_step()]
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        if step == "end-process" {
            self.0.end()
        } else {
            truncate_log(&self.0.scene)
        }
    }

    /// The reader is gone and the log can be, and is, checkpointed.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        if !self.0.is_gone()? {
            return Err(RepairError::Unproven(format!(
                "process {} still reads",
                self.0.pid
            )));
        }
        let text = super::log::checkpointed(&self.0.scene)?;
        Ok(Proof {
            text: format!("process {} is gone; {text}", self.0.pid),
            loss: NO_LOSS,
        })
    }

    fn undo(&mut self) -> Result<String, RepairError> {
        if self.0.is_gone()? {
            return Err(RepairError::NoWayBack(
                "an ended process is not started again",
            ));
        }
        Ok("the reader was not ended, nothing is changed".to_owned())
    }
}
