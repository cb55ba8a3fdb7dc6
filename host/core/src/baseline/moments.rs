//! Mean and variance of a queue without ever subtracting.
//!
//! Welford's update run backwards loses precision for good once a huge value has passed through the window. Here
//! values only ever enter a summary; what has left the window is in none of them. The queue is cut into chunks of
//! about √capacity values: the two-stack queue (folklore; Tangwongsan, Hirzel & Schneider, "Low-latency sliding-window
//! aggregation", 2017) once over the values of the oldest chunk and once over whole chunks. A value costs a constant
//! number of updates on average, 2√capacity at worst, and the memory is some 3√capacity summaries.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Count, mean and sum of squared distances to the mean.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Summary {
    count: u32,
    mean: f64,
    squares: f64,
}

impl Summary {
    /// With one more value (Welford 1962).
    fn with(self, value: f64) -> Self {
        let count = self.count + 1;
        let apart = value - self.mean;
        let mean = self.mean + apart / f64::from(count);
        Self {
            count,
            mean,
            squares: self.squares + apart * (value - mean),
        }
    }

    /// Of the values of both (Chan, Golub & `LeVeque` 1983).
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

    /// The mean, if there is any value.
    pub(super) fn mean(self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The sample standard deviation (divisor n - 1), from two values on.
    pub(super) fn stdev(self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / f64::from(self.count - 1)).sqrt())
    }
}

/// Where the chunks of a queue begin: how many values are left of the oldest, and how many whole chunks follow that
/// are joined already. Together with the values it restores every bit of the sums.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Grouping {
    oldest: u32,
    front: u32,
}

/// Moments of a queue: values enter at the back and leave at the front.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    chunk: u32,
    /// Of the oldest chunk, from each of its values to its end; the last one is of all that is left of it.
    oldest: Vec<Summary>,
    /// Of the whole chunks that follow, from each of them to the last; the last one is of all of them.
    front: Vec<Summary>,
    /// Of each whole chunk after those, in order, and of all of them.
    back: Vec<Summary>,
    back_total: Summary,
    /// Of the values that do not fill a chunk yet.
    newest: Summary,
}

impl Moments {
    /// For a queue of at most `capacity` values.
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            chunk: capacity.isqrt().max(1),
            oldest: Vec::new(),
            front: Vec::new(),
            back: Vec::new(),
            back_total: Summary::default(),
            newest: Summary::default(),
        }
    }

    /// The state that [`Self::grouping`] described, over the same values; none if it cannot have been.
    pub(super) fn restore(
        capacity: u32,
        values: &VecDeque<f64>,
        grouping: Grouping,
    ) -> Option<Self> {
        let mut moments = Self::new(capacity);
        let Grouping { oldest, front } = grouping;
        let turned = u64::from(oldest) + u64::from(front) * u64::from(moments.chunk);
        let turned = usize::try_from(turned).ok()?;
        if oldest > moments.chunk || turned > values.len() {
            return None;
        }
        moments.begin(oldest as usize, values);
        let mut rest = values.range(oldest as usize..).copied();
        rest.by_ref()
            .take(turned - oldest as usize)
            .for_each(|value| moments.push(value));
        moments.turn();
        rest.for_each(|value| moments.push(value));
        Some(moments)
    }

    /// Takes a value in at the back.
    pub(super) fn push(&mut self, value: f64) {
        self.newest = self.newest.with(value);
        if self.newest.count == self.chunk {
            self.back.push(self.newest);
            self.back_total = self.back_total.join(self.newest);
            self.newest = Summary::default();
        }
    }

    /// Lets the front value go. `values` are those of the queue, this one still first.
    pub(super) fn pop(&mut self, values: &VecDeque<f64>) {
        if self.oldest.is_empty() {
            if self.front.is_empty() {
                self.turn();
            }
            let count = if self.front.pop().is_some() {
                self.chunk
            } else {
                std::mem::take(&mut self.newest).count
            };
            self.begin(count as usize, values);
        }
        self.oldest.pop();
    }

    /// Of all values.
    pub(super) fn total(&self) -> Summary {
        let last = |stack: &[Summary]| stack.last().copied().unwrap_or_default();
        last(&self.oldest)
            .join(last(&self.front))
            .join(self.back_total.join(self.newest))
    }

    /// What, besides the values, decides how the summaries are rounded.
    pub(super) fn grouping(&self) -> Grouping {
        // Neither is longer than the square root of a capacity.
        let count = |stack: &[Summary]| u32::try_from(stack.len()).unwrap_or(u32::MAX);
        Grouping {
            oldest: count(&self.oldest),
            front: count(&self.front),
        }
    }

    /// Makes the first `count` values the oldest chunk.
    fn begin(&mut self, count: usize, values: &VecDeque<f64>) {
        let mut sum = Summary::default();
        self.oldest.extend(values.range(..count).rev().map(|value| {
            sum = sum.with(*value);
            sum
        }));
    }

    /// Makes the chunks of the back the front.
    fn turn(&mut self) {
        self.back_total = Summary::default();
        let mut sum = Summary::default();
        self.front.extend(self.back.drain(..).rev().map(|chunk| {
            sum = chunk.join(sum);
            sum
        }));
    }
}
