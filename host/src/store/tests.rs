use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command as Process, Stdio};

use super::*;
use crate::clock::{TimeMark, now_ms};
use crate::command::{Asker, Command};

const HOUR_MS: i64 = 3_600_000;

fn said(incident: &str) -> JournalEntry {
    command(None, incident)
}

fn command(id: Option<&str>, incident: &str) -> JournalEntry {
    JournalEntry::Said {
        command: Command::Acknowledge {
            incident: incident.into(),
        },
        asker: Asker {
            id: id.map(str::to_owned),
            ..Asker::default()
        },
    }
}

fn entries(dir: &Path) -> Vec<JournalEntry> {
    let lines = Reader::open(dir).unwrap().unwrap().entries(None).unwrap();
    lines.into_iter().map(|line| line.entry).collect()
}

fn intent(repair_id: &str) -> Intent {
    let finding = serde_json::json!({
        "incident": "INC-1", "kind": "index.corrupt", "subject": "by_name", "summary": "",
        "severity": 0.5, "first_seen_ms": 1, "last_seen_ms": 1, "sightings": 1, "facts": [],
        "evidence": [], "candidates": [],
    });
    let intent = serde_json::json!({
        "repair_id": repair_id, "target": "shop", "path": "/srv/shop.db", "may_end": [],
        "max_lock_ms": 0, "finding": finding, "plan": [], "before": null,
        "candidate": {
            "id": "index.rebuild", "level": "Rebuild", "summary": "", "preconditions": [],
            "expected_duration_ms": 0, "expected_loss": { "commits": 0, "percent": 0.0 }, "undoable": true,
        },
    });
    serde_json::from_value(intent).unwrap()
}

fn outcome() -> Outcome {
    serde_json::from_value(serde_json::json!({
        "incident": "INC-1", "kind": "index.corrupt", "subject": "by_name", "repair": "index.rebuild",
        "outcome_result": "Verified", "reason": "", "duration_ms": 1,
        "loss": { "commits": 0, "percent": 0.0 }, "notes": [],
    }))
    .unwrap()
}

/// Names and bytes of the files in a directory.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let is_state = |name: &str| !["ballast", "state.lock"].contains(&name);
    let files = entries
        .filter(|entry| entry.path().is_file() && entry.file_name().to_str().is_some_and(is_state));
    files
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

#[test]
fn what_was_appended_is_read_again_and_counted_on() {
    let dir = tempfile::tempdir().unwrap();
    for (at_ms, incident) in [(7, "INC-1"), (8, "INC-2")] {
        let store = Store::open(dir.path()).unwrap();
        store.append(at_ms, &said(incident)).unwrap();
    }
    let lines = Reader::open(dir.path()).unwrap().unwrap();
    let all = lines.entries(None).unwrap();
    let numbers: Vec<_> = all.iter().map(|line| (line.seq, line.at_ms)).collect();
    assert_eq!(numbers, [(1, 7), (2, 8)]);
    let of = lines.entries(Some("INC-2")).unwrap();
    assert_eq!(of, all[1..]);
}

#[test]
fn a_step_is_kept_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.append(1, &command(Some("a"), "INC-1")).unwrap();
    let carried = Carried {
        next_incident: 9,
        ..Carried::default()
    };
    let row = |entry: &JournalEntry| Row::of(2, entry).unwrap();
    // The last of it cannot be written: there is such a command already.
    let kept = Kept {
        entries: vec![row(&said("INC-2")), row(&command(Some("a"), "INC-3"))],
        heard: vec![1],
        carried: Some(carried),
        services: None,
    };
    store.keep(&kept).unwrap_err();
    assert_eq!(store.carried().unwrap().carried.next_incident, 1);
    assert_eq!(store.unheard().unwrap().len(), 1);
    let kept = Kept {
        entries: vec![row(&said("INC-2"))],
        ..kept
    };
    store.keep(&kept).unwrap();
    assert_eq!(store.carried().unwrap().carried.next_incident, 9);
    assert_eq!(store.unheard().unwrap()[0].seq, 2);
    drop(store);
    assert_eq!(entries(dir.path()).len(), 2);
}

