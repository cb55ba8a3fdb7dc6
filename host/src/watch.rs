//! Watching one target: what to look at when, in a thread of its own.
//!
//! The numbers are taken on time whatever else goes on: checks of the pages, snapshots and the
//! host's resources each run in a thread of their own, as [`Schedule`] says, and one that overruns
//! its time is reported and not waited for. It measures and sends; it never judges, and it writes
//! nothing to a target. Snapshots go into dbmedic's own state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::now_ms;
use crate::health::{CheckKind, CheckPlan, CheckReport, CheckState, Due, Schedule};
use crate::resources::{Places, Resources};
use crate::snapshot::{self, SnapshotInfo};
use crate::source::{Observation, Sample, State};
use crate::state_dir::StateDir;
use crate::target::sqlite::integrity::{Check, Mode, Proven};
use crate::target::sqlite::look::{SqliteSource, samples};
use crate::target::sqlite::raw::{RawError, RawProcess};
use crate::target::sqlite::trail::Mark;
use crate::target::sqlite::{Integrity, SqliteState};

/// Complaints of a check that are listed at most; SQLite's own default.
const FAULT_LIMIT: u32 = 100;

/// Between the beginnings of two checks, milliseconds.
const SPACING_MS: u64 = 100;

/// A snapshot may take as long as the copying of a large database does, milliseconds.
const SNAPSHOT_TIMEOUT_MS: u64 = 3_600_000;

/// Pages of which it is remembered that they were written; with more, everything is to be checked.
const MOST_TOUCHED: usize = 1 << 18;

/// How long checks that still run are waited for when the watching ends: their files lie in the
/// state directory, which somebody may want to remove.
const FAREWELL: Duration = Duration::from_secs(5);

/// How often what is done, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks.
    pub sample_interval_ms: u64,
    /// Between two ticks of the pipeline.
    pub tick_interval_ms: u64,
    /// Between two scans of the log's frames.
    pub wal_scan_interval_ms: u64,
    /// Between two quick checks, of a sample of the rows.
    pub quick_check_interval_ms: u64,
    /// How long a quick check may take.
    pub quick_check_timeout_ms: u64,
    /// Between two incremental checks, of what was written since it was proven.
    pub incremental_check_interval_ms: u64,
    /// How long an incremental check may take.
    pub incremental_check_timeout_ms: u64,
    /// Between two full checks of the pages and indexes.
    pub integrity_interval_ms: u64,
    /// How long a full check may take.
    pub integrity_timeout_ms: u64,
    /// Between two measurements of the host's resources.
    pub resource_interval_ms: u64,
    /// How long a measurement of the host's resources may take.
    pub resource_timeout_ms: u64,
    /// Between two snapshots.
    pub snapshot_interval_ms: u64,
    /// Snapshots kept for each target.
    pub snapshots_kept: usize,
}

impl Pace {
    /// The checks that are made of a target.
    fn plans(&self) -> [CheckPlan; 5] {
        let plan = |check, interval_ms, timeout_ms, exclusive| CheckPlan {
            check,
            interval_ms,
            timeout_ms,
            exclusive,
        };
        [
            plan(
                CheckKind::Quick,
                self.quick_check_interval_ms,
                self.quick_check_timeout_ms,
                true,
            ),
            plan(
                CheckKind::Incremental,
                self.incremental_check_interval_ms,
                self.incremental_check_timeout_ms,
                true,
            ),
            plan(
                CheckKind::Full,
                self.integrity_interval_ms,
                self.integrity_timeout_ms,
                true,
            ),
            plan(
                CheckKind::Resource,
                self.resource_interval_ms,
                self.resource_timeout_ms,
                false,
            ),
            plan(
                CheckKind::Snapshot,
                self.snapshot_interval_ms,
                SNAPSHOT_TIMEOUT_MS,
                true,
            ),
        ]
    }
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
    repairs: AtomicU64,
}

impl Site {
    /// A database under care.
    pub fn new(name: String, path: PathBuf, may_end: Vec<String>) -> Self {
        Self {
            name,
            path,
            may_end,
            turn: Mutex::new(()),
            repairs: AtomicU64::new(0),
        }
    }

