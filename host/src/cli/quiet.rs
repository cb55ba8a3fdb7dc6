//! `silence` and `maintenance`: times in which people are not called, or nothing is repaired.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::people::{AskerArgs, carried, give, lasting, needs_target, waiting};
use super::{Ended, StateArgs, complain, say, say_json};
use crate::clock::wall_ms;
use crate::command::Command;
use crate::model::{Maintenance, Silence, SilenceScope, utc};
use crate::pipeline::MOST_SILENCES;
use crate::state_dir::StateDir;

/// What can be done with silences.
#[derive(Debug, Subcommand)]
pub(crate) enum SilenceCommand {
    /// Withhold alerts for a time; what is withheld is counted
    Add(AddArgs),
    /// The silences in force
    List(ListArgs),
    /// Remove a silence
    Remove(RemoveArgs),
}

/// Which alerts are withheld.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ScopeArgs {
    /// Only alerts of this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only alerts about problems of this kind, or of this group: lock.stale-holder, or lock
    #[arg(long)]
    kind: Option<String>,
    /// Only alerts of this rule, for example `person_needed`
    #[arg(long)]
    rule: Option<String>,
}

/// Arguments of `silence add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// For how long, at most 30d: 30m, 2h, 7d
    #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
    lasting: Duration,
    /// Withhold alerts of crises and halts too
    #[arg(long)]
    crises: bool,
    #[command(flatten)]
    asker: AskerArgs,
    #[command(flatten)]
    state: StateArgs,
}

/// Arguments of `silence list` and `maintenance list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `silence remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The silence, for example SIL-3
    silence: String,
    #[command(flatten)]
    asker: AskerArgs,
    #[command(flatten)]
    state: StateArgs,
}

/// What can be done with maintenance windows.
#[derive(Debug, Subcommand)]
pub(crate) enum MaintenanceCommand {
    /// Open a maintenance window: no repair begins, and alerts but those of crises wait
    Start(StartArgs),
    /// Close the maintenance window that is open
    Stop(StopArgs),
    /// What is open, and what comes next
    List(ListArgs),
}

/// Arguments of `maintenance start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The target's name in the configuration
    target: String,
    /// For how long, at most 30d: 30m, 2h, 7d
    #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
    lasting: Duration,
    /// Let repairs begin meanwhile
    #[arg(long)]
    allow_repairs: bool,
    #[command(flatten)]
    asker: AskerArgs,
    #[command(flatten)]
    state: StateArgs,
}

/// Arguments of `maintenance stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The target's name in the configuration
    target: String,
    #[command(flatten)]
    asker: AskerArgs,
    #[command(flatten)]
    state: StateArgs,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn silence(command: &SilenceCommand) -> Ended {
    match command {
        SilenceCommand::Add(args) => add(args),
        SilenceCommand::List(args) => list_silences(args),
        SilenceCommand::Remove(args) => remove(args),
    }
}

fn add(args: &AddArgs) -> Ended {
    let state_dir = args.state.existing()?;
    if let Some(target) = &args.scope.target {
        needs_target(&state_dir, target)?;
    }
    if silences(&state_dir)?.len() >= MOST_SILENCES {
        bail!("{MOST_SILENCES} silences are in force, and no more are kept: remove one first");
    }
    let scope = SilenceScope {
        target: args.scope.target.clone(),
        kind: args.scope.kind.clone(),
        rule: args.scope.rule.clone(),
        crises: args.crises,
    };
    let command = Command::Silence {
        scope,
        for_ms: milliseconds(args.lasting),
    };
    give(&state_dir, &args.asker, command)
}

fn remove(args: &RemoveArgs) -> Ended {
    let state_dir = args.state.existing()?;
    let in_force = silences(&state_dir)?;
    if !in_force.iter().any(|silence| silence.id == args.silence) {
        bail!(
            "{}: no such silence is in force; `dbmedic silence list` shows them",
            args.silence
        );
    }
    let command = Command::RemoveSilence {
        silence: args.silence.clone(),
    };
    give(&state_dir, &args.asker, command)
}

