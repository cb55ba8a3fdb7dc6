use super::*;
use crate::model::Reason;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

fn deadline() -> PolicyFailure {
    PolicyFailure::Deadline { limit_ms: 50 }
}

fn breaker() -> Breaker {
    Breaker::new(BreakerOptions::default())
}

fn fail(breaker: &mut Breaker, now_ms: u64) {
    assert_eq!(breaker.admit(now_ms), Ok(()));
    breaker.record(now_ms, Some(&deadline()));
}

fn succeed(breaker: &mut Breaker, now_ms: u64) {
    assert_eq!(breaker.admit(now_ms), Ok(()));
    breaker.record(now_ms, None);
}

#[test]
fn three_failures_in_a_row_take_it_out_and_two_do_not() {
    let mut breaker = breaker();
    for now_ms in 0..20 {
        fail(&mut breaker, now_ms);
        fail(&mut breaker, now_ms);
        succeed(&mut breaker, now_ms);
        // Far from a full window: the rate says nothing yet.
        if now_ms > 10 {
            break;
        }
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    for now_ms in 20..23 {
        fail(&mut breaker, now_ms);
    }
    let until_ms = 22 + MINUTE;
    assert_eq!(breaker.state(), BreakerState::Open { until_ms });
    assert_eq!(breaker.admit(23), Err(until_ms));
    assert_eq!(breaker.admit(until_ms - 1), Err(until_ms));
}

#[test]
fn a_rate_takes_it_out_once_enough_was_seen() {
    let mut breaker = breaker();
    // Each fifth decision: exactly the 20 percent, never two in a row.
    for n in 1..50_u64 {
        assert_eq!(breaker.state(), BreakerState::Closed, "after {}", n - 1);
        if n.is_multiple_of(5) {
            fail(&mut breaker, n);
        } else {
            succeed(&mut breaker, n);
        }
    }
    fail(&mut breaker, 50);
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}

#[test]
fn a_rate_below_the_bound_is_borne() {
    let mut breaker = breaker();
    for n in 1..1_000_u64 {
        if n.is_multiple_of(6) {
            fail(&mut breaker, n);
        } else {
            succeed(&mut breaker, n);
        }
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn backoff_doubles_up_to_its_bound_and_falls_back_after_a_good_run() {
    let mut breaker = breaker();
    let mut now_ms = 0;
    for _ in 0..3 {
        fail(&mut breaker, now_ms);
    }
    let mut waits = Vec::new();
    for _ in 0..9 {
        let until_ms = breaker.admit(now_ms).unwrap_err();
        waits.push((until_ms - now_ms) / MINUTE);
        now_ms = until_ms;
        fail(&mut breaker, now_ms);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);

    now_ms = breaker.admit(now_ms).unwrap_err();
    succeed(&mut breaker, now_ms);
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..3 {
        fail(&mut breaker, now_ms);
    }
    let until_ms = breaker.admit(now_ms).unwrap_err();
    assert_eq!(until_ms - now_ms, 60 * MINUTE, "one success is no good run");

    now_ms = until_ms;
    for _ in 0..=50 {
        succeed(&mut breaker, now_ms);
    }
    for _ in 0..3 {
        fail(&mut breaker, now_ms);
    }
    assert_eq!(breaker.admit(now_ms), Err(now_ms + MINUTE));
}

#[test]
fn one_failure_on_trial_takes_it_out_again() {
    let mut breaker = breaker();
    for _ in 0..3 {
        fail(&mut breaker, 0);
    }
    assert_eq!(breaker.admit(MINUTE), Ok(()));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    breaker.record(MINUTE, Some(&deadline()));
    assert_eq!(breaker.admit(MINUTE + 1), Err(3 * MINUTE));
}

#[test]
fn refusals_and_a_busy_host_do_not_speak_against_it() {
    let mut breaker = breaker();
    let refused = PolicyFailure::Refused(Reason {
        rule: "x".into(),
        text: "x".into(),
    });
    let busy = PolicyFailure::Busy { limit: 8 };
    for now_ms in 0..100 {
        breaker.record(now_ms, Some(&refused));
        breaker.record(now_ms, Some(&busy));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);

    // A busy host between two failures does not make them fewer.
    for _ in 0..3 {
        fail(&mut breaker, 100);
        breaker.record(100, Some(&busy));
    }
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}

#[test]
fn a_clock_set_back_does_not_keep_it_out_for_years() {
    let mut breaker = breaker();
    for _ in 0..3 {
        fail(&mut breaker, 1_000 * 60 * MINUTE);
    }
    assert_eq!(breaker.admit(0), Ok(()));
}

const PROBATION: Probation = Probation {
    decisions: 10,
    time_ms: MINUTE,
    failures: 2,
};

fn on_probation() -> Breaker {
    let record = BreakerRecord::on_probation(PROBATION, 0);
    Breaker::with(BreakerOptions::default(), record)
}

#[test]
fn on_probation_fewer_failures_are_enough() {
    let mut breaker = on_probation();
    assert_eq!(breaker.record(1, Some(&deadline())), None);
    assert_eq!(breaker.record(2, None), None);
    let reason = "2 of its first 3 decisions failed: no answer within 50 ms".to_owned();
    let out = ServiceChange::OutOfService {
        until_ms: 3 + MINUTE,
        reason,
        on_probation: true,
    };
    assert_eq!(breaker.record(3, Some(&deadline())), Some(out));
    assert_eq!(
        breaker.record(4, Some(&deadline())),
        None,
        "it is told once"
    );
}

#[test]
fn probation_ends_after_so_many_decisions_or_so_long() {
    let mut breaker = on_probation();
    for now_ms in 1..10 {
        assert_eq!(breaker.record(now_ms, None), None);
    }
    assert_eq!(breaker.record(10, None), Some(ServiceChange::Proved));
    assert_eq!(breaker.record(11, None), None);
    let mut breaker = on_probation();
    assert_eq!(breaker.record(MINUTE - 1, None), None);
    assert_eq!(breaker.record(MINUTE, None), Some(ServiceChange::Proved));
    // From now on it takes three in a row.
    for now_ms in [1, 2] {
        assert_eq!(breaker.record(MINUTE + now_ms, Some(&deadline())), None);
    }
    let change = breaker.record(MINUTE + 3, Some(&deadline()));
    let Some(ServiceChange::OutOfService {
        on_probation: false,
        reason,
        ..
    }) = change
    else {
        panic!("{change:?}")
    };
    assert!(
        reason.starts_with("3 decisions in a row failed: "),
        "{reason}"
    );
}

#[test]
fn a_trial_tells_how_it_ended() {
    let mut breaker = breaker();
    for now_ms in 0..3 {
        fail(&mut breaker, now_ms);
    }
    breaker.try_again();
    assert_eq!(breaker.record(9, None), Some(ServiceChange::BackInService));
    for now_ms in 10..13 {
        fail(&mut breaker, now_ms);
    }
    breaker.try_again();
    let change = breaker.record(20, Some(&deadline()));
    let Some(ServiceChange::OutOfService { until_ms, .. }) = change else {
        panic!("{change:?}")
    };
    assert_eq!(until_ms, 20 + 4 * MINUTE, "the third time");
}

#[test]
fn what_it_knows_survives_a_restart() {
    let mut breaker = on_probation();
    fail(&mut breaker, 1);
    let carried = |breaker: &Breaker| {
        let json = serde_json::to_string(breaker.known()).unwrap();
        let record: BreakerRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(record, *breaker.known());
        Breaker::with(BreakerOptions::default(), record)
    };
    let mut again = carried(&breaker);
    fail(&mut again, 2);
    let until_ms = 2 + MINUTE;
    assert_eq!(again.state(), BreakerState::Open { until_ms });
    assert_eq!(carried(&again).admit(3), Err(until_ms));
}