    /// The right to use SQLite on this database: one thread of this process at a time, so that a
    /// repair that needs it for itself is not held up by dbmedic's own checks.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a repair: what a check found before it counts no more.
    pub fn turn_to_repair(&self) -> MutexGuard<'_, ()> {
        let turn = self.turn();
        self.repairs.fetch_add(1, Ordering::Relaxed);
        turn
    }

    /// How many repairs have had their turn.
    fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }
}

/// An error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn is_due(last_ms: Option<u64>, now_ms: u64, interval_ms: u64) -> bool {
    last_ms.is_none_or(|last| now_ms.saturating_sub(last) >= interval_ms)
}

/// What a check found.
enum Found {
    /// Of the pages and rows, and how many repairs there had been before.
    Integrity(Integrity, u64),
    Samples(Vec<Sample>),
    Snapshot(Result<SnapshotInfo, String>),
}

impl Found {
    fn state(&self) -> CheckState {
        match self {
            Self::Samples(_) | Self::Snapshot(Ok(_)) => CheckState::Passed,
            Self::Snapshot(Err(why)) => CheckState::Failed(why.clone()),
            Self::Integrity(integrity, _) => {
                match (&integrity.error, integrity.faults.as_slice()) {
                    (Some(why), _) => CheckState::NotDone(why.clone()),
                    (None, []) => CheckState::Passed,
                    (None, [fault]) => CheckState::Failed(fault.message.clone()),
                    (None, [first, rest @ ..]) => {
                        CheckState::Failed(format!("{} and {} more", first.message, rest.len()))
                    }
                }
            }
        }
    }
}

/// Makes the checks that need the target for themselves, with a helper process of its own.
struct Examiner {
    site: Arc<Site>,
    source: SqliteSource,
    proven: Option<Proven>,
    state_dir: StateDir,
    snapshots_kept: usize,
}

impl Examiner {
    fn new(
        site: &Arc<Site>,
        pace: &Pace,
        state_dir: &StateDir,
        exe: &Path,
    ) -> Result<Self, RawError> {
        let raw = RawProcess::spawn(exe)?;
        Ok(Self {
            site: Arc::clone(site),
            source: SqliteSource::new(&site.path, &state_dir.scratch(), raw),
            proven: None,
            state_dir: state_dir.clone(),
            snapshots_kept: pace.snapshots_kept,
        })
    }

    /// Checks in one of the forms. `touched` are the pages written since the last proof, for the
    /// incremental one; none when that is not known.
    fn integrity(&mut self, mode: Mode, timeout_ms: u64, touched: Option<&BTreeSet<u32>>) -> Found {
        let _turn = self.site.turn();
        let repairs = self.site.repairs();
        let check = Check {
            mode,
            max_faults: FAULT_LIMIT,
            deadline: Some(Duration::from_millis(timeout_ms)),
        };
        let none = |error: Option<String>| Integrity {
            mode,
            duration_ms: 0,
            faults: Vec::new(),
            error,
            coverage: None,
        };
        let checked = match (mode, touched, &mut self.proven) {
            (Mode::Full, ..) => self
                .source
                .check_and_prove(check)
                .map(|(integrity, proven)| {
                    self.proven = proven;
                    integrity
                }),
            (Mode::Incremental, Some(touched), Some(_)) if touched.is_empty() => Ok(none(None)),
            (Mode::Incremental, Some(touched), Some(proven)) => {
                self.source.check_changed(check, proven, touched)
            }
            (Mode::Incremental, ..) => Ok(none(Some(
                "what was written since the last full check is not known".into(),
            ))),
            (Mode::Quick | Mode::Sampled { .. }, ..) => self.source.check(check),
        };
        let integrity = checked.unwrap_or_else(|error| none(Some(told(&error))));
        Found::Integrity(integrity, repairs)
    }

