//! The result of test cases in lines.

use crate::cli::say;
use crate::policy_tests::{CaseResult, Report};

/// Each case in a line, and below it what was not as it must be and what happened around it.
pub(super) fn report(report: &Report) -> std::io::Result<()> {
    for case in &report.cases {
        let word = if case.failures.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        say(&format!(
            "{word:<6} {}:{}: {}",
            case.file, case.line, case.name
        ))?;
        for line in failures(case) {
            say(&format!("       {line}"))?;
        }
    }
    Ok(())
}

/// Every failure of a case, each with its timeline where it has one.
pub(super) fn failures(case: &CaseResult) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, failure) in case.failures.iter().enumerate() {
        lines.push(failure.clone());
        let timelines = case.timelines.iter();
        for timeline in timelines.filter(|timeline| timeline.failure == number) {
            lines.extend(timeline.lines());
        }
    }
    lines
}
