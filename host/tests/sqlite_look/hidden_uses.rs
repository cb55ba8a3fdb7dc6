use std::fs::File;
use std::os::unix::fs::symlink;

use dbmedic::sqlite_state::set::{self, Hidden};

use super::*;

/// The hidden uses and who is said to be the user.
fn seen(place: &Place) -> Vec<(Hidden, u32)> {
    let uses = place.look().set.hidden_uses.unwrap();
    uses.iter()
        .map(|one| (one.hidden, one.process.pid))
        .collect()
}

#[test]
fn a_file_that_lost_its_name_under_a_process_is_seen_with_who_has_it() {
    let place = Place::new();
    let owner = Owner::start(&place.database, WAL, None);
    assert_eq!(seen(&place), []);

    // Another file under the database's name: the process goes on with the old one.
    let other = place.directory.path().join("other");
    Connection::open(&other)
        .unwrap()
        .execute_batch(ROLLBACK)
        .unwrap();
    fs::rename(&other, &place.database).unwrap();
    assert_eq!(seen(&place), [(Hidden::DatabaseUnlinked, owner.pid())]);

    // The log as well: it has what was committed.
    fs::remove_file(place.companion("-wal")).unwrap();
    let found = place.look().set.hidden_uses.unwrap().remove(0);
    assert_eq!(found.hidden, Hidden::LogUnlinked);
    let kept = format!("/proc/{}/fd/{}", owner.pid(), found.descriptor.unwrap());
    assert!(fs::read(kept).unwrap().len() > 4096);
    let objection = set::objection(&place.look()).unwrap();
    assert!(objection.contains(&owner.pid().to_string()), "{objection}");

    owner.kill();
    assert_eq!(seen(&place), []);
}

#[test]
fn a_program_that_comes_and_goes_has_lost_nothing() {
    let place = Place::new();
    Owner::start(&place.database, WAL, None).leave();
    let begun = Instant::now();
    thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut source = place.source();
            let mut looks = 0;
            while looks < 20 || begun.elapsed() < Duration::from_secs(2) {
                let state = source.look(true, None).unwrap();
                assert_eq!(state.set.hidden_uses, Some(Vec::new()));
                looks += 1;
            }
        });
        // The last one to close it deletes the log, each time.
        while !looks.is_finished() {
            Owner::start(&place.database, "INSERT INTO t(text) VALUES ('c')", None).leave();
        }
        looks.join().unwrap();
    });
}

#[test]
fn a_program_that_reads_its_own_database_file_has_lost_its_locks() {
    let shop = |place: &Place, files: &[PathBuf]| Owner::reading(&place.database, WAL, None, files);
    let place = Place::new();
    let log = place.companion("-wal");
    let owner = shop(&place, &[log]);
    assert_eq!(seen(&place), [], "the log carries no locks");
    owner.kill();

    for files in [vec![""], vec!["", "-shm"]] {
        let place = Place::new();
        let files: Vec<_> = files.iter().map(|name| place.companion(name)).collect();
        let owner = shop(&place, &files);
        let others = Owner::start(&place.database, "SELECT 1 FROM t", None);
        let lost = [(Hidden::LocksLost, owner.pid())];
        if files.len() == 1 {
            assert_eq!(seen(&place), lost, "beside another process");
        }
        others.kill();
        assert_eq!(seen(&place), lost, "{files:?}");
        let objection = set::objection(&place.look()).unwrap();
        assert!(objection.contains("holds no lock"), "{objection}");
        owner.kill();
        assert_eq!(seen(&place), []);
    }
}

#[test]
fn descriptors_that_a_process_only_inherited_are_no_use() {
    let place = Place::new();
    let owner = Owner::start(&place.database, WAL, None);
    let open = |suffix: &str| {
        let path = place.companion(suffix);
        File::options().read(true).write(true).open(path).unwrap()
    };
    let mut heir = Command::new("sleep")
        .arg("60")
        .stdin(open(""))
        .stdout(open("-wal"))
        .spawn()
        .unwrap();
    // Of one family, as the processes of a server that forks are.
    assert_eq!(seen(&place), []);
    // The last of the family that holds a lock is gone: whoever writes now is seen by nobody.
    owner.kill();
    assert_eq!(seen(&place), [(Hidden::LocksLost, heir.id())]);
    heir.kill().unwrap();
    heir.wait().unwrap();
}

#[test]
fn a_program_that_reaches_the_file_under_another_path_has_another_log() {
    let place = Place::new();
    Owner::start(&place.database, WAL, None).leave();
    let other = tempfile::tempdir().unwrap();
    let linked = other.path().join("linked.db");
    fs::hard_link(&place.database, &linked).unwrap();
    let elsewhere = Owner::start(&linked, "INSERT INTO t(text) VALUES ('d')", None);
    assert_eq!(seen(&place), [(Hidden::LogElsewhere, elsewhere.pid())]);
    // Beside one who uses the log here.
    let here = Owner::start(&place.database, "SELECT 1 FROM t", None);
    assert_eq!(seen(&place), [(Hidden::LogElsewhere, elsewhere.pid())]);
    drop((here, elsewhere));

    // A symbolic link is the same path to SQLite.
    let place = Place::new();
    Owner::start(&place.database, WAL, None).leave();
    let named = other.path().join("named.db");
    symlink(&place.database, &named).unwrap();
    let owner = Owner::start(&named, "INSERT INTO t(text) VALUES ('d')", None);
    assert_eq!(seen(&place), []);
    drop(owner);
}

#[test]
fn programs_that_use_a_database_in_their_own_way_hide_nothing() {
    for (script, held) in [
        (WAL, "BEGIN; SELECT count(*) FROM t"),
        (WAL, "BEGIN IMMEDIATE; INSERT INTO t(text) VALUES ('d')"),
        (
            WAL,
            "PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t(text) VALUES ('d')",
        ),
        (
            WAL,
            "SELECT count(*) FROM t; PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t(text) VALUES ('d')",
        ),
        (ROLLBACK, "BEGIN; SELECT count(*) FROM t"),
        (
            ROLLBACK,
            "BEGIN IMMEDIATE; INSERT INTO t(text) VALUES ('d')",
        ),
        (
            ROLLBACK,
            "PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t(text) VALUES ('d')",
        ),
        (
            ROLLBACK,
            "PRAGMA journal_mode = WAL; INSERT INTO t(text) VALUES ('d')",
        ),
    ] {
        let place = Place::new();
        Owner::start(&place.database, script, None).leave();
        let owner = Owner::start(&place.database, held, None);
        assert_eq!(seen(&place), [], "{held}");
        drop(owner);
    }
}

#[test]
fn a_log_that_was_deleted_in_order_is_not_used_by_who_inherited_it() {
    let place = Place::new();
    let owner = Owner::start(&place.database, WAL, None);
    let log = place.companion("-wal");
    let mut heir = Command::new("sleep")
        .arg("60")
        .stdout(File::options().write(true).open(&log).unwrap())
        .spawn()
        .unwrap();
    // The last one that closes the database deletes the log.
    owner.leave();
    assert!(!log.exists());
    assert_eq!(seen(&place), []);
    heir.kill().unwrap();
    heir.wait().unwrap();
}

#[test]
fn a_reader_of_a_replaced_file_that_is_at_rest_loses_nothing() {
    let place = Place::new();
    let reader = Owner::start(&place.database, ROLLBACK, None);
    let other = place.directory.path().join("other");
    fs::copy(&place.database, &other).unwrap();
    fs::rename(&other, &place.database).unwrap();
    assert_eq!(seen(&place), []);
    drop(reader);
}
