//! What a person might do. The first three are the specification's own (5.2).

pub(crate) const REPEATED: &str =
    "The problem keeps coming back: look for a cause underneath it and check the whole system.";
pub(crate) const CONSTRAINT: &str =
    "A configured bound is violated: adjust it or find out what drives the metric.";
pub(crate) const SLOW: &str =
    "Performance has dropped: profile the queries and look for missing indexes.";
pub(crate) const STOP_WRITERS: &str =
    "Stop every process that writes to this database before anything else.";
pub(crate) const COPY_ALL: &str =
    "Copy the database, its -wal and its -journal file aside together before you try anything.";
pub(crate) const WAL_OPTIONS: &str = "The next writer may overwrite the frames behind the damage: read what can be read from a copy, then restore a snapshot or keep the valid prefix by hand.";
pub(crate) const SALVAGE: &str = "Salvage a copy with sqlite3's .recover, compare it with the newest snapshot, and replace the database with the better one.";
pub(crate) const CHOOSE_VALUE: &str = "See both values with dbmedic incidents INCIDENT --values and write them down, compare them with a backup, run REINDEX on the index, and only then correct the row where the index was right: before that SQLite refuses the UPDATE.";
pub(crate) const TAKE_SNAPSHOT: &str =
    "Take a snapshot: without one there is nothing to fall back to.";
pub(crate) const ASK_HOLDER: &str =
    "Ask the owner of the process whether it may be ended, or have it finish its transaction.";
pub(crate) const WAIT_FOR_HOLDER: &str =
    "Leave the process its time: what ends in the middle is rolled back and begins again.";
pub(crate) const LOOK_FROM_OUTSIDE: &str = "Run dbmedic where it can see the process: on the host, or in the container that holds the lock.";
pub(crate) const CHECK_REPLICATOR: &str = "Check that the program is well, for example that a replicator reaches its replica; it is not ended.";
pub(crate) const BACKUP_BEFORE_LOSS: &str =
    "Have the applications enter again what was committed last: announced commits are lost.";
pub(crate) const FIND_FILE: &str = "Find out who moved or deleted the file before an application creates an empty one in its place.";
pub(crate) const HEADER: &str = "The file does not begin like a database: check whether it was overwritten, encrypted, or is not the file that was meant.";
pub(crate) const FIRST_PAGE: &str = "The data behind the first page is most likely whole: keep every program away from the file, and on a copy put the first page back from a backup or snapshot of the same page size, or read the copy with sqlite3's .recover. Do not begin with an empty database.";
pub(crate) const CONNECTION: &str =
    "Check that the database runs, that its address is right and that dbmedic may connect.";
pub(crate) const FREE_SPACE: &str =
    "Free disk space: remove old files or extend the volume; a full disk stops every writer.";
pub(crate) const LEFT_OPEN: &str = "The repair ended neither proven nor taken back: compare the target with the copy made before it.";
pub(crate) const UNKNOWN: &str =
    "This policy has no rule for this kind of problem: judge it by hand or use a newer policy.";
pub(crate) const EMPTIED_BESIDE_LOG: &str = "Do not open the database, not even to read it: SQLite deletes a log or journal that lies beside an empty file. Copy all files; on the copies, put a backup or a first page of the right page size in place of the empty file, and open those.";
pub(crate) const RESTORE_SNAPSHOT: &str = "Keep the applications stopped, or they begin with an empty database; then put the newest snapshot or a backup in its place, without an old -wal or -journal beside it.";
pub(crate) const EMPTY_FILE: &str = "If the database should hold something, find out who emptied or truncated the file before an application writes to it.";
pub(crate) const ONE_NAME: &str = "Give the file one name: mount the directory instead of the file, remove hard links, and name to dbmedic the path that the application uses.";
pub(crate) const SAVE_DESCRIPTORS: &str = "Before that process ends, copy what it has open: cp /proc/PID/fd/N for the database, the -wal and the -shm; then stop it and put the copies in place together.";
pub(crate) const LOST_LOCKS: &str = "Open the database with no other program while that process runs: stop the process first, then checkpoint. Programs lose their locks when they open and close the database file beside SQLite.";
pub(crate) const KEEP_CLOSED: &str = "Open the database with no program until this is settled: the first one to open it writes the two together.";
pub(crate) const SET_ASIDE: &str = "If the file is the right one (a restored backup), move the old -wal or -journal away: dbmedic repair DATABASE --apply --set set_aside_foreign_log=true keeps it beside, renamed. If the log is the right one, put back the file that it belongs to.";
pub(crate) const NEITHER_SOUND: &str = "The file alone is damaged as well: work on copies, and restore a snapshot or backup without an old -wal or -journal beside it.";
pub(crate) const SOUND_NOT_KNOWN: &str = "Whether the file is sound without it is not known yet: the next full check says so, and dbmedic check DATABASE does at once.";
pub(crate) const ENCRYPTED: &str = "Check it with the tool that encrypts it, for example PRAGMA cipher_integrity_check of SQLCipher.";
pub(crate) const HIDDEN_LOCKS: &str = "Have the application use SQLite's usual locks (VFS unix), or check a copy while it is stopped.";
pub(crate) const PLACE_OF_ANOTHER: &str = "Find out who put it there; name the file itself in the configuration, and give the file and its directories to one user.";
pub(crate) const OTHER_FORMAT: &str =
    "Check it with the program or extension that writes this format.";
pub(crate) const CORRECT_ROWS: &str = "Find these rows, decide what they should hold, and correct them in the application; while they stay, rebuilding the table or importing its dump fails.";
pub(crate) const DUPLICATES: &str = "Decide which of the rows that share a key stays, change or delete the others, and only then run REINDEX.";
pub(crate) const ORPHANS: &str = "SQLite enforces foreign keys only where a connection asks for it, so the application may mean these rows: ask its maker first. If they are wrong, list them with PRAGMA foreign_key_check, and give them their parents back or remove them in the application.";
pub(crate) const FULLTEXT_REBUILD: &str = "Take a snapshot, then make the index again from its text: INSERT INTO the_table(the_table) VALUES('rebuild').";
pub(crate) const FULLTEXT_LOST: &str = "The index knows of documents that its text has lost: copy the files aside, take the text from a backup or snapshot, and do not rebuild or drop the full-text table before.";
pub(crate) const FULLTEXT_FILL: &str = "Take a snapshot, drop the full-text table, create it again with the same definition, and have the application fill it.";
pub(crate) const VIRTUAL_FILL: &str = "Take a snapshot, read from the virtual table what can be read, then drop it, create it again and fill it from the tables it was derived from.";
pub(crate) const VIRTUAL_ENTRY: &str = "Nothing else is concerned. On a copy, take the entry out of the schema (DROP TABLE does not work: PRAGMA writable_schema=ON, DELETE FROM sqlite_schema WHERE name='the_table', PRAGMA writable_schema=RESET), check it, put it in place, and have the application create the table again.";
pub(crate) const TAKE_ENTRY_OUT: &str = "Stop the applications and copy the files; on the copy run the statement that the problem names, check the copy, and put it in place. Nothing else needs to be restored.";
pub(crate) const CORRECT_ENTRY: &str = "Stop the applications and copy the files; on the copy, with PRAGMA writable_schema=ON, put the definition back that a backup or snapshot has of this entry, check the copy, and put it in place. Do not delete the entry: its rows would be out of reach.";
