//! Gives a log or a journal another name, so that SQLite does not open it with the file beside it.
//!
//! Runs only in the process that reads raw files (see [`super::raw`]). The database is held for that
//! process alone meanwhile, by the lock that SQLite asks for before it opens anything beside it, and
//! nothing is opened by SQLite. The name can be given back.

use std::{ffi::OsString, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    beside::Beside,
    copies::{self, CopiedFile, CopyError},
    files::At as _,
    locks,
};

/// What lies beside the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Companion {
    /// The write-ahead log.
    Log,
    /// The rollback journal.
    Journal,
}

impl Companion {
    /// What SQLite adds to the database's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Log => "-wal",
            Self::Journal => "-journal",
        }
    }
}

/// The name of a companion that was set aside. `token` makes it one that nobody can guess.
pub fn name_aside(database_name: &OsString, companion: Companion, token: &str) -> OsString {
    let mut name = database_name.clone();
    name.push(companion.suffix());
    name.push(".set-aside-");
    name.push(token);
    name
}

/// Renames the companion. That it was renamed before is no error.
///
/// # Errors
///
/// Another process has the database open, there is no companion, or the file is not what `expected`
/// says; then nothing was renamed.
pub(super) fn set_aside(
    database: &Path,
    companion: Companion,
    token: &str,
    expected: &CopiedFile,
) -> Result<(), CopyError> {
    let (beside, _held) = hold(database)?;
    let (from, to) = names(&beside, companion, token);
    if beside.stat(&from)?.is_none() && beside.stat(&to)?.is_some() {
        return is_expected(&beside, &to, expected);
    }
    is_expected(&beside, &from, expected)?;
    rename(&beside, &from, &to)
}

/// Gives a companion its name back. That it has it is no error.
///
/// # Errors
///
/// Another process has the database open, or another companion was begun meanwhile; then nothing was
/// renamed.
pub(super) fn put_back(
    database: &Path,
    companion: Companion,
    token: &str,
    expected: &CopiedFile,
) -> Result<(), CopyError> {
    let (beside, _held) = hold(database)?;
    let (to, from) = names(&beside, companion, token);
    match (beside.stat(&from)?, beside.stat(&to)?) {
        (None, Some(_)) => is_expected(&beside, &to, expected),
        // SQLite takes an empty one for none.
        (_, Some(stat)) if stat.st_size > 0 => Err(CopyError::Changed {
            path: beside.path(&to),
        }),
        (_, now) => {
            is_expected(&beside, &from, expected)?;
            if now.is_some() {
                beside.remove(&to)?;
            }
            rename(&beside, &from, &to)
        }
    }
}

/// Sees that a companion that was set aside is there and whole.
///
/// # Errors
///
/// It is not there, or is not what `expected` says.
pub(super) fn verify(
    database: &Path,
    companion: Companion,
    token: &str,
    expected: &CopiedFile,
) -> Result<(), CopyError> {
    let beside = Beside::of(database)?;
    is_expected(&beside, &names(&beside, companion, token).1, expected)
}

/// A companion's own name, and the one that it has when it is set aside.
fn names(beside: &Beside, companion: Companion, token: &str) -> (OsString, OsString) {
    let aside = name_aside(&beside.name(""), companion, token);
    (beside.name(companion.suffix()), aside)
}

/// The directory, and the database locked for this process alone as long as lock and file are kept.
fn hold(database: &Path) -> Result<(Beside, (locks::Held, std::fs::File)), CopyError> {
    let beside = Beside::of(database)?;
    let name = beside.name("");
    let path = beside.path(&name);
    let missing = || Err(io::Error::from(io::ErrorKind::NotFound)).at("open", &path);
    let file = match beside.open_to_write(&name)? {
        Some(file) => file,
        None => missing()?,
    };
    let lock = copies::lock_alone(&file, &path)?;
    Ok((beside, (lock, file)))
}

fn is_expected(beside: &Beside, name: &OsString, expected: &CopiedFile) -> Result<(), CopyError> {
    let path = beside.path(name);
    let changed = || CopyError::Changed { path: path.clone() };
    let mut file = beside.open(name)?.ok_or_else(changed)?;
    let (bytes, sha256) = copies::digest(&mut file, &path)?;
    if (bytes, &sha256) == (expected.bytes, &expected.sha256) {
        Ok(())
    } else {
        Err(changed())
    }
}

/// Neither name is one that others can make something of: `to` is drawn at random, or empty.
fn rename(beside: &Beside, from: &OsString, to: &OsString) -> Result<(), CopyError> {
    beside.rename(from, to)?;
    beside.sync()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_is_given_back_unless_another_log_was_begun() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("x.db");
        fs::write(&database, "file").unwrap();
        let log = directory.path().join("x.db-wal");
        fs::write(&log, "log").unwrap();
        let digests = copies::digests(&database).unwrap();
        let expected = digests.iter().find(|file| file.name == "database-wal");
        let expected = expected.unwrap().clone();
        let all = || fs::read_dir(directory.path()).unwrap().count();
        let token = "0123";
        let to = directory.path().join("x.db-wal.set-aside-0123");

        let other = CopiedFile {
            bytes: 4,
            ..expected.clone()
        };
        assert!(set_aside(&database, Companion::Log, token, &other).is_err());
        assert!(set_aside(&database, Companion::Journal, token, &expected).is_err());
        assert!(log.exists() && !to.exists());
        // Twice: begun again after an interruption.
        for _ in 0..2 {
            set_aside(&database, Companion::Log, token, &expected).unwrap();
            verify(&database, Companion::Log, token, &expected).unwrap();
            assert!(!log.exists() && to.exists());
        }
        fs::write(&log, "another").unwrap();
        assert!(matches!(
            put_back(&database, Companion::Log, token, &expected),
            Err(CopyError::Changed { .. })
        ));
        assert_eq!((fs::read(&log).unwrap(), all()), (b"another".to_vec(), 3));
        // An empty one is none.
        fs::write(&log, "").unwrap();
        for _ in 0..2 {
            put_back(&database, Companion::Log, token, &expected).unwrap();
            assert_eq!((fs::read(&log).unwrap(), all()), (b"log".to_vec(), 2));
        }
        fs::remove_file(&database).unwrap();
        assert!(set_aside(&database, Companion::Log, token, &expected).is_err());
        assert!(log.exists());
    }
}
