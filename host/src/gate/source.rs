//! Where new policies are found: a file, or a directory of them.
//!
//! A file is read only when it has been the same for a while, through links and renames, and only
//! if it still is after it was read, and so are its signature and the test cases beside it: what is half written is not looked at, or is looked at again
//! when it changes. Nothing here judges what it reads, and nothing is written.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::prepare::Candidate;
use crate::path_trust;
use crate::policy_tests::{self, CaseText};
use crate::regular_file;
use crate::signing::{Hashed, SIGNATURE_BYTES};

/// How long a file must have been the same before it is read, milliseconds.
const SETTLE_MS: u64 = 200;
/// Components of a directory that are looked at, and files of cases beside one of them.
const FILES: usize = 256;

/// Where a policy comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It is part of this binary.
    #[default]
    BuiltIn,
    /// This file.
    File(PathBuf),
    /// The newest of the components in this directory, `*.wasm`.
    Directory(PathBuf),
}

impl Source {
    /// The directory in which changes show.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn => None,
            Self::File(path) => match path.parent() {
                Some(dir) if dir != Path::new("") => Some(dir),
                _ => Some(Path::new(".")),
            },
            Self::Directory(path) => Some(path),
        }
    }
}

/// What tells two states of a file apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<Metadata> for Print {
    fn from(about: Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            length: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// A component, its signature, and the folder of its cases, as they lie there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prints {
    component: Print,
    signature: Option<Print>,
    /// Every file in the folder, by its path.
    cases: BTreeMap<PathBuf, Print>,
}

/// What is known of one file.
#[derive(Default)]
struct Seen {
    /// None when it is to be read again, whatever it is.
    prints: Option<Prints>,
    since_ms: u64,
    read: bool,
    /// The SHA-256 of what was read last.
    digest: Option<String>,
}

/// Looks for policies that are new.
pub struct Lookout {
    source: Source,
    /// The largest component that is read, bytes.
    most_bytes: u64,
    seen: BTreeMap<PathBuf, Seen>,
    /// What could not even be looked at, and was told.
    told: BTreeMap<PathBuf, String>,
}

/// A component that was found.
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub candidate: Candidate,
}

/// What a look came to.
#[derive(Default)]
pub struct Look {
    /// Components that are new since the last look.
    pub found: Vec<Found>,
    /// Whether something is not settled yet, so that another look is due soon.
    pub unsettled: bool,
    /// What could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// The SHA-256 of what was found earlier, and lies there no more.
    pub gone: Vec<String>,
}

impl Lookout {
    /// A lookout that has seen nothing yet.
    pub fn new(source: Source, most_bytes: u64) -> Self {
        Self {
            source,
            most_bytes,
            seen: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Where it looks.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Looks, at a time in milliseconds since the Unix epoch. A component that is not settled is
    /// left for a later look.
    pub fn look(&mut self, at_ms: u64) -> Look {
        let mut look = Look::default();
        let paths = match self.paths() {
            Ok(paths) => paths,
            Err(error) => {
                let path = self.source.directory().unwrap_or(Path::new("")).to_owned();
                look.unreadable.extend(self.tell_once(path, &error));
                return look;
            }
        };
        self.seen.retain(|path, seen| {
            let is_there = paths.contains(path);
            if !is_there {
                look.gone.extend(seen.digest.take());
            }
            is_there
        });
        self.told.retain(|path, _| paths.contains(path));
        for path in paths {
            let prints = match prints(&path) {
                Ok(prints) => prints,
                Err(error) => {
                    // When it comes back, or can be read, it is new.
                    if is_absence(&error) {
                        let seen = self.seen.remove(&path);
                        look.gone.extend(seen.and_then(|seen| seen.digest));
                        self.told.remove(&path);
                    } else {
                        if let Some(seen) = self.seen.get_mut(&path) {
                            seen.prints = None;
                        }
                        look.unreadable.extend(self.tell_once(path, &error));
                    }
                    continue;
                }
            };
            self.told.remove(&path);
            let seen = self.seen.entry(path.clone()).or_default();
            if seen.prints.as_ref() != Some(&prints) {
                seen.prints = Some(prints.clone());
                seen.since_ms = at_ms;
                seen.read = false;
            }
            if seen.read {
                continue;
            }
            if at_ms.saturating_sub(seen.since_ms) < SETTLE_MS {
                look.unsettled = true;
                continue;
            }
            match read(&path, &prints, self.most_bytes, believed) {
                Ok(Some(candidate)) => {
                    seen.read = true;
                    let digest = candidate.digest().to_owned();
                    look.gone.extend(seen.digest.replace(digest));
                    look.found.push(Found { path, candidate });
                }
                Ok(None) => {
                    seen.since_ms = at_ms;
                    look.unsettled = true;
                }
                Err(error) => {
                    seen.read = true;
                    look.unreadable.push((path, error.to_string()));
                }
            }
        }
        let lies_there = |digest: &String| {
            let mut seen = self.seen.values();
            seen.any(|seen| seen.digest.as_ref() == Some(digest))
        };
        look.gone.retain(|digest| !lies_there(digest));
        look
    }

    /// Looks at once, for a start: without waiting for anything to settle.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn look_now(&self) -> io::Result<Look> {
        let mut look = Look::default();
        for path in self.paths()? {
            match read_believed(&path, self.most_bytes) {
                Ok(candidate) => look.found.push(Found { path, candidate }),
                Err(error) => look.unreadable.push((path, error.to_string())),
            }
        }
        Ok(look)
    }

    /// Why something cannot be looked at, unless that was told at the last look.
    fn tell_once(&mut self, path: PathBuf, error: &io::Error) -> Option<(PathBuf, String)> {
        let why = error.to_string();
        let before = self.told.insert(path.clone(), why.clone());
        (before.as_ref() != Some(&why)).then_some((path, why))
    }

    /// Looks at everything anew at the next look.
    pub fn forget(&mut self) {
        for seen in self.seen.values_mut() {
            seen.prints = None;
        }
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        match &self.source {
            Source::BuiltIn => Ok(Vec::new()),
            Source::File(path) => Ok(vec![path.clone()]),
            Source::Directory(dir) => {
                path_trust::check_directory(dir)?;
                let mut paths: Vec<PathBuf> = fs::read_dir(dir)?
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| path.extension().is_some_and(|e| e == "wasm"))
                    .collect();
                paths.sort();
                paths.truncate(FILES);
                Ok(paths)
            }
        }
    }
}

