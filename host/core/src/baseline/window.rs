//! The last so many values of a series with their exact statistics.

use serde::{Deserialize, Serialize};

use super::moments::{Grouping, Moments};
use super::sorted_queue::SortedQueue;
use super::usable;

/// Turns the median absolute deviation into a consistent estimate of a normal distribution's standard deviation:
/// 1 / Φ⁻¹(3/4) (Rousseeuw & Croux 1993).
pub const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;

/// Turns the distance of the 5th from the 95th percentile into the same: Φ⁻¹(0.95) - Φ⁻¹(0.05).
pub const RANGE_90: f64 = 3.289_707_253_902_944;

/// Everything a reader may want to know about a window at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// How many values.
    pub count: u32,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation; 0 for a single value.
    pub stdev: f64,
    /// Smallest value.
    pub min: f64,
    /// Middle value.
    pub median: f64,
    /// Median absolute deviation from the median, unscaled.
    pub mad: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest value.
    pub max: f64,
}

/// How many values of a window are smaller than a value, and how many equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// Values that are smaller.
    pub smaller: u32,
    /// Values that are equal.
    pub equal: u32,
}

/// A sliding window over a series: exact order statistics and moments, O(log n) a value.
///
/// Memory is taken as values come: some 25 bytes for each that is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Saved", try_from = "Saved")]
pub struct Window {
    queue: SortedQueue,
    moments: Moments,
}

impl Window {
    /// A window of the last `capacity` values (1 to [`MAX_POINTS`](super::MAX_POINTS); others are clamped).
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let queue = SortedQueue::new(capacity);
        Self {
            moments: Moments::new(queue.capacity()),
            queue,
        }
    }

    /// Takes a value in and, when full, lets the oldest one go. `false` if the value is no usable number.
    pub fn push(&mut self, value: f64) -> bool {
        let Some(value) = usable(value) else {
            return false;
        };
        if self.is_full() {
            self.moments.pop(self.queue.values());
        }
        self.queue.put(value);
        self.moments.push(value);
        true
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.capacity());
    }

    /// How many values are held.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.queue.len()
    }

    /// Whether no value is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many values can be held.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.queue.capacity()
    }

    /// Whether the next value pushes one out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// The values, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator + '_ {
        self.queue.values().iter().copied()
    }

    /// The newest value.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.queue.values().back().copied()
    }

    /// Middle value.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.queue.median()
    }

    /// Median absolute deviation from the median, unscaled.
    #[must_use]
    pub fn mad(&self) -> Option<f64> {
        self.median_and_mad().map(|(_, mad)| mad)
    }

    /// Both of the above, at the price of the second.
    #[must_use]
    pub fn median_and_mad(&self) -> Option<(f64, f64)> {
        self.queue.median_and_mad()
    }

    /// Percentile by linear interpolation, `percent` in 0..=100.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        self.queue.percentile(percent)
    }

    /// Several percentiles at once.
    #[must_use]
    pub fn percentiles<const N: usize>(&self, percents: &[f64; N]) -> Option<[f64; N]> {
        (!self.is_empty()).then(|| percents.map(|p| self.percentile(p).unwrap_or_default()))
    }

    /// How many values are smaller than `value`, and how many equal.
    #[must_use]
    pub fn rank(&self, value: f64) -> Rank {
        let (smaller, up_to) = self.queue.order().ranks(value);
        Rank {
            smaller,
            equal: up_to - smaller,
        }
    }

    /// The share of values smaller than `value` (ties count half), in 0..=1.
    #[must_use]
    pub fn rank_of(&self, value: f64) -> Option<f64> {
        let n = self.len();
        let Rank { smaller, equal } = self.rank(value);
        (n > 0).then(|| (f64::from(smaller) + 0.5 * f64::from(equal)) / f64::from(n))
    }

    /// Arithmetic mean.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        self.moments.total().mean()
    }

    /// Sample standard deviation, from two values on.
    #[must_use]
    pub fn stdev(&self) -> Option<f64> {
        self.moments.total().stdev()
    }

    /// Smallest value.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.queue.order().select(0)
    }

    /// Largest value.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.queue.order().select(self.len().checked_sub(1)?)
    }

    /// A robust standard deviation: from the MAD; where more than half of the values are equal, the 5th to 95th
    /// percentile range of a normal distribution instead; at last the plain standard deviation.
    #[must_use]
    pub fn spread(&self) -> Option<f64> {
        let mad = self.mad()? * MAD_TO_SIGMA;
        if mad > 0.0 {
            return Some(mad);
        }
        let range = (self.percentile(95.0)? - self.percentile(5.0)?) / RANGE_90;
        if range > 0.0 {
            Some(range)
        } else {
            self.stdev()
        }
    }

    /// All statistics, if there is any value.
    #[must_use]
    pub fn statistics(&self) -> Option<Statistics> {
        let (median, mad) = self.median_and_mad()?;
        let moments = self.moments.total();
        Some(Statistics {
            count: self.len(),
            mean: moments.mean()?,
            stdev: moments.stdev().unwrap_or(0.0),
            min: self.min()?,
            median,
            mad,
            p95: self.percentile(95.0)?,
            p99: self.percentile(99.0)?,
            max: self.max()?,
        })
    }
}

/// What a window is restored from, exactly.
#[derive(Serialize, Deserialize)]
struct Saved {
    queue: SortedQueue,
    grouping: Grouping,
}

impl From<Window> for Saved {
    fn from(window: Window) -> Self {
        Self {
            grouping: window.moments.grouping(),
            queue: window.queue,
        }
    }
}

impl TryFrom<Saved> for Window {
    type Error = &'static str;

    fn try_from(Saved { queue, grouping }: Saved) -> Result<Self, Self::Error> {
        let moments = Moments::restore(queue.capacity(), queue.values(), grouping)
            .ok_or("the sums' chunks do not fit the values")?;
        Ok(Self { queue, moments })
    }
}

#[cfg(test)]
mod tests;
