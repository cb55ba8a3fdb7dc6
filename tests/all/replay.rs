//! Recordings: replayed twice to the same bytes, and refused when they are damaged.

use std::path::Path;

use crate::common::{data, run, talk};

fn replay(recording: &Path, more: &[&str]) -> std::process::Output {
    run(&[&["replay", recording.to_str().unwrap()], more].concat())
}

#[test]
fn the_demo_heals_and_its_recording_replays_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("demo.jsonl");
    let to = recording.to_str().unwrap();
    let seed = "20261124";
    let demo = run(&[
        "demo", "--seed", seed, "--rows", "3000", "--record", to, "--json",
    ]);
    assert_eq!(
        demo.status.code(),
        Some(0),
        "seed {seed}: {}{}",
        data(&demo),
        talk(&demo)
    );
    let report: serde_json::Value = serde_json::from_str(&data(&demo)).unwrap();
    assert_eq!(report["right"], true);
    assert_eq!(report["faults"].as_array().unwrap().len(), 5);

    let first = replay(&recording, &["--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", talk(&first));
    assert!(
        talk(&first).contains("as recorded, byte for byte"),
        "{}",
        talk(&first)
    );
    assert_eq!(first.stdout, replay(&recording, &["--json"]).stdout);
    assert!(data(&first).contains("wal.keep-valid-prefix"));

    // Production's patience: the same lock is too fresh to be ended.
    let patient = replay(&recording, &["--set", "stale_lock_age_ms=300000"]);
    assert_eq!(patient.status.code(), Some(0));
    assert!(
        talk(&patient).contains("other effects than recorded"),
        "{}",
        talk(&patient)
    );
    damaged_recordings_are_refused(&recording, dir.path());
}

/// Each damage has one message that names file and line.
fn damaged_recordings_are_refused(recording: &Path, dir: &Path) {
    let good = std::fs::read(recording).unwrap();
    let second_line = good.iter().position(|&b| b == b'\n').unwrap() + 1;
    let mut flipped = good.clone();
    flipped[second_line + 2] = b'#';
    let text = String::from_utf8(good.clone()).unwrap();
    let version = |v| text.replacen("recording\":2", &format!("recording\":{v}"), 1);
    let (older, newer) = (version(1), version(9));
    let learned = "\"carried\":{\"detectors\":{\"shop\":{}},";
    let learned = older.replacen("\"carried\":{", learned, 1);
    // What was written before is read where nothing was learned.
    let path = dir.join("older");
    std::fs::write(&path, older).unwrap();
    assert_eq!(replay(&path, &[]).status.code(), Some(0));
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "line 1: the file is empty"),
        ("junk", b"{\"a\":1}\n", "line 1: not a dbmedic recording"),
        ("flipped", &flipped, "line 2"),
        ("cut", &good[..good.len() - 10], "the line is cut off"),
        ("newer", newer.as_bytes(), "format version 9"),
        ("learned", learned.as_bytes(), "format version 1"),
    ];
    for (name, bytes, expected) in cases {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        let output = replay(&path, &[]);
        assert_ne!(output.status.code(), Some(0), "{name}");
        assert!(
            talk(&output).contains(expected),
            "{name}: {}",
            talk(&output)
        );
        assert!(
            talk(&output).contains(path.to_str().unwrap()),
            "{name}: {}",
            talk(&output)
        );
    }
    let missing = replay(&dir.join("missing"), &[]);
    assert!(
        talk(&missing).contains("No such file"),
        "{}",
        talk(&missing)
    );
}
