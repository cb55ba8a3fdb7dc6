//! Takes a policy that keeps failing out of service, and tries it again with backoff; tells when one
//! that is new has proved itself. The only place where failures of a policy are counted against it.
//!
//! A pure state machine after the circuit breaker of Nygard, "Release It!" (closed, open,
//! half-open): time arrives as an argument, so that the same events give the same states at replay.
//! It never asks a policy itself and never says what is decided meanwhile.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::PolicyFailure;

/// When a policy is taken out of service and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerOptions {
    /// Failures in a row that take the policy out of service, 1 to 100; default 3.
    pub failures_in_a_row: u32,
    /// The latest decisions that the rate is taken over, 10 to 1000; default 50. Fewer are not
    /// judged by their rate.
    pub rate_decisions: u32,
    /// The share of failures among them that takes the policy out of service, 1 to 100 percent;
    /// default 20.
    pub rate_percent: f64,
    /// Time out of service before the policy is tried again, milliseconds, 1 s to one day; default
    /// one minute. Doubles with each trial that fails.
    pub backoff_ms: u64,
    /// The longest time out of service, milliseconds, `backoff_ms` to 30 days; default one hour.
    pub backoff_max_ms: u64,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures_in_a_row: 3,
            rate_decisions: 50,
            rate_percent: 20.0,
            backoff_ms: 60_000,
            backoff_max_ms: 3_600_000,
        }
    }
}

/// Whether a policy is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// In service: it is asked.
    #[default]
    Closed,
    /// Out of service: it is not asked.
    Open {
        /// When it is tried again, milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// On trial: it is asked, and the first failure takes it out of service again.
    HalfOpen,
}

/// What a new policy has to show before it is held to no more than any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probation {
    /// After so many decisions it has proved itself.
    pub decisions: u64,
    /// After this time it has proved itself, milliseconds.
    pub time_ms: u64,
    /// So many failures until then take it out of service.
    pub failures: u64,
}

/// What a policy comes into service as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing speaks against it.
    #[default]
    Proven,
    /// It is new.
    OnProbation(Probation),
    /// It was taken out of service, and is tried again.
    OnTrial,
}

impl Standing {
    /// Whether nothing speaks against it.
    pub fn is_proven(&self) -> bool {
        *self == Self::Proven
    }
}

/// What a decision changed for the policy that took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceChange {
    /// Its probation is over.
    Proved,
    /// It is not asked any more.
    OutOfService {
        /// When it is tried again, milliseconds since the Unix epoch.
        until_ms: u64,
        /// Why, in one line.
        reason: String,
        /// Whether it had not proved itself yet.
        on_probation: bool,
    },
    /// It was tried again, and answered.
    BackInService,
}

/// What a breaker knows of its policy, carried from one run to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BreakerRecord {
    state: BreakerState,
    /// Whether each of the latest decisions failed, the latest last.
    latest: VecDeque<bool>,
    in_a_row: u32,
    /// Good decisions since the last failure.
    good: u32,
    /// Times out of service without a long good run since.
    trips: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probation: Option<OnProbation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OnProbation {
    bounds: Probation,
    since_ms: u64,
    decisions: u64,
    failures: u64,
}

impl BreakerRecord {
    /// Of a policy that is new at this time, milliseconds since the Unix epoch.
    pub fn on_probation(bounds: Probation, since_ms: u64) -> Self {
        Self {
            probation: Some(OnProbation {
                bounds,
                since_ms,
                decisions: 0,
                failures: 0,
            }),
            ..Self::default()
        }
    }

    /// Whether the policy is in service, and has proved itself.
    pub fn is_proven(&self) -> bool {
        self.state == BreakerState::Closed && self.probation.is_none()
    }

    /// Moves every time in it, milliseconds; none that is past is later than `now_ms` afterwards.
    pub fn move_times(&mut self, by_ms: i64, now_ms: u64) {
        if let BreakerState::Open { until_ms } = &mut self.state {
            *until_ms = until_ms.saturating_add_signed(by_ms);
        }
        if let Some(probation) = &mut self.probation {
            let since_ms = probation.since_ms.saturating_add_signed(by_ms);
            probation.since_ms = since_ms.min(now_ms);
        }
    }

    /// Where its breaker stands.
    pub fn state(&self) -> BreakerState {
        self.state
    }
}

/// The breaker of one policy.
#[derive(Debug, Clone)]
pub struct Breaker {
    options: BreakerOptions,
    record: BreakerRecord,
}

impl Breaker {
    /// A breaker of a policy that nothing speaks against.
    pub fn new(options: BreakerOptions) -> Self {
        Self::with(options, BreakerRecord::default())
    }

    /// A breaker that knows this already.
    pub fn with(options: BreakerOptions, record: BreakerRecord) -> Self {
        Self { options, record }
    }

