use super::*;
use crate::model::{Alert, DataLoss, Finding, Reason, Urgency};
use crate::policy::{Limits, Runtime};
use crate::signing::Verified;

const CLASSES: [Classification; 4] = [
    Classification::Hiccup,
    Classification::Obstacle,
    Classification::Wall,
    Classification::Crisis,
];
const LEVELS: [EscalationLevel; 4] = [
    EscalationLevel::Normal,
    EscalationLevel::Watch,
    EscalationLevel::Warn,
    EscalationLevel::Escalate,
];
/// In the order of their risk, none first.
const REPAIRS: [Option<&str>; 4] = [None, Some("checkpoint"), Some("rebuild"), Some("cut")];

fn candidate(id: &str, level: CascadeLevel, commits: u64) -> Candidate {
    Candidate {
        id: id.into(),
        summary: String::new(),
        level,
        preconditions: Vec::new(),
        expected_duration_ms: 10,
        expected_loss: DataLoss {
            commits,
            percent: 0.0,
        },
        undoable: true,
    }
}

fn event() -> PolicyEvent {
    PolicyEvent::Finding(Finding {
        incident: "INC-1".into(),
        kind: "wal.oversized".into(),
        subject: "orders.db".into(),
        summary: String::new(),
        severity: 0.5,
        first_seen_ms: 0,
        last_seen_ms: 0,
        sightings: 1,
        facts: Vec::new(),
        evidence: Vec::new(),
        candidates: vec![
            candidate("cut", CascadeLevel::InPlace, 7),
            candidate("rebuild", CascadeLevel::Rebuild, 0),
            candidate("checkpoint", CascadeLevel::InPlace, 0),
        ],
    })
}

fn verdict(class: usize, level: usize, repair: usize) -> Verdict {
    Verdict {
        classification: Some(CLASSES[class]),
        level: LEVELS[level],
        repair: REPAIRS[repair].map(str::to_owned),
        halt: class == 3,
        confidence: 0.5 + f64::from(u8::try_from(level).unwrap()) / 10.0,
        verbosity: [Verbosity::Normal, Verbosity::Elevated, Verbosity::Incident][level.min(2)],
        alerts: Vec::new(),
        reasons: vec![Reason {
            rule: format!("rule.{class}-{level}-{repair}"),
            text: String::new(),
        }],
        suggestions: Vec::new(),
        memory: Vec::new(),
    }
}

fn every() -> impl Iterator<Item = (usize, usize, usize)> {
    (0..4).flat_map(|class| {
        (0..4).flat_map(move |level| (0..4).map(move |repair| (class, level, repair)))
    })
}

/// Every class × level × repair or none, against every other: 4096 pairs.
#[test]
fn of_every_two_verdicts_the_most_cautious_counts() {
    let event = event();
    for a in every() {
        for b in every() {
            let (x, y) = (verdict(a.0, a.1, a.2), verdict(b.0, b.1, b.2));
            let both = most_cautious([&x, &y], &event);
            assert_eq!(both.classification, Some(CLASSES[a.0.max(b.0)]));
            assert_eq!(both.level, LEVELS[a.1.max(b.1)]);
            assert_eq!(both.repair.as_deref(), REPAIRS[a.2.min(b.2)]);
            assert_eq!(both.halt, x.halt || y.halt);
            assert!(both.confidence <= x.confidence.min(y.confidence));
            for part in [&x, &y] {
                assert!(both.reasons.contains(&part.reasons[0]));
            }
            let other_way = most_cautious([&y, &x], &event);
            assert_eq!(
                Verdict {
                    reasons: Vec::new(),
                    ..both
                },
                Verdict {
                    reasons: Vec::new(),
                    ..other_way
                },
                "the order of the line changes only the order of the words"
            );
        }
    }
}

#[test]
fn three_in_line_are_as_two_and_one() {
    let event = event();
    let some: Vec<_> = every()
        .step_by(5)
        .map(|(c, l, r)| verdict(c, l, r))
        .collect();
    for a in &some {
        for b in &some {
            for c in &some {
                let two = most_cautious([a, b], &event);
                assert_eq!(
                    most_cautious([a, b, c], &event),
                    most_cautious([&two, c], &event)
                );
            }
        }
    }
}

