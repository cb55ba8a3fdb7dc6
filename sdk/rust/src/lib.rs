//! What a policy author needs to write a dbmedic policy in Rust: the contract's types, the trait
//! [`Policy`], declared [`parameters!`], typed views of the known [`problems`], and the macro that
//! exports it all as a component.
//!
//! A policy is a pure function. This crate must never give it a way to a clock, a file, a source
//! of randomness or state that outlives a call, other than the bytes in `context.memory`.
//!
//! # A whole policy
//!
//! ```
//! use dbmedic_policy::{
//!     Answer, Classification, Facts, Policy, Problem, Situation, export_policy, parameters, reason,
//! };
//!
//! parameters! {
//!     /// What the operator may set.
//!     pub struct Parameters {
//!         /// Age from which a write lock counts as stale, milliseconds.
//!         pub stale_lock_age_ms: u64 = 300_000, 1_000..=86_400_000;
//!     }
//! }
//!
//! struct Patient;
//!
//! impl Policy for Patient {
//!     type Parameters = Parameters;
//!     type Memory = ();
//!     const NAME: &'static str = "patient";
//!     const VERSION: &'static str = "0.1.0";
//!     const SUMMARY: &'static str = "Waits for stale locks, calls a person for the rest.";
//!
//!     fn classify(situation: &Situation<'_, Parameters>, _memory: &mut (), answer: &mut Answer) {
//!         let Some(finding) = situation.finding() else { return };
//!         match Problem::of(finding) {
//!             Problem::StaleLock(lock)
//!                 if lock.age_ms < Some(situation.parameters.stale_lock_age_ms) =>
//!             {
//!                 answer.classify(Classification::Hiccup);
//!                 answer.because(reason!("lock.too-fresh", "it may still let go"));
//!             }
//!             _ => {
//!                 answer.classify(Classification::Wall);
//!                 answer.because(reason!("patient.person", "{} needs a person", finding.kind));
//!             }
//!         }
//!     }
//! }
//!
//! export_policy!(Patient);
//!
//! // Natively, a test asks as the host would.
//! use dbmedic_policy::{Event, Value, testing};
//! let settings = dbmedic_policy::configure::<Patient>(&[]).expect("the defaults are right");
//! let context = testing::context(settings);
//! let finding = testing::finding("lock.stale-holder", &[("age_ms", Value::Integer(4_200))]);
//! let verdict = dbmedic_policy::decide::<Patient>(&Event::Finding(finding), &context).unwrap();
//! assert_eq!(verdict.classification, Some(Classification::Hiccup));
//! assert_eq!(verdict.reasons[0].rule, "lock.too-fresh");
//! ```
//!
//! A crate with `crate-type = ["cdylib"]`, built for `wasm32-unknown-unknown` with
//! `wasm-component-ld` as its linker, is the component; there is no further step.

mod answer;
mod blob;
pub mod escalation;
mod facts;
#[doc(hidden)]
pub mod generated;
pub mod log;
mod memory;
mod parameters;
mod policy;
pub mod problems;
mod reason;
mod situation;
pub mod telemetry;
pub mod testing;

pub use answer::Answer;
pub use blob::fingerprint;
pub use facts::Facts;
pub use generated::dbmedic::policy::findings::{
    Anomaly, Candidate, CascadeLevel, DataLoss, DetectionMethod, Fact, Finding, MethodScore,
    Outcome, OutcomeResult, Precondition, Severity, Value,
};
pub use generated::dbmedic::policy::situation::{
    Attribution, ConstraintState, ConstraintStatus, Context, Event, LocalTime, Maintenance,
    MaintenanceWindow, Metric, OffsetChange, OpenIncident, RepairAnswer, RepairHistory,
};
pub use generated::dbmedic::policy::verdicts::{
    Alert, Classification, EscalationLevel, Reason, Urgency, Verbosity, Verdict,
};
pub use generated::exports::dbmedic::policy::decision::{
    Description, Parameter, Setting, SettingError,
};
pub use memory::{CoolDown, Window};
pub use parameters::{ParameterType, Parameters, SettingFault};
pub use policy::{Policy, configure, decide, describe, not_judged};
pub use problems::Problem;
pub use reason::{is_rule_name, percent, seconds};
pub use situation::{LocalMoment, Situation, Weekday};

/// Exports a [`Policy`] as the component's `decision` interface. Takes the type's name.
///
/// The component gets an allocator whose heap begins in the memory it starts with: a fresh instance
/// serves every decision, and to grow its memory would cost more than the decision itself.
///
/// On other machines than WebAssembly it only checks that the type is a policy, so that the same
/// crate runs its tests natively.
#[macro_export]
macro_rules! export_policy {
    ($policy:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[global_allocator]
        static HEAP: $crate::__heap::GlobalDlmalloc = $crate::__heap::GlobalDlmalloc;
        #[cfg(target_arch = "wasm32")]
        $crate::generated::export!($policy with_types_in $crate::generated);
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::assert_policy::<$policy>();
    };
}

#[doc(hidden)]
pub const fn assert_policy<P: Policy>() {}

// For the macros, which run in crates that need not depend on serde themselves.
#[doc(hidden)]
pub mod __parameters {
    pub use crate::parameters::{check, line};
}
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use dlmalloc as __heap;
/// What memories are packed with. A memory of one's own derives its traits, without a dependency of its own:
///
/// ```
/// use dbmedic_policy::serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// #[serde(crate = "dbmedic_policy::serde")]
/// struct Memory {
///     last_told_ms: u64,
/// }
/// ```
pub use serde;
// `parameters!` names this crate from outside; its own tests do too.
#[cfg(test)]
extern crate self as dbmedic_policy;
