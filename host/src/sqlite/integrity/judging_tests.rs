//! Against real files: objects that this SQLite cannot judge beside others that it can, rules that
//! rows break, and damage that must not hide behind either.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::sqlite_state::Rule;

pub(super) const CHECK: Check = Check {
    mode: Mode::Full,
    max_faults: 100,
    deadline: None,
};

pub(super) struct Database {
    _directory: tempfile::TempDir,
    pub(super) path: PathBuf,
}

impl Database {
    /// What stands behind `schema_change` is done to the schema's text.
    pub(super) fn new(sql: &str, schema_change: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let database = Self {
            _directory: directory,
            path,
        };
        database.sql(&format!("PRAGMA foreign_keys=OFF; {sql}"));
        if !schema_change.is_empty() {
            database.sql(&format!(
                "PRAGMA writable_schema=ON; {schema_change}; PRAGMA writable_schema=RESET;"
            ));
        }
        database
    }

    pub(super) fn sql(&self, sql: &str) {
        let connection = Connection::open(&self.path).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    /// The same, however the file is opened.
    pub(super) fn check(&self) -> Integrity {
        let [mut one, mut other] = [Access::InPlace, Access::Copy].map(|access| {
            let checked = check(&self.path, access, CHECK).integrity;
            Integrity {
                duration_ms: 0,
                ..checked
            }
        });
        for integrity in [&mut one, &mut other] {
            for compared in &mut integrity.comparisons {
                compared.expected_lock_ms = None;
            }
        }
        assert_eq!(one, other);
        assert_eq!(one.error, None);
        one
    }

    pub(super) fn faults(&self) -> Vec<DamagedObject> {
        let faults = self.check().faults.into_iter();
        let mut objects: Vec<_> = faults.map(|fault| fault.object).collect();
        objects.dedup();
        objects
    }

    pub(super) fn unjudged(&self) -> Vec<String> {
        let integrity = self.check();
        assert_eq!(integrity.faults, Vec::new());
        assert_eq!(integrity.broken_rules, Vec::new());
        integrity.unjudged.iter().map(ToString::to_string).collect()
    }

    pub(super) fn broken(&self) -> Vec<BrokenRule> {
        let integrity = self.check();
        assert_eq!(integrity.faults, Vec::new());
        assert!(integrity.rules_checked);
        integrity.broken_rules
    }

    /// Changes a byte of the first place in the file that holds these.
    pub(super) fn damage(&self, wanted: &[u8], place: usize) {
        let mut bytes = fs::read(&self.path).unwrap();
        let windows = bytes.windows(wanted.len()).enumerate();
        let at: Vec<usize> = windows
            .filter(|(_, window)| *window == wanted)
            .map(|(at, _)| at)
            .collect();
        bytes[at[place] + wanted.len() - 1] ^= 1;
        fs::write(&self.path, bytes).unwrap();
    }
}

pub(super) const NUMBERS: &str =
    "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)";

/// Like that of Anki, with its collation, and with tables that only its collation orders.
fn anki() -> Database {
    Database::new(
        &format!(
            "CREATE TABLE notes(id INTEGER PRIMARY KEY, guid TEXT NOT NULL, mod INTEGER);
             CREATE INDEX ix_guid ON notes(guid);
             CREATE TABLE notetypes(id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL COLLATE nocase, at INT);
             CREATE UNIQUE INDEX idx_notetypes_name ON notetypes(name);
             CREATE INDEX idx_notetypes_at ON notetypes(at);
             CREATE TABLE tags(tag TEXT NOT NULL PRIMARY KEY COLLATE nocase, usn INT) WITHOUT ROWID;
             CREATE TABLE fields(ntid INT, ord INT, name TEXT COLLATE nocase, PRIMARY KEY(ntid, ord)) WITHOUT ROWID;
             CREATE UNIQUE INDEX idx_fields ON fields(name, ntid);
             {NUMBERS} INSERT INTO notes SELECT i, 'guid' || i, i FROM n;
             {NUMBERS} INSERT INTO notetypes SELECT i, 'Type ' || i, 100000 + i FROM n;
             {NUMBERS} INSERT INTO tags SELECT 'Tag ' || i, i FROM n;
             ALTER TABLE tags ADD COLUMN later;
             {NUMBERS} INSERT INTO fields SELECT i, 1, 'Field ' || i FROM n;"
        ),
        "UPDATE sqlite_schema SET sql = replace(sql, 'nocase', 'unicase')",
    )
}

#[test]
fn an_unknown_collation_blinds_for_nothing_else() {
    let unjudged = anki().unjudged();
    for named in ["idx_notetypes_name", "table `tags`", "idx_fields"] {
        let about = unjudged.iter().find(|one| one.contains(named));
        let about = about.unwrap_or_else(|| panic!("{named}: {unjudged:?}"));
        assert!(
            about.contains("no such collation sequence: unicase"),
            "{about}"
        );
    }
    assert!(!unjudged.iter().any(|one| one.contains("ix_guid")));
    assert!(!unjudged.iter().any(|one| one.contains("idx_notetypes_at")));
}

#[test]
fn a_damaged_index_beside_an_unknown_collation_is_found() {
    for (index, table, wanted) in [
        ("ix_guid", "notes", "guid2222"),
        ("idx_notetypes_name", "notetypes", "Type 2222"),
    ] {
        let database = anki();
        // The row comes first: its table was made before its index was filled.
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let connection = Connection::open(&database.path).unwrap();
        let _: i64 = connection
            .query_row(root, [index], |row| row.get(0))
            .unwrap();
        drop(connection);
        database.damage(wanted.as_bytes(), 1);
        let faults = database.faults();
        let known = index == "ix_guid";
        assert_eq!(
            faults,
            [DamagedObject::Index {
                index: index.into(),
                table: table.into(),
                rebuildable: known,
            }]
        );
    }
}

#[test]
fn unknown_functions_are_named_where_they_stand() {
    let database = Database::new(
        &format!(
            "CREATE TABLE t(a, b, c AS (upper(a)) VIRTUAL, CHECK (length(b) > 0));
             CREATE INDEX plain ON t(b); CREATE INDEX by_word ON t(lower(a));
             CREATE INDEX part ON t(b) WHERE abs(b) > 5;
             CREATE TABLE other(x); CREATE INDEX other_x ON other(x);
             {NUMBERS} INSERT INTO t(a, b) SELECT 'Word' || i, i FROM n;
             {NUMBERS} INSERT INTO other SELECT i FROM n;
             CREATE VIEW v AS SELECT missing FROM nowhere;
             CREATE TRIGGER r AFTER INSERT ON other BEGIN DELETE FROM nowhere; END;"
        ),
        "UPDATE sqlite_schema SET sql = replace(replace(replace(replace(sql, 'lower(', 'fixup_url('),
             'abs(', 'frecency('), 'upper(', 'hash('), 'length(', 'is_valid(')",
    );
    let unjudged = database.unjudged();
    for named in ["index `by_word`", "index `part`", "the CHECKs of table `t`"] {
        let about = unjudged.iter().find(|one| one.contains(named));
        assert!(about.is_some(), "{named}: {unjudged:?}");
    }
    assert!(
        !unjudged.iter().any(|one| one.contains("other")),
        "{unjudged:?}"
    );
    assert!(
        !unjudged.iter().any(|one| one.contains("`plain`")),
        "{unjudged:?}"
    );
}

