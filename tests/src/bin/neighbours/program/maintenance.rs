//! Neighbours that look after the database: backups, migrations, `VACUUM`, checkpoints.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, params};

use super::stage::{Stage, fill, promise, ready, unless_busy};

/// A few pages at a time, with a rest in between.
pub(super) fn backup(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    ready()?;
    while stage.goes_on() {
        let copy = copy_path(stage);
        remove(&copy)?;
        let mut target = Connection::open(&copy)?;
        let backup = Backup::new(&database, &mut target)?;
        while stage.goes_on() && backup.step(20)? != StepResult::Done {
            stage.end.rest(Duration::from_millis(10));
        }
        drop(backup);
        stage.rest(50, 500);
    }
    Ok(())
}

/// Takes the write lock so that nobody writes, copies the file, and lets go: for less than the
/// threshold.
pub(super) fn copy_backup(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    ready()?;
    while stage.goes_on() {
        if unless_busy(database.execute_batch("BEGIN IMMEDIATE"))?.is_some() {
            // In a process of its own: closing the file here would drop SQLite's locks.
            let begin = Instant::now();
            let time = stage.below_threshold();
            copy(stage, &[""])?;
            stage.end.rest(time.saturating_sub(begin.elapsed()));
            database.execute_batch("ROLLBACK")?;
        }
        stage.rest(100, 600);
    }
    Ok(())
}

/// `VACUUM INTO`, again and again.
pub(super) fn vacuum_into(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    ready()?;
    while stage.goes_on() {
        let copy = copy_path(stage);
        remove(&copy)?;
        let name = copy.to_str().context("not UTF-8")?;
        unless_busy(database.execute("VACUUM INTO ?1", [name]))?;
        stage.rest(50, 500);
    }
    Ok(())
}

/// Copies all files with `cp`, without any lock.
pub(super) fn file_copy(stage: &mut Stage) -> anyhow::Result<()> {
    ready()?;
    while stage.goes_on() {
        copy(stage, &["", "-wal"])?;
        stage.rest(50, 300);
    }
    Ok(())
}

/// Rewrites every row in one transaction of three thresholds or more, busy all the time.
pub(super) fn migration(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    stage.rest(0, 1000);
    let time = Duration::from_millis(stage.arguments.threshold_ms * 3);
    let mut column = 0;
    while stage.goes_on() {
        column += 1;
        let end = stage.end.clone();
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            transaction
                .execute_batch(&format!("ALTER TABLE filler ADD COLUMN c{column} INTEGER"))?;
            let begin = Instant::now();
            let mut first = 0_i64;
            while begin.elapsed() < time && !end.is_near() {
                let value = end.compute(Duration::from_millis(20));
                transaction.execute(
                    &format!("UPDATE filler SET c{column} = ?1 WHERE id BETWEEN ?2 AND ?2 + 10"),
                    params![value.cast_signed(), first],
                )?;
                first += 10;
            }
            transaction.execute_batch(&format!(
                "CREATE INDEX filler_c{column} ON filler (c{column}); DROP INDEX filler_c{column};"
            ))
        })?;
        stage.rest(200, 1500);
    }
    Ok(())
}

/// `VACUUM` in place.
pub(super) fn vacuum(stage: &mut Stage) -> anyhow::Result<()> {
    let database = stage.open()?;
    ready()?;
    while stage.goes_on() {
        unless_busy(database.execute_batch("VACUUM"))?;
        stage.rest(300, 1500);
    }
    Ok(())
}

/// Deletes many rows and gives their pages back a few at a time.
pub(super) fn incremental_vacuum(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    while stage.goes_on() {
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            fill(transaction, 300, 5000)
        })?;
        promise(&stage.end, &mut database, &mut promised, |transaction| {
            transaction.execute("DELETE FROM filler WHERE id % 3 = 0", [])?;
            Ok(())
        })?;
        for _ in 0..5 {
            unless_busy(database.execute_batch("PRAGMA incremental_vacuum(40)"))?;
            stage.rest(10, 100);
        }
    }
    Ok(())
}

/// Automatic checkpoints are off; a thread of the application makes them.
pub(super) fn checkpointer(stage: &mut Stage) -> anyhow::Result<()> {
    const MODES: [&str; 4] = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
    let (mut database, mut promised) = stage.open_as_writer()?;
    database.pragma_update(None, "wal_autocheckpoint", 0)?;
    ready()?;
    let mut turn = 0;
    while stage.goes_on() {
        for _ in 0..10 {
            promise(&stage.end, &mut database, &mut promised, |transaction| {
                fill(transaction, 60, 3000)
            })?;
            stage.rest(5, 60);
        }
        let statement = format!("PRAGMA wal_checkpoint({})", MODES[turn % MODES.len()]);
        unless_busy(database.query_row(&statement, [], |_| Ok(())))?;
        turn += 1;
    }
    Ok(())
}

/// Another journal mode for each few transactions. SQLite refuses while others have it open.
pub(super) fn mode_switch(stage: &mut Stage) -> anyhow::Result<()> {
    const MODES: [&str; 5] = ["DELETE", "WAL", "TRUNCATE", "WAL", "PERSIST"];
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    let mut turn = 0;
    while stage.goes_on() {
        let statement = format!("PRAGMA journal_mode = {}", MODES[turn % MODES.len()]);
        unless_busy(database.query_row(&statement, [], |_| Ok(())))?;
        turn += 1;
        for _ in 0..5 {
            promise(&stage.end, &mut database, &mut promised, |transaction| {
                fill(transaction, 20, 2000)
            })?;
            stage.rest(5, 100);
        }
    }
    Ok(())
}

/// Creates, fills, indexes, alters and drops tables.
pub(super) fn schema_changes(stage: &mut Stage) -> anyhow::Result<()> {
    let (mut database, mut promised) = stage.open_as_writer()?;
    ready()?;
    let mut turn = 0_u64;
    while stage.goes_on() {
        turn += 1;
        for step in [
            format!("CREATE TABLE t{turn} (id INTEGER PRIMARY KEY, a, b)"),
            format!("INSERT INTO t{turn} (a, b) SELECT id, note FROM promised LIMIT 500"),
            format!("CREATE INDEX i{turn} ON t{turn} (a, b)"),
            format!("ALTER TABLE t{turn} RENAME COLUMN b TO c"),
            format!("REINDEX i{turn}"),
            "ANALYZE".to_owned(),
            format!("DROP TABLE t{turn}"),
        ] {
            promise(&stage.end, &mut database, &mut promised, |transaction| {
                transaction.execute_batch(&step)
            })?;
            stage.rest(5, 80);
        }
    }
    Ok(())
}

fn copy_path(stage: &Stage) -> std::path::PathBuf {
    let name = format!("copy-{}.db", stage.arguments.writer);
    stage.arguments.dir.join(name)
}

fn remove(path: &std::path::Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Copies the database's files of these endings with `cp`. One that is gone meanwhile is left out.
fn copy(stage: &Stage, endings: &[&str]) -> anyhow::Result<()> {
    let mut command = std::process::Command::new("cp");
    for ending in endings {
        let mut file = stage.arguments.database.clone().into_os_string();
        file.push(ending);
        command.arg(file);
    }
    let into = stage
        .arguments
        .dir
        .join(format!("copies-{}", stage.arguments.writer));
    fs::create_dir_all(&into)?;
    command.arg(into).stderr(std::process::Stdio::null());
    command.status().context("cannot start cp")?;
    Ok(())
}
