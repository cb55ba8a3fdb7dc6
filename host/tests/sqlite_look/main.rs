//! Looking at, copying and putting back SQLite databases that real processes have open.
//!
//! This process plays the part of dbmedic; the owner of a database is a child, this test binary
//! run again (see [`owner`]); the raw files are read by the real helper process.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach what is outside `#[test]`"
)]

/// Logs and journals that belong to the file beside them, and such that do not.
mod belonging;
/// Processes that use a database so that others cannot see it.
mod hidden_uses;
/// Programs that have a database for themselves.
mod kept;
/// Which pages were written since an earlier moment.
mod trail;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use dbmedic::sqlite::integrity::Check;
use dbmedic::sqlite::look::SqliteSource;
use dbmedic::sqlite::numbers::samples;
use dbmedic::sqlite::raw::{FailureKind, RawError, RawProcess, Request};
use dbmedic::sqlite::worker::{self, Role, first_line};
use dbmedic::sqlite_state::{HeaderFault, Lock, Mode, SqliteState};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

const EXE: &str = env!("CARGO_BIN_EXE_dbmedic");
const FULL: Check = Check {
    mode: Mode::Full,
    max_faults: 100,
    deadline: None,
};

/// The child: opens the database, runs the script, says "ready" and holds what it has until it is
/// told to go. With `OWNER_LOOP`, it goes on running that statement meanwhile. With `OWNER_READS`, it
/// reads these files itself before, as a program that looks at their first bytes does.
#[test]
fn owner() {
    let Ok(path) = env::var("OWNER_DATABASE") else {
        return;
    };
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
        .execute_batch(&env::var("OWNER_SCRIPT").unwrap())
        .unwrap();
    let files = env::var_os("OWNER_READS");
    for file in files.iter().flat_map(env::split_paths) {
        fs::read(file).unwrap();
    }
    eprintln!("ready");
    let again = env::var("OWNER_LOOP").ok();
    if let Some(statement) = again {
        loop {
            connection.execute_batch(&statement).unwrap();
        }
    }
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Owner(Child);

impl Owner {
    fn start(path: &Path, script: &str, again: Option<&str>) -> Self {
        Self::reading(path, script, again, &[])
    }

    fn reading(path: &Path, script: &str, again: Option<&str>, files: &[PathBuf]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "owner", "--nocapture"])
            .env("OWNER_DATABASE", path)
            .env("OWNER_SCRIPT", script)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if !files.is_empty() {
            command.env("OWNER_READS", env::join_paths(files).unwrap());
        }
        if let Some(again) = again {
            command.env("OWNER_LOOP", again);
        }
        let mut child = command.spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            assert!(errors.read_line(&mut line).unwrap() > 0, "the owner died");
        }
        thread::spawn(move || errors.read_to_end(&mut Vec::new()));
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn leave(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn raw() -> RawProcess {
    RawProcess::spawn(Path::new(EXE)).unwrap()
}

struct Place {
    directory: tempfile::TempDir,
    database: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("the place & 100 %");
        fs::create_dir(&home).unwrap();
        Self {
            database: home.join("db?.sqlite"),
            directory,
        }
    }

    fn source(&self) -> SqliteSource {
        SqliteSource::new(&self.database, self.directory.path(), raw())
    }

    fn look(&self) -> SqliteState {
        self.source().look(true, None).unwrap()
    }

    fn companion(&self, suffix: &str) -> PathBuf {
        let mut path = self.database.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    /// Every file beside the database: content and time of the last change.
    fn everything(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        fs::read_dir(self.database.parent().unwrap())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let modified = fs::metadata(&path).unwrap().modified().unwrap();
                (path.clone(), (fs::read(&path).unwrap(), modified))
            })
            .collect()
    }

    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.everything()
            .into_iter()
            .map(|(path, (content, _))| (path, content))
            .collect()
    }
}

const WAL: &str = "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
    CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX i ON t(text);
    INSERT INTO t(text) VALUES ('a'), ('b');";
const ROLLBACK: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT);
    CREATE INDEX i ON t(text); INSERT INTO t(text) VALUES ('a'), ('b');";

