//! How often magnitudes occurred, over many orders and in little room.

use serde::{Deserialize, Serialize};

/// Bins of a fine octave: by the top three bits of the mantissa.
const EIGHTHS: usize = 8;

/// Bins of the highest eight octaves, and with the eight below them, a bin each.
const FINE: usize = 8 * EIGHTHS;
const BINS: usize = FINE + 8;

/// Octaves that are counted at all, down from the highest.
const OCTAVES: usize = FINE / EIGHTHS + (BINS - FINE);

/// A histogram of positive magnitudes that moves up with the largest one, and down again when that
/// is forgotten. Its size does not depend on the values: 288 bytes after the first one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub(super) struct Histogram {
    /// Weights from the highest bin downwards; none before the first magnitude.
    weights: Box<[f32]>,
    /// The highest octave: the biased exponent of its magnitudes.
    top: u16,
}

/// One bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bin {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) weight: f64,
}

impl Histogram {
    /// Counts a magnitude above zero with this weight. Whether it is beyond all octaves so far.
    pub(super) fn add(&mut self, magnitude: f64, weight: f32) -> bool {
        let (octave, eighth) = place(magnitude);
        if self.weights.is_empty() {
            self.weights = vec![0.0; BINS].into();
            self.top = octave;
        }
        let rises = octave > self.top;
        if rises {
            for _ in 0..usize::from(octave - self.top).min(OCTAVES) {
                self.raise();
            }
            self.top = octave;
        }
        let below = usize::from(self.top - octave);
        let at = if below * EIGHTHS < FINE {
            (below + 1) * EIGHTHS - 1 - eighth
        } else {
            FINE + below - FINE / EIGHTHS
        };
        // What is lower than all octaves is the body of any history.
        if let Some(held) = self.weights.get_mut(at) {
            *held += weight;
        }
        rises
    }

    /// Multiplies all weights. Then lets the highest octaves go in which less than `least` is left,
    /// so that one spike does not coarsen what follows it for good.
    pub(super) fn rescale(&mut self, factor: f32, least: f32) {
        self.weights.iter_mut().for_each(|weight| *weight *= factor);
        while !self.weights.is_empty() {
            if self.weights.iter().sum::<f32>() < least {
                // Little may be left from the beginning, or of several octaves with little each.
                self.weights = Box::default();
            } else if self.weights[..EIGHTHS].iter().sum::<f32>() < least {
                self.lower();
            } else {
                break;
            }
        }
    }

    /// The bins from the highest downwards; none before the first magnitude.
    pub(super) fn bins(&self) -> impl Iterator<Item = Bin> + Clone {
        self.weights.iter().enumerate().map(|(at, &weight)| {
            let top = u64::from(self.top) + 1;
            let (low, high) = if at < FINE {
                let above = at as u64;
                let high = (top * EIGHTHS as u64).saturating_sub(above);
                (high.saturating_sub(1), high)
            } else {
                let above = (at - FINE + FINE / EIGHTHS) as u64;
                let high = top.saturating_sub(above);
                let eighths = EIGHTHS as u64;
                (high.saturating_sub(1) * eighths, high * eighths)
            };
            Bin {
                low: edge(low),
                high: edge(high),
                weight: f64::from(weight),
            }
        })
    }

    /// Makes room for one octave above.
    fn raise(&mut self) {
        let (fine, coarse) = self.weights.split_at_mut(FINE);
        coarse.rotate_right(1);
        coarse[0] = fine[FINE - EIGHTHS..].iter().sum();
        fine.rotate_right(EIGHTHS);
        fine[..EIGHTHS].fill(0.0);
    }

    /// Lets the highest octave go. Where in the first coarse one its weight was is not known.
    #[allow(clippy::cast_precision_loss, reason = "eight")]
    fn lower(&mut self) {
        let (fine, coarse) = self.weights.split_at_mut(FINE);
        fine.rotate_left(EIGHTHS);
        fine[FINE - EIGHTHS..].fill(coarse[0] / EIGHTHS as f32);
        coarse.rotate_left(1);
        if let Some(lowest) = coarse.last_mut() {
            *lowest = 0.0;
        }
        self.top = self.top.saturating_sub(1);
    }
}

