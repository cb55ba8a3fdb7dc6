//! The four files of a SQLite database, and one look at their raw bytes.
//!
//! Runs only in the helper process (see [`super::raw`]): closing a file of a database drops the
//! POSIX locks that the process holds on it. Nothing here writes.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::FileType;

use super::inspect::{Mounts, inspect, journal_header};
use super::locks::{self, LockFile};
use super::{beside, hidden_uses, libraries, openers, probe, wal, wal_index};
use crate::sqlite_state::set::{self, FileSet, JournalHeader, Unjudgeable};
use crate::sqlite_state::{
    HeaderFault, Lock, LockHolder, Process, SqliteState, WalIndexState, WalState, rollback,
};

/// How often a look is begun anew when a writer changed the files under it.
const TRIES: u32 = 5;

/// Where the four files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The database itself.
    pub database: PathBuf,
    /// The write-ahead log.
    pub wal: PathBuf,
    /// The wal-index.
    pub shm: PathBuf,
    /// The rollback journal.
    pub journal: PathBuf,
}

impl Files {
    /// The files that belong to a database. Symbolic links are followed, as SQLite does: the
    /// companions lie beside the real file.
    pub fn of(path: &Path) -> Self {
        let database = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let beside = |suffix: &str| {
            let mut name = OsString::from(&database);
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            wal: beside("-wal"),
            shm: beside("-shm"),
            journal: beside("-journal"),
            database,
        }
    }
}

/// A failed access to one of the files.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}", path = path.display())]
pub struct FileError {
    /// What was tried, for example "read".
    pub doing: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// Names the step and the file of an I/O error.
pub(super) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError {
            doing,
            path: path.to_owned(),
            source,
        })
    }
}

/// What the raw bytes show, and what is not part of [`SqliteState`].
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Looked {
    /// Everything but the integrity.
    pub state: SqliteState,
    /// Whether the database's header asks for a write-ahead log.
    pub wal_mode: bool,
}

/// What `/proc` lists for the whole system, read when it is first needed and shared by looks that follow
/// one another within a moment.
#[derive(Debug, Default)]
pub struct SystemLists {
    locks: locks::HeldLocks,
    mounts: Mounts,
}

/// The files that carry locks, open for one look.
#[derive(Debug)]
pub struct Opened {
    pub(super) files: Files,
    pub(super) database: Option<File>,
    pub(super) shm: Option<File>,
}

impl Opened {
    /// Opens those that there are.
    ///
    /// # Errors
    ///
    /// One is there but cannot be opened.
    pub fn of(path: &Path) -> Result<Self, FileError> {
        let files = Files::of(path);
        Ok(Self {
            database: open(&files.database)?,
            shm: open(&files.shm)?,
            files,
        })
    }
}

