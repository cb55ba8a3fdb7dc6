//! A day of healthy neighbours as a recording: 24 hours of time in events, made in seconds.
//!
//! The programs, their processes and the log are simulated by SQLite's own rules; what is observed
//! of them has the form of real observations, and goes through the real pipeline with the built-in
//! policy in mode `enforce`. The recording is then replayed by the dbmedic under test.

mod program;
mod wal;
mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use dbmedic::constraint::Constraint;
use dbmedic::diagnose::DiagnoseOptions;
use dbmedic::guard::{GuardLimits, Mode};
use dbmedic::model::{Setting, Value};
use dbmedic::pipeline::{Effect, Event, Pipeline, PipelineOptions, RulingSummary};
use dbmedic::policy::{Limits, Policy, Runtime};
use dbmedic::recording::{Header, RecordingWriter};
use dbmedic::signing::Verified;
use dbmedic::source::{Observation, State};
use dbmedic::sqlite::numbers::samples;
use dbmedic_tests::{observed, recording_header};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::program::Fault;
use program::{Deed, Program};
use world::World;

const DEFAULT: &[u8] = include_bytes!("../../../../policies/prebuilt/default.wasm");
const TARGET: &str = "shop";
const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
/// 1 January 2026, milliseconds since the Unix epoch: a day begins at midnight.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// A suspended machine: nothing runs and nothing is observed.
const SUSPENDED: (u64, u64) = (12 * HOUR_MS + 30 * MINUTE_MS, HOUR_MS);
/// dbmedic is stopped: nothing is observed, and everybody else goes on.
const STOPPED: (u64, u64) = (18 * HOUR_MS, 10 * MINUTE_MS);
/// When the control begins to stand in the way.
const FAULT_AT_MS: u64 = 15 * HOUR_MS;

/// What a day is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Day {
    pub(crate) seed: u64,
    /// Between two observations, milliseconds.
    pub(crate) interval_ms: u64,
    /// The age at which the policy ends somebody, milliseconds.
    pub(crate) threshold_ms: u64,
    /// A process that is really in the way from three in the afternoon on.
    pub(crate) fault: Option<Fault>,
}

/// What came of a day.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) observations: u64,
    pub(crate) with_locks: u64,
    pub(crate) incidents: BTreeMap<String, u64>,
    /// Repairs that the guard let go, with what they were chosen for.
    pub(crate) repairs: Vec<String>,
    pub(crate) halts: u64,
}

impl Ended {
    /// Whether it is what it must be: no repair; or with a fault, a repair of the faulty process.
    pub(crate) fn is_right(&self, fault: Option<Fault>) -> bool {
        let named = |repair: &String| repair.contains("(stuck)");
        let repaired = if fault.is_none() {
            self.repairs.is_empty()
        } else {
            !self.repairs.is_empty() && self.repairs.iter().all(named)
        };
        repaired && self.halts == 0
    }
}

/// Makes the recording of a day. It ends with the first repair that is let go: nobody carries it
/// out here.
pub(crate) fn record(day: Day, path: &Path) -> anyhow::Result<Ended> {
    let policy = policy(day.threshold_ms)?;
    let header = header(&policy, day);
    let mut recording = RecordingWriter::create(path, &header)?;
    let mut pipeline = Pipeline::new(header.options, policy, header.carried);
    let mut random = StdRng::seed_from_u64(day.seed);
    let mut world = World::new(BEGIN_MS, random.random());
    let mut programs = programs(&mut world, day.threshold_ms);
    let mut next: BinaryHeap<_> = (0..programs.len())
        .map(|number| Reverse((BEGIN_MS + random.random_range(0..5000), number)))
        .collect();
    if let Some(fault) = day.fault {
        next.push(Reverse((BEGIN_MS + FAULT_AT_MS, programs.len())));
        programs.push(stuck(&mut world, fault));
    }
    let mut ended = Ended::default();
    let mut asleep_ms = 0;
    let mut before = None;
    let mut at_ms = BEGIN_MS;
    while at_ms < BEGIN_MS + 24 * HOUR_MS && ended.repairs.is_empty() {
        at_ms += day.interval_ms + random.random_range(0..=day.interval_ms / 50);
        if is_within(at_ms, SUSPENDED) {
            // All goes on later, as if no time had passed.
            at_ms += SUSPENDED.1;
            asleep_ms = SUSPENDED.1;
        }
        if is_within(at_ms, STOPPED) {
            at_ms += STOPPED.1;
        }
        while let Some(&Reverse((due_ms, number))) = next.peek()
            && due_ms + asleep_ms <= at_ms
        {
            next.pop();
            world.now_ms = due_ms + asleep_ms;
            let later_ms = programs[number].step(&mut world, &mut random);
            next.push(Reverse((later_ms - asleep_ms, number)));
        }
        world.now_ms = at_ms;
        let state = world.observe();
        ended.observations += 1;
        ended.with_locks += u64::from(!state.probes.is_empty());
        let previous = before.replace((at_ms, state.clone()));
        let elapsed_ms = previous.as_ref().map_or(0, |(then, _)| at_ms - then);
        let event = Event::Observed(Observation {
            target: TARGET.into(),
            at_ms,
            samples: samples(
                &state,
                previous.as_ref().map(|(_, state)| state),
                elapsed_ms,
            ),
            snapshot_at_ms: Some(at_ms - at_ms % HOUR_MS),
            state: State::Sqlite(state),
        });
        let effects = pipeline.step(&event);
        recording.write(&event, &effects)?;
        ended.take(&effects);
    }
    Ok(ended)
}

