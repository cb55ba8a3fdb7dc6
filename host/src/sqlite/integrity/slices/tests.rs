//! Against real files in rollback mode, with writers beside.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::turns::{LEAST_REST, LEAST_REST_BESIDE_COMMITS, REST_BESIDE_COMMITS, Rest};
use super::*;
use crate::sqlite_state::Mode;

const CHECK: Check = Check {
    mode: Mode::Sliced,
    max_faults: 100,
    deadline: None,
};

/// A database in rollback mode with 20,000 rows, an index of columns, one of an expression and of some
/// rows, and a clustered table.
fn database() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT);
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO t SELECT i, i * 7919 % 20011, printf('row %d', i * 104729 % 20011) FROM n;
             CREATE INDEX plain ON t(b, a DESC);
             CREATE INDEX computed ON t(a + 1) WHERE a % 2 = 0;
             CREATE TABLE w(k INTEGER PRIMARY KEY, v) WITHOUT ROWID;
             INSERT INTO w SELECT id, b FROM t WHERE id < 100;
             CREATE TABLE small(x UNIQUE);
             INSERT INTO small VALUES (1), (2), (3);",
        )
        .unwrap();
    (directory, path)
}

/// Checks to the end, and says what it took.
fn checked(path: &Path) -> Integrity {
    to_the_end(slices(), path)
}

/// Slices that rest no longer beside others than without them.
fn slices() -> Slices {
    let mut slices = Slices::new(CHECK);
    slices.turns.committed = None;
    slices.turns.beside_commits.times = 1;
    slices.turns.beside_commits.least = LEAST_REST;
    slices
}

fn to_the_end(mut slices: Slices, path: &Path) -> Integrity {
    let until = Instant::now() + Duration::from_mins(2);
    while !slices.go_on(path, Duration::from_millis(200)).unwrap() {
        assert!(Instant::now() < until, "it does not end");
    }
    slices.checked(None).integrity
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Changes rows while their indexes are not looked after.
fn behind_the_indexes(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA writable_schema = ON;
             CREATE TEMP TABLE kept AS SELECT * FROM main.sqlite_schema WHERE type = 'index' AND sql NOT NULL;
             DELETE FROM main.sqlite_schema WHERE name IN (SELECT name FROM kept);
             PRAGMA writable_schema = RESET; {sql};
             PRAGMA writable_schema = ON;
             INSERT INTO main.sqlite_schema SELECT * FROM kept;
             PRAGMA writable_schema = RESET;"
        ))
        .unwrap();
}

#[test]
fn a_sound_database_has_no_fault_and_all_of_it_is_read() {
    let (_directory, path) = database();
    let before = std::fs::read(&path).unwrap();
    let found = checked(&path);
    assert_eq!((&found.faults, &found.error), (&Vec::new(), &None));
    assert_eq!(found.unjudged, []);
    let coverage = found.coverage.unwrap();
    assert_eq!(coverage.rows, 20_003);
    assert_eq!(coverage.entries, 30_000, "{coverage:?}");
    assert_eq!(coverage.tables, 3);
    assert!(coverage.slicing.unwrap().slices > 3);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(!path.with_extension("db-journal").exists());
}

