//! What root is led to by who may write to the directory of a database: links to files of others, and
//! files of others themselves, planted before or between two operations.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use dbmedic::sqlite::look::SqliteSource;
use dbmedic::sqlite::raw::RawError;
use dbmedic::sqlite::worker::{self, PlaceError};
use dbmedic::sqlite_state::set::Unjudgeable;
use rusqlite::Connection;

use super::{EXE, OTHER, Place, raw, seen};

/// What is said of it, and how it comes into the place of the database.
type Trap<'a> = (&'a str, &'a dyn Fn(&Path, &Path));

const SCRIPT: &str = "CREATE TABLE t(x); INSERT INTO t VALUES (1), (2)";

/// Root's own database in a directory that is root's alone.
fn of_root(place: &Place) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = place.root.path().join("of-root");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let path = directory.join("other.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(SCRIPT).unwrap();
    drop(db);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    seen(&path);
    path
}

fn dbmedic(arguments: &[&str], database: &Path, state_dir: &Path) -> String {
    let mut command = Command::new(EXE);
    command.args(arguments).arg(database);
    if arguments.contains(&"--apply") {
        command.arg("--state-dir").arg(state_dir);
    }
    let output = command.output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn root_is_led_to_nothing_outside_by_whoever_can_change_the_path() {
    if !rustix::process::geteuid().is_root() {
        let said = "not root: planted links are not tested\n";
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    // What is planted in the place of the database, and what is said of it.
    let plant: [Trap<'_>; 3] = [
        (
            "is a symbolic link that user 47110 can change",
            &|to, name| {
                symlink(to, name).unwrap();
            },
        ),
        ("can put another file in its place", &|to, name| {
            fs::hard_link(to, name).unwrap();
        }),
        (
            "is a symbolic link that user 47110 can change",
            &|to, name| {
                let data = name.parent().unwrap();
                symlink(to.parent().unwrap(), data.join("way")).unwrap();
                symlink("way/other.db", name).unwrap();
            },
        ),
    ];
    for (said, plant) in plant {
        let place = Place::new(SCRIPT);
        let outside = of_root(&place);
        let state_dir = place.root.path().join("state");
        let mut helper = raw();
        helper.look(&place.database, true, &[]).unwrap();
        helper
            .copy(&place.database, &place.copy("before"), None)
            .unwrap();
        let over = helper.digest(&place.database).unwrap();

        // The same worker is asked again: what was decided before does not hold any more.
        fs::remove_file(&place.database).unwrap();
        plant(&outside, &place.database);
        let before = seen(&outside);
        let copy = place.copy("copy");
        let errors = [
            helper.look(&place.database, true, &[]).unwrap_err(),
            helper.copy(&place.database, &copy, None).unwrap_err(),
            helper
                .copy_to_read(&place.database, &copy, false)
                .unwrap_err(),
            helper.digest(&place.database).unwrap_err(),
            helper
                .restore(&place.database, &place.copy("before"))
                .unwrap_err(),
            helper
                .restore_over(&place.database, &place.copy("before"), &over)
                .unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, RawError::Place(_)), "{said}: {error}");
            assert!(error.to_string().contains(said), "{said}: {error}");
        }
        for arguments in [
            &["check", "--watch-ms", "100"][..],
            &["repair", "--apply", "--watch-ms", "100"],
        ] {
            let text = dbmedic(arguments, &place.database, &state_dir);
            assert!(text.contains(said), "{arguments:?}: {text}");
        }
        assert_eq!(seen(&outside), before, "{said}");
        assert_eq!(fs::metadata(&outside).unwrap().uid(), 0);
        assert!(!copy.exists(), "{said}");
        assert!(!state_dir.join("snapshots").exists(), "{said}");
        assert_eq!(fs::read_dir(outside.parent().unwrap()).unwrap().count(), 1);
    }
}

#[test]
fn a_link_that_only_root_can_change_is_followed() {
    let place = Place::new(SCRIPT);
    let link = place.root.path().join("way");
    symlink(place.data(), &link).unwrap();
    let database = link.join("app.db");
    raw().look(&database, true, &[]).unwrap();
    let found = worker::Place::of(&database).unwrap();
    assert_eq!((found.owner, found.only_to_look_at()), (place.user, None));
}

#[test]
fn a_file_of_another_that_its_directory_s_owner_can_read_is_only_looked_at() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new(SCRIPT);
    chown(&place.database, Some(0), Some(0)).unwrap();
    let refused = worker::Place::of(&place.database).unwrap_err();
    assert!(matches!(refused, PlaceError::Shared { .. }), "{refused}");
    fs::set_permissions(&place.database, fs::Permissions::from_mode(0o644)).unwrap();
    let found = worker::Place::of(&place.database).unwrap();
    assert_eq!(found.rights().map(|rights| rights.uid), Some(OTHER));
    assert!(found.only_to_look_at().unwrap().contains("user 47110"));
    raw().look(&place.database, true, &[]).unwrap();
}

#[test]
fn a_planted_link_is_one_reason_and_no_error() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new(SCRIPT);
    let outside = of_root(&place);
    fs::remove_file(&place.database).unwrap();
    symlink(&outside, &place.database).unwrap();
    let state_dir = place.root.path().join("state");
    let mut source = SqliteSource::new(&place.database, &state_dir, raw());
    let state = source.look(true, None).unwrap();
    let why = Unjudgeable::LinkOfAnother { user: Some(OTHER) };
    assert_eq!(state.set.unjudgeable, Some(why));
    assert_eq!(state.database_bytes, None);
}
