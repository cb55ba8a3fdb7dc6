//! Against logs that SQLite wrote, and against what SQLite itself recovers from them.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    io::{Cursor, Write as _},
    path::Path,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rusqlite::Connection;

use super::*;

const COMMITS: u64 = 40;

/// A database file and its log, as bytes. Every transaction in the log adds one row of `t`.
struct Files {
    database: Vec<u8>,
    wal: Vec<u8>,
}

fn files(page_bytes: u32, earlier_generation: u64) -> Files {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size={page_bytes}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
             CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX i ON t(text);
             PRAGMA wal_checkpoint(TRUNCATE);"
        ))
        .unwrap();
    for _ in 0..earlier_generation {
        insert(&connection);
    }
    if earlier_generation > 0 {
        // Copies everything; the next commit starts the log over, the old frames stay behind it.
        connection
            .execute_batch("PRAGMA wal_checkpoint(FULL); DELETE FROM t WHERE 0;")
            .unwrap();
        connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))
            .unwrap();
    }
    for _ in 0..COMMITS {
        insert(&connection);
    }
    Files {
        database: fs::read(&path).unwrap(),
        wal: fs::read(directory.path().join("db-wal")).unwrap(),
    }
}

fn insert(connection: &Connection) {
    connection
        .execute("INSERT INTO t(text) VALUES (hex(randomblob(20)))", [])
        .unwrap();
}

fn judge(wal: &[u8], limit: Option<u64>) -> WalState {
    scan(&mut Cursor::new(wal), limit).unwrap()
}

/// The rows that SQLite finds with this log.
fn recovered_rows(files: &Files, wal: &[u8], directory: &Path) -> u64 {
    for name in ["db", "db-wal", "db-shm"] {
        drop(fs::remove_file(directory.join(name)));
    }
    let path = directory.join("db");
    fs::write(&path, &files.database).unwrap();
    fs::write(directory.join("db-wal"), wal).unwrap();
    let connection = Connection::open(&path).unwrap();
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM t NOT INDEXED", [], |row| row.get(0))
        .unwrap();
    rows.try_into().unwrap()
}

#[test]
fn sound_log() {
    for page_bytes in [512, 4096, 65536] {
        let files = files(page_bytes, 0);
        let state = judge(&files.wal, None);
        assert!(state.header_valid && state.scanned);
        assert_eq!(state.page_bytes, page_bytes);
        assert_eq!(state.commits, COMMITS);
        assert_eq!(state.valid_frames, state.frames);
        assert_eq!(state.last_commit_frame, state.frames);
        assert_eq!(
            frame_offset(page_bytes, state.frames + 1),
            files.wal.len() as u64
        );
        assert_eq!((state.first_bad_frame, state.lost_commits), (None, 0));
        let light = read_header(&mut Cursor::new(&files.wal)).unwrap();
        assert!(!light.scanned && light.salts == state.salts);
    }
}

#[test]
fn old_generation_behind_the_end_is_not_damage() {
    let files = files(512, 3 * COMMITS);
    let state = judge(&files.wal, None);
    assert_eq!(state.commits, COMMITS);
    assert!(frame_offset(512, state.frames + 1) < files.wal.len() as u64);
    assert_eq!((state.first_bad_frame, state.lost_commits), (None, 0));
}

#[test]
fn torn_uncommitted_tail_is_not_damage() {
    let files = files(1024, 0);
    let whole = judge(&files.wal, None);
    let mut wal = files.wal.clone();
    // A frame of the next transaction, cut off and without its commit mark.
    let at = usize::try_from(frame_offset(1024, whole.frames)).unwrap();
    let mut frame = wal[at..].to_vec();
    frame[4..8].fill(0);
    wal.write_all(&frame).unwrap();
    wal.write_all(&frame[..300]).unwrap();
    let state = judge(&wal, None);
    assert_eq!(state.commits, COMMITS);
    assert_eq!((state.first_bad_frame, state.lost_commits), (None, 0));
}

