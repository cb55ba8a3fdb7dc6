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
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::command::Request;
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
pub use record::{ClosedRepair, JournalEntry, JournalLine, OpenRepair};
pub(crate) use write::Kept;

/// The version of the records that this dbmedic writes and reads.
const VERSION: u32 = 1;

/// Locked by the process that has the store. It holds the identifier of the database that is there: where that one is
/// gone, there was one.
const LOCK: &str = "state.lock";

/// Attempts to take the store before it counts as another's, and while others only read it.
const LOCK_ATTEMPTS: u32 = 20;
const READ_ATTEMPTS: u32 = 400;

/// The longest identifier that is read, bytes.
const LONGEST_ID: u64 = 64;

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
    begun_anew: Option<String>,
    lock: Mutex<File>,
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
        let lock = self::lock(&dir, state_dir, Patience::Some)?;
        let mut ballast = Ballast::of(&dir);
        let opened = match open_or_begin(&dir, &lock) {
            // SQLite needs room to open it.
            Err(error) if error.is_for_want_of_room() && ballast.release() => {
                open_or_begin(&dir, &lock)
            }
            opened => opened,
        };
        let db = opened?;
        let path = dir.path_of(database::FILE_NAME);
        let id = reader::meta(&db, &path, "id")?.unwrap_or_default();
        note_id(&lock, &id);
        let intents = Intents::of(&dir, id)?;
        let mut notes = Vec::new();
        notes.extend(import::import(&dir, &db, &intents, state_dir)?);
        let about = dir.own_file(database::FILE_NAME).map_err(io(&path))?;
        let place = about.map_or((0, 0), |about| (about.st_dev, about.st_ino));
        let begun_anew = reader::meta(&db, &path, database::BEGUN_ANEW)?;
        notes.extend(begun_anew.clone());
        let after_files = database::Numbers::used_in(dir.path()).repair + 1;
        let mut inner = Inner {
            next_seq: reader::next_seq(&db, &path)?.max(after_files),
            carried: reader::sums(&db, &path, "SELECT target, '', sum FROM carried")?,
            services: reader::sums(&db, &path, "SELECT policy, '', sum FROM services")?,
            open: BTreeMap::new(),
            path: path.clone(),
            db,
            ballast,
            writes: 0,
            kill_before: None,
            kill_after: None,
        };
        let settled = intents.agree(&mut inner)?;
        notes.extend(settled.notes);
        // Without it nothing is written, and no repair begins.
        drop(inner.ballast.restore());
        Ok(Self {
            dir,
            path,
            place,
            intents,
            inner: Mutex::new(inner),
            lost: settled.lost,
            notes,
            begun_anew,
            lock: Mutex::new(lock),
        })
    }

    /// Makes the state again in a state directory from which it vanished, with what is known. Where a command began
    /// one there meanwhile, that one takes it over.
    ///
    /// # Errors
    /// It cannot be made now, or another state stands there: [`StoreError::InUse`].
    pub(crate) fn make_again(&self, carried: &Carried) -> Result<(), StoreError> {
        let state_dir = self.dir.path();
        let dir = OwnDir::open(state_dir)?;
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Where only the state was removed, its lock is still this one's.
        let other = if is_in_place(&held, &dir) {
            None
        } else {
            Some(self::lock(&dir, state_dir, Patience::None)?)
        };
        if !database::judge(&dir)? {
            return database::make(&dir, None, Some(carried));
        }
        drop(held);
        drop(other);
        let begun = Self::open(state_dir)?;
        if !begun.lock().carried.is_empty() {
            return Err(StoreError::InUse {
                path: state_dir.to_owned(),
            });
        }
        begun.save_carried(carried.clone())
    }

    /// Why there is another state than before, where no run has been told yet.
    pub fn begun_anew(&self) -> Option<&str> {
        self.begun_anew.as_deref()
    }

    /// A run was told: the next one need not be.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(crate) fn told_begun_anew(&self) -> Result<(), StoreError> {
        let sql = "DELETE FROM meta WHERE key = ?1";
        let told = self.lock().db.execute(sql, [database::BEGUN_ANEW]);
        told.map(drop).map_err(database::database(&self.path))
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

    /// Whether its path still leads to it: what is written into one that was removed is lost. A lock that somebody
    /// removed is taken again.
    pub fn is_in_place(&self) -> bool {
        let about = self.dir.own_file(database::FILE_NAME);
        let is_there = about.is_ok_and(|about| {
            about.is_some_and(|about| (about.st_dev, about.st_ino) == self.place)
        });
        is_there && self.has_lock()
    }

    fn has_lock(&self) -> bool {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if is_in_place(&held, &self.dir) {
            return true;
        }
        let Ok(lock) = self.dir.open_or_create(LOCK) else {
            return false;
        };
        let is_taken = lock.try_lock().is_ok() && is_in_place(&lock, &self.dir);
        if is_taken {
            note_id(&lock, self.intents.state());
            *held = lock;
        }
        is_taken
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

    /// The repairs that were closed, and of which the pipeline has not heard, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn unheard_ends(&self) -> Result<Vec<ClosedRepair>, StoreError> {
        reader::unheard_ends(&self.lock().db, &self.path)
    }

    /// The number of a command that is written down already, by its identifier.
    ///
    /// # Errors
    /// When that cannot be read, or another command has this identifier.
    pub fn number_of(&self, request: &Request) -> Result<Option<u64>, StoreError> {
        let Some(id) = request.asker.id.as_deref().filter(|id| !id.is_empty()) else {
            return Err(StoreError::Nameless);
        };
        match reader::command_of(&self.lock().db, &self.path, id)? {
            Some((seq, command)) if command == request.command => Ok(Some(seq)),
            Some((seq, _)) => Err(StoreError::SameName {
                id: id.to_owned(),
                seq,
            }),
            None => Ok(None),
        }
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
        let kept = Kept {
            entries: vec![Row::of(at_ms, entry)?],
            ..Kept::default()
        };
        self.lock().keep(&kept, For::Anything)
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
    /// As for [`Self::begin_repair_with`].
    pub fn begin_repair(&self, at_ms: u64, intent: &Intent) -> Result<(), StoreError> {
        self.begin_repair_with(at_ms, intent, Kept::default())
    }

    /// The same together with what must be kept when it begins, in one transaction.
    ///
    /// # Errors
    /// It could not be written down, or there is no room in reserve to bring it to its end: it must not begin.
    pub(crate) fn begin_repair_with(
        &self,
        at_ms: u64,
        intent: &Intent,
        mut kept: Kept,
    ) -> Result<(), StoreError> {
        let entry = JournalEntry::RepairIntended(Box::new(intent.clone()));
        kept.entries.push(Row::of(at_ms, &entry)?);
        let mut inner = self.lock();
        inner.ballast.look();
        inner.ballast.restore()?;
        inner.counted(|_| self.intents.write(intent, &[]))?;
        inner.keep(&kept, For::Anything).inspect_err(|_| {
            // One that stays is removed by the next start: no step of it was begun.
            drop(self.intents.remove(&intent.repair_id));
        })?;
        inner.open.insert(intent.repair_id.clone(), Vec::new());
        Ok(())
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
        let kept = Kept {
            entries: vec![Row::of(at_ms, &entry)?],
            ..Kept::default()
        };
        let mut inner = self.lock();
        let mut steps = inner
            .open
            .get(&intent.repair_id)
            .cloned()
            .unwrap_or_default();
        steps.push(step.to_owned());
        inner.counted(|inner| inner.with_room(|_| self.intents.write(intent, &steps)))?;
        inner.keep(&kept, For::Repair)?;
        inner.open.insert(intent.repair_id.clone(), steps);
        Ok(())
    }

    /// Writes down how a repair ended, and says the number of that; `interrupted` says that it was taken back only
    /// because dbmedic was. On a full disk it takes the room in reserve.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn close_repair(
        &self,
        at_ms: u64,
        intent: &Intent,
        outcome: &Outcome,
        interrupted: bool,
    ) -> Result<u64, StoreError> {
        let entry = JournalEntry::RepairClosed {
            repair_id: intent.repair_id.clone(),
            outcome: outcome.clone(),
            interrupted,
        };
        let kept = Kept {
            entries: vec![Row::of(at_ms, &entry)?],
            ..Kept::default()
        };
        let mut inner = self.lock();
        let seq = inner.keep(&kept, For::Repair)?;
        inner.open.remove(&intent.repair_id);
        let removed = inner.counted(|_| self.intents.remove(&intent.repair_id));
        if let Err(error) = removed {
            // The next start removes it: the database knows that the repair is closed.
            tracing::warn!("{error}");
        }
        Ok(seq)
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

/// Opens the database, or begins a new one: where there is none, and where the one that is there cannot be believed.
fn open_or_begin(dir: &OwnDir, lock: &File) -> Result<Connection, StoreError> {
    let opened = match database::judge(dir) {
        Ok(true) => open_whole(dir),
        Ok(false) => {
            let path = dir.path_of(database::FILE_NAME);
            let is_gone = has_id(lock) || database::has_log(dir)?;
            let gone = is_gone.then(|| begun_anew(&format!("{} is gone", path.display())));
            database::make(dir, gone.as_deref(), None)?;
            return open_whole(dir);
        }
        Err(error) => Err(error),
    };
    match opened {
        Err(error @ StoreError::Damaged { .. }) => {
            let aside = database::set_aside(dir)?;
            let why = begun_anew(&format!("{error}; it is now {}", aside.display()));
            database::make(dir, Some(&why), None)?;
            open_whole(dir)
        }
        opened => opened,
    }
}

fn begun_anew(why: &str) -> String {
    format!(
        "the state was begun anew: {why}; halts, denials, approvals, silences, maintenance and open incidents of \
         before are not known"
    )
}

/// Opens the database, and sees to it that what the next run must know is what was written.
fn open_whole(dir: &OwnDir) -> Result<Connection, StoreError> {
    let db = database::open(dir)?;
    let path = dir.path_of(database::FILE_NAME);
    reader::carried(&db, &path)?;
    reader::services(&db, &path)?;
    reader::open_repairs(&db, &path)?;
    reader::unheard(&db, &path)?;
    reader::unheard_ends(&db, &path)?;
    Ok(db)
}

/// Whether who has the store is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    Some,
}

