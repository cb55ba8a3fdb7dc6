//! The wal-index as SQLite moves it: which read mark a new reader takes, what a checkpoint may copy,
//! and when the log begins again. The rules are those of `walTryBeginRead`, `walCheckpoint` and
//! `walRestartLog` in <https://sqlite.org/src/file/src/wal.c>.

use std::collections::BTreeSet;

use dbmedic::sqlite_state::WalIndexState;

/// A read mark that nobody uses.
const UNUSED: u32 = u32::MAX;
/// Frames from which on a commit is followed by a checkpoint: SQLite's default.
const AUTOCHECKPOINT_FRAMES: u32 = 1000;

/// A connection: a process, and which of its connections.
pub(super) type Connection = (usize, usize);

/// A log with its index, and who uses it.
#[derive(Debug, Clone)]
pub(super) struct Wal {
    change_counter: u32,
    salts: (u32, u32),
    max_frame: u32,
    backfilled: u32,
    marks: [u32; 5],
    readers: [BTreeSet<Connection>; 5],
    writer: Option<Connection>,
    /// The most frames that the log's file has held: it is written over, never cut off.
    longest: u32,
}

impl Wal {
    pub(super) fn new(salt: u32) -> Self {
        Self {
            change_counter: 1,
            salts: (salt, salt.rotate_left(7)),
            max_frame: 0,
            backfilled: 0,
            marks: [0, UNUSED, UNUSED, UNUSED, UNUSED],
            readers: Default::default(),
            writer: None,
            longest: 0,
        }
    }

    /// A reader begins; the slot that it holds until it ends.
    pub(super) fn begin_read(&mut self, who: Connection) -> usize {
        let slot = self.slot_for_newcomer();
        self.readers[slot].insert(who);
        slot
    }

    fn slot_for_newcomer(&mut self) -> usize {
        // Everything is in the database: the log is not read at all.
        if self.backfilled == self.max_frame {
            return 0;
        }
        let best = (1..5)
            .filter(|&slot| self.marks[slot] <= self.max_frame)
            .max_by_key(|&slot| (self.marks[slot], std::cmp::Reverse(slot)));
        if let Some(best) = best
            && self.marks[best] == self.max_frame
        {
            return best;
        }
        // A slot that nobody holds is moved to the end of the log.
        let free = (1..5).find(|&slot| self.readers[slot].is_empty());
        if let Some(free) = free {
            self.marks[free] = self.max_frame;
            return free;
        }
        best.unwrap_or(1)
    }

    /// A reader ends.
    pub(super) fn end_read(&mut self, who: Connection) {
        for slot in &mut self.readers {
            slot.remove(&who);
        }
    }

    /// Takes the write lock; false when somebody has it.
    pub(super) fn begin_write(&mut self, who: Connection) -> bool {
        if self.writer.is_some() {
            return false;
        }
        self.writer = Some(who);
        true
    }

    /// Lets the write lock go, unless it was lost with the process. With frames, they are committed
    /// first.
    pub(super) fn end_write(&mut self, who: Connection, frames: Option<u32>) {
        if self.writer != Some(who) {
            return;
        }
        if let Some(frames) = frames {
            self.commit(frames);
        }
        self.writer = None;
        if frames.is_some() && self.max_frame >= AUTOCHECKPOINT_FRAMES {
            self.checkpoint();
        }
    }

    fn commit(&mut self, frames: u32) {
        let nobody_reads_the_log = self.readers[1..].iter().all(BTreeSet::is_empty);
        if self.max_frame > 0 && self.backfilled == self.max_frame && nobody_reads_the_log {
            self.max_frame = 0;
            self.backfilled = 0;
            self.salts = (
                self.salts.0.wrapping_add(1),
                self.salts.1.rotate_left(5) ^ 7,
            );
            self.marks = [0, UNUSED, UNUSED, UNUSED, UNUSED];
        }
        self.max_frame += frames;
        self.longest = self.longest.max(self.max_frame);
        self.change_counter = self.change_counter.wrapping_add(1);
    }

    /// A passive checkpoint: as far as no reader is in the way.
    pub(super) fn checkpoint(&mut self) {
        let mut safe = self.max_frame;
        for slot in 1..5 {
            if self.marks[slot] >= safe {
                continue;
            }
            if self.readers[slot].is_empty() {
                self.marks[slot] = if slot == 1 { safe } else { UNUSED };
            } else {
                safe = self.marks[slot];
            }
        }
        if self.backfilled < safe && self.readers[0].is_empty() {
            self.backfilled = safe;
        }
    }

    /// All connections of a process are gone.
    pub(super) fn forget(&mut self, process: usize) {
        for slot in &mut self.readers {
            slot.retain(|who| who.0 != process);
        }
        self.writer = self.writer.filter(|who| who.0 != process);
    }

    /// The processes that read in a slot.
    pub(super) fn readers(&self, slot: usize) -> BTreeSet<usize> {
        self.readers[slot].iter().map(|who| who.0).collect()
    }

    /// The process that has the write lock.
    pub(super) fn writer(&self) -> Option<usize> {
        self.writer.map(|who| who.0)
    }

    /// As it is observed.
    pub(super) fn state(&self) -> WalIndexState {
        WalIndexState {
            change_counter: self.change_counter,
            max_frame: self.max_frame,
            backfilled: self.backfilled,
            salts: self.salts,
            read_marks: self.marks,
            ..WalIndexState::default()
        }
    }

    /// The most frames that the log's file has held.
    pub(super) fn longest(&self) -> u32 {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: Connection = (9, 0);

    fn write(wal: &mut Wal, frames: u32) {
        assert!(wal.begin_write(WRITER));
        wal.end_write(WRITER, Some(frames));
    }

    #[test]
    fn a_reader_pins_what_was_committed_after_it_began() {
        let mut wal = Wal::new(1);
        write(&mut wal, 10);
        let slot = wal.begin_read((0, 0));
        assert_eq!((slot, wal.state().read_marks[slot]), (1, 10));
        write(&mut wal, 1500);
        assert_eq!(wal.state().backfilled, 10);
        assert_eq!(wal.begin_read((1, 0)), 2);
        wal.end_read((0, 0));
        wal.checkpoint();
        assert_eq!(wal.state().backfilled, 1510);
    }

    #[test]
    fn the_log_begins_again_when_all_of_it_is_copied_and_nobody_reads_it() {
        let mut wal = Wal::new(1);
        write(&mut wal, 1200);
        assert_eq!(wal.begin_read((0, 0)), 0);
        let salts = wal.state().salts;
        write(&mut wal, 3);
        assert_eq!(wal.state().max_frame, 3);
        assert_ne!(wal.state().salts, salts);
        // Slot 0 keeps every frame out of the database.
        write(&mut wal, 2000);
        assert_eq!(wal.state().backfilled, 0);
    }
}
