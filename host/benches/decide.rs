//! What one decision costs: a fresh instance, a typical finding, the answer checked.
//!
//! `cargo bench -p dbmedic --bench decide`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dbmedic::model::{
    Candidate, CascadeLevel, Context, DataLoss, EscalationLevel, Fact, Finding, Metric,
    PolicyEvent, Precondition, RepairHistory, Value,
};
use dbmedic::policy::{Limits, NoTelemetry, Policy, Runtime};
use dbmedic::signing::Verified;

const DEFAULT: &[u8] = include_bytes!("../../policies/prebuilt/default.wasm");

fn event() -> PolicyEvent {
    PolicyEvent::Finding(Finding {
        incident: "2026-000001".into(),
        kind: "lock.stale-holder".into(),
        subject: "orders.db".into(),
        summary: "process 4711 holds the write lock and is stopped".into(),
        severity: 0.7,
        first_seen_ms: 1_000_000,
        last_seen_ms: 1_060_000,
        sightings: 12,
        facts: vec![
            Fact {
                name: "age_ms".into(),
                value: Value::Integer(60_000),
            },
            Fact {
                name: "holder_alive".into(),
                value: Value::Boolean(true),
            },
        ],
        evidence: Vec::new(),
        candidates: vec![Candidate {
            id: "lock.end-holder".into(),
            summary: "end the process that holds the lock".into(),
            level: CascadeLevel::InPlace,
            preconditions: vec![Precondition {
                name: "same-process".into(),
                holds: true,
                detail: "started at the same instant as before".into(),
            }],
            expected_duration_ms: 100,
            expected_loss: DataLoss {
                commits: 0,
                percent: 0.0,
            },
            undoable: false,
        }],
    })
}

fn context(policy: &Policy) -> Context {
    Context {
        now_ms: 1_060_000,
        target: "orders".into(),
        level: EscalationLevel::Watch,
        level_since_ms: 1_000_000,
        repairs: (0..8)
            .map(|n| RepairHistory {
                kind: format!("kind.{n}"),
                repair: format!("repair.{n}"),
                successes: n,
                failures: 0,
                failures_in_a_row: 0,
                last_ms: 900_000,
            })
            .collect(),
        incidents: Vec::new(),
        constraints: Vec::new(),
        metrics: (0..12)
            .map(|n| Metric {
                name: format!("metric_{n}_per_s"),
                value: f64::from(n),
            })
            .collect(),
        settings: policy.settings().to_vec(),
        memory: Vec::new(),
    }
}

fn decide(criterion: &mut Criterion) {
    let runtime = Runtime::new(Limits::default()).unwrap();
    let policy = runtime.load(&Verified::built_in(DEFAULT), &[]).unwrap();
    let event = event();
    let context = context(&policy);
    let first = policy.decide(&event, &context, &mut NoTelemetry);
    assert_eq!(first.failure, None);
    criterion.bench_function("decide/default/fresh-instance", |bencher| {
        bencher.iter(|| policy.decide(black_box(&event), black_box(&context), &mut NoTelemetry));
    });
    criterion.bench_function("load/default", |bencher| {
        bencher.iter(|| {
            runtime
                .load(&Verified::built_in(black_box(DEFAULT)), &[])
                .unwrap()
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(5)).sample_size(50);
    targets = decide
}
criterion_main!(benches);
