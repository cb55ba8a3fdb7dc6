//! The measured series of one target: the recent points of each.
//!
//! Bounded whatever comes in: so many series, so many points of each.

use std::collections::{BTreeMap, VecDeque};

use crate::model::Point;
use crate::policy::RECENT_POINTS;

/// Series of one target; later ones are not taken up.
pub const SERIES_LIMIT: usize = 1024;

/// One series.
#[derive(Debug, Clone)]
pub struct Series {
    recent: VecDeque<Point>,
}

impl Series {
    /// The latest point.
    pub fn latest(&self) -> Option<Point> {
        self.recent.back().copied()
    }
}

/// All series of one target, by name.
#[derive(Debug, Clone, Default)]
pub struct SeriesTable {
    series: BTreeMap<String, Series>,
}

impl SeriesTable {
    /// The series of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Series> {
        self.series.get(name)
    }

    /// Takes up a point. A value that is not finite, and a series beyond [`SERIES_LIMIT`], are left
    /// out.
    pub fn record(&mut self, name: &str, point: Point) {
        if !point.value.is_finite() {
            return;
        }
        if !self.series.contains_key(name) {
            if self.series.len() >= SERIES_LIMIT {
                return;
            }
            let series = Series {
                recent: VecDeque::new(),
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
    }

    /// The latest `limit` points, oldest first.
    pub fn recent_points(&self, name: &str, limit: usize) -> Vec<Point> {
        self.series.get(name).map_or_else(Vec::new, |series| {
            let skip = series.recent.len().saturating_sub(limit);
            series.recent.iter().skip(skip).copied().collect()
        })
    }

    /// The names and latest values, at most `limit`.
    pub fn latest_points(&self, limit: usize) -> impl Iterator<Item = (&str, Point)> {
        self.series
            .iter()
            .filter_map(|(name, series)| Some((name.as_str(), series.latest()?)))
            .take(limit)
    }
}
