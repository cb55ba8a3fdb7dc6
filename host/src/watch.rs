//! Watching all targets: what is looked at when, decided in one thread that never waits for a disk.
//!
//! The numbers are taken on time whatever else goes on. The regular looks are spread out in time and go
//! to a [lane](lane), many in one go; a target whose disk does not answer gets a lane of its own, so
//! that it holds up no other. Checks of the pages, snapshots and the host's resources each run in a thread
//! of their own, as [`Schedule`] says and as many at a time as [`checks`] lets; one that overruns its time
//! is reported and not waited for. It measures and sends; it never judges, and it writes nothing to a
//! target. Snapshots go into dbmedic's own state directory.

mod checks;
mod examine;
mod lane;
mod lanes;
mod latencies;
mod look;
mod notes;
mod pace;
mod site;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::now_ms;
use crate::health::{CheckKind, CheckReport, CheckState, Due, Schedule};
use crate::source::{Observation, Sample};
use crate::sqlite::look::DueLook;
use crate::sqlite::worker::Areas;
use crate::sqlite_state::{Integrity, Mode};
use crate::state_dir::StateDir;
use checks::{Checks, Owner};
use examine::Found;
use lane::{Equipment, FromLane, Looked};
use lanes::Lanes;

pub use look::Looker;
pub use pace::Pace;
pub use site::Site;

/// Between the beginnings of two checks of a target, milliseconds.
const SPACING_MS: u64 = 100;

/// Between the first looks at two targets, milliseconds, where the interval has room for it.
const APART_MS: u64 = 37;

/// Less time between two looks is no gap that people are told of, milliseconds.
const LEAST_GAP_MS: u64 = 2000;

/// How long a look may be waited for before its target's health says so, milliseconds; one that reads a log to
/// its end takes its time.
const LATE_MS: u64 = 3000;
const LATE_FULL_MS: u64 = 20_000;

/// After so long without a look a target counts as unreachable, milliseconds.
const UNREACHABLE_MS: u64 = 60_000;

/// Looks are gathered for so long at most, milliseconds, so that many are asked for in one go.
const MOST_GATHERED_MS: u64 = 50;

/// How long checks and looks that still run are waited for when the watching ends: their files lie in the
/// state directory, which somebody may want to remove.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the watching thread hears.
enum Heard {
    /// A thorough look at a target, now.
    Examine(String),
    FromLane(FromLane),
    /// A check of a target ended.
    Found(usize, Due, Box<Found>),
    /// The end.
    Stop,
}

