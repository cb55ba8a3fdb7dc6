//! The contract 0.1: what a policy is given is made of the host's records, and its answers become such
//! records. The strings are lent to the call, not copied.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/, where every item is documented"
)]
pub(super) mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use wasmtime::Store;

use generated::Policy as Instance;
use generated::dbmedic::policy::{findings, log, situation, telemetry, verdicts};
use generated::exports::dbmedic::policy::decision;

use super::sandbox::State;
use crate::model;

/// Asks who the policy is and which parameters it has.
pub(super) fn describe(
    policy: &Instance,
    store: &mut Store<State>,
) -> wasmtime::Result<model::Description> {
    let description = policy.dbmedic_policy_decision().call_describe(store)?;
    Ok(description.into())
}

/// Hands it its settings: what it packed them into, or which of them are wrong.
pub(super) fn configure(
    policy: &Instance,
    store: &mut Store<State>,
    settings: &[model::Setting],
) -> wasmtime::Result<Result<Vec<u8>, Vec<model::SettingError>>> {
    let settings: Vec<_> = settings.iter().map(setting).collect();
    let answer = policy
        .dbmedic_policy_decision()
        .call_configure(store, &settings)?;
    Ok(answer.map_err(|errors| errors.into_iter().map(Into::into).collect()))
}

/// Asks for a verdict.
pub(super) fn decide(
    policy: &Instance,
    store: &mut Store<State>,
    event: &model::PolicyEvent,
    context: &model::Context,
) -> wasmtime::Result<Result<model::Verdict, model::Reason>> {
    let repairs: Vec<_> = context.repairs.iter().map(repair_history).collect();
    let incidents: Vec<_> = context.incidents.iter().map(open_incident).collect();
    let constraints: Vec<_> = context.constraints.iter().map(constraint_state).collect();
    let metrics: Vec<_> = context.metrics.iter().map(metric).collect();
    let context = situation::Context {
        now_ms: context.now_ms,
        target: &context.target,
        level: context.level.into(),
        level_since_ms: context.level_since_ms,
        repairs: &repairs,
        incidents: &incidents,
        constraints: &constraints,
        metrics: &metrics,
        settings: &context.settings,
        memory: &context.memory,
    };
    let decision = policy.dbmedic_policy_decision();
    let answer = match event {
        model::PolicyEvent::Tick => decision.call_decide(store, situation::Event::Tick, context),
        model::PolicyEvent::Outcome(of) => {
            decision.call_decide(store, situation::Event::Outcome(outcome(of)), context)
        }
        model::PolicyEvent::Finding(of) => {
            let parts = FindingParts::of(of);
            let evidence = parts.evidence();
            let candidates = parts.candidates();
            let finding = findings::Finding {
                incident: &of.incident,
                kind: &of.kind,
                subject: &of.subject,
                summary: &of.summary,
                severity: of.severity,
                first_seen_ms: of.first_seen_ms,
                last_seen_ms: of.last_seen_ms,
                sightings: of.sightings,
                facts: &parts.facts,
                evidence: &evidence,
                candidates: &candidates,
            };
            decision.call_decide(store, situation::Event::Finding(finding), context)
        }
    }?;
    Ok(answer.map(Into::into).map_err(Into::into))
}

/// The lists in the lists of a finding: they must stand somewhere while they are lent.
struct FindingParts<'a> {
    of: &'a model::Finding,
    facts: Vec<findings::Fact<'a>>,
    /// Of each piece of evidence: series, scores, reasons.
    evidence: Vec<(Vec<&'a str>, Vec<findings::MethodScore>, Vec<&'a str>)>,
    preconditions: Vec<Vec<findings::Precondition<'a>>>,
}

impl<'a> FindingParts<'a> {
    fn of(of: &'a model::Finding) -> Self {
        let texts = |all: &'a [String]| all.iter().map(String::as_str).collect();
        let evidence = of.evidence.iter().map(|anomaly| {
            let scores = anomaly.scores.iter().map(|one| findings::MethodScore {
                method: one.method.into(),
                score: one.score,
            });
            (
                texts(&anomaly.series),
                scores.collect(),
                texts(&anomaly.reasons),
            )
        });
        let preconditions = of.candidates.iter().map(|candidate| {
            let all = candidate.preconditions.iter();
            all.map(|one| findings::Precondition {
                name: &one.name,
                holds: one.holds,
                detail: &one.detail,
            })
            .collect()
        });
        Self {
            of,
            facts: of.facts.iter().map(fact).collect(),
            evidence: evidence.collect(),
            preconditions: preconditions.collect(),
        }
    }

    fn evidence(&self) -> Vec<findings::Anomaly<'_>> {
        let both = self.of.evidence.iter().zip(&self.evidence);
        both.map(|(anomaly, (series, scores, reasons))| findings::Anomaly {
            at_ms: anomaly.at_ms,
            series,
            scores,
            confidence: anomaly.confidence,
            severity: anomaly.severity.into(),
            reasons,
        })
        .collect()
    }

    fn candidates(&self) -> Vec<findings::Candidate<'_>> {
        let both = self.of.candidates.iter().zip(&self.preconditions);
        both.map(|(candidate, preconditions)| findings::Candidate {
            id: &candidate.id,
            summary: &candidate.summary,
            level: candidate.level.into(),
            preconditions,
            expected_duration_ms: candidate.expected_duration_ms,
            expected_loss: candidate.expected_loss.into(),
            undoable: candidate.undoable,
        })
        .collect()
    }
}

fn value(value: &model::Value) -> findings::ValueParam<'_> {
    match value {
        model::Value::Boolean(value) => findings::ValueParam::Boolean(*value),
        model::Value::Integer(value) => findings::ValueParam::Integer(*value),
        model::Value::Number(value) => findings::ValueParam::Number(*value),
        model::Value::Text(value) => findings::ValueParam::Text(value),
    }
}

