//! Configured bounds against the values that hold, and when they were violated.
//!
//! A value holds while its series goes on: a series that is measured no more (nothing ran, a part
//! went away) is neither within its bound nor beyond it. Series are measured at paces of their own,
//! so each is held to its own.

use std::collections::VecDeque;

use crate::constraint::{CheckedConstraint, Constraint};
use crate::model::{ConstraintState, ConstraintStatus, Point};
use crate::source::Sample;

/// Times of violation that are remembered for each constraint, as the contract says.
const VIOLATIONS_KEPT: usize = 32;

/// Times between measurements that are remembered for each constraint. Their median is the series'
/// interval: one night without a measurement does not change it.
const GAPS_KEPT: usize = 8;

/// Intervals without a measurement after which a series has stopped.
const STOPPED_AFTER: u64 = 3;

/// What counts as the first of those times, milliseconds, so that a series that was measured once
/// outlasts the five minutes that lie between two checks of the host at most.
const FIRST_GAP_MS: u64 = 120_000;

/// The constraints of one target and when they were violated.
#[derive(Debug, Clone)]
pub struct ConstraintTable {
    bounds: Vec<Bound>,
}

/// A constraint and what was measured of its series.
#[derive(Debug, Clone)]
struct Bound {
    constraint: Constraint,
    violations_ms: VecDeque<u64>,
    measured: Option<Point>,
    gaps_ms: VecDeque<u64>,
}

impl ConstraintTable {
    /// A table of these constraints, none violated yet.
    pub fn new(constraints: Vec<Constraint>) -> Self {
        let bounds = constraints.into_iter().map(|constraint| Bound {
            constraint,
            violations_ms: VecDeque::new(),
            measured: None,
            gaps_ms: VecDeque::from([FIRST_GAP_MS]),
        });
        Self {
            bounds: bounds.collect(),
        }
    }

    /// Takes up the samples of one look, and notes the violations in it.
    pub fn note(&mut self, at_ms: u64, samples: &[Sample]) {
        for bound in &mut self.bounds {
            let of = |sample: &&Sample| sample.series == bound.constraint.metric;
            let sample = samples.iter().rfind(of);
            if let Some(sample) = sample.filter(|sample| sample.value.is_finite()) {
                let value = sample.value;
                bound.measure(Point { at_ms, value });
            }
        }
    }

    /// Where each constraint stands at this time, milliseconds since the Unix epoch, whose series
    /// goes on.
    pub fn states(&self, at_ms: u64) -> Vec<CheckedConstraint> {
        let states = self.bounds.iter().filter_map(|bound| bound.state(at_ms));
        states.collect()
    }
}

impl Bound {
    fn measure(&mut self, point: Point) {
        let gap_ms = self
            .measured
            .map_or(0, |before| point.at_ms.saturating_sub(before.at_ms));
        if gap_ms > 0 {
            push(&mut self.gaps_ms, GAPS_KEPT, gap_ms);
        }
        self.measured = Some(point);
        if self.constraint.check(point.value).0 != ConstraintStatus::Ok {
            push(&mut self.violations_ms, VIOLATIONS_KEPT, point.at_ms);
        }
    }

    fn interval_ms(&self) -> u64 {
        let mut gaps_ms: Vec<u64> = self.gaps_ms.iter().copied().collect();
        gaps_ms.sort_unstable();
        gaps_ms[(gaps_ms.len() - 1) / 2]
    }

    fn state(&self, at_ms: u64) -> Option<CheckedConstraint> {
        let Point {
            at_ms: measured_ms,
            value,
        } = self.measured?;
        if at_ms.saturating_sub(measured_ms) > self.interval_ms().saturating_mul(STOPPED_AFTER) {
            return None;
        }
        let constraint = &self.constraint;
        let (status, utilization) = constraint.check(value);
        Some(CheckedConstraint {
            state: ConstraintState {
                name: constraint.name.clone(),
                metric: constraint.metric.clone(),
                value,
                lower: constraint.lower,
                upper: constraint.upper,
                utilization,
                status,
                violations_ms: self.violations_ms.iter().copied().collect(),
            },
            auto_fix: constraint.auto_fix,
        })
    }
}

