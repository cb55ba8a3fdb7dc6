/**
 * Typed views of the problems that the host knows today.
 *
 * Made by sdk/generate.py from sdk/rust/src/problems.rs; not to be changed by hand. Every fact may be null, because
 * kinds and facts come and go without the contract changing. A kind that is not listed is null, never an error.
 */

import type { Finding, Value } from "./contract.js";

/**
 * A process that has come to a standstill holds the write lock, or in rollback mode a read lock for
 * which a writer waits. Offers `lock.end-holder`, and `lock.resume-holder` when it is stopped.
 */
export interface StaleLock {
    readonly kind: "lock.stale-holder";
    /** Process that holds the lock. */
    readonly holderPid: number | null;
    /** Its name. */
    readonly holderName: string | null;
    /** Whether it was stopped (SIGSTOP, Ctrl-Z), so that SIGCONT lets it go on. */
    readonly holderStopped: boolean | null;
    /**
     * Which lock it holds: `wal_write`, or in rollback mode `reserved`, `pending`, `exclusive` or
     * `shared`.
     */
    readonly holderLock: string | null;
    /**
     * How long it is proven to have held the lock without a break, milliseconds; of `shared`, and to
     * have kept a writer waiting.
     */
    readonly ageMs: number | null;
    /**
     * How long it was found holding the lock whenever that was looked at, milliseconds; it may
     * have let go for moments before `age_ms` began.
     */
    readonly foundHeldMs: number | null;
    /** Processor time that the holder used meanwhile, milliseconds. */
    readonly holderCpuMs: number | null;
    /** Commits made while the lock was held. */
    readonly commitsDuringHold: number | null;
    /** Whether there is a snapshot young enough to fall back to. */
    readonly hasRecentSnapshot: boolean | null;
    /** Age of the newest snapshot, milliseconds; none when there is no snapshot. */
    readonly snapshotAgeMs: number | null;
    /** Others at the same time, such as a checkpoint or a recovery, and those that wait for the lock. */
    readonly concurrentOperations: number | null;
    /** Those among them that wait for the lock: the repair does not disturb them. */
    readonly waitingProcesses: number | null;
    /** In rollback mode, where it holds a read lock: whether a writer waits for it just now. */
    readonly writerWaits: boolean | null;
    /** That writer's process. */
    readonly writerPid: number | null;
    /** Its name. */
    readonly writerName: string | null;
    /** Whether the operator listed this process among those that a repair may end. */
    readonly holderMayBeEnded: boolean | null;
}

/**
 * A process holds the write lock for long, or in rollback mode reads while a writer waits, and is at
 * work, may have let go for moments, or cannot be seen. Offers nothing: nobody may be ended on it.
 */
export interface LongLock {
    readonly kind: "lock.long-holder";
    /** Process that holds the lock; 0 when it lies outside of what the host can see. */
    readonly holderPid: number | null;
    /** Its name. */
    readonly holderName: string | null;
    /** Whether it lies outside of what the host can see: another container. */
    readonly holderOutside: boolean | null;
    /** Which lock it holds, as for `lock.stale-holder`. */
    readonly holderLock: string | null;
    /** How long it was found holding the lock whenever that was looked at, milliseconds. */
    readonly ageMs: number | null;
    /** Processor time that the holder used meanwhile, milliseconds. */
    readonly holderCpuMs: number | null;
    /** In rollback mode, where it holds a read lock: whether a writer waits for it just now. */
    readonly writerWaits: boolean | null;
    /** That writer's process. */
    readonly writerPid: number | null;
    /** Its name. */
    readonly writerName: string | null;
}

/**
 * A reader pins the write-ahead log, so that no checkpoint can finish. Offers `wal.release-reader`, and
 * `lock.resume-holder` when the reader is stopped.
 */
