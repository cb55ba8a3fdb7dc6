//! Logs and journals that belong to the file beside them, and such that do not.

use dbmedic::sqlite_state::Integrity;
use dbmedic::sqlite_state::set::{self, Contradiction};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const SEED: u64 = 20_261_128;

/// A database that is written to by several connections in every way that its format knows.
struct Workload {
    place: Place,
    random: SmallRng,
    connections: Vec<Connection>,
    /// The file before a checkpoint that was just made, and the log that it moved.
    checkpointed: Option<(Vec<u8>, Vec<u8>)>,
}

impl Workload {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let place = Place::new();
        let page = [512, 1024, 4096][random.random_range(0..3)];
        let vacuum = random.random_range(0..3);
        let db = Connection::open(&place.database).unwrap();
        db.execute_batch(&format!(
            "PRAGMA page_size={page}; PRAGMA auto_vacuum={vacuum}; PRAGMA journal_mode=WAL;
             PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=20;
             CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, text TEXT); CREATE INDEX i ON t(k);"
        ))
        .unwrap();
        Self {
            checkpointed: None,
            place,
            random,
            connections: vec![db],
        }
    }

    fn step(&mut self) {
        let n: u32 = self.random.random_range(0..1000);
        let many = self.random.random_range(1..120);
        let mut checkpointed = None;
        let script = match self.random.random_range(0..19) {
            0..=5 => format!(
                "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<{many})
                 INSERT INTO t(k, text) SELECT hex(randomblob(8)), hex(randomblob({many})) FROM c"
            ),
            6..=8 => format!("UPDATE t SET k = k || '~' WHERE id % 7 = {}", n % 7),
            9 => format!("DELETE FROM t WHERE id % 3 = {}", n % 3),
            10 => format!("CREATE TABLE IF NOT EXISTS t{}(a, b)", n % 9),
            11 => format!("DROP TABLE IF EXISTS t{}", n % 9),
            12 => format!("PRAGMA user_version = {n}"),
            13 => "VACUUM".to_owned(),
            14 => "PRAGMA incremental_vacuum(3)".to_owned(),
            15 => "BEGIN; INSERT INTO t(k) VALUES ('x'); ROLLBACK".to_owned(),
            _ => {
                let modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
                let mode = modes[self.random.random_range(0..4)];
                checkpointed = Some((self.file(), self.log()));
                format!("PRAGMA wal_checkpoint({mode})")
            }
        };
        if self.connections.len() < 3 && self.random.random_bool(0.1) {
            let db = Connection::open(&self.place.database).unwrap();
            db.execute_batch(
                "PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=10",
            )
            .unwrap();
            self.connections.push(db);
        }
        let which = self.random.random_range(0..self.connections.len());
        // Busy, because another connection reads, is an answer as well.
        drop(self.connections[which].execute_batch(&script));
        self.checkpointed = checkpointed;
        if self.checkpointed.is_some() {
            return;
        }
        match self.random.random_range(0..10) {
            0 => drop(self.connections[which].execute_batch("BEGIN; SELECT count(*) FROM t")),
            1..=3 => drop(self.connections[which].execute_batch("COMMIT")),
            4 if self.connections.len() > 1 => drop(self.connections.swap_remove(which)),
            _ => {}
        }
    }

    fn file(&self) -> Vec<u8> {
        fs::read(&self.place.database).unwrap()
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.place.companion("-wal")).unwrap_or_default()
    }

    /// The files as a crash leaves them now, or in the middle of the checkpoint that was just made: then
    /// some pages of the file are still those of before.
    fn crash(&mut self) -> Place {
        let crashed = Place::new();
        let (mut file, mut log) = (self.file(), self.log());
        let page = match u16::from_be_bytes([file[16], file[17]]) {
            1 => 65536,
            bytes => usize::from(bytes),
        };
        if let Some((old, moved)) = self.checkpointed.take() {
            for (now, old) in file.chunks_mut(page).zip(old.chunks(page)) {
                if now.len() == old.len() && self.random.random_bool(0.5) {
                    now.copy_from_slice(old);
                }
            }
            log = moved;
        }
        fs::write(&crashed.database, file).unwrap();
        fs::write(crashed.companion("-wal"), log).unwrap();
        crashed
    }
}

fn checked(place: &Place) -> (SqliteState, Integrity) {
    let state = place.source().look(true, Some(FULL)).unwrap();
    let integrity = state.integrity.clone().unwrap();
    (state, integrity)
}

#[test]
fn what_a_crash_leaves_belongs_together() {
    println!("seed {SEED}");
    let (mut logs, mut with_counters) = (0, 0);
    let mut raw = raw();
    for seed in SEED..SEED + 5 {
        let mut workload = Workload::new(seed);
        for step in 0..45 {
            workload.step();
            if step % 3 != 0 && workload.checkpointed.is_none() {
                continue;
            }
            let crashed = workload.crash();
            let state = raw.look(&crashed.database, true, &[]).unwrap().state;
            assert_eq!(
                set::contradiction(&state),
                None,
                "seed {seed} step {step}: {state:?}"
            );
            logs += u32::from(set::has_left_log(&state));
            with_counters += u32::from(state.wal.is_some_and(|wal| wal.change_counters.is_some()));
            if step % 21 == 0 {
                let (_, integrity) = checked(&crashed);
                assert_eq!(
                    integrity.sound_alone, None,
                    "seed {seed} step {step}: {integrity:?}"
                );
            }
        }
    }
    // Otherwise nothing was tried.
    assert!(logs > 40 && with_counters > 25, "{logs} {with_counters}");
}

