//! What it costs to watch many databases in one process, and how evenly they are looked at.
//!
//! So many SQLite databases are made, in both journal modes, a few of them large. A tenth of them is written
//! ten times a second each; a process holds the write lock of one; the index of one is damaged; where this
//! system lets it, one lies on a file system that stops to answer. dbmedic watches all of them once a second,
//! with a low limit of open files. The table gives memory, processes, threads and processor time over all of
//! its processes, then, from a second run that keeps a recording, the looks and the longest time between two
//! looks at one target.
//!
//! ```sh
//! cargo run --release -p dbmedic-tests --bin targets -- --targets 1000 --large 10
//! ```
//!
//! Memory, processes and gaps hold on other machines; processor time is that of this machine and of this hour.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for a terminal and for a log"
)]

mod fleet;
mod processes;
mod seen;
mod stalling;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use dbmedic_tests::binary;

use fleet::Fleet;
use processes::Usage;
use seen::{Found, Heard, Looks};
use stalling::Stalling;

/// What it costs to watch many databases.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many databases
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..))]
    targets: u64,
    /// How many of them are large
    #[arg(long, default_value_t = 10)]
    large: u64,
    /// The size of a large one, megabytes
    #[arg(long, default_value_t = 1000)]
    large_mb: u64,
    /// How long dbmedic watches before anything is measured, seconds: its first full checks fall into it
    #[arg(long, default_value_t = 180)]
    settle_s: u64,
    /// How long is measured, seconds
    #[arg(long, default_value_t = 60)]
    measure_s: u64,
    /// How long the run with a recording is, after the same while, seconds
    #[arg(long, default_value_t = 60)]
    recorded_s: u64,
    /// The limit of open files that dbmedic is started with
    #[arg(long, default_value_t = 1024)]
    open_files: u64,
    /// Where everything is made; a temporary directory when left out
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The dbmedic under test; the one beside this program when left out
    #[arg(long)]
    dbmedic: Option<PathBuf>,
    /// Fail when a bound is not kept: the processes, the threads, the longest time between two looks
    #[arg(long)]
    bounds: bool,
    /// The bound of the time between two looks at one target, milliseconds
    #[arg(long, default_value_t = 1500)]
    longest_gap_ms: u64,
    /// Hold the write lock of this database until standard input ends
    #[arg(long, hide = true)]
    hold: Option<PathBuf>,
}

/// How long dbmedic may take to end while a file system does not answer.
const MOST_TO_END: Duration = Duration::from_secs(5);
/// Processes of dbmedic, at most: itself and eight workers.
const MOST_PROCESSES: usize = 9;
/// Threads over all of them, at most.
const MOST_THREADS: usize = 64;

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(database) = &arguments.hold {
        fleet::hold(database)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scratch = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let dbmedic = binary::find(arguments.dbmedic.as_deref())?;
    let (targets, large) = (arguments.targets, arguments.large);
    eprintln!("making {targets} databases");
    let fleet = Fleet::make(scratch.path(), targets, large, arguments.large_mb)?;
    let stalling = fleet.stalling();
    println!(
        "{targets} targets, {large} of {} MB, {} written ten times a second, {} a limit of {} open files",
        arguments.large_mb,
        fleet.written(),
        if stalling.is_some() {
            "one on a file system that stops to answer,"
        } else {
            "none on a file system that stops to answer (no FUSE here),"
        },
        arguments.open_files,
    );
    let writing = fleet.write();

    let (dbmedic, home) = (dbmedic.as_path(), scratch.path());
    let mut watched = Watched::start(dbmedic, home, &fleet, &arguments, None)?;
    // So that the databases of every target were seen before one is gone.
    watched.sleep(Duration::from_secs(arguments.settle_s))?;
    if let Some(stalling) = stalling {
        stalling.stall();
    }
    let holder = fleet.start_holder()?;
    let before = Usage::of(watched.child.id())?;
    watched.sleep(Duration::from_secs(arguments.measure_s))?;
    let usage = Usage::of(watched.child.id())?.since(&before);
    let found = watched.end(stalling)?;
    drop(holder);

    let recording = home.join("recording.jsonl");
    let mut watched = Watched::start(dbmedic, home, &fleet, &arguments, Some(&recording))?;
    watched.sleep(Duration::from_secs(arguments.settle_s))?;
    if let Some(stalling) = stalling {
        stalling.stall();
    }
    watched.sleep(Duration::from_secs(arguments.recorded_s))?;
    let other_found = watched.end(stalling)?;
    let looks = Looks::read(
        &recording,
        arguments.recorded_s * 1000,
        fleet.stalling_name(),
    )?;
    drop(writing);

    report(&usage, &looks, &found, &other_found, &fleet);
    for gap in looks.longest_gaps() {
        eprintln!("{gap}");
    }
    let all_found = [found, other_found].concat();
    let failures = failures(&usage, &looks, &all_found, &arguments);
    for failure in &failures {
        eprintln!("{failure}");
    }
    Ok(if arguments.bounds && !failures.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A dbmedic that observes, with what it says.
struct Watched {
    child: Child,
    heard: Heard,
}

impl Watched {
    fn start(
        dbmedic: &Path,
        home: &Path,
        fleet: &Fleet,
        arguments: &Arguments,
        recording: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let config = home.join("dbmedic.toml");
        std::fs::write(&config, fleet.configuration(&home.join("state")))?;
        // A shell sets the limit and becomes dbmedic.
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -Sn \"$0\" && exec \"$@\""])
            .arg(arguments.open_files.to_string())
            .arg(dbmedic)
            .args(["run", "--json", "-c"])
            .arg(&config);
        if let Some(recording) = recording {
            command.arg("--record").arg(recording);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start dbmedic")?;
        let heard = Heard::of(&mut child)?;
        Ok(Self { child, heard })
    }

    /// Lets it run for a while.
    fn sleep(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("dbmedic ended ({status}): {}", self.heard.last_words());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Ends it; gives what it found. A process is not gone before the kernel has the answer that one of its
    /// threads waits for.
    fn end(mut self, stalling: Option<&Stalling>) -> anyhow::Result<Vec<Found>> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let until = Instant::now() + MOST_TO_END;
        while self.child.try_wait()?.is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
        }
        if let Some(stalling) = stalling {
            stalling.answer();
        }
        self.child.wait()?;
        Ok(self.heard.found())
    }
}