fn locks_of(state: &SqliteState, pid: u32) -> Vec<(Lock, bool)> {
    state
        .locks
        .iter()
        .filter(|holder| holder.process.pid == pid)
        .map(|holder| (holder.lock, holder.exclusive))
        .collect()
}

fn value(state: &SqliteState, series: &str) -> Option<f64> {
    samples(state, None, 0)
        .into_iter()
        .find(|sample| sample.series == series)
        .map(|sample| sample.value)
}

#[test]
fn writer_and_reader_of_a_log() {
    let place = Place::new();
    let writer = Owner::start(&place.database, &format!("{WAL} BEGIN IMMEDIATE"), None);
    let reader = Owner::start(&place.database, "BEGIN; SELECT * FROM t", None);
    let state = place.look();

    let held = locks_of(&state, writer.pid());
    assert!(held.contains(&(Lock::WalWrite, true)), "{held:?}");
    assert!(held.contains(&(Lock::WalOpen, false)) && held.contains(&(Lock::Shared, false)));
    let held = locks_of(&state, reader.pid());
    assert!(!held.contains(&(Lock::WalWrite, true)), "{held:?}");
    assert!(
        held.iter()
            .any(|(lock, _)| matches!(lock, Lock::WalRead(_)))
    );
    assert!(
        state
            .locks
            .iter()
            .all(|h| h.process.start_ticks > 0 && h.process.name != "unknown")
    );

    let (wal, index) = (
        state.wal.as_ref().unwrap(),
        state.wal_index.as_ref().unwrap(),
    );
    assert!(wal.header_valid && wal.scanned && wal.first_bad_frame.is_none());
    assert_eq!(
        (wal.salts, wal.valid_frames),
        (index.salts, u64::from(index.max_frame))
    );
    assert_eq!(wal.last_commit_frame, wal.valid_frames);
    assert_eq!(wal.commits, 3);
    assert_eq!(u64::from(index.change_counter), wal.commits);
    let own = Connection::open(&place.database).unwrap();
    let ask = |what: &str| own.pragma_query_value(None, what, |row| row.get::<_, i64>(0));
    let size = ask("page_count").unwrap() * ask("page_size").unwrap();
    drop(own);
    assert_eq!(i64::try_from(index.database_bytes), Ok(size));
    // The writer's snapshot is a reader's too.
    assert_eq!(value(&state, "readers"), Some(2.0));
    assert_eq!(
        value(&state, "wal_backlog_frames"),
        value(&state, "wal_frames")
    );
    assert_eq!(value(&state, "corruption_count"), Some(0.0));

    let pid = writer.pid();
    writer.kill();
    assert_eq!(locks_of(&place.look(), pid), []);
    reader.leave();
}

#[test]
fn writer_in_rollback_mode() {
    let place = Place::new();
    let writer = Owner::start(
        &place.database,
        &format!("{ROLLBACK} BEGIN IMMEDIATE"),
        None,
    );
    let state = place.look();
    assert_eq!(
        locks_of(&state, writer.pid()),
        [(Lock::Shared, false), (Lock::Reserved, true)]
    );
    assert!(state.wal.is_none() && state.wal_index.is_none() && state.header_fault.is_none());
    assert_eq!(value(&state, "corruption_count"), None);
}

#[test]
fn own_locks_are_left_out() {
    let place = Place::new();
    let connection = Connection::open(&place.database).unwrap();
    connection
        .execute_batch(&format!("{WAL} BEGIN IMMEDIATE"))
        .unwrap();
    let state = place.look();
    assert_eq!(state.locks, []);
    assert_eq!(state.wal.unwrap().commits, 3);
}

