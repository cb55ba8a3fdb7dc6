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
//! ```
//!
//! `--with-fault` is the control: each run also has a process that really holds the write lock or a
//! read transaction and does nothing. dbmedic must end that process and no other one.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for a terminal and for the log of CI"
)]

mod binary;
mod campaign;
mod kind;
mod log;
mod process;
mod program;
mod promised;
mod run;
mod scene;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use kind::Kind;

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
