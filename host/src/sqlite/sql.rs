//! What a worker does that has SQLite connections to a database, and the side that asks it.
//!
//! It has one database at a time, and opens no file of it itself: a repair that has to, has a worker of
//! its own for that. See [`super::worker`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::backup::{self, BackupError, Bounds};
use super::integrity::{self, Access, Check, Proven, Slices};
use super::probe_transaction::{self, ProbeTransaction};
use super::raw::{RawProcess, absolute};
use super::worker::{
    self, COPY_TIMEOUT, Failure, FailureKind, Granted, Pool, Process, Role, Wish, WorkerError,
};
use super::{connection, copies, repairs};
use crate::repair::{Intent, Proof, Repair, RepairError, Site};
use crate::row_values::DisagreeingValues;
use crate::sqlite::snapshot::{self, SnapshotInfo};
use crate::sqlite_state::Integrity;

/// An account of what was proven that is longer is not kept, bytes: some millions of pages.
const MOST_ACCOUNT_BYTES: usize = 4 << 20;

/// How long a check that has a time of its own may take beyond it.
const GRACE: Duration = Duration::from_secs(30);

/// How long the workers of an earlier run are waited for.
const LAST_WORK: Duration = Duration::from_secs(10);
/// How much longer than it should a round of slices may take, on a busy machine.
const SLICES_GRACE: Duration = Duration::from_mins(1);
/// Between two attempts to see them gone.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How a worker finds its own executable: where that lies, its user may not be able to go.
const OWN_EXE: &str = "/proc/self/exe";

/// What the worker can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Make a check.
    Check(Checked),
    /// Make a full check, and keep account of what was proven when all is well.
    Prove(Checked),
    /// Check the tables in which one of these pages lies, and renew the account.
    CheckChanged(Checked, BTreeSet<u32>, Account),
    /// Take a snapshot.
    Snapshot(SnapshotRequest),
    /// Make a copy of one moment of a database that others use.
    BackUp {
        path: PathBuf,
        /// The directory of the copy, which is made.
        into: PathBuf,
        bounds: Bounds,
    },
    /// Go on with a check in slices for so many milliseconds, or begin one.
    Slices {
        path: PathBuf,
        check: Check,
        time_ms: u64,
        /// Whether its time is over, so that what was found until now is to be said.
        is_over: bool,
    },
    /// Make a probe transaction.
    ProbeTransaction(PathBuf),
    /// Build a repair from its intent; the requests about a part of a repair are about this one.
    Begin(Box<Beginning>),
    /// Do a part of the repair.
    Part(Part),
}

/// What was proven of a database, as [`integrity::Proven`] packs it: for a worker to go on with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Account(String);

/// What to check, and where it can be read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Checked {
    path: PathBuf,
    access: Access,
    check: Check,
}

/// A snapshot that is to be taken; see [`snapshot::take`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// Where the database can be read.
    pub readable: PathBuf,
    /// How it is opened there.
    pub access: Access,
    /// Up to where the copying may go on.
    pub bounds: Bounds,
    /// The database.
    pub source: PathBuf,
    /// Where the snapshots of all targets are.
    pub snapshots: PathBuf,
    /// The target.
    pub target: String,
    /// When.
    pub now: snapshot::Moment,
    /// How many are kept.
    pub keep: usize,
}

/// A repair that is to be built.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beginning {
    intent: Intent,
    path: PathBuf,
    may_end: Vec<String>,
    copies: PathBuf,
    /// Whether an earlier run began it, whose workers may still be about to end.
    resumed: bool,
    /// Workers of the same dbmedic.
    workers: BTreeSet<u32>,
}

/// A part of a repair; see [`Repair`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    Precondition,
    Apply(String),
    Verify,
    Undo(Vec<String>),
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The values are for a person alone.
    Checked(Integrity, Vec<DisagreeingValues>),
    /// The same, with an account of what was proven; none where there is none.
    Proven(Integrity, Vec<DisagreeingValues>, Option<Account>),
    /// The snapshot and its file.
    Snapshot(SnapshotInfo, PathBuf),
    BackedUp,
    Probed(ProbeTransaction),
    /// There are slices left.
    Sliced,
    Begun,
    Before(serde_json::Value),
    Applied,
    Verified(Proof),
    Undone(String),
}

