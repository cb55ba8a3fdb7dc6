//! The rules, asked as the host asks: event and context in, verdict out.

use dbmedic_policy::{
    CascadeLevel, Classification, ConstraintState, ConstraintStatus, Context, EscalationLevel,
    Event, Finding, Metric, OpenIncident, Outcome, OutcomeResult, Precondition, RepairHistory,
    Setting, Value, Verbosity, Verdict,
    testing::{self, candidate},
};

use crate::DefaultPolicy;

use Classification::{Crisis, Hiccup, Obstacle, Wall};
use EscalationLevel::{Escalate, Normal, Warn, Watch};
use Value::{Boolean, Integer};

mod kinds;
mod laws;
mod over_time;

/// 1 000 000 ms, where `testing::context` stands.
const NOW_MS: u64 = 1_000_000;

fn context() -> Context {
    context_with(&[])
}

fn context_with(settings: &[(&str, Value)]) -> Context {
    let settings: Vec<Setting> = settings
        .iter()
        .map(|(name, value)| Setting {
            name: (*name).into(),
            value: value.clone(),
        })
        .collect();
    testing::context(dbmedic_policy::configure::<DefaultPolicy>(&settings).unwrap())
}

fn ask(event: &Event, context: &Context) -> Verdict {
    dbmedic_policy::decide::<DefaultPolicy>(event, context).unwrap()
}

/// Asks, and carries memory and level on as the host does.
fn step(event: &Event, context: &mut Context) -> Verdict {
    let verdict = ask(event, context);
    context.memory.clone_from(&verdict.memory);
    if verdict.level != context.level {
        context.level = verdict.level;
        context.level_since_ms = context.now_ms;
    }
    verdict
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

/// The finding with some facts set otherwise; `None` takes a fact away.
fn with(mut finding: Finding, facts: &[(&str, Option<Value>)]) -> Finding {
    for (name, value) in facts {
        finding.facts.retain(|fact| fact.name != *name);
        if let Some(value) = value {
            let [fact] = &mut testing::finding("", &[(*name, value.clone())]).facts[..] else {
                unreachable!("one fact was given");
            };
            finding.facts.push(fact.clone());
        }
    }
    finding
}

fn offering(mut finding: Finding, id: &str, level: CascadeLevel) -> Finding {
    finding.candidates.push(candidate(id, level));
    finding
}

fn precondition(name: &str, holds: bool) -> Precondition {
    Precondition {
        name: name.into(),
        holds,
        detail: "as seen".into(),
    }
}

/// A lock that is stale, lone and backed by a snapshot: everything speaks for the repair.
fn stale_lock() -> Finding {
    let facts = [
        ("holder_pid", Integer(12)),
        ("holder_name", text("batch")),
        ("age_ms", Integer(500_000)),
        ("holder_cpu_ms", Integer(0)),
        ("commits_during_hold", Integer(0)),
        ("has_recent_snapshot", Boolean(true)),
        ("snapshot_age_ms", Integer(60_000)),
        ("concurrent_operations", Integer(0)),
        ("holder_may_be_ended", Boolean(true)),
    ];
    let mut finding = testing::finding("lock.stale-holder", &facts);
    finding.severity = 0.4;
    offering(finding, "lock.end-holder", CascadeLevel::InPlace)
}

fn starved() -> Finding {
    let facts = [
        ("wal_bytes", Integer(4_000_000)),
        ("backlog_frames", Integer(900)),
        ("reader_pid", Integer(13)),
        ("reader_name", text("report")),
        ("reader_age_ms", Integer(400_000)),
        ("reader_may_be_ended", Boolean(true)),
    ];
    let finding = testing::finding("wal.checkpoint-starved", &facts);
    offering(finding, "wal.release-reader", CascadeLevel::InPlace)
}

fn corrupt_frame(first_bad: i64, total: i64, lost: i64) -> Finding {
    let facts = [
        ("first_bad_frame", Integer(first_bad)),
        ("total_frames", Integer(total)),
        ("commits_lost", Integer(lost)),
        ("percent_lost", Value::Number(1.5)),
        ("has_recent_snapshot", Boolean(true)),
    ];
    let finding = testing::finding("wal.corrupt-frame", &facts);
    offering(finding, "wal.keep-valid-prefix", CascadeLevel::Replay)
}

fn corrupt_index(table_clean: bool, rebuildable: bool) -> Finding {
    let facts = [
        ("index", text("by_name")),
        ("table", text("people")),
        ("table_clean", Boolean(table_clean)),
        ("faults", Integer(3)),
        ("rebuildable", Boolean(rebuildable)),
    ];
    offering(
        testing::finding("index.corrupt", &facts),
        "index.rebuild",
        CascadeLevel::InPlace,
    )
}

fn violated(auto_fix: bool) -> Finding {
    let facts = [
        ("constraint", text("wal_size")),
        ("metric", text("wal_bytes")),
        ("value", Value::Number(1_200.0)),
        ("bound", Value::Number(1_000.0)),
        ("utilization", Value::Number(1.2)),
        ("auto_fix", Boolean(auto_fix)),
    ];
    testing::finding("constraint.violated", &facts)
}

fn constraint(violations_ms: Vec<u64>) -> ConstraintState {
    ConstraintState {
        name: "wal_size".into(),
        metric: "wal_bytes".into(),
        value: 1_200.0,
        lower: None,
        upper: Some(1_000.0),
        utilization: 1.2,
        status: ConstraintStatus::Critical,
        violations_ms,
    }
}

fn history(kind: &str, repair: &str, successes: u32, failures_in_a_row: u32) -> RepairHistory {
    RepairHistory {
        kind: kind.into(),
        repair: repair.into(),
        successes,
        failures: failures_in_a_row,
        failures_in_a_row,
        last_ms: 0,
    }
}

fn incident(class: Option<Classification>) -> OpenIncident {
    OpenIncident {
        id: "i-9".into(),
        kind: "some.kind".into(),
        subject: "main".into(),
        opened_ms: 0,
        sightings: 1,
        classification: class,
        acknowledged: None,
        answers: Vec::new(),
    }
}

fn outcome(finding: &Finding, repair: &str, result: OutcomeResult) -> Event {
    Event::Outcome(Outcome {
        incident: finding.incident.clone(),
        kind: finding.kind.clone(),
        subject: finding.subject.clone(),
        repair: repair.into(),
        outcome_result: result,
        reason: "as seen".into(),
        duration_ms: 700,
        loss: testing::NO_LOSS,
        notes: Vec::new(),
    })
}

fn metric(name: &str, value: f64) -> Metric {
    Metric {
        name: name.into(),
        value,
    }
}

fn rules(verdict: &Verdict) -> Vec<&str> {
    verdict
        .reasons
        .iter()
        .map(|reason| reason.rule.as_str())
        .collect()
}

fn alerts(verdict: &Verdict) -> Vec<&str> {
    verdict
        .alerts
        .iter()
        .map(|alert| alert.rule.as_str())
        .collect()
}

#[test]
fn it_goes_by_the_name_that_a_configuration_knows() {
    use dbmedic_policy::Policy as _;

    assert_eq!(DefaultPolicy::NAME, "default");
}