/// A log that is being written and started over all the time is never called damaged.
#[test]
fn busy_log_is_never_damaged() {
    let place = Place::new();
    let script = "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=20; PRAGMA synchronous=OFF;
        CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT);";
    let again = "INSERT INTO t(text) VALUES (hex(randomblob(3000)));
        DELETE FROM t WHERE id < (SELECT max(id) - 50 FROM t);";
    let _writer = Owner::start(&place.database, script, Some(again));
    let mut source = place.source();
    let mut commits = 0.0;
    let mut previous: Option<SqliteState> = None;
    for _ in 0..300 {
        let state = source.look(true, None).unwrap();
        assert_eq!(state.header_fault, None);
        if let Some(wal) = state.wal.as_ref() {
            assert!(wal.header_valid, "{state:?}");
            assert_eq!(wal.first_bad_frame, None, "{state:?}");
        }
        let numbers = samples(&state, previous.as_ref(), 1000);
        assert!(numbers.iter().all(|sample| sample.value.is_finite()));
        commits += numbers
            .iter()
            .find(|sample| sample.series == "commits_per_s")
            .map_or(0.0, |sample| sample.value);
        previous = Some(state);
    }
    assert!(commits > 100.0, "{commits}");
}

/// Looks and checks as thoroughly as possible; every file must stay as it is.
fn look_untouched(place: &Place) -> SqliteState {
    let mut source = place.source();
    let before = place.everything();
    let state = source.look(true, Some(FULL)).unwrap();
    let after = place.everything();
    assert!(
        before == after,
        "{:?} became {:?}",
        before.keys(),
        after.keys()
    );
    let integrity = state.integrity.as_ref().unwrap();
    assert_eq!(integrity.error, None);
    assert_eq!(integrity.faults, []);
    state
}

#[test]
fn a_look_writes_nothing() {
    // Rollback mode: open, and left.
    let place = Place::new();
    let owner = Owner::start(&place.database, ROLLBACK, None);
    look_untouched(&place);
    owner.leave();
    look_untouched(&place);

    // A log, its owner alive; then killed; then without the index.
    let place = Place::new();
    let owner = Owner::start(&place.database, WAL, None);
    assert!(look_untouched(&place).wal_index.is_some());
    owner.kill();
    assert_eq!(look_untouched(&place).wal.unwrap().commits, 3);
    fs::remove_file(place.companion("-shm")).unwrap();
    let state = look_untouched(&place);
    assert_eq!((state.wal.unwrap().commits, state.wal_index), (3, None));

    // Closed in order: the header asks for a log, and there is none.
    Owner::start(&place.database, "SELECT * FROM t", None).leave();
    assert!(look_untouched(&place).wal.is_none());

    // A journal left behind by a transaction that had already written to the database.
    let place = Place::new();
    let spill = "PRAGMA cache_size=2; BEGIN; INSERT INTO t(text)
        WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        SELECT hex(randomblob(20)) FROM n;";
    let owner = Owner::start(&place.database, &format!("{ROLLBACK} {spill}"), None);
    let state = place.look();
    assert!(state.journal_bytes.is_some());
    owner.kill();
    let state = look_untouched(&place);
    assert!(state.journal_bytes.is_some() && state.header_fault.is_none());
}

#[test]
fn damaged_log_of_a_dead_process() {
    let place = Place::new();
    Owner::start(&place.database, WAL, None).kill();
    let path = place.companion("-wal");
    let mut log = fs::read(&path).unwrap();
    log[32 + 24 + 100] ^= 1;
    fs::write(&path, log).unwrap();
    let wal = place.look().wal.unwrap();
    assert_eq!((wal.first_bad_frame, wal.commits), (Some(1), 0));
    assert_eq!(wal.lost_commits, 3);
    assert_eq!(value(&place.look(), "corruption_count"), Some(1.0));
}