/// Puts a time behind the others, of which the latest `kept` stay.
fn push(times: &mut VecDeque<u64>, kept: usize, time: u64) {
    if times.len() == kept {
        times.pop_front();
    }
    times.push_back(time);
}

/// What the bounds say of an anomaly: the share of the room that is used where it is used most, for
/// a constraint past its warning threshold, and a line for a person.
pub fn bound_score(constraints: &[CheckedConstraint]) -> Option<(f64, String)> {
    let worst = constraints
        .iter()
        .map(|constraint| &constraint.state)
        .filter(|state| state.status != ConstraintStatus::Ok)
        .max_by(|a, b| a.utilization.total_cmp(&b.utilization))?;
    let reason = format!(
        "`{}` uses {:.0} % of its bound `{}`",
        worst.metric,
        worst.utilization * 100.0,
        worst.name
    );
    Some((worst.utilization.clamp(0.0, 1.0), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_MS: u64 = 1000;

    fn table() -> ConstraintTable {
        let upper = Some(5.0);
        ConstraintTable::new(vec![Constraint {
            upper,
            ..Constraint::new("error_rate", "error_rate_percent")
        }])
    }

    /// The looks, counted from 0 and so many milliseconds apart, after which the bound stands
    /// violated, when it is measured at 100 in those that `measured` says.
    fn violated(looks: u64, apart_ms: u64, measured: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut table = table();
        let seen = |look: &u64| {
            let mut samples = vec![Sample {
                series: "ops_per_s".into(),
                value: 0.0,
            }];
            samples.extend(measured(*look).then(|| Sample {
                series: "error_rate_percent".into(),
                value: 100.0,
            }));
            table.note(look * apart_ms, &samples);
            let states = table.states(look * apart_ms);
            states
                .iter()
                .any(|c| c.state.status != ConstraintStatus::Ok)
        };
        (0..looks).filter(seen).collect()
    }

    #[test]
    fn a_series_that_stopped_is_not_violated_any_more() {
        // A bucket every 10 s; the last operations before a night without any fail.
        let stopped = violated(1000, 10 * SECOND_MS, |look| look < 20);
        assert_eq!(stopped, (0..=22).collect::<Vec<_>>());
        // The very first operation fails, and none follows.
        let once = violated(1000, 10 * SECOND_MS, |look| look == 0);
        assert_eq!(once, (0..=36).collect::<Vec<_>>());
        // A night more does not make its interval longer.
        let again = violated(4000, 10 * SECOND_MS, |look| {
            look < 20 || (3000..3003).contains(&look)
        });
        assert_eq!(again.last(), Some(&3005));
    }

    #[test]
    fn a_series_measured_seldom_stays_violated_in_between() {
        for every in [1, 30, 300] {
            // Now and then a measurement is late, or one more is made.
            let measured = |look: u64| {
                look.is_multiple_of(every) && look != 4 * every || look == 4 * every + every / 2
            };
            let all = violated(5000, SECOND_MS, measured);
            assert_eq!(all, (0..5000).collect::<Vec<_>>(), "every {every} s");
        }
    }

    #[test]
    fn only_what_was_measured_counts_as_a_violation() {
        let mut table = table();
        let sample = |value| Sample {
            series: "error_rate_percent".into(),
            value,
        };
        for (at_ms, samples) in [
            (1, vec![sample(9.0)]),
            (2, vec![]),
            (3, vec![sample(f64::NAN)]),
            (4, vec![sample(9.0), sample(1.0)]),
            (5, vec![sample(1.0), sample(9.0)]),
        ] {
            table.note(at_ms, &samples);
        }
        let states = table.states(5);
        assert_eq!(states[0].state.violations_ms, [1, 5]);
        assert!(!states[0].auto_fix);
    }
}
