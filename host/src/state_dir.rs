//! dbmedic's own directory: the files in it that are no part of the state in `state.db`, each written whole or
//! not at all.
//!
//! Never beside the patient's files under their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::detect::Detector;
use crate::digest::hex;
use crate::health::{CheckReport, Health};
use crate::operations::Learned;
use crate::own_dir::OwnDir;
use crate::path_trust::TrustError;

/// The version of the files in here, but for those of what was learned.
const VERSION: u32 = 1;

/// A file of what was learned: its name, its first word and its version.
struct LearnedFile {
    name: &'static str,
    word: &'static str,
    version: u32,
}

const BASELINES: LearnedFile = LearnedFile {
    name: "baselines.bin",
    word: "dbmedic-baselines",
    version: 2,
};

const OPERATIONS: LearnedFile = LearnedFile {
    name: "operations.bin",
    word: "dbmedic-operations",
    version: 1,
};

/// The largest file of the state that is read, bytes: baselines of some thousand full series.
const LARGEST_BYTES: u64 = 1 << 30;
/// Directories in the state directory. What stands under their names is checked at the start, so
/// that what is made in them later lies where it seems to.
const PARTS: [&str; 8] = [
    "intents",
    "snapshots",
    "preserved",
    "decisions",
    "copies",
    "scratch",
    "policies",
    crate::row_values::DIRECTORY,
];

/// What can go wrong with the state directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Others could have put there what is in it.
    #[error("state directory: {0}")]
    Trust(#[from] TrustError),
    /// A file or directory cannot be made, read or written.
    #[error("state directory: {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("state directory: {}: {what}; move it aside to start without it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A file with its version.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    content: T,
}

/// The file of what others may know of a run.
const HEALTH: &str = "health.json";

/// What `health.json` holds: how healthy each target is, and the latest run of each check on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthOfTargets {
    /// When it was written, milliseconds since the Unix epoch.
    #[serde(default)]
    pub written_ms: u64,
    /// By target.
    pub targets: BTreeMap<String, Health>,
    /// By target.
    #[serde(default)]
    pub checks: BTreeMap<String, Vec<CheckReport>>,
}

/// The directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
    own: OwnDir,
}

impl StateDir {
    /// Opens the directory, and makes it for its owner alone if it is not there.
    ///
    /// # Errors
    /// [`StateError::Trust`], before a byte in it is read, when others than this user and root could
    /// have put there what is in it.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let own = OwnDir::open(root)?;
        for part in PARTS {
            own.dir_if_there(part)?;
        }
        Ok(Self {
            root: root.to_owned(),
            own,
        })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether its path still leads to it.
    ///
    /// # Errors
    /// When it was removed or renamed, or another one stands in its place.
    pub fn is_in_place(&self) -> Result<(), StateError> {
        self.own.is_in_place().map_err(io(self.own.path()))
    }

