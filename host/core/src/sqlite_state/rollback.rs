//! Rollback mode, SQLite's default: its locks on the database file, and who has it for itself. Pure.
//!
//! Whoever writes holds RESERVED, then waits for readers with PENDING, and holds all three bytes
//! (EXCLUSIVE) while it changes the file, see <https://sqlite.org/lockingv3.html>. A program with
//! `PRAGMA locking_mode=EXCLUSIVE`, as browsers have it, keeps EXCLUSIVE as long as it runs: that is no
//! transaction, and nobody is to be ended for it.

use serde::{Deserialize, Serialize};

use super::set::{JOURNAL_MAGIC_BYTES, JournalHeader};
use super::{Activity, RunState};
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
    /// A transaction: its journal lies beside the file, is not finished, and the process has it open.
    Transaction,
    /// Either.
    #[serde(alias = "likely_transaction")]
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
    /// These bytes are no header of a journal.
    NoHeader,
}

impl JournalBegin {
    /// Reads the first bytes, up to 28 of them.
    pub fn of(bytes: &[u8]) -> Self {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        if is_zero(bytes) {
            return Self::Finished;
        }
        let Some(header) = bytes.first_chunk() else {
            return Self::NoHeader;
        };
        if !JournalHeader::has_sizes(header) {
            Self::NoHeader
        } else if JournalHeader::parse(header).is_some() {
            Self::Synced
        } else if is_zero(&header[..JOURNAL_MAGIC_BYTES]) {
            Self::Unsynced
        } else {
            Self::NoHeader
        }
    }
}

impl JournalSeen {
    /// Whether it takes back what the transaction of its holder wrote: a copy of the file with it shows
    /// what was committed.
    pub fn takes_back(&self) -> bool {
        self.begin == JournalBegin::Synced && self.is_open == Some(true)
    }
}

