//! A pipeline under load with a gate beside it: what `dbmedic run` does, without databases.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use dbmedic::diagnose::DiagnoseOptions;
use dbmedic::gate::{
    self, Gate, GateRecord, GateSettings, Order, Plan, PolicyReport, Reply, Request, Service,
    Source, SwapOrder, Trust, Workshop,
};
use dbmedic::guard::{GuardLimits, Mode};
use dbmedic::model::Setting;
use dbmedic::pipeline::{Event, Made, Pipeline, PipelineOptions, TargetOptions};
use dbmedic::policy::{CacheLimits, CompiledCache, Limits, Runtime};
use dbmedic::signing::{self, Comment, NewKeys, TrustedKey};
use dbmedic::source::{Observation, Sample, State};
use dbmedic::store::Store;

use crate::common::wait_for;

const DEFAULT: &[u8] = include_bytes!("../../policies/prebuilt/default.wasm");
const HOSTILE: &[u8] = include_bytes!("../guests/hostile/hostile.wasm");

/// Replaces bytes that stand in a component once.
fn replaced(component: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = component
        .windows(from.len())
        .enumerate()
        .filter_map(|(at, window)| (window == from).then_some(at))
        .collect();
    let [at] = places[..] else {
        panic!("{:?} stands at {places:?}", String::from_utf8_lossy(from))
    };
    let mut bytes = component.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// The same component with another digest: a section of its own at its end.
fn numbered(mut component: Vec<u8>, number: u32) -> Vec<u8> {
    let payload = number.to_le_bytes();
    component.extend_from_slice(&[0, 7, 2, b'n', b'o']);
    component.extend_from_slice(&payload);
    component
}

/// The default policy with another version, of five characters as its own, and a number.
pub(crate) fn component(version: &str, number: u32) -> Vec<u8> {
    let own = b"settings.unreadable0.1.0Repairs";
    let new = format!("settings.unreadable{version}Repairs");
    numbered(replaced(DEFAULT, own, new.as_bytes()), number)
}

/// The hostile guest, describing itself as asked.
pub(crate) fn hostile(describe: &str) -> Vec<u8> {
    let own = b"describe=well-behaved___________";
    let mut new = describe.as_bytes().to_vec();
    new.resize(own.len(), b'_');
    replaced(HOSTILE, own, &new)
}

/// The hostile guest with a name of as many letters, and a number.
pub(crate) fn called(name: &str, number: u32) -> Vec<u8> {
    let own = b"hostile0.1.0Misbehaves";
    let new = format!("{name}0.1.0Misbehaves");
    numbered(replaced(HOSTILE, own, new.as_bytes()), number)
}

/// Loads well, and fails at every decision: the name of its rule is no word, or no text.
pub(crate) fn fails_to_decide(number: u32) -> Vec<u8> {
    let rule: &[u8] = match number % 2 {
        0 => b"hostile behaved",
        _ => b"hostile\xff\xfebehave",
    };
    numbered(replaced(HOSTILE, b"hostile.behaved", &rule[..15]), number)
}

/// A public key as a configuration trusts it.
pub(crate) fn trusted(name: &str, keys: &NewKeys) -> TrustedKey {
    TrustedKey {
        name: name.into(),
        key: keys.key.clone(),
        expires_ms: None,
    }
}

/// Writes a component with its signature.
pub(crate) fn signed(dir: &Path, name: &str, bytes: &[u8], keys: &NewKeys) -> PathBuf {
    let path = dir.join(name);
    let comment = Comment {
        sha256: Some(signing::sha256(bytes)),
        ..Comment::default()
    };
    let signature = signing::sign(bytes, &comment, &keys.secret).unwrap();
    // The signature first, as one should: what watches may look in between.
    fs::write(gate::signature_path(&path), signature).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// How a ward is set up.
#[derive(Clone)]
pub(crate) struct WardOptions {
    pub(crate) source: Source,
    pub(crate) named: BTreeMap<String, Source>,
    /// The policies in line of each target; the targets are called `t0`, `t1` and so on.
    pub(crate) lines: Vec<Vec<String>>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) gate: GateSettings,
    /// The gate of the named policies, where it is another.
    pub(crate) named_gate: Option<GateSettings>,
    pub(crate) trust: Trust,
    /// Who is believed of the named policies, where it is others.
    pub(crate) named_trust: Option<Trust>,
    /// Between two events.
    pub(crate) pause: Duration,
    /// For one decision, milliseconds.
    pub(crate) deadline_ms: u64,
}

impl Default for WardOptions {
    fn default() -> Self {
        Self {
            source: Source::BuiltIn,
            named: BTreeMap::new(),
            lines: vec![vec!["default".to_owned()]],
            settings: Vec::new(),
            gate: GateSettings::default(),
            named_gate: None,
            trust: Trust {
                require_signature: true,
                keys: Vec::new(),
            },
            named_trust: None,
            pause: Duration::from_millis(1),
            deadline_ms: 2000,
        }
    }
}

/// What one policy answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) at: u64,
    pub(crate) target: String,
    pub(crate) policy: String,
    pub(crate) digest: String,
    /// Whether its own answer did not count.
    pub(crate) failed: bool,
    /// The memory that it was handed.
    pub(crate) handed: Vec<u8>,
}

