//! What it costs a database to be watched, side by side in one run.
//!
//! A writer commits fifty transactions a second, at random moments, with a timeout of 5 s. Periods without
//! dbmedic and periods beside it take turns; in each of the latter dbmedic starts anew, so that it makes
//! a full check and takes a snapshot (or refuses to). The table gives for each period the failed commits,
//! those over 100 ms, the latency from the moment at which a commit was due, and the size of the log.
//!
//! ```sh
//! cargo run --release -p dbmedic-tests --bin cost -- --journal wal
//! cargo run --release -p dbmedic-tests --bin cost -- --journal delete
//! cargo run --release -p dbmedic-tests --bin cost -- --journal delete --without-only
//! cargo run --release -p dbmedic-tests --bin cost -- --closed --size-mb 3000
//! ```
//!
//! The last is of a database that nobody has open: `dbmedic check` beside `PRAGMA integrity_check`.
//!
//! Ratios hold; absolute times are those of this machine and of this hour.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for a terminal and for a log"
)]

mod closed;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use dbmedic_tests::binary;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::Connection;

/// Commits a second.
const RATE: f64 = 50.0;
/// The writer's patience.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A commit that takes longer is counted.
const SLOW: Duration = Duration::from_millis(100);
/// Bytes of a row's payload.
const PAYLOAD: usize = 900;

/// What it costs a database to be watched.
#[derive(Debug, Parser)]
struct Arguments {
    /// The journal mode
    #[arg(long, value_enum, default_value = "wal")]
    journal: Journal,
    /// The size of the database, megabytes
    #[arg(long, default_value_t = 1000)]
    size_mb: u64,
    /// How many periods; every second one is beside dbmedic
    #[arg(long, default_value_t = 6)]
    periods: u64,
    /// How long one period is, seconds
    #[arg(long, default_value_t = 300)]
    period_s: u64,
    /// No period beside dbmedic: how far two periods without it differ
    #[arg(long)]
    without_only: bool,
    /// No writer: `dbmedic check` of the closed database beside `PRAGMA integrity_check`, in turns
    #[arg(long, conflicts_with = "without_only")]
    closed: bool,
    /// The seed of the moments and rows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the database and the state directory are made; a temporary directory when left out
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The dbmedic under test; the one beside this program when left out
    #[arg(long)]
    dbmedic: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Journal {
    Wal,
    Delete,
}

impl Journal {
    fn name(self) -> &'static str {
        match self {
            Self::Wal => "wal",
            Self::Delete => "delete",
        }
    }
}

/// What one period came to.
#[derive(Debug, Clone, Default)]
struct Period {
    watched: bool,
    commits: u64,
    failed: u64,
    slow: u64,
    p50: Duration,
    p99: Duration,
    worst: Duration,
    log_bytes: u64,
    /// What dbmedic said of its checks, and its own locks.
    checks: Vec<String>,
    longest_locks: Locks,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let scratch = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let dbmedic = if arguments.without_only {
        None
    } else {
        Some(binary::find(arguments.dbmedic.as_deref())?)
    };
    let database = scratch.path().join("app.db");
    eprintln!(
        "making {} MB in {} mode",
        arguments.size_mb,
        arguments.journal.name()
    );
    let rows = fill(&database, &arguments)?;
    if let (true, Some(dbmedic)) = (arguments.closed, &dbmedic) {
        closed::compare(&database, dbmedic, arguments.periods)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "seed {}, {} MB, journal_mode={}, {} rows, {} commits a second, periods of {} s",
        arguments.seed,
        arguments.size_mb,
        arguments.journal.name(),
        rows,
        RATE,
        arguments.period_s
    );
    println!(
        "| period | dbmedic | commits | failed | over 100 ms | p50 ms | p99 ms | worst ms | log MB | longest own locks ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut writer = Writer::new(&database, rows, arguments.seed)?;
    // Warm caches, a log of its usual size.
    writer.period(Duration::from_secs(10.min(arguments.period_s)));
    let mut periods = Vec::new();
    for number in 0..arguments.periods {
        let watch = match &dbmedic {
            Some(dbmedic) if number % 2 == 1 => {
                Some(Watch::start(dbmedic, &database, scratch.path(), number)?)
            }
            _ => None,
        };
        let mut period = writer.period(Duration::from_secs(arguments.period_s));
        period.watched = watch.is_some();
        if let Some(watch) = watch {
            (period.checks, period.longest_locks) = watch.end()?;
        }
        print_period(number, &period);
        periods.push(period);
    }
    println!("{}", verdict(&periods));
    Ok(ExitCode::SUCCESS)
}

fn fill(database: &Path, arguments: &Arguments) -> anyhow::Result<i64> {
    let connection = Connection::open(database)?;
    connection.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         CREATE TABLE entries(id INTEGER PRIMARY KEY, account INTEGER, label TEXT, payload BLOB);",
    )?;
    let rows = i64::try_from(arguments.size_mb * 1_000_000 / (PAYLOAD as u64 + 60))?;
    connection.execute(
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO entries SELECT i, i * 2654435761 % 1000003, printf('label %d', i * 40503 % 65536),
         randomblob(?2) FROM n",
        [rows, i64::try_from(PAYLOAD)?],
    )?;
    connection.execute_batch(
        "CREATE INDEX by_account ON entries(account); CREATE INDEX by_label ON entries(label);",
    )?;
    let mode = arguments.journal.name();
    let is: String = connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| {
        row.get(0)
    })?;
    anyhow::ensure!(is == mode, "journal_mode is {is}");
    Ok(rows)
}

