//! `policy diff`: what another policy, or other parameters, would have decided.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;

use super::replay::{chain, skipped};
use super::show::essence;
use crate::assemble::merge_settings;
use crate::cli::progress::ProgressLine;
use crate::cli::{Ended, complain, say, say_json};
use crate::decision_log::{Diffed, Sides, diff, newest_begin, patient};
use crate::model::Setting;
use crate::pipeline::DEFAULT_POLICY;
use crate::policy::{Policy, Runtime};
use crate::signing::Verified;

/// Arguments of `policy diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The policy as it was: a component, or `built-in` or `built-in:rules`
    old: PathBuf,
    /// The policy as it may be: a component, or `built-in` or `built-in:rules`; the same one to try parameters
    new: PathBuf,
    /// The directory of a decision log, or one file of it
    #[arg(long, value_name = "LOG")]
    log: PathBuf,
    /// Only decisions of the policy with this name in the configuration
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Set a parameter of the new policy; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE|NAME=@FILE")]
    set: Vec<String>,
    /// Set a parameter of the old policy; may be given several times
    #[arg(long, value_name = "NAME=VALUE|NAME=@FILE")]
    old_set: Vec<String>,
    /// Print the whole result as JSON
    #[arg(long)]
    json: bool,
}

/// What `policy diff --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    old: Side<'a>,
    new: Side<'a>,
    #[serde(flatten)]
    diffed: &'a Diffed,
}

#[derive(Serialize)]
struct Side<'a> {
    name: &'a str,
    version: &'a str,
    digest: &'a str,
    settings: &'a [Setting],
}

pub(super) fn run(args: &DiffArgs) -> Ended {
    let begin = newest_begin(&args.log)?;
    let name = args.name.as_deref().unwrap_or(DEFAULT_POLICY);
    let in_force = begin.parameters.get(name).cloned().unwrap_or_default();
    let runtime =
        Runtime::new(patient(begin.limits_of(name))).context("starting the policy runtime")?;
    let (old, old_settings) = load(&runtime, &args.old, &in_force, &args.old_set)?;
    let (new, new_settings) = load(&runtime, &args.new, &in_force, &args.set)?;
    if old.digest() == new.digest() && old.settings() == new.settings() {
        bail!(
            "both sides are the same policy with the same parameters; name another, or --set one"
        );
    }
    let sides = Sides {
        old: &old,
        new: &new,
        of: args.name.as_deref(),
    };
    let mut line = ProgressLine::new();
    let diffed = diff(&args.log, &sides, &mut |progress| {
        line.decisions(&progress);
    })?;
    let comparison = &diffed.comparison;
    let rate = line.end(comparison.decisions);
    if args.json {
        let side = |policy: &'_ Policy| policy.identity();
        let (old_id, new_id) = (side(&old), side(&new));
        say_json(&Report {
            old: Side {
                name: &old_id.name,
                version: &old_id.version,
                digest: &old_id.digest,
                settings: &old_settings,
            },
            new: Side {
                name: &new_id.name,
                version: &new_id.version,
                digest: &new_id.digest,
                settings: &new_settings,
            },
            diffed: &diffed,
        })?;
    } else {
        tell(&diffed)?;
    }
    complain(&format!(
        "{} decisions by {} {} and {} {}, {rate} a second; {} differ",
        comparison.decisions,
        old.name(),
        old.version(),
        new.name(),
        new.version(),
        comparison.differences,
    ));
    if !diffed.chain.holds() {
        return Ok(ExitCode::FAILURE);
    }
    if comparison.decisions == 0 {
        bail!("nothing was compared: {}", why_nothing(args, &diffed));
    }
    Ok(if diffed.agrees() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn why_nothing(args: &DiffArgs, diffed: &Diffed) -> String {
    let names: Vec<_> = diffed
        .names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    match &args.name {
        _ if names.is_empty() => "there is no decision in the log".into(),
        Some(name) if !diffed.names.contains(name) => format!(
            "the log has no decision by `{name}`; it has decisions by {}",
            names.join(", ")
        ),
        _ => "every decision was left out".into(),
    }
}

/// A policy with the parameters that were in force as far as it knows them, and with what was typed.
fn load(
    runtime: &Runtime,
    path: &Path,
    in_force: &[Setting],
    typed: &[String],
) -> anyhow::Result<(Policy, Vec<Setting>)> {
    let component = Verified::unsigned(super::read(path)?);
    let compiled = runtime
        .compile(&component, None)
        .with_context(|| format!("loading {}", path.display()))?;
    let parameters = &compiled.description().parameters;
    let (known, unknown): (Vec<_>, Vec<_>) = in_force
        .iter()
        .cloned()
        .partition(|setting| parameters.iter().any(|p| p.name == setting.name));
    for setting in unknown {
        complain(&format!(
            "{} has no parameter `{}`, which is set in the log; it is left out",
            path.display(),
            setting.name
        ));
    }
    let settings = merge_settings(known, typed)?;
    let policy = compiled
        .configure(&settings)
        .with_context(|| format!("the parameters of {}", path.display()))?;
    Ok((policy, settings))
}

fn tell(diffed: &Diffed) -> std::io::Result<()> {
    let comparison = &diffed.comparison;
    let changed = comparison
        .matrix
        .iter()
        .filter(|count| count.pair.present != count.pair.candidate);
    let rows: Vec<_> = changed
        .map(|count| {
            (
                count.decisions,
                essence(&count.pair.present),
                essence(&count.pair.candidate),
            )
        })
        .collect();
    if !rows.is_empty() {
        let wide = rows.iter().map(|(_, old, _)| old.chars().count()).max();
        let wide = wide.unwrap_or_default().max("old".len());
        say(&format!("decisions  {:<wide$}  new", "old"))?;
        for (decisions, old, new) in rows {
            say(&format!("{decisions:>9}  {old:<wide$}  {new}"))?;
        }
    }
    for (example, entry) in comparison.examples.iter().zip(&diffed.entries) {
        let because = example.because.as_deref().unwrap_or("no reason given");
        say(&format!(
            "entry {entry}: {} at {}, {}: {} → {}, because {because}",
            example.target,
            example.at_ms,
            example.about,
            essence(&example.pair.present),
            essence(&example.pair.candidate),
        ))?;
    }
    let more = comparison
        .differences
        .saturating_sub(comparison.examples.len() as u64);
    if more > 0 {
        say(&format!("and {more} more"))?;
    }
    let same = comparison.decisions - comparison.differences;
    say(&format!(
        "{same} decisions agree in class, level, repair and halt"
    ))?;
    let details = &diffed.details;
    let differing: BTreeMap<_, _> = [
        ("alerts", details.alerts),
        ("verbosity", details.verbosity),
        ("rules given as reasons", details.rules),
        ("suggestions", details.suggestions),
        ("memory", details.memory),
    ]
    .into_iter()
    .filter(|(_, decisions)| *decisions > 0)
    .collect();
    for (what, decisions) in differing {
        say(&format!("  {decisions} of them differ in {what}"))?;
    }
    if diffed.old_failures > 0 || diffed.new_failures > 0 {
        let first = comparison.first_failure.as_deref();
        say(&format!(
            "the old policy failed {} times, the new one {} times where the old one did not{}",
            diffed.old_failures,
            diffed.new_failures,
            first.map_or(String::new(), |first| format!(", first: {first}"))
        ))?;
    }
    if diffed.unheard > 0 {
        say(&format!(
            "{} decisions asked for telemetry that the log does not hold, and were told that there is \
             no such series",
            diffed.unheard
        ))?;
    }
    skipped(&diffed.skipped)?;
    chain(&diffed.chain)
}
