//! The rows of a table, each with its entries in the table's indexes.

use std::cmp::Ordering;

use rusqlite::{Connection, OptionalExtension as _};

use super::super::digits;
use super::super::encoding::Encoding;
use super::super::sample::{self, Index};
use super::super::shape::Shape;
use super::super::values::{Owned, hash, owned, refs};
use super::entries::values;
use super::{
    Came, Coverage, DamagedObject, Gathered, Slice, Stop, UnjudgedPart, is_damage, known_shape,
    quoted, tell,
};
use crate::sqlite::btree::{Pages, Stored, too_long};
use crate::sqlite::integrity::rebuildable;

/// A longer value is not read: it alone could take all the time of a slice.
const LONGEST_BYTES: u32 = 1 << 18;
/// Rows out of order after which the rest of a table is not read.
const MOST_DISORDER: u32 = 1000;
/// Rows in a row beyond the end after which all others came since, too: fewer may be rows in the middle
/// of which the numbers are damaged. A page of 64 KiB holds no more rows than that.
const SURELY_BEYOND: u32 = 20_000;
/// Places that cannot be read after which the rest of a table is not read.
const MOST_STEPS: u32 = 2000;
/// Longest step over rows that cannot be read, as a power of 2.
const MOST_STEP: u32 = 62;

/// Why an index with a row is not judged of which a value cannot be bound as it was read.
const NOT_ASKED_FOR: &str = "rows hold text that is not valid in the encoding of the database: in rollback \
                             mode only a check of a copy judges it";

/// The rows of one table, and how far they are read.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) table: String,
    /// The number of the last row that was read, and of the one before it: a row whose number is
    /// damaged would lead the search for the place astray.
    last: Option<i64>,
    before: Option<i64>,
    /// Behind which number reading went on after what could not be read, and how often it did: where rows
    /// are out of order, the same would come again and again.
    passed: Option<i64>,
    steps: u32,
    /// The largest number when reading began, and how many rows in a row lie beyond it: they came since,
    /// and are left to the next check, or a fast writer would never be caught up with.
    end: Option<i64>,
    beyond: u32,
    disorder: u32,
    /// Indexes of which it was said that they cannot be compared.
    left: bool,
}

/// What is prepared to read a table.
struct Reader<'c> {
    id: &'static str,
    columns: usize,
    encoding: Encoding,
    rows: rusqlite::Statement<'c>,
    plain: Vec<Index<'c>>,
    computed: Vec<Computed<'c>>,
}

/// An index of expressions, or of some rows.
struct Computed<'c> {
    name: String,
    shape: Shape,
    row: rusqlite::Statement<'c>,
    belongs: Option<rusqlite::Statement<'c>>,
}

/// The largest number of the rows at the end of a table; that of all numbers where they cannot be read.
/// Of many rows: the number of the very last may be damaged, and all behind it would stay unread.
fn largest(connection: &Connection, table: &str, id: &str) -> rusqlite::Result<i64> {
    let sql = format!(
        "SELECT max(id) FROM (SELECT {id} AS id FROM main.{} NOT INDEXED ORDER BY {id} DESC LIMIT 200)",
        quoted(table)
    );
    match connection.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0)) {
        Ok(largest) => Ok(largest.unwrap_or(i64::MAX)),
        Err(error) if is_damage(&error) => Ok(i64::MAX),
        Err(error) => Err(error),
    }
}

