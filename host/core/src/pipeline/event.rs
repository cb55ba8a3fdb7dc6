//! What happens to the pipeline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Attribution, Candidate, LocalTime, MaintenanceWindow, Outcome, SilenceScope};
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
        /// Who, when and why. Older recordings say when.
        #[serde(flatten)]
        said: Attribution,
    },
    /// A person denied a repair of an incident: it is not made before a person approves it.
    Denied {
        /// The incident.
        incident: String,
        /// The candidate's identifier.
        repair: String,
        /// Who, when and why.
        #[serde(flatten)]
        said: Attribution,
    },
    /// A person works on an incident: nobody is called again for it before it ends or gets worse.
    Acknowledged {
        /// The incident.
        incident: String,
        /// Who, when and why.
        #[serde(flatten)]
        said: Attribution,
    },
    /// A person released a halted target.
    Released {
        /// The target.
        target: String,
        /// Who, when and why. Older recordings say when.
        #[serde(flatten)]
        said: Attribution,
    },
    /// A person wants alerts withheld for a time.
    Silenced {
        /// Which alerts.
        scope: SilenceScope,
        /// Until when, milliseconds since the Unix epoch.
        ends_ms: u64,
        /// Who, when and why.
        #[serde(flatten)]
        said: Attribution,
    },
    /// A person removed a silence.
    SilenceRemoved {
        /// Its identifier.
        silence: String,
        /// Who, when and why.
        #[serde(flatten)]
        said: Attribution,
    },
    /// A person opened a maintenance window.
    MaintenanceStarted {
        /// The target.
        target: String,
        /// Until when, milliseconds since the Unix epoch.
        ends_ms: u64,
        /// Whether repairs may begin meanwhile.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        allow_repairs: bool,
        /// Who, when and why.
        #[serde(flatten)]
        said: Attribution,
    },
    /// A person closed the maintenance window that is open.
    MaintenanceStopped {
        /// The target.
        target: String,
        /// Who, when and why.
        #[serde(flatten)]
        said: Attribution,
    },
    /// The local time, and when the maintenance windows of the configuration open: at the start, and
    /// when that changes. The driver computes it, so that no replay depends on a machine's time zones.
    Calendar {
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
        /// The local time in the zone of the configuration.
        local_time: LocalTime,
        /// The windows that are open or come next, by target.
        windows: BTreeMap<String, Vec<MaintenanceWindow>>,
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
            Self::Approved { said, .. }
            | Self::Denied { said, .. }
            | Self::Acknowledged { said, .. }
            | Self::Released { said, .. }
            | Self::Silenced { said, .. }
            | Self::SilenceRemoved { said, .. }
            | Self::MaintenanceStarted { said, .. }
            | Self::MaintenanceStopped { said, .. } => said.at_ms,
            Self::RepairEnded { at_ms, .. }
            | Self::Calendar { at_ms, .. }
            | Self::PolicySwapped { at_ms, .. }
            | Self::PolicySigned { at_ms, .. }
            | Self::SignaturesLearned { at_ms, .. }
            | Self::Tick { at_ms } => *at_ms,
        }
    }

    /// Whether a person said it: it comes only once, and must outlast a kill.
    pub fn is_of_person(&self) -> bool {
        matches!(
            self,
            Self::Approved { .. }
                | Self::Denied { .. }
                | Self::Acknowledged { .. }
                | Self::Released { .. }
                | Self::Silenced { .. }
                | Self::SilenceRemoved { .. }
                | Self::MaintenanceStarted { .. }
                | Self::MaintenanceStopped { .. }
        )
    }
}
