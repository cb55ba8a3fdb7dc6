//! What the import `telemetry` answers from. Never a clock, never a live query: the host's state
//! at the event, so that a replay answers the same.

use std::any::Any;

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
