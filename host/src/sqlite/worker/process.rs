//! The side that asks a worker.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pool::{Pool, Share};
use super::{
    Failure, First, Granted, LONGEST_LINE, Place, Rights, Role, SUBCOMMAND, Said, VERSION, Wish,
    WorkerError, change_workers,
};
use crate::logging;

/// How long a worker may take to begin to serve.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// What a worker gets from the environment of the process that starts it: other variables may hold
/// secrets, and the owner of the database could read them in the worker.
const ENVIRONMENT: [&str; 4] = ["DBMEDIC_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "TZ"];

/// A worker, had when it is first asked. One request at a time; one that broke, overran its time,
/// or has other rights than the database now needs, is replaced at the next request.
///
/// It is a worker of its own, which ends with this value; or one that a pool lends for each request.
#[derive(Debug)]
pub struct Process {
    exe: PathBuf,
    role: Role,
    running: Option<Running>,
    /// How many were started.
    starts: u64,
    pool: Option<Arc<Pool>>,
    /// Whether a worker of the pool stays here after an answer.
    keeps: bool,
    /// The worker that the pool lent last: it may know more than another one.
    last: Option<u32>,
}

/// A worker that runs.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    role: Role,
    rights: Option<Rights>,
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// What was read of its answers and not used yet.
    read: Vec<u8>,
    /// How much of that was searched for the end of a line.
    searched: usize,
    /// Its share of the pool that lent it.
    share: Option<Share>,
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
            pool: None,
            keeps: false,
            last: None,
        }
    }

    /// A worker of a role that a pool lends for each request.
    pub fn lent_by(pool: &Arc<Pool>, role: Role) -> Self {
        Self {
            pool: Some(Arc::clone(pool)),
            ..Self::new(pool.exe(), role)
        }
    }

    /// Whether a worker that a pool lends stays here after an answer, because it knows what the next
    /// request goes on with.
    pub(in crate::sqlite) fn keep(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    /// Gives a worker that was kept back to its pool.
    pub(in crate::sqlite) fn let_go(&mut self) {
        if let Some(running) = self.running.take() {
            self.answered(running);
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

    /// Sees that a worker with these rights is there.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub fn start(&mut self, rights: Option<Rights>) -> Result<(), WorkerError> {
        if self.running.as_ref().is_none_or(|r| r.rights != rights) {
            self.running = None;
            self.starts += 1;
            self.running = Some(match &self.pool {
                Some(pool) => pool.lend(self.role, rights, self.last)?,
                None => Running::start(&self.exe, self.role, rights)?,
            });
        }
        Ok(())
    }

    /// A worker that answered well is used again.
    fn answered(&mut self, running: Running) {
        match &self.pool {
            Some(pool) if !self.keeps => {
                self.last = Some(running.child.id());
                pool.take_back(running);
            }
            _ => self.running = Some(running),
        }
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
        let rights = Place::of(database)?.rights();
        self.ask_with(rights, request, within, grant)
    }

    /// The same of a worker with these rights, whatever a path leads to.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub fn ask_with<A: DeserializeOwned>(
        &mut self,
        rights: Option<Rights>,
        request: &impl Serialize,
        within: Duration,
        grant: &mut dyn FnMut(Wish) -> Granted,
    ) -> Result<A, WorkerError> {
        let mut running = self.sent(rights, request)?;
        let until = Instant::now() + within;
        loop {
            match running.hear(within, until)? {
                Said::Answer(answer) => {
                    self.answered(running);
                    return Ok(answer);
                }
                Said::Failed(failure) => {
                    self.answered(running);
                    return Err(failure.into());
                }
                Said::Wishes(wish) => running.send(&grant(wish))?,
                Said::Ready { .. } => return Err(broken("it began twice")),
            }
        }
    }

    /// Asks for `count` answers to one request, in their order; `within` is the time for each. What the
    /// worker could not do counts as an answer.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`]: the worker gives no more answers.
    pub fn ask_many<A: DeserializeOwned>(
        &mut self,
        rights: Option<Rights>,
        request: &impl Serialize,
        count: usize,
        within: Duration,
        answered: &mut dyn FnMut(Result<A, Failure>),
    ) -> Result<(), WorkerError> {
        let mut running = self.sent(rights, request)?;
        for _ in 0..count {
            answered(match running.hear(within, Instant::now() + within)? {
                Said::Answer(answer) => Ok(answer),
                Said::Failed(failure) => Err(failure),
                Said::Wishes(_) => return Err(broken("it asked for what nobody grants")),
                Said::Ready { .. } => return Err(broken("it began twice")),
            });
        }
        self.answered(running);
        Ok(())
    }

    /// A worker that was sent a request. It was taken out: only one that answered well is kept.
    fn sent(
        &mut self,
        rights: Option<Rights>,
        request: &impl Serialize,
    ) -> Result<Running, WorkerError> {
        self.start(rights)?;
        let mut running = self
            .running
            .take()
            .ok_or_else(|| broken("it is not there"))?;
        running.send(request)?;
        Ok(running)
    }
}

