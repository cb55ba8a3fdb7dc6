"""Typed views of the problems that the host knows today.

Made by sdk/generate.py from sdk/rust/src/problems.rs; not to be changed by hand. Every fact may be None, because
kinds and facts come and go without the contract changing. A kind that is not listed is None, never an error.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from .contract import Finding


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _number(value: object) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _flag(value: object) -> bool | None:
    return value if type(value) is bool else None


def _text(value: object) -> str | None:
    return value if type(value) is str else None


_READ = {"int | None": _count, "float | None": _number, "bool | None": _flag, "str | None": _text}


def problem_of(finding: Finding | None) -> Problem | None:
    """The typed view of a finding; None for a kind that is not known here. A fact of another type is None."""
    view = finding and KINDS.get(finding.kind)
    if not view:
        return None
    return view(**{each.name: _READ[each.type](finding.fact(each.name)) for each in fields(view)})


@dataclass(slots=True, frozen=True, kw_only=True)
class StaleLock:
    """A process that has come to a standstill holds the write lock, or in rollback mode a read lock for
    which a writer waits. Offers `lock.end-holder`, and `lock.resume-holder` when it is stopped."""

    KIND: ClassVar[str] = "lock.stale-holder"
    holder_pid: int | None = None
    """Process that holds the lock."""
    holder_name: str | None = None
    """Its name."""
    holder_stopped: bool | None = None
    """Whether it was stopped (SIGSTOP, Ctrl-Z), so that SIGCONT lets it go on."""
    holder_lock: str | None = None
    """Which lock it holds: `wal_write`, or in rollback mode `reserved`, `pending`, `exclusive` or
    `shared`."""
    age_ms: int | None = None
    """How long it is proven to have held the lock without a break, milliseconds; of `shared`, and to
    have kept a writer waiting."""
    found_held_ms: int | None = None
    """How long it was found holding the lock whenever that was looked at, milliseconds; it may
    have let go for moments before `age_ms` began."""
    holder_cpu_ms: int | None = None
    """Processor time that the holder used meanwhile, milliseconds."""
    commits_during_hold: int | None = None
    """Commits made while the lock was held."""
    has_recent_snapshot: bool | None = None
    """Whether there is a snapshot young enough to fall back to."""
    snapshot_age_ms: int | None = None
    """Age of the newest snapshot, milliseconds; none when there is no snapshot."""
    concurrent_operations: int | None = None
    """Others at the same time, such as a checkpoint or a recovery, and those that wait for the lock."""
    waiting_processes: int | None = None
    """Those among them that wait for the lock: the repair does not disturb them."""
    writer_waits: bool | None = None
    """In rollback mode, where it holds a read lock: whether a writer waits for it just now."""
    writer_pid: int | None = None
    """That writer's process."""
    writer_name: str | None = None
    """Its name."""
    holder_may_be_ended: bool | None = None
    """Whether the operator listed this process among those that a repair may end."""


