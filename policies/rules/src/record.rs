//! What the event and its context hold, field by field.

use dbmedic_policy::{
    Anomaly, Candidate, CascadeLevel, Classification, ConstraintState, ConstraintStatus,
    EscalationLevel, Finding, OpenIncident, Outcome, OutcomeResult, RepairAnswer, Severity,
    Weekday, telemetry::BaselineSummary,
};

use crate::scope::Scope;
use crate::value::Value;

/// Something with fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Record<'a> {
    Finding(&'a Finding),
    Anomaly(&'a Anomaly),
    Candidate(&'a Candidate),
    Outcome(&'a Outcome),
    Incident(&'a OpenIncident),
    Reply(&'a RepairAnswer),
    History(Totals),
    Constraint(&'a ConstraintState),
    Baseline(BaselineSummary),
    Maintenance,
    Time,
    /// What the rules above have said.
    Said,
}

/// What became of repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) successes: u32,
    pub(crate) failures: u32,
    pub(crate) failures_in_a_row: u32,
    pub(crate) last_ms: Option<u64>,
}

/// A class by its name.
pub(crate) const CLASSES: [(&str, Classification); 4] = [
    ("hiccup", Classification::Hiccup),
    ("obstacle", Classification::Obstacle),
    ("wall", Classification::Wall),
    ("crisis", Classification::Crisis),
];

/// A level by its name.
pub(crate) const LEVELS: [(&str, EscalationLevel); 4] = [
    ("normal", EscalationLevel::Normal),
    ("watch", EscalationLevel::Watch),
    ("warn", EscalationLevel::Warn),
    ("escalate", EscalationLevel::Escalate),
];

/// What stands for nothing.
pub(crate) const NONE: &str = "none";

pub(crate) fn class_name(class: Option<Classification>) -> &'static str {
    let known = CLASSES.iter().find(|(_, known)| Some(*known) == class);
    known.map_or(NONE, |(name, _)| name)
}

pub(crate) fn level_name(level: EscalationLevel) -> &'static str {
    let known = LEVELS.iter().find(|(_, known)| *known == level);
    known.map_or(NONE, |(name, _)| name)
}

pub(crate) const fn cascade_name(level: CascadeLevel) -> &'static str {
    match level {
        CascadeLevel::InPlace => "in-place",
        CascadeLevel::Snapshot => "snapshot",
        CascadeLevel::Replay => "replay",
        CascadeLevel::Rebuild => "rebuild",
    }
}

const fn result_name(result: OutcomeResult) -> &'static str {
    match result {
        OutcomeResult::Verified => "verified",
        OutcomeResult::RolledBack => "rolled-back",
        OutcomeResult::Refused => "refused",
        OutcomeResult::Failed => "failed",
    }
}

const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
    }
}

const fn status_name(status: ConstraintStatus) -> &'static str {
    match status {
        ConstraintStatus::Ok => "ok",
        ConstraintStatus::Warning => "warning",
        ConstraintStatus::Critical => "critical",
    }
}

const fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    }
}

impl<'a> Record<'a> {
    /// The field of this name; none where it is missing.
    pub(crate) fn field(self, name: &str, scope: &Scope<'a, '_>) -> Option<Value<'a>> {
        let now_ms = scope.now_ms();
        match self {
            Self::Finding(finding) => of_finding(finding, name, now_ms),
            Self::Anomaly(anomaly) => of_anomaly(anomaly, name),
            Self::Candidate(candidate) => of_candidate(candidate, name),
            Self::Outcome(outcome) => of_outcome(outcome, name),
            Self::Incident(incident) => of_incident(incident, name, now_ms),
            Self::Reply(reply) => of_reply(reply, name, now_ms),
            Self::History(totals) => of_history(totals, name, now_ms),
            Self::Constraint(constraint) => of_constraint(constraint, name),
            Self::Baseline(baseline) => of_baseline(&baseline, name),
            Self::Maintenance => of_maintenance(scope, name),
            Self::Time => of_time(scope, name),
            Self::Said => scope.said.field(name),
        }
    }
}

fn of_finding<'a>(finding: &'a Finding, name: &str, now_ms: u64) -> Option<Value<'a>> {
    Some(match name {
        "incident" => finding.incident.as_str().into(),
        "kind" => finding.kind.as_str().into(),
        "subject" => finding.subject.as_str().into(),
        "summary" => finding.summary.as_str().into(),
        "severity" => Value::Double(finding.severity),
        "age" => Value::between(finding.first_seen_ms, now_ms),
        "sightings" => Value::Int(i64::from(finding.sightings)),
        "candidates" => {
            let all = finding.candidates.iter();
            Value::List(
                all.map(|one| Value::Record(Record::Candidate(one)))
                    .collect(),
            )
        }
        "evidence" => {
            let all = finding.evidence.iter();
            Value::List(all.map(|one| Value::Record(Record::Anomaly(one))).collect())
        }
        _ => return None,
    })
}

fn of_anomaly<'a>(anomaly: &'a Anomaly, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "series" => Value::texts(&anomaly.series),
        "confidence" => Value::Double(anomaly.confidence),
        "severity" => severity_name(anomaly.severity).into(),
        "reasons" => Value::texts(&anomaly.reasons),
        _ => return None,
    })
}

/// Whether everything that a repair requires holds.
pub(crate) fn is_ready(candidate: &Candidate) -> bool {
    candidate.preconditions.iter().all(|one| one.holds)
}

