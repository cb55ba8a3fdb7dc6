//! A write transaction that writes nothing: how long an application would wait for one now, and whether
//! it would get one at all.
//!
//! It begins as a writer does (`BEGIN IMMEDIATE`), reads the schema and is rolled back. Meanwhile, for
//! less than a millisecond, another writer waits; one without a busy timeout fails. So it is made only
//! where the operator asked for it.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::connection::{self, Access};
use super::own_lock::OwnLock;

/// How long a probe transaction waits for its lock: that of an application that gives up soon. A probe
/// that does not get it counts as a failed operation.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What came of a probe transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTransaction {
    /// From its beginning to its end, microseconds.
    pub took_us: u64,
    /// Why it failed, if it did: SQLite's words, without values.
    pub failed: Option<String>,
}

/// Makes one on a database that others use.
///
/// # Errors
///
/// The database cannot be opened at all; nothing was tried then.
pub(super) fn make(path: &Path) -> rusqlite::Result<ProbeTransaction> {
    let mut connection = connection::open_untouched(path, Access::Write, None)?;
    connection.busy_timeout(PATIENCE)?;
    let begun = Instant::now();
    let failed = transaction(&mut connection).err();
    Ok(ProbeTransaction {
        took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        failed: failed.map(|error| connection::without_values(&error)),
    })
}

fn transaction(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let lock = OwnLock::for_("probe transaction");
    transaction.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))?;
    transaction.rollback()?;
    drop(lock);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(path: &Path, mode: &str) -> Connection {
        let connection = Connection::open(path).unwrap();
        let sql = format!("PRAGMA journal_mode={mode}; CREATE TABLE t(x)");
        connection.execute_batch(&sql).unwrap();
        connection
    }

    #[test]
    fn it_writes_nothing_and_says_when_it_does_not_get_the_lock() {
        for mode in ["delete", "wal"] {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("app.db");
            let application = database(&path, mode);
            let files = || {
                let read =
                    |suffix: &str| std::fs::read(home.path().join(format!("app.db{suffix}"))).ok();
                ["", "-wal", "-journal"].map(read)
            };
            let before = files();
            let probe = make(&path).unwrap();
            assert_eq!(probe.failed, None, "{mode}");
            assert!(files() == before, "{mode}");

            application.execute_batch("BEGIN IMMEDIATE").unwrap();
            let probe = make(&path).unwrap();
            assert_eq!(
                probe.failed.as_deref(),
                Some("database is locked"),
                "{mode}"
            );
            assert!(probe.took_us >= 1_000_000, "{mode}: {}", probe.took_us);
            application.execute_batch("COMMIT").unwrap();
            assert!(files() == before, "{mode}");
        }
    }
}