/// The octave of a magnitude above zero, and its eighth.
fn place(magnitude: f64) -> (u16, usize) {
    let eighths = magnitude.to_bits() >> 49;
    // Without the sign eleven bits are left.
    let octave = u16::try_from(eighths >> 3).unwrap_or(u16::MAX);
    (octave, usize::from(eighths.to_le_bytes()[0] & 7))
}

/// The lower edge of an eighth of an octave, counted from the smallest magnitude.
fn edge(eighth: u64) -> f64 {
    f64::from_bits(eighth << 49)
}

/// What a histogram is restored from.
#[derive(Serialize, Deserialize)]
struct Saved {
    weights: Box<[f32]>,
    top: u16,
}

impl From<Histogram> for Saved {
    fn from(Histogram { weights, top }: Histogram) -> Self {
        Self { weights, top }
    }
}

impl TryFrom<Saved> for Histogram {
    type Error = String;

    fn try_from(Saved { weights, top }: Saved) -> Result<Self, Self::Error> {
        if !weights.is_empty() && weights.len() != BINS {
            return Err(format!("a histogram of {} bins", weights.len()));
        }
        if top > place(f64::MAX).0 {
            return Err(format!("a histogram of magnitudes up to 2^{top}"));
        }
        Ok(Self { weights, top })
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "edges and small counts are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(magnitudes: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        for &magnitude in magnitudes {
            histogram.add(magnitude, 1.0);
        }
        histogram
    }

    proptest! {
        /// In whatever order they come, each is in the bin around it.
        #[test]
        fn a_magnitude_is_in_its_bin(mut magnitudes in prop::collection::vec(1e-3..6e1, 1..50)) {
            let held = of(&magnitudes);
            for bin in held.bins() {
                let within = magnitudes.iter().filter(|m| (bin.low..bin.high).contains(*m));
                let weight = within.map(|_| 1.0).sum::<f64>();
                prop_assert_eq!(weight, bin.weight, "{:?}", bin);
            }
            magnitudes.sort_by(f64::total_cmp);
            let again = of(&magnitudes);
            prop_assert!(held.bins().eq(again.bins()));
        }

        /// The bins touch each other, at any magnitude that a double has.
        #[test]
        fn bins_leave_no_gap(magnitude in prop::num::f64::POSITIVE) {
            let held = of(&[magnitude]);
            let bins: Vec<_> = held.bins().collect();
            prop_assert_eq!(bins.len(), BINS);
            prop_assert!(bins.windows(2).all(|two| two[0].low == two[1].high));
        }
    }

    #[test]
    fn a_spike_coarsens_only_until_it_is_forgotten() {
        let fine = of(&[1.0, 1.1, 1.2, 1.3]);
        let mut spiked = fine.clone();
        assert!(spiked.add(1e3, 0.01));
        let held = |histogram: &Histogram| {
            let bins = histogram.bins().filter(|bin| bin.weight > 0.0);
            bins.collect::<Vec<_>>()
        };
        assert_eq!(held(&spiked).len(), 2, "nine octaves lower, all are one");
        spiked.rescale(0.5, 0.01);
        let left = held(&spiked);
        assert_eq!(left.len(), EIGHTHS, "spread over their octave");
        assert_eq!(left[0].high, 2.0);
        assert_eq!(left.iter().map(|bin| bin.weight).sum::<f64>(), 2.0);
        spiked.rescale(1e-3, 0.01);
        assert_eq!(held(&spiked), []);
    }

    #[test]
    fn several_octaves_with_little_in_each_are_forgotten_together() {
        let mut histogram = of(&[1.0, 8.0, 8.0]);
        histogram.rescale(0.004, 0.01);
        assert_eq!(histogram.bins().count(), 0);
        let mut coarse = of(&[1.0, 1e3]);
        coarse.rescale(0.006, 0.01);
        assert_eq!(coarse.bins().count(), 0);
    }

    #[test]
    fn one_that_cannot_have_been_is_refused() {
        let good = serde_json::to_value(of(&[1.0])).unwrap();
        assert!(serde_json::from_value::<Histogram>(good.clone()).is_ok());
        for (field, value) in [
            ("weights", serde_json::json!([1.0, 2.0])),
            ("top", 2047.into()),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(serde_json::from_value::<Histogram>(bad).is_err(), "{field}");
        }
    }
}
