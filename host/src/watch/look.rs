//! Looking at one target, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::examine::{Examiner, Found, told};
use super::latencies::Latencies;
use super::{Pace, Site, notes};
use crate::clock::now_ms;
use crate::health::{CheckKind, CheckReport, CheckState, Proved};
use crate::resources::{Places, Resources};
use crate::source::{Observation, Sample, State};
use crate::sqlite::look::{DueLook, SqliteSource};
use crate::sqlite::numbers::samples;
use crate::sqlite::raw::{RawError, Seen};
use crate::sqlite::snapshot::{SnapshotInfo, newest_of_known_age};
use crate::sqlite::trail::{Mark, Trail};
use crate::sqlite::worker::Pool;
use crate::sqlite_state::set::SnapshotSeen;
use crate::sqlite_state::{Integrity, Library, Mode, SqliteState, rollback};
use crate::state_dir::StateDir;

/// Pages of which it is remembered that they were written; with more, everything is to be checked.
const MOST_TOUCHED: usize = 1 << 18;

/// Looks at one target, again and again.
pub struct Looker {
    pub(super) site: Arc<Site>,
    pub(super) pace: Pace,
    pub(super) source: SqliteSource,
    previous: Option<(u64, SqliteState)>,
    pub(super) scanned_ms: Option<u64>,
    pub(super) snapshot_ms: Option<u64>,
    /// Makes the checks that end soon, and snapshots.
    pub(super) examiner: Arc<Mutex<Examiner>>,
    /// Makes the checks that go through everything, and keeps account of what was proven.
    pub(super) prover: Arc<Mutex<Examiner>>,
    /// Up to when it is known what was written.
    pub(super) mark: Option<Mark>,
    /// Pages written since the last proof; none when that is not known.
    pub(super) touched: Option<BTreeSet<u32>>,
    /// Pages written since the check began that may be the next proof.
    pub(super) touched_meanwhile: Option<BTreeSet<u32>>,
    /// Made with the first measurement: to know where the data lies waits for its disk.
    pub(super) resources: Arc<Mutex<Option<Resources>>>,
    snapshots: PathBuf,
    pub(super) reports: BTreeMap<CheckKind, CheckReport>,
    /// What the latest full check left to be noted.
    pub(super) noted: Vec<String>,
    /// The latest probe transactions.
    pub(super) latencies: Latencies,
    /// Whether it was made in slices, which do not tell whether each page belongs to one object.
    in_slices: bool,
    /// When that was last proven of a snapshot, milliseconds since the Unix epoch.
    pages_proven_ms: Option<u64>,
    /// The libraries of SQLite that were seen in the latest full look.
    libraries: Vec<Library>,
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_due(last_ms: Option<u64>, now_ms: u64, interval_ms: u64) -> bool {
    last_ms.is_none_or(|last| now_ms.saturating_sub(last) >= interval_ms)
}

impl Looker {
    /// Makes ready to look. Nothing is touched yet.
    pub fn new(
        site: Arc<Site>,
        pace: Pace,
        state_dir: &StateDir,
        workers: &Arc<Pool>,
    ) -> Result<Self, RawError> {
        let source = SqliteSource::lent_by(workers, &site.path, state_dir.root())?;
        let examiner = Examiner::new(&site, &pace, state_dir, workers, &source)?;
        let prover = Examiner::new(&site, &pace, state_dir, workers, &source)?;
        Ok(Self {
            source,
            examiner: Arc::new(Mutex::new(examiner)),
            prover: Arc::new(Mutex::new(prover)),
            resources: Arc::default(),
            snapshots: state_dir.snapshots(),
            site,
            pace,
            previous: None,
            scanned_ms: None,
            snapshot_ms: None,
            reports: BTreeMap::new(),
            noted: Vec::new(),
            latencies: Latencies::default(),
            in_slices: false,
            pages_proven_ms: None,
            libraries: Vec::new(),
            mark: None,
            touched: None,
            touched_meanwhile: None,
        })
    }

