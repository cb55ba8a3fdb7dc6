//! Reads the state: beside a dbmedic that runs, or at rest. Nothing is made, changed or removed.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Params, Row as SqlRow};
use serde::de::DeserializeOwned;

use super::database::{
    Reading, check_names, damaged, database, has_index, has_log, io, open_to_read,
};
use super::record::{ClosedRepair, LONGEST, Row, sum};
use super::write::NO_TARGET;
use super::{JournalEntry, JournalLine, LOCK, OpenRepair, StoreError, VERSION, import};
use crate::clock::{TimeMark, now_ms};
use crate::command::{Command, Request};
use crate::gate::Service;
use crate::own_dir::OwnDir;
use crate::pipeline::Carried;

/// Attempts to open a database that a dbmedic is making, opening or closing.
const ATTEMPTS: u32 = 40;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(25);

/// What an earlier run carried over.
#[derive(Debug, Clone, Default)]
pub struct CarriedOver {
    /// Its times are as long ago as they are in truth, also where the wall clock was set since.
    pub carried: Carried,
    /// By how much they were moved for that, milliseconds.
    pub moved_ms: i64,
}

/// A command that the pipeline has not heard.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingCommand {
    /// Its number in the journal.
    pub seq: u64,
    /// The command.
    pub request: Request,
}

/// The state, open for reading.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
    /// Locked where it is read without the files that SQLite keeps beside it, so that nobody begins to write.
    _lock: Option<std::fs::File>,
}

/// Who holds the lock of a state.
enum Lock {
    Ours(std::fs::File),
    Theirs,
    /// There is none: it is a copy.
    Nobodys,
}

impl Reader {
    /// Opens the state of a state directory; none where nothing was written there yet.
    ///
    /// # Errors
    /// It cannot be read, or only 0.1.0 wrote there.
    pub fn open(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let dir = OwnDir::existing(state_dir)?;
        if !check_names(&dir)? {
            if import::is_old(&dir) {
                return Err(StoreError::Old {
                    path: state_dir.to_owned(),
                });
            }
            return Ok(None);
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::try_open(&dir) {
                // A dbmedic may have begun or ended since the lock was looked at.
                Err(StoreError::Database { .. }) if attempt < ATTEMPTS => thread::sleep(PAUSE),
                opened => return opened.map(Some),
            }
        }
    }

    fn try_open(dir: &OwnDir) -> Result<Self, StoreError> {
        let path = dir.path_of(super::database::FILE_NAME);
        let (how, lock) = if has_index(dir)? {
            (Reading::Live, None)
        } else {
            match Self::lock(dir)? {
                Lock::Theirs => (Reading::Live, None),
                Lock::Ours(_) | Lock::Nobodys if has_log(dir)? => {
                    return Err(StoreError::CutOff { path });
                }
                Lock::Ours(lock) => (Reading::AtRest, Some(lock)),
                Lock::Nobodys => (Reading::AtRest, None),
            }
        };
        let db = open_to_read(dir, how)?;
        // All that is read is of one moment.
        db.execute_batch("BEGIN; SELECT count(*) FROM meta;")
            .map_err(database(&path))?;
        Ok(Self {
            db,
            path,
            _lock: lock,
        })
    }

    /// Keeps everybody from writing, unless somebody writes.
    fn lock(dir: &OwnDir) -> Result<Lock, StoreError> {
        match dir.open_file(LOCK) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(Lock::Ours(file)),
                Err(TryLockError::WouldBlock) => Ok(Lock::Theirs),
                Err(TryLockError::Error(error)) => Err(io(&dir.path_of(LOCK))(error)),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Lock::Nobodys),
            Err(error) => Err(io(&dir.path_of(LOCK))(error)),
        }
    }

    /// Hands over each entry of the journal, of one incident or all, in their order. Says how many are left out
    /// because they are not what was written.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn each(
        &self,
        incident: Option<&str>,
        mut heard: impl FnMut(JournalLine),
    ) -> Result<u64, StoreError> {
        let failed = database(&self.path);
        let which = match incident {
            Some(_) => "incident = ?1",
            None => "?1 IS NULL",
        };
        let sql = format!("SELECT {COLUMNS} FROM entries WHERE {which} ORDER BY seq");
        let mut statement = self.db.prepare(&sql).map_err(&failed)?;
        let mut rows = statement.query([incident]).map_err(&failed)?;
        let mut damaged = 0;
        while let Some(row) = rows.next().map_err(&failed)? {
            match line(row, &self.path) {
                Ok(line) => heard(line),
                Err(StoreError::Damaged { .. }) => damaged += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// The entries of the journal, of one incident or all, in their order, but for those that are not what was
    /// written.
    ///
    /// # Errors
    /// As for [`Self::each`].
    pub fn entries(&self, incident: Option<&str>) -> Result<Vec<JournalLine>, StoreError> {
        let mut all = Vec::new();
        self.each(incident, |line| all.push(line))?;
        Ok(all)
    }

    /// What the last run carried over.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn carried(&self) -> Result<CarriedOver, StoreError> {
        carried(&self.db, &self.path)
    }

    /// The commands that the pipeline has not heard, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn unheard(&self) -> Result<Vec<WaitingCommand>, StoreError> {
        unheard(&self.db, &self.path)
    }

    /// Which policies are in service, by their configured names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn services(&self) -> Result<BTreeMap<String, Service>, StoreError> {
        services(&self.db, &self.path)
    }
}

