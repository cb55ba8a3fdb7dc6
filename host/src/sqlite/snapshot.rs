//! Snapshots through SQLite's own backup interface: taken, synced, checked, and only then named.
//!
//! They lie in dbmedic's state directory. A database that fails its check never becomes the newest
//! good snapshot; a snapshot that was being made when the process died has no name and is cleared.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::clock::Moment;
use crate::digest::hex;
use crate::own_dir::OwnDir;
use crate::path_trust::TrustError;
use crate::sqlite::backup::{self, BackupError};
use crate::sqlite::connection::{self, Access};
use crate::sqlite::integrity::{self, Check};
use crate::sqlite::sql::SnapshotRequest;
use crate::sqlite::writers::Writers;
use crate::sqlite_state::{IntegrityFault, Mode, UnjudgedPart};

/// The version of the manifest.
const VERSION: u32 = 1;

/// The largest manifest, bytes.
const MANIFEST_BYTES: u64 = 64 << 10;

/// Suffix of a snapshot that is not named yet.
const UNNAMED: &str = "unnamed";

/// Room that must be free before a snapshot, as a multiple of the database: the specification's
/// `check_space(multiplier=2.0)`, section 1.2 C.
const ROOM: u64 = 2;

/// How many times larger a snapshot is than all newer ones to count as one from before a loss.
const LOSS_FACTOR: u64 = 2;

/// How long the last snapshot from before a loss is kept, milliseconds: 30 days, in which a purge
/// that was meant is known to be one.
const KEPT_BEFORE_LOSS_MS: u64 = 30 * 24 * 3_600_000;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Others could have put there what is in the directory of the snapshots.
    #[error("snapshots: {0}")]
    Trust(#[from] TrustError),
    /// A file or directory cannot be used.
    #[error("snapshot {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// SQLite said no.
    #[error("snapshot of {}: {source}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The pages could not be copied, or were not because others would have waited for it.
    #[error("snapshot of {}: {source}", path.display())]
    Copying {
        /// The database.
        path: PathBuf,
        /// Why.
        source: BackupError,
    },
    /// The file was written to while it was read without a lock.
    #[error("snapshot of {}: it changed meanwhile", path.display())]
    Changed {
        /// The database.
        path: PathBuf,
    },
    /// The copy does not pass its check, so the database does not either.
    #[error("snapshot of {}: the copy is not sound: {fault}", path.display())]
    Unsound {
        /// The database.
        path: PathBuf,
        /// The first fault.
        fault: String,
    },
    /// The database holds no table any more.
    #[error("snapshot of {}: it holds no table, and {} does: move that snapshot away to begin anew", path.display(), before.display())]
    Emptied {
        /// The database.
        path: PathBuf,
        /// The newest snapshot.
        before: PathBuf,
    },
    /// There is no room for it.
    #[error("snapshot of {}: {needed} bytes are needed, {free} are free", path.display())]
    NoRoom {
        /// The database.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
}

/// A checked snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// The version of the manifest.
    pub v: u32,
    /// When it was taken by the wall clock, milliseconds since the Unix epoch.
    pub taken_at_ms: u64,
    /// The same so that its age does not hang on the wall clock. Older manifests do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Moment>,
    /// Counts the snapshots of a target: their order, whatever the wall clock said. Older manifests
    /// say 0, and come before all others.
    #[serde(default)]
    pub sequence: u64,
    /// The database that it was taken of.
    pub source: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Tables in it; none in what older versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// Whether its check told that each page belongs to exactly one object or to the free pages. Older
    /// manifests do not say.
    #[serde(default)]
    pub pages_proven: bool,
    /// The file.
    #[serde(skip)]
    pub file: PathBuf,
}

impl SnapshotInfo {
    /// How long ago it was taken, milliseconds; none when nobody knows, because the wall clock says
    /// that this is still to come.
    pub fn age_ms(&self) -> Option<u64> {
        let by_wall = || Moment {
            wall_ms: self.taken_at_ms,
            ..Moment::default()
        };
        self.taken.clone().unwrap_or_else(by_wall).age_ms()
    }
}

/// A snapshot with its name in the directory.
type Named = (String, SnapshotInfo);

