//! Where worker processes put files: snapshots, and copies for checks, repairs and halts.
//!
//! With this process's own rights that is the state directory itself. A worker with another user's
//! rights gets a directory of that user in it. The state directory can then be passed through by
//! everybody, and read by nobody but its owner. What lies in a user's directory is that user's to
//! change: it is never followed, and believed no more than the database is.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use super::rights::Rights;

/// The directory of the users' directories.
const USERS: &str = "users";
/// What lets others pass through a directory.
const PASSABLE: u32 = 0o011;

/// The state directory, as workers use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Areas {
    state_dir: PathBuf,
}

impl Areas {
    /// The areas of a state directory.
    pub fn at(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
        }
    }

    /// The area of a worker, made ready.
    ///
    /// # Errors
    ///
    /// It cannot be made, or something else has its name.
    pub fn of(&self, rights: Option<&Rights>) -> io::Result<Area> {
        let Some(rights) = rights else {
            return Ok(Area {
                root: self.state_dir.clone(),
            });
        };
        let state = File::open(&self.state_dir)?;
        let mode = state.metadata()?.mode() & 0o7777;
        if mode & PASSABLE != PASSABLE {
            state.set_permissions(Permissions::from_mode(mode | PASSABLE))?;
        }
        let users = directory(&state, USERS)?;
        users.set_permissions(Permissions::from_mode(0o711))?;
        let name = rights.uid.to_string();
        let own = directory(&users, &name)?;
        let meta = own.metadata()?;
        if meta.uid() != rights.uid {
            // Its own since this moment, or of root by an earlier attempt that was cut off.
            if meta.uid() != 0 {
                let who = meta.uid();
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!("the directory of user {} belongs to user {who}", rights.uid),
                ));
            }
            fchown(&own, Some(rights.uid), Some(rights.gid))?;
        }
        own.set_permissions(Permissions::from_mode(0o700))?;
        let root = self.state_dir.join(USERS).join(name);
        Ok(Area {
            root: std::path::absolute(root)?,
        })
    }

    /// The areas that there are, each with the rights that it was made for: this process's own, and where
    /// it is root those of other users.
    pub fn all(&self) -> Vec<(Option<Rights>, Area)> {
        let mut all = vec![(None, self.existing(None))];
        let users = std::fs::read_dir(self.state_dir.join(USERS));
        for entry in users.into_iter().flatten().flatten() {
            let uid: Option<u32> = entry.file_name().to_str().and_then(|n| n.parse().ok());
            let meta = entry.path().symlink_metadata();
            if let (Some(uid), Ok(meta)) = (uid, meta)
                && rustix::process::geteuid().is_root()
                && uid != 0
                && meta.is_dir()
                && meta.uid() == uid
            {
                let rights = Rights::of(uid, meta.gid());
                let area = self.existing(Some(&rights));
                all.push((Some(rights), area));
            }
        }
        all
    }

    /// The area of a worker if there is one, nothing made.
    pub fn existing(&self, rights: Option<&Rights>) -> Area {
        let root = match rights {
            None => self.state_dir.clone(),
            Some(rights) => self.state_dir.join(USERS).join(rights.uid.to_string()),
        };
        Area { root }
    }
}

/// Where one worker puts files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    root: PathBuf,
}

impl Area {
    /// Where the snapshots of all targets are.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Where repairs put their copies.
    pub fn copies(&self) -> PathBuf {
        self.root.join("copies")
    }

    /// Where the files of a halted target are copied.
    pub fn preserved(&self, target: &str, incident: &str) -> PathBuf {
        self.root.join("preserved").join(target).join(incident)
    }

    /// Where copies for a check are made, and removed after it.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }
}

/// Opens a directory in another, made when missing; never through a link.
fn directory(above: &File, name: &str) -> io::Result<File> {
    match mkdirat(above, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(above, name, how, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_user_gets_a_directory_that_others_cannot_use() {
        let dir = tempfile::tempdir().unwrap();
        let areas = Areas::at(dir.path());
        assert_eq!(
            areas.of(None).unwrap().scratch(),
            dir.path().join("scratch")
        );
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let rights = Rights {
            uid: 47_110,
            gid: 47_112,
            groups: Vec::new(),
        };
        let closed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(dir.path(), closed).unwrap();
        let area = areas.of(Some(&rights)).unwrap();
        assert_eq!(area, areas.of(Some(&rights)).unwrap());
        assert_eq!(area, areas.existing(Some(&rights)));
        let seen = |path: &Path| {
            let meta = fs::metadata(path).unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        assert_eq!(seen(dir.path()), (0, 0, 0o711));
        assert_eq!(seen(&dir.path().join("users")), (0, 0, 0o711));
        let own = dir.path().join("users/47110");
        assert_eq!(seen(&own), (47_110, 47_112, 0o700));

        fs::remove_dir(&own).unwrap();
        symlink("/", &own).unwrap();
        assert!(areas.of(Some(&rights)).is_err(), "through a link");
    }
}
