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
fn decided(way: &Way) -> Result<(u32, Option<String>), &'static str> {
    match way.user(ROOT, &LazyCell::new(Accounts::default)) {
        Ok(user) => Ok((user.uid, user.shared_with)),
        Err(PlaceError::Link { .. }) => Err("link"),
        Err(PlaceError::Shared { .. }) => Err("shared"),
        Err(PlaceError::Io { .. }) => Err("io"),
    }
}

#[test]
fn rights_follow_from_who_can_change_the_path() {
    let file = |owner| Some((owner, owner, 0o600));
    let open_file = |owner| Some((owner, owner, 0o644));
    let link = |owner| Some((owner, owner, 0o777));
    let of_app = (APP, APP, 0o755);
    let of_web = (WEB, WEB, 0o755);
    let shared = |uid, who: &str| Ok((uid, Some(who.to_owned())));
    let group = (ROOT, WEB, 0o775);
    let tmp = (ROOT, ROOT, 0o1777);
    let cases = [
        // Nobody but root, or the file's owner, can change the way to it.
        (way(&[(OWN, file(ROOT), false)]), Ok((ROOT, None))),
        (way(&[(OWN, file(APP), false)]), Ok((APP, None))),
        (
            way(&[(OWN, Some(of_app), false), (of_app, file(APP), false)]),
            Ok((APP, None)),
        ),
        (
            way(&[(OWN, link(ROOT), true), (OWN, file(ROOT), false)]),
            Ok((ROOT, None)),
        ),
        (
            way(&[(OWN, link(ROOT), true), (of_app, file(APP), false)]),
            Ok((APP, None)),
        ),
        (
            way(&[(of_app, link(APP), true), (of_app, file(APP), false)]),
            Ok((APP, None)),
        ),
        // A link that another user can change, at the end or on the way.
        (
            way(&[(of_app, link(APP), true), (OWN, file(ROOT), false)]),
            Err("link"),
        ),
        (
            way(&[(of_app, link(ROOT), true), (OWN, file(ROOT), false)]),
            Err("link"),
        ),
        (
            way(&[(of_app, link(APP), true), (of_web, file(WEB), false)]),
            Err("link"),
        ),
        (
            way(&[(tmp, link(APP), true), (OWN, file(ROOT), false)]),
            Err("link"),
        ),
        (
            way(&[(group, link(ROOT), true), (OWN, file(ROOT), false)]),
            Err("link"),
        ),
        // Another's file by a hard link, or by a directory that was put there.
        (way(&[(of_app, file(ROOT), false)]), Err("shared")),
        (way(&[(of_app, file(WEB), false)]), Err("shared")),
        (
            way(&[(of_app, open_file(ROOT), false)]),
            shared(APP, "user 47110"),
        ),
        (
            way(&[(of_app, open_file(WEB), false)]),
            shared(APP, "user 47110"),
        ),
        (
            way(&[(of_app, Some(of_web), false), (of_web, file(WEB), false)]),
            Err("shared"),
        ),
        (
            way(&[
                (of_app, Some(of_web), false),
                (of_web, open_file(WEB), false),
            ]),
            shared(APP, "user 47110"),
        ),
        (
            way(&[(of_app, Some(OWN), false), (OWN, file(ROOT), false)]),
            Err("shared"),
        ),
        (
            way(&[
                (of_app, Some((ROOT, ROOT, 0o700)), false),
                ((ROOT, ROOT, 0o700), open_file(ROOT), false),
            ]),
            Err("shared"),
        ),
        (
            way(&[
                (of_app, Some(of_web), false),
                (of_web, open_file(ROOT), false),
            ]),
            Err("shared"),
        ),
        // Several can change it.
        (
            way(&[(group, file(APP), false)]),
            shared(APP, "group 47111"),
        ),
        (way(&[(group, file(ROOT), false)]), Err("shared")),
        (
            way(&[(group, Some(OWN), false), (OWN, file(ROOT), false)]),
            Err("shared"),
        ),
        (
            way(&[((ROOT, ROOT, 0o777), file(ROOT), false)]),
            Err("shared"),
        ),
        (
            way(&[((ROOT, ROOT, 0o777), file(APP), false)]),
            shared(APP, "everybody"),
        ),
        // In a sticky directory only its owner can replace a file.
        (way(&[(tmp, file(APP), false)]), Ok((APP, None))),
        (way(&[(tmp, file(ROOT), false)]), Ok((ROOT, None))),
        (way(&[(tmp, None, false)]), shared(NO_USER, "everybody")),
    ];
    for (way, expected) in cases {
        assert_eq!(decided(&way), expected, "{way:?}");
    }
    // Who is not root has no other rights to take.
    let planted = way(&[(of_app, file(ROOT), false)]);
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
