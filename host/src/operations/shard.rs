//! What one thread counts of one operation.
//!
//! One writer, the thread itself, which loads and stores with relaxed order: no locked
//! instruction, no lock, no allocation. Counters only grow, so a reader takes differences: each
//! cell is coherent by itself, what it misses now it sees the next time, and nothing can be counted
//! twice. (Sums of rows and bytes may wrap; their differences are right all the same.) The shard of the threads beyond the bound has several writers, who add atomically.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::histogram::{BINS, bin};
use super::{Ended, ErrorKind};

/// Counters that only grow. About 10 KiB.
pub(super) struct Shard {
    bins: [AtomicU64; BINS],
    totals: Totals<AtomicU64>,
    extremes: [Extremes; 2],
    shared: bool,
}

/// The counters beside the bins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Totals<T> {
    /// Time spent, nanoseconds.
    pub(super) duration_ns: T,
    pub(super) rows: T,
    pub(super) bytes: T,
    pub(super) errors: [T; ErrorKind::ALL.len()],
    pub(super) abandoned: T,
    pub(super) slow: T,
    pub(super) begun: T,
    pub(super) ended: T,
    pub(super) queued: T,
    pub(super) dequeued: T,
}

/// Extremes of one epoch. The writer begins them anew when it sees a new epoch, in the other of the
/// two banks, so that the reader finds those of the ended epoch untouched.
struct Extremes {
    epoch: AtomicU64,
    min_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Extremes {
    fn new() -> Self {
        Self {
            epoch: AtomicU64::new(u64::MAX),
            min_ns: AtomicU64::new(u64::MAX),
            max_ns: AtomicU64::new(0),
        }
    }

    /// The first duration of an epoch.
    #[cold]
    fn begin(&self, epoch: u64, duration_ns: u64) {
        self.min_ns.store(duration_ns, Relaxed);
        self.max_ns.store(duration_ns, Relaxed);
        self.epoch.store(epoch, Relaxed);
    }
}

/// Adds to a cell that only this thread writes.
#[inline]
fn grow(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(count), Relaxed);
}

impl Shard {
    pub(super) fn new(shared: bool) -> Self {
        Self {
            bins: [const { AtomicU64::new(0) }; BINS],
            totals: Totals::default(),
            extremes: [Extremes::new(), Extremes::new()],
            shared,
        }
    }

    #[inline]
    fn add(&self, cell: &AtomicU64, count: u64) {
        if self.shared {
            cell.fetch_add(count, Relaxed);
        } else {
            grow(cell, count);
        }
    }

    /// Counts how an operation ended, and that it is under way no more if it began here.
    #[inline]
    pub(super) fn count(
        &self,
        epoch: u64,
        duration_ns: u64,
        ended: Ended,
        is_slow: bool,
        began: bool,
    ) {
        if let Ended::Completed { rows, bytes } = ended {
            self.time(epoch, duration_ns, rows, bytes);
            if is_slow {
                self.slow();
            }
        } else {
            self.failed(epoch, duration_ns, ended);
        }
        if began {
            self.add(&self.totals.ended, 1);
        }
    }

    #[cold]
    fn failed(&self, epoch: u64, duration_ns: u64, ended: Ended) {
        if let Ended::Failed(kind) = ended {
            self.time(epoch, duration_ns, 0, 0);
            self.add(&self.totals.errors[kind as usize], 1);
        } else {
            self.add(&self.totals.abandoned, 1);
        }
    }

    #[cold]
    fn slow(&self) {
        self.add(&self.totals.slow, 1);
    }

    #[inline]
    fn time(&self, epoch: u64, duration_ns: u64, rows: u64, bytes: u64) {
        let (bin, totals) = (&self.bins[bin(duration_ns)], &self.totals);
        if self.shared {
            self.time_shared(bin, duration_ns, rows, bytes);
        } else {
            grow(bin, 1);
            grow(&totals.duration_ns, duration_ns);
            grow(&totals.rows, rows);
            grow(&totals.bytes, bytes);
        }
        let extremes = &self.extremes[usize::from(epoch & 1 == 1)];
        if extremes.epoch.load(Relaxed) != epoch {
            extremes.begin(epoch, duration_ns);
        } else if duration_ns < extremes.min_ns.load(Relaxed) {
            extremes.min_ns.store(duration_ns, Relaxed);
        } else if duration_ns > extremes.max_ns.load(Relaxed) {
            extremes.max_ns.store(duration_ns, Relaxed);
        }
    }

    #[cold]
    fn time_shared(&self, bin: &AtomicU64, duration_ns: u64, rows: u64, bytes: u64) {
        bin.fetch_add(1, Relaxed);
        self.totals.duration_ns.fetch_add(duration_ns, Relaxed);
        self.totals.rows.fetch_add(rows, Relaxed);
        self.totals.bytes.fetch_add(bytes, Relaxed);
    }

