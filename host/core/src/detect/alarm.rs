//! One alarm for all series: when it begins, lasts and ends.

use std::collections::BTreeSet;

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

/// Rows after the end of an alarm in which its echoes begin no other: several series together, or one
/// that carried it.
const REST: u32 = 45;

/// The state of the alarm.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Alarm {
    sum: f64,
    on: bool,
    age: u32,
    quiet: u32,
    rest: u32,
    /// The numbers of the series that carried it, until its rest is over.
    carriers: BTreeSet<usize>,
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

/// The strongest evidence that a single series brings.
#[derive(Debug, Clone, Copy, Default)]
struct Alone {
    unusual: f64,
    saturation: f64,
}

impl Alone {
    fn add(&mut self, evidence: Evidence) {
        self.unusual = self.unusual.max(evidence.unusual);
        self.saturation = self.saturation.max(evidence.saturation);
    }

    /// Among so many series; 1 at the threshold.
    fn level(self, series: u32) -> f64 {
        let among_others = ALONE * (1.0 + f64::from(series.max(1)).log10());
        (self.unusual / among_others).max(self.saturation / SATURATED)
    }
}

/// The strongest evidences of one row.
#[derive(Debug, Clone, Copy, Default)]
struct Strongest {
    alone: Alone,
    /// Of the series that did not carry the last alarm.
    fresh: Alone,
    shifts: [f64; TOGETHER],
    series: u32,
}

impl Strongest {
    fn add(&mut self, evidence: Evidence, is_carrier: bool) {
        self.series += 1;
        self.alone.add(evidence);
        if !is_carrier {
            self.fresh.add(evidence);
        }
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
    (evidence.unusual / ALONE)
        .max(evidence.saturation / SATURATED)
        .max(evidence.shift / DRIFT)
}

impl Alarm {
    /// The numbers of the series that have carried the alarm so far.
    pub(super) fn carriers(&self) -> &BTreeSet<usize> {
        &self.carriers
    }

    /// Takes up a row: what each series that has a value says. `open` says whether an alarm may begin.
    #[allow(clippy::cast_precision_loss, reason = "a handful of series")]
    pub(super) fn step(&mut self, series: &[Option<Evidence>], open: bool) -> Level {
        let mut row = Strongest::default();
        for (id, evidence) in series.iter().enumerate() {
            if let Some(evidence) = evidence {
                row.add(*evidence, self.carriers.contains(&id));
            }
        }
        let alone = row.alone.level(row.series);
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
                    carriers: std::mem::take(&mut self.carriers),
                    ..Self::default()
                };
            }
        } else {
            let resting = self.rest > 0;
            let begins = if resting {
                self.rest -= 1;
                self.sum = 0.0;
                row.fresh.level(row.series) >= 1.0
            } else {
                alone >= 1.0 || together >= 1.0
            };
            onset = open && begins;
            if onset || self.rest == 0 {
                self.carriers.clear();
            }
            if onset {
                *self = Self {
                    on: true,
                    ..Self::default()
                };
            }
        }
        if self.on {
            let carrying = series.iter().enumerate();
            let carrying =
                carrying.filter(|(_, evidence)| evidence.is_some_and(|e| part(e) >= 1.0));
            self.carriers.extend(carrying.map(|(id, _)| id));
        }
        Level {
            alone,
            together,
            on: self.on,
            onset,
        }
    }
}
