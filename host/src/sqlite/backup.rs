//! A copy of one moment of a database in use, through SQLite's backup interface.
//!
//! A copy shows what one read transaction sees. In write-ahead mode a read transaction keeps nobody from
//! writing, and the log from being begun anew. So the pages are copied ahead in many short transactions;
//! then all of them are compared in one, and what changed meanwhile is copied again. The copy is given up
//! when the log grows past a bound. In rollback mode a read transaction keeps writers from committing: so
//! the copy is given up as soon as it is known that it takes longer than they may be held out.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use super::connection;
use super::own_lock::OwnLock;

/// Pages that are copied between two looks at the bounds: 1 MiB of the usual size.
const STEP_PAGES: i32 = 256;
/// The same where writers are held out meanwhile: 64 KiB, which take some milliseconds even from a slow
/// disk.
const LOCKED_STEP_PAGES: u64 = 16;
/// How long one of the short transactions is in which pages are copied ahead.
const AHEAD: Duration = Duration::from_millis(20);
/// Bytes that are written to a copy, or compared with it, at once.
const CHUNK_BYTES: usize = 1 << 20;
/// From when on the time that the rest takes is estimated by what was copied: earlier steps mostly
/// read the schema.
const MEASURED: Duration = Duration::from_millis(5);
/// Copied bytes after which they are written to the disk: else the system does so at once at the end,
/// and a commit of somebody else waits for all of it.
const SYNC_BYTES: u64 = 4 << 20;
/// How long the disk is left to others after that, as long as it took and so long at most.
const MOST_REST: Duration = Duration::from_millis(200);

/// The largest copy that is held in memory, bytes.
const MOST_IN_MEMORY_BYTES: u64 = 256 << 20;
/// Room that a copy leaves free on the file system, bytes: for what dbmedic writes meanwhile.
const ROOM_LEFT_BYTES: u64 = 16 << 20;

/// Up to where a copy may go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The log, and how long it may become; none where there is no log.
    pub log: Option<(PathBuf, u64)>,
    /// In rollback mode: how long writers may be held out, milliseconds.
    pub most_lock_ms: Option<u64>,
    /// The file, where it is read without a lock: until somebody writes to it.
    #[serde(default)]
    pub at_rest: Option<PathBuf>,
}

impl Bounds {
    /// Those of rollback mode: how long writers may be held out.
    pub fn of_lock(max_lock: Duration) -> Self {
        Self {
            most_lock_ms: u64::try_from(max_lock.as_millis()).ok(),
            ..Self::default()
        }
    }

    /// Those of a file that is read without a lock.
    pub fn at_rest(file: &Path) -> Self {
        Self {
            at_rest: Some(file.to_owned()),
            ..Self::default()
        }
    }
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// SQLite said no.
    #[error("{}", connection::without_values(.0))]
    Sqlite(#[from] rusqlite::Error),
    /// A file cannot be looked at or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Somebody keeps the database locked.
    #[error("the database is busy")]
    Busy,
    /// There is no room for it.
    #[error("{} has {free_bytes} bytes free, and the copy needs {needed_bytes}: make room, or name another state directory", path.display())]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes that the copy takes, with what is to stay free beside it.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// The log grew too long meanwhile.
    #[error(
        "given up at {percent} % because the log grew past {most_bytes} bytes meanwhile: take it when less is written"
    )]
    LogGrew {
        /// How far it came.
        percent: u64,
        /// How long the log may become, bytes.
        most_bytes: u64,
    },
    /// It would hold writers out for too long.
    #[error(
        "{bytes} bytes at {bytes_per_s} bytes a second would keep writers out for {needed_ms} ms; `max_lock_ms` allows {most_ms} ms, and 256 MiB are copied so at most: write-ahead mode (PRAGMA journal_mode=WAL), a file system with reflinks (Btrfs, XFS) or a larger `max_lock_ms` would help"
    )]
    TooLong {
        /// The size of the database, bytes.
        bytes: u64,
        /// How fast it was copied.
        bytes_per_s: u64,
        /// How long all of it takes at that rate, milliseconds.
        needed_ms: u64,
        /// How long it may take, milliseconds.
        most_ms: u64,
    },
    /// Somebody wrote to the file, which was read without a lock.
    #[error("it changed meanwhile")]
    Changed,
    /// A page cannot be read as one.
    #[error("a page cannot be read")]
    Page,
}

