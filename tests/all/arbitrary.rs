//! Arbitrary verdicts through a real component: whatever a policy answers, the guard approves no
//! repair that was not offered.
//!
//! `DBMEDIC_ARBITRARY_CASES` asks for more cases, `DBMEDIC_ARBITRARY_SEED` for others.

use std::collections::BTreeMap;

use dbmedic::guard::{Choice, Guard, GuardLimits, Mode, Ruling};
use dbmedic::model::{
    Alert, Candidate, Classification, Context, EscalationLevel, Finding, PolicyEvent, Reason,
    Urgency, Verbosity, Verdict,
};
use dbmedic::policy::{Isolation, Limits, NoTelemetry, Runtime};
use dbmedic::signing::Verified;
use dbmedic_tests::{context, finding};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const PUPPET: &[u8] = include_bytes!("../guests/puppet/puppet.wasm");
const CASES: u32 = 20_000;

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Three candidates: one that may run, one that loses too much, one with an unmet precondition.
fn offer() -> Finding {
    let PolicyEvent::Finding(mut finding) = finding() else {
        unreachable!("it is one");
    };
    let plain = finding.candidates[0].clone();
    let mut lossy = Candidate {
        id: "db.rebuild".into(),
        ..plain.clone()
    };
    lossy.expected_loss.commits = 1_000_000;
    let mut unmet = Candidate {
        id: "wal.truncate".into(),
        ..plain
    };
    unmet.preconditions.push(dbmedic::model::Precondition {
        name: "no-other-process".into(),
        holds: false,
        detail: "process 4711 has it open".into(),
    });
    finding.candidates.extend([lossy, unmet]);
    finding
}

fn repair() -> impl Strategy<Value = Option<String>> {
    let offered = prop_oneof![
        Just("lock.end-holder"),
        Just("db.rebuild"),
        Just("wal.truncate")
    ];
    let near = prop_oneof![
        Just("lock.end-holder "),
        Just("Lock.end-holder"),
        Just("lock.end"),
        Just("lock.end-holder\0"),
        Just("lock.end-holder\u{200b}"),
        Just("l\u{43e}ck.end-holder"),
        Just(""),
        Just("*"),
        Just("lock.end-holder,db.rebuild"),
    ];
    option::of(prop_oneof![
        offered.prop_map(str::to_owned),
        near.prop_map(str::to_owned),
        ".{0,40}",
        "[a-z]{1,8}\\.[a-z-]{1,16}",
    ])
}

fn classification() -> impl Strategy<Value = Option<Classification>> {
    option::weighted(
        0.9,
        prop_oneof![
            Just(Classification::Hiccup),
            Just(Classification::Obstacle),
            Just(Classification::Wall),
            Just(Classification::Crisis)
        ],
    )
}

fn level() -> impl Strategy<Value = EscalationLevel> {
    prop_oneof![
        Just(EscalationLevel::Normal),
        Just(EscalationLevel::Watch),
        Just(EscalationLevel::Warn),
        Just(EscalationLevel::Escalate)
    ]
}

fn verbosity() -> impl Strategy<Value = Verbosity> {
    prop_oneof![
        Just(Verbosity::Normal),
        Just(Verbosity::Elevated),
        Just(Verbosity::Incident)
    ]
}

fn reason() -> impl Strategy<Value = Reason> {
    (rule(), ".{0,60}").prop_map(|(rule, text)| Reason { rule, text })
}

/// Mostly right, so that most verdicts come to the guard.
fn rule() -> impl Strategy<Value = String> {
    prop_oneof![19 => "[a-z]{1,9}\\.[a-z]{1,9}", 1 => ".{0,200}"]
}

fn alert() -> impl Strategy<Value = Alert> {
    let urgency = prop_oneof![
        Just(Urgency::Info),
        Just(Urgency::Warning),
        Just(Urgency::Critical)
    ];
    (rule(), urgency, ".{0,60}").prop_map(|(rule, urgency, message)| Alert {
        rule,
        urgency,
        message,
    })
}

