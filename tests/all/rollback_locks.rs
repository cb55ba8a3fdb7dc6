//! Locks in rollback mode, SQLite's default: who is in the way is named and ended where that is
//! allowed; who is not, is not.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use dbmedic::demo::Scene;
use dbmedic::demo::faults::{hold_write_lock, read_without_end};
use rusqlite::Connection;

use crate::common::{data, dbmedic, resting_shop, run, talk, wait_for};

/// A shop in rollback mode, at rest.
fn rollback_shop(home: &Path) -> Scene {
    let mut scene = Scene::new(home, 1, 1, 1);
    dbmedic().clone_into(&mut scene.program);
    resting_shop(&scene.database());
    let database = Connection::open(scene.database()).unwrap();
    let mode: String = database
        .query_one("PRAGMA journal_mode=DELETE", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete");
    scene
}

/// What `dbmedic check` says of it.
fn check(scene: &Scene) -> Output {
    let database = scene.database();
    run(&["check", database.to_str().unwrap(), "--watch-ms", "3000"])
}

fn text(output: &Output) -> String {
    format!("{}{}", data(output), talk(output))
}

/// Ends the demo's processes where that is right.
fn mend(scene: &Scene, name: &str) -> Output {
    let database = scene.database();
    run(&[
        "repair",
        database.to_str().unwrap(),
        "--apply",
        "--may-end",
        name,
        "--set",
        "stale_lock_age_ms=500",
        "--watch-ms",
        "6000",
        "--state-dir",
        scene.database().with_extension("state").to_str().unwrap(),
    ])
}

#[test]
fn an_idle_write_transaction_is_named_and_ended() {
    let home = tempfile::tempdir().unwrap();
    let scene = rollback_shop(home.path());
    let holder = hold_write_lock(&scene).unwrap();
    let found = check(&scene);
    let told = text(&found);
    assert_eq!(found.status.code(), Some(1), "{told}");
    assert!(told.contains("RESERVED"), "{told}");
    assert!(told.contains(&holder.pid().to_string()), "{told}");
    let mended = mend(&scene, "demo-holder");
    let told = text(&mended);
    assert!(told.contains("lock.end-holder verified"), "{told}");
    assert!(!holder.is_running(), "{told}");
}

#[test]
fn a_reader_is_ended_only_for_a_writer_that_waits() {
    let home = tempfile::tempdir().unwrap();
    let scene = rollback_shop(home.path());
    let reader = read_without_end(&scene).unwrap();
    let found = check(&scene);
    assert_eq!(found.status.code(), Some(0), "{}", text(&found));
    let database = scene.database();
    let writer = std::thread::spawn(move || {
        let database = Connection::open(database).unwrap();
        database.busy_timeout(Duration::from_mins(1)).unwrap();
        database.execute_batch("CREATE TABLE late (x)").unwrap();
    });
    let mended = mend(&scene, "demo-reader");
    let told = text(&mended);
    assert!(told.contains("lock.end-holder verified"), "{told}");
    assert!(!reader.is_running(), "{told}");
    writer.join().unwrap();
}

/// A browser's database: `journal` is its journal mode.
fn for_itself(journal: &str) {
    let home = tempfile::tempdir().unwrap();
    let scene = rollback_shop(home.path());
    let owner = owner(&scene, journal);
    let found = check(&scene);
    let told = text(&found);
    assert_ne!(found.status.code(), Some(1), "{journal}: {told}");
    assert!(told.contains("locking_mode=EXCLUSIVE"), "{journal}: {told}");
    let mended = mend(&scene, &owner.name);
    assert!(!text(&mended).contains("verified"), "{}", text(&mended));
    drop(owner);
    fs::metadata(scene.database()).unwrap();
}

/// A process with the database for itself, between two transactions. It ends with this value.
struct Owner {
    child: std::process::Child,
    name: String,
}

impl Drop for Owner {
    fn drop(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it was ended");
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn owner(scene: &Scene, journal: &str) -> Owner {
    // Not beside the database: a file that comes and goes there looks like a journal.
    let beside = scene.database().with_extension("beside");
    fs::create_dir(&beside).unwrap();
    let ready = beside.join("ready");
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "rollback_locks::own_a_database", "--ignored"])
        .env("DBMEDIC_OWNED", scene.database())
        .env("DBMEDIC_JOURNAL", journal)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the owner", || ready.exists().then_some(()));
    let name = fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
    Owner {
        child,
        name: name.trim().to_owned(),
    }
}

/// Not a test: what [`owner`] starts.
#[test]
#[ignore = "a process that other tests start"]
fn own_a_database() {
    let Some(path) = std::env::var_os("DBMEDIC_OWNED") else {
        return;
    };
    let journal = std::env::var("DBMEDIC_JOURNAL").unwrap();
    let database = Connection::open(&path).unwrap();
    let begin = format!(
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode={journal}; CREATE TABLE places (x); \
         INSERT INTO places VALUES (1)"
    );
    database.execute_batch(&begin).unwrap();
    let beside = Path::new(&path).with_extension("beside");
    fs::write(beside.join("ready"), b"").unwrap();
    loop {
        std::thread::park();
    }
}

/// A program that rests in exclusive mode with its journal in memory, beside the empty one of another,
/// and that made a file right after its commit.
#[test]
fn a_resting_program_without_a_journal_is_no_holder_to_be_ended() {
    let home = tempfile::tempdir().unwrap();
    let scene = rollback_shop(home.path());
    let database = scene.database();
    let mut journal = database.clone().into_os_string();
    journal.push("-journal");
    fs::write(&journal, b"").unwrap();
    let owner = owner(&scene, "MEMORY");
    fs::write(database.with_extension("log"), b"committed").unwrap();
    let state = database.with_extension("state");
    let config = home.path().join("dbmedic.toml");
    let text = format!(
        "version = 1\nmode = \"enforce\"\nstate_dir = {state:?}\n[[targets]]\nname = \"x\"\n\
         sqlite = {database:?}\nmay_end = [{:?}]\n[observation]\nsample_interval_ms = 200\n\
         integrity_interval_ms = 1000\nquick_check_interval_ms = 1000\n[snapshots]\ninterval_ms = 1000\n\
         [guard]\ncool_down_ms = 1\n[policy.parameters]\nstale_lock_age_ms = 500\n",
        owner.name
    );
    fs::write(&config, text).unwrap();
    let told = watched(&config, Duration::from_secs(5));
    assert!(told.contains("has the database for itself"), "{told}");
    for word in ["problem", "crisis", "outcome", "checked and kept"] {
        assert!(!told.contains(word), "{word}: {told}");
    }
    drop(owner);
}

/// What `dbmedic run` says in this time.
fn watched(config: &Path, time: Duration) -> String {
    let run = std::process::Command::new(dbmedic())
        .args(["run", "-c", config.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(time);
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    text(&run.wait_with_output().unwrap())
}

#[test]
fn who_has_a_database_for_itself_is_named_and_left_alone() {
    for journal in ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF", "WAL"] {
        for_itself(journal);
    }
}
