use super::*;

fn sign(level: Level, status: Status) -> Sign {
    Sign {
        level,
        subject: "x".into(),
        status,
        reason: "y".into(),
    }
}

fn report(check: CheckKind, state: CheckState) -> CheckReport {
    CheckReport {
        check,
        begun_ms: 0,
        took_ms: 1,
        state,
        notes: Vec::new(),
        proved: None,
    }
}

fn plan(check: CheckKind) -> CheckPlan {
    CheckPlan {
        check,
        interval_ms: 60_000,
        timeout_ms: 1000,
        lane: Lane::Short,
    }
}

#[test]
fn a_full_disk_is_worse_than_a_busy_processor() {
    for (metric, expected) in [
        ("disk_used_percent", Status::Unhealthy),
        ("cpu_percent", Status::Healthy),
    ] {
        let limit = Constraint {
            name: "used".into(),
            metric: metric.into(),
            lower: None,
            upper: Some(100.0),
            warning_threshold: 0.8,
            critical_threshold: 0.95,
            auto_fix: false,
            description: "what is used".into(),
        };
        let signs = signs_of_limits(Level::Subsystem, &[limit], &|_| Some(99.0));
        assert_eq!(signs[0].status, expected, "{metric}");
    }
}

/// What the checks come to at a time, given what each came to and when it began.
fn of_checks(now_ms: u64, made: &[(CheckKind, u64, CheckState)]) -> Health {
    use CheckKind::{Full, Incremental, Quick, Resource, Snapshot};
    let plans = [Quick, Incremental, Full, Resource, Snapshot].map(plan);
    let reports = made.iter().map(|(check, begun_ms, state)| {
        let begun_ms = *begun_ms;
        let made = report(*check, state.clone());
        (*check, CheckReport { begun_ms, ..made })
    });
    roll_up(signs_of_checks(&plans, &reports.collect(), now_ms))
}

#[test]
fn every_check_counts_and_what_a_full_one_saw_need_not_be_seen_again() {
    use CheckKind::{Full, Incremental, Quick, Resource, Snapshot};
    use CheckState::{Failed, NotDone, Passed, TimedOut};
    let all = |check: CheckKind, state: CheckState| {
        let made = [Quick, Incremental, Full, Resource, Snapshot];
        let made = made.map(|one| {
            let state = if one == check { state.clone() } else { Passed };
            // The full one began first.
            (one, u64::from(one != Full), state)
        });
        of_checks(1000, &made).status
    };
    let failed = || Failed("2 faults".into());
    for check in [Quick, Incremental, Full] {
        assert_eq!(all(check, failed()), Status::Unhealthy, "{check:?}");
    }
    assert_eq!(all(Snapshot, failed()), Status::Healthy, "a note says it");
    let cut_off = TimedOut { timeout_ms: 1000 };
    for check in [Quick, Incremental, Full, Resource, Snapshot] {
        assert_eq!(all(check, Passed), Status::Healthy);
        assert_eq!(all(check, cut_off.clone()), Status::Degraded, "{check:?}");
    }
    assert_eq!(all(Incremental, NotDone("?".into())), Status::Healthy);

    let [resource, full] = [Resource, Full].map(|check| (check, 5, Passed));
    assert_eq!(of_checks(9, &[]).status, Status::Checking);
    assert_eq!(
        of_checks(9, std::slice::from_ref(&resource)).status,
        Status::Checking
    );
    // A visit makes no other.
    let visit = [resource, full];
    assert_eq!(of_checks(9, &visit).status, Status::Healthy);
    // The first quick check could not read anything; the full one could.
    let [resource, full] = visit;
    let quick = (Quick, 4, NotDone("busy".into()));
    assert_eq!(
        of_checks(9, &[quick, resource, full]).status,
        Status::Healthy
    );
}

#[test]
fn what_was_not_looked_at_for_three_intervals_is_not_called_healthy() {
    use CheckKind::{Full, Quick, Resource, Snapshot};
    use CheckState::{Failed, Passed};
    let made = |snapshot: CheckState| {
        [
            (Full, 100_000, Passed),
            (Quick, 0, Passed),
            (Resource, 100_000, Passed),
            (Snapshot, 0, snapshot),
        ]
    };
    assert_eq!(of_checks(180_000, &made(Passed)).status, Status::Healthy);
    let late = of_checks(180_001, &made(Passed));
    assert_eq!(late.status, Status::Checking);
    assert_eq!(
        late.to_string(),
        "checking: snapshot: looked at last 180 s ago"
    );
    // A long snapshot holds all others up.
    let late = of_checks(280_001, &made(Passed));
    assert_eq!(late.signs.len(), 5, "{late:?}");
    // Age makes nothing better.
    let failed = [(Full, 0, Failed("2 faults".into()))];
    assert_eq!(of_checks(280_001, &failed).status, Status::Unhealthy);
}

#[test]
fn the_whole_is_as_healthy_as_its_worst_level() {
    use Status::{Checking, Degraded, Healthy, Unhealthy};
    let table: [(&[Status], Status); 6] = [
        (&[], Healthy),
        (&[Healthy, Healthy], Healthy),
        (&[Healthy, Checking], Checking),
        (&[Checking, Degraded], Degraded),
        (&[Degraded, Degraded, Degraded], Degraded),
        (&[Degraded, Unhealthy, Checking], Unhealthy),
    ];
    for (given, expected) in table {
        let signs = Level::ALL.into_iter().zip(given).map(|(l, s)| sign(l, *s));
        let health = roll_up(signs.collect());
        assert_eq!(health.status, expected, "{given:?}");
        assert!(health.signs.iter().all(|sign| sign.status != Healthy));
        assert!(health.signs.is_sorted_by(|a, b| a.status >= b.status));
    }
    let health = roll_up(vec![
        sign(Level::Metric, Degraded),
        sign(Level::System, Checking),
    ]);
    assert_eq!(health.levels.metric, Degraded);
    assert_eq!(health.levels.system, Checking);
    assert_eq!(health.levels.subsystem, Healthy);
}

#[test]
fn a_failed_full_check_is_unhealthy_and_one_that_was_cut_off_is_not() {
    use CheckKind::{Full, Snapshot};
    let failed = CheckState::Failed("2 faults".into());
    let timed_out = CheckState::TimedOut { timeout_ms: 30_000 };
    let table = [
        (Full, None, Status::Checking),
        (Full, Some(CheckState::Passed), Status::Healthy),
        (Full, Some(failed.clone()), Status::Unhealthy),
        (Full, Some(timed_out), Status::Degraded),
        (
            Full,
            Some(CheckState::NotDone("busy".into())),
            Status::Checking,
        ),
        (Snapshot, Some(failed), Status::Healthy),
    ];
    for (check, state, expected) in table {
        let report = state.map(|state| report(check, state));
        assert_eq!(
            sign_of(&plan(check), report.as_ref(), 0).status,
            expected,
            "{report:?}"
        );
    }
}

#[test]
fn a_note_says_why_there_is_no_snapshot() {
    use CheckKind::{Full, Snapshot};
    let failed = report(Snapshot, CheckState::Failed("no room".into()));
    let notes = vec!["12 free pages".to_owned()];
    let full = CheckReport {
        notes,
        ..report(Full, CheckState::Passed)
    };
    let reports = BTreeMap::from([(Full, full), (Snapshot, failed)]);
    let expected = ["12 free pages", "no snapshot was taken: no room"];
    assert_eq!(notes_of_checks(&reports), expected);
}