#[test]
fn unknown_tokenizers_and_modules_are_no_damage_and_missing_parts_are_named() {
    let make = "CREATE VIRTUAL TABLE f5 USING fts5(x, tokenize='porter');
         CREATE VIRTUAL TABLE f4 USING fts4(x, tokenize=porter);
         CREATE VIRTUAL TABLE r USING rtree(id, a, b);
         CREATE TABLE t(x); INSERT INTO t VALUES (1); INSERT INTO f5 VALUES ('a'); INSERT INTO f4 VALUES ('a');
         INSERT INTO r VALUES (1, 2, 3);";
    let healthy = Database::new(make, "");
    assert_eq!(healthy.unjudged(), Vec::<String>::new());
    let database = Database::new(
        make,
        "UPDATE sqlite_schema SET sql = replace(replace(sql, 'porter', 'mozporter'), 'USING rtree', 'USING vec0')",
    );
    let unjudged = database.unjudged();
    for named in ["f5", "f4", "r"] {
        let about = unjudged
            .iter()
            .find(|one| one.contains(&format!("`{named}`")));
        let about = about.unwrap_or_else(|| panic!("{named}: {unjudged:?}"));
        assert!(!about.contains("SQL logic error"), "{about}");
    }
    for (table, gone) in [("f5", "f5_config"), ("f4", "f4_segdir"), ("r", "r_node")] {
        let database = Database::new(
            make,
            &format!("DELETE FROM sqlite_schema WHERE tbl_name = '{gone}'"),
        );
        let faults = database.check().faults;
        let of_table = |fault: &IntegrityFault| {
            matches!(&fault.object, DamagedObject::VirtualTable { table: t, missing, .. }
                if t == table && missing == &[gone.to_owned()])
        };
        assert!(faults.iter().any(of_table), "{faults:?}");
    }
}

