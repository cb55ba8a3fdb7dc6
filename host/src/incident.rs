//! Findings on one subject, from first sight to resolution.
//!
//! A pure stage. It gives findings their identity and their history; it does not judge them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::diagnose::{Diagnosis, Findings, UNEXPLAINED, part_of};
use crate::model::{
    Anomaly, Classification, Finding, OpenIncident, Outcome, OutcomeResult, RepairHistory,
};

/// Anomalies that an incident keeps as evidence: the first and the newest.
const EVIDENCE_LIMIT: usize = 8;

/// Incidents of one target that are open at a time; further problems wait until one is resolved.
pub const OPEN_LIMIT: usize = 64;

/// What is carried of an incident from one run to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedIncident {
    /// The finding as it stood.
    pub finding: Finding,
    /// What the policy called it last, if it was asked.
    pub classification: Option<Classification>,
}

/// An incident that is not resolved.
#[derive(Debug, Clone)]
pub struct Incident {
    finding: Finding,
    classification: Option<Classification>,
    /// When the policy was asked last, in this run.
    decided_ms: Option<u64>,
    /// Whether it was seen in this run.
    is_seen: bool,
}

impl Incident {
    /// The finding as it stands.
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// Whether it was seen in this run; before that the finding is an earlier run's.
    pub fn is_seen(&self) -> bool {
        self.is_seen
    }
}

/// An incident that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// Its identifier.
    pub incident: String,
    /// The finding's kind.
    pub kind: String,
    /// The finding's subject.
    pub subject: String,
    /// When it was first seen, milliseconds since the Unix epoch.
    pub first_seen_ms: u64,
    /// When it was found gone, milliseconds since the Unix epoch.
    pub resolved_ms: u64,
}

/// What changed with one observation.
#[derive(Debug, Default)]
pub struct Changes {
    /// Incidents that were opened.
    pub opened: Vec<String>,
    /// Incidents seen in this observation, the new ones included.
    pub seen: Vec<String>,
    /// Incidents that are over.
    pub resolved: Vec<Resolved>,
}

/// The incidents of one target and what became of its repairs.
#[derive(Debug, Clone, Default)]
pub struct Incidents {
    open: BTreeMap<String, Incident>,
    repairs: Vec<RepairHistory>,
    /// How long a run may look until it sees what was there before, milliseconds.
    patience_ms: u64,
    /// When this run looked first.
    began_ms: Option<u64>,
}

impl Incidents {
    /// Goes on with what an earlier run left open and what became of its repairs. What is not seen
    /// again is over, but only after `patience_ms`: a lock must be held for a while to be a problem,
    /// and this run did not see how long it was held before.
    pub fn resume(
        open: Vec<CarriedIncident>,
        repairs: Vec<RepairHistory>,
        patience_ms: u64,
    ) -> Self {
        let resume = |carried: CarriedIncident| {
            let incident = Incident {
                finding: carried.finding,
                classification: carried.classification,
                decided_ms: None,
                is_seen: false,
            };
            (incident.finding.incident.clone(), incident)
        };
        Self {
            open: open.into_iter().map(resume).collect(),
            repairs,
            patience_ms,
            began_ms: None,
        }
    }

    /// What is open, for the next run.
    pub fn carried(&self) -> Vec<CarriedIncident> {
        let open = self.open.values();
        open.map(|incident| CarriedIncident {
            finding: incident.finding.clone(),
            classification: incident.classification,
        })
        .collect()
    }

