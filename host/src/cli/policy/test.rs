//! `policy test`: a policy's test cases, against the component itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cli::{Ended, complain, say, say_json};
use crate::policy::{Limits, Policy, Runtime};
use crate::policy_tests::{self, CaseFile, Report};
use crate::signing::Verified;

/// Time for one decision of a test, milliseconds: nothing is cut off on a busy machine.
const DEADLINE_MS: u64 = 5_000;

/// Arguments of `policy test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The policy component, or `built-in` or `built-in:rules`
    policy: PathBuf,
    /// Files of cases, or folders of them (default: what it carries, and the folder NAME.tests)
    cases: Vec<PathBuf>,
    /// Print the whole result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TestArgs) -> Ended {
    let (policy, bytes) = load(&args.policy)?;
    let files = if args.cases.is_empty() {
        own_cases(&args.policy, &bytes)?
    } else {
        policy_tests::from_paths(&args.cases)?
    };
    if files.is_empty() {
        bail!(
            "{} carries no test cases, and there are none in {}; name some",
            args.policy.display(),
            args.policy.with_extension("tests").display()
        );
    }
    let report = policy_tests::run(&policy, &files, None);
    if args.json {
        say_json(&report)?;
    } else {
        tell(&report)?;
    }
    complain(&format!(
        "{} passed, {} failed",
        report.passed, report.failed
    ));
    Ok(if report.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A policy as it is, with the parameters' defaults, and its bytes.
pub(super) fn load(path: &Path) -> anyhow::Result<(Policy, Vec<u8>)> {
    let bytes = super::read(path)?;
    let runtime = Runtime::new(Limits {
        deadline_ms: DEADLINE_MS,
        start_deadline_ms: 60_000,
        ..Limits::default()
    })
    .context("starting the policy runtime")?;
    let policy = runtime
        .load(&Verified::unsigned(bytes.clone()), &[])
        .with_context(|| format!("loading {}", path.display()))?;
    Ok((policy, bytes))
}

/// What a component carries, and what lies beside it.
pub(super) fn own_cases(path: &Path, bytes: &[u8]) -> anyhow::Result<Vec<CaseFile>> {
    let mut files = policy_tests::carried(bytes)?;
    files.extend(policy_tests::beside(path)?);
    Ok(files)
}

/// Each case in a line, and below it what was not as it must be.
pub(super) fn tell(report: &Report) -> std::io::Result<()> {
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
        for failure in &case.failures {
            say(&format!("       {failure}"))?;
        }
    }
    Ok(())
}