#[test]
fn limit_leaves_out_what_is_being_written() {
    let files = files(1024, 0);
    let whole = judge(&files.wal, None);
    let mut wal = files.wal.clone();
    let end = wal.len() - 1;
    wal[end] ^= 1;
    assert_eq!(judge(&wal, None).lost_commits, 1);
    // The last commit may be in the middle of being written: only the ones before it count.
    let before = {
        let cut = usize::try_from(frame_offset(1024, whole.frames)).unwrap();
        judge(&wal[..cut], None).last_commit_frame
    };
    let state = judge(&wal, Some(before));
    assert_eq!((state.first_bad_frame, state.valid_frames), (None, before));
    // But a frame that the index counts must be there, whatever is left of it.
    let at = usize::try_from(frame_offset(1024, whole.frames)).unwrap();
    wal[at..].fill(0);
    let state = judge(&wal, Some(whole.frames));
    assert_eq!(state.first_bad_frame, Some(whole.frames));
    assert_eq!(state.lost_commits, 1);
    let state = judge(&wal[..at], Some(whole.frames));
    assert_eq!(state.first_bad_frame, Some(whole.frames));
}

#[test]
fn damaged_header_loses_everything() {
    for earlier in [0, 20] {
        let files = files(2048, earlier);
        let whole = judge(&files.wal, None);
        for byte in 0..32 {
            let mut wal = files.wal.clone();
            wal[byte] ^= 0x40;
            let state = judge(&wal, None);
            assert!(!state.header_valid, "byte {byte}");
            assert_eq!(state.page_bytes, 0);
            assert_eq!(state.salts, whole.salts, "byte {byte}");
            assert_eq!(state.frames, whole.frames, "byte {byte}");
            assert_eq!((state.commits, state.valid_frames), (0, 0));
            assert_eq!(state.lost_commits, COMMITS);
            assert_eq!(state.first_bad_frame, Some(1));
        }
    }
}

#[test]
fn damage_anywhere_agrees_with_sqlite() {
    // `SEED=...` in the environment runs a printed case again.
    let seed = std::env::var("SEED").map_or_else(
        |_| RandomState::new().hash_one(()),
        |seed| seed.parse().unwrap(),
    );
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    for earlier in [0, 2 * COMMITS] {
        let files = files(512, earlier);
        let whole = judge(&files.wal, None);
        let base_rows = earlier;
        assert_eq!(
            recovered_rows(&files, &files.wal, directory.path()),
            base_rows + COMMITS
        );
        for _ in 0..150 {
            let mut wal = files.wal.clone();
            let at = random.random_range(HEADER_BYTES..wal.len() as u64);
            let mask = random.random_range(1..=255u8);
            wal[usize::try_from(at).unwrap()] ^= mask;
            let frame = (at - HEADER_BYTES) / frame_bytes(512) + 1;
            let inside = (at - HEADER_BYTES) % frame_bytes(512);

            let state = judge(&wal, None);
            let case = format!("seed {seed}, byte {at} ^ {mask:#x}, frame {frame}: {state:?}");
            if frame > whole.frames {
                assert_eq!(state.first_bad_frame, None, "{case}");
            } else if frame == whole.frames && (4..8).contains(&inside) {
                // The last commit mark itself: gone, nothing behind it can tell.
                assert_eq!(state.valid_frames, frame - 1, "{case}");
            } else {
                assert_eq!(state.first_bad_frame, Some(frame), "{case}");
                if !(4..8).contains(&inside) {
                    assert_eq!(state.commits + state.lost_commits, COMMITS, "{case}");
                }
            }
            assert_eq!(
                recovered_rows(&files, &wal, directory.path()),
                base_rows + state.commits,
                "{case}"
            );
        }
    }
}

#[test]
fn short_and_empty_files() {
    assert_eq!(judge(&[], None).bytes, 0);
    let state = judge(&[0x37; 31], None);
    assert!(!state.header_valid && state.frames == 0 && state.first_bad_frame.is_none());
    let state = judge(&[0; 10_000], None);
    assert!(!state.header_valid && state.lost_commits == 0 && state.first_bad_frame.is_none());
}
