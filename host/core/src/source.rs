//! What a look at a target brings back: numbers and the state of its parts.
//!
//! Plain data, the same live and in a recording. A source sees and measures; it never judges what
//! it sees, and it never writes to the target.

use serde::{Deserialize, Serialize};

/// One value of one metric. The unit is the suffix of the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The series, `snake_case` with the unit as suffix, for example `wal_bytes`.
    pub series: String,
    /// The value; always finite.
    pub value: f64,
}

/// Series that are recorded and held against bounds, and of which nothing is learned: they follow what an
/// application is asked to do, so that a value that was never seen before is no sign of trouble.
const NOT_LEARNED: [&str; 3] = [
    "transaction_pages",
    "holders_memory_bytes",
    "holders_cache_hit_percent",
];

/// Whether a baseline of a series is kept, and its values are compared with it.
pub fn is_learned(series: &str) -> bool {
    !NOT_LEARNED.contains(&series)
}

/// As a value: exact up to 2^53, and sizes, counts and durations stay far below it.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub fn float(value: u64) -> f64 {
    value as f64
}

/// One look at one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The target's name in the configuration.
    pub target: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The numbers.
    pub samples: Vec<Sample>,
    /// When the newest checked snapshot was taken, milliseconds since the Unix epoch.
    pub snapshot_at_ms: Option<u64>,
    /// The state of its parts, by kind of database.
    pub state: State,
}

/// The state of a target's parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "handled one at a time: a box would only move it"
)]
pub enum State {
    /// A SQLite database file with its companions.
    Sqlite(crate::sqlite_state::SqliteState),
    /// A target of which only the numbers are known: one that embeds dbmedic, or telemetry that was
    /// imported.
    Samples,
    /// The look itself failed: what was tried and why it did not work.
    Unreachable {
        /// One line for a person.
        reason: String,
    },
}
