//! Which pages were written since an earlier moment, read off the write-ahead log's frames.
//!
//! Runs only in the helper process (see [`super::raw`]), and nothing here writes. It says "not
//! known" whenever a page may have been written without a trace that is still there: then only a
//! check of everything helps.
//!
//! A log that is begun anew is overwritten from its beginning, so what the old generation wrote
//! after the earlier moment lies there still, behind the frames of the new one, until that has
//! grown as long. One thing escapes: a connection that cuts the log (`journal_size_limit`) may cut
//! such frames off.

use std::{
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use serde::{Deserialize, Serialize};

use super::{
    files::{self, At as _, FileError, Files, Opened},
    locks::{self, LockFile},
    wal,
};

/// Frames that are read at most in one go; more than that is "not known".
const MOST_FRAMES: u64 = 1 << 20;

/// A moment in the life of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The log's generation and its last committed frame; none when nobody has a log open.
    log: Option<LogMark>,
    /// The file change counter, which a writer without a log moves.
    change_counter: u32,
    /// The length of the database file, bytes.
    database_bytes: u64,
    /// The file itself and when it was written to last, seconds and nanoseconds: a writer with a
    /// log that came and went moves nothing else.
    database_file: (u64, i64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct LogMark {
    salts: (u32, u32),
    frames: u64,
}

/// What happened since a mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// The moment up to which is told.
    pub mark: Mark,
    /// The pages written since, in no order; none when that is not known.
    pub touched: Option<Vec<u32>>,
}

/// The pages written since `since`, and a mark for the next time.
///
/// # Errors
///
/// A file is there but cannot be read.
pub(super) fn trail(opened: &Opened, since: Option<&Mark>) -> Result<Trail, FileError> {
    let Opened {
        files,
        database,
        shm,
    } = opened;
    let mut carriers = Vec::new();
    carriers.extend(database.as_ref().map(|file| (LockFile::Database, file)));
    carriers.extend(shm.as_ref().map(|file| (LockFile::WalIndex, file)));
    let mut in_use = false;
    for (kind, file) in carriers {
        let locked = locks::is_locked(kind, file);
        in_use |= locked.at("ask for the locks of", &files.database)?;
    }
    let index = files::read_index(shm.as_ref()).at("read", &files.shm)?;
    let mut mark = Mark {
        log: index.filter(|_| in_use).map(|index| LogMark {
            salts: index.salts,
            frames: u64::from(index.max_frame),
        }),
        change_counter: 0,
        database_bytes: 0,
        database_file: (0, 0, 0),
    };
    if let Some(file) = database {
        let mut counter = [0; 4];
        match file.read_exact_at(&mut counter, 24) {
            Ok(()) => mark.change_counter = u32::from_be_bytes(counter),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error).at("read", &files.database),
        }
        let meta = file.metadata().at("read", &files.database)?;
        mark.database_bytes = meta.len();
        mark.database_file = (meta.ino(), meta.mtime(), meta.mtime_nsec());
    }
    let touched = match since.map(|since| (since, since.log, mark.log)) {
        Some((_, Some(then), Some(now))) => match read_frames(files, then, now) {
            Ok(touched) => touched,
            // Truncated while being read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error).at("read", &files.wal),
        },
        Some((since, None, None)) => {
            let resting = files::length(&files.wal)?.is_none();
            (resting && *since == mark).then(Vec::new)
        }
        Some(_) | None => None,
    };
    Ok(Trail { mark, touched })
}

/// The pages of the frames from one moment to another; none when some may be lost.
fn read_frames(files: &Files, then: LogMark, now: LogMark) -> io::Result<Option<Vec<u32>>> {
    if then == now {
        return Ok(Some(Vec::new()));
    }
    let Some(log) = files::open(&files.wal).map_err(|error| error.source)? else {
        return Ok(None);
    };
    let header = wal::read_header(&mut &log)?;
    if !header.header_valid {
        return Ok(None);
    }
    let page_bytes = header.page_bytes;
    // A frame's page and generation.
    let frame = |number: u64| {
        let mut bytes = [0; 16];
        log.read_exact_at(&mut bytes, wal::frame_offset(page_bytes, number))?;
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        io::Result::Ok((word(0), (word(8), word(12))))
    };
    let mut touched = Vec::new();
    // The frames of the present generation.
    let from = if then.salts == now.salts {
        then.frames
    } else {
        0
    };
    if now.frames < from || now.frames - from > MOST_FRAMES {
        return Ok(None);
    }
    for number in from + 1..=now.frames {
        let (page, salts) = frame(number)?;
        if salts != now.salts {
            return Ok(None);
        }
        touched.push(page);
    }
    if then.salts == now.salts {
        return Ok(Some(touched));
    }
    // Begun anew once, and not yet grown over what we saw last: the rest of the old generation is
    // still there.
    let once = now.salts.0 == then.salts.0.wrapping_add(1);
    if !once || then.frames == 0 || now.frames >= then.frames || frame(then.frames)?.1 != then.salts
    {
        return Ok(None);
    }
    let in_file = header.bytes.saturating_sub(wal::HEADER_BYTES) / wal::frame_bytes(page_bytes);
    for number in then.frames + 1..=in_file.min(then.frames + MOST_FRAMES) {
        let (page, salts) = frame(number)?;
        if salts != then.salts {
            break;
        }
        touched.push(page);
    }
    Ok(Some(touched))
}