#[test]
fn rules_that_rows_break_are_counted_with_their_rowids() {
    let database = Database::new(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, code TEXT UNIQUE);
         CREATE TABLE c(id INTEGER PRIMARY KEY, p INT, \"order\" TEXT, n INT,
             FOREIGN KEY (p) REFERENCES p(id), FOREIGN KEY (n) REFERENCES gone(id));
         CREATE TABLE s(a INT, b TEXT) STRICT;
         INSERT INTO p VALUES (1, 'x'), (2, 'y');
         INSERT INTO c VALUES (1, 1, 'a', NULL), (2, 9, NULL, NULL), (3, 8, 'c', 7);
         INSERT INTO s VALUES (1, '2'), (3, '4');",
        "UPDATE sqlite_schema SET sql = replace(sql, '\"order\" TEXT',
             '\"order\" TEXT NOT NULL CHECK (\"order\" <> ''c'')') WHERE name = 'c';
         UPDATE sqlite_schema SET sql = replace(sql, 'b TEXT', 'b INT') WHERE name = 's'",
    );
    let broken = database.broken();
    let found: Vec<(Rule, &str, String, u64, &[i64])> = broken
        .iter()
        .map(|b| {
            (
                b.rule,
                &*b.table,
                b.columns.join(","),
                b.rows,
                &b.rowids[..],
            )
        })
        .collect();
    for expected in [
        (Rule::NotNull, "c", "order".to_owned(), 1, &[2][..]),
        (Rule::Check, "c", String::new(), 1, &[3]),
        (Rule::ForeignKey, "c", "p".to_owned(), 2, &[2, 3]),
        (Rule::Type, "s", "b".to_owned(), 2, &[]),
    ] {
        assert!(found.contains(&expected), "{expected:?}: {found:?}");
    }
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn rows_whose_parent_the_application_may_not_mean_are_not_judged() {
    let unjudged = |sql: &str| {
        let integrity = Database::new(sql, "").check();
        assert_eq!(integrity.broken_rules, Vec::new(), "{sql}");
        let reasons = integrity.unjudged.iter().map(|one| one.reason.clone());
        reasons.collect::<Vec<_>>().join("; ")
    };
    // As Fossil's checkouts have it: the table is in another database.
    let found = unjudged("CREATE TABLE c(x REFERENCES gone(id)); INSERT INTO c VALUES (7)");
    assert!(
        found.contains("`gone`, which is not in this database"),
        "{found}"
    );
    // As Fossil's repositories have it.
    let p = "CREATE TABLE p(id INTEGER PRIMARY KEY, k TEXT UNIQUE);";
    let found = unjudged(&format!(
        "{p} CREATE TABLE c(x INT REFERENCES p); INSERT INTO c VALUES (0), (0), (NULL)"
    ));
    assert!(found.contains("have 0 in `x`"), "{found}");
    // A key that another version of SQLite wrote with 15 digits.
    let found = unjudged(&format!(
        "{p} CREATE TABLE c(x REAL REFERENCES p(k)); INSERT INTO p VALUES (1, '52.5200065999999');
         INSERT INTO c VALUES (52.520006599999994)"
    ));
    assert!(found.contains("digits"), "{found}");
    let broken = |sql: &str| Database::new(&format!("{p} {sql}"), "").broken().len();
    assert_eq!(
        broken("CREATE TABLE c(x INT REFERENCES p); INSERT INTO c VALUES (0), (9)"),
        1
    );
    assert_eq!(
        broken("CREATE TABLE c(x REAL REFERENCES p(id)); INSERT INTO c VALUES (9.5)"),
        1
    );
}