@dataclass(slots=True, frozen=True, kw_only=True)
class LongLock:
    """A process holds the write lock for long, or in rollback mode reads while a writer waits, and is at
    work, may have let go for moments, or cannot be seen. Offers nothing: nobody may be ended on it."""

    KIND: ClassVar[str] = "lock.long-holder"
    holder_pid: int | None = None
    """Process that holds the lock; 0 when it lies outside of what the host can see."""
    holder_name: str | None = None
    """Its name."""
    holder_outside: bool | None = None
    """Whether it lies outside of what the host can see: another container."""
    holder_lock: str | None = None
    """Which lock it holds, as for `lock.stale-holder`."""
    age_ms: int | None = None
    """How long it was found holding the lock whenever that was looked at, milliseconds."""
    holder_cpu_ms: int | None = None
    """Processor time that the holder used meanwhile, milliseconds."""
    writer_waits: bool | None = None
    """In rollback mode, where it holds a read lock: whether a writer waits for it just now."""
    writer_pid: int | None = None
    """That writer's process."""
    writer_name: str | None = None
    """Its name."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CheckpointStarved:
    """A reader pins the write-ahead log, so that no checkpoint can finish. Offers `wal.release-reader`, and
    `lock.resume-holder` when the reader is stopped."""

    KIND: ClassVar[str] = "wal.checkpoint-starved"
    wal_bytes: int | None = None
    """Size of the log, bytes."""
    backlog_frames: int | None = None
    """Frames that wait for a checkpoint."""
    reader_pid: int | None = None
    """Process that reads."""
    reader_name: str | None = None
    """Its name."""
    reader_stopped: bool | None = None
    """Whether it was stopped (SIGSTOP, Ctrl-Z), so that SIGCONT lets it go on."""
    reader_age_ms: int | None = None
    """How long it has been reading in one transaction, milliseconds."""
    reader_idle_ms: int | None = None
    """How long it has done no work, milliseconds."""
    reader_outside: bool | None = None
    """Whether it lies outside of what the host can see: another container."""
    reader_on_purpose: bool | None = None
    """Whether it is a program that is known to hold the log on purpose, such as a replicator."""
    reader_holds: int | None = None
    """How often it held the log back lately, where it does so again and again."""
    reader_longest_ms: int | None = None
    """The longest of these times, milliseconds."""
    pinned_frames: int | None = None
    """Frames of the log that it keeps from being checkpointed."""
    dbmedic_reads: bool | None = None
    """Whether dbmedic reads as well just now: its own mark is then one of those in the way."""
    reader_may_be_ended: bool | None = None
    """Whether the operator listed this process among those that a repair may end."""


@dataclass(slots=True, frozen=True, kw_only=True)
class OversizedWal:
    """The write-ahead log has grown and nobody pins it. Offers `wal.checkpoint`."""

    KIND: ClassVar[str] = "wal.oversized"
    wal_bytes: int | None = None
    """Size of the log, bytes."""
    backlog_frames: int | None = None
    """Frames that wait for a checkpoint."""
    dbmedic_reads: bool | None = None
    """Whether dbmedic reads just now: its own mark is then in the way of a checkpoint."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CorruptFrame:
    """A frame of the write-ahead log is damaged. Offers `wal.keep-valid-prefix`."""

    KIND: ClassVar[str] = "wal.corrupt-frame"
    first_bad_frame: int | None = None
    """The first damaged frame, counted from 1."""
    total_frames: int | None = None
    """Frames in the log."""
    last_commit_frame: int | None = None
    """The last frame before the damage that ends a commit."""
    commits_lost: int | None = None
    """Commits behind the damage."""
    commits_kept: int | None = None
    """Commits before the damage."""
    percent_lost: float | None = None
    """The share of the log's commits that is lost, 0 to 100."""
    has_recent_snapshot: bool | None = None
    """Whether there is a snapshot young enough to fall back to."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CorruptIndex:
    """An index disagrees with its table. Offers `index.rebuild`."""

    KIND: ClassVar[str] = "index.corrupt"
    index: str | None = None
    """The index's name."""
    table: str | None = None
    """Its table's name."""
    table_clean: bool | None = None
    """Whether the table itself is sound."""
    faults: int | None = None
    """Faults found."""
    rebuildable: bool | None = None
    """Whether the index can be built anew from its definition."""
    missing_entries: int | None = None
    """Rows that have no entry in it."""
    removable_entries: int | None = None
    """Entries that a rebuild takes away."""
    expected_lock_ms: int | None = None
    """How long a rebuild is expected to keep writers out, milliseconds."""


@dataclass(slots=True, frozen=True, kw_only=True)
class DisagreeingRow:
    """A row and its entry in an index say different things, and which is true cannot be known.
    Offers nothing."""

    KIND: ClassVar[str] = "index.disagrees-with-row"
    index: str | None = None
    """The index's name."""
    table: str | None = None
    """Its table's name."""
    disagreements: int | None = None
    """Entries that disagree with the row they name."""
    column: str | None = None
    """The first column that differs."""
    row_bytes: int | None = None
    """How many bytes of it the row holds."""
    entry_bytes: int | None = None
    """How many bytes of it the entry holds."""
    missing_entries: int | None = None
    """Rows that have no entry."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CorruptFullText:
    """A full-text index is damaged. What it holds was made from text that lies elsewhere. May offer
    `fulltext.rebuild`."""

    KIND: ClassVar[str] = "fulltext.corrupt"
    table: str | None = None
    """The virtual table's name."""
    module: str | None = None
    """Its module: `fts3`, `fts4` or `fts5`."""
    content: str | None = None
    """Where its text is: `own`, `none`, or another table's name."""
    content_sound: bool | None = None
    """Whether nothing is known against the table that holds the text."""
    rebuildable: bool | None = None
    """Whether it can be made again from that text."""
    documents_without_text: int | None = None
    """Documents that it knows and that table has no row of: a rebuild would delete their last trace."""
    faults: int | None = None
    """Faults found."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CorruptVirtualTable:
    """What a virtual table of another module holds contradicts itself."""

    KIND: ClassVar[str] = "virtual-table.corrupt"
    table: str | None = None
    """The virtual table's name."""
    module: str | None = None
    """Its module."""


