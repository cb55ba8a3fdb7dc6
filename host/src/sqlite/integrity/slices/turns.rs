//! When slices may begin, how long they last, and how long they rest: so that a commit seldom meets one.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::PATIENCE;
use crate::sqlite::writers::Writers;

/// How long a slice reads on. With what opening and ending a transaction takes it stays under the 20 ms
/// that a check may keep anybody waiting.
const SLICE: Duration = Duration::from_millis(6);
/// A statement that runs this long after the beginning of its slice is interrupted.
pub(super) const LIMIT: Duration = Duration::from_millis(12);
/// Between two slices at least.
pub(super) const LEAST_REST: Duration = Duration::from_millis(2);
/// How many times as long as a slice the rest after it is while others commit, at the beginning: a
/// sixteenth of the time.
pub(super) const REST_BESIDE_COMMITS: u32 = 15;
/// The same where slices were never seen to keep anybody from committing: a third of the time.
const SHORTEST_REST: u32 = 2;
/// The same where they were: a sixtieth of the time.
const LONGEST_REST: u32 = 60;
/// That rest at least, for each time: a slice that a writer cuts short is short, and each slice may meet
/// a commit.
pub(super) const LEAST_REST_BESIDE_COMMITS: Duration = Duration::from_millis(4);
/// So many slices in a row that kept nobody from committing halve the rest.
const HARMLESS_SLICES: u32 = 60;
/// How long a slice reads on while others commit, and how it meets them is not known yet. It begins right
/// after a commit, when the next is least likely.
const SLICE_BESIDE_COMMITS: Duration = Duration::from_millis(2);
/// How long the next commit is waited for.
const COMMIT_WAIT: Duration = Duration::from_millis(50);
/// Between two looks whether it came.
const COMMIT_PAUSE: Duration = Duration::from_micros(200);
/// For how long after a commit others count as committing.
const COMMITS_GO_ON: Duration = Duration::from_secs(10);
/// How long ago others are taken to have committed when a check begins: for its first second they count as
/// committing.
const TAKEN_TO_HAVE_COMMITTED: Duration = Duration::from_secs(9);
/// Between two looks whether a writer is done.
pub(super) const WRITER_PAUSE: Duration = Duration::from_millis(2);
/// A transaction that writes for longer than this, and whose owner does not wait for anybody, is not
/// waited for: it may be open for hours.
const LONG_WRITE: Duration = Duration::from_millis(500);

/// When a slice must end.
pub(super) struct Limits {
    base: Instant,
    /// Microseconds since `base`; 0: no slice is under way.
    until_us: AtomicU64,
    /// Whether somebody came to write during the slice.
    met: AtomicBool,
    writers: Option<Writers>,
}

impl Limits {
    pub(super) fn of(writers: Option<Writers>) -> Self {
        Self {
            base: Instant::now(),
            until_us: AtomicU64::new(0),
            met: AtomicBool::new(false),
            writers,
        }
    }

    pub(super) fn set(&self, until: Option<Instant>) {
        let us = until.map_or(0, |until| {
            micros(until.saturating_duration_since(self.base))
        });
        self.until_us.store(us, Ordering::Relaxed);
    }

    /// Whether a statement is to be interrupted.
    pub(super) fn is_over(&self) -> bool {
        let until = self.until_us.load(Ordering::Relaxed);
        until > 0 && (micros(self.base.elapsed()) > until || self.somebody_waits())
    }

    fn somebody_waits(&self) -> bool {
        let writers = self.writers.as_ref();
        self.meets(writers.is_some_and(|writers| writers.wait().unwrap_or(true)))
    }

    fn somebody_writes(&self) -> bool {
        let writers = self.writers.as_ref();
        self.meets(writers.is_some_and(|writers| writers.write().unwrap_or(true)))
    }

    fn meets(&self, somebody: bool) -> bool {
        if somebody {
            self.met.store(true, Ordering::Relaxed);
        }
        somebody
    }
}

/// One slice, as long as it may read.
pub(super) struct Slice<'a> {
    pub(super) connection: &'a Connection,
    pub(super) limits: &'a Limits,
    begun: Instant,
    until: Instant,
    /// Whether somebody was writing already when it began.
    beside_a_writer: bool,
    /// Rows or entries that it reads at most, and how many it has read.
    most: u64,
    read: Cell<u64>,
}

impl<'a> Slice<'a> {
    /// One that nobody waits for: of a copy, or of a log that others write on.
    pub(super) fn without_end(connection: &'a Connection, limits: &'a Limits) -> Self {
        const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
        let begun = Instant::now();
        Self {
            connection,
            limits,
            begun,
            until: begun + FOR_EVER,
            beside_a_writer: true,
            most: u64::MAX,
            read: Cell::new(0),
        }
    }

    /// One that reads ahead: see [`super::Ahead`].
    pub(super) fn ahead(connection: &'a Connection, limits: &'a Limits, time: Duration) -> Self {
        let slice = Self::without_end(connection, limits);
        Self {
            until: slice.begun + time,
            ..slice
        }
    }

    /// Rows or entries that it has read.
    pub(super) fn read(&self) -> u64 {
        self.read.get()
    }

