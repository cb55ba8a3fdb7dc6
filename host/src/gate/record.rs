//! What stands in the journal about policies: each step that a candidate takes, and why one is
//! refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policy::PolicyIdentity;
use crate::signing::Provenance;

/// The steps of the gate, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The file, its digest and its signature.
    Signature,
    /// Whether it is a policy of this contract.
    Contract,
    /// Making native code of it, or taking that from the cache.
    Compile,
    /// Its parameters.
    Parameters,
    /// The test cases that it carries, and those in the folder beside it.
    Tests,
    /// Deciding beside the policy in service.
    Shadow,
    /// Coming into service.
    Swap,
    /// The first time in service.
    Probation,
}

impl Step {
    /// Whether the same bytes may pass at another time, by what lies beside them: a signature that
    /// comes later than the component, cases that are put right.
    pub fn may_pass_later(self) -> bool {
        matches!(self, Self::Signature | Self::Tests)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature",
            Self::Contract => "contract",
            Self::Compile => "compile",
            Self::Parameters => "parameters",
            Self::Tests => "tests",
            Self::Shadow => "shadow",
            Self::Swap => "swap",
            Self::Probation => "probation",
        })
    }
}

/// Why a candidate did not come into service, or a policy did not stay there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Refusal {
    /// The step that said no.
    pub step: Step,
    /// Why, in one line.
    pub reason: String,
    /// The parameters that are wrong, each with what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

impl Refusal {
    /// A refusal at a step, for a reason.
    pub fn new(step: Step, reason: String) -> Self {
        Self {
            step,
            reason,
            fields: Vec::new(),
        }
    }
}

/// A policy whose origin is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which component.
    #[serde(flatten)]
    pub identity: PolicyIdentity,
    /// Who vouches for it.
    pub provenance: Provenance,
}

impl Known {
    /// Notes who vouches for it, if it is the component of this digest.
    pub(super) fn sign(&mut self, digest: &str, signer: &Provenance) {
        if self.identity.digest == digest {
            self.provenance.clone_from(signer);
        }
    }
}

/// Where a candidate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The file or the directory of the configuration.
    Source,
    /// A person named it.
    Person,
    /// It was a candidate when dbmedic stopped.
    Restart,
}

/// Why one policy takes the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapReason {
    /// It went through the gate.
    Promoted,
    /// A person promoted it.
    Person,
    /// It was out of service, and is tried again.
    TriedAgain,
    /// The one before did not prove itself, or kept failing.
    RolledBack {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for SwapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted => f.write_str("it went through the gate"),
            Self::Person => f.write_str("a person said so"),
            Self::TriedAgain => f.write_str("it is tried again"),
            Self::RolledBack { reason } => write!(f, "the one before failed: {reason}"),
        }
    }
}

/// How far a candidate is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It was found.
    Offered {
        /// Where.
        origin: Origin,
    },
    /// It took the step.
    Passed,
    /// The step has begun and takes its time.
    Began,
    /// It waits for a person: `dbmedic policy promote`.
    AwaitsPerson {
        /// Why.
        reason: String,
    },
    /// It did not take the step; the policy in service goes on.
    Refused {
        /// Why.
        reason: String,
    },
    /// It is in service.
    InService {
        /// Why.
        why: SwapReason,
        /// What was in service before.
        before: PolicyIdentity,
    },
    /// It came through the gate before, and has a new signature.
    SignedAnew,
    /// A person wanted what cannot be.
    Denied {
        /// Why not.
        reason: String,
    },
}

/// One line about a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The policy's name in the configuration; `default` is the one of `[policy]`.
    pub policy: String,
    /// The candidate's SHA-256.
    pub digest: String,
    /// Who it says that it is, as soon as that is known.
    pub candidate: Option<Known>,
    /// The step.
    pub step: Step,
    /// How far.
    pub progress: Progress,
}

impl fmt::Display for GateRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = &self.digest[..self.digest.len().min(12)];
        match &self.candidate {
            Some(known) => {
                let PolicyIdentity { name, version, .. } = &known.identity;
                write!(f, "{}: {name} {version} ({short}) ", self.policy)?;
            }
            None => write!(f, "{}: {short} ", self.policy)?,
        }
        match &self.progress {
            Progress::Offered { .. } => write!(f, "is a candidate"),
            Progress::Passed => write!(f, "passed {}", self.step),
            Progress::Began => write!(f, "is in {}", self.step),
            Progress::AwaitsPerson { reason } => {
                write!(f, "waits for `dbmedic policy promote`: {reason}")
            }
            Progress::Refused { reason } => write!(f, "is refused at {}: {reason}", self.step),
            Progress::InService { why, before } => {
                let PolicyIdentity { name, version, .. } = before;
                write!(f, "is in service instead of {name} {version}")?;
                match why {
                    SwapReason::Promoted => Ok(()),
                    SwapReason::Person => write!(f, ", as a person said"),
                    SwapReason::TriedAgain => write!(f, ", tried again"),
                    SwapReason::RolledBack { reason } => write!(f, ", put back: {reason}"),
                }
            }
            Progress::SignedAnew => {
                write!(f, "has a new signature")?;
                match self.candidate.as_ref().map(|known| &known.provenance) {
                    Some(Provenance::Signed { key, key_id, .. }) => {
                        write!(f, ", by {key} ({key_id})")
                    }
                    _ => Ok(()),
                }
            }
            Progress::Denied { reason } => write!(f, "stays as it is: {reason}"),
        }
    }
}
