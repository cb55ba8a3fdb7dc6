//! The files of a decision log: how they are called, found and opened.
//!
//! ```text
//! decisions-000041.jsonl.gz   closed and compressed
//! decisions-000042.jsonl      the one that grows
//! kept.jsonl.gz               what stayed of the files that made way
//! head.json                   how far the log is synced
//! ```

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::line::LONGEST_LINE;
use crate::own_dir;
use crate::regular_file;

pub(super) const KEPT: &str = "kept.jsonl.gz";
pub(super) const HEAD: &str = "head.json";
/// The most that is read of it, bytes.
const HEAD_BYTES: u64 = 64 << 10;
const PREFIX: &str = "decisions-";

/// One numbered file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogFile {
    pub(super) number: u64,
    pub(super) compressed: bool,
    pub(super) path: PathBuf,
}

impl LogFile {
    pub(super) fn plain(dir: &Path, number: u64) -> Self {
        Self {
            number,
            compressed: false,
            path: dir.join(format!("{PREFIX}{number:06}.jsonl")),
        }
    }

    pub(super) fn gzip(dir: &Path, number: u64) -> Self {
        Self {
            number,
            compressed: true,
            path: dir.join(format!("{PREFIX}{number:06}.jsonl.gz")),
        }
    }

    fn read(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_prefix(PREFIX)?;
        let (digits, compressed) = match name.strip_suffix(".jsonl.gz") {
            Some(digits) => (digits, true),
            None => (name.strip_suffix(".jsonl")?, false),
        };
        let number = digits.parse().ok()?;
        Some(Self {
            number,
            compressed,
            path,
        })
    }
}

/// The numbered files of a directory, in order. Where one is there in both forms, the compressed one
/// is whole: it got its name only then.
pub(super) fn list(dir: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        files.extend(LogFile::read(entry?.path()));
    }
    files.sort_by_key(|file| (file.number, !file.compressed));
    files.dedup_by_key(|file| file.number);
    Ok(files)
}

/// A file's text, unpacked where its name says that it is packed.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    open_counted(path, &Arc::default())
}

/// The same; `taken` grows by the bytes that are taken from the disk.
pub(super) fn open_counted(
    path: &Path,
    taken: &Arc<AtomicU64>,
) -> io::Result<Box<dyn BufRead + Send>> {
    let file = Counted {
        file: regular_file::open(path)?,
        taken: Arc::clone(taken),
    };
    let file = BufReader::with_capacity(1 << 18, file);
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if packed {
        Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

/// Whether an error says that what stands in a packed file is not what was packed.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Whole lines, one at a time.
pub(super) struct Lines<R> {
    input: R,
    text: Vec<u8>,
    ended_whole: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            text: Vec::new(),
            ended_whole: true,
        }
    }

    /// The next whole line without its line feed; none at the end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.text.clear();
        let input = self.input.by_ref();
        input.take(LONGEST_LINE).read_until(b'\n', &mut self.text)?;
        let line = self.text.strip_suffix(b"\n");
        self.ended_whole = line.is_some() || self.text.is_empty();
        Ok(line)
    }

    /// Whether nothing half written came after the last whole line.
    pub(super) fn ended_whole(&self) -> bool {
        self.ended_whole
    }
}

struct Counted {
    file: File,
    taken: Arc<AtomicU64>,
}

impl io::Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(into)?;
        self.taken.fetch_add(bytes as u64, Relaxed);
        Ok(bytes)
    }
}

/// A file's size; 0 where there is none.
pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// A new file for its owner alone; what stood there of an earlier attempt is gone.
pub(super) fn create(path: &Path) -> io::Result<File> {
    own_dir::create(path)
}

/// Where a file is made before it gets its name.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// How far a log is on disk for certain: whoever cuts off its end is found out by this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SyncedTo {
    pub(super) v: u32,
    /// The last line's number.
    pub(super) n: u64,
    /// Its SHA-256, hex.
    pub(super) sum: String,
}

impl SyncedTo {
    /// None where there is none, or nothing that can be read.
    pub(super) fn load(dir: &Path) -> Option<Self> {
        let mut text = Vec::new();
        let file = regular_file::open(&dir.join(HEAD)).ok()?;
        file.take(HEAD_BYTES).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Whole or not at all. Not synced: an older one is true as well.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(HEAD);
        let new = unfinished(&path);
        let mut file = create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&new, &path)
    }
}
