//! Programs at work that look idle: who streams slowly, who waits for its own child, and who writes
//! without locks. Beside each the one that really stands still.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use crate::common::{data, run, talk, wait_for};

/// Rows of the table, of one page each.
const ROWS: u32 = 3000;

/// A program that uses the database. It ends with this value.
struct Program {
    child: Child,
    name: String,
    /// Where it says what it does, and is told to do otherwise.
    beside: PathBuf,
}

impl Program {
    /// Starts what [`play`] plays as `part`.
    fn start(database: &Path, part: &str) -> Self {
        // Not beside the database: a file that comes and goes there looks like a journal.
        let beside = database.with_extension("beside");
        fs::create_dir_all(&beside).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "at_work::play", "--ignored"])
            .env("DBMEDIC_PLAYS", part)
            .env("DBMEDIC_DATABASE", database)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the program", || {
            beside.join("ready").exists().then_some(())
        });
        let name = fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        Self {
            child,
            name: name.trim().to_owned(),
            beside,
        }
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What waits for it to stop stops.
        fs::write(self.beside.join("stop"), b"").ok();
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Not a test: what [`Program::start`] starts.
#[test]
#[ignore = "a process that other tests start"]
fn play() {
    let Some(path) = std::env::var_os("DBMEDIC_DATABASE").map(PathBuf::from) else {
        return;
    };
    let beside = path.with_extension("beside");
    let ready = || fs::write(beside.join("ready"), b"").unwrap();
    let rest = || loop {
        std::thread::park();
    };
    let part = std::env::var("DBMEDIC_PLAYS").unwrap();
    if part == "nolock" {
        let name = format!("file:{}?nolock=1", path.display());
        let database = Connection::open(name).unwrap();
        let begin = "PRAGMA cache_size=2; BEGIN; UPDATE entries SET note = zeroblob(1000)";
        database.execute_batch(begin).unwrap();
        ready();
        rest();
    }
    let database = Connection::open(&path).unwrap();
    if part == "holder" {
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        ready();
        // Its child waits for a grandchild, which works.
        let stop = beside.join("stop");
        let loops = format!("while [ ! -e '{}' ]; do sleep 0.1; done", stop.display());
        let nested = ["-c", "sh -c \"$0\"; :", &loops];
        Command::new("sh").args(nested).status().unwrap();
        fs::write(beside.join("waited"), b"").unwrap();
        rest();
    }
    let mut select = database
        .prepare("SELECT id FROM entries ORDER BY note")
        .unwrap();
    let mut rows = select.query([]).unwrap();
    rows.next().unwrap().unwrap();
    ready();
    if part == "reader" {
        rest();
    }
    // A few rows a second over a socket: it reads no file and uses next to no processor.
    let (mut to, mut from) = std::os::unix::net::UnixStream::pair().unwrap();
    while let Some(row) = rows.next().unwrap() {
        use std::io::{Read as _, Write as _};
        let id: i64 = row.get(0).unwrap();
        to.write_all(&id.to_le_bytes()).unwrap();
        from.read_exact(&mut [0; 8]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A database in this journal mode.
fn database(home: &Path, journal: &str) -> PathBuf {
    let path = home.join("app.db");
    let database = Connection::open(&path).unwrap();
    let mode = format!("PRAGMA journal_mode={journal}");
    database.query_row(&mode, [], |_| Ok(())).unwrap();
    database
        .execute_batch("CREATE TABLE entries(id INTEGER PRIMARY KEY, note BLOB)")
        .unwrap();
    fill(&database);
    path
}

fn fill(database: &Connection) {
    let rows = format!(
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO entries(note) SELECT randomblob(3000) FROM n"
    );
    database.execute_batch(&rows).unwrap();
}

/// What a repair says that may end the program once it stands still for 2 s.
fn mend(database: &Path, name: &str) -> String {
    let output = run(&[
        "repair",
        database.to_str().unwrap(),
        "--apply",
        "--may-end",
        name,
        "--set",
        "stale_lock_age_ms=2000",
        "--set",
        "reader_age_ms=2000",
        "--watch-ms",
        "6000",
        "--state-dir",
        database.with_extension("state").to_str().unwrap(),
    ]);
    format!("{}{}", data(&output), talk(&output))
}

#[test]
fn a_slow_stream_is_not_ended_and_a_reader_that_sleeps_is() {
    for (part, ends) in [("stream", false), ("reader", true)] {
        let home = tempfile::tempdir().unwrap();
        let path = database(home.path(), "wal");
        let mut program = Program::start(&path, part);
        let writer = Connection::open(&path).unwrap();
        fill(&writer);
        let told = mend(&path, &program.name);
        let ended = told.contains("wal.release-reader verified");
        // Also who is not ended is told of.
        let is_told = ended || told.contains("wal.checkpoint-starved");
        assert!(is_told, "{part}: {told}");
        assert_eq!(ended, ends, "{part}: {told}");
        assert_eq!(program.is_running(), !ends, "{part}: {told}");
    }
}

#[test]
fn who_waits_for_its_own_child_is_not_ended_until_the_child_is_gone() {
    for journal in ["wal", "delete"] {
        let home = tempfile::tempdir().unwrap();
        let path = database(home.path(), journal);
        let mut program = Program::start(&path, "holder");
        let told = mend(&path, &program.name);
        assert!(!told.contains("lock.end-holder"), "{journal}: {told}");
        assert!(program.is_running(), "{journal}: {told}");
        fs::write(program.beside.join("stop"), b"").unwrap();
        let waited = program.beside.join("waited");
        wait_for("the child's end", || waited.exists().then_some(()));
        let told = mend(&path, &program.name);
        let ended = told.contains("lock.end-holder verified");
        assert!(ended && !program.is_running(), "{journal}: {told}");
    }
}

#[test]
fn who_writes_without_locks_is_not_called_dead_before_it_is() {
    let home = tempfile::tempdir().unwrap();
    let path = database(home.path(), "delete");
    let check = || {
        let output = run(&["check", path.to_str().unwrap(), "--watch-ms", "500"]);
        let told = format!("{}{}", data(&output), talk(&output));
        (output.status.code(), told)
    };
    let mut program = Program::start(&path, "nolock");
    let journal = path.with_extension("db-journal");
    assert!(journal.exists());
    let (code, told) = check();
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("locks cannot be seen"), "{told}");
    assert!(!told.contains("died"), "{told}");
    let told = mend(&path, &program.name);
    assert!(!told.contains("verified") && program.is_running(), "{told}");
    drop(program);
    // A program at rest that has the database open is not the writer.
    let idle = Connection::open(&path).unwrap();
    let (code, told) = check();
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("journal.hot"), "{told}");
    assert!(journal.exists(), "{told}");
    drop(idle);
}
