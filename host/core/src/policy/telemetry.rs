//! What the import `telemetry` answers from. Never a clock, never a live query: the host's state
//! at the event, so that a replay answers the same.

use std::any::Any;
use std::collections::BTreeMap;

use crate::model::{BaselineSummary, Point};

/// The series of one target, as they stand at the event.
pub trait Telemetry: Any + Send {
    /// The latest point of a series; none when there is no such series.
    fn latest(&self, series: &str) -> Option<Point>;

    /// What is normal for a series; none when there is no such series.
    fn baseline(&self, series: &str) -> Option<BaselineSummary>;

    /// The latest points of a series, oldest first, `limit` at most. The sandbox never asks for
    /// more than [`super::RECENT_POINTS`] and cuts off what is above.
    fn recent(&self, series: &str, limit: usize) -> Vec<Point>;
}

/// No series at all, for what is asked outside of a decision.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTelemetry;

impl Telemetry for NoTelemetry {
    fn latest(&self, _series: &str) -> Option<Point> {
        None
    }

    fn baseline(&self, _series: &str) -> Option<BaselineSummary> {
        None
    }

    fn recent(&self, _series: &str, _limit: usize) -> Vec<Point> {
        Vec::new()
    }
}

/// What telemetry held at one event, for a policy that is asked later and elsewhere. As many series
/// and points as a policy could have read, no more.
#[derive(Debug, Clone, Default)]
pub struct TelemetryCopy {
    series: BTreeMap<String, SeriesCopy>,
}

#[derive(Debug, Clone)]
struct SeriesCopy {
    latest: Option<Point>,
    baseline: Option<BaselineSummary>,
    recent: Vec<Point>,
}

impl TelemetryCopy {
    /// A copy of these series.
    pub fn of<'a>(telemetry: &impl Telemetry, series: impl IntoIterator<Item = &'a str>) -> Self {
        let copy = |name: &str| SeriesCopy {
            latest: telemetry.latest(name),
            baseline: telemetry.baseline(name),
            recent: telemetry.recent(name, super::RECENT_POINTS),
        };
        let series = series.into_iter();
        Self {
            series: series.map(|name| (name.to_owned(), copy(name))).collect(),
        }
    }
}

impl Telemetry for TelemetryCopy {
    fn latest(&self, series: &str) -> Option<Point> {
        self.series.get(series)?.latest
    }

    fn baseline(&self, series: &str) -> Option<BaselineSummary> {
        self.series.get(series)?.baseline
    }

    fn recent(&self, series: &str, limit: usize) -> Vec<Point> {
        self.series.get(series).map_or_else(Vec::new, |series| {
            let skip = series.recent.len().saturating_sub(limit);
            series.recent[skip..].to_vec()
        })
    }
}