#[test]
fn a_partial_index_of_the_applications_own_functions_is_damaged_where_an_entry_has_no_row() {
    let database = |filter: &str, change: &str| {
        let database = Database::new(
            &format!(
                "CREATE TABLE t(a TEXT, b); CREATE INDEX i ON t(b) WHERE {filter}; {NUMBERS}
                 INSERT INTO t SELECT 'k' || i, i FROM n;"
            ),
            "",
        );
        database.sql(&format!(
            "PRAGMA writable_schema = ON;
             CREATE TEMP TABLE kept AS SELECT * FROM main.sqlite_schema WHERE name = 'i';
             DELETE FROM main.sqlite_schema WHERE name = 'i';
             PRAGMA writable_schema = RESET; {change};
             PRAGMA writable_schema = ON;
             INSERT INTO main.sqlite_schema SELECT * FROM kept;
             PRAGMA writable_schema = RESET;"
        ));
        database.check()
    };
    for filter in ["a LIKE 'k4%'", "a GLOB 'k4*'", "lower(a) > 'k4'"] {
        let found = database(filter, "DELETE FROM t WHERE a = 'k42'");
        assert!(
            found
                .faults
                .iter()
                .any(|fault| fault.object.index() == Some("i")),
            "{filter}: {found:?}"
        );
        // Its row is there, and whether it belongs into the index is the application's to say.
        for change in [
            "UPDATE t SET a = 'a' WHERE a = 'k42'",
            "INSERT INTO t VALUES ('k4new', 77777)",
        ] {
            let found = database(filter, change);
            assert_eq!(found.faults, Vec::new(), "{filter} {change}");
            assert!(
                found
                    .unjudged
                    .iter()
                    .any(|one| one.reason.contains("missing, too many")),
                "{filter} {change}: {:?}",
                found.unjudged
            );
        }
        let found = database(filter, "");
        assert_eq!(
            (found.faults, found.unjudged),
            (Vec::new(), Vec::new()),
            "{filter}"
        );
    }
}

#[test]
fn rows_that_share_a_unique_key_are_named() {
    for (filter, schema) in [
        ("", "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, e INT)"),
        (
            " WHERE e > 0",
            "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, e INT)",
        ),
    ] {
        let database = Database::new(
            &format!(
                "{schema}; CREATE INDEX u ON t(k){filter};
                 INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 1), (3, 'a', 1), (4, 'b', -1), (5, NULL, 1), (6, NULL, 1);"
            ),
            "UPDATE sqlite_schema SET sql = replace(sql, 'CREATE INDEX', 'CREATE UNIQUE INDEX') WHERE name = 'u'",
        );
        let [broken] = &database.broken()[..] else {
            panic!("one rule");
        };
        assert_eq!(
            (broken.rule, broken.index.as_deref()),
            (Rule::Unique, Some("u"))
        );
        let (keys, rows) = if filter.is_empty() { (2, 4) } else { (1, 2) };
        assert_eq!((broken.keys, broken.rows), (Some(keys), rows));
        assert_eq!(broken.rowids[..2], [1, 3]);
    }
}

