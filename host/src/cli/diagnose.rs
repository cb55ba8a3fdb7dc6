//! `diagnose`: which known trouble the abnormal rows of a table look like.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::episode::{Rows, Table};
use super::learn::{learned_in, way};
use super::table::ReadArgs;
use super::{Ended, complain, say, say_json};
use crate::detect::{DetectOptions, Detector};
use crate::signature::{Deviations, Match, Ranking, Signatures};

/// Confidence below which a signature is not worth a line.
const WORTH_A_LINE: f64 = 0.005;

/// Signatures that are shown at least.
const SHOWN: usize = 3;

/// Arguments of `diagnose`.
#[derive(Debug, Args)]
#[command(after_help = "\
The abnormal rows are compared with the rows right before them in the same run. Shown are all signatures that
are in question, the likeliest first, each with the probability that it is this one; below a probability of one half
the diagnosis is \"none of these\". Learned signatures come before built-in ones.

Exit code: 0 when the rows were judged, 1 when that was not possible.")]
pub(crate) struct DiagnoseArgs {
    /// The table: CSV with a header, compressed with gzip or not; `-` reads standard input
    file: PathBuf,
    /// The abnormal rows: the first and the last, counted from 0 (default: each anomaly that
    /// detection finds)
    #[arg(long, value_name = "A..B")]
    rows: Option<Rows>,
    /// Where learned signatures are kept
    #[arg(long, value_name = "DIR", default_value = "signatures")]
    signatures: PathBuf,
    /// Compare with learned signatures only
    #[arg(long)]
    no_built_in: bool,
    #[command(flatten)]
    read: ReadArgs,
    /// Print JSON, one line for each anomaly
    #[arg(long)]
    json: bool,
}

/// The judgement on one range of rows, for `--json`.
#[derive(Debug, Serialize)]
struct Diagnosed<'a> {
    v: u32,
    file: String,
    /// First and last abnormal row; none when no anomaly was found.
    rows: Option<Rows>,
    /// The signature that fits; none when none does.
    diagnosis: Option<&'a str>,
    confidence: Option<f64>,
    /// The probability that it is none of them.
    none: f64,
    ranking: &'a [Match],
}

pub(crate) fn run(args: &DiagnoseArgs) -> Ended {
    let mut signatures = Signatures::new(learned_in(&args.signatures));
    if args.no_built_in {
        signatures = signatures.without_built_in();
    }
    let table = Table::new(&args.file, args.read.options())?;
    let anomalies = match args.rows {
        Some(rows) => vec![rows],
        None => detected(&table)?,
    };
    if anomalies.is_empty() {
        tell(args, &table, None, &signatures.rank(&Deviations::default()))?;
    }
    let episodes = table.deviations(&anomalies)?;
    for (rows, seen) in anomalies.iter().zip(&episodes) {
        tell(args, &table, Some(*rows), &signatures.rank(seen))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The rows of each anomaly that detection finds.
fn detected(table: &Table) -> anyhow::Result<Vec<Rows>> {
    let mut reader = table.open()?;
    let mut detector = Detector::new(DetectOptions::default());
    let ids: Vec<Option<usize>> = reader
        .metrics()
        .iter()
        .map(|name| detector.series(name))
        .collect();
    let mut values = vec![None; ids.iter().flatten().count()];
    let mut anomalies: Vec<Rows> = Vec::new();
    let mut established = false;
    let mut lasts = false;
    while let Some(row) = reader.next_row()? {
        for (id, value) in ids.iter().zip(row.values) {
            if let Some(id) = id {
                values[*id] = *value;
            }
        }
        let judged = detector.step(row.at_ms, &values);
        established |= judged.established;
        let here = row.index;
        match anomalies.last_mut() {
            Some(rows) if judged.alarm && lasts && !judged.onset => rows.last = here,
            _ if judged.alarm => anomalies.push(Rows {
                first: here,
                last: here,
            }),
            _ => {}
        }
        lasts = judged.alarm;
    }
    if !established {
        complain(&format!(
            "{}: too few rows to say what is normal; `--rows A..B` says which are abnormal",
            table.name()
        ));
    }
    Ok(anomalies)
}

fn tell(
    args: &DiagnoseArgs,
    table: &Table,
    rows: Option<Rows>,
    ranking: &Ranking,
) -> anyhow::Result<()> {
    let best = ranking.diagnosis().filter(|_| rows.is_some());
    if args.json {
        return say_json(&Diagnosed {
            v: 1,
            file: table.name(),
            rows,
            diagnosis: best.map(|m| m.name.as_str()),
            confidence: best.map(|m| m.confidence),
            none: ranking.none,
            ranking: if rows.is_some() {
                &ranking.matches
            } else {
                &[]
            },
        });
    }
    let Some(rows) = rows else {
        say(&format!("{}: no anomaly", table.name()))?;
        return Ok(());
    };
    let diagnosis = best.map_or("none of these".to_owned(), |m| {
        format!("{} ({})", m.name, percent(m.confidence))
    });
    say(&format!("{} rows {rows}: {diagnosis}", table.name()))?;
    for (place, one) in ranking.matches.iter().enumerate() {
        if place >= SHOWN && one.confidence < WORTH_A_LINE {
            break;
        }
        let why: Vec<String> = one
            .evidence
            .iter()
            .map(|e| format!("{} {} {:.1}", e.metric, way(e.strength), e.strength.abs()))
            .collect();
        let line = format!(
            "  {:>5}  {:24} {}",
            percent(one.confidence),
            one.name,
            why.join(", ")
        );
        say(line.trim_end())?;
    }
    say(&format!("  {:>5}  none of these", percent(ranking.none)))?;
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
