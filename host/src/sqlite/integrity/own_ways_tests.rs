//! Against real files: applications that define collations and functions in their own way, where
//! SQLite has others of the same name built in.

use super::judging_tests::{Database, NUMBERS};
use super::*;
use crate::sqlite_state::Rule;

/// What is left of a table of which the application's `lower` knows all letters. SQLite's own leaves
/// those beyond ASCII as they are; so the rows are written under another expression that gives what such
/// a function would give.
fn with_own_lower(rows: &str) -> Database {
    Database::new(
        &format!(
            "CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT, small TEXT);
             CREATE INDEX people_lower ON people(trim(small));
             {NUMBERS} INSERT INTO people(name, small) SELECT 'Ann ' || i, 'ann ' || i FROM n;
             {rows}"
        ),
        "UPDATE sqlite_schema SET sql = replace(sql, 'trim(small)', 'lower(name)')",
    )
}

#[test]
fn entries_of_an_own_function_are_left_to_the_application() {
    let database =
        with_own_lower("INSERT INTO people(name, small) VALUES ('Änne', 'änne'), ('ÖZ', 'öz');");
    let unjudged = database.unjudged();
    let about = unjudged.iter().find(|one| one.contains("people_lower"));
    assert!(
        about.is_some_and(|one| one.contains("2 entries")),
        "{unjudged:?}"
    );
    assert!(database.check().comparisons.is_empty());
}

#[test]
fn an_entry_that_no_letter_explains_is_damage() {
    let database = with_own_lower("INSERT INTO people(name, small) VALUES ('Berta', 'bertb');");
    let index = |fault: &DamagedObject| fault.index() == Some("people_lower");
    assert!(database.faults().iter().any(index));
    // A plain column of the same index speaks for itself.
    let database = Database::new(
        "CREATE TABLE t(a, b); CREATE INDEX i ON t(b, lower(a));
         INSERT INTO t VALUES ('Ä', 'one'), ('B', 'two'), ('C', 'three');",
        "",
    );
    database.damage(b"twob", 0);
    assert!(!database.faults().is_empty());
}

#[test]
fn a_function_that_is_another_one_altogether_is_left_to_the_application() {
    let database = Database::new(
        "CREATE TABLE t(a); CREATE INDEX i ON t(upper(a));
         INSERT INTO t VALUES ('one'), ('two'), ('three'), ('four');",
        "UPDATE sqlite_schema SET sql = replace(sql, 'upper', 'lower')",
    );
    assert_eq!(database.unjudged().len(), 1);
}

#[test]
fn rules_by_own_definitions_are_left_to_the_application() {
    for (sql, named) in [
        (
            "CREATE TABLE t(a CHECK (a = lower(a))); INSERT INTO t VALUES ('b');
             PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES ('A');",
            "CHECKs of table `t`",
        ),
        (
            "CREATE TABLE t(a TEXT COLLATE NOCASE CHECK (a IN ('x', 'y')));
             PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES ('É');",
            "CHECKs of table `t`",
        ),
        (
            "CREATE TABLE p(a TEXT PRIMARY KEY COLLATE NOCASE); CREATE TABLE t(a REFERENCES p);
             INSERT INTO p VALUES ('É'); INSERT INTO t VALUES ('é');",
            "foreign keys of table `t`",
        ),
    ] {
        let unjudged = Database::new(sql, "").unjudged();
        assert!(
            unjudged.iter().any(|one| one.contains(named)),
            "{unjudged:?}"
        );
    }
    // As an application leaves it whose NOCASE tells cases apart.
    let database = Database::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE UNIQUE INDEX i ON t(a);
         INSERT INTO t(a) VALUES ('A'), ('a'), ('b');",
        "UPDATE sqlite_schema SET sql = replace(sql, 't(a)', 't(a COLLATE NOCASE)') WHERE name = 'i'",
    );
    let unjudged = database.unjudged();
    assert!(
        unjudged
            .iter()
            .any(|one| one.contains("keys of index `i` are unique")),
        "{unjudged:?}"
    );
}

#[test]
fn rules_that_no_definition_changes_are_told() {
    for (sql, change, rule) in [
        (
            "CREATE TABLE t(a CHECK (length(a) < 3), b TEXT COLLATE NOCASE);
             PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES ('long', 'x');",
            "",
            Rule::Check,
        ),
        (
            "CREATE TABLE p(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE);
             CREATE TABLE t(p REFERENCES p(id)); INSERT INTO t VALUES (5);",
            "",
            Rule::ForeignKey,
        ),
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE); CREATE INDEX i ON t(a);
             INSERT INTO t(a) VALUES ('same'), ('same'), ('other');",
            "UPDATE sqlite_schema SET sql = replace(sql, 'CREATE INDEX', 'CREATE UNIQUE INDEX')",
            Rule::Unique,
        ),
    ] {
        let broken = Database::new(sql, change).broken();
        assert_eq!(broken.len(), 1, "{sql}: {broken:?}");
        assert_eq!(broken[0].rule, rule);
    }
}

