//! The processes that touch databases, and the side that asks them.
//!
//! Each is a child that has the rights of the database's owner and no others (see [`rights`]). SQLite's
//! locks belong to a process, and closing any descriptor of a file drops them: so a process that reads
//! files raw ([`Role::Raw`]) has no SQLite connection, and one that has connections ([`Role::Sql`])
//! opens no file of a database itself, and has one database at a time.
//!
//! One JSON value a line goes each way. The first line says which role and whose rights; the answer
//! says that they were taken. Then each request has one answer; before it, a worker may ask for what it
//! has no right to do itself (see [`Wish`]). What a worker says is no more to be believed than the file
//! that it reads. A worker ends when its input does: one with connections at once, in whatever it does,
//! as a killed dbmedic did; one that reads raw after its answer, so that a restore is not cut off.

pub mod accounts;
pub mod areas;
pub mod place;
pub mod rights;

mod pool;
mod process;
mod serve;

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use areas::{Area, Areas};
pub use place::{Place, PlaceError};
pub use pool::Pool;
pub use process::{Process, first_line};
pub use rights::Rights;
pub use serve::{ask_parent, serve};

/// The hidden subcommand that serves.
pub const SUBCOMMAND: &str = "worker";
/// The version of what is said between the two.
const VERSION: u32 = 1;
/// The longest line that is read, bytes.
const LONGEST_LINE: u64 = 64 << 20;
/// How long a look may take.
pub const LOOK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long copying, putting back, or a stage of a repair may take.
pub const COPY_TIMEOUT: Duration = Duration::from_hours(1);

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and writes files as they are.
    Raw,
    /// Has SQLite connections.
    Sql,
}

/// The first line that a worker reads.
#[derive(Debug, Serialize, Deserialize)]
struct First {
    v: u32,
    role: Role,
    /// The rights to keep; none: those that it was started with.
    rights: Option<Rights>,
}

/// A line of a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said<A> {
    /// It has the rights that it was to take, and serves.
    Ready {
        v: u32,
    },
    /// It asks before it answers.
    Wishes(Wish),
    Answer(A),
    Failed(Failure),
}

/// What a worker asks of the process that started it, because it has no right to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Send a signal to a process.
    Signal {
        /// The process.
        pid: u32,
        /// When it started, clock ticks since boot: a pid is used again.
        start_ticks: u64,
        /// The signal's number.
        signal: i32,
    },
}

/// What came of a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granted {
    /// It was done.
    Done,
    /// The process is gone.
    Gone,
    /// It was not done, and why.
    Refused(String),
}

/// Why a worker could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What failed, on what, and why, in one line.
    pub message: String,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, error: &dyn Error) -> Self {
        Self {
            kind,
            message: with_causes(error),
        }
    }
}

/// The kinds of failure that a caller may tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A file could not be read or written.
    File,
    /// Another process holds a lock (its pid; 0: not known). Nothing was written.
    InUse(u32),
    /// The directory already holds a copy.
    CopyExists,
    /// The copy is incomplete or damaged. Nothing was written.
    CopyUnusable,
    /// A file was changed by somebody else. Nothing was written.
    Changed,
    /// There is no room for a copy. Nothing was copied.
    NoRoom,
    /// A file does not read back as it was written.
    ReadBack,
    /// A precondition of a repair does not hold. The repair has changed nothing.
    Unmet,
    /// A part of a repair did not succeed.
    Repair,
    /// The snapshot could not be taken.
    Snapshot,
    /// The rights of the database's owner could not be taken.
    Rights,
    /// The request could not be understood.
    Request,
}

/// Why a worker gave no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It could not be started.
    #[error("cannot start the helper process {exe}: check that the file may be executed", exe = exe.display())]
    Spawn {
        /// The executable.
        exe: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not answer in time and was ended; the next question starts a new one.
    #[error("the helper process did not answer within {} s and was ended; check the disk", within.as_secs())]
    Timeout {
        /// How long was waited.
        within: Duration,
    },
    /// It ended, or spoke nonsense; the next question starts a new one.
    #[error(
        "the helper process ended or spoke nonsense ({detail}); the next look starts a new one"
    )]
    Broken {
        /// What was seen.
        detail: String,
    },
    /// Where the database lies, and whose it is, cannot be said.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It could not do as asked.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// An error with its causes, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// Workers that run.
static WORKERS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// The workers of this dbmedic: their locks are not somebody else's. In a worker, those of the process
/// that started it as well, as far as it was told.
pub fn worker_pids() -> Vec<u32> {
    let workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    workers.iter().copied().collect()
}

pub(super) fn change_workers(change: impl FnOnce(&mut BTreeSet<u32>)) {
    change(&mut WORKERS.lock().unwrap_or_else(PoisonError::into_inner));
}
