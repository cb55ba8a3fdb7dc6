use super::*;
use crate::gate::{ProbationSettings, ShadowSettings};
use crate::model::{Classification, EscalationLevel, PolicyEvent, Reason, Verbosity, Verdict};
use crate::policy::{Decision, PolicyFailure, PolicyIdentity, ServiceChange};
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
        },
    }
}

fn machine(settings: GateSettings) -> Machine {
    let service = Service::new(known("p", "1.0.0", "old"), 0);
    Machine::new("default", settings, service)
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
        needs_approval: false,
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

fn changed(digest: &str, change: ServiceChange) -> Input {
    Input::Changed {
        digest: digest.into(),
        change,
    }
}

fn out_of_service(digest: &str, until_ms: u64, on_probation: bool) -> Input {
    let reason = "3 decisions in a row failed: trap".into();
    changed(
        digest,
        ServiceChange::OutOfService {
            until_ms,
            reason,
            on_probation,
        },
    )
}

fn slow(digest: &str) -> Input {
    Input::Slow {
        digest: digest.into(),
    }
}

fn source_holds(digest: &str) -> Input {
    Input::SourceHolds {
        digest: digest.into(),
    }
}

fn swapped(digest: &str) -> Input {
    Input::Swapped {
        digest: digest.into(),
    }
}

/// As what the swap among the outputs puts its policy in service.
fn standing(outputs: &[Output]) -> Option<Standing> {
    outputs.iter().find_map(|output| match output {
        Output::Swap { standing, .. } => Some(*standing),
        _ => None,
    })
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
    assert!(machine.probation().is_some());
    let outputs = machine.step(8, changed("new", ServiceChange::Proved));
    assert!(outputs.contains(&Output::Persist));
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
    for is_slow in [false, true] {
        let mut machine = on_probation();
        let mut outputs = Vec::new();
        if is_slow {
            for at_ms in 5..8 {
                outputs.extend(machine.step(at_ms, slow("new")));
            }
        } else {
            outputs.extend(machine.step(5, out_of_service("new", 60_000, true)));
        }
        assert_eq!(swap_of(&outputs), Some("old"));
        let (step, reason) = refused(&outputs).unwrap();
        assert_eq!(step, Step::Probation);
        assert_eq!(reason.contains("longer than 20 ms"), is_slow, "{reason}");
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
        assert_eq!(service.out_of_service, None, "it is not tried again");
        assert_eq!(machine.step(10, offered("new", Origin::Source)), []);
    }
}

#[test]
fn what_keeps_failing_makes_way_and_is_tried_again() {
    let mut machine = on_probation();
    machine.step(5, changed("new", ServiceChange::Proved));
    let outputs = machine.step(20, out_of_service("new", 60_020, false));
    assert_eq!(swap_of(&outputs), Some("old"));
    assert_eq!(standing(&outputs), Some(Standing::Proven));
    assert_eq!(refused(&outputs), None, "it has proved itself before");
    machine.step(21, swapped("old"));
    let out = machine.service().out_of_service.clone().unwrap();
    assert_eq!((out.since_ms, out.until_ms), (20, 60_020));
    assert_eq!(out.policy.identity.digest, "new");
    assert!(machine.service().needed().any(|known| *known == out.policy));

    assert_eq!(machine.step(60_019, Input::Tick), []);
    let outputs = machine.step(60_020, Input::Tick);
    assert_eq!(swap_of(&outputs), Some("new"));
    assert_eq!(standing(&outputs), Some(Standing::OnTrial));
    machine.step(60_021, swapped("new"));
    // It fails again: the same way back, later.
    let outputs = machine.step(60_022, out_of_service("new", 180_022, false));
    assert_eq!(swap_of(&outputs), Some("old"));
    machine.step(60_023, swapped("old"));
    assert_eq!(machine.step(60_024, Input::Tick), []);
    assert_eq!(
        machine.service().out_of_service.as_ref().unwrap().since_ms,
        20
    );
    // It answers: it stays, and there is something to come back to.
    assert_eq!(swap_of(&machine.step(180_022, Input::Tick)), Some("new"));
    machine.step(180_023, swapped("new"));
    machine.step(180_024, changed("new", ServiceChange::BackInService));
    let service = machine.service();
    assert_eq!(service.out_of_service, None);
    assert_eq!(service.last_good.as_ref().unwrap().identity.digest, "old");
    assert!(!service.on_probation);
}

#[test]
fn a_candidate_that_comes_into_service_ends_the_trials_of_another() {
    let mut machine = on_probation();
    machine.step(5, changed("new", ServiceChange::Proved));
    machine.step(20, out_of_service("new", 60_020, false));
    machine.step(21, swapped("old"));
    machine.step(22, offered("newer", Origin::Person));
    machine.step(23, ready("1.2.0", "newer"));
    assert_eq!(
        machine.step(60_020, Input::Tick),
        [],
        "one is in the shadow"
    );
    machine.step(60_021, Input::Promote);
    machine.step(60_022, swapped("newer"));
    let service = machine.service();
    assert_eq!(service.out_of_service, None);
    assert_eq!(service.last_good.as_ref().unwrap().identity.digest, "old");
}

#[test]
fn without_a_last_good_one_nothing_is_put_back() {
    let mut machine = machine(settings());
    let outputs = machine.step(1, out_of_service("old", 60_001, false));
    assert_eq!(outputs, [Output::Persist]);
    let out = machine.service().out_of_service.as_ref().unwrap();
    assert_eq!(out.policy, machine.service().present);
    assert_eq!(
        machine.step(60_001, Input::Tick),
        [],
        "the pipeline asks it"
    );
    assert!(denied(&machine.step(60_002, Input::RollBack)));
    // What keeps failing is nothing to come back to.
    machine.step(60_003, offered("new", Origin::Person));
    machine.step(60_004, ready("1.1.0", "new"));
    let outputs = machine.step(60_005, Input::Promote);
    assert_eq!(standing(&outputs), Some(Standing::Proven));
    machine.step(60_006, swapped("new"));
    assert_eq!(machine.service().last_good, None);
    assert_eq!(machine.service().out_of_service, None);
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

#[test]
fn while_one_policy_comes_into_service_the_next_is_held_back() {
    let mut machine = in_shadow(settings());
    assert_eq!(swap_of(&machine.step(3, Input::Promote)), Some("new"));
    machine.step(4, offered("newer", Origin::Source));
    assert_eq!(machine.step(5, ready("1.2.0", "newer")), []);
    assert!(
        machine
            .needed()
            .any(|known| known.identity.digest == "newer")
    );
    assert!(
        matches!(machine.candidate(), Some(CandidateState::Preparing { digest }) if digest == "newer")
    );
    // A person is told, and asks again.
    for input in [Input::Promote, Input::RollBack] {
        let outputs = machine.step(6, input);
        assert!(denied(&outputs) && outputs.len() == 1, "{outputs:?}");
    }
    let outputs = machine.step(7, swapped("new"));
    assert_eq!(machine.service().present.identity.digest, "new");
    assert!(outputs.contains(&Output::BeginShadow {
        digest: "newer".into()
    }));
    assert_eq!(
        machine
            .service()
            .candidate
            .as_ref()
            .unwrap()
            .identity
            .digest,
        "newer"
    );
    // The one in service is judged as ever.
    let outputs = machine.step(8, out_of_service("new", 60_000, true));
    assert_eq!(swap_of(&outputs), Some("old"));
}

#[test]
fn what_was_put_back_while_it_was_prepared_is_no_candidate() {
    let mut machine = on_probation();
    machine.step(5, offered("old", Origin::Person));
    machine.step(6, Input::RollBack);
    assert_eq!(machine.step(7, ready("1.0.0", "old")), []);
    assert!(denied(&machine.step(8, swapped("old"))));
    assert!(machine.candidate().is_none());
}

#[test]
fn an_overtaken_candidate_is_told_and_may_come_again() {
    let mut machine = machine(settings());
    machine.step(1, offered("first", Origin::Person));
    let outputs = machine.step(2, offered("second", Origin::Source));
    let (step, reason) = refused(&outputs).unwrap();
    assert_eq!(step, Step::Signature);
    assert_eq!(reason, "overtaken by second");
    machine.step(3, ready("1.1.0", "second"));
    machine.step(4, offered("first", Origin::Source));
    let outputs = machine.step(5, ready("1.2.0", "first"));
    let expected = (Step::Shadow, "overtaken by first".to_owned());
    assert_eq!(refused(&outputs), Some(expected));
    assert!(machine.service().refused.is_empty());
    // One of several that is no good overtakes nothing.
    machine.step(6, offered("third", Origin::Person));
    let outputs = machine.step(
        7,
        Input::Unfit {
            digest: "junk".into(),
            refusal: Refusal::new(Step::Compile, "damaged".into()),
        },
    );
    let expected = (Step::Compile, "damaged".to_owned());
    assert_eq!(refused(&outputs), Some(expected));
    assert!(machine.is_preparing("third"));
}

#[test]
fn a_source_that_holds_the_policy_in_service_again_withdraws_its_candidate() {
    let mut machine = machine(settings());
    machine.step(1, source_holds("old"));
    machine.step(2, source_holds("new"));
    machine.step(2, offered("new", Origin::Source));
    let outputs = machine.step(3, source_holds("old"));
    assert!(refused(&outputs).unwrap().1.contains("withdrawn"));
    assert_eq!(machine.step(4, ready("1.1.0", "new")), []);

    machine.step(5, source_holds("new"));
    machine.step(5, offered("new", Origin::Source));
    machine.step(6, ready("1.1.0", "new"));
    let outputs = machine.step(7, source_holds("old"));
    assert!(refused(&outputs).unwrap().1.contains("withdrawn"));
    assert!(outputs.contains(&Output::EndShadow));
    assert!(outputs.contains(&Output::Persist));
    assert_eq!(machine.service().candidate, None);
    assert_eq!(machine.step(8, source_holds("old")), []);

    // What a person offered is for a person to take back.
    machine.step(9, source_holds("other"));
    machine.step(9, offered("new", Origin::Person));
    machine.step(10, ready("1.1.0", "new"));
    assert_eq!(refused(&machine.step(11, source_holds("old"))), None);
    assert!(machine.service().candidate.is_some());
}

#[test]
fn what_leaves_the_directory_is_no_candidate_any_more() {
    let dropped = |digest: &str| Input::SourceDropped {
        digest: digest.into(),
    };
    let mut machine = in_shadow(settings());
    assert_eq!(machine.step(3, dropped("other")), []);
    machine.step(4, offered("newer", Origin::Source));
    let outputs = machine.step(5, dropped("newer"));
    assert_eq!(refused(&outputs).unwrap().0, Step::Signature);
    let outputs = machine.step(6, dropped("new"));
    assert_eq!(refused(&outputs).unwrap().0, Step::Shadow);
    assert!(outputs.contains(&Output::EndShadow));
    assert!(machine.candidate().is_none());
    // What is in service, or was offered by a person, stays.
    assert_eq!(machine.step(7, dropped("old")), []);
    machine.step(8, offered("new", Origin::Person));
    assert_eq!(machine.step(9, dropped("new")), []);
}

#[test]
fn a_rollback_tells_of_the_candidate_that_goes_with_it() {
    let mut machine = on_probation();
    machine.step(5, offered("newer", Origin::Source));
    machine.step(6, ready("1.2.0", "newer"));
    let outputs = machine.step(7, Input::RollBack);
    let told: Vec<(&str, Step)> = records(&outputs)
        .map(|record| (record.digest.as_str(), record.step))
        .collect();
    assert_eq!(told, [("newer", Step::Shadow), ("new", Step::Probation)]);
    assert_eq!(machine.service().candidate, None);
}

#[test]
fn no_way_around_leads_to_an_older_version() {
    let mut settings = settings();
    settings.shadow.decisions = 0;
    let mut machine = machine(settings);
    machine.step(1, offered("other", Origin::Source));
    let candidate = known("q", "0.1.0", "other");
    machine.step(2, Input::Ready { candidate });
    machine.step(3, swapped("other"));
    machine.step(4, offered("older", Origin::Source));
    let (step, reason) = refused(&machine.step(5, ready("0.9.0", "older"))).unwrap();
    assert_eq!(step, Step::Signature);
    assert!(
        reason.contains("older than 1.0.0, which was in service"),
        "{reason}"
    );
    machine.step(6, offered("newer", Origin::Source));
    assert_eq!(refused(&machine.step(7, ready("1.0.1", "newer"))), None);
}

#[test]
fn what_is_signed_anew_keeps_its_place_under_its_new_signer() {
    let mut machine = on_probation();
    machine.step(5, offered("newer", Origin::Source));
    machine.step(6, ready("1.2.0", "newer"));
    let signer = Provenance::Signed {
        key: "second".into(),
        key_id: "ID".into(),
        comment: crate::signing::Comment::default(),
    };
    for digest in ["new", "old", "newer"] {
        let outputs = machine.step(
            7,
            Input::Signed {
                digest: digest.into(),
                signer: Ok(signer.clone()),
            },
        );
        let record = records(&outputs).next().unwrap();
        assert_eq!(record.progress, Progress::SignedAnew);
        assert_eq!(record.candidate.as_ref().unwrap().provenance, signer);
        assert!(outputs.contains(&Output::Persist));
    }
    assert!(machine.needed().all(|known| known.provenance == signer));
    assert_eq!(swap_of(&machine.step(8, Input::Promote)), Some("newer"));
    machine.step(9, swapped("newer"));
    assert_eq!(machine.service().present.provenance, signer);
    let refusal = Refusal::new(Step::Signature, "it expired".into());
    let outputs = machine.step(
        10,
        Input::Signed {
            digest: "newer".into(),
            signer: Err(refusal),
        },
    );
    assert!(denied(&outputs) && outputs.len() == 1);
    assert_eq!(machine.service().present.provenance, signer);
}

/// Whatever happens in whatever order: only what was ready is swapped in, one after the other, and
/// what the driver swapped in is what is in service.
#[test]
fn nothing_is_swapped_in_that_was_not_ready_and_no_swap_is_lost() {
    use rand::{RngExt as _, SeedableRng as _};
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for _ in 0..200 {
        let mut machine = machine(settings());
        let mut ready_ones = std::collections::BTreeSet::from(["old".to_owned()]);
        let mut in_flight: Option<String> = None;
        for at_ms in 1..400 {
            let digest = format!("d{}", random.random_range(0..4));
            let input = match random.random_range(0..11) {
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
                    match random.random_range(0..4) {
                        0 => slow(&present),
                        1 => changed(&present, ServiceChange::Proved),
                        2 => changed(&present, ServiceChange::BackInService),
                        _ => out_of_service(&present, at_ms + 3, random.random()),
                    }
                }
                6 => Input::Promote,
                7 => Input::RollBack,
                8 => source_holds(&digest),
                9 => Input::SourceDropped { digest },
                _ => Input::Tick,
            };
            let mut outputs = machine.step(at_ms, input);
            if let Some(digest) = in_flight.take_if(|_| random.random_range(0..5) == 0) {
                outputs.extend(machine.step(at_ms, swapped(&digest)));
                assert_eq!(machine.service().present.identity.digest, digest);
            }
            let mut swaps = outputs.iter().filter_map(|output| match output {
                Output::Swap { digest, .. } => Some(digest),
                _ => None,
            });
            if let Some(digest) = swaps.next() {
                assert!(ready_ones.contains(digest), "seed {seed}: {digest}");
                assert_eq!(in_flight, None, "seed {seed}: two swaps at a time");
                in_flight = Some(digest.clone());
            }
            assert_eq!(swaps.next(), None, "seed {seed}: two swaps at a time");
        }
    }
}
