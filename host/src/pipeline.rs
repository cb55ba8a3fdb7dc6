//! The deterministic state machine in the middle: an event in, effects out.
//!
//! It calls the pure stages in their order (baseline, detect, diagnose, incident, policy, guard).
//! It has no I/O, no clock and no randomness of its own: the same events give the same effects,
//! live and at replay. Carrying out an effect is the driver's part.

mod service;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::constraint::Constraint;
use crate::detect::{self, ConstraintTable, DetectOptions, Detector, Judged, Surge, SurgeLevel};
use crate::diagnose::{self, DiagnoseOptions, Diagnosis, Diagnostician, Findings};
use crate::guard::{ApprovedRepair, Choice, Guard, GuardLimits, Mode, Ruling, TargetRecord};
use crate::incident::{Incidents, Resolved};
use crate::model::{
    Alert, Anomaly, BaselineSummary, Context, DetectionMethod, EscalationLevel, Finding, Metric,
    Outcome, Point, PolicyEvent, RepairHistory, Verbosity, Verdict,
};
use crate::pattern::Pattern;
use crate::policy::{
    BreakerOptions, Decision, HeardTelemetry, Line, Overheard, Part, Policy, PolicyFailure,
    PolicyIdentity, ServiceChange, Standing, Telemetry, TelemetryCopy,
};
use crate::series::{SERIES_LIMIT, SeriesTable};
use crate::signature::{Signature, Signatures};
use crate::source::Observation;

pub use service::{BreakerRecords, RecordedFailure};

use service::{Matter, Service};

/// Main metrics that a policy is handed with each event.
const CONTEXT_METRICS: usize = 64;

/// Looks that an anomaly must last without an explanation to become an incident of its own: most
/// problems show in the values a look or two before they can be diagnosed.
const UNEXPLAINED_AFTER: u32 = 3;

/// What the pipeline needs to know beforehand. Part of a recording's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineOptions {
    /// The same finding is put to the policy at most once in this time, milliseconds.
    pub decide_interval_ms: u64,
    /// Values that a baseline rests on at most.
    pub baseline_window: usize,
    /// Values from which on a baseline may be judged by.
    pub baseline_established_after: usize,
    /// The limits that no policy can move.
    pub guard: GuardLimits,
    /// When a policy is taken out of service.
    #[serde(default)]
    pub breaker: BreakerOptions,
    /// The same for policies with bounds of their own, by their configured names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named_breakers: BTreeMap<String, BreakerOptions>,
    /// The targets by name.
    pub targets: BTreeMap<String, TargetOptions>,
    /// The learned signatures that anomalies are compared with, beside the built-in ones. None
    /// compares with nothing, as recordings do that were made before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<Vec<Signature>>,
}

/// The name of the policy that decides where nothing else is configured.
pub const DEFAULT_POLICY: &str = "default";

/// The policies in service, by their configured names.
#[derive(Debug, Clone)]
pub struct Policies {
    default: Policy,
    named: BTreeMap<String, Policy>,
}

impl Policies {
    /// The default policy, and others by their names.
    pub fn new(default: Policy, named: BTreeMap<String, Policy>) -> Self {
        Self { default, named }
    }

    /// The policy of this name; the default one where there is none.
    pub fn get(&self, name: &str) -> &Policy {
        self.named.get(name).unwrap_or(&self.default)
    }
}

impl From<Policy> for Policies {
    fn from(default: Policy) -> Self {
        Self::new(default, BTreeMap::new())
    }
}

/// What the pipeline needs to know of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetOptions {
    /// The names of the policies in line; the most cautious verdict counts.
    #[serde(default = "only_default")]
    pub policies: Vec<String>,
    /// What the guard lets happen.
    pub mode: Mode,
    /// What diagnosis needs to know.
    pub diagnose: DiagnoseOptions,
    /// The configured bounds.
    pub constraints: Vec<Constraint>,
}

/// A line of the default policy alone.
pub fn only_default() -> Vec<String> {
    vec![DEFAULT_POLICY.to_owned()]
}

/// What is carried from one run to the next. Part of a recording's header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Carried {
    /// The number of the next incident.
    pub next_incident: u64,
    /// By target.
    pub targets: BTreeMap<String, CarriedTarget>,
    /// What speaks for and against the policies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub breakers: BreakerRecords,
    /// What was learned to be normal, by target. Kept in a file of its own; here in a recording.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detectors: BTreeMap<String, Detector>,
}

