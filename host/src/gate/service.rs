//! The gate at work: a thread that looks for candidates, has them prepared by another thread, runs
//! them in the shadow, and hands the pipeline's driver what to swap.
//!
//! Nothing slow happens in the thread of the pipeline: it gets a policy that is ready, and says what
//! was decided by handing over what it no longer needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};

use super::machine::{Compared, Input, Machine, Machines, Output, Service};
use super::plan::Plan;
use super::prepare::{Candidate, Held, Tested, Workshop};
use super::protocol::{PolicyReport, Reply, Request, Statistics};
use super::record::{GateRecord, Known, Origin, Progress, Refusal, Step, SwapReason};
use super::socket::{Asked, Server};
use super::source::{Lookout, read_candidate};
use super::store::Store;
use crate::clock::now_ms;
use crate::model::{Context, Setting};
use crate::pipeline::Made;
use crate::policy::{Policy, PolicyFailure};

/// Between two looks at the sources where nothing tells of a change, and between two ticks.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks while a file settles.
const SETTLING: Duration = Duration::from_millis(100);
/// Messages that wait for the gate; more decisions than that are not compared in the shadow.
const WAITING: usize = 1024;
/// Candidates that wait to be prepared.
const JOBS: usize = 64;

/// What the gate wants of the driver.
pub enum Order {
    /// Put this policy in service between two decisions, then say so by [`GateHandle::swapped`].
    Swap(Box<SwapOrder>),
    /// Whether decisions are to come with what telemetry held.
    Shadow(bool),
    /// A line for a person.
    Note(String),
}

/// A policy to put in service.
pub struct SwapOrder {
    /// The policy's name in the configuration.
    pub name: String,
    /// The policy.
    pub policy: Policy,
    /// Why.
    pub why: SwapReason,
}

/// The driver of the pipeline, as the gate knows it.
pub(super) struct Driver {
    /// Gets what the gate wants, and says whether anybody listens.
    pub(super) order: Box<dyn Fn(Order) -> bool + Send>,
    /// Writes a step down for good.
    pub(super) write_down: Box<dyn Fn(&GateRecord) + Send>,
}

