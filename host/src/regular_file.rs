//! Reads files that a person named: regular ones only, and no more of them than such a file may hold.
//!
//! A named pipe would keep its reader waiting for ever, and `/dev/zero` or a file of many gigabytes
//! would take all memory. What this process was handed as an open descriptor (`/dev/stdin`,
//! `/dev/fd/N`) may be a pipe: whoever started it writes to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::path_trust::is_inherited;

/// Opens a regular file for reading, without waiting for anybody.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    if is_inherited(path) {
        return File::open(path);
    }
    // To open a pipe would wait for its writer.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    Ok(file)
}

/// Reads such a file whole.
///
/// # Errors
/// As [`open`], and when it is longer than `most_bytes`.
pub fn read(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    let mut limited = file.take(most_bytes.saturating_add(1));
    limited.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {most_bytes} bytes, the most that is read"),
        ));
    }
    Ok(bytes)
}

/// Reads such a file as text.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub fn read_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    String::from_utf8(read(path, most_bytes)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_of_a_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "12345").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, path("pipe"), FileType::Fifo, mode, 0).unwrap();
        File::create(path("large"))
            .unwrap()
            .set_len(4 << 30)
            .unwrap();

        assert_eq!(read(&path("file"), 5).unwrap(), b"12345");
        assert_eq!(read_text(&path("link"), 5).unwrap(), "12345");
        let why = |name: &str| read(&path(name), 5).unwrap_err().to_string();
        assert!(why("large").contains("larger than 5 bytes"));
        for name in ["pipe", "zero", "."] {
            assert_eq!(why(name), "it is not a regular file");
        }
        assert!(read(&path("none"), 5).is_err());
    }
}