impl Default for Carried {
    fn default() -> Self {
        Self {
            next_incident: 1,
            targets: BTreeMap::new(),
            breakers: BTreeMap::new(),
            detectors: BTreeMap::new(),
        }
    }
}

/// What is carried of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedTarget {
    /// The escalation level in force.
    pub level: EscalationLevel,
    /// Since when, milliseconds since the Unix epoch.
    pub level_since_ms: u64,
    /// What each policy left to be handed back, by its configured name. Before several policies
    /// could be in line it was the default one's alone, under the name `memory`.
    #[serde(default, alias = "memory", deserialize_with = "memories")]
    pub memories: BTreeMap<String, Vec<u8>>,
    /// What became of earlier repairs.
    pub repairs: Vec<RepairHistory>,
    /// What the guard remembers.
    pub guard: TargetRecord,
}

fn memories<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Memories {
        Each(BTreeMap<String, Vec<u8>>),
        OfDefault(Vec<u8>),
    }
    Ok(match Memories::deserialize(from)? {
        Memories::Each(each) => each,
        Memories::OfDefault(memory) => BTreeMap::from([(DEFAULT_POLICY.to_owned(), memory)]),
    })
}

impl Default for CarriedTarget {
    fn default() -> Self {
        Self {
            level: EscalationLevel::Normal,
            level_since_ms: 0,
            memories: BTreeMap::new(),
            repairs: Vec::new(),
            guard: TargetRecord::default(),
        }
    }
}

/// What happens to the pipeline. Time arrives in here and nowhere else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A look at a target.
    Observed(Observation),
    /// A repair ended.
    RepairEnded {
        /// The target.
        target: String,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
        /// How.
        outcome: Outcome,
    },
    /// A person approved the repair that an incident waits for.
    Approved {
        /// The incident.
        incident: String,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// A person released a halted target.
    Released {
        /// The target.
        target: String,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Another policy comes into service, in all targets at once. The driver has handed it over by
    /// [`Pipeline::stand_by`].
    PolicySwapped {
        /// The policy's configured name.
        policy: String,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
        /// Which component it is from now on.
        to: PolicyIdentity,
        /// Why, in one line.
        why: String,
        /// As what.
        #[serde(default, skip_serializing_if = "Standing::is_proven")]
        standing: Standing,
    },
    /// Time passed.
    Tick {
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
    },
}

impl Event {
    /// When it happened, milliseconds since the Unix epoch.
    pub fn at_ms(&self) -> u64 {
        match self {
            Self::Observed(observation) => observation.at_ms,
            Self::RepairEnded { at_ms, .. }
            | Self::Approved { at_ms, .. }
            | Self::Released { at_ms, .. }
            | Self::PolicySwapped { at_ms, .. }
            | Self::Tick { at_ms } => *at_ms,
        }
    }
}

/// What the pipeline wants done or told. Compared byte for byte at replay.
#[allow(
    clippy::large_enum_variant,
    reason = "handled one at a time: a box would only move it"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Something left its normal range. Told when it begins, not while it lasts.
    Noticed {
        /// The target.
        target: String,
        /// The evidence.
        anomaly: Anomaly,
    },
    /// Enough was seen to say what is normal.
    BaselineEstablished {
        /// The target.
        target: String,
    },
    /// A problem was seen for the first time.
    IncidentOpened {
        /// The target.
        target: String,
        /// The problem.
        finding: Finding,
    },
    /// The policy was asked and answered.
    Decided(Decided),
    /// The guard ruled on the policy's choice.
    Ruled {
        /// The target.
        target: String,
        /// The incident.
        incident: String,
        /// The repair that the policy chose.
        repair: String,
        /// What the guard said.
        ruling: RulingSummary,
    },
    /// To be carried out. Never read back: only the guard makes one.
    #[serde(skip_deserializing)]
    Repair(Box<ApprovedRepair>),
    /// To be done: the target's files are copied aside as they are.
    Preserve {
        /// The target.
        target: String,
        /// The incident.
        incident: String,
        /// Why the target was halted.
        reason: String,
    },
    /// To be done: a thorough look at the target, now.
    Examine {
        /// The target.
        target: String,
    },
    /// To be told to people.
    Alerted {
        /// The target.
        target: String,
        /// The alert.
        alert: Alert,
    },
    /// The escalation level changed.
    LevelChanged {
        /// The target.
        target: String,
        /// The level before.
        from: EscalationLevel,
        /// The level now.
        to: EscalationLevel,
    },
    /// How much is written down changed.
    VerbosityChanged {
        /// The target.
        target: String,
        /// From now on.
        to: Verbosity,
    },
    /// The repair ended.
    RepairEnded {
        /// The target.
        target: String,
        /// How.
        outcome: Outcome,
    },
    /// Another policy is in service.
    PolicySwapped {
        /// The policy's configured name.
        policy: String,
        /// Which component it was.
        from: PolicyIdentity,
        /// Which component it is.
        to: PolicyIdentity,
        /// Why, in one line.
        why: String,
        /// Targets where the one before stays until the running repair has ended.
        after_repair: Vec<String>,
    },
    /// A policy is taken out of service after failures, is back, or has proved itself.
    PolicyService {
        /// The policy's configured name.
        policy: String,
        /// Which component it is.
        of: PolicyIdentity,
        /// What changed.
        change: ServiceChange,
    },
    /// The problem is gone.
    IncidentResolved {
        /// The target.
        target: String,
        /// The incident.
        resolved: Resolved,
    },
}