/// The application.
struct Writer {
    connection: Connection,
    random: StdRng,
    rows: i64,
    log: PathBuf,
}

impl Writer {
    fn new(database: &Path, rows: i64, seed: u64) -> anyhow::Result<Self> {
        let connection = Connection::open(database)?;
        connection.busy_timeout(TIMEOUT)?;
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self {
            connection,
            random: StdRng::seed_from_u64(seed),
            rows,
            log: log.into(),
        })
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        let id = self.random.random_range(1..=self.rows);
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "UPDATE entries SET account = account + 1, label = 'changed ' || id WHERE id = ?1",
            [id],
        )?;
        transaction.execute(
            "INSERT INTO entries(account, label, payload) VALUES (?1, 'new', randomblob(300))",
            [id],
        )?;
        transaction.commit()
    }

    /// Commits at random moments, and times each from when it was due.
    fn period(&mut self, time: Duration) -> Period {
        let begun = Instant::now();
        let mut due = begun;
        let mut took = Vec::new();
        let mut period = Period::default();
        loop {
            let share: f64 = self.random.random();
            due += Duration::from_secs_f64(-(1.0 - share).ln() / RATE);
            if due.duration_since(begun) > time {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.commit().is_err() {
                period.failed += 1;
            }
            let latency = due.elapsed();
            period.slow += u64::from(latency > SLOW);
            took.push(latency);
            if took.len() % 50 == 0 {
                let bytes = fs::metadata(&self.log).map_or(0, |meta| meta.len());
                period.log_bytes = period.log_bytes.max(bytes);
            }
        }
        took.sort_unstable();
        let at = |share: usize| {
            took.get(took.len() * share / 1000)
                .copied()
                .unwrap_or_default()
        };
        period.commits = took.len() as u64;
        period.p50 = at(500);
        period.p99 = at(990);
        period.worst = took.last().copied().unwrap_or_default();
        period
    }
}

/// A dbmedic that observes, with what it says of its own locks.
struct Watch {
    child: Child,
    state: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
    longest: Arc<Mutex<Locks>>,
}