impl Rows {
    pub(super) fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            last: None,
            before: None,
            passed: None,
            steps: 0,
            end: None,
            beyond: 0,
            disorder: 0,
            left: false,
        }
    }

    /// From the first to the last number of a table; none when it has no numbers, or no rows.
    pub(super) fn span(connection: &Connection, table: &str) -> rusqlite::Result<Option<u64>> {
        let Some((id, _)) = columns(connection, table)? else {
            return Ok(None);
        };
        let from = format!("main.{} NOT INDEXED", quoted(table));
        let sql = format!("SELECT (SELECT min({id}) FROM {from}), (SELECT max({id}) FROM {from})");
        let (first, last): (Option<i64>, Option<i64>) = connection
            .prepare(&sql)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(match (first, last) {
            (Some(first), Some(last)) => Some(last.abs_diff(first)),
            _ => Some(0),
        })
    }

    pub(super) fn slice(
        &mut self,
        slice: &Slice<'_>,
        found: &mut Gathered,
        coverage: &mut Coverage,
    ) -> rusqlite::Result<Came> {
        let connection = slice.connection;
        let Some(mut reader) = self.reader(connection, found)? else {
            found.unjudged(
                UnjudgedPart::Table,
                &self.table,
                "its columns have all names of the row number",
            );
            return Ok(Came::Ended(Vec::new()));
        };
        let Reader {
            id: id_name,
            rows,
            columns,
            encoding,
            plain,
            computed,
        } = &mut reader;
        let (id_name, columns, encoding) = (*id_name, *columns, *encoding);
        let end = match self.end {
            Some(end) => end,
            None => largest(connection, &self.table, id_name)?,
        };
        self.end = Some(end);
        let mut previous = self.before;
        let mut pages = None;
        let mut read = rows.query([self.before.unwrap_or(i64::MIN)])?;
        loop {
            let row = match read.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Came::Ended(Vec::new())),
                Err(error) if is_damage(&error) => {
                    drop(read);
                    return self.step_over(connection, id_name, found);
                }
                Err(error) => return Err(error),
            };
            let id: i64 = row.get(0)?;
            if previous.is_some_and(|previous| id <= previous) {
                self.tell(found, format!("rowid {id} is out of order"));
                self.disorder += 1;
                if self.disorder > MOST_DISORDER {
                    return Ok(Came::Ended(Vec::new()));
                }
            }
            previous = Some(id);
            if self.last == Some(id) {
                continue;
            }
            self.beyond = if id > end { self.beyond + 1 } else { 0 };
            if self.beyond > SURELY_BEYOND {
                return Ok(Came::Ended(Vec::new()));
            }
            let is_long: bool = row.get(1 + columns * encoding.width())?;
            if is_long {
                coverage.long_rows += 1;
            } else {
                let values = encoding.read(row, 1, columns)?;
                for index in plain.iter_mut() {
                    let fault = match index.has(id, &values) {
                        Ok(Some(has)) => (!has).then(|| missing(id, index.name())),
                        Ok(None) => {
                            found.unjudged(UnjudgedPart::Index, index.name(), NOT_ASKED_FOR);
                            None
                        }
                        Err(error) if is_damage(&error) => Some(error.to_string()),
                        Err(error) => return Err(error),
                    };
                    if let Some(message) = fault {
                        self.tell_index(connection, found, index.name(), message);
                    }
                }
                for index in computed.iter_mut() {
                    let pages = match &mut pages {
                        Some(pages) => pages,
                        none => none.insert(Pages::open(connection)?),
                    };
                    match index.has(id, pages)? {
                        Has::Entry => {}
                        Has::NotKnown(why) => {
                            found.unjudged(UnjudgedPart::Index, &index.name, &why);
                        }
                        Has::None => {
                            let message = missing(id, &index.name);
                            self.tell_index(connection, found, &index.name, message);
                        }
                    }
                }
            }
            coverage.rows += 1;
            self.follow(id);
            if slice.is_over() {
                return Ok(Came::On { further: true });
            }
        }
    }

    /// Goes on to a row, so that the next slice finds the place.
    fn follow(&mut self, id: i64) {
        if self.last.is_none_or(|last| last < id) {
            // Behind what was passed there is no last row, and the place before stays.
            self.before = self.last.replace(id).or(self.before);
        } else if self.before.is_none_or(|before| before < id) {
            // The number of the last one is damaged.
            self.last = Some(id);
        }
    }

    /// Goes past a row, or past pages, that cannot be read.
    fn step_over(
        &mut self,
        connection: &Connection,
        id: &str,
        found: &mut Gathered,
    ) -> rusqlite::Result<Came> {
        let sql = format!(
            "SELECT {id} FROM main.{} NOT INDEXED WHERE {id} > ?1 ORDER BY {id} LIMIT 1",
            quoted(&self.table)
        );
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Ok(Came::Ended(Vec::new()));
        }
        let place = self.last.or(self.before).max(self.passed);
        let from = place.unwrap_or(i64::MIN);
        let next = |after: i64| {
            let mut statement = connection.prepare(&sql)?;
            statement
                .query_row([after], |row| row.get::<_, i64>(0))
                .optional()
        };
        match next(from) {
            Ok(Some(bad)) => {
                self.tell(found, format!("the row of rowid {bad} cannot be read"));
                self.pass(bad.max(from.saturating_add(1)));
                return Ok(Came::On { further: true });
            }
            Ok(None) => return Ok(Came::Ended(Vec::new())),
            Err(error) if is_damage(&error) => {
                self.tell(found, format!("rows after rowid {from} cannot be read"));
            }
            Err(error) => return Err(error),
        }
        for power in 0..=MOST_STEP {
            let after = from.saturating_add(1_i64 << power);
            match next(after) {
                Ok(Some(good)) => {
                    self.pass(good.saturating_sub(1).max(after));
                    return Ok(Came::On { further: true });
                }
                Ok(None) => return Ok(Came::Ended(Vec::new())),
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Came::Ended(Vec::new()))
    }

    /// Goes on behind a number.
    fn pass(&mut self, number: i64) {
        (self.before, self.last) = (Some(number), None);
        self.passed = Some(number);
    }

    fn reader<'c>(
        &mut self,
        connection: &'c Connection,
        found: &mut Gathered,
    ) -> rusqlite::Result<Option<Reader<'c>>> {
        let Some((id, columns)) = columns(connection, &self.table)? else {
            return Ok(None);
        };
        let encoding = Encoding::of(connection)?;
        let (values, long) = sample::without_long(&columns, LONGEST_BYTES, encoding);
        let sql = format!(
            "SELECT {id}{values}, {long} FROM main.{} NOT INDEXED WHERE {id} > ?1 ORDER BY {id}",
            quoted(&self.table)
        );
        let rows = connection.prepare(&sql)?;
        let mut plain = sample::indexes(connection, &self.table, id, &columns, encoding)?;
        let names: Vec<String> = connection
            .prepare("SELECT name FROM pragma_index_list(?1) ORDER BY name")?
            .query_map([&self.table], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut computed = Vec::new();
        for name in names {
            match known_shape(connection, &name, &self.table)? {
                Ok(_) if plain.iter().any(|index| index.name() == name) => {}
                Ok(shape) => computed.push(Computed {
                    row: connection.prepare(&shape.row_sql())?,
                    belongs: shape
                        .belongs_sql()
                        .map(|sql| connection.prepare(&sql))
                        .transpose()?,
                    shape,
                    name,
                }),
                Err(why) => {
                    plain.retain(|index| index.name() != name);
                    if !self.left {
                        let why =
                            format!("{why}: in rollback mode only a check of a copy judges it");
                        found.unjudged(UnjudgedPart::Index, &name, &why);
                    }
                }
            }
        }
        self.left = true;
        Ok(Some(Reader {
            id,
            columns: columns.len(),
            encoding,
            rows,
            plain,
            computed,
        }))
    }

    fn tell(&self, found: &mut Gathered, message: String) {
        let table = self.table.clone();
        tell(found, DamagedObject::Table { table }, message);
    }

    fn tell_index(
        &self,
        connection: &Connection,
        found: &mut Gathered,
        index: &str,
        message: String,
    ) {
        let object = DamagedObject::Index {
            index: index.to_owned(),
            table: self.table.clone(),
            rebuildable: rebuildable(connection, index),
        };
        tell(found, object, message);
    }
}

