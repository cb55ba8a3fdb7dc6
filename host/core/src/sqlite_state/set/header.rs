//! The headers of a database file and of a rollback journal. Pure over bytes.

use serde::{Deserialize, Serialize};

/// Length of the database's header, bytes.
pub const DATABASE_HEADER_BYTES: usize = 100;
/// Length of the part of a journal's header that says something, bytes.
pub const JOURNAL_HEADER_BYTES: usize = 28;
/// Length of what stands behind the name of a super-journal at a journal's end, bytes.
pub const SUPER_JOURNAL_TAIL_BYTES: usize = 16;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Length of the bytes by which a journal's header is known.
pub const JOURNAL_MAGIC_BYTES: usize = 8;
const JOURNAL_MAGIC: [u8; JOURNAL_MAGIC_BYTES] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// Bytes of a page that SQLite wants to use at least, of those that are not reserved.
const LEAST_USABLE_BYTES: u32 = 480;

/// The header of a database file, <https://sqlite.org/fileformat2.html#the_database_header>.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseHeader {
    /// Page size, bytes.
    pub page_bytes: u32,
    /// Who may write: 1 a rollback journal, 2 a write-ahead log, more an unknown format.
    pub write_version: u8,
    /// Who may read, in the same numbers.
    pub read_version: u8,
    /// Bytes at the end of each page that SQLite leaves to others.
    pub reserved_bytes: u8,
    /// Counts the changes of the file.
    pub change_counter: u32,
    /// Pages of the database, where the counter below is the one above.
    pub pages: u32,
    /// The change counter for which the number of pages counts.
    pub valid_for: u32,
    /// Changes with the schema.
    pub schema_cookie: u32,
}

impl DatabaseHeader {
    /// Reads a header; none when these bytes are not one.
    pub fn parse(bytes: &[u8; DATABASE_HEADER_BYTES]) -> Option<Self> {
        let page_bytes = page_bytes(bytes)?;
        let usable = page_bytes.checked_sub(u32::from(bytes[20]))?;
        (bytes.starts_with(MAGIC) && usable >= LEAST_USABLE_BYTES).then(|| Self {
            page_bytes,
            write_version: bytes[18],
            read_version: bytes[19],
            reserved_bytes: bytes[20],
            change_counter: word(bytes, 24),
            pages: word(bytes, 28),
            valid_for: word(bytes, 92),
            schema_cookie: word(bytes, 40),
        })
    }

    /// The number of pages, where the header can be believed: a writer older than 3.7.0 does not
    /// keep it.
    pub fn kept_pages(&self) -> Option<u32> {
        (self.change_counter == self.valid_for && self.pages > 0).then_some(self.pages)
    }

    /// Whether it asks for a write-ahead log.
    pub fn wants_log(&self) -> bool {
        self.read_version == 2
    }
}

/// The page size that a database's header names, if it is one.
pub(super) fn page_bytes(header: &[u8]) -> Option<u32> {
    let bytes = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        bytes => u32::from(bytes),
    };
    (bytes.is_power_of_two() && bytes >= 512).then_some(bytes)
}

/// The header of a rollback journal, <https://sqlite.org/fileformat2.html#the_rollback_journal>.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHeader {
    /// Page records that were synced; `u32::MAX`: as many as the file holds.
    pub records: u32,
    /// The random number that the checksums begin with.
    pub nonce: u32,
    /// Pages of the database before the transaction.
    pub initial_pages: u32,
    /// Sector size that its writer assumed, bytes.
    pub sector_bytes: u32,
    /// Page size, bytes.
    pub page_bytes: u32,
    /// Whether SQLite would throw it away: it names a super-journal that is gone, so the
    /// transaction was committed.
    #[serde(default)]
    pub is_void: bool,
    /// Whether its writer is gone: nobody held a lock on the database before it was read and after,
    /// and it stayed the same.
    #[serde(default)]
    pub is_left: bool,
}

impl JournalHeader {
    /// Reads a header; none when these bytes are not one, as in a journal that was finished and
    /// kept (`journal_mode` PERSIST).
    pub fn parse(bytes: &[u8; JOURNAL_HEADER_BYTES]) -> Option<Self> {
        bytes.starts_with(&JOURNAL_MAGIC).then(|| Self {
            records: word(bytes, 8),
            nonce: word(bytes, 12),
            initial_pages: word(bytes, 16),
            sector_bytes: word(bytes, 20),
            page_bytes: word(bytes, 24),
            is_void: false,
            is_left: false,
        })
    }

    /// Whether sector and page have sizes that SQLite writes.
    pub fn has_sizes(bytes: &[u8; JOURNAL_HEADER_BYTES]) -> bool {
        let is_size = |size: u32| size.is_power_of_two() && (512..=65536).contains(&size);
        is_size(word(bytes, 20)) && is_size(word(bytes, 24))
    }
}

/// The length of the super-journal's name, from the last bytes of a journal; none when it names
/// none.
pub fn super_journal_name_bytes(tail: &[u8; SUPER_JOURNAL_TAIL_BYTES]) -> Option<u32> {
    tail.ends_with(&JOURNAL_MAGIC)
        .then(|| word(tail, 0))
        .filter(|&length| length > 0 && length < 4096)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
