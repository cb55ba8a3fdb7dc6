//! A directory in which nobody but this user, and root, puts files: what is believed because it lies
//! there could otherwise be planted.
//!
//! It says nothing of the directories above: who may rename this one can take it away, but cannot
//! put one of another owner in its place.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::{Uid, geteuid};

/// What others than the owner may do that lets them put files in.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A directory of this user, or of root.
#[derive(Debug)]
pub struct OwnDir {
    /// The directory itself, whatever comes to stand under its name.
    pub handle: File,
    /// Whether others could write there until now.
    pub was_open: bool,
}

impl OwnDir {
    /// Makes the directory if it is not there, for this user alone, and opens it. Where it is this
    /// user's, and others may write there, they may not any more.
    ///
    /// # Errors
    /// When it cannot be made or opened, belongs to another user, or is root's and others may write
    /// there.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let handle = File::open(dir)?;
        let about = handle.metadata()?;
        let was_open = may_be_used(geteuid(), Uid::from_raw(about.uid()), about.mode())?;
        if was_open {
            let mode = about.mode() & 0o7777 & !WRITABLE_BY_OTHERS;
            handle.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(Self { handle, was_open })
    }
}

/// Whether `user` may use a directory, and others may write there.
fn may_be_used(user: Uid, owner: Uid, mode: u32) -> io::Result<bool> {
    let denied = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let was_open = mode & WRITABLE_BY_OTHERS != 0;
    if owner != user && !owner.is_root() {
        let (owner, user) = (owner.as_raw(), user.as_raw());
        return denied(format!(
            "it belongs to user {owner}, and dbmedic runs as user {user}; make it {user}'s, or name \
             another directory"
        ));
    }
    if owner != user && was_open {
        return denied("it is root's, and others may write there; `chmod go-w` it".to_owned());
    }
    Ok(was_open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_this_user_is_set_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        assert!(!OwnDir::open(&path).unwrap().was_open);
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
        assert!(OwnDir::open(&path).unwrap().was_open);
        assert_eq!(mode(), 0o755, "who could read it still can");
        assert!(!OwnDir::open(&path).unwrap().was_open);
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let user = Uid::from_raw;
        let cases = [
            (0, 0, 0o755, Some(false)),
            (1000, 1000, 0o700, Some(false)),
            (1000, 1000, 0o770, Some(true)),
            (0, 1000, 0o700, None),
            (1000, 1001, 0o700, None),
            (1000, 0, 0o755, Some(false)),
            (1000, 0, 0o1777, None),
        ];
        for (who, owner, mode, expected) in cases {
            let found = may_be_used(user(who), user(owner), mode).ok();
            assert_eq!(found, expected, "user {who}, owner {owner}, mode {mode:o}");
        }
    }
}
