//! Rollback mode, SQLite's default: its locks on the database file, and who has it for itself. Pure.
//!
//! Whoever writes holds RESERVED, then waits for readers with PENDING, and holds all three bytes
//! (EXCLUSIVE) while it changes the file, see <https://sqlite.org/lockingv3.html>. A program with
//! `PRAGMA locking_mode=EXCLUSIVE`, as browsers have it, keeps EXCLUSIVE as long as it runs: that is no
//! transaction, and nobody is to be ended for it.

use serde::{Deserialize, Serialize};

use super::activity::{Activity, RunState};
use super::{Lock, LockHolder, Probe, Process, SqliteState};

/// Samples that a probe needs to say that a lock stands.
pub const LEAST_SAMPLES: u32 = 20;

/// How often a second a process runs at least that waits for a lock: SQLite's busy handler asks again
/// after 100 ms at most (`sqliteDefaultBusyCallback`), and a busy machine delays that.
const WAITING_RUNS_PER_S: u64 = 5;

/// Of a processor's time, what a process that only asks for a lock again and again uses at most: one
/// part in so many.
const WAITING_CPU_SHARE: u64 = 4;

/// What is seen of the locks of one moment beside who holds them. Looked at only while a write lock
/// stands in every sample of its probe.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Who has the database file for itself, so that nobody else can read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Alone>,
    /// Processes that have the database open and hold no lock in whose way the holder could be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Opener>,
}

/// A process that has the database open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opener {
    /// The process.
    pub process: Process,
    /// What it had done by then; none when that cannot be seen.
    pub activity: Option<Activity>,
    /// Whether the kernel holds it up in a lock that it waits for.
    #[serde(default)]
    pub is_blocked: bool,
}

/// A process that has the database file for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alone {
    /// The process.
    pub process: Process,
    /// Why, as far as the files tell.
    pub why: Why,
}

/// Why a process has the database file for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// On purpose: `PRAGMA locking_mode=EXCLUSIVE`, between two transactions.
    OnPurpose,
    /// A transaction, by what lies beside the file.
    Transaction,
    /// A transaction, if the program keeps a journal, which is usual: then it deleted the one of its
    /// last transaction, and lets go of the file each time.
    LikelyTransaction,
    /// Either.
    Unclear,
}

/// The rollback journal as its writer left it so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSeen {
    /// What its first bytes say.
    pub begin: JournalBegin,
    /// When it was made, nanoseconds since the Unix epoch; none when the file system does not say.
    pub born_ns: Option<i64>,
    /// Whether the holder has it open; none when that may not be seen.
    pub is_open: Option<bool>,
}

/// What the first bytes of a journal say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalBegin {
    /// No transaction: empty, or its header is overwritten with zeros.
    Finished,
    /// A transaction that wrote nothing to the database yet: the header's magic bytes are missing.
    Unsynced,
    /// A transaction that writes, or wrote, to the database.
    Synced,
}

/// Times by which it is told what an exclusive lock is for, nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The last change of the database file.
    pub database_ns: i64,
    /// The last change of its directory: a file was made or deleted there.
    pub directory_ns: Option<i64>,
    /// The start of the holder; none when it is not known.
    pub holder_start_ns: Option<i64>,
}

/// How long after the last write to the database its journal is deleted at most, nanoseconds: the
/// disk has to sync what was written.
const JOURNAL_DELETED_WITHIN_NS: i64 = 1_000_000_000;

impl Times {
    /// Whether the last change in the directory is what it is when a journal is deleted: right after the
    /// last write to the database.
    fn is_journal_deleted(&self) -> bool {
        let after_ns = self
            .directory_ns
            .map(|ns| ns.saturating_sub(self.database_ns));
        after_ns.is_some_and(|ns| (0..=JOURNAL_DELETED_WITHIN_NS).contains(&ns))
    }
}

impl JournalBegin {
    /// Reads the first bytes, up to 28 of them.
    pub fn of(bytes: &[u8]) -> Self {
        const HEADER_BYTES: usize = 28;
        const MAGIC_BYTES: usize = 8;
        let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        if bytes.len() < HEADER_BYTES || is_zero(bytes) {
            Self::Finished
        } else if is_zero(&bytes[..MAGIC_BYTES]) {
            Self::Unsynced
        } else {
            Self::Synced
        }
    }
}