    /// What the next run must know.
    pub fn known(&self) -> &BreakerRecord {
        &self.record
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        self.record.state
    }

    /// Whether the policy is in service, and has proved itself.
    pub fn is_proven(&self) -> bool {
        self.record.is_proven()
    }

    /// From now on the policy is tried again, whenever that was to be.
    pub fn try_again(&mut self) {
        self.record.state = BreakerState::HalfOpen;
    }

    /// Whether the policy is to be asked at this time, milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When it is out of service: until when.
    pub fn admit(&mut self, now_ms: u64) -> Result<(), u64> {
        if let BreakerState::Open { until_ms } = self.record.state {
            // A clock that was set back must not keep it out for longer than ever announced.
            let rest_ms = until_ms.saturating_sub(now_ms);
            if rest_ms > 0 && rest_ms <= self.options.backoff_max_ms {
                return Err(until_ms);
            }
            self.try_again();
        }
        Ok(())
    }

    /// Notes how a decision ended, and says what that changes. What does not speak against the
    /// policy, such as a refusal, counts as good; what says nothing about it, such as a busy host, is
    /// not counted.
    pub fn record(
        &mut self,
        now_ms: u64,
        failure: Option<&PolicyFailure>,
    ) -> Option<ServiceChange> {
        let failure = match failure {
            Some(PolicyFailure::Busy { .. } | PolicyFailure::OutOfService { .. }) => return None,
            failure => failure.filter(|failure| failure.is_misbehaviour()),
        };
        match (self.record.state, failure) {
            (BreakerState::Open { .. }, _) => None,
            (BreakerState::HalfOpen, Some(failure)) => {
                let reason = format!("it failed again when it was tried: {failure}");
                Some(self.open(now_ms, reason))
            }
            (BreakerState::HalfOpen, None) => {
                self.record.state = BreakerState::Closed;
                self.record.good = 1;
                Some(ServiceChange::BackInService)
            }
            (BreakerState::Closed, failure) => self.count(now_ms, failure),
        }
    }

    fn count(&mut self, now_ms: u64, failure: Option<&PolicyFailure>) -> Option<ServiceChange> {
        let record = &mut self.record;
        record.latest.push_back(failure.is_some());
        if record.latest.len() > self.options.rate_decisions as usize {
            record.latest.pop_front();
        }
        if let Some(probation) = &mut record.probation {
            probation.decisions += 1;
            probation.failures += u64::from(failure.is_some());
        }
        if let Some(failure) = failure {
            record.in_a_row += 1;
            record.good = 0;
            if let Some(why) = self.too_much() {
                return Some(self.open(now_ms, format!("{why}: {failure}")));
            }
        } else {
            record.in_a_row = 0;
            record.good = record.good.saturating_add(1);
            if record.good >= self.options.rate_decisions {
                record.trips = 0;
            }
        }
        let proved = self.record.probation.take_if(|probation| {
            probation.decisions >= probation.bounds.decisions
                || now_ms.saturating_sub(probation.since_ms) >= probation.bounds.time_ms
        });
        proved.map(|_| ServiceChange::Proved)
    }

    /// Why the failures so far are too many, if they are.
    fn too_much(&self) -> Option<String> {
        let BreakerRecord {
            latest,
            in_a_row,
            probation,
            ..
        } = &self.record;
        if let Some(probation) = probation
            && probation.failures >= probation.bounds.failures
        {
            let OnProbation {
                decisions,
                failures,
                ..
            } = probation;
            return Some(format!(
                "{failures} of its first {decisions} decisions failed"
            ));
        }
        if *in_a_row >= self.options.failures_in_a_row {
            return Some(format!("{in_a_row} decisions in a row failed"));
        }
        let window = self.options.rate_decisions;
        let failures = latest.iter().filter(|failed| **failed).count();
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        let most = f64::from(window) * self.options.rate_percent / 100.0;
        let is_full = latest.len() == window as usize;
        (is_full && f64::from(failures) >= most)
            .then(|| format!("{failures} of its latest {window} decisions failed"))
    }

    fn open(&mut self, now_ms: u64, reason: String) -> ServiceChange {
        let record = &mut self.record;
        let doubled = 1_u64.checked_shl(record.trips).unwrap_or(u64::MAX);
        let backoff_ms = self.options.backoff_ms.saturating_mul(doubled);
        let backoff_ms = backoff_ms.min(self.options.backoff_max_ms);
        let until_ms = now_ms.saturating_add(backoff_ms);
        let on_probation = record.probation.is_some();
        *record = BreakerRecord {
            state: BreakerState::Open { until_ms },
            trips: record.trips.saturating_add(1),
            ..BreakerRecord::default()
        };
        ServiceChange::OutOfService {
            until_ms,
            reason,
            on_probation,
        }
    }
}

#[cfg(test)]
mod tests;
