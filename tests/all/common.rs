//! The binary under test, and real databases to do harm to.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

/// The dbmedic binary of the profile that the tests were built with.
pub(crate) fn dbmedic() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let this = std::env::current_exe().unwrap();
        let profile_dir = this.parent().unwrap().parent().unwrap().to_owned();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // The whole workspace with a test target: the features are then those of `cargo test
        // --workspace`, and what that built is not built a second time.
        build.args(["build", "--quiet", "--workspace", "--bin", "dbmedic"]);
        build.args(["--test", "watching", "--example", "embedded_engine"]);
        let profile = match profile_dir.file_name().and_then(OsStr::to_str).unwrap() {
            "debug" => "dev",
            named => named,
        };
        build.args(["--profile", profile]);
        build.arg("--target-dir").arg(profile_dir.parent().unwrap());
        assert!(build.status().unwrap().success(), "building dbmedic failed");
        profile_dir.join("dbmedic")
    })
}

/// Runs dbmedic to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(dbmedic()).args(args).output().unwrap()
}

/// What a run wrote to its standard error.
pub(crate) fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a run wrote to its standard output.
pub(crate) fn data(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until something is so.
pub(crate) fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    wait_within(Duration::from_secs(30), what, found)
}

/// Waits until something is so, at most this long.
pub(crate) fn wait_within<T>(
    limit: Duration,
    what: &str,
    mut found: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(it) = found() {
            return it;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Copies the files of a directory.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Every file below a directory; none where it does not exist yet.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found
}

/// The names and bytes of a directory's files.
pub(crate) fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// Count and content of all rows of the table `orders`, read without an index.
pub(crate) fn orders(path: &Path) -> Vec<(i64, String)> {
    let db = Connection::open(path).unwrap();
    let mut all = db
        .prepare("SELECT id, item FROM orders NOT INDEXED ORDER BY id")
        .unwrap();
    all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// What SQLite says of a database; "ok" when it is whole.
pub(crate) fn integrity(path: &Path) -> String {
    let db = Connection::open(path).unwrap();
    db.query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}

/// A database of 300 orders in WAL mode, checkpointed, and an open connection that never
/// checkpoints by itself.
pub(crate) fn shop(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE accounts(id INTEGER PRIMARY KEY);
         CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT NOT NULL);
         CREATE INDEX orders_by_item ON orders(item);
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO orders(id, item) SELECT i, printf('item-%06d', i) FROM n;
         PRAGMA wal_checkpoint(TRUNCATE);
         PRAGMA wal_autocheckpoint = 0;",
    )
    .unwrap();
    db
}

/// A shop at rest: no log, nobody has it open.
pub(crate) fn resting_shop(path: &Path) {
    shop(path).close().unwrap();
}

/// Damages the index: keys on its leaf pages are overwritten, the tree stays sound.
pub(crate) fn damage_index(path: &Path) {
    const PAGE: usize = 4096;
    const LEAF_INDEX_PAGE: u8 = 0x0a;
    let mut bytes = std::fs::read(path).unwrap();
    let mut damaged = 0;
    for page in (PAGE..bytes.len()).step_by(PAGE) {
        if bytes[page] != LEAF_INDEX_PAGE {
            continue;
        }
        let found = bytes[page..page + PAGE]
            .windows(9)
            .position(|w| w == b"item-0001");
        if let Some(at) = found {
            bytes[page + at + 5] = b'7';
            damaged += 1;
        }
    }
    assert!(damaged > 0, "no index page holds a key");
    std::fs::write(path, bytes).unwrap();
    assert_ne!(integrity(path), "ok");
}

/// Leaves a log of 200 commits beside the database that nobody has open, with a byte of one frame
/// flipped: the frame that lies `share` of the way into the log.
pub(crate) fn damage_log(path: &Path, share: f64) {
    const FRAME: usize = 4096 + 24;
    let scratch = tempfile::tempdir().unwrap();
    let work = scratch.path().join("work.db");
    let db = shop(&work);
    for id in 1000..1200 {
        db.execute("INSERT INTO orders(id, item) VALUES (?1, 'late')", [id])
            .unwrap();
    }
    let log = work.with_extension("db-wal");
    let mut frames = std::fs::read(&log).unwrap();
    let count = (frames.len() - 32) / FRAME;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a small log"
    )]
    let frame = (count as f64 * share) as usize;
    frames[32 + frame * FRAME + 2000] ^= 0x40;
    std::fs::copy(&work, path).unwrap();
    std::fs::write(path.with_extension("db-wal"), frames).unwrap();
}

/// A verdict as the puppet reads it: each field, in the order of the contract.
pub(crate) fn packed(verdict: &dbmedic::model::Verdict) -> Vec<u8> {
    let dbmedic::model::Verdict {
        classification,
        level,
        repair,
        needs_approval,
        halt,
        confidence,
        verbosity,
        alerts,
        reasons,
        suggestions,
        memory,
    } = verdict;
    let first = (
        classification,
        level,
        repair,
        needs_approval,
        halt,
        confidence,
    );
    let rest = (verbosity, alerts, reasons, suggestions, memory);
    postcard::to_allocvec(&(first, rest)).unwrap()
}

/// Changes a record of a state that nobody has open: of the table `carried` or `services`, by its key.
pub(crate) fn edit_state(
    state: &Path,
    table: &str,
    key: &str,
    change: impl FnOnce(&mut serde_json::Value),
) {
    let db = Connection::open(state.join("state.db")).unwrap();
    let named = if table == "carried" {
        "target"
    } else {
        "policy"
    };
    let select = format!("SELECT json FROM {table} WHERE {named} = ?1");
    let json: String = db.query_row(&select, [key], |row| row.get(0)).unwrap();
    let mut record = serde_json::from_str(&json).unwrap();
    change(&mut record);
    let json = record.to_string();
    let sum = Sha256::digest([key.as_bytes(), &[0], json.as_bytes()].concat());
    let sum = &dbmedic::digest::hex(&sum)[..16];
    let update = format!("UPDATE {table} SET json = ?2, sum = ?3 WHERE {named} = ?1");
    assert_eq!(db.execute(&update, (key, json, sum)), Ok(1));
    db.close().unwrap();
}

/// The journal of a state as lines of JSON.
pub(crate) fn journal(state: &Path) -> String {
    let entries = dbmedic::store::Reader::open(state).unwrap().unwrap();
    let entries = entries.entries(None).unwrap();
    let lines = entries
        .iter()
        .map(|line| serde_json::to_string(line).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}
