//! What can go wrong with the state.

use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::path_trust::TrustError;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The state directory is not to be believed.
    #[error("state directory: {0}")]
    StateDir(#[from] TrustError),
    /// A file cannot be opened, read or written.
    #[error("state {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite could not do it.
    #[error("state {}: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Another dbmedic works with this state directory.
    #[error(
        "state directory {}: another dbmedic works with this state directory; stop it, or name another directory",
        path.display()
    )]
    InUse {
        /// The state directory.
        path: PathBuf,
    },
    /// A command that reads keeps the state from being written.
    #[error(
        "state directory {}: a command reads the state, which nobody can write meanwhile; let it end, and start again",
        path.display()
    )]
    BeingRead {
        /// The state directory.
        path: PathBuf,
    },
    /// It cannot be read before a dbmedic brought it in order.
    #[error(
        "state {}: the dbmedic that wrote it was cut off; it can be read when `dbmedic run` was started once",
        path.display()
    )]
    CutOff {
        /// The database.
        path: PathBuf,
    },
    /// A command has no identifier.
    #[error("a command without an identifier is not taken: given again it would count twice")]
    Nameless,
    /// Two commands have one identifier.
    #[error(
        "another command was given under the identifier {id}, entry {seq}: give this one under another"
    )]
    SameName {
        /// The identifier.
        id: String,
        /// The number of the other one.
        seq: u64,
    },
    /// A record is longer than one may be.
    #[error("a record of {bytes} bytes is longer than one may be")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A record cannot be written as JSON.
    #[error("a record cannot be written: {0}")]
    Record(#[source] serde_json::Error),
    /// It is whole, and not what this version writes.
    #[error(
        "state {}: {what} is not readable: {source}; a newer dbmedic may have written it: use that one, or name \
         another state directory",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What of it.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A newer dbmedic made it.
    #[error(
        "state {}: a newer dbmedic made it (schema version {version}): use that one, or name another state directory",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version of its schema.
        version: i32,
    },
    /// The database is not what was written.
    #[error("state {}: {what}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file of 0.1.0 is not what was written.
    #[error("state {}: {what}; move it aside to take over the rest without it", path.display())]
    OldDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Both this version and 0.1.0 wrote state, which do not belong together.
    #[error(
        "state directory: dbmedic 0.1.0 wrote {} after {} was made; move one of them aside",
        old.display(), new.display()
    )]
    Both {
        /// The file of 0.1.0.
        old: PathBuf,
        /// The database.
        new: PathBuf,
    },
    /// Only dbmedic 0.1.0 wrote state here, and nothing was imported yet.
    #[error(
        "state directory {}: it was written by dbmedic 0.1.0; `dbmedic run` takes it over when it starts",
        path.display()
    )]
    Old {
        /// The state directory.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether more room on the disk may help.
    pub(super) fn is_for_want_of_room(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded),
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)
            ),
            _ => false,
        }
    }
}
