//! One writer: a process that does small transactions at a bounded rate, and writes down which of
//! them the database acknowledged.
//!
//! It is meant to live through everything that the demo does to its database: an error is counted
//! and never ends it, and never counts as an acknowledgement.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use rand::{RngExt as _, rngs::StdRng};
use rusqlite::{Connection, ErrorCode, TransactionBehavior, config::DbConfig};
use serde::{Deserialize, Serialize};

use super::{
    Acknowledged, Scene,
    acknowledged::{self, AcknowledgementLog},
    child::READY,
    rows::{self, NOTE_BYTES, Order},
};

/// How long a statement waits for a lock before it answers `BUSY`.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a writer waits before it opens the database again after an error.
const BEFORE_REOPEN: Duration = Duration::from_millis(100);
/// The most that a writer thinks between two transactions, so that it hears a request to end.
const LONGEST_PAUSE_MS: u64 = 1000;

/// How fast and how much the writers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Pace {
    /// The mean pause between two transactions of a writer, milliseconds.
    #[arg(long)]
    pub pause_ms: u64,
    /// The length of a row's note, bytes.
    #[arg(long)]
    pub note_bytes: u32,
    /// Whether the writers leave the write-ahead log alone: no checkpoint on their own, none on
    /// closing.
    #[arg(long)]
    pub hold_checkpoints: bool,
}

impl Default for Pace {
    /// Four writers make about 150 commits a second.
    fn default() -> Self {
        Self {
            pause_ms: 25,
            note_bytes: NOTE_BYTES,
            hold_checkpoints: false,
        }
    }
}

impl Pace {
    pub(crate) fn flags(self) -> Vec<String> {
        let mut flags = vec![
            format!("--pause-ms={}", self.pause_ms),
            format!("--note-bytes={}", self.note_bytes),
        ];
        if self.hold_checkpoints {
            flags.push("--hold-checkpoints".into());
        }
        flags
    }
}

/// What a writer is told when it starts.
#[derive(Debug, clap::Args)]
pub struct WriterArgs {
    /// Where it writes.
    #[command(flatten)]
    pub scene: Scene,
    /// Which one it is, counted from 1.
    #[arg(long)]
    pub writer: u32,
    /// How fast, until it is told otherwise on its standard input.
    #[command(flatten)]
    pub pace: Pace,
}

/// The life of a writer. It ends at SIGTERM, or when its standard input closes, after the
/// transaction that it is in.
///
/// # Errors
///
/// Only when its own logs cannot be written: a commit that cannot be acknowledged must be its last.
pub fn writer_main(args: &WriterArgs) -> anyhow::Result<()> {
    let WriterArgs { scene, writer, .. } = args;
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .context("cannot listen for SIGTERM")?;
    let pace = Arc::new(Mutex::new(args.pace));
    listen(Arc::clone(&pace), Arc::clone(&stop));
    let mut acknowledgements = AcknowledgementLog::open(&scene.acknowledgements(*writer))?;
    let mut errors = ErrorLog::open(scene, *writer)?;
    let logged = acknowledged::last_sequence(scene, *writer)?;
    writeln!(io::stdout(), "{READY}").context("cannot say that it is ready")?;

    let mut pauses = rows::random(scene, *writer, -1 - logged);
    let mut sequence = logged + 1;
    let mut session = None;
    while !stop.load(Ordering::Relaxed) {
        let pace = *pace.lock().unwrap_or_else(PoisonError::into_inner);
        pause(&mut pauses, pace);
        let result = match session.take() {
            Some(session) => Ok(session),
            None => Session::open(scene, *writer, pace),
        }
        .and_then(|mut opened: Session| {
            // A commit that was not acknowledged may be there: its number is not used again.
            sequence = sequence.max(opened.last_sequence + 1);
            let order = Order::of(scene, *writer, sequence, pace.note_bytes as usize);
            let written = opened.write(&order, pace);
            session = Some(opened);
            written.map(|commit| (order, commit))
        });
        match result {
            Ok((order, commit)) => {
                acknowledgements
                    .append(&Acknowledged {
                        writer: *writer,
                        sequence,
                        row: order.id,
                        commit,
                        hash: order.content_hash(),
                    })
                    .context("cannot write down an acknowledgement")?;
                sequence += 1;
            }
            // Nothing was done: the same transaction once more.
            Err(error) if is_busy(&error) => errors.append("busy", &error)?,
            // Whether it was done is not known, and the connection may have gone bad.
            Err(error) => {
                errors.append(class(&error), &error)?;
                sequence += i64::from(session.is_some());
                session = None;
                thread::sleep(BEFORE_REOPEN);
            }
        }
    }
    Ok(())
}