/// The signature's place beside a component.
pub fn signature_path(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Reads a component that a person named, to look at it: whoever it may be of.
///
/// # Errors
/// When it cannot be read, is too large, or changes meanwhile.
pub fn read_candidate(path: &Path, most_bytes: u64) -> io::Result<Candidate> {
    read_once(path, most_bytes, regular_file::open)
}

/// Reads a component that is to decide: only this user and root may be able to change it.
///
/// # Errors
/// As [`read_candidate`], and when others could have written it.
pub(super) fn read_believed(path: &Path, most_bytes: u64) -> io::Result<Candidate> {
    read_once(path, most_bytes, believed)
}

fn read_once(path: &Path, most_bytes: u64, open: Open) -> io::Result<Candidate> {
    let prints = prints(path)?;
    read(path, &prints, most_bytes, open)?
        .ok_or_else(|| io::Error::other("it changed while it was read; try again"))
}

/// Opens a file for reading.
type Open = fn(&Path) -> io::Result<File>;

fn believed(path: &Path) -> io::Result<File> {
    Ok(path_trust::open(path)?)
}

fn prints(path: &Path) -> io::Result<Prints> {
    let component = fs::metadata(path)?.into();
    let signature = match fs::metadata(signature_path(path)) {
        Ok(about) => Some(about.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Prints {
        component,
        signature,
        cases: prints_in(&policy_tests::folder_beside(path))?,
    })
}

/// Every file in a folder: the cases, and the recordings that they name. None without the folder.
fn prints_in(folder: &Path) -> io::Result<BTreeMap<PathBuf, Print>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(BTreeMap::new()),
        Err(error) => return Err(named(folder, &error)),
    };
    let mut prints = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        match fs::metadata(&path) {
            Ok(about) if about.is_file() => drop(prints.insert(path, about.into())),
            Ok(_) => {}
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(named(&path, &error)),
        }
        if prints.len() > FILES {
            let error = io::Error::other(format!("more than {FILES} files of test cases"));
            return Err(named(folder, &error));
        }
    }
    Ok(prints)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// An error that says which file it is about, where that is not the component.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Component, signature and cases, if they are and stay what was seen; none when they change
/// meanwhile.
fn read(
    path: &Path,
    expected: &Prints,
    most_bytes: u64,
    open: Open,
) -> io::Result<Option<Candidate>> {
    let Some(bytes) = read_one(path, &expected.component, most_bytes, open)? else {
        return Ok(None);
    };
    let signature = match &expected.signature {
        None => None,
        Some(print) => {
            let path = signature_path(path);
            // One byte more than is allowed, so that too long a signature is seen as such.
            let most_bytes = SIGNATURE_BYTES as u64 + 1;
            match read_one(&path, print, most_bytes, open)? {
                Some(bytes) => Some(Arc::from(bytes)),
                None => return Ok(None),
            }
        }
    };
    let mut cases = Vec::new();
    for (path, print) in &expected.cases {
        if !policy_tests::is_case_file(path) {
            continue;
        }
        let read = read_one(path, print, policy_tests::FILE_BYTES as u64, open);
        match read.map_err(|error| named(path, &error))? {
            Some(bytes) => cases.push(CaseText {
                path: path.clone(),
                bytes: bytes.into(),
            }),
            None => return Ok(None),
        }
    }
    // A link may have been turned between them.
    if prints(path)? != *expected {
        return Ok(None);
    }
    Ok(Some(Candidate {
        component: Hashed::new(bytes),
        signature,
        cases: cases.into(),
    }))
}

fn read_one(
    path: &Path,
    expected: &Print,
    most_bytes: u64,
    open: Open,
) -> io::Result<Option<Vec<u8>>> {
    let file = open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if about.len() > most_bytes {
        return Err(io::Error::other(format!(
            "it is {} bytes long, {most_bytes} are the most",
            about.len()
        )));
    }
    if Print::from(about) != *expected {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&file).take(most_bytes + 1).read_to_end(&mut bytes)?;
    let same = Print::from(file.metadata()?) == *expected && bytes.len() as u64 == expected.length;
    Ok(same.then_some(bytes))
}

#[cfg(test)]
mod tests;
