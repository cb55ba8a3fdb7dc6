use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

use super::*;

#[test]
fn links_are_followed_to_the_file_itself() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    fs::create_dir(real.join("data")).unwrap();
    fs::write(real.join("data/a.db"), "x").unwrap();
    symlink("data", real.join("way")).unwrap();
    symlink("../way/./a.db", real.join("data/link.db")).unwrap();
    let of = |name: &str| Place::of(&real.join(name)).unwrap().path;
    assert_eq!(of("data/link.db"), real.join("data/a.db"));
    assert_eq!(of("way/missing.db"), real.join("data/missing.db"));
    assert_eq!(of("way/../data/a.db"), real.join("data/a.db"));
    symlink("loop", real.join("loop")).unwrap();
    for broken in ["loop", "data/a.db/b", "none/a.db"] {
        assert!(Place::of(&real.join(broken)).is_err(), "{broken}");
    }
}

/// Owner, group and mode.
type Of = (u32, u32, u32);

const ROOT: u32 = 0;
const APP: u32 = 47_110;
const WEB: u32 = 47_111;
/// Root's directory that nobody else writes to.
const OWN: Of = (ROOT, ROOT, 0o755);

fn about((uid, gid, mode): Of) -> About {
    About { uid, gid, mode }
}

/// A way of directories, each with what has a name in it, and whether that is a link.
fn way(steps: &[(Of, Option<Of>, bool)]) -> Way {
    let steps = steps.iter().enumerate();
    let steps = steps.map(|(number, (directory, entry, is_link))| Step {
        path: format!("/name{number}").into(),
        directory: about(*directory),
        entry: entry.map(about),
        is_link: *is_link,
    });
    Way {
        path: "/file".into(),
        steps: steps.collect(),
        root: about(OWN),
    }
}

/// As whom root opens it and who shares it, or that it is refused.
fn decided(way: &Way) -> Decided {
    match way.user(ROOT, &LazyCell::new(Accounts::default)) {
        Ok(user) => Ok((user.uid, user.shared_with)),
        Err(PlaceError::Link { .. }) => Err("link"),
        Err(PlaceError::Shared { .. }) => Err("shared"),
        Err(PlaceError::Io { .. }) => Err("io"),
    }
}

const OF_APP: Of = (APP, APP, 0o755);
const OF_WEB: Of = (WEB, WEB, 0o755);
const GROUP: Of = (ROOT, WEB, 0o775);
const TMP: Of = (ROOT, ROOT, 0o1777);

type Decided = Result<(u32, Option<String>), &'static str>;

fn file(owner: u32) -> Of {
    (owner, owner, 0o600)
}

fn open_file(owner: u32) -> Of {
    (owner, owner, 0o644)
}

fn link(owner: u32) -> Of {
    (owner, owner, 0o777)
}

fn shared(uid: u32, who: &str) -> (u32, Option<String>) {
    (uid, Some(who.to_owned()))
}

fn assert_decided(cases: impl IntoIterator<Item = (Way, Decided)>) {
    for (way, expected) in cases {
        assert_eq!(decided(&way), expected, "{way:?}");
    }
}

#[test]
fn rights_follow_from_who_can_change_the_path() {
    let cases = [
        // Nobody but root, or the file's owner, can change the way to it.
        (way(&[(OWN, Some(file(ROOT)), false)]), Ok((ROOT, None))),
        (way(&[(OWN, Some(file(APP)), false)]), Ok((APP, None))),
        (
            way(&[(OWN, Some(OF_APP), false), (OF_APP, Some(file(APP)), false)]),
            Ok((APP, None)),
        ),
        (
            way(&[
                (OWN, Some(link(ROOT)), true),
                (OWN, Some(file(ROOT)), false),
            ]),
            Ok((ROOT, None)),
        ),
        (
            way(&[
                (OWN, Some(link(ROOT)), true),
                (OF_APP, Some(file(APP)), false),
            ]),
            Ok((APP, None)),
        ),
        (
            way(&[
                (OF_APP, Some(link(APP)), true),
                (OF_APP, Some(file(APP)), false),
            ]),
            Ok((APP, None)),
        ),
        // A link that another user can change, at the end or on the way.
        (
            way(&[
                (OF_APP, Some(link(APP)), true),
                (OWN, Some(file(ROOT)), false),
            ]),
            Err("link"),
        ),
        (
            way(&[
                (OF_APP, Some(link(ROOT)), true),
                (OWN, Some(file(ROOT)), false),
            ]),
            Err("link"),
        ),
        (
            way(&[
                (OF_APP, Some(link(APP)), true),
                (OF_WEB, Some(file(WEB)), false),
            ]),
            Err("link"),
        ),
        (
            way(&[(TMP, Some(link(APP)), true), (OWN, Some(file(ROOT)), false)]),
            Err("link"),
        ),
        (
            way(&[
                (GROUP, Some(link(ROOT)), true),
                (OWN, Some(file(ROOT)), false),
            ]),
            Err("link"),
        ),
    ];
    assert_decided(cases);
}

