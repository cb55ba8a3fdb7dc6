//! Whether somebody writes, or waits to, while this process reads in rollback mode.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Lock;
use super::files::{self, FileError};
use super::locks::{self, LockFile};

/// The writers of a database in rollback mode. It holds the file open: closing any descriptor of a file
/// drops the locks that a process has on it, so this value must outlive every connection that the
/// process has to the database, and it takes no lock itself.
#[derive(Debug)]
pub struct Writers {
    file: File,
}

impl Writers {
    /// Opens the file; none when it is gone. Must be called before the first connection is opened.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn of(database: &Path) -> Result<Option<Self>, FileError> {
        Ok(files::open(database)?.map(|file| Self { file }))
    }

    /// Whether somebody waits for the readers to leave, or keeps them out.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub fn wait(&self) -> io::Result<bool> {
        self.is_held(Lock::Pending)
    }

    /// Whether somebody has begun to write, and is not held up yet.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub fn write(&self) -> io::Result<bool> {
        self.is_held(Lock::Reserved)
    }

    fn is_held(&self, lock: Lock) -> io::Result<bool> {
        let Some((start, length)) = LockFile::Database.range(lock) else {
            return Ok(false);
        };
        let blocker = locks::blocker(&self.file, start, length)?;
        // A reader holds the byte of PENDING for a moment when it comes, and shares it.
        Ok(blocker.is_some_and(|(_, exclusive)| exclusive))
    }
}
