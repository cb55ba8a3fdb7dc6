//! What a person's approval lets happen: the repair that the person was told of, once, and no other.

use dbmedic::guard::Mode;
use dbmedic::model::{Attribution, Candidate, DataLoss, Outcome, OutcomeResult};
use dbmedic::pipeline::{Carried, Effect, Event, Pipeline, RulingSummary};
use dbmedic::policy::{Limits, Runtime};
use dbmedic::signing::Verified;
use dbmedic::source::{Observation, State};
use dbmedic::sqlite_state::{
    Activity, Lock, LockHolder, Probe, Process, RunState, SqliteState, WalIndexState, WalState,
};
use dbmedic_tests::observed;

use crate::sandbox::HOSTILE;

const DEFAULT: &[u8] = include_bytes!("../../policies/prebuilt/default.wasm");

/// A pipeline in mode approve, under a policy that chooses the first repair that it is offered.
fn pipeline() -> Pipeline {
    resumed(&Carried::default())
}

/// The same in the next run.
fn resumed(carried: &Carried) -> Pipeline {
    with(carried, HOSTILE)
}

/// A run under a policy that goes on with what an earlier one carried.
fn with(carried: &Carried, policy: &[u8]) -> Pipeline {
    // As it stands in a file between the two.
    let carried = serde_json::to_string(carried).unwrap();
    let carried = serde_json::from_str(&carried).unwrap();
    let mut options = observed("shop");
    let target = options.targets.get_mut("shop").unwrap();
    target.mode = Mode::Approve;
    target.diagnose.may_end = vec!["batch".into()];
    let limits = Limits {
        deadline_ms: 5_000,
        start_deadline_ms: 30_000,
        ..Limits::default()
    };
    let runtime = Runtime::new(limits).unwrap();
    let policy = runtime.load(&Verified::unsigned(policy), &[]).unwrap();
    Pipeline::new(options, policy, carried)
}

/// A look at a log that these processes keep from being checkpointed.
pub(crate) fn look(at_ms: u64, readers: &[u32]) -> Event {
    let reader = |&pid: &u32| LockHolder {
        lock: Lock::WalRead(1),
        exclusive: false,
        process: Process {
            pid,
            start_ticks: 9,
            name: "batch".into(),
            cpu_ticks: 0,
        },
    };
    let asleep = |&pid: &u32| Probe {
        lock: Lock::WalRead(1),
        pid,
        start_ticks: 9,
        samples: 1000,
        held: 1000,
        window_us: 6000,
        ran: false,
        activity: Some(Activity {
            state: RunState::Sleeping,
            threads: 1,
            run_mark: 1,
            runs: 1,
            cpu_us: 1,
            read_bytes: Some(0),
            descendants: None,
            waits_for_lock: false,
        }),
    };
    let state = SqliteState {
        database_bytes: Some(4096),
        wal: Some(WalState {
            bytes: 1 << 20,
            ..WalState::default()
        }),
        wal_index: Some(WalIndexState {
            max_frame: 3000,
            backfilled: 100,
            read_marks: [0, 100, 3000, u32::MAX, u32::MAX],
            ..WalIndexState::default()
        }),
        locks: readers.iter().map(reader).collect(),
        probes: readers.iter().map(asleep).collect(),
        ..SqliteState::default()
    };
    Event::Observed(Observation {
        target: "shop".into(),
        at_ms,
        samples: Vec::new(),
        snapshot_at_ms: None,
        state: State::Sqlite(state),
    })
}

pub(crate) fn approved(repair: &Candidate, at_ms: u64) -> Event {
    Event::Approved {
        incident: "INC-1".into(),
        repair: Some(repair.clone()),
        said: Attribution {
            at_ms,
            ..Attribution::default()
        },
    }
}

pub(crate) fn failed(repair: &Candidate, at_ms: u64) -> Event {
    Event::RepairEnded {
        interrupted: false,
        begun: true,
        target: "shop".into(),
        at_ms,
        outcome: Outcome {
            incident: "INC-1".into(),
            kind: "wal.checkpoint-starved".into(),
            subject: "write-ahead log".into(),
            repair: repair.id.clone(),
            outcome_result: OutcomeResult::RolledBack,
            reason: "it still reads".into(),
            duration_ms: 1,
            loss: DataLoss::NONE,
            notes: Vec::new(),
        },
    }
}

/// What a person is asked to approve.
pub(crate) fn waits(effects: &[Effect]) -> Option<Candidate> {
    effects.iter().find_map(|effect| match effect {
        Effect::Ruled { ruling, waits, .. } => {
            assert_eq!(waits.is_some(), *ruling == RulingSummary::AwaitsPerson);
            waits.clone()
        }
        _ => None,
    })
}

