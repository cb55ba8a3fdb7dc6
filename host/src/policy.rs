//! Loads policies and calls them, whatever they do.
//!
//! A policy is a WebAssembly component of the world in `wit/`. By default it gets a fresh instance
//! for each decision, thrown away afterwards; it is cut off in time, fuel, memory, stack and size
//! of its answer; and its answer is checked before it is believed. After any failure the host's own
//! [`cautious`] verdict stands in its place, and a [`Breaker`] takes a policy that keeps failing
//! out of service.
//!
//! This module never lets a policy's mistake become an error or a panic of the host, never repairs
//! anything itself, and never asks the clock for more than when to cut off.

mod address_space;
mod answer;
mod breaker;
mod cache;
mod cautious;
mod compiled;
mod contract_0_1;
mod failure;
mod foreign;
mod heard;
mod idle;
mod limits;
mod line;
mod load_error;
mod memory;
mod purity;
mod runtime;
mod sandbox;
mod statistics;
mod telemetry;
mod ticker;
mod toolchain;

use std::any::Any;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::model::{Context, Description, LogLevel, PolicyEvent, Setting, Verdict};
use crate::signing::Provenance;
use contract_0_1::generated::PolicyPre;

pub use breaker::{
    Breaker, BreakerOptions, BreakerRecord, BreakerState, Probation, ServiceChange, Standing,
};
pub use cache::{CacheError, CacheLimits, CompiledCache};
pub use cautious::cautious;
pub use compiled::Compiled;
pub use failure::PolicyFailure;
pub use foreign::{FaultKind, Judged, MemoryFault, StrangeMemory, check_memory};
pub use heard::{Heard, HeardTelemetry, Overheard, Retold};
pub use limits::{
    ITEMS, Isolation, LOG_LINE_BYTES, LOG_LINES, Limits, MEMORY_BYTES, RECENT_POINTS, RULE_BYTES,
    SETTINGS_BYTES, TEXT_BYTES,
};
pub use line::{
    Beginning, Left, Line, LineDecision, Part, PolicyIdentity, Remembrance, most_cautious,
};
pub use load_error::{LoadError, RuntimeError};
pub use memory::{Owner, Remembered, Signer};
pub use purity::{Impurity, Question, check_purity};
pub use runtime::Runtime;
pub use statistics::PolicyStatus;
pub use telemetry::{NoTelemetry, Telemetry, TelemetryCopy};
pub use toolchain::Toolchain;

use idle::Kept;
use runtime::Inner;
use sandbox::{Allowance, Sandbox, State, Used};
use statistics::Statistics;

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

/// A loaded policy with its settings. Cheap to clone; keeps its runtime alive.
#[derive(Clone)]
pub struct Policy {
    common: Arc<Common>,
    isolation: Isolation,
    pre: PolicyPre<State>,
    digest: Arc<str>,
    description: Arc<Description>,
    provenance: Arc<Provenance>,
    settings: Arc<[u8]>,
}

/// What the clones of one policy have in common.
struct Common {
    runtime: Arc<Inner>,
    /// Whose an instance is.
    number: u64,
    statistics: Mutex<Statistics>,
}

impl Common {
    fn new(runtime: &Arc<Inner>) -> Arc<Self> {
        Arc::new(Self {
            runtime: Arc::clone(runtime),
            number: runtime.next_policy.fetch_add(1, Ordering::Relaxed),
            statistics: Mutex::new(Statistics::new()),
        })
    }

