//! Text in the encoding of the database, so that what is read can be bound again as it is.
//!
//! SQLite gives and takes text as UTF-8. In a UTF-8 database bytes that are no text pass as they are. In a
//! UTF-16 database they are changed on the way: a lone surrogate comes out as another character.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::values::{Owned, owned, stored};

/// How the database writes its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

impl Encoding {
    /// That of the database.
    ///
    /// # Errors
    ///
    /// SQLite's own.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let name: String = connection.query_row("PRAGMA main.encoding", [], |row| row.get(0))?;
        Ok(match name.as_str() {
            "UTF-16le" => Self::Utf16Le,
            "UTF-16be" => Self::Utf16Be,
            _ => Self::Utf8,
        })
    }

    /// Whether stored bytes are text.
    pub(super) fn is_valid(self, bytes: &[u8]) -> bool {
        match self {
            Self::Utf8 => str::from_utf8(bytes).is_ok(),
            Self::Utf16Le | Self::Utf16Be => self.decoded(bytes).is_some(),
        }
    }

    /// Whether stored bytes hold a NUL character.
    pub(super) fn has_nul(self, bytes: &[u8]) -> bool {
        match self {
            Self::Utf8 => bytes.contains(&0),
            Self::Utf16Le | Self::Utf16Be => bytes.as_chunks::<2>().0.contains(&[0, 0]),
        }
    }

    fn decoded(self, bytes: &[u8]) -> Option<String> {
        let (units, rest) = bytes.as_chunks::<2>();
        let read = match self {
            Self::Utf16Be => u16::from_be_bytes,
            Self::Utf8 | Self::Utf16Le => u16::from_le_bytes,
        };
        let units = units.iter().map(|unit| read(*unit));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.ok().filter(|_| rest.is_empty())
    }

    /// The expressions that give a value to [`Self::read`].
    pub(super) fn sql(self, value: &str) -> String {
        match self {
            Self::Utf8 => value.to_owned(),
            Self::Utf16Le | Self::Utf16Be => format!(
                "CASE typeof({value}) WHEN 'text' THEN CAST({value} AS BLOB) ELSE {value} END, \
                 typeof({value}) = 'text'"
            ),
        }
    }

    /// Columns that [`Self::sql`] gives for a value.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Utf8 => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
        }
    }

    /// So many values from a column on. None in place of text that SQLite would not bind as it is.
    ///
    /// # Errors
    ///
    /// SQLite's own.
    pub(super) fn read(
        self,
        row: &Row<'_>,
        first: usize,
        count: usize,
    ) -> rusqlite::Result<Vec<Option<Owned>>> {
        let one = |number: usize| {
            let place = first + number * self.width();
            let value = row.get_ref(place)?;
            let is_text = self != Self::Utf8 && row.get(place + 1)?;
            Ok(match value {
                ValueRef::Blob(bytes) if is_text => self.bindable(bytes),
                value => owned(&[stored(value)]).pop(),
            })
        };
        (0..count).map(one).collect()
    }

    /// UTF-8 that SQLite turns into these bytes again: for two numbers that are no characters it takes
    /// another one.
    fn bindable(self, bytes: &[u8]) -> Option<Owned> {
        let text = self.decoded(bytes)?;
        let is_kept = !text.contains(['\u{FFFE}', '\u{FFFF}']);
        is_kept.then(|| Owned::Text(text.into_bytes()))
    }
}
