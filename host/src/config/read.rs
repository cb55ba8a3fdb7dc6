//! From the document to the configuration: every option with its bounds, and what must hold
//! between options.

use std::path::{Path, PathBuf};

use super::constraints::constraints;
use super::maintenance::time_zone;
use super::policies::{named_policies, not_believed, policy_config};
use super::resolve::Resolve;
use super::targets::{Surroundings, targets};
use super::{
    BaselineConfig, Config, DecisionLogConfig, GuardLimits, Mode, Observation, OperationConfig,
    ResourceConfig, Snapshots, VERSION,
};
use crate::baseline::MAX_POINTS;
use crate::document::{self, Section};
use crate::logging::LogFormat;
use crate::path_trust;

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
/// The least and the greatest interval, milliseconds.
const INTERVAL: std::ops::RangeInclusive<u64> = 10..=30 * DAY;
/// What `mode` may be.
pub(super) const MODES: [(&str, Mode); 3] = [
    ("observe", Mode::Observe),
    ("approve", Mode::Approve),
    ("enforce", Mode::Enforce),
];

/// The configuration; none when its version is not ours, and nothing more can be said then.
pub(super) fn config(root: &mut Section<'_, '_>, base: &Path, resolve: &Resolve) -> Option<Config> {
    if !document::version(root, VERSION) {
        return None;
    }
    let default = Config::default();
    let state_dir = root
        .text("state_dir", "the directory for journal and snapshots")
        .map_or(default.state_dir, PathBuf::from);
    let state_dir = base.join(state_dir);
    if matches!(resolve, Resolve::OnDisk) && state_dir.exists() && !state_dir.is_dir() {
        let message = format!("`state_dir` is {}, which is a file", state_dir.display());
        root.error("state_dir", message, "name a directory, existing or not");
    }
    let signature_dir = root
        .text("signature_dir", "the directory of learned signatures")
        .map_or(default.signature_dir, PathBuf::from);
    let signature_dir = base.join(signature_dir);
    if matches!(resolve, Resolve::OnDisk) && signature_dir.exists() && !signature_dir.is_dir() {
        let message = format!(
            "`signature_dir` is {}, which is a file",
            signature_dir.display()
        );
        root.error(
            "signature_dir",
            message,
            "name a directory, existing or not",
        );
    }
    if matches!(resolve, Resolve::OnDisk)
        && let Err(error) = path_trust::check_directory(&signature_dir)
        && !error.is_absence()
    {
        not_believed(root, "signature_dir", &error);
    }
    let mode = root.choice("mode", default.mode, &MODES);
    let time_zone = time_zone(root, resolve, default.time_zone);
    let log_format = root.choice("log_format", default.log_format, &LogFormat::ALL);
    let observation = root.table("observation", observation);
    let resources = root.table("resources", resources);
    let operations = root.table("operations", operations);
    let baseline = root.table("baseline", baseline);
    let snapshots = root.table("snapshots", snapshots);
    let guard = root.table("guard", guard);
    let policy = root.table("policy", |policy| {
        policy_config(policy, base, resolve, &default.policy)
    });
    let policies = named_policies(root, base, resolve, &policy);
    let decision_log = root.table("decision_log", |section| {
        decision_log(section, base, &state_dir)
    });
    let constraints = constraints(root, &default.constraints);
    let surroundings = Surroundings {
        base,
        resolve,
        state_dir: resolve.identity(&state_dir),
        mode,
        policies: &policies,
        constraints: &constraints,
    };
    let targets = targets(root, &surroundings);
    Some(Config {
        state_dir,
        signature_dir,
        mode,
        time_zone,
        log_format,
        observation,
        resources,
        operations,
        baseline,
        snapshots,
        guard,
        policy,
        policies,
        decision_log,
        constraints,
        targets,
    })
}

