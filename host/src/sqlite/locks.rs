//! Who holds a lock on the files of a SQLite database.
//!
//! Two sources: `/proc/locks` names every holder, and `fcntl(F_GETLK)` names one holder for each
//! lock byte, also where `/proc/locks` shows another device number than `stat` (btrfs, overlayfs)
//! or does not exist. Waiting processes are not holders. Looking takes no lock; whoever copies or puts
//! back takes SQLite's own, and no other byte: some engines lock others, and would be kept out.

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
};

use file_guard::FileGuard;
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk, test_kill_process};

use super::openers;
use crate::sqlite_state::{Lock, LockHolder, Process};

/// The lock bytes of the database file, <https://sqlite.org/src/file/src/os.h>.
const DATABASE_LOCKS: [(Lock, u64, u64); 3] = [
    (Lock::Pending, 0x4000_0000, 1),
    (Lock::Reserved, 0x4000_0001, 1),
    (Lock::Shared, 0x4000_0002, 510),
];

/// The lock bytes of the wal-index, <https://sqlite.org/walformat.html#wal_locks>.
const WAL_INDEX_LOCKS: [(Lock, u64, u64); 9] = [
    (Lock::WalWrite, 120, 1),
    (Lock::WalCheckpoint, 121, 1),
    (Lock::WalRecover, 122, 1),
    (Lock::WalRead(0), 123, 1),
    (Lock::WalRead(1), 124, 1),
    (Lock::WalRead(2), 125, 1),
    (Lock::WalRead(3), 126, 1),
    (Lock::WalRead(4), 127, 1),
    (Lock::WalOpen, 128, 1),
];

/// Which of the two files that carry locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockFile {
    /// The database itself.
    Database,
    /// The `-shm` file.
    WalIndex,
}

impl LockFile {
    fn bytes(self) -> &'static [(Lock, u64, u64)] {
        match self {
            Self::Database => &DATABASE_LOCKS,
            Self::WalIndex => &WAL_INDEX_LOCKS,
        }
    }

    /// The first byte of a lock, and how many it has; none when the other file carries it.
    pub fn range(self, lock: Lock) -> Option<(u64, u64)> {
        let bytes = self.bytes().iter().find(|(known, ..)| *known == lock);
        bytes.map(|&(_, start, length)| (start, length))
    }

    /// The locks that a range of bytes covers, both ends included.
    pub fn locks(self, first: u64, last: u64) -> impl Iterator<Item = Lock> {
        self.bytes()
            .iter()
            .filter(move |&&(_, start, length)| start <= last && first < start + length)
            .map(|&(lock, ..)| lock)
    }
}

/// A file as `/proc/locks` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// The inode.
    pub inode: u64,
}

impl FileId {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            major: rustix::fs::major(metadata.dev()),
            minor: rustix::fs::minor(metadata.dev()),
            inode: metadata.ino(),
        })
    }
}

/// A lock that is held, as one line of `/proc/locks` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldRange {
    /// The file.
    pub file: FileId,
    /// The holder's pid; 0 when the kernel does not name one (open file description locks).
    pub pid: u32,
    /// Whether it excludes others.
    pub exclusive: bool,
    /// The first byte.
    pub first: u64,
    /// The last byte; `u64::MAX` when the range is open.
    pub last: u64,
}

/// The byte-range locks that are held, from the text of `/proc/locks`. Lines of other kinds, of
/// waiters and of unknown shape are left out.
pub fn parse(text: &str) -> Vec<HeldRange> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<HeldRange> {
    let mut words = line.split_whitespace().skip(1);
    // A waiter's line has "->" in this place.
    if !matches!(words.next()?, "POSIX" | "OFDLCK") {
        return None;
    }
    let exclusive = words.nth(1)? == "WRITE";
    let pid = words.next()?.parse::<i64>().ok()?;
    let mut file = words.next()?.split(':');
    let (major, minor, inode) = (file.next()?, file.next()?, file.next()?);
    let first = words.next()?.parse().ok()?;
    let last = match words.next()? {
        "EOF" => u64::MAX,
        number => number.parse().ok()?,
    };
    Some(HeldRange {
        file: FileId {
            major: u32::from_str_radix(major, 16).ok()?,
            minor: u32::from_str_radix(minor, 16).ok()?,
            inode: inode.parse().ok()?,
        },
        pid: u32::try_from(pid).unwrap_or(0),
        exclusive,
        first,
        last,
    })
}

