//! A child process of the demo that lives until it is told to end.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};

use super::{DemoError, Scene};

/// What a child says on its standard output once it does what it is there for.
pub(crate) const READY: &str = "ready";
/// How long a child may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition without an event of its own is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A running process of the demo. It ends with this value, and with this process: it watches the
/// pipe to its standard input, which closes with either.
///
/// Whoever ends it, it is reaped at once, so that nobody takes its zombie for a living process.
#[derive(Debug)]
pub struct DemoChild {
    process: String,
    pid: Pid,
    stdin: Option<ChildStdin>,
    child: Arc<Mutex<Child>>,
}

impl DemoChild {
    /// Starts a process and waits until it says that it is ready.
    pub(crate) fn start(scene: &Scene, process: &str, flags: &[String]) -> Result<Self, DemoError> {
        let mut child = scene
            .command(process, flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(DemoError::child("start", process))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let this = Self {
            process: process.to_owned(),
            pid: Pid::from_child(&child),
            stdin,
            child: Arc::new(Mutex::new(child)),
        };
        this.reap_when_over();
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(DemoError::child("hear from", process))?;
        }
        if line.trim_end() == READY {
            Ok(this)
        } else {
            let status = this.wait()?;
            Err(DemoError::Process {
                process: this.process.clone(),
                detail: format!("it ended before it was ready ({status})"),
            })
        }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it still runs, whoever may have ended it.
    pub fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Ends it (SIGTERM) and waits until it is gone; nothing to do when it already is.
    pub fn clear(&self) -> Result<(), DemoError> {
        self.signal(Signal::TERM)?;
        self.wait().map(drop)
    }

    /// Sends a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), DemoError> {
        let Some(stdin) = &mut self.stdin else {
            return Ok(());
        };
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .map_err(DemoError::child("talk to", &self.process))
    }

    /// Sends a signal, unless it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), DemoError> {
        let mut child = self.child();
        // Not reaped while the lock is held, so the id is still its own.
        if matches!(child.try_wait(), Ok(None)) {
            kill_process(self.pid, signal)
                .map_err(|error| DemoError::child("signal", &self.process)(error.into()))?;
        }
        Ok(())
    }

    /// Stops it where it stands, and returns when it does stand.
    pub(crate) fn freeze(&self) -> Result<(), DemoError> {
        self.signal(Signal::STOP)?;
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Err(Errno::INTR) => {}
                // Reaped already: it stands as still as anything can.
                Ok(_) | Err(Errno::CHILD) => return Ok(()),
                Err(error) => return Err(DemoError::child("stop", &self.process)(error.into())),
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> Result<ExitStatus, DemoError> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let status = self.child().try_wait();
            if let Some(status) = status.map_err(DemoError::child("wait for", &self.process))? {
                return Ok(status);
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(DemoError::Deadline {
            what: format!("the end of the process `{}` ({})", self.process, self.pid()),
            waited: PATIENCE,
        })
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap_when_over(&self) {
        let (pid, child) = (self.pid, Arc::clone(&self.child));
        thread::spawn(move || {
            // Waits without reaping: reaping frees the id, and that may happen under the lock only.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
            let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = child.try_wait() {
                tracing::warn!(%error, "cannot reap a demo process");
            }
        });
    }
}

impl Drop for DemoChild {
    fn drop(&mut self) {
        let mut child = self.child();
        if let Err(error) = child.kill().and_then(|()| child.wait()) {
            tracing::warn!(%error, process = self.process, "cannot end a demo process");
        }
    }
}
