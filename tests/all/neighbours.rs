//! Busy but healthy programs beside a database, as the program `neighbours` runs them: dbmedic ends
//! nobody, and a process that is really in the way it does end.

use std::process::Command;

use crate::common::{data, dbmedic, talk};

/// Runs the program; all its runs must be right.
fn neighbours(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_neighbours"))
        .arg("--dbmedic")
        .arg(dbmedic())
        .args(["--jobs", "6"])
        .args(arguments)
        .output()
        .unwrap();
    let told = data(&output);
    assert!(output.status.success(), "{told}{}", talk(&output));
    told
}

#[test]
fn a_process_in_the_way_is_ended_and_its_busy_neighbours_are_not() {
    let told = neighbours(&[
        "--with-fault",
        "--runs",
        "6",
        "--seed",
        "1",
        "--only",
        "dashboard,job-queue,cron,attach,backup,orm",
    ]);
    assert!(told.contains("lock.stale-holder"), "{told}");
}

#[test]
fn busy_neighbours_are_left_alone() {
    let told = neighbours(&["--runs", "12", "--seed", "4"]);
    assert!(told.contains("repairs"), "{told}");
}

/// SQLite's default, where a writer keeps readers out and readers keep writers from committing.
#[test]
fn without_a_log_too_who_is_in_the_way_is_ended_and_nobody_else() {
    neighbours(&["--rollback", "--runs", "12", "--seed", "3"]);
    let told = neighbours(&[
        "--rollback",
        "--with-fault",
        "--runs",
        "6",
        "--seed",
        "2",
        "--only",
        "job-queue,cron,orm,backup",
    ]);
    assert!(told.contains("lock.stale-holder"), "{told}");
}

/// A replicator, young readers in quiet times, readers in containers and polling workers: the kinds
/// for which an age is easily invented.
#[test]
fn young_readers_and_polling_workers_are_left_alone() {
    neighbours(&[
        "--runs",
        "6",
        "--seed",
        "37",
        "--only",
        "replicator,dashboard,containers,containers-seen,polling-worker,slow-polling-worker",
    ]);
}

#[test]
fn a_stop_a_suspended_machine_and_a_clock_that_is_set_end_nobody() {
    for interruption in ["stop", "suspend", "clock"] {
        neighbours(&[
            "--runs",
            "4",
            "--seed",
            "5",
            "--interruption",
            interruption,
            "--only",
            "replicator,dashboard,slow-commit,copy-backup",
        ]);
    }
}

/// 24 hours of time in events: nobody is ended, and who is really in the way is.
#[test]
fn a_recorded_day_of_healthy_neighbours_ends_nobody() {
    let day = ["--days", "1", "--interval-ms", "10000", "--threshold-ms"];
    neighbours(&[&day[..], &["60000"][..]].concat());
    neighbours(&[&day[..], &["60000", "--with-fault"][..]].concat());
}
