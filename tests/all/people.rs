//! What people say to the pipeline: denials, acknowledgements, silences and maintenance windows. A policy
//! that answers what it is told meets each of them.

use std::collections::BTreeMap;

use dbmedic::guard::Mode;
use dbmedic::model::{
    Alert, Attribution, Classification, EscalationLevel, LocalTime, MaintenanceWindow, Reason,
    SilenceScope, Urgency, Verbosity, Verdict,
};
use dbmedic::pipeline::{Carried, CarriedTarget, Effect, Event, Pipeline, RulingSummary, Withheld};
use dbmedic::policy::{Limits, Runtime};
use dbmedic::signing::Verified;
use dbmedic_tests::observed;

use Classification::{Crisis, Obstacle, Wall};

use crate::approval::{approved, done, failed, look, waits};
use crate::sandbox::HOSTILE;

/// A policy whose answer lies in its memory, with the memory for the next one.
const PUPPET: &[u8] = include_bytes!("../guests/puppet/puppet.wasm");
const RULE: &str = "person_needed";

fn said(at_ms: u64) -> Attribution {
    Attribution {
        by: "alice".into(),
        at_ms,
        note: Some("I do it by hand".into()),
    }
}

fn pipeline(mode: Mode, carried: &Carried, policy: &[u8]) -> Pipeline {
    // As it stands in a file between two runs.
    let carried = serde_json::to_string(carried).unwrap();
    let carried = serde_json::from_str(&carried).unwrap();
    let mut options = observed("shop");
    let target = options.targets.get_mut("shop").unwrap();
    target.mode = mode;
    target.diagnose.may_end = vec!["batch".into()];
    options.guard.cool_down_ms = 0;
    let limits = Limits {
        deadline_ms: 5_000,
        start_deadline_ms: 30_000,
        ..Limits::default()
    };
    let runtime = Runtime::new(limits).unwrap();
    let policy = runtime.load(&Verified::unsigned(policy), &[]).unwrap();
    Pipeline::new(options, policy, carried)
}

/// A pipeline under a policy that chooses the first repair that it is offered.
fn choosing(mode: Mode) -> Pipeline {
    pipeline(mode, &Carried::default(), HOSTILE)
}

/// What the policy answers: it alerts with each answer, and chooses no repair.
fn answer(class: Classification) -> Verdict {
    Verdict {
        classification: Some(class),
        level: EscalationLevel::Escalate,
        repair: None,
        halt: class == Crisis,
        confidence: 0.5,
        verbosity: Verbosity::Normal,
        alerts: vec![Alert {
            rule: RULE.into(),
            urgency: Urgency::Critical,
            message: "somebody has to look".into(),
        }],
        reasons: vec![Reason {
            rule: "puppet".into(),
            text: "it was told so".into(),
        }],
        suggestions: Vec::new(),
        memory: Vec::new(),
        needs_approval: false,
    }
}

/// A run under a policy that gives these answers, one after the other.
fn scripted(mode: Mode, answers: &[Verdict]) -> Pipeline {
    let memory = answers.iter().rev().fold(Vec::new(), |memory, answer| {
        let answer = Verdict {
            memory,
            ..answer.clone()
        };
        crate::common::packed(&answer)
    });
    let carried = Carried {
        targets: BTreeMap::from([(
            "shop".to_owned(),
            CarriedTarget {
                memories: BTreeMap::from([("default".to_owned(), memory)]),
                ..CarriedTarget::default()
            },
        )]),
        ..Carried::default()
    };
    pipeline(mode, &carried, PUPPET)
}

/// The same that alerts this often.
fn alerting(class: Classification, times: usize) -> Pipeline {
    scripted(Mode::Observe, &vec![answer(class); times])
}

/// A look at the problem.
fn sick(at_ms: u64) -> Event {
    look(at_ms, &[7])
}

/// Looks each second until `to_ms`, and what came of them.
fn watch(pipeline: &mut Pipeline, from_ms: u64, to_ms: u64) -> Vec<Effect> {
    let times = (from_ms..=to_ms).step_by(1_000);
    times
        .flat_map(|at_ms| pipeline.step(&sick(at_ms)))
        .collect()
}

/// Alerts that were told, and that were withheld.
fn alerts(effects: &[Effect]) -> (usize, Vec<Withheld>) {
    let told = |effect: &&Effect| matches!(effect, Effect::Alerted { .. });
    let withheld = effects.iter().filter_map(|effect| match effect {
        Effect::AlertWithheld { because, .. } => Some(because.clone()),
        _ => None,
    });
    (effects.iter().filter(told).count(), withheld.collect())
}

