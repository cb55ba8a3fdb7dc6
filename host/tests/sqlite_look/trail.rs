//! Which pages were written since an earlier moment, against what the pages themselves say: the
//! database as a reader sees it, copied before and after, page by page.

use std::{collections::BTreeSet, fs};

use dbmedic::sqlite::look::{DueLook, SqliteSource};
use dbmedic::sqlite::trail::{Mark, Trail};
use rusqlite::{Connection, backup::Progress};

use crate::Place;

/// A table of some dozen pages and an index on it; a log that nobody empties by itself.
const SHOP: &str = "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
    CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX i ON t(text);
    CREATE TABLE other(id INTEGER PRIMARY KEY, text TEXT);
    WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 400)
    INSERT INTO t SELECT i, printf('text-%06d', i) FROM n;";
const PAGE: usize = 1024;

/// What a look tells of the pages that were written since a mark.
fn trail(source: &mut SqliteSource, since: Option<Mark>) -> Trail {
    let look = DueLook {
        path: source.path().to_owned(),
        target: "shop".into(),
        full: false,
        since,
    };
    source.see(look).unwrap().trail.unwrap()
}

struct Shop {
    place: Place,
    source: SqliteSource,
    db: Connection,
}

impl Shop {
    fn new() -> Self {
        let place = Place::new();
        let db = Connection::open(&place.database).unwrap();
        db.execute_batch(SHOP).unwrap();
        Self {
            source: place.source(),
            place,
            db,
        }
    }

    fn run(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap();
    }

    /// Empties the log, so that the next writer begins it anew.
    fn checkpoint(&self) {
        let done = "PRAGMA wal_checkpoint(RESTART)";
        let busy: i64 = self.db.query_row(done, [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0);
    }

    fn mark(&mut self) -> Mark {
        trail(&mut self.source, None).mark
    }

    fn touched(&mut self, since: Mark) -> Option<BTreeSet<usize>> {
        let pages = trail(&mut self.source, Some(since)).touched?;
        Some(pages.into_iter().map(|page| page as usize).collect())
    }

    /// The database as a reader sees it.
    fn pages(&self) -> Vec<u8> {
        let copy = self.place.directory.path().join("copy");
        let in_silence = None::<fn(Progress)>;
        self.db.backup("main", &copy, in_silence).unwrap();
        let bytes = fs::read(&copy).unwrap();
        fs::remove_file(&copy).unwrap();
        bytes
    }
}

/// The numbers of the pages that differ.
fn changed(before: &[u8], after: &[u8]) -> BTreeSet<usize> {
    let page = |bytes: &[u8], at: usize| bytes.chunks(PAGE).nth(at).map(<[u8]>::to_vec);
    (0..after.len().div_ceil(PAGE))
        .filter(|&at| page(before, at) != page(after, at))
        .map(|at| at + 1)
        .collect()
}

/// Everything that changed is told, and little else: what is told was written in these statements.
fn covers(told: Option<BTreeSet<usize>>, before: &[u8], after: &[u8]) {
    let told = told.expect("the pages are known");
    let changed = changed(before, after);
    assert!(!changed.is_empty());
    assert!(told.is_superset(&changed), "{told:?} {changed:?}");
    assert!(told.len() <= changed.len() + 1, "{told:?} {changed:?}");
}

#[test]
fn what_was_written_to_a_growing_log_is_known() {
    let mut shop = Shop::new();
    let (mark, before) = (shop.mark(), shop.pages());
    assert_eq!(shop.touched(mark), Some(BTreeSet::new()));
    shop.run("UPDATE t SET text = 'x' WHERE id = 7; INSERT INTO other VALUES (1, 'y')");
    covers(shop.touched(mark), &before, &shop.pages());
    // Rolled back is not written.
    let mark = shop.mark();
    shop.run("BEGIN; UPDATE t SET text = 'z' WHERE id = 9; ROLLBACK");
    assert_eq!(shop.touched(mark), Some(BTreeSet::new()));
}

/// What the old generation wrote behind the mark lies behind the frames of the new one.
#[test]
fn a_log_that_was_begun_anew_still_tells_what_the_old_one_wrote() {
    let mut shop = Shop::new();
    let (mark, before) = (shop.mark(), shop.pages());
    shop.run("UPDATE t SET text = 'old' WHERE id IN (3, 390)");
    let old = changed(&before, &shop.pages());
    shop.checkpoint();
    shop.run("INSERT INTO other VALUES (1, 'new')");
    let told = shop.touched(mark);
    assert!(
        told.as_ref().is_some_and(|told| told.is_superset(&old)),
        "{told:?} {old:?}"
    );
    covers(told, &before, &shop.pages());
    // And from the new generation on as before.
    let (mark, before) = (shop.mark(), shop.pages());
    shop.run("DELETE FROM t WHERE id = 200");
    covers(shop.touched(mark), &before, &shop.pages());
}

#[test]
fn a_log_that_overwrote_its_tracks_leaves_the_pages_unknown() {
    // Grown as long as it was at the mark.
    let mut shop = Shop::new();
    let mark = shop.mark();
    shop.run("UPDATE t SET text = 'old' WHERE id = 3");
    shop.checkpoint();
    shop.run("UPDATE t SET text = text || 'new'; UPDATE t SET text = text || 'newer'");
    assert_eq!(shop.touched(mark), None);

    // Begun anew twice.
    let mut shop = Shop::new();
    let mark = shop.mark();
    for id in [3, 4] {
        shop.checkpoint();
        shop.run(&format!("UPDATE t SET text = 'new' WHERE id = {id}"));
    }
    assert_eq!(shop.touched(mark), None);

    // Cut to nothing, then written to.
    let mut shop = Shop::new();
    let mark = shop.mark();
    shop.run("UPDATE t SET text = 'old' WHERE id = 3; PRAGMA wal_checkpoint(TRUNCATE)");
    shop.run("UPDATE t SET text = 'new' WHERE id = 4");
    assert_eq!(shop.touched(mark), None);
}

#[test]
fn a_database_at_rest_is_untouched_until_somebody_writes() {
    let shop = Shop::new();
    let Shop {
        place,
        mut source,
        db,
    } = shop;
    let open = trail(&mut source, None).mark;
    db.close().unwrap();
    // From the open log to rest: what the last one wrote back is not known.
    assert_eq!(trail(&mut source, Some(open)).touched, None);
    let rest = trail(&mut source, None).mark;
    assert_eq!(trail(&mut source, Some(rest)).touched, Some(Vec::new()));
    let db = Connection::open(&place.database).unwrap();
    db.execute_batch("UPDATE t SET text = 'new' WHERE id = 4")
        .unwrap();
    assert_eq!(trail(&mut source, Some(rest)).touched, None);
    db.close().unwrap();
    assert_eq!(trail(&mut source, Some(rest)).touched, None);
}