/// Takes a snapshot as it is asked for, and keeps the newest. Runs in a process that has no connection to
/// the database.
pub fn take(request: &SnapshotRequest) -> Result<SnapshotInfo, SnapshotError> {
    let SnapshotRequest {
        source, now, keep, ..
    } = request;
    let dir = OwnDir::open(&request.snapshots)?.dir(&request.target)?;
    clear_unnamed(&dir)?;
    check_room(source, dir.path())?;
    let known = list(&dir)?;
    let sequence = known.last().map_or(0, |(_, newest)| newest.sequence) + 1;
    // A wall clock that was set back may come to the same moment again.
    let taken = dir.names().map_err(io(dir.path()))?;
    let mut number = now.wall_ms;
    let mut name = format!("{number:013}");
    while taken.contains(&database(&name)) {
        number = number.wrapping_add(1);
        name = format!("{number:013}");
    }
    let newest = known.last().map(|(_, info)| info);
    let made = make(request, &dir, &name, sequence, newest);
    if made.is_err() {
        // It has no name, so nobody takes it for a snapshot; the next attempt clears it too.
        drop(dir.remove(unnamed(&name)));
    }
    let info = made?;
    let all = list(&dir)?;
    for (name, old) in outdated(&all, (*keep).max(1)) {
        dir.remove(manifest(name)).map_err(io(&old.file))?;
        dir.remove(database(name)).map_err(io(&old.file))?;
    }
    Ok(info)
}

/// The snapshots that make way, of all, oldest first: all but the newest `keep`, and but one that
/// those do not replace. A database that lost most of its content, or was begun afresh, gives sound
/// snapshots too: the last one from before is kept for [`KEPT_BEFORE_LOSS_MS`].
fn outdated(all: &[Named], keep: usize) -> Vec<&Named> {
    let (old, kept) = all.split_at(all.len().saturating_sub(keep));
    let most = kept.iter().map(|(_, info)| info.bytes).max().unwrap_or(0);
    let newest_ms = kept.last().map_or(0, |(_, info)| info.taken_at_ms);
    let before_loss = old.iter().rev().find(|(_, info)| {
        info.bytes / LOSS_FACTOR > most
            && newest_ms.saturating_sub(info.taken_at_ms) <= KEPT_BEFORE_LOSS_MS
    });
    let stays = |(name, _): &&Named| before_loss.is_none_or(|(kept, _)| kept != name);
    old.iter().filter(stays).collect()
}

fn make(
    request: &SnapshotRequest,
    dir: &OwnDir,
    name: &str,
    sequence: u64,
    before: Option<&SnapshotInfo>,
) -> Result<SnapshotInfo, SnapshotError> {
    let SnapshotRequest {
        readable,
        access,
        bounds,
        source,
        now,
        ..
    } = request;
    let file = dir.path_of(database(name));
    let unnamed_file = dir.path_of(unnamed(name));
    let sqlite = |e| SnapshotError::Sqlite {
        path: source.clone(),
        source: e,
    };
    let before_copying = connection::stamp(readable);
    let from = connection::open(readable, *access, None).map_err(sqlite)?;
    // Made here, so that it is for this user alone whatever the database is.
    drop(dir.create(unnamed(name)).map_err(io(&unnamed_file))?);
    let copied = backup::back_up(&from, &unnamed_file, bounds);
    drop(from);
    let to = copied.map_err(|error| SnapshotError::Copying {
        path: source.clone(),
        source: error,
    })?;
    // Without a lock it is of one moment only when nobody wrote, and nobody was in the middle of a
    // transaction all the while.
    if *access == Access::Alone
        && (is_kept(readable)
            || before_copying.is_none()
            || connection::stamp(readable) != before_copying)
    {
        return Err(SnapshotError::Changed {
            path: source.clone(),
        });
    }
    // A snapshot is one file: it needs no log of its own.
    to.pragma_update(None, "journal_mode", "DELETE")
        .map_err(sqlite)?;
    // What is damaged refuses it; rows that break a rule do not, and neither does what only the
    // application can judge.
    let check = Check {
        mode: Mode::Full,
        max_faults: 1,
        deadline: None,
    };
    let (damage, unjudged) = integrity::faults(&to, check).map_err(sqlite)?;
    if let Some(fault) = damage.into_iter().find(IntegrityFault::is_damage) {
        return Err(SnapshotError::Unsound {
            path: source.clone(),
            fault: fault.message,
        });
    }
    let tables = to
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table'",
            [],
            |row| row.get::<_, i64>(0),
        )
        .map_err(sqlite)?;
    let tables = u64::try_from(tables).unwrap_or(0);
    if let Some(before) = before.filter(|before| tables == 0 && before.tables != Some(0)) {
        return Err(SnapshotError::Emptied {
            path: source.clone(),
            before: before.file.clone(),
        });
    }
    to.close().map_err(|(_, e)| sqlite(e))?;
    let mut copy = dir.open_file(unnamed(name)).map_err(io(&unnamed_file))?;
    let (bytes, sha256) = fingerprint(&mut copy).map_err(io(&unnamed_file))?;
    copy.sync_all().map_err(io(&unnamed_file))?;
    let info = SnapshotInfo {
        v: VERSION,
        taken_at_ms: now.wall_ms,
        taken: Some(now.clone()),
        sequence,
        source: source.clone(),
        bytes,
        sha256,
        tables: Some(tables),
        pages_proven: !unjudged.iter().any(|one| one.part == UnjudgedPart::Pages),
        file,
    };
    // The manifest first: a database file without one is not counted, and neither is a manifest
    // without its database file.
    let written = dir.path_of(manifest(name));
    let text = serde_json::to_vec(&info).map_err(|e| io(&written)(e.into()))?;
    dir.write_whole(manifest(name), &text)
        .and_then(|()| dir.rename(unnamed(name), database(name)))
        .and_then(|()| dir.sync())
        .map_err(io(&info.file))?;
    Ok(info)
}

