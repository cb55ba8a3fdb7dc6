//! Reads a write-ahead log frame by frame and tells damage from an ordinary end.
//!
//! Pure over a seekable reader, in memory bounded by one page. It never judges what damage means,
//! and never writes. Format: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::io::{self, Read, Seek, SeekFrom};

use crate::sqlite_state::WalState;

/// Length of the log's own header, bytes.
pub const HEADER_BYTES: u64 = 32;
/// Length of the header before each page, bytes.
pub const FRAME_HEADER_BYTES: u64 = 24;

/// The magic number, its lowest bit cleared: set, the checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
/// Where the change counter stands in the database's first page.
const CHANGE_COUNTER_AT: usize = 24;
/// Generations told apart in a log whose header is damaged; more than that is noise.
const MAX_GENERATIONS: usize = 64;

/// Where a frame begins in the file, bytes. Frames count from 1.
pub fn frame_offset(page_bytes: u32, frame: u64) -> u64 {
    HEADER_BYTES + frame.saturating_sub(1) * frame_bytes(page_bytes)
}

/// Length of one frame, its header included, bytes.
pub fn frame_bytes(page_bytes: u32) -> u64 {
    FRAME_HEADER_BYTES + u64::from(page_bytes)
}

/// Reads the header only: [`WalState::scanned`] stays false.
///
/// # Errors
///
/// The reader's own.
pub fn read_header(log: &mut (impl Read + Seek)) -> io::Result<WalState> {
    let (state, _) = begin(log)?;
    Ok(state)
}

/// Verifies the frames.
///
/// While a process has the database open, `limit_frames` is its `mxFrame`: frames behind it may be
/// in the middle of being written and are not judged, and the frame that it names is known to end
/// a transaction. With nobody there, every frame is judged.
///
/// # Errors
///
/// The reader's own.
pub fn scan(log: &mut (impl Read + Seek), limit_frames: Option<u64>) -> io::Result<WalState> {
    let (mut state, header) = begin(log)?;
    state.scanned = true;
    match header {
        Some(header) if state.header_valid => {
            scan_frames(log, &header, limit_frames, &mut state)?;
        }
        Some(header) => count_orphans(log, &header, limit_frames, &mut state)?,
        None => {}
    }
    Ok(state)
}

/// The log's header as it stands in the file, sound or not.
struct Header {
    big_endian: bool,
    page_bytes: u32,
    salts: (u32, u32),
    checksum: (u32, u32),
}

/// One frame's header.
struct FrameHeader {
    page: u32,
    commit: u32,
    salts: (u32, u32),
    checksum: (u32, u32),
}

impl FrameHeader {
    fn parse(bytes: &[u8; 24]) -> Self {
        Self {
            page: word(bytes, 0),
            commit: word(bytes, 4),
            salts: (word(bytes, 8), word(bytes, 12)),
            checksum: (word(bytes, 16), word(bytes, 20)),
        }
    }
}

fn begin(log: &mut (impl Read + Seek)) -> io::Result<(WalState, Option<Header>)> {
    let mut state = WalState {
        bytes: log.seek(SeekFrom::End(0))?,
        ..WalState::default()
    };
    if state.bytes < HEADER_BYTES {
        return Ok((state, None));
    }
    log.seek(SeekFrom::Start(0))?;
    let mut bytes = [0; 32];
    log.read_exact(&mut bytes)?;
    let magic = word(&bytes, 0);
    let header = Header {
        big_endian: magic & 1 == 1,
        page_bytes: word(&bytes, 8),
        salts: (word(&bytes, 16), word(&bytes, 20)),
        checksum: (word(&bytes, 24), word(&bytes, 28)),
    };
    state.header_valid = magic & !1 == MAGIC
        && word(&bytes, 4) == VERSION
        && plausible_page(header.page_bytes)
        && checksum((0, 0), &bytes[..24], header.big_endian) == header.checksum;
    state.salts = header.salts;
    if state.header_valid {
        state.page_bytes = header.page_bytes;
    }
    Ok((state, Some(header)))
}

