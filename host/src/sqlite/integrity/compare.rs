//! Compares an index with its table, entry by entry and row by row.
//!
//! `integrity_check` says that a row and its index disagree, and calls that a fault of the index.
//! Which of the two is true it does not know, and a rebuild makes the row's word the only one. So
//! each entry that a rebuild would remove is looked at by itself: only when it has no row, when its
//! like stays, or when it can never have been what was written, is nothing lost by removing it.
//!
//! Both sides are read where they are: the entries from the index's own pages ([`btree`]), the rows
//! from the table's own tree (seen in the compiled statement). Memory is bounded whatever the size:
//! both are first summed up in buckets, and only what lies in buckets that differ is looked at
//! again.
//!
//! [`btree`]: crate::sqlite::btree

mod lost_rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params_from_iter};

use super::application::Witness;
use super::digits;
use super::shape::Shape;
use super::values::{Hash, Owned, hash, length, owned, refs, stored, value_shape};
use crate::row_values::DisagreeingValues;
use crate::sqlite::btree::{Pages, Stored, too_long};
use crate::sqlite::connection::without_values;
use crate::sqlite_state::{ColumnDifference, Disagreement, IndexComparison};

/// Buckets of the sums: with so many, one damaged page of an index of 100 million entries makes
/// some 100,000 entries be looked at again.
const BUCKETS: usize = 1 << 16;
/// Entries that are kept in memory at a time: 32 MiB.
const MOST_ENTRIES: u64 = 1 << 20;
/// Rows without an entry that are remembered: 16 MiB. With more nothing is said of entries that no
/// row confirms.
const MOST_MISSING: usize = 1 << 20;
/// Entries that no row confirms which are looked at one by one, and their bytes.
const MOST_UNCONFIRMED: usize = 100_000;
const MOST_UNCONFIRMED_BYTES: usize = 32 << 20;
/// Disagreements that are described.
const MOST_EXAMPLES: usize = 10;
/// Disagreements whose values are kept for a person.
const MOST_VALUES: usize = 100;

/// What was found, and for a person alone the values that disagree.
#[derive(Debug, Default)]
pub struct Compared {
    /// Without any value.
    pub comparison: IndexComparison,
    /// The values, the first of them. They go into a file that only dbmedic's user can read.
    pub values: Vec<DisagreeingValues>,
    /// Disagreements that lie in computed values alone.
    pub(super) of_expressions: u64,
    /// Whether which rows belong into the index is the application's to say.
    pub(super) filter_is_left: bool,
    /// Why another version of SQLite may compute something else for it.
    pub(super) is_versioned: Option<String>,
    /// How many disagreements lie in the digits of numbers that versions of SQLite write differently.
    pub(super) of_digits: u64,
    /// Why computed entries that no row agrees with were not looked at one by one: there are too many.
    pub(super) too_many: Option<String>,
}

impl Compared {
    /// Leaves an index to the application of which entries hold numbers in the digits of another version.
    fn leave_digits(&mut self) {
        let found = &mut self.comparison;
        if self.of_digits == 0 {
            return;
        }
        let is_all = self.of_digits == found.computed;
        let known = found.left_to_application.take().filter(|_| !is_all);
        found.left_to_application = known.or_else(|| Some(digits::WHY.into()));
    }

    /// Why the index cannot be judged, where all that speaks against it may come from functions which
    /// the application defines in its own way.
    pub(super) fn is_computed_otherwise(&self) -> Option<String> {
        let found = &self.comparison;
        if let Some(why) = &self.too_many {
            let is_explained = found.unreadable == 0 && found.rows == found.entries;
            return is_explained.then(|| {
                format!(
                    "{why}, and the index is computed: a version of SQLite may compute other values"
                )
            });
        }
        let why = found.left_to_application.as_ref()?;
        if self.of_digits > 0 && self.of_digits == found.computed {
            let is_all = found.unreadable == 0
                && found.is_compared
                && found.disagreements == self.of_digits
                && found.missing_entries <= self.of_digits
                && found.removable.total() == 0
                && found.rows == found.entries;
            let entries = self.of_digits;
            return is_all.then(|| {
                format!(
                    "{entries} entries hold numbers in other digits than the rows give, and {why}"
                )
            });
        }
        let differs = found.missing_entries + found.removable.total() + found.disagreements > 0
            || found.rows != found.entries;
        let explained = found.unreadable == 0
            && found.is_compared
            && found.disagreements == found.computed
            && found.removable.total() == 0
            && (self.filter_is_left
                || found.missing_entries <= found.computed && found.rows == found.entries);
        (differs && explained).then(|| {
            let odd = found.computed.max(found.rows.abs_diff(found.entries));
            if self.filter_is_left {
                format!(
                    "by SQLite's own functions {odd} entries are missing, too many, or hold another \
                     value, and {why}"
                )
            } else {
                format!(
                    "{odd} entries hold another value than SQLite's own functions compute, and {why}"
                )
            }
        })
    }
}

