//! Neighbours that write.

use rand::RngExt as _;
use rusqlite::OptionalExtension as _;

use super::stage::{Stage, fill, promise, ready, unless_busy};

/// The application that is always there: a small transaction now and then.
pub(super) fn application(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    while stage.goes_on() {
        promise(&stage.end, &mut database, &mut promised, |_| Ok(()))?;
        stage.pause(20, 120);
    }
    Ok(())
}

/// The same in quiet times: nothing for longer than the threshold, then more pages at once than
/// SQLite lets a log grow to before it wants to checkpoint.
pub(super) fn quiet_application(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    let threshold_ms = stage.arguments.threshold_ms;
    ready()?;
    while stage.goes_on() {
        stage.rest(threshold_ms * 6 / 5, threshold_ms * 8 / 5);
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            fill(transaction, 1300, 4000)
        })?;
    }
    Ok(())
}

/// 600 pages every 0.7 s.
pub(super) fn steady(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    while stage.goes_on() {
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            fill(transaction, 600, 3000)
        })?;
        stage.rest(700, 700);
    }
    Ok(())
}

/// Large transactions; with a small cache, so that pages reach the log before they are committed.
pub(super) fn bulk_load(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    database.pragma_update(None, "cache_size", 50)?;
    ready()?;
    while stage.goes_on() {
        let rows = stage.random.random_range(300..=2500);
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            fill(transaction, rows, 5000)
        })?;
        stage.pause(300, 1500);
    }
    Ok(())
}

/// Larger and smaller transactions in a hurry, so that a kill meets one.
pub(super) fn crash(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    database.pragma_update(None, "cache_size", 20)?;
    ready()?;
    while stage.goes_on() {
        let rows = stage.random.random_range(1..=400);
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            fill(transaction, rows, 3000)
        })?;
        stage.rest(0, 20);
    }
    Ok(())
}

/// Takes a job, works on it outside of any transaction, and marks it as done.
pub(super) fn job_queue(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    while stage.goes_on() {
        let mut job = None;
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            transaction.execute("INSERT INTO jobs (state) VALUES (0)", [])?;
            job = transaction
                .query_row(
                    "UPDATE jobs SET state = 1
                     WHERE id = (SELECT min(id) FROM jobs WHERE state = 0) RETURNING id",
                    [],
                    |row| row.get::<_, i64>(0),
                )
                .optional()?;
            Ok(())
        })?;
        stage.rest(5, 80);
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            transaction.execute("DELETE FROM jobs WHERE id = ?1", [job])?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Write transactions that wait below the threshold before they commit; one in four is given up.
pub(super) fn slow_commit(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    while stage.goes_on() {
        let time = stage.below_threshold();
        let end = stage.end.clone();
        if stage.random.random_range(0..4) == 0 {
            if unless_busy(database.execute_batch("BEGIN IMMEDIATE"))?.is_some() {
                end.rest(time);
                database.execute_batch("ROLLBACK")?;
            }
        } else {
            promise(&end, &mut database, &mut promised, |_| {
                end.rest(time);
                Ok(())
            })?;
        }
        // Somebody else's turn: SQLite's locks know no queue.
        stage.rest(100, 400);
    }
    Ok(())
}

/// Looks for work under the write lock, finds none, and lets go, again and again. A slow one looks
/// for a while each time, below the threshold, so that it holds the lock nearly always.
pub(super) fn polling_worker(stage: &mut Stage, slow: bool) -> anyhow::Result<()> {
    let database = stage.open()?;
    ready()?;
    while stage.goes_on() {
        if unless_busy(database.execute_batch("BEGIN IMMEDIATE"))?.is_some() {
            database
                .query_row("SELECT id FROM jobs WHERE state = 7", [], |_| Ok(()))
                .optional()?;
            if slow {
                let time = stage.below_threshold();
                stage.end.rest(time);
            }
            database.execute_batch("COMMIT")?;
        }
        if slow {
            stage.rest(0, 30);
        }
    }
    Ok(())
}