/// Takes the store for this process alone.
fn lock(dir: &OwnDir, state_dir: &Path, patience: Patience) -> Result<File, StoreError> {
    let path = dir.path_of(LOCK);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let file = dir.open_or_create(LOCK).map_err(io(&path))?;
        match file.try_lock() {
            Ok(()) if is_in_place(&file, dir) => return Ok(file),
            // Removed since it was opened.
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(io(&path)(source)),
            // A child that was being started when the last holder let go has it until it runs its own program.
            Err(TryLockError::WouldBlock) => {
                let state_dir = state_dir.to_owned();
                let is_read = file.try_lock_shared().is_ok();
                let is_over = |attempts| patience == Patience::None || attempt >= attempts;
                if is_read && is_over(READ_ATTEMPTS) {
                    return Err(StoreError::BeingRead { path: state_dir });
                }
                if !is_read && is_over(LOCK_ATTEMPTS) {
                    return Err(StoreError::InUse { path: state_dir });
                }
                drop(file);
                thread::sleep(LOCK_PAUSE);
            }
        }
    }
}

/// Whether a lock is the one that others find.
fn is_in_place(lock: &File, dir: &OwnDir) -> bool {
    let (held, found) = (lock.metadata(), dir.own_file(LOCK));
    matches!((held, found), (Ok(held), Ok(Some(found)))
        if (held.dev(), held.ino()) == (found.st_dev, found.st_ino))
}

/// Whether there was a database when the lock was held last.
fn has_id(lock: &File) -> bool {
    lock.metadata().is_ok_and(|about| about.len() > 0)
}

/// Notes which database is there.
fn note_id(lock: &File, id: &str) {
    use std::os::unix::fs::FileExt as _;
    let mut known = String::new();
    let is_known = lock.take(LONGEST_ID).read_to_string(&mut known).is_ok() && known == id;
    if !is_known {
        let noted = lock
            .set_len(0)
            .and_then(|()| lock.write_all_at(id.as_bytes(), 0))
            .and_then(|()| lock.sync_all());
        if let Err(error) = noted {
            tracing::debug!("{LOCK}: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
