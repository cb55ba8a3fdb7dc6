//! Mean and variance of a ring buffer without ever subtracting.
//!
//! Welford's update run backwards loses precision for good once a huge value has passed through the window. Here the
//! ring is cut into chunks; each chunk is summed anew when it changes, and a segment tree above the chunks joins their
//! summaries by the pairwise formula of Chan, Golub & `LeVeque` (1983). An update costs one chunk and O(log n) joins, and
//! what has left the window has left no trace.

use super::OrderStatistics;

const CHUNK: u32 = 32;

/// Count, mean and sum of squared distances to the mean.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    count: u32,
    mean: f64,
    squares: f64,
}

impl Summary {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (count, sum) = values
            .clone()
            .fold((0_u32, 0.0), |(n, s), v| (n + 1, s + v));
        if count == 0 {
            return Self::default();
        }
        let mean = sum / f64::from(count);
        let squares = values.map(|v| (v - mean) * (v - mean)).sum();
        Self {
            count,
            mean,
            squares,
        }
    }

    fn join(self, other: Self) -> Self {
        if self.count == 0 {
            return other;
        }
        if other.count == 0 {
            return self;
        }
        let count = self.count + other.count;
        let share = f64::from(other.count) / f64::from(count);
        let apart = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * share,
            squares: self.squares + other.squares + apart * apart * f64::from(self.count) * share,
        }
    }
}

/// Segment tree of the summaries of a ring's chunks.
#[derive(Debug, Clone)]
pub struct Moments {
    tree: Vec<Summary>,
}

impl Moments {
    /// For a ring of so many slots.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let leaves = capacity.div_ceil(CHUNK).next_power_of_two();
        Self {
            tree: vec![Summary::default(); 2 * leaves as usize],
        }
    }

    /// To be called after `slot` of the ring has changed; the live slots are `0..values.len()`.
    pub fn refresh(&mut self, slot: u32, values: &OrderStatistics) {
        let chunk = slot / CHUNK;
        let end = (chunk * CHUNK + CHUNK).min(values.len());
        let mut at = self.tree.len() / 2 + chunk as usize;
        self.tree[at] = Summary::of((chunk * CHUNK..end).map(|s| values.value(s)));
        while at > 1 {
            at /= 2;
            self.tree[at] = self.tree[2 * at].join(self.tree[2 * at + 1]);
        }
    }

    /// The mean, if there is any value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.tree[1].count > 0).then_some(self.tree[1].mean)
    }

    /// The sample standard deviation (divisor n - 1), from two values on.
    #[must_use]
    pub fn stdev(&self) -> Option<f64> {
        let all = self.tree[1];
        (all.count > 1).then(|| (all.squares / f64::from(all.count - 1)).sqrt())
    }
}