/// What was put to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// A finding.
    Finding,
    /// How a repair ended.
    Outcome,
    /// That time passed.
    Tick,
}

/// The policy's answer to one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The target.
    pub target: String,
    /// The incident, unless the event was a tick.
    pub incident: Option<String>,
    /// What was put to the policy.
    pub asked: Asked,
    /// The finding as the policy saw it, when one was put to it.
    pub finding: Option<Finding>,
    /// The answer that counts.
    pub verdict: Verdict,
    /// Why the policy's own answer does not count, when it does not.
    pub failure: Option<PolicyFailure>,
    /// Where several policies are in line: what each said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<SaidInLine>,
}

/// What one of several policies in line said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SaidInLine {
    /// The policy's configured name.
    pub policy: String,
    /// Its answer.
    pub verdict: Verdict,
    /// Why its own answer does not count, when it does not.
    pub failure: Option<PolicyFailure>,
}

impl From<&Part> for SaidInLine {
    fn from(part: &Part) -> Self {
        Self {
            policy: part.policy.to_string(),
            verdict: part.decision.verdict.clone(),
            failure: part.decision.failure.clone(),
        }
    }
}

/// A decision with everything that led to it, for who compares or logs decisions. No effect, and no
/// part of a recording.
#[derive(Debug, Clone)]
pub struct Made {
    /// The target.
    pub target: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What was put to the policies.
    pub event: PolicyEvent,
    /// What each of them was handed and answered, in the order of the line.
    pub parts: Vec<Part>,
    /// What telemetry held, where that was asked for by [`Pipeline::keep_telemetry`].
    pub telemetry: Option<TelemetryCopy>,
    /// What each of them asked telemetry, in the order of the line, where that was asked for by
    /// [`Pipeline::listen`].
    pub heard: Vec<HeardTelemetry>,
}

/// The guard's word, as it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RulingSummary {
    /// Go.
    Approved,
    /// Wait for a person.
    AwaitsPerson,
    /// No.
    Refused {
        /// Stable name of the law that spoke.
        law: String,
        /// What a person reads.
        reason: String,
    },
}

/// One target's state.
struct Target {
    options: TargetOptions,
    readings: Readings,
    /// The values of one look by the detector's numbers, kept for its memory.
    row: Vec<Option<f64>>,
    constraints: ConstraintTable,
    diagnostician: Diagnostician,
    incidents: Incidents,
    level: EscalationLevel,
    level_since_ms: u64,
    verbosity: Verbosity,
    line: Line,
    /// Looks so far, up to the number from which on baselines may be judged by.
    looks: usize,
    established_after: usize,
    /// The incident whose repair a person approved.
    approved: Option<String>,
    /// The anomaly that lasts, and whether it is an incident of its own.
    unexplained: Option<Unexplained>,
    pattern: Pattern,
    surge: Surge,
    /// What the policy asked for last; the host writes down no less in a surge.
    asked_verbosity: Verbosity,
    /// The last ruling told, so that the same word is not told at each look.
    told_ruling: Option<(String, String, RulingSummary)>,
}

/// The machine.
pub struct Pipeline {
    decide_interval_ms: u64,
    policies: Policies,
    /// Handed over for the next swap, by configured name.
    standing_by: BTreeMap<String, Policy>,
    made: Vec<Made>,
    keeps_telemetry: bool,
    listens: bool,
    service: Service,
    guard: Guard,
    signatures: Option<Signatures>,
    targets: BTreeMap<String, Target>,
    next_incident: u64,
}