/// A pipeline under load and its gate.
pub(crate) struct Ward {
    state: PathBuf,
    options: WardOptions,
    stop: Arc<AtomicBool>,
    events: Arc<AtomicU64>,
    thread: JoinHandle<Vec<Answer>>,
    /// A sample that every target is to be seen with next.
    sample: Arc<Mutex<Option<Sample>>>,
    /// The digests in service as the pipeline has them.
    present: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Ward {
    pub(crate) fn start(home: &Path, options: WardOptions) -> Self {
        let state = home.join("state");
        let limits = Limits {
            deadline_ms: options.deadline_ms,
            start_deadline_ms: 5000,
            ..Limits::default()
        };
        let cache = CompiledCache::open(&state.join("policies/compiled"), CacheLimits::default());
        let cache = Arc::new(cache.unwrap());
        let workshop = |trust: &Trust| {
            let runtime = Runtime::new(limits.clone()).unwrap();
            let cache = Some(Arc::clone(&cache));
            Arc::new(Workshop::new(runtime, cache, trust.clone()))
        };
        let own = workshop(&options.trust);
        let named = match &options.named_trust {
            Some(trust) => workshop(trust),
            None => Arc::clone(&own),
        };
        let plans = plans(&options, &own, &named);
        let (store, gate) = opened(&state, plans);
        let policies = gate.policies().unwrap();
        let mut carried = store.carried().unwrap().carried;
        carried.signers = policies.signers();
        let mut pipeline = Pipeline::new(pipeline_options(&options), policies, carried);
        let in_service = gate.in_service();
        let digests = in_service
            .iter()
            .map(|(name, policy)| (name.clone(), policy.digest().to_owned()));
        let present = Arc::new(Mutex::new(digests.collect::<BTreeMap<_, _>>()));
        let (send, orders) = mpsc::channel();
        let order = move |order| send.send(order).is_ok();
        let handle = gate.start(order, keeper(&store)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let events = Arc::new(AtomicU64::new(0));
        let sample = Arc::new(Mutex::new(None::<Sample>));
        let thread = std::thread::spawn({
            let (stop, events, present) =
                (Arc::clone(&stop), Arc::clone(&events), Arc::clone(&present));
            let (pause, sample, targets) =
                (options.pause, Arc::clone(&sample), options.lines.len());
            move || {
                let mut answers = Vec::new();
                let mut at_ms = 0;
                while !stop.load(Ordering::SeqCst) {
                    at_ms += 1;
                    if let Some(sample) = sample.lock().unwrap().take() {
                        for number in 0..targets {
                            pipeline.step(&seen_with(number, at_ms, &sample));
                        }
                    }
                    let event = match orders.try_recv() {
                        Ok(Order::Swap(swap)) => swapped(&mut pipeline, *swap, at_ms),
                        Ok(Order::Signed { digest, signer }) => {
                            pipeline.step(&Event::PolicySigned {
                                at_ms,
                                digest,
                                signer,
                            });
                            continue;
                        }
                        Ok(Order::Shadow(on)) => {
                            pipeline.keep_telemetry(on);
                            continue;
                        }
                        Ok(Order::Note(_) | Order::Said(..)) => continue,
                        Err(_) => Event::Tick { at_ms },
                    };
                    let effects = pipeline.step(&event);
                    let made = pipeline.take_made();
                    answers.extend(made.iter().flat_map(answers_in));
                    handle.made(made);
                    for effect in &effects {
                        handle.hear(effect);
                    }
                    if let Event::PolicySwapped { policy, to, .. } = event {
                        present.lock().unwrap().insert(policy, to.digest);
                    } else {
                        events.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(pause);
                    }
                }
                drop(orders);
                drop(handle);
                store.save_carried(pipeline.carried()).unwrap();
                answers
            }
        });
        Self {
            state,
            options,
            stop,
            events,
            thread,
            sample,
            present,
        }
    }

    /// Stops, and hands over every answer of every policy in service.
    pub(crate) fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }

    /// Every target is seen with this sample, before the next event.
    pub(crate) fn observe(&self, series: &str, value: f64) {
        let series = series.to_owned();
        *self.sample.lock().unwrap() = Some(Sample { series, value });
    }

    pub(crate) fn options(&self) -> &WardOptions {
        &self.options
    }

    /// Events so far, swaps left out.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::SeqCst)
    }