/// Why a process has the file for itself. `uses_log`: the header asks for a write-ahead log, where
/// only exclusive mode locks the whole file.
pub fn why(uses_log: bool, journal: Option<&JournalSeen>, times: &Times) -> Why {
    if uses_log {
        return Why::OnPurpose;
    }
    let Some(journal) = journal else {
        return match times.holder_start_ns {
            Some(start_ns) if times.database_ns < start_ns => Why::Transaction,
            _ if times.is_journal_deleted() => Why::LikelyTransaction,
            _ => Why::Unclear,
        };
    };
    match (journal.begin, journal.is_open) {
        // In exclusive mode SQLite keeps the journal open and overwrites its header, or empties it.
        (JournalBegin::Finished, Some(true)) => Why::OnPurpose,
        (JournalBegin::Finished, Some(false)) | (JournalBegin::Synced, _) => Why::Transaction,
        (JournalBegin::Finished, None) => Why::Unclear,
        // A journal that is older than the last change of the file was used before.
        (JournalBegin::Unsynced, _) => match journal.born_ns {
            Some(born_ns) if born_ns > times.database_ns => Why::Transaction,
            _ => Why::Unclear,
        },
    }
}

/// Whether the database is used with a write-ahead log, as far as header and index say.
pub fn uses_log(state: &SqliteState) -> bool {
    match state.set.header {
        Some(header) => header.wants_log() || header.write_version == 2,
        None => state.wal_index.is_some(),
    }
}

/// Whether a lock of the database file keeps all other writers out.
pub fn is_write_lock(holder: &LockHolder) -> bool {
    holder.exclusive && matches!(holder.lock, Lock::Reserved | Lock::Shared | Lock::Pending)
}

/// The lock by which one process keeps the others from writing in rollback mode: RESERVED, or where
/// nobody holds that EXCLUSIVE or PENDING.
pub fn write_lock(locks: &[LockHolder]) -> Option<&LockHolder> {
    [Lock::Reserved, Lock::Shared, Lock::Pending]
        .into_iter()
        .find_map(|lock| {
            let mut holders = locks.iter();
            holders.find(|holder| holder.lock == lock && is_write_lock(holder))
        })
}

/// The process that waits with PENDING for readers to leave: it holds that byte, and does not have the
/// file for itself yet.
pub fn waits_for_readers(locks: &[LockHolder]) -> Option<&LockHolder> {
    let is_alone = |holder: &&LockHolder| holder.lock == Lock::Shared && holder.exclusive;
    if locks.iter().any(|holder| is_alone(&holder)) {
        return None;
    }
    let mut pending = locks.iter();
    pending.find(|holder| holder.lock == Lock::Pending && holder.exclusive)
}

/// The probe of a lock, if it found it held in every sample.
pub fn confirmed<'a>(probes: &'a [Probe], holder: &LockHolder) -> Option<&'a Probe> {
    let process = &holder.process;
    probes.iter().find(|probe| {
        probe.lock == holder.lock
            && (probe.pid, probe.start_ticks) == (process.pid, process.start_ticks)
            && probe.held == probe.samples
            && probe.samples >= LEAST_SAMPLES
    })
}

/// The process that has the database for itself, where that may be on purpose.
pub fn for_itself(state: &SqliteState) -> Option<&Alone> {
    let alone = state.standing.as_ref()?.alone.as_ref()?;
    matches!(alone.why, Why::OnPurpose | Why::Unclear).then_some(alone)
}

/// Why a database in rollback mode cannot be looked into, by the name of who has it for itself; none
/// where its files can be copied: whoever has it rests between two transactions.
pub fn kept_by_another(state: &SqliteState) -> Option<String> {
    let alone = for_itself(state).filter(|alone| alone.why == Why::Unclear)?;
    Some(format!(
        "{} has the database for itself, either on purpose (locking_mode=EXCLUSIVE) or in a transaction: nobody else can read it meanwhile",
        named(&alone.process)
    ))
}

/// Whether nobody can begin to read the file where it lies, and what is in it and its journal is what
/// was committed: whoever has it for itself rests between two transactions, or keeps a journal of the
/// one that stands still; or a writer waits for readers with PENDING and has written nothing yet.
pub fn shuts_readers_out(state: &SqliteState) -> bool {
    let Some(standing) = state.standing.as_ref() else {
        return false;
    };
    match &standing.alone {
        Some(alone) => matches!(alone.why, Why::OnPurpose | Why::Transaction),
        None => waits_for_readers(&state.locks)
            .is_some_and(|waits| confirmed(&state.probes, waits).is_some()),
    }
}

/// A process as a person reads of it.
pub fn named(process: &Process) -> String {
    if process.pid == 0 {
        "a process outside of this container".to_owned()
    } else {
        format!("process {} ({})", process.pid, process.name)
    }
}

