//! `policy test`: a policy's test cases, against the component itself.

mod capture;
mod coverage;
mod junit;
mod mutate;
mod tell;
mod update;
mod watch;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cli::{Ended, complain, say, say_json};
use crate::config::is_root;
use crate::policy::{CacheLimits, CompiledCache, Limits, Policy, Runtime};
use crate::policy_tests::{self, Case, CaseFile, CasesError, Order, Seen};
use crate::signing::Verified;

/// Time for one decision of a test, milliseconds: nothing is cut off on a busy machine.
const DEADLINE_MS: u64 = 5_000;

/// Arguments of `policy test`.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag that is typed"
)]
#[derive(Debug, Args)]
#[command(after_help = "\
docs/cases.md describes how cases are written.

  dbmedic policy test mine.wasm
  dbmedic policy test mine.wasm --only 'lock*' --watch
  dbmedic policy test mine.wasm --coverage --min-rules 90 --junit report.xml
  dbmedic policy test mine.wasm --capture INC-3 --recording today.jsonl -o mine.tests/inc-3.toml")]
pub(crate) struct TestArgs {
    /// The policy component, or `built-in` or `built-in:rules`
    #[arg(required_unless_present = "schema")]
    policy: Option<PathBuf>,
    /// Files of cases, or folders of them (default: what it carries, and the folder NAME.tests)
    cases: Vec<PathBuf>,
    /// Only cases whose name has this in it; `*` stands for anything. May be given several times
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Cases that run at the same time (default: one for each processor)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Print the whole result as JSON
    #[arg(long)]
    json: bool,
    /// Write the result as XML for build servers, in the format of junit, as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Show what of the policy the cases show: rules, answers, bounds of parameters
    #[arg(long)]
    coverage: bool,
    /// Fail when fewer of the known rules spoke, percent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    min_rules: Option<f64>,
    /// Run again whenever the policy or a case changes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["update", "capture", "schema"])]
    watch: bool,
    /// Show which expectations are not as the policy answers, and rewrite them
    #[arg(long, conflicts_with_all = ["capture", "schema", "coverage", "min_rules", "junit"])]
    update: bool,
    /// Move parameters and facts by the least that counts, and show what no case notices
    #[arg(long, conflicts_with_all = ["update", "capture", "schema", "watch", "coverage", "min_rules", "junit"])]
    mutate: bool,
    /// Rewrite without asking
    #[arg(long, requires = "update")]
    yes: bool,
    #[command(flatten)]
    capture: capture::CaptureArgs,
    /// Print the format of cases as JSON Schema, for editors
    #[arg(long, conflicts_with = "capture")]
    schema: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "write a number from 0 to 100")?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err("write a number from 0 to 100".into())
    }
}