impl Watch {
    fn start(dbmedic: &Path, database: &Path, scratch: &Path, number: u64) -> anyhow::Result<Self> {
        let config = scratch.join("dbmedic.toml");
        let state = scratch.join(format!("state-{number}"));
        fs::write(
            &config,
            format!(
                "version = 1\nstate_dir = \"{}\"\n[[targets]]\nname = \"app\"\nsqlite = \"{}\"\n",
                state.display(),
                database.display()
            ),
        )?;
        let mut child = Command::new(dbmedic)
            .arg("run")
            .arg("-c")
            .arg(&config)
            .env("DBMEDIC_LOG", "warn,own_lock=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start dbmedic")?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let longest = Arc::new(Mutex::new(Locks::new()));
        let stdout = child.stdout.take().context("no output")?;
        let stderr = child.stderr.take().context("no output")?;
        for lines in [
            Box::new(BufReader::new(stdout).lines()) as Box<dyn Iterator<Item = _> + Send>,
            Box::new(BufReader::new(stderr).lines()),
        ] {
            let (heard, longest) = (Arc::clone(&heard), Arc::clone(&longest));
            thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    if let Some((what, us)) = held_us(&line) {
                        if let Ok(mut longest) = longest.lock() {
                            let known = longest.entry(what).or_default();
                            *known = us.max(*known);
                        }
                    } else if let Ok(mut heard) = heard.lock() {
                        heard.push(line);
                    }
                }
            });
        }
        Ok(Self {
            child,
            state,
            heard,
            longest,
        })
    }

    fn end(mut self) -> anyhow::Result<(Vec<String>, Locks)> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        let lines = self
            .heard
            .lock()
            .map(|lines| lines.clone())
            .unwrap_or_default();
        fs::remove_dir_all(&self.state).ok();
        let longest = self
            .longest
            .lock()
            .map(|longest| longest.clone())
            .unwrap_or_default();
        Ok((lines, longest))
    }
}

/// The longest lock for each purpose, microseconds.
type Locks = BTreeMap<String, u64>;

/// The purpose and length of a lock that dbmedic tells.
fn held_us(line: &str) -> Option<(String, u64)> {
    let (_, rest) = line.split_once("held_us=")?;
    let digits = rest.split(|byte: char| !byte.is_ascii_digit()).next()?;
    let what = line
        .split_once("for_what=\"")
        .and_then(|(_, rest)| rest.split('"').next());
    Some((what.unwrap_or("lock").to_owned(), digits.parse().ok()?))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn print_period(number: u64, period: &Period) {
    println!(
        "| {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
        number + 1,
        if period.watched { "observes" } else { "-" },
        period.commits,
        period.failed,
        period.slow,
        ms(period.p50),
        ms(period.p99),
        ms(period.worst),
        Duration::from_micros(period.log_bytes).as_secs_f64(),
        if period.watched {
            period
                .longest_locks
                .iter()
                .map(|(what, us)| format!("{what} {:.1}", ms(Duration::from_micros(*us))))
                .collect::<Vec<_>>()
                .join(", ")
        } else {
            "-".to_owned()
        }
    );
    for line in &period.checks {
        eprintln!("    {line}");
    }
}

/// The ratios of the periods beside dbmedic to the ones before them.
fn verdict(periods: &[Period]) -> String {
    let mut p99: Vec<f64> = periods
        .chunks_exact(2)
        .map(|pair| ms(pair[1].p99) / ms(pair[0].p99).max(0.001))
        .collect();
    p99.sort_by(f64::total_cmp);
    let median = p99.get(p99.len() / 2).copied().unwrap_or_default();
    let sum = |watched: bool, count: fn(&Period) -> u64| -> u64 {
        let of = |(at, _): &(usize, &Period)| (at % 2 == 1) == watched;
        let chosen = periods.iter().enumerate().filter(of);
        chosen.map(|(_, period)| count(period)).sum()
    };
    let log = |second: bool| {
        let of = |(at, _): &(usize, &Period)| (at % 2 == 1) == second;
        let chosen = periods.iter().enumerate().filter(of);
        chosen
            .map(|(_, period)| period.log_bytes)
            .max()
            .unwrap_or(0)
    };
    format!(
        "second of each pair / first: median ratio of p99 {median:.2} ({}); failed {} / {}; over 100 ms {} / {} of {} / {} commits; log {:.1} / {:.1} MB",
        p99.iter()
            .map(|ratio| format!("{ratio:.2}"))
            .collect::<Vec<_>>()
            .join(", "),
        sum(true, |period| period.failed),
        sum(false, |period| period.failed),
        sum(true, |period| period.slow),
        sum(false, |period| period.slow),
        sum(true, |period| period.commits),
        sum(false, |period| period.commits),
        Duration::from_micros(log(true)).as_secs_f64(),
        Duration::from_micros(log(false)).as_secs_f64(),
    )
}