#[test]
fn header_faults() {
    let place = Place::new();
    assert_eq!(place.look().database_bytes, None);
    Owner::start(&place.database, ROLLBACK, None).leave();
    let whole = fs::read(&place.database).unwrap();
    fs::write(&place.database, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(
        place.look().header_fault,
        Some(HeaderFault::Truncated {
            expected_pages: 3,
            actual_pages: 2
        })
    );
    fs::write(&place.database, b"no database").unwrap();
    assert_eq!(place.look().header_fault, Some(HeaderFault::NotADatabase));
    fs::write(&place.database, b"").unwrap();
    assert_eq!(place.look().header_fault, None);
}

#[test]
fn copy_and_put_back() {
    let place = Place::new();
    let mut helper = raw();
    let copy = place.directory.path().join("copies/one");
    Owner::start(&place.database, WAL, None).kill();
    let mut before = place.contents();
    let manifest = helper.copy(&place.database, &copy, None).unwrap();
    assert!(manifest.stable);
    assert_eq!(manifest.files.len(), 3);
    let error = helper.copy(&place.database, &copy, None).unwrap_err();
    assert!(
        matches!(&error, RawError::Failed(f) if f.kind == FailureKind::CopyExists),
        "{error}"
    );

    // Refused while somebody has it open, and nothing is written.
    let owner = Owner::start(&place.database, "SELECT * FROM t", None);
    let during = place.contents();
    let error = helper.restore(&place.database, &copy).unwrap_err();
    let pid = owner.pid();
    assert!(
        matches!(&error, RawError::Failed(f) if f.kind == FailureKind::InUse(pid)),
        "{error}"
    );
    assert_eq!(place.contents(), during);
    Connection::open(&place.database)
        .unwrap()
        .execute_batch("DELETE FROM t; DROP INDEX i;")
        .unwrap();
    owner.leave();

    // The database is another now, its log is gone, and a journal lies about.
    fs::write(place.companion("-journal"), b"left over").unwrap();
    helper.restore(&place.database, &copy).unwrap();
    before.remove(&place.companion("-shm"));
    assert_eq!(place.contents(), before);
    helper.restore(&place.database, &copy).unwrap();
    assert_eq!(place.contents(), before);
    let rows: i64 = Connection::open(&place.database)
        .unwrap()
        .query_row("SELECT count(*) FROM t INDEXED BY i", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 2);

    // A damaged copy is refused before anything is written.
    let now = place.contents();
    let mut bytes = fs::read(copy.join("database-wal")).unwrap();
    bytes[50] ^= 1;
    fs::write(copy.join("database-wal"), bytes).unwrap();
    let error = helper.restore(&place.database, &copy).unwrap_err();
    assert!(
        matches!(&error, RawError::Failed(f) if f.kind == FailureKind::CopyUnusable),
        "{error}"
    );
    assert_eq!(place.contents(), now);
}

#[test]
fn a_long_copy_keeps_writers_waiting_for_no_longer_than_it_may() {
    let place = Place::new();
    let writer = Connection::open(&place.database).unwrap();
    writer.busy_timeout(Duration::from_mins(1)).unwrap();
    writer.execute_batch("CREATE TABLE t(x)").unwrap();
    // It is long, and nothing more of it is written than what SQLite puts at its beginning.
    let file = fs::File::options().write(true).open(&place.database);
    file.unwrap().set_len(1 << 30).unwrap();
    let copy = place.directory.path().join("copy");
    let (path, into) = (place.database.clone(), copy.clone());
    let most_lock = Some(Duration::from_millis(20));
    let copying = thread::spawn(move || raw().copy(&path, &into, most_lock));
    // The lock is taken before the copy is begun.
    while !copy.join("database").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    writer.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    assert!(!copying.is_finished(), "the writer waited to the end");
    assert!(!copying.join().unwrap().unwrap().stable);
}

#[test]
fn a_new_database_in_its_first_transaction_is_not_taken_for_a_damaged_one() {
    let fill = |journal: &str| {
        format!(
            "PRAGMA journal_mode={journal}; PRAGMA cache_size=2; BEGIN; CREATE TABLE t(x);
             INSERT INTO t WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n
             WHERE i < 200) SELECT randomblob(3000) FROM n;"
        )
    };
    for (journal, when_it_dies) in [
        ("DELETE", None),
        ("TRUNCATE", None),
        ("MEMORY", Some(HeaderFault::NotADatabase)),
    ] {
        let place = Place::new();
        let owner = Owner::start(&place.database, &fill(journal), None);
        let begin = fs::read(&place.database).unwrap();
        assert!(begin.len() > 100 && begin[..100] == [0; 100], "{journal}");
        assert_eq!(place.look().header_fault, None, "{journal}");
        owner.kill();
        // A journal takes it back to nothing; without one half of it stays.
        assert_eq!(place.look().header_fault, when_it_dies, "{journal}");
    }
}

