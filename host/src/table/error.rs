//! What can be wrong with a table, told by file, line and column.

use std::fmt;

/// A table that cannot be read any further.
#[derive(Debug)]
pub struct TableError {
    /// Where.
    pub place: Place,
    /// What is wrong, and what to do.
    pub problem: Problem,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for TableError {
    /// Place and problem make one message; its cause is the problem's.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.problem)
    }
}

/// A place in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named; `standard input` for a pipe.
    pub file: String,
    /// The line, counted from 1, when one is at fault.
    pub line: Option<u64>,
    /// The column, when one is at fault.
    pub column: Option<Column>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Counted from 1.
    pub number: usize,
    /// Its name in the header.
    pub name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(Column { number, name }) = &self.column {
            write!(f, ", column {number} `{name}`")?;
        }
        Ok(())
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be opened or read.
    #[error("cannot be read")]
    Io(#[source] std::io::Error),
    /// What was compressed cannot be decompressed.
    #[error("the gzip data is damaged or cut off: {0}")]
    Gzip(String),
    /// There is nothing in it.
    #[error("the table is empty: a header with the columns' names was expected")]
    Empty,
    /// It is not a text of lines.
    #[error("not a CSV table: {0}")]
    NotText(&'static str),
    /// A line without end.
    #[error("a row of more than {} MiB; is a quote left open?", super::ROW_BYTES >> 20)]
    RowTooLong,
    /// The first line holds data.
    #[error(
        "a header with the columns' names was expected, this line holds data; \
         of a file that grows, `tail -n +1 -f FILE` sends the header too"
    )]
    NoHeader,
    /// No column looks like a time by its name.
    #[error("no column of time found; name it with `--time-column`; the columns are {0}")]
    NoTimeColumn(String),
    /// A column that was asked for is not there.
    #[error("there is no column `{name}`; {hint}")]
    UnknownColumn {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// Two columns of one name.
    #[error("the name stands twice, in column {first} too; one of them must be renamed")]
    DuplicateColumn {
        /// The column, counted from 1, that has the name already.
        first: usize,
    },
    /// Nothing to watch.
    #[error("no column of numbers besides the time{0}")]
    NoMetrics(String),
    /// A row of another length than the header.
    #[error("the row has {found} fields, the header {expected}")]
    Ragged {
        /// Fields of the header.
        expected: u64,
        /// Fields of the row.
        found: u64,
    },
    /// A cell of the time column that is none.
    #[error(
        "`{0}` is no time, or not written as those before; read are RFC 3339 (2026-01-31T12:00:00Z), \
         YYYY-MM-DD HH:MM:SS, YYYYMMDDHHMMSS, and seconds, milli-, micro- or nanoseconds since 1970"
    )]
    NotATime(String),
    /// A cell of a metric that is none.
    #[error(
        "`{0}` is no number; an empty cell or NaN stands for a missing value, and \
         `--ignore COLUMN` leaves the column out"
    )]
    NotANumber(String),
    /// Bytes that are no UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The rows run backward.
    #[error("the rows run from the newest to the oldest; sort them by time first")]
    NewestFirst,
}
