//! SQLite: what a look at a database file and its companions shows.
//!
//! The four files (database, `-wal`, `-shm`, `-journal`) belong together. They are only ever opened in
//! worker processes, which have the rights of the database's owner: see [`worker`].

pub mod activity;
pub mod backup;
pub mod beside;
mod btree;
pub mod connection;
pub mod contents;
pub mod copies;
mod damaged;
pub mod files;
mod hidden_uses;
mod inspect;
pub mod integrity;
pub mod judged;
pub mod libraries;
pub mod locks;
pub mod look;
pub mod numbers;
pub mod on_purpose;
mod openers;
mod own_lock;
mod probe;
pub mod probe_transaction;
pub mod raw;
pub mod repairs;
pub mod rollback;
pub mod set;
pub mod set_aside;
pub mod sql;
pub mod trail;

pub mod wal;
pub mod wal_index;
pub mod whole;
pub mod worker;
pub mod writers;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use damaged::{DamagedObject, IntegrityFault, SchemaEntry};

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
    pub libraries: Option<Vec<libraries::Library>>,
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

/// What probing a lock's byte in quick succession showed, and what its holder did meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is locked.
    pub lock: Lock,
    /// The holder's pid; 0 when the kernel names none.
    pub pid: u32,
    /// When it started, as in [`Process::start_ticks`].
    pub start_ticks: u64,
    /// How often the byte was asked for. The first sample that finds it otherwise is the last one.
    pub samples: u32,
    /// In how many of these it was held, by this process or others that share the lock.
    pub held: u32,
    /// From the first sample to the last, microseconds.
    pub window_us: u64,
    /// Whether the process ran meanwhile, or may have.
    pub ran: bool,
    /// What the process had done by the end; none when that cannot be seen.
    pub activity: Option<activity::Activity>,
}

/// A lock that another process holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LockHolder {
    /// What is locked.
    pub lock: Lock,
    /// Whether the lock excludes others.
    pub exclusive: bool,
    /// The process.
    pub process: Process,
}

/// A process, so named that a recycled pid is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// The pid; 0 when the kernel names none: somebody holds the lock, and cannot be ended.
    pub pid: u32,
    /// When it started, clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// Its short name (`/proc/PID/comm`).
    pub name: String,
    /// Processor time it has used, clock ticks (fields 14 and 15 of `/proc/PID/stat`).
    pub cpu_ticks: u64,
}

/// What a process may lock on the files of a SQLite database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// The database file: has it open in WAL mode, or reads it in rollback mode.
    Shared,
    /// The database file: about to write in rollback mode.
    Reserved,
    /// The database file: waits for readers to leave.
    Pending,
    /// The wal-index: the one writer.
    WalWrite,
    /// The wal-index: the one checkpointer.
    WalCheckpoint,
    /// The wal-index: recovery.
    WalRecover,
    /// The wal-index: a reader with this read mark, 0 to 4.
    WalRead(u8),
    /// The wal-index: has it open (the "dead man's switch").
    WalOpen,
}

/// The result of SQLite's own integrity check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Integrity {
    /// How thorough it was.
    pub mode: integrity::Mode,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// What it found; empty when all is well.
    pub faults: Vec<IntegrityFault>,
    /// Why it could not be done to its end (for example: busy); then `faults` is what was found
    /// until then.
    pub error: Option<String>,
    /// How much a check of a part looked at; none for one of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Each index with a fault, compared with its table entry by entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<IndexComparison>,
    /// Whether the database file is sound without the log or journal beside it. None when that was
    /// not checked: it is where they are at fault together, or cannot belong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound_alone: Option<bool>,
    /// Rules of the schema that rows break. No damage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken_rules: Vec<judged::BrokenRule>,
    /// Whether every rule of the schema was looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rules_checked: bool,
    /// What could not be judged, and why. No damage either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unjudged: Vec<judged::Unjudged>,
    /// How much of the file is used; none when that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Space>,
    /// Where a table is damaged, the tables against which nothing was found; none when not all of the
    /// database was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound_tables: Option<SoundTables>,
}

/// Tables that were looked at whole, with their indexes, and against which nothing was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundTables {
    /// How many.
    pub count: u64,
    /// The names of the first of them.
    pub names: Vec<String>,
}

/// How much of a database file is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Pages of the database.
    pub pages: u64,
    /// Pages among them that hold nothing.
    pub free_pages: u64,
    /// The size of one, bytes.
    pub page_bytes: u64,
    /// Whether free pages can be given back a few at a time (`auto_vacuum = INCREMENTAL`).
    pub incremental_vacuum: bool,
}

impl Integrity {
    /// A check that looked at nothing yet, or could not be made: then why.
    pub fn empty(mode: integrity::Mode, error: Option<String>) -> Self {
        Self {
            mode,
            duration_ms: 0,
            faults: Vec::new(),
            error,
            coverage: None,
            comparisons: Vec::new(),
            broken_rules: Vec::new(),
            rules_checked: false,
            unjudged: Vec::new(),
            space: None,
            sound_alone: None,
            sound_tables: None,
        }
    }
}

