//! The values of rows and index entries that disagree, for a person alone.
//!
//! Apart from copies of whole databases this is the only place where a value of a row is kept: in
//! `values/TARGET` of the state directory, a file for each index, for its owner alone. A full check
//! writes them, and removes those of indexes that agree again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::own_dir::OwnDir;
use crate::path_trust::TrustError;

/// The directory in the state directory.
pub const DIRECTORY: &str = "values";
/// The version of the files.
const VERSION: u32 = 1;
/// What is kept of a text or a blob for a person, bytes.
pub const MOST_SHOWN_BYTES: usize = 1024;
/// What is read of a file at most, bytes: values are cut long before.
const LARGEST_BYTES: u64 = 16 << 20;

/// The values of an entry and its row. Not for logs, recordings or policies.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DisagreeingValues {
    /// The index.
    pub index: String,
    /// Its table.
    pub table: String,
    /// Which entry, as in [`Disagreement::entry`](crate::sqlite_state::Disagreement::entry).
    pub entry: u64,
    /// What identifies the row: the rowid, or the primary key.
    pub row: BTreeMap<String, ShownValue>,
    /// By column: the row's value and the entry's.
    pub columns: BTreeMap<String, (ShownValue, ShownValue)>,
}

impl std::fmt::Debug for DisagreeingValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "DisagreeingValues(entry {} of {})",
            self.entry, self.index
        )
    }
}

/// A value as a person reads it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownValue {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text that is valid UTF-8.
    Text(String),
    /// Bytes, or text that is no UTF-8, in hexadecimal.
    Hex(String),
    /// The first 1024 bytes of a longer text or blob, in hexadecimal where it is no UTF-8.
    Cut {
        /// How it begins.
        begin: String,
        /// The length of the whole, bytes.
        bytes: u64,
    },
}

impl ShownValue {
    /// Bytes of text or of a blob, cut to [`MOST_SHOWN_BYTES`].
    pub fn of_bytes(value: &[u8], is_text: bool) -> Self {
        let begin = &value[..value.len().min(MOST_SHOWN_BYTES)];
        let is_whole = begin.len() == value.len();
        let text = is_text.then(|| match str::from_utf8(begin) {
            Ok(text) => Some(text),
            // The cut may lie within a character.
            Err(error) if !is_whole && error.error_len().is_none() => {
                str::from_utf8(&begin[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        });
        match (text.flatten(), is_whole) {
            (Some(text), true) => Self::Text(text.to_owned()),
            (None, true) => Self::Hex(hex(value)),
            (text, false) => Self::Cut {
                begin: text.map_or_else(|| hex(begin), str::to_owned),
                bytes: value.len() as u64,
            },
        }
    }
}

impl std::fmt::Display for ShownValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Real(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "'{value}'"),
            Self::Hex(value) => write!(f, "x'{value}'"),
            Self::Cut { begin, bytes } => write!(f, "'{begin}'... ({bytes} bytes)"),
        }
    }
}

/// Why values cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowValuesError {
    /// Others can change what is in the directory.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A file or directory cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what was written.
    #[error("{path}: {what}; remove it, the next full check writes it again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// What stands in a file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    v: u32,
    /// The index, by which the file is named in a digest: its name may be no file's name.
    index: String,
    values: Vec<DisagreeingValues>,
}

/// Keeps what a full check of a target found, in place of what an earlier one did.
///
/// # Errors
///
/// See [`RowValuesError`].
pub fn keep(
    state_dir: &Path,
    target: &str,
    values: &[DisagreeingValues],
) -> Result<(), RowValuesError> {
    let state = OwnDir::open(state_dir)?;
    let before = match state.dir_if_there(DIRECTORY)? {
        Some(directory) => directory.dir_if_there(target)?,
        None => None,
    };
    if values.is_empty() && before.is_none() {
        return Ok(());
    }
    let directory = state.dir(DIRECTORY)?.dir(target)?;
    let mut kept = Vec::new();
    for found in values {
        if kept.contains(&file_name(&found.index)) {
            continue;
        }
        let of_index = values.iter().filter(|other| other.index == found.index);
        let content = Kept {
            v: VERSION,
            index: found.index.clone(),
            values: of_index.cloned().collect(),
        };
        let name = file_name(&found.index);
        let io = io(&directory, &name);
        let bytes = serde_json::to_vec(&content).map_err(|error| io(error.into()))?;
        directory.write_whole(&name, &bytes).map_err(io)?;
        kept.push(name);
    }
    let names = directory.names().map_err(io(&directory, ""))?;
    for name in names.iter().filter(|name| !kept.contains(name)) {
        directory
            .remove_if_there(name)
            .map_err(io(&directory, name))?;
    }
    Ok(())
}

