//! The state on disk: what dbmedic 0.1.0 left is taken over, and what is lost halts what it was about.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dbmedic::digest::hex;
use dbmedic::store::{JournalEntry, Reader, Store};
use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::common::{damage_log, data, dbmedic, files, integrity, run, talk, wait_for};

/// State directories as the build before `state.db` left them.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/state-0.1.0");

/// What stands between an entry of the old journal and its checksum.
const SUM: &str = ",\"sum\":\"";

/// Where the fixtures were made.
const MADE_IN: &str = "/srv/shop";

/// A copy of a fixture, with the paths in its journal where it lies now.
fn fixture(name: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    copy_all(&Path::new(FIXTURES).join(name), home.path());
    private(&home.path().join("state"));
    let journal = home.path().join("state/journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let lines = text.lines().map(|line| {
        let entry = line.split(SUM).next().unwrap();
        let entry = entry.replace(MADE_IN, home.path().to_str().unwrap());
        let sum = &hex(&Sha256::digest(&entry))[..16];
        format!("{entry}{SUM}{sum}\"}}\n")
    });
    fs::write(&journal, lines.collect::<String>()).unwrap();
    home
}

fn copy_all(from: &Path, to: &Path) {
    for file in files(from) {
        let into = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(into.parent().unwrap()).unwrap();
        fs::copy(file, into).unwrap();
    }
}

fn private(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            private(&path);
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn repair(path: &Path, state: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(dbmedic());
    command.args(["repair", path.to_str().unwrap(), "--apply"]);
    command.args(["--watch-ms", "300", "--max-loss-commits", "100"]);
    command.args(["--state-dir", state.to_str().unwrap()]);
    command.args(more).output().unwrap()
}

fn orders(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap()
}

/// A log of 60 commits with a damaged end, and a repair that was killed when its last step had begun.
fn open_repair() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let home = fixture("open-repair");
    let (path, state) = (home.path().join("shop.db"), home.path().join("state"));
    // The copy knows its original by its number and its owner.
    let manifest = state.join("copies/R-8/manifest.json");
    let mut known: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let about = fs::metadata(&path).unwrap();
    known["original"]["inode"] = about.ino().into();
    known["original"]["ownership"]["uid"] = about.uid().into();
    known["original"]["ownership"]["gid"] = about.gid().into();
    known["original"]["ownership"]["mode"] = (about.mode() & 0o7777).into();
    fs::write(manifest, known.to_string()).unwrap();
    (home, path, state)
}

#[test]
fn an_open_repair_of_the_version_before_is_closed() {
    let (_home, path, state) = open_repair();
    let early = run(&["incidents", "--state-dir", state.to_str().unwrap()]);
    assert_eq!(early.status.code(), Some(2));
    assert!(
        talk(&early).contains("written by dbmedic 0.1.0"),
        "{}",
        talk(&early)
    );
    assert!(!state.join("state.db").exists());

    let output = repair(&path, &state, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    assert!(talk(&output).contains("taken over"), "{}", talk(&output));
    assert_eq!(integrity(&path), "ok");
    // All but the commits behind the damage, which were announced.
    let kept = orders(&path);
    assert!((70..80).contains(&kept), "{kept}");
    let entries = Reader::open(&state)
        .unwrap()
        .unwrap()
        .entries(None)
        .unwrap();
    let closed: Vec<_> = entries
        .iter()
        .filter_map(|line| match &line.entry {
            JournalEntry::RepairClosed {
                repair_id, outcome, ..
            } => Some((repair_id.as_str(), outcome)),
            _ => None,
        })
        .collect();
    let [("R-8", outcome)] = closed[..] else {
        panic!("{closed:?}");
    };
    assert_eq!(
        format!("{:?}", outcome.outcome_result),
        "Verified",
        "{outcome:?}"
    );
    // The story goes on where it was, and the files of before stay.
    assert_eq!(entries[10].seq, 11);
    assert!(state.join("before-state-db/journal.jsonl").exists());
    assert!(state.join("before-state-db/carried.json").exists());
    assert!(!state.join("journal.jsonl").exists() && !state.join("inbox").exists());
    let again = repair(&path, &state, &[]);
    assert_eq!(again.status.code(), Some(0), "{}", talk(&again));
    assert!(!talk(&again).contains("taken over"), "{}", talk(&again));
}

/// Killed at each write after it was taken over, and again at the first write of the next start.
#[test]
fn a_kill_while_it_is_closed_loses_nothing() {
    let mut kills = 0;
    for flag in ["--kill-before", "--kill-after"] {
        for write in 1..40 {
            let (_home, path, state) = open_repair();
            let killed = repair(&path, &state, &[flag, &write.to_string()]);
            if killed.status.code().is_some() {
                break;
            }
            kills += 1;
            repair(&path, &state, &[flag, "1"]);
            let output = repair(&path, &state, &[]);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{flag} {write}: {}",
                talk(&output)
            );
            assert_eq!(integrity(&path), "ok", "{flag} {write}");
            assert!((70..80).contains(&orders(&path)), "{flag} {write}");
            let store = Store::open(&state).unwrap();
            assert!(store.open_repairs().unwrap().is_empty(), "{flag} {write}");
        }
    }
    assert!(kills >= 6, "{kills}");
}

