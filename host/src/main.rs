//! The command line.

use std::{env, io, process::ExitCode};

use dbmedic::target::sqlite::raw;

fn main() -> ExitCode {
    if env::args()
        .nth(1)
        .is_some_and(|word| word == raw::SUBCOMMAND)
        && raw::serve(io::stdin().lock(), io::stdout().lock()).is_err()
    {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
