use super::*;
use crate::model::{Alert, DataLoss, Finding, Maintenance, Reason, Urgency};
use crate::policy::Telemetry;

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
        expected_loss: DataLoss::of(commits, 0.0),
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
        needs_approval: false,
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

#[test]
fn none_silences_another() {
    let event = event();
    let noisy = |word: &str, urgent: usize| Verdict {
        alerts: (0..ITEMS)
            .map(|n| Alert {
                rule: format!("{word}.{n}"),
                urgency: if n < ITEMS - urgent {
                    Urgency::Info
                } else {
                    Urgency::Critical
                },
                message: String::new(),
            })
            .collect(),
        suggestions: (0..ITEMS).map(|n| format!("{word} {n}")).collect(),
        ..verdict(0, 0, 0)
    };
    let quiet = Verdict {
        alerts: vec![Alert {
            rule: "quiet".into(),
            urgency: Urgency::Critical,
            message: String::new(),
        }],
        suggestions: vec!["quiet".into()],
        ..verdict(1, 1, 1)
    };
    let all = most_cautious([&noisy("a", 2), &noisy("b", 40), &quiet], &event);
    assert_eq!((all.alerts.len(), all.suggestions.len()), (ITEMS, ITEMS));
    let of = |word: &str| {
        all.alerts
            .iter()
            .filter(|a| a.rule.starts_with(word))
            .count()
    };
    assert_eq!((of("a"), of("b"), of("quiet")), (32, 31, 1));
    let urgent = |word: &str| {
        let urgent = all.alerts.iter().filter(|a| a.urgency == Urgency::Critical);
        urgent.filter(|a| a.rule.starts_with(word)).count()
    };
    // The weightiest of each: both of the one, as many as it may say of the other.
    assert_eq!((urgent("a"), urgent("b")), (2, 31));
    assert_eq!(all.suggestions[0], "a 0");
    assert_eq!(all.suggestions[ITEMS - 1], "quiet");
    assert_eq!(all.reasons.len(), 2, "that both said the same counts once");
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
        maintenance: Maintenance::default(),
        local_time: None,
        settings: Vec::new(),
        memory: Vec::new(),
        target_kind: "sqlite".into(),
    }
}

/// A policy by its digest. It is never asked: what it would answer is given beside it.
#[derive(Debug)]
struct Named(Arc<str>);

impl Decider for Named {
    fn identity(&self) -> PolicyIdentity {
        PolicyIdentity {
            name: "default".into(),
            version: "1.0.0".into(),
            digest: self.0.to_string(),
        }
    }

    fn digest(&self) -> &str {
        &self.0
    }

