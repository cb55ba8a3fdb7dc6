//! The deterministic state machine in the middle: an event in, effects out.
//!
//! It calls the pure stages in their order (baseline, detect, diagnose, incident, policy, guard).
//! It has no I/O, no clock and no randomness of its own: the same events give the same effects,
//! live and at replay. Carrying out an effect is the driver's part.

mod alerts;
mod carried;
mod decide;
mod effect;
mod event;
mod maintenance;
mod options;
mod people;
mod rulings;
mod service;
mod silences;
mod swap;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::detect::{self, ConstraintTable, DetectOptions, Detector, Judged, Surge};
use crate::diagnose::{self, Diagnostician};
use crate::guard::{Guard, RepairEnd};
use crate::incident::Incidents;
use crate::model::{Context, DetectionMethod, LocalTime, Outcome, PolicyEvent, Verbosity};
use crate::pattern::Pattern;
use crate::policy::{Beginning, Decider, Line, Signer};
use crate::series::SeriesTable;
use crate::signature::Signatures;
use crate::source::Observation;

pub use alerts::{HeldAlert, Withheld};
pub use carried::{Carried, CarriedSilences, CarriedTarget};
pub use effect::{Asked, Decided, Effect, Made, RulingSummary, SaidInLine};
pub use event::Event;
pub use maintenance::CarriedMaintenance;
pub use options::{DEFAULT_POLICY, PipelineOptions, Policies, TargetOptions, only_default};
pub use service::{BreakerRecords, RecordedFailure};
pub use silences::MOST_SILENCES;

use maintenance::Windows;
use rulings::Rulings;
use service::Service;
use silences::Silences;
use swap::signer_of;
use target::{Readings, Target};

