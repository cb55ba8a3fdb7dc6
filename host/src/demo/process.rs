//! The hidden subcommands: everything of the demo that must not happen in the process that also
//! runs dbmedic.
//!
//! Processes that answer read their input as JSON from standard input and write their answer as
//! JSON to standard output. Each of them opens the database either with SQLite or raw, and never
//! raw before its last SQLite connection to it is closed.

use std::io::{self, Read as _, Write as _};

use anyhow::Context as _;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Scene, WriterArgs,
    child::READY,
    faults::{bystander, index, wal},
    proof, rows,
    writer::{take_name, writer_main},
};

/// A process of the demo: `dbmedic demo-process <name>`. Not for people.
#[derive(Debug, clap::Subcommand)]
pub enum DemoProcess {
    /// Makes the database and its rows.
    Found(Scene),
    /// Writes rows until told to end.
    Writer(WriterArgs),
    /// Takes the write lock, and keeps it idly.
    LockHolder(Scene),
    /// Begins to read, and never ends.
    Reader(Scene),
    /// Copies the write-ahead log into the database and empties it.
    Checkpoint(Scene),
    /// Damages keys in a leaf page of an index.
    DamageIndex {
        /// Where.
        #[command(flatten)]
        scene: Scene,
        /// Which index; one of the orders' by the seed unless given.
        #[arg(long)]
        index: Option<String>,
    },
    /// Damages a frame of the write-ahead log.
    DamageWal {
        /// Where.
        #[command(flatten)]
        scene: Scene,
        /// In which part of the log.
        #[arg(long)]
        place: wal::WalPlace,
    },
    /// Puts the damaged frame's bytes back.
    PutBack(Scene),
    /// Hashes the database and its write-ahead log.
    Fingerprint(Scene),
    /// Compares what the database holds with what it acknowledged.
    Prove(Scene),
}

impl DemoProcess {
    /// Does what the process is there for.
    ///
    /// # Errors
    ///
    /// Says what could not be done; whoever started the process passes the words on.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Found(scene) => answer(&rows::found(&scene)?),
            Self::Writer(args) => {
                take_name("demo-writer")?;
                writer_main(&args)
            }
            Self::LockHolder(scene) => {
                take_name("demo-holder")?;
                let _lock = bystander::take_write_lock(&scene)?;
                wait_for_end()
            }
            Self::Reader(scene) => {
                take_name("demo-reader")?;
                let _snapshot = bystander::begin_to_read(&scene)?;
                wait_for_end()
            }
            Self::Checkpoint(scene) => answer(&bystander::checkpoint(&scene)?),
            Self::DamageIndex { scene, index } => answer(&index::damage(&scene, index.as_deref())?),
            Self::DamageWal { scene, place } => {
                answer(&wal::damage(&scene, place, &asked::<Vec<_>>()?)?)
            }
            Self::PutBack(scene) => answer(&wal::put_back(&scene, &asked()?)?),
            Self::Fingerprint(scene) => answer(&wal::Fingerprint::take(&scene)?),
            Self::Prove(scene) => answer(&proof::compare(&scene, &asked::<Vec<_>>()?)?),
        }
    }
}

/// The question on the standard input.
fn asked<T: DeserializeOwned>() -> anyhow::Result<T> {
    serde_json::from_reader(io::stdin().lock()).context("cannot read the question")
}

fn answer(answer: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(io::stdout().lock(), answer).context("cannot write the answer")
}

/// Says that it is ready, and waits until the standard input closes.
fn wait_for_end() -> anyhow::Result<()> {
    writeln!(io::stdout(), "{READY}").context("cannot say that it is ready")?;
    io::stdin()
        .lock()
        .read_to_end(&mut Vec::new())
        .context("cannot listen for the end")?;
    Ok(())
}
