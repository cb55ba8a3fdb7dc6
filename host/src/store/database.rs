//! The file `state.db`: how it is opened, checked, made and set aside.
//!
//! This is the one database that the main process opens itself. SQLite finds it by its path, so the names of
//! the database and of the files that SQLite keeps beside it are looked at before: none may be a link, or a
//! file that others could have written. Its header is looked at before as well: what is not dbmedic's own is
//! never opened by SQLite for writing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::write::{changes, write};
use super::{Kept, StoreError, intents, reader};
use crate::clock::wall_ms;
use crate::own_dir::OwnDir;
use crate::pipeline::Carried;

/// The database's file name in the state directory.
pub(super) const FILE_NAME: &str = "state.db";

/// The name under which a new one is made.
const NEW_NAME: &str = "state.db.new";

/// Stands in `meta` while nobody was told that an earlier state is gone, with the reason.
pub(super) const BEGUN_ANEW: &str = "begun_anew";

/// The first bytes of every SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The length of the header, and where in it the numbers stand that `PRAGMA user_version` and `PRAGMA
/// application_id` set.
const HEADER_BYTES: u64 = 100;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// The log is cut to this length when it begins anew, bytes: a reader that took long makes it long.
const LONGEST_LOG: i64 = 4 << 20;

/// What SQLite appends to that name for the files beside it.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Stands in the file's header (`PRAGMA application_id`): "dbmd".
const APPLICATION_ID: i32 = 0x6462_6d64;

/// The version of the schema that this dbmedic writes and reads (`PRAGMA user_version`).
const SCHEMA_VERSION: i32 = 1;

/// What `PRAGMA synchronous` says where each commit is synced.
const FULL: i64 = 2;

/// How long to wait for a lock that a reader holds for moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A number in a name that is larger was not given by dbmedic.
const LARGEST_NUMBER: u64 = 1 << 48;

/// Each row of `entries` is an entry of the journal; `heard` is 0 for a command, and for the end of a repair, that
/// the pipeline has not heard yet. `carried` has a row for each target, and one with the name '' for the rest.
const SCHEMA: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries(
  seq INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  target TEXT,
  incident TEXT,
  repair TEXT,
  command TEXT,
  heard INTEGER,
  json TEXT NOT NULL,
  sum TEXT NOT NULL
);
CREATE INDEX entries_by_incident ON entries(incident) WHERE incident IS NOT NULL;
CREATE INDEX entries_by_repair ON entries(repair) WHERE repair IS NOT NULL;
CREATE UNIQUE INDEX entries_by_command ON entries(command) WHERE command IS NOT NULL;
CREATE INDEX entries_unheard ON entries(seq) WHERE heard = 0;
CREATE TABLE carried(target TEXT PRIMARY KEY, json TEXT NOT NULL, sum TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE services(policy TEXT PRIMARY KEY, json TEXT NOT NULL, sum TEXT NOT NULL) WITHOUT ROWID;
";

/// How the database is opened by who only reads it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    /// By the files that SQLite keeps beside it: a dbmedic may write at the same time.
    Live,
    /// Without these files, while the lock keeps everybody from writing.
    AtRest,
}

/// Looks at the names of the database and of the files beside it: each that is there is a regular file of this
/// user or root. Says whether the database is there.
pub(super) fn check_names(dir: &OwnDir) -> Result<bool, StoreError> {
    let mut is_there = false;
    for suffix in [""].into_iter().chain(COMPANIONS) {
        let name = format!("{FILE_NAME}{suffix}");
        let found = dir.own_file(&name).map_err(io(&dir.path_of(&name)))?;
        is_there |= found.is_some() && suffix.is_empty();
    }
    Ok(is_there)
}

