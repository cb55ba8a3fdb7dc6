//! Runs busy but healthy programs beside a database that dbmedic watches in mode `enforce`, and
//! fails when dbmedic repairs, ends, halts or declares a crisis: nothing is wrong in these runs.
//!
//! Everything is real: the neighbours are processes of their own, the database is a file, and
//! dbmedic is the built binary. Each neighbour stands in `may_end`, and the ages at which the
//! policy acts are lowered to about two seconds, so that any age that is not true ends somebody.
//!
//! ```sh
//! cargo run -p dbmedic-tests --bin neighbours -- --runs 300 --seed 1
//! cargo run -p dbmedic-tests --bin neighbours -- --runs 20 --with-fault
//! cargo run -p dbmedic-tests --bin neighbours -- --runs 60 --rollback
//! cargo run -p dbmedic-tests --bin neighbours -- --runs 20 --interruption clock
//! cargo run -p dbmedic-tests --bin neighbours -- --runs 4 --interruption stop --stop-time 10m
//! cargo run -p dbmedic-tests --bin neighbours -- --soak 2h
//! cargo run -p dbmedic-tests --bin neighbours -- --days 3
//! ```
//!
//! `--with-fault` is the control: each run also has a process that really holds the write lock or a
//! read transaction and does nothing. dbmedic must end that process and no other one.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for a terminal and for the log of CI"
)]

mod campaign;
mod day;
mod kind;
mod litestream;
mod log;
mod plan;
mod process;
mod program;
mod promised;
mod run;
mod scene;
mod tally;
mod watcher;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use kind::Kind;
use plan::Interruption;

/// Busy neighbours of a database under care: dbmedic must leave them alone.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How many runs
    #[arg(long, default_value_t = 300)]
    runs: u64,
    /// The seed of the first run; each later run has the next number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs at the same time; neighbours mostly sleep
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Only these kinds of neighbours; may be given several times or separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Add a real fault to each run: dbmedic must end the faulty process and nobody else
    #[arg(long)]
    with_fault: bool,
    /// Only databases in rollback mode, and neighbours that work in it
    #[arg(long)]
    rollback: bool,
    /// One long run instead: a dashboard, a polling worker, a pool, readers in containers and a bulk
    /// load at once, with thresholds of 20 s; for a time such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    soak: Option<Duration>,
    /// The real Litestream beside a writer of 600 pages every 0.7 s instead, for the time of --soak
    /// (30m): no incident may be told
    #[arg(long, value_name = "FILE")]
    litestream: Option<PathBuf>,
    /// Recordings of so many days of healthy neighbours instead, each replayed by dbmedic: 24 hours of
    /// time in events, in seconds
    #[arg(long, value_name = "N")]
    days: Option<u64>,
    /// Between two observations of such a day, milliseconds
    #[arg(long, default_value_t = 1000)]
    interval_ms: u64,
    /// The age at which the policy ends somebody in such a day, milliseconds
    #[arg(long, default_value_t = 300_000)]
    threshold_ms: u64,
    /// What happens to dbmedic in each run (default: one of them in a third of the runs)
    #[arg(long)]
    interruption: Option<Interruption>,
    /// How long dbmedic is stopped or everybody is suspended (default: a few seconds)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    stop_time: Option<Duration>,
    /// The dbmedic to test (default: build and use the one beside this program)
    #[arg(long, value_name = "FILE")]
    dbmedic: Option<PathBuf>,
    /// Where the directories of failed runs are kept (default: the system's temporary directory)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Keep the directories of all runs
    #[arg(long)]
    keep_all: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One neighbour; started by this program itself
    #[command(hide = true)]
    Child(program::ChildArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.command {
        Some(Command::Child(child)) => program::run(child).map(|()| true),
        None => campaign::run_all(&arguments),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Reads a time such as `90s`, `30m` or `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is not a time such as 90s, 30m or 2h"))?;
    match &text[digits.len()..] {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        unit => Err(format!("unknown unit `{unit}`: use s, m or h")),
    }
}
