//! What is normal for one series in the long run, and which values it may be learned from.

use serde::{Deserialize, Serialize};

use crate::baseline::{Baseline, Window};
use crate::model::BaselineSummary;

/// Robust deviations beyond which a value is not learned from, for a time. The specification's 3
/// unscaled MAD are 2 standard deviations of a normal distribution, and 5 % of all healthy values;
/// beyond five are 6 in ten million.
pub(super) const DEVIATIONS: f64 = 5.0;

/// Values in a row that were not learned from, after which they are all the same: the level has
/// changed for good.
pub(super) const ACCEPT_AFTER: u32 = 300;

/// The least deviation that counts as one, as a share of what the values are usually large: a series
/// that never moves has no spread, and its first small step is not an incident.
const LEAST_SHARE: f64 = 0.01;

/// Learned values after which the bounds are taken from the baseline anew.
const REFRESH_AFTER: u32 = 32;

/// The specification's bound for a 99th percentile: twice its baseline (section 1.2 B).
const P99_FACTOR: f64 = 2.0;

/// What is normal, ready to hold values against: one comparison each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    /// The middle.
    pub median: f64,
    /// A robust standard deviation, never zero.
    pub spread: f64,
    /// Where the middle 95 % of the values begin.
    pub low: f64,
    /// Where they end.
    pub high: f64,
    /// Values above this are anomalous.
    pub upper: f64,
    /// Values below this are anomalous.
    pub lower: f64,
    /// The time that the baseline spans, milliseconds.
    pub span_ms: u64,
}

impl Normal {
    fn of(values: &Window, is_p99: bool, span_ms: u64) -> Option<Self> {
        let median = values.median()?;
        let [low, high] = values.percentiles(&[2.5, 97.5])?;
        // Of a series that was hardly ever anything but zero, only its unit is known.
        let sizes = [median.abs(), low.abs().max(high.abs())];
        let size = sizes.into_iter().find(|size| *size > 0.0).unwrap_or(1.0);
        let least = LEAST_SHARE * size;
        let spread = values.spread()?.max(least);
        let beyond = median + DEVIATIONS * spread;
        Some(Self {
            median,
            spread,
            low,
            high,
            upper: if is_p99 {
                beyond.min(P99_FACTOR * median.max(least))
            } else {
                beyond
            },
            lower: median - DEVIATIONS * spread,
            span_ms,
        })
    }

    /// Robust standard deviations from the middle, below zero when the value is too low.
    pub fn deviation(&self, value: f64) -> f64 {
        (value - self.median) / self.spread
    }

    /// The distance from the middle as a share of the distance to the bound on that side: 1 at the
    /// bound, without an upper end.
    pub fn beyond(&self, value: f64) -> f64 {
        let bound = if value > self.median {
            self.upper
        } else {
            self.lower
        };
        (value - self.median) / (bound - self.median)
    }

    /// Whether a single value is anomalous: level 1 of the specification's section 1.1, for each
    /// operation on the hot path.
    pub fn is_anomalous(&self, value: f64) -> bool {
        value > self.upper || value < self.lower
    }
}

/// The baseline of one series, kept clear of incidents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Learned {
    baseline: Baseline,
    established_after: usize,
    is_p99: bool,
    normal: Option<Normal>,
    since_refresh: u32,
    /// Values in a row that were not learned from.
    unlearned: u32,
    values: u64,
    first_ms: Option<u64>,
}

impl Learned {
    pub(super) fn new(window: usize, established_after: usize, is_p99: bool) -> Self {
        Self {
            baseline: Baseline::new(window, established_after),
            established_after,
            is_p99,
            normal: None,
            since_refresh: 0,
            unlearned: 0,
            values: 0,
            first_ms: None,
        }
    }

    pub(super) fn summary(&self) -> Option<BaselineSummary> {
        self.baseline.summary()
    }

    pub(super) fn normal(&self) -> Option<&Normal> {
        self.normal.as_ref()
    }

    /// How far a value is from normal, in robust standard deviations; none before there is enough.
    /// Then the value is learned, unless it is far out and has not been so for long.
    pub(super) fn step(&mut self, at_ms: u64, value: f64) -> Option<f64> {
        let deviation = self.normal.map(|normal| normal.deviation(value));
        if deviation.is_some_and(|d| d.abs() > DEVIATIONS) && self.unlearned < ACCEPT_AFTER {
            self.unlearned += 1;
            return deviation;
        }
        // Once a new level is accepted, its values are learned without another wait.
        if deviation.is_none_or(|d| d.abs() <= DEVIATIONS) {
            self.unlearned = 0;
        }
        self.baseline.record(value);
        self.values += 1;
        let first_ms = *self.first_ms.get_or_insert(at_ms);
        self.since_refresh += 1;
        let held = self.baseline.values().len();
        if held as usize >= self.established_after
            && (self.normal.is_none() || self.since_refresh >= REFRESH_AFTER)
        {
            self.since_refresh = 0;
            // The share of all the time that lies within the window.
            let all_ms = u128::from(at_ms.saturating_sub(first_ms));
            let span_ms = all_ms * u128::from(held) / u128::from(self.values);
            let span_ms = u64::try_from(span_ms).unwrap_or(u64::MAX);
            self.normal = Normal::of(self.baseline.values(), self.is_p99, span_ms);
        }
        deviation
    }
}
