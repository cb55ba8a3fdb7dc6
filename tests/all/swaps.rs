//! Many swaps under load with bad candidates of every kind among them: no event is lost or decided
//! twice, and no bad candidate's answer ever counts. 200 swaps, or as many as the environment variable
//! `DBMEDIC_TEST_SWAPS` says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dbmedic::gate::{CandidateState, GateSettings, ProbationSettings, ShadowSettings, Source};
use dbmedic::signing::{self, NewKeys, Password};
use dbmedic_tests::attacks;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::common::wait_for;
use crate::ward::{
    Ward, WardOptions, assert_none_lost_or_doubled, component, fails_to_decide, hostile, signed,
    trusted,
};

/// Good candidates; compiled once, so that the machine's time goes into swaps.
const GOOD: u32 = 8;

/// A good answer to a tick, without a repair; always that one.
const ANSWERS_OTHERWISE: &str = r#"
(func (export "@decide") (param i32) (result i32)
  (i32.store8 (i32.const 3084) (i32.const 0))
  (i32.const 3072))"#;

/// A candidate that must never be in service, and which step has to refuse it.
struct Bad {
    file: PathBuf,
    step: &'static str,
}

fn good(dir: &Path, keys: &NewKeys) -> Vec<(PathBuf, String)> {
    (0..GOOD)
        .map(|number| {
            let bytes = component("0.2.0", number);
            let file = signed(dir, &format!("good-{number}.wasm"), &bytes, keys);
            (file, signing::sha256(&bytes))
        })
        .collect()
}

fn bad_before_the_shadow(dir: &Path, ours: &NewKeys, theirs: &NewKeys) -> Vec<Bad> {
    let mut all = Vec::new();
    let bytes = component("0.2.0", 100);
    let unsigned = dir.join("unsigned.wasm");
    fs::write(&unsigned, &bytes).unwrap();
    let foreign = signed(dir, "foreign.wasm", &bytes, theirs);
    let changed = signed(dir, "changed.wasm", &bytes, ours);
    let mut other = bytes.clone();
    other[5000] ^= 1;
    fs::write(&changed, other).unwrap();
    let cut = signed(dir, "cut.wasm", &bytes, ours);
    fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let older = signed(dir, "older.wasm", &component("0.0.1", 101), ours);
    for file in [unsigned, foreign, changed, cut, older] {
        all.push(Bad {
            file,
            step: "signature",
        });
    }
    let mut add = |name: &str, bytes: &[u8], step| {
        all.push(Bad {
            file: signed(dir, name, bytes, ours),
            step,
        });
    };
    add("empty.wasm", b"", "contract");
    add("junk.wasm", b"no WebAssembly at all", "contract");
    add("core.wasm", b"\0asm\x01\0\0\0", "contract");
    add("half.wasm", &bytes[..bytes.len() / 2], "compile");
    add("trap.wasm", &hostile("describe=trap"), "contract");
    add("nameless.wasm", &hostile("describe=nameless"), "contract");
    add("bomb.wasm", &hostile("describe=bomb"), "contract");
    for (name, step) in [
        ("loop-start", "contract"),
        ("world-other-version", "contract"),
        ("import-filesystem", "contract"),
        ("memory-too-large", "compile"),
        ("trap-configure", "parameters"),
        ("configure-too-large", "parameters"),
    ] {
        add(&format!("{name}.wasm"), &attacks::component(name), step);
    }
    // What lies beside it says that it is no good.
    add("unproven.wasm", &component("0.2.0", 102), "tests");
    fs::create_dir(dir.join("unproven.tests")).unwrap();
    let cases = "version = 1\n[[cases]]\nname = \"alarmed\"\nexpect = { level = \"escalate\" }\n\
                 [[cases.events]]\ntick = true\n";
    fs::write(dir.join("unproven.tests/cases.toml"), cases).unwrap();
    all
}

/// Candidates that load well and fail at every decision: a malformed answer, a trap, a loop.
fn failing(dir: &Path, keys: &NewKeys) -> Vec<(PathBuf, String)> {
    let mut components: Vec<Vec<u8>> = (0..4).map(fails_to_decide).collect();
    for name in [
        "trap-decide",
        "answer-nan",
        "stack-recursion",
        "loop-decide",
    ] {
        components.push(attacks::component(name));
    }
    let write = |(number, bytes): (usize, Vec<u8>)| {
        let file = signed(dir, &format!("failing-{number}.wasm"), &bytes, keys);
        (file, signing::sha256(&bytes))
    };
    components.into_iter().enumerate().map(write).collect()
}

