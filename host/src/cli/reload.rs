//! Reading the configuration again while dbmedic runs: on SIGHUP, and on `dbmedic reload`.
//!
//! A configuration that can be used takes the place of the one in force: the run ends as on SIGTERM, with a
//! repair that has begun brought to its end, and begins again in the same process with everything that a
//! restart keeps. One that cannot be used is reported, and the run goes on as it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::{Ended, complain, in_one_line};
use crate::assemble::check_policies;
use crate::config::{Config, Loaded};
use crate::gate::{Reply, Request, ask};
use crate::logging::NARRATIVE;

/// Between two looks whether the configuration is to be read again.
const PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `reload`.
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    /// The config file of the dbmedic that runs
    #[arg(short, long, default_value = "dbmedic.toml", value_name = "FILE")]
    config: PathBuf,
}

/// Has a running dbmedic read its configuration again, where it can be used.
pub(crate) fn reload(args: &ReloadArgs) -> Ended {
    let loaded = Config::load(&args.config)?;
    loaded.needs_state_dir()?;
    check_policies(&loaded)?;
    ask(&loaded.config.state_dir, &Request::Reload, |reply| {
        if let Reply::Done(text) = reply {
            complain(&text);
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a running dbmedic was asked to do.
pub(super) struct Wishes {
    /// End for good.
    terminate: Arc<AtomicBool>,
    /// End the present run: for good, or to begin again.
    pub(super) stop: Arc<AtomicBool>,
    /// Read the configuration again.
    reload: Arc<AtomicBool>,
}

impl Wishes {
    /// Listens for signals: SIGINT and SIGTERM end it, SIGHUP has the configuration read again.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let wishes = Self {
            terminate: Arc::default(),
            stop: Arc::default(),
            reload: Arc::default(),
        };
        for signal in [SIGINT, SIGTERM] {
            // In this order: whoever sees that the run is to stop sees also that it is for good.
            for flag in [&wishes.terminate, &wishes.stop] {
                flag::register(signal, Arc::clone(flag)).context("listening for signals")?;
            }
        }
        flag::register(SIGHUP, wishes.reload()).context("listening for signals")?;
        Ok(wishes)
    }

    /// Set it to have the configuration read again.
    pub(super) fn reload(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reload)
    }

    /// Whether dbmedic is to end for good. When not, a new run may begin.
    pub(super) fn is_over(&self) -> bool {
        self.stop.store(false, Ordering::SeqCst);
        let is_over = self.terminate.load(Ordering::SeqCst);
        // The signal may have come before the line above it.
        self.stop.fetch_or(is_over, Ordering::SeqCst);
        is_over
    }

    /// Waits, until the run is to stop, for a configuration that takes the place of `present`, and then has the
    /// run stop. `load` reads it; `look_anew` has the policies' sources looked at, which is wanted in any case.
    pub(super) fn next_configuration(
        &self,
        present: &Config,
        look_anew: Option<&AtomicBool>,
        load: impl Fn() -> anyhow::Result<Loaded>,
    ) -> Option<Loaded> {
        while !self.stop.load(Ordering::SeqCst) {
            if self.reload.swap(false, Ordering::SeqCst) {
                match load().and_then(|next| usable(present, next)) {
                    Ok(Some(next)) => {
                        self.stop.store(true, Ordering::SeqCst);
                        return Some(next);
                    }
                    Ok(None) => tracing::info!(
                        target: NARRATIVE,
                        label = "reload",
                        "the configuration is unchanged"
                    ),
                    Err(error) => tracing::warn!(
                        target: NARRATIVE,
                        label = "reload",
                        "the new configuration is not taken, and the run goes on as it was: {}",
                        in_one_line(&error)
                    ),
                }
                if let Some(look_anew) = look_anew {
                    look_anew.store(true, Ordering::SeqCst);
                }
            }
            thread::sleep(PAUSE);
        }
        None
    }
}

/// The next configuration where it differs and can take the place of the present one.
fn usable(present: &Config, next: Loaded) -> anyhow::Result<Option<Loaded>> {
    if next.config == *present {
        return Ok(None);
    }
    if next.config.state_dir != present.state_dir {
        bail!(
            "`state_dir` cannot change while dbmedic runs, and is {}; restart dbmedic for {}",
            present.state_dir.display(),
            next.config.state_dir.display()
        );
    }
    check_policies(&next)?;
    Ok(Some(next))
}

/// What differs between two configurations, for a person.
pub(super) fn changes(file: &Path, before: &Config, after: &Config) -> String {
    let named = |config: &Config| -> BTreeSet<String> {
        let targets = config.targets.iter();
        targets.map(|target| target.name.clone()).collect()
    };
    let (old, new) = (named(before), named(after));
    let is_other = |name: &&String| {
        let of = |config: &Config| {
            let mut targets = config.targets.iter();
            targets.find(|target| target.name == **name).cloned()
        };
        of(before) != of(after)
    };
    let options = |config: &Config| Config {
        targets: Vec::new(),
        ..config.clone()
    };
    let list = |what: &str, names: Vec<&String>| {
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
    };
    let changes: Vec<String> = [
        list("targets added:", new.difference(&old).collect()),
        list("targets removed:", old.difference(&new).collect()),
        list(
            "targets changed:",
            old.intersection(&new).filter(is_other).collect(),
        ),
        (options(before) != options(after)).then(|| "other options changed".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{} is in force: {}", file.display(), changes.join("; "))
}
