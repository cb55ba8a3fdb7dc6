//! Which processes have a database open, and why one of them has it for itself.
//!
//! Reads `/proc`, opens nothing but the journal for its first bytes, and takes no lock. Each descriptor
//! of each process is looked at: this is done only while a lock stands in somebody's way. Runs only in
//! the process that reads raw files (see [`super::raw`]).

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, makedev, statx};

use super::activity;
use super::files::{self, At as _, FileError, Files, fill_at, open};
use super::inspect;
use super::locks::{self, LockFile};
use crate::sqlite_state::rollback::{
    self, Alone, JournalBegin, JournalSeen, Opener, Standing, Why,
};
use crate::sqlite_state::set::JOURNAL_HEADER_BYTES;
use crate::sqlite_state::{Lock, LockHolder, Probe, Process, RunState};

/// Processes that are followed at most.
const MOST_FOLLOWED: usize = 256;

/// Device and inode.
type Id = (u64, u64);

fn id_of(meta: &fs::Metadata) -> Id {
    (meta.dev(), meta.ino())
}

/// What is to be known of a write lock that was held in every sample; none when there is none.
///
/// # Errors
///
/// The journal is there but cannot be read.
pub(super) fn standing(
    files: &Files,
    database: &File,
    uses_log: bool,
    locks: &[LockHolder],
    probes: &[Probe],
    ignore: &[u32],
) -> Result<Option<Standing>, FileError> {
    let holder = locks
        .iter()
        .find(|holder| holder.lock == Lock::WalWrite && holder.exclusive)
        .or_else(|| rollback::write_lock(locks));
    let Some((holder, probe)) =
        holder.and_then(|holder| Some((holder, rollback::confirmed(probes, holder)?)))
    else {
        return Ok(None);
    };
    let alone = if holder.lock == Lock::WalWrite {
        None
    } else {
        alone(files, database, uses_log, locks, holder, probe)?
    };
    let others = if alone.as_ref().is_some_and(|a| a.why == Why::OnPurpose) {
        Vec::new()
    } else {
        others(database, locks, holder, ignore).at("look at", &files.database)?
    };
    Ok(Some(Standing { alone, others }))
}

/// Whether the holder has the file for itself, and why.
fn alone(
    files: &Files,
    database: &File,
    uses_log: bool,
    locks: &[LockHolder],
    holder: &LockHolder,
    probe: &Probe,
) -> Result<Option<Alone>, FileError> {
    let process = &holder.process;
    let has_all = rollback::has_file_alone(locks, |holder| holder.pid == process.pid);
    let journal = journal(files, process)?;
    let changed_ns = changed_ns(database).at("read", &files.database)?;
    let why = rollback::why(uses_log, journal.as_ref(), changed_ns);
    // In exclusive mode RESERVED alone stays after a transaction that was rolled back.
    if !has_all && why != Why::OnPurpose {
        return Ok(None);
    }
    // At the end of a usual transaction that empties its journal, or overwrites its header, this is
    // so for as long as the disk takes.
    let is_at_end = matches!(
        probe.activity.map(|activity| activity.state),
        Some(RunState::Disk)
    );
    Ok((why != Why::OnPurpose || !is_at_end).then(|| Alone {
        process: process.clone(),
        why,
    }))
}

fn journal(files: &Files, holder: &Process) -> Result<Option<JournalSeen>, FileError> {
    let Some(file) = open(&files.journal)? else {
        return Ok(None);
    };
    let mut bytes = [0; JOURNAL_HEADER_BYTES];
    let read = fill_at(&file, &mut bytes, 0).at("read", &files.journal)?;
    let meta = file.metadata().at("read", &files.journal)?;
    let born_ns = meta.created().ok().and_then(|born| {
        let since = born.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_nanos()).ok()
    });
    Ok(Some(JournalSeen {
        begin: JournalBegin::of(&bytes[..read]),
        born_ns,
        is_open: has_open(holder.pid, &[id_of(&meta)]),
    }))
}

/// The last change of a file, nanoseconds since the Unix epoch.
fn changed_ns(file: &File) -> io::Result<i64> {
    let meta = file.metadata()?;
    let seconds_ns = meta.mtime().saturating_mul(1_000_000_000);
    Ok(seconds_ns.saturating_add(meta.mtime_nsec()))
}

