//! Workers that the checks of all targets share.
//!
//! A pool lends a worker for one request, or for as long as a check goes on in it, and so bounds how many
//! there are: of each role a few for each owner of databases, each with that owner's rights for good. One
//! that answered well is lent again, to whoever needs the same role and rights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::process::Running;
use super::{Rights, Role, WorkerError};

/// Workers of one owner that read raw, at most.
const MOST_RAW: usize = 1;
/// Workers of one owner with connections, at most: as many as checks run at a time.
const MOST_SQL: usize = 3;
/// How long a worker is waited for. Then a new one takes the place of one that works on, on a disk that
/// does not answer, say.
const PATIENCE: Duration = Duration::from_secs(5);
/// A worker that nobody needed for so long ends.
const MOST_IDLE: Duration = Duration::from_mins(5);

/// Workers for whoever asks.
#[derive(Debug)]
pub struct Pool {
    exe: PathBuf,
    state: Arc<State>,
}

/// Whose workers: the role, and the user.
type Kind = (Role, Option<u32>);

#[derive(Debug, Default)]
struct State {
    workers: Mutex<Workers>,
    came_back: Condvar,
}

#[derive(Debug, Default)]
struct Workers {
    /// Those that wait, with the time since when; the latest last.
    idle: Vec<(Running, Instant)>,
    lent: BTreeMap<Kind, usize>,
}

impl State {
    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's share of the pool while it is lent.
#[derive(Debug)]
pub(super) struct Share {
    kind: Kind,
    state: Arc<State>,
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(lent) = self.state.workers().lent.get_mut(&self.kind) {
            *lent = lent.saturating_sub(1);
        }
        self.state.came_back.notify_all();
    }
}

impl Pool {
    /// A pool of workers that `exe worker` serves. None is started yet.
    pub fn new(exe: &Path) -> Arc<Self> {
        Arc::new(Self {
            exe: exe.to_owned(),
            state: Arc::default(),
        })
    }

    /// The executable.
    pub fn exe(&self) -> &Path {
        &self.exe
    }

    /// Lends a worker, started where none waits: the one of this pid where it can be had.
    pub(super) fn lend(
        &self,
        role: Role,
        rights: Option<Rights>,
        preferred: Option<u32>,
    ) -> Result<Running, WorkerError> {
        let kind = (role, rights.as_ref().map(|rights| rights.uid));
        let most = match role {
            Role::Raw => MOST_RAW,
            Role::Sql => MOST_SQL,
        };
        let until = Instant::now() + PATIENCE;
        let mut workers = self.state.workers();
        let idle = loop {
            let all = workers.idle.iter_mut().enumerate();
            let fit = all.filter_map(|(at, (worker, _))| {
                let serves = worker.serves(role, rights.as_ref());
                serves.then(|| (at, worker.pid()))
            });
            let fit: Vec<(usize, u32)> = fit.collect();
            let known = fit.iter().find(|(_, pid)| Some(*pid) == preferred);
            if let Some(&(found, _)) = known.or(fit.last()) {
                break Some(workers.idle.remove(found).0);
            }
            let lent = workers.lent.get(&kind).copied().unwrap_or(0);
            let left = until.saturating_duration_since(Instant::now());
            if lent < most || left.is_zero() {
                break None;
            }
            let waited = self.state.came_back.wait_timeout(workers, left);
            workers = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        *workers.lent.entry(kind).or_default() += 1;
        drop(workers);
        let share = Share {
            kind,
            state: Arc::clone(&self.state),
        };
        let mut worker = match idle {
            Some(worker) => worker,
            None => Running::start(&self.exe, role, rights)?,
        };
        worker.lent(share);
        Ok(worker)
    }

    /// Takes a worker back.
    pub(super) fn take_back(&self, mut worker: Running) {
        let now = Instant::now();
        let mut workers = self.state.workers();
        let all = std::mem::take(&mut workers.idle);
        let (kept, ended): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(_, since)| now.duration_since(*since) < MOST_IDLE);
        workers.idle = kept;
        let share = worker.take_share();
        workers.idle.push((worker, now));
        drop(workers);
        // Each of these takes the lock, or waits for a process.
        drop(share);
        drop(ended);
    }
}
