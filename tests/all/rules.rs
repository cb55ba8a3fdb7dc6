//! The policy whose rules stand in its parameters: its component, its rules, its configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dbmedic::assemble::{DEFAULT_POLICY, RULES_POLICY};
use dbmedic::model::{Setting, Value, Verdict};
use dbmedic::pipeline::{Effect, Policies};
use dbmedic::policy::{Limits, Policy, Runtime};
use dbmedic::policy_tests::{self, Case};
use dbmedic::recording::{RecordingError, RecordingReader};
use dbmedic::replay::replay;
use dbmedic::signing::Verified;

use crate::common::{data, run, talk};

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

fn text_of(path: &str) -> String {
    fs::read_to_string(policies().join(path)).unwrap()
}

fn patient() -> Runtime {
    let limits = Limits {
        deadline_ms: 5_000,
        start_deadline_ms: 60_000,
        ..Limits::default()
    };
    Runtime::new(limits).unwrap()
}

fn load(component: &'static [u8], settings: &[Setting]) -> Policy {
    let component = Verified::built_in(component);
    patient().load(&component, settings).unwrap()
}

fn rules(text: String) -> Setting {
    Setting {
        name: "rules".into(),
        value: Value::Text(text),
    }
}

/// The default rules with the numbers of a default policy that was given these parameters.
fn default_rules_with(parameters: &[Setting]) -> String {
    let text = text_of("rules/default.rules.toml");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for parameter in parameters {
        let begin = format!("{} = ", parameter.name);
        let line = lines.iter_mut().find(|line| line.starts_with(&begin));
        let line = line.unwrap_or_else(|| panic!("the rules have no {begin}"));
        // A number with a fraction stays one.
        let is_fraction = line[begin.len()..].contains('.');
        *line = match &parameter.value {
            Value::Integer(value) if is_fraction => format!("{begin}{value}.0"),
            Value::Integer(value) => format!("{begin}{value}"),
            Value::Number(value) => format!("{begin}{value:?}"),
            Value::Boolean(value) => format!("{begin}{value}"),
            other => panic!("{other:?} is no parameter of the default policy"),
        };
    }
    lines.join("\n")
}

fn with_default_rules(case: &mut Case) {
    if !case.parameters.is_empty() {
        case.parameters = vec![rules(default_rules_with(&case.parameters))];
    }
}

/// Every expectation of every case: classes, levels, repairs, reasons with their texts, alerts,
/// suggestions.
#[test]
fn the_default_rules_pass_every_case_of_the_default_policy() {
    let mut files = policy_tests::from_paths(&[policies().join("default/cases")]).unwrap();
    let cases = files.iter_mut().flat_map(|file| &mut file.cases);
    cases.for_each(with_default_rules);
    let report = policy_tests::run(&load(RULES_POLICY, &[]), &files, None);
    let failures: Vec<_> = report
        .cases
        .iter()
        .filter(|case| !case.failures.is_empty())
        .map(|case| format!("{}:{}: {:?}", case.file, case.line, case.failures))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(report.passed >= 200, "{} cases", report.passed);
}

/// Class, level, repair and halt of each decision, with where it was made.
fn judged(recording: &Path, policy: Policy) -> Vec<(u64, Verdict)> {
    let reader = RecordingReader::open(recording).unwrap();
    let mut all = Vec::new();
    replay::<RecordingError>(
        reader,
        Policies::from(policy),
        |_, _| Ok(None),
        |event, effects| {
            for effect in effects {
                if let Effect::Decided(decided) = effect {
                    let mut verdict = decided.verdict.clone();
                    verdict.memory = Vec::new();
                    all.push((event.at_ms(), verdict));
                }
            }
            Ok(())
        },
    )
    .unwrap();
    all
}

