//! Whether a policy is asked: not while it is out of service, and not where a replay meets a failure
//! that depended on the machine. It asks no policy itself and reads no clock.

use std::collections::BTreeMap;

use super::Asked;
use crate::policy::{
    Breaker, BreakerOptions, BreakerRecord, BreakerState, PolicyFailure, ServiceChange, Standing,
};

/// What breakers know, by the policies' configured names and the digests of their components.
pub type BreakerRecords = BTreeMap<String, BTreeMap<String, BreakerRecord>>;

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
    named_options: BTreeMap<String, BreakerOptions>,
    /// By name, and by the component's digest: what failed is remembered while another decides.
    breakers: BTreeMap<String, BTreeMap<String, Breaker>>,
    /// What the step that runs meets again.
    recorded: Vec<RecordedFailure>,
}

impl Service {
    pub(super) fn new(
        options: BreakerOptions,
        named_options: BTreeMap<String, BreakerOptions>,
        known: BreakerRecords,
    ) -> Self {
        let mut service = Self {
            options,
            named_options,
            breakers: BTreeMap::new(),
            recorded: Vec::new(),
        };
        for (policy, records) in known {
            let options = service.options_of(&policy).clone();
            let breaker = |(digest, record)| (digest, Breaker::with(options.clone(), record));
            let breakers = records.into_iter().map(breaker).collect();
            service.breakers.insert(policy, breakers);
        }
        service
    }

    /// What the next run must know.
    pub(super) fn known(&self) -> BreakerRecords {
        let of_one = |breakers: &BTreeMap<String, Breaker>| -> BTreeMap<_, _> {
            let breakers = breakers.iter();
            breakers
                .map(|(digest, breaker)| (digest.clone(), breaker.known().clone()))
                .collect()
        };
        let all = self.breakers.iter();
        all.map(|(policy, breakers)| (policy.clone(), of_one(breakers)))
            .collect()
    }

    /// What the next decisions meet again.
    pub(super) fn meet_again(&mut self, failures: Vec<RecordedFailure>) {
        self.recorded = failures;
    }

    /// Whether nothing speaks against a policy that decided until now.
    pub(super) fn is_proven(&self, policy: &str, digest: &str) -> bool {
        let known = self.breakers.get(policy);
        let breaker = known.and_then(|breakers| breakers.get(digest));
        breaker.is_none_or(Breaker::is_proven)
    }

    /// The component with this digest has this name from now on.
    pub(super) fn begin(&mut self, policy: &str, digest: &str, standing: Standing, at_ms: u64) {
        let options = self.options_of(policy).clone();
        let breakers = self.breakers.entry(policy.to_owned()).or_default();
        match standing {
            // What it takes the place of may be tried again, and is remembered until then.
            Standing::Proven => breakers.retain(|other, breaker| {
                other != digest && matches!(breaker.state(), BreakerState::Open { .. })
            }),
            Standing::OnProbation(bounds) => {
                let record = BreakerRecord::on_probation(bounds, at_ms);
                let breaker = Breaker::with(options, record);
                *breakers = BTreeMap::from([(digest.to_owned(), breaker)]);
            }
            Standing::OnTrial => {
                breakers.retain(|other, _| other == digest);
                let breaker = breakers.entry(digest.to_owned());
                let breaker = breaker.or_insert_with(|| Breaker::new(options));
                breaker.try_again();
            }
        }
    }

    /// Why the policy is not asked.
    pub(super) fn hindrance(
        &mut self,
        policy: &str,
        digest: &str,
        matter: &Matter<'_>,
    ) -> Option<PolicyFailure> {
        if let Err(until_ms) = self.breaker(policy, digest).admit(matter.at_ms) {
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

    /// Notes how a decision ended, and says what that changes.
    pub(super) fn note(
        &mut self,
        policy: &str,
        digest: &str,
        at_ms: u64,
        failure: Option<&PolicyFailure>,
    ) -> Option<ServiceChange> {
        self.breaker(policy, digest).record(at_ms, failure)
    }

    fn options_of(&self, policy: &str) -> &BreakerOptions {
        self.named_options.get(policy).unwrap_or(&self.options)
    }

    fn breaker(&mut self, policy: &str, digest: &str) -> &mut Breaker {
        let known = self.breakers.get(policy);
        if known.is_none_or(|breakers| !breakers.contains_key(digest)) {
            let breaker = Breaker::new(self.options_of(policy).clone());
            let breakers = self.breakers.entry(policy.to_owned()).or_default();
            breakers.insert(digest.to_owned(), breaker);
        }
        let breakers = self.breakers.get_mut(policy);
        match breakers.and_then(|breakers| breakers.get_mut(digest)) {
            Some(breaker) => breaker,
            None => unreachable!("it was put there"),
        }
    }
}
