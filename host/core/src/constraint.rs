//! Bounds on metrics, and where a value stands against them.
//!
//! Pure arithmetic on one value. What a violation means, and whether anything is done about it, is
//! the policy's part and never decided here.

use serde::{Deserialize, Serialize};

use crate::model::{ConstraintState, ConstraintStatus};

/// Where utilisation ends, so that it stays finite when a bound leaves no room at all.
pub const UTILIZATION_MAX: f64 = 1000.0;

/// A bound on one metric. The model is section 6.1 of the specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    /// Its name, for example `wal_size`.
    pub name: String,
    /// The series it bounds, the unit as suffix, for example `wal_bytes`.
    pub metric: String,
    /// The least value that is allowed, in the metric's unit.
    pub lower: Option<f64>,
    /// The greatest value that is allowed, in the metric's unit.
    pub upper: Option<f64>,
    /// A utilisation above this is a warning; in (0, 1).
    pub warning_threshold: f64,
    /// A utilisation above this is critical; in (0, 1), not below `warning_threshold`.
    pub critical_threshold: f64,
    /// Whether a repair may be offered for a violation.
    pub auto_fix: bool,
    /// One line for a person.
    pub description: String,
}

/// Where a constraint stands, with what a policy is not told in its context.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedConstraint {
    /// Where it stands.
    pub state: ConstraintState,
    /// Whether a repair may be offered for a violation.
    pub auto_fix: bool,
}

impl CheckedConstraint {
    /// The bound whose room is used most, in the metric's unit; none without bounds.
    pub fn nearest_bound(&self) -> Option<f64> {
        let ConstraintState { lower, upper, .. } = self.state;
        let (of_lower, of_upper) = utilizations(lower, upper, self.state.value);
        if of_lower > of_upper {
            lower
        } else {
            upper.or(lower)
        }
    }
}

impl Constraint {
    /// A constraint without bounds, with the specification's thresholds: 0.8 and 0.95.
    pub fn new(name: impl Into<String>, metric: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            metric: metric.into(),
            lower: None,
            upper: None,
            warning_threshold: 0.8,
            critical_threshold: 0.95,
            auto_fix: false,
            description: String::new(),
        }
    }

    /// The specification's six constraints, with its bounds and thresholds.
    pub fn defaults() -> Vec<Self> {
        vec![
            Self {
                lower: Some(1e9),
                description: "free disk space".into(),
                ..Self::new("disk_space", "disk_free_bytes")
            },
            Self {
                lower: Some(5e8),
                auto_fix: true,
                description: "free memory".into(),
                ..Self::new("memory_available", "memory_free_bytes")
            },
            Self {
                upper: Some(5.0),
                warning_threshold: 0.6,
                description: "share of operations that fail".into(),
                ..Self::new("error_rate", "error_rate_percent")
            },
            Self {
                upper: Some(1000.0),
                warning_threshold: 0.7,
                auto_fix: true,
                description: "99th percentile of the operations' latency".into(),
                ..Self::new("p99_latency", "p99_latency_ms")
            },
            Self {
                upper: Some(1e9),
                warning_threshold: 0.7,
                auto_fix: true,
                description: "size of the write-ahead log".into(),
                ..Self::new("wal_size", "wal_bytes")
            },
            Self {
                upper: Some(100.0),
                description: "transactions at the same time".into(),
                ..Self::new("concurrent_tx", "concurrent_transaction_count")
            },
        ]
    }

    /// Where a value stands, and its utilisation: the share of the room up to the bound that is
    /// used, 0 to [`UTILIZATION_MAX`], over 1 being a violation.
    ///
    /// For an upper bound that is `value / upper`. For a lower bound it is `lower / value`, so
    /// that a warning at 0.8 comes when the value falls below `lower / 0.8`. (The specification
    /// measures `1 - value / lower` there, and its thresholds can never speak before the bound
    /// itself is broken.) A bound at or below zero leaves no room to measure: utilisation is 0
    /// within it and [`UTILIZATION_MAX`] beyond. With both bounds the worse one counts. A value
    /// that is not a number is within no bound.
    pub fn check(&self, value: f64) -> (ConstraintStatus, f64) {
        let (of_lower, of_upper) = utilizations(self.lower, self.upper, value);
        let utilization = of_lower.max(of_upper);
        let status = if utilization > 1.0 || utilization > self.critical_threshold {
            ConstraintStatus::Critical
        } else if utilization > self.warning_threshold {
            ConstraintStatus::Warning
        } else {
            ConstraintStatus::Ok
        };
        (status, utilization)
    }
}

/// Utilisation of the lower and of the upper bound; 0 of one that is not set.
fn utilizations(lower: Option<f64>, upper: Option<f64>, value: f64) -> (f64, f64) {
    let of_lower = lower.map(|lower| used(value >= lower, lower, lower / value));
    let of_upper = upper.map(|upper| used(value <= upper, upper, value / upper));
    (of_lower.unwrap_or(0.0), of_upper.unwrap_or(0.0))
}

/// Utilisation of one bound, given whether the value is within it and the ratio of the two.
fn used(within: bool, bound: f64, ratio: f64) -> f64 {
    match (within, bound > 0.0) {
        (true, true) => ratio.clamp(0.0, 1.0),
        (true, false) => 0.0,
        // A ratio of a value next to the bound may round to 1, and is negative or NaN when the
        // value is: all of them violations.
        (false, true) if ratio >= 1.0 => ratio.clamp(1.0 + f64::EPSILON, UTILIZATION_MAX),
        (false, _) => UTILIZATION_MAX,
    }
}

#[cfg(test)]
mod tests {
    use ConstraintStatus::{Critical, Ok, Warning};

    use super::*;

