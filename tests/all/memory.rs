//! A policy's memory is its own: over swaps, rollbacks, new keys and restarts, in lines of several, and
//! beside other targets. Real components; the one that counts in raw bytes would go on from whatever
//! it is handed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dbmedic::gate::{GateSettings, ProbationSettings, ShadowSettings, Source};
use dbmedic::model::{Setting, Value};
use dbmedic::pipeline::{Carried, Event, Pipeline, PipelineOptions, Policies};
use dbmedic::policy::{Limits, Policy, Runtime, Signer, Standing};
use dbmedic::signing::{self, NewKeys, Verified};
use dbmedic_tests::observed;

use crate::common::{data, run, talk};
use crate::ward::{Answer, Ward, WardOptions, called, signed, trusted};

const DEFAULT: &[u8] = include_bytes!("../../policies/prebuilt/default.wasm");
const TYPICAL: &[u8] = include_bytes!("../guests/typical/typical.wasm");
const PUPPET: &[u8] = include_bytes!("../guests/puppet/puppet.wasm");
const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/hostile/hostile.wasm");

fn misbehave(how: &str) -> Vec<Setting> {
    vec![Setting {
        name: "misbehave".into(),
        value: Value::Text(how.into()),
    }]
}

fn runtime() -> Runtime {
    Runtime::new(Limits {
        deadline_ms: 5_000,
        start_deadline_ms: 30_000,
        ..Limits::default()
    })
    .unwrap()
}

/// Two targets with two policies in line each.
fn two_targets() -> PipelineOptions {
    let mut options = observed("orders");
    let mut line = options.targets["orders"].clone();
    line.policies = vec!["default".into(), "careful".into()];
    options.targets.insert("books".into(), line.clone());
    options.targets.insert("orders".into(), line);
    options
}

/// Lets time pass once, and says what each policy was handed, by target and place.
fn tick(pipeline: &mut Pipeline, at_ms: u64) -> BTreeMap<(String, String), Vec<u8>> {
    pipeline.step(&Event::Tick { at_ms });
    let made = pipeline.take_made();
    let parts = made.into_iter().flat_map(|made| {
        let target = made.target;
        let of = move |part: dbmedic::policy::Part| {
            let place = (target.clone(), part.policy.to_string());
            (place, part.context.memory)
        };
        made.parts.into_iter().map(of)
    });
    parts.collect()
}

fn swap(pipeline: &mut Pipeline, place: &str, to: &Policy, signer: Signer) {
    pipeline.step(&Event::PolicySigned {
        at_ms: 5,
        digest: to.digest().to_owned(),
        signer,
    });
    pipeline.stand_by(place, to.clone());
    let effects = pipeline.step(&Event::PolicySwapped {
        policy: place.into(),
        at_ms: 5,
        to: to.identity(),
        why: "a test".into(),
        standing: Standing::Proven,
    });
    assert_eq!(effects.len(), 1, "{effects:?}");
}

/// As a restart carries it over.
fn restarted(pipeline: &Pipeline, policies: Policies) -> Pipeline {
    let carried = serde_json::to_string(&pipeline.carried()).unwrap();
    let carried: Carried = serde_json::from_str(&carried).unwrap();
    Pipeline::new(two_targets(), policies, carried)
}