impl Ended {
    fn take(&mut self, effects: &[Effect]) {
        let mut chosen_for = String::new();
        for effect in effects {
            match effect {
                Effect::IncidentOpened { finding, .. } => {
                    *self.incidents.entry(finding.kind.clone()).or_default() += 1;
                }
                Effect::Decided(decided) => {
                    let finding = decided.finding.as_ref();
                    chosen_for = finding.map_or(String::new(), |f| f.summary.clone());
                }
                Effect::Ruled {
                    repair,
                    ruling: RulingSummary::Approved,
                    ..
                } => self.repairs.push(format!("{repair}: {chosen_for}")),
                Effect::Preserve { .. } => self.halts += 1,
                _ => {}
            }
        }
    }
}

/// Replays a recording with the dbmedic under test: the same effects, byte for byte.
pub(crate) fn replay(dbmedic: &Path, recording: &Path) -> anyhow::Result<String> {
    let output = Command::new(dbmedic)
        .arg("replay")
        .arg(recording)
        .output()
        .context("cannot start dbmedic")?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "dbmedic replay: {told}");
    Ok(told)
}

fn is_within(at_ms: u64, (begin_ms, time_ms): (u64, u64)) -> bool {
    let of_day = at_ms - BEGIN_MS;
    (begin_ms..begin_ms + time_ms).contains(&of_day)
}

fn policy(threshold_ms: u64) -> anyhow::Result<Policy> {
    let runtime = Runtime::new(limits())?;
    Ok(runtime.load(&Verified::built_in(DEFAULT), &settings(threshold_ms))?)
}

/// Those of a machine that may be busy.
fn limits() -> Limits {
    Limits {
        deadline_ms: 1000,
        ..Limits::default()
    }
}

fn settings(threshold_ms: u64) -> Vec<Setting> {
    ["reader_age_ms", "stale_lock_age_ms"]
        .map(|name| Setting {
            name: name.into(),
            value: Value::Integer(threshold_ms.cast_signed()),
        })
        .to_vec()
}

/// Everything dangerous is allowed.
fn header(policy: &Policy, day: Day) -> Header {
    let mut options: PipelineOptions = observed(TARGET);
    options.decide_interval_ms = 5000;
    options.guard = GuardLimits {
        max_loss_commits: 1_000_000,
        max_loss_percent: 100.0,
        repairs_per_hour: 1000,
        cool_down_ms: 100,
        failures_before_person: 100,
        flap_repairs: 1000,
        ..GuardLimits::default()
    };
    if let Some(target) = options.targets.get_mut(TARGET) {
        target.mode = Mode::Enforce;
        target.constraints = Constraint::defaults();
        // With readers at any time the log never begins again, and its size becomes a true problem.
        target.constraints.retain(|bound| bound.name != "wal_size");
        target.diagnose = DiagnoseOptions {
            may_end: NAMES.map(str::to_owned).to_vec(),
            sample_interval_ms: day.interval_ms,
            ..target.diagnose.clone()
        };
    }
    let mut header = recording_header(policy, settings(day.threshold_ms), limits(), options);
    header.seed = day.seed;
    header.started_ms = BEGIN_MS;
    header
}

