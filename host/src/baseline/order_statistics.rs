//! Indexable order statistics over a fixed set of slots.
//!
//! A treap (Seidel & Aragon, "Randomized search trees", 1996) whose nodes are the slots of the caller's ring buffer:
//! slot `i` of the ring is node `i` of the tree, so a value is stored once and links are plain indices. The heap
//! priority of a slot is a fixed hash of its number, which keeps the structure deterministic and costs no memory;
//! the depth stays logarithmic as long as the data does not know the hash. Every subtree knows its size, hence
//! insertion, removal, rank and selection in O(log n), and the median absolute deviation in O(log² n).

const NIL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    value: f64,
    left: u32,
    right: u32,
    size: u32,
}

/// A sorted multiset of finite numbers, each living in a slot named by the caller.
#[derive(Debug, Clone)]
pub struct OrderStatistics {
    nodes: Vec<Node>,
    root: u32,
}

impl Default for OrderStatistics {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            root: NIL,
        }
    }
}

/// Finaliser of `SplitMix64` (Steele, Lea & Flood 2014): a bijection, so that priorities are distinct.
const fn priority(slot: u32) -> u64 {
    let mut z = (slot as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl OrderStatistics {
    /// How many values are held.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.size(self.root)
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root == NIL
    }

    /// The value in a slot that has been inserted and not been removed since.
    #[must_use]
    pub fn value(&self, slot: u32) -> f64 {
        self.nodes[slot as usize].value
    }

    /// Puts a finite value into a free slot. Slots must first be taken in the order 0, 1, 2, …
    pub fn insert(&mut self, slot: u32, value: f64) {
        debug_assert!(value.is_finite());
        let node = Node {
            value,
            left: NIL,
            right: NIL,
            size: 1,
        };
        if slot as usize == self.nodes.len() {
            self.nodes.push(node);
        } else {
            self.nodes[slot as usize] = node;
        }
        self.root = self.insert_below(self.root, slot);
    }

    /// Takes the value of an occupied slot out.
    pub fn remove(&mut self, slot: u32) {
        self.root = self.remove_below(self.root, slot);
    }

    /// The value with exactly `rank` values sorted before it.
    #[must_use]
    pub fn select(&self, mut rank: u32) -> Option<f64> {
        let mut at = self.root;
        while at != NIL {
            let node = self.nodes[at as usize];
            let before = self.size(node.left);
            match rank.cmp(&before) {
                std::cmp::Ordering::Less => at = node.left,
                std::cmp::Ordering::Equal => return Some(node.value),
                std::cmp::Ordering::Greater => {
                    rank -= before + 1;
                    at = node.right;
                }
            }
        }
        None
    }

    /// How many values are smaller than `value`.
    #[must_use]
    pub fn rank(&self, value: f64) -> u32 {
        let (mut at, mut smaller) = (self.root, 0);
        while at != NIL {
            let node = self.nodes[at as usize];
            if node.value < value {
                smaller += self.size(node.left) + 1;
                at = node.right;
            } else {
                at = node.left;
            }
        }
        smaller
    }

    /// Linear interpolation between the closest ranks (type 7 of Hyndman & Fan 1996); `fraction` in 0..=1.
    #[must_use]
    pub fn quantile(&self, fraction: f64) -> Option<f64> {
        let last = self.len().checked_sub(1)?;
        let position = fraction.clamp(0.0, 1.0) * f64::from(last);
        let (low, part) = split_position(position);
        let below = self.select(low.min(last))?;
        let above = self.select((low + 1).min(last))?;
        Some(below + part * (above - below))
    }

    /// The middle value, or the mean of the two middle ones.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// The median distance to `centre` (unscaled MAD when `centre` is the median).
    #[must_use]
    pub fn median_distance(&self, centre: f64) -> Option<f64> {
        let n = self.len();
        let upper = self.distance(centre, n / 2)?;
        if n % 2 == 1 {
            return Some(upper);
        }
        let lower = self.distance(centre, n / 2 - 1)?;
        Some(lower + 0.5 * (upper - lower))
    }

    /// The distance to `centre` with exactly `k` distances sorted before it.
    ///
    /// Below the centre the distances grow with falling rank, above it with rising rank: two sorted sequences,
    /// so the k-th of their union is found by halving the number taken from the lower one.
    fn distance(&self, centre: f64, k: u32) -> Option<f64> {
        let n = self.len();
        if k >= n {
            return None;
        }
        let below = self.rank(centre);
        let above = n - below;
        let left = |i: u32| self.select(below - 1 - i).map(|v| centre - v);
        let right = |i: u32| self.select(below + i).map(|v| v - centre);
        let (mut low, mut high) = (k.saturating_sub(above), k.min(below));
        while low < high {
            let middle = low + (high - low) / 2;
            if left(middle)? < right(k - middle - 1)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let from_left = if low < below { left(low) } else { None };
        let from_right = if k - low < above {
            right(k - low)
        } else {
            None
        };
        match (from_left, from_right) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn size(&self, at: u32) -> u32 {
        if at == NIL {
            0
        } else {
            self.nodes[at as usize].size
        }
    }

    /// Slots break ties, so that every key is distinct.
    fn goes_before(&self, a: u32, b: u32) -> bool {
        let (x, y) = (self.value(a), self.value(b));
        x < y || (x <= y && a < b)
    }

    fn resize(&mut self, at: u32) {
        let node = self.nodes[at as usize];
        self.nodes[at as usize].size = 1 + self.size(node.left) + self.size(node.right);
    }

    fn insert_below(&mut self, at: u32, slot: u32) -> u32 {
        if at == NIL {
            return slot;
        }
        if priority(slot) > priority(at) {
            let (left, right) = self.split(at, slot);
            let node = &mut self.nodes[slot as usize];
            (node.left, node.right) = (left, right);
            self.resize(slot);
            return slot;
        }
        let node = self.nodes[at as usize];
        if self.goes_before(slot, at) {
            self.nodes[at as usize].left = self.insert_below(node.left, slot);
        } else {
            self.nodes[at as usize].right = self.insert_below(node.right, slot);
        }
        self.nodes[at as usize].size += 1;
        at
    }

    fn remove_below(&mut self, at: u32, slot: u32) -> u32 {
        if at == NIL {
            return NIL;
        }
        let node = self.nodes[at as usize];
        if at == slot {
            return self.join(node.left, node.right);
        }
        if self.goes_before(slot, at) {
            self.nodes[at as usize].left = self.remove_below(node.left, slot);
        } else {
            self.nodes[at as usize].right = self.remove_below(node.right, slot);
        }
        self.resize(at);
        at
    }

    /// Parts the subtree into what sorts before the slot's value and what sorts after it.
    fn split(&mut self, at: u32, slot: u32) -> (u32, u32) {
        if at == NIL {
            return (NIL, NIL);
        }
        let node = self.nodes[at as usize];
        if self.goes_before(at, slot) {
            let (middle, right) = self.split(node.right, slot);
            self.nodes[at as usize].right = middle;
            self.resize(at);
            (at, right)
        } else {
            let (left, middle) = self.split(node.left, slot);
            self.nodes[at as usize].left = middle;
            self.resize(at);
            (left, at)
        }
    }

    /// Puts two subtrees together, all of `a` sorting before all of `b`.
    fn join(&mut self, a: u32, b: u32) -> u32 {
        if a == NIL {
            return b;
        }
        if b == NIL {
            return a;
        }
        if priority(a) > priority(b) {
            let right = self.nodes[a as usize].right;
            self.nodes[a as usize].right = self.join(right, b);
            self.resize(a);
            a
        } else {
            let left = self.nodes[b as usize].left;
            self.nodes[b as usize].left = self.join(a, left);
            self.resize(b);
            b
        }
    }
}

/// Whole and fractional part of a non-negative position below 2³².
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn split_position(position: f64) -> (u32, f64) {
    let whole = position.floor();
    (whole as u32, position - whole)
}
