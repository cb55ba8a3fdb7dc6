//! Each repair that has begun also stands as a file, `intents/R-n.json`, with the steps that were begun, until it is
//! closed.
//!
//! A file is written before what it tells is committed, and removed after the repair's end is. So it knows at least as
//! much as the database, and where it knows more, the end of the log was lost: SQLite takes a log whose end is damaged
//! or gone for an older state that is whole. Then the file counts. A repair that the database calls open and that has
//! no file had ended: what came after that is lost.
//!
//! Should the database be gone, these files say which targets a repair was at work on: what was done to them is not
//! known, and each is halted. A file names the database that its repair stands in, because that one alone knows better.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::database::io;
use super::write::{For, Inner};
use super::{JournalEntry, Kept, OpenRepair, Row, StoreError, reader};
use crate::clock::now_ms;
use crate::model::{DataLoss, Outcome, OutcomeResult};
use crate::own_dir::OwnDir;
use crate::repair::Intent;

/// Their directory in the state directory.
pub(super) const DIRECTORY: &str = "intents";

/// The largest such file that is read, bytes.
const LARGEST_BYTES: u64 = 16 << 20;

/// Stands where a file belongs to no database any more.
const NO_STATE: &str = "";

#[derive(Serialize, Deserialize)]
struct IntentFile<I, S> {
    /// The identifier of the database.
    state: String,
    /// The steps that were begun.
    steps: S,
    intent: I,
}

type Read = IntentFile<Intent, Vec<String>>;

/// The directory.
#[derive(Debug)]
pub(super) struct Intents {
    dir: OwnDir,
    state: String,
}

/// What the files came to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Repairs of which nobody knows what they did.
    pub(super) lost: Vec<Intent>,
    /// What a person must hear.
    pub(super) notes: Vec<String>,
}

impl Intents {
    /// The files of a state directory whose database has this identifier.
    pub(super) fn of(state_dir: &OwnDir, state: String) -> Result<Self, StoreError> {
        let dir = state_dir.dir(DIRECTORY)?;
        Ok(Self { dir, state })
    }

    /// The identifier of the database.
    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// Writes one, with the steps that were begun. When this returns, it is on disk.
    pub(super) fn write(&self, intent: &Intent, steps: &[String]) -> Result<(), StoreError> {
        self.write_of(&self.state, intent, steps)
    }

    fn write_of(&self, state: &str, intent: &Intent, steps: &[String]) -> Result<(), StoreError> {
        let name = file_name(&intent.repair_id);
        let file = IntentFile {
            state: state.to_owned(),
            steps,
            intent,
        };
        let failed = io(&self.dir.path_of(&name));
        let bytes = serde_json::to_vec(&file).map_err(|error| failed(error.into()))?;
        self.dir.write_whole(&name, &bytes).map_err(failed)
    }

    /// Removes one, if it is there.
    pub(super) fn remove(&self, repair_id: &str) -> Result<(), StoreError> {
        self.remove_name(&file_name(repair_id))
    }

    fn remove_name(&self, name: &str) -> Result<(), StoreError> {
        let removed = self.dir.remove_if_there(name);
        removed
            .and_then(|()| self.dir.sync())
            .map_err(io(&self.dir.path_of(name)))
    }

    /// Keeps one of another database as it is, and counts it no more.
    pub(super) fn settle(&self, repair_id: &str) -> Result<(), StoreError> {
        let name = file_name(repair_id);
        let renamed = self.dir.rename(&name, format!("{name}.halted"));
        renamed
            .and_then(|()| self.dir.sync())
            .map_err(io(&self.dir.path_of(&name)))
    }

    fn read(&self, name: &str) -> Result<Read, String> {
        let bytes = self.dir.read(name, LARGEST_BYTES);
        let bytes = bytes.map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or("it is gone")?;
        let file: Read = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if file_name(&file.intent.repair_id) != name {
            return Err("it is of another repair".to_owned());
        }
        Ok(file)
    }

