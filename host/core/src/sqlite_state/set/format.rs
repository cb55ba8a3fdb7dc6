//! Files that are no plain SQLite databases, or that a plain writer would break. Pure over bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::header::{self, DatabaseHeader};

/// The highest format version that SQLite writes: 2, the write-ahead log.
const KNOWN_VERSION: u8 = 2;
/// The payload fractions at bytes 21 to 23 of every SQLite database, which ciphers that work page
/// by page leave readable, with the page size and the format versions before them.
const FRACTIONS: [u8; 3] = [64, 32, 32];
/// Bits a byte from which data of 1,024 bytes or more counts as random. Random data of 1,024 bytes
/// has 7.81 on average and 7.74 in one of a million draws; text and machine code have less than
/// 6.5, pages of a database rarely more than 7.
const RANDOM_BITS: f64 = 7.7;
/// What is needed to measure that, bytes.
const LEAST_SAMPLE_BYTES: usize = 1024;

/// How the formats that are compressed, and so look random as well, begin.
const COMPRESSED: [&[u8]; 9] = [
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"BZh",
    b"7z\xbc\xaf\x27\x1c",
    b"\x04\x22\x4d\x18",
    b"\x89PNG",
    b"\xff\xd8\xff",
];

/// Why a file cannot be judged by plain SQLite, or must not be written by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unjudgeable {
    /// Encrypted page by page; page size and format versions are readable, as `SQLite3` Multiple
    /// Ciphers, wxSQLite3 and SQLite's own encryption extension leave them.
    EncryptedPages,
    /// No readable header, and random from end to end: encrypted, as `SQLCipher` does it.
    Encrypted,
    /// A format version that SQLite does not know.
    FormatVersion {
        /// Byte 18 of the header.
        write: u8,
        /// Byte 19 of the header.
        read: u8,
    },
    /// Bytes of each page belong to an extension: a checksum, or what a cipher needs.
    ReservedBytes {
        /// How many of each page.
        bytes: u8,
    },
    /// A database behind the content of another file, a program for example (SQLite's `appendvfs`).
    Appended,
    /// A lock is held as a directory beside the database (SQLite's `unix-dotfile`), where nobody
    /// who uses the usual locks sees it.
    LockDirectory,
    /// A process writes a transaction and holds no lock (`nolock=1`, SQLite's `unix-none`).
    NoLocks {
        /// Its pid.
        pid: u32,
        /// When it started, clock ticks since boot.
        start_ticks: u64,
    },
    /// Somebody else than root and the owner of the file can change a symbolic link in its path.
    LinkOfAnother {
        /// Who; none where it is a group or everybody.
        user: Option<u32>,
    },
    /// Somebody else than root and the owner of the file can put another one in its place, and has not
    /// the right to read it.
    PlaceOfAnother {
        /// Who; none where it is a group, everybody or several users.
        user: Option<u32>,
    },
}

impl Unjudgeable {
    /// Its stable name, for a fact.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EncryptedPages | Self::Encrypted => "encrypted",
            Self::FormatVersion { .. } => "format-version",
            Self::ReservedBytes { .. } => "reserved-bytes",
            Self::Appended => "appended",
            Self::LockDirectory => "lock-directory",
            Self::NoLocks { .. } => "no-locks",
            Self::LinkOfAnother { .. } => "link-of-another",
            Self::PlaceOfAnother { .. } => "place-of-another",
        }
    }
}

impl fmt::Display for Unjudgeable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EncryptedPages => f.write_str(
                "encrypted: cannot be judged (only the page size is readable, as SQLite3 Multiple Ciphers leaves it)",
            ),
            Self::Encrypted => f.write_str(
                "encrypted: cannot be judged (no SQLite header, and the content is random throughout, as SQLCipher leaves it)",
            ),
            Self::FormatVersion { write, read } => {
                let version = write.max(read);
                write!(f, "format version {version}")?;
                if *version == 255 {
                    f.write_str(" (Turso's MVCC)")?;
                }
                write!(f, ": cannot be judged, SQLite knows versions up to {KNOWN_VERSION}")
            }
            Self::ReservedBytes { bytes } => write!(
                f,
                "{bytes} bytes of each page are reserved for an extension, for example a checksum or a cipher: what they hold cannot be judged, and a plain writer may break it"
            ),
            Self::Appended => f.write_str(
                "a database is appended to another file's content (appendvfs): cannot be judged, check it with the program that made it",
            ),
            Self::LockDirectory => f.write_str(
                "a lock is held as a directory beside the database (unix-dotfile): locks cannot be seen",
            ),
            Self::NoLocks { pid, .. } => write!(
                f,
                "process {pid} has a transaction open and holds no lock (nolock=1, unix-none): locks cannot be seen"
            ),
            Self::LinkOfAnother { user } => write!(
                f,
                "its path is a symbolic link that {} can change, and leads to a file of another user: name the file itself",
                who(*user)
            ),
            Self::PlaceOfAnother { user } => write!(
                f,
                "{} can put another file in its place: give the file and its directories to one user, and take the right to write to them from others",
                who(*user)
            ),
        }
    }
}

