//! `recording`: shows what is in a recording, cuts pieces out, joins them, and takes names out.

mod anonymise;
mod rework;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Ended;
use super::history::parse_time;

/// What can be done with recordings.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordingCommand {
    /// Show what is in a recording: exit 0 whole, 1 damaged
    Show(ShowArgs),
    /// Write a part of a recording as a recording of its own; of a damaged one what is before the damage
    Cut(CutArgs),
    /// Write several recordings of the same configuration as one
    Join(JoinArgs),
    /// Write a recording without names: databases, tables, indexes, columns, processes, paths, people
    Anonymise(AnonymiseArgs),
}

/// Arguments of `recording show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The recording
    recording: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a recording is written to, and by which policies its effects are made.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// The recording to write; an existing file is not overwritten
    #[arg(short, long, value_name = "REC")]
    output: PathBuf,
    /// A component that decided; may be given several times (the built-in one is always at hand)
    #[arg(long, value_name = "FILE.wasm")]
    policy: Vec<PathBuf>,
}

/// Arguments of `recording cut`.
#[derive(Debug, Args)]
pub(crate) struct CutArgs {
    /// The recording
    recording: PathBuf,
    /// From this time after its beginning on: 90s, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "incident")]
    from: Option<Duration>,
    /// Up to this time after its beginning
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "incident")]
    until: Option<Duration>,
    /// From a minute before this incident to a minute after its end
    #[arg(long, value_name = "INC-3")]
    incident: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

/// Arguments of `recording join`.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The recordings, in the order of their times
    #[arg(required = true, num_args = 2..)]
    recordings: Vec<PathBuf>,
    #[command(flatten)]
    write: WriteArgs,
}

/// Arguments of `recording anonymise`.
#[derive(Debug, Args)]
pub(crate) struct AnonymiseArgs {
    /// The recording
    recording: PathBuf,
    #[command(flatten)]
    write: WriteArgs,
}

pub(crate) fn run(command: &RecordingCommand) -> Ended {
    match command {
        RecordingCommand::Show(args) => show::run(args),
        RecordingCommand::Cut(args) => rework::cut(args),
        RecordingCommand::Join(args) => rework::join(args),
        RecordingCommand::Anonymise(args) => anonymise::run(args),
    }
}
