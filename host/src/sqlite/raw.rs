//! What a worker does that reads and writes the files of a database as they are, and the side that
//! asks it.
//!
//! It has no SQLite connection, so that it can open and close these files: see [`super::worker`].

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    connection::{self, Stamp},
    contents::{self, Contents},
    copies::{self, CopiedFile, CopyError, Manifest, ToRead},
    files::{self, FileError, Looked, Opened, SystemLists},
    set_aside::{self, Companion},
    trail::{self, Mark, Trail},
    worker::{self, COPY_TIMEOUT, Granted, LOOK_TIMEOUT, Pool, Process, Rights, Role},
};
use crate::clock;
use crate::sqlite::snapshot::{self, SnapshotInfo};

pub use super::worker::{Failure, FailureKind, WorkerError as RawError};

/// What the worker can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Look at the files.
    Look {
        /// The database.
        path: PathBuf,
        /// Whether to verify every frame of the log.
        full: bool,
        /// Processes whose locks are left out; the worker's own always are.
        ignore_pids: Vec<u32>,
    },
    /// Look at the files of several databases; each has an answer of its own, in their order.
    LookAtAll {
        /// The databases.
        looks: Vec<OneLook>,
        /// Processes whose locks are left out; the worker's own always are.
        ignore_pids: Vec<u32>,
    },
    /// Copy the files that exist into a directory.
    Copy {
        /// The database.
        path: PathBuf,
        /// The directory.
        into: PathBuf,
        /// How long writers in rollback mode may be kept waiting; none: to the end of the copy.
        most_lock: Option<Duration>,
    },
    /// Copy the files that exist into a directory, to be read and removed.
    CopyToRead {
        /// The database.
        path: PathBuf,
        /// The directory.
        into: PathBuf,
        /// Whether it is not to be copied where the file system cannot clone.
        only_clone: bool,
    },
    /// Put a copy back.
    Restore {
        /// The database.
        path: PathBuf,
        /// The copy's directory.
        from: PathBuf,
        /// What the files may be overwritten as; none: as anything.
        over: Option<Vec<CopiedFile>>,
    },
    /// Give a companion another name, its own back, or see that it has the other one.
    Aside {
        /// The database.
        path: PathBuf,
        /// Which one.
        companion: Companion,
        /// What makes its other name one that nobody can guess.
        token: String,
        /// What it must be.
        expected: CopiedFile,
        /// What is to be done.
        wish: AsideWish,
    },
    /// Tell what the committed pages of the log hold.
    LogContents {
        /// The database.
        path: PathBuf,
    },
    /// Tell what pages hold now.
    PageContents {
        /// The database.
        path: PathBuf,
        /// The pages.
        pages: Vec<u32>,
    },
    /// Tell length and SHA-256 of each file.
    Digest {
        /// The database.
        path: PathBuf,
    },
    /// Remove what a restore from this copy left beside the database when it was cut off.
    Clear {
        /// The database.
        path: PathBuf,
        /// The copy's directory.
        from: PathBuf,
    },
    /// Remove a directory of copies.
    Discard {
        /// The directory.
        directory: PathBuf,
    },
}

/// One of the regular looks at a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneLook {
    /// The database.
    pub path: PathBuf,
    /// Whether to verify every frame of the log.
    pub full: bool,
    /// From when on to tell which pages were written; none for a first mark.
    pub since: Option<Mark>,
    /// Where the snapshots of all targets are.
    pub snapshots: PathBuf,
    /// The target.
    pub target: String,
}

/// What one of the regular looks showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When it began, milliseconds since the machine was booted.
    pub begun_boot_ms: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// The files.
    pub looked: Looked,
    /// Which pages were written; none when that cannot be told.
    pub trail: Option<Trail>,
    /// The newest snapshot of known age; none when there is none.
    pub newest: Option<SnapshotInfo>,
    /// Its file.
    newest_file: PathBuf,
}

/// What is to be done with a companion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AsideWish {
    /// Give it the other name.
    SetAside,
    /// Give it its own name back.
    PutBack,
    /// See that it has the other name and is whole.
    Verify,
}

/// What the worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Looked(Box<Looked>),
    Copied(Manifest),
    /// Whether nothing changed meanwhile.
    CopiedToRead(ToRead),
    Restored(Manifest),
    Digested(Vec<CopiedFile>),
    Contents(Contents),
    Aside,
    Removed,
    /// One of several looks.
    Seen(Box<Seen>),
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        let kind = match &error {
            CopyError::File(_) | CopyError::NoClone { .. } => FailureKind::File,
            CopyError::InUse { pid, .. } => FailureKind::InUse(*pid),
            CopyError::Exists { .. } => FailureKind::CopyExists,
            CopyError::Unusable { .. } => FailureKind::CopyUnusable,
            CopyError::Changed { .. } | CopyError::Replaced { .. } => FailureKind::Changed,
            CopyError::NoRoom { .. } => FailureKind::NoRoom,
            CopyError::ReadBack { .. } => FailureKind::ReadBack,
        };
        Self::new(kind, &error)
    }
}

