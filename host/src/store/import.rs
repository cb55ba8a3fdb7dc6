//! Takes over what dbmedic 0.1.0 wrote: `journal.jsonl`, `carried.json`, `inbox/` and `policies/service.json`.
//!
//! All of it goes into the database in one transaction, open repairs as well: they are closed from there as after
//! any kill. Then the files are moved into `before-state-db/`. A kill at any point loses nothing: until the
//! transaction is on disk the files count, from then on the database.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::BufReader;
use std::path::Path;

use rusqlite::Connection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::database::{FILE_NAME, database, io, old_damaged};
use super::intents::{Intents, has_extension};
use super::old_journal::Lines;
use super::write::{changes, hear, insert, services, write};
use super::{JournalEntry, Kept, OpenRepair, Row, StoreError, VERSION, reader};
use crate::clock::{TimeMark, now_ms, wall_ms};
use crate::command::{Command, Request};
use crate::gate::Service;
use crate::own_dir::OwnDir;
use crate::pipeline::{Carried, Effect};

const JOURNAL: &str = "journal.jsonl";
const CARRIED: &str = "carried.json";
const INBOX: &str = "inbox";
const POLICIES: &str = "policies";
const SERVICE: &str = "service.json";

/// Where the files go.
const BEFORE: &str = "before-state-db";

/// Stands in `meta` while the database holds what the files hold.
const IMPORTED: &str = "imported";

/// The largest of these files that is read, bytes.
const LARGEST_BYTES: u64 = 1 << 30;

/// A file with its version.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    content: T,
}

/// What `carried.json` holds.
#[derive(Serialize, Deserialize)]
struct CarriedFile {
    #[serde(default)]
    written: Option<TimeMark>,
    /// The last command of the journal that is in it.
    #[serde(default)]
    commands_done: Option<u64>,
    #[serde(flatten)]
    carried: Carried,
}

/// What `policies/service.json` holds.
#[derive(Serialize, Deserialize)]
struct ServiceFile {
    #[serde(default)]
    written: Option<TimeMark>,
    policies: BTreeMap<String, Service>,
}

/// Whether 0.1.0 wrote state here.
pub(super) fn is_old(dir: &OwnDir) -> bool {
    let is_there = |name| matches!(dir.about(name), Ok(Some(_)));
    is_there(JOURNAL) || is_there(CARRIED)
}

/// Imports what there is; says so where there was something.
pub(super) fn import(
    dir: &OwnDir,
    db: &Connection,
    intents: &Intents,
    state_dir: &Path,
) -> Result<Option<String>, StoreError> {
    let path = dir.path_of(FILE_NAME);
    let policies = dir.dir_if_there(POLICIES)?;
    let Some(first) = first_file(dir, policies.as_ref())? else {
        forget(db, &path)?;
        return Ok(None);
    };
    // Commands alone, which a 0.1.0 that is still about wrote, are as good as any.
    let are_commands_alone = first == INBOX;
    // Nobody of that version may work with them.
    let _lock = lock(dir, state_dir)?;
    if reader::meta(db, &path, IMPORTED)?.is_none() {
        if !are_commands_alone && !is_empty(db, &path)? {
            return Err(StoreError::Both {
                old: dir.path_of(first),
                new: path,
            });
        }
        copy(dir, policies.as_ref(), db, &path)?;
    }
    // As the database knows them: a repair without its file would be one whose end was lost.
    for OpenRepair { intent, steps } in reader::open_repairs(db, &path)? {
        intents.write(&intent, &steps)?;
    }
    let before = dir.dir(BEFORE)?;
    let both = [(dir, JOURNAL), (dir, CARRIED), (dir, INBOX)];
    for (from, name) in both
        .into_iter()
        .chain(policies.as_ref().map(|dir| (dir, SERVICE)))
    {
        let moved = from.move_into(name, &before).or_else(|error| {
            if error.kind() != std::io::ErrorKind::DirectoryNotEmpty {
                return Err(error);
            }
            // An earlier one is there.
            let other = format!("{name}-{}", wall_ms());
            from.rename(name, &other)?;
            from.move_into(&other, &before)
        });
        match moved {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(&from.path_of(name))(error));
            }
            _ => {}
        }
        from.sync().map_err(io(from.path()))?;
    }
    before.sync().map_err(io(before.path()))?;
    forget(db, &path)?;
    Ok(Some(format!(
        "what dbmedic 0.1.0 wrote is taken over; its files are now in {}",
        before.path().display()
    )))
}

