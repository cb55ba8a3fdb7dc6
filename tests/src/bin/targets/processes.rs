//! What the processes of dbmedic use, as `/proc` tells it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Clock ticks of a second, as `/proc` counts them on Linux.
const TICKS: f64 = 100.0;

/// What a process and those that it started use.
pub(crate) struct Usage {
    at: Instant,
    /// Since the other one, where there is one.
    pub(crate) took: Duration,
    own: u32,
    /// Processor time of each process, ticks, those that it waited for not counted.
    ticks: BTreeMap<u32, u64>,
    /// Of those that have ended and were waited for.
    ended_ticks: u64,
    proportional_kb: u64,
    resident_kb: u64,
    own_kb: u64,
    pub(crate) processes: usize,
    pub(crate) threads: usize,
    pub(crate) open_files: usize,
}

/// The fields of `/proc/PID/stat` behind the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn field(stat: &[String], number: usize) -> u64 {
    let found = number.checked_sub(3).and_then(|at| stat.get(at));
    found.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A process and all that it started, and that those did.
fn family(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u64)> = pids
        .filter_map(|pid| Some((pid, field(&stat(pid)?, 4))))
        .collect();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        let children = parents.iter().filter(|(_, of)| *of == u64::from(parent));
        family.extend(children.map(|(child, _)| child));
        at += 1;
    }
    family
}

/// A number of kB in a file of `/proc/PID`.
fn kb(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Usage {
    /// What a process and those that it started use now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let own = stat(pid).context("dbmedic has ended")?;
        let family = family(pid);
        let mut usage = Self {
            at: Instant::now(),
            took: Duration::ZERO,
            own: pid,
            ticks: BTreeMap::new(),
            ended_ticks: field(&own, 16) + field(&own, 17),
            proportional_kb: 0,
            resident_kb: 0,
            own_kb: kb(pid, "smaps_rollup", "Pss"),
            processes: family.len(),
            threads: 0,
            open_files: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        };
        for pid in family {
            let Some(stat) = stat(pid) else { continue };
            usage.ticks.insert(pid, field(&stat, 14) + field(&stat, 15));
            usage.threads += usize::try_from(field(&stat, 20))?;
            usage.proportional_kb += kb(pid, "smaps_rollup", "Pss");
            usage.resident_kb += kb(pid, "smaps_rollup", "Rss");
        }
        Ok(usage)
    }

    /// The same with the processor time since another one, and the most of the other numbers.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        self.took = self.at.duration_since(before.at);
        for (pid, ticks) in &mut self.ticks {
            *ticks -= before.ticks.get(pid).copied().unwrap_or(0).min(*ticks);
        }
        // What an ended one used before is counted there.
        let ended = before.ticks.iter();
        let ended = ended.filter(|(pid, _)| !self.ticks.contains_key(pid));
        let known: u64 = ended.map(|(_, ticks)| ticks).sum();
        self.ended_ticks = (self.ended_ticks - before.ended_ticks).saturating_sub(known);
        self.processes = self.processes.max(before.processes);
        self.threads = self.threads.max(before.threads);
        self.proportional_kb = self.proportional_kb.max(before.proportional_kb);
        self.resident_kb = self.resident_kb.max(before.resident_kb);
        self.own_kb = self.own_kb.max(before.own_kb);
        self
    }

    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    pub(crate) fn processor_s(&self) -> f64 {
        (self.ticks.values().sum::<u64>() + self.ended_ticks) as f64 / TICKS
    }

    pub(crate) fn share(&self) -> f64 {
        self.processor_s() / self.took.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    pub(crate) fn own_share(&self) -> f64 {
        let ticks = self.ticks.get(&self.own).copied().unwrap_or(0);
        ticks as f64 / TICKS / self.took.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    pub(crate) fn proportional_mb(&self) -> f64 {
        self.proportional_kb as f64 / 1000.0
    }

    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    pub(crate) fn resident_mb(&self) -> f64 {
        self.resident_kb as f64 / 1000.0
    }

    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    pub(crate) fn own_mb(&self) -> f64 {
        self.own_kb as f64 / 1000.0
    }
}
