//! Loads policies and calls them, whatever they do.
//!
//! A policy is a WebAssembly component of the world in `wit/`. It gets a fresh instance for each
//! decision, thrown away afterwards; it is cut off in time, memory, stack and size of its answer;
//! and its answer is checked before it is believed. After any failure the host's own
//! [`cautious`] verdict stands in its place.
//!
//! This module never lets a policy's mistake become an error or a panic of the host, never repairs
//! anything itself, and never asks the clock for more than when to cut off.

mod answer;
mod cache;
mod cautious;
mod compiled;
mod failure;
mod heard;
mod limits;
mod line;
mod load_error;
mod runtime;
mod sandbox;
mod telemetry;
mod ticker;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::model::generated::PolicyPre;
use crate::model::{Context, Description, LogLevel, PolicyEvent, Setting, Verdict};
use crate::signing::Provenance;

pub use cache::{CacheError, CacheLimits, CompiledCache};
pub use cautious::cautious;
pub use compiled::Compiled;
pub use failure::PolicyFailure;
pub use heard::{Heard, HeardTelemetry, Overheard, Retold};
pub use limits::{
    ITEMS, LOG_LINE_BYTES, LOG_LINES, Limits, MEMORY_BYTES, RECENT_POINTS, RULE_BYTES,
    SETTINGS_BYTES, TEXT_BYTES,
};
pub use line::{Line, LineDecision, Part, PolicyIdentity, most_cautious};
pub use load_error::{LoadError, RuntimeError};
pub use runtime::Runtime;
pub use telemetry::{NoTelemetry, Telemetry, TelemetryCopy};

use runtime::Inner;
use sandbox::{Sandbox, State};

/// One line that the policy wrote during a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The line, [`LOG_LINE_BYTES`] at most.
    pub message: String,
}

/// What came of asking a policy. Equal decisions may have taken different times.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// The answer that counts: the policy's own, checked, or the host's [`cautious`] one.
    pub verdict: Verdict,
    /// Why the policy's answer does not count; none when it does.
    pub failure: Option<PolicyFailure>,
    /// What the policy wrote, the first [`LOG_LINES`] lines.
    pub log: Vec<LogLine>,
    /// How long it took. No part of equality or of a recording.
    #[serde(skip)]
    pub duration: Duration,
}

impl PartialEq for Decision {
    fn eq(&self, other: &Self) -> bool {
        self.verdict == other.verdict && self.failure == other.failure && self.log == other.log
    }
}

/// A loaded policy with its settings. Cheap to clone; keeps its runtime alive.
#[derive(Clone)]
pub struct Policy {
    runtime: Arc<Inner>,
    pre: PolicyPre<State>,
    digest: Arc<str>,
    description: Arc<Description>,
    provenance: Arc<Provenance>,
    settings: Arc<[u8]>,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("name", &self.name())
            .field("version", &self.version())
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Policy {
    /// Its stable name, kebab-case.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.description.version
    }

    /// The SHA-256 of the component's bytes, lower-case hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Which component it is.
    pub fn identity(&self) -> PolicyIdentity {
        PolicyIdentity {
            name: self.name().to_owned(),
            version: self.version().to_owned(),
            digest: self.digest().to_owned(),
        }
    }

    /// The digest, shared.
    pub(crate) fn shared_digest(&self) -> Arc<str> {
        Arc::clone(&self.digest)
    }

    /// What it says about itself and its parameters.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Who vouches for it.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// What `configure` made of the settings: the bytes for [`Context::settings`].
    pub fn settings(&self) -> &[u8] {
        &self.settings
    }

    /// The same policy with other settings; compiles nothing.
    ///
    /// # Errors
    /// [`LoadError::Settings`] names every field that is wrong; [`LoadError::Configure`] and
    /// [`LoadError::MalformedSettings`] say that the policy itself failed.
    pub fn with_settings(&self, settings: &[Setting]) -> Result<Self, LoadError> {
        let packed = runtime::configure(&self.runtime, &self.pre, settings)?;
        Ok(Self {
            settings: packed.into(),
            ..self.clone()
        })
    }

    /// Judges one event. Never fails, never panics, and takes no longer than
    /// [`Limits::deadline_ms`] and one tick of a millisecond.
    ///
    /// `telemetry` is moved into the policy's store for the call and is back when this returns;
    /// its `Default` only fills the gap. `context.settings` must hold [`Policy::settings`].
    pub fn decide<T: Telemetry + Default>(
        &self,
        event: &PolicyEvent,
        context: &Context,
        telemetry: &mut T,
    ) -> Decision {
        let started = Instant::now();
        let limits = &self.runtime.limits;
        let lent: Box<dyn Telemetry> = Box::new(std::mem::take(telemetry));
        let mut sandbox = Sandbox::new(&self.runtime, limits.deadline_ms, lent);
        let answer = sandbox
            .call(&self.pre, |policy, store| {
                policy
                    .dbmedic_policy_decision()
                    .call_decide(store, event, context)
            })
            .and_then(|answer| answer::believe(answer, event));
        let State { lent, log, .. } = sandbox.close();
        let lent: Box<dyn Any> = lent;
        match lent.downcast::<T>() {
            Ok(back) => *telemetry = *back,
            Err(_) => unreachable!("the store hands back the very value it was lent"),
        }
        for LogLine { level, message } in &log {
            tracing::debug!(
                policy = self.name(),
                target = context.target,
                ?level,
                "{message}"
            );
        }
        let (verdict, failure) = match answer {
            Ok(verdict) => (verdict, None),
            Err(failure) => (cautious(event, context, &failure), Some(failure)),
        };
        Decision {
            verdict,
            failure,
            log,
            duration: started.elapsed(),
        }
    }
}
