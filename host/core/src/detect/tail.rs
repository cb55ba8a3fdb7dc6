//! How improbable a magnitude is, by the history of its own kind.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// Values after which the fitted tail is taken up anew, at the latest.
const REFIT_AFTER: u32 = 32;

/// Values that a history must hold before it says anything.
const WARM_UP: u32 = 60;

/// The smallest mean excess over the start of the tail, as a share of that start: a history whose
/// tail is one step says little about what lies beyond it.
const LEAST_EXCESS: f64 = 0.05;

/// The largest shape of the generalised Pareto: above it the estimate by moments has no variance
/// to go by.
const LARGEST_SHAPE: f64 = 0.3;

/// The greatest surprise beyond the logarithm of the history's length: so many values support no
/// smaller probability than a hundredth of one in their number.
const BEYOND_HISTORY: f64 = 2.0;

/// The weight of a new value at which all weights are scaled back, so that it is 1 again.
const LARGEST_WEIGHT: f64 = 1e3;

/// What must be left of the weight of a single value for it to count.
const LEAST_WEIGHT: f32 = 0.01;

/// The greatest surprise after so many values.
pub(super) fn most(values: f64) -> f64 {
    BEYOND_HISTORY + values.max(1.0).log10()
}

/// A decaying history of magnitudes: a value `MEMORY` values ago counts for 1/e. Above its highest
/// `PERCENT` a generalised Pareto, fitted by moments (Hosking & Wallis 1987), continues it to
/// magnitudes that were never seen. Both are in the type, for there are many tails of a few kinds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tail<const PERCENT: u32, const MEMORY: u32> {
    histogram: Histogram,
    total: f64,
    weight: f64,
    rows: u32,
    stale: u32,
    /// Where the tail starts: the quantile `1 - share`.
    start: f64,
    share: f64,
    scale: f64,
    shape: f64,
}

/// A tail for each side, so that a series that often rises still shows a fall.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct BothWays<const PERCENT: u32, const MEMORY: u32> {
    up: Tail<PERCENT, MEMORY>,
    down: Tail<PERCENT, MEMORY>,
}

impl<const PERCENT: u32, const MEMORY: u32> BothWays<PERCENT, MEMORY> {
    /// As [`Tail::step`], by the value's sign.
    pub(super) fn step(&mut self, value: f64) -> f64 {
        let up = self.up.step(value.max(0.0));
        up.max(self.down.step((-value).max(0.0)))
    }
}

impl<const PERCENT: u32, const MEMORY: u32> Default for Tail<PERCENT, MEMORY> {
    fn default() -> Self {
        Self {
            histogram: Histogram::default(),
            total: 0.0,
            weight: 1.0,
            rows: 0,
            stale: REFIT_AFTER,
            start: f64::MAX,
            share: Self::SHARE,
            scale: 1.0,
            shape: 0.0,
        }
    }
}

impl<const PERCENT: u32, const MEMORY: u32> Tail<PERCENT, MEMORY> {
    /// The share of the history that counts as its tail.
    const SHARE: f64 = PERCENT as f64 / 100.0;

    /// `-log10` of the probability of a magnitude this large given the history, which then takes it
    /// in. 0 within the body of the history, and before there is one.
    pub(super) fn step(&mut self, magnitude: f64) -> f64 {
        let surprise = self.ready().map_or(0.0, |start| {
            if magnitude <= start {
                return 0.0;
            }
            let excess = (magnitude - start) / self.scale;
            let beyond = if self.shape < 1e-6 {
                excess / std::f64::consts::LN_10
            } else {
                (1.0 + self.shape * excess).log10() / self.shape
            };
            (beyond - self.share.log10()).min(most(f64::from(self.rows)))
        });
        self.push(magnitude);
        surprise
    }

    /// How far a magnitude is beyond the start of the tail, as a natural logarithm, before the
    /// history takes it in; the start is `least` at the least. 0 within the body.
    pub(super) fn excess(&mut self, magnitude: f64, least: f64) -> f64 {
        let excess = self.ready().map_or(0.0, |start| {
            let start = start.max(least);
            if magnitude > start {
                (magnitude / start).ln()
            } else {
                0.0
            }
        });
        self.push(magnitude);
        excess
    }

    /// Where the tail starts, once there is history enough.
    fn ready(&mut self) -> Option<f64> {
        if self.rows < WARM_UP {
            return None;
        }
        if self.stale >= REFIT_AFTER {
            self.fit();
        }
        Some(self.start)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "weights are scaled back long before an f32 cannot tell them apart"
    )]
    fn push(&mut self, magnitude: f64) {
        self.rows = self.rows.saturating_add(1);
        self.total += self.weight;
        self.stale += 1;
        if magnitude > 0.0 {
            let rises = self.histogram.add(magnitude, self.weight as f32);
            if rises || magnitude > self.start {
                self.stale = REFIT_AFTER;
            }
        }
        self.weight *= 1.0 + 1.0 / f64::from(MEMORY);
        if self.weight > LARGEST_WEIGHT {
            let factor = 1.0 / self.weight;
            self.histogram.rescale(factor as f32, LEAST_WEIGHT);
            self.total *= factor;
            self.weight = 1.0;
        }
    }

    fn fit(&mut self) {
        self.stale = 0;
        let want = Self::SHARE * self.total;
        let (mut mass, mut tail) = (0.0, 0);
        self.start = 0.0;
        for bin in self.histogram.bins() {
            // When less than the tail's share was ever above zero, all that is seen is tail.
            self.start = bin.high;
            if mass + bin.weight > want {
                break;
            }
            mass += bin.weight;
            tail += 1;
        }
        let (mut mean, mut squares) = (0.0, 0.0);
        for bin in self.histogram.bins().take(tail) {
            if bin.weight > 0.0 {
                let excess = 0.5 * (bin.low + bin.high) - self.start;
                mean += bin.weight * excess;
                squares += bin.weight * excess * excess;
            }
        }
        let variance = if mass > 0.0 {
            mean /= mass;
            squares / mass - mean * mean
        } else {
            0.0
        };
        let least_share = 0.5 * self.weight / self.total;
        self.share = (mass / self.total).max(least_share).min(Self::SHARE);
        mean = mean.max(self.start * LEAST_EXCESS).max(f64::MIN_POSITIVE);
        self.shape = if variance > 0.0 {
            (0.5 * (1.0 - mean * mean / variance)).clamp(0.0, LARGEST_SHAPE)
        } else {
            0.0
        };
        self.scale = mean * (1.0 - self.shape);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the probability of more is e⁻⁵: the surprise is some 2.2.
    const RARE: f64 = 5.0;

    /// Exponentially distributed values.
    fn take(tail: &mut Tail<2, 1000>, values: u32) {
        for i in 0..values {
            let share = (f64::from(i * 37 % 1009) + 0.5) / 1009.0;
            tail.step(-share.ln());
        }
    }

    #[test]
    fn a_spike_blinds_only_until_it_is_forgotten() {
        let mut tail = Tail::<2, 1000>::default();
        let surprise = |tail: &Tail<2, 1000>| tail.clone().step(RARE);
        take(&mut tail, 2_000);
        assert!((1.9..2.6).contains(&surprise(&tail)), "{tail:?}");
        tail.step(1e6);
        assert!(surprise(&tail) < 1.7, "{tail:?}");
        take(&mut tail, 20_000);
        assert!((1.9..2.6).contains(&surprise(&tail)), "{tail:?}");
    }
}
