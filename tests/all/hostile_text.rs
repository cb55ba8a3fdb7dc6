//! Names and texts from outside with characters that a terminal obeys: none of them reaches standard
//! output, standard error, the log or the journal as it is, whatever the command.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dbmedic::escape::is_obeyed;
use dbmedic_tests::attacks;
use rusqlite::Connection;

use crate::common::{damage_index, dbmedic, wait_for};

/// An escape sequence, a line break with what looks like a line of dbmedic's, a mark that turns the
/// direction, the C1 form of an escape sequence, a tab and a delete.
const NASTY: &str = "n\u{1b}[31m\n  0.00 s  outcome   verified\u{202e}\u{9b}2J\t\u{7f}";
/// The same for the name of a process, of which the kernel keeps 15 bytes.
const NASTY_PROCESS: &str = "p\u{1b}[2J\nx\u{9b}";

fn assert_shown(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let obeyed = text.chars().find(|&c| c != '\n' && is_obeyed(c));
    assert_eq!(obeyed, None, "{what}: {text:?}");
    let forged = text
        .lines()
        .find(|line| line.starts_with("  0.00 s  outcome"));
    assert_eq!(forged, None, "{what}: {text:?}");
}

/// Runs dbmedic with everything logged; how it ended and what it wrote.
fn shown(home: &Path, args: &[&OsStr]) -> (Option<i32>, String) {
    let output = Command::new(dbmedic())
        .args(args)
        .current_dir(home)
        .env("DBMEDIC_LOG", "trace")
        .output()
        .unwrap();
    let what = format!("{args:?}");
    assert_shown(&what, &output.stdout);
    assert_shown(&what, &output.stderr);
    let all = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(all).unwrap())
}

macro_rules! shown {
    ($home:expr, $($arg:expr),+ $(,)?) => {
        shown($home, &[$(OsStr::new(&$arg)),+])
    };
}

/// A database whose file, table and index have such names, with a damaged index.
fn nasty_shop(home: &Path) -> PathBuf {
    let path = home.join(format!("{NASTY}.db"));
    let db = Connection::open(&path).unwrap();
    let sql = "PRAGMA journal_mode = WAL;
         CREATE TABLE \"t NASTY\"(id INTEGER PRIMARY KEY, \"c NASTY\" TEXT NOT NULL);
         CREATE INDEX \"i NASTY\" ON \"t NASTY\"(\"c NASTY\");
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO \"t NASTY\" SELECT i, printf('item-%06d', i) FROM n;";
    db.execute_batch(&sql.replace("NASTY", NASTY)).unwrap();
    db.close().unwrap();
    path
}

#[test]
fn names_in_a_database_and_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let path = nasty_shop(home);
    damage_index(&path);
    let (code, said) = shown!(home, "check", &path, "--watch-ms", "200");
    assert_eq!(code, Some(1), "{said}");
    // A line break in a name is no crisis.
    assert!(
        said.contains("index.corrupt") && said.contains("i n\\u{1b}[31m\\n"),
        "{said}"
    );
    assert!(!said.contains("crisis"), "{said}");
    let (_, said) = shown!(home, "check", &path, "--watch-ms", "200", "--json");
    let json: serde_json::Value = said
        .lines()
        .find(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .unwrap();
    assert!(json.to_string().contains("\\u001b[31m\\n"), "{json}");
    let state = home.join(format!("state {NASTY}"));
    shown!(home, "repair", &path, "--watch-ms", "200");
    let (code, said) = shown!(
        home,
        "repair",
        &path,
        "--apply",
        "--watch-ms",
        "300",
        "--state-dir",
        &state
    );
    assert_eq!(code, Some(0), "{said}");
    for more in [
        &[][..],
        &["--json"],
        &["INC-1"],
        &["INC-1", "--json"],
        &["INC-9"],
    ] {
        let mut args = vec![
            OsStr::new("incidents"),
            OsStr::new("--state-dir"),
            state.as_os_str(),
        ];
        args.extend(more.iter().map(OsStr::new));
        shown(home, &args);
    }
    shown!(home, "release", NASTY, "--state-dir", &state);
    shown!(home, "approve", NASTY, "--state-dir", &state);
    for said in [
        &["deny", "INC-1"][..],
        &["deny", "INC-1", "--repair", NASTY],
        &["ack", NASTY],
        &[
            "silence", "add", "--kind", NASTY, "--rule", NASTY, "--for", "1h",
        ],
        &["silence", "add", "--target", NASTY, "--for", NASTY],
        &["silence", "remove", NASTY],
        &["silence", "list"],
        &["silence", "list", "--json"],
        &["maintenance", "start", NASTY, "--for", "1h"],
        &["maintenance", "stop", NASTY],
        &["maintenance", "list"],
    ] {
        let mut args: Vec<&OsStr> = said.iter().map(OsStr::new).collect();
        args.extend(["--state-dir".as_ref(), state.as_os_str()]);
        if !said.contains(&"list") {
            args.extend(["--by", NASTY, "--reason", NASTY].map(OsStr::new));
        }
        shown(home, &args);
    }
    shown!(home, "policy", "status", "--state-dir", &state);
    shown!(home, "policy", "swap", NASTY, "--state-dir", &state);
    shown!(home, "policy", "replay", state.join("decisions"));
    let db = Connection::open(state.join("state.db")).unwrap();
    let mut journal = db.prepare("SELECT json FROM entries").unwrap();
    let entries = journal.query_map([], |row| row.get(0)).unwrap();
    let entries: Vec<String> = entries.map(Result::unwrap).collect();
    assert!(!entries.is_empty());
    assert_shown("the journal", entries.join("\n").as_bytes());
}