/// What the watching thread tells of a target.
#[derive(Debug)]
pub enum Watched {
    /// A look.
    Seen(Box<Observation>),
    /// No look has ended since then, milliseconds since the Unix epoch: the disk does not answer.
    Late(u64),
    /// No look has ended for so long that the target cannot be reached.
    Unanswered(Box<Observation>),
    /// A check ended, or was cut off.
    Checked(CheckReport),
    /// What a person may want to know: a label and a line.
    Note(&'static str, String),
}

/// Says something of a target by its name, and whether anybody still listens.
type Tell = dyn Fn(&str, Watched) -> bool;

/// A thread that watches. It ends when this is dropped.
pub struct Watcher {
    orders: mpsc::Sender<Heard>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    /// Starts watching from `begin_ms` on. `tell` gets what there is of each target, by its name, and
    /// says whether anybody still listens.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn spawn(
        lookers: Vec<Looker>,
        state_dir: &StateDir,
        exe: &Path,
        begin_ms: u64,
        tell: impl Fn(&str, Watched) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, heard) = mpsc::channel();
        let equipment = Equipment {
            exe: exe.to_owned(),
            areas: Areas::at(state_dir.root()),
        };
        let mut watch = Watch {
            gather_ms: gather_ms(lookers.len()),
            targets: targets(lookers, begin_ms),
            lanes: Lanes::new(equipment, orders.clone())?,
            checks: Checks::new(orders.clone()),
            next_looks_ms: begin_ms,
            awake_ms: 0,
            awoke: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                watch.run(&heard, &tell);
                watch.end(&heard);
            })?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// Asks for a thorough look at a target, now.
    pub fn examine(&self, target: &str) {
        // A thread that has ended needs no waking.
        self.orders.send(Heard::Examine(target.to_owned())).ok();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.orders.send(Heard::Stop).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// For how long looks at so many targets are gathered.
fn gather_ms(targets: usize) -> u64 {
    (targets as u64 / 20).min(MOST_GATHERED_MS)
}

/// The targets, their first looks and checks spread out.
fn targets(lookers: Vec<Looker>, begin_ms: u64) -> Vec<Target> {
    let count = lookers.len().max(1) as u64;
    let mounts = mounts();
    let spread = |(number, looker): (u64, Looker)| {
        let interval_ms = looker.pace.sample_interval_ms;
        let last_ms = (APART_MS * (count - 1)).min(interval_ms.saturating_sub(interval_ms / count));
        let look_ms = begin_ms + last_ms * number / (count - 1).max(1);
        let path = std::path::absolute(&looker.site.path);
        let path = path.unwrap_or_else(|_| looker.site.path.clone());
        let above = (0..)
            .zip(&mounts)
            .filter(|(_, mount)| path.starts_with(mount));
        let nearest = above.max_by_key(|(_, mount)| mount.components().count());
        Target {
            mount: nearest.map_or(0, |(place, _)| place),
            ..Target::new(looker, look_ms)
        }
    };
    (0..).zip(lookers).map(spread).collect()
}

/// The mount points of this system, in their order; one whose name has blanks or the like is left as the
/// kernel writes it. Nothing on their disks is asked.
fn mounts() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(PathBuf::from).collect()
}

/// A target as it is watched.
struct Target {
    looker: Looker,
    schedule: Schedule,
    /// When the next look is due.
    look_ms: u64,
    /// When the last one was.
    looked_ms: Option<u64>,
    /// The lane that looks at it now.
    out: Option<u64>,
    /// The disk that it waits for, when a look did not end in time; see [`lanes`].
    disk: Option<Disk>,
    /// Whether a look at every frame took so long that it needs a lane of its own.
    is_long: bool,
    /// Whether the next look verifies every frame.
    thorough: bool,
    /// Whether the look that is being made does.
    full: bool,
    waiting: Waiting,
    /// The user with whose rights it is looked at; not known before the first look.
    owner: Option<Owner>,
    /// The place of what is mounted where it lies, among all that is mounted.
    mount: usize,
    /// What checks found, to go with the next look.
    found: With,
    /// What goes with the look that is being made.
    with: With,
}

/// How long a look is waited for, by the time that this process was awake, milliseconds.
#[derive(Debug, Default)]
struct Waiting {
    /// Since when.
    since_ms: Option<u64>,
    /// Whether it was told that it does not end.
    is_told: bool,
    /// When it was told last that the target cannot be reached.
    unreachable_ms: Option<u64>,
}

/// What goes with a look.
#[derive(Debug, Default)]
struct With {
    /// What a check found, and how many repairs there had been before.
    integrity: Option<(Integrity, u64)>,
    measured: Vec<Sample>,
}

/// Whose looks a lane makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// Of databases on a device that may not answer.
    Device(u64),
    /// Of databases that were never seen, below a mount point.
    Mount(usize),
    /// Those that take long on a disk that answers.
    Long,
}

impl Target {
    fn new(looker: Looker, begin_ms: u64) -> Self {
        Self {
            schedule: Schedule::new(&looker.pace.plans(), begin_ms, SPACING_MS),
            looker,
            look_ms: begin_ms,
            looked_ms: None,
            out: None,
            disk: None,
            is_long: false,
            thorough: true,
            full: false,
            waiting: Waiting::default(),
            owner: None,
            mount: 0,
            found: With::default(),
            with: With::default(),
        }
    }

    fn name(&self) -> &str {
        &self.looker.site.name
    }

    /// The disk that it lies on, as far as that is known.
    fn own_disk(&self) -> Disk {
        let device = self.looker.device();
        device.map_or(Disk::Mount(self.mount), Disk::Device)
    }

