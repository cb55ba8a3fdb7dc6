//! Whether a log or a journal belongs to the database file beside it. Pure.
//!
//! A backup that is copied over a database leaves the old log beside it. Whoever opens both reads a
//! mixture, which looks like damage, and writes it into the file.

use std::fmt;

use super::super::SqliteState;
use super::DatabaseHeader;

/// What proves that a log cannot belong to the database file beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contradiction {
    /// Their pages have different sizes, which never change in this mode.
    PageSize {
        /// Of the file, bytes.
        file: u32,
        /// Of the log, bytes.
        log: u32,
    },
    /// The file is not in the mode that has a log: SQLite moves the log into the file and deletes it
    /// before it leaves that mode.
    Mode,
    /// The file counts changes that neither the log nor what it was begun on counts.
    ChangeCounter {
        /// The counter of the file.
        file: u32,
        /// The counter in the log's first copy of the first page.
        first: u32,
        /// The counter in the last one.
        last: u32,
    },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageSize { file, log } => {
                write!(f, "its pages have {log} bytes, those of the file {file}")
            }
            Self::Mode => f.write_str("the file is in rollback mode, where there is no log"),
            Self::ChangeCounter { file, first, last } => write!(
                f,
                "its first pages have the change counters {first} to {last}, the file's has {file}"
            ),
        }
    }
}

/// What proves that the log cannot belong to the file. Only a log that was read to its end, that
/// holds a transaction, and that nobody uses is judged.
///
/// The counter: whoever writes the first page to the log sets its change counter to that of the first
/// page that it read, and one (`pager_write_changecounter` in SQLite's pager.c). So the file, where
/// nothing of the log was moved into it yet, is one before the log's first; where a part of the log was
/// moved, it has one of the log's own. In a database that one connection writes, the counter may stay the
/// same for many transactions, and the file may already have the first one's from the log before.
pub fn contradiction(state: &SqliteState) -> Option<Contradiction> {
    if !has_left_log(state) {
        return None;
    }
    let (header, log) = (state.set.header?, state.wal.as_ref()?);
    if log.page_bytes != header.page_bytes {
        return Some(Contradiction::PageSize {
            file: header.page_bytes,
            log: log.page_bytes,
        });
    }
    if (header.write_version, header.read_version) == (1, 1) {
        return Some(Contradiction::Mode);
    }
    let (first, last) = log.change_counters?;
    let before_first = first.wrapping_sub(1);
    // The counter wraps.
    let of_log = last.wrapping_sub(before_first);
    let of_file = header.change_counter.wrapping_sub(before_first);
    (of_file > of_log).then_some(Contradiction::ChangeCounter {
        file: header.change_counter,
        first,
        last,
    })
}

/// Whether a log lies beside the file that holds a transaction and that nobody uses.
pub fn has_left_log(state: &SqliteState) -> bool {
    let log = state.wal.as_ref();
    is_unused(state) && log.is_some_and(|log| log.scanned && log.header_valid && log.commits > 0)
}

/// Whether a rollback journal lies beside the file that waits to be played back and whose writer is
/// gone.
pub fn has_left_journal(state: &SqliteState) -> bool {
    let journal = state.set.journal;
    is_unused(state) && journal.is_some_and(|journal| journal.is_left && !journal.is_void)
}

/// Whether a journal that is left says that the file held nothing before, and the file counts more changes
/// than one transaction makes: whoever opens both cuts the file to nothing. A copy of another database may
/// count so too while it is made, so that this alone proves nothing.
pub fn journal_empties_file(state: &SqliteState) -> bool {
    let is_first = |header: DatabaseHeader| header.change_counter <= 1;
    has_left_journal(state)
        && state
            .set
            .journal
            .is_some_and(|journal| journal.initial_pages == 0)
        && state.set.header.is_some_and(|header| !is_first(header))
}

fn is_unused(state: &SqliteState) -> bool {
    state.locks.is_empty() && state.set.hidden_uses.iter().all(Vec::is_empty)
}
