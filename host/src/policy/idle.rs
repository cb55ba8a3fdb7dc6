//! Instances that wait for the next decision of the policy and target that they belong to.
//!
//! Each holds one slot of the pool, so there are never more than the pool has, and all of them
//! give way when a decision finds no slot. None is ever handed to another policy or target.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sandbox::Sandbox;

/// An instance with the decisions that it has made, and whose it is.
pub(super) struct Kept {
    pub(super) policy: u64,
    pub(super) target: String,
    pub(super) sandbox: Sandbox,
    pub(super) decisions: u32,
}

pub(super) struct Idle {
    most: usize,
    /// The one that was used last stands last. Few: searched one by one.
    kept: Mutex<Vec<Kept>>,
}

impl Idle {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    pub(super) fn take(&self, policy: u64, target: &str) -> Option<Kept> {
        let mut kept = self.lock();
        let at = kept
            .iter()
            .rposition(|kept| kept.policy == policy && kept.target == target)?;
        Some(kept.remove(at))
    }

    /// Keeps an instance; the one that waits longest gives way.
    pub(super) fn put(&self, instance: Kept) {
        let mut kept = self.lock();
        let eldest = (kept.len() >= self.most).then(|| kept.remove(0));
        kept.push(instance);
        drop(kept);
        drop(eldest);
    }

    /// Throws the instances of a policy away; only those for one target when it is named.
    pub(super) fn forget(&self, policy: u64, target: Option<&str>) {
        self.lock().retain(|kept| {
            kept.policy != policy || target.is_some_and(|target| kept.target != target)
        });
    }

    /// Throws all away to make room. Whether there were any.
    pub(super) fn clear(&self) -> bool {
        let kept = std::mem::take(&mut *self.lock());
        !kept.is_empty()
    }

    /// A panic elsewhere leaves the list as good as it was.
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
