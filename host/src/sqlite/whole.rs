//! Checks of a whole database, and snapshots, made so that nobody who uses it waits for them.
//!
//! In write-ahead mode one backup step gives a copy, and the copy is checked. In rollback mode, where
//! whoever reads keeps writers from committing, the check is made in slices of some milliseconds. A
//! database that nobody has open, and whose log holds nothing, is read where it is, without any lock:
//! the answer counts when the file did not change meanwhile.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::backup::Bounds;
use super::connection;
use super::files::Looked;
use super::integrity::{Access, Check};
use super::look::{LookError, Readable, SqliteSource, not_made};
use super::sql::SnapshotRequest;
use super::worker::{Place, with_causes};
use crate::clock::now_ms;
use crate::sqlite::snapshot::{Moment, SnapshotInfo};
use crate::sqlite_state::{Integrity, Lock, Mode, SqliteState, rollback, set};

/// How far the log may grow while a copy is made under a read mark, bytes: the mark keeps it from being
/// begun anew.
const LOG_GROWTH_BYTES: u64 = 64 << 20;

/// How long before its deadline a check in slices says what it found until then, at most.
const MOST_HEARD_IN: Duration = Duration::from_mins(1);
/// How long slices go on in one request: between two, a quick check or a repair has its turn.
const SLICES_TIME: Duration = Duration::from_secs(1);

/// A file that was written to more recently, milliseconds, may be written to again within the same tick of
/// the clock that its times are taken from.
const AT_REST_MS: u64 = 50;

/// A check of a whole database that has begun.
#[derive(Debug)]
pub struct WholeCheck {
    check: Check,
    looked: Looked,
    way: Way,
    begun: Instant,
    rules: WholeRules,
}

/// What a check of a whole database is made under.
#[derive(Debug, Clone, Copy)]
pub struct WholeRules {
    /// How long one copy may keep writers waiting, in rollback mode.
    pub max_lock: Duration,
    /// Whether account is kept of what was proven, for [`SqliteSource::check_changed`]: it takes one more
    /// walk through all pages.
    pub keeps_account: bool,
}

/// How a database is read as a whole.
#[derive(Debug)]
enum Way {
    /// Not at all: why.
    None(String),
    /// Where it is, without a lock.
    AtRest,
    /// As a copy of one moment.
    Copy(Readable),
    /// In short transactions.
    Slices,
}

impl WholeCheck {
    /// Whether what comes next takes locks on the database.
    pub fn takes_locks(&self) -> bool {
        matches!(self.way, Way::Slices)
    }
}

/// What a snapshot is taken under.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotRules {
    /// Snapshots that are kept.
    pub keep: usize,
    /// How long it may keep writers waiting, in rollback mode.
    pub max_lock: Duration,
}

impl SqliteSource {
    /// Begins a check of everything: looks, and makes the copy where one is needed. [`Self::go_on`] does
    /// the rest.
    ///
    /// # Errors
    ///
    /// As [`Self::look`].
    pub fn begin_whole(
        &mut self,
        check: Check,
        rules: WholeRules,
    ) -> Result<WholeCheck, LookError> {
        let begun = Instant::now();
        let looked = self.raw_look()?;
        let way = self.way(&looked).unwrap_or_else(Way::None);
        Ok(WholeCheck {
            check,
            looked,
            way,
            begun,
            rules,
        })
    }

    /// Goes on; none when there is more to do. Where nothing is wrong, and a moment of the whole was
    /// seen, account of what was proven is kept in the worker.
    pub fn go_on(&mut self, whole: &mut WholeCheck) -> Option<Integrity> {
        let check = whole.check;
        // What was not ended by this way goes on in slices.
        let checked = match std::mem::replace(&mut whole.way, Way::Slices) {
            Way::None(why) => not_made(check, why),
            Way::Copy(readable) => {
                let checked = self.check_all(whole, &readable.path(), readable.access());
                self.let_go(readable);
                checked
            }
            Way::AtRest => match self.at_rest(whole) {
                Some(checked) => checked,
                None if uses_log(&whole.looked) => not_made(
                    check,
                    "it changed while it was looked at: check it again".into(),
                ),
                None => return None,
            },
            Way::Slices => return self.slices(whole),
        };
        Some(self.beside_file_alone(&whole.looked, checked, check))
    }

