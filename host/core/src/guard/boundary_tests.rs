//! What decides only where two repairs, two windows or two clocks meet.

use super::*;

fn with_limits(limits: GuardLimits) -> Guard {
    Guard::new(limits, BTreeMap::new())
}

/// A finding of this subject that offers `index.rebuild` and `index.drop`.
fn of(subject: &str) -> Finding {
    let mut finding = Finding {
        subject: subject.into(),
        ..finding(0, 0.0, true)
    };
    let other = Candidate {
        id: "index.drop".into(),
        ..finding.candidates[0].clone()
    };
    finding.candidates.push(other);
    finding
}

fn ended_on(subject: &str, repair: &str) -> Outcome {
    Outcome {
        subject: subject.into(),
        repair: repair.into(),
        ..ended()
    }
}

#[test]
fn a_mode_is_named_as_the_configuration_names_it() {
    for mode in [Mode::Observe, Mode::Approve, Mode::Enforce] {
        assert_eq!(mode.to_string(), format!("{mode:?}").to_lowercase());
    }
}

#[test]
fn the_longer_of_two_windows_says_how_long_repairs_are_remembered() {
    let finding = of("a");
    let repaired = |guard: &mut Guard, at_ms| {
        let ruling = law(guard.rule(at_ms, &choice(&finding)));
        if ruling.is_empty() {
            guard.repair_ended(at_ms, "shop", &ended_on("a", REPAIR), RepairEnd::Begun);
        }
        ruling
    };
    let mut flapping = with_limits(GuardLimits {
        flap_window_ms: 4 * HOUR_MS,
        flap_repairs: 2,
        ..GuardLimits::default()
    });
    assert_eq!(repaired(&mut flapping, 0), "");
    assert_eq!(repaired(&mut flapping, 2 * HOUR_MS), "");
    assert_eq!(repaired(&mut flapping, 3 * HOUR_MS), "guard.flapping");

    let mut busy = with_limits(GuardLimits {
        flap_window_ms: 1_000,
        repairs_per_hour: 2,
        ..GuardLimits::default()
    });
    assert_eq!(repaired(&mut busy, 0), "");
    assert_eq!(repaired(&mut busy, HOUR_MS / 4), "");
    assert_eq!(repaired(&mut busy, HOUR_MS / 2), "guard.budget");
}

#[test]
fn a_repair_without_a_past_has_not_failed() {
    let mut guard = with_limits(GuardLimits {
        failures_before_person: 1,
        ..GuardLimits::default()
    });
    assert_eq!(law(guard.rule(0, &choice(&of("a")))), "");
}

#[test]
fn interruptions_are_counted_by_kind_and_repair() {
    let finding = of("a");
    let dropped = Choice {
        repair: "index.drop",
        ..choice(&finding)
    };
    let mut guard = guard();
    for n in 0..5_u64 {
        let at_ms = n * HOUR_MS;
        assert_eq!(law(guard.rule(at_ms, &choice(&finding))), "");
        let outcome = ended_on("a", REPAIR);
        guard.repair_ended(at_ms, "shop", &outcome, RepairEnd::Interrupted);
        if n < 3 {
            let at_ms = at_ms + HOUR_MS / 2;
            assert_eq!(law(guard.rule(at_ms, &dropped)), "");
            let outcome = ended_on("a", "index.drop");
            guard.repair_ended(at_ms, "shop", &outcome, RepairEnd::Interrupted);
        }
    }
    let mut counts = guard.record("shop").unwrap().interrupted.iter();
    let mut count_of = |repair| counts.find(|i| i.repair == repair).unwrap().count;
    assert_eq!((count_of(REPAIR), count_of("index.drop")), (5, 3));
    let later_ms = 9 * HOUR_MS;
    let ruling = law(guard.rule(later_ms, &choice(&finding)));
    assert_eq!(ruling, "guard.interrupted");
    // The other repair, and the same repair of another problem, are another matter.
    assert_eq!(law(guard.clone().rule(later_ms, &dropped)), "");
    let other = Finding {
        kind: "index.disagrees-with-row".into(),
        ..finding.clone()
    };
    assert_eq!(law(guard.rule(later_ms, &choice(&other))), "");
}

