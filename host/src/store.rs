//! dbmedic's state on disk: one SQLite database, `state.db`, in the state directory.
//!
//! The journal (what happened and why, what people said, each repair with its steps), what is carried from run to
//! run, and which policies are in service. What one step must keep is one transaction, synced before anything
//! comes of it: these can never disagree after a kill. A repair that has begun also stands as a file, should the
//! database be damaged; and it has room in reserve, should the disk be full.
//!
//! Never beside the databases under care. One process has the store; others may read beside it.

mod ballast;
mod database;
mod import;
mod intents;
mod old_journal;
mod reader;
mod record;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::clock::TimeMark;
use crate::gate::Service;
use crate::model::Outcome;
use crate::own_dir::OwnDir;
use crate::path_trust::TrustError;
use crate::pipeline::Carried;
use crate::repair::Intent;

use ballast::Ballast;
use database::io;
use intents::Intents;
use record::sum;

pub use reader::{CarriedOver, Reader, WaitingCommand};
pub(crate) use record::Row;
pub use record::{JournalEntry, JournalLine, OpenRepair};

/// The version of the records that this dbmedic writes and reads.
const VERSION: u32 = 1;

/// Locked by the process that has the store.
const LOCK: &str = "state.lock";

/// The row of `carried` that belongs to no target.
const NO_TARGET: &str = "";

/// Attempts to take the store before it counts as another's.
const LOCK_ATTEMPTS: u32 = 20;

/// Between two of them.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The state directory is not to be believed.
    #[error("state directory: {0}")]
    StateDir(#[from] TrustError),
    /// A file cannot be opened, read or written.
    #[error("state {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite could not do it.
    #[error("state {}: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Another dbmedic works with this state directory.
    #[error(
        "state directory {}: another dbmedic works with this state directory; stop it, or name another directory",
        path.display()
    )]
    InUse {
        /// The state directory.
        path: PathBuf,
    },
    /// A record is longer than one may be.
    #[error("a record of {bytes} bytes is longer than one may be")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A record cannot be written as JSON.
    #[error("a record cannot be written: {0}")]
    Record(#[source] serde_json::Error),
    /// It is whole, and not what this version writes.
    #[error("state {}: {what} is not readable: {source}; a newer dbmedic may have written it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What of it.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A newer dbmedic made it.
    #[error("state {}: a newer dbmedic made it (schema version {version})", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version of its schema.
        version: i32,
    },
    /// It is not what was written.
    #[error("state {}: {what}; move it aside to start without it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Both this version and 0.1.0 wrote state, which do not belong together.
    #[error(
        "state directory: dbmedic 0.1.0 wrote {} after {} was made; move one of them aside",
        old.display(), new.display()
    )]
    Both {
        /// The file of 0.1.0.
        old: PathBuf,
        /// The database.
        new: PathBuf,
    },
    /// Only dbmedic 0.1.0 wrote state here, and nothing was imported yet.
    #[error(
        "state directory {}: it was written by dbmedic 0.1.0; `dbmedic run` takes it over when it starts",
        path.display()
    )]
    Old {
        /// The state directory.
        path: PathBuf,
    },
}

/// What one step must keep: all of it, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Entries of the journal.
    pub(crate) entries: Vec<Row>,
    /// Commands that the pipeline heard, by their numbers.
    pub(crate) heard: Vec<u64>,
    /// What the next run must know.
    pub(crate) carried: Option<Carried>,
    /// Which policies are in service, and how they came there.
    pub(crate) services: Option<BTreeMap<String, Service>>,
}

/// The state, open for this process alone.
#[derive(Debug)]
pub struct Store {
    dir: OwnDir,
    path: PathBuf,
    /// Device and number of the database's file.
    place: (u64, u64),
    intents: Intents,
    inner: Mutex<Inner>,
    lost: Vec<Intent>,
    notes: Vec<String>,
    _lock: File,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    db: Connection,
    ballast: Ballast,
    next_seq: u64,
    /// The checksum of each row of `carried`.
    carried: BTreeMap<String, String>,
    writes: u64,
    kill_before: Option<u64>,
    kill_after: Option<u64>,
}

impl Store {
    /// Whether a dbmedic works with a state directory now; false also where that cannot be told.
    pub fn is_in_use(state_dir: &Path) -> bool {
        let file = OwnDir::existing(state_dir)
            .ok()
            .and_then(|dir| dir.open_file(LOCK).ok());
        let lock = file.map(|file| file.try_lock_shared());
        matches!(lock, Some(Err(TryLockError::WouldBlock)))
    }

    /// Whether a state directory holds a state.
    pub fn stands_in(state_dir: &Path) -> bool {
        state_dir
            .join(database::FILE_NAME)
            .symlink_metadata()
            .is_ok()
    }

