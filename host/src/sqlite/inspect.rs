//! What the set of files is like, read as raw bytes.
//!
//! Runs only in the process that reads raw files (see [`super::raw`]), and nothing here writes.

use std::{
    cell::OnceCell,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use super::files::{At as _, FileError, Files, fill_at, open};
use crate::sqlite_state::set::{
    self, DatabaseHeader, FileIdentity, FileSet, JournalHeader, Unjudgeable, holds_pages,
    judge_format,
};

/// How much is read in one place of a file that does not begin like a database, bytes: the largest
/// page.
const STRETCH_BYTES: usize = 1 << 16;
/// In how many places behind its beginning such a file is read.
const STRETCHES: u64 = 4;
/// Where the b-tree header of the schema begins in the first page.
const SCHEMA_AT: u64 = 100;

/// Reads what the files are like as a set. `log_has_content` says whether a log may hold a newer
/// first page than the file.
///
/// # Errors
///
/// A file is there but cannot be read.
pub(super) fn inspect(
    files: &Files,
    database: Option<&File>,
    log_has_content: bool,
    mounts: &Mounts,
) -> Result<FileSet, FileError> {
    let mut set = FileSet {
        journal: journal_header(files)?,
        mounted_alone: mounts.has(&files.database),
        ..FileSet::default()
    };
    let Some(file) = database else {
        return Ok(set);
    };
    let meta = file.metadata().at("read", &files.database)?;
    set.file = Some(FileIdentity {
        device: meta.dev(),
        inode: meta.ino(),
        links: meta.nlink(),
        modified_ns: meta
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(meta.mtime_nsec()),
    });
    read_format(file, meta.len(), &mut set).at("read", &files.database)?;
    if set.header.is_some() && !log_has_content && set.journal.is_none() {
        set.has_schema = has_schema(file).at("read", &files.database)?;
    }
    if set.unjudgeable.is_none() && has_lock_directory(&files.database) {
        set.unjudgeable = Some(Unjudgeable::LockDirectory);
    }
    Ok(set)
}

/// The header, or what the file is instead of a database.
fn read_format(file: &File, bytes: u64, set: &mut FileSet) -> io::Result<()> {
    let mut first = [0; set::DATABASE_HEADER_BYTES];
    let read = fill_at(file, &mut first, 0)?;
    if let Some(header) = first[..read].first_chunk() {
        set.header = DatabaseHeader::parse(header);
    }
    if set.header.is_some() {
        set.unjudgeable = judge_format(&first[..read], &[]);
        return Ok(());
    }
    if read == 0 {
        return Ok(());
    }
    let mut begin = vec![0; STRETCH_BYTES];
    let read = fill_at(file, &mut begin, 0)?;
    begin.truncate(read);
    let stretch = STRETCH_BYTES as u64;
    let last = bytes.saturating_sub(1) / stretch;
    let mut samples = Vec::new();
    for number in 1..=last.min(STRETCHES) {
        let mut sample = vec![0; STRETCH_BYTES];
        let read = fill_at(
            file,
            &mut sample,
            last * number / last.min(STRETCHES) * stretch,
        )?;
        sample.truncate(read);
        samples.push(sample);
    }
    // The end of a file may be a page too short to tell anything.
    samples.retain(|sample| sample.len() >= 4096);
    set.begins_with_zeros = begin[..begin.len().min(set::DATABASE_HEADER_BYTES)]
        .iter()
        .all(|&byte| byte == 0);
    set.unjudgeable = if is_appended_to(file, bytes)? {
        Some(Unjudgeable::Appended)
    } else {
        judge_format(&begin, &samples)
    };
    if set.unjudgeable.is_none() {
        samples.push(begin);
        set.other_pages_hold = Some(holds_pages(&samples));
    }
    Ok(())
}

/// Whether a database lies behind the content of another file.
fn is_appended_to(file: &File, bytes: u64) -> io::Result<bool> {
    let mut tail = [0; set::APPENDED_TAIL_BYTES];
    let Some(at) = bytes.checked_sub(tail.len() as u64) else {
        return Ok(false);
    };
    let read = fill_at(file, &mut tail, at)?;
    Ok(read == tail.len() && set::is_appended(&tail, bytes))
}

/// Whether the schema's root page holds anything; none when it is not a page of a table.
fn has_schema(file: &File) -> io::Result<Option<bool>> {
    let mut header = [0; 8];
    let read = fill_at(file, &mut header, SCHEMA_AT)?;
    Ok((read == header.len())
        .then_some(header)
        .and_then(|header| set::schema_holds(&header)))
}

pub(super) fn journal_header(files: &Files) -> Result<Option<JournalHeader>, FileError> {
    let Some(file) = open(&files.journal)? else {
        return Ok(None);
    };
    let mut bytes = [0; set::JOURNAL_HEADER_BYTES];
    let read = fill_at(&file, &mut bytes, 0).at("read", &files.journal)?;
    let header = (read == bytes.len())
        .then(|| JournalHeader::parse(&bytes))
        .flatten();
    let Some(mut header) = header else {
        return Ok(None);
    };
    let super_journal = super_journal(&file).at("read", &files.journal)?;
    header.is_void = super_journal.is_some_and(|path| !path.exists());
    Ok(Some(header))
}

/// The super-journal that a journal names at its end.
fn super_journal(file: &File) -> io::Result<Option<PathBuf>> {
    let length = file.metadata()?.len();
    let mut tail = [0; set::SUPER_JOURNAL_TAIL_BYTES];
    let tail_bytes = tail.len() as u64;
    let Some(at) = length.checked_sub(tail_bytes) else {
        return Ok(None);
    };
    if fill_at(file, &mut tail, at)? < tail.len() {
        return Ok(None);
    }
    let Some(name_bytes) = set::super_journal_name_bytes(&tail) else {
        return Ok(None);
    };
    let Some(at) = at.checked_sub(u64::from(name_bytes)) else {
        return Ok(None);
    };
    let mut name = vec![0; name_bytes as usize];
    file.read_exact_at(&mut name, at)?;
    Ok(Some(PathBuf::from(OsStr::from_bytes(&name))))
}

/// Whether a lock is held on the database as SQLite's `unix-dotfile` does it.
fn has_lock_directory(database: &Path) -> bool {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    fs::symlink_metadata(name).is_ok_and(|meta| meta.is_dir())
}

/// What is mounted where, read when it is first asked. Where `/proc` does not say, nothing is.
#[derive(Debug, Default)]
pub(super) struct Mounts(OnceCell<Vec<u8>>);

impl Mounts {
    /// Whether something is mounted on this very file.
    fn has(&self, database: &Path) -> bool {
        let mounts = self
            .0
            .get_or_init(|| fs::read("/proc/self/mountinfo").unwrap_or_default());
        is_mount_point(mounts, database)
    }
}

/// Whether `/proc/self/mountinfo` names this path as a mount point: the fifth field, with blanks and
/// the like as three octal digits.
fn is_mount_point(mounts: &[u8], path: &Path) -> bool {
    let escaped: Vec<u8> = path
        .as_os_str()
        .as_bytes()
        .iter()
        .flat_map(|&byte| match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
            _ => vec![byte],
        })
        .collect();
    mounts
        .split(|&byte| byte == b'\n')
        .any(|line| line.split(|&byte| byte == b' ').nth(4) == Some(escaped.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_compared_as_the_kernel_writes_them() {
        let mounts = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw
41 22 8:1 /srv/app\\040data/x.db /data/my\\040app.db rw,relatime - ext4 /dev/sda1 rw
";
        assert!(is_mount_point(mounts, Path::new("/data/my app.db")));
        assert!(is_mount_point(mounts, Path::new("/")));
        assert!(!is_mount_point(mounts, Path::new("/srv/app data/x.db")));
        assert!(!is_mount_point(mounts, Path::new("/data")));
    }
}
