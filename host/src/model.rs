//! The records that a policy sees, generated from `wit/` once and used everywhere:
//! in the pipeline, the journal, the recordings and the answers to `--json`.
//!
//! Nothing is defined here a second time; behaviour of these types goes into `impl`s of this crate.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/, where every item is documented"
)]
pub(crate) mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

pub use generated::dbmedic::policy::findings::{
    Anomaly, Candidate, CascadeLevel, DataLoss, DetectionMethod, Fact, Finding, MethodScore,
    Outcome, OutcomeResult, Precondition, Severity, Value,
};
pub use generated::dbmedic::policy::log::LogLevel;
pub use generated::dbmedic::policy::situation::{
    ConstraintState, ConstraintStatus, Context, Event as PolicyEvent, Metric, OpenIncident,
    RepairHistory,
};
pub use generated::dbmedic::policy::telemetry::{BaselineSummary, Point};
pub use generated::dbmedic::policy::verdicts::{
    Alert, Classification, EscalationLevel, Reason, Urgency, Verbosity, Verdict,
};
pub use generated::exports::dbmedic::policy::decision::{
    Description, Parameter, Setting, SettingError,
};

/// The fact of a finding that says how long its repair is expected to hold writers out,
/// milliseconds. The guard holds it against its limit.
pub const EXPECTED_LOCK_MS: &str = "expected_lock_ms";

/// A moment as a person reads it, in UTC; `at_ms` counts milliseconds since the Unix epoch.
pub fn utc(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok();
    let at = at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| format!("{at_ms} ms after 1970"), |at| format!("{at:.0}"))
}
