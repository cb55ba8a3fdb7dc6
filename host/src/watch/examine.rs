//! The checks that need the target for themselves, and what a check found.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Pace, Site};
use crate::clock::Moment;
use crate::health::{CheckState, Proved, Share};
use crate::row_values;
use crate::source::Sample;
use crate::sqlite::integrity::Check;
use crate::sqlite::look::SqliteSource;
use crate::sqlite::probe_transaction::ProbeTransaction;
use crate::sqlite::raw::RawError;
use crate::sqlite::snapshot::SnapshotInfo;
use crate::sqlite::whole::{SnapshotRules, WholeRules};
use crate::sqlite::worker::Pool;
use crate::sqlite_state::{Integrity, Mode, UnjudgedPart};
use crate::state_dir::StateDir;

/// Complaints of a check that are listed at most; SQLite's own default.
const FAULT_LIMIT: u32 = 100;

/// How long a long check leaves the turn to others, between two pieces of it.
const BETWEEN_TURNS: Duration = Duration::from_millis(5);

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
    /// A probe transaction, or why none was made.
    ProbeTransaction(Result<ProbeTransaction, String>),
    Snapshot(Result<SnapshotInfo, String>),
}

impl Found {
    /// What it proved of the content; none when it found something, or could not be made.
    pub(super) fn proved(&self) -> Option<Proved> {
        let Self::Integrity(integrity, _) = self else {
            return None;
        };
        if integrity.error.is_some() || !integrity.faults.is_empty() {
            return None;
        }
        let coverage = integrity.coverage.unwrap_or_default();
        let is_unjudged = |part| integrity.unjudged.iter().any(|one| one.part == part);
        let pages = if is_unjudged(UnjudgedPart::Pages) {
            Share::None
        } else {
            Share::All
        };
        let (rows_and_entries, page_accounting) = match integrity.mode {
            Mode::Full => (all_but_unjudged(integrity), pages),
            Mode::Quick => (Share::None, pages),
            Mode::Sliced => (all_but_unjudged(integrity), Share::None),
            Mode::Incremental => {
                let tables = coverage.tables;
                (Share::Changed { tables }, Share::None)
            }
            Mode::Sampled { .. } => {
                let rows = coverage.rows;
                (Share::Sample { rows }, Share::None)
            }
        };
        Some(Proved {
            rows_and_entries,
            page_accounting,
        })
    }