    fn slices(&mut self, whole: &WholeCheck) -> Option<Integrity> {
        let path = self.path().to_owned();
        let check = Check {
            mode: Mode::Sliced,
            ..whole.check
        };
        // A little earlier, so that what was found until then is heard before the check is given up.
        let is_over = check.deadline.is_some_and(|deadline| {
            let heard_in = (deadline / 20).min(MOST_HEARD_IN);
            whole.begun.elapsed() > deadline.saturating_sub(heard_in)
        });
        match self.sql().slices(&path, check, SLICES_TIME, is_over) {
            Ok(None) => None,
            Ok(Some(found)) => Some(self.confirmed(whole, found)),
            Err(error) => Some(not_made(check, with_causes(&error))),
        }
    }

    /// What slices found wrong, seen in a copy of one moment where one can be had: they do not tell
    /// whether an index or a row is damaged. Where none can be had it stays what slices found.
    fn confirmed(&mut self, whole: &WholeCheck, found: Integrity) -> Integrity {
        if found.error.is_some() || found.faults.is_empty() {
            return found;
        }
        let Ok(place) = Place::of(self.path()) else {
            return found;
        };
        let bounds = Bounds::of_lock(whole.rules.max_lock);
        let copied = self
            .back_up(&place, bounds)
            .or_else(|_| self.copy_to_read(&place, true));
        let Ok(readable) = copied else {
            return found;
        };
        let checked = self.check_all(whole, &readable.path(), readable.access());
        self.let_go(readable);
        match checked.error {
            None => checked,
            Some(_) => found,
        }
    }

    /// Checks everything at one moment.
    fn check_all(&mut self, whole: &WholeCheck, readable: &Path, access: Access) -> Integrity {
        let (path, check) = (self.path().to_owned(), whole.check);
        let checked = if whole.rules.keeps_account {
            self.sql().prove(&path, readable, access, check)
        } else {
            self.sql().check(&path, readable, access, check)
        };
        checked.unwrap_or_else(|error| not_made(check, with_causes(&error)))
    }

    /// Checks a database without a lock; none when somebody wrote to it meanwhile, or is about to: half a
    /// transaction may have been in the file from the beginning.
    fn at_rest(&mut self, whole: &WholeCheck) -> Option<Integrity> {
        let path = &self.path().to_owned();
        let before = connection::stamp(path)?;
        if now_ms().saturating_sub(before.modified_ms()) < AT_REST_MS {
            std::thread::sleep(Duration::from_millis(AT_REST_MS));
            if connection::stamp(path) != Some(before) {
                return None;
            }
        }
        let checked = self.check_all(whole, path, Access::Alone);
        let after = self.raw_look().ok()?;
        if rollback::write_lock(&after.state.locks).is_some() {
            return None;
        }
        (connection::stamp(path) == Some(before)).then_some(checked)
    }

    /// How everything can be read; in words why it cannot.
    fn way(&mut self, looked: &Looked) -> Result<Way, String> {
        if let Some(why) = self.objection(looked) {
            return Err(why);
        }
        let place = Place::of(self.path()).map_err(|error| error.to_string())?;
        // Where others can put files beside it, SQLite is not let near them.
        if place.only_to_look_at().is_some() {
            return self.copy_to_read(&place, false).map(Way::Copy);
        }
        let state = &looked.state;
        if uses_log(looked) {
            if is_held(state, Lock::WalOpen) {
                return self.back_up(&place, self.log_bounds()).map(Way::Copy);
            }
            if state.locks.is_empty() && log_is_void(state) && !set::journal_is_hot(state) {
                return Ok(Way::AtRest);
            }
            return self.copy_to_read(&place, false).map(Way::Copy);
        }
        // Who has the database for itself lets nobody read it, and the files rest meanwhile.
        if set::journal_is_hot(state) || rollback::shuts_readers_out(state) {
            return self.copy_to_read(&place, false).map(Way::Copy);
        }
        Ok(if state.locks.is_empty() {
            Way::AtRest
        } else {
            Way::Slices
        })
    }

    /// Makes a copy of one moment of a database that somebody has open.
    fn back_up(&mut self, place: &Place, bounds: Bounds) -> Result<Readable, String> {
        let directory = self.scratch(place)?;
        let readable = Readable::Copy(directory.clone());
        let path = self.path().to_owned();
        match self.sql().back_up(&path, &directory, bounds) {
            Ok(()) => Ok(readable),
            Err(error) => {
                self.let_go(readable);
                Err(format!(
                    "cannot make a copy to check: {}",
                    with_causes(&error)
                ))
            }
        }
    }

