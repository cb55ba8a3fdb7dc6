//! dbmedic inside an engine or an application: it records operations, and a thread of its own turns
//! them, with the host's resources, into what a pipeline of its own judges.
//!
//! A driver, as the one that watches databases is: here the clock is read and effects are told. Nothing here
//! decides, and nothing is repaired: what is wrong is told to the embedder, who knows the engine.
//! See `examples/embedded_engine.rs` for a whole program.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::admission::{Admission, Intended, Room, check_before_operation};
use crate::assemble;
use crate::clock::now_ms;
use crate::config::Config;
use crate::constraint::Constraint;
use crate::health::{
    self, CheckKind, CheckPlan, CheckReport, CheckState, Due, Health, Lane, Level, Schedule, Sign,
    Status,
};
use crate::operations::{
    Bucket, Collector, Learned, OperationBucket, OperationId, OperationLimits, Recorder, Running,
    Waiting, recorder,
};
use crate::pipeline::{Carried, Effect, Event, Pipeline};
use crate::recording::RecordingWriter;
use crate::resources::{self, Places, Resources};
use crate::source::{Observation, Sample, State};
use crate::state_dir::{StateDir, StateError};

/// Slow operations of a bucket above which its operations are not healthy, percent. A limit at
/// twice the normal p99 is passed by far less than 1 % of them when all is normal.
const SLOW_PERCENT: f64 = 5.0;

/// Slow operations of a bucket from which on their share counts: one alone among few says nothing.
/// Of durations that are spread as widely as the logarithms of a standard normal distribution, one
/// in 800 passes the limit, and three among the 59 of which they are 5 % come by chance once in
/// 16,000 buckets.
const LEAST_SLOW: u64 = 3;

/// Between two times that what was learned is kept, milliseconds: what a crash forgets at most.
const SAVE_MS: u64 = 600_000;

/// What an embedder says beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The engine's name, the target of everything that is told.
    pub name: String,
    /// Where its files lie, for the disks to watch; none when it has none.
    pub places: Option<Places>,
    /// Where to keep a recording, for `dbmedic replay`.
    pub record: Option<PathBuf>,
    /// A directory of this engine's own, to keep from run to run what was learned to be normal;
    /// without one it is learned anew in each.
    pub state: Option<PathBuf>,
}

/// dbmedic at work in this process. It ends with this value, after a last bucket.
pub struct Embedded {
    recorder: Recorder,
    told: Arc<Told>,
    constraints: Vec<Constraint>,
    resource: CheckPlan,
    bucket_ms: u64,
    words: Sender<Word>,
    thread: Option<thread::JoinHandle<anyhow::Result<()>>>,
}

/// Hears what happens.
type Listener = dyn FnMut(u64, &Effect) + Send;

/// What the thread leaves for others to read, with the time of it.
#[derive(Default)]
struct Told {
    room: Mutex<Option<(u64, Room)>>,
    health: Mutex<Option<(u64, Health)>>,
    /// Why the thread ended by itself.
    ended: Mutex<Option<String>>,
}

enum Word {
    Measured(Due, Vec<Sample>),
    Stop,
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Embedded {
    /// Begins. Of the configuration counts what is said of operations, resources, baselines,
    /// constraints and the policy. `listener` hears what the pipeline finds and decides, with its
    /// time in milliseconds since the Unix epoch, in dbmedic's own thread.
    ///
    /// # Errors
    /// When the policy cannot be loaded, what was kept not read, the recording not begun or the
    /// thread not started. What was kept and is damaged is set aside, logged, and learned anew.
    pub fn start(
        config: &Config,
        surroundings: Surroundings,
        listener: impl FnMut(u64, &Effect) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let Surroundings {
            name,
            places,
            record,
            state,
        } = surroundings;
        let state = state.map(|state| StateDir::open(&state)).transpose()?;
        let mut carried = Carried::default();
        let mut normal = Learned::default();
        if let Some(state) = &state {
            carried.detectors = learned(state.load_baselines(), || state.set_baselines_aside())?;
            normal = learned(state.load_operations(), || state.set_operations_aside())?;
        }
        let (pipeline, recording) = assemble::assemble_embedded(config, &name, carried, record)?;
        let (recorder, mut collector) = recorder(OperationLimits {
            names: config.operations.max_names,
            threads: config.operations.max_threads,
            ..OperationLimits::default()
        });
        collector.restore(normal);
        let told = Arc::new(Told::default());
        let (words, heard) = mpsc::channel();
        let resource = CheckPlan {
            check: CheckKind::Resource,
            interval_ms: config.observation.resource_interval_ms,
            timeout_ms: config.observation.resource_timeout_ms,
            lane: Lane::Own,
        };
        let mut work = Work {
            name,
            pipeline,
            recording,
            state,
            collector,
            listener: Box::new(listener),
            told: Arc::clone(&told),
            words: words.clone(),
            resource,
            resources: Arc::new(Mutex::new(Resources::new(places))),
            schedule: Schedule::new(&[resource], now_ms(), 0),
            resource_limits: resources::limits(
                config.resources.warning_threshold,
                config.resources.critical_threshold,
                resources::processors(),
            ),
            measured: Vec::new(),
            report: None,
        };
        let bucket_ms = config.operations.bucket_ms.max(1);
        let tick_ms = config.observation.tick_interval_ms.max(1);
        let thread = thread::Builder::new()
            .name("dbmedic".into())
            .spawn(move || {
                let ended = work.run(&heard, bucket_ms, tick_ms);
                let ended = ended.and(work.save());
                if let Err(error) = &ended {
                    *unpoisoned(&work.told.ended) = Some(format!("{error:#}"));
                }
                ended
            })
            .context("starting dbmedic's thread")?;
        Ok(Self {
            recorder,
            told,
            constraints: config.constraints.clone(),
            resource,
            bucket_ms,
            words,
            thread: Some(thread),
        })
    }

    /// The recorder, to be cloned into whatever works.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// See [`Recorder::operation`].
    pub fn operation(&self, name: &str) -> OperationId {
        self.recorder.operation(name)
    }

    /// See [`Recorder::start`].
    #[inline]
    pub fn begin(&self, id: OperationId) -> Running<'_> {
        self.recorder.start(id)
    }

