//! Durations counted in bins that widen with the value: log-linear, 32 bins for each power of two,
//! so that a value is known to 1 part in 32 and a quantile to 1 in 64.
//!
//! The layout is that of HDR histograms (Gil Tene, <https://hdrhistogram.org>) with five bits of
//! precision. Pure arithmetic; the atomic counters of the hot path use the same bins.

/// Bits of precision: each power of two is divided into `1 << BITS` bins.
const BITS: u32 = 5;
/// Bins of one power of two.
const SUB: usize = 1 << BITS;
/// Durations from here on are counted in the last bin: 2^42 ns, 73 minutes.
const MOST: u64 = (1 << 42) - 1;
/// Number of bins; a multiple of [`SUB`].
pub const BINS: usize = bin(MOST) + 1;
const _: () = assert!(BINS.is_multiple_of(SUB));

/// The bin of a duration in nanoseconds.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "bounded by MOST, so below BINS"
)]
pub(super) const fn bin(duration_ns: u64) -> usize {
    let value = if duration_ns > MOST {
        MOST
    } else {
        duration_ns
    };
    // Below SUB a bin for each nanosecond; the lowest bits are dropped above.
    let magnitude = (value | (SUB as u64 - 1)).ilog2();
    let shift = magnitude.saturating_sub(BITS);
    // `wrapping_add`: it cannot overflow, and a check would cost on the hot path.
    ((shift as usize) << BITS).wrapping_add((value >> shift) as usize)
}

/// The smallest and the largest duration of a bin, nanoseconds.
pub(super) const fn bounds(bin: usize) -> (u64, u64) {
    if bin < 2 * SUB {
        return (bin as u64, bin as u64);
    }
    let shift = bin / SUB - 1;
    let low = ((bin - shift * SUB) as u64) << shift;
    (low, low + (1 << shift) - 1)
}

/// Counts of durations, to ask for quantiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    bins: Box<[u64; BINS]>,
    count: u64,
    min_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            bins: Box::new([0; BINS]),
            count: 0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration, nanoseconds.
    pub fn record(&mut self, duration_ns: u64) {
        self.bins[bin(duration_ns)] += 1;
        self.count += 1;
        self.min_ns = self.min_ns.min(duration_ns);
        self.max_ns = self.max_ns.max(duration_ns);
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.bins.iter_mut().zip(other.bins.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// From bare counts. `extremes` are the smallest and the largest duration as far as they are
    /// known; the bins correct them where they cannot be right.
    pub(super) fn from_bins(bins: Box<[u64; BINS]>, extremes: Option<(u64, u64)>) -> Self {
        let count = bins.iter().sum();
        let first = bins.iter().position(|&n| n > 0).map(bounds);
        let last = bins.iter().rposition(|&n| n > 0).map(bounds);
        let (Some(first), Some(last)) = (first, last) else {
            return Self::default();
        };
        let (min, max) = extremes.unwrap_or((first.0, last.1));
        // The last bin has no upper end.
        let most = if last.1 >= MOST { u64::MAX } else { last.1 };
        Self {
            bins,
            count,
            min_ns: min.clamp(first.0, first.1),
            max_ns: max.clamp(last.0, most),
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest duration, nanoseconds; none when nothing was counted.
    pub fn min_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min_ns)
    }

    /// The largest duration, nanoseconds; none when nothing was counted.
    pub fn max_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max_ns)
    }

    /// The durations below which these shares of all lie, nanoseconds, right to 1 part in 64. The
    /// shares, 0 to 1, must ascend. None when nothing was counted.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is a rounded share of a count"
    )]
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> Option<[u64; N]> {
        if self.count == 0 || N == 0 {
            return None;
        }
        let ranks =
            shares.map(|share| ((share * self.count as f64).ceil() as u64).clamp(1, self.count));
        let mut found = [self.max_ns; N];
        let mut next = 0;
        let mut seen = 0;
        // A power of two at a time; only the ones in which a rank falls are walked.
        for (octave, counts) in self.bins.chunks_exact(SUB).enumerate() {
            let total: u64 = counts.iter().sum();
            if seen + total < ranks[next] {
                seen += total;
                continue;
            }
            for (offset, count) in counts.iter().enumerate() {
                seen += count;
                while ranks[next] <= seen {
                    let (low, high) = bounds(octave * SUB + offset);
                    found[next] = (low + (high - low) / 2).clamp(self.min_ns, self.max_ns);
                    next += 1;
                    if next == N {
                        return Some(found);
                    }
                }
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_follow_each_other_without_gap_or_overlap() {
        let mut expected = 0;
        for index in 0..BINS {
            let (low, high) = bounds(index);
            assert_eq!(low, expected, "bin {index}");
            assert_eq!((bin(low), bin(high)), (index, index));
            assert!((high - low) * 32 <= low, "bin {index} is too wide");
            expected = high + 1;
        }
        assert_eq!(expected, MOST + 1);
        assert_eq!(bin(u64::MAX), BINS - 1);
    }

    #[test]
    fn a_quantile_is_right_to_one_part_in_64() {
        let mut histogram = Histogram::default();
        let mut values: Vec<u64> = (1..20_000_u64).map(|n| n * n % 7_919 * n + n).collect();
        for &value in &values {
            histogram.record(value);
        }
        values.sort_unstable();
        let shares = [0.0, 0.5, 0.95, 0.99, 1.0];
        let found = histogram.quantiles(shares).unwrap();
        for (share, found) in shares.into_iter().zip(found) {
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small numbers"
            )]
            let rank = ((share * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            assert!(
                found.abs_diff(exact) * 64 <= exact + 63,
                "{share}: {found}, exact {exact}"
            );
        }
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Histogram::default().quantiles([0.5]), None);
        assert_eq!(Histogram::default().min_ns(), None);
    }

    #[test]
    fn one_value_is_every_quantile() {
        for value in [0, 1, 31, 32, 63, 64, 1_000_003, MOST, u64::MAX] {
            let mut histogram = Histogram::default();
            histogram.record(value);
            assert_eq!(histogram.quantiles([0.0, 0.5, 1.0]), Some([value; 3]));
        }
    }
}
