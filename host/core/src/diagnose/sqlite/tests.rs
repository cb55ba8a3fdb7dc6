use super::*;
use crate::diagnose::tests::{OPTIONS, violated_bound};
use crate::source::Observation;
use crate::source::State;
use crate::sqlite_state::set::{Hidden, HiddenUse};
use crate::sqlite_state::{
    Activity, DamagedObject, HeaderFault, IndexComparison, Integrity, IntegrityFault, Lock,
    LockHolder, Probe, Process, RunState, WalState,
};

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
        descendants: None,
        waits_for_lock: false,
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
        let seen = observed(0, &state);
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
    let seen = observed(0, &state);
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
fn while_dbmedic_reads_the_log_nobody_is_offered_a_checkpoint_for_it() {
    let bounds = [violated_bound("wal_size", "wal_bytes", true)];
    let kinds = |own: &[Lock]| {
        let mut state = state(Vec::new(), 1);
        state.own_read_locks = own.to_vec();
        let seen = observed(0, &state);
        let found = Memory::default().diagnose(&seen, &state, &bounds, &OPTIONS);
        let problems = found.problems.into_iter();
        problems.map(|problem| problem.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&[]), ["wal.oversized"]);
    // At the last frame nothing is held back, behind it all that follows.
    assert_eq!(kinds(&[Lock::WalRead(2)]), ["wal.oversized"]);
    assert!(kinds(&[Lock::WalRead(1), Lock::WalRead(2)]).is_empty());
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
        let seen = observed(at_ms, &state);
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

/// A look at a file with its header and a log that nobody uses, or that somebody does.
fn with_left_log(counter: u32, log: (u32, u32), locks: Vec<LockHolder>) -> SqliteState {
    let mut state = state(locks, 1);
    state.set.header = Some(set::DatabaseHeader {
        page_bytes: 4096,
        write_version: 2,
        read_version: 2,
        change_counter: counter,
        ..set::DatabaseHeader::default()
    });
    state.wal = Some(WalState {
        bytes: 1 << 20,
        page_bytes: 4096,
        header_valid: true,
        scanned: true,
        commits: 3,
        change_counters: Some(log),
        ..WalState::default()
    });
    state
}

fn checked(faults: &[&str], sound_alone: Option<bool>) -> Integrity {
    let fault = |message: &&str| IntegrityFault {
        object: DamagedObject::Index {
            index: "i".into(),
            table: "t".into(),
            rebuildable: true,
        },
        message: (*message).to_owned(),
    };
    Integrity {
        duration_ms: 1,
        faults: faults.iter().map(fault).collect(),
        sound_alone,
        ..Integrity::empty(Mode::Full, None)
    }
}

fn observed(at_ms: u64, state: &SqliteState) -> Observation {
    Observation {
        target: "shop".into(),
        at_ms,
        samples: Vec::new(),
        snapshot_at_ms: None,
        state: State::Sqlite(state.clone()),
    }
}

/// The kinds that are found, and the repairs that are offered.
fn diagnosed(memory: &mut Memory, at_ms: u64, state: &SqliteState) -> (Vec<String>, Vec<String>) {
    let seen = observed(at_ms, state);
    let found = memory.diagnose(&seen, state, &[], &OPTIONS).problems;
    let offered = found.iter().flat_map(|problem| &problem.candidates);
    let offered = offered.map(|candidate| candidate.id.clone()).collect();
    (
        found.into_iter().map(|problem| problem.kind).collect(),
        offered,
    )
}

#[test]
fn a_log_is_called_foreign_by_proof_or_where_the_file_is_sound_without_it() {
    let foreign = || vec!["wal.foreign".to_owned()];
    let aside = || vec!["wal.set-aside".to_owned()];
    let index = || vec!["index.corrupt".to_owned()];
    let wrong = ["row 7 missing from index i"];
    // The file's counter, the log's, and whether that is a proof. The counter wraps.
    for (file, log, proven) in [
        (4, (5, 9), false),
        (5, (5, 9), false),
        (9, (5, 9), false),
        (3, (5, 9), true),
        (10, (5, 9), true),
        (u32::MAX, (0, 2), false),
        (u32::MAX - 1, (0, 2), true),
        (1, (u32::MAX, 2), false),
        (3, (u32::MAX, 2), true),
    ] {
        let state = with_left_log(file, log, Vec::new());
        let (kinds, offered) = diagnosed(&mut Memory::default(), 0, &state);
        assert_eq!(kinds.len(), usize::from(proven), "{file} {log:?}");
        assert!(offered.is_empty(), "the file was not checked");
        assert_eq!(set::objection(&state).is_some(), proven);
        let used = with_left_log(file, log, vec![holder(Lock::Shared, 7)]);
        assert!(diagnosed(&mut Memory::default(), 0, &used).0.is_empty());
    }

    let mut state = with_left_log(5, (5, 9), Vec::new());
    let disagreeing = |integrity: Integrity| Integrity {
        comparisons: vec![IndexComparison {
            index: "i".into(),
            table: "t".into(),
            disagreements: 1,
            ..IndexComparison::default()
        }],
        ..integrity
    };
    for (faults, sound_alone, expected) in [
        (&wrong[..], Some(true), (foreign(), aside())),
        (
            &wrong,
            Some(false),
            (index(), vec!["index.rebuild".to_owned()]),
        ),
        (&wrong, None, (index(), vec!["index.rebuild".to_owned()])),
        (&[], None, (vec![], vec![])),
    ] {
        state.integrity = Some(checked(faults, sound_alone));
        if sound_alone == Some(true) {
            state.integrity = state.integrity.map(disagreeing);
        }
        let found = diagnosed(&mut Memory::default(), 0, &state);
        assert_eq!(found, expected, "{faults:?} {sound_alone:?}");
    }

    // What a check found may come with an observation that did not read the log.
    let mut light = state.clone();
    light.wal.as_mut().unwrap().scanned = false;
    light.integrity = Some(disagreeing(checked(&wrong, Some(true))));
    assert_eq!(
        diagnosed(&mut Memory::default(), 0, &light),
        (foreign(), aside())
    );

    // A proof from one observation and the check of the file from another, in either order.
    let proven = with_left_log(3, (5, 9), Vec::new());
    let refused = SqliteState {
        integrity: Some(Integrity {
            error: Some("the log does not belong".into()),
            ..checked(&[], Some(true))
        }),
        ..light.clone()
    };
    for order in [[&proven, &refused, &proven], [&refused, &proven, &proven]] {
        let mut memory = Memory::default();
        let last = order.map(|state| diagnosed(&mut memory, 0, state));
        assert_eq!(last[2], (foreign(), aside()));
    }

    // It stays one until it is gone, another one, or the two are found whole together.
    let mut memory = Memory::default();
    state.integrity = Some(disagreeing(checked(&wrong, Some(true))));
    assert_eq!(diagnosed(&mut memory, 0, &state).0, foreign());
    state.integrity = None;
    assert_eq!(diagnosed(&mut memory, 1000, &state), (foreign(), aside()));
    let mut light = state.clone();
    light.wal.as_mut().unwrap().scanned = false;
    assert_eq!(diagnosed(&mut memory, 2000, &light), (foreign(), aside()));
    // A check of a part finds the mixture as well, and says nothing of it.
    state.integrity = Some(Integrity {
        mode: Mode::Sampled { seed: 1 },
        ..checked(&wrong, None)
    });
    assert_eq!(diagnosed(&mut memory, 3000, &state).0, foreign());
    let whole = SqliteState {
        integrity: Some(checked(&[], None)),
        ..state.clone()
    };
    assert!(diagnosed(&mut memory.clone(), 4000, &whole).0.is_empty());
    let gone = SqliteState {
        wal: None,
        integrity: None,
        ..state
    };
    assert!(diagnosed(&mut memory, 4000, &gone).0.is_empty());
}

#[test]
fn a_journal_waits_only_when_its_writer_is_gone() {
    let journal = |is_left, is_void, locks| {
        let mut state = with_left_log(5, (5, 9), locks);
        state.wal = None;
        state.journal_bytes = Some(5000);
        state.set.journal = Some(set::JournalHeader {
            is_void,
            is_left,
            ..set::JournalHeader::default()
        });
        state
    };
    for (is_left, is_void, locks, kinds) in [
        (true, false, vec![], vec!["journal.hot".to_owned()]),
        (false, false, vec![], vec![]),
        (true, true, vec![], vec![]),
        (true, false, vec![holder(Lock::Shared, 7)], vec![]),
    ] {
        let state = journal(is_left, is_void, locks);
        assert_eq!(diagnosed(&mut Memory::default(), 0, &state).0, kinds);
    }
    let mut state = journal(true, false, vec![]);
    let mut integrity = checked(&["row 7 missing from index i"], Some(true));
    integrity.faults[0].object = DamagedObject::Table { table: "t".into() };
    state.integrity = Some(integrity);
    let mut memory = Memory::default();
    let (kinds, offered) = diagnosed(&mut memory, 0, &state);
    assert_eq!(
        (kinds, offered),
        (
            vec!["journal.foreign".into()],
            vec!["journal.set-aside".into()]
        )
    );
    // Who has the files open and holds no lock may take none: what is beside them is not moved, also
    // in the looks that do not ask.
    let user = holder(Lock::Shared, 7).process;
    for (openers, may_go) in [
        (Some(vec![user]), false),
        (None, false),
        (Some(vec![]), true),
        (None, true),
    ] {
        state.set.openers = openers;
        let problems = memory
            .diagnose(&observed(0, &state), &state, &[], &OPTIONS)
            .problems;
        let mut conditions = problems[0].candidates[0].preconditions.iter();
        assert_eq!(conditions.all(|condition| condition.holds), may_go);
    }
}

#[test]
fn a_journal_of_an_empty_file_beside_a_sound_database_belongs_to_another() {
    for (sound_alone, counter, kind) in [
        (Some(true), 12, "journal.foreign"),
        // The first transaction of a new database, and a copy that was not finished.
        (Some(true), 1, "journal.hot"),
        (Some(false), 12, "journal.hot"),
        (None, 12, "journal.hot"),
    ] {
        let mut state = with_left_log(5, (5, 9), vec![]);
        state.wal = None;
        state.journal_bytes = Some(1024);
        state.set.journal = Some(set::JournalHeader {
            is_left: true,
            ..set::JournalHeader::default()
        });
        state.set.header.as_mut().unwrap().change_counter = counter;
        state.integrity = Some(checked(&[], sound_alone));
        let kinds = diagnosed(&mut Memory::default(), 0, &state).0;
        assert_eq!(kinds, [kind], "{sound_alone:?} {counter}");
    }
}

#[test]
fn a_file_that_was_replaced_or_lost_its_tables_is_reported() {
    let with = |inode, has_schema| {
        let mut state = state(Vec::new(), 1);
        state.wal = None;
        state.wal_index = None;
        state.set.file = Some(set::FileIdentity {
            device: 1,
            inode,
            links: 1,
            modified_ns: 0,
        });
        state.set.has_schema = has_schema;
        state
    };
    let mut memory = Memory::default();
    let mut kinds = |at_ms, state: &SqliteState| diagnosed(&mut memory, at_ms, state).0;
    assert!(
        kinds(0, &with(1, Some(false))).is_empty(),
        "never held anything"
    );
    assert!(kinds(9000, &with(1, Some(false))).is_empty());
    assert!(kinds(10_000, &with(1, Some(true))).is_empty());
    // For a moment, as in a program that makes its tables again.
    assert!(kinds(11_000, &with(1, Some(false))).is_empty());
    assert!(kinds(70_999, &with(1, None)).is_empty());
    assert_eq!(kinds(71_000, &with(1, Some(false))), ["schema.emptied"]);
    assert!(kinds(72_000, &with(1, Some(true))).is_empty());

    let mut other = with(2, Some(true));
    assert_eq!(kinds(73_000, &other), ["file.replaced"]);
    assert_eq!(kinds(19000, &other), ["file.replaced"]);
    other.integrity = Some(checked(&[], None));
    assert!(kinds(75_000, &other).is_empty());
}

#[test]
fn a_file_that_is_short_for_a_moment_is_not_truncated() {
    let short = |actual_pages| {
        let mut state = state(Vec::new(), 1);
        state.wal = None;
        state.wal_index = None;
        state.header_fault = Some(HeaderFault::Truncated {
            expected_pages: 100,
            actual_pages,
        });
        state
    };
    let mut memory = Memory::default();
    let mut kinds = |at_ms, state: &SqliteState| diagnosed(&mut memory, at_ms, state).0;
    // A file that grows, as a large transaction is written.
    assert!(kinds(0, &short(10)).is_empty());
    assert!(kinds(100, &short(50)).is_empty());
    assert!(kinds(200, &state(Vec::new(), 1)).is_empty());
    assert!(kinds(300, &short(50)).is_empty());
    assert_eq!(kinds(400, &short(50)), ["file.truncated"]);
    assert_eq!(kinds(500, &short(50)), ["file.truncated"]);
}

#[test]
fn nothing_is_built_of_a_file_and_a_log_that_may_be_anothers() {
    let wrong = ["row 7 missing from index i"];
    let mut state = with_left_log(5, (5, 9), Vec::new());
    let mut memory = Memory::default();
    let mut is_in_doubt = |state: &SqliteState| {
        let seen = observed(0, state);
        let found = memory.diagnose(&seen, state, &[], &OPTIONS).problems;
        let [problem] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(problem.kind, "index.corrupt");
        let conditions = &problem.candidates[0].preconditions;
        conditions
            .iter()
            .any(|one| one.name == "log-belongs" && !one.holds)
    };
    // An index that only lacks entries: the log's own commits may have left them out, and it may be a
    // mixture all the same.
    state.integrity = Some(checked(&wrong, Some(true)));
    assert!(is_in_doubt(&state));
    state.integrity = Some(checked(&wrong, None));
    assert!(is_in_doubt(&state));
    // Somebody uses the log, so it belongs.
    state.locks = vec![holder(Lock::Shared, 7)];
    assert!(!is_in_doubt(&state));
}
