//! The measured series of one target: recent points and what is normal for each.
//!
//! Bounded whatever comes in: so many series, so many points of each. Values that the detector
//! holds for anomalous are kept as points but not learned from.

use std::collections::{BTreeMap, VecDeque};

use crate::baseline::Baseline;
use crate::model::{BaselineSummary, Point};
use crate::policy::{RECENT_POINTS, Telemetry, TelemetryCopy};

/// Series of one target; later ones are not taken up.
pub const SERIES_LIMIT: usize = 1024;

/// One series.
#[derive(Debug, Clone)]
pub struct Series {
    recent: VecDeque<Point>,
    baseline: Baseline,
}

impl Series {
    /// What is normal; none before the first value was learned.
    pub fn baseline(&self) -> Option<BaselineSummary> {
        self.baseline.summary()
    }

    /// The latest point.
    pub fn latest(&self) -> Option<Point> {
        self.recent.back().copied()
    }
}

/// All series of one target, by name.
#[derive(Debug, Clone, Default)]
pub struct SeriesTable {
    series: BTreeMap<String, Series>,
    window: usize,
    established_after: usize,
}

impl SeriesTable {
    /// An empty table. `window` is the number of values that a baseline rests on at most,
    /// `established_after` the number from which on it may be judged by.
    pub fn new(window: usize, established_after: usize) -> Self {
        Self {
            series: BTreeMap::new(),
            window,
            established_after,
        }
    }

    /// The series of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Series> {
        self.series.get(name)
    }

    /// Takes up a point; `learn` says whether the baseline may learn from it. A value that is not
    /// finite, and a series beyond [`SERIES_LIMIT`], are left out.
    pub fn record(&mut self, name: &str, point: Point, learn: bool) {
        if !point.value.is_finite() {
            return;
        }
        if !self.series.contains_key(name) {
            if self.series.len() >= SERIES_LIMIT {
                return;
            }
            let series = Series {
                recent: VecDeque::new(),
                baseline: Baseline::new(self.window, self.established_after),
            };
            self.series.insert(name.to_owned(), series);
        }
        let Some(series) = self.series.get_mut(name) else {
            return;
        };
        if series.recent.len() == RECENT_POINTS {
            series.recent.pop_front();
        }
        series.recent.push_back(point);
        if learn {
            series.baseline.record(point.value);
        }
    }

    /// The latest `limit` points, oldest first.
    pub fn recent_points(&self, name: &str, limit: usize) -> Vec<Point> {
        self.series.get(name).map_or_else(Vec::new, |series| {
            let skip = series.recent.len().saturating_sub(limit);
            series.recent.iter().skip(skip).copied().collect()
        })
    }

    /// What a policy could read of it now, to be read later.
    pub fn copy(&self) -> TelemetryCopy {
        TelemetryCopy::of(self, self.series.keys().map(String::as_str))
    }

    /// The names and latest values, at most `limit`.
    pub fn latest_points(&self, limit: usize) -> impl Iterator<Item = (&str, Point)> {
        self.series
            .iter()
            .filter_map(|(name, series)| Some((name.as_str(), series.latest()?)))
            .take(limit)
    }
}

impl Telemetry for SeriesTable {
    fn latest(&self, series: &str) -> Option<Point> {
        self.get(series)?.latest()
    }

    fn baseline(&self, series: &str) -> Option<BaselineSummary> {
        self.get(series)?.baseline()
    }

    fn recent(&self, series: &str, limit: usize) -> Vec<Point> {
        self.recent_points(series, limit)
    }
}
