//! The decision log: each decision of a policy with everything that led to it, so that it can be
//! made again years later, anywhere, byte for byte.
//!
//! JSON Lines, each with the SHA-256 of the line before, in files that are closed when full,
//! compressed, and make way for newer ones when all together are too large. Never dropped are
//! crises: a classification as crisis, a halt, and level escalate, except where a tick only finds
//! it still in force. What is dropped is counted, and the count stands in the chain.
//!
//! The pipeline knows nothing of it: a driver hands over what was decided, a thread of its own
//! writes. A log that cannot be written never keeps a decision from being carried out. No secret is
//! in it: nothing but what a policy was shown, and its parameters.

mod crew;
mod diff;
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
pub use keeper::{About, DecisionLog};
pub use line::{Answer, Begin, Cost, Decided, Dropped, Lost, PolicyLine, VERSION};
pub use making_way::Room;
pub use reader::{Chain, Fault, FaultKind, newest_begin};
pub use replay::{Absent, Difference, Replayed, Skipped, patient, replay};

/// What can go wrong with a decision log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionLogError {
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
