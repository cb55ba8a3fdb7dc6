//! Rows that a writer was promised: what they hold follows from the seed, and which of them the
//! database acknowledged stands in a file of the writer's own.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

/// The table of the promised rows.
pub(crate) const SCHEMA: &str = "CREATE TABLE promised (
    id INTEGER PRIMARY KEY,
    writer INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    note TEXT NOT NULL,
    UNIQUE (writer, sequence)
)";

/// What stands in a row: 64 hexadecimal digits.
fn note(seed: u64, writer: u32, sequence: i64) -> String {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(writer.to_le_bytes());
    hash.update(sequence.to_le_bytes());
    dbmedic::digest::hex(&hash.finalize())
}

/// Where the acknowledgements of a writer stand.
fn log_of(dir: &Path, writer: u32) -> PathBuf {
    dir.join(format!("acknowledged-{writer}"))
}

/// The last transaction that the log of a writer acknowledges; 0 when there is none. A last line
/// that was cut off by a kill does not count.
fn last_acknowledged(dir: &Path, writer: u32) -> anyhow::Result<i64> {
    let path = log_of(dir, writer);
    if !path.exists() {
        return Ok(0);
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    match whole.lines().last() {
        Some(line) => line
            .parse()
            .with_context(|| format!("{}: {line:?}", path.display())),
        None => Ok(0),
    }
}

/// One writer's promised rows.
#[derive(Debug)]
pub(crate) struct Promised {
    seed: u64,
    writer: u32,
    next: i64,
    log: File,
}

impl Promised {
    /// Goes on where this writer ended.
    ///
    /// # Errors
    /// When a row that was acknowledged before is not in the database.
    pub(crate) fn open(
        database: &Connection,
        dir: &Path,
        seed: u64,
        writer: u32,
    ) -> anyhow::Result<Self> {
        let acknowledged = last_acknowledged(dir, writer)?;
        let present: i64 = database.query_row(
            "SELECT coalesce(max(sequence), 0) FROM promised WHERE writer = ?1",
            [writer],
            |row| row.get(0),
        )?;
        anyhow::ensure!(
            present >= acknowledged,
            "writer {writer}: transaction {acknowledged} was acknowledged, and {present} is the last one in the database"
        );
        let path = log_of(dir, writer);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        Ok(Self {
            seed,
            writer,
            next: present + 1,
            log,
        })
    }

    /// Writes the next row, as a part of the transaction that is open.
    pub(crate) fn write(&self, database: &Connection) -> rusqlite::Result<()> {
        let note = note(self.seed, self.writer, self.next);
        database.execute(
            "INSERT INTO promised (writer, sequence, note) VALUES (?1, ?2, ?3)",
            params![self.writer, self.next, note],
        )?;
        Ok(())
    }

    /// The transaction with the row is committed.
    pub(crate) fn acknowledge(&mut self) -> anyhow::Result<()> {
        self.log
            .write_all(format!("{}\n", self.next).as_bytes())
            .context("cannot write down an acknowledgement")?;
        self.next += 1;
        Ok(())
    }
}

/// What was found of all promised rows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Rows in the database.
    pub(crate) rows: i64,
    /// What is wrong, one line each.
    pub(crate) faults: Vec<String>,
}

/// Compares the rows of these writers with what they must be, read without an index. `kills` is
/// how often a writer was killed: so many commits may have gone unacknowledged.
pub(crate) fn compare(
    database: &Connection,
    dir: &Path,
    seed: u64,
    writers: &[(u32, u32)],
) -> anyhow::Result<Kept> {
    let mut kept = Kept::default();
    let sound: Option<String> = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .optional()?;
    if sound.as_deref() != Some("ok") {
        kept.faults.push(format!("integrity check: {sound:?}"));
    }
    for &(writer, kills) in writers {
        let acknowledged = last_acknowledged(dir, writer)?;
        let mut statement = database.prepare(
            "SELECT sequence, note FROM promised NOT INDEXED WHERE writer = ?1 ORDER BY sequence",
        )?;
        let mut rows = statement.query([writer])?;
        let (mut count, mut wrong) = (0_i64, 0);
        while let Some(row) = rows.next()? {
            count += 1;
            let (sequence, found): (i64, String) = (row.get(0)?, row.get(1)?);
            wrong += i32::from(sequence != count || found != note(seed, writer, sequence));
        }
        kept.rows += count;
        if wrong > 0 {
            kept.faults.push(format!(
                "writer {writer}: {wrong} of {count} rows are wrong"
            ));
        }
        if count < acknowledged || count > acknowledged + i64::from(kills) + 1 {
            kept.faults.push(format!(
                "writer {writer}: {acknowledged} rows acknowledged, {kills} kills, {count} rows found"
            ));
        }
    }
    Ok(kept)
}
