//! A backup that was copied over a database while the log of before still lies beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;

use crate::common::{contents, data, files, run, talk, wait_for};
use crate::live::Teller;

/// Puts a backup at `path` and beside it the log of the database that it is a backup of. The length
/// of all keys of the backup.
fn restore_beside_old_log(path: &Path) -> i64 {
    let old = path.with_file_name("old.db");
    let db = Connection::open(&old).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0;
         CREATE TABLE books(id INTEGER PRIMARY KEY, isbn TEXT); CREATE INDEX books_isbn ON books(isbn);
         WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<2000)
         INSERT INTO books(isbn) SELECT hex(x * 7919 % 30011) FROM c;
         PRAGMA wal_checkpoint(TRUNCATE);",
    )
    .unwrap();
    fs::copy(&old, path).unwrap();
    db.execute_batch(
        "UPDATE books SET isbn = isbn || '~' WHERE id BETWEEN 100 AND 400;
         PRAGMA wal_checkpoint(TRUNCATE);
         UPDATE books SET isbn = isbn || '!' WHERE id BETWEEN 380 AND 440;",
    )
    .unwrap();
    fs::copy(
        path.with_file_name("old.db-wal"),
        path.with_file_name("shop.db-wal"),
    )
    .unwrap();
    drop(db);
    fs::remove_file(old).unwrap();
    let alone = path.with_file_name("alone.db");
    fs::copy(path, &alone).unwrap();
    let length = keys(&alone);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap().path();
        if entry
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("alone")
        {
            fs::remove_file(entry).unwrap();
        }
    }
    length
}

/// Each file in a directory and what it holds.
fn held(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    contents(dir).into_iter().collect()
}

fn keys(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT sum(length(isbn)) FROM books", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn nobody_but_a_person_moves_the_old_log_away() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    let database = data_dir.join("shop.db");
    let length = restore_beside_old_log(&database);
    let before = held(&data_dir);
    let (file, state) = (database.to_str().unwrap(), home.path().join("state"));

    let checked = run(&["check", file]);
    assert_eq!(checked.status.code(), Some(1));
    let text = data(&checked);
    assert!(
        text.contains("wal.foreign") && text.contains("belong to another file"),
        "{text}"
    );
    assert!(!text.contains("index.rebuild"), "{text}");

    // A watcher that may repair leaves both as they are, and copies them aside.
    let config = home.path().join("dbmedic.toml");
    let text = format!(
        "version = 1\nmode = \"enforce\"\nstate_dir = \"{}\"\n\
         [observation]\nsample_interval_ms = 100\nintegrity_interval_ms = 300\n\
         [[targets]]\nname = \"shop\"\nsqlite = \"data/shop.db\"\n",
        state.display()
    );
    fs::write(&config, text).unwrap();
    let mut teller = Teller::start(&config);
    teller.until("wal.foreign");
    let preserved = state.join("preserved");
    wait_for("the copies", || {
        let copies = files(&preserved);
        let log = &before["shop.db-wal"];
        copies
            .iter()
            .any(|copy| fs::read(copy).unwrap() == *log)
            .then_some(())
    });
    teller.stop();
    assert_eq!(held(&data_dir), before);

    let state_dir = state.to_str().unwrap();
    let unasked = run(&["repair", file, "--apply", "--state-dir", state_dir]);
    assert_eq!(held(&data_dir), before, "{}", data(&unasked));
    let asked = [
        "repair",
        file,
        "--apply",
        "--state-dir",
        state_dir,
        "--set",
        "set_aside_foreign_log=true",
    ];
    let repaired = run(&asked);
    let text = data(&repaired);
    assert!(
        text.contains("wal.set-aside verified"),
        "{text} {}",
        talk(&repaired)
    );
    let now = held(&data_dir);
    assert_eq!(now["shop.db"], before["shop.db"]);
    let aside: Vec<_> = now
        .keys()
        .filter(|name| name.contains("-wal.set-aside-"))
        .collect();
    assert_eq!(aside.len(), 1, "{:?}", now.keys());
    assert_eq!(now[aside[0]], before["shop.db-wal"]);
    assert_eq!(keys(&database), length);
    assert_eq!(run(&["check", file]).status.code(), Some(0));
}
