//! Why a policy's answer does not count.

use serde::{Deserialize, Serialize};

use crate::model::Reason;

/// Why a policy's answer does not count. What is in it does not change from run to run, but for
/// those of which [`PolicyFailure::depends_on_machine`] says so.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PolicyFailure {
    /// It was not done in time.
    #[error("no answer within {limit_ms} ms")]
    Deadline {
        /// The time it had.
        limit_ms: u64,
    },
    /// It was not done within its fuel.
    #[error("no answer within {limit} units of fuel")]
    Fuel {
        /// What it had.
        limit: u64,
    },
    /// It wanted more memory than it may have, and gave up.
    #[error("it wanted more than {limit_mib} MiB of memory")]
    Memory {
        /// What it may have.
        limit_mib: usize,
    },
    /// It called itself too deeply.
    #[error("it used up its stack of {limit_kib} KiB")]
    Stack {
        /// What it may use.
        limit_kib: usize,
    },
    /// It broke off by itself: a panic, a wild read, a division by zero.
    #[error("it broke off: {trap}")]
    Trap {
        /// The engine's word for it. A stack that the policy keeps in its linear memory, as Rust
        /// does, overflows as an out-of-bounds access.
        trap: String,
        /// The innermost frames, the deepest first: function and offset in the component.
        backtrace: Vec<String>,
    },
    /// The contract is broken: its answer, or what it gave to an import, is not of the contract's
    /// types or holds more than the host copies.
    #[error("it handed over what cannot be read: {detail}")]
    Unreadable {
        /// The engine's words.
        detail: String,
    },
    /// The answer is of the right types and does not hold what the contract asks for.
    #[error("its answer is malformed: {what}")]
    MalformedAnswer {
        /// The field and what is wrong.
        what: String,
    },
    /// It chose a repair that the host did not offer for this event.
    #[error("it chose the repair `{id}`, which was not offered")]
    UnknownCandidate {
        /// What it named, cut to the length of a rule's name.
        id: String,
    },
    /// It says itself that it cannot judge.
    #[error("it refused to judge: {}", .0.text)]
    Refused(Reason),
    /// As many decisions are running as may run at the same time.
    #[error("all {limit} instances are in use")]
    Busy {
        /// How many may run.
        limit: u32,
    },
    /// It failed too often and is not asked for a while.
    #[error("it is out of service after failures")]
    OutOfService {
        /// When it is tried again, milliseconds since the Unix epoch.
        until_ms: u64,
    },
}

impl PolicyFailure {
    /// The stable dotted name, for reasons, counters and alerts.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Deadline { .. } => "policy.deadline",
            Self::Fuel { .. } => "policy.fuel",
            Self::Memory { .. } => "policy.memory",
            Self::Stack { .. } => "policy.stack",
            Self::Trap { .. } => "policy.trap",
            Self::Unreadable { .. } => "policy.unreadable",
            Self::MalformedAnswer { .. } => "policy.malformed-answer",
            Self::UnknownCandidate { .. } => "policy.unknown-candidate",
            Self::Refused(_) => "policy.refused",
            Self::Busy { .. } => "policy.busy",
            Self::OutOfService { .. } => "policy.out-of-service",
        }
    }

    /// Whether it speaks against the policy: neither an honest refusal nor a host that did not ask.
    pub fn is_misbehaviour(&self) -> bool {
        !matches!(
            self,
            Self::Refused(_) | Self::Busy { .. } | Self::OutOfService { .. }
        )
    }

    /// Whether another machine, or the same one at another time, may not see it: a replay takes it
    /// over from the recording.
    pub fn depends_on_machine(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Busy { .. })
    }
}
