//! What is put to a policy: a finding with its facts, evidence and repairs, or the end of a repair.

use super::{LONGEST_MS, MOST, names, owned, required, time};
use crate::document::{self, Section};
use crate::model::{
    Anomaly, Candidate, CascadeLevel, DataLoss, DetectionMethod, Fact, Finding, MethodScore,
    Outcome, OutcomeResult, Precondition, Severity,
};

pub(in crate::policy_tests) const RESULTS: [(&str, OutcomeResult); 4] = [
    ("verified", OutcomeResult::Verified),
    ("rolled-back", OutcomeResult::RolledBack),
    ("refused", OutcomeResult::Refused),
    ("failed", OutcomeResult::Failed),
];
pub(in crate::policy_tests) const CASCADE: [(&str, CascadeLevel); 4] = [
    ("in-place", CascadeLevel::InPlace),
    ("snapshot", CascadeLevel::Snapshot),
    ("replay", CascadeLevel::Replay),
    ("rebuild", CascadeLevel::Rebuild),
];
pub(in crate::policy_tests) const SEVERITY: [(&str, Severity); 3] = [
    ("low", Severity::Low),
    ("medium", Severity::Medium),
    ("high", Severity::High),
];
pub(in crate::policy_tests) const METHODS: [(&str, DetectionMethod); 4] = [
    ("statistical", DetectionMethod::Statistical),
    ("pattern", DetectionMethod::Pattern),
    ("behavior", DetectionMethod::Behavior),
    ("constraint", DetectionMethod::Constraint),
];
/// The subject of a finding that names none.
pub(in crate::policy_tests) const SUBJECT: &str = "main";
/// How long a repair is expected to take that does not say so, milliseconds.
pub(in crate::policy_tests) const DURATION_MS: u64 = 500;
/// How bad a finding is that does not say so.
pub(in crate::policy_tests) const BAD: f64 = 0.5;

pub(super) fn finding(section: &mut Section<'_, '_>) -> Finding {
    let right = "a problem's kind, for example `wal.corrupt-frame`";
    let kind = required(section, "kind", right);
    let facts = section.table("facts", document::settings);
    let right = "the identifiers of repairs that the host offers";
    let plain = names(section, "candidates", right).into_iter();
    let mut candidates: Vec<Candidate> = plain.map(offered).collect();
    section.tables("candidate", |table| candidates.push(candidate(table)));
    let mut evidence = Vec::new();
    section.tables("evidence", |table| evidence.push(anomaly(table)));
    Finding {
        incident: owned(section, "incident", "an incident's identifier").unwrap_or_default(),
        subject: owned(section, "subject", "what is affected").unwrap_or(SUBJECT.into()),
        summary: owned(section, "summary", "one line").unwrap_or_else(|| kind.clone()),
        kind,
        severity: section.number("severity", BAD, 0.0..=1.0, 0.0..=1.0),
        first_seen_ms: 0,
        last_seen_ms: 0,
        sightings: 0,
        facts: facts
            .into_iter()
            .map(|setting| Fact {
                name: setting.name,
                value: setting.value,
            })
            .collect(),
        evidence,
        candidates,
    }
}

/// A repair that loses nothing and can be taken back.
pub(in crate::policy_tests) fn offered(id: String) -> Candidate {
    Candidate {
        summary: id.clone(),
        id,
        level: CascadeLevel::InPlace,
        preconditions: Vec::new(),
        expected_duration_ms: DURATION_MS,
        expected_loss: DataLoss::NONE,
        undoable: true,
    }
}

fn candidate(section: &mut Section<'_, '_>) -> Candidate {
    let id = required(section, "id", "the identifier of a repair");
    let holds = |held: bool| {
        move |name: String| Precondition {
            name,
            holds: held,
            detail: "as the case says".to_owned(),
        }
    };
    let right = "names of preconditions";
    let met: Vec<Precondition> = names(section, "met", right)
        .into_iter()
        .map(holds(true))
        .collect();
    let unmet = names(section, "unmet", right).into_iter().map(holds(false));
    Candidate {
        summary: owned(section, "summary", "one line").unwrap_or_else(|| id.clone()),
        level: section.choice("level", CascadeLevel::InPlace, &CASCADE),
        preconditions: met.into_iter().chain(unmet).collect(),
        expected_duration_ms: duration(section),
        expected_loss: loss(section),
        undoable: section.flag("undoable", true),
        ..offered(id)
    }
}

fn duration(section: &mut Section<'_, '_>) -> u64 {
    section.whole("duration_ms", DURATION_MS, 0..=LONGEST_MS, 0..=LONGEST_MS)
}

fn loss(section: &mut Section<'_, '_>) -> DataLoss {
    let most = u64::from(MOST);
    DataLoss {
        commits: section.whole("loss_commits", 0, 0..=most, 0..=most),
        percent: section.number("loss_percent", 0.0, 0.0..=100.0, 0.0..=100.0),
        rows: super::maybe(section, "loss_rows", 1 << 52),
        since_ms: super::maybe(section, "loss_since_ms", super::LAST_MS),
    }
}

fn anomaly(section: &mut Section<'_, '_>) -> Anomaly {
    let right = "0 to 1, by the method's name";
    let scores = section.table("scores", |table| {
        let methods = METHODS.iter();
        let scores = methods.filter_map(|(name, method)| {
            Some(MethodScore {
                method: *method,
                score: table.finite(name, right)?,
            })
        });
        scores.collect()
    });
    Anomaly {
        at_ms: time(section, "ago_ms").unwrap_or_default(),
        series: names(
            section,
            "series",
            "the series that carry it, strongest first",
        ),
        scores,
        confidence: section.number("confidence", 1.0, 0.0..=1.0, 0.0..=1.0),
        severity: section.choice("severity", Severity::Medium, &SEVERITY),
        reasons: names(section, "reasons", "what a person reads"),
    }
}

pub(super) fn outcome(section: &mut Section<'_, '_>) -> Outcome {
    Outcome {
        incident: owned(section, "incident", "an incident's identifier").unwrap_or_default(),
        kind: required(section, "kind", "the kind of the problem that was repaired"),
        subject: owned(section, "subject", "what is affected").unwrap_or(SUBJECT.into()),
        repair: required(section, "repair", "the identifier of the repair"),
        outcome_result: section.choice("result", OutcomeResult::Verified, &RESULTS),
        reason: owned(section, "reason", "one line").unwrap_or("as the case says".into()),
        duration_ms: duration(section),
        loss: loss(section),
        notes: names(
            section,
            "notes",
            "what else a person should know, one line each",
        ),
    }
}