export interface CheckpointStarved {
    readonly kind: "wal.checkpoint-starved";
    /** Size of the log, bytes. */
    readonly walBytes: number | null;
    /** Frames that wait for a checkpoint. */
    readonly backlogFrames: number | null;
    /** Process that reads. */
    readonly readerPid: number | null;
    /** Its name. */
    readonly readerName: string | null;
    /** Whether it was stopped (SIGSTOP, Ctrl-Z), so that SIGCONT lets it go on. */
    readonly readerStopped: boolean | null;
    /** How long it has been reading in one transaction, milliseconds. */
    readonly readerAgeMs: number | null;
    /** How long it has done no work, milliseconds. */
    readonly readerIdleMs: number | null;
    /** Whether it lies outside of what the host can see: another container. */
    readonly readerOutside: boolean | null;
    /** Whether it is a program that is known to hold the log on purpose, such as a replicator. */
    readonly readerOnPurpose: boolean | null;
    /** How often it held the log back lately, where it does so again and again. */
    readonly readerHolds: number | null;
    /** The longest of these times, milliseconds. */
    readonly readerLongestMs: number | null;
    /** Frames of the log that it keeps from being checkpointed. */
    readonly pinnedFrames: number | null;
    /** Whether dbmedic reads as well just now: its own mark is then one of those in the way. */
    readonly dbmedicReads: boolean | null;
    /** Whether the operator listed this process among those that a repair may end. */
    readonly readerMayBeEnded: boolean | null;
}

/** The write-ahead log has grown and nobody pins it. Offers `wal.checkpoint`. */
export interface OversizedWal {
    readonly kind: "wal.oversized";
    /** Size of the log, bytes. */
    readonly walBytes: number | null;
    /** Frames that wait for a checkpoint. */
    readonly backlogFrames: number | null;
    /** Whether dbmedic reads just now: its own mark is then in the way of a checkpoint. */
    readonly dbmedicReads: boolean | null;
}

/** A frame of the write-ahead log is damaged. Offers `wal.keep-valid-prefix`. */
export interface CorruptFrame {
    readonly kind: "wal.corrupt-frame";
    /** The first damaged frame, counted from 1. */
    readonly firstBadFrame: number | null;
    /** Frames in the log. */
    readonly totalFrames: number | null;
    /** The last frame before the damage that ends a commit. */
    readonly lastCommitFrame: number | null;
    /** Commits behind the damage. */
    readonly commitsLost: number | null;
    /** Commits before the damage. */
    readonly commitsKept: number | null;
    /** The share of the log's commits that is lost, 0 to 100. */
    readonly percentLost: number | null;
    /** Whether there is a snapshot young enough to fall back to. */
    readonly hasRecentSnapshot: boolean | null;
}

/** An index disagrees with its table. Offers `index.rebuild`. */
export interface CorruptIndex {
    readonly kind: "index.corrupt";
    /** The index's name. */
    readonly index: string | null;
    /** Its table's name. */
    readonly table: string | null;
    /** Whether the table itself is sound. */
    readonly tableClean: boolean | null;
    /** Faults found. */
    readonly faults: number | null;
    /** Whether the index can be built anew from its definition. */
    readonly rebuildable: boolean | null;
    /** Rows that have no entry in it. */
    readonly missingEntries: number | null;
    /** Entries that a rebuild takes away. */
    readonly removableEntries: number | null;
    /** How long a rebuild is expected to keep writers out, milliseconds. */
    readonly expectedLockMs: number | null;
}

/**
 * A row and its entry in an index say different things, and which is true cannot be known.
 * Offers nothing.
 */
export interface DisagreeingRow {
    readonly kind: "index.disagrees-with-row";
    /** The index's name. */
    readonly index: string | null;
    /** Its table's name. */
    readonly table: string | null;
    /** Entries that disagree with the row they name. */
    readonly disagreements: number | null;
    /** The first column that differs. */
    readonly column: string | null;
    /** How many bytes of it the row holds. */
    readonly rowBytes: number | null;
    /** How many bytes of it the entry holds. */
    readonly entryBytes: number | null;
    /** Rows that have no entry. */
    readonly missingEntries: number | null;
}

/**
 * A full-text index is damaged. What it holds was made from text that lies elsewhere. May offer
 * `fulltext.rebuild`.
 */
