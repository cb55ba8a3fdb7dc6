//! State directories that others could have planted: nothing in them is believed, read or carried out.
//! Other users are real ones: processes run with another uid, which only root can start.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dbmedic::store::Store;
use rustix::process::geteuid;

use crate::common::{contents, damage_log, data, dbmedic, resting_shop, run, talk};

/// Users of whom nothing is known here.
const PLANTER: u32 = 61_234;
const APPLICATION: u32 = 61_235;

/// Whether other users can be played. Said when they cannot: nothing is left out in silence.
fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("not run: only root can start processes as other users");
    }
    root
}

fn repair(path: &Path, state: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(dbmedic());
    command.args(["repair", path.to_str().unwrap(), "--apply"]);
    command.args(["--watch-ms", "300", "--max-loss-commits", "100"]);
    command.args(["--state-dir", state.to_str().unwrap()]);
    command.args(more).output().unwrap()
}

/// A database with a damaged log, and a state directory in which its repair was cut short.
fn cut_short(dir: &Path) -> (PathBuf, PathBuf) {
    let (path, state) = (dir.join("shop.db"), dir.join("state"));
    damage_log(&path, 0.98);
    for write in 1.. {
        let killed = repair(&path, &state, &["--kill-after", &write.to_string()]);
        assert_eq!(killed.status.signal(), Some(9), "{}", talk(&killed));
        let open = Store::open(&state).unwrap().open_repairs().unwrap();
        // In a step that puts bytes of its own into the database's files.
        if open.iter().any(|repair| repair.steps.len() > 2) {
            break;
        }
        fs::remove_dir_all(&state).unwrap();
    }
    (path, state)
}

/// Everything below a directory, with modes and contents.
fn everything(dir: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let bytes = if about.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            if about.is_dir() {
                dirs.push(path.clone());
            }
            all.push((path, about.permissions().mode(), bytes));
        }
    }
    all.sort();
    all
}

fn give(dir: &Path, user: u32) {
    chown(dir, Some(user), Some(user)).unwrap();
    for (path, ..) in everything(dir) {
        std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    }
}

