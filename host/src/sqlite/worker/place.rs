//! Where a database lies, whose it is, and who else can change what lies there.
//!
//! Root takes the rights of whoever can change where a path leads, and not those of the file that it
//! leads to now: a user who can put another file, or a link to one, in the place of a database must reach
//! nothing by it that this user could not reach anyway. Whoever can change one name of the path can
//! change it again at any moment, so that this holds whatever the path leads to when a worker opens it.
//! Where only root can change the path, it stays what it was found to be.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::accounts::Accounts;
use super::rights::{NO_GROUP, NO_USER, Rights};
use crate::path_trust::is_of_no_user_here;
use crate::sqlite_state::set::Unjudgeable;

/// Symbolic links that are followed in one path: as many as the kernel follows.
const LINKS: usize = 40;
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
/// Others may add names to such a directory, and touch none but their own.
const STICKY: u32 = 0o1000;

/// Why it cannot be said where a database lies.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Something on the way cannot be looked at.
    #[error("look at {path}: {source}", path = path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A symbolic link on the way can be changed by somebody who owns neither the file nor this system.
    #[error(
        "{path} is a symbolic link that {who} can change, and leads to a file of user {file_owner}: \
         dbmedic does not follow it; name the file itself",
        path = path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// Who can change it, in words.
        who: String,
        /// The number of that user; none where it is a group or everybody.
        user: Option<u32>,
        /// The owner of what it leads to.
        file_owner: u32,
    },
    /// Somebody else than the file's owner can put another file in its place, and cannot read it.
    #[error(
        "{path} belongs to user {file_owner}, and {who} can put another file in its place: dbmedic opens \
         it with the rights of neither; give the file and its directories to one user, or take the \
         right to write to them from others",
        path = path.display()
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// Who, in words.
        who: String,
        /// The number of that user; none where it is a group, everybody or several users.
        user: Option<u32>,
        /// The owner of the file.
        file_owner: u32,
    },
}

impl PlaceError {
    /// Why the database is left alone; none where it is not known where it lies.
    pub fn unjudgeable(&self) -> Option<Unjudgeable> {
        match *self {
            Self::Io { .. } => None,
            Self::Link { user, .. } => Some(Unjudgeable::LinkOfAnother { user }),
            Self::Shared { user, .. } => Some(Unjudgeable::PlaceOfAnother { user }),
        }
    }
}

/// Where a database lies, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file itself.
    pub path: PathBuf,
    /// Its owner; of a file that is not there, the owner of the directory.
    pub owner: u32,
    /// Its group.
    pub group: u32,
    /// Who else than root and the owner can put files beside it or in its place, in words; none when
    /// nobody can.
    pub shared_with: Option<String>,
    /// The user with whose rights it is opened, and that user's group.
    opened_as: (u32, u32),
}

impl Place {
    /// Follows a path to a database.
    ///
    /// # Errors
    ///
    /// See [`PlaceError`]. That the file itself is not there is none.
    pub fn of(database: &Path) -> Result<Self, PlaceError> {
        let way = Way::follow(database)?;
        let own = geteuid().as_raw();
        let accounts: KnownAccounts = LazyCell::new(Accounts::read);
        let user = way.user(own, &accounts)?;
        let (owner, group) = (way.file().uid, way.file().gid);
        let beside = || shared_with(way.directory(), owner, own, &accounts);
        Ok(Self {
            shared_with: user.shared_with.or_else(beside),
            owner,
            group,
            opened_as: (user.uid, user.gid),
            path: way.path,
        })
    }

    /// The rights with which the database is opened; none: this process's own. Only root can take
    /// another user's.
    pub fn rights(&self) -> Option<Rights> {
        let (uid, gid) = self.opened_as;
        let is_of_another = geteuid().is_root() && uid != 0;
        is_of_another.then(|| Rights::of(uid, gid))
    }

    /// Why nothing may be done here but to look, in words; none when more may be done.
    pub fn only_to_look_at(&self) -> Option<String> {
        let who = self.shared_with.as_ref()?;
        Some(format!(
            "{} belongs to user {}, and {who} can put files beside it or in its place: dbmedic only looks \
             at it, takes no snapshot and repairs nothing; give the directory to user {}, or take the \
             right to write to it from others",
            self.path.display(),
            self.owner,
            self.owner
        ))
    }
}

/// The users and groups, read when they are first asked for.
type KnownAccounts = LazyCell<Accounts>;

/// Whose a file or a directory is, and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct About {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl About {
    /// Whether a user may do with it what a bit of the permissions for others says.
    fn lets(self, rights: &Rights, bit: u32) -> bool {
        let shift = if self.uid == rights.uid {
            6
        } else if self.gid == rights.gid || rights.groups.contains(&self.gid) {
            3
        } else {
            0
        };
        self.mode & (bit << shift) != 0
    }
}