/// As SQLite says it.
fn missing(id: i64, index: &str) -> String {
    format!("rowid {id} missing from index {index}")
}

impl Computed<'_> {
    /// Whether the row has its entry, or should have none.
    fn has(&mut self, id: i64, pages: &mut Pages<'_>) -> rusqlite::Result<Has> {
        if let Some(belongs) = &mut self.belongs
            && !belongs.exists([id])?
        {
            return Ok(Has::Entry);
        }
        let count = self.shape.parts.len();
        let entry: Vec<Owned> = self
            .row
            .query_row([id], |row| Ok(owned(&values(row, count)?)))?;
        let wanted = refs(&entry);
        let shape = &self.shape;
        let mut is_there = false;
        // The first that does not come before it.
        let place = |entry: &[Stored<'_>]| {
            if shape.order(entry, &wanted).is_lt() {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        };
        let walked = pages.walk_after(shape.root, count, &place, &mut |entry| {
            is_there = hash(entry) == hash(&wanted);
            Err(Stop::Here)
        });
        match walked {
            Ok(_) | Err(Stop::Here) => {}
            Err(Stop::Sqlite(error)) => return Err(error),
        }
        Ok(if is_there {
            Has::Entry
        } else if pages.long_entries() > 0 {
            Has::NotKnown(too_long())
        } else if shape.may_differ(&entry) {
            // The entry may lie elsewhere: its text is another one.
            Has::NotKnown(digits::WHY.to_owned())
        } else {
            Has::None
        })
    }
}

/// Whether a row has its entry.
enum Has {
    /// It has, or should have none.
    Entry,
    /// It cannot be said, and why.
    NotKnown(String),
    None,
}

/// The name of the row number and those of the columns; none when all its names are taken.
fn columns(
    connection: &Connection,
    table: &str,
) -> rusqlite::Result<Option<(&'static str, Vec<String>)>> {
    let columns: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let is_taken = |id: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(id));
    let id = ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|id| !is_taken(id));
    Ok(id.map(|id| (id, columns)))
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn behind_what_was_passed_a_slice_of_one_row_does_not_begin_anew() {
        let mut rows = Rows::new("t");
        rows.follow(1);
        rows.follow(2);
        rows.pass(3);
        rows.follow(4);
        assert_eq!((rows.before, rows.last), (Some(3), Some(4)));
        rows.follow(5);
        assert_eq!((rows.before, rows.last), (Some(4), Some(5)));
    }

    #[test]
    fn a_damaged_number_does_not_lead_the_next_slice_astray() {
        let mut rows = Rows::new("t");
        let mut places = Vec::new();
        // The third is damaged, the sixth as well.
        for id in [1, 2, 9000, 4, 5, -7, 7] {
            rows.follow(id);
            places.push((rows.before, rows.last));
        }
        let expected = [
            (None, 1),
            (Some(1), 2),
            (Some(2), 9000),
            (Some(2), 4),
            (Some(4), 5),
            (Some(4), 5),
            (Some(5), 7),
        ];
        assert_eq!(places, expected.map(|(before, last)| (before, Some(last))));
    }
}
