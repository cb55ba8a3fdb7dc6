//! Test cases of policies, run by the real binary against real components.

use std::path::Path;
use std::time::Duration;

use dbmedic::pipeline::{Carried, Event, Pipeline, PipelineOptions};
use dbmedic::policy::{Limits, Policy, Runtime};
use dbmedic::policy_tests::{self, CaseFile};
use dbmedic::recording::RecordingWriter;
use dbmedic::signing::Verified;
use dbmedic::source::{Observation, State};
use dbmedic_tests::{observed, recording_header};

use crate::common::{data, run, talk};

const DEFAULT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../policies/prebuilt/default.wasm"
);

fn test(more: &[&str]) -> std::process::Output {
    run(&[&["policy", "test", DEFAULT], more].concat())
}

fn case_in(dir: &Path, text: &str) -> String {
    let path = dir.join("cases.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_default_policy_passes_its_own_cases() {
    let result = test(&[]);
    assert_eq!(
        result.status.code(),
        Some(0),
        "{}{}",
        data(&result),
        talk(&result)
    );
    assert!(talk(&result).contains(" 0 failed"), "{}", talk(&result));
    let json = test(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(&data(&json)).unwrap();
    assert!(report["passed"].as_u64().unwrap() >= 30, "{report}");
}

#[test]
fn what_is_not_as_expected_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = case_in(
        dir.path(),
        "version = 1\n[[cases]]\nname = \"too bold\"\n[[cases.events]]\n\
         finding = { kind = \"table.corrupt\", candidates = [\"table.drop\"] }\n\
         expect = { classification = \"hiccup\", repair = \"table.drop\" }\n\
         [[cases]]\nname = \"never a halt\"\nnever = { halt = true }\n[[cases.events]]\n\
         finding = { kind = \"table.corrupt\" }\n",
    );
    let result = test(&[&path]);
    assert_eq!(result.status.code(), Some(1), "{}", talk(&result));
    let told = data(&result);
    assert!(
        told.contains(
            "event 1 (finding table.corrupt): expected classification hiccup, got crisis; \
             expected repair table.drop, got none"
        ),
        "{told}"
    );
    assert!(told.contains("must never happen: a halt"), "{told}");
}

#[test]
fn mistakes_in_cases_are_told_by_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = case_in(
        dir.path(),
        "version = 1\n[[cases]]\nname = \"a\"\n[[cases.events]]\ntik = true\n",
    );
    let result = test(&[&path]);
    assert_eq!(result.status.code(), Some(2));
    assert!(
        talk(&result).contains(&format!("{path}:5:1: unknown option `tik`")),
        "{}",
        talk(&result)
    );
    let empty = test(&[dir.path().join("nowhere").to_str().unwrap()]);
    assert_eq!(empty.status.code(), Some(2));
    assert!(talk(&empty).contains("nowhere"), "{}", talk(&empty));
}

/// Two cases of three ticks each.
fn six_ticks() -> Vec<CaseFile> {
    let ticks = "[[cases.events]]\ntick = true\n".repeat(3);
    let case =
        |name: &str| format!("[[cases]]\nname = \"{name}\"\nnever = {{ halt = true }}\n{ticks}");
    let text = format!("version = 1\n{}{}", case("one"), case("two"));
    vec![policy_tests::parse(&text, "cases.toml", None).unwrap()]
}

fn load(component: &[u8]) -> Policy {
    let runtime = Runtime::new(Limits::default()).unwrap();
    runtime.load(&Verified::unsigned(component), &[]).unwrap()
}

#[test]
fn a_case_ends_when_the_policy_fails() {
    let policy = load(&dbmedic_tests::attacks::component("trap-decide"));
    let report = policy_tests::run(&policy, &six_ticks(), None);
    let decisions: Vec<u64> = report.cases.iter().map(|case| case.decisions).collect();
    assert_eq!(decisions, [1, 1], "{report:?}");
    assert_eq!((report.passed, report.failed), (0, 2));
    assert_eq!(report.cases[0].failures.len(), 1, "{report:?}");
}

#[test]
fn all_cases_together_have_their_time() {
    let policy = load(&std::fs::read(DEFAULT).unwrap());
    let report = policy_tests::run(&policy, &six_ticks(), Some(Duration::ZERO));
    assert_eq!(
        (report.passed, report.failed),
        (0, 1),
        "the rest is not run"
    );
    let why = report.failure().unwrap();
    assert!(
        why.contains("all test cases together may take 0 s"),
        "{why}"
    );
    let report = policy_tests::run(&policy, &six_ticks(), None);
    assert_eq!((report.passed, report.failed), (2, 0), "{report:?}");
}

fn check(arguments: &[&str]) -> std::process::Output {
    run(&[&["policy", "check"], arguments].concat())
}