#[test]
fn each_row_and_each_entry_that_disagrees_is_named() {
    let (_directory, path) = database();
    behind_the_indexes(
        &path,
        "UPDATE t SET b = 'other' WHERE id % 400 = 1;
         DELETE FROM t WHERE id % 400 = 2;
         INSERT INTO t SELECT id + 100000, a, b FROM t WHERE id % 400 = 3;
         UPDATE t SET a = a + 2 WHERE id % 400 = 4",
    );
    let found = checked(&path);
    let told = |message: &str| {
        let is_told = |fault: &IntegrityFault| fault.message == message;
        assert!(found.faults.iter().any(is_told), "{message}");
    };
    for k in 0..50 {
        let id = |rest: i64| k * 400 + rest;
        told(&format!("rowid {} missing from index plain", id(1)));
        told(&format!("rowid {} values differ from index plain", id(1)));
        told(&format!(
            "rowid {} of index plain is not in its table",
            id(2)
        ));
        told(&format!(
            "rowid {} missing from index plain",
            100_000 + id(3)
        ));
        told(&format!("rowid {} values differ from index plain", id(4)));
        let a = id(4) * 7919 % 20_011;
        if a % 2 == 0 {
            told(&format!("rowid {} missing from index computed", id(4)));
            told(&format!(
                "rowid {} values differ from index computed",
                id(4)
            ));
        }
    }
    let objects: BTreeSet<&str> = found
        .faults
        .iter()
        .map(|fault| match &fault.object {
            DamagedObject::Index { index, .. } => index.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(objects, BTreeSet::from(["computed", "plain"]));
}

/// Makes the first row of every tenth page of the table `t` unreadable: its header says what no record
/// can be. Gives how many.
fn damage_rows(path: &Path) -> usize {
    let leaves: Vec<i64> = Connection::open(path)
        .unwrap()
        .prepare("SELECT pageno FROM dbstat WHERE name = 't' AND pagetype = 'leaf'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let damaged: Vec<i64> = leaves.into_iter().step_by(10).collect();
    for page in &damaged {
        let start = usize::try_from(page - 1).unwrap() * 4096;
        let cell = usize::from(u16::from_be_bytes([bytes[start + 8], bytes[start + 9]]));
        // Behind the length and the rowid (of one to three bytes) stands the header's length.
        let rowid_bytes = 1 + bytes[start + cell + 1..]
            .iter()
            .take_while(|b| **b >= 0x80)
            .count();
        bytes[start + cell + 1 + rowid_bytes] = 0x7f;
    }
    std::fs::write(path, bytes).unwrap();
    damaged.len()
}

/// Faults whose message ends so.
fn count(found: &Integrity, ending: &str) -> usize {
    let ends = |fault: &&IntegrityFault| fault.message.ends_with(ending);
    found.faults.iter().filter(ends).count()
}

#[test]
fn a_check_whose_time_is_over_says_what_it_found_and_goes_on_later() {
    let (_directory, path) = database();
    behind_the_indexes(&path, "DELETE FROM t WHERE id = 5 OR id = 19999");
    let mut slices = slices();
    while slices.coverage.rows == 0 {
        assert!(!slices.go_on(&path, Duration::from_millis(1)).unwrap());
    }
    let read = slices.coverage.rows;
    assert!(read < 20_000, "{read}");
    let so_far = slices.so_far().integrity;
    assert!(
        so_far
            .error
            .unwrap()
            .contains(&format!("after {read} rows"))
    );
    let found = to_the_end(slices, &path);
    assert_eq!(found.error, None);
    assert_eq!(found.coverage.unwrap().rows, 20_001);
    assert_eq!(count(&found, " of index plain is not in its table"), 2);
}

#[test]
fn rows_that_cannot_be_read_are_stepped_over() {
    let (_directory, path) = database();
    let damaged = damage_rows(&path);
    let found = checked(&path);
    assert_eq!(count(&found, "cannot be read"), damaged);
    let rows = found.coverage.unwrap().rows;
    assert_eq!(rows, 20_003 - damaged as u64);
}

#[test]
fn where_sqlite_breaks_off_at_a_row_the_rest_is_read_all_the_same() {
    let (_directory, path) = database();
    behind_the_indexes(&path, "DELETE FROM t WHERE id > 19990");
    execute(&path, "CREATE TABLE z(x); CREATE INDEX z_x ON z(x)");
    behind_the_indexes(&path, "INSERT INTO z VALUES (1), (2), (3)");
    let damaged = damage_rows(&path);
    let full = Check {
        mode: Mode::Full,
        max_faults: 1000,
        ..CHECK
    };
    let found = super::super::check(&path, Access::InPlace, full).integrity;
    assert_eq!(found.error, None);
    assert_eq!(count(&found, "cannot be read"), damaged);
    assert_eq!(count(&found, " of index plain is not in its table"), 10);
    assert_eq!(count(&found, " missing from index z_x"), 3);
    let nowhere = |fault: &IntegrityFault| fault.object == DamagedObject::Pages;
    assert!(!found.faults.iter().any(nowhere), "{:?}", found.faults);
}

#[test]
fn a_row_whose_number_is_damaged_is_named_and_the_rest_is_read() {
    // Of two bytes it stays among the numbers of the table, of three it lies beyond them all.
    for (tenth, length) in [(2, 2), (9, 3)] {
        let (_directory, path) = database();
        let mut bytes = std::fs::read(&path).unwrap();
        let page: i64 = Connection::open(&path)
            .unwrap()
            .query_row(
                "SELECT pageno FROM dbstat WHERE name = 't' AND pagetype = 'leaf' LIMIT 1
                 OFFSET (SELECT count(*) * ?1 / 10 FROM dbstat WHERE name = 't')",
                [tenth],
                |row| row.get(0),
            )
            .unwrap();
        let start = usize::try_from(page - 1).unwrap() * 4096;
        let place = start + 8 + 20;
        let cell = start + usize::from(u16::from_be_bytes([bytes[place], bytes[place + 1]]));
        let number = &mut bytes[cell + 1..];
        assert_eq!(
            number.iter().take_while(|byte| **byte >= 0x80).count() + 1,
            length
        );
        number[0] = 0xff;
        std::fs::write(&path, bytes).unwrap();
        let found = checked(&path);
        let is_disorder = |fault: &IntegrityFault| fault.message.ends_with("is out of order");
        assert!(found.faults.iter().any(is_disorder), "{:?}", found.faults);
        assert!(found.coverage.unwrap().rows > 19_900);
    }
}

#[test]
fn a_writer_is_kept_waiting_for_milliseconds_and_the_check_ends_beside_it() {
    let (_directory, path) = database();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (path, stop) = (path.clone(), Arc::clone(&stop));
        move || {
            // Whoever is in the way for longer makes a commit fail.
            let connection = Connection::open(path).unwrap();
            connection.busy_timeout(Duration::from_millis(500)).unwrap();
            connection
                .pragma_update(None, "synchronous", "OFF")
                .unwrap();
            let mut commits = 0;
            while !stop.load(Ordering::Relaxed) {
                connection
                    .execute("INSERT INTO t(a, b) VALUES (?1, 'new')", [commits])
                    .unwrap();
                commits += 1;
                thread::sleep(Duration::from_millis(3));
            }
            commits
        }
    });
    let found = checked(&path);
    stop.store(true, Ordering::Relaxed);
    let commits = writer.join().unwrap();
    assert!(commits > 0);
    assert_eq!((&found.faults, &found.error), (&Vec::new(), &None));
    assert!(found.coverage.unwrap().rows >= 20_003);
}

#[test]
fn an_order_that_the_application_defines_is_not_judged() {
    let (_directory, path) = database();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE INDEX theirs ON t(b COLLATE NOCASE)")
        .unwrap();
    let found = checked(&path);
    assert_eq!(found.faults, []);
    let names: Vec<&str> = found.unjudged.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["theirs"]);
}