#[test]
fn the_default_rules_judge_a_recording_as_the_default_policy_does() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("demo.jsonl");
    let to = recording.to_str().unwrap();
    let demo = run(&["demo", "--seed", "7", "--rows", "2000", "--record", to]);
    assert_eq!(demo.status.code(), Some(0), "{}", talk(&demo));
    let reader = RecordingReader::open(&recording).unwrap();
    let recorded = reader.header().settings.clone();
    for settings in [recorded, Vec::new()] {
        let expected = judged(&recording, load(DEFAULT_POLICY, &settings));
        let ours = load(RULES_POLICY, &[rules(default_rules_with(&settings))]);
        let verdicts = judged(&recording, ours);
        assert!(expected.len() > 10, "{} decisions", expected.len());
        assert_eq!(verdicts.len(), expected.len());
        for (ours, expected) in verdicts.iter().zip(&expected) {
            let said = |(at_ms, verdict): &(u64, Verdict)| {
                let Verdict {
                    classification,
                    level,
                    repair,
                    halt,
                    ..
                } = verdict;
                (*at_ms, *classification, *level, repair.clone(), *halt)
            };
            assert_eq!(said(ours), said(expected), "{ours:#?}\n{expected:#?}");
        }
    }
}

#[test]
fn the_component_passes_its_cases_and_the_check() {
    let component = policies().join("prebuilt/rules.wasm");
    let component = component.to_str().unwrap();
    let tested = run(&["policy", "test", component]);
    assert_eq!(tested.status.code(), Some(0), "{}", data(&tested));
    let example = policies().join("rules/examples/orders.rules.toml");
    let set = format!("rules=@{}", example.display());
    for more in [&[][..], &["--set", &set]] {
        let arguments = ["policy", "check", component, "--unsigned"];
        let checked = run(&[&arguments[..], more].concat());
        assert_eq!(checked.status.code(), Some(0), "{}", data(&checked));
    }
}

#[test]
fn mistakes_in_a_file_of_rules_are_told_by_rule_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.rules.toml");
    fs::write(
        &path,
        "version = 1\n[[rules]]\nname = \"lock.young\"\nwhen = 'facts.agems < 5'\nclas = \"hiccup\"\n",
    )
    .unwrap();
    let set = format!("rules=@{}", path.display());
    let arguments = ["policy", "check", "built-in:rules", "--unsigned", "--set"];
    let checked = run(&[&arguments[..], &[&set]].concat());
    assert_eq!(checked.status.code(), Some(1), "{}", talk(&checked));
    let told = data(&checked);
    for expected in [
        "line 4, column 15: rule `lock.young`: no problem has a fact `agems`; did you mean `age_ms`?",
        "line 5, column 1: rule `lock.young`: there is no `clas` here; did you mean `class`?",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let missing = run(&[&arguments[..], &["rules=@nowhere.toml"]].concat());
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        talk(&missing).contains("reading nowhere.toml"),
        "{}",
        talk(&missing)
    );
}

/// A configuration with `policy` in it, for a database that is sound.
fn configured(dir: &Path, policy: &str) -> std::process::Output {
    let database = dir.join("orders.db");
    if !database.exists() {
        let connection = crate::common::shop(&database);
        drop(connection);
    }
    let config = dir.join("dbmedic.toml");
    fs::write(
        &config,
        format!(
            "version = 1\nstate_dir = \"state\"\n{policy}\n[[targets]]\nname = \"orders\"\nsqlite = \"orders.db\"\n"
        ),
    )
    .unwrap();
    run(&[
        "policy",
        "check",
        "built-in:rules",
        "--config",
        config.to_str().unwrap(),
        "--unsigned",
    ])
}

