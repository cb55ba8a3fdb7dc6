//! Ending the one process that a finding names.
//!
//! Only a process on the target's list is ended, only the very one that was seen, and only while
//! it still does what it is ended for: everything is checked again through a pidfd, which names one
//! process and never its successor, right before each signal. What is left is the moment between
//! the check and the signal: a transaction committed in it is committed all the same.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::hold::STILL_HOLDS;
use super::{integer_fact, text_fact};
use crate::model::Finding;
use crate::repair::RepairError;
use crate::sqlite::activity;
use crate::sqlite::locks;
use crate::sqlite::worker::{self, Granted, Wish};
use crate::sqlite_state::{LockHolder, RunState, on_purpose};

/// How long a process has to end by itself after SIGTERM.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// How long to wait for the kernel to end a process after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// A process that is to be ended.
#[derive(Debug, Clone)]
pub(super) struct Culprit {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
    pub(super) name: String,
}

/// How long a process that runs after SIGTERM is waited for: it may be rolling back, or finishing
/// what it does.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a process must not run at all after SIGTERM before it is killed: one that runs again and
/// again, however little, heeds the signal in its own time.
const REST: Duration = Duration::from_secs(1);

/// Between two looks at a process that runs after SIGTERM.
const PAUSE: Duration = Duration::from_millis(200);

/// How the attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The process was gone before anything was done.
    WasGone,
    /// It ended on SIGTERM.
    AfterTerm,
    /// It was ended with SIGKILL.
    AfterKill,
    /// It lives, but after SIGTERM no longer does what it was to be ended for.
    LetGo,
}

/// Which signal is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The first one.
    First,
    /// SIGKILL, after SIGTERM did not help.
    Last,
}

impl Culprit {
    /// The process that a finding names in the facts of this prefix.
    pub(super) fn of(finding: &Finding, prefix: &'static str) -> Result<Self, RepairError> {
        let [pid, start_ticks, name] = match prefix {
            "holder" => ["holder_pid", "holder_start_ticks", "holder_name"],
            _ => ["reader_pid", "reader_start_ticks", "reader_name"],
        };
        Ok(Self {
            pid: u32::try_from(integer_fact(finding, pid)?)
                .map_err(|_| RepairError::MissingFact(pid))?,
            start_ticks: integer_fact(finding, start_ticks)?,
            name: text_fact(finding, name)?,
        })
    }

    /// Whether this very process still runs.
    pub(super) fn is_running(&self) -> bool {
        locks::process(self.pid).is_some_and(|seen| seen.start_ticks == self.start_ticks)
    }

    /// Whether this lock is held by this very process: a pid is used again, a pid with its start
    /// is not.
    pub(super) fn holds(&self, held: &LockHolder) -> bool {
        held.process.pid == self.pid && held.process.start_ticks == self.start_ticks
    }

    /// Whether the process may be ended at all.
    pub(super) fn may_be_ended(&self, may_end: &[String]) -> Result<(), RepairError> {
        if !may_end.contains(&self.name) {
            return Err(RepairError::Unmet {
                name: "process-may-be-ended",
                detail: format!(
                    "`{}` does not stand in the target's may_end (--may-end for one visit)",
                    self.name
                ),
            });
        }
        if let Some(purpose) = on_purpose::purpose(&self.name) {
            return Err(RepairError::Unmet {
                name: "process-may-be-ended",
                detail: format!("`{}` {purpose} and holds its lock on purpose", self.name),
            });
        }
        // Whatever a list says: never init, never this process or one that it came from.
        if self.pid <= 1 || ancestry(std::process::id()).contains(&self.pid) {
            return Err(RepairError::Unmet {
                name: "holder-is-another",
                detail: format!("pid {} is init, dbmedic, or what started it", self.pid),
            });
        }
        Ok(())
    }

