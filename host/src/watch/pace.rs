//! How often what is done.

use crate::health::{CheckKind, CheckPlan, Lane};

/// A snapshot may take as long as the copying of a large database does, milliseconds.
const SNAPSHOT_TIMEOUT_MS: u64 = 3_600_000;

/// A probe transaction waits for its lock for a second, and for its turn, milliseconds.
const PROBE_TRANSACTION_TIMEOUT_MS: u64 = 10_000;

/// How often what is done, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks.
    pub sample_interval_ms: u64,
    /// Between two ticks of the pipeline.
    pub tick_interval_ms: u64,
    /// Between two scans of the log's frames.
    pub wal_scan_interval_ms: u64,
    /// Between two quick checks, of a sample of the rows.
    pub quick_check_interval_ms: u64,
    /// How long a quick check may take.
    pub quick_check_timeout_ms: u64,
    /// Between two incremental checks, of what was written since it was proven.
    pub incremental_check_interval_ms: u64,
    /// How long an incremental check may take.
    pub incremental_check_timeout_ms: u64,
    /// Between two full checks of the pages and indexes.
    pub integrity_interval_ms: u64,
    /// How long a full check may take.
    pub integrity_timeout_ms: u64,
    /// Between two measurements of the host's resources.
    pub resource_interval_ms: u64,
    /// How long a measurement of the host's resources may take.
    pub resource_timeout_ms: u64,
    /// Between two probe transactions; none: they are not made.
    pub probe_transaction_interval_ms: Option<u64>,
    /// Between two snapshots.
    pub snapshot_interval_ms: u64,
    /// Snapshots kept for each target.
    pub snapshots_kept: usize,
    /// How long taking one may keep writers waiting, in rollback mode.
    pub snapshot_max_lock_ms: u64,
}

impl Pace {
    /// The checks that are made of a target.
    pub fn plans(&self) -> Vec<CheckPlan> {
        let plan = |check, interval_ms, timeout_ms, lane| CheckPlan {
            check,
            interval_ms,
            timeout_ms,
            lane,
        };
        let mut plans = vec![
            plan(
                CheckKind::Quick,
                self.quick_check_interval_ms,
                self.quick_check_timeout_ms,
                Lane::Short,
            ),
            plan(
                CheckKind::Incremental,
                self.incremental_check_interval_ms,
                self.incremental_check_timeout_ms,
                Lane::Long,
            ),
            plan(
                CheckKind::Full,
                self.integrity_interval_ms,
                self.integrity_timeout_ms,
                Lane::Long,
            ),
            plan(
                CheckKind::Resource,
                self.resource_interval_ms,
                self.resource_timeout_ms,
                Lane::Own,
            ),
            plan(
                CheckKind::Snapshot,
                self.snapshot_interval_ms,
                SNAPSHOT_TIMEOUT_MS,
                Lane::Short,
            ),
        ];
        plans.extend(self.probe_transaction_interval_ms.map(|interval_ms| {
            plan(
                CheckKind::ProbeTransaction,
                interval_ms,
                PROBE_TRANSACTION_TIMEOUT_MS,
                Lane::Short,
            )
        }));
        plans
    }
}
