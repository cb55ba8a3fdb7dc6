use dbmedic::sqlite::copies::ToRead;

use super::*;

/// A table of some hundred pages with an index.
const MANY: &str =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT); CREATE INDEX i ON t(b);
    WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
    INSERT INTO t SELECT i, i, printf('row %d', i * 7919 % 5003) FROM n;";

/// A transaction that is not at its end, and of which a part is in the file.
const HALF: &str = "PRAGMA cache_size = 10; BEGIN; UPDATE t SET a = a * 3, b = 'y' || b || b;";

/// A transaction that was committed.
const WHOLE: &str = "UPDATE t SET a = 0 WHERE id = 5;";

#[test]
fn a_copy_counts_beside_who_has_the_file_alone_only_where_it_shows_what_was_committed() {
    for (left, script, counts) in [
        // What another program left says nothing of one without a journal.
        (
            "TRUNCATE",
            format!("PRAGMA journal_mode = MEMORY; {HALF}"),
            false,
        ),
        (
            "PERSIST",
            format!("PRAGMA journal_mode = OFF; {HALF}"),
            false,
        ),
        (
            "DELETE",
            format!("PRAGMA journal_mode = MEMORY; {HALF}"),
            false,
        ),
        (
            "TRUNCATE",
            format!("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; {WHOLE}"),
            false,
        ),
        (
            "PERSIST",
            format!("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = PERSIST; {WHOLE}"),
            false,
        ),
        // Nothing is written, and nothing tells that.
        ("DELETE", "BEGIN EXCLUSIVE".to_owned(), false),
        // Its journal takes back what it wrote.
        (
            "DELETE",
            format!("PRAGMA journal_mode = DELETE; {HALF}"),
            true,
        ),
        (
            "PERSIST",
            format!("PRAGMA journal_mode = PERSIST; {HALF}"),
            true,
        ),
        (
            "DELETE",
            format!("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; {WHOLE} {HALF}"),
            true,
        ),
        // Others can read.
        ("DELETE", format!("BEGIN IMMEDIATE; {WHOLE}"), true),
    ] {
        let place = Place::new();
        Owner::start(
            &place.database,
            &format!("PRAGMA journal_mode = {left}; {MANY}"),
            None,
        )
        .leave();
        let owner = Owner::start(&place.database, &script, None);
        let mut source = place.source();
        let integrity = source.check(FULL).unwrap();
        assert_eq!(integrity.faults, [], "{left}: {script}");
        let copied = source
            .raw()
            .copy_to_read(&place.database, &place.directory.path().join("copy"), false)
            .unwrap();
        if counts {
            assert_eq!(integrity.error, None, "{left}: {script}");
            assert_eq!(copied, ToRead::Whole, "{left}: {script}");
        } else {
            let who = format!("process {}", owner.pid());
            let error = integrity.error.unwrap_or_default();
            assert!(error.contains(&who), "{left}: {script}: {error}");
            match copied {
                ToRead::Kept(process) => assert_eq!(process.pid, owner.pid()),
                other => panic!("{left}: {script}: {other:?}"),
            }
        }
    }
}
