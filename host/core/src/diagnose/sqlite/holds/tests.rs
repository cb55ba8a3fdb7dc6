//! Rows of observations as the healthy and the faulty would give them.

use super::super::Memory;
use super::super::tests::{holder, probe, state};
use crate::diagnose::tests::OPTIONS;
use crate::diagnose::{DiagnoseOptions, Diagnosis};
use crate::model::Value;
use crate::source::{Observation, State};
use crate::sqlite_state::{Lock, LockHolder, RunState, SqliteState};

mod rollback;

/// What is found in each observation of a row.
fn each(observations: &[(u64, SqliteState)], options: &DiagnoseOptions) -> Vec<Vec<Diagnosis>> {
    let mut memory = Memory::default();
    let found = observations.iter().map(|(at_ms, state)| {
        let seen = Observation {
            target: "shop".into(),
            at_ms: *at_ms,
            samples: Vec::new(),
            snapshot_at_ms: None,
            state: State::Sqlite(state.clone()),
        };
        memory.diagnose(&seen, state, &[], options).problems
    });
    found.collect()
}

/// What is found in the last observation of a row, one a second.
fn last(states: Vec<SqliteState>) -> Vec<Diagnosis> {
    last_with(states, &OPTIONS)
}

fn last_with(states: Vec<SqliteState>, options: &DiagnoseOptions) -> Vec<Diagnosis> {
    let row: Vec<_> = (0..).map(|n| n * 1000).zip(states).collect();
    each(&row, options).pop().unwrap_or_default()
}

fn kinds(found: &[Diagnosis]) -> Vec<&str> {
    found.iter().map(|problem| problem.kind.as_str()).collect()
}

fn fact<'a>(problem: &'a Diagnosis, name: &str) -> &'a Value {
    let fact = problem.facts.iter().find(|fact| fact.name == name);
    &fact
        .unwrap_or_else(|| panic!("no {name}: {problem:?}"))
        .value
}

fn repairs(problem: &Diagnosis) -> Vec<&str> {
    problem.candidates.iter().map(|c| c.id.as_str()).collect()
}

fn writes(pid: u32, commits: u32) -> SqliteState {
    state(vec![holder(Lock::WalWrite, pid)], commits)
}

fn reads(slot: u8, pid: u32) -> SqliteState {
    state(vec![holder(Lock::WalRead(slot), pid)], 1)
}

/// The same observation with the holders' activity as given.
fn doing(mut state: SqliteState, run_state: RunState, run_mark: u64, cpu_us: u64) -> SqliteState {
    for probe in &mut state.probes {
        let activity = probe.activity.as_mut().unwrap();
        activity.state = run_state;
        activity.run_mark = run_mark;
        activity.cpu_us = cpu_us;
    }
    state
}

fn named(mut state: SqliteState, name: &str) -> SqliteState {
    for holder in &mut state.locks {
        name.clone_into(&mut holder.process.name);
    }
    state
}

#[test]
fn a_write_lock_is_stale_only_in_the_same_hands_and_without_a_commit() {
    let held = writes;
    let let_go = || state(vec![], 1);
    let found_free = || {
        let mut state = held(7, 1);
        state.probes[0].held -= 1;
        state
    };
    let not_probed = || SqliteState {
        probes: Vec::new(),
        ..held(7, 1)
    };
    let cases = [
        ("held", vec![held(7, 1), held(7, 1)], 1),
        ("commits", vec![held(7, 1), held(7, 2)], 0),
        ("changes hands", vec![held(7, 1), held(8, 1)], 0),
        ("let go", vec![held(7, 1), let_go(), held(7, 1)], 0),
        ("a sample finds it free", vec![held(7, 1), found_free()], 0),
        ("and it begins again", vec![found_free(), held(7, 1)], 0),
        ("not probed", vec![not_probed(), not_probed()], 0),
        (
            "ran",
            vec![held(7, 1), doing(held(7, 1), RunState::Sleeping, 2, 1010)],
            0,
        ),
        (
            "starved",
            vec![held(7, 1), doing(held(7, 1), RunState::Running, 1, 1000)],
            0,
        ),
        (
            "waits for a disk",
            vec![held(7, 1), doing(held(7, 1), RunState::Disk, 1, 1000)],
            0,
        ),
        ("outside", vec![held(0, 1), held(0, 1)], 0),
    ];
    for (name, states, stale) in cases {
        let found = last(states);
        let expected = vec!["lock.stale-holder"; stale];
        assert_eq!(kinds(&found), expected, "{name}");
    }
}