/// The machine.
pub struct Pipeline {
    decide_interval_ms: u64,
    policies: Policies,
    /// Who vouches for components, by their digests.
    signers: BTreeMap<String, Signer>,
    /// Handed over for the next swap, by configured name.
    standing_by: BTreeMap<String, Arc<dyn Decider>>,
    made: Vec<Made>,
    keeps_telemetry: bool,
    listens: bool,
    service: Service,
    guard: Guard,
    signatures: Option<Signatures>,
    targets: BTreeMap<String, Target>,
    silences: Silences,
    /// As the driver said last.
    local_time: Option<LocalTime>,
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
                let mut from_before = carried.targets.remove(&name).unwrap_or_default();
                let line = Line::new(target.policies.iter().map(|name| {
                    let policy = policies.get(name).clone();
                    Beginning {
                        name: name.clone(),
                        signer: signer_of(&*policy, &carried.signers),
                        policy,
                        remembrance: from_before.take(name),
                    }
                }));
                records.insert(name.clone(), from_before.guard);
                let mut rulings = Rulings::default();
                for carried in &mut from_before.incidents {
                    if let Some(approval) = carried.approved.take() {
                        rulings.approve_unseen(&carried.finding.incident, approval);
                    }
                }
                let state = Target {
                    readings: Readings {
                        series: SeriesTable::default(),
                        detector: learned.unwrap_or_else(|| Detector::new(detect)),
                    },
                    row: Vec::new(),
                    constraints: ConstraintTable::new(target.constraints.clone()),
                    diagnostician: Diagnostician::default(),
                    incidents: Incidents::resume(
                        from_before.incidents,
                        from_before.repairs,
                        target.diagnose.hold_ms(),
                    ),
                    level: from_before.level,
                    level_since_ms: from_before.level_since_ms,
                    verbosity: Verbosity::Normal,
                    line,
                    rulings,
                    windows: Windows::resume(from_before.maintenance),
                    held: from_before.held,
                    unexplained: None,
                    pattern: Pattern::default(),
                    surge: Surge::default(),
                    asked_verbosity: Verbosity::Normal,
                    options: target,
                };
                (name, state)
            })
            .collect();
        Self {
            decide_interval_ms: options.decide_interval_ms,
            policies,
            signers: carried.signers,
            standing_by: BTreeMap::new(),
            made: Vec::new(),
            keeps_telemetry: false,
            listens: false,
            service: Service::new(options.breaker, options.named_breakers, carried.breakers),
            guard: Guard::new(options.guard, records),
            signatures: options.signatures.map(Signatures::new),
            targets,
            silences: Silences::resume(carried.silences),
            local_time: None,
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
            let mut incidents = target.incidents.carried();
            for carried in &mut incidents {
                carried.approved = target.rulings.unused(&carried.finding.incident);
            }
            let mut carried = CarriedTarget {
                level: target.level,
                level_since_ms: target.level_since_ms,
                incidents,
                maintenance: target.windows.carried(),
                held: target.held.clone(),
                repairs: target.incidents.repairs().to_vec(),
                guard: self.guard.carried(name),
                ..CarriedTarget::default()
            };
            for (place, remembrance) in target.line.remembrances() {
                carried.put(place, remembrance);
            }
            (name.clone(), carried)
        });
        Carried {
            next_incident: self.next_incident,
            targets: targets.collect(),
            signers: self.signers.clone(),
            breakers: self.service.known(),
            silences: self.silences.carried(),
            detectors: BTreeMap::new(),
        }
    }

    /// A repair that was let go begins: what is carried from now on says that its approval is used, and counts it.
    pub fn begun(&mut self, target: &str) {
        self.guard.begun(target);
        if let Some(target) = self.targets.get_mut(target) {
            target.rulings.let_go = None;
        }
    }

    /// The series of a target.
    pub fn series(&self, target: &str) -> Option<&SeriesTable> {
        self.targets.get(target).map(|t| &t.readings.series)
    }

    /// What a policy would be handed of a target now; none when there is no such target.
    pub fn context(&self, target: &str, at_ms: u64) -> Option<Context> {
        let found = self.targets.get(target)?;
        Some(found.context(target, at_ms, self.local_time))
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

    /// Whether it is known that this signer vouches for a component.
    pub fn knows(&self, digest: &str, signer: &Signer) -> bool {
        self.signers.get(digest) == Some(signer)
    }

    /// Hands over the policy that the next [`Event::PolicySwapped`] of this name speaks of.
    pub fn stand_by(&mut self, name: &str, policy: impl Into<Arc<dyn Decider>>) {
        self.standing_by.insert(name.to_owned(), policy.into());
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
        let mut effects = self.turn(event);
        effects.extend(self.take(event));
        effects
    }

    fn take(&mut self, event: &Event) -> Vec<Effect> {
        match event {
            Event::Observed(observation) => self.observed(observation),
            Event::RepairEnded {
                target,
                at_ms,
                outcome,
                begun,
                interrupted,
            } => {
                let end = match (*interrupted, *begun) {
                    (true, _) => RepairEnd::Interrupted,
                    (false, true) => RepairEnd::Begun,
                    (false, false) => RepairEnd::NotBegun,
                };
                self.repair_ended(target, *at_ms, outcome, end)
            }
            Event::Approved {
                incident,
                repair,
                said,
            } => self.approved(incident, repair.as_ref(), said),
            Event::Denied {
                incident,
                repair,
                said,
            } => self.denied(incident, repair, said),
            Event::Acknowledged { incident, said } => {
                self.acknowledged(incident, said);
                Vec::new()
            }
            Event::Released { target, .. } => {
                self.guard.release(target);
                Vec::new()
            }
            Event::Silenced {
                scope,
                ends_ms,
                said,
            } => self.silenced(scope, *ends_ms, said),
            Event::SilenceRemoved { silence, said } => self.silence_removed(silence, said),
            Event::MaintenanceStarted {
                target,
                ends_ms,
                allow_repairs,
                said,
            } => self.maintenance_started(target, *ends_ms, *allow_repairs, said),
            Event::MaintenanceStopped { target, said } => self.maintenance_stopped(target, said),
            Event::Calendar {
                at_ms,
                local_time,
                windows,
            } => self.calendar(*at_ms, *local_time, windows),
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
            Event::PolicySigned { digest, signer, .. } => {
                self.signed(digest, signer);
                Vec::new()
            }
            Event::SignaturesLearned { signatures, .. } => {
                self.signatures = Some(Signatures::new(signatures.clone()));
                Vec::new()
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

    fn observed(&mut self, seen: &Observation) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(target) = self.targets.get_mut(&seen.target) else {
            return effects;
        };
        target.constraints.note(seen.at_ms, &seen.samples);
        let was_established = target.readings.detector.is_established();
        let Judged {
            mut anomaly,
            onset,
            established,
            ..
        } = target.judge(seen);
        if established && !was_established {
            effects.push(Effect::BaselineEstablished {
                target: seen.target.clone(),
            });
        }
        let constraints = target.constraints.states(seen.at_ms);
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
                let copied = diagnose::calls_for_copies(&finding).then(|| Effect::CopyAside {
                    target: seen.target.clone(),
                    incident: finding.incident.clone(),
                });
                effects.push(Effect::IncidentOpened {
                    target: seen.target.clone(),
                    finding,
                });
                effects.extend(copied);
            }
        }
        for resolved in changes.resolved {
            target.rulings.forget(&resolved.incident);
            let incident = resolved.incident.clone();
            effects.push(Effect::IncidentResolved {
                target: seen.target.clone(),
                resolved,
            });
            if self.guard.resolved(&seen.target, &incident) {
                effects.push(Effect::HaltEnded {
                    target: seen.target.clone(),
                    incident,
                });
            }
        }
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

    fn repair_ended(
        &mut self,
        name: &str,
        at_ms: u64,
        outcome: &Outcome,
        end: RepairEnd,
    ) -> Vec<Effect> {
        self.guard.repair_ended(at_ms, name, outcome, end);
        let Some(target) = self.targets.get_mut(name) else {
            return Vec::new();
        };
        if end != RepairEnd::Interrupted {
            target.incidents.repair_ended(at_ms, outcome);
        }
        target.rulings.repair_ended();
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
}