#[test]
fn a_step_with_nothing_new_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.save_carried(carried(now_ms())).unwrap();
    let log = || fs::read(dir.path().join("state.db-wal")).unwrap();
    let before = log();
    let same = store.carried().unwrap().carried;
    store.save_carried(same.clone()).unwrap();
    store.keep(&Kept::default()).unwrap();
    assert!(log() == before);
    // One target changes, and one goes.
    let mut other = same;
    let shop = other.targets["shop"].clone();
    other.targets.insert("stock".into(), shop);
    store.save_carried(other.clone()).unwrap();
    other.targets.remove("shop");
    store.save_carried(other).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let names: Vec<String> = store
        .carried()
        .unwrap()
        .carried
        .targets
        .into_keys()
        .collect();
    assert_eq!(names, ["stock"]);
}

#[test]
fn a_second_one_is_told_that_the_directory_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!Store::is_in_use(dir.path()));
    let first = Store::open(dir.path()).unwrap();
    assert!(Store::is_in_use(dir.path()));
    assert!(matches!(
        Store::open(dir.path()),
        Err(StoreError::InUse { .. })
    ));
    drop(first);
    assert!(!Store::is_in_use(dir.path()));
}

#[test]
fn a_reader_makes_changes_and_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Reader::open(dir.path()).unwrap().is_none());
    let store = Store::open(dir.path()).unwrap();
    store.append(1, &said("INC-1")).unwrap();
    // Beside who writes.
    assert_eq!(entries(dir.path()), [said("INC-1")]);
    let reader = Reader::open(dir.path()).unwrap().unwrap();
    store.append(2, &said("INC-2")).unwrap();
    assert_eq!(reader.entries(None).unwrap().len(), 1, "one moment");
    drop(reader);
    assert_eq!(entries(dir.path()).len(), 2);
    // After one that was killed: as its files are now.
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let before = files(killed.path());
    assert!(before.contains_key("state.db-wal") && before.contains_key("state.db-shm"));
    assert_eq!(entries(killed.path()).len(), 2);
    assert!(files(killed.path()) == before);
    // At rest the log is empty, and all stands in the database itself.
    drop(store);
    let before = files(dir.path());
    assert!(before["state.db-wal"].is_empty());
    assert_eq!(entries(dir.path()).len(), 2);
    assert!(files(dir.path()) == before);
    // As a copy of the database alone.
    for name in ["state.db-wal", "state.db-shm"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let before = files(dir.path());
    assert_eq!(entries(dir.path()).len(), 2);
    assert!(files(dir.path()) == before);
}

/// The child of the test below: reads, and reads again when it is told to.
#[test]
fn reads_for_long() {
    let Some(dir) = env::var_os("STATE_TO_READ") else {
        return;
    };
    let reader = Reader::open(Path::new(&dir)).unwrap().unwrap();
    for line in std::io::stdin().lines() {
        line.unwrap();
        println!("{} entries", reader.entries(None).unwrap().len());
    }
}

#[test]
fn who_reads_at_rest_keeps_nobody_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.append(1, &said("INC-1")).unwrap();
    drop(store);
    // Within one process SQLite lets both share what the one that reads cannot write.
    let mut child = Process::new(env::current_exe().unwrap())
        .args(["store::tests::reads_for_long", "--exact", "--nocapture"])
        .env("STATE_TO_READ", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reads_one = |what: &str| {
        told.write_all(b"again\n").unwrap();
        let mut entries = lines.by_ref().map(Result::unwrap);
        let read = entries.find(|line| line.ends_with(" entries")).unwrap();
        assert!(read.ends_with("1 entries"), "{what}: {read}");
    };
    reads_one("at rest");
    let store = Store::open(dir.path()).unwrap();
    store.append(2, &said("INC-2")).unwrap();
    reads_one("beside who writes");
    drop(store);
    reads_one("after who wrote");
    drop(told);
    assert!(child.wait().unwrap().success());
    assert_eq!(entries(dir.path()).len(), 2);
}

