//! The dbmedic under test, running, and what happens to its time.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::plan::Interruption;
use crate::scene::Scene;

/// How long dbmedic may take to end after SIGTERM: it brings a repair to its end first.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A library that shifts the wall clock of a process.
const CLOCK_LIBRARY: &str = include_str!("clock.c");

/// The dbmedic that watches.
pub(crate) struct Watcher {
    child: Child,
    contained: bool,
    /// Where the library reads by how many seconds it shifts the clock.
    clock: Option<PathBuf>,
}

impl Watcher {
    pub(crate) fn start(
        dbmedic: &Path,
        config: &Path,
        scene: &Scene,
        contained: bool,
        interruption: Interruption,
    ) -> anyhow::Result<Self> {
        let mut command = if contained {
            let mut unshare = Command::new("unshare");
            unshare
                .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
                .arg(dbmedic);
            unshare
        } else {
            Command::new(dbmedic)
        };
        let mut clock = None;
        if interruption == Interruption::Clock {
            let shift = scene.dir.join("clock.shift");
            std::fs::write(&shift, 0_i64.to_ne_bytes())?;
            command
                .env("LD_PRELOAD", build_clock(&scene.dir)?)
                .env("CLOCK_SHIFT", &shift);
            clock = Some(shift);
        }
        let output = File::create(scene.output())?;
        let child = command
            .arg("run")
            .arg("-c")
            .arg(config)
            .arg("--record")
            .arg(scene.recording())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start dbmedic")?;
        Ok(Self {
            child,
            contained,
            clock,
        })
    }

    /// How it ended, when it did.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.child.try_wait()?.map(|status| status.to_string()))
    }

    /// Sets the wall clock that it reads by so many seconds.
    pub(crate) fn shift_clock(&self, seconds: i64) -> anyhow::Result<()> {
        let path = self.clock.as_ref().context("its clock cannot be set")?;
        // Written over in place: a file that is cut off under a mapping ends the reader.
        let file = File::options().write(true).open(path)?;
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// Sends a signal to dbmedic and to the processes that it started.
    pub(crate) fn signal_all(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid()?;
        for helper in children(pid)? {
            // It may have ended meanwhile.
            kill_process(helper, signal).ok();
        }
        Ok(kill_process(pid, signal)?)
    }

    /// Sends a signal to dbmedic alone.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// The process id of dbmedic itself, as seen from here.
    fn pid(&self) -> anyhow::Result<Pid> {
        let pid = Pid::from_child(&self.child);
        if !self.contained {
            return Ok(pid);
        }
        let inner = children(pid)?;
        inner
            .first()
            .copied()
            .context("no process in the container")
    }

    /// Stops it with SIGTERM and waits. An ending other than a clean one is told.
    pub(crate) fn stop(&mut self) -> anyhow::Result<Option<String>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(format!("ended too early with {status}")));
        }
        self.signal(Signal::TERM)?;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok((!status.success()).then(|| format!("ended with {status}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(Some("does not end on SIGTERM".into()))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The processes that any thread of a process started.
fn children(pid: Pid) -> anyhow::Result<Vec<Pid>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        let pids = text.split_whitespace().filter_map(|word| word.parse().ok());
        all.extend(pids.filter_map(Pid::from_raw));
    }
    Ok(all)
}

/// Compiles the library that shifts the clock.
fn build_clock(dir: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    std::fs::write(&source, CLOCK_LIBRARY)?;
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status()
        .context("cannot start the C compiler `cc`")?;
    anyhow::ensure!(status.success(), "cannot compile {}", source.display());
    Ok(library)
}
