//! The repairs on real databases that real processes have open.
//!
//! This process plays the part of dbmedic; the owner of a database is a child, this test binary
//! run again (see [`owner`]); raw files are read by the real helper process.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach what is outside `#[test]`"
)]

mod ending;
/// Indexes of text.
mod full_text;
/// Logs that do not belong to the file.
mod set_aside;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        net::UnixStream,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use dbmedic::guard::{ApprovedRepair, Choice, Guard, GuardLimits, Mode, Ruling};
use dbmedic::model::{
    Candidate, CascadeLevel, DataLoss, Fact, Finding, Outcome, OutcomeResult, Value,
};
use dbmedic::repair::Site;
use dbmedic::repair_run::{self, StepReport};
use dbmedic::sqlite::raw::RawProcess;
use dbmedic::sqlite::repairs::SqliteRepairs;
use dbmedic::sqlite::worker::{self, Areas};
use dbmedic::sqlite::{locks, wal};
use dbmedic::sqlite_state::{Lock, SqliteState};
use dbmedic::store::{JournalEntry, Reader, Store};
use rusqlite::Connection;

const EXE: &str = env!("CARGO_BIN_EXE_dbmedic");
/// Names the user whose databases are repaired, when that is another one.
const OTHER_USER: &str = "REPAIRS_OF_USER";
const WAL: &str = "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;";

/// The child: opens the database, runs the script, says "ready" and holds what it has until it is
/// told to go. With `OWNER_STUBBORN`, it does not heed SIGTERM; with `OWNER_AFTER_TERM` it runs that
/// script at SIGTERM, `OWNER_TIMES` times or for `OWNER_SECONDS`, and ends with the last; with
/// `OWNER_AFTER_CONT` it runs that one when it goes on after it was stopped.
#[test]
fn owner() {
    let Ok(path) = env::var("OWNER_DATABASE") else {
        return;
    };
    if env::var("OWNER_STUBBORN").is_ok() {
        let told = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTERM, told).unwrap();
    }
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
        .execute_batch(&env::var("OWNER_SCRIPT").unwrap())
        .unwrap();
    // A read transaction lives as long as its statement.
    let mut reading = connection
        .prepare("SELECT count(*) FROM sqlite_schema")
        .unwrap();
    let mut rows = env::var("OWNER_READS")
        .is_ok()
        .then(|| reading.query([]).unwrap());
    if let Some(rows) = &mut rows {
        rows.next().unwrap();
    }
    let after = |signal, script: &str| {
        let script = env::var(script).ok()?;
        let (told, tell) = UnixStream::pair().unwrap();
        signal_hook::low_level::pipe::register(signal, tell).unwrap();
        Some((told, script))
    };
    let at_term = after(signal_hook::consts::SIGTERM, "OWNER_AFTER_TERM");
    let at_cont = after(signal_hook::consts::SIGCONT, "OWNER_AFTER_CONT");
    println!("\nready");
    std::io::stdout().flush().unwrap();
    // It sleeps until then, as whoever has forgotten a transaction: who runs is not ended.
    if let Some((mut told, script)) = at_term {
        told.read_exact(&mut [0]).unwrap();
        let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let times = number("OWNER_TIMES").unwrap_or(u64::MAX);
        let seconds = number("OWNER_SECONDS").unwrap_or(u64::from(u32::MAX));
        let until = std::time::Instant::now() + Duration::from_secs(seconds);
        for _ in 0..times {
            connection.execute_batch(&script).unwrap();
            if std::time::Instant::now() > until {
                break;
            }
        }
        if env::var("OWNER_STUBBORN").is_err() {
            return;
        }
    }
    if let Some((mut told, script)) = at_cont {
        told.read_exact(&mut [0]).unwrap();
        connection.execute_batch(&script).unwrap();
    }
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Owner(Child);

