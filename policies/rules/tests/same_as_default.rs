//! The default rules, held against the default policy: both are asked the same, and both must say the
//! same, over stories made at random from every kind of problem with facts at and around the thresholds.

use dbmedic_policy::{
    CascadeLevel, Classification, Context, EscalationLevel, Event, Finding, OpenIncident, Outcome,
    OutcomeResult, Precondition, RepairHistory, Value, Verdict,
    problems::{CATALOGUE, FactType},
    testing::{self, candidate},
};
use default_policy::DefaultPolicy;
use proptest::prelude::*;
use rules_policy::RulesPolicy;

/// Repairs that the host offers for some kind.
const REPAIRS: [(&str, CascadeLevel); 9] = [
    ("lock.end-holder", CascadeLevel::InPlace),
    ("lock.resume-holder", CascadeLevel::InPlace),
    ("wal.release-reader", CascadeLevel::InPlace),
    ("wal.checkpoint", CascadeLevel::InPlace),
    ("wal.keep-valid-prefix", CascadeLevel::Replay),
    ("index.rebuild", CascadeLevel::InPlace),
    ("fulltext.rebuild", CascadeLevel::InPlace),
    ("file.restore-snapshot", CascadeLevel::Snapshot),
    ("wal.set-aside", CascadeLevel::InPlace),
];

/// At and around each threshold of the rules.
fn fact_value(of: FactType) -> BoxedStrategy<Value> {
    match of {
        FactType::Count => prop_oneof![
            4 => (0_i64..4).prop_map(Value::Integer),
            4 => prop_oneof![Just(299_999_i64), Just(300_000), Just(300_001), Just(1_800_001), Just(95), Just(100)]
                .prop_map(Value::Integer),
            1 => Just(Value::Integer(-1)),
            1 => Just(Value::Text("x".into())),
        ]
        .boxed(),
        FactType::Number => prop_oneof![
            Just(Value::Number(0.5)),
            Just(Value::Integer(2)),
            Just(Value::Boolean(true))
        ]
        .boxed(),
        FactType::Flag => prop_oneof![
            4 => any::<bool>().prop_map(Value::Boolean),
            1 => Just(Value::Integer(1)),
        ]
        .boxed(),
        FactType::Text => prop_oneof![
            Just(Value::Text("batch".into())),
            Just(Value::Text("encrypted".into())),
            Just(Value::Text("query_ms".into())),
            Just(Value::Text("wal_size".into())),
            Just(Value::Boolean(false)),
        ]
        .boxed(),
    }
}

fn finding() -> impl Strategy<Value = Finding> {
    let severity = prop_oneof![
        Just(0.0),
        Just(0.49),
        Just(0.5),
        Just(0.69),
        Just(0.7),
        Just(0.79),
        Just(0.8),
        Just(1.0)
    ];
    let offered = prop::collection::vec((0..REPAIRS.len(), any::<bool>(), any::<bool>()), 0..4);
    let age = prop_oneof![Just(0_u64), Just(60_000), Just(60_001)];
    (0..=CATALOGUE.len(), severity, offered, age, any::<bool>()).prop_flat_map(
        |(at, severity, offered, age_ms, second)| {
            let known = CATALOGUE.get(at);
            let kind = known.map_or("disk.on-fire", |(kind, _)| kind);
            let facts: Vec<_> = known
                .map_or(&[][..], |(_, facts)| facts)
                .iter()
                .map(|(name, of)| {
                    prop::option::weighted(0.85, fact_value(*of))
                        .prop_map(move |value| value.map(|value| (*name, value)))
                })
                .collect();
            facts.prop_map(move |facts| {
                let facts: Vec<_> = facts.into_iter().flatten().collect();
                let mut finding = testing::finding(kind, &facts);
                finding.severity = severity;
                finding.first_seen_ms = 10_000_000 - age_ms;
                if second {
                    finding.subject = "second".into();
                }
                let mut seen = Vec::new();
                for (repair, holds, undoable) in &offered {
                    if seen.contains(repair) {
                        continue;
                    }
                    seen.push(*repair);
                    let (id, level) = REPAIRS[*repair];
                    let mut candidate = candidate(id, level);
                    candidate.undoable = *undoable;
                    candidate.preconditions.push(Precondition {
                        name: "lone".into(),
                        holds: *holds,
                        detail: "as seen".into(),
                    });
                    finding.candidates.push(candidate);
                }
                finding
            })
        },
    )
}

#[derive(Debug, Clone)]
enum What {
    Finding(Finding),
    Outcome(OutcomeResult, usize, u64),
    Tick,
}

