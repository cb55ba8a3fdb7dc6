//! What changes while dbmedic runs: its configuration, and the state directory under it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use dbmedic::store::{JournalEntry, Reader};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{damage_index, data, dbmedic, integrity, resting_shop, run, talk, wait_for};

/// Two databases, and a dbmedic that watches those that its configuration names.
struct Ward {
    home: tempfile::TempDir,
    watcher: Child,
}

impl Ward {
    fn open(mode: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        resting_shop(&home.path().join("shop.db"));
        resting_shop(&home.path().join("stock.db"));
        let config = configuration(mode, &["shop"]);
        fs::write(home.path().join("dbmedic.toml"), config).unwrap();
        let watcher = Self::watcher(home.path());
        let ward = Self { home, watcher };
        ward.until_watched(&["shop"]);
        ward
    }

    fn watcher(home: &Path) -> Child {
        Command::new(dbmedic())
            .args(["run", "-c"])
            .arg(home.join("dbmedic.toml"))
            .stderr(File::create(home.join("log")).unwrap())
            .spawn()
            .unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn until_logged(&self, expected: &str) {
        wait_for(expected, || self.log().contains(expected).then_some(()));
    }

    /// Until health is kept of these targets, and of no others.
    fn until_watched(&self, names: &[&str]) {
        wait_for("the targets to be watched", || {
            let health = fs::read(self.path("state/health.json")).ok()?;
            let health: Value = serde_json::from_slice(&health).ok()?;
            let known: Vec<&str> = health["targets"]
                .as_object()?
                .keys()
                .map(|k| &**k)
                .collect();
            (known == names).then_some(())
        });
    }

    fn reload(&self) -> Output {
        run(&["reload", "-c", self.path("dbmedic.toml").to_str().unwrap()])
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.watcher.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = wait_for("the watcher to stop", || self.watcher.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.watcher.kill().ok();
        self.watcher.wait().ok();
    }
}

fn configuration(mode: &str, targets: &[&str]) -> String {
    let options =
        "sample_interval_ms = 100\nintegrity_interval_ms = 300\ndecide_interval_ms = 200\n";
    let head =
        format!("version = 1\nmode = \"{mode}\"\nstate_dir = \"state\"\n[observation]\n{options}");
    targets.iter().fold(head, |text, name| {
        format!("{text}[[targets]]\nname = \"{name}\"\nsqlite = \"{name}.db\"\n")
    })
}

#[test]
fn targets_come_and_go_without_a_restart() {
    let ward = Ward::open("observe");
    let config = ward.path("dbmedic.toml");
    fs::write(&config, configuration("observe", &["shop", "stock"])).unwrap();
    let told = ward.reload();
    assert!(told.status.success(), "{}", talk(&told));
    ward.until_watched(&["shop", "stock"]);
    assert!(
        ward.log().contains("targets.stock is new"),
        "{}",
        ward.log()
    );

    // It begins anew, and hears what is said meanwhile.
    let again = ward.reload();
    assert!(again.status.success(), "{}", talk(&again));

    // What was not changed is no reason to begin anew.
    ward.signal(Signal::HUP);
    ward.until_logged("the configuration is unchanged");

    fs::write(&config, configuration("approve", &["stock"])).unwrap();
    ward.signal(Signal::HUP);
    ward.until_watched(&["stock"]);
    let log = ward.log();
    for change in [
        "mode: \"observe\" -> \"approve\"",
        "targets.shop is gone",
        "targets.stock.mode",
    ] {
        assert!(log.contains(change), "{change}: {log}");
    }
    // The file of another one is not what is read.
    let other = ward.path("other.toml");
    fs::copy(&config, &other).unwrap();
    let refused = run(&["reload", "-c", other.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(talk(&refused).contains("other.toml"), "{}", talk(&refused));
    ward.stop();
}

#[test]
fn a_configuration_that_cannot_be_used_changes_nothing() {
    let mut ward = Ward::open("observe");
    let config = ward.path("dbmedic.toml");
    let good = configuration("observe", &["shop"]);
    let wrong = [
        ("mood = \"enforce\"\n".to_owned() + &good, "mood"),
        (good.replace("\"state\"", "\"other\""), "cannot change"),
        (
            good.clone() + "[policy.parameters]\nstale_lock_age_ms = 1\n",
            "stale_lock_age_ms",
        ),
        (configuration("observe", &[]), "no target"),
    ];
    for (text, about) in wrong {
        fs::write(&config, text).unwrap();
        let before = ward.log().len();
        ward.signal(Signal::HUP);
        let told = wait_for(about, || {
            let log = ward.log();
            let lines = log[before..].lines();
            lines
                .map(str::to_owned)
                .find(|line| line.contains("is not taken"))
        });
        assert!(told.contains(about), "{told}");
    }
    fs::write(&config, "mode = 7\n").unwrap();
    let refused = ward.reload();
    assert_eq!(refused.status.code(), Some(2), "{}", data(&refused));
    assert!(
        talk(&refused).contains("dbmedic.toml:1"),
        "{}",
        talk(&refused)
    );
    // It watches as it did.
    fs::remove_file(ward.path("state/health.json")).unwrap();
    ward.until_watched(&["shop"]);
    assert!(ward.watcher.try_wait().unwrap().is_none());
    ward.stop();
}

#[test]
fn nobody_is_told_to_reload_where_no_dbmedic_runs() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("dbmedic.toml");
    resting_shop(&home.path().join("shop.db"));
    fs::write(&config, configuration("observe", &["shop"])).unwrap();
    let refused = run(&["reload", "-c", config.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        talk(&refused).contains("no dbmedic is running"),
        "{}",
        talk(&refused)
    );
}

#[test]
fn a_state_directory_that_vanishes_is_made_again() {
    let ward = Ward::open("approve");
    damage_index(&ward.path("shop.db"));
    ward.until_logged("waits for a person");
    fs::rename(ward.path("state"), ward.path("gone")).unwrap();
    ward.until_logged("was made again");
    // The incident is the same one, and is healed as if nothing had been.
    let state = ward.path("state");
    wait_for("the incident to be known there", || {
        let carried = Reader::open(&state).ok()??.carried().ok()?.carried;
        let incidents = &carried.targets.get("shop")?.incidents;
        (incidents.first()?.finding.incident == "INC-1").then_some(())
    });
    let approve = || {
        let state = state.to_str().unwrap();
        let approved = run(&["approve", "INC-1", "--state-dir", state]);
        approved.status.success().then_some(())
    };
    wait_for("the repair to wait again", approve);
    ward.until_logged("verified");
    assert_eq!(integrity(&ward.path("shop.db")), "ok");
    ward.stop();
}

/// What a person was told is written down comes to pass once, whatever ends the run in between.
#[test]
fn an_approval_outlasts_what_ends_the_run() {
    for signal in [Signal::KILL, Signal::TERM] {
        let mut ward = Ward::open("approve");
        damage_index(&ward.path("shop.db"));
        ward.until_logged("waits for a person");
        let state = ward.path("state");
        let approved = run(&["approve", "INC-1", "--state-dir", state.to_str().unwrap()]);
        assert!(approved.status.success(), "{}", talk(&approved));
        ward.signal(signal);
        ward.watcher.wait().unwrap();
        ward.watcher = Ward::watcher(ward.home.path());
        let begun = || {
            let entries = Reader::open(&state).ok()??.entries(None).ok()?;
            let is_begun = |entry: &JournalEntry| matches!(entry, JournalEntry::RepairIntended(_));
            let begun = entries.iter().filter(|line| is_begun(&line.entry)).count();
            (begun > 0).then_some(begun)
        };
        assert_eq!(wait_for("the repair to begin", begun), 1, "{signal:?}");
    }
}

#[test]
fn no_repair_begins_without_a_place_for_the_journal() {
    let ward = Ward::open("enforce");
    // In one go: nothing can be made there in between.
    let in_the_way = ward.path("in-the-way");
    fs::write(&in_the_way, "a file").unwrap();
    let state = ward.path("state");
    renameat_with(CWD, &state, CWD, &in_the_way, RenameFlags::EXCHANGE).unwrap();
    ward.until_logged("no repair begins");
    damage_index(&ward.path("shop.db"));
    ward.until_logged("lets index.rebuild go");
    assert_ne!(integrity(&ward.path("shop.db")), "ok");
    assert!(!ward.log().contains("verified"), "{}", ward.log());
    fs::remove_file(&state).unwrap();
    ward.until_logged("verified");
    assert_eq!(integrity(&ward.path("shop.db")), "ok");
    ward.stop();
}
