//! What is counted of a policy: decisions, failures, time, memory, fuel. Bounded, whatever the
//! number of decisions. It never changes a decision.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Decision;

/// Shortest and longest time that is told apart, nanoseconds: 128 ns to ten minutes, the longest
/// deadline. With two digits that makes some 30 KiB for each policy.
const SHORTEST_NS: u64 = 128;
const LONGEST_NS: u64 = 600_000_000_000;
const DIGITS: u8 = 2;

/// How a policy has done since it was loaded with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its component, hex.
    pub digest: String,
    /// Times that it was asked.
    pub decisions: u64,
    /// Its failures by [`super::PolicyFailure::rule`]; those that never happened are not named.
    pub failures: BTreeMap<String, u64>,
    /// Half of the decisions took no longer, microseconds.
    pub decide_p50_us: f64,
    /// 99 of 100 decisions took no longer, microseconds.
    pub decide_p99_us: f64,
    /// The longest decision, microseconds.
    pub decide_max_us: f64,
    /// The most linear memory that one instance had, bytes.
    pub memory_max_bytes: u64,
    /// The most fuel that one decision used; none where fuel is not counted.
    pub fuel_max: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Statistics {
    decisions: u64,
    failures: BTreeMap<&'static str, u64>,
    decide_ns: Histogram<u64>,
    memory_max_bytes: u64,
    fuel_max: Option<u64>,
}

impl Statistics {
    pub(super) fn new() -> Self {
        Self {
            decisions: 0,
            failures: BTreeMap::new(),
            decide_ns: Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, DIGITS)
                .unwrap_or_else(|_| unreachable!("the bounds are constants that it takes")),
            memory_max_bytes: 0,
            fuel_max: None,
        }
    }

    pub(super) fn note(&mut self, decision: &Decision) {
        self.decisions += 1;
        if let Some(failure) = &decision.failure {
            *self.failures.entry(failure.rule()).or_default() += 1;
        }
        let nanoseconds = u64::try_from(decision.duration.as_nanos()).unwrap_or(LONGEST_NS);
        self.decide_ns.saturating_record(nanoseconds);
        self.memory_max_bytes = self.memory_max_bytes.max(decision.memory_bytes);
        self.fuel_max = self.fuel_max.max(decision.fuel);
    }

    pub(super) fn status(&self, name: &str, version: &str, digest: &str) -> PolicyStatus {
        #[allow(
            clippy::cast_precision_loss,
            reason = "exact up to 104 days in nanoseconds"
        )]
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        PolicyStatus {
            name: name.to_owned(),
            version: version.to_owned(),
            digest: digest.to_owned(),
            decisions: self.decisions,
            failures: self
                .failures
                .iter()
                .map(|(rule, times)| ((*rule).to_owned(), *times))
                .collect(),
            decide_p50_us: microseconds(self.decide_ns.value_at_quantile(0.5)),
            decide_p99_us: microseconds(self.decide_ns.value_at_quantile(0.99)),
            decide_max_us: microseconds(self.decide_ns.max()),
            memory_max_bytes: self.memory_max_bytes,
            fuel_max: self.fuel_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Decision, PolicyFailure, cautious};
    use super::Statistics;
    use crate::model::{Context, EscalationLevel, Maintenance, PolicyEvent};

    fn decision(micros: u64, failure: Option<PolicyFailure>) -> Decision {
        let context = Context {
            now_ms: 0,
            target: String::new(),
            level: EscalationLevel::Normal,
            level_since_ms: 0,
            repairs: Vec::new(),
            incidents: Vec::new(),
            constraints: Vec::new(),
            metrics: Vec::new(),
            maintenance: Maintenance::default(),
            local_time: None,
            settings: Vec::new(),
            memory: Vec::new(),
            target_kind: "sqlite".into(),
        };
        let why = PolicyFailure::Busy { limit: 1 };
        Decision {
            verdict: cautious(&PolicyEvent::Tick, &context, &why),
            failure,
            log: Vec::new(),
            duration: Duration::from_micros(micros),
            fuel: Some(micros),
            memory_bytes: 1 << 16,
        }
    }

    #[test]
    fn quantiles_failures_and_high_water_marks() {
        let mut statistics = Statistics::new();
        for micros in 1..=100 {
            statistics.note(&decision(micros, None));
        }
        statistics.note(&decision(
            50,
            Some(PolicyFailure::Deadline { limit_ms: 50 }),
        ));
        statistics.note(&decision(
            50,
            Some(PolicyFailure::Deadline { limit_ms: 50 }),
        ));
        let status = statistics.status("p", "1.0.0", "00");
        assert_eq!(status.decisions, 102);
        assert_eq!(status.failures.len(), 1);
        assert_eq!(status.failures["policy.deadline"], 2);
        // Two digits: within one percent.
        assert!((status.decide_p50_us - 50.0).abs() < 1.0, "{status:?}");
        assert!((status.decide_p99_us - 99.0).abs() < 2.0, "{status:?}");
        assert!((status.decide_max_us - 100.0).abs() < 2.0, "{status:?}");
        assert_eq!(status.memory_max_bytes, 1 << 16);
        assert_eq!(status.fuel_max, Some(100));
    }

    #[test]
    fn what_took_longer_than_can_be_told_is_counted_as_the_longest() {
        let mut statistics = Statistics::new();
        statistics.note(&decision(3_600_000_000, None));
        let status = statistics.status("p", "1.0.0", "00");
        assert!(status.decide_max_us >= 599_000_000.0, "{status:?}");
    }
}