/// The child of [`names_of_processes`]: holds the write lock until it is ended.
#[test]
fn holds_the_lock() {
    let Some(path) = std::env::var_os("HOSTILE_TEXT_LOCKS") else {
        return;
    };
    let db = Connection::open(path).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn names_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let path = nasty_shop(home);
    let program = home.join(NASTY_PROCESS);
    symlink(std::env::current_exe().unwrap(), &program).unwrap();
    let mut holder = Command::new(&program)
        .args(["--exact", "hostile_text::holds_the_lock"])
        .env("HOSTILE_TEXT_LOCKS", &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the lock", || {
        let db = Connection::open(&path).unwrap();
        db.execute_batch("BEGIN IMMEDIATE; ROLLBACK")
            .is_err()
            .then_some(())
    });
    let checked = shown!(
        home,
        "check",
        &path,
        "--watch-ms",
        "1500",
        "--set",
        "stale_lock_age_ms=300"
    );
    let repaired = shown!(
        home,
        "repair",
        &path,
        "--apply",
        "--watch-ms",
        "1500",
        "--set",
        "stale_lock_age_ms=300",
        "--may-end",
        NASTY_PROCESS,
        "--state-dir",
        home.join("state")
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    for (code, said) in [&checked, &repaired] {
        assert!(code.is_some_and(|code| code < 2), "{said}");
    }
    assert!(checked.1.contains("lock.stale-holder"), "{}", checked.1);
    assert!(checked.1.contains("p\\u{1b}[2J\\nx"), "{}", checked.1);
    assert!(repaired.1.contains("lock.end-holder"), "{}", repaired.1);
}

#[test]
fn configurations() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let path = home.join(format!("{NASTY}.toml"));
    let nasty = NASTY
        .replace('\n', "\\n")
        .replace('\u{1b}', "\\u001b")
        .replace('\u{7f}', "\\u007f");
    let texts = [
        format!("version = 1\n\"{nasty}\" = 1\n"),
        format!("version = 1\nmode = \"{nasty}\"\n"),
        format!("version = 1\n[\"{nasty}\"]\n"),
        format!("version = 1\n[policy.parameters]\n\"{nasty}\" = \"{nasty}\"\n"),
        format!(
            "version = 1\n[[targets]]\nname = \"{nasty}\"\nsqlite = \"{nasty}\"\nmay_end = [\"{nasty}\"]\n"
        ),
        format!(
            "version = 1\nstate_dir = \"{nasty}\"\n[[targets]]\nname = \"a\"\nsqlite = \"{nasty}\"\n"
        ),
        format!("version = 1\n[policy]\nfile = \"{nasty}\"\nrequire_signature = false\n"),
        format!("version = 1\n# {NASTY}\n"),
        format!("version = 1\nx = {NASTY}"),
        NASTY.to_owned(),
    ];
    for text in texts {
        fs::write(&path, &text).unwrap();
        for command in [
            &["config", "check"][..],
            &["config", "check", "--json"],
            &["run", "-c"],
        ] {
            let mut args: Vec<&OsStr> = command.iter().map(OsStr::new).collect();
            args.push(path.as_os_str());
            if command[0] == "run" && text.contains("[[targets]]") {
                continue;
            }
            let (code, said) = shown(home, &args);
            assert!(code.is_some_and(|code| code <= 2), "{text:?}: {said}");
        }
    }
    shown!(home, "config", "init", &path);
    shown!(home, NASTY);
    shown!(home, "check", NASTY, "--set", NASTY);
    shown!(home, "check", NASTY, "--may-end", NASTY, NASTY);
    shown!(home, "check", format!("{NASTY}://x"));
}