    /// Takes a snapshot when a look at every frame finds the files sound. Says in words why there
    /// is none.
    fn snapshot(&mut self) -> Found {
        let at_ms = now_ms();
        let _turn = self.site.turn();
        Found::Snapshot(self.source.sound().and_then(|sound| {
            let readable = sound.ok_or("the files are not sound")?;
            let snapshots = self.state_dir.snapshots();
            let (name, kept) = (&self.site.name, self.snapshots_kept);
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
}

/// Looks at one target, again and again.
pub struct Looker {
    site: Arc<Site>,
    pace: Pace,
    source: SqliteSource,
    state_dir: StateDir,
    previous: Option<(u64, SqliteState)>,
    scanned_ms: Option<u64>,
    snapshot_ms: Option<u64>,
    examiner: Arc<Mutex<Examiner>>,
    /// Up to when it is known what was written.
    mark: Option<Mark>,
    /// Pages written since the last proof; none when that is not known.
    touched: Option<BTreeSet<u32>>,
    /// Pages written since the check began that may be the next proof.
    touched_meanwhile: Option<BTreeSet<u32>>,
    resources: Arc<Mutex<Resources>>,
    reports: BTreeMap<CheckKind, CheckReport>,
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let places = Places {
            data: site
                .path
                .canonicalize()
                .unwrap_or_else(|_| site.path.clone()),
            // SQLite keeps the log beside the data.
            wal: None,
            snapshots: Some(state_dir.snapshots()),
        };
        Ok(Self {
            source: SqliteSource::new(&site.path, &state_dir.scratch(), raw),
            examiner: Arc::new(Mutex::new(Examiner::new(&site, &pace, &state_dir, exe)?)),
            resources: Arc::new(Mutex::new(Resources::new(Some(places)))),
            site,
            pace,
            state_dir,
            previous: None,
            scanned_ms: None,
            snapshot_ms: None,
            reports: BTreeMap::new(),
            mark: None,
            touched: None,
            touched_meanwhile: None,
        })
    }

    /// One look. `thorough` looks at everything, and waits for it.
    pub fn look(&mut self, thorough: bool) -> Observation {
        if !thorough {
            return self.observe(false, None, Vec::new());
        }
        let mut measured = Vec::new();
        let mut checked = None;
        for check in [CheckKind::Resource, CheckKind::Full] {
            let begun_ms = now_ms();
            let found = self.work(check)();
            self.report(check, begun_ms, found.state());
            match found {
                Found::Samples(samples) => measured = samples,
                Found::Integrity(integrity, _) => checked = Some(integrity),
                Found::Snapshot(_) => {}
            }
        }
        self.observe(true, checked, measured)
    }

    /// What a check does, to be done in any thread. Of those that need the target for themselves
    /// only one may be at work.
    fn work(&mut self, check: CheckKind) -> Box<dyn FnOnce() -> Found + Send> {
        let examiner = Arc::clone(&self.examiner);
        let pace = self.pace;
        match check {
            CheckKind::Quick => Box::new(move || {
                let mode = Mode::Sampled {
                    seed: rand::random(),
                };
                unpoisoned(&examiner).integrity(mode, pace.quick_check_timeout_ms, None)
            }),
            CheckKind::Incremental => {
                self.begin_proof();
                let touched = self.touched.clone();
                let timeout_ms = pace.incremental_check_timeout_ms;
                Box::new(move || {
                    let touched = touched.as_ref();
                    unpoisoned(&examiner).integrity(Mode::Incremental, timeout_ms, touched)
                })
            }
            CheckKind::Full => {
                self.begin_proof();
                Box::new(move || {
                    unpoisoned(&examiner).integrity(Mode::Full, pace.integrity_timeout_ms, None)
                })
            }
            CheckKind::Snapshot => Box::new(move || unpoisoned(&examiner).snapshot()),
            CheckKind::Resource => {
                let resources = Arc::clone(&self.resources);
                let state = self.previous.as_ref().map(|(_, state)| state);
                let mut users: Vec<u32> = state
                    .into_iter()
                    .flat_map(|state| &state.locks)
                    .map(|holder| holder.process.pid)
                    .collect();
                users.sort_unstable();
                users.dedup();
                Box::new(move || Found::Samples(unpoisoned(&resources).measure(now_ms(), &users)))
            }
        }
    }

    /// Notes which pages were written since the last look.
    fn follow(&mut self) {
        let trail = self.source.trail(self.mark.as_ref()).ok();
        self.mark = trail.as_ref().map(|trail| trail.mark);
        let pages = trail.and_then(|trail| trail.touched);
        for account in [&mut self.touched, &mut self.touched_meanwhile] {
            match (account.as_mut(), &pages) {
                (Some(account_of), Some(pages)) if account_of.len() < MOST_TOUCHED => {
                    account_of.extend(pages);
                }
                _ => *account = None,
            }
        }
    }

    /// A check begins after which an account may begin anew: from here.
    fn begin_proof(&mut self) {
        self.follow();
        self.touched_meanwhile = Some(BTreeSet::new());
    }

    /// A check ended well that proves everything up to its beginning.
    fn proved(&mut self, mode: Mode) {
        if matches!(mode, Mode::Full | Mode::Incremental) {
            self.touched = self.touched_meanwhile.take();
        }
    }

    fn report(&mut self, check: CheckKind, begun_ms: u64, state: CheckState) -> CheckReport {
        let report = CheckReport {
            check,
            begun_ms,
            took_ms: now_ms().saturating_sub(begun_ms),
            state,
        };
        self.reports.insert(check, report.clone());
        report
    }

    /// The latest run of each check.
    pub fn reports(&self) -> &BTreeMap<CheckKind, CheckReport> {
        &self.reports
    }

    /// Takes the numbers and the state of the files; what checks found goes with it.
    fn observe(
        &mut self,
        thorough: bool,
        integrity: Option<Integrity>,
        mut measured: Vec<Sample>,
    ) -> Observation {
        let at_ms = now_ms();
        let scan = thorough || is_due(self.scanned_ms, at_ms, self.pace.wal_scan_interval_ms);
        if scan {
            self.scanned_ms = Some(at_ms);
        }
        let state = match self.source.look(scan, None) {
            Ok(mut state) => {
                state.integrity = integrity;
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

    /// Takes a snapshot when one is due and a look at every frame finds the files sound, and waits
    /// for it. Says in words why there is none.
    pub fn snapshot_if_due(&mut self) -> Option<Result<SnapshotInfo, String>> {
        let at_ms = now_ms();
        if !is_due(self.snapshot_ms, at_ms, self.pace.snapshot_interval_ms) {
            return None;
        }
        self.snapshot_ms = Some(at_ms);
        let found = self.work(CheckKind::Snapshot)();
        self.report(CheckKind::Snapshot, at_ms, found.state());
        match found {
            Found::Snapshot(taken) => Some(taken),
            _ => None,
        }
    }
}

/// What the watching thread hears.
enum Word {
    /// A thorough look, now.
    Examine,
    /// A check ended.
    Found(Due, Found),
    /// The end.
    Stop,
}

/// What the watching thread tells.
#[derive(Debug)]
pub enum Watched {
    /// A look.
    Seen(Box<Observation>),
    /// A check ended, or was cut off.
    Checked(CheckReport),
    /// What a person may want to know: a label and a line.
    Note(&'static str, String),
}

/// A thread that looks. It ends when this is dropped.
pub struct Watcher {
    words: mpsc::Sender<Word>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    /// Starts looking, the checks spread from `begin_ms` on. `tell` gets what there is, and says
    /// whether anybody still listens.
    pub fn spawn(
        looker: Looker,
        begin_ms: u64,
        tell: impl Fn(Watched) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let (words, heard) = mpsc::channel();
        let checked = words.clone();
        let thread = thread::Builder::new()
            .name(format!("watch {}", looker.site.name))
            .spawn(move || {
                let schedule = Schedule::new(&looker.pace.plans(), begin_ms, SPACING_MS);
                let mut watch = Watch {
                    looker,
                    schedule,
                    checked,
                    running: 0,
                    look_ms: begin_ms,
                    thorough: true,
                    integrity: None,
                    measured: Vec::new(),
                };
                watch.run(&heard, &tell);
            })?;
        Ok(Self {
            words,
            thread: Some(thread),
        })
    }

    /// Asks for a thorough look, now.
    pub fn examine(&self) {
        // A thread that has ended needs no waking.
        self.words.send(Word::Examine).ok();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.words.send(Word::Stop).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The watching thread's own.
struct Watch {
    looker: Looker,
    schedule: Schedule,
    checked: mpsc::Sender<Word>,
    /// Checks at work, cut off or not.
    running: usize,
    /// When the next look is due.
    look_ms: u64,
    /// Whether the next look verifies every frame.
    thorough: bool,
    /// What a check found, to go with the next look.
    integrity: Option<(Integrity, u64)>,
    measured: Vec<Sample>,
}

impl Watch {
    fn run(&mut self, heard: &mpsc::Receiver<Word>, tell: &dyn Fn(Watched) -> bool) {
        loop {
            let now = now_ms();
            if now >= self.look_ms && !self.look(now, tell) {
                break;
            }
            for overrun in self.schedule.overruns(now) {
                let timeout_ms = overrun.timeout_ms;
                let state = CheckState::TimedOut { timeout_ms };
                let report = self.looker.report(overrun.check, overrun.begun_ms, state);
                if !tell(Watched::Checked(report)) {
                    return;
                }
            }
            if let Some(due) = self.schedule.due(now) {
                self.begin(due, tell);
            }
            let wake = self
                .schedule
                .next_ms()
                .map_or(self.look_ms, |next| next.min(self.look_ms));
            let rest = Duration::from_millis(wake.saturating_sub(now_ms()));
            match heard.recv_timeout(rest) {
                Ok(Word::Examine) => {
                    self.thorough = true;
                    self.integrity = None;
                    self.look_ms = now_ms();
                    self.schedule.demand(CheckKind::Full, now_ms());
                }
                Ok(Word::Found(due, found)) => {
                    self.running -= 1;
                    if !self.take(due, found, tell) {
                        break;
                    }
                }
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        let until = Instant::now() + FAREWELL;
        while self.running > 0 {
            match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Word::Found(..)) => self.running -= 1,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    fn look(&mut self, now: u64, tell: &dyn Fn(Watched) -> bool) -> bool {
        let repairs = self.looker.site.repairs();
        let integrity = self
            .integrity
            .take()
            // Found before a repair, it tells of what is no more.
            .filter(|(_, before)| *before == repairs)
            .map(|(integrity, _)| integrity);
        let thorough = std::mem::take(&mut self.thorough);
        self.looker.follow();
        let measured = std::mem::take(&mut self.measured);
        let seen = self.looker.observe(thorough, integrity, measured);
        // Missed beats are not made up for.
        self.look_ms = now + self.looker.pace.sample_interval_ms.max(1);
        tell(Watched::Seen(Box::new(seen)))
    }

    /// Begins a check in a thread of its own.
    fn begin(&mut self, due: Due, tell: &dyn Fn(Watched) -> bool) {
        let work = self.looker.work(due.check);
        let checked = self.checked.clone();
        let name = format!("{} {}", due.check.name(), self.looker.site.name);
        let begun = thread::Builder::new().name(name).spawn(move || {
            // Nobody hears it when the watching has ended.
            checked.send(Word::Found(due, work())).ok();
        });
        match begun {
            Ok(_) => self.running += 1,
            Err(error) => {
                self.schedule.ended(due.check, due.run);
                tell(Watched::Note(
                    "check",
                    format!("{} cannot begin: {error}", due.check.name()),
                ));
            }
        }
    }

    /// Takes what a check found, unless it came too late.
    fn take(&mut self, due: Due, found: Found, tell: &dyn Fn(Watched) -> bool) -> bool {
        let Some(begun_ms) = self.schedule.ended(due.check, due.run) else {
            return true;
        };
        let name = &self.looker.site.name;
        let note = match &found {
            Found::Snapshot(Ok(info)) => {
                Some(format!("{name}: {} checked and kept", info.file.display()))
            }
            Found::Snapshot(Err(error)) => Some(format!("{name}: none taken: {error}")),
            _ => None,
        };
        let report = self.looker.report(due.check, begun_ms, found.state());
        match found {
            Found::Integrity(integrity, repairs) => {
                if integrity.error.is_none() && integrity.faults.is_empty() {
                    self.looker.proved(integrity.mode);
                }
                // What a part shows, the whole is to confirm.
                if integrity.mode != Mode::Full && !integrity.faults.is_empty() {
                    self.schedule.demand(CheckKind::Full, now_ms());
                }
                self.integrity = Some((integrity, repairs));
                self.look_ms = now_ms();
            }
            Found::Samples(samples) => self.measured = samples,
            Found::Snapshot(_) => {}
        }
        note.is_none_or(|note| tell(Watched::Note("snapshot", note)))
            && tell(Watched::Checked(report))
    }
}
