use super::*;
use crate::model::{CascadeLevel, DataLoss, Fact, Precondition};

const REPAIR: &str = "index.rebuild";

fn finding(commits: u64, percent: f64, holds: bool) -> Finding {
    Finding {
        incident: "INC-1".into(),
        kind: "index.corrupt".into(),
        subject: "by_name".into(),
        summary: String::new(),
        severity: 0.7,
        first_seen_ms: 0,
        last_seen_ms: 0,
        sightings: 1,
        facts: Vec::new(),
        evidence: Vec::new(),
        candidates: vec![Candidate {
            id: REPAIR.into(),
            summary: String::new(),
            level: CascadeLevel::InPlace,
            preconditions: vec![Precondition {
                name: "table-clean".into(),
                holds,
                detail: "the table".into(),
            }],
            expected_duration_ms: 1,
            expected_loss: DataLoss::of(commits, percent),
            undoable: true,
        }],
    }
}

fn ended() -> Outcome {
    Outcome {
        incident: "INC-1".into(),
        kind: "index.corrupt".into(),
        subject: "by_name".into(),
        repair: REPAIR.into(),
        outcome_result: OutcomeResult::RolledBack,
        reason: String::new(),
        duration_ms: 0,
        loss: DataLoss::NONE,
        notes: Vec::new(),
    }
}

fn choice(finding: &Finding) -> Choice<'_> {
    Choice {
        target: "shop",
        finding,
        repair: REPAIR,
        history: &[],
        mode: Mode::Enforce,
        approved_by_person: false,
        needs_approval: false,
        denied: None,
        maintenance: None,
    }
}

fn guard() -> Guard {
    Guard::new(GuardLimits::default(), BTreeMap::new())
}

/// The name of the law that refused; empty when none did.
fn law(ruling: Ruling) -> String {
    match ruling {
        Ruling::Refused(refusal) => refusal.law,
        Ruling::AwaitsPerson => "awaits".into(),
        Ruling::Approved(_) => String::new(),
    }
}

#[test]
fn a_sound_choice_is_approved_and_carries_what_was_chosen() {
    let finding = finding(0, 0.0, true);
    let Ruling::Approved(repair) = guard().rule(7, &choice(&finding)) else {
        panic!("not approved")
    };
    assert_eq!((repair.target(), repair.approved_at_ms()), ("shop", 7));
    assert_eq!(
        (repair.finding(), &repair.candidate().id[..]),
        (&finding, REPAIR)
    );
}

#[test]
fn each_law_refuses_by_its_name() {
    let good = finding(0, 0.0, true);
    let unmet = finding(0, 0.0, false);
    let many = finding(101, 0.0, true);
    let much = finding(1, 5.1, true);
    let failed = [RepairHistory {
        kind: "index.corrupt".into(),
        repair: REPAIR.into(),
        successes: 9,
        failures: 3,
        failures_in_a_row: 3,
        last_ms: 0,
    }];
    let cases = [
        (
            "guard.unknown-candidate",
            Choice {
                repair: "drop.database",
                ..choice(&good)
            },
        ),
        (
            "guard.mode",
            Choice {
                mode: Mode::Observe,
                ..choice(&good)
            },
        ),
        (
            "awaits",
            Choice {
                mode: Mode::Approve,
                ..choice(&good)
            },
        ),
        (
            "",
            Choice {
                mode: Mode::Approve,
                approved_by_person: true,
                ..choice(&good)
            },
        ),
        ("guard.precondition", choice(&unmet)),
        ("guard.data-loss", choice(&many)),
        ("guard.data-loss", choice(&much)),
        (
            "guard.three-failures",
            Choice {
                history: &failed,
                ..choice(&good)
            },
        ),
        // A person's word lifts no ceiling and no precondition.
        (
            "guard.data-loss",
            Choice {
                approved_by_person: true,
                ..choice(&many)
            },
        ),
        (
            "guard.precondition",
            Choice {
                approved_by_person: true,
                ..choice(&unmet)
            },
        ),
    ];
    for (expected, choice) in cases {
        assert_eq!(law(guard().rule(0, &choice)), expected, "{choice:?}");
    }
}