/// What a worker knows from one request to the next.
#[derive(Default)]
pub(super) struct Session {
    /// The checks in slices that are not at their end, by their databases.
    slices: BTreeMap<PathBuf, Slices>,
    repair: Option<Box<dyn Repair>>,
    /// The directory of the copies, locked as long as this worker can do anything.
    at_work: Option<File>,
    /// The database of the repair, and where its copy is if there is one.
    copy: Option<(PathBuf, PathBuf)>,
}

impl Session {
    /// Does what is asked for; in a worker only.
    pub(super) fn perform(&mut self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::Check(Checked {
                path,
                access,
                check,
            }) => {
                let checked = integrity::check(&path, access, check);
                Ok(Answer::Checked(checked.integrity, checked.values))
            }
            Request::Prove(Checked {
                path,
                access,
                check,
            }) => {
                let (checked, proven) = integrity::check_and_prove(&path, access, check);
                let account = proven.map(|proven| Account(proven.pack()));
                Ok(Answer::Proven(checked.integrity, checked.values, account))
            }
            Request::CheckChanged(
                Checked {
                    path,
                    access,
                    check,
                },
                touched,
                Account(packed),
            ) => {
                let mut proven = Proven::unpack(&packed).ok_or_else(|| Failure {
                    kind: FailureKind::Request,
                    message: "the account of what was proven cannot be read".to_owned(),
                })?;
                let checked = integrity::check_changed(&path, access, check, &mut proven, &touched);
                let account = Some(Account(proven.pack()));
                Ok(Answer::Proven(checked.integrity, checked.values, account))
            }
            Request::BackUp { path, into, bounds } => back_up(&path, &into, &bounds)
                .map(|()| Answer::BackedUp)
                .map_err(|error| Failure::new(FailureKind::Snapshot, &error)),
            Request::ProbeTransaction(path) => probe_transaction::make(&path)
                .map(Answer::Probed)
                .map_err(|error| Failure::new(FailureKind::File, &error)),
            Request::Slices {
                path,
                check,
                time_ms,
                is_over,
            } => Ok(self.go_on(path, check, Duration::from_millis(time_ms), is_over)),
            Request::Snapshot(request) => snapshot::take(&request)
                .map(|info| {
                    let file = info.file.clone();
                    Answer::Snapshot(info, file)
                })
                .map_err(|error| Failure::new(FailureKind::Snapshot, &error)),
            Request::Begin(beginning) => self.begin(*beginning),
            Request::Part(part) => self.part(&part).map_err(|error| {
                let kind = if error.changed_nothing() {
                    FailureKind::Unmet
                } else {
                    FailureKind::Repair
                };
                Failure::new(kind, &error)
            }),
        }
    }

    /// Goes on with the slices of a database.
    fn go_on(&mut self, path: PathBuf, check: Check, time: Duration, is_over: bool) -> Answer {
        let known = self.slices.remove(&path);
        let mut slices = known.unwrap_or_else(|| Slices::new(check));
        if is_over {
            let checked = slices.so_far();
            self.slices.insert(path, slices);
            return Answer::Checked(checked.integrity, checked.values);
        }
        let checked = match slices.go_on(&path, time) {
            Ok(false) => {
                self.slices.insert(path, slices);
                return Answer::Sliced;
            }
            Ok(true) => slices.checked(None),
            Err(why) => slices.checked(Some(why)),
        };
        Answer::Checked(checked.integrity, checked.values)
    }

    fn begin(&mut self, beginning: Beginning) -> Result<Answer, Failure> {
        worker::change_workers(|workers| *workers = beginning.workers);
        // Of an earlier one the connections go first.
        self.repair = None;
        let at_work = lock(&beginning.copies, beginning.resumed).map_err(|error| Failure {
            kind: FailureKind::Unmet,
            message: format!("{}: {error}", beginning.copies.display()),
        })?;
        self.at_work = Some(at_work);
        let copy = beginning.copies.join(&beginning.intent.repair_id);
        self.copy = Some((beginning.path.clone(), copy));
        let site = Site {
            path: beginning.path,
            may_end: beginning.may_end,
            copies: beginning.copies,
            exe: OWN_EXE.into(),
        };
        let repair = repairs::for_intent(&beginning.intent, &site)
            .map_err(|error| Failure::new(FailureKind::Repair, &error))?;
        self.repair = Some(repair);
        Ok(Answer::Begun)
    }

    fn part(&mut self, part: &Part) -> Result<Answer, RepairError> {
        let repair = self.repair.as_mut();
        let repair = repair.ok_or(RepairError::Unproven("no repair was begun".to_owned()))?;
        Ok(match part {
            Part::Precondition => Answer::Before(repair.precondition()?),
            Part::Apply(step) => {
                repair.apply(step)?;
                Answer::Applied
            }
            Part::Verify => Answer::Verified(repair.verify()?),
            Part::Undo(begun) => {
                let undone = repair.undo(begun);
                if undone.is_err() {
                    self.clear();
                }
                Answer::Undone(undone?)
            }
        })
    }

    /// Removes what a restore that was cut off left beside the database, where the undo does not come
    /// to restoring again.
    fn clear(&self) {
        let Some((path, copy)) = &self.copy else {
            return;
        };
        let cleared =
            RawProcess::spawn(Path::new(OWN_EXE)).and_then(|mut raw| raw.clear(path, copy));
        if let Err(error) = cleared {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}

/// Makes a copy in a directory of its own.
fn back_up(path: &Path, into: &Path, bounds: &Bounds) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(into)?;
    backup::check_room(path, into)?;
    let from = connection::open(path, Access::InPlace, None)?;
    let copy = backup::back_up(&from, &into.join(copies::DATABASE_NAME), bounds)?;
    // A copy is one file: it needs no log of its own.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

/// Says to later workers that this one is at work, with a lock that goes with the process. Before a
/// repair of an earlier run is taken up, all of that run's workers must be gone: they end with dbmedic,
/// but not in the same instant.
fn lock(copies: &Path, resumed: bool) -> io::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(copies)?;
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::open(copies, how, Mode::empty())?);
    let begin = Instant::now();
    let take = |how| loop {
        match flock(&directory, how) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if begin.elapsed() < LAST_WORK => thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => {
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "a helper process of an earlier dbmedic still works on a repair",
                ));
            }
            Err(error) => return Err(error.into()),
        }
    };
    if resumed {
        take(FlockOperation::NonBlockingLockExclusive)?;
    }
    take(FlockOperation::NonBlockingLockShared)?;
    Ok(directory)
}

