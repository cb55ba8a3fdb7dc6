//! Whether the database's files are there, belong together, and begin as they should.

use super::{Diagnosis, Look, boolean, integer, text};
use crate::model::{Fact, utc};
use crate::sqlite_state::set::{self, FileIdentity, Hidden, HiddenUse, NOT_JUDGEABLE, Unjudgeable};
use crate::sqlite_state::{HeaderFault, Mode, SqliteState, WalState};

/// What is remembered of the files from one observation to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct FileMemory {
    /// The file when it last held something.
    held: Option<Held>,
    /// Whether the last observation found 0 bytes: a file that is being replaced is empty for a
    /// moment.
    was_empty: bool,
    /// The log that was read to its end last, and the transactions in it.
    log: Option<(LogMark, u64)>,
    schema: SchemaMemory,
    uses: UseMemory,
    header_fault: Option<HeaderFault>,
    /// Whether a lock directory was seen: its owner takes locks that are not seen in between.
    had_lock_directory: bool,
}

/// By what a log is known again: its salts and its length.
pub(super) type LogMark = ((u32, u32), u64);

fn mark_of(wal: &WalState) -> LogMark {
    (wal.salts, wal.bytes)
}

/// A database file with something in it.
#[derive(Debug, Clone, Copy)]
struct Held {
    bytes: u64,
    file: Option<FileIdentity>,
}

/// What is remembered of how the files are used.
#[derive(Debug, Clone, Copy, Default)]
struct UseMemory {
    /// Whether a process used the database so that others cannot see it, when that was last asked.
    is_hidden: bool,
    /// Whether another file has lain under the name since the last full check.
    was_replaced: bool,
}

/// What is remembered of the schema.
#[derive(Debug, Clone, Copy, Default)]
struct SchemaMemory {
    /// Whether it ever held anything.
    held: bool,
    /// Since when it holds nothing, milliseconds; none when it holds something.
    empty_since_ms: Option<u64>,
}

/// How long a schema must hold nothing before that is a finding, milliseconds: a program that makes
/// its tables again drops the old ones first.
const EMPTY_SCHEMA_MS: u64 = 60_000;

/// What the files of one observation come to.
#[derive(Debug, Default)]
pub(super) struct FileProblems {
    pub(super) problems: Vec<Diagnosis>,
    /// Whether what was seen has to be seen again before anything is said.
    pub(super) is_pending: bool,
}

impl FileMemory {
    /// Why the database cannot be judged, as far as this observation or an earlier one says.
    pub(super) fn unjudgeable(&mut self, state: &SqliteState) -> Option<Unjudgeable> {
        let now = state.set.unjudgeable;
        self.had_lock_directory |= now == Some(Unjudgeable::LockDirectory);
        now.or_else(|| {
            self.had_lock_directory
                .then_some(Unjudgeable::LockDirectory)
        })
    }

    /// The problems of the files, and what is remembered of them.
    pub(super) fn problems(&mut self, look: &Look<'_>) -> FileProblems {
        let state = look.state;
        let mut found = FileProblems::default();
        if let Some(wal) = state.wal.as_ref().filter(|wal| wal.scanned) {
            self.log = Some((mark_of(wal), wal.commits));
        }
        match state.database_bytes {
            Some(0) if !self.was_empty => {
                found.is_pending = true;
                self.was_empty = true;
            }
            Some(0) => found.problems.push(self.empty(look)),
            bytes => {
                self.was_empty = false;
                if let (Some(before), Some(now)) = (self.held.and_then(|h| h.file), state.set.file)
                {
                    self.uses.was_replaced |= !before.is(&now);
                }
                self.held = bytes
                    .map(|bytes| Held {
                        bytes,
                        file: state.set.file,
                    })
                    .or(self.held);
            }
        }
        if bytes_missing(state) {
            found.problems.push(problem(
                "file.missing",
                "the database file is missing".into(),
                0.9,
                look.snapshot_facts(),
            ));
        }
        // A file that is being written is short for a while: the same must be seen twice.
        let fault = state.header_fault.as_ref();
        let is_new = fault != self.header_fault.as_ref();
        self.header_fault = fault.cloned();
        if is_new && matches!(fault, Some(HeaderFault::Truncated { .. })) {
            found.is_pending = true;
        } else {
            found.problems.extend(header_problem(look));
        }
        found.problems.extend(other_name(look));
        found.problems.extend(self.replaced(look));
        found.problems.extend(self.emptied_schema(look));
        if let Some(uses) = &state.set.hidden_uses {
            self.uses.is_hidden = !uses.is_empty();
            let ways = [
                Hidden::LogUnlinked,
                Hidden::DatabaseUnlinked,
                Hidden::LocksLost,
                Hidden::LogElsewhere,
            ];
            let of = |way| uses.iter().filter(move |one| one.hidden == way);
            let problems = ways.map(|way| hidden_use(way, &of(way).collect::<Vec<_>>()));
            found.problems.extend(problems.into_iter().flatten());
        }
        found
    }