/// Start time and processor time, both in clock ticks, from the text of `/proc/PID/stat`.
pub fn parse_stat(text: &str) -> Option<(u64, u64)> {
    // The name in parentheses may hold blanks and parentheses itself: the last one ends it.
    let (_, after_name) = text.rsplit_once(')')?;
    let field = |number: usize| {
        let index = number.checked_sub(3)?;
        after_name
            .split_whitespace()
            .nth(index)?
            .parse::<u64>()
            .ok()
    };
    Some((field(22)?, field(14)?.saturating_add(field(15)?)))
}

/// The parent's pid, 0 when it has none, and whether the process is a fork that runs no program of its
/// own (`PF_FORKNOEXEC` of the kernel), from the text of `/proc/PID/stat`.
pub fn parse_fork(text: &str) -> Option<(u32, bool)> {
    const PF_FORKNOEXEC: u64 = 0x40;
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(4)?.parse().ok()?;
    Some((parent, flags & PF_FORKNOEXEC != 0))
}

/// A process as it is now; none when it has ended.
pub fn process(pid: u32) -> Option<Process> {
    let (start_ticks, cpu_ticks) =
        parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Process {
        pid,
        start_ticks,
        name: name.trim_end_matches('\n').to_owned(),
        cpu_ticks,
    })
}

/// The locks that `/proc/locks` lists for the whole system, read when they are first needed. Several looks
/// that follow one another share one: the list grows with what all programs have open.
#[derive(Debug, Default)]
pub struct HeldLocks(OnceCell<Vec<HeldRange>>);

impl HeldLocks {
    fn all(&self) -> &[HeldRange] {
        self.0.get_or_init(|| {
            fs::read_to_string("/proc/locks").map_or_else(|_| Vec::new(), |text| parse(&text))
        })
    }
}

/// Whether another process holds one of SQLite's locks on a file.
///
/// # Errors
///
/// The kernel does not answer.
pub(super) fn is_locked(kind: LockFile, file: &File) -> io::Result<bool> {
    let (start, length) = match kind {
        LockFile::Database => ALL_BYTES,
        LockFile::WalIndex => INDEX_BYTES,
    };
    Ok(blocker(file, start as u64, length as u64)?.is_some())
}

/// The holders of locks on the given open files, sorted, the pids in `ignore` left out. This process
/// itself must hold none of them.
///
/// A holder that the kernel does not name (an open file description lock, a process outside of this
/// pid namespace) has pid 0, start 0 and the name "unknown": it counts as a holder, and cannot be
/// ended. One that is named but hidden (`hidepid`) keeps its pid, with start 0 and that name.
///
/// # Errors
///
/// Reading a file's metadata or asking for a lock failed.
pub fn holders(files: &[(LockFile, &File)], ignore: &[u32]) -> io::Result<Vec<LockHolder>> {
    holders_among(&HeldLocks::default(), files, ignore)
}

/// The same with the system's list of locks as it was read before, a moment ago at most.
///
/// # Errors
///
/// As [`holders`].
pub(super) fn holders_among(
    held: &HeldLocks,
    files: &[(LockFile, &File)],
    ignore: &[u32],
) -> io::Result<Vec<LockHolder>> {
    let mut found = BTreeSet::new();
    for &(kind, file) in files {
        // Most databases rest most of the time: then one question is enough.
        if !is_locked(kind, file)? {
            continue;
        }
        for range in ranges_on(file, held.all())? {
            for lock in kind.locks(range.first, range.last) {
                found.insert((range.pid, lock, range.exclusive));
            }
        }
        for &(lock, start, length) in kind.bytes() {
            if let Some((pid, exclusive)) = blocker(file, start, length)? {
                found.insert((pid, lock, exclusive));
            }
        }
    }
    Ok(found
        .into_iter()
        .filter(|(pid, ..)| !ignore.contains(pid))
        .filter_map(|(pid, lock, exclusive)| {
            let process = match process(pid) {
                Some(process) => process,
                None if pid == 0 || exists(pid) => unknown(pid),
                None => return None,
            };
            Some(LockHolder {
                lock,
                exclusive,
                process,
            })
        })
        .collect())
}

/// The locks on a file among all that are held.
///
/// Some file systems (btrfs, overlayfs on some kernels) show another device there than `stat` does.
/// Where a lock is held that is not found under the file's own device, those on the same inode of
/// another one are its own whose holders have this very file open.
fn ranges_on<'a>(file: &File, held: &'a [HeldRange]) -> io::Result<Vec<&'a HeldRange>> {
    let id = FileId::of(file)?;
    let own = |range: &&HeldRange| range.file == id;
    let Some((pid, _)) = blocker(file, 0, 0)? else {
        return Ok(held.iter().filter(own).collect());
    };
    if pid == 0 || held.iter().filter(own).any(|range| range.pid == pid) {
        return Ok(held.iter().filter(own).collect());
    }
    let meta = file.metadata()?;
    let of_file = |range: &&HeldRange| {
        own(range)
            || range.file.inode == id.inode
                && openers::has_open(range.pid, &[(meta.dev(), meta.ino())]) == Some(true)
    };
    Ok(held.iter().filter(of_file).collect())
}

