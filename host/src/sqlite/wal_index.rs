//! Reads the header of the wal-index (`-shm`). Pure over bytes.
//!
//! Format: <https://sqlite.org/walformat.html#the_wal_index_header>. Everything is in the machine's
//! own byte order, except the salts, which are copied from the log as they stand there.

use super::wal::checksum;
use crate::sqlite_state::WalIndexState;

/// How much of the file [`parse`] looks at, bytes: two copies of the header, then the checkpoint
/// information.
pub const PREFIX_BYTES: usize = 136;

const COPY_BYTES: usize = 48;

/// What the index says; none when it is too short, not initialised, or torn: a writer changes the
/// first copy after the second, so unequal copies mean that one is at it. Read it again then.
pub fn parse(bytes: &[u8]) -> Option<WalIndexState> {
    let bytes: &[u8; PREFIX_BYTES] = bytes.first_chunk()?;
    let (first, rest) = bytes.split_at(COPY_BYTES);
    let initialised = first[12] != 0;
    let sum = checksum((0, 0), &first[..40], cfg!(target_endian = "big"));
    if !initialised || first != &rest[..COPY_BYTES] || sum != (native(bytes, 40), native(bytes, 44))
    {
        return None;
    }
    Some(WalIndexState {
        change_counter: native(bytes, 8),
        max_frame: native(bytes, 16),
        database_bytes: u64::from(native(bytes, 20)) * page_bytes(bytes),
        backfilled: native(bytes, 96),
        salts: (
            u32::from_be(native(bytes, 32)),
            u32::from_be(native(bytes, 36)),
        ),
        read_marks: std::array::from_fn(|mark| native(bytes, 100 + 4 * mark)),
    })
}

/// The page size (`szPage`), bytes: 1 stands for 65,536.
fn page_bytes(bytes: &[u8; PREFIX_BYTES]) -> u64 {
    match u16::from_ne_bytes([bytes[14], bytes[15]]) {
        1 => 1 << 16,
        size => size.into(),
    }
}

fn native(bytes: &[u8; PREFIX_BYTES], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