/// One event, how long after the one before, and what the host knows.
#[derive(Debug, Clone)]
struct Step {
    what: What,
    after_ms: u64,
    metrics: Vec<(&'static str, f64)>,
    failures_in_a_row: u32,
    successes: u32,
    violations: u64,
    /// The classes of the incidents that are open, none for one that nobody has classified.
    open: Vec<Option<Classification>>,
}

fn step() -> impl Strategy<Value = Step> {
    let result = prop_oneof![
        3 => Just(OutcomeResult::Verified),
        1 => Just(OutcomeResult::RolledBack),
        1 => Just(OutcomeResult::Refused),
        1 => Just(OutcomeResult::Failed),
    ];
    let what = prop_oneof![
        6 => finding().prop_map(What::Finding),
        3 => (result, 0..CATALOGUE.len(), 0..2_u64).prop_map(|(r, k, l)| What::Outcome(r, k, l)),
        2 => Just(What::Tick),
    ];
    let after = prop_oneof![
        Just(0_u64),
        Just(1_000),
        Just(60_000),
        Just(300_000),
        Just(300_001),
        Just(600_001),
        Just(3_600_001)
    ];
    let metric = prop_oneof![
        (
            Just("disk_free_percent"),
            prop_oneof![Just(9.9), Just(10.0), Just(19.9), Just(20.0)]
        ),
        (
            Just("error_rate_percent"),
            prop_oneof![Just(5.0), Just(5.1)]
        ),
        (Just("corruption_count"), prop_oneof![Just(0.0), Just(2.0)]),
    ];
    let class = prop_oneof![
        Just(None),
        Just(Some(Classification::Hiccup)),
        Just(Some(Classification::Obstacle)),
        Just(Some(Classification::Wall)),
        Just(Some(Classification::Crisis)),
    ];
    (
        what,
        after,
        prop::collection::vec(metric, 0..2),
        0..5_u32,
        0..5_u32,
        0..7_u64,
        prop::collection::vec(class, 0..3),
    )
        .prop_map(
            |(what, after_ms, metrics, failures_in_a_row, successes, violations, open)| Step {
                what,
                after_ms,
                metrics,
                failures_in_a_row,
                successes,
                violations,
                open,
            },
        )
}

/// What one policy remembers on its own.
struct Side {
    settings: Vec<u8>,
    memory: Vec<u8>,
}

fn context_of(step: &Step, now_ms: u64, level: (EscalationLevel, u64)) -> (Event, Context) {
    let mut context = testing::context(Vec::new());
    context.now_ms = now_ms;
    (context.level, context.level_since_ms) = level;
    context.metrics = step
        .metrics
        .iter()
        .map(|(name, value)| dbmedic_policy::Metric {
            name: (*name).into(),
            value: *value,
        })
        .collect();
    let event = match &step.what {
        What::Finding(finding) => {
            let mut finding = finding.clone();
            let age_ms = 10_000_000 - finding.first_seen_ms;
            finding.first_seen_ms = now_ms - age_ms;
            finding.last_seen_ms = now_ms;
            Event::Finding(finding)
        }
        What::Outcome(result, kind, lost) => Event::Outcome(Outcome {
            incident: "i-1".into(),
            kind: CATALOGUE[*kind].0.into(),
            subject: "main".into(),
            repair: REPAIRS[*kind % REPAIRS.len()].0.into(),
            outcome_result: *result,
            reason: "as seen".into(),
            duration_ms: 700,
            loss: dbmedic_policy::DataLoss {
                commits: *lost,
                ..testing::NO_LOSS
            },
            notes: Vec::new(),
        }),
        What::Tick => Event::Tick,
    };
    let kind = match &event {
        Event::Finding(finding) => finding.kind.clone(),
        Event::Outcome(outcome) => outcome.kind.clone(),
        Event::Tick => "some.kind".into(),
    };
    for (repair, _) in REPAIRS {
        context.repairs.push(RepairHistory {
            kind: kind.clone(),
            repair: repair.into(),
            successes: step.successes,
            failures: step.failures_in_a_row,
            failures_in_a_row: step.failures_in_a_row,
            last_ms: 0,
        });
    }
    for name in ["wal_size", "main"] {
        context.constraints.push(dbmedic_policy::ConstraintState {
            name: name.into(),
            metric: "wal_bytes".into(),
            value: 1_200.0,
            lower: None,
            upper: Some(1_000.0),
            utilization: 1.2,
            status: dbmedic_policy::ConstraintStatus::Critical,
            violations_ms: (0..step.violations).map(|n| now_ms - n * 12_000).collect(),
        });
    }
    for (id, classification) in ["i-1", "i-9"].into_iter().zip(&step.open) {
        context.incidents.push(OpenIncident {
            id: id.into(),
            kind: kind.clone(),
            subject: "main".into(),
            opened_ms: 0,
            sightings: 1,
            classification: *classification,
            acknowledged: None,
            answers: Vec::new(),
        });
    }
    (event, context)
}

/// Everything but the memory; reasons by their names and texts, in whatever order.
fn comparable(mut verdict: Verdict) -> Verdict {
    verdict.memory.clear();
    verdict
        .reasons
        .sort_by(|a, b| (&a.rule, &a.text).cmp(&(&b.rule, &b.text)));
    verdict.suggestions.sort();
    verdict.alerts.sort_by(|a, b| a.rule.cmp(&b.rule));
    verdict
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_say_the_same(steps in prop::collection::vec(step(), 1..8)) {
        let mut rules = Side {
            settings: dbmedic_policy::configure::<RulesPolicy>(&[]).unwrap(),
            memory: Vec::new(),
        };
        let mut default = Side {
            settings: dbmedic_policy::configure::<DefaultPolicy>(&[]).unwrap(),
            memory: Vec::new(),
        };
        let mut now_ms = 10_000_000;
        let mut level = (EscalationLevel::Normal, 0);
        for step in &steps {
            now_ms += step.after_ms;
            let (event, mut context) = context_of(step, now_ms, level);
            context.settings.clone_from(&default.settings);
            context.memory = std::mem::take(&mut default.memory);
            let expected = dbmedic_policy::decide::<DefaultPolicy>(&event, &context).unwrap();
            context.settings.clone_from(&rules.settings);
            context.memory = std::mem::take(&mut rules.memory);
            let verdict = dbmedic_policy::decide::<RulesPolicy>(&event, &context).unwrap();
            default.memory.clone_from(&expected.memory);
            rules.memory.clone_from(&verdict.memory);
            if expected.level != level.0 {
                level = (expected.level, now_ms);
            }
            let (verdict, expected) = (comparable(verdict), comparable(expected));
            prop_assert_eq!(&verdict.classification, &expected.classification);
            prop_assert_eq!(&verdict.level, &expected.level);
            prop_assert_eq!(&verdict.repair, &expected.repair);
            prop_assert_eq!(verdict, expected);
        }
    }
}