#[test]
fn what_people_and_policies_left_is_taken_over() {
    let home = fixture("killed-run");
    let state = home.path().join("state");
    let store = Store::open(&state).unwrap();
    assert!(
        store.notes()[0].contains("taken over"),
        "{:?}",
        store.notes()
    );
    let carried = store.carried().unwrap().carried;
    assert_eq!(carried.next_incident, 3);
    assert_eq!(carried.silences.count, 1);
    assert_eq!(
        carried.targets["shop"].incidents[0].finding.incident,
        "INC-2"
    );
    // The command that no run had taken up waits; the one that one had does not.
    let unheard = store.unheard().unwrap();
    let unheard: Vec<_> = unheard.iter().map(|one| one.request.to_string()).collect();
    assert_eq!(unheard, ["bob acknowledges INC-2: on it"]);
    assert_eq!(
        store.services().unwrap()["default"].present.identity.name,
        "default"
    );
    drop(store);
    let before = state.join("before-state-db");
    assert!(before.join("inbox").is_dir());
    let entries = || {
        Reader::open(&state)
            .unwrap()
            .unwrap()
            .entries(None)
            .unwrap()
    };
    let all = entries();
    // As after a kill when all was in the database, and the first file was moved.
    for name in ["carried.json", "inbox"] {
        fs::rename(before.join(name), state.join(name)).unwrap();
    }
    let db = Connection::open(state.join("state.db")).unwrap();
    db.execute("INSERT INTO meta VALUES ('imported', '0.1.0')", [])
        .unwrap();
    db.close().unwrap();
    drop(Store::open(&state).unwrap());
    assert_eq!(entries(), all);
    assert!(before.join("carried.json").exists() && before.join("inbox").is_dir());
    assert!(state.join("before-state-db/service.json").exists());
    let told = run(&["incidents", "--state-dir", state.to_str().unwrap()]);
    for expected in ["INC-1 ", "INC-2 ", "acknowledged at "] {
        assert!(
            data(&told).contains(expected),
            "{expected}: {}",
            data(&told)
        );
    }
    // A dbmedic 0.1.0 that ran here since wrote what does not belong to it.
    fs::write(state.join("carried.json"), "{}").unwrap();
    let error = Store::open(&state).unwrap_err().to_string();
    assert!(
        error.contains("carried.json") && error.contains("state.db"),
        "{error}"
    );
}

/// A repair of a log that was killed in its middle.
fn half_done(path: &Path, state: &Path) {
    damage_log(path, 0.98);
    for write in 1.. {
        let killed = repair(path, state, &["--kill-after", &write.to_string()]);
        assert_eq!(killed.status.code(), None, "{}", talk(&killed));
        let open = Store::open(state).unwrap().open_repairs().unwrap();
        if open.iter().any(|repair| repair.steps.len() > 2) {
            break;
        }
        fs::remove_dir_all(state).unwrap();
    }
}

/// A configuration that watches a database with a state directory, and dbmedic at work with it.
fn watching(home: &Path, state: &Path) -> std::process::Child {
    let config = home.join("dbmedic.toml");
    let text = format!(
        "version = 1\nstate_dir = \"{}\"\n[[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n",
        state.display()
    );
    fs::write(&config, text).unwrap();
    let mut watch = Command::new(dbmedic());
    watch.args(["run", "-c", config.to_str().unwrap()]);
    watch.stderr(fs::File::create(home.join("log")).unwrap());
    watch.spawn().unwrap()
}

/// The child of the test below: the state lies on a small disk of its own.
#[test]
fn run_on_a_full_disk() {
    let Some(home) = std::env::var_os("HOME_WITH_A_SMALL_DISK").map(PathBuf::from) else {
        return;
    };
    let (path, state) = (home.join("shop.db"), home.join("disk/state"));
    // As after an earlier run, which compiled the policy.
    let earlier = home.join("disk/earlier");
    let mut watch = watching(&home, &earlier);
    wait_for("the policy to be compiled", || {
        earlier.join("health.json").exists().then_some(())
    });
    watch.kill().unwrap();
    watch.wait().unwrap();
    half_done(&path, &state);
    fs::rename(earlier.join("policies"), state.join("policies")).unwrap();
    let filler = home.join("disk/filler");
    let mut filler = fs::File::create(filler).unwrap();
    while filler.write_all(&[7; 512]).is_ok() {}
    let mut watch = watching(&home, &state);
    wait_for("the repair to be closed", || {
        assert_eq!(
            watch.try_wait().unwrap(),
            None,
            "{}",
            fs::read_to_string(home.join("log")).unwrap()
        );
        let entries = Reader::open(&state).ok()??.entries(None).ok()?;
        let mut entries = entries.into_iter().map(|line| line.entry);
        entries
            .any(|entry| matches!(entry, JournalEntry::RepairClosed { .. }))
            .then_some(())
    });
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(integrity(&path), "ok");
    println!("it was full");
}