/// What a worker knows from one request to the next: nothing of a database.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The newest snapshot of each target, as it was when the directory was changed last.
    newest: BTreeMap<(PathBuf, String), (Stamp, Option<SnapshotInfo>)>,
}

/// A directory that was changed more recently, milliseconds, may be changed again within the same tick of
/// the clock that its times are taken from.
const AT_REST_MS: u64 = 1000;

impl Session {
    /// Does what is asked for, and says each answer.
    ///
    /// # Errors
    ///
    /// Nobody hears.
    pub(super) fn perform(
        &mut self,
        request: Request,
        say: &mut dyn FnMut(Result<Answer, Failure>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Request::LookAtAll {
            looks,
            mut ignore_pids,
        } = request
        else {
            return say(perform(request));
        };
        ignore_pids.push(std::process::id());
        let lists = SystemLists::default();
        for look in &looks {
            say(self.look(look, &ignore_pids, &lists))?;
        }
        Ok(())
    }

    fn look(
        &mut self,
        look: &OneLook,
        ignore_pids: &[u32],
        lists: &SystemLists,
    ) -> Result<Answer, Failure> {
        let begun_boot_ms = clock::boot_ms();
        let failed = |error: FileError| Failure::new(FailureKind::File, &error);
        let opened = Opened::of(&look.path).map_err(failed)?;
        // Before the look: what is written meanwhile is told by the next one.
        let trail = trail::trail(&opened, look.since.as_ref()).ok();
        let newest = self.newest(look);
        let looked = files::look(&opened, look.full, ignore_pids, lists).map_err(failed)?;
        Ok(Answer::Seen(Box::new(Seen {
            begun_boot_ms,
            took_ms: clock::boot_ms().saturating_sub(begun_boot_ms),
            looked,
            trail,
            newest_file: newest
                .as_ref()
                .map(|info| info.file.clone())
                .unwrap_or_default(),
            newest,
        })))
    }

    /// The newest snapshot of a target: read again when its directory was changed, and with each full look.
    fn newest(&mut self, look: &OneLook) -> Option<SnapshotInfo> {
        let key = (look.snapshots.clone(), look.target.clone());
        let Some(stamp) = connection::stamp(&look.snapshots.join(&look.target)) else {
            self.newest.remove(&key);
            return None;
        };
        if let Some((then, known)) = self.newest.get(&key)
            && *then == stamp
            && !look.full
        {
            return known.clone();
        }
        let newest = snapshot::newest_of_known_age(&look.snapshots, &look.target);
        let newest = newest.ok().flatten();
        if clock::wall_ms().saturating_sub(stamp.modified_ms()) > AT_REST_MS {
            self.newest.insert(key, (stamp, newest.clone()));
        } else {
            self.newest.remove(&key);
        }
        newest
    }
}

fn perform(request: Request) -> Result<Answer, Failure> {
    let file = |error: &dyn std::error::Error| Failure::new(FailureKind::File, error);
    match request {
        Request::LookAtAll { .. } => Err(Failure {
            kind: FailureKind::Request,
            message: "each look has an answer of its own".to_owned(),
        }),
        Request::Look {
            path,
            full,
            mut ignore_pids,
        } => {
            ignore_pids.push(std::process::id());
            Opened::of(&path)
                .and_then(|opened| {
                    files::look(&opened, full, &ignore_pids, &SystemLists::default())
                })
                .map(|looked| Answer::Looked(Box::new(looked)))
                .map_err(|error| file(&error))
        }
        Request::Copy {
            path,
            into,
            most_lock,
        } => Ok(copies::copy(&path, &into, most_lock).map(Answer::Copied)?),
        Request::CopyToRead {
            path,
            into,
            only_clone,
        } => Ok(copies::copy_to_read(&path, &into, only_clone).map(Answer::CopiedToRead)?),
        Request::Restore { path, from, over } => {
            Ok(copies::restore(&path, &from, over.as_deref()).map(Answer::Restored)?)
        }
        Request::Aside {
            path,
            companion,
            token,
            expected,
            wish,
        } => {
            let perform = match wish {
                AsideWish::SetAside => set_aside::set_aside,
                AsideWish::PutBack => set_aside::put_back,
                AsideWish::Verify => set_aside::verify,
            };
            perform(&path, companion, &token, &expected)?;
            Ok(Answer::Aside)
        }
        Request::LogContents { path } => contents::of_log(&path)
            .map(Answer::Contents)
            .map_err(|error| file(&error)),
        Request::PageContents { path, pages } => contents::of_pages(&path, &pages)
            .map(Answer::Contents)
            .map_err(|error| file(&error)),
        Request::Digest { path } => copies::digests(&path)
            .map(Answer::Digested)
            .map_err(|error| file(&error)),
        Request::Clear { path, from } => {
            copies::clear_unfinished(&path, &from)?;
            Ok(Answer::Removed)
        }
        Request::Discard { directory } => match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&error)),
            _ => Ok(Answer::Removed),
        },
    }
}

