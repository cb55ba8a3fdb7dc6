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
use super::own_lock::OwnLock;
use crate::row_values::DisagreeingValues;
use crate::sqlite_state::{
    BrokenRule, Coverage, DamagedObject, IndexComparison, Integrity, IntegrityFault, Mode, Slicing,
    SoundTables, Space, Unjudged, UnjudgedPart,
};
use messages::{Run, Schema};

pub use super::connection::{Access, quoted};

mod ahead;
mod application;
mod compare;
mod definition;
mod digits;
mod disagreements;
mod encoding;
mod full_text;
mod incremental;
mod messages;
mod objects;
mod partial;
mod rules;
mod sample;
mod schema_entries;
mod shape;
mod slices;
mod values;
mod virtuals;

pub use compare::{Compared, compare, rows_of};
use disagreements::{compare_damaged, leave_key_order_to_application};
pub use full_text::against_rebuild;
pub use incremental::Proven;
pub use slices::Slices;
pub use virtuals::{FullTextTable, full_text};

/// What stands above the faults of a database's trees.
const HEADLINE: &str = "*** in database ";

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
#[derive(Debug, Clone, Default)]
struct Gathered {
    faults: Vec<IntegrityFault>,
    comparisons: Vec<IndexComparison>,
    values: Vec<DisagreeingValues>,
    coverage: Option<Coverage>,
    broken_rules: Vec<BrokenRule>,
    rules_checked: bool,
    unjudged: BTreeSet<Unjudged>,
    space: Option<Space>,
    sound_tables: Option<SoundTables>,
    /// Unique indexes of which a key has several entries, with their tables.
    shared: BTreeSet<(String, String)>,
}

impl Gathered {
    /// Adds what a run of a pragma said, unless it is known.
    fn take(&mut self, said: Run) {
        for rule in said.broken_rules() {
            let known = self.broken_rules.iter_mut().find(|known| {
                (known.rule, &known.table, &known.columns)
                    == (rule.rule, &rule.table, &rule.columns)
            });
            match known {
                Some(known) => known.rows = known.rows.max(rule.rows),
                None => self.broken_rules.push(rule),
            }
        }
        for fault in said.faults {
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
        self.shared.extend(said.shared);
        for (table, why) in said.unjudged {
            self.unjudged(UnjudgedPart::VirtualTable, &table, &why);
        }
    }

    /// Adds what was found of another object.
    fn join(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.comparisons.extend(other.comparisons);
        self.values.extend(other.values);
        self.broken_rules.extend(other.broken_rules);
        self.unjudged.extend(other.unjudged);
        self.shared.extend(other.shared);
    }

    fn compared(&mut self, compared: Compared) {
        let is_known = |known: &IndexComparison| known.index == compared.comparison.index;
        if !self.comparisons.iter().any(is_known) {
            self.comparisons.push(compared.comparison);
            self.values.extend(compared.values);
        }
    }

    fn unjudged(&mut self, part: UnjudgedPart, name: &str, reason: &str) {
        self.unjudged.insert(Unjudged {
            part,
            name: name.to_owned(),
            reason: reason.to_owned(),
        });
    }
}

/// Checks a database. What keeps the check from being made is in [`Integrity::error`].
pub fn check(path: &Path, access: Access, check: Check) -> Checked {
    made(path, access, check, |connection, _, found| {
        let Mode::Sampled { seed } = check.mode else {
            // One moment for the check and the comparisons.
            let _transaction = connection.unchecked_transaction()?;
            run(connection, check, found)?;
            leave_key_order_to_application(connection, found);
            if check.mode == Mode::Full {
                compare_damaged(connection, found);
                rules::examine(connection, found);
            }
            return Ok(());
        };
        let time = check
            .deadline
            .map_or(sample::BUDGET, |time| time.min(sample::BUDGET));
        connection.busy_timeout(sample::PATIENCE)?;
        let most = usize::try_from(check.max_faults).unwrap_or(usize::MAX);
        let mut ends = sample::Ends::new();
        let bounds = sample::Bounds {
            time,
            rows: if time < sample::BUDGET {
                sample::read_ahead(path, seed, &mut ends)
            } else {
                u64::MAX
            },
            faults: most,
        };
        let lock = OwnLock::with(access, "sample");
        let coverage = sample::run(connection, seed, bounds, &mut ends, &mut found.faults)?;
        drop(lock);
        found.coverage = Some(coverage);
        // A sample finds an entry by the order of its index. Where that is the application's, only a
        // full check tells.
        found.faults.retain(|fault| match &fault.object {
            DamagedObject::Index { index, table, .. } => {
                !compare::is_left_to_application(connection, index, table)
            }
            _ => true,
        });
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
        run(connection, check, found)?;
        leave_key_order_to_application(connection, found);
        compare_damaged(connection, found);
        rules::examine(connection, found);
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
        let lock = OwnLock::with(access, "incremental check");
        let tables = incremental::run(connection, proven, touched, check, found)?;
        leave_key_order_to_application(connection, found);
        compare_damaged(connection, found);
        drop(transaction);
        drop(lock);
        found.coverage = Some(Coverage {
            tables,
            ..Coverage::default()
        });
        Ok(())
    })
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
    let told = |error: &rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => {
            format!("stopped after {} ms", begin.elapsed().as_millis())
        }
        _ => without_values(error),
    };
    let error = open(path, access, check.deadline())
        .and_then(|connection| work(&connection, begin, &mut found))
        .err()
        .and_then(|error| {
            let Some(object) = broken_object(&error) else {
                return Some(told(&error));
            };
            if object == DamagedObject::Schema {
                match schema_entries::examine(path, access, check, &error, &mut found) {
                    Ok(true) => return None,
                    Err(error) if !found.faults.is_empty() => return Some(told(&error)),
                    Ok(false) | Err(_) => {}
                }
            }
            // Every tree was walked before SQLite gave up on a damaged one that it has named.
            if found.faults.is_empty() {
                found.faults.push(IntegrityFault {
                    object,
                    message: without_values(&error),
                });
            }
            None
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
            broken_rules: found.broken_rules,
            rules_checked: found.rules_checked,
            unjudged: found.unjudged.into_iter().collect(),
            space: found.space,
            sound_tables: found.sound_tables,
        },
        values: found.values,
    }
}

