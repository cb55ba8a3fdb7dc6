//! What the configuration says of one policy and its gate.

use std::fmt;
use std::sync::Arc;

use super::prepare::Workshop;
use super::record::Refusal;
use super::settings::GateSettings;
use super::source::Source;
use crate::model::Setting;

/// How a field that is wrong is told to the person who wrote it: name and message to one line with
/// file and line in it.
pub type Place = Arc<dyn Fn(&str, &str) -> String + Send + Sync>;

/// One policy as it is configured.
#[derive(Clone)]
pub struct Plan {
    /// What its candidates are prepared with: limits, cache and who is believed. Policies with the
    /// same limits share one.
    pub workshop: Arc<Workshop>,
    /// Where it comes from.
    pub source: Source,
    /// The component that is part of this binary and stands for [`Source::BuiltIn`]; none: the default
    /// policy.
    pub built_in: Option<&'static [u8]>,
    /// Whether its source is watched.
    pub watch: bool,
    /// Its parameters.
    pub settings: Vec<Setting>,
    /// How a candidate has to prove itself.
    pub gate: GateSettings,
    /// The targets that it decides for.
    pub targets: Vec<String>,
    /// Where its parameters stand.
    pub place: Option<Place>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("source", &self.source)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// The largest component that is looked at, bytes.
    pub(super) fn most_bytes(&self) -> u64 {
        (self.workshop.limits().component_mib as u64) << 20
    }

    /// A refusal whose wrong fields are told as the person wrote them.
    pub fn placed(&self, refusal: Refusal) -> Refusal {
        let (Some(place), false) = (&self.place, refusal.fields.is_empty()) else {
            return refusal;
        };
        let told: Vec<String> = refusal
            .fields
            .iter()
            .map(|(name, message)| place(name, message).replace('\n', " "))
            .collect();
        Refusal {
            reason: told.join("; "),
            ..refusal
        }
    }
}