/// Makes a copy at `to`, which is made new and for this user alone, of what `from` sees at one moment.
///
/// # Errors
///
/// See [`BackupError`]; what lies at `to` then is no copy.
pub fn back_up(from: &Connection, to: &Path, bounds: &Bounds) -> Result<Connection, BackupError> {
    if let Some(most_ms) = bounds.most_lock_ms {
        let pages = read_all(from, most_ms)?;
        let copy = connection::create(to)?;
        let mut file = File::options().write(true).open(to)?;
        file.write_all(&pages)?;
        return Ok(copy);
    }
    if bounds.at_rest.is_none() {
        let copy = connection::create(to)?;
        let file = File::options().read(true).write(true).open(to)?;
        if bounds.log.is_some() {
            copy_ahead(from, &file)?;
        }
        catch_up(from, &file, bounds)?;
        return Ok(copy);
    }
    let mut copy = connection::create(to)?;
    // It has no name before it is whole, and is synced by its maker.
    copy.pragma_update(None, "synchronous", "OFF")?;
    copy.pragma_update(None, "journal_mode", "MEMORY")?;
    copy.pragma_update(None, "cache_size", -1024)?;
    let written = File::open(to)?;
    let transaction = from.unchecked_transaction()?;
    transaction.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))?;
    let stamp = || bounds.at_rest.as_deref().and_then(connection::stamp);
    let before = stamp();
    let page_bytes = number(&transaction, "page_size")?;
    let mut synced_pages = 0;
    let done = {
        let backup = Backup::new(from, &mut copy)?;
        loop {
            match backup.step(STEP_PAGES)? {
                StepResult::Done => break Ok(()),
                StepResult::More => {}
                _ => break Err(BackupError::Busy),
            }
            if stamp() != before {
                break Err(BackupError::Changed);
            }
            let progress = backup.progress();
            let all = u64::try_from(progress.pagecount).unwrap_or(0).max(1);
            let left = u64::try_from(progress.remaining).unwrap_or(0);
            let pages = all.saturating_sub(left);
            if (pages - synced_pages).saturating_mul(page_bytes) >= SYNC_BYTES {
                written.sync_data()?;
                synced_pages = pages;
            }
        }
    };
    drop(transaction);
    done?;
    Ok(copy)
}

/// Copies the pages in transactions of [`AHEAD`] each: none of them is sure to be of the same moment as
/// another one.
fn copy_ahead(from: &Connection, to: &File) -> Result<(), BackupError> {
    let mut page = from.prepare("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1")?;
    let mut next = 1;
    let mut unsynced = 0;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let transaction = from.unchecked_transaction()?;
        let lock = OwnLock::for_("copy ahead");
        let begun = Instant::now();
        let pages = number(&transaction, "page_count")?;
        let page_bytes = number(&transaction, "page_size")?;
        let first = next;
        while next <= pages && chunk.len() < CHUNK_BYTES && begun.elapsed() < AHEAD {
            let number = i64::try_from(next).map_err(|_| BackupError::Page)?;
            page.query_row([number], |row| {
                if let ValueRef::Blob(page) = row.get_ref(0)? {
                    chunk.extend_from_slice(page);
                }
                Ok(())
            })?;
            next += 1;
        }
        drop(transaction);
        drop(lock);
        if chunk.is_empty() {
            return Ok(());
        }
        if chunk.len() as u64 != (next - first).saturating_mul(page_bytes) {
            return Err(BackupError::Page);
        }
        to.write_all_at(&chunk, (first - 1).saturating_mul(page_bytes))?;
        unsynced += chunk.len() as u64;
        if unsynced >= SYNC_BYTES {
            let begun = Instant::now();
            to.sync_data()?;
            unsynced = 0;
            thread::sleep(begun.elapsed().min(MOST_REST));
        }
    }
}

/// Makes a file what one read transaction sees: compares each page, and writes those that differ.
fn catch_up(from: &Connection, to: &File, bounds: &Bounds) -> Result<(), BackupError> {
    let transaction = from.unchecked_transaction()?;
    let lock = OwnLock::for_("copy");
    let pages = number(&transaction, "page_count")?;
    let page_bytes = number(&transaction, "page_size")?;
    let known = to.metadata()?.len();
    let done = {
        let mut statement = transaction.prepare("SELECT data FROM sqlite_dbpage('main')")?;
        let mut rows = statement.query([])?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut there = Vec::new();
        let mut copied = 0_u64;
        loop {
            let row = rows.next()?;
            let is_last = row.is_none();
            if let Some(row) = row {
                match row.get_ref(0)? {
                    ValueRef::Blob(page) if page.len() as u64 == page_bytes => {
                        chunk.extend_from_slice(page);
                    }
                    _ => break Err(BackupError::Page),
                }
            }
            if !is_last && chunk.len() < CHUNK_BYTES {
                continue;
            }
            let end = copied.saturating_add(chunk.len() as u64);
            there.resize(chunk.len(), 0);
            let is_there = end <= known;
            if is_there {
                to.read_exact_at(&mut there, copied)?;
            }
            if !is_there || there != chunk {
                to.write_all_at(&chunk, copied)?;
            }
            // Nobody waits for it, and nothing was copied ahead.
            if bounds.log.is_none() && end / SYNC_BYTES > copied / SYNC_BYTES {
                to.sync_data()?;
            }
            copied = end;
            chunk.clear();
            if is_last {
                break Ok(copied);
            }
            if let Some((log, most_bytes)) = &bounds.log
                && fs::metadata(log).map_or(0, |meta| meta.len()) > *most_bytes
            {
                break Err(BackupError::LogGrew {
                    percent: copied.saturating_mul(100) / pages.saturating_mul(page_bytes).max(1),
                    most_bytes: *most_bytes,
                });
            }
        }
    };
    drop(transaction);
    drop(lock);
    let copied = done?;
    if copied != pages.saturating_mul(page_bytes) {
        return Err(BackupError::Page);
    }
    to.set_len(copied)?;
    Ok(())
}

