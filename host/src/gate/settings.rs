//! How a candidate has to prove itself: the configuration's part of the gate.

use serde::{Deserialize, Serialize};

use crate::policy::Probation;

/// What the gate of one policy asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GateSettings {
    /// Whether a version may come into service that is older than the one there; default no.
    pub allow_downgrade: bool,
    /// Deciding beside the policy in service.
    pub shadow: ShadowSettings,
    /// The first time in service.
    pub probation: ProbationSettings,
}

/// How long a candidate decides in the shadow, and what becomes of it then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowSettings {
    /// After so many decisions it has shown enough; 0 leaves the shadow out. Default 50.
    pub decisions: u64,
    /// After this time it has shown enough, if it decided at all, milliseconds; default 10 minutes.
    pub time_ms: u64,
    /// Whether it goes on by itself when it failed not too often and differs not too much;
    /// otherwise a person promotes. Default yes.
    pub promote_by_itself: bool,
    /// The share of decisions on which it may differ and still go on by itself, percent; default 5.
    pub difference_percent: f64,
    /// Failures that it may have; one more and it is refused. Default 0.
    pub failures: u64,
}

impl Default for ShadowSettings {
    fn default() -> Self {
        Self {
            decisions: 50,
            time_ms: 600_000,
            promote_by_itself: true,
            difference_percent: 5.0,
            failures: 0,
        }
    }
}

/// When a policy that came into service has proved itself, and when the last good one returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbationSettings {
    /// After so many decisions it has proved itself; default 200.
    pub decisions: u64,
    /// After this time it has proved itself, if it decided at all, milliseconds; default one hour.
    pub time_ms: u64,
    /// So many failures on probation bring the last good one back; default 2. Later, the policy's
    /// breaker does.
    pub failures: u64,
    /// A decision that takes longer is slow, milliseconds; default 20.
    pub slow_ms: u64,
    /// So many slow decisions on probation bring the last good one back; default 5.
    pub slow_decisions: u64,
}

impl ProbationSettings {
    /// What the policy's breaker has to know of it.
    pub(super) fn bounds(&self) -> Probation {
        Probation {
            decisions: self.decisions,
            time_ms: self.time_ms,
            failures: self.failures,
        }
    }
}

impl Default for ProbationSettings {
    fn default() -> Self {
        Self {
            decisions: 200,
            time_ms: 3_600_000,
            failures: 2,
            slow_ms: 20,
            slow_decisions: 5,
        }
    }
}
