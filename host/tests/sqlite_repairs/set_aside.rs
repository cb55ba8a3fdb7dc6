use super::*;

const REPAIR: &str = "wal.set-aside";

fn books(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT sum(length(isbn)) FROM books", [], |row| row.get(0))
        .unwrap()
}

/// A backup of a database that was copied over it while the log of a writer that died lies beside it.
fn with_foreign_log() -> (Place, Vec<Fact>, i64) {
    let place = Place::new(
        "PRAGMA journal_mode=WAL; CREATE TABLE books(id INTEGER PRIMARY KEY, isbn TEXT);
         CREATE INDEX books_isbn ON books(isbn);
         WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<2000)
         INSERT INTO books(isbn) SELECT hex(x * 7919 % 30011) FROM c;
         PRAGMA wal_checkpoint(TRUNCATE);",
    );
    let backup = fs::read(&place.database).unwrap();
    let held = books(&place.database);
    let script = format!(
        "{WAL} UPDATE books SET isbn = isbn || '~' WHERE id BETWEEN 100 AND 400;
         PRAGMA wal_checkpoint(TRUNCATE); UPDATE books SET isbn = isbn || '!' WHERE id BETWEEN 380 AND 440;"
    );
    drop(Owner::start(&place.database, &script, &[]));
    fs::write(&place.database, backup).unwrap();
    let wal = place.look().wal.unwrap();
    let facts = vec![
        integer("salt_1", wal.salts.0),
        integer("salt_2", wal.salts.1),
        integer("wal_bytes", wal.bytes),
        integer("wal_commits", wal.commits),
    ];
    (place, facts, held)
}

/// The log that was set aside.
fn aside(place: &Place) -> Option<Vec<u8>> {
    let entries = fs::read_dir(place.database.parent().unwrap()).unwrap();
    let mut names = entries.map(|entry| entry.unwrap().path());
    let path = names.find(|path| path.to_string_lossy().contains("-wal.set-aside-"))?;
    Some(fs::read(path).unwrap())
}

#[test]
fn a_foreign_log_is_renamed_and_the_file_is_what_it_was() {
    let (place, facts, held) = with_foreign_log();
    let before = place.contents();
    let outcome = place.run(REPAIR, facts);
    assert_result(&outcome, OutcomeResult::Verified, "set aside, whole");
    assert_result(&outcome, OutcomeResult::Verified, "is not known");
    assert_eq!(aside(&place).unwrap(), before["-wal"]);
    let after = place.contents();
    assert_eq!(after[""], before[""]);
    assert!(!after.contains_key("-wal"));
    assert_eq!(books(&place.database), held);
}

#[test]
fn a_foreign_log_stays_where_anything_is_not_as_it_was_found() {
    let (place, facts, _) = with_foreign_log();
    let before = place.contents();
    let mut other = facts.clone();
    other[0] = integer("salt_1", 1_u32);
    let outcome = place.run(REPAIR, other);
    assert_result(&outcome, OutcomeResult::Refused, "same-companion");
    assert_eq!((place.contents(), aside(&place)), (before.clone(), None));
    // Said to be proven, and not so.
    let mut proven = facts.clone();
    proven.push(Fact {
        name: "proven".into(),
        value: Value::Boolean(true),
    });
    let outcome = place.run(REPAIR, proven);
    assert_result(&outcome, OutcomeResult::Refused, "not so any more");
    assert_eq!((place.contents(), aside(&place)), (before.clone(), None));

    // Opened between the copy and the rename, by a program that reads nothing yet.
    let mut open = None;
    let outcome = place.run_with(REPAIR, facts.clone(), &mut |step| {
        if step.step == "set-aside" {
            open = Some(Owner::start(
                &place.database,
                "BEGIN; SELECT 1",
                &["OWNER_READS"],
            ));
        }
    });
    assert_ne!(
        outcome.outcome_result,
        OutcomeResult::Verified,
        "{outcome:?}"
    );
    assert_eq!(aside(&place), None);
    assert_eq!(place.contents()["-wal"], before["-wal"]);
    let outcome = place.run(REPAIR, facts);
    assert_result(&outcome, OutcomeResult::Refused, "no-other-process");
}

#[test]
fn a_log_beside_a_damaged_file_is_not_set_aside() {
    let (place, facts, _) = with_foreign_log();
    let mut bytes = fs::read(&place.database).unwrap();
    let page = bytes
        .chunks_mut(4096)
        .rfind(|page| page[0] == 0x0d)
        .unwrap();
    page[3] = 0xff;
    fs::write(&place.database, bytes).unwrap();
    let before = place.contents();
    let outcome = place.run(REPAIR, facts);
    assert_result(&outcome, OutcomeResult::Refused, "file-sound");
    assert_eq!((place.contents(), aside(&place)), (before, None));
}

#[test]
fn setting_a_log_aside_can_be_cut_off_anywhere() {
    let mut kills = 0;
    for name in ["KILL_BEFORE", "KILL_AFTER"] {
        for n in 1.. {
            let (place, facts, held) = with_foreign_log();
            let before = place.contents();
            let killed = run_repair_killed(REPAIR, &place, &facts, Some((name, n)));
            if killed.signal() != Some(9) {
                assert!(n > 3, "{n} entries");
                break;
            }
            kills += 1;
            assert!(run_repair_killed(REPAIR, &place, &facts, None).success());
            assert_eq!(place.contents()[""], before[""], "{name} {n}");
            match aside(&place) {
                Some(log) => {
                    assert_eq!(log, before["-wal"], "{name} {n}");
                    assert_eq!(books(&place.database), held, "{name} {n}");
                }
                None => assert_eq!(place.contents(), before, "{name} {n}"),
            }
        }
    }
    assert!(kills >= 6, "{kills} kills");
}
