//! What the end-to-end tests and the benches have in common.

pub mod attacks;
pub mod binary;

use std::collections::BTreeMap;

use dbmedic::diagnose::DiagnoseOptions;
use dbmedic::guard::{GuardLimits, Mode};
use dbmedic::model::{
    Candidate, CascadeLevel, Context, DataLoss, EscalationLevel, Finding, Maintenance, PolicyEvent,
    Setting,
};
use dbmedic::pipeline::{Carried, PipelineOptions, TargetOptions, only_default};
use dbmedic::policy::{BreakerOptions, Limits, Policy};
use dbmedic::recording::{Header, VERSION};

/// A problem with one repair, `lock.end-holder`.
pub fn finding() -> PolicyEvent {
    PolicyEvent::Finding(Finding {
        incident: "i-1".into(),
        kind: "lock.stale-holder".into(),
        subject: "orders.db".into(),
        summary: "a process holds the write lock and does nothing".into(),
        severity: 0.6,
        first_seen_ms: 1_000,
        last_seen_ms: 2_000,
        sightings: 3,
        facts: Vec::new(),
        evidence: Vec::new(),
        candidates: vec![Candidate {
            id: "lock.end-holder".into(),
            summary: "end the holder".into(),
            level: CascadeLevel::InPlace,
            preconditions: Vec::new(),
            expected_duration_ms: 100,
            expected_loss: DataLoss::NONE,
            undoable: false,
        }],
    })
}

/// What a policy is told beside it, with its settings and one byte of memory, 41.
pub fn context(policy: &Policy) -> Context {
    Context {
        now_ms: 2_000,
        target: "orders".into(),
        level: EscalationLevel::Normal,
        level_since_ms: 0,
        repairs: Vec::new(),
        incidents: Vec::new(),
        constraints: Vec::new(),
        metrics: Vec::new(),
        maintenance: Maintenance::default(),
        local_time: None,
        settings: policy.settings().to_vec(),
        memory: vec![41],
        target_kind: "sqlite".into(),
    }
}

/// What the process holds in memory now, bytes.
///
/// # Panics
/// Where `/proc/self/status` does not say so.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("VmRSS stands there in kB") << 10
}

/// A pipeline of one target that is only observed.
pub fn observed(target: &str) -> PipelineOptions {
    let options = TargetOptions {
        kind: dbmedic::model::sqlite(),
        policies: only_default(),
        mode: Mode::Observe,
        diagnose: DiagnoseOptions {
            lock_hold_ms: 1000,
            reader_hold_ms: 1000,
            sample_interval_ms: 1000,
            snapshot_recent_ms: 86_400_000,
            may_end: Vec::new(),
        },
        constraints: Vec::new(),
    };
    PipelineOptions {
        decide_interval_ms: 1000,
        baseline_window: 1000,
        baseline_established_after: 30,
        guard: GuardLimits::default(),
        breaker: BreakerOptions::default(),
        named_breakers: BTreeMap::new(),
        targets: BTreeMap::from([(target.to_owned(), options)]),
        signatures: None,
    }
}

/// The header of a recording of one policy with these settings, when nothing was carried over.
pub fn recording_header(
    policy: &Policy,
    settings: Vec<Setting>,
    limits: Limits,
    options: PipelineOptions,
) -> Header {
    Header {
        dbmedic_recording: VERSION,
        dbmedic: "0.1.0".into(),
        seed: 1,
        started_ms: 1,
        policy: policy.identity(),
        settings,
        named: BTreeMap::new(),
        limits,
        options,
        carried: Carried::default(),
    }
}