impl Pipeline {
    /// A machine with these options, these policies, and what was carried over from before.
    pub fn new(
        options: PipelineOptions,
        policies: impl Into<Policies>,
        mut carried: Carried,
    ) -> Self {
        let policies = policies.into();
        let mut records = BTreeMap::new();
        let detect = DetectOptions {
            window: options.baseline_window,
            established_after: options.baseline_established_after,
        };
        let targets = options
            .targets
            .into_iter()
            .map(|(name, target)| {
                // What was learned under other options would be kept wrongly.
                let learned = carried.detectors.remove(&name);
                let learned = learned.filter(|detector| detector.options() == detect);
                let looks = learned.as_ref().map_or(0, |_| detect.established_after);
                let mut from_before = carried.targets.remove(&name).unwrap_or_default();
                let line = Line::new(target.policies.iter().map(|policy| {
                    let memory = from_before.memories.remove(policy).unwrap_or_default();
                    (policy.clone(), policies.get(policy).clone(), memory)
                }));
                records.insert(name.clone(), from_before.guard);
                let state = Target {
                    readings: Readings {
                        series: SeriesTable::default(),
                        detector: learned.unwrap_or_else(|| Detector::new(detect)),
                    },
                    row: Vec::new(),
                    constraints: ConstraintTable::new(target.constraints.clone()),
                    diagnostician: Diagnostician::default(),
                    incidents: Incidents::with_history(from_before.repairs),
                    level: from_before.level,
                    level_since_ms: from_before.level_since_ms,
                    verbosity: Verbosity::Normal,
                    line,
                    looks,
                    established_after: options.baseline_established_after,
                    approved: None,
                    unexplained: None,
                    pattern: Pattern::default(),
                    surge: Surge::default(),
                    asked_verbosity: Verbosity::Normal,
                    told_ruling: None,
                    options: target,
                };
                (name, state)
            })
            .collect();
        Self {
            decide_interval_ms: options.decide_interval_ms,
            policies,
            standing_by: BTreeMap::new(),
            made: Vec::new(),
            keeps_telemetry: false,
            listens: false,
            service: Service::new(options.breaker, options.named_breakers, carried.breakers),
            guard: Guard::new(options.guard, records),
            signatures: options.signatures.map(Signatures::new),
            targets,
            next_incident: carried.next_incident,
        }
    }

    /// What was learned to be normal, by target.
    pub fn detectors(&self) -> BTreeMap<&str, &Detector> {
        let targets = self.targets.iter();
        targets
            .map(|(name, target)| (name.as_str(), &target.readings.detector))
            .collect()
    }

    /// What the next run must know, but for what was learned to be normal.
    pub fn carried(&self) -> Carried {
        let targets = self.targets.iter().map(|(name, target)| {
            let memories = target.line.memories();
            let carried = CarriedTarget {
                level: target.level,
                level_since_ms: target.level_since_ms,
                memories: memories
                    .map(|(policy, memory)| (policy.to_owned(), memory.to_vec()))
                    .collect(),
                repairs: target.incidents.repairs().to_vec(),
                guard: self.guard.record(name).cloned().unwrap_or_default(),
            };
            (name.clone(), carried)
        });
        Carried {
            next_incident: self.next_incident,
            targets: targets.collect(),
            breakers: self.service.known(),
            detectors: BTreeMap::new(),
        }
    }

    /// The series of a target.
    pub fn series(&self, target: &str) -> Option<&SeriesTable> {
        self.targets.get(target).map(|t| &t.readings.series)
    }

    /// What a policy would be handed of a target now; none when there is no such target.
    pub fn context(&self, target: &str, at_ms: u64) -> Option<Context> {
        let found = self.targets.get(target)?;
        Some(found.context(target, at_ms))
    }

    /// Whether a target is halted until a person releases it.
    pub fn is_halted(&self, target: &str) -> bool {
        let record = self.guard.record(target);
        record.is_some_and(|record| record.halted.is_some())
    }

    /// The policies in service.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Hands over the policy that the next [`Event::PolicySwapped`] of this name speaks of.
    pub fn stand_by(&mut self, name: &str, policy: Policy) {
        self.standing_by.insert(name.to_owned(), policy);
    }