impl Owner {
    fn start(path: &Path, script: &str, traits: &[&str]) -> Self {
        // By this name it can be run by a user who cannot reach the place of the binary.
        let mut child = as_user(Command::new("/proc/self/exe"))
            .args(["owner", "--exact", "--nocapture"])
            .env("OWNER_DATABASE", path)
            .env("OWNER_SCRIPT", script)
            .envs(
                traits
                    .iter()
                    .map(|name| name.split_once('=').unwrap_or((name, "yes"))),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"), "{script}");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn end(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Place {
    directory: tempfile::TempDir,
    database: PathBuf,
    site: Site,
}

impl Drop for Place {
    /// Whatever was done, the files are their owner's, and it can write.
    fn drop(&mut self) {
        let Some(user) = other_user().filter(|_| !std::thread::panicking()) else {
            return;
        };
        for entry in fs::read_dir(self.directory.path().join("data")).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            assert_eq!(meta.uid(), user, "{}", entry.path().display());
        }
        for path in files(&self.state()) {
            let mode = fs::metadata(&path).unwrap().mode();
            let is_private = mode.trailing_zeros() >= 6;
            assert!(is_private, "{}", path.display());
        }
    }
}

/// The entries of the journal.
fn entries(state: &Path) -> Vec<JournalEntry> {
    let lines = Reader::open(state).unwrap().unwrap().entries(None).unwrap();
    lines.into_iter().map(|line| line.entry).collect()
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

impl Place {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        let database = directory.path().join("data/patient.db");
        Connection::open(&database)
            .unwrap()
            .execute_batch(script)
            .unwrap();
        if let Some(user) = other_user() {
            for entry in fs::read_dir(directory.path().join("data")).unwrap() {
                chown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
            }
            chown(directory.path().join("data"), Some(user), Some(user)).unwrap();
        }
        let site = site(directory.path());
        Self {
            directory,
            database,
            site,
        }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn companion(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.database.display()))
    }

    fn look(&self) -> SqliteState {
        let mut raw = RawProcess::spawn(Path::new(EXE)).unwrap();
        raw.look(&self.database, true, &[]).unwrap().state
    }

    /// The bytes of the database, its log and its journal.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        ["", "-wal", "-journal"]
            .iter()
            .filter_map(|suffix| {
                Some((
                    (*suffix).to_owned(),
                    fs::read(self.companion(suffix))
                        .ok()
                        .filter(|b| !b.is_empty())?,
                ))
            })
            .collect()
    }

    fn run(&self, id: &str, facts: Vec<Fact>) -> Outcome {
        self.run_with(id, facts, &mut |_| {})
    }

    fn run_with(
        &self,
        id: &str,
        facts: Vec<Fact>,
        on_step: &mut dyn FnMut(&StepReport),
    ) -> Outcome {
        let store = Store::open(&self.state()).unwrap();
        let outcome = repair_run::run(
            &store,
            &SqliteRepairs,
            &approved(id, facts),
            &self.site,
            &|| 7,
            on_step,
        )
        .unwrap();
        assert_eq!(store.open_repairs().unwrap(), [], "{outcome:?}");
        outcome.outcome
    }

    fn count(&self) -> i64 {
        let db = Connection::open(&self.database).unwrap();
        let verdict: String = db
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok");
        db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap()
    }
}

/// The user whose databases these are, when that is not this one.
fn other_user() -> Option<u32> {
    env::var(OTHER_USER).ok().map(|user| user.parse().unwrap())
}

/// The command as that user.
fn as_user(mut command: Command) -> Command {
    if let Some(user) = other_user() {
        command.uid(user).gid(user);
    }
    command
}

/// Where repairs of the database in a place act.
fn site(place: &Path) -> Site {
    let path = place.join("data/patient.db");
    let rights = worker::Place::of(&path).unwrap().rights();
    assert_eq!(rights.as_ref().map(|rights| rights.uid), other_user());
    let area = Areas::at(&place.join("state")).of(rights.as_ref()).unwrap();
    Site {
        path,
        may_end: Vec::new(),
        copies: area.copies(),
        exe: EXE.into(),
    }
}

/// All the tests in here once more, over the databases of another user: only root can have them. What
/// is beside a database afterwards is that user's own, whatever a repair did.
#[test]
fn over_the_databases_of_another_user() {
    if other_user().is_some() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        // Written past the capturing of the test's output.
        let said = "not root: no repair was tested over another user's database\n";
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    let again = Command::new(env::current_exe().unwrap())
        .env(OTHER_USER, "47110")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{said}");
}

