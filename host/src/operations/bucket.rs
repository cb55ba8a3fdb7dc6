//! What was recorded in one bucket of time, and the samples that it makes.
//!
//! Names of series: `OPERATION.QUANTITY_UNIT` for one operation, as `query.p99_ms`; the plain
//! `QUANTITY_UNIT` for all together, as `error_rate_percent`. An operation name has no dot in it.

use super::ErrorKind;
use super::histogram::Histogram;
use crate::source::{Sample, float};

/// One operation in one bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationBucket {
    /// Its name, or [`super::OTHER`].
    pub name: String,
    /// How long operations took that completed or failed.
    pub durations: Histogram,
    /// Failures, by [`ErrorKind::ALL`].
    pub errors: [u64; ErrorKind::ALL.len()],
    /// Operations of which nobody said how they ended.
    pub abandoned: u64,
    /// Completed operations above the limit that held at the time.
    pub slow: u64,
    /// Rows of completed operations.
    pub rows: u64,
    /// Bytes of completed operations.
    pub bytes: u64,
    /// The sum of the durations, nanoseconds.
    pub busy_ns: u64,
    /// Under way at the bucket's end.
    pub running: u64,
    /// Waiting at the bucket's end.
    pub waiting: u64,
}

impl OperationBucket {
    /// Operations that ended, however they did.
    pub fn ended(&self) -> u64 {
        self.durations.count() + self.abandoned
    }

    /// Slow ones among those that ended, percent; none when none did.
    pub fn slow_percent(&self) -> Option<f64> {
        percent(self.slow, self.ended())
    }

    /// Operations that failed or were abandoned.
    pub fn failed(&self) -> u64 {
        self.errors.iter().sum::<u64>() + self.abandoned
    }
}

/// What was recorded from one turn to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// When it ended, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How long it was, milliseconds; 0 when it is not known.
    pub length_ms: u64,
    /// Every operation that was ever recorded, in the order in which they were named.
    pub operations: Vec<OperationBucket>,
    /// How long operations took, all together.
    pub durations: Histogram,
    /// Under way at its end, all together.
    pub running: u64,
    /// Waiting at its end, all together.
    pub waiting: u64,
    /// How often a name was asked for beyond the bound.
    pub names_refused: u64,
}

impl Bucket {
    /// The samples for the pipeline; all finite. For each operation:
    ///
    /// | series | value |
    /// | --- | --- |
    /// | `NAME.p50_ms`, `.p95_ms`, `.p99_ms`, `.min_ms`, `.max_ms` | durations; left out when none ended |
    /// | `NAME.ops_per_s`, `.rows_per_s`, `.bytes_per_s` | throughput |
    /// | `NAME.error_rate_percent` | of those that ended; left out when none did |
    /// | `NAME.slow_percent` | of those that ended, above the limit; left out when none did |
    /// | `NAME.running_count`, `.waiting_count` | at the bucket's end |
    ///
    /// For all together `ops_per_s`, `error_rate_percent`, `p50_latency_ms`, `p95_latency_ms`,
    /// `p99_latency_ms`, `concurrent_transaction_count` (under way), `queue_depth_count` (waiting),
    /// `mean_concurrency` (by Little's law: time spent for time passed), and `errors_KIND_per_s`.
    /// Rates are left out while the bucket's length is not known.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(16 + self.operations.len() * 12);
        let mut add = |series: String, value: Option<f64>| {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                samples.push(Sample { series, value });
            }
        };
        let per_s = |count: u64| {
            (self.length_ms > 0).then(|| float(count) * 1000.0 / float(self.length_ms))
        };
        let sum = |of: fn(&OperationBucket) -> u64| self.operations.iter().map(of).sum::<u64>();

        let (ended, failed) = (sum(OperationBucket::ended), sum(OperationBucket::failed));
        add("ops_per_s".into(), per_s(ended));
        add("error_rate_percent".into(), percent(failed, ended));
        let quantiles = self.durations.quantiles([0.5, 0.95, 0.99]);
        for (index, name) in ["p50", "p95", "p99"].iter().enumerate() {
            let value = quantiles.map(|found| ms(found[index]));
            add(format!("{name}_latency_ms"), value);
        }
        add(
            "concurrent_transaction_count".into(),
            Some(float(self.running)),
        );
        add("queue_depth_count".into(), Some(float(self.waiting)));
        let busy_ms = ms(self
            .operations
            .iter()
            .fold(0, |sum, operation| sum.saturating_add(operation.busy_ns)));
        add(
            "mean_concurrency".into(),
            (self.length_ms > 0).then(|| busy_ms / float(self.length_ms)),
        );
        for kind in ErrorKind::ALL {
            let count = self
                .operations
                .iter()
                .map(|operation| operation.errors[kind as usize]);
            add(format!("errors_{}_per_s", kind.name()), per_s(count.sum()));
        }

        for operation in &self.operations {
            let mut add =
                |quantity: &str, value| add(format!("{}.{quantity}", operation.name), value);
            let durations = &operation.durations;
            let quantiles = durations.quantiles([0.5, 0.95, 0.99]);
            for (index, name) in ["p50_ms", "p95_ms", "p99_ms"].iter().enumerate() {
                add(name, quantiles.map(|found| ms(found[index])));
            }
            add("min_ms", durations.min_ns().map(ms));
            add("max_ms", durations.max_ns().map(ms));
            add("ops_per_s", per_s(operation.ended()));
            add("rows_per_s", per_s(operation.rows));
            add("bytes_per_s", per_s(operation.bytes));
            add(
                "error_rate_percent",
                percent(operation.failed(), operation.ended()),
            );
            add("slow_percent", operation.slow_percent());
            add("running_count", Some(float(operation.running)));
            add("waiting_count", Some(float(operation.waiting)));
        }
        samples
    }
}

/// A part of a whole; none when the whole is nothing.
fn percent(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| float(part) * 100.0 / float(of))
}

/// Nanoseconds as milliseconds.
fn ms(duration_ns: u64) -> f64 {
    float(duration_ns) / 1e6
}
