//! The configuration file: TOML, version 1.
//!
//! [`Config::load`] reports every mistake in one go, by file, line and field, with what would be
//! right; and warns of values that are valid but unusual (section 6.2 of the specification).
//! Everything is resolved here once: paths against the file's directory, constraints and modes for
//! each target, so that nobody merges anything later. The environment is never consulted, and
//! nothing is ever written but by [`init`].

mod constraints;
mod limits;
mod maintenance;
mod policies;
mod read;
mod resolve;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::calendar::{self, WeeklyWindow};
use crate::constraint::Constraint;
use crate::document::{Findings, Section, line_of};
use crate::gate::{GateSettings, Source};
use crate::guard::{GuardLimits, Mode};
use crate::logging::LogFormat;
use crate::model::Setting;
use crate::path_trust::{self, TrustError};
use crate::pipeline::DEFAULT_POLICY;
use crate::policy::{BreakerOptions, Limits};
use crate::signing::TrustedKey;

pub use crate::document::{DocumentErrors as ConfigErrors, Problem, ProblemSeverity};

use resolve::Resolve;

/// The version of the file's format that is read.
pub const VERSION: u32 = 1;

/// Where dbmedic keeps its own state when nobody says where: beside the configuration, or in the
/// current directory. Not for root.
pub const DEFAULT_STATE_DIR: &str = "dbmedic-state";

/// The usual place for root's.
pub const ROOTS_STATE_DIR: &str = "/var/lib/dbmedic";

/// Whether this process may do everything, so that what it believes must be root's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What [`init`] writes: every option with its default, commented out.
pub const TEMPLATE: &str = include_str!("config/template.toml");

/// The largest file that is read, bytes.
const FILE_BYTES: usize = 1 << 20;

/// The whole configuration, checked and resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Where journal, snapshots and copies are kept; default [`DEFAULT_STATE_DIR`], but for root
    /// ([`Loaded::needs_state_dir`]). Never a target's
    /// own file or a directory above one.
    pub state_dir: PathBuf,
    /// Where learned signatures are kept, one file each; default `signatures`. It need not exist.
    pub signature_dir: PathBuf,
    /// How much dbmedic may do by itself; default `observe`. A target may have its own.
    pub mode: Mode,
    /// The zone of the times of maintenance windows: a name of the IANA database, `UTC`, or `local`, which
    /// is the default: the machine's.
    pub time_zone: String,
    /// How `dbmedic run` writes its log; default text.
    #[serde(default)]
    pub log_format: LogFormat,
    /// How often what is looked at.
    pub observation: Observation,
    /// From when on the host's resources are scarce.
    pub resources: ResourceConfig,
    /// Operations of an engine that embeds dbmedic.
    pub operations: OperationConfig,
    /// What normal is learned from.
    pub baseline: BaselineConfig,
    /// Snapshots of the targets.
    pub snapshots: Snapshots,
    /// The limits of the guard.
    pub guard: GuardLimits,
    /// The policy that decides where a target names no other.
    pub policy: PolicyConfig,
    /// Other policies, for the targets that name them; default none.
    pub policies: Vec<NamedPolicyConfig>,
    /// The log of every decision.
    pub decision_log: DecisionLogConfig,
    /// The bounds that hold for every target: [`Constraint::defaults`] as overridden by name.
    pub constraints: Vec<Constraint>,
    /// The databases under care; none by default.
    pub targets: Vec<Target>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: DEFAULT_STATE_DIR.into(),
            signature_dir: "signatures".into(),
            mode: Mode::default(),
            time_zone: calendar::LOCAL.to_owned(),
            log_format: LogFormat::default(),
            observation: Observation::default(),
            resources: ResourceConfig::default(),
            operations: OperationConfig::default(),
            baseline: BaselineConfig::default(),
            snapshots: Snapshots::default(),
            guard: GuardLimits::default(),
            policy: PolicyConfig::default(),
            policies: Vec::new(),
            decision_log: DecisionLogConfig::default(),
            constraints: Constraint::defaults(),
            targets: Vec::new(),
        }
    }
}