@dataclass(slots=True, frozen=True, kw_only=True)
class BrokenVirtualTable:
    """Tables that a virtual table is made of are gone, so it cannot be used."""

    KIND: ClassVar[str] = "virtual-table.broken"
    table: str | None = None
    """The virtual table's name."""
    module: str | None = None
    """Its module."""
    missing: str | None = None
    """The tables that are gone."""


@dataclass(slots=True, frozen=True, kw_only=True)
class BrokenCheck:
    """Rows break a CHECK of their table. The file is sound."""

    KIND: ClassVar[str] = "rule.check"
    table: str | None = None
    """The table's name."""
    rows: int | None = None
    """How many rows."""


@dataclass(slots=True, frozen=True, kw_only=True)
class BrokenNotNull:
    """Rows hold NULL in a column that is NOT NULL. The file is sound."""

    KIND: ClassVar[str] = "rule.not-null"
    table: str | None = None
    """The table's name."""
    columns: str | None = None
    """The column's name."""
    rows: int | None = None
    """How many rows."""


@dataclass(slots=True, frozen=True, kw_only=True)
class BrokenType:
    """Rows hold values that are not of their column's type. The file is sound."""

    KIND: ClassVar[str] = "rule.type"
    table: str | None = None
    """The table's name."""
    columns: str | None = None
    """The column's name."""
    rows: int | None = None
    """How many rows."""


@dataclass(slots=True, frozen=True, kw_only=True)
class BrokenUnique:
    """Rows share keys that a unique index is to forbid. The file is sound, and the index cannot be
    built again as long as they do."""

    KIND: ClassVar[str] = "rule.unique"
    table: str | None = None
    """The table's name."""
    index: str | None = None
    """The index's name."""
    keys: int | None = None
    """How many keys several rows share."""
    rows: int | None = None
    """How many rows share one."""
    rowids: str | None = None
    """The rowids of the first of them."""


@dataclass(slots=True, frozen=True, kw_only=True)
class BrokenForeignKey:
    """Rows have no parent where a foreign key asks for one. The file is sound."""

    KIND: ClassVar[str] = "rule.foreign-key"
    table: str | None = None
    """The table's name."""
    columns: str | None = None
    """The columns of the foreign key."""
    parent: str | None = None
    """The table that should hold the parents."""
    rows: int | None = None
    """How many rows."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CorruptTable:
    """A table is damaged."""

    KIND: ClassVar[str] = "table.corrupt"
    table: str | None = None
    """The table's name."""
    faults: int | None = None
    """Faults found."""
    sound_tables: int | None = None
    """Other tables that were read and are sound."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CorruptSchema:
    """The schema is damaged."""

    KIND: ClassVar[str] = "schema.corrupt"


@dataclass(slots=True, frozen=True, kw_only=True)
class BrokenEntry:
    """One entry of the schema keeps every program from reading any of it."""

    KIND: ClassVar[str] = "schema.broken-entry"
    entry: str | None = None
    """The entry's name."""
    entry_type: str | None = None
    """What it is: `table`, `index`, `view` or `trigger`."""
    table: str | None = None
    """The table that it belongs to."""
    others_sound: bool | None = None
    """Whether everything else was checked and is sound."""
    removable: bool | None = None
    """Whether it can be taken out without losing rows."""
    removal: str | None = None
    """The statements that take it out; none when rows would go with it."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CorruptPages:
    """Pages are damaged that belong to no table or index that can be named."""

    KIND: ClassVar[str] = "pages.corrupt"
    faults: int | None = None
    """Faults found."""


@dataclass(slots=True, frozen=True, kw_only=True)
class MissingFile:
    """The database file is gone. May offer the restore of a snapshot."""

    KIND: ClassVar[str] = "file.missing"
    has_recent_snapshot: bool | None = None
    """Whether there is a snapshot young enough to fall back to."""
    snapshot_age_ms: int | None = None
    """Age of the newest snapshot, milliseconds; none when there is no snapshot."""


@dataclass(slots=True, frozen=True, kw_only=True)
class TruncatedFile:
    """The database file is shorter than its header says."""

    KIND: ClassVar[str] = "file.truncated"
    expected_pages: int | None = None
    """Pages according to the header."""
    actual_pages: int | None = None
    """Pages that are there."""


@dataclass(slots=True, frozen=True, kw_only=True)
class NotADatabase:
    """The file does not begin like a database."""

    KIND: ClassVar[str] = "file.not-a-database"
    other_pages_sound: bool | None = None
    """Whether the pages behind the first look like those of a database; none when that is not
    known."""


@dataclass(slots=True, frozen=True, kw_only=True)
class HotJournal:
    """A rollback journal of a writer that died is left over."""

    KIND: ClassVar[str] = "journal.hot"
    journal_bytes: int | None = None
    """Its size, bytes."""


@dataclass(slots=True, frozen=True, kw_only=True)
class EmptiedFile:
    """The database file has 0 bytes and held something before, or something of it lies beside it."""

    KIND: ClassVar[str] = "file.emptied"
    wal_bytes: int | None = None
    """Size of the log beside it, bytes."""
    wal_commits: int | None = None
    """Committed transactions in that log."""
    journal_bytes: int | None = None
    """Size of the rollback journal beside it, bytes."""
    bytes_before: int | None = None
    """Size of the file when it was last seen with content, bytes."""
    held_beside: bool | None = None
    """Whether a log or journal with content lies beside it; opening the database deletes it."""
    had_content: bool | None = None
    """Whether it is known to have held something."""
    same_file: bool | None = None
    """Whether it is the same file (inode) as the one that held something; another one was put in its place."""
    in_use: bool | None = None
    """Whether a process holds a lock on it."""
    has_recent_snapshot: bool | None = None
    """Whether there is a snapshot young enough to fall back to."""
    snapshot_age_ms: int | None = None
    """Age of the newest snapshot, milliseconds; none when there is no snapshot."""


@dataclass(slots=True, frozen=True, kw_only=True)
class EmptyFile:
    """The database file has 0 bytes, and nothing says that it ever held more."""

    KIND: ClassVar[str] = "file.empty"


@dataclass(slots=True, frozen=True, kw_only=True)
class EmptiedSchema:
    """The schema holds nothing and held tables before."""

    KIND: ClassVar[str] = "schema.emptied"
    has_recent_snapshot: bool | None = None
    """Whether there is a snapshot young enough to fall back to."""
    snapshot_age_ms: int | None = None
    """Age of the newest snapshot, milliseconds; none when there is no snapshot."""


@dataclass(slots=True, frozen=True, kw_only=True)
class ReplacedFile:
    """Another file lies under the database's name than before."""

    KIND: ClassVar[str] = "file.replaced"
    has_recent_snapshot: bool | None = None
    """Whether there is a snapshot young enough to fall back to."""
    snapshot_age_ms: int | None = None
    """Age of the newest snapshot, milliseconds; none when there is no snapshot."""