#[test]
fn a_lock_that_somebody_removed_is_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fs::remove_file(dir.path().join("state.lock")).unwrap();
    assert!(store.is_in_place());
    assert!(matches!(
        Store::open(dir.path()),
        Err(StoreError::InUse { .. })
    ));
    // Where another one was faster, this one is not in its place any more.
    fs::remove_file(dir.path().join("state.lock")).unwrap();
    let other = fs::File::create(dir.path().join("state.lock")).unwrap();
    other.lock().unwrap();
    assert!(!store.is_in_place());
    drop(other);
    assert!(store.is_in_place());
}

#[test]
fn no_byte_changes_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for number in 0..20 {
        let incident = format!("INC-{number}{}", "0".repeat(800));
        store.append(number, &said(&incident)).unwrap();
    }
    store.save_carried(carried(now_ms())).unwrap();
    drop(store);
    let all = entries(dir.path());
    let whole = fs::read(dir.path().join("state.db")).unwrap();
    let (mut set_aside, mut left_out) = (0, 0);
    let flips = [1, 0x80, 0xff].into_iter().cycle();
    for (at, flip) in (0..whole.len()).step_by(997).zip(flips) {
        let point = format!("byte {at}, {flip:#x}");
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= flip;
        fs::write(dir.path().join("state.db"), &bytes).unwrap();
        // What is read is what was written, and what is not is counted.
        let mut read = Vec::new();
        let counted = Reader::open(dir.path())
            .and_then(|reader| reader.unwrap().each(None, |line| read.push(line.entry)));
        if let Ok(damaged) = counted {
            assert!(read.iter().all(|one| all.contains(one)), "{point}");
            assert!(read.len() as u64 + damaged >= 20, "{point}");
            left_out += damaged;
        }
        let store = match Store::open(dir.path()) {
            Ok(store) => store,
            Err(StoreError::Newer { .. }) => continue,
            Err(error) => panic!("{point}: {error}"),
        };
        if store.begun_anew().is_some() {
            let kept = files(dir.path());
            let aside = kept.iter().find(|(name, _)| name.starts_with("damaged-"));
            assert!(aside.unwrap().1 == &bytes, "{point}");
            set_aside += 1;
        } else {
            // An index or a page that holds nothing may have been another.
            assert_eq!(store.unheard().unwrap().len(), 20, "{point}");
        }
    }
    assert!(set_aside > 3 && left_out > 3, "{set_aside} {left_out}");
}

#[test]
fn what_stands_beside_an_entry_is_held_against_it() {
    for (column, value) in [
        ("kind", "'said '"),
        ("incident", "'INC-2'"),
        ("command", "'c'"),
        ("heard", "1"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.append(1, &command(Some("a"), "INC-1")).unwrap();
        store.append(2, &command(Some("b"), "INC-3")).unwrap();
        let sql = format!("UPDATE entries SET {column} = {value} WHERE seq = 1");
        store.lock().db.execute(&sql, []).unwrap();
        drop(store);
        let mut read = Vec::new();
        let reader = Reader::open(dir.path()).unwrap().unwrap();
        let damaged = reader.each(None, |line| read.push(line.seq)).unwrap();
        assert_eq!((damaged, read.as_slice()), (1, &[2][..]), "{column}");
    }
}

#[test]
fn an_index_that_disagrees_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for number in 0..50 {
        let id = format!("identifier {number}");
        store.append(number, &command(Some(&id), "INC-1")).unwrap();
    }
    drop(store);
    let path = dir.path().join("state.db");
    let mut bytes = fs::read(&path).unwrap();
    let is_there = |at: &usize| bytes[*at..].starts_with(b"identifier 7");
    let places: Vec<usize> = (0..bytes.len() - 12).filter(is_there).collect();
    let (mut built_again, mut set_aside) = (0, 0);
    for at in places {
        bytes[at] ^= 2;
        fs::write(&path, &bytes).unwrap();
        let copy = tempfile::tempdir().unwrap();
        self::copy(dir.path(), copy.path());
        let store = Store::open(copy.path()).unwrap();
        if store.begun_anew().is_some() {
            set_aside += 1;
        } else {
            assert_eq!(store.unheard().unwrap().len(), 50);
            let known = store.lock();
            let found = reader::command_of(&known.db, &known.path, "identifier 7").unwrap();
            assert_eq!(found.map(|(seq, _)| seq), Some(8));
            built_again += 1;
        }
        bytes[at] ^= 2;
    }
    assert!(
        built_again >= 1 && set_aside >= 1,
        "{built_again} {set_aside}"
    );
}

