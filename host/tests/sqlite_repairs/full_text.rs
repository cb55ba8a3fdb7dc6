use super::*;

const REPAIR: &str = "fulltext.rebuild";

const TEXTS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
     INSERT INTO messages(subject, body)
     SELECT 'subject ' || i, 'word' || (i * 7 % 997) || ' running word' || (i * 11 % 991) || ' houses' || i FROM n;";

/// How a full-text index is made and filled, and where its text is.
#[derive(Clone, Copy)]
struct Form {
    module: &'static str,
    content: &'static str,
    schema: &'static str,
    fill: &'static str,
}

const OWN: Form = Form {
    module: "fts5",
    content: "own",
    schema: "CREATE VIRTUAL TABLE f USING fts5(subject, body, tokenize = 'porter unicode61')",
    fill: "INSERT INTO f(rowid, subject, body) SELECT id, subject, body FROM messages",
};

const EXTERNAL: Form = Form {
    module: "fts5",
    content: "messages",
    schema: "CREATE VIRTUAL TABLE f USING fts5(subject, body, content='messages', content_rowid='id')",
    fill: "INSERT INTO f(f) VALUES('rebuild')",
};

/// A database of which the full-text index is damaged: of some blocks in its middle only the beginning
/// is left. The rows are sound.
fn damaged(form: Form) -> (Place, Vec<Fact>) {
    let (table, id, block) = match form.module {
        "fts5" => ("f_data", "id", "block"),
        _ => ("f_segments", "blockid", "block"),
    };
    let place = Place::new(&format!(
        "PRAGMA journal_mode=WAL; CREATE TABLE messages(id INTEGER PRIMARY KEY, subject TEXT, body TEXT);
         {TEXTS} {}; {};
         UPDATE {table} SET {block} = substr({block}, 1, 40) || zeroblob(length({block}) - 40)
         WHERE {id} IN (SELECT {id} FROM {table} WHERE length({block}) > 600 ORDER BY {id} LIMIT 1 OFFSET 3);
         PRAGMA wal_checkpoint(TRUNCATE);",
        form.schema, form.fill
    ));
    let facts = vec![
        text("table", "f"),
        text("module", form.module),
        text("content", form.content),
    ];
    (place, facts)
}