fn observation(section: &mut Section<'_, '_>) -> Observation {
    let default = Observation::default();
    let probe_transactions = section.flag("probe_transactions", default.probe_transactions);
    let mut interval = |key, default, usual| section.whole(key, default, INTERVAL, usual);
    let observation = Observation {
        sample_interval_ms: interval(
            "sample_interval_ms",
            default.sample_interval_ms,
            100..=MINUTE,
        ),
        integrity_interval_ms: interval(
            "integrity_interval_ms",
            default.integrity_interval_ms,
            10 * MINUTE..=7 * DAY,
        ),
        quick_check_interval_ms: interval(
            "quick_check_interval_ms",
            default.quick_check_interval_ms,
            10 * SECOND..=HOUR,
        ),
        integrity_timeout_ms: interval(
            "integrity_timeout_ms",
            default.integrity_timeout_ms,
            SECOND..=DAY,
        ),
        quick_check_timeout_ms: interval(
            "quick_check_timeout_ms",
            default.quick_check_timeout_ms,
            100..=30 * SECOND,
        ),
        incremental_check_interval_ms: interval(
            "incremental_check_interval_ms",
            default.incremental_check_interval_ms,
            10 * SECOND..=HOUR,
        ),
        incremental_check_timeout_ms: interval(
            "incremental_check_timeout_ms",
            default.incremental_check_timeout_ms,
            SECOND..=5 * MINUTE,
        ),
        resource_interval_ms: interval(
            "resource_interval_ms",
            default.resource_interval_ms,
            SECOND..=5 * MINUTE,
        ),
        resource_timeout_ms: interval(
            "resource_timeout_ms",
            default.resource_timeout_ms,
            100..=30 * SECOND,
        ),
        probe_transactions,
        probe_transaction_interval_ms: interval(
            "probe_transaction_interval_ms",
            default.probe_transaction_interval_ms,
            SECOND..=5 * MINUTE,
        ),
        wal_scan_interval_ms: interval(
            "wal_scan_interval_ms",
            default.wal_scan_interval_ms,
            SECOND..=HOUR,
        ),
        tick_interval_ms: interval(
            "tick_interval_ms",
            default.tick_interval_ms,
            SECOND..=5 * MINUTE,
        ),
        decide_interval_ms: interval(
            "decide_interval_ms",
            default.decide_interval_ms,
            SECOND..=5 * MINUTE,
        ),
        lock_hold_ms: interval("lock_hold_ms", default.lock_hold_ms, 500..=10 * MINUTE),
        reader_hold_ms: interval("reader_hold_ms", default.reader_hold_ms, 500..=HOUR),
    };
    for (key, hold_ms) in [
        ("lock_hold_ms", observation.lock_hold_ms),
        ("reader_hold_ms", observation.reader_hold_ms),
    ] {
        if section.has(key) && hold_ms < observation.sample_interval_ms {
            let message = format!("`{key}` is shorter than `sample_interval_ms`");
            let hint = format!(
                "two looks are {} ms apart, so nothing shorter is noticed",
                observation.sample_interval_ms
            );
            section.warning(key, message, hint);
        }
    }
    observation
}

fn resources(section: &mut Section<'_, '_>) -> ResourceConfig {
    let default = ResourceConfig::default();
    let mut share = |key, default| section.number(key, default, 0.01..=0.999, 0.5..=0.99);
    let resources = ResourceConfig {
        warning_threshold: share("warning_threshold", default.warning_threshold),
        critical_threshold: share("critical_threshold", default.critical_threshold),
    };
    if resources.critical_threshold < resources.warning_threshold {
        section.error(
            "critical_threshold",
            "`critical_threshold` is below `warning_threshold`",
            "a warning comes first",
        );
    }
    resources
}

fn operations(section: &mut Section<'_, '_>) -> OperationConfig {
    let default = OperationConfig::default();
    OperationConfig {
        bucket_ms: section.whole(
            "bucket_ms",
            default.bucket_ms,
            SECOND..=5 * MINUTE,
            10 * SECOND..=30 * SECOND,
        ),
        max_names: section.whole("max_names", default.max_names, 1..=4096, 8..=256),
        max_threads: section.whole("max_threads", default.max_threads, 1..=4096, 8..=256),
    }
}

