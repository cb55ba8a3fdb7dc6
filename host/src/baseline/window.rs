//! The last so many values of a series with their exact statistics.

use super::{Moments, OrderStatistics};
use serde::{Deserialize, Serialize};

/// The longest window: what the specification keeps per series.
pub const MAX_POINTS: u32 = 10_000;

/// Values beyond this magnitude are ignored like non-finite ones: their squares would overflow.
pub const MAX_MAGNITUDE: f64 = 1e150;

/// Turns the median absolute deviation into a consistent estimate of a normal distribution's standard deviation:
/// 1 / Φ⁻¹(3/4) (Rousseeuw & Croux 1993).
pub const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;

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

/// A sliding window over a series: exact order statistics and moments, O(log n) a value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Saved", try_from = "Saved")]
pub struct Window {
    capacity: u32,
    next: u32,
    order: OrderStatistics,
    moments: Moments,
}

impl Window {
    /// A window of the last `capacity` values (1 to [`MAX_POINTS`]; others are clamped).
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let capacity = capacity.clamp(1, MAX_POINTS);
        Self {
            capacity,
            next: 0,
            order: OrderStatistics::default(),
            moments: Moments::new(capacity),
        }
    }

    /// Takes a value in and, when full, lets the oldest one go. `false` if the value is no usable number.
    pub fn push(&mut self, value: f64) -> bool {
        // Also refuses NaN.
        if !usable(value) {
            return false;
        }
        let slot = self.next;
        if self.is_full() {
            self.order.remove(slot);
        }
        self.order.insert(slot, value);
        self.moments.refresh(slot, &self.order);
        self.next = (slot + 1) % self.capacity;
        true
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// How many values are held.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.order.len()
    }

    /// Whether no value is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many values can be held.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Whether the next value pushes one out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    /// The values, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = f64> + '_ {
        let (len, first) = (self.len(), if self.is_full() { self.next } else { 0 });
        (0..len).map(move |i| self.order.value((first + i) % self.capacity))
    }

    /// The newest value.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.iter().next_back()
    }

    /// Middle value.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.order.median()
    }

    /// Median absolute deviation from the median, unscaled.
    #[must_use]
    pub fn mad(&self) -> Option<f64> {
        self.order.median_distance(self.order.median()?)
    }

    /// Percentile by linear interpolation, `percent` in 0..=100.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        self.order.quantile(percent / 100.0)
    }

    /// The share of values smaller than `value` (ties count half), in 0..=1.
    #[must_use]
    pub fn rank_of(&self, value: f64) -> Option<f64> {
        let n = self.len();
        (n > 0).then(|| {
            let (below, upto) = (self.order.rank(value), self.order.rank(value.next_up()));
            0.5 * f64::from(below + upto) / f64::from(n)
        })
    }

    /// Arithmetic mean.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        self.moments.mean()
    }

    /// Sample standard deviation, from two values on.
    #[must_use]
    pub fn stdev(&self) -> Option<f64> {
        self.moments.stdev()
    }

    /// Smallest value.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.order.select(0)
    }

    /// Largest value.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.order.select(self.len().checked_sub(1)?)
    }

    /// A robust standard deviation: from the MAD; where more than half of the values are equal, the 5th to 95th
    /// percentile range of a normal distribution instead; at last the plain standard deviation.
    #[must_use]
    pub fn spread(&self) -> Option<f64> {
        /// Φ⁻¹(0.95) - Φ⁻¹(0.05).
        const RANGE_90: f64 = 3.289_707;
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
        Some(Statistics {
            count: self.len(),
            mean: self.mean()?,
            stdev: self.stdev().unwrap_or(0.0),
            min: self.min()?,
            median: self.median()?,
            mad: self.mad()?,
            p95: self.percentile(95.0)?,
            p99: self.percentile(99.0)?,
            max: self.max()?,
        })
    }
}

/// Whether a value can be counted with: finite and of a magnitude whose square is finite.
#[must_use]
pub fn usable(value: f64) -> bool {
    value.abs() <= MAX_MAGNITUDE
}

#[derive(Serialize, Deserialize)]
struct Saved {
    capacity: u32,
    values: Vec<f64>,
}

impl From<Window> for Saved {
    fn from(window: Window) -> Self {
        Self {
            capacity: window.capacity,
            values: window.iter().collect(),
        }
    }
}

impl TryFrom<Saved> for Window {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        let Saved { capacity, values } = saved;
        if !(1..=MAX_POINTS).contains(&capacity) || values.len() > capacity as usize {
            return Err(format!(
                "{} values for a window of {capacity}",
                values.len()
            ));
        }
        let mut window = Self::new(capacity);
        for value in values {
            if !window.push(value) {
                return Err(format!("{value} is no usable value"));
            }
        }
        Ok(window)
    }
}
