//! The manual of test cases: each of its examples holds, and it names every key.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{data, run, talk};
use crate::policy_cases::record;

fn manual() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join("docs/cases.md")).unwrap()
}

#[test]
fn every_example_of_the_manual_passes() {
    let dir = tempfile::tempdir().unwrap();
    record(&dir.path().join("shop.jsonl"));
    let manual = manual();
    let examples = manual.split("```toml\n").skip(1);
    let examples: Vec<&str> = examples
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 5, "{}", examples.len());
    for (number, example) in examples.iter().enumerate() {
        let path = dir.path().join(format!("{number}.toml"));
        fs::write(&path, example).unwrap();
        let result = run(&["policy", "test", "built-in", path.to_str().unwrap()]);
        assert_eq!(
            result.status.code(),
            Some(0),
            "{example}\n{}{}",
            data(&result),
            talk(&result)
        );
    }
}

/// Every key of a schema, wherever it stands.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        found.extend(properties.keys().cloned());
    }
    match schema {
        Value::Object(parts) => parts.values().for_each(|part| keys(part, found)),
        Value::Array(parts) => parts.iter().for_each(|part| keys(part, found)),
        _ => {}
    }
}

#[test]
fn the_manual_names_every_key_of_the_schema() {
    let printed = run(&["policy", "test", "--schema"]);
    assert_eq!(printed.status.code(), Some(0), "{}", talk(&printed));
    let schema: Value = serde_json::from_str(&data(&printed)).unwrap();
    let mut found = BTreeSet::new();
    keys(&schema, &mut found);
    assert!(found.len() > 100, "{found:?}");
    let manual = manual();
    let words: BTreeSet<&str> = manual
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let missing: Vec<&String> = found
        .iter()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/cases.md does not name {missing:?}"
    );
}
