//! Writes the log: one chain of lines through files that are closed when they are full, compressed,
//! and make way for newer ones when together they are too large.
//!
//! What makes way is announced in the chain first. Crises never make way: they move into a file of
//! their own. Every step can be cut short by a kill; the next start goes on from there. Every step can
//! fail, on a full disk first of all; the next decision, or the next file, tries it again.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::DecisionLogError;
use super::files::{self, LogFile, SyncedTo};
use super::line::{self, Begin, Dropped, Kind, Losses, Lost, PolicyLine, Sum};
use super::making_way::{self, Room};
use super::mend::mend;
use crate::own_dir::OwnDir;

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
    /// Whether the run and what made way were told since the run or the file began.
    begun: bool,
    /// What the beginning of this file is going to announce; none before it was thought of.
    to_announce: Option<Dropped>,
    /// Whether more may stand in the file than `bytes`, of a line that failed.
    torn: bool,
    /// Whether the latest attempt to say how far the log is synced failed: told once.
    head_failed: bool,
    lost: Lost,
    _lock: File,
}

impl Writer {
    /// Opens the log of a directory and makes it if there is none. `begin` tells of the run; what
    /// was dropped is filled in. `notes` hears what was mended, and what cannot be written yet.
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
        let own = OwnDir::open(dir)?;
        // Not made anew: whoever has it locked it by this very file.
        let lock = own.open_or_create("lock").map_err(failed)?;
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
            begun: false,
            to_announce: Some(end.dropped),
            torn: false,
            head_failed: false,
            lost: end.lost,
            _lock: lock,
        };
        let at_ms = writer.begin.at_ms;
        // A disk that is full must not keep dbmedic from its patient: the first decision tries again.
        if let Err(error) = writer.ready(at_ms).and_then(|()| writer.sync()) {
            notes.push(format!("it cannot be written yet: {error}"));
        }
        Ok(writer)
    }

    /// Writes a decision. It is on disk after [`Writer::sync`].
    pub(super) fn append(&mut self, item: &Item) -> io::Result<()> {
        if self.bytes >= self.room.file_bytes {
            self.next_file()?;
        }
        self.ready(item.at_ms)?;
        let policy = (item.policy.digest.clone(), item.policy.settings.clone());
        if !self.told.contains(&policy) {
            let told = serde_json::to_vec(&item.policy)?;
            self.line(false, Kind::Policy, &told)?;
            self.told.insert(policy);
        }
        self.line(item.crisis, Kind::Decided, &item.decided)
    }

    /// Counts decisions that could not be written; the log tells of them as soon as it can.
    pub(super) fn count_lost(&mut self, decisions: u64, crises: u64, why: String) {
        self.lost.losses.add(Losses {
            decisions,
            crises,
            gone: 0,
        });
        self.lost.why = why;
    }

    /// What was lost and does not stand in the log yet.
    pub(super) fn untold(&self) -> Losses {
        self.lost.losses
    }

    /// Brings everything to disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.next == 1 {
            return Ok(());
        }
        let synced = SyncedTo {
            v: line::VERSION,
            n: self.next - 1,
            sum: self.prev.hex(),
        };
        // The lines are on disk whatever becomes of this: an older one is true as well.
        match synced.save(&self.dir) {
            Ok(()) => self.head_failed = false,
            Err(error) if !self.head_failed => {
                self.head_failed = true;
                tracing::warn!(
                    "how far the decision log is synced cannot be written, so that a missing end \
                     may not be noticed: {error}"
                );
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// The last word: what was lost, and all of it on disk.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if !self.lost.losses.is_none() {
            self.ready(self.begin.at_ms)?;
        }
        self.sync()
    }

    /// A line; when it cannot be written whole, nothing of it stays.
    fn line(&mut self, crisis: bool, kind: Kind, value: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.bytes)?;
            self.torn = false;
        }
        let text = line::write(self.next, self.prev, crisis, kind, value);
        if let Err(error) = self.file.write_all_at(&text, self.bytes) {
            self.torn = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.next += 1;
        self.prev = Sum::of(&text[..text.len() - 1]);
        Ok(())
    }

    /// Closes the file; the chain goes on in the next one.
    fn next_file(&mut self) -> io::Result<()> {
        self.sync()?;
        let next = LogFile::plain(&self.dir, self.number + 1);
        self.file = files::create(&next.path)?;
        self.number += 1;
        self.bytes = 0;
        self.torn = false;
        self.begun = false;
        self.told.clear();
        Ok(())
    }

    /// Writes what has to stand before the next decision: how the file begins, and what was lost.
    fn ready(&mut self, at_ms: u64) -> io::Result<()> {
        if !self.begun {
            self.begin_file(at_ms)?;
        }
        if !self.lost.losses.is_none() {
            let lost = serde_json::to_vec(&self.lost)?;
            self.line(false, Kind::Lost, &lost)?;
            self.lost = Lost::default();
        }
        Ok(())
    }

    /// Makes room, and begins the file with what made way. Can fail and be called again.
    fn begin_file(&mut self, at_ms: u64) -> io::Result<()> {
        let dropped = match self.to_announce.take() {
            Some(dropped) => dropped,
            None => self.make_room(),
        };
        self.begin.at_ms = at_ms;
        let begin = Begin {
            dropped: dropped.clone(),
            ..self.begin.clone()
        };
        let begin = serde_json::to_vec(&begin)?;
        if let Err(error) = self.line(false, Kind::Begin, &begin) {
            self.to_announce = Some(dropped);
            return Err(error);
        }
        self.begin.dropped = dropped;
        self.begun = true;
        files::sync_dir(&self.dir)?;
        self.sync()?;
        if let Err(error) = making_way::finish(&self.dir, self.number, &self.begin.dropped) {
            tracing::warn!("what made way in the decision log is still there: {error}");
        }
        Ok(())
    }

    /// What is to make way for this file. Whether the file before it could be compressed or not: on
    /// a full disk, room is what is needed first.
    fn make_room(&mut self) -> Dropped {
        if let Err(error) = making_way::compress_closed(&self.dir, self.number) {
            tracing::warn!("a file of the decision log is not compressed yet: {error}");
        }
        match making_way::plan(&self.dir, self.number, self.room, &self.begin.dropped) {
            Ok(dropped) => dropped.unwrap_or_else(|| self.begin.dropped.clone()),
            Err(error) => {
                tracing::warn!("no room can be made in the decision log: {error}");
                self.begin.dropped.clone()
            }
        }
    }
}