    /// Waits until so many more events were fed.
    pub(crate) fn decide_some(&self, events: u64) {
        let until = self.events() + events;
        wait_for("events", || (self.events() >= until).then_some(()));
    }

    /// The digest of the policy that the pipeline asks.
    pub(crate) fn present(&self, name: &str) -> String {
        self.present.lock().unwrap()[name].clone()
    }

    pub(crate) fn report(&self, name: &str) -> PolicyReport {
        let mut found = None;
        gate::ask(&self.state, &Request::Status, |reply| {
            if let Reply::Status(all) = reply {
                found = all.into_iter().find(|report| report.policy == name);
            }
        })
        .unwrap();
        found.unwrap()
    }

    fn ask(&self, request: &Request) -> Result<String, String> {
        let mut said = String::new();
        gate::ask(&self.state, request, |reply| {
            if let Reply::Done(text) = reply {
                said = text;
            }
        })
        .map(|()| said)
        .map_err(|error| error.to_string())
    }

    pub(crate) fn swap(&self, name: &str, file: &Path) -> Result<String, String> {
        self.ask(&Request::Swap {
            policy: name.to_owned(),
            file: file.to_owned(),
        })
    }

    pub(crate) fn promote(&self, name: &str) -> Result<String, String> {
        self.ask(&Request::Promote {
            policy: name.to_owned(),
        })
    }

    pub(crate) fn roll_back(&self, name: &str) -> Result<String, String> {
        self.ask(&Request::Rollback {
            policy: name.to_owned(),
        })
    }

    /// Waits until both the pipeline and the gate have a policy in service.
    pub(crate) fn until_in_service(&self, name: &str, digest: &str) {
        wait_for("a policy to be in service", || {
            let there =
                self.present(name) == digest && self.report(name).present.identity.digest == digest;
            there.then_some(())
        });
    }

    /// Waits until there is no candidate and nothing has to prove itself.
    pub(crate) fn until_at_rest(&self, name: &str) {
        wait_for("a policy to be proved", || {
            let report = self.report(name);
            (report.candidate.is_none() && !report.on_probation).then_some(())
        });
    }

    /// Waits until a candidate is refused, and says why.
    pub(crate) fn until_refused(&self, name: &str, digest: &str) -> String {
        wait_for("a candidate to be refused", || {
            let refused = self.report(name).refused;
            let found = refused.into_iter().find(|r| r.digest == digest)?;
            Some(found.refusal.to_string())
        })
    }
}

/// The state, and the gate with what was in service.
fn opened(state: &Path, plans: BTreeMap<String, Plan>) -> (Arc<Store>, Gate) {
    let store = Store::open(state).unwrap();
    let gate = Gate::open(state, DEFAULT, plans, store.services().unwrap()).unwrap();
    store.save_services(gate.services()).unwrap();
    (Arc::new(store), gate)
}

