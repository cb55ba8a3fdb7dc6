//! Whether an anomaly that was told is over: what carried it is back, or is accepted as normal.
//!
//! An alarm is short, so that a change for good is told once. The anomaly behind it lasts as long as
//! what carried it stays far from what is normal in the long run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::normal::ACCEPT_AFTER;

/// Rows in a row on which nothing that carried it is far from normal, after which it is over.
const QUIET: u32 = 2;

/// The anomaly that lasts, if one does.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Lasting {
    /// The numbers of the series that carried its alarm.
    carriers: BTreeSet<usize>,
    rows: u32,
    quiet: u32,
}

impl Lasting {
    /// Takes up a row with an alarm that these series carry.
    pub(super) fn alarm(&mut self, onset: bool, carriers: &BTreeSet<usize>) {
        self.rows = if onset { 0 } else { self.rows + 1 };
        // The alarm ends with a wait of its own.
        self.quiet = QUIET - 1;
        self.carriers.extend(carriers);
    }

    /// Takes up a row without an alarm; whether the anomaly still lasts. `is_far` says whether a
    /// series is far from its normal.
    pub(super) fn calm(&mut self, is_far: impl Fn(usize) -> bool) -> bool {
        if self.carriers.is_empty() {
            return false;
        }
        self.rows += 1;
        self.quiet = if self.carriers.iter().any(|&id| is_far(id)) {
            0
        } else {
            self.quiet + 1
        };
        if self.quiet >= QUIET || self.rows >= ACCEPT_AFTER {
            *self = Self::default();
            return false;
        }
        true
    }

    /// Whether a series carried its alarm.
    pub(super) fn carries(&self, id: usize) -> bool {
        self.carriers.contains(&id)
    }
}
