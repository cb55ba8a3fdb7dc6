//! The full check in rollback mode, where whoever reads keeps writers from committing: in slices of a
//! few milliseconds, each in a transaction of its own.
//!
//! What it proves: each row can be read, rows lie in the order of their numbers, each row has its entry
//! in each index, and each entry has its row. Writers may write in between: what they wrote behind the
//! place that was reached is left to the next check. What it does not prove: that each page belongs to
//! exactly one object, which only one moment of the whole file tells, and rules of the schema but in
//! small tables.
//!
//! A slice is given up as soon as somebody begins to write, so that a commit seldom meets one. A writer
//! with a busy timeout then waits for a moment; one without fails. So while others commit, slices take a
//! small part of the time, and more only where they are seen to keep nobody from committing.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, ffi};

use super::ahead::Ahead;
use super::messages::Schema;
use super::shape::Shape;
use super::values::Owned;
use super::{
    Access, Check, Checked, Coverage, DamagedObject, Gathered, IntegrityFault, Slicing,
    UnjudgedPart, compare_damaged, is_damage, leave_key_order_to_application, objects, open,
    quoted, rules, settle, without_values,
};
use crate::sqlite::own_lock::OwnLock;
use crate::sqlite::writers::Writers;
use crate::sqlite_state::Integrity;
use entries::Entries;
use rows::Rows;
use small::whole_table;
use turns::{LIMIT, Limits, Slice, Turns, WRITER_PAUSE, micros};

mod entries;
mod rows;
mod small;
mod turns;

/// Instructions between two looks at the time and the writers: about 0.1 ms.
const PROGRESS_OPS: i32 = 2000;
/// How long reading the schema may take at most, and no table can be looked at without it. It begins with
/// [`LIMIT`] and has more time each time that it was not enough.
const MOST_PLAN: Duration = Duration::from_millis(200);
/// How long is read ahead of a slice.
const READ_AHEAD: Duration = Duration::from_millis(10);
/// How long nothing can be read before the check is given up for this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Slices in a row that come no further before an object is left.
const MOST_STUCK: u32 = 40;
/// Faults of one object that are told one by one.
const MOST_TOLD: usize = 1000;

/// A check under way.
pub struct Slices {
    check: Check,
    begun: Instant,
    /// Since when nothing could be read; none when the last slice could.
    refused_since: Option<Instant>,
    schema_version: Option<i64>,
    /// What stands in it.
    schema: Schema,
    /// How long reading it may take.
    plan_limit: Duration,
    turns: Turns,
    work: VecDeque<Work>,
    /// Tables that were begun and ended.
    done: BTreeSet<String>,
    found: Gathered,
    coverage: Coverage,
    slicing: Slicing,
}

/// What is read from one place to the next.
#[derive(Clone)]
enum Work {
    /// A table that may be checked whole.
    Table(String),
    Rows(Rows),
    Entries(Entries),
}

impl Work {
    fn table(&self) -> &str {
        match self {
            Self::Table(table) => table,
            Self::Rows(rows) => &rows.table,
            Self::Entries(entries) => &entries.table,
        }
    }

    /// Reads on from the place that was reached.
    fn go_on(
        &mut self,
        slice: &Slice<'_>,
        check: Check,
        schema: &Schema,
        found: &mut Gathered,
        coverage: &mut Coverage,
    ) -> rusqlite::Result<Came> {
        match self {
            Self::Table(table) => {
                whole_table(slice.connection, check, schema, table, found, coverage)
            }
            Self::Rows(rows) => rows.slice(slice, found, coverage),
            Self::Entries(entries) => entries.slice(slice, found, coverage),
        }
    }

    /// Takes an error that is about this object: it is damaged, or cannot be judged.
    ///
    /// # Errors
    ///
    /// The error itself, where it is about more than one object.
    fn take_error(&self, error: rusqlite::Error, found: &mut Gathered) -> rusqlite::Result<()> {
        let words = without_values(&error);
        let (part, name) = match self {
            Self::Entries(entries) => (UnjudgedPart::Index, entries.index.as_str()),
            Self::Table(table) => (UnjudgedPart::Table, table.as_str()),
            Self::Rows(rows) => (UnjudgedPart::Table, rows.table.as_str()),
        };
        if is_damage(&error) {
            let object = match self {
                Self::Entries(entries) => entries.damaged(false),
                _ => DamagedObject::Table {
                    table: name.to_owned(),
                },
            };
            tell(found, object, words);
        } else if objects::concerns_an_object(&error) {
            found.unjudged(part, name, &words);
        } else {
            return Err(error);
        }
        Ok(())
    }
}

