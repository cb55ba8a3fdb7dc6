//! What the host has left: disks, memory, file descriptors, processor. Section 1.2 C of the
//! specification.
//!
//! It measures and never judges. The only module that asks the system for these.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sysinfo::{CpuRefreshKind, System};

use crate::constraint::Constraint;
use crate::source::{Sample, float};

mod filling;
mod holders;

use holders::Holders;

pub use filling::{FULL_IN_MOST_S, Filling, Outlook};

/// Places whose disks are watched. Each disk is told once, by the first place that lies on it.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The data; its series are `disk_...`.
    pub data: PathBuf,
    /// The write-ahead log; its series are `wal_disk_...`, when it lies on another disk.
    pub wal: Option<PathBuf>,
    /// Snapshots; their series are `snapshot_disk_...`, when they lie on another disk.
    pub snapshots: Option<PathBuf>,
}

/// What was seen of the disk on which a place lies.
struct WatchedDisk {
    device: u64,
    filling: Filling,
}

/// Measures the host, again and again.
pub struct Resources {
    places: Vec<(&'static str, PathBuf)>,
    disks: BTreeMap<&'static str, WatchedDisk>,
    /// None on a system that does not tell.
    system: Option<System>,
    /// Whether the processor was asked before: its use is a difference.
    asked_before: bool,
    holders: Holders,
}

impl Resources {
    /// Nothing is asked yet. Without places no disk is watched.
    pub fn new(places: Option<Places>) -> Self {
        let (data, wal, snapshots) = places.map_or((None, None, None), |places| {
            (Some(places.data), places.wal, places.snapshots)
        });
        let places = [("", data), ("wal_", wal), ("snapshot_", snapshots)];
        Self {
            places: places
                .into_iter()
                .filter_map(|(prefix, place)| Some((prefix, place?)))
                .collect(),
            disks: BTreeMap::new(),
            system: System::new().ok(),
            asked_before: false,
            holders: Holders::default(),
        }
    }

