//! Test cases of policies, run by the real binary against real components.

use std::path::Path;

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
