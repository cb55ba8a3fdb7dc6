//! What dbmedic did and why, on disk, synced before each effect.
//!
//! JSON Lines, one entry a line with its own checksum, in the state directory and never beside the
//! patient. An entry that is half written (the process was killed) is cut off at the next start:
//! it was never acted upon. Damage anywhere else is an error that names the line. Nothing is ever
//! rewritten, and reading takes the memory of one line.

mod lines;
mod summary;

use std::fs::{File, TryLockError};
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::command::{Asker, Command};
use crate::digest::hex;
use crate::escape::escaped_json;
use crate::model::Outcome;
use crate::own_dir::OwnDir;
use crate::path_trust::TrustError;
use crate::pipeline::Effect;
use crate::repair::Intent;

use lines::Lines;
use summary::Summary;

pub use summary::JournalledCommand;

/// The version of the format that this dbmedic writes and reads.
const VERSION: u32 = 1;

/// The journal's file name in the state directory.
const FILE_NAME: &str = "journal.jsonl";

/// Longest line that is written or read, bytes. A longer one is damage, not an entry.
const LONGEST_LINE: usize = 16 << 20;

/// What stands between an entry and its checksum.
const SUM_KEY: &[u8] = b",\"sum\":\"";

/// Hexadecimal digits of a line's checksum: the beginning of a SHA-256, enough to notice
/// damage; it keeps nobody from forging an entry.
const SUM_DIGITS: usize = 16;

/// Attempts to take the journal before it counts as another's.
const LOCK_ATTEMPTS: u32 = 20;

