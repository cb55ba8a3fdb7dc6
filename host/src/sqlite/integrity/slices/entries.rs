//! The entries of an index, each with its row.

use std::cmp::Ordering;

use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use super::super::digits;
use super::super::shape::Shape;
use super::super::values::{Owned, hash, owned, refs, stored};
use super::{
    Came, Coverage, DamagedObject, Gathered, Slice, Stop, UnjudgedPart, is_damage, known_shape,
    row_name, tell,
};
use crate::sqlite::btree::{Pages, Stored, too_long};
use crate::sqlite::integrity::rebuildable;

/// The entries of one index, and how far they are read.
#[derive(Clone)]
pub(super) struct Entries {
    pub(super) table: String,
    pub(super) index: String,
    /// The last entry that was read, and the one before it: an entry whose key is damaged would lead
    /// the search for the place astray.
    last: Option<Vec<Owned>>,
    before: Option<Vec<Owned>>,
    /// Whether it was said that entries are too long to be read.
    has_long: bool,
    /// Whether it was said that entries hold numbers in other digits.
    has_other_digits: bool,
}

impl Entries {
    pub(super) fn new(table: &str, index: &str) -> Self {
        Self {
            table: table.to_owned(),
            index: index.to_owned(),
            last: None,
            before: None,
            has_long: false,
            has_other_digits: false,
        }
    }

    pub(super) fn damaged(&self, rebuildable: bool) -> DamagedObject {
        DamagedObject::Index {
            index: self.index.clone(),
            table: self.table.clone(),
            rebuildable,
        }
    }

    pub(super) fn slice(
        &mut self,
        slice: &Slice<'_>,
        found: &mut Gathered,
        coverage: &mut Coverage,
    ) -> rusqlite::Result<Came> {
        let connection = slice.connection;
        let shape = match known_shape(connection, &self.index, &self.table)? {
            Ok(shape) => shape,
            Err(why) => {
                let why = format!("{why}: in rollback mode only a check of a copy judges it");
                found.unjudged(UnjudgedPart::Index, &self.index, &why);
                return Ok(Came::Ended(Vec::new()));
            }
        };
        let mut lookup = Lookup::new(connection, &shape)?;
        let from = self.before.clone();
        let place = |entry: &[Stored<'_>]| match &from {
            Some(from) => shape.order(entry, &refs(from)),
            None => Ordering::Greater,
        };
        let mut further = false;
        // Of this moment alone: between two slices an entry may come to lie anywhere.
        let mut previous: Option<Vec<Owned>> = None;
        let mut pages = Pages::open(connection)?;
        let walked = pages.walk_after(shape.root, shape.parts.len(), &place, &mut |entry| {
            let is_after = previous
                .as_ref()
                .is_none_or(|previous| shape.order(&refs(previous), entry).is_lt());
            previous = Some(owned(entry));
            if self.is_last(entry) {
                return Ok(());
            }
            self.follow(&shape, entry);
            if !is_after {
                let identity = row_name(&shape_identity(&shape, entry));
                self.tell(
                    connection,
                    found,
                    format!("{identity} is out of order in index {}", self.index),
                );
            }
            match lookup.fault(&shape, entry, &self.index)? {
                Judged::Sound => {}
                Judged::OtherDigits => {
                    if !self.has_other_digits {
                        self.has_other_digits = true;
                        found.unjudged(UnjudgedPart::Index, &self.index, digits::WHY);
                    }
                }
                Judged::Fault(message) => self.tell(connection, found, message),
            }
            coverage.entries += 1;
            further = true;
            if slice.is_over() {
                Err(Stop::Here)
            } else {
                Ok(())
            }
        });
        let long = pages.long_entries();
        if long > 0 && !self.has_long {
            self.has_long = true;
            let why = too_long();
            found.unjudged(UnjudgedPart::Index, &self.index, &why);
        }
        match walked {
            Ok(walked) => {
                if let Some(page) = walked.unreadable.first_page {
                    let message = format!(
                        "entries of index {} cannot be read, the first on page {page}",
                        self.index
                    );
                    tell(found, self.damaged(false), message);
                }
                Ok(Came::Ended(Vec::new()))
            }
            Err(Stop::Here) => Ok(Came::On { further }),
            Err(Stop::Sqlite(error)) => Err(error),
        }
    }