    /// The lanes that its next look needs; none: the first one.
    fn needs(&self, now: u64) -> Option<Disk> {
        let is_long = self.is_long && (self.thorough || self.looker.is_scan_due(now));
        self.disk.or(is_long.then_some(Disk::Long))
    }

    /// Whether a look is due, and none is being made.
    fn is_due(&self, now: u64) -> bool {
        self.out.is_none() && self.look_ms <= now
    }

    /// The look that is due, which `lane` makes.
    fn begin_look(&mut self, lane: u64, now: u64) -> DueLook {
        self.out = Some(lane);
        self.with = std::mem::take(&mut self.found);
        let look = self
            .looker
            .due_look(std::mem::take(&mut self.thorough), now);
        self.full = look.full;
        look
    }

    /// The look that was given to a lane is not made there: another one makes it.
    fn take_look_back(&mut self) {
        self.out = None;
        self.thorough |= self.full;
        let with = std::mem::take(&mut self.with);
        self.found.integrity = self.found.integrity.take().or(with.integrity);
        self.found.measured.splice(0..0, with.measured);
    }

    /// A look ended: what is to be told of it.
    fn looked(&mut self, looked: Looked) -> Vec<Watched> {
        self.out = None;
        self.waiting = Waiting::default();
        self.owner = Some(Owner(looked.uid));
        let at_ms = looked.at_ms;
        let repairs = self.looker.site.repairs();
        let with = std::mem::take(&mut self.with);
        let integrity = with
            .integrity
            // Found before a repair, it tells of what is no more.
            .filter(|(_, before)| *before == repairs)
            .map(|(integrity, _)| integrity);
        let mut told = Vec::with_capacity(2);
        told.extend(self.gap(at_ms).map(|text| Watched::Note("gap", text)));
        let seen = self
            .looker
            .observed(at_ms, looked.seen, integrity, with.measured);
        // Missed beats are not made up for, and the looks at all targets stay apart.
        let interval_ms = self.looker.pace.sample_interval_ms.max(1);
        self.look_ms = self.look_ms.max(at_ms.saturating_sub(interval_ms)) + interval_ms;
        told.push(Watched::Seen(Box::new(seen)));
        told
    }

    /// What a person reads when nothing was observed for much longer than it should.
    fn gap(&mut self, now: u64) -> Option<String> {
        let since_ms = now.saturating_sub(self.looked_ms.replace(now)?);
        let interval_ms = self.looker.pace.sample_interval_ms;
        let is_gap = since_ms > interval_ms.saturating_mul(5).max(LEAST_GAP_MS);
        is_gap.then(|| {
            format!(
                "{}: not observed for {} s (the machine was suspended or too busy, its disk did not answer, \
                 or dbmedic was stopped): the age of every held lock begins again",
                self.name(),
                since_ms / 1000
            )
        })
    }

    /// What there is to say of a look that does not end. `awake_ms` is for how long this process was
    /// awake.
    fn late(&mut self, now: u64, awake_ms: u64) -> Option<Watched> {
        let late_ms = awake_ms.saturating_sub(self.waiting.since_ms?);
        let is_over = |since: u64| awake_ms.saturating_sub(since) > UNREACHABLE_MS;
        if late_ms > UNREACHABLE_MS && self.waiting.unreachable_ms.is_none_or(is_over) {
            self.waiting.unreachable_ms = Some(awake_ms);
            let unanswered = self.looker.unanswered(now, late_ms);
            return Some(Watched::Unanswered(Box::new(unanswered)));
        }
        let most_ms = if self.full { LATE_FULL_MS } else { LATE_MS };
        if late_ms > most_ms && !self.waiting.is_told {
            self.waiting.is_told = true;
            return Some(Watched::Late(now.saturating_sub(late_ms)));
        }
        None
    }

