//! Operations of an engine or an application that embeds dbmedic: what each cost and how it ended.
//!
//! The hot side, [`Recorder`], counts: a thread writes its own counters, without lock, allocation
//! or locked instruction once it has met an operation. The cold side, [`Collector`], turns what was
//! counted into a [`Bucket`] every 10 to 30 seconds, and a bucket into the samples that the pipeline
//! takes. Memory is bounded by [`OperationLimits`]: names beyond the bound are counted together
//! under [`OTHER`], threads beyond it share one set of counters.
//!
//! It counts and compares with a number; what it means is said by the stages that follow.
//!
//! ```
//! use dbmedic::operations::{OperationLimits, recorder};
//!
//! let (recorder, mut collector) = recorder(OperationLimits::default());
//! let query = recorder.operation("query");
//!
//! let running = recorder.start(query);
//! // ... the work itself ...
//! running.complete(3, 1200);
//!
//! let bucket = collector.turn(10_000);
//! assert_eq!(bucket.operations[0].name, "query");
//! assert_eq!(bucket.operations[0].rows, 3);
//! ```

mod bucket;
mod collector;
mod histogram;
mod recorder;
mod running;
mod shard;
#[cfg(test)]
mod tests;

pub use bucket::{Bucket, OperationBucket};
pub use collector::{Collector, Learned};
pub use histogram::{BINS, Histogram};
pub use recorder::{Recorder, recorder};
pub use running::{Running, Waiting};

/// The name under which operations beyond [`OperationLimits::names`] are counted together.
pub const OTHER: &str = "other";

/// An operation by its handle. Made by [`Recorder::operation`], and good for that recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId(u32);

impl OperationId {
    /// What every operation is that no recorder knows by name.
    pub const OTHER: Self = Self(0);
}

/// Why an operation failed, in the few kinds that say something about the database's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorKind {
    /// A lock or a resource was held by somebody else, or a conflict or deadlock came of it.
    Busy,
    /// It did not end in time.
    Timeout,
    /// The data refused it: a key, a foreign key, a check.
    Constraint,
    /// No room: disk, memory, descriptors, connections.
    Full,
    /// The system could not read or write.
    Io,
    /// Data was found damaged.
    Corrupt,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Busy,
        Self::Timeout,
        Self::Constraint,
        Self::Full,
        Self::Io,
        Self::Corrupt,
        Self::Other,
    ];

    /// As it stands in the names of series.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Constraint => "constraint",
            Self::Full => "full",
            Self::Io => "io",
            Self::Corrupt => "corrupt",
            Self::Other => "other",
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did what it was asked.
    Completed {
        /// Rows read or written.
        rows: u64,
        /// Bytes read or written.
        bytes: u64,
    },
    /// It failed. Its time counts: somebody waited for it.
    Failed(ErrorKind),
    /// Nobody said how: dropped half-way, by a panic, an early return or a cancelled task. Counts
    /// as an error; its time says nothing and is not counted.
    Abandoned,
}

/// How the duration of one operation stands to what is normal for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing is known of what is normal yet.
    Unknown,
    /// Not above the limit.
    Normal,
    /// Above twice the p99 that is normal (section 1.2 B of the specification).
    Slow {
        /// The limit, nanoseconds.
        limit_ns: u64,
    },
}

/// What bounds a recorder's memory and how it learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationLimits {
    /// Names of operations that are told apart, 1 to 4096. Each costs about 20 KiB, and 10 KiB more
    /// for each thread that uses it.
    pub names: usize,
    /// Threads at one time that have counters of their own, 1 to 4096; later ones share one set,
    /// which is slower.
    pub threads: usize,
    /// Buckets that the normal p99 of an operation rests on.
    pub baseline_buckets: usize,
    /// Buckets with the operation in them from which on single operations are judged.
    pub established_after: usize,
}

impl Default for OperationLimits {
    fn default() -> Self {
        Self {
            names: 64,
            threads: 64,
            baseline_buckets: 360,
            established_after: 6,
        }
    }
}