#[test]
fn a_schema_that_changes_meanwhile_is_read_again() {
    let (_directory, path) = database();
    let mut slices = Slices::new(CHECK);
    assert!(!slices.go_on(&path, Duration::from_millis(15)).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("DROP INDEX plain; CREATE TABLE later(x); INSERT INTO later VALUES (1)")
        .unwrap();
    drop(connection);
    while !slices.go_on(&path, Duration::from_secs(1)).unwrap() {}
    let found = slices.checked(None).integrity;
    assert_eq!((found.faults, found.error), (Vec::new(), None));
}

#[test]
fn an_entry_that_comes_between_two_slices_is_in_order_wherever_it_lies() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let application = Connection::open(&path).unwrap();
    let tick = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                INSERT INTO m(sensor, value) SELECT i, i * 0.5 FROM n";
    application
        .execute_batch(&format!(
            "CREATE TABLE m(id INTEGER PRIMARY KEY, sensor INTEGER, value REAL);
             CREATE INDEX by_sensor ON m(sensor); {tick}; {tick}"
        ))
        .unwrap();
    let mut slices = slices();
    let mut ticks = 0;
    let until = Instant::now() + Duration::from_mins(2);
    // Each slice ends somewhere in the index, and each tick puts an entry behind each second one.
    while !slices.go_on(&path, Duration::from_millis(1)).unwrap() {
        assert!(Instant::now() < until, "it does not end");
        if ticks < 40 {
            application.execute_batch(tick).unwrap();
            ticks += 1;
        }
    }
    let integrity = slices.checked(None).integrity;
    assert_eq!(integrity.faults, Vec::new());
    assert_eq!(integrity.error, None);
}

#[test]
fn a_thousand_tables_are_checked_to_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let application = Connection::open(&path).unwrap();
    application.execute_batch("BEGIN").unwrap();
    for number in 0..1000 {
        let sql = format!(
            "CREATE TABLE table_{number}(id INTEGER PRIMARY KEY, first TEXT, second TEXT UNIQUE);
             CREATE INDEX index_{number} ON table_{number}(first);
             INSERT INTO table_{number}(first, second) VALUES ('a', 'b')"
        );
        application.execute_batch(&sql).unwrap();
    }
    application.execute_batch("COMMIT").unwrap();
    let integrity = checked(&path);
    assert_eq!((integrity.faults, integrity.error), (Vec::new(), None));
    assert_eq!(integrity.coverage.unwrap().tables, 1000);
    assert_eq!(integrity.unjudged, Vec::new());
}

