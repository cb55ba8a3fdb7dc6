use super::*;
use crate::diagnose::tests::{OPTIONS, violated_bound};
use crate::source::Observation;
use crate::source::State;
use crate::target::sqlite::activity::{Activity, RunState};
use crate::target::sqlite::set::{Hidden, HiddenUse};
use crate::target::sqlite::{Lock, LockHolder, Probe, Process, WalState};

pub(super) fn holder(lock: Lock, pid: u32) -> LockHolder {
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

/// A probe that found the lock held all the time, by a process that sleeps.
pub(super) fn probe(holder: &LockHolder) -> Probe {
    let process = &holder.process;
    let activity = Activity {
        state: RunState::Sleeping,
        threads: 1,
        run_mark: 1,
        runs: 1,
        cpu_us: 1000,
        read_bytes: Some(0),
    };
    Probe {
        lock: holder.lock,
        pid: process.pid,
        start_ticks: process.start_ticks,
        samples: 1000,
        held: 1000,
        window_us: 30_000,
        ran: false,
        activity: (process.pid != 0).then_some(activity),
    }
}

pub(super) fn state(locks: Vec<LockHolder>, change_counter: u32) -> SqliteState {
    SqliteState {
        probes: locks.iter().map(probe).collect(),
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

#[test]
fn a_hidden_use_is_reported_where_descriptors_were_looked_at_and_stops_every_repair() {
    let used = |hidden| HiddenUse {
        hidden,
        process: holder(Lock::Shared, 7).process,
        descriptor: Some(4),
    };
    let mut memory = Memory::default();
    let mut diagnose = |at_ms, uses: Option<Vec<HiddenUse>>| {
        let mut state = state(Vec::new(), 1);
        state.set.hidden_uses = uses;
        let seen = Observation {
            target: "shop".into(),
            at_ms,
            samples: Vec::new(),
            snapshot_at_ms: None,
            state: State::Sqlite(state.clone()),
        };
        let bounds = [violated_bound("wal_size", "wal_bytes", true)];
        let found = memory.diagnose(&seen, &state, &bounds, &OPTIONS);
        let kinds = found.problems.iter().map(|problem| problem.kind.clone());
        let candidates: usize = found.problems.iter().map(|p| p.candidates.len()).sum();
        (
            kinds.collect::<Vec<_>>(),
            candidates,
            found.examined.contains(&Part::Descriptors),
        )
    };
    let oversized = "wal.oversized".to_owned();
    let all = [
        (Hidden::LogUnlinked, "wal.unlinked"),
        (Hidden::DatabaseUnlinked, "file.unlinked"),
        (Hidden::LocksLost, "lock.lost"),
        (Hidden::LogElsewhere, "wal.elsewhere"),
    ];
    let (kinds, candidates, examined) = diagnose(0, Some(all.map(|(way, _)| used(way)).to_vec()));
    for (_, kind) in all {
        assert!(kinds.contains(&kind.to_owned()), "{kinds:?}");
        assert_eq!(crate::diagnose::part_of(kind), Part::Descriptors);
    }
    assert!(kinds.contains(&oversized) && candidates == 0 && examined);
    // Not looked at: what was seen is neither over nor reported again, and still nothing is offered.
    assert_eq!(diagnose(1000, None), (vec![oversized.clone()], 0, false));
    assert_eq!(diagnose(2000, Some(Vec::new())), (vec![oversized], 1, true));
}
