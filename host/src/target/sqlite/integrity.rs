//! SQLite's own integrity check, and to which object each of its messages belongs.
//!
//! Runs in the process that may have SQLite connections. It writes nothing to the database in
//! place; where SQLite would have to (recovery of a log or a journal), the check is made on a copy.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};

use super::{Coverage, DamagedObject, Integrity, IntegrityFault};

mod incremental;
mod sample;

pub use incremental::Proven;

/// How long to wait for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Virtual machine instructions between two looks at the deadline.
const PROGRESS_OPS: i32 = 10_000;

/// How thorough a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `PRAGMA quick_check`: every tree, but not whether the indexes agree with their tables.
    Quick,
    /// `PRAGMA integrity_check`: everything, the indexes' content included.
    Full,
    /// A sample of the rows with their indexes, in under 100 ms whatever the size.
    Sampled {
        /// The seed of the generator that draws: the same seed on the same database draws the same
        /// rows, as far as time allows.
        seed: u64,
    },
    /// The tables in which something was written since they were proven.
    Incremental,
}

/// How the database is opened.
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
}

/// What to check, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// How thorough.
    pub mode: Mode,
    /// At how many faults to stop; at least 1.
    pub max_faults: u32,
    /// How long it may take; none: as long as it takes.
    pub deadline: Option<Duration>,
}

/// Checks a database. What keeps the check from being made is in [`Integrity::error`].
pub fn check(path: &Path, access: Access, check: Check) -> Integrity {
    made(path, access, check, |connection, begun, faults| {
        let Mode::Sampled { seed } = check.mode else {
            return run(connection, check, faults).map(|()| None);
        };
        connection.busy_timeout(sample::BUDGET / 4)?;
        let most = usize::try_from(check.max_faults).unwrap_or(usize::MAX);
        sample::run(connection, seed, begun, faults, most).map(Some)
    })
}

/// Checks everything, and keeps account of what was proven when all is well, for
/// [`check_changed`].
pub fn check_and_prove(path: &Path, access: Access, check: Check) -> (Integrity, Option<Proven>) {
    let mut proven = None;
    let integrity = made(path, access, check, |connection, _, faults| {
        // One moment for the check and the account.
        let _transaction = connection.unchecked_transaction()?;
        run(connection, check, faults)?;
        if faults.is_empty() {
            // Without an account the check still counts.
            proven = Proven::take(connection).ok().flatten();
        }
        Ok(None)
    });
    (integrity, proven)
}

/// Checks the tables in which one of these pages lies, and renews the account when all is well.
pub fn check_changed(
    path: &Path,
    access: Access,
    check: Check,
    proven: &mut Proven,
    touched: &BTreeSet<u32>,
) -> Integrity {
    made(path, access, check, |connection, _, faults| {
        let tables = incremental::run(connection, proven, touched, check, faults)?;
        Ok(Some(Coverage {
            tables,
            ..Coverage::default()
        }))
    })
}

/// Opens a connection, has the work done, and says what came of it.
fn made(
    path: &Path,
    access: Access,
    check: Check,
    work: impl FnOnce(
        &Connection,
        Instant,
        &mut Vec<IntegrityFault>,
    ) -> rusqlite::Result<Option<Coverage>>,
) -> Integrity {
    let begin = Instant::now();
    let mut faults = Vec::new();
    let mut coverage = None;
    let error = open(path, access, check.deadline())
        .and_then(|connection| {
            coverage = work(&connection, begin, &mut faults)?;
            Ok(())
        })
        .err()
        .and_then(|error| match broken_object(&error) {
            Some(object) => {
                // Every tree was walked before SQLite gave up on a damaged one that it has named.
                if faults.is_empty() {
                    faults.push(IntegrityFault {
                        object,
                        message: error.to_string(),
                    });
                }
                None
            }
            None => Some(match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => {
                    format!("stopped after {} ms", begin.elapsed().as_millis())
                }
                _ => error.to_string(),
            }),
        });
    settle(&mut faults);
    faults.dedup();
    Integrity {
        mode: check.mode,
        duration_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        faults,
        error,
        coverage,
    }
}

impl Check {
    fn deadline(&self) -> Option<Duration> {
        match self.mode {
            Mode::Sampled { .. } => {
                Some(self.deadline.unwrap_or(sample::BUDGET).min(sample::BUDGET))
            }
            Mode::Quick | Mode::Full | Mode::Incremental => self.deadline,
        }
    }
}

