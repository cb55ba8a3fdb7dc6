//! Findings on one subject, from first sight to resolution.
//!
//! A pure stage. It gives findings their identity and their history; it does not judge them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::diagnose::{
    Diagnosis, Findings, Part, UNEXPLAINED, UNEXPLAINED_AFTER, part_of, shows_after_ms,
};
use crate::model::{
    Anomaly, Attribution, Candidate, Classification, Fact, Finding, OpenIncident, Outcome,
    OutcomeResult, RepairAnswer, RepairHistory,
};

/// Anomalies that an incident keeps as evidence: the first and the newest.
const EVIDENCE_LIMIT: usize = 8;

/// Incidents of one target that are open at a time; further problems wait until one is resolved.
pub const OPEN_LIMIT: usize = 64;

/// Answers of people that an incident keeps: the newest.
const ANSWERS_LIMIT: usize = 32;

/// What is carried of an incident from one run to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedIncident {
    /// The finding as it stood.
    pub finding: Finding,
    /// What the policy called it last, if it was asked.
    pub classification: Option<Classification>,
    /// What a person approved and no decision used yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approval>,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// What people answered to its repairs, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<RepairAnswer>,
}

impl CarriedIncident {
    /// Moves every time in it, milliseconds; none is later than `now_ms` afterwards.
    pub fn move_times(&mut self, by_ms: i64, now_ms: u64) {
        let moved = |at_ms: &mut u64| *at_ms = at_ms.saturating_add_signed(by_ms).min(now_ms);
        moved(&mut self.finding.first_seen_ms);
        moved(&mut self.finding.last_seen_ms);
        if let Some(approval) = &mut self.approved {
            moved(&mut approval.at_ms);
        }
        if let Some(acknowledged) = &mut self.acknowledged {
            moved(&mut acknowledged.said.at_ms);
        }
        for answer in &mut self.answers {
            moved(&mut answer.said.at_ms);
        }
    }
}

/// That somebody works on an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who, when and why.
    pub said: Attribution,
    /// What the incident was called then. One that is called worse later has to be told again.
    pub classification: Option<Classification>,
}

/// A repair that a person approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// The repair, as the person was told of it.
    pub repair: Candidate,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// An incident that is not resolved.
#[derive(Debug, Clone)]
pub struct Incident {
    finding: Finding,
    classification: Option<Classification>,
    /// When the policy was asked last, in this run.
    decided_ms: Option<u64>,
    /// The repairs that could begin then: everything that they require held.
    ready_then: Vec<String>,
    /// Whether it was seen in this run.
    is_seen: bool,
    /// How old the problem is, milliseconds, where it is judged by its age.
    age_ms: Option<u64>,
    acknowledged: Option<Acknowledged>,
    answers: Vec<RepairAnswer>,
}

/// The policy is asked again when a problem that is judged by its age has grown older by one part
/// in so many: whatever its threshold is, it is exceeded by no more than that.
const AGE_PARTS: u64 = 10;

impl Incident {
    /// The finding as it stands.
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// Whether it was seen in this run; before that the finding is an earlier run's.
    pub fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// Who works on it, while somebody does.
    pub fn acknowledged(&self) -> Option<&Attribution> {
        self.acknowledged.as_ref().map(|known| &known.said)
    }

    /// Who denied this repair, unless somebody approved it later.
    pub fn denied(&self, repair: &str) -> Option<&Attribution> {
        let last = self.answers.iter().rfind(|answer| answer.repair == repair);
        last.filter(|answer| !answer.granted)
            .map(|answer| &answer.said)
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
    /// From when on a lock that is held is a problem, milliseconds.
    hold_ms: u64,
    /// When this run examined each part first, and how often it did.
    examined: BTreeMap<Part, (u64, u32)>,
}

impl Incidents {
    /// Goes on with what an earlier run left open and what became of its repairs. What is not seen
    /// again is over, but only when it would have shown: a lock must be held for `hold_ms` to be a
    /// problem, and this run did not see how long it was held before.
    pub fn resume(open: Vec<CarriedIncident>, repairs: Vec<RepairHistory>, hold_ms: u64) -> Self {
        let resume = |carried: CarriedIncident| {
            let incident = Incident {
                finding: carried.finding,
                classification: carried.classification,
                decided_ms: None,
                ready_then: Vec::new(),
                is_seen: false,
                age_ms: None,
                acknowledged: carried.acknowledged,
                answers: carried.answers,
            };
            (incident.finding.incident.clone(), incident)
        };
        Self {
            open: open.into_iter().map(resume).collect(),
            repairs,
            hold_ms,
            examined: BTreeMap::new(),
        }
    }

