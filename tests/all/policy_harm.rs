//! `policy fuzz` and `policy test --mutate`: harm that is searched for, and changes that nobody notices.

use std::fs;

use serde_json::Value;

use crate::common::{data, run, talk};

const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/hostile/hostile.wasm");

fn fuzz(more: &[&str]) -> (Option<i32>, Value) {
    let result = run(&[&["policy", "fuzz"], more, &["--json"]].concat());
    let printed = data(&result);
    let fuzzed = serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{error}: {printed}{}", talk(&result)));
    (result.status.code(), fuzzed)
}

#[test]
fn the_default_policy_does_no_harm_in_generated_histories() {
    let (code, fuzzed) = fuzz(&["built-in", "--histories", "300", "--seed", "1"]);
    assert_eq!(code, Some(0), "{fuzzed}");
    assert!(fuzzed["decisions"].as_u64().unwrap() > 3_000, "{fuzzed}");
}

#[test]
fn each_property_catches_a_policy_that_does_not_hold_it() {
    let dir = tempfile::tempdir().unwrap();
    for (misbehave, property) in [
        ("panic", "answers"),
        ("unknown-candidate", "offered"),
        ("nothing", "loss"),
        ("nothing", "failures"),
        ("nothing", "descent"),
        ("flap", "flapping"),
        ("counter", "same-answer"),
    ] {
        let file = dir.path().join(format!("{property}.toml"));
        let file = file.to_str().unwrap();
        let set = format!("misbehave={misbehave}");
        let arguments = [
            HOSTILE,
            "--histories",
            "60",
            "--seed",
            "3",
            "--set",
            &set,
            "-o",
            file,
        ];
        let (code, fuzzed) = fuzz(&arguments);
        assert_eq!(code, Some(1), "{property}: {fuzzed}");
        let found_all = fuzzed["found"].as_array().unwrap();
        let found = found_all.iter().find(|found| found["property"] == property);
        let found = found.unwrap_or_else(|| panic!("{property}: {fuzzed}"));
        let (enough, events) = (&found["enough"], &found["events"]);
        assert!(
            enough.as_u64() < events.as_u64(),
            "nothing was made smaller: {found}"
        );
        assert!(enough.as_u64() <= Some(4), "{property}: {found}");
        // What was found is a case, and it fails as long as the policy is as it is.
        let tested = run(&["policy", "test", HOSTILE, file]);
        // Of the same answer alone no case can tell: its question is asked once.
        let told = data(&tested);
        let can_tell = found_all
            .iter()
            .any(|found| found["property"] != "same-answer");
        assert_eq!(
            tested.status.code(),
            Some(i32::from(can_tell)),
            "{property}: {told}{}",
            talk(&tested)
        );
    }
}

#[test]
fn the_same_seed_finds_the_same() {
    let found = |seed: &str| {
        let arguments = [HOSTILE, "--histories", "30", "--seed", seed];
        let (_, mut fuzzed) = fuzz(&arguments);
        fuzzed.as_object_mut().unwrap().remove("seed");
        fuzzed
    };
    assert_eq!(found("5"), found("5"));
    assert_ne!(found("5"), found("6"));
}

/// A lock at the edge of its age, with expectations that notice nothing of it, or everything.
fn lock_case(expect: &str, age_ms: u64) -> String {
    format!(
        "version = 1\n[[cases]]\nname = \"a stale lock at {age_ms}\"\n[[cases.events]]\n\
         finding = {{ kind = \"lock.stale-holder\", candidates = [\"lock.end-holder\"], facts = {{ age_ms = {age_ms}, \
         has_recent_snapshot = true, concurrent_operations = 0, holder_may_be_ended = true }} }}\n\
         expect = {expect}\n"
    )
}

#[test]
fn the_default_policys_cases_notice_every_change() {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/default/cases");
    let result = run(&["policy", "test", "built-in", cases, "--mutate"]);
    assert_eq!(
        result.status.code(),
        Some(0),
        "{}{}",
        data(&result),
        talk(&result)
    );
    assert!(talk(&result).contains(" 0 unnoticed"), "{}", talk(&result));
}

#[test]
fn a_change_that_no_case_notices_is_shown_with_the_case_that_would() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cases.toml");
    let path = file.to_str().unwrap();
    let mutate = || {
        let result = run(&["policy", "test", "built-in", path, "--mutate", "--json"]);
        let mutated: Value = serde_json::from_str(&data(&result)).unwrap();
        let unnoticed = mutated["unnoticed"].as_array().unwrap().clone();
        (result.status.code(), unnoticed)
    };
    fs::write(&file, lock_case("{ level = \"watch\" }", 500_000)).unwrap();
    let (code, unnoticed) = mutate();
    assert_eq!(code, Some(1));
    let of = |change: &str| {
        let mut all = unnoticed.iter();
        let found = all.find(|unnoticed| unnoticed["change"].as_str().unwrap().contains(change));
        found.unwrap_or_else(|| panic!("{change}: {unnoticed:?}"))["case"]
            .as_str()
            .unwrap()
    };
    // The case that would notice it does.
    let witness = of("the parameter stale_lock_age_ms is a little more");
    assert!(witness.contains("age_ms = 30000"), "{witness}");
    fs::write(&file, format!("version = 1\n{witness}")).unwrap();
    let tested = run(&["policy", "test", "built-in", path]);
    assert_eq!(tested.status.code(), Some(0), "{}", data(&tested));
    let (_, now) = mutate();
    let is_there = |all: &[Value]| {
        all.iter().any(|unnoticed| {
            unnoticed["change"] == "the parameter stale_lock_age_ms is a little more"
        })
    };
    assert!(!is_there(&now), "{now:?}");
    of("the fact age_ms of lock.stale-holder is a little more");
}