#[test]
fn what_is_no_state_is_set_aside_as_it_was_found() {
    for name in [
        "text",
        "nothing",
        "nothing, with a log",
        "too short",
        "another's",
        "another's without a table",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let foreign = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        match name {
            "text" => fs::write(&path, "a text").unwrap(),
            "too short" => fs::write(&path, "SQLite format 3\0").unwrap(),
            "another's" => foreign("CREATE TABLE t(x); INSERT INTO t VALUES (1)"),
            "another's without a table" => foreign("PRAGMA user_version = 1"),
            _ => fs::write(&path, "").unwrap(),
        }
        if name.ends_with("with a log") {
            fs::write(path.with_extension("db-wal"), vec![7; 4096]).unwrap();
        }
        let before = files(dir.path());
        let store = Store::open(dir.path()).unwrap();
        assert!(store.begun_anew().is_some(), "{name}");
        let aside = files(dir.path());
        for (of, bytes) in before {
            let found = aside
                .iter()
                .find(|(name, _)| name.starts_with("damaged-") && name.ends_with(&of));
            assert!(found.unwrap().1 == &bytes, "{name}: {of}");
        }
    }
}

#[test]
fn one_that_is_half_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["state.db.new", "state.db.new-journal", "state.db.new-wal"] {
        fs::write(dir.path().join(name), [7; 5000]).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!((store.begun_anew(), store.notes()), (None, &[][..]));
    let left = files(dir.path()).into_keys();
    assert_eq!(left.filter(|name| name.contains("new")).count(), 0);
}

#[test]
fn a_state_that_is_gone_is_told_until_a_run_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.begun_anew(), None, "the first one");
    store.append(1, &said("INC-1")).unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path()).unwrap().begun_anew(), None);
    fs::remove_file(dir.path().join("state.db")).unwrap();
    for _ in 0..2 {
        let store = Store::open(dir.path()).unwrap();
        let why = store.begun_anew().unwrap();
        assert!(why.contains("state.db is gone"), "{why}");
        assert!(store.notes().iter().any(|note| note == why));
    }
    let store = Store::open(dir.path()).unwrap();
    store.told_begun_anew().unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!((store.begun_anew(), store.notes()), (None, &[][..]));
}

/// SQLite takes a log whose end is gone for an older state that is whole.
#[test]
fn a_repair_is_known_whatever_is_lost_of_the_end_of_the_log() {
    const FRAME: usize = 4096 + 24;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.append(1, &said("INC-1")).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let begun = intent(&store.new_repair_id());
    store.begin_repair(2, &begun).unwrap();
    let steps = ["copy", "rebuild", "verify"];
    for step in steps {
        store.begin_step(3, &begun, step).unwrap();
    }
    let whole = files(dir.path());
    let intents = files(&dir.path().join("intents"));
    let log = &whole["state.db-wal"];
    let mut lengths: Vec<usize> = (32..=log.len()).step_by(FRAME).collect();
    assert!(lengths.len() > 6, "{lengths:?}");
    lengths.push(0);
    let mut were_lost = 0;
    for length in lengths {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &whole {
            let end = if name == "state.db-wal" {
                length
            } else {
                bytes.len()
            };
            fs::write(dir.path().join(name), &bytes[..end]).unwrap();
        }
        if length == 0 {
            fs::remove_file(dir.path().join("state.db-wal")).unwrap();
        }
        fs::create_dir(dir.path().join("intents")).unwrap();
        for (name, bytes) in &intents {
            fs::write(dir.path().join("intents").join(name), bytes).unwrap();
        }
        for start in ["first", "second"] {
            let store = Store::open(dir.path()).unwrap();
            assert_eq!(store.lost(), [], "{start}, {length}");
            let open = store.open_repairs().unwrap();
            assert_eq!(open.len(), 1, "{start}, {length}");
            assert_eq!(
                (&open[0].intent, open[0].steps.as_slice()),
                (&begun, &steps.map(str::to_owned)[..])
            );
            assert_ne!(store.new_repair_id(), begun.repair_id, "{length}");
            were_lost += store.notes().len();
        }
    }
    assert!(were_lost > 0, "no log was without the intent");
}

