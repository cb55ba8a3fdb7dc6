//! What is expected at an hour of the day or of the week.

use serde::{Deserialize, Serialize};

const HOUR_MS: u64 = 3_600_000;

/// Values of one hour that are kept for its median. Of more, every second one is let go.
const VALUES_KEPT: usize = 128;

/// The weight of the newest cycle in an hour's expected value.
const NEWEST: f64 = 0.3;

/// The hours of a day and of a week.
const DAY: usize = 24;
const WEEK: usize = 168;

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// For each hour of the day and of the week an exponentially weighted mean of that hour's medians,
/// cycle by cycle. The median keeps an incident within an hour from being learned; the weight lets
/// slow change through.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Season {
    expected: Expected,
    hour: usize,
    /// Values of this hour, each so many values after the one before.
    values: Vec<f64>,
    stride: u32,
    /// Values to be left out before the next one is kept.
    left_out: u32,
}

/// What is expected by hour of the week, then by hour of the day. Takes no room in the first hour.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Expected {
    values: Vec<f64>,
    /// Which of the hours were seen, a bit each.
    seen: [u64; (WEEK + DAY) / WORD],
}

impl Expected {
    fn get(&self, at: usize) -> Option<f64> {
        let seen = self.seen.get(at / WORD)? >> (at % WORD) & 1 == 1;
        self.values.get(at).copied().filter(|_| seen)
    }

    fn set(&mut self, at: usize, value: f64) {
        self.values.resize(WEEK + DAY, 0.0);
        if let (Some(held), Some(seen)) = (self.values.get_mut(at), self.seen.get_mut(at / WORD)) {
            *held = value;
            *seen |= 1 << (at % WORD);
        }
    }
}

impl Season {
    pub(super) fn new() -> Self {
        Self {
            expected: Expected::default(),
            hour: 0,
            values: Vec::new(),
            stride: 1,
            left_out: 0,
        }
    }

    /// What was expected at this time, before the value is learned: by the hour of the day, or of
    /// the week where that is nearer. None in the first day.
    pub(super) fn step(&mut self, at_ms: u64, value: f64) -> Option<f64> {
        let hour = usize::try_from(at_ms / HOUR_MS % WEEK as u64).unwrap_or(0);
        if hour != self.hour && !self.values.is_empty() {
            let middle = self.values.len() / 2;
            let (_, &mut median, _) = self.values.select_nth_unstable_by(middle, f64::total_cmp);
            for at in [self.hour, WEEK + self.hour % DAY] {
                let old = self.expected.get(at);
                let new = old.map_or(median, |old| old + NEWEST * (median - old));
                self.expected.set(at, new);
            }
            self.values.clear();
            (self.stride, self.left_out) = (1, 0);
        }
        self.hour = hour;
        self.keep(value);
        match (
            self.expected.get(WEEK + hour % DAY),
            self.expected.get(hour),
        ) {
            (Some(day), Some(week)) if (value - week).abs() < (value - day).abs() => Some(week),
            (day, _) => day,
        }
    }

    /// Keeps values evenly spread over the hour, however many there are.
    fn keep(&mut self, value: f64) {
        if self.left_out > 0 {
            self.left_out -= 1;
            return;
        }
        if self.values.len() >= VALUES_KEPT {
            let mut nth = 0;
            self.values.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.stride = self.stride.saturating_mul(2);
        }
        self.values.push(value);
        self.left_out = self.stride.saturating_sub(1);
    }
}
