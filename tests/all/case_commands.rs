//! What `policy test` does with cases beside running them: it shows, captures, rewrites and counts.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::{data, run, talk};
use crate::decision_log::{LARGE, keep_a_log};
use crate::policy_cases::record;

fn test(file: &Path, more: &[&str]) -> Output {
    run(&[
        &["policy", "test", "built-in", file.to_str().unwrap()],
        more,
    ]
    .concat())
}

const LOCK: &str = "finding = { kind = \"lock.stale-holder\", candidates = [\"lock.end-holder\"], facts = { \
    age_ms = 6_000, has_recent_snapshot = true, concurrent_operations = 0, holder_may_be_ended = true } }";

fn case(name: &str, rest: &str) -> String {
    format!("[[cases]]\nname = \"{name}\"\n{rest}\n")
}

fn file_of(dir: &Path, cases: &[String]) -> std::path::PathBuf {
    let file = dir.join("cases.toml");
    fs::write(&file, format!("version = 1\n\n{}", cases.join("\n"))).unwrap();
    file
}

#[test]
fn a_failing_case_shows_what_happened_around_the_nearest_answer() {
    let dir = tempfile::tempdir().unwrap();
    let events = format!("[[cases.events]]\n{LOCK}\n").repeat(6);
    let file = file_of(
        dir.path(),
        &[case(
            "ended",
            &format!(
                "{events}[[cases.expect]]\nevent = 5\nrepair = \"lock.end-holder\"\nlevel = \"watch\""
            ),
        )],
    );
    let result = test(&file, &[]);
    assert_eq!(result.status.code(), Some(1), "{}", talk(&result));
    let told = data(&result);
    let first = "none of 1 answers was as the case expects (an answer number 5); the nearest, event 5 \
                 (finding lock.stale-holder): expected repair lock.end-holder, got none";
    assert!(told.contains(first), "{told}");
    let lines: Vec<&str> = told.lines().map(str::trim_end).collect();
    let nearest = lines
        .iter()
        .position(|line| line.trim_start().starts_with("> "))
        .unwrap();
    assert!(lines[nearest].contains("20 s  event 5"), "{told}");
    assert!(
        lines[nearest].contains("INC-1, main, at level watch"),
        "{told}"
    );
    let around = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert!(lines[nearest + 1].contains("age_ms = 6000"), "{told}");
    assert!(
        told.contains("expected repair lock.end-holder, got none"),
        "{told}"
    );
    assert!(around("because  lock.too-fresh") >= 5, "{told}");
    for (event, is_shown) in [(1, false), (2, true), (4, true), (6, true)] {
        assert_eq!(
            told.contains(&format!(" s  event {event} (")),
            is_shown,
            "{event}: {told}"
        );
    }
    let json = test(&file, &["--json"]);
    let report: Value = serde_json::from_str(&data(&json)).unwrap();
    let timeline = &report["cases"][0]["timelines"][0];
    let moments = timeline["moments"].as_array().unwrap();
    let moment = &moments[usize::try_from(timeline["at"].as_u64().unwrap()).unwrap()];
    assert_eq!(moment["at_ms"], 20_000, "{report}");
    assert_eq!(
        moment["said"]["reasons"][0]["rule"], "lock.too-fresh",
        "{report}"
    );
}

#[test]
fn expectations_of_a_whole_case_say_which_answers_and_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let events = format!(
        "[[cases.events]]\n{LOCK}\ntimes = 3\nevery_ms = 1_000\n[[cases.events]]\ntick = true\ntimes = 4\nevery_ms = 1_000\n"
    );
    let passes = |order: &str, expect: &str| {
        let file = file_of(
            dir.path(),
            &[case("a", &format!("{order}{events}{expect}"))],
        );
        let result = test(&file, &[]);
        let code = result.status.code();
        assert_ne!(code, Some(2), "{expect}: {}", talk(&result));
        (code == Some(0), data(&result))
    };
    for (expect, holds) in [
        (
            "about = \"finding\"\ntimes = 3\nrules = [\"lock.too-fresh\"]",
            true,
        ),
        (
            "about = \"finding\"\ntimes = 1\nrules = [\"lock.too-fresh\"]",
            false,
        ),
        (
            "about = \"finding\"\ntimes = [2, 3]\nlevel = \"watch\"",
            true,
        ),
        (
            "about = \"tick\"\ntimes = 0\nalerts = [\"person_needed\"]",
            true,
        ),
        ("about = \"tick\"\ntimes = 0\nlevel = \"watch\"", false),
        ("about = \"tick\"\nevery = true\nlevel = \"watch\"", true),
        ("every = true\nclassification = \"hiccup\"", false),
        (
            "kind = \"lock.stale-holder\"\nincident = \"INC-1\"\nsubject = \"main\"\nevery = true\nlevel = \"watch\"",
            true,
        ),
        ("incident = \"INC-2\"\nlevel = \"watch\"", false),
        (
            "from_ms = 1_000\nuntil_ms = 2_000\ntimes = 2\nclassification = \"hiccup\"",
            true,
        ),
        ("from_ms = 3_000\nclassification = \"hiccup\"", false),
    ] {
        let (passed, told) = passes("", &format!("[[cases.expect]]\n{expect}\n"));
        assert_eq!(passed, holds, "{expect}: {told}");
    }
    let both = |first: &str, second: &str| {
        format!("[[cases.expect]]\nabout = \"{first}\"\n[[cases.expect]]\nabout = \"{second}\"\n")
    };
    assert!(passes("in_order = true\n", &both("finding", "tick")).0);
    let (passed, told) = passes("in_order = true\n", &both("tick", "finding"));
    assert!(
        !passed && told.contains("none after the one before it"),
        "{told}"
    );
    let late = format!("{}within_ms = 7_000\n", both("finding", "tick"));
    assert!(passes("in_order = true\n", &late).0);
    let late = "[[cases.expect]]\nabout = \"finding\"\n[[cases.expect]]\nabout = \"tick\"\nfrom_ms = 9_000\nwithin_ms = 8_000\n";
    let (passed, told) = passes("in_order = true\n", late);
    assert!(
        !passed && told.contains("expected it within 8000 ms"),
        "{told}"
    );
}

