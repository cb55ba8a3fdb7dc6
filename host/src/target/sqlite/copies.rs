//! Copies of the four files, taken and put back as one.
//!
//! A copy is a directory: the files under fixed names, so that SQLite can open it there, and a
//! manifest, written last: a directory without a manifest is no copy. Runs only in the helper
//! process. Putting back is the one operation that writes to the database's files; it never begins
//! while another process holds a lock, and can be run again after it was cut off anywhere.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    files::{At as _, FileError, Files, fill, open},
    locks,
};

/// The database's name inside a copy; its companions follow SQLite's suffixes.
pub const DATABASE_NAME: &str = "database";

const MANIFEST_NAME: &str = "manifest.json";
const MANIFEST_VERSION: u32 = 1;
/// How often a copy is begun anew when a file changed under it.
const TRIES: u32 = 3;
const CHUNK_BYTES: usize = 1 << 17;

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub version: u32,
    /// Whether no file changed while it was copied. Only such a copy can be put back.
    pub stable: bool,
    /// The files that existed.
    pub files: Vec<CopiedFile>,
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
/// mode waits; a writer of the log is not held up, and seen by what changed.
///
/// # Errors
///
/// See [`CopyError`].
pub fn copy(path: &Path, into: &Path) -> Result<Manifest, CopyError> {
    let files = Files::of(path);
    fs::create_dir_all(into).at("make", into)?;
    let manifest_path = into.join(MANIFEST_NAME);
    if manifest_path.exists() {
        return Err(CopyError::Exists {
            path: into.to_owned(),
        });
    }
    // Kept open to the end: closing any descriptor of the file would drop the lock.
    let mut database = open(&files.database)?;
    if let Some(file) = &database {
        match fcntl_lock(file, FlockOperation::NonBlockingLockShared) {
            Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {}
            Err(error) => Err(io::Error::from(error)).at("lock", &files.database)?,
        }
    }
    let mut tries = TRIES;
    let manifest = loop {
        tries -= 1;
        let before = stamps(&files)?;
        let mut copied = Vec::new();
        for (original, name) in pairs(&files) {
            let to = into.join(&name);
            let source = if *original == files.database {
                database.as_mut().map(Opened::Borrowed)
            } else {
                open(original)?.map(Opened::Owned)
            };
            match source {
                Some(mut source) => {
                    copied.push(copy_file(source.file(), original, &to, name)?);
                }
                None => remove(&to)?,
            }
        }
        let stable = before == stamps(&files)?;
        if stable || tries == 0 {
            break Manifest {
                version: MANIFEST_VERSION,
                stable,
                files: copied,
            };
        }
    };
    write_manifest(&manifest, into, &manifest_path)?;
    Ok(manifest)
}

/// Length and SHA-256 of each file that exists, the wal-index excepted.
///
/// # Errors
///
/// A file could not be read.
pub fn digests(path: &Path) -> Result<Vec<CopiedFile>, FileError> {
    let files = Files::of(path);
    let mut found = Vec::new();
    for (original, name) in pairs(&files) {
        if *original == files.shm {
            continue;
        }
        if let Some(mut file) = open(original)? {
            let (bytes, sha256) = digest(&mut file, original)?;
            found.push(CopiedFile {
                name,
                bytes,
                sha256,
            });
        }
    }
    Ok(found)
}

/// Puts a copy back: afterwards the four files are what they were, the wal-index excepted, which
/// SQLite builds anew. With `over`, only if each file is as `over` tells, or as it was copied:
/// what anybody else wrote since is not overwritten.
///
/// The companions are put back first, each at once, then the database: cut off anywhere, a
/// database that differs from the copy in nothing but what its log holds is never half way.
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
    let files = Files::of(path);
    let manifest = read_manifest(from)?;
    let wanted = |name: &str| manifest.files.iter().find(|file| file.name == name);
    // Kept open to the end: closing any descriptor of the file would drop the lock.
    let mut database = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&files.database)
        .at("open", &files.database)?;
    lock_alone(&database, &files.database)?;
    if let Some(over) = over {
        check_unchanged(&mut database, &files, &manifest.files, over)?;
    }

    remove(&files.shm)?;
    let permissions = database
        .metadata()
        .at("look at", &files.database)?
        .permissions();
    for (original, name) in pairs(&files) {
        if *original == files.database || *original == files.shm {
            continue;
        }
        let Some(copied) = wanted(&name) else {
            remove(original)?;
            continue;
        };
        let unfinished = files.unfinished();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&unfinished)
            .at("open", &unfinished)?;
        file.set_permissions(permissions.clone())
            .at("set the permissions of", &unfinished)?;
        put_back(&mut file, &unfinished, copied, from)?;
        fs::rename(&unfinished, original).at("name", original)?;
    }
    let directory = files.database.parent().unwrap_or(Path::new("."));
    sync_directory(directory)?;
    match wanted(DATABASE_NAME) {
        Some(copied) => put_back(&mut database, &files.database, copied, from)?,
        None => remove(&files.database)?,
    }
    sync_directory(directory)?;
    // The lock ends here, with the descriptor.
    drop(database);
    Ok(manifest)
}

