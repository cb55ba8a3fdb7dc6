//! Reads the entries of an index from its own pages.
//!
//! SQLite answers from an index only when its planner likes to, and leaves out what it takes for
//! granted; what an index really holds is on its pages. They come through the `sqlite_dbpage`
//! table, so they are those of the connection's transaction, the log included. The format is
//! <https://www.sqlite.org/fileformat2.html>, sections 1.6 and 2.1. Nothing on a page is believed:
//! whatever it says, reading ends, and in bounded memory.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement};

/// The deepest tree that SQLite itself follows (`BTCURSOR_MAX_DEPTH`).
const MAX_DEPTH: usize = 20;
/// The longest entry that is read, bytes. SQLite allows more: a longer one is no damage, and nothing is
/// said of it.
const MAX_ENTRY_BYTES: usize = 16 << 20;

const INTERIOR_INDEX: u8 = 0x02;
const LEAF_INDEX: u8 = 0x0a;

/// A value of an entry or of a row, as it is stored. Text is in the database's encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stored<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// What could not be read of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Pages that are no pages of an index, or not there.
    pub(super) pages: u64,
    /// Entries that are no record of as many values as the index has.
    pub(super) entries: u64,
    /// The first such page.
    pub(super) first_page: Option<u32>,
}

impl Unreadable {
    pub(super) fn is_nothing(&self) -> bool {
        self.pages == 0 && self.entries == 0
    }

    fn page(&mut self, page: u32) {
        self.pages += 1;
        self.first_page.get_or_insert(page);
    }

    fn entry(&mut self, page: u32) {
        self.entries += 1;
        self.first_page.get_or_insert(page);
    }
}

/// What came of walking a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Walked {
    pub(super) entries: u64,
    pub(super) pages: u64,
    pub(super) unreadable: Unreadable,
    /// Entries that are longer than what is read.
    pub(super) long: u64,
}

/// What came of gathering the bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathered {
    Whole,
    /// It is longer than what is read, and not longer than the database.
    TooLong,
    Broken,
}

/// Why an index with entries that were not read is not judged.
pub(super) fn too_long() -> String {
    format!(
        "it has entries of more than {} MiB, which is the most that is read of one",
        MAX_ENTRY_BYTES >> 20
    )
}

/// The pages of a database, as a connection sees them.
pub(super) struct Pages<'c> {
    page: Statement<'c>,
    count: u64,
    usable: usize,
    /// Entries that were met and are longer than what is read.
    long: u64,
}

