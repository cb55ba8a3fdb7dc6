//! Who can change what lies at a path: only what this user and root alone can change is believed.
//!
//! A path is followed from the root downwards, one name at a time, each held by a descriptor. Every
//! directory on the way, and every symbolic link, must belong to this user or to root. A directory
//! that others can write to must be sticky, as `/tmp` is: others can add names there, and neither
//! rename nor remove what is not theirs. This is what sshd asks of the files that it believes
//! (`StrictModes`), and sudo of its configuration.
//!
//! Two groups may write: group 0, which is root's, and this user's own group, when nobody else is in
//! it. With a umask of 002 everything that a developer makes is writable for that group.

mod group;

pub(crate) use group::is_of_no_user_here;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, readlinkat, statat,
};
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};

/// Symbolic links that are followed in one path: as many as the kernel follows.
const LINKS: usize = 40;

/// What others than the owner may do that lets them change a file or a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const WRITABLE_BY_ALL: u32 = 0o002;
/// Others may add names to such a directory, and touch none but their own.
const STICKY: u32 = 0o1000;

/// Why something at a path is not believed.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrustError {
    /// It cannot be opened, read or made.
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It belongs to somebody else.
    Owner {
        /// What.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs dbmedic.
        user: u32,
    },
    /// Others can write to it.
    Writable {
        /// What.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link of somebody else is in the way.
    Link {
        /// The link.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It is something else than a directory.
    NotADirectory {
        /// What.
        path: PathBuf,
    },
    /// It is something else than a regular file.
    NotAFile {
        /// What.
        path: PathBuf,
    },
    /// It is larger than such a file may be.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read, bytes.
        most_bytes: u64,
    },
}

impl TrustError {
    /// Whether nothing is there at all.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// What is wrong, in one line.
    pub fn what(&self) -> String {
        match self {
            Self::Io { path, source } => format!("{}: {source}", path.display()),
            Self::Owner { path, owner, user } => format!(
                "{} belongs to user {owner}, and dbmedic runs as user {user}: who owns it could \
                 plant what dbmedic then believes",
                path.display()
            ),
            Self::Writable { path, mode } => format!(
                "{} can be written to by {} (mode {mode:04o}), who could plant what dbmedic then \
                 believes",
                path.display(),
                if mode & WRITABLE_BY_ALL == 0 {
                    "its group"
                } else {
                    "everybody"
                }
            ),
            Self::Link { path, owner } => format!(
                "{} is a symbolic link of user {owner}, who could turn it elsewhere",
                path.display()
            ),
            Self::NotADirectory { path } => format!("{} is not a directory", path.display()),
            Self::NotAFile { path } => format!("{} is not a regular file", path.display()),
            Self::TooLarge { path, most_bytes } => format!(
                "{} holds more than {most_bytes} bytes, which are the most that is read",
                path.display()
            ),
        }
    }

    /// What mends it; none where that is not for dbmedic to say.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Owner { path, owner, user } => Some(format!(
                "run dbmedic as user {owner}, or `chown {user} {}`",
                path.display()
            )),
            Self::Writable { path, mode } => {
                let change = if mode & WRITABLE_BY_ALL == 0 {
                    "g-w"
                } else {
                    "go-w"
                };
                Some(format!("`chmod {change} {}` mends it", path.display()))
            }
            Self::Link { .. } => Some("name the place where it leads".to_owned()),
            Self::Io { .. }
            | Self::NotADirectory { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. } => None,
        }
    }
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        self.mend().map_or(Ok(()), |mend| write!(f, "; {mend}"))
    }
}

impl std::error::Error for TrustError {}

impl From<TrustError> for io::Error {
    fn from(error: TrustError) -> Self {
        match error {
            // Its path is known to whoever asked.
            TrustError::Io { source, .. } => source,
            TrustError::TooLarge { .. } => Self::new(io::ErrorKind::FileTooLarge, error),
            TrustError::NotADirectory { .. } => Self::new(io::ErrorKind::NotADirectory, error),
            other => Self::new(io::ErrorKind::PermissionDenied, other),
        }
    }
}

/// A directory on the way, or the last one.
pub(crate) struct Dir {
    /// Opened for its names only (`O_PATH`).
    fd: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Dir {
    /// The directory, open for reading its names and for syncing.
    pub(crate) fn open(&self) -> Result<File, TrustError> {
        let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&self.fd, ".", how, Mode::empty());
        Ok(opened.map_err(at(&self.path))?.into())
    }
}

