//! What is carried from one run to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BreakerRecords, DEFAULT_POLICY};
use crate::detect::Detector;
use crate::guard::TargetRecord;
use crate::incident::CarriedIncident;
use crate::model::{EscalationLevel, RepairHistory};
use crate::policy::Left;

/// What is carried from one run to the next. Part of a recording's header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Carried {
    /// The number of the next incident.
    pub next_incident: u64,
    /// By target.
    pub targets: BTreeMap<String, CarriedTarget>,
    /// What speaks for and against the policies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub breakers: BreakerRecords,
    /// What was learned to be normal, by target. Kept in a file of its own; here in a recording.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detectors: BTreeMap<String, Detector>,
}

impl Default for Carried {
    fn default() -> Self {
        Self {
            next_incident: 1,
            targets: BTreeMap::new(),
            breakers: BTreeMap::new(),
            detectors: BTreeMap::new(),
        }
    }
}

/// What is carried of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedTarget {
    /// The escalation level in force.
    pub level: EscalationLevel,
    /// Since when, milliseconds since the Unix epoch.
    pub level_since_ms: u64,
    /// What each policy left to be handed back, by its configured name. Before several policies
    /// could be in line it was the default one's alone, under the name `memory`.
    #[serde(default, alias = "memory", deserialize_with = "memories")]
    pub memories: BTreeMap<String, Vec<u8>>,
    /// What those left that may return, by the configured name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<String, Left>,
    /// The incidents that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<CarriedIncident>,
    /// What became of earlier repairs.
    pub repairs: Vec<RepairHistory>,
    /// What the guard remembers.
    pub guard: TargetRecord,
}

fn memories<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Memories {
        Each(BTreeMap<String, Vec<u8>>),
        OfDefault(Vec<u8>),
    }
    Ok(match Memories::deserialize(from)? {
        Memories::Each(each) => each,
        Memories::OfDefault(memory) => BTreeMap::from([(DEFAULT_POLICY.to_owned(), memory)]),
    })
}

impl Default for CarriedTarget {
    fn default() -> Self {
        Self {
            level: EscalationLevel::Normal,
            level_since_ms: 0,
            memories: BTreeMap::new(),
            left: BTreeMap::new(),
            incidents: Vec::new(),
            repairs: Vec::new(),
            guard: TargetRecord::default(),
        }
    }
}