#[test]
fn a_repair_whose_end_is_lost_halts_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let begun = intent(&store.new_repair_id());
    store.begin_repair(2, &begun).unwrap();
    store.begin_step(3, &begun, "rebuild").unwrap();
    let before = files(dir.path());
    store.close_repair(4, &begun, &outcome(), false).unwrap();
    drop(store);
    // The state without what was written last, and no file.
    for (name, bytes) in before {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    for start in ["first", "second"] {
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.lost(), std::slice::from_ref(&begun), "{start}");
        assert_eq!(store.open_repairs().unwrap(), [], "{start}");
        assert_eq!(store.unheard_ends().unwrap().len(), 1, "{start}");
        assert_ne!(store.new_repair_id(), begun.repair_id, "{start}");
    }
    let store = Store::open(dir.path()).unwrap();
    store.settle(&begun.repair_id).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.lost(), []);
    assert_ne!(store.new_repair_id(), begun.repair_id);
}

#[test]
fn a_file_of_a_repair_that_nobody_can_read_keeps_nobody_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [open, closed] = [(), ()].map(|()| intent(&store.new_repair_id()));
    for intent in [&open, &closed] {
        store.begin_repair(1, intent).unwrap();
        store.begin_step(2, intent, "rebuild").unwrap();
    }
    store.close_repair(3, &closed, &outcome(), false).unwrap();
    drop(store);
    let files = dir.path().join("intents");
    let unknown = "R-77.json";
    for name in [
        format!("{}.json", open.repair_id),
        format!("{}.json", closed.repair_id),
        unknown.to_owned(),
    ] {
        fs::write(files.join(name), [0xff; 40]).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    let known = store.open_repairs().unwrap();
    assert_eq!((known.len(), &known[0].intent), (1, &open));
    let [note] = store.notes() else {
        panic!("{:?}", store.notes());
    };
    assert!(note.contains("R-77.json.unreadable"), "{note}");
    assert_eq!(store.new_repair_id(), "R-78");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!((store.notes(), store.lost()), (&[][..], &[][..]));
    let left = self::files(&files);
    let left: Vec<&str> = left.keys().map(String::as_str).collect();
    assert_eq!(
        left,
        [
            format!("{}.json", open.repair_id),
            "R-77.json.unreadable".to_owned()
        ]
    );
}

#[test]
fn how_a_repair_ended_is_heard_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let begun = intent(&store.new_repair_id());
    store.begin_repair(1, &begun).unwrap();
    let seq = store.close_repair(2, &begun, &outcome(), true).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let expected = ClosedRepair {
        seq,
        target: Some("shop".to_owned()),
        outcome: outcome(),
        interrupted: true,
    };
    assert_eq!(store.unheard_ends().unwrap(), [expected]);
    assert_eq!(store.unheard().unwrap(), [], "it is no command");
    let heard = Kept {
        heard: vec![seq],
        ..Kept::default()
    };
    store.keep(&heard).unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path()).unwrap().unheard_ends().unwrap(), []);
}

#[test]
fn a_state_that_vanished_is_made_again_with_what_is_known() {
    let home = tempfile::tempdir().unwrap();
    let (dir, gone) = (home.path().join("state"), home.path().join("gone"));
    let store = Store::open(&dir).unwrap();
    let known = Carried {
        next_incident: 9,
        ..carried(now_ms())
    };
    let halted = |store: &Store| {
        let carried = store.carried().unwrap().carried;
        (
            carried.next_incident,
            carried.targets["shop"].guard.halted.is_some(),
        )
    };
    // The directory, with a command that was given meanwhile; then the database alone.
    fs::rename(&dir, &gone).unwrap();
    let meanwhile = Store::open(&dir).unwrap();
    meanwhile.append(1, &said("INC-1")).unwrap();
    assert!(matches!(
        store.make_again(&known),
        Err(StoreError::InUse { .. })
    ));
    drop(meanwhile);
    store.make_again(&known).unwrap();
    drop(store);
    let store = Store::open(&dir).unwrap();
    assert_eq!(
        (halted(&store), store.unheard().unwrap().len()),
        ((9, true), 1)
    );
    assert!(matches!(
        store.make_again(&known),
        Err(StoreError::InUse { .. })
    ));
    fs::remove_file(dir.join("state.db")).unwrap();
    store.make_again(&known).unwrap();
    drop(store);
    let store = Store::open(&dir).unwrap();
    assert_eq!((halted(&store), store.begun_anew()), ((9, true), None));
}