#[test]
fn another_s_file_in_the_place_of_a_database_gets_no_rights_of_its_owner() {
    let cases = [
        // Another's file by a hard link, or by a directory that was put there.
        (way(&[(OF_APP, Some(file(ROOT)), false)]), Err("shared")),
        (way(&[(OF_APP, Some(file(WEB)), false)]), Err("shared")),
        (
            way(&[(OF_APP, Some(open_file(ROOT)), false)]),
            Ok(shared(APP, "user 47110")),
        ),
        (
            way(&[(OF_APP, Some(open_file(WEB)), false)]),
            Ok(shared(APP, "user 47110")),
        ),
        (
            way(&[
                (OF_APP, Some(OF_WEB), false),
                (OF_WEB, Some(file(WEB)), false),
            ]),
            Err("shared"),
        ),
        (
            way(&[
                (OF_APP, Some(OF_WEB), false),
                (OF_WEB, Some(open_file(WEB)), false),
            ]),
            Ok(shared(APP, "user 47110")),
        ),
        (
            way(&[(OF_APP, Some(OWN), false), (OWN, Some(file(ROOT)), false)]),
            Err("shared"),
        ),
        (
            way(&[
                (OF_APP, Some((ROOT, ROOT, 0o700)), false),
                ((ROOT, ROOT, 0o700), Some(open_file(ROOT)), false),
            ]),
            Err("shared"),
        ),
        (
            way(&[
                (OF_APP, Some(OF_WEB), false),
                (OF_WEB, Some(open_file(ROOT)), false),
            ]),
            Err("shared"),
        ),
        // Several can change it.
        (
            way(&[(GROUP, Some(file(APP)), false)]),
            Ok(shared(APP, "group 47111")),
        ),
        (way(&[(GROUP, Some(file(ROOT)), false)]), Err("shared")),
        (
            way(&[(GROUP, Some(OWN), false), (OWN, Some(file(ROOT)), false)]),
            Err("shared"),
        ),
        (
            way(&[((ROOT, ROOT, 0o777), Some(file(ROOT)), false)]),
            Err("shared"),
        ),
        (
            way(&[((ROOT, ROOT, 0o777), Some(file(APP)), false)]),
            Ok(shared(APP, "everybody")),
        ),
        // In a sticky directory only its owner can replace a file.
        (way(&[(TMP, Some(file(APP)), false)]), Ok((APP, None))),
        (way(&[(TMP, Some(file(ROOT)), false)]), Ok((ROOT, None))),
        (way(&[(TMP, None, false)]), Ok(shared(NO_USER, "everybody"))),
    ];
    assert_decided(cases);
    // Who is not root has no other rights to take.
    let planted = way(&[(OF_APP, Some(file(ROOT)), false)]);
    let user = planted
        .user(APP, &LazyCell::new(Accounts::default))
        .unwrap();
    assert_eq!(user.shared_with, None);
}

#[test]
fn who_else_can_write_beside_a_database() {
    if !geteuid().is_root() {
        eprintln!("not root: not tested over files of other users");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let file = data.join("a.db");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    // File's owner, directory's owner, its group and mode, who is named, and whose rights are taken.
    let cases = [
        (APP, APP, APP, 0o700, None, Some(APP)),
        (APP, APP, APP, 0o775, None, Some(APP)),
        (APP, APP, APP, 0o777, None, Some(APP)),
        (APP, 0, 0, 0o755, None, Some(APP)),
        (APP, 0, 0, 0o775, None, Some(APP)),
        (APP, 0, WEB, 0o755, None, Some(APP)),
        (APP, 0, WEB, 0o775, Some("group 47111"), Some(APP)),
        (APP, 0, 0, 0o1777, Some("everybody"), Some(APP)),
        (APP, WEB, WEB, 0o755, Some("user 47111"), Some(WEB)),
        (0, APP, APP, 0o755, Some("user 47110"), Some(APP)),
        (0, 0, 0, 0o775, None, None),
        (0, 0, 0, 0o1777, Some("everybody"), None),
    ];
    for (owner, above, group, mode, named, rights) in cases {
        chown(&file, Some(owner), Some(owner)).unwrap();
        chown(&data, Some(above), Some(group)).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
        let place = Place::of(&file).unwrap();
        let what = format!("{owner} {above}:{group} {mode:o}: {place:?}");
        assert_eq!(place.owner, owner);
        match (named, &place.shared_with) {
            (None, None) => {}
            (Some(named), Some(who)) => assert!(who.starts_with(named), "{what}"),
            _ => panic!("{what}"),
        }
        assert_eq!(place.rights().map(|rights| rights.uid), rights, "{what}");
    }

    // Whoever may write there could turn a link to what is not theirs.
    let secret = dir.path().join("secret");
    fs::write(&secret, "x").unwrap();
    let link = data.join("link.db");
    symlink(&secret, &link).unwrap();
    for (owner, above) in [(APP, APP), (0, APP), (APP, 0)] {
        lchown(&link, Some(owner), Some(owner)).unwrap();
        chown(&data, Some(above), Some(above)).unwrap();
        let refused = Place::of(&link).unwrap_err();
        let user = (above != 0).then_some(above).or(Some(APP));
        let why = Some(Unjudgeable::LinkOfAnother { user });
        assert_eq!(refused.unjudgeable(), why, "{refused}");
    }
    chown(&secret, Some(APP), Some(APP)).unwrap();
    assert!(Place::of(&link).is_ok());
}