fn component_in(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_pure_policy_passes_the_check() {
    let result = check(&[DEFAULT]);
    assert_eq!(result.status.code(), Some(0), "{}", data(&result));
    let told = data(&result);
    for step in [
        "signature",
        "contract",
        "compile",
        "parameters",
        "tests",
        "purity",
    ] {
        assert!(told.contains(&format!("ok     {step}")), "{step}: {told}");
    }
    assert!(told.contains("NOT SIGNED"), "{told}");
    let json = check(&[DEFAULT, "--json", "--set", "stale_lock_age_ms=5000"]);
    let report: serde_json::Value = serde_json::from_str(&data(&json)).unwrap();
    assert_eq!(report["passed"], true, "{report}");
    assert!(report["cases"].as_u64().unwrap() >= 30, "{report}");
    assert!(
        report["purity"]["events"].as_u64().unwrap() >= 60,
        "{report}"
    );
}

#[test]
fn a_policy_that_remembers_outside_of_its_memory_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let counter = component_in(
        dir.path(),
        "counter.wasm",
        &dbmedic_tests::attacks::component("state-counter"),
    );
    let hostile = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/hostile/hostile.wasm");
    for (arguments, place, first) in [
        (
            &[counter.as_str()][..],
            "/verdict/memory/0 is 1 in a new instance, and 2",
            "after 1 other event",
        ),
        (
            &[hostile, "--set", "misbehave=counter"],
            "/verdict/suggestions/0 is \"1\" in a new instance, and \"2\"",
            "after 1 other event",
        ),
    ] {
        let result = check(arguments);
        assert_eq!(result.status.code(), Some(1), "{}", talk(&result));
        let told = data(&result);
        assert!(told.contains("FAILED purity"), "{told}");
        assert!(told.contains("       typical events, "), "{told}");
        assert!(told.contains(place) && told.contains(first), "{told}");
        assert!(talk(&result).contains("must not come into service"));
    }
    let tame = check(&[hostile]);
    assert_eq!(tame.status.code(), Some(0), "{}", data(&tame));
    // An event of its own cases is named as they name it.
    std::fs::create_dir(dir.path().join("counter.tests")).unwrap();
    let cases = "version = 1\n[[cases]]\nname = \"twice\"\n\
                 never = { halt = true }\n\
                 [[cases.events]]\nfinding = { kind = \"x\", candidates = [\"lock.end-holder\"] }\n\
                 [[cases.events]]\nfinding = { kind = \"x\", candidates = [\"lock.end-holder\"] }\n";
    std::fs::write(dir.path().join("counter.tests/own.toml"), cases).unwrap();
    let json = check(&[&counter, "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(&data(&json)).unwrap();
    let first = &report["purity"]["impure"][0];
    assert!(
        first["event"]
            .as_str()
            .unwrap()
            .ends_with("own.toml: twice: event 1 (finding x)"),
        "{report}"
    );
    assert_eq!(first["fresh"], 1, "{report}");
}

#[test]
fn what_is_no_policy_is_told_in_one_line_with_its_step() {
    let dir = tempfile::tempdir().unwrap();
    let attack = |name: &str| {
        let bytes = dbmedic_tests::attacks::component(name);
        component_in(dir.path(), &format!("{name}.wasm"), &bytes)
    };
    let whole = std::fs::read(DEFAULT).unwrap();
    let half = component_in(dir.path(), "half.wasm", &whole[..whole.len() / 2]);
    for (file, expected) in [
        (half, "FAILED compile"),
        (attack("world-other-version"), "FAILED contract"),
        (attack("import-filesystem"), "wasi:filesystem"),
        (attack("trap-configure"), "FAILED parameters"),
    ] {
        let result = check(&[&file]);
        assert_eq!(result.status.code(), Some(1), "{}", talk(&result));
        let told = data(&result);
        let failed: Vec<&str> = told.lines().filter(|l| !l.starts_with("ok ")).collect();
        assert_eq!(failed.len(), 1, "{told}");
        assert!(failed[0].contains(expected), "{told}");
    }
    // What fails at every event is told, in reasonable time, even where each takes all of its time.
    for (name, expected) in [
        ("loop-decide", "would in the shadow: policy.deadline 3"),
        ("trap-decide", "would in the shadow: policy.trap"),
    ] {
        let result = check(&[&attack(name)]);
        let told = data(&result);
        assert!(told.contains(expected), "{told}");
        assert_eq!(result.status.code(), Some(1), "{told}");
        assert!(talk(&result).contains("must not come into service"));
    }
    let unknown = check(&[DEFAULT, "--set", "stale_lock=1"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(data(&unknown).contains("stale_lock"), "{}", data(&unknown));
    let gone = check(&["nowhere.wasm"]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(talk(&gone).contains("nowhere.wasm"), "{}", talk(&gone));
}

#[test]
fn the_check_asks_for_signature_limits_and_parameters_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = run(&["policy", "keygen", &path("key"), "--no-password"]);
    let config = format!(
        "version = 1\n[policy]\n{}[policy.parameters]\nstale_lock_age_ms = 5_000\n\
         [[policies]]\nname = \"small\"\n[policies.limits]\ntable_elements = 1\n",
        data(&made)
    );
    std::fs::write(path("dbmedic.toml"), config).unwrap();
    let file = component_in(dir.path(), "p.wasm", &std::fs::read(DEFAULT).unwrap());
    let of_config = |more: &[&str]| check(&[&[&file, "-c", &path("dbmedic.toml")], more].concat());
    let unsigned = of_config(&[]);
    assert!(
        data(&unsigned).contains("it has no signature"),
        "{}",
        data(&unsigned)
    );
    let signed = run(&["policy", "sign", &file, "-k", &path("key")]);
    assert!(signed.status.success(), "{}", talk(&signed));
    let good = of_config(&[]);
    assert_eq!(good.status.code(), Some(0), "{}", data(&good));
    let by_key = check(&[&file, "-k", &path("key.pub")]);
    assert!(data(&by_key).contains("by "), "{}", data(&by_key));
    // Its table of functions is longer than that.
    let small = of_config(&["--name", "small"]);
    assert_eq!(small.status.code(), Some(1), "{}", data(&small));
    assert!(data(&small).contains("table"), "{}", data(&small));
    let other = of_config(&["--name", "other"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(
        talk(&other).contains("no policy is called `other`"),
        "{}",
        talk(&other)
    );
}

/// A recording of a database that is out of reach, judged by the default policy.
pub(crate) fn record(path: &Path) {
    let options = PipelineOptions {
        baseline_window: 100,
        ..observed("orders")
    };
    let component = Verified::built_in(dbmedic::assemble::DEFAULT_POLICY);
    let limits = Limits {
        deadline_ms: 2_000,
        start_deadline_ms: 10_000,
        ..Limits::default()
    };
    let runtime = Runtime::new(limits.clone()).unwrap();
    let policy = runtime.load(&component, &[]).unwrap();
    let header = recording_header(&policy, Vec::new(), limits, options.clone());
    let mut pipeline = Pipeline::new(options, policy, Carried::default());
    let mut recording = RecordingWriter::create(path, &header).unwrap();
    for look in 1..=10 {
        let event = Event::Observed(Observation {
            target: "orders".into(),
            at_ms: look * 1_000,
            samples: Vec::new(),
            snapshot_at_ms: None,
            state: State::Unreachable {
                reason: "the disk does not answer".into(),
            },
        });
        recording.write(&event, &pipeline.step(&event)).unwrap();
    }
}

#[test]
fn a_case_may_be_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    record(&dir.path().join("shop.jsonl"));
    let case = |rest: &str| {
        let text = format!(
            "version = 1\n[[cases]]\nname = \"out of reach\"\nrecording = \"shop.jsonl\"\n{rest}\n"
        );
        case_in(dir.path(), &text)
    };
    let good = test(&[&case("never = { halt = true, repair = [\"*\"] }"), "--json"]);
    assert_eq!(good.status.code(), Some(0), "{}", talk(&good));
    let report: serde_json::Value = serde_json::from_str(&data(&good)).unwrap();
    assert!(
        report["cases"][0]["decisions"].as_u64().unwrap() >= 8,
        "{report}"
    );
    let bad = test(&[&case(
        "never = { level = [\"normal\", \"watch\", \"warn\", \"escalate\"] }",
    )]);
    assert_eq!(bad.status.code(), Some(1), "{}", talk(&bad));
    assert!(
        data(&bad).contains("event 1 of the recording (finding target.unreachable): must never"),
        "{}",
        data(&bad)
    );
    let unmet = test(&[&case(
        "expect = { classification = \"hiccup\", repair = \"x\" }",
    )]);
    assert_eq!(unmet.status.code(), Some(1), "{}", talk(&unmet));
    assert!(
        data(&unmet).contains("answers was as the case expects"),
        "{}",
        data(&unmet)
    );

    // Beside a component it counts at the gate, and its events are asked for purity.
    let component = component_in(dir.path(), "p.wasm", &std::fs::read(DEFAULT).unwrap());
    let folder = dir.path().join("p.tests");
    std::fs::create_dir(&folder).unwrap();
    std::fs::rename(dir.path().join("shop.jsonl"), folder.join("shop.jsonl")).unwrap();
    std::fs::rename(dir.path().join("cases.toml"), folder.join("cases.toml")).unwrap();
    let refused = check(&[&component]);
    assert!(
        data(&refused).contains("FAILED tests       out of reach: "),
        "{}",
        data(&refused)
    );
    let tick = "version = 1\n[[cases]]\nname = \"a\"\nnever = { halt = true }\n[[cases.events]]\ntick = true\n";
    std::fs::write(folder.join("cases.toml"), tick).unwrap();
    let without = check(&[&component, "--json"]);
    let case = "version = 1\n[[cases]]\nname = \"a\"\nrecording = \"shop.jsonl\"\n\
                never = { halt = true }\n";
    std::fs::write(folder.join("cases.toml"), case).unwrap();
    let with = check(&[&component, "--json"]);
    let events = |output: &std::process::Output| {
        let report: serde_json::Value = serde_json::from_str(&data(output)).unwrap();
        assert_eq!(report["passed"], true, "{report}");
        (
            report["cases"].as_u64().unwrap(),
            report["purity"]["events"].as_u64().unwrap(),
        )
    };
    let (cases, asked) = events(&with);
    assert_eq!(cases, 1);
    let (_, of_one_tick) = events(&without);
    assert!(asked >= of_one_tick - 1 + 8, "{asked}");
}
