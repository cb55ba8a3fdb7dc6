//! The command line of dbmedic.

use std::process::ExitCode;

use clap::Parser;
use dbmedic::escape::LogWriter;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("DBMEDIC_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are characters that a terminal obeys: what is told apart by them can be forged.
        .with_ansi(false)
        .with_writer(|| LogWriter(std::io::stderr()))
        .init();
    match dbmedic::cli::Cli::try_parse() {
        Ok(cli) => dbmedic::cli::run(cli),
        Err(help_or_mistake) => dbmedic::cli::show(&help_or_mistake),
    }
}
