//! What dbmedic did and why, on disk, synced before each effect.
//!
//! JSON Lines, one entry a line, in the state directory and never beside the patient. An entry that
//! is half written (the process was killed) is cut off at the next start; damage anywhere else is
//! an error that names the line. Nothing is ever rewritten.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::{Candidate, Finding, Outcome};
use crate::pipeline::Effect;
use crate::state_dir::Word;

/// The version of the format that this dbmedic writes and reads.
const VERSION: u32 = 1;

/// The journal's file name in the state directory.
const FILE_NAME: &str = "journal.jsonl";

/// What can go wrong with the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file cannot be opened, read or written.
    #[error("journal {}: {source}", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another dbmedic works with this state directory.
    #[error(
        "journal {}: another dbmedic works with this state directory; stop it, or name another directory",
        path.display()
    )]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A line is not what it should be.
    #[error("journal {}, line {line}: {what}; move the file aside to start a new one", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
}

/// What stands in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalEntry {
    /// The pipeline wanted something done or told.
    Happened {
        /// What.
        effect: Effect,
    },
    /// A person said something.
    Said {
        /// What.
        word: Word,
    },
    /// A repair is about to begin. Enough to finish it or take it back after a crash.
    RepairIntended(Box<Intent>),
    /// A step of a repair is about to be taken.
    RepairStep {
        /// Which repair.
        repair_id: String,
        /// The incident it is for.
        incident: String,
        /// The step's name.
        step: String,
    },
    /// A repair is over.
    RepairClosed {
        /// Which repair.
        repair_id: String,
        /// How it ended.
        outcome: Outcome,
    },
}

/// A repair that is about to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Unique within the journal.
    pub repair_id: String,
    /// The target's name.
    pub target: String,
    /// The database file.
    pub path: PathBuf,
    /// Names of processes that the repair may end.
    pub may_end: Vec<String>,
    /// The problem.
    pub finding: Finding,
    /// The repair.
    pub candidate: Candidate,
    /// What it will do, step by step.
    pub plan: Vec<PlannedStep>,
}

/// A step of a repair, as it is shown beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Stable name.
    pub name: String,
    /// What it does, in one line.
    pub what: String,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// The format's version.
    pub v: u32,
    /// Counts from 1.
    pub seq: u64,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    pub entry: JournalEntry,
}

/// A repair that was begun and not closed.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRepair {
    /// What was intended.
    pub intent: Intent,
    /// The steps that were begun, in order.
    pub steps: Vec<String>,
}

/// The journal, open for this process alone.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    next_seq: u64,
    open: BTreeMap<String, OpenRepair>,
    appended: u64,
    kill_before: Option<u64>,
    kill_after: Option<u64>,
}

