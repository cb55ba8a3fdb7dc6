package sdk

// The problems that the host knows today. A fact that is missing, or of another type, is nil: kinds
// and facts come and go without the contract changing.

// StaleLock is `lock.stale-holder`: A process that has come to a standstill holds the write
// lock, or in rollback mode a read lock for which a writer waits. Offers `lock.end-holder`, and
// `lock.resume-holder` when it is stopped.
type StaleLock struct {
	// Process that holds the lock.
	HolderPID *uint64 `fact:"holder_pid"`
	// Its name.
	HolderName *string `fact:"holder_name"`
	// Whether it was stopped (SIGSTOP, Ctrl-Z), so that SIGCONT lets it go on.
	HolderStopped *bool `fact:"holder_stopped"`
	// Which lock it holds: `wal_write`, or in rollback mode `reserved`, `pending`, `exclusive` or
	// `shared`.
	HolderLock *string `fact:"holder_lock"`
	// How long it is proven to have held the lock without a break, milliseconds; of `shared`, and
	// to have kept a writer waiting.
	AgeMs *uint64 `fact:"age_ms"`
	// How long it was found holding the lock whenever that was looked at, milliseconds; it may
	// have let go for moments before `age_ms` began.
	FoundHeldMs *uint64 `fact:"found_held_ms"`
	// Processor time that the holder used meanwhile, milliseconds.
	HolderCpuMs *uint64 `fact:"holder_cpu_ms"`
	// Commits made while the lock was held.
	CommitsDuringHold *uint64 `fact:"commits_during_hold"`
	// Whether there is a snapshot young enough to fall back to.
	HasRecentSnapshot *bool `fact:"has_recent_snapshot"`
	// Age of the newest snapshot, milliseconds; none when there is no snapshot.
	SnapshotAgeMs *uint64 `fact:"snapshot_age_ms"`
	// Others at the same time, such as a checkpoint or a recovery, and those that wait for the
	// lock.
	ConcurrentOperations *uint64 `fact:"concurrent_operations"`
	// Those among them that wait for the lock: the repair does not disturb them.
	WaitingProcesses *uint64 `fact:"waiting_processes"`
	// In rollback mode, where it holds a read lock: whether a writer waits for it just now.
	WriterWaits *bool `fact:"writer_waits"`
	// That writer's process.
	WriterPID *uint64 `fact:"writer_pid"`
	// Its name.
	WriterName *string `fact:"writer_name"`
	// Whether the operator listed this process among those that a repair may end.
	HolderMayBeEnded *bool `fact:"holder_may_be_ended"`
}

// Kind is the finding's kind.
func (StaleLock) Kind() string { return "lock.stale-holder" }

// LongLock is `lock.long-holder`: A process holds the write lock for long, or in rollback mode
// reads while a writer waits, and is at work, may have let go for moments, or cannot be seen.
// Offers nothing: nobody may be ended on it.
type LongLock struct {
	// Process that holds the lock; 0 when it lies outside of what the host can see.
	HolderPID *uint64 `fact:"holder_pid"`
	// Its name.
	HolderName *string `fact:"holder_name"`
	// Whether it lies outside of what the host can see: another container.
	HolderOutside *bool `fact:"holder_outside"`
	// Which lock it holds, as for `lock.stale-holder`.
	HolderLock *string `fact:"holder_lock"`
	// How long it was found holding the lock whenever that was looked at, milliseconds.
	AgeMs *uint64 `fact:"age_ms"`
	// Processor time that the holder used meanwhile, milliseconds.
	HolderCpuMs *uint64 `fact:"holder_cpu_ms"`
	// In rollback mode, where it holds a read lock: whether a writer waits for it just now.
	WriterWaits *bool `fact:"writer_waits"`
	// That writer's process.
	WriterPID *uint64 `fact:"writer_pid"`
	// Its name.
	WriterName *string `fact:"writer_name"`
}

// Kind is the finding's kind.
func (LongLock) Kind() string { return "lock.long-holder" }