impl From<Stat> for About {
    fn from(stat: Stat) -> Self {
        Self {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        }
    }
}

/// One name on the way.
#[derive(Debug)]
struct Step {
    /// The path of the name.
    path: PathBuf,
    /// The directory that it is in.
    directory: About,
    /// What has the name; none when nothing does.
    entry: Option<About>,
    is_link: bool,
}

/// Who can change what a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changer {
    User(u32),
    Group(u32),
    Everybody,
}

impl fmt::Display for Changer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {user}"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Everybody => f.write_str("everybody"),
        }
    }
}

impl Changer {
    fn user(self) -> Option<u32> {
        match self {
            Self::User(user) => Some(user),
            Self::Group(_) | Self::Everybody => None,
        }
    }
}

impl Step {
    /// Who else than root can change what the name stands for; none when nobody can. Who owns a directory
    /// can, and decides who else can. `is_trusted` says of a group that nobody else is in it.
    fn changer(&self, is_trusted: &dyn Fn(u32) -> bool) -> Option<Changer> {
        let directory = self.directory;
        if !is_root(directory.uid) {
            return Some(Changer::User(directory.uid));
        }
        let by = if directory.mode & ALL_WRITE != 0 {
            Changer::Everybody
        } else if directory.mode & GROUP_WRITES != 0 && !is_trusted(directory.gid) {
            Changer::Group(directory.gid)
        } else {
            return None;
        };
        match self.entry {
            Some(entry) if directory.mode & STICKY != 0 => {
                (!is_root(entry.uid)).then_some(Changer::User(entry.uid))
            }
            _ => Some(by),
        }
    }
}

/// Whether an owner is root, or stands for what lies outside of this user namespace.
fn is_root(uid: u32) -> bool {
    uid == 0 || is_of_no_user_here(uid)
}

/// With whose rights a file is opened, and who shares its place.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    shared_with: Option<String>,
}

/// The names on the way to a file, links followed.
#[derive(Debug)]
struct Way {
    /// The file itself.
    path: PathBuf,
    steps: Vec<Step>,
    /// The root directory.
    root: About,
}

impl Way {
    /// Follows all links of a path, each name held by a descriptor. The last name need not be there.
    fn follow(path: &Path) -> Result<Self, PlaceError> {
        let absolute = std::path::absolute(path).map_err(at(path))?;
        let mut here = PathBuf::from("/");
        let mut held = open(CWD, OsStr::new("/"), &here)?;
        let root: About = stat(&held, &here)?.into();
        let mut directory = root;
        let mut ahead: Vec<OsString> = Vec::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut links = 0;
        push(&mut ahead, &absolute);
        while let Some(name) = ahead.pop() {
            if name == "/" || name == ".." {
                if name == "/" {
                    here = PathBuf::from("/");
                    held = open(CWD, &name, &here)?;
                } else {
                    here.pop();
                    held = open(&held, &name, &here)?;
                }
                directory = stat(&held, &here)?.into();
                continue;
            }
            let next = here.join(&name);
            let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match openat(&held, &name, how, Mode::empty()) {
                Ok(opened) => opened,
                Err(Errno::NOENT) if ahead.is_empty() => {
                    steps.push(Step {
                        path: next.clone(),
                        directory,
                        entry: None,
                        is_link: false,
                    });
                    here = next;
                    break;
                }
                Err(error) => return Err(at(&next)(error.into())),
            };
            let found = stat(&opened, &next)?;
            let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
            steps.push(Step {
                path: next.clone(),
                directory,
                entry: Some(found.into()),
                is_link,
            });
            if !is_link {
                here = next;
                held = opened;
                directory = found.into();
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(at(&next)(Errno::LOOP.into()));
            }
            let target =
                readlinkat(&opened, "", Vec::new()).map_err(|error| at(&next)(error.into()))?;
            push(
                &mut ahead,
                Path::new(&OsString::from_vec(target.into_bytes())),
            );
        }
        Ok(Self {
            path: here,
            steps,
            root,
        })
    }

    /// The directory of the file.
    fn directory(&self) -> About {
        self.steps.last().map_or(self.root, |step| step.directory)
    }

    /// The file; of one that is not there, its directory.
    fn file(&self) -> About {
        let entry = self.steps.last().and_then(|step| step.entry);
        entry.unwrap_or_else(|| self.directory())
    }