#[test]
fn one_at_a_time_then_a_rest() {
    let finding = finding(0, 0.0, true);
    let mut guard = guard();
    assert_eq!(law(guard.rule(0, &choice(&finding))), "");
    assert_eq!(
        law(guard.rule(10, &choice(&finding))),
        "guard.one-at-a-time"
    );
    guard.repair_ended(100, "shop", &ended(), RepairEnd::Begun);
    assert_eq!(
        law(guard.rule(100 + 59_999, &choice(&finding))),
        "guard.cool-down"
    );
    let by_person = Choice {
        approved_by_person: true,
        ..choice(&finding)
    };
    assert_eq!(law(guard.clone().rule(200, &by_person)), "");
    // Nor is asking a person held back.
    let asks = Choice {
        mode: Mode::Approve,
        ..choice(&finding)
    };
    assert_eq!(law(guard.clone().rule(200, &asks)), "awaits");
    assert_eq!(law(guard.rule(100 + 60_000, &choice(&finding))), "");
    // Another database is another matter.
    assert_eq!(
        law(guard.rule(
            100,
            &Choice {
                target: "ledger",
                ..choice(&finding)
            }
        )),
        ""
    );
}

#[test]
fn the_budget_of_an_hour_and_flapping() {
    let finding = finding(0, 0.0, true);
    let repaired = |guard: &mut Guard, finding: &Finding, at_ms| {
        let ruling = law(guard.rule(at_ms, &choice(finding)));
        guard.repair_ended(at_ms, "shop", &ended(), RepairEnd::Begun);
        ruling
    };
    let mut flapping = guard();
    for n in 0..5 {
        assert_eq!(repaired(&mut flapping, &finding, n * 60_000), "");
    }
    assert_eq!(
        repaired(&mut flapping, &finding, 5 * 60_000),
        "guard.flapping"
    );
    assert_eq!(repaired(&mut flapping, &finding, HOUR_MS + 10 * 60_000), "");

    let mut busy = guard();
    for n in 0..6_u64 {
        let other = Finding {
            subject: format!("index {n}"),
            ..finding.clone()
        };
        assert_eq!(repaired(&mut busy, &other, n * 60_000), "");
    }
    assert_eq!(repaired(&mut busy, &finding, 6 * 60_000), "guard.budget");
}

#[test]
fn what_was_not_begun_uses_nothing_up() {
    let finding = finding(0, 0.0, true);
    let mut guard = guard();
    for n in 0..20 {
        assert_eq!(law(guard.rule(n * 60_000, &choice(&finding))), "");
        guard.repair_ended(n * 60_000, "shop", &ended(), RepairEnd::NotBegun);
        let soon = guard.rule(n * 60_000 + 1, &choice(&finding));
        assert_eq!(law(soon), "guard.cool-down");
    }
}

#[test]
fn a_halt_holds_until_a_person_releases() {
    let finding = finding(0, 0.0, true);
    let mut guard = guard();
    assert!(guard.halt("shop", "INC-9", "INC-9: damage"));
    let by_person = Choice {
        approved_by_person: true,
        ..choice(&finding)
    };
    assert_eq!(law(guard.rule(0, &by_person)), "guard.halted");
    assert_eq!(
        law(guard.rule(HOUR_MS * 1000, &choice(&finding))),
        "guard.halted"
    );
    guard.release("shop");
    assert_eq!(law(guard.rule(0, &choice(&finding))), "");
}

#[test]
fn a_halt_ends_with_the_last_incident_that_called_for_it() {
    let finding = finding(0, 0.0, true);
    let mut guard = guard();
    assert!(guard.halt("shop", "INC-9", "INC-9: damage"));
    assert!(!guard.halt("shop", "INC-10", "INC-10: damage"));
    assert!(!guard.halt("shop", "INC-9", "INC-9: damage"));
    assert!(!guard.resolved("shop", "INC-8"));
    assert!(!guard.resolved("shop", "INC-9"));
    assert!(!guard.resolved("other", "INC-10"));
    assert_eq!(law(guard.rule(0, &choice(&finding))), "guard.halted");
    assert!(guard.resolved("shop", "INC-10"));
    assert_eq!(law(guard.rule(0, &choice(&finding))), "");
    assert!(!guard.resolved("shop", "INC-10"));
}

