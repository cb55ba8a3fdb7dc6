//! The kinds of neighbours, and what each needs beside it.

use clap::ValueEnum;

/// What a neighbour does. Each is a program as people run them beside SQLite databases, and none
/// of them is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Kind {
    /// Copies the database a few pages at a time with SQLite's backup interface.
    Backup,
    /// Takes the write lock, copies the file, and lets go.
    CopyBackup,
    /// `VACUUM INTO`: one read transaction that lasts as long as the copy.
    VacuumInto,
    /// Copies the files without any lock, as `cp` does.
    FileCopy,
    /// Rewrites a table in one transaction, busy all the time, for longer than any threshold.
    Migration,
    /// Several connections of one process that read and write at the same time.
    Pool,
    /// Keeps a read transaction open nearly always, and takes a new one again and again.
    Replicator,
    /// `VACUUM` in place.
    Vacuum,
    /// Large transactions, one after the other.
    BulkLoad,
    /// `BEGIN IMMEDIATE`, look for work, `COMMIT`, without a rest.
    PollingWorker,
    /// The same, and the look takes a while, so that the lock is nearly always held.
    SlowPollingWorker,
    /// Read transactions of 0.9 s, one after the other.
    Dashboard,
    /// Eight readers at a time: more than there are read marks.
    Crowd,
    /// Reads while the log is wholly in the database, so that the readers use read mark 0.
    SlotZero,
    /// Takes jobs from a table, works on them, and marks them as done.
    JobQueue,
    /// Write transactions that wait for something else before they commit.
    SlowCommit,
    /// Readers of other containers, whose process ids dbmedic cannot see.
    Containers,
    /// The same readers seen from outside of their containers.
    ContainersSeen,
    /// Reads first and writes then in the same transaction, and begins again when that is refused.
    Orm,
    /// Checkpoints by itself; automatic checkpoints are off.
    Checkpointer,
    /// Switches between the journal modes.
    ModeSwitch,
    /// Transactions over two databases.
    Attach,
    /// Deletes rows and gives their pages back with `PRAGMA incremental_vacuum`.
    IncrementalVacuum,
    /// An application that is killed with SIGKILL, in the middle of its work, and started again.
    Crash,
    /// A new process for each transaction.
    Cron,
    /// One long read transaction that computes all the time.
    Report,
    /// A query whose rows are fetched slowly.
    Export,
    /// The only user of its database, in exclusive locking mode.
    Exclusive,
    /// Creates, indexes, alters and drops tables.
    SchemaChanges,
}

impl Kind {
    /// All kinds.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The name on the command line and in reports.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// The name of its processes, as `ps -o comm` shows it: 15 bytes at most.
    pub(crate) fn process_name(self) -> String {
        let mut name = self.name();
        name.truncate(15);
        name
    }

    /// Whether it makes sense only with a write-ahead log.
    pub(crate) fn needs_wal(self) -> bool {
        matches!(
            self,
            Self::Replicator
                | Self::Crowd
                | Self::SlotZero
                | Self::Checkpointer
                | Self::Report
                | Self::VacuumInto
                // They would keep every writer waiting.
                | Self::Export
        )
    }

    /// Whether it works without a write-ahead log, and does not make one.
    pub(crate) fn works_in_rollback_mode(self) -> bool {
        !self.needs_wal() && self != Self::ModeSwitch
    }

    /// Whether nobody else can use the database meanwhile.
    pub(crate) fn is_alone(self) -> bool {
        self == Self::Exclusive
    }

    /// Whether the others must close the database now and then: it needs it for itself.
    pub(crate) fn needs_short_connections(self) -> bool {
        matches!(self, Self::ModeSwitch)
    }

    /// Processes of this kind that run at the same time.
    pub(crate) fn processes(self) -> usize {
        match self {
            Self::Crowd => 8,
            Self::SlotZero | Self::Containers | Self::ContainersSeen => 2,
            _ => 1,
        }
    }

    /// Whether its processes run in process namespaces of their own.
    pub(crate) fn is_contained(self) -> bool {
        matches!(self, Self::Containers | Self::ContainersSeen)
    }

    /// Whether it never writes rows that must be there afterwards.
    pub(crate) fn only_reads(self) -> bool {
        matches!(
            self,
            Self::Backup
                | Self::CopyBackup
                | Self::VacuumInto
                | Self::FileCopy
                | Self::Replicator
                | Self::Vacuum
                | Self::PollingWorker
                | Self::SlowPollingWorker
                | Self::Dashboard
                | Self::Crowd
                | Self::Containers
                | Self::ContainersSeen
                | Self::Report
                | Self::Export
        )
    }

    /// Whether a real fault beside it can be seen and repaired.
    pub(crate) fn can_have_fault(self) -> bool {
        !self.is_alone() && !self.needs_short_connections() && self != Self::Containers
    }

    /// Whether an age could be invented for it while nobody writes: the others then write rarely,
    /// and much at once.
    pub(crate) fn likes_quiet(self) -> bool {
        (self.only_reads() || self == Self::Pool) && !matches!(self, Self::FileCopy | Self::Vacuum)
    }
}
