//! What is really in the way: the control of these runs.

use anyhow::Context as _;
use std::time::Duration;

use super::stage::{Stage, ready, unless_busy};

/// Holds the write lock and does nothing.
pub(super) fn idle_holder(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    while unless_busy(database.execute_batch("BEGIN IMMEDIATE"))?.is_none() {
        anyhow::ensure!(stage.goes_on(), "never got the write lock");
    }
    ready()?;
    wait(stage);
    unless_busy(database.execute_batch("ROLLBACK"))?;
    Ok(())
}

/// Reads for ever, while others write.
pub(super) fn endless_reader(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    database
        .execute_batch("BEGIN; SELECT count(*) FROM promised;")
        .context("cannot begin to read")?;
    ready()?;
    wait(stage);
    database.execute_batch("ROLLBACK")?;
    Ok(())
}

fn wait(stage: &Stage) {
    while stage.goes_on() {
        stage.end.rest(Duration::from_hours(1));
    }
}
