//! Asking for a held lock's byte many times in quick succession.
//!
//! Two observations a second apart that both find a lock held say nothing of what was in between: a
//! worker that takes and drops it thousands of times is found holding it nearly always. So the byte
//! of each lock that is in somebody's way is asked for again and again for some hundredths of a
//! second, and what its holder did meanwhile is noted. Nothing is locked.
//!
//! In rollback mode the bytes lie in the database file. There the lock of a reader says nothing of which
//! transaction it is: only a reader that did not run is known to have read on.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::activity::{self, Processes};
use super::files;
use super::locks::{self, LockFile};
use crate::sqlite_state::{Lock, LockHolder, Probe, Process, WalIndexState, rollback};

/// How long the write lock's byte is asked for.
const WRITER_WINDOW: Duration = Duration::from_millis(30);

/// How long a read lock's byte is asked for: that the same transaction reads on is told by its read
/// mark, so this need not be long.
const READER_WINDOW: Duration = Duration::from_millis(6);

/// Samples without a pause between them, so that even a moment's release is hit.
const IN_A_ROW: u32 = 400;

/// Pause between two such rows. After it this process begins at a moment that does not depend on
/// what the holder does, also where both share one processor.
const PAUSE: Duration = Duration::from_micros(60);

/// Holders that are probed in one observation, at most.
const MOST_PROBED: usize = 16;

/// Probes the locks on the wal-index that stand in somebody's way: the write lock, and the read
/// locks that keep frames from being checkpointed.
///
/// What the holders started is followed too, but for the processes `ignore`, dbmedic's own.
///
/// A lock whose log went on meanwhile (a commit, another read mark) is left out: it is in use.
pub(super) fn probe(
    shm: &File,
    holders: &[LockHolder],
    index: &WalIndexState,
    ignore: &[u32],
) -> io::Result<Vec<Probe>> {
    let followed: Vec<&LockHolder> = holders
        .iter()
        .filter(|holder| match holder.lock {
            Lock::WalWrite => holder.exclusive,
            Lock::WalRead(_) => index.is_pinned_by(holder.lock),
            _ => false,
        })
        .take(MOST_PROBED)
        .collect();
    if followed.is_empty() {
        return Ok(Vec::new());
    }
    let mut probes = follow(shm, LockFile::WalIndex, &followed, ignore, &|_| true)?;
    let Some(now) = files::read_index(Some(shm))? else {
        return Ok(Vec::new());
    };
    probes.retain(|probe| match probe.lock {
        Lock::WalRead(_) => {
            now.salts == index.salts
                && now.read_mark(probe.lock) == index.read_mark(probe.lock)
                && now.is_pinned_by(probe.lock)
        }
        _ => now.salts == index.salts && now.change_counter == index.change_counter,
    });
    Ok(probes)
}

/// Probes the locks of the database file: the one by which a writer keeps the others out, and, with
/// `with_readers`, as they hold them in rollback mode, those of readers, and of a writer that waits for
/// them to leave.
///
/// Where something was committed meanwhile nothing is said of the writer.
pub(super) fn probe_database(
    database: &File,
    holders: &[LockHolder],
    with_readers: bool,
    ignore: &[u32],
) -> io::Result<Vec<Probe>> {
    let writer = rollback::write_lock(holders);
    let waits = rollback::waits_for_readers(holders);
    let is_reader = |holder: &&LockHolder| {
        with_readers
            && holder.lock == Lock::Shared
            && !holder.exclusive
            && writer.is_none_or(|writer| !is_same(&writer.process, &holder.process))
    };
    let mut followed: Vec<&LockHolder> = writer.into_iter().collect();
    followed.extend(waits.filter(|holder| writer != Some(holder)));
    followed.extend(holders.iter().filter(is_reader));
    followed.truncate(MOST_PROBED);
    if followed.is_empty() {
        return Ok(Vec::new());
    }
    let before = change_counter(database)?;
    // A reader is in nobody's way until a writer waits.
    let is_in_the_way = |holder: &LockHolder| holder.exclusive || waits.is_some();
    let kind = LockFile::Database;
    let mut probes = follow(database, kind, &followed, ignore, &is_in_the_way)?;
    if change_counter(database)? != before {
        probes.retain(|probe| probe.lock == Lock::Shared);
    }
    Ok(probes)
}

fn is_same(one: &Process, other: &Process) -> bool {
    (one.pid, one.start_ticks) == (other.pid, other.start_ticks)
}

/// The count of changes in the header of a database file, byte for byte.
fn change_counter(database: &File) -> io::Result<[u8; 4]> {
    const AT: u64 = 24;
    let mut bytes = [0; 4];
    files::fill_at(database, &mut bytes, AT)?;
    Ok(bytes)
}

/// Asks for the bytes of these locks, and notes what their holders did meanwhile. Of a holder that did
/// nothing and is in the way, what it started is looked at as well: that is a look at each process.
fn follow(
    file: &File,
    kind: LockFile,
    followed: &[&LockHolder],
    ignore: &[u32],
    is_in_the_way: &dyn Fn(&LockHolder) -> bool,
) -> io::Result<Vec<Probe>> {
    let mut processes = None;
    let before: Vec<_> = followed
        .iter()
        .map(|holder| activity::activity(holder.process.pid))
        .collect();
    let mut probes = Vec::new();
    let locks: BTreeSet<Lock> = followed.iter().map(|holder| holder.lock).collect();
    for lock in locks {
        let Some((start, length)) = kind.range(lock) else {
            continue;
        };
        let writer = followed
            .iter()
            .find(|holder| holder.lock == lock && holder.exclusive);
        let window = writer.map_or(READER_WINDOW, |_| WRITER_WINDOW);
        // A read lock may be shared, and the kernel names one of its holders only.
        let is_held = |pid: u32| writer.is_none_or(|writer| writer.process.pid == pid);
        let samples = sample(file, start, length, window, &is_held)?;
        for (holder, before) in followed.iter().zip(&before) {
            if holder.lock != lock {
                continue;
            }
            let mut after = activity::activity(holder.process.pid);
            let ran = match (before, &after) {
                (Some(before), Some(after)) => before.run_mark != after.run_mark,
                _ => true,
            };
            if let Some(after) = &mut after
                && !(ran || after.is_at_work())
                && samples.held == samples.taken
                && is_in_the_way(holder)
            {
                let processes = processes.get_or_insert_with(|| Processes::now(ignore));
                processes.complete(holder.process.pid, after);
            }
            probes.push(Probe {
                lock,
                pid: holder.process.pid,
                start_ticks: holder.process.start_ticks,
                samples: samples.taken,
                held: samples.held,
                window_us: u64::try_from(samples.took.as_micros()).unwrap_or(u64::MAX),
                ran,
                activity: after,
            });
        }
    }
    Ok(probes)
}

/// What a row of samples came to.
struct Samples {
    taken: u32,
    held: u32,
    took: Duration,
}

/// Asks for a range of bytes until the window is over, or somebody else or nobody holds it.
fn sample(
    file: &File,
    start: u64,
    length: u64,
    window: Duration,
    is_held: &dyn Fn(u32) -> bool,
) -> io::Result<Samples> {
    let begun = Instant::now();
    let (mut taken, mut held) = (0, 0);
    while begun.elapsed() < window {
        for _ in 0..IN_A_ROW {
            taken += 1;
            match locks::blocker(file, start, length)? {
                Some((pid, _)) if is_held(pid) => held += 1,
                _ => {
                    return Ok(Samples {
                        taken,
                        held,
                        took: begun.elapsed(),
                    });
                }
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(Samples {
        taken,
        held,
        took: begun.elapsed(),
    })
}
