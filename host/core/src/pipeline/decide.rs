//! Asking the policies in line, and what their answer comes to: alerts, levels, the guard's ruling.

use super::alerts::Subject;
use super::people::denied_line;
use super::rulings::{Said, is_same};
use super::service::Matter;
use super::{Asked, Decided, Effect, Made, Pipeline, RulingSummary, SaidInLine};
use crate::guard::{ApprovedRepair, Choice, Ruling};
use crate::incident::Approval;
use crate::model::{Classification, Finding, PolicyEvent, Verdict};
use crate::policy::{self, Decision, HeardTelemetry, Overheard};

impl Pipeline {
    /// Asks the policy and turns its answer into effects.
    pub(super) fn ask(&mut self, name: &str, at_ms: u64, event: &PolicyEvent) -> Vec<Effect> {
        let Some(target) = self.targets.get_mut(name) else {
            return Vec::new();
        };
        let kind = match event {
            PolicyEvent::Finding(finding) => Some(finding.kind.as_str()),
            PolicyEvent::Outcome(outcome) => Some(outcome.kind.as_str()),
            PolicyEvent::Tick => None,
        };
        let (asked, incident, finding) = match event {
            PolicyEvent::Finding(f) => (Asked::Finding, Some(f.incident.clone()), Some(f.clone())),
            PolicyEvent::Outcome(o) => (Asked::Outcome, Some(o.incident.clone()), None),
            PolicyEvent::Tick => (Asked::Tick, None, None),
        };
        let context = target.context(name, at_ms, self.local_time);
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
            .decide(event, &context, |policy_name, decider, context| {
                let mut asked_of_telemetry = HeardTelemetry::default();
                let digest = decider.digest();
                let hindrance = self.service.hindrance(policy_name, digest, &matter);
                let decision = if let Some(why) = hindrance {
                    decider.recycle(name);
                    Decision::without_policy(event, context, why)
                } else if listens {
                    let mut overheard = Overheard::new(std::mem::take(readings));
                    let decision = policy::decide(decider, event, context, &mut overheard);
                    (*readings, asked_of_telemetry) = overheard.finish();
                    decision
                } else {
                    policy::decide(decider, event, context, readings)
                };
                if listens {
                    heard.push(asked_of_telemetry);
                }
                let failure = decision.failure.as_ref();
                let change = self.service.note(policy_name, digest, at_ms, failure);
                changes.extend(change.map(|change| Effect::PolicyService {
                    policy: policy_name.to_owned(),
                    of: decider.identity(),
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
        let policy_failed = decision.failure.is_some();
        let changes_anything = verdict.level != target.level
            || verdict.verbosity != target.asked_verbosity
            || !verdict.alerts.is_empty()
            || decision.failure.is_some();
        // A tick that changes nothing is not worth a line.
        if incident.is_some() || changes_anything {
            effects.push(Effect::Decided(Decided {
                target: name.to_owned(),
                incident: incident.clone(),
                asked,
                finding,
                verdict: verdict.clone(),
                failure: decision.failure,
                line,
            }));
        }
        effects.append(&mut changes);
        let subject = Subject {
            incident: incident.as_deref(),
            kind,
            is_crisis: verdict.halt || verdict.classification == Some(Classification::Crisis),
            policy_failed,
        };
        let silences = &mut self.silences;
        effects.extend(target.alerts(silences, name, at_ms, subject, &verdict));
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
            effects.extend(self.answered(name, at_ms, finding, &verdict));
        }
        effects
    }

    /// What an answer to a finding comes to beside what is told of it.
    fn answered(
        &mut self,
        name: &str,
        at_ms: u64,
        finding: &Finding,
        verdict: &Verdict,
    ) -> Vec<Effect> {
        let Some(target) = self.targets.get_mut(name) else {
            return Vec::new();
        };
        let id = &finding.incident;
        target.incidents.decided(id, at_ms, verdict.classification);
        let approved = if verdict.repair.is_some() {
            target.rulings.take_approved(id, at_ms)
        } else {
            target.rulings.none_chosen(id);
            None
        };
        let mut effects = Vec::new();
        if verdict.halt {
            effects.extend(self.halt(name, finding, verdict));
        }
        if let Some(repair) = &verdict.repair {
            effects.extend(self.rule(
                name,
                at_ms,
                finding,
                repair,
                verdict.needs_approval,
                approved.as_ref(),
            ));
        }
        effects
    }

    /// Why a repair that was approved a while ago may not begin now: a person denied it, its target was halted
    /// or came into maintenance since. None when it may. Whether its problem still stands it finds out itself.
    pub fn objection_since(&self, repair: &ApprovedRepair, at_ms: u64) -> Option<String> {
        let (name, finding) = (repair.target(), repair.finding());
        let target = self.targets.get(name)?;
        let incident = target.incidents.get(&finding.incident);
        let denied = incident.and_then(|incident| incident.denied(&repair.candidate().id));
        let halted = self
            .guard
            .record(name)
            .and_then(|record| record.halted.as_ref());
        denied
            .map(|said| denied_line(&finding.incident, said))
            .or_else(|| halted.map(|why| format!("{name} is halted: {why}")))
            .or_else(|| target.windows.objection(at_ms))
    }

    fn halt(&mut self, name: &str, finding: &Finding, verdict: &Verdict) -> Option<Effect> {
        let why = verdict
            .reasons
            .first()
            .map_or("the policy said so", |r| r.text.as_str());
        let reason = format!("{}: {why}", finding.incident);
        let is_new = self.guard.halt(name, &finding.incident, &reason);
        is_new.then(|| Effect::Preserve {
            target: name.to_owned(),
            incident: finding.incident.clone(),
            reason,
        })
    }

    /// What the guard says to the policy's choice. `needs_approval` is whether the policy has it wait for a
    /// person, `approved` what a person approved before.
    fn rule(
        &mut self,
        name: &str,
        at_ms: u64,
        finding: &Finding,
        repair: &str,
        needs_approval: bool,
        approved: Option<&Approval>,
    ) -> Vec<Effect> {
        let Some(target) = self.targets.get_mut(name) else {
            return Vec::new();
        };
        let chosen = finding.candidates.iter().find(|c| c.id == repair);
        let incident = target.incidents.get(&finding.incident);
        let denied = incident
            .and_then(|incident| incident.denied(repair))
            .map(|said| denied_line(&finding.incident, said));
        let maintenance = target.windows.objection(at_ms);
        let choice = Choice {
            target: name,
            finding,
            repair,
            history: target.incidents.repairs(),
            mode: target.options.mode,
            approved_by_person: chosen
                .zip(approved)
                .is_some_and(|(chosen, approved)| is_same(chosen, &approved.repair)),
            needs_approval,
            denied: denied.as_deref(),
            maintenance: maintenance.as_deref(),
        };
        let ruling = self.guard.rule(at_ms, &choice);
        let (ruling, lets_go) = match ruling {
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
        if lets_go.is_some() {
            let approved = approved.cloned();
            target.rulings.let_go = approved.map(|approval| (finding.incident.clone(), approval));
        }
        let said = Said::new(repair, ruling.clone(), chosen);
        let waits = chosen
            .filter(|_| ruling == RulingSummary::AwaitsPerson)
            .cloned();
        let mut effects = Vec::new();
        if target.rulings.is_new(&finding.incident, said) || lets_go.is_some() {
            effects.push(Effect::Ruled {
                target: name.to_owned(),
                incident: finding.incident.clone(),
                repair: repair.to_owned(),
                ruling,
                waits,
            });
        }
        effects.extend(lets_go.map(Effect::Repair));
        effects
    }
}