#[test]
fn commands_are_known_by_identifier_and_heard_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.append(1, &command(Some("a"), "INC-1")).unwrap(), 1);
    assert_eq!(store.append(2, &command(Some("b"), "INC-2")).unwrap(), 2);
    let heard = Kept {
        heard: vec![1],
        ..Kept::default()
    };
    store.keep(&heard).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let number_of = |id: Option<&str>, incident: &str| {
        let JournalEntry::Said { command, asker } = command(id, incident) else {
            unreachable!("it is a command");
        };
        store.number_of(&Request { asker, command })
    };
    assert_eq!(number_of(Some("a"), "INC-1").unwrap(), Some(1));
    assert_eq!(number_of(Some("c"), "INC-1").unwrap(), None);
    assert!(matches!(
        number_of(Some("a"), "INC-2"),
        Err(StoreError::SameName { seq: 1, .. })
    ));
    for id in [None, Some("")] {
        assert!(matches!(number_of(id, "INC-1"), Err(StoreError::Nameless)));
    }
    let unheard = store.unheard().unwrap();
    assert_eq!(unheard.iter().map(|one| one.seq).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_an_entry_tells_stands_beside_it() {
    let row = |entry: &JournalEntry| Row::of(1, entry).unwrap();
    let of = row(&said("INC-7"));
    assert_eq!(
        (of.kind.as_str(), of.incident.as_deref()),
        ("said", Some("INC-7"))
    );
    let of = row(&JournalEntry::RepairIntended(Box::new(intent("R-3"))));
    let beside = (of.kind.as_str(), of.target.as_deref(), of.repair.as_deref());
    assert_eq!(beside, ("repair_intended", Some("shop"), Some("R-3")));
    let effect = serde_json::from_value(serde_json::json!({
        "level_changed": { "target": "shop", "from": "Normal", "to": "Warn" },
    }));
    let of = row(&JournalEntry::Happened {
        effect: effect.unwrap(),
    });
    assert_eq!(
        (of.kind.as_str(), of.target.as_deref()),
        ("level_changed", Some("shop"))
    );
}

#[test]
fn a_repair_that_has_begun_is_known_without_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let begun = || {
        let store = Store::open(dir.path()).unwrap();
        let intent = intent(&store.new_repair_id());
        store.begin_repair(1, &intent).unwrap();
        store.begin_step(2, &intent, "rebuild").unwrap();
        intent
    };
    let first = begun();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.lost().is_empty());
    let open = store.open_repairs().unwrap();
    assert_eq!(
        (open.len(), open[0].steps.as_slice()),
        (1, &["rebuild".to_owned()][..])
    );
    // Closed, it leaves no file.
    store.close_repair(3, &first, &outcome(), false).unwrap();
    assert!(files(&dir.path().join("intents")).is_empty());
    drop(store);
    // Damaged, the database is set aside, and the repair is not known to it any more.
    let second = begun();
    let mut bytes = fs::read(dir.path().join("state.db")).unwrap();
    bytes[..16].copy_from_slice(b"no such database");
    fs::write(dir.path().join("state.db"), bytes).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.lost(), std::slice::from_ref(&second));
    assert!(
        store.notes()[0].contains("begun anew"),
        "{:?}",
        store.notes()
    );
    drop(store);
    // It stays so until somebody is told; also where the database is gone.
    fs::remove_file(dir.path().join("state.db")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.lost().len(), 1);
    store.settle(&second.repair_id).unwrap();
    drop(store);
    assert!(Store::open(dir.path()).unwrap().lost().is_empty());
}

