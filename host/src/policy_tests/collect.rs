//! Where cases come from: a folder beside the component, files that a person names, or custom
//! sections of the component itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CaseFile, parse};
use crate::document::DocumentErrors;
use crate::regular_file;

/// The custom section that holds cases, one file in each.
const SECTION: &str = "dbmedic:tests";
/// The largest file or section that is read, bytes.
pub const FILE_BYTES: usize = 1 << 20;
/// Components and modules within each other.
const DEPTH: usize = 8;

/// Why cases cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CasesError {
    /// A file or folder cannot be read.
    #[error("test cases {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than cases are.
    #[error("test cases {name}: {bytes} bytes are more than is read; split them")]
    TooLarge {
        /// The file or section.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// It is no text.
    #[error("test cases {name}: not UTF-8 text")]
    NotText {
        /// The file or section.
        name: String,
    },
    /// It holds mistakes.
    #[error(transparent)]
    Mistakes(#[from] DocumentErrors),
}

/// A file of cases as it was read, to be understood later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseText {
    /// Where it lies: recordings are named from there.
    pub path: PathBuf,
    /// What stands in it.
    pub bytes: Arc<[u8]>,
}

impl CaseText {
    /// The cases in it.
    ///
    /// # Errors
    /// When it holds mistakes.
    pub fn read(&self) -> Result<CaseFile, CasesError> {
        let base = self.path.parent().unwrap_or(Path::new(""));
        case_file(&self.bytes, &self.path.display().to_string(), Some(base))
    }
}

/// The folder of the cases of a component `NAME.wasm`: `NAME.tests` beside it.
pub fn folder_beside(component: &Path) -> PathBuf {
    component.with_extension("tests")
}

/// Whether a file in such a folder holds cases: `*.toml`. Others are what cases speak of.
pub fn is_case_file(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "toml")
}

/// The cases of the folder `NAME.tests` beside a component `NAME.wasm`; none without one.
///
/// # Errors
/// When a file cannot be read or holds mistakes.
pub fn beside(component: &Path) -> Result<Vec<CaseFile>, CasesError> {
    let folder = folder_beside(component);
    if folder.is_dir() {
        from_paths(&[folder])
    } else {
        Ok(Vec::new())
    }
}

/// The cases of files, and of every `*.toml` in folders, sorted by name.
///
/// # Errors
/// When a file cannot be read or holds mistakes.
pub fn from_paths(paths: &[PathBuf]) -> Result<Vec<CaseFile>, CasesError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CasesError::Io { path, source }
    };
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(failed(path))? {
            let entry = entry.map_err(failed(path))?.path();
            if is_case_file(&entry) {
                inside.push(entry);
            }
        }
        inside.sort();
        files.extend(inside);
    }
    files
        .iter()
        .map(|path| {
            // One byte more than is allowed: too large a file is told as such.
            let most_bytes = FILE_BYTES as u64 + 1;
            let read = regular_file::read(path, most_bytes);
            let bytes = read.map_err(failed(path))?.into();
            let path = path.clone();
            CaseText { path, bytes }.read()
        })
        .collect()
}

/// The cases that a component carries in itself.
///
/// # Errors
/// When a section holds mistakes.
pub fn carried(component: &[u8]) -> Result<Vec<CaseFile>, CasesError> {
    let mut found = Vec::new();
    sections(component, DEPTH, &mut found);
    found
        .iter()
        .enumerate()
        .map(|(index, bytes)| case_file(bytes, &format!("{SECTION} {}", index + 1), None))
        .collect()
}

fn case_file(bytes: &[u8], name: &str, base: Option<&Path>) -> Result<CaseFile, CasesError> {
    if bytes.len() > FILE_BYTES {
        return Err(CasesError::TooLarge {
            name: name.to_owned(),
            bytes: bytes.len(),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CasesError::NotText {
        name: name.to_owned(),
    })?;
    Ok(parse(text, name, base)?)
}

/// Collects the custom sections of a module or component, and of those in it. What is not as the
/// format has it ends the search: whether it is a policy at all is judged elsewhere.
fn sections<'a>(bytes: &'a [u8], depth: usize, found: &mut Vec<&'a [u8]>) -> Option<()> {
    const CUSTOM: u8 = 0;
    const CORE_MODULE: u8 = 1;
    const COMPONENT: u8 = 4;
    let (header, mut rest) = bytes.split_at_checked(8)?;
    // The version's upper half tells a component (1) from a module (0).
    let is_component = header.starts_with(b"\0asm") && header[6] == 1;
    while let Some((id, after)) = rest.split_first() {
        let (length, after) = leb128(after)?;
        let (payload, after) = after.split_at_checked(length)?;
        rest = after;
        match *id {
            CUSTOM => {
                let (length, payload) = leb128(payload)?;
                let (name, content) = payload.split_at_checked(length)?;
                if name == SECTION.as_bytes() {
                    found.push(content);
                }
            }
            CORE_MODULE | COMPONENT if is_component && depth > 0 => {
                sections(payload, depth - 1, found);
            }
            _ => {}
        }
    }
    Some(())
}

/// An unsigned number as WebAssembly writes it, and what follows.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[index + 1..]));
        }
    }
    None
}
