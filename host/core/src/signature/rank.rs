//! Which signature an anomaly looks like, how sure that is, and whether it looks like none.
//!
//! Each signature is a multivariate normal distribution of strengths: its mean, and a covariance
//! that is partly its own and partly pooled over all signatures (regularised discriminant
//! analysis, Friedman 1989), so that a few episodes suffice and metrics that say the same thing
//! count once. "Nothing moves" is one more candidate; and the likeliest counts only as far as
//! the anomaly lies no further from it than its own episodes do.

use std::cmp::Ordering;

use serde::Serialize;

use super::gaussian::{Covariance, Gaussian};
use super::{Deviations, Movement, Origin, Roles, Signature};

/// Confidence from which on a match is a diagnosis.
pub const DIAGNOSIS_BAR: f64 = 0.5;

/// Spread that a strength is taken to have before an episode was seen, and the number of episodes
/// that this counts for.
const PRIOR_SPREAD: f64 = 0.4;
const PRIOR_EPISODES: f64 = 2.0;

/// Spread that is always there: no two episodes are quite alike.
const LEAST_SPREAD: f64 = 0.1;

/// Strength beyond which, and share of what is beyond by which, a metric may differ under another
/// load than was learned from, however alike the episodes are: sixty sessions that pile up on seven
/// are further off than on seventy.
const FAR_OFF: f64 = 2.4;
const OTHER_LOAD: f64 = 0.5;

/// Episodes beyond which a signature's say in the pooled covariance does not grow.
const POOLED_EPISODES: f64 = 20.0;

/// Share of a signature's covariance that is its own.
const OWN_SHARE: f64 = 0.3;

/// Share of what stands beside the diagonal that is believed.
const CORRELATION_SHARE: f64 = 0.5;

/// By how much log densities are divided: strengths are heavier-tailed and less independent than a
/// normal distribution has them. Found by calibration: see the reliability test.
const TEMPERATURE: f64 = 3.0;

/// The same for built-in signatures, whose roles are few.
const TEMPERATURE_BUILT_IN: f64 = 2.5;

/// Episodes at which the uncertainty of a signature itself doubles the temperature.
const FEW_EPISODES: f64 = 4.0;

/// Squared distance per metric at which a match is half believed, for many episodes.
const FAR: f64 = 2.6;

/// Width of the step from fitting to not fitting, as a share of its place.
const FAR_WIDTH: f64 = 0.12;

/// Share of what a written signature expects that must have happened for it to be half believed,
/// and the width of that step. It has no episodes to tell how far is too far.
const AGREEMENT: f64 = 0.4;
const AGREEMENT_WIDTH: f64 = 0.05;

/// Spread of a strength when nothing is wrong, where no episode says.
const CALM_SPREAD: f64 = 0.6;

/// Metrics that a comparison rests on, at most: its work grows with the cube of their number, and
/// what moves less than so many others tells hardly anything more.
pub(super) const COMPARED: usize = 128;

/// Evidence that is told with a match, at most.
const EVIDENCE: usize = 5;

/// A metric that speaks for a match.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The metric, or the role of a built-in signature.
    pub metric: String,
    /// Its signed strength in the anomaly.
    pub strength: f64,
    /// Its signed strength in the signature.
    pub expected: f64,
}

/// A signature and how well it fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match {
    /// The signature's name.
    pub name: String,
    /// Its line for a person.
    pub summary: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The probability that this is it, 0 to 1.
    pub confidence: f64,
    /// What speaks for it, the strongest first.
    pub evidence: Vec<Evidence>,
}

/// All signatures, the likeliest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranking {
    /// The signatures by confidence.
    pub matches: Vec<Match>,
    /// The probability that it is none of them.
    pub none: f64,
}

impl Ranking {
    /// The match that may be called a diagnosis: the likeliest, when it reaches
    /// [`DIAGNOSIS_BAR`].
    pub fn diagnosis(&self) -> Option<&Match> {
        self.matches
            .first()
            .filter(|m| m.confidence >= DIAGNOSIS_BAR)
    }
}

