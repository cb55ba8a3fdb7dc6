//! The command line.

use clap::Parser;
use dbmedic::demo::DemoProcess;

#[derive(Debug, Parser)]
#[command(name = "dbmedic")]
enum Cli {
    /// A process that the demo starts for itself.
    #[command(subcommand, hide = true)]
    DemoProcess(DemoProcess),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse() {
        Cli::DemoProcess(process) => process.run(),
    }
}
