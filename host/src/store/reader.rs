//! Reads the state: beside a dbmedic that runs, or at rest. Nothing is made, changed or removed.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Params, Row as SqlRow};
use serde::de::DeserializeOwned;

use super::database::{Reading, check_names, damaged, database, has_log, io, open_to_read};
use super::record::{LONGEST, sum};
use super::write::NO_TARGET;
use super::{JournalEntry, JournalLine, LOCK, OpenRepair, StoreError, VERSION, import};
use crate::clock::{TimeMark, now_ms};
use crate::command::Request;
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
    /// Locked where nobody writes, so that nobody begins to.
    _lock: Option<std::fs::File>,
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
        let lock = match dir.open_file(LOCK) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Some(file),
                Err(TryLockError::WouldBlock) => None,
                Err(TryLockError::Error(error)) => return Err(io(&dir.path_of(LOCK))(error)),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(&dir.path_of(LOCK))(error)),
        };
        let how = match &lock {
            Some(_) if !has_log(dir)? => Reading::AtRest,
            _ => Reading::Live,
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

    /// Hands over each entry of the journal, of one incident or all, in their order.
    ///
    /// # Errors
    /// An entry cannot be read or is not what was written.
    pub fn each(
        &self,
        incident: Option<&str>,
        mut heard: impl FnMut(JournalLine),
    ) -> Result<(), StoreError> {
        let failed = database(&self.path);
        let which = match incident {
            Some(_) => "incident = ?1",
            None => "?1 IS NULL",
        };
        let sql = format!("SELECT seq, at_ms, json, sum FROM entries WHERE {which} ORDER BY seq");
        let mut statement = self.db.prepare(&sql).map_err(&failed)?;
        let mut rows = statement.query([incident]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            heard(line(row, &self.path)?);
        }
        Ok(())
    }

    /// The entries of the journal, of one incident or all, in their order.
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
pub(super) fn key(seq: u64, at_ms: u64) -> String {
    format!("{seq} {at_ms}")
}

fn line(row: &SqlRow<'_>, path: &Path) -> Result<JournalLine, StoreError> {
    let read = || -> rusqlite::Result<(i64, i64, String, String)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    };
    let (seq, at_ms, json, sum) = read().map_err(database(path))?;
    let (seq, at_ms) = (seq.unsigned_abs(), at_ms.unsigned_abs());
    let entry: JournalEntry = record(path, &format!("entry {seq}"), &key(seq, at_ms), &json, &sum)?;
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

/// The checksum of each row of `carried`.
pub(super) fn carried_sums(
    db: &Connection,
    path: &Path,
) -> Result<BTreeMap<String, String>, StoreError> {
    let rows = texts(db, path, "SELECT target, '', sum FROM carried", [])?;
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
    let sql = format!("SELECT seq, at_ms, json, sum FROM entries WHERE {condition} ORDER BY seq");
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

pub(super) fn number_of_command(
    db: &Connection,
    path: &Path,
    id: &str,
) -> Result<Option<u64>, StoreError> {
    let found = db.query_row("SELECT seq FROM entries WHERE command = ?1", [id], |row| {
        row.get::<_, i64>(0)
    });
    let found = found.optional().map_err(database(path))?;
    Ok(found.map(i64::unsigned_abs))
}