    /// A panic elsewhere leaves the counts as good as they were.
    fn statistics(&self) -> MutexGuard<'_, Statistics> {
        self.statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        self.runtime.idle.forget(self.number, None);
    }
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

    /// The limits that it is held to.
    pub fn limits(&self) -> &Limits {
        &self.common.runtime.limits
    }

    /// How it and its clones have done so far.
    pub fn status(&self) -> PolicyStatus {
        let statistics = self.common.statistics();
        statistics.status(self.name(), self.version(), self.digest())
    }

    /// The same policy with other settings; compiles nothing. Counted on its own.
    ///
    /// # Errors
    /// [`LoadError::Settings`] names every field that is wrong; [`LoadError::Configure`] and
    /// [`LoadError::MalformedSettings`] say that the policy itself failed.
    pub fn with_settings(&self, settings: &[Setting]) -> Result<Self, LoadError> {
        let packed = runtime::configure(&self.common.runtime, &self.pre, settings)?;
        Ok(Self {
            common: Common::new(&self.common.runtime),
            settings: packed.into(),
            ..self.clone()
        })
    }

    /// The same policy in another isolation; compiles nothing. Counted on its own.
    #[must_use]
    pub fn with_isolation(&self, isolation: Isolation) -> Self {
        Self {
            common: Common::new(&self.common.runtime),
            isolation,
            ..self.clone()
        }
    }

    /// Throws the instance away that waits for the next decision on a target, if there is one.
    /// After a failure during a call this happens by itself.
    pub fn recycle(&self, target: &str) {
        let common = &self.common;
        common.runtime.idle.forget(common.number, Some(target));
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
        self.decide_in(&context.target, event, context, telemetry)
    }

    /// The same, in the instance that belongs to `slot` where instances are reused.
    fn decide_in<T: Telemetry + Default>(
        &self,
        slot: &str,
        event: &PolicyEvent,
        context: &Context,
        telemetry: &mut T,
    ) -> Decision {
        let started = Instant::now();
        let lent: Box<dyn Telemetry> = Box::new(std::mem::take(telemetry));
        let (answer, used) = self.ask(started, slot, event, context, lent);
        let lent: Box<dyn Any> = used.lent;
        match lent.downcast::<T>() {
            Ok(back) => *telemetry = *back,
            Err(_) => unreachable!("the store hands back the very value it was lent"),
        }
        for LogLine { level, message } in &used.log {
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
        let decision = Decision {
            verdict,
            failure,
            log: used.log,
            duration: started.elapsed(),
            fuel: used.fuel,
            memory_bytes: used.memory_bytes as u64,
        };
        self.common.statistics().note(&decision);
        decision
    }

    /// Calls the policy in an instance as its isolation says. The instance is kept for the next
    /// decision on this target only if all went well.
    fn ask(
        &self,
        started: Instant,
        slot: &str,
        event: &PolicyEvent,
        context: &Context,
        lent: Box<dyn Telemetry>,
    ) -> (Result<Verdict, PolicyFailure>, Used) {
        let Common {
            runtime, number, ..
        } = &*self.common;
        let limits = &runtime.limits;
        let due = started + Duration::from_millis(limits.deadline_ms);
        let _watched = runtime.ticker.watch(due);
        let call = |sandbox: &mut Sandbox, lent| {
            let allowance = Allowance {
                due,
                limit_ms: limits.deadline_ms,
                fuel: limits.fuel.unwrap_or_default(),
                lent,
            };
            sandbox.allow(limits, allowance);
            let answer = sandbox.call(limits, &self.pre, |policy, store| {
                contract_0_1::decide(policy, store, event, context)
            });
            let answer = answer.and_then(|answer| answer::believe(answer, event));
            (answer, sandbox.settle())
        };
        let Isolation::Reused { recycle_after } = self.isolation else {
            let mut sandbox = Sandbox::new(runtime);
            let (answer, used) = call(&mut sandbox, lent);
            return match answer {
                // Instances that only wait give way to a decision.
                Err(PolicyFailure::Busy { .. }) if runtime.idle.clear() => {
                    call(&mut Sandbox::new(runtime), used.lent)
                }
                answer => (answer, used),
            };
        };
        let mut kept = runtime.idle.take(*number, slot).unwrap_or_else(|| Kept {
            policy: *number,
            target: slot.to_owned(),
            sandbox: Sandbox::new(runtime),
            decisions: 0,
        });
        let (mut answer, mut used) = call(&mut kept.sandbox, lent);
        if matches!(answer, Err(PolicyFailure::Busy { .. })) && runtime.idle.clear() {
            kept.sandbox = Sandbox::new(runtime);
            (answer, used) = call(&mut kept.sandbox, used.lent);
        }
        kept.decisions += 1;
        if answer.is_ok() && kept.decisions < recycle_after {
            runtime.idle.put(kept);
        }
        (answer, used)
    }
}
