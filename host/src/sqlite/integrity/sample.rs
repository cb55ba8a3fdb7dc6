//! The quick check: a sample of the rows, read whole and compared with their indexes, in a time
//! that does not grow with the database.
//!
//! What it proves: the trees lead to the rows that were drawn, these rows can be read, and the
//! indexes agree with them in both directions. What it does not: anything of the rest. A clean
//! sample of 1 % misses damage to one row 99 times in 100; damage to a page with 50 rows it finds
//! in 2 runs of 5. Tables without row numbers are left to the full check.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::{Connection, ErrorCode, Statement, ffi, params_from_iter};

use super::ahead::Ahead;
use super::encoding::Encoding;
use super::values::Owned;
use super::{Coverage, DamagedObject, IntegrityFault, quoted, rebuildable};

/// How long a sample may take: the specification's 100 ms of section 1.2 A, less what opening and
/// closing take.
pub(super) const BUDGET: Duration = Duration::from_millis(80);
/// How long it waits for a lock that others hold for moments; it keeps nobody from anything meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// The share of the rows that is drawn: 1 %, but not fewer than [`LEAST_ROWS`] of a table.
const ONE_IN: u64 = 100;
const LEAST_ROWS: u64 = 100;
/// Rows that are read from where the draw fell.
const RUN: u64 = 8;
/// A longer value is not read: it alone could take all the time.
const LONGEST_BYTES: u32 = 1 << 16;
/// Tables that are looked at in one run, drawn anew each time.
const MOST_TABLES: usize = 64;

/// The least and the greatest row number of tables, by their names. Rows are drawn between them: a sample that
/// is given those of another one draws the same rows, though rows were added meanwhile.
pub(super) type Ends = BTreeMap<String, (i64, i64)>;

/// Where a sample ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How long it may take.
    pub(super) time: Duration,
    /// Rows that are read at most.
    pub(super) rows: u64,
    /// Faults after which it ends.
    pub(super) faults: usize,
}

/// Reads what a sample of this seed will read, without a lock; says how many rows were read, and are in
/// memory now. The sample must be given the same `ends`.
pub(super) fn read_ahead(database: &Path, seed: u64, ends: &mut Ends) -> u64 {
    let bounds = Bounds {
        time: BUDGET,
        rows: u64::MAX,
        faults: usize::MAX,
    };
    let mut read = |ahead: Ahead| {
        // What is found is found by the sample itself.
        ahead.read(BUDGET, |connection| {
            run(connection, seed, bounds, ends, &mut Vec::new())
        })
    };
    let sampled = Ahead::of(database).and_then(|ahead| read(ahead).ok());
    sampled.map_or(u64::MAX, |sampled| sampled.rows.max(1))
}

/// Draws rows until the share is reached or the time is over. Where `ends` has those of a table, it draws
/// between these; otherwise it adds them.
///
/// # Errors
///
/// SQLite's own, but not for damage, which is a fault, and not for the time, which ends the sample
/// (but when it was over before a row was read).
pub(super) fn run(
    connection: &Connection,
    seed: u64,
    bounds: Bounds,
    ends: &mut Ends,
    faults: &mut Vec<IntegrityFault>,
) -> rusqlite::Result<Coverage> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sampled = Coverage::default();
    // One moment for all that is compared.
    let transaction = connection.unchecked_transaction()?;
    let until = Instant::now() + bounds.time;
    let mut names = tables(connection)?;
    // Drawn without order, the first MOST_TABLES of a shuffle.
    for place in 0..names.len().min(MOST_TABLES) {
        let other = random.random_range(place..names.len());
        names.swap(place, other);
    }
    names.truncate(MOST_TABLES);
    let is_over =
        |faults: &[IntegrityFault]| Instant::now() > until || faults.len() >= bounds.faults;
    let mut drawn = Vec::new();
    let mut missed = false;
    for name in names {
        if is_over(faults) {
            missed = true;
            break;
        }
        match Table::open(connection, &name) {
            Ok(Some(mut table)) => {
                sampled.tables += 1;
                let own = (table.first, table.last);
                table.draw_between(*ends.entry(name).or_insert(own));
                drawn.push(table);
            }
            Ok(None) => {}
            Err(error) => {
                note(error, table_of(&name), faults)?;
                missed = true;
            }
        }
    }
    // In rounds, so that the time is shared among the tables.
    while !drawn.is_empty() && !is_over(faults) {
        let mut kept = Vec::new();
        for mut table in drawn {
            if is_over(faults) || sampled.rows >= bounds.rows {
                break;
            }
            if table.draw(connection, &mut random, &mut sampled, faults)? {
                kept.push(table);
            }
        }
        drawn = kept;
    }
    drop(transaction);
    if sampled.rows == 0 && faults.is_empty() && (missed || sampled.tables > 0) {
        // A sample of nothing is none.
        return Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_INTERRUPT),
            None,
        ));
    }
    Ok(sampled)
}

