//! When slices may begin, how long they last, and how long they rest: so that a commit seldom meets one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::PATIENCE;
use crate::target::sqlite::writers::Writers;

/// How long a slice reads on. With what opening and ending a transaction takes it stays under the 20 ms
/// that a check may keep anybody waiting.
const SLICE: Duration = Duration::from_millis(6);
/// A statement that runs this long after the beginning of its slice is interrupted.
pub(super) const LIMIT: Duration = Duration::from_millis(12);
/// Between two slices at least.
pub(super) const LEAST_REST: Duration = Duration::from_millis(2);
/// How many times as long as a slice the rest after it is while others commit: a sixteenth of the time.
pub(super) const REST_BESIDE_COMMITS: u32 = 15;
/// That rest at least: a slice that a writer cuts short is short, and each slice may meet a commit.
pub(super) const LEAST_REST_BESIDE_COMMITS: Duration = Duration::from_millis(60);
/// How long a slice reads on while others commit. It begins right after a commit, when the next is
/// least likely.
const SLICE_BESIDE_COMMITS: Duration = Duration::from_millis(2);
/// How long the next commit is waited for.
const COMMIT_WAIT: Duration = Duration::from_millis(50);
/// Between two looks whether it came.
const COMMIT_PAUSE: Duration = Duration::from_micros(200);
/// For how long after a commit others count as committing.
const COMMITS_GO_ON: Duration = Duration::from_secs(10);
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
    writers: Option<Writers>,
}

impl Limits {
    pub(super) fn of(writers: Option<Writers>) -> Self {
        Self {
            base: Instant::now(),
            until_us: AtomicU64::new(0),
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
        writers.is_some_and(|writers| writers.wait().unwrap_or(true))
    }

    fn somebody_writes(&self) -> bool {
        let writers = self.writers.as_ref();
        writers.is_some_and(|writers| writers.write().unwrap_or(true))
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
        }
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() > self.until
            || self.limits.somebody_waits()
            || (!self.beside_a_writer && self.limits.somebody_writes())
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whether others commit, and what follows from it.
pub(super) struct Turns {
    /// What the file's header counted last, and when that changed.
    commits: Option<u32>,
    committed: Option<Instant>,
    /// The rest while others commit: how many times as long as a slice, and how long at least.
    pub(super) beside_commits: (u32, Duration),
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            commits: None,
            committed: None,
            beside_commits: (REST_BESIDE_COMMITS, LEAST_REST_BESIDE_COMMITS),
        }
    }

    /// Waits for a good moment, and begins a slice.
    pub(super) fn begin<'a>(
        &mut self,
        connection: &'a Connection,
        limits: &'a Limits,
    ) -> Slice<'a> {
        let is_written = self.is_written();
        if is_written {
            self.wait_for_commit(limits);
        }
        let beside_a_writer = wait_for_writers(limits);
        let begun = Instant::now();
        limits.set(Some(begun + LIMIT));
        let time = if is_written {
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
        }
    }

    /// Ends it, and says how long it was.
    pub(super) fn end(&mut self, slice: &Slice<'_>) -> Duration {
        slice.limits.set(None);
        self.see_commits(slice.limits);
        slice.begun.elapsed()
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
            let (times, least) = self.beside_commits;
            held.saturating_mul(times).max(least)
        } else {
            held.max(LEAST_REST)
        }
    }
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