/// Reads all pages into memory while writers are kept from committing: whoever writes a file at the same
/// time may have to wait for the disk, and they for it.
fn read_all(from: &Connection, most_ms: u64) -> Result<Vec<u8>, BackupError> {
    let transaction = from.unchecked_transaction()?;
    let lock = OwnLock::for_("copy");
    let begun = Instant::now();
    let all = number(&transaction, "page_count")?.max(1);
    let page_bytes = number(&transaction, "page_size")?;
    let bytes = all.saturating_mul(page_bytes);
    let capacity = bytes.min(MOST_IN_MEMORY_BYTES);
    let mut copied = Vec::with_capacity(usize::try_from(capacity).unwrap_or(0));
    let done = {
        let mut statement = transaction.prepare("SELECT data FROM sqlite_dbpage('main')")?;
        let mut rows = statement.query([])?;
        let mut pages = 0_u64;
        loop {
            let Some(row) = rows.next()? else {
                break Ok(());
            };
            match row.get_ref(0)? {
                ValueRef::Blob(page) => copied.extend_from_slice(page),
                _ => break Err(BackupError::Page),
            }
            pages += 1;
            if !pages.is_multiple_of(LOCKED_STEP_PAGES) {
                continue;
            }
            let held_us = u64::try_from(begun.elapsed().as_micros())
                .unwrap_or(u64::MAX)
                .max(1);
            let needed_us = held_us.saturating_mul(all) / pages;
            let is_measured = begun.elapsed() > MEASURED;
            if is_measured && (needed_us / 1000 > most_ms || bytes > MOST_IN_MEMORY_BYTES) {
                break Err(BackupError::TooLong {
                    bytes,
                    bytes_per_s: pages.saturating_mul(page_bytes).saturating_mul(1_000_000)
                        / held_us,
                    needed_ms: needed_us / 1000,
                    most_ms,
                });
            }
        }
    };
    drop(transaction);
    drop(lock);
    done.map(|()| copied)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    let sql = format!("PRAGMA main.{pragma}");
    let value: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// Bytes that this user may still write to the file system of a directory.
///
/// # Errors
///
/// The file system cannot be asked.
pub fn free_bytes(directory: &Path) -> std::io::Result<u64> {
    let room = rustix::fs::statvfs(directory)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// Sees that there is room for a copy, and a little beside it.
///
/// # Errors
///
/// [`BackupError::NoRoom`]; the file system cannot be asked.
pub fn check_room(database: &Path, directory: &Path) -> Result<(), BackupError> {
    let needed_bytes = fs::metadata(database)?
        .len()
        .saturating_add(ROOM_LEFT_BYTES);
    let free_bytes = free_bytes(directory)?;
    if free_bytes < needed_bytes {
        return Err(BackupError::NoRoom {
            path: directory.to_owned(),
            needed_bytes,
            free_bytes,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(path: &Path, bytes: u32) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(&format!(
                "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n \
                 WHERE i < {bytes} / 4000) INSERT INTO t SELECT randomblob(3900) FROM n"
            ))
            .unwrap();
        connection
    }

    /// Those of a database in use, without an end.
    fn of_log(path: &Path) -> Bounds {
        Bounds {
            log: Some((path.to_owned(), u64::MAX)),
            ..Bounds::default()
        }
    }

    fn of_lock(most_ms: u64) -> Bounds {
        Bounds::of_lock(Duration::from_millis(most_ms))
    }

    #[test]
    fn a_copy_under_a_lock_is_the_file_to_the_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let from = database(&path, 1_000_000);
        let to = directory.path().join("copy");
        drop(back_up(&from, &to, &of_lock(60_000)).unwrap());
        assert_eq!(fs::read(&to).unwrap(), fs::read(&path).unwrap());
    }

    #[test]
    fn a_copy_beside_a_writer_is_of_one_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let from = database(&path, 3_000_000);
        from.execute_batch(
            "PRAGMA journal_mode=WAL; CREATE TABLE a(n); CREATE TABLE b(n); INSERT INTO a VALUES (0);
             INSERT INTO b VALUES (0); PRAGMA wal_autocheckpoint=20;",
        )
        .unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let writer = Connection::open(&path).unwrap();
                writer
                    .execute_batch("PRAGMA wal_autocheckpoint=20")
                    .unwrap();
                let mut round = 0;
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    round += 1;
                    // The first page and the last ones, rows that go, and a file that grows.
                    writer
                        .execute_batch(
                            "BEGIN; UPDATE a SET n = n + 1; INSERT INTO t VALUES (randomblob(3900));
                             DELETE FROM t WHERE rowid = (SELECT min(rowid) FROM t);
                             UPDATE b SET n = n + 1; COMMIT;",
                        )
                        .unwrap();
                    if round % 50 == 0 {
                        writer
                            .execute_batch("PRAGMA wal_checkpoint(PASSIVE)")
                            .unwrap();
                    }
                }
            });
            for number in 0..5 {
                let to = directory.path().join(format!("copy-{number}"));
                let copy = back_up(&from, &to, &of_log(&path)).unwrap();
                let sound: String = copy
                    .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                    .unwrap();
                let (a, b): (u32, u32) = copy
                    .query_row("SELECT a.n, b.n FROM a, b", [], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .unwrap();
                assert_eq!((sound.as_str(), a), ("ok", b));
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn what_changes_between_the_two_passes_is_copied_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let from = database(&path, 3_000_000);
        from.execute_batch("PRAGMA journal_mode=WAL").unwrap();
        for change in [
            "UPDATE t SET x = randomblob(3900) WHERE rowid % 7 = 0",
            "DELETE FROM t WHERE rowid > 100; VACUUM",
            "INSERT INTO t SELECT randomblob(3900) FROM t",
        ] {
            let to = directory.path().join("copy");
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&to);
            let file = file.unwrap();
            copy_ahead(&from, &file).unwrap();
            let writer = Connection::open(&path).unwrap();
            writer.execute_batch(change).unwrap();
            catch_up(&from, &file, &Bounds::default()).unwrap();
            from.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
                .unwrap();
            assert!(
                fs::read(&to).unwrap() == fs::read(&path).unwrap(),
                "{change}"
            );
            fs::remove_file(&to).unwrap();
        }
    }

    #[test]
    fn a_copy_that_takes_too_long_under_a_lock_is_given_up_with_both_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let from = database(&path, 60_000_000);
        let to = directory.path().join("copy");
        let error = back_up(&from, &to, &of_lock(1)).unwrap_err();
        let BackupError::TooLong {
            bytes,
            needed_ms,
            most_ms: 1,
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(bytes, fs::metadata(&path).unwrap().len());
        assert!(needed_ms > 1);
        assert!(!to.exists());
        // The lock is gone: a writer may commit.
        let writer = Connection::open(&path).unwrap();
        writer.busy_timeout(Duration::ZERO).unwrap();
        writer.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    }

    #[test]
    fn a_copy_without_a_lock_is_given_up_as_soon_as_somebody_writes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        drop(database(&path, 20_000_000));
        let open = || connection::open(&path, connection::Access::Alone, None).unwrap();
        let bounds = Bounds::at_rest(&path);
        let whole = directory.path().join("whole");
        drop(back_up(&open(), &whole, &bounds).unwrap());
        // The file that changes meanwhile is the copy itself here: so it always does.
        let given_up = directory.path().join("given up");
        let error = back_up(&open(), &given_up, &Bounds::at_rest(&given_up)).unwrap_err();
        assert!(matches!(error, BackupError::Changed), "{error}");
        assert!(fs::metadata(&given_up).unwrap().len() < fs::metadata(&whole).unwrap().len());
    }

    #[test]
    fn a_copy_is_given_up_when_the_log_grows_past_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let from = database(&path, 4_000_000);
        let log = directory.path().join("log");
        fs::write(&log, [0; 100]).unwrap();
        let bounds = |most_bytes| Bounds {
            log: Some((log.clone(), most_bytes)),
            ..Bounds::default()
        };
        let to = directory.path().join("copy");
        let error = back_up(&from, &to, &bounds(99)).unwrap_err();
        assert!(matches!(error, BackupError::LogGrew { .. }), "{error}");
        fs::remove_file(&to).unwrap();
        let copy = back_up(&from, &to, &bounds(100)).unwrap();
        let rows: u32 = copy
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 1000);
    }
}
