//! Ends stale locks, waits for fresh ones, calls a person for the rest.

use dbmedic_policy::problems::StaleLock;
use dbmedic_policy::{
    Answer, Classification, CoolDown, Facts, Policy, Problem, Situation, Urgency, export_policy,
    not_judged, parameters, reason, seconds,
};

parameters! {
    /// What the operator may set.
    pub struct Parameters {
        /// Age from which a write lock counts as stale, milliseconds.
        pub stale_lock_age_ms: u64 = 300_000, 1_000..=86_400_000;
    }
}

/// The repair that this policy chooses.
const END_HOLDER: &str = "lock.end-holder";
/// Failures in a row after which it is not chosen again.
const FAILURES: u32 = 2;
/// Nobody is told of a stale lock twice within this time, milliseconds.
const PAUSE_MS: u64 = 600_000;

/// The policy. What it does not answer, the SDK does: see the trait.
pub struct MyPolicy;

impl Policy for MyPolicy {
    type Parameters = Parameters;
    type Memory = CoolDown;
    const NAME: &'static str = "my-policy";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str =
        "Ends stale locks, waits for fresh ones, calls a person for the rest.";

    fn classify(case: &Situation<'_, Parameters>, _: &mut CoolDown, answer: &mut Answer) {
        let Some((_, age_ms)) = lock(case) else {
            return not_judged(case, answer);
        };
        let limit_ms = case.parameters.stale_lock_age_ms;
        let text = format!(
            "lock held {}, stale from {}",
            seconds(age_ms),
            seconds(limit_ms)
        );
        if age_ms < limit_ms {
            answer
                .classify(Classification::Hiccup)
                .because(reason!("lock.too-fresh", "{text}"));
        } else {
            answer
                .classify(Classification::Obstacle)
                .because(reason!("lock.stale", "{text}"));
        }
    }

    fn choose(case: &Situation<'_, Parameters>, told: &mut CoolDown, answer: &mut Answer) {
        let Some((lock, age_ms)) = lock(case) else {
            return;
        };
        if age_ms < case.parameters.stale_lock_age_ms {
            return;
        }
        let failures = case.failures_in_a_row(StaleLock::KIND, END_HOLDER);
        let is_offered = case
            .finding()
            .is_some_and(|it| it.candidate(END_HOLDER).is_some());
        if failures >= FAILURES {
            answer.because(reason!(
                "lock.keeps-failing",
                "{END_HOLDER} failed {failures} times in a row"
            ));
        } else if is_offered {
            answer.repair(END_HOLDER, 0.9);
        }
        if told.ready("lock_stale", case.now_ms(), PAUSE_MS) {
            let holder = lock.holder_name.unwrap_or("a process");
            let message = format!("{holder} holds the write lock for {}", seconds(age_ms));
            answer.alert("lock_stale", Urgency::Warning, message);
        }
    }
}

/// The stale lock that the event is about, and its age.
fn lock<'a>(case: &Situation<'a, Parameters>) -> Option<(StaleLock<'a>, u64)> {
    match Problem::of(case.finding()?) {
        Problem::StaleLock(lock) => Some((lock, lock.age_ms?)),
        _ => None,
    }
}

export_policy!(MyPolicy);
