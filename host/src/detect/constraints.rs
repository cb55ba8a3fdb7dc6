//! Configured bounds against the latest values, and when they were violated.

use std::collections::VecDeque;

use crate::constraint::Constraint;
use crate::model::{ConstraintState, ConstraintStatus};
use crate::series::SeriesTable;
use crate::source::Sample;

/// Times of violation that are remembered for each constraint, as the contract says.
const VIOLATIONS_KEPT: usize = 32;

/// The constraints of one target and when they were violated.
#[derive(Debug, Clone)]
pub struct ConstraintTable {
    constraints: Vec<(Constraint, VecDeque<u64>)>,
}

impl ConstraintTable {
    /// A table of these constraints, none violated yet.
    pub fn new(constraints: Vec<Constraint>) -> Self {
        Self {
            constraints: constraints
                .into_iter()
                .map(|c| (c, VecDeque::new()))
                .collect(),
        }
    }

    /// Checks the samples of one look and notes the violations in it.
    pub fn note(&mut self, at_ms: u64, samples: &[Sample]) {
        for (constraint, violations) in &mut self.constraints {
            let Some(sample) = samples.iter().find(|s| s.series == constraint.metric) else {
                continue;
            };
            if constraint.check(sample.value).0 == ConstraintStatus::Ok {
                continue;
            }
            if violations.len() == VIOLATIONS_KEPT {
                violations.pop_front();
            }
            violations.push_back(at_ms);
        }
    }

    /// Where each constraint stands whose metric was ever measured.
    pub fn states(&self, table: &SeriesTable) -> Vec<ConstraintState> {
        self.constraints
            .iter()
            .filter_map(|(constraint, violations)| {
                let value = table.get(&constraint.metric)?.latest()?.value;
                let (status, utilization) = constraint.check(value);
                Some(ConstraintState {
                    name: constraint.name.clone(),
                    metric: constraint.metric.clone(),
                    value,
                    lower: constraint.lower,
                    upper: constraint.upper,
                    utilization,
                    status,
                    violations_ms: violations.iter().copied().collect(),
                })
            })
            .collect()
    }
}

/// What the bounds say of an anomaly: the share of the room that is used where it is used most, for
/// a constraint past its warning threshold, and a line for a person.
pub fn bound_score(states: &[ConstraintState]) -> Option<(f64, String)> {
    let worst = states
        .iter()
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
