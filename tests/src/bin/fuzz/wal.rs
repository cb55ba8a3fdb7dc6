//! A write-ahead log whose checksums hold again after a change.

/// The log's header, bytes.
const HEADER: usize = 32;
/// A frame's header, bytes.
const FRAME_HEADER: usize = 24;

/// Makes the checksums of the header and of every frame right.
pub(crate) fn seal(log: &mut [u8]) {
    if log.len() < HEADER {
        return;
    }
    let big_endian = log[3] & 1 == 1;
    let page = u32::from_be_bytes([log[8], log[9], log[10], log[11]]) as usize;
    let mut sums = add(big_endian, (0, 0), &log[..24]);
    put(&mut log[24..HEADER], sums);
    if !(512..=65536).contains(&page) {
        return;
    }
    let (head, frames) = log.split_at_mut(HEADER);
    for frame in frames.chunks_exact_mut(FRAME_HEADER + page) {
        frame[8..16].copy_from_slice(&head[16..24]);
        sums = add(big_endian, sums, &frame[..8]);
        sums = add(big_endian, sums, &frame[FRAME_HEADER..]);
        put(&mut frame[16..FRAME_HEADER], sums);
    }
}

fn put(into: &mut [u8], sums: (u32, u32)) {
    into[..4].copy_from_slice(&sums.0.to_be_bytes());
    into[4..].copy_from_slice(&sums.1.to_be_bytes());
}

fn add(big_endian: bool, mut sums: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian {
                u32::from_be_bytes(bytes)
            } else {
                u32::from_le_bytes(bytes)
            }
        };
        sums.0 = sums.0.wrapping_add(word(0)).wrapping_add(sums.1);
        sums.1 = sums.1.wrapping_add(word(4)).wrapping_add(sums.0);
    }
    sums
}
