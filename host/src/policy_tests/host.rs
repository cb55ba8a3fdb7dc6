//! The host around a policy, as far as a policy sees it: what a case says of it, carried on from
//! event to event as the pipeline does.

use super::{Known, Step};
use crate::model::{
    Attribution, Context, EscalationLevel, LocalTime, Maintenance, MaintenanceWindow, Metric,
    OpenIncident, OutcomeResult, PolicyEvent, RepairAnswer, RepairHistory, Verdict,
};
use crate::policy::{Heard, Policy};

/// When a case begins, milliseconds since the Unix epoch.
const BEGIN_MS: u64 = 1_000_000_000;

/// The host as far as a policy sees it.
pub(super) struct Host {
    pub(super) context: Context,
    pub(super) series: Vec<Heard>,
}

impl Host {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            context: Context {
                now_ms: BEGIN_MS,
                target: "case".into(),
                target_kind: "sqlite".into(),
                level: EscalationLevel::Normal,
                level_since_ms: BEGIN_MS,
                repairs: Vec::new(),
                incidents: Vec::new(),
                constraints: Vec::new(),
                metrics: Vec::new(),
                maintenance: Maintenance::default(),
                local_time: None,
                settings: policy.settings().to_vec(),
                memory: Vec::new(),
            },
            series: Vec::new(),
        }
    }

    /// Lets time pass and takes up what the event says of the host's knowledge.
    pub(super) fn prepare(&mut self, step: &Step) -> PolicyEvent {
        let context = &mut self.context;
        context.now_ms += step.after_ms;
        if let Some(at) = step.at {
            context.now_ms = context.now_ms.max(at.at_ms);
            context.local_time = Some(LocalTime {
                utc_offset_minutes: at.utc_offset_minutes,
                next_change: None,
            });
        }
        let now_ms = context.now_ms;
        let known = &step.known;
        if let Some(level) = known.level {
            context.level = level;
            context.level_since_ms = now_ms;
        }
        for (name, value) in &known.metrics {
            context.metrics.retain(|metric| metric.name != *name);
            context.metrics.push(Metric {
                name: name.clone(),
                value: *value,
            });
        }
        context.metrics.sort_by(|a, b| a.name.cmp(&b.name));
        for constraint in &known.constraints {
            let mut constraint = constraint.clone();
            for at_ms in &mut constraint.violations_ms {
                *at_ms = now_ms.saturating_sub(*at_ms);
            }
            context.constraints.retain(|c| c.name != constraint.name);
            context.constraints.push(constraint);
        }
        for repair in &known.repairs {
            let history = history(&mut context.repairs, &repair.kind, &repair.repair);
            *history = RepairHistory {
                last_ms: now_ms,
                ..repair.clone()
            };
        }
        for heard in &known.series {
            let mut heard = heard.clone();
            if let Heard::Latest {
                answer: Some(point),
                ..
            } = &mut heard
            {
                point.at_ms = now_ms;
            }
            self.series.insert(0, heard);
        }
        if let Some(kind) = &known.target_kind {
            context.target_kind.clone_from(kind);
        }
        context.maintenance = Maintenance {
            open: known.maintenance.as_ref().map(|window| MaintenanceWindow {
                begins_ms: now_ms,
                ends_ms: now_ms + window.ends_ms,
                ..window.clone()
            }),
            next: None,
        };
        match &step.event {
            PolicyEvent::Finding(finding) => {
                let mut finding = finding.clone();
                let incident = self.incident(&finding.incident, &finding.kind, &finding.subject);
                answered(incident, known, now_ms);
                finding.incident.clone_from(&incident.id);
                finding.first_seen_ms = incident.opened_ms;
                finding.last_seen_ms = now_ms;
                finding.sightings = incident.sightings;
                PolicyEvent::Finding(finding)
            }
            PolicyEvent::Outcome(outcome) => {
                let mut outcome = outcome.clone();
                let mut open = self.context.incidents.iter();
                let found = open.rfind(|i| i.kind == outcome.kind && i.subject == outcome.subject);
                if outcome.incident.is_empty() {
                    outcome.incident = found.map_or("INC-1".into(), |i| i.id.clone());
                }
                let history = history(&mut self.context.repairs, &outcome.kind, &outcome.repair);
                match outcome.outcome_result {
                    OutcomeResult::Verified => {
                        history.successes += 1;
                        history.failures_in_a_row = 0;
                    }
                    OutcomeResult::RolledBack | OutcomeResult::Failed => {
                        history.failures += 1;
                        history.failures_in_a_row += 1;
                    }
                    OutcomeResult::Refused => {}
                }
                history.last_ms = now_ms;
                PolicyEvent::Outcome(outcome)
            }
            PolicyEvent::Tick => PolicyEvent::Tick,
        }
    }

    /// The incident of a kind on a subject, seen once more.
    fn incident(&mut self, id: &str, kind: &str, subject: &str) -> &mut OpenIncident {
        let context = &mut self.context;
        let open = &mut context.incidents;
        let at = open
            .iter()
            .position(|i| i.kind == kind && i.subject == subject && (id.is_empty() || i.id == id));
        let at = at.unwrap_or_else(|| {
            open.push(OpenIncident {
                id: if id.is_empty() {
                    format!("INC-{}", open.len() + 1)
                } else {
                    id.to_owned()
                },
                kind: kind.to_owned(),
                subject: subject.to_owned(),
                opened_ms: context.now_ms,
                sightings: 0,
                classification: None,
                acknowledged: None,
                answers: Vec::new(),
            });
            open.len() - 1
        });
        open[at].sightings += 1;
        &mut open[at]
    }

    /// As the pipeline does after an answer.
    pub(super) fn carry_on(&mut self, event: &PolicyEvent, verdict: &Verdict) {
        let context = &mut self.context;
        context.memory.clone_from(&verdict.memory);
        if verdict.level != context.level {
            context.level = verdict.level;
            context.level_since_ms = context.now_ms;
        }
        if let PolicyEvent::Finding(finding) = event
            && let Some(incident) = context
                .incidents
                .iter_mut()
                .find(|i| i.id == finding.incident)
        {
            incident.classification = verdict.classification;
        }
    }
}

/// What people said of an incident meanwhile.
fn answered(incident: &mut OpenIncident, known: &Known, now_ms: u64) {
    let said = |said: &Attribution| Attribution {
        at_ms: now_ms,
        ..said.clone()
    };
    incident
        .answers
        .extend(known.answers.iter().map(|answer| RepairAnswer {
            said: said(&answer.said),
            ..answer.clone()
        }));
    if let Some(by) = &known.acknowledged_by {
        incident.acknowledged = Some(Attribution {
            by: by.clone(),
            at_ms: now_ms,
            note: None,
        });
    }
}

fn history<'a>(all: &'a mut Vec<RepairHistory>, kind: &str, repair: &str) -> &'a mut RepairHistory {
    let at = all
        .iter()
        .position(|h| h.kind == kind && h.repair == repair);
    let at = at.unwrap_or_else(|| {
        all.push(RepairHistory {
            kind: kind.to_owned(),
            repair: repair.to_owned(),
            successes: 0,
            failures: 0,
            failures_in_a_row: 0,
            last_ms: 0,
        });
        all.len() - 1
    });
    &mut all[at]
}