#[test]
fn cases_are_chosen_by_name_and_shown_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let tick = "never = { halt = true }\n[[cases.events]]\ntick = true\n";
    let cases: Vec<String> = (0..40)
        .map(|number| case(&format!("case {number}"), tick))
        .collect();
    let file = file_of(dir.path(), &cases);
    let all = test(&file, &["--jobs", "7"]);
    let names: Vec<String> = data(&all)
        .lines()
        .map(|line| line.rsplit(": ").next().unwrap().to_owned())
        .collect();
    let expected: Vec<String> = (0..40).map(|number| format!("case {number}")).collect();
    assert_eq!(names, expected);
    let some = test(&file, &["--only", "CASE*7", "--only", "e 12"]);
    assert!(
        talk(&some).contains("5 passed, 0 failed"),
        "{}{}",
        data(&some),
        talk(&some)
    );
    let none = test(&file, &["--only", "nothing"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(
        talk(&none).contains("no case is called like \"nothing\""),
        "{}",
        talk(&none)
    );
}

#[test]
fn build_servers_read_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let file = file_of(
        dir.path(),
        &[
            case(
                "good & <well>",
                "never = { halt = true }\n[[cases.events]]\ntick = true\n",
            ),
            case(
                "bad",
                "[[cases.events]]\ntick = true\nexpect = { level = \"warn\" }\n",
            ),
        ],
    );
    let report = dir.path().join("report.xml");
    let result = test(&file, &["--junit", report.to_str().unwrap()]);
    assert_eq!(result.status.code(), Some(1));
    let xml = fs::read_to_string(&report).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
    assert!(xml.contains("name=\"good &amp; &lt;well&gt;\""), "{xml}");
    assert!(
        xml.contains("<failure message=\"event 1 (tick): expected level warn, got normal"),
        "{xml}"
    );
    assert_eq!(xml.matches("<testcase").count(), 2, "{xml}");
}

#[test]
fn an_incident_of_a_recording_becomes_a_case_that_passes() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("shop.jsonl");
    record(&recording);
    let written = dir.path().join("captured.toml");
    let capture = |incident: &str| {
        run(&[
            "policy",
            "test",
            "built-in",
            "--capture",
            incident,
            "--recording",
            recording.to_str().unwrap(),
            "-o",
            written.to_str().unwrap(),
        ])
    };
    let result = capture("INC-1");
    assert_eq!(result.status.code(), Some(0), "{}", talk(&result));
    assert!(
        talk(&result).contains("answers as it was answered"),
        "{}",
        talk(&result)
    );
    let text = fs::read_to_string(&written).unwrap();
    assert!(text.contains("name = \"INC-1: "), "{text}");
    let tested = test(&written, &["--json"]);
    let report: Value = serde_json::from_str(&data(&tested)).unwrap();
    assert_eq!(report["passed"], 1, "{report}\n{text}");
    assert!(
        report["cases"][0]["decisions"].as_u64().unwrap() >= 3,
        "{report}"
    );
    let again = capture("INC-1");
    assert_eq!(
        again.status.code(),
        Some(2),
        "an existing file is not overwritten"
    );
    let none = capture("INC-77");
    assert_eq!(none.status.code(), Some(2));
    assert!(talk(&none).contains("no INC-77 is in"), "{}", talk(&none));
    assert!(talk(&none).contains("it has INC-1"), "{}", talk(&none));
}