/// Sees that each file is as `over` tells, or as it was copied.
fn check_unchanged(
    database: &mut File,
    files: &Files,
    copied: &[CopiedFile],
    over: &[CopiedFile],
) -> Result<(), CopyError> {
    for (original, name) in pairs(files) {
        let now = if *original == files.database {
            database.rewind().at("read", original)?;
            Some(digest(database, original)?)
        } else if *original == files.shm {
            continue;
        } else {
            match open(original)? {
                Some(mut file) => Some(digest(&mut file, original)?),
                None => None,
            }
        };
        let is_now = |known: &[CopiedFile]| {
            let known = known.iter().find(|file| file.name == name);
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
            return Err(CopyError::Changed {
                path: original.clone(),
            });
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

/// The files and their names in a copy.
fn pairs(files: &Files) -> [(&PathBuf, String); 4] {
    [
        (&files.database, DATABASE_NAME.to_owned()),
        (&files.wal, format!("{DATABASE_NAME}-wal")),
        (&files.journal, format!("{DATABASE_NAME}-journal")),
        (&files.shm, format!("{DATABASE_NAME}-shm")),
    ]
}

/// What tells that a file was written to: length and time of the last change. The wal-index is
/// left out: it is written through shared memory, by readers too.
fn stamps(files: &Files) -> Result<[Option<(u64, SystemTime)>; 3], FileError> {
    let stamp = |path: &PathBuf| match fs::metadata(path) {
        Ok(metadata) => {
            let modified = metadata.modified().at("look at", path)?;
            Ok(Some((metadata.len(), modified)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("look at", path),
    };
    Ok([
        stamp(&files.database)?,
        stamp(&files.wal)?,
        stamp(&files.journal)?,
    ])
}

fn copy_file(
    source: &mut File,
    original: &Path,
    to: &Path,
    name: String,
) -> Result<CopiedFile, FileError> {
    source.rewind().at("read", original)?;
    let mut target = File::create(to).at("make", to)?;
    let (bytes, sha256) = pump(source, original, |chunk| {
        target.write_all(chunk).at("write", to)
    })?;
    target.sync_all().at("sync", to)?;
    Ok(CopiedFile {
        name,
        bytes,
        sha256,
    })
}

/// Writes a copied file's content over a file, syncs it and reads it back.
fn put_back(
    target: &mut File,
    path: &Path,
    copied: &CopiedFile,
    from: &Path,
) -> Result<(), CopyError> {
    let source_path = from.join(&copied.name);
    let mut source = File::open(&source_path).at("open", &source_path)?;
    target.rewind().at("write", path)?;
    pump(&mut source, &source_path, |chunk| {
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

/// Locks the whole file for this process alone: every byte that SQLite locks is in it.
fn lock_alone(database: &File, path: &Path) -> Result<(), CopyError> {
    match fcntl_lock(database, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            let blocker = locks::blocker(database, 0, 0).at("ask for the locks of", path)?;
            Err(CopyError::InUse {
                path: path.to_owned(),
                pid: blocker.map_or(0, |(pid, _)| pid),
            })
        }
        Err(error) => Ok(Err(io::Error::from(error)).at("lock", path)?),
    }
}

/// Reads to the end, hands on each chunk, and gives length and SHA-256.
fn pump(
    source: &mut File,
    path: &Path,
    mut sink: impl FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<(u64, String), FileError> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = fill(source, &mut chunk).at("read", path)?;
        if count == 0 {
            return Ok((bytes, hex(&hash.finalize())));
        }
        hash.update(&chunk[..count]);
        sink(&chunk[..count])?;
        bytes += count as u64;
    }
}

fn digest(file: &mut File, path: &Path) -> Result<(u64, String), FileError> {
    pump(file, path, |_| Ok(()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).fold(
        String::with_capacity(2 * bytes.len()),
        |mut text, digit| {
            text.extend(char::from_digit(u32::from(digit), 16));
            text
        },
    )
}

fn write_manifest(manifest: &Manifest, into: &Path, path: &Path) -> Result<(), CopyError> {
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(io::Error::from)
        .at("write", path)?;
    let unfinished = into.join(format!("{MANIFEST_NAME}.new"));
    let mut file = File::create(&unfinished).at("make", &unfinished)?;
    file.write_all(&text).at("write", &unfinished)?;
    file.sync_all().at("sync", &unfinished)?;
    sync_directory(into)?;
    fs::rename(&unfinished, path).at("name", path)?;
    sync_directory(into)?;
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
    file.take(1 << 20)
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
    for copied in &manifest.files {
        // A name is joined to a path: only the four that a copy makes.
        if !pairs(&Files::of(Path::new(DATABASE_NAME)))
            .iter()
            .any(|(_, name)| *name == copied.name)
        {
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

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), FileError> {
    // The parent of a bare file name is the empty path.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .at("sync", path)
}