    /// Whether a process uses the database so that others cannot see it, as far as was seen last.
    pub(super) fn has_hidden_use(&self) -> bool {
        self.uses.is_hidden
    }

    /// Another file under the database's name, until a full check says what it is like.
    fn replaced(&mut self, look: &Look<'_>) -> Option<Diagnosis> {
        let integrity = look.state.integrity.as_ref();
        if integrity.is_some_and(|made| made.mode == Mode::Full && made.error.is_none()) {
            self.uses.was_replaced = false;
        }
        self.uses.was_replaced.then(|| {
            let summary = "another file lies under the database's name than before; a program that still has the old one open writes to that";
            problem("file.replaced", summary.into(), 0.3, look.snapshot_facts())
        })
    }

    /// A schema that holds nothing and held something before.
    fn emptied_schema(&mut self, look: &Look<'_>) -> Option<Diagnosis> {
        let state = look.state;
        let snapshot = state.newest_snapshot.as_ref();
        let tables = snapshot.and_then(|snapshot| snapshot.tables);
        match state.set.has_schema {
            Some(true) => {
                self.schema = SchemaMemory {
                    held: true,
                    empty_since_ms: None,
                };
            }
            Some(false) => {
                self.schema.empty_since_ms.get_or_insert(look.seen.at_ms);
            }
            // Not read: the log may hold a newer one.
            None => {}
        }
        let since = self.schema.empty_since_ms?;
        let had_tables = self.schema.held || tables.is_some_and(|tables| tables > 0);
        let is_old = look.seen.at_ms.saturating_sub(since) >= EMPTY_SCHEMA_MS;
        (had_tables && is_old).then(|| {
            let before = tables.filter(|&tables| tables > 0).map_or_else(
                || "held some before".to_owned(),
                |tables| format!("the newest snapshot holds {tables}"),
            );
            let summary = format!("the database holds no table; {before}");
            problem("schema.emptied", summary, 0.95, look.snapshot_facts())
        })
    }

    /// A database file of 0 bytes.
    fn empty(&self, look: &Look<'_>) -> Diagnosis {
        let state = look.state;
        let held_beside = set::is_emptied(state);
        let snapshot = state.newest_snapshot.as_ref();
        let mut facts = Vec::new();
        let mut reasons = Vec::new();
        if let Some(wal) = state.wal.as_ref().filter(|_| held_beside) {
            facts.push(integer("wal_bytes", wal.bytes));
            let mut what = format!("its log holds {} bytes", wal.bytes);
            if let Some((_, commits)) = self.log.filter(|(log, _)| *log == mark_of(wal)) {
                facts.push(integer("wal_commits", commits));
                what = format!("{what} with {commits} committed transactions");
            }
            reasons.push(what);
        }
        if let Some(bytes) = state.journal_bytes.filter(|_| held_beside) {
            facts.push(integer("journal_bytes", bytes));
            reasons.push(format!("its journal holds {bytes} bytes"));
        }
        if held_beside {
            reasons.push("opening the database would delete what lies beside it".into());
        }
        let mut had_content = held_beside || snapshot.is_some();
        if let Some(held) = self.held {
            had_content = true;
            facts.push(integer("bytes_before", held.bytes));
            reasons.push(format!("it held {} bytes before", held.bytes));
            if let (Some(before), Some(now)) = (held.file, state.set.file) {
                facts.push(boolean("same_file", before.is(&now)));
            }
        }
        if let Some(snapshot) = snapshot {
            reasons.push(format!(
                "the newest snapshot is {} of {}",
                snapshot.file.display(),
                utc(snapshot.taken_at_ms)
            ));
        }
        facts.push(boolean("had_content", had_content));
        facts.push(boolean("held_beside", held_beside));
        facts.push(boolean("in_use", !state.locks.is_empty()));
        facts.extend(look.snapshot_facts());
        if had_content {
            let all = reasons.join("; ");
            let summary = format!("the database file has 0 bytes; {all}");
            problem("file.emptied", summary, 0.95, facts)
        } else {
            let summary = "the database file has 0 bytes and nothing beside it: an application that opens it begins with an empty database";
            problem("file.empty", summary.into(), 0.3, facts)
        }
    }
}

fn bytes_missing(state: &SqliteState) -> bool {
    state.database_bytes.is_none()
}