    /// One look. `thorough` looks at everything, and waits for it.
    pub fn look(&mut self, thorough: bool) -> Observation {
        if !thorough {
            return self.observe(false, None, Vec::new());
        }
        let mut measured = Vec::new();
        let mut checked = None;
        for check in [CheckKind::Resource, CheckKind::Full] {
            let begun_ms = now_ms();
            let found = match check {
                // Nobody asks later what was written since.
                CheckKind::Full => {
                    unpoisoned(&self.prover).whole(self.pace.integrity_timeout_ms, false)
                }
                other => self.work(other)(),
            };
            self.note(&found);
            self.report(check, begun_ms, found.state(), found.proved());
            match found {
                Found::Samples(samples) => measured = samples,
                Found::Integrity(integrity, _) => checked = Some(integrity),
                Found::ProbeTransaction(_) | Found::Snapshot(_) => {}
            }
        }
        self.observe(true, checked, measured)
    }

    /// What a check does, to be done in any thread. Of those of one lane only one may be at work.
    pub(super) fn work(&mut self, check: CheckKind) -> Box<dyn FnOnce() -> Found + Send> {
        let (examiner, prover) = (Arc::clone(&self.examiner), Arc::clone(&self.prover));
        let pace = self.pace;
        match check {
            CheckKind::Quick => Box::new(move || {
                let mode = Mode::Sampled {
                    seed: rand::random(),
                };
                unpoisoned(&examiner).sample(mode, pace.quick_check_timeout_ms)
            }),
            CheckKind::Incremental => {
                self.begin_proof();
                let touched = self.touched.clone();
                let timeout_ms = pace.incremental_check_timeout_ms;
                Box::new(move || {
                    let touched = touched.as_ref();
                    unpoisoned(&prover).changed(touched, timeout_ms)
                })
            }
            CheckKind::Full => {
                self.begin_proof();
                Box::new(move || unpoisoned(&prover).whole(pace.integrity_timeout_ms, true))
            }
            CheckKind::ProbeTransaction => {
                Box::new(move || unpoisoned(&examiner).probe_transaction())
            }
            CheckKind::Snapshot => Box::new(move || unpoisoned(&examiner).snapshot()),
            CheckKind::Resource => {
                let resources = Arc::clone(&self.resources);
                let state = self.previous.as_ref().map(|(_, state)| state);
                let mut users: Vec<u32> = state
                    .into_iter()
                    .flat_map(|state| &state.locks)
                    .map(|holder| holder.process.pid)
                    .collect();
                users.sort_unstable();
                users.dedup();
                let (data, snapshots) = (self.site.path.clone(), self.snapshots.clone());
                Box::new(move || {
                    let mut resources = unpoisoned(&resources);
                    let resources = resources.get_or_insert_with(|| {
                        Resources::new(Some(Places {
                            data: data.canonicalize().unwrap_or(data),
                            // SQLite keeps the log beside the data.
                            wal: None,
                            snapshots: Some(snapshots),
                        }))
                    });
                    Found::Samples(resources.measure(now_ms(), &users))
                })
            }
        }
    }

    /// Notes which pages were written since the last look.
    fn follow(&mut self, trail: Option<Trail>) {
        self.mark = trail.as_ref().map(|trail| trail.mark);
        let pages = trail.and_then(|trail| trail.touched);
        for account in [&mut self.touched, &mut self.touched_meanwhile] {
            match (account.as_mut(), &pages) {
                (Some(account_of), Some(pages)) if account_of.len() < MOST_TOUCHED => {
                    account_of.extend(pages);
                }
                _ => *account = None,
            }
        }
    }

    /// A check begins after which an account may begin anew: from here. What was written since the last
    /// look goes into it with the next one, and so is looked at once more than it need be.
    fn begin_proof(&mut self) {
        self.touched_meanwhile = Some(BTreeSet::new());
    }

    /// A check ended well that proves everything up to its beginning.
    pub(super) fn proved(&mut self, mode: Mode) {
        if matches!(mode, Mode::Full | Mode::Incremental) {
            self.touched = self.touched_meanwhile.take();
        }
    }