/// What the guard lets through when it has no objection.
fn approved(id: &str, facts: Vec<Fact>) -> ApprovedRepair {
    let limits = GuardLimits {
        max_loss_commits: u64::MAX,
        max_loss_percent: 100.0,
        max_lock_ms: 60_000,
        repairs_per_hour: 9,
        cool_down_ms: 0,
        failures_before_person: 9,
        flap_repairs: 9,
        flap_window_ms: 1,
    };
    let candidate = Candidate {
        id: id.into(),
        summary: String::new(),
        level: CascadeLevel::InPlace,
        preconditions: Vec::new(),
        expected_duration_ms: 0,
        expected_loss: DataLoss::NONE,
        undoable: true,
    };
    let finding = Finding {
        incident: "INC-1".into(),
        kind: "test".into(),
        subject: "subject".into(),
        summary: String::new(),
        severity: 0.5,
        first_seen_ms: 0,
        last_seen_ms: 0,
        sightings: 1,
        facts,
        evidence: Vec::new(),
        candidates: vec![candidate],
    };
    let choice = Choice {
        target: "patient",
        finding: &finding,
        repair: id,
        history: &[],
        mode: Mode::Enforce,
        approved_by_person: false,
        needs_approval: false,
        denied: None,
        maintenance: None,
    };
    match Guard::new(limits, BTreeMap::new()).rule(1, &choice) {
        Ruling::Approved(approved) => *approved,
        other => panic!("{other:?}"),
    }
}

fn integer(name: &str, value: impl TryInto<i64, Error: std::fmt::Debug>) -> Fact {
    Fact {
        name: name.into(),
        value: Value::Integer(value.try_into().unwrap()),
    }
}

fn text(name: &str, value: &str) -> Fact {
    Fact {
        name: name.into(),
        value: Value::Text(value.into()),
    }
}

fn process_facts(prefix: &str, pid: u32) -> Vec<Fact> {
    let process = locks::process(pid).unwrap();
    vec![
        integer(&format!("{prefix}_pid"), process.pid),
        integer(&format!("{prefix}_start_ticks"), process.start_ticks),
        text(&format!("{prefix}_name"), &process.name),
    ]
}

/// A process that holds the write lock, and may be ended.
fn with_holder(traits: &[&str]) -> (Place, Owner) {
    let mut place = Place::new(&format!(
        "{WAL} CREATE TABLE t(x); INSERT INTO t VALUES (1);"
    ));
    let script = "BEGIN IMMEDIATE; INSERT INTO t VALUES (2);";
    let holder = Owner::start(&place.database, script, traits);
    let name = locks::process(holder.pid()).unwrap().name;
    place.site.may_end = vec![name];
    (place, holder)
}

#[track_caller]
fn assert_result(outcome: &Outcome, result: OutcomeResult, words: &str) {
    assert_eq!(outcome.outcome_result, result, "{outcome:?}");
    assert!(outcome.reason.contains(words), "{outcome:?}");
}

#[test]
fn a_holder_that_heeds_sigterm_is_not_killed() {
    let (place, holder) = with_holder(&[]);
    let outcome = place.run("lock.end-holder", process_facts("holder", holder.pid()));
    assert_result(&outcome, OutcomeResult::Verified, "can begin");
    assert_eq!(holder.end().signal(), Some(15));
    assert_eq!(place.count(), 1, "what was not committed is rolled back");
}

#[test]
fn a_holder_that_does_not_heed_sigterm_is_killed() {
    let (place, holder) = with_holder(&["OWNER_STUBBORN"]);
    let outcome = place.run("lock.end-holder", process_facts("holder", holder.pid()));
    assert_result(&outcome, OutcomeResult::Verified, "can begin");
    assert_eq!(holder.end().signal(), Some(9));
    assert_eq!(place.count(), 1);
}