pub(super) fn rank(
    learned: &[Signature],
    built_in: &[Signature],
    roles: &Roles,
    seen: &Deviations,
) -> Ranking {
    let mut matches = matched(learned, seen, Origin::Learned, TEMPERATURE, 1.0);
    // What was learned here knows better: the built-in ones share what it leaves.
    let left = 1.0 - matches.iter().map(|m| m.confidence).sum::<f64>();
    let by_role = roles.strengths(seen);
    matches.extend(matched(
        built_in,
        &by_role,
        Origin::BuiltIn,
        TEMPERATURE_BUILT_IN,
        left.max(0.0),
    ));
    matches.sort_by(|a, b| {
        b.confidence
            .partial_cmp(&a.confidence)
            .unwrap_or(Ordering::Equal)
            .then_with(|| a.name.cmp(&b.name))
    });
    let none = 1.0 - matches.iter().map(|m| m.confidence).sum::<f64>();
    Ranking {
        matches,
        none: none.max(0.0),
    }
}

fn matched(
    signatures: &[Signature],
    seen: &Deviations,
    origin: Origin,
    temperature: f64,
    share: f64,
) -> Vec<Match> {
    let confidences = confidences(signatures, seen, temperature);
    let each = signatures.iter().zip(confidences);
    each.map(|(signature, confidence)| Match {
        name: signature.name.clone(),
        summary: signature.summary.clone(),
        origin,
        confidence: confidence * share,
        evidence: evidence(signature, seen),
    })
    .collect()
}

/// The metrics in which a signature and an anomaly agree most.
fn evidence(signature: &Signature, seen: &Deviations) -> Vec<Evidence> {
    let mut agreeing: Vec<Evidence> = signature
        .metrics
        .iter()
        .filter_map(|(metric, movement)| {
            Some(Evidence {
                metric: metric.clone(),
                strength: seen.get(metric)?,
                expected: movement.strength,
            })
        })
        .filter(|e| e.strength * e.expected > 0.0 && e.strength.abs() >= PRIOR_SPREAD)
        .collect();
    let weight = |e: &Evidence| e.strength.abs().min(e.expected.abs());
    agreeing.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    agreeing.truncate(EVIDENCE);
    agreeing
}

/// The probability of each signature.
fn confidences(signatures: &[Signature], seen: &Deviations, temperature: f64) -> Vec<f64> {
    let metrics = compared(signatures, seen);
    let names: Vec<&str> = metrics.iter().map(|(name, _)| *name).collect();
    let point: Vec<f64> = metrics.iter().map(|(_, strength)| *strength).collect();
    let laid_out: Vec<LaidOut> = signatures.iter().map(|s| LaidOut::new(s, &names)).collect();
    let pooled = pooled(&laid_out, names.len());
    let nothing = Gaussian::new(
        vec![0.0; names.len()],
        &pooled
            .clone()
            .shrunk(CORRELATION_SHARE, LEAST_SPREAD.powi(2)),
    );
    let each: Option<Vec<Gaussian>> = laid_out
        .iter()
        .map(|s| Gaussian::new(s.mean.clone(), &s.covariance(&pooled)))
        .collect();
    // Never so: a least spread is added to every diagonal.
    let (Some(nothing), Some(each)) = (nothing, each) else {
        return vec![0.0; signatures.len()];
    };
    if names.is_empty() {
        return vec![0.0; signatures.len()];
    }
    let distances: Vec<f64> = each.iter().map(|g| g.distance(&point)).collect();
    let log_densities: Vec<f64> = each
        .iter()
        .zip(&distances)
        .map(|(g, d)| g.log_density(*d))
        .collect();
    let log_nothing = nothing.log_density(nothing.distance(&point));
    let best = log_densities.iter().copied().fold(log_nothing, f64::max);
    let fewest = contenders(&laid_out, &log_densities);
    let temperature = temperature * (1.0 + FEW_EPISODES / fewest);
    let weight = |log: f64| ((log - best) / temperature).exp();
    let all = weight(log_nothing) + log_densities.iter().map(|l| weight(*l)).sum::<f64>();
    let moving = laid_out.iter().fold(
        point.iter().map(|p| *p != 0.0).collect::<Vec<_>>(),
        |m, s| m.iter().zip(&s.moving).map(|(a, b)| *a || *b).collect(),
    );
    let moving = count(&moving);
    (0..signatures.len())
        .map(|k| {
            let fit = fit(&laid_out[k], &point, distances[k] / moving);
            weight(log_densities[k]) / all * fit
        })
        .collect()
}