/// Why reading ended before its end.
enum Stop {
    /// It was far enough.
    Here,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What a slice came to.
enum Came {
    /// To the end of its object; what follows from it is to be done next.
    Ended(Vec<Work>),
    /// Further, or not at all.
    On { further: bool },
}

/// Reads each row of a table with numbered rows, and each entry of its indexes, where SQLite's own check
/// breaks off at a row that it cannot read: what cannot be read is named and stepped over. Stops between
/// two objects when there are so many faults. Takes as long as it takes.
///
/// # Errors
///
/// SQLite's own where it concerns all of the database: it is busy, or the time is over.
pub(super) fn read_through(
    connection: &Connection,
    table: &str,
    found: &mut Gathered,
    most_faults: usize,
) -> rusqlite::Result<()> {
    let limits = Limits::of(None);
    let slice = Slice::without_end(connection, &limits);
    let mut coverage = Coverage::default();
    for mut work in small::parts(connection, table, true)? {
        loop {
            let came = match &mut work {
                Work::Table(_) => break,
                Work::Rows(rows) => rows.slice(&slice, found, &mut coverage),
                Work::Entries(entries) => entries.slice(&slice, found, &mut coverage),
            };
            match came {
                Ok(Came::On { .. }) => {}
                Ok(Came::Ended(_)) => break,
                Err(error) => {
                    work.take_error(error, found)?;
                    break;
                }
            }
        }
        if found.faults.len() >= most_faults {
            break;
        }
    }
    Ok(())
}

impl Slices {
    /// A check that has read nothing yet.
    pub fn new(check: Check) -> Self {
        Self {
            check,
            begun: Instant::now(),
            refused_since: None,
            schema_version: None,
            schema: Schema::default(),
            plan_limit: LIMIT,
            turns: Turns::new(),
            work: VecDeque::new(),
            done: BTreeSet::new(),
            found: Gathered::default(),
            coverage: Coverage::default(),
            slicing: Slicing::default(),
        }
    }

    /// Goes on for about so long; true when nothing is left. The process must have no connection to the
    /// database open.
    ///
    /// # Errors
    ///
    /// In words: the database cannot be read now. The check may go on later.
    pub fn go_on(&mut self, database: &Path, time: Duration) -> Result<bool, String> {
        // It is closed after the connection: see [`Writers`].
        let writers = Writers::of(database).map_err(|error| error.to_string())?;
        let limits = Arc::new(Limits::of(writers));
        let words = |error: rusqlite::Error| without_values(&error);
        let mut connection = match open(database, Access::InPlace, None) {
            Ok(connection) => connection,
            Err(error) if is_for_a_moment(&error) => {
                self.refuse(&error)?;
                thread::sleep(WRITER_PAUSE);
                return Ok(false);
            }
            Err(error) => return self.not_opened(database, &error),
        };
        let ahead = Ahead::of(database);
        connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| connection.pragma_update(None, "ignore_check_constraints", true))
            .and_then(|()| {
                let limits = Arc::clone(&limits);
                connection.progress_handler(PROGRESS_OPS, Some(move || limits.is_over()))
            })
            .map_err(words)?;
        let ended = self.slices(&connection, ahead.as_ref(), &limits, Instant::now() + time);
        // Both before the file of the limits.
        drop((connection, ahead));
        ended
    }

    /// What is to be said of a database that SQLite does not open: damage is found, and nothing is left
    /// to read.
    fn not_opened(&mut self, database: &Path, error: &rusqlite::Error) -> Result<bool, String> {
        let Some(object) = super::broken_object(error) else {
            return Err(without_values(error));
        };
        let is_named = object == DamagedObject::Schema
            && super::schema_entries::examine(
                database,
                Access::InPlace,
                self.check,
                error,
                &mut self.found,
            )
            .unwrap_or(false);
        if !is_named {
            tell(&mut self.found, object, without_values(error));
        }
        Ok(true)
    }

