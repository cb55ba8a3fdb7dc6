//! `detect`: anomalies in a table of telemetry, a row out for each row in.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::learn::learned_in;
use super::progress::ProgressLine;
use super::table::{TableArgs, tell_notes};
use super::{Ended, complain};
use crate::detect::{Detector, Judged, SERIES_LIMIT};
use crate::escape::{escaped, escaped_json};
use crate::model::{MethodScore, Severity};
use crate::pattern::Pattern;
use crate::signature::Signatures;
use crate::table::Row;

/// Decimals of a score.
const SCORE_DECIMALS: usize = 6;

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Arguments of `detect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Writes the columns time, score (0 to 1, half at the threshold), alarm (1 from the onset of an anomaly while
its evidence stays, 8 rows at most: what stays longer is no longer new), onset (1 on its first row), metrics
(those that carry it, strongest first, separated by ;) and reason: one row for each row that is read, as soon
as it is read. There is no alarm before enough rows were seen to say what is normal.
An anomaly that looks like a known trouble, built in or learned, names it in its reason.
A column that only rises is a counter and is read by its rate per second; columns of text are left out.

With --json a line also says in `lasts` whether the anomaly is still there, alarm or not.

  dbmedic detect metrics.csv > anomalies.csv
  tail -n +1 -f metrics.csv | dbmedic detect - --json

Exit code: 0 when all rows were read, 2 when the table cannot be read; with --fail-on-alarm, 1 when
there was an alarm.")]
pub(crate) struct DetectArgs {
    #[command(flatten)]
    table: TableArgs,
    /// Where learned signatures are kept; the built-in ones are always there
    #[arg(long, value_name = "DIR", default_value = "signatures")]
    signatures: PathBuf,
    /// Write a line of JSON for each row instead of CSV
    #[arg(long)]
    json: bool,
    /// Exit with 1 when there was an alarm
    #[arg(long)]
    fail_on_alarm: bool,
}

pub(crate) fn run(args: &DetectArgs) -> Ended {
    let out = Rc::new(RefCell::new(Output::new(args.json)));
    let due = Rc::clone(&out);
    let ended = judge_all(args, &out, move || due.borrow_mut().flush());
    // What was judged before a row that cannot be read is not lost with it.
    let flushed = out.borrow_mut().flush();
    if let Some(error) = out.borrow_mut().failed.take() {
        return Err(error).context("writing to standard output");
    }
    flushed?;
    let sums = ended?;
    complain(&sums.told());
    Ok(if args.fail_on_alarm && sums.anomalies > 0 {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

fn judge_all(
    args: &DetectArgs,
    out: &RefCell<Output>,
    before_waiting: impl FnMut() -> io::Result<()> + 'static,
) -> anyhow::Result<Sums> {
    let signatures = Signatures::new(learned_in(&args.signatures));
    let mut table = args.table.open(before_waiting)?;
    let mut pattern = Pattern::default();
    let mut detector = Detector::default();
    let mut watched = Watched::default();
    watched.name(&mut detector, table.metrics());
    let mut sums = Sums::default();
    out.borrow_mut().begin()?;
    let mut progress = ProgressLine::beside_data();
    while let Some(row) = table.next_row()? {
        let values = watched.take(row.values);
        let mut judged = detector.step(row.at_ms, values);
        pattern.step(&signatures, &detector, values, judged.anomaly.as_mut());
        sums.count(&judged);
        out.borrow_mut().write(&row, &judged)?;
        progress.count(sums.rows, "rows");
        if tell_notes(&mut table, Some(&mut progress)) {
            watched.name(&mut detector, table.metrics());
        }
    }
    progress.clear();
    Ok(sums)
}

/// The metrics of a table as the series of a detector.
#[derive(Debug, Default)]
struct Watched {
    /// By the metric's place in the table; none beyond what a detector watches.
    ids: Vec<Option<usize>>,
    /// The values of a row by the detector's numbers.
    row: Vec<Option<f64>>,
}

impl Watched {
    /// Takes up the names of the metrics.
    fn name(&mut self, detector: &mut Detector, names: &[String]) {
        self.ids = names.iter().map(|name| detector.series(name)).collect();
        let series = self.ids.iter().flatten().max().map_or(0, |id| id + 1);
        self.row = vec![None; series.max(self.row.len())];
        if self.ids.contains(&None) {
            complain(&format!(
                "note: only the first {SERIES_LIMIT} metrics are watched"
            ));
        }
    }

    /// A row of the table, by the detector's numbers.
    fn take(&mut self, values: &[Option<f64>]) -> &[Option<f64>] {
        for (id, value) in self.ids.iter().zip(values) {
            if let Some(id) = id {
                self.row[*id] = *value;
            }
        }
        &self.row
    }
}

/// What a run came to.
#[derive(Debug, Default)]
struct Sums {
    rows: u64,
    alarm_rows: u64,
    anomalies: u64,
    judged: bool,
}

impl Sums {
    fn count(&mut self, judged: &Judged) {
        self.rows += 1;
        self.alarm_rows += u64::from(judged.alarm);
        self.anomalies += u64::from(judged.onset);
        self.judged |= judged.established;
    }

    fn told(&self) -> String {
        let Self {
            rows,
            alarm_rows,
            anomalies,
            ..
        } = self;
        if self.judged {
            let plural = if *anomalies == 1 { "y" } else { "ies" };
            format!("{rows} rows, {anomalies} anomal{plural}, {alarm_rows} rows in alarm")
        } else {
            format!("{rows} rows: too few to say what is normal, none was judged")
        }
    }
}

/// A row as JSON.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    at_ms: u64,
    score: f64,
    alarm: bool,
    onset: bool,
    /// Whether the anomaly is still there, told or not.
    lasts: bool,
    metrics: &'a [String],
    reason: &'a str,
    /// What each method says of an anomaly, and all of them together; none without one.
    scores: &'a [MethodScore],
    confidence: Option<f64>,
    severity: Option<Severity>,
}

/// Standard output, written out when more input is waited for.
struct Output {
    rows: Rows,
    metrics: String,
    reason: String,
    score: String,
    /// Why it could not be written.
    failed: Option<io::Error>,
}

enum Rows {
    /// Quotes where it must.
    Csv(Box<csv::Writer<io::Stdout>>),
    Json(BufWriter<io::Stdout>),
}

impl Output {
    fn new(json: bool) -> Self {
        let rows = if json {
            Rows::Json(BufWriter::with_capacity(BUFFER_BYTES, io::stdout()))
        } else {
            let mut builder = csv::WriterBuilder::new();
            builder.buffer_capacity(BUFFER_BYTES);
            Rows::Csv(Box::new(builder.from_writer(io::stdout())))
        };
        Self {
            rows,
            metrics: String::new(),
            reason: String::new(),
            score: String::new(),
            failed: None,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        match &mut self.rows {
            Rows::Csv(csv) => csv
                .write_record(["time", "score", "alarm", "onset", "metrics", "reason"])
                .map_err(io_error),
            Rows::Json(_) => Ok(()),
        }
    }

    fn write(&mut self, row: &Row<'_>, judged: &Judged) -> io::Result<()> {
        let anomaly = judged.anomaly.as_ref().filter(|_| judged.alarm);
        let series = anomaly.map_or(&[][..], |a| &a.series);
        join(&mut self.reason, anomaly.map_or(&[], |a| &a.reasons), "; ");
        match &mut self.rows {
            Rows::Csv(csv) => {
                join(&mut self.metrics, series, ";");
                self.score.clear();
                write!(self.score, "{:.SCORE_DECIMALS$}", judged.score)
                    .map_err(io::Error::other)?;
                let flag = |set| if set { "1" } else { "0" };
                csv.write_record([
                    &*escaped(row.time_text),
                    &self.score,
                    flag(judged.alarm),
                    flag(judged.onset),
                    &escaped(&self.metrics),
                    &escaped(&self.reason),
                ])
                .map_err(io_error)
            }
            Rows::Json(out) => {
                let line = Line {
                    time: row.time_text,
                    at_ms: row.at_ms,
                    score: judged.score,
                    alarm: judged.alarm,
                    onset: judged.onset,
                    lasts: judged.anomaly.is_some(),
                    metrics: series,
                    reason: &self.reason,
                    scores: anomaly.map_or(&[], |a| &a.scores),
                    confidence: anomaly.map(|a| a.confidence),
                    severity: anomaly.map(|a| a.severity),
                };
                let line = serde_json::to_string(&line)?;
                out.write_all(escaped_json(&line).as_bytes())?;
                out.write_all(b"\n")
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match &mut self.rows {
            Rows::Csv(csv) => csv.flush(),
            Rows::Json(out) => out.flush(),
        };
        flushed.inspect_err(|error| {
            self.failed.get_or_insert_with(|| error.kind().into());
        })
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(io) => io,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn join(text: &mut String, parts: &[String], between: &str) {
    text.clear();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            text.push_str(between);
        }
        text.push_str(part);
    }
}
