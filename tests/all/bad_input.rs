//! Bad input: one clear message that names file, line or field, a non-zero exit, nothing written.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::common::{data, dbmedic, resting_shop, run, talk};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

fn fails(args: &[&str], code: i32, expected: &str) {
    let output = run(args);
    let words = talk(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {words}");
    assert!(
        words.contains(expected),
        "{args:?}: expected {expected:?} in {words}"
    );
    assert!(!words.contains("panicked"), "{args:?}: {words}");
    let causes = words.matches("os error").count();
    assert!(causes <= 1, "{args:?}: a cause said twice: {words}");
    assert!(output.stdout.is_empty(), "{args:?}: {}", data(&output));
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn targets_that_cannot_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    fails(&["check", "/no/such/file.db"], 2, "/no/such/file.db");
    fails(&["policy", "replay", "/no/such/log"], 2, "/no/such/log");
    fails(&["replay", "/no/such/recording"], 2, "/no/such/recording");
    fails(&["check", here], 2, "not a file");
    fails(&["check", "postgres://localhost/shop"], 2, "not supported");
    let text = write(dir.path(), "notes.db", &"not a database ".repeat(100));
    let output = run(&["check", &text, "--watch-ms", "200"]);
    assert_eq!(output.status.code(), Some(1), "{}", talk(&output));
    assert!(
        data(&output).contains("file.not-a-database"),
        "{}",
        data(&output)
    );
}

#[test]
fn a_path_without_permission() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    // The binary itself must be reachable for that user.
    let binary = dir.path().join("dbmedic");
    std::fs::copy(dbmedic(), &binary).unwrap();
    let output = Command::new(&binary)
        .args(["check", path.to_str().unwrap()])
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", talk(&output));
    assert!(
        talk(&output).contains("Permission denied"),
        "{}",
        talk(&output)
    );
    assert!(talk(&output).contains("shop.db"), "{}", talk(&output));
}

#[test]
fn configurations_with_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            "version = 1\n[observation]\nsample_intervall_ms = 500\n",
            "did you mean `sample_interval_ms`?",
        ),
        (
            "version = 1\n[observation]\nsample_interval_ms = 0\n",
            ":3:",
        ),
        ("mode = \"observe\"\n", "version"),
        ("version = 1\nmode = \"heal\"\n", "observe"),
        (
            "version = 1\n[guard]\nmax_loss_percent = 500\n",
            "max_loss_percent",
        ),
        (
            "version = 1\n[[targets]]\nname = \"a\"\nsqlite = \"x.db\"\n[[targets]]\nname = \"a\"\nsqlite = \"y.db\"\n",
            "a",
        ),
        (
            "version = 1\n[policy.parameters]\nstale_lock_age = 5\n",
            ":3:",
        ),
        ("version = [\n", ":1:"),
    ];
    for (text, expected) in cases {
        let file = write(dir.path(), "dbmedic.toml", text);
        fails(&["config", "check", &file], 1, expected);
    }
    fails(&["config", "check", "/no/such.toml"], 2, "/no/such.toml");
    fails(&["run", "-c", "/no/such.toml"], 2, "/no/such.toml");
}

#[test]
fn a_config_is_made_once_and_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dbmedic.toml");
    let file = file.to_str().unwrap();
    assert!(run(&["config", "init", file]).status.success());
    let written = std::fs::read(file).unwrap();
    assert_eq!(
        data(&run(&["config", "check", file])),
        format!("{file}: ok\n")
    );
    fails(&["config", "init", file], 2, file);
    assert_eq!(std::fs::read(file).unwrap(), written);
}