#[test]
fn a_configuration_names_the_rules_in_a_file_or_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let example = text_of("rules/examples/orders.rules.toml");
    fs::write(dir.path().join("orders.rules.toml"), example).unwrap();
    let section = "[policy]\nbuilt_in = \"rules\"\n[policy.parameters]\n";
    let file = format!("{section}rules = {{ file = \"orders.rules.toml\" }}");
    let checked = configured(dir.path(), &file);
    assert_eq!(
        checked.status.code(),
        Some(0),
        "{}{}",
        data(&checked),
        talk(&checked)
    );
    let text = "version = 1\n[[rules]]\nname = \"a.b\"\nclas = \"wall\"\n";
    let checked = configured(dir.path(), &format!("{section}rules = '''\n{text}'''"));
    assert_eq!(checked.status.code(), Some(1), "{}", talk(&checked));
    assert!(
        data(&checked).contains("line 4, column 1: rule `a.b`: there is no `clas` here"),
        "{}",
        data(&checked)
    );
    let checked = configured(
        dir.path(),
        &format!("{section}rules = {{ file = \"gone.toml\" }}"),
    );
    assert_eq!(checked.status.code(), Some(2));
    assert!(talk(&checked).contains("gone.toml"), "{}", talk(&checked));
    let both =
        "[policy]\nbuilt_in = \"rules\"\nfile = \"orders.rules.toml\"\nrequire_signature = false\n";
    let checked = configured(dir.path(), both);
    assert_eq!(checked.status.code(), Some(2));
    assert!(
        talk(&checked).contains("the policy comes from somewhere else"),
        "{}",
        talk(&checked)
    );
}

#[test]
fn a_project_of_rules_passes_its_cases() {
    let template = policies().join("../sdk/rules/template");
    let component = policies().join("prebuilt/rules.wasm");
    let cases = template.join("my-policy.tests");
    let tested = run(&[
        "policy",
        "test",
        component.to_str().unwrap(),
        cases.to_str().unwrap(),
    ]);
    assert_eq!(tested.status.code(), Some(0), "{}", data(&tested));
    assert!(talk(&tested).contains("3 passed"), "{}", talk(&tested));
}

/// The specification: a fresh decision by thirty rules takes at most 500 µs. Of many decisions the quickest
/// tenth counts, since other tests run beside this one.
#[test]
fn a_fresh_decision_by_thirty_rules_is_quick() {
    let thirty = include_str!("../bench/benches/decide/thirty.rules.toml");
    for (name, settings) in [
        ("thirty", vec![rules(thirty.to_owned())]),
        ("specification", Vec::new()),
    ] {
        let policy = load(RULES_POLICY, &settings);
        let mut asked = policy_tests::typical(&policy).unwrap();
        let mut took = Vec::new();
        for _ in 0..20 {
            for asked in &mut asked {
                let question = &mut asked.question;
                let began = Instant::now();
                let decision =
                    policy.decide(&question.event, &question.context, &mut question.telemetry);
                took.push(began.elapsed().as_micros());
                assert_eq!(decision.failure, None, "{name}, {}", asked.place);
            }
        }
        took.sort_unstable();
        let (tenth, median) = (took[took.len() / 10], took[took.len() / 2]);
        println!(
            "{name}: {tenth} us the quickest tenth, {median} us the median of {}",
            took.len()
        );
        assert!(tenth <= 500, "{name}: {tenth} us, median {median} us");
    }
}

#[test]
fn the_coverage_is_that_of_the_rules_which_the_cases_name() {
    let cases = policies().join("rules/cases/orders.toml");
    let cases = cases.to_str().unwrap();
    let done = run(&[
        "policy",
        "test",
        "built-in:rules",
        cases,
        "--coverage",
        "--json",
    ]);
    assert!(done.status.success(), "{}", talk(&done));
    let told: serde_json::Value = serde_json::from_str(&data(&done)).unwrap();
    let rules = told["coverage"]["rules"].as_array().unwrap();
    let names: Vec<&str> = rules
        .iter()
        .map(|rule| rule["rule"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"lock.young"), "{names:?}");
    // A rule of the default document.
    assert!(!names.contains(&"wal.too-early"), "{names:?}");
}