export interface CorruptFullText {
    readonly kind: "fulltext.corrupt";
    /** The virtual table's name. */
    readonly table: string | null;
    /** Its module: `fts3`, `fts4` or `fts5`. */
    readonly module: string | null;
    /** Where its text is: `own`, `none`, or another table's name. */
    readonly content: string | null;
    /** Whether nothing is known against the table that holds the text. */
    readonly contentSound: boolean | null;
    /** Whether it can be made again from that text. */
    readonly rebuildable: boolean | null;
    /** Documents that it knows and that table has no row of: a rebuild would delete their last trace. */
    readonly documentsWithoutText: number | null;
    /** Faults found. */
    readonly faults: number | null;
}

/** What a virtual table of another module holds contradicts itself. */
export interface CorruptVirtualTable {
    readonly kind: "virtual-table.corrupt";
    /** The virtual table's name. */
    readonly table: string | null;
    /** Its module. */
    readonly module: string | null;
}

/** Tables that a virtual table is made of are gone, so it cannot be used. */
export interface BrokenVirtualTable {
    readonly kind: "virtual-table.broken";
    /** The virtual table's name. */
    readonly table: string | null;
    /** Its module. */
    readonly module: string | null;
    /** The tables that are gone. */
    readonly missing: string | null;
}

/** Rows break a CHECK of their table. The file is sound. */
export interface BrokenCheck {
    readonly kind: "rule.check";
    /** The table's name. */
    readonly table: string | null;
    /** How many rows. */
    readonly rows: number | null;
}

/** Rows hold NULL in a column that is NOT NULL. The file is sound. */
export interface BrokenNotNull {
    readonly kind: "rule.not-null";
    /** The table's name. */
    readonly table: string | null;
    /** The column's name. */
    readonly columns: string | null;
    /** How many rows. */
    readonly rows: number | null;
}

/** Rows hold values that are not of their column's type. The file is sound. */
export interface BrokenType {
    readonly kind: "rule.type";
    /** The table's name. */
    readonly table: string | null;
    /** The column's name. */
    readonly columns: string | null;
    /** How many rows. */
    readonly rows: number | null;
}

/**
 * Rows share keys that a unique index is to forbid. The file is sound, and the index cannot be
 * built again as long as they do.
 */
export interface BrokenUnique {
    readonly kind: "rule.unique";
    /** The table's name. */
    readonly table: string | null;
    /** The index's name. */
    readonly index: string | null;
    /** How many keys several rows share. */
    readonly keys: number | null;
    /** How many rows share one. */
    readonly rows: number | null;
    /** The rowids of the first of them. */
    readonly rowids: string | null;
}

/** Rows have no parent where a foreign key asks for one. The file is sound. */
export interface BrokenForeignKey {
    readonly kind: "rule.foreign-key";
    /** The table's name. */
    readonly table: string | null;
    /** The columns of the foreign key. */
    readonly columns: string | null;
    /** The table that should hold the parents. */
    readonly parent: string | null;
    /** How many rows. */
    readonly rows: number | null;
}

/** A table is damaged. */
export interface CorruptTable {
    readonly kind: "table.corrupt";
    /** The table's name. */
    readonly table: string | null;
    /** Faults found. */
    readonly faults: number | null;
    /** Other tables that were read and are sound. */
    readonly soundTables: number | null;
}

/** The schema is damaged. */
export interface CorruptSchema {
    readonly kind: "schema.corrupt";
}

/** One entry of the schema keeps every program from reading any of it. */
export interface BrokenEntry {
    readonly kind: "schema.broken-entry";
    /** The entry's name. */
    readonly entry: string | null;
    /** What it is: `table`, `index`, `view` or `trigger`. */
    readonly entryType: string | null;
    /** The table that it belongs to. */
    readonly table: string | null;
    /** Whether everything else was checked and is sound. */
    readonly othersSound: boolean | null;
    /** Whether it can be taken out without losing rows. */
    readonly removable: boolean | null;
    /** The statements that take it out; none when rows would go with it. */
    readonly removal: string | null;
}

