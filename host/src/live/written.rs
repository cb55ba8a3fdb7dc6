//! What a live run writes into its state directory.
//!
//! A full disk must not end the watch in the very hour that it is needed: what cannot be written is
//! told once, kept in memory, and written when that works again. Only a repair needs the store there
//! and then; [`crate::repair_run::run`] begins none without it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::bail;

use super::{Listener, STATE, Told};
use crate::clock::now_ms;
use crate::gate::Service;
use crate::pipeline::{Carried, Pipeline};
use crate::repair::Intent;
use crate::state_dir::{HealthOfTargets, StateDir, StateError};
use crate::store::{JournalEntry, Kept, Row, Store, StoreError};

/// Entries of the journal at most that wait to be written; later ones are lost, and counted.
const WAITING: usize = 1024;

/// A file that is written whole, in the order in which they are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Health,
    Baselines,
}

/// What one step must keep, of all that stands in the store.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Entries of the journal, with their times.
    pub(super) entries: Vec<(u64, JournalEntry)>,
    /// The command, or the end of a repair, that was heard, by its number in the journal.
    pub(super) heard: Option<u64>,
    /// What the next run must know, where that is new.
    pub(super) carried: Option<Carried>,
    /// Which policies are in service, where that is new.
    pub(super) services: Option<BTreeMap<String, Service>>,
}

/// The writing end of a state directory.
pub(super) struct Written {
    pub(super) store: Arc<Store>,
    pub(super) dir: StateDir,
    /// What could not be written: all of it, or nothing, will be.
    waiting: Kept,
    /// Entries for which there was no room to wait, or that are too long.
    lost: u64,
    /// What could not be written when it last changed.
    due: BTreeSet<Due>,
    /// Whether a failure was told that is not over.
    ill: bool,
}

impl Written {
    pub(super) fn new(store: Store, dir: StateDir) -> Self {
        Self {
            store: Arc::new(store),
            dir,
            waiting: Kept::default(),
            lost: 0,
            due: BTreeSet::new(),
            ill: false,
        }
    }

    /// Whether what is written stays: the state directory is where it was, and so is the store. A loss
    /// is told once.
    pub(super) fn is_in_place(&mut self, tell: &mut Listener<'_>) -> bool {
        let lost = match self.dir.is_in_place() {
            Err(error) => error.to_string(),
            Ok(()) if !self.store.is_in_place() => {
                format!("{}: the state was removed", self.dir.root().display())
            }
            Ok(()) => return true,
        };
        self.failed(&lost, tell);
        false
    }

    /// Makes the state directory again after it vanished, with what is known in it.
    ///
    /// # Errors
    /// It cannot be made now, or holds another state: it is tried again.
    pub(super) fn make_again(&self, pipeline: &Pipeline) -> anyhow::Result<()> {
        let again = StateDir::open(self.dir.root())?;
        // The store comes last: where it stands, all of it does.
        again.save_baselines(&pipeline.detectors())?;
        Ok(self.store.make_again(&pipeline.carried())?)
    }

    /// Writes down that a repair begins, and all that waits to be written with it.
    ///
    /// # Errors
    /// It cannot be written down now: it must not begin.
    pub(super) fn begin_repair(
        &mut self,
        at_ms: u64,
        intent: &Intent,
        carried: Carried,
    ) -> Result<(), StoreError> {
        let kept = Kept {
            carried: Some(carried),
            ..self.waiting.clone()
        };
        self.store.begin_repair_with(at_ms, intent, kept)?;
        self.waiting = Kept::default();
        Ok(())
    }

    /// Keeps what a step must keep, in one transaction, now or when that works again.
    pub(super) fn keep(&mut self, step: Step, tell: &mut Listener<'_>) {
        for (at_ms, entry) in step.entries {
            let row = Row::of(at_ms, &entry).map_err(|error| error.to_string());
            match row {
                Ok(row) if self.waiting.entries.len() < WAITING => self.waiting.entries.push(row),
                Ok(_) => self.lost += 1,
                // It never will be written.
                Err(error) => {
                    self.lost += 1;
                    tell(now_ms(), Told::Note("journal", &error));
                }
            }
        }
        self.waiting.heard.extend(step.heard);
        self.waiting.carried = step.carried.or(self.waiting.carried.take());
        self.waiting.services = step.services.or(self.waiting.services.take());
        self.write(tell);
    }

    /// Whether all that was to be kept is in the store.
    pub(super) fn is_up_to_date(&self) -> bool {
        let waiting = &self.waiting;
        waiting.entries.is_empty()
            && waiting.heard.is_empty()
            && waiting.carried.is_none()
            && waiting.services.is_none()
    }

    /// Writes what waits for the store; says whether nothing does any more.
    fn write(&mut self, tell: &mut Listener<'_>) -> bool {
        match self.store.keep(&self.waiting) {
            Ok(()) => {
                self.waiting = Kept::default();
                true
            }
            Err(error) => {
                self.failed(&error, tell);
                false
            }
        }
    }

    /// Writes a command down before anything comes of it, and says its number.
    ///
    /// # Errors
    /// It cannot be written down now.
    pub(super) fn write_down(
        &mut self,
        at_ms: u64,
        command: &JournalEntry,
        tell: &mut Listener<'_>,
    ) -> Result<u64, StoreError> {
        // In the order in which it happened.
        let before = self.store.keep(&self.waiting);
        let appended = before.and_then(|()| {
            self.waiting = Kept::default();
            self.store.append(at_ms, command)
        });
        appended.inspect_err(|error| self.failed(error, tell))
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
    pub(super) fn retry(
        &mut self,
        pipeline: &Pipeline,
        health: &HealthOfTargets,
        tell: &mut Listener<'_>,
    ) {
        if !self.ill || !self.is_in_place(tell) {
            return;
        }
        let is_written = self.write(tell);
        for due in self.due.clone() {
            match due {
                Due::Health => self.save_health(health, tell),
                Due::Baselines => self.save_baselines(pipeline, tell),
            }
        }
        if is_written && self.due.is_empty() {
            self.ill = false;
            let lost = std::mem::take(&mut self.lost);
            let text = match lost {
                0 => "written again; nothing is missing".to_owned(),
                lost => format!("written again; {lost} entries of the journal are lost"),
            };
            tell(now_ms(), Told::Note(STATE, &text));
        }
    }

    /// The last word of a run: here a failure is one.
    ///
    /// # Errors
    /// When something cannot be kept for the next run.
    pub(super) fn finish(&mut self, pipeline: &Pipeline) -> anyhow::Result<()> {
        self.waiting.carried = Some(pipeline.carried());
        let kept = self.store.keep(&self.waiting);
        let waiting = if kept.is_ok() {
            0
        } else {
            self.waiting.entries.len()
        };
        let missing = waiting as u64 + self.lost;
        match (kept, missing) {
            (kept, 0) => Ok(kept?),
            (Ok(()), _) => bail!("{missing} entries of the journal could not be written"),
            (Err(error), _) => bail!("{error}; {missing} entries of the journal are missing"),
        }
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
            tell(now_ms(), Told::Note(STATE, &text));
        }
    }
}
