//! How far each metric is from its own normal, on a scale that means the same on every machine.

use std::collections::BTreeMap;

/// Rows right before an anomaly that stand for normal, at most: what was normal hours ago may have
/// been another load.
pub const NORMAL_ROWS: usize = 60;

/// Rows without which there is no normal.
pub const LEAST_NORMAL_ROWS: usize = 3;

/// Scales a MAD to the standard deviation of a normal distribution: 1 / quantile(3/4).
const MAD_TO_SIGMA: f64 = 1.4826;

/// The least noise of a metric, as a share of its normal level: a few rows, or a metric that never
/// moves, show less than there is.
const LEAST_NOISE: f64 = 0.1;

/// Rows from which on a measured spread is taken as it is; from fewer it is stretched.
const ENOUGH_ROWS: f64 = 6.0;

/// Share of the variance of the abnormal rows that counts as noise: part of it is the anomaly.
const ABNORMAL_NOISE: f64 = 0.1;

/// Deviations that a metric gets which was constant, and left that for another constant.
const FROM_CONSTANT: f64 = 20.0;

/// Deviations beyond which all look alike.
const MOST_DEVIATIONS: f64 = 150.0;

/// Share of the smallest and of the largest rows that a level leaves out: the first row of an
/// exporter is often an average since its start.
const TRIM: f64 = 0.2;

/// How far each metric is from its own normal: signed strengths by metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deviations(BTreeMap<String, f64>);

impl Deviations {
    /// The strengths of all metrics that have enough rows on both sides, from columns of values:
    /// `(name, normal rows, abnormal rows)`.
    pub fn between<'a>(columns: impl IntoIterator<Item = (&'a str, &'a [f64], &'a [f64])>) -> Self {
        columns
            .into_iter()
            .filter_map(|(name, normal, abnormal)| {
                Some((name.to_owned(), strength(normal, abnormal)?))
            })
            .collect()
    }

    /// The strength of a metric.
    pub fn get(&self, metric: &str) -> Option<f64> {
        self.0.get(metric).copied()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0
            .iter()
            .map(|(name, strength)| (name.as_str(), *strength))
    }

    /// How many metrics there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no metric.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, f64)> for Deviations {
    fn from_iter<T: IntoIterator<Item = (String, f64)>>(strengths: T) -> Self {
        Self(
            strengths
                .into_iter()
                .filter(|(_, strength)| strength.is_finite())
                .collect(),
        )
    }
}

/// How strongly a metric moved from its normal to its abnormal rows: `sign · ln(1 + deviations)`,
/// with the distance of the levels in units of noise. 0 is not at all, 1 about two, 2.4 about ten,
/// 5 the most. Levels are trimmed means; noise is the robust spread of both sides with
/// a floor relative to the normal level, so that it works from a handful of rows and on constants.
/// Values that are not finite are left out; none without [`LEAST_NORMAL_ROWS`] and one abnormal.
pub fn strength(normal: &[f64], abnormal: &[f64]) -> Option<f64> {
    let (normal, abnormal) = (sorted(normal), sorted(abnormal));
    if normal.len() < LEAST_NORMAL_ROWS || abnormal.is_empty() {
        return None;
    }
    let (from, to) = (level(&normal), level(&abnormal));
    let difference = to - from;
    if difference == 0.0 {
        return Some(0.0);
    }
    let (few_normal, few_abnormal) = (stretch(normal.len()), stretch(abnormal.len()));
    let noise = (few_normal * spread(&normal).powi(2)
        + ABNORMAL_NOISE * few_abnormal * spread(&abnormal).powi(2)
        + few_normal * few_abnormal * (LEAST_NOISE * from).powi(2))
    .sqrt();
    let deviations = if noise > 0.0 {
        (difference.abs() / noise).min(MOST_DEVIATIONS)
    } else {
        FROM_CONSTANT / (few_normal * few_abnormal).sqrt()
    };
    Some(deviations.ln_1p().copysign(difference))
}

/// By how much a variance from so few rows is to be stretched.
#[allow(clippy::cast_precision_loss, reason = "a number of rows")]
fn stretch(rows: usize) -> f64 {
    (0.5 * (1.0 + ENOUGH_ROWS / rows as f64)).max(1.0)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// What is left without the smallest and the largest.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of rows"
)]
fn kept(sorted: &[f64]) -> &[f64] {
    let cut = (sorted.len() as f64 * TRIM) as usize;
    &sorted[cut..sorted.len() - cut]
}

#[allow(clippy::cast_precision_loss, reason = "a number of rows")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn level(sorted: &[f64]) -> f64 {
    mean(kept(sorted))
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// Median absolute deviation as a standard deviation; the deviation of what the level is made of,
/// where that is larger: most rows of a rare event are zero.
fn spread(sorted: &[f64]) -> f64 {
    let centre = median(sorted);
    let mut distances: Vec<f64> = sorted.iter().map(|v| (v - centre).abs()).collect();
    distances.sort_by(f64::total_cmp);
    let level = level(sorted);
    let squares: Vec<f64> = kept(sorted).iter().map(|v| (v - level).powi(2)).collect();
    (MAD_TO_SIGMA * median(&distances)).max(mean(&squares).sqrt())
}
