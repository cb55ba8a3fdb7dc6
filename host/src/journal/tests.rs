use super::summary::COMMANDS;
use super::*;

fn said(incident: &str) -> JournalEntry {
    JournalEntry::Said {
        command: Command::Approve {
            incident: incident.into(),
            repair: None,
        },
        asker: Asker::default(),
    }
}

fn entries(dir: &Path) -> Vec<JournalEntry> {
    Journal::read(dir)
        .unwrap()
        .map(|line| line.unwrap().entry)
        .collect()
}

#[test]
fn what_was_appended_is_read_again_and_counted_on() {
    let dir = tempfile::tempdir().unwrap();
    Journal::open(dir.path())
        .unwrap()
        .append(7, &said("INC-1"))
        .unwrap();
    Journal::open(dir.path())
        .unwrap()
        .append(8, &said("INC-2"))
        .unwrap();
    let lines: Vec<_> = Journal::read(dir.path())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        lines.iter().map(|l| (l.seq, l.at_ms)).collect::<Vec<_>>(),
        [(1, 7), (2, 8)]
    );
}

#[test]
fn a_half_written_last_line_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    Journal::open(dir.path())
        .unwrap()
        .append(1, &said("INC-1"))
        .unwrap();
    let path = dir.path().join(FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    for cut in 1..whole.len() {
        let mut torn = whole.clone();
        torn.extend_from_slice(&whole[..cut]);
        std::fs::write(&path, torn).unwrap();
        Journal::open(dir.path())
            .unwrap()
            .append(2, &said("INC-2"))
            .unwrap();
        assert_eq!(
            entries(dir.path()),
            [said("INC-1"), said("INC-2")],
            "cut at {cut}"
        );
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn damage_in_the_middle_names_the_line_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for n in 0..3 {
        journal.append(n, &said("INC-1")).unwrap();
    }
    drop(journal);
    let path = dir.path().join(FILE_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.iter().position(|&b| b == b'\n').unwrap() + 3;
    bytes[second] = b'#';
    std::fs::write(&path, &bytes).unwrap();
    let error = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_second_one_is_told_that_the_directory_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Journal::open(dir.path()).unwrap();
    assert!(matches!(
        Journal::open(dir.path()),
        Err(JournalError::InUse { .. })
    ));
}

#[test]
fn no_byte_of_a_whole_line_changes_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    journal.append(1, &said("INC-1")).unwrap();
    journal.append(2, &said("INC-2")).unwrap();
    drop(journal);
    let path = dir.path().join(FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|&b| b == b'\n').unwrap();
    for at in 0..=first {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Journal::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("line 1"), "byte {at}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "byte {at}");
    }
}

#[test]
fn a_missing_line_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for n in 0..3 {
        journal.append(n, &said("INC-1")).unwrap();
    }
    drop(journal);
    let path = dir.path().join(FILE_NAME);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&path, format!("{}\n{}\n", lines[0], lines[2])).unwrap();
    let error = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("line 2") && error.contains("entry 3"),
        "{error}"
    );
}

#[test]
fn the_highest_number_of_an_incident_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |incident: &str| {
        let finding = serde_json::json!({
            "incident": incident, "kind": "index.corrupt", "subject": "by_name", "summary": "",
            "severity": 0.5, "first_seen_ms": 1, "last_seen_ms": 1, "sightings": 1, "facts": [],
            "evidence": [], "candidates": [],
        });
        let effect = serde_json::json!({
            "incident_opened": { "target": "shop", "finding": finding },
        });
        let effect = serde_json::from_value(effect).unwrap();
        JournalEntry::Happened { effect }
    };
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.last_incident(), 0);
    for incident in ["INC-9", "INC-10", "INC-2"] {
        journal.append(1, &opened(incident)).unwrap();
    }
    assert_eq!(journal.last_incident(), 10);
    drop(journal);
    assert_eq!(Journal::open(dir.path()).unwrap().last_incident(), 10);
}

#[test]
fn room_that_is_taken_is_no_part_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    journal.append(1, &said("INC-1")).unwrap();
    let path = dir.path().join(FILE_NAME);
    let bytes = std::fs::metadata(&path).unwrap().len();
    journal.reserve(1 << 20).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
    journal.append(2, &said("INC-2")).unwrap();
    drop(journal);
    let again = Journal::open(dir.path()).unwrap();
    again.append(3, &said("INC-3")).unwrap();
    let all = ["INC-1", "INC-2", "INC-3"].map(said);
    assert_eq!(entries(dir.path()), all);
}

#[test]
fn commands_are_known_by_number_and_identifier_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let command = |id: &str, incident: &str| JournalEntry::Said {
        command: Command::Acknowledge {
            incident: incident.into(),
        },
        asker: Asker {
            id: Some(id.into()),
            ..Asker::default()
        },
    };
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.append(1, &command("a", "INC-1")).unwrap(), 1);
    assert_eq!(journal.append(2, &command("b", "INC-2")).unwrap(), 2);
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert!(
        journal.knows_command("a") && journal.knows_command("b") && !journal.knows_command("c")
    );
    let after = |seq| -> Vec<u64> {
        journal
            .commands_after(seq)
            .iter()
            .map(|one| one.seq)
            .collect()
    };
    assert_eq!(
        (after(0), after(1), after(2)),
        (vec![1, 2], vec![2], vec![])
    );
    // The oldest are forgotten: memory is bounded.
    for n in 0..COMMANDS {
        journal
            .append(3, &command(&format!("n{n}"), "INC-3"))
            .unwrap();
    }
    assert!(!journal.knows_command("b"));
    assert_eq!(after(0).len(), COMMANDS);
}

#[test]
fn an_old_command_reads_as_before() {
    let old = r#"{"said":{"word":{"release":{"target":"shop"}}}}"#;
    let entry: JournalEntry = serde_json::from_str(old).unwrap();
    let expected = JournalEntry::Said {
        command: Command::Release {
            target: "shop".into(),
        },
        asker: Asker::default(),
    };
    assert_eq!(entry, expected);
    assert_eq!(serde_json::to_string(&entry).unwrap(), old);
}
