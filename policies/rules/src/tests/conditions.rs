//! What conditions mean: by examples of each name and function, and held against the crate `cel`.

use dbmedic_policy::{
    Attribution, ConstraintState, ConstraintStatus, LocalTime, Maintenance, MaintenanceWindow,
    Metric, RepairAnswer,
    telemetry::{BaselineSummary, Point},
};
use proptest::prelude::*;

use super::*;
use crate::check::{self, Names};
use crate::compiled::{Head, On};
use crate::evaluate;
use crate::memory::Memory;
use crate::said::Said;
use crate::scope::Scope;
use crate::syntax;
use crate::value::Trouble;

/// Whether a condition holds; none where its names or types are wrong.
fn holds(condition: &str, event: &Event, context: &Context) -> Option<Result<bool, Trouble>> {
    let node = syntax::parse(condition).ok()?;
    let values = std::collections::BTreeMap::new();
    let names = Names {
        rules: &["a.b"],
        own: 1,
        values: &values,
    };
    let checked = check::condition(&node, &names).ok()?;
    let rules = [Head {
        name: "a.b",
        on: On::Any,
        kinds: Vec::new(),
        per_target: false,
        remembered: 32,
        body: &[],
    }];
    let scope = Scope {
        event,
        context,
        memory: &Memory::default(),
        said: &Said::default(),
        rules: &rules,
        own: 0,
    };
    Some(evaluate::holds(&checked, &scope))
}

/// Friday, 27 November 2026, 16:30 UTC, an hour earlier than the local time.
fn friday() -> Context {
    let mut context = testing::context(Vec::new());
    context.now_ms = 1_795_797_000_000;
    context.local_time = Some(LocalTime {
        utc_offset_minutes: 60,
        next_change: None,
    });
    context.maintenance = Maintenance {
        open: Some(MaintenanceWindow {
            name: "deployment".into(),
            begins_ms: context.now_ms - 60_000,
            ends_ms: context.now_ms + 90_000,
            allow_repairs: false,
            by: Some("eve".into()),
            reason: None,
        }),
        next: None,
    };
    context.metrics.push(Metric {
        name: "disk_free_percent".into(),
        value: 12.5,
    });
    context.constraints.push(ConstraintState {
        name: "wal_size".into(),
        metric: "wal_bytes".into(),
        value: 1_200.0,
        lower: None,
        upper: Some(1_000.0),
        utilization: 1.2,
        status: ConstraintStatus::Critical,
        violations_ms: vec![context.now_ms - 60_000, context.now_ms - 59_999],
    });
    let said = |by: &str| Attribution {
        by: by.into(),
        at_ms: context.now_ms - 5_000,
        note: None,
    };
    let answer = |by: &str, repair: &str, granted| RepairAnswer {
        repair: repair.into(),
        granted,
        said: said(by),
    };
    context.incidents.push(OpenIncident {
        id: "i-1".into(),
        kind: "lock.stale-holder".into(),
        subject: "main".into(),
        opened_ms: context.now_ms - 300_000,
        sightings: 4,
        classification: Some(Obstacle),
        acknowledged: Some(said("bob")),
        answers: vec![
            answer("eve", "lock.end-holder", true),
            answer("bob", "lock.end-holder", true),
            answer("bob", "lock.resume-holder", false),
        ],
    });
    context.repairs.push(RepairHistory {
        kind: "lock.stale-holder".into(),
        repair: "lock.end-holder".into(),
        successes: 2,
        failures: 3,
        failures_in_a_row: 1,
        last_ms: context.now_ms - 1_000,
    });
    context
}