#[test]
fn nobody_is_ended_who_is_not_the_one() {
    let (mut place, mut holder) = with_holder(&[]);
    let facts = process_facts("holder", holder.pid());
    let changed = |at: usize, fact: Fact| {
        let mut facts = facts.clone();
        facts[at] = fact;
        facts
    };
    let ticks = locks::process(holder.pid()).unwrap().start_ticks;
    let refused = |place: &Place, facts: Vec<Fact>, words: &str| {
        let outcome = place.run("lock.end-holder", facts);
        assert_result(&outcome, OutcomeResult::Refused, words);
    };
    refused(
        &place,
        changed(1, integer("holder_start_ticks", ticks + 1)),
        "still-holds",
    );
    refused(&place, changed(0, integer("holder_pid", 1)), "init");
    let me = i64::from(std::process::id());
    refused(&place, changed(0, integer("holder_pid", me)), "dbmedic");
    let parent = i64::from(std::os::unix::process::parent_id());
    refused(
        &place,
        changed(0, integer("holder_pid", parent)),
        "started it",
    );
    let mut stale = facts.clone();
    stale.push(integer("change_counter", 4711));
    refused(&place, stale, "makes-no-progress");
    refused(
        &place,
        facts
            .iter()
            .filter(|f| f.name != "holder_pid")
            .cloned()
            .collect(),
        "holder_pid",
    );
    place.site.may_end = vec!["somebody-else".into()];
    refused(&place, facts, "may_end");
    assert!(holder.is_alive());
}

#[test]
fn a_reader_that_pins_the_log_is_released() {
    let mut place = Place::new(&format!(
        "{WAL} CREATE TABLE t(x); INSERT INTO t VALUES (1);"
    ));
    let reader = Owner::start(&place.database, "", &["OWNER_READS"]);
    let insert = format!("{WAL} INSERT INTO t VALUES (2); INSERT INTO t VALUES (3);");
    let writer = Owner::start(&place.database, &insert, &[]);
    place.site.may_end = vec![locks::process(reader.pid()).unwrap().name];
    let facts = process_facts("reader", reader.pid());
    let outcome = place.run("wal.release-reader", facts);
    assert_result(&outcome, OutcomeResult::Verified, "to its end");
    assert_eq!(reader.end().signal(), Some(15));
    assert_eq!(fs::metadata(place.companion("-wal")).unwrap().len(), 0);
    assert_eq!(
        place
            .look()
            .locks
            .iter()
            .filter(|l| l.lock == Lock::Shared)
            .count(),
        1
    );
    drop(writer);
    assert_eq!(place.count(), 3);
}

#[test]
fn a_log_is_checkpointed_under_its_writer() {
    let place = Place::new(&format!("{WAL} CREATE TABLE t(x);"));
    let fill = format!("{WAL} INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);");
    let mut writer = Owner::start(&place.database, &fill, &[]);
    let outcome = place.run("wal.checkpoint", Vec::new());
    assert_result(&outcome, OutcomeResult::Verified, "0 frames wait");
    assert!(writer.is_alive());
    assert_eq!(fs::metadata(place.companion("-wal")).unwrap().len(), 0);
    assert_eq!(place.count(), 2);
}

#[test]
fn a_log_that_a_reader_pins_is_left_as_it_is() {
    let place = Place::new(&format!(
        "{WAL} CREATE TABLE t(x); INSERT INTO t VALUES (0);"
    ));
    let _reader = Owner::start(&place.database, "", &["OWNER_READS"]);
    let fill = format!("{WAL} INSERT INTO t VALUES (1); PRAGMA wal_checkpoint(PASSIVE);");
    let _writer = Owner::start(&place.database, &fill, &[]);
    let outcome = place.run("wal.checkpoint", Vec::new());
    assert_result(&outcome, OutcomeResult::RolledBack, "no fewer than before");
    assert_eq!(place.count(), 2);
}

/// Rows that the index does not know: inserted while the schema said that it need not.
fn with_bad_index(unique: bool) -> Place {
    let unique = if unique { "UNIQUE" } else { "" };
    let sql = format!("CREATE {unique} INDEX i ON t(x)");
    let other = "CREATE INDEX j ON t(x)";
    let place = Place::new(&format!(
        "{WAL} CREATE TABLE t(x); {sql}; {other};
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t SELECT i FROM n;"
    ));
    let set_schema = |sql: &str| {
        let db = Connection::open(&place.database).unwrap();
        db.execute_batch("PRAGMA writable_schema=ON").unwrap();
        db.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'i'", [sql])
            .unwrap();
    };
    set_schema(&format!("{sql} WHERE x < 0"));
    Connection::open(&place.database)
        .unwrap()
        .execute_batch("INSERT INTO t SELECT x FROM t WHERE x <= 50")
        .unwrap();
    set_schema(&sql);
    place
}

