//! The one place that opens a database of somebody else's.
//!
//! Such a database is input that nobody has checked: its schema may hold expressions that eat
//! memory or time, and its pages anything at all. Each connection is therefore bounded before it
//! reads the first page, and believes nothing that the schema asks for beyond plain SQL. Closing
//! one checkpoints nothing.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

/// How long to wait for a lock that others hold for moments.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Virtual machine instructions between two checks of a deadline: some milliseconds of work.
const PROGRESS_OPS: i32 = 10_000;

/// The longest value or row that is read, bytes. SQLite's own bound is 1 GB.
pub const MAX_VALUE_BYTES: i32 = 64 << 20;

/// The longest statement, the schema's included, bytes: 16 times what SQLite advises for input
/// that is not trusted (`security.html`), because a schema that is not read counts as damaged.
const MAX_SQL_BYTES: i32 = 16 << 20;

/// Instructions of one compiled statement; `integrity_check` of a thousand tables needs a tenth.
const MAX_VDBE_OPS: i32 = 10_000_000;

/// The longest pattern of a LIKE or GLOB: their time grows with its square.
const MAX_PATTERN_BYTES: i32 = 5_000;

/// The page cache of one connection, KiB.
const CACHE_KIB: i64 = 8 << 10;

/// Memory that SQLite may use in this process, bytes: from the first on it gives up cached pages,
/// at the second it fails with "out of memory" instead of taking more.
const SOFT_HEAP_BYTES: i64 = 96 << 20;
const HARD_HEAP_BYTES: i64 = 160 << 20;

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Where it is, for reading only: no file is made, changed or recovered. In write-ahead mode
    /// another process must have it open (so that there is a live `-shm`).
    InPlace,
    /// A copy, which SQLite may recover.
    Copy,
    /// Where it is, and nobody has it open: whoever asks must see to it that nobody had until the
    /// end, and throw the answer away otherwise. There is no log with anything in it.
    Alone,
    /// Where it is, without a lock beside whoever writes: what is read may be half written, and counts for
    /// nothing.
    Ahead,
    /// Where it is, for reading and writing. It must exist.
    Write,
}

/// Opens an existing database. With a deadline, every statement that runs beyond it is interrupted.
///
/// # Errors
///
/// SQLite's own; the file is read for the first time in here.
pub fn open(
    path: &Path,
    access: Access,
    deadline: Option<Duration>,
) -> rusqlite::Result<Connection> {
    let connection = open_untouched(path, access, deadline)?;
    bound_cache(&connection)?;
    Ok(connection)
}

/// The same, but nothing of the file is read or locked yet: what must be set before the first read
/// can still be set. [`bound_cache`] is to be called after it.
///
/// # Errors
///
/// SQLite's own.
pub fn open_untouched(
    path: &Path,
    access: Access,
    deadline: Option<Duration>,
) -> rusqlite::Result<Connection> {
    let only_read = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let mut connection = match access {
        Access::InPlace => Connection::open_with_flags(
            uri(path, "mode=ro&readonly_shm=1"),
            only_read | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
        Access::Alone | Access::Ahead => Connection::open_with_flags(
            uri(path, "immutable=1"),
            only_read | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
        Access::Copy | Access::Write => Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
    };
    restrict(&connection, access == Access::Write)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    match (access, deadline) {
        (Access::Alone, _) => {
            let until = deadline.map(|deadline| Instant::now() + deadline);
            let (path, before) = (path.to_owned(), stamp(path));
            // Whoever writes makes what is read here worth nothing.
            let is_over =
                move || until.is_some_and(|until| Instant::now() > until) || stamp(&path) != before;
            connection.progress_handler(PROGRESS_OPS, Some(is_over))?;
        }
        (_, Some(deadline)) => {
            Deadline::of(&mut connection)?.set(Some(Instant::now() + deadline));
        }
        (_, None) => {}
    }
    Ok(connection)
}

/// What tells that a file was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    bytes: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Stamp {
    /// When the file was written to last, milliseconds since the Unix epoch.
    pub fn modified_ms(&self) -> u64 {
        let (seconds, nanoseconds) = self.modified;
        let ms = seconds.saturating_mul(1000) + nanoseconds / 1_000_000;
        u64::try_from(ms).unwrap_or(0)
    }
}

/// The stamp of a file, which is not opened; none when it cannot be looked at.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp {
        bytes: meta.len(),
        inode: meta.ino(),
        modified: (meta.mtime(), meta.mtime_nsec()),
    })
}

