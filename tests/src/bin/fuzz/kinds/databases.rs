//! SQLite databases with their logs and journals.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rusqlite::Connection;

use super::{Case, Seeds, replace};
use crate::execute::Ended;
use crate::mutate::{self, chance, one};
use crate::wal;

/// The valid sets of files, by the database's name.
const SETS: [&str; 8] = [
    "plain.db",
    "rich.db",
    "utf16.db",
    "search.db",
    "empty.db",
    "log.db",
    "small-log.db",
    "journal.db",
];
const SUFFIXES: [&str; 4] = ["", "-wal", "-journal", "-shm"];

const ROWS: &str = "
    CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT NOT NULL, n REAL, note BLOB);
    CREATE INDEX orders_by_item ON orders(item, n DESC);
    WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 150)
      INSERT INTO orders SELECT i, printf('item-%06d', i), i / 3.0,
        CASE WHEN i % 50 = 0 THEN CAST(printf('%.3000c', char(33 + i % 90)) AS BLOB) END FROM n;
    INSERT INTO customers SELECT id, item FROM orders WHERE id % 5 = 0;";

const RICH: &str = "
    CREATE TABLE prices(item TEXT, day TEXT, price REAL CHECK (price >= 0),
      PRIMARY KEY (item, day)) WITHOUT ROWID;
    CREATE TABLE strict_ones(id INTEGER PRIMARY KEY, a INT, b ANY,
      c TEXT GENERATED ALWAYS AS (a || '-' || b) STORED, d INT AS (a * 2)) STRICT;
    CREATE INDEX by_expression ON orders(lower(item), id % 7) WHERE n > 1;
    CREATE UNIQUE INDEX by_c ON strict_ones(c);
    CREATE VIEW totals AS SELECT item, sum(n) AS total FROM orders GROUP BY item;
    CREATE TRIGGER after_order AFTER INSERT ON orders BEGIN
      UPDATE customers SET name = name WHERE id = new.id; END;
    INSERT INTO prices SELECT item, '2026-01-01', n FROM orders;
    INSERT INTO strict_ones(id, a, b) SELECT id, id, item FROM orders;
    ANALYZE;";

/// What is legal SQL, and could make whoever looks at the database work without end, take all the
/// memory, or obey.
const SCHEMAS: [&str; 16] = [
    "CREATE TABLE x1(a CHECK (length(randomblob(900000000)) > 0)); INSERT INTO x1 VALUES (1);",
    "CREATE TABLE x2(a, b AS (printf('%.*c', 400000000, 'x'))); INSERT INTO x2(a) VALUES (1);",
    "CREATE TABLE x3(a, b AS (a || a || a || a) CHECK (b NOT LIKE '%a%b%c%d%e%f%g%h%'));
     INSERT INTO x3(a) VALUES (printf('%.*c', 20000, 'x'));",
    "CREATE TABLE x4(a); CREATE INDEX x4i ON x4(hex(zeroblob(a))); INSERT INTO x4 VALUES (9);",
    "CREATE VIEW x5 AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i FROM n) SELECT i FROM n;",
    "CREATE TABLE \"x6\u{1b}[2J\nfaked: line\"(\"a\u{7}\" CHECK (\"a\u{7}\" > 5)); PRAGMA ignore_check_constraints=1;
     INSERT INTO \"x6\u{1b}[2J\nfaked: line\" VALUES (1);",
    "CREATE TABLE x7(a); CREATE INDEX \"x7\u{202e}\r\u{9b}2J\" ON x7(a); INSERT INTO x7 VALUES (1);",
    "CREATE TABLE x8(a TEXT COLLATE NOCASE, b UNIQUE, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO x8 VALUES ('a', 1);",
    "CREATE TABLE x9(a REFERENCES missing(b) ON DELETE CASCADE); INSERT INTO x9 VALUES (7);",
    "CREATE VIRTUAL TABLE x10 USING fts5(a, b); INSERT INTO x10 VALUES ('some text', 'more');",
    "CREATE VIRTUAL TABLE x11 USING rtree(id, a, b); INSERT INTO x11 VALUES (1, 2, 3);",
    "CREATE TABLE x12(a CHECK (a GLOB '*[a-z]*[0-9]*[a-z]*[0-9]*')); INSERT INTO x12 VALUES (printf('%.*c', 9000, 'a') || '0a0');",
    "CREATE TABLE x13(a JSON CHECK (json_valid(a))); INSERT INTO x13 VALUES (printf('%.*c', 900, '[') || printf('%.*c', 900, ']'));",
    "CREATE TABLE x14(a); INSERT INTO x14 VALUES (zeroblob(3000000));",
    "CREATE TABLE x15(a DEFAULT (randomblob(10)), b NOT NULL); PRAGMA writable_schema=1;
     UPDATE sqlite_schema SET sql='CREATE TABLE x15(a NOT NULL, b)' WHERE name='x15';",
    "CREATE TABLE x16(a INTEGER PRIMARY KEY AUTOINCREMENT, b); INSERT INTO x16(b) VALUES (1);
     UPDATE sqlite_sequence SET seq = 9223372036854775807;",
];

