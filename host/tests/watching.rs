//! A watcher on a real database: the numbers come on time whatever the checks do.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach what is outside `#[test]`"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use dbmedic::clock::now_ms;
use dbmedic::health::{CheckKind, CheckReport, CheckState};
use dbmedic::source::{Observation, State};
use dbmedic::sqlite::worker::Pool;
use dbmedic::sqlite_state::{Integrity, Mode};
use dbmedic::state_dir::StateDir;
use dbmedic::watch::{Looker, Pace, Site, Watched, Watcher};
use rusqlite::Connection;

const EXE: &str = env!("CARGO_BIN_EXE_dbmedic");
const HOUR: u64 = 3_600_000;

/// Fast looks; every check once in an hour.
const PACE: Pace = Pace {
    sample_interval_ms: 20,
    tick_interval_ms: HOUR,
    wal_scan_interval_ms: HOUR,
    quick_check_interval_ms: HOUR,
    quick_check_timeout_ms: 30_000,
    incremental_check_interval_ms: HOUR,
    incremental_check_timeout_ms: 30_000,
    integrity_interval_ms: HOUR,
    integrity_timeout_ms: 30_000,
    resource_interval_ms: HOUR,
    resource_timeout_ms: 30_000,
    probe_transaction_interval_ms: None,
    snapshot_interval_ms: HOUR,
    snapshots_kept: 1,
    snapshot_max_lock_ms: 250,
};

struct Watch {
    _directory: tempfile::TempDir,
    database: Connection,
    site: Arc<Site>,
    pace: Pace,
    state_dir: StateDir,
}

impl Watch {
    fn new(pace: Pace) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "PRAGMA journal_mode = wal;
                CREATE TABLE orders(id INTEGER PRIMARY KEY, v UNIQUE);
                CREATE TABLE quiet(id INTEGER PRIMARY KEY, v);
                WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                INSERT INTO orders SELECT i, 'v' || i FROM n;
                INSERT INTO quiet SELECT * FROM orders;",
            )
            .unwrap();
        Self {
            site: Arc::new(Site::new("shop".into(), path, Vec::new())),
            pace,
            state_dir: StateDir::open(&directory.path().join("state")).unwrap(),
            _directory: directory,
            database,
        }
    }

    /// Starts watching in a process that is not the database's user: this one is both, so its own
    /// locks do not count, and the log looks as if nobody kept it.
    fn start(&self) -> (Watcher, Receiver<Watched>) {
        let exe = Path::new(EXE);
        let workers = Pool::new(exe);
        let looker = Looker::new(Arc::clone(&self.site), self.pace, &self.state_dir, &workers);
        let (send, receive) = mpsc::channel();
        let tell = move |target: &str, watched| {
            assert_eq!(target, "shop");
            send.send(watched).is_ok()
        };
        let lookers = vec![looker.unwrap()];
        (
            Watcher::spawn(lookers, &self.state_dir, exe, now_ms(), tell).unwrap(),
            receive,
        )
    }
}

/// Waits for what is wanted; everything before it is handed to `other`.
fn wait_for<T>(
    heard: &Receiver<Watched>,
    what: &str,
    mut other: impl FnMut(&Watched),
    mut wanted: impl FnMut(&Watched) -> Option<T>,
) -> T {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        let watched = heard
            .recv_timeout(rest)
            .unwrap_or_else(|_| panic!("no {what}"));
        if let Some(found) = wanted(&watched) {
            return found;
        }
        other(&watched);
    }
}

fn report(watched: &Watched, check: CheckKind) -> Option<CheckReport> {
    match watched {
        Watched::Checked(report) if report.check == check => Some(report.clone()),
        _ => None,
    }
}

