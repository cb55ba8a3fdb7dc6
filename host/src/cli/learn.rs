//! `learn`: what the abnormal rows of some runs, or some incidents, have in common becomes a
//! signature.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::episode::{Rows, Table};
use super::recorded_incident;
use super::table::ReadArgs;
use super::{Ended, complain, say, say_json};
use crate::signature::{Deviations, Signature};
use crate::signature_dir::SignatureDir;

/// Strength from which on a metric moved at all.
const MOVED: f64 = 0.5;

/// Metrics that are told of a signature.
const TOLD: usize = 6;

/// Arguments of `learn`.
#[derive(Debug, Args)]
#[command(after_help = "\
The abnormal rows are compared with the rows right before them in the same run, so that load and machine do
not matter. The signature is kept as DIR/NAME.toml, made to be read; learning the same NAME again refines it.
An incident of a recording is learned from as it stands there: its looks from the first sight of it to its end.

  dbmedic learn lock-storm --from monday.csv --rows 120..150 --from friday.csv --rows 64..80
  dbmedic learn lock-storm --recording today.jsonl --incident INC-3")]
pub(crate) struct LearnArgs {
    /// The trouble's name: letters, digits, `_`, `-` and `.`
    name: String,
    /// A table of a run in which the trouble happened; may be given several times; `-` reads
    /// standard input
    #[arg(long, value_name = "FILE", required_unless_present = "recording")]
    from: Vec<PathBuf>,
    /// The abnormal rows of that table: the first and the last, counted from 0; one for each --from,
    /// in the same order
    #[arg(long, value_name = "A..B", required_unless_present = "recording")]
    rows: Vec<Rows>,
    /// A recording, of `run --record` or `import`, that holds an incident of this trouble; may be
    /// given several times
    #[arg(long, value_name = "REC", requires = "incident")]
    recording: Vec<PathBuf>,
    /// The incident of that recording; one for each --recording, in the same order
    #[arg(long, value_name = "INC-N", requires = "recording")]
    incident: Vec<String>,
    /// Where signatures are kept
    #[arg(long, value_name = "DIR", default_value = "signatures")]
    signatures: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was learned, for `--json`.
#[derive(Debug, Serialize)]
struct Learned<'a> {
    v: u32,
    name: &'a str,
    file: String,
    /// Episodes learned now.
    more: usize,
    /// Episodes in all.
    episodes: u32,
    strongest: Vec<Moved<'a>>,
}

#[derive(Debug, Serialize)]
struct Moved<'a> {
    metric: &'a str,
    strength: f64,
    spread: f64,
}

pub(crate) fn run(args: &LearnArgs) -> Ended {
    if args.from.len() != args.rows.len() {
        bail!(
            "{} tables and {} ranges of rows: give one --rows for each --from, in the same order",
            args.from.len(),
            args.rows.len()
        );
    }
    if args.recording.len() != args.incident.len() {
        bail!(
            "{} recordings and {} incidents: give one --incident for each --recording, in the same order",
            args.recording.len(),
            args.incident.len()
        );
    }
    // The ranges of one table are read together: one is not normal for the other.
    let mut tables: BTreeMap<&PathBuf, Vec<Rows>> = BTreeMap::new();
    for (file, rows) in args.from.iter().zip(&args.rows) {
        tables.entry(file).or_default().push(*rows);
    }
    let mut episodes = Vec::new();
    for (file, ranges) in tables {
        let table = Table::new(file, args.read.options())?;
        for (episode, rows) in table.deviations(&ranges)?.into_iter().zip(&ranges) {
            doubt(
                &episode,
                &format!("{}: nothing moved in rows {rows}", table.name()),
            );
            episodes.push(episode);
        }
    }
    for (recording, incident) in args.recording.iter().zip(&args.incident) {
        let episode = recorded_incident::deviations(recording, incident)?;
        let place = recording.display();
        doubt(&episode, &format!("{place}: nothing moved in {incident}"));
        episodes.push(episode);
    }
    let dir = SignatureDir::at(&args.signatures);
    let signature = dir.learn(&args.name, &episodes)?;
    let file = dir.file(&args.name).display().to_string();
    let strongest = strongest(&signature);
    if args.json {
        say_json(&Learned {
            v: 1,
            name: &signature.name,
            file,
            more: episodes.len(),
            episodes: signature.episodes,
            strongest,
        })?;
    } else {
        let told: Vec<String> = strongest
            .iter()
            .map(|m| format!("{} {} {:.1}", m.metric, way(m.strength), m.strength.abs()))
            .collect();
        say(&format!(
            "{file}: learned from {} more, {} in all: {}",
            plural(episodes.len()),
            plural(signature.episodes as usize),
            told.join(", ")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells when nothing moved in an episode.
fn doubt(episode: &Deviations, told: &str) {
    if !episode.iter().any(|(_, strength)| strength.abs() >= MOVED) {
        complain(&format!("note: {told}; is this the trouble?"));
    }
}

/// The signatures of a directory that can be read; what cannot is told.
pub(super) fn learned_in(dir: &Path) -> Vec<Signature> {
    let known = SignatureDir::at(dir).load();
    for error in &known.left_out {
        complain(&format!("note: a signature is left out: {error}"));
    }
    known.signatures
}

/// What tells a signature best: strong, and about as strong each time.
fn strongest(signature: &Signature) -> Vec<Moved<'_>> {
    let mut all: Vec<Moved<'_>> = signature
        .metrics
        .iter()
        .map(|(metric, m)| Moved {
            metric,
            strength: m.strength,
            spread: m.spread,
        })
        .filter(|m| m.strength.abs() >= MOVED)
        .collect();
    let weight = |m: &Moved<'_>| m.strength.abs() / (m.spread + MOVED);
    all.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    all.truncate(TOLD);
    all
}

fn plural(episodes: usize) -> String {
    match episodes {
        1 => "1 episode".into(),
        n => format!("{n} episodes"),
    }
}

/// Which way a metric moved.
pub(crate) fn way(strength: f64) -> &'static str {
    if strength < 0.0 { "down" } else { "up" }
}