#[test]
fn a_halt_that_no_incident_called_for_ends_with_none() {
    let finding = finding(0, 0.0, true);
    let record = TargetRecord {
        halted: Some("the state was begun anew".to_owned()),
        ..TargetRecord::default()
    };
    let records = BTreeMap::from([("shop".to_owned(), record)]);
    let mut guard = Guard::new(GuardLimits::default(), records);
    assert!(!guard.halt("shop", "INC-9", "INC-9: damage"));
    assert!(!guard.resolved("shop", "INC-9"));
    assert_eq!(law(guard.rule(0, &choice(&finding))), "guard.halted");
    guard.release("shop");
    assert_eq!(law(guard.rule(0, &choice(&finding))), "");
}

#[test]
fn each_limit_is_allowed_and_one_more_is_not() {
    for (commits, percent, expected) in [
        (100, 5.0, ""),
        (101, 5.0, "guard.data-loss"),
        (100, 5.01, "guard.data-loss"),
        (101, 0.0, "guard.data-loss"),
    ] {
        let finding = finding(commits, percent, true);
        let ruling = law(guard().rule(0, &choice(&finding)));
        assert_eq!(ruling, expected, "{commits} commits, {percent} %");
    }
    let good = finding(0, 0.0, true);
    let failed = |kind: &str, repair: &str, failures_in_a_row| {
        [RepairHistory {
            kind: kind.into(),
            repair: repair.into(),
            successes: 0,
            failures: 9,
            failures_in_a_row,
            last_ms: 0,
        }]
    };
    for (history, expected) in [
        (failed("index.corrupt", REPAIR, 2), ""),
        (failed("index.corrupt", REPAIR, 3), "guard.three-failures"),
        (failed("index.corrupt", REPAIR, 4), "guard.three-failures"),
        (failed("wal.oversized", REPAIR, 4), ""),
        (failed("index.corrupt", "wal.checkpoint", 4), ""),
    ] {
        let choice = Choice {
            history: &history,
            ..choice(&good)
        };
        assert_eq!(law(guard().rule(0, &choice)), expected, "{history:?}");
    }
}

/// A guard after repairs of these subjects, a minute apart, each ended at once.
fn after_repairs(subjects: &[&str]) -> (Guard, Vec<Finding>) {
    let mut guard = guard();
    let findings: Vec<Finding> = subjects
        .iter()
        .map(|subject| Finding {
            subject: (*subject).into(),
            ..finding(0, 0.0, true)
        })
        .collect();
    for (finding, at_ms) in findings.iter().zip((0..).step_by(60_000)) {
        assert_eq!(law(guard.rule(at_ms, &choice(finding))), "");
        guard.repair_ended(at_ms, "shop", &ended(), RepairEnd::Begun);
    }
    (guard, findings)
}

#[test]
fn an_hour_and_the_window_of_flapping_end_to_the_millisecond() {
    let (busy, findings) = after_repairs(&["a", "b", "c", "d", "e", "f"]);
    let ruled = |guard: &Guard, at_ms, choice: Choice<'_>| law(guard.clone().rule(at_ms, &choice));
    let other = Finding {
        subject: "g".into(),
        ..findings[0].clone()
    };
    assert_eq!(ruled(&busy, HOUR_MS - 1, choice(&other)), "guard.budget");
    assert_eq!(ruled(&busy, HOUR_MS, choice(&other)), "");
    let (flapping, findings) = after_repairs(&["a"; 5]);
    let same = &findings[0];
    assert_eq!(
        ruled(&flapping, HOUR_MS - 1, choice(same)),
        "guard.flapping"
    );
    assert_eq!(ruled(&flapping, HOUR_MS, choice(same)), "");
    // Another subject, or another problem of the same subject, does not flap.
    assert_eq!(ruled(&flapping, HOUR_MS - 1, choice(&other)), "");
    let kind = Finding {
        kind: "wal.oversized".into(),
        ..same.clone()
    };
    assert_eq!(ruled(&flapping, HOUR_MS - 1, choice(&kind)), "");
    // A person is held back by neither.
    for (guard, finding) in [(&busy, &other), (&flapping, same)] {
        let by_person = Choice {
            approved_by_person: true,
            ..choice(finding)
        };
        assert_eq!(ruled(guard, HOUR_MS - 1, by_person), "");
        let asks = Choice {
            mode: Mode::Approve,
            ..choice(finding)
        };
        assert_eq!(ruled(guard, HOUR_MS - 1, asks), "awaits");
    }
}

