//! One row for each rule about a kind: what the finding is, and what must come of it.

use super::*;

/// What a row expects: class, level, repair, halt, and the rules that must speak.
type Expected<'a> = (
    Classification,
    EscalationLevel,
    Option<&'a str>,
    bool,
    &'a [&'a str],
);

fn check(rows: Vec<(&str, Finding, Expected<'_>)>) {
    for (what, finding, (class, level, repair, halt, spoken)) in rows {
        let verdict = ask(&Event::Finding(finding), &context());
        assert_eq!(verdict.classification, Some(class), "{what}");
        assert_eq!(verdict.level, level, "{what}");
        assert_eq!(verdict.repair.as_deref(), repair, "{what}");
        assert_eq!(verdict.halt, halt, "{what}");
        for rule in spoken {
            assert!(
                rules(&verdict).contains(rule),
                "{what}: {rule} not in {:?}",
                rules(&verdict)
            );
        }
        assert_eq!(verdict.confidence > 0.0, repair.is_some(), "{what}");
    }
}

#[test]
fn locks() {
    let lock = |facts: &[(&str, Option<Value>)]| with(stale_lock(), facts);
    let fresh = ("age_ms", Some(Integer(300_000)));
    let no_snapshot = ("has_recent_snapshot", Some(Boolean(false)));
    let busy = ("concurrent_operations", Some(Integer(5)));
    let end = Some("lock.end-holder");
    check(vec![
        (
            "stale",
            lock(&[]),
            (
                Hiccup,
                Watch,
                end,
                false,
                &[
                    "lock.stale",
                    "lock.snapshot",
                    "lock.alone",
                    "hiccup.not-solved",
                ],
            ),
        ),
        (
            "at the threshold",
            lock(std::slice::from_ref(&fresh)),
            (Hiccup, Watch, None, false, &["lock.too-fresh"]),
        ),
        (
            "fresh and busy, as in the specification's section 9",
            lock(&[fresh, busy.clone()]),
            (
                Hiccup,
                Watch,
                None,
                false,
                &["lock.too-fresh", "lock.concurrent-operations"],
            ),
        ),
        (
            "its holder commits",
            lock(&[("commits_during_hold", Some(Integer(2)))]),
            (Hiccup, Watch, None, false, &["lock.holder-commits"]),
        ),
        (
            "no snapshot",
            lock(std::slice::from_ref(&no_snapshot)),
            (
                Obstacle,
                Escalate,
                None,
                false,
                &["lock.stale", "lock.no-snapshot"],
            ),
        ),
        (
            "busy",
            lock(std::slice::from_ref(&busy)),
            (Obstacle, Warn, None, false, &["lock.concurrent-operations"]),
        ),
        (
            "both",
            lock(&[no_snapshot, busy]),
            (
                Obstacle,
                Escalate,
                None,
                false,
                &["lock.no-snapshot", "lock.concurrent-operations"],
            ),
        ),
        (
            "not listed",
            lock(&[("holder_may_be_ended", Some(Boolean(false)))]),
            (Obstacle, Warn, None, false, &["lock.holder-not-listed"]),
        ),
        (
            "no age",
            lock(&[("age_ms", None)]),
            (Wall, Escalate, None, false, &["fact.missing"]),
        ),
        (
            "an age that is not a number",
            lock(&[("age_ms", Some(text("old")))]),
            (Wall, Escalate, None, false, &["fact.missing"]),
        ),
    ]);
}

#[test]
fn a_reason_says_what_was_seen_and_the_threshold() {
    let finding = with(stale_lock(), &[("age_ms", Some(Integer(4_200)))]);
    let context = context_with(&[("stale_lock_age_ms", Integer(3_000))]);
    let verdict = ask(&Event::Finding(finding.clone()), &context);
    assert_eq!(verdict.repair.as_deref(), Some("lock.end-holder"));
    assert!((verdict.confidence - 0.95).abs() < f64::EPSILON);
    let text = &verdict.reasons[0].text;
    assert!(
        text.starts_with("lock held 4.2 s by batch, threshold 3.0 s"),
        "{text}"
    );
    let verdict = ask(&Event::Finding(finding), &super::context());
    assert_eq!(verdict.repair, None, "the default is 300 s");
}

#[test]
fn write_ahead_log() {
    let keep = Some("wal.keep-valid-prefix");
    let release = Some("wal.release-reader");
    let reader = |facts: &[(&str, Option<Value>)]| with(starved(), facts);
    let severe = |mut finding: Finding| {
        finding.severity = 0.9;
        finding
    };
    check(vec![
        (
            "tail",
            corrupt_frame(951, 1_000, 0),
            (Obstacle, Warn, keep, false, &["wal.tail"]),
        ),
        (
            "severe tail",
            severe(corrupt_frame(951, 1_000, 0)),
            (Obstacle, Escalate, keep, false, &["wal.tail"]),
        ),
        (
            "tail with loss",
            corrupt_frame(999, 1_000, 3),
            (
                Obstacle,
                Escalate,
                keep,
                false,
                &["wal.tail", "wal.data-loss"],
            ),
        ),
        (
            "at the mark",
            corrupt_frame(950, 1_000, 0),
            (Crisis, Escalate, None, true, &["wal.too-early"]),
        ),
        (
            "early",
            corrupt_frame(400, 1_000, 9),
            (
                Crisis,
                Escalate,
                None,
                true,
                &["wal.too-early", "wal.data-loss"],
            ),
        ),
        (
            "empty log",
            corrupt_frame(0, 0, 0),
            (Crisis, Escalate, None, true, &["wal.too-early"]),
        ),
        (
            "no numbers",
            testing::finding("wal.corrupt-frame", &[]),
            (Wall, Escalate, None, false, &["fact.missing"]),
        ),
        (
            "starved",
            reader(&[]),
            (Obstacle, Watch, release, false, &["wal.starved"]),
        ),
        (
            "severely starved",
            severe(reader(&[])),
            (Obstacle, Warn, release, false, &["wal.starved"]),
        ),
        (
            "young reader",
            reader(&[("reader_age_ms", Some(Integer(300_000)))]),
            (Hiccup, Watch, None, false, &["wal.reader-too-fresh"]),
        ),
        (
            "reader not listed",
            reader(&[("reader_may_be_ended", Some(Boolean(false)))]),
            (Obstacle, Warn, None, false, &["wal.reader-not-listed"]),
        ),
        (
            "unknown reader",
            reader(&[("reader_age_ms", None)]),
            (Wall, Escalate, None, false, &["fact.missing"]),
        ),
        (
            "oversized",
            offering(
                testing::finding("wal.oversized", &[]),
                "wal.checkpoint",
                CascadeLevel::InPlace,
            ),
            (
                Obstacle,
                Watch,
                Some("wal.checkpoint"),
                false,
                &["wal.oversized"],
            ),
        ),
    ]);
    let verdict = ask(&Event::Finding(corrupt_frame(999, 1_000, 0)), &context());
    assert!((verdict.confidence - 0.8).abs() < f64::EPSILON);
}

#[test]
fn damage() {
    let plain = |kind: &str| testing::finding(kind, &[]);
    check(vec![
        (
            "index",
            corrupt_index(true, true),
            (
                Obstacle,
                Warn,
                Some("index.rebuild"),
                false,
                &["index.damaged"],
            ),
        ),
        (
            "index and table",
            corrupt_index(false, true),
            (Crisis, Escalate, None, true, &["index.table-damaged"]),
        ),
        (
            "odd index",
            corrupt_index(true, false),
            (Wall, Escalate, None, false, &["index.not-rebuildable"]),
        ),
        (
            "unknown index",
            plain("index.corrupt"),
            (Wall, Escalate, None, false, &["fact.missing"]),
        ),
        (
            "table",
            plain("table.corrupt"),
            (Crisis, Escalate, None, true, &["table.damaged"]),
        ),
        (
            "schema",
            plain("schema.corrupt"),
            (Crisis, Escalate, None, true, &["schema.damaged"]),
        ),
        (
            "pages",
            plain("pages.corrupt"),
            (Crisis, Escalate, None, true, &["pages.damaged"]),
        ),
        (
            "truncated",
            plain("file.truncated"),
            (Crisis, Escalate, None, true, &["file.truncated"]),
        ),
        (
            "header",
            plain("file.not-a-database"),
            (Crisis, Escalate, None, true, &["file.not-a-database"]),
        ),
        (
            "a kind of tomorrow, whatever it offers",
            offering(plain("disk.on-fire"), "disk.quench", CascadeLevel::InPlace),
            (Wall, Escalate, None, false, &["problem.unknown"]),
        ),
    ]);
}

#[test]
fn files_and_reach() {
    let missing =
        |recent| testing::finding("file.missing", &[("has_recent_snapshot", Boolean(recent))]);
    let restore = |finding| offering(finding, "file.restore", CascadeLevel::Snapshot);
    let unreachable = |since_ms| {
        let mut finding = testing::finding("target.unreachable", &[("reason", text("refused"))]);
        finding.first_seen_ms = NOW_MS - since_ms;
        finding
    };
    check(vec![
        (
            "gone",
            missing(true),
            (Wall, Escalate, None, false, &["file.missing"]),
        ),
        (
            "gone, old snapshot",
            restore(missing(false)),
            (Wall, Escalate, None, false, &["file.missing"]),
        ),
        (
            "restorable",
            restore(missing(true)),
            (
                Obstacle,
                Escalate,
                Some("file.restore"),
                false,
                &["file.restorable"],
            ),
        ),
        (
            "journal",
            testing::finding("journal.hot", &[]),
            (Hiccup, Watch, None, false, &["journal.rolls-back"]),
        ),
        (
            "just gone",
            unreachable(60_000),
            (Hiccup, Watch, None, false, &["target.unreachable-briefly"]),
        ),
        (
            "long gone",
            unreachable(60_001),
            (Wall, Escalate, None, false, &["target.unreachable"]),
        ),
    ]);
}

#[test]
fn anomalies_are_watched_and_severe_ones_reported() {
    let anomaly = |severity| {
        let facts = [
            ("series", text("commit_p99_ms")),
            ("confidence", Value::Number(0.9)),
        ];
        let mut finding = testing::finding("anomaly.unexplained", &facts);
        finding.severity = severity;
        finding
    };
    let rule: &[&str] = &["anomaly.unexplained"];
    check(vec![
        ("slight", anomaly(0.49), (Hiccup, Watch, None, false, rule)),
        (
            "middling",
            anomaly(0.5),
            (Obstacle, Watch, None, false, rule),
        ),
        ("severe", anomaly(0.7), (Obstacle, Warn, None, false, rule)),
    ]);
    let verdict = ask(&Event::Finding(anomaly(0.5)), &context());
    assert_eq!(verdict.suggestions, [crate::suggestions::SLOW]);
}

#[test]
fn a_constraint_is_watched_until_it_is_violated_repeatedly() {
    let fix = |finding| offering(finding, "wal.checkpoint", CascadeLevel::InPlace);
    let recent: Vec<u64> = (0..5).map(|i| NOW_MS - 1_000 * i).rev().collect();
    let old: Vec<u64> = (0..5).map(|i| NOW_MS - 15_000 * i).rev().collect();
    let rows = [
        (
            "four",
            fix(violated(true)),
            recent[1..].to_vec(),
            Watch,
            None,
            "constraint.violated",
        ),
        (
            "five, one too old",
            fix(violated(true)),
            old,
            Watch,
            None,
            "constraint.violated",
        ),
        (
            "five",
            fix(violated(true)),
            recent.clone(),
            Watch,
            Some("wal.checkpoint"),
            "constraint.auto-fix",
        ),
        (
            "five, not allowed",
            fix(violated(false)),
            recent.clone(),
            Escalate,
            None,
            "constraint.no-auto-fix",
        ),
        (
            "five, nothing offered",
            violated(true),
            recent,
            Escalate,
            None,
            "constraint.nothing-offered",
        ),
    ];
    for (what, finding, violations, level, repair, rule) in rows {
        let mut context = context();
        context.constraints.push(constraint(violations));
        let verdict = ask(&Event::Finding(finding), &context);
        assert_eq!(verdict.classification, Some(Obstacle), "{what}");
        assert_eq!(verdict.level, level, "{what}");
        assert_eq!(verdict.repair.as_deref(), repair, "{what}");
        assert!(
            rules(&verdict).contains(&rule),
            "{what}: {:?}",
            rules(&verdict)
        );
        assert!(
            verdict
                .suggestions
                .iter()
                .any(|s| s == crate::suggestions::CONSTRAINT)
        );
        let repeated = rules(&verdict).contains(&"constraint.repeated");
        assert_eq!(repeated, rule != "constraint.violated", "{what}");
    }
}

#[test]
fn a_repair_is_chosen_only_when_it_is_offered_and_its_preconditions_hold() {
    let mut finding = stale_lock();
    finding.candidates[0].preconditions = vec![
        precondition("same-process", true),
        precondition("no-recovery", false),
    ];
    let verdict = ask(&Event::Finding(finding), &context());
    assert_eq!((verdict.repair.as_deref(), verdict.level), (None, Warn));
    let reason = verdict
        .reasons
        .iter()
        .find(|r| r.rule == "repair.precondition")
        .unwrap();
    assert!(reason.text.contains("no-recovery"), "{}", reason.text);
    assert!(!reason.text.contains("same-process"));
    assert!(verdict.alerts.is_empty());

    let mut finding = stale_lock();
    finding.candidates = Vec::new();
    let verdict = ask(&Event::Finding(finding), &context());
    assert_eq!((verdict.repair.as_deref(), verdict.level), (None, Warn));
    assert!(rules(&verdict).contains(&"repair.not-offered"));

    let mut damaged = corrupt_index(true, true);
    damaged.candidates[0].preconditions = vec![precondition("space", false)];
    let verdict = ask(&Event::Finding(damaged), &context());
    assert_eq!(
        (verdict.repair.as_deref(), verdict.level),
        (None, Escalate),
        "damage that stays"
    );
}

#[test]
fn a_severe_hiccup_and_a_solved_one() {
    let mut context = context();
    context
        .repairs
        .push(history("lock.stale-holder", "lock.end-holder", 3, 0));
    let verdict = ask(&Event::Finding(stale_lock()), &context);
    assert_eq!(verdict.level, Normal, "solved and slight");
    assert!(rules(&verdict).contains(&"hiccup.solved"));
    assert_eq!(verdict.verbosity, Verbosity::Normal);
    let mut severe = stale_lock();
    severe.severity = 0.5;
    assert_eq!(ask(&Event::Finding(severe), &context).level, Watch);
}