#[test]
fn damage_does_not_hide_behind_broken_rules() {
    let database = Database::new(
        &format!(
            "CREATE TABLE a(x TEXT); CREATE TABLE z(k TEXT); CREATE INDEX z_k ON z(k);
             {NUMBERS} INSERT INTO a SELECT NULL FROM n;
             {NUMBERS} INSERT INTO z SELECT 'key number ' || i FROM n;"
        ),
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE a(x TEXT NOT NULL)' WHERE name = 'a'",
    );
    assert_eq!(database.broken()[0].rows, 3000);
    database.damage(b"key number 2345", 1);
    let integrity = database.check();
    assert!(
        integrity
            .faults
            .iter()
            .all(|fault| fault.object.index() == Some("z_k"))
    );
    assert!(!integrity.faults.is_empty());
    assert_eq!(integrity.broken_rules[0].rows, 3000);
}

/// A block of the index is changed; the rows are not.
fn damaged_index(make: &str, damage: &str) -> Vec<DamagedObject> {
    let words = "printf('word%d other%d third%d', i % 97, i * 31 % 89, i * 7 % 83)";
    let database = Database::new(
        &format!(
            "CREATE TABLE text(id INTEGER PRIMARY KEY, body TEXT);
             {NUMBERS} INSERT INTO text SELECT i, {words} FROM n; {make}"
        ),
        "",
    );
    assert_eq!(database.faults(), []);
    database.sql(damage);
    database.faults()
}

#[test]
fn a_full_text_index_is_damaged_apart_from_its_text() {
    let block = "UPDATE f_data SET block = substr(block, 1, 40) || zeroblob(length(block) - 40) \
                 WHERE id = (SELECT max(id) FROM f_data WHERE length(block) > 1000)";
    let object = |module: &str, content: Option<&str>, rebuildable| DamagedObject::FullText {
        table: "f".into(),
        module: module.into(),
        content: content.map(Into::into),
        rebuildable,
        documents_without_text: 0,
    };
    let own = "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f SELECT body FROM text;";
    assert_eq!(damaged_index(own, block), [object("fts5", None, true)]);
    let other = "CREATE VIRTUAL TABLE f USING fts5(body, content='text', content_rowid='id');
                 INSERT INTO f(f) VALUES ('rebuild');";
    assert_eq!(
        damaged_index(other, block),
        [object("fts5", Some("text"), true)]
    );
    let none = "CREATE VIRTUAL TABLE f USING fts5(body, content='');
                INSERT INTO f(rowid, body) SELECT id, body FROM text;";
    assert_eq!(
        damaged_index(none, block),
        [object("fts5", Some(""), false)]
    );
    let old = "CREATE VIRTUAL TABLE f USING fts4(body); INSERT INTO f SELECT body FROM text;";
    assert_eq!(
        damaged_index(
            old,
            "UPDATE f_content SET c0body = 'another word' WHERE docid = 7"
        ),
        [object("fts4", None, true)]
    );
}

#[test]
fn an_index_of_other_text_than_its_content_is_not_called_damaged() {
    let fts4 = Database::new(
        "CREATE TABLE text(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO text VALUES (1, '<b>word</b>');
         CREATE VIRTUAL TABLE f USING fts4(content='text', body);
         INSERT INTO f(docid, body) VALUES (1, 'word');",
        "",
    );
    assert_eq!(fts4.unjudged().len(), 1);
    let fts5 = Database::new(
        "CREATE TABLE text(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO text VALUES (1, '<b>word</b>');
         CREATE VIRTUAL TABLE f USING fts5(body, content='text', content_rowid='id');
         INSERT INTO f(rowid, body) VALUES (1, 'word');",
        "",
    );
    assert_eq!(fts5.unjudged(), Vec::<String>::new());
}

#[test]
fn an_r_tree_that_contradicts_itself_concerns_no_other_table() {
    let database = Database::new(
        &format!(
            "CREATE VIRTUAL TABLE r USING rtree(id, a, b); {NUMBERS} INSERT INTO r SELECT i, i, i + 1 FROM n;
             DELETE FROM r_rowid WHERE rowid = 7;"
        ),
        "",
    );
    assert_eq!(
        database.faults(),
        [DamagedObject::VirtualTable {
            table: "r".into(),
            module: "rtree".into(),
            missing: Vec::new(),
        }]
    );
}