    /// Takes what a check found, unless it came too late: what is to be told of it.
    fn take(&mut self, due: Due, found: Found) -> Vec<Watched> {
        let Some(begun_ms) = self.schedule.ended(due.check, due.run) else {
            return Vec::new();
        };
        let name = self.name();
        let note = match &found {
            Found::Snapshot(Ok(info)) => {
                Some(format!("{name}: {} checked and kept", info.file.display()))
            }
            Found::Snapshot(Err(error)) => Some(format!("{name}: none taken: {error}")),
            _ => None,
        };
        self.looker.note(&found);
        let report = self
            .looker
            .report(due.check, begun_ms, found.state(), found.proved());
        match found {
            Found::Integrity(integrity, repairs) => {
                if integrity.error.is_none() && integrity.faults.is_empty() {
                    self.looker.proved(integrity.mode);
                }
                // What a part shows, the whole is to confirm.
                let is_whole = matches!(integrity.mode, Mode::Full | Mode::Sliced);
                if !is_whole && !integrity.faults.is_empty() {
                    self.schedule.demand(CheckKind::Full, now_ms());
                }
                // Where nothing is wrong it can wait for the next look.
                let is_wrong = integrity.error.is_some() || !integrity.faults.is_empty();
                self.found.integrity = Some((integrity, repairs));
                if is_wrong {
                    self.look_ms = self.look_ms.min(now_ms());
                }
            }
            Found::Samples(samples) => self.found.measured.extend(samples),
            Found::ProbeTransaction(Ok(probe)) => {
                self.looker.latencies.add(&probe);
                self.found.measured.extend(self.looker.latencies.samples());
            }
            Found::ProbeTransaction(Err(_)) | Found::Snapshot(_) => {}
        }
        let note = note.map(|note| Watched::Note("snapshot", note));
        note.into_iter().chain([Watched::Checked(report)]).collect()
    }
}

/// The watching thread's own.
struct Watch {
    targets: Vec<Target>,
    lanes: Lanes,
    checks: Checks,
    /// For how long looks are gathered.
    gather_ms: u64,
    /// Before this no look begins.
    next_looks_ms: u64,
    /// For how long this process was awake since the watching began: time in which it was stopped, or the
    /// machine slept, is no time in which a disk did not answer.
    awake_ms: u64,
    /// When that was counted last.
    awoke: Instant,
}

/// Longer steps than this are none in which this process was awake, milliseconds.
const LONGEST_STEP_MS: u64 = 500;

