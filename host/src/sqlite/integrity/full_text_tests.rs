//! Against real files: full-text indexes whose words another version of SQLite may cut differently, whose
//! blocks ask for more memory than there is, and whose rows are numbered by text.

use super::judging_tests::{Database, NUMBERS};
use super::*;

#[test]
fn trigrams_of_text_with_nul_are_left_to_the_version_that_made_them() {
    let make = |tokenizer: &str, encoding: &str| {
        Database::new(
            &format!(
                "PRAGMA encoding='{encoding}'; CREATE VIRTUAL TABLE f USING fts5(a, tokenize={tokenizer});
                 INSERT INTO f VALUES ('abc'), ('one two');"
            ),
            "",
        )
    };
    // As a version made it that ends at the NUL.
    let nul = "UPDATE f_content SET c0 = 'abc' || char(0) || 'def xyz' WHERE id = 1";
    for encoding in ["UTF-8", "UTF-16le"] {
        for tokenizer in ["trigram", "\"'trigram' case_sensitive 1\""] {
            let database = make(tokenizer, encoding);
            database.sql(nul);
            assert_eq!(database.faults(), [], "{tokenizer} {encoding}");
            let unjudged = database.unjudged();
            assert!(
                unjudged.iter().any(|one| one.contains("NUL")),
                "{unjudged:?}"
            );
            let connection = Connection::open(&database.path).unwrap();
            let against = against_rebuild(&connection, "f").unwrap();
            assert!(against.is_some_and(|why| why.contains("NUL")));
            let database = make(tokenizer, encoding);
            database.sql("UPDATE f_content SET c0 = 'abcdef xyz' WHERE id = 1");
            assert_eq!(database.faults().len(), 1, "{tokenizer} {encoding}");
        }
        let database = make("unicode61", encoding);
        database.sql(nul);
        assert_eq!(database.faults().len(), 1, "{encoding}");
    }
}

#[test]
fn a_block_that_asks_for_more_memory_than_there_is_damages_its_table_alone() {
    let database = Database::new(
        &format!(
            "CREATE VIRTUAL TABLE f USING fts5(a); CREATE VIRTUAL TABLE g USING fts5(a);
             {NUMBERS} INSERT INTO f SELECT 'please pay amount ' || i || ' to w' || (i % 50) FROM n;
             INSERT INTO f(f) VALUES ('optimize'); INSERT INTO g VALUES ('one');
             UPDATE g_content SET c0 = 'two';"
        ),
        "",
    );
    let connection = Connection::open(&database.path).unwrap();
    let blocks: Vec<i64> = connection
        .prepare("SELECT id FROM f_data WHERE id > 10 AND length(block) > 100")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut out_of_memory = 0;
    for id in blocks {
        let update = "UPDATE f_data SET block = ?2 WHERE id = ?1";
        let whole: Vec<u8> = connection
            .query_row("SELECT block FROM f_data WHERE id = ?1", [id], |row| {
                row.get(0)
            })
            .unwrap();
        let mut damaged = whole.clone();
        damaged[40..60].fill(0xff);
        connection.execute(update, (id, damaged)).unwrap();
        let integrity = database.check();
        let of = |table: &str| {
            let mut faults = integrity.faults.iter();
            faults.any(|fault| fault.object.table() == Some(table))
        };
        assert!(of("f") && of("g"), "{id}: {:?}", integrity.faults);
        let mut faults = integrity.faults.iter();
        out_of_memory += usize::from(faults.any(|fault| fault.message.contains("out of memory")));
        connection.execute(update, (id, whole)).unwrap();
    }
    assert!(out_of_memory > 0);
}

#[test]
fn rows_numbered_by_text_or_by_other_numbers_are_those_that_the_index_means() {
    for kind in ["TEXT", "REAL", "INTEGER", "BLOB"] {
        let database = Database::new(
            &format!(
                "CREATE TABLE t(number {kind}, a); {NUMBERS} INSERT INTO t SELECT i, 'number ' || i FROM n;
                 CREATE VIRTUAL TABLE f USING fts5(a, content=t, content_rowid='number');
                 INSERT INTO f(rowid, a) SELECT number, a FROM t;"
            ),
            "",
        );
        let connection = Connection::open(&database.path).unwrap();
        assert_eq!(against_rebuild(&connection, "f").unwrap(), None, "{kind}");
        assert!(database.unjudged().is_empty(), "{kind}");
        database.sql("DELETE FROM t WHERE CAST(number AS INTEGER) IN (9, 10, 2970)");
        let against = against_rebuild(&connection, "f").unwrap().unwrap();
        assert!(against.contains("knows 3 documents"), "{kind}: {against}");
    }
}