/// The side that asks. One question at a time; a worker that broke or overran its time is replaced at
/// the next question. It ends with this value.
#[derive(Debug)]
pub struct RawProcess {
    process: Process,
    look_timeout: Duration,
}

impl RawProcess {
    /// Makes ready to ask; `exe` is dbmedic's own executable. The worker starts with the first
    /// question, with the rights for the database that it is about.
    ///
    /// # Errors
    ///
    /// [`RawError::Spawn`] when there is no such executable.
    pub fn spawn(exe: &Path) -> Result<Self, RawError> {
        fs::metadata(exe).map_err(|source| RawError::Spawn {
            exe: exe.to_owned(),
            source,
        })?;
        Ok(Self {
            process: Process::new(exe, Role::Raw),
            look_timeout: LOOK_TIMEOUT,
        })
    }

    /// The same with the workers of a pool.
    ///
    /// # Errors
    ///
    /// As [`Self::spawn`].
    pub fn lent_by(pool: &Arc<Pool>) -> Result<Self, RawError> {
        Ok(Self {
            process: Process::lent_by(pool, Role::Raw),
            ..Self::spawn(pool.exe())?
        })
    }

    /// The executable.
    pub fn exe(&self) -> &Path {
        self.process.exe()
    }

    /// The pid of the worker; none when the next question starts one.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// The same with another time allowed for a look than [`LOOK_TIMEOUT`].
    #[must_use]
    pub fn with_look_timeout(self, look_timeout: Duration) -> Self {
        Self {
            look_timeout,
            ..self
        }
    }

