//! Which SQLite the programs use that have a database open, as far as the files that they map tell.
//!
//! Nothing is executed: the library's file is read, and the version and source id that SQLite compiles
//! into itself are looked for. Runs only in the process that reads raw files (see [`super::raw`]).

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::files::open;
use crate::sqlite_state::{Library, Process, Version};

/// More of a file is not read, bytes: a library has a few megabytes, a browser's some hundred.
const MOST_BYTES: u64 = 64 << 20;
/// Processes that are looked at, at most.
const MOST_PROCESSES: usize = 64;

/// The libraries of these processes, each file once. What cannot be read is left out, as the
/// processes of other users.
pub(super) fn libraries(processes: &[Process]) -> Vec<Library> {
    let mut found: BTreeMap<(u64, PathBuf), Option<Library>> = BTreeMap::new();
    for process in processes.iter().filter(|p| p.pid > 0).take(MOST_PROCESSES) {
        let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap_or_default();
        for (inode, path) in mapped(&maps) {
            found.entry((inode, path.clone())).or_insert_with(|| {
                let inside = path.strip_prefix("/").unwrap_or(&path);
                let file = Path::new("/proc")
                    .join(process.pid.to_string())
                    .join("root")
                    .join(inside);
                let version = version_in(&read(&file)?)?;
                Some(Library {
                    path: path.clone(),
                    version,
                    process: process.clone(),
                })
            });
        }
    }
    found.into_values().flatten().collect()
}

/// Inode and path of each mapped file that is called like SQLite's library.
fn mapped(maps: &str) -> Vec<(u64, PathBuf)> {
    let mut files: Vec<(u64, PathBuf)> = maps
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let inode = fields.nth(4)?.parse().ok().filter(|&inode| inode > 0)?;
            let at = line.find('/')?;
            let path = Path::new(&line[at..]);
            let name = path.file_name()?.to_str()?;
            let is_sqlite = name.contains("sqlite3") && name.contains(".so");
            is_sqlite.then(|| (inode, path.to_owned()))
        })
        .collect();
    files.sort();
    files.dedup();
    files
}

fn read(path: &Path) -> Option<Vec<u8>> {
    // A link, a pipe or a device under this name is something else.
    let file = open(path).ok()??;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The version that SQLite compiled into a file: its own text (`sqlite3_version`), where the file also
/// holds a source id (`SQLITE_SOURCE_ID`), and no second version.
fn version_in(bytes: &[u8]) -> Option<Version> {
    let mut versions = Vec::new();
    let mut has_source_id = false;
    for text in bytes.split(|&byte| byte == 0) {
        has_source_id |= is_source_id(text);
        versions.extend(version(text));
    }
    versions.sort_unstable();
    versions.dedup();
    match versions[..] {
        [version] if has_source_id => Some(version),
        _ => None,
    }
}

/// A text that is a version of SQLite and nothing else.
fn version(text: &[u8]) -> Option<Version> {
    if text.len() > 8 || !text.starts_with(b"3.") {
        return None;
    }
    let mut parts = std::str::from_utf8(text).ok()?.split('.');
    let mut number = || {
        let part = parts.next()?;
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten()
    };
    let version = Version(number()?, number()?, number()?);
    parts.next().is_none().then_some(version)
}

/// A text such as `2022-12-28 14:03:47 df5c253c0b3d...`: date, time, and a hash of 40 or more digits.
fn is_source_id(text: &[u8]) -> bool {
    const PATTERN: &[u8] = b"0000-00-00 00:00:00 ";
    const LEAST_DIGITS: usize = 40;
    text.len() >= PATTERN.len() + LEAST_DIGITS
        && text.iter().zip(PATTERN).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => byte == wanted,
        })
        && text[PATTERN.len()..][..LEAST_DIGITS]
            .iter()
            .all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE_ID: &str =
        "2022-12-28 14:03:47 df5c253c0b3dd24916e4ec7cf77d3db5294cc9fd45ae7b9c5e82ad8197f38a24";

    #[test]
    fn the_releases_with_the_bug() {
        for (version, has) in [
            (Version(3, 6, 23), false),
            (Version(3, 7, 0), true),
            (Version(3, 40, 1), true),
            (Version(3, 44, 5), true),
            (Version(3, 44, 6), false),
            (Version(3, 45, 0), true),
            (Version(3, 50, 6), true),
            (Version(3, 50, 7), false),
            (Version(3, 51, 2), true),
            (Version(3, 51, 3), false),
            (Version(3, 54, 1), false),
        ] {
            assert_eq!(version.has_wal_reset_bug(), has, "{version}");
        }
    }

    #[test]
    fn a_version_counts_only_beside_a_source_id_and_alone() {
        let file = |parts: &[&str]| parts.join("\0").into_bytes();
        let found = |parts: &[&str]| version_in(&file(parts));
        assert_eq!(
            found(&["ELF", "3.40.1", "x", SOURCE_ID, "end"]),
            Some(Version(3, 40, 1))
        );
        assert_eq!(found(&["3.40.1", "x"]), None);
        assert_eq!(found(&["3.40.1", "3.9.0", SOURCE_ID]), None);
        assert_eq!(found(&["3.40", "3.40.1.2", "3.x.1", SOURCE_ID]), None);
    }

    #[test]
    fn mapped_libraries() {
        let maps = "\
7f1 r-xp 00000000 fe:00 4711    /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f2 rw-p 00000000 fe:00 4711    /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f3 rw-s 00000000 fe:00 99      /srv/my sqlite3 data/shop.db-shm
7f4 rw-p 00000000 00:00 0       [heap]
";
        let path = PathBuf::from("/usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6");
        assert_eq!(mapped(maps), [(4711, path)]);
    }
}