fn index_facts() -> Vec<Fact> {
    vec![text("index", "i"), text("table", "t")]
}

#[test]
fn a_damaged_index_is_rebuilt_under_its_writer() {
    let place = with_bad_index(false);
    let mut writer = Owner::start(&place.database, "INSERT INTO t VALUES (-1)", &[]);
    let outcome = place.run("index.rebuild", index_facts());
    assert_result(
        &outcome,
        OutcomeResult::Verified,
        "no row was changed; nothing lost; the state before is kept in",
    );
    assert!(writer.is_alive());
    assert_eq!(place.count(), 551);
    let copy = Connection::open(place.site.copies.join("R-1/database")).unwrap();
    let rows: i64 = copy
        .query_row("SELECT count(*) FROM t NOT INDEXED", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 551, "the copy is whole");
}

#[test]
fn an_index_that_cannot_be_built_is_left_as_it_is() {
    let place = with_bad_index(true);
    let outcome = place.run("index.rebuild", index_facts());
    assert_result(&outcome, OutcomeResult::Refused, "50 keys are shared");
    assert!(!place.site.copies.join("R-1").exists());
    let db = Connection::open(&place.database).unwrap();
    let verdict: String = db
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .unwrap();
    assert_ne!(verdict, "ok");
}

#[test]
fn an_index_of_a_damaged_table_is_not_rebuilt() {
    let place = with_bad_index(false);
    // The order of the rowids in a page of the table.
    let mut bytes = fs::read(&place.database).unwrap();
    let leaf = bytes
        .chunks_mut(4096)
        .skip(1)
        .find(|page| page[0] == 0x0d)
        .unwrap();
    leaf.copy_within(8..10, 12);
    fs::write(&place.database, bytes).unwrap();
    let outcome = place.run("index.rebuild", index_facts());
    assert_result(&outcome, OutcomeResult::Refused, "table-clean");
}