#[test]
fn each_policy_of_each_target_has_its_own() {
    let runtime = runtime();
    let load = |bytes: &[u8], settings: &[Setting]| {
        let component = Verified::unsigned(bytes);
        runtime.load(&component, settings).unwrap()
    };
    let (default, typical) = (load(DEFAULT, &[]), load(TYPICAL, &[]));
    let counter = load(&called("hostile", 1), &misbehave("memory-counter"));
    let policies = Policies::new(
        default.clone(),
        BTreeMap::from([("careful".to_owned(), typical.clone())]),
    );
    let mut pipeline = Pipeline::new(two_targets(), policies, Carried::default());
    assert!(tick(&mut pipeline, 1).values().all(Vec::is_empty));
    let before = tick(&mut pipeline, 2);
    assert_eq!(before.len(), 4);
    let own = |target: &str, place: &str| (target.to_owned(), place.to_owned());
    assert_ne!(
        before[&own("orders", "default")],
        before[&own("orders", "careful")]
    );

    // A counter comes in the place of the default policy, in both targets.
    let key = || Signer::Key("A".into());
    swap(&mut pipeline, "default", &counter, key());
    for count in 0..3_u64 {
        let handed = tick(&mut pipeline, 10 + count);
        for target in ["orders", "books"] {
            let memory = &handed[&own(target, "default")];
            let expected = if count == 0 {
                Vec::new()
            } else {
                count.to_le_bytes().into()
            };
            assert_eq!(*memory, expected, "{target}");
            assert_eq!(
                handed[&own(target, "careful")],
                before[&own(target, "careful")]
            );
        }
    }
    // Over a restart it counts on, and the default policy finds its own again.
    let policies = Policies::new(
        counter.clone(),
        BTreeMap::from([("careful".to_owned(), typical.clone())]),
    );
    let mut pipeline = restarted(&pipeline, policies);
    let handed = tick(&mut pipeline, 20);
    assert_eq!(handed[&own("books", "default")], 3_u64.to_le_bytes());
    swap(&mut pipeline, "default", &default, Signer::Nobody);
    let handed = tick(&mut pipeline, 21);
    for place in [own("orders", "default"), own("books", "default")] {
        assert_eq!(handed[&place], before[&place], "{place:?}");
    }
    // The same component by a key that did not sign the one before, in another place: empty.
    swap(&mut pipeline, "careful", &counter, key());
    assert_eq!(
        tick(&mut pipeline, 22)[&own("orders", "careful")],
        Vec::<u8>::new()
    );
}

#[test]
fn what_answers_by_its_memory_is_never_handed_what_another_one_wrote() {
    let runtime = runtime();
    let load = |bytes: &[u8]| runtime.load(&Verified::unsigned(bytes), &[]).unwrap();
    let (default, puppet) = (load(DEFAULT), load(PUPPET));
    let options = observed("orders");
    let mut pipeline = Pipeline::new(options, default.clone(), Carried::default());
    for round in 0..4_u64 {
        tick(&mut pipeline, round * 10 + 1);
        let own = tick(&mut pipeline, round * 10 + 2);
        let own = own.values().next().unwrap().clone();
        assert!(!own.is_empty());
        swap(&mut pipeline, "default", &puppet, Signer::Nobody);
        let handed = tick(&mut pipeline, round * 10 + 3);
        assert!(handed.values().all(Vec::is_empty), "{handed:?}");
        swap(&mut pipeline, "default", &default, Signer::Nobody);
        let handed = tick(&mut pipeline, round * 10 + 4);
        assert_eq!(*handed.values().next().unwrap(), own);
    }
}

fn options(file: &Path, keys: &[(&str, &NewKeys)]) -> WardOptions {
    let mut options = WardOptions {
        source: Source::File(file.to_owned()),
        settings: misbehave("memory-counter"),
        gate: GateSettings {
            allow_downgrade: false,
            shadow: ShadowSettings {
                decisions: 3,
                ..ShadowSettings::default()
            },
            probation: ProbationSettings {
                decisions: 5,
                slow_ms: 10_000,
                ..ProbationSettings::default()
            },
        },
        ..WardOptions::default()
    };
    options.trust.keys = keys.iter().map(|(name, key)| trusted(name, key)).collect();
    options
}

fn count(answer: &Answer) -> u64 {
    let bytes = answer.handed.first_chunk().copied();
    bytes.map_or(0, u64::from_le_bytes)
}

/// The first and the last count of each time that a component was in service, in their order.
fn services(answers: &[Answer]) -> Vec<(String, u64, u64)> {
    let mut all: Vec<(String, u64, u64)> = Vec::new();
    for answer in answers {
        let count = count(answer);
        match all.last_mut() {
            Some((digest, _, last)) if *digest == answer.digest => {
                assert_eq!(count, *last + 1, "each takes up what it left");
                *last = count;
            }
            _ => all.push((answer.digest.clone(), count, count)),
        }
    }
    all
}

