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
