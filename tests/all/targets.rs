//! A little of what the program `targets` does: many databases in one process, with few workers and threads,
//! one of them on a file system that stops to answer.

use std::process::Command;

use crate::common::{data, dbmedic, talk};

#[test]
fn many_targets_take_few_processes_and_none_holds_up_another() {
    let output = Command::new(env!("CARGO_BIN_EXE_targets"))
        .arg("--dbmedic")
        .arg(dbmedic())
        .args(["--targets", "60", "--large", "1", "--large-mb", "8"])
        .args(["--settle-s", "10", "--measure-s", "5", "--recorded-s", "8"])
        // Other tests run meanwhile. What waits for the file system would be late for longer.
        .args([
            "--bounds",
            "--longest-gap-ms",
            "6000",
            "--open-files",
            "256",
        ])
        .output()
        .unwrap();
    let told = data(&output);
    assert!(output.status.success(), "{told}{}", talk(&output));
    assert!(told.contains("| looks a second |"), "{told}");
}
