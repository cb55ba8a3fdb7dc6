//! Where a database lies, whose it is, and who else can change what lies there.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::process::geteuid;

use super::accounts::Accounts;
use super::rights::Rights;

/// Symbolic links that are followed in one path: as many as the kernel follows.
const LINKS: usize = 40;
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;

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
    /// A symbolic link on the way belongs to somebody who owns neither the database nor this system.
    #[error(
        "{path} is a symbolic link of user {owner} and leads to a file of user {file_owner}: dbmedic does \
         not follow it; name the database itself",
        path = path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The owner of what it leads to.
        file_owner: u32,
    },
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
    /// Who else than root and the owner can put files beside it, in words; none when nobody can.
    pub shared_with: Option<String>,
}

impl Place {
    /// Follows a path to a database.
    ///
    /// # Errors
    ///
    /// See [`PlaceError`]. That the file itself is not there is none.
    pub fn of(database: &Path) -> Result<Self, PlaceError> {
        let (path, links) = follow(database)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let above = fs::metadata(directory).map_err(at(directory))?;
        let (owner, group) = match fs::symlink_metadata(&path) {
            Ok(file) => (file.uid(), file.gid()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (above.uid(), above.gid()),
            Err(error) => return Err(at(&path)(error)),
        };
        let own = geteuid().as_raw();
        for (link, by) in links {
            if ![0, own, owner].contains(&by) {
                return Err(PlaceError::Link {
                    path: link,
                    owner: by,
                    file_owner: owner,
                });
            }
        }
        Ok(Self {
            shared_with: shared_with(&above, owner, own, Accounts::read),
            path,
            owner,
            group,
        })
    }

    /// The rights with which the database is opened; none: this process's own. Only root can take
    /// another user's.
    pub fn rights(&self) -> Option<Rights> {
        let is_of_another = geteuid().is_root() && self.owner != 0;
        is_of_another.then(|| Rights::of(self.owner, self.group))
    }

    /// Why nothing may be done here but to look, in words; none when more may be done.
    pub fn only_to_look_at(&self) -> Option<String> {
        let who = self.shared_with.as_ref()?;
        Some(format!(
            "{} belongs to user {}, and {who} can put files beside it: dbmedic only looks at it, takes \
             no snapshot and repairs nothing; give the directory to user {}, or take the right to write \
             to it from others",
            self.path.display(),
            self.owner,
            self.owner
        ))
    }
}

/// Who else than root, the file's owner and this process can write to a directory that is not the
/// owner's own.
fn shared_with(
    directory: &Metadata,
    owner: u32,
    own: u32,
    accounts: impl FnOnce() -> Accounts,
) -> Option<String> {
    if directory.uid() == owner {
        return None;
    }
    let mode = directory.mode();
    if mode & ALL_WRITE != 0 {
        return Some("everybody".to_owned());
    }
    if directory.uid() != 0 && directory.uid() != own {
        return Some(format!("user {}, who owns the directory,", directory.uid()));
    }
    if mode & GROUP_WRITES != 0 {
        let (accounts, group) = (accounts(), directory.gid());
        let is_alone = [owner, own]
            .iter()
            .any(|user| accounts.is_alone_in(*user, group));
        if !is_alone {
            return Some(format!("group {group}"));
        }
    }
    None
}

/// Links on the way, each with its owner.
type Links = Vec<(PathBuf, u32)>;

/// Follows all links of a path. The last name need not be there.
fn follow(path: &Path) -> Result<(PathBuf, Links), PlaceError> {
    let absolute = std::path::absolute(path).map_err(at(path))?;
    let mut here = PathBuf::from("/");
    let mut ahead: Vec<OsString> = Vec::new();
    let mut links = Vec::new();
    push(&mut ahead, &absolute);
    while let Some(name) = ahead.pop() {
        if name == "/" {
            here = PathBuf::from("/");
            continue;
        }
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let found = match fs::symlink_metadata(&next) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound && ahead.is_empty() => {
                return Ok((next, links));
            }
            Err(error) => return Err(at(&next)(error)),
        };
        if !found.is_symlink() {
            here = next;
            continue;
        }
        if links.len() == LINKS {
            return Err(at(&next)(rustix::io::Errno::LOOP.into()));
        }
        let target = fs::read_link(&next).map_err(at(&next))?;
        links.push((next, found.uid()));
        push(&mut ahead, &target);
    }
    Ok((here, links))
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
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

    use super::*;

    #[test]
    fn links_are_followed_to_the_file_itself() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        fs::create_dir(real.join("data")).unwrap();
        fs::write(real.join("data/a.db"), "x").unwrap();
        symlink("data", real.join("way")).unwrap();
        symlink("../way/./a.db", real.join("data/link.db")).unwrap();
        let of = |name: &str| Place::of(&real.join(name)).unwrap().path;
        assert_eq!(of("data/link.db"), real.join("data/a.db"));
        assert_eq!(of("way/missing.db"), real.join("data/missing.db"));
        assert_eq!(of("way/../data/a.db"), real.join("data/a.db"));
        symlink("loop", real.join("loop")).unwrap();
        for broken in ["loop", "data/a.db/b", "none/a.db"] {
            assert!(Place::of(&real.join(broken)).is_err(), "{broken}");
        }
    }

    #[test]
    fn who_else_can_write_beside_a_database() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        let file = data.join("a.db");
        fs::write(&file, "x").unwrap();
        // File's owner, directory's owner, its group and mode, and who is named.
        let (app, other) = (47_110, 47_111);
        let cases = [
            (app, app, app, 0o700, None),
            (app, app, app, 0o775, None),
            (app, app, app, 0o777, None),
            (app, 0, 0, 0o755, None),
            (app, 0, 0, 0o775, None),
            (app, 0, other, 0o755, None),
            (app, 0, other, 0o775, Some("group 47111")),
            (app, 0, 0, 0o1777, Some("everybody")),
            (app, other, other, 0o755, Some("user 47111")),
            (0, app, app, 0o755, Some("user 47110")),
            (0, 0, app, 0o775, None),
        ];
        for (owner, above, group, mode, named) in cases {
            chown(&file, Some(owner), Some(owner)).unwrap();
            chown(&data, Some(above), Some(group)).unwrap();
            fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
            let place = Place::of(&file).unwrap();
            let what = format!("{owner} {above}:{group} {mode:o}: {place:?}");
            assert_eq!(place.owner, owner);
            match (named, &place.shared_with) {
                (None, None) => {}
                (Some(named), Some(who)) => assert!(who.starts_with(named), "{what}"),
                _ => panic!("{what}"),
            }
            let rights = place.rights();
            assert_eq!(
                rights.map(|rights| rights.uid),
                (owner != 0).then_some(owner)
            );
        }

        // Whoever may write there could turn a link to what is not theirs.
        let secret = dir.path().join("secret");
        fs::write(&secret, "x").unwrap();
        let link = data.join("link.db");
        symlink(&secret, &link).unwrap();
        lchown(&link, Some(app), Some(app)).unwrap();
        let refused = Place::of(&link).unwrap_err();
        assert!(matches!(refused, PlaceError::Link { .. }), "{refused}");
        chown(&secret, Some(app), Some(app)).unwrap();
        assert!(Place::of(&link).is_ok());
    }
}