/// The first of the files that is there; each is a regular file of this user or root.
fn first_file(dir: &OwnDir, policies: Option<&OwnDir>) -> Result<Option<&'static str>, StoreError> {
    let mut first = None;
    let files = [
        (Some(dir), JOURNAL),
        (Some(dir), CARRIED),
        (policies, SERVICE),
    ];
    for (dir, name) in files {
        let Some(dir) = dir else { continue };
        let found = dir.own_file(name).map_err(io(&dir.path_of(name)))?;
        first = first.or(found.map(|_| name));
    }
    let inbox = dir.dir_if_there(INBOX)?.map(|_| INBOX);
    Ok(first.or(inbox))
}

fn forget(db: &Connection, path: &Path) -> Result<(), StoreError> {
    if reader::meta(db, path, IMPORTED)?.is_some() {
        db.execute("DELETE FROM meta WHERE key = ?1", [IMPORTED])
            .map_err(database(path))?;
    }
    Ok(())
}

fn is_empty(db: &Connection, path: &Path) -> Result<bool, StoreError> {
    let sql = "SELECT (SELECT count(*) FROM entries) + (SELECT count(*) FROM carried)
        + (SELECT count(*) FROM services)";
    let rows: i64 = db
        .query_row(sql, [], |row| row.get(0))
        .map_err(database(path))?;
    Ok(rows == 0)
}

