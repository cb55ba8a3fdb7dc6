//! What the pipeline wants done or told, and the decisions behind it.

use serde::{Deserialize, Serialize};

use super::Withheld;
use crate::guard::ApprovedRepair;
use crate::incident::Resolved;
use crate::model::{
    Alert, Anomaly, Attribution, Candidate, Classification, EscalationLevel, Finding,
    MaintenanceWindow, Outcome, PolicyEvent, Silence, Verbosity, Verdict,
};
use crate::policy::{
    HeardTelemetry, Part, PolicyFailure, PolicyIdentity, ServiceChange, TelemetryCopy,
};

/// What the pipeline wants done or told. Compared byte for byte at replay.
#[allow(
    clippy::large_enum_variant,
    reason = "handled one at a time: a box would only move it"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Something left its normal range. Told when it begins, not while it lasts.
    Noticed {
        /// The target.
        target: String,
        /// The evidence.
        anomaly: Anomaly,
    },
    /// Enough was seen to say what is normal; anomalies are told from here on.
    BaselineEstablished {
        /// The target.
        target: String,
    },
    /// A problem was seen for the first time.
    IncidentOpened {
        /// The target.
        target: String,
        /// The problem.
        finding: Finding,
    },
    /// The policy was asked and answered.
    Decided(Decided),
    /// The guard ruled on the policy's choice.
    Ruled {
        /// The target.
        target: String,
        /// The incident.
        incident: String,
        /// The repair that the policy chose.
        repair: String,
        /// What the guard said.
        ruling: RulingSummary,
        /// What a person is asked to approve, where it waits for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waits: Option<Candidate>,
    },
    /// To be carried out. Never read back: only the guard makes one.
    #[serde(skip_deserializing)]
    Repair(Box<ApprovedRepair>),
    /// To be done: the target's files are copied aside as they are.
    Preserve {
        /// The target.
        target: String,
        /// The incident.
        incident: String,
        /// Why the target was halted.
        reason: String,
    },
    /// Each incident that a target was halted for is over: the guard lets repairs of it go again.
    HaltEnded {
        /// The target.
        target: String,
        /// The last of these incidents.
        incident: String,
    },
    /// To be done: the target's files, which do not belong together, are copied aside as they are,
    /// before anybody opens them.
    CopyAside {
        /// The target.
        target: String,
        /// The incident.
        incident: String,
    },
    /// To be done: a thorough look at the target, now.
    Examine {
        /// The target.
        target: String,
    },
    /// To be told to people.
    Alerted {
        /// The target.
        target: String,
        /// The alert.
        alert: Alert,
        /// Who works on its incident, or did before it got worse.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledged: Option<Attribution>,
    },
    /// Not told to people, and counted.
    AlertWithheld {
        /// The target.
        target: String,
        /// The incident that it is about, unless time alone led to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incident: Option<String>,
        /// The alert.
        alert: Alert,
        /// Why.
        because: Withheld,
    },
    /// An incident that somebody works on got worse: it is told again.
    AcknowledgementEnded {
        /// The target.
        target: String,
        /// The incident.
        incident: String,
        /// Who had acknowledged it.
        acknowledged: Attribution,
        /// What it is called now.
        classification: Classification,
    },
    /// A silence begins.
    Silenced {
        /// The silence.
        silence: Silence,
    },
    /// A silence is over.
    SilenceEnded {
        /// The silence, with the number of alerts that were withheld.
        silence: Silence,
        /// Who removed it; none when its time was over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        removed: Option<Attribution>,
    },
    /// A maintenance window is open, or another one than before.
    MaintenanceBegan {
        /// The target.
        target: String,
        /// The window.
        window: MaintenanceWindow,
    },
    /// No maintenance window is open any more.
    MaintenanceEnded {
        /// The target.
        target: String,
        /// The window that was open last.
        window: MaintenanceWindow,
        /// Alerts that were withheld.
        withheld: u64,
    },
    /// The escalation level changed.
    LevelChanged {
        /// The target.
        target: String,
        /// The level before.
        from: EscalationLevel,
        /// The level now.
        to: EscalationLevel,
    },
    /// How much is written down changed.
    VerbosityChanged {
        /// The target.
        target: String,
        /// From now on.
        to: Verbosity,
    },
    /// The repair ended.
    RepairEnded {
        /// The target.
        target: String,
        /// How.
        outcome: Outcome,
    },
    /// Another policy is in service.
    PolicySwapped {
        /// The policy's configured name.
        policy: String,
        /// Which component it was.
        from: PolicyIdentity,
        /// Which component it is.
        to: PolicyIdentity,
        /// Why, in one line.
        why: String,
        /// Targets where the one before stays until the running repair has ended.
        after_repair: Vec<String>,
    },
    /// A policy is taken out of service after failures, is back, or has proved itself.
    PolicyService {
        /// The policy's configured name.
        policy: String,
        /// Which component it is.
        of: PolicyIdentity,
        /// What changed.
        change: ServiceChange,
    },
    /// The problem is gone.
    IncidentResolved {
        /// The target.
        target: String,
        /// The incident.
        resolved: Resolved,
    },
}

