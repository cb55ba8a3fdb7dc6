//! A little of what the program `alerts` does: a table of series and conditions as a case of a policy.

use std::process::Command;

use crate::common::{data, dbmedic, talk};

#[test]
fn every_beginning_and_end_of_an_alert_is_asserted_and_a_changed_table_fails() {
    let output = Command::new(env!("CARGO_BIN_EXE_alerts"))
        .arg("--dbmedic")
        .arg(dbmedic())
        .args(["--samples", "300", "--changes", "4", "--seed", "3"])
        .output()
        .unwrap();
    let told = data(&output);
    assert!(output.status.success(), "{told}{}", talk(&output));
    assert!(told.contains("dbmedic 4 of 4"), "{told}");
}