/// Looks at the files; with `full`, verifies every frame of the log that may be judged.
///
/// # Errors
///
/// A file is there but cannot be opened or read. A missing file is not an error.
pub fn look(
    opened: &Opened,
    full: bool,
    ignore_pids: &[u32],
    lists: &SystemLists,
) -> Result<Looked, FileError> {
    let Opened {
        files,
        database,
        shm,
    } = opened;
    let mut carriers = Vec::new();
    carriers.extend(database.as_ref().map(|file| (LockFile::Database, file)));
    carriers.extend(shm.as_ref().map(|file| (LockFile::WalIndex, file)));
    // All holders, dbmedic's own too: they say whether the log may be growing right now.
    let all = locks::holders_among(&lists.locks, &carriers, &[]);
    let all = all.at("ask for the locks of", &files.database)?;
    let in_use = !all.is_empty();
    let is_own = |holder: &LockHolder| ignore_pids.contains(&holder.process.pid);
    let (own, locks): (Vec<_>, Vec<_>) = all.into_iter().partition(is_own);
    let own_read_locks = own.iter().map(|holder| holder.lock);
    let own_read_locks = own_read_locks
        .filter(|lock| matches!(lock, Lock::WalRead(_)))
        .collect();

    let (wal, wal_index) = look_at_log(files, shm.as_ref(), full, in_use)?;
    let mut probes = match (shm, &wal_index) {
        (Some(shm), Some(index)) => {
            probe::probe(shm, &locks, index, ignore_pids).at("probe the locks of", &files.shm)?
        }
        _ => Vec::new(),
    };
    if let Some(file) = database {
        // With a log each connection has such a lock as long as it is open.
        let with_readers = !wants_log(file).at("read", &files.database)?;
        let of_file = probe::probe_database(file, &locks, with_readers, ignore_pids);
        probes.extend(of_file.at("probe the locks of", &files.database)?);
    }
    let mut looked = Looked {
        state: SqliteState {
            journal_bytes: length(&files.journal)?,
            wal,
            wal_index,
            locks,
            own_read_locks,
            probes,
            ..SqliteState::default()
        },
        wal_mode: false,
    };
    match database {
        Some(file) => look_at_database(file, files, &mut looked, lists)?,
        None => *looked.state.set = inspect(files, None, false, &lists.mounts)?,
    }
    if let Some(file) = database {
        look_at_holders(file, files, &mut looked, ignore_pids)?;
        // Who has the file for itself may be about to change it: this is no schema that was committed.
        if looked.state.set.has_schema == Some(false) && !looked.wal_mode {
            let now = locks::holders(&carriers, &[]);
            let now = now.at("ask for the locks of", &files.database)?;
            if rollback::has_file_alone(&now, |_| true) {
                looked.state.set.has_schema = None;
            }
        }
    }
    if !in_use {
        look_at_what_is_left(files, &carriers, full, &mut looked, ignore_pids)?;
    }
    // Each descriptor of each process is looked at: not in every light look.
    if full {
        let found = hidden_uses::hidden_uses(files, looked.wal_mode, ignore_pids);
        let found = found.at("ask for the locks of", &files.database)?;
        looked.state.set.hidden_uses = Some(found);
        let mut users: Vec<Process> = Vec::new();
        for holder in &looked.state.locks {
            if !users.iter().any(|user| user.pid == holder.process.pid) {
                users.push(holder.process.clone());
            }
        }
        looked.state.libraries = Some(libraries::libraries(&users));
    }
    Ok(looked)
}

/// Whether the header of a database file asks for a write-ahead log, for reading or for writing.
pub(super) fn wants_log(file: &File) -> io::Result<bool> {
    const VERSIONS_AT: u64 = 18;
    let mut versions = [0; 2];
    fill_at(file, &mut versions, VERSIONS_AT)?;
    Ok(versions.contains(&2))
}

