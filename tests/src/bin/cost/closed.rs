//! `dbmedic check` of a closed database beside `PRAGMA integrity_check` by the same SQLite.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags};

/// Takes turns, and prints a line for each: how long each took, and what dbmedic and the processes that
/// it starts wrote, wherever.
pub(crate) fn compare(database: &Path, dbmedic: &Path, rounds: u64) -> anyhow::Result<()> {
    println!("| round | PRAGMA integrity_check s | dbmedic check s | ratio | bytes written |");
    println!("| --- | --- | --- | --- | --- |");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let begun = Instant::now();
        integrity_check(database)?;
        let pragma = begun.elapsed().as_secs_f64();
        let before = written()?;
        let begun = Instant::now();
        let output = Command::new(dbmedic).arg("check").arg(database).output()?;
        let check = begun.elapsed().as_secs_f64();
        anyhow::ensure!(
            output.status.success(),
            "dbmedic check ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let ratio = check / pragma;
        println!(
            "| {round} | {pragma:.2} | {check:.2} | {ratio:.2} | {} |",
            written()? - before
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    println!("check / PRAGMA integrity_check: median {median:.2}");
    Ok(())
}

fn integrity_check(database: &Path) -> anyhow::Result<()> {
    let uri = format!("file:{}?immutable=1", database.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    let said: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    anyhow::ensure!(said == "ok", "PRAGMA integrity_check: {said}");
    Ok(())
}

/// What this process and those it waited for wrote through system calls, bytes.
fn written() -> anyhow::Result<u64> {
    let account = fs::read_to_string("/proc/self/io").context("cannot read /proc/self/io")?;
    let line = account
        .lines()
        .find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok())
        .context("/proc/self/io does not say what was written")
}
