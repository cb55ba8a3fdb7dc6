//! `status`: how healthy the targets of a run are, from what it keeps in its state directory.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::quiet::{silence_line, silences};
use super::{Ended, StateArgs, complain, say, say_json};
use crate::clock::wall_ms;
use crate::health::{CheckKind, CheckReport, Health, Status};
use crate::model::Silence;
use crate::report::ago;
use crate::state_dir::{HealthOfTargets, StateDir};
use crate::store::Store;

/// What is shown: what a run keeps of its targets, and the silences in force.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    health: &'a HealthOfTargets,
    #[serde(skip_serializing_if = "<[Silence]>::is_empty")]
    silences: &'a [Silence],
}

/// Between two looks with `--watch`.
const PAUSE: Duration = Duration::from_secs(1);
/// Clears a terminal, and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this target
    target: Option<String>,
    #[command(flatten)]
    state: StateArgs,
    /// Show it anew each second, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatusArgs) -> Ended {
    let state_dir = args.state.existing()?;
    loop {
        let Some(mut health) = StateDir::load_health(&state_dir)? else {
            bail!(
                "{}: no run has looked at a target yet; `dbmedic run` begins one",
                state_dir.display()
            );
        };
        if let Some(target) = &args.target {
            if !health.targets.contains_key(target) {
                bail!("{target}: no such target in {}", state_dir.display());
            }
            health.targets.retain(|name, _| name == target);
            health.checks.retain(|name, _| name == target);
        }
        let mut silences = silences(&state_dir)?;
        silences.retain(|silence| {
            let of = (args.target.as_ref(), silence.scope.target.as_ref());
            matches!(of, (None, _) | (_, None)) || of.0 == of.1
        });
        let is_running = Store::is_in_use(&state_dir);
        if args.json {
            say_json(&Shown {
                health: &health,
                silences: &silences,
            })?;
            return Ok(code(&health, is_running));
        }
        if args.watch && std::io::stdout().is_terminal() {
            let mut out = std::io::stdout().lock();
            write!(out, "{CLEAR}")?;
        }
        let silences = silences.iter().map(silence_line);
        for line in lines(&health, wall_ms()).into_iter().chain(silences) {
            say(&line)?;
        }
        if !is_running {
            complain(&format!(
                "no dbmedic runs with {}: this was so {}",
                state_dir.display(),
                ago(wall_ms().saturating_sub(health.written_ms))
            ));
        }
        if !args.watch {
            return Ok(code(&health, is_running));
        }
        thread::sleep(PAUSE);
    }
}

/// Whether something is wrong: also that nobody watches.
fn code(health: &HealthOfTargets, is_running: bool) -> ExitCode {
    let is_well = |health: &Health| health.status < Status::Degraded;
    if is_running && health.targets.values().all(is_well) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn lines(health: &HealthOfTargets, now_ms: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let width = health.targets.keys().map(String::len).max().unwrap_or(0);
    for (target, of) in &health.targets {
        let checks = health.checks.get(target).map_or(&[][..], Vec::as_slice);
        lines.push(format!(
            "{target:<width$}  {}  {}; {}",
            of.status.name(),
            last(checks, CheckKind::Full, "full check", now_ms),
            last(checks, CheckKind::Snapshot, "snapshot", now_ms)
        ));
        for sign in &of.signs {
            lines.push(format!("  {}: {}", sign.subject, sign.reason));
        }
        lines.extend(of.notes.iter().map(|note| format!("  note: {note}")));
    }
    lines
}

fn last(checks: &[CheckReport], check: CheckKind, name: &str, now_ms: u64) -> String {
    match checks.iter().find(|report| report.check == check) {
        Some(report) => {
            let ended_ms = report.begun_ms.saturating_add(report.took_ms);
            format!(
                "{name} {} {}",
                report.state.name(),
                ago(now_ms.saturating_sub(ended_ms))
            )
        }
        None => format!("no {name} yet"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::health::{CheckState, Level, Sign, roll_up};

    fn report(check: CheckKind, state: CheckState) -> CheckReport {
        CheckReport {
            check,
            begun_ms: 1_000,
            took_ms: 1_000,
            state,
            notes: Vec::new(),
            proved: None,
        }
    }

    #[test]
    fn a_target_is_a_line_with_what_is_wrong_below() {
        let sign = Sign {
            level: Level::System,
            subject: "INC-2".into(),
            status: Status::Unhealthy,
            reason: "table.corrupt: orders".into(),
        };
        let mut sick = roll_up(vec![sign]);
        sick.notes = vec!["12 free pages".into()];
        let health = HealthOfTargets {
            written_ms: 5_000,
            targets: BTreeMap::from([("a".into(), Health::default()), ("shop".into(), sick)]),
            checks: BTreeMap::from([(
                "shop".into(),
                vec![
                    report(CheckKind::Full, CheckState::Failed("2 faults".into())),
                    report(CheckKind::Snapshot, CheckState::Passed),
                ],
            )]),
        };
        let expected = [
            "a     healthy  no full check yet; no snapshot yet",
            "shop  unhealthy  full check failed 60 s ago; snapshot passed 60 s ago",
            "  INC-2: table.corrupt: orders",
            "  note: 12 free pages",
        ];
        assert_eq!(lines(&health, 62_000), expected);
        assert_eq!(code(&health, true), ExitCode::FAILURE);
    }
}
