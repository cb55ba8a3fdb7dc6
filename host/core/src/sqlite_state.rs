//! SQLite: what one look at a database file and its companions showed, and what follows from it.
//!
//! Records without I/O: they stand in recordings, and diagnosis judges by them alone. Who makes them is
//! the module `sqlite`.

mod damaged;
mod holders;
mod integrity;
mod judged;
mod library;
pub mod on_purpose;
pub mod rollback;
pub mod set;

use serde::{Deserialize, Serialize};

pub use damaged::{DamagedObject, IntegrityFault, SchemaEntry};
pub use holders::{Activity, Descendants, Lock, LockHolder, Mark, Probe, Process, RunState};
pub use integrity::{
    ColumnDifference, Coverage, Disagreement, IndexComparison, Integrity, Mode, RemovableEntries,
    Slicing, SoundTables, Space, ValueKind, ValueShape,
};
pub use judged::{BrokenRule, MOST_ROWIDS, Rule, Unjudged, UnjudgedPart};
pub use library::{Library, Version};

/// What one look showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SqliteState {
    /// Size of the database file in bytes; none when it is missing.
    pub database_bytes: Option<u64>,
    /// What is wrong with the database file's header; none when it is sound or the file is empty.
    pub header_fault: Option<HeaderFault>,
    /// Size of the `-journal` file in bytes; none when it is missing or empty.
    pub journal_bytes: Option<u64>,
    /// The `-wal` file; none when it is missing or empty.
    pub wal: Option<WalState>,
    /// The wal-index (`-shm`); none when it is missing, empty or torn at the time of the look.
    pub wal_index: Option<WalIndexState>,
    /// Processes that hold a lock on one of the files, dbmedic's own excepted.
    pub locks: Vec<LockHolder>,
    /// Read locks of the log that dbmedic's own processes hold, for a check or a snapshot: they are in the
    /// way of a checkpoint like anybody's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_read_locks: Vec<Lock>,
    /// What probing showed of those locks that stand in somebody's way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// What more is to be known of a write lock that was held in every sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Box<rollback::Standing>>,
    /// The libraries of SQLite that the programs map which hold a lock; none when it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libraries: Option<Vec<Library>>,
    /// The result of an integrity check, when one was due in this look.
    pub integrity: Option<Integrity>,
    /// What the files are like as a set.
    #[serde(default)]
    pub set: Box<set::FileSet>,
    /// The newest checked snapshot, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_snapshot: Option<Box<set::SnapshotSeen>>,
}

/// A database file that is not what its header should say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderFault {
    /// The first 16 bytes are not SQLite's.
    NotADatabase,
    /// The header counts more pages than the file holds.
    Truncated {
        /// Pages that the header counts.
        expected_pages: u64,
        /// Whole pages that the file holds.
        actual_pages: u64,
    },
}

/// The write-ahead log, frame by frame. Frames count from 1, as SQLite does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WalState {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Page size in bytes, from the header; 0 when the header is damaged.
    pub page_bytes: u32,
    /// The two salts of the current generation.
    pub salts: (u32, u32),
    /// Whether the header's checksum holds.
    pub header_valid: bool,
    /// Whether the frames were verified in this look (a light look reads the header only).
    pub scanned: bool,
    /// Frames of this generation: valid ones, and later ones that carry its salts.
    pub frames: u64,
    /// The longest valid prefix of frames.
    pub valid_frames: u64,
    /// The last frame of the valid prefix that ends a transaction; 0 when there is none.
    pub last_commit_frame: u64,
    /// Transactions in the valid prefix.
    pub commits: u64,
    /// The first frame that fails although the log goes on: a later frame (or itself) carries this
    /// generation's salts and ends a transaction. None when the log simply ends.
    pub first_bad_frame: Option<u64>,
    /// Transactions of this generation that end at or after the first bad frame: lost when the
    /// valid prefix is all that is kept.
    pub lost_commits: u64,
    /// The change counters in the first and in the last copy of the database's first page in the
    /// valid prefix; none when it holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_counters: Option<(u32, u32)>,
}

/// The shared-memory index of the write-ahead log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WalIndexState {
    /// Counts every transaction (`iChange`); wraps.
    pub change_counter: u32,
    /// The last committed frame (`mxFrame`).
    pub max_frame: u32,
    /// Size of the database after the last commit (`nPage` of `szPage`), bytes: its file grows only when the
    /// log is copied into it. 0 when it is not known.
    #[serde(default)]
    pub database_bytes: u64,
    /// Frames already copied into the database (`nBackfill`).
    pub backfilled: u32,
    /// The salts that the index believes in.
    pub salts: (u32, u32),
    /// The read marks (`aReadMark`); `u32::MAX` is unused.
    pub read_marks: [u32; 5],
}

impl WalIndexState {
    /// The read mark of a read lock's slot; none for other locks.
    pub fn read_mark(&self, lock: Lock) -> Option<u32> {
        match lock {
            Lock::WalRead(slot) => self.read_marks.get(usize::from(slot)).copied(),
            _ => None,
        }
    }

    /// Whether a read lock, held, keeps frames from being checkpointed. Slot 0 reads the database
    /// alone, so no frame may be copied into it: it is in the way once there are frames that are not
    /// copied. Any other slot is in the way of the frames behind its read mark. A mark that was
    /// checkpointed past belongs to nobody who still reads.
    pub fn is_pinned_by(&self, lock: Lock) -> bool {
        match (lock, self.read_mark(lock)) {
            (Lock::WalRead(0), Some(_)) => self.backfilled < self.max_frame,
            (_, Some(mark)) => self.backfilled <= mark && mark < self.max_frame,
            (_, None) => false,
        }
    }

    /// The last frame that may be checkpointed while a read lock is held.
    pub fn pinned_at(&self, lock: Lock) -> Option<u32> {
        match lock {
            Lock::WalRead(0) => Some(self.backfilled),
            _ => self.read_mark(lock),
        }
    }
}
