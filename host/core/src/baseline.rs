//! What is normal for a series: exact statistics over its latest values.
//!
//! Pure. Which values may be learned from is said by whoever judges them; here they are only kept.

mod moments;
mod order_statistics;
mod sorted_queue;
mod window;

pub use sorted_queue::SortedQueue;
pub use window::{MAD_TO_SIGMA, RANGE_90, Rank, Statistics, Window};

use serde::{Deserialize, Serialize};

use crate::model::BaselineSummary;

/// The longest window: what the specification keeps per series.
pub const MAX_POINTS: u32 = 10_000;

/// Values beyond this magnitude are ignored like non-finite ones: their squares would overflow.
const MAX_MAGNITUDE: f64 = 1e150;

/// The value, when it can be counted with: no NaN, and of a magnitude whose square is finite. The
/// two zeros are equal, but some orders and formats tell them apart; the one above is taken.
#[must_use]
pub fn usable(value: f64) -> Option<f64> {
    (value.abs() <= MAX_MAGNITUDE).then_some(value + 0.0)
}

/// What is normal for one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Baseline {
    values: Window,
    established_after: usize,
}

impl Baseline {
    /// An empty one over the latest `window` values, [`MAX_POINTS`] at most; it may be judged by
    /// once it has seen `established_after`.
    pub fn new(window: usize, established_after: usize) -> Self {
        let window = u32::try_from(window).unwrap_or(MAX_POINTS);
        Self {
            values: Window::new(window),
            established_after,
        }
    }

    /// Learns a value. One that is not finite is left out.
    pub fn record(&mut self, value: f64) {
        self.values.push(value);
    }

    /// The values learned, with their statistics.
    pub fn values(&self) -> &Window {
        &self.values
    }

    /// What is normal; none before the first value.
    pub fn summary(&self) -> Option<BaselineSummary> {
        let all = self.values.statistics()?;
        Some(BaselineSummary {
            count: all.count,
            established: all.count as usize >= self.established_after,
            median: all.median,
            mad: all.mad,
            mean: all.mean,
            stdev: all.stdev,
            p50: all.median,
            p95: all.p95,
            p99: all.p99,
            min: all.min,
            max: all.max,
        })
    }
}