/// Compares. Must be called within one transaction, so that both sides are of one moment. What
/// cannot be read or understood is told in [`IndexComparison::unproven`].
///
/// # Errors
///
/// SQLite's own when it was interrupted or busy: then nothing is said.
pub fn compare(connection: &Connection, index: &str, table: &str) -> rusqlite::Result<Compared> {
    let mut compared = Compared {
        comparison: IndexComparison {
            index: index.to_owned(),
            table: table.to_owned(),
            ..IndexComparison::default()
        },
        ..Compared::default()
    };
    match compare_into(connection, &mut compared) {
        Ok(()) => {
            let found = &mut compared.comparison;
            if let Some(why) = &found.left_to_application {
                found.unproven.get_or_insert_with(|| {
                    format!(
                        "{why}, so that only the application can build the index: run REINDEX there"
                    )
                });
            }
        }
        Err(Trouble::NotComparable(why)) => compared.comparison.unproven = Some(why),
        Err(Trouble::TooMany(why)) => {
            let shape = Shape::read(connection, index, table)?;
            if shape.is_ok_and(|shape| shape.is_computed()) {
                compared.too_many = Some(why.clone());
            }
            compared.comparison.unproven = Some(why);
        }
        Err(Trouble::Sqlite(error)) => match error.sqlite_error_code() {
            Some(
                ErrorCode::OperationInterrupted
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory,
            ) => return Err(error),
            _ => compared.comparison.unproven = Some(without_values(&error)),
        },
    }
    Ok(compared)
}

/// Whether the application may define something of an index in its own way; false where that cannot be
/// read.
pub(super) fn is_left_to_application(connection: &Connection, index: &str, table: &str) -> bool {
    let shape = Shape::read(connection, index, table);
    shape.is_ok_and(|shape| shape.is_ok_and(|shape| shape.left_to_application().is_some()))
}

/// Whether the application may compute something of an index in another way than dbmedic's SQLite; false
/// where that cannot be read.
pub(super) fn may_be_computed_otherwise(connection: &Connection, index: &str, table: &str) -> bool {
    let shape = Shape::read(connection, index, table);
    shape.is_ok_and(|shape| {
        shape.is_ok_and(|shape| shape.is_computed() || shape.left_to_application().is_some())
    })
}

/// The statement that reads all rows of an index's table, every column, from the table's own tree
/// and no index. In words why there is none.
///
/// # Errors
///
/// SQLite's own.
pub fn rows_of(
    connection: &Connection,
    index: &str,
    table: &str,
) -> rusqlite::Result<Result<String, String>> {
    let shape = match Shape::read(connection, index, table)? {
        Ok(shape) => shape,
        Err(why) => return Ok(Err(why)),
    };
    let sql = shape.whole_rows_sql();
    if shape.reads_the_table(connection, &sql)? {
        Ok(Ok(sql))
    } else {
        Ok(Err("the rows cannot be read without an index".into()))
    }
}

enum Trouble {
    Sqlite(rusqlite::Error),
    NotComparable(String),
    /// There are more differences than are looked at.
    TooMany(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::NotComparable(why)
    }
}

/// What the index is made of; says also what of it the application, or another version of SQLite, may compute
/// in its own way.
fn shape_of(connection: &Connection, compared: &mut Compared) -> Result<Shape, Trouble> {
    let found = &mut compared.comparison;
    let shape = Shape::read(connection, &found.index, &found.table)??;
    compared.is_versioned = shape.differs_by_version(connection)?;
    let versioned = compared.is_versioned.clone();
    found.left_to_application = shape.left_to_application().or(versioned);
    compared.filter_is_left =
        shape.filter_is_left() || shape.filter_hangs_on_version(connection)?;
    Ok(shape)
}

