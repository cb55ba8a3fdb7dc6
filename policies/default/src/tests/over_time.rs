//! What depends on the past: failures, mitigations, levels, alerts.

use super::*;

#[test]
fn three_failures_of_one_repair_hand_it_to_a_person() {
    for (failures, repair, class, level) in [
        (2, Some("lock.end-holder"), Hiccup, Watch),
        (3, None, Wall, Escalate),
    ] {
        let mut context = context();
        context
            .repairs
            .push(history("lock.stale-holder", "lock.end-holder", 0, failures));
        let verdict = ask(&Event::Finding(stale_lock()), &context);
        assert_eq!(verdict.repair.as_deref(), repair);
        assert_eq!(
            (verdict.classification, verdict.level),
            (Some(class), level)
        );
        if failures == 3 {
            assert_eq!(verdict.reasons[0].rule, "repair.failed-too-often");
            assert_eq!(alerts(&verdict), ["person_needed"]);
            assert_eq!(verdict.suggestions, [crate::suggestions::REPEATED]);
        }
    }
    let mut context = context();
    context
        .repairs
        .push(history("wal.oversized", "wal.checkpoint", 0, 3));
    let verdict = ask(&Event::Finding(stale_lock()), &context);
    assert!(
        verdict.repair.is_some(),
        "failures of another repair do not count"
    );
}

#[test]
fn a_hiccup_is_watched_until_three_repairs_verified() {
    for (successes, rule, level) in [
        (1, "hiccup.not-solved", Watch),
        (3, "hiccup.solved", Normal),
    ] {
        let mut context = context();
        context.repairs.push(history(
            "lock.stale-holder",
            "lock.end-holder",
            successes,
            0,
        ));
        let event = outcome(&stale_lock(), "lock.end-holder", OutcomeResult::Verified);
        let verdict = ask(&event, &context);
        assert_eq!(rules(&verdict), ["outcome.verified", rule]);
        assert_eq!(verdict.level, level);
    }
}

#[test]
fn an_obstacle_mitigated_twice_calls_a_person_and_is_mitigated_on() {
    let mut context = context();
    for _ in 0..2 {
        let verdict = step(&Event::Finding(starved()), &mut context);
        assert_eq!(verdict.level, Watch);
        step(
            &outcome(&starved(), "wal.release-reader", OutcomeResult::Verified),
            &mut context,
        );
        context.now_ms += 1_000;
    }
    let verdict = step(&Event::Finding(starved()), &mut context);
    assert_eq!(verdict.level, Escalate);
    assert!(rules(&verdict).contains(&"obstacle.recurs"));
    assert_eq!(verdict.repair.as_deref(), Some("wal.release-reader"));

    let mut other = starved();
    other.subject = "other".into();
    let verdict = ask(&Event::Finding(other), &context);
    assert!(
        !rules(&verdict).contains(&"obstacle.recurs"),
        "another subject"
    );
    context.now_ms += 3_600_001;
    let verdict = ask(&Event::Finding(starved()), &context);
    assert!(!rules(&verdict).contains(&"obstacle.recurs"), "long ago");
}

#[test]
fn how_a_repair_ended_sets_the_level() {
    let rows = [
        (
            OutcomeResult::RolledBack,
            1,
            None,
            Warn,
            false,
            "outcome.rolled-back",
        ),
        (
            OutcomeResult::RolledBack,
            3,
            Some(Wall),
            Escalate,
            false,
            "repair.failed-too-often",
        ),
        (
            OutcomeResult::Refused,
            0,
            None,
            Watch,
            false,
            "outcome.refused",
        ),
        (
            OutcomeResult::Failed,
            1,
            Some(Crisis),
            Escalate,
            true,
            "outcome.failed",
        ),
        (
            OutcomeResult::Failed,
            3,
            Some(Crisis),
            Escalate,
            true,
            "repair.failed-too-often",
        ),
    ];
    for (result, failures, class, level, halt, rule) in rows {
        let mut context = context();
        context
            .repairs
            .push(history("lock.stale-holder", "lock.end-holder", 0, failures));
        let verdict = ask(&outcome(&stale_lock(), "lock.end-holder", result), &context);
        assert_eq!(
            (verdict.classification, verdict.level),
            (class, level),
            "{rule}"
        );
        assert_eq!(verdict.halt, halt, "{rule}");
        assert!(rules(&verdict).contains(&rule), "{:?}", rules(&verdict));
    }
}