/// What is done.
pub(crate) fn done(effects: &[Effect]) -> Option<Candidate> {
    effects.iter().find_map(|effect| match effect {
        Effect::Repair(repair) => Some(repair.candidate().clone()),
        _ => None,
    })
}

#[test]
fn an_approval_is_for_the_repair_that_the_person_was_told_of() {
    let mut pipeline = pipeline();
    pipeline.step(&look(0, &[7]));
    pipeline.step(&look(100, &[7, 8]));
    let first = waits(&pipeline.step(&look(1_200, &[7, 8]))).unwrap();
    assert!(first.summary.contains("end process 7"), "{}", first.summary);
    assert_eq!(
        waits(&pipeline.step(&look(2_250, &[7, 8]))),
        None,
        "told once"
    );
    // The same incident and the same repair, but it would end another process.
    let second = waits(&pipeline.step(&look(3_300, &[8]))).unwrap();
    assert!(second.summary.contains("end process 8"));

    let effects = pipeline.step(&approved(&first, 3_400));
    assert_eq!(done(&effects), None);
    assert_eq!(waits(&effects).as_ref(), Some(&second), "told anew");
    assert_eq!(done(&pipeline.step(&look(4_500, &[8]))), None);

    assert_eq!(
        done(&pipeline.step(&approved(&second, 4_600))),
        Some(second)
    );
}

#[test]
fn an_approval_is_used_once() {
    let mut pipeline = pipeline();
    let events = [look(0, &[7]), look(1_100, &[7])];
    let first = events
        .iter()
        .find_map(|e| waits(&pipeline.step(e)))
        .unwrap();
    assert!(done(&pipeline.step(&approved(&first, 1_200))).is_some());
    pipeline.step(&failed(&first, 1_300));
    // Right after a repair, and still a person is asked: nobody else is held to the cool-down.
    let effects = pipeline.step(&look(2_400, &[7]));
    assert_eq!(
        (done(&effects), waits(&effects)),
        (None, Some(first.clone()))
    );
    assert!(done(&pipeline.step(&approved(&first, 2_500))).is_some());
}

/// Whatever ends a run, a repair that was approved and has not begun is neither forgotten nor made twice.
#[test]
fn an_approval_holds_in_the_next_run_until_its_repair_begins() {
    for begins in [false, true] {
        let mut before = pipeline();
        before.step(&look(0, &[7]));
        let first = waits(&before.step(&look(1_100, &[7]))).unwrap();
        assert!(done(&before.step(&approved(&first, 1_200))).is_some());
        if begins {
            before.begun("shop");
        }
        let carried = before.carried();
        assert_eq!(
            carried.targets["shop"].guard.past.len(),
            usize::from(begins),
            "what has not begun does not count"
        );
        let mut after = resumed(&carried);
        after.step(&look(2_000, &[7]));
        let effects = after.step(&look(3_100, &[7]));
        assert_eq!(done(&effects).is_some(), !begins);
        assert_eq!(waits(&effects).is_some(), begins);
    }
}

#[test]
fn an_approval_falls_away_with_its_incident() {
    let mut pipeline = pipeline();
    pipeline.step(&look(0, &[7]));
    let first = waits(&pipeline.step(&look(1_100, &[7]))).unwrap();
    pipeline.step(&look(1_200, &[]));
    assert_eq!(pipeline.step(&approved(&first, 1_300)), []);
    pipeline.step(&look(1_400, &[7]));
    let effects = pipeline.step(&look(2_500, &[7]));
    assert_eq!((done(&effects), waits(&effects)), (None, Some(first)));
}

#[test]
fn a_replay_approves_the_same() {
    let mut live = pipeline();
    let mut told = None;
    let mut again = pipeline();
    let mut check = |event: &Event| {
        let effects = live.step(event);
        let read: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
        let repeated = again.step(&read);
        assert_eq!(
            serde_json::to_string(&effects).unwrap(),
            serde_json::to_string(&repeated).unwrap()
        );
        told = waits(&effects).or(told.take());
        (told.clone(), done(&effects))
    };
    check(&look(0, &[7]));
    let (first, _) = check(&look(1_100, &[7]));
    let (_, done) = check(&approved(&first.unwrap(), 1_200));
    assert!(done.is_some());
    // As older versions recorded it: whatever waits.
    let mut older = pipeline();
    older.step(&look(0, &[7]));
    older.step(&look(1_100, &[7]));
    let event = r#"{"approved":{"incident":"INC-1","at_ms":1200}}"#;
    let effects = older.step(&serde_json::from_str(event).unwrap());
    assert!(self::done(&effects).is_some());
}