/// Keeps what is in service.
fn keeper(
    store: &Arc<Store>,
) -> impl Fn(Vec<GateRecord>, Option<BTreeMap<String, Service>>) + Send + use<> {
    let store = Arc::clone(store);
    move |_, services| {
        if let Some(services) = services {
            store.save_services(services).unwrap();
        }
    }
}

/// Hands the pipeline a policy that comes into service, and says so.
fn swapped(pipeline: &mut Pipeline, swap: SwapOrder, at_ms: u64) -> Event {
    let to = swap.policy.identity();
    pipeline.stand_by(&swap.name, swap.policy);
    Event::PolicySwapped {
        policy: swap.name,
        at_ms,
        to,
        why: swap.why.to_string(),
        standing: swap.standing,
    }
}

/// A look at a target that saw one sample.
fn seen_with(number: usize, at_ms: u64, sample: &Sample) -> Event {
    Event::Observed(Observation {
        target: format!("t{number}"),
        at_ms,
        samples: vec![sample.clone()],
        snapshot_at_ms: None,
        state: State::Samples,
    })
}

/// What each policy in line answered.
fn answers_in(made: &Made) -> impl Iterator<Item = Answer> {
    made.parts.iter().map(|part| Answer {
        at: made.at_ms,
        target: made.target.clone(),
        policy: part.policy.to_string(),
        digest: part.digest.to_string(),
        failed: part.decision.failure.is_some(),
        handed: part.context.memory.clone(),
    })
}

fn plans(
    options: &WardOptions,
    own: &Arc<Workshop>,
    named: &Arc<Workshop>,
) -> BTreeMap<String, Plan> {
    let plan = |name: &str, source: &Source, gate: &GateSettings, workshop: &Arc<Workshop>| Plan {
        workshop: Arc::clone(workshop),
        source: source.clone(),
        built_in: None,
        watch: true,
        settings: options.settings.clone(),
        gate: gate.clone(),
        targets: (0..)
            .zip(&options.lines)
            .filter(|(_, line)| line.iter().any(|policy| policy == name))
            .map(|(number, _): (u32, _)| format!("t{number}"))
            .collect(),
        place: Some(Arc::new(|name, message| format!("here: {name} {message}"))),
    };
    let named_gate = options.named_gate.as_ref().unwrap_or(&options.gate);
    let mut plans: BTreeMap<String, Plan> = options
        .named
        .iter()
        .map(|(name, source)| (name.clone(), plan(name, source, named_gate, named)))
        .collect();
    plans.insert(
        "default".to_owned(),
        plan("default", &options.source, &options.gate, own),
    );
    plans
}

fn pipeline_options(options: &WardOptions) -> PipelineOptions {
    let targets = (0..).zip(&options.lines).map(|(number, line): (u32, _)| {
        let target = TargetOptions {
            kind: dbmedic::model::sqlite(),
            policies: line.clone(),
            mode: Mode::Observe,
            diagnose: DiagnoseOptions {
                lock_hold_ms: 1000,
                reader_hold_ms: 1000,
                sample_interval_ms: 1000,
                snapshot_recent_ms: 1000,
                may_end: Vec::new(),
            },
            constraints: Vec::new(),
        };
        (format!("t{number}"), target)
    });
    PipelineOptions {
        decide_interval_ms: 1000,
        baseline_window: 100,
        baseline_established_after: 10,
        guard: GuardLimits::default(),
        breaker: dbmedic::policy::BreakerOptions::default(),
        named_breakers: BTreeMap::new(),
        targets: targets.collect(),
        signatures: None,
    }
}

/// That every target's line was asked once at each event, no more and no less.
pub(crate) fn assert_none_lost_or_doubled(answers: &[Answer], lines: &[Vec<String>]) {
    let mut seen = BTreeSet::new();
    for answer in answers {
        let key = (answer.at, answer.target.clone(), answer.policy.clone());
        assert!(seen.insert(key), "decided twice: {answer:?}");
    }
    let moments: BTreeSet<u64> = answers.iter().map(|answer| answer.at).collect();
    let per_event: usize = lines.iter().map(Vec::len).sum();
    assert_eq!(answers.len(), moments.len() * per_event, "one was lost");
}
