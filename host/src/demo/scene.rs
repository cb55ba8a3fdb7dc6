//! Where a demo takes place: its directory, its seed, its size, and the program that its child
//! processes run.

use std::{
    ffi::OsString,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::{Serialize, de::DeserializeOwned};

use super::DemoError;

/// The size of a page of the demo's database, bytes.
pub(crate) const PAGE_BYTES: u32 = 4096;

/// The place of a demo. Two scenes with the same numbers hold the same rows.
#[derive(Debug, Clone, clap::Args)]
pub struct Scene {
    /// The program whose `demo-process` subcommands are run; this one unless set.
    #[arg(skip = this_program())]
    pub program: PathBuf,
    /// Holds the database and the logs; must exist.
    #[arg(long)]
    pub directory: PathBuf,
    /// All rows, pauses and positions of damage come from it.
    #[arg(long)]
    pub seed: u64,
    /// How many processes write.
    #[arg(long)]
    pub writers: u32,
    /// How many rows the table of orders has at the beginning.
    #[arg(long)]
    pub rows: u32,
}

fn this_program() -> PathBuf {
    // Without a name the first child cannot be started, and that error says so.
    std::env::current_exe().unwrap_or_default()
}

impl Scene {
    /// A scene whose children run this very program.
    pub fn new(directory: impl Into<PathBuf>, seed: u64, writers: u32, rows: u32) -> Self {
        Self {
            program: this_program(),
            directory: directory.into(),
            seed,
            writers,
            rows,
        }
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.directory.join("shop.db")
    }

    /// The database's write-ahead log.
    pub fn wal(&self) -> PathBuf {
        self.directory.join("shop.db-wal")
    }

    /// The database's wal-index.
    pub(crate) fn wal_index(&self) -> PathBuf {
        self.directory.join("shop.db-shm")
    }

    /// The acknowledgement log of a writer.
    pub fn acknowledgements(&self, writer: u32) -> PathBuf {
        self.directory.join(format!("acknowledged-{writer}.log"))
    }

    /// The log of a writer's errors: one line each, beginning with its class.
    pub fn errors(&self, writer: u32) -> PathBuf {
        self.directory.join(format!("errors-{writer}.log"))
    }

    /// The command that starts one of the demo's processes in this scene.
    pub(crate) fn command(&self, process: &str, flags: &[String]) -> Command {
        let mut directory = OsString::from("--directory=");
        directory.push(&self.directory);
        let mut command = Command::new(&self.program);
        command
            // What a child says goes into an error's one line.
            .env("RUST_LIB_BACKTRACE", "0")
            .args(["demo-process", process])
            .arg(directory)
            .arg(format!("--seed={}", self.seed))
            .arg(format!("--writers={}", self.writers))
            .arg(format!("--rows={}", self.rows))
            .args(flags);
        command
    }

    /// Runs a process to its end and reads its answer: JSON in, JSON out.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        process: &str,
        flags: &[String],
        input: &impl Serialize,
    ) -> Result<T, DemoError> {
        let failed = |detail: String| DemoError::Process {
            process: process.to_owned(),
            detail,
        };
        let input = serde_json::to_vec(input).map_err(|error| failed(error.to_string()))?;
        let mut child = self
            .command(process, flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(DemoError::child("start", process))?;
        // Many a child does not read it; one that needs it and lacks it fails with its own words.
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(&input)
        {
            tracing::debug!(%error, process, "the question was not read");
        }
        let output = child
            .wait_with_output()
            .map_err(DemoError::child("wait for", process))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(failed(format!("{} ({})", words.trim(), output.status)));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("its answer cannot be read: {error}")))
    }
}
