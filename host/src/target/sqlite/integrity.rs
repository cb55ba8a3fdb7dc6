//! SQLite's own integrity check, and to which object each of its messages belongs.
//!
//! Runs in the process that may have SQLite connections. It writes nothing to the database in
//! place; where SQLite would have to (recovery of a log or a journal), the check is made on a copy.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};
use serde::{Deserialize, Serialize};

use super::connection::{open, without_values};
use super::{Coverage, DamagedObject, IndexComparison, Integrity, IntegrityFault};

pub use super::connection::{Access, quoted};

mod compare;
mod incremental;
mod sample;
mod shape;
mod values;

pub use compare::{Compared, compare, rows_of};
pub use incremental::Proven;
pub use values::{DisagreeingValues, ShownValue};

/// What stands above the faults of a database's trees.
const HEADLINE: &str = "*** in database ";

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

/// What a check found, and apart from it what only a person may see.
#[derive(Debug)]
pub struct Checked {
    /// Without any value of a row.
    pub integrity: Integrity,
    /// The values of rows and entries that disagree.
    pub values: Vec<DisagreeingValues>,
}

/// What is gathered while a check runs; it counts even when the check is cut off.
#[derive(Debug, Default)]
struct Gathered {
    faults: Vec<IntegrityFault>,
    comparisons: Vec<IndexComparison>,
    values: Vec<DisagreeingValues>,
    coverage: Option<Coverage>,
}

/// Checks a database. What keeps the check from being made is in [`Integrity::error`].
pub fn check(path: &Path, access: Access, check: Check) -> Checked {
    made(path, access, check, |connection, begun, found| {
        let Mode::Sampled { seed } = check.mode else {
            // One moment for the check and the comparisons.
            let _transaction = connection.unchecked_transaction()?;
            run(connection, check, &mut found.faults)?;
            if check.mode == Mode::Full {
                compare_damaged(connection, found);
            }
            return Ok(());
        };
        connection.busy_timeout(sample::BUDGET / 4)?;
        let most = usize::try_from(check.max_faults).unwrap_or(usize::MAX);
        let coverage = sample::run(connection, seed, begun, &mut found.faults, most)?;
        found.coverage = Some(coverage);
        Ok(())
    })
}

/// Checks everything, and keeps account of what was proven when all is well, for
/// [`check_changed`].
pub fn check_and_prove(path: &Path, access: Access, check: Check) -> (Checked, Option<Proven>) {
    let mut proven = None;
    let checked = made(path, access, check, |connection, _, found| {
        // One moment for the check and the account.
        let _transaction = connection.unchecked_transaction()?;
        run(connection, check, &mut found.faults)?;
        compare_damaged(connection, found);
        if found.faults.is_empty() {
            // Without an account the check still counts.
            proven = Proven::take(connection).ok().flatten();
        }
        Ok(())
    });
    (checked, proven)
}

/// Checks the tables in which one of these pages lies, and renews the account when all is well.
pub fn check_changed(
    path: &Path,
    access: Access,
    check: Check,
    proven: &mut Proven,
    touched: &BTreeSet<u32>,
) -> Checked {
    made(path, access, check, |connection, _, found| {
        let transaction = connection.unchecked_transaction()?;
        let tables = incremental::run(connection, proven, touched, check, &mut found.faults)?;
        compare_damaged(connection, found);
        drop(transaction);
        found.coverage = Some(Coverage {
            tables,
            ..Coverage::default()
        });
        Ok(())
    })
}

/// Indexes that are compared in one check; others wait until these are mended.
const MOST_COMPARED: usize = 32;

/// Compares each index with a fault with its table: whether the index or the row is wrong is
/// nothing that the check itself knows.
fn compare_damaged(connection: &Connection, found: &mut Gathered) {
    let damaged: BTreeSet<(&str, &str)> = found
        .faults
        .iter()
        .filter_map(|fault| match &fault.object {
            DamagedObject::Index { index, table, .. } => Some((index.as_str(), table.as_str())),
            _ => None,
        })
        .collect();
    for (index, table) in damaged.into_iter().take(MOST_COMPARED) {
        let compared = compare(connection, index, table).unwrap_or_else(|error| Compared {
            comparison: IndexComparison {
                index: index.to_owned(),
                table: table.to_owned(),
                unproven: Some(match error.sqlite_error_code() {
                    Some(ErrorCode::OperationInterrupted) => {
                        "the time for the check was over before its entries were compared".into()
                    }
                    _ => without_values(&error),
                }),
                ..IndexComparison::default()
            },
            values: Vec::new(),
        });
        found.comparisons.push(compared.comparison);
        found.values.extend(compared.values);
    }
}

/// Opens a connection, has the work done, and says what came of it.
fn made(
    path: &Path,
    access: Access,
    check: Check,
    work: impl FnOnce(&Connection, Instant, &mut Gathered) -> rusqlite::Result<()>,
) -> Checked {
    let begin = Instant::now();
    let mut found = Gathered::default();
    let error = open(path, access, check.deadline())
        .and_then(|connection| work(&connection, begin, &mut found))
        .err()
        .and_then(|error| match broken_object(&error) {
            Some(object) => {
                // Every tree was walked before SQLite gave up on a damaged one that it has named.
                if found.faults.is_empty() {
                    found.faults.push(IntegrityFault {
                        object,
                        message: without_values(&error),
                    });
                }
                None
            }
            None => Some(match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => {
                    format!("stopped after {} ms", begin.elapsed().as_millis())
                }
                _ => without_values(&error),
            }),
        });
    settle(&mut found.faults);
    found.faults.dedup();
    Checked {
        integrity: Integrity {
            mode: check.mode,
            duration_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            faults: found.faults,
            error,
            coverage: found.coverage,
            comparisons: found.comparisons,
            sound_alone: None,
        },
        values: found.values,
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
        // The faults of the trees come in one row, under a headline, and name nothing but pages. In
        // every other row a line break is one of a name.
        let one = [text.as_str()];
        let lines: Vec<&str> = if text.starts_with(HEADLINE) {
            text.lines().collect()
        } else {
            one.to_vec()
        };
        for line in lines {
            if line != "ok" && !line.is_empty() && !line.starts_with(HEADLINE) {
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