/// The metrics that an anomaly and the signatures share, by name: those that moved most, or should
/// have.
pub(super) fn compared<'a>(signatures: &[Signature], seen: &'a Deviations) -> Vec<(&'a str, f64)> {
    let shared = seen.iter().filter_map(|(name, strength)| {
        let movements = signatures.iter().filter_map(|s| s.metrics.get(name));
        let expected = movements.map(|m| m.strength.abs()).reduce(f64::max)?;
        Some((expected.max(strength.abs()), (name, strength)))
    });
    let mut shared: Vec<_> = shared.collect();
    // Of those that are alike the first by name: it is a stable sort.
    shared.sort_by(|a, b| b.0.total_cmp(&a.0));
    shared.truncate(COMPARED);
    let mut metrics: Vec<(&str, f64)> = shared.into_iter().map(|(_, metric)| metric).collect();
    metrics.sort_by_key(|(name, _)| *name);
    metrics
}

/// Whether an anomaly lies no further from a signature than its episodes do; for a written one,
/// whether enough of what it expects has happened.
fn fit(signature: &LaidOut, point: &[f64], distance: f64) -> f64 {
    let step = |by: f64| 1.0 / (1.0 + (-by).exp());
    if signature.examples > 0.0 {
        let far = FAR * (1.0 + FEW_EPISODES / signature.examples / 3.0);
        return step((far - distance) / (FAR_WIDTH * far));
    }
    let (mut agreed, mut expected) = (0.0, 0.0);
    for ((mean, spread), strength) in signature.mean.iter().zip(&signature.spread).zip(point) {
        let weight = mean / spread.unwrap_or(CALM_SPREAD).max(LEAST_SPREAD).powi(2);
        agreed += weight * strength.clamp(-mean.abs(), mean.abs());
        expected += weight * mean;
    }
    step((agreed / expected.max(f64::MIN_POSITIVE) - AGREEMENT) / AGREEMENT_WIDTH)
}

/// Episodes of the one of the two likeliest signatures that rests on fewer.
fn contenders(signatures: &[LaidOut], log_densities: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..signatures.len()).collect();
    order.sort_by(|a, b| log_densities[*b].total_cmp(&log_densities[*a]));
    order
        .iter()
        .take(2)
        .map(|k| signatures[*k].examples)
        .filter(|n| *n > 0.0)
        .fold(f64::INFINITY, f64::min)
}

#[allow(clippy::cast_precision_loss, reason = "a number of metrics")]
fn count(which: &[bool]) -> f64 {
    which.iter().filter(|w| **w).count().max(1) as f64
}

/// A signature over the metrics of one comparison.
struct LaidOut {
    mean: Vec<f64>,
    /// Spread of each metric; none for one that the signature knows nothing of.
    spread: Vec<Option<f64>>,
    /// Examples as distances from the mean; 0 where not measured.
    off: Vec<Vec<f64>>,
    /// Number of examples.
    examples: f64,
    /// Metrics that ever moved.
    moving: Vec<bool>,
}

