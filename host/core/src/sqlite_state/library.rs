//! Which SQLite a program uses, and whether that may damage a database.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Process;

/// The releases of SQLite with the WAL-reset bug: the first, and the first that is without it, see
/// <https://sqlite.org/wal.html#walresetbug>.
const FIRST_WITH_RESET_BUG: Version = Version(3, 7, 0);
const FIRST_WITHOUT_RESET_BUG: Version = Version(3, 51, 3);
/// Earlier branches to which the correction was carried: from this release on they are without it.
const CORRECTED_BRANCHES: [Version; 2] = [Version(3, 44, 6), Version(3, 50, 7)];

/// A release of SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Whether this release has the WAL-reset bug. A distribution may have corrected it without another
    /// number.
    pub fn has_wal_reset_bug(self) -> bool {
        let is_corrected =
            |branch: &Version| (self.0, self.1) == (branch.0, branch.1) && self.2 >= branch.2;
        (FIRST_WITH_RESET_BUG..FIRST_WITHOUT_RESET_BUG).contains(&self)
            && !CORRECTED_BRANCHES.iter().any(is_corrected)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A library that a program which has the database open maps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// The file, as the program sees it.
    pub path: PathBuf,
    /// Which SQLite it says it is.
    pub version: Version,
    /// The first process that was seen with it.
    pub process: Process,
}
