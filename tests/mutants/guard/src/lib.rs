//! The guard and its tests, compiled without the rest of dbmedic: `tests/mutants.sh guard` changes
//! `host/src/guard.rs` some hundred times, and building dbmedic for each change takes hours.
//!
//! The guard knows no other module but the records of the contract, which are generated here from the
//! same `wit/`.

#[path = "../../../../host/src/guard.rs"]
pub mod guard;

/// The records that the guard uses, as `host/src/model.rs` names them.
pub mod model {
    #[allow(
        missing_docs,
        unreachable_pub,
        dead_code,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated from wit/, where every item is documented"
    )]
    mod generated {
        wit_bindgen::generate!({
            path: "../../../wit",
            world: "policy",
            additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        });
    }

    pub use generated::dbmedic::policy::findings::{
        Candidate, CascadeLevel, DataLoss, Fact, Finding, Outcome, OutcomeResult, Precondition,
        Value,
    };
    pub use generated::dbmedic::policy::situation::RepairHistory;

    /// The fact that the guard holds against its limit.
    pub const EXPECTED_LOCK_MS: &str = "expected_lock_ms";
}