#[test]
fn expectations_are_rewritten_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let before = format!(
        "version = 1\n\n# What a person wrote stays.\n[[cases]]\nname = \"a\"\n[[cases.events]]\n{LOCK} # here too\n\
         [cases.events.expect]\nclassification = \"wall\"  # not yet\nlevel = \"watch\"\nrules = [\"lock.stale\"]\n\
         no_alerts = [\"*\"]\n[[cases.expect]]\ntimes = 3\nlevel = \"watch\"\n\n\
         [[cases]]\nname = \"b\"\nnever = {{ level = [\"watch\"] }}\n[[cases.events]]\n{LOCK}\n"
    );
    let file = dir.path().join("cases.toml");
    fs::write(&file, &before).unwrap();
    let unasked = test(&file, &["--update"]);
    assert_eq!(unasked.status.code(), Some(1));
    assert!(
        talk(&unasked).contains("give `--yes`"),
        "{}",
        talk(&unasked)
    );
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        before,
        "nothing without a yes"
    );
    let shown = data(&unasked);
    assert!(
        shown.contains("cases.toml:9: classification\n- \"wall\"\n+ \"hiccup\""),
        "{shown}"
    );
    let done = test(&file, &["--update", "--yes"]);
    assert!(
        talk(&done).contains("3 values rewritten, 1 cases stay as they are"),
        "{}",
        talk(&done)
    );
    assert!(talk(&done).contains("b: stays as it is"), "{}", talk(&done));
    let after = fs::read_to_string(&file).unwrap();
    let expected = before
        .replace("\"wall\"", "\"hiccup\"")
        .replace("[\"lock.stale\"]", "[\"lock.too-fresh\"]")
        .replace("times = 3", "times = 1");
    assert_eq!(after, expected);
}

#[test]
fn the_coverage_names_rules_answers_and_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let file = file_of(
        dir.path(),
        &[case(
            "a",
            &format!(
                "parameters = {{ stale_lock_age_ms = 100 }}\n[[cases.events]]\n{LOCK}\nexpect = {{ rules = [\"lock.stale\"] }}"
            ),
        )],
    );
    fs::write(
        &file,
        fs::read_to_string(&file).unwrap().replacen(
            "version = 1",
            "version = 1\nrules = [\"never.heard-of\"]",
            1,
        ),
    )
    .unwrap();
    let result = test(&file, &["--json", "--coverage"]);
    assert_eq!(result.status.code(), Some(0), "{}", talk(&result));
    let report: Value = serde_json::from_str(&data(&result)).unwrap();
    let coverage = &report["coverage"];
    let rule = |name: &str| {
        let mut rules = coverage["rules"].as_array().unwrap().iter();
        rules
            .find(|rule| rule["rule"] == name)
            .unwrap_or_else(|| panic!("{name}: {coverage}"))
            .clone()
    };
    assert_eq!(rule("lock.stale")["expected"], true);
    assert_eq!(rule("lock.alone")["expected"], false);
    assert_eq!(rule("never.heard-of")["spoke"], 0);
    assert_eq!(
        rule("index.damaged")["spoke"],
        0,
        "generated histories make it speak"
    );
    assert_eq!(
        coverage["answers"][0]["repair"], "lock.end-holder",
        "{coverage}"
    );
    assert!(
        coverage["never"]["classifications"]
            .as_array()
            .unwrap()
            .contains(&"crisis".into())
    );
    let parameters = coverage["parameters"].as_array().unwrap();
    let age = parameters
        .iter()
        .find(|parameter| parameter["name"] == "stale_lock_age_ms")
        .unwrap();
    assert_eq!(
        (&age["minimum"], &age["maximum"]),
        (&true.into(), &false.into())
    );
    let few = test(&file, &["--min-rules", "90"]);
    assert_eq!(few.status.code(), Some(1));
    assert!(
        talk(&few).contains("of the known rules spoke; 90 % must"),
        "{}",
        talk(&few)
    );
    let enough = test(&file, &["--min-rules", "0.5"]);
    assert_eq!(enough.status.code(), Some(0), "{}", talk(&enough));
}

#[test]
fn an_incident_of_a_decision_log_becomes_a_case_that_passes() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("state/decisions");
    fs::create_dir(dir.path().join("state")).unwrap();
    keep_a_log(&log, 60, LARGE);
    let state = dir.path().join("state");
    let from = |place: &[&str]| {
        run(&[&["policy", "test", "built-in", "--capture", "INC-1"], place].concat())
    };
    let by_log = from(&["--log", log.to_str().unwrap()]);
    let by_state = from(&["--state-dir", state.to_str().unwrap()]);
    assert_eq!(by_log.status.code(), Some(0), "{}", talk(&by_log));
    assert_eq!(data(&by_log), data(&by_state), "{}", talk(&by_state));
    assert!(
        talk(&by_log).contains("answers as it was answered"),
        "{}{}",
        data(&by_log),
        talk(&by_log)
    );
    let file = dir.path().join("captured.toml");
    fs::write(&file, data(&by_log)).unwrap();
    let tested = test(&file, &["--json"]);
    let report: Value = serde_json::from_str(&data(&tested)).unwrap();
    assert_eq!(report["passed"], 1, "{report}");
    assert!(
        report["cases"][0]["decisions"].as_u64().unwrap() > 20,
        "{report}"
    );
}
