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
    // What is learned goes into this very file; what is compared with goes on without it.
    for (args, code) in [
        (
            &["diagnose", &table, "--rows", "20..29", "--signatures", kept][..],
            0,
        ),
        (&["detect", &table, "--signatures", kept], 0),
        (
            &[
                "learn",
                "storm",
                "--from",
                &table,
                "--rows",
                "20..29",
                "--signatures",
                kept,
            ],
            2,
        ),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{}", talk(&output));
        let words = talk(&output);
        assert!(
            words.contains("storm.toml:5: unknown key `strenth`; did you mean `strength`?"),
            "{words}"
        );
        assert_eq!(std::fs::read_to_string(&damaged).unwrap(), text);
    }
}

/// A recording of a run of `calm` healthy rows, ten of a storm and ten healthy ones; its incidents.
fn recorded(dir: &Path, name: &str, calm: u32, scale: f64) -> (String, Vec<String>) {
    let mut text = String::from("time,threads_running,innodb_row_lock_waits,com_commit\n");
    for row in 0..calm + 20 {
        let wobble = f64::from((row * 7 + row * row % 11) % 13) - 6.0;
        let bad = (calm..calm + 10).contains(&row);
        let levels = if bad {
            [60.0, 40.0, 20.0]
        } else {
            [8.0, 2.0, 100.0]
        };
        text += &(1_700_000_000 + row * 5).to_string();
        for level in levels {
            text.push(',');
            text += &((level + level * wobble * 0.01) * scale).to_string();
        }
        text.push('\n');
    }
    let table = dir.join(format!("{name}.csv"));
    std::fs::write(&table, text).unwrap();
    let recording = dir.join(format!("{name}.rec"));
    let recording = recording.to_str().unwrap().to_owned();
    ok(&["import", table.to_str().unwrap(), "-o", &recording]);
    let replayed = ok(&["replay", &recording, "--json"]);
    let incidents = replayed.lines().flat_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let effects = line["effects"].as_array().unwrap().clone();
        let opened = effects
            .into_iter()
            .map(|effect| effect["incident_opened"]["finding"]["incident"].clone());
        let opened: Vec<_> = opened
            .filter_map(|id| Some(id.as_str()?.to_owned()))
            .collect();
        opened
    });
    (recording, incidents.collect())
}

#[test]
fn an_incident_that_a_person_has_labelled_is_learned_from_its_recording() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("signatures");
    let kept = kept.to_str().unwrap();
    let mut learned = vec!["learn", "storm", "--signatures", kept, "--json"];
    let (first, incidents) = recorded(dir.path(), "first", 200, 1.0);
    let (second, more) = recorded(dir.path(), "second", 230, 50.0);
    assert_eq!((incidents.len(), more.len()), (1, 1));
    learned.extend(["--recording", &first, "--incident", &incidents[0]]);
    learned.extend(["--recording", &second, "--incident", &more[0]]);
    let learned = json(&learned);
    assert_eq!(learned["episodes"], 2, "{learned}");
    let strongest = learned["strongest"].as_array().unwrap();
    let strength = |metric: &str| {
        let moved = strongest.iter().find(|m| m["metric"] == metric);
        moved.unwrap_or_else(|| panic!("{metric}: {learned}"))["strength"]
            .as_f64()
            .unwrap()
    };
    assert!(strength("innodb_row_lock_waits") > 3.0, "{learned}");
    assert!(strength("com_commit") < -1.5, "{learned}");

    // The rows themselves say the same: the incident's looks are those of the storm.
    let rows = dir.path().join("rows");
    let rows = rows.to_str().unwrap();
    let table = dir.path().join("first.csv");
    let table = table.to_str().unwrap();
    let from_rows = json(&[
        "learn",
        "storm",
        "--from",
        table,
        "--rows",
        "200..209",
        "--signatures",
        rows,
        "--json",
    ]);
    for moved in from_rows["strongest"].as_array().unwrap() {
        let here = moved["strength"].as_f64().unwrap();
        let there = strength(moved["metric"].as_str().unwrap());
        assert!((here - there).abs() < 0.3, "{moved} {learned}");
    }

    let other = storm(dir.path(), "other.csv", 700.0);
    let found = json(&[
        "diagnose",
        &other,
        "--rows",
        "20..29",
        "--signatures",
        kept,
        "--no-built-in",
        "--json",
    ]);
    assert_eq!(found["diagnosis"], "storm", "{found}");
}

#[test]
fn an_incident_that_cannot_be_learned_from_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (recording, incidents) = recorded(dir.path(), "run", 200, 1.0);
    let kept = dir.path().join("signatures");
    let kept = kept.to_str().unwrap();
    let refused = |recording: &str, incident: &str, expected: &str| {
        let output = run(&[
            "learn",
            "storm",
            "--recording",
            recording,
            "--incident",
            incident,
            "--signatures",
            kept,
        ]);
        assert_eq!(output.status.code(), Some(2), "{}", data(&output));
        let words = talk(&output);
        assert!(words.contains(expected), "{words}");
        assert!(!Path::new(kept).exists());
    };
    let known = format!("no INC-77 is in this recording; it has {}", incidents[0]);
    refused(&recording, "INC-77", &known);
    refused("nowhere.rec", "INC-1", "nowhere.rec");
    refused("/dev/null", "INC-1", "it is not a regular file");
    let empty = dir.path().join("empty.rec");
    std::fs::write(&empty, "").unwrap();
    refused(empty.to_str().unwrap(), "INC-1", "the file is empty");

    // The same recording from two looks before the incident on, and one in which it had no numbers.
    let text = std::fs::read_to_string(&recording).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let onset = lines
        .iter()
        .position(|line| line.contains("\"noticed\""))
        .unwrap();
    let over = lines
        .iter()
        .position(|line| line.contains("\"incident_resolved\""))
        .unwrap();
    let cut = |name: &str, lines: &[&str]| {
        let path = dir.path().join(name);
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let looks = |lines: &[&str]| lines.iter().filter(|l| l.contains("\"observed\"")).count();
    let mut begin = onset;
    while looks(&lines[begin..onset]) < 2 {
        begin -= 1;
    }
    let short = [&lines[..1], &lines[begin..over]].concat();
    refused(
        &cut("short.rec", &short),
        &incidents[0],
        "2 normal looks around INC-1, which is too few",
    );
    let unmeasured: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(n, line)| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            if (onset..over).contains(&n) && line["event"]["observed"].is_object() {
                line["event"]["observed"]["samples"] = serde_json::json!([]);
            }
            line.to_string()
        })
        .collect();
    let unmeasured: Vec<&str> = unmeasured.iter().map(String::as_str).collect();
    refused(
        &cut("unmeasured.rec", &unmeasured),
        &incidents[0],
        "nothing was measured while INC-1 lasted",
    );
    let output = run(&["learn", "storm", "--recording", &recording]);
    assert!(talk(&output).contains("--incident"), "{}", talk(&output));
}
