//! What is carried from one run to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BreakerRecords, CarriedMaintenance, DEFAULT_POLICY, HeldAlert};
use crate::detect::Detector;
use crate::guard::TargetRecord;
use crate::incident::CarriedIncident;
use crate::model::{EscalationLevel, RepairHistory, Silence};
use crate::policy::{Left, Owner, Remembered, Remembrance, Signer};

/// What is carried from one run to the next. Part of a recording's header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Carried {
    /// The number of the next incident.
    pub next_incident: u64,
    /// By target.
    pub targets: BTreeMap<String, CarriedTarget>,
    /// Who vouches for components, by their digests, as far as it matters to whom a memory belongs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signers: BTreeMap<String, Signer>,
    /// What speaks for and against the policies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub breakers: BreakerRecords,
    /// Alerts that are withheld.
    #[serde(default, skip_serializing_if = "CarriedSilences::is_none")]
    pub silences: CarriedSilences,
    /// What was learned to be normal, by target. Kept in a file of its own; here in a recording.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detectors: BTreeMap<String, Detector>,
}

impl Default for Carried {
    fn default() -> Self {
        Self {
            next_incident: 1,
            targets: BTreeMap::new(),
            signers: BTreeMap::new(),
            breakers: BTreeMap::new(),
            silences: CarriedSilences::default(),
            detectors: BTreeMap::new(),
        }
    }
}

impl Carried {
    /// Moves every time that the host keeps, milliseconds; none that is past is later than `now_ms`
    /// afterwards. An earlier run noted them by the wall clock that it began with; what a policy
    /// keeps in its memory is the policy's own.
    pub fn move_times(&mut self, by_ms: i64, now_ms: u64) {
        for target in self.targets.values_mut() {
            target.move_times(by_ms, now_ms);
        }
        for records in self.breakers.values_mut() {
            for record in records.values_mut() {
                record.move_times(by_ms, now_ms);
            }
        }
        for silence in &mut self.silences.in_force {
            let said_ms = &mut silence.said.at_ms;
            *said_ms = said_ms.saturating_add_signed(by_ms).min(now_ms);
            silence.ends_ms = silence.ends_ms.saturating_add_signed(by_ms);
        }
    }
}

/// What is carried of the silences.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedSilences {
    /// Those in force, the newest last.
    pub in_force: Vec<Silence>,
    /// How many there were, so that no number is used again.
    pub count: u64,
}

impl CarriedSilences {
    /// Whether there never was one.
    pub fn is_none(&self) -> bool {
        self.in_force.is_empty() && self.count == 0
    }
}

/// What is carried of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedTarget {
    /// The escalation level in force.
    pub level: EscalationLevel,
    /// Since when, milliseconds since the Unix epoch.
    pub level_since_ms: u64,
    /// What each policy in service left to be handed back, by its configured name. Before several
    /// policies could be in line it was the default one's alone, under the name `memory`.
    #[serde(default, alias = "memory", deserialize_with = "memories")]
    pub memories: BTreeMap<String, Vec<u8>>,
    /// Whose each of them is. Before that was written down, the policy's in service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub owners: BTreeMap<String, Owner>,
    /// What other policies left that decided before, by the configured name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Vec<Remembered>>,
    /// What those left that may return, by the configured name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<String, Left>,
    /// The incidents that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<CarriedIncident>,
    /// Its maintenance, as people have it.
    #[serde(default, skip_serializing_if = "CarriedMaintenance::is_none")]
    pub maintenance: CarriedMaintenance,
    /// Alerts that wait for the end of a silence or a maintenance window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldAlert>,
    /// What became of earlier repairs.
    pub repairs: Vec<RepairHistory>,
    /// What the guard remembers.
    pub guard: TargetRecord,
}

impl CarriedTarget {
    fn move_times(&mut self, by_ms: i64, now_ms: u64) {
        let moved = |at_ms: &mut u64| *at_ms = at_ms.saturating_add_signed(by_ms).min(now_ms);
        moved(&mut self.level_since_ms);
        for history in &mut self.repairs {
            moved(&mut history.last_ms);
        }
        for incident in &mut self.incidents {
            incident.move_times(by_ms, now_ms);
        }
        self.maintenance.move_times(by_ms, now_ms);
        self.guard.move_times(by_ms, now_ms);
    }

    /// Takes out what is remembered in one place.
    pub(super) fn take(&mut self, place: &str) -> Remembrance {
        let mut memories = self.kept.remove(place).unwrap_or_default();
        let owner = self.owners.remove(place);
        if let Some(memory) = self.memories.remove(place) {
            memories.push(Remembered { owner, memory });
        }
        Remembrance {
            memories,
            left: self.left.remove(place),
        }
    }

    /// Puts in what is remembered in one place.
    pub(super) fn put(&mut self, place: &str, remembrance: Remembrance) {
        let Remembrance { mut memories, left } = remembrance;
        if let Some(Remembered { owner, memory }) = memories.pop() {
            self.memories.insert(place.to_owned(), memory);
            self.owners
                .extend(owner.map(|owner| (place.to_owned(), owner)));
        }
        if !memories.is_empty() {
            self.kept.insert(place.to_owned(), memories);
        }
        self.left.extend(left.map(|left| (place.to_owned(), left)));
    }
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
            owners: BTreeMap::new(),
            kept: BTreeMap::new(),
            left: BTreeMap::new(),
            incidents: Vec::new(),
            maintenance: CarriedMaintenance::default(),
            held: Vec::new(),
            repairs: Vec::new(),
            guard: TargetRecord::default(),
        }
    }
}
