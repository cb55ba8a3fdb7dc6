//! Watching one target: what to look at when, in a thread of its own.
//!
//! It measures and sends; it never judges, and it writes nothing to a target. Snapshots go into
//! dbmedic's own state directory.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sysinfo::{Disks, System};

use crate::clock::now_ms;
use crate::snapshot::{self, SnapshotInfo};
use crate::source::{Observation, Sample, State};
use crate::state_dir::StateDir;
use crate::target::sqlite::SqliteState;
use crate::target::sqlite::integrity::{Check, Mode};
use crate::target::sqlite::look::{SqliteSource, samples};
use crate::target::sqlite::raw::{RawError, RawProcess};

/// Complaints of a check that are listed at most; SQLite's own default.
const FAULT_LIMIT: u32 = 100;

/// How long a check of the pages may take: the specification's `timeout_sec` of the full check,
/// section 1.3.
const CHECK_DEADLINE: Duration = Duration::from_secs(30);

/// How often what is done, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks.
    pub sample_interval_ms: u64,
    /// Between two ticks of the pipeline.
    pub tick_interval_ms: u64,
    /// Between two scans of the log's frames.
    pub wal_scan_interval_ms: u64,
    /// Between two quick checks of the pages.
    pub quick_check_interval_ms: u64,
    /// Between two full checks of the pages and indexes.
    pub integrity_interval_ms: u64,
    /// Between two snapshots.
    pub snapshot_interval_ms: u64,
    /// Snapshots kept for each target.
    pub snapshots_kept: usize,
}

/// A SQLite database under care.
#[derive(Debug)]
pub struct Site {
    /// Its name in the configuration.
    pub name: String,
    /// The database file.
    pub path: PathBuf,
    /// Names of processes that a repair may end.
    pub may_end: Vec<String>,
    turn: Mutex<()>,
}

impl Site {
    /// A database under care.
    pub fn new(name: String, path: PathBuf, may_end: Vec<String>) -> Self {
        Self {
            name,
            path,
            may_end,
            turn: Mutex::new(()),
        }
    }

    /// The right to use SQLite on this database: one thread of this process at a time, so that a
    /// repair that needs it for itself is not held up by dbmedic's own checks.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When each thing was done last, milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default)]
struct LastDone {
    scan: Option<u64>,
    quick: Option<u64>,
    full: Option<u64>,
    snapshot: Option<u64>,
}

/// An error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn is_due(last_ms: Option<u64>, now_ms: u64, interval_ms: u64) -> bool {
    last_ms.is_none_or(|last| now_ms.saturating_sub(last) >= interval_ms)
}

/// Looks at one target, again and again.
pub struct Looker {
    site: Arc<Site>,
    pace: Pace,
    source: SqliteSource,
    state_dir: StateDir,
    previous: Option<(u64, SqliteState)>,
    done: LastDone,
    /// None on a system that does not tell.
    system: Option<System>,
    disks: Option<Disks>,
}

impl Looker {
    /// Makes ready to look. Nothing is touched yet.
    pub fn new(
        site: Arc<Site>,
        pace: Pace,
        state_dir: StateDir,
        exe: &Path,
    ) -> Result<Self, RawError> {
        let raw = RawProcess::spawn(exe)?;
        Ok(Self {
            source: SqliteSource::new(&site.path, &state_dir.scratch(), raw),
            site,
            pace,
            state_dir,
            previous: None,
            done: LastDone::default(),
            system: System::new().ok(),
            disks: Disks::new_with_refreshed_list().ok(),
        })
    }

    /// One look. `thorough` looks at everything, whether it is due or not.
    pub fn look(&mut self, thorough: bool) -> Observation {
        let at_ms = now_ms();
        let scan = thorough || is_due(self.done.scan, at_ms, self.pace.wal_scan_interval_ms);
        let mode = if thorough || is_due(self.done.full, at_ms, self.pace.integrity_interval_ms) {
            Some(Mode::Full)
        } else if is_due(self.done.quick, at_ms, self.pace.quick_check_interval_ms) {
            Some(Mode::Quick)
        } else {
            None
        };
        let turn = mode.map(|_| self.site.turn());
        let check = mode.map(|mode| Check {
            mode,
            max_faults: FAULT_LIMIT,
            deadline: Some(CHECK_DEADLINE),
        });
        let looked = self.source.look(scan, check);
        drop(turn);
        if scan {
            self.done.scan = Some(at_ms);
        }
        if mode == Some(Mode::Full) {
            self.done.full = Some(at_ms);
        }
        if mode.is_some() {
            self.done.quick = Some(at_ms);
        }
        let mut measured = self.host_samples();
        let state = match looked {
            Ok(state) => {
                let previous = self.previous.as_ref();
                let elapsed = previous.map_or(0, |(then, _)| at_ms.saturating_sub(*then));
                measured.extend(samples(&state, previous.map(|(_, state)| state), elapsed));
                self.previous = Some((at_ms, state.clone()));
                State::Sqlite(state)
            }
            Err(error) => {
                self.previous = None;
                State::Unreachable {
                    reason: told(&error),
                }
            }
        };
        measured.retain(|sample| sample.value.is_finite());
        Observation {
            target: self.site.name.clone(),
            at_ms,
            samples: measured,
            snapshot_at_ms: snapshot::newest(&self.state_dir.snapshots(), &self.site.name)
                .ok()
                .flatten()
                .map(|info| info.taken_at_ms),
            state,
        }
    }