/// The child of the test below: in a directory that lies on a small disk of its own.
#[test]
fn on_a_small_disk() {
    let Some(dir) = env::var_os("STATE_ON_A_SMALL_DISK").map(PathBuf::from) else {
        return;
    };
    let store = Store::open(&dir).unwrap();
    let begun = intent(&store.new_repair_id());
    store.begin_repair(1, &begun).unwrap();
    let filler = dir.join("filler");
    let fill = || {
        let mut file = fs::File::options();
        let mut file = file.append(true).create(true).open(&filler).unwrap();
        while file.write_all(&[7; 512]).is_ok() {}
    };
    fill();
    let error = store.append(2, &said("INC-1")).unwrap_err();
    assert!(
        matches!(error, StoreError::Database { .. } | StoreError::Io { .. }),
        "{error}"
    );
    for step in 0..30 {
        store
            .begin_step(3, &begun, &format!("step {step}"))
            .unwrap();
    }
    // What is left belongs to the repair.
    store.append(4, &said("INC-2")).unwrap_err();
    store.close_repair(5, &begun, &outcome(), false).unwrap();
    assert!(store.open_repairs().unwrap().is_empty());
    let another = intent(&store.new_repair_id());
    store.begin_repair(6, &another).unwrap_err();
    assert!(files(&dir.join("intents")).is_empty());
    fs::remove_file(&filler).unwrap();
    store.append(7, &said("INC-3")).unwrap();
    // A start on a full disk takes the room; from then on only a repair that has begun is written down.
    fill();
    drop(store);
    fill();
    let store = Store::open(&dir).unwrap();
    store.append(8, &said("INC-4")).unwrap_err();
    fs::remove_file(&filler).unwrap();
    store.append(9, &said("INC-5")).unwrap();
    store.begin_repair(10, &another).unwrap();
    assert_eq!(entries(&dir).len(), 35);
    println!("it was full");
}

#[test]
fn a_repair_that_has_begun_is_written_down_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=8m,mode=700 none \"$STATE_ON_A_SMALL_DISK\" || exit 77; exec \"$@\"";
    let child = Process::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["store::tests::on_a_small_disk", "--exact", "--nocapture"])
        .env("STATE_ON_A_SMALL_DISK", dir.path())
        .output();
    let Some(child) = child
        .ok()
        .filter(|child| ![Some(1), Some(77)].contains(&child.status.code()))
    else {
        println!("not run: this machine lets nobody mount something for one process");
        return;
    };
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(said.contains("it was full"), "{said}");
}

/// What a run leaves that approved a repair and made one, half a second ago.
fn carried(at_ms: u64) -> Carried {
    let at = |ms: u64| at_ms - ms;
    let carried = serde_json::json!({
        "next_incident": 4,
        "targets": { "shop": {
            "level": "Warn", "level_since_ms": at(9_000), "memories": {}, "repairs": [],
            "guard": {
                "halted": "INC-2: damage",
                "past": [{ "kind": "k", "subject": "s", "began_ms": at(700) }],
                "last_ended_ms": at(600),
            },
        } },
        "breakers": { "default": { "0a": {
            "state": { "open": { "until_ms": at_ms + 5_000 } },
            "latest": [], "in_a_row": 0, "good": 0, "trips": 1,
            "probation": null,
        } } },
    });
    serde_json::from_value(carried).unwrap()
}

/// What the last run left, as if it had been written under another clock.
fn written_at(store: &Store, carried: Carried, mark: Option<serde_json::Value>) {
    store.save_carried(carried).unwrap();
    let db = &store.lock().db;
    db.execute("DELETE FROM meta WHERE key = 'carried_at'", [])
        .unwrap();
    if let Some(mark) = mark {
        db.execute(
            "INSERT INTO meta VALUES ('carried_at', ?1)",
            [mark.to_string()],
        )
        .unwrap();
    }
}