/// Looks at a log or a journal that lies beside a database on which nobody holds a lock: was it left, or
/// is it used by somebody who takes no locks (`nolock=1`, `unix-none`)?
///
/// Each descriptor of each process is looked at: in a light look for a journal only.
fn look_at_what_is_left(
    files: &Files,
    carriers: &[(LockFile, &File)],
    full: bool,
    looked: &mut Looked,
    ignore: &[u32],
) -> Result<(), FileError> {
    let journal = looked.state.set.journal;
    if journal.is_none() && !(full && set::log_has_content(&looked.state)) {
        return Ok(());
    }
    // One that is kept for the next transaction (journal_mode PERSIST) lies there all the time.
    let is_asked = full || journal.is_some_and(|journal| !journal.is_void);
    let who = |paths: &[&Path]| {
        let found = is_asked.then(|| openers::who_has_open(paths, ignore));
        let found = found.transpose();
        found.at("ask who has it open", &files.database)
    };
    // Whoever writes a transaction has its journal open. A program at rest has the database open and
    // holds no lock either, so that the database alone tells nothing of whose the journal is.
    let writers = match journal {
        Some(_) => who(&[&files.journal])?.unwrap_or_default(),
        None => Vec::new(),
    };
    let openers = who(&[&files.database, &files.wal, &files.journal])?;
    // A writer may have begun meanwhile: then it has a lock now, or the journal is another one.
    let now = locks::holders(carriers, &[]).at("ask for the locks of", &files.database)?;
    let unlocked = now.is_empty();
    if let Some(journal) = journal {
        let is_same = unlocked && journal_header(files)? == Some(journal);
        let has_it_still = |writer: &&Process| {
            let open = fs::metadata(&files.journal).is_ok_and(|meta| {
                openers::has_open(writer.pid, &[(meta.dev(), meta.ino())]) == Some(true)
            });
            open && !journal.is_void
        };
        let writer = writers.iter().find(has_it_still).filter(|_| is_same);
        let set = &mut looked.state.set;
        set.journal = Some(JournalHeader {
            is_left: is_same && writer.is_none(),
            ..journal
        });
        if let Some(writer) = writer {
            set.unjudgeable = set.unjudgeable.or(Some(Unjudgeable::NoLocks {
                pid: writer.pid,
                start_ticks: writer.start_ticks,
            }));
        }
    }
    if unlocked {
        looked.state.set.openers = openers;
    }
    Ok(())
}

/// Looks at what a writer that keeps all others out has, and who has the database open beside it.
fn look_at_holders(
    file: &File,
    files: &Files,
    looked: &mut Looked,
    ignore: &[u32],
) -> Result<(), FileError> {
    let state = &looked.state;
    let standing = openers::standing(
        files,
        file,
        looked.wal_mode,
        &state.locks,
        &state.probes,
        ignore,
    )?;
    looked.state.standing = standing.map(Box::new);
    Ok(())
}

/// Reads the log and its index as they were at one moment: the index is the same before and after,
/// or at least the log's generation is the one that the index speaks of.
fn look_at_log(
    files: &Files,
    shm: Option<&File>,
    full: bool,
    in_use: bool,
) -> Result<(Option<WalState>, Option<WalIndexState>), FileError> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let index = read_index(shm).at("read", &files.shm)?;
        let limit = index
            .as_ref()
            .filter(|_| in_use)
            .map(|index| u64::from(index.max_frame));
        // In use without an index to read (locked for one process alone, or torn): frames cannot be
        // told from ones that are being written.
        let judgeable = !in_use || index.is_some();
        let wal = read_log(files, full && judgeable, limit)?;
        let settled = match (&index, &wal, limit) {
            // The writer restarts the index first and the log with its next commit.
            (Some(index), Some(wal), Some(limit)) => limit == 0 || wal.salts == index.salts,
            (Some(_), None, Some(limit)) => limit == 0,
            _ => true,
        };
        let after = read_index(shm).at("read", &files.shm)?;
        let same_generation = after.as_ref().map(|i| i.salts) == index.as_ref().map(|i| i.salts);
        if same_generation && (settled || tries == 0) {
            return Ok((wal, index));
        }
        if tries == 0 {
            // Started over each time it was read: frames of two generations cannot be judged.
            return Ok((read_log(files, false, None)?, after));
        }
    }
}

