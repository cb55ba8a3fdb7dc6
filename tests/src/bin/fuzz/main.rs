//! Fuzzes dbmedic: gives mutated input of each kind to the real program, a process for each input,
//! and fails when one panics, takes longer than 10 s, takes more than 256 MiB, writes a control
//! character to its output, exits with more than 2, or changes a file that is not its own.
//!
//! ```sh
//! cargo run -p dbmedic-tests --bin fuzz -- --inputs 2000 --seed 1
//! cargo run -p dbmedic-tests --bin fuzz -- --inputs 200 --kind tables,components
//! cargo run -p dbmedic-tests --bin fuzz -- --kind components --seed 1 --input 1234
//! ```
//!
//! An input is made from valid ones, which dbmedic or SQLite wrote, by changes that know the format.
//! At least 30 % of each kind must come past the parser, as far as dbmedic's answer shows; a smaller
//! share is a failure too. The choices depend on the kind, the seed and the input's number alone. Keys
//! and times in the valid inputs are new in each run, so a failing input is kept as it was.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for a terminal and for the log of CI"
)]

mod campaign;
mod execute;
mod kind;
mod kinds;
mod mutate;
mod rules;
mod toml_text;
mod wal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use kind::Kind;

/// Mutated input of each kind for the real dbmedic.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Inputs of each kind
    #[arg(long, default_value_t = 2000)]
    inputs: u64,
    /// The seed of all random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these kinds; separate several by commas
    #[arg(long, value_delimiter = ',')]
    kind: Vec<Kind>,
    /// Only the input with this number, with what dbmedic wrote
    #[arg(long, value_name = "N")]
    input: Option<u64>,
    /// Processes of dbmedic at the same time (default: one for each processor)
    #[arg(long)]
    jobs: Option<usize>,
    /// The dbmedic to test (default: build and use the one beside this program)
    #[arg(long, value_name = "FILE")]
    dbmedic: Option<PathBuf>,
    /// Where failing inputs are kept
    #[arg(long, value_name = "DIR", default_value = "fuzz-failures")]
    keep: PathBuf,
}

fn main() -> ExitCode {
    match campaign::run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