    /// Whether it is to end after the row or the entry that was just read.
    pub(super) fn is_over(&self) -> bool {
        self.read.set(self.read.get() + 1);
        self.read.get() >= self.most
            || Instant::now() > self.until
            || self.limits.somebody_waits()
            || (!self.beside_a_writer && self.limits.somebody_writes())
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How long slices rest while others commit: shorter while nobody is kept from it, longer when somebody
/// is. A writer that syncs its journal before it asks the readers to leave finds them gone. One that
/// does not sync, and has no busy timeout, fails when it meets one.
pub(super) struct Rest {
    /// How many times as long as a slice.
    pub(super) times: u32,
    /// For each time, at least.
    pub(super) least: Duration,
    /// Slices in a row that kept nobody from committing.
    harmless: u32,
}

impl Rest {
    pub(super) fn new() -> Self {
        Self {
            times: REST_BESIDE_COMMITS,
            least: LEAST_REST_BESIDE_COMMITS,
            harmless: 0,
        }
    }

    /// Takes in that a slice kept somebody from committing, or nobody.
    pub(super) fn learn(&mut self, did_harm: bool) {
        if did_harm {
            self.harmless = 0;
            self.times = (self.times * 2).clamp(REST_BESIDE_COMMITS, LONGEST_REST);
            return;
        }
        self.harmless += 1;
        if self.harmless >= HARMLESS_SLICES {
            self.harmless = 0;
            self.times = (self.times / 2).max(SHORTEST_REST);
        }
    }

    /// Whether it is known by now that slices and commits get along.
    pub(super) fn is_short(&self) -> bool {
        self.times < REST_BESIDE_COMMITS
    }

    fn after(&self, held: Duration) -> Duration {
        held.max(self.least).saturating_mul(self.times)
    }
}

/// Whether others commit, and what follows from it.
pub(super) struct Turns {
    /// What the file's header counted last, and when that changed.
    commits: Option<u32>,
    pub(super) committed: Option<Instant>,
    pub(super) beside_commits: Rest,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            commits: None,
            committed: Instant::now().checked_sub(TAKEN_TO_HAVE_COMMITTED),
            beside_commits: Rest::new(),
        }
    }

    /// Waits for a good moment, and begins a slice of `most` rows or entries at most.
    pub(super) fn begin<'a>(
        &mut self,
        connection: &'a Connection,
        limits: &'a Limits,
        most: u64,
    ) -> Slice<'a> {
        let is_gentle = self.is_written() && !self.beside_commits.is_short();
        if is_gentle {
            self.wait_for_commit(limits);
        }
        let beside_a_writer = wait_for_writers(limits);
        self.see_commits(limits);
        limits.met.store(false, Ordering::Relaxed);
        let begun = Instant::now();
        limits.set(Some(begun + LIMIT));
        let time = if is_gentle || beside_a_writer {
            SLICE_BESIDE_COMMITS
        } else {
            SLICE
        };
        Slice {
            connection,
            limits,
            begun,
            until: begun + time,
            beside_a_writer,
            most,
            read: Cell::new(0),
        }
    }

    /// Ends it, and says how long it was. The transaction must have ended.
    pub(super) fn end(&mut self, slice: &Slice<'_>) -> Duration {
        let held = slice.begun.elapsed();
        slice.limits.set(None);
        let before = self.commits;
        if slice.limits.met.load(Ordering::Relaxed) || slice.beside_a_writer {
            // Whoever was at it has committed when the counter moves, and else was kept from it, or went
            // back by itself: nothing tells one from the other.
            if has_ended_writing(slice.limits) {
                self.see_commits(slice.limits);
                self.beside_commits.learn(self.commits == before);
            }
        } else {
            self.see_commits(slice.limits);
            if self.is_written() {
                self.beside_commits.learn(false);
            }
        }
        held
    }

    /// Notes whether others commit.
    fn see_commits(&mut self, limits: &Limits) {
        let writers = limits.writers.as_ref();
        let commits = writers.and_then(|writers| writers.commits().ok().flatten());
        if self.commits.is_some() && commits != self.commits {
            self.committed = Some(Instant::now());
        }
        self.commits = commits;
    }

    /// Whether others commit.
    fn is_written(&self) -> bool {
        self.committed
            .is_some_and(|committed| committed.elapsed() < COMMITS_GO_ON)
    }

    fn wait_for_commit(&mut self, limits: &Limits) {
        let before = self.commits;
        let begun = Instant::now();
        while self.commits == before && begun.elapsed() < COMMIT_WAIT {
            thread::sleep(COMMIT_PAUSE);
            self.see_commits(limits);
        }
    }

    pub(super) fn rest_after(&self, held: Duration) -> Duration {
        if self.is_written() {
            self.beside_commits.after(held)
        } else {
            held.max(LEAST_REST)
        }
    }
}

/// Waits for whoever writes; says whether nobody does any more.
fn has_ended_writing(limits: &Limits) -> bool {
    let begun = Instant::now();
    while limits.somebody_waits() || limits.somebody_writes() {
        if begun.elapsed() > LONG_WRITE {
            return false;
        }
        thread::sleep(COMMIT_PAUSE);
    }
    true
}

/// Waits until nobody writes; says whether somebody does all the same, who is at it for long.
fn wait_for_writers(limits: &Limits) -> bool {
    let begun = Instant::now();
    loop {
        let waits = limits.somebody_waits();
        let writes = waits || limits.somebody_writes();
        if !writes {
            return false;
        }
        if begun.elapsed() > LONG_WRITE && (!waits || begun.elapsed() > PATIENCE) {
            return true;
        }
        thread::sleep(WRITER_PAUSE);
    }
}