#[test]
fn a_rollback_brings_the_memory_back_and_a_new_key_keeps_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (old, new) = (
        signing::generate(&signing::Password::None).unwrap(),
        signing::generate(&signing::Password::None).unwrap(),
    );
    let one = called("hostile", 1);
    let first = signed(dir, "one.wasm", &one, &old);
    let options = options(&first, &[("old", &old), ("new", &new)]);
    let bring = |ward: &Ward, file: &Path| {
        let digest = signing::sha256(&fs::read(file).unwrap());
        ward.swap("default", file).unwrap();
        ward.until_in_service("default", &digest);
        ward.until_at_rest("default");
        ward.decide_some(5);
        digest
    };
    let ward = Ward::start(dir, options.clone());
    let v1 = ward.present("default");
    ward.decide_some(5);
    // A new version of the same key, and back.
    let v2 = bring(&ward, &signed(dir, "two.wasm", &called("hostile", 2), &old));
    ward.roll_back("default").unwrap();
    ward.until_in_service("default", &v1);
    ward.decide_some(5);
    // The key changes: the policy in service is signed by the new one, then a version of it comes.
    signed(dir, "one.wasm", &one, &new);
    ward.swap("default", &first).unwrap();
    assert_eq!(ward.present("default"), v1);
    let v3 = bring(
        &ward,
        &signed(dir, "three.wasm", &called("hostile", 3), &new),
    );
    let before = services(&ward.stop());
    // It comes up with what was in service, and another policy, though of the same key, begins anew.
    let ward = Ward::start(dir, options);
    ward.decide_some(5);
    let other = bring(
        &ward,
        &signed(dir, "other.wasm", &called("foreign", 4), &new),
    );
    // And so does one of the same name by a key that never signed the one before.
    let strange = bring(
        &ward,
        &signed(dir, "five.wasm", &called("hostile", 5), &old),
    );
    let after = services(&ward.stop());

    let digests = |all: &[(String, u64, u64)]| -> Vec<String> {
        all.iter().map(|(digest, ..)| digest.clone()).collect()
    };
    assert_eq!(digests(&before), [&v1, &v2, &v1, &v3].map(Clone::clone));
    assert_eq!(digests(&after), [v3, other, strange]);
    let [first_time, second, again, third] = &before[..] else {
        panic!("{before:?}")
    };
    assert_eq!(first_time.1, 0, "the first is handed nothing");
    assert_eq!(second.1, first_time.2 + 1, "a new version takes over");
    assert_eq!(again.1, first_time.2 + 1, "a rollback: as before the swap");
    assert_eq!(
        third.1,
        again.2 + 1,
        "a new version by the new key takes over"
    );
    assert_eq!(after[0].1, third.2 + 1, "a restart keeps it");
    assert_eq!(
        (after[1].1, after[2].1),
        (0, 0),
        "another policy begins anew"
    );
}

#[test]
fn the_check_tries_foreign_and_damaged_bytes() {
    let default = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../policies/prebuilt/default.wasm"
    );
    let check = |more: &[&str]| run(&[&["policy", "check"], more].concat());
    let good = check(&[default]);
    assert_eq!(good.status.code(), Some(0), "{}", data(&good));
    assert!(data(&good).contains("ok     memory "), "{}", data(&good));
    // What only counts on is odd, but judges as it should.
    let counts = check(&[HOSTILE, "--set", "misbehave=memory-counter"]);
    assert_eq!(counts.status.code(), Some(0), "{}", data(&counts));
    for (how, expected) in [
        ("memory-number", "with 8 random bytes: crisis, watch, "),
        ("memory-index", "with one byte 0xff: "),
    ] {
        let result = check(&[HOSTILE, "--set", &format!("misbehave={how}")]);
        assert_eq!(result.status.code(), Some(1), "{how}: {}", data(&result));
        let told = data(&result);
        assert!(told.contains("FAILED memory "), "{how}: {told}");
        assert!(told.contains("ok     purity "), "{how}: {told}");
        let event = "       typical events, constraints: a bound that is broken once is an obstacle: event 1";
        assert!(
            told.contains(event) && told.contains(expected),
            "{how}: {told}"
        );
        assert!(talk(&result).contains("must not come into service"));
        let set = format!("misbehave={how}");
        let json = data(&check(&[HOSTILE, "--set", &set, "--json"]));
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(report["passed"], false);
        let fault = &report["memory"]["faults"][0];
        assert!(
            fault["event"].as_str().unwrap().contains("event 1 ("),
            "{report}"
        );
    }
}