#[test]
fn functions_of_mathematics_are_known() {
    let database = Database::new(
        "CREATE TABLE t(x CHECK (sqrt(x) < 10)); CREATE INDEX i ON t(sin(x)); INSERT INTO t VALUES (4);",
        "",
    );
    assert_eq!(database.unjudged(), Vec::<String>::new());
}

#[test]
fn the_key_of_a_table_in_an_order_that_the_application_defines_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");
    let ask = |collation: &str| {
        drop(fs::remove_file(&path));
        let application = Connection::open(&path).unwrap();
        application
            .execute_batch(&format!(
                "CREATE TABLE g(a TEXT PRIMARY KEY, b) WITHOUT ROWID;
                 INSERT INTO g VALUES ('b', 1), ('A', 2), ('C', 3), ('d', 4), ('E', 5);
                 PRAGMA writable_schema=ON;
                 UPDATE sqlite_schema SET sql = replace(sql, 'TEXT', 'TEXT COLLATE {collation}')"
            ))
            .unwrap();
        drop(application);
        let check = |mode| Check {
            mode,
            max_faults: 100,
            deadline: None,
        };
        [Mode::Full, Mode::Quick, Mode::Sampled { seed: 1 }]
            .map(|mode| super::check(&path, Access::Copy, check(mode)).integrity)
    };
    for checked in ask("NOCASE") {
        assert_eq!(
            (&checked.faults, &checked.error),
            (&vec![], &None),
            "{checked:?}"
        );
    }
    let [whole, ..] = ask("NOCASE");
    assert_eq!(whole.unjudged.len(), 1, "{whole:?}");
    assert_eq!(whole.unjudged[0].part, UnjudgedPart::IndexOrder);
    // An order that nobody but SQLite defines.
    fs::remove_file(&path).unwrap();
    let damaged = Connection::open(&path).unwrap();
    damaged
        .execute_batch(
            "CREATE TABLE g(a TEXT PRIMARY KEY COLLATE NOCASE, b) WITHOUT ROWID;
             INSERT INTO g VALUES ('b', 1), ('A', 2), ('C', 3);
             PRAGMA writable_schema=ON;
             UPDATE sqlite_schema SET sql = replace(sql, ' COLLATE NOCASE', '')",
        )
        .unwrap();
    drop(damaged);
    let check = Check {
        mode: Mode::Full,
        max_faults: 100,
        deadline: None,
    };
    let damaged = super::check(&path, Access::Copy, check).integrity;
    assert!(!damaged.faults.is_empty(), "{damaged:?}");
}

#[test]
fn an_index_in_an_order_that_the_application_defines_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");
    // As an application leaves it whose NOCASE tells cases apart.
    let application = Connection::open(&path).unwrap();
    application
        .execute_batch(
            "CREATE TABLE g(id INTEGER PRIMARY KEY, a TEXT UNIQUE);
             INSERT INTO g(a) VALUES ('b'), ('A'), ('C'), ('d'), ('E'), ('f'), ('G');
             PRAGMA writable_schema=ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'TEXT', 'TEXT COLLATE NOCASE');",
        )
        .unwrap();
    drop(application);
    let ask = |mode| {
        super::check(
            &path,
            Access::Copy,
            Check {
                mode,
                max_faults: 100,
                deadline: None,
            },
        )
        .integrity
    };
    let whole = ask(Mode::Full);
    assert_eq!(whole.faults, [], "{whole:?}");
    let parts: Vec<_> = whole.unjudged.iter().map(|one| one.part).collect();
    assert_eq!(parts, [UnjudgedPart::IndexOrder], "{whole:?}");
    assert_eq!(ask(Mode::Sampled { seed: 1 }).faults, []);
}