    /// Measures. `processes` hold locks of the target; those that may not be asked are left out.
    /// A place that has come to lie on another disk is logged: from then on that one is measured.
    ///
    /// | series | value |
    /// | --- | --- |
    /// | `disk_free_bytes`, `disk_free_percent`, `disk_used_percent` | of what this user may use |
    /// | `disk_fill_bytes_per_s`, `disk_full_in_s` | see [`Filling`]; left out while it is not known |
    /// | `memory_free_bytes`, `memory_used_percent` | of the host, or of the control group if that is less |
    /// | `fd_used_percent` | file descriptors, of the process that is nearest to its limit, this one included |
    /// | `holders_memory_bytes` | resident memory of `processes` together |
    /// | `holders_cache_hit_percent` | of what `processes` read, what did not come from the disk |
    /// | `cpu_percent` | of all processors since the last measurement |
    /// | `load_1m` | runnable processes, mean of a minute |
    pub fn measure(&mut self, at_ms: u64, processes: &[u32]) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(16);
        let mut add = |series: String, value: f64| {
            if value.is_finite() {
                samples.push(Sample { series, value });
            }
        };
        let mut told = Vec::new();
        for (prefix, place) in &self.places {
            let Some(disk) = disk_of(place) else { continue };
            let fresh = || WatchedDisk {
                device: disk.device,
                filling: Filling::default(),
            };
            let known = self.disks.entry(prefix).or_insert_with(fresh);
            if known.device != disk.device {
                tracing::warn!(
                    "{} lies on another disk than before: was something mounted or unmounted?",
                    place.display()
                );
                *known = fresh();
            }
            if told.contains(&disk.device) {
                continue;
            }
            told.push(disk.device);
            add(format!("{prefix}disk_free_bytes"), disk.free_bytes);
            if disk.size_bytes > 0.0 {
                let free_percent = disk.free_bytes * 100.0 / disk.size_bytes;
                add(format!("{prefix}disk_free_percent"), free_percent);
                add(format!("{prefix}disk_used_percent"), 100.0 - free_percent);
            }
            known.filling.record(at_ms, disk.free_bytes);
            let (rate, full_in_s) = match known.filling.outlook() {
                Outlook::Unknown => continue,
                Outlook::NotFilling => (0.0, FULL_IN_MOST_S),
                Outlook::Full { in_s, bytes_per_s } => (bytes_per_s, in_s),
            };
            add(format!("{prefix}disk_fill_bytes_per_s"), rate);
            add(format!("{prefix}disk_full_in_s"), full_in_s);
        }
        if let Some(system) = &mut self.system {
            system.refresh_memory();
            system.refresh_cpu_usage();
            let (mut free, mut size) = (system.available_memory(), system.total_memory());
            if let Some(group) = system.cgroup_limits()
                && group.total_memory > 0
                && group.total_memory < size
            {
                size = group.total_memory;
                free = free.min(group.free_memory);
            }
            add("memory_free_bytes".into(), float(free));
            if size > 0 {
                let used = float(size.saturating_sub(free)) * 100.0 / float(size);
                add("memory_used_percent".into(), used);
            }
            if std::mem::replace(&mut self.asked_before, true) {
                add("cpu_percent".into(), f64::from(system.global_cpu_usage()));
            }
        }
        if let Ok(load) = System::load_average() {
            add("load_1m".into(), load.one);
        }
        let descriptors = std::iter::once(std::process::id())
            .chain(processes.iter().copied())
            .filter_map(descriptors_used_percent)
            .fold(None, |most: Option<f64>, used| {
                Some(most.map_or(used, |most| most.max(used)))
            });
        if let Some(used) = descriptors {
            add("fd_used_percent".into(), used);
        }
        if let Some(bytes) = Holders::memory_bytes(processes) {
            add("holders_memory_bytes".into(), bytes);
        }
        if let Some(share) = self.holders.cache_hit_percent(processes) {
            add("holders_cache_hit_percent".into(), share);
        }
        samples
    }
}

/// The bounds of section 1.2 C: a warning at 80 % of what there is, critical at 95 %. `processors`
/// are those of the host ([`processors`]): as much load they can bear; without them load has no
/// bound.
pub fn limits(warning: f64, critical: f64, processors: Option<usize>) -> Vec<Constraint> {
    let bound = |upper: f64, name: &str, metric: &str, description: &str| Constraint {
        upper: Some(upper),
        warning_threshold: warning,
        critical_threshold: critical,
        description: description.into(),
        ..Constraint::new(name, metric)
    };
    let limit = |name, metric, description| bound(100.0, name, metric, description);
    let mut limits = vec![
        limit("disk_used", "disk_used_percent", "disk that is used"),
        limit(
            "wal_disk_used",
            "wal_disk_used_percent",
            "disk of the log that is used",
        ),
        limit(
            "snapshot_disk_used",
            "snapshot_disk_used_percent",
            "disk of the snapshots that is used",
        ),
        limit("memory_used", "memory_used_percent", "memory that is used"),
        limit(
            "fd_used",
            "fd_used_percent",
            "file descriptors that are used",
        ),
        limit("cpu_used", "cpu_percent", "processor time that is used"),
    ];
    limits.extend(processors.map(|processors| {
        let description = format!("runnable processes, for {processors} processors");
        bound(float(processors as u64), "load", "load_1m", &description)
    }));
    limits
}

/// The processors of the host, also those that this process may not use: load counts them all.
/// None on a system that does not tell.
pub fn processors() -> Option<usize> {
    let mut system = System::new().ok()?;
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    Some(system.cpus().len()).filter(|processors| *processors > 0)
}

/// A mounted file system.
struct Disk {
    device: u64,
    free_bytes: f64,
    size_bytes: f64,
}