#[test]
fn an_index_of_which_the_entries_show_that_it_is_sqlites_own_is_judged() {
    for (definition, own) in [
        ("name COLLATE NOCASE", true),
        ("lower(name)", true),
        ("name || 'Ä' COLLATE NOCASE", false),
    ] {
        let database = Database::new(
            &format!(
                "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, n INT);
                 {NUMBERS} INSERT INTO t(name, n) SELECT 'Name ' || i, i FROM n;
                 CREATE INDEX i ON t({definition}) WHERE n > 5;"
            ),
            "UPDATE sqlite_schema SET sql = replace(sql, ' WHERE n > 5', '') WHERE name = 'i'",
        );
        let integrity = database.check();
        let compared = &integrity.comparisons[0];
        assert_eq!(compared.missing_entries, 5);
        assert_eq!(compared.left_to_application.is_none(), own, "{definition}");
        assert_eq!(compared.proves_no_loss(), own, "{definition}: {compared:?}");
    }
}

#[test]
fn surplus_entries_of_a_partial_index_are_found() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, done INT); \
                  CREATE INDEX i ON t(a) WHERE done <= 1; \
                  INSERT INTO t(a, done) VALUES ('x', 0), ('y', 1), ('z', 2);";
    let narrower = "UPDATE sqlite_schema SET sql = replace(sql, 'done <= 1', 'done = 0')";
    let faults = Database::new(schema, narrower).faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].index(), Some("i"));
    assert_eq!(Database::new(schema, "").faults(), []);
    // Which rows belong into it only the application knows.
    let own = narrower.replace("done = 0", "lower(a) = ''x''");
    assert_eq!(Database::new(schema, &own).faults(), []);
}

/// An index that another version of SQLite wrote, in a table of which every number has more than 15 digits:
/// that version gave them 15.
fn of_another_version(definition: &str, rows: &str) -> Database {
    Database::new(
        &format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, x REAL, old TEXT, made TEXT AS (old));
             {NUMBERS} INSERT INTO t(x, old) SELECT i / 7.0, printf('%!.15g', i / 7.0) FROM n;
             {rows}
             CREATE INDEX i ON t({definition});"
        ),
        "UPDATE sqlite_schema SET sql = replace(replace(sql, 'AS (old)', 'AS (x)'), '(old', '(x')",
    )
}

#[test]
fn numbers_as_text_in_the_digits_of_another_version_are_not_judged() {
    for definition in [
        "made",
        "made, id",
        "(old || '')",
        "('price: ' || old || ' EUR') DESC",
        "replace(old, '.', ',')",
    ] {
        let definition = definition.replace("|| old ||", "|| (old) ||");
        let database = of_another_version(&definition, "");
        let unjudged = database.unjudged();
        assert!(
            unjudged
                .iter()
                .any(|one| one.contains("index `i`") && one.contains("digits")),
            "{definition}: {unjudged:?}"
        );
        assert!(database.check().comparisons.is_empty(), "{definition}");
        // A sample says nothing of it either.
        let sample = Check {
            mode: Mode::Sampled { seed: 7 },
            ..super::judging_tests::CHECK
        };
        let sampled = check(&database.path, Access::InPlace, sample).integrity;
        assert_eq!(sampled.faults, [], "{definition}");
    }
}

#[test]
fn another_number_beside_them_is_told_and_not_built_over() {
    let database = of_another_version("made", "INSERT INTO t(x, old) VALUES (1.25, '1.5');");
    let integrity = database.check();
    let compared = &integrity.comparisons[0];
    assert!(!compared.proves_no_loss(), "{compared:?}");
    assert!(compared.disagreements > compared.computed, "{compared:?}");
    assert!(compared.computed > 0, "{compared:?}");
    // Where only digits differ, no index is built that its application would not know.
    let database = of_another_version("made", "");
    let compared = compare(&Connection::open(&database.path).unwrap(), "i", "t").unwrap();
    assert!(!compared.comparison.proves_no_loss());
}

/// Rows with what an application, or another version, made of them in `other`, and an index that is said to
/// make it itself.
fn made_otherwise(table: &str, index: &str, rows: &str, said: [&str; 2]) -> Database {
    Database::new(
        &format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, {table});
             {NUMBERS} {rows}
             {index}"
        ),
        &format!(
            "UPDATE sqlite_schema SET sql = replace(sql, '{}', '{}')",
            said[0], said[1]
        ),
    )
}

