//! The same in rollback mode, where the locks lie on the database file.

use super::*;
use crate::sqlite_state::Activity;
use crate::sqlite_state::rollback::{Alone, Opener, Standing, Why};
use crate::sqlite_state::set::{DatabaseHeader, FileIdentity};

/// One observation of these locks, of which each write lock excludes others.
fn rolls(locks: &[(Lock, u32, bool)], commits: u32) -> SqliteState {
    let holders = locks.iter().map(|&(lock, pid, exclusive)| LockHolder {
        exclusive,
        ..holder(lock, pid)
    });
    let mut state = state(holders.collect(), commits);
    (state.wal, state.wal_index) = (None, None);
    state.set.header = Some(DatabaseHeader {
        page_bytes: 4096,
        write_version: 1,
        read_version: 1,
        change_counter: commits,
        ..DatabaseHeader::default()
    });
    state
}

/// A process with an open write transaction.
fn reserved(commits: u32) -> SqliteState {
    rolls(
        &[(Lock::Shared, 7, false), (Lock::Reserved, 7, true)],
        commits,
    )
}

/// A process that has the file for itself, for this reason.
fn alone(why: Why, modified_ns: i64) -> SqliteState {
    let locks = [
        (Lock::Shared, 7, true),
        (Lock::Reserved, 7, true),
        (Lock::Pending, 7, true),
    ];
    let mut state = rolls(&locks, 1);
    let process = state.locks[0].process.clone();
    state.standing = Some(Box::new(Standing {
        alone: Some(Alone { process, why }),
        others: Vec::new(),
    }));
    at(state, modified_ns)
}

fn at(mut state: SqliteState, modified_ns: i64) -> SqliteState {
    state.set.file = Some(FileIdentity {
        device: 1,
        inode: 2,
        links: 1,
        modified_ns,
    });
    state
}

/// A reader that sleeps, and a writer that asks every moment whether it has left.
fn waits_for_reader(second: u64) -> SqliteState {
    let locks = [
        (Lock::Shared, 7, false),
        (Lock::Shared, 8, false),
        (Lock::Reserved, 8, true),
        (Lock::Pending, 8, true),
    ];
    let mut state = rolls(&locks, 1);
    for probe in state.probes.iter_mut().filter(|probe| probe.pid == 8) {
        probe.activity.as_mut().unwrap().run_mark = second;
    }
    state
}

fn listed() -> DiagnoseOptions {
    DiagnoseOptions {
        may_end: vec!["batch".into()],
        ..OPTIONS
    }
}

#[test]
fn an_idle_write_lock_is_stale_as_with_a_log() {
    for (name, row, stale) in [
        ("reserved", vec![reserved(1), reserved(1)], true),
        ("commits", vec![reserved(1), reserved(2)], false),
        (
            "ran",
            vec![reserved(1), doing(reserved(1), RunState::Sleeping, 2, 1010)],
            false,
        ),
        (
            "at work",
            vec![reserved(1), doing(reserved(1), RunState::Disk, 1, 1000)],
            false,
        ),
        (
            "outside",
            {
                let outside = || rolls(&[(Lock::Reserved, 0, true)], 1);
                vec![outside(), outside()]
            },
            false,
        ),
    ] {
        let found = last_with(row, &listed());
        let expected = if stale {
            vec!["lock.stale-holder"]
        } else {
            vec![]
        };
        assert_eq!(kinds(&found), expected, "{name}");
        if stale {
            assert_eq!(repairs(&found[0]), ["lock.end-holder"]);
            assert_eq!(
                *fact(&found[0], "holder_lock"),
                Value::Text("reserved".into())
            );
            assert!(found[0].candidates[0].preconditions.iter().all(|p| p.holds));
        }
    }
}

