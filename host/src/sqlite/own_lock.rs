//! What dbmedic itself locks, and for how long: a tracing span for each, under the target `own_lock`.

use std::time::Instant;

use tracing::Span;
use tracing::field::Empty;

use super::connection::Access;

/// A lock of dbmedic's own on a database, from when this is made to when it is dropped.
#[derive(Debug)]
pub(super) struct OwnLock {
    span: Span,
    begun: Instant,
}

impl OwnLock {
    /// A lock that was just taken; `for_what` says why.
    pub(super) fn for_(for_what: &'static str) -> Self {
        Self {
            span: tracing::debug_span!(target: "own_lock", "own_lock", for_what, held_us = Empty),
            begun: Instant::now(),
        }
    }

    /// The lock of what is read with this access; none where none is taken, or where it is one on a copy.
    pub(super) fn with(access: Access, for_what: &'static str) -> Option<Self> {
        match access {
            Access::InPlace | Access::Write => Some(Self::for_(for_what)),
            Access::Alone | Access::Ahead | Access::Copy => None,
        }
    }
}

impl Drop for OwnLock {
    fn drop(&mut self) {
        let held_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.span.record("held_us", held_us);
        let _entered = self.span.enter();
        tracing::debug!(target: "own_lock", "let go");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_without_a_lock_is_told_as_none() {
        for access in [Access::Alone, Access::Ahead, Access::Copy] {
            assert!(OwnLock::with(access, "test").is_none(), "{access:?}");
        }
        assert!(OwnLock::with(Access::InPlace, "test").is_some());
    }
}