#[test]
fn a_gap_begins_every_hold_again() {
    let row = |gap_ms: u64| {
        let at = [0, 1000, 1000 + gap_ms, 2000 + gap_ms];
        let writers = at.map(|at_ms| (at_ms, writes(7, 1)));
        let readers = at.map(|at_ms| (at_ms, reads(1, 7)));
        let age = |found: &[Diagnosis], name: &str| fact(&found[0], name).clone();
        let ages = |row: &[(u64, SqliteState)], name: &str| {
            let found = each(row, &OPTIONS);
            (
                age(&found[2], name),
                age(&found[3], name),
                found[2][0].candidates.len(),
            )
        };
        (ages(&writers, "age_ms"), ages(&readers, "reader_age_ms"))
    };
    let whole = |one, two, offered| (Value::Integer(one), Value::Integer(two), offered);
    let (writer, reader) = row(5_000);
    assert_eq!(writer, whole(6_000, 7_000, 1));
    assert_eq!(reader, whole(6_000, 7_000, 1));
    // It stays one incident; nothing is offered on what was seen before.
    let (writer, reader) = row(600_000);
    assert_eq!(writer, whole(0, 1_000, 0));
    assert_eq!(reader, whole(0, 1_000, 0));
}

#[test]
fn a_holder_at_work_is_a_long_holder_that_no_repair_is_offered_for() {
    let works = |second: u64| {
        let state = doing(writes(7, 1), RunState::Running, second, second * 900_000);
        (second * 1000, state)
    };
    let options = DiagnoseOptions {
        may_end: vec!["batch".into()],
        ..OPTIONS
    };
    let row: Vec<_> = (0..=12).map(works).collect();
    let found = each(&row, &options);
    assert!(found[9].is_empty(), "{:?}", found[9]);
    let [problem] = &found[12][..] else {
        panic!("{:?}", found[12]);
    };
    assert_eq!(problem.kind, "lock.long-holder");
    assert!(problem.summary.contains("(batch)") && problem.summary.contains("at work"));
    assert_eq!(*fact(problem, "holder_cpu_ms"), Value::Integer(12 * 900));
    assert!(problem.candidates.is_empty());
    // Once it has come to a standstill, it is a stale holder, and stays one.
    let mut row = row;
    row.push((
        13_000,
        doing(writes(7, 1), RunState::Sleeping, 99, 11_000_000),
    ));
    row.push((
        14_000,
        doing(writes(7, 1), RunState::Sleeping, 99, 11_000_000),
    ));
    row.push((
        15_000,
        doing(writes(7, 1), RunState::Sleeping, 100, 11_000_100),
    ));
    let found = each(&row, &options);
    assert_eq!(kinds(&found[13]), ["lock.long-holder"]);
    assert_eq!(kinds(&found[14]), ["lock.stale-holder"]);
    assert_eq!(repairs(&found[14][0]), ["lock.end-holder"]);
    assert_eq!(*fact(&found[14][0], "age_ms"), Value::Integer(1000));
    assert_eq!(kinds(&found[15]), ["lock.stale-holder"]);
    assert!(found[15][0].candidates.is_empty(), "it ran");
    assert!(found[15][0].summary.contains("may have let go"));
}

#[test]
fn a_writer_outside_of_the_container_is_told_and_nobody_is_named() {
    let row: Vec<_> = (0..=10).map(|n| (n * 1000, writes(0, 1))).collect();
    let found = each(&row, &OPTIONS);
    let problem = &found[10][0];
    assert_eq!(problem.kind, "lock.long-holder");
    assert!(
        problem
            .summary
            .contains("outside of this container: run dbmedic")
            || problem.summary.contains("run dbmedic where it can see"),
        "{}",
        problem.summary
    );
    assert_eq!(*fact(problem, "holder_outside"), Value::Boolean(true));
    assert!(problem.candidates.is_empty());
}

#[test]
fn a_stopped_holder_is_reported_as_stopped() {
    let options = DiagnoseOptions {
        may_end: vec!["batch".into()],
        ..OPTIONS
    };
    for (run_state, words, offered) in [
        (RunState::Stopped, "SIGCONT", true),
        (RunState::Traced, "debugger", false),
        (RunState::Frozen, "frozen", false),
    ] {
        let held = || doing(writes(7, 1), run_state, 1, 1000);
        let found = last_with(vec![held(), held()], &options);
        assert!(found[0].summary.contains(words), "{}", found[0].summary);
        assert_eq!(repairs(&found[0]).contains(&"lock.end-holder"), offered);
    }
}

#[test]
fn a_reader_starves_the_log_only_when_it_is_behind_its_end() {
    for (slot, expected) in [
        (1, vec!["wal.checkpoint-starved"]),
        (2, vec![]),
        (0, vec!["wal.checkpoint-starved"]),
    ] {
        let found = last(vec![reads(slot, 7), reads(slot, 7)]);
        assert_eq!(kinds(&found), expected, "read mark {slot}");
    }
}