fn compare_into(connection: &Connection, compared: &mut Compared) -> Result<(), Trouble> {
    let shape = shape_of(connection, compared)?;
    let found = &mut compared.comparison;
    for sql in [
        Some(shape.rows_sql("")),
        Some(shape.row_sql()),
        shape.belongs_sql(),
    ] {
        if let Some(sql) = sql
            && !shape.reads_the_table(connection, &sql)?
        {
            return Err(Trouble::NotComparable(
                "the rows cannot be read without an index".into(),
            ));
        }
    }
    let mut sides = Sides {
        connection,
        pages: Pages::open(connection)?,
        shape,
    };
    // How many entries and rows there are, and in which buckets they differ.
    let mut entries = Buckets::new();
    let mut rows = Buckets::new();
    // Whether the application's own order and functions are SQLite's shows in what it wrote.
    let mut witness = found
        .left_to_application
        .as_ref()
        .filter(|_| compared.is_versioned.is_none())
        .map(|_| Witness::new(sides.shape.clone()));
    let walked = sides.entries(&mut |entry| {
        entries.add(hash(entry));
        if let Some(witness) = &mut witness {
            witness.entry(entry);
        }
        Ok(())
    })?;
    found.entries = walked.entries;
    found.pages = walked.pages;
    if walked.long > 0 && walked.unreadable.is_nothing() {
        return Err(Trouble::NotComparable(too_long()));
    }
    if !walked.unreadable.is_nothing() {
        let unreadable = &walked.unreadable;
        found.unreadable = unreadable.entries + unreadable.pages;
        found.unproven = Some(format!(
            "{} entries and {} pages of the index cannot be read, the first at page {}: what they \
             held is not known",
            unreadable.entries,
            unreadable.pages,
            unreadable.first_page.unwrap_or(0)
        ));
    }
    sides.rows(&mut |row| {
        found.rows += 1;
        rows.add(hash(row));
        Ok(())
    })?;
    let mut unconfirmed: HashSet<Hash> = HashSet::new();
    let mut missing: HashSet<Hash> = HashSet::new();
    for group in entries.differing(&rows) {
        sides.settle(&group, found, &mut unconfirmed, &mut missing)?;
    }
    if unconfirmed.len() > MOST_UNCONFIRMED {
        return Err(Trouble::TooMany(format!(
            "more than {MOST_UNCONFIRMED} entries have no row that agrees with them: too many to \
             be looked at one by one"
        )));
    }
    if !unconfirmed.is_empty() {
        if found.missing_entries > missing.len() as u64 {
            return Err(Trouble::TooMany(format!(
                "{} rows have no entry: too many to find among them those of {} entries that no \
                 row agrees with",
                found.missing_entries,
                unconfirmed.len()
            )));
        }
        sides.judge(&unconfirmed, &missing, compared)?;
    }
    let (of_expressions, of_digits) = (compared.of_expressions, compared.of_digits);
    let found = &mut compared.comparison;
    found.is_compared = true;
    // A function that gives something else for most rows is another function, whatever it gives.
    if of_digits == 0 && of_expressions.saturating_mul(2) > found.rows {
        found.computed = of_expressions;
    }
    if witness.is_some_and(|witness| witness.shows_own_definitions(found)) {
        found.left_to_application = None;
    }
    compared.leave_digits();
    let found = &mut compared.comparison;
    if let Some(sql) = sides.shape.shared_keys_sql()
        && sides.shape.reads_the_table(connection, &sql)?
    {
        let shared: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        found.shared_keys = u64::try_from(shared).unwrap_or(0);
    }
    found.expected_lock_ms = sides.expected_lock_ms(found.pages)?;
    Ok(())
}

/// Sums of what lies in each bucket, in which the order does not count.
struct Buckets(Vec<(u64, Hash)>);

/// The buckets of a pass.
type Group = BTreeSet<usize>;

fn bucket(hash: Hash) -> usize {
    usize::try_from(hash >> 112).unwrap_or(0) % BUCKETS
}

impl Buckets {
    fn new() -> Self {
        Self(vec![(0, 0); BUCKETS])
    }