#[test]
fn words_that_another_version_of_sqlite_makes_are_not_judged() {
    let tables = [
        ("fts3(a)", "f_content", "c0a"),
        ("fts4(a)", "f_content", "c0a"),
        ("fts5(a)", "f_content", "c0"),
    ];
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        for (using, content, column) in tables {
            // The words stay those of the text: as if another version had made them of the value.
            for odd in ["1.0 / 3", "CAST(x'd800' AS TEXT)", "CAST(x'00d8' AS TEXT)"] {
                let is_valid = match (encoding, odd) {
                    ("UTF-16le", odd) => odd.contains("d800"),
                    ("UTF-16be", odd) => odd.contains("00d8"),
                    _ => false,
                };
                let database = Database::new(
                    &format!(
                        "PRAGMA encoding='{encoding}'; CREATE VIRTUAL TABLE f USING {using};
                         INSERT INTO f VALUES ('some words'), ('0.333333333333333');
                         UPDATE {content} SET {column} = {odd} WHERE rowid = 2;"
                    ),
                    "",
                );
                let case = format!("{encoding} {using} {odd}");
                if is_valid {
                    assert_eq!(database.faults().len(), 1, "{case}");
                    continue;
                }
                let unjudged = database.unjudged();
                assert_eq!(unjudged.len(), 1, "{case}");
                assert!(unjudged[0].starts_with("virtual table `f`: it"), "{case}");
                let connection = Connection::open(&database.path).unwrap();
                let against = against_rebuild(&connection, "f").unwrap();
                assert!(against.is_some(), "{case}");
            }
        }
    }
    // A column without words says nothing of them.
    for (using, content, numbers) in [
        ("fts5(a, n UNINDEXED)", "f_content", ("c0", "c1")),
        ("fts4(a, n, notindexed=n)", "f_content", ("c0a", "c1n")),
    ] {
        let (text, number) = numbers;
        let database = Database::new(
            &format!(
                "CREATE VIRTUAL TABLE f USING {using}; INSERT INTO f VALUES ('some words', 1.0 / 3);
                 UPDATE {content} SET {text} = 'others', {number} = 2.0 / 3;"
            ),
            "",
        );
        assert_eq!(database.faults().len(), 1, "{using}");
        let connection = Connection::open(&database.path).unwrap();
        assert_eq!(against_rebuild(&connection, "f").unwrap(), None);
    }
    // The blocks of the index are damaged, whatever the text.
    let database = Database::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n);
         INSERT INTO t VALUES (1, 1.0 / 3);
         CREATE VIRTUAL TABLE f USING fts5(n, content='t', content_rowid='id');
         INSERT INTO f(f) VALUES ('rebuild');
         UPDATE f_data SET block = x'00' WHERE id > 10;",
        "",
    );
    let faults = database.faults();
    let is_left = |fault: &DamagedObject| {
        matches!(
            fault,
            DamagedObject::FullText {
                rebuildable: false,
                ..
            }
        )
    };
    assert!(
        !faults.is_empty() && faults.iter().all(is_left),
        "{faults:?}"
    );
}

#[test]
fn documents_that_only_the_full_text_index_knows_are_counted() {
    let own = |module: &str| {
        format!(
            "CREATE VIRTUAL TABLE f USING {module}(a);
             {NUMBERS} INSERT INTO f SELECT 'number ' || i FROM n;
             DELETE FROM f_content WHERE rowid > 2970;"
        )
    };
    let other = format!(
        "CREATE TABLE t(number, a); {NUMBERS} INSERT INTO t SELECT i, 'number ' || i FROM n;
         CREATE VIRTUAL TABLE f USING fts5(a, content=t, content_rowid='number');
         INSERT INTO f(f) VALUES ('rebuild'); DELETE FROM t WHERE number > 2970;
         UPDATE f_data SET block = x'00' WHERE id > 10;"
    );
    let emptied = [
        "CREATE VIRTUAL TABLE f USING fts5(a, b UNINDEXED); INSERT INTO f SELECT 'number ' || i, i FROM n;
         UPDATE f_content SET c0 = '' WHERE rowid > 2970;",
        "CREATE VIRTUAL TABLE f USING fts4(a, b, notindexed=b);
         INSERT INTO f SELECT 'number ' || i, i FROM n; UPDATE f_content SET c0a = NULL WHERE rowid > 2970;",
    ]
    .map(|make| make.replace("INSERT INTO f SELECT", &format!("{NUMBERS} INSERT INTO f SELECT")));
    let [emptied_5, emptied_4] = emptied;
    for make in [own("fts4"), own("fts5"), other, emptied_5, emptied_4] {
        let database = Database::new(&make, "");
        let faults = database.faults();
        let counted = |fault: &DamagedObject| {
            matches!(
                fault,
                DamagedObject::FullText {
                    rebuildable: false,
                    documents_without_text: 30,
                    ..
                }
            )
        };
        assert!(
            !faults.is_empty() && faults.iter().all(counted),
            "{make}: {faults:?}"
        );
        let connection = Connection::open(&database.path).unwrap();
        let against = against_rebuild(&connection, "f").unwrap().unwrap();
        assert!(against.contains("knows 30 documents"), "{against}");
    }
}