enum Message {
    Made(Vec<Made>),
    Swapped {
        name: String,
        digest: String,
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
struct Job {
    name: String,
    digest: String,
    candidate: Candidate,
    settings: Vec<Setting>,
}

/// How it went.
struct Prepared {
    name: String,
    digest: String,
    candidate: Candidate,
    result: Result<Tested, Refusal>,
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

    /// Says that a swap was done.
    pub fn swapped(&self, name: &str, digest: &str) {
        let (name, digest) = (name.to_owned(), digest.to_owned());
        drop(self.send.send(Message::Swapped { name, digest }));
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

/// Everything that the gate works with.
pub(super) struct Works {
    pub(super) workshop: Workshop,
    pub(super) store: Store,
    pub(super) plans: BTreeMap<String, Plan>,
    pub(super) machines: Machines,
    /// Set by whoever wants every source looked at anew.
    pub(super) look_anew: Arc<AtomicBool>,
    /// Policies that are ready, by name and digest.
    pub(super) ready: BTreeMap<(String, String), Tested>,
}

/// A candidate in the shadow, with what it left for each target.
struct Shadow {
    policy: Policy,
    memories: BTreeMap<String, Vec<u8>>,
}

struct Running {
    workshop: Arc<Workshop>,
    store: Store,
    plans: BTreeMap<String, Plan>,
    machines: Machines,
    ready: BTreeMap<(String, String), Tested>,
    lookouts: BTreeMap<String, Lookout>,
    shadows: BTreeMap<String, Shadow>,
    /// Candidates that were found and are not prepared yet.
    found: BTreeMap<(String, String), Candidate>,
    /// People who wait for what becomes of a candidate.
    waiting: Vec<(String, String, mpsc::Sender<Reply>)>,
    jobs: SyncSender<Job>,
    look_anew: Arc<AtomicBool>,
    driver: Driver,
}

/// Starts the gate's threads.
pub(super) fn start(
    works: Works,
    state_dir: &std::path::Path,
    driver: Driver,
) -> std::io::Result<GateHandle> {
    let (send, receive) = mpsc::sync_channel(WAITING);
    let (jobs, todo) = mpsc::sync_channel::<Job>(JOBS);
    let workshop = Arc::new(works.workshop);
    let watcher = watcher(works.plans.values(), &send);
    let server = {
        let send = send.clone();
        let ask = move |asked| send.send(Message::Asked(asked)).is_ok();
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
            let (workshop, send) = (Arc::clone(&workshop), send.clone());
            move || prepare(&workshop, &todo, &send)
        })?;
    let most_bytes = (workshop.runtime.limits().component_mib as u64) << 20;
    let lookouts = works
        .plans
        .iter()
        .filter(|(_, plan)| plan.watch)
        .map(|(name, plan)| (name.clone(), Lookout::new(plan.source.clone(), most_bytes)))
        .collect();
    let mut running = Running {
        workshop,
        store: works.store,
        plans: works.plans,
        machines: works.machines,
        ready: works.ready,
        lookouts,
        shadows: BTreeMap::new(),
        found: BTreeMap::new(),
        waiting: Vec::new(),
        jobs,
        look_anew: works.look_anew,
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
fn prepare(workshop: &Workshop, todo: &mpsc::Receiver<Job>, send: &SyncSender<Message>) {
    for job in todo {
        let passed = &mut |step| {
            drop(send.send(Message::Passed {
                name: job.name.clone(),
                digest: job.digest.clone(),
                step,
            }));
        };
        let held = Held::Now(now_ms());
        let result = workshop.prepare(&job.candidate, &job.settings, held, passed);
        let prepared = Prepared {
            name: job.name,
            digest: job.digest,
            candidate: job.candidate,
            result,
        };
        if send.send(Message::Prepared(Box::new(prepared))).is_err() {
            break;
        }
    }
}

impl Running {
    fn run(&mut self, receive: &mpsc::Receiver<Message>) {
        self.offer_again();
        let mut unsettled = self.look();
        let mut next_tick_ms = now_ms();
        loop {
            let pause = if unsettled { SETTLING } else { POLL };
            let message = receive.recv_timeout(pause);
            let mut look = matches!(message, Err(RecvTimeoutError::Timeout));
            match message {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Message::Made(made)) => self.made(made),
                Ok(Message::Swapped { name, digest }) => {
                    self.step(&name, Input::Swapped { digest });
                }
                Ok(Message::Passed { name, digest, step }) => {
                    self.step(&name, Input::Passed { digest, step });
                }
                Ok(Message::Prepared(prepared)) => self.prepared(*prepared),
                Ok(Message::Changed) => look = true,
                Ok(Message::Asked((request, answer))) => self.asked(request, answer),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.look_anew.swap(false, Ordering::Relaxed) {
                self.lookouts.values_mut().for_each(Lookout::forget);
                look = true;
            }
            let at_ms = now_ms();
            if at_ms >= next_tick_ms {
                next_tick_ms = at_ms + 1000;
                look = true;
                let names: Vec<String> = self.machines.keys().cloned().collect();
                for name in names {
                    self.step(&name, Input::Tick);
                }
            }
            if look || unsettled {
                unsettled = self.look();
            }
        }
    }

    /// What was a candidate when dbmedic stopped is one again.
    fn offer_again(&mut self) {
        let candidates: Vec<(String, String)> = self
            .machines
            .iter()
            .filter_map(|(name, machine)| {
                let candidate = machine.service().candidate.as_ref()?;
                Some((name.clone(), candidate.identity.digest.clone()))
            })
            .collect();
        for (name, digest) in candidates {
            match self.store.read(&digest) {
                Ok(Some(candidate)) => self.offer(&name, candidate, Origin::Restart),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a candidate of an earlier run is lost"),
            }
        }
    }

    /// Looks at the sources; says whether something is not settled.
    fn look(&mut self) -> bool {
        let at_ms = now_ms();
        let mut unsettled = false;
        let mut all = Vec::new();
        for (name, lookout) in &mut self.lookouts {
            let look = lookout.look(at_ms);
            unsettled |= look.unsettled;
            for (path, why) in look.unreadable {
                let text = format!("{name}: {} cannot be read: {why}", path.display());
                (self.driver.order)(Order::Note(text));
            }
            all.extend(look.found.into_iter().map(|found| (name.clone(), found)));
        }
        for (name, found) in all {
            let digest = found.candidate.digest();
            let Some(machine) = self.machines.get_mut(&name) else {
                continue;
            };
            let is_file = matches!(
                self.lookouts.get(&name).map(Lookout::source),
                Some(super::source::Source::File(_))
            );
            // What lay there when the present policy came into service is not new. A signature that
            // came later is a reason to try again what was refused for want of it.
            let held = machine.service().source_digest.as_deref() == Some(&*digest);
            let refused = machine.service().refused.iter().any(|r| r.digest == digest);
            if is_file {
                machine.source_holds(&digest);
            }
            if !(is_file && held && !refused) {
                self.offer(&name, found.candidate, Origin::Source);
            }
        }
        unsettled
    }

    fn offer(&mut self, name: &str, candidate: Candidate, origin: Origin) {
        let digest = candidate.digest();
        self.found
            .insert((name.to_owned(), digest.clone()), candidate);
        self.step(
            name,
            Input::Offered {
                digest: digest.clone(),
                origin,
            },
        );
        // Not taken up, as what is in service already.
        self.found.remove(&(name.to_owned(), digest));
    }

    fn prepared(&mut self, prepared: Prepared) {
        let Prepared {
            name,
            digest,
            candidate,
            result,
        } = prepared;
        match result {
            Ok(tested) => {
                if let Err(error) = self.store.keep(&digest, &candidate) {
                    let refusal = Refusal::new(Step::Swap, error.to_string());
                    self.step(&name, Input::Refused { digest, refusal });
                    return;
                }
                let candidate = tested.known().clone();
                self.ready.insert((name.clone(), digest), tested);
                self.step(&name, Input::Ready { candidate });
            }
            Err(refusal) => {
                let refusal = self.placed(&name, refusal);
                self.step(&name, Input::Refused { digest, refusal });
            }
        }
    }

    /// The fields of a refusal with the lines at which a person wrote them.
    fn placed(&self, name: &str, refusal: Refusal) -> Refusal {
        match self.plans.get(name) {
            Some(plan) => plan.placed(refusal),
            None => refusal,
        }
    }

    fn made(&mut self, all: Vec<Made>) {
        for made in all {
            let Made {
                target,
                event,
                parts,
                mut telemetry,
                ..
            } = made;
            for part in parts {
                let name = part.policy.to_string();
                let slow_ms = self
                    .plans
                    .get(&name)
                    .map_or(u64::MAX, |plan| plan.gate.probation.slow_ms);
                let decision = &part.decision;
                let against = decision.failure.as_ref().filter(|f| f.is_misbehaviour());
                let input = Input::Decided {
                    digest: part.digest.to_string(),
                    failure: against.map(PolicyFailure::to_string),
                    slow: decision.duration >= Duration::from_millis(slow_ms),
                };
                self.step(&name, input);
                let (Some(shadow), Some(telemetry)) = (self.shadows.get_mut(&name), &mut telemetry)
                else {
                    continue;
                };
                // The candidate begins with what the present policy remembers, as it would in its
                // place, and goes on with its own.
                let memory = shadow.memories.entry(target.clone());
                let memory = memory.or_insert_with(|| part.context.memory.clone());
                let context = Context {
                    settings: shadow.policy.settings().to_vec(),
                    memory: memory.clone(),
                    ..part.context
                };
                let candidate = shadow.policy.decide(&event, &context, telemetry);
                memory.clone_from(&candidate.verdict.memory);
                let compared = Compared {
                    digest: shadow.policy.digest().to_owned(),
                    target: target.clone(),
                    event: event.clone(),
                    present: part.decision.verdict,
                    candidate,
                };
                self.step(&name, Input::Compared(Box::new(compared)));
            }
        }
    }

    fn asked(&mut self, request: Request, answer: mpsc::Sender<Reply>) {
        // Who asked may have gone away.
        let say = |reply| drop(answer.send(reply));
        let unknown = |policy: &str| {
            Reply::Error(format!(
                "no policy is called `{policy}` in the configuration"
            ))
        };
        match request {
            Request::Status => say(Reply::Status(self.status())),
            Request::Swap { policy, file } => {
                if !self.machines.contains_key(&policy) {
                    return say(unknown(&policy));
                }
                let most = (self.workshop.runtime.limits().component_mib as u64) << 20;
                match read_candidate(&file, most) {
                    Ok(candidate) => {
                        let digest = candidate.digest();
                        self.waiting.push((policy.clone(), digest, answer));
                        self.offer(&policy, candidate, Origin::Person);
                    }
                    Err(error) => say(Reply::Error(format!("reading {}: {error}", file.display()))),
                }
            }
            Request::Promote { policy } | Request::Rollback { policy }
                if !self.machines.contains_key(&policy) =>
            {
                say(unknown(&policy));
            }
            Request::Promote { policy } => {
                self.waiting.push((policy.clone(), String::new(), answer));
                self.step(&policy, Input::Promote);
            }
            Request::Rollback { policy } => {
                self.waiting.push((policy.clone(), String::new(), answer));
                self.step(&policy, Input::RollBack);
            }
        }
    }

    fn status(&self) -> Vec<PolicyReport> {
        let reports = self.machines.iter().map(|(name, machine)| {
            let plan = self.plans.get(name);
            let (decisions, failures) = machine.counts();
            PolicyReport {
                running: true,
                targets: plan.map(|plan| plan.targets.clone()).unwrap_or_default(),
                source: plan.map(|plan| plan.source.clone()),
                require_signature: Some(self.workshop.trust.require_signature),
                candidate: machine.candidate(),
                statistics: Some(Statistics {
                    decisions,
                    failures,
                }),
                ..report(name, machine.service())
            }
        });
        reports.collect()
    }

    /// Feeds the machine of a policy and does what it wants.
    fn step(&mut self, name: &str, input: Input) {
        let Some(machine) = self.machines.get_mut(name) else {
            return;
        };
        for output in machine.step(now_ms(), input) {
            self.carry_out(name, output);
        }
    }

    fn carry_out(&mut self, name: &str, output: Output) {
        match output {
            Output::Prepare { digest } => {
                let key = (name.to_owned(), digest.clone());
                let (Some(candidate), Some(plan)) = (self.found.remove(&key), self.plans.get(name))
                else {
                    return;
                };
                let job = Job {
                    name: name.to_owned(),
                    digest: digest.clone(),
                    candidate,
                    settings: plan.settings.clone(),
                };
                if self.jobs.try_send(job).is_err() {
                    let reason = "too many candidates wait to be prepared; try again".to_owned();
                    let refusal = Refusal::new(Step::Signature, reason);
                    self.step(name, Input::Refused { digest, refusal });
                }
            }
            Output::BeginShadow { digest } => {
                if let Some(tested) = self.ready.get(&(name.to_owned(), digest)) {
                    let shadow = Shadow {
                        policy: tested.policy().clone(),
                        memories: BTreeMap::new(),
                    };
                    self.shadows.insert(name.to_owned(), shadow);
                    (self.driver.order)(Order::Shadow(true));
                }
            }
            Output::EndShadow => {
                self.shadows.remove(name);
                if self.shadows.is_empty() {
                    (self.driver.order)(Order::Shadow(false));
                }
            }
            Output::Swap { digest, why } => {
                if let Some(tested) = self.ready.get(&(name.to_owned(), digest)) {
                    let order = SwapOrder {
                        name: name.to_owned(),
                        policy: tested.policy().clone(),
                        why,
                    };
                    (self.driver.order)(Order::Swap(Box::new(order)));
                }
            }
            Output::Record(record) => self.record(&record),
            Output::Persist => self.persist(),
        }
    }

    fn record(&mut self, record: &GateRecord) {
        (self.driver.order)(Order::Note(record.to_string()));
        (self.driver.write_down)(record);
        let last = match &record.progress {
            Progress::InService { .. } | Progress::AwaitsPerson { .. } => {
                Some(Reply::Done(record.to_string()))
            }
            Progress::Began if record.step == Step::Shadow => Some(Reply::Done(format!(
                "{record}; `dbmedic policy status` shows how it does"
            ))),
            Progress::Refused { .. } | Progress::Denied { .. } => {
                Some(Reply::Error(record.to_string()))
            }
            Progress::Offered { .. } | Progress::Passed | Progress::Began => None,
        };
        // A rollback records first that the present one goes.
        let goes = record.step == Step::Probation;
        self.waiting.retain(|(policy, digest, answer)| {
            let of_swap = !digest.is_empty();
            if *policy != record.policy || (of_swap && *digest != record.digest) {
                return true;
            }
            let said = match &last {
                Some(last) if of_swap || !goes => last.clone(),
                _ => Reply::Record(Box::new(record.clone())),
            };
            let more = !said.is_last();
            answer.send(said).is_ok() && more
        });
    }

    fn persist(&mut self) {
        let services: BTreeMap<String, Service> = self
            .machines
            .iter()
            .map(|(name, machine)| (name.clone(), machine.service().clone()))
            .collect();
        let needed: BTreeSet<(String, String)> = services
            .iter()
            .flat_map(|(name, service)| {
                let known = [
                    Some(&service.present),
                    service.last_good.as_ref(),
                    service.candidate.as_ref(),
                ];
                let digest = |known: &Known| (name.clone(), known.identity.digest.clone());
                known.into_iter().flatten().map(digest).collect::<Vec<_>>()
            })
            .collect();
        self.ready.retain(|key, _| needed.contains(key));
        if let Err(error) = self.store.save(services) {
            let text = format!("what is in service is not written down: {error}");
            tracing::error!("{text}");
            (self.driver.order)(Order::Note(text));
        }
    }
}

/// What is known of a policy without a dbmedic that runs.
pub(super) fn report(name: &str, service: &Service) -> PolicyReport {
    PolicyReport {
        policy: name.to_owned(),
        running: false,
        targets: Vec::new(),
        source: None,
        require_signature: None,
        present: service.present.clone(),
        since_ms: service.since_ms,
        on_probation: service.on_probation,
        last_good: service.last_good.clone(),
        candidate: None,
        refused: service.refused.iter().rev().cloned().collect(),
        statistics: None,
    }
}

/// The machine of a policy that has just been put in service, or was.
pub(super) fn machine(name: &str, plan: &Plan, service: Service) -> Machine {
    Machine::new(name, plan.gate.clone(), service, now_ms())
}