/// Takes new paces from the standard input until it closes, which means: end.
fn listen(pace: Arc<Mutex<Pace>>, stop: Arc<AtomicBool>) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(told) = serde_json::from_str(&line) {
                *pace.lock().unwrap_or_else(PoisonError::into_inner) = told;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn pause(random: &mut StdRng, pace: Pace) {
    let mean = pace.pause_ms.min(LONGEST_PAUSE_MS);
    thread::sleep(Duration::from_millis(
        random.random_range(mean / 2..=mean + mean / 2),
    ));
}

/// A connection of a writer.
struct Session {
    connection: Connection,
    /// The writer's last transaction that the database knew when it was opened.
    last_sequence: i64,
    holds_checkpoints: bool,
}

impl Session {
    fn open(scene: &Scene, writer: u32, pace: Pace) -> rusqlite::Result<Self> {
        // Never creates: a database that is away is a fault to live through, not a new beginning.
        let flags = rusqlite::OpenFlags::default() - rusqlite::OpenFlags::SQLITE_OPEN_CREATE;
        let connection = Connection::open_with_flags(scene.database(), flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // The demo kills processes, never the power: what COMMIT wrote stays in the system's cache,
        // so NORMAL keeps every acknowledged commit as FULL would.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let last_sequence = connection.query_one(
            "SELECT coalesce(max(sequence), 0) FROM orders WHERE writer = ?1",
            [writer],
            |row| row.get(0),
        )?;
        let mut session = Self {
            connection,
            last_sequence,
            holds_checkpoints: false,
        };
        session.hold_checkpoints(pace.hold_checkpoints)?;
        Ok(session)
    }

    fn hold_checkpoints(&mut self, hold: bool) -> rusqlite::Result<()> {
        if hold == self.holds_checkpoints {
            return Ok(());
        }
        // 1000 pages is SQLite's own default.
        let pages = if hold { 0 } else { 1000 };
        self.connection
            .pragma_update(None, "wal_autocheckpoint", pages)?;
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, hold)?;
        self.holds_checkpoints = hold;
        Ok(())
    }

    /// One transaction; answers with its place in the order of commits.
    fn write(&mut self, order: &Order, pace: Pace) -> rusqlite::Result<i64> {
        self.hold_checkpoints(pace.hold_checkpoints)?;
        // Dropped on error, and then rolled back.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let commit = order.write(&transaction)?;
        transaction.commit()?;
        Ok(commit)
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn class(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "corrupt",
        _ => "other",
    }
}

/// The log of a writer's errors.
struct ErrorLog(File);

impl ErrorLog {
    fn open(scene: &Scene, writer: u32) -> anyhow::Result<Self> {
        let path = scene.errors(writer);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self(file.with_context(|| {
            format!("cannot open {}", path.display())
        })?))
    }

    fn append(&mut self, class: &str, error: &rusqlite::Error) -> anyhow::Result<()> {
        self.0
            .write_all(format!("{class} {error}\n").as_bytes())
            .context("cannot write down an error")
    }
}

/// Gives this process a name of its own, so that `ps` and dbmedic can tell it from the others.
pub(crate) fn take_name(name: &str) -> anyhow::Result<()> {
    fs::write("/proc/self/comm", name).context("cannot name this process")
}