/// The name of the law that refused, with what it says.
fn refused(effects: &[Effect]) -> Option<(String, String)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Ruled {
            ruling: RulingSummary::Refused { law, reason },
            ..
        } => Some((law.clone(), reason.clone())),
        _ => None,
    })
}

fn denied(at_ms: u64) -> Event {
    Event::Denied {
        incident: "INC-1".into(),
        repair: "wal.release-reader".into(),
        said: said(at_ms),
    }
}

fn acknowledged(at_ms: u64) -> Event {
    Event::Acknowledged {
        incident: "INC-1".into(),
        said: said(at_ms),
    }
}

fn silenced(scope: SilenceScope, at_ms: u64, ends_ms: u64) -> Event {
    Event::Silenced {
        scope,
        ends_ms,
        said: said(at_ms),
    }
}

fn of_shop(crises: bool) -> SilenceScope {
    SilenceScope {
        target: Some("shop".into()),
        crises,
        ..SilenceScope::default()
    }
}

fn maintenance(at_ms: u64, ends_ms: u64, allow_repairs: bool) -> Event {
    Event::MaintenanceStarted {
        target: "shop".into(),
        ends_ms,
        allow_repairs,
        said: said(at_ms),
    }
}

#[test]
fn what_is_denied_is_not_made_until_somebody_approves_it() {
    let mut pipeline = choosing(Mode::Approve);
    let effects = watch(&mut pipeline, 0, 2_000);
    let first = waits(&effects).unwrap();
    let (law, reason) = refused(&pipeline.step(&denied(2_100))).unwrap();
    assert_eq!(law, "guard.denied");
    for part in ["alice", "I do it by hand", "dbmedic approve INC-1"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let effects = watch(&mut pipeline, 3_000, 9_000);
    assert_eq!(
        (waits(&effects), refused(&effects)),
        (None, None),
        "told once"
    );
    // After a restart too, under its old name.
    let mut pipeline = self::pipeline(Mode::Approve, &pipeline.carried(), HOSTILE);
    let effects = watch(&mut pipeline, 10_000, 12_000);
    assert_eq!(refused(&effects).unwrap().0, "guard.denied");
    assert_eq!(done(&pipeline.step(&approved(&first, 12_100))), Some(first));
}

#[test]
fn a_denial_falls_away_with_its_incident() {
    let mut pipeline = choosing(Mode::Approve);
    watch(&mut pipeline, 0, 2_000);
    pipeline.step(&denied(2_100));
    pipeline.step(&look(3_000, &[]));
    let effects = watch(&mut pipeline, 4_000, 6_000);
    assert!(waits(&effects).is_some() && refused(&effects).is_none());
}

#[test]
fn in_mode_enforce_a_denied_repair_is_not_tried_again() {
    let mut pipeline = choosing(Mode::Enforce);
    let repair = done(&watch(&mut pipeline, 0, 2_000)).unwrap();
    // What runs is brought to its end.
    assert_eq!(pipeline.step(&denied(2_100)), []);
    pipeline.step(&failed(&repair, 2_200));
    let effects = watch(&mut pipeline, 3_000, 9_000);
    assert_eq!(done(&effects), None);
    assert_eq!(refused(&effects).unwrap().0, "guard.denied");
    assert_eq!(
        done(&pipeline.step(&approved(&repair, 9_100))),
        Some(repair)
    );
}

/// Repairs wait for their turn where another one is at work.
#[test]
fn what_is_said_while_a_repair_waits_for_its_turn_keeps_it_from_beginning() {
    for (said, expected) in [
        (vec![], None),
        (vec![sick(2_100)], None),
        (vec![denied(2_100)], Some("alice denied it")),
        (vec![maintenance(2_100, 9_000, false)], Some("maintenance")),
        (vec![maintenance(2_100, 9_000, true)], None),
    ] {
        let mut pipeline = choosing(Mode::Enforce);
        let effects = watch(&mut pipeline, 0, 2_000);
        let repair = effects.iter().find_map(|effect| match effect {
            Effect::Repair(repair) => Some(repair),
            _ => None,
        });
        for event in &said {
            pipeline.step(event);
        }
        let objection = pipeline.objection_since(repair.unwrap(), 3_000);
        match expected {
            None => assert_eq!(objection, None, "{said:?}"),
            Some(part) => assert!(
                objection.as_ref().is_some_and(|why| why.contains(part)),
                "{said:?}: {objection:?}"
            ),
        }
        let mut carried = pipeline.carried();
        let record = &mut carried.targets.get_mut("shop").unwrap().guard;
        record.halted = Some("INC-2: a crisis".into());
        let halted = self::pipeline(Mode::Enforce, &carried, HOSTILE);
        assert!(halted.objection_since(repair.unwrap(), 3_000).is_some());
    }
}

#[test]
fn the_last_word_of_a_person_counts() {
    let mut before = choosing(Mode::Approve);
    let first = waits(&watch(&mut before, 0, 2_000)).unwrap();
    for (events, expected) in [
        ([approved(&first, 5_000), denied(5_001)], false),
        ([denied(5_000), approved(&first, 5_001)], true),
    ] {
        // Said before the next run has seen the problem.
        let mut after = pipeline(Mode::Approve, &before.carried(), HOSTILE);
        for event in &events {
            assert_eq!(after.step(event), []);
        }
        let effects = watch(&mut after, 5_100, 7_100);
        assert_eq!(done(&effects).is_some(), expected);
        assert_eq!(refused(&effects).is_none(), expected);
    }
}

#[test]
fn an_acknowledged_incident_is_not_told_again_until_it_gets_worse() {
    let mut answers = vec![answer(Obstacle); 8];
    answers.extend(vec![answer(Wall); 4]);
    let mut pipeline = scripted(Mode::Observe, &answers);
    assert_eq!(alerts(&watch(&mut pipeline, 0, 2_000)), (2, vec![]));
    assert_eq!(pipeline.step(&acknowledged(2_100)), []);
    let by_alice = Withheld::Acknowledged { by: "alice".into() };
    let effects = watch(&mut pipeline, 3_000, 4_000);
    assert_eq!(alerts(&effects), (0, vec![by_alice.clone(); 2]));
    let incident = &pipeline.context("shop", 4_000).unwrap().incidents[0];
    assert_eq!(incident.acknowledged, Some(said(2_100)));
    // The next run knows it.
    let mut pipeline = self::pipeline(Mode::Observe, &pipeline.carried(), PUPPET);
    let effects = watch(&mut pipeline, 5_000, 9_000);
    assert_eq!(alerts(&effects), (0, vec![by_alice; 4]));
    let effects = watch(&mut pipeline, 10_000, 10_000);
    let ended = effects.iter().find_map(|effect| match effect {
        Effect::AcknowledgementEnded {
            acknowledged,
            classification,
            ..
        } => Some((acknowledged.clone(), *classification)),
        _ => None,
    });
    assert_eq!(ended, Some((said(2_100), Wall)));
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Alerted { acknowledged, .. } => acknowledged.clone(),
        _ => None,
    });
    assert_eq!(told, Some(said(2_100)), "the alert says who knew of it");
    assert_eq!(alerts(&watch(&mut pipeline, 11_000, 12_000)), (2, vec![]));
}