fn fact(fact: &model::Fact) -> findings::Fact<'_> {
    findings::Fact {
        name: &fact.name,
        value: value(&fact.value),
    }
}

fn setting(setting: &model::Setting) -> decision::Setting<'_> {
    decision::Setting {
        name: &setting.name,
        value: value(&setting.value),
    }
}

fn outcome(of: &model::Outcome) -> findings::Outcome<'_> {
    findings::Outcome {
        incident: &of.incident,
        kind: &of.kind,
        subject: &of.subject,
        repair: &of.repair,
        outcome_result: of.outcome_result.into(),
        reason: &of.reason,
        duration_ms: of.duration_ms,
        loss: of.loss.into(),
    }
}

fn repair_history(of: &model::RepairHistory) -> situation::RepairHistory<'_> {
    situation::RepairHistory {
        kind: &of.kind,
        repair: &of.repair,
        successes: of.successes,
        failures: of.failures,
        failures_in_a_row: of.failures_in_a_row,
        last_ms: of.last_ms,
    }
}

fn open_incident(of: &model::OpenIncident) -> situation::OpenIncident<'_> {
    situation::OpenIncident {
        id: &of.id,
        kind: &of.kind,
        subject: &of.subject,
        opened_ms: of.opened_ms,
        sightings: of.sightings,
        classification: of.classification.map(Into::into),
    }
}

fn constraint_state(of: &model::ConstraintState) -> situation::ConstraintState<'_> {
    situation::ConstraintState {
        name: &of.name,
        metric: &of.metric,
        value: of.value,
        lower: of.lower,
        upper: of.upper,
        utilization: of.utilization,
        status: of.status.into(),
        violations_ms: &of.violations_ms,
    }
}

fn metric(of: &model::Metric) -> situation::Metric<'_> {
    situation::Metric {
        name: &of.name,
        value: of.value,
    }
}

/// Enumerations of the same variants, from the host's to the policy's and the other way.
macro_rules! same_enum {
    (to $($name:ident in $module:ident { $($variant:ident),+ })+) => { $(
        impl From<model::$name> for $module::$name {
            fn from(value: model::$name) -> Self {
                match value { $(model::$name::$variant => Self::$variant,)+ }
            }
        }
    )+ };
    (from $($name:ident in $module:ident { $($variant:ident),+ })+) => { $(
        impl From<$module::$name> for model::$name {
            fn from(value: $module::$name) -> Self {
                match value { $($module::$name::$variant => Self::$variant,)+ }
            }
        }
    )+ };
}

same_enum! { to
    DetectionMethod in findings { Statistical, Pattern, Behavior, Constraint }
    Severity in findings { Low, Medium, High }
    CascadeLevel in findings { InPlace, Snapshot, Replay, Rebuild }
    OutcomeResult in findings { Verified, RolledBack, Refused, Failed }
    ConstraintStatus in situation { Ok, Warning, Critical }
    Classification in verdicts { Hiccup, Obstacle, Wall, Crisis }
    EscalationLevel in verdicts { Normal, Watch, Warn, Escalate }
}

same_enum! { from
    Classification in verdicts { Hiccup, Obstacle, Wall, Crisis }
    EscalationLevel in verdicts { Normal, Watch, Warn, Escalate }
    Verbosity in verdicts { Normal, Elevated, Incident }
    Urgency in verdicts { Info, Warning, Critical }
    LogLevel in log { Debug, Info, Warn, Error }
}

/// Records of the same fields, each of which becomes the other's.
macro_rules! same_record {
    ($($from:path => $to:path { $($field:ident),+ })+) => { $(
        impl From<$from> for $to {
            fn from(record: $from) -> Self {
                Self { $($field: record.$field.into(),)+ }
            }
        }
    )+ };
}

same_record! {
    model::DataLoss => findings::DataLoss { commits, percent }
    model::Point => telemetry::Point { at_ms, value }
    model::BaselineSummary => telemetry::BaselineSummary {
        count, established, median, mad, mean, stdev, p50, p95, p99, min, max
    }
    verdicts::Reason => model::Reason { rule, text }
    verdicts::Alert => model::Alert { rule, urgency, message }
    decision::SettingError => model::SettingError { name, message }
    decision::Parameter => model::Parameter { name, summary, default, minimum, maximum }
}

impl From<findings::ValueResult> for model::Value {
    fn from(value: findings::ValueResult) -> Self {
        match value {
            findings::ValueResult::Boolean(value) => Self::Boolean(value),
            findings::ValueResult::Integer(value) => Self::Integer(value),
            findings::ValueResult::Number(value) => Self::Number(value),
            findings::ValueResult::Text(value) => Self::Text(value),
        }
    }
}

impl From<decision::Description> for model::Description {
    fn from(description: decision::Description) -> Self {
        let parameters = description.parameters.into_iter();
        Self {
            name: description.name,
            version: description.version,
            summary: description.summary,
            parameters: parameters.map(Into::into).collect(),
        }
    }
}

impl From<verdicts::Verdict> for model::Verdict {
    fn from(verdict: verdicts::Verdict) -> Self {
        Self {
            classification: verdict.classification.map(Into::into),
            level: verdict.level.into(),
            repair: verdict.repair,
            halt: verdict.halt,
            confidence: verdict.confidence,
            verbosity: verdict.verbosity.into(),
            alerts: verdict.alerts.into_iter().map(Into::into).collect(),
            reasons: verdict.reasons.into_iter().map(Into::into).collect(),
            suggestions: verdict.suggestions,
            memory: verdict.memory,
        }
    }
}
