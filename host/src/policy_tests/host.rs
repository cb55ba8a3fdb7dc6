//! The host around a policy, as far as a policy sees it: what a case says of it, carried on from
//! event to event as the pipeline does.

use super::told::Told;
use super::{Events, Known, Step, When};
use crate::model::{
    Attribution, Classification, Context, EscalationLevel, LocalTime, Maintenance,
    MaintenanceWindow, Metric, OpenIncident, OutcomeResult, PolicyEvent, RepairAnswer,
    RepairHistory, Verdict,
};

/// Metrics that a policy is handed with an event.
const METRICS: usize = 64;

/// The host as far as a policy sees it.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) context: Context,
    pub(super) telemetry: Told,
    pub(super) begin_ms: u64,
}

impl Host {
    /// At the beginning of events, with the settings of a policy.
    pub(super) fn new(settings: &[u8], events: &Events) -> Self {
        let begin_ms = events.begin_ms;
        Self {
            context: Context {
                now_ms: begin_ms,
                target: "case".into(),
                target_kind: "sqlite".into(),
                level: EscalationLevel::Normal,
                level_since_ms: begin_ms,
                repairs: Vec::new(),
                incidents: Vec::new(),
                constraints: Vec::new(),
                metrics: Vec::new(),
                maintenance: Maintenance::default(),
                local_time: None,
                settings: settings.to_vec(),
                memory: Vec::new(),
            },
            telemetry: Told::samples(&events.samples, begin_ms, events.sample_every_ms),
            begin_ms,
        }
    }

    /// Lets time pass, takes up what the event says of the host's knowledge, and hands over the event as
    /// the policy is to see it. `again` is how often the event happened before.
    pub(super) fn prepare(&mut self, step: &Step, again: u32) -> PolicyEvent {
        if again == 0 {
            self.pass_time(step.when);
        } else {
            self.context.now_ms += step.every_ms;
        }
        self.measure();
        if again == 0 {
            self.know(&step.known);
        }
        self.take(&step.event, &step.known, again == 0)
    }

    fn pass_time(&mut self, when: When) {
        let context = &mut self.context;
        match when {
            When::After(after_ms) => context.now_ms += after_ms,
            When::SinceBegin(since_ms) => {
                context.now_ms = context.now_ms.max(self.begin_ms + since_ms);
            }
            When::Local(at) => {
                context.now_ms = context.now_ms.max(at.at_ms);
                context.local_time = Some(LocalTime {
                    utc_offset_minutes: at.utc_offset_minutes,
                    next_change: None,
                });
            }
        }
    }

    /// Takes up the samples up to now.
    fn measure(&mut self) {
        self.telemetry.up_to(self.context.now_ms);
        for metric in self.telemetry.metrics().take(METRICS) {
            let known = &mut self.context.metrics;
            match known.iter_mut().find(|known| known.name == metric.name) {
                Some(known) => known.value = metric.value,
                None => known.push(metric),
            }
        }
        self.context.metrics.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// What an event says beside itself; it holds for each of its repetitions.
    fn know(&mut self, known: &Known) {
        let context = &mut self.context;
        let now_ms = context.now_ms;
        if let Some(level) = known.level {
            context.level = level;
            context.level_since_ms = now_ms;
        }
        if let Some(for_ms) = known.level_for_ms {
            context.level_since_ms = now_ms.saturating_sub(for_ms);
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
                last_ms: now_ms.saturating_sub(repair.last_ms),
                ..repair.clone()
            };
        }
        for given in &known.series {
            self.telemetry.take(given, now_ms);
        }
        if let Some(name) = &known.target {
            context.target.clone_from(name);
        }
        if let Some(kind) = &known.target_kind {
            context.target_kind.clone_from(kind);
        }
        if let Some(memory) = &known.memory {
            context.memory.clone_from(memory);
        }
        if let Some(local) = &known.local_time {
            let mut local = *local;
            if let Some(change) = &mut local.next_change {
                change.at_ms += now_ms;
            }
            context.local_time = Some(local);
        }
        let is_resolved = |incident: &OpenIncident| {
            let names = [&incident.id, &incident.kind, &incident.subject];
            known.resolved.iter().any(|name| names.contains(&name))
        };
        context.incidents.retain(|incident| !is_resolved(incident));
        if let Some(incidents) = &known.incidents {
            let incidents = incidents.iter().map(|incident| since(incident, now_ms));
            context.incidents = incidents.collect();
        }
        let window = |window: &MaintenanceWindow| MaintenanceWindow {
            begins_ms: now_ms + window.begins_ms,
            ends_ms: now_ms + window.ends_ms,
            ..window.clone()
        };
        context.maintenance = Maintenance {
            open: known.maintenance.as_ref().map(|open| MaintenanceWindow {
                begins_ms: now_ms.saturating_sub(open.begins_ms),
                ends_ms: now_ms + open.ends_ms,
                ..open.clone()
            }),
            next: known.next_maintenance.as_ref().map(window),
        };
    }

