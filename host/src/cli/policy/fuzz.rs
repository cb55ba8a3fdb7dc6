//! `policy fuzz`: generated histories, and what a policy must not do in them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::test::{load, readable};
use crate::assemble::merge_settings;
use crate::cli::history::parse_time;
use crate::cli::progress::ProgressLine;
use crate::cli::{Ended, complain, say, say_json};
use crate::clock::now_ms;
use crate::policy_tests::fuzz::{Allowed, Fuzzed, Property, fuzz};
use crate::policy_tests::{self, Case, write};

/// Arguments of `policy fuzz`.
#[derive(Debug, Args)]
#[command(after_help = "\
Histories are made of the built-in policy's cases and the policy's own, and varied. The same seed and the
same cases give the same histories. Exit status: 0 nothing was found, 1 something was.

  dbmedic policy fuzz mine.wasm
  dbmedic policy fuzz mine.wasm --seed 7 --histories 100000 -o mine.tests/found.toml")]
pub(crate) struct FuzzArgs {
    /// The policy component, or the word `built-in`
    policy: PathBuf,
    /// Files of cases, or folders of them, to make histories of (default: those in the folder NAME.tests)
    cases: Vec<PathBuf>,
    /// Histories to try
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    histories: u64,
    /// Where chance begins (default: another one each time, which is printed)
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Set a parameter; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Committed transactions that a chosen repair may announce to lose
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_loss_commits: u64,
    /// Share of the affected object that a chosen repair may announce to lose, percent
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    max_loss_percent: f64,
    /// Failures in a row after which a repair must not be chosen
    #[arg(long, default_value_t = 3, value_name = "N")]
    max_failures: u32,
    /// How long a level holds before it may be lowered: 30s, 5m
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = parse_time)]
    calm: Duration,
    /// Write what was found as cases into a new file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the whole result as JSON
    #[arg(long)]
    json: bool,
}

/// What `policy fuzz --json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    fuzzed: &'a Fuzzed,
    /// What was found, as cases.
    cases: Option<String>,
}

pub(super) fn run(args: &FuzzArgs) -> Ended {
    let (policy, _) = load(&args.policy)?;
    let settings = merge_settings(Vec::new(), &args.set)?;
    let policy = policy
        .with_settings(&settings)
        .with_context(|| format!("the parameters of {}", args.policy.display()))?;
    let files = if args.cases.is_empty() {
        policy_tests::beside(&args.policy)
    } else {
        policy_tests::from_paths(&args.cases)
    };
    let files = files.map_err(readable)?;
    let cases: Vec<&Case> = files.iter().flat_map(|file| &file.cases).collect();
    let allowed = Allowed {
        loss_commits: args.max_loss_commits,
        loss_percent: args.max_loss_percent,
        failures: args.max_failures,
        calm_ms: u64::try_from(args.calm.as_millis()).unwrap_or(u64::MAX),
    };
    let seed = args.seed.unwrap_or_else(now_ms);
    let mut line = ProgressLine::new();
    let chance = (seed, args.histories);
    let fuzzed = fuzz(
        &policy,
        &settings,
        &cases,
        allowed,
        chance,
        &mut |histories| {
            line.at(histories, args.histories, histories, "histories");
        },
    );
    let rate = line.end(args.histories);
    let found: Vec<Case> = fuzzed
        .found
        .iter()
        .map(|found| found.case.clone())
        .collect();
    let text = (!found.is_empty()).then(|| write::file(&found));
    if let (Some(file), Some(text)) = (&args.output, &text) {
        super::write_new(file, text.as_bytes(), 0o644)?;
    }
    if args.json {
        say_json(&Printed {
            fuzzed: &fuzzed,
            cases: text,
        })?;
    } else {
        tell(&fuzzed)?;
        match (&args.output, &text) {
            (Some(file), Some(_)) => complain(&format!("wrote {}", file.display())),
            (None, Some(text)) => text.lines().try_for_each(say)?,
            (_, None) => {}
        }
    }
    complain(&format!(
        "seed {seed}: {} histories, {} decisions, {rate} histories a second; {} of {} properties do not hold",
        fuzzed.histories,
        fuzzed.decisions,
        fuzzed.found.len(),
        Property::ALL.len()
    ));
    Ok(if fuzzed.found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Each property in a line.
fn tell(fuzzed: &Fuzzed) -> std::io::Result<()> {
    for property in Property::ALL {
        let words = property.in_words();
        let Some(found) = fuzzed.found.iter().find(|found| found.property == property) else {
            say(&format!("ok     {words}"))?;
            continue;
        };
        say(&format!("FAILED {words}: {}", found.what))?;
        say(&format!(
            "       history {}, {} of its {} events are enough",
            found.history, found.enough, found.events
        ))?;
    }
    Ok(())
}