    fn shared_digest(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    fn signer(&self) -> Signer {
        Signer::Nobody
    }

    fn settings(&self) -> &[u8] {
        &[]
    }

    fn decide_with(
        &self,
        _event: &PolicyEvent,
        _context: &Context,
        _lent: Box<dyn Telemetry>,
    ) -> (Decision, Box<dyn Telemetry>) {
        unreachable!("the tests answer in its place")
    }

    fn recycle(&self, _target: &str) {}
}

/// Two policies of the same name and different digests.
fn two_policies() -> (Policy, Policy) {
    (Arc::new(Named("a1".into())), Arc::new(Named("b2".into())))
}

type Policy = Arc<dyn Decider>;

/// Asks a line; each policy adds one byte to what it remembers. Says who was asked, with how much
/// memory.
fn asked(line: &mut Line) -> Vec<(String, usize)> {
    let remember = |_: &str, _: &dyn Decider, context: &Context| {
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

/// A place in which a policy that nobody signed begins with a memory of so many bytes.
fn place(name: &str, policy: &Policy, bytes: usize) -> Beginning {
    let memories = vec![Remembered {
        owner: None,
        memory: vec![1; bytes],
    }];
    Beginning {
        name: name.into(),
        policy: Arc::clone(policy),
        signer: Signer::Nobody,
        remembrance: Remembrance {
            memories,
            left: None,
        },
    }
}

/// The same places with what the line remembers, as after a restart, with these policies in service.
fn restarted(line: &Line, policy: &Policy, signer: &Signer) -> Line {
    Line::new(line.remembrances().map(|(name, remembrance)| Beginning {
        name: name.to_owned(),
        policy: Arc::clone(policy),
        signer: signer.clone(),
        remembrance,
    }))
}

/// How many bytes the first policy was handed.
fn len(line: &mut Line) -> usize {
    asked(line)[0].1
}

fn all_proven(_: &str) -> bool {
    true
}

fn none_proven(_: &str) -> bool {
    false
}

fn key(id: &str) -> Signer {
    Signer::Key(id.into())
}

#[test]
fn each_policy_has_its_own_memory_and_a_running_repair_stays_with_who_chose_it() {
    let (old, new) = two_policies();
    let digest = |policy: &Policy| policy.digest().to_string();
    let (ours, nobody) = (key("A"), Signer::Nobody);
    let mut line = Line::new([place("default", &old, 3), place("strict", &old, 0)]);
    assert_eq!(asked(&mut line), [(digest(&old), 3), (digest(&old), 0)]);
    assert!(!line.swap("nobody", &new, &ours, all_proven, false));
    assert!(line.swap("default", &new, &ours, all_proven, false));
    // Of the same name and signed by another: it sees nothing of what was there, nor does the place
    // beside it.
    assert_eq!(asked(&mut line), [(digest(&new), 0), (digest(&old), 1)]);
    assert_eq!(len(&mut line), 1);
    // While a repair runs, who chose it goes on being asked.
    assert!(line.swap("default", &old, &nobody, all_proven, true));
    assert_eq!(asked(&mut line)[0], (digest(&new), 2));
    line.repair_ended();
    assert_eq!(asked(&mut line)[0], (digest(&old), 4), "its own again");
    // A later swap overtakes one that waits.
    assert!(line.swap("default", &new, &ours, all_proven, true));
    assert!(line.swap("default", &old, &nobody, all_proven, false));
    line.repair_ended();
    assert_eq!(asked(&mut line)[0], (digest(&old), 5));
    let kept: Vec<_> = line
        .remembrances()
        .map(|(name, all)| (name.to_owned(), all.memories.len()))
        .collect();
    assert_eq!(kept, [("default".to_owned(), 2), ("strict".to_owned(), 1)]);
}

#[test]
fn a_new_version_takes_over_and_a_component_that_returns_finds_what_it_left() {
    let (old, new) = two_policies();
    let other: Policy = Arc::new(Named(old.shared_digest()));
    let ours = Signer::Nobody;
    for repairing in [false, true] {
        let mut line = Line::new([place("default", &old, 3)]);
        let proven = |of: &str| of == old.digest();
        let swap = |line: &mut Line, to: &Policy| {
            assert!(line.swap("default", to, &ours, proven, repairing));
            line.repair_ended();
        };
        swap(&mut line, &new);
        assert_eq!((len(&mut line), len(&mut line)), (3, 4), "it takes over");
        // The same component again is no other policy.
        swap(&mut line, &new);
        assert_eq!(len(&mut line), 5);
        swap(&mut line, &other);
        assert_eq!(len(&mut line), 3, "it gets what it had left");
        // Only what proved itself is kept, once.
        let (_, all) = line.remembrances().next().unwrap();
        assert_eq!((all.left, all.memories.len()), (None, 1));
    }
    // Over a restart, on either side of the swap, and while it waits for a repair.
    let proven = |of: &str| of == old.digest();
    let mut before = Line::new([place("default", &old, 3)]);
    before.swap("default", &new, &ours, proven, true);
    assert_eq!(len(&mut restarted(&before, &old, &ours)), 3);
    let mut after = restarted(&before, &new, &ours);
    assert_eq!((len(&mut after), len(&mut after)), (3, 4));
    let mut after = restarted(&after, &new, &ours);
    assert_eq!(len(&mut after), 5);
    after.swap("default", &old, &ours, proven, false);
    assert_eq!(len(&mut after), 3);
}

#[test]
fn another_policy_never_gets_what_is_kept_not_even_over_a_restart() {
    let (old, new) = two_policies();
    let (ours, theirs) = (key("A"), key("B"));
    let mut line = Line::new([place("default", &old, 3)]);
    line.sign(old.digest(), &ours);
    assert_eq!(len(&mut line), 3);
    // It comes up with another policy in service.
    let mut line = restarted(&line, &new, &theirs);
    assert_eq!((len(&mut line), len(&mut line)), (0, 1));
    let mut line = restarted(&line, &old, &ours);
    assert_eq!(len(&mut line), 4, "its own");
    let mut line = restarted(&line, &new, &theirs);
    assert_eq!(len(&mut line), 2, "its own");
}

#[test]
fn a_component_that_is_signed_by_another_key_keeps_its_memory_and_so_do_its_versions() {
    let (old, new) = two_policies();
    let (ours, next) = (key("A"), key("B"));
    let begin = || {
        let mut line = Line::new([place("default", &old, 3)]);
        line.sign(old.digest(), &ours);
        line
    };
    // Signed again while it runs, or while dbmedic does not.
    let mut running = begin();
    running.sign(old.digest(), &next);
    for mut line in [running, restarted(&begin(), &old, &next)] {
        assert_eq!(len(&mut line), 3);
        line.swap("default", &new, &next, all_proven, false);
        assert_eq!(len(&mut line), 4, "a new version by the new key");
    }
    // A new version by a key that never signed the one before.
    let mut line = begin();
    line.swap("default", &new, &next, all_proven, false);
    assert_eq!(len(&mut line), 0);
    // Signed again while another one decides.
    line.sign(old.digest(), &next);
    line.swap("default", &old, &next, none_proven, false);
    assert_eq!(len(&mut line), 3);
}

#[test]
fn what_kept_failing_begins_anew_when_it_is_tried_again() {
    let (old, new) = two_policies();
    let ours = key("A");
    let mut line = Line::new([place("default", &old, 3)]);
    line.swap("default", &new, &ours, all_proven, false);
    assert_eq!((len(&mut line), len(&mut line)), (0, 1));
    line.swap("default", &old, &Signer::Nobody, none_proven, false);
    assert_eq!(len(&mut line), 3);
    line.swap("default", &new, &ours, all_proven, false);
    assert_eq!(len(&mut line), 0);
}
