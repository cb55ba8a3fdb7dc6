//! The two blobs that the host keeps for a policy, its memory and its settings.
//!
//! In front of the postcard bytes stand a version and the policy's fingerprint, because after a
//! swap the bytes may be another policy's, and postcard would happily read them as something else.

use serde::{Serialize, de::DeserializeOwned};

/// What the contract allows for each blob, bytes.
pub(crate) const LIMIT_BYTES: usize = 16 * 1_024;

const HEADER_BYTES: usize = 9;

/// Why bytes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// There are none.
    Empty,
    /// Another policy, or another version of this one's layout, wrote them.
    Foreign,
    /// The header is right, the rest is not.
    Damaged,
}

impl Unreadable {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Empty => "they are empty",
            Self::Foreign => "another policy or another version wrote them",
            Self::Damaged => "they are damaged",
        }
    }
}

/// FNV-1a, 64 bits: the same for the same text everywhere and for ever. For keys in a policy's
/// memory that must stay small; not for anything that somebody might want to forge.
pub const fn fingerprint(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

fn header(owner: &str, version: u8) -> [u8; HEADER_BYTES] {
    let mut header = [version; HEADER_BYTES];
    header[1..].copy_from_slice(&fingerprint(owner).to_le_bytes());
    header
}

/// The bytes for `value`; none when it cannot be written or exceeds the contract's limit.
pub(crate) fn pack<T: Serialize>(owner: &str, version: u8, value: &T) -> Option<Vec<u8>> {
    let head = Vec::from(header(owner, version));
    postcard::to_extend(value, head)
        .ok()
        .filter(|bytes| bytes.len() <= LIMIT_BYTES)
}

/// The value that [`pack`] put into `bytes`.
pub(crate) fn unpack<T: DeserializeOwned>(
    owner: &str,
    version: u8,
    bytes: &[u8],
) -> Result<T, Unreadable> {
    if bytes.is_empty() {
        return Err(Unreadable::Empty);
    }
    let body = bytes
        .strip_prefix(&header(owner, version))
        .ok_or(Unreadable::Foreign)?;
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(Unreadable::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT_BYTES, Unreadable, fingerprint, pack, unpack};

    #[test]
    fn what_was_packed_is_unpacked() {
        let bytes = pack("p", 1, &(7_u64, true)).unwrap();
        assert_eq!(unpack("p", 1, &bytes), Ok((7_u64, true)));
    }

    #[test]
    fn bytes_of_others_and_damaged_bytes_are_told_apart() {
        let bytes = pack("p", 1, &(7_u64, true)).unwrap();
        let read = |owner, version, bytes: &[u8]| unpack::<(u64, bool)>(owner, version, bytes);
        assert_eq!(read("p", 1, &[]), Err(Unreadable::Empty));
        assert_eq!(read("q", 1, &bytes), Err(Unreadable::Foreign));
        assert_eq!(read("p", 2, &bytes), Err(Unreadable::Foreign));
        assert_eq!(
            read("p", 1, &bytes[..bytes.len() - 1]),
            Err(Unreadable::Damaged)
        );
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(read("p", 1, &longer), Err(Unreadable::Damaged));
        for end in 0..bytes.len() {
            assert!(read("p", 1, &bytes[..end]).is_err());
        }
    }

    #[test]
    fn more_than_the_contract_allows_is_not_packed() {
        assert_eq!(LIMIT_BYTES, 16_384);
        // The header of nine bytes, and the length in two.
        let most = vec![0_u8; LIMIT_BYTES - 11];
        assert_eq!(
            pack("p", 1, &most).map(|bytes| bytes.len()),
            Some(LIMIT_BYTES)
        );
        assert_eq!(pack("p", 1, &[&most[..], &[0]].concat()), None);
    }

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        assert_eq!(fingerprint(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint("foobar"), 0x8594_4171_f739_67e8);
    }
}