    fn add(&mut self, hash: Hash) {
        let (count, sum) = &mut self.0[bucket(hash)];
        *count += 1;
        *sum = sum.wrapping_add(hash);
    }

    /// The buckets that differ, in groups of which each fits into memory.
    fn differing(&self, rows: &Self) -> Vec<Group> {
        let mut groups = vec![(0, Group::new())];
        for (at, (mine, theirs)) in self.0.iter().zip(&rows.0).enumerate() {
            if mine == theirs {
                continue;
            }
            if let Some((held, group)) = groups.last_mut()
                && (group.is_empty() || *held + mine.0 <= MOST_ENTRIES)
            {
                *held += mine.0;
                group.insert(at);
            } else {
                groups.push((mine.0, Group::from([at])));
            }
        }
        let groups = groups.into_iter().map(|(_, group)| group);
        groups.filter(|group| !group.is_empty()).collect()
    }
}

/// An entry that no row confirms, with the nearest entries that rows do confirm.
struct Unconfirmed {
    number: u64,
    entry: Vec<Owned>,
    before: Option<Rc<Vec<Owned>>>,
    after: Option<Rc<Vec<Owned>>>,
}

/// A row that has no entry although one has its key.
struct Candidate {
    identity: Vec<Owned>,
}

/// The two sides that are compared.
struct Sides<'c> {
    connection: &'c Connection,
    pages: Pages<'c>,
    shape: Shape,
}

type Visit<'v> = dyn FnMut(&[Stored<'_>]) -> Result<(), Trouble> + 'v;

