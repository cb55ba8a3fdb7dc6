//! Whoever is ended gets the time to end by itself; a stopped holder is let go on.

use std::{fs, os::unix::process::ExitStatusExt as _, thread, time::Duration};

use dbmedic::model::OutcomeResult;
use rustix::process::{Pid, Signal, kill_process};

use super::{Owner, assert_result, process_facts, with_holder};

/// Works for about a tenth of a second within the transaction.
const WORK: &str = "OWNER_AFTER_TERM=INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT \
                    x + 1 FROM n WHERE x < 100000) SELECT x FROM n;";

#[test]
fn a_holder_that_needs_longer_than_the_grace_time_to_end_is_not_killed() {
    let (place, holder) = with_holder(&[
        "OWNER_AFTER_TERM=INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 \
         FROM n WHERE x < 200000) SELECT count(*) FROM n;",
        "OWNER_SECONDS=4",
    ]);
    let begun = std::time::Instant::now();
    let outcome = place.run("lock.end-holder", process_facts("holder", holder.pid()));
    let took = begun.elapsed();
    assert_result(&outcome, OutcomeResult::Verified, "can begin");
    assert_eq!(
        holder.end().signal(),
        None,
        "it ended by itself, after {took:?}"
    );
    assert!(
        took > Duration::from_secs(2),
        "{took:?} is within the grace time"
    );
    assert_eq!(place.count(), 1);
}

#[test]
fn a_holder_that_works_on_after_sigterm_is_not_killed_and_a_person_hears_of_it() {
    let (place, mut holder) = with_holder(&[WORK, "OWNER_TIMES=1000000"]);
    let outcome = place.run("lock.end-holder", process_facts("holder", holder.pid()));
    assert_ne!(
        outcome.outcome_result,
        OutcomeResult::Verified,
        "{outcome:?}"
    );
    assert!(outcome.reason.contains("is not killed"), "{outcome:?}");
    assert!(holder.is_alive());
}

#[test]
fn a_holder_that_lets_go_at_sigterm_and_lives_is_not_killed() {
    let (place, mut holder) = with_holder(&[
        "OWNER_AFTER_TERM=COMMIT;",
        "OWNER_TIMES=1",
        "OWNER_STUBBORN",
    ]);
    let outcome = place.run("lock.end-holder", process_facts("holder", holder.pid()));
    assert_result(&outcome, OutcomeResult::Verified, "can begin");
    assert!(holder.is_alive());
    assert_eq!(place.count(), 2, "it committed");
}

#[test]
fn a_stopped_holder_goes_on_and_finishes_its_transaction() {
    let (place, mut holder) = with_holder(&["OWNER_AFTER_CONT=COMMIT;"]);
    let facts = || process_facts("holder", holder.pid());
    let outcome = place.run("lock.resume-holder", facts());
    assert_result(&outcome, OutcomeResult::Refused, "is not stopped");
    stop(&holder);
    let outcome = place.run("lock.resume-holder", facts());
    assert_result(&outcome, OutcomeResult::Verified, "went on and let go");
    assert!(holder.is_alive());
    assert_eq!(place.count(), 2, "it committed");
}

#[test]
fn a_stopped_holder_that_keeps_its_lock_goes_on_all_the_same() {
    let (mut place, mut holder) = with_holder(&[]);
    stop(&holder);
    let facts = process_facts("holder", holder.pid());
    let names = std::mem::replace(&mut place.site.may_end, vec!["somebody-else".into()]);
    let outcome = place.run("lock.resume-holder", facts.clone());
    assert_result(&outcome, OutcomeResult::Refused, "may_end");
    place.site.may_end = names;
    let outcome = place.run("lock.resume-holder", facts);
    assert_result(
        &outcome,
        OutcomeResult::Verified,
        "not let go of the lock yet",
    );
    assert!(holder.is_alive());
}

/// Stops the process, and returns when it stands.
fn stop(owner: &Owner) {
    let pid = Pid::from_raw(i32::try_from(owner.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", owner.pid());
    while !fs::read_to_string(&stat).unwrap().contains(") T ") {
        thread::sleep(Duration::from_millis(5));
    }
}