#[test]
fn tables_and_signatures() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let table = home.join(format!("{NASTY}.csv"));
    let mut text = format!("time_s,\"{NASTY}\",\"other {NASTY}\"\n");
    for row in 0..300 {
        let value = if row > 250 {
            900 + row % 3
        } else {
            10 + row % 5
        };
        writeln!(text, "{row},{value},{}", row % 7).unwrap();
    }
    fs::write(&table, &text).unwrap();
    let recording = home.join(format!("{NASTY}.rec"));
    shown!(home, "detect", &table);
    shown!(home, "detect", "--json", &table);
    let learned = shown!(
        home, "learn", "nasty", "--from", &table, "--rows", "251..280"
    );
    assert_eq!(learned.0, Some(0), "{}", learned.1);
    shown!(home, "detect", &table);
    shown!(home, "diagnose", &table, "--rows", "251..280");
    shown!(home, "diagnose", "--json", &table);
    let imported = shown!(home, "import", &table, "-o", &recording);
    assert_eq!(imported.0, Some(0), "{}", imported.1);
    shown!(home, "replay", &recording);
    shown!(home, "replay", "--json", &recording);
    shown!(home, "replay", &recording, "--set", "stale_lock_age_ms=1");
    shown!(home, "learn", NASTY, "--from", &table, "--rows", "251..280");
    for bad in [
        format!("time_s,{NASTY},{NASTY}\n1,2,3\n"),
        format!("time_s,a\n1,{NASTY}\n{NASTY},2\n"),
    ] {
        fs::write(&table, bad).unwrap();
        shown!(home, "detect", &table);
        shown!(home, "import", &table, "-o", home.join("other.rec"));
    }
    fs::write(home.join(format!("signatures/{NASTY}.toml")), NASTY).unwrap();
    fs::write(&table, &text).unwrap();
    shown!(home, "detect", &table);
}

#[test]
fn what_policies_say() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let path = nasty_shop(home);
    damage_index(&path);
    // The text of its reason, which it also logs: an escape sequence, a line break, a mark.
    let policy = attacks::built(
        r#"(import "dbmedic:policy/log@0.2.0" "write" (func $log (param i32 i32 i32)))
        (func (export "@decide") (param i32) (result i32)
          (i32.store (i32.const 320) (i32.const 0x0a_4d_5b_1b))
          (i32.store (i32.const 324) (i32.const 0x5b_ae_80_e2))
          (call $log (i32.const 3) (i32.const 320) (i32.const 11))
          (i32.const 3072))"#,
    );
    let file = home.join(format!("{NASTY}.wasm"));
    fs::write(&file, policy).unwrap();
    let (code, said) = shown!(
        home,
        "check",
        &path,
        "--watch-ms",
        "300",
        "--unsigned",
        "--policy",
        &file
    );
    assert_eq!(code, Some(1), "{said}");
    shown!(
        home,
        "check",
        &path,
        "--watch-ms",
        "300",
        "--unsigned",
        "--policy",
        &file,
        "--json"
    );
    for name in [
        "describe-name-newline",
        "answer-rule-newline",
        "log-flood",
        "import-clock",
    ] {
        fs::write(&file, attacks::component(name)).unwrap();
        shown!(home, "policy", "check", &file);
        shown!(home, "policy", "check", &file, "--json");
        shown!(
            home,
            "check",
            &path,
            "--watch-ms",
            "200",
            "--unsigned",
            "--policy",
            &file
        );
    }
    let cases = home.join(format!("{NASTY}.tests"));
    fs::create_dir(&cases).unwrap();
    let case = format!(
        "version = 1\n[[cases]]\nname = \"{}\"\n",
        NASTY.escape_debug()
    );
    fs::write(cases.join(format!("{NASTY}.toml")), case).unwrap();
    shown!(home, "policy", "test", &file);
    fs::write(&file, NASTY).unwrap();
    shown!(home, "policy", "check", &file);
    shown!(home, "policy", "verify", "--key", NASTY, &file);
    fs::write(home.join(format!("{NASTY}.wasm.minisig")), NASTY).unwrap();
    fs::write(home.join("key"), NASTY).unwrap();
    shown!(home, "policy", "verify", "--key", "key", &file);
    shown!(home, "policy", "sign", "--key", "key", &file);
}
