//! The decision log: each decision of a policy with everything that led to it, so that it can be
//! made again years later, anywhere, byte for byte.
//!
//! JSON Lines, each with the SHA-256 of the line before, in files that are closed when full,
//! compressed, and make way for newer ones when all together are too large. What makes way is
//! counted, and the count stands in the chain.
//!
//! Crises never make way: a classification as crisis, a halt, and level escalate. No crisis in this
//! sense is what only repeats: a tick that finds level escalate still in force, and a judgement by the
//! same component of the same incident with the class, level, repair, halt and rules of the last one.
//! The first of each stays.
//!
//! The pipeline knows nothing of it: a driver hands over what was decided, a thread of its own
//! writes. A log that cannot be written never keeps a decision from being carried out. A crisis that
//! cannot be written is told as an error at once, kept in memory, and written when that works again.
//! What finds no room there is lost, as is any other decision that cannot be written: it is counted,
//! crises apart, and the log tells how many as soon as it can be written. Only what still waits when
//! the process is killed is not counted.
//!
//! No secret is in it: nothing but what a policy was shown, and its parameters.

mod crew;
mod diff;
mod entries;
mod files;
mod keeper;
mod line;
mod making_way;
mod mend;
mod reader;
mod replay;
mod writer;

use std::path::PathBuf;

pub use crew::Progress;
pub use diff::{Details, Diffed, Sides, diff};
pub use entries::decisions;
pub use keeper::{About, DecisionLog};
pub use line::{Answer, Begin, Cost, Decided, Dropped, Losses, Lost, PolicyLine, VERSION};
pub use making_way::Room;
pub use reader::{Chain, Fault, FaultKind, newest_begin};
pub use replay::{Absent, Difference, Replayed, Skipped, patient, replay};

/// What can go wrong with a decision log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionLogError {
    /// Others could have put there what is in its directory.
    #[error("decision log: {0}")]
    Trust(#[from] crate::path_trust::TrustError),
    /// A file or the directory cannot be made, read or written.
    #[error("decision log: {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another dbmedic writes there.
    #[error(
        "decision log {}: another dbmedic writes there; name another directory in [decision_log]",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is nothing that could be read.
    #[error("decision log {}: there is no entry of a decision log in it", path.display())]
    Empty {
        /// The file or directory.
        path: PathBuf,
    },
    /// A thread of this program broke off.
    #[error("decision log: a thread that worked on it broke off; this is a mistake in dbmedic")]
    Broken,
    /// The format is newer.
    #[error(
        "decision log {}: format version {found}, this dbmedic reads {VERSION}",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that stands in it.
        found: u32,
    },
}

#[cfg(test)]
mod tests;
