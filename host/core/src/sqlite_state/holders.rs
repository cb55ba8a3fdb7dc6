//! Who holds a lock, what probing it showed, and what the process did meanwhile.

use serde::{Deserialize, Serialize};

/// Marks are facts for policies too, where integers have 53 bits.
const MARK_BITS: u64 = (1 << 53) - 1;

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
    pub activity: Option<Activity>,
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

/// What the threads of a process are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// All of them sleep.
    Sleeping,
    /// At least one runs, or waits for a processor.
    Running,
    /// At least one waits for a disk or a network file system, and cannot be interrupted.
    Disk,
    /// It was stopped: SIGSTOP, SIGTSTP (Ctrl-Z).
    Stopped,
    /// A debugger has stopped it.
    Traced,
    /// Its control group is frozen: a paused container or unit.
    Frozen,
}

/// What a process has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Activity {
    /// What it is doing now.
    pub state: RunState,
    /// How many threads it has.
    pub threads: u32,
    /// A number that is another one whenever a thread has run, begun or ended meanwhile; at most
    /// 53 bits.
    pub run_mark: u64,
    /// How often its present threads were given a processor.
    pub runs: u64,
    /// Processor time of its present threads, microseconds.
    pub cpu_us: u64,
    /// Bytes that it has read with system calls such as `pread`, from files and pipes; none where
    /// that may not be seen (another user's process).
    pub read_bytes: Option<u64>,
    /// What the processes that it started have done; none where there are none, or where nobody
    /// asked: see [`Processes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descendants: Option<Descendants>,
    /// Whether the kernel holds it up because another process has a lock that it waits for; false where
    /// nobody asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_lock: bool,
}

/// What the processes that a process started, and those that these started, have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Descendants {
    /// A number that is another one whenever one of them has run, begun or ended meanwhile; at most
    /// 53 bits.
    pub run_mark: u64,
    /// Whether one of them runs, or waits for a processor or a disk, or cannot be seen.
    pub at_work: bool,
}

impl Activity {
    /// Whether the process, or one that it started, ran since an earlier moment or is at work now.
    ///
    /// No measure of how much it did tells work from a heartbeat: whoever streams two rows a second
    /// over a socket uses less of a processor than a timer does, and reads no file. So whoever runs at
    /// all is at work.
    pub fn has_run_since(&self, before: &Self) -> bool {
        self.is_at_work()
            || self.run_mark != before.run_mark
            || self.descendants != before.descendants
    }

    /// A number that is another one whenever the process, or one that it started, has run meanwhile; at
    /// most 53 bits.
    pub fn mark(&self) -> u64 {
        let Some(descendants) = self.descendants else {
            return self.run_mark;
        };
        let mut mark = Mark::default();
        mark.take(self.run_mark);
        mark.take(descendants.run_mark);
        mark.get()
    }

    /// Whether a thread runs, waits for a processor, or waits for a disk; or one of a process that it
    /// started: who waits for its own child is at work, and so is who waits for another process's lock.
    pub fn is_at_work(&self) -> bool {
        matches!(self.state, RunState::Running | RunState::Disk)
            || self.waits_for_lock
            || self.descendants.is_some_and(|others| others.at_work)
    }
}

/// A running fingerprint (FNV-1a) of numbers.
#[derive(Clone, Copy)]
pub struct Mark(u64);

impl Default for Mark {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Mark {
    /// Takes a number in.
    pub fn take(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The fingerprint of all that was taken in, at most 53 bits.
    pub fn get(self) -> u64 {
        self.0 & MARK_BITS
    }
}
