use super::*;
use crate::gate::{ProbationSettings, ShadowSettings};
use crate::model::{Classification, EscalationLevel, Reason, Verbosity};
use crate::policy::{PolicyFailure, PolicyIdentity};
use crate::signing::Provenance;

fn known(name: &str, version: &str, digest: &str) -> Known {
    Known {
        identity: PolicyIdentity {
            name: name.into(),
            version: version.into(),
            digest: digest.into(),
        },
        provenance: Provenance::Unsigned,
    }
}

fn settings() -> GateSettings {
    GateSettings {
        allow_downgrade: false,
        shadow: ShadowSettings {
            decisions: 4,
            time_ms: 1000,
            promote_by_itself: true,
            difference_percent: 25.0,
            failures: 0,
        },
        probation: ProbationSettings {
            decisions: 5,
            time_ms: 10_000,
            failures: 2,
            slow_ms: 20,
            slow_decisions: 3,
            failures_in_a_row: 3,
        },
    }
}

fn machine(settings: GateSettings) -> Machine {
    let service = Service::new(known("p", "1.0.0", "old"), 0);
    Machine::new("default", settings, service, 0)
}

fn offered(digest: &str, origin: Origin) -> Input {
    Input::Offered {
        digest: digest.into(),
        origin,
    }
}

fn ready(version: &str, digest: &str) -> Input {
    Input::Ready {
        candidate: known("p", version, digest),
    }
}

fn verdict(level: EscalationLevel) -> Verdict {
    Verdict {
        classification: Some(Classification::Hiccup),
        level,
        repair: None,
        halt: false,
        confidence: 1.0,
        verbosity: Verbosity::Normal,
        alerts: Vec::new(),
        reasons: vec![Reason {
            rule: "r".into(),
            text: "because".into(),
        }],
        suggestions: Vec::new(),
        memory: Vec::new(),
    }
}

fn compared(digest: &str, differs: bool, failure: Option<&PolicyFailure>) -> Input {
    let level = if differs {
        EscalationLevel::Warn
    } else {
        EscalationLevel::Normal
    };
    let candidate: Decision = serde_json::from_value(serde_json::json!({
        "verdict": verdict(level),
        "failure": failure,
        "log": [],
    }))
    .unwrap();
    Input::Compared(Box::new(Compared {
        digest: digest.into(),
        target: "orders".into(),
        event: PolicyEvent::Tick,
        present: verdict(EscalationLevel::Normal),
        candidate,
    }))
}

fn decided(digest: &str, failure: Option<&str>, slow: bool) -> Input {
    Input::Decided {
        digest: digest.into(),
        failure: failure.map(str::to_owned),
        slow,
    }
}

fn swap_of(outputs: &[Output]) -> Option<&str> {
    outputs.iter().find_map(|output| match output {
        Output::Swap { digest, .. } => Some(digest.as_str()),
        _ => None,
    })
}

fn records(outputs: &[Output]) -> impl Iterator<Item = &GateRecord> {
    outputs.iter().filter_map(|output| match output {
        Output::Record(record) => Some(&**record),
        _ => None,
    })
}

/// The step and the reason of the refusal among the outputs.
fn refused(outputs: &[Output]) -> Option<(Step, String)> {
    records(outputs).find_map(|record| match &record.progress {
        Progress::Refused { reason } => Some((record.step, reason.clone())),
        _ => None,
    })
}

fn denied(outputs: &[Output]) -> bool {
    records(outputs).any(|record| matches!(record.progress, Progress::Denied { .. }))
}

/// A machine whose candidate `new` is in the shadow.
fn in_shadow(settings: GateSettings) -> Machine {
    let mut machine = machine(settings);
    let outputs = machine.step(1, offered("new", Origin::Source));
    assert!(outputs.contains(&Output::Prepare {
        digest: "new".into()
    }));
    let outputs = machine.step(2, ready("1.1.0", "new"));
    assert!(outputs.contains(&Output::BeginShadow {
        digest: "new".into()
    }));
    machine
}

/// A machine with `new` on probation.
fn on_probation() -> Machine {
    let mut machine = in_shadow(settings());
    assert_eq!(swap_of(&machine.step(3, Input::Promote)), Some("new"));
    machine.step(
        4,
        Input::Swapped {
            digest: "new".into(),
        },
    );
    assert!(machine.service().on_probation);
    machine
}

