//! The acknowledgement logs: what the database promised to keep. One log for each writer, one line
//! for each commit that returned, written with a single `write` after it returned and not before.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{DemoError, Scene};

/// A commit that returned to its writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The writer, counted from 1.
    pub writer: u32,
    /// The writer's own count of its transactions; never used twice for different commits.
    pub sequence: i64,
    /// The row that it wrote.
    pub row: i64,
    /// Its place among the commits of all writers. Counted in the database, so the count goes on
    /// from an earlier number after commits were lost.
    pub commit: i64,
    /// SHA-256 over the row's content, hexadecimal.
    pub hash: String,
}

impl Acknowledged {
    fn parse(writer: u32, line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let acknowledged = Self {
            writer,
            sequence: fields.next()?.parse().ok()?,
            row: fields.next()?.parse().ok()?,
            commit: fields.next()?.parse().ok()?,
            hash: fields.next()?.to_owned(),
        };
        fields.next().is_none().then_some(acknowledged)
    }
}

/// A log, open for its writer.
pub(crate) struct AcknowledgementLog(File);

impl AcknowledgementLog {
    /// Opens the log, and cuts off a last line that a killed writer left torn: what is not a
    /// whole line was not acknowledged.
    pub(crate) fn open(path: &Path) -> Result<Self, DemoError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(DemoError::io("open", path))?;
        let whole = whole_lines(path)?.len();
        file.set_len(whole as u64)
            .map_err(DemoError::io("shorten", path))?;
        Ok(Self(file))
    }

    /// Appends one line with one `write`.
    pub(crate) fn append(&mut self, acknowledged: &Acknowledged) -> std::io::Result<()> {
        let Acknowledged {
            sequence,
            row,
            commit,
            hash,
            ..
        } = acknowledged;
        self.0
            .write_all(format!("{sequence} {row} {commit} {hash}\n").as_bytes())
    }
}

/// All that a writer was promised, oldest first; empty before its first start.
pub(crate) fn read(scene: &Scene, writer: u32) -> Result<Vec<Acknowledged>, DemoError> {
    let path = scene.acknowledgements(writer);
    whole_lines(&path)?
        .lines()
        .enumerate()
        .map(|(index, line)| {
            Acknowledged::parse(writer, line).ok_or_else(|| DemoError::Log {
                path: path.clone(),
                line: index + 1,
                text: line.to_owned(),
            })
        })
        .collect()
}

/// The number of a writer's last acknowledged transaction; 0 before the first.
pub(crate) fn last_sequence(scene: &Scene, writer: u32) -> Result<i64, DemoError> {
    let last = read(scene, writer)?.pop();
    Ok(last.map_or(0, |acknowledged| acknowledged.sequence))
}

/// The text of a log up to its last line's end; empty when there is no such file.
pub(crate) fn whole_lines(path: &Path) -> Result<String, DemoError> {
    let mut text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(DemoError::io("read", path)(error)),
    };
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_not_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let scene = Scene::new(directory.path(), 1, 1, 10);
        let path = scene.acknowledgements(1);
        fs::write(&path, "1 11 1 aa\n2 12 2 b").unwrap();
        assert_eq!(last_sequence(&scene, 1).unwrap(), 1);

        let mut log = AcknowledgementLog::open(&path).unwrap();
        let next = Acknowledged {
            writer: 1,
            sequence: 2,
            row: 12,
            commit: 2,
            hash: "bb".into(),
        };
        log.append(&next).unwrap();
        assert_eq!(read(&scene, 1).unwrap().pop(), Some(next));
    }

    #[test]
    fn a_line_of_another_form_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let scene = Scene::new(directory.path(), 1, 1, 10);
        fs::write(scene.acknowledgements(1), "1 11 1 aa\n2 12\n").unwrap();
        let message = read(&scene, 1).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
    }
}
