//! A policy that begins to fail in service: the last good one returns, or the host decides; it is
//! tried again with backoff; and a restart knows of it. Real components, told by telemetry when to
//! begin.

use std::fs;
use std::path::PathBuf;

use dbmedic::gate::{GateSettings, ProbationSettings, ShadowSettings, Source};
use dbmedic::pipeline::{Carried, Event, Pipeline};
use dbmedic::policy::{Limits, Policy, Probation, Runtime, Standing};
use dbmedic::signing::{self, Verified};
use dbmedic_tests::{attacks, observed};

use crate::common::wait_for;
use crate::ward::{Ward, WardOptions};

/// Answers well at a tick, until the latest value of the series `boom` is above one half.
fn begins_to(misbehave: &str) -> Vec<u8> {
    attacks::built(&format!(
        r#"
        (import "dbmedic:policy/telemetry@0.2.0" "latest" (func $latest (param i32 i32 i32)))
        (data (i32.const 400) "boom")
        (func (export "@decide") (param i32) (result i32)
          ;; No repair.
          (i32.store8 (i32.const 3084) (i32.const 0))
          (call $latest (i32.const 400) (i32.const 4) (i32.const 4096))
          (if (f64.gt (f64.load (i32.const 4112)) (f64.const 0.5)) (then {misbehave}))
          (i32.const 3072))"#
    ))
}

const TRAP: &str = "unreachable";
const LOOP: &str = "(loop $forever (br $forever))";
/// A confidence that is no number.
const MALFORMED: &str = "(f64.store (i32.const 3104) (f64.const nan))";

fn options() -> WardOptions {
    let mut options = WardOptions {
        gate: GateSettings {
            allow_downgrade: false,
            shadow: ShadowSettings {
                decisions: 3,
                difference_percent: 100.0,
                ..ShadowSettings::default()
            },
            probation: ProbationSettings {
                decisions: 5,
                slow_ms: 10_000,
                ..ProbationSettings::default()
            },
        },
        deadline_ms: 200,
        ..WardOptions::default()
    };
    options.trust.require_signature = false;
    options
}

fn written(home: &tempfile::TempDir, bytes: &[u8]) -> (PathBuf, String) {
    let file = home.path().join("policy.wasm");
    fs::write(&file, bytes).unwrap();
    (file, signing::sha256(bytes))
}

#[test]
fn the_last_good_policy_returns_and_the_one_that_failed_is_tried_again() {
    for (misbehave, rule) in [
        (TRAP, "policy.trap"),
        (LOOP, "policy.deadline"),
        (MALFORMED, "policy.malformed-answer"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let ward = Ward::start(home.path(), options());
        let before = ward.present("default");
        let (file, digest) = written(&home, &begins_to(misbehave));
        ward.swap("default", &file).unwrap();
        ward.until_in_service("default", &digest);
        ward.until_at_rest("default");
        assert_eq!(ward.report("default").out_of_service, None);

        ward.observe("boom", 1.0);
        ward.until_in_service("default", &before);
        let out = ward.report("default").out_of_service.unwrap();
        assert_eq!(out.policy.identity.digest, digest);
        assert!(out.reason.contains("failed"), "{}", out.reason);
        assert!(
            ward.report("default").refused.is_empty(),
            "it had proved itself"
        );
        // Tried again, and out again for longer.
        let later = wait_for("a trial that fails", || {
            let again = ward.report("default").out_of_service?;
            (again.until_ms > out.until_ms).then_some(again)
        });
        assert!(
            later.reason.contains("when it was tried"),
            "{}",
            later.reason
        );
        // Tried again, and answers.
        ward.observe("boom", 0.0);
        wait_for("a trial that succeeds", || {
            let report = ward.report("default");
            let stays = report.out_of_service.is_none();
            (stays && report.present.identity.digest == digest).then_some(())
        });
        let statistics = ward.report("default").statistics.unwrap();
        // Three in a row, and one for each trial: it is not asked on and on.
        assert!(
            (4..40).contains(&statistics.failures[rule]),
            "{statistics:?}"
        );
        assert_eq!(statistics.failures.len(), 1, "{statistics:?}");
        assert_eq!(
            ward.report("default").last_good.unwrap().identity.digest,
            before
        );
        ward.stop();
    }
}

#[test]
fn without_a_last_good_policy_the_host_decides_and_a_restart_knows() {
    let home = tempfile::tempdir().unwrap();
    let (file, digest) = written(&home, &attacks::component("trap-decide"));
    let mut options = options();
    options.source = Source::File(file);
    let ward = Ward::start(home.path(), options.clone());
    let out = wait_for("the breaker to open", || {
        ward.report("default").out_of_service
    });
    assert_eq!(out.policy.identity.digest, digest);
    assert_eq!(ward.present("default"), digest, "there is no other");
    let until = ward.report("default").statistics.unwrap().decisions;
    ward.decide_some(20);
    let statistics = ward.report("default").statistics.unwrap();
    assert_eq!(statistics.decisions, until, "it is not asked");
    let answers = ward.stop();
    assert!(answers.iter().all(|answer| answer.failed), "none counts");

    let ward = Ward::start(home.path(), options);
    ward.decide_some(20);
    let report = ward.report("default");
    assert_eq!(report.out_of_service.unwrap(), out);
    assert_eq!(
        report.statistics.unwrap().decisions,
        0,
        "nor after a restart"
    );
    assert!(ward.stop().iter().all(|answer| answer.failed));
}

#[test]
fn what_made_way_is_tried_again_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let ward = Ward::start(home.path(), options());
    let before = ward.present("default");
    let (file, digest) = written(&home, &begins_to(TRAP));
    ward.swap("default", &file).unwrap();
    ward.until_in_service("default", &digest);
    ward.until_at_rest("default");
    ward.observe("boom", 1.0);
    ward.until_in_service("default", &before);
    ward.stop();
    // After the restart nobody knows of `boom`.
    let ward = Ward::start(home.path(), options());
    wait_for("a trial that succeeds", || {
        let report = ward.report("default");
        (report.out_of_service.is_none() && ward.present("default") == digest).then_some(())
    });
    ward.stop();
}