    /// Ends the process: SIGTERM, and SIGKILL when it is still in the way after the grace time and
    /// does not run any more. `in_the_way` says, right before each signal, whether it still does what
    /// it is ended for ([`RepairError::Unmet`] if not).
    pub(super) fn end(
        &self,
        may_end: &[String],
        in_the_way: &mut dyn FnMut(Moment) -> Result<(), RepairError>,
    ) -> Result<Ending, RepairError> {
        self.may_be_ended(may_end)?;
        let Some(process) = self.open()? else {
            return Ok(Ending::WasGone);
        };
        in_the_way(Moment::First)?;
        if !self.signal(&process, Signal::TERM)? {
            return Ok(Ending::WasGone);
        }
        // A stopped process heeds no SIGTERM before it goes on.
        if self.state() == Some(RunState::Stopped) {
            self.signal(&process, Signal::CONT)?;
        }
        if has_ended(&process, GRACE)? {
            return Ok(Ending::AfterTerm);
        }
        let until = Instant::now() + PATIENCE;
        let mut rested = Duration::ZERO;
        loop {
            let before = activity::with_descendants(self.pid, &[]);
            if has_ended(&process, PAUSE)? {
                return Ok(Ending::AfterTerm);
            }
            let now = activity::with_descendants(self.pid, &[]);
            let works = match (before, now) {
                (Some(before), Some(now)) => now.has_run_since(&before),
                _ => true,
            };
            rested = if works {
                Duration::ZERO
            } else {
                rested + PAUSE
            };
            match in_the_way(Moment::Last) {
                Ok(()) if rested >= REST => break,
                // It heeds the signal, only slowly.
                Err(RepairError::Unmet { name, .. }) if name == STILL_HOLDS => {
                    return Ok(Ending::LetGo);
                }
                Ok(()) | Err(RepairError::Unmet { .. }) => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                let detail = format!(
                    "process {} got SIGTERM, still holds its lock and is at work: it is not killed",
                    self.pid
                );
                return Err(RepairError::Unproven(detail));
            }
        }
        if !self.signal(&process, Signal::KILL)? || has_ended(&process, KILL_WAIT)? {
            return Ok(Ending::AfterKill);
        }
        let detail = format!("process {} outlives SIGKILL", self.pid);
        Err(RepairError::Unproven(detail))
    }

    /// Sends a signal; false when the process is gone. Where this worker has no right to, whoever
    /// started it sends the signal, if it finds it right.
    fn signal(&self, process: &OwnedFd, signal: Signal) -> Result<bool, RepairError> {
        match pidfd_send_signal(process, signal) {
            Ok(()) => return Ok(true),
            Err(Errno::SRCH) => return Ok(false),
            Err(Errno::PERM) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        let granted = worker::ask_parent(Wish::Signal {
            pid: self.pid,
            start_ticks: self.start_ticks,
            signal: signal.as_raw(),
        })?;
        match granted {
            Some(Granted::Done) => Ok(true),
            Some(Granted::Gone) => Ok(false),
            Some(Granted::Refused(why)) => Err(RepairError::Unmet {
                name: "process-may-be-ended",
                detail: why,
            }),
            None => Err(std::io::Error::from(Errno::PERM).into()),
        }
    }

    /// Lets a stopped process go on (SIGCONT). `is_stopped` says, right before the signal, whether
    /// it still is what it is let go on for. False when the process is gone.
    pub(super) fn let_go_on(
        &self,
        may_end: &[String],
        is_stopped: &mut dyn FnMut() -> Result<(), RepairError>,
    ) -> Result<bool, RepairError> {
        self.may_be_ended(may_end)?;
        let Some(process) = self.open()? else {
            return Ok(false);
        };
        is_stopped()?;
        self.signal(&process, Signal::CONT)
    }

    /// What the process is doing now; none when it is gone.
    pub(super) fn state(&self) -> Option<RunState> {
        activity::activity(self.pid).map(|activity| activity.state)
    }

    /// A descriptor of the process; none when it is gone.
    fn open(&self) -> Result<Option<OwnedFd>, RepairError> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(std::io::Error::from(error).into()),
        };
        // The descriptor names one process from here on: only now is it worth comparing. When that
        // process still lives afterwards, it was the one that was read about.
        let seen = locks::process(self.pid);
        if has_ended(&process, Duration::ZERO)? {
            return Ok(None);
        }
        let is_meant = seen.is_some_and(|seen| seen.start_ticks == self.start_ticks);
        Ok(is_meant.then_some(process))
    }
}

/// Waits for a process's end.
fn has_ended(process: &OwnedFd, wait: Duration) -> Result<bool, RepairError> {
    let timeout = Timespec::try_from(wait).map_err(std::io::Error::other)?;
    let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))
        .map_err(std::io::Error::from)?;
    Ok(ready > 0)
}

/// A process and all that it came from, as far as can be seen.
fn ancestry(pid: u32) -> Vec<u32> {
    let mut line = vec![pid];
    while let Some(parent) = line.last().and_then(|pid| activity::parent_of(*pid)) {
        if parent == 0 || line.contains(&parent) {
            break;
        }
        line.push(parent);
    }
    line
}