/// Walks the whole log once. A frame is valid when its salts are the header's, its page number is
/// not 0 and the checksum over everything before it holds; SQLite stops at the first that is not.
///
/// Behind that frame the chain still tells whose a frame is: one that carries the salts, or whose
/// checksum follows from the one stored in a frame of this generation just before it (the salts
/// themselves are not under the checksum, so damage to them leaves it whole).
fn scan_frames(
    log: &mut (impl Read + Seek),
    header: &Header,
    limit: Option<u64>,
    state: &mut WalState,
) -> io::Result<()> {
    let in_file = (state.bytes - HEADER_BYTES) / frame_bytes(header.page_bytes);
    let mut page = vec![0; header.page_bytes as usize];
    let mut chain = header.checksum;
    let mut before_is_ours = true;
    let mut first_failure = None;

    for number in 1..=limit.map_or(in_file, |limit| limit.min(in_file)) {
        let mut bytes = [0; 24];
        log.read_exact(&mut bytes)?;
        log.read_exact(&mut page)?;
        let frame = FrameHeader::parse(&bytes);
        let sum = checksum(chain, &bytes[..8], header.big_endian);
        let follows = checksum(sum, &page, header.big_endian) == frame.checksum;
        let salted = frame.salts == header.salts;
        let ours = salted || (before_is_ours && follows);

        if first_failure.is_none() && salted && follows && frame.page != 0 {
            state.frames += 1;
            state.valid_frames = number;
            if frame.page == 1 {
                let counter = word(&page, CHANGE_COUNTER_AT);
                let first = state.change_counters.map_or(counter, |(first, _)| first);
                state.change_counters = Some((first, counter));
            }
            if frame.commit != 0 {
                state.commits += 1;
                state.last_commit_frame = number;
            }
        } else {
            first_failure.get_or_insert(number);
            let known_end = limit == Some(number);
            if ours || known_end {
                state.frames += 1;
                state.lost_commits += u64::from(frame.commit != 0 || known_end);
            }
        }
        chain = frame.checksum;
        before_is_ours = ours;
    }
    if limit.is_some_and(|limit| limit > in_file) {
        // The index counts a committed frame that the file no longer holds.
        first_failure.get_or_insert(in_file + 1);
        state.lost_commits += 1;
    }
    if state.lost_commits > 0 {
        state.first_bad_frame = first_failure;
    }
    Ok(())
}

/// Counts what a damaged header makes unreadable: SQLite takes such a log for empty.
///
/// The current generation is the one with the header's salts if any frame carries them, otherwise
/// the one that most frames carry. The page size is the header's if it explains most of the file.
fn count_orphans(
    log: &mut (impl Read + Seek),
    header: &Header,
    limit: Option<u64>,
    state: &mut WalState,
) -> io::Result<()> {
    let mut best: Option<(u64, Generation)> = None;
    let others = (9..=16).map(|bits| 1 << bits);
    for page_bytes in std::iter::once(header.page_bytes)
        .chain(others.filter(|&bytes| bytes != header.page_bytes))
        .filter(|&bytes| plausible_page(bytes))
    {
        if let Some(found) = survey(log, state.bytes, page_bytes, header.salts, limit)? {
            let explained = found.frames * frame_bytes(page_bytes);
            if best.as_ref().is_none_or(|(most, _)| explained > *most) {
                best = Some((explained, found));
            }
            // No other size explains more. A log may be large, and each size is a walk through it.
            if explained > state.bytes / 2 {
                break;
            }
        }
    }
    if let Some((_, found)) = best {
        state.salts = found.salts;
        state.frames = found.frames;
        state.lost_commits = found.commits;
        state.first_bad_frame = (found.commits > 0).then_some(1);
    }
    Ok(())
}

/// The frames that carry one pair of salts.
struct Generation {
    salts: (u32, u32),
    frames: u64,
    commits: u64,
}

/// Reads the frame headers that a page size would put in the file.
fn survey(
    log: &mut (impl Read + Seek),
    bytes: u64,
    page_bytes: u32,
    wanted: (u32, u32),
    limit: Option<u64>,
) -> io::Result<Option<Generation>> {
    let in_file = (bytes - HEADER_BYTES) / frame_bytes(page_bytes);
    let mut generations: Vec<Generation> = Vec::new();
    log.seek(SeekFrom::Start(HEADER_BYTES))?;
    for _ in 1..=limit.map_or(in_file, |limit| limit.min(in_file)) {
        let mut bytes = [0; 24];
        log.read_exact(&mut bytes)?;
        // Relative: a buffer of the reader stays filled.
        log.seek_relative(i64::from(page_bytes))?;
        let frame = FrameHeader::parse(&bytes);
        if frame.page == 0 {
            continue;
        }
        let commits = u64::from(frame.commit != 0);
        if let Some(known) = generations.iter_mut().find(|g| g.salts == frame.salts) {
            known.frames += 1;
            known.commits += commits;
        } else if generations.len() < MAX_GENERATIONS {
            generations.push(Generation {
                salts: frame.salts,
                frames: 1,
                commits,
            });
        }
    }
    Ok(generations
        .into_iter()
        .max_by_key(|g| (g.salts == wanted, g.frames)))
}

fn plausible_page(bytes: u32) -> bool {
    bytes.is_power_of_two() && (512..=65536).contains(&bytes)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's cumulative checksum over a multiple of eight bytes.
pub(super) fn checksum(seed: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let read = if big_endian {
        u32::from_be_bytes
    } else {
        u32::from_le_bytes
    };
    let (words, _) = bytes.as_chunks::<4>();
    let (pairs, _) = words.as_chunks::<2>();
    pairs.iter().fold(seed, |(s0, s1), &[x, y]| {
        let s0 = s0.wrapping_add(read(x)).wrapping_add(s1);
        (s0, s1.wrapping_add(read(y)).wrapping_add(s0))
    })
}

#[cfg(test)]
mod tests;
