//! What a live run writes into its state directory.
//!
//! A full disk must not end the watch in the very hour that it is needed: what cannot be written is
//! told once, kept in memory, and written when that works again. Only a repair needs the journal
//! there and then; [`crate::repair_run::run`] begins none without it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use anyhow::bail;

use super::{Listener, Told};
use crate::clock::now_ms;
use crate::journal::{Journal, JournalEntry, JournalError};
use crate::pipeline::{Carried, Pipeline};
use crate::state_dir::{HealthOfTargets, StateDir, StateError};

/// Entries of the journal at most that wait to be written; later ones are lost, and counted.
const WAITING: usize = 1024;

/// A file that is written whole, in the order in which they are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Carried,
    Health,
    Baselines,
}

/// The writing end of a state directory.
pub(super) struct Written {
    pub(super) journal: Arc<Journal>,
    pub(super) dir: StateDir,
    /// The last command of the journal that the pipeline heard, by its number there.
    pub(super) commands_done: u64,
    /// Entries that could not be written, with their times, in their order.
    waiting: VecDeque<(u64, JournalEntry)>,
    /// Entries for which there was no room to wait, or that no journal takes.
    lost: u64,
    /// What could not be written when it last changed.
    due: BTreeSet<Due>,
    /// Whether a failure was told that is not over.
    ill: bool,
}

impl Written {
    pub(super) fn new(journal: Journal, dir: StateDir, commands_done: u64) -> Self {
        Self {
            journal: Arc::new(journal),
            dir,
            commands_done,
            waiting: VecDeque::new(),
            lost: 0,
            due: BTreeSet::new(),
            ill: false,
        }
    }

    /// Whether what is written stays: the state directory is where it was, and so is the journal. A loss
    /// is told once.
    pub(super) fn is_in_place(&mut self, tell: &mut Listener<'_>) -> bool {
        let lost = match self.dir.is_whole() {
            Err(error) => error.to_string(),
            Ok(()) if !self.journal.is_in_place() => {
                format!("{}: the journal was removed", self.dir.root().display())
            }
            Ok(()) => return true,
        };
        self.failed(&lost, tell);
        false
    }

    /// The state directory, made again after it vanished; none where that fails, or where the directory that
    /// stands there now holds another journal.
    pub(super) fn make_again(&self) -> Option<StateDir> {
        let root = self.dir.root();
        if self.dir.is_in_place().is_err() && Journal::stands_in(root) {
            return None;
        }
        StateDir::open(root).ok()
    }

    /// The last command that was heard, as whoever reads the journal again must know it.
    pub(super) fn commands_heard(&self) -> u64 {
        let is_same = self.dir.is_in_place().is_ok() && self.journal.is_in_place();
        if is_same { self.commands_done } else { 0 }
    }

    /// Adds an entry to the journal, now or when that works again.
    ///
    /// # Errors
    /// [`JournalError::Unusable`], when only a new start can write it again.
    pub(super) fn append(
        &mut self,
        at_ms: u64,
        entry: JournalEntry,
        tell: &mut Listener<'_>,
    ) -> Result<(), JournalError> {
        self.append_waiting(tell)?;
        if self.waiting.len() == WAITING {
            self.lost += 1;
            return Ok(());
        }
        self.waiting.push_back((at_ms, entry));
        self.append_waiting(tell)
    }

    /// Adds an entry to the journal before anything comes of it, and says its number; none when that does
    /// not work now.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub(super) fn append_now(
        &mut self,
        at_ms: u64,
        entry: &JournalEntry,
        tell: &mut Listener<'_>,
    ) -> Result<Option<u64>, JournalError> {
        self.append_waiting(tell)?;
        if !self.waiting.is_empty() {
            return Ok(None);
        }
        match self.journal.append(at_ms, entry) {
            Ok(seq) => Ok(Some(seq)),
            Err(error @ JournalError::Unusable { .. }) => Err(error),
            Err(error) => {
                self.failed(&error, tell);
                Ok(None)
            }
        }
    }

    fn append_waiting(&mut self, tell: &mut Listener<'_>) -> Result<(), JournalError> {
        while let Some((at_ms, entry)) = self.waiting.front() {
            match self.journal.append(*at_ms, entry) {
                Ok(_) => {}
                Err(error @ JournalError::Unusable { .. }) => return Err(error),
                // It never will be.
                Err(error @ JournalError::TooLong { .. }) => {
                    self.lost += 1;
                    tell(now_ms(), Told::Note("journal", &error.to_string()));
                }
                Err(error) => {
                    self.failed(&error, tell);
                    break;
                }
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    pub(super) fn save_carried(&mut self, carried: &Carried, tell: &mut Listener<'_>) {
        let saved = self.dir.save_carried(carried, self.commands_done);
        self.noted(Due::Carried, saved, tell);
    }

    pub(super) fn save_health(&mut self, health: &HealthOfTargets, tell: &mut Listener<'_>) {
        let saved = self.dir.save_health(health);
        self.noted(Due::Health, saved, tell);
    }

    /// Keeps what was learned to be normal.
    pub(super) fn save_baselines(&mut self, pipeline: &Pipeline, tell: &mut Listener<'_>) {
        let saved = self.dir.save_baselines(&pipeline.detectors());
        self.noted(Due::Baselines, saved, tell);
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub(super) fn retry(
        &mut self,
        pipeline: &Pipeline,
        health: &HealthOfTargets,
        tell: &mut Listener<'_>,
    ) -> Result<(), JournalError> {
        if !self.ill {
            return Ok(());
        }
        self.append_waiting(tell)?;
        for due in self.due.clone() {
            match due {
                Due::Carried => self.save_carried(&pipeline.carried(), tell),
                Due::Health => self.save_health(health, tell),
                Due::Baselines => self.save_baselines(pipeline, tell),
            }
        }
        if self.waiting.is_empty() && self.due.is_empty() {
            self.ill = false;
            let lost = std::mem::take(&mut self.lost);
            let text = match lost {
                0 => "written again; nothing is missing".to_owned(),
                lost => format!("written again; {lost} entries of the journal are lost"),
            };
            tell(now_ms(), Told::Note("state", &text));
        }
        Ok(())
    }

    /// The last word of a run: here a failure is one.
    ///
    /// # Errors
    /// When something cannot be kept for the next run.
    pub(super) fn finish(
        &mut self,
        pipeline: &Pipeline,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<()> {
        let appended = self.append_waiting(tell);
        let saved = self
            .dir
            .save_carried(&pipeline.carried(), self.commands_done);
        let missing = self.waiting.len() as u64 + self.lost;
        match (saved, missing) {
            (saved, 0) => saved?,
            (Ok(()), _) => bail!("{missing} entries of the journal could not be written"),
            (Err(error), _) => bail!("{error}, nor could {missing} entries of the journal"),
        }
        Ok(appended?)
    }

    /// Notes whether a file has to be written again.
    fn noted(&mut self, file: Due, saved: Result<(), StateError>, tell: &mut Listener<'_>) {
        match saved {
            Ok(()) => {
                self.due.remove(&file);
            }
            Err(error) => {
                self.due.insert(file);
                self.failed(&error, tell);
            }
        }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display, tell: &mut Listener<'_>) {
        if !self.ill {
            self.ill = true;
            let text = format!(
                "{error}; the watch goes on, and no repair begins that cannot be written down"
            );
            tell(now_ms(), Told::Note("state", &text));
        }
    }
}
