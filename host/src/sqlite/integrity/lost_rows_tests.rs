//! Against real files: entries of rows that are not in the table. Where several indexes have them, the table
//! has lost the rows; where one alone has, they were deleted.

use super::judging_tests::{Database, NUMBERS};
use super::*;

/// A table of 3,000 rows from which every hundredth is deleted while these indexes are not looked after.
fn deleted_behind(schema: &str, indexes: &str) -> Database {
    let database = Database::new(
        &format!("{schema} {NUMBERS} INSERT INTO t SELECT i, i % 7, 'x' || i FROM n;"),
        "",
    );
    database.sql(&format!(
        "PRAGMA writable_schema = ON;
         CREATE TEMP TABLE kept AS SELECT * FROM main.sqlite_schema WHERE name IN ({indexes});
         DELETE FROM main.sqlite_schema WHERE name IN ({indexes});
         PRAGMA writable_schema = RESET;
         DELETE FROM t WHERE a % 100 = 0;
         PRAGMA writable_schema = ON;
         INSERT INTO main.sqlite_schema SELECT * FROM kept;
         PRAGMA writable_schema = RESET;"
    ));
    database
}

const TWO: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, k INT, s TEXT);
                   CREATE INDEX by_k ON t(k); CREATE INDEX by_s ON t(s, k);";
const CLUSTERED: &str = "CREATE TABLE t(a INT PRIMARY KEY, k INT, s TEXT) WITHOUT ROWID;
                         CREATE INDEX by_k ON t(k); CREATE INDEX by_s ON t(s);";
const ONE: &str =
    "CREATE TABLE t(a INTEGER PRIMARY KEY, k INT, s TEXT); CREATE INDEX by_k ON t(k);";
const PARTIAL: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, k INT, s TEXT);
                       CREATE INDEX by_k ON t(k); CREATE INDEX by_s ON t(s) WHERE a > 1500;";

#[test]
fn rows_that_two_indexes_name_are_lost_by_the_table() {
    for schema in [TWO, CLUSTERED, PARTIAL] {
        let database = deleted_behind(schema, "'by_k', 'by_s'");
        let integrity = database.check();
        let of_table =
            |fault: &&IntegrityFault| matches!(fault.object, DamagedObject::Table { .. });
        let told = integrity.faults.iter().filter(of_table);
        let told: Vec<&str> = told.map(|fault| fault.message.as_str()).collect();
        assert_eq!(told.len(), 1, "{schema}: {:?}", integrity.faults);
        assert!(told[0].ends_with("rows that several of its indexes name are not in it"));
        assert_eq!(integrity.comparisons.len(), 2, "{schema}");
        for compared in &integrity.comparisons {
            assert!(compared.lost_rows > 0, "{schema}: {compared:?}");
            assert!(!compared.proves_no_loss(), "{schema}: {compared:?}");
        }
    }
}

#[test]
fn rows_that_one_of_two_indexes_names_were_deleted() {
    for schema in [TWO, CLUSTERED] {
        let database = deleted_behind(schema, "'by_k'");
        let integrity = database.check();
        let [compared] = &integrity.comparisons[..] else {
            panic!("{schema}: {integrity:?}");
        };
        assert_eq!(compared.removable.without_row, 30, "{schema}");
        assert_eq!((compared.lost_rows, compared.unasked_rows), (0, 0));
        assert!(compared.proves_no_loss(), "{schema}: {compared:?}");
    }
}

#[test]
fn where_no_other_index_can_tell_it_is_said() {
    for schema in [ONE, PARTIAL] {
        let database = deleted_behind(schema, "'by_k'");
        let integrity = database.check();
        let compared = &integrity.comparisons[0];
        assert_eq!(compared.removable.without_row, 30, "{schema}");
        assert_eq!((compared.lost_rows, compared.unasked_rows), (0, 30));
        assert!(!compared.proves_no_loss(), "{schema}: {compared:?}");
    }
}