fn who(user: Option<u32>) -> String {
    user.map_or_else(|| "others".to_owned(), |user| format!("user {user}"))
}

/// Judges the beginning of a database file of at least one page, and samples from behind it.
/// `begin` is as much of the beginning as was read, `samples` are stretches of what follows.
pub fn judge_format(begin: &[u8], samples: &[Vec<u8>]) -> Option<Unjudgeable> {
    let bytes = begin.first_chunk::<{ header::DATABASE_HEADER_BYTES }>()?;
    if let Some(header) = DatabaseHeader::parse(bytes) {
        return if header.write_version.max(header.read_version) > KNOWN_VERSION {
            Some(Unjudgeable::FormatVersion {
                write: header.write_version,
                read: header.read_version,
            })
        } else if header.reserved_bytes > 0 {
            Some(Unjudgeable::ReservedBytes {
                bytes: header.reserved_bytes,
            })
        } else {
            None
        };
    }
    // With the rest of the header readable, its first bytes are damaged and nothing is encrypted.
    if rest_is_plain(bytes) {
        return None;
    }
    if header::page_bytes(bytes).is_some() && bytes[21..24] == FRACTIONS {
        return Some(Unjudgeable::EncryptedPages);
    }
    let random = !COMPRESSED.iter().any(|magic| begin.starts_with(magic))
        && is_random(begin)
        && samples.iter().all(|sample| is_random(sample));
    random.then_some(Unjudgeable::Encrypted)
}

/// How many bytes stand at the end of a file that a database was appended to: a mark, and where it begins,
/// <https://sqlite.org/src/file/ext/misc/appendvfs.c>.
pub const APPENDED_TAIL_BYTES: usize = APPENDED_MARK.len() + 8;
const APPENDED_MARK: &[u8; 17] = b"Start-Of-SQLite3-";

/// Whether a file of this length, which does not begin like a database, ends as one that a database was
/// appended to.
pub fn is_appended(tail: &[u8; APPENDED_TAIL_BYTES], file_bytes: u64) -> bool {
    let Some((mark, begins)) = tail.split_first_chunk::<17>() else {
        return false;
    };
    let begins = begins.try_into().map_or(u64::MAX, u64::from_be_bytes);
    mark == APPENDED_MARK && begins < file_bytes
}

/// Whether the header from byte 44 on is one of a plain database: a schema format and a text
/// encoding that exist, and the bytes that are reserved for later are 0.
fn rest_is_plain(header: &[u8; header::DATABASE_HEADER_BYTES]) -> bool {
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    (1..=4).contains(&word(44))
        && (1..=3).contains(&word(56))
        && header[72..92].iter().all(|&byte| byte == 0)
}

/// Whether bytes look random: every value about as often as any other.
fn is_random(bytes: &[u8]) -> bool {
    if bytes.len() < LEAST_SAMPLE_BYTES {
        return false;
    }
    let mut counts = [0_u32; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "samples are far shorter than 2^52 bytes"
    )]
    let all = bytes.len() as f64;
    let bits: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / all;
            -share * share.log2()
        })
        .sum();
    bits >= RANDOM_BITS
}

/// Whether stretches of a file, each read from a multiple of 65,536 bytes on, hold pages of a SQLite
/// database in most places: the header of a b-tree page whose cells lie within it.
pub fn holds_pages(samples: &[Vec<u8>]) -> bool {
    (9..=16).any(|bits| {
        let page_bytes = 1_usize << bits;
        let pages = || {
            samples
                .iter()
                .flat_map(|sample| sample.chunks_exact(page_bytes))
        };
        let all = pages().count();
        let trees = pages().filter(|page| is_tree_page(page)).count();
        all > 0 && trees * 2 > all
    })
}

/// Whether a page begins with the header of a b-tree page that makes sense.
fn is_tree_page(page: &[u8]) -> bool {
    let two = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let header_bytes = match page[0] {
        0x02 | 0x05 => 12,
        0x0a | 0x0d => 8,
        _ => return false,
    };
    let (cells, content) = (two(3), two(5));
    let content = if content == 0 { 65536 } else { content };
    let pointers_end = header_bytes + 2 * cells;
    // At most 60 bytes may be fragments.
    cells > 0
        && page[7] <= 60
        && pointers_end <= content
        && content <= page.len()
        && (0..cells.min(8)).all(|cell| {
            let at = two(header_bytes + 2 * cell);
            at >= content && at < page.len()
        })
}
