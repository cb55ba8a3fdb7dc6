//! The command line: what was typed becomes a run, a look, a repair, a replay or a report.
//!
//! Data goes to standard output, talk to standard error. Nothing here decides.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::assemble::merge_settings;
use crate::config::{Config, DEFAULT_STATE_DIR, ROOTS_STATE_DIR, is_root};
use crate::document::{DocumentErrors, Problem};
use crate::escape::{escaped, escaped_json};
use crate::gate::Source;
use crate::logging::{self, LogFormat, NARRATIVE};

mod config;
mod detect;
mod diagnose;
mod episode;
mod history;
mod import;
mod learn;
mod oneshot;
mod people;
mod policy;
mod progress;
mod quiet;
mod recorded_incident;
mod recording;
mod reload;
mod replay;
mod status;
mod table;
mod watch;

/// Databases that look after themselves.
#[derive(Debug, Parser)]
#[command(
    name = "dbmedic",
    version,
    arg_required_else_help = true,
    after_help = "Exit status: 0 all is well, 1 the answer is no, 2 it could not be done."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it working: a real database, real faults, each diagnosed and healed
    Demo(crate::demo::DemoArgs),
    /// Watch the databases of a config file until Ctrl-C or SIGTERM
    Run(watch::RunArgs),
    /// Have a running dbmedic read its config file again
    Reload(reload::ReloadArgs),
    /// Look at a database once: exit 0 healthy, 1 something is wrong, 2 could not look
    Check(oneshot::CheckArgs),
    /// Show what would be repaired, or repair it with --apply
    Repair(oneshot::RepairArgs),
    /// How healthy each target of a run is, and when it was checked last
    Status(status::StatusArgs),
    /// What happened, and why
    Incidents(history::IncidentsArgs),
    /// Approve the repair that an incident waits for (mode approve)
    Approve(people::ApproveArgs),
    /// Deny a repair of an incident: it is not made before somebody approves it
    Deny(people::DenyArgs),
    /// Acknowledge an incident: nobody is called again for it before it ends or gets worse
    Ack(people::AckArgs),
    /// Release a target that was halted
    Release(people::ReleaseArgs),
    /// Withhold alerts for a time
    #[command(subcommand)]
    Silence(quiet::SilenceCommand),
    /// Open, close and show maintenance windows of a target
    #[command(subcommand)]
    Maintenance(quiet::MaintenanceCommand),
    /// Feed a recording through the pipeline and print the verdicts
    Replay(replay::ReplayArgs),
    /// Show, cut, join and anonymise recordings
    #[command(subcommand)]
    Recording(recording::RecordingCommand),
    /// Find anomalies in a table of telemetry, row by row: CSV in, CSV out
    Detect(detect::DetectArgs),
    /// Make a recording of a table of telemetry, for `replay` and for tests of policies
    Import(import::ImportArgs),
    /// Learn what a trouble looks like, from the rows of a table or the incident in which it happened
    Learn(learn::LearnArgs),
    /// Say which known trouble the abnormal rows of a table look like
    Diagnose(diagnose::DiagnoseArgs),
    /// Sign policies, check them, and see which one is in service
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Make or check a config file
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Touches a database for another dbmedic, with the rights of the database's owner
    #[command(hide = true)]
    Worker,
    /// A process that the demo starts for itself
    #[command(subcommand, hide = true)]
    DemoProcess(crate::demo::DemoProcess),
}

impl Command {
    /// Whether it writes into a state directory, or copies what is in a database.
    fn writes_state(&self) -> bool {
        match self {
            Self::Demo(_)
            | Self::Run(_)
            | Self::Check(_)
            | Self::Repair(_)
            | Self::Incidents(_)
            | Self::Status(_)
            | Self::Approve(_)
            | Self::Deny(_)
            | Self::Ack(_)
            | Self::Release(_)
            | Self::Silence(_)
            | Self::Maintenance(_)
            | Self::Worker => true,
            // What a person has written for others: keys, signatures, recordings of tables.
            Self::Replay(_)
            | Self::Recording(_)
            | Self::Detect(_)
            | Self::Import(_)
            | Self::Learn(_)
            | Self::Diagnose(_)
            | Self::Policy(_)
            | Self::Config(_)
            | Self::Reload(_)
            | Self::DemoProcess(_) => false,
        }
    }
}

/// What a policy can be told on the command line.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// The policy component (default: the built-in policy)
    #[arg(long, value_name = "FILE.wasm")]
    pub(crate) policy: Option<PathBuf>,
    /// Let a policy decide that nobody vouches for
    #[arg(long)]
    pub(crate) unsigned: bool,
    /// Set a parameter of the policy; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE|NAME=@FILE")]
    pub(crate) set: Vec<String>,
}

impl PolicyArgs {
    /// Lays what was typed over a configuration.
    pub(crate) fn lay_over(&self, config: &mut Config) -> anyhow::Result<()> {
        let policy = &mut config.policy;
        if self.unsigned {
            policy.require_signature = false;
            for named in &mut config.policies {
                named.policy.require_signature = false;
            }
        }
        if let Some(file) = &self.policy {
            if policy.require_signature && policy.trusted_keys.is_empty() {
                anyhow::bail!(
                    "--policy {}: nobody vouches for it, and no key is trusted; name a config file \
                     with [[policy.trusted_keys]], or add --unsigned",
                    file.display()
                );
            }
            policy.source = Source::File(file.clone());
        }
        policy.parameters = merge_settings(std::mem::take(&mut policy.parameters), &self.set)?;
        Ok(())
    }
}

/// The configuration of `dbmedic run` where none is named.
const DEFAULT_CONFIG: &str = "dbmedic.toml";

