//! From a configuration to something that runs: policy loaded, state directory and journal open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::clock::now_ms;
use crate::config::Config;
use crate::diagnose::DiagnoseOptions;
use crate::journal::Journal;
use crate::live::Setup;
use crate::model::{Setting, Value};
use crate::pipeline::{Carried, PipelineOptions, TargetOptions};
use crate::policy::{Limits, Policy, Runtime};
use crate::recording::{self, Header, PolicyIdentity};
use crate::signing::Verified;
use crate::state_dir::StateDir;
use crate::watch::{Pace, Site};

/// The built-in policy: `policies/default`, as committed.
pub const DEFAULT_POLICY: &[u8] = include_bytes!("../../policies/prebuilt/default.wasm");

/// Makes everything ready for a live run. With `record`, a recording is begun in that file; `seed`
/// stands in its header.
pub fn assemble(config: &Config, record: Option<PathBuf>, seed: u64) -> anyhow::Result<Setup> {
    let settings = config.policy.parameters.clone();
    let limits = config.policy.limits.clone();
    let policy = load_policy(config.policy.file.as_deref(), limits.clone(), &settings)?;
    let options = pipeline_options(config);
    let recording = record.map(|path| {
        let header = Header {
            dbmedic_recording: recording::VERSION,
            dbmedic: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            started_ms: now_ms(),
            policy: PolicyIdentity {
                name: policy.name().to_owned(),
                version: policy.version().to_owned(),
                digest: policy.digest().to_owned(),
            },
            settings,
            limits,
            options: options.clone(),
            carried: Carried::default(),
        };
        (path, header)
    });
    let state_dir = StateDir::open(&config.state_dir)?;
    let journal = Journal::open(state_dir.root())?;
    let sites = config
        .targets
        .iter()
        .map(|target| {
            Site::new(
                target.name.clone(),
                target.sqlite.clone(),
                target.may_end.clone(),
            )
        })
        .collect();
    let observation = &config.observation;
    let pace = Pace {
        sample_interval_ms: observation.sample_interval_ms,
        tick_interval_ms: observation.tick_interval_ms,
        wal_scan_interval_ms: observation.wal_scan_interval_ms,
        quick_check_interval_ms: observation.quick_check_interval_ms,
        integrity_interval_ms: observation.integrity_interval_ms,
        snapshot_interval_ms: config.snapshots.interval_ms,
        snapshots_kept: config.snapshots.keep,
    };
    let exe = std::env::current_exe().context("finding this very binary")?;
    Ok(Setup {
        options,
        policy,
        sites,
        pace,
        state_dir,
        journal,
        recording,
        exe,
    })
}

fn pipeline_options(config: &Config) -> PipelineOptions {
    let targets: BTreeMap<_, _> = config
        .targets
        .iter()
        .map(|target| {
            let options = TargetOptions {
                mode: target.mode,
                diagnose: DiagnoseOptions {
                    lock_hold_ms: config.observation.lock_hold_ms,
                    reader_hold_ms: config.observation.reader_hold_ms,
                    snapshot_recent_ms: config.snapshots.recent_ms,
                    may_end: target.may_end.clone(),
                },
                constraints: target.constraints.clone(),
            };
            (target.name.clone(), options)
        })
        .collect();
    PipelineOptions {
        decide_interval_ms: config.observation.decide_interval_ms,
        baseline_window: config.baseline.window,
        baseline_established_after: config.baseline.established_after,
        guard: config.guard.clone(),
        breaker: config.policy.breaker.clone(),
        targets,
    }
}

/// Loads a policy: the file's, or the built-in one.
pub fn load_policy(
    file: Option<&Path>,
    limits: Limits,
    settings: &[Setting],
) -> anyhow::Result<Policy> {
    let runtime = Runtime::new(limits).context("starting the policy runtime")?;
    let Some(path) = file else {
        return runtime
            .load(&Verified::built_in(DEFAULT_POLICY), settings)
            .context("loading the built-in policy");
    };
    let bytes =
        std::fs::read(path).with_context(|| format!("reading policy {}", path.display()))?;
    runtime
        .load(&Verified::unsigned(bytes), settings)
        .with_context(|| format!("loading policy {}", path.display()))
}

/// Lays `NAME=VALUE` words over settings; the last word on a name counts.
pub fn merge_settings(
    mut settings: Vec<Setting>,
    words: &[String],
) -> anyhow::Result<Vec<Setting>> {
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            bail!("--set {word}: write it as NAME=VALUE");
        };
        settings.retain(|s| s.name != name);
        settings.push(Setting {
            name: name.to_owned(),
            value: parse_value(value),
        });
    }
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(settings)
}

/// The type that the text looks like.
fn parse_value(text: &str) -> Value {
    if let Ok(value) = text.parse() {
        Value::Boolean(value)
    } else if let Ok(value) = text.replace('_', "").parse() {
        Value::Integer(value)
    } else if let Some(value) = text.parse().ok().filter(|v: &f64| v.is_finite()) {
        Value::Number(value)
    } else {
        Value::Text(text.to_owned())
    }
}