#[test]
fn lost_commits_call_a_person() {
    let mut event = outcome(
        &corrupt_frame(1, 1, 0),
        "wal.keep-valid-prefix",
        OutcomeResult::Verified,
    );
    if let Event::Outcome(outcome) = &mut event {
        outcome.loss.commits = 3;
    }
    let verdict = ask(&event, &context());
    assert_eq!(verdict.level, Escalate);
    assert_eq!(alerts(&verdict), ["person_needed"]);
    assert!(rules(&verdict).contains(&"outcome.data-loss"));
}

#[test]
fn levels_return_step_by_step_when_it_is_quiet() {
    let rows = [
        // level, quiet for, open incident, level afterwards, rule
        (Watch, 300_000, None, Watch, None),
        (Watch, 300_001, None, Normal, Some("level.returns")),
        (
            Watch,
            300_001,
            Some(Some(Hiccup)),
            Watch,
            Some("level.held"),
        ),
        (Warn, 600_000, None, Warn, None),
        (Warn, 600_001, None, Watch, Some("level.returns")),
        (
            Warn,
            600_001,
            Some(Some(Hiccup)),
            Watch,
            Some("level.returns"),
        ),
        (
            Warn,
            600_001,
            Some(Some(Obstacle)),
            Warn,
            Some("level.held"),
        ),
        (Warn, 600_001, Some(None), Warn, Some("level.held")),
        (Escalate, 600_000, None, Escalate, None),
        (Escalate, 600_001, None, Warn, Some("level.returns")),
        (
            Escalate,
            600_001,
            Some(Some(Hiccup)),
            Escalate,
            Some("level.held"),
        ),
        (Normal, 900_000, None, Normal, None),
    ];
    for (level, quiet_ms, open, after, rule) in rows {
        let mut context = context();
        context.level = level;
        context.level_since_ms = NOW_MS - quiet_ms;
        context.incidents.extend(open.map(incident));
        let verdict = ask(&Event::Tick, &context);
        let case = format!("{level:?} for {quiet_ms} ms with {open:?}");
        assert_eq!(verdict.level, after, "{case}");
        assert_eq!(rules(&verdict).first().copied(), rule, "{case}");
        assert_eq!(verdict.classification, None, "{case}");
    }
}

#[test]
fn new_evidence_starts_the_time_of_return_again() {
    let mut context = context();
    let fresh = with(stale_lock(), &[("age_ms", Some(Integer(1_000)))]);
    step(&Event::Finding(fresh.clone()), &mut context);
    assert_eq!(context.level, Watch);
    context.now_ms += 200_000;
    step(&Event::Finding(fresh), &mut context);
    context.now_ms += 200_000;
    step(&Event::Tick, &mut context);
    assert_eq!(context.level, Watch, "only 200 s since the last evidence");
    context.now_ms += 100_001;
    step(&Event::Tick, &mut context);
    assert_eq!(context.level, Normal);
}

#[test]
fn a_slighter_finding_lets_the_level_return_but_not_below_itself() {
    let mut context = context();
    context.level = Warn;
    context.level_since_ms = NOW_MS - 600_001;
    let fresh = with(stale_lock(), &[("age_ms", Some(Integer(1_000)))]);
    assert_eq!(ask(&Event::Finding(fresh), &context).level, Watch);
}

#[test]
fn a_repetition_is_not_alerted_again_within_the_cool_down() {
    let mut context = context();
    let damaged = || Event::Finding(testing::finding("table.corrupt", &[]));
    let verdict = step(&damaged(), &mut context);
    assert_eq!(
        alerts(&verdict),
        ["data_corruption_detected", "target_halted"]
    );
    context.now_ms += 300_000;
    assert!(step(&damaged(), &mut context).alerts.is_empty());
    let mut other = testing::finding("table.corrupt", &[]);
    other.subject = "orders".into();
    assert_eq!(
        step(&Event::Finding(other), &mut context).alerts.len(),
        2,
        "another subject"
    );
    context.now_ms += 1;
    assert_eq!(step(&damaged(), &mut context).alerts.len(), 2);
}