/// Every program, all of them in `may_end`.
const NAMES: [&str; 16] = [
    "app",
    "dashboard",
    "pool",
    "worker",
    "slow-worker",
    "reader",
    "replicator",
    "litestream",
    "loader",
    "migration",
    "backup",
    "report",
    "slow-commit",
    "crashing",
    "stuck",
    "unknown",
];

/// The programs of the day. Idle holds last below the threshold; those that compute last longer.
fn programs(world: &mut World, threshold_ms: u64) -> Vec<Program> {
    let t = threshold_ms;
    let idle = (t / 5, t * 3 / 5);
    let mut of = |name: &str, hidden: bool| world.start(name, hidden);
    let (app, dashboard, pool) = (of("app", false), of("dashboard", false), of("pool", false));
    let (worker, slow_worker) = (of("worker", false), of("slow-worker", false));
    let readers = [of("reader", true), of("reader", true)];
    let mut all = vec![
        // By day often, by night once in half an hour at most.
        Program::new((app, 0), Deed::Write { frames: (1, 4) }, (1, 20), (20, 900)).in_hours(5, 24),
        Program::new(
            (app, 1),
            Deed::Write { frames: (1, 1500) },
            (1, 90),
            (MINUTE_MS, 30 * MINUTE_MS),
        )
        .in_hours(0, 5),
        Program::new((dashboard, 0), Deed::Read, (900, 900), (0, 0)),
        Program::new((worker, 0), Deed::Poll, (1, 40), (0, 30)),
        Program::new((slow_worker, 0), Deed::Poll, idle, (0, 30)).in_hours(6, 7),
        Program::new(
            (of("loader", false), 0),
            Deed::Write {
                frames: (300, 5000),
            },
            (500, 20_000),
            (10 * MINUTE_MS, 40 * MINUTE_MS),
        )
        .computing(),
        Program::new(
            (of("migration", false), 0),
            Deed::Write {
                frames: (20_000, 30_000),
            },
            (4 * t, 6 * t),
            (3 * HOUR_MS, 3 * HOUR_MS),
        )
        .computing()
        .in_hours(3, 4),
        Program::new(
            (of("backup", false), 0),
            Deed::Read,
            (2 * t, 3 * t),
            (2 * HOUR_MS, 2 * HOUR_MS),
        )
        .computing()
        .in_hours(2, 3),
        Program::new(
            (of("report", false), 0),
            Deed::Read,
            (2 * t, 4 * t),
            (HOUR_MS, 3 * HOUR_MS),
        )
        .computing()
        .in_hours(9, 17),
        Program::new(
            (of("slow-commit", false), 0),
            Deed::Write { frames: (1, 9) },
            (t / 10, t / 2),
            (10 * MINUTE_MS, 30 * MINUTE_MS),
        ),
        Program::new(
            (of("crashing", false), 0),
            Deed::Crash,
            (100, 5000),
            (HOUR_MS, 4 * HOUR_MS),
        ),
    ];
    for connection in 0..4 {
        all.push(Program::new(
            (pool, connection),
            Deed::Read,
            (200, (t / 2).min(12_000)),
            (0, 1000),
        ));
    }
    for reader in readers {
        all.push(Program::new(
            (reader, 0),
            Deed::Read,
            (1200, 1200),
            (800, 800),
        ));
    }
    for (name, takes) in [("replicator", idle), ("litestream", (t / 5, t / 5))] {
        let mut program = Program::new((of(name, false), 0), Deed::Read, takes, (0, 0));
        program.rests_with_all = false;
        all.push(program);
    }
    all
}

/// The control: it takes a lock and does nothing until the day is over.
fn stuck(world: &mut World, fault: Fault) -> Program {
    let process = world.start("stuck", false);
    let deed = match fault {
        Fault::IdleHolder => Deed::Poll,
        Fault::EndlessReader => Deed::Read,
    };
    let mut program = Program::new((process, 0), deed, (24 * HOUR_MS, 24 * HOUR_MS), (0, 0));
    program.rests_with_all = false;
    program
}
