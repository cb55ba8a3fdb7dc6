//! Copies of the four files, taken and put back as one.
//!
//! A copy is a directory: the files under fixed names, so that SQLite can open it there, and a
//! manifest, written last: a directory without a manifest is no copy. Only its owner may read it. Runs
//! only in the helper process. Putting back is the one operation that writes to the database's files;
//! it never begins while another process holds a lock, and can be run again after it was cut off
//! anywhere. What it makes beside the database is made as [`super::beside`] says.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::hex;

use super::beside::{Beside, CopyDir, Ownership};
use super::files::{At as _, FileError, fill, open};
use super::{locks, openers};
use crate::sqlite_state::Process;

/// The database's name inside a copy; its companions follow SQLite's suffixes.
pub const DATABASE_NAME: &str = "database";

/// The name of a copy's manifest.
pub const MANIFEST_NAME: &str = "manifest.json";
const MANIFEST_VERSION: u32 = 2;
/// The longest manifest that is read, bytes.
const MANIFEST_BYTES: u64 = 1 << 20;
/// How often a copy is begun again when a file changed under it.
const TRIES: u32 = 3;
const CHUNK_BYTES: usize = 1 << 17;
/// Room that a copy leaves free on the file system, bytes: for what dbmedic writes meanwhile.
const ROOM_LEFT_BYTES: u64 = 16 << 20;

/// The database and its companions, by SQLite's suffixes, and the names of their copies.
const PARTS: [Part; 4] = [
    Part {
        suffix: "",
        copy: DATABASE_NAME,
    },
    Part {
        suffix: "-wal",
        copy: "database-wal",
    },
    Part {
        suffix: "-journal",
        copy: "database-journal",
    },
    INDEX,
];

/// The wal-index. SQLite builds it from the log when it is missing.
const INDEX: Part = Part {
    suffix: "-shm",
    copy: "database-shm",
};

/// One of the four files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    suffix: &'static str,
    copy: &'static str,
}

impl Part {
    fn is_database(self) -> bool {
        self.suffix.is_empty()
    }
}

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub version: u32,
    /// Whether no file changed while it was copied. Only such a copy can be put back.
    pub stable: bool,
    /// The files that existed.
    pub files: Vec<CopiedFile>,
    /// The database that was copied; none when there was none.
    pub original: Option<Original>,
    /// A part of the names under which files are put back before they get their own: drawn when the
    /// copy is taken, so that others cannot guess it and the next start knows it again.
    pub token: String,
}

/// The database that was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// The file's number on its file system: under the same path another file may lie one day.
    pub inode: u64,
    /// Whose it was.
    pub ownership: Ownership,
}

/// One file of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedFile {
    /// Its name in the copy's directory, for example `database-wal`.
    pub name: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, lower-case hexadecimal.
    pub sha256: String,
}

/// Why a copy could not be taken or put back.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process holds a lock on the database.
    #[error("{path} is in use by process {pid} (0: not known): nothing was written; try again when it is closed", path = path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// The holder, 0 when the kernel does not name it.
        pid: u32,
    },
    /// The directory already holds a copy.
    #[error("{path} already holds a copy: choose an empty directory", path = path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// There is no room for the copy.
    #[error("{path} has {free_bytes} bytes free, and the copy needs {needed_bytes}: nothing was copied; make room, or name another state directory", path = path.display())]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes that the copy takes, with what is to stay free beside it.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// The file system cannot clone files.
    #[error("{path}: the file system cannot clone it (no reflinks)", path = path.display())]
    NoClone {
        /// The file.
        path: PathBuf,
    },
    /// The copy cannot be trusted.
    #[error("the copy in {path} cannot be put back: {reason}; nothing was written", path = path.display())]
    Unusable {
        /// The copy's directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is not what it may be overwritten as.
    #[error("{path} was changed by somebody else: nothing was written", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Under the database's path lies another file than the one that was copied.
    #[error("{path} is another file than the one that was copied (inode {inode}, copied {copied}): nothing was written", path = path.display())]
    Replaced {
        /// The database.
        path: PathBuf,
        /// The file's number now.
        inode: u64,
        /// The number of the file that was copied.
        copied: u64,
    },
    /// A file does not read back as it was written.
    #[error("{path} does not read back as it was written: check the disk, then put the copy back again", path = path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
    },
}

