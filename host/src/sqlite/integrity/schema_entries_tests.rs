//! Against real files: entries of the schema that cannot be read, and everything else beside them.

use std::fs;

use super::judging_tests::{Database, NUMBERS};
use super::*;
use crate::sqlite_state::SchemaEntry;

/// Tables with rows and an index, and an entry that is put into the schema.
fn with_entry(change: &str) -> Database {
    Database::new(
        &format!(
            "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT);
             CREATE INDEX notes_body ON notes(body);
             CREATE TABLE others(a TEXT UNIQUE, b);
             {NUMBERS} INSERT INTO notes(body) SELECT 'note ' || i FROM n;
             {NUMBERS} INSERT INTO others SELECT 'other ' || i, i FROM n;"
        ),
        &format!("{change}; PRAGMA schema_version=99"),
    )
}

fn entries(integrity: &Integrity) -> Vec<SchemaEntry> {
    let objects = integrity.faults.iter().map(|fault| fault.object.clone());
    objects
        .map(|object| match object {
            DamagedObject::SchemaEntry(entry) => *entry,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// An index that became one of a column which its table does not have.
const OF_NO_COLUMN: &str = "UPDATE sqlite_schema SET name = 'notes_hash', \
     sql = 'CREATE INDEX notes_hash ON notes(hash)' WHERE name = 'notes_body'";

#[test]
fn an_entry_that_cannot_be_read_is_named_and_everything_else_is_checked() {
    let index = |name: &str, sql: &str| {
        format!(
            "INSERT INTO sqlite_schema SELECT 'index', '{name}', 'notes', rootpage, '{sql}' \
             FROM sqlite_schema WHERE name = 'notes_body'; \
             DELETE FROM sqlite_schema WHERE name = 'notes_body'"
        )
    };
    let cases = [
        (OF_NO_COLUMN.to_owned(), "index", "notes_hash", "hash"),
        (
            index("it''s", "CREATE INDEX \"it''s\" ON notes(gone)"),
            "index",
            "it's",
            "gone",
        ),
        (
            "INSERT INTO sqlite_schema SELECT * FROM sqlite_schema WHERE name = 'notes_body'"
                .into(),
            "index",
            "notes_body",
            "already exists",
        ),
        (
            "INSERT INTO sqlite_schema VALUES('view', 'v', 'v', 0, 'CREATE VIEW v AS SELEC 1')"
                .into(),
            "view",
            "v",
            "syntax error",
        ),
        (
            "INSERT INTO sqlite_schema VALUES('trigger', 'tr', 'notes', 0, \
             'CREATE TRIGGER tr AFTER INSERT ON notes BEGIN DELET FROM notes; END')"
                .into(),
            "trigger",
            "tr",
            "syntax error",
        ),
        (
            "INSERT INTO sqlite_schema VALUES('index', 'of_nobody', 'gone', 3, \
             'CREATE INDEX of_nobody ON gone(a)')"
                .into(),
            "index",
            "of_nobody",
            "no such table",
        ),
    ];
    for (change, kind, name, why) in cases {
        let database = with_entry(&change);
        let before = fs::read(&database.path).unwrap();
        let integrity = database.check();
        assert_eq!(fs::read(&database.path).unwrap(), before);
        let entries = entries(&integrity);
        assert_eq!(entries.len(), 1, "{change}: {integrity:?}");
        assert_eq!((&*entries[0].kind, &*entries[0].name), (kind, name));
        let message = &integrity.faults[0].message;
        assert!(message.contains(why), "{change}: {message}");
        assert!(integrity.rules_checked);
        // What it says to do takes the entry out, and every row is there.
        database.sql(&entries[0].removal().unwrap());
        assert_eq!(database.faults(), [], "{change}");
        let db = Connection::open(&database.path).unwrap();
        let rows =
            "SELECT (SELECT count(*) FROM notes NOT INDEXED) + (SELECT count(*) FROM others)";
        let rows: i64 = db.query_row(rows, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 6000, "{change}");
    }
}

#[test]
fn damage_beside_an_entry_that_cannot_be_read_is_found() {
    let database = with_entry(OF_NO_COLUMN);
    database.damage(b"other 2222", 1);
    let integrity = database.check();
    let objects: Vec<_> = integrity.faults.iter().map(|fault| &fault.object).collect();
    assert!(
        objects
            .iter()
            .any(|object| matches!(object, DamagedObject::SchemaEntry(_)))
            && objects
                .iter()
                .any(|object| object.index() == Some("sqlite_autoindex_others_1")),
        "{integrity:?}"
    );
}

#[test]
fn an_entry_with_rows_is_never_to_be_taken_out() {
    let database = with_entry(
        "UPDATE sqlite_schema SET sql = 'CREATE TABLO notes(id INTEGER PRIMARY KEY, body TEXT)' \
         WHERE name = 'notes'",
    );
    let entries = entries(&database.check());
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!((&*entries[0].kind, &*entries[0].name), ("table", "notes"));
    assert_eq!(entries[0].removal(), None);
    // The index of the UNIQUE of a table.
    let database = with_entry(
        "UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'sqlite_autoindex_others_1'",
    );
    let found = database.check();
    for fault in &found.faults {
        if let DamagedObject::SchemaEntry(entry) = &fault.object {
            assert_eq!(entry.removal(), None, "{found:?}");
        }
    }
    assert!(!found.faults.is_empty());
}

#[test]
fn a_sample_names_the_entry_too() {
    let database = with_entry(OF_NO_COLUMN);
    for mode in [Mode::Quick, Mode::Sampled { seed: 1 }] {
        let checked = check(
            &database.path,
            Access::Copy,
            Check {
                mode,
                max_faults: 100,
                deadline: None,
            },
        );
        assert_eq!(entries(&checked.integrity).len(), 1, "{mode:?}");
    }
}
