//! A little of what the program `fuzz` does: mutated input of each kind for the real dbmedic.

use std::process::Command;

use crate::common::{data, dbmedic, talk};

#[test]
fn mutated_input_of_each_kind_does_no_harm() {
    let keep = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fuzz"))
        .arg("--dbmedic")
        .arg(dbmedic())
        .args(["--inputs", "40", "--seed", "7", "--keep"])
        .arg(keep.path())
        .output()
        .unwrap();
    let told = data(&output);
    assert!(output.status.success(), "{told}{}", talk(&output));
    assert!(told.contains("databases "), "{told}");
}
