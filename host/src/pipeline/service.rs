//! Whether a policy is asked: not while it is out of service, and not where a replay meets a failure
//! that depended on the machine. It asks no policy itself and reads no clock.

use std::collections::BTreeMap;

use super::Asked;
use crate::policy::{Breaker, BreakerOptions, PolicyFailure};

/// A failure that depended on the machine, as a recording holds it: a replay meets it again.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedFailure {
    /// The target.
    pub target: String,
    /// The incident, unless the event was a tick.
    pub incident: Option<String>,
    /// What was put to the policy.
    pub asked: Asked,
    /// The policy's configured name where several are in line.
    pub policy: Option<String>,
    /// Why the policy's own answer did not count.
    pub failure: PolicyFailure,
}

/// What is about to be put to a policy.
pub(super) struct Matter<'a> {
    pub(super) target: &'a str,
    pub(super) at_ms: u64,
    pub(super) asked: Asked,
    pub(super) incident: Option<&'a str>,
}

/// The service of all policies, by their configured names.
pub(super) struct Service {
    options: BreakerOptions,
    breakers: BTreeMap<String, Breaker>,
    /// What the step that runs meets again.
    recorded: Vec<RecordedFailure>,
}

impl Service {
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            breakers: BTreeMap::new(),
            recorded: Vec::new(),
        }
    }

    /// What the next decisions meet again.
    pub(super) fn meet_again(&mut self, failures: Vec<RecordedFailure>) {
        self.recorded = failures;
    }

    /// Another policy has this name from now on: nothing speaks against it yet.
    pub(super) fn begin_anew(&mut self, policy: &str) {
        self.breakers.remove(policy);
    }

    /// Why the policy is not asked.
    pub(super) fn hindrance(&mut self, policy: &str, matter: &Matter<'_>) -> Option<PolicyFailure> {
        if let Err(until_ms) = self.breaker(policy).admit(matter.at_ms) {
            return Some(PolicyFailure::OutOfService { until_ms });
        }
        let before = self.recorded.iter().find(|recorded| {
            recorded.policy.as_deref().is_none_or(|name| name == policy)
                && recorded.target == matter.target
                && recorded.asked == matter.asked
                && recorded.incident.as_deref() == matter.incident
        })?;
        Some(before.failure.clone())
    }

    /// Notes how a decision ended.
    pub(super) fn note(&mut self, policy: &str, at_ms: u64, failure: Option<&PolicyFailure>) {
        self.breaker(policy).record(at_ms, failure);
    }

    fn breaker(&mut self, policy: &str) -> &mut Breaker {
        self.breakers
            .entry(policy.to_owned())
            .or_insert_with(|| Breaker::new(self.options.clone()))
    }
}