/// Where a path leads.
enum End {
    Directory(Dir),
    /// Something in a directory, by its name there.
    Other {
        parent: Dir,
        name: OsString,
    },
}

/// Follows a path to a directory, and checks every step of the way. With `make`, what is missing is
/// made, for this user alone.
///
/// # Errors
/// [`TrustError`] names what is not to be believed.
pub(crate) fn directory(path: &Path, make: bool) -> Result<Dir, TrustError> {
    match follow(root()?, absolute(path)?.as_os_str(), make)? {
        End::Directory(dir) => Ok(dir),
        End::Other { parent, name } => Err(TrustError::NotADirectory {
            path: parent.path.join(name),
        }),
    }
}

/// The same for a name in a directory that was checked: the name may be a link.
pub(crate) fn directory_in(above: Dir, name: &OsStr, make: bool) -> Result<Dir, TrustError> {
    match follow(above, name, make)? {
        End::Directory(dir) => Ok(dir),
        End::Other { parent, name } => Err(TrustError::NotADirectory {
            path: parent.path.join(name),
        }),
    }
}

impl Dir {
    /// A directory that was checked when it was opened.
    pub(crate) fn again(handle: &File, path: &Path) -> io::Result<Self> {
        let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(handle, ".", how, Mode::empty())?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }
}

/// Opens a regular file for reading that only this user and root can change, wherever its path
/// leads. What this process was handed as an open descriptor (`/dev/stdin`, `/dev/fd/N`) was chosen
/// by whoever started it.
///
/// # Errors
/// [`TrustError`] names what is not to be believed.
pub fn open(path: &Path) -> Result<File, TrustError> {
    if is_inherited(path) {
        return File::open(path).map_err(|source| TrustError::Io {
            path: path.to_owned(),
            source,
        });
    }
    match follow(root()?, absolute(path)?.as_os_str(), false)? {
        End::Directory(dir) => Err(TrustError::NotAFile { path: dir.path }),
        End::Other { parent, name } => {
            let path = parent.path.join(&name);
            let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(&parent.fd, &name, how, Mode::empty()).map_err(at(&path))?;
            let about = fstat(&file).map_err(at(&path))?;
            is_file(&about, &path)?;
            is_ours(&about, &path)?;
            Ok(file.into())
        }
    }
}

/// Reads such a file whole.
///
/// # Errors
/// [`TrustError`] names what is not to be believed; [`TrustError::TooLarge`] beyond `most_bytes`.
pub fn read(path: &Path, most_bytes: u64) -> Result<Vec<u8>, TrustError> {
    let file = open(path)?;
    read_to(&file, path, most_bytes)
}

/// Whether only this user and root can change a directory and what is in it; it must be there.
///
/// # Errors
/// [`TrustError`] names what is not to be believed.
pub fn check_directory(path: &Path) -> Result<(), TrustError> {
    let dir = directory(path, false)?;
    let about = fstat(&dir.fd).map_err(at(&dir.path))?;
    // A sticky directory will do on the way, and not where every name counts.
    is_ours(&about, &dir.path)
}

/// Reads an open file to its end.
pub(crate) fn read_to(file: &File, path: &Path, most_bytes: u64) -> Result<Vec<u8>, TrustError> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let mut limited = io::Read::take(file, most_bytes.saturating_add(1));
    limited
        .read_to_end(&mut bytes)
        .map_err(|source| TrustError::Io {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > most_bytes {
        return Err(TrustError::TooLarge {
            path: path.to_owned(),
            most_bytes,
        });
    }
    Ok(bytes)
}

/// Whether this is a regular file.
pub(crate) fn is_file(about: &Stat, path: &Path) -> Result<(), TrustError> {
    if FileType::from_raw_mode(about.st_mode) == FileType::RegularFile {
        return Ok(());
    }
    Err(TrustError::NotAFile {
        path: path.to_owned(),
    })
}

/// Whether nobody but this user and root can change it.
pub(crate) fn is_ours(about: &Stat, path: &Path) -> Result<(), TrustError> {
    let found = judge(about, geteuid(), group::is_trusted);
    found.map_err(|fault| fault.at(path, about))
}

/// Whether a path names a descriptor that this process was started with.
pub(crate) fn is_inherited(path: &Path) -> bool {
    path == Path::new("/dev/stdin")
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd")
}

fn absolute(path: &Path) -> Result<PathBuf, TrustError> {
    std::path::absolute(path).map_err(|source| TrustError::Io {
        path: path.to_owned(),
        source,
    })
}

fn at(path: &Path) -> impl Fn(Errno) -> TrustError {
    let path = path.to_owned();
    move |errno| TrustError::Io {
        path: path.clone(),
        source: errno.into(),
    }
}

fn root() -> Result<Dir, TrustError> {
    let path = PathBuf::from("/");
    let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, "/", how, Mode::empty()).map_err(at(&path))?;
    step(fd, path)
}

