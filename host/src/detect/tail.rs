//! How improbable a magnitude is, by the history of its own kind.

use serde::{Deserialize, Serialize};

/// Bins of the histogram: 16 octaves down from the largest magnitude seen.
const BINS: usize = 128;

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

/// What makes the tail of a history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct TailOptions {
    /// The share of the history that counts as its tail.
    pub(super) share: f64,
    /// Values after which history counts for 1/e.
    pub(super) memory: f64,
}

/// A decaying histogram of magnitudes, eight bins an octave (the top three bits of the mantissa).
/// Above its highest `share` a generalised Pareto, fitted by moments (Hosking & Wallis 1987),
/// continues it to magnitudes that were never seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tail {
    options: TailOptions,
    /// Weights by bin, from the highest bin downwards; none before the first magnitude.
    counts: Vec<f32>,
    top: i64,
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BothWays {
    up: Tail,
    down: Tail,
}

impl BothWays {
    pub(super) fn new(options: TailOptions) -> Self {
        Self {
            up: Tail::new(options),
            down: Tail::new(options),
        }
    }

    /// As [`Tail::step`], by the value's sign.
    pub(super) fn step(&mut self, value: f64) -> f64 {
        let up = self.up.step(value.max(0.0));
        up.max(self.down.step((-value).max(0.0)))
    }
}

/// The bin of a positive magnitude.
fn bin(x: f64) -> i64 {
    i64::try_from(x.to_bits() >> 49).unwrap_or(i64::MAX)
}

/// The lower edge of a bin.
fn edge(bin: i64) -> f64 {
    f64::from_bits(u64::try_from(bin.max(1)).unwrap_or(1) << 49)
}

impl Tail {
    pub(super) fn new(options: TailOptions) -> Self {
        Self {
            options,
            counts: Vec::new(),
            top: 0,
            total: 0.0,
            weight: 1.0,
            rows: 0,
            stale: REFIT_AFTER,
            start: f64::MAX,
            share: options.share,
            scale: 1.0,
            shape: 0.0,
        }
    }

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
            (beyond - self.share.log10()).min(BEYOND_HISTORY + f64::from(self.rows).log10())
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
        reason = "weights are rescaled long before an f32 cannot tell them apart"
    )]
    fn push(&mut self, magnitude: f64) {
        self.rows = self.rows.saturating_add(1);
        self.total += self.weight;
        self.stale += 1;
        if magnitude > 0.0 {
            let at = bin(magnitude);
            if self.counts.is_empty() {
                self.counts = vec![0.0; BINS];
                self.top = at;
            }
            if at > self.top {
                let by = usize::try_from(at - self.top).map_or(BINS, |by| by.min(BINS));
                self.counts.rotate_right(by % BINS);
                self.counts[..by].fill(0.0);
                self.top = at;
                self.stale = REFIT_AFTER;
            }
            let below = usize::try_from(self.top - at).unwrap_or(BINS);
            if let Some(count) = self.counts.get_mut(below) {
                *count += self.weight as f32;
            }
            if magnitude > self.start {
                self.stale = REFIT_AFTER;
            }
        }
        self.weight *= 1.0 + 1.0 / self.options.memory;
        if self.weight > 1e6 {
            let factor = 1.0 / self.weight;
            self.counts.iter_mut().for_each(|c| *c *= factor as f32);
            self.total *= factor;
            self.weight = 1.0;
        }
    }

    fn fit(&mut self) {
        self.stale = 0;
        let want = self.options.share * self.total;
        let (mut mass, mut tail) = (0.0, 0);
        for &count in &self.counts {
            let more = mass + f64::from(count);
            if more > want {
                break;
            }
            mass = more;
            tail += 1;
        }
        // When less than the tail's share was ever above zero, all that is seen is tail.
        let bin_at = |k: usize| self.top - i64::try_from(k).unwrap_or(i64::MAX);
        self.start = if self.counts.is_empty() {
            0.0
        } else {
            edge(bin_at(tail.min(BINS - 1)) + 1)
        };
        let (mut mean, mut squares) = (0.0, 0.0);
        for (k, &count) in self.counts[..tail].iter().enumerate() {
            if count > 0.0 {
                let middle = 0.5 * (edge(bin_at(k)) + edge(bin_at(k) + 1));
                let excess = middle - self.start;
                mean += f64::from(count) * excess;
                squares += f64::from(count) * excess * excess;
            }
        }
        let variance = if mass > 0.0 {
            mean /= mass;
            squares / mass - mean * mean
        } else {
            0.0
        };
        let least_share = 0.5 * self.weight / self.total;
        self.share = (mass / self.total).max(least_share).min(self.options.share);
        mean = mean.max(self.start * LEAST_EXCESS).max(f64::MIN_POSITIVE);
        self.shape = if variance > 0.0 {
            (0.5 * (1.0 - mean * mean / variance)).clamp(0.0, LARGEST_SHAPE)
        } else {
            0.0
        };
        self.scale = mean * (1.0 - self.shape);
    }
}