/// The mark of this moment under a wall clock that was different then.
fn mark_of(then_ms: u64) -> serde_json::Value {
    let mut mark = serde_json::to_value(TimeMark::now()).unwrap();
    mark["at_ms"] = then_ms.into();
    mark["moment"]["wall_ms"] = then_ms.into();
    mark
}

#[test]
fn what_is_carried_keeps_its_age_when_the_wall_clock_is_set_between_two_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let close = |at_ms: u64, expected_ms: u64| at_ms.abs_diff(expected_ms) < 2_000;
    for by_ms in [-20 * HOUR_MS, -HOUR_MS, 0, HOUR_MS, 20 * HOUR_MS] {
        // The run that wrote it had a wall clock that was behind by this.
        let then_ms = now_ms().saturating_add_signed(-by_ms);
        written_at(&store, carried(then_ms), Some(mark_of(then_ms)));
        let CarriedOver { carried, moved_ms } = store.carried().unwrap();
        assert!(moved_ms.abs_diff(by_ms) < 2_000, "{moved_ms} for {by_ms}");
        let shop = &carried.targets["shop"];
        let past_ms = shop.guard.past[0].began_ms;
        assert!(close(past_ms, now_ms() - 700), "{past_ms} by {by_ms}");
        assert!(close(shop.guard.last_ended_ms.unwrap(), now_ms() - 600));
        assert!(close(shop.level_since_ms, now_ms() - 9_000));
        assert_eq!(shop.guard.halted.as_deref(), Some("INC-2: damage"));
        let breaker = serde_json::to_value(&carried.breakers["default"]["0a"]).unwrap();
        let until_ms = breaker["state"]["open"]["until_ms"].as_u64().unwrap();
        assert!(close(until_ms, now_ms() + 5_000), "{until_ms}");
    }
    // The machine was started since, and its clock lies before the last run: no time has passed.
    let then_ms = now_ms() + 20 * 3_600_000;
    let mark = serde_json::json!({
        "at_ms": then_ms,
        "moment": { "wall_ms": then_ms, "boot": "another", "since_boot_ms": 1 },
    });
    written_at(&store, carried(then_ms), Some(mark));
    let CarriedOver { carried, .. } = store.carried().unwrap();
    let past_ms = carried.targets["shop"].guard.past[0].began_ms;
    assert!(close(past_ms, now_ms() - 700), "{past_ms}");
    // Without a mark nothing is moved, but nothing is later than now.
    written_at(&store, self::carried(then_ms), None);
    let CarriedOver { carried, moved_ms } = store.carried().unwrap();
    let past_ms = carried.targets["shop"].guard.past[0].began_ms;
    assert!(moved_ms == 0 && past_ms <= now_ms(), "{past_ms}");
}

#[test]
fn an_end_that_is_to_come_is_not_cut_off_when_times_are_moved() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let then_ms = now_ms() - 5 * 3_600_000;
    let said = serde_json::json!({ "by": "alice", "at_ms": then_ms });
    let carried = serde_json::json!({
        "next_incident": 1,
        "silences": { "count": 1, "in_force": [
            { "id": "SIL-1", "target": "shop", "ends_ms": then_ms + 7_200_000, "said": said },
        ] },
        "targets": { "shop": {
            "level": "Normal", "level_since_ms": 0, "memories": {}, "repairs": [],
            "guard": { "halted": null, "past": [], "last_ended_ms": null },
            "maintenance": {
                "commanded": { "name": "command", "begins_ms": then_ms, "ends_ms": then_ms + 3_600_000 },
                "withheld": 2,
            },
        } },
    });
    let carried: Carried = serde_json::from_value(carried).unwrap();
    // The wall clock was five hours behind then.
    written_at(&store, carried, Some(mark_of(then_ms)));
    let over = store.carried().unwrap();
    let close = |at_ms: u64, expected_ms: u64| at_ms.abs_diff(expected_ms) < 2_000;
    let silence = &over.carried.silences.in_force[0];
    assert!(close(silence.ends_ms, now_ms() + 7_200_000), "{silence:?}");
    assert!(silence.said.at_ms <= now_ms());
    let window = over.carried.targets["shop"].maintenance.commanded.clone();
    assert!(close(window.unwrap().ends_ms, now_ms() + 3_600_000));
}
