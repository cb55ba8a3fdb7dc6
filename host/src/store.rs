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
mod error;
mod import;
mod intents;
mod old_journal;
mod reader;
mod record;
mod write;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::gate::Service;
use crate::model::Outcome;
use crate::own_dir::OwnDir;
use crate::pipeline::Carried;
use crate::repair::Intent;

use ballast::Ballast;
use database::io;
use intents::Intents;
use write::{For, Inner};

pub use error::StoreError;
pub use reader::{CarriedOver, Reader, WaitingCommand};
pub(crate) use record::Row;
pub use record::{JournalEntry, JournalLine, OpenRepair};
pub(crate) use write::Kept;

/// The version of the records that this dbmedic writes and reads.
const VERSION: u32 = 1;

/// Locked by the process that has the store.
const LOCK: &str = "state.lock";

/// Attempts to take the store before it counts as another's.
const LOCK_ATTEMPTS: u32 = 20;

/// Between two of them.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

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
        let lock = dir.open_or_create(LOCK).map_err(io(&dir.path_of(LOCK)))?;
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
        let entry = JournalEntry::RepairIntended(Box::new(intent.clone()));
        let kept = Kept {
            entries: vec![Row::of(at_ms, &entry)?],
            ..Kept::default()
        };
        let mut inner = self.lock();
        inner.ballast.restore()?;
        inner.counted(|_| self.intents.write(intent))?;
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
    pub fn close_repair(
        &self,
        at_ms: u64,
        intent: &Intent,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let entry = JournalEntry::RepairClosed {
            repair_id: intent.repair_id.clone(),
            outcome: outcome.clone(),
        };
        self.append_for(at_ms, &entry, For::Repair)?;
        let removed = self
            .lock()
            .counted(|_| self.intents.remove(&intent.repair_id));
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