/// Whether somebody keeps readers out of a database, or that cannot be told. This process must have no
/// connection to it that holds a lock.
fn is_kept(database: &Path) -> bool {
    let writers = Writers::of(database).ok().flatten();
    writers.is_none_or(|writers| writers.wait().unwrap_or(true))
}

/// The newest snapshot of a target; none when there is none.
///
/// # Errors
/// When the snapshots cannot be read, or others than this user and root could have put them there.
pub fn newest(snapshots: &Path, target: &str) -> Result<Option<SnapshotInfo>, SnapshotError> {
    Ok(all(snapshots, target)?.pop())
}

/// The newest snapshot of a target whose age is known; none when there is none.
///
/// # Errors
/// As [`newest`].
pub fn newest_of_known_age(
    snapshots: &Path,
    target: &str,
) -> Result<Option<SnapshotInfo>, SnapshotError> {
    let mut all = all(snapshots, target)?.into_iter().rev();
    Ok(all.find(|info| info.age_ms().is_some()))
}

/// The snapshots of a target, oldest first.
fn all(snapshots: &Path, target: &str) -> Result<Vec<SnapshotInfo>, SnapshotError> {
    let above = match OwnDir::existing(snapshots) {
        Err(error) if error.is_absence() => return Ok(Vec::new()),
        above => above?,
    };
    let Some(dir) = above.dir_if_there(target)? else {
        return Ok(Vec::new());
    };
    Ok(list(&dir)?.into_iter().map(|(_, info)| info).collect())
}

/// The snapshots of a directory by their names, oldest first.
fn list(dir: &OwnDir) -> Result<Vec<Named>, SnapshotError> {
    let mut found = Vec::new();
    for file in dir.names().map_err(io(dir.path()))? {
        let Some(name) = file.strip_suffix(".db") else {
            continue;
        };
        // One that cannot be read counts as none.
        let text = dir.read(manifest(name), MANIFEST_BYTES).unwrap_or(None);
        let info = text.and_then(|text| serde_json::from_slice::<SnapshotInfo>(&text).ok());
        if let Some(info) = info.filter(|info| info.v == VERSION) {
            let file = dir.path_of(&file);
            found.push((name.to_owned(), SnapshotInfo { file, ..info }));
        }
    }
    found.sort_by_key(|(_, info)| (info.sequence, info.taken_at_ms));
    Ok(found)
}

fn clear_unnamed(dir: &OwnDir) -> Result<(), SnapshotError> {
    for name in dir.names().map_err(io(dir.path()))? {
        if Path::new(&name).extension().is_some_and(|e| e == UNNAMED) {
            dir.remove(&name).map_err(io(&dir.path_of(&name)))?;
        }
    }
    Ok(())
}

fn check_room(source: &Path, dir: &Path) -> Result<(), SnapshotError> {
    let bytes = fs::metadata(source).map_err(io(source))?.len();
    let needed = bytes.saturating_mul(ROOM);
    let free = backup::free_bytes(dir).map_err(io(dir))?;
    if free < needed {
        return Err(SnapshotError::NoRoom {
            path: source.to_owned(),
            needed,
            free,
        });
    }
    Ok(())
}

fn database(name: &str) -> String {
    format!("{name}.db")
}

fn manifest(name: &str) -> String {
    format!("{name}.json")
}

fn unnamed(name: &str) -> String {
    format!("{name}.{UNNAMED}")
}

