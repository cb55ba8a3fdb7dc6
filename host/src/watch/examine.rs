//! The checks that need the target for themselves, and what a check found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Pace, Site};
use crate::clock::Moment;
use crate::health::CheckState;
use crate::row_values;
use crate::snapshot::SnapshotInfo;
use crate::source::Sample;
use crate::state_dir::StateDir;
use crate::target::sqlite::Integrity;
use crate::target::sqlite::integrity::{Check, Mode};
use crate::target::sqlite::look::SqliteSource;
use crate::target::sqlite::raw::{RawError, RawProcess};

/// Complaints of a check that are listed at most; SQLite's own default.
const FAULT_LIMIT: u32 = 100;

/// An error with its causes, in one line.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What a check found.
pub(super) enum Found {
    /// Of the pages and rows, and how many repairs there had been before.
    Integrity(Integrity, u64),
    Samples(Vec<Sample>),
    Snapshot(Result<SnapshotInfo, String>),
}

impl Found {
    pub(super) fn state(&self) -> CheckState {
        match self {
            Self::Samples(_) | Self::Snapshot(Ok(_)) => CheckState::Passed,
            Self::Snapshot(Err(why)) => CheckState::Failed(why.clone()),
            Self::Integrity(integrity, _) => {
                match (&integrity.error, integrity.faults.as_slice()) {
                    (Some(why), _) => CheckState::NotDone(why.clone()),
                    (None, []) => CheckState::Passed,
                    (None, [fault]) => CheckState::Failed(fault.message.clone()),
                    (None, [first, rest @ ..]) => {
                        CheckState::Failed(format!("{} and {} more", first.message, rest.len()))
                    }
                }
            }
        }
    }
}

/// Makes the checks that need the target for themselves, with a helper process of its own.
pub(super) struct Examiner {
    site: Arc<Site>,
    state_dir: PathBuf,
    source: SqliteSource,
    snapshots_kept: usize,
}

impl Examiner {
    pub(super) fn new(
        site: &Arc<Site>,
        pace: &Pace,
        state_dir: &StateDir,
        exe: &Path,
        beside: &SqliteSource,
    ) -> Result<Self, RawError> {
        let raw = RawProcess::spawn(exe)?;
        Ok(Self {
            site: Arc::clone(site),
            state_dir: state_dir.root().to_owned(),
            source: SqliteSource::new(&site.path, state_dir.root(), raw).beside(beside),
            snapshots_kept: pace.snapshots_kept,
        })
    }

    /// Checks in one of the forms. `touched` are the pages written since the last proof, for the
    /// incremental one; none when that is not known.
    pub(super) fn integrity(
        &mut self,
        mode: Mode,
        timeout_ms: u64,
        touched: Option<&BTreeSet<u32>>,
    ) -> Found {
        let _turn = self.site.turn();
        let repairs = self.site.repairs();
        let check = Check {
            mode,
            max_faults: FAULT_LIMIT,
            deadline: Some(Duration::from_millis(timeout_ms)),
        };
        let none = |error: Option<String>| Integrity::empty(mode, error);
        let not_known = || {
            none(Some(
                "what was written since the last full check is not known".into(),
            ))
        };
        let checked = match (mode, touched) {
            (Mode::Full, _) => self.source.check_and_prove(check),
            (Mode::Incremental, Some(touched)) if self.source.has_proven() => {
                if touched.is_empty() {
                    Ok(none(None))
                } else {
                    let checked = self.source.check_changed(check, touched);
                    checked.map(|checked| checked.unwrap_or_else(not_known))
                }
            }
            (Mode::Incremental, _) => Ok(not_known()),
            (Mode::Quick | Mode::Sampled { .. }, _) => self.source.check(check),
        };
        let integrity = checked.unwrap_or_else(|error| none(Some(told(&error))));
        let values = self.source.take_values();
        if mode == Mode::Full && integrity.error.is_none() {
            let kept = row_values::keep(&self.state_dir, &self.site.name, &values);
            if let Err(error) = kept {
                tracing::warn!("values that disagree are not kept: {error}");
            }
        }
        Found::Integrity(integrity, repairs)
    }

    /// Takes a snapshot when a look at every frame finds the files sound. Says in words why there
    /// is none.
    pub(super) fn snapshot(&mut self) -> Found {
        let now = Moment::now();
        let _turn = self.site.turn();
        let (name, kept) = (&self.site.name, self.snapshots_kept);
        Found::Snapshot(self.source.snapshot(name, &now, kept))
    }
}
