//! What dbmedic makes and opens beside a database of another user, with real processes of that user.
//!
//! Only root can make files of another user, so without root these tests do what is left of them over
//! the own user's files, and say so.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach what is outside `#[test]`"
)]

/// Links to files of others in the place of the database.
mod planted;
/// Putting a copy back beside planted links, pipes and left-overs.
mod restore;

use std::{
    env,
    fs::{self, FileTimes},
    io::Write as _,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use dbmedic::sqlite::raw::RawProcess;
use dbmedic::sqlite::worker::{self, Rights};
use rusqlite::Connection;

const EXE: &str = env!("CARGO_BIN_EXE_dbmedic");
/// A user that no system has.
const OTHER: u32 = 47_110;

/// The application: runs a script on a database as whoever it is, and ends.
#[test]
fn application() {
    if let Ok(path) = env::var("APPLICATION_DATABASE") {
        let db = Connection::open(path).unwrap();
        db.execute_batch(&env::var("APPLICATION_SCRIPT").unwrap())
            .unwrap();
    }
}

/// A database in a directory, both of another user where that is possible.
struct Place {
    /// What keeps the files; everybody may pass through it.
    root: tempfile::TempDir,
    database: PathBuf,
    user: u32,
}

impl Place {
    fn new(script: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        let user = if rustix::process::geteuid().is_root() {
            chown(&data, Some(OTHER), Some(OTHER)).unwrap();
            OTHER
        } else {
            // Written past the capturing of the test's output.
            let said = "not root: tested over files of this user only\n";
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            rustix::process::geteuid().as_raw()
        };
        let copies = root.path().join("copies");
        fs::create_dir(&copies).unwrap();
        chown(&copies, Some(user), None).unwrap();
        let place = Self {
            database: data.join("app.db"),
            root,
            user,
        };
        place.application(script);
        fs::set_permissions(&place.database, fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    /// Runs a script as the database's owner.
    fn application(&self, script: &str) {
        // By this name it can be run by whoever cannot reach the place of the binary.
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--exact", "application", "--nocapture"])
            .env("APPLICATION_DATABASE", &self.database)
            .env("APPLICATION_SCRIPT", script);
        if self.user != rustix::process::geteuid().as_raw() {
            command.uid(self.user).gid(self.user);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    }

    fn data(&self) -> &Path {
        self.database.parent().unwrap()
    }

    /// Where the database's owner may put copies.
    fn copy(&self, name: &str) -> PathBuf {
        self.root.path().join("copies").join(name)
    }

    /// The rights of the database's owner; none: this process's own.
    fn rights(&self) -> Option<Rights> {
        worker::Place::of(&self.database).unwrap().rights()
    }

    fn companion(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.database.display()))
    }

    /// A file of root's, or of this user's, that nobody may touch.
    fn sentinel(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        fs::write(&path, "untouched").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        seen(&path);
        path
    }

    /// The names in the database's directory.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.data())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Sees that every file in the directory is the application's own.
    fn assert_owner(&self) {
        for name in self.names() {
            let meta = fs::symlink_metadata(self.data().join(&name)).unwrap();
            assert_eq!(meta.uid(), self.user, "{name}");
            assert_eq!(meta.mode() & 0o777, 0o600, "{name}");
        }
    }
}

fn raw() -> RawProcess {
    RawProcess::spawn(Path::new(EXE)).unwrap()
}

/// What a file is, when it was read and written last, and what is in it: nothing of it may change.
///
/// The time of the last access is set back afterwards, so that the next reading moves it even where
/// the file system writes it seldom (`relatime`).
fn seen(path: &Path) -> String {
    let file = fs::File::open(path).unwrap();
    let meta = file.metadata().unwrap();
    let seen = format!(
        "inode {} links {} user {} mode {:o} read {:?} written {:?} content {:?}",
        meta.ino(),
        meta.nlink(),
        meta.uid(),
        meta.mode(),
        meta.accessed().unwrap(),
        meta.modified().unwrap(),
        String::from_utf8_lossy(
            &fs::read(path).unwrap()[..16.min(usize::try_from(meta.len()).unwrap())]
        ),
    );
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let times = FileTimes::new()
        .set_accessed(long_ago)
        .set_modified(meta.modified().unwrap());
    file.set_times(times).unwrap();
    seen
}