/// The pid of a process whose lock would keep this one from locking a range of bytes for itself
/// (length 0: to the end), and whether that lock excludes others.
pub(super) fn blocker(file: &File, start: u64, length: u64) -> io::Result<Option<(u32, bool)>> {
    let mut wish = Flock::from(FlockType::WriteLock);
    wish.start = start;
    wish.length = length;
    let blocking = fcntl_getlk(file, &wish)?;
    Ok(blocking.map(|lock| {
        let pid = lock.pid.map_or(0, rustix::process::Pid::as_raw_pid);
        (
            u32::try_from(pid).unwrap_or(0),
            matches!(lock.typ, FlockType::WriteLock),
        )
    }))
}

/// All bytes of the database file that SQLite locks: where they begin, and how many.
const ALL_BYTES: (usize, usize) = (0x4000_0000, 512);
/// All bytes of the wal-index that SQLite locks.
const INDEX_BYTES: (usize, usize) = (120, 9);
/// Those that readers share.
const SHARED_BYTES: (usize, usize) = (0x4000_0002, 510);

/// A lock that this process holds. It goes with this value, and when any descriptor of the file is closed.
#[derive(Debug)]
pub(super) struct Held {
    _guard: FileGuard<Box<File>>,
}

/// Locks the database file as a reader of SQLite's does in rollback mode, and no other byte; none when a
/// writer forbids it.
///
/// # Errors
///
/// The kernel refuses for another reason.
pub(super) fn lock_as_reader(file: &File) -> io::Result<Option<Held>> {
    take(file, file_guard::Lock::Shared, SHARED_BYTES)
}

/// Locks every byte of the database file that SQLite locks for this process alone; none when somebody
/// holds one.
///
/// # Errors
///
/// The kernel refuses for another reason.
pub(super) fn lock_alone(file: &File) -> io::Result<Option<Held>> {
    take(file, file_guard::Lock::Exclusive, ALL_BYTES)
}

