//! An operation from its beginning to its end, as a value that says how it ended when it is
//! dropped.

use std::time::Instant;

use super::{Ended, ErrorKind, Judgement, OperationId, Recorder};

/// An operation under way. Dropped without a word, it was abandoned. It may end in another thread
/// than it began in.
#[must_use = "dropped at once, the operation counts as abandoned"]
pub struct Running<'r> {
    recorder: &'r Recorder,
    id: OperationId,
    begun: Instant,
    told: bool,
}

impl<'r> Running<'r> {
    pub(super) fn new(recorder: &'r Recorder, id: OperationId, begun: Instant) -> Self {
        Self {
            recorder,
            id,
            begun,
            told: false,
        }
    }

    /// It did what it was asked, with so many rows and bytes. Says how its time stands to what is
    /// normal.
    #[inline]
    pub fn complete(self, rows: u64, bytes: u64) -> Judgement {
        self.end(Ended::Completed { rows, bytes })
    }

    /// It failed.
    #[inline]
    pub fn error(self, kind: ErrorKind) -> Judgement {
        self.end(Ended::Failed(kind))
    }

    #[inline]
    fn end(mut self, ended: Ended) -> Judgement {
        self.told = true;
        self.recorder.end(self.id, self.begun, ended)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.recorder.end(self.id, self.begun, Ended::Abandoned);
        }
    }
}

/// An operation that waits for its turn. Dropped, it has given up.
#[must_use = "dropped at once, the operation leaves the queue"]
pub struct Waiting<'r> {
    recorder: &'r Recorder,
    id: OperationId,
}

impl<'r> Waiting<'r> {
    pub(super) fn new(recorder: &'r Recorder, id: OperationId) -> Self {
        Self { recorder, id }
    }

    /// Its turn has come.
    pub fn start(self) -> Running<'r> {
        let (recorder, id) = (self.recorder, self.id);
        drop(self);
        recorder.start(id)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.recorder.leave_queue(self.id);
    }
}
