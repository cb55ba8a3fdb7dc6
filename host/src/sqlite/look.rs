//! One look at a SQLite target: the raw files through one worker, the integrity check when one is due
//! through another, and the numbers that follow from both. It never writes to the target.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::copies::{self, ToRead};
use super::files::Looked;
use super::integrity::{Access, Check};
use super::locks;
use super::probe_transaction::ProbeTransaction;
use super::raw::{OneLook, RawError, RawProcess, Seen, absolute};
use super::sql::SqlProcess;
use super::trail::Mark;
use super::worker::{Areas, Place, Pool, Rights, with_causes};
use crate::row_values::DisagreeingValues;
use crate::sqlite_state::set::{self, Unjudgeable};
use crate::sqlite_state::{Integrity, IntegrityFault, Lock, Mode, SqliteState, WalState, rollback};

/// How long a sample may keep writers from committing, in rollback mode.
const SAMPLE_UNDER_LOCK: Duration = Duration::from_millis(12);

/// How long a check of what changed may keep a read mark, in write-ahead mode: the mark keeps the log from
/// being begun anew.
const READ_MARK: Duration = Duration::from_millis(1500);

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The helper process could not look.
    #[error("cannot look at {path}", path = path.display())]
    Raw {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: RawError,
    },
}

/// A SQLite database that is looked at.
#[derive(Debug)]
pub struct SqliteSource {
    path: PathBuf,
    areas: Areas,
    raw: RawProcess,
    sql: SqlProcess,
    /// Whether somebody was seen who takes locks that cannot be seen.
    hidden_locks: Arc<AtomicBool>,
    /// Who was seen to write without a lock.
    unlocked: Arc<Mutex<Option<Unjudgeable>>>,
}

/// One of the regular looks at a target, as it is due: it names no rights yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueLook {
    /// The database.
    pub path: PathBuf,
    /// The target.
    pub target: String,
    /// Whether to verify every frame of the log.
    pub full: bool,
    /// From when on to tell which pages were written; none for a first mark.
    pub since: Option<Mark>,
}

impl DueLook {
    /// What a worker is asked, and with which rights. Follows the path, and so waits for its disk.
    ///
    /// # Errors
    ///
    /// [`RawError::Place`].
    pub fn placed(self, areas: &Areas) -> Result<(Option<Rights>, OneLook), RawError> {
        let rights = Place::of(&self.path)?.rights();
        let look = OneLook {
            path: absolute(&self.path)?,
            full: self.full,
            since: self.since,
            snapshots: absolute(&areas.existing(rights.as_ref()).snapshots())?,
            target: self.target,
        };
        Ok((rights, look))
    }
}

impl SqliteSource {
    /// The same as [`Self::new`] with the workers of a pool.
    ///
    /// # Errors
    ///
    /// [`RawError::Spawn`] when there is no such executable.
    pub fn lent_by(pool: &Arc<Pool>, path: &Path, state_dir: &Path) -> Result<Self, RawError> {
        Ok(Self {
            sql: SqlProcess::lent_by(pool),
            ..Self::new(path, state_dir, RawProcess::lent_by(pool)?)
        })
    }

    /// A source for the database at `path`. Copies that a check needs are made under `state_dir`, a
    /// directory of dbmedic's own, and removed after it; snapshots are kept there.
    pub fn new(path: &Path, state_dir: &Path, raw: RawProcess) -> Self {
        Self {
            path: path.to_owned(),
            areas: Areas::at(state_dir),
            sql: SqlProcess::new(raw.exe()),
            raw,
            hidden_locks: Arc::default(),
            unlocked: Arc::default(),
        }
    }