/// How often what is looked at. Intervals are bounded by 10 ms and 30 days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Between two looks at a target, milliseconds; default 1000.
    pub sample_interval_ms: u64,
    /// Between two full integrity checks, milliseconds; default one hour.
    pub integrity_interval_ms: u64,
    /// Between two quick checks, milliseconds; default one minute.
    pub quick_check_interval_ms: u64,
    /// How long a full integrity check may take, milliseconds; default one hour.
    pub integrity_timeout_ms: u64,
    /// How long a quick check may take, milliseconds; default 5 s.
    pub quick_check_timeout_ms: u64,
    /// Between two incremental integrity checks, milliseconds; default 5 minutes.
    pub incremental_check_interval_ms: u64,
    /// How long an incremental integrity check may take, milliseconds; default 10 s.
    pub incremental_check_timeout_ms: u64,
    /// Between two measurements of the host's resources, milliseconds; default 30 s.
    pub resource_interval_ms: u64,
    /// How long a measurement of the host's resources may take, milliseconds; default 1 s.
    pub resource_timeout_ms: u64,
    /// Whether probe transactions are made, which tell latency and errors; default false.
    pub probe_transactions: bool,
    /// Between two probe transactions, milliseconds; default 10 s.
    pub probe_transaction_interval_ms: u64,
    /// Between two scans of every frame of the write-ahead log, milliseconds; default one minute.
    pub wal_scan_interval_ms: u64,
    /// Between two ticks that the policy gets without a finding, milliseconds; default 10 s.
    pub tick_interval_ms: u64,
    /// The same finding is put to the policy once in this time at most, milliseconds; default 5 s.
    pub decide_interval_ms: u64,
    /// A write lock held this long without progress is a finding, milliseconds; default 1000.
    pub lock_hold_ms: u64,
    /// A read transaction open this long is a finding, milliseconds; default 1000.
    pub reader_hold_ms: u64,
}

impl Default for Observation {
    fn default() -> Self {
        Self {
            sample_interval_ms: 1000,
            integrity_interval_ms: 3_600_000,
            quick_check_interval_ms: 60_000,
            integrity_timeout_ms: 3_600_000,
            quick_check_timeout_ms: 5000,
            incremental_check_interval_ms: 300_000,
            incremental_check_timeout_ms: 10_000,
            resource_interval_ms: 30_000,
            resource_timeout_ms: 1000,
            probe_transactions: false,
            probe_transaction_interval_ms: 10_000,
            wal_scan_interval_ms: 60_000,
            tick_interval_ms: 10_000,
            decide_interval_ms: 5000,
            lock_hold_ms: 1000,
            reader_hold_ms: 1000,
        }
    }
}

/// From when on the host's resources are scarce: shares of what there is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResourceConfig {
    /// Above this share a resource is a warning, above 0 and below 1; default 0.8.
    pub warning_threshold: f64,
    /// Above this share a resource is critical, not below `warning_threshold`; default 0.95.
    pub critical_threshold: f64,
}

impl Default for ResourceConfig {
    fn default() -> Self {
        Self {
            warning_threshold: 0.8,
            critical_threshold: 0.95,
        }
    }
}

/// Operations of an engine that embeds dbmedic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationConfig {
    /// How long a bucket is, milliseconds, 1 s to 5 min; default 10 s.
    pub bucket_ms: u64,
    /// Names that are told apart, 1 to 4096; default 64.
    pub max_names: usize,
    /// Threads with counters of their own, 1 to 4096; default 64.
    pub max_threads: usize,
}

impl Default for OperationConfig {
    fn default() -> Self {
        Self {
            bucket_ms: 10_000,
            max_names: 64,
            max_threads: 64,
        }
    }
}

/// What normal is learned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineConfig {
    /// Points of one series that are kept, 100 to [`MAX_POINTS`](crate::baseline::MAX_POINTS), which
    /// is the default.
    pub window: usize,
    /// Points from which on a series is judged by, 2 to `window`; default 30. No anomaly is told in
    /// the first 72 looks, whatever it is.
    pub established_after: usize,
}

impl Default for BaselineConfig {
    fn default() -> Self {
        Self {
            window: 10_000,
            established_after: 30,
        }
    }
}

/// Snapshots of the targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// Between two snapshots of a target, milliseconds, 10 ms to 30 days; default one hour.
    pub interval_ms: u64,
    /// Snapshots of one target that are kept, 1 to 1000; default 3.
    pub keep: usize,
    /// How old a snapshot may be to count as recent, milliseconds, 1 s to 365 days; default one
    /// day.
    pub recent_ms: u64,
    /// How long taking one may keep writers from committing, in rollback mode, milliseconds, 1 to
    /// 60,000; default 250.
    pub max_lock_ms: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            interval_ms: 3_600_000,
            keep: 3,
            recent_ms: 86_400_000,
            max_lock_ms: 250,
        }
    }
}

/// The log of every decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionLogConfig {
    /// Whether it is kept; default yes.
    pub enabled: bool,
    /// Where; default `decisions` in the state directory.
    pub directory: Option<PathBuf>,
    /// A file is closed and compressed when it has grown to this, MiB, 1 to 1024; default 16.
    pub max_file_mib: u64,
    /// All files together, MiB as they are on disk, at least twice `max_file_mib`; default 256.
    /// Crises are kept even beyond, the first of each.
    pub max_total_mib: u64,
}

