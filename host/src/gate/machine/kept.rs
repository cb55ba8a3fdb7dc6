//! What the gate keeps of a policy from one run to the next.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::gate::record::{Known, Refusal};
use crate::gate::source::Source;
use crate::signing::Provenance;

/// What the next run must know of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What is in service.
    pub present: Known,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Whether it has to prove itself yet.
    pub on_probation: bool,
    /// What was in service before and proved itself.
    pub last_good: Option<Known>,
    /// What kept failing and is tried again. It may still be what is in service, where there was
    /// nothing to put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_service: Option<OutOfService>,
    /// A candidate in the shadow.
    pub candidate: Option<Known>,
    /// Where policies came from as it was configured.
    #[serde(default)]
    pub source: Option<Source>,
    /// What the source held last.
    pub source_digest: Option<String>,
    /// The version of each policy when it was in service last, by the names that they give
    /// themselves: no way around leads to an older one.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// Candidates that were refused, the latest last.
    pub refused: VecDeque<RefusedCandidate>,
}

/// A policy that kept failing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfService {
    /// Who it is.
    pub policy: Known,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it is tried again, milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// Why, in one line.
    pub reason: String,
}

/// A candidate that did not come into service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCandidate {
    /// Its SHA-256.
    pub digest: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which step, and why.
    #[serde(flatten)]
    pub refusal: Refusal,
}

impl Service {
    /// The beginning: a policy in service, and nothing else.
    pub fn new(present: Known, since_ms: u64) -> Self {
        let mut service = Self {
            present,
            since_ms,
            on_probation: false,
            last_good: None,
            out_of_service: None,
            candidate: None,
            source: None,
            source_digest: None,
            versions: BTreeMap::new(),
            refused: VecDeque::new(),
        };
        service.note_version();
        service
    }

    /// Moves every time in it, milliseconds; none that is past is later than `now_ms` afterwards.
    pub fn move_times(&mut self, by_ms: i64, now_ms: u64) {
        let moved = |at_ms: &mut u64| *at_ms = at_ms.saturating_add_signed(by_ms).min(now_ms);
        moved(&mut self.since_ms);
        if let Some(out) = &mut self.out_of_service {
            moved(&mut out.since_ms);
            out.until_ms = out.until_ms.saturating_add_signed(by_ms);
        }
        for refused in &mut self.refused {
            moved(&mut refused.at_ms);
        }
    }

    /// Remembers the version that is in service.
    pub(super) fn note_version(&mut self) {
        let present = &self.present.identity;
        self.versions
            .insert(present.name.clone(), present.version.clone());
    }

    /// Notes who vouches for a component, wherever it stands.
    pub fn sign(&mut self, digest: &str, signer: &Provenance) {
        let tried_again = self.out_of_service.as_mut().map(|out| &mut out.policy);
        [
            Some(&mut self.present),
            self.last_good.as_mut(),
            tried_again,
        ]
        .into_iter()
        .chain([self.candidate.as_mut()])
        .flatten()
        .for_each(|known| known.sign(digest, signer));
    }

    /// Every policy that may be put in service without going through the gate again, or is there.
    pub fn needed(&self) -> impl Iterator<Item = &Known> {
        let tried_again = self.out_of_service.as_ref().map(|out| &out.policy);
        [Some(&self.present), self.last_good.as_ref(), tried_again]
            .into_iter()
            .chain([self.candidate.as_ref()])
            .flatten()
    }
}