    /// Whether decisions are to come with what telemetry held.
    pub fn keep_telemetry(&mut self, keep: bool) {
        self.keeps_telemetry = keep;
    }

    /// Whether decisions are to come with what policies asked telemetry, and were answered.
    pub fn listen(&mut self, listen: bool) {
        self.listens = listen;
    }

    /// The decisions of the last step, each with everything that led to it, and the policies.
    pub fn made_mut(&mut self) -> (&mut [Made], &Policies) {
        (&mut self.made, &self.policies)
    }

    /// The decisions of the last step, taken.
    pub fn take_made(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.made)
    }

    /// The same as [`Pipeline::step`], but what is named in `failures` fails as it did before: a
    /// policy that was cut off on a busy machine need not be cut off on another.
    pub fn step_again(&mut self, event: &Event, failures: Vec<RecordedFailure>) -> Vec<Effect> {
        self.service.meet_again(failures);
        let effects = self.step(event);
        self.service.meet_again(Vec::new());
        effects
    }

    /// Takes one event and says what is to be done.
    pub fn step(&mut self, event: &Event) -> Vec<Effect> {
        self.made.clear();
        match event {
            Event::Observed(observation) => self.observed(observation),
            Event::RepairEnded {
                target,
                at_ms,
                outcome,
            } => self.repair_ended(target, *at_ms, outcome),
            Event::Approved { incident, at_ms } => self.approved(incident, *at_ms),
            Event::Released { target, .. } => {
                self.guard.release(target);
                Vec::new()
            }
            Event::PolicySwapped {
                policy,
                at_ms,
                to,
                why,
                standing,
            } => {
                let swapped = self.swap(policy, to, why);
                if swapped.is_some() {
                    self.service.begin(policy, &to.digest, *standing, *at_ms);
                }
                swapped.into_iter().collect()
            }
            Event::Tick { at_ms } => {
                let names: Vec<String> = self.targets.keys().cloned().collect();
                names
                    .iter()
                    .flat_map(|name| self.ask(name, *at_ms, &PolicyEvent::Tick))
                    .collect()
            }
        }
    }

    /// Puts the policy that stands by in its place, in all targets. Open incidents, history and
    /// memory stay; where a repair is running, it is judged to its end by who chose it.
    fn swap(&mut self, name: &str, to: &PolicyIdentity, why: &str) -> Option<Effect> {
        let policy = self.standing_by.remove(name)?;
        if policy.digest() != to.digest {
            return None;
        }
        let mut after_repair = Vec::new();
        for (target_name, target) in &mut self.targets {
            let record = self.guard.record(target_name);
            let repairing = record.is_some_and(|r| r.running.is_some());
            if target.line.swap(name, &policy, repairing) && repairing {
                after_repair.push(target_name.clone());
            }
        }
        let from = self.policies.get(name).identity();
        if name == DEFAULT_POLICY {
            self.policies.default = policy;
        } else {
            self.policies.named.insert(name.to_owned(), policy);
        }
        Some(Effect::PolicySwapped {
            policy: name.to_owned(),
            from,
            to: to.clone(),
            why: why.to_owned(),
            after_repair,
        })
    }

    fn observed(&mut self, seen: &Observation) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(target) = self.targets.get_mut(&seen.target) else {
            return effects;
        };
        target.constraints.note(seen.at_ms, &seen.samples);
        let Judged {
            mut anomaly, onset, ..
        } = target.judge(seen);
        if target.looks < target.established_after {
            target.looks += 1;
            if target.looks == target.established_after {
                effects.push(Effect::BaselineEstablished {
                    target: seen.target.clone(),
                });
            }
        }
        let constraints = target.constraints.states(&target.readings.series);
        if let Some(anomaly) = &mut anomaly
            && let Some((score, reason)) = detect::bound_score(&constraints)
        {
            detect::add_score(anomaly, DetectionMethod::Constraint, score, Some(reason));
        }
        if let Some(signatures) = &self.signatures {
            let detector = &target.readings.detector;
            let pattern = &mut target.pattern;
            pattern.step(signatures, detector, &target.row, anomaly.as_mut());
        }
        let mut findings =
            target
                .diagnostician
                .diagnose(seen, &constraints, &target.options.diagnose);
        // While a repair works on the target, that a problem is gone is the repair's doing: it is
        // over when the repair has verified it.
        let record = self.guard.record(&seen.target);
        let running = record.is_some_and(|record| record.running.is_some());
        if running {
            findings.examined.clear();
        }
        let unexplained = target.unexplained(seen.at_ms, anomaly.as_ref(), &findings, running);
        findings.problems.extend(unexplained);
        effects.extend(target.verbosity_changed(&seen.target, seen.at_ms));
        let next = &mut self.next_incident;
        let changes = target
            .incidents
            .update(seen.at_ms, findings, anomaly.as_ref(), || {
                let id = format!("INC-{next}");
                *next += 1;
                id
            });
        effects.extend(anomaly.filter(|_| onset).map(|anomaly| Effect::Noticed {
            target: seen.target.clone(),
            anomaly,
        }));
        for id in changes.opened {
            if let Some(incident) = target.incidents.get(&id) {
                let finding = incident.finding().clone();
                effects.push(Effect::IncidentOpened {
                    target: seen.target.clone(),
                    finding,
                });
            }
        }
        let resolved = changes.resolved.into_iter();
        effects.extend(resolved.map(|r| Effect::IncidentResolved {
            target: seen.target.clone(),
            resolved: r,
        }));
        for id in changes.seen {
            effects.extend(self.put_finding(&seen.target, &id, seen.at_ms, false));
        }
        effects
    }

    /// Puts a finding to the policy when it is due, or at once when `now` is set.
    fn put_finding(&mut self, name: &str, id: &str, at_ms: u64, now: bool) -> Vec<Effect> {
        let running = self.guard.record(name).is_some_and(|r| r.running.is_some());
        let Some(target) = self.targets.get(name) else {
            return Vec::new();
        };
        // While a repair works on the target, what is seen of it is the repair's doing.
        if running || !(now || target.incidents.is_due(id, at_ms, self.decide_interval_ms)) {
            return Vec::new();
        }
        let Some(incident) = target.incidents.get(id) else {
            return Vec::new();
        };
        let event = PolicyEvent::Finding(incident.finding().clone());
        self.ask(name, at_ms, &event)
    }

    fn repair_ended(&mut self, name: &str, at_ms: u64, outcome: &Outcome) -> Vec<Effect> {
        self.guard.repair_ended(at_ms, name);
        let Some(target) = self.targets.get_mut(name) else {
            return Vec::new();
        };
        target.incidents.repair_ended(at_ms, outcome);
        target.approved = None;
        target.told_ruling = None;
        let mut effects = vec![Effect::RepairEnded {
            target: name.to_owned(),
            outcome: outcome.clone(),
        }];
        effects.extend(self.ask(name, at_ms, &PolicyEvent::Outcome(outcome.clone())));
        if let Some(target) = self.targets.get_mut(name) {
            target.line.repair_ended();
        }
        effects.push(Effect::Examine {
            target: name.to_owned(),
        });
        effects
    }

    fn approved(&mut self, incident: &str, at_ms: u64) -> Vec<Effect> {
        let found = self
            .targets
            .iter_mut()
            .find(|(_, t)| t.incidents.get(incident).is_some());
        let Some((name, target)) = found else {
            return Vec::new();
        };
        target.approved = Some(incident.to_owned());
        let name = name.clone();
        self.put_finding(&name, incident, at_ms, true)
    }

    /// Asks the policy and turns its answer into effects.
    fn ask(&mut self, name: &str, at_ms: u64, event: &PolicyEvent) -> Vec<Effect> {
        let Some(target) = self.targets.get_mut(name) else {
            return Vec::new();
        };
        let (asked, incident, finding) = match event {
            PolicyEvent::Finding(f) => (Asked::Finding, Some(f.incident.clone()), Some(f.clone())),
            PolicyEvent::Outcome(o) => (Asked::Outcome, Some(o.incident.clone()), None),
            PolicyEvent::Tick => (Asked::Tick, None, None),
        };
        let context = target.context(name, at_ms);
        let readings = &mut target.readings;
        let matter = Matter {
            target: name,
            at_ms,
            asked,
            incident: incident.as_deref(),
        };
        let (listens, mut heard) = (self.listens, Vec::new());
        let mut changes = Vec::new();
        let decision = target
            .line
            .decide(event, &context, |policy_name, policy, context| {
                let mut asked_of_telemetry = HeardTelemetry::default();
                let digest = policy.digest();
                let hindrance = self.service.hindrance(policy_name, digest, &matter);
                let decision = if let Some(why) = hindrance {
                    policy.recycle(name);
                    Decision::without_policy(event, context, why)
                } else if listens {
                    let mut overheard = Overheard::new(std::mem::take(readings));
                    let decision = policy.decide(event, context, &mut overheard);
                    (*readings, asked_of_telemetry) = overheard.finish();
                    decision
                } else {
                    policy.decide(event, context, readings)
                };
                if listens {
                    heard.push(asked_of_telemetry);
                }
                let failure = decision.failure.as_ref();
                let change = self.service.note(policy_name, digest, at_ms, failure);
                changes.extend(change.map(|change| Effect::PolicyService {
                    policy: policy_name.to_owned(),
                    of: policy.identity(),
                    change,
                }));
                decision
            });
        let line = match &decision.parts[..] {
            [_] => Vec::new(),
            parts => parts.iter().map(SaidInLine::from).collect(),
        };
        let verdict = decision.verdict;
        let mut effects = Vec::new();
        let changes_anything = verdict.level != target.level
            || verdict.verbosity != target.asked_verbosity
            || !verdict.alerts.is_empty()
            || decision.failure.is_some();
        // A tick that changes nothing is not worth a line.
        if incident.is_some() || changes_anything {
            effects.push(Effect::Decided(Decided {
                target: name.to_owned(),
                incident,
                asked,
                finding,
                verdict: verdict.clone(),
                failure: decision.failure,
                line,
            }));
        }
        effects.append(&mut changes);
        for alert in &verdict.alerts {
            effects.push(Effect::Alerted {
                target: name.to_owned(),
                alert: alert.clone(),
            });
        }
        effects.extend(target.level_changed(name, at_ms, verdict.level));
        target.asked_verbosity = verdict.verbosity;
        effects.extend(target.verbosity_changed(name, at_ms));
        self.made.push(Made {
            target: name.to_owned(),
            at_ms,
            event: event.clone(),
            parts: decision.parts,
            telemetry: self.keeps_telemetry.then(|| target.readings.copy()),
            heard,
        });
        if let PolicyEvent::Finding(finding) = event {
            target
                .incidents
                .decided(&finding.incident, at_ms, verdict.classification);
            if verdict.halt {
                effects.extend(self.halt(name, finding, &verdict));
            }
            if let Some(repair) = &verdict.repair {
                effects.extend(self.rule(name, at_ms, finding, repair));
            }
        }
        effects
    }

    fn halt(&mut self, name: &str, finding: &Finding, verdict: &Verdict) -> Option<Effect> {
        if self.guard.record(name).is_some_and(|r| r.halted.is_some()) {
            return None;
        }
        let why = verdict
            .reasons
            .first()
            .map_or("the policy said so", |r| r.text.as_str());
        let reason = format!("{}: {why}", finding.incident);
        self.guard.halt(name, &reason);
        Some(Effect::Preserve {
            target: name.to_owned(),
            incident: finding.incident.clone(),
            reason,
        })
    }

    fn rule(&mut self, name: &str, at_ms: u64, finding: &Finding, repair: &str) -> Vec<Effect> {
        let Some(target) = self.targets.get_mut(name) else {
            return Vec::new();
        };
        let choice = Choice {
            target: name,
            finding,
            repair,
            history: target.incidents.repairs(),
            mode: target.options.mode,
            approved_by_person: target.approved.as_deref() == Some(finding.incident.as_str()),
        };
        let ruling = self.guard.rule(at_ms, &choice);
        let (ruling, approved) = match ruling {
            Ruling::Approved(repair) => (RulingSummary::Approved, Some(repair)),
            Ruling::AwaitsPerson => (RulingSummary::AwaitsPerson, None),
            Ruling::Refused(r) => (
                RulingSummary::Refused {
                    law: r.law,
                    reason: r.reason,
                },
                None,
            ),
        };
        let told = (finding.incident.clone(), repair.to_owned(), ruling.clone());
        let mut effects = Vec::new();
        if approved.is_some() || target.told_ruling.as_ref() != Some(&told) {
            target.told_ruling = Some(told);
            effects.push(Effect::Ruled {
                target: name.to_owned(),
                incident: finding.incident.clone(),
                repair: repair.to_owned(),
                ruling,
            });
        }
        effects.extend(approved.map(Effect::Repair));
        effects
    }
}