impl Default for DecisionLogConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            directory: None,
            max_file_mib: 16,
            max_total_mib: 256,
        }
    }
}

/// A policy that is part of this binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltIn {
    /// The rules of the specification, their numbers as parameters.
    #[default]
    Default,
    /// The rules that stand in the parameter `rules`.
    Rules,
}

/// A policy: where it comes from, who is believed, what it may use. That of `[policy]` decides where
/// a target names no other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyConfig {
    /// Where it comes from; default the built-in policy.
    pub source: Source,
    /// Which of the policies in this binary it is, where it comes from none else.
    #[serde(default)]
    pub built_in: BuiltIn,
    /// Whether sources are watched while dbmedic runs; default yes.
    pub watch: bool,
    /// Whether a policy that is not built in needs a signature by a trusted key; default yes.
    pub require_signature: bool,
    /// The keys whose signatures are believed; default none.
    pub trusted_keys: Vec<TrustedKey>,
    /// How a candidate has to prove itself.
    pub gate: GateSettings,
    /// What policies may use: the runtime's own limits, within bounds that [`Config::load`] checks.
    pub limits: Limits,
    /// When it is taken out of service.
    pub breaker: BreakerOptions,
    /// Its parameters, sorted by name. The policy itself checks them: see [`Places::problem`].
    pub parameters: Vec<Setting>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            source: Source::BuiltIn,
            built_in: BuiltIn::Default,
            watch: true,
            require_signature: true,
            trusted_keys: Vec::new(),
            gate: GateSettings::default(),
            limits: Limits::default(),
            breaker: BreakerOptions::default(),
            parameters: Vec::new(),
        }
    }
}

/// Another policy than the default one, for the targets that name it. What its section does not say
/// is as in `[policy]`, but for where it comes from and its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedPolicyConfig {
    /// Its name: letters, digits, `_`, `-` and `.`, 64 at most.
    pub name: String,
    /// Everything else.
    #[serde(flatten)]
    pub policy: PolicyConfig,
}

/// A database under care.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its name: letters, digits, `_`, `-` and `.`, 64 at most. Names a directory too.
    pub name: String,
    /// The SQLite database file.
    pub sqlite: PathBuf,
    /// The short names (`/proc/PID/comm`) of the processes that a repair may end; default none.
    pub may_end: Vec<String>,
    /// The names of the policies that decide here, in line; default `default`, the one of
    /// `[policy]`.
    pub policies: Vec<String>,
    /// How much dbmedic may do here: its own mode, or else the configuration's.
    pub mode: Mode,
    /// All bounds that hold here: the configuration's as overridden by the target's own.
    pub constraints: Vec<Constraint>,
    /// When people work on it each week; default none.
    #[serde(default)]
    pub maintenance: Vec<WeeklyWindow>,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is valid but unusual, in the order of the file.
    pub warnings: Vec<Problem>,
    /// Where each field stands, for mistakes that show only later.
    pub places: Places,
}

impl Loaded {
    /// What is wrong when root's configuration does not say where the state directory is: beside a
    /// file that lies anywhere is no place that root believes.
    ///
    /// # Errors
    /// The mistake, with what to write.
    pub fn needs_state_dir(&self) -> Result<(), ConfigErrors> {
        if !is_root() || self.places.offsets.contains_key("state_dir") {
            return Ok(());
        }
        let message = "`state_dir` is missing, and root has no default for it".to_owned();
        let hint = format!("write `state_dir = \"{ROOTS_STATE_DIR}\"`");
        let problem = self.places.problem("state_dir", message, Some(hint));
        Err(ConfigErrors(vec![problem]))
    }
}

/// Where each field of a configuration stands.
#[derive(Debug, Clone)]
pub struct Places {
    file: String,
    text: String,
    offsets: BTreeMap<String, usize>,
}

impl Places {
    /// An error of a field, at its line. For what only others can judge, as a policy its
    /// parameters: `places.problem("policy.parameters.max_age_ms", message, hint)`. A field that
    /// is not in the file is placed at the nearest section that is.
    pub fn problem(&self, field: &str, message: String, hint: Option<String>) -> Problem {
        let mut problem = Problem::of_file(&self.file, message, hint);
        let mut nearest = Some(field);
        while let Some(path) = nearest {
            if let Some(offset) = self.offsets.get(path) {
                problem = problem.at(&self.text, *offset);
                break;
            }
            nearest = path.rsplit_once('.').map(|(above, _)| above);
        }
        Problem {
            field: field.to_owned(),
            ..problem
        }
    }
}

impl Config {
    /// Every policy by its name: those of `[[policies]]`, then the default one.
    pub fn every_policy(&self) -> impl Iterator<Item = (&str, &PolicyConfig)> {
        let named = self.policies.iter();
        named
            .map(|named| (named.name.as_str(), &named.policy))
            .chain([(DEFAULT_POLICY, &self.policy)])
    }