#[test]
fn while_others_commit_slices_take_a_small_part_of_the_time() {
    let (_directory, path) = database();
    let application = Connection::open(&path).unwrap();
    let mut slices = Slices::new(CHECK);
    let held = Duration::from_millis(12);
    // Whether others commit is not known yet.
    assert_eq!(slices.turns.rest_after(held), held * REST_BESIDE_COMMITS);
    slices.turns.committed = None;
    assert!(!slices.go_on(&path, Duration::from_millis(1)).unwrap());
    assert_eq!(slices.turns.rest_after(held), held);
    application
        .execute_batch("UPDATE t SET a = a WHERE id = 1")
        .unwrap();
    assert!(!slices.go_on(&path, Duration::from_millis(1)).unwrap());
    assert_eq!(slices.turns.rest_after(held), held * REST_BESIDE_COMMITS);
    assert_eq!(
        slices.turns.rest_after(Duration::ZERO),
        LEAST_REST_BESIDE_COMMITS * REST_BESIDE_COMMITS
    );
}

#[test]
fn slices_rest_shorter_while_nobody_is_kept_from_committing_and_longer_when_somebody_is() {
    let mut rest = Rest::new();
    let after = |rest: &mut Rest, did_harm: bool, slices: usize| {
        (0..slices).for_each(|_| rest.learn(did_harm));
        rest.times
    };
    assert_eq!(after(&mut rest, false, 59), 15);
    assert_eq!(after(&mut rest, false, 1), 7);
    assert!(rest.is_short());
    assert_eq!(after(&mut rest, false, 60), 3);
    assert_eq!(after(&mut rest, false, 600), 2);
    assert_eq!(after(&mut rest, true, 1), 15);
    assert!(!rest.is_short());
    assert_eq!(after(&mut rest, true, 1), 30);
    assert_eq!(after(&mut rest, true, 5), 60);
    assert_eq!(after(&mut rest, false, 59), 60);
    assert_eq!(after(&mut rest, true, 1), 60);
    assert_eq!(after(&mut rest, false, 59), 60);
    assert_eq!(after(&mut rest, false, 1), 30);
}

#[test]
fn rows_that_come_faster_than_they_are_read_are_left_to_the_next_check() {
    let (_directory, path) = database();
    let application = Connection::open(&path).unwrap();
    application
        .execute_batch("DROP INDEX plain; DROP INDEX computed")
        .unwrap();
    let mut slices = slices();
    let until = Instant::now() + Duration::from_mins(2);
    let mut is_begun = false;
    while !slices.go_on(&path, Duration::from_millis(1)).unwrap() {
        assert!(Instant::now() < until, "it does not end");
        if !is_begun && slices.coverage.rows > 100 {
            is_begun = true;
            application
                .execute_batch(
                    "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
                     INSERT INTO t(a, b) SELECT i, 'new' FROM n",
                )
                .unwrap();
        }
    }
    assert!(is_begun);
    let integrity = slices.checked(None).integrity;
    assert_eq!((&integrity.faults, &integrity.error), (&Vec::new(), &None));
    let rows = integrity.coverage.unwrap().rows;
    assert!((40_000..50_000).contains(&rows), "{rows}");
}

/// Files as they lie beside each other in the middle of a transaction, of which a part was written: the
/// journal waits to be rolled back, and nobody has a lock.
fn waiting_journal() -> (tempfile::TempDir, PathBuf) {
    let (directory, path) = database();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA cache_size = 10; BEGIN; UPDATE t SET a = a + 1, b = 'y' || b")
        .unwrap();
    let copy = directory.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    let journal = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push("-journal");
        name
    };
    std::fs::copy(journal(&path), journal(&copy)).unwrap();
    (directory, copy)
}

#[test]
fn a_journal_that_waits_for_a_moment_is_waited_for() {
    let (_directory, path) = waiting_journal();
    let mut slices = Slices::new(CHECK);
    // A connection that only reads may not roll it back.
    assert_eq!(slices.go_on(&path, Duration::from_millis(50)), Ok(false));
    let since = slices.refused_since.unwrap();
    assert_eq!(slices.go_on(&path, Duration::from_millis(50)), Ok(false));
    assert_eq!(slices.refused_since, Some(since));
    // Nor does it wait for ever.
    slices.refused_since = Instant::now().checked_sub(PATIENCE * 2);
    let why = slices.go_on(&path, Duration::from_millis(50)).unwrap_err();
    assert!(why.contains("for 5 s"), "{why}");

    let mut slices = Slices::new(CHECK);
    assert_eq!(slices.go_on(&path, Duration::from_millis(50)), Ok(false));
    // Somebody rolls it back.
    let rows: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 20_000);
    while !slices.go_on(&path, Duration::from_secs(1)).unwrap() {}
    assert_eq!(slices.refused_since, None);
    let found = slices.checked(None).integrity;
    assert_eq!((found.faults, found.error), (Vec::new(), None));
}