/// Why a process has the file for itself. `uses_log`: the header asks for a write-ahead log, where
/// only exclusive mode locks the whole file. `changed_ns`: the last change of the database file,
/// nanoseconds since the Unix epoch.
///
/// Only a journal proves a transaction. Without one (`journal_mode` MEMORY or OFF, or nothing written
/// yet) a program in a transaction looks like one that rests in exclusive mode: an empty transaction
/// (`BEGIN IMMEDIATE; COMMIT`) leaves it with EXCLUSIVE, an older file and no journal. A journal that the
/// process does not have open was left by another program.
pub fn why(uses_log: bool, journal: Option<&JournalSeen>, changed_ns: i64) -> Why {
    if uses_log {
        return Why::OnPurpose;
    }
    let Some(journal) = journal.filter(|journal| journal.is_open == Some(true)) else {
        return Why::Unclear;
    };
    match journal.begin {
        // In exclusive mode SQLite keeps the journal open and overwrites its header, or empties it.
        JournalBegin::Finished => Why::OnPurpose,
        JournalBegin::Synced => Why::Transaction,
        // A journal that is older than the last change of the file was used before.
        JournalBegin::Unsynced if journal.born_ns.is_some_and(|born_ns| born_ns > changed_ns) => {
            Why::Transaction
        }
        JournalBegin::Unsynced | JournalBegin::NoHeader => Why::Unclear,
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

/// Whether a process has the database file for itself: nobody else can read it, and it may write to it.
pub fn has_file_alone(locks: &[LockHolder], is_meant: impl Fn(&Process) -> bool) -> bool {
    let mut locks = locks.iter();
    locks.any(|held| held.lock == Lock::Shared && held.exclusive && is_meant(&held.process))
}

/// Whether a write lock of rollback mode is proven to be held by a transaction, and not kept on purpose.
///
/// RESERVED or PENDING alone are: whoever committed in exclusive mode has the whole file.
pub fn is_in_transaction(state: &SqliteState, is_meant: impl Fn(&Process) -> bool) -> bool {
    let alone = state.standing.as_ref().and_then(|seen| seen.alone.as_ref());
    match alone.filter(|alone| is_meant(&alone.process)) {
        Some(alone) => alone.why == Why::Transaction,
        None => !has_file_alone(&state.locks, is_meant),
    }
}

/// Whether a copy of the files shows what was committed while a process has the file for itself: there
/// is a log, or a journal takes back what the transaction wrote. Without one the file may hold half a
/// transaction (`journal_mode` MEMORY and OFF).
fn shows_commits(state: &SqliteState, alone: &Alone) -> bool {
    let is_taken_back = || {
        let journal = state.set.journal;
        alone.why == Why::Transaction && journal.is_some_and(|journal| !journal.is_void)
    };
    uses_log(state) || is_taken_back()
}

/// Why a database in rollback mode cannot be looked into, by the name of who has it for itself; none
/// where others can read it, or a copy shows what was committed.
pub fn kept_by_another(state: &SqliteState) -> Option<String> {
    let alone = state.standing.as_ref()?.alone.as_ref()?;
    let is_alone = has_file_alone(&state.locks, |process| process.pid == alone.process.pid);
    if !is_alone || shows_commits(state, alone) {
        return None;
    }
    let why = match alone.why {
        Why::OnPurpose => "on purpose (locking_mode=EXCLUSIVE)",
        Why::Transaction => "in a transaction",
        Why::Unclear => "either on purpose (locking_mode=EXCLUSIVE) or in a transaction",
    };
    Some(format!(
        "{} has the database for itself, {why}: nobody else can read it meanwhile, and a copy of the file could hold half a transaction; look again when it has let go of it",
        named(&alone.process)
    ))
}

/// Whether nobody can begin to read the file where it lies, and a copy of it and its journal, or its log,
/// shows what was committed: whoever has it for itself keeps a journal of the transaction that stands
/// still; or a writer waits for readers with PENDING and has written nothing yet.
pub fn shuts_readers_out(state: &SqliteState) -> bool {
    let Some(standing) = state.standing.as_ref() else {
        return false;
    };
    match &standing.alone {
        Some(alone) => shows_commits(state, alone),
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
    use crate::sqlite_state::set::DatabaseHeader;

    #[test]
    fn only_an_unfinished_journal_that_its_holder_has_open_proves_a_transaction() {
        use JournalBegin::{Finished, NoHeader, Synced, Unsynced};

        let (older, younger) = (Some(99), Some(101));
        for begin in [Finished, Unsynced, Synced, NoHeader] {
            for born_ns in [None, older, younger] {
                for is_open in [None, Some(false), Some(true)] {
                    let journal = JournalSeen {
                        begin,
                        born_ns,
                        is_open,
                    };
                    let expected = match (begin, is_open) {
                        (Synced, Some(true)) => Why::Transaction,
                        (Unsynced, Some(true)) if born_ns == younger => Why::Transaction,
                        (Finished, Some(true)) => Why::OnPurpose,
                        _ => Why::Unclear,
                    };
                    assert_eq!(why(false, Some(&journal), 100), expected, "{journal:?}");
                    assert_eq!(why(true, Some(&journal), 100), Why::OnPurpose);
                    let takes_back = (begin, is_open) == (Synced, Some(true));
                    assert_eq!(journal.takes_back(), takes_back, "{journal:?}");
                }
            }
        }
        assert_eq!(why(false, None, 100), Why::Unclear);
        assert_eq!(why(true, None, 100), Why::OnPurpose);
    }

    #[test]
    fn a_copy_counts_beside_an_exclusive_lock_only_with_a_log_or_a_journal_that_takes_back() {
        let process = Process {
            pid: 7,
            start_ticks: 9,
            name: "app".into(),
            cpu_ticks: 0,
        };
        let state = |why, journal: Option<bool>, version, lock, exclusive| {
            let mut state = SqliteState {
                locks: vec![LockHolder {
                    lock,
                    exclusive,
                    process: process.clone(),
                }],
                standing: Some(Box::new(Standing {
                    alone: Some(Alone {
                        process: process.clone(),
                        why,
                    }),
                    others: Vec::new(),
                })),
                ..SqliteState::default()
            };
            state.set.header = Some(DatabaseHeader {
                read_version: version,
                write_version: version,
                ..DatabaseHeader::default()
            });
            state.set.journal = journal.map(|is_void| JournalHeader {
                is_void,
                ..JournalHeader::default()
            });
            state
        };
        for why in [Why::OnPurpose, Why::Transaction, Why::Unclear] {
            for journal in [None, Some(true), Some(false)] {
                let rolls_back = why == Why::Transaction && journal == Some(false);
                let kept = state(why, journal, 1, Lock::Shared, true);
                assert_eq!(shuts_readers_out(&kept), rolls_back, "{why:?} {journal:?}");
                let told = kept_by_another(&kept);
                assert_eq!(told.is_none(), rolls_back, "{why:?} {journal:?}");
                assert!(told.is_none_or(|told| told.contains("process 7 (app)")));
                let with_log = state(why, journal, 2, Lock::Shared, true);
                assert!(shuts_readers_out(&with_log) && kept_by_another(&with_log).is_none());
                // Others can read, and nothing is written to the file.
                let reserved = state(why, journal, 1, Lock::Reserved, true);
                assert_eq!(kept_by_another(&reserved), None);
            }
        }
    }

    #[test]
    fn the_first_bytes_of_a_journal() {
        use JournalBegin::{Finished, NoHeader, Synced, Unsynced};

        let magic = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
        let header = |begin: [u8; 8], sector: u32, page: u32| {
            let mut bytes = [0; 28];
            bytes[..8].copy_from_slice(&begin);
            bytes[20..24].copy_from_slice(&sector.to_be_bytes());
            bytes[24..].copy_from_slice(&page.to_be_bytes());
            bytes
        };
        for (bytes, expected) in [
            (header([0; 8], 0, 0), Finished),
            (header([0; 8], 512, 4096), Unsynced),
            (header(magic, 512, 65536), Synced),
            (header(magic, 512, 4097), NoHeader),
            (header(magic, 0, 4096), NoHeader),
            (header([1; 8], 512, 4096), NoHeader),
        ] {
            assert_eq!(JournalBegin::of(&bytes), expected, "{bytes:?}");
        }
        assert_eq!(JournalBegin::of(&[]), Finished);
        assert_eq!(JournalBegin::of(&[0; 5]), Finished);
        assert_eq!(JournalBegin::of(&magic), NoHeader);
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
                descendants: None,
                waits_for_lock: false,
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
