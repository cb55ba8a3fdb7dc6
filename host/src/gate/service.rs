//! The gate at work: a thread that looks for candidates, has them prepared by another thread, runs
//! them in the shadow, and hands the pipeline's driver what to swap.
//!
//! Nothing slow happens in the thread of the pipeline: it gets a policy that is ready, and says what
//! was decided by handing over what it no longer needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

use notify::{RecursiveMode, Watcher as _};

use super::components::Components;
use super::machine::{Machines, Service};
use super::plan::Plan;
use super::prepare::{Candidate, Held, Tested, Workshop};
use super::protocol::{Reply, Request};
use super::record::{GateRecord, Refusal, Step, SwapReason};
use super::running::Running;
use super::socket::{Asked, Server};
use super::source::Lookout;
use crate::clock::now_ms;
use crate::command;
use crate::model::Setting;
use crate::pipeline::{Effect, Made};
use crate::policy::{Policy, ServiceChange, Signer, Standing};

/// Messages that wait for the gate; more decisions than that are not compared in the shadow.
const WAITING: usize = 1024;
/// Candidates that wait to be prepared.
const JOBS: usize = 64;

/// What the gate wants of the driver.
pub enum Order {
    /// Note who vouches for a component: before it comes into service, and when it is signed again.
    Signed {
        /// Its SHA-256.
        digest: String,
        /// Who vouches for it.
        signer: Signer,
    },
    /// Put this policy in service between two decisions; [`GateHandle::hear`] then takes the effect.
    Swap(Box<SwapOrder>),
    /// Whether decisions are to come with what telemetry held.
    Shadow(bool),
    /// A line for a person.
    Note(String),
    /// A command of a person, and where the answer goes.
    Said(Box<command::Request>, mpsc::Sender<Reply>),
}

/// A policy to put in service.
pub struct SwapOrder {
    /// The policy's name in the configuration.
    pub name: String,
    /// The policy.
    pub policy: Policy,
    /// Why.
    pub why: SwapReason,
    /// As what.
    pub standing: Standing,
}

/// Keeps steps that policies took, and which are in service where that is new.
type WriteDown = dyn Fn(Vec<GateRecord>, Option<BTreeMap<String, Service>>) + Send;

/// The driver of the pipeline, as the gate knows it.
pub(super) struct Driver {
    /// Gets what the gate wants, and says whether anybody listens.
    pub(super) order: Arc<dyn Fn(Order) -> bool + Send + Sync>,
    /// Keeps what [`super::Gate::start`] says.
    pub(super) write_down: Box<WriteDown>,
}

pub(super) enum Message {
    Made(Vec<Made>),
    Swapped {
        name: String,
        digest: String,
    },
    Service {
        name: String,
        digest: String,
        change: ServiceChange,
    },
    Passed {
        name: String,
        digest: String,
        step: Step,
    },
    Prepared(Box<Prepared>),
    Changed,
    Asked(Asked),
    Stop,
}

/// A candidate to prepare.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) candidate: Candidate,
    pub(super) settings: Vec<Setting>,
    pub(super) workshop: Arc<Workshop>,
    /// Whether it is one of several, of which the newest becomes the candidate.
    pub(super) one_of_several: bool,
}

/// How it went.
pub(super) struct Prepared {
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) candidate: Candidate,
    pub(super) one_of_several: bool,
    pub(super) result: Result<Tested, Refusal>,
}