/** Pages are damaged that belong to no table or index that can be named. */
export interface CorruptPages {
    readonly kind: "pages.corrupt";
    /** Faults found. */
    readonly faults: number | null;
}

/** The database file is gone. May offer the restore of a snapshot. */
export interface MissingFile {
    readonly kind: "file.missing";
    /** Whether there is a snapshot young enough to fall back to. */
    readonly hasRecentSnapshot: boolean | null;
    /** Age of the newest snapshot, milliseconds; none when there is no snapshot. */
    readonly snapshotAgeMs: number | null;
}

/** The database file is shorter than its header says. */
export interface TruncatedFile {
    readonly kind: "file.truncated";
    /** Pages according to the header. */
    readonly expectedPages: number | null;
    /** Pages that are there. */
    readonly actualPages: number | null;
}

/** The file does not begin like a database. */
export interface NotADatabase {
    readonly kind: "file.not-a-database";
    /**
     * Whether the pages behind the first look like those of a database; none when that is not
     * known.
     */
    readonly otherPagesSound: boolean | null;
}

/** A rollback journal of a writer that died is left over. */
export interface HotJournal {
    readonly kind: "journal.hot";
    /** Its size, bytes. */
    readonly journalBytes: number | null;
}

/** The database file has 0 bytes and held something before, or something of it lies beside it. */
export interface EmptiedFile {
    readonly kind: "file.emptied";
    /** Size of the log beside it, bytes. */
    readonly walBytes: number | null;
    /** Committed transactions in that log. */
    readonly walCommits: number | null;
    /** Size of the rollback journal beside it, bytes. */
    readonly journalBytes: number | null;
    /** Size of the file when it was last seen with content, bytes. */
    readonly bytesBefore: number | null;
    /** Whether a log or journal with content lies beside it; opening the database deletes it. */
    readonly heldBeside: boolean | null;
    /** Whether it is known to have held something. */
    readonly hadContent: boolean | null;
    /** Whether it is the same file (inode) as the one that held something; another one was put in its place. */
    readonly sameFile: boolean | null;
    /** Whether a process holds a lock on it. */
    readonly inUse: boolean | null;
    /** Whether there is a snapshot young enough to fall back to. */
    readonly hasRecentSnapshot: boolean | null;
    /** Age of the newest snapshot, milliseconds; none when there is no snapshot. */
    readonly snapshotAgeMs: number | null;
}

/** The database file has 0 bytes, and nothing says that it ever held more. */
export interface EmptyFile {
    readonly kind: "file.empty";
}

/** The schema holds nothing and held tables before. */
export interface EmptiedSchema {
    readonly kind: "schema.emptied";
    /** Whether there is a snapshot young enough to fall back to. */
    readonly hasRecentSnapshot: boolean | null;
    /** Age of the newest snapshot, milliseconds; none when there is no snapshot. */
    readonly snapshotAgeMs: number | null;
}

/** Another file lies under the database's name than before. */
export interface ReplacedFile {
    readonly kind: "file.replaced";
    /** Whether there is a snapshot young enough to fall back to. */
    readonly hasRecentSnapshot: boolean | null;
    /** Age of the newest snapshot, milliseconds; none when there is no snapshot. */
    readonly snapshotAgeMs: number | null;
}

/** The database file has a second name, so its log or journal may lie elsewhere. */
export interface LinkedFile {
    readonly kind: "file.linked";
    /** Names that it has (hard links). */
    readonly links: number | null;
    /** Whether the file is mounted by itself. */
    readonly mountedAlone: boolean | null;
    /** Whether a process holds a lock on it. */
    readonly inUse: boolean | null;
}

/** A process has the database file open, which was deleted or renamed under it. */
export interface UnlinkedFile {
    readonly kind: "file.unlinked";
    /** Process that has it open. */
    readonly holderPid: number | null;
    /** Its name. */
    readonly holderName: string | null;
    /** Its file descriptor. */
    readonly descriptor: number | null;
    /** Processes that have it open so. */
    readonly holders: number | null;
}

