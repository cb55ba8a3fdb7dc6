//! What the pages that a write-ahead log holds contain, so that it can be proven afterwards that
//! they came into the database.
//!
//! Runs only in the helper process (see [`super::raw`]), and nothing here writes. A page's content
//! is the one in its last committed frame, or in the database file when it has none: what SQLite
//! would read. Memory is bounded: of a log with more pages than are kept, a part is taken, drawn by
//! a hash of the page's number, and which part is told.

use std::{collections::BTreeMap, fs::File, io, os::unix::fs::FileExt as _, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    files::{self, At as _, FileError, Files},
    wal,
};

/// Pages that are kept at most: 1 GiB of pages of 4 KiB.
const MOST_PAGES: usize = 1 << 18;

/// The contents of pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The last committed frame that was looked at.
    pub frames: u64,
    /// One page in so many is among them; 1 for all.
    pub one_in: u32,
    /// Each page with a digest of its content.
    pub pages: Vec<(u32, Digest)>,
}

/// The first half of a BLAKE3 digest.
pub type Digest = (u64, u64);

/// The committed pages of the log; none when there is none. The frames must have been verified.
///
/// # Errors
///
/// A file is there but cannot be read.
pub(super) fn of_log(path: &Path) -> Result<Contents, FileError> {
    let files = Files::of(path);
    let mut one_in = 1;
    let Some(log) = files::open(&files.wal)? else {
        return Ok(Contents {
            one_in,
            ..Contents::default()
        });
    };
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    let log = Log::read(&files, &log)?;
    log.each_committed(|frame, page| {
        if is_drawn(page, one_in) {
            last.insert(page, frame);
        }
        while last.len() > MOST_PAGES {
            one_in *= 2;
            last.retain(|page, _| is_drawn(*page, one_in));
        }
    })
    .at("read", &files.wal)?;
    let pages = last
        .into_iter()
        // Pages that were cut off by a later transaction are in no database.
        .filter(|(page, _)| *page <= log.database_pages)
        .map(|(page, frame)| Ok((page, log.digest(frame)?)));
    Ok(Contents {
        frames: log.committed,
        one_in,
        pages: pages.collect::<io::Result<_>>().at("read", &files.wal)?,
    })
}

/// The contents of these pages as they are now; a page that is not there is left out.
///
/// # Errors
///
/// A file is there but cannot be read.
pub(super) fn of_pages(path: &Path, wanted: &[u32]) -> Result<Contents, FileError> {
    let files = Files::of(path);
    let mut in_log: BTreeMap<u32, Option<u64>> = wanted.iter().map(|page| (*page, None)).collect();
    let wal = files::open(&files.wal)?;
    let log = wal.as_ref().map(|log| Log::read(&files, log)).transpose()?;
    if let Some(log) = &log {
        log.each_committed(|frame, page| {
            if let Some(known) = in_log.get_mut(&page) {
                *known = Some(frame);
            }
        })
        .at("read", &files.wal)?;
    }
    let mut contents = Contents {
        frames: log.as_ref().map_or(0, |log| log.committed),
        one_in: 1,
        pages: Vec::with_capacity(wanted.len()),
    };
    let Some(database) = files::open(&files.database)? else {
        return Ok(contents);
    };
    let mut size = [0; 2];
    database
        .read_exact_at(&mut size, 16)
        .at("read", &files.database)?;
    let page_bytes = match u16::from_be_bytes(size) {
        // The one size that two bytes cannot hold.
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    for (page, frame) in in_log {
        let digest = match (frame, &log) {
            (Some(frame), Some(log)) => log.digest(frame),
            _ => digest_at(
                &database,
                u64::from(page.saturating_sub(1)) * page_bytes,
                page_bytes,
            ),
        };
        match digest {
            Ok(digest) => contents.pages.push((page, digest)),
            // Cut off meanwhile.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error).at("read", &files.database),
        }
    }
    Ok(contents)
}

/// Whether a page is among one in so many (a power of two).
fn is_drawn(page: u32, one_in: u32) -> bool {
    // Knuth's multiplicative hash: neighbours are not drawn together.
    (page.wrapping_mul(2_654_435_761) >> 8).is_multiple_of(one_in)
}

/// A log, as far as it is committed.
struct Log<'f> {
    file: &'f File,
    page_bytes: u32,
    committed: u64,
    /// Pages of the database after the last transaction.
    database_pages: u32,
}

impl<'f> Log<'f> {
    fn read(files: &Files, file: &'f File) -> Result<Self, FileError> {
        let shm = files::open(&files.shm)?;
        let index = files::read_index(shm.as_ref()).at("read", &files.shm)?;
        let state = wal::read_header(&mut &*file).at("read", &files.wal)?;
        // An index that speaks of another generation says nothing of this one.
        let limit = index
            .filter(|index| index.salts == state.salts)
            .map(|index| u64::from(index.max_frame));
        let mut log = Self {
            file,
            page_bytes: state.page_bytes,
            committed: 0,
            database_pages: 0,
        };
        if !state.header_valid {
            return Ok(log);
        }
        let in_file =
            state.bytes.saturating_sub(wal::HEADER_BYTES) / wal::frame_bytes(log.page_bytes);
        let most = limit.unwrap_or(in_file).min(in_file);
        for frame in 1..=most {
            let Some((_, commit)) = log.frame(frame, state.salts).at("read", &files.wal)? else {
                break;
            };
            if commit > 0 {
                log.committed = frame;
                log.database_pages = commit;
            }
        }
        Ok(log)
    }

    /// A frame's page, and the size of the database when it ends a transaction; none when it is of
    /// another generation.
    fn frame(&self, number: u64, salts: (u32, u32)) -> io::Result<Option<(u32, u32)>> {
        let mut bytes = [0; 16];
        self.file
            .read_exact_at(&mut bytes, wal::frame_offset(self.page_bytes, number))?;
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Ok(((word(8), word(12)) == salts).then(|| (word(0), word(4))))
    }

    fn each_committed(&self, mut visit: impl FnMut(u64, u32)) -> io::Result<()> {
        for frame in 1..=self.committed {
            let mut bytes = [0; 4];
            self.file
                .read_exact_at(&mut bytes, wal::frame_offset(self.page_bytes, frame))?;
            visit(frame, u32::from_be_bytes(bytes));
        }
        Ok(())
    }

    fn digest(&self, frame: u64) -> io::Result<Digest> {
        let at = wal::frame_offset(self.page_bytes, frame) + wal::FRAME_HEADER_BYTES;
        digest_at(self.file, at, u64::from(self.page_bytes))
    }
}

fn digest_at(file: &File, at: u64, bytes: u64) -> io::Result<Digest> {
    let mut page = vec![0; usize::try_from(bytes).unwrap_or(0)];
    file.read_exact_at(&mut page, at)?;
    let digest = blake3::hash(&page);
    let half = |from: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&digest.as_bytes()[from..from + 8]);
        u64::from_be_bytes(half)
    };
    Ok((half(0), half(8)))
}
