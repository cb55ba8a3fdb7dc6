//! The demo's workload, faults and proof with real processes and files. Every claim about damage is
//! held against SQLite's own words.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test; its helpers are not recognised as such"
)]

use std::{
    fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use dbmedic::demo::{
    Scene,
    faults::{Fingerprint, WalPlace, damage_index, damage_wal, hold_write_lock, read_without_end},
    proof::{Proof, prove},
    workload::{Pace, Progress, Workload},
};
use rusqlite::Connection;
use tempfile::TempDir;

const FRAMES: u32 = 400;
const FAST: Pace = Pace {
    pause_ms: 4,
    note_bytes: 60,
    hold_checkpoints: false,
};

/// A running workload in a directory of its own.
struct Shop {
    workload: Workload,
    scene: Scene,
    _directory: TempDir,
}

impl Shop {
    fn open() -> Self {
        let seed = seed();
        eprintln!("DBMEDIC_SEED={seed}");
        let directory = tempfile::tempdir().unwrap();
        let mut scene = Scene::new(directory.path(), seed, 3, 3000);
        scene.program = env!("CARGO_BIN_EXE_dbmedic").into();
        let workload = Workload::start(&scene, FAST).unwrap();
        Self {
            workload,
            scene,
            _directory: directory,
        }
    }

    fn wait_for(&self, what: &str, condition: impl Fn(Progress) -> bool) {
        let begin = Instant::now();
        while !condition(self.workload.progress().unwrap()) {
            assert!(
                begin.elapsed() < Duration::from_mins(1),
                "waited in vain for {what}: {:?}",
                self.workload.progress()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn write_more(&self, commits: u64) {
        let now = self.workload.progress().unwrap().acknowledged;
        self.wait_for("commits", |seen| seen.acknowledged >= now + commits);
    }

    /// Only while nobody damages files: this process holds the connection.
    fn connect(&self) -> Connection {
        Connection::open(self.scene.database()).unwrap()
    }

    fn pragma(&self, pragma: &str) -> Vec<String> {
        let connection = self.connect();
        let mut statement = connection.prepare(&format!("PRAGMA {pragma}")).unwrap();
        let lines = statement.query_map([], |row| row.get(0)).unwrap();
        lines.collect::<Result<_, _>>().unwrap()
    }
}

/// The seed of `DBMEDIC_SEED`, to repeat a run; a new one otherwise.
fn seed() -> u64 {
    std::env::var("DBMEDIC_SEED").map_or_else(
        |_| RandomState::new().build_hasher().finish(),
        |seed| seed.parse().unwrap(),
    )
}

fn assert_holds(proof: &Proof) {
    assert!(proof.holds, "{proof:#?}");
}

#[test]
fn every_acknowledged_row_is_there_live_stopped_killed_and_resumed() {
    let mut shop = Shop::open();
    shop.write_more(60);
    assert!(shop.workload.is_running());
    assert_holds(&prove(&shop.scene, &[]).unwrap());

    shop.workload.stop().unwrap();
    assert!(!shop.workload.is_running());
    assert_holds(&prove(&shop.scene, &[]).unwrap());

    for _ in 0..3 {
        shop.workload.resume().unwrap();
        shop.write_more(30);
        shop.workload.kill().unwrap();
        assert_holds(&prove(&shop.scene, &[]).unwrap());
    }
    let progress = shop.workload.progress().unwrap();
    assert_eq!((progress.corrupt, progress.other), (0, 0), "{progress:?}");
    let proof = prove(&shop.scene, &[]).unwrap();
    assert_eq!(proof.acknowledged_commits, progress.acknowledged);
    assert!(proof.expected_rows > 3000);
}

#[test]
fn the_proof_fails_for_one_row_removed_altered_outdated_or_added() {
    let mut shop = Shop::open();
    shop.write_more(60);
    shop.workload.stop().unwrap();
    let sound = prove(&shop.scene, &[]).unwrap();
    assert_holds(&sound);
    let last: i64 = shop
        .connect()
        .query_one("SELECT max(id) FROM orders", [], |row| row.get(0))
        .unwrap();

    // Each change is made to a copy.
    let cases = [
        ("DELETE FROM orders WHERE id = 17", (1, 0, 0), 17),
        ("DELETE FROM orders WHERE id = ?last", (1, 0, 0), last),
        (
            "UPDATE orders SET amount = amount + 1 WHERE id = ?last",
            (0, 1, 0),
            last,
        ),
        (
            "UPDATE orders SET note = note || 'x' WHERE id = 1",
            (0, 1, 0),
            1,
        ),
        (
            "UPDATE orders SET sequence = sequence + 100000 WHERE id = ?last",
            (0, 1, 0),
            last,
        ),
        (
            "INSERT INTO orders SELECT 900000, customer, created_ms, amount, note, 1, 800000
             FROM orders WHERE id = 1",
            (0, 0, 1),
            900_000,
        ),
    ];
    for (change, counts, row) in cases {
        let change = change.replace("?last", &last.to_string());
        let aside = tempfile::tempdir().unwrap();
        let changed = copy_of(&shop.scene, aside.path());
        Connection::open(changed.database())
            .unwrap()
            .execute(&change, [])
            .unwrap();
        let proof = prove(&changed, &[]).unwrap();
        assert!(!proof.holds, "{change}");
        assert_eq!(
            (proof.missing, proof.different, proof.unexpected),
            counts,
            "{change}"
        );
        assert_eq!(proof.offenders.len(), 1, "{change}");
        assert_eq!(proof.offenders[0].row, row, "{change}");
        assert_ne!(proof.expected_digest, proof.found_digest, "{change}");
        assert_eq!(proof.expected_digest, sound.expected_digest, "{change}");
    }

    shop.connect()
        .execute("UPDATE accounts SET opened_ms = 0 WHERE id = 5", [])
        .unwrap();
    let proof = prove(&shop.scene, &[]).unwrap();
    assert!(!proof.holds && !proof.accounts_intact);
}

/// Copies a database at rest and its logs.
fn copy_of(scene: &Scene, directory: &Path) -> Scene {
    for entry in fs::read_dir(&scene.directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    Scene {
        directory: directory.into(),
        ..scene.clone()
    }
}

#[test]
fn a_commit_that_was_not_written_down_is_allowed_and_an_old_state_is_not() {
    let mut shop = Shop::open();
    shop.write_more(60);
    shop.workload.kill().unwrap();
    let log = shop.scene.acknowledgements(1);
    let text = fs::read_to_string(&log).unwrap();

    // As if the writer had been killed between COMMIT and its log.
    let shorter = &text[..=text.trim_end().rfind('\n').unwrap()];
    fs::write(&log, shorter).unwrap();
    let proof = prove(&shop.scene, &[]).unwrap();
    assert_holds(&proof);
    assert!(proof.unacknowledged >= 1);

    // As if the database had promised a newer state of that row than it kept.
    let last = text.trim_end().rsplit('\n').next().unwrap();
    let mut fields: Vec<_> = last.split(' ').map(str::to_owned).collect();
    fields[0] = "999999".into();
    fields[3] = "00".into();
    fs::write(&log, format!("{text}{}\n", fields.join(" "))).unwrap();
    let proof = prove(&shop.scene, &[]).unwrap();
    assert!(!proof.holds);
    assert_eq!((proof.missing, proof.different), (0, 1));
}

#[test]
fn a_lock_holder_stops_the_writers_until_it_is_gone() {
    let shop = Shop::open();
    shop.write_more(20);
    let holder = hold_write_lock(&shop.scene).unwrap();
    let name = fs::read_to_string(format!("/proc/{}/comm", holder.pid())).unwrap();
    assert_eq!(name.trim(), "demo-holder");
    let before = shop.workload.progress().unwrap();
    shop.wait_for("three refusals", |seen| seen.busy >= before.busy + 3);
    let connection = shop.connect();
    connection.busy_timeout(Duration::from_millis(20)).unwrap();
    let refused = connection.execute_batch("BEGIN IMMEDIATE").unwrap_err();
    assert_eq!(
        refused.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy)
    );
    // What was acknowledged before the lock may have been logged a moment after it.
    let during = shop.workload.progress().unwrap();
    assert!(during.acknowledged <= before.acknowledged + 3);

    assert!(holder.is_running());
    holder.clear().unwrap();
    assert!(!holder.is_running());
    shop.write_more(20);
    assert_holds(&prove(&shop.scene, &[]).unwrap());
}

#[test]
fn a_process_that_somebody_else_ends_is_reaped() {
    let shop = Shop::open();
    let holder = hold_write_lock(&shop.scene).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(holder.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let begin = Instant::now();
    while Path::new(&format!("/proc/{}", holder.pid())).exists() {
        assert!(begin.elapsed() < Duration::from_secs(20), "still a zombie");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!holder.is_running());
    holder.clear().unwrap();
}

#[test]
fn children_end_when_their_parent_does() {
    let mut shop = Shop::open();
    shop.workload.stop().unwrap();
    for (process, flags) in [
        (
            "writer",
            &["--writer=1", "--pause-ms=5", "--note-bytes=60"][..],
        ),
        ("lock-holder", &[]),
        ("reader", &[]),
    ] {
        let mut child = Command::new(&shop.scene.program)
            .args(["demo-process", process])
            .arg(format!("--directory={}", shop.scene.directory.display()))
            .arg(format!("--seed={}", shop.scene.seed))
            .args(["--writers=3", "--rows=3000"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // What the system does with the pipe of a parent that dies.
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success(), "{process}");
    }
    assert_holds(&prove(&shop.scene, &[]).unwrap());
}

#[test]
fn a_reader_without_end_makes_the_log_grow_and_checkpoints_starve() {
    let mut shop = Shop::open();
    shop.write_more(20);
    let reader = read_without_end(&shop.scene).unwrap();
    shop.workload
        .set_pace(Pace {
            note_bytes: 16_384,
            ..FAST
        })
        .unwrap();
    let wal = shop.scene.wal();
    shop.wait_for("a log past SQLite's own limit of 1000 pages", |_| {
        fs::metadata(&wal).unwrap().len() > 6 << 20
    });
    // While a writer of the workload makes a checkpoint, another one is told nothing (-1).
    let checkpoint = |shop: &Shop| loop {
        let (in_log, copied): (i64, i64) = shop
            .connect()
            .query_one("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok((row.get(1)?, row.get(2)?))
            })
            .unwrap();
        if in_log >= 0 {
            break (in_log, copied);
        }
    };
    let (in_log, copied) = checkpoint(&shop);
    assert!(in_log > 1000 && copied < in_log, "{copied} of {in_log}");

    reader.clear().unwrap();
    shop.workload.stop().unwrap();
    let (in_log, copied) = checkpoint(&shop);
    assert_eq!(in_log, copied);
    assert_holds(&prove(&shop.scene, &[]).unwrap());
}

#[test]
fn a_damaged_index_is_seen_by_integrity_check_only_and_healed_by_reindex() {
    for index in [
        None,
        Some("orders_by_created"),
        Some("orders_by_customer"),
        Some("orders_by_write"),
        Some("accounts_by_email"),
    ] {
        let mut shop = Shop::open();
        shop.write_more(20);
        let damage = damage_index(&mut shop.workload, index).unwrap();
        assert!(shop.workload.is_running());
        assert!(!damage.cells.is_empty());
        shop.workload.stop().unwrap();

        assert_eq!(shop.pragma("quick_check"), ["ok"], "{damage:?}");
        let faults = shop.pragma("integrity_check");
        let named = format!("missing from index {}", damage.index);
        assert!(
            faults.iter().any(|fault| fault.contains(&named)),
            "{damage:?} {faults:?}"
        );
        let proof = prove(&shop.scene, &[]).unwrap();
        assert!(!proof.holds && !proof.integrity_faults.is_empty());
        assert_eq!(proof.expected_digest, proof.found_digest);

        shop.connect()
            .execute_batch(&format!("REINDEX {}", damage.index))
            .unwrap();
        assert_eq!(shop.pragma("integrity_check"), ["ok"], "{damage:?}");
        shop.workload.resume().unwrap();
        shop.write_more(20);
        shop.workload.stop().unwrap();
        assert_holds(&prove(&shop.scene, &[]).unwrap());
    }
}

#[test]
fn writers_go_on_over_a_damaged_index_and_after_its_repair() {
    let mut shop = Shop::open();
    shop.write_more(60);
    let damage = damage_index(&mut shop.workload, Some("orders_by_created")).unwrap();
    shop.write_more(100);
    let connection = shop.connect();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
        .execute_batch(&format!("REINDEX {}", damage.index))
        .unwrap();
    shop.write_more(30);
    shop.workload.stop().unwrap();
    assert_holds(&prove(&shop.scene, &[]).unwrap());
}

#[test]
fn a_frame_damaged_near_the_end_costs_exactly_the_named_commits() {
    let mut shop = Shop::open();
    shop.write_more(20);
    // Twice: the second time, the numbers of the first loss must not be counted again.
    let mut announced = Vec::new();
    for round in 0..2 {
        let damage = damage_wal(&mut shop.workload, WalPlace::NearEnd, FRAMES).unwrap();
        eprintln!("round {round}: frame {} of {}", damage.frame, damage.frames);
        assert!(damage.frames >= u64::from(FRAMES) - 10);
        assert!(damage.frame > damage.frames - damage.frames * 3 / 100 - 1);
        assert!(damage.lost_commits >= 1);
        assert!(damage.lost.len() as u64 <= damage.lost_commits);
        assert!(damage.lost_commits - damage.lost.len() as u64 <= 3);
        assert_eq!(Fingerprint::of(&shop.scene).unwrap(), damage.damaged);
        assert_ne!(damage.damaged, damage.undamaged);

        // SQLite drops the end of the log, and says that all is well.
        assert_eq!(shop.pragma("integrity_check"), ["ok"]);
        let silent = prove(&shop.scene, &announced).unwrap();
        assert_eq!(silent.holds, damage.lost.is_empty(), "{silent:#?}");
        announced.extend(damage.lost);
        let proof = prove(&shop.scene, &announced).unwrap();
        assert_holds(&proof);
        assert_eq!(proof.announced_commits, announced.len() as u64);
        assert_eq!(proof.kept_although_announced, 0);

        shop.workload.resume().unwrap();
        shop.write_more(30);
    }
    shop.workload.stop().unwrap();
    assert_holds(&prove(&shop.scene, &announced).unwrap());
}

#[test]
fn a_frame_damaged_early_costs_most_and_can_be_undone_without_loss() {
    let mut shop = Shop::open();
    shop.write_more(20);
    let damage = damage_wal(&mut shop.workload, WalPlace::Early, FRAMES).unwrap();
    assert!(damage.frame > damage.frames / 10 && damage.frame <= damage.frames * 3 / 10);
    assert!(damage.lost_commits * 10 >= damage.commits * 6, "{damage:?}");
    assert_eq!(Fingerprint::of(&shop.scene).unwrap(), damage.damaged);

    damage.undo(&shop.scene).unwrap();
    assert_eq!(Fingerprint::of(&shop.scene).unwrap(), damage.undamaged);
    assert_holds(&prove(&shop.scene, &[]).unwrap());
    shop.workload.resume().unwrap();
    shop.write_more(30);
    shop.workload.stop().unwrap();
    assert_holds(&prove(&shop.scene, &[]).unwrap());
}

#[test]
fn an_undo_is_refused_when_somebody_wrote_meanwhile_or_has_the_database_open() {
    let mut shop = Shop::open();
    let damage = damage_wal(&mut shop.workload, WalPlace::Early, FRAMES).unwrap();
    let reader = read_without_end(&shop.scene).unwrap();
    let refusal = damage.undo(&shop.scene).unwrap_err().to_string();
    assert!(refusal.contains("somebody keeps"), "{refusal}");
    assert_eq!(Fingerprint::of(&shop.scene).unwrap(), damage.damaged);
    reader.clear().unwrap();

    shop.workload.resume().unwrap();
    shop.write_more(5);
    shop.workload.kill().unwrap();
    let refusal = damage.undo(&shop.scene).unwrap_err().to_string();
    assert!(refusal.contains("somebody wrote to them"), "{refusal}");
}

#[test]
fn the_same_seed_makes_the_same_database() {
    let digests = [7, 7, 8].map(|seed| {
        let directory = tempfile::tempdir().unwrap();
        let mut scene = Scene::new(directory.path(), seed, 1, 500);
        scene.program = env!("CARGO_BIN_EXE_dbmedic").into();
        Workload::start(&scene, FAST).unwrap().kill().unwrap();
        let connection = Connection::open(scene.database()).unwrap();
        connection
            .query_one(
                "SELECT group_concat(note || amount) FROM (SELECT * FROM orders WHERE writer = 0 ORDER BY id)",
                [],
                |row| row.get::<_, String>(0),
            )
            .unwrap()
    });
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[1], digests[2]);
}

#[test]
fn a_child_that_fails_says_why() {
    let mut shop = Shop::open();
    let error = damage_index(&mut shop.workload, Some("no_such_index")).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("no index no_such_index"), "{words}");
    assert!(shop.workload.is_running());
}