/// What the checksum of an entry covers beside its JSON.
pub(super) fn key(seq: u64, at_ms: u64, heard: Option<bool>) -> String {
    let heard = match heard {
        Some(true) => "1",
        Some(false) => "0",
        None => "-",
    };
    format!("{seq} {at_ms} {heard}")
}

/// What a line is read from.
const COLUMNS: &str = "seq, at_ms, json, sum, heard, kind, target, incident, repair, command";

fn line(row: &SqlRow<'_>, path: &Path) -> Result<JournalLine, StoreError> {
    let read = || -> rusqlite::Result<(i64, i64, String, String, Option<bool>)> {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        ))
    };
    let (seq, at_ms, json, sum, heard) = read().map_err(database(path))?;
    let (seq, at_ms) = (seq.unsigned_abs(), at_ms.unsigned_abs());
    let (what, key) = (format!("entry {seq}"), key(seq, at_ms, heard));
    let entry: JournalEntry = record(path, &what, &key, &json, &sum)?;
    let beside = || -> rusqlite::Result<(String, [Option<String>; 4])> {
        let others = [row.get(6)?, row.get(7)?, row.get(8)?, row.get(9)?];
        Ok((row.get(5)?, others))
    };
    let (kind, [target, incident, repair, command]) = beside().map_err(database(path))?;
    let known = Row::with(at_ms, &entry, json, heard);
    // One that came twice from 0.1.0 stands there without its identifier.
    let is_same = kind == known.kind
        && target == known.target
        && incident == known.incident
        && repair == known.repair
        && (command.is_none() || command == known.command);
    if !is_same {
        let what = format!("{what}: what stands beside it does not belong to it");
        return Err(damaged(path, &what));
    }
    Ok(JournalLine {
        v: VERSION,
        seq,
        at_ms,
        entry,
    })
}

/// A record that is what was written.
fn record<T: DeserializeOwned>(
    path: &Path,
    what: &str,
    key: &str,
    json: &str,
    expected: &str,
) -> Result<T, StoreError> {
    if json.len() > LONGEST || sum(key, json) != expected {
        return Err(damaged(
            path,
            &format!("{what}: its checksum does not hold"),
        ));
    }
    serde_json::from_str(json).map_err(|source| StoreError::Unreadable {
        path: path.to_owned(),
        what: what.to_owned(),
        source,
    })
}

/// The rows of a query, each with three texts.
fn texts(
    db: &Connection,
    path: &Path,
    sql: &str,
    parameters: impl Params,
) -> Result<Vec<[String; 3]>, StoreError> {
    let read = || -> rusqlite::Result<Vec<[String; 3]>> {
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map(parameters, |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?])
        })?;
        rows.collect()
    };
    read().map_err(database(path))
}

pub(super) fn meta(db: &Connection, path: &Path, key: &str) -> Result<Option<String>, StoreError> {
    let found = db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
        row.get(0)
    });
    found.optional().map_err(database(path))
}

/// By how much times are to be moved that were written at a mark, milliseconds.
fn moved_ms(db: &Connection, path: &Path, key: &str) -> Result<i64, StoreError> {
    let Some(mark) = meta(db, path, key)? else {
        return Ok(0);
    };
    let mark: TimeMark = serde_json::from_str(&mark)
        .map_err(|error| damaged(path, &format!("{key} is not readable: {error}")))?;
    Ok(mark.offset_ms())
}

pub(super) fn carried(db: &Connection, path: &Path) -> Result<CarriedOver, StoreError> {
    let mut rest = None;
    let mut targets = BTreeMap::new();
    for [target, json, sum] in texts(db, path, "SELECT target, json, sum FROM carried", [])? {
        let what = format!("what is carried of `{target}`");
        if target == NO_TARGET {
            rest = Some(record(path, &what, &target, &json, &sum)?);
        } else {
            let of = record(path, &what, &target, &json, &sum)?;
            targets.insert(target, of);
        }
    }
    let mut carried: Carried = match rest {
        Some(carried) => carried,
        None => Carried {
            next_incident: first(db, path, "first_incident")?,
            ..Carried::default()
        },
    };
    carried.targets = targets;
    let moved_ms = moved_ms(db, path, "carried_at")?;
    carried.move_times(moved_ms, now_ms());
    Ok(CarriedOver { carried, moved_ms })
}

/// The checksum of each row of a table, by a query for the row's name, nothing, and its checksum.
pub(super) fn sums(
    db: &Connection,
    path: &Path,
    sql: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let rows = texts(db, path, sql, [])?;
    Ok(rows
        .into_iter()
        .map(|[target, _, sum]| (target, sum))
        .collect())
}