impl Journal {
    /// Opens the journal of a state directory, for this process alone, and makes it if there is none.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let path = state_dir.join(FILE_NAME);
        let io = |source| JournalError::Io {
            path: path.clone(),
            source,
        };
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(JournalError::InUse { path }),
            Err(std::fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        if is_new {
            File::open(state_dir)
                .and_then(|dir| dir.sync_all())
                .map_err(io)?;
        }
        let mut open = BTreeMap::new();
        let mut reader = Lines::new(&path, BufReader::new(&mut file));
        let mut next_seq = 1;
        for line in reader.by_ref() {
            let line = line?;
            next_seq = line.seq + 1;
            follow(&mut open, line.entry);
        }
        // What a killed process half wrote was never acted upon: the sync comes before the effect.
        let whole_bytes = reader.whole_bytes;
        if file.metadata().map_err(io)?.len() > whole_bytes {
            file.set_len(whole_bytes)
                .and_then(|()| file.sync_all())
                .map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let inner = Inner {
            file,
            next_seq,
            open,
            appended: 0,
            kill_before: None,
            kill_after: None,
        };
        Ok(Self {
            path,
            inner: Mutex::new(inner),
        })
    }

    /// Reads the journal of a state directory, line by line, beside whoever writes it.
    pub fn read(
        state_dir: &Path,
    ) -> Result<impl Iterator<Item = Result<JournalLine, JournalError>>, JournalError> {
        let path = state_dir.join(FILE_NAME);
        let file = File::open(&path).map_err(|source| JournalError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Lines::new(&path, BufReader::new(file)))
    }

    /// Adds an entry. When this returns, the entry is on disk.
    pub fn append(&self, at_ms: u64, entry: &JournalEntry) -> Result<(), JournalError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.appended += 1;
        if inner.kill_before == Some(inner.appended) {
            die();
        }
        let line = JournalLine {
            v: VERSION,
            seq: inner.next_seq,
            at_ms,
            entry: entry.clone(),
        };
        let written = serde_json::to_vec(&line)
            .map_err(std::io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                inner.file.write_all(&text)?;
                inner.file.sync_data()
            });
        written.map_err(|source| JournalError::Io {
            path: self.path.clone(),
            source,
        })?;
        inner.next_seq += 1;
        follow(&mut inner.open, line.entry);
        if inner.kill_after == Some(inner.appended) {
            die();
        }
        Ok(())
    }

    /// An identifier for a repair, not used before.
    pub fn new_repair_id(&self) -> String {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        format!("R-{}", inner.next_seq)
    }

    /// The repairs that were begun and not closed, oldest first.
    pub fn open_repairs(&self) -> Vec<OpenRepair> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.open.values().cloned().collect()
    }

    /// For the crash campaign: this very process ends with SIGKILL right before, or right after,
    /// the Nth entry that it appends.
    pub fn kill_at(&mut self, before: Option<u64>, after: Option<u64>) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.kill_before = before;
        inner.kill_after = after;
    }
}

/// Ends this process as a power cut would: nothing is flushed, nothing is cleaned up.
fn die() {
    let me = rustix::process::getpid();
    // Cannot fail for a living process and a valid signal.
    drop(rustix::process::kill_process(
        me,
        rustix::process::Signal::KILL,
    ));
}

/// Keeps the list of open repairs.
fn follow(open: &mut BTreeMap<String, OpenRepair>, entry: JournalEntry) {
    match entry {
        JournalEntry::RepairIntended(intent) => {
            let repair = OpenRepair {
                intent: *intent,
                steps: Vec::new(),
            };
            open.insert(repair.intent.repair_id.clone(), repair);
        }
        JournalEntry::RepairStep {
            repair_id, step, ..
        } => {
            if let Some(repair) = open.get_mut(&repair_id) {
                repair.steps.push(step);
            }
        }
        JournalEntry::RepairClosed { repair_id, .. } => {
            open.remove(&repair_id);
        }
        JournalEntry::Happened { .. } | JournalEntry::Said { .. } => {}
    }
}

/// The whole lines of a journal.
struct Lines<R> {
    path: PathBuf,
    input: R,
    line: u64,
    whole_bytes: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(path: &Path, input: R) -> Self {
        Self {
            path: path.to_owned(),
            input,
            line: 0,
            whole_bytes: 0,
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<JournalLine, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut text = Vec::new();
        self.line += 1;
        match self.input.read_until(b'\n', &mut text) {
            // A last line without its line feed is half written: not there yet, or never.
            Ok(_) if text.last() != Some(&b'\n') => None,
            Ok(read) => {
                self.whole_bytes += read as u64;
                let damaged = |what| JournalError::Damaged {
                    path: self.path.clone(),
                    line: self.line,
                    what,
                };
                Some(match serde_json::from_slice::<JournalLine>(&text) {
                    Ok(line) if line.v == VERSION => Ok(line),
                    Ok(line) => Err(damaged(format!(
                        "version {}, this dbmedic reads {VERSION}",
                        line.v
                    ))),
                    Err(error) => Err(damaged(error.to_string())),
                })
            }
            Err(source) => Some(Err(JournalError::Io {
                path: self.path.clone(),
                source,
            })),
        }
    }
}

#[cfg(test)]
mod tests;
