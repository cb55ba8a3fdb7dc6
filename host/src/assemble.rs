//! From a configuration to something that runs: policy loaded, state open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::calendar::{self, Calendar};
use crate::clock::now_ms;
use crate::config::{BuiltIn, Config, Loaded, Places};
use crate::decision_log::{About, DecisionLog, Room};
use crate::diagnose::DiagnoseOptions;
use crate::gate::{self, Components, Gate, Place, Plan, Trust, Workshop};
use crate::guard::Mode;
use crate::live::Setup;
use crate::model::{self, Setting, Value};
use crate::pipeline::{self, Carried, Pipeline, PipelineOptions, Policies, TargetOptions};
use crate::policy::{CacheLimits, CompiledCache, Limits, Runtime};
use crate::recording::{self, Header, RecordingWriter};
use crate::regular_file;
use crate::resources;
use crate::signature::Signature;
use crate::signature_dir::{Contents, SignatureDir, SignatureWatch};
use crate::state_dir::StateDir;
use crate::store::Store;
use crate::watch::{Pace, Site};

/// The built-in policy: `policies/default`, as committed.
pub const DEFAULT_POLICY: &[u8] = include_bytes!("../../policies/prebuilt/default.wasm");

/// The policy whose rules stand in its parameters: `policies/rules`, as committed.
pub const RULES_POLICY: &[u8] = include_bytes!("../../policies/prebuilt/rules.wasm");

/// Makes everything ready for a run that ends by itself, with the policies that the configuration
/// names, as they are. With `record`, a recording is begun in that file; `seed` stands in its header.
pub fn assemble(config: &Config, record: Option<PathBuf>, seed: u64) -> anyhow::Result<Setup> {
    let policies = gate::once(DEFAULT_POLICY, &plans(config, None, None)?)?;
    let state_dir = StateDir::open(&config.state_dir)?;
    let store = Store::open(state_dir.root())?;
    setup(
        config,
        Ready {
            policies,
            gate: None,
            state_dir,
            store,
        },
        record,
        seed,
    )
}

/// Makes everything ready for service: with the policies that were in service before, and a gate
/// for those that come.
pub fn assemble_service(
    loaded: &Loaded,
    record: Option<PathBuf>,
    seed: u64,
) -> anyhow::Result<Setup> {
    let config = &loaded.config;
    let state_dir = StateDir::open(&config.state_dir)?;
    // First, because it says that this state directory is this process's alone.
    let store = Store::open(state_dir.root())?;
    let compiled = Components::at(state_dir.root())?.compiled();
    let cache = CompiledCache::open(&compiled, CacheLimits::default())?;
    let plans = plans(config, Some(cache), Some(&loaded.places))?;
    let gate = Gate::open(state_dir.root(), DEFAULT_POLICY, plans, store.services()?)?;
    let policies = gate.policies().context("no default policy")?;
    let gate = Some(gate);
    setup(
        config,
        Ready {
            policies,
            gate,
            state_dir,
            store,
        },
        record,
        seed,
    )
}

/// Whether every policy that a configuration names could come into service.
///
/// # Errors
/// [`gate::GateError::Refused`] names the first that could not, with the fields that are wrong.
pub fn check_policies(loaded: &Loaded) -> anyhow::Result<()> {
    let plans = plans(&loaded.config, None, Some(&loaded.places))?;
    gate::once(DEFAULT_POLICY, &plans)?;
    Ok(())
}

/// How the policy of a name comes into service, as the configuration has it.
///
/// # Errors
/// When there is no policy of this name, or the policy runtime cannot be started.
pub fn plan(loaded: &Loaded, name: &str) -> anyhow::Result<Plan> {
    let mut plans = plans(&loaded.config, None, Some(&loaded.places))?;
    plans
        .remove(name)
        .with_context(|| format!("no policy is called `{name}` in the configuration"))
}

/// The policies of a configuration, by their names. Those with the same limits share a runtime.
fn plans(
    config: &Config,
    cache: Option<CompiledCache>,
    places: Option<&Places>,
) -> anyhow::Result<BTreeMap<String, Plan>> {
    let cache = cache.map(Arc::new);
    let mut workshops: Vec<Arc<Workshop>> = Vec::new();
    let mut plans = BTreeMap::new();
    for (name, policy) in config.every_policy() {
        let trust = Trust {
            require_signature: policy.require_signature,
            keys: policy.trusted_keys.clone(),
        };
        let fits =
            |known: &&Arc<Workshop>| *known.limits() == policy.limits && *known.trust() == trust;
        let workshop = if let Some(known) = workshops.iter().find(fits) {
            Arc::clone(known)
        } else {
            let runtime = Runtime::new(policy.limits.clone())
                .with_context(|| format!("starting the runtime of the policy `{name}`"))?;
            let workshop = Arc::new(Workshop::new(runtime, cache.clone(), trust));
            workshops.push(Arc::clone(&workshop));
            workshop
        };
        let path = config.path_of_policy(name);
        let place = places.cloned().map(|places| -> Place {
            Arc::new(move |name, message| {
                let field = format!("{path}.parameters.{name}");
                let text = format!("`{name}`: {message}");
                places.problem(&field, text, None).in_one_line()
            })
        });
        let targets = config.targets.iter();
        let plan = Plan {
            workshop,
            source: policy.source.clone(),
            built_in: match policy.built_in {
                BuiltIn::Default => None,
                BuiltIn::Rules => Some(RULES_POLICY),
            },
            watch: policy.watch,
            settings: policy.parameters.clone(),
            gate: policy.gate.clone(),
            targets: targets
                .filter(|target| target.policies.iter().any(|policy| policy == name))
                .map(|target| target.name.clone())
                .collect(),
            place,
        };
        plans.insert(name.to_owned(), plan);
    }
    Ok(plans)
}