    /// Where the section of a policy is, as a field: `policy`, or `policies[0]`.
    pub fn path_of_policy(&self, name: &str) -> String {
        let mut named = self.policies.iter();
        named
            .position(|named| named.name == name)
            .map_or_else(|| "policy".to_owned(), |index| format!("policies[{index}]"))
    }

    /// Reads, parses and checks a file, and that the files which it names are there.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        let text = text_of(path)?;
        parse(&text, path, &Resolve::OnDisk)
    }

    /// The state directory that a configuration names, for who asks about a run. Nothing else that it names
    /// is looked at.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn state_dir_of(path: &Path) -> Result<PathBuf, ConfigErrors> {
        let loaded = parse(&text_of(path)?, path, &Resolve::ByName)?;
        loaded.needs_state_dir()?;
        Ok(loaded.config.state_dir)
    }

    /// Parses and checks a text that came from, or would stand in, the file `origin`. Touches no
    /// file: that a policy's or a target's file exists is not checked.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn parse(text: &str, origin: &Path) -> Result<Loaded, ConfigErrors> {
        parse(text, origin, &Resolve::ByName)
    }
}

fn text_of(path: &Path) -> Result<String, ConfigErrors> {
    let fail =
        |message: String, hint: &str| ConfigErrors::of_file(path, message, Some(hint.to_owned()));
    // It says what is written where, which policy decides and whom a repair may end.
    let bytes = path_trust::read(path, FILE_BYTES as u64).map_err(|error| match error {
        TrustError::Io { source, .. } => {
            let hint = match source.kind() {
                io::ErrorKind::NotFound => "`dbmedic config init` writes one to begin with",
                _ => "name a file that may be read",
            };
            fail(format!("cannot read the configuration: {source}"), hint)
        }
        TrustError::TooLarge { .. } => fail(
            "this is no configuration of dbmedic".to_owned(),
            "1 MiB is the most that is read",
        ),
        error => ConfigErrors::of_file(path, error.what(), error.mend()),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = line_of(&String::from_utf8_lossy(&error.as_bytes()[..valid]), valid);
        let message = format!("line {line} is not UTF-8 text");
        fail(message, "save the file as UTF-8")
    })
}

fn parse(text: &str, origin: &Path, resolve: &Resolve) -> Result<Loaded, ConfigErrors> {
    let file = origin.display().to_string();
    let mut findings = Findings::new(&file, text);
    let (table, mistakes) = DeTable::parse_recoverable(text);
    for mistake in &mistakes {
        let offset = mistake.span().map_or(0, |span| span.start);
        findings.error(offset, "", mistake.message().to_owned(), None);
    }
    if !mistakes.is_empty() {
        // What is left after a broken line would be judged by what it is not.
        return Err(ConfigErrors(findings.close().0));
    }
    let base = origin.parent().unwrap_or(Path::new(""));
    let mut root = Section::root(&mut findings, table.get_ref());
    let config = read::config(&mut root, base, resolve);
    if config.is_some() {
        root.finish();
    }
    let (problems, offsets) = findings.close();
    let faulty = problems
        .iter()
        .any(|problem| problem.severity == ProblemSeverity::Error);
    match config {
        Some(config) if !faulty => Ok(Loaded {
            config,
            warnings: problems,
            places: Places {
                file,
                text: text.to_owned(),
                offsets,
            },
        }),
        _ => Err(ConfigErrors(problems)),
    }
}

/// Why [`init`] wrote nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// There is a file already; it was not touched.
    #[error("{} exists already and is left as it is: name another file, or move this one away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written whole and synced.
    #[error("cannot write {}: its directory must exist and be writable", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes [`TEMPLATE`] to a file that does not exist yet: whole and synced, or not at all. For root it
/// names a state directory.
///
/// # Errors
/// [`InitError::Exists`] and [`InitError::Write`].
pub fn init(path: &Path) -> Result<(), InitError> {
    let exists = || InitError::Exists { path: path.into() };
    let failed = |source| InitError::Write {
        path: path.into(),
        source,
    };
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // There is no secret in it; the umask still takes its part.
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(directory)
        .map_err(failed)?;
    let text = if is_root() {
        // What root must say, with the usual place.
        let (option, named) = (
            format!("#state_dir = \"{DEFAULT_STATE_DIR}\""),
            format!("state_dir = \"{ROOTS_STATE_DIR}\""),
        );
        TEMPLATE.replace(&option, &named)
    } else {
        TEMPLATE.to_owned()
    };
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|refused| match refused.error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => failed(refused.error),
        })?;
    std::fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)
}
