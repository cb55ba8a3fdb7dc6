use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use super::*;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A scratch directory by its real name: links above it are not what is tested.
fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

#[test]
fn owner_and_mode_decide() {
    let about = |owner, group, mode: u32| {
        let mut about = statat(CWD, "/", AtFlags::empty()).unwrap();
        (about.st_uid, about.st_gid, about.st_mode) = (owner, group, 0o040_000 | mode);
        about
    };
    let user = Uid::from_raw;
    let private = |group, user: Uid| group == user.as_raw();
    let cases = [
        (0, about(0, 0, 0o755), Ok(())),
        (1000, about(1000, 1000, 0o700), Ok(())),
        // A group of nobody else, as a umask of 002 leaves it.
        (1000, about(1000, 1000, 0o775), Ok(())),
        (1000, about(0, 1000, 0o775), Ok(())),
        (1000, about(1000, 100, 0o775), Err(Fault::Writable)),
        (1000, about(1000, 1000, 0o777), Err(Fault::Writable)),
        (0, about(0, 1000, 0o775), Err(Fault::Writable)),
        // Root's is everybody's, what others own is nobody else's, root included.
        (1000, about(0, 0, 0o755), Ok(())),
        (0, about(1000, 1000, 0o700), Err(Fault::Owner)),
        (1000, about(1001, 1001, 0o700), Err(Fault::Owner)),
        (1000, about(0, 0, 0o1777), Err(Fault::Writable)),
    ];
    for (who, about, expected) in cases {
        let found = judge(&about, user(who), private);
        assert_eq!(
            found, expected,
            "user {who}, owner {}, group {}, mode {:o}",
            about.st_uid, about.st_gid, about.st_mode
        );
    }
}

#[test]
fn a_directory_on_the_way_that_others_can_write_to_must_be_sticky() {
    let (_dir, top) = scratch();
    let below = top.join("shared/own");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("file"), "content").unwrap();
    mode(&top.join("shared"), 0o777);
    let error = directory(&below, false).err().unwrap().to_string();
    let shared = top.join("shared").display().to_string();
    assert!(
        error.starts_with(&format!(
            "{shared} can be written to by everybody (mode 0777)"
        )) && error.ends_with(&format!("`chmod go-w {shared}` mends it")),
        "{error}"
    );
    assert!(open(&below.join("file")).is_err());
    mode(&top.join("shared"), 0o1777);
    assert!(directory(&below, false).is_ok());
    assert_eq!(read(&below.join("file"), 7).unwrap(), b"content");
    assert!(check_directory(&below).is_ok());
    assert!(
        check_directory(&top.join("shared")).is_err(),
        "every name in it counts"
    );
}

#[test]
fn a_file_that_others_can_write_is_not_read() {
    let (_dir, top) = scratch();
    let file = top.join("file");
    fs::write(&file, "content").unwrap();
    mode(&file, 0o666);
    let error = read(&file, 100).unwrap_err();
    assert!(matches!(error, TrustError::Writable { .. }), "{error}");
    mode(&file, 0o644);
    assert_eq!(read(&file, 100).unwrap(), b"content");
    assert!(matches!(read(&file, 6), Err(TrustError::TooLarge { .. })));
}

#[test]
fn links_of_this_user_are_followed_step_by_step() {
    let (_dir, top) = scratch();
    fs::create_dir_all(top.join("real/deep")).unwrap();
    fs::write(top.join("real/deep/file"), "content").unwrap();
    symlink("real/../real/deep", top.join("relative")).unwrap();
    symlink(top.join("relative"), top.join("absolute")).unwrap();
    let read = |path: &str| read(&top.join(path), 100).unwrap();
    assert_eq!(read("absolute/file"), b"content");
    assert_eq!(read("absolute/../deep/file"), b"content");
    let dir = directory(&top.join("absolute"), false).unwrap();
    assert_eq!(dir.path, top.join("real/deep"));
    symlink("round", top.join("round")).unwrap();
    let error = directory(&top.join("round"), false).err().unwrap();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    // Where a link leads counts as much as where it lies.
    mode(&top.join("real"), 0o777);
    assert!(open(&top.join("absolute/file")).is_err());
}

#[test]
fn what_is_no_file_is_not_opened_as_one() {
    let (_dir, top) = scratch();
    let pipe = top.join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    // It does not wait for a writer.
    assert!(matches!(open(&pipe), Err(TrustError::NotAFile { .. })));
    assert!(matches!(open(&top), Err(TrustError::NotAFile { .. })));
    fs::write(top.join("file"), "").unwrap();
    let through = open(&top.join("file/below"));
    assert!(matches!(through, Err(TrustError::NotADirectory { .. })));
    assert!(open(&top.join("none")).unwrap_err().is_absence());
}

#[test]
fn what_is_missing_is_made_for_this_user_alone() {
    let (_dir, top) = scratch();
    let path = top.join("a/b/c");
    directory(&path, true).unwrap();
    for made in ["a", "a/b", "a/b/c"] {
        let mode = fs::metadata(top.join(made)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{made}");
    }
}

/// Only root can make what belongs to others.
#[test]
fn what_others_own_is_refused_wherever_it_stands() {
    if !geteuid().is_root() {
        eprintln!("not run: only root can give files to others");
        return;
    }
    let (_dir, top) = scratch();
    fs::create_dir_all(top.join("theirs/state")).unwrap();
    fs::write(top.join("theirs/state/file"), "planted").unwrap();
    chown(top.join("theirs"), Some(1234), None).unwrap();
    let error = directory(&top.join("theirs/state"), false).err().unwrap();
    assert!(
        matches!(
            &error,
            TrustError::Owner {
                owner: 1234,
                user: 0,
                ..
            }
        ),
        "{error}"
    );
    let missing = directory(&top.join("theirs/new/state"), true);
    assert!(matches!(missing, Err(TrustError::Owner { .. })));
    assert!(!top.join("theirs/new").exists(), "nothing is made there");
    fs::create_dir(top.join("own")).unwrap();
    fs::write(top.join("own/file"), "own").unwrap();
    std::os::unix::fs::symlink("own", top.join("link")).unwrap();
    assert!(open(&top.join("link/file")).is_ok());
    std::os::unix::fs::lchown(top.join("link"), Some(1234), None).unwrap();
    let error = open(&top.join("link/file")).unwrap_err();
    assert!(
        matches!(error, TrustError::Link { owner: 1234, .. }),
        "{error}"
    );
    chown(top.join("own/file"), Some(1234), None).unwrap();
    let error = open(&top.join("own/file")).unwrap_err();
    assert!(matches!(error, TrustError::Owner { .. }), "{error}");
}