// CheckpointStarved is `wal.checkpoint-starved`: A reader pins the write-ahead log, so that no
// checkpoint can finish. Offers `wal.release-reader`, and `lock.resume-holder` when the reader
// is stopped.
type CheckpointStarved struct {
	// Size of the log, bytes.
	WalBytes *uint64 `fact:"wal_bytes"`
	// Frames that wait for a checkpoint.
	BacklogFrames *uint64 `fact:"backlog_frames"`
	// Process that reads.
	ReaderPID *uint64 `fact:"reader_pid"`
	// Its name.
	ReaderName *string `fact:"reader_name"`
	// Whether it was stopped (SIGSTOP, Ctrl-Z), so that SIGCONT lets it go on.
	ReaderStopped *bool `fact:"reader_stopped"`
	// How long it has been reading in one transaction, milliseconds.
	ReaderAgeMs *uint64 `fact:"reader_age_ms"`
	// How long it has done no work, milliseconds.
	ReaderIdleMs *uint64 `fact:"reader_idle_ms"`
	// Whether it lies outside of what the host can see: another container.
	ReaderOutside *bool `fact:"reader_outside"`
	// Whether it is a program that is known to hold the log on purpose, such as a replicator.
	ReaderOnPurpose *bool `fact:"reader_on_purpose"`
	// How often it held the log back lately, where it does so again and again.
	ReaderHolds *uint64 `fact:"reader_holds"`
	// The longest of these times, milliseconds.
	ReaderLongestMs *uint64 `fact:"reader_longest_ms"`
	// Frames of the log that it keeps from being checkpointed.
	PinnedFrames *uint64 `fact:"pinned_frames"`
	// Whether dbmedic reads as well just now: its own mark is then one of those in the way.
	DbmedicReads *bool `fact:"dbmedic_reads"`
	// Whether the operator listed this process among those that a repair may end.
	ReaderMayBeEnded *bool `fact:"reader_may_be_ended"`
}

// Kind is the finding's kind.
func (CheckpointStarved) Kind() string { return "wal.checkpoint-starved" }

// OversizedWal is `wal.oversized`: The write-ahead log has grown and nobody pins it. Offers
// `wal.checkpoint`.
type OversizedWal struct {
	// Size of the log, bytes.
	WalBytes *uint64 `fact:"wal_bytes"`
	// Frames that wait for a checkpoint.
	BacklogFrames *uint64 `fact:"backlog_frames"`
	// Whether dbmedic reads just now: its own mark is then in the way of a checkpoint.
	DbmedicReads *bool `fact:"dbmedic_reads"`
}

// Kind is the finding's kind.
func (OversizedWal) Kind() string { return "wal.oversized" }

// CorruptFrame is `wal.corrupt-frame`: A frame of the write-ahead log is damaged. Offers
// `wal.keep-valid-prefix`.
type CorruptFrame struct {
	// The first damaged frame, counted from 1.
	FirstBadFrame *uint64 `fact:"first_bad_frame"`
	// Frames in the log.
	TotalFrames *uint64 `fact:"total_frames"`
	// The last frame before the damage that ends a commit.
	LastCommitFrame *uint64 `fact:"last_commit_frame"`
	// Commits behind the damage.
	CommitsLost *uint64 `fact:"commits_lost"`
	// Commits before the damage.
	CommitsKept *uint64 `fact:"commits_kept"`
	// The share of the log's commits that is lost, 0 to 100.
	PercentLost *float64 `fact:"percent_lost"`
	// Whether there is a snapshot young enough to fall back to.
	HasRecentSnapshot *bool `fact:"has_recent_snapshot"`
}

// Kind is the finding's kind.
func (CorruptFrame) Kind() string { return "wal.corrupt-frame" }

// CorruptIndex is `index.corrupt`: An index disagrees with its table. Offers `index.rebuild`.
type CorruptIndex struct {
	// The index's name.
	Index *string `fact:"index"`
	// Its table's name.
	Table *string `fact:"table"`
	// Whether the table itself is sound.
	TableClean *bool `fact:"table_clean"`
	// Faults found.
	Faults *uint64 `fact:"faults"`
	// Whether the index can be built anew from its definition.
	Rebuildable *bool `fact:"rebuildable"`
	// Rows that have no entry in it.
	MissingEntries *uint64 `fact:"missing_entries"`
	// Entries that a rebuild takes away.
	RemovableEntries *uint64 `fact:"removable_entries"`
	// How long a rebuild is expected to keep writers out, milliseconds.
	ExpectedLockMs *uint64 `fact:"expected_lock_ms"`
}

// Kind is the finding's kind.
func (CorruptIndex) Kind() string { return "index.corrupt" }

