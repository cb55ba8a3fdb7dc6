//! What keeps decisions, targets and policies apart; limits beside time and memory; what is
//! counted; when a policy is out of service; and failures of one machine replayed on another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dbmedic::model::{Context, Fact, Finding, PolicyEvent, Value};
use dbmedic::pipeline::{Carried, Decided, Effect, Event, Pipeline, PipelineOptions};
use dbmedic::policy::{
    Decision, Isolation, Limits, NoTelemetry, Policy, PolicyFailure, Question, Runtime,
    check_purity,
};
use dbmedic::recording::{RecordingReader, RecordingWriter};
use dbmedic::replay::replay;

use dbmedic::signing::Verified;
use dbmedic_tests::{attacks, context, finding, observed, recording_header};

use crate::common::{run, talk};
use crate::sandbox::{HOSTILE, misbehave};

const MINUTE: u64 = 60_000;

fn limits() -> Limits {
    Limits {
        deadline_ms: 500,
        start_deadline_ms: 5_000,
        ..Limits::default()
    }
}

/// The hostile component, well-behaved, its instances reused.
static REUSED: LazyLock<Policy> = LazyLock::new(|| {
    let isolation = Isolation::Reused {
        recycle_after: 1_000,
    };
    let limits = Limits {
        isolation,
        ..limits()
    };
    Runtime::new(limits)
        .unwrap()
        .load(&Verified::unsigned(HOSTILE), &[])
        .unwrap()
});

fn counter() -> Policy {
    REUSED.with_settings(&misbehave("counter")).unwrap()
}

fn decide_for(policy: &Policy, target: &str) -> Decision {
    let context = Context {
        target: target.into(),
        ..context(policy)
    };
    policy.decide(&finding(), &context, &mut NoTelemetry)
}

/// How many calls the instance had that decides now, this one included.
#[track_caller]
fn calls(policy: &Policy, target: &str) -> String {
    let decision = decide_for(policy, target);
    assert_eq!(decision.failure, None);
    decision.verdict.suggestions[0].clone()
}

#[test]
fn a_reused_instance_belongs_to_one_policy_and_one_target() {
    let policy = counter();
    assert_eq!(calls(&policy, "a"), "1");
    assert_eq!(calls(&policy, "a"), "2");
    assert_eq!(calls(&policy, "b"), "1", "another target");
    assert_eq!(calls(&counter(), "a"), "1", "another policy");
    assert_eq!(calls(&policy.clone(), "a"), "3", "a clone is the same");
    assert_eq!(calls(&policy, "b"), "2");
    policy.recycle("a");
    assert_eq!(calls(&policy, "a"), "1", "recycled");
    assert_eq!(calls(&policy, "b"), "3", "the other target's is left");
}

#[test]
fn a_reused_instance_is_replaced_after_so_many_decisions() {
    let policy = counter().with_isolation(Isolation::Reused { recycle_after: 3 });
    let seen: Vec<String> = (0..7).map(|_| calls(&policy, "a")).collect();
    assert_eq!(seen, ["1", "2", "3", "1", "2", "3", "1"]);
    let fresh = policy.with_isolation(Isolation::Fresh);
    assert_eq!(calls(&fresh, "a"), "1");
    assert_eq!(calls(&fresh, "a"), "1");
}

#[test]
fn a_reused_instance_is_replaced_after_any_failure() {
    let policy = counter();
    for how in ["panic", "nan", "refuse", "stack-overflow", "memory-bomb"] {
        assert_eq!(calls(&policy, "a"), "1", "before {how}");
        assert_eq!(calls(&policy, "a"), "2", "before {how}");
        // The settings travel in the context, so the very instance fails.
        let context = Context {
            target: "a".into(),
            settings: how.into(),
            ..context(&policy)
        };
        let decision = policy.decide(&finding(), &context, &mut NoTelemetry);
        assert!(decision.failure.is_some(), "{how}");
    }
    assert_eq!(calls(&policy, "a"), "1");
}

#[test]
fn memory_that_an_earlier_decision_was_denied_is_not_why_a_later_one_ends() {
    let policy = counter();
    let asked = |how: &str| {
        let context = Context {
            target: "denied".into(),
            settings: how.into(),
            ..context(&policy)
        };
        policy.decide(&finding(), &context, &mut NoTelemetry)
    };
    assert_eq!(asked("memory-bomb-survived").failure, None);
    let failure = asked("panic").failure;
    assert!(
        matches!(failure, Some(PolicyFailure::Trap { .. })),
        "{failure:?}"
    );
}

