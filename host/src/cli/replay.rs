//! `replay`: a recording through the same pipeline.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Ended, PolicyArgs, complain, say, say_json};
use crate::assemble::{load_policy, merge_settings};
use crate::pipeline::{Effect, Event};
use crate::recording::RecordingReader;
use crate::replay::replay;
use crate::report::Narrator;

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The recording
    recording: PathBuf,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print one line of JSON for each event that had effects
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    effects: &'a [Effect],
}

pub(crate) fn run(args: &ReplayArgs) -> Ended {
    let recording = RecordingReader::open(&args.recording)?;
    let header = recording.header().clone();
    let settings = merge_settings(header.settings.clone(), &args.policy.set)?;
    let policy = load_policy(
        args.policy.policy.as_deref(),
        header.limits.clone(),
        &settings,
    )?;
    let same_policy = policy.digest() == header.policy.digest && settings == header.settings;
    if !same_policy {
        complain(&format!(
            "replaying with {} {}; recorded was {} {}",
            policy.name(),
            policy.version(),
            header.policy.name,
            header.policy.version
        ));
    }
    let mut narrator = Narrator::new(header.started_ms);
    let summary = replay(recording, policy, |event: &Event, effects: &[Effect]| {
        let at_ms = event.at_ms();
        if args.json {
            if !effects.is_empty() {
                say_json(&Line { at_ms, effects })?;
            }
            return Ok(());
        }
        for effect in effects {
            for line in narrator.tell(at_ms, effect) {
                say(&line)?;
            }
        }
        anyhow::Ok(())
    })?;
    complain(&format!(
        "{} events, {} decisions",
        summary.events, summary.decisions
    ));
    let Some(first) = summary.first_difference else {
        complain("every effect is as recorded, byte for byte");
        return Ok(ExitCode::SUCCESS);
    };
    complain(&format!(
        "{} events had other effects than recorded, the first is event {first}",
        summary.differing_events
    ));
    Ok(if same_policy {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
