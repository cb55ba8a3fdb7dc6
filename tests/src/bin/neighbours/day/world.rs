//! Processes beside a database, and an observation of them.

use dbmedic::sqlite_state::{
    Activity, Integrity, Lock, LockHolder, Mode, Probe, Process, RunState, SqliteState, WalState,
};

use super::wal::{Connection, Wal};

const PAGE_BYTES: u64 = 4096;
/// A frame is a page with a header of 24 bytes; the log begins with a header of 32.
const FRAME_BYTES: u64 = PAGE_BYTES + 24;
/// Between two full checks.
const CHECK_EVERY_MS: u64 = 3_600_000;
/// What probing takes and how often it asks: as measured on a real run.
const READER_WINDOW_MS: u64 = 6;
const WRITER_WINDOW_MS: u64 = 30;
const SAMPLES: u32 = 2000;

/// A process.
#[derive(Debug, Clone)]
struct Actor {
    name: String,
    pid: u32,
    start_ticks: u64,
    /// Whether it lies in another container, so that only pid 0 is seen of it.
    hidden: bool,
    computing_since: Option<u64>,
    cpu_us: u64,
    runs: u64,
    ran_ms: u64,
    /// When it last took or dropped a lock.
    moved_ms: u64,
}

/// Everything beside the database.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) wal: Wal,
    actors: Vec<Actor>,
    next_pid: u32,
    checked_ms: u64,
}

impl World {
    pub(super) fn new(now_ms: u64, salt: u32) -> Self {
        Self {
            now_ms,
            wal: Wal::new(salt),
            actors: Vec::new(),
            next_pid: 1000,
            checked_ms: 0,
        }
    }

    /// A process starts; its number.
    pub(super) fn start(&mut self, name: &str, hidden: bool) -> usize {
        let pid = self.new_pid();
        self.actors.push(Actor {
            name: name.to_owned(),
            pid,
            start_ticks: self.now_ms / 10,
            hidden,
            computing_since: None,
            cpu_us: 0,
            runs: 1,
            ran_ms: self.now_ms,
            moved_ms: self.now_ms,
        });
        self.actors.len() - 1
    }

    /// A process dies and is started again under another pid.
    pub(super) fn restart(&mut self, process: usize) {
        self.wal.forget(process);
        let pid = self.new_pid();
        let now_ms = self.now_ms;
        let actor = &mut self.actors[process];
        actor.pid = pid;
        actor.start_ticks = now_ms / 10;
        actor.computing_since = None;
        actor.ran_ms = now_ms;
        actor.moved_ms = now_ms;
    }

    fn new_pid(&mut self) -> u32 {
        self.next_pid = self.next_pid % 32_000 + 17;
        self.next_pid
    }

    /// The process runs, takes or drops a lock, and computes from now on or not.
    pub(super) fn runs(&mut self, who: Connection, computes: bool) {
        let now_ms = self.now_ms;
        let actor = &mut self.actors[who.0];
        actor.settle(now_ms);
        actor.runs += 1;
        actor.cpu_us += 50;
        actor.ran_ms = now_ms;
        actor.moved_ms = now_ms;
        actor.computing_since = computes.then_some(now_ms);
    }

    /// One observation.
    pub(super) fn observe(&mut self) -> SqliteState {
        let now_ms = self.now_ms;
        for actor in &mut self.actors {
            actor.settle(now_ms);
        }
        let index = self.wal.state();
        let mut locks = Vec::new();
        let mut probes = Vec::new();
        let mut hold = |lock: Lock, exclusive: bool, actor: &Actor, window_ms: Option<u64>| {
            let holder = LockHolder {
                lock,
                exclusive,
                process: actor.process(),
            };
            if locks.contains(&holder) {
                return;
            }
            probes.extend(window_ms.map(|window_ms| actor.probe(lock, now_ms, window_ms)));
            locks.push(holder);
        };
        for actor in &self.actors {
            hold(Lock::Shared, false, actor, None);
            hold(Lock::WalOpen, false, actor, None);
        }
        if let Some(writer) = self.wal.writer() {
            let actor = &self.actors[writer];
            hold(Lock::WalWrite, true, actor, Some(WRITER_WINDOW_MS));
        }
        for slot in 0..5_u8 {
            let lock = Lock::WalRead(slot);
            let window = index.is_pinned_by(lock).then_some(READER_WINDOW_MS);
            for reader in self.wal.readers(usize::from(slot)) {
                hold(lock, false, &self.actors[reader], window);
            }
        }
        locks.sort_by_key(|holder| (holder.process.pid, holder.lock));
        let frames = u64::from(index.max_frame);
        SqliteState {
            database_bytes: Some(20_000 * PAGE_BYTES),
            wal: Some(WalState {
                bytes: 32 + FRAME_BYTES * u64::from(self.wal.longest()),
                page_bytes: 4096,
                salts: index.salts,
                header_valid: true,
                scanned: false,
                frames,
                valid_frames: frames,
                last_commit_frame: frames,
                commits: 0,
                first_bad_frame: None,
                lost_commits: 0,
                change_counters: None,
            }),
            wal_index: Some(index),
            locks,
            probes,
            integrity: self.check(),
            ..SqliteState::default()
        }
    }

    /// The full check of each hour: all is well.
    fn check(&mut self) -> Option<Integrity> {
        let due = self.now_ms.saturating_sub(self.checked_ms) >= CHECK_EVERY_MS;
        due.then(|| {
            self.checked_ms = self.now_ms;
            Integrity {
                duration_ms: 900,
                ..Integrity::empty(Mode::Full, None)
            }
        })
    }
}

impl Actor {
    /// Counts the time that it has computed until now.
    fn settle(&mut self, now_ms: u64) {
        if let Some(since) = self.computing_since {
            let time_ms = now_ms.saturating_sub(since);
            self.cpu_us += time_ms * 900;
            self.runs += time_ms / 10;
            self.ran_ms = now_ms;
            self.computing_since = Some(now_ms);
        }
    }

    fn process(&self) -> Process {
        if self.hidden {
            return Process {
                pid: 0,
                start_ticks: 0,
                name: "unknown".into(),
                cpu_ticks: 0,
            };
        }
        Process {
            pid: self.pid,
            start_ticks: self.start_ticks,
            name: self.name.clone(),
            cpu_ticks: self.cpu_us / 10_000,
        }
    }

    fn probe(&self, lock: Lock, now_ms: u64, window_ms: u64) -> Probe {
        let process = self.process();
        // Taken or dropped within the window: found otherwise once. A moment's release is missed.
        let since_ms = now_ms.saturating_sub(self.moved_ms);
        let held_all_the_time = since_ms >= window_ms || since_ms == 0;
        let held = if held_all_the_time {
            SAMPLES
        } else {
            SAMPLES / 2
        };
        let state = if self.computing_since.is_some() {
            RunState::Running
        } else {
            RunState::Sleeping
        };
        Probe {
            lock,
            pid: process.pid,
            start_ticks: process.start_ticks,
            samples: held + u32::from(!held_all_the_time),
            held,
            window_us: window_ms * 1000,
            ran: self.hidden || self.computing_since.is_some() || since_ms < window_ms,
            activity: (!self.hidden).then_some(Activity {
                state,
                threads: 1,
                run_mark: self.runs.wrapping_mul(0x9e37_79b9) & ((1 << 53) - 1),
                runs: self.runs,
                cpu_us: self.cpu_us,
                read_bytes: Some(self.runs * 4096),
                descendants: None,
                waits_for_lock: false,
            }),
        }
    }
}
