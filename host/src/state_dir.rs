//! dbmedic's own state on disk: what is carried from run to run, what people said, copies.
//!
//! Never beside the patient's files under their names; each file is written whole or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::health::Health;
use crate::pipeline::{Carried, Event};

/// The version of the files in here.
const VERSION: u32 = 1;

/// Words that are taken at a time; more wait for the next look.
const WORDS_AT_ONCE: usize = 64;

/// What can go wrong with the state directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
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

/// What a person said to dbmedic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Do the repair that this incident waits for.
    Approve {
        /// The incident.
        incident: String,
    },
    /// Lift the halt of this target.
    Release {
        /// The target.
        target: String,
    },
}

impl Word {
    /// As the pipeline hears it.
    pub fn into_event(self, at_ms: u64) -> Event {
        match self {
            Self::Approve { incident } => Event::Approved { incident, at_ms },
            Self::Release { target } => Event::Released { target, at_ms },
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approve { incident } => write!(f, "approves the repair of {incident}"),
            Self::Release { target } => write!(f, "releases {target}"),
        }
    }
}

/// A file with its version.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    content: T,
}

/// What `health.json` holds.
#[derive(Serialize)]
struct HealthOfTargets<'a> {
    targets: &'a BTreeMap<String, Health>,
}

/// The directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Makes the directory if it is not there; only its owner may look into it.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let dir = Self {
            root: root.to_owned(),
        };
        for path in [dir.root.clone(), dir.inbox()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(io(&path))?;
        }
        Ok(dir)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the snapshots of all targets are.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Where the files of a halted target are copied.
    pub fn preserved(&self, target: &str, incident: &str) -> PathBuf {
        self.root.join("preserved").join(target).join(incident)
    }

    /// Where every decision is written down, unless the configuration says otherwise.
    pub fn decisions(&self) -> PathBuf {
        self.root.join("decisions")
    }

    /// Where repairs put their copies.
    pub fn copies(&self) -> PathBuf {
        self.root.join("copies")
    }

    /// Where copies for a check are made, and removed after it.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    fn inbox(&self) -> PathBuf {
        self.root.join("inbox")
    }

    /// What the last run carried over; the beginning when there was none.
    pub fn load_carried(&self) -> Result<Carried, StateError> {
        let path = self.root.join("carried.json");
        match fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Carried::default()),
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    /// Writes what the next run must know.
    pub fn save_carried(&self, carried: &Carried) -> Result<(), StateError> {
        write_whole(
            &self.root.join("carried.json"),
            &Versioned {
                v: VERSION,
                content: carried,
            },
        )
    }

    /// Writes how healthy each target is, for others to read (`health.json`).
    pub fn save_health(&self, targets: &BTreeMap<String, Health>) -> Result<(), StateError> {
        write_whole(
            &self.root.join("health.json"),
            &Versioned {
                v: VERSION,
                content: HealthOfTargets { targets },
            },
        )
    }

    /// Leaves a person's word for the running dbmedic.
    pub fn leave_word(&self, word: &Word) -> Result<(), StateError> {
        let name = match word {
            Word::Approve { incident } => format!("approve-{incident}.json"),
            Word::Release { target } => format!("release-{target}.json"),
        };
        write_whole(
            &self.inbox().join(name),
            &Versioned {
                v: VERSION,
                content: word,
            },
        )
    }

    /// Takes the words that were left.
    pub fn take_words(&self) -> Result<Vec<Word>, StateError> {
        let inbox = self.inbox();
        let mut words = Vec::new();
        for entry in fs::read_dir(&inbox)
            .map_err(io(&inbox))?
            .take(WORDS_AT_ONCE)
        {
            let path = entry.map_err(io(&inbox))?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let word = fs::read(&path)
                .map_err(io(&path))
                .and_then(|bytes| parse(&path, &bytes));
            fs::remove_file(&path).map_err(io(&path))?;
            match word {
                Ok(word) => words.push(word),
                // A word that cannot be read is nobody's word; the watch goes on.
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(words)
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io {
        path: path.clone(),
        source,
    }
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, bytes: &[u8]) -> Result<T, StateError> {
    let damaged = |what| StateError::Damaged {
        path: path.to_owned(),
        what,
    };
    let file: Versioned<T> =
        serde_json::from_slice(bytes).map_err(|e| damaged(format!("not readable: {e}")))?;
    if file.v != VERSION {
        return Err(damaged(format!(
            "version {}, this dbmedic reads {VERSION}",
            file.v
        )));
    }
    Ok(file.content)
}

/// Writes a file whole: under another name, synced, then renamed, then the directory synced.
fn write_whole(path: &Path, content: &impl Serialize) -> Result<(), StateError> {
    let new = path.with_extension("new");
    let bytes = serde_json::to_vec(content).map_err(|e| io(path)(e.into()))?;
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent()
            .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(io(path))
}
