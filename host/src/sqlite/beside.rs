//! The directory of a database, held open, and the files in it.
//!
//! Who can write to that directory can put a symbolic link, a pipe or a device where SQLite keeps its
//! log, and swap names while dbmedic works. So every file beside a database is opened relative to one
//! held directory and never through a link; what opens must be a regular file, and is never waited
//! for; what is made did not exist before, has a name that nobody can guess, and belongs to the owner
//! of the database. Closing a file of a database drops the POSIX locks that the process holds on it:
//! this runs only in the helper process (see [`super::raw`]).

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, Stat, fchown, fsync, openat, renameat, statat, unlinkat,
    },
    io::Errno,
    process::{Gid, Uid},
};

use super::files::{At as _, FileError};

/// Permissions that a file beside a database is given at most: no program runs from there.
const PERMISSIONS: u32 = 0o666;

/// Whose a file is, and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ownership {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permission bits.
    pub mode: u32,
}

impl Ownership {
    /// The ownership of an open file.
    ///
    /// # Errors
    ///
    /// The file cannot be looked at.
    pub fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            uid: meta.uid(),
            gid: meta.gid(),
            mode: meta.mode() & PERMISSIONS,
        })
    }

    /// Gives a file that this process just made to the same owner.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::PermissionDenied`] when the owner could not write to it afterwards.
    fn give(self, file: &File) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (self.uid, self.gid)
            && fchown(file, Some(uid), Some(gid)).is_err()
        {
            // Only root gives files away; into its own groups every process can.
            fchown(file, None, Some(gid)).ok();
        }
        // Afterwards: giving a file away clears bits of its mode.
        file.set_permissions(Permissions::from_mode(self.mode))?;
        let made = file.metadata()?;
        let through_group = made.gid() == self.gid && self.mode & 0o060 == 0o060;
        if made.uid() == self.uid || through_group {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "the database's owner, user {}, could not write to it: run dbmedic as that user, or as root",
                self.uid
            ),
        ))
    }
}

/// The directory of a database, held open.
#[derive(Debug)]
pub struct Beside {
    directory: OwnedFd,
    /// The directory's path, for messages.
    parent: PathBuf,
    /// The database's own name.
    name: OsString,
}

impl Beside {
    /// Opens the directory of a database. Symbolic links up to the database itself are followed, as
    /// SQLite does; its companions lie beside the real file.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened.
    pub fn of(database: &Path) -> Result<Self, FileError> {
        let real = match database.canonicalize() {
            Ok(real) => real,
            // A database that is not there has a directory all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = match database.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                let parent = parent.canonicalize().at("find", parent)?;
                parent.join(database.file_name().unwrap_or_default())
            }
            Err(error) => Err(error).at("find", database)?,
        };
        let parent = real.parent().unwrap_or(Path::new("/")).to_owned();
        let name = real.file_name().unwrap_or_default().to_owned();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&parent, flags, Mode::empty())
            .map_err(io::Error::from)
            .at("open", &parent)?;
        Ok(Self {
            directory,
            parent,
            name,
        })
    }

    /// The name of the database with a suffix: empty for the database itself, or for example `-wal`.
    pub fn name(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }

    /// The path of a name in the directory, for messages.
    pub fn path(&self, name: &OsStr) -> PathBuf {
        self.parent.join(name)
    }

    /// Opens a regular file for reading; none when nothing has that name.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is no regular file.
    pub fn open(&self, name: &OsStr) -> Result<Option<File>, FileError> {
        open_at(&self.directory, name, OFlags::RDONLY).at("open", &self.path(name))
    }

    /// Opens a regular file for reading and writing; none when nothing has that name.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_to_write(&self, name: &OsStr) -> Result<Option<File>, FileError> {
        open_at(&self.directory, name, OFlags::RDWR).at("open", &self.path(name))
    }

    /// Makes a file that was not there, for reading and writing, and gives it to an owner.
    ///
    /// # Errors
    ///
    /// Something has that name, the file cannot be made, or its owner could not write to it; then it
    /// is removed.
    pub fn create(&self, name: &OsStr, owner: Ownership) -> Result<File, FileError> {
        let path = self.path(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = create_at(&self.directory, name, flags).at("make", &path)?;
        if let Err(error) = owner.give(&file) {
            drop(self.remove(name));
            return Err(error).at("give to the database's owner", &path);
        }
        Ok(file)
    }

    /// Removes a name, whatever it stands for; links are not followed. Nothing there is no error.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub fn remove(&self, name: &OsStr) -> Result<(), FileError> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io::Error::from(error)).at("remove", &self.path(name)),
        }
    }

    /// Gives a file another name, in place of what had it before.
    ///
    /// # Errors
    ///
    /// It cannot be renamed.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> Result<(), FileError> {
        renameat(&self.directory, from, &self.directory, to)
            .map_err(io::Error::from)
            .at("name", &self.path(to))
    }

    /// What stands under a name, links not followed; none when nothing does.
    ///
    /// # Errors
    ///
    /// It cannot be looked at, or is no regular file.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Stat>, FileError> {
        let path = self.path(name);
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                regular(FileType::from_raw_mode(stat.st_mode)).at("look at", &path)?;
                Ok(Some(stat))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(io::Error::from(error)).at("look at", &path),
        }
    }

    /// Writes the names to the disk.
    ///
    /// # Errors
    ///
    /// They cannot be synced.
    pub fn sync(&self) -> Result<(), FileError> {
        fsync(&self.directory)
            .map_err(io::Error::from)
            .at("sync", &self.parent)
    }
}

