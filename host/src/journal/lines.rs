//! Reads a journal: whole lines only, each held against its number and its checksum.

use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};

use super::{JournalError, JournalLine, LONGEST_LINE, SUM_DIGITS, SUM_KEY, VERSION, checksum};

/// The whole lines of a journal.
pub(super) struct Lines<R> {
    path: PathBuf,
    input: R,
    line: u64,
    /// Where the last whole line ends, bytes from the beginning.
    pub(super) whole_bytes: u64,
    done: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(path: &Path, input: R) -> Self {
        Self {
            path: path.to_owned(),
            input,
            line: 0,
            whole_bytes: 0,
            done: false,
        }
    }

    /// The next line; none at the end. A last line without its line feed is half written: not
    /// there yet, or never.
    fn next_line(&mut self) -> Result<Option<JournalLine>, JournalError> {
        let mut text = Vec::new();
        self.line += 1;
        self.input
            .by_ref()
            .take(LONGEST_LINE as u64)
            .read_until(b'\n', &mut text)
            .map_err(|source| JournalError::Io {
                path: self.path.clone(),
                source,
            })?;
        if text.len() < LONGEST_LINE && text.last() != Some(&b'\n') {
            return Ok(None);
        }
        let line = parse(&text, self.line).map_err(|what| JournalError::Damaged {
            path: self.path.clone(),
            line: self.line,
            what,
        })?;
        self.whole_bytes += text.len() as u64;
        Ok(Some(line))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<JournalLine, JournalError>;

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
    if sum != checksum(entry).as_bytes() {
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