/// Copies the files that exist into a directory, which is made when missing.
///
/// The database's own lock is shared meanwhile if nobody forbids it, so that a writer in rollback
/// mode waits, for as long as `most_lock` allows; after that the copy goes on without it, is not begun
/// again, and may not be stable. A writer of the log is not held up, and seen by what changed. No file is
/// read further than it was long when it was opened, and nothing is copied when there is no room for all.
///
/// # Errors
///
/// See [`CopyError`].
pub fn copy(path: &Path, into: &Path, most_lock: Option<Duration>) -> Result<Manifest, CopyError> {
    let beside = Beside::of(path)?;
    let directory = CopyDir::make(into)?;
    if open(&into.join(MANIFEST_NAME))?.is_some() {
        return Err(CopyError::Exists {
            path: into.to_owned(),
        });
    }
    // Kept open to the end: closing any descriptor of the file would drop the lock.
    let mut database = beside.open(&beside.name(""))?;
    let mut lock = match &database {
        Some(file) => locks::lock_as_reader(file).at("lock", path)?,
        None => None,
    };
    let begun = Instant::now();
    let is_over = || most_lock.is_some_and(|most| begun.elapsed() > most);
    let mut tries = TRIES;
    let (stable, files) = loop {
        tries -= 1;
        let before = stamps(&beside)?;
        check_room(&beside, &directory, into)?;
        let mut copied = Vec::new();
        let mut between = || {
            if is_over() {
                lock = None;
            }
        };
        for part in PARTS {
            let name = beside.name(part.suffix);
            let opened = if part.is_database() {
                database.as_mut().map(Opened::Borrowed)
            } else {
                beside.open(&name)?.map(Opened::Owned)
            };
            match opened {
                Some(mut source) => {
                    let original = beside.path(&name);
                    copied.push(copy_file(
                        source.file(),
                        &original,
                        &directory,
                        into,
                        part,
                        &mut between,
                    )?);
                }
                None => directory.remove(part.copy)?,
            }
        }
        let stable = before == stamps(&beside)?;
        if stable || tries == 0 || is_over() {
            break (stable, copied);
        }
    };
    // Writing to the disk takes the longest, and nothing that was copied changes by it.
    drop(lock);
    for copied in &files {
        let to = into.join(&copied.name);
        let file = open(&to)?.ok_or_else(|| io::ErrorKind::NotFound.into());
        file.and_then(|file| file.sync_all()).at("sync", &to)?;
    }
    let original = match &database {
        Some(file) => Some(Original {
            inode: file.metadata().at("look at", path)?.ino(),
            ownership: Ownership::of(file).at("look at", path)?,
        }),
        None => None,
    };
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        stable,
        files,
        original,
        token: format!("{:032x}", rand::random::<u128>()),
    };
    write_manifest(&manifest, &directory, into)?;
    Ok(manifest)
}

/// What became of a copy that was made to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRead {
    /// It is of one moment, and shows what was committed.
    Whole,
    /// A file changed meanwhile.
    Changed,
    /// This process has the database for itself, in rollback mode, and no journal takes back what it may
    /// have written: the copy may hold half a transaction.
    Kept(Process),
}

/// Copies the files that exist into a directory, which is made, to be read and removed: no manifest is
/// written, nothing is synced and nothing locked. The file system clones them where it can; with
/// `only_clone` they are not copied otherwise.
///
/// # Errors
///
/// See [`CopyError`].
pub fn copy_to_read(path: &Path, into: &Path, only_clone: bool) -> Result<ToRead, CopyError> {
    let beside = Beside::of(path)?;
    let directory = CopyDir::make(into)?;
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let before = stamps(&beside)?;
        if !only_clone {
            check_room(&beside, &directory, into)?;
        }
        for part in PARTS.into_iter().filter(|part| *part != INDEX) {
            let name = beside.name(part.suffix);
            let Some(source) = beside.open(&name)? else {
                directory.remove(part.copy)?;
                continue;
            };
            let original = beside.path(&name);
            let most = source.metadata().at("look at", &original)?.len();
            let mut copy = directory.create(part.copy)?;
            if rustix::fs::ioctl_ficlone(&copy, &source).is_ok() {
                continue;
            }
            if only_clone {
                return Err(CopyError::NoClone { path: original });
            }
            // The kernel does it where it can.
            io::copy(&mut source.take(most), &mut copy).at("copy", &original)?;
        }
        // Asked before the stamps: who is in the middle of a transaction holds the lock now, or wrote
        // since the first stamps.
        let torn = openers::who_may_have_torn(path)?;
        if before == stamps(&beside)? {
            return Ok(torn.map_or(ToRead::Whole, ToRead::Kept));
        }
        if tries == 0 {
            return Ok(ToRead::Changed);
        }
    }
}