#[test]
fn an_interrupted_repair_does_not_flap_and_no_other_is_taken_for_it() {
    let mut guard = with_limits(GuardLimits {
        flap_repairs: 2,
        cool_down_ms: 0,
        ..GuardLimits::default()
    });
    for n in 0..3 {
        assert_eq!(law(guard.rule(n, &choice(&of("a")))), "", "{n}");
        let outcome = ended_on("a", REPAIR);
        guard.repair_ended(n, "shop", &outcome, RepairEnd::Interrupted);
    }
    // Found interrupted at the next start, when others have ended since.
    let mut guard = with_limits(GuardLimits::default());
    for (subject, at_ms) in [("a", 0), ("b", 60_000), ("a", 120_000), ("c", 180_000)] {
        assert_eq!(law(guard.rule(at_ms, &choice(&of(subject)))), "");
        guard.repair_ended(at_ms, "shop", &ended_on(subject, REPAIR), RepairEnd::Begun);
    }
    let outcome = ended_on("a", REPAIR);
    guard.repair_ended(200_000, "shop", &outcome, RepairEnd::Interrupted);
    let past = &guard.record("shop").unwrap().past;
    let interrupted: Vec<bool> = past.iter().map(|past| past.interrupted).collect();
    assert_eq!(interrupted, [false, false, true, false]);
}

/// A guard with one repair begun and ended at 50 hours, as the next run reads it.
fn next_run(by_ms: i64, now_ms: u64) -> Guard {
    let begun_ms = 50 * HOUR_MS;
    let mut guard = with_limits(GuardLimits {
        repairs_per_hour: 1,
        ..GuardLimits::default()
    });
    assert_eq!(law(guard.rule(begun_ms, &choice(&of("a")))), "");
    guard.repair_ended(begun_ms, "shop", &ended_on("a", REPAIR), RepairEnd::Begun);
    let limits = guard.limits.clone();
    let mut records = guard.targets;
    for record in records.values_mut() {
        record.move_times(by_ms, now_ms);
    }
    Guard::new(limits, records)
}

#[test]
fn a_wall_clock_that_was_set_between_two_runs_lifts_no_rest_and_no_budget() {
    let finding = of("b");
    let hour_ms = i64::try_from(HOUR_MS).unwrap();
    for by_hours in [-49, -1, 0, 1, 1_000] {
        let by_ms = by_hours * hour_ms;
        let at_ms = |passed_ms: u64| (50 * HOUR_MS + passed_ms).saturating_add_signed(by_ms);
        for (passed_ms, expected) in [
            (1_000, "guard.budget"),
            (HOUR_MS - 1, "guard.budget"),
            (HOUR_MS, ""),
        ] {
            let mut guard = next_run(by_ms, at_ms(1_000));
            let ruling = law(guard.rule(at_ms(passed_ms), &choice(&finding)));
            assert_eq!(ruling, expected, "{by_hours} h, after {passed_ms} ms");
        }
    }
    // Where nobody knows by how much: what lies in the future was just now, and rests from here.
    let now_ms = 10 * HOUR_MS;
    let guard = next_run(0, now_ms);
    let record = guard.record("shop").unwrap();
    assert_eq!(
        (record.past[0].began_ms, record.last_ended_ms),
        (now_ms, Some(now_ms))
    );
    let ruled = |at_ms| law(guard.clone().rule(at_ms, &choice(&finding)));
    assert_eq!(ruled(now_ms + HOUR_MS - 1), "guard.budget");
    assert_eq!(ruled(now_ms + HOUR_MS), "");
}
