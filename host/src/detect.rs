//! From values to evidence: which series left their normal range, together, and which bounds are
//! violated.
//!
//! A pure stage. It says how far something is from normal; it never says what is wrong.

use std::collections::{BTreeMap, VecDeque};

use crate::constraint::Constraint;
use crate::model::{
    Anomaly, BaselineSummary, ConstraintState, ConstraintStatus, DetectionMethod, MethodScore,
    Severity,
};
use crate::series::SeriesTable;
use crate::source::Sample;

/// Robust deviations from which on a value counts as anomalous. The specification's 3 unscaled MAD
/// are 2 standard deviations of a normal distribution: an alarm every 22 samples on healthy data.
/// Five is one in 1.7 million.
const DEVIATIONS: f64 = 5.0;

/// Scales a MAD to the standard deviation of a normal distribution: 1 / quantile(3/4).
const MAD_TO_SIGMA: f64 = 1.4826;

/// The least deviation that counts, as a share of the median (of 1 when that is smaller): a series
/// that never moves has a MAD of zero, and its first small step is not an incident.
const LEAST_SHARE: f64 = 0.05;

/// Anomalous values in a row after which the baseline learns from them all the same: the level has
/// changed for good.
const ACCEPT_AFTER: u32 = 300;

/// Times of violation that are remembered for each constraint, as the contract says.
const VIOLATIONS_KEPT: usize = 32;

/// Watches the series of one target.
#[derive(Debug, Clone, Default)]
pub struct Detector {
    in_a_row: BTreeMap<String, u32>,
}

impl Detector {
    /// Judges the samples of one look against what is normal, and says whether each may be learned
    /// from. All series that deviate make one anomaly.
    pub fn detect(
        &mut self,
        at_ms: u64,
        samples: &[Sample],
        table: &SeriesTable,
    ) -> (Option<Anomaly>, Vec<bool>) {
        let mut deviating: Vec<(f64, &Sample, BaselineSummary)> = Vec::new();
        let mut learn = Vec::with_capacity(samples.len());
        for sample in samples {
            let normal = table
                .get(&sample.series)
                .and_then(crate::series::Series::baseline);
            let deviation = normal
                .filter(|baseline| baseline.established)
                .map(|baseline| (deviations(sample.value, &baseline), baseline))
                .filter(|(deviation, _)| *deviation > DEVIATIONS);
            let Some((deviation, baseline)) = deviation else {
                self.in_a_row.remove(&sample.series);
                learn.push(true);
                continue;
            };
            let row = self.in_a_row.entry(sample.series.clone()).or_default();
            *row = row.saturating_add(1);
            learn.push(*row > ACCEPT_AFTER);
            deviating.push((deviation, sample, baseline));
        }
        deviating.sort_by(|a, b| b.0.total_cmp(&a.0));
        (anomaly(at_ms, &deviating), learn)
    }
}

/// Distance from the median in robust standard deviations.
fn deviations(value: f64, baseline: &BaselineSummary) -> f64 {
    let spread = (MAD_TO_SIGMA * baseline.mad)
        .max(LEAST_SHARE * baseline.median.abs().max(1.0) / DEVIATIONS);
    (value - baseline.median).abs() / spread
}

fn anomaly(at_ms: u64, deviating: &[(f64, &Sample, BaselineSummary)]) -> Option<Anomaly> {
    let (strongest, ..) = deviating.first()?;
    // Half at the threshold, then on towards one: 4 and 40 deviations do not look alike.
    let score = strongest / (strongest + DEVIATIONS);
    Some(Anomaly {
        at_ms,
        series: deviating
            .iter()
            .map(|(_, sample, _)| sample.series.clone())
            .collect(),
        scores: vec![MethodScore {
            method: DetectionMethod::Statistical,
            score,
        }],
        confidence: score,
        severity: match score {
            s if s > 0.9 => Severity::High,
            s if s > 0.7 => Severity::Medium,
            _ => Severity::Low,
        },
        reasons: deviating
            .iter()
            .map(|(deviation, sample, normal)| {
                format!(
                    "`{}` {}, normal {} to {} ({deviation:.0} deviations off)",
                    sample.series,
                    short(sample.value),
                    short(normal.median - 2.0 * MAD_TO_SIGMA * normal.mad),
                    short(normal.median + 2.0 * MAD_TO_SIGMA * normal.mad),
                )
            })
            .collect(),
    })
}

/// A number as a person reads it.
fn short(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Point;

    fn sample(value: f64) -> Vec<Sample> {
        vec![Sample {
            series: "commits_per_s".into(),
            value,
        }]
    }

    /// A table that has learned values around 100, and a detector that watches it.
    fn learned(count: u64) -> (Detector, SeriesTable) {
        let mut table = SeriesTable::new(1000, 30);
        for at_ms in 0..count {
            let value = [98.0, 100.0, 102.0][usize::try_from(at_ms % 3).unwrap()];
            table.record("commits_per_s", Point { at_ms, value }, true);
        }
        (Detector::default(), table)
    }

    #[test]
    fn nothing_is_anomalous_before_there_is_a_baseline() {
        let (mut detector, table) = learned(29);
        assert_eq!(detector.detect(0, &sample(1e6), &table), (None, vec![true]));
    }

    #[test]
    fn four_and_forty_deviations_do_not_look_alike() {
        let (mut detector, table) = learned(300);
        let confidence = |value| {
            detector
                .detect(0, &sample(value), &table)
                .0
                .map(|a| a.confidence)
        };
        let mut confidence = confidence;
        assert_eq!(confidence(103.0), None);
        let (near, far) = (confidence(120.0).unwrap(), confidence(300.0).unwrap());
        assert!(0.5 < near && near < far && far < 1.0, "{near} {far}");
    }

    #[test]
    fn an_incident_is_not_learned_but_a_lasting_change_is() {
        let (mut detector, table) = learned(300);
        for n in 1..=ACCEPT_AFTER {
            assert_eq!(
                detector.detect(0, &sample(0.0), &table).1,
                [false],
                "value {n}"
            );
        }
        assert_eq!(detector.detect(0, &sample(0.0), &table).1, [true]);
    }
}