#[test]
fn an_open_repair_of_another_database_is_told_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let (path, state) = cut_short(dir.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("other.db");
    resting_shop(&other);
    let (patient, neighbour) = (fs::read(&path).unwrap(), contents(elsewhere.path()));
    let output = repair(&other, &state, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    let said = talk(&output);
    let name = path.display().to_string();
    assert!(
        said.contains("was left open by an earlier run and is left as it is")
            && said.contains(&name),
        "{said}"
    );
    assert_eq!(fs::read(&path).unwrap(), patient);
    assert_eq!(contents(elsewhere.path()), neighbour);

    // Under a watcher it is the same.
    let config = dir.path().join("dbmedic.toml");
    let text = "version = 1\nstate_dir = \"state\"\n\
                [[targets]]\nname = \"other\"\nsqlite = \"OTHER\"\n";
    fs::write(&config, text.replace("OTHER", other.to_str().unwrap())).unwrap();
    let mut watch = Command::new(dbmedic());
    watch.args(["run", "--config", config.to_str().unwrap()]);
    let mut watch = watch.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(watch.stderr.take().unwrap());
    let mut heard = String::new();
    while !heard.contains("is left as it is") {
        let read = std::io::BufRead::read_line(&mut said, &mut heard).unwrap();
        assert!(read > 0, "{heard}");
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(fs::read(&path).unwrap(), patient);

    // It is closed where its database is under care.
    let output = repair(&path, &state, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    let output = repair(&other, &state, &[]);
    assert!(!talk(&output).contains("left open"), "{}", talk(&output));
}

#[test]
fn a_planted_state_directory_is_not_believed() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, state) = cut_short(dir.path());
    give(&state, PLANTER);
    let before = everything(dir.path());
    let state_name = state.to_str().unwrap();
    let config = dir.path().join("dbmedic.toml");
    let text = format!(
        "version = 1\nstate_dir = \"{state_name}\"\n\
         [[targets]]\nname = \"shop\"\nsqlite = \"{}\"\n",
        path.display()
    );
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let with_state = ["--state-dir", state_name];
    let commands: [&[&str]; 8] = [
        &[
            "repair",
            path.to_str().unwrap(),
            "--apply",
            with_state[0],
            with_state[1],
        ],
        &["run", "--config", config],
        &["incidents", with_state[0], with_state[1]],
        &["incidents", "INC-1", with_state[0], with_state[1]],
        &["approve", "INC-1", with_state[0], with_state[1]],
        &["release", "shop", with_state[0], with_state[1]],
        &["policy", "status", with_state[0], with_state[1]],
        &["policy", "rollback", with_state[0], with_state[1]],
    ];
    for command in commands {
        let output = run(command);
        let said = talk(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(
            said.contains(&format!("{state_name} belongs to user {PLANTER}"))
                && said.contains("run dbmedic as user"),
            "{command:?}: {said}"
        );
        assert_eq!(data(&output), "", "{command:?}");
        assert_eq!(said.trim_end().lines().count(), 1, "{command:?}: {said}");
    }
    fs::remove_file(config).unwrap();
    assert_eq!(everything(dir.path()), before);
}

#[test]
fn what_others_could_have_put_there_is_refused_with_what_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    let refused = |state: &Path, words: &[&str]| {
        let output = repair(&path, state, &[]);
        let said = talk(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    let mend = format!("chmod go-w {}", open.display());
    refused(
        &open,
        &["can be written to by everybody (mode 1777)", &mend],
    );
    // One that lies in a directory that is anybody's.
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    refused(&open.join("state"), &["mode 0777", &mend]);
    assert!(!open.join("state").exists());
    if is_root() {
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::create_dir(dir.path().join("own")).unwrap();
        symlink("own", dir.path().join("link")).unwrap();
        std::os::unix::fs::lchown(dir.path().join("link"), Some(PLANTER), None).unwrap();
        refused(
            &dir.path().join("link"),
            &["is a symbolic link of user 61234"],
        );
        chown(&theirs, Some(PLANTER), None).unwrap();
        refused(&theirs.join("state"), &["belongs to user 61234"]);
        assert!(!theirs.join("state").exists());
    }
    // Single files in a directory that is all right.
    let state = dir.path().join("state");
    let outside = dir.path().join("outside.json");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    for name in [
        "state.lock",
        "state.db",
        "state.db-wal",
        "state.db-shm",
        "journal.jsonl",
        "carried.json",
        "baselines.bin",
    ] {
        fs::write(&outside, "{}").unwrap();
        symlink(&outside, state.join(name)).unwrap();
        refused(&state, &[name, "is not a regular file"]);
        fs::remove_file(state.join(name)).unwrap();
        fs::write(state.join(name), "").unwrap();
        fs::set_permissions(state.join(name), Permissions::from_mode(0o666)).unwrap();
        refused(&state, &[name, "can be written to by everybody"]);
        fs::remove_file(state.join(name)).unwrap();
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "{}");
}

#[test]
fn what_was_readable_is_for_its_owner_when_it_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    let state = dir.path().join("state");
    assert_eq!(repair(&path, &state, &[]).status.code(), Some(0));
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    for (path, ..) in everything(&state) {
        if path.is_file() {
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
    }
    assert_eq!(repair(&path, &state, &[]).status.code(), Some(0));
    let files: Vec<_> = everything(&state)
        .into_iter()
        .filter(|(path, mode, _)| path.is_file() && mode & 0o777 != 0o600)
        .map(|(path, ..)| path)
        // What is not written again stays as it is.
        .filter(|path| !path.starts_with(state.join("snapshots")))
        .filter(|path| !path.starts_with(state.join("decisions")))
        .collect();
    assert_eq!(files, [] as [PathBuf; 0]);
    let copies = everything(&state.join("snapshots"));
    let newest = copies
        .iter()
        .rev()
        .find(|(path, ..)| path.extension().is_some_and(|e| e == "db"));
    assert_eq!(newest.unwrap().1 & 0o777, 0o600);
}

/// A shell that runs what follows with an empty `/var/lib`; none where that cannot be made.
fn with_an_empty_var_lib() -> Option<[&'static str; 5]> {
    let shell = [
        "unshare",
        "-m",
        "sh",
        "-c",
        "mount -t tmpfs none /var/lib && \"$@\" && cd /var/lib && find . -path '*/state.db'",
    ];
    let tried = Command::new(shell[0])
        .args(&shell[1..])
        .args(["sh", "true"])
        .output();
    let works = tried.is_ok_and(|output| output.status.success());
    if !works {
        println!("not run: this machine lets nobody mount something for one process");
    }
    works.then_some(shell)
}

#[test]
fn root_keeps_nothing_in_the_current_directory() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    let config = dir.path().join("dbmedic.toml");
    let text = "version = 1\n[[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n";
    fs::write(&config, text).unwrap();
    let here = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&dir);
        command
    };
    let program = dbmedic().to_str().unwrap();
    for command in [&["run"][..], &["config", "check"]] {
        let output = here(program).args(command).output().unwrap();
        let said = talk(&output);
        assert_ne!(output.status.code(), Some(0), "{command:?}: {said}");
        assert!(said.contains("state_dir = \"/var/lib/dbmedic\""), "{said}");
    }
    if let Some(shell) = with_an_empty_var_lib() {
        let repair = ["repair", "shop.db", "--apply", "--watch-ms", "300"];
        let output = here(shell[0])
            .args(&shell[1..])
            .args(["sh", program])
            .args(repair)
            .output()
            .unwrap();
        let said = talk(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let kept = data(&output);
        let kept = kept.lines().last().unwrap();
        let (dir, file) = kept.rsplit_once('/').unwrap();
        assert!(dir.starts_with("./dbmedic/repairs/shop-"), "{kept}");
        assert_eq!(file, "state.db");
        let named = dir.trim_start_matches('.');
        assert!(said.contains(&format!("kept in /var/lib{named}")), "{said}");
    }
    let names: Vec<_> = contents(dir.path())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["dbmedic.toml", "shop.db"]);

    // Another user's is in the current directory.
    give(dir.path(), APPLICATION);
    let output = here(program)
        .args(["repair", "shop.db", "--apply", "--watch-ms", "300"])
        .uid(APPLICATION)
        .gid(APPLICATION)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    assert!(dir.path().join("dbmedic-state/state.db").exists());
}