/// An anomaly that lasts.
#[derive(Debug)]
struct Unexplained {
    /// The series that carried it most when it began.
    series: String,
    /// Looks on which nothing diagnosed explained it.
    looks: u32,
}

/// What a policy may read of one target beside its event.
#[derive(Debug, Default)]
struct Readings {
    series: SeriesTable,
    detector: Detector,
}

impl Readings {
    /// What a policy could read now, to be read later.
    fn copy(&self) -> TelemetryCopy {
        let names = self.series.latest_points(SERIES_LIMIT);
        TelemetryCopy::of(self, names.map(|(name, _)| name))
    }
}

impl Telemetry for Readings {
    fn latest(&self, series: &str) -> Option<Point> {
        self.series.get(series)?.latest()
    }

    fn baseline(&self, series: &str) -> Option<BaselineSummary> {
        self.detector.baseline(series)
    }

    fn recent(&self, series: &str, limit: usize) -> Vec<Point> {
        self.series.recent_points(series, limit)
    }
}

impl Target {
    /// Takes up the samples of a look and judges them.
    fn judge(&mut self, seen: &Observation) -> Judged {
        self.row.fill(None);
        for sample in &seen.samples {
            let point = Point {
                at_ms: seen.at_ms,
                value: sample.value,
            };
            self.readings.series.record(&sample.series, point);
            if let Some(id) = self.readings.detector.series(&sample.series) {
                if id >= self.row.len() {
                    self.row.resize(id + 1, None);
                }
                self.row[id] = Some(sample.value);
            }
        }
        self.readings.detector.step(seen.at_ms, &self.row)
    }