fn take(
    file: &File,
    kind: file_guard::Lock,
    (start, length): (usize, usize),
) -> io::Result<Option<Held>> {
    match file_guard::try_lock(Box::new(file.try_clone()?), kind, start, length) {
        Ok(guard) => Ok(Some(Held { _guard: guard })),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether `/proc/locks` names every holder of a lock on this file. Where it shows another device than
/// `stat` (btrfs, overlayfs), or does not exist, a lock is held that it does not show.
///
/// # Errors
///
/// Reading the file's metadata or asking for a lock failed.
pub(super) fn names_everybody(file: &File) -> io::Result<bool> {
    let Some((pid, _)) = blocker(file, 0, 0)? else {
        return Ok(true);
    };
    let held = fs::read_to_string("/proc/locks").map_or_else(|_| Vec::new(), |text| parse(&text));
    let found = ranges_on(file, &held)?;
    Ok(found.iter().any(|range| range.pid == pid))
}

/// The processes that the kernel holds up because they wait for a lock on this file, as far as
/// `/proc/locks` says. SQLite mostly does not wait so: it asks again and again.
///
/// # Errors
///
/// Reading the file's metadata failed.
pub(super) fn waiting_pids(file: &File) -> io::Result<BTreeSet<u32>> {
    let id = FileId::of(file)?;
    let text = fs::read_to_string("/proc/locks").unwrap_or_default();
    // The arrow of a waiter's line stands in front of the kind of lock.
    let waiters = text.lines().filter_map(|line| {
        let (number, rest) = line.split_once("->")?;
        parse_line(&format!("{number}{rest}"))
    });
    Ok(waiters
        .filter(|range| range.file == id)
        .map(|range| range.pid)
        .collect())
}

/// The processes that the kernel holds up because they wait for a lock on any file, of any kind
/// (`fcntl`, `flock`), as far as `/proc/locks` says.
pub(super) fn all_waiting_pids() -> BTreeSet<u32> {
    let text = fs::read_to_string("/proc/locks").unwrap_or_default();
    parse_waiting(&text)
}

fn parse_waiting(text: &str) -> BTreeSet<u32> {
    let pid = |line: &str| {
        let (_, rest) = line.split_once("->")?;
        rest.split_whitespace().nth(3)?.parse().ok()
    };
    text.lines().filter_map(pid).collect()
}

/// Whether a process holds a lock on the file of this device and inode, as far as `/proc/locks` says.
pub(super) fn holds_any(pid: u32, (device, inode): (u64, u64)) -> bool {
    let file = FileId {
        major: rustix::fs::major(device),
        minor: rustix::fs::minor(device),
        inode,
    };
    let held = fs::read_to_string("/proc/locks").map_or_else(|_| Vec::new(), |text| parse(&text));
    held.iter()
        .any(|range| range.pid == pid && range.file == file)
}

/// Whether somebody holds a lock of another kind than SQLite's own on this file (`flock`, a lease):
/// some drivers use these instead.
///
/// # Errors
///
/// Reading the file's metadata failed.
pub(super) fn has_other_kind(file: &File) -> io::Result<bool> {
    let id = FileId::of(file)?;
    let text = fs::read_to_string("/proc/locks").unwrap_or_default();
    let other = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next()?;
        let is_other = !matches!(kind, "POSIX" | "->");
        let named = words.nth(3)?;
        let text = format!("{:02x}:{:02x}:{}", id.major, id.minor, id.inode);
        Some(is_other && named == text)
    };
    Ok(text.lines().any(|line| other(line) == Some(true)))
}

/// Whether there is such a process, though it may be hidden.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

fn unknown(pid: u32) -> Process {
    Process {
        pid,
        start_ticks: 0,
        name: "unknown".to_owned(),
        cpu_ticks: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_lock_of_any_kind_is_seen() {
        let text = "1: FLOCK  ADVISORY  WRITE 700 08:10:99 0 EOF\n\
                    1: -> FLOCK  ADVISORY  WRITE 701 08:10:99 0 EOF\n\
                    2: POSIX  ADVISORY  WRITE 702 08:10:98 0 EOF\n\
                    2: -> POSIX  ADVISORY  WRITE 703 08:10:98 5 9\n";
        assert_eq!(parse_waiting(text), BTreeSet::from([701, 703]));
    }

    const TEXT: &str = "\
1: POSIX  ADVISORY  READ  812 fe:01:4711 1073741826 1073742335
2: POSIX  ADVISORY  WRITE 813 fe:01:4711 1073741824 1073742335
2: -> POSIX  ADVISORY  WRITE 814 fe:01:4711 1073741825 1073741825
3: FLOCK  ADVISORY  WRITE 815 fe:01:4711 0 EOF
4: OFDLCK ADVISORY  READ  -1 08:10:99 123 EOF
5: LEASE  ACTIVE    READ  1 00:00:1 0 EOF
garbage
";

    #[test]
    fn lines_of_proc_locks() {
        let held = parse(TEXT);
        assert_eq!(held.len(), 3, "{held:?}");
        let file = FileId {
            major: 0xfe,
            minor: 1,
            inode: 4711,
        };
        assert_eq!(
            (held[0].file, held[0].pid, held[0].exclusive),
            (file, 812, false)
        );
        assert_eq!((held[1].pid, held[1].exclusive), (813, true));
        assert_eq!((held[2].pid, held[2].last), (0, u64::MAX));
    }

    #[test]
    fn ranges_to_locks() {
        let of = |file: LockFile, first, last| file.locks(first, last).collect::<Vec<_>>();
        assert_eq!(
            of(LockFile::Database, 0x4000_0002, 0x4000_01ff),
            [Lock::Shared]
        );
        assert_eq!(
            of(LockFile::Database, 0, u64::MAX),
            [Lock::Pending, Lock::Reserved, Lock::Shared]
        );
        assert_eq!(of(LockFile::Database, 0x4000_0200, u64::MAX), []);
        assert_eq!(
            of(LockFile::WalIndex, 120, 123),
            [
                Lock::WalWrite,
                Lock::WalCheckpoint,
                Lock::WalRecover,
                Lock::WalRead(0)
            ]
        );
        assert_eq!(
            of(LockFile::WalIndex, 127, 128),
            [Lock::WalRead(4), Lock::WalOpen]
        );
    }

    #[test]
    fn stat_with_a_nasty_name() {
        let stat = "42 (a ) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 70 30 0 0 20 0 1 0 98765 0 0";
        assert_eq!(parse_stat(stat), Some((98765, 100)));
        assert_eq!(parse_stat("42 (cut"), None);
        assert_eq!(parse_fork(stat), Some((1, false)));
        let fork = stat.replace("4194560", "4194624");
        assert_eq!(parse_fork(&fork), Some((1, true)));
        let own = process(std::process::id()).unwrap();
        assert!(own.start_ticks > 0 && !own.name.is_empty());
    }
}
