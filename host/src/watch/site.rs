//! A database under care, and whose turn it is to use it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A SQLite database under care.
#[derive(Debug)]
pub struct Site {
    /// Its name in the configuration.
    pub name: String,
    /// The database file.
    pub path: PathBuf,
    /// Names of processes that a repair may end.
    pub may_end: Vec<String>,
    turn: Mutex<()>,
    repairs: AtomicU64,
}

impl Site {
    /// A database under care.
    pub fn new(name: String, path: PathBuf, may_end: Vec<String>) -> Self {
        Self {
            name,
            path,
            may_end,
            turn: Mutex::new(()),
            repairs: AtomicU64::new(0),
        }
    }

    /// The right to use SQLite on this database: one thread of this process at a time, so that a
    /// repair that needs it for itself is not held up by dbmedic's own checks.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a repair: what a check found before it counts no more.
    pub fn turn_to_repair(&self) -> MutexGuard<'_, ()> {
        let turn = self.turn();
        self.repairs.fetch_add(1, Ordering::Relaxed);
        turn
    }

    /// Whether somebody uses it right now, so that a turn would be waited for.
    pub(super) fn is_in_turn(&self) -> bool {
        matches!(self.turn.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// How many repairs have had their turn.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }
}
