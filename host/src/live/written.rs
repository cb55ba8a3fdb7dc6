//! What a live run writes into its state directory.
//!
//! A full disk must not end the watch in the very hour that it is needed: what cannot be written is
//! told once, kept in memory, and written when that works again. Only a repair needs the journal
//! there and then; [`crate::repair::run`] begins none without it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use anyhow::bail;

use super::{Listener, Told};
use crate::clock::now_ms;
use crate::health::Health;
use crate::journal::{Journal, JournalEntry, JournalError};
use crate::pipeline::{Carried, Pipeline};
use crate::state_dir::{StateDir, StateError};

/// Entries of the journal at most that wait to be written; later ones are lost, and counted.
const WAITING: usize = 1024;

/// The writing end of a state directory.
pub(super) struct Written {
    pub(super) journal: Arc<Journal>,
    pub(super) dir: StateDir,
    /// Entries that could not be written, with their times, in their order.
    waiting: VecDeque<(u64, JournalEntry)>,
    /// Entries for which there was no room to wait.
    lost: u64,
    /// Whether what is to be carried could not be written when it last changed.
    carried_due: bool,
    /// The same for how healthy the targets are.
    health_due: bool,
    /// Whether a failure was told that is not over.
    ill: bool,
}

impl Written {
    pub(super) fn new(journal: Journal, dir: StateDir) -> Self {
        Self {
            journal: Arc::new(journal),
            dir,
            waiting: VecDeque::new(),
            lost: 0,
            carried_due: false,
            health_due: false,
            ill: false,
        }
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
        if self.waiting.len() < WAITING {
            self.waiting.push_back((at_ms, entry));
        } else {
            self.lost += 1;
        }
        self.append_waiting(tell)
    }

    fn append_waiting(&mut self, tell: &mut Listener<'_>) -> Result<(), JournalError> {
        while let Some((at_ms, entry)) = self.waiting.front() {
            match self.journal.append(*at_ms, entry) {
                Ok(()) => {}
                Err(error @ JournalError::Unusable { .. }) => return Err(error),
                // It never will be.
                Err(error @ JournalError::TooLong { .. }) => {
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
        let saved = self.dir.save_carried(carried);
        self.carried_due = self.noted(saved, tell);
    }

    pub(super) fn save_health(
        &mut self,
        health: &BTreeMap<String, Health>,
        tell: &mut Listener<'_>,
    ) {
        let saved = self.dir.save_health(health);
        self.health_due = self.noted(saved, tell);
    }

    /// Keeps what was learned to be normal; what could not be kept is kept the next time.
    pub(super) fn save_baselines(&mut self, pipeline: &Pipeline, tell: &mut Listener<'_>) {
        let saved = self.dir.save_baselines(&pipeline.detectors());
        self.noted(saved, tell);
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub(super) fn retry(
        &mut self,
        pipeline: &Pipeline,
        health: &BTreeMap<String, Health>,
        tell: &mut Listener<'_>,
    ) -> Result<(), JournalError> {
        if !self.ill {
            return Ok(());
        }
        self.append_waiting(tell)?;
        if self.carried_due {
            self.save_carried(&pipeline.carried(), tell);
        }
        if self.health_due {
            self.save_health(health, tell);
        }
        if self.waiting.is_empty() && !self.carried_due && !self.health_due {
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
        self.append_waiting(tell)?;
        self.dir.save_carried(&pipeline.carried())?;
        self.dir.save_baselines(&pipeline.detectors())?;
        let missing = self.waiting.len() as u64 + self.lost;
        if missing > 0 {
            bail!("{missing} entries of the journal could not be written until the end");
        }
        Ok(())
    }

    /// Whether it has to be written again.
    fn noted(&mut self, saved: Result<(), StateError>, tell: &mut Listener<'_>) -> bool {
        match saved {
            Ok(()) => false,
            Err(error) => {
                self.failed(&error, tell);
                true
            }
        }
    }

    fn failed(&mut self, error: &dyn std::error::Error, tell: &mut Listener<'_>) {
        if !self.ill {
            self.ill = true;
            let text = format!("{error}; the watch goes on, no repair begins until this works");
            tell(now_ms(), Told::Note("state", &text));
        }
    }
}
