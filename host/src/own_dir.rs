//! dbmedic's own directories: what lies in there was put there by this user or by root, and is
//! opened in one way only.
//!
//! A directory is checked when it is opened, before a byte in it is read: its owner, its mode and
//! every directory above ([`crate::path_trust`]). From then on it is held by a descriptor. Names in
//! it are opened relative to that, never through a symbolic link; only regular files are read, of
//! this user or root, and no more of them than is asked for. What is written is for this user alone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, Dir as Names, FileType, Mode, OFlags, Stat, chmodat, fchmod, fstat, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::path_trust::{self, Dir, TrustError, is_file, is_ours};

/// Files that dbmedic makes are for its user alone.
const PRIVATE: u32 = 0o600;

/// A directory of this user, or one of root's to read in.
#[derive(Debug, Clone)]
pub struct OwnDir {
    /// The directory itself, whatever comes to stand under its name.
    handle: Arc<File>,
    path: PathBuf,
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written last.
    pub modified: SystemTime,
}

impl OwnDir {
    /// Opens a directory, and makes it for this user alone if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or opened, or when others than this user and root could put files in
    /// there or another directory in its place.
    pub fn open(path: &Path) -> Result<Self, TrustError> {
        Self::of(&path_trust::directory(path, true)?)
    }

    /// Opens a directory that must be there.
    ///
    /// # Errors
    /// As [`OwnDir::open`]; [`TrustError::is_absence`] when it is not there.
    pub fn existing(path: &Path) -> Result<Self, TrustError> {
        Self::of(&path_trust::directory(path, false)?)
    }

    /// A directory in this one; it is made if it is not there. A link to it may stand in its place,
    /// of this user or root.
    ///
    /// # Errors
    /// As [`OwnDir::open`].
    pub fn dir(&self, name: &str) -> Result<Self, TrustError> {
        self.dir_in(name, true)
    }

    /// A directory in this one; none when it is not there.
    ///
    /// # Errors
    /// As [`OwnDir::open`].
    pub fn dir_if_there(&self, name: &str) -> Result<Option<Self>, TrustError> {
        match self.dir_in(name, false) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn dir_in(&self, name: &str, make: bool) -> Result<Self, TrustError> {
        let failed = |source| self.failed(name, source);
        single(OsStr::new(name)).map_err(failed)?;
        let above = Dir::again(&self.handle, &self.path).map_err(failed)?;
        Self::of(&path_trust::directory_in(above, OsStr::new(name), make)?)
    }

    fn of(dir: &Dir) -> Result<Self, TrustError> {
        let handle = dir.open()?;
        let about = fstat(&handle).map_err(|error| TrustError::Io {
            path: dir.path.clone(),
            source: error.into(),
        })?;
        // A sticky directory will do on the way to it, and not here, where every name is believed.
        is_ours(&about, &dir.path)?;
        Ok(Self {
            handle: Arc::new(handle),
            path: dir.path.clone(),
        })
    }

    /// Whether its path still leads to it: who looks for it by name must find the same.
    ///
    /// # Errors
    /// When it does not, or cannot be followed.
    pub fn is_in_place(&self) -> io::Result<()> {
        let (held, found) = (self.handle.metadata()?, std::fs::metadata(&self.path)?);
        if (held.dev(), held.ino()) == (found.dev(), found.ino()) {
            return Ok(());
        }
        let what = "another directory stands in its place";
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }

    /// Where it is, links followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it.
    pub fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it is not there, is a link or no regular file, or others could have written it.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_with(name.as_ref(), OFlags::RDONLY)
    }

    /// Opens a file for reading and writing; it is made if it is not there, and nobody but this user
    /// can read it from then on.
    ///
    /// # Errors
    /// As [`OwnDir::open_file`].
    pub fn open_or_create(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_to_write(name.as_ref(), OFlags::RDWR | OFlags::CREATE)
    }

    /// The same, and all that is written goes to its end.
    ///
    /// # Errors
    /// As [`OwnDir::open_file`].
    pub fn open_to_append(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let how = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND;
        self.open_to_write(name.as_ref(), how)
    }

