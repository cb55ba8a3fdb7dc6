//! Processes that use the database in a way that others cannot see.
//!
//! - A log, or the database, is deleted or replaced under a running program: it goes on writing to a
//!   file that nobody else can open, and everybody else begins a new one.
//! - A program opens and closes its own database file, which drops every POSIX lock that it holds on it
//!   (<https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>),
//!   or goes on in a fork that inherits descriptors and no locks: the next program takes itself for the
//!   only one and deletes the log.
//! - A program reaches the database under another path, where another log lies.
//!
//! `/proc/PID/fd` and the locks show it. Runs only in the process that reads raw files (see
//! [`super::raw`]), takes no lock and opens nothing but for asking for locks. A claim must stand in
//! every one of several rounds: a program that is just opening or closing the database looks alike for
//! an instant.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::files::Files;
use super::locks::{self, LockFile};
use super::openers;
use crate::sqlite_state::set::{Hidden, HiddenUse};
use crate::sqlite_state::{Lock, LockHolder};

/// Rounds in which a claim must stand, the first one not counted. A program that opens, writes and
/// closes without a pause looks alike in less than a tenth of the rounds.
const ROUNDS: u32 = 8;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(20);
/// Processes that are named at most.
const MOST_NAMED: usize = 16;
/// What the kernel writes behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// The processes that use the database so that others cannot see it. `wal_mode` says whether the
/// database's header asks for a log. `ignore` are dbmedic's own. What cannot be looked into, as the
/// descriptors of other users' processes, is left out.
///
/// # Errors
///
/// A file's locks cannot be asked for.
pub(super) fn hidden_uses(
    files: &Files,
    wal_mode: bool,
    ignore: &[u32],
) -> io::Result<Vec<HiddenUse>> {
    let mut found = round(files, wal_mode, ignore, None)?;
    for _ in 0..ROUNDS {
        if found.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
        let pids: BTreeSet<u32> = found.iter().map(|found| found.process.pid).collect();
        let again = round(files, wal_mode, ignore, Some(&pids))?;
        found.retain(|found| again.iter().any(|other| other.is(found)));
    }
    found.truncate(MOST_NAMED);
    Ok(found)
}

/// One round over all processes, or over those of `pids`.
fn round(
    files: &Files,
    wal_mode: bool,
    ignore: &[u32],
    pids: Option<&BTreeSet<u32>>,
) -> io::Result<Vec<HiddenUse>> {
    let scene = Scene {
        database: id_of(&files.database),
        log: id_of(&files.wal),
        wal_mode,
        held: Held::of(files)?,
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| !ignore.contains(pid) && pids.is_none_or(|pids| pids.contains(pid)))
        .filter_map(|pid| {
            let open = open_files(pid, files, scene.held.on_database(pid));
            let (hidden, descriptor) = scene.judge(pid, files, &open)?;
            Some(HiddenUse {
                hidden,
                process: locks::process(pid)?,
                descriptor,
            })
        });
    Ok(found.collect())
}

/// Which file it is: device and inode.
type Id = (u64, u64);

fn id_of(path: &Path) -> Option<Id> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// A file that a process has open.
struct OpenFile {
    is_writable: bool,
    descriptor: u32,
    /// Its name, without the kernel's remark.
    name: PathBuf,
    is_deleted: bool,
    id: Id,
}

/// What a process is judged by.
struct Scene {
    database: Option<Id>,
    log: Option<Id>,
    wal_mode: bool,
    held: Held,
}

impl Scene {
    /// How a process uses the database so that others cannot see it, and the descriptor that shows it.
    fn judge(&self, pid: u32, files: &Files, open: &[OpenFile]) -> Option<(Hidden, Option<u32>)> {
        let named = |found: Option<&OpenFile>, hidden: Hidden| {
            found.map(|file| (hidden, Some(file.descriptor)))
        };
        let (on_database, on_index) = (self.held.on_database(pid), self.held.on_index(pid));
        let log = self.deleted(pid, files, open, "-wal");
        let log = log.or_else(|| self.deleted(pid, files, open, "-shm"));
        let database = self.deleted(pid, files, open, "");
        // Who holds no lock has inherited the descriptor, as a fork does, or is at rest.
        let is_used = |file: &&OpenFile| locks::holds_any(pid, file.id);
        let log = log.filter(|_| on_database || database.as_ref().is_some_and(is_used));
        let unlinked = named(log, Hidden::LogUnlinked)
            .or_else(|| named(database.filter(is_used), Hidden::DatabaseUnlinked));
        if unlinked.is_some() || !self.wal_mode || !self.held.names_everybody {
            return unlinked;
        }
        let has = |id: Option<Id>| {
            let mut named = open.iter().filter(|file| !file.is_deleted);
            named.find(|file| id.is_some() && Some(file.id) == id)
        };
        let log = has(self.log);
        // SQLite holds a lock on the database wherever it holds one on the log's index.
        let lost_those_of_database = on_index && !on_database;
        let lost_all = self.held.by_nobody()
            && log.is_some_and(|log| log.is_writable)
            && has(self.database).is_some_and(|database| database.is_writable)
            && !is_fork(pid);
        if lost_those_of_database || lost_all {
            return Some((Hidden::LocksLost, log.map(|log| log.descriptor)));
        }
        // In this mode SQLite holds a lock on the log's index as long as it holds one on the database,
        // but for a connection that has the database for itself, and one that may only read the index.
        let elsewhere = self.held.shares_database(pid)
            && !on_index
            && has(self.database).is_some()
            && log.is_none();
        elsewhere.then_some((Hidden::LogElsewhere, None))
    }