/// How the entries of an index compare with the rows of its table, entry by entry. Names tables,
/// rowids, columns, types and lengths; never a value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexComparison {
    /// The index.
    pub index: String,
    /// Its table.
    pub table: String,
    /// Rows that belong into the index.
    pub rows: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Pages of the index.
    pub pages: u64,
    /// Rows that have no entry.
    pub missing_entries: u64,
    /// Entries that a rebuild removes, and of which it is proven that nothing is lost by it.
    pub removable: RemovableEntries,
    /// Entries that say something else than the row they name, where nobody knows which is true.
    pub disagreements: u64,
    /// Those among them that lie only in what functions compute which the application may define in
    /// its own way: to the application they may be none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub computed: u64,
    /// The first of them.
    pub examples: Vec<Disagreement>,
    /// Entries without a row of which another index of the table has one as well: the table seems to have
    /// lost these rows, and what the indexes hold is all that is left of them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub lost_rows: u64,
    /// Entries without a row where the table has no other index that could tell whether the row was deleted
    /// or lost. They are counted among [`RemovableEntries::without_row`].
    #[serde(default, skip_serializing_if = "is_none")]
    pub unasked_rows: u64,
    /// Keys that several rows share although the index is to be unique: it cannot be built.
    pub shared_keys: u64,
    /// Whether the entries and the rows were compared with each other.
    #[serde(default)]
    pub is_compared: bool,
    /// Entries and pages of the index that cannot be read.
    #[serde(default)]
    pub unreadable: u64,
    /// Why this is not the whole truth; none when every entry and every row was compared.
    pub unproven: Option<String>,
    /// How long a rebuild holds writers out, milliseconds, estimated by reading and sorting the
    /// rows and by the pages to write; none when it was not measured.
    pub expected_lock_ms: Option<u64>,
    /// What of the index the application may define in its own way, so that dbmedic's SQLite must not
    /// build it; none when there is nothing of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to_application: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Entries that a rebuild removes and that hold no value which is not also in a row, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovableEntries {
    /// There is no row of this identity, and no other index of the table has an entry of it.
    pub without_row: u64,
    /// The same entry is there another time.
    pub duplicates: u64,
    /// The row that it names has its own entry, and another row without one has its key: only which
    /// row it names is damaged.
    pub misnamed: u64,
    /// It lies where its key was never put, while the row's key belongs there or has its own
    /// entry: what it says was never written.
    pub out_of_place: u64,
}

impl RemovableEntries {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.without_row + self.duplicates + self.misnamed + self.out_of_place
    }
}

impl IndexComparison {
    /// Whether each entry that a rebuild removes is proven to be no loss.
    pub fn proves_no_loss(&self) -> bool {
        self.unproven.is_none() && self.disagreements == 0
    }
}

/// An entry and a row that disagree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The rowid that the entry names; none in a table without rowids.
    pub rowid: Option<i64>,
    /// Which entry of the index it is, counted from 1 in the order of the index.
    pub entry: u64,
    /// What differs.
    pub columns: Vec<ColumnDifference>,
    /// Other entries name the same row, which has an entry that agrees with it.
    pub surplus: bool,
    /// By its own WHERE the index should have no entry of the row.
    pub not_belonging: bool,
}

/// A column of which row and entry say different things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDifference {
    /// The column's name.
    pub column: String,
    /// What the row holds.
    pub row: ValueShape,
    /// What the entry holds.
    pub entry: ValueShape,
}

/// A value's type and length; never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueShape {
    /// Its type.
    pub kind: ValueKind,
    /// Its length in bytes, as it is stored.
    pub bytes: u64,
}

/// SQLite's storage classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// NULL.
    Null,
    /// A whole number.
    Integer,
    /// A floating-point number.
    Real,
    /// Text.
    Text,
    /// Bytes.
    Blob,
}

impl fmt::Display for ValueShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ValueKind::Null => return f.write_str("NULL"),
            ValueKind::Integer => "INTEGER",
            ValueKind::Real => "REAL",
            ValueKind::Text => "TEXT",
            ValueKind::Blob => "BLOB",
        };
        write!(f, "{kind} of {} bytes", self.bytes)
    }
}

/// How much a check of a part looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Rows that were read whole.
    pub rows: u64,
    /// Entries of indexes that were compared with their rows.
    pub entries: u64,
    /// Tables that were looked at.
    pub tables: u64,
    /// Rows of which a value is too long to be read in a slice, so that it was not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub long_rows: u64,
    /// How the slices were, for a check that was made in slices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slicing: Option<Slicing>,
}

/// The slices of a check that was made in short transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slicing {
    /// How many there were.
    pub slices: u64,
    /// How many were interrupted, for a writer or because a statement took too long.
    pub interrupted: u64,
    /// How long the longest kept writers from committing at most, microseconds.
    pub longest_us: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
