//! What every neighbour has: its name, its random numbers, its database, and when to end.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use rustix::time::{ClockId, clock_gettime};

use super::ChildArguments;
use crate::promised::Promised;

/// What a neighbour says once it is at work.
pub(crate) const READY: &str = "ready";
/// How long a statement waits for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a writer waits before it tries a refused transaction again.
const BEFORE_AGAIN: Duration = Duration::from_millis(20);

/// Whether it is time to end; can be waited for.
#[derive(Debug, Clone, Default)]
pub(super) struct End(Arc<(Mutex<bool>, Condvar)>);

impl End {
    /// Whether it is time to end.
    pub(super) fn is_near(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, or until it is time to end.
    pub(super) fn rest(&self, time: Duration) {
        let (over, changed) = &*self.0;
        let over = over.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(over, time, |over| !*over));
    }

    /// Uses the processor for so long.
    pub(super) fn compute(&self, time: Duration) -> u64 {
        let begin = Instant::now();
        let mut sum = 0_u64;
        while begin.elapsed() < time && !self.is_near() {
            for n in 0..50_000_u64 {
                sum = sum.rotate_left(5) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
        }
        std::hint::black_box(sum)
    }

    fn come(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }
}

/// The place and time of one neighbour.
pub(super) struct Stage {
    pub(super) arguments: ChildArguments,
    pub(super) random: StdRng,
    pub(super) end: End,
}

impl Stage {
    /// Takes the name and listens for the end.
    pub(super) fn enter(arguments: &ChildArguments) -> anyhow::Result<Self> {
        std::fs::write("/proc/self/comm", &arguments.name).context("cannot name this process")?;
        let end = End::default();
        if !arguments.once {
            let end = end.clone();
            std::thread::spawn(move || {
                // An error is an end too.
                std::io::stdin().lock().read_to_end(&mut Vec::new()).ok();
                end.come();
            });
        }
        let seed = arguments.seed ^ (u64::from(arguments.writer) << 32);
        Ok(Self {
            arguments: arguments.clone(),
            random: StdRng::seed_from_u64(seed),
            end,
        })
    }

    /// Whether it goes on.
    pub(super) fn goes_on(&self) -> bool {
        !self.end.is_near()
    }

    /// A time between these, milliseconds.
    pub(super) fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(least_ms..=most_ms))
    }

    /// Rests for a time between these, milliseconds.
    pub(super) fn rest(&mut self, least_ms: u64, most_ms: u64) {
        let time = self.between(least_ms, most_ms);
        self.end.rest(time);
    }

    /// Rests between two pieces of work: in a soak ten times as long.
    pub(super) fn pause(&mut self, least_ms: u64, most_ms: u64) {
        let slower = if self.arguments.soak { 10 } else { 1 };
        self.rest(least_ms * slower, most_ms * slower);
    }

    /// A part of the age at which dbmedic acts: from a fifth to three fifths of it. Long enough to
    /// be seen in several looks, and never a hold of that age.
    pub(super) fn below_threshold(&mut self) -> Duration {
        let threshold = self.arguments.threshold_ms;
        self.between(threshold / 5, threshold * 3 / 5)
    }

    /// A connection to the database.
    pub(super) fn open(&self) -> anyhow::Result<Connection> {
        open(&self.arguments.database)
    }

    /// A connection, and the rows that this writer promises.
    pub(super) fn open_as_writer(&self) -> anyhow::Result<(Connection, Promised)> {
        let database = self.open()?;
        let ChildArguments {
            dir, seed, writer, ..
        } = &self.arguments;
        let promised = Promised::open(&database, dir, *seed, *writer)?;
        Ok((database, promised))
    }
}

/// Readers that overlap for ever keep SQLite from beginning its log again, and in hours it would fill
/// the disk. So in a soak all of them rest at the same time: 20 seconds in five minutes.
pub(super) fn rest_together(end: &End, soak: bool) {
    const EVERY_S: i64 = 300;
    const REST_S: i64 = 20;
    // The same in all processes.
    let within = clock_gettime(ClockId::Boottime).tv_sec % EVERY_S;
    if soak && within < REST_S {
        let rest = u64::try_from(REST_S - within).unwrap_or(0);
        end.rest(Duration::from_secs(rest));
    }
}

/// Opens a database that is there.
pub(super) fn open(path: &Path) -> anyhow::Result<Connection> {
    let flags = rusqlite::OpenFlags::default() - rusqlite::OpenFlags::SQLITE_OPEN_CREATE;
    let database = Connection::open_with_flags(path, flags)
        .with_context(|| format!("cannot open {}", path.display()))?;
    database.busy_timeout(BUSY_TIMEOUT)?;
    // Processes are killed here, never the power.
    database.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(database)
}

/// One transaction with a promised row; done again while somebody else has the lock. `work` runs
/// inside of it.
pub(super) fn promise(
    end: &End,
    database: &mut Connection,
    promised: &mut Promised,
    mut work: impl FnMut(&Transaction<'_>) -> rusqlite::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let done = database
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                promised.write(&transaction)?;
                work(&transaction)?;
                transaction.commit()
            });
        if unless_busy(done)?.is_some() {
            return promised.acknowledge();
        }
        if end.is_near() {
            return Ok(());
        }
        end.rest(BEFORE_AGAIN);
    }
}

/// None where somebody else had the lock: the healthy answer is to try again.
pub(super) fn unless_busy<T>(result: rusqlite::Result<T>) -> anyhow::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Adds rows of 4,000 random bytes, about one page each, and keeps the table below `keep` rows.
pub(super) fn fill(database: &Connection, rows: u32, keep: u32) -> rusqlite::Result<()> {
    database.execute(
        "DELETE FROM filler WHERE id <= (SELECT max(id) FROM filler) - ?1",
        [keep],
    )?;
    let mut insert = database.prepare("INSERT INTO filler (v) VALUES (randomblob(4000))")?;
    for _ in 0..rows {
        insert.execute([])?;
    }
    Ok(())
}

/// Says that it is at work.
pub(super) fn ready() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}").context("cannot say that it is ready")?;
    out.flush().context("cannot say that it is ready")
}