@dataclass(slots=True, frozen=True, kw_only=True)
class LinkedFile:
    """The database file has a second name, so its log or journal may lie elsewhere."""

    KIND: ClassVar[str] = "file.linked"
    links: int | None = None
    """Names that it has (hard links)."""
    mounted_alone: bool | None = None
    """Whether the file is mounted by itself."""
    in_use: bool | None = None
    """Whether a process holds a lock on it."""


@dataclass(slots=True, frozen=True, kw_only=True)
class UnlinkedFile:
    """A process has the database file open, which was deleted or renamed under it."""

    KIND: ClassVar[str] = "file.unlinked"
    holder_pid: int | None = None
    """Process that has it open."""
    holder_name: str | None = None
    """Its name."""
    descriptor: int | None = None
    """Its file descriptor."""
    holders: int | None = None
    """Processes that have it open so."""


@dataclass(slots=True, frozen=True, kw_only=True)
class UnlinkedLog:
    """A process writes to a log that was deleted or renamed under it."""

    KIND: ClassVar[str] = "wal.unlinked"
    holder_pid: int | None = None
    """Process that has it open."""
    holder_name: str | None = None
    """Its name."""
    descriptor: int | None = None
    """Its file descriptor."""
    holders: int | None = None
    """Processes that have it open so."""


@dataclass(slots=True, frozen=True, kw_only=True)
class LogElsewhere:
    """A process has the database locked in WAL mode and does not use the log beside it."""

    KIND: ClassVar[str] = "wal.elsewhere"
    holder_pid: int | None = None
    """Process that has it open."""
    holder_name: str | None = None
    """Its name."""
    holders: int | None = None
    """Processes that have it open so."""


@dataclass(slots=True, frozen=True, kw_only=True)
class LostLocks:
    """A process has the log open for writing and holds no lock on the database."""

    KIND: ClassVar[str] = "lock.lost"
    holder_pid: int | None = None
    """Process that has it open."""
    holder_name: str | None = None
    """Its name."""
    descriptor: int | None = None
    """Its file descriptor of the log."""
    holders: int | None = None
    """Processes that have it open so."""


