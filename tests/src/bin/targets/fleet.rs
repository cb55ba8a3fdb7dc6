//! The databases, and who uses them.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rusqlite::Connection;

use crate::stalling::Stalling;

/// Between two commits to a database that is written to.
const BETWEEN_COMMITS: Duration = Duration::from_millis(100);
/// Threads that write.
const WRITERS: usize = 4;
/// Rows of a small database.
const ROWS: u64 = 300;
/// Bytes of a row's payload in a large one.
const PAYLOAD: u64 = 900;

/// The databases.
pub(crate) struct Fleet {
    databases: Vec<PathBuf>,
    stalling: Option<(Stalling, PathBuf)>,
}

/// The journal mode of a database, by its number.
fn journal_mode(number: usize) -> &'static str {
    if number.is_multiple_of(2) {
        "wal"
    } else {
        "delete"
    }
}

fn fill(path: &Path, mode: &str, rows: u64, payload: u64) -> anyhow::Result<()> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT NOT NULL, payload BLOB);",
    )?;
    db.execute(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO orders SELECT i, printf('item-%06d', i), randomblob(?2) FROM n",
        [i64::try_from(rows)?, i64::try_from(payload)?],
    )?;
    db.execute_batch("CREATE INDEX orders_by_item ON orders(item);")?;
    let is: String = db.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| {
        row.get(0)
    })?;
    anyhow::ensure!(is == mode, "journal_mode is {is}");
    Ok(())
}

impl Fleet {
    /// Makes the databases: those that are written to come first, then the one whose lock is held, the one
    /// whose index is damaged, and the large ones.
    pub(crate) fn make(home: &Path, count: u64, large: u64, large_mb: u64) -> anyhow::Result<Self> {
        let directory = home.join("databases");
        fs::create_dir(&directory)?;
        let models = ["wal", "delete"].map(|mode| (mode, home.join(format!("{mode}.db"))));
        for (mode, path) in &models {
            fill(path, mode, ROWS, 20)?;
        }
        let mut databases = Vec::new();
        let all = usize::try_from(count)?;
        for number in 0..all {
            let path = directory.join(format!("{number:05}.db"));
            let mode = journal_mode(number);
            let is_large = number + usize::try_from(large)? >= all;
            if is_large {
                let rows = large_mb * 1_000_000 / (PAYLOAD + 60);
                fill(&path, mode, rows, PAYLOAD)?;
            } else {
                let model = models.iter().find(|(of, _)| *of == mode);
                fs::copy(&model.context("no such mode")?.1, &path)?;
            }
            databases.push(path);
        }
        let fleet = Self {
            stalling: Stalling::mount(&home.join("stalling"), &models[1].1)?,
            databases,
        };
        damage_index(&fleet.databases[fleet.damaged()])?;
        Ok(fleet)
    }

    /// How many are written to.
    pub(crate) fn written(&self) -> usize {
        self.databases.len() / 10
    }

    fn held(&self) -> usize {
        self.written()
    }

    fn damaged(&self) -> usize {
        self.written() + 1
    }

    /// The file system that stops to answer, where there is one.
    pub(crate) fn stalling(&self) -> Option<&Stalling> {
        self.stalling.as_ref().map(|(stalling, _)| stalling)
    }

    /// The name of the target on it.
    pub(crate) fn stalling_name(&self) -> Option<&'static str> {
        self.stalling.as_ref().map(|_| "stalling")
    }

    /// What is to be found, and the name of the target.
    pub(crate) fn to_be_found(&self) -> [(&'static str, String); 2] {
        [
            ("found of the held lock", name(self.held())),
            ("found of the damaged index", name(self.damaged())),
        ]
    }

    /// A configuration that names all of them.
    pub(crate) fn configuration(&self, state_dir: &Path) -> String {
        let mut text = format!(
            "version = 1\nmode = \"observe\"\nstate_dir = \"{}\"\n",
            state_dir.display()
        );
        let mut add = |name: &str, path: &Path| {
            let path = path.display();
            // Writing to a String cannot fail.
            let _infallible = write!(
                text,
                "[[targets]]\nname = \"{name}\"\nsqlite = \"{path}\"\n"
            );
        };
        for (number, path) in self.databases.iter().enumerate() {
            add(&name(number), path);
        }
        if let Some((_, path)) = &self.stalling {
            add("stalling", path);
        }
        text
    }

    /// Begins to write, until what this gives is dropped.
    pub(crate) fn write(&self) -> Writing {
        let stop = Arc::new(AtomicBool::new(false));
        let written = &self.databases[..self.written()];
        let shares = written.chunks(written.len().div_ceil(WRITERS).max(1));
        let threads = shares
            .map(|share| {
                let (share, stop) = (share.to_vec(), Arc::clone(&stop));
                thread::spawn(move || {
                    if let Err(error) = write_to(&share, &stop) {
                        eprintln!("a writer ended: {error}");
                    }
                })
            })
            .collect();
        Writing { stop, threads }
    }

    /// Starts a process that holds a write lock.
    pub(crate) fn start_holder(&self) -> anyhow::Result<Holder> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--hold")
            .arg(&self.databases[self.held()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(line.trim() == "ready", "the holder says {line:?}");
        Ok(Holder(child))
    }
}

fn name(number: usize) -> String {
    format!("db{number:05}")
}

/// Holds the write lock of a database until standard input ends.
pub(crate) fn hold(database: &Path) -> anyhow::Result<()> {
    let db = Connection::open(database)?;
    db.execute_batch("BEGIN IMMEDIATE; UPDATE orders SET item = 'held' WHERE id = 1")?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A process that holds a lock until this is dropped.
pub(crate) struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

/// Threads that write until this is dropped.
pub(crate) struct Writing {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

/// Commits to each database once in a while; not synced: it is dbmedic that is measured, and not the disk.
fn write_to(databases: &[PathBuf], stop: &AtomicBool) -> anyhow::Result<()> {
    let mut open = Vec::new();
    for path in databases {
        let db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.execute_batch("PRAGMA synchronous = OFF")?;
        open.push(db);
    }
    let rows = i64::try_from(ROWS)?;
    let mut id = 0;
    while !stop.load(Ordering::Relaxed) {
        let next = Instant::now() + BETWEEN_COMMITS;
        for db in &open {
            id = id % rows + 1;
            db.execute(
                "UPDATE orders SET payload = randomblob(20) WHERE id = ?1",
                [id],
            )?;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Overwrites keys of the index, so that it does not agree with the table any more.
fn damage_index(path: &Path) -> anyhow::Result<()> {
    const PAGE: usize = 4096;
    const LEAF_INDEX_PAGE: u8 = 0x0a;
    let mut bytes = fs::read(path)?;
    let mut damaged = 0;
    for page in bytes.chunks_mut(PAGE).skip(1) {
        if page[0] != LEAF_INDEX_PAGE {
            continue;
        }
        if let Some(at) = page.windows(9).position(|window| window == b"item-0001") {
            page[at + 5] = b'7';
            damaged += 1;
        }
    }
    anyhow::ensure!(damaged > 0, "no index page holds a key");
    Ok(fs::write(path, bytes)?)
}
