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
//! small part of the time.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, ffi};

use super::messages::Schema;
use super::shape::Shape;
use super::values::Owned;
use super::{
    Access, Check, Checked, Coverage, DamagedObject, Gathered, IntegrityFault, Slicing,
    UnjudgedPart, compare_damaged, is_damage, leave_key_order_to_application, objects, open,
    quoted, rules, settle, without_values,
};
use crate::target::sqlite::Integrity;
use crate::target::sqlite::own_lock::OwnLock;
use crate::target::sqlite::writers::Writers;
use entries::Entries;
use rows::Rows;

mod entries;
mod rows;

/// How long a slice reads on. With what opening and ending a transaction takes it stays under the 20 ms
/// that a check may keep anybody waiting.
const SLICE: Duration = Duration::from_millis(6);
/// A statement that runs this long after the beginning of its slice is interrupted.
const LIMIT: Duration = Duration::from_millis(12);
/// Instructions between two looks at the time and the writers: about 0.1 ms.
const PROGRESS_OPS: i32 = 2000;
/// Between two slices at least.
const LEAST_REST: Duration = Duration::from_millis(2);
/// How many times as long as a slice the rest after it is while others commit: a sixteenth of the time.
const REST_BESIDE_COMMITS: u32 = 15;
/// That rest at least: a slice that a writer cuts short is short, and each slice may meet a commit.
const LEAST_REST_BESIDE_COMMITS: Duration = Duration::from_millis(60);
/// How long a slice reads on while others commit. It begins right after a commit, when the next is
/// least likely.
const SLICE_BESIDE_COMMITS: Duration = Duration::from_millis(2);
/// How long the next commit is waited for.
const COMMIT_WAIT: Duration = Duration::from_millis(50);
/// Between two looks whether it came.
const COMMIT_PAUSE: Duration = Duration::from_micros(200);
/// For how long after a commit others count as committing.
const COMMITS_GO_ON: Duration = Duration::from_secs(10);
/// How long reading the schema may take at most, and no table can be looked at without it. It begins with
/// [`LIMIT`] and has more time each time that it was not enough.
const MOST_PLAN: Duration = Duration::from_millis(200);
/// Between two looks whether a writer is done.
const WRITER_PAUSE: Duration = Duration::from_millis(2);
/// A transaction that writes for longer than this, and whose owner does not wait for anybody, is not
/// waited for: it may be open for hours.
const LONG_WRITE: Duration = Duration::from_millis(500);
/// How long nothing can be read before the check is given up for this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Slices in a row that come no further before an object is left.
const MOST_STUCK: u32 = 40;
/// Tables whose numbers span no more than this are checked by SQLite itself, in one slice.
const SMALL_SPAN: u64 = 4000;
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
    /// What the file's header counted last, and when that changed.
    commits: Option<u32>,
    committed: Option<Instant>,
    /// How many times as long as a slice, and how long at least.
    rest_beside_commits: (u32, Duration),
    work: VecDeque<Work>,
    /// Tables that were begun and ended.
    done: BTreeSet<String>,
    found: Gathered,
    coverage: Coverage,
    slicing: Slicing,
}

/// What is read from one place to the next.
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

/// When a slice must end.
struct Limits {
    base: Instant,
    /// Microseconds since `base`; 0: no slice is under way.
    until_us: AtomicU64,
    writers: Option<Writers>,
}

impl Limits {
    fn set(&self, until: Option<Instant>) {
        let us = until.map_or(0, |until| {
            micros(until.saturating_duration_since(self.base))
        });
        self.until_us.store(us, Atomic::Relaxed);
    }

    /// Whether a statement is to be interrupted.
    fn is_over(&self) -> bool {
        let until = self.until_us.load(Atomic::Relaxed);
        until > 0 && (micros(self.base.elapsed()) > until || self.somebody_waits())
    }

    fn somebody_waits(&self) -> bool {
        let writers = self.writers.as_ref();
        writers.is_some_and(|writers| writers.wait().unwrap_or(true))
    }