    /// The file of the database that a process has open under a name that is gone.
    fn deleted<'a>(
        &self,
        pid: u32,
        files: &Files,
        open: &'a [OpenFile],
        suffix: &str,
    ) -> Option<&'a OpenFile> {
        // A process may see the database under another path, in a mount namespace of its own.
        let seen_as = open
            .iter()
            .filter(|file| !file.is_deleted && Some(file.id) == self.database)
            .map(|file| file.name.as_path());
        // In another one the same path is another file.
        let own = in_this_mount_namespace(pid).then_some(files.database.as_path());
        let bases: Vec<&Path> = seen_as.chain(own).collect();
        open.iter().find(|file| {
            file.is_deleted
                && file.is_writable
                && bases.iter().any(|base| {
                    let mut name = base.as_os_str().to_owned();
                    name.push(suffix);
                    file.name == Path::new(&name)
                })
        })
    }
}

/// Who holds locks.
struct Held {
    database: Vec<LockHolder>,
    index: Vec<LockHolder>,
    /// Whether each holder is among them. Where `/proc/locks` shows another device than `stat` (btrfs,
    /// overlayfs) only one holder of each byte is known.
    names_everybody: bool,
    /// Whether somebody holds a lock whom the kernel does not name by a pid: an open file description
    /// lock, which some drivers take, or a lock of another kind.
    has_unnamed: bool,
}

impl Held {
    fn of(files: &Files) -> io::Result<Self> {
        let open = |path: &Path| File::open(path).ok();
        let (database, index) = (open(&files.database), open(&files.shm));
        let of = |kind, file: Option<&File>| match file {
            Some(file) => locks::holders(&[(kind, file)], &[]),
            None => Ok(Vec::new()),
        };
        let mut held = Self {
            database: of(LockFile::Database, database.as_ref())?,
            index: of(LockFile::WalIndex, index.as_ref())?,
            names_everybody: true,
            has_unnamed: false,
        };
        for file in [database.as_ref(), index.as_ref()].into_iter().flatten() {
            held.names_everybody &= locks::names_everybody(file)?;
            held.has_unnamed |= locks::has_other_kind(file)?;
        }
        let all = held.database.iter().chain(&held.index);
        held.has_unnamed |= all.into_iter().any(|holder| holder.process.pid == 0);
        Ok(held)
    }

    fn on_database(&self, pid: u32) -> bool {
        self.database.iter().any(|holder| holder.process.pid == pid)
    }

    fn on_index(&self, pid: u32) -> bool {
        self.index.iter().any(|holder| holder.process.pid == pid)
    }

    /// Whether a process holds what each connection in WAL mode holds, and nothing else: a lock of
    /// another program on the whole file covers more.
    fn shares_database(&self, pid: u32) -> bool {
        let mut held = self.database.iter().filter(|held| held.process.pid == pid);
        held.next()
            .is_some_and(|held| held.lock == Lock::Shared && !held.exclusive)
            && held.next().is_none()
    }

    /// Whether nobody holds a lock, of whatever kind.
    fn by_nobody(&self) -> bool {
        !self.has_unnamed && self.database.is_empty() && self.index.is_empty()
    }
}

/// Whether a process may have its descriptors from its parent: it is a fork that runs no program of its
/// own. Descriptors are inherited, locks are not, and mostly they are not used. One whose parent is gone
/// is on its own.
fn is_fork(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    locks::parse_fork(&stat).is_some_and(|(parent, is_fork)| parent > 1 && is_fork)
}

/// Whether a path means the same to a process as to this one.
fn in_this_mount_namespace(pid: u32) -> bool {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    of("self").is_some_and(|own| of(&pid.to_string()) == Some(own))
}

/// What a process has open that is called like the database or a companion of it; of one that holds a
/// lock on it, everything: it may reach it under another name.
fn open_files(pid: u32, files: &Files, is_holder: bool) -> Vec<OpenFile> {
    let own_name = files.database.file_name().unwrap_or_default().as_bytes();
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut found = Vec::new();
    for entry in entries.into_iter().flatten().flatten() {
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        let link = link.as_os_str().as_bytes();
        let is_deleted = link.ends_with(DELETED);
        let name = link.strip_suffix(DELETED).unwrap_or(link);
        let name = PathBuf::from(OsStr::from_bytes(name));
        let is_called_so = name
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(own_name));
        if !is_called_so && !is_holder {
            continue;
        }
        let descriptor = entry.file_name().to_str().and_then(|n| n.parse().ok());
        let (Some(descriptor), Some((id, is_file))) =
            (descriptor, openers::id_of_open(&entry.path()))
        else {
            continue;
        };
        if is_file {
            found.push(OpenFile {
                is_writable: is_writable(pid, descriptor),
                descriptor,
                name,
                is_deleted,
                id,
            });
        }
    }
    found
}

/// Whether a descriptor may be written through, by the access mode in its flags (octal).
fn is_writable(pid: u32, descriptor: u32) -> bool {
    const ACCESS_MODE: u32 = 0o3;
    fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).is_ok_and(|text| {
        text.lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
            .is_some_and(|flags| flags & ACCESS_MODE != 0)
    })
}
