//! Reading ahead: what a transaction will read is read before it, without a lock.
//!
//! A page that is not in memory takes a disk some milliseconds, and more while others sync. In rollback
//! mode nobody can commit meanwhile. So the same rows are read first through a connection that takes no
//! lock, beside whoever writes: what it reads may be half written and counts for nothing, but the pages are
//! in memory then.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::sqlite::connection::{Access, Deadline, bound_cache, open_untouched};

/// A connection that reads ahead.
pub(super) struct Ahead {
    connection: Connection,
    deadline: Deadline,
}

impl Ahead {
    /// Opens it; none where that fails: then the transaction waits for the disk itself.
    pub(super) fn of(database: &Path) -> Option<Self> {
        let mut connection = open_untouched(database, Access::Ahead, None).ok()?;
        let deadline = Deadline::of(&mut connection).ok()?;
        bound_cache(&connection).ok()?;
        Some(Self {
            connection,
            deadline,
        })
    }

    /// Reads for so long at most.
    pub(super) fn read<T>(&self, time: Duration, read: impl FnOnce(&Connection) -> T) -> T {
        self.deadline.set(Some(Instant::now() + time));
        let read = read(&self.connection);
        self.deadline.set(None);
        read
    }
}
