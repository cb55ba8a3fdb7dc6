//! Reading the configuration again while dbmedic runs: on SIGHUP, and on `dbmedic reload`.
//!
//! A configuration that can be used takes the place of the one in force: the run ends as on SIGTERM, with a
//! repair that has begun brought to its end, and begins again in the same process with everything that a
//! restart keeps. One that cannot be used is reported, and the run goes on as it was.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::{Ended, complain, in_one_line};
use crate::assemble::check_policies;
use crate::config::{Config, Loaded};
use crate::gate::{AskError, Reply, Request, ask};
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

/// How long a dbmedic that begins anew is waited for: it cannot be reached meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

/// Has a running dbmedic read its configuration again, where it can be used.
pub(crate) fn reload(args: &ReloadArgs) -> Ended {
    let loaded = Config::load(&args.config)?;
    loaded.needs_state_dir()?;
    check_policies(&loaded)?;
    let request = Request::Reload {
        config: std::path::absolute(&args.config)?,
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = ask(&loaded.config.state_dir, &request, |reply| {
            if let Reply::Done(text) = reply {
                complain(&text);
            }
        });
        match asked {
            Err(AskError::NotRunning { .. } | AskError::Stopping | AskError::Io(_))
                if Instant::now() < until =>
            {
                thread::sleep(PAUSE);
            }
            asked => {
                asked?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// What a running dbmedic is told by signals, and by `dbmedic reload`.
pub(super) struct Signals {
    /// End for good.
    terminate: Arc<AtomicBool>,
    /// End the present run: for good, or to begin again.
    pub(super) stop: Arc<AtomicBool>,
    /// Read the configuration again.
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Listens for signals: SIGINT and SIGTERM end it, SIGHUP has the configuration read again.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let signals = Self {
            terminate: Arc::default(),
            stop: Arc::default(),
            reload: Arc::default(),
        };
        for signal in [SIGINT, SIGTERM] {
            // In this order: whoever sees that the run is to stop sees also that it is for good.
            for flag in [&signals.terminate, &signals.stop] {
                flag::register(signal, Arc::clone(flag)).context("listening for signals")?;
            }
        }
        flag::register(SIGHUP, signals.reload()).context("listening for signals")?;
        Ok(signals)
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
    if (&next.config.policy, &next.config.policies) != (&present.policy, &present.policies) {
        check_policies(&next)?;
    }
    Ok(Some(next))
}

/// Changed options that are named one by one, at most.
const MOST_NAMED: usize = 20;

/// What differs between two configurations, for a person: each option with both values, and the targets that
/// come and go.
pub(super) fn changes(file: &Path, before: &Config, after: &Config) -> String {
    let mut changes = Vec::new();
    match (options(before), options(after)) {
        (Ok(before), Ok(after)) => differences("", &before, &after, &mut changes),
        _ => changes.push("its options changed".to_owned()),
    }
    let more = changes.len().saturating_sub(MOST_NAMED);
    changes.truncate(MOST_NAMED);
    if more > 0 {
        changes.push(format!("and {more} more"));
    }
    format!("{} is in force: {}", file.display(), changes.join("; "))
}

/// The options of a configuration; lists of what has a name by these names.
fn options(config: &Config) -> serde_json::Result<Value> {
    let mut options = serde_json::to_value(config)?;
    by_name(&mut options);
    Ok(options)
}

fn by_name(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(by_name),
        Value::Array(items) => {
            items.iter_mut().for_each(by_name);
            let named: Option<Map<String, Value>> = items
                .iter()
                .map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.clone())))
                .collect();
            // Two of one name would become one.
            let is_whole =
                |named: &Map<String, Value>| !named.is_empty() && named.len() == items.len();
            if let Some(named) = named.filter(is_whole) {
                *value = Value::Object(named);
            }
        }
        _ => {}
    }
}

fn differences(path: &str, before: &Value, after: &Value, changes: &mut Vec<String>) {
    let empty = Map::new();
    let (old, new) = match (before, after) {
        _ if before == after => return,
        (Value::Object(old), Value::Object(new)) => (old, new),
        // A list without names is empty.
        (Value::Object(old), Value::Array(none)) if none.is_empty() => (old, &empty),
        (Value::Array(none), Value::Object(new)) if none.is_empty() => (&empty, new),
        _ => {
            changes.push(format!("{path}: {before} -> {after}"));
            return;
        }
    };
    for name in old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)))
    {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match (old.get(name), new.get(name)) {
            (Some(before), Some(after)) => differences(&path, before, after, changes),
            (None, Some(Value::Object(_))) => changes.push(format!("{path} is new")),
            (None, Some(after)) => changes.push(format!("{path}: {after}")),
            (Some(Value::Object(_)) | None, None) => changes.push(format!("{path} is gone")),
            (Some(before), None) => changes.push(format!("{path}: {before} is gone")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(before: &Value, after: &Value) -> Vec<String> {
        let (mut before, mut after) = (before.clone(), after.clone());
        by_name(&mut before);
        by_name(&mut after);
        let mut changes = Vec::new();
        differences("", &before, &after, &mut changes);
        changes
    }

    #[test]
    fn each_option_that_differs_is_named_with_both_values() {
        let before = json!({"mode": "approve", "guard": {"repairs_per_hour": 6}, "targets": [
            {"name": "shop", "mode": "approve", "may_end": []}, {"name": "old"}]});
        let after = json!({"mode": "enforce", "guard": {"repairs_per_hour": 7}, "targets": [
            {"name": "new"}, {"name": "shop", "mode": "enforce", "may_end": ["batch"]}]});
        assert_eq!(
            changed(&before, &after),
            [
                "guard.repairs_per_hour: 6 -> 7",
                "mode: \"approve\" -> \"enforce\"",
                "targets.old is gone",
                "targets.shop.may_end: [] -> [\"batch\"]",
                "targets.shop.mode: \"approve\" -> \"enforce\"",
                "targets.new is new",
            ]
        );
        assert_eq!(changed(&before, &before), [""; 0]);
        let none = json!({"policies": []});
        let one = json!({"policies": [{"name": "strict"}]});
        assert_eq!(changed(&none, &one), ["policies.strict is new"]);
        assert_eq!(changed(&one, &none), ["policies.strict is gone"]);
    }
}
