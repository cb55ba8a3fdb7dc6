//! Processes that write to a file of the database which has lost its name.
//!
//! When a log is deleted or replaced under a running program, that program goes on writing to a file
//! that nobody else can open, and everybody else begins a new one: what both commit is not in one
//! database any more. `/proc/PID/fd` shows it. Runs only in the process that reads raw files (see
//! [`super::raw`]), takes no lock and opens nothing of the database. A claim must stand in every one
//! of several rounds: a program that closes the database deletes the log a moment before it lets go.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    files::Files,
    locks,
    set::{LostName, Unlinked},
};

/// Rounds in which a claim must stand, the first one not counted.
const ROUNDS: u32 = 8;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(20);
/// Processes that are named at most.
const MOST_NAMED: usize = 16;
/// What the kernel writes behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// The processes that have a deleted file of the database open for writing. `ignore` are dbmedic's
/// own. A process that cannot be looked into, as those of other users, is left out.
pub(super) fn unlinked(files: &Files, ignore: &[u32]) -> Vec<Unlinked> {
    let mut found = round(files, ignore, None);
    for _ in 0..ROUNDS {
        if found.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
        let pids: BTreeSet<u32> = found.iter().map(|found| found.process.pid).collect();
        let again = round(files, ignore, Some(&pids));
        found.retain(|found| again.iter().any(|other| other.is(found)));
    }
    found.truncate(MOST_NAMED);
    found
}

/// One round over all processes, or over those of `pids`.
fn round(files: &Files, ignore: &[u32], pids: Option<&BTreeSet<u32>>) -> Vec<Unlinked> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| !ignore.contains(pid) && pids.is_none_or(|pids| pids.contains(pid)))
        .filter_map(|pid| {
            let (lost, descriptor) = lost_name(files, &open_files(pid, files))?;
            Some(Unlinked {
                lost,
                process: locks::process(pid)?,
                descriptor,
            })
        })
        .collect()
}

/// A file that a process has open for writing.
struct OpenFile {
    descriptor: u32,
    /// Its name, without the kernel's remark.
    name: PathBuf,
    is_deleted: bool,
    /// Device and inode.
    id: (u64, u64),
}

/// Which of the database's files a process has open under a name that is gone, and its descriptor.
fn lost_name(files: &Files, open: &[OpenFile]) -> Option<(LostName, u32)> {
    let database = fs::metadata(&files.database).ok();
    let database = database.map(|meta| (meta.dev(), meta.ino()));
    // A process may see the database under another path, in a mount namespace of its own.
    let seen_as = open
        .iter()
        .filter(|file| !file.is_deleted && Some(file.id) == database)
        .map(|file| file.name.as_path());
    let bases: Vec<&Path> = seen_as.chain([files.database.as_path()]).collect();
    let deleted = |suffix: &str| {
        open.iter().find(|file| {
            file.is_deleted
                && bases.iter().any(|base| {
                    let mut name = base.as_os_str().to_owned();
                    name.push(suffix);
                    file.name == Path::new(&name)
                })
        })
    };
    let log = deleted("-wal").or_else(|| deleted("-shm"));
    let log = log.map(|file| (LostName::Log, file.descriptor));
    log.or_else(|| deleted("").map(|file| (LostName::Database, file.descriptor)))
}

/// What a process has open for writing that is called like the database or a companion of it.
fn open_files(pid: u32, files: &Files) -> Vec<OpenFile> {
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
        if !is_called_so {
            continue;
        }
        let descriptor = entry.file_name().to_str().and_then(|n| n.parse().ok());
        // Of the open file itself, whatever lies under its name by now.
        let (Some(descriptor), Ok(meta)) = (descriptor, fs::metadata(entry.path())) else {
            continue;
        };
        if meta.is_file() && is_writable(pid, descriptor) {
            found.push(OpenFile {
                descriptor,
                name,
                is_deleted,
                id: (meta.dev(), meta.ino()),
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