pub(super) fn services(
    db: &Connection,
    path: &Path,
) -> Result<BTreeMap<String, Service>, StoreError> {
    let moved_ms = moved_ms(db, path, "services_at")?;
    let rows = texts(db, path, "SELECT policy, json, sum FROM services", [])?;
    let service = |[policy, json, sum]: [String; 3]| -> Result<(String, Service), StoreError> {
        let what = format!("the service of `{policy}`");
        let mut service: Service = record(path, &what, &policy, &json, &sum)?;
        service.move_times(moved_ms, now_ms());
        Ok((policy, service))
    };
    rows.into_iter().map(service).collect()
}

/// A number with which a new database begins.
fn first(db: &Connection, path: &Path, key: &str) -> Result<u64, StoreError> {
    let number = meta(db, path, key)?.and_then(|number| number.parse().ok());
    Ok(number.unwrap_or(1))
}

pub(super) fn next_seq(db: &Connection, path: &Path) -> Result<u64, StoreError> {
    let last: Option<i64> = db
        .query_row("SELECT max(seq) FROM entries", [], |row| row.get(0))
        .map_err(database(path))?;
    match last {
        Some(last) => Ok(last.unsigned_abs() + 1),
        None => first(db, path, "first_seq"),
    }
}

/// The entries that a condition chooses, in their order.
fn lines(
    db: &Connection,
    path: &Path,
    condition: &str,
    parameters: impl Params,
) -> Result<Vec<JournalLine>, StoreError> {
    let failed = database(path);
    let sql = format!("SELECT {COLUMNS} FROM entries WHERE {condition} ORDER BY seq");
    let mut statement = db.prepare(&sql).map_err(&failed)?;
    let mut rows = statement.query(parameters).map_err(&failed)?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        lines.push(line(row, path)?);
    }
    Ok(lines)
}

pub(super) fn open_repairs(db: &Connection, path: &Path) -> Result<Vec<OpenRepair>, StoreError> {
    let condition = "repair IS NOT NULL AND repair NOT IN
        (SELECT repair FROM entries WHERE repair IS NOT NULL AND kind = 'repair_closed')";
    let mut open: Vec<OpenRepair> = Vec::new();
    for line in lines(db, path, condition, [])? {
        match line.entry {
            JournalEntry::RepairIntended(intent) => open.push(OpenRepair {
                intent: *intent,
                steps: Vec::new(),
            }),
            JournalEntry::RepairStep {
                repair_id, step, ..
            } => {
                let named = |one: &&mut OpenRepair| one.intent.repair_id == repair_id;
                if let Some(repair) = open.iter_mut().find(named) {
                    repair.steps.push(step);
                }
            }
            _ => {}
        }
    }
    Ok(open)
}

pub(super) fn unheard(db: &Connection, path: &Path) -> Result<Vec<WaitingCommand>, StoreError> {
    let waiting = |line: JournalLine| match line.entry {
        JournalEntry::Said { command, asker } => Some(WaitingCommand {
            seq: line.seq,
            request: Request { asker, command },
        }),
        _ => None,
    };
    let lines = lines(db, path, "heard = 0", [])?;
    Ok(lines.into_iter().filter_map(waiting).collect())
}

/// The repairs that were closed, and of which the pipeline has not heard, oldest first.
pub(super) fn unheard_ends(db: &Connection, path: &Path) -> Result<Vec<ClosedRepair>, StoreError> {
    let mut ends = Vec::new();
    for line in lines(db, path, "heard = 0 AND kind = 'repair_closed'", [])? {
        let JournalEntry::RepairClosed {
            repair_id,
            outcome,
            interrupted,
        } = line.entry
        else {
            continue;
        };
        let condition = "repair = ?1 AND kind = 'repair_intended'";
        let intents = lines(db, path, condition, [&repair_id])?;
        let target = intents.into_iter().find_map(|line| match line.entry {
            JournalEntry::RepairIntended(intent) => Some(intent.target),
            _ => None,
        });
        ends.push(ClosedRepair {
            seq: line.seq,
            target,
            outcome,
            interrupted,
        });
    }
    Ok(ends)
}

/// Whether the database knows a repair at all.
pub(super) fn knows_repair(db: &Connection, path: &Path, id: &str) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM entries WHERE repair = ?1";
    let count: i64 = db
        .query_row(sql, [id], |row| row.get(0))
        .map_err(database(path))?;
    Ok(count > 0)
}

/// Whether each entry is what was written.
pub(super) fn are_all_whole(db: &Connection, path: &Path) -> Result<bool, StoreError> {
    let failed = database(path);
    let sql = format!("SELECT {COLUMNS} FROM entries NOT INDEXED ORDER BY seq");
    let mut statement = db.prepare(&sql).map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        match line(row, path) {
            Ok(_) => {}
            Err(StoreError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The command of this identifier that is written down, with its number.
pub(super) fn command_of(
    db: &Connection,
    path: &Path,
    id: &str,
) -> Result<Option<(u64, Command)>, StoreError> {
    let lines = lines(db, path, "command = ?1", [id])?;
    Ok(lines.into_iter().find_map(|line| match line.entry {
        JournalEntry::Said { command, .. } => Some((line.seq, command)),
        _ => None,
    }))
}