/// Rows 100 to 120 deleted behind the indexes of these names.
fn deleted_behind(indexes: &[&str]) -> Place {
    let place = Place::new(&format!(
        "{WAL} CREATE TABLE t(id INTEGER PRIMARY KEY, x);
         CREATE INDEX i ON t(x); CREATE INDEX j ON t(x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t(x) SELECT i FROM n;"
    ));
    let names = format!("('{}')", indexes.join("', '"));
    Connection::open(&place.database)
        .unwrap()
        .execute_batch(&format!(
            "PRAGMA writable_schema = ON;
             CREATE TEMP TABLE kept AS SELECT * FROM main.sqlite_schema WHERE name IN {names};
             DELETE FROM main.sqlite_schema WHERE name IN {names};
             PRAGMA writable_schema = RESET;
             DELETE FROM t WHERE id BETWEEN 100 AND 120;
             PRAGMA writable_schema = ON;
             INSERT INTO main.sqlite_schema SELECT * FROM kept;
             PRAGMA writable_schema = RESET;"
        ))
        .unwrap();
    place
}

#[test]
fn an_index_that_may_know_the_last_of_lost_rows_is_not_rebuilt() {
    let place = deleted_behind(&["i", "j"]);
    let outcome = place.run("index.rebuild", index_facts());
    assert_result(
        &outcome,
        OutcomeResult::Refused,
        "the table seems to have lost these rows",
    );
    // One that knows more than the other does is stale.
    let place = deleted_behind(&["i"]);
    let outcome = place.run("index.rebuild", index_facts());
    assert_result(
        &outcome,
        OutcomeResult::Verified,
        "not proven: that nothing is lost (21 entries had no row",
    );
}

#[test]
fn where_no_other_index_tells_of_lost_rows_the_index_is_kept() {
    let place = deleted_behind(&["i"]);
    Connection::open(&place.database)
        .unwrap()
        .execute_batch("DROP INDEX j")
        .unwrap();
    let outcome = place.run("index.rebuild", index_facts());
    assert_result(
        &outcome,
        OutcomeResult::Refused,
        "21 entries have no row, and the table has no other index",
    );
}

#[test]
fn a_busy_database_keeps_its_index() {
    let place = with_bad_index(false);
    let mut writer = Owner::start(&place.database, "BEGIN IMMEDIATE", &[]);
    let outcome = place.run("index.rebuild", index_facts());
    assert_result(&outcome, OutcomeResult::Refused, "write lock is taken");
    assert!(writer.is_alive());
}

/// Ten committed rows in the log, the frame of the sixth damaged; nobody has it open.
fn with_bad_log() -> (Place, Vec<Fact>) {
    let place = Place::new("PRAGMA journal_mode=WAL; CREATE TABLE t(x);");
    let rows: String = (0..10).fold(WAL.to_owned(), |script, n| {
        script + &format!("INSERT INTO t VALUES ({n});")
    });
    drop(Owner::start(&place.database, &rows, &[]));
    let log = place.companion("-wal");
    let mut bytes = fs::read(&log).unwrap();
    let sixth = usize::try_from(wal::frame_offset(4096, 6)).unwrap();
    bytes[sixth + 100] ^= 0x55;
    fs::write(&log, bytes).unwrap();
    let seen = place.look().wal.unwrap();
    assert_eq!((seen.first_bad_frame, seen.last_commit_frame), (Some(6), 5));
    let facts = vec![
        integer("first_bad_frame", 6),
        integer("last_commit_frame", 5),
        integer("commits_lost", seen.lost_commits),
        integer("salt_1", seen.salts.0),
        integer("salt_2", seen.salts.1),
    ];
    (place, facts)
}

#[test]
fn the_sound_part_of_a_log_is_not_put_over_newer_pages() {
    let (place, facts) = with_bad_log();
    // A checkpoint has moved all of the log into the file before it was damaged, in each page of what lies
    // behind.
    let mut log = fs::read(place.companion("-wal")).unwrap();
    let whole = log.clone();
    for frame in 7..=u64::try_from((log.len() - 32) / (24 + 4096)).unwrap() {
        let at = usize::try_from(wal::frame_offset(4096, frame)).unwrap();
        log[at + 24 + 2000] ^= 0x55;
    }
    fs::write(place.companion("-wal"), &log).unwrap();
    let seen = place.look().wal.unwrap();
    let is_other = |fact: &Fact| fact.name == "commits_lost";
    let mut facts: Vec<Fact> = facts.into_iter().filter(|fact| !is_other(fact)).collect();
    facts.push(integer("commits_lost", seen.lost_commits));
    let mut file = fs::read(&place.database).unwrap();
    for frame in whole[32..].chunks_exact(24 + 4096) {
        let number = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
        let end = number * 4096;
        file.resize(file.len().max(end), 0);
        file[end - 4096..end].copy_from_slice(&frame[24..]);
    }
    fs::write(&place.database, file).unwrap();
    let outcome = place.run("wal.keep-valid-prefix", facts);
    assert_result(&outcome, OutcomeResult::Refused, "already holds page");
    assert_eq!(fs::read(place.companion("-wal")).unwrap(), log);
}

#[test]
fn the_sound_part_of_a_log_is_kept() {
    let (place, facts) = with_bad_log();
    let before = place.contents();
    let outcome = place.run("wal.keep-valid-prefix", facts);
    assert_result(&outcome, OutcomeResult::Verified, "5 frames replayed");
    assert_eq!(place.look().wal, None);
    assert_eq!(place.count(), 5);
    let copy = place.site.copies.join("R-1");
    assert_eq!(fs::read(copy.join("database")).unwrap(), before[""]);
    assert_eq!(fs::read(copy.join("database-wal")).unwrap(), before["-wal"]);
}

#[test]
fn a_log_without_a_sound_transaction_is_emptied() {
    let place = Place::new("PRAGMA journal_mode=WAL; CREATE TABLE t(x);");
    let script = format!("{WAL} INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);");
    drop(Owner::start(&place.database, &script, &[]));
    let log = place.companion("-wal");
    let mut bytes = fs::read(&log).unwrap();
    bytes[200] ^= 1;
    fs::write(&log, bytes).unwrap();
    let seen = place.look().wal.unwrap();
    let facts = vec![
        integer("first_bad_frame", 1),
        integer("last_commit_frame", 0),
        integer("commits_lost", seen.lost_commits),
        integer("salt_1", seen.salts.0),
        integer("salt_2", seen.salts.1),
    ];
    let outcome = place.run("wal.keep-valid-prefix", facts);
    assert_result(&outcome, OutcomeResult::Verified, "0 frames replayed");
    assert_eq!(place.count(), 0);
}

#[test]
fn a_damaged_log_that_somebody_has_open_is_not_touched() {
    let (place, facts) = with_bad_log();
    let before = place.contents();
    let open = Owner::start(&place.database, "SELECT 1 FROM t", &[]);
    let outcome = place.run("wal.keep-valid-prefix", facts.clone());
    assert_result(&outcome, OutcomeResult::Refused, "no-other-process");
    drop(open);
    assert_eq!(place.contents(), before);

    // Opened after the precondition: seen in the act.
    let mut open = None;
    let outcome = place.run_with("wal.keep-valid-prefix", facts, &mut |step| {
        if step.step == "copy-aside" {
            open = Some(Owner::start(&place.database, "SELECT 1 FROM t", &[]));
        }
    });
    assert_result(&outcome, OutcomeResult::Refused, "no-other-process");
    drop(open);
    assert_eq!(place.contents(), before);
}

#[test]
fn other_damage_than_planned_is_not_touched() {
    let (place, mut facts) = with_bad_log();
    let before = place.contents();
    facts[0] = integer("first_bad_frame", 7);
    let outcome = place.run("wal.keep-valid-prefix", facts);
    assert_result(&outcome, OutcomeResult::Refused, "same-damage");
    assert_eq!(place.contents(), before);
}

#[test]
fn a_checkpoint_does_not_drop_what_follows_a_damaged_frame() {
    let (place, _) = with_bad_log();
    let before = place.contents();
    for (id, facts) in [
        ("wal.checkpoint", Vec::new()),
        ("index.rebuild", index_facts()),
    ] {
        let outcome = place.run(id, facts);
        assert_result(&outcome, OutcomeResult::Refused, "log-sound");
        assert_eq!(place.contents(), before);
    }
}

/// Spoils the proof, so that what was replayed is taken back.
fn spoil_rehearsal(copies: &Path) {
    let entries = fs::read_dir(copies).unwrap();
    let mut notes = entries.map(|entry| entry.unwrap().path().join("rehearsed.json"));
    let note = notes.find(|note| note.exists()).unwrap();
    let text = fs::read_to_string(&note).unwrap();
    let (head, tail) = text.split_once("\"sha256\":\"").unwrap();
    let spoiled = format!("{head}\"sha256\":\"{}{}", "0".repeat(64), &tail[64..]);
    fs::write(note, spoiled).unwrap();
}

#[test]
fn what_cannot_be_proven_is_taken_back() {
    let (place, facts) = with_bad_log();
    let before = place.contents();
    let outcome = place.run_with("wal.keep-valid-prefix", facts, &mut |step| {
        if step.step == "replay" {
            spoil_rehearsal(&place.site.copies);
        }
    });
    assert_result(&outcome, OutcomeResult::RolledBack, "put back as they were");
    assert_eq!(place.contents(), before);
}

/// The child of [`an_undo_can_be_cut_off_anywhere`]: runs or recovers until it is killed.
#[test]
fn killed() {
    let Ok(place) = env::var("KILLED_PLACE") else {
        return;
    };
    let place = PathBuf::from(place);
    let number = |name: &str| env::var(name).ok().map(|n| n.parse().unwrap());
    let site = site(&place);
    let mut store = Store::open(&place.join("state")).unwrap();
    store.kill_at(number("KILL_BEFORE"), number("KILL_AFTER"));
    let recovered = repair_run::recover(
        &store,
        &SqliteRepairs,
        &|_| Some(site.clone()),
        &|| 7,
        &mut |_| {},
    )
    .unwrap();
    if recovered.ended.is_empty() {
        let facts = serde_json::from_str(&env::var("KILLED_FACTS").unwrap()).unwrap();
        let repair = env::var("KILLED_REPAIR").unwrap();
        let approved = approved(&repair, facts);
        repair_run::run(
            &store,
            &SqliteRepairs,
            &approved,
            &site,
            &|| 7,
            &mut |step| {
                if step.step == "replay" {
                    spoil_rehearsal(&site.copies);
                }
            },
        )
        .unwrap();
    }
}

fn run_killed(place: &Place, facts: &[Fact], kill: Option<(&str, u32)>) -> ExitStatus {
    run_repair_killed("wal.keep-valid-prefix", place, facts, kill)
}

fn run_repair_killed(
    repair: &str,
    place: &Place,
    facts: &[Fact],
    kill: Option<(&str, u32)>,
) -> ExitStatus {
    Command::new(env::current_exe().unwrap())
        .args(["killed", "--exact"])
        .env("KILLED_PLACE", place.directory.path())
        .env("KILLED_REPAIR", repair)
        .env("KILLED_FACTS", serde_json::to_string(facts).unwrap())
        .envs(kill.map(|(name, n)| (name, n.to_string())))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

#[test]
fn an_undo_can_be_cut_off_anywhere() {
    let mut kills = 0;
    for name in ["KILL_BEFORE", "KILL_AFTER"] {
        for n in 1.. {
            let (place, facts) = with_bad_log();
            let before = place.contents();
            if run_killed(&place, &facts, Some((name, n))).signal() != Some(9) {
                assert!(n > 5, "{n} entries");
                break;
            }
            kills += 1;
            // Closed when it was killed: only its file was left to remove.
            if let Some(JournalEntry::RepairClosed { outcome, .. }) = entries(&place.state()).last()
            {
                assert_eq!(outcome.outcome_result, OutcomeResult::RolledBack);
                assert_eq!(place.contents(), before, "{name} {n}");
                assert_eq!(Store::open(&place.state()).unwrap().lost(), []);
                continue;
            }
            // The recovery is killed as well, at its first entry, then left to itself.
            kills += u32::from(run_killed(&place, &facts, Some((name, 1))).signal() == Some(9));
            assert!(run_killed(&place, &facts, None).success(), "{name} {n}");
            let lines = entries(&place.state());
            let Some(JournalEntry::RepairClosed { outcome, .. }) = lines.last() else {
                panic!("{name} {n}: {lines:?}");
            };
            match outcome.outcome_result {
                OutcomeResult::RolledBack => {
                    assert_eq!(place.contents(), before, "{name} {n}: {outcome:?}");
                }
                // Killed in the replay, before its proof was found wanting.
                OutcomeResult::Verified => {
                    let in_replay = [
                        ("KILL_AFTER", 7),
                        ("KILL_BEFORE", 8),
                        ("KILL_AFTER", 8),
                        ("KILL_BEFORE", 9),
                    ];
                    assert!(in_replay.contains(&(name, n)), "{name} {n}: {outcome:?}");
                    assert_eq!((place.look().wal, place.count()), (None, 5));
                }
                _ => panic!("{name} {n}: {outcome:?}"),
            }
        }
    }
    assert!(kills >= 10, "{kills} kills");
}

#[test]
fn what_others_wrote_since_is_never_overwritten() {
    let (place, facts) = with_bad_log();
    // Killed when the undo is announced and not begun: intent, three steps and undo, each in the file and in the journal.
    let killed = run_killed(&place, &facts, Some(("KILL_AFTER", 10)));
    assert_eq!(killed.signal(), Some(9));
    let insert = format!("{WAL} INSERT INTO t VALUES (99)");
    drop(Owner::start(&place.database, &insert, &[]));
    assert!(run_killed(&place, &facts, None).success());
    let last = entries(&place.state()).pop();
    let Some(JournalEntry::RepairClosed { outcome, .. }) = last else {
        panic!("{last:?}");
    };
    assert_result(&outcome, OutcomeResult::Failed, "changed by somebody else");
    assert_eq!(place.count(), 6, "five replayed, one written since");
}