pub(super) fn prepare(dir: &Path) -> anyhow::Result<()> {
    let make = |name: &str, begin: &str, then: &str| -> anyhow::Result<Connection> {
        let database = Connection::open(dir.join(name))?;
        database.execute_batch(begin)?;
        database.execute_batch(then)?;
        Ok(database)
    };
    make("plain.db", "PRAGMA page_size=1024", ROWS)?;
    make(
        "rich.db",
        "PRAGMA page_size=512; PRAGMA auto_vacuum=INCREMENTAL",
        &(ROWS.to_owned() + RICH),
    )?
    .execute_batch("DELETE FROM orders WHERE id BETWEEN 60 AND 90")?;
    make(
        "utf16.db",
        "PRAGMA encoding='UTF-16le'; PRAGMA auto_vacuum=FULL",
        ROWS,
    )?;
    make(
        "search.db",
        "PRAGMA page_size=1024",
        "CREATE VIRTUAL TABLE texts USING fts5(title, body);
         INSERT INTO texts VALUES ('one', 'some words'), ('two', 'other words');
         CREATE VIRTUAL TABLE old_texts USING fts3(body); INSERT INTO old_texts VALUES ('words');
         CREATE VIRTUAL TABLE places USING rtree(id, x0, x1); INSERT INTO places VALUES (1, 2, 3);",
    )?;
    make("empty.db", "PRAGMA user_version=1", "")?;
    for (name, page) in [("log.db", 4096), ("small-log.db", 512)] {
        let begin = format!(
            "PRAGMA page_size={page}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0"
        );
        // In a directory of its own: the log goes when the last connection closes.
        let live = tempfile::tempdir_in(dir)?;
        let database = Connection::open(live.path().join(name))?;
        database.execute_batch(&begin)?;
        database.execute_batch(ROWS)?;
        database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        for id in 1000..1020 {
            database.execute("INSERT INTO orders VALUES (?1, 'late', 1, NULL)", [id])?;
        }
        copy_set(&live.path().join(name), &dir.join(name))?;
    }
    // A transaction that was killed when it had written to the database.
    let live = tempfile::tempdir_in(dir)?;
    let database = Connection::open(live.path().join("journal.db"))?;
    database.execute_batch(&format!(
        "PRAGMA page_size=1024; {ROWS} PRAGMA cache_size=4; PRAGMA cache_spill=1;"
    ))?;
    database.execute_batch(
        "BEGIN IMMEDIATE; UPDATE orders SET item = item || '-changed', n = n + 1;",
    )?;
    copy_set(&live.path().join("journal.db"), &dir.join("journal.db"))?;
    ensure!(
        dir.join("journal.db-journal").exists(),
        "there is no hot journal"
    );
    database.execute_batch("ROLLBACK")?;
    Ok(())
}