/// The limits of the policies that have others than the default one, by their names.
fn named_limits(config: &Config) -> BTreeMap<String, Limits> {
    let named = config.policies.iter();
    named
        .filter(|named| named.policy.limits != config.policy.limits)
        .map(|named| (named.name.clone(), named.policy.limits.clone()))
        .collect()
}

/// What is ready before the rest is.
struct Ready {
    policies: Policies,
    gate: Option<Gate>,
    state_dir: StateDir,
    store: Store,
}

fn setup(
    config: &Config,
    ready: Ready,
    record: Option<PathBuf>,
    seed: u64,
) -> anyhow::Result<Setup> {
    let Ready {
        policies,
        gate,
        state_dir,
        store,
    } = ready;
    let mut signatures = SignatureWatch::new(SignatureDir::at(&config.signature_dir));
    let options = pipeline_options(config, signatures.changed().unwrap_or_default());
    let recording = record.map(|path| (path, header(config, &policies, &options, seed)));
    let decision_log = decision_log(config, &state_dir)?;
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
        quick_check_timeout_ms: observation.quick_check_timeout_ms,
        incremental_check_interval_ms: observation.incremental_check_interval_ms,
        incremental_check_timeout_ms: observation.incremental_check_timeout_ms,
        integrity_interval_ms: observation.integrity_interval_ms,
        integrity_timeout_ms: observation.integrity_timeout_ms,
        resource_interval_ms: observation.resource_interval_ms,
        resource_timeout_ms: observation.resource_timeout_ms,
        probe_transaction_interval_ms: observation
            .probe_transactions
            .then_some(observation.probe_transaction_interval_ms),
        snapshot_interval_ms: config.snapshots.interval_ms,
        snapshots_kept: config.snapshots.keep,
        snapshot_max_lock_ms: config.snapshots.max_lock_ms,
    };
    let exe = std::env::current_exe().context("finding this very binary")?;
    Ok(Setup {
        options,
        policies,
        gate,
        sites,
        pace,
        state_dir,
        store,
        decision_log,
        recording,
        exe,
        signatures,
        resource_limits: resources::limits(
            config.resources.warning_threshold,
            config.resources.critical_threshold,
            resources::processors(),
        ),
        calendar: calendar_of(config)?,
        keeps_copies: true,
    })
}

/// The local time and the maintenance windows of a configuration.
fn calendar_of(config: &Config) -> anyhow::Result<Calendar> {
    let zone = calendar::zone(&config.time_zone).context("`time_zone` of the configuration")?;
    let windows = config.targets.iter();
    let windows = windows
        .filter(|target| !target.maintenance.is_empty())
        .map(|target| (target.name.clone(), target.maintenance.clone()));
    Ok(Calendar::new(zone, windows.collect()))
}

fn decision_log(config: &Config, state_dir: &StateDir) -> anyhow::Result<Option<DecisionLog>> {
    let log = &config.decision_log;
    if !log.enabled {
        return Ok(None);
    }
    let directory = log.directory.clone().unwrap_or(state_dir.decisions());
    let room = Room {
        file_bytes: log.max_file_mib << 20,
        total_bytes: log.max_total_mib << 20,
    };
    let about = About {
        limits: config.policy.limits.clone(),
        named_limits: named_limits(config),
        parameters: config
            .every_policy()
            .map(|(name, policy)| (name.to_owned(), policy.parameters.clone()))
            .collect(),
    };
    Ok(Some(DecisionLog::open(&directory, room, &about)?))
}

/// Makes ready what an engine that embeds dbmedic has: a pipeline with one target of this name that
/// is only observed and goes on from what was `carried` over, and with `record` a recording in that
/// file.
pub fn assemble_embedded(
    config: &Config,
    name: &str,
    carried: Carried,
    record: Option<PathBuf>,
) -> anyhow::Result<(Pipeline, Option<RecordingWriter>)> {
    let (pipeline, header) = assemble_samples(config, name, carried)?;
    let recording = record
        .map(|path| RecordingWriter::create(&path, &header))
        .transpose()?;
    Ok((pipeline, recording))
}

