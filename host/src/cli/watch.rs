//! `run`: watch until told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Ended, PolicyArgs, complain_lines, say_json};
use crate::assemble::assemble_service;
use crate::config::Config;
use crate::live::Live;
use crate::logging::{self, LogFormat, NARRATIVE};
use crate::pipeline::DEFAULT_POLICY;
use crate::report::{Message, Narrator};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The config file
    #[arg(short, long, default_value = "dbmedic.toml", value_name = "FILE")]
    config: PathBuf,
    /// Keep a recording in this file, for `dbmedic replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print what happens as lines of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &RunArgs) -> Ended {
    let mut loaded = Config::load(&args.config)?;
    loaded.needs_state_dir()?;
    logging::set_format(loaded.config.log_format);
    args.policy.lay_over(&mut loaded.config)?;
    if loaded.config.targets.is_empty() {
        bail!(
            "{}: there is no target to watch: add a [[targets]] with `name` and `sqlite`",
            args.config.display()
        );
    }
    for warning in &loaded.warnings {
        if loaded.config.log_format == LogFormat::Text {
            complain_lines(&warning.to_string());
        } else {
            tracing::warn!(target: NARRATIVE, label = "config", "{}", warning.in_one_line());
        }
    }
    allow_open_files()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("listening for signals")?;
    }
    let setup = assemble_service(&loaded, args.record.clone(), rand::random())?;
    if let Some(gate) = &setup.gate {
        signal_hook::flag::register(signal_hook::consts::SIGHUP, gate.look_anew())
            .context("listening for signals")?;
    }
    let policy = setup.policies.get(DEFAULT_POLICY).identity();
    let watches = format!(
        "dbmedic watches {} with policy {} {}, mode {}; stop with Ctrl-C",
        named(&loaded.config),
        policy.name,
        policy.version,
        loaded.config.mode,
    );
    note("start", &watches);
    let mut narrator = Narrator::default();
    let mut broken = None;
    let live = Live::start(setup, &mut |at_ms, told| {
        narrator.messages(at_ms, &told).iter().for_each(log);
    })?;
    live.run(&stop, &mut |at_ms, told| {
        if args.json {
            if let Err(error) = say_json(&told.at(at_ms)) {
                broken.get_or_insert(error);
            }
        } else {
            narrator.messages(at_ms, &told).iter().for_each(log);
        }
    })?;
    note("stop", "stopped");
    broken.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Tells something that the command line does.
fn note(label: &str, text: &str) {
    tracing::info!(target: NARRATIVE, label, "{text}");
}

/// Tells what happens. Alerts and halts are warnings.
fn log(message: &Message) {
    let (at_ms, label, text) = (message.at_ms, message.label.as_str(), &message.head);
    let details = (!message.details.is_empty()).then(|| {
        // A line stays one.
        let lines = message.details.iter().map(|line| line.replace('\n', "\\n"));
        lines.collect::<Vec<_>>().join("\n")
    });
    let (database, incident) = (message.target.as_deref(), message.incident.as_deref());
    let details = details.as_deref();
    if ["alert", "halt"].contains(&label) {
        tracing::warn!(target: NARRATIVE, at_ms, label, database, incident, details, "{text}");
    } else {
        tracing::info!(target: NARRATIVE, at_ms, label, database, incident, details, "{text}");
    }
}
/// The names of the targets; of many the first ones.
fn named(config: &Config) -> String {
    const MOST: usize = 20;
    let names = config.targets.iter().map(|target| target.name.as_str());
    let first: Vec<&str> = names.take(MOST).collect();
    let first = first.join(", ");
    match config.targets.len().saturating_sub(MOST) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Files that are open at a time, at most: the workers' pipes, the files of the state directory, and those
/// that are read for a moment. It does not grow with the number of targets.
const OPEN_FILES: u64 = 512;

/// Raises the limit of open files to what is needed, where that is allowed.
fn allow_open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= OPEN_FILES) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < OPEN_FILES) {
        bail!(
            "this process may have {maximum} files open at most, and dbmedic needs {OPEN_FILES}: raise the hard \
             limit (`ulimit -Hn`, or LimitNOFILE= of the service)"
        );
    }
    let raised = Rlimit {
        current: Some(OPEN_FILES),
        ..limit
    };
    setrlimit(Resource::Nofile, raised)
        .with_context(|| format!("raising the limit of open files to {OPEN_FILES}"))
}
