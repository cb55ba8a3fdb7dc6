//! Judging a set of files, on files that SQLite made.

use crate::sqlite_state::set::*;
use crate::sqlite_state::{SqliteState, WalState};

/// The first page of a database that SQLite made, by page size.
fn first_page(page_bytes: u32, script: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(&format!("PRAGMA page_size={page_bytes}; {script}"))
        .unwrap();
    drop(db);
    std::fs::read(&path).unwrap()
}

const ROWS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
    INSERT INTO t(v) SELECT printf('row %06d', i * 7919 % 4001) FROM n; CREATE INDEX i ON t(v);";

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    use rand::{RngExt as _, SeedableRng as _};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    (0..bytes).map(|_| random.random()).collect()
}

fn samples(file: &[u8]) -> Vec<Vec<u8>> {
    file[65536..].chunks(65536).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_database_behind_another_files_content_is_known_by_its_end() {
    let tail = |begins: u64| {
        let mut tail = [0; APPENDED_TAIL_BYTES];
        tail[..17].copy_from_slice(b"Start-Of-SQLite3-");
        tail[17..].copy_from_slice(&begins.to_be_bytes());
        tail
    };
    assert!(is_appended(&tail(4096), 4097));
    assert!(!is_appended(&tail(4097), 4097));
    let mut other = tail(0);
    other[0] = b's';
    assert!(!is_appended(&other, 4097));
}

#[test]
fn headers_of_real_databases_are_plain_at_every_page_size() {
    for bits in 9..=16 {
        let page_bytes = 1_u32 << bits;
        let file = first_page(page_bytes, ROWS);
        let header = DatabaseHeader::parse(file.first_chunk().unwrap()).unwrap();
        assert_eq!(header.page_bytes, page_bytes);
        assert_eq!(
            u64::from(header.kept_pages().unwrap()) * u64::from(page_bytes),
            file.len() as u64
        );
        assert!(!header.wants_log());
        assert_eq!(judge_format(&file[..65536], &samples(&file)), None);
        assert!(holds_pages(&samples(&file)), "{page_bytes}");
    }
}

#[test]
fn what_is_no_plain_database_is_named() {
    let plain = first_page(4096, ROWS);
    let with = |changes: &[(usize, u8)]| {
        let mut file = plain.clone();
        for &(at, byte) in changes {
            file[at] = byte;
        }
        judge_format(&file[..65536], &samples(&file))
    };
    assert_eq!(
        with(&[(18, 255), (19, 255)]),
        Some(Unjudgeable::FormatVersion {
            write: 255,
            read: 255
        })
    );
    assert_eq!(
        with(&[(18, 3)]),
        Some(Unjudgeable::FormatVersion { write: 3, read: 1 })
    );
    assert_eq!(
        with(&[(20, 80)]),
        Some(Unjudgeable::ReservedBytes { bytes: 80 })
    );
    // Damage of the first bytes alone is damage.
    assert_eq!(with(&[(0, b'X')]), None);
    let mut file = plain.clone();
    file[..24].fill(0);
    assert_eq!(judge_format(&file[..65536], &samples(&file)), None);
}

#[test]
fn encrypted_files_are_told_from_damaged_ones() {
    for seed in 0..200 {
        let file = noise(seed, 65536 * 3);
        assert_eq!(
            judge_format(&file[..65536], &samples(&file)),
            Some(Unjudgeable::Encrypted)
        );
        assert!(!holds_pages(&samples(&file)), "{seed}");
        // One page is the whole of a small one.
        assert_eq!(
            judge_format(&file[..1024], &[]),
            Some(Unjudgeable::Encrypted),
            "{seed}"
        );
        let mut pages = noise(seed, 4096);
        pages[16..24].copy_from_slice(&[16, 0, 1, 1, 32, 64, 32, 32]);
        assert_eq!(
            judge_format(&pages, &[]),
            Some(Unjudgeable::EncryptedPages),
            "{seed}"
        );
    }
    // The first page is overwritten, the rest is a database.
    let mut file = first_page(4096, ROWS);
    let rest = samples(&file);
    file[..4096].copy_from_slice(&noise(1, 4096));
    assert_eq!(judge_format(&file[..65536], &rest), None);
    // Compressed data is no ciphertext, and text is neither.
    let mut zipped = noise(2, 65536);
    zipped[..4].copy_from_slice(b"PK\x03\x04");
    assert_eq!(judge_format(&zipped, &[]), None);
    assert_eq!(judge_format(&[b'a'; 4096], &[]), None);
}

fn log(bytes: u64) -> WalState {
    WalState {
        bytes,
        ..WalState::default()
    }
}

#[test]
fn a_file_is_emptied_only_where_a_companion_holds_something() {
    let journal = |initial_pages, is_void| {
        Some(JournalHeader {
            initial_pages,
            is_void,
            ..JournalHeader::default()
        })
    };
    let cases = [
        ("nothing beside it", None, None, false),
        ("an empty log", Some(log(32)), None, false),
        ("a log", Some(log(5000)), None, true),
        ("a journal", None, journal(4, false), true),
        (
            "the journal of a new database",
            None,
            journal(0, false),
            false,
        ),
        ("a finished journal", None, journal(4, true), false),
    ];
    for (name, wal, journal, expected) in cases {
        let mut state = SqliteState {
            database_bytes: Some(0),
            wal,
            ..SqliteState::default()
        };
        state.set.journal = journal;
        assert_eq!(is_emptied(&state), expected, "{name}");
        assert_eq!(objection(&state).is_some(), expected, "{name}");
        state.database_bytes = Some(4096);
        assert!(!is_emptied(&state), "{name}");
    }
}

#[test]
fn a_second_name_is_an_objection() {
    let mut state = SqliteState::default();
    assert_eq!(objection(&state), None);
    state.set.file = Some(FileIdentity {
        device: 1,
        inode: 2,
        links: 2,
        modified_ns: 0,
    });
    assert!(objection(&state).unwrap().contains("2 names"));
    state.set.file = None;
    state.set.mounted_alone = true;
    assert!(objection(&state).unwrap().contains("mounted"));
}

#[test]
fn the_header_of_a_journal() {
    let mut bytes = [0; JOURNAL_HEADER_BYTES];
    assert_eq!(JournalHeader::parse(&bytes), None);
    bytes[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    bytes[19] = 7;
    bytes[26] = 0x10;
    let header = JournalHeader::parse(&bytes).unwrap();
    assert_eq!((header.initial_pages, header.page_bytes), (7, 4096));
    let mut tail = [0; 16];
    assert_eq!(super_journal_name_bytes(&tail), None);
    tail[3] = 9;
    tail[8..].copy_from_slice(&bytes[..8]);
    assert_eq!(super_journal_name_bytes(&tail), Some(9));
    assert_eq!(DatabaseHeader::parse(&[0; DATABASE_HEADER_BYTES]), None);
}
