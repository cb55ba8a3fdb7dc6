//! `dbmedic run` in mode enforce where the gentler act, or none, is right: a stopped holder is let go
//! on before anybody is ended, and files that must not be opened stay as they are.

use std::fs;
use std::path::{Path, PathBuf};

use dbmedic::demo::faults::hold_write_lock;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{contents, damage_index, data, resting_shop, run};
use crate::live::{Teller, lockable_shop};

/// What `dbmedic incidents` says of the first incident.
fn first_incident(state: &Path) -> String {
    data(&run(&[
        "incidents",
        "INC-1",
        "--state-dir",
        state.to_str().unwrap(),
    ]))
}

/// A configuration that would repair whatever can be repaired in `data/shop.db`.
fn eager(home: &Path) -> (PathBuf, PathBuf) {
    let data = home.join("data");
    fs::create_dir(&data).unwrap();
    let config = home.join("dbmedic.toml");
    let text = "version = 1\nmode = \"enforce\"\nstate_dir = \"state\"\n\
                [observation]\nsample_interval_ms = 100\nintegrity_interval_ms = 300\n\
                decide_interval_ms = 200\n\
                [[targets]]\nname = \"shop\"\nsqlite = \"data/shop.db\"\n";
    fs::write(&config, text).unwrap();
    (data, config)
}

#[test]
fn a_stopped_holder_is_let_go_on_before_it_is_ended() {
    let home = tempfile::tempdir().unwrap();
    let (scene, config) = lockable_shop(home.path());
    let text = fs::read_to_string(&config).unwrap();
    let patient = text.replace("stale_lock_age_ms = 100", "stale_lock_age_ms = 1500");
    assert_ne!(patient, text);
    fs::write(&config, patient).unwrap();
    let mut teller = Teller::start(&config);
    // Without a snapshot nobody is ended.
    teller.until("checked and kept");
    let holder = hold_write_lock(&scene).unwrap();
    let pid = Pid::from_raw(i32::try_from(holder.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    teller.until("lock.resume-holder verified in");
    // It goes on and keeps its lock all the same, so it is ended after all.
    teller.until("lock.end-holder verified in");
    assert!(!holder.is_running());
    teller.stop();
    let story = first_incident(&home.path().join("state"));
    let resumed = story.find("lock.resume-holder").expect(&story);
    let ended = story.find("lock.end-holder verified").expect(&story);
    assert!(resumed < ended, "{story}");
}

#[test]
fn an_emptied_file_beside_a_full_log_is_never_opened() {
    let home = tempfile::tempdir().unwrap();
    let (files, config) = eager(home.path());
    let elsewhere = home.path().join("shop.db");
    let writer = Connection::open(&elsewhere).unwrap();
    let fill = "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); \
                INSERT INTO t VALUES (zeroblob(40000));";
    writer.execute_batch(fill).unwrap();
    fs::copy(home.path().join("shop.db-wal"), files.join("shop.db-wal")).unwrap();
    fs::write(files.join("shop.db"), b"").unwrap();
    let before = contents(&files);
    let mut teller = Teller::start(&config);
    teller.until("file.emptied");
    teller.until("halted");
    teller.stop();
    assert!(contents(&files) == before, "the files were touched");
    let story = first_incident(&home.path().join("state"));
    assert!(story.contains("file.emptied"), "{story}");
    assert!(!story.contains("verified"), "{story}");
}

#[test]
fn a_file_that_is_emptied_while_it_is_watched_is_reported_and_stays_empty() {
    let home = tempfile::tempdir().unwrap();
    let (files, config) = eager(home.path());
    resting_shop(&files.join("shop.db"));
    let mut teller = Teller::start(&config);
    teller.until("checked and kept");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(files.join("shop.db"));
    file.unwrap().set_len(0).unwrap();
    teller.until("file.emptied");
    teller.until("halted");
    teller.stop();
    assert_eq!(fs::metadata(files.join("shop.db")).unwrap().len(), 0);
    let story = first_incident(&home.path().join("state"));
    assert!(story.contains("file.emptied"), "{story}");
}

#[test]
fn a_file_with_two_names_is_not_repaired_though_its_index_is_damaged() {
    let home = tempfile::tempdir().unwrap();
    let (files, config) = eager(home.path());
    resting_shop(&files.join("shop.db"));
    damage_index(&files.join("shop.db"));
    fs::hard_link(files.join("shop.db"), files.join("other.db")).unwrap();
    let before = contents(&files);
    let mut teller = Teller::start(&config);
    teller.until("file.linked");
    teller.stop();
    assert!(contents(&files) == before, "the files were touched");
    let story = first_incident(&home.path().join("state"));
    assert!(story.contains("file.linked"), "{story}");
    assert!(!story.contains("index.rebuild"), "{story}");
}
