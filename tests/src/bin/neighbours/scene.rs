//! One run's directory: the database, the configuration of dbmedic, and what is kept beside them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rusqlite::Connection;

use crate::promised;

/// Rows of one page each that are there from the beginning: enough for a copy to take a while.
const FIRST_ROWS: u32 = 1500;

/// What is chosen for one run, beside its neighbours.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The journal mode that the database begins in.
    pub(crate) journal_mode: &'static str,
    /// The age of a lock and of a reader from which on the policy acts, milliseconds.
    pub(crate) threshold_ms: u64,
    /// Between two observations, milliseconds.
    pub(crate) interval_ms: u64,
    /// Between two checks, scans and snapshots, milliseconds.
    pub(crate) check_interval_ms: u64,
}

/// The place of one run.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) dir: PathBuf,
    pub(crate) settings: Settings,
}

impl Scene {
    /// Makes the databases. Copies and acknowledgements lie beside them in directories of their own.
    pub(crate) fn create(dir: &Path, settings: Settings) -> anyhow::Result<Self> {
        let scene = Self {
            dir: dir.to_owned(),
            settings,
        };
        std::fs::create_dir_all(scene.data())?;
        std::fs::create_dir_all(scene.logs())?;
        scene
            .create_databases()
            .context("cannot create the databases")?;
        Ok(scene)
    }

    fn create_databases(&self) -> rusqlite::Result<()> {
        let mode = self.settings.journal_mode;
        let database = Connection::open(self.database())?;
        database.execute_batch(&format!(
            "PRAGMA auto_vacuum = INCREMENTAL;
             PRAGMA journal_mode = {mode};
             BEGIN;
             {};
             CREATE TABLE jobs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL);
             CREATE INDEX jobs_by_state ON jobs (state);
             CREATE TABLE filler (id INTEGER PRIMARY KEY, v BLOB NOT NULL);
             WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {FIRST_ROWS})
             INSERT INTO filler (v) SELECT randomblob(4000) FROM n;
             COMMIT;",
            promised::SCHEMA
        ))?;
        let second = Connection::open(self.second())?;
        second.execute_batch(&format!(
            "PRAGMA journal_mode = {mode};
             CREATE TABLE archive (id INTEGER PRIMARY KEY, note TEXT NOT NULL);"
        ))?;
        Ok(())
    }

    /// Where the databases lie.
    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where neighbours keep their acknowledgements and copies.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The database that all use.
    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("first.db")
    }

    /// The database that some attach.
    fn second(&self) -> PathBuf {
        self.data().join("second.db")
    }

    /// The recording of dbmedic.
    pub(crate) fn recording(&self) -> PathBuf {
        self.dir.join("recording.jsonl")
    }

    /// What dbmedic wrote.
    pub(crate) fn output(&self) -> PathBuf {
        self.dir.join("dbmedic.out")
    }

    /// Writes the configuration: everything dangerous is allowed, and every limit that could hide a
    /// wrong repair is wide.
    pub(crate) fn configure(&self, names: &[String]) -> anyhow::Result<PathBuf> {
        let Settings {
            threshold_ms,
            interval_ms,
            check_interval_ms,
            ..
        } = self.settings;
        let mut text = format!(
            r#"version = 1
mode = "enforce"
state_dir = "state"

[observation]
sample_interval_ms = {interval_ms}
decide_interval_ms = {interval_ms}
tick_interval_ms = 1000
quick_check_interval_ms = {check_interval_ms}
incremental_check_interval_ms = {check_interval_ms}
integrity_interval_ms = {check_interval_ms}
wal_scan_interval_ms = {check_interval_ms}
lock_hold_ms = 500
reader_hold_ms = 500

[snapshots]
interval_ms = {check_interval_ms}

[guard]
max_loss_commits = 1_000_000
max_loss_percent = 100.0
repairs_per_hour = 1_000
cool_down_ms = 100
failures_before_person = 100
flap_repairs = 100

[policy.parameters]
stale_lock_age_ms = {threshold_ms}
reader_age_ms = {threshold_ms}

[[constraints]]
name = "wal_size"
metric = "wal_bytes"
upper = 500_000_000
auto_fix = true
"#
        );
        let may_end = serde_json::to_string(names)?;
        for (name, database) in [("first", self.database()), ("second", self.second())] {
            write!(
                text,
                "\n[[targets]]\nname = \"{name}\"\nsqlite = \"{}\"\nmay_end = {may_end}\n",
                database.display()
            )?;
        }
        let path = self.dir.join("dbmedic.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }
}