fn report(usage: &Usage, looks: &Looks, found: &[Found], later: &[Found], fleet: &Fleet) {
    let per_look = usage.processor_s() * 1000.0 / looks.in_time(usage.took).max(1.0);
    println!("| what | value |");
    println!("| --- | --- |");
    println!(
        "| memory, proportional, all processes | {:.0} MB |",
        usage.proportional_mb()
    );
    println!(
        "| memory, resident, all processes | {:.0} MB |",
        usage.resident_mb()
    );
    println!(
        "| memory, proportional, dbmedic itself | {:.0} MB |",
        usage.own_mb()
    );
    println!("| processes | {} |", usage.processes);
    println!("| threads | {} |", usage.threads);
    println!("| open files of dbmedic itself | {} |", usage.open_files);
    println!(
        "| processor time, share of one | {:.1} % |",
        usage.share() * 100.0
    );
    println!(
        "| of it dbmedic itself | {:.1} % |",
        usage.own_share() * 100.0
    );
    println!("| processor time for a look | {per_look:.3} ms |");
    println!("| looks a second | {:.0} |", looks.per_second());
    println!(
        "| longest time between two looks at one target | {} ms ({}) |",
        looks.longest_gap_ms(),
        looks.of_longest_gap()
    );
    for (what, name) in fleet.to_be_found() {
        let of = |found: &[Found]| {
            let mut all = found.iter().filter(|one| one.target == name);
            all.next().map(|one| one.kind.clone())
        };
        let kind = of(found)
            .or_else(|| of(later))
            .unwrap_or_else(|| "nothing".to_owned());
        println!("| {what} | {kind} |");
    }
}

/// The bounds that are not kept, in words.
fn failures(usage: &Usage, looks: &Looks, found: &[Found], arguments: &Arguments) -> Vec<String> {
    let targets = arguments.targets;
    let mut failures = Vec::new();
    let mut bound = |is_kept: bool, text: String| {
        if !is_kept {
            failures.push(text);
        }
    };
    bound(
        usage.processes <= MOST_PROCESSES,
        format!("{} processes, {MOST_PROCESSES} at most", usage.processes),
    );
    bound(
        usage.threads <= MOST_THREADS,
        format!("{} threads, {MOST_THREADS} at most", usage.threads),
    );
    let gap_ms = looks.longest_gap_ms();
    bound(
        gap_ms < arguments.longest_gap_ms,
        format!(
            "{gap_ms} ms between two looks at {}",
            looks.of_longest_gap()
        ),
    );
    let seen = looks.targets() as u64;
    bound(
        seen + 1 >= targets,
        format!("only {seen} of {targets} targets were looked at"),
    );
    for kind in ["lock.stale-holder", "index.corrupt"] {
        let is_found = found.iter().any(|one| one.kind == kind);
        bound(is_found, format!("{kind} was not found"));
    }
    failures
}