    fn somebody_writes(&self) -> bool {
        let writers = self.writers.as_ref();
        writers.is_some_and(|writers| writers.write().unwrap_or(true))
    }
}

/// One slice, as long as it may read.
struct Slice<'a> {
    connection: &'a Connection,
    limits: &'a Limits,
    until: Instant,
    /// Whether somebody was writing already when it began.
    beside_a_writer: bool,
}

impl Slice<'_> {
    fn is_over(&self) -> bool {
        Instant::now() > self.until
            || self.limits.somebody_waits()
            || (!self.beside_a_writer && self.limits.somebody_writes())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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
            commits: None,
            committed: None,
            rest_beside_commits: (REST_BESIDE_COMMITS, LEAST_REST_BESIDE_COMMITS),
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
        let limits = Arc::new(Limits {
            base: Instant::now(),
            until_us: AtomicU64::new(0),
            writers: Writers::of(database).map_err(|error| error.to_string())?,
        });
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
        connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| connection.pragma_update(None, "ignore_check_constraints", true))
            .and_then(|()| {
                let limits = Arc::clone(&limits);
                connection.progress_handler(PROGRESS_OPS, Some(move || limits.is_over()))
            })
            .map_err(words)?;
        let ended = self.slices(&connection, &limits, Instant::now() + time);
        drop(connection);
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
        limits: &Limits,
        until: Instant,
    ) -> Result<bool, String> {
        let mut stuck = 0;
        while Instant::now() < until {
            let is_written = self.is_written();
            if is_written {
                self.wait_for_commit(limits);
            }
            let beside_a_writer = wait_for_writers(limits);
            let begun = Instant::now();
            limits.set(Some(begun + LIMIT));
            let slice = Slice {
                connection,
                limits,
                until: begun
                    + if is_written {
                        SLICE_BESIDE_COMMITS
                    } else {
                        SLICE
                    },
                beside_a_writer,
            };
            let came = self.slice(&slice);
            limits.set(None);
            self.see_commits(limits);
            let held = begun.elapsed();
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
                    _ => self.fail(&error)?,
                },
            }
            if stuck >= MOST_STUCK {
                self.leave();
                stuck = 0;
            }
            thread::sleep(self.rest_after(held));
        }
        Ok(false)
    }

    /// Notes whether others commit.
    fn see_commits(&mut self, limits: &Limits) {
        let writers = limits.writers.as_ref();
        let commits = writers.and_then(|writers| writers.commits().ok().flatten());
        if self.commits.is_some() && commits != self.commits {
            self.committed = Some(Instant::now());
        }
        self.commits = commits;
    }

    /// Whether others commit.
    fn is_written(&self) -> bool {
        self.committed
            .is_some_and(|committed| committed.elapsed() < COMMITS_GO_ON)
    }

    fn wait_for_commit(&mut self, limits: &Limits) {
        let before = self.commits;
        let begun = Instant::now();
        while self.commits == before && begun.elapsed() < COMMIT_WAIT {
            thread::sleep(COMMIT_PAUSE);
            self.see_commits(limits);
        }
    }

    fn rest_after(&self, held: Duration) -> Duration {
        if self.is_written() {
            let (times, least) = self.rest_beside_commits;
            held.saturating_mul(times).max(least)
        } else {
            held.max(LEAST_REST)
        }
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
            Some(Work::Table(table)) => {
                whole_table(connection, *check, schema, table, found, coverage)
            }
            Some(Work::Rows(rows)) => rows.slice(slice, found, coverage),
            Some(Work::Entries(entries)) => entries.slice(slice, found, coverage),
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
    fn fail(&mut self, error: &rusqlite::Error) -> Result<(), String> {
        let words = without_values(error);
        if !is_damage(error) && !objects::concerns_an_object(error) {
            return Err(words);
        }
        let (part, name, object) = match self.work.front() {
            // The schema itself, which was read a moment ago.
            None => return Err(words),
            Some(Work::Entries(entries)) => (
                UnjudgedPart::Index,
                entries.index.clone(),
                entries.damaged(false),
            ),
            Some(work) => (
                UnjudgedPart::Table,
                work.table().to_owned(),
                DamagedObject::Table {
                    table: work.table().to_owned(),
                },
            ),
        };
        if is_damage(error) {
            tell(&mut self.found, object, words);
        } else {
            self.found.unjudged(part, &name, &words);
        }
        self.end(Vec::new());
        Ok(())
    }

    /// What was found until now; with `error` the check is not at its end.
    pub fn checked(mut self, error: Option<String>) -> Checked {
        settle(&mut self.found.faults);
        self.coverage.slicing = Some(self.slicing);
        let found = self.found;
        let duration = self.begun.elapsed();
        Checked {
            integrity: Integrity {
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                faults: found.faults,
                coverage: Some(self.coverage),
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

/// Waits until nobody writes; says whether somebody does all the same, who is at it for long.
fn wait_for_writers(limits: &Limits) -> bool {
    let begun = Instant::now();
    loop {
        let waits = limits.somebody_waits();
        let writes = waits || limits.somebody_writes();
        if !writes {
            return false;
        }
        if begun.elapsed() > LONG_WRITE && (!waits || begun.elapsed() > PATIENCE) {
            return true;
        }
        thread::sleep(WRITER_PAUSE);
    }
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

/// Has SQLite check a table with its indexes where that can be short; else says what to read instead.
fn whole_table(
    connection: &Connection,
    check: Check,
    schema: &Schema,
    table: &str,
    found: &mut Gathered,
    coverage: &mut Coverage,
) -> rusqlite::Result<Came> {
    let kind: Option<(bool, bool)> = connection
        .prepare(
            "SELECT type = 'virtual', wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1",
        )?
        .query_row([table], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((is_virtual, without_rowid)) = kind else {
        return Ok(Came::Ended(Vec::new()));
    };
    let by_rows = !is_virtual && !without_rowid;
    let is_small = match Rows::span(connection, table) {
        _ if !by_rows => true,
        Ok(span) => span.is_some_and(|span| span <= SMALL_SPAN),
        Err(error) if is_damage(&error) => false,
        Err(error) => return Err(error),
    };
    if is_small {
        let mut alone = Gathered::default();
        let checked = objects::run_one(connection, schema, check, &mut alone, table);
        let in_time = match checked {
            Ok(()) => true,
            Err(error) if is_interrupted(&error) => false,
            Err(error) => return Err(error),
        };
        if in_time {
            leave_key_order_to_application(connection, &mut alone);
            compare_damaged(connection, &mut alone);
            rules::settle_shared(connection, &mut alone)?;
            found.join(alone);
            if by_rows {
                let sql = format!("SELECT count(*) FROM main.{}", quoted(table));
                let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
                coverage.rows += u64::try_from(rows).unwrap_or(0);
            }
            return Ok(Came::Ended(Vec::new()));
        }
    }
    let mut next = Vec::new();
    if by_rows {
        next.push(Work::Rows(Rows::new(table)));
    } else {
        let part = if is_virtual {
            UnjudgedPart::VirtualTable
        } else {
            UnjudgedPart::Table
        };
        found.unjudged(
            part,
            table,
            "it is too large to be checked in the few milliseconds for which writers may be kept \
             waiting; a check of a copy, or while nobody writes, judges it",
        );
    }
    if !is_virtual {
        let indexes: Vec<String> = connection
            .prepare(
                "SELECT name FROM pragma_index_list(?1) WHERE NOT (origin = 'pk' AND ?2) ORDER BY name",
            )?
            .query_map(rusqlite::params![table, without_rowid], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let entries = |index: &String| Work::Entries(Entries::new(table, index));
        next.extend(indexes.iter().map(entries));
    }
    Ok(Came::Ended(next))
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
