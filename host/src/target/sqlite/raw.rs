//! The helper process that touches the database's files raw, and the side that asks it.
//!
//! SQLite's locks belong to the process, and closing any descriptor of a file drops them. So the
//! process that has SQLite connections open never opens these files itself: it asks a child, which
//! has none. One JSON request a line goes in, one JSON answer a line comes out; the child ends when
//! its input does.

use std::{
    error::Error as _,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::{
    copies::{self, CopiedFile, CopyError, Manifest},
    files::{self, Looked},
    trail::{self, Mark, Trail},
};

/// The hidden subcommand that serves.
pub const SUBCOMMAND: &str = "raw";
/// How long a look may take.
pub const LOOK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long copying or putting back may take.
pub const COPY_TIMEOUT: Duration = Duration::from_hours(1);

/// What the helper process can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Look at the files.
    Look {
        /// The database.
        path: PathBuf,
        /// Whether to verify every frame of the log.
        full: bool,
        /// Processes whose locks are left out; the helper's own always is.
        ignore_pids: Vec<u32>,
    },
    /// Copy the files that exist into a directory.
    Copy {
        /// The database.
        path: PathBuf,
        /// The directory.
        into: PathBuf,
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
    /// Tell which pages were written since a mark.
    Trail {
        /// The database.
        path: PathBuf,
        /// The mark; none for a first one.
        since: Option<Mark>,
    },
    /// Tell length and SHA-256 of each file.
    Digest {
        /// The database.
        path: PathBuf,
    },
}

/// What the helper process answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Looked(Box<Looked>),
    Copied(Manifest),
    Restored(Manifest),
    Digested(Vec<CopiedFile>),
    Trailed(Trail),
    Failed(Failure),
}

/// Why the helper process could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What failed, on what, and why, in one line.
    pub message: String,
}

/// The kinds of failure that a caller may tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A file could not be read or written.
    File,
    /// Another process holds a lock (its pid; 0: not known). Nothing was written.
    InUse(u32),
    /// The directory already holds a copy.
    CopyExists,
    /// The copy is incomplete or damaged. Nothing was written.
    CopyUnusable,
    /// A file was changed by somebody else. Nothing was written.
    Changed,
    /// There is no room for a copy. Nothing was copied.
    NoRoom,
    /// A file does not read back as it was written.
    ReadBack,
    /// The request could not be understood.
    Request,
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        Self {
            kind: match &error {
                CopyError::File(_) => FailureKind::File,
                CopyError::InUse { pid, .. } => FailureKind::InUse(*pid),
                CopyError::Exists { .. } => FailureKind::CopyExists,
                CopyError::Unusable { .. } => FailureKind::CopyUnusable,
                CopyError::Changed { .. } | CopyError::Replaced { .. } => FailureKind::Changed,
                CopyError::NoRoom { .. } => FailureKind::NoRoom,
                CopyError::ReadBack { .. } => FailureKind::ReadBack,
            },
            message: chain(&error),
        }
    }
}

