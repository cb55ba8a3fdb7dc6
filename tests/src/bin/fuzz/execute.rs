//! Runs dbmedic once: bounded in time, measured in memory.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a command may take.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Between two observations of a running process. Its peak memory is read in each: what a process
/// takes in its last instant and not before is missed.
const PAUSE: Duration = Duration::from_millis(1);
/// The most of an output that is read, bytes.
const OUTPUT_BYTES: u64 = 64 << 20;
/// What `run` says when it has started.
const WATCHES: &[u8] = b"dbmedic watches";

/// A command of dbmedic's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Invocation {
    pub(crate) args: Vec<String>,
    /// It runs until it is stopped: how long after it has begun to watch.
    pub(crate) stop_after: Option<Duration>,
}

/// How a command ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) timed_out: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// The peak memory of it and of each of its worker processes, KiB, when their sum was largest.
    pub(crate) peaks_kib: Vec<u64>,
    pub(crate) took: Duration,
}

impl Ended {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The most memory that it and its worker processes held together, KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.peaks_kib.iter().sum()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs it in a scene. `outputs` is a directory for what it writes to its outputs.
pub(crate) fn run(
    program: &Path,
    invocation: &Invocation,
    scene: &Path,
    outputs: &Path,
) -> anyhow::Result<Ended> {
    let (out, err) = (outputs.join("stdout"), outputs.join("stderr"));
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(&invocation.args)
        .current_dir(scene)
        .env("TMPDIR", scene.join("tmp"))
        .env("HOME", scene)
        .env("RUST_BACKTRACE", "0")
        .env_remove("DBMEDIC_LOG")
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let group = Pid::from_child(&child);
    let mut ended = Ended::default();
    let mut stop_at = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let peaks_kib = peaks_kib(child.id());
        if peaks_kib.iter().sum::<u64>() > ended.peak_kib() {
            ended.peaks_kib = peaks_kib;
        }
        if began.elapsed() > TIME_LIMIT {
            ended.timed_out = true;
            kill_process_group(group, Signal::KILL).ok();
            break child.wait()?;
        }
        if let Some(after) = invocation.stop_after {
            stop_when_it_watches(&child, after, &err, &mut stop_at)?;
        }
        std::thread::sleep(PAUSE);
    };
    ended.took = began.elapsed();
    // A worker process must not outlive the input.
    kill_process_group(group, Signal::KILL).ok();
    ended.code = status.code();
    ended.signal = status.signal();
    ended.stdout = read(&out)?;
    ended.stderr = read(&err)?;
    Ok(ended)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(OUTPUT_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Asks a watcher to end when it has watched long enough.
fn stop_when_it_watches(
    child: &Child,
    after: Duration,
    stderr: &Path,
    stop_at: &mut Option<Instant>,
) -> anyhow::Result<()> {
    if stop_at.is_none()
        && fs::read(stderr)?
            .windows(WATCHES.len())
            .any(|w| w == WATCHES)
    {
        *stop_at = Some(Instant::now() + after);
    }
    if stop_at.is_some_and(|at| at <= Instant::now()) {
        kill_process(Pid::from_child(child), Signal::TERM)?;
        // It is asked once.
        *stop_at = Some(Instant::now() + TIME_LIMIT * 2);
    }
    Ok(())
}

/// The peak memory of a process and of those that it started, KiB; the process itself comes first.
///
/// A process that is being started shares its parent's memory until it has loaded its own program: it is
/// left out while it has its parent's command line.
fn peaks_kib(pid: u32) -> Vec<u64> {
    let command_line = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let own = command_line(pid);
    let mut peaks_kib = vec![peak_kib(pid)];
    for child in children(pid) {
        // The command line comes first: a program that is loaded then, is loaded when its memory is read.
        if command_line(child) != own {
            peaks_kib.extend(self::peaks_kib(child));
        }
    }
    peaks_kib
}

/// 0 for a process that has ended.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let of_thread = threads.flatten().flat_map(|thread| {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        text.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect::<Vec<_>>()
    });
    of_thread.collect()
}