fn confidence() -> impl Strategy<Value = f64> {
    prop_oneof![9 => 0.0..=1.0_f64, 1 => any::<f64>()]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let memory = prop_oneof![9 => vec(any::<u8>(), 0..64), 1 => vec(any::<u8>(), 0..20_000)];
    let lists = (
        vec(alert(), 0..3),
        vec(reason(), 0..4),
        vec(".{0,40}", 0..3),
        memory,
    );
    let words = (
        classification(),
        level(),
        repair(),
        any::<bool>(),
        confidence(),
        verbosity(),
    );
    (words, lists).prop_map(|(words, lists)| {
        let (classification, level, repair, halt, confidence, verbosity) = words;
        let (alerts, reasons, suggestions, memory) = lists;
        Verdict {
            classification,
            level,
            repair,
            halt,
            confidence,
            verbosity,
            alerts,
            reasons,
            suggestions,
            memory,
            needs_approval: false,
        }
    })
}

/// What the guard lets through of a choice, in the mode in which it lets most through.
fn approved(finding: &Finding, repair: &str) -> Option<String> {
    let mut guard = Guard::new(GuardLimits::default(), BTreeMap::new());
    let choice = Choice {
        target: "orders",
        finding,
        repair,
        history: &[],
        mode: Mode::Enforce,
        approved_by_person: true,
        needs_approval: false,
        denied: None,
        maintenance: None,
    };
    match guard.rule(1_000, &choice) {
        Ruling::Approved(repair) => Some(repair.candidate().id.clone()),
        Ruling::AwaitsPerson | Ruling::Refused(_) => None,
    }
}

#[test]
fn no_repair_that_was_not_offered_is_ever_approved() {
    let cases = u32::try_from(number_from("DBMEDIC_ARBITRARY_CASES", CASES.into())).unwrap();
    let seed = number_from("DBMEDIC_ARBITRARY_SEED", 1);
    println!("{cases} cases, seed {seed}");
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
    let mut runner = TestRunner::new_with_rng(config, rng);

    let runtime = Runtime::new(Limits {
        deadline_ms: 5_000,
        isolation: Isolation::Reused {
            recycle_after: 1_000,
        },
        ..Limits::default()
    })
    .unwrap();
    let puppet = runtime.load(&Verified::unsigned(PUPPET), &[]).unwrap();
    let finding = offer();
    let event = PolicyEvent::Finding(finding.clone());
    let allowed = "lock.end-holder";
    let outcome = runner.run(&verdict(), |raw| {
        let context = Context {
            memory: crate::common::packed(&raw),
            ..context(&puppet)
        };
        let decision = puppet.decide(&event, &context, &mut NoTelemetry);
        let chosen = decision.verdict.repair.as_deref();
        if let Some(id) = chosen {
            prop_assert!(finding.candidates.iter().any(|c| c.id == id), "{id:?}");
        }
        if decision.failure.is_none() {
            // It came through as it was sent; text apart, which is made printable.
            prop_assert_eq!(&decision.verdict.repair, &raw.repair);
            prop_assert_eq!(&decision.verdict.memory, &raw.memory);
        } else {
            prop_assert_eq!(chosen, None);
        }
        // The guard holds by itself too, had the answer not been checked.
        for repair in [chosen, raw.repair.as_deref()].into_iter().flatten() {
            let through = approved(&finding, repair);
            prop_assert_eq!(through.as_deref(), (repair == allowed).then_some(allowed));
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("seed {seed}: {error}");
    }
    // The counts show that both sides were tried.
    let status = puppet.status();
    let failures: u64 = status.failures.values().sum();
    let believed = status.decisions - failures;
    assert_eq!(status.decisions, u64::from(cases));
    assert!(believed > u64::from(cases) / 5, "{status:?}");
    assert!(status.failures.contains_key("policy.unknown-candidate"));
    assert!(status.failures.contains_key("policy.malformed-answer"));
    println!("{believed} believed, {failures} ended in caution");
}