    /// Opens the state of a state directory, for this process alone, and makes it if there is none. What 0.1.0
    /// wrote is imported. A database that is damaged is set aside: then [`Self::notes`] says so, and
    /// [`Self::lost`] which repairs it was at.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another dbmedic has it.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let dir = OwnDir::open(state_dir)?;
        let lock = dir
            .open_or_create(LOCK)
            .map_err(io(&dir.path_of(LOCK)))?;
        self::lock(&lock, state_dir)?;
        let mut ballast = Ballast::of(&dir);
        let mut notes = Vec::new();
        let mut opened = open_whole(&dir);
        if let Err(error @ StoreError::Damaged { .. }) = &opened {
            let aside = database::set_aside(&dir)?;
            notes.push(format!("begun anew: {error}; now {}", aside.display()));
            opened = open_whole(&dir);
        } else if opened.is_err() && ballast.release() {
            // SQLite needs room to open it.
            opened = open_whole(&dir);
        }
        let db = opened?;
        let path = dir.path_of(database::FILE_NAME);
        notes.extend(import::import(&dir, &db, state_dir)?);
        let about = dir.own_file(database::FILE_NAME).map_err(io(&path))?;
        let place = about.map_or((0, 0), |about| (about.st_dev, about.st_ino));
        let intents = Intents::of(&dir, reader::meta(&db, &path, "id")?.unwrap_or_default())?;
        let open = reader::open_repairs(&db, &path)?;
        let open: Vec<&Intent> = open.iter().map(|repair| &repair.intent).collect();
        let lost = intents.lost(&open)?;
        // Without it nothing is written, and no repair begins.
        drop(ballast.restore());
        let inner = Inner {
            next_seq: reader::next_seq(&db, &path)?,
            carried: reader::carried_sums(&db, &path)?,
            path: path.clone(),
            db,
            ballast,
            writes: 0,
            kill_before: None,
            kill_after: None,
        };
        Ok(Self {
            dir,
            path,
            place,
            intents,
            inner: Mutex::new(inner),
            lost,
            notes,
            _lock: lock,
        })
    }

    /// What a person must hear of how it was opened.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Repairs that were begun, as another database knew that is damaged or gone: what they did is not known.
    pub fn lost(&self) -> &[Intent] {
        &self.lost
    }

    /// Counts such a repair no more: its target is halted, and that is written down.
    pub fn settle(&self, repair_id: &str) -> Result<(), StoreError> {
        self.intents.settle(repair_id)
    }

    /// Whether its path still leads to it: what is written into one that was removed is lost.
    pub fn is_in_place(&self) -> bool {
        let about = self.dir.own_file(database::FILE_NAME);
        about.is_ok_and(|about| {
            about.is_some_and(|about| (about.st_dev, about.st_ino) == self.place)
        })
    }

    /// What the last run carried over; the beginning when there was none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn carried(&self) -> Result<CarriedOver, StoreError> {
        reader::carried(&self.lock().db, &self.path)
    }

    /// Which policies are in service, by their configured names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn services(&self) -> Result<BTreeMap<String, Service>, StoreError> {
        reader::services(&self.lock().db, &self.path)
    }

    /// The repairs that were begun and not closed, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open_repairs(&self) -> Result<Vec<OpenRepair>, StoreError> {
        reader::open_repairs(&self.lock().db, &self.path)
    }

    /// The commands that the pipeline has not heard, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn unheard(&self) -> Result<Vec<WaitingCommand>, StoreError> {
        reader::unheard(&self.lock().db, &self.path)
    }

    /// The number of the command of this identifier, where it is written down.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn number_of_command(&self, id: &str) -> Result<Option<u64>, StoreError> {
        reader::number_of_command(&self.lock().db, &self.path, id)
    }

    /// Keeps what one step must keep, in one transaction. When this returns, it is on disk; when it fails, none
    /// of it is there. Nothing is written where nothing is new.
    pub(crate) fn keep(&self, kept: &Kept) -> Result<(), StoreError> {
        self.lock().keep(kept, For::Anything).map(drop)
    }

    /// Adds an entry to the journal, and says its number.
    ///
    /// # Errors
    /// The entry could not be written or synced: it is not there, and what it announces must not be done.
    pub fn append(&self, at_ms: u64, entry: &JournalEntry) -> Result<u64, StoreError> {
        self.append_for(at_ms, entry, For::Anything)
    }

    fn append_for(&self, at_ms: u64, entry: &JournalEntry, what: For) -> Result<u64, StoreError> {
        let kept = Kept {
            entries: vec![Row::of(at_ms, entry)?],
            ..Kept::default()
        };
        self.lock().keep(&kept, what)
    }

    /// Keeps which policies are in service.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn save_services(&self, services: BTreeMap<String, Service>) -> Result<(), StoreError> {
        self.keep(&Kept {
            services: Some(services),
            ..Kept::default()
        })
    }

    /// Keeps what the next run must know.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn save_carried(&self, carried: Carried) -> Result<(), StoreError> {
        self.keep(&Kept {
            carried: Some(carried),
            ..Kept::default()
        })
    }

    /// An identifier for a repair, not used before.
    pub fn new_repair_id(&self) -> String {
        let mut inner = self.lock();
        let number = inner.next_seq;
        inner.next_seq += 1;
        format!("R-{number}")
    }

    /// Writes down that a repair begins, as a file and in the journal.
    ///
    /// # Errors
    /// It could not be written down, or there is no room in reserve to bring it to its end: it must not begin.
    pub fn begin_repair(&self, at_ms: u64, intent: &Intent) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.ballast.restore()?;
        inner.counted(|_| self.intents.write(intent))?;
        let entry = JournalEntry::RepairIntended(Box::new(intent.clone()));
        let kept = Kept {
            entries: vec![Row::of(at_ms, &entry)?],
            ..Kept::default()
        };
        inner.keep(&kept, For::Anything).map(drop).inspect_err(|_| {
            // One that stays is removed by the next start: the database does not know the repair.
            drop(self.intents.remove(&intent.repair_id));
        })
    }

    /// Writes down that a step of a repair begins. On a full disk it takes the room in reserve.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn begin_step(&self, at_ms: u64, intent: &Intent, step: &str) -> Result<(), StoreError> {
        let entry = JournalEntry::RepairStep {
            repair_id: intent.repair_id.clone(),
            incident: intent.finding.incident.clone(),
            step: step.to_owned(),
        };
        self.append_for(at_ms, &entry, For::Repair).map(drop)
    }

    /// Writes down how a repair ended. On a full disk it takes the room in reserve.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn close_repair(&self, at_ms: u64, intent: &Intent, outcome: &Outcome) -> Result<(), StoreError> {
        let entry = JournalEntry::RepairClosed {
            repair_id: intent.repair_id.clone(),
            outcome: outcome.clone(),
        };
        self.append_for(at_ms, &entry, For::Repair)?;
        let removed = self.lock().counted(|_| self.intents.remove(&intent.repair_id));
        if let Err(error) = removed {
            // The next start removes it: the database knows that the repair is closed.
            tracing::warn!("{error}");
        }
        Ok(())
    }

    /// For the crash campaign: this very process ends with SIGKILL right before, or right after, the Nth time
    /// that it writes and syncs something of the state, counted from 1.
    pub fn kill_at(&mut self, before: Option<u64>, after: Option<u64>) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.kill_before = before;
        inner.kill_after = after;
    }

    /// The state, even when a thread panicked while it held the lock: nothing in it is changed before the
    /// database is.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written for: on a full disk a repair that has begun goes before everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Anything,
    Repair,
}