fn table_of(name: &str) -> DamagedObject {
    DamagedObject::Table { table: name.into() }
}

/// Takes damage down as a fault of the object; the end of the time is no fault.
fn note(
    error: rusqlite::Error,
    object: DamagedObject,
    faults: &mut Vec<IntegrityFault>,
) -> rusqlite::Result<()> {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => Ok(()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            faults.push(IntegrityFault {
                object,
                message: error.to_string(),
            });
            Ok(())
        }
        _ => Err(error),
    }
}

/// The ordinary tables that have row numbers, but for the schema: that was read before any of them.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(
            "SELECT name FROM pragma_table_list \
             WHERE schema = 'main' AND type = 'table' AND NOT wr AND name <> 'sqlite_schema' \
             ORDER BY name",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// A table that is drawn from, its statements prepared.
struct Table<'c> {
    name: String,
    rows: Statement<'c>,
    encoding: Encoding,
    columns: usize,
    indexes: Vec<Index<'c>>,
    first: i64,
    last: i64,
    left: u64,
}

/// A row's number and its values, none where one is long; none in place of text that cannot be asked for.
type DrawnRow = (i64, Option<Vec<Option<Owned>>>);

/// An index that can be compared: of columns alone, and of all rows.
pub(super) struct Index<'c> {
    name: String,
    encoding: Encoding,
    /// The places of its columns among the table's.
    columns: Vec<usize>,
    /// Counts the entries with these values and this row number.
    has: Statement<'c>,
    /// Entries from these values on.
    from: Statement<'c>,
    /// Whether the row of this number has these values.
    row: Statement<'c>,
}

