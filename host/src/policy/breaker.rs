//! Takes a policy that keeps failing out of service, and tries it again with backoff.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// In service: it is asked.
    Closed,
    /// Out of service: it is not asked.
    Open {
        /// When it is tried again, milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// On trial: it is asked, and the first failure takes it out of service again.
    HalfOpen,
}

/// The breaker of one policy.
#[derive(Debug, Clone)]
pub struct Breaker {
    options: BreakerOptions,
    state: BreakerState,
    /// Whether each of the latest decisions failed, the latest last.
    latest: VecDeque<bool>,
    in_a_row: u32,
    /// Good decisions since the last failure.
    good: u32,
    /// Times out of service without a long good run since.
    trips: u32,
}

impl Breaker {
    /// A breaker of a policy that nothing speaks against.
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            state: BreakerState::Closed,
            latest: VecDeque::new(),
            in_a_row: 0,
            good: 0,
            trips: 0,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether the policy is to be asked at this time, milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When it is out of service: until when.
    pub fn admit(&mut self, now_ms: u64) -> Result<(), u64> {
        if let BreakerState::Open { until_ms } = self.state {
            // A clock that was set back must not keep it out for longer than ever announced.
            let rest_ms = until_ms.saturating_sub(now_ms);
            if rest_ms > 0 && rest_ms <= self.options.backoff_max_ms {
                return Err(until_ms);
            }
            self.state = BreakerState::HalfOpen;
        }
        Ok(())
    }

    /// Notes how a decision ended. What does not speak against the policy, such as a refusal,
    /// counts as good; what says nothing about it, such as a busy host, is not counted.
    pub fn record(&mut self, now_ms: u64, failure: Option<&PolicyFailure>) {
        let failed = match failure {
            Some(PolicyFailure::Busy { .. } | PolicyFailure::OutOfService { .. }) => return,
            Some(failure) => failure.is_misbehaviour(),
            None => false,
        };
        match self.state {
            BreakerState::Open { .. } => {}
            BreakerState::HalfOpen if failed => self.open(now_ms),
            BreakerState::HalfOpen => {
                self.state = BreakerState::Closed;
                self.good = 1;
            }
            BreakerState::Closed => self.count(now_ms, failed),
        }
    }

    fn count(&mut self, now_ms: u64, failed: bool) {
        self.latest.push_back(failed);
        if self.latest.len() > self.options.rate_decisions as usize {
            self.latest.pop_front();
        }
        if failed {
            self.in_a_row += 1;
            self.good = 0;
            if self.in_a_row >= self.options.failures_in_a_row || self.rate_is_too_high() {
                self.open(now_ms);
            }
        } else {
            self.in_a_row = 0;
            self.good = self.good.saturating_add(1);
            if self.good >= self.options.rate_decisions {
                self.trips = 0;
            }
        }
    }

    fn rate_is_too_high(&self) -> bool {
        let failures = u32::try_from(self.latest.iter().filter(|failed| **failed).count());
        let most = f64::from(self.options.rate_decisions) * self.options.rate_percent / 100.0;
        self.latest.len() == self.options.rate_decisions as usize
            && f64::from(failures.unwrap_or(u32::MAX)) >= most
    }

    fn open(&mut self, now_ms: u64) {
        let doubled = 1_u64.checked_shl(self.trips).unwrap_or(u64::MAX);
        let backoff_ms = self.options.backoff_ms.saturating_mul(doubled);
        let backoff_ms = backoff_ms.min(self.options.backoff_max_ms);
        self.trips = self.trips.saturating_add(1);
        self.latest.clear();
        self.in_a_row = 0;
        self.good = 0;
        self.state = BreakerState::Open {
            until_ms: now_ms.saturating_add(backoff_ms),
        };
    }
}

#[cfg(test)]
mod tests;