    /// What is open, for the next run.
    pub fn carried(&self) -> Vec<CarriedIncident> {
        let open = self.open.values();
        open.map(|incident| CarriedIncident {
            finding: incident.finding.clone(),
            classification: incident.classification,
            approved: None,
            acknowledged: incident.acknowledged.clone(),
            answers: incident.answers.clone(),
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
                .find(|(_, incident)| incident.is_about(&problem))
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
        for part in &findings.examined {
            self.examined.entry(*part).or_insert((at_ms, 0)).1 += 1;
        }
        let over: Vec<String> = self
            .open
            .iter()
            .filter(|(id, incident)| {
                let part = part_of(&incident.finding.kind);
                findings.examined.contains(&part)
                    && !seen.contains(*id)
                    && (incident.is_seen || self.would_have_shown(&incident.finding.kind, at_ms))
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

    /// Whether a problem that was there before this run would have shown by now.
    fn would_have_shown(&self, kind: &str, at_ms: u64) -> bool {
        let part = part_of(kind);
        let (first_ms, looks) = self.examined.get(&part).copied().unwrap_or((at_ms, 0));
        match part {
            Part::Locks => at_ms.saturating_sub(first_ms) >= shows_after_ms(kind, self.hold_ms),
            Part::Metrics => looks > UNEXPLAINED_AFTER,
            Part::Reach
            | Part::Files
            | Part::Descriptors
            | Part::Belonging
            | Part::LogFrames
            | Part::Pages
            | Part::Indexes
            | Part::Rules => true,
        }
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

    /// Whether the policy is to be asked about this incident now: at first sight, then once in
    /// `interval_ms`, and more often while the problem is young and judged by its age. At once, too, when a repair can
    /// begin that could not when it was asked: a check that proves so is not made again soon.
    pub fn is_due(&self, id: &str, at_ms: u64, interval_ms: u64) -> bool {
        self.open.get(id).is_some_and(|incident| {
            let interval_ms = incident
                .age_ms
                .map_or(interval_ms, |age_ms| interval_ms.min(age_ms / AGE_PARTS));
            let is_time = incident
                .decided_ms
                .is_none_or(|last| at_ms.saturating_sub(last) >= interval_ms);
            is_time || ready(&incident.finding).any(|id| !incident.ready_then.contains(id))
        })
    }

    /// Notes what the policy said of an incident.
    pub fn decided(&mut self, id: &str, at_ms: u64, classification: Option<Classification>) {
        if let Some(incident) = self.open.get_mut(id) {
            incident.decided_ms = Some(at_ms);
            incident.ready_then = ready(&incident.finding).cloned().collect();
            incident.classification = classification.or(incident.classification);
        }
    }

    /// Somebody works on an incident.
    pub fn acknowledge(&mut self, id: &str, said: &Attribution) {
        if let Some(incident) = self.open.get_mut(id) {
            incident.acknowledged = Some(Acknowledged {
                said: said.clone(),
                classification: incident.classification,
            });
        }
    }

    /// Compares what an incident is called now with what it was called when it was acknowledged. When
    /// that is worse the acknowledgement is over, and handed back.
    pub fn got_worse(&mut self, id: &str, now: Classification) -> Option<Attribution> {
        let incident = self.open.get_mut(id)?;
        let known = incident.acknowledged.as_mut()?;
        // Nobody had called it anything: this is what was acknowledged.
        let before = *known.classification.get_or_insert(now);
        if gravity(now) <= gravity(before) {
            return None;
        }
        incident.acknowledged.take().map(|known| known.said)
    }

    /// Notes what a person answered to a repair of an incident.
    pub fn answered(&mut self, id: &str, answer: RepairAnswer) {
        if let Some(incident) = self.open.get_mut(id) {
            let answers = &mut incident.answers;
            if answers.len() == ANSWERS_LIMIT {
                // One that a later answer on the same repair has replaced: what counts is kept.
                let is_replaced = |at: &usize| {
                    let mut later = answers[at + 1..].iter().chain([&answer]);
                    later.any(|one| one.repair == answers[*at].repair)
                };
                let oldest = (0..answers.len()).find(is_replaced).unwrap_or(0);
                answers.remove(oldest);
            }
            answers.push(answer);
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
                acknowledged: incident.acknowledged().cloned(),
                answers: incident.answers.clone(),
            })
            .collect()
    }
}

/// How bad a class is; the higher, the worse.
/// The repairs of a finding that could begin: everything that they require holds.
fn ready(finding: &Finding) -> impl Iterator<Item = &String> {
    let is_ready = |candidate: &&Candidate| {
        candidate
            .preconditions
            .iter()
            .all(|condition| condition.holds)
    };
    let candidates = finding.candidates.iter().filter(is_ready);
    candidates.map(|candidate| &candidate.id)
}

fn gravity(class: Classification) -> u8 {
    match class {
        Classification::Hiccup => 0,
        Classification::Obstacle => 1,
        Classification::Wall => 2,
        Classification::Crisis => 3,
    }
}

impl Incident {
    fn open(id: String, at_ms: u64, problem: &Diagnosis) -> Self {
        Self {
            classification: None,
            decided_ms: None,
            ready_then: Vec::new(),
            is_seen: false,
            age_ms: None,
            acknowledged: None,
            answers: Vec::new(),
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

    /// Whether a problem is this one. A process that an earlier run saw is known by when it started:
    /// its number may be another's by now.
    fn is_about(&self, problem: &Diagnosis) -> bool {
        let started = |facts: &[Fact]| {
            let mut facts = facts.iter();
            let fact = facts.find(|fact| fact.name.ends_with("_start_ticks"));
            fact.map(|fact| fact.value.clone())
        };
        let finding = &self.finding;
        finding.kind == problem.kind
            && finding.subject == problem.subject
            && (self.is_seen || started(&finding.facts) == started(&problem.facts))
    }

    fn see(&mut self, at_ms: u64, problem: Diagnosis, evidence: Option<&Anomaly>) {
        self.is_seen = true;
        self.age_ms = problem.age_ms();
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

#[cfg(test)]
mod tests;