#[test]
fn what_lasts_for_a_moment_is_told_from_what_does_not() {
    for (code, is_for_a_moment) in [
        (ffi::SQLITE_BUSY, true),
        (ffi::SQLITE_LOCKED, true),
        (ffi::SQLITE_READONLY_ROLLBACK, true),
        (ffi::SQLITE_READONLY_RECOVERY, true),
        (ffi::SQLITE_READONLY, false),
        (ffi::SQLITE_READONLY_DBMOVED, false),
        (ffi::SQLITE_CORRUPT, false),
        (ffi::SQLITE_INTERRUPT, false),
    ] {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert_eq!(super::is_for_a_moment(&error), is_for_a_moment, "{code}");
    }
}

#[test]
fn entries_that_are_too_long_to_be_read_are_not_judged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, y BLOB);
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
             INSERT INTO t SELECT i, CAST(printf('%05d', i) AS BLOB) FROM n;
             UPDATE t SET y = CAST('03000' AS BLOB) || zeroblob(17 << 20) WHERE id = 3000;
             CREATE INDEX plain ON t(y);
             CREATE INDEX computed ON t(y, id + 0);
             CREATE INDEX part ON t(y) WHERE id > 5;",
        )
        .unwrap();
    let found = checked(&path);
    assert_eq!((&found.faults, &found.error), (&Vec::new(), &None));
    for index in ["plain", "computed", "part"] {
        let named = found.unjudged.iter().find(|one| one.name == index);
        assert!(named.unwrap().reason.contains("16 MiB"), "{named:?}");
        let compared = super::super::compare(&connection, index, "t").unwrap();
        let compared = compared.comparison;
        assert!(compared.unproven.unwrap().contains("16 MiB"));
        assert_eq!((compared.unreadable, compared.missing_entries), (0, 0));
    }
    // SQLite reads it.
    let full = Check {
        mode: Mode::Full,
        ..CHECK
    };
    let whole = super::super::check(&path, Access::InPlace, full).integrity;
    assert_eq!((&whole.faults, &whole.error), (&Vec::new(), &None));
}

#[test]
fn numbers_as_text_in_other_digits_are_not_judged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, x REAL, old TEXT, made TEXT AS (old));
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
             INSERT INTO t(x, old) SELECT i / 7.0, printf('%!.15g', i / 7.0) FROM n;
             CREATE INDEX made ON t(made);
             CREATE INDEX joined ON t(old || old);
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema
             SET sql = replace(replace(sql, 'AS (old)', 'AS (x)'), 'old || old', 'x || x');
             PRAGMA writable_schema = RESET;",
        )
        .unwrap();
    let found = checked(&path);
    assert_eq!((&found.faults, &found.error), (&Vec::new(), &None));
    for index in ["made", "joined"] {
        let named = found.unjudged.iter().find(|one| one.name == index);
        assert!(named.unwrap().reason.contains("digits"), "{named:?}");
    }
    // Another number is damage all the same.
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'AS (x)', 'AS (x + (id = 77))');
             PRAGMA writable_schema = RESET;",
        )
        .unwrap();
    let found = checked(&path);
    let faults = &found.faults;
    assert!(!faults.is_empty());
    assert!(
        faults
            .iter()
            .all(|fault| fault.message.contains("rowid 77 ")),
        "{faults:?}"
    );
}

#[test]
fn text_that_is_not_valid_is_looked_up_as_it_is() {
    let (_directory, path) = database();
    execute(
        &path,
        "UPDATE t SET b = CAST(x'4dfc6c6c6572' AS TEXT) WHERE id % 7 = 0",
    );
    let found = checked(&path);
    assert_eq!((&found.faults, &found.error), (&Vec::new(), &None));
    assert_eq!(found.unjudged, []);
    behind_the_indexes(
        &path,
        "UPDATE t SET b = CAST(x'4dfc6c6c6573' AS TEXT) WHERE id = 7",
    );
    let found = checked(&path);
    assert!(
        found
            .faults
            .iter()
            .all(|fault| fault.object.index() == Some("plain"))
    );
    assert!(!found.faults.is_empty());
}
