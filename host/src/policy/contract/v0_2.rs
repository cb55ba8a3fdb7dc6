//! The contract 0.2, of `wit/`: the present one.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/, where every item is documented"
)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use wasmtime::Store;
use wasmtime::component::{HasSelf, Linker};

use generated::dbmedic::policy::{findings, log, situation, telemetry, verdicts};
use generated::exports::dbmedic::policy::decision;
pub(super) use generated::{Policy, PolicyPre};

use super::{in_each_version, same_enum, same_record};
use crate::model;
use crate::policy::sandbox::State;

in_each_version!();

/// Hands it its settings: what it packed them into, or which of them are wrong.
pub(super) fn configure(
    policy: &Policy,
    store: &mut Store<State>,
    settings: &[model::Setting],
) -> wasmtime::Result<Result<Vec<u8>, Vec<model::SettingError>>> {
    let texts: Vec<_> = settings.iter().map(|one| texts_of(&one.value)).collect();
    let settings: Vec<_> = settings
        .iter()
        .zip(&texts)
        .map(|(setting, texts)| decision::Setting {
            name: &setting.name,
            value: value(&setting.value, texts),
        })
        .collect();
    let answer = policy
        .dbmedic_policy_decision()
        .call_configure(store, &settings)?;
    Ok(answer.map_err(|errors| errors.into_iter().map(Into::into).collect()))
}

/// Asks for a verdict.
pub(super) fn decide(
    policy: &Policy,
    store: &mut Store<State>,
    event: &model::PolicyEvent,
    context: &model::Context,
) -> wasmtime::Result<Result<model::Verdict, model::Reason>> {
    let repairs: Vec<_> = context.repairs.iter().map(repair_history).collect();
    let answers: Vec<Vec<_>> = context
        .incidents
        .iter()
        .map(|incident| incident.answers.iter().map(repair_answer).collect())
        .collect();
    let incidents: Vec<_> = context
        .incidents
        .iter()
        .zip(&answers)
        .map(|(incident, answers)| open_incident(incident, answers))
        .collect();
    let constraints: Vec<_> = context.constraints.iter().map(constraint_state).collect();
    let metrics: Vec<_> = context.metrics.iter().map(metric).collect();
    let context = situation::Context {
        now_ms: context.now_ms,
        target: &context.target,
        target_kind: &context.target_kind,
        local_time: context.local_time.map(local_time),
        maintenance: situation::Maintenance {
            open: context.maintenance.open.as_ref().map(maintenance_window),
            next: context.maintenance.next.as_ref().map(maintenance_window),
        },
        level: context.level.into(),
        level_since_ms: context.level_since_ms,
        repairs: &repairs,
        incidents: &incidents,
        constraints: &constraints,
        metrics: &metrics,
        settings: &context.settings,
        memory: &context.memory,
    };
    let answer = ask(policy, store, event, context)?;
    Ok(answer.map(Into::into).map_err(Into::into))
}

fn value<'a>(value: &'a model::Value, texts: &'a [&'a str]) -> findings::ValueParam<'a> {
    match value {
        model::Value::Boolean(value) => findings::ValueParam::Boolean(*value),
        model::Value::Integer(value) => findings::ValueParam::Integer(*value),
        model::Value::Number(value) => findings::ValueParam::Number(*value),
        model::Value::Text(value) => findings::ValueParam::Text(value),
        model::Value::Integers(values) => findings::ValueParam::Integers(values),
        model::Value::Texts(_) => findings::ValueParam::Texts(texts),
    }
}

impl From<findings::ValueResult> for model::Value {
    fn from(value: findings::ValueResult) -> Self {
        match value {
            findings::ValueResult::Boolean(value) => Self::Boolean(value),
            findings::ValueResult::Integer(value) => Self::Integer(value),
            findings::ValueResult::Number(value) => Self::Number(value),
            findings::ValueResult::Text(value) => Self::Text(value),
            findings::ValueResult::Integers(values) => Self::Integers(values),
            findings::ValueResult::Texts(values) => Self::Texts(values),
        }
    }
}

impl From<model::DataLoss> for findings::DataLoss {
    fn from(loss: model::DataLoss) -> Self {
        Self {
            commits: loss.commits,
            rows: loss.rows,
            since_ms: loss.since_ms,
            percent: loss.percent,
        }
    }
}

fn outcome<'a>(of: &'a model::Outcome, notes: &'a [&'a str]) -> findings::Outcome<'a> {
    findings::Outcome {
        incident: &of.incident,
        kind: &of.kind,
        subject: &of.subject,
        repair: &of.repair,
        outcome_result: of.outcome_result.into(),
        reason: &of.reason,
        duration_ms: of.duration_ms,
        loss: of.loss.into(),
        notes,
    }
}

fn attribution(of: &model::Attribution) -> situation::Attribution<'_> {
    situation::Attribution {
        by: &of.by,
        at_ms: of.at_ms,
        note: of.note.as_deref(),
    }
}

fn repair_answer(of: &model::RepairAnswer) -> situation::RepairAnswer<'_> {
    situation::RepairAnswer {
        repair: &of.repair,
        granted: of.granted,
        said: attribution(&of.said),
    }
}

fn open_incident<'a>(
    of: &'a model::OpenIncident,
    answers: &'a [situation::RepairAnswer<'a>],
) -> situation::OpenIncident<'a> {
    situation::OpenIncident {
        id: &of.id,
        kind: &of.kind,
        subject: &of.subject,
        opened_ms: of.opened_ms,
        sightings: of.sightings,
        classification: of.classification.map(Into::into),
        acknowledged: of.acknowledged.as_ref().map(attribution),
        answers,
    }
}

fn local_time(of: model::LocalTime) -> situation::LocalTime {
    situation::LocalTime {
        utc_offset_minutes: of.utc_offset_minutes,
        next_change: of.next_change.map(|change| situation::OffsetChange {
            at_ms: change.at_ms,
            utc_offset_minutes: change.utc_offset_minutes,
        }),
    }
}

fn maintenance_window(of: &model::MaintenanceWindow) -> situation::MaintenanceWindow<'_> {
    situation::MaintenanceWindow {
        name: &of.name,
        begins_ms: of.begins_ms,
        ends_ms: of.ends_ms,
        allow_repairs: of.allow_repairs,
        by: of.by.as_deref(),
        reason: of.reason.as_deref(),
    }
}

impl From<verdicts::Verdict> for model::Verdict {
    fn from(verdict: verdicts::Verdict) -> Self {
        Self {
            classification: verdict.classification.map(Into::into),
            level: verdict.level.into(),
            repair: verdict.repair,
            needs_approval: verdict.needs_approval,
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