    pub(super) fn state(&self) -> CheckState {
        match self {
            // One that failed is a value: bounds say how many may.
            Self::Samples(_) | Self::ProbeTransaction(Ok(_)) | Self::Snapshot(Ok(_)) => {
                CheckState::Passed
            }
            Self::ProbeTransaction(Err(why)) => CheckState::NotDone(why.clone()),
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

/// All rows and entries but those of objects that were not judged, and those with long values.
fn all_but_unjudged(integrity: &Integrity) -> Share {
    let objects: BTreeSet<&str> = integrity
        .unjudged
        .iter()
        .filter(|one| match one.part {
            UnjudgedPart::Table
            | UnjudgedPart::Index
            | UnjudgedPart::IndexOrder
            | UnjudgedPart::UniqueKeys
            | UnjudgedPart::VirtualTable => true,
            // Rules of the schema and the file as a whole are neither rows nor entries.
            UnjudgedPart::Checks | UnjudgedPart::ForeignKeys | UnjudgedPart::Pages => false,
        })
        .map(|one| one.name.as_str())
        .collect();
    let rows = integrity.coverage.map_or(0, |coverage| coverage.long_rows);
    match (rows, objects.len() as u64) {
        (0, 0) => Share::All,
        (rows, objects) => Share::AllBut { rows, objects },
    }
}

/// For how long a sample that could not be read is tried again.
const SAMPLE_TRIES: Duration = Duration::from_millis(200);
/// Between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Makes the checks that need the target for themselves, with workers that all targets share.
pub(super) struct Examiner {
    site: Arc<Site>,
    state_dir: PathBuf,
    source: SqliteSource,
    snapshots: SnapshotRules,
}

impl Examiner {
    pub(super) fn new(
        site: &Arc<Site>,
        pace: &Pace,
        state_dir: &StateDir,
        workers: &Arc<Pool>,
        beside: &SqliteSource,
    ) -> Result<Self, RawError> {
        let source = SqliteSource::lent_by(workers, &site.path, state_dir.root())?;
        Ok(Self {
            site: Arc::clone(site),
            state_dir: state_dir.root().to_owned(),
            source: source.beside(beside),
            snapshots: SnapshotRules {
                keep: pace.snapshots_kept,
                max_lock: Duration::from_millis(pace.snapshot_max_lock_ms),
            },
        })
    }

    /// Checks a sample of the rows.
    pub(super) fn sample(&mut self, mode: Mode, timeout_ms: u64) -> Found {
        let _turn = self.site.turn();
        let repairs = self.site.repairs();
        let check = check(mode, timeout_ms);
        let begun = Instant::now();
        loop {
            let checked = self.source.check(check);
            let checked = checked.unwrap_or_else(|error| not_made(mode, told(&error)));
            // In rollback mode a commit is in the way for a moment.
            if checked.error.is_none() || begun.elapsed() > SAMPLE_TRIES {
                return Found::Integrity(checked, repairs);
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
    }

    /// Checks what was written since the last proof; `touched` are the pages, none when that is not
    /// known.
    pub(super) fn changed(&mut self, touched: Option<&BTreeSet<u32>>, timeout_ms: u64) -> Found {
        let _turn = self.site.turn();
        let repairs = self.site.repairs();
        let mode = Mode::Incremental;
        let not_known = || {
            not_made(
                mode,
                "what was written since the last full check is not known".into(),
            )
        };
        let integrity = match touched {
            Some(touched) if self.source.has_proven() => {
                if touched.is_empty() {
                    Integrity::empty(mode, None)
                } else {
                    match self.source.check_changed(check(mode, timeout_ms), touched) {
                        Ok(checked) => checked.unwrap_or_else(not_known),
                        Err(error) => not_made(mode, told(&error)),
                    }
                }
            }
            _ => not_known(),
        };
        Found::Integrity(integrity, repairs)
    }

    /// Checks everything. A repair has its turn in between: what is found then counts no more.
    pub(super) fn whole(&mut self, timeout_ms: u64, keeps_account: bool) -> Found {
        let check = check(Mode::Full, timeout_ms);
        let (begun, repairs) = {
            let _turn = self.site.turn();
            let repairs = self.site.repairs();
            let rules = WholeRules {
                max_lock: self.snapshots.max_lock,
                keeps_account,
            };
            (self.source.begin_whole(check, rules), repairs)
        };
        let integrity = match begun {
            Err(error) => not_made(Mode::Full, told(&error)),
            Ok(mut whole) => loop {
                let turn = whole.takes_locks().then(|| self.site.turn());
                let checked = self.source.go_on(&mut whole);
                drop(turn);
                match checked {
                    Some(integrity) => break integrity,
                    // Whoever waits for a turn has it now.
                    None => std::thread::sleep(BETWEEN_TURNS),
                }
            },
        };
        let values = self.source.take_values();
        if integrity.error.is_none() {
            let kept = row_values::keep(&self.state_dir, &self.site.name, &values);
            if let Err(error) = kept {
                tracing::warn!("values that disagree are not kept: {error}");
            }
        }
        Found::Integrity(integrity, repairs)
    }

    /// Makes a probe transaction.
    pub(super) fn probe_transaction(&mut self) -> Found {
        let _turn = self.site.turn();
        Found::ProbeTransaction(self.source.probe_transaction())
    }

    /// Takes a snapshot when a look at every frame finds the files sound. Says in words why there
    /// is none.
    pub(super) fn snapshot(&mut self) -> Found {
        let now = Moment::now();
        let _turn = self.site.turn();
        Found::Snapshot(self.source.snapshot(&self.site.name, &now, self.snapshots))
    }
}

fn check(mode: Mode, timeout_ms: u64) -> Check {
    Check {
        mode,
        max_faults: FAULT_LIMIT,
        deadline: Some(Duration::from_millis(timeout_ms)),
    }
}

fn not_made(mode: Mode, why: String) -> Integrity {
    Integrity::empty(mode, Some(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite_state::Coverage;
    use crate::sqlite_state::Unjudged;

    fn passed(mode: Mode, unjudged: &[(UnjudgedPart, &str)], long_rows: u64) -> Found {
        let unjudged = unjudged.iter().map(|&(part, name)| Unjudged {
            part,
            name: name.to_owned(),
            reason: "a function that SQLite does not know".to_owned(),
        });
        let integrity = Integrity {
            unjudged: unjudged.collect(),
            coverage: Some(Coverage {
                long_rows,
                ..Coverage::default()
            }),
            ..Integrity::empty(mode, None)
        };
        Found::Integrity(integrity, 0)
    }

    #[test]
    fn what_was_not_judged_is_not_proven() {
        let proved = |mode, unjudged: &[_], long_rows| {
            let proved = passed(mode, unjudged, long_rows).proved().unwrap();
            (proved.rows_and_entries, proved.page_accounting)
        };
        let but = |rows, objects| Share::AllBut { rows, objects };
        let (index, order) = (UnjudgedPart::Index, UnjudgedPart::IndexOrder);
        let pages = (UnjudgedPart::Pages, "");
        assert_eq!(proved(Mode::Full, &[], 0), (Share::All, Share::All));
        assert_eq!(proved(Mode::Full, &[pages], 0), (Share::All, Share::None));
        assert_eq!(proved(Mode::Quick, &[pages], 0), (Share::None, Share::None));
        let both = [(index, "a"), (order, "a"), (index, "b")];
        assert_eq!(proved(Mode::Full, &both, 0), (but(0, 2), Share::All));
        let both = [(order, "a"), (UnjudgedPart::Checks, "t")];
        assert_eq!(proved(Mode::Sliced, &both, 3), (but(3, 1), Share::None));
        assert_eq!(proved(Mode::Sliced, &[], 0), (Share::All, Share::None));
    }

    #[test]
    fn a_check_that_found_something_or_was_not_made_proved_nothing() {
        let error = Some("the database is busy".to_owned());
        let not_made = Found::Integrity(Integrity::empty(Mode::Full, error), 0);
        assert_eq!(not_made.proved(), None);
    }
}