pub(super) fn run(args: &TestArgs) -> Ended {
    if args.schema {
        let schema = serde_json::to_string_pretty(&policy_tests::schema())?;
        schema.lines().try_for_each(say)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(path) = &args.policy else {
        bail!("name a policy component");
    };
    if args.capture.incident().is_some() {
        return capture::run(&args.capture, path);
    }
    if args.watch {
        return watch::run(args, path);
    }
    once(args, path)
}

/// Runs the cases once.
fn once(args: &TestArgs, path: &Path) -> Ended {
    let (policy, files) = load_all(args, path)?;
    let cases = chosen(args, &files)?;
    if args.update {
        return update::run(&policy, &cases, args.yes);
    }
    if args.mutate {
        return mutate::run(&policy, &cases, args.json);
    }
    let order = Order {
        time: None,
        hands: Some(hands(args.jobs)),
    };
    let mut seen = Seen::default();
    let report = policy_tests::run_some(&policy, &cases, order, &mut |_, _, of_case| {
        seen.merge(of_case);
    });
    let coverage =
        (args.coverage || args.min_rules.is_some()).then(|| coverage::of(&policy, &cases, &seen));
    if let Some(file) = &args.junit {
        super::write_whole(file, junit::xml(policy.name(), &report).as_bytes())?;
    }
    if args.json {
        say_json(&coverage::WithCoverage {
            report: &report,
            coverage: coverage.as_ref(),
        })?;
    } else {
        tell::report(&report)?;
        if let Some(coverage) = &coverage {
            coverage::tell(coverage)?;
        }
    }
    complain(&format!(
        "{} passed, {} failed",
        report.passed, report.failed
    ));
    let few_rules = coverage::too_few_rules(args.min_rules, coverage.as_ref());
    if let Some(few) = &few_rules {
        complain(few);
    }
    Ok(if report.failed == 0 && few_rules.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How many cases run at the same time.
fn hands(jobs: Option<u16>) -> usize {
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    jobs.map_or_else(processors, usize::from)
}

/// The policy, and the cases that were named or are its own.
fn load_all(args: &TestArgs, path: &Path) -> anyhow::Result<(Policy, Vec<CaseFile>)> {
    let (policy, bytes) = load(path)?;
    let files = if args.cases.is_empty() {
        own_cases(path, &bytes)
    } else {
        policy_tests::from_paths(&args.cases)
    };
    let files = files.map_err(readable)?;
    if files.is_empty() {
        bail!(
            "{} carries no test cases, and there are none in {}; name some",
            path.display(),
            path.with_extension("tests").display()
        );
    }
    Ok((policy, files))
}

/// The cases whose names are wanted.
fn chosen<'a>(
    args: &TestArgs,
    files: &'a [CaseFile],
) -> anyhow::Result<Vec<(&'a CaseFile, &'a Case)>> {
    let all = files.iter();
    let all = all.flat_map(|file| file.cases.iter().map(move |case| (file, case)));
    let is_wanted = |(_, case): &(&CaseFile, &Case)| {
        args.only.is_empty() || args.only.iter().any(|only| matches(only, &case.name))
    };
    let chosen: Vec<_> = all.filter(is_wanted).collect();
    if chosen.is_empty() {
        bail!("no case is called like \"{}\"", args.only.join("\" or \""));
    }
    Ok(chosen)
}

/// Whether a name has a pattern in it: its pieces between `*`, in their order. Upper and lower case are
/// the same.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let mut rest = name.as_str();
    pattern.split('*').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

/// A policy as it is, with the parameters' defaults, and its bytes.
pub(super) fn load(path: &Path) -> anyhow::Result<(Policy, Vec<u8>)> {
    let bytes = super::read(path)?;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let runtime = Runtime::new(Limits {
        deadline_ms: DEADLINE_MS,
        start_deadline_ms: 60_000,
        max_instances: u32::try_from(2 * processors).unwrap_or(64).clamp(8, 64),
        ..Limits::default()
    })
    .context("starting the policy runtime")?;
    let cache = compiled_cache();
    let policy = runtime
        .compile(&Verified::unsigned(bytes.clone()), cache.as_ref())
        .and_then(|compiled| compiled.configure(&[]))
        .with_context(|| format!("loading {}", path.display()))?;
    Ok((policy, bytes))
}

/// Where this user's compiled policies are kept between two runs; none where there is no such place.
fn compiled_cache() -> Option<CompiledCache> {
    let named = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
    };
    let dir = if is_root() {
        PathBuf::from("/var/cache/dbmedic")
    } else {
        let home = || Some(named("HOME")?.join(".cache"));
        named("XDG_CACHE_HOME").or_else(home)?.join("dbmedic")
    };
    // Without it the component is compiled again: that costs time, nothing else.
    CompiledCache::open(&dir.join("compiled"), CacheLimits::default()).ok()
}

/// Mistakes in cases, as such: each has lines of its own.
pub(super) fn readable(error: CasesError) -> anyhow::Error {
    match error {
        CasesError::Mistakes(mistakes) => mistakes.into(),
        other => other.into(),
    }
}

/// What a component carries, and what lies beside it.
fn own_cases(path: &Path, bytes: &[u8]) -> Result<Vec<CaseFile>, CasesError> {
    let mut files = policy_tests::carried(bytes)?;
    files.extend(policy_tests::beside(path)?);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_is_found_within_a_name() {
        for (pattern, is_found) in [
            ("lock", true),
            ("LOCK", true),
            ("stale*ended", true),
            ("ended*stale", false),
            ("*", true),
            ("", true),
            ("wal", false),
        ] {
            let name = "a stale lock of a lone holder is ended";
            assert_eq!(matches(pattern, name), is_found, "{pattern}");
        }
    }
}
