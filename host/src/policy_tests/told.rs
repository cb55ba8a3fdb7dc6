//! What telemetry answers in a case: the points and baselines that the case gives, as far as they lie in
//! the past.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BaselineGiven, SeriesGiven};
use crate::baseline::Baseline;
use crate::model::{BaselineSummary, Metric, Point};
use crate::policy::{RECENT_POINTS, Telemetry};

/// Points that a computed baseline rests on, at most, and from how many it counts: as the host's default.
const WINDOW: usize = 1_000;
const ESTABLISHED_AFTER: usize = 30;

/// The series of a case at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    series: BTreeMap<String, Series>,
}

#[derive(Debug, Clone)]
struct Series {
    points: Arc<Vec<Point>>,
    /// How many of them lie in the past.
    seen: usize,
    baseline: BaselineGiven,
}

impl Told {
    /// The samples of a whole case, from its beginning on.
    pub(super) fn samples(
        samples: &[(String, Vec<Option<f64>>)],
        begin_ms: u64,
        every_ms: u64,
    ) -> Self {
        let series = samples.iter().map(|(name, values)| {
            let at_ms = (0..).map(|number: u64| begin_ms + number * every_ms);
            let points = values.iter().zip(at_ms);
            let points =
                points.filter_map(|(value, at_ms)| value.map(|value| Point { at_ms, value }));
            let series = Series {
                points: Arc::new(points.collect()),
                seen: 0,
                baseline: BaselineGiven::FromPoints,
            };
            (name.clone(), series)
        });
        Self {
            series: series.collect(),
        }
    }

    /// Lets time pass.
    pub(super) fn up_to(&mut self, now_ms: u64) {
        for series in self.series.values_mut() {
            let ahead = &series.points[series.seen..];
            series.seen += ahead
                .iter()
                .take_while(|point| point.at_ms <= now_ms)
                .count();
        }
    }

    /// Takes up what an event says of a series, in the place of what was known of it.
    pub(super) fn take(&mut self, given: &SeriesGiven, now_ms: u64) {
        let points = given.points.iter();
        let points = points.map(|(ago_ms, value)| Point {
            at_ms: now_ms.saturating_sub(*ago_ms),
            value: *value,
        });
        let points: Vec<Point> = points.collect();
        let series = Series {
            seen: points.len(),
            points: Arc::new(points),
            baseline: given.baseline,
        };
        self.series.insert(given.name.clone(), series);
    }

    /// The latest value of each series of samples.
    pub(super) fn metrics(&self) -> impl Iterator<Item = Metric> {
        let samples = self.series.iter();
        let samples =
            samples.filter(|(_, series)| matches!(series.baseline, BaselineGiven::FromPoints));
        samples.filter_map(|(name, series)| {
            let value = series.past().last()?.value;
            Some(Metric {
                name: name.clone(),
                value,
            })
        })
    }
}

impl Series {
    fn past(&self) -> &[Point] {
        &self.points[..self.seen]
    }
}

impl Telemetry for Told {
    fn latest(&self, series: &str) -> Option<Point> {
        self.series.get(series)?.past().last().copied()
    }

    fn baseline(&self, series: &str) -> Option<BaselineSummary> {
        let series = self.series.get(series)?;
        match series.baseline {
            BaselineGiven::None => None,
            BaselineGiven::Is(summary) => Some(summary),
            BaselineGiven::FromPoints => {
                let mut baseline = Baseline::new(WINDOW, ESTABLISHED_AFTER);
                let past = series.past();
                for point in &past[past.len().saturating_sub(WINDOW)..] {
                    baseline.record(point.value);
                }
                baseline.summary()
            }
        }
    }

    fn recent(&self, series: &str, limit: usize) -> Vec<Point> {
        let Some(series) = self.series.get(series) else {
            return Vec::new();
        };
        let past = series.past();
        past[past.len().saturating_sub(limit.min(RECENT_POINTS))..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_the_future() {
        let samples = [("a".to_owned(), vec![Some(1.0), None, Some(3.0)])];
        let mut told = Told::samples(&samples, 100, 10);
        assert_eq!(told.latest("a"), None);
        told.up_to(110);
        assert_eq!(told.recent("a", 1), told.recent("a", 9));
        told.up_to(120);
        let values: Vec<f64> = told
            .recent("a", 9)
            .iter()
            .map(|point| point.value)
            .collect();
        assert_eq!(values, [1.0, 3.0]);
        assert_eq!(told.recent("a", 1).len(), 1);
        assert_eq!(told.latest("b"), None);
        assert_eq!(told.metrics().count(), 1);
        assert_eq!(told.baseline("a").unwrap().count, 2);
        let given = SeriesGiven {
            name: "a".into(),
            points: vec![(5, 7.0), (0, 8.0)],
            baseline: BaselineGiven::None,
        };
        told.take(&given, 200);
        assert_eq!(
            told.latest("a").unwrap(),
            Point {
                at_ms: 200,
                value: 8.0
            }
        );
        assert_eq!(told.recent("a", 2)[0].at_ms, 195);
        assert_eq!(told.baseline("a"), None);
    }
}
