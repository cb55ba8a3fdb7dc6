//! Against damage done to real files.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use super::*;
use crate::sqlite_state::Rule;

const CHECK: Check = Check {
    mode: Mode::Full,
    max_faults: 1000,
    deadline: None,
};
const PAGE: u64 = 1024;

fn check(path: &Path, access: Access, check: Check) -> Integrity {
    super::check(path, access, check).integrity
}

fn check_and_prove(path: &Path, access: Access, check: Check) -> (Integrity, Option<Proven>) {
    let (checked, proven) = super::check_and_prove(path, access, check);
    // As it comes back from the process that keeps it.
    let proven = proven.map(|proven| Proven::unpack(&proven.pack()).unwrap());
    (checked.integrity, proven)
}

fn check_changed(
    path: &Path,
    access: Access,
    check: Check,
    proven: &mut Proven,
    touched: &BTreeSet<u32>,
) -> Integrity {
    super::check_changed(path, access, check, proven, touched).integrity
}

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

/// A line break in a name is no end of a message, and what follows it no message of its own.
#[test]
fn an_index_with_line_breaks_in_its_name() {
    let name = "sort\nTree 1 page 1 cell 0: Rowid 1 out of order\n*** in database main ***\nok";
    let (_directory, path) = database();
    execute(
        &path,
        &format!("CREATE INDEX \"{name}\" ON \"a.b\"(v || u)"),
    );
    let page = leaves(&path, name)[1];
    let mut cell = [0; 2];
    let file = File::open(&path).unwrap();
    file.read_exact_at(&mut cell, (page - 1) * PAGE + 8)
        .unwrap();
    overwrite(&path, page, u64::from(u16::from_be_bytes(cell)) + 4, b"~");
    assert_eq!(
        objects(&path, Mode::Full),
        BTreeSet::from([index(name, true)])
    );
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
    // A rule that a row breaks is no damage, on whatever connection.
    for access in [Access::InPlace, Access::Copy] {
        for mode in [Mode::Quick, Mode::Full] {
            let integrity = check(&path, access, Check { mode, ..CHECK });
            assert_eq!((integrity.faults, integrity.error), (Vec::new(), None));
            let [broken] = &integrity.broken_rules[..] else {
                panic!("{:?}", integrity.broken_rules);
            };
            assert_eq!((broken.rule, broken.rows), (Rule::NotNull, 1));
            assert_eq!(
                (&*broken.table, &broken.columns),
                ("a.b", &vec!["v".to_owned()])
            );
        }
    }

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
    let found = objects(&path, Mode::Full);
    let is_w =
        |object: &DamagedObject| matches!(object, DamagedObject::SchemaEntry(e) if e.name == "w");
    assert!(found.len() == 1 && found.iter().all(is_w), "{found:?}");

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

fn sampled(path: &Path, seed: u64) -> Integrity {
    let mode = Mode::Sampled { seed };
    let found = check(path, Access::InPlace, Check { mode, ..CHECK });
    assert_eq!(found.error, None, "seed {seed}");
    found
}

#[test]
fn a_sample_of_a_sound_database_finds_nothing_and_the_seed_says_what_it_drew() {
    let (_directory, path) = database();
    for seed in 0..20 {
        let found = sampled(&path, seed);
        assert_eq!(found.faults, [], "seed {seed}");
        let coverage = found.coverage.unwrap();
        assert!(
            coverage.rows >= 100 && coverage.entries >= coverage.rows,
            "{coverage:?}"
        );
        assert_eq!(
            sampled(&path, seed).coverage.unwrap(),
            coverage,
            "seed {seed}"
        );
    }
}

#[test]
fn a_sample_finds_an_index_that_disagrees_and_a_table_that_is_torn() {
    let (_directory, path) = database();
    let page = leaves(&path, "the index")[1];
    let mut cell = [0; 2];
    let file = File::open(&path).unwrap();
    file.read_exact_at(&mut cell, (page - 1) * PAGE + 8)
        .unwrap();
    overwrite(&path, page, u64::from(u16::from_be_bytes(cell)) + 4, b"~");
    // One key in 2000, 100 rows in runs of eight a time.
    let found = (0..200).flat_map(|seed| sampled(&path, seed).faults);
    let objects: BTreeSet<_> = found.map(|fault| fault.object).collect();
    assert_eq!(objects, BTreeSet::from([index("the index", true)]));

    let (_directory, path) = database();
    for page in leaves(&path, "a.b") {
        overwrite(&path, page, 0, &[0xff; 16]);
    }
    let found = sampled(&path, 1);
    assert_eq!(found.faults[0].object, table("a.b"));
}

#[test]
fn a_sample_takes_what_sql_allows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    execute(
        &path,
        r#"CREATE TABLE "od""d"(rowid TEXT, "select" BLOB, n NUMERIC, v AS (n + 1), s AS (n * 2) STORED);
        CREATE INDEX i1 ON "od""d"("select", n);
        CREATE INDEX i2 ON "od""d"(rowid COLLATE NOCASE DESC);
        CREATE INDEX i3 ON "od""d"(v);
        CREATE INDEX i4 ON "od""d"(n) WHERE n > 3;
        CREATE INDEX i5 ON "od""d"(n + 2);
        CREATE TABLE three(rowid, _rowid_, oid);
        CREATE TABLE far(id INTEGER PRIMARY KEY, x UNIQUE);
        CREATE VIRTUAL TABLE words USING fts5(t);
        CREATE TABLE empty(x);
        INSERT INTO three VALUES (1, 2, 3);
        INSERT INTO words VALUES ('a b c');
        INSERT INTO far VALUES (-9223372036854775808, NULL), (9223372036854775807, 1.5), (0, 'x');
        WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM c WHERE i < 500)
        INSERT INTO "od""d"(rowid, "select", n) SELECT
            CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN 'A' || i ELSE 'a' || (i - 1) END,
            CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN zeroblob(100000) WHEN 2 THEN x'00ff' ELSE 'text' END,
            CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN i WHEN 2 THEN i / 7.0 WHEN 3 THEN 'abc' ELSE -i END
        FROM c;"#,
    );
    for seed in 0..30 {
        let found = sampled(&path, seed);
        assert_eq!(found.faults, [], "seed {seed}");
        assert!(found.coverage.unwrap().entries > 50);
    }
}