#[test]
fn every_name_says_what_it_should() {
    testing::clear();
    let point = |at_ms, value| Point { at_ms, value };
    testing::set_series(
        "commits_per_s",
        vec![point(1, 4.0), point(2, 0.0), point(3, 0.0)],
    );
    testing::set_baseline(
        "commits_per_s",
        BaselineSummary {
            count: 40,
            established: true,
            median: 5.0,
            mad: 1.0,
            mean: 5.5,
            stdev: 2.0,
            p50: 5.0,
            p95: 9.0,
            p99: 10.0,
            min: 1.0,
            max: 11.0,
        },
    );
    let context = friday();
    let mut finding = offering("lock.end-holder", true);
    finding.first_seen_ms = context.now_ms - 42_000;
    let event = Event::Finding(finding);
    for condition in [
        r#"event == "finding" && target == "test" && target_kind == "sqlite" && level == "normal""#,
        r#"time.weekday == "friday" && time.hour == 17 && time.minute == 30 && time.is_known"#,
        "time.minute_of_day >= 17 * 60 && now_ms > 0",
        r#"finding.kind.startsWith("lock.") && finding.kind.endsWith("holder") && finding.subject.contains("ai")"#,
        "finding.severity == 0.5 && finding.sightings == 1 && finding.age == 42s",
        r#"facts.age_ms == 4200 && ms(facts.age_ms) == 4200ms && facts["age_ms"] == 4200"#,
        r#"has(facts.holder_name) && !has(facts.holder_pid) && !has(facts["newer"])"#,
        "default(facts.commits_during_hold, 7) == 7 && default(facts.age_ms, 7) == 4200",
        r#"offered("lock.end-holder") && ready("lock.end-holder") && !offered("x.y")"#,
        r#"least_risk() == "lock.end-holder" && least_risk("snapshot") == "none""#,
        r#"finding.candidates.exists(c, c.id == "lock.end-holder" && c.level == "in-place" && c.ready && c.undoable)"#,
        r#"finding.candidates[0].waits_for == "" && finding.candidates[0].expected_duration == 500ms"#,
        "size(finding.evidence) == 0 && finding.candidates.size() == 1",
        r#"incident.class == "obstacle" && incident.acknowledged && incident.acknowledged_by == "bob""#,
        "incident.age == 5m && incident.sightings == 4 && incidents.all(i, i.kind == finding.kind)",
        r#"approvals("lock.end-holder") == ["eve", "bob"] && size(approvals("x.y")) == 0"#,
        r#"denied("lock.resume-holder") && !denied("lock.end-holder")"#,
        r#"incident.answers.filter(a, a.granted).map(a, a.by) == ["eve", "bob"]"#,
        "incident.answers.exists_one(a, !a.granted) && incident.answers[0].age == 5s",
        r#"maintenance.open && maintenance.name == "deployment" && maintenance.ends_in == 90s && !maintenance.allow_repairs"#,
        r#"maintenance.by == "eve" && !has(maintenance.reason) && !has(maintenance.next_in)"#,
        r#"metrics.disk_free_percent < 20.0 && metrics["disk_free_percent"] > 12.0 && !has(metrics.other)"#,
        r#"constraint("wal_size").status == "critical" && constraint("wal_size").utilization > 1.0"#,
        r#"violations("wal_size", 60s) == 1 && violations("wal_size", 61s) == 2 && violations("x", 1h) == 0"#,
        r#"!has(constraint("wal_size").lower) && constraints.exists(c, c.upper == 1000.0)"#,
        r#"repairs(finding.kind).failures_in_a_row == 1 && repairs(finding.kind, "lock.end-holder").successes == 2"#,
        r#"repairs("wal.oversized").failures == 0 && repairs(finding.kind).age == 1s"#,
        r#"latest("commits_per_s") == 0.0 && recent("commits_per_s", 2).all(v, v == 0.0)"#,
        r#"baseline("commits_per_s").established && baseline("commits_per_s").median > latest("commits_per_s")"#,
        r#"seconds(4299) == "4.2 s" && seconds(90s) == "90.0 s" && percent(4.25) == "4.3 %" && fixed(0.125, 2) == "0.12""#,
        r#"duration("1h30m") == 90m && 1d > 23h && 250ms + 1s == 1250ms && -1s < 0s"#,
        r#"int("7") == 7 && int(1.9) == 1 && double(7) == 7.0 && string(7) == "7" && string(true) == "true""#,
        r#"answer.class == "none" && answer.repair == "none" && answer.level == "normal""#,
        r#"count("a.b", 60s) == 0 && cooldown(60s)"#,
        r#"since("escalate") > 1000d // nothing ever called for it"#,
    ] {
        assert_eq!(
            holds(condition, &event, &context),
            Some(Ok(true)),
            "{condition}"
        );
    }
}

#[test]
fn what_is_missing_makes_no_condition_hold() {
    let context = testing::context(Vec::new());
    for condition in [
        "facts.age_ms > 1",
        "!(facts.age_ms > 1)",
        "finding.kind == \"a\"",
        "outcome.kind != \"a\"",
        "incident.acknowledged",
        "metrics.disk_free_percent < 100.0",
        "latest(\"nothing\") >= 0.0",
        "constraint(\"none\").value > 0.0",
        "incidents[0].acknowledged",
    ] {
        assert_eq!(
            holds(condition, &Event::Tick, &context),
            Some(Err(Trouble::Missing)),
            "{condition}"
        );
    }
    // What decides alone decides, as in CEL.
    for condition in [
        "event == \"tick\" || facts.age_ms > 1",
        "facts.age_ms > 1 || true",
    ] {
        assert_eq!(holds(condition, &Event::Tick, &context), Some(Ok(true)));
    }
    let condition = "facts.age_ms > 1 && event == \"finding\"";
    assert_eq!(holds(condition, &Event::Tick, &context), Some(Ok(false)));
}

