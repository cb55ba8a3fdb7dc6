//! Neighbours that read.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::stage::{Stage, fill, promise, ready, rest_together, unless_busy};

/// One read transaction that lasts so long; none where a writer was in the way.
fn read_for(
    stage: &Stage,
    database: &Connection,
    time: Duration,
    busy: bool,
) -> anyhow::Result<Option<()>> {
    database.execute_batch("BEGIN")?;
    let read = unless_busy(database.query_row(
        "SELECT count(*), max(id) FROM promised",
        [],
        |row| row.get::<_, i64>(0),
    ))?;
    if read.is_some() {
        if busy {
            stage.end.compute(time);
        } else {
            stage.end.rest(time);
        }
    }
    database.execute_batch("COMMIT")?;
    Ok(read.map(|_| ()))
}

/// Transactions of 0.9 s, or three fifths of the threshold where that is less, with a pause of at
/// most so many milliseconds.
pub(super) fn dashboard(stage: &mut Stage, pause_ms: u64) -> anyhow::Result<()> {
    let database = stage.open()?;
    ready()?;
    let time = Duration::from_millis(900.min(stage.arguments.threshold_ms * 3 / 5));
    // Not all of a crowd begin at the same time.
    stage.rest(0, 900);
    while stage.goes_on() {
        rest_together(&stage.end, stage.arguments.soak);
        read_for(stage, &database, time, false)?;
        if pause_ms > 0 {
            stage.rest(0, pause_ms);
        }
    }
    Ok(())
}

/// A read transaction nearly always, each below the threshold.
pub(super) fn replicator(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    // Those who replicate the log do not checkpoint it on their way out.
    database.pragma_update(None, "wal_autocheckpoint", 0)?;
    ready()?;
    while stage.goes_on() {
        let time = stage.below_threshold();
        read_for(stage, &database, time, false)?;
    }
    Ok(())
}

/// Writes a little, checkpoints all of it, and reads for a while: a reader takes read mark 0 when
/// everything in the log is in the database. Two such processes, and nobody else, do this.
pub(super) fn slot_zero(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    while stage.goes_on() {
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            fill(transaction, 20, 2000)
        })?;
        for mode in ["PASSIVE", "PASSIVE", "RESTART"] {
            unless_busy(
                database.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())),
            )?;
        }
        for _ in 0..3 {
            let time = stage.below_threshold();
            read_for(stage, &database, time, false)?;
        }
    }
    Ok(())
}

/// A long report: one read transaction of three thresholds that computes all the time.
pub(super) fn report(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    ready()?;
    let time = Duration::from_millis(stage.arguments.threshold_ms * 3);
    while stage.goes_on() {
        read_for(stage, &database, time, true)?;
        stage.rest(200, 600);
    }
    Ok(())
}

/// Fetches the rows of one query slowly, for less than the threshold.
pub(super) fn export(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    ready()?;
    while stage.goes_on() {
        let time = stage.below_threshold();
        let begin = Instant::now();
        let mut statement = database.prepare("SELECT id, v FROM filler")?;
        let mut rows = statement.query([])?;
        while begin.elapsed() < time && stage.goes_on() {
            match unless_busy(rows.next().map(|row| row.is_some()))? {
                Some(true) => stage.end.rest(Duration::from_millis(5)),
                Some(false) | None => break,
            }
        }
    }
    Ok(())
}