#[test]
fn the_error_rate_must_be_high_three_times_within_a_minute() {
    let mut context = context();
    context.metrics.push(metric("error_rate_percent", 5.1));
    // The two at 0 s are one check; not before 78 s are there three within a minute.
    for (at_s, fires) in [
        (0, false),
        (0, false),
        (10, false),
        (71, false),
        (75, false),
        (78, true),
        (79, false),
    ] {
        context.now_ms = NOW_MS + at_s * 1_000;
        let verdict = step(&Event::Tick, &mut context);
        assert_eq!(alerts(&verdict) == ["high_error_rate"], fires, "{at_s} s");
    }
    context.metrics[0].value = 5.0;
    context.now_ms += 600_000;
    for _ in 0..5 {
        context.now_ms += 1_000;
        assert!(
            step(&Event::Tick, &mut context).alerts.is_empty(),
            "at the threshold"
        );
    }
}

#[test]
fn disk_space_is_watched_and_then_a_persons_matter() {
    for (free, level, rule, alerted) in [
        (20.0, Normal, None, false),
        (19.9, Watch, Some("disk.low"), false),
        (10.0, Watch, Some("disk.low"), false),
        (9.9, Escalate, Some("disk.almost-full"), true),
    ] {
        let mut context = context();
        context.metrics.push(metric("disk_free_percent", free));
        let verdict = ask(&Event::Tick, &context);
        assert_eq!(verdict.level, level, "{free}");
        assert_eq!(rules(&verdict).first().copied(), rule, "{free}");
        assert_eq!(alerts(&verdict) == ["disk_almost_full"], alerted, "{free}");
        assert!(!verdict.halt);
    }
}

#[test]
fn a_count_of_corruption_is_alerted_without_a_finding() {
    let mut context = context();
    context.metrics.push(metric("corruption_count", 1.0));
    assert_eq!(
        alerts(&ask(&Event::Tick, &context)),
        ["data_corruption_detected"]
    );
    context.metrics[0].value = 0.0;
    assert!(ask(&Event::Tick, &context).alerts.is_empty());
}

#[test]
fn the_same_question_gets_the_same_answer() {
    let mut context = context();
    step(&Event::Finding(starved()), &mut context);
    let event = || Event::Finding(corrupt_frame(10, 1_000, 5));
    assert_eq!(ask(&event(), &context), ask(&event(), &context));
}

#[test]
fn a_quiet_tick_says_nothing() {
    let verdict = ask(&Event::Tick, &context());
    assert_eq!(
        (
            verdict.classification,
            verdict.level,
            verdict.repair.as_deref()
        ),
        (None, Normal, None)
    );
    assert!(verdict.reasons.is_empty() && verdict.alerts.is_empty() && !verdict.halt);
}

#[test]
fn a_clock_that_was_set_back_keeps_no_level_and_silences_nobody() {
    let mut context = context();
    context.now_ms = 100_000_000;
    let mut severe = corrupt_index(true, true);
    severe.severity = 0.9;
    let first = step(&Event::Finding(severe.clone()), &mut context);
    assert!(
        first
            .alerts
            .iter()
            .any(|alert| alert.rule == "person_needed")
    );
    // Set back by a day; the host moves its own times.
    context.now_ms = 13_600_000;
    context.level_since_ms = 13_600_000;
    let again = step(&Event::Finding(severe.clone()), &mut context);
    assert!(again.alerts.is_empty(), "it was just now");
    context.now_ms += 300_001;
    let later = step(&Event::Finding(severe), &mut context);
    assert!(
        later
            .alerts
            .iter()
            .any(|alert| alert.rule == "person_needed")
    );
    context.now_ms += 600_001;
    assert_eq!(step(&Event::Tick, &mut context).level, Warn);
}