    /// The problem that an anomaly is by itself, when it has lasted and nothing else explains it.
    fn unexplained(
        &mut self,
        at_ms: u64,
        anomaly: Option<&Anomaly>,
        findings: &Findings,
        repair_runs: bool,
    ) -> Option<Diagnosis> {
        let Some(anomaly) = anomaly else {
            self.unexplained = None;
            return None;
        };
        self.surge.report(at_ms, &anomaly.series);
        let lasting = self.unexplained.get_or_insert_with(|| Unexplained {
            series: anomaly.series.first().cloned().unwrap_or_default(),
            looks: 0,
        });
        // A problem that is known, or a repair at work, is the explanation.
        if repair_runs
            || !findings.problems.is_empty()
            || !self.incidents.only_open(diagnose::UNEXPLAINED)
        {
            lasting.looks = 0;
            return None;
        }
        lasting.looks = lasting.looks.saturating_add(1);
        (lasting.looks >= UNEXPLAINED_AFTER).then(|| {
            let recent = self.surge.counts(at_ms);
            diagnose::unexplained(anomaly, &lasting.series, recent, self.pattern.ranking())
        })
    }

    /// The level in force from now on, and that it changed.
    fn level_changed(&mut self, name: &str, at_ms: u64, to: EscalationLevel) -> Option<Effect> {
        let from = std::mem::replace(&mut self.level, to);
        if from == to {
            return None;
        }
        self.level_since_ms = at_ms;
        Some(Effect::LevelChanged {
            target: name.to_owned(),
            from,
            to,
        })
    }