/// Judges the database by its name and its header, before SQLite opens it. Says whether there is one.
///
/// # Errors
/// [`StoreError::Damaged`] where it is another's or no database at all, [`StoreError::Newer`].
pub(super) fn judge(dir: &OwnDir) -> Result<bool, StoreError> {
    if !check_names(dir)? {
        return Ok(false);
    }
    let path = dir.path_of(FILE_NAME);
    let mut header = Vec::new();
    let file = dir.open_file(FILE_NAME).map_err(io(&path))?;
    file.take(HEADER_BYTES)
        .read_to_end(&mut header)
        .map_err(io(&path))?;
    if header.is_empty() {
        return Err(damaged(&path, "it is empty"));
    }
    let number_at = |at: usize| -> Option<i32> {
        let bytes = header.get(at..)?.first_chunk()?;
        Some(i32::from_be_bytes(*bytes))
    };
    if !header.starts_with(MAGIC) || number_at(APPLICATION_ID_AT) != Some(APPLICATION_ID) {
        return Err(damaged(&path, "it is no state of dbmedic"));
    }
    match number_at(USER_VERSION_AT) {
        Some(version) if version > SCHEMA_VERSION => Err(StoreError::Newer { path, version }),
        _ => Ok(true),
    }
}

/// Opens the database, which was judged, for writing. Closed, it leaves its log as it is; see [`bring_over`].
pub(super) fn open(dir: &OwnDir) -> Result<Connection, StoreError> {
    for suffix in [""].into_iter().chain(COMPANIONS) {
        let name = format!("{FILE_NAME}{suffix}");
        dir.make_private(&name).map_err(io(&dir.path_of(&name)))?;
    }
    let path = dir.path_of(FILE_NAME);
    let db = connect(&path)?;
    let failed = database(&path);
    // One that is set aside stays as it was found, with its log.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(&failed)?;
    keep_a_log(&db, &path)?;
    db.pragma_update(None, "synchronous", "FULL")
        .map_err(&failed)?;
    db.pragma_update_and_check(None, "journal_size_limit", LONGEST_LOG, |_| Ok(()))
        .map_err(&failed)?;
    check(&db, &path)?;
    Ok(db)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags).map_err(database(path))?;
    restrict(&db).map_err(database(path))?;
    Ok(db)
}

fn keep_a_log(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let mode =
        db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
    let mode = mode.map_err(database(path))?;
    if mode != "wal" {
        let what = format!("its file system lets SQLite keep no write-ahead log (mode {mode})");
        return Err(io(path)(std::io::Error::other(what)));
    }
    Ok(())
}

/// Brings the log over into the database. The empty log and its index stay, so that who reads needs no lock that
/// would keep a dbmedic from starting.
pub(super) fn bring_over(db: &Connection) {
    // What stays in the log is found there by the next start.
    let brought = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = brought {
        tracing::debug!("the log of the state stays: {error}");
    }
}

/// Makes the database, whole or not at all: under another name, synced, renamed. `begun_anew` says why an earlier
/// state is gone, `carried` what is known all the same.
pub(super) fn make(
    dir: &OwnDir,
    begun_anew: Option<&str>,
    carried: Option<&Carried>,
) -> Result<(), StoreError> {
    // What stands beside a database that is gone belongs to that one.
    rename_aside(dir)?;
    let made = make_new(dir, begun_anew, carried);
    if made.is_err() {
        // It only takes room, and perhaps the last there is.
        remove_new(dir)?;
    }
    made
}

fn make_new(
    dir: &OwnDir,
    begun_anew: Option<&str>,
    carried: Option<&Carried>,
) -> Result<(), StoreError> {
    remove_new(dir)?;
    let path = dir.path_of(NEW_NAME);
    let file = dir.create(NEW_NAME).map_err(io(&path))?;
    let db = connect(&path)?;
    let failed = database(&path);
    let changed = changes(&BTreeMap::new(), carried)?;
    let filled = || -> rusqlite::Result<()> {
        let numbers = Numbers::used_in(dir.path());
        db.execute_batch("BEGIN IMMEDIATE")?;
        db.execute_batch(SCHEMA)?;
        let meta = [
            ("id", format!("{:032x}", rand::random::<u128>())),
            ("first_seq", (numbers.repair + 1).to_string()),
            ("first_incident", (numbers.incident + 1).to_string()),
        ];
        let begun_anew = begun_anew.map(|why| (BEGUN_ANEW, why.to_owned()));
        for (key, value) in meta.into_iter().chain(begun_anew) {
            db.execute("INSERT INTO meta VALUES (?1, ?2)", (key, value))?;
        }
        write(&db, 0, &Kept::default(), &changed, &[])?;
        db.pragma_update(None, "application_id", APPLICATION_ID)?;
        db.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        db.execute_batch("COMMIT")
    };
    filled().map_err(&failed)?;
    keep_a_log(&db, &path)?;
    db.close().map_err(|(_, error)| failed(error))?;
    let placed = file.sync_all();
    placed
        .and_then(|()| dir.rename(NEW_NAME, FILE_NAME))
        .and_then(|()| dir.sync())
        .map_err(io(&path))
}