/// A directory of dbmedic's own for one copy, held open: only its owner may look into it.
#[derive(Debug)]
pub struct CopyDir {
    directory: OwnedFd,
    path: PathBuf,
}

impl CopyDir {
    /// Makes the directory, and those above it, where they are missing.
    ///
    /// # Errors
    ///
    /// It cannot be made or opened, or a symbolic link has its name.
    pub fn make(path: &Path) -> Result<Self, FileError> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .at("make", path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(io::Error::from)
            .at("open", path)?;
        Ok(Self {
            directory,
            path: path.to_owned(),
        })
    }

    /// Makes a file that only its owner may use, in place of one that an earlier try left.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn create(&self, name: &str) -> Result<File, FileError> {
        let path = self.path.join(name);
        self.remove(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        create_at(&self.directory, OsStr::new(name), flags).at("make", &path)
    }

    /// Removes a file. Nothing there is no error.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), FileError> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io::Error::from(error)).at("remove", &self.path.join(name)),
        }
    }

    /// Gives a file another name.
    ///
    /// # Errors
    ///
    /// It cannot be renamed.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        renameat(&self.directory, from, &self.directory, to)
            .map_err(io::Error::from)
            .at("name", &self.path.join(to))
    }

    /// Writes the names to the disk.
    ///
    /// # Errors
    ///
    /// They cannot be synced.
    pub fn sync(&self) -> Result<(), FileError> {
        fsync(&self.directory)
            .map_err(io::Error::from)
            .at("sync", &self.path)
    }

    /// Bytes that this process can still write on the file system of the directory.
    ///
    /// # Errors
    ///
    /// It cannot be asked.
    pub fn free_bytes(&self) -> Result<u64, FileError> {
        let room = rustix::fs::fstatvfs(&self.directory)
            .map_err(io::Error::from)
            .at("ask for the room in", &self.path)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

/// Opens a regular file at a path whose last name is not followed as a link; none when nothing is
/// there.
///
/// # Errors
///
/// It cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> Result<Option<File>, FileError> {
    open_at(rustix::fs::CWD, path.as_os_str(), OFlags::RDONLY).at("open", path)
}

/// The file is regular, or the error that says what it is.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`].
pub fn regular(kind: FileType) -> io::Result<()> {
    let is = match kind {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {is}, not a regular file: see who put it there, and remove it"),
    ))
}

fn open_at(
    directory: impl std::os::fd::AsFd + Copy,
    name: &OsStr,
    access: OFlags,
) -> io::Result<Option<File>> {
    // A pipe without a writer must not be waited for; to a regular file it makes no difference.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Before the opening as well: to open a device can have an effect of its own.
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => regular(FileType::from_raw_mode(stat.st_mode))?,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let file = match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(not_regular(FileType::Symlink)),
        Err(error) => return Err(error.into()),
    };
    regular(FileType::from_raw_mode(file.metadata()?.mode()))?;
    Ok(Some(file))
}

fn not_regular(kind: FileType) -> io::Error {
    regular(kind)
        .err()
        .unwrap_or_else(|| io::Error::from(Errno::LOOP))
}

fn create_at(directory: impl std::os::fd::AsFd, name: &OsStr, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a.db");
        fs::write(&database, "content").unwrap();
        let beside = Beside::of(&database).unwrap();
        assert!(beside.open(&beside.name("")).unwrap().is_some());
        assert!(beside.open(&beside.name("-wal")).unwrap().is_none());

        let link = dir.path().join("a.db-wal");
        symlink(&database, &link).unwrap();
        symlink(dir.path().join("nowhere"), dir.path().join("a.db-shm")).unwrap();
        let pipe = dir.path().join("a.db-journal");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        for (suffix, is) in [
            ("-wal", "a symbolic link"),
            ("-shm", "a symbolic link"),
            ("-journal", "a pipe"),
        ] {
            let name = beside.name(suffix);
            for error in [
                beside.open(&name).unwrap_err(),
                beside.open_to_write(&name).unwrap_err(),
                beside.stat(&name).unwrap_err(),
                open_regular(&beside.path(&name)).unwrap_err(),
            ] {
                assert!(error.source.to_string().contains(is), "{error:?}");
            }
        }
        let null = open_regular(Path::new("/dev/null")).unwrap_err();
        assert!(null.source.to_string().contains("a device"), "{null:?}");
    }

    #[test]
    fn what_is_made_is_new_and_has_the_owner_and_mode_of_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a.db");
        fs::write(&database, "content").unwrap();
        fs::set_permissions(&database, Permissions::from_mode(0o640)).unwrap();
        let beside = Beside::of(&database).unwrap();
        let owner = Ownership::of(&File::open(&database).unwrap()).unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "untouched").unwrap();
        symlink(&target, dir.path().join("a.db-new")).unwrap();
        let taken = beside.create(&beside.name("-new"), owner).unwrap_err();
        assert_eq!(taken.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");

        let made = beside.create(&beside.name("-other"), owner).unwrap();
        assert_eq!(Ownership::of(&made).unwrap(), owner);
        if rustix::process::geteuid().is_root() {
            let owner = Ownership {
                uid: 4711,
                gid: 4712,
                mode: 0o600,
            };
            let made = beside.create(&beside.name("-given"), owner).unwrap();
            assert_eq!(Ownership::of(&made).unwrap(), owner);
        } else {
            let owner = Ownership { uid: 0, ..owner };
            let refused = beside.create(&beside.name("-given"), owner).unwrap_err();
            assert_eq!(refused.source.kind(), io::ErrorKind::PermissionDenied);
            assert!(!dir.path().join("a.db-given").exists());
        }
    }
}