#[test]
fn who_has_the_database_for_itself_is_a_stale_holder_only_in_a_proven_transaction() {
    let stale = |row: Vec<SqliteState>| {
        let found = last_with(row, &listed());
        let offered = found.first().map(|problem| {
            let mut candidates = problem.candidates.iter();
            candidates.any(|c| c.preconditions.iter().all(|p| p.holds))
        });
        let stale = kinds(&found) == ["lock.stale-holder"];
        assert!(stale || found.is_empty(), "{found:?}");
        (stale, offered)
    };
    // Long enough for every kind of hold.
    let long = |why| (0..40).map(|_| alone(why, 5)).collect();
    assert_eq!(stale(long(Why::OnPurpose)), (false, None));
    assert_eq!(stale(long(Why::Unclear)), (false, None));
    assert_eq!(stale(long(Why::Transaction)), (true, Some(true)));
    // Not even where nothing was written since it was free: an empty transaction writes nothing.
    let free = |changed_ns| at(rolls(&[], 1), changed_ns);
    for changed_ns in [4, 5] {
        let unclear = (0..40).map(|_| alone(Why::Unclear, 5));
        let row = [free(changed_ns)].into_iter().chain(unclear).collect();
        assert_eq!(stale(row), (false, None));
    }
    // What was a transaction, and is not proven to be one any more.
    let row = vec![
        alone(Why::Transaction, 5),
        alone(Why::Transaction, 5),
        alone(Why::Unclear, 5),
        alone(Why::Unclear, 5),
    ];
    assert_eq!(stale(row), (false, None));
    // Nobody could tell why: nothing is proven.
    let untold = || SqliteState {
        standing: None,
        ..alone(Why::Transaction, 5)
    };
    assert_eq!(stale(vec![untold(), untold()]), (false, None));
    // A program in exclusive mode rests in the middle of a transaction: it still is in that mode.
    let row = vec![
        alone(Why::OnPurpose, 5),
        alone(Why::Transaction, 5),
        alone(Why::Transaction, 5),
    ];
    assert_eq!(stale(row), (false, None));
}

#[test]
fn a_reader_is_in_the_way_only_while_a_writer_waits_for_it() {
    let idle = || rolls(&[(Lock::Shared, 7, false)], 1);
    assert!(last_with((0..400).map(|_| idle()).collect(), &listed()).is_empty());
    let row: Vec<_> = (0..30)
        .map(|_| idle())
        .chain((30..34).map(waits_for_reader))
        .collect();
    let found = last_with(row, &listed());
    assert_eq!(kinds(&found), ["lock.stale-holder"]);
    assert_eq!(found[0].subject, "read lock");
    assert_eq!(*fact(&found[0], "holder_pid"), Value::Integer(7));
    assert_eq!(*fact(&found[0], "writer_pid"), Value::Integer(8));
    // It counts from when the writer was seen to wait.
    assert_eq!(*fact(&found[0], "age_ms"), Value::Integer(2000));
    assert_eq!(repairs(&found[0]), ["lock.end-holder"]);
    assert!(found[0].candidates[0].preconditions.iter().all(|p| p.holds));
    // The writer gives up for a moment: nobody is ended meanwhile, and the hold goes on.
    let row: Vec<_> = (0..4).map(waits_for_reader).chain([idle()]).collect();
    let found = last_with(row, &listed());
    assert_eq!(kinds(&found), ["lock.stale-holder"]);
    assert!(!found[0].candidates[0].preconditions.iter().all(|p| p.holds));
}

#[test]
fn readers_one_after_the_other_and_a_writer_that_commits_are_no_fault() {
    // The reader ran each time: nobody knows that it is one transaction.
    let ran = |second: u64| {
        let mut state = waits_for_reader(second);
        for probe in &mut state.probes {
            probe.activity.as_mut().unwrap().run_mark = second;
        }
        state
    };
    assert!(last_with((0..8).map(ran).collect(), &listed()).is_empty());
    let commits = |second: u64| {
        let mut state = waits_for_reader(second);
        let count = u32::try_from(second).unwrap();
        state.set.header.as_mut().unwrap().change_counter = count;
        state
    };
    assert!(last_with((0..30).map(commits).collect(), &listed()).is_empty());
}

#[test]
fn a_writer_that_stands_still_is_not_held_up_by_readers() {
    let still = |_| waits_for_reader(1);
    let found = last_with((0..4).map(still).collect(), &listed());
    assert_eq!(kinds(&found), ["lock.stale-holder"]);
    assert_eq!(found[0].subject, "write lock");
    assert_eq!(
        *fact(&found[0], "holder_lock"),
        Value::Text("pending".into())
    );
}

#[test]
fn who_waits_is_counted() {
    let waits = |second: u64| {
        let mut state = reserved(1);
        let runs = 10 * second;
        state.standing = Some(Box::new(Standing {
            alone: None,
            others: vec![Opener {
                process: holder(Lock::Shared, 9).process,
                activity: Some(Activity {
                    state: RunState::Sleeping,
                    threads: 1,
                    run_mark: runs,
                    runs,
                    cpu_us: second,
                    read_bytes: None,
                    descendants: None,
                    waits_for_lock: false,
                }),
                is_blocked: false,
            }],
        }));
        state
    };
    let found = last_with((0..3).map(waits).collect(), &listed());
    assert_eq!(*fact(&found[0], "waiting_processes"), Value::Integer(1));
    assert_eq!(*fact(&found[0], "concurrent_operations"), Value::Integer(1));
}