/// Who has the database file for itself, so that it may hold half a transaction that nothing beside it
/// takes back; none when it shows what was committed.
///
/// # Errors
///
/// A file is there but cannot be read.
pub(super) fn who_may_have_torn(path: &Path) -> Result<Option<Process>, FileError> {
    let files = Files::of(path);
    let Some(database) = open(&files.database)? else {
        return Ok(None);
    };
    if files::wants_log(&database).at("read", &files.database)? {
        return Ok(None);
    }
    let locks = locks::holders(&[(LockFile::Database, &database)], &[]);
    let locks = locks.at("ask for the locks of", &files.database)?;
    let mut owners = locks
        .into_iter()
        .filter(|held| held.lock == Lock::Shared && held.exclusive);
    let Some(owner) = owners.next().map(|held| held.process) else {
        return Ok(None);
    };
    let takes_back = journal(&files, &owner)?.is_some_and(|journal| journal.takes_back())
        && inspect::journal_header(&files)?.is_some_and(|journal| !journal.is_void);
    Ok((!takes_back).then_some(owner))
}

/// Whether a process has one of these files open; none when its descriptors may not be seen.
pub(super) fn has_open(pid: u32, ids: &[Id]) -> Option<bool> {
    let mut entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    Some(entries.any(|entry| id_of_open(&entry.path()).is_some_and(|(id, _)| ids.contains(&id))))
}

/// Which file a descriptor in `/proc/PID/fd` stands for, whatever lies under its name by now, and whether it is
/// a regular one. Its disk is not asked: it may be one that does not answer, and mostly it is another one
/// than the database's.
pub(super) fn id_of_open(descriptor: &Path) -> Option<(Id, bool)> {
    let found = statx(
        CWD,
        descriptor,
        AtFlags::STATX_DONT_SYNC,
        StatxFlags::INO | StatxFlags::TYPE,
    );
    let found = found.ok()?;
    let id = (
        makedev(found.stx_dev_major, found.stx_dev_minor),
        found.stx_ino,
    );
    let kind = FileType::from_raw_mode(found.stx_mode.into());
    Some((id, kind == FileType::RegularFile))
}

/// All processes but those of `ignore`.
fn pids(ignore: &[u32]) -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids.filter(|pid| !ignore.contains(pid)))
}

/// The processes that have one of these files open, as far as their descriptors may be seen; a file
/// that is not there is open nowhere.
///
/// # Errors
///
/// `/proc` cannot be read.
pub(super) fn who_has_open(paths: &[&Path], ignore: &[u32]) -> io::Result<Vec<Process>> {
    let metas = paths.iter().filter_map(|path| fs::metadata(path).ok());
    let ids: Vec<Id> = metas.map(|meta| id_of(&meta)).collect();
    let open = pids(ignore)?.filter(|pid| has_open(*pid, &ids) == Some(true));
    Ok(open
        .filter_map(locks::process)
        .take(MOST_FOLLOWED)
        .collect())
}

/// The processes that have the database open and may wait for the lock: they read and write nothing.
fn others(
    database: &File,
    locks: &[LockHolder],
    holder: &LockHolder,
    ignore: &[u32],
) -> io::Result<Vec<Opener>> {
    let id = id_of(&database.metadata()?);
    let blocked = locks::waiting_pids(database)?;
    let uses_index = holder.lock == Lock::WalWrite;
    // With a log each connection holds a lock that says no more than that it is there.
    let is_at_work = |pid: u32| {
        let mut held = locks.iter().filter(|held| held.process.pid == pid);
        held.any(|held| !(uses_index && matches!(held.lock, Lock::Shared | Lock::WalOpen)))
    };
    let found = pids(ignore)?
        .filter(|&pid| pid != holder.process.pid && !is_at_work(pid))
        .filter(|&pid| has_open(pid, &[id]) == Some(true) || blocked.contains(&pid))
        .filter_map(|pid| {
            Some(Opener {
                process: locks::process(pid)?,
                activity: activity::activity(pid),
                is_blocked: blocked.contains(&pid),
            })
        });
    Ok(found.take(MOST_FOLLOWED).collect())
}