// DisagreeingRow is `index.disagrees-with-row`: A row and its entry in an index say different
// things, and which is true cannot be known. Offers nothing.
type DisagreeingRow struct {
	// The index's name.
	Index *string `fact:"index"`
	// Its table's name.
	Table *string `fact:"table"`
	// Entries that disagree with the row they name.
	Disagreements *uint64 `fact:"disagreements"`
	// The first column that differs.
	Column *string `fact:"column"`
	// How many bytes of it the row holds.
	RowBytes *uint64 `fact:"row_bytes"`
	// How many bytes of it the entry holds.
	EntryBytes *uint64 `fact:"entry_bytes"`
	// Rows that have no entry.
	MissingEntries *uint64 `fact:"missing_entries"`
}

// Kind is the finding's kind.
func (DisagreeingRow) Kind() string { return "index.disagrees-with-row" }

// CorruptFullText is `fulltext.corrupt`: A full-text index is damaged. What it holds was made
// from text that lies elsewhere. May offer `fulltext.rebuild`.
type CorruptFullText struct {
	// The virtual table's name.
	Table *string `fact:"table"`
	// Its module: `fts3`, `fts4` or `fts5`.
	Module *string `fact:"module"`
	// Where its text is: `own`, `none`, or another table's name.
	Content *string `fact:"content"`
	// Whether nothing is known against the table that holds the text.
	ContentSound *bool `fact:"content_sound"`
	// Whether it can be made again from that text.
	Rebuildable *bool `fact:"rebuildable"`
	// Documents that it knows and that table has no row of: a rebuild would delete their last
	// trace.
	DocumentsWithoutText *uint64 `fact:"documents_without_text"`
	// Faults found.
	Faults *uint64 `fact:"faults"`
}

// Kind is the finding's kind.
func (CorruptFullText) Kind() string { return "fulltext.corrupt" }

// CorruptVirtualTable is `virtual-table.corrupt`: What a virtual table of another module holds
// contradicts itself.
type CorruptVirtualTable struct {
	// The virtual table's name.
	Table *string `fact:"table"`
	// Its module.
	Module *string `fact:"module"`
}

// Kind is the finding's kind.
func (CorruptVirtualTable) Kind() string { return "virtual-table.corrupt" }

// BrokenVirtualTable is `virtual-table.broken`: Tables that a virtual table is made of are
// gone, so it cannot be used.
type BrokenVirtualTable struct {
	// The virtual table's name.
	Table *string `fact:"table"`
	// Its module.
	Module *string `fact:"module"`
	// The tables that are gone.
	Missing *string `fact:"missing"`
}

// Kind is the finding's kind.
func (BrokenVirtualTable) Kind() string { return "virtual-table.broken" }

// BrokenCheck is `rule.check`: Rows break a CHECK of their table. The file is sound.
type BrokenCheck struct {
	// The table's name.
	Table *string `fact:"table"`
	// How many rows.
	Rows *uint64 `fact:"rows"`
}

// Kind is the finding's kind.
func (BrokenCheck) Kind() string { return "rule.check" }

// BrokenNotNull is `rule.not-null`: Rows hold NULL in a column that is NOT NULL. The file is
// sound.
type BrokenNotNull struct {
	// The table's name.
	Table *string `fact:"table"`
	// The column's name.
	Columns *string `fact:"columns"`
	// How many rows.
	Rows *uint64 `fact:"rows"`
}

// Kind is the finding's kind.
func (BrokenNotNull) Kind() string { return "rule.not-null" }

// BrokenType is `rule.type`: Rows hold values that are not of their column's type. The file is
// sound.
type BrokenType struct {
	// The table's name.
	Table *string `fact:"table"`
	// The column's name.
	Columns *string `fact:"columns"`
	// How many rows.
	Rows *uint64 `fact:"rows"`
}

// Kind is the finding's kind.
func (BrokenType) Kind() string { return "rule.type" }

// BrokenUnique is `rule.unique`: Rows share keys that a unique index is to forbid. The file is
// sound, and the index cannot be built again as long as they do.
type BrokenUnique struct {
	// The table's name.
	Table *string `fact:"table"`
	// The index's name.
	Index *string `fact:"index"`
	// How many keys several rows share.
	Keys *uint64 `fact:"keys"`
	// How many rows share one.
	Rows *uint64 `fact:"rows"`
	// The rowids of the first of them.
	Rowids *string `fact:"rowids"`
}

// Kind is the finding's kind.
func (BrokenUnique) Kind() string { return "rule.unique" }

