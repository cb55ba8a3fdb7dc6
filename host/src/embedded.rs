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
    self, CheckKind, CheckPlan, CheckReport, CheckState, Due, Health, Level, Schedule, Sign, Status,
};
use crate::operations::{
    Bucket, Collector, OperationId, OperationLimits, Recorder, Running, Waiting, recorder,
};
use crate::pipeline::{Effect, Event, Pipeline};
use crate::recording::RecordingWriter;
use crate::resources::{self, Places, Resources};
use crate::source::{Observation, Sample, State};

/// Slow operations of a bucket above which its operations are not healthy, percent. A limit at
/// twice the normal p99 is passed by far less than 1 % of them when all is normal.
const SLOW_PERCENT: f64 = 5.0;

/// What an embedder says beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The engine's name, the target of everything that is told.
    pub name: String,
    /// Where its files lie, for the disks to watch; none when it has none.
    pub places: Option<Places>,
    /// Where to keep a recording, for `dbmedic replay`.
    pub record: Option<PathBuf>,
}

/// dbmedic at work in this process. It ends with this value, after a last bucket.
pub struct Embedded {
    recorder: Recorder,
    told: Arc<Told>,
    constraints: Vec<Constraint>,
    words: Sender<Word>,
    thread: Option<thread::JoinHandle<anyhow::Result<()>>>,
}

/// Hears what happens.
type Listener = dyn FnMut(u64, &Effect) + Send;

/// What the thread leaves for others to read.
#[derive(Default)]
struct Told {
    room: Mutex<Room>,
    health: Mutex<Health>,
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
    /// When the policy cannot be loaded, the recording not begun or the thread not started.
    pub fn start(
        config: &Config,
        surroundings: Surroundings,
        listener: impl FnMut(u64, &Effect) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let Surroundings {
            name,
            places,
            record,
        } = surroundings;
        let (pipeline, recording) = assemble::assemble_embedded(config, &name, record)?;
        let (recorder, collector) = recorder(OperationLimits {
            names: config.operations.max_names,
            threads: config.operations.max_threads,
            ..OperationLimits::default()
        });
        let told = Arc::new(Told::default());
        let (words, heard) = mpsc::channel();
        let resource = CheckPlan {
            check: CheckKind::Resource,
            interval_ms: config.observation.resource_interval_ms,
            timeout_ms: config.observation.resource_timeout_ms,
            exclusive: false,
        };
        let mut work = Work {
            name,
            pipeline,
            recording,
            collector,
            listener: Box::new(listener),
            told: Arc::clone(&told),
            words: words.clone(),
            resources: Arc::new(Mutex::new(Resources::new(places))),
            schedule: Schedule::new(&[resource], now_ms(), 0),
            resource_limits: resources::limits(
                config.resources.warning_threshold,
                config.resources.critical_threshold,
            ),
            measured: Vec::new(),
            report: None,
        };
        let bucket_ms = config.operations.bucket_ms.max(1);
        let tick_ms = config.observation.tick_interval_ms.max(1);
        let thread = thread::Builder::new()
            .name("dbmedic".into())
            .spawn(move || work.run(&heard, bucket_ms, tick_ms))
            .context("starting dbmedic's thread")?;
        Ok(Self {
            recorder,
            told,
            constraints: config.constraints.clone(),
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

    /// Whether an operation may begin, by the resources as they were measured last and the
    /// operations that are under way now.
    pub fn check_before_operation(&self, intended: Intended) -> Admission {
        #[expect(
            clippy::cast_precision_loss,
            reason = "so many operations there are not"
        )]
        let room = Room {
            concurrent: Some(self.recorder.running() as f64),
            ..*unpoisoned(&self.told.room)
        };
        check_before_operation(intended, &room, &self.constraints)
    }

    /// How healthy the engine was when the last bucket ended.
    pub fn health(&self) -> Health {
        unpoisoned(&self.told.health).clone()
    }

    /// Ends, after a last bucket.
    ///
    /// # Errors
    /// When the recording could not be written.
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
    collector: Collector,
    listener: Box<Listener>,
    told: Arc<Told>,
    words: Sender<Word>,
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
            let next = self.schedule.next_ms().unwrap_or(u64::MAX);
            let wake = next.min(turn_ms).min(next_tick_ms);
            let rest = Duration::from_millis(wake.saturating_sub(now_ms()));
            match heard.recv_timeout(rest) {
                Ok(Word::Measured(due, samples)) => {
                    if let Some(begun_ms) = self.schedule.ended(due.check, due.run) {
                        self.checked(begun_ms, CheckState::Passed);
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

    fn checked(&mut self, begun_ms: u64, state: CheckState) {
        self.report = Some(CheckReport {
            check: CheckKind::Resource,
            begun_ms,
            took_ms: now_ms().saturating_sub(begun_ms),
            state,
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
        if !samples.is_empty() {
            *unpoisoned(&self.told.room) = Room::of(&samples);
        }
        samples.extend(bucket.samples());
        self.step(&Event::Observed(Observation {
            target: self.name.clone(),
            at_ms,
            samples,
            snapshot_at_ms: None,
            state: State::Samples,
        }))?;
        *unpoisoned(&self.told.health) = self.health(at_ms, &bucket);
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
        let mut signs = vec![health::sign_of(CheckKind::Resource, self.report.as_ref())];
        let series = self.pipeline.series(&self.name);
        let latest = |name: &str| Some(series?.get(name)?.latest()?.value);
        signs.extend(health::signs_of_limits(
            Level::Subsystem,
            &self.resource_limits,
            &latest,
        ));
        let context = self.pipeline.context(&self.name, at_ms);
        signs.extend(context.iter().flat_map(health::signs_of_context));
        for operation in &bucket.operations {
            let slow = operation.slow_percent();
            if let Some(slow) = slow.filter(|slow| *slow > SLOW_PERCENT) {
                signs.push(Sign {
                    level: Level::Operation,
                    subject: operation.name.clone(),
                    status: Status::Degraded,
                    reason: format!("{slow:.0} % took more than twice the normal p99"),
                });
            }
        }
        health::roll_up(signs)
    }
}
