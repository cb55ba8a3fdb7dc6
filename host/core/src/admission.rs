//! Whether an operation may begin: asked by an engine that embeds dbmedic before it writes or takes
//! a snapshot. Section 1.2 C of the specification.
//!
//! Pure, over the latest resources and the configured bounds. It says no only where a bound would
//! be broken; it is no judgement of what that means, which is the policy's part.

use crate::constraint::Constraint;
use crate::source::Sample;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intended {
    /// A read. It needs a free slot.
    Read,
    /// A write. It needs space, memory and a free slot.
    Write {
        /// What it will add to the disk, bytes; 0 when that is not known.
        bytes: u64,
    },
    /// A snapshot. It needs twice the space: the new one is whole before an old one goes.
    Snapshot {
        /// How large it will be, bytes; 0 when that is not known.
        bytes: u64,
    },
}

/// The latest of what an operation needs. What is not known refuses nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Room {
    /// Free where the data lives (`disk_free_bytes`).
    pub disk_free_bytes: Option<f64>,
    /// Free where snapshots live (`snapshot_disk_free_bytes`), when that is another disk.
    pub snapshot_disk_free_bytes: Option<f64>,
    /// Free memory (`memory_free_bytes`).
    pub memory_free_bytes: Option<f64>,
    /// Operations under way (`concurrent_transaction_count`).
    pub concurrent: Option<f64>,
}

impl Room {
    /// What the latest samples say.
    pub fn of(samples: &[Sample]) -> Self {
        let value = |series: &str| {
            let found = samples.iter().rev().find(|sample| sample.series == series);
            found.map(|sample| sample.value)
        };
        Self {
            disk_free_bytes: value(DISK),
            snapshot_disk_free_bytes: value("snapshot_disk_free_bytes"),
            memory_free_bytes: value(MEMORY),
            concurrent: value(CONCURRENT),
        }
    }
}

const DISK: &str = "disk_free_bytes";
const MEMORY: &str = "memory_free_bytes";
const CONCURRENT: &str = "concurrent_transaction_count";

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Nothing stands against it.
    Proceed,
    /// A bound would be broken, or there is no room for it at all.
    Refuse {
        /// The constraint's name; `disk_free_bytes` where no constraint asks for what the operation
        /// itself takes.
        constraint: String,
        /// One line for a person.
        reason: String,
    },
}