    /// See [`Recorder::wait`].
    pub fn wait(&self, id: OperationId) -> Waiting<'_> {
        self.recorder.wait(id)
    }

    /// Whether an operation may begin, by the resources as they were measured last, unless that was
    /// long ago, and the operations that are under way now.
    pub fn check_before_operation(&self, intended: Intended) -> Admission {
        #[expect(
            clippy::cast_precision_loss,
            reason = "so many operations there are not"
        )]
        let concurrent = Some(self.recorder.running() as f64);
        let room = Room {
            concurrent,
            ..believed(*unpoisoned(&self.told.room), &self.resource, now_ms())
        };
        check_before_operation(intended, &room, &self.constraints)
    }

    /// How healthy the engine was when the last bucket ended. Checking before the first one has,
    /// and unhealthy when dbmedic's own thread has ended: then nobody looks any more.
    pub fn health(&self) -> Health {
        let own = |status, reason: String| Sign {
            level: Level::System,
            subject: "dbmedic".into(),
            status,
            reason,
        };
        let is_over = self
            .thread
            .as_ref()
            .is_none_or(thread::JoinHandle::is_finished);
        let ended = unpoisoned(&self.told.ended).clone();
        if ended.is_some() || is_over {
            let why = ended.unwrap_or_else(|| "its thread panicked".into());
            let reason = format!("watches no more: {why}");
            return health::roll_up(vec![own(Status::Unhealthy, reason)]);
        }
        let Some((then_ms, health)) = unpoisoned(&self.told.health).clone() else {
            return health::roll_up(vec![own(Status::Checking, "not looked at yet".into())]);
        };
        let age_ms = now_ms().saturating_sub(then_ms);
        if !health::is_stale(age_ms, self.bucket_ms) {
            return health;
        }
        let mut signs = health.signs;
        let reason = format!("looked at last {} s ago", age_ms / 1000);
        signs.push(own(Status::Checking, reason));
        health::roll_up(signs)
    }

    /// Ends, after a last bucket.
    ///
    /// # Errors
    /// When the recording could not be written, or what was learned not kept.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        // A thread that has ended hears nothing.
        self.words.send(Word::Stop).ok();
        match self.thread.take().map(thread::JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => anyhow::bail!("dbmedic's thread panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!("{error:#}");
        }
    }
}

/// The thread's own.
struct Work {
    name: String,
    pipeline: Pipeline,
    recording: Option<RecordingWriter>,
    state: Option<StateDir>,
    collector: Collector,
    listener: Box<Listener>,
    told: Arc<Told>,
    words: Sender<Word>,
    resource: CheckPlan,
    resources: Arc<Mutex<Resources>>,
    schedule: Schedule,
    resource_limits: Vec<Constraint>,
    /// What was measured of the host since the last bucket.
    measured: Vec<Sample>,
    report: Option<CheckReport>,
}