#[test]
fn a_candidate_goes_all_the_way_and_leaves_a_record_of_each_step() {
    let mut machine = in_shadow(settings());
    for at_ms in 3..6 {
        assert_eq!(machine.step(at_ms, compared("new", false, None)), []);
    }
    let outputs = machine.step(6, compared("new", true, None));
    assert_eq!(swap_of(&outputs), Some("new"), "one of four is in bounds");
    assert!(outputs.contains(&Output::EndShadow));
    assert_eq!(machine.service().present.identity.digest, "old", "not yet");
    let outputs = machine.step(
        7,
        Input::Swapped {
            digest: "new".into(),
        },
    );
    assert!(outputs.contains(&Output::Persist));
    let service = machine.service().clone();
    assert_eq!(service.present.identity.digest, "new");
    assert_eq!(service.since_ms, 7);
    assert_eq!(service.last_good.unwrap().identity.digest, "old");
    for at_ms in 8..13 {
        machine.step(at_ms, decided("new", None, false));
    }
    assert!(!machine.service().on_probation);
}

#[test]
fn a_refusal_leaves_the_policy_in_service_and_is_not_tried_again() {
    let mut machine = machine(settings());
    machine.step(1, offered("bad", Origin::Source));
    let refusal = Refusal::new(Step::Compile, "damaged".into());
    let outputs = machine.step(
        2,
        Input::Refused {
            digest: "bad".into(),
            refusal,
        },
    );
    assert_eq!(refused(&outputs), Some((Step::Compile, "damaged".into())));
    assert_eq!(machine.step(3, offered("bad", Origin::Source)), []);
    let outputs = machine.step(4, offered("bad", Origin::Person));
    assert!(!outputs.is_empty(), "a person may try again");
    assert_eq!(machine.service().present.identity.digest, "old");
}

#[test]
fn what_comes_late_of_an_overtaken_candidate_is_ignored() {
    let mut machine = machine(settings());
    machine.step(1, offered("first", Origin::Source));
    machine.step(2, offered("second", Origin::Source));
    assert_eq!(machine.step(3, ready("9.0.0", "first")), []);
    assert_eq!(swap_of(&machine.step(4, ready("9.0.0", "never"))), None);
    assert!(!machine.step(5, ready("1.1.0", "second")).is_empty());
}

#[test]
fn an_older_version_is_refused_unless_allowed() {
    for (version, allowed, expected) in [
        ("0.9.9", false, false),
        ("1.0.0-rc.1", false, false),
        ("1.0.0", false, true),
        ("one", false, false),
        ("0.9.9", true, true),
    ] {
        let mut machine = machine(GateSettings {
            allow_downgrade: allowed,
            ..settings()
        });
        machine.step(1, offered("new", Origin::Source));
        let outputs = machine.step(2, ready(version, "new"));
        assert_eq!(refused(&outputs).is_none(), expected, "{version}");
        assert_eq!(
            outputs.contains(&Output::BeginShadow {
                digest: "new".into()
            }),
            expected,
            "{version}"
        );
    }
}

#[test]
fn a_failure_in_the_shadow_refuses() {
    let mut machine = in_shadow(settings());
    let failure = PolicyFailure::Deadline { limit_ms: 50 };
    let outputs = machine.step(3, compared("new", true, Some(&failure)));
    let (step, reason) = refused(&outputs).unwrap();
    assert_eq!(step, Step::Shadow);
    assert!(reason.contains("no answer within 50 ms"), "{reason}");
    assert!(outputs.contains(&Output::EndShadow));
    assert!(denied(&machine.step(4, Input::Promote)), "it is gone");
}

#[test]
fn too_many_differences_or_manual_promotion_wait_for_a_person() {
    for by_itself in [true, false] {
        let mut settings = settings();
        settings.shadow.promote_by_itself = by_itself;
        let mut machine = in_shadow(settings);
        for at_ms in 3..7 {
            let outputs = machine.step(at_ms, compared("new", by_itself, None));
            assert_eq!(swap_of(&outputs), None);
        }
        let Some(CandidateState::Waiting {
            reason, comparison, ..
        }) = machine.candidate()
        else {
            panic!("{:?}", machine.candidate())
        };
        assert_eq!(reason.contains("manual"), !by_itself, "{reason}");
        assert_eq!(comparison.decisions, 4);
        assert_eq!(comparison.differences, if by_itself { 4 } else { 0 });
        assert_eq!(comparison.matrix[0].decisions, 4);
        assert_eq!(swap_of(&machine.step(9, Input::Promote)), Some("new"));
    }
}

#[test]
fn a_shadow_ends_by_time_only_when_it_decided() {
    let mut machine = in_shadow(settings());
    assert_eq!(swap_of(&machine.step(5000, Input::Tick)), None);
    machine.step(5001, compared("new", false, None));
    assert_eq!(
        machine.service().present.identity.digest,
        "old",
        "the swap is not done yet"
    );
    assert!(machine.candidate().is_none(), "it is being swapped in");
}

