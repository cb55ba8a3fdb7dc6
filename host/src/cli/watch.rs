//! `run`: watch until told to stop, with a new configuration where there is one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::reload::{Signals, changes};
use super::{Ended, PolicyArgs, complain_lines, in_one_line, say_json};
use crate::assemble::assemble_service;
use crate::config::{Config, Loaded};
use crate::gate::Reload;
use crate::live::{Live, Setup, Told};
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
    logging::set_format(loaded.config.log_format);
    complete(&mut loaded, args)?;
    allow_open_files()?;
    let signals = Signals::listen()?;
    let mut output = Output::new(args.json);
    let mut record = args.record.clone();
    // The configuration to go back to when the one that took its place does not start.
    let mut former: Option<Loaded> = None;
    loop {
        logging::set_format(loaded.config.log_format);
        tell_warnings(&loaded);
        let setup = match assemble_service(&loaded, record.take(), rand::random()) {
            Ok(setup) => setup,
            Err(error) => {
                let Some(former) = former.take() else {
                    return Err(error);
                };
                tracing::warn!(
                    target: NARRATIVE,
                    label = "reload",
                    "the new configuration does not start, and the one before is in force again: {}",
                    in_one_line(&error)
                );
                loaded = former;
                continue;
            }
        };
        let next = watch(&loaded, setup, args, &signals, &mut output)?;
        match next {
            _ if signals.is_over() => break,
            Next::End => break,
            Next::Again => former = None,
            Next::With(next) => {
                note(
                    "reload",
                    &changes(&args.config, &loaded.config, &next.config),
                );
                former = Some(std::mem::replace(&mut loaded, *next));
            }
        }
    }
    note("stop", "stopped");
    output.broken.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Lays the command line over a configuration that was read, and says what keeps it from being used.
fn complete(loaded: &mut Loaded, args: &RunArgs) -> anyhow::Result<()> {
    loaded.needs_state_dir()?;
    args.policy.lay_over(&mut loaded.config)?;
    if loaded.config.targets.is_empty() {
        bail!(
            "{}: there is no target to watch: add a [[targets]] with `name` and `sqlite`",
            args.config.display()
        );
    }
    Ok(())
}

/// Says what is unusual in a configuration that is in force from now on.
fn tell_warnings(loaded: &Loaded) {
    for warning in &loaded.warnings {
        if loaded.config.log_format == LogFormat::Text {
            complain_lines(&warning.to_string());
        } else {
            tracing::warn!(target: NARRATIVE, label = "config", "{}", warning.in_one_line());
        }
    }
}

/// What follows a run.
enum Next {
    End,
    /// Another run with the same configuration: the state directory was made again.
    Again,
    /// Another run with this configuration.
    With(Box<Loaded>),
}

/// Watches until told to stop, or until another run is to take over.
fn watch(
    loaded: &Loaded,
    mut setup: Setup,
    args: &RunArgs,
    signals: &Signals,
    output: &mut Output,
) -> anyhow::Result<Next> {
    let policy = setup.policies.get(DEFAULT_POLICY).identity();
    let watches = format!(
        "dbmedic watches {} with policy {} {}, mode {}; stop with Ctrl-C",
        named(&loaded.config),
        policy.name,
        policy.version,
        loaded.config.mode,
    );
    note("start", &watches);
    let config = std::path::absolute(&args.config)?;
    let look_anew = setup.gate.as_mut().map(|gate| {
        gate.reload_by(Reload {
            wanted: signals.reload(),
            config,
        });
        gate.look_anew()
    });
    let live = Live::start(setup, &mut |at_ms, told| {
        // What an earlier run left is no line of this one's data.
        let messages = output.narrator.messages(at_ms, &told);
        messages.iter().for_each(log);
    })?;
    thread::scope(|scope| {
        let load = || {
            let mut next = Config::load(&args.config)?;
            complete(&mut next, args)?;
            Ok(next)
        };
        let (present, look_anew) = (&loaded.config, look_anew.as_deref());
        let next = scope.spawn(move || signals.next_configuration(present, look_anew, load));
        let ended = live.run(&signals.stop, &mut |at_ms, told| output.tell(at_ms, &told));
        signals.stop.store(true, Ordering::SeqCst);
        let next = next.join();
        let next = next.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(match next {
            _ if ended?.goes_on => Next::Again,
            Some(next) => Next::With(Box::new(next)),
            None => Next::End,
        })
    })
}

/// Where what happens is told: as lines of the log, or as JSON on standard output.
struct Output {
    is_json: bool,
    narrator: Narrator,
    /// Why JSON could not be written any more.
    broken: Option<anyhow::Error>,
}

impl Output {
    fn new(is_json: bool) -> Self {
        Self {
            is_json,
            narrator: Narrator::default(),
            broken: None,
        }
    }

    fn tell(&mut self, at_ms: u64, told: &Told<'_>) {
        if !self.is_json {
            let messages = self.narrator.messages(at_ms, told);
            messages.iter().for_each(log);
        } else if let Err(error) = say_json(&told.at(at_ms)) {
            self.broken.get_or_insert(error);
        }
    }
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
