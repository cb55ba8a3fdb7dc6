//! The example of an engine that embeds dbmedic: what it tells of its fault.

use std::process::Command;

use crate::common::{data, dbmedic, talk};

#[test]
fn an_engine_that_embeds_dbmedic_is_told_of_its_fault() {
    let example = dbmedic().with_file_name("examples/embedded_engine");
    let output = Command::new(&example).output().unwrap();
    let told = data(&output);
    assert!(output.status.success(), "{told}{}", talk(&output));
    let (before, after) = told
        .split_once("--- after 5 s the disk becomes slow")
        .unwrap_or_else(|| panic!("{told}"));
    let (fault, end) = after
        .split_once("--- 2 s later: ")
        .unwrap_or_else(|| panic!("{told}"));
    // A busy machine may disturb the healthy part; what the fault does is told in any case.
    assert!(before.contains("baseline"), "{told}");
    assert!(
        fault.contains("anomaly.unexplained") && fault.contains("write"),
        "{told}"
    );
    assert!(
        end.starts_with("degraded") || end.starts_with("unhealthy"),
        "{told}"
    );
}
