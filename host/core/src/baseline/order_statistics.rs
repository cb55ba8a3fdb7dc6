//! Order statistics over a multiset of numbers that changes one value at a time.
//!
//! A B+-tree of two levels whose upper level is flat: sorted leaves of up to [`LEAF`] values, and above them two arrays
//! with the first value and the first rank of each leaf. Finding a value or a rank is one binary search over an array and
//! one within a leaf; a change moves at most one leaf's values, and shifts the ranks between the leaf that lost a
//! value and the one that gained one, four or eight to an instruction. With at most 10,000 values there are at most
//! some 130 leaves: everything fits the second-level cache, and a search touches a few of its lines.

use std::ops::Range;

/// Values in a full leaf.
const LEAF: usize = 128;

/// Values in a leaf after everything has been laid out anew: room for the swing of a steady series.
const LAID_OUT: usize = 96;

/// When the leaves hold fewer than this on average, everything is laid out anew. Far enough from [`LAID_OUT`] that
/// it takes many splits to get here, so that the cost for each change stays small.
const LEAST_FILL: usize = 88;

/// A sorted multiset of finite numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct OrderStatistics {
    /// Never empty ones; no value is greater than one of a later leaf.
    leaves: Vec<Vec<f64>>,
    /// The first value of each leaf.
    firsts: Vec<f64>,
    /// The number of values in the leaves before each.
    starts: Vec<u32>,
    len: u32,
}

impl OrderStatistics {
    /// How many values are held.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Puts a finite value in.
    pub(super) fn insert(&mut self, value: f64) {
        let to = self.put(value);
        self.len += 1;
        shift(&mut self.starts[to + 1..], 1);
    }

    /// Puts a finite value in and takes `old`, which must be held, out.
    pub(super) fn replace(&mut self, old: f64, new: f64) {
        let to = self.put(new);
        let from = self.leaf_of(old);
        let leaf = &mut self.leaves[from];
        leaf.remove(leaf.partition_point(|v| *v < old));
        if let Some(first) = leaf.first() {
            self.firsts[from] = *first;
            if from < to {
                shift(&mut self.starts[from + 1..=to], u32::MAX);
            } else {
                shift(&mut self.starts[to + 1..=from], 1);
            }
        } else {
            self.leaves.remove(from);
            self.index();
        }
    }

    /// The value with exactly `rank` values sorted before it.
    pub(super) fn select(&self, rank: u32) -> Option<f64> {
        (rank < self.len).then(|| self.at(rank))
    }

    /// How many values are smaller than `value`, and how many smaller or equal.
    pub(super) fn ranks(&self, value: f64) -> (u32, u32) {
        (
            self.count_while(|v| v < value),
            self.count_while(|v| v <= value),
        )
    }

    /// Linear interpolation between the closest ranks (type 7 of Hyndman & Fan 1996); `fraction` in 0..=1.
    pub(super) fn quantile(&self, fraction: f64) -> Option<f64> {
        let last = self.len.checked_sub(1)?;
        let position = fraction.clamp(0.0, 1.0) * f64::from(last);
        let (low, part) = split_position(position);
        let low = low.min(last);
        let (leaf, offset) = self.locate(low, 0..self.leaves.len());
        let below = self.leaves[leaf][offset];
        let above = match self.leaves[leaf].get(offset + 1) {
            Some(next) => *next,
            None => self.firsts.get(leaf + 1).copied().unwrap_or(below),
        };
        Some(below + part * (above - below))
    }

    /// The median distance to `centre` (unscaled MAD when `centre` is the median).
    ///
    /// The k nearest values stand together in sorted order, so all that is sought is where they begin.
    pub(super) fn median_distance(&self, centre: f64) -> Option<f64> {
        let last = self.len.checked_sub(1)?;
        let beyond = self.len / 2;
        let begin = self.nearest(centre, beyond + 1);
        let left = centre - self.at(begin);
        let right = self.at(begin + beyond) - centre;
        let farthest = left.max(right);
        if last % 2 == 0 {
            return Some(farthest);
        }
        // An even number: the mean of this and the next nearer one.
        let nearer = if left >= right {
            right.max(centre - self.at(begin + 1))
        } else {
            left.max(self.at(begin + beyond - 1) - centre)
        };
        Some(nearer + 0.5 * (farthest - nearer))
    }