/// All messages, and the rowids that a search finds.
fn contents(place: &Place) -> (Vec<(i64, String, String)>, Vec<i64>) {
    let db = Connection::open(&place.database).unwrap();
    let rows = |sql: &str| {
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    let messages = rows("SELECT id, subject, body FROM messages NOT INDEXED");
    let mut search = db
        .prepare("SELECT rowid FROM f WHERE f MATCH 'word35' ORDER BY rowid")
        .unwrap();
    let found = search.query_map([], |row| row.get(0)).unwrap();
    (messages, found.filter_map(Result::ok).collect())
}

fn is_sound(place: &Place) -> bool {
    let db = Connection::open(&place.database).unwrap();
    let mut said = db.prepare("PRAGMA integrity_check").unwrap();
    let said: Vec<String> = said
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    said == ["ok"]
}

#[test]
fn a_full_text_index_is_built_again_and_every_row_stays() {
    let forms = [
        OWN,
        EXTERNAL,
        Form {
            module: "fts4",
            schema: "CREATE VIRTUAL TABLE f USING fts4(subject, body)",
            ..OWN
        },
        Form {
            schema: "CREATE VIRTUAL TABLE f USING fts5(subject, body, columnsize = 0, detail = none)",
            ..OWN
        },
    ];
    for form in forms {
        let (place, facts) = damaged(form);
        assert!(!is_sound(&place), "{}", form.schema);
        let before = contents(&place).0;
        let outcome = place.run(REPAIR, facts);
        // Without the number of words of each row nobody knows whether rows were lost before, and of what
        // cannot be read nobody knows what it held.
        let loss = if form.schema.contains("columnsize = 0") {
            "does not keep which rows it knows"
        } else {
            "parts of `f` could not be read"
        };
        assert_result(&outcome, OutcomeResult::Verified, loss);
        assert_result(
            &outcome,
            OutcomeResult::Verified,
            "its module finds nothing",
        );
        assert!(is_sound(&place), "{}", form.schema);
        let (after, found) = contents(&place);
        assert_eq!(after, before);
        assert_eq!(found.len(), 7, "{}: {found:?}", form.schema);
        let copies = files(&place.site.copies);
        assert!(copies.iter().any(|copy| copy.ends_with("database")));
    }
}

#[test]
fn an_index_of_another_text_than_its_tables_is_left_alone() {
    let with = |fill: &'static str| Form { fill, ..EXTERNAL };
    for (form, words) in [
        // Without what the application takes for markup: other numbers of words.
        (
            with(
                "INSERT INTO f(rowid, subject, body) \
                 SELECT id, subject, replace(body, ' running', '') FROM messages",
            ),
            "other numbers of words",
        ),
        // Of some rows only.
        (
            with(
                "INSERT INTO f(rowid, subject, body) SELECT id, subject, body FROM messages WHERE id % 9",
            ),
            "other numbers of words",
        ),
        // As many words as there are, and other ones.
        (
            with(
                "INSERT INTO f(rowid, subject, body) \
                 SELECT id, subject, replace(replace(body, 'houses', 'haus'), 'word', 'wort') FROM messages",
            ),
            "words-kept does not hold",
        ),
        // Nothing that shows it.
        (
            Form {
                schema: "CREATE VIRTUAL TABLE f USING \
                         fts5(subject, body, content='messages', content_rowid='id', columnsize=0)",
                ..EXTERNAL
            },
            "columnsize=0",
        ),
    ] {
        let (place, facts) = damaged(form);
        assert!(!is_sound(&place));
        let before = place.contents();
        let outcome = place.run(REPAIR, facts);
        assert_result(&outcome, OutcomeResult::Refused, words);
        assert_eq!(place.contents(), before, "{words}");
        let copies = files(&place.site.copies);
        assert!(!copies.iter().any(|copy| copy.ends_with("database")));
    }
}

#[test]
fn nothing_is_built_from_a_table_that_is_damaged_itself() {
    let (place, facts) = damaged(EXTERNAL);
    let db = Connection::open(&place.database).unwrap();
    let root =
        "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf' LIMIT 1 OFFSET 3";
    let page: usize = db
        .query_row(root, [], |row| row.get::<_, i64>(0))
        .map_or(20, |page| usize::try_from(page).unwrap());
    drop(db);
    let mut bytes = fs::read(&place.database).unwrap();
    bytes[(page - 1) * 4096..][..64].fill(0xff);
    fs::write(&place.database, bytes).unwrap();
    let before = place.contents();
    let outcome = place.run(REPAIR, facts);
    assert_eq!(
        outcome.outcome_result,
        OutcomeResult::Refused,
        "{outcome:?}"
    );
    assert_eq!(place.contents(), before);
}

#[test]
fn a_sound_index_and_one_without_text_are_left_alone() {
    let (place, facts) = damaged(OWN);
    assert_result(
        &place.run(REPAIR, facts.clone()),
        OutcomeResult::Verified,
        "not proven: that nothing is lost",
    );
    let before = place.contents();
    let again = place.run(REPAIR, facts);
    assert_result(&again, OutcomeResult::Refused, "nothing is found against");
    assert_eq!(place.contents(), before);
    let (place, facts) = damaged(Form {
        schema: "CREATE VIRTUAL TABLE f USING fts5(subject, body, content='')",
        content: "none",
        ..OWN
    });
    let before = place.contents();
    let outcome = place.run(REPAIR, facts);
    assert_result(
        &outcome,
        OutcomeResult::Refused,
        "no table that it can be read from",
    );
    assert_eq!(place.contents(), before);
}

#[test]
fn others_may_write_meanwhile() {
    let (place, facts) = damaged(OWN);
    let writes = Connection::open(&place.database).unwrap();
    let mut wrote = 0;
    let outcome = place.run_with(REPAIR, facts, &mut |step| {
        // The proof is made again.
        if step.step == "rebuild" {
            writes
                .execute_batch(
                    "INSERT INTO f(rowid, subject, body) VALUES (9001, 'late', 'word35')",
                )
                .unwrap();
            wrote += 1;
        }
    });
    assert_result(&outcome, OutcomeResult::Verified, "could not be read");
    assert_eq!(wrote, 1);
    assert_eq!(contents(&place).1.len(), 8);
}

#[test]
fn it_can_be_cut_off_anywhere() {
    let mut kills = 0;
    let mut ends = Vec::new();
    for name in ["KILL_BEFORE", "KILL_AFTER"] {
        for n in 1..20 {
            let (place, facts) = damaged(EXTERNAL);
            let (before, _) = contents(&place);
            let killed = run_repair_killed(REPAIR, &place, &facts, Some((name, n)));
            if killed.signal() != Some(9) {
                assert!(n > 3, "{name} {n}");
                break;
            }
            kills += 1;
            assert!(run_repair_killed(REPAIR, &place, &facts, None).success());
            // Finished or as if nothing had been done; every message is there either way.
            let (after, found) = contents(&place);
            assert_eq!(after, before, "{name} {n}");
            let sound = is_sound(&place);
            assert!(!sound || found.len() == 7, "{name} {n}: {found:?}");
            ends.push(sound);
            assert_eq!(
                Store::open(&place.state()).unwrap().open_repairs().unwrap(),
                []
            );
        }
    }
    assert!(kills >= 6, "{kills} kills");
    assert!(ends.contains(&true) && ends.contains(&false), "{ends:?}");
}

/// A database with a full-text index `f`, of which a statement then damages text, index or both.
fn with_index(schema: &str, fill: &str, damage: &str) -> (Place, Vec<Fact>) {
    let place = Place::new(&format!(
        "PRAGMA journal_mode=WAL; CREATE TABLE messages(id INTEGER PRIMARY KEY, subject TEXT, body TEXT);
         {TEXTS} {schema}; {fill}; {damage}; PRAGMA wal_checkpoint(TRUNCATE);",
    ));
    let mut modules = ["fts5", "fts4", "fts3"].into_iter();
    let module = modules.find(|module| schema.contains(module));
    let is_own = !schema.contains("content='messages'");
    let facts = vec![
        text("table", "f"),
        text("module", module.unwrap()),
        text("content", if is_own { "own" } else { "messages" }),
    ];
    (place, facts)
}

#[test]
fn words_that_only_the_index_knows_are_not_thrown_away() {
    // One word for another that other rows have too; text of other rows; shorter text; none.
    let own = [
        "body = replace(body, 'houses1002', 'houses1003') WHERE rowid = 1002",
        "body = (SELECT body FROM messages WHERE id = 7) WHERE rowid > 2900",
        "body = 'word7 running' WHERE rowid = 1002",
        "body = NULL WHERE rowid > 2900",
    ];
    let modules = [
        "fts5(subject, body)",
        "fts5(subject, body, columnsize = 0)",
        "fts5(subject, body, columnsize = 0, detail = none)",
        "fts5(subject, body, detail = column)",
        "fts4(subject, body)",
        "fts4(subject, body, matchinfo=fts3)",
        "fts3(subject, body)",
    ];
    for module in modules {
        for change in own {
            let columns = if module.starts_with("fts5") {
                ["c1", "id"]
            } else {
                ["c1body", "docid"]
            };
            let change = change.replacen("body", columns[0], 1);
            let change = change.replace("replace(body", &format!("replace({}", columns[0]));
            let change = change.replace("rowid", columns[1]);
            let (place, facts) = with_index(
                &format!("CREATE VIRTUAL TABLE f USING {module}"),
                "INSERT INTO f(rowid, subject, body) SELECT id, subject, body FROM messages",
                &format!("UPDATE f_content SET {change}"),
            );
            let before = place.contents();
            let outcome = place.run(REPAIR, facts);
            let why = format!("{module}, {change}: {outcome:?}");
            assert_eq!(outcome.outcome_result, OutcomeResult::Refused, "{why}");
            let known = ["words-kept does not hold", "text-whole does not hold"];
            assert!(known.iter().any(|name| why.contains(name)), "{why}");
            assert_eq!(place.contents(), before, "{why}");
            let copies = files(&place.site.copies);
            assert!(!copies.iter().any(|copy| copy.ends_with("database")));
        }
    }
}

#[test]
fn texts_that_changed_places_are_seen_by_their_words() {
    for (module, columns) in [
        ("fts5(subject, body)", ["c1", "id"]),
        ("fts4(subject, body)", ["c1body", "docid"]),
    ] {
        let [body, id] = columns;
        let (place, facts) = with_index(
            &format!("CREATE VIRTUAL TABLE f USING {module}"),
            "INSERT INTO f(rowid, subject, body) SELECT id, subject, body FROM messages;
             INSERT INTO f(rowid, subject, body) VALUES (4001, 'x', 'one two'), (4002, 'x', 'three')",
            &format!(
                "UPDATE f_content SET {body} = iif({id} = 4001, 'three', 'one two') WHERE {id} > 4000"
            ),
        );
        let outcome = place.run(REPAIR, facts);
        assert_result(&outcome, OutcomeResult::Refused, "words-kept does not hold");
    }
}

#[test]
fn behind_a_page_that_is_gone_the_words_count_as_well() {
    // Each damage to the index comes with text that changed meanwhile, in words behind the damage.
    let lost = "DELETE FROM f_data WHERE id = (SELECT id FROM f_data WHERE id > 10 ORDER BY id LIMIT 1 OFFSET 1)";
    let cut = "UPDATE f_data SET block = substr(block, 1, 40) || zeroblob(length(block) - 40) \
               WHERE id = (SELECT id FROM f_data WHERE id > 10 ORDER BY id LIMIT 1 OFFSET 1)";
    for detail in ["full", "column", "none"] {
        for damage in [lost, cut] {
            for content in ["", ", content='messages', content_rowid='id'"] {
                let (table, body, id) = if content.is_empty() {
                    ("f_content", "c1", "id")
                } else {
                    ("messages", "body", "id")
                };
                let (place, facts) = with_index(
                    &format!(
                        "CREATE VIRTUAL TABLE f USING fts5(subject, body, detail={detail}{content})"
                    ),
                    "INSERT INTO f(rowid, subject, body) SELECT id, subject, body FROM messages;
                     INSERT INTO f(f) VALUES('optimize')",
                    &format!(
                        "{damage}; UPDATE {table} SET {body} = replace({body}, 'word127', 'word128') WHERE {id} = 1300"
                    ),
                );
                let outcome = place.run(REPAIR, facts);
                let why = format!("{detail} {content} {damage}: {outcome:?}");
                assert_eq!(outcome.outcome_result, OutcomeResult::Refused, "{why}");
                assert!(why.contains("words-kept does not hold"), "{why}");
            }
        }
    }
}

/// A page that begins with words that the text does not hold comes right behind one that is gone.
#[test]
fn words_of_the_index_alone_are_found_right_behind_a_page_that_is_gone() {
    for content in ["", ", content='messages', content_rowid='id'"] {
        let (table, body) = if content.is_empty() {
            ("f_content", "c1")
        } else {
            ("messages", "body")
        };
        let (place, facts) = with_index(
            &format!("CREATE VIRTUAL TABLE f USING fts5(subject, body{content})"),
            // Words between two of the others, for more than a page.
            "INSERT INTO messages SELECT 5000, 'x', group_concat('word416a' || value, ' ') FROM
                 (WITH RECURSIVE n(value) AS (SELECT 1000 UNION ALL SELECT value + 1 FROM n WHERE value < 1999)
                  SELECT value FROM n);
             INSERT INTO f(rowid, subject, body) SELECT id, subject, body FROM messages;
             INSERT INTO f(f) VALUES('optimize')",
            &format!(
                "UPDATE {table} SET {body} = (SELECT group_concat('plain', ' ') FROM
                     (WITH RECURSIVE n(value) AS (SELECT 1000 UNION ALL SELECT value + 1 FROM n WHERE value < 1999)
                      SELECT value FROM n)) WHERE id = 5000;
                 DELETE FROM f_data WHERE id = (SELECT (segid << 37) + (pgno >> 1) FROM f_idx
                     WHERE term <= CAST('0word416' AS BLOB) ORDER BY term DESC LIMIT 1)"
            ),
        );
        assert!(!is_sound(&place));
        let before = place.contents();
        let outcome = place.run(REPAIR, facts);
        assert_result(&outcome, OutcomeResult::Refused, "words-kept does not hold");
        assert_eq!(place.contents(), before);
    }
}

#[test]
fn an_index_that_lost_words_is_filled_from_the_text() {
    // The text is whole, and the index knows less than it.
    for (module, damage, loss) in [
        (
            "fts5(subject, body)",
            "INSERT INTO f_content VALUES (9000, 'late', 'word35')",
            "or are missing",
        ),
        (
            "fts4(subject, body)",
            "INSERT INTO f_content VALUES (9000, 'late', 'word35')",
            "or are missing",
        ),
        (
            "fts5(subject, body)",
            "DELETE FROM f_docsize WHERE id = 77",
            "nothing lost",
        ),
        (
            "fts5(subject, body)",
            "DELETE FROM f_data WHERE id = (SELECT max(id) FROM f_data)",
            "could not be read",
        ),
    ] {
        let (place, facts) = with_index(
            &format!("CREATE VIRTUAL TABLE f USING {module}"),
            "INSERT INTO f(rowid, subject, body) SELECT id, subject, body FROM messages",
            damage,
        );
        assert!(!is_sound(&place), "{module} {damage}");
        let outcome = place.run(REPAIR, facts);
        assert_result(&outcome, OutcomeResult::Verified, loss);
        assert!(is_sound(&place), "{module} {damage}");
    }
}