/// A directory on the way, if it is one to be believed.
fn step(fd: OwnedFd, path: PathBuf) -> Result<Dir, TrustError> {
    let about = fstat(&fd).map_err(at(&path))?;
    match judge(&about, geteuid(), group::is_trusted) {
        Err(Fault::Writable) if about.st_mode & STICKY != 0 => {}
        Err(Fault::Owner) if group::is_of_no_user_here(about.st_uid) => {}
        found => found.map_err(|fault| fault.at(&path, &about))?,
    }
    Ok(Dir { fd, path })
}

/// Follows names from a directory that was checked.
fn follow(from: Dir, path: &OsStr, make: bool) -> Result<End, TrustError> {
    let mut here = from;
    let mut ahead = Vec::new();
    let mut links = 0;
    push(&mut ahead, Path::new(path));
    while let Some(name) = ahead.pop() {
        if name == "/" {
            here = root()?;
            continue;
        }
        let shown = if name == ".." {
            here.path.parent().unwrap_or(&here.path).to_owned()
        } else {
            here.path.join(&name)
        };
        let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut opened = openat(&here.fd, &name, how, Mode::empty());
        if make && matches!(opened, Err(Errno::NOENT)) {
            match mkdirat(&here.fd, &name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(at(&shown)(error)),
            }
            opened = openat(&here.fd, &name, how, Mode::empty());
        }
        let fd = opened.map_err(at(&shown))?;
        let about = fstat(&fd).map_err(at(&shown))?;
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory => here = step(fd, shown)?,
            FileType::Symlink => {
                links += 1;
                if links > LINKS {
                    return Err(at(&shown)(Errno::LOOP));
                }
                let owner = Uid::from_raw(about.st_uid);
                if !owner.is_root() && owner != geteuid() {
                    return Err(TrustError::Link {
                        path: shown,
                        owner: owner.as_raw(),
                    });
                }
                let target = readlinkat(&fd, "", Vec::new()).map_err(at(&shown))?;
                push(
                    &mut ahead,
                    Path::new(&OsString::from_vec(target.into_bytes())),
                );
            }
            _ if ahead.is_empty() => return Ok(End::Other { parent: here, name }),
            _ => return Err(TrustError::NotADirectory { path: shown }),
        }
    }
    Ok(End::Directory(here))
}

/// Puts the names of a path onto a stack, the first on top.
fn push(ahead: &mut Vec<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::RootDir => ahead.push("/".into()),
            Component::ParentDir => ahead.push("..".into()),
            Component::Normal(name) => ahead.push(name.to_owned()),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

/// What is wrong with a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Owner,
    Writable,
}

impl Fault {
    fn at(self, path: &Path, about: &Stat) -> TrustError {
        let path = path.to_owned();
        match self {
            Self::Owner => TrustError::Owner {
                path,
                owner: about.st_uid,
                user: geteuid().as_raw(),
            },
            Self::Writable => TrustError::Writable {
                path,
                mode: about.st_mode & 0o7777,
            },
        }
    }
}

/// Whether others than `user` and root can change something. `trusted` says whether nobody else is
/// in a group.
fn judge(about: &Stat, user: Uid, trusted: impl Fn(u32, Uid) -> bool) -> Result<(), Fault> {
    let owner = Uid::from_raw(about.st_uid);
    if owner != user && !owner.is_root() {
        return Err(Fault::Owner);
    }
    let others = about.st_mode & WRITABLE_BY_OTHERS;
    if others == 0 || (others & WRITABLE_BY_ALL == 0 && trusted(about.st_gid, user)) {
        return Ok(());
    }
    Err(Fault::Writable)
}

/// What lies under a name in a directory; nothing when nothing does.
pub(crate) fn about(dir: &File, name: &OsStr) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(about) => Ok(Some(about)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