fn fingerprint(file: &mut File) -> std::io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok((bytes, hex(&hash.finalize())))
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rusqlite::Connection;

    use super::*;

    fn database(path: &Path, rows: u32) -> Connection {
        let db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x); CREATE INDEX i ON t(x);")
            .unwrap();
        for row in 0..rows {
            db.execute("INSERT INTO t VALUES (?1)", [format!("row {row}")])
                .unwrap();
        }
        db
    }

    /// Takes one of a database in write-ahead mode, or of a copy.
    fn take(
        readable: &Path,
        source: &Path,
        snapshots: &Path,
        target: &str,
        now: &Moment,
        keep: usize,
    ) -> Result<SnapshotInfo, SnapshotError> {
        super::take(&SnapshotRequest {
            readable: readable.to_owned(),
            access: Access::InPlace,
            bounds: backup::Bounds::default(),
            source: source.to_owned(),
            snapshots: snapshots.to_owned(),
            target: target.to_owned(),
            now: now.clone(),
            keep,
        })
    }

    /// A moment of another boot.
    fn at(wall_ms: u64) -> Moment {
        Moment {
            wall_ms,
            ..Moment::default()
        }
    }

    fn count(path: &Path) -> u32 {
        Connection::open(path)
            .unwrap()
            .query_row("SELECT count(*) FROM t", [], |r| r.get(0))
            .unwrap()
    }

    #[test]
    fn it_holds_what_was_committed_while_a_writer_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let writer = database(&path, 100);
        writer
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES ('open')")
            .unwrap();
        let info = take(&path, &path, dir.path(), "a", &at(5), 3).unwrap();
        assert_eq!(count(&info.file), 100);
        for private in [&info.file, &info.file.with_extension("json")] {
            let mode = fs::metadata(private).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", private.display());
        }
        assert_eq!(newest(dir.path(), "a").unwrap(), Some(info));
    }

    #[test]
    fn only_the_newest_are_kept_and_the_unnamed_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let _writer = database(&path, 1);
        for at_ms in 1..=5 {
            take(&path, &path, dir.path(), "a", &at(at_ms), 2).unwrap();
        }
        fs::write(dir.path().join("a/9.unnamed"), "half").unwrap();
        take(&path, &path, dir.path(), "a", &at(6), 2).unwrap();
        let kept: Vec<u64> = list(&OwnDir::open(&dir.path().join("a")).unwrap())
            .unwrap()
            .iter()
            .map(|(_, s)| s.taken_at_ms)
            .collect();
        assert_eq!(kept, [5, 6]);
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 4);
    }

    #[test]
    fn snapshots_from_the_future_are_of_no_known_age_and_push_nothing_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let _writer = database(&path, 1);
        let age = || {
            let info = newest_of_known_age(dir.path(), "a").unwrap()?;
            info.age_ms()
        };
        let now = Moment::now();
        let hour_ahead = at(now.wall_ms + 3_600_000);
        for _ in 0..3 {
            take(&path, &path, dir.path(), "a", &hour_ahead, 3).unwrap();
        }
        assert_eq!(age(), None, "nobody knows how old these are");
        // The clock is right again: what is taken now is kept, and is the newest.
        let info = take(&path, &path, dir.path(), "a", &Moment::now(), 3).unwrap();
        assert_eq!(newest(dir.path(), "a").unwrap(), Some(info));
        assert!(age().unwrap() < 60_000);
        assert_eq!(all(dir.path(), "a").unwrap().len(), 3);
        // Set back by an hour in the same boot: the age is what has passed.
        let set_back = Moment {
            wall_ms: now.wall_ms - 3_600_000,
            ..Moment::now()
        };
        take(&path, &path, dir.path(), "a", &set_back, 3).unwrap();
        assert!(age().unwrap() < 60_000);
    }

    #[test]
    fn an_emptied_database_pushes_no_good_snapshot_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let user = database(&path, 5000);
        let good = take(&path, &path, dir.path(), "a", &at(1), 2).unwrap();
        assert_eq!(good.tables, Some(1));
        drop(user);
        fs::write(&path, "").unwrap();
        let none = take(&path, &path, dir.path(), "a", &at(2), 2);
        assert!(
            matches!(none, Err(SnapshotError::Emptied { .. })),
            "{none:?}"
        );
        // The application begins afresh: its snapshots are sound, and small.
        let _user = database(&path, 1);
        for at_ms in 3..9 {
            take(&path, &path, dir.path(), "a", &at(at_ms), 2).unwrap();
        }
        let kept = || -> Vec<u64> {
            let all = list(&OwnDir::open(&dir.path().join("a")).unwrap()).unwrap();
            all.iter().map(|(_, info)| info.taken_at_ms).collect()
        };
        assert_eq!(kept(), [1, 7, 8]);
        take(
            &path,
            &path,
            dir.path(),
            "a",
            &at(KEPT_BEFORE_LOSS_MS + 2),
            2,
        )
        .unwrap();
        assert_eq!(kept(), [8, KEPT_BEFORE_LOSS_MS + 2]);
    }

    #[test]
    fn an_unsound_database_gives_no_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        drop(database(&path, 2000));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096].fill(0x5a);
        fs::write(&path, bytes).unwrap();
        assert!(take(&path, &path, dir.path(), "a", &at(1), 2).is_err());
        assert_eq!(newest(dir.path(), "a").unwrap(), None);
    }
}