    /// What is written down from now on, when it has changed: what the policy asked for, and no
    /// less than a surge of anomalies asks for (section 3.3 of the specification).
    fn verbosity_changed(&mut self, name: &str, at_ms: u64) -> Option<Effect> {
        let least = self.surge.level(at_ms);
        let to = match self.asked_verbosity {
            Verbosity::Incident => Verbosity::Incident,
            _ if least == SurgeLevel::Incident => Verbosity::Incident,
            Verbosity::Normal if least == SurgeLevel::None => Verbosity::Normal,
            _ => Verbosity::Elevated,
        };
        let changed = std::mem::replace(&mut self.verbosity, to) != to;
        changed.then(|| Effect::VerbosityChanged {
            target: name.to_owned(),
            to,
        })
    }

    /// Everything but settings and memory, which are each policy's own.
    fn context(&self, name: &str, at_ms: u64) -> Context {
        Context {
            now_ms: at_ms,
            target: name.to_owned(),
            level: self.level,
            level_since_ms: self.level_since_ms,
            repairs: self.incidents.repairs().to_vec(),
            incidents: self.incidents.summaries(),
            constraints: self.constraints.states(&self.readings.series),
            metrics: self
                .readings
                .series
                .latest_points(CONTEXT_METRICS)
                .map(|(name, point)| Metric {
                    name: name.to_owned(),
                    value: point.value,
                })
                .collect(),
            settings: Vec::new(),
            memory: Vec::new(),
        }
    }
}
