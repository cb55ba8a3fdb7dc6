//! The last so many values of a series, in the order in which they came and in the order of their size.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::order_statistics::OrderStatistics;
use super::{MAX_POINTS, usable};

/// A sliding window with exact order statistics alone, O(log n) a value: for whoever needs no sums.
///
/// Memory is taken as values come: 16 bytes for each that is held, and room for as many again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Saved", try_from = "Saved")]
pub struct SortedQueue {
    capacity: u32,
    values: VecDeque<f64>,
    order: OrderStatistics,
}

impl SortedQueue {
    /// One of the last `capacity` values (1 to [`MAX_POINTS`]; others are clamped).
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self {
            capacity: capacity.clamp(1, MAX_POINTS),
            values: VecDeque::new(),
            order: OrderStatistics::default(),
        }
    }

    /// Takes a value in and, when full, lets the oldest one go. `false` if the value is no usable number.
    pub fn push(&mut self, value: f64) -> bool {
        let value = usable(value);
        if let Some(value) = value {
            self.put(value);
        }
        value.is_some()
    }

    /// As [`Self::push`], of a value that is known to be usable.
    pub(super) fn put(&mut self, value: f64) {
        if self.is_full() {
            if let Some(oldest) = self.values.pop_front() {
                self.order.replace(oldest, value);
            }
        } else {
            if self.values.len() == self.values.capacity() {
                // Doubled, but never beyond what can be held.
                let room = self.capacity - self.len();
                self.values
                    .reserve_exact(self.len().max(4).min(room) as usize);
            }
            self.order.insert(value);
        }
        self.values.push_back(value);
    }

    /// How many values are held.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.order.len()
    }

    /// Whether no value is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
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

    /// Middle value.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.order.quantile(0.5)
    }

    /// The middle value and the median absolute deviation from it, unscaled, at the price of the second.
    #[must_use]
    pub fn median_and_mad(&self) -> Option<(f64, f64)> {
        let median = self.median()?;
        Some((median, self.order.median_distance(median)?))
    }

    /// Percentile by linear interpolation, `percent` in 0..=100.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        self.order.quantile(percent / 100.0)
    }

    /// The values, oldest first.
    pub(super) fn values(&self) -> &VecDeque<f64> {
        &self.values
    }

    /// The values by their size.
    pub(super) fn order(&self) -> &OrderStatistics {
        &self.order
    }
}

/// What a queue is restored from, exactly: the sorted order follows from the values.
#[derive(Serialize, Deserialize)]
struct Saved {
    capacity: u32,
    values: VecDeque<f64>,
}

impl From<SortedQueue> for Saved {
    fn from(queue: SortedQueue) -> Self {
        Self {
            capacity: queue.capacity,
            values: queue.values,
        }
    }
}

impl TryFrom<Saved> for SortedQueue {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        let mut queue = Self::new(saved.capacity);
        let values = saved.values.len();
        if queue.capacity != saved.capacity || values > saved.capacity as usize {
            return Err(format!(
                "{values} values for a window of {}",
                saved.capacity
            ));
        }
        for value in saved.values {
            if !queue.push(value) {
                return Err(format!("{value} is no usable value"));
            }
        }
        Ok(queue)
    }
}
