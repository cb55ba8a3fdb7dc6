//! Which paths are the same file.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// How paths are compared, and whether they are looked up.
pub(super) enum Resolve {
    /// By name alone.
    ByName,
    /// As they are on disk, symbolic links followed; missing files are noticed.
    OnDisk,
}

impl Resolve {
    /// The one name of a path that others are compared with.
    pub(super) fn identity(&self, path: &Path) -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        match self {
            Self::ByName => without_dots(&path),
            Self::OnDisk => {
                fs::canonicalize(&path).unwrap_or_else(|_| canonical(&without_dots(&path)))
            }
        }
    }
}

/// A path of which only the beginning exists, that beginning with its links followed.
fn canonical(path: &Path) -> PathBuf {
    path.ancestors()
        .find_map(|above| {
            let rest = path.strip_prefix(above).ok()?;
            Some(fs::canonicalize(above).ok()?.join(rest))
        })
        .unwrap_or_else(|| path.into())
}

fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