/// The gate's end that the driver of the pipeline holds. The gate ends when it is dropped.
pub struct GateHandle {
    send: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
    _server: Option<Server>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl GateHandle {
    /// Hands over what was decided. Never waits: what does not fit is neither compared nor counted.
    pub fn made(&self, made: Vec<Made>) {
        if !made.is_empty()
            && let Err(TrySendError::Full(_)) = self.send.try_send(Message::Made(made))
        {
            tracing::debug!("the gate is busy: decisions are not compared");
        }
    }

    /// Hears what the pipeline says of policies: that a swap was done, and what their breakers say.
    /// Nothing of that is lost.
    pub fn hear(&self, effect: &Effect) {
        let message = match effect {
            Effect::PolicySwapped { policy, to, .. } => Message::Swapped {
                name: policy.clone(),
                digest: to.digest.clone(),
            },
            Effect::PolicyService { policy, of, change } => Message::Service {
                name: policy.clone(),
                digest: of.digest.clone(),
                change: change.clone(),
            },
            _ => return,
        };
        drop(self.send.send(message));
    }
}

impl Drop for GateHandle {
    fn drop(&mut self) {
        drop(self.send.send(Message::Stop));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// How a run is told to read its configuration again.
#[derive(Debug, Clone)]
pub struct Reload {
    /// Set when somebody wants it.
    pub wanted: Arc<AtomicBool>,
    /// The file that it is read from, an absolute path.
    pub config: std::path::PathBuf,
}

/// Everything that the gate works with.
pub(super) struct Works {
    pub(super) components: Components,
    pub(super) plans: BTreeMap<String, Plan>,
    pub(super) machines: Machines,
    /// Set by whoever wants every source looked at anew.
    pub(super) look_anew: Arc<AtomicBool>,
    /// Set when somebody wants the configuration read again; none where that is nobody's to do.
    pub(super) reload: Option<Reload>,
    /// Policies that are ready, by name and digest.
    pub(super) ready: BTreeMap<(String, String), Tested>,
    /// Policies whose sources are looked at at the start, whether they are watched or not.
    pub(super) to_look_at: BTreeSet<String>,
}

/// Starts the gate's threads.
pub(super) fn start(
    works: Works,
    state_dir: &std::path::Path,
    driver: Driver,
) -> std::io::Result<GateHandle> {
    let (send, receive) = mpsc::sync_channel(WAITING);
    let (jobs, todo) = mpsc::sync_channel::<Job>(JOBS);
    let watcher = watcher(works.plans.values(), &send);
    let server = {
        let (send, order) = (send.clone(), Arc::clone(&driver.order));
        let ask = move |(request, answer): Asked| match request {
            // What a person says does not wait for what the gate is at.
            Request::Command { request } => order(Order::Said(request, answer)),
            request => send.send(Message::Asked((request, answer))).is_ok(),
        };
        match Server::start(state_dir, ask) {
            Ok(server) => Some(server),
            // Watching goes on without: only people have to wait.
            Err(error) => {
                tracing::warn!(%error, "no control socket: `dbmedic policy` cannot reach this run");
                None
            }
        }
    };
    thread::Builder::new()
        .name("policy-prepare".into())
        .spawn({
            let send = send.clone();
            move || prepare(&todo, &send)
        })?;
    let lookouts = works
        .plans
        .iter()
        .map(|(name, plan)| {
            let lookout = Lookout::new(plan.source.clone(), plan.most_bytes());
            (name.clone(), lookout)
        })
        .collect();
    let mut running = Running {
        components: works.components,
        plans: works.plans,
        machines: works.machines,
        ready: works.ready,
        lookouts,
        to_look_at: works.to_look_at,
        shadows: BTreeMap::new(),
        found: BTreeMap::new(),
        several: BTreeMap::new(),
        waiting: Vec::new(),
        jobs,
        look_anew: works.look_anew,
        reload: works.reload,
        driver,
    };
    let thread = thread::Builder::new()
        .name("policy-gate".into())
        .spawn(move || running.run(&receive))?;
    Ok(GateHandle {
        send,
        thread: Some(thread),
        _server: server,
        _watcher: watcher,
    })
}

/// Tells of changes where sources are. Without it they are seen a little later.
fn watcher<'a>(
    plans: impl Iterator<Item = &'a Plan>,
    send: &SyncSender<Message>,
) -> Option<notify::RecommendedWatcher> {
    let send = send.clone();
    let told = move |event: notify::Result<notify::Event>| {
        // Reading a file is no change of it.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            drop(send.try_send(Message::Changed));
        }
    };
    let mut watcher = notify::recommended_watcher(told)
        .inspect_err(|error| tracing::warn!(%error, "policies are looked at each second"))
        .ok()?;
    let directories: BTreeSet<_> = plans
        .filter(|plan| plan.watch)
        .filter_map(|plan| plan.source.directory())
        .collect();
    for directory in directories {
        if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
            tracing::warn!(%error, directory = %directory.display(), "looked at each second");
        }
    }
    Some(watcher)
}

/// Prepares one candidate after another, away from everything that must not wait.
fn prepare(todo: &mpsc::Receiver<Job>, send: &SyncSender<Message>) {
    for job in todo {
        let passed = &mut |step| {
            drop(send.send(Message::Passed {
                name: job.name.clone(),
                digest: job.digest.clone(),
                step,
            }));
        };
        let held = Held::Now(now_ms());
        let result = job
            .workshop
            .prepare(&job.candidate, &job.settings, held, passed);
        let prepared = Prepared {
            name: job.name,
            digest: job.digest,
            candidate: job.candidate,
            one_of_several: job.one_of_several,
            result,
        };
        if send.send(Message::Prepared(Box::new(prepared))).is_err() {
            break;
        }
    }
}