// BrokenForeignKey is `rule.foreign-key`: Rows have no parent where a foreign key asks for one.
// The file is sound.
type BrokenForeignKey struct {
	// The table's name.
	Table *string `fact:"table"`
	// The columns of the foreign key.
	Columns *string `fact:"columns"`
	// The table that should hold the parents.
	Parent *string `fact:"parent"`
	// How many rows.
	Rows *uint64 `fact:"rows"`
}

// Kind is the finding's kind.
func (BrokenForeignKey) Kind() string { return "rule.foreign-key" }

// CorruptTable is `table.corrupt`: A table is damaged.
type CorruptTable struct {
	// The table's name.
	Table *string `fact:"table"`
	// Faults found.
	Faults *uint64 `fact:"faults"`
	// Other tables that were read and are sound.
	SoundTables *uint64 `fact:"sound_tables"`
}

// Kind is the finding's kind.
func (CorruptTable) Kind() string { return "table.corrupt" }

// CorruptSchema is `schema.corrupt`: The schema is damaged.
type CorruptSchema struct{}

// Kind is the finding's kind.
func (CorruptSchema) Kind() string { return "schema.corrupt" }

// BrokenEntry is `schema.broken-entry`: One entry of the schema keeps every program from
// reading any of it.
type BrokenEntry struct {
	// The entry's name.
	Entry *string `fact:"entry"`
	// What it is: `table`, `index`, `view` or `trigger`.
	EntryType *string `fact:"entry_type"`
	// The table that it belongs to.
	Table *string `fact:"table"`
	// Whether everything else was checked and is sound.
	OthersSound *bool `fact:"others_sound"`
	// Whether it can be taken out without losing rows.
	Removable *bool `fact:"removable"`
	// The statements that take it out; none when rows would go with it.
	Removal *string `fact:"removal"`
}

// Kind is the finding's kind.
func (BrokenEntry) Kind() string { return "schema.broken-entry" }

// CorruptPages is `pages.corrupt`: Pages are damaged that belong to no table or index that can
// be named.
type CorruptPages struct {
	// Faults found.
	Faults *uint64 `fact:"faults"`
}

// Kind is the finding's kind.
func (CorruptPages) Kind() string { return "pages.corrupt" }

// MissingFile is `file.missing`: The database file is gone. May offer the restore of a
// snapshot.
type MissingFile struct {
	// Whether there is a snapshot young enough to fall back to.
	HasRecentSnapshot *bool `fact:"has_recent_snapshot"`
	// Age of the newest snapshot, milliseconds; none when there is no snapshot.
	SnapshotAgeMs *uint64 `fact:"snapshot_age_ms"`
}

// Kind is the finding's kind.
func (MissingFile) Kind() string { return "file.missing" }

// TruncatedFile is `file.truncated`: The database file is shorter than its header says.
type TruncatedFile struct {
	// Pages according to the header.
	ExpectedPages *uint64 `fact:"expected_pages"`
	// Pages that are there.
	ActualPages *uint64 `fact:"actual_pages"`
}

// Kind is the finding's kind.
func (TruncatedFile) Kind() string { return "file.truncated" }

// NotADatabase is `file.not-a-database`: The file does not begin like a database.
type NotADatabase struct {
	// Whether the pages behind the first look like those of a database; none when that is not
	// known.
	OtherPagesSound *bool `fact:"other_pages_sound"`
}

// Kind is the finding's kind.
func (NotADatabase) Kind() string { return "file.not-a-database" }

// HotJournal is `journal.hot`: A rollback journal of a writer that died is left over.
type HotJournal struct {
	// Its size, bytes.
	JournalBytes *uint64 `fact:"journal_bytes"`
}

// Kind is the finding's kind.
func (HotJournal) Kind() string { return "journal.hot" }

// EmptiedFile is `file.emptied`: The database file has 0 bytes and held something before, or
// something of it lies beside it.
type EmptiedFile struct {
	// Size of the log beside it, bytes.
	WalBytes *uint64 `fact:"wal_bytes"`
	// Committed transactions in that log.
	WalCommits *uint64 `fact:"wal_commits"`
	// Size of the rollback journal beside it, bytes.
	JournalBytes *uint64 `fact:"journal_bytes"`
	// Size of the file when it was last seen with content, bytes.
	BytesBefore *uint64 `fact:"bytes_before"`
	// Whether a log or journal with content lies beside it; opening the database deletes it.
	HeldBeside *bool `fact:"held_beside"`
	// Whether it is known to have held something.
	HadContent *bool `fact:"had_content"`
	// Whether it is the same file (inode) as the one that held something; another one was put in its place.
	SameFile *bool `fact:"same_file"`
	// Whether a process holds a lock on it.
	InUse *bool `fact:"in_use"`
	// Whether there is a snapshot young enough to fall back to.
	HasRecentSnapshot *bool `fact:"has_recent_snapshot"`
	// Age of the newest snapshot, milliseconds; none when there is no snapshot.
	SnapshotAgeMs *uint64 `fact:"snapshot_age_ms"`
}

