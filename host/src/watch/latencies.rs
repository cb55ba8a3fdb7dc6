//! The latest probe transactions, and the series that they give. Pure.

use std::collections::VecDeque;

use crate::source::Sample;
use crate::sqlite::probe_transaction::ProbeTransaction;

/// Probe transactions that the series rest on at most.
const MOST: usize = 100;

/// The latest probe transactions.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    latest: VecDeque<(f64, bool)>,
}

impl Latencies {
    /// Adds one.
    pub(super) fn add(&mut self, probe: &ProbeTransaction) {
        if self.latest.len() == MOST {
            self.latest.pop_front();
        }
        let took_ms = std::time::Duration::from_micros(probe.took_us).as_secs_f64() * 1000.0;
        self.latest.push_back((took_ms, probe.failed.is_some()));
    }

    /// | series | value |
    /// | --- | --- |
    /// | `p99_latency_ms` | the 99th percentile (nearest rank) of what they took |
    /// | `error_rate_percent` | the share that failed |
    ///
    /// None before the first.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let mut took: Vec<f64> = self.latest.iter().map(|(took_ms, _)| *took_ms).collect();
        took.sort_by(f64::total_cmp);
        let rank = (took.len() * 99).div_ceil(100);
        let Some(p99) = rank.checked_sub(1).and_then(|at| took.get(at)) else {
            return Vec::new();
        };
        let failed = self.latest.iter().filter(|(_, failed)| *failed).count();
        let percent = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * 100.0;
        let all = f64::from(u32::try_from(took.len()).unwrap_or(u32::MAX));
        let sample = |series: &str, value| Sample {
            series: series.to_owned(),
            value,
        };
        vec![
            sample("p99_latency_ms", *p99),
            sample("error_rate_percent", percent(failed) / all),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(took_us: u64, failed: bool) -> ProbeTransaction {
        ProbeTransaction {
            took_us,
            failed: failed.then(|| "database is locked".to_owned()),
        }
    }

    fn values(latencies: &Latencies) -> Vec<f64> {
        let samples = latencies.samples();
        samples.iter().map(|sample| sample.value).collect()
    }

    #[test]
    fn the_latest_hundred_count() {
        let mut latencies = Latencies::default();
        assert!(latencies.samples().is_empty());
        latencies.add(&probe(500, false));
        assert_eq!(values(&latencies), [0.5, 0.0]);
        latencies.add(&probe(1_000_000, true));
        assert_eq!(values(&latencies), [1000.0, 50.0]);
        for _ in 0..98 {
            latencies.add(&probe(2_000, false));
        }
        // One of a hundred is above the 99th percentile.
        assert_eq!(values(&latencies), [2.0, 1.0]);
        for _ in 0..2 {
            latencies.add(&probe(3_000, false));
        }
        assert_eq!(values(&latencies), [3.0, 0.0]);
    }
}