/// How many of the processes seen now wait for a lock: the kernel says so, or they did nothing between
/// two looks but sleep for moments again and again, as SQLite does that asks for a lock until it gets
/// it. `before` are those seen `elapsed_ms` ago.
pub fn waiting(now: &[Opener], before: &[Opener], elapsed_ms: u64) -> u64 {
    let key = |opener: &Opener| (opener.process.pid, opener.process.start_ticks);
    let waits = |opener: &&Opener| {
        if opener.is_blocked {
            return true;
        }
        let earlier = before.iter().find(|earlier| key(earlier) == key(opener));
        let Some((then, now)) = earlier.and_then(|earlier| earlier.activity.zip(opener.activity))
        else {
            return false;
        };
        let runs = now.runs.saturating_sub(then.runs);
        let cpu_us = now.cpu_us.saturating_sub(then.cpu_us);
        now.state != RunState::Disk
            && runs.saturating_mul(1000) >= elapsed_ms.saturating_mul(WAITING_RUNS_PER_S)
            && cpu_us.saturating_mul(WAITING_CPU_SHARE) < elapsed_ms.saturating_mul(1000)
    };
    now.iter().filter(waits).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_exclusive_lock_is_for() {
        use JournalBegin::{Finished, Synced, Unsynced};

        let times = Times {
            database_ns: 100,
            directory_ns: Some(50),
            holder_start_ns: Some(60),
        };
        let journal = |begin, born_ns, is_open| {
            Some(JournalSeen {
                begin,
                born_ns,
                is_open,
            })
        };
        for (journal, expected) in [
            (journal(Finished, Some(10), Some(true)), Why::OnPurpose),
            (journal(Finished, Some(10), Some(false)), Why::Transaction),
            (journal(Finished, Some(10), None), Why::Unclear),
            (journal(Synced, Some(10), Some(true)), Why::Transaction),
            (journal(Unsynced, Some(101), Some(true)), Why::Transaction),
            (journal(Unsynced, Some(99), Some(true)), Why::Unclear),
            (journal(Unsynced, None, Some(true)), Why::Unclear),
            (None, Why::Unclear),
        ] {
            assert_eq!(
                why(false, journal.as_ref(), &times),
                expected,
                "{journal:?}"
            );
            assert_eq!(why(true, journal.as_ref(), &times), Why::OnPurpose);
        }
        let deleted_since = Times {
            directory_ns: Some(100),
            ..times
        };
        assert_eq!(why(false, None, &deleted_since), Why::LikelyTransaction);
        let younger = Times {
            holder_start_ns: Some(101),
            ..times
        };
        assert_eq!(why(false, None, &younger), Why::Transaction);
    }

    #[test]
    fn the_first_bytes_of_a_journal() {
        assert_eq!(JournalBegin::of(&[]), JournalBegin::Finished);
        assert_eq!(JournalBegin::of(&[0; 28]), JournalBegin::Finished);
        let mut header = [0; 28];
        header[24] = 16;
        assert_eq!(JournalBegin::of(&header), JournalBegin::Unsynced);
        header[0] = 0xd9;
        assert_eq!(JournalBegin::of(&header), JournalBegin::Synced);
    }

    #[test]
    fn who_asks_for_a_lock_again_and_again_waits() {
        let opener = |state, runs, cpu_us| Opener {
            process: Process {
                pid: 7,
                start_ticks: 9,
                name: "app".into(),
                cpu_ticks: 0,
            },
            activity: Some(Activity {
                state,
                threads: 1,
                run_mark: runs,
                runs,
                cpu_us,
                read_bytes: None,
            }),
            is_blocked: false,
        };
        let before = [opener(RunState::Sleeping, 100, 0)];
        for (name, now, waits) in [
            ("asks", opener(RunState::Sleeping, 110, 900), 1),
            ("rests", opener(RunState::Sleeping, 101, 90), 0),
            ("computes", opener(RunState::Running, 190, 900_000), 0),
            ("writes", opener(RunState::Disk, 190, 900), 0),
        ] {
            assert_eq!(waiting(&[now], &before, 1000), waits, "{name}");
        }
        let asks = opener(RunState::Sleeping, 110, 900);
        assert_eq!(waiting(&[asks], &[], 1000), 0, "seen for the first time");
        let blocked = Opener {
            is_blocked: true,
            ..opener(RunState::Sleeping, 100, 0)
        };
        assert_eq!(waiting(&[blocked], &[], 1000), 1);
    }
}