impl Watch {
    fn run(&mut self, heard: &mpsc::Receiver<Heard>, tell: &Tell) {
        let by_name: BTreeMap<String, usize> = (0..)
            .zip(&self.targets)
            .map(|(at, target)| (target.name().to_owned(), at))
            .collect();
        if !self.resume(tell) {
            return;
        }
        loop {
            let now = now_ms();
            if now >= self.next_looks_ms {
                self.next_looks_ms = now + self.gather_ms;
                if !self.look(now, tell) || !self.check(now, tell) {
                    return;
                }
            }
            let rest = Duration::from_millis(self.wake_ms(now).saturating_sub(now_ms()));
            match heard.recv_timeout(rest) {
                Ok(Heard::Examine(name)) => {
                    if let Some(target) =
                        by_name.get(&name).and_then(|at| self.targets.get_mut(*at))
                    {
                        let now = now_ms();
                        target.thorough = true;
                        target.found.integrity = None;
                        target.with.integrity = None;
                        target.look_ms = target.look_ms.min(now);
                        target.schedule.demand(CheckKind::Full, now);
                        self.next_looks_ms = now;
                    }
                }
                Ok(Heard::FromLane(FromLane::Looked(looked))) => {
                    if !self.looked(*looked, tell) {
                        return;
                    }
                }
                Ok(Heard::FromLane(FromLane::Idle(number))) => self.lanes.idle(number),
                Ok(Heard::Found(at, due, found)) => {
                    self.checks.ended(at, due);
                    if let Some(target) = self.targets.get_mut(at) {
                        let told = target.take(due, *found);
                        if !told.into_iter().all(|one| tell(target.name(), one)) {
                            return;
                        }
                    }
                }
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Takes in which snapshots need not be taken yet.
    fn resume(&mut self, tell: &Tell) -> bool {
        for target in &mut self.targets {
            let Some(report) = target.looker.earlier_snapshot() else {
                continue;
            };
            let interval_ms = target.looker.pace.snapshot_interval_ms;
            let due_ms = report.begun_ms.saturating_add(interval_ms);
            target.schedule.put_off(CheckKind::Snapshot, due_ms);
            if !tell(target.name(), Watched::Checked(report)) {
                return false;
            }
        }
        true
    }

    /// Begins the looks that are due, and tells of those that do not end.
    fn look(&mut self, now: u64, tell: &Tell) -> bool {
        let step_ms = u64::try_from(self.awoke.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.awoke = Instant::now();
        let targets = &mut self.targets;
        let mut given = Ok(());
        // After a sleep the lanes have not had the time to say that they got on.
        if step_ms < LONGEST_STEP_MS {
            self.awake_ms += step_ms;
            given = self.lanes.replace_stuck(targets);
        }
        given = given.and(self.lanes.dispatch(targets, now, self.awake_ms));
        if let Err(error) = given {
            tracing::warn!("no look can begin: {error}");
        }
        for (at, target) in (0..).zip(targets) {
            if let Some(late) = target.late(now, self.awake_ms) {
                // Its checks wait for the same disk: they hold up no other target's.
                self.checks.set_aside(at);
                if !tell(target.name(), late) {
                    return false;
                }
            }
        }
        true
    }

    /// A look ended.
    fn looked(&mut self, looked: Looked, tell: &Tell) -> bool {
        let at = looked.target;
        let Some(target) = self.targets.get_mut(at) else {
            return true;
        };
        // One that another lane makes by now.
        if target.out != Some(looked.lane) {
            return true;
        }
        let took_ms = looked.took_ms;
        let told = target.looked(looked);
        lanes::route(target, took_ms);
        told.into_iter().all(|one| tell(target.name(), one))
    }

    /// Cuts off the checks that overran their time, and begins those that are due.
    fn check(&mut self, now: u64, tell: &Tell) -> bool {
        for (at, target) in (0..).zip(&mut self.targets) {
            for overrun in target.schedule.overruns(now) {
                self.checks.cut_off(at, overrun.check);
                let timeout_ms = overrun.timeout_ms;
                let state = CheckState::TimedOut { timeout_ms };
                let report = target
                    .looker
                    .report(overrun.check, overrun.begun_ms, state, None);
                if !tell(target.name(), Watched::Checked(report)) {
                    return false;
                }
            }
        }
        for (at, error) in self.checks.begin(&mut self.targets, now) {
            if let Some(target) = self.targets.get(at)
                && !tell(target.name(), Watched::Note("check", error))
            {
                return false;
            }
        }
        true
    }

    /// When something is to be done next.
    fn wake_ms(&self, now: u64) -> u64 {
        if self.gather_ms >= MOST_GATHERED_MS {
            return self.next_looks_ms;
        }
        let of_target = |target: &Target| {
            let look_ms = if target.out.is_none() && self.lanes.may_begin(target, now) {
                target.look_ms
            } else {
                u64::MAX
            };
            let check_ms = target.schedule.next_ms().unwrap_or(u64::MAX);
            // One that is due and waits for its turn begins when another one ends.
            let check_ms = if check_ms <= now { u64::MAX } else { check_ms };
            look_ms.min(check_ms)
        };
        let next = self.targets.iter().map(of_target).min();
        next.unwrap_or(u64::MAX)
            .min(now + lanes::STUCK_MS / 2)
            .max(self.next_looks_ms)
    }

    /// Waits a while for what still runs.
    fn end(&mut self, heard: &mpsc::Receiver<Heard>) {
        let until = Instant::now() + FAREWELL;
        while self.checks.run_in_time() || self.lanes.are_busy() {
            match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Heard::Found(at, due, _)) => self.checks.ended(at, due),
                Ok(Heard::FromLane(FromLane::Idle(number))) => self.lanes.idle(number),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}