    /// Removes what a killed process left half written. Only for whoever has the store: nobody
    /// else writes then.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clear_unfinished(&self) -> Result<(), StateError> {
        let names = self.own.names().map_err(io(&self.root))?;
        for name in names.iter().filter(|name| has_extension(name, "new")) {
            self.own
                .remove_if_there(name)
                .map_err(io(&self.own.path_of(name)))?;
        }
        Ok(())
    }

    /// Where the snapshots of all targets are.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Where every decision is written down, unless the configuration says otherwise.
    pub fn decisions(&self) -> PathBuf {
        self.root.join("decisions")
    }

    /// What earlier runs learned to be normal, by target; nothing when there was none.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged or of another version.
    pub fn load_baselines(&self) -> Result<BTreeMap<String, Detector>, StateError> {
        self.load_learned(&BASELINES)
    }

    /// Keeps what was learned to be normal.
    pub fn save_baselines(&self, learned: &BTreeMap<&str, &Detector>) -> Result<(), StateError> {
        self.save_learned(&BASELINES, learned)
    }

    /// Moves baselines that cannot be read out of the way, to be looked at; says where to.
    pub fn set_baselines_aside(&self) -> Result<PathBuf, StateError> {
        self.set_aside(&BASELINES)
    }

    /// What earlier runs of an engine learned to be normal for its operations; nothing when there
    /// was none.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged or of another version.
    pub fn load_operations(&self) -> Result<Learned, StateError> {
        self.load_learned(&OPERATIONS)
    }

    /// Keeps what was learned to be normal for an engine's operations.
    pub fn save_operations(&self, learned: &Learned) -> Result<(), StateError> {
        self.save_learned(&OPERATIONS, learned)
    }

    /// Moves what was learned of operations and cannot be read out of the way; says where to.
    pub fn set_operations_aside(&self) -> Result<PathBuf, StateError> {
        self.set_aside(&OPERATIONS)
    }

    fn load_learned<T: DeserializeOwned + Default>(
        &self,
        file: &LearnedFile,
    ) -> Result<T, StateError> {
        let path = self.root.join(file.name);
        let damaged = |what: &str| StateError::Damaged {
            path: path.clone(),
            what: what.to_owned(),
        };
        let bytes = match self.own.read(file.name, LARGEST_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(T::default()),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let end = bytes.iter().position(|&b| b == b'\n');
        let (first, content) = bytes.split_at(end.ok_or_else(|| damaged("no first line"))?);
        let content = &content[1..];
        let mut words = std::str::from_utf8(first).unwrap_or_default().split(' ');
        if words.next() != Some(file.word) {
            return Err(damaged(&format!("not a file of {}", file.word)));
        }
        let version = words.next().unwrap_or_default();
        if version != file.version.to_string() {
            let what = format!("version {version}, this dbmedic reads {}", file.version);
            return Err(damaged(&what));
        }
        if words.next() != Some(hex(&Sha256::digest(content)).as_str()) {
            return Err(damaged("its digest is wrong"));
        }
        postcard::from_bytes(content).map_err(|e| damaged(&format!("not readable: {e}")))
    }

    fn save_learned(&self, file: &LearnedFile, learned: &impl Serialize) -> Result<(), StateError> {
        let path = self.root.join(file.name);
        let content = postcard::to_allocvec(learned)
            .map_err(|e| io(&path)(std::io::Error::other(e.to_string())))?;
        let digest = hex(&Sha256::digest(&content));
        let mut bytes = format!("{} {} {digest}\n", file.word, file.version).into_bytes();
        bytes.extend(content);
        self.own.write_whole(file.name, &bytes).map_err(io(&path))
    }

    fn set_aside(&self, file: &LearnedFile) -> Result<PathBuf, StateError> {
        let aside = Path::new(file.name).with_extension("damaged");
        let path = self.root.join(&aside);
        self.own.rename(file.name, &aside).map_err(io(&path))?;
        Ok(path)
    }

    /// Writes how healthy each target is, for others to read (`health.json`).
    pub fn save_health(&self, health: &HealthOfTargets) -> Result<(), StateError> {
        self.write_whole(
            HEALTH,
            &Versioned {
                v: VERSION,
                content: health,
            },
        )
    }

    /// What the latest run wrote of its targets; none when none did.
    ///
    /// # Errors
    /// [`StateError::Damaged`] when the file is not what it should be.
    pub fn load_health(root: &Path) -> Result<Option<HealthOfTargets>, StateError> {
        let path = root.join(HEALTH);
        let own = OwnDir::existing(root)?;
        let Some(bytes) = own.read(HEALTH, LARGEST_BYTES).map_err(io(&path))? else {
            return Ok(None);
        };
        let damaged = |what: String| StateError::Damaged {
            path: path.clone(),
            what,
        };
        let read: Versioned<HealthOfTargets> =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if read.v != VERSION {
            return Err(damaged(format!(
                "version {}, this dbmedic reads {VERSION}",
                read.v
            )));
        }
        Ok(Some(read.content))
    }

    /// Writes a file whole or not at all.
    fn write_whole(&self, name: &str, content: &impl Serialize) -> Result<(), StateError> {
        let path = self.root.join(name);
        let bytes = serde_json::to_vec(content).map_err(|e| io(&path)(e.into()))?;
        self.own.write_whole(name, &bytes).map_err(io(&path))
    }
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests;
