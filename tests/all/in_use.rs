//! Checks of a database that others use: what is said of it, and what it costs them.

use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::Value;

use crate::common::{data, dbmedic, run, talk, wait_for};

/// Rows of the table: too many for one slice of a check.
const ROWS: u32 = 30_000;

/// A database in this journal mode with a table and an index, of which `behind` changed the rows while
/// the index was not looked after.
fn database(path: &Path, journal: &str, behind: &str) {
    let connection = Connection::open(path).unwrap();
    let mode: String = connection
        .query_row(&format!("PRAGMA journal_mode={journal}"), [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(mode, journal);
    connection
        .execute_batch(&format!(
            "CREATE TABLE entries(id INTEGER PRIMARY KEY, account INTEGER, label TEXT);
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
             INSERT INTO entries SELECT i, i * 7919 % 30011, 'label ' || i FROM n;
             CREATE INDEX by_account ON entries(account);
             PRAGMA writable_schema = ON;
             CREATE TEMP TABLE kept AS SELECT * FROM main.sqlite_schema WHERE name = 'by_account';
             DELETE FROM main.sqlite_schema WHERE name = 'by_account';
             PRAGMA writable_schema = RESET; {behind};
             PRAGMA writable_schema = ON;
             INSERT INTO main.sqlite_schema SELECT * FROM kept;
             PRAGMA writable_schema = RESET;"
        ))
        .unwrap();
}

/// What `check` says while this process reads the database: its exit code and its words.
fn checked(journal: &str, behind: &str) -> (Option<i32>, String) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("app.db");
    database(&path, journal, behind);
    let before = std::fs::read(&path).unwrap();
    let reader = Connection::open(&path).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
        .unwrap();
    let output = run(&["check", path.to_str().unwrap(), "--watch-ms", "200"]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    (
        output.status.code(),
        format!("{}{}", data(&output), talk(&output)),
    )
}

#[test]
fn what_was_proven_of_a_sound_database_is_said_and_no_more() {
    for journal in ["delete", "persist", "truncate"] {
        let (code, told) = checked(journal, "SELECT 1");
        assert_eq!(code, Some(0), "{told}");
        assert!(
            told.contains("each page belongs to exactly one object"),
            "{told}"
        );
    }
    let (code, told) = checked("wal", "SELECT 1");
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("not judged"), "{told}");
}

#[test]
fn a_row_that_disagrees_with_its_entry_is_not_blamed_on_the_index() {
    for journal in ["delete", "wal"] {
        let (code, told) = checked(journal, "UPDATE entries SET account = -1 WHERE id = 777");
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("index.disagrees-with-row"), "{told}");
        assert!(told.contains("rowid 777"), "{told}");
        assert!(!told.contains("index.corrupt"), "{told}");
    }
}

#[test]
fn entries_of_the_only_index_without_a_row_are_kept_for_a_person() {
    for journal in ["delete", "wal"] {
        let (code, told) = checked(journal, "DELETE FROM entries WHERE id = 777");
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("index.corrupt"), "{told}");
        let why = "entries-proven does NOT hold: not proven: 1 entries have no row, and the table has no \
                   other index";
        assert!(told.contains(why), "{told}");
    }
}

/// The default bounds on latency and errors are about operations that dbmedic does not see: a probe
/// transaction gives their values.
#[test]
fn a_locked_database_shows_in_the_error_rate_where_probes_are_asked_for() {
    for journal in ["wal", "delete"] {
        shows_in_the_error_rate(journal);
    }
}

fn shows_in_the_error_rate(journal: &str) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("app.db");
    database(&path, journal, "SELECT 1");
    let application = Connection::open(&path).unwrap();
    application.execute_batch("BEGIN IMMEDIATE").unwrap();
    let config = home.path().join("dbmedic.toml");
    let text = "version = 1\nmode = \"observe\"\nstate_dir = \"state\"\n[observation]\n\
        sample_interval_ms = 100\nprobe_transactions = true\nprobe_transaction_interval_ms = 300\n\
        [[targets]]\nname = \"app\"\nsqlite = \"app.db\"\n";
    std::fs::write(&config, text).unwrap();
    let mut watcher = Command::new(dbmedic())
        .args(["run", "-c", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sign = wait_for("the error rate in health.json", || {
        let text = std::fs::read(home.path().join("state/health.json")).ok()?;
        let kept: Value = serde_json::from_slice(&text).unwrap();
        let signs = kept["targets"]["app"]["signs"].as_array()?.clone();
        let of_errors = |sign: &Value| sign.to_string().contains("error_rate");
        signs.into_iter().find(of_errors)
    });
    assert_eq!(sign["status"], "unhealthy", "{journal}: {sign}");
    application.execute_batch("COMMIT").unwrap();
    watcher.kill().unwrap();
    watcher.wait().unwrap();
}
