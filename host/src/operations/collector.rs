//! The cold side: turns what was counted since the last time into a bucket, and learns from it
//! what is normal for each operation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, OperationBucket};
use super::histogram::Histogram;
use super::recorder::{Shared, UNKNOWN};
use super::shard::{Pending, Tally};
use super::{ErrorKind, OperationLimits};
use crate::baseline::Baseline;

/// An operation is slow above so many times its normal p99: section 1.2 B of the specification.
const SLOW_FACTOR: f64 = 2.0;

/// What is normal for each operation, by its name: to be kept from run to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Learned(BTreeMap<String, Baseline>);

/// Collects what a recorder counts. There is one for each recorder.
pub struct Collector {
    shared: Arc<Shared>,
    limits: OperationLimits,
    /// The sums at the last turn, by operation.
    before: Vec<Option<Tally>>,
    /// The p99 of earlier buckets, nanoseconds, by operation.
    normal: Vec<Option<Baseline>>,
    /// What an earlier run learned of operations that this one has not met yet.
    from_before: Learned,
    turned_at_ms: Option<u64>,
    refused_before: u64,
}

impl Collector {
    pub(super) fn new(shared: Arc<Shared>, limits: OperationLimits) -> Self {
        let places = shared.limits_ns.len();
        Self {
            shared,
            limits,
            before: vec![None; places],
            normal: vec![None; places],
            from_before: Learned::default(),
            turned_at_ms: None,
            refused_before: 0,
        }
    }

    /// The time from which the first bucket counts, milliseconds since the Unix epoch. Without it
    /// the first bucket has no length, and no rates.
    pub fn begin(&mut self, at_ms: u64) {
        self.turned_at_ms = Some(at_ms);
    }

    /// Goes on from what an earlier run with the same limits learned. An operation is judged by it
    /// from the end of the bucket in which it got its name.
    pub fn restore(&mut self, learned: Learned) {
        self.from_before = learned;
    }

    /// What is normal for each operation now. Of those that this run has not met as many are kept
    /// as there may be names.
    pub fn learned(&self) -> Learned {
        let met = self.normal.iter().enumerate();
        let mut learned: BTreeMap<String, Baseline> = met
            .filter_map(|(place, normal)| Some((self.shared.name(place), normal.clone()?)))
            .collect();
        let room = self.normal.len().saturating_sub(learned.len());
        let others = self.from_before.0.iter().take(room);
        learned.extend(others.map(|(name, normal)| (name.clone(), normal.clone())));
        Learned(learned)
    }

    /// Operations under way and waiting now, of all names.
    pub fn pending(&self) -> (u64, u64) {
        let pending = self.shared.pending();
        (pending.running(), pending.waiting())
    }

    /// Ends the bucket at this time, milliseconds since the Unix epoch, and begins the next. What
    /// is recorded meanwhile falls into one of the two, never into both or none.
    pub fn turn(&mut self, at_ms: u64) -> Bucket {
        let length_ms = self
            .turned_at_ms
            .map_or(0, |before| at_ms.saturating_sub(before));
        self.turned_at_ms = Some(at_ms);
        // From here on extremes are kept for the next bucket; the counters just go on.
        let epoch = self.shared.epoch.fetch_add(1, Relaxed);
        let now = self.shared.tallies();
        self.recall();
        let mut all = Histogram::default();
        let mut pending = Pending::default();
        let mut operations = Vec::new();
        let nothing = Tally::default();
        for (place, tally) in now.iter().enumerate() {
            let Some(tally) = tally else { continue };
            pending.add(tally.pending());
            let before = self.before[place].as_ref().unwrap_or(&nothing);
            let new = tally.since(before);
            let histogram = Histogram::from_bins(new.bins, tally.extremes(epoch));
            self.learn(place, &histogram);
            all.merge(&histogram);
            let totals = new.totals;
            operations.push(OperationBucket {
                name: self.shared.name(place),
                errors: ErrorKind::ALL.map(|kind| totals.errors[kind as usize]),
                abandoned: totals.abandoned,
                slow: totals.slow,
                rows: totals.rows,
                bytes: totals.bytes,
                busy_ns: totals.duration_ns,
                running: tally.pending().running(),
                waiting: tally.pending().waiting(),
                durations: histogram,
            });
        }
        self.before = now;
        let refused = self.shared.refused();
        let names_refused = refused - std::mem::replace(&mut self.refused_before, refused);
        Bucket {
            at_ms,
            length_ms,
            operations,
            durations: all,
            running: pending.running(),
            waiting: pending.waiting(),
            names_refused,
        }
    }

    /// Takes up what an earlier run learned of operations that have got their names meanwhile.
    fn recall(&mut self) {
        if self.from_before.0.is_empty() {
            return;
        }
        for (place, name) in self.shared.names().into_iter().enumerate() {
            if let Some(normal) = self.from_before.0.remove(&name) {
                self.normal[place].get_or_insert(normal);
                self.set_limit(place);
            }
        }
    }

    /// Learns the bucket's p99 and sets the limit for single operations. The median over many
    /// buckets is what is normal: an incident shorter than half of them does not move it, and a
    /// change that lasts is accepted in the end.
    #[expect(
        clippy::cast_precision_loss,
        reason = "durations are below 2^53 ns, 104 days, or held there"
    )]
    fn learn(&mut self, place: usize, durations: &Histogram) {
        let Some([p99]) = durations.quantiles([0.99]) else {
            return;
        };
        let limits = self.limits;
        let normal = self.normal[place].get_or_insert_with(|| {
            Baseline::new(limits.baseline_buckets, limits.established_after)
        });
        normal.record(p99.min(1 << 53) as f64);
        self.set_limit(place);
    }

    /// Sets the limit for single operations by what is normal.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "durations are below 2^53 ns, 104 days, or held there"
    )]
    fn set_limit(&self, place: usize) {
        let normal = self.normal[place].as_ref();
        let limit = normal
            .and_then(Baseline::summary)
            .filter(|normal| normal.established)
            .map_or(UNKNOWN, |normal| (SLOW_FACTOR * normal.median) as u64);
        self.shared.limits_ns[place].store(limit, Relaxed);
    }
}