    pub(super) fn report(
        &mut self,
        check: CheckKind,
        begun_ms: u64,
        state: CheckState,
        proved: Option<Proved>,
    ) -> CheckReport {
        let report = CheckReport {
            check,
            begun_ms,
            took_ms: now_ms().saturating_sub(begun_ms),
            state,
            notes: if check == CheckKind::Full {
                self.notes()
            } else {
                Vec::new()
            },
            proved,
        };
        self.reports.insert(check, report.clone());
        report
    }

    /// Keeps what a full check left to be noted, and what a snapshot proved.
    pub(super) fn note(&mut self, found: &Found) {
        match found {
            Found::Integrity(integrity, _)
                if matches!(integrity.mode, Mode::Full | Mode::Sliced)
                    && integrity.error.is_none() =>
            {
                self.noted = notes::of_check(integrity);
                self.in_slices = integrity.mode == Mode::Sliced;
            }
            Found::Snapshot(Ok(snapshot)) if snapshot.pages_proven => {
                self.pages_proven_ms = Some(now_ms());
            }
            _ => {}
        }
    }

    /// What slices did not prove, unless a snapshot proved it lately.
    fn of_slices(&self) -> Option<String> {
        let interval_ms = self
            .pace
            .snapshot_interval_ms
            .max(self.pace.integrity_interval_ms);
        let is_over = is_due(
            self.pages_proven_ms,
            now_ms(),
            interval_ms.saturating_mul(2),
        );
        (self.in_slices && is_over).then(notes::of_slices)
    }

    /// What a person may want to know of the database although nothing is wrong with it.
    pub fn notes(&self) -> Vec<String> {
        let state = self.previous.as_ref().map(|(_, state)| state);
        let of_log = state.and_then(notes::of_log);
        let of_holder = state.and_then(notes::of_holder);
        let noted = self.noted.iter().cloned().chain(self.of_slices());
        // The bug is one of the write-ahead log's.
        let uses_log = state.is_some_and(rollback::uses_log);
        let libraries: &[Library] = if uses_log { &self.libraries } else { &[] };
        let of_libraries = notes::of_libraries(libraries);
        let of_state = of_log.into_iter().chain(of_holder).chain(of_libraries);
        noted.chain(of_state).collect()
    }

    /// The latest run of each check.
    pub fn reports(&self) -> &BTreeMap<CheckKind, CheckReport> {
        &self.reports
    }

    /// Whether the next look verifies every frame of the log.
    pub(super) fn is_scan_due(&self, now_ms: u64) -> bool {
        is_due(self.scanned_ms, now_ms, self.pace.wal_scan_interval_ms)
    }

    /// The look that is due now.
    pub(super) fn due_look(&mut self, thorough: bool, now_ms: u64) -> DueLook {
        let full = thorough || self.is_scan_due(now_ms);
        if full {
            self.scanned_ms = Some(now_ms);
        }
        DueLook {
            path: self.site.path.clone(),
            target: self.site.name.clone(),
            full,
            since: self.mark,
        }
    }

    /// Looks, and waits for it.
    fn observe(
        &mut self,
        thorough: bool,
        integrity: Option<Integrity>,
        measured: Vec<Sample>,
    ) -> Observation {
        let at_ms = now_ms();
        let look = self.due_look(thorough, at_ms);
        let seen = self.source.see(look);
        self.observed(at_ms, seen, integrity, measured)
    }

