//! The directory of learned signatures: `NAME.toml` each.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::path_trust;
use crate::signature::{Deviations, FileError, Signature, check_name, parse, render};

/// The largest file that is read, bytes.
const FILE_BYTES: u64 = 4 << 20;

/// Why signatures cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureDirError {
    /// A file is no signature.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name that no signature can have.
    #[error("{0}")]
    Name(String),
    /// A file's signature has another name than the file.
    #[error("{}: holds the signature `{name}`; its file must be `{name}.toml`", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The name inside.
        name: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a directory of signatures holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// The signatures, by name.
    pub signatures: Vec<Signature>,
    /// What is left out: each file that cannot be read, by name and line, or the directory itself.
    pub left_out: Vec<SignatureDirError>,
}

/// A directory of signatures that is read again when it changed.
#[derive(Debug)]
pub struct SignatureWatch {
    dir: SignatureDir,
    read: Option<Vec<Stamp>>,
}

/// By what it is told whether a file is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl SignatureWatch {
    /// Of a directory that was not read yet.
    pub fn new(dir: SignatureDir) -> Self {
        Self { dir, read: None }
    }

    /// What the directory holds when that is not what it held at the last call; only the names and
    /// times of its files are looked at otherwise.
    pub fn changed(&mut self) -> Option<Contents> {
        // Before the files are read: what is written meanwhile is read again.
        let stamps = self.dir.stamps();
        if self.read.as_ref() == Some(&stamps) {
            return None;
        }
        self.read = Some(stamps);
        Some(self.dir.load())
    }
}

/// A directory of signatures.
#[derive(Debug, Clone)]
pub struct SignatureDir {
    path: PathBuf,
}

impl SignatureDir {
    /// At a path; nothing is read or made yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a signature.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.toml"))
    }

    /// All signatures that can be read, and what cannot: one file is not worth the others. A
    /// directory that is not there holds none.
    pub fn load(&self) -> Contents {
        let mut contents = Contents::default();
        match self.files() {
            Ok(files) => {
                for file in files {
                    match Self::read(&file) {
                        Ok(signature) => contents.signatures.push(signature),
                        Err(error) => contents.left_out.push(error),
                    }
                }
            }
            Err(source) => contents.left_out.push(io_error(&self.path, source)),
        }
        contents
    }

    /// The files of the signatures, in the order of their names.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        match path_trust::check_directory(&self.path) {
            Err(error) if error.is_absence() => return Ok(Vec::new()),
            checked => checked?,
        }
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn stamps(&self) -> Vec<Stamp> {
        let files = self.files().unwrap_or_default();
        let stamp = |path: PathBuf| {
            let file = std::fs::metadata(&path).ok()?;
            Some(Stamp {
                path,
                inode: file.ino(),
                bytes: file.len(),
                modified: (file.mtime(), file.mtime_nsec()),
            })
        };
        files.into_iter().filter_map(stamp).collect()
    }

    /// Learns from episodes: refines the signature of this name, or begins it, and writes its file
    /// whole and synced, or not at all.
    ///
    /// # Errors
    /// When the file of this name is there and cannot be read, by line, or cannot be written.
    pub fn learn(
        &self,
        name: &str,
        episodes: &[Deviations],
    ) -> Result<Signature, SignatureDirError> {
        check_name(name).map_err(SignatureDirError::Name)?;
        let path = self.file(name);
        let mut signature = if path.symlink_metadata().is_ok() {
            Self::read(&path)?
        } else {
            Signature::new(name)
        };
        for episode in episodes {
            signature.refine(episode);
        }
        self.write(&path, &render(&signature))
            .map_err(|source| io_error(&path, source))?;
        Ok(signature)
    }

    fn read(path: &Path) -> Result<Signature, SignatureDirError> {
        let fail = |source| io_error(path, source);
        let bytes = path_trust::read(path, FILE_BYTES).map_err(|error| fail(error.into()))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let signature = parse(&text, &path.display().to_string())?;
        if path
            .file_stem()
            .is_none_or(|stem| stem != signature.name.as_str())
        {
            return Err(SignatureDirError::OtherName {
                path: path.to_owned(),
                name: signature.name,
            });
        }
        Ok(signature)
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        // Whatever the umask: what others could write to is not read.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.path)?;
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(&self.path)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|refused| refused.error)?;
        std::fs::File::open(&self.path)?.sync_all()
    }
}

fn io_error(path: &Path, source: io::Error) -> SignatureDirError {
    SignatureDirError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An episode of a trouble with some noise by number.
    fn episode(number: u32) -> Deviations {
        let noise = f64::from(number * 7 % 5) * 0.1 - 0.2;
        let seen = [("locks", 3.0 + noise), ("commits", -1.5 + noise)];
        seen.map(|(name, strength)| (name.to_owned(), strength))
            .into_iter()
            .collect()
    }

    #[test]
    fn a_directory_is_read_and_refined() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = SignatureDir::at(scratch.path().join("signatures"));
        let mut watch = SignatureWatch::new(dir.clone());
        assert_eq!(watch.changed().unwrap().signatures, []);
        assert!(watch.changed().is_none());
        dir.learn("locks", &[episode(0)]).unwrap();
        let refined = dir.learn("locks", &[episode(1), episode(2)]).unwrap();
        assert_eq!(refined.episodes, 3);
        assert_eq!(watch.changed().unwrap().signatures[0].episodes, 3);
        assert!(watch.changed().is_none());
        assert!(dir.learn("../locks", &[episode(0)]).is_err());
        let file = dir.path().join("locks.toml");
        let before = std::fs::read(&file).unwrap();
        std::fs::write(dir.path().join("other.toml"), &before).unwrap();
        std::fs::write(
            dir.path().join("typo.toml"),
            "version = 1\nnam = \"typo\"\n",
        )
        .unwrap();
        // One file is not worth the others.
        let contents = watch.changed().unwrap();
        assert_eq!(contents.signatures.len(), 1);
        let [other, typo] = &contents.left_out[..] else {
            panic!("{contents:?}");
        };
        let (other, typo) = (other.to_string(), typo.to_string());
        assert!(
            other.contains("other.toml") && other.contains("locks.toml"),
            "{other}"
        );
        assert!(typo.contains("typo.toml:2: unknown key `nam`"), "{typo}");
        std::fs::write(&file, "version = 1\nname = \"locks\"\n").unwrap();
        assert_eq!(watch.changed().unwrap().left_out.len(), 3);
        assert!(dir.learn("locks", &[episode(0)]).is_err());
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "version = 1\nname = \"locks\"\n"
        );
    }
}