/// The side that asks; the database is named in each question.
#[derive(Debug)]
pub struct SqlProcess {
    process: Process,
    /// What was proven; none when that is not known.
    proven: Option<Account>,
    /// What the last check found that only a person may see.
    values: Vec<DisagreeingValues>,
}

impl SqlProcess {
    /// Makes ready to ask; `exe` is dbmedic's own executable. The worker starts with the first
    /// question.
    pub fn new(exe: &Path) -> Self {
        Self {
            process: Process::new(exe, Role::Sql),
            proven: None,
            values: Vec::new(),
        }
    }

    /// The same with the workers of a pool.
    pub fn lent_by(pool: &Arc<Pool>) -> Self {
        Self {
            process: Process::lent_by(pool, Role::Sql),
            proven: None,
            values: Vec::new(),
        }
    }

    /// The values of rows and entries that the last check found to disagree. Not for logs, recordings
    /// or policies.
    pub fn take_values(&mut self) -> Vec<DisagreeingValues> {
        std::mem::take(&mut self.values)
    }

    /// The pid of the worker; none when the next question starts one.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Checks a database where it can be read: at `readable`, with the rights for `database`.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`]. That the check could not be made is none: see [`Integrity::error`].
    pub fn check(
        &mut self,
        database: &Path,
        readable: &Path,
        access: Access,
        check: Check,
    ) -> Result<Integrity, WorkerError> {
        let request = Request::Check(checked(readable, access, check)?);
        self.ask_check(database, &request, check)
    }

