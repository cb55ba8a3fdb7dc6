//! What a policy is to the pipeline: something that is asked and answers, whatever it does meanwhile.
//!
//! Policies stand in a [`Line`]; each is handed what it remembers and nobody else's memory. After any
//! failure the host's own [`cautious`] verdict stands in a policy's place, and a [`Breaker`] takes a policy
//! that keeps failing out of service. How a policy is loaded and called is the business of whoever
//! implements [`Decider`].

mod bounds;
mod breaker;
mod cautious;
mod failure;
mod heard;
mod line;
mod memory;
mod telemetry;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Context, LogLevel, PolicyEvent, Verdict};

pub use bounds::{
    ITEMS, LOG_LINE_BYTES, LOG_LINES, MEMORY_BYTES, RECENT_POINTS, RULE_BYTES, SETTING_TEXT_BYTES,
    SETTINGS_BYTES, TEXT_BYTES,
};
pub use breaker::{
    Breaker, BreakerOptions, BreakerRecord, BreakerState, Probation, ServiceChange, Standing,
};
pub use cautious::cautious;
pub use failure::PolicyFailure;
pub use heard::{Heard, HeardTelemetry, Overheard, Retold};
pub use line::{
    Beginning, Left, Line, LineDecision, Part, PolicyIdentity, Remembrance, most_cautious,
};
pub use memory::{Owner, Remembered, Signer};
pub use telemetry::{NoTelemetry, Telemetry, TelemetryCopy};

/// A policy in service: it can be asked, never fails and never panics.
pub trait Decider: fmt::Debug + Send + Sync {
    /// Which component it is.
    fn identity(&self) -> PolicyIdentity;

    /// The SHA-256 of its component, lower-case hex.
    fn digest(&self) -> &str;

    /// The same, shared.
    fn shared_digest(&self) -> Arc<str>;

    /// Who vouches for it.
    fn signer(&self) -> Signer;

    /// What `configure` made of its settings: the bytes for [`Context::settings`].
    fn settings(&self) -> &[u8];

    /// Judges one event; see [`decide`]. What was lent comes back.
    fn decide_with(
        &self,
        event: &PolicyEvent,
        context: &Context,
        lent: Box<dyn Telemetry>,
    ) -> (Decision, Box<dyn Telemetry>);

    /// Throws away what it keeps between two decisions on a target.
    fn recycle(&self, target: &str);
}

/// Judges one event. `telemetry` is lent to the policy for the call and is back when this returns; its
/// `Default` only fills the gap. `context.settings` must hold [`Decider::settings`].
pub fn decide<T: Telemetry + Default>(
    decider: &dyn Decider,
    event: &PolicyEvent,
    context: &Context,
    telemetry: &mut T,
) -> Decision {
    lend(telemetry, |lent| decider.decide_with(event, context, lent))
}

/// Lends telemetry to what needs to own it meanwhile; its `Default` only fills the gap.
pub fn lend<T: Telemetry + Default, R>(
    telemetry: &mut T,
    ask: impl FnOnce(Box<dyn Telemetry>) -> (R, Box<dyn Telemetry>),
) -> R {
    let (answer, lent) = ask(Box::new(std::mem::take(telemetry)));
    let lent: Box<dyn Any> = lent;
    match lent.downcast::<T>() {
        Ok(back) => *telemetry = *back,
        Err(_) => unreachable!("the very value comes back that was lent"),
    }
    answer
}

/// One line that the policy wrote during a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The line, [`LOG_LINE_BYTES`] at most.
    pub message: String,
}

/// What came of asking a policy. Equal decisions may have cost differently: the cost is no part of
/// equality or of a recording.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// The answer that counts: the policy's own, checked, or the host's [`cautious`] one.
    pub verdict: Verdict,
    /// Why the policy's answer does not count; none when it does.
    pub failure: Option<PolicyFailure>,
    /// What the policy wrote, the first [`LOG_LINES`] lines.
    pub log: Vec<LogLine>,
    /// How long it took.
    #[serde(skip)]
    pub duration: Duration,
    /// Fuel used; none where fuel is not counted, see [`Limits::fuel`].
    #[serde(skip)]
    pub fuel: Option<u64>,
    /// All linear memory of the instance at its highest, bytes.
    #[serde(skip)]
    pub memory_bytes: u64,
}

impl Decision {
    /// The last line of its log where it failed: an author's language writes there what went wrong and
    /// where. Empty where there is none.
    pub fn last_words(&self) -> &str {
        match (&self.failure, self.log.last()) {
            (Some(_), Some(last)) => &last.message,
            _ => "",
        }
    }
}

impl PartialEq for Decision {
    fn eq(&self, other: &Self) -> bool {
        self.verdict == other.verdict && self.failure == other.failure && self.log == other.log
    }
}

impl Decision {
    /// The host's own decision where no policy was asked.
    pub fn without_policy(event: &PolicyEvent, context: &Context, why: PolicyFailure) -> Self {
        Self {
            verdict: cautious(event, context, &why),
            failure: Some(why),
            log: Vec::new(),
            duration: Duration::ZERO,
            fuel: None,
            memory_bytes: 0,
        }
    }
}