/** A process writes to a log that was deleted or renamed under it. */
export interface UnlinkedLog {
    readonly kind: "wal.unlinked";
    /** Process that has it open. */
    readonly holderPid: number | null;
    /** Its name. */
    readonly holderName: string | null;
    /** Its file descriptor. */
    readonly descriptor: number | null;
    /** Processes that have it open so. */
    readonly holders: number | null;
}

/** A process has the database locked in WAL mode and does not use the log beside it. */
export interface LogElsewhere {
    readonly kind: "wal.elsewhere";
    /** Process that has it open. */
    readonly holderPid: number | null;
    /** Its name. */
    readonly holderName: string | null;
    /** Processes that have it open so. */
    readonly holders: number | null;
}

/** A process has the log open for writing and holds no lock on the database. */
export interface LostLocks {
    readonly kind: "lock.lost";
    /** Process that has it open. */
    readonly holderPid: number | null;
    /** Its name. */
    readonly holderName: string | null;
    /** Its file descriptor of the log. */
    readonly descriptor: number | null;
    /** Processes that have it open so. */
    readonly holders: number | null;
}

/** The log beside the database file belongs to another one. Offers `wal.set-aside`. */
export interface ForeignLog {
    readonly kind: "wal.foreign";
    /** What shows it. */
    readonly evidence: string | null;
    /** Whether it is proven, or only likely. */
    readonly proven: boolean | null;
    /** Whether the file without the log is sound. */
    readonly fileSound: boolean | null;
    /** Size of the log, bytes. */
    readonly walBytes: number | null;
    /** Committed transactions in it. */
    readonly walCommits: number | null;
}

/**
 * The rollback journal beside the database file belongs to another one. Offers
 * `journal.set-aside`.
 */
export interface ForeignJournal {
    readonly kind: "journal.foreign";
    /** What shows it. */
    readonly evidence: string | null;
    /** Whether the file without the journal is sound. */
    readonly fileSound: boolean | null;
    /** Size of the journal, bytes. */
    readonly journalBytes: number | null;
}

/** Plain SQLite cannot judge the file, or must not write to it. */
export interface NotJudgeable {
    readonly kind: "target.not-judgeable";
    /**
     * Why: `encrypted`, `format-version`, `reserved-bytes`, `appended`, `lock-directory`, `no-locks`,
     * `link-of-another` or `place-of-another`.
     */
    readonly reason: string | null;
    /** Of `reserved-bytes`: how many bytes each page keeps for something that plain SQLite does not know. */
    readonly reservedBytes: number | null;
    /** Of `format-version`: the version for writing in the file's header. */
    readonly writeVersion: number | null;
    /** Of `format-version`: the version for reading. */
    readonly readVersion: number | null;
}

/** The database does not answer. */
export interface Unreachable {
    readonly kind: "target.unreachable";
    /** What was tried and how it failed. */
    readonly reason: string | null;
}

/** A configured bound is violated. */
export interface ViolatedConstraint {
    readonly kind: "constraint.violated";
    /** The constraint's name. */
    readonly constraint: string | null;
    /** The metric's name, unit as suffix. */
    readonly metric: string | null;
    /** The metric's value, in its unit. */
    readonly value: number | null;
    /** The bound, in the metric's unit. */
    readonly bound: number | null;
    /** The share of the room up to the bound that is used; over 1 is a violation. */
    readonly utilization: number | null;
    /** Whether the operator allows it to be mended without being asked. */
    readonly autoFix: boolean | null;
}

/** Several values left their normal range and no known problem explains it. */
export interface UnexplainedAnomaly {
    readonly kind: "anomaly.unexplained";
    /** The series that carries it most. */
    readonly series: string | null;
    /** 0 is certainly normal, 1 is certainly anomalous. */
    readonly confidence: number | null;
    /** How many series carry it. */
    readonly seriesCount: number | null;
    /** Anomalies of the target within the last minute, this one among them. */
    readonly anomaliesLastMinute: number | null;
    /** Those among them that are of errors. */
    readonly errorAnomaliesLastMinute: number | null;
    /** The known trouble that it looks like; none below the bar of a diagnosis. */
    readonly signatureBest: string | null;
    /** How likely that is, 0 to 1. */
    readonly signatureConfidence: number | null;
    /** The next likely one. */
    readonly signatureSecond: string | null;
    /** How likely that is, 0 to 1. */
    readonly signatureSecondConfidence: number | null;
    /** How likely it is none of the known ones, 0 to 1. */
    readonly signatureNone: number | null;
}