#[test]
fn an_acknowledgement_is_of_its_incident_alone() {
    let mut pipeline = alerting(Obstacle, 20);
    watch(&mut pipeline, 0, 2_000);
    pipeline.step(&acknowledged(2_100));
    pipeline.step(&look(3_000, &[]));
    let (told, withheld) = alerts(&watch(&mut pipeline, 4_000, 6_000));
    assert!(told > 0 && withheld.is_empty(), "a new incident is told");
}

#[test]
fn a_silence_withholds_and_counts_until_right_before_its_end() {
    let mut pipeline = alerting(Obstacle, 30);
    let effects = pipeline.step(&silenced(of_shop(false), 10, 5_000));
    assert!(matches!(&effects[..], [Effect::Silenced { silence }] if silence.id == "SIL-1"));
    let by_silence = Withheld::Silence { id: "SIL-1".into() };
    let effects = watch(&mut pipeline, 0, 4_000);
    assert_eq!(alerts(&effects), (0, vec![by_silence; 4]));
    let effects = pipeline.step(&sick(5_000));
    let ended = effects.iter().find_map(|effect| match effect {
        Effect::SilenceEnded {
            silence,
            removed: None,
        } => Some(silence.withheld),
        _ => None,
    });
    assert_eq!(ended, Some(4));
    // What waited is told, and what is new.
    assert_eq!(alerts(&effects), (2, vec![]));
    assert_eq!(alerts(&watch(&mut pipeline, 6_000, 6_000)), (1, vec![]));
}