    fn tell(&self, connection: &Connection, found: &mut Gathered, message: String) {
        let rebuildable = rebuildable(connection, &self.index);
        tell(found, self.damaged(rebuildable), message);
    }

    fn is_last(&self, entry: &[Stored<'_>]) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| hash(&refs(last)) == hash(entry))
    }

    /// Goes on to an entry, so that the next slice finds the place.
    fn follow(&mut self, shape: &Shape, entry: &[Stored<'_>]) {
        let comes_after = |one: &Option<Vec<Owned>>| {
            one.as_ref()
                .is_none_or(|one| shape.order(&refs(one), entry).is_lt())
        };
        if comes_after(&self.last) {
            self.before = self.last.replace(owned(entry));
        } else if comes_after(&self.before) {
            // The key of the last one is damaged, or this one came between them since.
            self.last = Some(owned(entry));
        }
    }
}

fn shape_identity(shape: &Shape, entry: &[Stored<'_>]) -> Vec<Owned> {
    let identity: Vec<Stored<'_>> = shape.identity.iter().map(|place| entry[*place]).collect();
    owned(&identity)
}

/// What the row of an entry says of it.
enum Judged {
    Sound,
    /// It differs in the digits of a number alone.
    OtherDigits,
    /// In words what speaks against it.
    Fault(String),
}

/// Finds the rows of entries.
struct Lookup<'c> {
    row: rusqlite::Statement<'c>,
    belongs: Option<rusqlite::Statement<'c>>,
}

impl<'c> Lookup<'c> {
    fn new(connection: &'c Connection, shape: &Shape) -> rusqlite::Result<Self> {
        Ok(Self {
            row: connection.prepare(&shape.row_sql())?,
            belongs: shape
                .belongs_sql()
                .map(|sql| connection.prepare(&sql))
                .transpose()?,
        })
    }

    /// Judges an entry by its row.
    fn fault(
        &mut self,
        shape: &Shape,
        entry: &[Stored<'_>],
        index: &str,
    ) -> rusqlite::Result<Judged> {
        let identity = shape_identity(shape, entry);
        let name = row_name(&identity);
        let mut judged = Judged::Sound;
        let row = self
            .row
            .query_row(params_from_iter(&identity), |row| {
                Ok(owned(&values(row, shape.parts.len())?))
            })
            .optional();
        match row {
            Ok(Some(row)) if hash(&refs(&row)) != hash(entry) => {
                if !shape.are_alike(&row, &owned(entry)) {
                    let message = format!("{name} values differ from index {index}");
                    return Ok(Judged::Fault(message));
                }
                judged = Judged::OtherDigits;
            }
            Ok(Some(_)) => {}
            Ok(None) => {
                let message = format!("{name} of index {index} is not in its table");
                return Ok(Judged::Fault(message));
            }
            // A row that cannot be read is its table's fault.
            Err(error) if is_damage(&error) => return Ok(Judged::Sound),
            Err(error) => return Err(error),
        }
        if let Some(belongs) = &mut self.belongs
            && !belongs.exists(params_from_iter(&identity))?
        {
            let message = format!("{name} does not belong into index {index}");
            return Ok(Judged::Fault(message));
        }
        Ok(judged)
    }
}

/// The values of a row that [`Shape::row_sql`] gives, where text is not UTF-16.
pub(super) fn values<'r>(row: &'r Row<'_>, count: usize) -> rusqlite::Result<Vec<Stored<'r>>> {
    (0..count)
        .map(|place| Ok(stored(row.get_ref(place)?)))
        .collect()
}
