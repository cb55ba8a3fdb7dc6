//! What the rules remember, and how the level falls.

use super::*;

fn tick_at(context: &mut Context, now_ms: u64) -> Verdict {
    context.now_ms = now_ms;
    step(&Event::Tick, context)
}

#[test]
fn a_rule_counts_what_spoke_about_the_same_problem() {
    let rules = r#"
[[rules]]
name = "lock.seen"
kind = "lock.stale-holder"
class = "hiccup"
[[rules]]
name = "lock.often"
kind = "lock.stale-holder"
when = 'count("lock.seen", 60s) >= 3'
class = "wall"
"#;
    let mut context = context(rules);
    let event = Event::Finding(finding());
    let mut other = finding();
    other.subject = "elsewhere".into();
    for at in [0, 30_000] {
        context.now_ms = 1_000_000 + at;
        assert_eq!(step(&event, &mut context).classification, Some(Hiccup));
    }
    assert_eq!(
        step(&Event::Finding(other), &mut context).classification,
        Some(Hiccup)
    );
    context.now_ms = 1_060_000;
    assert_eq!(step(&event, &mut context).classification, Some(Wall));
    context.now_ms = 1_090_001;
    assert_eq!(step(&event, &mut context).classification, Some(Hiccup));
}

#[test]
fn a_rule_per_target_counts_whatever_the_problem() {
    let rules = r#"
[[rules]]
name = "any.problem"
on = "finding"
per = "target"
class = "hiccup"
[[rules]]
name = "many.problems"
per = "target"
when = 'count("any.problem", 60s) > 1'
class = "wall"
"#;
    let mut context = context(rules);
    step(&Event::Finding(finding()), &mut context);
    context.now_ms += 1;
    let other = testing::finding("wal.oversized", &[]);
    let verdict = step(&Event::Finding(other), &mut context);
    assert_eq!(verdict.classification, Some(Wall));
}

#[test]
fn a_cooldown_keeps_a_rule_quiet() {
    let rules = r#"
[[rules]]
name = "disk.full"
when = 'metrics.disk_free_percent < 10.0 && cooldown(300s)'
alert = { urgency = "critical", message = "{percent(metrics.disk_free_percent)} free" }
"#;
    let mut context = context(rules);
    context.metrics.push(dbmedic_policy::Metric {
        name: "disk_free_percent".into(),
        value: 4.0,
    });
    assert_eq!(
        tick_at(&mut context, 1_000_000).alerts[0].message,
        "4.0 % free"
    );
    assert!(tick_at(&mut context, 1_300_000).alerts.is_empty());
    assert_eq!(tick_at(&mut context, 1_300_001).alerts.len(), 1);
    context.metrics.clear();
    assert!(tick_at(&mut context, 9_000_000).alerts.is_empty());
}

#[test]
fn what_cannot_be_read_is_forgotten_and_said() {
    let rules = "[[rules]]\nname = \"a.b\"\nclass = \"hiccup\"";
    let mut context = context(rules);
    context.memory = vec![1, 2, 3];
    let verdict = ask(&Event::Finding(finding()), &context);
    assert_eq!(verdict.classification, Some(Hiccup));
    assert_eq!(names(&verdict.reasons), ["a.b", "memory.unreadable"]);
}

#[test]
fn by_itself_the_level_comes_down_after_ten_minutes() {
    let mut context = context("[[rules]]\nname = \"a.b\"\non = \"finding\"\nclass = \"wall\"");
    context.level = Escalate;
    context.level_since_ms = 1_000_000;
    assert_eq!(tick_at(&mut context, 1_600_000).level, Escalate);
    let fallen = tick_at(&mut context, 1_600_001);
    assert_eq!(fallen.level, Warn);
    assert_eq!(
        fallen.reasons[0].text,
        "no cause for it for 600.0 s: from escalate to warn"
    );
    context.incidents.push(open(Some(Obstacle)));
    assert_eq!(tick_at(&mut context, 3_000_000).level, Warn, "it is kept");
    context.incidents[0].classification = Some(Hiccup);
    assert_eq!(tick_at(&mut context, 3_000_001).level, Watch);
}

fn open(class: Option<Classification>) -> OpenIncident {
    OpenIncident {
        id: "i-9".into(),
        kind: "wal.oversized".into(),
        subject: "main".into(),
        opened_ms: 900_000,
        sightings: 2,
        classification: class,
        acknowledged: None,
        answers: Vec::new(),
    }
}

#[test]
fn rules_with_lower_say_when_the_level_falls() {
    let rules = r#"
[[rules]]
name = "level.calm"
when = 'level == "warn" && since("warn") > 60s && size(incidents) == 0'
lower = "normal"
[[rules]]
name = "lock.seen"
on = "finding"
class = "hiccup"
"#;
    let mut context = context(rules);
    context.level = Warn;
    context.level_since_ms = 1_000_000;
    assert_eq!(tick_at(&mut context, 1_060_000).level, Warn);
    // Below the level in force, and still a cause for `watch`.
    context.now_ms = 1_060_001;
    let finding = Event::Finding(finding());
    assert_eq!(step(&finding, &mut context).level, Watch);
    // Another level than that of the rule does not fall, however long it lasts.
    assert_eq!(tick_at(&mut context, 99_000_000).level, Watch);
}

#[test]
fn the_end_of_a_repair_is_an_event_of_its_own() {
    let rules = r#"
[[rules]]
name = "repair.failed"
on = "outcome"
kind = "lock.stale-holder"
when = 'outcome.result != "verified" && repairs(outcome.kind).failures_in_a_row >= 2'
class = "wall"
reason = "{outcome.repair} {outcome.result}: {outcome.reason}, {repairs(outcome.kind, outcome.repair).failures} so far"
"#;
    let mut context = context(rules);
    for (repair, in_a_row) in [("lock.end-holder", 2), ("lock.resume-holder", 1)] {
        context.repairs.push(RepairHistory {
            kind: "lock.stale-holder".into(),
            repair: repair.into(),
            successes: 1,
            failures: in_a_row + 1,
            failures_in_a_row: in_a_row,
            last_ms: 900_000,
        });
    }
    let outcome = |result| {
        Event::Outcome(Outcome {
            incident: "i-1".into(),
            kind: "lock.stale-holder".into(),
            subject: "main".into(),
            repair: "lock.end-holder".into(),
            outcome_result: result,
            reason: "as seen".into(),
            duration_ms: 700,
            loss: testing::NO_LOSS,
            notes: Vec::new(),
        })
    };
    let verdict = ask(&outcome(OutcomeResult::RolledBack), &context);
    assert_eq!(verdict.classification, Some(Wall));
    assert_eq!(
        verdict.reasons[0].text,
        "lock.end-holder rolled-back: as seen, 3 so far"
    );
    let verdict = ask(&outcome(OutcomeResult::Verified), &context);
    assert_eq!((verdict.classification, verdict.level), (None, Normal));
}