// Kind is the finding's kind.
func (EmptiedFile) Kind() string { return "file.emptied" }

// EmptyFile is `file.empty`: The database file has 0 bytes, and nothing says that it ever held
// more.
type EmptyFile struct{}

// Kind is the finding's kind.
func (EmptyFile) Kind() string { return "file.empty" }

// EmptiedSchema is `schema.emptied`: The schema holds nothing and held tables before.
type EmptiedSchema struct {
	// Whether there is a snapshot young enough to fall back to.
	HasRecentSnapshot *bool `fact:"has_recent_snapshot"`
	// Age of the newest snapshot, milliseconds; none when there is no snapshot.
	SnapshotAgeMs *uint64 `fact:"snapshot_age_ms"`
}

// Kind is the finding's kind.
func (EmptiedSchema) Kind() string { return "schema.emptied" }

// ReplacedFile is `file.replaced`: Another file lies under the database's name than before.
type ReplacedFile struct {
	// Whether there is a snapshot young enough to fall back to.
	HasRecentSnapshot *bool `fact:"has_recent_snapshot"`
	// Age of the newest snapshot, milliseconds; none when there is no snapshot.
	SnapshotAgeMs *uint64 `fact:"snapshot_age_ms"`
}

// Kind is the finding's kind.
func (ReplacedFile) Kind() string { return "file.replaced" }

// LinkedFile is `file.linked`: The database file has a second name, so its log or journal may
// lie elsewhere.
type LinkedFile struct {
	// Names that it has (hard links).
	Links *uint64 `fact:"links"`
	// Whether the file is mounted by itself.
	MountedAlone *bool `fact:"mounted_alone"`
	// Whether a process holds a lock on it.
	InUse *bool `fact:"in_use"`
}

// Kind is the finding's kind.
func (LinkedFile) Kind() string { return "file.linked" }

// UnlinkedFile is `file.unlinked`: A process has the database file open, which was deleted or
// renamed under it.
type UnlinkedFile struct {
	// Process that has it open.
	HolderPID *uint64 `fact:"holder_pid"`
	// Its name.
	HolderName *string `fact:"holder_name"`
	// Its file descriptor.
	Descriptor *uint64 `fact:"descriptor"`
	// Processes that have it open so.
	Holders *uint64 `fact:"holders"`
}

// Kind is the finding's kind.
func (UnlinkedFile) Kind() string { return "file.unlinked" }

// UnlinkedLog is `wal.unlinked`: A process writes to a log that was deleted or renamed under
// it.
type UnlinkedLog struct {
	// Process that has it open.
	HolderPID *uint64 `fact:"holder_pid"`
	// Its name.
	HolderName *string `fact:"holder_name"`
	// Its file descriptor.
	Descriptor *uint64 `fact:"descriptor"`
	// Processes that have it open so.
	Holders *uint64 `fact:"holders"`
}

// Kind is the finding's kind.
func (UnlinkedLog) Kind() string { return "wal.unlinked" }

// LogElsewhere is `wal.elsewhere`: A process has the database locked in WAL mode and does not
// use the log beside it.
type LogElsewhere struct {
	// Process that has it open.
	HolderPID *uint64 `fact:"holder_pid"`
	// Its name.
	HolderName *string `fact:"holder_name"`
	// Processes that have it open so.
	Holders *uint64 `fact:"holders"`
}

// Kind is the finding's kind.
func (LogElsewhere) Kind() string { return "wal.elsewhere" }

// LostLocks is `lock.lost`: A process has the log open for writing and holds no lock on the
// database.
type LostLocks struct {
	// Process that has it open.
	HolderPID *uint64 `fact:"holder_pid"`
	// Its name.
	HolderName *string `fact:"holder_name"`
	// Its file descriptor of the log.
	Descriptor *uint64 `fact:"descriptor"`
	// Processes that have it open so.
	Holders *uint64 `fact:"holders"`
}

// Kind is the finding's kind.
func (LostLocks) Kind() string { return "lock.lost" }