impl<'c> Table<'c> {
    /// None when there is nothing to draw from, or when the table cannot be read like this.
    fn open(connection: &'c Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        let columns: Vec<String> = connection
            .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")?
            .query_map([name], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let is_taken = |id: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(id));
        let Some(id) = ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|id| !is_taken(id))
        else {
            return Ok(None);
        };
        let table = format!("main.{}", quoted(name));
        // Each for itself is found at an end of the tree; both in one SELECT walk all of it.
        let ends = format!(
            "SELECT (SELECT min({id}) FROM {table} NOT INDEXED), \
             (SELECT max({id}) FROM {table} NOT INDEXED)"
        );
        let (first, last): (Option<i64>, Option<i64>) =
            connection.query_row(&ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(None);
        };
        let encoding = Encoding::of(connection)?;
        let (values, long) = without_long(&columns, LONGEST_BYTES, encoding);
        let sql = format!(
            "SELECT {id}{values}, {long} FROM {table} NOT INDEXED WHERE {id} >= ?1 ORDER BY {id} LIMIT {RUN}"
        );
        let Ok(rows) = connection.prepare(&sql) else {
            return Ok(None);
        };
        let mut table = Self {
            name: name.into(),
            rows,
            encoding,
            indexes: indexes(connection, name, id, &columns, encoding)?,
            columns: columns.len(),
            first,
            last,
            left: 0,
        };
        table.draw_between((first, last));
        Ok(Some(table))
    }

    fn draw_between(&mut self, (first, last): (i64, i64)) {
        let estimate = last.abs_diff(first).saturating_add(1);
        (self.first, self.last) = (first, last);
        self.left = (estimate / ONE_IN).max(LEAST_ROWS);
    }

    /// Reads a run of rows at a random place and compares them. Says whether there is more to draw.
    fn draw(
        &mut self,
        connection: &Connection,
        random: &mut StdRng,
        sampled: &mut Coverage,
        faults: &mut Vec<IntegrityFault>,
    ) -> rusqlite::Result<bool> {
        let place = random.random_range(self.first..=self.last);
        let read = self.read(place);
        let rows = match read {
            Ok(rows) => rows,
            Err(error) => {
                note(error, table_of(&self.name), faults)?;
                return Ok(false);
            }
        };
        sampled.rows += rows.len() as u64;
        self.left = self.left.saturating_sub((rows.len() as u64).max(1));
        for (id, values) in rows {
            for index in &mut self.indexes {
                let compared = match &values {
                    Some(values) => index.compare(id, values),
                    None => continue,
                };
                let damaged = DamagedObject::Index {
                    index: index.name.clone(),
                    table: self.name.clone(),
                    rebuildable: false,
                };
                match compared {
                    Ok((entries, None)) => sampled.entries += entries,
                    Ok((entries, Some(message))) => {
                        sampled.entries += entries;
                        faults.push(IntegrityFault {
                            object: DamagedObject::Index {
                                index: index.name.clone(),
                                table: self.name.clone(),
                                rebuildable: rebuildable(connection, &index.name),
                            },
                            message,
                        });
                        return Ok(false);
                    }
                    Err(error) => {
                        note(error, damaged, faults)?;
                        return Ok(false);
                    }
                }
            }
        }
        Ok(self.left > 0)
    }

    /// The rows from a number on; those with a long value without their values.
    fn read(&mut self, place: i64) -> rusqlite::Result<Vec<DrawnRow>> {
        let (columns, encoding) = (self.columns, self.encoding);
        self.rows
            .query_map([place], |row| {
                let values = encoding.read(row, 1, columns)?;
                let long: bool = row.get(1 + columns * encoding.width())?;
                Ok((row.get(0)?, (!long).then_some(values)))
            })?
            .collect()
    }
}

/// The columns for a SELECT, each behind a comma: a value of more bytes comes out as nothing. And the
/// condition that there is such a value.
pub(super) fn without_long(
    columns: &[String],
    longest_bytes: u32,
    encoding: Encoding,
) -> (String, String) {
    let mut values = String::new();
    let mut long = String::from("0");
    for column in columns {
        let column = quoted(column);
        let is_long = format!("coalesce(octet_length({column}), 0) > {longest_bytes}");
        // Writing to a String cannot fail.
        let value = encoding.sql(&format!("CASE WHEN {is_long} THEN NULL ELSE {column} END"));
        let _infallible = write!(values, ", {value}");
        let _infallible = write!(long, " OR {is_long}");
    }
    (values, long)
}

/// The indexes of a table that can be compared with it.
pub(super) fn indexes<'c>(
    connection: &'c Connection,
    table: &str,
    id: &str,
    columns: &[String],
    encoding: Encoding,
) -> rusqlite::Result<Vec<Index<'c>>> {
    let names: Vec<String> = connection
        .prepare("SELECT name FROM pragma_index_list(?1) WHERE NOT partial")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    // Columns that are computed whenever a row is read.
    let computed: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 2")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut indexes = Vec::new();
    for name in names {
        let parts: Vec<(Option<String>, String)> = connection
            .prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?
            .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let places: Option<Vec<usize>> = parts
            .iter()
            .map(|(part, _)| {
                let part = part.as_ref()?;
                columns.iter().position(|column| column == part)
            })
            .collect();
        // What is computed is not compared: the full check does.
        let is_computed = |place: &usize| computed.contains(&columns[*place]);
        let Some(places) =
            places.filter(|places| !places.is_empty() && !places.iter().any(is_computed))
        else {
            continue;
        };
        let part = |number: usize| {
            let (column, collation) = &parts[number];
            let column = quoted(column.as_deref().unwrap_or_default());
            (column, quoted(collation))
        };
        let equal: Vec<String> = (0..parts.len())
            .map(|number| {
                let (column, collation) = part(number);
                format!("{column} COLLATE {collation} IS ?{}", number + 2)
            })
            .collect();
        let equal = equal.join(" AND ");
        let listed: Vec<String> = (0..parts.len())
            .map(|number| encoding.sql(&part(number).0))
            .collect();
        let listed = listed.join(", ");
        let (first, collation) = part(0);
        let from = format!("main.{} INDEXED BY {}", quoted(table), quoted(&name));
        let bare = format!("main.{} NOT INDEXED", quoted(table));
        let statements = (
            connection.prepare(&format!(
                "SELECT count(*) FROM {from} WHERE {id} = ?1 AND {equal}"
            )),
            connection.prepare(&format!(
                "SELECT {id}, {listed} FROM {from} WHERE {first} COLLATE {collation} >= ?1 \
                 ORDER BY {first} COLLATE {collation} LIMIT 2"
            )),
            connection.prepare(&format!("SELECT {equal} FROM {bare} WHERE {id} = ?1")),
        );
        // One that cannot be asked like this (an unknown collation) is left to the full check.
        if let (Ok(has), Ok(from), Ok(row)) = statements {
            indexes.push(Index {
                name,
                encoding,
                columns: places,
                has,
                from,
                row,
            });
        }
    }
    Ok(indexes)
}

