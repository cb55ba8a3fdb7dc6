//! What holds for every finding, whatever its facts are.

use super::*;

/// Facts that each kind is judged by, with every value that matters.
fn facts() -> Vec<(&'static str, Vec<Option<Value>>)> {
    let flags = || {
        vec![
            None,
            Some(Boolean(true)),
            Some(Boolean(false)),
            Some(text("x")),
        ]
    };
    let counts = |some: &[i64]| {
        let some = some.iter().map(|number| Some(Integer(*number)));
        std::iter::once(None).chain(some).collect::<Vec<_>>()
    };
    vec![
        ("age_ms", counts(&[0, 300_000, 300_001])),
        ("commits_during_hold", counts(&[0, 1])),
        ("concurrent_operations", counts(&[0, 1])),
        ("has_recent_snapshot", flags()),
        ("holder_may_be_ended", flags()),
        ("reader_age_ms", counts(&[300_000, 300_001])),
        ("reader_may_be_ended", flags()),
        ("first_bad_frame", counts(&[1, 950, 951, 1_000])),
        ("total_frames", counts(&[0, 1_000])),
        ("commits_lost", counts(&[0, 1])),
        ("table_clean", flags()),
        ("rebuildable", flags()),
        ("auto_fix", flags()),
    ]
}

/// Findings of every known kind and of an unknown one. The same number gives the same ones.
fn findings(rounds: u32) -> Vec<Finding> {
    let repairs = [
        "lock.end-holder",
        "wal.release-reader",
        "wal.checkpoint",
        "wal.keep-valid-prefix",
        "index.rebuild",
        "file.restore",
        "moon.turn",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        // Knuth's generator; its upper bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut all = Vec::new();
    let facts = facts();
    for _ in 0..rounds {
        for kind in dbmedic_policy::problems::KINDS
            .iter()
            .chain(&["moon.phase"])
        {
            let mut finding = testing::finding(kind, &[]);
            finding.severity = [0.0, 0.49, 0.5, 0.7, 0.8, 1.0][next(6)];
            for (name, values) in &facts {
                let value = values[next(values.len())].clone();
                finding = with(finding, &[(*name, value)]);
            }
            for repair in repairs {
                if next(3) == 0 {
                    continue;
                }
                let level = [CascadeLevel::InPlace, CascadeLevel::Snapshot][next(2)];
                finding = offering(finding, repair, level);
                let offered = finding.candidates.last_mut().unwrap();
                offered.preconditions =
                    vec![precondition("a", true), precondition("b", next(2) == 0)];
            }
            all.push(finding);
        }
    }
    all
}

#[test]
fn what_is_chosen_is_offered_its_preconditions_hold_and_a_halt_is_a_crisis() {
    let no_crisis = [
        "lock.stale-holder",
        "wal.checkpoint-starved",
        "wal.oversized",
        "journal.hot",
        "file.missing",
        "target.unreachable",
        "constraint.violated",
        "anomaly.unexplained",
        "moon.phase",
    ];
    let (mut chosen, mut halts) = (0, 0);
    for finding in findings(400) {
        let mut context = context();
        let now = (0..5).map(|back| NOW_MS - back).collect();
        context.constraints.push(constraint(now));
        let named = with(finding.clone(), &[("constraint", Some(text("wal_size")))]);
        let verdict = ask(&Event::Finding(named), &context);
        if let Some(repair) = &verdict.repair {
            let mut offered = finding.candidates.iter();
            let candidate = offered.find(|candidate| candidate.id == *repair).unwrap();
            assert!(
                candidate.preconditions.iter().all(|p| p.holds),
                "{finding:?}"
            );
            assert_ne!(finding.kind, "moon.phase", "no rule, no repair");
            chosen += 1;
        }
        let is_crisis = verdict.classification == Some(Crisis);
        assert_eq!(verdict.halt, is_crisis, "{finding:?}");
        assert!(!(verdict.halt && verdict.repair.is_some()), "{finding:?}");
        assert!(
            !(verdict.halt && no_crisis.contains(&&*finding.kind)),
            "{finding:?}"
        );
        assert_eq!(
            verdict.confidence > 0.0,
            verdict.repair.is_some(),
            "{finding:?}"
        );
        halts += u32::from(verdict.halt);
    }
    assert!(
        chosen > 100 && halts > 100,
        "{chosen} chosen, {halts} halts"
    );
}

#[test]
fn the_order_of_what_is_offered_changes_nothing() {
    for finding in findings(100) {
        let mut turned = finding.clone();
        turned.candidates.reverse();
        let ask = |finding| ask(&Event::Finding(finding), &context());
        assert_eq!(ask(finding), ask(turned));
    }
}