/// Where dbmedic keeps its state.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    /// Where dbmedic keeps its own state (default: what the configuration says; without one dbmedic-state,
    /// for root /var/lib/dbmedic)
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The config file that says where (default: dbmedic.toml, where it is there)
    #[arg(short, long, value_name = "FILE", conflicts_with = "state_dir")]
    config: Option<PathBuf>,
}

impl StateArgs {
    /// The directory, which must be there.
    pub(crate) fn existing(&self) -> anyhow::Result<PathBuf> {
        let dir = match (&self.state_dir, &self.config) {
            (None, Some(config)) => Config::state_dir_of(config)?,
            (None, None) if Path::new(DEFAULT_CONFIG).is_file() => {
                Config::state_dir_of(Path::new(DEFAULT_CONFIG))
                    .context("name the state directory with --state-dir, or correct this")?
            }
            (named, _) => state_dir_or_default(named.as_deref()),
        };
        if !dir.is_dir() {
            anyhow::bail!(
                "{}: no such state directory; name it with --state-dir, or the configuration with -c",
                dir.display()
            );
        }
        Ok(dir)
    }
}

/// The state directory that was named, or the default one: root's is a fixed place, because what lies
/// in the current directory may be anybody's.
pub(crate) fn state_dir_or_default(named: Option<&Path>) -> PathBuf {
    match named {
        Some(named) => named.to_owned(),
        None if is_root() => ROOTS_STATE_DIR.into(),
        None => DEFAULT_STATE_DIR.into(),
    }
}

/// How a command ended: with 0 when all is well, with 1 when the answer is no (a fault found, a
/// difference, a refusal). An error means that it could not be done: 2, as for a wrong flag.
pub(crate) type Ended = anyhow::Result<ExitCode>;

/// Runs the command that was typed.
pub fn run(cli: Cli) -> ExitCode {
    if cli.command.writes_state() {
        // What is made from here on, by worker processes too, is for this user alone. SQLite gives the
        // files beside a database the database's own mode, whatever this is.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    }
    let ended = match cli.command {
        Command::Demo(args) => crate::demo::run(&args),
        Command::Run(args) => watch::run(&args),
        Command::Reload(args) => reload::reload(&args),
        Command::Check(args) => oneshot::check(&args),
        Command::Repair(args) => oneshot::repair(&args),
        Command::Status(args) => status::run(&args),
        Command::Incidents(args) => history::incidents(&args),
        Command::Approve(args) => people::approve(&args),
        Command::Deny(args) => people::deny(&args),
        Command::Ack(args) => people::ack(&args),
        Command::Release(args) => people::release(&args),
        Command::Silence(command) => quiet::silence(&command),
        Command::Maintenance(command) => quiet::maintenance(&command),
        Command::Policy(command) => policy::run(&command),
        Command::Replay(args) => replay::run(&args),
        Command::Recording(command) => recording::run(&command),
        Command::Detect(args) => detect::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Learn(args) => learn::run(&args),
        Command::Diagnose(args) => diagnose::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Worker => crate::sqlite::worker::serve()
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        Command::DemoProcess(process) => process.run().map(|()| ExitCode::SUCCESS),
    };
    match ended {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell_error(&error);
            ExitCode::from(2)
        }
    }
}

/// Shows help, the version, or what is wrong with a command line.
pub fn show(help_or_mistake: &clap::Error) -> ExitCode {
    let mut text = help_or_mistake.render().to_string();
    // An argument with a line break would otherwise look like lines of dbmedic's own.
    for argument in std::env::args().filter(|argument| argument.contains('\n')) {
        text = text.replace(&argument, &escaped(&argument));
    }
    let text = text.trim_end_matches('\n');
    if help_or_mistake.use_stderr() {
        complain_lines(text);
        return ExitCode::from(2);
    }
    // A reader that has seen enough is no error.
    text.split('\n').map(say).find(Result::is_err);
    ExitCode::SUCCESS
}

/// Says why something could not be done.
pub(crate) fn tell_error(error: &anyhow::Error) {
    let text = with_causes(error);
    if logging::format() == LogFormat::Text {
        complain_lines(&format!("error: {text}"));
    } else {
        tracing::error!(target: NARRATIVE, label = "error", "{text}");
    }
}

/// An error and its causes in one line, each said once: many errors say their cause themselves. The
/// mistakes in a document have lines of their own.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| {
        let text = cause.to_string();
        let cause = if cause.is::<DocumentErrors>() {
            text
        } else {
            escaped(&text).into_owned()
        };
        if told.is_empty() {
            cause
        } else if told.ends_with(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

/// The same in one line, for the log of a run that goes on.
pub(crate) fn in_one_line(error: &anyhow::Error) -> String {
    if let Some(errors) = error
        .chain()
        .find_map(|e| e.downcast_ref::<DocumentErrors>())
    {
        let problems: Vec<String> = errors.0.iter().map(Problem::in_one_line).collect();
        return problems.join("; ");
    }
    with_causes(error)
}

/// A reader that has seen enough is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// A line of data. One it stays, whatever is in it.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", escaped(line))
}

/// A value as one line of JSON.
pub(crate) fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(value)?;
    Ok(writeln!(
        std::io::stdout().lock(),
        "{}",
        escaped_json(&line)
    )?)
}

/// A line of talk. A closed standard error is nobody's loss.
pub(crate) fn complain(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", escaped(line)));
}

/// Lines of talk that were made as such: what came from outside was escaped before.
pub(crate) fn complain_lines(text: &str) {
    text.split('\n').for_each(complain);
}

/// Whether somebody looks on: progress is shown on a terminal only.
pub(crate) fn somebody_looks_on() -> bool {
    std::io::stderr().is_terminal()
}