#[test]
fn every_name_of_the_vocabulary_can_be_asked() {
    use crate::record::Record;
    use crate::vocabulary::{SHAPES, Shape, field_name, field_number};

    for (shape, _, fields) in SHAPES {
        for field in *fields {
            let number = field_number(*shape, field.name).unwrap();
            assert_eq!(field_name(number), field.name);
        }
    }
    let context = friday();
    let event = Event::Finding(offering("lock.end-holder", true));
    let rules: [Head<'_>; 0] = [];
    let scope = Scope {
        event: &event,
        context: &context,
        memory: &Memory::default(),
        said: &Said::default(),
        rules: &rules,
        own: 0,
    };
    for (record, shape) in [
        (Record::Incident(&context.incidents[0]), Shape::Incident),
        (Record::Maintenance, Shape::Maintenance),
        (Record::Time, Shape::Time),
        (Record::Said, Shape::Said),
        (
            Record::Constraint(&context.constraints[0]),
            Shape::Constraint,
        ),
        (Record::Finding(scope.finding().unwrap()), Shape::Finding),
    ] {
        let known = SHAPES.iter().find(|(known, ..)| *known == shape).unwrap();
        for field in known.2 {
            let value = record.field(field.name, &scope);
            assert!(value.is_some() || field.may_be_missing, "{}", field.name);
        }
        assert_eq!(record.field("no such field", &scope), None);
    }
}

/// What the crate `cel` says; none where it stops.
fn by_cel(condition: &str) -> Option<bool> {
    let env = std::sync::Arc::new(cel::Env::stdlib());
    let program = env.compile(condition).ok()?;
    let context = cel::Context::with_env(env);
    match program.execute(&context) {
        Ok(cel::Value::Bool(value)) => Some(value),
        _ => None,
    }
}

fn whole() -> impl Strategy<Value = String> {
    prop_oneof![
        (-9_i64..9).prop_map(|n| n.to_string()),
        Just("9223372036854775807".to_owned()),
        Just("9007199254740993".to_owned()),
    ]
}

fn number() -> impl Strategy<Value = String> {
    (-40_i32..40).prop_map(|n| format!("{:?}", f64::from(n) / 8.0))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\"\"".to_owned()),
        Just("'a'".to_owned()),
        Just("\"ab\"".to_owned()),
        Just("r'\\a'".to_owned()),
        Just("'\\n\\x41\\u00e4'".to_owned()),
        Just("\"\u{e4}A\"".to_owned()),
    ]
}

/// Texts of conditions over constants, most of them well-typed.
fn expression() -> impl Strategy<Value = String> {
    let truth = prop_oneof![Just("true".to_owned()), Just("false".to_owned())];
    let leaf = prop_oneof![
        truth,
        (whole(), whole()).prop_map(|(a, b)| format!("{a} < {b}")),
        (whole(), number()).prop_map(|(a, b)| format!("{a} >= {b}")),
        (whole(), number()).prop_map(|(a, b)| format!("{a} == {b}")),
        (text(), text()).prop_map(|(a, b)| format!("{a} + {b} <= {b}")),
        (text(), text()).prop_map(|(a, b)| format!("{a}.contains({b})")),
        (text(), text()).prop_map(|(a, b)| format!("size({a}) != {b}.size()")),
        (whole(), whole(), whole()).prop_map(|(a, b, c)| format!("{a} - {b} * {c} > -{a}")),
        (whole(), whole()).prop_map(|(a, b)| format!("{a} / {b} == {a} % {b}")),
        (number(), number()).prop_map(|(a, b)| format!("{a} / {b} > {a} + {b}")),
        (whole(), whole(), whole()).prop_map(|(a, b, c)| format!("{a} in [{b}, {c}]")),
        (whole(), whole(), whole())
            .prop_map(|(a, b, c)| format!("[{a}, {b}].exists(x, x / {c} > 0)")),
        (whole(), whole(), whole())
            .prop_map(|(a, b, c)| format!("[{a}, {b}].all(x, 10 / x > {c})")),
        (whole(), whole()).prop_map(|(a, b)| format!("[{a}, {b}].exists_one(x, x > 0)")),
        (whole(), whole())
            .prop_map(|(a, b)| format!("[{a}, {b}].filter(x, x > 0).map(x, x % 3) == [1, 2]")),
        whole().prop_map(|a| format!("[1, 2, 3][{a}] > 1")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} && {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || {b}")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) == ({b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_condition_means_what_cel_says(condition in expression()) {
        let context = testing::context(Vec::new());
        if let Some(ours) = holds(&condition, &Event::Tick, &context) {
            prop_assert_eq!(ours.ok(), by_cel(&condition), "{}", condition);
        }
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "[ -~\u{e4}\n]{0,60}", rule in "[a-z\".=' {}\\[\\]\n]{0,80}") {
        syntax::parse(&text).ok();
        let document = format!("version = 1\n[[rules]]\nname = \"a.b\"\n{rule}");
        document::compile(&document).ok();
        let condition = format!("version = 1\n[[rules]]\nname = \"a.b\"\nwhen = '''\n{text}'''\n");
        document::compile(&condition).ok();
    }
}
