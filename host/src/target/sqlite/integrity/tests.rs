//! Against damage done to real files.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use super::*;

const CHECK: Check = Check {
    mode: Mode::Full,
    max_faults: 1000,
    deadline: None,
};
const PAGE: u64 = 1024;

/// A database with a table `a.b` of 2000 rows, an index, an automatic index, and a clustered table.
fn database() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            r#"PRAGMA page_size=1024;
            CREATE TABLE "a.b"(id INTEGER PRIMARY KEY, u TEXT UNIQUE, v TEXT);
            CREATE INDEX "the index" ON "a.b"(v);
            CREATE TABLE a(x);
            CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
            CREATE TABLE gone(x);
            WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
            INSERT INTO "a.b"(u, v) SELECT i, printf('%08X%08X%08X%08X',
                i * 2654435761 % 4294967296, i * 40503 % 65536, i * 2246822519 % 4294967296, i) FROM n;
            INSERT INTO gone SELECT v FROM "a.b"; DROP TABLE gone;
            INSERT INTO w SELECT v, u FROM "a.b";"#,
        )
        .unwrap();
    (directory, path)
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// The leaf pages of a tree.
fn leaves(path: &Path, name: &str) -> Vec<u64> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT pageno FROM dbstat WHERE name=? AND pagetype='leaf'")
        .unwrap();
    let pages = statement
        .query_map([name], |row| row.get::<_, i64>(0))
        .unwrap();
    pages
        .map(|page| u64::try_from(page.unwrap()).unwrap())
        .collect()
}

fn overwrite(path: &Path, page: u64, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, (page - 1) * PAGE + offset)
        .unwrap();
}

fn objects(path: &Path, mode: Mode) -> BTreeSet<DamagedObject> {
    let before = fs::read(path).unwrap();
    let found = check(path, Access::InPlace, Check { mode, ..CHECK });
    assert_eq!(fs::read(path).unwrap(), before);
    println!("{:?}", found.faults.iter().take(3).collect::<Vec<_>>());
    assert_eq!(found.error, None);
    found.faults.into_iter().map(|fault| fault.object).collect()
}

fn index(name: &str, rebuildable: bool) -> DamagedObject {
    DamagedObject::Index {
        index: name.to_owned(),
        table: "a.b".to_owned(),
        rebuildable,
    }
}

fn table(name: &str) -> DamagedObject {
    DamagedObject::Table {
        table: name.to_owned(),
    }
}

#[test]
fn sound() {
    let (_directory, path) = database();
    for mode in [Mode::Quick, Mode::Full] {
        assert_eq!(objects(&path, mode), BTreeSet::new());
    }
}

/// What REINDEX can mend, and that it does.
#[test]
fn index_that_disagrees() {
    for name in ["the index", "sqlite_autoindex_a.b_1"] {
        let (_directory, path) = database();
        let page = leaves(&path, name)[1];
        // The text of the first key on the page (behind a record header of four bytes): the tree
        // stays whole.
        let mut cell = [0; 2];
        let file = File::open(&path).unwrap();
        file.read_exact_at(&mut cell, (page - 1) * PAGE + 8)
            .unwrap();
        overwrite(&path, page, u64::from(u16::from_be_bytes(cell)) + 4, b"~");
        assert_eq!(
            objects(&path, Mode::Quick),
            BTreeSet::new(),
            "quick misses it"
        );
        assert_eq!(
            objects(&path, Mode::Full),
            BTreeSet::from([index(name, true)])
        );
        execute(&path, &format!("REINDEX \"{name}\""));
        assert_eq!(objects(&path, Mode::Full), BTreeSet::new());
    }
}

