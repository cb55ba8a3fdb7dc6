//! The side that asks a worker.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    First, Granted, LONGEST_LINE, Place, Rights, Role, SUBCOMMAND, Said, VERSION, Wish,
    WorkerError, change_workers,
};
use crate::logging;

/// How long a worker may take to begin to serve.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// What a worker gets from the environment of the process that starts it: other variables may hold
/// secrets, and the owner of the database could read them in the worker.
const ENVIRONMENT: [&str; 4] = ["DBMEDIC_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "TZ"];

/// A worker, started when it is first asked. One request at a time; one that broke, overran its time,
/// or has other rights than the database now needs, is replaced at the next request. It ends with this
/// value.
#[derive(Debug)]
pub struct Process {
    exe: PathBuf,
    role: Role,
    running: Option<Running>,
    /// How many were started.
    starts: u64,
}

#[derive(Debug)]
struct Running {
    child: Child,
    rights: Option<Rights>,
    input: Option<ChildStdin>,
    lines: Receiver<io::Result<Vec<u8>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // An idle process ends by itself when its input does, but one that hangs would not.
        drop(self.input.take());
        drop(self.child.kill());
        drop(self.child.wait());
        change_workers(|pids| {
            pids.remove(&self.child.id());
        });
    }
}

/// The first line for a worker of a role, without the end of the line.
pub fn first_line(role: Role, rights: Option<&Rights>) -> String {
    let first = First {
        v: VERSION,
        role,
        rights: rights.cloned(),
    };
    // A struct of numbers and texts can be written.
    serde_json::to_string(&first).unwrap_or_default()
}

impl Process {
    /// A worker that `exe worker` serves, where `exe` is dbmedic's own executable.
    pub fn new(exe: &Path, role: Role) -> Self {
        Self {
            exe: exe.to_owned(),
            role,
            running: None,
            starts: 0,
        }
    }

    /// The executable.
    pub fn exe(&self) -> &Path {
        &self.exe
    }

    /// The pid of the worker; none when the next request starts one.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// How many workers this value has started: one that was replaced knows nothing of before.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Ends the worker; the next request starts a new one.
    pub fn end(&mut self) {
        self.running = None;
    }

    /// Sees that a worker with the rights for a database is there.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub fn start_for(&mut self, database: &Path) -> Result<(), WorkerError> {
        let rights = Place::of(database)?.rights();
        self.start(rights)
    }

    fn start(&mut self, rights: Option<Rights>) -> Result<(), WorkerError> {
        if self.running.as_ref().is_none_or(|r| r.rights != rights) {
            self.running = None;
            self.starts += 1;
            self.running = Some(Running::start(&self.exe, self.role, rights)?);
        }
        Ok(())
    }

    /// Asks the worker that has the rights for a database.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub fn ask<A: DeserializeOwned>(
        &mut self,
        database: &Path,
        request: &impl Serialize,
        within: Duration,
    ) -> Result<A, WorkerError> {
        let refused = "this is no time to ask".to_owned();
        self.ask_granting(database, request, within, &mut |_| {
            Granted::Refused(refused.clone())
        })
    }

    /// The same, and grants what the worker asks for meanwhile, or not.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub fn ask_granting<A: DeserializeOwned>(
        &mut self,
        database: &Path,
        request: &impl Serialize,
        within: Duration,
        grant: &mut dyn FnMut(Wish) -> Granted,
    ) -> Result<A, WorkerError> {
        self.start_for(database)?;
        // Taken out: only a worker that answered well is kept.
        let Some(mut running) = self.running.take() else {
            return Err(broken("it is not there"));
        };
        let until = Instant::now() + within;
        running.send(request)?;
        loop {
            match running.hear(within, until)? {
                Said::Answer(answer) => {
                    self.running = Some(running);
                    return Ok(answer);
                }
                Said::Failed(failure) => {
                    self.running = Some(running);
                    return Err(failure.into());
                }
                Said::Wishes(wish) => running.send(&grant(wish))?,
                Said::Ready { .. } => return Err(broken("it began twice")),
            }
        }
    }
}

fn broken(detail: impl std::fmt::Display) -> WorkerError {
    WorkerError::Broken {
        detail: detail.to_string(),
    }
}

impl Running {
    fn start(exe: &Path, role: Role, rights: Option<Rights>) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Spawn {
            exe: exe.to_owned(),
            source,
        };
        // What this process got from whoever started it is not for others.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let mut child = Command::new(exe)
            .arg(SUBCOMMAND)
            .env_clear()
            .envs(
                ENVIRONMENT
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env(logging::FORMAT, logging::format().name())
            // Where this process was started, the other user may not be able to go.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its own group: an interrupt from the keyboard must not cut off a restore.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        change_workers(|pids| {
            pids.insert(child.id());
        });
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (line, lines) = sync_channel(1);
        let mut running = Self {
            child,
            rights,
            input,
            lines,
        };
        if let Some(output) = output {
            let read = move || {
                let mut output = BufReader::new(output);
                loop {
                    let next = read_line(&mut output);
                    let is_last = !matches!(&next, Ok(Some(_)));
                    let Some(next) = next.transpose() else { break };
                    if line.send(next).is_err() || is_last {
                        break;
                    }
                }
            };
            thread::Builder::new()
                .name("worker's answers".to_owned())
                .spawn(read)
                .map_err(failed)?;
        }
        running.send_line(first_line(role, running.rights.as_ref()).into_bytes())?;
        match running.hear::<()>(START_TIMEOUT, Instant::now() + START_TIMEOUT)? {
            Said::Ready { v: VERSION } => Ok(running),
            Said::Ready { v } => Err(broken(format!(
                "it is of another version: {v}, not {VERSION}"
            ))),
            Said::Failed(failure) => Err(failure.into()),
            Said::Wishes(_) | Said::Answer(()) => Err(broken("it answered before it was asked")),
        }
    }

    fn send(&mut self, value: &impl Serialize) -> Result<(), WorkerError> {
        let line =
            serde_json::to_vec(value).map_err(|error| broken(format!("request: {error}")))?;
        self.send_line(line)
    }

    fn send_line(&mut self, mut line: Vec<u8>) -> Result<(), WorkerError> {
        line.push(b'\n');
        let input = self.input.as_mut().ok_or_else(|| broken("no input"))?;
        input
            .write_all(&line)
            .map_err(|error| broken(format!("asking: {error}")))
    }

    fn hear<A: DeserializeOwned>(
        &mut self,
        within: Duration,
        until: Instant,
    ) -> Result<Said<A>, WorkerError> {
        let left = until.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(Ok(line)) => {
                serde_json::from_slice(&line).map_err(|error| broken(format!("answer: {error}")))
            }
            Ok(Err(error)) => Err(broken(format!("answer: {error}"))),
            Err(RecvTimeoutError::Disconnected) => Err(broken("it ended")),
            Err(RecvTimeoutError::Timeout) => Err(WorkerError::Timeout { within }),
        }
    }
}

/// A line without its end; none at the end of the input.
pub(super) fn read_line(input: &mut impl io::BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        None => Ok(None),
        Some(_) if line.len() as u64 + 1 < LONGEST_LINE => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line of more than {LONGEST_LINE} bytes"),
        )),
    }
}