fn of_candidate<'a>(candidate: &'a Candidate, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "id" => candidate.id.as_str().into(),
        "summary" => candidate.summary.as_str().into(),
        "level" => cascade_name(candidate.level).into(),
        "ready" => Value::Bool(is_ready(candidate)),
        "waits_for" => {
            let failing = candidate.preconditions.iter().filter(|one| !one.holds);
            let all: Vec<_> = failing
                .map(|one| format!("{}: {}", one.name, one.detail))
                .collect();
            Value::Text(all.join("; ").into())
        }
        "undoable" => Value::Bool(candidate.undoable),
        "expected_duration" => Value::between(0, candidate.expected_duration_ms),
        "lost_commits" => Value::whole(candidate.expected_loss.commits),
        "lost_percent" => Value::Double(candidate.expected_loss.percent),
        _ => return None,
    })
}

fn of_outcome<'a>(outcome: &'a Outcome, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "incident" => outcome.incident.as_str().into(),
        "kind" => outcome.kind.as_str().into(),
        "subject" => outcome.subject.as_str().into(),
        "repair" => outcome.repair.as_str().into(),
        "result" => result_name(outcome.outcome_result).into(),
        "reason" => outcome.reason.as_str().into(),
        "duration" => Value::between(0, outcome.duration_ms),
        "lost_commits" => Value::whole(outcome.loss.commits),
        "notes" => Value::texts(&outcome.notes),
        _ => return None,
    })
}

fn of_incident<'a>(incident: &'a OpenIncident, name: &str, now_ms: u64) -> Option<Value<'a>> {
    Some(match name {
        "id" => incident.id.as_str().into(),
        "kind" => incident.kind.as_str().into(),
        "subject" => incident.subject.as_str().into(),
        "age" => Value::between(incident.opened_ms, now_ms),
        "sightings" => Value::Int(i64::from(incident.sightings)),
        "class" => class_name(incident.classification).into(),
        "acknowledged" => Value::Bool(incident.acknowledged.is_some()),
        "acknowledged_by" => incident.acknowledged.as_ref()?.by.as_str().into(),
        "answers" => {
            let all = incident.answers.iter();
            Value::List(all.map(|one| Value::Record(Record::Reply(one))).collect())
        }
        _ => return None,
    })
}

fn of_reply<'a>(reply: &'a RepairAnswer, name: &str, now_ms: u64) -> Option<Value<'a>> {
    Some(match name {
        "repair" => reply.repair.as_str().into(),
        "granted" => Value::Bool(reply.granted),
        "by" => reply.said.by.as_str().into(),
        "age" => Value::between(reply.said.at_ms, now_ms),
        "note" => reply.said.note.as_deref()?.into(),
        _ => return None,
    })
}

fn of_history<'a>(totals: Totals, name: &str, now_ms: u64) -> Option<Value<'a>> {
    Some(match name {
        "successes" => Value::Int(i64::from(totals.successes)),
        "failures" => Value::Int(i64::from(totals.failures)),
        "failures_in_a_row" => Value::Int(i64::from(totals.failures_in_a_row)),
        "age" => Value::between(totals.last_ms?, now_ms),
        _ => return None,
    })
}

fn of_constraint<'a>(constraint: &'a ConstraintState, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "name" => constraint.name.as_str().into(),
        "metric" => constraint.metric.as_str().into(),
        "value" => Value::Double(constraint.value),
        "lower" => Value::Double(constraint.lower?),
        "upper" => Value::Double(constraint.upper?),
        "utilization" => Value::Double(constraint.utilization),
        "status" => status_name(constraint.status).into(),
        _ => return None,
    })
}

fn of_baseline<'a>(baseline: &BaselineSummary, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "count" => Value::Int(i64::from(baseline.count)),
        "established" => Value::Bool(baseline.established),
        "median" => Value::Double(baseline.median),
        "mad" => Value::Double(baseline.mad),
        "mean" => Value::Double(baseline.mean),
        "stdev" => Value::Double(baseline.stdev),
        "p50" => Value::Double(baseline.p50),
        "p95" => Value::Double(baseline.p95),
        "p99" => Value::Double(baseline.p99),
        "min" => Value::Double(baseline.min),
        "max" => Value::Double(baseline.max),
        _ => return None,
    })
}

fn of_maintenance<'a>(scope: &Scope<'a, '_>, name: &str) -> Option<Value<'a>> {
    let maintenance = &scope.context.maintenance;
    let open = maintenance.open.as_ref();
    Some(match name {
        "open" => Value::Bool(open.is_some()),
        "name" => open?.name.as_str().into(),
        "ends_in" => Value::between(scope.now_ms(), open?.ends_ms),
        "allow_repairs" => Value::Bool(open?.allow_repairs),
        "by" => open?.by.as_deref()?.into(),
        "reason" => open?.reason.as_deref()?.into(),
        "next_in" => Value::between(scope.now_ms(), maintenance.next.as_ref()?.begins_ms),
        _ => return None,
    })
}

fn of_time<'a>(scope: &Scope<'a, '_>, name: &str) -> Option<Value<'a>> {
    let local = scope.situation().local(scope.now_ms());
    let minute = i64::from(local.minute_of_day);
    Some(match name {
        "hour" => Value::Int(minute / 60),
        "minute" => Value::Int(minute % 60),
        "minute_of_day" => Value::Int(minute),
        "weekday" => weekday_name(local.weekday).into(),
        "is_known" => Value::Bool(scope.context.local_time.is_some()),
        _ => return None,
    })
}