#[test]
fn what_a_silence_withheld_of_an_incident_that_is_over_is_not_told() {
    let mut pipeline = alerting(Obstacle, 30);
    pipeline.step(&silenced(of_shop(false), 10, 5_000));
    watch(&mut pipeline, 0, 3_000);
    pipeline.step(&look(4_000, &[]));
    let effects = pipeline.step(&look(5_000, &[]));
    assert!(
        matches!(effects[..], [Effect::SilenceEnded { .. }]),
        "{effects:?}"
    );
}

#[test]
fn a_silence_is_carried_with_its_count_and_removed_by_a_person() {
    let mut pipeline = alerting(Obstacle, 30);
    pipeline.step(&silenced(of_shop(false), 10, 1_000_000));
    watch(&mut pipeline, 0, 3_000);
    let mut pipeline = self::pipeline(Mode::Observe, &pipeline.carried(), PUPPET);
    let (told, withheld) = alerts(&watch(&mut pipeline, 4_000, 7_000));
    assert!(told == 0 && withheld.len() == 3, "{withheld:?}");
    let removed = Event::SilenceRemoved {
        silence: "SIL-1".into(),
        said: said(7_100),
    };
    let effects = pipeline.step(&removed);
    let Some(Effect::SilenceEnded {
        silence,
        removed: by,
    }) = effects.first()
    else {
        panic!("{effects:?}")
    };
    assert_eq!((silence.withheld, by), (6, &Some(said(7_100))));
    assert_eq!(alerts(&effects).0, 1, "the last one that waited");
    assert_eq!(pipeline.step(&removed), [], "there is none");
    let effects = pipeline.step(&silenced(of_shop(false), 8_000, 9_000));
    assert!(matches!(&effects[..], [Effect::Silenced { silence }] if silence.id == "SIL-2"));
}

#[test]
fn a_crisis_is_told_through_silence_and_maintenance_unless_a_person_wants_none_of_it() {
    let cases = [
        (silenced(of_shop(false), 10, 900_000), true),
        (silenced(of_shop(true), 10, 900_000), false),
        (maintenance(10, 900_000, false), true),
    ];
    for (event, expected) in cases {
        let mut pipeline = alerting(Crisis, 5);
        pipeline.step(&event);
        let effects = watch(&mut pipeline, 0, 2_000);
        assert_eq!(alerts(&effects).0 > 0, expected, "{event:?}");
        let halted = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Preserve { .. }));
        assert!(halted, "{event:?}");
    }
}

#[test]
fn no_repair_begins_in_a_maintenance_window_and_one_does_at_its_end() {
    for allow_repairs in [false, true] {
        let mut pipeline = choosing(Mode::Enforce);
        let effects = pipeline.step(&maintenance(10, 6_000, allow_repairs));
        assert!(
            matches!(effects[..], [Effect::MaintenanceBegan { .. }]),
            "{effects:?}"
        );
        let effects = watch(&mut pipeline, 0, 5_000);
        assert_eq!(done(&effects).is_some(), allow_repairs);
        let context = pipeline.context("shop", 5_000).unwrap();
        assert_eq!(context.maintenance.open.unwrap().ends_ms, 6_000);
        if allow_repairs {
            continue;
        }
        let (law, reason) = refused(&effects).unwrap();
        assert_eq!(law, "guard.maintenance");
        assert!(
            reason.contains("alice") && reason.contains("1970-01-01T00:00:06Z"),
            "{reason}"
        );
        let effects = pipeline.step(&sick(6_000));
        assert!(
            matches!(effects[0], Effect::MaintenanceEnded { .. }),
            "{effects:?}"
        );
        assert!(done(&effects).is_some());
        assert!(
            pipeline
                .context("shop", 6_000)
                .unwrap()
                .maintenance
                .is_none()
        );
    }
}

#[test]
fn alerts_wait_for_the_end_of_a_maintenance_window_over_a_restart() {
    let mut pipeline = alerting(Obstacle, 40);
    pipeline.step(&maintenance(10, 8_000, true));
    let by_window = Withheld::Maintenance {
        window: "command".into(),
    };
    let effects = watch(&mut pipeline, 0, 3_000);
    assert_eq!(alerts(&effects), (0, vec![by_window; 3]));
    let mut pipeline = self::pipeline(Mode::Observe, &pipeline.carried(), PUPPET);
    assert_eq!(alerts(&watch(&mut pipeline, 4_000, 7_000)).0, 0);
    let stopped = Event::MaintenanceStopped {
        target: "shop".into(),
        said: said(7_100),
    };
    let effects = pipeline.step(&stopped);
    let Some(Effect::MaintenanceEnded { withheld, .. }) = effects.first() else {
        panic!("{effects:?}")
    };
    assert!(*withheld > 3, "{withheld}");
    assert_eq!(alerts(&effects), (1, vec![]), "the problem is there still");
}

