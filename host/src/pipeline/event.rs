//! What happens to the pipeline.

use serde::{Deserialize, Serialize};

use crate::model::{Candidate, Outcome};
use crate::policy::{PolicyIdentity, Signer, Standing};
use crate::signature::Signature;
use crate::source::Observation;

/// What happens to the pipeline. Time arrives in here and nowhere else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "handled one at a time: a box would only move it"
)]
pub enum Event {
    /// A look at a target.
    Observed(Observation),
    /// A repair ended.
    RepairEnded {
        /// The target.
        target: String,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
        /// How.
        outcome: Outcome,
        /// Whether anything was written down or done of it. Older recordings do not say.
        #[serde(default = "was_begun")]
        begun: bool,
        /// Whether it was taken back because dbmedic itself was interrupted: no failure of the
        /// repair.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        interrupted: bool,
    },
    /// A person approved the repair that an incident waits for.
    Approved {
        /// The incident.
        incident: String,
        /// The repair, as the person was told of it. None in what older versions recorded: the one
        /// that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repair: Option<Candidate>,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// A person released a halted target.
    Released {
        /// The target.
        target: String,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Another policy comes into service, in all targets at once. The driver has handed it over by
    /// [`Pipeline::stand_by`].
    PolicySwapped {
        /// The policy's configured name.
        policy: String,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
        /// Which component it is from now on.
        to: PolicyIdentity,
        /// Why, in one line.
        why: String,
        /// As what.
        #[serde(default, skip_serializing_if = "Standing::is_proven")]
        standing: Standing,
    },
    /// Who vouches for a component is known, or has changed: it is told before the component comes
    /// into service, and when it is signed again.
    PolicySigned {
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
        /// SHA-256 of the component, hex.
        digest: String,
        /// Who vouches for it.
        signer: Signer,
    },
    /// What is known of troubles was learned anew: these are the learned signatures from now on.
    SignaturesLearned {
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
        /// All of them.
        signatures: Vec<Signature>,
    },
    /// Time passed.
    Tick {
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
    },
}

fn was_begun() -> bool {
    true
}

impl Event {
    /// When it happened, milliseconds since the Unix epoch.
    pub fn at_ms(&self) -> u64 {
        match self {
            Self::Observed(observation) => observation.at_ms,
            Self::RepairEnded { at_ms, .. }
            | Self::Approved { at_ms, .. }
            | Self::Released { at_ms, .. }
            | Self::PolicySwapped { at_ms, .. }
            | Self::PolicySigned { at_ms, .. }
            | Self::SignaturesLearned { at_ms, .. }
            | Self::Tick { at_ms } => *at_ms,
        }
    }
}
