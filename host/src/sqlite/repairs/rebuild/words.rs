//! Whether each word that can still be read of a damaged full-text index is in the one that was built again,
//! at the same place of the same document.
//!
//! Both indexes are read in the order of their words, side by side. Where the damaged one cannot be read, it
//! is asked again from the next word on that the other one has, or with which one of its own pages begins.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Row, Rows, Statement, params};

use super::super::InRepair as _;
use crate::repair::RepairError;
use crate::sqlite::connection::quoted;

/// A temporary table that shows the words of an index.
const WORDS: &str = "temp.dbmedic_words";

/// Places that are gone after which no more are looked for.
const MOST_GONE: u64 = 100_000;

/// The words of a full-text index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) table: &'a str,
    /// `fts3`, `fts4` or `fts5`.
    pub(super) module: &'a str,
}

/// What came of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Places of words that could be read of the damaged index.
    pub(super) read: u64,
    /// How many of them the rebuilt one does not have, [`MOST_GONE`] and a few at most.
    pub(super) gone: u64,
    /// The documents of those, where the module tells them.
    pub(super) documents: BTreeSet<i64>,
    /// Whether the damaged index was read without a failure, and holds all that the rebuilt one does.
    pub(super) is_whole: bool,
}

/// Where a word stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Posting {
    term: Vec<u8>,
    /// The document, the column, and the word's number in it; as far as the index keeps them.
    place: (i64, i64, i64),
    /// How many documents, and places in them, it stands for.
    documents: i64,
    occurrences: i64,
}

impl Posting {
    fn order(&self, other: &Self) -> Ordering {
        let by_term = self.term.cmp(&other.term);
        by_term.then(self.place.cmp(&other.place))
    }
}

impl Words<'_> {
    fn is_fts5(&self) -> bool {
        self.module == "fts5"
    }

    /// Makes the words readable at [`WORDS`].
    fn show(&self, db: &Connection) -> rusqlite::Result<()> {
        let name = self.table.replace('\'', "''");
        let using = if self.is_fts5() {
            format!("fts5vocab('main', '{name}', 'instance')")
        } else {
            format!("fts4aux(main, '{name}')")
        };
        db.execute_batch(&format!(
            "DROP TABLE IF EXISTS {WORDS}; CREATE VIRTUAL TABLE {WORDS} USING {using}"
        ))
    }

    fn hide(db: &Connection) -> rusqlite::Result<()> {
        db.execute_batch(&format!("DROP TABLE IF EXISTS {WORDS}"))
    }

    /// The statement that gives the places of all words, from the word ?1 on, in order.
    fn postings(&self) -> String {
        if self.is_fts5() {
            format!("SELECT term, doc, col, offset, 1, 1 FROM {WORDS} WHERE term >= ?1")
        } else {
            // The documents are not told.
            format!(
                "SELECT term, 0, col, 0, documents, occurrences FROM {WORDS} \
                 WHERE term >= ?1 AND col <> '*'"
            )
        }
    }

    /// Where the pages of the damaged index begin, in order: FTS5 keeps for each a word that comes before its
    /// words and behind those of the page before, see "The %_idx table" in the source of FTS5. None where that
    /// cannot be read.
    fn page_terms(&self, db: &Connection) -> Option<Vec<Vec<u8>>> {
        if !self.is_fts5() {
            return Some(Vec::new());
        }
        // The first byte says which index: 0x30 is the one of whole words.
        let sql = format!(
            "SELECT DISTINCT substr(CAST(term AS BLOB), 2) FROM main.{} \
             WHERE substr(CAST(term AS BLOB), 1, 1) = x'30' ORDER BY 1",
            quoted(&format!("{}_idx", self.table))
        );
        let terms = |db: &Connection| -> rusqlite::Result<Vec<Vec<u8>>> {
            let mut statement = db.prepare(&sql)?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        terms(db).ok()
    }

    /// Gives the places of all words, in order, to a digest.
    ///
    /// # Errors
    ///
    /// SQLite's own, and those of the digest.
    pub(super) fn digested<T>(
        &self,
        db: &Connection,
        digest: impl FnOnce(&str) -> Result<T, RepairError>,
    ) -> Result<T, RepairError> {
        self.show(db).in_repair()?;
        let digested = digest(&self.postings().replace("?1", "''"))?;
        Self::hide(db).in_repair()?;
        Ok(digested)
    }

    /// Compares what can still be read of a damaged index with the one that was built again.
    ///
    /// # Errors
    ///
    /// SQLite's own; not that the damaged one cannot be read.
    pub(super) fn compare(
        &self,
        before: &Connection,
        after: &Connection,
    ) -> Result<Compared, RepairError> {
        // A module that cannot even be opened names no word.
        match self.show(before) {
            Ok(()) => {}
            Err(error) if is_unreadable(&error) => return Ok(Compared::default()),
            Err(error) => return Err(error).in_repair(),
        }
        self.show(after).in_repair()?;
        let columns: Vec<String> = after
            .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")
            .in_repair()?
            .query_map([self.table], |row| row.get(0))
            .in_repair()?
            .collect::<Result<_, _>>()
            .in_repair()?;
        let page_terms = self.page_terms(before);
        let compared = match before.prepare(&self.postings()) {
            Ok(mut old) => {
                let mut new = after.prepare(&self.postings()).in_repair()?;
                let new = New::begin(&mut new, &columns).in_repair()?;
                Merge {
                    columns: &columns,
                    // What FTS5 takes for words is text.
                    is_text: self.is_fts5(),
                    page_terms: page_terms.as_deref().unwrap_or_default(),
                    new,
                    found: Compared {
                        is_whole: page_terms.is_some(),
                        ..Compared::default()
                    },
                }
                .run(&mut old)?
            }
            Err(error) if is_unreadable(&error) => Compared::default(),
            Err(error) => return Err(error).in_repair(),
        };
        Self::hide(after).in_repair()?;
        Self::hide(before).in_repair()?;
        Ok(compared)
    }
}