/// Length and SHA-256 of each file that exists, the wal-index excepted.
///
/// # Errors
///
/// A file could not be read.
pub fn digests(path: &Path) -> Result<Vec<CopiedFile>, FileError> {
    let beside = Beside::of(path)?;
    let mut found = Vec::new();
    for part in PARTS.into_iter().filter(|part| *part != INDEX) {
        let name = beside.name(part.suffix);
        if let Some(mut file) = beside.open(&name)? {
            let (bytes, sha256) = digest(&mut file, &beside.path(&name))?;
            found.push(CopiedFile {
                name: part.copy.to_owned(),
                bytes,
                sha256,
            });
        }
    }
    Ok(found)
}

/// Puts a copy back: afterwards the four files are what they were, the wal-index excepted, which
/// SQLite builds again. With `over`, only if each file is as `over` tells, or as it was copied: what
/// anybody else wrote since is not overwritten.
///
/// The companions are written under names of their own first; then each gets its name at once, and
/// the database is overwritten last: cut off anywhere, a database that differs from the copy in
/// nothing but what its log holds is never half way. What a restore that was cut off left beside the
/// database is removed first.
///
/// # Errors
///
/// See [`CopyError`]. After [`CopyError::File`] and [`CopyError::ReadBack`] the files may be half
/// written: run it again.
pub fn restore(
    path: &Path,
    from: &Path,
    over: Option<&[CopiedFile]>,
) -> Result<Manifest, CopyError> {
    let beside = Beside::of(path)?;
    let manifest = read_manifest(from)?;
    clear(&beside, &manifest.token)?;
    let restored = put_back_all(&beside, &manifest, from, over);
    if restored.is_err() {
        // What is left is removed by the next attempt otherwise.
        drop(clear(&beside, &manifest.token));
    }
    restored.map(|()| manifest)
}