/// A row number and a key, as the statements of an index take them.
fn with_id(id: i64, key: &[Owned]) -> Vec<Owned> {
    let id = std::iter::once(Owned::Integer(id));
    id.chain(key.iter().cloned()).collect()
}

impl Index<'_> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the index has exactly one entry for the row with these values; none where one of them
    /// cannot be asked for.
    pub(super) fn has(
        &mut self,
        id: i64,
        values: &[Option<Owned>],
    ) -> rusqlite::Result<Option<bool>> {
        let key = self.key(values);
        key.map(|key| self.has_key(id, &key)).transpose()
    }

    fn has_key(&mut self, id: i64, key: &[Owned]) -> rusqlite::Result<bool> {
        let parameters = params_from_iter(with_id(id, key));
        let has: i64 = self.has.query_row(parameters, |row| row.get(0))?;
        Ok(has == 1)
    }

    fn key(&self, values: &[Option<Owned>]) -> Option<Vec<Owned>> {
        let columns = self.columns.iter();
        columns.map(|at| values[*at].clone()).collect()
    }

    /// Whether the index has an entry for the row, and the table has a row for the entries that
    /// follow. How many entries were compared, and the fault in words.
    fn compare(
        &mut self,
        id: i64,
        values: &[Option<Owned>],
    ) -> rusqlite::Result<(u64, Option<String>)> {
        let Some(key) = self.key(values) else {
            return Ok((0, None));
        };
        if !self.has_key(id, &key)? {
            let name = &self.name;
            return Ok((0, Some(format!("rowid {id} missing from index {name}"))));
        }
        let name = &self.name;
        let (width, encoding) = (key.len(), self.encoding);
        let entries: Vec<(i64, Option<Vec<Owned>>)> = self
            .from
            .query_map([&key[0]], |row| {
                let key = encoding.read(row, 1, width)?;
                Ok((row.get(0)?, key.into_iter().collect()))
            })?
            .collect::<Result<_, _>>()?;
        let mut compared = 1;
        for (id, key) in &entries {
            let Some(key) = key else {
                continue;
            };
            if key.iter().any(is_long) {
                continue;
            }
            compared += 1;
            let parameters = params_from_iter(with_id(*id, key));
            let mut found = self.row.query(parameters)?;
            let fault = match found.next()? {
                None => Some(format!("rowid {id} of index {name} is not in its table")),
                Some(row) => {
                    let same: bool = row.get(0)?;
                    (!same).then(|| format!("rowid {id} values differ from index {name}"))
                }
            };
            if fault.is_some() {
                return Ok((1, fault));
            }
        }
        Ok((compared, None))
    }
}

fn is_long(value: &Owned) -> bool {
    match value {
        Owned::Text(text) => text.len() > LONGEST_BYTES as usize,
        Owned::Blob(bytes) => bytes.len() > LONGEST_BYTES as usize,
        _ => false,
    }
}
