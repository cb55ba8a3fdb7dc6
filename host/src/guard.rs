//! The host's own law: turns a verdict into an approved repair or a refusal with its reason.
//!
//! Only this module makes an [`ApprovedRepair`], and nothing else can be applied. It never asks
//! what a problem means; that is the policy's part.

use crate::model::{Candidate, Finding};

/// A repair that the guard let through. There is no other way to get one than the guard.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovedRepair {
    target: String,
    finding: Finding,
    candidate: Candidate,
    approved_at_ms: u64,
}

impl ApprovedRepair {
    /// The target's name.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The finding that it mends, as it stood when the policy chose.
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// The repair that was chosen.
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// When it was approved, milliseconds since the Unix epoch.
    pub fn approved_at_ms(&self) -> u64 {
        self.approved_at_ms
    }

    /// For unit tests of what comes after the guard.
    #[cfg(test)]
    pub(crate) fn for_test(target: &str, finding: Finding, candidate: Candidate) -> Self {
        Self {
            target: target.into(),
            finding,
            candidate,
            approved_at_ms: 0,
        }
    }
}
