//! The versions of the contract side by side: components of each load, decide, and get what it holds.

use std::path::Path;

use dbmedic::model::{
    Attribution, Candidate, CascadeLevel, Context, DataLoss, Fact, Finding, LocalTime, Maintenance,
    MaintenanceWindow, OffsetChange, OpenIncident, PolicyEvent, RepairAnswer, Value,
};
use dbmedic::policy::{Limits, NoTelemetry, Policy, Runtime};
use dbmedic::signing::Verified;

use crate::common::{data, run, talk};

const OF_0_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/default-0.1.0.wasm");
const PRESENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../policies/prebuilt/default.wasm"
);

fn load(path: &str) -> Policy {
    let limits = Limits {
        start_deadline_ms: 30_000,
        deadline_ms: 10_000,
        ..Limits::default()
    };
    let bytes = std::fs::read(path).unwrap();
    let runtime = Runtime::new(limits).unwrap();
    runtime.load(&Verified::unsigned(bytes), &[]).unwrap()
}

/// A stale holder with everything around it that only the present contract has room for.
fn full(policy: &Policy) -> (PolicyEvent, Context) {
    let fact = |name: &str, value| Fact {
        name: name.into(),
        value,
    };
    let finding = Finding {
        incident: "INC-1".into(),
        kind: "lock.stale-holder".into(),
        subject: "orders".into(),
        summary: "held".into(),
        severity: 0.5,
        first_seen_ms: 1_000_000,
        last_seen_ms: 1_500_000,
        sightings: 3,
        facts: vec![
            fact("age_ms", Value::Integer(500_000)),
            fact("has_recent_snapshot", Value::Boolean(true)),
            fact("concurrent_operations", Value::Integer(0)),
            fact("holder_may_be_ended", Value::Boolean(true)),
            fact("waiting_pids", Value::Integers(vec![7, 8])),
            fact("tables", Value::Texts(vec!["a".into(), "b".into()])),
        ],
        evidence: Vec::new(),
        candidates: vec![Candidate {
            id: "lock.end-holder".into(),
            summary: "end it".into(),
            level: CascadeLevel::InPlace,
            preconditions: Vec::new(),
            expected_duration_ms: 100,
            expected_loss: DataLoss {
                rows: Some(3),
                since_ms: Some(1_400_000),
                ..DataLoss::NONE
            },
            undoable: false,
        }],
    };
    let said = |by: &str| Attribution {
        by: by.into(),
        at_ms: 1_400_000,
        note: Some("seen".into()),
    };
    let window = MaintenanceWindow {
        name: "backup".into(),
        begins_ms: 2_000_000,
        ends_ms: 3_000_000,
        allow_repairs: false,
        by: None,
        reason: None,
    };
    let context = Context {
        now_ms: 1_500_000,
        target_kind: "postgresql".into(),
        incidents: vec![OpenIncident {
            id: "INC-1".into(),
            kind: finding.kind.clone(),
            subject: finding.subject.clone(),
            opened_ms: 1_000_000,
            sightings: 3,
            classification: None,
            acknowledged: Some(said("eve")),
            answers: vec![RepairAnswer {
                repair: "lock.end-holder".into(),
                granted: true,
                said: said("bob"),
            }],
        }],
        maintenance: Maintenance {
            open: None,
            next: Some(window),
        },
        local_time: Some(LocalTime {
            utc_offset_minutes: 60,
            next_change: Some(OffsetChange {
                at_ms: 9_000_000,
                utc_offset_minutes: 120,
            }),
        }),
        ..dbmedic_tests::context(policy)
    };
    (PolicyEvent::Finding(finding), context)
}

#[test]
fn a_policy_of_the_first_contract_passes_the_cases_of_the_present_one() {
    assert!(Path::new(OF_0_1).exists());
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/default/cases");
    let result = run(&["policy", "test", OF_0_1, cases, "--json"]);
    let said = format!("{}{}", data(&result), talk(&result));
    assert_eq!(result.status.code(), Some(0), "{said}");
    let report: serde_json::Value = serde_json::from_str(&data(&result)).unwrap();
    assert!(report["passed"].as_u64().unwrap() >= 30, "{report}");
}

#[test]
fn both_versions_judge_the_same_and_say_which_they_are() {
    let (old, new) = (load(OF_0_1), load(PRESENT));
    assert_eq!((old.contract(), new.contract()), ("0.1.0", "0.2.0"));
    let verdict = |policy: &Policy| {
        let (event, context) = full(policy);
        let decision = policy.decide(&event, &context, &mut NoTelemetry);
        assert_eq!(decision.failure, None);
        decision.verdict
    };
    assert_eq!(verdict(&old), verdict(&new));
}
