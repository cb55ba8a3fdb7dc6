//! Whether somebody writes, or waits to, while this process reads in rollback mode.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::files::{self, FileError};
use super::locks::{self, LockFile};
use crate::sqlite_state::Lock;

/// Where the file's header counts its changes, see <https://sqlite.org/fileformat2.html#file_change_counter>.
const CHANGE_COUNTER_AT: u64 = 24;

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

    /// How often the file was committed to, as its header counts; none when it has no header.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn commits(&self) -> io::Result<Option<u32>> {
        let mut counter = [0; 4];
        match self.file.read_exact_at(&mut counter, CHANGE_COUNTER_AT) {
            Ok(()) => Ok(Some(u32::from_be_bytes(counter))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
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