#[test]
fn a_function_with_a_long_name_is_told_in_a_line() {
    let name = "x".repeat(100_000);
    let text = format!(r#"(func ${name} (export "@decide") (param i32) (result i32) unreachable)"#);
    let component = Verified::unsigned(dbmedic_tests::attacks::built(&text));
    let policy = Runtime::new(limits())
        .unwrap()
        .load(&component, &[])
        .unwrap();
    match decide_for(&policy, "a").failure {
        Some(PolicyFailure::Trap { backtrace, .. }) => {
            assert!(backtrace[0].starts_with("xxx"), "{backtrace:?}");
            assert!(
                backtrace.iter().all(|frame| frame.len() < 300),
                "{backtrace:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn instances_that_wait_give_way_to_decisions() {
    let isolation = Isolation::Reused {
        recycle_after: 1_000,
    };
    let runtime = Runtime::new(Limits {
        max_instances: 2,
        isolation,
        ..limits()
    })
    .unwrap();
    let policy = runtime
        .load(&Verified::unsigned(HOSTILE), &misbehave("counter"))
        .unwrap();
    for target in ["a", "b", "c", "d"] {
        assert_eq!(calls(&policy, target), "1");
    }
    let fresh = policy.with_isolation(Isolation::Fresh);
    assert_eq!(calls(&fresh, "a"), "1", "all slots were waiting");
    // Dropped policies leave no slot occupied.
    for _ in 0..5 {
        let other = runtime
            .load(&Verified::unsigned(HOSTILE), &misbehave("counter"))
            .unwrap();
        assert_eq!(calls(&other, "a"), "1");
    }
}

#[test]
fn fuel_ends_a_decision_at_the_same_place_each_time() {
    let runtime = Runtime::new(Limits {
        deadline_ms: 10_000,
        fuel: Some(1_000_000),
        ..limits()
    })
    .unwrap();
    let good = runtime.load(&Verified::unsigned(HOSTILE), &[]).unwrap();
    let first = decide_for(&good, "a");
    assert_eq!(first.failure, None);
    let fuel = first.fuel.unwrap();
    assert!((100..100_000).contains(&fuel), "{fuel}");
    assert_eq!(decide_for(&good, "a").fuel, Some(fuel));

    let endless = good.with_settings(&misbehave("endless-loop")).unwrap();
    let limit = 1_000_000;
    for _ in 0..2 {
        let decision = decide_for(&endless, "a");
        assert_eq!(decision.failure, Some(PolicyFailure::Fuel { limit }));
        assert_eq!(decision.verdict.reasons[0].rule, "policy.fuel");
    }
    assert_eq!(decide_for(&REUSED, "a").fuel, None, "not counted unasked");
}

#[test]
fn decisions_and_failures_are_counted_for_each_policy() {
    let policy = counter();
    for _ in 0..10 {
        calls(&policy, "a");
    }
    let panics = Context {
        settings: b"panic".to_vec(),
        ..context(&policy)
    };
    policy.decide(&finding(), &panics, &mut NoTelemetry);
    let status = policy.status();
    assert_eq!((status.name.as_str(), status.decisions), ("hostile", 11));
    assert_eq!(
        status.failures,
        BTreeMap::from([("policy.trap".to_owned(), 1)])
    );
    assert!(status.decide_p50_us > 0.0 && status.decide_p50_us <= status.decide_p99_us);
    assert!(status.memory_max_bytes >= 1 << 16, "{status:?}");
    assert_eq!(counter().status().decisions, 0, "another policy");
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["failures"]["policy.trap"], 1);
}

fn options() -> PipelineOptions {
    PipelineOptions {
        decide_interval_ms: 5_000,
        ..observed("orders")
    }
}

/// What the policy was told to be at fault for at a tick; none when it answered.
fn failure_at(pipeline: &mut Pipeline, at_ms: u64) -> Option<PolicyFailure> {
    pipeline
        .step(&Event::Tick { at_ms })
        .into_iter()
        .find_map(|effect| match effect {
            Effect::Decided(Decided { failure, .. }) => failure,
            _ => None,
        })
}

#[test]
fn a_policy_that_keeps_failing_is_out_of_service_and_tried_again() {
    let policy = REUSED.with_settings(&misbehave("panic")).unwrap();
    let mut pipeline = Pipeline::new(options(), policy.clone(), Carried::default());
    for at_ms in 1..=3 {
        let failure = failure_at(&mut pipeline, at_ms);
        assert!(matches!(failure, Some(PolicyFailure::Trap { .. })));
    }
    let until_ms = 3 + MINUTE;
    for at_ms in [4, until_ms - 1] {
        let failure = failure_at(&mut pipeline, at_ms);
        assert_eq!(failure, Some(PolicyFailure::OutOfService { until_ms }));
    }
    assert_eq!(policy.status().decisions, 3, "it was not asked meanwhile");
    let tried = failure_at(&mut pipeline, until_ms);
    assert!(matches!(tried, Some(PolicyFailure::Trap { .. })));
    let until_ms = until_ms + 2 * MINUTE;
    let failure = failure_at(&mut pipeline, until_ms - 1);
    assert_eq!(failure, Some(PolicyFailure::OutOfService { until_ms }));
}

#[test]
fn being_cut_off_by_the_clock_is_taken_over_at_replay() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("cut-off.jsonl");
    let policy = REUSED.with_settings(&misbehave("endless-loop")).unwrap();
    let header = recording_header(&policy, misbehave("endless-loop"), limits(), options());
    let mut pipeline = Pipeline::new(options(), policy, Carried::default());
    let mut recording = RecordingWriter::create(&path, &header).unwrap();
    for at_ms in [1, 2, 3, 4, 4 + MINUTE] {
        let event = Event::Tick { at_ms };
        recording.write(&event, &pipeline.step(&event)).unwrap();
    }

    // The very component, told to behave: nothing here is slow, and yet all is as it was.
    let quick = REUSED.with_settings(&misbehave("nothing")).unwrap();
    let reader = RecordingReader::open(&path).unwrap();
    let summary = replay(
        reader,
        quick.clone(),
        |_, _| Ok(None),
        |_, _| anyhow::Ok(()),
    )
    .unwrap();
    assert_eq!(summary.events, 5);
    assert_eq!(summary.first_difference, None);
    assert_eq!(quick.status().decisions, 0);
}

#[test]
fn what_was_in_time_when_recorded_is_not_cut_off_at_replay() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("slow.jsonl");
    let file = scratch.path().join("slow.wasm");
    // Some milliseconds of work.
    let bytes = attacks::built(
        r#"
        (func (export "@decide") (param i32) (result i32)
          (local $done i32)
          (i32.store8 (i32.const 3084) (i32.const 0))
          (loop $more
            (local.set $done (i32.add (local.get $done) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $done) (i32.const 20000000))))
          (i32.const 3072))"#,
    );
    std::fs::write(&file, &bytes).unwrap();
    let limits = Limits {
        deadline_ms: 60_000,
        ..limits()
    };
    let runtime = Runtime::new(limits.clone()).unwrap();
    let policy = runtime.load(&Verified::unsigned(bytes), &[]).unwrap();
    // As on a machine that was fast enough for a deadline of one.
    let header = recording_header(
        &policy,
        Vec::new(),
        Limits {
            deadline_ms: 1,
            ..limits
        },
        options(),
    );
    let mut pipeline = Pipeline::new(options(), policy, Carried::default());
    let mut recording = RecordingWriter::create(&path, &header).unwrap();
    let event = Event::Tick { at_ms: 1 };
    let effects = pipeline.step(&event);
    assert!(matches!(
        &effects[..],
        [Effect::Decided(Decided { failure: None, .. }), ..]
    ));
    recording.write(&event, &effects).unwrap();

    let [path, file] = [&path, &file].map(|path| path.to_str().unwrap());
    let replayed = run(&["replay", path, "--policy", file]);
    assert_eq!(replayed.status.code(), Some(0), "{}", talk(&replayed));
}