    /// Brings files and database in agreement at the start.
    pub(super) fn agree(&self, inner: &mut Inner) -> Result<Settled, StoreError> {
        let mut settled = Settled::default();
        let mut open = reader::open_repairs(&inner.db, &inner.path)?;
        let mut names = self.dir.names().map_err(io(self.dir.path()))?;
        names.retain(|name| has_extension(name, "json"));
        names.sort();
        for name in names {
            let known = open.iter().position(|one| is_named(&one.intent, &name));
            let known = known.map(|at| open.swap_remove(at));
            match (self.read(&name), known) {
                (Ok(file), known) if file.state == self.state => {
                    self.catch_up(inner, file, known, &mut settled)?;
                }
                (Ok(file), known) => {
                    settled.lost.push(file.intent);
                    // It was cut off while it was given up.
                    if let Some(known) = known {
                        close(inner, &known)?;
                    }
                }
                (Err(_), Some(OpenRepair { intent, steps })) => {
                    inner.with_room(|_| self.write(&intent, &steps))?;
                }
                (Err(why), None) => self.unreadable(inner, &name, &why, &mut settled)?,
            }
        }
        for known in open {
            inner.with_room(|_| self.write_of(NO_STATE, &known.intent, &known.steps))?;
            close(inner, &known)?;
            settled.lost.push(known.intent);
        }
        for OpenRepair { intent, steps } in reader::open_repairs(&inner.db, &inner.path)? {
            inner.open.insert(intent.repair_id, steps);
        }
        Ok(settled)
    }

    /// Has the database know what a file of its own knows.
    fn catch_up(
        &self,
        inner: &mut Inner,
        file: Read,
        known: Option<OpenRepair>,
        settled: &mut Settled,
    ) -> Result<(), StoreError> {
        let IntentFile { steps, intent, .. } = file;
        let (id, at_ms) = (intent.repair_id.clone(), now_ms());
        let mut entries = Vec::new();
        let known_steps = match known {
            Some(known) => known.steps.len(),
            // Closed, or cut off before it was written down: before its first step nothing is done.
            None if steps.is_empty() || reader::knows_repair(&inner.db, &inner.path, &id)? => {
                return self.remove(&id);
            }
            None => {
                settled.notes.push(format!(
                    "the end of the journal is lost: {} ({id}) of {} was under way, and is known from its file; \
                     what people said and what was found last may be lost as well",
                    intent.candidate.id, intent.target
                ));
                let entry = JournalEntry::RepairIntended(Box::new(intent.clone()));
                entries.push(Row::of(at_ms, &entry)?);
                0
            }
        };
        for step in steps.into_iter().skip(known_steps) {
            let entry = JournalEntry::RepairStep {
                repair_id: id.clone(),
                incident: intent.finding.incident.clone(),
                step,
            };
            entries.push(Row::of(at_ms, &entry)?);
        }
        let kept = Kept {
            entries,
            ..Kept::default()
        };
        inner.keep(&kept, For::Repair).map(drop)
    }

    /// One that nobody can read, of a repair that is not open: the database knows that it is closed, or a person must
    /// hear of it.
    fn unreadable(
        &self,
        inner: &mut Inner,
        name: &str,
        why: &str,
        settled: &mut Settled,
    ) -> Result<(), StoreError> {
        let id = name.trim_end_matches(".json");
        if reader::knows_repair(&inner.db, &inner.path, id)? {
            return self.remove_name(name);
        }
        let aside = format!("{name}.unreadable");
        let renamed = self.dir.rename(name, &aside);
        if let Err(error) = renamed.and_then(|()| self.dir.sync()) {
            tracing::warn!("{}: {error}", self.dir.path_of(name).display());
        }
        settled.notes.push(format!(
            "{}: a repair may have been under way whose file cannot be read ({why}): which database it was at work \
             on is not known; look at each that was repaired last",
            self.dir.path_of(aside).display()
        ));
        Ok(())
    }
}

/// Closes a repair of which nobody knows what it did.
fn close(inner: &mut Inner, repair: &OpenRepair) -> Result<(), StoreError> {
    let OpenRepair { intent, steps } = repair;
    let outcome = Outcome {
        incident: intent.finding.incident.clone(),
        kind: intent.finding.kind.clone(),
        subject: intent.finding.subject.clone(),
        repair: intent.candidate.id.clone(),
        outcome_result: OutcomeResult::Failed,
        reason: "the end of the journal is lost: what it did is not known".to_owned(),
        duration_ms: 0,
        loss: DataLoss::NONE,
        notes: vec![format!("steps that were begun: {}", steps.join(", "))],
    };
    let entry = JournalEntry::RepairClosed {
        repair_id: intent.repair_id.clone(),
        outcome,
        interrupted: false,
    };
    let kept = Kept {
        entries: vec![Row::of(now_ms(), &entry)?],
        ..Kept::default()
    };
    inner.keep(&kept, For::Repair).map(drop)
}

fn is_named(intent: &Intent, name: &str) -> bool {
    file_name(&intent.repair_id) == name
}

pub(super) fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

/// The file of a repair. Whatever the identifier holds, the name is one of a file.
fn file_name(repair_id: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = repair_id.chars().take(64).map(plain).collect();
    format!("{name}.json")
}