    /// Looks at the files of a database; see [`files::look`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn look(
        &mut self,
        path: &Path,
        full: bool,
        ignore_pids: &[u32],
    ) -> Result<Looked, RawError> {
        let request = Request::Look {
            path: absolute(path)?,
            full,
            ignore_pids: [ignore_pids, &worker::worker_pids()].concat(),
        };
        match self.ask(path, &request, self.look_timeout)? {
            Answer::Looked(looked) => Ok(*looked),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Copies the files of a database; see [`copies::copy`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn copy(
        &mut self,
        path: &Path,
        into: &Path,
        most_lock: Option<Duration>,
    ) -> Result<Manifest, RawError> {
        let request = Request::Copy {
            path: absolute(path)?,
            into: absolute(into)?,
            most_lock,
        };
        match self.ask(path, &request, COPY_TIMEOUT)? {
            Answer::Copied(manifest) => Ok(manifest),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Copies the files of a database to be read; see [`copies::copy_to_read`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn copy_to_read(
        &mut self,
        path: &Path,
        into: &Path,
        only_clone: bool,
    ) -> Result<ToRead, RawError> {
        let request = Request::CopyToRead {
            path: absolute(path)?,
            into: absolute(into)?,
            only_clone,
        };
        match self.ask(path, &request, COPY_TIMEOUT)? {
            Answer::CopiedToRead(copied) => Ok(copied),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Puts a copy back, whatever the files are now; see [`copies::restore`]. This process must
    /// have closed its own connections to the database: their locks count.
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn restore(&mut self, path: &Path, from: &Path) -> Result<Manifest, RawError> {
        self.put_back(path, from, None)
    }

    /// Puts a copy back if the files are as `over` tells, or as they were copied; otherwise
    /// [`FailureKind::Changed`]. The rest is as for [`Self::restore`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn restore_over(
        &mut self,
        path: &Path,
        from: &Path,
        over: &[CopiedFile],
    ) -> Result<Manifest, RawError> {
        self.put_back(path, from, Some(over.to_vec()))
    }

    fn put_back(
        &mut self,
        path: &Path,
        from: &Path,
        over: Option<Vec<CopiedFile>>,
    ) -> Result<Manifest, RawError> {
        let request = Request::Restore {
            path: absolute(path)?,
            from: absolute(from)?,
            over,
        };
        match self.ask(path, &request, COPY_TIMEOUT)? {
            Answer::Restored(manifest) => Ok(manifest),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Does with a companion that was copied as `expected` what is wished; see [`set_aside`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn aside(
        &mut self,
        path: &Path,
        companion: Companion,
        token: &str,
        expected: &CopiedFile,
        wish: AsideWish,
    ) -> Result<(), RawError> {
        let request = Request::Aside {
            path: absolute(path)?,
            companion,
            token: token.to_owned(),
            expected: expected.clone(),
            wish,
        };
        match self.ask(path, &request, COPY_TIMEOUT)? {
            Answer::Aside => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// What the committed pages of the log hold; see [`super::contents`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn log_contents(&mut self, path: &Path) -> Result<Contents, RawError> {
        let request = Request::LogContents {
            path: absolute(path)?,
        };
        self.contents(path, &request)
    }

    /// What these pages hold now; see [`super::contents`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn page_contents(&mut self, path: &Path, pages: Vec<u32>) -> Result<Contents, RawError> {
        let request = Request::PageContents {
            path: absolute(path)?,
            pages,
        };
        self.contents(path, &request)
    }

    fn contents(&mut self, path: &Path, request: &Request) -> Result<Contents, RawError> {
        match self.ask(path, request, COPY_TIMEOUT)? {
            Answer::Contents(contents) => Ok(contents),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Length and SHA-256 of each file that exists, the wal-index excepted.
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn digest(&mut self, path: &Path) -> Result<Vec<CopiedFile>, RawError> {
        let request = Request::Digest {
            path: absolute(path)?,
        };
        match self.ask(path, &request, COPY_TIMEOUT)? {
            Answer::Digested(files) => Ok(files),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Removes what a restore from a copy left beside the database when it was cut off.
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn clear(&mut self, path: &Path, from: &Path) -> Result<(), RawError> {
        let request = Request::Clear {
            path: absolute(path)?,
            from: absolute(from)?,
        };
        match self.ask(path, &request, self.look_timeout)? {
            Answer::Removed => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Removes a directory of copies of a database. That it is not there is no error.
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn discard(&mut self, path: &Path, directory: &Path) -> Result<(), RawError> {
        let rights = worker::Place::of(path)?.rights();
        self.discard_as(rights, directory)
    }

    /// The same with these rights.
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn discard_as(&mut self, rights: Option<Rights>, directory: &Path) -> Result<(), RawError> {
        let request = Request::Discard {
            directory: absolute(directory)?,
        };
        let refuse = &mut |_| Granted::Refused("this is no time to ask".to_owned());
        match self
            .process
            .ask_with(rights, &request, COPY_TIMEOUT, refuse)?
        {
            Answer::Removed => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sees that a worker with these rights is there.
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn start(&mut self, rights: Option<Rights>) -> Result<(), RawError> {
        self.process.start(rights)
    }

    /// Looks at databases that are opened with the same rights, one after the other; `seen` gets what each
    /// look showed, in their order.
    ///
    /// # Errors
    ///
    /// See [`RawError`]: of the databases for which `seen` got nothing.
    pub fn look_at_all(
        &mut self,
        rights: Option<Rights>,
        looks: Vec<OneLook>,
        ignore_pids: &[u32],
        seen: &mut dyn FnMut(Result<Seen, Failure>),
    ) -> Result<(), RawError> {
        let count = looks.len();
        let request = Request::LookAtAll {
            looks,
            ignore_pids: [ignore_pids, &worker::worker_pids()].concat(),
        };
        let mut is_other = false;
        let within = self.look_timeout;
        self.process
            .ask_many(rights, &request, count, within, &mut |answer| {
                let answer = answer.map(|answer| match answer {
                    Answer::Seen(mut one) => {
                        let file = std::mem::take(&mut one.newest_file);
                        one.newest = one.newest.map(|info| SnapshotInfo { file, ..info });
                        Some(*one)
                    }
                    _ => None,
                });
                is_other |= matches!(answer, Ok(None));
                if let Some(answer) = answer.transpose() {
                    seen(answer);
                }
            })?;
        if is_other {
            self.process.end();
            return Err(RawError::Broken {
                detail: "an answer to another question".to_owned(),
            });
        }
        Ok(())
    }

    fn ask(
        &mut self,
        database: &Path,
        request: &Request,
        within: Duration,
    ) -> Result<Answer, RawError> {
        self.process.ask(database, request, within)
    }

    fn unexpected(&mut self, answer: &Answer) -> RawError {
        self.process.end();
        RawError::Broken {
            detail: format!("an answer to another question: {answer:?}"),
        }
    }
}

/// A path as a worker knows it, which works in another directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, RawError> {
    std::path::absolute(path).map_err(|source| {
        RawError::Place(worker::PlaceError::Io {
            path: path.to_owned(),
            source,
        })
    })
}
