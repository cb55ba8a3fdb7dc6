//! The command line of dbmedic.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    dbmedic::logging::start();
    match dbmedic::cli::Cli::try_parse() {
        Ok(cli) => dbmedic::cli::run(cli),
        Err(help_or_mistake) => dbmedic::cli::show(&help_or_mistake),
    }
}
