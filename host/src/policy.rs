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
mod cache;
mod compiled;
mod contract;
mod failure;
mod foreign;
mod idle;
mod limits;
mod load_error;
mod purity;
mod runtime;
mod sandbox;
mod statistics;
mod ticker;
mod toolchain;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{Context, Description, PolicyEvent, Setting, Verdict};
use crate::signing::Provenance;
use contract::Linked;

pub use cache::{CacheError, CacheLimits, CompiledCache};
pub use compiled::Compiled;
pub use dbmedic_core::policy::*;
pub use foreign::{FaultKind, Judged, MemoryFault, StrangeMemory, check_memory};
pub use limits::{Isolation, Limits};
pub use load_error::{LoadError, RuntimeError};
pub use purity::{Impurity, Question, check_purity};
pub use runtime::Runtime;
pub use statistics::PolicyStatus;
pub use toolchain::Toolchain;

use idle::Kept;
use runtime::Inner;
use sandbox::{Allowance, Sandbox, Used};
use statistics::Statistics;

/// A loaded policy with its settings. Cheap to clone; keeps its runtime alive.
#[derive(Clone)]
pub struct Policy {
    common: Arc<Common>,
    isolation: Isolation,
    linked: Linked,
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

    /// The version of the contract that it was built against.
    pub fn contract(&self) -> &'static str {
        self.linked.version()
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
        let packed = runtime::configure(&self.common.runtime, &self.linked, settings)?;
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
        dbmedic_core::policy::decide(self, event, context, telemetry)
    }

    /// The same, in the instance that belongs to `slot` where instances are reused.
    fn decide_in(
        &self,
        slot: &str,
        event: &PolicyEvent,
        context: &Context,
        lent: Box<dyn Telemetry>,
    ) -> (Decision, Box<dyn Telemetry>) {
        let started = Instant::now();
        let (answer, used) = self.ask(started, slot, event, context, lent);
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
        (decision, used.lent)
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
            let answer = sandbox.call(limits, &self.linked, |policy, store| {
                policy.decide(store, event, context)
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

impl From<&Provenance> for Signer {
    fn from(provenance: &Provenance) -> Self {
        match provenance {
            Provenance::BuiltIn => Self::BuiltIn,
            Provenance::Signed { key_id, .. } => Self::Key(key_id.clone()),
            Provenance::Unsigned => Self::Nobody,
        }
    }
}

impl Decider for Policy {
    fn identity(&self) -> PolicyIdentity {
        Self::identity(self)
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn shared_digest(&self) -> Arc<str> {
        Arc::clone(&self.digest)
    }

    fn signer(&self) -> Signer {
        self.provenance().into()
    }

    fn settings(&self) -> &[u8] {
        &self.settings
    }

    fn decide_with(
        &self,
        event: &PolicyEvent,
        context: &Context,
        lent: Box<dyn Telemetry>,
    ) -> (Decision, Box<dyn Telemetry>) {
        self.decide_in(&context.target, event, context, lent)
    }

    fn recycle(&self, target: &str) {
        Self::recycle(self, target);
    }
}

impl From<Policy> for Arc<dyn Decider> {
    fn from(policy: Policy) -> Self {
        Arc::new(policy)
    }
}