@dataclass(slots=True, frozen=True, kw_only=True)
class ForeignLog:
    """The log beside the database file belongs to another one. Offers `wal.set-aside`."""

    KIND: ClassVar[str] = "wal.foreign"
    evidence: str | None = None
    """What shows it."""
    proven: bool | None = None
    """Whether it is proven, or only likely."""
    file_sound: bool | None = None
    """Whether the file without the log is sound."""
    wal_bytes: int | None = None
    """Size of the log, bytes."""
    wal_commits: int | None = None
    """Committed transactions in it."""


@dataclass(slots=True, frozen=True, kw_only=True)
class ForeignJournal:
    """The rollback journal beside the database file belongs to another one. Offers
    `journal.set-aside`."""

    KIND: ClassVar[str] = "journal.foreign"
    evidence: str | None = None
    """What shows it."""
    file_sound: bool | None = None
    """Whether the file without the journal is sound."""
    journal_bytes: int | None = None
    """Size of the journal, bytes."""


@dataclass(slots=True, frozen=True, kw_only=True)
class NotJudgeable:
    """Plain SQLite cannot judge the file, or must not write to it."""

    KIND: ClassVar[str] = "target.not-judgeable"
    reason: str | None = None
    """Why: `encrypted`, `format-version`, `reserved-bytes`, `appended`, `lock-directory`, `no-locks`,
    `link-of-another` or `place-of-another`."""
    reserved_bytes: int | None = None
    """Of `reserved-bytes`: how many bytes each page keeps for something that plain SQLite does not know."""
    write_version: int | None = None
    """Of `format-version`: the version for writing in the file's header."""
    read_version: int | None = None
    """Of `format-version`: the version for reading."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Unreachable:
    """The database does not answer."""

    KIND: ClassVar[str] = "target.unreachable"
    reason: str | None = None
    """What was tried and how it failed."""


@dataclass(slots=True, frozen=True, kw_only=True)
class ViolatedConstraint:
    """A configured bound is violated."""

    KIND: ClassVar[str] = "constraint.violated"
    constraint: str | None = None
    """The constraint's name."""
    metric: str | None = None
    """The metric's name, unit as suffix."""
    value: float | None = None
    """The metric's value, in its unit."""
    bound: float | None = None
    """The bound, in the metric's unit."""
    utilization: float | None = None
    """The share of the room up to the bound that is used; over 1 is a violation."""
    auto_fix: bool | None = None
    """Whether the operator allows it to be mended without being asked."""


@dataclass(slots=True, frozen=True, kw_only=True)
class UnexplainedAnomaly:
    """Several values left their normal range and no known problem explains it."""

    KIND: ClassVar[str] = "anomaly.unexplained"
    series: str | None = None
    """The series that carries it most."""
    confidence: float | None = None
    """0 is certainly normal, 1 is certainly anomalous."""
    series_count: int | None = None
    """How many series carry it."""
    anomalies_last_minute: int | None = None
    """Anomalies of the target within the last minute, this one among them."""
    error_anomalies_last_minute: int | None = None
    """Those among them that are of errors."""
    signature_best: str | None = None
    """The known trouble that it looks like; none below the bar of a diagnosis."""
    signature_confidence: float | None = None
    """How likely that is, 0 to 1."""
    signature_second: str | None = None
    """The next likely one."""
    signature_second_confidence: float | None = None
    """How likely that is, 0 to 1."""
    signature_none: float | None = None
    """How likely it is none of the known ones, 0 to 1."""


Problem = (
    StaleLock
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
    | UnexplainedAnomaly
)

KINDS = {view.KIND: view for view in [
    StaleLock,
    LongLock,
    CheckpointStarved,
    OversizedWal,
    CorruptFrame,
    CorruptIndex,
    DisagreeingRow,
    CorruptFullText,
    CorruptVirtualTable,
    BrokenVirtualTable,
    BrokenCheck,
    BrokenNotNull,
    BrokenType,
    BrokenUnique,
    BrokenForeignKey,
    CorruptTable,
    CorruptSchema,
    BrokenEntry,
    CorruptPages,
    MissingFile,
    TruncatedFile,
    NotADatabase,
    HotJournal,
    EmptiedFile,
    EmptyFile,
    EmptiedSchema,
    ReplacedFile,
    LinkedFile,
    UnlinkedFile,
    UnlinkedLog,
    LogElsewhere,
    LostLocks,
    ForeignLog,
    ForeignJournal,
    NotJudgeable,
    Unreachable,
    ViolatedConstraint,
    UnexplainedAnomaly,
]}
"""Every view by the kind of problem that it shows."""

__all__ = ["Problem", "problem_of", *(view.__name__ for view in KINDS.values())]