    fn log_bounds(&self) -> Bounds {
        let mut log = self.path().as_os_str().to_owned();
        log.push("-wal");
        let log = PathBuf::from(log);
        let bytes = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        Bounds {
            log: Some((log, bytes.saturating_add(LOG_GROWTH_BYTES))),
            ..Bounds::default()
        }
    }

    /// Takes a snapshot for a target when a look at every frame finds the files sound, and keeps the
    /// newest.
    ///
    /// # Errors
    ///
    /// In words: why there is none.
    pub fn snapshot(
        &mut self,
        target: &str,
        now: &Moment,
        rules: SnapshotRules,
    ) -> Result<SnapshotInfo, String> {
        let place = Place::of(self.path()).map_err(|error| error.to_string())?;
        if let Some(why) = place.only_to_look_at() {
            return Err(why);
        }
        let looked = self.sound()?.ok_or("the files are not sound")?;
        let state = &looked.state;
        if uses_log(&looked) {
            if is_held(state, Lock::WalOpen) {
                let bounds = self.log_bounds();
                return self.take(&place, None, Access::InPlace, bounds, target, now, rules);
            }
            if state.locks.is_empty() && log_is_void(state) && !set::journal_is_hot(state) {
                let bounds = Bounds::at_rest(self.path());
                return self.take(&place, None, Access::Alone, bounds, target, now, rules);
            }
        } else if !set::journal_is_hot(state) && !rollback::shuts_readers_out(state) {
            let bounds = Bounds::of_lock(rules.max_lock);
            let taken = self.take(&place, None, Access::InPlace, bounds, target, now, rules);
            let Err(why) = taken else { return taken };
            // What a file system clones at once is a copy of one moment, when nobody wrote meanwhile.
            if let Ok(readable) = self.copy_to_read(&place, true) {
                return self.take_of_copy(&place, readable, target, now, rules);
            }
            if state.locks.is_empty() {
                let bounds = Bounds::at_rest(self.path());
                let alone = self.take(&place, None, Access::Alone, bounds, target, now, rules);
                return alone.map_err(|_| why);
            }
            return Err(why);
        }
        let readable = self.copy_to_read(&place, false)?;
        self.take_of_copy(&place, readable, target, now, rules)
    }

    fn take_of_copy(
        &mut self,
        place: &Place,
        readable: Readable,
        target: &str,
        now: &Moment,
        rules: SnapshotRules,
    ) -> Result<SnapshotInfo, String> {
        let (path, bounds) = (readable.path(), Bounds::default());
        let taken = self.take(place, Some(path), Access::Copy, bounds, target, now, rules);
        self.let_go(readable);
        taken
    }

    #[expect(clippy::too_many_arguments, reason = "they are one request")]
    fn take(
        &mut self,
        place: &Place,
        readable: Option<PathBuf>,
        access: Access,
        bounds: Bounds,
        target: &str,
        now: &Moment,
        rules: SnapshotRules,
    ) -> Result<SnapshotInfo, String> {
        let area = self.areas().of(place.rights().as_ref());
        let area = area.map_err(|error| format!("no place to keep it: {error}"))?;
        let source = self.path().to_owned();
        let request = SnapshotRequest {
            readable: readable.unwrap_or_else(|| source.clone()),
            access,
            bounds,
            source,
            snapshots: area.snapshots(),
            target: target.to_owned(),
            now: now.clone(),
            keep: rules.keep,
        };
        let taken = self.sql().snapshot(request);
        taken.map_err(|error| with_causes(&error))
    }
}

fn uses_log(looked: &Looked) -> bool {
    looked.wal_mode || looked.state.wal.is_some()
}

fn is_held(state: &SqliteState, lock: Lock) -> bool {
    state.locks.iter().any(|holder| holder.lock == lock)
}

/// Whether the log holds nothing that SQLite would read: then what is in the file is all there is.
fn log_is_void(state: &SqliteState) -> bool {
    state.wal.as_ref().is_none_or(|wal| {
        wal.scanned && (!wal.header_valid || wal.last_commit_frame == 0)
            || !set::log_has_content(state)
    })
}
