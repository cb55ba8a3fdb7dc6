//! What goes into the gate's machine, and what comes out of it.

use crate::gate::record::{GateRecord, Known, Origin, Refusal, Step, SwapReason};
use crate::model::{PolicyEvent, Verdict};
use crate::policy::{Decision, ServiceChange, Standing};
use crate::signing::Provenance;

/// What happened to the policy of one name.
#[derive(Debug)]
pub enum Input {
    /// A candidate was found.
    Offered {
        /// Its SHA-256.
        digest: String,
        /// Where it comes from.
        origin: Origin,
    },
    /// It took a step of its preparation.
    Passed {
        /// Its SHA-256.
        digest: String,
        /// The step.
        step: Step,
    },
    /// It did not.
    Refused {
        /// Its SHA-256.
        digest: String,
        /// Which step, and why.
        refusal: Refusal,
    },
    /// One of several in a directory did not, before it was a candidate.
    Unfit {
        /// Its SHA-256.
        digest: String,
        /// Which step, and why.
        refusal: Refusal,
    },
    /// What the file of the configuration holds, when it was looked at.
    SourceHolds {
        /// Its SHA-256.
        digest: String,
    },
    /// What was found in the directory of the configuration lies there no more.
    SourceDropped {
        /// Its SHA-256.
        digest: String,
    },
    /// What came through the gate before has another signature than it had.
    Signed {
        /// Its SHA-256.
        digest: String,
        /// Who vouches for it now, or why the signature is not believed.
        signer: Result<Provenance, Refusal>,
    },
    /// It took all of them.
    Ready {
        /// Who it is.
        candidate: Known,
    },
    /// It decided in the shadow.
    Compared(Box<Compared>),
    /// The policy in service took longer to decide than it should.
    Slow {
        /// Its SHA-256.
        digest: String,
    },
    /// The breaker of the policy in service changed.
    Changed {
        /// Its SHA-256.
        digest: String,
        /// To what.
        change: ServiceChange,
    },
    /// A swap was done.
    Swapped {
        /// The SHA-256 of what is in service now.
        digest: String,
    },
    /// A person wants the candidate in service.
    Promote,
    /// A person wants the last good policy back.
    RollBack,
    /// Time passed.
    Tick,
}

/// A decision in the shadow.
#[derive(Debug)]
pub struct Compared {
    /// The candidate's SHA-256.
    pub digest: String,
    /// The target.
    pub target: String,
    /// What was to be judged.
    pub event: PolicyEvent,
    /// What the policy in service said.
    pub present: Verdict,
    /// What the candidate did.
    pub candidate: Decision,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Take a candidate through signature, contract, compile, parameters and tests.
    Prepare {
        /// Its SHA-256.
        digest: String,
    },
    /// From now on a candidate decides in the shadow.
    BeginShadow {
        /// Its SHA-256.
        digest: String,
    },
    /// No more.
    EndShadow,
    /// Put a prepared policy in service, between two decisions.
    Swap {
        /// Its SHA-256.
        digest: String,
        /// Why.
        why: SwapReason,
        /// As what.
        standing: Standing,
    },
    /// To be written down.
    Record(Box<GateRecord>),
    /// What the next run must know has changed.
    Persist,
}