/// The words of the rebuilt index, of which the next one is known.
struct New<'s> {
    rows: Rows<'s>,
    columns: &'s [String],
    next: Option<Posting>,
}

impl<'s> New<'s> {
    fn begin(statement: &'s mut Statement<'_>, columns: &'s [String]) -> rusqlite::Result<Self> {
        let rows = statement.query([""])?;
        let next = Some(Posting::default());
        let mut begun = Self {
            rows,
            columns,
            next,
        };
        begun.advance()?;
        Ok(begun)
    }

    fn advance(&mut self) -> rusqlite::Result<()> {
        if let (Some(row), Some(next)) = (self.rows.next()?, &mut self.next) {
            return next.take(row, self.columns);
        }
        self.next = None;
        Ok(())
    }
}

impl Posting {
    fn take(&mut self, row: &Row<'_>, columns: &[String]) -> rusqlite::Result<()> {
        self.term.clear();
        if let ValueRef::Text(term) | ValueRef::Blob(term) = row.get_ref(0)? {
            self.term.extend_from_slice(term);
        }
        let number = |place: usize| {
            let value: Option<i64> = row.get(place)?;
            Ok::<i64, rusqlite::Error>(value.unwrap_or(-1))
        };
        let column = match row.get_ref(2)? {
            ValueRef::Text(name) => columns
                .iter()
                .position(|column| column.as_bytes() == name)
                .and_then(|place| i64::try_from(place).ok())
                .unwrap_or(i64::MAX),
            _ => number(2)?,
        };
        self.place = (number(1)?, column, number(3)?);
        (self.documents, self.occurrences) = (number(4)?, number(5)?);
        Ok(())
    }
}

struct Merge<'s> {
    columns: &'s [String],
    is_text: bool,
    /// Words with which pages of the damaged index begin, in order.
    page_terms: &'s [Vec<u8>],
    new: New<'s>,
    found: Compared,
}

