//! A repair as it is carried out: in a worker with the rights of the database's owner.
//!
//! The worker builds the same repair from the same intent and does its parts. A worker that is gone is
//! replaced by one that knows what a new start would know. Only signals are sent from here, because the
//! worker may not have the right to: to the process that the finding names and no other, and only when
//! this process sees for itself that it uses the database.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::end_process::Culprit;
use crate::repair::{Intent, PlannedStep, Proof, Repair, RepairError, Resume, Site};
use crate::sqlite::files::Files;
use crate::sqlite::locks;
use crate::sqlite::sql::{Answer, Part, SqlProcess};
use crate::sqlite::worker::{FailureKind, Granted, Place, Wish, WorkerError};

/// A repair whose parts a worker does.
pub(super) struct InWorker {
    intent: Intent,
    site: Site,
    process: SqlProcess,
    /// The worker that the repair was built in.
    built_in: Option<u64>,
    /// Whether an earlier run began the repair, whose workers may still be about to end.
    resumed: bool,
    /// The same repair here, for what needs no database.
    here: Box<dyn Repair>,
}

impl InWorker {
    /// The repair that an intent names, ready to act on the site.
    ///
    /// # Errors
    /// When the repair is unknown or the finding lacks a fact that it needs.
    pub(super) fn new(intent: &Intent, site: &Site) -> Result<Self, RepairError> {
        Ok(Self {
            here: super::for_intent(intent, site)?,
            intent: intent.clone(),
            site: site.clone(),
            process: SqlProcess::new(&site.exe),
            built_in: None,
            resumed: false,
        })
    }

    /// The same for a repair that an earlier run began.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn resumed(intent: &Intent, site: &Site) -> Result<Self, RepairError> {
        Ok(Self {
            resumed: true,
            ..Self::new(intent, site)?
        })
    }

    /// The same repair, made of nothing but its intent as it is now.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn of(self, intent: &Intent) -> Result<Self, RepairError> {
        Ok(Self {
            here: super::for_intent(intent, &self.site)?,
            intent: intent.clone(),
            built_in: None,
            ..self
        })
    }

    fn part(&mut self, part: Part) -> Result<Answer, RepairError> {
        let built = self.built_in.filter(|built| self.process.is_still(*built));
        if built.is_none() {
            self.built_in = Some(self.process.begin(&self.intent, &self.site, self.resumed)?);
        }
        let (intent, site) = (&self.intent, &self.site);
        let answer = self.process.part(&self.site.path, part, &mut |wish| {
            grant(intent, site, wish).unwrap_or_else(Granted::Refused)
        });
        answer.map_err(|error| match error {
            WorkerError::Failed(failure) => RepairError::InWorker {
                changed_nothing: failure.kind == FailureKind::Unmet,
                text: failure.message,
            },
            other => other.into(),
        })
    }

    fn unexpected(&mut self, answer: &Answer) -> RepairError {
        self.process.unexpected(answer).into()
    }
}

impl Repair for InWorker {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        let place = Place::of(&self.site.path).map_err(WorkerError::from)?;
        if let Some(detail) = place.only_to_look_at() {
            return Err(RepairError::Unmet {
                name: "nobody-else-writes-beside-it",
                detail,
            });
        }
        match self.part(Part::Precondition)? {
            Answer::Before(before) => Ok(before),
            other => Err(self.unexpected(&other)),
        }
    }

    fn plan(&self) -> Vec<PlannedStep> {
        self.here.plan()
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        match self.part(Part::Apply(step.to_owned()))? {
            Answer::Applied => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn verify(&mut self) -> Result<Proof, RepairError> {
        match self.part(Part::Verify)? {
            Answer::Verified(proof) => Ok(proof),
            other => Err(self.unexpected(&other)),
        }
    }

    fn undo(&mut self, begun: &[String]) -> Result<String, RepairError> {
        match self.part(Part::Undo(begun.to_vec()))? {
            Answer::Undone(text) => Ok(text),
            other => Err(self.unexpected(&other)),
        }
    }

    fn resume(&self, step: &str) -> Resume {
        self.here.resume(step)
    }
}

/// Sends the signal that a worker asks for, if the finding speaks of that process.
fn grant(intent: &Intent, site: &Site, wish: Wish) -> Result<Granted, String> {
    let Wish::Signal {
        pid,
        start_ticks,
        signal,
    } = wish;
    let signal = [Signal::TERM, Signal::KILL, Signal::CONT]
        .into_iter()
        .find(|known| known.as_raw() == signal)
        .ok_or("dbmedic sends no such signal")?;
    let is_meant = ["holder", "reader"].iter().any(|prefix| {
        let fact = |name: &str| super::fact(&intent.finding, &format!("{prefix}_{name}"));
        let is = |name: &str, number: u64| match fact(name) {
            Some(crate::model::Value::Integer(value)) => u64::try_from(*value) == Ok(number),
            _ => false,
        };
        is("pid", u64::from(pid)) && is("start_ticks", start_ticks)
    });
    if !is_meant {
        return Err(format!(
            "process {pid} is not the one that the finding names"
        ));
    }
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = match pidfd_open(number.ok_or("no process")?, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(Granted::Gone),
        Err(error) => return Err(format!("process {pid} cannot be reached: {error}")),
    };
    // The descriptor names one process from here on: only now is it worth looking at it.
    match locks::process(pid) {
        Some(seen) if seen.start_ticks == start_ticks => {
            let culprit = Culprit {
                pid,
                start_ticks,
                name: seen.name,
            };
            // What the worker has checked, it may have been made to say.
            culprit
                .may_be_ended(&site.may_end)
                .map_err(|refused| refused.to_string())?;
        }
        _ => return Ok(Granted::Gone),
    }
    if !uses(pid, &Files::of(&site.path)) {
        return Err(format!("process {pid} is not seen to use the database"));
    }
    match pidfd_send_signal(process, signal) {
        Ok(()) => Ok(Granted::Done),
        Err(Errno::SRCH) => Ok(Granted::Gone),
        Err(error) => Err(format!("the signal cannot be sent: {error}")),
    }
}

/// Whether a process is seen to have one of the files open, or to hold a lock on it.
fn uses(pid: u32, files: &Files) -> bool {
    let of = |path: &std::path::Path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino()))
    };
    let known: Vec<_> = [&files.database, &files.wal, &files.shm, &files.journal]
        .into_iter()
        .filter_map(|path| of(path))
        .collect();
    let open = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let has_open = open
        .filter_map(|entry| of(&entry.ok()?.path()))
        .any(|file| known.contains(&file));
    // Where the descriptors of another user's process cannot be read, the kernel's list of locks can.
    has_open || {
        let held = fs::read_to_string("/proc/locks").unwrap_or_default();
        locks::parse(&held)
            .iter()
            .any(|lock| lock.pid == pid && known.iter().any(|(_, inode)| *inode == lock.file.inode))
    }
}
