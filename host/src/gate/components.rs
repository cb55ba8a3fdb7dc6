//! Policies on disk: the components that were in service or may be again.
//!
//! Everything is written whole or not at all, and read back only if its digest is its name.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::prepare::Candidate;
use crate::digest::hex;
use crate::own_dir::OwnDir;
use crate::path_trust::TrustError;
use crate::signing::{Hashed, SIGNATURE_BYTES};

/// The directory's name in the state directory, and that of the components in it.
const DIR: &str = "policies";
const COMPONENTS: &str = "components";
/// Components that are kept beside those in service, so that recordings can be replayed.
const KEPT: usize = 64;

/// The largest component that is read back, bytes: as large as a configuration may allow one.
const LARGEST_COMPONENT: u64 = 1 << 30;
/// The largest signature, bytes.
const SIGNATURE: u64 = SIGNATURE_BYTES as u64;
/// What is read of a component at a time while its digest is taken, bytes.
const PIECE_BYTES: usize = 64 << 10;

/// The directory.
#[derive(Debug, Clone)]
pub struct Components {
    dir: PathBuf,
    /// None where there is none yet.
    components: Option<OwnDir>,
}

/// What can go wrong with the components on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentsError {
    /// Others could have put there what is in it.
    #[error("policies on disk: {0}")]
    Trust(#[from] TrustError),
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

impl Components {
    /// Opens the directory `policies` of a state directory, and makes it if there is none.
    ///
    /// # Errors
    /// When it cannot be made, or others than this user and root could have put files there.
    pub fn open(state_dir: &Path) -> Result<Self, ComponentsError> {
        let own = OwnDir::open(state_dir)?.dir(DIR)?;
        let components = own.dir(COMPONENTS)?;
        Ok(Self {
            dir: state_dir.join(DIR),
            components: Some(components),
        })
    }

    /// The same, to look into; it need not be there.
    ///
    /// # Errors
    /// When it cannot be opened, or others than this user and root could have put files there.
    pub fn at(state_dir: &Path) -> Result<Self, ComponentsError> {
        let own = match OwnDir::existing(state_dir) {
            Ok(above) => above.dir_if_there(DIR)?,
            Err(error) if error.is_absence() => None,
            Err(error) => return Err(error.into()),
        };
        let components = match &own {
            Some(own) => own.dir_if_there(COMPONENTS)?,
            None => None,
        };
        Ok(Self {
            dir: state_dir.join(DIR),
            components,
        })
    }

    /// Where compiled code is kept.
    pub fn compiled(&self) -> PathBuf {
        self.dir.join("compiled")
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join(COMPONENTS).join(name)
    }

    fn read_kept(&self, name: &str, most_bytes: u64) -> Result<Option<Vec<u8>>, ComponentsError> {
        read_if_there(self.components.as_ref(), name, most_bytes)
            .map_err(failed(&self.path_of(name)))
    }

    /// The SHA-256 of a kept file, piece by piece: one that grew takes no memory. None when it is not
    /// there.
    fn digest_of(&self, name: &str) -> io::Result<Option<String>> {
        let Some(dir) = &self.components else {
            return Ok(None);
        };
        let mut file = match dir.open_file(name) {
            Ok(file) => file.take(LARGEST_COMPONENT),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(Some(hex(&hash.finalize()))),
                read => hash.update(&piece[..read]),
            }
        }
    }

    fn write_kept(&self, name: &str, bytes: &[u8]) -> Result<(), ComponentsError> {
        write_unless_there(self.components.as_ref(), name, bytes)
            .map_err(failed(&self.path_of(name)))
    }

    /// Keeps a component with the signature that a policy takes it with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, policy: &str, candidate: &Candidate) -> Result<(), ComponentsError> {
        let digest = candidate.digest();
        // The signature first: a component without one would be refused at the next start.
        let signature = candidate.signature.as_deref().unwrap_or_default();
        self.write_kept(&signature_file(policy, digest), signature)?;
        self.write_kept(&component(digest), candidate.component.bytes())
    }

    /// The signature that a policy was taken with; none when there was none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn signature(
        &self,
        policy: &str,
        digest: &str,
    ) -> Result<Option<Vec<u8>>, ComponentsError> {
        let signature = match self.read_kept(&signature_file(policy, digest), SIGNATURE)? {
            Some(own) => Some(own),
            // All policies shared one before each had its own.
            None => self.read_kept(&format!("{digest}.wasm.minisig"), SIGNATURE)?,
        };
        Ok(signature.filter(|signature| !signature.is_empty()))
    }

    /// A component that was kept, with the signature that a policy was taken with; none when there
    /// is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what its name says.
    pub fn read(&self, policy: &str, digest: &str) -> Result<Option<Candidate>, ComponentsError> {
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
    pub fn read_component(&self, digest: &str) -> Result<Option<Hashed>, ComponentsError> {
        let name = component(digest);
        let path = self.path_of(&name);
        let Some(found) = self.digest_of(&name).map_err(failed(&path))? else {
            return Ok(None);
        };
        if found == digest
            && let Some(bytes) = self.read_kept(&name, LARGEST_COMPONENT)?
        {
            let component = Hashed::new(bytes);
            if component.digest() == digest {
                return Ok(Some(component));
            }
        }
        let what = "its bytes are not those of its name".to_owned();
        Err(ComponentsError::Damaged { path, what })
    }

    /// Removes the oldest components that nobody needs. `needed` are the digests of the others.
    ///
    /// # Errors
    /// When that fails.
    pub fn prune(&self, needed: &BTreeSet<String>) -> Result<(), ComponentsError> {
        self.remove_surplus(needed)
            .map_err(failed(&self.dir.join(COMPONENTS)))
    }

    fn remove_surplus(&self, needed: &BTreeSet<String>) -> io::Result<()> {
        let dir = there(self.components.as_ref())?;
        let names = dir.names()?;
        let mut spare: Vec<(SystemTime, &str)> = Vec::new();
        for digest in names.iter().filter_map(|name| name.strip_suffix(".wasm")) {
            if !needed.contains(digest)
                && let Some(about) = dir.about(component(digest))?
            {
                spare.push((about.modified, digest));
            }
        }
        spare.sort_unstable();
        let surplus = spare.len().saturating_sub(KEPT);
        for (_, digest) in spare.into_iter().take(surplus) {
            for name in names.iter().filter(|name| name.starts_with(digest)) {
                dir.remove(name)?;
            }
        }
        Ok(())
    }
}

fn component(digest: &str) -> String {
    format!("{digest}.wasm")
}

/// The signature that a policy was taken with; an empty file where there was none. Each policy has
/// its own, because one may run unsigned, or by another key, what another needs signed.
fn signature_file(policy: &str, digest: &str) -> String {
    format!("{digest}.for-{policy}.minisig")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ComponentsError {
    let path = path.to_owned();
    move |source| ComponentsError::Io {
        path: path.clone(),
        source,
    }
}

fn there(dir: Option<&OwnDir>) -> io::Result<&OwnDir> {
    dir.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn read_if_there(dir: Option<&OwnDir>, name: &str, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    dir.map_or(Ok(None), |dir| dir.read(name, most_bytes))
}

/// What is there already needs no new writing and syncing; what is damaged is replaced.
fn write_unless_there(dir: Option<&OwnDir>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let dir = there(dir)?;
    match dir.read(name, LARGEST_COMPONENT) {
        Ok(Some(there)) if there == bytes => Ok(()),
        _ => dir.write_whole(name, bytes),
    }
}

#[cfg(test)]
mod tests;
