//! Reads the journal that dbmedic 0.1.0 wrote: JSON Lines, whole lines only, each held against its number and
//! its checksum.

use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::database::{io, old_damaged};
use super::{JournalLine, StoreError, VERSION};
use crate::digest::hex;

/// Longest line that is read, bytes. A longer one is damage, not an entry.
const LONGEST_LINE: usize = 16 << 20;

/// What stands between an entry and its checksum.
const SUM_KEY: &[u8] = b",\"sum\":\"";

/// Hexadecimal digits of a line's checksum, the beginning of a SHA-256.
const SUM_DIGITS: usize = 16;

/// The whole lines of a journal. After an error there is nothing more.
pub(super) struct Lines<R> {
    path: PathBuf,
    input: R,
    line: u64,
    done: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(path: &Path, input: R) -> Self {
        Self {
            path: path.to_owned(),
            input,
            line: 0,
            done: false,
        }
    }

    /// The next line; none at the end. A last line without its line feed is half written: it was never acted
    /// upon.
    fn next_line(&mut self) -> Result<Option<JournalLine>, StoreError> {
        let mut text = Vec::new();
        self.line += 1;
        self.input
            .by_ref()
            .take(LONGEST_LINE as u64)
            .read_until(b'\n', &mut text)
            .map_err(io(&self.path))?;
        if text.len() < LONGEST_LINE && text.last() != Some(&b'\n') {
            return Ok(None);
        }
        let line = parse(&text, self.line)
            .map_err(|what| old_damaged(&self.path, &format!("line {}: {what}", self.line)))?;
        Ok(Some(line))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<JournalLine, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let line = self.next_line().transpose();
        self.done = !matches!(line, Some(Ok(_)));
        line
    }
}

/// A whole line, its line feed included, or what is wrong with it. Line N has the number N.
fn parse(text: &[u8], number: u64) -> Result<JournalLine, String> {
    let sum_at = text
        .len()
        .checked_sub(SUM_KEY.len() + SUM_DIGITS + b"\"}\n".len());
    let (entry, sum) = sum_at
        .and_then(|at| text.split_at_checked(at))
        .ok_or("too short for an entry")?;
    let sum = sum
        .strip_prefix(SUM_KEY)
        .and_then(|rest| rest.strip_suffix(b"\"}\n"))
        .ok_or("it has no checksum")?;
    if sum != hex(&Sha256::digest(entry)[..SUM_DIGITS / 2]).as_bytes() {
        return Err("its checksum does not hold".to_owned());
    }
    let line: JournalLine = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if line.v != VERSION {
        return Err(format!("version {}, this dbmedic reads {VERSION}", line.v));
    }
    if line.seq != number {
        return Err(format!("entry {} stands where {number} should", line.seq));
    }
    Ok(line)
}
