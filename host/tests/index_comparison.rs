//! Which of the two is wrong, the index or the row? Real databases, damaged byte by byte in the
//! row, in the entry, or in both, for indexes of every shape.
//!
//! What must hold for all of them: when a row is damaged, its entry may be the only copy of the
//! true value, and nothing may call it removable.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach what is outside `#[test]`"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use dbmedic::row_values::ShownValue;
use dbmedic::sqlite::connection::{self, Access};
use dbmedic::sqlite::integrity::{Compared, compare};
use dbmedic::sqlite_state::{IndexComparison, ValueKind};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rusqlite::Connection;

const ROWS: usize = 1200;

/// A table with an index, and how a row's mark shows in both.
#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    /// Creates table `t` with the columns `mark` and, for most, `n`, and index `i`.
    schema: &'static str,
    /// Inserts row ?1 with mark ?2.
    insert: &'static str,
    /// The index's name.
    index: &'static str,
    /// What the entry holds of the mark.
    entry: fn(&str) -> Vec<u8>,
    /// What the row holds of it.
    row: fn(&str) -> Vec<u8>,
}

fn as_it_is(mark: &str) -> Vec<u8> {
    mark.as_bytes().to_vec()
}

fn in_capitals(mark: &str) -> Vec<u8> {
    mark.to_uppercase().into_bytes()
}