#[test]
fn put_back_can_be_cut_off_anywhere() {
    let place = Place::new();
    let fill = "INSERT INTO t(text) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n
        WHERE i < 20000) SELECT hex(randomblob(200)) FROM n;";
    Owner::start(&place.database, &format!("{ROLLBACK} {fill}"), None).leave();
    let before = place.contents();
    let copy = place.directory.path().join("copy");
    raw().copy(&place.database, &copy, None).unwrap();
    let request = Request::Restore {
        path: place.database.clone(),
        from: copy.clone(),
        over: None,
    };
    let mut unfinished = 0;
    for step in 0..30 {
        fs::write(&place.database, vec![7; 1000 * step]).unwrap();
        fs::write(place.companion("-journal"), b"left over").unwrap();
        let mut helper = Command::new(EXE)
            .arg(worker::SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let request = serde_json::to_string(&request).unwrap();
        let line = format!("{}\n{request}\n", first_line(Role::Raw, None));
        helper
            .stdin
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
        // Cut off at another point each time, by what has been written and not by the clock.
        let begin = Instant::now();
        let wanted = (step as u64 + 1) * 300_000;
        while fs::metadata(&place.database).map_or(0, |m| m.len()) < wanted
            && helper.try_wait().unwrap().is_none()
            && begin.elapsed() < Duration::from_millis(1500)
        {
            thread::yield_now();
        }
        helper.kill().unwrap();
        helper.wait().unwrap();
        unfinished += usize::from(place.contents() != before);
        raw().restore(&place.database, &copy).unwrap();
        assert!(place.contents() == before, "step {step}");
    }
    assert!(
        unfinished > 5,
        "{unfinished} of 30 were cut off in the middle"
    );
}

#[test]
fn helper_that_hangs_or_dies_is_replaced() {
    let place = Place::new();
    Owner::start(&place.database, ROLLBACK, None).leave();
    let mut helper = raw().with_look_timeout(Duration::from_secs(2));
    helper.look(&place.database, false, &[]).unwrap();
    let pid = helper
        .pid()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).unwrap()));
    kill_process(pid.unwrap(), Signal::STOP).unwrap();
    let error = helper.look(&place.database, false, &[]).unwrap_err();
    assert!(matches!(error, RawError::Timeout { .. }), "{error}");
    let looked = helper.look(&place.database, true, &[]).unwrap();
    assert!(looked.state.database_bytes.is_some());

    let missing = RawProcess::spawn(Path::new("/nowhere")).unwrap_err();
    assert!(matches!(missing, RawError::Spawn { .. }), "{missing}");
    let mut other = RawProcess::spawn(Path::new("/bin/true")).unwrap();
    let error = other.look(&place.database, false, &[]).unwrap_err();
    assert!(matches!(error, RawError::Broken { .. }), "{error}");
}

#[test]
fn a_check_leaves_no_file_behind_whatever_the_header_asks_for() {
    for script in [WAL, ROLLBACK] {
        for (write_version, read_version) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let place = Place::new();
            // Closed by the last user: everything is in the file.
            let db = Connection::open(&place.database).unwrap();
            db.execute_batch(script).unwrap();
            drop(db);
            let mut bytes = fs::read(&place.database).unwrap();
            bytes[18..20].copy_from_slice(&[write_version, read_version]);
            fs::write(&place.database, bytes).unwrap();
            let before = place.everything();
            for check in [
                FULL,
                Check {
                    mode: Mode::Quick,
                    ..FULL
                },
            ] {
                let state = place.source().look(true, Some(check)).unwrap();
                let integrity = state.integrity.unwrap();
                assert_eq!(integrity.faults, [], "{write_version} {read_version}");
            }
            assert_eq!(place.everything(), before, "{write_version} {read_version}");
        }
    }
}