    /// Takes up what an observation came to. `new_id` names an incident that is opened.
    pub fn update(
        &mut self,
        at_ms: u64,
        findings: Findings,
        evidence: Option<&Anomaly>,
        mut new_id: impl FnMut() -> String,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut seen = BTreeSet::new();
        for problem in findings.problems {
            let known = self
                .open
                .iter()
                .find(|(_, i)| {
                    i.finding.kind == problem.kind && i.finding.subject == problem.subject
                })
                .map(|(id, _)| id.clone());
            let id = match known {
                Some(id) => id,
                None if self.open.len() >= OPEN_LIMIT => continue,
                None => {
                    let id = new_id();
                    self.open
                        .insert(id.clone(), Incident::open(id.clone(), at_ms, &problem));
                    changes.opened.push(id.clone());
                    id
                }
            };
            if let Some(incident) = self.open.get_mut(&id) {
                incident.see(at_ms, problem, evidence);
            }
            seen.insert(id);
        }
        let began_ms = *self.began_ms.get_or_insert(at_ms);
        let patient = at_ms.saturating_sub(began_ms) < self.patience_ms;
        let over: Vec<String> = self
            .open
            .iter()
            .filter(|(id, incident)| {
                let examined = findings.examined.contains(&part_of(&incident.finding.kind));
                examined && !seen.contains(*id) && (incident.is_seen || !patient)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            if let Some(Incident { finding, .. }) = self.open.remove(&id) {
                changes.resolved.push(Resolved {
                    incident: id,
                    kind: finding.kind,
                    subject: finding.subject,
                    first_seen_ms: finding.first_seen_ms,
                    resolved_ms: at_ms,
                });
            }
        }
        changes.seen = seen.into_iter().collect();
        changes
    }

    /// The incident of this identifier, while it is open.
    pub fn get(&self, id: &str) -> Option<&Incident> {
        self.open.get(id)
    }

    /// Whether nothing is open but incidents of this kind.
    pub fn only_open(&self, kind: &str) -> bool {
        self.open
            .values()
            .all(|incident| incident.finding.kind == kind)
    }

    /// Whether nothing is open.
    pub fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether the policy is to be asked about this incident now: at first sight, then at most once
    /// in `interval_ms`.
    pub fn is_due(&self, id: &str, at_ms: u64, interval_ms: u64) -> bool {
        self.open.get(id).is_some_and(|incident| {
            incident
                .decided_ms
                .is_none_or(|last| at_ms.saturating_sub(last) >= interval_ms)
        })
    }

    /// Notes what the policy said of an incident.
    pub fn decided(&mut self, id: &str, at_ms: u64, classification: Option<Classification>) {
        if let Some(incident) = self.open.get_mut(id) {
            incident.decided_ms = Some(at_ms);
            incident.classification = classification.or(incident.classification);
        }
    }

    /// Notes how a repair ended. A refusal is neither a success nor a failure.
    pub fn repair_ended(&mut self, at_ms: u64, outcome: &Outcome) {
        if outcome.outcome_result == OutcomeResult::Refused {
            return;
        }
        let known = self
            .repairs
            .iter()
            .position(|r| r.kind == outcome.kind && r.repair == outcome.repair);
        let index = known.unwrap_or_else(|| {
            self.repairs.push(RepairHistory {
                kind: outcome.kind.clone(),
                repair: outcome.repair.clone(),
                successes: 0,
                failures: 0,
                failures_in_a_row: 0,
                last_ms: at_ms,
            });
            self.repairs.len() - 1
        });
        let history = &mut self.repairs[index];
        history.last_ms = at_ms;
        if outcome.outcome_result == OutcomeResult::Verified {
            history.successes += 1;
            history.failures_in_a_row = 0;
        } else {
            history.failures += 1;
            history.failures_in_a_row += 1;
        }
    }

    /// What became of earlier repairs.
    pub fn repairs(&self) -> &[RepairHistory] {
        &self.repairs
    }

    /// The open incidents as a policy sees them.
    pub fn summaries(&self) -> Vec<OpenIncident> {
        self.open
            .iter()
            .map(|(id, incident)| OpenIncident {
                id: id.clone(),
                kind: incident.finding.kind.clone(),
                subject: incident.finding.subject.clone(),
                opened_ms: incident.finding.first_seen_ms,
                sightings: incident.finding.sightings,
                classification: incident.classification,
            })
            .collect()
    }
}

impl Incident {
    fn open(id: String, at_ms: u64, problem: &Diagnosis) -> Self {
        Self {
            classification: None,
            decided_ms: None,
            is_seen: false,
            finding: Finding {
                incident: id,
                kind: problem.kind.clone(),
                subject: problem.subject.clone(),
                summary: String::new(),
                severity: 0.0,
                first_seen_ms: at_ms,
                last_seen_ms: at_ms,
                sightings: 0,
                facts: Vec::new(),
                evidence: Vec::new(),
                candidates: Vec::new(),
            },
        }
    }

    fn see(&mut self, at_ms: u64, problem: Diagnosis, evidence: Option<&Anomaly>) {
        self.is_seen = true;
        let finding = &mut self.finding;
        finding.last_seen_ms = at_ms;
        finding.sightings = finding.sightings.saturating_add(1);
        finding.summary = problem.summary;
        finding.severity = problem.severity;
        finding.facts = problem.facts;
        finding.candidates = problem.candidates;
        let related = evidence.filter(|anomaly| {
            finding.kind == UNEXPLAINED
                || anomaly
                    .series
                    .iter()
                    .any(|series| problem.series.contains(&series.as_str()))
        });
        if let Some(anomaly) = related {
            if finding.evidence.len() == EVIDENCE_LIMIT {
                finding.evidence.remove(1);
            }
            finding.evidence.push(anomaly.clone());
        }
    }
}
