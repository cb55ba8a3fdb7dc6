//! What `dbmedic demo` treats: a real database under a real workload, real damage, and the proof
//! that no acknowledged row was lost that was not announced.
//!
//! Nothing here is simulated: the writers are processes, the locks are the kernel's, the damage is
//! bytes in files. And nothing here asks dbmedic for the truth: what a fault costs and whether all
//! rows are there is found with SQLite, the acknowledgement logs and the seed alone.
//!
//! The process that runs the demo also runs dbmedic, which holds SQLite connections for moments.
//! Opening and closing a database's file would drop the POSIX locks of those connections, so this
//! process must never open the database, its `-wal` or its `-shm`: every SQLite connection, every
//! raw read and every damaging write lives in a child ([`DemoProcess`]). What remains here are
//! `stat` calls and the demo's own logs.

mod acknowledged;
mod child;
pub mod faults;
mod process;
pub mod proof;
mod rows;
mod scene;
mod show;
pub mod workload;
mod writer;

use std::{io, path::PathBuf, time::Duration};

pub use acknowledged::Acknowledged;
pub use child::DemoChild;
pub use process::DemoProcess;
pub use scene::Scene;
pub use show::{DemoArgs, run};
pub use writer::{WriterArgs, writer_main};

/// Why a part of the demo did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file of the demo's own could not be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, for example `read`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A child process could not be started or signalled.
    #[error("cannot {action} the demo process `{process}`")]
    Child {
        /// What was tried, for example `start`.
        action: &'static str,
        /// The process's subcommand.
        process: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A child process ended without the answer that it owes; its own words say why.
    #[error("the demo process `{process}` failed: {detail}")]
    Process {
        /// The process's subcommand.
        process: String,
        /// What it wrote to its standard error, or how it ended.
        detail: String,
    },
    /// Something that had to happen did not.
    #[error("waited {} s in vain for {what}; see the `errors-*.log` files beside the database", waited.as_secs())]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// A log of the demo's own does not have its form.
    #[error("{}, line {line}: not an acknowledgement: {text:?}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

impl DemoError {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    fn child(action: &'static str, process: &str) -> impl FnOnce(io::Error) -> Self {
        let process = process.to_owned();
        move |source| Self::Child {
            action,
            process,
            source,
        }
    }
}