fn broken(detail: impl std::fmt::Display) -> WorkerError {
    WorkerError::Broken {
        detail: detail.to_string(),
    }
}

impl Running {
    /// Starts a worker of a role, which has taken its rights when this returns.
    pub(super) fn start(
        exe: &Path,
        role: Role,
        rights: Option<Rights>,
    ) -> Result<Self, WorkerError> {
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
        let input = child.stdin.take();
        let Some(output) = child.stdout.take() else {
            return Err(broken("no output"));
        };
        let mut running = Self {
            child,
            role,
            rights,
            input,
            output,
            read: Vec::new(),
            searched: 0,
            share: None,
        };
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

    /// Whether it is a worker of this role with these rights, and runs.
    pub(super) fn serves(&mut self, role: Role, rights: Option<&Rights>) -> bool {
        self.role == role
            && self.rights.as_ref() == rights
            && matches!(self.child.try_wait(), Ok(None))
    }

    /// Its pid.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Notes that a pool has lent it.
    pub(super) fn lent(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// Its share of the pool, which takes it back.
    pub(super) fn take_share(&mut self) -> Option<Share> {
        self.share.take()
    }

    fn hear<A: DeserializeOwned>(
        &mut self,
        within: Duration,
        until: Instant,
    ) -> Result<Said<A>, WorkerError> {
        let line = self.line(within, until)?;
        serde_json::from_slice(&line).map_err(|error| broken(format!("answer: {error}")))
    }

    /// The next line of its output, without the end.
    fn line(&mut self, within: Duration, until: Instant) -> Result<Vec<u8>, WorkerError> {
        const AT_ONCE: usize = 1 << 14;
        loop {
            let unsearched = self.read.get(self.searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|&byte| byte == b'\n') {
                let rest = self.read.split_off(self.searched + end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                self.searched = 0;
                line.pop();
                return Ok(line);
            }
            self.searched = self.read.len();
            if self.read.len() as u64 >= LONGEST_LINE {
                return Err(broken(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            self.wait(within, until)?;
            let mut bytes = [0; AT_ONCE];
            match self.output.read(&mut bytes) {
                Ok(0) => return Err(broken("it ended")),
                Ok(count) => self
                    .read
                    .extend_from_slice(bytes.get(..count).unwrap_or(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(format!("answer: {error}"))),
            }
        }
    }

    /// Waits until its output can be read, or has ended.
    fn wait(&self, within: Duration, until: Instant) -> Result<(), WorkerError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or(Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            });
            let mut output = [PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::IN)];
            match poll(&mut output, Some(&left)) {
                Ok(0) => return Err(WorkerError::Timeout { within }),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(broken(format!("answer: {error}"))),
            }
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