/// Serves requests until the input ends. What the hidden subcommand runs; the process must not
/// have SQLite connections.
///
/// # Errors
///
/// The input or the output broke.
pub fn serve(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    // Whatever it makes is for its owner alone, unless it is given other permissions.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    for line in input.lines() {
        let answer = serde_json::from_str(&line?).map_or_else(
            |error| {
                Answer::Failed(Failure {
                    kind: FailureKind::Request,
                    message: format!("the request cannot be read: {error}"),
                })
            },
            perform,
        );
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn perform(request: Request) -> Answer {
    let done = match request {
        Request::Look {
            path,
            full,
            mut ignore_pids,
        } => {
            ignore_pids.push(std::process::id());
            files::look(&path, full, &ignore_pids)
                .map(|looked| Answer::Looked(Box::new(looked)))
                .map_err(CopyError::from)
        }
        Request::Copy { path, into } => copies::copy(&path, &into).map(Answer::Copied),
        Request::Restore { path, from, over } => {
            copies::restore(&path, &from, over.as_deref()).map(Answer::Restored)
        }
        Request::Trail { path, since } => trail::trail(&path, since.as_ref())
            .map(Answer::Trailed)
            .map_err(CopyError::from),
        Request::Digest { path } => copies::digests(&path)
            .map(Answer::Digested)
            .map_err(CopyError::from),
    };
    done.unwrap_or_else(|error| Answer::Failed(error.into()))
}

fn chain(error: &CopyError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Why the helper process gave no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// It could not be started.
    #[error("cannot start the helper process {exe}: check that the file may be executed", exe = exe.display())]
    Spawn {
        /// The executable.
        exe: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not answer in time and was ended; the next question starts a new one.
    #[error("the helper process did not answer within {} s and was ended; check the disk", within.as_secs())]
    Timeout {
        /// How long was waited.
        within: Duration,
    },
    /// It ended, or spoke nonsense; the next question starts a new one.
    #[error(
        "the helper process ended or spoke nonsense ({detail}); the next look starts a new one"
    )]
    Broken {
        /// What was seen.
        detail: String,
    },
    /// It could not do as asked.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The side that asks. One question at a time; a helper process that broke or overran its time is
/// replaced at the next question. It ends with this value.
#[derive(Debug)]
pub struct RawProcess {
    exe: PathBuf,
    look_timeout: Duration,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<io::Result<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // An idle process ends by itself when its input does, but one that hangs would not.
        drop(self.questions.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl RawProcess {
    /// Starts the helper process: `exe raw`, where `exe` is dbmedic's own executable.
    ///
    /// # Errors
    ///
    /// [`RawError::Spawn`].
    pub fn spawn(exe: &Path) -> Result<Self, RawError> {
        Ok(Self {
            exe: exe.to_owned(),
            look_timeout: LOOK_TIMEOUT,
            running: Some(Running::start(exe)?),
        })
    }

    /// The pid of the helper process; none when the next question starts one.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
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
            path: path.to_owned(),
            full,
            ignore_pids: ignore_pids.to_vec(),
        };
        match self.ask(&request, self.look_timeout)? {
            Answer::Looked(looked) => Ok(*looked),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Copies the files of a database; see [`copies::copy`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn copy(&mut self, path: &Path, into: &Path) -> Result<Manifest, RawError> {
        let request = Request::Copy {
            path: path.to_owned(),
            into: into.to_owned(),
        };
        match self.ask(&request, COPY_TIMEOUT)? {
            Answer::Copied(manifest) => Ok(manifest),
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
            path: path.to_owned(),
            from: from.to_owned(),
            over,
        };
        match self.ask(&request, COPY_TIMEOUT)? {
            Answer::Restored(manifest) => Ok(manifest),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Which pages were written since a mark; see [`super::trail`].
    ///
    /// # Errors
    ///
    /// See [`RawError`].
    pub fn trail(&mut self, path: &Path, since: Option<&Mark>) -> Result<Trail, RawError> {
        let request = Request::Trail {
            path: path.to_owned(),
            since: since.copied(),
        };
        match self.ask(&request, self.look_timeout)? {
            Answer::Trailed(trail) => Ok(trail),
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
            path: path.to_owned(),
        };
        match self.ask(&request, COPY_TIMEOUT)? {
            Answer::Digested(files) => Ok(files),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request, within: Duration) -> Result<Answer, RawError> {
        // Taken out: only a helper process that answered well is kept.
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.exe)?,
        };
        let answer = match running.ask(request, within)? {
            Answer::Failed(failure) => Err(failure.into()),
            answer => Ok(answer),
        };
        self.running = Some(running);
        answer
    }

    fn unexpected(&mut self, answer: &Answer) -> RawError {
        self.running = None;
        RawError::Broken {
            detail: format!("an answer to another question: {answer:?}"),
        }
    }
}

impl Running {
    fn start(exe: &Path) -> Result<Self, RawError> {
        let failed = |source| RawError::Spawn {
            exe: exe.to_owned(),
            source,
        };
        let mut child = Command::new(exe)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its own group: an interrupt from the keyboard must not cut off a restore.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let questions = child.stdin.take();
        let (answer, answers) = sync_channel(1);
        if let Some(output) = child.stdout.take() {
            thread::Builder::new()
                .name("raw answers".to_owned())
                .spawn(move || {
                    for line in BufReader::new(output).lines() {
                        if answer.send(line).is_err() {
                            break;
                        }
                    }
                })
                .map_err(failed)?;
        }
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    fn ask(&mut self, request: &Request, within: Duration) -> Result<Answer, RawError> {
        let broken = |detail: String| RawError::Broken { detail };
        let mut line =
            serde_json::to_vec(request).map_err(|error| broken(format!("request: {error}")))?;
        line.push(b'\n');
        self.questions
            .as_mut()
            .ok_or_else(|| broken("no input".to_owned()))?
            .write_all(&line)
            .map_err(|error| broken(format!("asking: {error}")))?;
        match self.answers.recv_timeout(within) {
            Ok(Ok(line)) => {
                serde_json::from_str(&line).map_err(|error| broken(format!("answer: {error}")))
            }
            Ok(Err(error)) => Err(broken(format!("answer: {error}"))),
            Err(RecvTimeoutError::Disconnected) => Err(broken("it ended".to_owned())),
            Err(RecvTimeoutError::Timeout) => Err(RawError::Timeout { within }),
        }
    }
}