impl Work {
    fn run(
        &mut self,
        heard: &mpsc::Receiver<Word>,
        bucket_ms: u64,
        tick_ms: u64,
    ) -> anyhow::Result<()> {
        let begun = now_ms();
        self.collector.begin(begun);
        let (mut turn_ms, mut next_tick_ms) = (begun + bucket_ms, begun + tick_ms);
        let mut next_save_ms = begun + SAVE_MS;
        loop {
            let now = now_ms();
            if let Some(due) = self.schedule.due(now) {
                self.measure(due);
            }
            for overrun in self.schedule.overruns(now) {
                self.checked(
                    overrun.begun_ms,
                    CheckState::TimedOut {
                        timeout_ms: overrun.timeout_ms,
                    },
                );
            }
            if now >= turn_ms {
                // Missed beats are not made up for.
                turn_ms = now + bucket_ms;
                self.turn(now)?;
            }
            if now >= next_tick_ms {
                next_tick_ms = now + tick_ms;
                self.step(&Event::Tick { at_ms: now })?;
            }
            if now >= next_save_ms {
                next_save_ms = now + SAVE_MS;
                // The watch goes on without.
                if let Err(error) = self.save() {
                    tracing::warn!("what was learned is not kept: {error:#}");
                }
            }
            let next = self.schedule.next_ms().unwrap_or(u64::MAX);
            let wake = next.min(turn_ms).min(next_tick_ms);
            let rest = Duration::from_millis(wake.saturating_sub(now_ms()));
            match heard.recv_timeout(rest) {
                Ok(Word::Measured(due, samples)) => {
                    if let Some(begun_ms) = self.schedule.ended(due.check, due.run) {
                        self.checked(begun_ms, CheckState::Passed);
                        *unpoisoned(&self.told.room) = Some((begun_ms, Room::of(&samples)));
                        self.measured = samples;
                    }
                }
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    return self.turn(now_ms());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Keeps what was learned, if there is a place for it.
    fn save(&self) -> anyhow::Result<()> {
        let Some(state) = &self.state else {
            return Ok(());
        };
        state.save_baselines(&self.pipeline.detectors())?;
        state.save_operations(&self.collector.learned())?;
        Ok(())
    }

    fn checked(&mut self, begun_ms: u64, state: CheckState) {
        self.report = Some(CheckReport {
            check: CheckKind::Resource,
            begun_ms,
            took_ms: now_ms().saturating_sub(begun_ms),
            state,
            notes: Vec::new(),
            proved: None,
        });
    }

    /// Measures the host in a thread of its own: a file system that hangs must not hold this one.
    fn measure(&mut self, due: Due) {
        let (resources, words) = (Arc::clone(&self.resources), self.words.clone());
        let begun = thread::Builder::new()
            .name("dbmedic resource".into())
            .spawn(move || {
                let samples = unpoisoned(&resources).measure(now_ms(), &[]);
                // Nobody hears it when all has ended.
                words.send(Word::Measured(due, samples)).ok();
            });
        if let Err(error) = begun {
            self.schedule.ended(due.check, due.run);
            self.checked(now_ms(), CheckState::NotDone(error.to_string()));
        }
    }

    /// Ends a bucket and puts it before the pipeline.
    fn turn(&mut self, at_ms: u64) -> anyhow::Result<()> {
        let bucket = self.collector.turn(at_ms);
        let mut samples = std::mem::take(&mut self.measured);
        samples.extend(bucket.samples());
        self.step(&Event::Observed(Observation {
            target: self.name.clone(),
            at_ms,
            samples,
            snapshot_at_ms: None,
            state: State::Samples,
        }))?;
        *unpoisoned(&self.told.health) = Some((at_ms, self.health(at_ms, &bucket)));
        Ok(())
    }

    fn step(&mut self, event: &Event) -> anyhow::Result<()> {
        let effects = self.pipeline.step(event);
        if let Some(recording) = &mut self.recording {
            recording.write(event, &effects)?;
        }
        for effect in &effects {
            (self.listener)(event.at_ms(), effect);
        }
        Ok(())
    }

    fn health(&self, at_ms: u64, bucket: &Bucket) -> Health {
        let report = self.report.as_ref();
        let mut signs = vec![health::sign_of(&self.resource, report, at_ms)];
        let series = self.pipeline.series(&self.name);
        let latest = |name: &str| Some(series?.get(name)?.latest()?.value);
        signs.extend(health::signs_of_limits(
            Level::Subsystem,
            &self.resource_limits,
            &latest,
        ));
        let context = self.pipeline.context(&self.name, at_ms);
        signs.extend(context.iter().flat_map(health::signs_of_context));
        signs.extend(bucket.operations.iter().filter_map(sign_of_operation));
        health::roll_up(signs)
    }
}

/// What an earlier run learned; nothing when it cannot be read: it is set aside and learned anew.
fn learned<T: Default>(
    loaded: Result<T, StateError>,
    set_aside: impl FnOnce() -> Result<PathBuf, StateError>,
) -> anyhow::Result<T> {
    match loaded {
        Err(error @ StateError::Damaged { .. }) => {
            let aside = set_aside()?;
            tracing::warn!("learned anew: {error}; now {}", aside.display());
            Ok(T::default())
        }
        loaded => Ok(loaded?),
    }
}

/// What is told of an operation of which too many were slow.
fn sign_of_operation(operation: &OperationBucket) -> Option<Sign> {
    let slow = operation.slow_percent()?;
    (slow > SLOW_PERCENT && operation.slow >= LEAST_SLOW).then(|| Sign {
        level: Level::Operation,
        subject: operation.name.clone(),
        status: Status::Degraded,
        reason: format!("{slow:.0} % took more than twice the normal p99"),
    })
}

/// What was measured last; nothing when it is too long ago to be believed.
fn believed(measured: Option<(u64, Room)>, plan: &CheckPlan, at_ms: u64) -> Room {
    measured
        .filter(|(begun_ms, _)| !plan.is_stale(*begun_ms, at_ms))
        .map_or_else(Room::default, |(_, room)| room)
}

#[cfg(test)]
mod tests;