#[test]
fn rows_without_a_word_are_no_documents_without_text() {
    let database = Database::new(
        "CREATE VIRTUAL TABLE f USING fts5(a, b); INSERT INTO f VALUES ('', NULL), ('.', ''), ('a', ''), (NULL, 'b');
         CREATE VIRTUAL TABLE g USING fts4(a, b); INSERT INTO g VALUES ('', NULL), ('.', ''), ('a', ''), (NULL, 'b');",
        "",
    );
    let connection = Connection::open(&database.path).unwrap();
    for table in ["f", "g"] {
        assert_eq!(
            against_rebuild(&connection, table).unwrap(),
            None,
            "{table}"
        );
    }
}

#[test]
fn an_index_over_an_emptied_table_is_a_note() {
    for (module, deleted, noted) in [
        ("fts5(a, content=t, content_rowid=number)", "1", 3000),
        ("fts4(a, content=t)", "rowid > 2999", 1),
        ("fts5(a, content=t, content_rowid=number)", "0", 0),
    ] {
        let database = Database::new(
            &format!(
                "CREATE TABLE t(number INTEGER PRIMARY KEY, a);
                 {NUMBERS} INSERT INTO t SELECT i, 'number ' || i FROM n WHERE i BETWEEN 1 AND 3000;
                 CREATE VIRTUAL TABLE f USING {module}; INSERT INTO f(f) VALUES ('rebuild');
                 DELETE FROM t WHERE {deleted};"
            ),
            "",
        );
        let integrity = super::check(&database.path, Access::InPlace, CHECK).integrity;
        assert_eq!(integrity.faults, [], "{module}");
        let said: Vec<&str> = integrity
            .unjudged
            .iter()
            .map(|one| one.reason.as_str())
            .collect();
        let count = format!("knows {noted} documents");
        let counted = said.iter().filter(|why| why.contains(&count)).count();
        assert_eq!(counted, usize::from(noted > 0), "{module}: {said:?}");
    }
}

#[test]
fn a_sample_takes_text_that_is_not_valid() {
    // As stored: lone surrogates, what is no UTF-8, and numbers that are no characters.
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        let database = Database::new(
            &format!(
                "PRAGMA encoding='{encoding}'; CREATE TABLE o(id INTEGER PRIMARY KEY, a, b);
                 CREATE INDEX i ON o(a, b); CREATE INDEX j ON o(b COLLATE NOCASE);
                 {NUMBERS} INSERT INTO o(a, b) SELECT CAST(v AS TEXT), i FROM n JOIN (
                     SELECT x'3dd84100' AS v UNION SELECT x'd83d0041' UNION SELECT x'feff4100'
                     UNION SELECT x'ffff4100' UNION SELECT x'4dfc6c6c' UNION SELECT x'4100fffe'
                     UNION SELECT x'41004200' UNION SELECT x'3dd8') WHERE i < 100;"
            ),
            "",
        );
        let sampled = || {
            let check = Check {
                mode: Mode::Sampled { seed: 1 },
                ..CHECK
            };
            super::check(&database.path, Access::InPlace, check).integrity
        };
        let integrity = sampled();
        assert_eq!(
            (&integrity.faults, &integrity.error),
            (&vec![], &None),
            "{encoding}"
        );
        assert!(integrity.coverage.unwrap().entries > 0);
        assert_eq!(database.faults(), []);
    }
}