impl Inner {
    /// Writes it in one transaction; says the number of the last entry.
    fn keep(&mut self, kept: &Kept, what: For) -> Result<u64, StoreError> {
        let changed = changes(&self.carried, kept.carried.as_ref())?;
        let services = services(kept.services.as_ref())?;
        if kept.entries.is_empty() && kept.heard.is_empty() && changed.is_empty() && services.is_empty() {
            return Ok(self.next_seq - 1);
        }
        if what == For::Anything {
            // What is left of it belongs to a repair.
            self.ballast.restore()?;
        }
        let first = self.next_seq;
        self.counted(|inner| {
            let write = |db: &Connection| write(db, first, kept, &changed, &services);
            match inner.transaction(write) {
                Err(_) if what == For::Repair && inner.ballast.release() => inner.transaction(write),
                done => done,
            }
        })?;
        self.next_seq += kept.entries.len() as u64;
        for Change { target, record } in changed {
            match record {
                Some((_, sum)) => self.carried.insert(target, sum),
                None => self.carried.remove(&target),
            };
        }
        Ok(self.next_seq - 1)
    }

    fn transaction(&mut self, work: impl Fn(&Connection) -> rusqlite::Result<()>) -> Result<(), StoreError> {
        let failed = database::database(&self.path);
        // Dropped, it is rolled back.
        let transaction = self
            .db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(&failed)?;
        work(&transaction).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// Does what writes and syncs something, and counts it.
    fn counted<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.writes += 1;
        let number = self.writes;
        if self.kill_before == Some(number) {
            die();
        }
        let done = work(self)?;
        if self.kill_after == Some(number) {
            die();
        }
        Ok(done)
    }
}

