//! What is normal for a series: exact statistics over its latest values.
//!
//! Pure. Which values may be learned from is said by whoever judges them; here they are only kept.

mod moments;
mod order_statistics;
mod window;

pub use window::{MAD_TO_SIGMA, MAX_POINTS, RANGE_90, Rank, Statistics, Window, usable};

use serde::{Deserialize, Serialize};

use crate::model::BaselineSummary;

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