    /// Takes a snapshot when one is due and a look at every frame finds the files sound. Says in
    /// words why there is none.
    pub fn snapshot_if_due(&mut self) -> Option<Result<SnapshotInfo, String>> {
        let at_ms = now_ms();
        if !is_due(self.done.snapshot, at_ms, self.pace.snapshot_interval_ms) {
            return None;
        }
        self.done.snapshot = Some(at_ms);
        let _turn = self.site.turn();
        Some(self.source.sound().and_then(|sound| {
            let readable = sound.ok_or("the files are not sound")?;
            let snapshots = self.state_dir.snapshots();
            let (name, kept) = (&self.site.name, self.pace.snapshots_kept);
            snapshot::take(
                &readable.path(),
                &self.site.path,
                &snapshots,
                name,
                at_ms,
                kept,
            )
            .map_err(|error| told(&error))
        }))
    }

    /// Room on the disk that holds the database, and memory.
    #[allow(
        clippy::cast_precision_loss,
        reason = "bytes as f64 are exact up to 2^53"
    )]
    fn host_samples(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut add = |series: &str, value: f64| {
            samples.push(Sample {
                series: series.to_owned(),
                value,
            });
        };
        if let Some(system) = &mut self.system {
            system.refresh_memory();
            add("memory_free_bytes", system.available_memory() as f64);
        }
        if let Some(disks) = &mut self.disks {
            disks.refresh(false);
            let path = self
                .site
                .path
                .canonicalize()
                .unwrap_or_else(|_| self.site.path.clone());
            let holding = disks
                .iter()
                .filter(|disk| path.starts_with(disk.mount_point()) && disk.total_space() > 0)
                .max_by_key(|disk| disk.mount_point().as_os_str().len());
            if let Some(disk) = holding {
                let (free, total) = (disk.available_space() as f64, disk.total_space() as f64);
                add("disk_free_bytes", free);
                add("disk_free_percent", free * 100.0 / total);
            }
        }
        samples
    }
}

/// A thread that looks. It ends when this is dropped.
pub struct Watcher {
    wake: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    /// Starts looking. `seen` gets each observation and says whether anybody still listens; `note`
    /// gets what a person may want to know.
    pub fn spawn(
        mut looker: Looker,
        seen: impl Fn(Observation) -> bool + Send + 'static,
        note: impl Fn(&'static str, String) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (wake, asked) = mpsc::channel();
        let name = looker.site.name.clone();
        let thread = thread::Builder::new()
            .name(format!("watch {name}"))
            .spawn(move || {
                let mut thorough = true;
                loop {
                    let begun = now_ms();
                    if !seen(looker.look(thorough)) {
                        break;
                    }
                    match looker.snapshot_if_due() {
                        Some(Ok(info)) => note(
                            "snapshot",
                            format!("{name}: {} checked and kept", info.file.display()),
                        ),
                        Some(Err(error)) => {
                            note("snapshot", format!("{name}: none taken: {error}"));
                        }
                        None => {}
                    }
                    let spent = now_ms().saturating_sub(begun);
                    let rest = looker.pace.sample_interval_ms.saturating_sub(spent).max(1);
                    thorough = match asked.recv_timeout(Duration::from_millis(rest)) {
                        Ok(()) => true,
                        Err(RecvTimeoutError::Timeout) => false,
                        Err(RecvTimeoutError::Disconnected) => break,
                    };
                }
            })?;
        Ok(Self {
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// Asks for a thorough look, now.
    pub fn examine(&self) {
        if let Some(wake) = &self.wake {
            // A thread that has ended needs no waking.
            wake.send(()).ok();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