impl Effect {
    /// The target that it is about, if it is about one.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Noticed { target, .. }
            | Self::BaselineEstablished { target }
            | Self::IncidentOpened { target, .. }
            | Self::Ruled { target, .. }
            | Self::Preserve { target, .. }
            | Self::HaltEnded { target, .. }
            | Self::CopyAside { target, .. }
            | Self::Examine { target }
            | Self::Alerted { target, .. }
            | Self::AlertWithheld { target, .. }
            | Self::AcknowledgementEnded { target, .. }
            | Self::MaintenanceBegan { target, .. }
            | Self::MaintenanceEnded { target, .. }
            | Self::LevelChanged { target, .. }
            | Self::VerbosityChanged { target, .. }
            | Self::RepairEnded { target, .. }
            | Self::IncidentResolved { target, .. } => Some(target),
            Self::Decided(decided) => Some(&decided.target),
            Self::Repair(repair) => Some(repair.target()),
            Self::Silenced { silence } | Self::SilenceEnded { silence, .. } => {
                silence.scope.target.as_deref()
            }
            Self::PolicySwapped { .. } | Self::PolicyService { .. } => None,
        }
    }

    /// The incident that it belongs to, if it belongs to one.
    pub fn incident(&self) -> Option<&str> {
        match self {
            Self::IncidentOpened { finding, .. } => Some(&finding.incident),
            Self::Decided(decided) => decided.incident.as_deref(),
            Self::Ruled { incident, .. }
            | Self::Preserve { incident, .. }
            | Self::HaltEnded { incident, .. }
            | Self::AcknowledgementEnded { incident, .. }
            | Self::CopyAside { incident, .. } => Some(incident),
            Self::AlertWithheld { incident, .. } => incident.as_deref(),
            Self::RepairEnded { outcome, .. } => Some(&outcome.incident),
            Self::IncidentResolved { resolved, .. } => Some(&resolved.incident),
            _ => None,
        }
    }
}

/// What was put to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// A finding.
    Finding,
    /// How a repair ended.
    Outcome,
    /// That time passed.
    Tick,
}

/// The policy's answer to one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The target.
    pub target: String,
    /// The incident, unless the event was a tick.
    pub incident: Option<String>,
    /// What was put to the policy.
    pub asked: Asked,
    /// The finding as the policy saw it, when one was put to it.
    pub finding: Option<Finding>,
    /// The answer that counts.
    pub verdict: Verdict,
    /// Why the policy's own answer does not count, when it does not.
    pub failure: Option<PolicyFailure>,
    /// Where several policies are in line: what each said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<SaidInLine>,
}

/// What one of several policies in line said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SaidInLine {
    /// The policy's configured name.
    pub policy: String,
    /// Its answer.
    pub verdict: Verdict,
    /// Why its own answer does not count, when it does not.
    pub failure: Option<PolicyFailure>,
}

impl From<&Part> for SaidInLine {
    fn from(part: &Part) -> Self {
        Self {
            policy: part.policy.to_string(),
            verdict: part.decision.verdict.clone(),
            failure: part.decision.failure.clone(),
        }
    }
}

/// A decision with everything that led to it, for who compares or logs decisions. No effect, and no
/// part of a recording.
#[derive(Debug, Clone)]
pub struct Made {
    /// The target.
    pub target: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What was put to the policies.
    pub event: PolicyEvent,
    /// What each of them was handed and answered, in the order of the line.
    pub parts: Vec<Part>,
    /// What telemetry held, where that was asked for by [`Pipeline::keep_telemetry`].
    pub telemetry: Option<TelemetryCopy>,
    /// What each of them asked telemetry, in the order of the line, where that was asked for by
    /// [`Pipeline::listen`].
    pub heard: Vec<HeardTelemetry>,
}

/// The guard's word, as it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RulingSummary {
    /// Go.
    Approved,
    /// Wait for a person.
    AwaitsPerson,
    /// No.
    Refused {
        /// Stable name of the law that spoke.
        law: String,
        /// What a person reads.
        reason: String,
    },
}