/// Makes ready what an imported table needs: a pipeline with one target of this name that is only
/// observed, and the header of a recording of it that begins at `started_ms`.
pub fn assemble_import(
    config: &Config,
    name: &str,
    started_ms: u64,
) -> anyhow::Result<(Pipeline, Header)> {
    let (pipeline, header) = assemble_samples(config, name, Carried::default())?;
    let header = Header {
        started_ms,
        ..header
    };
    Ok((pipeline, header))
}

/// A pipeline with one target of which only the numbers are known, and the header of a recording.
fn assemble_samples(
    config: &Config,
    name: &str,
    carried: Carried,
) -> anyhow::Result<(Pipeline, Header)> {
    let policies = gate::once(DEFAULT_POLICY, &plans(config, None, None)?)?;
    let known = SignatureDir::at(&config.signature_dir).load();
    let mut options = pipeline_options(config, known);
    options.targets = BTreeMap::from([(
        name.to_owned(),
        TargetOptions {
            kind: model::metrics(),
            policies: pipeline::only_default(),
            mode: Mode::Observe,
            diagnose: DiagnoseOptions {
                lock_hold_ms: config.observation.lock_hold_ms,
                reader_hold_ms: config.observation.reader_hold_ms,
                sample_interval_ms: config.observation.sample_interval_ms,
                snapshot_recent_ms: config.snapshots.recent_ms,
                may_end: Vec::new(),
            },
            constraints: config.constraints.clone(),
        },
    )]);
    let header = Header {
        carried: carried.clone(),
        ..header(config, &policies, &options, 0)
    };
    let pipeline = Pipeline::new(options, policies, carried);
    Ok((pipeline, header))
}

/// The beginning of a recording.
fn header(config: &Config, policies: &Policies, options: &PipelineOptions, seed: u64) -> Header {
    let named = config.policies.iter().map(|named| {
        let policy = recording::NamedPolicy {
            identity: policies.get(&named.name).identity(),
            settings: named.policy.parameters.clone(),
            limits: (named.policy.limits != config.policy.limits)
                .then(|| named.policy.limits.clone()),
        };
        (named.name.clone(), policy)
    });
    Header {
        dbmedic_recording: recording::VERSION,
        dbmedic: env!("CARGO_PKG_VERSION").to_owned(),
        seed,
        started_ms: now_ms(),
        policy: policies.get(pipeline::DEFAULT_POLICY).identity(),
        settings: config.policy.parameters.clone(),
        named: named.collect(),
        limits: config.policy.limits.clone(),
        options: options.clone(),
        carried: Carried::default(),
    }
}

fn pipeline_options(config: &Config, known: Contents) -> PipelineOptions {
    let targets: BTreeMap<_, _> = config
        .targets
        .iter()
        .map(|target| {
            let options = TargetOptions {
                kind: model::sqlite(),
                policies: target.policies.clone(),
                mode: target.mode,
                diagnose: DiagnoseOptions {
                    lock_hold_ms: config.observation.lock_hold_ms,
                    reader_hold_ms: config.observation.reader_hold_ms,
                    sample_interval_ms: config.observation.sample_interval_ms,
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
        named_breakers: config
            .policies
            .iter()
            .filter(|named| named.policy.breaker != config.policy.breaker)
            .map(|named| (named.name.clone(), named.policy.breaker.clone()))
            .collect(),
        targets,
        signatures: Some(readable(known)),
    }
}

/// The signatures that can be read. That others cannot is told, and no reason not to watch.
fn readable(known: Contents) -> Vec<Signature> {
    for error in known.left_out {
        tracing::warn!("a signature is left out: {error}");
    }
    known.signatures
}

/// The largest file whose text is a parameter, bytes.
const PARAMETER_BYTES: u64 = 1 << 20;

/// Lays `NAME=VALUE` words over settings; the last word on a name counts. `NAME=@PATH` means the text of
/// that file.
pub fn merge_settings(
    mut settings: Vec<Setting>,
    words: &[String],
) -> anyhow::Result<Vec<Setting>> {
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            bail!("--set {word}: write it as NAME=VALUE");
        };
        let value = match value.strip_prefix('@') {
            Some(path) => text_of(Path::new(path)).with_context(|| format!("--set {word}"))?,
            None => parse_value(value),
        };
        settings.retain(|s| s.name != name);
        settings.push(Setting {
            name: name.to_owned(),
            value,
        });
    }
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(settings)
}

/// The text of a file as a value.
fn text_of(path: &Path) -> anyhow::Result<Value> {
    let bytes = regular_file::read(path, PARAMETER_BYTES)
        .with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8(bytes);
    let text = text.with_context(|| format!("{} is no text in UTF-8", path.display()))?;
    Ok(Value::Text(text))
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

impl From<crate::policy::Policy> for Policies {
    fn from(default: crate::policy::Policy) -> Self {
        Self::new(default, BTreeMap::new())
    }
}