fn calendar(at_ms: u64, windows: &[(u64, u64)]) -> Event {
    let window = |(begins_ms, ends_ms): &(u64, u64)| MaintenanceWindow {
        name: "backup".into(),
        begins_ms: *begins_ms,
        ends_ms: *ends_ms,
        allow_repairs: false,
        by: None,
        reason: None,
    };
    Event::Calendar {
        at_ms,
        local_time: LocalTime {
            utc_offset_minutes: -210,
            next_change: None,
        },
        windows: BTreeMap::from([("shop".to_owned(), windows.iter().map(window).collect())]),
    }
}

#[test]
fn windows_of_the_configuration_open_and_close_by_the_time_of_events() {
    let mut pipeline = choosing(Mode::Enforce);
    assert_eq!(
        pipeline.step(&calendar(0, &[(1_000, 4_000), (90_000, 95_000)])),
        []
    );
    let context = pipeline.context("shop", 0).unwrap();
    assert_eq!(context.local_time.unwrap().utc_offset_minutes, -210);
    assert_eq!(context.maintenance.next.unwrap().begins_ms, 1_000);
    let effects = watch(&mut pipeline, 0, 3_999);
    let began = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::MaintenanceBegan { .. }));
    assert_eq!(began.count(), 1);
    assert_eq!(refused(&effects).unwrap().0, "guard.maintenance");
    let context = pipeline.context("shop", 3_999).unwrap();
    assert_eq!(context.maintenance.next.unwrap().begins_ms, 90_000);
    assert!(done(&pipeline.step(&sick(4_000))).is_some());
}

#[test]
fn a_replay_hears_people_the_same() {
    let answers = [vec![answer(Obstacle); 12], vec![answer(Wall); 8]].concat();
    let (mut live, mut again) = (
        scripted(Mode::Observe, &answers),
        scripted(Mode::Observe, &answers),
    );
    let mut events: Vec<Event> = (0..20).map(|at| sick(at * 1_000)).collect();
    let people = [
        calendar(100, &[(2_500, 3_500)]),
        silenced(of_shop(false), 4_100, 6_500),
        acknowledged(8_100),
        denied(8_200),
        maintenance(15_100, 17_500, false),
        Event::Tick { at_ms: 18_100 },
    ];
    events.extend(people);
    events.sort_by_key(Event::at_ms);
    for event in events {
        let text = serde_json::to_string(&event).unwrap();
        let read: Event = serde_json::from_str(&text).unwrap();
        assert_eq!(read, event);
        let (one, other) = (live.step(&event), again.step(&read));
        let (one, other) = (serde_json::to_string(&one), serde_json::to_string(&other));
        assert_eq!(one.unwrap(), other.unwrap());
    }
    let effects: Vec<Effect> = live.step(&sick(20_000));
    let text = serde_json::to_string(&effects).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Effect>>(&text).unwrap(), effects);
}

/// Where nobody said anything, what is kept and recorded is what it was before people could.
#[test]
fn without_people_nothing_is_kept_or_recorded_anew() {
    let mut pipeline = choosing(Mode::Approve);
    let effects = serde_json::to_string(&watch(&mut pipeline, 0, 3_000)).unwrap();
    let carried = serde_json::to_string(&pipeline.carried()).unwrap();
    let context = serde_json::to_string(&pipeline.context("shop", 3_000).unwrap()).unwrap();
    for name in [
        "acknowledged",
        "answers",
        "silences",
        "maintenance",
        "held",
        "local_time",
    ] {
        let key = format!("\"{name}\":");
        assert!(
            !effects.contains(&key) && !carried.contains(&key) && !context.contains(&key),
            "{name}"
        );
    }
    // As it was recorded before.
    let event = Event::Released {
        target: "shop".into(),
        said: Attribution {
            at_ms: 5,
            ..Attribution::default()
        },
    };
    let old = r#"{"released":{"target":"shop","at_ms":5}}"#;
    assert_eq!(serde_json::to_string(&event).unwrap(), old);
    assert_eq!(serde_json::from_str::<Event>(old).unwrap(), event);
}