fn lock(dir: &OwnDir, state_dir: &Path) -> Result<Option<File>, StoreError> {
    let failed = io(&dir.path_of(JOURNAL));
    let file = match dir.open_file(JOURNAL) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: state_dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Copies the files into the database, in one transaction.
fn copy(
    dir: &OwnDir,
    policies: Option<&OwnDir>,
    db: &Connection,
    path: &Path,
) -> Result<(), StoreError> {
    let failed = database(path);
    let carried: Option<CarriedFile> = read(dir, CARRIED)?;
    let in_service: Option<ServiceFile> = match policies {
        Some(policies) => read(policies, SERVICE)?,
        None => None,
    };
    let transaction = db.unchecked_transaction().map_err(&failed)?;
    let commands_done = carried.as_ref().and_then(|file| file.commands_done);
    let journal = copy_journal(dir, &transaction, commands_done, path)?;
    let next_seq = reader::next_seq(&transaction, path)?.max(journal.last_seq + 1);
    copy_inbox(dir, &transaction, next_seq, path)?;
    let mut carried = carried.map(|file| {
        let mut carried = file.carried;
        let moved_ms = file.written.map_or(0, |mark| mark.offset_ms());
        carried.move_times(moved_ms, now_ms());
        carried
    });
    if journal.last_incident > 0 {
        let carried = carried.get_or_insert_default();
        carried.next_incident = carried.next_incident.max(journal.last_incident + 1);
    }
    let in_service = in_service.map(|file| {
        let moved_ms = file.written.map_or(0, |mark| mark.offset_ms());
        let mut policies = file.policies;
        for service in policies.values_mut() {
            service.move_times(moved_ms, now_ms());
        }
        policies
    });
    let changed = changes(&BTreeMap::new(), carried.as_ref())?;
    let rows = services(in_service.as_ref())?;
    write(&transaction, 0, &Kept::default(), &changed, &rows).map_err(&failed)?;
    transaction
        .execute("INSERT INTO meta VALUES (?1, '0.1.0')", [IMPORTED])
        .map_err(&failed)?;
    transaction.commit().map_err(&failed)
}

/// What the entries of a journal come to.
#[derive(Default)]
struct Journal {
    last_seq: u64,
    last_incident: u64,
}

/// Copies the journal. A command has been heard when it is in what was carried, or when the repair began that it
/// approved; a run that did not say what it carried had heard all of them.
fn copy_journal(
    dir: &OwnDir,
    db: &Connection,
    commands_done: Option<u64>,
    path: &Path,
) -> Result<Journal, StoreError> {
    let failed = database(path);
    let mut journal = Journal::default();
    let file = match dir.open_file(JOURNAL) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(journal),
        Err(error) => return Err(io(&dir.path_of(JOURNAL))(error)),
    };
    let mut approved: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for line in Lines::new(&dir.path_of(JOURNAL), BufReader::new(file)) {
        let line = line?;
        let mut row = Row::of(line.at_ms, &line.entry)?;
        // Given twice, it was taken up once.
        row.command = row.command.filter(|id| ids.insert(id.clone()));
        match &line.entry {
            JournalEntry::Said { command, .. } => {
                let is_heard = commands_done.is_none_or(|done| line.seq <= done);
                row.heard = Some(is_heard);
                if let Command::Approve { incident, .. } = command
                    && !is_heard
                {
                    approved
                        .entry(incident.clone())
                        .or_default()
                        .insert(line.seq);
                }
            }
            // What came of it is in what was carried.
            JournalEntry::RepairClosed { .. } => row.heard = Some(true),
            JournalEntry::RepairIntended(intent) => {
                for seq in approved
                    .remove(&intent.finding.incident)
                    .unwrap_or_default()
                {
                    hear(db, seq).map_err(&failed)?;
                }
            }
            JournalEntry::Happened {
                effect: Effect::IncidentOpened { finding, .. },
            } => {
                let number = finding.incident.strip_prefix("INC-");
                let number = number.and_then(|number| number.parse().ok());
                journal.last_incident = journal.last_incident.max(number.unwrap_or(0));
            }
            _ => {}
        }
        insert(db, line.seq, &row).map_err(&failed)?;
        journal.last_seq = line.seq;
    }
    Ok(journal)
}

/// Copies the commands that no dbmedic had taken up yet.
fn copy_inbox(dir: &OwnDir, db: &Connection, next_seq: u64, path: &Path) -> Result<(), StoreError> {
    let Some(inbox) = dir.dir_if_there(INBOX)? else {
        return Ok(());
    };
    let mut names = inbox.names().map_err(io(inbox.path()))?;
    names.retain(|name| has_extension(name, "json"));
    // Sorted by name, they are in the order in which they were given.
    names.sort();
    let mut seq = next_seq;
    for name in names {
        let request = match read::<Request>(&inbox, &name) {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            // What cannot be read is nobody's command; the file stays with the others.
            Err(error) => {
                tracing::warn!("{error}");
                continue;
            }
        };
        let id = request.asker.id.as_deref();
        let known = id.map(|id| reader::command_of(db, path, id)).transpose()?;
        if known.flatten().is_some() {
            continue;
        }
        let entry = JournalEntry::Said {
            command: request.command,
            asker: request.asker,
        };
        insert(db, seq, &Row::of(now_ms(), &entry)?).map_err(database(path))?;
        seq += 1;
    }
    Ok(())
}

/// A file with its version; none when it is not there.
fn read<T: DeserializeOwned>(dir: &OwnDir, name: &str) -> Result<Option<T>, StoreError> {
    let path = dir.path_of(name);
    let Some(bytes) = dir.read(name, LARGEST_BYTES).map_err(io(&path))? else {
        return Ok(None);
    };
    let file: Versioned<T> = serde_json::from_slice(&bytes)
        .map_err(|error| old_damaged(&path, &format!("not readable: {error}")))?;
    if file.v != VERSION {
        let what = format!("version {}, this dbmedic reads {VERSION}", file.v);
        return Err(old_damaged(&path, &what));
    }
    Ok(Some(file.content))
}