/// How many swaps: some in a few seconds, or as many as the environment says.
fn swaps() -> u32 {
    let asked = std::env::var("DBMEDIC_TEST_SWAPS");
    asked.map_or(200, |number| {
        number.parse().expect("DBMEDIC_TEST_SWAPS is a number")
    })
}

#[test]
fn many_swaps_under_load() {
    let swaps = swaps();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let ours = signing::generate(&Password::None).unwrap();
    let theirs = signing::generate(&Password::None).unwrap();
    let gate = GateSettings {
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
    };
    let mut without_shadow = gate.clone();
    without_shadow.shadow.decisions = 0;
    let lines = vec![
        vec!["default".to_owned()],
        vec!["bold".to_owned()],
        vec!["default".to_owned(), "bold".to_owned()],
    ];
    let mut options = WardOptions {
        named: [("bold".to_owned(), Source::BuiltIn)].into(),
        lines: lines.clone(),
        gate,
        named_gate: Some(without_shadow),
        pause: Duration::from_micros(100),
        // A good decision never takes as long; a loop does, and the load waits for it.
        deadline_ms: 500,
        ..WardOptions::default()
    };
    options.trust.keys = vec![trusted("ours", &ours)];
    let good = good(dir, &ours);
    let bad = bad_before_the_shadow(dir, &ours, &theirs);
    let failing = failing(dir, &ours);
    // Answers well, and otherwise than the others: in the shadow it is found out.
    let other = attacks::built(ANSWERS_OTHERWISE);
    let differing = signed(dir, "differing.wasm", &other, &ours);

    let ward = Ward::start(dir, options);
    let mut may_decide: BTreeSet<String> = good.iter().map(|(_, digest)| digest.clone()).collect();
    may_decide.insert(ward.present("default"));
    let mut done = 0;
    while done < swaps {
        let name = *["default", "bold"].choose(&mut random).unwrap();
        let before = ward.present(name);
        match random.random_range(0..10) {
            0..=1 => {
                let bad = bad.choose(&mut random).unwrap();
                let said = ward.swap(name, &bad.file).unwrap_err();
                let expected = format!("refused at {}", bad.step);
                assert!(said.contains(&expected), "{}: {said}", bad.file.display());
                assert_eq!(ward.present(name), before, "seed {seed}");
            }
            2 => {
                let (file, digest) = failing.choose(&mut random).unwrap();
                // What has not proved itself is nothing to come back to.
                ward.until_at_rest(name);
                ward.swap(name, file).unwrap();
                // In the shadow, or on probation where there is none.
                ward.until_refused(name, digest);
                ward.until_in_service(name, &before);
                ward.until_at_rest(name);
            }
            3 if name == "default" => {
                ward.swap(name, &differing).unwrap();
                wait_for("a candidate to wait for a person", || {
                    let candidate = ward.report(name).candidate;
                    matches!(candidate, Some(CandidateState::Waiting { .. })).then_some(())
                });
                assert_eq!(ward.present(name), before, "seed {seed}");
                // The next one takes its place.
                let (file, digest) = good.iter().find(|(_, digest)| *digest != before).unwrap();
                ward.swap(name, file).unwrap();
                ward.until_in_service(name, digest);
                done += 1;
            }
            _ => {
                let (file, digest) = good.choose(&mut random).unwrap();
                if *digest == before {
                    continue;
                }
                ward.swap(name, file).unwrap();
                ward.until_in_service(name, digest);
                done += 1;
            }
        }
    }
    let events = ward.events();
    let answers = ward.stop();
    assert_none_lost_or_doubled(&answers, &lines);
    assert!(events > 0 && answers.len() as u64 >= events * 4);
    for answer in answers.iter().filter(|answer| !answer.failed) {
        assert!(
            may_decide.contains(&answer.digest),
            "seed {seed}: a bad candidate was believed: {answer:?}"
        );
    }
    println!("{done} swaps, {events} events, {} decisions", answers.len());
}