#[test]
fn a_configuration_and_policies_that_others_can_write_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    resting_shop(&place("shop.db"));
    for name in ["policies", "signatures", "own"] {
        fs::create_dir(place(name)).unwrap();
        fs::set_permissions(place(name), Permissions::from_mode(0o755)).unwrap();
    }
    let policy = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../policies/prebuilt/default.wasm"
    );
    fs::copy(policy, place("policies/p.wasm")).unwrap();
    fs::copy(policy, place("own/p.wasm")).unwrap();
    let config = place("dbmedic.toml");
    let write = |more: &str| {
        let text = format!(
            "version = 1\nstate_dir = \"state\"\n\
             [[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n\
             [policy]\nrequire_signature = false\n{more}\n"
        );
        fs::write(&config, text).unwrap();
    };
    let check = || run(&["config", "check", config.to_str().unwrap()]);
    let refused = |what: &Path, mode: u32| {
        let before = fs::metadata(what).unwrap().permissions();
        fs::set_permissions(what, Permissions::from_mode(mode)).unwrap();
        let output = check();
        let said = talk(&output);
        assert_eq!(output.status.code(), Some(1), "{}: {said}", what.display());
        let mend = format!("chmod go-w {}", what.display());
        assert!(said.contains(&mend), "{mend}: {said}");
        fs::set_permissions(what, before).unwrap();
        let output = check();
        assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    };
    write("");
    refused(&config, 0o666);
    refused(&place("signatures"), 0o777);
    refused(dir.path(), 0o777);
    // As /tmp is: the file in it is its owner's all the same.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(check().status.code(), Some(0), "{}", talk(&check()));
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    write("file = \"own/p.wasm\"");
    refused(&place("own/p.wasm"), 0o666);
    refused(&place("own"), 0o777);
    write("directory = \"policies\"");
    refused(&place("policies"), 0o1777);

    // Root does not open what anybody can exchange for a link to a file of root's; a user has nothing to
    // lose by looking.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(place("shop.db"), Permissions::from_mode(0o666)).unwrap();
    let target = place("shop.db");
    let output = run(&["check", target.to_str().unwrap(), "--watch-ms", "200"]);
    let said = format!("{}{}", data(&output), talk(&output));
    if is_root() {
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("can put another file in its place"), "{said}");
    } else {
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
}

#[test]
fn a_configuration_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("dbmedic.toml");
    fs::write(&config, "version = 1\nstate_dir = \"state\"\n").unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let check = |user: u32| {
        let mut command = Command::new(dbmedic());
        command.args(["config", "check", config.to_str().unwrap()]);
        command.uid(user).gid(user).output().unwrap()
    };
    // Root's is everybody's.
    assert_eq!(check(APPLICATION).status.code(), Some(0));
    chown(&config, Some(PLANTER), None).unwrap();
    for user in [0, APPLICATION] {
        let output = check(user);
        assert_eq!(output.status.code(), Some(1));
        let said = talk(&output);
        let expected = format!("belongs to user {PLANTER}, and dbmedic runs as user {user}");
        assert!(said.contains(&expected), "{said}");
    }
    assert_eq!(check(PLANTER).status.code(), Some(0));
}
