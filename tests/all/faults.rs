//! Each fault through `check` and `repair`, as a person would treat it by hand.

use std::path::Path;

use dbmedic::demo::Scene;
use dbmedic::demo::faults::hold_write_lock;
use serde_json::Value;

use crate::common::{
    contents, damage_index, damage_log, data, dbmedic, integrity, orders, resting_shop, run, talk,
};

fn check(path: &Path) -> (Option<i32>, Value) {
    let output = run(&[
        "check",
        path.to_str().unwrap(),
        "--watch-ms",
        "300",
        "--json",
    ]);
    let text = data(&output);
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", talk(&output)));
    (output.status.code(), value)
}

fn apply(path: &Path, more: &[&str]) -> std::process::Output {
    let state = path.with_extension("state");
    let mut args = vec![
        "repair",
        path.to_str().unwrap(),
        "--apply",
        "--watch-ms",
        "500",
        "--json",
    ];
    args.extend(["--state-dir", state.to_str().unwrap()]);
    args.extend(more);
    run(&args)
}

#[test]
fn a_healthy_database_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    let before = contents(dir.path());
    let (code, visit) = check(&path);
    assert_eq!((code, &visit["healthy"]), (Some(0), &Value::Bool(true)));
    assert_eq!(contents(dir.path()), before, "looking left a trace");
}

#[test]
fn a_corrupt_index_is_told_planned_and_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    resting_shop(&path);
    let rows = orders(&path);
    damage_index(&path);
    let before = contents(dir.path());
    let (code, visit) = check(&path);
    assert_eq!(code, Some(1));
    assert_eq!(visit["problems"][0]["finding"]["kind"], "index.corrupt");
    let plan = run(&["repair", path.to_str().unwrap(), "--watch-ms", "300"]);
    assert!(data(&plan).contains("index.rebuild"), "{}", data(&plan));
    assert_eq!(contents(dir.path()), before, "a plan wrote something");

    let healed = apply(&path, &[]);
    assert_eq!(healed.status.code(), Some(0), "{}", talk(&healed));
    assert_eq!((integrity(&path).as_str(), orders(&path)), ("ok", rows));
}

#[test]
fn a_log_damaged_near_its_end_loses_what_was_announced_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    damage_log(&path, 0.98);
    let (_, visit) = check(&path);
    let announced = &visit["problems"][0]["finding"]["candidates"][0]["expected_loss"]["commits"];
    let announced = usize::try_from(announced.as_u64().unwrap()).unwrap();
    let healed = apply(&path, &[]);
    assert_eq!(healed.status.code(), Some(0), "{}", talk(&healed));
    assert_eq!(orders(&path).len(), 300 + 200 - announced);
    assert_eq!(integrity(&path), "ok");
}

#[test]
fn a_loss_above_the_ceiling_is_refused_by_the_guard() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    damage_log(&path, 0.98);
    let log = std::fs::read(path.with_extension("db-wal")).unwrap();
    let refused = apply(&path, &["--max-loss-commits", "0"]);
    assert_eq!(refused.status.code(), Some(1), "{}", talk(&refused));
    assert!(
        data(&refused).contains("guard.data-loss"),
        "{}",
        data(&refused)
    );
    assert_eq!(std::fs::read(path.with_extension("db-wal")).unwrap(), log);
}

#[test]
fn a_log_damaged_early_is_a_crisis_and_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    damage_log(&path, 0.2);
    let before = contents(dir.path());
    let left = apply(&path, &[]);
    assert_eq!(left.status.code(), Some(1), "{}", talk(&left));
    let visit: Value = serde_json::from_str(&data(&left)).unwrap();
    let verdict = &visit["problems"][0]["verdict"];
    assert_eq!(verdict["classification"], "Crisis");
    assert_eq!(
        (&verdict["repair"], &verdict["halt"]),
        (&Value::Null, &Value::Bool(true))
    );
    let files = |all: Vec<(String, Vec<u8>)>| all;
    std::fs::rename(
        path.with_extension("state"),
        dir.path().with_extension("moved"),
    )
    .unwrap();
    assert_eq!(files(contents(dir.path())), before);
    let preserved = dir
        .path()
        .with_extension("moved")
        .join("preserved/shop/INC-1");
    assert_eq!(
        std::fs::read(preserved.join("database-wal")).unwrap(),
        before[1].1
    );
    std::fs::remove_dir_all(dir.path().with_extension("moved")).unwrap();
}

#[test]
fn a_lock_holder_is_ended_only_when_it_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(dir.path(), 1, 1, 1);
    dbmedic().clone_into(&mut scene.program);
    let path = scene.database();
    resting_shop(&path);
    let holder = hold_write_lock(&scene).unwrap();
    let set = ["--set", "stale_lock_age_ms=100"];
    let left = apply(&path, &set);
    assert_eq!(left.status.code(), Some(1), "{}", talk(&left));
    assert!(
        data(&left).contains("lock.holder-not-listed"),
        "{}",
        data(&left)
    );
    assert!(holder.is_running());
    let healed = apply(&path, &[&set[..], &["--may-end", "demo-holder"]].concat());
    assert_eq!(healed.status.code(), Some(0), "{}", talk(&healed));
    assert!(!holder.is_running());
}