/// Its row numbers are found without reading it, however large it is.
#[test]
fn a_sample_of_a_large_table_reads_rows_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    execute(
        &path,
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE large(n);
        WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM c WHERE i < 2000000)
        INSERT INTO large SELECT i FROM c;",
    );
    let coverage = sampled(&path, 1).coverage.unwrap();
    assert!(
        coverage.tables == 1 && coverage.rows >= 8,
        "a walk through the table took all the time: {coverage:?}"
    );
}

#[test]
fn a_sample_that_read_nothing_is_not_done_but_of_an_empty_database() {
    let (_directory, path) = database();
    let drawn = |path: &Path, time| {
        let connection = open(path, Access::InPlace, None).unwrap();
        let bounds = sample::Bounds {
            time,
            rows: u64::MAX,
            faults: 1,
        };
        sample::run(
            &connection,
            1,
            bounds,
            &mut sample::Ends::new(),
            &mut Vec::new(),
        )
    };
    assert!(drawn(&path, sample::BUDGET).unwrap().rows > 0);
    let error = drawn(&path, Duration::ZERO).unwrap_err();
    assert_eq!(
        error.sqlite_error_code(),
        Some(ErrorCode::OperationInterrupted)
    );

    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("db");
    execute(&empty, "CREATE TABLE bare(x); CREATE INDEX i ON bare(x)");
    assert_eq!(drawn(&empty, sample::BUDGET).unwrap(), Coverage::default());
}

