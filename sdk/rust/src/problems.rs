//! Typed views of the problems that the host knows today.
//!
//! Every fact is an `Option`, because kinds and facts come and go without the contract changing: a
//! rule says for itself what it does when a fact it needs is missing. A kind that is not listed
//! here is [`Problem::Unknown`], never an error.

use crate::{Finding, facts::FromFact};

/// What a fact is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactType {
    /// A whole number that is not negative.
    Count,
    /// A number, whole or not.
    Number,
    /// True or false.
    Flag,
    /// A text.
    Text,
}

macro_rules! problems {
    ($(
        $(#[doc = $doc:literal])+
        $kind:literal => $name:ident $(<$life:lifetime>)? {
            $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)*
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq)]
            #[non_exhaustive]
            pub struct $name $(<$life>)? {
                $($(#[doc = $field_doc])+ pub $field: Option<$type>,)*
            }

            impl $(<$life>)? $name $(<$life>)? {
                /// The finding's kind.
                pub const KIND: &'static str = $kind;

                /// Its facts and what each is read as.
                pub const FACTS: &'static [(&'static str, FactType)] = &[
                    $((stringify!($field), <$type as FromFact>::TYPE),)*
                ];

                fn read(finding: & $($life)? Finding) -> Self {
                    // A kind without facts reads nothing.
                    let _ = finding;
                    Self { $($field: FromFact::from_fact(finding, stringify!($field)),)* }
                }
            }
        )+

        /// A finding seen as one of the known problems.
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum Problem<'a> {
            $($(#[doc = $doc])+ $name($name $(<$life>)?),)+
            /// A kind that this crate does not know.
            Unknown,
        }

        impl<'a> Problem<'a> {
            /// The typed view of a finding.
            pub fn of(finding: &'a Finding) -> Self {
                match finding.kind.as_str() {
                    $($kind => Self::$name($name::read(finding)),)+
                    _ => Self::Unknown,
                }
            }
        }

        /// Every kind that [`Problem::of`] knows.
        pub const KINDS: &[&str] = &[$($kind),+];

        /// Every kind that [`Problem::of`] knows, with its facts and what each is read as.
        pub const CATALOGUE: &[(&str, &[(&str, FactType)])] = &[$(($kind, $name::FACTS)),+];
    };
}