/// Whether an operation may begin. The bounds are those of `constraints` on `disk_free_bytes`,
/// `memory_free_bytes` and `concurrent_transaction_count`; the first that would be broken is told.
///
/// A write needs the disk's lower bound and its own bytes free, a snapshot twice that; their own
/// bytes whatever the constraints.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes as f64 are exact up to 2^53"
)]
pub fn check_before_operation(
    intended: Intended,
    room: &Room,
    constraints: &[Constraint],
) -> Admission {
    let (disk, times, bytes) = match intended {
        Intended::Read => (None, 0.0, 0.0),
        Intended::Write { bytes } => (room.disk_free_bytes, 1.0, bytes as f64),
        Intended::Snapshot { bytes } => {
            let disk = room.snapshot_disk_free_bytes.or(room.disk_free_bytes);
            (disk, 2.0, bytes as f64)
        }
    };
    let memory = room
        .memory_free_bytes
        .filter(|_| matches!(intended, Intended::Write { .. }));
    let concurrent = room
        .concurrent
        .filter(|_| !matches!(intended, Intended::Snapshot { .. }));
    for constraint in constraints {
        let refuse = |reason| Admission::Refuse {
            constraint: constraint.name.clone(),
            reason,
        };
        match constraint.metric.as_str() {
            DISK => {
                let needed = times * (constraint.lower.unwrap_or(0.0) + bytes);
                if let Some(free) = disk.filter(|free| *free < needed) {
                    return refuse(format!("{free:.0} bytes of disk free, {needed:.0} needed"));
                }
            }
            MEMORY => {
                let needed = constraint.lower.unwrap_or(0.0);
                if let Some(free) = memory.filter(|free| *free < needed) {
                    return refuse(format!(
                        "{free:.0} bytes of memory free, {needed:.0} needed"
                    ));
                }
            }
            CONCURRENT => {
                let most = constraint.upper.unwrap_or(f64::INFINITY);
                if let Some(running) = concurrent.filter(|running| running + 1.0 > most) {
                    return refuse(format!(
                        "{running:.0} operations under way, {most:.0} allowed"
                    ));
                }
            }
            _ => {}
        }
    }
    let needed = times * bytes;
    match disk.filter(|free| *free < needed) {
        Some(free) => Admission::Refuse {
            constraint: DISK.into(),
            reason: format!("{free:.0} bytes of disk free, {needed:.0} needed"),
        },
        None => Admission::Proceed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: f64 = 1e9;

    fn room(disk: f64, memory: f64, concurrent: f64) -> Room {
        Room {
            disk_free_bytes: Some(disk),
            snapshot_disk_free_bytes: None,
            memory_free_bytes: Some(memory),
            concurrent: Some(concurrent),
        }
    }

    fn refused_by(intended: Intended, room: Room) -> Option<String> {
        match check_before_operation(intended, &room, &Constraint::defaults()) {
            Admission::Proceed => None,
            Admission::Refuse { constraint, .. } => Some(constraint),
        }
    }

    #[test]
    fn each_operation_needs_what_it_uses() {
        let write = Intended::Write { bytes: 0 };
        let large = Intended::Write { bytes: 500_000_000 };
        let snapshot = Intended::Snapshot { bytes: 0 };
        let copy = Intended::Snapshot {
            bytes: 1_000_000_000,
        };
        let ample = room(100.0 * GB, 8.0 * GB, 3.0);
        for intended in [Intended::Read, write, large, snapshot, copy] {
            assert_eq!(refused_by(intended, ample), None, "{intended:?}");
        }
        let table = [
            (write, room(0.9 * GB, 8.0 * GB, 3.0), Some("disk_space")),
            (write, room(1.0 * GB, 8.0 * GB, 3.0), None),
            (large, room(1.4 * GB, 8.0 * GB, 3.0), Some("disk_space")),
            (large, room(1.5 * GB, 8.0 * GB, 3.0), None),
            (snapshot, room(1.9 * GB, 8.0 * GB, 3.0), Some("disk_space")),
            (snapshot, room(2.0 * GB, 8.0 * GB, 3.0), None),
            (copy, room(3.9 * GB, 8.0 * GB, 3.0), Some("disk_space")),
            (copy, room(4.0 * GB, 8.0 * GB, 3.0), None),
            (Intended::Read, room(0.0, 0.0, 3.0), None),
            (
                write,
                room(9.0 * GB, 0.4 * GB, 3.0),
                Some("memory_available"),
            ),
            (snapshot, room(9.0 * GB, 0.4 * GB, 3.0), None),
            (write, room(9.0 * GB, 8.0 * GB, 99.0), None),
            (
                write,
                room(9.0 * GB, 8.0 * GB, 100.0),
                Some("concurrent_tx"),
            ),
            (
                Intended::Read,
                room(9.0 * GB, 8.0 * GB, 100.0),
                Some("concurrent_tx"),
            ),
            (snapshot, room(9.0 * GB, 8.0 * GB, 100.0), None),
        ];
        for (intended, room, expected) in table {
            assert_eq!(
                refused_by(intended, room).as_deref(),
                expected,
                "{intended:?} {room:?}"
            );
        }
    }

    #[test]
    fn a_snapshot_is_measured_on_its_own_disk() {
        let room = Room {
            snapshot_disk_free_bytes: Some(10.0 * GB),
            ..room(0.5 * GB, 8.0 * GB, 0.0)
        };
        assert_eq!(refused_by(Intended::Snapshot { bytes: 0 }, room), None);
    }

    #[test]
    fn what_has_no_room_is_refused_without_a_constraint_too() {
        let room = room(1.0 * GB, 8.0 * GB, 0.0);
        let table = [
            (Intended::Snapshot { bytes: 500_000_000 }, true),
            (Intended::Snapshot { bytes: 500_000_001 }, false),
            (
                Intended::Write {
                    bytes: 1_000_000_000,
                },
                true,
            ),
            (
                Intended::Write {
                    bytes: 1_000_000_001,
                },
                false,
            ),
            (Intended::Read, true),
        ];
        for (intended, proceeds) in table {
            let answer = check_before_operation(intended, &room, &[]);
            assert_eq!(
                answer == Admission::Proceed,
                proceeds,
                "{intended:?} {answer:?}"
            );
        }
    }

    #[test]
    fn what_is_not_known_refuses_nothing() {
        for intended in [
            Intended::Read,
            Intended::Write { bytes: 1 },
            Intended::Snapshot { bytes: 1 },
        ] {
            assert_eq!(refused_by(intended, Room::default()), None);
        }
    }

    #[test]
    fn the_latest_sample_counts() {
        let sample = |series: &str, value| Sample {
            series: series.into(),
            value,
        };
        let room = Room::of(&[sample(DISK, 1.0), sample(MEMORY, 2.0), sample(DISK, 3.0)]);
        assert_eq!(
            (room.disk_free_bytes, room.memory_free_bytes),
            (Some(3.0), Some(2.0))
        );
        assert_eq!(room.concurrent, None);
    }
}