/// The disk on which a path lies, or will lie: the nearest directory above that exists.
fn disk_of(place: &Path) -> Option<Disk> {
    let place = std::path::absolute(place).ok()?;
    let (existing, meta) = place
        .ancestors()
        .find_map(|path| Some((path, fs::metadata(path).ok()?)))?;
    let room = rustix::fs::statvfs(existing).ok()?;
    let bytes = |blocks: u64| float(blocks) * float(room.f_frsize);
    // What only root may use is neither free nor used: as `df` counts.
    let reserved = room.f_bfree.saturating_sub(room.f_bavail);
    Some(Disk {
        device: meta.dev(),
        free_bytes: bytes(room.f_bavail),
        size_bytes: bytes(room.f_blocks.saturating_sub(reserved)),
    })
}

/// How much of its limit of open files a process uses; none when it may not be asked.
fn descriptors_used_percent(pid: u32) -> Option<f64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    // "Max open files            1024                 524288               files"
    let soft: u64 = line.split_whitespace().nth(3)?.parse().ok()?;
    (soft > 0).then(|| float(open as u64) * 100.0 / float(soft))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_measured_and_each_disk_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut resources = Resources::new(Some(Places {
            data: directory.path().join("not-there-yet/orders.db"),
            wal: Some(directory.path().join("orders.db-wal")),
            snapshots: Some(directory.path().to_owned()),
        }));
        let first = resources.measure(0, &[std::process::id(), u32::MAX]);
        let second = resources.measure(1000, &[]);
        let value = |samples: &[Sample], name: &str| {
            samples.iter().find(|s| s.series == name).map(|s| s.value)
        };
        assert!(value(&first, "disk_free_bytes").unwrap() > 0.0);
        assert!(
            first
                .iter()
                .all(|s| !s.series.starts_with("wal_") && !s.series.starts_with("snapshot_"))
        );
        for percent in [
            "disk_used_percent",
            "disk_free_percent",
            "memory_used_percent",
            "fd_used_percent",
        ] {
            let found = value(&first, percent).unwrap();
            assert!((0.0..=100.0).contains(&found), "{percent} {found}");
        }
        assert_eq!(
            value(&first, "cpu_percent"),
            None,
            "there is no difference yet"
        );
        assert!(value(&second, "cpu_percent").is_some());
        assert!(value(&second, "load_1m").is_some());
        assert_eq!(
            value(&second, "disk_full_in_s"),
            None,
            "two points are no trend"
        );
    }

    #[test]
    fn the_limits_warn_at_80_and_are_critical_at_95() {
        use crate::model::ConstraintStatus::{Critical, Ok, Warning};
        let limits = limits(0.8, 0.95, Some(4));
        for limit in &limits {
            for (percent, status) in [
                (79.9, Ok),
                (80.1, Warning),
                (94.9, Warning),
                (95.1, Critical),
            ] {
                let all = if limit.metric == "load_1m" {
                    4.0
                } else {
                    100.0
                };
                let value = all * percent / 100.0;
                assert_eq!(limit.check(value).0, status, "{} {value}", limit.name);
            }
        }
        for metric in ["disk_used_percent", "cpu_percent", "load_1m"] {
            assert!(
                limits.iter().any(|limit| limit.metric == metric),
                "{metric}"
            );
        }
        assert!(processors().is_some_and(|processors| processors > 0));
    }

    /// As when a file system is unmounted: the place is there still, on the disk below it.
    #[test]
    fn a_place_that_comes_to_lie_on_another_disk_is_measured_anew() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("data");
        std::os::unix::fs::symlink("/proc", &place).unwrap();
        let mut resources = Resources::new(Some(Places {
            data: place.clone(),
            ..Places::default()
        }));
        let mut points = |times: std::ops::Range<u64>| {
            for n in times {
                resources.measure(n * 1000, &[]);
            }
            resources.disks[""].filling.points()
        };
        assert_eq!(points(0..10), 10);
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        assert_eq!(
            points(10..13),
            3,
            "the other disk tells nothing of this one"
        );
    }
}