fn baseline(section: &mut Section<'_, '_>) -> BaselineConfig {
    let default = BaselineConfig::default();
    let longest = MAX_POINTS as usize;
    let baseline = BaselineConfig {
        window: section.whole("window", default.window, 100..=longest, 1000..=longest),
        established_after: section.whole(
            "established_after",
            default.established_after,
            2..=longest,
            20..=1000,
        ),
    };
    if baseline.established_after > baseline.window {
        section.error(
            "established_after",
            format!(
                "`established_after` is above `window` ({})",
                baseline.window
            ),
            "a baseline that never fills its window would never be used; lower it",
        );
    }
    baseline
}

fn decision_log(section: &mut Section<'_, '_>, base: &Path, state_dir: &Path) -> DecisionLogConfig {
    let default = DecisionLogConfig::default();
    let right = "a directory of its own";
    let directory = section.text("directory", right).map(|text| base.join(text));
    let config = DecisionLogConfig {
        enabled: section.flag("enabled", default.enabled),
        directory,
        max_file_mib: section.whole("max_file_mib", default.max_file_mib, 1..=1024, 4..=128),
        max_total_mib: section.whole(
            "max_total_mib",
            default.max_total_mib,
            2..=1 << 20,
            32..=16_384,
        ),
    };
    if config.max_total_mib < 2 * config.max_file_mib {
        let message = format!(
            "`max_total_mib` is less than two files of `max_file_mib` ({})",
            config.max_file_mib
        );
        section.error(
            "max_total_mib",
            message,
            "raise it, or make the files smaller",
        );
    }
    if config.directory.as_deref() == Some(state_dir) {
        let message = "`directory` is the state directory itself";
        section.error("directory", message, format!("name {right}"));
    }
    config
}

fn snapshots(section: &mut Section<'_, '_>) -> Snapshots {
    let default = Snapshots::default();
    let snapshots = Snapshots {
        interval_ms: section.whole("interval_ms", default.interval_ms, INTERVAL, MINUTE..=DAY),
        keep: section.whole("keep", default.keep, 1..=1000, 2..=48),
        recent_ms: section.whole(
            "recent_ms",
            default.recent_ms,
            SECOND..=365 * DAY,
            HOUR..=7 * DAY,
        ),
        max_lock_ms: section.whole("max_lock_ms", default.max_lock_ms, 1..=60_000, 1..=SECOND),
    };
    if snapshots.interval_ms > snapshots.recent_ms {
        section.warning(
            if section.has("interval_ms") {
                "interval_ms"
            } else {
                "recent_ms"
            },
            "snapshots are made less often than they stay recent",
            "let `recent_ms` be longer than `interval_ms`",
        );
    }
    snapshots
}

fn guard(section: &mut Section<'_, '_>) -> GuardLimits {
    let default = GuardLimits::default();
    GuardLimits {
        max_loss_commits: section.whole(
            "max_loss_commits",
            default.max_loss_commits,
            0..=1_000_000,
            0..=1000,
        ),
        max_loss_percent: section.number(
            "max_loss_percent",
            default.max_loss_percent,
            0.0..=100.0,
            0.0..=10.0,
        ),
        max_lock_ms: section.whole(
            "max_lock_ms",
            default.max_lock_ms,
            1..=HOUR,
            100..=10 * SECOND,
        ),
        repairs_per_hour: section.whole(
            "repairs_per_hour",
            default.repairs_per_hour,
            1..=1000,
            1..=20,
        ),
        cool_down_ms: section.whole(
            "cool_down_ms",
            default.cool_down_ms,
            0..=DAY,
            10 * SECOND..=HOUR,
        ),
        failures_before_person: section.whole(
            "failures_before_person",
            default.failures_before_person,
            1..=100,
            1..=5,
        ),
        flap_window_ms: section.whole(
            "flap_window_ms",
            default.flap_window_ms,
            SECOND..=30 * DAY,
            10 * MINUTE..=DAY,
        ),
        flap_repairs: section.whole("flap_repairs", default.flap_repairs, 2..=1000, 3..=10),
    }
}
