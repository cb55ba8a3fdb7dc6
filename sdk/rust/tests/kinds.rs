//! The typed views beside the host's own list of problems.

use dbmedic_policy::problems::KINDS;

#[test]
fn every_known_kind_is_one_that_the_host_reports() {
    let reported = include_str!("../../../PROBLEMS.md");
    for kind in KINDS {
        assert!(reported.contains(&format!("`{kind}`")), "{kind}");
    }
}