/// A database with some thousand rows, all of them in the file.
fn shop(pragmas: &str) -> Place {
    let place = Place::new();
    let db = Connection::open(&place.database).unwrap();
    db.execute_batch(&format!(
        "{pragmas}; CREATE TABLE books(id INTEGER PRIMARY KEY, isbn TEXT, title TEXT);
         CREATE INDEX books_isbn ON books(isbn);
         WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<3000)
         INSERT INTO books(isbn, title) SELECT substr(hex(x * 7919 % 30011) || '00000000000', 1, 12), 'title' FROM c;
         PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .unwrap();
    place
}

const EDIT: &str = "PRAGMA wal_autocheckpoint=0;
    UPDATE books SET isbn = substr(isbn, 1, 11) || '~' WHERE id BETWEEN 100 AND 400;
    PRAGMA wal_checkpoint(TRUNCATE);
    UPDATE books SET isbn = substr(isbn, 1, 11) || '!' WHERE id BETWEEN 380 AND 440;";
const GROW: &str = "PRAGMA wal_autocheckpoint=0;
    CREATE TABLE new(x); INSERT INTO books(isbn, title) SELECT hex(randomblob(6)), title FROM books;
    PRAGMA wal_checkpoint(TRUNCATE);
    CREATE TABLE newer(x); INSERT INTO books(isbn, title) SELECT hex(randomblob(6)), title FROM books;";

#[test]
fn a_backup_copied_over_the_database_does_not_belong_to_the_old_log() {
    let pages = "PRAGMA page_size=4096; PRAGMA journal_mode=WAL";
    for (name, backup, script, proof) in [
        ("rows", None, EDIT, ""),
        ("grown", None, GROW, "change counter"),
        (
            "sizes",
            Some("PRAGMA page_size=8192; PRAGMA journal_mode=WAL"),
            EDIT,
            "bytes",
        ),
        ("mode", Some("PRAGMA page_size=4096"), EDIT, "rollback"),
    ] {
        let place = shop(pages);
        let backup = match backup {
            Some(other) => fs::read(shop(other).database).unwrap(),
            None => fs::read(&place.database).unwrap(),
        };
        Owner::start(&place.database, "CREATE TABLE other(x)", None).leave();
        Owner::start(&place.database, script, None).kill();
        let before = fs::read(&place.database).unwrap();
        let (_, sound) = checked(&place);
        assert_eq!(
            (sound.faults, sound.sound_alone),
            (vec![], None),
            "{name}: the crash alone"
        );
        assert_eq!(fs::read(&place.database).unwrap(), before);

        fs::write(&place.database, backup).unwrap();
        let files = place.everything();
        let (state, integrity) = checked(&place);
        let why = set::contradiction(&state).map(|why| why.to_string());
        assert_eq!(why.is_some(), !proof.is_empty(), "{name}: {why:?}");
        assert!(why.unwrap_or_default().contains(proof), "{name}");
        assert_eq!(integrity.sound_alone, Some(true), "{name}: {integrity:?}");
        assert_eq!(place.everything(), files, "{name}: nothing was written");
    }
}

#[test]
fn a_log_that_somebody_uses_is_not_judged() {
    let place = shop("PRAGMA journal_mode=WAL");
    let backup = fs::read(&place.database).unwrap();
    Owner::start(&place.database, "CREATE TABLE other(x)", None).leave();
    let owner = Owner::start(&place.database, GROW, None);
    fs::write(&place.database, backup).unwrap();
    assert_eq!(set::contradiction(&place.look()), None);
    owner.kill();
    let why = set::contradiction(&place.look());
    assert!(
        matches!(why, Some(Contradiction::ChangeCounter { .. })),
        "{why:?}"
    );
}

#[test]
fn damage_of_the_file_itself_is_not_laid_to_its_log() {
    let place = shop("PRAGMA page_size=4096; PRAGMA journal_mode=WAL");
    let few = "PRAGMA wal_autocheckpoint=0; UPDATE books SET isbn = substr(isbn, 1, 11) || '~' WHERE id < 4";
    Owner::start(&place.database, few, None).kill();
    // An entry of each page of the index, of which the log holds some.
    let mut bytes = fs::read(&place.database).unwrap();
    for page in bytes.chunks_mut(4096).filter(|page| page[0] == 0x0a) {
        let at = page.windows(4).rposition(|text| text == b"0000").unwrap();
        page[at] = b'9';
    }
    fs::write(&place.database, bytes).unwrap();
    let (_, integrity) = checked(&place);
    assert!(!integrity.faults.is_empty());
    assert_eq!(integrity.sound_alone, Some(false));
}

#[test]
fn a_journal_whose_writer_died_waits_and_one_of_another_file_does_not_belong() {
    let script = "PRAGMA cache_size=5; BEGIN IMMEDIATE; UPDATE books SET isbn = '#' || isbn WHERE id BETWEEN 100 AND 900";
    let place = shop("PRAGMA page_size=1024");
    let owner = Owner::start(&place.database, script, None);
    assert!(
        !set::has_left_journal(&place.look()),
        "its writer is at work"
    );
    owner.kill();
    let files = place.everything();
    let (state, integrity) = checked(&place);
    assert!(set::has_left_journal(&state));
    assert_eq!((integrity.faults, integrity.sound_alone), (vec![], None));

    // Another database under the name: its pages are overwritten by whoever opens it.
    let other = shop("PRAGMA page_size=1024");
    let db = Connection::open(&other.database).unwrap();
    db.execute_batch("UPDATE books SET isbn = isbn || '+'; VACUUM")
        .unwrap();
    drop(db);
    fs::copy(&other.database, &place.database).unwrap();
    let (_, integrity) = checked(&place);
    assert_eq!(integrity.sound_alone, Some(true), "{integrity:?}");
    let journal = place.companion("-journal");
    assert_eq!(place.everything()[&journal], files[&journal]);
}