/// The rows of `carried` that are others than in the database, of which these are the checksums.
fn changes(
    known: &BTreeMap<String, String>,
    carried: Option<&Carried>,
) -> Result<Vec<Change>, StoreError> {
    let Some(carried) = carried else {
        return Ok(Vec::new());
    };
    let rest = Carried {
        targets: BTreeMap::new(),
        detectors: BTreeMap::new(),
        next_incident: carried.next_incident,
        signers: carried.signers.clone(),
        breakers: carried.breakers.clone(),
        silences: carried.silences.clone(),
    };
    let mut records = vec![(NO_TARGET, record::json(&rest)?)];
    for (name, target) in &carried.targets {
        records.push((name, record::json(target)?));
    }
    let is_gone = |name: &&String| *name != NO_TARGET && !carried.targets.contains_key(*name);
    let gone = known.keys().filter(is_gone).map(|name| Change {
        target: name.clone(),
        record: None,
    });
    let changed = records.into_iter().filter_map(|(target, json)| {
        let sum = sum(target, &json);
        (known.get(target) != Some(&sum)).then(|| Change {
            target: target.to_owned(),
            record: Some((json, sum)),
        })
    });
    Ok(gone.chain(changed).collect())
}

/// A row of `carried` that changes: what it holds from now on, with its checksum; none where it goes.
struct Change {
    target: String,
    record: Option<(String, String)>,
}

/// The rows of `services`: policy, JSON and checksum.
fn services(services: Option<&BTreeMap<String, Service>>) -> Result<Vec<[String; 3]>, StoreError> {
    let row = |(policy, service): (&String, &Service)| {
        let json = record::json(service)?;
        let sum = sum(policy, &json);
        Ok([policy.clone(), json, sum])
    };
    services.into_iter().flatten().map(row).collect()
}

fn write(
    db: &Connection,
    first: u64,
    kept: &Kept,
    changed: &[Change],
    services: &[[String; 3]],
) -> rusqlite::Result<()> {
    for (seq, row) in (first..).zip(&kept.entries) {
        insert(db, seq, row)?;
    }
    for seq in &kept.heard {
        db.execute("UPDATE entries SET heard = 1 WHERE seq = ?1", [number(*seq)])?;
    }
    for Change { target, record } in changed {
        match record {
            Some((json, sum)) => db.execute(
                "INSERT OR REPLACE INTO carried VALUES (?1, ?2, ?3)",
                (target, json, sum),
            )?,
            None => db.execute("DELETE FROM carried WHERE target = ?1", [target])?,
        };
    }
    if !changed.is_empty() {
        mark(db, "carried_at")?;
    }
    if !services.is_empty() {
        db.execute("DELETE FROM services", [])?;
        for [policy, json, sum] in services {
            let row = (policy, json, sum);
            db.execute("INSERT INTO services VALUES (?1, ?2, ?3)", row)?;
        }
        mark(db, "services_at")?;
    }
    Ok(())
}

fn insert(db: &Connection, seq: u64, row: &Row) -> rusqlite::Result<()> {
    let sum = sum(&reader::key(seq, row.at_ms), &row.json);
    let values = (
        number(seq),
        number(row.at_ms),
        &row.kind,
        &row.target,
        &row.incident,
        &row.repair,
        &row.command,
        row.heard,
        &row.json,
        sum,
    );
    db.execute(
        "INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        values,
    )?;
    Ok(())
}

/// Notes when something was written, by the clocks that the next run compares with.
fn mark(db: &Connection, key: &str) -> rusqlite::Result<()> {
    let mark = serde_json::to_string(&TimeMark::now())
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    db.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", (key, mark))?;
    Ok(())
}

/// A number as SQLite has it.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Opens the database, and sees to it that what the next run must know is what was written.
fn open_whole(dir: &OwnDir) -> Result<Connection, StoreError> {
    let db = database::open(dir)?;
    let path = dir.path_of(database::FILE_NAME);
    reader::carried(&db, &path)?;
    reader::services(&db, &path)?;
    reader::open_repairs(&db, &path)?;
    reader::unheard(&db, &path)?;
    Ok(db)
}

/// Ends this process as a power cut would: nothing is flushed, nothing is cleaned up.
fn die() -> ! {
    let me = rustix::process::getpid();
    // Cannot fail for a living process and a valid signal; if it did, going on would be the lie.
    let killed = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
        debug_assert!(killed.is_ok(), "a process could not be killed: {killed:?}");
    }
}

/// Takes the store for this process alone.
fn lock(file: &File, state_dir: &Path) -> Result<(), StoreError> {
    for attempt in 0.. {
        match file.try_lock() {
            Ok(()) => break,
            // A reader holds it for moments, and so does a child that was being started when the last holder
            // let go, until it runs its own program.
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse {
                    path: state_dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(&state_dir.join(LOCK))(source)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