    /// A new, empty file; what stood there of an earlier attempt is gone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let name = name.as_ref();
        self.remove_if_there(name)?;
        self.open_to_write(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// Reads a file whole; none when it is not there.
    ///
    /// # Errors
    /// As [`OwnDir::open_file`], and when it holds more than `most_bytes`.
    pub fn read(&self, name: impl AsRef<OsStr>, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let name = name.as_ref();
        let file = match self.open_file(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = path_trust::read_to(&file, &self.path_of(name), most_bytes)?;
        Ok(Some(read))
    }

    /// Writes a file whole or not at all: under another name, synced, renamed, the directory synced.
    ///
    /// # Errors
    /// When it cannot be written; what is half made is gone then.
    pub fn write_whole(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
        self.write(name.as_ref(), bytes, true)
    }

    /// The same without a sync: after a power cut an older one may stand there, or part of it.
    ///
    /// # Errors
    /// As [`OwnDir::write_whole`].
    pub fn write_unsynced(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> io::Result<()> {
        self.write(name.as_ref(), bytes, false)
    }

    fn write(&self, name: &OsStr, bytes: &[u8], sync: bool) -> io::Result<()> {
        single(name)?;
        // Two processes may write the same, a thread of each at a time.
        let mut new = name.to_owned();
        new.push(format!(".{}.new", std::process::id()));
        let written = || {
            let mut file = self.create(&new)?;
            file.write_all(bytes)?;
            if sync {
                file.sync_all()?;
            }
            self.rename(&new, name)?;
            if sync { self.sync() } else { Ok(()) }
        };
        written().inspect_err(|_| {
            // What is half made only takes room, and perhaps the last there is.
            drop(self.remove(&new));
        })
    }

    /// Gives a file another name; what has that name is gone.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        let (from, to) = (single(from.as_ref())?, single(to.as_ref())?);
        Ok(renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Moves what has a name here into another directory on the same disk, under the same name.
    ///
    /// # Errors
    /// When it is not there or cannot be moved.
    pub fn move_into(&self, name: impl AsRef<OsStr>, other: &Self) -> io::Result<()> {
        let name = single(name.as_ref())?;
        Ok(renameat(&self.handle, name, &other.handle, name)?)
    }

    /// Looks at what has a name here, without opening it: whether it is there, and a regular file that
    /// only this user and root can change.
    ///
    /// # Errors
    /// When it is something else.
    pub fn own_file(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        let name = single(name.as_ref())?;
        let about = path_trust::about(&self.handle, name)?;
        if let Some(about) = &about {
            let path = self.path_of(name);
            is_file(about, &path)?;
            is_ours(about, &path)?;
        }
        Ok(about)
    }

    /// Has a file that is this user's be for this user alone, without opening it.
    ///
    /// # Errors
    /// As [`OwnDir::own_file`], and when its permissions cannot be changed.
    pub fn make_private(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = name.as_ref();
        let about = self.own_file(name)?;
        let is_open =
            |about: &Stat| about.st_uid == geteuid().as_raw() && about.st_mode & 0o7777 != PRIVATE;
        if about.as_ref().is_some_and(is_open) {
            chmodat(
                &self.handle,
                name,
                Mode::from_raw_mode(PRIVATE),
                AtFlags::empty(),
            )?;
        }
        Ok(())
    }

    /// Removes a file, or a link itself.
    ///
    /// # Errors
    /// When it is not there or cannot be removed.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(
            &self.handle,
            single(name.as_ref())?,
            AtFlags::empty(),
        )?)
    }

    /// The same, unless it is not there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_if_there(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What is known of a regular file; none when it is not there, or is something else.
    ///
    /// # Errors
    /// When the directory does not answer.
    pub fn about(&self, name: impl AsRef<OsStr>) -> io::Result<Option<About>> {
        let about = path_trust::about(&self.handle, single(name.as_ref())?)?;
        let file =
            about.filter(|about| FileType::from_raw_mode(about.st_mode) == FileType::RegularFile);
        Ok(file.map(|about| About {
            bytes: u64::try_from(about.st_size).unwrap_or(0),
            modified: SystemTime::UNIX_EPOCH
                + Duration::new(
                    u64::try_from(about.st_mtime).unwrap_or(0),
                    u32::try_from(about.st_mtime_nsec).unwrap_or(0),
                ),
        }))
    }

    /// The names in it, in no order; names that are not UTF-8 are nobody's of dbmedic and left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Names::read_from(&self.handle)? {
            let name = OsString::from(OsStr::from_bytes(entry?.file_name().to_bytes()));
            if let Ok(name) = name.into_string()
                && name != "."
                && name != ".."
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Brings names that were made, changed or removed to disk.
    ///
    /// # Errors
    /// When that fails.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// The descriptor, for what only a descriptor can name.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    fn open_to_write(&self, name: &OsStr, how: OFlags) -> io::Result<File> {
        let file = self.open_with(name, how)?;
        let about = fstat(&file)?;
        // An older one may have been made for others to read.
        if about.st_uid == geteuid().as_raw() && about.st_mode & 0o7777 != PRIVATE {
            fchmod(&file, Mode::from_raw_mode(PRIVATE))?;
        }
        Ok(file)
    }

    fn open_with(&self, name: &OsStr, how: OFlags) -> io::Result<File> {
        // Not waiting for a writer, should it be a pipe.
        let how = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(PRIVATE);
        let path = || self.path_of(name);
        let file = match openat(&self.handle, single(name)?, how, mode) {
            Ok(file) => file,
            // A link, or a device or socket that cannot be opened in this way.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => {
                return Err(TrustError::NotAFile { path: path() }.into());
            }
            Err(error) => return Err(error.into()),
        };
        let about = fstat(&file)?;
        is_file(&about, &path())?;
        is_ours(&about, &path())?;
        Ok(file.into())
    }

    fn failed(&self, name: &str, source: io::Error) -> TrustError {
        TrustError::Io {
            path: self.path_of(name),
            source,
        }
    }
}

/// A new, empty file at a path, as [`OwnDir::create`] makes it in the directory there.
///
/// # Errors
/// When the directory is not to be believed, or the file cannot be made.
pub fn create(path: &Path) -> io::Result<File> {
    let (dir, name) = split(path)?;
    dir.create(name)
}

/// A file at a path, as [`OwnDir::open_or_create`] opens it in the directory there.
///
/// # Errors
/// When the directory or the file is not to be believed, or cannot be opened.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let (dir, name) = split(path)?;
    dir.open_or_create(name)
}

fn split(path: &Path) -> io::Result<(OwnDir, &OsStr)> {
    let name = path.file_name().unwrap_or_default();
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    Ok((OwnDir::existing(dir)?, name))
}

/// A name in a directory, and no path.
fn single(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        let what = format!("{} is not the name of a file", Path::new(name).display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
