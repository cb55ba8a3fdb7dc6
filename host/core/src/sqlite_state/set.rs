//! Whether the files of a database belong together, and whether they can be judged at all.
//!
//! Pure: types for what a raw reading of the files found, and what follows from it. It is the first
//! thing that dbmedic asks, before SQLite opens anything: opening is already a change where a log or
//! a journal lies beside a file that it does not belong to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Lock, Process, SqliteState};

mod belonging;
mod format;
mod header;

pub use belonging::{
    Contradiction, contradiction, has_left_journal, has_left_log, journal_empties_file,
};
pub use format::{APPENDED_TAIL_BYTES, Unjudgeable, holds_pages, is_appended, judge_format};
pub use header::{
    DATABASE_HEADER_BYTES, DatabaseHeader, JOURNAL_HEADER_BYTES, JOURNAL_MAGIC_BYTES,
    JournalHeader, SUPER_JOURNAL_TAIL_BYTES, super_journal_name_bytes,
};

/// The kind of the finding that a file cannot be judged by plain SQLite.
pub const NOT_JUDGEABLE: &str = "target.not-judgeable";

/// Length of the log's own header, bytes: a log no longer than that holds nothing.
const LOG_HEADER_BYTES: u64 = 32;

/// What the files are like as a set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileSet {
    /// The database file itself; none when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileIdentity>,
    /// The database's header; none when the file does not begin with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<DatabaseHeader>,
    /// The header of a rollback journal that a writer left, or is writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalHeader>,
    /// Why the file cannot be judged, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unjudgeable: Option<Unjudgeable>,
    /// Whether the file is mounted by itself (as `docker run -v app.db:/app.db` does), so that its
    /// companions lie in another directory than those of who uses the original.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mounted_alone: bool,
    /// Of a file that does not begin like a database: whether the pages behind the first are those
    /// of a SQLite database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_pages_hold: Option<bool>,
    /// Of a file that does not begin like a database: whether it begins with zeros, as a new database does
    /// until its first transaction is committed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub begins_with_zeros: bool,
    /// Whether the schema holds anything; none when the newest first page was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_schema: Option<bool>,
    /// The processes that use the database so that others cannot see it; none when it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_uses: Option<Vec<HiddenUse>>,
    /// The processes that have the files open while nobody holds a lock and a log or journal lies beside
    /// the database; none when it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openers: Option<Vec<super::Process>>,
}

/// A process that uses the database so that others cannot see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenUse {
    /// In which way.
    pub hidden: Hidden,
    /// The process.
    pub process: Process,
    /// The file descriptor that shows it. Of a file without a name the content can be read at
    /// `/proc/PID/fd/N` until the process closes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<u32>,
}

impl HiddenUse {
    /// Whether this says the same of the same process.
    pub fn is(&self, other: &Self) -> bool {
        let of = |it: &Self| {
            (
                it.hidden,
                it.process.pid,
                it.process.start_ticks,
                it.descriptor,
            )
        };
        of(self) == of(other)
    }
}

/// How others cannot see what a process does with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// It writes to a log, or uses an index of it, that has lost its name.
    LogUnlinked,
    /// It writes to a database file that has lost its name.
    DatabaseUnlinked,
    /// It has the log open and holds no lock on the database.
    LocksLost,
    /// It has the database locked and does not use the log beside it.
    LogElsewhere,
}

/// Which file lies under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// The device, as `stat` gives it.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// Names that the file has; more than one are hard links.
    pub links: u64,
    /// The last change of its content, nanoseconds since the Unix epoch.
    pub modified_ns: i64,
}

impl FileIdentity {
    /// Whether this is the same file, whatever became of its content.
    pub fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The newest checked snapshot of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSeen {
    /// When it was taken, milliseconds since the Unix epoch.
    pub taken_at_ms: u64,
    /// The file.
    pub file: PathBuf,
    /// Tables in it; none when its manifest does not say.
    pub tables: Option<u64>,
}

impl FileSet {
    /// Whether the database file has a second name: a hard link, or a mount of its own.
    pub fn has_other_name(&self) -> bool {
        self.mounted_alone || self.file.is_some_and(|file| file.links > 1)
    }
}

/// Whether the b-tree page that begins with this header holds any cell or leads to others; none when
/// it is no page of a table. The schema's is at byte 100 of the first page.
pub fn schema_holds(tree_header: &[u8; 8]) -> Option<bool> {
    match tree_header {
        [0x0d, _, _, 0, 0, ..] => Some(false),
        [0x0d | 0x05, ..] => Some(true),
        _ => None,
    }
}

/// Whether a log holds more than its header. Frames of a generation that is over count as well:
/// beside an emptied file they are all that is left of it.
pub fn log_has_content(state: &SqliteState) -> bool {
    let log = state.wal.as_ref();
    log.is_some_and(|wal| wal.bytes > LOG_HEADER_BYTES)
}

/// Whether a rollback journal waits to be played back: it has a header, the transaction's
/// super-journal, if it has one, still exists, and no writer is at work.
pub fn journal_is_hot(state: &SqliteState) -> bool {
    let writing = state.locks.iter().any(|holder| {
        matches!(holder.lock, Lock::Reserved | Lock::Pending)
            || holder.lock == Lock::Shared && holder.exclusive
    });
    !writing && state.set.journal.is_some_and(|journal| !journal.is_void)
}

/// Whether the database file has 0 bytes while a companion holds what it held: opening it makes
/// SQLite delete that companion.
///
/// A writer that creates a database in rollback mode looks alike for a moment: its journal says that
/// there were no pages before.
pub fn is_emptied(state: &SqliteState) -> bool {
    let had_pages = |journal: JournalHeader| !journal.is_void && journal.initial_pages > 0;
    state.database_bytes == Some(0)
        && (log_has_content(state) || state.set.journal.is_some_and(had_pages))
}

/// Why SQLite must not open these files, in one line; none when nothing that was seen speaks
/// against it. Nothing may be opened, checked in place, backed up or repaired against it.
pub fn objection(state: &SqliteState) -> Option<String> {
    objection_but_to_log(state).or_else(|| {
        let why = contradiction(state)?;
        Some(format!(
            "the log does not belong to the database file: {why}"
        ))
    })
}

/// The same, whether or not the log belongs to the file.
pub fn objection_but_to_log(state: &SqliteState) -> Option<String> {
    let set = &state.set;
    if let Some(why) = &set.unjudgeable {
        return Some(why.to_string());
    }
    if is_emptied(state) {
        return Some(
            "the database file has 0 bytes, and opening it would delete the log or journal beside it"
                .to_owned(),
        );
    }
    if let Some(links) = set.file.map(|file| file.links).filter(|&links| links > 1) {
        return Some(format!(
            "the file has {links} names (hard links): a log or journal may lie beside another one"
        ));
    }
    if let Some(hidden) = set.hidden_uses.iter().flatten().next() {
        let what = match hidden.hidden {
            Hidden::LogUnlinked | Hidden::DatabaseUnlinked => {
                "writes to a file of the database that was deleted or replaced under it"
            }
            Hidden::LocksLost => "has the log open and holds no lock on the database",
            Hidden::LogElsewhere => {
                "has the database locked and does not use the log beside it: it may have another one"
            }
        };
        return Some(format!("process {} {what}", hidden.process.pid));
    }
    set.mounted_alone.then(|| {
        "the file is mounted by itself: its log or journal may lie in another directory".to_owned()
    })
}