problems! {
    /// A process that has come to a standstill holds the write lock, or in rollback mode a read lock for
    /// which a writer waits. Offers `lock.end-holder`, and `lock.resume-holder` when it is stopped.
    "lock.stale-holder" => StaleLock<'a> {
        /// Process that holds the lock.
        holder_pid: u64,
        /// Its name.
        holder_name: &'a str,
        /// Whether it was stopped (SIGSTOP, Ctrl-Z), so that SIGCONT lets it go on.
        holder_stopped: bool,
        /// Which lock it holds: `wal_write`, or in rollback mode `reserved`, `pending`, `exclusive` or
        /// `shared`.
        holder_lock: &'a str,
        /// How long it is proven to have held the lock without a break, milliseconds; of `shared`, and to
        /// have kept a writer waiting.
        age_ms: u64,
        /// How long it was found holding the lock whenever that was looked at, milliseconds; it may
        /// have let go for moments before `age_ms` began.
        found_held_ms: u64,
        /// Processor time that the holder used meanwhile, milliseconds.
        holder_cpu_ms: u64,
        /// Commits made while the lock was held.
        commits_during_hold: u64,
        /// Whether there is a snapshot young enough to fall back to.
        has_recent_snapshot: bool,
        /// Age of the newest snapshot, milliseconds; none when there is no snapshot.
        snapshot_age_ms: u64,
        /// Others at the same time, such as a checkpoint or a recovery, and those that wait for the lock.
        concurrent_operations: u64,
        /// Those among them that wait for the lock: the repair does not disturb them.
        waiting_processes: u64,
        /// In rollback mode, where it holds a read lock: whether a writer waits for it just now.
        writer_waits: bool,
        /// That writer's process.
        writer_pid: u64,
        /// Its name.
        writer_name: &'a str,
        /// Whether the operator listed this process among those that a repair may end.
        holder_may_be_ended: bool,
    }

    /// A process holds the write lock for long, or in rollback mode reads while a writer waits, and is at
    /// work, may have let go for moments, or cannot be seen. Offers nothing: nobody may be ended on it.
    "lock.long-holder" => LongLock<'a> {
        /// Process that holds the lock; 0 when it lies outside of what the host can see.
        holder_pid: u64,
        /// Its name.
        holder_name: &'a str,
        /// Whether it lies outside of what the host can see: another container.
        holder_outside: bool,
        /// Which lock it holds, as for `lock.stale-holder`.
        holder_lock: &'a str,
        /// How long it was found holding the lock whenever that was looked at, milliseconds.
        age_ms: u64,
        /// Processor time that the holder used meanwhile, milliseconds.
        holder_cpu_ms: u64,
        /// In rollback mode, where it holds a read lock: whether a writer waits for it just now.
        writer_waits: bool,
        /// That writer's process.
        writer_pid: u64,
        /// Its name.
        writer_name: &'a str,
    }

    /// A reader pins the write-ahead log, so that no checkpoint can finish. Offers `wal.release-reader`, and
    /// `lock.resume-holder` when the reader is stopped.
    "wal.checkpoint-starved" => CheckpointStarved<'a> {
        /// Size of the log, bytes.
        wal_bytes: u64,
        /// Frames that wait for a checkpoint.
        backlog_frames: u64,
        /// Process that reads.
        reader_pid: u64,
        /// Its name.
        reader_name: &'a str,
        /// Whether it was stopped (SIGSTOP, Ctrl-Z), so that SIGCONT lets it go on.
        reader_stopped: bool,
        /// How long it has been reading in one transaction, milliseconds.
        reader_age_ms: u64,
        /// How long it has done no work, milliseconds.
        reader_idle_ms: u64,
        /// Whether it lies outside of what the host can see: another container.
        reader_outside: bool,
        /// Whether it is a program that is known to hold the log on purpose, such as a replicator.
        reader_on_purpose: bool,
        /// How often it held the log back lately, where it does so again and again.
        reader_holds: u64,
        /// The longest of these times, milliseconds.
        reader_longest_ms: u64,
        /// Frames of the log that it keeps from being checkpointed.
        pinned_frames: u64,
        /// Whether dbmedic reads as well just now: its own mark is then one of those in the way.
        dbmedic_reads: bool,
        /// Whether the operator listed this process among those that a repair may end.
        reader_may_be_ended: bool,
    }

    /// The write-ahead log has grown and nobody pins it. Offers `wal.checkpoint`.
    "wal.oversized" => OversizedWal {
        /// Size of the log, bytes.
        wal_bytes: u64,
        /// Frames that wait for a checkpoint.
        backlog_frames: u64,
        /// Whether dbmedic reads just now: its own mark is then in the way of a checkpoint.
        dbmedic_reads: bool,
    }

    /// A frame of the write-ahead log is damaged. Offers `wal.keep-valid-prefix`.
    "wal.corrupt-frame" => CorruptFrame {
        /// The first damaged frame, counted from 1.
        first_bad_frame: u64,
        /// Frames in the log.
        total_frames: u64,
        /// The last frame before the damage that ends a commit.
        last_commit_frame: u64,
        /// Commits behind the damage.
        commits_lost: u64,
        /// Commits before the damage.
        commits_kept: u64,
        /// The share of the log's commits that is lost, 0 to 100.
        percent_lost: f64,
        /// Whether there is a snapshot young enough to fall back to.
        has_recent_snapshot: bool,
    }

    /// An index disagrees with its table. Offers `index.rebuild`.
    "index.corrupt" => CorruptIndex<'a> {
        /// The index's name.
        index: &'a str,
        /// Its table's name.
        table: &'a str,
        /// Whether the table itself is sound.
        table_clean: bool,
        /// Faults found.
        faults: u64,
        /// Whether the index can be built anew from its definition.
        rebuildable: bool,
        /// Rows that have no entry in it.
        missing_entries: u64,
        /// Entries that a rebuild takes away.
        removable_entries: u64,
        /// How long a rebuild is expected to keep writers out, milliseconds.
        expected_lock_ms: u64,
    }

    /// A row and its entry in an index say different things, and which is true cannot be known.
    /// Offers nothing.
    "index.disagrees-with-row" => DisagreeingRow<'a> {
        /// The index's name.
        index: &'a str,
        /// Its table's name.
        table: &'a str,
        /// Entries that disagree with the row they name.
        disagreements: u64,
        /// The first column that differs.
        column: &'a str,
        /// How many bytes of it the row holds.
        row_bytes: u64,
        /// How many bytes of it the entry holds.
        entry_bytes: u64,
        /// Rows that have no entry.
        missing_entries: u64,
    }

    /// A full-text index is damaged. What it holds was made from text that lies elsewhere. May offer
    /// `fulltext.rebuild`.
    "fulltext.corrupt" => CorruptFullText<'a> {
        /// The virtual table's name.
        table: &'a str,
        /// Its module: `fts3`, `fts4` or `fts5`.
        module: &'a str,
        /// Where its text is: `own`, `none`, or another table's name.
        content: &'a str,
        /// Whether nothing is known against the table that holds the text.
        content_sound: bool,
        /// Whether it can be made again from that text.
        rebuildable: bool,
        /// Documents that it knows and that table has no row of: a rebuild would delete their last trace.
        documents_without_text: u64,
        /// Faults found.
        faults: u64,
    }

    /// What a virtual table of another module holds contradicts itself.
    "virtual-table.corrupt" => CorruptVirtualTable<'a> {
        /// The virtual table's name.
        table: &'a str,
        /// Its module.
        module: &'a str,
    }

    /// Tables that a virtual table is made of are gone, so it cannot be used.
    "virtual-table.broken" => BrokenVirtualTable<'a> {
        /// The virtual table's name.
        table: &'a str,
        /// Its module.
        module: &'a str,
        /// The tables that are gone.
        missing: &'a str,
    }

    /// Rows break a CHECK of their table. The file is sound.
    "rule.check" => BrokenCheck<'a> {
        /// The table's name.
        table: &'a str,
        /// How many rows.
        rows: u64,
    }

    /// Rows hold NULL in a column that is NOT NULL. The file is sound.
    "rule.not-null" => BrokenNotNull<'a> {
        /// The table's name.
        table: &'a str,
        /// The column's name.
        columns: &'a str,
        /// How many rows.
        rows: u64,
    }

    /// Rows hold values that are not of their column's type. The file is sound.
    "rule.type" => BrokenType<'a> {
        /// The table's name.
        table: &'a str,
        /// The column's name.
        columns: &'a str,
        /// How many rows.
        rows: u64,
    }

    /// Rows share keys that a unique index is to forbid. The file is sound, and the index cannot be
    /// built again as long as they do.
    "rule.unique" => BrokenUnique<'a> {
        /// The table's name.
        table: &'a str,
        /// The index's name.
        index: &'a str,
        /// How many keys several rows share.
        keys: u64,
        /// How many rows share one.
        rows: u64,
        /// The rowids of the first of them.
        rowids: &'a str,
    }

    /// Rows have no parent where a foreign key asks for one. The file is sound.
    "rule.foreign-key" => BrokenForeignKey<'a> {
        /// The table's name.
        table: &'a str,
        /// The columns of the foreign key.
        columns: &'a str,
        /// The table that should hold the parents.
        parent: &'a str,
        /// How many rows.
        rows: u64,
    }

    /// A table is damaged.
    "table.corrupt" => CorruptTable<'a> {
        /// The table's name.
        table: &'a str,
        /// Faults found.
        faults: u64,
        /// Other tables that were read and are sound.
        sound_tables: u64,
    }

    /// The schema is damaged.
    "schema.corrupt" => CorruptSchema {}

    /// One entry of the schema keeps every program from reading any of it.
    "schema.broken-entry" => BrokenEntry<'a> {
        /// The entry's name.
        entry: &'a str,
        /// What it is: `table`, `index`, `view` or `trigger`.
        entry_type: &'a str,
        /// The table that it belongs to.
        table: &'a str,
        /// Whether everything else was checked and is sound.
        others_sound: bool,
        /// Whether it can be taken out without losing rows.
        removable: bool,
        /// The statements that take it out; none when rows would go with it.
        removal: &'a str,
    }

    /// Pages are damaged that belong to no table or index that can be named.
    "pages.corrupt" => CorruptPages {
        /// Faults found.
        faults: u64,
    }

    /// The database file is gone. May offer the restore of a snapshot.
    "file.missing" => MissingFile {
        /// Whether there is a snapshot young enough to fall back to.
        has_recent_snapshot: bool,
        /// Age of the newest snapshot, milliseconds; none when there is no snapshot.
        snapshot_age_ms: u64,
    }

    /// The database file is shorter than its header says.
    "file.truncated" => TruncatedFile {
        /// Pages according to the header.
        expected_pages: u64,
        /// Pages that are there.
        actual_pages: u64,
    }

    /// The file does not begin like a database.
    "file.not-a-database" => NotADatabase {
        /// Whether the pages behind the first look like those of a database; none when that is not
        /// known.
        other_pages_sound: bool,
    }

    /// A rollback journal of a writer that died is left over.
    "journal.hot" => HotJournal {
        /// Its size, bytes.
        journal_bytes: u64,
    }

    /// The database file has 0 bytes and held something before, or something of it lies beside it.
    "file.emptied" => EmptiedFile {
        /// Size of the log beside it, bytes.
        wal_bytes: u64,
        /// Committed transactions in that log.
        wal_commits: u64,
        /// Size of the rollback journal beside it, bytes.
        journal_bytes: u64,
        /// Size of the file when it was last seen with content, bytes.
        bytes_before: u64,
        /// Whether a log or journal with content lies beside it; opening the database deletes it.
        held_beside: bool,
        /// Whether it is known to have held something.
        had_content: bool,
        /// Whether it is the same file (inode) as the one that held something; another one was put in its place.
        same_file: bool,
        /// Whether a process holds a lock on it.
        in_use: bool,
        /// Whether there is a snapshot young enough to fall back to.
        has_recent_snapshot: bool,
        /// Age of the newest snapshot, milliseconds; none when there is no snapshot.
        snapshot_age_ms: u64,
    }

    /// The database file has 0 bytes, and nothing says that it ever held more.
    "file.empty" => EmptyFile {}

    /// The schema holds nothing and held tables before.
    "schema.emptied" => EmptiedSchema {
        /// Whether there is a snapshot young enough to fall back to.
        has_recent_snapshot: bool,
        /// Age of the newest snapshot, milliseconds; none when there is no snapshot.
        snapshot_age_ms: u64,
    }

    /// Another file lies under the database's name than before.
    "file.replaced" => ReplacedFile {
        /// Whether there is a snapshot young enough to fall back to.
        has_recent_snapshot: bool,
        /// Age of the newest snapshot, milliseconds; none when there is no snapshot.
        snapshot_age_ms: u64,
    }

    /// The database file has a second name, so its log or journal may lie elsewhere.
    "file.linked" => LinkedFile {
        /// Names that it has (hard links).
        links: u64,
        /// Whether the file is mounted by itself.
        mounted_alone: bool,
        /// Whether a process holds a lock on it.
        in_use: bool,
    }

    /// A process has the database file open, which was deleted or renamed under it.
    "file.unlinked" => UnlinkedFile<'a> {
        /// Process that has it open.
        holder_pid: u64,
        /// Its name.
        holder_name: &'a str,
        /// Its file descriptor.
        descriptor: u64,
        /// Processes that have it open so.
        holders: u64,
    }

    /// A process writes to a log that was deleted or renamed under it.
    "wal.unlinked" => UnlinkedLog<'a> {
        /// Process that has it open.
        holder_pid: u64,
        /// Its name.
        holder_name: &'a str,
        /// Its file descriptor.
        descriptor: u64,
        /// Processes that have it open so.
        holders: u64,
    }

    /// A process has the database locked in WAL mode and does not use the log beside it.
    "wal.elsewhere" => LogElsewhere<'a> {
        /// Process that has it open.
        holder_pid: u64,
        /// Its name.
        holder_name: &'a str,
        /// Processes that have it open so.
        holders: u64,
    }

    /// A process has the log open for writing and holds no lock on the database.
    "lock.lost" => LostLocks<'a> {
        /// Process that has it open.
        holder_pid: u64,
        /// Its name.
        holder_name: &'a str,
        /// Its file descriptor of the log.
        descriptor: u64,
        /// Processes that have it open so.
        holders: u64,
    }

    /// The log beside the database file belongs to another one. Offers `wal.set-aside`.
    "wal.foreign" => ForeignLog<'a> {
        /// What shows it.
        evidence: &'a str,
        /// Whether it is proven, or only likely.
        proven: bool,
        /// Whether the file without the log is sound.
        file_sound: bool,
        /// Size of the log, bytes.
        wal_bytes: u64,
        /// Committed transactions in it.
        wal_commits: u64,
    }

    /// The rollback journal beside the database file belongs to another one. Offers
    /// `journal.set-aside`.
    "journal.foreign" => ForeignJournal<'a> {
        /// What shows it.
        evidence: &'a str,
        /// Whether the file without the journal is sound.
        file_sound: bool,
        /// Size of the journal, bytes.
        journal_bytes: u64,
    }

    /// Plain SQLite cannot judge the file, or must not write to it.
    "target.not-judgeable" => NotJudgeable<'a> {
        /// Why: `encrypted`, `format-version`, `reserved-bytes`, `appended`, `lock-directory`, `no-locks`,
        /// `link-of-another` or `place-of-another`.
        reason: &'a str,
        /// Of `reserved-bytes`: how many bytes each page keeps for something that plain SQLite does not know.
        reserved_bytes: u64,
        /// Of `format-version`: the version for writing in the file's header.
        write_version: u64,
        /// Of `format-version`: the version for reading.
        read_version: u64,
    }

    /// The database does not answer.
    "target.unreachable" => Unreachable<'a> {
        /// What was tried and how it failed.
        reason: &'a str,
    }

    /// A configured bound is violated.
    "constraint.violated" => ViolatedConstraint<'a> {
        /// The constraint's name.
        constraint: &'a str,
        /// The metric's name, unit as suffix.
        metric: &'a str,
        /// The metric's value, in its unit.
        value: f64,
        /// The bound, in the metric's unit.
        bound: f64,
        /// The share of the room up to the bound that is used; over 1 is a violation.
        utilization: f64,
        /// Whether the operator allows it to be mended without being asked.
        auto_fix: bool,
    }

    /// Several values left their normal range and no known problem explains it.
    "anomaly.unexplained" => UnexplainedAnomaly<'a> {
        /// The series that carries it most.
        series: &'a str,
        /// 0 is certainly normal, 1 is certainly anomalous.
        confidence: f64,
        /// How many series carry it.
        series_count: u64,
        /// Anomalies of the target within the last minute, this one among them.
        anomalies_last_minute: u64,
        /// Those among them that are of errors.
        error_anomalies_last_minute: u64,
        /// The known trouble that it looks like; none below the bar of a diagnosis.
        signature_best: &'a str,
        /// How likely that is, 0 to 1.
        signature_confidence: f64,
        /// The next likely one.
        signature_second: &'a str,
        /// How likely that is, 0 to 1.
        signature_second_confidence: f64,
        /// How likely it is none of the known ones, 0 to 1.
        signature_none: f64,
    }
}

