//! Room that is kept on the disk for a repair that has begun: a file of no use but that it can be removed.

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::StoreError;
use super::database::io;
use crate::own_dir::OwnDir;

/// Its name in the state directory.
pub(super) const FILE_NAME: &str = "ballast";

/// Its size, bytes: the steps of a repair and of its recovery, with their copies of pages, are some hundred
/// kilobytes.
const BYTES: u64 = 4 << 20;

/// The file, and whether it is there.
#[derive(Debug)]
pub(super) struct Ballast {
    dir: OwnDir,
    is_there: bool,
}

impl Ballast {
    pub(super) fn of(dir: &OwnDir) -> Self {
        // One that is something else is made anew.
        let is_own = dir.make_private(FILE_NAME).is_ok();
        let about = dir.about(FILE_NAME).ok().flatten();
        Self {
            dir: dir.clone(),
            is_there: is_own && about.is_some_and(|about| about.bytes == BYTES),
        }
    }

    /// Makes it where it is not there. Where the file system cannot reserve room, it takes none.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn restore(&mut self) -> Result<(), StoreError> {
        if self.is_there {
            return Ok(());
        }
        let made = || -> std::io::Result<()> {
            let file = self.dir.create(FILE_NAME)?;
            match retry_on_intr(|| fallocate(&file, FallocateFlags::empty(), 0, BYTES)) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(BYTES)?,
                Err(error) => return Err(error.into()),
            }
            file.sync_all()
        };
        match made() {
            Ok(()) => {
                self.is_there = true;
                Ok(())
            }
            Err(error) => {
                // What is half made takes the last room there is.
                drop(self.dir.remove_if_there(FILE_NAME));
                Err(io(&self.dir.path_of(FILE_NAME))(error))
            }
        }
    }

    /// Looks whether it is still there.
    pub(super) fn look(&mut self) {
        let about = self.dir.about(FILE_NAME).ok().flatten();
        self.is_there &= about.is_some_and(|about| about.bytes == BYTES);
    }

    /// Removes it, so that others fit in its place. Says whether there was one.
    pub(super) fn release(&mut self) -> bool {
        let was_there = std::mem::take(&mut self.is_there);
        was_there && self.dir.remove(FILE_NAME).is_ok()
    }
}
