//! The programs of a day: what each does next, and when.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::wal::Connection;
use super::world::World;

const HOUR_MS: u64 = 3_600_000;
/// Every so often all readers of the day rest for so long, or the log would never begin again.
const REST_EVERY_MS: u64 = 600_000;
const REST_MS: u64 = 30_000;

/// From one time to another, milliseconds, both included.
pub(super) type Span = (u64, u64);

/// What a program does with the database each time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    /// A read transaction.
    Read,
    /// A write transaction of so many frames.
    Write { frames: (u32, u32) },
    /// The write lock, and nothing is written.
    Poll,
    /// It dies in the middle of what it does and is started again; it had the write lock.
    Crash,
}

/// A program that does one thing again and again.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) who: Connection,
    pub(super) deed: Deed,
    /// How long each time takes.
    pub(super) takes: Span,
    /// How long it rests then.
    pub(super) rests: Span,
    /// Whether it uses the processor all the time.
    pub(super) computes: bool,
    /// The hours of the day in which it works.
    pub(super) hours: (u64, u64),
    /// Whether it rests when all readers do.
    pub(super) rests_with_all: bool,
    at_it: bool,
}

impl Program {
    pub(super) fn new(who: Connection, deed: Deed, takes: Span, rests: Span) -> Self {
        Self {
            who,
            deed,
            takes,
            rests,
            computes: false,
            hours: (0, 24),
            rests_with_all: matches!(deed, Deed::Read),
            at_it: false,
        }
    }

    /// The same program, computing all the time.
    pub(super) fn computing(mut self) -> Self {
        self.computes = true;
        self
    }

    /// The same program, only in these hours.
    pub(super) fn in_hours(mut self, from: u64, to: u64) -> Self {
        self.hours = (from, to);
        self
    }

    /// Takes the next step, and says when the one after it comes.
    pub(super) fn step(&mut self, world: &mut World, random: &mut StdRng) -> u64 {
        if self.at_it {
            self.end(world, random);
            self.at_it = false;
            let rest = random.random_range(self.rests.0..=self.rests.1);
            if rest > 0 {
                return world.now_ms + rest;
            }
        }
        if let Some(later) = self.wait(world.now_ms) {
            return later;
        }
        if !self.begin(world) {
            // Somebody else has the lock.
            return world.now_ms + random.random_range(5..=50);
        }
        self.at_it = true;
        world.now_ms + random.random_range(self.takes.0..=self.takes.1).max(1)
    }

    /// When it may begin, where that is not now.
    fn wait(&self, now_ms: u64) -> Option<u64> {
        let of_day = now_ms % (24 * HOUR_MS);
        let (from, to) = (self.hours.0 * HOUR_MS, self.hours.1 * HOUR_MS);
        if of_day < from {
            return Some(now_ms - of_day + from);
        }
        if of_day >= to {
            return Some(now_ms - of_day + 24 * HOUR_MS + from);
        }
        let into = now_ms % REST_EVERY_MS;
        (self.rests_with_all && into < REST_MS).then(|| now_ms - into + REST_MS)
    }

    fn begin(&self, world: &mut World) -> bool {
        match self.deed {
            Deed::Read => {
                world.wal.begin_read(self.who);
            }
            Deed::Write { .. } | Deed::Poll | Deed::Crash => {
                if !world.wal.begin_write(self.who) {
                    return false;
                }
            }
        }
        world.runs(self.who, self.computes);
        true
    }

    fn end(&self, world: &mut World, random: &mut StdRng) {
        match self.deed {
            Deed::Read => world.wal.end_read(self.who),
            Deed::Write { frames } => {
                let frames = random.random_range(frames.0..=frames.1);
                world.wal.end_write(self.who, Some(frames));
            }
            Deed::Poll => world.wal.end_write(self.who, None),
            Deed::Crash => world.restart(self.who.0),
        }
        world.runs(self.who, false);
    }
}
