use super::*;
use crate::diagnose::tests::{OPTIONS, violated_bound};
use crate::source::Observation;
use crate::source::State;
use crate::target::sqlite::{Lock, LockHolder, Process, WalState};

fn holder(lock: Lock, pid: u32) -> LockHolder {
    let name = "batch".to_owned();
    let process = Process {
        pid,
        start_ticks: 9,
        name,
        cpu_ticks: 0,
    };
    LockHolder {
        lock,
        exclusive: lock == Lock::WalWrite,
        process,
    }
}

fn state(locks: Vec<LockHolder>, change_counter: u32) -> SqliteState {
    SqliteState {
        database_bytes: Some(4096),
        wal: Some(WalState {
            bytes: 1 << 20,
            ..WalState::default()
        }),
        wal_index: Some(WalIndexState {
            change_counter,
            max_frame: 3000,
            backfilled: 100,
            read_marks: [0, 100, 3000, u32::MAX, u32::MAX],
            ..WalIndexState::default()
        }),
        locks,
        ..SqliteState::default()
    }
}

/// The kinds found in a row of looks, the last look's.
fn kinds(holds: &mut Memory, looks: &[(u64, SqliteState)]) -> Vec<String> {
    let mut last = Vec::new();
    for (at_ms, state) in looks {
        let seen = Observation {
            target: "shop".into(),
            at_ms: *at_ms,
            samples: Vec::new(),
            snapshot_at_ms: None,
            state: State::Sqlite(state.clone()),
        };
        let found = holds.diagnose(&seen, state, &[], &OPTIONS);
        last = found.problems.into_iter().map(|p| p.kind).collect();
    }
    last
}

#[test]
fn a_write_lock_is_stale_only_in_the_same_hands_and_without_a_commit() {
    let held = |pid, commits| state(vec![holder(Lock::WalWrite, pid)], commits);
    let cases = [
        (
            "held",
            vec![(0, held(7, 1)), (1000, held(7, 1))],
            vec!["lock.stale-holder"],
        ),
        (
            "too short",
            vec![(0, held(7, 1)), (999, held(7, 1))],
            vec![],
        ),
        ("commits", vec![(0, held(7, 1)), (1000, held(7, 2))], vec![]),
        (
            "changes hands",
            vec![(0, held(7, 1)), (1000, held(8, 1))],
            vec![],
        ),
        (
            "let go",
            vec![(0, held(7, 1)), (500, state(vec![], 1)), (1000, held(7, 1))],
            vec![],
        ),
    ];
    for (name, looks, expected) in cases {
        assert_eq!(kinds(&mut Memory::default(), &looks), expected, "{name}");
    }
}

#[test]
fn a_reader_starves_the_log_only_when_it_is_behind_its_end() {
    let reads = |slot| state(vec![holder(Lock::WalRead(slot), 7)], 1);
    for (slot, expected) in [
        (1, vec!["wal.checkpoint-starved"]),
        (2, vec![]),
        (0, vec!["wal.checkpoint-starved"]),
    ] {
        let looks = [(0, reads(slot)), (1000, reads(slot))];
        assert_eq!(
            kinds(&mut Memory::default(), &looks),
            expected,
            "read mark {slot}"
        );
    }
}

#[test]
fn a_damaged_log_is_not_offered_a_checkpoint_until_a_scan_finds_it_sound() {
    let oversized = violated_bound("wal_size", "wal_bytes", true);
    let mut holds = Memory::default();
    let mut kinds_of = |bad: Option<u64>, scanned| {
        let mut state = state(Vec::new(), 1);
        state.wal = Some(WalState {
            scanned,
            first_bad_frame: bad,
            ..WalState::default()
        });
        let seen = Observation {
            target: "shop".into(),
            at_ms: 0,
            samples: Vec::new(),
            snapshot_at_ms: None,
            state: State::Sqlite(state.clone()),
        };
        let found = holds.diagnose(&seen, &state, std::slice::from_ref(&oversized), &OPTIONS);
        found
            .problems
            .into_iter()
            .map(|p| p.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds_of(Some(9), true), ["wal.corrupt-frame"]);
    assert!(kinds_of(None, false).is_empty());
    assert_eq!(kinds_of(None, true), ["wal.oversized"]);
}

#[test]
fn a_checkpoint_is_offered_where_the_bound_allows_a_repair() {
    let state = state(Vec::new(), 1);
    let seen = Observation {
        target: "shop".into(),
        at_ms: 0,
        samples: Vec::new(),
        snapshot_at_ms: None,
        state: State::Sqlite(state.clone()),
    };
    for (bounds, offered) in [
        (vec![violated_bound("wal_size", "wal_bytes", true)], 1),
        (vec![violated_bound("wal_size", "wal_bytes", false)], 0),
        (
            vec![
                violated_bound("wal_size", "wal_bytes", false),
                violated_bound("wal_size", "wal_bytes", true),
            ],
            1,
        ),
    ] {
        let found = Memory::default().diagnose(&seen, &state, &bounds, &OPTIONS);
        let [problem] = &found.problems[..] else {
            panic!("{found:?}");
        };
        assert_eq!(problem.kind, "wal.oversized");
        assert_eq!(problem.candidates.len(), offered, "{bounds:?}");
    }
}
