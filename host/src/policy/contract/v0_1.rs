//! The contract 0.1, of `0.1.0/`. It has no lists among its values, no approvals, no local time and no
//! maintenance.

use std::borrow::Cow;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from WIT, where every item is documented"
)]
mod generated {
    wasmtime::component::bindgen!({
        path: "src/policy/contract/0.1.0",
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
    let lists = settings.iter().filter(|setting| is_list(&setting.value));
    let lists: Vec<_> = lists
        .map(|setting| model::SettingError {
            name: setting.name.clone(),
            message: "is a list, and a policy of the contract 0.1 takes none".to_owned(),
        })
        .collect();
    if !lists.is_empty() {
        return Ok(Err(lists));
    }
    let settings: Vec<_> = settings
        .iter()
        .map(|setting| decision::Setting {
            name: &setting.name,
            value: value(&setting.value, &[]),
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
    let answer = ask(policy, store, &without_lists(event), context)?;
    Ok(answer.map(Into::into).map_err(Into::into))
}

fn is_list(value: &model::Value) -> bool {
    matches!(value, model::Value::Integers(_) | model::Value::Texts(_))
}

/// An event with its lists as text.
fn without_lists(event: &model::PolicyEvent) -> Cow<'_, model::PolicyEvent> {
    let model::PolicyEvent::Finding(finding) = event else {
        return Cow::Borrowed(event);
    };
    if !finding.facts.iter().any(|fact| is_list(&fact.value)) {
        return Cow::Borrowed(event);
    }
    let mut finding = finding.clone();
    for fact in &mut finding.facts {
        let text = match &fact.value {
            model::Value::Integers(all) => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                all.join(", ")
            }
            model::Value::Texts(all) => all.join(", "),
            _ => continue,
        };
        fact.value = model::Value::Text(text);
    }
    Cow::Owned(model::PolicyEvent::Finding(finding))
}

fn value<'a>(value: &'a model::Value, _texts: &'a [&'a str]) -> findings::ValueParam<'a> {
    match value {
        model::Value::Boolean(value) => findings::ValueParam::Boolean(*value),
        model::Value::Integer(value) => findings::ValueParam::Integer(*value),
        model::Value::Number(value) => findings::ValueParam::Number(*value),
        model::Value::Text(value) => findings::ValueParam::Text(value),
        // Whoever calls this has refused lists, or made text of them.
        model::Value::Integers(_) | model::Value::Texts(_) => findings::ValueParam::Text(""),
    }
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

impl From<model::DataLoss> for findings::DataLoss {
    fn from(loss: model::DataLoss) -> Self {
        Self {
            commits: loss.commits,
            percent: loss.percent,
        }
    }
}

fn outcome<'a>(of: &'a model::Outcome, _notes: &'a [&'a str]) -> findings::Outcome<'a> {
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

impl From<verdicts::Verdict> for model::Verdict {
    fn from(verdict: verdicts::Verdict) -> Self {
        Self {
            classification: verdict.classification.map(Into::into),
            level: verdict.level.into(),
            repair: verdict.repair,
            needs_approval: false,
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