/// Questions of several kinds, each with the memory that the one before would leave.
fn questions(policy: &Policy) -> Vec<Question<NoTelemetry>> {
    let PolicyEvent::Finding(plain) = finding() else {
        unreachable!("it is one");
    };
    let kinds = [
        "lock.stale-holder",
        "wal.corrupt-frame",
        "index.corrupt",
        "constraint.violated",
        "nobody.knows",
    ];
    let mut events = vec![PolicyEvent::Tick];
    for (seen, kind) in (1..).zip(kinds) {
        let finding = Finding {
            kind: kind.into(),
            severity: f64::from(seen) / 5.0,
            sightings: seen,
            facts: vec![Fact {
                name: "age_ms".into(),
                value: Value::Integer(i64::from(seen) * 100_000),
            }],
            ..plain.clone()
        };
        events.push(PolicyEvent::Finding(finding));
    }
    let mut context = context(policy);
    let mut questions = Vec::new();
    for event in events {
        context.memory = policy
            .decide(&event, &context, &mut NoTelemetry)
            .verdict
            .memory;
        questions.push(Question {
            event,
            context: context.clone(),
            telemetry: NoTelemetry,
        });
    }
    questions
}

#[test]
fn every_committed_policy_gives_the_same_bytes_each_time_fresh_and_reused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let prebuilt = std::fs::read_dir(root.join("../policies/prebuilt")).unwrap();
    let mut components: Vec<PathBuf> = prebuilt
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "wasm"))
        .collect();
    assert!(!components.is_empty());
    components.push(root.join("guests/typical/typical.wasm"));
    let runtime = Runtime::new(limits()).unwrap();
    for path in components {
        let component = Verified::unsigned(std::fs::read(&path).unwrap());
        let bytes_of_a_run = || {
            let policy = runtime.load(&component, &[]).unwrap();
            let mut questions = questions(&policy);
            assert_eq!(check_purity(&policy, &mut questions), [], "{path:?}");
            let decide = |isolation| {
                let policy = policy.with_isolation(isolation);
                let decisions: Vec<Decision> = questions
                    .iter()
                    .map(|q| policy.decide(&q.event, &q.context, &mut NoTelemetry))
                    .collect();
                assert!(decisions.iter().all(|d| d.failure.is_none()), "{path:?}");
                serde_json::to_vec(&decisions).unwrap()
            };
            let fresh = decide(Isolation::Fresh);
            let recycle_after = 1_000;
            assert_eq!(
                decide(Isolation::Reused { recycle_after }),
                fresh,
                "{path:?}"
            );
            fresh
        };
        assert_eq!(bytes_of_a_run(), bytes_of_a_run(), "{path:?}");
    }
}