// ForeignLog is `wal.foreign`: The log beside the database file belongs to another one. Offers
// `wal.set-aside`.
type ForeignLog struct {
	// What shows it.
	Evidence *string `fact:"evidence"`
	// Whether it is proven, or only likely.
	Proven *bool `fact:"proven"`
	// Whether the file without the log is sound.
	FileSound *bool `fact:"file_sound"`
	// Size of the log, bytes.
	WalBytes *uint64 `fact:"wal_bytes"`
	// Committed transactions in it.
	WalCommits *uint64 `fact:"wal_commits"`
}

// Kind is the finding's kind.
func (ForeignLog) Kind() string { return "wal.foreign" }

// ForeignJournal is `journal.foreign`: The rollback journal beside the database file belongs to
// another one. Offers `journal.set-aside`.
type ForeignJournal struct {
	// What shows it.
	Evidence *string `fact:"evidence"`
	// Whether the file without the journal is sound.
	FileSound *bool `fact:"file_sound"`
	// Size of the journal, bytes.
	JournalBytes *uint64 `fact:"journal_bytes"`
}

// Kind is the finding's kind.
func (ForeignJournal) Kind() string { return "journal.foreign" }

// NotJudgeable is `target.not-judgeable`: Plain SQLite cannot judge the file, or must not write
// to it.
type NotJudgeable struct {
	// Why: `encrypted`, `format-version`, `reserved-bytes`, `appended`, `lock-directory`, `no-
	// locks`, `link-of-another` or `place-of-another`.
	Reason *string `fact:"reason"`
	// Of `reserved-bytes`: how many bytes each page keeps for something that plain SQLite does not know.
	ReservedBytes *uint64 `fact:"reserved_bytes"`
	// Of `format-version`: the version for writing in the file's header.
	WriteVersion *uint64 `fact:"write_version"`
	// Of `format-version`: the version for reading.
	ReadVersion *uint64 `fact:"read_version"`
}

// Kind is the finding's kind.
func (NotJudgeable) Kind() string { return "target.not-judgeable" }

// Unreachable is `target.unreachable`: The database does not answer.
type Unreachable struct {
	// What was tried and how it failed.
	Reason *string `fact:"reason"`
}

// Kind is the finding's kind.
func (Unreachable) Kind() string { return "target.unreachable" }

// ViolatedConstraint is `constraint.violated`: A configured bound is violated.
type ViolatedConstraint struct {
	// The constraint's name.
	Constraint *string `fact:"constraint"`
	// The metric's name, unit as suffix.
	Metric *string `fact:"metric"`
	// The metric's value, in its unit.
	Value *float64 `fact:"value"`
	// The bound, in the metric's unit.
	Bound *float64 `fact:"bound"`
	// The share of the room up to the bound that is used; over 1 is a violation.
	Utilization *float64 `fact:"utilization"`
	// Whether the operator allows it to be mended without being asked.
	AutoFix *bool `fact:"auto_fix"`
}

// Kind is the finding's kind.
func (ViolatedConstraint) Kind() string { return "constraint.violated" }

// UnexplainedAnomaly is `anomaly.unexplained`: Several values left their normal range and no
// known problem explains it.
type UnexplainedAnomaly struct {
	// The series that carries it most.
	Series *string `fact:"series"`
	// 0 is certainly normal, 1 is certainly anomalous.
	Confidence *float64 `fact:"confidence"`
	// How many series carry it.
	SeriesCount *uint64 `fact:"series_count"`
	// Anomalies of the target within the last minute, this one among them.
	AnomaliesLastMinute *uint64 `fact:"anomalies_last_minute"`
	// Those among them that are of errors.
	ErrorAnomaliesLastMinute *uint64 `fact:"error_anomalies_last_minute"`
	// The known trouble that it looks like; none below the bar of a diagnosis.
	SignatureBest *string `fact:"signature_best"`
	// How likely that is, 0 to 1.
	SignatureConfidence *float64 `fact:"signature_confidence"`
	// The next likely one.
	SignatureSecond *string `fact:"signature_second"`
	// How likely that is, 0 to 1.
	SignatureSecondConfidence *float64 `fact:"signature_second_confidence"`
	// How likely it is none of the known ones, 0 to 1.
	SignatureNone *float64 `fact:"signature_none"`
}

// Kind is the finding's kind.
func (UnexplainedAnomaly) Kind() string { return "anomaly.unexplained" }
