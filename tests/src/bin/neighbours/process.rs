//! A neighbour as seen by the run: a process that was started, may be killed, and must not end
//! before it is asked to.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::program::{ChildArguments, READY};

/// How long a neighbour may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running neighbour. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Neighbour {
    arguments: ChildArguments,
    stderr: PathBuf,
    contained: bool,
    child: Child,
    stdin: Option<ChildStdin>,
    /// How often the run itself killed it.
    pub(crate) kills: u32,
}

impl Neighbour {
    /// Starts a process and waits until it says that it is ready. `contained` gives it a process
    /// namespace of its own, which needs root.
    pub(crate) fn start(
        arguments: ChildArguments,
        stderr: PathBuf,
        contained: bool,
    ) -> anyhow::Result<Self> {
        let (child, stdin) = spawn(&arguments, &stderr, contained)?;
        Ok(Self {
            arguments,
            stderr,
            contained,
            child,
            stdin: Some(stdin),
            kills: 0,
        })
    }

    /// What it was started with.
    pub(crate) fn arguments(&self) -> &ChildArguments {
        &self.arguments
    }

    /// How it ended, when it did although nobody of the run asked for it.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.child.try_wait()?.map(describe))
    }

    /// Sends a signal to it and to what it started.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process_group(Pid::from_child(&self.child), signal)?)
    }

    /// Kills it with SIGKILL and starts it again.
    pub(crate) fn crash(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        self.child.kill()?;
        self.child.wait()?;
        self.kills += 1;
        let (child, stdin) = spawn(&self.arguments, &self.stderr, self.contained)?;
        self.child = child;
        self.stdin = Some(stdin);
        Ok(())
    }

    /// Asks it to end and waits. An ending that was not asked for, or with an error, is told.
    pub(crate) fn stop(&mut self) -> anyhow::Result<Option<String>> {
        if let Some(ended) = self.ended()? {
            return Ok(Some(ended));
        }
        self.stdin = None;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok((!status.success()).then(|| describe(status)));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(Some(format!(
            "does not end within {} s",
            PATIENCE.as_secs()
        )))
    }

    /// What it wrote to its standard error.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stdin = None;
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(
    arguments: &ChildArguments,
    stderr: &PathBuf,
    contained: bool,
) -> anyhow::Result<(Child, ChildStdin)> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = if contained {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--pid", "--fork", "--kill-child"])
            .arg(program);
        unshare
    } else {
        Command::new(program)
    };
    let stderr = File::options()
        .create(true)
        .append(true)
        .open(stderr)
        .with_context(|| stderr.display().to_string())?;
    let mut child = command
        .arg("child")
        .args(arguments.flags())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        // A group of its own, to stop it together with what it starts.
        .process_group(0)
        .spawn()
        .context("cannot start a neighbour")?;
    let stdin = child.stdin.take().context("no pipe to a neighbour")?;
    let stdout = child.stdout.take().context("no pipe from a neighbour")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim_end() != READY {
        let status = child.wait()?;
        anyhow::bail!(
            "neighbour {} was not ready: {}",
            arguments.name,
            describe(status)
        );
    }
    Ok((child, stdin))
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(15) => "ended by SIGTERM".into(),
        Some(9) => "ended by SIGKILL".into(),
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with {}", status.code().unwrap_or(-1)),
    }
}