    #[inline]
    pub(super) fn begun(&self) {
        self.add(&self.totals.begun, 1);
    }

    pub(super) fn queued(&self) {
        self.add(&self.totals.queued, 1);
    }

    pub(super) fn dequeued(&self) {
        self.add(&self.totals.dequeued, 1);
    }

    /// Adds everything counted so far.
    pub(super) fn add_to(&self, tally: &mut Tally) {
        for (sum, cell) in tally.bins.iter_mut().zip(&self.bins) {
            *sum = sum.wrapping_add(cell.load(Relaxed));
        }
        tally.totals.zip(&self.totals, |sum, cell| {
            *sum = sum.wrapping_add(cell.load(Relaxed));
        });
        for bank in &self.extremes {
            // The epoch is read first and last: a bank that was begun anew in between is left out,
            // and the bins say the extremes to 1 part in 32.
            let epoch = bank.epoch.load(Relaxed);
            let (min, max) = (bank.min_ns.load(Relaxed), bank.max_ns.load(Relaxed));
            if epoch != u64::MAX && epoch == bank.epoch.load(Relaxed) {
                tally.widen(epoch, min, max);
            }
        }
    }

    /// Adds what says how many are under way and how many wait.
    pub(super) fn pending(&self) -> Pending {
        Pending {
            begun: self.totals.begun.load(Relaxed),
            ended: self.totals.ended.load(Relaxed),
            queued: self.totals.queued.load(Relaxed),
            dequeued: self.totals.dequeued.load(Relaxed),
        }
    }
}

impl<T> Totals<T> {
    fn zip<U>(&mut self, other: &Totals<U>, mut each: impl FnMut(&mut T, &U)) {
        each(&mut self.duration_ns, &other.duration_ns);
        each(&mut self.rows, &other.rows);
        each(&mut self.bytes, &other.bytes);
        for (mine, theirs) in self.errors.iter_mut().zip(&other.errors) {
            each(mine, theirs);
        }
        each(&mut self.abandoned, &other.abandoned);
        each(&mut self.slow, &other.slow);
        each(&mut self.begun, &other.begun);
        each(&mut self.ended, &other.ended);
        each(&mut self.queued, &other.queued);
        each(&mut self.dequeued, &other.dequeued);
    }
}

/// How many began, ended, were queued and left the queue, ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) begun: u64,
    pub(super) ended: u64,
    pub(super) queued: u64,
    pub(super) dequeued: u64,
}

impl Pending {
    pub(super) fn add(&mut self, other: Self) {
        self.begun += other.begun;
        self.ended += other.ended;
        self.queued += other.queued;
        self.dequeued += other.dequeued;
    }

    /// Operations under way. Never negative: an end may be seen before its beginning when the two
    /// happened in different threads.
    pub(super) fn running(&self) -> u64 {
        self.begun.saturating_sub(self.ended)
    }

    /// Operations that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.queued.saturating_sub(self.dequeued)
    }
}

/// A sum of shards.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) bins: Box<[u64; BINS]>,
    pub(super) totals: Totals<u64>,
    /// Epoch, smallest and largest duration, by the epoch's last bit.
    extremes: [Option<(u64, u64, u64)>; 2],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            bins: Box::new([0; BINS]),
            totals: Totals::default(),
            extremes: [None; 2],
        }
    }
}

impl Tally {
    /// Takes an epoch's extremes in; those of an older epoch give way.
    fn widen(&mut self, epoch: u64, min_ns: u64, max_ns: u64) {
        let bank = &mut self.extremes[usize::from(epoch & 1 == 1)];
        *bank = match *bank {
            Some((known, min, max)) if known == epoch => {
                Some((epoch, min.min(min_ns), max.max(max_ns)))
            }
            Some(newer) if newer.0 > epoch => Some(newer),
            _ => Some((epoch, min_ns, max_ns)),
        };
    }

    /// What came since an earlier sum of the same counters.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (now, then) in difference.bins.iter_mut().zip(earlier.bins.iter()) {
            *now = now.wrapping_sub(*then);
        }
        let totals = &mut difference.totals;
        totals.zip(&earlier.totals, |now, then| *now = now.wrapping_sub(*then));
        difference
    }

    /// The extremes of an epoch, as far as they are known.
    pub(super) fn extremes(&self, epoch: u64) -> Option<(u64, u64)> {
        self.extremes[usize::from(epoch & 1 == 1)]
            .filter(|(known, ..)| *known == epoch)
            .map(|(_, min, max)| (min, max))
    }

    pub(super) fn pending(&self) -> Pending {
        Pending {
            begun: self.totals.begun,
            ended: self.totals.ended,
            queued: self.totals.queued,
            dequeued: self.totals.dequeued,
        }
    }
}