fn copy_set(from: &Path, to: &Path) -> anyhow::Result<()> {
    for suffix in SUFFIXES {
        let (from, to) = (beside(from, suffix), beside(to, suffix));
        if from.exists() {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A database at rest with an index that disagrees with its table: keys on its leaf pages are
/// overwritten.
pub(super) fn damaged_index(path: &Path) -> anyhow::Result<()> {
    const PAGE: usize = 4096;
    const LEAF_INDEX_PAGE: u8 = 0x0a;
    let database = Connection::open(path)?;
    database.execute_batch(
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT NOT NULL);
         CREATE INDEX orders_by_item ON orders(item);
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO orders(id, item) SELECT i, printf('item-%06d', i) FROM n;",
    )?;
    drop(database);
    let mut bytes = fs::read(path)?;
    for page in bytes.chunks_exact_mut(PAGE).skip(1) {
        let found = page.windows(9).position(|w| w == b"item-0001");
        if let Some(at) = found.filter(|_| page[0] == LEAF_INDEX_PAGE) {
            page[at + 5] = b'7';
        }
    }
    Ok(fs::write(path, bytes)?)
}

pub(super) fn make(rng: &mut StdRng, seeds: &Seeds, scene: &Path) -> anyhow::Result<Case> {
    seeds.policy_into(scene)?;
    let path = scene.join("shop.db");
    copy_set(&seeds.dir.join(*one(rng, &SETS)), &path)?;
    if chance(rng, 35) && !beside(&path, "-wal").exists() && !beside(&path, "-journal").exists() {
        schema(rng, &path)?;
    }
    for _ in 0..rng.random_range(0..4) {
        match rng.random_range(0..10) {
            0..6 => change(rng, &path, database)?,
            6 | 7 => change(rng, &beside(&path, "-wal"), log)?,
            8 => change(rng, &beside(&path, "-journal"), journal)?,
            _ => change(rng, &beside(&path, "-shm"), |rng, bytes| {
                mutate::overwrite(rng, bytes, 4);
            })?,
        }
    }
    if chance(rng, 8) {
        // A file of another database.
        let (set, suffix) = (*one(rng, &SETS), *one(rng, &SUFFIXES[1..]));
        let from = beside(&seeds.dir.join(set), suffix);
        if from.exists() {
            fs::copy(from, beside(&path, suffix))?;
        }
    }
    if chance(rng, 6) {
        let suffix = *one(rng, &SUFFIXES);
        replace(rng, &beside(&path, suffix))?;
    }
    let check = [
        "check",
        "shop.db",
        "--watch-ms",
        "0",
        "--unsigned",
        "--policy",
        "policy.wasm",
    ];
    let case = Case::new(&check, judged);
    Ok(match rng.random_range(0..20) {
        0..10 => case,
        10..17 => case.arg("--json"),
        17 | 18 => {
            let repair = [
                "repair",
                "shop.db",
                "--watch-ms",
                "0",
                "--unsigned",
                "--policy",
                "policy.wasm",
            ];
            Case::new(&repair, judged)
        }
        _ => {
            let repair = [
                "repair",
                "shop.db",
                "--apply",
                "--state-dir",
                "state",
                "--watch-ms",
                "0",
            ];
            Case::new(&repair, judged).writes(&[
                "state",
                "shop.db",
                "shop.db-wal",
                "shop.db-journal",
                "shop.db-shm",
            ])
        }
    })
}

/// Whether it was taken for a database, and looked into.
fn judged(ended: &Ended) -> bool {
    matches!(ended.code, Some(0 | 1)) && !ended.out().contains("file.")
}

/// Adds a schema, or changes what stands in the table of it.
fn schema(rng: &mut StdRng, path: &Path) -> anyhow::Result<()> {
    let database = Connection::open(path)?;
    for _ in 0..rng.random_range(1..3) {
        let added = if chance(rng, 75) {
            let hostile = *one(rng, &SCHEMAS);
            database.execute_batch(hostile)
        } else {
            let column = *one(rng, &["sql", "sql", "name", "tbl_name", "type", "rootpage"]);
            let value = match column {
                "rootpage" => i64::from(rng.random_range(0..40_u32)).into(),
                _ => rusqlite::types::Value::Text(mutate::text(rng)),
            };
            let what = if column == "sql" && chance(rng, 70) {
                "sql || ?1"
            } else {
                "?1"
            };
            database.execute_batch("PRAGMA writable_schema=1")?;
            database
                .execute(
                    &format!(
                        "UPDATE sqlite_schema SET {column} = {what}
                         WHERE rowid = (SELECT max(rowid) FROM sqlite_schema)"
                    ),
                    [value],
                )
                .map(|_| ())
        };
        if added.is_err() {
            // The same one twice, or SQLite does not take it: then it stays as it is.
            break;
        }
    }
    Ok(())
}

fn change(
    rng: &mut StdRng,
    path: &Path,
    change: fn(&mut StdRng, &mut Vec<u8>),
) -> anyhow::Result<()> {
    if path.is_file() {
        let mut bytes = fs::read(path)?;
        change(rng, &mut bytes);
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// Fields of the database header: place and width. The first ones say whether it is a database.
const FIELDS: [(usize, usize); 18] = [
    (16, 2),
    (18, 1),
    (19, 1),
    (20, 1),
    (24, 4),
    (28, 4),
    (32, 4),
    (36, 4),
    (40, 4),
    (44, 4),
    (48, 4),
    (52, 4),
    (56, 4),
    (60, 4),
    (64, 4),
    (68, 4),
    (92, 4),
    (96, 4),
];

fn database(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    let page = bytes
        .get(16..18)
        .map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
    if page < 512 || bytes.len() < page {
        return mutate::overwrite(rng, bytes, 1);
    }
    let pages = bytes.len() / page;
    let begin = rng.random_range(0..pages) * page;
    let head = if begin == 0 { 100 } else { begin };
    match rng.random_range(0..40) {
        0..4 => {
            let first = if chance(rng, 30) { 0 } else { 4 };
            let (at, width) = *one(rng, &FIELDS[first..]);
            mutate::put_number(rng, &mut bytes[at..at + width]);
        }
        // A page's header, and the places of its cells.
        4..14 => {
            let (at, width) = *one(rng, &[(0, 1), (1, 2), (3, 2), (5, 2), (7, 1), (8, 4)]);
            mutate::put_number(rng, &mut bytes[head + at..head + at + width]);
        }
        14..20 => {
            let at = head + 8 + 2 * rng.random_range(0..12);
            mutate::put_number(rng, &mut bytes[at..at + 2]);
        }
        20..34 => mutate::overwrite(rng, &mut bytes[head..begin + page], 3),
        34 | 35 => {
            let from = rng.random_range(0..pages) * page;
            bytes.copy_within(from..from + page, begin);
        }
        36 => bytes[head..begin + page].fill(0),
        37 => bytes.truncate(begin + if chance(rng, 50) { 0 } else { page / 3 }),
        38 => bytes.resize(bytes.len() + page * rng.random_range(1..4), 0),
        _ => {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 0x40;
        }
    }
}

/// A log's header, its frames' headers and their pages; mostly with checksums that hold.
fn log(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    let page = bytes
        .get(8..12)
        .map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let frame = page + 24;
    if bytes.len() < 32 + frame || page == 0 {
        return mutate::overwrite(rng, bytes, 1);
    }
    let frames = (bytes.len() - 32) / frame;
    let begin = 32 + rng.random_range(0..frames) * frame;
    match rng.random_range(0..12) {
        0 => {
            let at = 4 * rng.random_range(0..8);
            mutate::put_number(rng, &mut bytes[at..at + 4]);
        }
        1..4 => {
            let at = begin + 4 * rng.random_range(0..6);
            mutate::put_number(rng, &mut bytes[at..at + 4]);
        }
        4..9 => mutate::overwrite(rng, &mut bytes[begin + 24..begin + frame], 3),
        9 => bytes.truncate(begin + if chance(rng, 50) { 0 } else { frame / 2 }),
        10 => {
            let from = 32 + rng.random_range(0..frames) * frame;
            bytes.copy_within(from..from + frame, begin);
        }
        _ => bytes.resize(bytes.len() + frame, 0),
    }
    if chance(rng, 75) {
        wal::seal(bytes);
    }
}

/// A rollback journal's header, page numbers, pages and checksums.
fn journal(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    const SECTOR: usize = 512;
    if bytes.len() < SECTOR + 1032 {
        return mutate::overwrite(rng, bytes, 1);
    }
    let record = 1024 + 8;
    let begin = SECTOR + rng.random_range(0..(bytes.len() - SECTOR) / record) * record;
    match rng.random_range(0..8) {
        0..3 => {
            let at = 8 + 4 * rng.random_range(0..5);
            mutate::put_number(rng, &mut bytes[at..at + 4]);
        }
        3 => mutate::put_number(rng, &mut bytes[begin..begin + 4]),
        4 | 5 => mutate::overwrite(rng, &mut bytes[begin + 4..begin + record], 2),
        6 => bytes.truncate(begin + record / 2),
        _ => mutate::overwrite(rng, &mut bytes[..8], 1),
    }
}