    /// The same for everything, and keeps account of what was proven when all is well.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn prove(
        &mut self,
        database: &Path,
        readable: &Path,
        access: Access,
        check: Check,
    ) -> Result<Integrity, WorkerError> {
        let request = Request::Prove(checked(readable, access, check)?);
        self.proven = None;
        self.ask_check(database, &request, check)
    }

    /// Checks the tables in which one of these pages lies, and renews the account when all is well;
    /// none when there is no account.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn check_changed(
        &mut self,
        database: &Path,
        readable: &Path,
        access: Access,
        check: Check,
        touched: &BTreeSet<u32>,
    ) -> Result<Option<Integrity>, WorkerError> {
        let Some(account) = self.proven.clone() else {
            return Ok(None);
        };
        let checked = checked(readable, access, check)?;
        let request = Request::CheckChanged(checked, touched.clone(), account);
        self.ask_check(database, &request, check).map(Some)
    }

    /// Whether it is known what was proven.
    pub fn has_proven(&self) -> bool {
        self.proven.is_some()
    }

    /// Takes a snapshot.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub fn snapshot(&mut self, request: SnapshotRequest) -> Result<SnapshotInfo, WorkerError> {
        let source = request.source.clone();
        let request = Request::Snapshot(SnapshotRequest {
            // A log is beside the database.
            readable: absolute(&request.readable)?,
            source: absolute(&request.source)?,
            snapshots: absolute(&request.snapshots)?,
            ..request
        });
        match self.process.ask(&source, &request, COPY_TIMEOUT)? {
            Answer::Snapshot(info, file) => Ok(SnapshotInfo { file, ..info }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Makes a copy of one moment of a database that others use, in a directory that is made.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub fn back_up(
        &mut self,
        database: &Path,
        into: &Path,
        bounds: Bounds,
    ) -> Result<(), WorkerError> {
        let request = Request::BackUp {
            path: absolute(database)?,
            into: absolute(into)?,
            bounds,
        };
        match self.process.ask(database, &request, COPY_TIMEOUT)? {
            Answer::BackedUp => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Makes a probe transaction on a database that others use.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn probe_transaction(&mut self, database: &Path) -> Result<ProbeTransaction, WorkerError> {
        let request = Request::ProbeTransaction(absolute(database)?);
        let within = probe_transaction::PATIENCE + GRACE;
        match self.process.ask(database, &request, within)? {
            Answer::Probed(probe) => Ok(probe),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Begins a check in slices, or goes on with it for about so long; none when more is left.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn slices(
        &mut self,
        database: &Path,
        check: Check,
        time: Duration,
        is_over: bool,
    ) -> Result<Option<Integrity>, WorkerError> {
        let request = Request::Slices {
            path: absolute(database)?,
            check,
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            is_over,
        };
        // What was read until now only this worker knows.
        self.process.keep(true);
        let answer = self.process.ask(database, &request, time + SLICES_GRACE);
        self.process.keep(false);
        match answer? {
            Answer::Sliced => Ok(None),
            Answer::Checked(integrity, values) => {
                self.process.let_go();
                self.values = values;
                Ok(Some(integrity))
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// Builds a repair in the worker; `starts` of it says later whether it is still there.
    pub(super) fn begin(
        &mut self,
        intent: &Intent,
        site: &Site,
        resumed: bool,
    ) -> Result<u64, WorkerError> {
        let request = Request::Begin(Box::new(Beginning {
            intent: intent.clone(),
            path: absolute(&site.path)?,
            may_end: site.may_end.clone(),
            copies: absolute(&site.copies)?,
            resumed,
            workers: worker::worker_pids().into_iter().collect(),
        }));
        match self.process.ask(&site.path, &request, COPY_TIMEOUT)? {
            Answer::Begun => Ok(self.process.starts()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Whether the worker is still the one that a repair was built in.
    pub(super) fn is_still(&self, starts: u64) -> bool {
        self.process.pid().is_some() && self.process.starts() == starts
    }

    /// Does a part of the repair.
    pub(super) fn part(
        &mut self,
        database: &Path,
        part: Part,
        grant: &mut dyn FnMut(Wish) -> Granted,
    ) -> Result<Answer, WorkerError> {
        let request = Request::Part(part);
        self.process
            .ask_granting(database, &request, COPY_TIMEOUT, grant)
    }

    pub(super) fn unexpected(&mut self, answer: &Answer) -> WorkerError {
        self.process.end();
        WorkerError::Broken {
            detail: format!("an answer to another question: {answer:?}"),
        }
    }

    fn ask_check(
        &mut self,
        database: &Path,
        request: &Request,
        check: Check,
    ) -> Result<Integrity, WorkerError> {
        let within = check.deadline.map_or(COPY_TIMEOUT, |time| time + GRACE);
        match self.process.ask(database, request, within)? {
            Answer::Checked(integrity, values) => {
                self.values = values;
                Ok(integrity)
            }
            Answer::Proven(integrity, values, account) => {
                self.values = values;
                self.proven = account.filter(|account| account.0.len() <= MOST_ACCOUNT_BYTES);
                Ok(integrity)
            }
            other => Err(self.unexpected(&other)),
        }
    }
}

fn checked(readable: &Path, access: Access, check: Check) -> Result<Checked, WorkerError> {
    Ok(Checked {
        path: absolute(readable)?,
        access,
        check,
    })
}