#[test]
fn a_start_on_a_full_disk_closes_what_was_left_open() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("disk")).unwrap();
    let script = "mount -t tmpfs -o size=48m,mode=700 none \"$HOME_WITH_A_SMALL_DISK/disk\" || exit 77; exec \"$@\"";
    let child = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["state::run_on_a_full_disk", "--exact", "--nocapture"])
        .env("HOME_WITH_A_SMALL_DISK", home.path())
        .output();
    let Some(child) = child
        .ok()
        .filter(|child| ![Some(1), Some(77)].contains(&child.status.code()))
    else {
        println!("not run: this machine lets nobody mount something for one process");
        return;
    };
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", talk(&child));
    assert!(said.contains("it was full"), "{said}");
}

/// Where halts and denials are not known any more, a person looks before the next repair.
#[test]
fn a_state_that_is_gone_halts_until_a_person_looked() {
    let home = tempfile::tempdir().unwrap();
    let (path, state) = (home.path().join("shop.db"), home.path().join("state"));
    damage_log(&path, 0.98);
    drop(Store::open(&state).unwrap());
    fs::remove_file(state.join("state.db")).unwrap();
    for _ in 0..2 {
        let told = repair(&path, &state, &[]);
        let said = talk(&told);
        assert_eq!(told.status.code(), Some(1), "{said}");
        assert!(said.contains("the state was begun anew"), "{said}");
        assert!(!said.contains("verified"), "{said}");
    }
    let mut watch = watching(home.path(), &state);
    wait_for("the run to be told", || {
        let log = fs::read_to_string(home.path().join("log")).unwrap();
        log.contains("state.db is gone").then_some(())
    });
    let release = || run(&["release", "shop", "--state-dir", state.to_str().unwrap()]);
    wait_for("the release to be heard", || {
        let halted = || {
            let carried = Reader::open(&state).ok()??.carried().ok()?.carried;
            Some(carried.targets.get("shop")?.guard.halted.is_some())
        };
        if halted()? {
            release();
        }
        (!halted()?).then_some(())
    });
    watch.kill().unwrap();
    watch.wait().unwrap();
    let told = repair(&path, &state, &[]);
    assert_eq!(told.status.code(), Some(0), "{}", talk(&told));
}

/// Whatever a repair did whose state is lost, no other touches its database before a person looked.
#[test]
fn a_state_that_is_damaged_halts_what_a_repair_was_at_work_on() {
    let home = tempfile::tempdir().unwrap();
    let (path, state) = (home.path().join("shop.db"), home.path().join("state"));
    half_done(&path, &state);
    let database = state.join("state.db");
    let mut bytes = fs::read(&database).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page[..100].fill(0xff);
    }
    fs::write(&database, &bytes).unwrap();
    let state_name = state.to_str().unwrap();
    for _ in 0..2 {
        let told = repair(&path, &state, &[]);
        let said = talk(&told);
        assert_eq!(told.status.code(), Some(1), "{said}");
        assert!(!said.contains("verified"), "{said}");
    }
    let names: Vec<String> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let aside = names
        .iter()
        .find(|name| name.starts_with("damaged-") && name.ends_with("state.db"));
    assert_eq!(fs::read(state.join(aside.unwrap())).unwrap(), bytes);
    let carried = Store::open(&state).unwrap().carried().unwrap().carried;
    let halted = carried.targets["shop"].guard.halted.clone().unwrap();
    assert!(
        halted.contains("was under way when the state was lost"),
        "{halted}"
    );
    // A person looked, and lets it be repaired.
    let released = run(&["release", "shop", "--state-dir", state_name]);
    assert!(released.status.success(), "{}", talk(&released));
    let mut watch = watching(home.path(), &state);
    wait_for("the release to be heard", || {
        let reader = Reader::open(&state).ok()??;
        let carried = reader.carried().ok()?.carried;
        let is_heard = reader.unheard().ok()?.is_empty();
        (is_heard && carried.targets.get("shop")?.guard.halted.is_none()).then_some(())
    });
    watch.kill().unwrap();
    watch.wait().unwrap();
}