    fn slices(
        &mut self,
        connection: &Connection,
        ahead: Option<&Ahead>,
        limits: &Limits,
        until: Instant,
    ) -> Result<bool, String> {
        let mut stuck = 0;
        let mut rest = Duration::ZERO;
        while Instant::now() < until {
            let begun = Instant::now();
            let most = ahead.and_then(|ahead| self.read_ahead(ahead));
            thread::sleep(rest.saturating_sub(begun.elapsed()));
            let slice = self
                .turns
                .begin(connection, limits, most.unwrap_or(u64::MAX));
            let came = self.slice(&slice);
            let held = self.turns.end(&slice);
            self.slicing.slices += 1;
            self.slicing.longest_us = self.slicing.longest_us.max(micros(held));
            match came {
                Ok(Came::Ended(next)) => {
                    self.end(next);
                    self.refused_since = None;
                    stuck = 0;
                    if self.schema_version.is_some() && self.work.is_empty() {
                        return Ok(true);
                    }
                }
                Ok(Came::On { further }) => {
                    self.refused_since = None;
                    stuck = if further { 0 } else { stuck + 1 };
                }
                Err(error) if is_for_a_moment(&error) => self.refuse(&error)?,
                Err(error) => match error.sqlite_error_code() {
                    Some(ErrorCode::OperationInterrupted) => {
                        self.slicing.interrupted += 1;
                        stuck += 1;
                        self.give_plan_time(held)?;
                    }
                    _ => self.fail(error)?,
                },
            }
            if stuck >= MOST_STUCK {
                self.leave();
                stuck = 0;
            }
            rest = self.turns.rest_after(held);
        }
        thread::sleep(rest);
        Ok(false)
    }

    /// Reads what the next slice will read; says how many rows or entries are in memory then. None: the object
    /// was read to its end, or it is not known.
    fn read_ahead(&self, ahead: &Ahead) -> Option<u64> {
        self.schema_version?;
        let mut work = self.work.front()?.clone();
        ahead.read(READ_AHEAD, |connection| {
            let limits = Limits::of(None);
            let slice = Slice::ahead(connection, &limits, READ_AHEAD);
            let _transaction = connection.unchecked_transaction().ok()?;
            // What is found is found by the slice itself.
            let (mut found, mut coverage) = (Gathered::default(), Coverage::default());
            let came = work.go_on(&slice, self.check, &self.schema, &mut found, &mut coverage);
            match came {
                Ok(Came::On { .. }) => Some(slice.read().max(1)),
                Ok(Came::Ended(_)) | Err(_) => None,
            }
        })
    }

    /// After an interruption: where the schema was not read in its time, it has more.
    fn give_plan_time(&mut self, held: Duration) -> Result<(), String> {
        if self.schema_version.is_some() || held < self.plan_limit {
            return Ok(());
        }
        if self.plan_limit >= MOST_PLAN {
            return Err(format!(
                "its schema cannot be read in the {} ms for which writers may be kept waiting: check a copy, or while nobody writes",
                MOST_PLAN.as_millis()
            ));
        }
        self.plan_limit = (self.plan_limit * 2).min(MOST_PLAN);
        Ok(())
    }

    /// Notes that nothing could be read just now.
    ///
    /// # Errors
    ///
    /// In words: that is so for too long.
    fn refuse(&mut self, error: &rusqlite::Error) -> Result<(), String> {
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENCE {
            let why = without_values(error);
            return Err(format!("{why} for {} s", PATIENCE.as_secs()));
        }
        Ok(())
    }

    fn slice(&mut self, slice: &Slice<'_>) -> rusqlite::Result<Came> {
        let transaction = slice.connection.unchecked_transaction()?;
        let version: i64 =
            transaction.query_row("PRAGMA main.schema_version", [], |row| row.get(0))?;
        let _lock = OwnLock::for_("slice");
        let came = self.within(slice, version);
        drop(transaction);
        came
    }

    fn within(&mut self, slice: &Slice<'_>, version: i64) -> rusqlite::Result<Came> {
        let connection = slice.connection;
        if self.schema_version != Some(version) {
            self.schema_version = None;
            slice.limits.set(Some(Instant::now() + self.plan_limit));
            self.plan(connection)?;
            self.schema_version = Some(version);
            if self.work.is_empty() {
                return Ok(Came::Ended(Vec::new()));
            }
        }
        let Self {
            work,
            found,
            coverage,
            check,
            schema,
            ..
        } = self;
        match work.front_mut() {
            None => Ok(Came::Ended(Vec::new())),
            Some(work) => work.go_on(slice, *check, schema, found, coverage),
        }
    }