    /// The rank at which the `count` (1 to all) values nearest to `centre` begin.
    ///
    /// A range of so many values can be bettered by moving it up as long as the value that would leave it is farther
    /// off than the one that would enter. The leaf in which that ends is sought first, then the place in it.
    fn nearest(&self, centre: f64, count: u32) -> u32 {
        let end = self.len - count;
        let farther = |leaving: f64, entering: f64| centre - leaving > entering - centre;
        let (mut leaf, mut leaves) = (0, self.starts.partition_point(|start| *start < end));
        // Between them, the leaf from which the next value would enter: it moves up with the one that would leave.
        let (mut nearer, mut further) = (0, self.leaves.len());
        while leaf < leaves {
            let middle = leaf.midpoint(leaves);
            let (entering, offset) = self.locate(self.starts[middle] + count, nearer..further);
            if farther(self.firsts[middle], self.leaves[entering][offset]) {
                (leaf, nearer) = (middle + 1, entering);
            } else {
                (leaves, further) = (middle, entering + 1);
            }
        }
        // The last leaf whose first value must leave; none if the lowest range is the best.
        let Some(leaf) = leaf.checked_sub(1) else {
            return 0;
        };
        let (values, start) = (&self.leaves[leaf], self.starts[leaf]);
        let mut low = start + 1;
        let mut high = end.min(self.starts.get(leaf + 1).copied().unwrap_or(end));
        if low >= high {
            return low;
        }
        // The values that would enter are in one leaf, or in a few that follow each other.
        let (mut leaf, _) = self.locate(low + count, nearer..further);
        while let Some(&next) = self.starts.get(leaf + 1)
            && next < high + count
        {
            let middle = next - count;
            if farther(values[(middle - start) as usize], self.firsts[leaf + 1]) {
                low = middle + 1;
                leaf += 1;
            } else {
                high = middle;
                break;
            }
        }
        let (entering, entering_start) = (&self.leaves[leaf], self.starts[leaf]);
        while low < high {
            let middle = low.midpoint(high);
            let entering = entering[(middle + count - entering_start) as usize];
            if farther(values[(middle - start) as usize], entering) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The value of this rank, which must exist.
    fn at(&self, rank: u32) -> f64 {
        let (leaf, offset) = self.locate(rank, 0..self.leaves.len());
        self.leaves[leaf][offset]
    }

    /// The leaf of a rank, which must be among the leaves `within`, and the place in it.
    fn locate(&self, rank: u32, within: Range<usize>) -> (usize, usize) {
        let starts = &self.starts[within.clone()];
        let leaf = within.start + starts.partition_point(|start| *start <= rank) - 1;
        (leaf, (rank - self.starts[leaf]) as usize)
    }

    /// How many values, all of them sorted before the others, satisfy the condition.
    fn count_while(&self, condition: impl Fn(f64) -> bool) -> u32 {
        let leaf = self.firsts.partition_point(|first| condition(*first));
        leaf.checked_sub(1).map_or(0, |leaf| {
            self.starts[leaf] + count(self.leaves[leaf].partition_point(|v| condition(*v)))
        })
    }

    /// The last leaf that holds `value`, or the one that it belongs into.
    fn leaf_of(&self, value: f64) -> usize {
        let leaf = self.firsts.partition_point(|first| *first <= value);
        leaf.saturating_sub(1)
    }

    /// Puts a value into its leaf, for which there is room afterwards too; the starts of later ones are not shifted.
    fn put(&mut self, value: f64) -> usize {
        if self.leaves.is_empty() {
            self.leaves.push(Vec::new());
            self.firsts.push(value);
            self.starts.push(0);
        }
        let mut to = self.leaf_of(value);
        if self.leaves[to].len() == LEAF {
            self.make_room(to);
            to = self.leaf_of(value);
        }
        let leaf = &mut self.leaves[to];
        let position = leaf.partition_point(|v| *v < value);
        leaf.insert(position, value);
        self.firsts[to] = leaf[0];
        to
    }

    /// Splits a full leaf, or lays everything out anew when there are too many leaves by now.
    fn make_room(&mut self, full: usize) {
        let upper = self.leaves[full].split_off(LEAF / 2);
        self.leaves.insert(full + 1, upper);
        if self.leaves.len() > 2 + self.len as usize / LEAST_FILL {
            self.lay_out();
        }
        self.index();
    }

    /// Fills leaves anew, freeing the old ones on the way.
    fn lay_out(&mut self) {
        let old = std::mem::take(&mut self.leaves);
        let mut leaf = Vec::with_capacity(LEAF);
        for value in old.into_iter().flatten() {
            if leaf.len() == LAID_OUT {
                self.leaves
                    .push(std::mem::replace(&mut leaf, Vec::with_capacity(LEAF)));
            }
            leaf.push(value);
        }
        self.leaves.push(leaf);
    }

    /// Takes the first values and the starts from the leaves.
    fn index(&mut self) {
        self.firsts.clear();
        self.firsts.extend(self.leaves.iter().map(|leaf| leaf[0]));
        self.starts.clear();
        self.starts
            .extend(self.leaves.iter().scan(0, |start, leaf| {
                let this = *start;
                *start += count(leaf.len());
                Some(this)
            }));
    }
}

/// Adds to each; without a check for overflow, which would keep it from being done four at a time.
fn shift(starts: &mut [u32], by: u32) {
    for start in starts {
        *start = start.wrapping_add(by);
    }
}

/// The length of something that holds no more than a window.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a window has far fewer values than 2^32"
)]
fn count(length: usize) -> u32 {
    length as u32
}

/// Whole and fractional part of a non-negative position below 2³².
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the position is not negative and below 2^32"
)]
fn split_position(position: f64) -> (u32, f64) {
    let whole = position.floor();
    (whole as u32, position - whole)
}