/// Between two of them.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// What can go wrong with the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The state directory is not to be believed.
    #[error("state directory: {0}")]
    StateDir(#[from] TrustError),
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
    /// An entry is longer than a line may be.
    #[error("journal {}: an entry of {bytes} bytes is longer than a line may be", path.display())]
    TooLong {
        /// The journal.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// An earlier write failed and could not be taken back: what stands in the file is not known.
    #[error("journal {}: an earlier write failed; mend the disk and start dbmedic anew", path.display())]
    Unusable {
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
#[allow(
    clippy::large_enum_variant,
    reason = "handled one at a time: a box would only move it"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalEntry {
    /// The pipeline wanted something done or told.
    Happened {
        /// What.
        effect: Effect,
    },
    /// A person gave a command.
    Said {
        /// What.
        #[serde(rename = "word")]
        command: Command,
        /// Who, when and why.
        #[serde(flatten)]
        asker: Asker,
    },
    /// A policy took a step of the gate, or was refused.
    Policy(crate::gate::GateRecord),
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
    /// The length of the file: what is whole and synced.
    bytes: u64,
    /// Whether a failed write could not be taken back.
    unusable: bool,
    next_seq: u64,
    summary: Summary,
    appended: u64,
    kill_before: Option<u64>,
    kill_after: Option<u64>,
}

impl Journal {
    /// Whether a dbmedic works with a state directory now; false also where that cannot be told.
    pub fn is_in_use(state_dir: &Path) -> bool {
        let file = OwnDir::existing(state_dir)
            .ok()
            .and_then(|dir| dir.open_file(FILE_NAME).ok());
        let lock = file.map(|file| file.try_lock_shared());
        matches!(lock, Some(Err(TryLockError::WouldBlock)))
    }

    /// Opens the journal of a state directory, for this process alone, and makes it if there is none.
    ///
    /// # Errors
    /// [`JournalError::InUse`] when another dbmedic has it; [`JournalError::Damaged`], with nothing
    /// changed, when a whole line is not what was written.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let path = state_dir.join(FILE_NAME);
        let io = |source| JournalError::Io {
            path: path.clone(),
            source,
        };
        let dir = OwnDir::open(state_dir)?;
        let mut file = dir.open_to_append(FILE_NAME).map_err(io)?;
        lock(&file, &path)?;
        // Also when the file was there: who made it may have been killed before this.
        dir.sync().map_err(io)?;
        let mut summary = Summary::default();
        let mut lines = Lines::new(&path, BufReader::new(&mut file));
        let mut next_seq = 1;
        for line in lines.by_ref() {
            let line = line?;
            next_seq = line.seq + 1;
            summary.follow(line.seq, line.entry);
        }
        // What a killed process half wrote was never acted upon: the sync comes before the effect.
        let bytes = lines.whole_bytes;
        if file.metadata().map_err(io)?.len() > bytes {
            file.set_len(bytes)
                .and_then(|()| file.sync_all())
                .map_err(io)?;
        }
        let inner = Inner {
            file,
            bytes,
            unusable: false,
            next_seq,
            summary,
            appended: 0,
            kill_before: None,
            kill_after: None,
        };
        Ok(Self {
            path,
            inner: Mutex::new(inner),
        })
    }

    /// Reads the journal of a state directory, line by line, beside whoever writes it. After an
    /// error there is nothing more.
    ///
    /// # Errors
    /// The file is not there or cannot be read.
    pub fn read(
        state_dir: &Path,
    ) -> Result<impl Iterator<Item = Result<JournalLine, JournalError>>, JournalError> {
        let path = state_dir.join(FILE_NAME);
        let dir = OwnDir::existing(state_dir)?;
        let file = dir
            .open_file(FILE_NAME)
            .map_err(|source| JournalError::Io {
                path: path.clone(),
                source,
            })?;
        Ok(Lines::new(&path, BufReader::new(file)))
    }

    /// Adds an entry, and says its number. When this returns, the entry is on disk; when it fails, the
    /// entry is not there, and what it announces must not be done.
    ///
    /// # Errors
    /// The entry could not be written or synced.
    pub fn append(&self, at_ms: u64, entry: &JournalEntry) -> Result<u64, JournalError> {
        let mut inner = self.lock();
        if inner.unusable {
            return Err(JournalError::Unusable {
                path: self.path.clone(),
            });
        }
        inner.appended += 1;
        if inner.kill_before == Some(inner.appended) {
            die();
        }
        let seq = inner.next_seq;
        let text = self.line(seq, at_ms, entry)?;
        if let Err(source) = inner.write(&text) {
            return Err(JournalError::Io {
                path: self.path.clone(),
                source,
            });
        }
        inner.next_seq += 1;
        inner.summary.follow(seq, entry.clone());
        if inner.kill_after == Some(inner.appended) {
            die();
        }
        Ok(seq)
    }

    /// An entry as it stands in the file.
    fn line(&self, seq: u64, at_ms: u64, entry: &JournalEntry) -> Result<Vec<u8>, JournalError> {
        #[derive(Serialize)]
        struct Line<'a> {
            v: u32,
            seq: u64,
            at_ms: u64,
            entry: &'a JournalEntry,
        }
        let line = Line {
            v: VERSION,
            seq,
            at_ms,
            entry,
        };
        let text = serde_json::to_string(&line).map_err(|error| JournalError::Io {
            path: self.path.clone(),
            source: error.into(),
        })?;
        // People read it with whatever is at hand.
        let mut text = escaped_json(&text).into_owned().into_bytes();
        // The closing brace comes after the checksum.
        text.pop();
        let sum = checksum(&text);
        text.extend_from_slice(SUM_KEY);
        text.extend_from_slice(sum.as_bytes());
        text.extend_from_slice(b"\"}\n");
        if text.len() > LONGEST_LINE {
            return Err(JournalError::TooLong {
                path: self.path.clone(),
                bytes: text.len(),
            });
        }
        Ok(text)
    }

    /// An identifier for a repair, not used before.
    pub fn new_repair_id(&self) -> String {
        format!("R-{}", self.lock().next_seq)
    }

    /// The repairs that were begun and not closed, oldest first.
    pub fn open_repairs(&self) -> Vec<OpenRepair> {
        self.lock().summary.open.values().cloned().collect()
    }

    /// Whether its file has a name still: what is added to one that was removed is lost.
    pub fn is_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let file = self.lock().file.metadata();
        file.is_ok_and(|file| file.nlink() > 0)
    }

    /// Whether a state directory holds a journal.
    pub fn stands_in(state_dir: &Path) -> bool {
        state_dir.join(FILE_NAME).symlink_metadata().is_ok()
    }

    /// The highest number of an incident that was opened; 0 before the first.
    pub fn last_incident(&self) -> u64 {
        self.lock().summary.last_incident
    }

    /// The commands that came after the one with this number, oldest first.
    pub fn commands_after(&self, seq: u64) -> Vec<JournalledCommand> {
        let inner = self.lock();
        let later = inner.summary.commands.iter().filter(|one| one.seq > seq);
        later.cloned().collect()
    }

    /// The number of the last command; 0 before the first.
    pub fn last_command(&self) -> u64 {
        self.lock().summary.commands.back().map_or(0, |one| one.seq)
    }

    /// Whether a command of this identifier stands in the journal.
    pub fn knows_command(&self, id: &str) -> bool {
        let inner = self.lock();
        let mut all = inner.summary.commands.iter();
        all.any(|one| one.request.asker.id.as_deref() == Some(id))
    }

    /// Takes room on the disk for what is appended next, bytes, so that what is begun can be brought
    /// to its end. Where the file system cannot, nothing is taken.
    ///
    /// # Errors
    /// When there is no room.
    pub fn reserve(&self, bytes: u64) -> Result<(), JournalError> {
        let inner = self.lock();
        let keep = FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| fallocate(&inner.file, keep, inner.bytes, bytes)) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(JournalError::Io {
                path: self.path.clone(),
                source: error.into(),
            }),
        }
    }

    /// For the crash campaign: this very process ends with SIGKILL right before, or right after,
    /// the Nth entry that it appends (and syncs), counted from 1.
    pub fn kill_at(&mut self, before: Option<u64>, after: Option<u64>) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.kill_before = before;
        inner.kill_after = after;
    }

    /// The state, even when a thread panicked while it held the lock: nothing in it is changed
    /// before the file is.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Writes a line and syncs it, or leaves the file as it was.
    fn write(&mut self, text: &[u8]) -> std::io::Result<()> {
        if let Err(error) = self.file.write_all(text) {
            // Half a line (the disk is full): what is appended next must not run into it.
            self.unusable = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync nobody knows what is on disk; a second sync would say yes to anything.
            self.unusable = true;
            return Err(error);
        }
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// Ends this process as a power cut would: nothing is flushed, nothing is cleaned up.
fn die() -> ! {
    let me = rustix::process::getpid();
    // Cannot fail for a living process and a valid signal; if it did, going on would be the lie.
    let killed = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
        debug_assert!(killed.is_ok(), "a process could not be killed: {killed:?}");
    }
}

fn checksum(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    hex(&digest[..SUM_DIGITS / 2])
}

/// Takes the journal for this process alone.
fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    for attempt in 0.. {
        match file.try_lock() {
            Ok(()) => break,
            // A child that was being started when the last holder let go holds the lock until it
            // runs its own program.
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(JournalError::Io {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