    /// Lists what is to be read; what a schema that changed meanwhile has of tables that were read to
    /// their end is left to the next check.
    fn plan(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.schema = Schema::read(connection)?;
        self.found.name_virtuals(&self.schema);
        let tables: Vec<String> = connection
            .prepare(
                "SELECT name FROM pragma_table_list WHERE schema = 'main' \
                 AND type IN ('table', 'shadow', 'virtual') AND name <> 'sqlite_schema' ORDER BY name",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let left = tables
            .into_iter()
            .filter(|table| !self.done.contains(table));
        self.work = left.map(Work::Table).collect();
        Ok(())
    }

    /// Goes to the next object.
    fn end(&mut self, next: Vec<Work>) {
        let Some(ended) = self.work.pop_front() else {
            return;
        };
        for work in next.into_iter().rev() {
            self.work.push_front(work);
        }
        let table = ended.table();
        if self.work.front().is_none_or(|next| next.table() != table) {
            self.done.insert(table.to_owned());
            self.coverage.tables += 1;
        }
    }

    /// Leaves an object that cannot be read in slices.
    fn leave(&mut self) {
        const WHY: &str = "it cannot be read in the few milliseconds for which writers may be kept \
                           waiting; a check of a copy, or while nobody writes, judges it";
        match self.work.front() {
            None => {}
            Some(Work::Entries(entries)) => {
                let index = entries.index.clone();
                self.found.unjudged(UnjudgedPart::Index, &index, WHY);
            }
            Some(work) => {
                let table = work.table().to_owned();
                self.found.unjudged(UnjudgedPart::Table, &table, WHY);
            }
        }
        self.end(Vec::new());
    }

    /// Takes an error that is about one object, and goes on with the next.
    fn fail(&mut self, error: rusqlite::Error) -> Result<(), String> {
        let taken = match self.work.front() {
            // The schema itself, which was read a moment ago.
            None => return Err(without_values(&error)),
            Some(work) => work.take_error(error, &mut self.found),
        };
        taken.map_err(|error| without_values(&error))?;
        self.end(Vec::new());
        Ok(())
    }

    /// What was found until now, when the time is over. The check may go on later.
    pub fn so_far(&self) -> Checked {
        let (rows, entries) = (self.coverage.rows, self.coverage.entries);
        let why = format!(
            "its time was over after {rows} rows and {entries} entries of indexes: the next check goes on there"
        );
        self.with(Some(why))
    }

    /// What was found; with `error` the check is not at its end.
    pub fn checked(self, error: Option<String>) -> Checked {
        self.with(error)
    }

    fn with(&self, error: Option<String>) -> Checked {
        let mut found = self.found.clone();
        settle(&mut found.faults);
        let coverage = Coverage {
            slicing: Some(self.slicing),
            ..self.coverage
        };
        let duration = self.begun.elapsed();
        Checked {
            integrity: Integrity {
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                faults: found.faults,
                coverage: Some(coverage),
                comparisons: found.comparisons,
                broken_rules: found.broken_rules,
                unjudged: found.unjudged.into_iter().collect(),
                ..Integrity::empty(self.check.mode, error)
            },
            values: found.values,
        }
    }
}

/// Whether the next moment may be another: somebody has a lock, or a journal or log that waits to be taken
/// up was seen between the end of a transaction and that of its lock. Where it does wait, that stays so.
fn is_for_a_moment(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    ) || matches!(
        extended,
        Some(ffi::SQLITE_READONLY_ROLLBACK | ffi::SQLITE_READONLY_RECOVERY)
    )
}

/// Takes a fault down, unless there are many of this object: then their number alone.
fn tell(found: &mut Gathered, object: DamagedObject, message: String) {
    let fault = IntegrityFault { object, message };
    let of_object = |known: &&IntegrityFault| known.object == fault.object;
    let told = found.faults.iter().filter(of_object).count();
    if told < MOST_TOLD && !found.faults.contains(&fault) {
        found.faults.push(fault);
    }
}

fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

/// The shape of an index whose order is known here; in words why it is not.
fn known_shape(
    connection: &Connection,
    index: &str,
    table: &str,
) -> rusqlite::Result<Result<Shape, String>> {
    Ok(match Shape::read(connection, index, table)? {
        Ok(shape) => match shape.left_to_application() {
            Some(why) => Err(why),
            None if shape.order_is_known() => Ok(shape),
            None => Err("its order is not known here".to_owned()),
        },
        Err(why) => Err(why),
    })
}

/// An identity as a person reads it, without values but rowids.
fn row_name(identity: &[Owned]) -> String {
    match identity {
        [Owned::Integer(rowid)] => format!("rowid {rowid}"),
        _ => "a row".to_owned(),
    }
}

#[cfg(test)]
mod tests;
