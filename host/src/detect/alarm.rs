//! One alarm for all series: when it begins, lasts and ends.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;

/// The evidence that one series alone must bring, when it is the only one: the mean of its views'
/// `-log10` probability, so one in a hundred in each of them. With more series there are more
/// chances, and it rises with their logarithm.
const ALONE: f64 = 2.0;

/// The share of the most that its history can say, at which one series alone brings an alarm however
/// many others there are: with a hundred series, the evidence above could not be had before some
/// ten thousand rows.
const SATURATED: f64 = 0.9;

/// Series that must shift together to bring an alarm that none of them brings alone.
const TOGETHER: usize = 4;

/// What their mean shift must exceed to count for an alarm, and the sum of the excess at which it
/// begins: a CUSUM (Page 1954).
const DRIFT: f64 = 1.0;
const ENOUGH: f64 = 1.25;

/// Rows that an alarm lasts at most. What stays so for longer is told, and no longer new: in its
/// values a trouble that stays cannot be told from a harmless change of the workload for good.
const LONGEST: u32 = 8;

/// Rows without evidence after which an alarm is over.
const QUIET: u32 = 2;

/// Rows after the end of an alarm in which its echoes begin no other.
const REST: u32 = 45;

/// The state of the alarm.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Alarm {
    sum: f64,
    on: bool,
    age: u32,
    quiet: u32,
    rest: u32,
}

/// What one row does to the alarm.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Level {
    /// The evidence of the strongest series alone; 1 at the threshold.
    pub(super) alone: f64,
    /// The evidence of several series together; 1 at the threshold.
    pub(super) together: f64,
    pub(super) on: bool,
    pub(super) onset: bool,
}

/// The strongest evidences of one row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strongest {
    unusual: f64,
    saturation: f64,
    shifts: [f64; TOGETHER],
    series: u32,
}

impl Strongest {
    /// Takes up what one series says.
    pub(super) fn add(&mut self, evidence: Evidence) {
        self.series += 1;
        self.unusual = self.unusual.max(evidence.unusual);
        self.saturation = self.saturation.max(evidence.saturation);
        let mut shift = evidence.shift;
        for held in &mut self.shifts {
            if shift > *held {
                std::mem::swap(held, &mut shift);
            }
        }
    }
}

/// What one series brings to an alarm, as a share of the threshold.
pub(super) fn part(evidence: Evidence) -> f64 {
    (evidence.unusual / ALONE).max(evidence.shift / DRIFT)
}

impl Alarm {
    /// Takes up a row. `open` says whether an alarm may begin.
    #[allow(clippy::cast_precision_loss, reason = "a handful of series")]
    pub(super) fn step(&mut self, row: &Strongest, open: bool) -> Level {
        let among_others = ALONE * (1.0 + f64::from(row.series.max(1)).log10());
        let alone = (row.unusual / among_others).max(row.saturation / SATURATED);
        let shift = row.shifts.iter().sum::<f64>() / TOGETHER as f64;
        if !self.on {
            self.sum = (self.sum + shift - DRIFT).max(0.0);
        }
        // While the alarm lasts, as far as it is still so.
        let together = if self.on {
            shift / DRIFT
        } else {
            self.sum / ENOUGH
        };
        let mut onset = false;
        if self.on {
            self.age += 1;
            self.quiet = if alone >= 1.0 || shift >= 0.5 * DRIFT {
                0
            } else {
                self.quiet + 1
            };
            if self.quiet >= QUIET || self.age >= LONGEST {
                *self = Self {
                    rest: REST,
                    ..Self::default()
                };
            }
        } else if self.rest > 0 {
            self.rest -= 1;
            self.sum = 0.0;
        } else if open && (alone >= 1.0 || together >= 1.0) {
            onset = true;
            *self = Self {
                on: true,
                ..Self::default()
            };
        }
        Level {
            alone,
            together,
            on: self.on,
            onset,
        }
    }
}
