//! `deny`, `ack`, `silence` and `maintenance` on the command line: to a dbmedic that runs, to one that does
//! not, and to one that is killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use dbmedic::escape::is_obeyed;
use serde_json::Value;

use crate::common::{
    damage_index, data, dbmedic, integrity, resting_shop, run, talk, wait_for, wait_within,
};

/// A repair goes through several processes and syncs, which takes long on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// A database with a corrupt index, a configuration, and a dbmedic that watches.
struct Ward {
    home: tempfile::TempDir,
    watcher: Child,
}

impl Ward {
    fn open(mode: &str, more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        resting_shop(&home.path().join("shop.db"));
        damage_index(&home.path().join("shop.db"));
        let config = home.path().join("dbmedic.toml");
        let text = format!(
            "version = 1\nmode = \"{mode}\"\nstate_dir = \"state\"\ntime_zone = \"UTC\"\n\
             [observation]\nsample_interval_ms = 100\nintegrity_interval_ms = 2_000\n\
             decide_interval_ms = 200\ntick_interval_ms = 500\n\
             [policy.limits]\ndeadline_ms = 1_000\n\
             [[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n{more}"
        );
        std::fs::write(&config, text).unwrap();
        let watcher = watch(&config);
        Self { home, watcher }
    }

    fn database(&self) -> PathBuf {
        self.home.path().join("shop.db")
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// A command on the state directory of this ward.
    fn say(&self, args: &[&str]) -> Output {
        let state = self.state();
        let mut all = args.to_vec();
        all.extend(["--state-dir", state.to_str().unwrap()]);
        run(&all)
    }

    /// The same, which must be taken up.
    fn do_say(&self, args: &[&str]) {
        let output = self.say(args);
        assert!(output.status.success(), "{args:?}: {}", talk(&output));
    }

    fn until(&self, args: &[&str], expected: &str) -> String {
        let found = std::panic::AssertUnwindSafe(|| {
            wait_within(PATIENCE, expected, || {
                let told = data(&self.say(args));
                told.contains(expected).then_some(told)
            })
        });
        std::panic::catch_unwind(found).unwrap_or_else(|_| {
            let story = data(&self.say(&["incidents", "INC-1"]));
            panic!("waited in vain for {expected}: {story}")
        })
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.say(&[args, &["--json"]].concat());
        serde_json::from_str(&data(&output)).unwrap_or_else(|_| panic!("{}", talk(&output)))
    }

    /// Ends the watcher as a power cut would.
    fn kill(&mut self) {
        self.watcher.kill().unwrap();
        self.watcher.wait().unwrap();
    }

    fn start(&mut self) {
        self.watcher = watch(&self.home.path().join("dbmedic.toml"));
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.watcher.kill().ok();
        self.watcher.wait().ok();
    }
}

fn watch(config: &Path) -> Child {
    Command::new(dbmedic())
        .args(["run", "-c", config.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_denied_repair_waits_for_an_approval() {
    let ward = Ward::open("approve", "");
    ward.until(&["incidents"], "waits for a person");
    let nasty = "later\n\u{1b}[31m";
    ward.do_say(&["deny", "INC-1", "--by", "eve\u{202e}", "--reason", nasty]);
    ward.until(&["incidents", "INC-1"], "guard.denied");
    let told = ward.until(&["incidents"], "index.rebuild denied at ");
    assert!(!told.contains("waits for a person"), "{told}");
    // As it was given, and harmless to a terminal.
    assert!(
        told.contains("by eve\\u{202e} (later\\n\\u{1b}[31m)"),
        "{told}"
    );
    assert!(!told.chars().any(|c| c != '\n' && is_obeyed(c)), "{told}");
    let rows = ward.json(&["incidents"]);
    let answer = &rows[0]["answers"][0];
    assert_eq!(answer["granted"], false);
    assert_eq!(answer["note"], nasty);
    assert_ne!(integrity(&ward.database()), "ok");
    ward.do_say(&["approve", "INC-1", "--reason", "now"]);
    let told = ward.until(&["incidents"], "resolved");
    assert!(told.contains("index.rebuild approved at "), "{told}");
    assert_eq!(integrity(&ward.database()), "ok");
    let late = ward.say(&["deny", "INC-1"]);
    assert!(talk(&late).contains("INC-1 is over"), "{}", talk(&late));
    assert_eq!(late.status.code(), Some(2));
    let unknown = ward.say(&["ack", "INC-7"]);
    assert!(
        talk(&unknown).contains("no such incident"),
        "{}",
        talk(&unknown)
    );
}

#[test]
fn an_acknowledgement_is_shown_and_outlasts_a_kill() {
    let mut ward = Ward::open("observe", "");
    ward.until(&["incidents"], "index.corrupt");
    let refused = ward.say(&["ack", "INC-1", "--reason", " "]);
    assert!(talk(&refused).contains("it is empty"), "{}", talk(&refused));
    ward.do_say(&["ack", "INC-1", "--by", "alice", "--reason", "I look at it"]);
    ward.until(&["status"], "acknowledged by alice (I look at it)");
    ward.until(&["incidents"], "acknowledged at ");
    ward.kill();
    ward.start();
    ward.until(&["status"], "acknowledged by alice (I look at it)");
    let rows = ward.json(&["incidents"]);
    assert_eq!(rows[0]["acknowledged"]["by"], "alice");
}

#[test]
fn silences_are_listed_counted_removed_and_outlast_a_kill() {
    let mut ward = Ward::open("observe", "");
    ward.until(&["incidents"], "index.corrupt");
    for (args, expected) in [
        (&["silence", "add", "--for", "2h"][..], "--target"),
        (&["silence", "add", "--target", "shop"], "--for"),
        (
            &["silence", "add", "--target", "shop", "--for", "31d"],
            "1s to 30d",
        ),
        (
            &["silence", "add", "--target", "shop", "--for", "0s"],
            "1s to 30d",
        ),
        (
            &["silence", "add", "--target", "ship", "--for", "1h"],
            "no such target",
        ),
        (&["silence", "remove", "SIL-1"], "no such silence"),
    ] {
        let output = ward.say(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            talk(&output).contains(expected),
            "{args:?}: {}",
            talk(&output)
        );
    }
    ward.do_say(&[
        "silence", "add", "--target", "shop", "--for", "2h", "--by", "bob", "--reason", "known",
    ]);
    let told = ward.until(
        &["silence", "list"],
        "SIL-1: alerts of target shop are withheld until ",
    );
    assert!(told.contains("by bob (known); "), "{told}");
    ward.until(&["status"], "SIL-1: alerts of target shop");
    // Both are given while nobody runs, in this order.
    ward.kill();
    ward.do_say(&["silence", "add", "--kind", "index", "--for", "30d"]);
    ward.do_say(&["silence", "remove", "SIL-1"]);
    let waiting = ward.say(&["silence", "list"]);
    assert!(
        talk(&waiting).contains("waits for a dbmedic that runs: "),
        "{}",
        talk(&waiting)
    );
    ward.start();
    ward.until(
        &["silence", "list"],
        "SIL-2: alerts about index are withheld",
    );
    let left = wait_for("the silence to go", || {
        let left = ward.json(&["silence", "list"]);
        (left.as_array().unwrap().len() == 1).then_some(left)
    });
    assert_eq!(left[0]["id"], "SIL-2");
    let status = ward.json(&["status"]);
    assert_eq!(status["silences"][0]["kind"], "index");
}

/// A command that is written down and has come to nothing yet: the next run takes it up, once.
#[test]
fn a_command_outlasts_a_kill_right_after_it_was_written_down() {
    let mut ward = Ward::open("observe", "");
    ward.until(&["incidents"], "index.corrupt");
    ward.kill();
    let told = ward.say(&["silence", "add", "--target", "shop", "--for", "1h"]);
    assert!(told.status.success(), "{}", talk(&told));
    assert!(
        talk(&told).contains("no dbmedic is running"),
        "{}",
        talk(&told)
    );
    assert_eq!(ward.json(&["silence", "list"]), serde_json::json!([]));
    for _ in 0..2 {
        ward.start();
        ward.until(&["silence", "list"], "SIL-1: ");
        let listed = ward.json(&["silence", "list"]);
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        ward.kill();
    }
}

/// Whoever gives a command to a dbmedic that runs hears what was written down, and that outlasts a kill right then.
#[test]
fn a_command_is_written_down_before_it_is_answered() {
    let mut ward = Ward::open("observe", "");
    ward.until(&["incidents"], "index.corrupt");
    for number in 1..=3 {
        let told = ward.say(&[
            "silence", "add", "--target", "shop", "--for", "1h", "--by", "eve",
        ]);
        ward.kill();
        assert!(told.status.success(), "{}", talk(&told));
        assert!(
            talk(&told).contains("written down as entry "),
            "{}",
            talk(&told)
        );
        ward.start();
        wait_for("the silence", || {
            let listed = ward.json(&["silence", "list"]);
            (listed.as_array().unwrap().len() == number).then_some(())
        });
    }
}

#[test]
fn a_maintenance_window_by_command_keeps_repairs_from_beginning() {
    let mut ward = Ward::open("approve", "");
    ward.until(&["incidents"], "waits for a person");
    let closed = ward.say(&["maintenance", "stop", "shop"]);
    assert!(
        talk(&closed).contains("no maintenance window is open"),
        "{}",
        talk(&closed)
    );
    ward.do_say(&[
        "maintenance",
        "start",
        "shop",
        "--for",
        "2h",
        "--by",
        "alice",
        "--reason",
        "new disks",
    ]);
    ward.until(&["status"], "in maintenance until ");
    ward.until(&["incidents", "INC-1"], "guard.maintenance");
    ward.kill();
    ward.start();
    let told = ward.until(&["maintenance", "list"], "shop: in maintenance until ");
    assert!(
        told.contains("(alice): new disks; no repair begins"),
        "{told}"
    );
    ward.do_say(&["maintenance", "stop", "shop"]);
    ward.until(&["incidents"], "waits for a person");
    ward.do_say(&["approve", "INC-1"]);
    ward.until(&["incidents"], "resolved");
    assert_eq!(integrity(&ward.database()), "ok");
}

/// A window that is a week long and opens each week is always open, until a person closes it.
#[test]
fn a_maintenance_window_of_the_configuration_keeps_repairs_from_beginning() {
    let ward = Ward::open(
        "enforce",
        "[[targets.maintenance]]\nname = \"weekly\"\ndays = [\"mon\"]\nstart = \"00:00\"\n\
         duration_minutes = 10_080\nreason = \"always\"\n",
    );
    ward.until(&["incidents", "INC-1"], "guard.maintenance");
    // What the configuration says is kept with the health, a moment later.
    ward.until(&["maintenance", "list"], "(weekly)");
    let listed = ward.json(&["maintenance", "list"]);
    let shop = &listed["shop"];
    assert_eq!(shop["open"]["name"], "weekly", "{listed}");
    let week_ms = 7 * 86_400_000;
    let length = |window: &Value| {
        window["ends_ms"].as_u64().unwrap() - window["begins_ms"].as_u64().unwrap()
    };
    assert_eq!(length(&shop["open"]), week_ms);
    assert_eq!(shop["next"]["begins_ms"], shop["open"]["ends_ms"]);
    assert_ne!(integrity(&ward.database()), "ok");
    ward.do_say(&["maintenance", "stop", "shop"]);
    ward.until(&["incidents"], "resolved");
    assert_eq!(integrity(&ward.database()), "ok");
}

#[test]
fn config_check_names_the_file_as_run_does() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("other.toml");
    let text = "version = 1\ntime_zone = \"Mars/Olympus\"\n[[targets]]\nname = \"a\"\nsqlite = \"a.db\"\n\
        [[targets.maintenance]]\nname = \"w\"\ndays = [\"sunday\"]\nstart = \"2:00\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for args in [
        &["config", "check", "-c", file][..],
        &["config", "check", "--config", file],
        &["config", "check", file],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let words = talk(&output);
        for part in ["Mars/Olympus", "sunday", "2:00", "duration_minutes"] {
            assert!(words.contains(part), "{args:?}: {part}: {words}");
        }
    }
    std::fs::write(file, "version = 1\nstate_dir = \"state\"\n").unwrap();
    let output = run(&["config", "check", "-c", file]);
    assert_eq!(data(&output), format!("{file}: ok\n"), "{}", talk(&output));
    assert_eq!(
        run(&["config", "check", "-c", file, file]).status.code(),
        Some(2)
    );
}

/// A watcher of a damaged database whose log goes into a file; what is in it when the problem is told.
fn log_of(format: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    resting_shop(&home.path().join("shop.db"));
    damage_index(&home.path().join("shop.db"));
    let config = home.path().join("dbmedic.toml");
    let text = format!(
        "version = 1\nstate_dir = \"state\"\nlog_format = \"{format}\"\n\
         [observation]\nsample_interval_ms = 100\ndecide_interval_ms = 200\n\
         [[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let log = home.path().join("log");
    let mut watcher = Command::new(dbmedic())
        .args(["run", "-c", config.to_str().unwrap()])
        .env_remove("DBMEDIC_LOG")
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let told = wait_within(PATIENCE, "the problem and the guard", || {
        let told = std::fs::read_to_string(&log).unwrap();
        let is_told = told.contains("index.corrupt") && told.contains("guard.mode");
        // The last line may be half written.
        is_told.then(|| told[..=told.rfind('\n').unwrap_or(0)].to_owned())
    });
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    told
}

#[test]
fn the_log_is_text_with_the_time_or_json_or_for_the_journal() {
    let text = log_of("text");
    let problem = text
        .lines()
        .find(|line| line.contains("  problem   INC-1 index.corrupt"));
    let (at, _) = problem.unwrap_or_else(|| panic!("{text}")).split_at(24);
    assert!(
        at.starts_with("20") && at.ends_with('Z') && at.contains('T'),
        "{at}"
    );
    assert!(text.contains("  start     dbmedic watches shop"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");

    let json = log_of("json");
    let lines = json.lines().map(|line| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let lines: Vec<_> = lines.collect();
    let problem = lines
        .iter()
        .find(|line| line["label"] == "problem")
        .unwrap();
    assert_eq!(problem["database"], "shop");
    assert_eq!(problem["incident"], "INC-1");
    assert_eq!(problem["module"], "narrative");
    assert!(
        problem["details"][0]
            .as_str()
            .unwrap()
            .starts_with("evidence: "),
        "{problem}"
    );

    let journal = log_of("journald");
    for line in journal.lines() {
        let is_marked = line.starts_with('<') && line.as_bytes().get(2) == Some(&b'>');
        assert!(is_marked && !line.contains("<6>20"), "{line}");
    }
    assert!(
        journal.contains("<6>problem   INC-1 index.corrupt"),
        "{journal}"
    );
    assert!(journal.contains("<4>alert     critical: "), "{journal}");
}

#[test]
fn the_configuration_says_where_the_state_is() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("dbmedic.toml");
    let text =
        "version = 1\nstate_dir = \"kept\"\n[[targets]]\nname = \"shop\"\nsqlite = \"shop.db\"\n";
    std::fs::write(&config, text).unwrap();
    let status = |args: &[&str]| {
        let mut command = Command::new(dbmedic());
        command.arg("status").args(args).current_dir(&home);
        talk(&command.output().unwrap())
    };
    let named = ["-c", config.to_str().unwrap()];
    for args in [&[][..], &named] {
        let told = status(args);
        assert!(told.contains("kept: no such state directory"), "{told}");
    }
    std::fs::create_dir(home.path().join("kept")).unwrap();
    for args in [&[][..], &named] {
        let told = status(args);
        assert!(told.contains("kept: no run has looked"), "{told}");
    }
    // Nobody guesses where it is: it would be another dbmedic's.
    std::fs::write(&config, format!("{text}no_option = 1\n")).unwrap();
    for args in [&[][..], &named] {
        let told = status(args);
        assert!(
            told.contains("unknown option `no_option`") && told.contains("dbmedic.toml:6"),
            "{told}"
        );
    }
    assert!(status(&["--state-dir", "kept"]).contains("no run has looked"));
}
