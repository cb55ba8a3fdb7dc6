//! A lane: a thread that makes regular looks one after the other, with workers of its own.
//!
//! To follow a path and to look at a file waits for the disk, and a disk may never answer. So nobody waits
//! for a lane: it tells what it is at, and whoever gave it the looks gives the rest of them to another
//! one when it stays there for too long.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::{ms_at_boot_ms, now_ms};
use crate::sqlite::look::DueLook;
use crate::sqlite::raw::{OneLook, RawError, RawProcess, Seen};
use crate::sqlite::worker::{Areas, Rights};

/// A look that is due, and of which target: its place among all.
pub(super) type Job = (usize, DueLook);

/// What a lane tells.
pub(super) enum FromLane {
    /// A look ended.
    Looked(Box<Looked>),
    /// It has made the looks that it was given.
    Idle(u64),
}

/// What came of a look.
pub(super) struct Looked {
    /// The lane that made it.
    pub(super) lane: u64,
    /// The target's place among all.
    pub(super) target: usize,
    /// When it began, milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
    /// How long it was waited for, milliseconds.
    pub(super) took_ms: u64,
    /// The user with whose rights it was made; none: this process's own.
    pub(super) uid: Option<u32>,
    pub(super) seen: Result<Seen, RawError>,
}

/// The target that a lane is at, and since when.
type At = Arc<Mutex<Option<(usize, Instant)>>>;

/// A lane. Its thread ends when this is dropped, as soon as the disk lets it.
pub(super) struct Lane {
    pub(super) number: u64,
    jobs: Sender<Vec<Job>>,
    at: At,
    /// Whether it was given looks of which it has not told yet that they are made.
    pub(super) is_busy: bool,
}

/// What each lane needs.
#[derive(Clone)]
pub(super) struct Equipment {
    pub(super) exe: PathBuf,
    pub(super) areas: Areas,
}

impl Lane {
    /// Starts a lane.
    pub(super) fn start(
        number: u64,
        equipment: &Equipment,
        tell: impl Fn(FromLane) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, given) = mpsc::channel();
        let at = At::default();
        let mut lane = Running {
            number,
            at: Arc::clone(&at),
            equipment: equipment.clone(),
            workers: Vec::new(),
        };
        thread::Builder::new()
            .name(format!("looks {number}"))
            .spawn(move || lane.run(&given, &tell))?;
        Ok(Self {
            number,
            jobs,
            at,
            is_busy: false,
        })
    }

    /// Gives it looks to make.
    pub(super) fn give(&mut self, jobs: Vec<Job>) {
        self.is_busy = true;
        // A lane ends after this value.
        self.jobs.send(jobs).ok();
    }

    /// The target that it is at for longer than this.
    pub(super) fn stuck_at(&self, longer_than: Duration) -> Option<usize> {
        let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.filter(|(_, since)| since.elapsed() > longer_than)
            .map(|(target, _)| target)
    }
}

/// A lane's own.
struct Running {
    number: u64,
    at: At,
    equipment: Equipment,
    /// A worker for each rights that were needed.
    workers: Vec<(Option<Rights>, RawProcess)>,
}

/// Looks that are made with the same rights.
type Group = (Option<Rights>, Vec<(usize, OneLook)>);

impl Running {
    fn run(&mut self, given: &Receiver<Vec<Job>>, tell: &dyn Fn(FromLane) -> bool) {
        while let Ok(jobs) = given.recv() {
            let sent_ms = now_ms();
            for (rights, looks) in self.placed(jobs, tell) {
                self.look(rights.as_ref(), &looks, sent_ms, tell);
            }
            self.is_at(None);
            if !tell(FromLane::Idle(self.number)) {
                break;
            }
        }
    }

    fn is_at(&self, target: Option<usize>) {
        let at = target.map(|target| (target, Instant::now()));
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn tell(
        &self,
        target: usize,
        uid: Option<u32>,
        seen: Result<Seen, RawError>,
        sent_ms: u64,
        tell: &dyn Fn(FromLane) -> bool,
    ) {
        // What a worker says of the time counts as far as it can be true.
        let at_ms = match &seen {
            Ok(seen) => ms_at_boot_ms(seen.begun_boot_ms).clamp(sent_ms, now_ms().max(sent_ms)),
            Err(_) => sent_ms,
        };
        let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let took = at.map(|(_, since)| since.elapsed()).unwrap_or_default();
        let lane = self.number;
        tell(FromLane::Looked(Box::new(Looked {
            lane,
            target,
            at_ms,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            uid,
            seen,
        })));
    }

    /// The looks by the rights that they need.
    fn placed(&self, jobs: Vec<Job>, tell: &dyn Fn(FromLane) -> bool) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (target, look) in jobs {
            self.is_at(Some(target));
            match look.placed(&self.equipment.areas) {
                Ok((rights, look)) => match groups.iter_mut().find(|(known, _)| *known == rights) {
                    Some((_, looks)) => looks.push((target, look)),
                    None => groups.push((rights, vec![(target, look)])),
                },
                Err(error) => self.tell(target, None, Err(error), now_ms(), tell),
            }
        }
        groups
    }

    /// Makes the looks that need the same rights. One at which the worker breaks or hangs has failed, and
    /// the others go to a new worker.
    fn look(
        &mut self,
        rights: Option<&Rights>,
        mut looks: &[(usize, OneLook)],
        sent_ms: u64,
        tell: &dyn Fn(FromLane) -> bool,
    ) {
        let uid = rights.map(|rights| rights.uid);
        let mut worker = match self.worker(rights) {
            Ok(worker) => worker,
            Err(error) => {
                let why = error.to_string();
                for (target, _) in looks {
                    let detail = why.clone();
                    self.tell(
                        *target,
                        uid,
                        Err(RawError::Broken { detail }),
                        sent_ms,
                        tell,
                    );
                }
                return;
            }
        };
        while let Some((first, _)) = looks.first() {
            // A worker that starts is not held up by a disk of a target's.
            self.is_at(None);
            let started = worker.start(rights.cloned());
            self.is_at(Some(*first));
            if let Err(error) = started {
                self.tell(*first, uid, Err(error), sent_ms, tell);
                looks = looks.get(1..).unwrap_or_default();
                continue;
            }
            let asked: Vec<OneLook> = looks.iter().map(|(_, look)| look.clone()).collect();
            let mut ended = 0;
            let broken = worker
                .look_at_all(rights.cloned(), asked, &[std::process::id()], &mut |seen| {
                    if let Some((target, _)) = looks.get(ended) {
                        self.tell(*target, uid, seen.map_err(RawError::from), sent_ms, tell);
                    }
                    ended += 1;
                    self.is_at(looks.get(ended).map(|(target, _)| *target));
                })
                .err();
            if let Some(error) = broken
                && let Some((target, _)) = looks.get(ended)
            {
                ended += 1;
                self.tell(*target, uid, Err(error), sent_ms, tell);
            }
            looks = looks.get(ended..).unwrap_or_default();
        }
        self.workers.push((rights.cloned(), worker));
    }

    /// The worker with these rights, taken out.
    fn worker(&mut self, rights: Option<&Rights>) -> Result<RawProcess, RawError> {
        let mut known = self.workers.iter();
        match known.position(|(known, _)| known.as_ref() == rights) {
            Some(at) => Ok(self.workers.swap_remove(at).1),
            None => RawProcess::spawn(&self.equipment.exe),
        }
    }
}
