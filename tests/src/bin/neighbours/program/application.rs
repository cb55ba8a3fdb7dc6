//! Neighbours that are whole applications: several connections, an ORM, two databases.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::TransactionBehavior;

use super::stage::{Stage, fill, open, promise, ready, rest_together, unless_busy};

/// Reading connections of a pool.
const READERS: u64 = 4;

/// One process with several connections: four read in turns that overlap, so that one of them
/// reads at any time, and one writes.
pub(super) fn pool(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    let wal = stage.arguments.journal_mode == "wal";
    let path = stage.arguments.database.clone();
    let most_ms = stage.arguments.threshold_ms * 3 / 5;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let soak = stage.arguments.soak;
                let (end, path) = (stage.end.clone(), path.clone());
                scope.spawn(move || -> anyhow::Result<()> {
                    let database = open(&path)?;
                    end.rest(Duration::from_millis(reader * most_ms / READERS));
                    while !end.is_near() {
                        rest_together(&end, soak);
                        database.execute_batch("BEGIN")?;
                        let read = database.query_row("SELECT max(id) FROM promised", [], |row| {
                            row.get::<_, Option<i64>>(0)
                        });
                        if unless_busy(read)?.is_some() {
                            end.rest(Duration::from_millis(most_ms));
                        }
                        database.execute_batch("COMMIT")?;
                        // Readers of a rollback journal keep writers out: they must rest.
                        if !wal {
                            end.rest(Duration::from_millis(most_ms * READERS));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        while stage.goes_on() {
            promise(&stage.end, &mut database, &mut promised, |transaction| {
                fill(transaction, 30, 2000)
            })?;
            stage.pause(10, 200);
        }
        readers
            .into_iter()
            .try_for_each(|reader| reader.join().unwrap_or_else(|_| anyhow::bail!("a panic")))
    })
}

/// Reads, thinks, and writes in the same transaction. Where somebody committed meanwhile SQLite
/// answers `SQLITE_BUSY_SNAPSHOT`, and the transaction begins again.
pub(super) fn orm(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    while stage.goes_on() {
        let think = stage.between(1, 150);
        let end = stage.end.clone();
        let written = database
            .transaction_with_behavior(TransactionBehavior::Deferred)
            .and_then(|transaction| {
                transaction.query_row("SELECT count(*) FROM promised", [], |_| Ok(()))?;
                end.rest(think);
                promised.write(&transaction)?;
                transaction.commit()
            });
        if unless_busy(written)?.is_some() {
            promised.acknowledge()?;
        }
        stage.rest(5, 60);
    }
    Ok(())
}

/// Transactions over two databases.
pub(super) fn attach(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    let second = stage.arguments.database.with_file_name("second.db");
    database.execute(
        "ATTACH ?1 AS second",
        [second.to_str().context("not UTF-8")?],
    )?;
    ready()?;
    while stage.goes_on() {
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            fill(transaction, 5, 2000)?;
            transaction.execute(
                "INSERT INTO second.archive SELECT id, note FROM main.promised
                 WHERE id > (SELECT coalesce(max(id), 0) FROM second.archive)",
                [],
            )?;
            Ok(())
        })?;
        stage.rest(20, 150);
    }
    Ok(())
}

/// A new process for each transaction; the last one to close the database takes the log away.
pub(super) fn cron(stage: &mut Stage) -> anyhow::Result<()> {
    if stage.arguments.once {
        let (mut database, mut promised) = stage.open_as_writer()?;
        return promise(&stage.end, &mut database, &mut promised, |_| Ok(()));
    }
    ready()?;
    let mut arguments = stage.arguments.clone();
    arguments.once = true;
    let program = std::env::current_exe()?;
    while stage.goes_on() {
        let status = Command::new(&program)
            .arg("child")
            .args(arguments.flags())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        anyhow::ensure!(status.success(), "a transaction's process: {status}");
        stage.rest(20, 250);
    }
    Ok(())
}

/// The only user of the database: it keeps its locks for as long as it lives.
pub(super) fn exclusive(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    database.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    promise(&stage.end, &mut database, &mut promised, |_| Ok(()))?;
    ready()?;
    while stage.goes_on() {
        // Mostly idle: nobody waits for it.
        stage.rest(500, 4000);
        promise(&stage.end, &mut database, &mut promised, |_| Ok(()))?;
    }
    Ok(())
}