#[test]
fn a_repair_that_waits_or_was_not_begun_is_no_repair() {
    let finding = finding(0, 0.0, true);
    let mut guard = guard();
    let asks = Choice {
        mode: Mode::Approve,
        ..choice(&finding)
    };
    for _ in 0..9 {
        assert_eq!(law(guard.rule(0, &asks)), "awaits");
    }
    assert!(guard.record("shop").is_none(), "asking counts as nothing");
    assert_eq!(law(guard.rule(0, &choice(&finding))), "");
    // One that ended without having run takes nothing of another one away.
    guard.repair_ended(1, "shop", &ended(), RepairEnd::Begun);
    guard.repair_ended(2, "shop", &ended(), RepairEnd::NotBegun);
    assert_eq!(guard.record("shop").unwrap().past.len(), 1);
    // What is older than every window is forgotten with the next repair.
    let by_person = Choice {
        approved_by_person: true,
        ..choice(&finding)
    };
    assert_eq!(law(guard.rule(HOUR_MS, &by_person)), "");
    assert_eq!(guard.record("shop").unwrap().past.len(), 2);
    guard.repair_ended(HOUR_MS, "shop", &ended(), RepairEnd::Begun);
    assert_eq!(law(guard.rule(2 * HOUR_MS + 1, &by_person)), "");
    assert_eq!(guard.record("shop").unwrap().past.len(), 1);
    // While one runs, not even a person begins another.
    assert_eq!(
        law(guard.rule(2 * HOUR_MS + 2, &by_person)),
        "guard.one-at-a-time"
    );
}

#[test]
fn what_holds_writers_out_for_too_long_is_refused_with_both_numbers() {
    for (expected_ms, named) in [(1000, ""), (1001, "guard.lock-time")] {
        let finding = Finding {
            facts: vec![Fact {
                name: EXPECTED_LOCK_MS.into(),
                value: Value::Integer(expected_ms),
            }],
            ..finding(0, 0.0, true)
        };
        // A person's approval does not lift it: the limit itself must be raised.
        for approved_by_person in [false, true] {
            let choice = Choice {
                approved_by_person,
                ..choice(&finding)
            };
            let ruling = guard().rule(0, &choice);
            if let Ruling::Refused(refusal) = &ruling {
                for words in ["1001 ms", "1000 ms", "maintenance window", "max_lock_ms"] {
                    assert!(refusal.reason.contains(words), "{refusal:?}");
                }
            }
            if let Ruling::Approved(approved) = &ruling {
                assert_eq!(approved.max_lock_ms(), 1000);
            }
            assert_eq!(law(ruling), named);
        }
    }
}

#[test]
fn interruptions_are_no_failures_and_do_not_go_on_for_ever() {
    let finding = finding(0, 0.0, true);
    let mut guard = guard();
    for n in 0..5 {
        let at_ms = n * HOUR_MS / 4;
        assert_eq!(law(guard.rule(at_ms, &choice(&finding))), "", "{n}");
        guard.repair_ended(at_ms, "shop", &ended(), RepairEnd::Interrupted);
    }
    // Not after an hour either, and not after a restart.
    let records = guard.targets.clone();
    let mut guard = Guard::new(GuardLimits::default(), records);
    let later_ms = 9 * HOUR_MS;
    assert_eq!(
        law(guard.rule(later_ms, &choice(&finding))),
        "guard.interrupted"
    );
    let by_person = Choice {
        approved_by_person: true,
        ..choice(&finding)
    };
    assert_eq!(law(guard.rule(later_ms, &by_person)), "");
    guard.repair_ended(later_ms, "shop", &ended(), RepairEnd::Begun);
    let next_ms = later_ms + HOUR_MS;
    assert_eq!(law(guard.rule(next_ms, &choice(&finding))), "");
}

