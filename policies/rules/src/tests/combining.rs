//! What several rules make together.

use super::*;

#[test]
fn without_a_rule_a_finding_is_a_wall_as_the_sdk_says() {
    let rules = "[[rules]]\nname = \"a.b\"\nwhen = 'false'\nclass = \"hiccup\"";
    let verdict = judge(rules, finding());
    assert_eq!(verdict.classification, Some(Wall));
    assert_eq!((verdict.level, verdict.repair), (Escalate, None));
    assert_eq!(names(&verdict.reasons), ["policy.not-judged"]);
    let quiet = ask(&Event::Tick, &context(rules));
    assert_eq!((quiet.classification, quiet.level), (None, Normal));
    assert!(quiet.reasons.is_empty());
}

#[test]
fn the_gravest_class_and_the_highest_level_count_and_the_gravest_reason_stands_first() {
    let rules = r#"
[[rules]]
name = "a.hiccup"
class = "hiccup"
reason = "one"
[[rules]]
name = "a.wall"
class = "wall"
level = "warn"
reason = "two"
[[rules]]
name = "an.obstacle"
class = "obstacle"
level = "watch"
reason = "three"
"#;
    let verdict = judge(rules, finding());
    assert_eq!((verdict.classification, verdict.level), (Some(Wall), Warn));
    assert_eq!(
        names(&verdict.reasons),
        ["a.wall", "a.hiccup", "an.obstacle"]
    );
}

#[test]
fn a_class_calls_for_its_level_where_the_rule_names_none() {
    for (class, level, halt) in [
        ("hiccup", Watch, false),
        ("obstacle", Warn, false),
        ("wall", Escalate, false),
        ("crisis", Escalate, true),
    ] {
        let rules = format!("[[rules]]\nname = \"a.b\"\nclass = \"{class}\"");
        let verdict = judge(&rules, finding());
        assert_eq!((verdict.level, verdict.halt), (level, halt), "{class}");
        assert_eq!(names(&verdict.reasons), ["a.b"], "a reason is made");
    }
}

#[test]
fn nothing_below_a_last_rule_is_read() {
    let rules = r#"
[[rules]]
name = "deployment.runs"
when = 'finding.kind == "lock.stale-holder"'
class = "hiccup"
last = true
[[rules]]
name = "a.wall"
class = "wall"
"#;
    assert_eq!(judge(rules, finding()).classification, Some(Hiccup));
    let other = testing::finding("table.corrupt", &[]);
    assert_eq!(judge(rules, other).classification, Some(Wall));
}

const REPAIRS: &str = r#"
[[rules]]
name = "lock.end"
class = "obstacle"
repair = "lock.end-holder"
confidence = 0.9
[[rules]]
name = "lock.resume"
repair = "lock.resume-holder"
"#;

#[test]
fn the_first_repair_counts_if_it_is_offered_and_ready() {
    let verdict = judge(REPAIRS, offering("lock.end-holder", true));
    assert_eq!(verdict.repair.as_deref(), Some("lock.end-holder"));
    assert!((verdict.confidence - 0.9).abs() < f64::EPSILON);
    assert!(!verdict.needs_approval);
    // What was not offered is not chosen, and another one does not take its place.
    let verdict = judge(REPAIRS, offering("lock.resume-holder", true));
    assert_eq!(verdict.repair, None);
    assert!(names(&verdict.reasons).contains(&"repair.not-offered"));
    let verdict = judge(REPAIRS, offering("lock.end-holder", false));
    assert_eq!(verdict.repair, None);
    assert!(names(&verdict.reasons).contains(&"repair.precondition"));
    assert!(verdict.confidence.abs() < f64::EPSILON);
}

#[test]
fn any_rule_can_forbid_the_repair_ask_a_person_or_halt() {
    let with = |more: &str| {
        judge(
            &format!("{REPAIRS}\n{more}"),
            offering("lock.end-holder", true),
        )
    };
    let rule = |says: &str| with(&format!("[[rules]]\nname = \"z.z\"\n{says}"));
    assert_eq!(rule("repair = \"none\"").repair, None);
    let approval = rule("needs_approval = true");
    assert!(approval.needs_approval && approval.repair.is_some());
    let halted = rule("halt = true");
    assert!(halted.halt && halted.repair.is_none());
    assert_eq!(rule("class = \"crisis\"").repair, None);
}

#[test]
fn words_may_be_values() {
    let rules = r#"
[[rules]]
name = "a.b"
class = '{facts.age_ms > 4000 ? "obstacle" : "hiccup"}'
level = '{facts.age_ms > 9000 ? "warn" : "watch"}'
repair = '{least_risk()}'
reason = 'held {seconds(facts.age_ms)} by {facts.holder_name}, {{{finding.severity}}}, {facts.holder_lock}'
"#;
    let verdict = judge(rules, offering("lock.end-holder", true));
    assert_eq!(
        (verdict.classification, verdict.level),
        (Some(Obstacle), Watch)
    );
    assert_eq!(verdict.repair.as_deref(), Some("lock.end-holder"));
    assert_eq!(verdict.reasons[0].text, "held 4.2 s by batch, {0.5}, ?");
    let none = judge(rules, finding());
    assert_eq!(none.repair, None);
    assert_eq!(names(&none.reasons), ["a.b"], "none was wanted");
}

#[test]
fn a_rule_that_cannot_be_reckoned_speaks_not_and_is_told() {
    let rules = r#"
[[rules]]
name = "a.fault"
when = 'facts.age_ms / (facts.age_ms - 4200) > 1'
class = "hiccup"
[[rules]]
name = "a.word"
class = '{facts.holder_name}'
[[rules]]
name = "a.wall"
class = "wall"
reason = "sure"
"#;
    let verdict = judge(rules, finding());
    assert_eq!(verdict.classification, Some(Wall));
    assert_eq!(
        names(&verdict.reasons),
        ["a.wall", "rules.fault", "rules.fault"]
    );
    assert_eq!(verdict.reasons[1].text, "rule a.fault: a division by zero");
    assert_eq!(
        verdict.reasons[2].text,
        "rule a.word: the class is none that there is"
    );
}

#[test]
fn what_the_rules_above_said_can_be_asked() {
    let rules = r#"
[[rules]]
name = "a.first"
when = 'answer.class == "none" && answer.repair == "none" && answer.level == "normal" && answer.reason == ""'
class = "obstacle"
repair = "x.y"
reason = "one"
[[rules]]
name = "a.second"
when = 'spoke("a.first") && answer.class == "obstacle" && answer.level == "warn" && answer.repair == "x.y" && answer.reason == "one"'
reason = "two"
suggest = ["look", "look", "again"]
alert = { urgency = "critical", name = "told", message = "{answer.reason} and more" }
[[rules]]
name = "a.third"
reason = "three"
alert = "info"
"#;
    let verdict = judge(rules, finding());
    assert_eq!(
        names(&verdict.reasons),
        ["a.first", "a.second", "a.third", "repair.not-offered"]
    );
    assert_eq!(verdict.suggestions, ["look", "again"]);
    let alerts: Vec<_> = verdict
        .alerts
        .iter()
        .map(|alert| (alert.rule.as_str(), alert.message.as_str()))
        .collect();
    assert_eq!(alerts, [("told", "one and more"), ("a.third", "three")]);
}
