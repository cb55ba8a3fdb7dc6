//! How healthy a target is: the levels rolled up, by `check --json` and in `health.json` of a run.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{damage_index, data, dbmedic, resting_shop, run, talk, wait_for};

/// From the best to the worst.
const STATUSES: [&str; 4] = ["healthy", "checking", "degraded", "unhealthy"];
const LEVELS: [&str; 4] = ["operation", "metric", "subsystem", "system"];

fn place(status: &Value) -> usize {
    let place = STATUSES.iter().position(|one| status == one);
    place.unwrap_or_else(|| panic!("{status} is no status"))
}

/// Each level is as healthy as its worst sign, the whole as its worst level.
fn is_rolled_up(health: &Value) {
    let signs = health["signs"].as_array().unwrap();
    for level in LEVELS {
        let of_level = signs.iter().filter(|sign| sign["level"] == level);
        let worst = of_level.map(|sign| place(&sign["status"])).max();
        assert_eq!(
            place(&health["levels"][level]),
            worst.unwrap_or(0),
            "{health}"
        );
    }
    let worst = LEVELS.map(|level| place(&health["levels"][level]));
    assert_eq!(
        Some(place(&health["status"])),
        worst.into_iter().max(),
        "{health}"
    );
}

/// What the check of the files says; none when it has nothing to say.
fn of_files(health: &Value) -> Option<&Value> {
    let mut signs = health["signs"].as_array().unwrap().iter();
    signs.find(|sign| sign["subject"] == "full")
}

fn check(path: &Path) -> Value {
    let output = run(&[
        "check",
        path.to_str().unwrap(),
        "--watch-ms",
        "300",
        "--json",
    ]);
    serde_json::from_str(&data(&output)).unwrap_or_else(|_| panic!("{}", talk(&output)))
}

#[test]
fn a_visit_rolls_its_checks_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    let visit = check(&path);
    is_rolled_up(&visit["health"]);
    assert_eq!(of_files(&visit["health"]), None, "{visit}");
    // How full this machine is is not this test's business; that nothing is left open is.
    assert_ne!(visit["health"]["status"], "checking", "{visit}");
    let made = visit["checks"].as_array().unwrap();
    let made: Vec<_> = made
        .iter()
        .map(|check| check["check"].as_str().unwrap())
        .collect();
    assert!(
        made.contains(&"full") && made.contains(&"resource"),
        "{visit}"
    );

    damage_index(&path);
    let visit = check(&path);
    let health = &visit["health"];
    is_rolled_up(health);
    assert_eq!(health["status"], "unhealthy", "{visit}");
    let files = of_files(health).expect("the files are damaged");
    assert_eq!(files["level"], "subsystem");
    assert!(!files["reason"].as_str().unwrap().is_empty(), "{files}");
    assert_eq!(visit["healthy"], false);
}

/// What `run` keeps for others to read follows the target: damaged, then repaired by hand.
#[test]
fn a_run_keeps_the_health_of_each_target() {
    let home = tempfile::tempdir().unwrap();
    let (sound, damaged) = (home.path().join("sound.db"), home.path().join("damaged.db"));
    resting_shop(&sound);
    resting_shop(&damaged);
    damage_index(&damaged);
    let config = home.path().join("dbmedic.toml");
    let text = "version = 1\nmode = \"observe\"\nstate_dir = \"state\"\n\
        [observation]\nsample_interval_ms = 100\nquick_check_interval_ms = 300\nintegrity_interval_ms = 300\n\
        [[targets]]\nname = \"sound\"\nsqlite = \"sound.db\"\n\
        [[targets]]\nname = \"damaged\"\nsqlite = \"damaged.db\"\n";
    std::fs::write(&config, text).unwrap();
    let mut watcher = Command::new(dbmedic())
        .args(["run", "-c", config.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let kept = || -> Option<Value> {
        let text = std::fs::read(home.path().join("state/health.json")).ok()?;
        // It is put in its place whole.
        let kept: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(kept["v"], 1);
        Some(kept["targets"].clone())
    };
    let targets = wait_for("the damage in health.json", || {
        let targets = kept()?;
        let checked =
            of_files(&targets["damaged"]).is_some_and(|sign| sign["status"] == "unhealthy");
        let sound = &targets["sound"];
        (checked && sound.is_object() && sound["status"] != "checking").then_some(targets)
    });
    is_rolled_up(&targets["damaged"]);
    is_rolled_up(&targets["sound"]);
    assert_eq!(targets["damaged"]["status"], "unhealthy");
    assert_eq!(of_files(&targets["sound"]), None, "{targets}");
    let status = |more: &[&str]| {
        let state = home.path().join("state");
        let told = Command::new(dbmedic())
            .args(["status", "--state-dir", state.to_str().unwrap()])
            .args(more)
            .output()
            .unwrap();
        (told.status.code(), String::from_utf8(told.stdout).unwrap())
    };
    let (code, text) = status(&[]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("damaged  unhealthy  full check failed "),
        "{text}"
    );
    let (code, text) = status(&["sound"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.starts_with("sound  healthy  full check passed "),
        "{text}"
    );

    let db = rusqlite::Connection::open(&damaged).unwrap();
    db.execute_batch("REINDEX").unwrap();
    db.close().unwrap();
    let healed = wait_for("the repair in health.json", || {
        let targets = kept()?;
        of_files(&targets["damaged"]).is_none().then_some(targets)
    });
    is_rolled_up(&healed["damaged"]);
    watcher.kill().unwrap();
    watcher.wait().unwrap();
}
