//! Compiled policies on disk, so that a known one is ready in a moment.
//!
//! What is deserialised becomes native code of this process, so only what this machine wrote itself
//! may get there: each file carries a keyed BLAKE3 over the component's digest, the engine's
//! compatibility hash and the code. The key is kept beside it, this user's own and readable by nobody
//! else, in a directory where nobody else puts files. The tag is checked over the very bytes that are
//! then deserialised. A file that does not hold is never loaded: it is removed, and the component is
//! compiled again.
//!
//! BLAKE3 in its keyed mode is a MAC by design (O'Connor and others 2020, section 5.1), and reads
//! half a megabyte of code several times faster than HMAC-SHA256 does.
//!
//! This is the only file of dbmedic where `unsafe` stands.

use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rand::Rng as _;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::digest::hex;
use crate::own_dir::OwnDir;

/// The first bytes of a file; the format's version is in it.
const MAGIC: &[u8; 16] = b"dbmedic-code-v2\n";
const TAG_BYTES: usize = blake3::OUT_LEN;
const KEY_BYTES: usize = blake3::KEY_LEN;
const EXTENSION: &str = "code";
const KEY: &str = "key";

/// Compiled components in a directory.
#[derive(Clone)]
pub struct CompiledCache {
    dir: OwnDir,
    key: [u8; KEY_BYTES],
    limits: CacheLimits,
}

impl std::fmt::Debug for CompiledCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledCache")
            .field("dir", &self.dir)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How much is kept. The files that were written longest ago go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Files.
    pub files: usize,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl Default for CacheLimits {
    /// Room for some Python or JavaScript engines, whose code is 40 MB each.
    fn default() -> Self {
        Self {
            files: 32,
            bytes: 512 << 20,
        }
    }
}

/// The cache's directory or key cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[error("cache of compiled policies: {}: {source}", path.display())]
pub struct CacheError {
    /// What was touched.
    path: PathBuf,
    /// Why it failed.
    source: io::Error,
}

impl CompiledCache {
    /// Opens the cache in a directory, and makes both it and its key where there are none. A key
    /// that others could read is not a key any more: it is replaced, and all code compiled anew.
    ///
    /// # Errors
    /// When directory or key cannot be read or made, or others could put files there.
    pub fn open(dir: &Path, limits: CacheLimits) -> Result<Self, CacheError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CacheError { path, source }
        };
        let own = OwnDir::open(dir).map_err(|error| failed(dir)(error.into()))?;
        let path = dir.join(KEY);
        let key = match read_key(&own).map_err(failed(&path))? {
            Some(key) => key,
            None => make_key(&own).map_err(failed(&path))?,
        };
        Ok(Self {
            dir: own,
            key,
            limits,
        })
    }

    /// The compiled code of a component; none when there is none that holds.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let compatibility = compatibility(engine);
        let name = name(digest, &compatibility);
        let bytes = self.read(&name)?;
        let component = self
            .authentic(&bytes, digest, &compatibility)
            .and_then(|code| {
                // SAFETY: wasmtime asks for bytes that `Component::serialize` gave, unchanged. The
                // tag over exactly these bytes, in memory that nobody else can write, says that
                // the holder of this machine's key wrote them, for this engine; and only `store`
                // below writes, with what `serialize` gave. The engine checks its version again.
                #[expect(unsafe_code, reason = "precompiled code, authenticated right above")]
                let loaded = unsafe { Component::deserialize(engine, code) };
                loaded.ok()
            });
        if component.is_none() {
            tracing::warn!(
                path = %self.dir.path_of(&name).display(),
                "compiled policy in the cache does not hold; it is compiled again"
            );
            // A file that cannot be removed is overwritten soon, and believed no more than now.
            drop(self.dir.remove(&name));
        }
        component
    }

    /// Keeps compiled code. A cache that cannot be written costs time, not a policy: it is told in
    /// the log.
    pub(super) fn store(&self, engine: &Engine, digest: &str, component: &Component) {
        let compatibility = compatibility(engine);
        let name = name(digest, &compatibility);
        let kept = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.write(&name, digest, &compatibility, &code))
            .and_then(|()| self.make_room(&name));
        if let Err(error) = kept {
            let path = self.dir.path_of(&name);
            tracing::warn!(path = %path.display(), %error, "compiled policy is not kept");
        }
    }

    /// The whole file; none when it is not there, or larger than all may be together.
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        match self.dir.read(name, self.limits.bytes) {
            Ok(found) => found,
            Err(_) => Some(Vec::new()),
        }
    }

    /// The code in a file, if this machine wrote it for this component and this engine.
    fn authentic<'a>(&self, file: &'a [u8], digest: &str, compatibility: &str) -> Option<&'a [u8]> {
        let rest = file.strip_prefix(MAGIC)?;
        let (tag, code) = rest.split_first_chunk::<TAG_BYTES>()?;
        // Compares in constant time.
        (self.tag(digest, compatibility, code) == *tag).then_some(code)
    }

    fn tag(&self, digest: &str, compatibility: &str, code: &[u8]) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        mac.update(MAGIC);
        for part in [digest.as_bytes(), compatibility.as_bytes(), code] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize()
    }

    fn write(&self, name: &str, digest: &str, compatibility: &str, code: &[u8]) -> io::Result<()> {
        let tag = self.tag(digest, compatibility, code);
        let bytes = [MAGIC.as_slice(), tag.as_bytes(), code].concat();
        // Not synced: what a power cut leaves does not hold, and is compiled again.
        self.dir.write_unsynced(name, &bytes)
    }

    /// Removes the oldest files until the rest is within the limits; never the one just written.
    fn make_room(&self, written: &str) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, String)> = Vec::new();
        for name in self.dir.names()? {
            if Path::new(&name).extension().is_some_and(|e| e == EXTENSION)
                && let Some(about) = self.dir.about(&name)?
            {
                files.push((about.modified, about.bytes, name));
            }
        }
        files.sort();
        let mut count = files.len();
        let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, name) in files {
            if count <= self.limits.files && bytes <= self.limits.bytes {
                break;
            }
            if name != written {
                self.dir.remove(&name)?;
                count -= 1;
                bytes -= length;
            }
        }
        Ok(())
    }
}

fn name(digest: &str, compatibility: &str) -> String {
    format!("{digest}-{}.{EXTENSION}", &compatibility[..16])
}

/// The key, if there is one that is this user's file and that nobody else can read.
fn read_key(dir: &OwnDir) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let file = match dir.open_file(KEY) {
        Ok(file) => file,
        Err(error) => match error.kind() {
            // Not there, or a link to something else, or others could have written it.
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => return Ok(None),
            _ => return Err(error),
        },
    };
    let about = file.metadata()?;
    if !is_own_key(geteuid().as_raw(), about.uid(), about.mode()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&file).take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
}

/// Whether a user's key can only have been written, and be known, by that user.
fn is_own_key(user: u32, owner: u32, mode: u32) -> bool {
    owner == user && matches!(mode & 0o077, 0)
}

fn make_key(dir: &OwnDir) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    dir.write_whole(KEY, &key)?;
    Ok(key)
}

/// What code must have been compiled for, to run in this engine: a SHA-256, lower-case hex.
fn compatibility(engine: &Engine) -> String {
    struct Through(Sha256);
    impl Hasher for Through {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut through = Through(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut through);
    hex(&through.0.finalize())
}

#[cfg(test)]
mod tests;
