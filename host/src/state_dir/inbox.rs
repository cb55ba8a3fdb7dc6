//! Commands that wait in the state directory for a dbmedic that runs: a file each.

use std::path::Path;

use super::{StateDir, StateError, VERSION, Versioned, has_extension, io, parse};
use crate::command::Request;
use crate::own_dir::OwnDir;

/// The largest command, bytes.
const LARGEST_BYTES: u64 = 1 << 20;

/// Commands that are taken up at a time; more wait for the next look.
const AT_ONCE: usize = 64;

/// A command that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The name of its file.
    pub file: String,
    /// The command.
    pub request: Request,
}

impl StateDir {
    /// Leaves a command for a dbmedic that runs, or that will.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn leave_command(&self, request: &Request) -> Result<(), StateError> {
        let said_ms = request.asker.said.as_ref().map_or(0, |said| said.wall_ms);
        let id = request.asker.id.as_deref().unwrap_or("0");
        // Sorted by name, they are in the order in which they were given.
        let name = format!("{said_ms:015}-{id}.json");
        let path = self.inbox.path_of(&name);
        let file = Versioned {
            v: VERSION,
            content: request,
        };
        let bytes = serde_json::to_vec(&file).map_err(|e| io(&path)(e.into()))?;
        self.inbox.write_whole(&name, &bytes).map_err(io(&path))
    }

    /// The commands that wait, in the order in which they were given. Each stays until it is removed.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file that is no command cannot be removed.
    pub fn waiting_commands(&self) -> Result<Vec<Waiting>, StateError> {
        self.inbox.is_in_place().map_err(io(self.inbox.path()))?;
        let mut waiting = Vec::new();
        for (file, read) in waiting_in(&self.inbox)? {
            match read {
                Ok(request) => waiting.push(Waiting { file, request }),
                // What cannot be read is nobody's command; the watch goes on.
                Err(error) => {
                    tracing::warn!("{error}");
                    self.remove_command(&file)?;
                }
            }
        }
        Ok(waiting)
    }

    /// The same of a state directory in which nothing is to be made or removed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn read_waiting(root: &Path) -> Result<Vec<Request>, StateError> {
        let Some(inbox) = OwnDir::existing(root)?.dir_if_there("inbox")? else {
            return Ok(Vec::new());
        };
        let all = waiting_in(&inbox)?.into_iter();
        Ok(all.filter_map(|(_, read)| read.ok()).collect())
    }

    /// Removes a command that is in the journal, or that is not acted on.
    ///
    /// # Errors
    /// When that fails.
    pub fn remove_command(&self, file: &str) -> Result<(), StateError> {
        let removed = self.inbox.remove_if_there(file);
        removed.map_err(io(&self.inbox.path_of(file)))
    }
}

/// A file that waits, with what is in it.
type Read = (String, Result<Request, StateError>);

fn waiting_in(inbox: &OwnDir) -> Result<Vec<Read>, StateError> {
    let mut names = inbox.names().map_err(io(inbox.path()))?;
    names.retain(|name| has_extension(name, "json"));
    names.sort();
    names.truncate(AT_ONCE);
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let path = inbox.path_of(&name);
        let read = match inbox.read(&name, LARGEST_BYTES) {
            Ok(Some(bytes)) => parse::<Request>(&path, &bytes),
            Ok(None) => continue,
            Err(error) => Err(io(&path)(error)),
        };
        all.push((name, read));
    }
    Ok(all)
}