/// The incidents that are opened and resolved.
fn opened_and_resolved(effects: &[Effect]) -> (usize, Vec<String>) {
    let opened = |effect: &&Effect| matches!(effect, Effect::IncidentOpened { .. });
    let resolved = effects.iter().filter_map(|effect| match effect {
        Effect::IncidentResolved { resolved, .. } => Some(resolved.incident.clone()),
        _ => None,
    });
    (effects.iter().filter(opened).count(), resolved.collect())
}

#[test]
fn a_problem_that_outlasts_a_restart_is_the_same_incident() {
    let mut before = pipeline();
    before.step(&look(0, &[7]));
    let first = waits(&before.step(&look(1_100, &[7]))).unwrap();
    let mut after = resumed(&before.carried());
    // How long the reader held the log is not known yet.
    let effects = after.step(&look(5_000, &[7]));
    assert_eq!(opened_and_resolved(&effects), (0, Vec::new()));
    let effects = after.step(&look(6_000, &[7]));
    assert_eq!(opened_and_resolved(&effects), (0, Vec::new()));
    assert_eq!(waits(&effects).as_ref(), Some(&first), "told anew");
    assert_eq!(
        done(&after.step(&approved(&first, 6_100))),
        Some(first),
        "under its old name"
    );
}

#[test]
fn a_problem_that_is_gone_after_a_restart_is_over_when_it_would_have_shown() {
    let mut before = pipeline();
    before.step(&look(0, &[7]));
    before.step(&look(1_100, &[7]));
    let mut after = resumed(&before.carried());
    for at_ms in [5_000, 5_900] {
        let effects = after.step(&look(at_ms, &[]));
        assert_eq!(opened_and_resolved(&effects), (0, Vec::new()));
    }
    let effects = after.step(&look(6_000, &[]));
    assert_eq!(opened_and_resolved(&effects), (0, vec!["INC-1".to_owned()]));
}

#[test]
fn an_approval_that_was_left_between_two_runs_counts_when_the_problem_is_seen_again() {
    let mut before = pipeline();
    before.step(&look(0, &[7]));
    let first = waits(&before.step(&look(1_100, &[7]))).unwrap();
    for (reader, expected) in [(7, true), (8, false)] {
        let mut after = resumed(&before.carried());
        assert_eq!(after.step(&approved(&first, 5_000)), [], "nothing seen yet");
        after.step(&look(5_100, &[reader]));
        let effects = after.step(&look(6_200, &[reader]));
        assert_eq!(done(&effects).is_some(), expected, "reader {reader}");
        assert_eq!(waits(&effects).is_some(), !expected, "reader {reader}");
    }
}

/// Under the default policy a reader must hold the log for five minutes, and no run knows how long
/// that was in an earlier one.
#[test]
fn an_approval_waits_until_its_repair_is_chosen_again_over_restarts() {
    const CHOSEN_MS: u64 = 302_000;
    let mut before = with(&Carried::default(), DEFAULT);
    before.step(&look(0, &[7]));
    assert_eq!(waits(&before.step(&look(1_100, &[7]))), None, "too fresh");
    // Without a gap, after which every hold begins again.
    let until_chosen = |pipeline: &mut Pipeline, from_ms: u64| {
        (from_ms + 2_000..=from_ms + CHOSEN_MS)
            .step_by(1_000)
            .flat_map(|at_ms| pipeline.step(&look(at_ms, &[7])))
            .collect::<Vec<_>>()
    };
    let repair = waits(&until_chosen(&mut before, 0)).unwrap();
    let carried = before.carried();
    let mut after = with(&carried, DEFAULT);
    after.step(&approved(&repair, 400_000));
    after.step(&look(400_100, &[7]));
    let effects = after.step(&look(401_200, &[7]));
    assert_eq!(done(&effects), None, "too fresh again");
    let mut again = with(&after.carried(), DEFAULT);
    again.step(&look(500_000, &[7]));
    again.step(&look(501_100, &[7]));
    let effects = until_chosen(&mut again, 500_000);
    assert_eq!(done(&effects), Some(repair));
}

#[test]
fn an_approval_lapses_after_an_hour() {
    const HOUR_MS: u64 = 3_600_000;
    for (late_ms, expected) in [(HOUR_MS, true), (HOUR_MS + 1, false)] {
        let mut before = pipeline();
        before.step(&look(0, &[7]));
        let first = waits(&before.step(&look(1_100, &[7]))).unwrap();
        let mut after = resumed(&before.carried());
        let said_ms = 5_000;
        after.step(&approved(&first, said_ms));
        after.step(&look(said_ms + late_ms - 1_100, &[7]));
        let effects = after.step(&look(said_ms + late_ms, &[7]));
        assert_eq!(done(&effects).is_some(), expected, "{late_ms} ms later");
        assert_eq!(waits(&effects).is_some(), !expected, "{late_ms} ms later");
    }
}
