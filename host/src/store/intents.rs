//! Each repair that has begun also stands as a file, `intents/R-n.json`, until it is closed.
//!
//! Should the database be damaged or gone, these files say which targets a repair was at work on: what was done
//! to them is not known, and each is halted. A file names the database that its repair stands in, because that
//! one alone knows better.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::database::{damaged, io};
use crate::own_dir::OwnDir;
use crate::repair::Intent;

/// Their directory in the state directory.
const DIRECTORY: &str = "intents";

/// The largest such file that is read, bytes.
const LARGEST_BYTES: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct IntentFile<I> {
    /// The identifier of the database.
    state: String,
    intent: I,
}

/// The directory.
#[derive(Debug)]
pub(super) struct Intents {
    dir: OwnDir,
    state: String,
}

impl Intents {
    /// The files of a state directory whose database has this identifier.
    pub(super) fn of(state_dir: &OwnDir, state: String) -> Result<Self, StoreError> {
        let dir = state_dir.dir(DIRECTORY)?;
        Ok(Self { dir, state })
    }

    /// Writes one. When this returns, it is on disk.
    pub(super) fn write(&self, intent: &Intent) -> Result<(), StoreError> {
        let name = file_name(&intent.repair_id);
        let file = IntentFile {
            state: self.state.clone(),
            intent,
        };
        let failed = io(&self.dir.path_of(&name));
        let bytes = serde_json::to_vec(&file).map_err(|error| failed(error.into()))?;
        self.dir.write_whole(&name, &bytes).map_err(failed)
    }

    /// Removes one, if it is there.
    pub(super) fn remove(&self, repair_id: &str) -> Result<(), StoreError> {
        let name = file_name(repair_id);
        let removed = self.dir.remove_if_there(&name);
        removed
            .and_then(|()| self.dir.sync())
            .map_err(io(&self.dir.path_of(&name)))
    }

    /// Those of other databases. Those of this one that it does not call open are removed, and those that are
    /// missing of its open repairs are written.
    pub(super) fn lost(&self, open: &[&Intent]) -> Result<Vec<Intent>, StoreError> {
        let mut lost = Vec::new();
        for name in self.dir.names().map_err(io(self.dir.path()))? {
            if !has_extension(&name, "json") {
                continue;
            }
            let path = self.dir.path_of(&name);
            let Some(bytes) = self.dir.read(&name, LARGEST_BYTES).map_err(io(&path))? else {
                continue;
            };
            let file: IntentFile<Intent> = serde_json::from_slice(&bytes)
                .map_err(|error| damaged(&path, &format!("not readable: {error}")))?;
            if file.state != self.state {
                lost.push(file.intent);
            } else if open.iter().all(|one| file_name(&one.repair_id) != name) {
                self.dir.remove_if_there(&name).map_err(io(&path))?;
            }
        }
        for intent in open {
            let name = file_name(&intent.repair_id);
            if self
                .dir
                .about(&name)
                .map_err(io(&self.dir.path_of(&name)))?
                .is_none()
            {
                self.write(intent)?;
            }
        }
        Ok(lost)
    }

    /// Keeps one of another database as it is, and counts it no more.
    pub(super) fn settle(&self, repair_id: &str) -> Result<(), StoreError> {
        let name = file_name(repair_id);
        let renamed = self.dir.rename(&name, format!("{name}.halted"));
        renamed
            .and_then(|()| self.dir.sync())
            .map_err(io(&self.dir.path_of(&name)))
    }
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