#[test]
fn failures_or_slowness_on_probation_bring_the_last_good_one_back() {
    for slow in [false, true] {
        let mut machine = on_probation();
        let mut outputs = Vec::new();
        for at_ms in 5..8 {
            let failure = (!slow).then_some("it broke off");
            outputs.extend(machine.step(at_ms, decided("new", failure, slow)));
        }
        assert_eq!(swap_of(&outputs), Some("old"));
        let (step, reason) = refused(&outputs).unwrap();
        assert_eq!(step, Step::Probation);
        assert_eq!(reason.contains("longer than 20 ms"), slow, "{reason}");
        machine.step(
            9,
            Input::Swapped {
                digest: "old".into(),
            },
        );
        let service = machine.service();
        assert_eq!(service.present.identity.digest, "old");
        assert!(!service.on_probation, "it has proved itself before");
        assert_eq!(service.last_good, None);
        assert_eq!(machine.step(10, offered("new", Origin::Source)), []);
    }
}

#[test]
fn failures_in_a_row_bring_the_last_good_one_back_at_any_time() {
    let mut machine = on_probation();
    for at_ms in 5..20 {
        machine.step(at_ms, decided("new", None, false));
    }
    assert!(!machine.service().on_probation);
    let mut outputs = Vec::new();
    for at_ms in 20..23 {
        outputs.extend(machine.step(at_ms, decided("new", Some("trap"), false)));
    }
    assert_eq!(swap_of(&outputs), Some("old"));
}

#[test]
fn without_a_last_good_one_nothing_is_put_back() {
    let mut machine = machine(settings());
    for at_ms in 1..20 {
        assert_eq!(machine.step(at_ms, decided("old", Some("trap"), true)), []);
    }
    assert!(denied(&machine.step(20, Input::RollBack)));
    assert_eq!(machine.counts(), (19, 19));
}

#[test]
fn what_has_not_proved_itself_is_nothing_to_come_back_to() {
    let mut machine = on_probation();
    machine.step(5, offered("newer", Origin::Person));
    machine.step(6, ready("1.2.0", "newer"));
    machine.step(7, Input::Promote);
    machine.step(
        8,
        Input::Swapped {
            digest: "newer".into(),
        },
    );
    let service = machine.service();
    assert_eq!(service.present.identity.digest, "newer");
    assert_eq!(service.last_good.as_ref().unwrap().identity.digest, "old");
}

#[test]
fn a_person_rolls_back_and_a_newer_candidate_takes_the_shadow() {
    let mut machine = on_probation();
    let outputs = machine.step(5, Input::RollBack);
    assert_eq!(swap_of(&outputs), Some("old"));
    let mut machine = in_shadow(settings());
    machine.step(3, offered("newer", Origin::Source));
    let outputs = machine.step(4, ready("1.2.0", "newer"));
    assert!(outputs.contains(&Output::EndShadow));
    assert!(outputs.contains(&Output::BeginShadow {
        digest: "newer".into()
    }));
    assert_eq!(machine.step(5, compared("new", true, None)), []);
}

#[test]
fn a_person_hears_when_there_is_nothing_to_do() {
    let mut machine = machine(settings());
    assert!(denied(&machine.step(1, offered("old", Origin::Person))));
    assert_eq!(machine.step(2, offered("old", Origin::Source)), []);
    assert!(denied(&machine.step(3, Input::Promote)));
}

#[test]
fn without_a_shadow_it_is_swapped_at_once() {
    let mut settings = settings();
    settings.shadow.decisions = 0;
    let mut machine = machine(settings);
    machine.step(1, offered("new", Origin::Source));
    assert_eq!(
        swap_of(&machine.step(2, ready("1.1.0", "new"))),
        Some("new")
    );
}

/// Whatever happens in whatever order: only what was ready is swapped in.
#[test]
fn nothing_is_swapped_in_that_was_not_ready() {
    use rand::{RngExt as _, SeedableRng as _};
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for _ in 0..200 {
        let mut machine = machine(settings());
        let mut ready_ones = std::collections::BTreeSet::from(["old".to_owned()]);
        for at_ms in 1..200 {
            let digest = format!("d{}", random.random_range(0..4));
            let input = match random.random_range(0..9) {
                0 => offered(&digest, Origin::Source),
                1 => offered(&digest, Origin::Person),
                2 => Input::Refused {
                    digest,
                    refusal: Refusal::new(Step::Contract, "no".into()),
                },
                3 => {
                    if machine.is_preparing(&digest) {
                        ready_ones.insert(digest.clone());
                    }
                    ready("1.0.0", &digest)
                }
                4 => compared(&digest, random.random(), None),
                5 => {
                    let present = machine.service().present.identity.digest.clone();
                    let failure = random.random::<bool>().then_some("trap");
                    decided(&present, failure, random.random())
                }
                6 => Input::Promote,
                7 => Input::RollBack,
                _ => Input::Tick,
            };
            let outputs = machine.step(at_ms, input);
            if let Some(digest) = swap_of(&outputs) {
                assert!(ready_ones.contains(digest), "seed {seed}: {digest}");
                let digest = digest.to_owned();
                machine.step(at_ms, Input::Swapped { digest });
            }
        }
    }
}