#[cfg(test)]
mod tests {
    use super::{KINDS, Problem, StaleLock};
    use crate::{Value, testing};

    #[test]
    fn every_known_kind_is_read_without_facts() {
        for kind in KINDS {
            assert_ne!(
                Problem::of(&testing::finding(kind, &[])),
                Problem::Unknown,
                "{kind}"
            );
        }
    }

    #[test]
    fn another_kind_is_unknown() {
        assert_eq!(
            Problem::of(&testing::finding("disk.on-fire", &[])),
            Problem::Unknown
        );
    }

    #[test]
    fn facts_are_typed_and_wrong_ones_are_none() {
        let finding = testing::finding(
            StaleLock::KIND,
            &[
                ("age_ms", Value::Integer(4_200)),
                ("holder_name", Value::Text("batch".into())),
                ("has_recent_snapshot", Value::Boolean(true)),
                ("holder_pid", Value::Text("12".into())),
            ],
        );
        let Problem::StaleLock(lock) = Problem::of(&finding) else {
            panic!("not seen as a lock");
        };
        assert_eq!(lock.age_ms, Some(4_200));
        assert_eq!(lock.holder_name, Some("batch"));
        assert_eq!(lock.has_recent_snapshot, Some(true));
        assert_eq!(lock.holder_pid, None);
        assert_eq!(lock.snapshot_age_ms, None);
    }
}