impl<'c> Pages<'c> {
    /// # Errors
    ///
    /// SQLite's own; "no such table" when it was built without `SQLITE_ENABLE_DBPAGE_VTAB`.
    pub(super) fn open(connection: &'c Connection) -> rusqlite::Result<Self> {
        let count: i64 = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0))?;
        let mut pages = Self {
            page: connection.prepare("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1")?,
            count: u64::try_from(count).unwrap_or(0),
            usable: 0,
            long: 0,
        };
        let mut first = Vec::new();
        let reserved = pages
            .read(1, &mut first)?
            .then(|| first.get(20).copied())
            .flatten();
        // SQLite itself refuses less than 480 usable bytes.
        pages.usable = first
            .len()
            .saturating_sub(usize::from(reserved.unwrap_or(0)));
        Ok(pages)
    }

    /// How many entries were met until now that are longer than what is read. Where it is not 0, an entry
    /// that was not found may be there all the same.
    pub(super) fn long_entries(&self) -> u64 {
        self.long
    }

    /// Reads a page; false when there is none of this number.
    fn read(&mut self, number: u32, into: &mut Vec<u8>) -> rusqlite::Result<bool> {
        into.clear();
        let mut rows = self.page.query([number])?;
        let Some(row) = rows.next()? else {
            return Ok(false);
        };
        if let ValueRef::Blob(bytes) = row.get_ref(0)? {
            into.extend_from_slice(bytes);
        }
        Ok(!into.is_empty())
    }

    /// Visits every entry below a root page, in the order of the tree. Each entry must hold
    /// `columns` values. What cannot be read is counted and passed over.
    ///
    /// # Errors
    ///
    /// SQLite's own, and what `visit` says.
    pub(super) fn walk<E: From<rusqlite::Error>>(
        &mut self,
        root: u32,
        columns: usize,
        visit: &mut dyn FnMut(&[Stored<'_>]) -> Result<(), E>,
    ) -> Result<Walked, E> {
        self.walk_within(root, columns..=columns, visit)
    }

    /// The same for entries of so many values: of a table without rowids, to which columns were
    /// added since, some rows have fewer.
    ///
    /// # Errors
    ///
    /// As [`Self::walk`].
    pub(super) fn walk_within<E: From<rusqlite::Error>>(
        &mut self,
        root: u32,
        columns: RangeInclusive<usize>,
        visit: &mut dyn FnMut(&[Stored<'_>]) -> Result<(), E>,
    ) -> Result<Walked, E> {
        let mut walked = Walked::default();
        let mut stack = Vec::new();
        self.enter(root, &mut stack, &mut walked)?;
        self.walk_on(stack, walked, &columns, visit)
    }

    /// The same from the first entry on that `place` says comes after what is looked for. It must say so
    /// of all later ones, and of no earlier one; where the order of the tree is damaged, entries may be
    /// passed over.
    ///
    /// # Errors
    ///
    /// As [`Self::walk`].
    pub(super) fn walk_after<E: From<rusqlite::Error>>(
        &mut self,
        root: u32,
        columns: usize,
        place: &dyn Fn(&[Stored<'_>]) -> Ordering,
        visit: &mut dyn FnMut(&[Stored<'_>]) -> Result<(), E>,
    ) -> Result<Walked, E> {
        let mut walked = Walked::default();
        let mut stack = Vec::new();
        let columns = columns..=columns;
        let mut next = Some(root);
        while let Some(page) = next.take() {
            if stack.len() >= MAX_DEPTH {
                walked.unreadable.page(page);
                break;
            }
            let depth = stack.len();
            self.enter(page, &mut stack, &mut walked)?;
            if stack.len() == depth {
                break;
            }
            let Some(mut level) = stack.pop() else { break };
            let first = self.first_after(&level, &columns, place)?;
            level.at = if level.interior { 2 * first } else { first };
            if level.interior
                && let Step::Child(child) = level.step()
            {
                next = Some(child);
            }
            stack.push(level);
        }
        self.walk_on(stack, walked, &columns, visit)
    }

    /// The number of the first cell of a page that comes after what is looked for.
    fn first_after(
        &mut self,
        level: &Level,
        columns: &RangeInclusive<usize>,
        place: &dyn Fn(&[Stored<'_>]) -> Ordering,
    ) -> rusqlite::Result<usize> {
        let (mut record, mut overflow) = (Vec::new(), Vec::new());
        let (head, behind_child) = if level.interior { (12, 4) } else { (8, 0) };
        let (mut low, mut high) = (0, level.cells);
        while low < high {
            let middle = low + (high - low) / 2;
            // Of an entry that cannot be read nobody knows the place: the nearest before it tells.
            let mut at = middle;
            let is_after = loop {
                let cell = level.cell(head, at).map(|cell| cell + behind_child);
                let gathered = match cell {
                    Some(cell) => self.record(&level.bytes, cell, &mut record, &mut overflow)?,
                    None => Gathered::Broken,
                };
                let entry = (gathered == Gathered::Whole).then(|| values(&record, columns));
                if let Some(entry) = entry.flatten() {
                    break place(&entry).is_gt();
                }
                if at == low {
                    break false;
                }
                at -= 1;
            };
            if is_after {
                high = at;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    fn walk_on<E: From<rusqlite::Error>>(
        &mut self,
        mut stack: Vec<Level>,
        mut walked: Walked,
        columns: &RangeInclusive<usize>,
        visit: &mut dyn FnMut(&[Stored<'_>]) -> Result<(), E>,
    ) -> Result<Walked, E> {
        let (mut record, mut overflow) = (Vec::new(), Vec::new());
        while let Some(at) = stack.last_mut() {
            let step = at.step();
            match step {
                Step::Child(child) => {
                    if stack.len() >= MAX_DEPTH || walked.pages > self.count {
                        walked.unreadable.page(child);
                    } else {
                        self.enter(child, &mut stack, &mut walked)?;
                    }
                }
                Step::Entry(cell) => {
                    let page = at.number;
                    let gathered = self.record(&at.bytes, cell, &mut record, &mut overflow)?;
                    if gathered == Gathered::TooLong {
                        walked.long += 1;
                        continue;
                    }
                    let whole = gathered == Gathered::Whole;
                    match whole.then(|| values(&record, columns)).flatten() {
                        Some(values) => {
                            walked.entries += 1;
                            visit(&values)?;
                        }
                        None => walked.unreadable.entry(page),
                    }
                }
                Step::NoCell => {
                    let page = at.number;
                    walked.unreadable.entry(page);
                }
                Step::Done => {
                    stack.pop();
                }
            }
        }
        Ok(walked)
    }

    fn enter(
        &mut self,
        number: u32,
        stack: &mut Vec<Level>,
        walked: &mut Walked,
    ) -> rusqlite::Result<()> {
        let mut bytes = Vec::new();
        if number == 0 || u64::from(number) > self.count || !self.read(number, &mut bytes)? {
            walked.unreadable.page(number);
            return Ok(());
        }
        walked.pages += 1;
        match Level::new(number, bytes) {
            Some(level) => stack.push(level),
            None => walked.unreadable.page(number),
        }
        Ok(())
    }

    /// Gathers the bytes of a record, those on overflow pages included.
    fn record(
        &mut self,
        page: &[u8],
        cell: usize,
        record: &mut Vec<u8>,
        overflow: &mut Vec<u8>,
    ) -> rusqlite::Result<Gathered> {
        record.clear();
        let Some((length, head)) = page.get(cell..).and_then(varint) else {
            return Ok(Gathered::Broken);
        };
        let held = self.count.saturating_mul(self.usable as u64);
        let length = match usize::try_from(length) {
            // No database holds an entry that is longer than all of it.
            Ok(length) if length as u64 <= held && self.usable >= 480 => length,
            _ => return Ok(Gathered::Broken),
        };
        if length > MAX_ENTRY_BYTES {
            self.long += 1;
            return Ok(Gathered::TooLong);
        }
        let start = cell + head;
        let local = local_bytes(length, self.usable);
        let Some(bytes) = page.get(start..start + local) else {
            return Ok(Gathered::Broken);
        };
        record.extend_from_slice(bytes);
        let Some(mut next) = (local == length)
            .then_some(0)
            .or_else(|| be_u32(page, start + local))
        else {
            return Ok(Gathered::Broken);
        };
        while record.len() < length {
            if next == 0 || u64::from(next) > self.count || !self.read(next, overflow)? {
                return Ok(Gathered::Broken);
            }
            let take = (length - record.len()).min(self.usable - 4);
            let Some(bytes) = overflow.get(4..4 + take) else {
                return Ok(Gathered::Broken);
            };
            record.extend_from_slice(bytes);
            next = be_u32(overflow, 0).unwrap_or(0);
        }
        Ok(Gathered::Whole)
    }
}

/// One page on the way down, and how far it is visited.
struct Level {
    number: u32,
    bytes: Vec<u8>,
    interior: bool,
    cells: usize,
    /// Twice the cell for an interior page: first its child, then its own entry.
    at: usize,
}

enum Step {
    Child(u32),
    Entry(usize),
    NoCell,
    Done,
}

impl Level {
    /// None when it is no page of an index.
    fn new(number: u32, bytes: Vec<u8>) -> Option<Self> {
        let interior = match bytes.first() {
            Some(&INTERIOR_INDEX) => true,
            Some(&LEAF_INDEX) => false,
            _ => return None,
        };
        let cells = usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?]));
        let head = if interior { 12 } else { 8 };
        (head + 2 * cells <= bytes.len()).then_some(Self {
            number,
            bytes,
            interior,
            cells,
            at: 0,
        })
    }

    fn step(&mut self) -> Step {
        let at = self.at;
        self.at += 1;
        if !self.interior {
            return if at < self.cells {
                self.cell(8, at).map_or(Step::NoCell, Step::Entry)
            } else {
                Step::Done
            };
        }
        let number = at / 2;
        match (number.cmp(&self.cells), at % 2) {
            (std::cmp::Ordering::Less, 0) => self
                .cell(12, number)
                .and_then(|cell| be_u32(&self.bytes, cell))
                .map_or(Step::NoCell, Step::Child),
            (std::cmp::Ordering::Less, _) => self
                .cell(12, number)
                .map_or(Step::NoCell, |cell| Step::Entry(cell + 4)),
            (std::cmp::Ordering::Equal, 0) => {
                be_u32(&self.bytes, 8).map_or(Step::NoCell, Step::Child)
            }
            _ => Step::Done,
        }
    }

    fn cell(&self, head: usize, number: usize) -> Option<usize> {
        let pointer = self.bytes.get(head + 2 * number..head + 2 * number + 2)?;
        let cell = usize::from(u16::from_be_bytes([pointer[0], pointer[1]]));
        (cell >= head).then_some(cell)
    }
}

/// How many bytes of a record lie on the page itself (section 1.6, "Cell payload overflow pages").
fn local_bytes(length: usize, usable: usize) -> usize {
    let most = (usable - 12) * 64 / 255 - 23;
    let least = (usable - 12) * 32 / 255 - 23;
    if length <= most {
        return length;
    }
    let fitting = least + (length - least) % (usable - 4);
    if fitting <= most { fitting } else { least }
}

/// The values of a record; none when it is not one of so many values.
fn values<'r>(record: &'r [u8], columns: &RangeInclusive<usize>) -> Option<Vec<Stored<'r>>> {
    let (header, mut at) = varint(record)?;
    let header = usize::try_from(header).ok()?;
    let mut body = header;
    let mut values = Vec::with_capacity(*columns.end());
    while at < header {
        let (kind, read) = varint(record.get(at..header)?)?;
        at += read;
        let (value, length) = value(kind, record.get(body..)?)?;
        body += length;
        values.push(value);
        if values.len() > *columns.end() {
            return None;
        }
    }
    (at == header && columns.contains(&values.len())).then_some(values)
}

fn value(kind: u64, bytes: &[u8]) -> Option<(Stored<'_>, usize)> {
    let integer = |length: usize| {
        let bytes = bytes.get(..length)?;
        // Sign-extended from the first byte.
        let first = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        let value = bytes
            .iter()
            .fold(first, |value: i64, byte| (value << 8) | i64::from(*byte));
        Some((Stored::Integer(value), length))
    };
    Some(match kind {
        0 => (Stored::Null, 0),
        1..=4 => integer(usize::try_from(kind).ok()?)?,
        5 => integer(6)?,
        6 => integer(8)?,
        7 => {
            let bytes: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
            (Stored::Real(f64::from_be_bytes(bytes)), 8)
        }
        8 => (Stored::Integer(0), 0),
        9 => (Stored::Integer(1), 0),
        10 | 11 => return None,
        kind => {
            let length = usize::try_from((kind - 12) / 2).ok()?;
            let bytes = bytes.get(..length)?;
            if kind % 2 == 0 {
                (Stored::Blob(bytes), length)
            } else {
                (Stored::Text(bytes), length)
            }
        }
    })
}

/// SQLite's variable-length integer and its length; the ninth byte counts with all its bits.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        if index == 8 {
            return Some(((value << 8) | u64::from(*byte), 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}