/// Removes what a restore that was cut off left beside the database.
///
/// # Errors
///
/// See [`CopyError`]. No copy, or one that cannot be put back, left nothing.
pub fn clear_unfinished(path: &Path, from: &Path) -> Result<(), CopyError> {
    match read_manifest(from) {
        Ok(manifest) => Ok(clear(&Beside::of(path)?, &manifest.token)?),
        Err(CopyError::Unusable { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn put_back_all(
    beside: &Beside,
    manifest: &Manifest,
    from: &Path,
    over: Option<&[CopiedFile]>,
) -> Result<(), CopyError> {
    let wanted = |part: Part| manifest.files.iter().find(|file| file.name == part.copy);
    let name = beside.name("");
    let path = beside.path(&name);
    // Whatever else has these names is somebody's trap, and stops it.
    for part in PARTS {
        beside.stat(&beside.name(part.suffix))?;
    }
    // Kept open to the end: closing any descriptor of the file would drop the lock.
    let mut database = match (beside.open_to_write(&name)?, manifest.original) {
        (Some(file), _) => file,
        // It was removed since: whoever did that wrote last.
        (None, _) if over.is_some() => return Err(CopyError::Changed { path }),
        (None, Some(original)) => beside.create(&name, original.ownership)?,
        (None, None) => {
            return Err(CopyError::Unusable {
                path: from.to_owned(),
                reason: "it holds no database".to_owned(),
            });
        }
    };
    let lock = lock_alone(&database, &path)?;
    if over.is_some() {
        let inode = database.metadata().at("look at", &path)?.ino();
        let copied = manifest.original.map_or(inode, |original| original.inode);
        if inode != copied {
            return Err(CopyError::Replaced {
                path,
                inode,
                copied,
            });
        }
    }
    if let Some(over) = over {
        check_unchanged(&mut database, beside, &manifest.files, over)?;
    }

    let owner = Ownership::of(&database).at("look at", &path)?;
    let companions = PARTS
        .into_iter()
        .filter(|part| !part.is_database() && *part != INDEX);
    for part in companions.clone() {
        if let Some(copied) = wanted(part) {
            let unfinished = unfinished(beside, &manifest.token, part);
            let mut file = beside.create(&unfinished, owner)?;
            put_back(&mut file, &beside.path(&unfinished), copied, from)?;
        }
    }
    beside.remove(&beside.name(INDEX.suffix))?;
    for part in companions {
        let name = beside.name(part.suffix);
        if wanted(part).is_some() {
            beside.rename(&unfinished(beside, &manifest.token, part), &name)?;
        } else {
            beside.remove(&name)?;
        }
    }
    beside.sync()?;
    match wanted(PARTS[0]) {
        Some(copied) => put_back(&mut database, &path, copied, from)?,
        None => beside.remove(&name)?,
    }
    beside.sync()?;
    drop(lock);
    Ok(())
}

/// The name of a companion before it gets its own.
fn unfinished(beside: &Beside, token: &str, part: Part) -> OsString {
    beside.name(&format!("-dbmedic-{token}{}", part.suffix))
}

fn clear(beside: &Beside, token: &str) -> Result<(), FileError> {
    for part in PARTS {
        beside.remove(&unfinished(beside, token, part))?;
    }
    Ok(())
}

/// Sees that there is room for a copy of all files.
fn check_room(beside: &Beside, directory: &CopyDir, into: &Path) -> Result<(), CopyError> {
    let mut needed_bytes = ROOM_LEFT_BYTES;
    for part in PARTS {
        let stat = beside.stat(&beside.name(part.suffix))?;
        let bytes = stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        needed_bytes = needed_bytes.saturating_add(bytes);
    }
    let free_bytes = directory.free_bytes()?;
    if free_bytes < needed_bytes {
        return Err(CopyError::NoRoom {
            path: into.to_owned(),
            needed_bytes,
            free_bytes,
        });
    }
    Ok(())
}

/// Sees that each file is as `over` tells, or as it was copied.
fn check_unchanged(
    database: &mut File,
    beside: &Beside,
    copied: &[CopiedFile],
    over: &[CopiedFile],
) -> Result<(), CopyError> {
    for part in PARTS.into_iter().filter(|part| *part != INDEX) {
        let name = beside.name(part.suffix);
        let path = beside.path(&name);
        let now = if part.is_database() {
            database.rewind().at("read", &path)?;
            Some(digest(database, &path)?)
        } else {
            match beside.open(&name)? {
                Some(mut file) => Some(digest(&mut file, &path)?),
                None => None,
            }
        };
        let is_now = |known: &[CopiedFile]| {
            let known = known.iter().find(|file| file.name == part.copy);
            // Missing and empty are the same to SQLite.
            match (&now, known) {
                (Some((bytes, sha256)), Some(known)) => {
                    (*bytes, sha256) == (known.bytes, &known.sha256)
                }
                (Some((bytes, _)), None) => *bytes == 0,
                (None, Some(known)) => known.bytes == 0,
                (None, None) => true,
            }
        };
        if !is_now(over) && !is_now(copied) {
            return Err(CopyError::Changed { path });
        }
    }
    Ok(())
}

/// Either the descriptor that carries the lock, or one of a companion file.
enum Opened<'a> {
    Borrowed(&'a mut File),
    Owned(File),
}

impl Opened<'_> {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Borrowed(file) => file,
            Self::Owned(file) => file,
        }
    }
}

/// What tells that a file was written to or swapped: its number, its length, and the time of the last
/// change in seconds and nanoseconds.
type Stamp = (u64, i64, i64, u64);

/// The stamps of the files. The wal-index is left out: it is written through shared memory, by
/// readers too.
fn stamps(beside: &Beside) -> Result<Vec<Option<Stamp>>, FileError> {
    PARTS
        .into_iter()
        .filter(|part| *part != INDEX)
        .map(|part| {
            let stat = beside.stat(&beside.name(part.suffix))?;
            Ok(stat.map(|s| (s.st_ino, s.st_size, s.st_mtime, s.st_mtime_nsec)))
        })
        .collect()
}

fn copy_file(
    source: &mut File,
    original: &Path,
    directory: &CopyDir,
    into: &Path,
    part: Part,
    between: &mut dyn FnMut(),
) -> Result<CopiedFile, FileError> {
    let to = into.join(part.copy);
    let most = source.metadata().at("look at", original)?.len();
    source.rewind().at("read", original)?;
    let mut target = directory.create(part.copy)?;
    let (bytes, sha256) = pump(source, most, original, |chunk| {
        between();
        write_sparse(&mut target, chunk).at("write", &to)
    })?;
    target.set_len(bytes).at("write", &to)?;
    Ok(CopiedFile {
        name: part.copy.to_owned(),
        bytes,
        sha256,
    })
}

/// Writes to a new file, and leaves a hole where everything is 0: a file that was made longer, or a log
/// of zeros, takes no room. The length is set at the end.
fn write_sparse(target: &mut File, chunk: &[u8]) -> io::Result<()> {
    static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
    if chunk == &ZEROS[..chunk.len()] {
        let bytes = i64::try_from(chunk.len()).map_err(io::Error::other)?;
        return target.seek_relative(bytes);
    }
    target.write_all(chunk)
}

/// Writes a copied file's content over a file, syncs it and reads it back.
fn put_back(
    target: &mut File,
    path: &Path,
    copied: &CopiedFile,
    from: &Path,
) -> Result<(), CopyError> {
    let source_path = from.join(&copied.name);
    let Some(mut source) = open(&source_path)? else {
        return Err(CopyError::Unusable {
            path: from.to_owned(),
            reason: format!("{} is missing", copied.name),
        });
    };
    target.rewind().at("write", path)?;
    pump(&mut source, copied.bytes, &source_path, |chunk| {
        target.write_all(chunk).at("write", path)
    })?;
    target.set_len(copied.bytes).at("cut", path)?;
    target.sync_all().at("sync", path)?;
    target.rewind().at("read", path)?;
    if digest(target, path)? != (copied.bytes, copied.sha256.clone()) {
        return Err(CopyError::ReadBack {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Locks the database for this process alone.
pub(super) fn lock_alone(database: &File, path: &Path) -> Result<locks::Held, CopyError> {
    if let Some(held) = locks::lock_alone(database).at("lock", path)? {
        return Ok(held);
    }
    let blocker = locks::blocker(database, 0, 0).at("ask for the locks of", path)?;
    Err(CopyError::InUse {
        path: path.to_owned(),
        pid: blocker.map_or(0, |(pid, _)| pid),
    })
}

/// Reads to the end or to a length, hands on each chunk, and gives length and SHA-256.
fn pump(
    source: &mut File,
    most_bytes: u64,
    path: &Path,
    mut sink: impl FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<(u64, String), FileError> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let left = usize::try_from(most_bytes - bytes).unwrap_or(usize::MAX);
        let size = left.min(CHUNK_BYTES);
        let count = fill(source, &mut chunk[..size]).at("read", path)?;
        if count == 0 {
            return Ok((bytes, hex(&hash.finalize())));
        }
        hash.update(&chunk[..count]);
        sink(&chunk[..count])?;
        bytes += count as u64;
    }
}

pub(super) fn digest(file: &mut File, path: &Path) -> Result<(u64, String), FileError> {
    let most = file.metadata().at("look at", path)?.len();
    pump(file, most, path, |_| Ok(()))
}

fn write_manifest(manifest: &Manifest, directory: &CopyDir, into: &Path) -> Result<(), CopyError> {
    let path = into.join(MANIFEST_NAME);
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(io::Error::from)
        .at("write", &path)?;
    let unfinished = format!("{MANIFEST_NAME}.new");
    let mut file = directory.create(&unfinished)?;
    file.write_all(&text).at("write", &path)?;
    file.sync_all().at("sync", &path)?;
    directory.sync()?;
    directory.rename(&unfinished, MANIFEST_NAME)?;
    directory.sync()?;
    Ok(())
}

/// Reads a copy's manifest and checks every file against it.
///
/// # Errors
///
/// [`CopyError::Unusable`] when the copy must not be put back.
fn read_manifest(from: &Path) -> Result<Manifest, CopyError> {
    let unusable = |reason: String| CopyError::Unusable {
        path: from.to_owned(),
        reason,
    };
    let path = from.join(MANIFEST_NAME);
    let Some(file) = open(&path)? else {
        return Err(unusable("it has no manifest".to_owned()));
    };
    let mut text = Vec::new();
    file.take(MANIFEST_BYTES)
        .read_to_end(&mut text)
        .at("read", &path)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| unusable(format!("its manifest cannot be read: {error}")))?;
    if manifest.version != MANIFEST_VERSION {
        return Err(unusable(format!("its version is {}", manifest.version)));
    }
    if !manifest.stable {
        return Err(unusable("the files changed while it was taken".to_owned()));
    }
    // It becomes a part of a file's name.
    if !manifest.token.bytes().all(|byte| byte.is_ascii_hexdigit()) || manifest.token.len() != 32 {
        return Err(unusable("its token is damaged".to_owned()));
    }
    for copied in &manifest.files {
        // A name is joined to a path: only the four that a copy makes.
        if !PARTS.iter().any(|part| part.copy == copied.name) {
            return Err(unusable(format!("it names a file {}", copied.name)));
        }
        let path = from.join(&copied.name);
        let Some(mut file) = open(&path)? else {
            return Err(unusable(format!("{} is missing", copied.name)));
        };
        if digest(&mut file, &path)? != (copied.bytes, copied.sha256.clone()) {
            return Err(unusable(format!("{} is damaged", copied.name)));
        }
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests;
