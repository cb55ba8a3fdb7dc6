use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use dbmedic::sqlite::raw::{FailureKind, RawError, Request};
use dbmedic::sqlite::worker::{Role, SUBCOMMAND, first_line};
use rustix::fs::{CWD, Mode, mkfifoat};

use super::{EXE, Place, raw, seen};

/// What a planted name is, and how it comes there.
type Trap<'a> = (&'a str, &'a dyn Fn(&Path));

/// A database with a log that is not checkpointed.
const WITH_LOG: &str = "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
    CREATE TABLE t(x); INSERT INTO t VALUES (1), (2)";

#[test]
fn what_is_put_back_is_the_applications_own_and_it_can_write() {
    let place = Place::new(WITH_LOG);
    let copy = place.copy("copy");
    let mut helper = raw();
    // A log, and a journal that is not hot: both are put back.
    fs::write(place.companion("-wal"), "").unwrap();
    fs::write(place.companion("-journal"), "").unwrap();
    give(&place);
    helper.copy(&place.database, &copy, None).unwrap();
    fs::remove_file(place.companion("-wal")).unwrap();
    fs::remove_file(place.companion("-journal")).unwrap();
    let over = helper.digest(&place.database).unwrap();
    helper.restore_over(&place.database, &copy, &over).unwrap();
    assert_eq!(place.names(), ["app.db", "app.db-journal", "app.db-wal"]);
    place.assert_owner();
    place.application("INSERT INTO t VALUES (3)");
}

/// Gives everything in the directory to the application.
fn give(place: &Place) {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    for name in place.names() {
        let path = place.data().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if place.user != rustix::process::geteuid().as_raw() {
            chown(&path, Some(place.user), Some(place.user)).unwrap();
        }
    }
}

#[test]
fn links_pipes_and_devices_beside_a_database_stop_everything() {
    let place = Place::new(WITH_LOG);
    let copy = place.copy("copy");
    let mut helper = raw();
    fs::write(place.companion("-wal"), "").unwrap();
    give(&place);
    helper.copy(&place.database, &copy, None).unwrap();
    let over = helper.digest(&place.database).unwrap();
    let sentinel = place.sentinel("of-root");
    let before = seen(&sentinel);
    let plant: [Trap; 4] = [
        ("symbolic link", &|path| symlink(&sentinel, path).unwrap()),
        ("symbolic link", &|path| symlink("/dev/zero", path).unwrap()),
        ("pipe", &|path| {
            mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
        }),
        ("directory", &|path| fs::create_dir(path).unwrap()),
    ];
    for suffix in ["-wal", "-journal", "-shm"] {
        for (is, plant) in &plant {
            let path = place.companion(suffix);
            fs::remove_file(&path).ok();
            plant(&path);
            let what = format!("{is} as {suffix}");
            let begin = Instant::now();
            let errors = [
                helper.look(&place.database, true, &[]).unwrap_err(),
                helper
                    .copy(&place.database, &place.copy("other"), None)
                    .unwrap_err(),
                helper
                    .restore_over(&place.database, &copy, &over)
                    .unwrap_err(),
                helper.restore(&place.database, &copy).unwrap_err(),
            ];
            for error in errors {
                assert!(
                    matches!(&error, RawError::Failed(f) if f.kind == FailureKind::File),
                    "{what}: {error}"
                );
                assert!(error.to_string().contains(is), "{what}: {error}");
            }
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "{what}: it waited"
            );
            assert!(
                fs::remove_file(&path)
                    .or_else(|_| fs::remove_dir(&path))
                    .is_ok(),
                "{what}"
            );
            assert_eq!(seen(&sentinel), before, "{what}");
        }
    }
    assert!(!place.copy("other/manifest.json").exists());
    helper.restore(&place.database, &copy).unwrap();
    place.assert_owner();
}

#[test]
fn a_database_under_another_number_is_not_overwritten() {
    let place = Place::new(WITH_LOG);
    let copy = place.copy("copy");
    let mut helper = raw();
    helper.copy(&place.database, &copy, None).unwrap();
    let over = helper.digest(&place.database).unwrap();
    // The same content, another file.
    let other = place.data().join("other.db");
    fs::copy(&place.database, &other).unwrap();
    fs::rename(&other, &place.database).unwrap();
    give(&place);
    let before = fs::read(&place.database).unwrap();
    let error = helper
        .restore_over(&place.database, &copy, &over)
        .unwrap_err();
    assert!(
        matches!(&error, RawError::Failed(f) if f.kind == FailureKind::Changed),
        "{error}"
    );
    assert!(error.to_string().contains("another file"), "{error}");
    assert!(fs::read(&place.database).unwrap() == before);
}

#[test]
fn a_restore_that_is_cut_off_leaves_nothing_that_the_next_does_not_remove() {
    let place = Place::new(&format!(
        "{WITH_LOG}; CREATE TABLE filler(x); INSERT INTO filler VALUES (zeroblob(20000000))"
    ));
    // The log is long, so that the restore is cut off while it writes it.
    let log = vec![7_u8; 30_000_000];
    fs::write(place.companion("-wal"), &log).unwrap();
    give(&place);
    let copy = place.copy("copy");
    raw().copy(&place.database, &copy, None).unwrap();
    let whole = place.names();
    let request = Request::Restore {
        path: place.database.clone(),
        from: copy.clone(),
        over: None,
    };
    let request = serde_json::to_string(&request).unwrap();
    let first = first_line(Role::Raw, place.rights().as_ref());
    let line = format!("{first}\n{request}\n");
    let mut left_over = 0;
    for step in 1..=10_u64 {
        let mut helper = Command::new(EXE)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(helper.stdin.as_mut().unwrap(), line.as_bytes()).unwrap();
        let wanted = step * 3_000_000;
        let begin = Instant::now();
        let unfinished = || {
            let names = place.names().into_iter();
            names
                .filter(|name| name.contains("-dbmedic-"))
                .find(|name| {
                    fs::metadata(place.data().join(name)).is_ok_and(|meta| meta.len() >= wanted)
                })
        };
        while unfinished().is_none()
            && helper.try_wait().unwrap().is_none()
            && begin.elapsed() < Duration::from_secs(5)
        {
            std::thread::yield_now();
        }
        helper.kill().unwrap();
        helper.wait().unwrap();
        left_over += usize::from(place.names() != whole);
        raw().restore(&place.database, &copy).unwrap();
        assert_eq!(place.names(), whole, "step {step}");
        place.assert_owner();
    }
    assert!(
        left_over > 2,
        "{left_over} of 10 were cut off in the middle"
    );
    assert_eq!(fs::read(place.companion("-wal")).unwrap(), log);
}

#[test]
fn copies_are_for_their_owner_alone_and_end_with_the_room() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(WITH_LOG);
    let copy = place.copy("one");
    let mut helper = raw();
    helper.copy(&place.database, &copy, None).unwrap();
    for entry in fs::read_dir(&copy).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let mode = fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    // Longer than any disk, and takes no room itself.
    let endless = fs::File::create(place.companion("-journal")).unwrap();
    if endless.set_len(8 << 40).is_err() {
        // This file system has no files of that length.
        return;
    }
    let error = helper
        .copy(&place.database, &place.copy("two"), None)
        .unwrap_err();
    assert!(
        matches!(&error, RawError::Failed(f) if f.kind == FailureKind::NoRoom),
        "{error}"
    );
}
