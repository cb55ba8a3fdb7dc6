//! The typical decision, once in each set of types: a finding with two candidates, 12 metrics, 6
//! constraints, 8 earlier repairs, 64 bytes of memory.

macro_rules! case {
    () => {
        pub(crate) fn event() -> Event {
            let candidate = |id: &str, commits: u64, holds: bool| Candidate {
                id: id.into(),
                summary: "end the process that holds the lock".into(),
                level: CascadeLevel::InPlace,
                preconditions: vec![Precondition {
                    name: "same-process".into(),
                    holds,
                    detail: "started at the same instant as before".into(),
                }],
                expected_duration_ms: 100,
                expected_loss: DataLoss {
                    commits,
                    rows: None,
                    since_ms: None,
                    percent: 0.0,
                },
                undoable: false,
            };
            Event::Finding(Finding {
                incident: "INC-4711".into(),
                kind: "lock.stale-holder".into(),
                subject: "orders.db".into(),
                summary: "process 4711 holds the write lock and is stopped".into(),
                severity: 0.7,
                first_seen_ms: 1_000_000,
                last_seen_ms: 1_060_000,
                sightings: 12,
                facts: vec![
                    Fact {
                        name: "age_ms".into(),
                        value: Value::Integer(60_000),
                    },
                    Fact {
                        name: "holder_alive".into(),
                        value: Value::Boolean(true),
                    },
                ],
                evidence: Vec::new(),
                candidates: vec![
                    candidate("lock.wait", 0, false),
                    candidate("lock.end-holder", 1, true),
                ],
            })
        }

        pub(crate) fn context(settings: Vec<u8>) -> Context {
            let metrics = [
                ("commits_per_s", 212.5),
                ("reads_per_s", 1840.0),
                ("p99_latency_ms", 730.0),
                ("p50_latency_ms", 12.0),
                ("wal_bytes", 48_000_000.0),
                ("page_cache_hit_percent", 97.5),
                ("lock_wait_ms", 1200.0),
                ("error_rate_percent", 0.4),
                ("disk_free_bytes", 52_000_000_000.0),
                ("memory_free_bytes", 3_100_000_000.0),
                ("open_reader_count", 7.0),
                ("concurrent_transaction_count", 19.0),
            ];
            let constraints = [
                ("disk_space", "disk_free_bytes", 0.19),
                ("memory_available", "memory_free_bytes", 0.16),
                ("error_rate", "error_rate_percent", 0.08),
                ("p99_latency", "p99_latency_ms", 0.73),
                ("wal_size", "wal_bytes", 0.84),
                ("concurrent_tx", "concurrent_transaction_count", 0.19),
            ];
            let repairs = [
                ("lock.stale-holder", "lock.end-holder", 4, 0),
                ("lock.stale-holder", "lock.wait", 1, 2),
                ("index.corrupt", "index.rebuild", 2, 0),
                ("wal.corrupt-frame", "wal.truncate", 1, 0),
                ("wal.too-large", "wal.checkpoint", 31, 0),
                ("reader.stale", "reader.end", 3, 1),
                ("disk.exhausted", "disk.release-ballast", 1, 0),
                ("cache.cold", "cache.warm", 9, 0),
            ];
            // What the policy left at the event before: its header, a count, two rows of bytes.
            let mut memory = header();
            memory.push(17);
            memory.extend((0..54_u8).map(|n| n % 100));
            Context {
                now_ms: 1_060_000,
                target: "orders".into(),
                level: EscalationLevel::Watch,
                level_since_ms: 1_000_000,
                repairs: repairs
                    .into_iter()
                    .map(|(kind, repair, successes, failures)| RepairHistory {
                        kind: kind.into(),
                        repair: repair.into(),
                        successes,
                        failures,
                        failures_in_a_row: failures,
                        last_ms: 900_000,
                    })
                    .collect(),
                incidents: Vec::new(),
                constraints: constraints
                    .into_iter()
                    .map(|(name, metric, utilization)| ConstraintState {
                        name: name.into(),
                        metric: metric.into(),
                        value: utilization * 1000.0,
                        lower: None,
                        upper: Some(1000.0),
                        utilization,
                        status: ConstraintStatus::Ok,
                        violations_ms: Vec::new(),
                    })
                    .collect(),
                metrics: metrics
                    .into_iter()
                    .map(|(name, value)| Metric {
                        name: name.into(),
                        value,
                    })
                    .collect(),
                target_kind: "sqlite".into(),
                maintenance: Maintenance {
                    open: None,
                    next: None,
                },
                local_time: None,
                settings,
                memory,
            }
        }
    };
}

/// The header of the policy's own blobs stands before its settings too.
const HEADER_BYTES: usize = 9;

fn header() -> Vec<u8> {
    let packed = dbmedic_policy::configure::<typical_policy::Typical>(&[]).unwrap();
    packed[..HEADER_BYTES].to_vec()
}

/// In the host's types.
pub(crate) mod host {
    use super::header;
    use dbmedic::model::{
        Candidate, CascadeLevel, ConstraintState, ConstraintStatus, Context, DataLoss,
        EscalationLevel, Fact, Finding, Maintenance, Metric, PolicyEvent as Event, Precondition,
        RepairHistory, Value,
    };
    case!();
}

/// In the types of the SDK, for the native policy.
pub(crate) mod native {
    use super::header;
    use dbmedic_policy::{
        Candidate, CascadeLevel, ConstraintState, ConstraintStatus, Context, DataLoss,
        EscalationLevel, Event, Fact, Finding, Maintenance, Metric, Precondition, RepairHistory,
        Value,
    };
    case!();
}

/// In the types of the bare engine.
pub(crate) mod bare {
    use super::header;
    use crate::engine::generated::dbmedic::policy::findings::{
        Candidate, CascadeLevel, DataLoss, Fact, Finding, Precondition, Value,
    };
    use crate::engine::generated::dbmedic::policy::situation::{
        ConstraintState, ConstraintStatus, Context, Event, Maintenance, Metric, RepairHistory,
    };
    use crate::engine::generated::dbmedic::policy::verdicts::EscalationLevel;
    case!();
}
