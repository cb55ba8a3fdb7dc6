//! Policies on disk: the components that were in service or may be again, and which one is.
//!
//! Everything is written whole or not at all, and read back only if its digest is its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::machine::Service;
use super::prepare::Candidate;
use crate::signing::Hashed;

/// The version of the file that says what is in service.
const VERSION: u32 = 1;
/// Components that are kept beside those in service, so that recordings can be replayed.
const KEPT: usize = 64;

/// The directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error("policies on disk: {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("policies on disk: {}: {what}; move it aside to start without it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
struct InService {
    v: u32,
    policies: BTreeMap<String, Service>,
}

impl Store {
    /// Opens the store in the directory `policies` of a state directory, and makes it if there is
    /// none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let store = Self::at(state_dir);
        let components = store.components();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&components)
            .map_err(failed(&components))?;
        Ok(store)
    }

    /// The store of a state directory, to look into.
    pub fn at(state_dir: &Path) -> Self {
        Self {
            dir: state_dir.join("policies"),
        }
    }

    /// Where compiled code is kept.
    pub fn compiled(&self) -> PathBuf {
        self.dir.join("compiled")
    }

    fn components(&self) -> PathBuf {
        self.dir.join("components")
    }

    fn component(&self, digest: &str, extension: &str) -> PathBuf {
        self.components().join(format!("{digest}.{extension}"))
    }

    /// The signature that a policy was taken with; an empty file where there was none. Each policy
    /// has its own, because one may run unsigned, or by another key, what another needs signed.
    fn signature_file(&self, policy: &str, digest: &str) -> PathBuf {
        self.component(digest, &format!("for-{policy}.minisig"))
    }

    /// Keeps a component with the signature that a policy takes it with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, policy: &str, candidate: &Candidate) -> Result<(), StoreError> {
        let digest = candidate.digest();
        // The signature first: a component without one would be refused at the next start.
        let signature = candidate.signature.as_deref().unwrap_or_default();
        write_unless_there(&self.signature_file(policy, digest), signature)?;
        write_unless_there(&self.component(digest, "wasm"), candidate.component.bytes())
    }

    /// The signature that a policy was taken with; none when there was none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn signature(&self, policy: &str, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let signature = match read_if_there(&self.signature_file(policy, digest))? {
            Some(own) => Some(own),
            // All policies shared one before each had its own.
            None => read_if_there(&self.component(digest, "wasm.minisig"))?,
        };
        Ok(signature.filter(|signature| !signature.is_empty()))
    }

    /// A component that was kept, with the signature that a policy was taken with; none when there
    /// is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what its name says.
    pub fn read(&self, policy: &str, digest: &str) -> Result<Option<Candidate>, StoreError> {
        let Some(component) = self.read_component(digest)? else {
            return Ok(None);
        };
        Ok(Some(Candidate {
            component,
            signature: self.signature(policy, digest)?.map(Arc::from),
            // It passed those that lay beside it when it came.
            cases: Arc::default(),
        }))
    }

    /// A component that was kept; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what its name says.
    pub fn read_component(&self, digest: &str) -> Result<Option<Hashed>, StoreError> {
        let path = self.component(digest, "wasm");
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        let component = Hashed::new(bytes);
        if component.digest() != digest {
            let what = "its bytes are not those of its name".to_owned();
            return Err(StoreError::Damaged { path, what });
        }
        Ok(Some(component))
    }

    /// What is in service, by the policies' configured names; nothing before the first start.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn in_service(&self) -> Result<BTreeMap<String, Service>, StoreError> {
        let path = self.dir.join("service.json");
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(BTreeMap::new());
        };
        let damaged = |what: String| StoreError::Damaged {
            path: path.clone(),
            what,
        };
        let file: InService =
            serde_json::from_slice(&bytes).map_err(|e| damaged(format!("not readable: {e}")))?;
        if file.v != VERSION {
            return Err(damaged(format!(
                "version {}, this dbmedic reads {VERSION}",
                file.v
            )));
        }
        Ok(file.policies)
    }

    /// Writes down what is in service, and removes the oldest components that nobody needs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, policies: BTreeMap<String, Service>) -> Result<(), StoreError> {
        let needed: BTreeSet<String> = policies
            .values()
            .flat_map(Service::needed)
            .map(|known| known.identity.digest.clone())
            .collect();
        let path = self.dir.join("service.json");
        let file = InService {
            v: VERSION,
            policies,
        };
        let bytes = serde_json::to_vec(&file).map_err(|e| failed(&path)(e.into()))?;
        write_unless_there(&path, &bytes)?;
        self.prune(&needed)
    }

    fn prune(&self, needed: &BTreeSet<String>) -> Result<(), StoreError> {
        let dir = self.components();
        let list = || -> io::Result<Vec<String>> {
            let name = |entry: io::Result<fs::DirEntry>| {
                Ok(entry?.file_name().to_string_lossy().into_owned())
            };
            fs::read_dir(&dir)?.map(name).collect()
        };
        let names = list().map_err(failed(&dir))?;
        let mut spare: Vec<(SystemTime, &str)> = Vec::new();
        for digest in names.iter().filter_map(|name| name.strip_suffix(".wasm")) {
            if !needed.contains(digest) {
                let path = self.component(digest, "wasm");
                let about = fs::metadata(&path).and_then(|about| about.modified());
                spare.push((about.map_err(failed(&path))?, digest));
            }
        }
        spare.sort_unstable();
        let surplus = spare.len().saturating_sub(KEPT);
        for (_, digest) in spare.into_iter().take(surplus) {
            for name in names.iter().filter(|name| name.starts_with(digest)) {
                let path = dir.join(name);
                fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        Ok(())
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        path: path.clone(),
        source,
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(path)(source)),
    }
}

/// What is there already needs no new writing and syncing; what is damaged is replaced.
fn write_unless_there(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    match fs::read(path) {
        Ok(there) if there == bytes => Ok(()),
        _ => write_whole(path, bytes),
    }
}

/// Writes a file whole: under another name, synced, then renamed, then the directory synced.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix("new-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(failed(path))
}

#[cfg(test)]
mod tests;