/// The silences in force.
pub(super) fn silences(state_dir: &Path) -> anyhow::Result<Vec<Silence>> {
    let mut in_force = carried(state_dir)?.silences.in_force;
    // No run may have been there to see its end.
    let now_ms = wall_ms();
    in_force.retain(|silence| silence.ends_ms > now_ms);
    Ok(in_force)
}

/// A silence in one line.
pub(super) fn silence_line(silence: &Silence) -> String {
    format!(
        "{}: {} are withheld until {}, asked for{}; {} were withheld",
        silence.id,
        silence.scope,
        utc(silence.ends_ms),
        silence.said,
        silence.withheld
    )
}

fn list_silences(args: &ListArgs) -> Ended {
    let state_dir = args.state.existing()?;
    let in_force = silences(&state_dir)?;
    if args.json {
        say_json(&in_force)?;
        return Ok(ExitCode::SUCCESS);
    }
    for silence in &in_force {
        say(&silence_line(silence))?;
    }
    if in_force.is_empty() {
        complain("no silences");
    }
    tell_waiting(&state_dir)
}

/// Tells what no dbmedic has taken up yet.
fn tell_waiting(state_dir: &Path) -> Ended {
    for waiting in waiting(state_dir)? {
        complain(&format!(
            "waits for a dbmedic that runs: {}",
            waiting.request
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn maintenance(command: &MaintenanceCommand) -> Ended {
    match command {
        MaintenanceCommand::Start(args) => start(args),
        MaintenanceCommand::Stop(args) => stop(args),
        MaintenanceCommand::List(args) => list_maintenance(args),
    }
}

fn start(args: &StartArgs) -> Ended {
    let state_dir = args.state.existing()?;
    needs_target(&state_dir, &args.target)?;
    let command = Command::StartMaintenance {
        target: args.target.clone(),
        for_ms: milliseconds(args.lasting),
        allow_repairs: args.allow_repairs,
    };
    give(&state_dir, &args.asker, command)
}

fn stop(args: &StopArgs) -> Ended {
    let state_dir = args.state.existing()?;
    needs_target(&state_dir, &args.target)?;
    let is_open = windows(&state_dir)?
        .get(&args.target)
        .is_some_and(|of| of.open.is_some());
    let starts = |command: &Command| matches!(command, Command::StartMaintenance { target, .. } if *target == args.target);
    let waiting = waiting(&state_dir)?;
    if !is_open && !waiting.iter().any(|one| starts(&one.request.command)) {
        bail!("{}: no maintenance window is open", args.target);
    }
    let command = Command::StopMaintenance {
        target: args.target.clone(),
    };
    give(&state_dir, &args.asker, command)
}

/// The maintenance of each target that has any: what the latest run wrote, and what people opened.
fn windows(state_dir: &Path) -> anyhow::Result<BTreeMap<String, Maintenance>> {
    let now_ms = wall_ms();
    let health = StateDir::load_health(state_dir)?.unwrap_or_default();
    let of_run = health.targets.into_iter();
    let mut all: BTreeMap<_, _> = of_run.map(|(name, of)| (name, of.maintenance)).collect();
    for (name, carried) in carried(state_dir)?.targets {
        if let Some(window) = carried.maintenance.commanded {
            all.entry(name).or_default().open.get_or_insert(window);
        }
    }
    for of in all.values_mut() {
        of.open = of.open.take().filter(|window| window.ends_ms > now_ms);
        of.next = of.next.take().filter(|window| window.ends_ms > now_ms);
    }
    all.retain(|_, of| !of.is_none());
    Ok(all)
}

fn list_maintenance(args: &ListArgs) -> Ended {
    let state_dir = args.state.existing()?;
    let all = windows(&state_dir)?;
    if args.json {
        say_json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (target, of) in &all {
        if let Some(open) = &of.open {
            let repairs = if open.allow_repairs {
                "repairs are allowed"
            } else {
                "no repair begins"
            };
            say(&format!("{target}: {open}; {repairs}"))?;
        }
        if let Some(next) = &of.next {
            let (begins, ends) = (utc(next.begins_ms), utc(next.ends_ms));
            say(&format!(
                "{target}: next from {begins} until {ends} ({})",
                next.name
            ))?;
        }
    }
    if all.is_empty() {
        complain("no maintenance");
    }
    tell_waiting(&state_dir)
}
