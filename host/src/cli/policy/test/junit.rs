//! The result of test cases as `JUnit` XML, which build servers read.

use std::fmt::Write as _;

use crate::cli::policy::test::tell;
use crate::escape::escaped;
use crate::policy_tests::{CaseResult, Report};

/// One test suite for each file, in the order of the files.
pub(super) fn xml(policy: &str, report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all: Vec<&CaseResult> = report.cases.iter().collect();
    let suites = all.chunk_by(|one, other| one.file == other.file);
    // Writing to a string cannot fail.
    let mut line = |text: String| writeln!(out, "{text}").unwrap_or_default();
    line(format!(
        "<testsuites name=\"{}\" {}>",
        text(policy),
        counts(&all)
    ));
    for suite in suites {
        line(format!(
            "  <testsuite name=\"{}\" {}>",
            text(&suite[0].file),
            counts(suite)
        ));
        for case in suite {
            let head = format!(
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
                text(&case.file),
                text(&case.name),
                seconds(case.duration_us)
            );
            let Some(first) = case.failures.first() else {
                line(format!("{head}/>"));
                continue;
            };
            line(format!("{head}>"));
            let told: Vec<String> = tell::failures(case).iter().map(|line| text(line)).collect();
            line(format!(
                "      <failure message=\"{}\">line {}\n{}</failure>\n    </testcase>",
                text(first),
                case.line,
                told.join("\n")
            ));
        }
        line("  </testsuite>".to_owned());
    }
    line("</testsuites>".to_owned());
    out
}

fn counts(cases: &[&CaseResult]) -> String {
    let failed = cases
        .iter()
        .filter(|case| !case.failures.is_empty())
        .count();
    let took_us = cases.iter().map(|case| case.duration_us).sum();
    format!(
        "tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{}\"",
        cases.len(),
        seconds(took_us)
    )
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Text as XML may hold it.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escaped(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // No document may hold these two.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