impl Sides<'_> {
    fn entries(&mut self, visit: &mut Visit<'_>) -> Result<crate::sqlite::btree::Walked, Trouble> {
        self.pages
            .walk(self.shape.root, self.shape.parts.len(), visit)
    }

    /// Visits the entry that each row should have.
    fn rows(&self, visit: &mut Visit<'_>) -> Result<(), Trouble> {
        let mut statement = self.connection.prepare(&self.shape.rows_sql(""))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            visit(&self.entry_of(row)?)?;
        }
        Ok(())
    }

    fn entry_of<'r>(&self, row: &'r Row<'_>) -> rusqlite::Result<Vec<Stored<'r>>> {
        let mut entry = Vec::with_capacity(self.shape.parts.len());
        let width = self.shape.width();
        for place in 0..self.shape.parts.len() {
            let value = stored(row.get_ref(place * width)?);
            let is_text = width > 1 && row.get::<_, bool>(place * width + 1)?;
            entry.push(match value {
                Stored::Blob(bytes) if is_text => Stored::Text(bytes),
                value => value,
            });
        }
        Ok(entry)
    }

    /// Finds, in a group of buckets, the entries that no row confirms and the rows without an entry.
    fn settle(
        &mut self,
        group: &Group,
        found: &mut IndexComparison,
        unconfirmed: &mut HashSet<Hash>,
        missing: &mut HashSet<Hash>,
    ) -> Result<(), Trouble> {
        let mut hashes: Vec<Hash> = Vec::new();
        self.entries(&mut |entry| {
            let hash = hash(entry);
            if group.contains(&bucket(hash)) {
                hashes.push(hash);
            }
            Ok(())
        })?;
        hashes.sort_unstable();
        // Each hash with how often it is there, and how many rows confirmed it.
        let mut counted: Vec<(Hash, u32, u32)> = Vec::new();
        for hash in hashes {
            match counted.last_mut() {
                Some((last, count, _)) if *last == hash => *count += 1,
                _ => counted.push((hash, 1, 0)),
            }
        }
        self.rows(&mut |row| {
            let hash = hash(row);
            if !group.contains(&bucket(hash)) {
                return Ok(());
            }
            if let Ok(at) = counted.binary_search_by_key(&hash, |(hash, ..)| *hash) {
                counted[at].2 += 1;
            } else {
                found.missing_entries += 1;
                if missing.len() < MOST_MISSING {
                    missing.insert(hash);
                }
            }
            Ok(())
        })?;
        for (hash, entries, rows) in counted {
            if rows > 0 {
                found.removable.duplicates += u64::from(entries.saturating_sub(rows));
            } else if unconfirmed.len() <= MOST_UNCONFIRMED {
                // Twice the same that no row confirms: one of them goes as the other's duplicate.
                found.removable.duplicates += u64::from(entries - 1);
                unconfirmed.insert(hash);
            }
        }
        Ok(())
    }

    /// Judges each entry that no row confirms.
    fn judge(
        &mut self,
        unconfirmed: &HashSet<Hash>,
        missing: &HashSet<Hash>,
        compared: &mut Compared,
    ) -> Result<(), Trouble> {
        let (entries, is_ordered) = self.read_unconfirmed(unconfirmed)?;
        let candidates = self.candidates(&entries, missing)?;
        let row_sql = self.shape.row_sql();
        let belongs_sql = self.shape.belongs_sql();
        let mut row_of = self.connection.prepare(&row_sql)?;
        let mut belongs = belongs_sql
            .map(|sql| self.connection.prepare(&sql))
            .transpose()?;
        let between = self.shape.between_sql();
        let mut between = between
            .map(|sql| self.connection.prepare(&sql))
            .transpose()?;
        let mut without_row: HashSet<Hash> = HashSet::new();
        for unconfirmed in &entries {
            let identity: Vec<Owned> = self.identity(&unconfirmed.entry);
            let keyed = candidates.get(&self.key_hash(&refs(&unconfirmed.entry)));
            let can_be_looked_up =
                !self.shape.has_rowid || matches!(identity.as_slice(), [Owned::Integer(_)]);
            if self.shape.width() > 1 && identity.iter().any(|id| matches!(id, Owned::Text(_))) {
                return Err(Trouble::NotComparable(
                    "rows are identified by UTF-16 text, which is not compared".into(),
                ));
            }
            let row: Option<Vec<Owned>> = if can_be_looked_up {
                row_of
                    .query_row(params_from_iter(&identity), |row| {
                        Ok(owned(&self.entry_of(row)?))
                    })
                    .optional()?
            } else {
                None
            };
            let removable = &mut compared.comparison.removable;
            let Some(row) = row else {
                let mut moved = None;
                for candidate in keyed.into_iter().flatten() {
                    if can_be_looked_up
                        && could_be_moved(between.as_mut(), &identity, &candidate.identity)?
                    {
                        moved = Some(candidate);
                        break;
                    }
                }
                if let Some(candidate) = moved {
                    // The same key under another identity: the row's may be the damaged one.
                    let mut row = unconfirmed.entry.clone();
                    for (place, value) in self.shape.identity.iter().zip(&candidate.identity) {
                        row[*place] = value.clone();
                    }
                    self.disagree(unconfirmed, &row, false, false, compared);
                } else {
                    removable.without_row += 1;
                    without_row.insert(hash(&refs(&identity)));
                }
                continue;
            };
            let is_in = match belongs.as_mut() {
                Some(statement) => statement.exists(params_from_iter(&identity))?,
                None => true,
            };
            let has_own_entry = is_in && !missing.contains(&hash(&refs(&row)));
            let place = if is_ordered {
                self.place(unconfirmed, &row)
            } else {
                Place::default()
            };
            if has_own_entry && keyed.is_some_and(|keyed| !keyed.is_empty()) {
                removable.misnamed += 1;
            } else if place.entry_is_wrong && (has_own_entry || is_in && place.row_is_right) {
                removable.out_of_place += 1;
            } else {
                self.disagree(unconfirmed, &row, has_own_entry, !is_in, compared);
            }
        }
        self.look_for_lost_rows(&without_row, compared)
    }

    /// Reads the entries that no row confirms, each with its nearest neighbours that a row does
    /// confirm. Says also whether those lie in the order of the index all through.
    fn read_unconfirmed(
        &mut self,
        hashes: &HashSet<Hash>,
    ) -> Result<(Vec<Unconfirmed>, bool), Trouble> {
        let shape = self.shape.clone();
        let mut ordered = shape.order_is_known();
        let mut number = 0;
        let mut bytes = 0;
        let mut seen = HashSet::new();
        let mut read: Vec<Unconfirmed> = Vec::new();
        let mut waiting = 0;
        let mut before: Option<Vec<Owned>> = None;
        let mut before_shared: Option<Rc<Vec<Owned>>> = None;
        self.entries(&mut |entry| {
            number += 1;
            let hash = hash(entry);
            if !hashes.contains(&hash) {
                if let Some(before) = &before {
                    ordered &= shape.order(&refs(before), entry).is_le();
                }
                if waiting < read.len() {
                    let after = Rc::new(owned(entry));
                    for waiting in &mut read[waiting..] {
                        waiting.after = Some(Rc::clone(&after));
                    }
                    waiting = read.len();
                }
                before = Some(owned(entry));
                before_shared = None;
            } else if seen.insert(hash) {
                bytes += entry.iter().map(|value| length(value) + 64).sum::<usize>();
                if bytes > MOST_UNCONFIRMED_BYTES {
                    return Err(Trouble::TooMany(
                        "the entries that no row agrees with are too large to be looked at".into(),
                    ));
                }
                if before_shared.is_none() {
                    before_shared = before.clone().map(Rc::new);
                }
                read.push(Unconfirmed {
                    number,
                    entry: owned(entry),
                    before: before_shared.clone(),
                    after: None,
                });
            }
            Ok(())
        })?;
        Ok((read, ordered))
    }

    /// The rows without an entry that have the key of one of these entries, by that key.
    fn candidates(
        &self,
        entries: &[Unconfirmed],
        missing: &HashSet<Hash>,
    ) -> Result<HashMap<Hash, Vec<Candidate>>, Trouble> {
        let keys: HashSet<Hash> = entries
            .iter()
            .map(|unconfirmed| self.key_hash(&refs(&unconfirmed.entry)))
            .collect();
        let mut found: HashMap<Hash, Vec<Candidate>> = HashMap::new();
        if missing.is_empty() {
            return Ok(found);
        }
        let mut kept = 0;
        self.rows(&mut |row| {
            let key = self.key_hash(row);
            if keys.contains(&key) && missing.contains(&hash(row)) {
                kept += 1;
                if kept > MOST_UNCONFIRMED {
                    return Err(Trouble::TooMany(
                        "too many rows without an entry have the keys of entries without a row"
                            .into(),
                    ));
                }
                found.entry(key).or_default().push(Candidate {
                    identity: self.identity(&owned(row)),
                });
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn identity(&self, entry: &[Owned]) -> Vec<Owned> {
        let places = self.shape.identity.iter();
        places.map(|place| entry[*place].clone()).collect()
    }

    /// The hash of what an entry holds beside its row's identity.
    fn key_hash(&self, entry: &[Stored<'_>]) -> Hash {
        let key: Vec<Stored<'_>> = entry
            .iter()
            .zip(&self.shape.parts)
            .filter_map(|(value, part)| part.is_key.then_some(*value))
            .collect();
        hash(&key)
    }

    /// Whether the entry, and what the row would have in its place, fit between the neighbours.
    fn place(&self, unconfirmed: &Unconfirmed, row: &[Owned]) -> Place {
        let fits = |entry: &[Stored<'_>]| {
            let before = unconfirmed.before.as_ref();
            let after = unconfirmed.after.as_ref();
            before.is_none_or(|before| self.shape.order(&refs(before), entry).is_le())
                && after.is_none_or(|after| self.shape.order(entry, &refs(after)).is_le())
        };
        Place {
            entry_is_wrong: !fits(&refs(&unconfirmed.entry)),
            row_is_right: fits(&refs(row)),
        }
    }

    fn disagree(
        &self,
        unconfirmed: &Unconfirmed,
        row: &[Owned],
        surplus: bool,
        not_belonging: bool,
        compared: &mut Compared,
    ) {
        let found = &mut compared.comparison;
        found.disagreements += 1;
        let (mut columns, mut values) = (Vec::new(), BTreeMap::new());
        let both = row.iter().zip(&unconfirmed.entry).zip(&self.shape.parts);
        let (mut is_computed, mut may_be_own) = (true, true);
        for ((of_row, of_entry), part) in both {
            if hash(&[of_row.into()]) == hash(&[of_entry.into()]) {
                continue;
            }
            is_computed &= part.is_computed();
            // What another definition gives for text shows in the text. Of a number or NULL nobody knows
            // what it was made of.
            let are_texts = matches!((of_row, of_entry), (Owned::Text(_), Owned::Text(_)));
            may_be_own &= part.is_computed()
                && (compared.is_versioned.is_some()
                    || is_beyond_ascii(of_row, of_entry)
                    || !are_texts && self.shape.calls_of_application());
            columns.push(ColumnDifference {
                column: part.name.clone(),
                row: value_shape(&of_row.into()),
                entry: value_shape(&of_entry.into()),
            });
            values.insert(part.name.clone(), (of_row.into(), of_entry.into()));
        }
        let by_filter = not_belonging && compared.filter_is_left;
        is_computed &= !not_belonging || by_filter;
        let is_digits = !not_belonging && self.shape.are_alike(row, &unconfirmed.entry);
        compared.of_digits += u64::from(is_digits);
        compared.of_expressions += u64::from(is_computed);
        found.computed += u64::from(is_digits || is_computed && (may_be_own || by_filter));
        let identity = self.shape.identity.iter();
        let identity = identity.map(|place| (*place, &unconfirmed.entry[*place]));
        if compared.values.len() < MOST_VALUES {
            compared.values.push(DisagreeingValues {
                index: found.index.clone(),
                table: found.table.clone(),
                entry: unconfirmed.number,
                row: identity
                    .clone()
                    .map(|(place, value)| (self.shape.parts[place].name.clone(), value.into()))
                    .collect(),
                columns: values,
            });
        }
        if found.examples.len() < MOST_EXAMPLES {
            let rowid = match identity.clone().next() {
                Some((_, Owned::Integer(rowid))) if self.shape.has_rowid => Some(*rowid),
                _ => None,
            };
            found.examples.push(Disagreement {
                rowid,
                entry: unconfirmed.number,
                columns,
                surplus,
                not_belonging,
            });
        }
    }

    /// How long a rebuild would hold writers out. Reading and sorting the rows is what SQLite does
    /// for it too; the pages of the new index and of the old one are written on top.
    fn expected_lock_ms(&self, pages: u64) -> Result<Option<u64>, Trouble> {
        let begin = Instant::now();
        // An unknown collation: then the index cannot be built at all.
        let Ok(mut statement) = self.connection.prepare(&self.shape.sort_sql()) else {
            return Ok(None);
        };
        // The first row comes when all are sorted.
        statement.query([])?.next()?;
        let sorted = begin.elapsed();
        let page_bytes: u32 = self
            .connection
            .query_row("PRAGMA main.page_size", [], |row| row.get(0))?;
        Ok(Some(lock_ms(
            sorted,
            pages.saturating_mul(page_bytes.into()),
        )))
    }
}

/// From the time to read and sort the rows, and the bytes of the index.
fn lock_ms(sorted: std::time::Duration, index_bytes: u64) -> u64 {
    /// What a disk of the slower kind writes and syncs in a millisecond: 100 MB a second.
    const BYTES_PER_MS: u64 = 100_000;
    /// To begin and to sync a transaction.
    const FIXED_MS: u64 = 10;
    let sorted = u64::try_from(sorted.as_millis()).unwrap_or(u64::MAX);
    // Sorted once more, and each row made into an entry.
    FIXED_MS + sorted.saturating_mul(2) + index_bytes / BYTES_PER_MS
}

/// Whether two computed texts may differ because their functions know letters beyond ASCII, of which
/// SQLite's own know nothing. What is no text in UTF-8 no function has made.
fn is_beyond_ascii(of_row: &Owned, of_entry: &Owned) -> bool {
    match (of_row, of_entry) {
        (Owned::Text(row), Owned::Text(entry)) => {
            !(row.is_ascii() && entry.is_ascii()) && std::str::from_utf8(entry).is_ok()
        }
        _ => false,
    }
}

/// Which of the two fits where the entry lies.
#[derive(Default)]
struct Place {
    entry_is_wrong: bool,
    row_is_right: bool,
}

/// Whether a row of the one identity could lie where that of the other does: rows lie in the order
/// of their identities, so none may be in between.
fn could_be_moved(
    between: Option<&mut rusqlite::Statement<'_>>,
    one: &[Owned],
    other: &[Owned],
) -> rusqlite::Result<bool> {
    match (between, one, other) {
        (Some(statement), [one], [other]) => Ok(!statement.exists([one, other])?),
        // Nobody knows.
        _ => Ok(true),
    }
}