/// The one finding of a database that plain SQLite cannot judge.
pub(super) fn not_judgeable(why: Unjudgeable) -> Diagnosis {
    let mut facts = vec![text("reason", why.name())];
    match why {
        Unjudgeable::FormatVersion { write, read } => {
            facts.push(integer("write_version", u64::from(write)));
            facts.push(integer("read_version", u64::from(read)));
        }
        Unjudgeable::ReservedBytes { bytes } => {
            facts.push(integer("reserved_bytes", u64::from(bytes)));
        }
        _ => {}
    }
    let summary = format!("{why}; it is left alone");
    Diagnosis {
        series: &[],
        ..problem(NOT_JUDGEABLE, summary, 0.1, facts)
    }
}

/// What is wrong with the header of the database file.
fn header_problem(look: &Look<'_>) -> Option<Diagnosis> {
    match look.state.header_fault.as_ref()? {
        HeaderFault::NotADatabase => {
            let others = look.state.set.other_pages_hold;
            let mut facts: Vec<Fact> = others
                .map(|hold| boolean("other_pages_sound", hold))
                .into_iter()
                .collect();
            facts.extend(look.snapshot_facts());
            let summary = if others == Some(true) {
                "the first page is not that of a SQLite database, the rest of the file looks like one"
            } else {
                "the file does not begin like a SQLite database"
            };
            Some(problem("file.not-a-database", summary.into(), 0.9, facts))
        }
        HeaderFault::Truncated {
            expected_pages,
            actual_pages,
        } => {
            let mut facts = vec![
                integer("expected_pages", *expected_pages),
                integer("actual_pages", *actual_pages),
            ];
            facts.extend(look.snapshot_facts());
            Some(problem(
                "file.truncated",
                format!("the header counts {expected_pages} pages, the file holds {actual_pages}"),
                0.9,
                facts,
            ))
        }
    }
}

/// A second name of the database file, under which its log or journal may lie.
fn other_name(look: &Look<'_>) -> Option<Diagnosis> {
    let set = &look.state.set;
    if !set.has_other_name() {
        return None;
    }
    let links = set.file.map_or(1, |file| file.links);
    let facts = vec![
        integer("links", links),
        boolean("mounted_alone", set.mounted_alone),
        boolean("in_use", !look.state.locks.is_empty()),
    ];
    let what = if set.mounted_alone {
        "the database file is mounted by itself: who uses the original has its log or journal in another directory".to_owned()
    } else {
        format!(
            "the database file has {links} names (hard links): who uses another name has its log or journal beside that one"
        )
    };
    let summary = format!("{what}; no check, no snapshot and no repair");
    Some(problem("file.linked", summary, 0.5, facts))
}

/// Processes that use the database in one way that others cannot see.
fn hidden_use(way: Hidden, holders: &[&HiddenUse]) -> Option<Diagnosis> {
    let first = holders.first()?;
    let (pid, name) = (first.process.pid, &first.process.name);
    let others = match holders.len() - 1 {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let who = format!("process {pid} ({name}){others}");
    let unlinked = |what: &str| {
        let copy = first.descriptor.map_or_else(String::new, |descriptor| {
            format!("; keep the process alive and copy /proc/{pid}/fd/{descriptor} first")
        });
        format!(
            "{who} has a {what} open for writing that was deleted or replaced under it: what it commits is in no file that has a name{copy}"
        )
    };
    let (kind, subject, severity, summary) = match way {
        Hidden::LogUnlinked => ("wal.unlinked", "write-ahead log", 0.9, unlinked("log")),
        Hidden::DatabaseUnlinked => (
            "file.unlinked",
            "database file",
            0.9,
            unlinked("database file"),
        ),
        Hidden::LocksLost => (
            "lock.lost",
            "locks",
            0.8,
            format!(
                "{who} has the log open and holds no lock on the database: the next program that opens and closes the database deletes the log under it; open it with nothing else before this process has opened it again"
            ),
        ),
        Hidden::LogElsewhere => (
            "wal.elsewhere",
            "write-ahead log",
            0.5,
            format!(
                "{who} has the database locked and does not use the log beside it: it reaches the file under another path, with another log; no check, no snapshot and no repair"
            ),
        ),
    };
    let mut facts = vec![
        integer("holder_pid", u64::from(pid)),
        text("holder_name", name),
        integer("holder_start_ticks", first.process.start_ticks),
        integer("holders", holders.len() as u64),
    ];
    facts.extend(
        first
            .descriptor
            .map(|descriptor| integer("descriptor", u64::from(descriptor))),
    );
    Some(Diagnosis {
        subject: subject.into(),
        ..problem(kind, summary, severity, facts)
    })
}

fn problem(kind: &str, summary: String, severity: f64, facts: Vec<Fact>) -> Diagnosis {
    Diagnosis {
        kind: kind.into(),
        subject: "database file".into(),
        summary,
        severity,
        facts,
        series: &["database_bytes"],
        candidates: Vec::new(),
    }
}