#[test]
fn one_verdict_is_its_own_and_lists_stay_bounded() {
    let event = event();
    let mut one = verdict(1, 2, 3);
    one.memory = vec![1, 2, 3];
    assert_eq!(most_cautious([&one], &event), one);
    let chatty = |word: &str| Verdict {
        alerts: (0..ITEMS)
            .map(|n| Alert {
                rule: format!("{word}.{n}"),
                urgency: Urgency::Info,
                message: String::new(),
            })
            .collect(),
        ..verdict(0, 0, 0)
    };
    let both = most_cautious([&chatty("a"), &chatty("b")], &event);
    assert_eq!(both.alerts.len(), ITEMS);
    let same = most_cautious([&chatty("a"), &chatty("a")], &event);
    assert_eq!(same.alerts.len(), ITEMS);
    assert_eq!(nobody_judged(), most_cautious([], &event));
}

fn context() -> Context {
    Context {
        now_ms: 0,
        target: "orders".into(),
        level: EscalationLevel::Normal,
        level_since_ms: 0,
        repairs: Vec::new(),
        incidents: Vec::new(),
        constraints: Vec::new(),
        metrics: Vec::new(),
        settings: Vec::new(),
        memory: Vec::new(),
    }
}

/// Two policies of the same code and different digests.
fn two_policies() -> (Policy, Policy) {
    const DEFAULT: &[u8] = include_bytes!("../../../../policies/prebuilt/default.wasm");
    let runtime = Runtime::new(Limits {
        start_deadline_ms: 30_000,
        ..Limits::default()
    })
    .unwrap();
    // A section of its own at the end: one letter for a name, and no content.
    let other = [DEFAULT, &[0, 2, 1, b'n']].concat();
    let load = |component| runtime.load(&component, &[]).unwrap();
    (
        load(Verified::built_in(DEFAULT)),
        load(Verified::unsigned(other)),
    )
}

/// Asks a line; each policy adds one byte to what it remembers. Says who was asked, with how much
/// memory.
fn asked(line: &mut Line) -> Vec<(String, usize)> {
    let remember = |_: &str, _: &Policy, context: &Context| {
        let mut memory = context.memory.clone();
        memory.push(7);
        serde_json::from_value(serde_json::json!({
            "verdict": Verdict { memory, ..verdict(0, 0, 0) },
            "failure": null,
            "log": [],
        }))
        .unwrap()
    };
    let decided = line.decide(&event(), &context(), remember);
    let who = |part: &Part| (part.digest.to_string(), part.context.memory.len());
    decided.parts.iter().map(who).collect()
}

#[test]
fn memory_stays_with_the_place_and_a_running_repair_with_who_chose_it() {
    let (old, new) = two_policies();
    let digest = |policy: &Policy| policy.digest().to_owned();
    let mut line = Line::new([
        ("default".to_owned(), old.clone(), vec![1, 2, 3]),
        ("strict".to_owned(), old.clone(), Vec::new()),
    ]);
    assert_eq!(asked(&mut line), [(digest(&old), 3), (digest(&old), 0)]);
    assert!(!line.swap("nobody", &new, false));
    assert!(line.swap("default", &new, false));
    assert_eq!(asked(&mut line), [(digest(&new), 4), (digest(&old), 1)]);
    // While a repair runs, who chose it goes on being asked.
    assert!(line.swap("default", &old, true));
    assert_eq!(asked(&mut line)[0], (digest(&new), 5));
    line.repair_ended();
    assert_eq!(asked(&mut line)[0], (digest(&old), 6));
    // A later swap overtakes one that waits.
    assert!(line.swap("default", &new, true));
    assert!(line.swap("default", &old, false));
    line.repair_ended();
    assert_eq!(asked(&mut line)[0], (digest(&old), 7));
    let memories: Vec<_> = line.memories().map(|(name, m)| (name, m.len())).collect();
    assert_eq!(memories, [("default", 8), ("strict", 5)]);
}