/// What REINDEX cannot mend: it has to walk the damaged tree to clear it.
#[test]
fn index_pages() {
    for name in ["the index", "sqlite_autoindex_a.b_1"] {
        for (offset, garbage) in [
            (600, &[0xa5; 200][..]),
            (0, &[0x0a, 0, 0, 0, 99, 3]),
            (0, &[0; 1024]),
        ] {
            let (_directory, path) = database();
            let page = leaves(&path, name)[1];
            overwrite(&path, page, offset, garbage);
            assert_eq!(
                objects(&path, Mode::Full),
                BTreeSet::from([index(name, false)])
            );
            let connection = open(&path, Access::InPlace, None).unwrap();
            assert_eq!(table_clean(&connection, "a.b"), Ok(2000));
            drop(connection);
            let error = Connection::open(&path)
                .unwrap()
                .execute_batch(&format!("REINDEX \"{name}\""))
                .unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt));
        }
    }
}

/// Pages that cannot be reached any more are laid to the tree that lost them.
#[test]
fn index_root() {
    let (_directory, path) = database();
    let root: i64 = Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name='the index'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    overwrite(&path, root.try_into().unwrap(), 0, &[0; 1024]);
    assert_eq!(
        objects(&path, Mode::Full),
        BTreeSet::from([index("the index", false)])
    );
}

#[test]
fn table_pages() {
    for name in ["a.b", "w"] {
        let (_directory, path) = database();
        let page = leaves(&path, name)[1];
        overwrite(&path, page, 0, &[0xee; 300]);
        assert!(objects(&path, Mode::Quick).contains(&table(name)));
        let connection = open(&path, Access::InPlace, None).unwrap();
        let error = table_clean(&connection, name).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt));
    }
}

#[test]
fn columns_and_freelist() {
    let (_directory, path) = database();
    execute(
        &path,
        r#"INSERT INTO "a.b"(u, v) VALUES ('null', NULL); PRAGMA writable_schema=ON;
        UPDATE sqlite_schema SET sql=replace(sql, 'v TEXT', 'v TEXT NOT NULL') WHERE name='a.b';"#,
    );
    assert_eq!(objects(&path, Mode::Quick), BTreeSet::from([table("a.b")]));

    let (_directory, path) = database();
    overwrite(&path, 1, 36, &[0, 0, 0, 1]);
    assert_eq!(
        objects(&path, Mode::Quick),
        BTreeSet::from([DamagedObject::Pages])
    );
}

#[test]
fn index_that_cannot_be_built_again() {
    let (_directory, path) = database();
    execute(
        &path,
        r#"CREATE INDEX f ON "a.b"(v COLLATE nocase); CREATE INDEX g ON "a.b"(lower(v));
        PRAGMA writable_schema=ON; UPDATE sqlite_schema
        SET sql=replace(replace(sql, 'nocase', 'strange'), 'lower', 'unheard_of');"#,
    );
    let connection = open(&path, Access::InPlace, None).unwrap();
    assert!(rebuildable(&connection, "the index"));
    assert!(rebuildable(&connection, "sqlite_autoindex_a.b_1"));
    assert!(!rebuildable(&connection, "f"));
    assert!(!rebuildable(&connection, "g"));
}

#[test]
fn refused_altogether() {
    let (_directory, path) = database();
    execute(
        &path,
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE RUBBISH' WHERE name='w';",
    );
    assert_eq!(
        objects(&path, Mode::Full),
        BTreeSet::from([DamagedObject::Schema])
    );

    let (_directory, path) = database();
    overwrite(&path, 1, 0, b"no");
    assert_eq!(
        objects(&path, Mode::Full),
        BTreeSet::from([DamagedObject::Pages])
    );

    let missing = check(Path::new("/nowhere/db"), Access::InPlace, CHECK);
    assert!(missing.error.is_some() && missing.faults.is_empty());
}

#[test]
fn deadline() {
    let (_directory, path) = database();
    let deadline = Some(Duration::ZERO);
    let stopped = check(&path, Access::InPlace, Check { deadline, ..CHECK });
    assert!(stopped.error.unwrap().starts_with("stopped after"));
}

#[test]
fn locked() {
    let (_directory, path) = database();
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let locked = check(&path, Access::InPlace, CHECK);
    assert!(locked.error.unwrap().contains("locked"));
    assert_eq!(locked.faults, []);
}