fn remove_new(dir: &OwnDir) -> Result<(), StoreError> {
    for suffix in [""].into_iter().chain(COMPANIONS) {
        let name = format!("{NEW_NAME}{suffix}");
        dir.remove_if_there(&name)
            .map_err(io(&dir.path_of(&name)))?;
    }
    Ok(())
}

/// Opens the database for reading. No file is made, changed or removed.
pub(super) fn open_to_read(dir: &OwnDir, how: Reading) -> Result<Connection, StoreError> {
    let path = dir.path_of(FILE_NAME);
    let failed = database(&path);
    let how = match how {
        Reading::Live => "mode=ro&readonly_shm=1",
        Reading::AtRest => "immutable=1",
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(uri(&path, how), flags).map_err(&failed)?;
    restrict(&db).map_err(&failed)?;
    check_version(&db, &path)?;
    Ok(db)
}

/// Whether the files that SQLite keeps beside the database are there, by which it can be read while somebody writes.
pub(super) fn has_index(dir: &OwnDir) -> Result<bool, StoreError> {
    let is_there = |suffix: &str| {
        let name = format!("{FILE_NAME}{suffix}");
        let about = dir.about(&name).map_err(io(&dir.path_of(&name)))?;
        Ok::<_, StoreError>(about.is_some())
    };
    Ok(is_there("-wal")? && is_there("-shm")?)
}

/// Whether a log with something in it stands beside the database.
pub(super) fn has_log(dir: &OwnDir) -> Result<bool, StoreError> {
    let name = format!("{FILE_NAME}-wal");
    let about = dir.about(&name).map_err(io(&dir.path_of(&name)))?;
    Ok(about.is_some_and(|about| about.bytes > 0))
}

/// Renames a database that cannot be believed, with the files beside it; says to what.
pub(super) fn set_aside(dir: &OwnDir) -> Result<PathBuf, StoreError> {
    let name = rename_aside(dir)?;
    Ok(dir.path_of(name))
}

fn rename_aside(dir: &OwnDir) -> Result<String, StoreError> {
    let aside = format!("damaged-{}-{FILE_NAME}", wall_ms());
    // The database first: without its log it would be an older state that looks whole.
    for suffix in [""].into_iter().chain(COMPANIONS) {
        let name = format!("{FILE_NAME}{suffix}");
        let about = dir.about(&name).map_err(io(&dir.path_of(&name)))?;
        // An index of the log, or an empty log, says nothing.
        let is_nothing = suffix == "-shm" || about.is_some_and(|about| about.bytes == 0);
        let moved = if is_nothing && !suffix.is_empty() {
            dir.remove(&name)
        } else {
            dir.rename(&name, format!("{aside}{suffix}"))
        };
        match moved {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(&dir.path_of(&name))(error));
            }
            _ => {}
        }
    }
    dir.sync().map_err(io(dir.path()))?;
    Ok(aside)
}

/// The schema of this file is dbmedic's own, and still none of its expressions may do more than plain SQL.
fn restrict(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.pragma_update(None, "cell_size_check", true)
}

/// Sees to it that the tables are whole and agree with their indexes, from which questions are answered. Indexes
/// alone can be built again.
fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    check_version(db, path)?;
    let synchronous: i64 = db
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .map_err(database(path))?;
    if synchronous != FULL {
        let what = format!("SQLite does not sync each commit (synchronous {synchronous})");
        return Err(io(path)(std::io::Error::other(what)));
    }
    let finds = |check: &str| -> Result<Option<String>, StoreError> {
        let found: String = db
            .query_row(check, [], |row| row.get(0))
            .map_err(database(path))?;
        Ok((found != "ok").then_some(found))
    };
    let Some(found) = finds("PRAGMA integrity_check(1)")? else {
        return Ok(());
    };
    if finds("PRAGMA quick_check(1)")?.is_none() && reader::are_all_whole(db, path)? {
        db.execute_batch("REINDEX").map_err(database(path))?;
        if finds("PRAGMA integrity_check(1)")?.is_none() {
            tracing::warn!("{}: {found}; its indexes were built again", path.display());
            return Ok(());
        }
    }
    Err(damaged(path, &found))
}