/// Bounds the page cache, of which otherwise the file says how large it is. Reads the schema.
///
/// # Errors
///
/// SQLite's own.
pub fn bound_cache(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "cache_size", -CACHE_KIB)
}

/// Makes a database file of dbmedic's own, for a copy of somebody else's, that only this user can
/// read.
///
/// # Errors
///
/// SQLite's own.
pub fn create(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite's own permissions would let others read it. That it cannot be made, SQLite says too.
    let options = &mut OpenOptions::new();
    drop(options.write(true).create(true).mode(0o600).open(path));
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    restrict(&connection, false)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Until when the statements of a connection may run; it can be set while a transaction is open.
#[derive(Debug, Clone, Default)]
pub struct Deadline(Arc<Mutex<Option<Instant>>>);

impl Deadline {
    /// Takes charge of a connection: its statements run as long as they take until a time is set.
    ///
    /// # Errors
    ///
    /// SQLite's own.
    pub fn of(connection: &mut Connection) -> rusqlite::Result<Self> {
        let deadline = Self::default();
        let until = Arc::clone(&deadline.0);
        let is_over = move || {
            let until = *until.lock().unwrap_or_else(PoisonError::into_inner);
            until.is_some_and(|until| Instant::now() > until)
        };
        connection.progress_handler(PROGRESS_OPS, Some(is_over))?;
        Ok(deadline)
    }

    /// Interrupts every statement from then on; none lets them run.
    pub fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// Bounds what a statement or a schema can do. Reads nothing of the database. `may_write`: the connection
/// is one to a database of somebody else's, and may write.
fn restrict(connection: &Connection, may_write: bool) -> rusqlite::Result<()> {
    for (config, on) in [
        // Functions and virtual tables that could do more than compute are not called by a schema.
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        // No statement can damage the file: no writable schema, no raw writes of pages. Not for a connection
        // that damages nothing without it: a defensive one does not read a schema with triggers on the tables
        // of a module, which other programs read and write.
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, may_write),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        // The last connection would otherwise drop what follows a damaged frame of the log.
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
    ] {
        connection.set_db_config(config, on)?;
    }
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_BYTES),
        (Limit::SQLITE_LIMIT_VDBE_OP, MAX_VDBE_OPS),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN_BYTES),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    // These three hold for the process; setting them again changes nothing.
    connection.pragma_update(None, "soft_heap_limit", SOFT_HEAP_BYTES)?;
    connection.pragma_update(None, "hard_heap_limit", HARD_HEAP_BYTES)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    // A page whose cells do not fit is damage at once, not when one of them is read.
    connection.pragma_update(None, "cell_size_check", true)
}

fn uri(path: &Path, options: &str) -> String {
    use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _};
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(uri, "%{byte:02x}");
        }
    }
    uri + "?" + options
}

/// `name` as an SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An error of SQLite's in words that hold no value of a row: of what an expression of the schema
/// raised, only its code is told, because such a message may quote what the expression was given.
pub fn without_values(error: &rusqlite::Error) -> String {
    const HARMLESS: &[&str] = &[
        "no such ",
        "no query solution",
        "malformed database schema",
        "database disk image is malformed",
        "database is locked",
        "database schema is locked",
        "database schema has changed",
        "database or disk is full",
        "disk I/O error",
        "file is not a database",
        "attempt to write a readonly database",
        "unable to open database file",
        "UNIQUE constraint failed",
        "vtable constructor failed",
        "unknown tokenizer",
        "error in tokenizer constructor",
        "invalid fts5 file format",
        "fts5: corrupt",
        "foreign key mismatch",
        "unsafe use of ",
        "unknown function",
        "wrong number of arguments",
        "out of memory",
        "string or blob too big",
        "interrupted",
        "ambiguous column name",
    ];
    match error {
        rusqlite::Error::SqliteFailure(code, Some(message)) => {
            if HARMLESS.iter().any(|known| message.starts_with(known)) {
                message.clone()
            } else {
                // The code's own name, which SQLite keeps for each.
                rusqlite::Error::SqliteFailure(*code, None).to_string()
            }
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => {
            if HARMLESS.iter().any(|known| msg.starts_with(known)) {
                msg.clone()
            } else {
                rusqlite::Error::SqliteFailure(*error, None).to_string()
            }
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => "a value is not of the type that it should be".into(),
        other => other.to_string(),
    }
}