/// Opens a connection as a check does.
///
/// # Errors
///
/// SQLite's own.
pub fn open(
    path: &Path,
    access: Access,
    deadline: Option<Duration>,
) -> rusqlite::Result<Connection> {
    let mut connection = match access {
        Access::InPlace => Connection::open_with_flags(
            uri(path, "mode=ro&readonly_shm=1"),
            OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_URI
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
        Access::Alone => Connection::open_with_flags(
            uri(path, "immutable=1"),
            OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_URI
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
        Access::Copy => Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if let Some(deadline) = deadline {
        let begin = Instant::now();
        connection.progress_handler(PROGRESS_OPS, Some(move || begin.elapsed() > deadline))?;
    }
    Ok(connection)
}

/// Reads every row and every column of a table from its own tree, no index used, and counts rows.
///
/// # Errors
///
/// SQLite's own: [`ErrorCode::DatabaseCorrupt`] when the tree is damaged.
pub fn table_clean(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    let sql = format!("SELECT * FROM main.{} NOT INDEXED", quoted(table));
    let mut statement = connection.prepare(&sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            // Reading the value is what reads its overflow pages.
            row.get_ref(column)?;
        }
        count += 1;
    }
    Ok(count)
}

/// `name` as an SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
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

/// What an open connection sees, inside its transaction if it has one. The deadline is the
/// connection's own.
///
/// # Errors
///
/// SQLite's own.
pub fn faults(connection: &Connection, check: Check) -> rusqlite::Result<Vec<IntegrityFault>> {
    let mut faults = Vec::new();
    run(connection, check, &mut faults)?;
    settle(&mut faults);
    Ok(faults)
}

fn run(
    connection: &Connection,
    check: Check,
    faults: &mut Vec<IntegrityFault>,
) -> rusqlite::Result<()> {
    let schema = Schema::read(connection)?;
    let pragma = match check.mode {
        Mode::Quick => "quick_check",
        // A part is no substitute here: what is asked is what the whole is like.
        Mode::Full | Mode::Sampled { .. } | Mode::Incremental => "integrity_check",
    };
    let pragma = format!("PRAGMA main.{pragma}({})", check.max_faults.max(1));
    collect(connection, &schema, &pragma, faults)
}

/// Runs a pragma of the kind and lays what it says to the objects.
fn collect(
    connection: &Connection,
    schema: &Schema,
    pragma: &str,
    faults: &mut Vec<IntegrityFault>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(pragma)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        // The faults of the trees come in one row, under a headline.
        for line in text.lines() {
            if line != "ok" && !line.is_empty() && !line.starts_with("*** in database ") {
                faults.push(IntegrityFault {
                    object: schema.object_of(connection, line),
                    message: line.to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Lays messages about bare pages to the damaged tree that they come from (pages that no tree
/// reaches any more to the tree that lost them), and calls an index whose
/// tree is damaged not rebuildable: `REINDEX` walks the old tree to clear it, and fails there.
fn settle(faults: &mut [IntegrityFault]) {
    let is_tree = |fault: &IntegrityFault| {
        fault.message.starts_with("Tree ") && fault.object != DamagedObject::Pages
    };
    let broken: Vec<DamagedObject> = faults
        .iter()
        .filter(|fault| is_tree(fault))
        .map(|fault| fault.object.clone())
        .collect();
    // A table weighs more than an index: its rows may be among those pages.
    let loser = broken
        .iter()
        .find(|object| !matches!(object, DamagedObject::Index { .. }))
        .or_else(|| broken.first());
    let pages: Vec<(String, DamagedObject)> = faults
        .iter()
        .filter(|fault| is_tree(fault))
        .filter_map(|fault| Some((tree_page(&fault.message)?.to_owned(), fault.object.clone())))
        .collect();
    for fault in faults {
        if fault.object == DamagedObject::Pages {
            if fault.message.ends_with(": never used") {
                fault.object = loser.cloned().unwrap_or(DamagedObject::Pages);
            } else if let Some((_, page)) = fault.message.rsplit_once(" page ")
                && let Some((_, owner)) = pages.iter().find(|(known, _)| known == page)
            {
                fault.object = owner.clone();
            }
        }
        let is_broken = broken.contains(&fault.object);
        if let DamagedObject::Index { rebuildable, .. } = &mut fault.object {
            *rebuildable &= !is_broken;
        }
    }
}

/// The page number in "Tree 5 page 7 cell 3: ..." or "Tree 5 page 7: ...".
fn tree_page(message: &str) -> Option<&str> {
    message.split(' ').nth(3)?.split(':').next()
}

/// What is broken when SQLite refuses altogether; none when the error is of another kind.
fn broken_object(error: &rusqlite::Error) -> Option<DamagedObject> {
    match error.sqlite_error_code()? {
        ErrorCode::DatabaseCorrupt if error.to_string().contains("malformed database schema") => {
            Some(DamagedObject::Schema)
        }
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => Some(DamagedObject::Pages),
        _ => None,
    }
}

/// The tables and indexes, as the messages name them.
#[derive(Debug, Default)]
struct Schema {
    objects: Vec<(DamagedObject, Option<u32>)>,
}

impl Schema {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement =
            connection.prepare("SELECT type, name, tbl_name, rootpage FROM main.sqlite_schema")?;
        let mut rows = statement.query([])?;
        let mut objects = vec![(DamagedObject::Schema, Some(1))];
        while let Some(row) = rows.next()? {
            let (kind, name, table): (String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let object = match kind.as_str() {
                "table" => DamagedObject::Table { table },
                "index" => DamagedObject::Index {
                    rebuildable: rebuildable(connection, &name),
                    index: name,
                    table,
                },
                _ => continue,
            };
            objects.push((object, row.get(3)?));
        }
        Ok(Self { objects })
    }

    fn object_of(&self, connection: &Connection, message: &str) -> DamagedObject {
        self.by_tree(message)
            .or_else(|| self.by_index(message))
            .or_else(|| self.by_table(message))
            .or_else(|| self.by_page(connection, message))
            .cloned()
            .unwrap_or(DamagedObject::Pages)
    }

    /// "Tree 5 page 7 cell 3: ...": the number is the root page.
    fn by_tree(&self, message: &str) -> Option<&DamagedObject> {
        let number = message.strip_prefix("Tree ")?.split(' ').next()?;
        let root: u32 = number.parse().ok()?;
        self.objects
            .iter()
            .find(|(_, page)| *page == Some(root))
            .map(|(object, _)| object)
    }

    /// "Multiple uses for byte 644 of page 11", "Fragmentation of 3 bytes reported as 0 on page 11".
    fn by_page(&self, connection: &Connection, message: &str) -> Option<&DamagedObject> {
        if !message.starts_with("Multiple uses ") && !message.starts_with("Fragmentation ") {
            return None;
        }
        let page: i64 = message.rsplit_once(" page ")?.1.parse().ok()?;
        let owner: String = connection
            .query_row("SELECT name FROM dbstat WHERE pageno=?", [page], |row| {
                row.get(0)
            })
            .ok()?;
        self.find(|object| match object {
            DamagedObject::Index { index, .. } => *index == owner,
            DamagedObject::Table { table } => *table == owner,
            DamagedObject::Schema => owner == "sqlite_schema",
            DamagedObject::Pages => false,
        })
    }

    fn by_index(&self, message: &str) -> Option<&DamagedObject> {
        let after_row = |marker| {
            let is_row = message.starts_with("row ") || message.starts_with("rowid ");
            message.split_once(marker).filter(|_| is_row)
        };
        let name = message
            .strip_prefix("wrong # of entries in index ")
            .or_else(|| message.strip_prefix("non-unique entry in index "))
            .or_else(|| Some(after_row(" missing from index ")?.1))
            .or_else(|| Some(after_row(" values differ from index ")?.1))
            .or_else(|| Some(after_row(" of index ")?.1))
            .or_else(|| {
                let (name, _) = message
                    .strip_prefix("index ")?
                    .split_once(" stores an imprecise floating-point value")?;
                Some(name)
            })?;
        self.find(|object| matches!(object, DamagedObject::Index { index, .. } if index == name))
    }

    fn by_table(&self, message: &str) -> Option<&DamagedObject> {
        let column = ["NULL", "NUMERIC", "TEXT", "non-"].iter().find_map(|kind| {
            let (_, column) = message.strip_prefix(kind)?.split_once(" value in ")?;
            Some(column)
        });
        if let Some(column) = column {
            // "table.column", and both may hold dots: the longest table that fits.
            return self
                .objects
                .iter()
                .map(|(object, _)| object)
                .filter_map(|object| match object {
                    DamagedObject::Table { table } => {
                        let rest = column.strip_prefix(table.as_str())?;
                        rest.starts_with('.').then_some((table.len(), object))
                    }
                    _ => None,
                })
                .max_by_key(|(length, _)| *length)
                .map(|(_, object)| object);
        }
        let name = message
            .strip_prefix("CHECK constraint failed in ")
            .or_else(|| message.strip_prefix("row not in PRIMARY KEY order for "))
            // The words of the full-text and r-tree modules.
            .or_else(|| Some(message.rsplit_once(" table main.")?.1))?;
        self.find(|object| matches!(object, DamagedObject::Table { table } if table == name))
    }

    fn find(&self, wanted: impl Fn(&DamagedObject) -> bool) -> Option<&DamagedObject> {
        self.objects
            .iter()
            .map(|(object, _)| object)
            .find(|object| wanted(object))
    }
}

/// Whether SQLite could build the index again: it must know its collations and functions. Only
/// compiled, never run.
fn rebuildable(connection: &Connection, index: &str) -> bool {
    connection
        .prepare(&format!("EXPLAIN REINDEX main.{}", quoted(index)))
        .is_ok()
}

#[cfg(test)]
mod tests;