/// The values that were found last for an index; none when there are none.
///
/// # Errors
///
/// See [`RowValuesError`].
pub fn load(
    state_dir: &Path,
    target: &str,
    index: &str,
) -> Result<Option<Vec<DisagreeingValues>>, RowValuesError> {
    let Some(directory) = OwnDir::existing(state_dir)?.dir_if_there(DIRECTORY)? else {
        return Ok(None);
    };
    let Some(directory) = directory.dir_if_there(target)? else {
        return Ok(None);
    };
    let name = file_name(index);
    let Some(bytes) = directory
        .read(&name, LARGEST_BYTES)
        .map_err(io(&directory, &name))?
    else {
        return Ok(None);
    };
    let damaged = |what: String| RowValuesError::Damaged {
        path: directory.path_of(&name),
        what,
    };
    // The error would quote what it could not read.
    let kept: Kept =
        serde_json::from_slice(&bytes).map_err(|_| damaged("not readable".to_owned()))?;
    if kept.v != VERSION {
        let v = kept.v;
        return Err(damaged(format!(
            "version {v}, this dbmedic reads {VERSION}"
        )));
    }
    Ok(Some(kept.values))
}

fn file_name(index: &str) -> String {
    format!("{}.json", hex(&Sha256::digest(index)))
}

fn io(directory: &OwnDir, name: &str) -> impl Fn(std::io::Error) -> RowValuesError {
    let path = directory.path_of(name);
    move |source| RowValuesError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn of(index: &str, value: &str) -> DisagreeingValues {
        let shown = ShownValue::Text(value.into());
        DisagreeingValues {
            index: index.into(),
            table: "t".into(),
            entry: 3,
            row: BTreeMap::from([("rowid".into(), ShownValue::Integer(7))]),
            columns: BTreeMap::from([("iban".into(), (shown, ShownValue::Null))]),
        }
    }

    #[test]
    fn the_last_full_check_counts_and_only_the_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let load = |index: &str| load(dir.path(), "shop", index).unwrap();
        keep(dir.path(), "shop", &[]).unwrap();
        assert!(!dir.path().join(DIRECTORY).exists(), "nothing to keep");

        let (odd, plain) = (of("../i/\n", "a"), of("j", "b"));
        let more = of("j", "c");
        keep(
            dir.path(),
            "shop",
            &[odd.clone(), plain.clone(), more.clone()],
        )
        .unwrap();
        assert_eq!(load("../i/\n"), Some(vec![odd]));
        assert_eq!(load("j"), Some(vec![plain.clone(), more]));
        assert_eq!(load("k"), None);
        let directory = dir.path().join(DIRECTORY).join("shop");
        let files: Vec<_> = std::fs::read_dir(&directory).unwrap().collect();
        assert_eq!(files.len(), 2);
        for file in files {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }

        keep(dir.path(), "shop", std::slice::from_ref(&plain)).unwrap();
        assert_eq!((load("../i/\n"), load("j")), (None, Some(vec![plain])));
        keep(dir.path(), "shop", &[]).unwrap();
        assert_eq!(load("j"), None);

        std::fs::write(directory.join(file_name("j")), "{\"secret\":1}").unwrap();
        let error = super::load(dir.path(), "shop", "j")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("not readable") && !error.contains("secret"),
            "{error}"
        );
    }
}