#[test]
fn a_sample_draws_where_it_was_read_ahead_though_rows_were_added() {
    let (_directory, path) = database();
    let mut ends = sample::Ends::new();
    let ahead = sample::read_ahead(&path, 1, &mut ends);
    let rows = |ends: &mut sample::Ends| {
        let connection = open(&path, Access::InPlace, None).unwrap();
        let bounds = sample::Bounds {
            time: sample::BUDGET,
            rows: u64::MAX,
            faults: 1,
        };
        let sampled = sample::run(&connection, 1, bounds, ends, &mut Vec::new());
        sampled.unwrap().rows
    };
    assert_eq!(rows(&mut ends.clone()), ahead);
    // Between the new ends nearly every place is behind all rows but the last.
    execute(&path, r#"INSERT INTO "a.b"(id) VALUES (1 << 50)"#);
    let again = rows(&mut ends);
    // A draw at the old end reads one row more.
    assert!(again.abs_diff(ahead) <= 8, "{ahead} rows, then {again}");
}

/// The pages of these trees.
fn pages_of(path: &Path, names: &[&str]) -> BTreeSet<u32> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1")
        .unwrap();
    let mut pages = BTreeSet::new();
    for name in names {
        let found = statement
            .query_map([name], |row| row.get::<_, u32>(0))
            .unwrap();
        pages.extend(found.map(Result::unwrap));
    }
    pages
}

/// The pages that differ between two states of a file.
fn differing(before: &[u8], after: &[u8]) -> BTreeSet<u32> {
    let page = usize::try_from(PAGE).unwrap();
    let pages = after.chunks(page).enumerate();
    let differs = pages.filter(|(at, bytes)| before.get(at * page..(at + 1) * page) != Some(bytes));
    differs
        .map(|(at, _)| u32::try_from(at + 1).unwrap())
        .collect()
}

const CHANGED: Check = Check {
    mode: Mode::Incremental,
    ..CHECK
};

#[test]
fn an_incremental_check_looks_at_what_was_written_and_at_nothing_else() {
    let (_directory, path) = database();
    let (clean, proven) = check_and_prove(&path, Access::InPlace, CHECK);
    assert_eq!((clean.faults, clean.error), (Vec::new(), None));
    let mut proven = proven.unwrap();
    let mut look = |touched: &BTreeSet<u32>| {
        let found = check_changed(&path, Access::InPlace, CHANGED, &mut proven, touched);
        assert_eq!(found.error, None);
        let objects: BTreeSet<_> = found.faults.into_iter().map(|fault| fault.object).collect();
        (objects, found.coverage.unwrap().tables)
    };
    assert_eq!(look(&BTreeSet::new()), (BTreeSet::new(), 0));

    // Each kind of change, by the pages that it wrote: what follows rests on the account that it
    // left.
    for (sql, tables) in [
        ("INSERT INTO a VALUES (1)", 1),
        ("INSERT INTO w VALUES ('new', 1)", 1),
        ("UPDATE \"a.b\" SET v = v || 'x' WHERE id % 3 = 0", 1),
        (
            "CREATE TABLE later(x UNIQUE); INSERT INTO later SELECT id FROM \"a.b\"",
            2,
        ),
        ("DELETE FROM w WHERE k > '8'", 1),
        // It takes pages that `w` gave up: they are still laid to it.
        ("INSERT INTO later SELECT 'n' || id FROM \"a.b\"", 2),
        ("DROP TABLE w; CREATE INDEX ia ON a(x)", 2),
    ] {
        let before = fs::read(&path).unwrap();
        execute(&path, sql);
        let mut touched = differing(&before, &fs::read(&path).unwrap());
        // Every commit writes the header on page 1, which is the schema's.
        assert!(touched.remove(&1), "{sql}");
        let (faults, looked_at) = look(&touched);
        assert_eq!(faults, BTreeSet::new(), "{sql}");
        let schema = u64::from(sql.contains("CREATE"));
        assert!(
            (1..=tables + schema).contains(&looked_at),
            "{sql}: {looked_at} tables"
        );
    }

    // Damage in what was written is found; damage elsewhere is not looked at.
    let page = leaves(&path, "the index")[1];
    let mut cell = [0; 2];
    File::open(&path)
        .unwrap()
        .read_exact_at(&mut cell, (page - 1) * PAGE + 8)
        .unwrap();
    overwrite(&path, page, u64::from(u16::from_be_bytes(cell)) + 4, b"~");
    let elsewhere = pages_of(&path, &["a", "later"]);
    assert_eq!(look(&elsewhere), (BTreeSet::new(), 2));
    let here = BTreeSet::from([u32::try_from(leaves(&path, "a.b")[0]).unwrap()]);
    assert_eq!(look(&here).0, BTreeSet::from([index("the index", true)]));
}