impl LaidOut {
    #[allow(clippy::cast_precision_loss, reason = "a number of examples")]
    fn new(signature: &Signature, names: &[&str]) -> Self {
        let known: Vec<Option<&Movement>> =
            names.iter().map(|n| signature.metrics.get(*n)).collect();
        let examples = known.iter().flatten().map(|m| m.seen.len()).max();
        let examples = examples.unwrap_or(0);
        let mut off = vec![vec![0.0; names.len()]; examples];
        for (i, movement) in known.iter().enumerate() {
            let Some(movement) = movement else { continue };
            let seen: Vec<f64> = movement
                .seen
                .iter()
                .copied()
                .filter(|s| s.is_finite())
                .collect();
            let centre = seen.iter().sum::<f64>() / seen.len().max(1) as f64;
            let variance = seen.iter().map(|s| (s - centre).powi(2)).sum::<f64>()
                / (seen.len().max(2) - 1) as f64;
            // The spread of all episodes counts, not only that of the examples.
            let scale = if variance > 0.0 {
                movement.spread / variance.sqrt()
            } else {
                1.0
            };
            for (row, strength) in off.iter_mut().zip(&movement.seen) {
                if strength.is_finite() {
                    row[i] = (strength - centre) * scale;
                }
            }
        }
        Self {
            mean: known
                .iter()
                .map(|m| m.map_or(0.0, |m| m.strength))
                .collect(),
            spread: known.iter().map(|m| m.map(|m| m.spread)).collect(),
            off,
            examples: examples as f64,
            moving: known
                .iter()
                .map(|m| m.is_some_and(|m| m.strength != 0.0 || m.spread != 0.0))
                .collect(),
        }
    }

    /// Sum of squares of the examples, scaled by a weight.
    fn add_scatter(&self, to: &mut Covariance, weight: f64) {
        for row in &self.off {
            to.add_square(row, weight);
        }
    }

    fn covariance(&self, pooled: &Covariance) -> Covariance {
        let least = LEAST_SPREAD.powi(2);
        // What a signature does not know of speaks neither for nor against it.
        let own = |known: &dyn Fn(f64) -> f64| {
            let each = self
                .spread
                .iter()
                .enumerate()
                .map(|(i, spread)| match spread {
                    Some(spread) => known(*spread),
                    None => pooled.entries[i * pooled.size + i],
                });
            Covariance::diagonal(&each.collect::<Vec<_>>())
        };
        if self.examples == 0.0 {
            // Written by a person: the spread is what it says.
            return own(&|spread| spread * spread).shrunk(0.0, least);
        }
        let episodes = self.examples - 1.0 + PRIOR_EPISODES;
        let prior = PRIOR_EPISODES * PRIOR_SPREAD.powi(2) / episodes;
        let mut own = own(&|_| prior);
        self.add_scatter(&mut own, 1.0 / episodes);
        let beyond = |mean: &f64| OTHER_LOAD * (mean.abs() - FAR_OFF).max(0.0);
        let other_load: Vec<f64> = self.mean.iter().map(|m| beyond(m).powi(2)).collect();
        pooled
            .mixed(1.0 - OWN_SHARE, &own, OWN_SHARE)
            .shrunk(CORRELATION_SHARE, least)
            .mixed(1.0, &Covariance::diagonal(&other_load), 1.0)
    }
}

/// How strengths scatter around their signature's mean, over all signatures that were learned.
fn pooled(signatures: &[LaidOut], size: usize) -> Covariance {
    let mut sum = Covariance::diagonal(&vec![0.0; size]);
    let mut episodes = 0.0;
    for signature in signatures.iter().filter(|s| s.examples > 0.0) {
        let free = signature.examples - 1.0;
        let counted = free.min(POOLED_EPISODES);
        if free > 0.0 {
            signature.add_scatter(&mut sum, counted / free);
        }
        sum = sum.shrunk(1.0, PRIOR_EPISODES * PRIOR_SPREAD.powi(2));
        episodes += counted + PRIOR_EPISODES;
    }
    if episodes == 0.0 {
        return Covariance::diagonal(&vec![CALM_SPREAD.powi(2); size]);
    }
    let nothing = Covariance::diagonal(&vec![0.0; size]);
    sum.mixed(1.0 / episodes, &nothing, 0.0)
}
