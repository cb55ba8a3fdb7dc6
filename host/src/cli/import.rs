//! `import`: a table of telemetry becomes a recording.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use tempfile::TempPath;

use super::progress::ProgressLine;
use super::table::{TableArgs, tell_notes};
use super::{Ended, PolicyArgs, complain};
use crate::assemble::assemble_import;
use crate::config::Config;
use crate::pipeline::{Effect, Event, Pipeline};
use crate::recording::RecordingWriter;
use crate::source::{Observation, Sample, State};
use crate::table::Row;

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each row becomes a look at a target of which nothing but the numbers is known, with what the pipeline
and the policy made of it. `dbmedic replay` shows the verdicts, with this policy or another.

  dbmedic import metrics.csv -o metrics.rec
  dbmedic replay metrics.rec

Exit code: 0 when the recording is written, 2 when not; a recording is never left half written.")]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    table: TableArgs,
    /// The recording to write; an existing file is not overwritten
    #[arg(short, long, value_name = "REC")]
    output: PathBuf,
    /// What the target is called (default: the table's name)
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Take constraints, baseline and the policy's parameters from this config file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
}

pub(crate) fn run(args: &ImportArgs) -> Ended {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?.config,
        None => Config::default(),
    };
    args.policy.lay_over(&mut config)?;
    let target = args.target.clone().unwrap_or_else(|| args.table.name());
    let output = &args.output;
    if output.exists() {
        bail!("{} exists already; choose another name", output.display());
    }
    let mut table = args.table.open(|| Ok(()))?;
    let mut names = table.metrics().to_vec();
    let Some(first) = table.next_row()? else {
        bail!("the table has no rows: there is nothing to record");
    };
    let first = observation(&target, &first, &names);
    let (mut pipeline, header) = assemble_import(&config, &target, first.at_ms)?;

    // Written beside its place and put there whole.
    let dir = match output.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let scratch = tempfile::tempdir_in(dir)
        .with_context(|| format!("making a scratch directory in {}", dir.display()))?;
    let partial = scratch.path().join("recording");
    let mut recording = RecordingWriter::create(&partial, &header)?;
    let mut feed = Feed {
        pipeline: &mut pipeline,
        recording: &mut recording,
        tick_interval_ms: config.observation.tick_interval_ms,
        ticked_ms: first.at_ms,
        rows: 0,
        noticed: 0,
        opened: 0,
    };
    feed.row(first)?;
    let mut progress = ProgressLine::new();
    while let Some(row) = table.next_row()? {
        feed.row(observation(&target, &row, &names))?;
        progress.count(feed.rows, "rows");
        if tell_notes(&mut table, Some(&mut progress)) {
            names = table.metrics().to_vec();
        }
    }
    progress.clear();
    let told = format!(
        "{} rows, {} anomalies noticed, {} incidents; `dbmedic replay {}` shows the verdicts",
        feed.rows,
        feed.noticed,
        feed.opened,
        output.display()
    );
    drop(recording);
    TempPath::try_from_path(partial)?
        .persist_noclobber(output)
        .map_err(|e| e.error)
        .with_context(|| format!("putting the recording in its place, {}", output.display()))?;
    complain(&told);
    Ok(ExitCode::SUCCESS)
}

/// A row as a look at the target. Cells without a value are left out.
fn observation(target: &str, row: &Row<'_>, names: &[String]) -> Observation {
    let samples = names.iter().zip(row.values).filter_map(|(name, value)| {
        Some(Sample {
            series: name.clone(),
            value: (*value)?,
        })
    });
    Observation {
        target: target.to_owned(),
        at_ms: row.at_ms,
        samples: samples.collect(),
        snapshot_at_ms: None,
        state: State::Samples,
    }
}

/// Feeds rows to the pipeline and records what comes of them.
struct Feed<'a> {
    pipeline: &'a mut Pipeline,
    recording: &'a mut RecordingWriter,
    tick_interval_ms: u64,
    ticked_ms: u64,
    rows: u64,
    noticed: u64,
    opened: u64,
}

impl Feed<'_> {
    fn row(&mut self, seen: Observation) -> anyhow::Result<()> {
        let at_ms = seen.at_ms;
        self.rows += 1;
        self.event(&Event::Observed(seen))?;
        // Time passes between rows as it does live, but not more often than there are rows.
        if at_ms.saturating_sub(self.ticked_ms) >= self.tick_interval_ms {
            self.ticked_ms = at_ms;
            self.event(&Event::Tick { at_ms })?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        let effects = self.pipeline.step(event);
        for effect in &effects {
            match effect {
                Effect::Noticed { .. } => self.noticed += 1,
                Effect::IncidentOpened { .. } => self.opened += 1,
                _ => {}
            }
        }
        Ok(self.recording.write(event, &effects)?)
    }
}