fn in_utf16(mark: &str) -> Vec<u8> {
    mark.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

const PLAIN: Form = Form {
    name: "plain",
    schema: "CREATE TABLE t(n INTEGER PRIMARY KEY, mark TEXT); CREATE INDEX i ON t(mark);",
    insert: "INSERT INTO t(n, mark) VALUES (?1, ?2)",
    index: "i",
    entry: as_it_is,
    row: as_it_is,
};

const FORMS: &[Form] = &[
    PLAIN,
    Form {
        name: "unique",
        schema: "CREATE TABLE t(n, mark TEXT); CREATE UNIQUE INDEX i ON t(mark);",
        ..PLAIN
    },
    Form {
        name: "asked for by the table",
        schema: "CREATE TABLE t(n, mark TEXT UNIQUE);",
        index: "sqlite_autoindex_t_1",
        ..PLAIN
    },
    Form {
        name: "descending",
        schema: "CREATE TABLE t(n, mark TEXT); CREATE INDEX i ON t(mark DESC, n);",
        ..PLAIN
    },
    Form {
        name: "without regard to case",
        schema: "CREATE TABLE t(n, mark TEXT COLLATE NOCASE); CREATE INDEX i ON t(mark);",
        ..PLAIN
    },
    Form {
        name: "another collation than the column's",
        schema: "CREATE TABLE t(n, mark TEXT); CREATE INDEX i ON t(mark COLLATE RTRIM);",
        ..PLAIN
    },
    Form {
        name: "several columns",
        schema: "CREATE TABLE t(n REAL, mark TEXT, k DEFAULT 7.0); CREATE INDEX i ON t(n, mark, k);",
        ..PLAIN
    },
    Form {
        name: "with the rowid's alias",
        schema: "CREATE TABLE t(n INTEGER PRIMARY KEY, mark TEXT); CREATE INDEX i ON t(mark, n);",
        ..PLAIN
    },
    Form {
        name: "expression",
        schema: "CREATE TABLE t(n, mark TEXT); CREATE INDEX i ON t(upper(mark) /* , ( */, n + 1);",
        entry: in_capitals,
        ..PLAIN
    },
    Form {
        name: "partial",
        schema: "CREATE TABLE t(n, mark TEXT); CREATE INDEX i ON t(mark) WHERE n > 9 AND mark <> ')';",
        ..PLAIN
    },
    Form {
        name: "without rowid",
        schema: "CREATE TABLE t(a, n, mark TEXT, PRIMARY KEY(n, a)) WITHOUT ROWID; CREATE INDEX i ON t(mark);",
        insert: "INSERT INTO t(n, mark, a) VALUES (?1, ?2, 'a')",
        ..PLAIN
    },
    Form {
        name: "UTF-16",
        schema: "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(n, mark TEXT); CREATE INDEX i ON t(mark);",
        entry: in_utf16,
        row: in_utf16,
        ..PLAIN
    },
    Form {
        name: "many columns",
        schema: "CREATE TABLE t(n, a,b,c,d,e,f,g,h DEFAULT 'x', j,k,l,m,o,p,q,r,s, mark TEXT, u,v,w,x,y,z);
                 CREATE INDEX i ON t(a,b,c,d,e,f,g,h,j,k,l,m,o,p,q,r,s,mark,u,v,w,x,y,z);",
        ..PLAIN
    },
    Form {
        name: "long keys",
        schema: "CREATE TABLE t(n, mark TEXT, pad DEFAULT (hex(zeroblob(3000)))); CREATE INDEX i ON t(mark, pad);",
        ..PLAIN
    },
    Form {
        name: "generated column",
        schema: "CREATE TABLE t(n, mark TEXT, g AS (upper(mark))); CREATE INDEX i ON t(g);",
        entry: in_capitals,
        ..PLAIN
    },
    Form {
        name: "names that need quotes",
        schema: "CREATE TABLE t(n, \"select\"\"\", mark TEXT); CREATE INDEX i ON t(\"select\"\"\", mark);",
        ..PLAIN
    },
    Form {
        name: "small pages with reserved bytes left alone",
        schema: "PRAGMA page_size = 512; CREATE TABLE t(n, mark TEXT); CREATE INDEX i ON t(mark, n);",
        ..PLAIN
    },
];

/// The marks are drawn from `c` to `w`, so that a flipped bit can lead out of what is in order.
fn mark(random: &mut StdRng, row: usize) -> String {
    let letters: String = (0..8)
        .map(|_| char::from(random.random_range(b'c'..=b'w')))
        .collect();
    format!("{letters}-{row:05}-{letters}")
}

struct Patient {
    _directory: tempfile::TempDir,
    path: PathBuf,
    form: Form,
    marks: Vec<String>,
}

impl Patient {
    fn new(form: Form, seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("patient.db");
        let mut random = StdRng::seed_from_u64(seed);
        let marks: Vec<String> = (0..ROWS).map(|row| mark(&mut random, row)).collect();
        let mut db = Connection::open(&path).unwrap();
        db.execute_batch(form.schema).unwrap();
        let work = db.transaction().unwrap();
        for (row, mark) in marks.iter().enumerate() {
            work.execute(
                form.insert,
                rusqlite::params![i64::try_from(row + 10).unwrap(), mark],
            )
            .unwrap();
        }
        work.commit().unwrap();
        Self {
            _directory: directory,
            path,
            form,
            marks,
        }
    }

    fn sql(&self, sql: &str) {
        Connection::open(&self.path)
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    }

    /// Hides the index from SQLite while `sql` runs: it changes rows and not the index.
    fn behind_the_index(&self, sql: &str) {
        let index = self.form.index;
        let db = Connection::open(&self.path).unwrap();
        db.execute_batch("PRAGMA writable_schema = ON").unwrap();
        let (rootpage, text): (i64, String) = db
            .query_row(
                "SELECT rootpage, sql FROM sqlite_schema WHERE name = ?1",
                [index],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        db.execute("DELETE FROM sqlite_schema WHERE name = ?1", [index])
            .unwrap();
        drop(db);
        self.sql(sql);
        let db = Connection::open(&self.path).unwrap();
        db.execute_batch("PRAGMA writable_schema = ON").unwrap();
        db.execute(
            "INSERT INTO sqlite_schema VALUES ('index', ?1, 't', ?2, ?3)",
            rusqlite::params![index, rootpage, text],
        )
        .unwrap();
    }

    /// Where these bytes lie in the pages of a table or an index. Pages hold what was moved away
    /// from them too, unused.
    fn places(&self, owner: &str, wanted: &[u8]) -> Vec<usize> {
        let db = Connection::open(&self.path).unwrap();
        let size: i64 = db
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .unwrap();
        let size = usize::try_from(size).unwrap();
        let pages: Vec<i64> = db
            .prepare("SELECT pageno FROM dbstat WHERE name = ?1")
            .unwrap()
            .query_map([owner], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        drop(db);
        let bytes = fs::read(&self.path).unwrap();
        let in_page = |page: i64| {
            let begin = usize::try_from(page - 1).unwrap() * size;
            let page = &bytes[begin..begin + size];
            let found = page.windows(wanted.len()).enumerate();
            let found = found.filter(|(_, part)| *part == wanted);
            found.map(|(at, _)| begin + at).collect::<Vec<_>>()
        };
        pages.into_iter().flat_map(in_page).collect()
    }

    /// Flips bits of a byte at a distance from these bytes, where they are in use.
    fn damage(&self, owner: &str, wanted: &[u8], distance: usize, mask: u8) {
        let before = self.comparison();
        for at in self.places(owner, wanted) {
            self.flip(at + distance, mask);
            let now = self.comparison();
            let is_other = |one: &IndexComparison, other: &IndexComparison| {
                (one.missing_entries, one.disagreements, one.removable)
                    != (other.missing_entries, other.disagreements, other.removable)
            };
            if is_other(&before, &now) {
                return;
            }
            self.flip(at + distance, mask);
        }
        panic!("{}: not in {owner}", self.form.name);
    }

    fn flip(&self, at: usize, mask: u8) {
        let mut bytes = fs::read(&self.path).unwrap();
        bytes[at] ^= mask;
        fs::write(&self.path, bytes).unwrap();
    }

    /// Flips bits of a byte of the row's mark.
    fn damage_row(&self, row: usize, byte: usize, mask: u8) {
        self.damage("t", &(self.form.row)(&self.marks[row]), byte, mask);
    }

    /// Flips bits of a byte of the mark in the row's entry.
    fn damage_entry(&self, row: usize, byte: usize, mask: u8) {
        let wanted = (self.form.entry)(&self.marks[row]);
        self.damage(self.form.index, &wanted, byte, mask);
    }

    /// Flips bits of the last byte of the rowid that follows the mark in the row's entry.
    fn damage_name(&self, row: usize, mask: u8) {
        let mark = &self.marks[row];
        self.damage("i", mark.as_bytes(), mark.len() + 1, mask);
    }

    fn compare(&self) -> Compared {
        let db = connection::open(&self.path, Access::Copy, None).unwrap();
        let _moment = db.unchecked_transaction().unwrap();
        compare(&db, self.form.index, "t").unwrap()
    }

    /// What was compared, whoever may build the index: where the application may define its order or
    /// its functions, nobody else does.
    fn comparison(&self) -> IndexComparison {
        let mut found = self.compare().comparison;
        if let Some(why) = &found.left_to_application {
            assert!(!found.proves_no_loss(), "{found:?}");
            if found
                .unproven
                .as_deref()
                .is_some_and(|unproven| unproven.starts_with(why))
            {
                found.unproven = None;
            }
        }
        found
    }
}

#[test]
fn a_sound_index_of_any_shape_agrees_with_its_table() {
    for form in FORMS {
        let found = Patient::new(*form, 1).comparison();
        assert_eq!(found.unproven, None, "{}: {found:?}", form.name);
        assert_eq!(found.entries, found.rows, "{}: {found:?}", form.name);
        assert!(found.rows > 1100, "{}: {found:?}", form.name);
        assert_eq!(found.missing_entries, 0, "{}: {found:?}", form.name);
        assert_eq!(found.removable.total(), 0, "{}: {found:?}", form.name);
        assert!(found.proves_no_loss(), "{}: {found:?}", form.name);
        assert!(found.expected_lock_ms.is_some());
    }
}

#[test]
fn a_damaged_row_is_never_called_a_damaged_index() {
    for form in FORMS {
        // The last byte changes little and the first much: both lie where the true value belongs.
        let last = (form.row)("x-00000-y").len() - 1;
        for (byte, mask) in [(0, 0x40), (0, 0x01), (last.min(8), 0x01)] {
            let patient = Patient::new(*form, 2);
            patient.damage_row(700, byte, mask);
            let found = patient.comparison();
            assert_eq!(found.unproven, None, "{}: {found:?}", form.name);
            assert!(!found.proves_no_loss(), "{} {byte}: {found:?}", form.name);
            assert_eq!(found.disagreements, 1, "{} {byte}: {found:?}", form.name);
            assert_eq!(found.removable.total(), 0, "{}: {found:?}", form.name);
        }
    }
}

#[test]
fn an_entry_that_was_never_written_so_is_removable() {
    for form in FORMS {
        if form.name == "UTF-16" {
            continue;
        }
        let patient = Patient::new(*form, 3);
        // Far from its neighbours, which have the same first letter.
        let at = if form.name == "several columns" { 8 } else { 0 };
        patient.damage_entry(700, at, 0x80);
        let found = patient.comparison();
        if form.name == "several columns" || form.name == "many columns" {
            // Another column decides the order, or there is none: nobody knows.
            assert!(found.disagreements + found.removable.out_of_place == 1);
            continue;
        }
        assert_eq!(found.removable.out_of_place, 1, "{}: {found:?}", form.name);
        assert_eq!(found.disagreements, 0, "{}: {found:?}", form.name);
        assert!(found.proves_no_loss(), "{}: {found:?}", form.name);
    }
}

#[test]
fn an_entry_that_may_have_been_written_so_is_left_to_a_person() {
    for form in FORMS {
        let patient = Patient::new(*form, 4);
        let last = (form.entry)(&patient.marks[700]).len() - 2;
        patient.damage_entry(700, last, 0x01);
        let found = patient.comparison();
        assert_eq!(found.disagreements, 1, "{}: {found:?}", form.name);
        assert!(!found.proves_no_loss());
    }
}

#[test]
fn damage_of_both_is_left_to_a_person() {
    for form in FORMS {
        let patient = Patient::new(*form, 5);
        patient.damage_row(300, 0, 0x01);
        patient.damage_entry(700, 0, 0x80);
        let found = patient.comparison();
        assert!(found.disagreements >= 1, "{}: {found:?}", form.name);
        let both = Patient::new(*form, 5);
        both.damage_row(300, 0, 0x01);
        both.damage_entry(300, 0, 0x01);
        let found = both.comparison();
        assert!(
            found.proves_no_loss(),
            "{}: the same wrong value in both shows nowhere: {found:?}",
            form.name
        );
    }
}

#[test]
fn rows_without_entries_and_entries_without_rows_are_the_indexs_fault() {
    for form in FORMS.iter().filter(|form| form.index == "i") {
        let patient = Patient::new(*form, 6);
        patient.behind_the_index(
            "DELETE FROM t WHERE n BETWEEN 100 AND 139;
             INSERT INTO t(n, mark) SELECT n + 5000, mark || 'x' FROM t WHERE n < 30;"
                .replace(
                    "t(n, mark)",
                    if form.name == "without rowid" {
                        "t(n, mark, a)"
                    } else {
                        "t(n, mark)"
                    },
                )
                .replace(
                    "mark || 'x' FROM",
                    if form.name == "without rowid" {
                        "mark || 'x', 'a' FROM"
                    } else {
                        "mark || 'x' FROM"
                    },
                )
                .as_str(),
        );
        let found = patient.comparison();
        assert_eq!(found.removable.without_row, 40, "{}: {found:?}", form.name);
        assert_eq!(found.missing_entries, 20, "{}: {found:?}", form.name);
        // No other index tells whether the rows were deleted or lost.
        assert_eq!(found.unasked_rows, 40, "{}: {found:?}", form.name);
        assert!(!found.proves_no_loss(), "{}: {found:?}", form.name);
    }
}

#[test]
fn an_index_that_an_update_passed_by_is_left_to_a_person() {
    for form in FORMS.iter().filter(|form| form.index == "i") {
        let patient = Patient::new(*form, 7);
        patient.behind_the_index("UPDATE t SET mark = mark || 'y' WHERE n BETWEEN 100 AND 104");
        let found = patient.comparison();
        assert_eq!(found.disagreements, 5, "{}: {found:?}", form.name);
        assert_eq!(found.examples.len(), 5);
    }
}

#[test]
fn an_entry_that_names_another_row_is_removable_where_that_row_has_its_own() {
    let patient = Patient::new(PLAIN, 8);
    // The rowid follows the key; 710 and 711 differ in the last bit.
    patient.damage_name(700, 1);
    let found = patient.comparison();
    assert_eq!(found.removable.misnamed, 1, "{found:?}");
    assert!(found.proves_no_loss());
}

#[test]
fn a_rowid_that_may_be_the_rows_own_damage_is_left_to_a_person() {
    let patient = Patient::new(PLAIN, 9);
    // A gap behind each row: either may be what was written.
    patient.sql("UPDATE t SET n = n * 2 + 100000; UPDATE t SET n = n - 100000");
    patient.damage_name(700, 1);
    let found = patient.comparison();
    assert_eq!(found.disagreements, 1, "{found:?}");
    assert_eq!(found.examples[0].columns[0].column, "rowid");
    // Far from where its row lies, it cannot be.
    let patient = Patient::new(PLAIN, 9);
    patient.sql("UPDATE t SET n = n * 2 + 100000; UPDATE t SET n = n - 100000");
    patient.damage_name(700, 0x41);
    let found = patient.comparison();
    assert_eq!(found.removable.without_row, 1, "{found:?}");
    assert_eq!(found.unasked_rows, 1, "{found:?}");
}

#[test]
fn a_page_that_cannot_be_read_leaves_things_unproven() {
    for (offset, byte) in [(0, 0x00), (3, 0xff), (8, 0xff)] {
        let patient = Patient::new(PLAIN, 10);
        let at = patient.places("i", patient.marks[700].as_bytes())[0];
        let page = at / 4096 * 4096;
        let mut bytes = fs::read(&patient.path).unwrap();
        bytes[page + offset] = byte;
        fs::write(&patient.path, bytes).unwrap();
        let found = patient.comparison();
        assert!(found.unproven.is_some(), "{offset}: {found:?}");
        assert!(!found.proves_no_loss());
    }
}

#[test]
fn keys_that_are_shared_are_counted() {
    let form = *FORMS.iter().find(|form| form.name == "unique").unwrap();
    let patient = Patient::new(form, 11);
    patient.behind_the_index("INSERT INTO t(n, mark) SELECT n + 5000, mark FROM t WHERE n < 15");
    let found = patient.comparison();
    assert_eq!((found.missing_entries, found.shared_keys), (5, 5));
}

#[test]
fn what_differs_is_told_without_a_value() {
    let patient = Patient::new(PLAIN, 12);
    patient.damage_row(990, 3, 1);
    let compared = patient.compare();
    let told = serde_json::to_string(&compared.comparison).unwrap();
    let mark = &patient.marks[990];
    assert!(
        !told.contains(&mark[..8]) && !told.contains(&mark[9..]),
        "{told}"
    );
    assert!(!format!("{compared:?}").contains(&mark[9..]));
    let example = &compared.comparison.examples[0];
    assert_eq!(example.rowid, Some(1000));
    let [column] = example.columns.as_slice() else {
        panic!("{example:?}");
    };
    assert_eq!(column.column, "mark");
    assert_eq!((column.row.kind, column.row.bytes), (ValueKind::Text, 23));
    // The values themselves are only in what is kept for a person.
    let (row, entry) = &compared.values[0].columns["mark"];
    assert!(*entry == ShownValue::Text(mark.clone()));
    assert!(row != entry);
    assert!(compared.values[0].row["rowid"] == ShownValue::Integer(1000));
}

/// Draws damage of rows and of entries; whenever a row is damaged, its entry must not be called
/// removable, and whenever everything is called removable, the rows are as they were written.
#[test]
fn no_row_that_was_damaged_is_ever_taken_for_the_truth() {
    let (mut proven, mut left) = (0, 0);
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let form = FORMS[random.random_range(0..FORMS.len())];
        let patient = Patient::new(form, seed);
        let mut rows_damaged = 0;
        let mut hit = BTreeSet::new();
        for _ in 0..random.random_range(1..4) {
            let row = random.random_range(0..ROWS);
            let byte = random.random_range(0..8);
            // A letter's case is the one bit that an index of capitals does not hold.
            let mask = [1, 2, 4, 8, 16, 64, 128][random.random_range(0..7)];
            // What was hit before is not found again.
            if !hit.insert(row) {
                continue;
            }
            if random.random_bool(0.5) {
                patient.damage_row(row, byte, mask);
                rows_damaged += 1;
            } else {
                patient.damage_entry(row, byte, mask);
            }
        }
        let found = patient.comparison();
        if rows_damaged > 0 && found.unproven.is_none() {
            assert!(found.disagreements >= 1, "{seed} {}: {found:?}", form.name);
        }
        if found.proves_no_loss() {
            proven += 1;
            assert_eq!(rows_damaged, 0, "{seed} {}: {found:?}", form.name);
        } else {
            left += 1;
        }
    }
    assert!(proven > 2 && left > 10, "{proven} proven, {left} left");
}

/// Reading in the middle of a log and beside a writer gives one moment.
#[test]
fn the_log_is_read_as_the_connection_sees_it() {
    let patient = Patient::new(PLAIN, 13);
    patient.sql("PRAGMA journal_mode = WAL");
    let writer = Connection::open(&patient.path).unwrap();
    writer
        .execute_batch("PRAGMA wal_autocheckpoint = 0; DELETE FROM t WHERE n % 3 = 0")
        .unwrap();
    let reader = connection::open(Path::new(&patient.path), Access::InPlace, None).unwrap();
    let moment = reader.unchecked_transaction().unwrap();
    let before = compare(&reader, "i", "t").unwrap().comparison;
    writer.execute_batch("DELETE FROM t").unwrap();
    let after = compare(&reader, "i", "t").unwrap().comparison;
    drop(moment);
    assert_eq!((before.rows, before.entries), (800, 800));
    assert_eq!((after.rows, after.entries), (800, 800));
    assert!(before.proves_no_loss() && after.proves_no_loss());
    assert_eq!(before.missing_entries + after.missing_entries, 0);
}