fn check_version(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |name: &str| {
        let number: rusqlite::Result<i32> = db.pragma_query_value(None, name, |row| row.get(0));
        number.map_err(database(path))
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(damaged(path, "it is no state of dbmedic"));
    }
    match number("user_version")? {
        SCHEMA_VERSION => Ok(()),
        newer if newer > SCHEMA_VERSION => Err(StoreError::Newer {
            path: path.to_owned(),
            version: newer,
        }),
        other => Err(damaged(
            path,
            &format!("its schema has the version {other}"),
        )),
    }
}

/// The highest numbers that stand in names that dbmedic gave: a database goes on after them, also where the end of
/// its log was lost, so that no repair and no incident gets the files of an earlier one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Numbers {
    pub(super) repair: u64,
    incident: u64,
}

impl Numbers {
    pub(super) fn used_in(state_dir: &Path) -> Self {
        let mut areas = vec![state_dir.to_owned()];
        areas.extend(paths_in(&state_dir.join("users")));
        let mut numbers = Self::default();
        for area in areas {
            let copies = paths_in(&area.join("copies")).into_iter();
            let intents = paths_in(&area.join(intents::DIRECTORY)).into_iter();
            numbers.repair = numbers.repair.max(highest(copies.chain(intents), "R-"));
            let targets = paths_in(&area.join("preserved")).into_iter();
            let incidents = targets.flat_map(|target| paths_in(&target));
            numbers.incident = numbers.incident.max(highest(incidents, "INC-"));
        }
        numbers
    }
}

/// What lies in a directory; nothing where it cannot be read.
fn paths_in(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn highest(paths: impl Iterator<Item = PathBuf>, prefix: &str) -> u64 {
    let number = |path: PathBuf| -> Option<u64> {
        let name = path.file_name()?.to_str()?.strip_prefix(prefix)?;
        let number = name.split('.').next()?;
        number
            .parse()
            .ok()
            .filter(|number| *number < LARGEST_NUMBER)
    };
    paths.filter_map(number).max().unwrap_or(0)
}

/// A path as SQLite reads it in a URI.
fn uri(path: &Path, parameters: &str) -> String {
    let bytes = path.as_os_str().as_bytes();
    let escaped: Vec<String> = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
    format!("file:{}?{parameters}", escaped.concat())
}

pub(super) fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

/// The same of a file that 0.1.0 wrote.
pub(super) fn old_damaged(path: &Path, what: &str) -> StoreError {
    StoreError::OldDamaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io {
        path: path.clone(),
        source,
    }
}

/// SQLite's word on this file. What it finds damaged is damage, whatever was asked; and so is a value that is not of
/// the kind that was written there.
pub(super) fn database(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
    use rusqlite::Error;
    let path = path.to_owned();
    move |source| match (&source, source.sqlite_error_code()) {
        (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        | (
            Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..),
            _,
        ) => damaged(&path, &source.to_string()),
        _ => StoreError::Database {
            path: path.clone(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_database_goes_on_after_the_numbers_of_an_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "copies/R-7",
            "copies/R-x",
            "users/7/copies/R-12",
            "intents/R-14.json.halted",
            "users/7/copies/R-99999999999999999999",
            "users/7/copies/R-9999999999999999",
            "preserved/shop/INC-3",
        ] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let expected = Numbers {
            repair: 14,
            incident: 3,
        };
        assert_eq!(Numbers::used_in(dir.path()), expected);
    }

    #[test]
    fn a_path_of_any_bytes_is_a_path_in_a_uri() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b?#%.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t(x)")
            .unwrap();
        let db = Connection::open(uri(&path, "mode=ro")).unwrap();
        let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
        assert_eq!(tables, Ok(1));
    }
}