    /// The same, and what one source saw of locks that cannot be seen in between the other knows.
    #[must_use]
    pub fn beside(self, other: &Self) -> Self {
        Self {
            hidden_locks: Arc::clone(&other.hidden_locks),
            unlocked: Arc::clone(&other.unlocked),
            ..self
        }
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The worker for copying and putting back.
    pub fn raw(&mut self) -> &mut RawProcess {
        &mut self.raw
    }

    /// Looks once; with `full_scan`, every frame of the log is verified.
    ///
    /// # Errors
    ///
    /// The helper process could not look. A check that could not be made is no error: see
    /// [`Integrity::error`].
    pub fn look(
        &mut self,
        full_scan: bool,
        integrity: Option<Check>,
    ) -> Result<SqliteState, LookError> {
        let looked = match self.raw.look(&self.path, full_scan, &[std::process::id()]) {
            Ok(looked) => looked,
            Err(source) => return self.left_alone(source),
        };
        let integrity = integrity.map(|check| self.check_looked(&looked, check));
        let mut state = self.judged(Ok(looked))?;
        state.integrity = integrity;
        Ok(state)
    }

    /// Makes one of the regular looks with a worker of its own.
    ///
    /// # Errors
    ///
    /// The helper process could not look.
    pub fn see(&mut self, look: DueLook) -> Result<Seen, RawError> {
        let (rights, look) = look.placed(&self.areas)?;
        let mut seen = None;
        let own = [std::process::id()];
        self.raw
            .look_at_all(rights, vec![look], &own, &mut |one| seen = Some(one))?;
        let seen = seen.ok_or_else(|| RawError::Broken {
            detail: "no answer".to_owned(),
        })?;
        Ok(seen?)
    }

    /// What a look says of the database, with what earlier looks said of locks that cannot be seen.
    ///
    /// # Errors
    ///
    /// The helper process could not look.
    pub fn judged(&mut self, looked: Result<Looked, RawError>) -> Result<SqliteState, LookError> {
        let looked = match looked {
            Ok(looked) => looked,
            Err(source) => return self.left_alone(source),
        };
        // Also where no check is due: what was seen of hidden locks is kept.
        self.objection(&looked);
        let mut state = looked.state;
        state.set.unjudgeable = state
            .set
            .unjudgeable
            .or_else(|| self.writes_without_locks());
        Ok(state)
    }

    /// Who was seen to write without a lock and still runs: between two of its transactions nothing shows
    /// it, and it may write at any moment.
    fn writes_without_locks(&self) -> Option<Unjudgeable> {
        let mut known = self.unlocked.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = |why: &Unjudgeable| match why {
            Unjudgeable::NoLocks { pid, start_ticks } => {
                locks::process(*pid).is_some_and(|seen| seen.start_ticks == *start_ticks)
            }
            _ => false,
        };
        *known = known.filter(runs);
        *known
    }

    /// What a look shows of a database that is left alone for where it lies.
    fn left_alone(&self, source: RawError) -> Result<SqliteState, LookError> {
        let why = match &source {
            RawError::Place(place) => place.unjudgeable(),
            _ => None,
        };
        if why.is_none() {
            return Err(LookError::Raw {
                path: self.path.clone(),
                source,
            });
        }
        let mut state = SqliteState::default();
        state.set.unjudgeable = why;
        Ok(state)
    }

    /// What a look at every frame shows, when it finds the files sound; none when they are not: what
    /// SQLite would read then is not what was committed.
    ///
    /// # Errors
    ///
    /// In words: the files cannot be looked at, or must not be opened.
    pub(super) fn sound(&mut self) -> Result<Option<Looked>, String> {
        let looked = self
            .raw
            .look(&self.path, true, &[std::process::id()])
            .map_err(|error| error.to_string())?;
        if let Some(why) = self.objection(&looked) {
            return Err(why);
        }
        let state = &looked.state;
        let log_sound =
            |wal: &WalState| wal.scanned && wal.header_valid && wal.first_bad_frame.is_none();
        let sound = state.database_bytes.is_some_and(|bytes| bytes > 0)
            && state.header_fault.is_none()
            && state.wal.as_ref().is_none_or(log_sound);
        Ok(sound.then_some(looked))
    }

    /// The values of rows and index entries that the last check found to disagree, for a person
    /// alone.
    pub fn take_values(&mut self) -> Vec<DisagreeingValues> {
        self.sql.take_values()
    }

    /// Makes a check and nothing else.
    ///
    /// # Errors
    ///
    /// As [`Self::look`].
    pub fn check(&mut self, check: Check) -> Result<Integrity, LookError> {
        let looked = self.raw_look()?;
        Ok(self.check_looked(&looked, check))
    }

    /// Makes a probe transaction, where SQLite would change nothing but locks for it.
    ///
    /// # Errors
    ///
    /// In words: why none was made.
    pub fn probe_transaction(&mut self) -> Result<ProbeTransaction, String> {
        let looked = self.raw_look().map_err(|error| with_causes(&error))?;
        let (_, in_place) = self.place_to_read(&looked)?;
        if !in_place {
            return Err(
                "SQLite would have to write first: nobody has the database open, or a journal waits \
                 to be played back; or others can put files beside it"
                    .into(),
            );
        }
        let probe = self.sql.probe_transaction(&self.path);
        probe.map_err(|error| with_causes(&error))
    }

    /// Checks the tables in which one of these pages lies, and renews the account when all is well;
    /// none when there is no account.
    ///
    /// # Errors
    ///
    /// As [`Self::look`].
    pub fn check_changed(
        &mut self,
        check: Check,
        touched: &BTreeSet<u32>,
    ) -> Result<Option<Integrity>, LookError> {
        let looked = self.raw_look()?;
        let readable = match self.readable(&looked) {
            Ok(readable) => readable,
            Err(error) => return Ok(Some(not_made(check, error))),
        };
        let deadline = check.deadline.unwrap_or(READ_MARK).min(READ_MARK);
        let check = match &readable {
            Readable::InPlace(_) => Check {
                deadline: Some(deadline),
                ..check
            },
            Readable::Copy(_) => check,
        };
        let checked = self.sql.check_changed(
            &self.path,
            &readable.path(),
            readable.access(),
            check,
            touched,
        );
        self.let_go(readable);
        Ok(checked.unwrap_or_else(|error| Some(not_made(check, with_causes(&error)))))
    }

    /// Whether it is known what was proven.
    pub fn has_proven(&self) -> bool {
        self.sql.has_proven()
    }

    /// Looks before a check. A log that nobody uses is read to its end: whether it belongs to the file
    /// is to be known before SQLite opens both.
    pub(super) fn raw_look(&mut self) -> Result<Looked, LookError> {
        let mut look = |full| {
            let looked = self.raw.look(&self.path, full, &[std::process::id()]);
            looked.map_err(|source| LookError::Raw {
                path: self.path.clone(),
                source,
            })
        };
        let looked = look(false)?;
        if looked.state.locks.is_empty() && set::log_has_content(&looked.state) {
            return look(true);
        }
        Ok(looked)
    }

    fn check_looked(&mut self, looked: &Looked, check: Check) -> Integrity {
        let checked = self.check_together(looked, check);
        self.beside_file_alone(looked, checked, check)
    }

    /// Adds whether the file is sound without what lies beside it, where the two are at fault together
    /// or cannot belong together, and nobody uses them.
    pub(super) fn beside_file_alone(
        &mut self,
        looked: &Looked,
        checked: Integrity,
        check: Check,
    ) -> Integrity {
        let state = &looked.state;
        let is_left = set::has_left_log(state) || set::has_left_journal(state);
        let is_whole = matches!(check.mode, Mode::Quick | Mode::Full);
        let in_question = match &checked.error {
            Some(_) => set::contradiction(state).is_some(),
            None => {
                checked.faults.iter().any(IntegrityFault::is_damage)
                    || set::journal_empties_file(state)
            }
        };
        if !is_left || !is_whole || !in_question || set::objection_but_to_log(state).is_some() {
            return checked;
        }
        let sound_alone = match self.check_file_alone(looked, check) {
            Ok(alone) if alone.error.is_none() => {
                Some(!alone.faults.iter().any(IntegrityFault::is_damage))
            }
            Ok(_) | Err(_) => None,
        };
        Integrity {
            sound_alone,
            ..checked
        }
    }

    fn check_together(&mut self, looked: &Looked, check: Check) -> Integrity {
        if let Some(why) = self.objection(looked) {
            return not_made(check, why);
        }
        if matches!(check.mode, Mode::Sampled { .. }) {
            return self.sample(looked, check);
        }
        match self.readable(looked) {
            Ok(readable) => {
                let checked = self.sql_check(&readable.path(), readable.access(), check);
                self.let_go(readable);
                checked
            }
            Err(error) => not_made(check, error),
        }
    }

    /// A sample: without a lock where nobody has the database open. In rollback mode it keeps writers
    /// from committing, and is short.
    fn sample(&mut self, looked: &Looked, check: Check) -> Integrity {
        let uses_log = looked.wal_mode || looked.state.wal.is_some();
        let alone = if needs_copy(looked) || (!uses_log && looked.state.locks.is_empty()) {
            Some(self.check_alone(looked, check))
        } else {
            None
        };
        match alone {
            Some(Ok(checked)) => return checked,
            // A copy takes longer than a sample may.
            Some(Err(error)) if needs_copy(looked) => return not_made(check, error),
            Some(Err(_)) | None => {}
        }
        let deadline = if uses_log {
            check.deadline
        } else {
            Some(SAMPLE_UNDER_LOCK)
        };
        match self.readable(looked) {
            Ok(Readable::InPlace(path)) => {
                self.sql_check(&path, Access::InPlace, Check { deadline, ..check })
            }
            Ok(readable @ Readable::Copy(_)) => {
                let checked = self.sql_check(&readable.path(), readable.access(), check);
                self.let_go(readable);
                checked
            }
            Err(error) => not_made(check, error),
        }
    }

    fn sql_check(&mut self, readable: &Path, access: Access, check: Check) -> Integrity {
        self.sql
            .check(&self.path, readable, access, check)
            .unwrap_or_else(|error| not_made(check, with_causes(&error)))
    }

    /// Checks a database in write-ahead mode that nobody has open and whose log is empty: what is
    /// in the file is all there is. Should somebody have opened it meanwhile, nothing is said.
    fn check_alone(&mut self, looked: &Looked, check: Check) -> Result<Integrity, String> {
        let state = &looked.state;
        if state.wal.is_some() || set::journal_is_hot(state) || !state.locks.is_empty() {
            let why = if state.wal.is_some() {
                "it has a log that nobody keeps: only a copy could be read"
            } else if state.locks.is_empty() {
                "a journal waits to be played back: only a copy could be read"
            } else {
                "a transaction is being written: look again in a moment"
            };
            return Err(why.into());
        }
        self.check_file_alone(looked, check)
    }

    /// Checks the database file that nobody has open, without what may lie beside it. Should somebody
    /// have opened it meanwhile, nothing is said.
    fn check_file_alone(&mut self, looked: &Looked, check: Check) -> Result<Integrity, String> {
        let place = Place::of(&self.path).map_err(|error| error.to_string())?;
        if let Some(why) = place.only_to_look_at() {
            return Err(format!("only a copy could be read: {why}"));
        }
        let path = self.path.clone();
        let stamp = || {
            let meta = std::fs::metadata(&path).ok()?;
            Some((meta.len(), meta.modified().ok()?))
        };
        let before = stamp();
        let integrity = self.sql_check(&path, Access::Alone, check);
        // Whoever ends a transaction after this look writes before the stamp.
        let after = self.raw_look().map_err(|error| error.to_string())?;
        let unchanged = before.is_some() && stamp() == before;
        let log = |state: &SqliteState| state.wal.as_ref().map(|wal| (wal.bytes, wal.salts));
        let is_same = after.state.locks.is_empty()
            && log(&after.state) == log(&looked.state)
            && after.state.journal_bytes == looked.state.journal_bytes;
        if unchanged && is_same {
            Ok(integrity)
        } else {
            Err("somebody opened it meanwhile".into())
        }
    }

    /// Why the files must not be opened, seen now or earlier; see [`set::objection`].
    pub(super) fn objection(&self, looked: &Looked) -> Option<String> {
        if looked.state.set.unjudgeable == Some(Unjudgeable::LockDirectory) {
            self.hidden_locks.store(true, Ordering::Relaxed);
        }
        if self.hidden_locks.load(Ordering::Relaxed) {
            return Some(Unjudgeable::LockDirectory.to_string());
        }
        if let Some(why @ Unjudgeable::NoLocks { .. }) = looked.state.set.unjudgeable {
            let mut known = self.unlocked.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some(why);
        }
        if let Some(why) = self.writes_without_locks() {
            return Some(why.to_string());
        }
        set::objection(&looked.state).or_else(|| rollback::kept_by_another(&looked.state))
    }

    /// Where the database lies, and whether SQLite can read it there without a trace.
    fn place_to_read(&self, looked: &Looked) -> Result<(Place, bool), String> {
        if let Some(why) = self.objection(looked) {
            return Err(why);
        }
        let place = Place::of(&self.path).map_err(|error| error.to_string())?;
        // Where others can put files beside it, SQLite is not let near them.
        let in_place = !needs_copy(looked) && place.only_to_look_at().is_none();
        Ok((place, in_place))
    }

    /// Where the database can be read without a trace: in place, or as a copy.
    fn readable(&mut self, looked: &Looked) -> Result<Readable, String> {
        let (place, in_place) = self.place_to_read(looked)?;
        if in_place {
            return Ok(Readable::InPlace(self.path.clone()));
        }
        self.copy_to_read(&place, false)
    }

    /// Copies the files as they are, to be read; with `only_clone` only where the file system clones
    /// them at once.
    pub(super) fn copy_to_read(
        &mut self,
        place: &Place,
        only_clone: bool,
    ) -> Result<Readable, String> {
        let directory = self.scratch(place)?;
        let copied = self.raw.copy_to_read(&self.path, &directory, only_clone);
        let readable = Readable::Copy(directory);
        let why = match copied {
            Ok(ToRead::Whole) => return Ok(readable),
            Ok(ToRead::Changed) => "the files changed while they were copied".to_owned(),
            Ok(ToRead::Kept(process)) => format!(
                "{} has the database for itself: a copy of the file could hold half a transaction",
                rollback::named(&process)
            ),
            Err(error) => format!("cannot make a copy to read: {}", with_causes(&error)),
        };
        self.let_go(readable);
        Err(why)
    }

    /// A directory for one copy, not made yet.
    pub(super) fn scratch(&self, place: &Place) -> Result<PathBuf, String> {
        let area = self.areas.of(place.rights().as_ref());
        let area = area.map_err(|error| format!("cannot make a copy to read: {error}"))?;
        let name = format!("{:032x}", rand::random::<u128>());
        Ok(area.scratch().join(name))
    }

    pub(super) fn sql(&mut self) -> &mut SqlProcess {
        &mut self.sql
    }

    pub(super) fn areas(&self) -> &Areas {
        &self.areas
    }

    /// Removes a copy that was made to be read. One that stays is removed by the next start.
    pub(super) fn let_go(&mut self, readable: Readable) {
        if let Readable::Copy(directory) = readable {
            drop(self.raw.discard(&self.path, &directory));
        }
    }
}

/// A database that SQLite can open for reading without changing a file of the target.
#[derive(Debug)]
pub(super) enum Readable {
    /// The database itself, on a read-only connection.
    InPlace(PathBuf),
    /// A copy of its files in a directory of its own.
    Copy(PathBuf),
}

/// A check that could not be made, and why.
pub(super) fn not_made(check: Check, error: String) -> Integrity {
    Integrity::empty(check.mode, Some(error))
}

impl Readable {
    /// How to open it.
    pub(super) fn access(&self) -> Access {
        match self {
            Self::InPlace(_) => Access::InPlace,
            Self::Copy(_) => Access::Copy,
        }
    }

    /// What to open.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::InPlace(path) => path.clone(),
            Self::Copy(copy) => copy.join(copies::DATABASE_NAME),
        }
    }
}

/// Whether SQLite would have to write before it could read in place: a log without a process that
/// keeps its index, or a journal that waits to be played back. A journal that is kept for the next
/// transaction (`journal_mode` PERSIST or TRUNCATE) is none.
fn needs_copy(looked: &Looked) -> bool {
    let held = |lock: Lock| looked.state.locks.iter().any(|holder| holder.lock == lock);
    let uses_log = looked.wal_mode || looked.state.wal.is_some();
    // Nobody else can begin to read, and the files rest.
    let kept = rollback::shuts_readers_out(&looked.state);
    looked.state.database_bytes.is_some()
        && ((uses_log && !held(Lock::WalOpen)) || set::journal_is_hot(&looked.state) || kept)
}