/** A finding seen as one of the known problems. */
export type Problem =
    | StaleLock
    | LongLock
    | CheckpointStarved
    | OversizedWal
    | CorruptFrame
    | CorruptIndex
    | DisagreeingRow
    | CorruptFullText
    | CorruptVirtualTable
    | BrokenVirtualTable
    | BrokenCheck
    | BrokenNotNull
    | BrokenType
    | BrokenUnique
    | BrokenForeignKey
    | CorruptTable
    | CorruptSchema
    | BrokenEntry
    | CorruptPages
    | MissingFile
    | TruncatedFile
    | NotADatabase
    | HotJournal
    | EmptiedFile
    | EmptyFile
    | EmptiedSchema
    | ReplacedFile
    | LinkedFile
    | UnlinkedFile
    | UnlinkedLog
    | LogElsewhere
    | LostLocks
    | ForeignLog
    | ForeignJournal
    | NotJudgeable
    | Unreachable
    | ViolatedConstraint
    | UnexplainedAnomaly;

/** The facts of every known kind, with what they are read as. */
export const FACTS: { readonly [kind: string]: { readonly [fact: string]: keyof typeof READ } } = {
    "lock.stale-holder": {
        holder_pid: "count",
        holder_name: "text",
        holder_stopped: "flag",
        holder_lock: "text",
        age_ms: "count",
        found_held_ms: "count",
        holder_cpu_ms: "count",
        commits_during_hold: "count",
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
        concurrent_operations: "count",
        waiting_processes: "count",
        writer_waits: "flag",
        writer_pid: "count",
        writer_name: "text",
        holder_may_be_ended: "flag",
    },
    "lock.long-holder": {
        holder_pid: "count",
        holder_name: "text",
        holder_outside: "flag",
        holder_lock: "text",
        age_ms: "count",
        holder_cpu_ms: "count",
        writer_waits: "flag",
        writer_pid: "count",
        writer_name: "text",
    },
    "wal.checkpoint-starved": {
        wal_bytes: "count",
        backlog_frames: "count",
        reader_pid: "count",
        reader_name: "text",
        reader_stopped: "flag",
        reader_age_ms: "count",
        reader_idle_ms: "count",
        reader_outside: "flag",
        reader_on_purpose: "flag",
        reader_holds: "count",
        reader_longest_ms: "count",
        pinned_frames: "count",
        dbmedic_reads: "flag",
        reader_may_be_ended: "flag",
    },
    "wal.oversized": {
        wal_bytes: "count",
        backlog_frames: "count",
        dbmedic_reads: "flag",
    },
    "wal.corrupt-frame": {
        first_bad_frame: "count",
        total_frames: "count",
        last_commit_frame: "count",
        commits_lost: "count",
        commits_kept: "count",
        percent_lost: "number",
        has_recent_snapshot: "flag",
    },
    "index.corrupt": {
        index: "text",
        table: "text",
        table_clean: "flag",
        faults: "count",
        rebuildable: "flag",
        missing_entries: "count",
        removable_entries: "count",
        expected_lock_ms: "count",
    },
    "index.disagrees-with-row": {
        index: "text",
        table: "text",
        disagreements: "count",
        column: "text",
        row_bytes: "count",
        entry_bytes: "count",
        missing_entries: "count",
    },
    "fulltext.corrupt": {
        table: "text",
        module: "text",
        content: "text",
        content_sound: "flag",
        rebuildable: "flag",
        documents_without_text: "count",
        faults: "count",
    },
    "virtual-table.corrupt": {
        table: "text",
        module: "text",
    },
    "virtual-table.broken": {
        table: "text",
        module: "text",
        missing: "text",
    },
    "rule.check": {
        table: "text",
        rows: "count",
    },
    "rule.not-null": {
        table: "text",
        columns: "text",
        rows: "count",
    },
    "rule.type": {
        table: "text",
        columns: "text",
        rows: "count",
    },
    "rule.unique": {
        table: "text",
        index: "text",
        keys: "count",
        rows: "count",
        rowids: "text",
    },
    "rule.foreign-key": {
        table: "text",
        columns: "text",
        parent: "text",
        rows: "count",
    },
    "table.corrupt": {
        table: "text",
        faults: "count",
        sound_tables: "count",
    },
    "schema.corrupt": {},
    "schema.broken-entry": {
        entry: "text",
        entry_type: "text",
        table: "text",
        others_sound: "flag",
        removable: "flag",
        removal: "text",
    },
    "pages.corrupt": {
        faults: "count",
    },
    "file.missing": {
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
    },
    "file.truncated": {
        expected_pages: "count",
        actual_pages: "count",
    },
    "file.not-a-database": {
        other_pages_sound: "flag",
    },
    "journal.hot": {
        journal_bytes: "count",
    },
    "file.emptied": {
        wal_bytes: "count",
        wal_commits: "count",
        journal_bytes: "count",
        bytes_before: "count",
        held_beside: "flag",
        had_content: "flag",
        same_file: "flag",
        in_use: "flag",
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
    },
    "file.empty": {},
    "schema.emptied": {
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
    },
    "file.replaced": {
        has_recent_snapshot: "flag",
        snapshot_age_ms: "count",
    },
    "file.linked": {
        links: "count",
        mounted_alone: "flag",
        in_use: "flag",
    },
    "file.unlinked": {
        holder_pid: "count",
        holder_name: "text",
        descriptor: "count",
        holders: "count",
    },
    "wal.unlinked": {
        holder_pid: "count",
        holder_name: "text",
        descriptor: "count",
        holders: "count",
    },
    "wal.elsewhere": {
        holder_pid: "count",
        holder_name: "text",
        holders: "count",
    },
    "lock.lost": {
        holder_pid: "count",
        holder_name: "text",
        descriptor: "count",
        holders: "count",
    },
    "wal.foreign": {
        evidence: "text",
        proven: "flag",
        file_sound: "flag",
        wal_bytes: "count",
        wal_commits: "count",
    },
    "journal.foreign": {
        evidence: "text",
        file_sound: "flag",
        journal_bytes: "count",
    },
    "target.not-judgeable": {
        reason: "text",
        reserved_bytes: "count",
        write_version: "count",
        read_version: "count",
    },
    "target.unreachable": {
        reason: "text",
    },
    "constraint.violated": {
        constraint: "text",
        metric: "text",
        value: "number",
        bound: "number",
        utilization: "number",
        auto_fix: "flag",
    },
    "anomaly.unexplained": {
        series: "text",
        confidence: "number",
        series_count: "count",
        anomalies_last_minute: "count",
        error_anomalies_last_minute: "count",
        signature_best: "text",
        signature_confidence: "number",
        signature_second: "text",
        signature_second_confidence: "number",
        signature_none: "number",
    },
};

/** The typed view of a finding; null for a kind that is not known here. A fact of another type is null. */
export function problemOf(finding: Finding | null): Problem | null {
    const known = finding === null ? undefined : FACTS[finding.kind];
    if (finding === null || known === undefined) {
        return null;
    }
    const view: { [field: string]: unknown } = { kind: finding.kind };
    for (const [name, type] of Object.entries(known)) {
        const field = name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
        const value = finding.facts.find((fact) => fact.name === name)?.value;
        view[field] = value === undefined ? null : READ[type](value);
    }
    return view as unknown as Problem;
}

const READ = {
    count: (value: Value) => (value.tag === "integer" && value.val >= 0 ? value.val : null),
    number: (value: Value) => (value.tag === "integer" || value.tag === "number" ? value.val : null),
    flag: (value: Value) => (value.tag === "boolean" ? value.val : null),
    text: (value: Value) => (value.tag === "text" ? value.val : null),
};