pub(super) fn read_index(shm: Option<&File>) -> io::Result<Option<WalIndexState>> {
    let Some(file) = shm else { return Ok(None) };
    for _ in 0..TRIES {
        let mut bytes = [0; wal_index::PREFIX_BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        if let Some(index) = wal_index::parse(&bytes) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn read_log(files: &Files, full: bool, limit: Option<u64>) -> Result<Option<WalState>, FileError> {
    let Some(file) = open(&files.wal)? else {
        return Ok(None);
    };
    let mut log = io::BufReader::with_capacity(1 << 16, file);
    let state = if full {
        wal::scan(&mut log, limit)
    } else {
        wal::read_header(&mut log)
    };
    match state {
        Ok(state) => Ok((state.bytes > 0).then_some(state)),
        // Truncated by a checkpoint while being read: what is left is an empty log.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error).at("read", &files.wal),
    }
}

fn look_at_database(
    file: &File,
    files: &Files,
    looked: &mut Looked,
    lists: &SystemLists,
) -> Result<(), FileError> {
    let doing = "read";
    let mut before = None;
    for _ in 0..TRIES {
        let log_has_content = set::log_has_content(&looked.state);
        let found = inspect(files, Some(file), log_has_content, &lists.mounts)?;
        let bytes = file.metadata().at(doing, &files.database)?.len();
        looked.state.database_bytes = Some(bytes);
        // SQLite decides by the read version. Where the two differ, a log is assumed: then a copy is read.
        looked.wal_mode = found
            .header
            .as_ref()
            .is_some_and(|header| header.wants_log() || header.write_version == 2);
        looked.state.header_fault = header_fault(&found, bytes, &looked.state);
        *looked.state.set = found;
        // A commit in rollback mode may be under way: the fault must outlast a second reading.
        if looked.state.header_fault.is_none()
            || before == Some(looked.state.set.header)
                && looked.state.journal_bytes.is_none()
                && length(&files.journal)?.is_none()
        {
            break;
        }
        before = Some(looked.state.set.header);
    }
    Ok(())
}

/// What is wrong with the header of a database file of this length.
///
/// Pages that the file lacks may still wait in the log, or be restored from the journal: then
/// nothing is said. Of a format that cannot be judged nothing is said either.
fn header_fault(found: &FileSet, bytes: u64, state: &SqliteState) -> Option<HeaderFault> {
    if found.unjudgeable.is_some() {
        return None;
    }
    // SQLite writes the first page before it writes those at the end: a file that somebody is writing
    // is short for a while, where no journal or log says so (journal_mode MEMORY and OFF) as well.
    let is_written = state.locks.iter().any(|holder| {
        holder.exclusive
            || matches!(
                holder.lock,
                Lock::Reserved | Lock::Pending | Lock::WalCheckpoint
            )
    });
    let Some(header) = found.header else {
        // Where the first transaction of a new database is larger than the cache, its pages are written
        // before the first one. Its journal takes all of it back.
        let is_new = found.begins_with_zeros && is_written
            || found
                .journal
                .is_some_and(|journal| !journal.is_void && journal.initial_pages == 0);
        return (bytes > 0 && !is_new).then_some(HeaderFault::NotADatabase);
    };
    let page_bytes = u64::from(header.page_bytes);
    let actual_pages = bytes / page_bytes;
    let expected_pages = u64::from(header.kept_pages()?);
    let waiting = match (&state.wal_index, &state.wal) {
        (Some(index), _) => u64::from(index.max_frame.saturating_sub(index.backfilled)),
        (None, Some(wal)) => wal.bytes / (page_bytes + wal::FRAME_HEADER_BYTES),
        (None, None) => 0,
    };
    let missing = expected_pages.saturating_sub(actual_pages);
    if is_written {
        return None;
    }
    (state.journal_bytes.is_none() && missing > waiting).then_some(HeaderFault::Truncated {
        expected_pages,
        actual_pages,
    })
}

/// Opens a regular file for reading, never through a symbolic link; none when it is missing.
pub(super) fn open(path: &Path) -> Result<Option<File>, FileError> {
    beside::open_regular(path)
}

/// The length of a file; none when it is missing or empty.
pub(super) fn length(path: &Path) -> Result<Option<u64>, FileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => {
            beside::regular(FileType::from_raw_mode(metadata.mode())).at("look at", path)?;
            Ok(Some(metadata.len()).filter(|&bytes| bytes > 0))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("look at", path),
    }
}

/// Reads on until the buffer is full or the file ends.
pub(super) fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The same from a place in the file, where the descriptor stays where it is.
pub(super) fn fill_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