impl Merge<'_> {
    fn run(mut self, old: &mut Statement<'_>) -> Result<Compared, RepairError> {
        let mut last = Vec::new();
        let mut begin = Vec::new();
        loop {
            match self.read(old, &begin, &mut last) {
                Ok(()) => {}
                Err(Failed::Old(error)) if is_unreadable(&error) => self.found.is_whole = false,
                Err(Failed::Old(error) | Failed::New(error)) => return Err(error).in_repair(),
            }
            if self.found.gone >= MOST_GONE {
                self.found.is_whole = false;
                break;
            }
            // Behind the last one that was read, and behind the one that was asked for in vain: also
            // where the module says that it is at the end, a damaged page may have made it believe so.
            while let Some(next) = &self.new.next
                && next.term <= last
            {
                self.found.is_whole = false;
                self.new.advance().in_repair()?;
            }
            // A page may hold words that the rebuilt index does not have: it is asked for by its own.
            let passed = self.page_terms.partition_point(|term| *term <= last);
            self.page_terms = self.page_terms.get(passed..).unwrap_or_default();
            let of_page = self.page_terms.first();
            let of_new = self.new.next.as_ref().map(|next| &next.term);
            let Some(next) = of_new.into_iter().chain(of_page).min() else {
                break;
            };
            begin.clone_from(next);
            last.clone_from(&begin);
            self.found.is_whole = false;
        }
        Ok(self.found)
    }

    /// Reads the damaged index from a word on, as far as it goes; `last` is the last word that was read.
    fn read(
        &mut self,
        old: &mut Statement<'_>,
        begin: &[u8],
        last: &mut Vec<u8>,
    ) -> Result<(), Failed> {
        let begin = ToSqlOutput::Borrowed(ValueRef::Text(begin));
        let mut rows = old.query(params![begin]).map_err(Failed::Old)?;
        let mut posting = Posting::default();
        while self.found.gone < MOST_GONE
            && let Some(row) = rows.next().map_err(Failed::Old)?
        {
            posting.take(row, self.columns).map_err(Failed::Old)?;
            if self.is_text && std::str::from_utf8(&posting.term).is_err() {
                // No tokenizer made that of text.
                self.found.is_whole = false;
                continue;
            }
            self.judge(&posting).map_err(Failed::New)?;
            if posting.term > *last {
                last.clone_from(&posting.term);
            }
        }
        Ok(())
    }

    /// Looks for a place of the damaged index in the rebuilt one.
    fn judge(&mut self, old: &Posting) -> rusqlite::Result<()> {
        let found = &mut self.found;
        found.read += 1;
        let order = loop {
            let Some(next) = &self.new.next else {
                break Ordering::Greater;
            };
            let order = next.order(old);
            if order.is_ge() {
                break order;
            }
            found.is_whole = false;
            self.new.advance()?;
        };
        let gone = match &self.new.next {
            Some(next) if order.is_eq() => {
                let documents = old.documents - next.documents;
                let occurrences = old.occurrences - next.occurrences;
                found.is_whole &= documents == 0 && occurrences == 0;
                documents.max(occurrences)
            }
            _ => old.documents.max(old.occurrences),
        };
        if let Ok(gone @ 1..) = u64::try_from(gone) {
            found.gone = found.gone.saturating_add(gone);
            if self.is_text {
                found.documents.insert(old.place.0);
            }
        }
        if order.is_eq() {
            self.new.advance()?;
        }
        Ok(())
    }
}

/// Which of the two could not be read.
enum Failed {
    Old(rusqlite::Error),
    New(rusqlite::Error),
}

/// Whether an error says that a damaged index cannot be read there. FTS5 asks for as much memory as a
/// damaged length says, and is refused.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code().is_none_or(|code| {
        matches!(
            code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::OutOfMemory
                | ErrorCode::Unknown
        )
    })
}