impl Check {
    fn deadline(&self) -> Option<Duration> {
        match self.mode {
            // Its own time begins when it has its lock.
            Mode::Sampled { .. } => Some(sample::PATIENCE + sample::BUDGET),
            Mode::Quick | Mode::Full | Mode::Incremental | Mode::Sliced => self.deadline,
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

/// What an open connection sees, inside its transaction if it has one, and what could not be judged. The
/// deadline is the connection's own.
///
/// # Errors
///
/// SQLite's own.
pub fn faults(
    connection: &Connection,
    check: Check,
) -> rusqlite::Result<(Vec<IntegrityFault>, BTreeSet<Unjudged>)> {
    let mut found = Gathered::default();
    run(connection, check, &mut found)?;
    settle(&mut found.faults);
    Ok((found.faults, found.unjudged))
}

fn run(connection: &Connection, check: Check, found: &mut Gathered) -> rusqlite::Result<()> {
    // A connection that may not write does not load them, another one does: they are looked at
    // apart, and the same everywhere.
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    let schema = Schema::read(connection)?;
    found.name_virtuals(&schema);
    if check.mode == Mode::Full {
        found.space = Some(space(connection)?);
    }
    match whole(connection, &schema, check, found) {
        Err(error)
            if is_damage(&error)
                || is_out_of_memory(&error)
                || objects::concerns_an_object(&error) =>
        {
            objects::run(connection, &schema, check, found)?;
        }
        other => other?,
    }
    full_text::settle(connection, &schema, found)?;
    if check.mode == Mode::Full {
        full_text::note_documents_without_row(connection, &schema, found)?;
        partial::count(connection, found)?;
        found.sound_tables = sound_tables(connection, &schema, check, found)?;
    }
    rules::settle_shared(connection, found)
}

/// Names of sound tables that are told.
const MOST_SOUND_NAMED: usize = 10;

/// The tables against which nothing was found, where one is damaged and all were looked at.
fn sound_tables(
    connection: &Connection,
    schema: &Schema,
    check: Check,
    found: &mut Gathered,
) -> rusqlite::Result<Option<SoundTables>> {
    settle(&mut found.faults);
    let objects = || found.faults.iter().map(|fault| &fault.object);
    let is_whole = found.faults.len() < check.most_faults()
        && !objects().any(|object| matches!(object, DamagedObject::Schema | DamagedObject::Pages));
    if !is_whole || !objects().any(|object| matches!(object, DamagedObject::Table { .. })) {
        return Ok(None);
    }
    let unjudged = found.unjudged.iter().map(|one| one.name.as_str());
    let odd: BTreeSet<&str> = objects()
        .filter_map(DamagedObject::table)
        .chain(unjudged)
        .collect();
    let mut sound = SoundTables::default();
    for table in objects::names(connection)? {
        let is_part = schema.virtuals.iter().any(|one| one.derives(&table));
        if odd.contains(table.as_str()) || is_part {
            continue;
        }
        sound.count += 1;
        if sound.names.len() < MOST_SOUND_NAMED {
            sound.names.push(table);
        }
    }
    Ok(Some(sound))
}

fn space(connection: &Connection) -> rusqlite::Result<Space> {
    /// `auto_vacuum` as the pragma gives it.
    const INCREMENTAL: u64 = 2;
    let number = |pragma: &str| {
        let sql = format!("PRAGMA main.{pragma}");
        let value: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        Ok::<u64, rusqlite::Error>(u64::try_from(value).unwrap_or(0))
    };
    Ok(Space {
        pages: number("page_count")?,
        free_pages: number("freelist_count")?,
        page_bytes: number("page_size")?,
        incremental_vacuum: number("auto_vacuum")? == INCREMENTAL,
    })
}

/// Runs the check of the whole database.
fn whole(
    connection: &Connection,
    schema: &Schema,
    check: Check,
    found: &mut Gathered,
) -> rusqlite::Result<()> {
    let most = check.most_faults();
    let pragma = |limit: usize| format!("PRAGMA main.{}({limit})", check.pragma());
    let compiled = connection.prepare(&pragma(most)).map(drop);
    if let Err(error) = compiled {
        if objects::concerns_an_object(&error) {
            found.unjudged(UnjudgedPart::Pages, "", &without_values(&error));
        }
        return Err(error);
    }
    let mut said = Run::default();
    let collected = said.collect(connection, schema, &pragma(most), most);
    let is_cut = said.messages >= most as u64;
    found.take(said);
    collected?;
    if is_cut && found.faults.len() < most {
        // Rows that break rules must not hide damage. What the trees say comes in one text, which
        // by now is known not to be long.
        let mut said = Run::default();
        let limit = i32::MAX.unsigned_abs() as usize;
        let collected = said.collect(connection, schema, &pragma(limit), most);
        found.take(said);
        collected?;
    }
    Ok(())
}

impl Gathered {
    /// Names the virtual tables that cannot be examined, and those whose tables are gone.
    fn name_virtuals(&mut self, schema: &Schema) {
        for one in &schema.virtuals {
            if let Some(unjudged) = one.unknown_module() {
                self.unjudged.insert(unjudged);
            } else if let Some(first) = one.missing.first() {
                let fault = IntegrityFault {
                    object: one.broken(),
                    message: format!("its table {first} is gone"),
                };
                if !self.faults.contains(&fault) {
                    self.faults.push(fault);
                }
            }
        }
    }
}

impl Check {
    /// The pragma that makes it.
    fn pragma(&self) -> &'static str {
        match self.mode {
            Mode::Quick => "quick_check",
            // A part is no substitute here: what is asked is what the whole is like.
            Mode::Full | Mode::Sampled { .. } | Mode::Incremental | Mode::Sliced => {
                "integrity_check"
            }
        }
    }

    fn most_faults(&self) -> usize {
        usize::try_from(self.max_faults.max(1)).unwrap_or(usize::MAX)
    }
}

/// Whether an error says that something is damaged.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Whether an error says that there was not enough memory. FTS5 asks for as much as a damaged length says.
fn is_out_of_memory(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OutOfMemory)
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

/// Whether SQLite could build the index again: it must know its collations and functions. Only
/// compiled, never run.
fn rebuildable(connection: &Connection, index: &str) -> bool {
    connection
        .prepare(&format!("EXPLAIN REINDEX main.{}", quoted(index)))
        .is_ok()
}

#[cfg(test)]
mod full_text_tests;
#[cfg(test)]
mod judging_tests;
#[cfg(test)]
mod lost_rows_tests;
#[cfg(test)]
mod own_ways_tests;
#[cfg(test)]
mod schema_entries_tests;
#[cfg(test)]
mod tests;
