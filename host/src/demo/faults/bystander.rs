//! Processes that do no work and stand in the way of those that do.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rusqlite::Connection;

use crate::demo::{DemoChild, DemoError, Scene};

/// How long these processes wait for their turn among the writers.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a process (named `demo-holder`) that has the write lock when this returns, writes
/// nothing and keeps it.
///
/// The right answer: end that process. Every acknowledged row stays.
pub fn hold_write_lock(scene: &Scene) -> Result<DemoChild, DemoError> {
    DemoChild::start(scene, "lock-holder", &[])
}

/// Starts a process (named `demo-reader`) that is inside a read transaction when this returns, and
/// stays there: the write-ahead log cannot be reset and grows with every commit.
///
/// Give the writers a [`Pace`](crate::demo::workload::Pace) with a larger `note_bytes` for a
/// log of several MiB within seconds. The right answer: end that process, then checkpoint.
pub fn read_without_end(scene: &Scene) -> Result<DemoChild, DemoError> {
    DemoChild::start(scene, "reader", &[])
}

fn open(scene: &Scene) -> anyhow::Result<Connection> {
    let connection = Connection::open(scene.database()).context("cannot open the database")?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

pub(crate) fn take_write_lock(scene: &Scene) -> anyhow::Result<Connection> {
    let connection = open(scene)?;
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .context("cannot take the write lock")?;
    Ok(connection)
}

pub(crate) fn begin_to_read(scene: &Scene) -> anyhow::Result<Connection> {
    let connection = open(scene)?;
    connection
        .execute_batch("BEGIN; SELECT count(*) FROM accounts")
        .context("cannot begin to read")?;
    Ok(connection)
}

/// Copies the whole write-ahead log into the database and empties it.
pub(crate) fn checkpoint(scene: &Scene) -> anyhow::Result<()> {
    let connection = open(scene)?;
    let (busy, in_log, copied): (i64, i64, i64) = connection
        .query_one("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .context("cannot checkpoint")?;
    ensure!(
        busy == 0 && in_log == copied,
        "a reader or a writer keeps the log from being emptied ({copied} of {in_log} frames copied); end it first"
    );
    Ok(())
}
