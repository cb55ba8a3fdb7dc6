//! `policy test --mutate`: which small changes no case notices.

use std::process::ExitCode;

use crate::cli::progress::ProgressLine;
use crate::cli::{Ended, complain, say, say_json};
use crate::policy::Policy;
use crate::policy_tests::mutate::{Mutated, mutate};
use crate::policy_tests::{Case, CaseFile};

pub(super) fn run(policy: &Policy, cases: &[(&CaseFile, &Case)], json: bool) -> Ended {
    let cases: Vec<&Case> = cases.iter().map(|(_, case)| *case).collect();
    let mut line = ProgressLine::new();
    let mutated = mutate(policy, &cases, &mut |done, of| {
        line.at(done, of, done, "changes");
    });
    line.end(mutated.changes);
    if json {
        say_json(&mutated)?;
    } else {
        tell(&mutated)?;
    }
    if mutated.left_out > 0 {
        complain(&format!(
            "{} cases were left out: they fail as they are, or are recordings",
            mutated.left_out
        ));
    }
    complain(&format!(
        "{} changes: {} noticed by a case, {} unnoticed, {} that change no answer",
        mutated.changes,
        mutated.noticed,
        mutated.unnoticed.len(),
        mutated.idle
    ));
    Ok(if mutated.unnoticed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Each change that no case notices, and the case that would, ready to be copied.
fn tell(mutated: &Mutated) -> std::io::Result<()> {
    for unnoticed in &mutated.unnoticed {
        say(&format!("# No case notices when {}.", unnoticed.change))?;
        unnoticed.case.lines().try_for_each(say)?;
        say("")?;
    }
    Ok(())
}