fn integrity(watched: &Watched) -> Option<Integrity> {
    match watched {
        Watched::Seen(seen) => match &**seen {
            Observation {
                state: State::Sqlite(state),
                ..
            } => state.integrity.clone(),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn every_check_is_made_once_and_its_result_goes_with_a_look() {
    let watch = Watch::new(PACE);
    let (watcher, heard) = watch.start();
    let mut missing = vec![
        CheckKind::Quick,
        CheckKind::Incremental,
        CheckKind::Full,
        CheckKind::Resource,
        CheckKind::Snapshot,
    ];
    let mut modes = Vec::new();
    let mut resources = false;
    let mut note = |watched: &Watched| {
        modes.extend(integrity(watched).map(|integrity| integrity.mode));
        if let Watched::Seen(seen) = watched {
            resources |= seen.samples.iter().any(|s| s.series == "disk_free_bytes");
        }
    };
    while !missing.is_empty() {
        let done = wait_for(&heard, "check", &mut note, |watched| match watched {
            Watched::Checked(report) => Some(report.clone()),
            _ => None,
        });
        assert!(missing.contains(&done.check), "{done:?} came twice");
        missing.retain(|check| *check != done.check);
        let is_known = !matches!(done.check, CheckKind::Quick | CheckKind::Incremental);
        if is_known {
            assert_eq!(done.state, CheckState::Passed, "{done:?}");
        }
    }
    for _ in 0..2 {
        wait_for(
            &heard,
            "look",
            |_| (),
            |watched| {
                note(watched);
                matches!(watched, Watched::Seen(_)).then_some(())
            },
        );
    }
    assert!(modes.contains(&Mode::Full), "{modes:?}");
    assert!(resources);
    drop(watcher);
}

#[test]
fn a_check_that_hangs_is_cut_off_and_the_looks_go_on() {
    let watch = Watch::new(Pace {
        quick_check_timeout_ms: 200,
        ..PACE
    });
    // As a repair that takes long: the check waits for its turn.
    let turn = watch.site.turn();
    let (watcher, heard) = watch.start();
    let mut looks = 0;
    let cut_off = wait_for(
        &heard,
        "overrun",
        |watched| looks += usize::from(matches!(watched, Watched::Seen(_))),
        |watched| report(watched, CheckKind::Quick),
    );
    assert_eq!(cut_off.state, CheckState::TimedOut { timeout_ms: 200 });
    assert!(looks > 1, "no look while the check hung");
    drop(turn);
    // The late answer is thrown away, and the next check begins.
    wait_for(
        &heard,
        "full check",
        |watched| {
            assert_eq!(report(watched, CheckKind::Quick), None);
            let mode = integrity(watched).map(|integrity| integrity.mode);
            assert!(!matches!(mode, Some(Mode::Sampled { .. })), "a late answer");
        },
        |watched| report(watched, CheckKind::Full),
    );
    drop(watcher);
}

/// A worker that is stopped is like one that waits for a disk.
#[test]
fn a_target_whose_look_does_not_end_holds_up_no_other() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let directory = tempfile::tempdir().unwrap();
    let state_dir = StateDir::open(&directory.path().join("state")).unwrap();
    let exe = Path::new(EXE);
    let workers = Pool::new(exe);
    let looker = |name: &&str| {
        let path = directory.path().join(name);
        let database = Connection::open(&path).unwrap();
        database.execute_batch("CREATE TABLE t(x)").unwrap();
        let site = Arc::new(Site::new((*name).to_owned(), path, Vec::new()));
        Looker::new(site, PACE, &state_dir, &workers).unwrap()
    };
    let lookers = NAMES.iter().map(looker).collect();
    let (send, heard) = mpsc::channel();
    let tell = move |target: &str, watched| send.send((target.to_owned(), watched)).is_ok();
    let watcher = Watcher::spawn(lookers, &state_dir, exe, now_ms(), tell).unwrap();
    let next = || {
        let within = Duration::from_mins(1);
        heard
            .recv_timeout(within)
            .expect("nothing is told any more")
    };
    let mut checked = 0;
    // The checks of all are made: what runs now makes looks.
    while checked < NAMES.len() * PACE.plans().len() {
        checked += usize::from(matches!(next(), (_, Watched::Checked(_))));
    }
    let signal = |signal| {
        for pid in dbmedic::sqlite::worker::worker_pids() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            // One may have ended meanwhile.
            rustix::process::kill_process(pid, signal).ok();
        }
    };
    signal(rustix::process::Signal::STOP);
    let late = loop {
        if let (target, Watched::Late(_)) = next() {
            break target;
        }
    };
    let others = || NAMES.iter().filter(|name| **name != late);
    for name in others() {
        loop {
            match next() {
                (target, Watched::Seen(_)) if target == *name => break,
                (target, Watched::Late(_)) => panic!("{target} is late as well as {late}"),
                _ => {}
            }
        }
    }
    signal(rustix::process::Signal::CONT);
    loop {
        if let (target, Watched::Seen(_)) = next()
            && target == late
        {
            break;
        }
    }
    drop(watcher);
}

#[test]
fn what_was_found_before_a_repair_is_not_told_after_it() {
    let watch = Watch::new(PACE);
    let (watcher, heard) = watch.start();
    let full = |watched: &Watched| report(watched, CheckKind::Full);
    wait_for(&heard, "first full check", |_| (), full);
    drop(watch.site.turn_to_repair());
    watcher.examine("shop");
    wait_for(&heard, "full check on demand", |_| (), full);
    let found = wait_for(&heard, "its result", |_| (), integrity);
    assert_eq!((found.mode, found.error), (Mode::Full, None));
    drop(watch.database);
}
