//! What an entry of the decision log costs to be made again, and to be held against another policy:
//! a log of 10,000 decisions of the default policy, from the files to the result.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dbmedic::assemble::DEFAULT_POLICY;
use dbmedic::constraint::Constraint;
use dbmedic::decision_log::{About, DecisionLog, Room, Sides, diff, patient, replay};
use dbmedic::diagnose::DiagnoseOptions;
use dbmedic::guard::{GuardLimits, Mode};
use dbmedic::model::{Setting, Value};
use dbmedic::pipeline::{Carried, Event, Pipeline, PipelineOptions, TargetOptions, only_default};
use dbmedic::policy::{BreakerOptions, Limits, Policy, Runtime};
use dbmedic::signing::Verified;
use dbmedic::source::{Observation, Sample, State};

const DECISIONS: u64 = 10_000;

/// A database that is out of reach, with twelve series, judged at every look.
fn keep_a_log(directory: &Path, policy: Policy) {
    let target = TargetOptions {
        kind: dbmedic::model::sqlite(),
        policies: only_default(),
        mode: Mode::Observe,
        diagnose: DiagnoseOptions {
            lock_hold_ms: 1000,
            reader_hold_ms: 1000,
            sample_interval_ms: 1000,
            snapshot_recent_ms: 86_400_000,
            may_end: Vec::new(),
        },
        constraints: Constraint::defaults(),
    };
    let options = PipelineOptions {
        decide_interval_ms: 0,
        baseline_window: 100,
        baseline_established_after: 10,
        guard: GuardLimits::default(),
        breaker: BreakerOptions::default(),
        named_breakers: BTreeMap::new(),
        targets: BTreeMap::from([("shop".to_owned(), target)]),
        signatures: None,
    };
    let about = About {
        limits: policy.limits().clone(),
        named_limits: BTreeMap::new(),
        parameters: BTreeMap::new(),
    };
    let room = Room {
        file_bytes: 16 << 20,
        total_bytes: 1 << 30,
    };
    let mut log = DecisionLog::open(directory, room, &about).unwrap();
    let mut pipeline = Pipeline::new(options, policy, Carried::default());
    pipeline.listen(true);
    let mut decisions = 0;
    for look in 1.. {
        let number = f64::from(u32::try_from(look % 997).unwrap());
        let samples = (0..12).map(|series| Sample {
            series: format!("series_{series}"),
            value: number + f64::from(series),
        });
        pipeline.step(&Event::Observed(Observation {
            target: "shop".into(),
            at_ms: look * 1000,
            samples: samples.collect(),
            snapshot_at_ms: None,
            state: State::Unreachable {
                reason: "the disk does not answer".into(),
            },
        }));
        let (made, policies) = pipeline.made_mut();
        decisions += made.len() as u64;
        log.note(made, policies).unwrap();
        if look % 100 == 0 {
            log.flush().unwrap();
        }
        if decisions >= DECISIONS {
            break;
        }
    }
}

fn decision_log(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(patient(&Limits::default())).unwrap();
    let component = Verified::built_in(DEFAULT_POLICY);
    let old = runtime.load(&component, &[]).unwrap();
    keep_a_log(dir.path(), old.clone());
    let new = old
        .with_settings(&[Setting {
            name: "stale_lock_age_ms".into(),
            value: Value::Integer(5000),
        }])
        .unwrap();
    let mut group = criterion.benchmark_group("decision log, each of 10,000 entries");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(DECISIONS));
    group.bench_function("replay, the component compiled anew", |bencher| {
        bencher.iter(|| {
            let find = |_: &str| Some(component.clone());
            let replayed = replay(black_box(dir.path()), &find, &mut |_| {}).unwrap();
            assert_eq!(replayed.same, DECISIONS);
        });
    });
    let sides = Sides {
        old: &old,
        new: &new,
        of: None,
    };
    group.bench_function("diff", |bencher| {
        bencher.iter(|| diff(black_box(dir.path()), &sides, &mut |_| {}).unwrap());
    });
    group.finish();
}

criterion_group!(benches, decision_log);
criterion_main!(benches);