/// Answers well at a tick, and remembers so many bytes.
fn remembers(bytes: u32) -> Vec<u8> {
    attacks::built(&format!(
        r#"
        (func (export "@decide") (param i32) (result i32)
          ;; No repair.
          (i32.store8 (i32.const 3084) (i32.const 0))
          (i32.store (i32.const 3140) (i32.const 4096))
          (i32.store (i32.const 3144) (i32.const {bytes}))
          (i32.const 3072))"#
    ))
}

#[test]
fn the_last_good_policy_gets_its_own_memory_back() {
    let runtime = Runtime::new(Limits {
        deadline_ms: 5_000,
        start_deadline_ms: 30_000,
        ..Limits::default()
    })
    .unwrap();
    let policy = |bytes| {
        let component = Verified::unsigned(remembers(bytes));
        runtime.load(&component, &[]).unwrap()
    };
    let (good, bad) = (policy(3), policy(5));
    let swap = |pipeline: &mut Pipeline, to: &Policy, standing| {
        pipeline.stand_by("default", to.clone());
        let effects = pipeline.step(&Event::PolicySwapped {
            policy: "default".into(),
            at_ms: 10,
            to: to.identity(),
            why: "a test".into(),
            standing,
        });
        assert_eq!(effects.len(), 1, "{effects:?}");
    };
    let on_probation = Standing::OnProbation(Probation {
        decisions: 100,
        time_ms: 1_000_000,
        failures: 1,
    });
    let remembered = |pipeline: &Pipeline| {
        let carried = pipeline.carried();
        carried.targets["orders"].memories["default"].len()
    };
    for restarted in [false, true] {
        let options = observed("orders");
        let mut pipeline = Pipeline::new(options.clone(), good.clone(), Carried::default());
        pipeline.step(&Event::Tick { at_ms: 1 });
        assert_eq!(remembered(&pipeline), 3);
        swap(&mut pipeline, &bad, on_probation);
        pipeline.step(&Event::Tick { at_ms: 20 });
        assert_eq!(remembered(&pipeline), 5);
        if restarted {
            let carried = serde_json::to_string(&pipeline.carried()).unwrap();
            let carried = serde_json::from_str(&carried).unwrap();
            pipeline = Pipeline::new(options, bad.clone(), carried);
        }
        swap(&mut pipeline, &good, Standing::Proven);
        assert_eq!(remembered(&pipeline), 3);
        assert!(pipeline.carried().targets["orders"].left.is_empty());
    }
}
