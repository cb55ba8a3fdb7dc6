//! The policy asked natively: quick, and a debugger can stop in it.

use dbmedic_policy::{Classification, Event, Value, configure, decide, testing};
use policy::MyPolicy;

/// What it says of a lock of this age.
fn classification(age_ms: i64) -> Option<Classification> {
    let settings = configure::<MyPolicy>(&[]).expect("the defaults are right");
    let finding = testing::finding("lock.stale-holder", &[("age_ms", Value::Integer(age_ms))]);
    let verdict = decide::<MyPolicy>(&Event::Finding(finding), &testing::context(settings));
    verdict.expect("it does not refuse").classification
}

#[test]
fn a_lock_is_stale_from_the_limit_on() {
    assert_eq!(classification(299_999), Some(Classification::Hiccup));
    assert_eq!(classification(300_000), Some(Classification::Obstacle));
}
