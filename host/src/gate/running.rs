//! The gate's own thread: it feeds the machines and does what they want.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::arrivals::Several;
use super::components::Components;
use super::machine::{Compared, Input, Machine, Machines, Output, Service};
use super::plan::Plan;
use super::prepare::{Candidate, Tested};
use super::protocol::{PolicyReport, Reply, Request};
use super::record::{GateRecord, Known, Origin, Progress, Refusal, Step};
use super::service::{Driver, Job, Message, Order, Prepared, Reload, SwapOrder};
use super::source::{Lookout, read_believed};
use crate::clock::now_ms;
use crate::model::Context;
use crate::pipeline::Made;
use crate::policy::{Owner, Policy, Signer};

/// Between two looks at the sources where nothing tells of a change, and between two ticks.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks while a file settles.
const SETTLING: Duration = Duration::from_millis(100);

/// A candidate in the shadow, with what it left for each target.
pub(super) struct Shadow {
    policy: Policy,
    /// Whether it takes over what the present policy remembers, as a new version of it does.
    inherits: bool,
    memories: BTreeMap<String, Vec<u8>>,
}

/// Everything that the gate's thread has.
pub(super) struct Running {
    pub(super) components: Components,
    pub(super) plans: BTreeMap<String, Plan>,
    pub(super) machines: Machines,
    pub(super) ready: BTreeMap<(String, String), Tested>,
    pub(super) lookouts: BTreeMap<String, Lookout>,
    /// Policies whose sources are looked at once, whether they are watched or not.
    pub(super) to_look_at: BTreeSet<String>,
    pub(super) shadows: BTreeMap<String, Shadow>,
    /// Candidates that were found and are not prepared yet.
    pub(super) found: BTreeMap<(String, String), Candidate>,
    /// What is new in directories, until all of it is prepared.
    pub(super) several: BTreeMap<String, Several>,
    /// People who wait for what becomes of a candidate.
    pub(super) waiting: Vec<(String, String, mpsc::Sender<Reply>)>,
    pub(super) jobs: SyncSender<Job>,
    pub(super) look_anew: Arc<AtomicBool>,
    pub(super) reload: Option<Reload>,
    pub(super) driver: Driver,
}

