//! What is said over the control socket: JSON lines, version 1. One request, then replies until
//! `done` or `error`.

use serde::{Deserialize, Serialize};

use super::machine::{CandidateState, OutOfService, RefusedCandidate};
use super::record::{GateRecord, Known};
use super::source::Source;
use crate::command;
use crate::policy::PolicyStatus;

/// The version of the protocol.
pub(super) const VERSION: u32 = 1;

/// A line with its version.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line<T> {
    /// [`VERSION`].
    pub(super) v: u32,
    /// What is said.
    #[serde(flatten)]
    pub(super) said: T,
}

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Which policies are in service, and how they do.
    Status,
    /// Read the configuration again.
    Reload {
        /// The file that whoever asks means, an absolute path.
        config: std::path::PathBuf,
    },
    /// Write this command down, and act on it.
    Command {
        /// The command, with who gives it.
        request: Box<command::Request>,
    },
    /// Take this file through the gate.
    Swap {
        /// The policy's name in the configuration.
        policy: String,
        /// The component, an absolute path; its signature lies beside it.
        file: std::path::PathBuf,
    },
    /// Put the candidate in service.
    Promote {
        /// The policy's name in the configuration.
        policy: String,
    },
    /// Put the last good policy back.
    Rollback {
        /// The policy's name in the configuration.
        policy: String,
    },
}

/// What dbmedic answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Each policy.
    Status(Vec<PolicyReport>),
    /// A step of the candidate that was asked for.
    Record(Box<GateRecord>),
    /// That was it.
    Done(String),
    /// That was it, and it is not what was wanted.
    Error(String),
    /// Nothing was done: dbmedic is stopping, or begins anew.
    Stopping,
}

impl Reply {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Record(_))
    }
}

/// Everything about one policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Its name in the configuration; `default` is the one of `[policy]`.
    pub policy: String,
    /// Whether a dbmedic is running with it.
    pub running: bool,
    /// The targets that it decides for; empty when none is running.
    pub targets: Vec<String>,
    /// Where new versions are looked for; none when none is running.
    pub source: Option<Source>,
    /// Whether a signature is required; none when none is running.
    pub require_signature: Option<bool>,
    /// What is in service, and who vouches for it.
    pub present: Known,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Whether it has to prove itself yet.
    pub on_probation: bool,
    /// What is put back when it fails.
    pub last_good: Option<Known>,
    /// What kept failing, is out of service and is tried again. Where there was nothing to put back it
    /// is what is in service, and the host decides meanwhile.
    #[serde(default)]
    pub out_of_service: Option<OutOfService>,
    /// The candidate, if there is one.
    pub candidate: Option<CandidateState>,
    /// How the candidate does in the shadow.
    #[serde(default)]
    pub candidate_statistics: Option<PolicyStatus>,
    /// The latest candidates that were refused, the newest first.
    pub refused: Vec<RefusedCandidate>,
    /// How it has done since dbmedic started; none when none is running.
    pub statistics: Option<PolicyStatus>,
}
