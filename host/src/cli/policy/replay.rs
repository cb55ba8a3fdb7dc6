//! `policy replay`: every decision of a log, made again and compared byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::assemble::{DEFAULT_POLICY as DEFAULT_COMPONENT, RULES_POLICY};
use crate::cli::progress::ProgressLine;
use crate::cli::{Ended, complain, say, say_json};
use crate::decision_log::{Chain, Replayed, Skipped, replay};
use crate::gate::Components;
use crate::signing::Verified;

/// Arguments of `policy replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The directory of a decision log, or one file of it
    log: PathBuf,
    /// A component that may have decided; may be given several times
    #[arg(long, value_name = "FILE.wasm")]
    policy: Vec<PathBuf>,
    /// The state directory of the run, where the components are kept (default: where the log is)
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print the whole result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReplayArgs) -> Ended {
    let mut at_hand = vec![
        Verified::built_in(DEFAULT_COMPONENT),
        Verified::built_in(RULES_POLICY),
    ];
    for path in &args.policy {
        at_hand.push(Verified::unsigned(super::read(path)?));
    }
    let state_dir = args.state_dir.clone().or_else(|| beside(&args.log));
    let store = state_dir.map(|dir| Components::at(&dir)).transpose()?;
    let component = |digest: &str| {
        if let Some(known) = at_hand.iter().find(|known| known.digest() == digest) {
            return Some(known.clone());
        }
        // A replay decides about no database: nobody has to vouch for what was in service once.
        match store.as_ref()?.read_component(digest) {
            Ok(kept) => Some(Verified::unsigned_hashed(kept?)),
            Err(error) => {
                complain(&format!("warning: {error}"));
                None
            }
        }
    };
    let mut line = ProgressLine::new();
    let replayed = replay(&args.log, &component, &mut |progress| {
        line.decisions(&progress);
    })?;
    let rate = line.end(replayed.decisions);
    if args.json {
        say_json(&replayed)?;
    } else {
        tell(&replayed)?;
    }
    if replayed.is_empty() {
        bail!(
            "nothing was replayed: there is no decision in the log that the clock or the load did not end"
        );
    }
    complain(&format!(
        "{} decisions, {rate} a second; {}",
        replayed.decisions,
        if replayed.reproduced() {
            "each came out as it stands in the log, byte for byte"
        } else {
            "NOT reproduced"
        }
    ));
    Ok(if replayed.reproduced() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The state directory that a log lies in, if it lies where it does by default.
fn beside(log: &Path) -> Option<PathBuf> {
    let log = fs::canonicalize(log).ok()?;
    let directory = if log.is_dir() { &log } else { log.parent()? };
    let state_dir = directory.parent()?;
    state_dir
        .join("policies")
        .is_dir()
        .then(|| state_dir.to_owned())
}

fn tell(replayed: &Replayed) -> std::io::Result<()> {
    for difference in &replayed.differences {
        say(&format!(
            "entry {}: {} at {}, {}: the answer differs at byte {}",
            difference.entry,
            difference.target,
            difference.at_ms,
            difference.about,
            difference.offset
        ))?;
        say(&format!("  recorded {}", difference.recorded))?;
        say(&format!("  now      {}", difference.now))?;
    }
    let told = replayed.differences.len() as u64;
    if replayed.different > told {
        let more = replayed.different - told;
        say(&format!("{more} more decisions came out otherwise"))?;
    }
    for (digest, absent) in &replayed.absent {
        let called = absent.called.as_deref().unwrap_or("a policy");
        let why = absent.why.as_deref().unwrap_or(
            "it is not at hand; name its file with --policy, or the state directory with --state-dir",
        );
        say(&format!(
            "{} decisions of {called} (SHA-256 {digest}) were not made again: {why}",
            absent.decisions
        ))?;
    }
    skipped(&replayed.skipped)?;
    chain(&replayed.chain)
}

/// What was left out, but for absent components, which are told one by one.
pub(super) fn skipped(skipped: &std::collections::BTreeMap<Skipped, u64>) -> std::io::Result<()> {
    for (why, decisions) in skipped {
        let why = match why {
            Skipped::ComponentAbsent => continue,
            Skipped::ByMachine => {
                "the clock or the load ended them, which says nothing of the policy"
            }
            Skipped::SettingsAbsent => "their settings do not stand in the log",
            Skipped::TelemetryCut => "they read more telemetry than the log holds",
            Skipped::Unreadable => "they cannot be understood",
        };
        say(&format!("{decisions} decisions were left out: {why}"))?;
    }
    Ok(())
}

/// How the chain is.
pub(super) fn chain(chain: &Chain) -> std::io::Result<()> {
    for fault in &chain.faults {
        say(&format!("chain broken: {fault}"))?;
    }
    let told = chain.faults.len() as u64;
    if chain.fault_count > told {
        say(&format!("{} more faults", chain.fault_count - told))?;
    }
    if chain.torn_end {
        say("the last line is half written, as a kill leaves it")?;
    }
    if chain.dropped > 0 {
        let dropped = chain.dropped;
        say(&format!(
            "{dropped} older decisions made way; crises stayed"
        ))?;
    }
    if chain.lost > 0 {
        let (lost, crises) = (chain.lost, chain.lost_crises);
        say(&format!(
            "{lost} decisions could not be written when they were made, {crises} of them crises"
        ))?;
    }
    if chain.gone > 0 {
        let gone = chain.gone;
        say(&format!(
            "{gone} lines that were on disk once were gone when dbmedic started again"
        ))?;
    }
    if chain.holds() {
        say(&format!("the chain of {} lines holds", chain.lines))?;
    }
    Ok(())
}
