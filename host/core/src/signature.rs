//! Signatures: what the metrics of a known trouble do, and which of them an anomaly looks like.
//!
//! A signature says which metrics move, which way, how strongly, and how much that differs from
//! episode to episode. It is learned from episodes ([`Signature::refine`]) or built in; built-in
//! ones are written on roles (`disk.write`, `lock.waits`) that the names of common exporters are
//! mapped to. Everything is relative to the normal rows of the same run, so that a signature holds
//! on another machine and under another load.
//!
//! It never says what should be done about a trouble, and never names one when the evidence is below [`DIAGNOSIS_BAR`].

mod built_in;
mod deviation;
mod file;
mod gaussian;
mod learn;
mod rank;
mod roles;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use built_in::built_in;
pub use deviation::{Deviations, LEAST_NORMAL_ROWS, NORMAL_ROWS, strength};
pub use file::{FileError, VERSION, check_name, parse, render};
pub use learn::EXAMPLES;
pub use rank::{DIAGNOSIS_BAR, Evidence, Match, Ranking};
pub use roles::{Roles, role_of};

/// What one metric does in a trouble, over the episodes it was seen in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Movement {
    /// Episodes in which the metric was measured.
    pub episodes: u32,
    /// Mean strength over the episodes, signed: up is positive. See [`strength`] for the unit.
    pub strength: f64,
    /// Standard deviation of the strength from episode to episode.
    pub spread: f64,
    /// The strength in each example, the same episodes in the same order for every metric of a
    /// signature; NaN where the metric was not measured. At most [`EXAMPLES`]. They tell which
    /// metrics move together.
    #[serde(with = "gaps")]
    pub seen: Vec<f64>,
}

/// What a known trouble looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Its name: letters, digits, `_`, `-` and `.`, 64 at most.
    pub name: String,
    /// One line for a person; may be empty.
    pub summary: String,
    /// Episodes it was learned from; 0 when a person wrote it.
    pub episodes: u32,
    /// What each metric does, by name.
    pub metrics: BTreeMap<String, Movement>,
}

/// Where a signature comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Learned from episodes of this installation.
    Learned,
    /// Built in, written on roles.
    BuiltIn,
}

/// All signatures that an anomaly is compared with.
#[derive(Debug, Clone)]
pub struct Signatures {
    learned: Vec<Signature>,
    built_in: Vec<Signature>,
    roles: Roles,
}

impl Default for Signatures {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Signatures {
    /// The learned ones beside the built-in ones.
    pub fn new(learned: Vec<Signature>) -> Self {
        Self {
            learned,
            built_in: built_in(),
            roles: Roles::built_in(),
        }
    }

    /// The same without the built-in ones.
    #[must_use]
    pub fn without_built_in(mut self) -> Self {
        self.built_in.clear();
        self
    }

    /// The learned ones, in the order they were given.
    pub fn learned(&self) -> &[Signature] {
        &self.learned
    }

    /// Compares an anomaly with every signature, the likeliest first.
    pub fn rank(&self, seen: &Deviations) -> Ranking {
        rank::rank(&self.learned, &self.built_in, &self.roles, seen)
    }
}

/// Strengths with gaps in a format that has no NaN: a gap is null.
mod gaps {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(seen: &[f64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(seen.iter().map(|s| Some(*s).filter(|s| !s.is_nan())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        let seen = Vec::<Option<f64>>::deserialize(from)?;
        Ok(seen.into_iter().map(|s| s.unwrap_or(f64::NAN)).collect())
    }
}

#[cfg(test)]
mod tests;
