//! Writes the log: one chain of lines through files that are closed when they are full, compressed,
//! and make way for newer ones when together they are too large.
//!
//! What makes way is announced in the chain first. Crises never make way: they move into a file of
//! their own. Every step can be cut short by a kill; the next start goes on from there.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::DecisionLogError;
use super::files::{self, LogFile, SyncedTo};
use super::line::{self, Begin, Kind, Lost, PolicyLine, Sum};
use super::making_way::{self, Room};
use super::mend::mend;

/// A decision as text, ready to be written.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) crisis: bool,
    pub(super) policy: PolicyLine,
    /// [`line::Decided`] as JSON.
    pub(super) decided: Vec<u8>,
    /// When it was made, milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
}

/// The writer of a log, alone with it.
pub(super) struct Writer {
    dir: PathBuf,
    room: Room,
    begin: Begin,
    file: File,
    number: u64,
    bytes: u64,
    /// The number of the next line.
    next: u64,
    prev: Sum,
    /// Component and settings that were told in this file.
    told: BTreeSet<(String, String)>,
    lost: Lost,
    _lock: File,
}

impl Writer {
    /// Opens the log of a directory and makes it if there is none. `begin` tells of the run; what
    /// was dropped is filled in. `notes` hears what was mended.
    pub(super) fn open(
        dir: &Path,
        room: Room,
        mut begin: Begin,
        notes: &mut Vec<String>,
    ) -> Result<Self, DecisionLogError> {
        let failed = |source| DecisionLogError::Io {
            path: dir.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        let lock = files::create(&dir.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DecisionLogError::InUse {
                    path: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let end = mend(dir, notes).map_err(failed)?;
        begin.dropped = end.dropped.clone();
        let mut writer = Self {
            dir: dir.to_owned(),
            room,
            begin,
            file: end.file,
            number: end.number,
            bytes: end.bytes,
            next: end.next,
            prev: end.prev,
            told: BTreeSet::new(),
            lost: nothing_lost(),
            _lock: lock,
        };
        making_way::finish(dir, writer.number, &end.dropped).map_err(failed)?;
        writer.write_begin().map_err(failed)?;
        writer.sync().map_err(failed)?;
        Ok(writer)
    }

    /// Writes a decision. A crisis is on disk when this returns.
    pub(super) fn append(&mut self, item: &Item) -> io::Result<()> {
        if self.bytes >= self.room.file_bytes {
            self.rotate(item.at_ms)?;
        }
        if self.lost.decisions > 0 {
            let lost = serde_json::to_vec(&self.lost)?;
            self.line(false, Kind::Lost, &lost)?;
            self.lost = nothing_lost();
        }
        let policy = (item.policy.digest.clone(), item.policy.settings.clone());
        if !self.told.contains(&policy) {
            let told = serde_json::to_vec(&item.policy)?;
            self.line(false, Kind::Policy, &told)?;
            self.told.insert(policy);
        }
        self.line(item.crisis, Kind::Decided, &item.decided)?;
        if item.crisis {
            self.sync()?;
        }
        Ok(())
    }

    /// Counts decisions that could not be written; the log tells of them as soon as it can.
    pub(super) fn count_lost(&mut self, decisions: u64, crises: u64, why: String) {
        self.lost.decisions += decisions;
        self.lost.crises += crises;
        self.lost.why = why;
    }

    /// Brings everything to disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.next > 1 {
            SyncedTo {
                v: line::VERSION,
                n: self.next - 1,
                sum: self.prev.hex(),
            }
            .save(&self.dir)?;
        }
        Ok(())
    }

    /// The last word: what was lost, and all of it on disk.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.lost.decisions > 0 {
            let lost = serde_json::to_vec(&self.lost)?;
            self.line(false, Kind::Lost, &lost)?;
            self.lost = nothing_lost();
        }
        self.sync()
    }

    fn write_begin(&mut self) -> io::Result<()> {
        let begin = serde_json::to_vec(&self.begin)?;
        self.line(false, Kind::Begin, &begin)
    }

    /// A line; when it cannot be written whole, nothing of it stays.
    fn line(&mut self, crisis: bool, kind: Kind, value: &[u8]) -> io::Result<()> {
        let text = line::write(self.next, self.prev, crisis, kind, value);
        if let Err(error) = self.file.write_all(&text) {
            self.file.set_len(self.bytes)?;
            io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.bytes))?;
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.next += 1;
        self.prev = Sum::of(&text[..text.len() - 1]);
        Ok(())
    }

    /// Closes the file, makes room, and begins the next one.
    fn rotate(&mut self, at_ms: u64) -> io::Result<()> {
        self.sync()?;
        let next = LogFile::plain(&self.dir, self.number + 1);
        self.file = files::create(&next.path)?;
        // From here on the chain goes on in the new file, whatever fails.
        self.number += 1;
        self.bytes = 0;
        self.told.clear();
        self.begin.at_ms = at_ms;
        let dropped = making_way::compress_closed(&self.dir, self.number)
            .and_then(|()| making_way::plan(&self.dir, self.room, &self.begin.dropped));
        match dropped {
            Ok(dropped) => self.begin.dropped = dropped.unwrap_or(self.begin.dropped.clone()),
            Err(error) => tracing::warn!("no room can be made in the decision log: {error}"),
        }
        self.write_begin()?;
        self.sync()?;
        files::sync_dir(&self.dir)?;
        if let Err(error) = making_way::finish(&self.dir, self.number, &self.begin.dropped) {
            tracing::warn!("what made way in the decision log is still there: {error}");
        }
        Ok(())
    }
}

fn nothing_lost() -> Lost {
    Lost {
        decisions: 0,
        crises: 0,
        why: String::new(),
    }
}