#[path = "boundary_tests.rs"]
mod boundaries;

#[test]
fn what_a_person_denied_is_refused_in_both_modes() {
    for mode in [Mode::Approve, Mode::Enforce] {
        let finding = finding(0, 0.0, true);
        let denied = Choice {
            mode,
            denied: Some("alice denied it: I do it by hand"),
            ..choice(&finding)
        };
        let ruling = guard().rule(1, &denied);
        let Ruling::Refused(refusal) = ruling else {
            panic!("{ruling:?}")
        };
        assert_eq!(refusal.law, DENIED);
        assert_eq!(refusal.reason, "alice denied it: I do it by hand");
        // An approval of before is not later than the denial: whoever asks says which of them counts.
        let approved = Choice {
            approved_by_person: true,
            ..denied
        };
        assert_eq!(law(guard().rule(1, &approved)), DENIED);
    }
}

#[test]
fn no_repair_begins_in_a_maintenance_window_and_nothing_of_it_is_counted() {
    let finding = finding(0, 0.0, true);
    for (mode, approved_by_person) in [
        (Mode::Enforce, false),
        (Mode::Enforce, true),
        (Mode::Approve, true),
    ] {
        let mut guard = guard();
        let held = Choice {
            mode,
            approved_by_person,
            maintenance: Some("in maintenance until 2026-01-01T00:00:00Z"),
            ..choice(&finding)
        };
        assert_eq!(law(guard.rule(1, &held)), "guard.maintenance", "{mode}");
        assert!(
            guard
                .record("shop")
                .is_none_or(|record| record.past.is_empty())
        );
        let after = Choice {
            maintenance: None,
            ..held
        };
        assert_eq!(law(guard.rule(2, &after)), "", "{mode}");
    }
    // What holds whatever the mode says comes first.
    let observed = Choice {
        mode: Mode::Observe,
        maintenance: Some("in maintenance"),
        ..choice(&finding)
    };
    assert_eq!(law(guard().rule(1, &observed)), "guard.mode");
}

#[test]
fn a_repair_that_is_refused_in_the_act_again_and_again_is_a_persons() {
    const HOUR: u64 = 3_600_000;
    let good = finding(0, 0.0, true);
    let mut guard = guard();
    let refused = Outcome {
        outcome_result: OutcomeResult::Refused,
        ..ended()
    };
    let mut now = 0;
    let mut repair = |guard: &mut Guard, finding: &Finding, outcome: &Outcome, end| {
        // Far enough apart for no other law.
        now += HOUR;
        let ruling = law(guard.rule(now, &choice(finding)));
        if ruling.is_empty() {
            guard.repair_ended(now + 1, "shop", outcome, end);
        }
        ruling
    };
    // What was not begun was no work; what was carried out begins anew.
    for (outcome, end) in [
        (&refused, RepairEnd::NotBegun),
        (&refused, RepairEnd::Begun),
        (&refused, RepairEnd::Begun),
        (&ended(), RepairEnd::Begun),
        (&refused, RepairEnd::Begun),
        (&refused, RepairEnd::Begun),
        (&refused, RepairEnd::Begun),
    ] {
        assert_eq!(repair(&mut guard, &good, outcome, end), "");
    }
    for _ in 0..2 {
        let ruling = repair(&mut guard, &good, &refused, RepairEnd::Begun);
        assert_eq!(ruling, "guard.refused");
    }
    let by_person = Choice {
        approved_by_person: true,
        ..choice(&good)
    };
    assert_eq!(law(guard.clone().rule(100 * HOUR, &by_person)), "");
    let asked = Choice {
        mode: Mode::Approve,
        ..choice(&good)
    };
    assert_eq!(law(guard.clone().rule(100 * HOUR, &asked)), "awaits");
    // It is remembered, and over with its incident.
    let other = Finding {
        incident: "INC-2".into(),
        ..good.clone()
    };
    assert_eq!(law(guard.clone().rule(100 * HOUR, &choice(&other))), "");
    guard.resolved("shop", "INC-1");
    assert_eq!(law(guard.rule(100 * HOUR, &choice(&good))), "");
}