impl Running {
    pub(super) fn run(&mut self, receive: &mpsc::Receiver<Message>) {
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
                Ok(Message::Service {
                    name,
                    digest,
                    change,
                }) => self.step(&name, Input::Changed { digest, change }),
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
                self.to_look_at.extend(self.lookouts.keys().cloned());
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

    fn prepared(&mut self, prepared: Prepared) {
        if prepared.one_of_several {
            let name = prepared.name.clone();
            return self.one_of_several(&name, prepared);
        }
        let Prepared {
            name,
            digest,
            candidate,
            result,
            ..
        } = prepared;
        match result {
            Ok(tested) => self.is_prepared(&name, tested, &candidate),
            Err(refusal) => {
                let refusal = self.placed(&name, refusal);
                self.step(&name, Input::Refused { digest, refusal });
            }
        }
    }

    pub(super) fn is_prepared(&mut self, name: &str, tested: Tested, candidate: &Candidate) {
        if let Err(error) = self.components.keep(name, candidate) {
            let digest = candidate.digest().to_owned();
            let refusal = Refusal::new(Step::Swap, error.to_string());
            self.step(name, Input::Refused { digest, refusal });
            return;
        }
        self.is_ready(name, tested);
    }

    pub(super) fn is_ready(&mut self, name: &str, tested: Tested) {
        let known = tested.known().clone();
        let key = (name.to_owned(), known.identity.digest.clone());
        self.ready.insert(key, tested);
        self.step(name, Input::Ready { candidate: known });
    }

    /// The fields of a refusal with the lines at which a person wrote them.
    pub(super) fn placed(&self, name: &str, refusal: Refusal) -> Refusal {
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
                if part.decision.duration >= Duration::from_millis(slow_ms) {
                    let digest = part.digest.to_string();
                    self.step(&name, Input::Slow { digest });
                }
                let (Some(shadow), Some(telemetry)) = (self.shadows.get_mut(&name), &mut telemetry)
                else {
                    continue;
                };
                // The candidate begins as it would in service, and goes on with its own memory.
                let memory = shadow.memories.entry(target.clone());
                let memory = memory.or_insert_with(|| {
                    if shadow.inherits {
                        part.context.memory.clone()
                    } else {
                        Vec::new()
                    }
                });
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
            Request::Command { request } => {
                (self.driver.order)(Order::Said(request, answer));
            }
            Request::Reload { config } => say(match &self.reload {
                Some(reload) if is_same_file(&reload.config, &config) => {
                    reload.wanted.store(true, Ordering::SeqCst);
                    let text = "dbmedic reads its configuration again; its log says what changes";
                    Reply::Done(text.to_owned())
                }
                Some(reload) => Reply::Error(format!(
                    "the dbmedic that runs has its configuration from {}, not from {}",
                    reload.config.display(),
                    config.display()
                )),
                None => Reply::Error("this run has no configuration to read again".to_owned()),
            }),
            Request::Swap { policy, file } => {
                let Some(plan) = self.plans.get(&policy) else {
                    return say(unknown(&policy));
                };
                match read_believed(&file, plan.most_bytes()) {
                    Ok(candidate) => {
                        let digest = candidate.digest().to_owned();
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
            let service = machine.service();
            let digest = service.present.identity.digest.clone();
            let tested = self.ready.get(&(name.clone(), digest));
            let shadow = self.shadows.get(name);
            PolicyReport {
                running: true,
                targets: plan.map(|plan| plan.targets.clone()).unwrap_or_default(),
                source: plan.map(|plan| plan.source.clone()),
                require_signature: plan.map(|plan| plan.workshop.trust().require_signature),
                candidate: machine.candidate(),
                statistics: tested.map(|tested| tested.policy().status()),
                candidate_statistics: shadow.map(|shadow| shadow.policy.status()),
                ..report(name, service)
            }
        });
        reports.collect()
    }

    /// Feeds the machine of a policy and does what it wants.
    pub(super) fn step(&mut self, name: &str, input: Input) {
        let Some(machine) = self.machines.get_mut(name) else {
            return;
        };
        let outputs = machine.step(now_ms(), input);
        let persist = outputs.contains(&Output::Persist);
        self.write_down(&outputs, persist);
        for output in outputs {
            self.carry_out(name, output);
        }
        // When everything else is done: some of it needed what is not needed any more.
        if persist {
            self.forget();
        }
    }

    /// Keeps, before anything comes of it, the steps that policies take, and which are in service.
    fn write_down(&self, outputs: &[Output], persist: bool) {
        let records = outputs.iter().filter_map(|output| match output {
            Output::Record(record) => Some(GateRecord::clone(record)),
            _ => None,
        });
        let records: Vec<GateRecord> = records.collect();
        if persist || !records.is_empty() {
            let services = persist.then(|| services(&self.machines));
            (self.driver.write_down)(records, services);
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
                    workshop: Arc::clone(&plan.workshop),
                    one_of_several: false,
                };
                if self.jobs.try_send(job).is_err() {
                    let reason = "too many candidates wait to be prepared; try again".to_owned();
                    let refusal = Refusal::new(Step::Signature, reason);
                    self.step(name, Input::Refused { digest, refusal });
                }
            }
            Output::BeginShadow { digest } => {
                let inherits = self.inherits(name, &digest);
                if let Some(tested) = self.ready.get(&(name.to_owned(), digest)) {
                    let policy = tested.policy();
                    let shadow = Shadow {
                        // Counted on its own: what it did in the shadow is no decision.
                        policy: policy.with_isolation(policy.limits().isolation),
                        inherits,
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
            Output::Swap {
                digest,
                why,
                standing,
            } => {
                self.order_signed(name, &digest);
                if let Some(tested) = self.ready.get(&(name.to_owned(), digest)) {
                    let order = SwapOrder {
                        name: name.to_owned(),
                        policy: tested.policy().clone(),
                        why,
                        standing,
                    };
                    (self.driver.order)(Order::Swap(Box::new(order)));
                }
            }
            Output::Record(record) => self.record(&record),
            Output::Persist => {}
        }
    }

    /// Whether the memory of the policy in service is the candidate's as well.
    fn inherits(&self, name: &str, digest: &str) -> bool {
        let Some(machine) = self.machines.get(name) else {
            return false;
        };
        let owner = |known: &Known| Owner::new(known.identity.clone(), (&known.provenance).into());
        let present = owner(&machine.service().present);
        machine
            .known(digest)
            .is_some_and(|candidate| owner(candidate).is_same(&present))
    }

    /// Whose a policy's memory is depends on who vouches for it.
    fn order_signed(&self, name: &str, digest: &str) {
        let known = self.machines.get(name).and_then(|m| m.known(digest));
        if let Some(known) = known {
            (self.driver.order)(Order::Signed {
                digest: digest.to_owned(),
                signer: Signer::from(&known.provenance),
            });
        }
    }

    fn record(&mut self, record: &GateRecord) {
        if record.progress == Progress::SignedAnew {
            self.order_signed(&record.policy, &record.digest);
        }
        (self.driver.order)(Order::Note(record.to_string()));
        self.waiting.retain(|(policy, digest, answer)| {
            let of_swap = !digest.is_empty();
            if *policy != record.policy || (of_swap && *digest != record.digest) {
                return true;
            }
            let said = last_word(record, of_swap);
            let said = said.unwrap_or_else(|| Reply::Record(Box::new(record.clone())));
            let more = !said.is_last();
            answer.send(said).is_ok() && more
        });
    }

    /// Lets go of the policies that no machine needs, and of the oldest components.
    fn forget(&mut self) {
        let needed: BTreeSet<(String, String)> = self
            .machines
            .iter()
            .flat_map(|(name, machine)| {
                let digest = |known: &Known| (name.clone(), known.identity.digest.clone());
                machine.needed().map(digest)
            })
            .collect();
        self.ready.retain(|key, _| needed.contains(key));
        if let Err(error) = self.components.prune(&self::needed(&self.machines)) {
            tracing::warn!("{error}");
        }
    }
}

/// What the next run must know of each policy.
pub(super) fn services(machines: &Machines) -> BTreeMap<String, Service> {
    let machines = machines.iter();
    machines
        .map(|(name, machine)| (name.clone(), machine.service().clone()))
        .collect()
}

/// The digests of the components that the next run may need.
pub(super) fn needed(machines: &Machines) -> BTreeSet<String> {
    let machines = machines.values();
    machines
        .flat_map(|machine| machine.service().needed())
        .map(|known| known.identity.digest.clone())
        .collect()
}

/// What ends the wait of a person, and how: one who wants a candidate in the gate is answered as soon
/// as it gets somewhere or nowhere, one who wants a swap when there is one, or none.
fn last_word(record: &GateRecord, of_candidate: bool) -> Option<Reply> {
    match &record.progress {
        Progress::InService { .. } => Some(Reply::Done(record.to_string())),
        Progress::Denied { .. } => Some(Reply::Error(record.to_string())),
        _ if !of_candidate => None,
        Progress::AwaitsPerson { .. } | Progress::SignedAnew => {
            Some(Reply::Done(record.to_string()))
        }
        Progress::Began if record.step == Step::Shadow => Some(Reply::Done(format!(
            "{record}; `dbmedic policy status` shows how it does"
        ))),
        Progress::Refused { .. } => Some(Reply::Error(record.to_string())),
        Progress::Offered { .. } | Progress::Passed | Progress::Began => None,
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
        out_of_service: service.out_of_service.clone(),
        candidate: None,
        candidate_statistics: None,
        refused: service.refused.iter().rev().cloned().collect(),
        statistics: None,
    }
}

/// The machine of a policy that has just been put in service, or was.
pub(super) fn machine(name: &str, plan: &Plan, service: Service) -> Machine {
    Machine::new(name, plan.gate.clone(), service)
}

/// Whether two paths lead to the same file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| std::fs::canonicalize(path).ok();
    one == other || place(one).is_some() && place(one) == place(other)
}