    fn default(name: &str) -> Constraint {
        Constraint::defaults()
            .into_iter()
            .find(|constraint| constraint.name == name)
            .unwrap()
    }

    fn bounds(lower: Option<f64>, upper: Option<f64>) -> Constraint {
        Constraint {
            lower,
            upper,
            ..Constraint::new("test", "test_count")
        }
    }

    #[test]
    fn every_default_speaks_at_its_thresholds() {
        let table = [
            ("disk_space", 2e9, Ok),
            ("disk_space", 1.25e9, Ok),
            ("disk_space", 1.24e9, Warning),
            ("disk_space", 1.04e9, Critical),
            ("disk_space", 0.9e9, Critical),
            ("memory_available", 6.25e8, Ok),
            ("memory_available", 6e8, Warning),
            ("memory_available", 5.1e8, Critical),
            ("error_rate", 3.0, Ok),
            ("error_rate", 3.1, Warning),
            ("error_rate", 4.75, Warning),
            ("error_rate", 4.8, Critical),
            ("p99_latency", 700.0, Ok),
            ("p99_latency", 701.0, Warning),
            ("p99_latency", 951.0, Critical),
            ("wal_size", 7e8, Ok),
            ("wal_size", 7.1e8, Warning),
            ("wal_size", 9.6e8, Critical),
            ("wal_size", 2e9, Critical),
            ("concurrent_tx", 80.0, Ok),
            ("concurrent_tx", 81.0, Warning),
            ("concurrent_tx", 96.0, Critical),
        ];
        for (name, value, status) in table {
            assert_eq!(default(name).check(value).0, status, "{name} at {value}");
        }
        let named: std::collections::BTreeSet<_> = table.iter().map(|row| row.0).collect();
        assert_eq!(named.len(), Constraint::defaults().len());
    }

    #[test]
    fn utilization_is_the_share_of_the_room() {
        let table = [
            (None, Some(100.0), 50.0, 0.5),
            (None, Some(100.0), 100.0, 1.0),
            (None, Some(100.0), 200.0, 2.0),
            (None, Some(100.0), 0.0, 0.0),
            (None, Some(100.0), -5.0, 0.0),
            (Some(100.0), None, 200.0, 0.5),
            (Some(100.0), None, 100.0, 1.0),
            (Some(100.0), None, 50.0, 2.0),
            (Some(100.0), None, 0.0, UTILIZATION_MAX),
            (Some(100.0), None, -5.0, UTILIZATION_MAX),
            (Some(10.0), Some(100.0), 20.0, 0.5),
            (Some(10.0), Some(100.0), 90.0, 0.9),
            (Some(10.0), Some(100.0), 11.0, 10.0 / 11.0),
            (Some(10.0), Some(100.0), 5.0, 2.0),
            (None, Some(0.0), 0.0, 0.0),
            (None, Some(0.0), 1.0, UTILIZATION_MAX),
            (None, Some(-10.0), -10.0, 0.0),
            (None, Some(-10.0), -9.0, UTILIZATION_MAX),
            (Some(0.0), None, 0.0, 0.0),
            (Some(0.0), None, -1.0, UTILIZATION_MAX),
            (Some(-10.0), None, -9.0, 0.0),
            (None, None, 7.0, 0.0),
            (None, Some(1.0), f64::MAX, UTILIZATION_MAX),
        ];
        for (lower, upper, value, expected) in table {
            let (_, utilization) = bounds(lower, upper).check(value);
            assert!(
                (utilization - expected).abs() < 1e-12,
                "{lower:?}..{upper:?} at {value}: {utilization}, expected {expected}"
            );
        }
    }

    #[test]
    fn the_nearest_bound_is_the_one_that_is_used_most() {
        for (lower, upper, value, expected) in [
            (Some(10.0), Some(15.0), 14.9, Some(15.0)),
            (Some(10.0), Some(15.0), 10.1, Some(10.0)),
            (Some(10.0), Some(15.0), 9.0, Some(10.0)),
            (Some(10.0), Some(100.0), 15.0, Some(10.0)),
            (Some(10.0), None, 1e6, Some(10.0)),
            (None, Some(15.0), 1.0, Some(15.0)),
            (None, None, 1.0, None),
        ] {
            let (status, utilization) = bounds(lower, upper).check(value);
            let checked = CheckedConstraint {
                state: ConstraintState {
                    name: "test".into(),
                    metric: "test_count".into(),
                    value,
                    lower,
                    upper,
                    utilization,
                    status,
                    violations_ms: Vec::new(),
                },
                auto_fix: false,
            };
            assert_eq!(checked.nearest_bound(), expected, "{value}");
        }
    }

    #[test]
    fn exactly_at_the_bound_is_critical_but_no_violation() {
        for constraint in [bounds(None, Some(100.0)), bounds(Some(100.0), None)] {
            assert_eq!(constraint.check(100.0), (Critical, 1.0));
        }
    }

    #[test]
    fn one_step_beyond_the_bound_is_a_violation() {
        for (constraint, value) in [
            (bounds(None, Some(3.0)), 3.0_f64.next_up()),
            (bounds(Some(3.0), None), 3.0_f64.next_down()),
        ] {
            let (status, utilization) = constraint.check(value);
            assert_eq!(status, Critical);
            assert!(utilization > 1.0);
        }
    }

    #[test]
    fn what_is_no_number_is_critical_and_utilization_stays_finite() {
        for constraint in [bounds(None, Some(3.0)), bounds(Some(3.0), None)] {
            let (status, utilization) = constraint.check(f64::NAN);
            assert_eq!(status, Critical);
            assert!(utilization.is_finite());
        }
        assert_eq!(
            bounds(None, Some(3.0)).check(f64::INFINITY),
            (Critical, UTILIZATION_MAX)
        );
    }
}