    /// What a look at this time showed, with the numbers that follow from it; what checks found goes
    /// with it.
    pub(super) fn observed(
        &mut self,
        at_ms: u64,
        seen: Result<Seen, RawError>,
        integrity: Option<Integrity>,
        mut measured: Vec<Sample>,
    ) -> Observation {
        let (looked, trail, newest) = match seen {
            Ok(seen) => (Ok(seen.looked), seen.trail, seen.newest),
            Err(error) => (Err(error), None, None),
        };
        self.follow(trail);
        // By its age: a wall clock that was set makes no snapshot older or younger.
        let snapshot_at_ms = newest
            .as_ref()
            .and_then(SnapshotInfo::age_ms)
            .map(|age_ms| at_ms.saturating_sub(age_ms));
        let state = match self.source.judged(looked) {
            Ok(mut state) => {
                state.integrity = integrity;
                state.newest_snapshot = newest.map(|info| {
                    Box::new(SnapshotSeen {
                        taken_at_ms: info.taken_at_ms,
                        file: info.file,
                        tables: info.tables,
                    })
                });
                let previous = self.previous.as_ref();
                let elapsed = previous.map_or(0, |(then, _)| at_ms.saturating_sub(*then));
                measured.extend(samples(&state, previous.map(|(_, state)| state), elapsed));
                if let Some(libraries) = &state.libraries {
                    self.libraries.clone_from(libraries);
                }
                self.previous = Some((at_ms, state.clone()));
                State::Sqlite(state)
            }
            Err(error) => {
                self.previous = None;
                State::Unreachable {
                    reason: told(&error),
                }
            }
        };
        measured.retain(|sample| sample.value.is_finite());
        Observation {
            target: self.site.name.clone(),
            at_ms,
            samples: measured,
            snapshot_at_ms,
            state,
        }
    }

    /// What there is to say of a target whose looks do not end: its disk does not answer.
    pub(super) fn unanswered(&mut self, at_ms: u64, for_ms: u64) -> Observation {
        self.previous = None;
        Observation {
            target: self.site.name.clone(),
            at_ms,
            samples: Vec::new(),
            snapshot_at_ms: None,
            state: State::Unreachable {
                reason: format!(
                    "no look has ended for {} s: its disk does not answer",
                    for_ms / 1000
                ),
            },
        }
    }

    /// Bytes of the database, as the last look saw it.
    pub(super) fn database_bytes(&self) -> u64 {
        let state = self.previous.as_ref().map(|(_, state)| state);
        state.and_then(|state| state.database_bytes).unwrap_or(0)
    }

    /// The device that the database lies on, as the last look saw it; none when no look has seen it.
    pub(super) fn device(&self) -> Option<u64> {
        let state = self.previous.as_ref().map(|(_, state)| state);
        Some(state?.set.file.as_ref()?.device)
    }

    /// A snapshot that an earlier run took within the interval, as a report: another one would only make an
    /// older one go.
    pub(super) fn earlier_snapshot(&mut self) -> Option<CheckReport> {
        let newest = newest_of_known_age(&self.snapshots, &self.site.name).ok()??;
        let age_ms = newest.age_ms()?;
        // A snapshot knows its database by the place that its path leads to.
        let path = &self.site.path;
        let is_of_this = newest.source == *path
            || path
                .canonicalize()
                .is_ok_and(|place| place == newest.source);
        if age_ms >= self.pace.snapshot_interval_ms || !is_of_this {
            return None;
        }
        if newest.pages_proven {
            self.pages_proven_ms = Some(now_ms().saturating_sub(age_ms));
        }
        let report = CheckReport {
            check: CheckKind::Snapshot,
            begun_ms: now_ms().saturating_sub(age_ms),
            took_ms: 0,
            state: CheckState::Passed,
            notes: Vec::new(),
            proved: None,
        };
        self.reports.insert(report.check, report.clone());
        Some(report)
    }

    /// Takes a snapshot when one is due and a look at every frame finds the files sound, and waits
    /// for it. Says in words why there is none.
    pub fn snapshot_if_due(&mut self) -> Option<Result<SnapshotInfo, String>> {
        let at_ms = now_ms();
        if !is_due(self.snapshot_ms, at_ms, self.pace.snapshot_interval_ms) {
            return None;
        }
        self.snapshot_ms = Some(at_ms);
        let found = self.work(CheckKind::Snapshot)();
        self.report(CheckKind::Snapshot, at_ms, found.state(), None);
        match found {
            Found::Snapshot(taken) => Some(taken),
            _ => None,
        }
    }
}