#[test]
fn what_an_application_or_another_version_computes_otherwise_is_not_judged() {
    let days = "INSERT INTO t(day, other)
                SELECT '2023-0' || (i % 5 + 1) || '-11', '2023-0' || (i % 5 + 1) || '-11' FROM n;
                INSERT INTO t(day, other) VALUES ('2023-02-29', '2023-02-29');";
    let names = "INSERT INTO t(day, other) SELECT 'ann' || i, 'ann' || i FROM n;
                 INSERT INTO t(day, other) VALUES ('C', 'x');";
    let digits =
        "INSERT INTO t(day, other) SELECT i / 7.0, length(printf('%!.15g', i / 7.0)) FROM n;";
    let column = "day, other";
    let computed = "day, other, made AS (other)";
    for (table, index, rows, said) in [
        (
            column,
            "CREATE INDEX i ON t(id) WHERE other >= '2023-03-01';",
            days,
            ["other >=", "date(day) >="],
        ),
        (
            column,
            "CREATE INDEX i ON t((other));",
            days,
            ["((other))", "(date(day))"],
        ),
        // The keys say nothing of what decides which rows belong into it.
        (
            column,
            "CREATE INDEX i ON t(id) WHERE other = 'c' OR id < 2900;",
            names,
            ["other =", "lower(day) ="],
        ),
        (
            column,
            "CREATE INDEX i ON t(id) WHERE other > 'ann2';",
            "INSERT INTO t(day, other) SELECT 'ANN' || i, 'ann' || i FROM n;",
            ["other > ''ann2''", "day > ''ann1'' COLLATE NOCASE"],
        ),
        (
            computed,
            "CREATE INDEX i ON t(made);",
            "INSERT INTO t(day, other) SELECT 'ann' || i, 'ann' || i FROM n;
             INSERT INTO t(day, other) VALUES ('Änne', 'änne');",
            ["AS (other)", "AS (lower(day))"],
        ),
        (
            computed,
            "CREATE INDEX i ON t(id) WHERE made = 'c' OR id < 2900;",
            names,
            ["AS (other)", "AS (lower(day))"],
        ),
        (
            column,
            "CREATE INDEX i ON t((other));",
            digits,
            ["((other))", "(length(day))"],
        ),
    ] {
        let database = made_otherwise(table, index, rows, said);
        let integrity = database.check();
        assert_eq!(integrity.faults, [], "{said:?}");
        let unjudged = database.unjudged();
        let of_index = |one: &String| one.contains("index `i`");
        assert!(unjudged.iter().any(of_index), "{said:?}: {unjudged:?}");
    }
    for check in ["day IS date(day)", "day + 0.0 > 1e30"] {
        let database = Database::new(
            &format!(
                "CREATE TABLE t(day CHECK ({check})); PRAGMA ignore_check_constraints = ON;
                 INSERT INTO t VALUES ('2023-02-29');"
            ),
            "",
        );
        assert_eq!(database.broken(), []);
        let unjudged = database.unjudged();
        assert!(unjudged[0].contains("versions of SQLite"), "{unjudged:?}");
    }
}

#[test]
fn json_that_versions_read_differently_is_left_to_the_version_that_wrote_the_entries() {
    let make = |key: &str, column: &str| {
        Database::new(
            &format!(
                "CREATE TABLE t(id INTEGER PRIMARY KEY, v{column}); CREATE INDEX j ON t({key});
                 {NUMBERS} INSERT INTO t(v) SELECT '{{\"name\":\"n' || i || '\"}}' FROM n;
                 INSERT INTO t(v) VALUES ('{{\"name\":\"A\\u0062c\"}}'), ('{{\"name\":\"plain\"}}');"
            ),
            "",
        )
    };
    let forms = [
        ("json_extract(v, '$.name')", ""),
        ("v ->> '$.name'", ""),
        (
            "length(json_extract(v, '$.name')), json_extract(v, '$.name')",
            "",
        ),
        ("name", ", name AS (json_extract(v, '$.name')) VIRTUAL"),
    ];
    for (key, column) in forms {
        // The entry as another version would read the escape.
        let database = make(key, column);
        database.damage(b"Abc", 0);
        assert_eq!(database.faults(), [], "{key}");
        assert_eq!(database.unjudged().len(), 1, "{key}");
    }
    // Where nothing in the rows is read differently, it is damage.
    let database = make("json_extract(v, '$.name')", "");
    database.sql("DELETE FROM t WHERE v LIKE '%\\%'");
    database.damage(b"n777", 0);
    assert!(!database.faults().is_empty());
}

/// A defensive connection of SQLite's does not read the schema of such a database. Others do.
#[test]
fn a_trigger_on_a_table_of_a_module_is_no_damage() {
    let database = Database::new(
        "CREATE VIRTUAL TABLE f USING fts5(x); CREATE TABLE log(n);
         CREATE TRIGGER counts AFTER INSERT ON f_content BEGIN INSERT INTO log VALUES (new.id); END;
         INSERT INTO f VALUES ('one'), ('two');",
        "",
    );
    assert_eq!(database.faults(), []);
    assert_eq!(database.unjudged(), [""; 0]);
}