#[test]
fn a_pipe_a_device_or_a_huge_file_is_neither_waited_for_nor_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let good = at("good.wasm");
    let (signature, key, cases) = (
        at("good.wasm.minisig"),
        at("good.key"),
        at("good.tests/a.toml"),
    );
    std::fs::write(&good, dbmedic_tests::attacks::built("")).unwrap();
    std::fs::create_dir(at("good.tests")).unwrap();
    assert!(
        run(&["policy", "keygen", "--no-password", &key])
            .status
            .success()
    );
    let public = format!("{key}.pub");
    for (how, expected) in [
        ("pipe", "regular file"),
        ("device", "regular file"),
        ("huge", "larger than"),
    ] {
        let input = at(how);
        let make = |path: &str| match how {
            "pipe" => {
                let mode = Mode::from_raw_mode(0o600);
                mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
            }
            "device" => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
            _ => {
                let file = std::fs::File::create(path).unwrap();
                file.set_len(8 << 30).unwrap();
            }
        };
        make(&input);
        fails(&["policy", "test", &input], 2, expected);
        fails(&["policy", "verify", "-k", &public, &input], 2, expected);
        fails(&["policy", "sign", "-k", &input, &good], 2, expected);
        if how != "huge" {
            // Of these it is said in other ways that they are too long.
            fails(
                &["policy", "diff", &input, &input, "--log", &input],
                2,
                expected,
            );
            fails(&["policy", "check", &input], 2, expected);
            fails(&["replay", &input], 2, expected);
            fails(&["config", "check", &input], 2, expected);
            fails(&["run", "-c", &input], 2, expected);
            fails(&["status", "-c", &input], 2, expected);
        }
        make(&signature);
        let output = run(&["policy", "verify", "-k", &public, &good]);
        assert_ne!(output.status.code(), Some(0), "{how}");
        std::fs::remove_file(&signature).unwrap();
        make(&cases);
        let output = run(&["policy", "test", &good]);
        assert_eq!(output.status.code(), Some(2), "{how}: {}", talk(&output));
        std::fs::remove_file(&cases).unwrap();
    }
}

#[test]
fn a_table_of_very_many_columns_is_read_soon() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..50_000).map(|i| format!("m{i}")).collect();
    let row = "1,".repeat(50_000);
    let text = format!("time,{}\n{row}1\n", names.join(","));
    let file = write(dir.path(), "wide.csv", &text);
    let began = std::time::Instant::now();
    assert!(run(&["diagnose", &file]).status.success());
    // Compared with each other, the names alone would take longer.
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn policies_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    let target = path.to_str().unwrap();
    for (name, bytes, expected) in [
        ("empty.wasm", &b""[..], "empty"),
        ("junk.wasm", b"this is no WebAssembly", "WebAssembly"),
        ("core.wasm", b"\0asm\x01\0\0\0", "component"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        fails(
            &[
                "check",
                target,
                "--unsigned",
                "--policy",
                file.to_str().unwrap(),
            ],
            2,
            expected,
        );
        fails(
            &["check", target, "--policy", file.to_str().unwrap()],
            2,
            "nobody vouches for it",
        );
    }
    fails(
        &["check", target, "--unsigned", "--policy", "/no/such.wasm"],
        2,
        "/no/such.wasm",
    );
    fails(
        &["check", target, "--set", "stale_lock_age_ms"],
        2,
        "NAME=VALUE",
    );
    fails(
        &["check", target, "--set", "stale_lock_age_ms=soon"],
        2,
        "stale_lock_age_ms",
    );
    fails(
        &["check", target, "--set", "stale_look_age_ms=5000"],
        2,
        "stale_lock_age_ms",
    );
}

#[test]
fn a_damaged_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    let target = path.to_str().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let state_dir = state.to_str().unwrap();
    let journal = write(&state, "journal.jsonl", "{\"v\":1}\n{}\n");
    fails(
        &["repair", target, "--apply", "--state-dir", state_dir],
        2,
        "line 1",
    );
    assert_eq!(
        std::fs::read_to_string(&journal).unwrap(),
        "{\"v\":1}\n{}\n"
    );
    std::fs::remove_file(&journal).unwrap();
    let carried = write(&state, "carried.json", "{");
    fails(
        &["repair", target, "--apply", "--state-dir", state_dir],
        2,
        "carried.json",
    );
    assert_eq!(std::fs::read_to_string(&carried).unwrap(), "{");
    std::fs::remove_file(&carried).unwrap();
    fails(
        &["incidents", "--state-dir", state_dir, "--open"],
        0,
        "no incidents",
    );
    let newer = Connection::open(state.join("state.db")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    newer.close().unwrap();
    for command in [&["repair", target, "--apply"][..], &["incidents"]] {
        let with = [command, &["--state-dir", state_dir]].concat();
        fails(&with, 2, "state.db: a newer dbmedic made it");
    }
    let file = write(dir.path(), "file", "");
    fails(
        &["repair", target, "--apply", "--state-dir", &file],
        2,
        &file,
    );
    fails(
        &["incidents", "--state-dir", "/no/such/state"],
        2,
        "/no/such/state",
    );
}
