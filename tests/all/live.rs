//! `dbmedic run`: observe writes nothing, approve waits, enforce heals, and it stops cleanly.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dbmedic::demo::Scene;
use dbmedic::demo::faults::hold_write_lock;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::common::{
    contents, damage_index, data, dbmedic, integrity, resting_shop, run, talk, wait_for,
};

/// A database with a corrupt index, a configuration, and a dbmedic that watches.
struct Ward {
    home: tempfile::TempDir,
    watcher: Child,
}

impl Ward {
    fn open(mode: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir(&data).unwrap();
        resting_shop(&data.join("shop.db"));
        damage_index(&data.join("shop.db"));
        let config = home.path().join("dbmedic.toml");
        let text = format!(
            "version = 1\nmode = \"{mode}\"\nstate_dir = \"state\"\n\
             [observation]\nsample_interval_ms = 100\nintegrity_interval_ms = 300\ndecide_interval_ms = 200\n\
             [[targets]]\nname = \"shop\"\nsqlite = \"data/shop.db\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let watcher = watch(&config);
        Self { home, watcher }
    }

    fn database(&self) -> PathBuf {
        self.home.path().join("data/shop.db")
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn incidents(&self) -> String {
        data(&run(&[
            "incidents",
            "--state-dir",
            self.state().to_str().unwrap(),
        ]))
    }

    fn until(&self, expected: &str) {
        wait_for(expected, || {
            self.incidents().contains(expected).then_some(())
        });
    }

    /// Ends the watcher with a signal; it must say that it stopped.
    fn stop(&mut self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.watcher.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let status = wait_for("the watcher to stop", || self.watcher.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.watcher.kill().ok();
        self.watcher.wait().ok();
    }
}

fn watch(config: &Path) -> Child {
    Command::new(dbmedic())
        .args(["run", "-c", config.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn observe_tells_and_writes_nothing() {
    let mut ward = Ward::open("observe");
    let before = contents(&ward.home.path().join("data"));
    ward.until("index.corrupt");
    ward.until("repair index.rebuild");
    ward.stop(Signal::TERM);
    assert_eq!(contents(&ward.home.path().join("data")), before);
    let story = run(&[
        "incidents",
        "INC-1",
        "--state-dir",
        ward.state().to_str().unwrap(),
    ]);
    assert!(data(&story).contains("guard.mode"), "{}", data(&story));
}

#[test]
fn approve_waits_for_a_person() {
    let mut ward = Ward::open("approve");
    ward.until("waits for a person");
    assert_ne!(integrity(&ward.database()), "ok");
    let state = ward.state();
    let unknown = run(&["approve", "INC-99", "--state-dir", state.to_str().unwrap()]);
    assert!(
        talk(&unknown).contains("no such incident"),
        "{}",
        talk(&unknown)
    );
    let approve = || run(&["approve", "INC-1", "--state-dir", state.to_str().unwrap()]);
    let approved = approve();
    assert!(approved.status.success());
    let repair = "INC-1: index.rebuild: build index";
    assert!(talk(&approved).contains(repair), "{}", talk(&approved));
    ward.until("resolved");
    let late = approve();
    assert!(talk(&late).contains("no repair waits"), "{}", talk(&late));
    ward.stop(Signal::INT);
    assert_eq!(integrity(&ward.database()), "ok");
}

#[test]
fn what_a_person_approves_while_nobody_watches_is_done_at_the_next_start() {
    let mut ward = Ward::open("approve");
    ward.until("waits for a person");
    ward.stop(Signal::TERM);
    let state = ward.state();
    let approved = run(&["approve", "INC-1", "--state-dir", state.to_str().unwrap()]);
    assert!(approved.status.success(), "{}", talk(&approved));
    ward.watcher = watch(&ward.home.path().join("dbmedic.toml"));
    ward.until("resolved");
    ward.stop(Signal::TERM);
    assert_eq!(integrity(&ward.database()), "ok");
    let incidents = ward.incidents();
    assert!(!incidents.contains("INC-2"), "{incidents}");
}

#[test]
fn enforce_heals_and_a_second_watcher_is_refused() {
    let mut ward = Ward::open("enforce");
    ward.until("resolved");
    let config = ward.home.path().join("dbmedic.toml");
    let second = run(&["run", "-c", config.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(2));
    assert!(
        talk(&second).contains("another dbmedic"),
        "{}",
        talk(&second)
    );
    ward.stop(Signal::TERM);
    assert_eq!(integrity(&ward.database()), "ok");
    let json = run(&[
        "incidents",
        "--json",
        "--state-dir",
        ward.state().to_str().unwrap(),
    ]);
    let rows: serde_json::Value = serde_json::from_str(&data(&json)).unwrap();
    assert_eq!(rows[0]["kind"], "index.corrupt");
}

/// A signature file that a person is still writing stops nothing; what it holds in the end is known.
#[test]
fn a_damaged_signature_is_told_and_what_is_learned_later_is_read() {
    let home = tempfile::tempdir().unwrap();
    resting_shop(&home.path().join("shop.db"));
    let kept = home.path().join("signatures");
    std::fs::create_dir(&kept).unwrap();
    let damaged =
        "version = 1\nname = \"storm\"\n[metrics]\nlocks = { moves = \"up\", strenth = 3.0 }\n";
    std::fs::write(kept.join("storm.toml"), damaged).unwrap();
    let config = home.path().join("dbmedic.toml");
    let text = "version = 1\nstate_dir = \"state\"\nsignature_dir = \"signatures\"\n\
                [observation]\nsample_interval_ms = 100\ntick_interval_ms = 1000\n\
                [[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n";
    std::fs::write(&config, text).unwrap();
    let said = home.path().join("said");
    let to = std::fs::File::create(&said).unwrap();
    let watcher = Command::new(dbmedic())
        .args(["run", "-c", config.to_str().unwrap()])
        .stdout(to.try_clone().unwrap())
        .stderr(to)
        .spawn()
        .unwrap();
    let mut ward = Ward { home, watcher };
    let until = |expected: &str| {
        wait_for(expected, || {
            std::fs::read_to_string(&said)
                .unwrap()
                .contains(expected)
                .then_some(())
        });
    };
    until("storm.toml:4: unknown key `strenth`");
    let whole = "version = 1\nname = \"storm\"\n[metrics]\nlocks = { moves = \"up\", strength = 3.0, spread = 0.4 }\n";
    std::fs::write(kept.join("storm.toml"), whole).unwrap();
    until("read again: 1 are learned");
    ward.stop(Signal::TERM);
}

/// A watcher that tells its story into a file, and whose files can be kept from growing.
pub(crate) struct Teller {
    story: PathBuf,
    watcher: Child,
}

impl Teller {
    pub(crate) fn start(config: &Path) -> Self {
        let story = config.with_extension("story");
        // A process that ignores the signal for a file that grows too large gets an error instead,
        // as on a full disk. The pipe is no file.
        let mut watcher = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(dbmedic())
            .args(["run", "-c", config.to_str().unwrap()])
            .arg("--record")
            .arg(config.with_extension("recording"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = watcher.stderr.take().unwrap();
        let mut into = std::fs::File::create(&story).unwrap();
        std::thread::spawn(move || std::io::copy(&mut told, &mut into));
        Self { story, watcher }
    }

    pub(crate) fn until(&self, expected: &str) {
        let story = || std::fs::read_to_string(&self.story).unwrap_or_default();
        let told = std::panic::AssertUnwindSafe(|| {
            wait_for(expected, || story().contains(expected).then_some(()));
        });
        assert!(std::panic::catch_unwind(told).is_ok(), "{}", story());
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.watcher.id()).unwrap()).unwrap()
    }

    fn fill_the_disk(&self, full: bool) {
        let limit = Rlimit {
            current: full.then_some(0),
            maximum: None,
        };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    /// Ends it with a signal, as a service manager does.
    pub(crate) fn stop(&mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        assert_eq!(self.end(), Some(0));
    }

    fn end(&mut self) -> Option<i32> {
        wait_for("the watcher to end", || self.watcher.try_wait().unwrap()).code()
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.watcher.kill().ok();
        self.watcher.wait().ok();
    }
}

/// A shop whose write lock dbmedic may free, and the configuration for it.
pub(crate) fn lockable_shop(home: &Path) -> (Scene, PathBuf) {
    let mut scene = Scene::new(home, 1, 1, 1);
    dbmedic().clone_into(&mut scene.program);
    resting_shop(&scene.database());
    let config = home.join("dbmedic.toml");
    let text = format!(
        "version = 1\nmode = \"enforce\"\nstate_dir = \"state\"\n\
         [observation]\nsample_interval_ms = 100\ndecide_interval_ms = 200\n\
         [policy.parameters]\nstale_lock_age_ms = 100\n\
         [guard]\ncool_down_ms = 100\n\
         [[targets]]\nname = \"shop\"\nsqlite = \"{}\"\nmay_end = [\"demo-holder\"]\n",
        scene.database().display()
    );
    std::fs::write(&config, text).unwrap();
    (scene, config)
}

/// A full disk does not end the watch; only repairs wait, because they must be written down first.
#[test]
fn a_full_disk_keeps_the_watch_and_holds_repairs_back() {
    let home = tempfile::tempdir().unwrap();
    let (scene, config) = lockable_shop(home.path());
    let mut teller = Teller::start(&config);
    // Without one the policy chooses no repair.
    teller.until("checked and kept");
    teller.fill_the_disk(true);
    let holder = hold_write_lock(&scene).unwrap();
    teller.until("the watch goes on");
    // It waits until what approved it is written down.
    teller.until("lets lock.end-holder go");
    assert!(holder.is_running());
    teller.fill_the_disk(false);
    teller.until("written again; nothing is missing");
    teller.until("lock.end-holder verified in");
    // The problem is over with the next look, and is so in the journal then.
    teller.until("resolved ");
    assert!(!holder.is_running());
    kill_process(teller.pid(), Signal::TERM).unwrap();
    assert_eq!(teller.end(), Some(0));
    let state = home.path().join("state");
    let incident = run(&["incidents", "INC-1", "--state-dir", state.to_str().unwrap()]);
    let incident = data(&incident);
    for part in ["lock.stale-holder", "verified", "resolved"] {
        assert!(incident.contains(part), "{part}: {incident}");
    }
    teller.until("recording it ends here");
    let recording = config.with_extension("recording");
    let replayed = run(&["replay", recording.to_str().unwrap()]);
    assert!(replayed.status.success(), "{}", talk(&replayed));
}
