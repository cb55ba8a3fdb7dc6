//! The host's measurements, as they stand at the event.
//!
//! Natively there is no host: the answers come from [`testing::set_series`](crate::testing::set_series).

pub use crate::generated::dbmedic::policy::telemetry::{BaselineSummary, Point};

#[cfg(target_arch = "wasm32")]
use crate::generated::dbmedic::policy::telemetry as source;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing as source;

/// The latest value of a series of this target; none when there is no such series.
pub fn latest(series: &str) -> Option<Point> {
    source::latest(series)
}

/// What is normal for a series of this target; none when there is no such series.
pub fn baseline(series: &str) -> Option<BaselineSummary> {
    source::baseline(series)
}

/// The latest points of a series of this target, oldest first, `limit` and 512 at most.
pub fn recent(series: &str, limit: u32) -> Vec<Point> {
    source::recent(series, limit)
}
