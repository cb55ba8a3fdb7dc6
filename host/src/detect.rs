//! From values to evidence: whether the metrics of one target left their normal range, together.
//!
//! A pure stage. It says how far something is from normal; it never says what is wrong.
//!
//! A [`Detector`] watches any number of series. Each is named once and then known by a number, so
//! that [`Detector::step`] handles no text while all is normal. A row may have gaps.

mod anomaly;
mod constraints;

use std::collections::BTreeMap;

pub use anomaly::add_score;
pub use constraints::ConstraintTable;

use crate::baseline::Baseline;
use crate::model::{Anomaly, BaselineSummary};

/// Series that one detector watches at most; later ones are not taken up.
pub const SERIES_LIMIT: usize = 1024;

/// Robust deviations from which on a value counts as anomalous. The specification's 3 unscaled MAD
/// are 2 standard deviations of a normal distribution: an alarm every 22 samples on healthy data.
/// Five is one in 1.7 million.
const DEVIATIONS: f64 = 5.0;

/// Scales a MAD to the standard deviation of a normal distribution: 1 / quantile(3/4).
const MAD_TO_SIGMA: f64 = 1.4826;

/// The least deviation that counts, as a share of the median (of 1 when that is smaller): a series
/// that never moves has a MAD of zero, and its first small step is not an incident.
const LEAST_SHARE: f64 = 0.05;

/// Anomalous values in a row after which the baseline learns from them all the same: the level has
/// changed for good.
const ACCEPT_AFTER: u32 = 300;

/// What a detector needs to know beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectOptions {
    /// Values of one series that its baseline rests on at most.
    pub window: usize,
    /// Rows from which on the detector judges; values from which on a series counts.
    pub established_after: usize,
}

impl Default for DetectOptions {
    /// The specification's window, and the least that a median and a spread can rest on.
    fn default() -> Self {
        Self {
            window: 10_000,
            established_after: 30,
        }
    }
}

/// What a row came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// How anomalous the row is: 0 is certainly normal, 1 certainly not; half at the threshold.
    pub score: f64,
    /// Whether an anomaly lasts at this row.
    pub alarm: bool,
    /// Whether it began at this row.
    pub onset: bool,
    /// Whether enough was seen to judge by; there is no alarm before.
    pub established: bool,
    /// The evidence, on each row on which `alarm` is set.
    pub anomaly: Option<Anomaly>,
}

/// One series.
#[derive(Debug, Clone)]
struct Watched {
    name: String,
    baseline: Baseline,
    /// Anomalous values in a row.
    in_a_row: u32,
}

/// Watches the series of one target or one table.
#[derive(Debug, Clone)]
pub struct Detector {
    options: DetectOptions,
    ids: BTreeMap<String, usize>,
    series: Vec<Watched>,
    /// By series: signed robust deviations of the last row.
    deviations: Vec<Option<f64>>,
    rows: usize,
    alarm: bool,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new(DetectOptions::default())
    }
}

impl Detector {
    /// Makes one that has seen nothing.
    pub fn new(options: DetectOptions) -> Self {
        Self {
            options,
            ids: BTreeMap::new(),
            series: Vec::new(),
            deviations: Vec::new(),
            rows: 0,
            alarm: false,
        }
    }

    /// The number by which a series is known from now on: its place in the rows. None beyond
    /// [`SERIES_LIMIT`].
    pub fn series(&mut self, name: &str) -> Option<usize> {
        if let Some(&id) = self.ids.get(name) {
            return Some(id);
        }
        let id = self.series.len();
        if id >= SERIES_LIMIT {
            return None;
        }
        self.ids.insert(name.to_owned(), id);
        self.series.push(Watched {
            name: name.to_owned(),
            baseline: Baseline::new(self.options.window, self.options.established_after),
            in_a_row: 0,
        });
        self.deviations.push(None);
        Some(id)
    }

    /// The name of a series.
    pub fn name(&self, id: usize) -> Option<&str> {
        self.series.get(id).map(|watched| watched.name.as_str())
    }

    /// What is normal for a series; none before its first value.
    pub fn baseline(&self, name: &str) -> Option<BaselineSummary> {
        self.series[*self.ids.get(name)?].baseline.summary()
    }

    /// How far each value of the last row is from what is normal for its series, in robust standard
    /// deviations, below zero when it is too low; by the series' number. None for a gap, and for a
    /// series that has not been seen often enough.
    pub fn deviations(&self) -> &[Option<f64>] {
        &self.deviations
    }

    /// Judges a row, then learns from it. `row` holds the values by the series' number; `None`, a
    /// value that is not finite and a row that is too short are gaps. Times rise, milliseconds.
    pub fn step(&mut self, at_ms: u64, row: &[Option<f64>]) -> Judged {
        self.rows = self.rows.saturating_add(1);
        let mut strongest = 0.0_f64;
        for (id, watched) in self.series.iter_mut().enumerate() {
            self.deviations[id] = None;
            let Some(value) = row.get(id).copied().flatten().filter(|v| v.is_finite()) else {
                continue;
            };
            let normal = watched.baseline.summary().filter(|b| b.established);
            let deviation = normal.map(|baseline| deviation(value, &baseline));
            self.deviations[id] = deviation;
            let magnitude = deviation.map_or(0.0, f64::abs);
            strongest = strongest.max(magnitude);
            if magnitude > DEVIATIONS {
                watched.in_a_row = watched.in_a_row.saturating_add(1);
            } else {
                watched.in_a_row = 0;
            }
            if watched.in_a_row == 0 || watched.in_a_row > ACCEPT_AFTER {
                watched.baseline.record(value);
            }
        }
        let was = std::mem::replace(&mut self.alarm, strongest > DEVIATIONS);
        Judged {
            // Half at the threshold, then on towards one: 4 and 40 deviations do not look alike.
            score: strongest / (strongest + DEVIATIONS),
            alarm: self.alarm,
            onset: self.alarm && !was,
            established: self.rows > self.options.established_after,
            anomaly: self.alarm.then(|| self.anomaly(at_ms, row)),
        }
    }

    fn anomaly(&self, at_ms: u64, row: &[Option<f64>]) -> Anomaly {
        let mut carriers: Vec<anomaly::Carrier> = self
            .series
            .iter()
            .enumerate()
            .filter_map(|(id, watched)| {
                let deviation = self.deviations[id].filter(|d| d.abs() > DEVIATIONS)?;
                Some(anomaly::Carrier {
                    name: &watched.name,
                    value: (*row.get(id)?)?,
                    deviation,
                    normal: watched.baseline.summary()?,
                })
            })
            .collect();
        carriers.sort_by(|a, b| b.deviation.abs().total_cmp(&a.deviation.abs()));
        anomaly::of(at_ms, &carriers)
    }
}

/// Distance from the median in robust standard deviations, signed.
fn deviation(value: f64, baseline: &BaselineSummary) -> f64 {
    let spread = (MAD_TO_SIGMA * baseline.mad)
        .max(LEAST_SHARE * baseline.median.abs().max(1.0) / DEVIATIONS);
    (value - baseline.median) / spread
}

#[cfg(test)]
mod tests;