/// One observation of a reader in slot 1 with its wal-index set: max frame, frames copied, marks
/// of the slots 1 and 2, salt.
fn index(max_frame: u32, backfilled: u32, marks: [u32; 2], salt: u32) -> SqliteState {
    let mut state = reads(1, 7);
    let index = state.wal_index.as_mut().unwrap();
    index.max_frame = max_frame;
    index.backfilled = backfilled;
    index.read_marks = [0, marks[0], marks[1], u32::MAX, u32::MAX];
    index.salts = (salt, 1);
    state
}

/// The same in slot 0.
fn index_0(max_frame: u32, backfilled: u32, salt: u32) -> SqliteState {
    let mut state = reads(0, 7);
    let index = state.wal_index.as_mut().unwrap();
    (index.max_frame, index.backfilled, index.salts) = (max_frame, backfilled, (salt, 1));
    state
}

/// The age that a reader is reported with at the end of a row; none when it is not.
fn reader_age(states: Vec<SqliteState>) -> Option<i64> {
    let found = last(states);
    let problem = found.first()?;
    match fact(problem, "reader_age_ms") {
        Value::Integer(age_ms) => Some(*age_ms),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reader_counts_from_when_it_pins_something() {
    // A dashboard while nobody writes: its mark is the end of the log, for however long.
    let idle = || index(100, 0, [100, u32::MAX], 1);
    let pinned = || index(3000, 100, [100, 3000], 1);
    let mut row: Vec<_> = (0..30).map(|_| idle()).collect();
    row.extend([pinned(), pinned(), pinned()]);
    assert_eq!(reader_age(row), Some(2000));
}

#[test]
fn a_read_mark_is_one_transaction_only_while_no_younger_one_can_take_it() {
    // No other slot has a larger mark: a reader that may not write the wal-index takes this one.
    let open = |run_mark: u64| {
        let state = index(3000, 100, [100, u32::MAX], 1);
        doing(state, RunState::Sleeping, run_mark, run_mark * 100)
    };
    assert_eq!(reader_age(vec![open(1), open(2), open(3)]), None);
    // One that did not run has not let go either.
    assert_eq!(reader_age(vec![open(1), open(1), open(1)]), Some(2000));
    // With a larger mark in another slot a process that runs all the time is followed too.
    let closed = |run_mark: u64| {
        let state = index(3000, 100, [100, 2500], 1);
        doing(state, RunState::Sleeping, run_mark, run_mark * 100)
    };
    assert_eq!(
        reader_age(vec![closed(1), closed(2), closed(3)]),
        Some(2000)
    );
    // A mark from another log, or not valid yet, closes nothing.
    let beyond = |run_mark: u64| {
        let state = index(3000, 100, [100, 4000], 1);
        doing(state, RunState::Sleeping, run_mark, run_mark * 100)
    };
    assert_eq!(reader_age(vec![beyond(1), beyond(2), beyond(3)]), None);
}

#[test]
fn a_read_hold_ends_with_the_log_that_it_pinned() {
    let pinned = |salt| index(3000, 100, [100, 3000], salt);
    for (name, row, age) in [
        ("one log", vec![pinned(1), pinned(1), pinned(1)], Some(2000)),
        (
            "the log was reset",
            vec![pinned(1), pinned(2), pinned(2)],
            Some(1000),
        ),
        (
            "it grows",
            vec![
                pinned(1),
                index(4000, 100, [100, 4000], 1),
                index(5000, 100, [100, 5000], 1),
            ],
            Some(2000),
        ),
        (
            "checkpointed past it",
            vec![pinned(1), pinned(1), index(3000, 200, [100, 3000], 1)],
            None,
        ),
        (
            "another mark",
            vec![pinned(1), pinned(1), index(3000, 100, [150, 3000], 1)],
            None,
        ),
        (
            "slot 0",
            vec![index_0(3000, 0, 1), index_0(4000, 0, 1)],
            Some(1000),
        ),
        (
            "slot 0, nothing to copy",
            vec![index_0(3000, 3000, 1), index_0(3000, 3000, 1)],
            None,
        ),
        (
            "slot 0, frames were copied",
            vec![index_0(3000, 0, 1), index_0(4000, 500, 1)],
            None,
        ),
    ] {
        assert_eq!(reader_age(row), age, "{name}");
    }
}

#[test]
fn only_frames_that_the_reader_itself_keeps_back_are_held_against_it() {
    // Nobody checkpoints: 3000 frames wait, of which the reader pins 500.
    let row = || {
        vec![
            index(3000, 0, [2500, 3000], 1),
            index(3000, 0, [2500, 3000], 1),
        ]
    };
    assert_eq!(reader_age(row()), None);
}

#[test]
fn a_reader_at_work_is_reported_and_not_offered_to_be_ended() {
    let options = DiagnoseOptions {
        may_end: vec!["batch".into()],
        ..OPTIONS
    };
    let reading = |second: u64| {
        let mut state = doing(reads(1, 7), RunState::Sleeping, second, second * 100);
        let activity = state.probes[0].activity.as_mut().unwrap();
        activity.read_bytes = Some(second * 8192);
        state
    };
    let found = last_with((0..9).map(reading).collect(), &options);
    assert_eq!(kinds(&found), ["wal.checkpoint-starved"]);
    assert_eq!(*fact(&found[0], "reader_idle_ms"), Value::Integer(0));
    assert!(
        found[0].candidates[0]
            .preconditions
            .iter()
            .any(|p| !p.holds)
    );
    // So is one that only runs now and then: a stream of a few rows a second looks like a heartbeat.
    let beating = |second: u64| doing(reads(1, 7), RunState::Sleeping, second, second * 100);
    let found = last_with((0..9).map(beating).collect(), &options);
    assert_eq!(*fact(&found[0], "reader_idle_ms"), Value::Integer(0));
    let offered = |found: &[Diagnosis]| {
        let mut conditions = found[0].candidates.iter().flat_map(|c| &c.preconditions);
        conditions.all(|p| p.holds)
    };
    assert!(!offered(&found));
    // Only who does not run at all is offered.
    let sleeping = |_| doing(reads(1, 7), RunState::Sleeping, 1, 100);
    let found = last_with((0..9).map(sleeping).collect(), &options);
    assert_eq!(*fact(&found[0], "reader_idle_ms"), Value::Integer(8000));
    assert!(offered(&found));
}

#[test]
fn of_two_readers_the_one_that_is_furthest_back_is_in_the_way() {
    let two = || {
        let mut state = state(
            vec![holder(Lock::WalRead(1), 7), holder(Lock::WalRead(2), 8)],
            1,
        );
        let index = state.wal_index.as_mut().unwrap();
        index.read_marks = [0, 1500, 100, 3000, u32::MAX];
        state
    };
    let found = last(vec![two(), two()]);
    assert_eq!(*fact(&found[0], "reader_pid"), Value::Integer(8));
}

#[test]
fn readers_outside_of_the_container_are_told_and_nobody_is_named() {
    let found = last(vec![reads(1, 0), reads(1, 0)]);
    assert_eq!(kinds(&found), ["wal.checkpoint-starved"]);
    assert!(
        found[0].summary.contains("outside of this container"),
        "{}",
        found[0].summary
    );
    assert!(found[0].summary.contains("run dbmedic where it can see"));
    assert!(found[0].candidates.is_empty());
}

#[test]
fn a_replicator_that_is_well_is_no_incident_and_never_a_candidate() {
    let options = DiagnoseOptions {
        may_end: vec!["litestream".into()],
        ..OPTIONS
    };
    let held = |second: u64| (second * 1000, named(reads(1, 7), "litestream"));
    let row: Vec<_> = (0..=301).map(held).collect();
    let found = each(&row, &options);
    assert!(found[..300].iter().all(Vec::is_empty));
    let problem = &found[301][0];
    assert!(
        problem.summary.contains("litestream, which replicates"),
        "{}",
        problem.summary
    );
    assert!(problem.candidates.is_empty());
    assert_eq!(*fact(problem, "reader_may_be_ended"), Value::Boolean(false));
    let writer: Vec<_> = (0..=20)
        .map(|n: u64| (n * 1000, named(writes(7, 1), "litestream")))
        .collect();
    let found = each(&writer, &options).pop().unwrap();
    assert!(found[0].candidates.is_empty());
}

/// A reader with transactions of 8 s, one after the other, that all hold the log back.
#[test]
fn one_habit_is_one_incident() {
    let open = |holder: LockHolder| {
        let mut state = state(vec![holder], 1);
        state.probes = state.locks.iter().map(probe).collect();
        state
    };
    let row: Vec<_> = (0..80_u64)
        .map(|second| {
            let mut state = open(holder(Lock::WalRead(1), 7));
            let generation = u32::try_from(second / 8).unwrap();
            let index = state.wal_index.as_mut().unwrap();
            index.read_marks[1] = 100 + generation;
            index.backfilled = 100 + generation;
            (second * 1000, state)
        })
        .collect();
    let found = each(&row, &OPTIONS);
    let times = found
        .windows(2)
        .filter(|pair| pair[0].is_empty() && !pair[1].is_empty())
        .count();
    assert_eq!(times, 2, "the first, and the habit from the second on");
    assert!(
        found[72][0].summary.contains("again and again"),
        "{}",
        found[72][0].summary
    );
    assert!(found[72][0].candidates.is_empty());
    // When the process is gone, so is its habit.
    let mut row = row;
    row.push((80_000, state(Vec::new(), 1)));
    assert!(each(&row, &OPTIONS).pop().unwrap().is_empty());
}
