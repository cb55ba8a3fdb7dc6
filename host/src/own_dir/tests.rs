use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    OwnDir::open(&path).unwrap();
    assert_eq!(mode_of(&path), 0o700);
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    OwnDir::open(&path).unwrap();
    for mode in [0o757, 0o777, 0o1777] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = OwnDir::open(&path).unwrap_err();
        assert!(matches!(error, TrustError::Writable { .. }), "{error}");
    }
}

#[test]
fn what_is_written_is_for_this_user_alone_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let own = OwnDir::open(&dir.path().join("own")).unwrap();
    assert_eq!(own.read("file", 10).unwrap(), None);
    own.write_whole("file", b"one").unwrap();
    own.write_whole("file", b"two").unwrap();
    assert_eq!(own.read("file", 3).unwrap().unwrap(), b"two");
    assert!(
        own.read("file", 2).is_err(),
        "no more is read than asked for"
    );
    assert_eq!(mode_of(&own.path_of("file")), 0o600);
    assert_eq!(own.names().unwrap(), ["file"], "nothing half written stays");
    // An older one, made for others to read.
    fs::set_permissions(own.path_of("file"), Permissions::from_mode(0o644)).unwrap();
    own.open_to_append("file").unwrap().write_all(b"!").unwrap();
    assert_eq!(own.read("file", 10).unwrap().unwrap(), b"two!");
    assert_eq!(mode_of(&own.path_of("file")), 0o600);
    own.create("file").unwrap();
    assert_eq!(own.about("file").unwrap().unwrap().bytes, 0);
}

#[test]
fn nothing_is_opened_through_a_link_and_nothing_but_files() {
    let dir = tempfile::tempdir().unwrap();
    let own = OwnDir::open(&dir.path().join("own")).unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, "outside").unwrap();
    symlink(&outside, own.path_of("link")).unwrap();
    for opened in [
        own.open_file("link"),
        own.open_or_create("link"),
        own.open_to_append("link"),
    ] {
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("is not a regular file"), "{error}");
    }
    own.write_whole("link", b"own").unwrap();
    assert_eq!(own.read("link", 10).unwrap().unwrap(), b"own");
    symlink(&outside, own.path_of("other")).unwrap();
    own.create("other").unwrap().write_all(b"own").unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"outside");
    fs::create_dir(own.path_of("dir")).unwrap();
    assert!(own.open_file("dir").is_err());
    let pipe = Mode::from_raw_mode(PRIVATE);
    rustix::fs::mknodat(own.handle(), "pipe", FileType::Fifo, pipe, 0).unwrap();
    assert!(own.open_file("pipe").is_err(), "and it waits for nobody");
    fs::write(own.path_of("open"), "planted").unwrap();
    fs::set_permissions(own.path_of("open"), Permissions::from_mode(0o666)).unwrap();
    let error = own.open_file("open").unwrap_err().to_string();
    assert!(error.contains("can be written to by everybody"), "{error}");
}

#[test]
fn a_name_is_no_path() {
    let dir = tempfile::tempdir().unwrap();
    let own = OwnDir::open(&dir.path().join("own")).unwrap();
    for name in ["", ".", "..", "../x", "/etc/passwd", "a/b"] {
        assert!(own.open_file(name).is_err(), "{name}");
        assert!(own.create(name).is_err(), "{name}");
        assert!(own.write_whole(name, b"").is_err(), "{name}");
        assert!(own.rename("x", name).is_err(), "{name}");
        assert!(own.dir(name).is_err(), "{name}");
    }
    assert!(!dir.path().join("x").exists());
}

#[test]
fn a_part_may_lie_elsewhere_by_a_link_of_this_user() {
    let dir = tempfile::tempdir().unwrap();
    let own = OwnDir::open(&dir.path().join("own")).unwrap();
    fs::create_dir(dir.path().join("large-disk")).unwrap();
    symlink("../large-disk", own.path_of("part")).unwrap();
    let part = own.dir("part").unwrap();
    part.write_whole("file", b"there").unwrap();
    assert_eq!(
        fs::read(dir.path().join("large-disk/file")).unwrap(),
        b"there"
    );
    assert!(own.dir_if_there("none").unwrap().is_none());
    fs::set_permissions(dir.path().join("large-disk"), Permissions::from_mode(0o777)).unwrap();
    assert!(own.dir("part").is_err());
}
