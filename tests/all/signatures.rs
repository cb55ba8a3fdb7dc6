//! `learn` and `diagnose`: what they print, keep and refuse.

use std::path::Path;

use crate::common::{data, run, talk};

/// A run of 40 rows: rows 20..29 have more lock waits, more sessions and fewer commits.
fn storm(dir: &Path, name: &str, scale: f64) -> String {
    let mut text =
        String::from("time,threads_running,innodb_row_lock_waits,com_commit,com_select\n");
    for row in 0..40 {
        let wobble = f64::from(row * 7 % 5) - 2.0;
        let bad = (20..30).contains(&row);
        let (sessions, waits, commits) = if bad {
            (60.0, 40.0, 20.0)
        } else {
            (8.0, 0.0, 100.0)
        };
        text += &[
            format!("2026-01-01 00:{:02}:{:02}", row / 12, row % 12 * 5),
            ((sessions + wobble * 0.2) * scale).to_string(),
            (waits * scale).to_string(),
            ((commits + wobble) * scale).to_string(),
            ((300.0 + 5.0 * wobble) * scale).to_string(),
        ]
        .join(",");
        text.push('\n');
    }
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", talk(&output));
    data(&output)
}

fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&ok(args)).unwrap()
}

#[test]
fn a_trouble_is_learned_refined_and_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("signatures");
    let kept = kept.to_str().unwrap();
    let (a, b, c) = (
        storm(dir.path(), "a.csv", 1.0),
        storm(dir.path(), "b.csv", 3.0),
        storm(dir.path(), "c.csv", 700.0),
    );
    let told = ok(&[
        "learn",
        "storm",
        "--from",
        &a,
        "--rows",
        "20..29",
        "--signatures",
        kept,
    ]);
    assert!(
        told.contains("storm.toml: learned from 1 episode more, 1 episode in all"),
        "{told}"
    );
    let args = [
        "learn",
        "storm",
        "--from",
        &b,
        "--rows",
        "20..29",
        "--signatures",
        kept,
        "--json",
    ];
    let learned = json(&args);
    assert_eq!(
        (&learned["more"], &learned["episodes"]),
        (&1.into(), &2.into())
    );
    let file = std::fs::read_to_string(format!("{kept}/storm.toml")).unwrap();
    assert!(
        file.contains("innodb_row_lock_waits = { moves = \"up\""),
        "{file}"
    );
    assert!(file.contains("com_commit = { moves = \"down\""), "{file}");

    let args = [
        "diagnose",
        &c,
        "--rows",
        "20..29",
        "--signatures",
        kept,
        "--json",
    ];
    let found = json(&args);
    assert_eq!(found["diagnosis"], "storm", "{found}");
    assert_eq!(found["rows"], serde_json::json!([20, 29]));
    assert!(found["confidence"].as_f64().unwrap() > 0.5);
    let words = ok(&["diagnose", &c, "--rows", "20..29", "--signatures", kept]);
    assert!(words.contains("rows 20..29: storm ("), "{words}");
    assert!(words.contains("none of these"), "{words}");
    // Healthy rows are none of them.
    let found = json(&[
        "diagnose",
        &c,
        "--rows",
        "12..19",
        "--signatures",
        kept,
        "--json",
    ]);
    assert!(found["diagnosis"].is_null(), "{found}");
    let words = ok(&["diagnose", &c, "--rows", "12..19", "--signatures", kept]);
    assert!(words.contains("rows 12..19: none of these\n"), "{words}");
}

#[test]
fn built_in_signatures_need_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let table = storm(dir.path(), "a.csv", 1.0);
    let none = dir.path().join("none");
    let none = none.to_str().unwrap();
    let found = json(&[
        "diagnose",
        &table,
        "--rows",
        "20..29",
        "--signatures",
        none,
        "--json",
    ]);
    assert_eq!(found["diagnosis"], "lock-contention", "{found}");
    assert_eq!(found["ranking"][0]["origin"], "built_in");
    let args = [
        "diagnose",
        &table,
        "--rows",
        "20..29",
        "--signatures",
        none,
        "--no-built-in",
        "--json",
    ];
    let found = json(&args);
    assert!(found["diagnosis"].is_null() && found["ranking"].as_array().unwrap().is_empty());
    assert!(!Path::new(none).exists());
}

#[test]
fn bad_input_is_told_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let table = storm(dir.path(), "a.csv", 1.0);
    let kept = dir.path().join("signatures");
    let kept = kept.to_str().unwrap();
    let learn = |name: &str, rows: &str| {
        let output = run(&[
            "learn",
            name,
            "--from",
            &table,
            "--rows",
            rows,
            "--signatures",
            kept,
        ]);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(!Path::new(kept).exists());
        talk(&output)
    };
    for (name, rows, expected) in [
        ("../storm", "20..29", "cannot be a signature's name"),
        ("storm", "35..40", "it has 40 rows"),
        ("storm", "2..9", "normal rows before row 2"),
        ("storm", "9..2", "row 2 comes before row 9"),
        ("storm", "nine", "write A..B"),
    ] {
        let words = learn(name, rows);
        assert!(words.contains(expected), "{words}");
    }
    let args = [
        "learn", "storm", "--from", &table, "--rows", "20..29", "--rows", "1..2",
    ];
    let output = run(&args);
    assert!(
        talk(&output).contains("one --rows for each --from"),
        "{}",
        talk(&output)
    );

    std::fs::create_dir(kept).unwrap();
    let damaged = format!("{kept}/storm.toml");
    let text = "version = 1\nname = \"storm\"\nepisodes = 1\n[metrics]\na = { moves = \"up\", strenth = 1.0, spread = 0.1 }\n";
    std::fs::write(&damaged, text).unwrap();
    for args in [
        &["diagnose", &table, "--rows", "20..29", "--signatures", kept][..],
        &[
            "learn",
            "storm",
            "--from",
            &table,
            "--rows",
            "20..29",
            "--signatures",
            kept,
        ][..],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1));
        let words = talk(&output);
        assert!(
            words.contains("storm.toml:5: unknown key `strenth`; did you mean `strength`?"),
            "{words}"
        );
        assert_eq!(std::fs::read_to_string(&damaged).unwrap(), text);
    }
}