    /// The event as the policy is to see it.
    fn take(&mut self, event: &PolicyEvent, known: &Known, first: bool) -> PolicyEvent {
        let now_ms = self.context.now_ms;
        match event {
            PolicyEvent::Finding(finding) => {
                let mut finding = finding.clone();
                let given = known.incidents.is_some() && first;
                let incident =
                    self.incident(&finding.incident, &finding.kind, &finding.subject, !given);
                if first {
                    answered(incident, known, now_ms);
                }
                finding.incident.clone_from(&incident.id);
                finding.first_seen_ms = incident.opened_ms;
                finding.last_seen_ms = now_ms;
                finding.sightings = incident.sightings;
                for anomaly in &mut finding.evidence {
                    anomaly.at_ms = now_ms.saturating_sub(anomaly.at_ms);
                }
                PolicyEvent::Finding(finding)
            }
            PolicyEvent::Outcome(outcome) => {
                let mut outcome = outcome.clone();
                let mut open = self.context.incidents.iter();
                let found = open.rfind(|i| i.kind == outcome.kind && i.subject == outcome.subject);
                if outcome.incident.is_empty() {
                    outcome.incident = found.map_or("INC-1".into(), |i| i.id.clone());
                }
                self.ended(&outcome.kind, &outcome.repair, outcome.outcome_result);
                PolicyEvent::Outcome(outcome)
            }
            PolicyEvent::Tick => PolicyEvent::Tick,
        }
    }

    fn ended(&mut self, kind: &str, repair: &str, result: OutcomeResult) {
        let now_ms = self.context.now_ms;
        let history = history(&mut self.context.repairs, kind, repair);
        match result {
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
    }

    /// The incident of a kind on a subject, seen once more unless its sightings are given.
    fn incident(&mut self, id: &str, kind: &str, subject: &str, seen: bool) -> &mut OpenIncident {
        let context = &mut self.context;
        let open = &mut context.incidents;
        let at = open
            .iter()
            .position(|i| i.kind == kind && i.subject == subject && (id.is_empty() || i.id == id));
        let at = at.unwrap_or_else(|| {
            open.push(OpenIncident {
                id: if id.is_empty() {
                    next_id(open)
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
        open[at].sightings += u32::from(seen || open[at].sightings == 0);
        &mut open[at]
    }

    /// What an answer comes to.
    pub(super) fn after(event: &PolicyEvent, verdict: &Verdict) -> After {
        let incident = match event {
            PolicyEvent::Finding(finding) => Some(finding.incident.clone()),
            PolicyEvent::Outcome(_) | PolicyEvent::Tick => None,
        };
        After {
            level: verdict.level,
            memory: verdict.memory.clone(),
            classified: incident.map(|incident| (incident, verdict.classification)),
        }
    }

    /// As the pipeline does after an answer.
    pub(super) fn carry_on(&mut self, after: After) {
        let context = &mut self.context;
        context.memory = after.memory;
        if after.level != context.level {
            context.level = after.level;
            context.level_since_ms = context.now_ms;
        }
        let Some((id, classification)) = after.classified else {
            return;
        };
        if let Some(incident) = context.incidents.iter_mut().find(|i| i.id == id) {
            incident.classification = classification;
        }
    }
}

/// What an answer leaves behind.
#[derive(Debug, Clone)]
pub(super) struct After {
    level: EscalationLevel,
    memory: Vec<u8>,
    classified: Option<(String, Option<Classification>)>,
}

/// An identifier that no open incident has.
fn next_id(open: &[OpenIncident]) -> String {
    let mut ids = (open.len() + 1..).map(|number| format!("INC-{number}"));
    let free = ids.find(|id| open.iter().all(|incident| incident.id != *id));
    free.unwrap_or_default()
}

/// An incident whose times count back from now.
fn since(incident: &OpenIncident, now_ms: u64) -> OpenIncident {
    let said = |said: &Attribution| Attribution {
        at_ms: now_ms.saturating_sub(said.at_ms),
        ..said.clone()
    };
    OpenIncident {
        opened_ms: now_ms.saturating_sub(incident.opened_ms),
        acknowledged: incident.acknowledged.as_ref().map(said),
        answers: incident
            .answers
            .iter()
            .map(|answer| RepairAnswer {
                said: said(&answer.said),
                ..answer.clone()
            })
            .collect(),
        ..incident.clone()
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