    /// Whose rights the file is opened with, by who can change the way to it.
    fn user(&self, own: u32, accounts: &KnownAccounts) -> Result<User, PlaceError> {
        let file = self.file();
        let owner = file.uid;
        let as_owner = |shared_with| User {
            uid: owner,
            gid: file.gid,
            shared_with,
        };
        let links = self.steps.iter().filter(|step| step.is_link);
        let refused = |link: &Step, who: Changer| PlaceError::Link {
            path: link.path.clone(),
            who: who.to_string(),
            user: who.user(),
            file_owner: owner,
        };
        for link in links.clone() {
            if let Some(by) = link.entry.map(|entry| entry.uid)
                && ![0, own, owner].contains(&by)
            {
                return Err(refused(link, Changer::User(by)));
            }
        }
        if own != 0 {
            // Only root has rights to give up.
            return Ok(as_owner(None));
        }
        let is_trusted = |group| {
            group == 0
                || [0, owner]
                    .iter()
                    .any(|user| accounts.is_alone_in(*user, group))
        };
        let is_other = |changer: &Changer| *changer != Changer::User(owner);
        let other = |step: &Step| step.changer(&is_trusted).filter(is_other);
        for link in links {
            if let Some(by) = other(link) {
                return Err(refused(link, by));
            }
        }
        let others: BTreeSet<Changer> = self.steps.iter().filter_map(other).collect();
        let in_words: Vec<String> = others.iter().map(ToString::to_string).collect();
        let who = in_words.join(" and ");
        let is_there = self.steps.last().is_some_and(|step| step.entry.is_some());
        let is_of_user = others.iter().any(|other| matches!(other, Changer::User(_)));
        let mut all = others.iter();
        match (all.next(), all.next()) {
            (None, _) => Ok(as_owner(None)),
            // Who can change the way to the file gets no more than can be reached without dbmedic.
            (Some(Changer::User(uid)), None) => {
                let gid = self.steps.iter().map(|step| step.directory);
                let gid = gid.rev().find(|directory| directory.uid == *uid);
                let gid = gid.map_or(NO_GROUP, |directory| directory.gid);
                let rights = Rights::known(accounts, *uid, gid);
                if is_there && self.is_readable(&rights) {
                    Ok(User {
                        uid: *uid,
                        gid,
                        shared_with: Some(who),
                    })
                } else {
                    Err(self.shared(who, Some(*uid)))
                }
            }
            // There is nothing to open yet.
            _ if !is_there && !is_of_user => Ok(User {
                uid: NO_USER,
                gid: NO_GROUP,
                shared_with: Some(who),
            }),
            _ if !is_root(owner) && !is_of_user => Ok(as_owner(Some(who))),
            _ => Err(self.shared(who, None)),
        }
    }

    fn shared(&self, who: String, user: Option<u32>) -> PlaceError {
        PlaceError::Shared {
            path: self.path.clone(),
            who,
            user,
            file_owner: self.file().uid,
        }
    }

    /// Whether a user can read the file, as far as modes tell.
    fn is_readable(&self, rights: &Rights) -> bool {
        const READ: u32 = 0o4;
        const PASS: u32 = 0o1;
        let mut directories = self.steps.iter().map(|step| step.directory);
        self.file().lets(rights, READ) && directories.all(|one| one.lets(rights, PASS))
    }
}

/// Who else than root, the file's owner and this process can write to a directory that is not the
/// owner's own.
fn shared_with(directory: About, owner: u32, own: u32, accounts: &KnownAccounts) -> Option<String> {
    // Beside a file of root's, root's directory lets nobody else write either.
    let is_of_root = own == 0 && owner == 0;
    if directory.uid == owner && !is_of_root {
        return None;
    }
    if directory.mode & ALL_WRITE != 0 {
        return Some(Changer::Everybody.to_string());
    }
    if directory.uid != 0 && directory.uid != own {
        return Some(format!("user {}, who owns the directory,", directory.uid));
    }
    if directory.mode & GROUP_WRITES != 0 {
        let group = directory.gid;
        let is_trusted = is_of_root && group == 0
            || [owner, own]
                .iter()
                .any(|user| accounts.is_alone_in(*user, group));
        if !is_trusted {
            return Some(Changer::Group(group).to_string());
        }
    }
    None
}

/// Opens a directory for its names only, never through a link.
fn open(from: impl std::os::fd::AsFd, name: &OsStr, path: &Path) -> Result<OwnedFd, PlaceError> {
    let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(from, name, how, Mode::empty()).map_err(|error| at(path)(error.into()))
}

fn stat(held: &OwnedFd, path: &Path) -> Result<Stat, PlaceError> {
    fstat(held).map_err(|error| at(path)(error.into()))
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

fn at(path: &Path) -> impl Fn(io::Error) -> PlaceError {
    let path = path.to_owned();
    move |source| PlaceError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests;
