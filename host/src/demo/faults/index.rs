//! A damaged index: entries on one leaf page name other rows than their own, so that the index no
//! longer agrees with its table while its tree stays sound. `quick_check` sees nothing;
//! `integrity_check` does; `REINDEX` heals it.
//!
//! The keys stay as they are. A changed key would mislead writers that go on: their entries land out
//! of order beside it, and whether the index or a row is wrong could then not be proven any more.
//!
//! The page is found by reading the file format (<https://www.sqlite.org/fileformat2.html>,
//! sections 1.6 and 2.1).

use crate::digest::hex;
use std::{fs::OpenOptions, ops::Range, os::unix::fs::FileExt as _};

use anyhow::{Context as _, bail, ensure};
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::bystander::checkpoint;
use crate::demo::{
    DemoError, Scene,
    rows::{FOUNDER, random},
    workload::Workload,
};

/// One of these is damaged unless another is asked for.
const INDEXES: [&str; 2] = ["orders_by_created", "orders_by_customer"];
/// At most so many entries are changed.
const CELLS: usize = 8;
/// Pages of the b-tree of an index (first byte of the page).
const INTERIOR_INDEX_PAGE: u8 = 0x02;
const LEAF_INDEX_PAGE: u8 = 0x0a;
/// Sets the draws for damage apart from those for rows.
const PURPOSE: i64 = i64::MIN;

/// What was done to an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexDamage {
    /// The index.
    pub index: String,
    /// Its table.
    pub table: String,
    /// The leaf page, counted from 1.
    pub page: u32,
    /// The entries that were changed.
    pub cells: Vec<DamagedCell>,
}

/// One entry whose rowid was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedCell {
    /// Where the changed bytes begin in the database file.
    pub offset: u64,
    /// The bytes before, hexadecimal.
    pub before: String,
    /// The bytes after, hexadecimal.
    pub after: String,
}

/// Damages an index of the orders, by the seed or the one that is named. Writers that run are
/// stopped for the moment and resumed.
///
/// The right answer: `REINDEX`, since the table is clean. Every acknowledged row stays.
pub fn damage_index(
    workload: &mut Workload,
    index: Option<&str>,
) -> Result<IndexDamage, DemoError> {
    let was_running = workload.is_running();
    workload.stop()?;
    let flags: Vec<_> = index
        .map(|name| format!("--index={name}"))
        .into_iter()
        .collect();
    let damage = workload.scene().ask("damage-index", &flags, &());
    if was_running {
        workload.resume()?;
    }
    damage
}

/// The child's side of [`damage_index`].
pub(crate) fn damage(scene: &Scene, index: Option<&str>) -> anyhow::Result<IndexDamage> {
    let mut random = random(scene, FOUNDER, PURPOSE);
    let index = match index {
        Some(index) => index,
        None => INDEXES[random.random_range(0..INDEXES.len())],
    };
    // What is damaged must be what is read: nothing of the page may stand in the log.
    checkpoint(scene)?;
    let (table, root) = root_page(scene, index)?;
    // The last SQLite connection of this process is closed; raw access is safe from here on.
    let mut file = DatabaseFile::open(scene)?;
    let mut leaves = Vec::new();
    file.collect_leaves(root, &mut leaves)?;
    let page = *leaves
        .choose(&mut random)
        .context("the index has no leaf")?;
    let cells = file.damage_rowids(page, &mut random)?;
    ensure!(
        !cells.is_empty(),
        "page {page} of index {index} has no entry that could be damaged"
    );
    Ok(IndexDamage {
        index: index.to_owned(),
        table,
        page,
        cells,
    })
}

fn root_page(scene: &Scene, index: &str) -> anyhow::Result<(String, u32)> {
    Connection::open(scene.database())?
        .query_one(
            "SELECT tbl_name, rootpage FROM sqlite_schema WHERE type = 'index' AND name = ?1",
            [index],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .with_context(|| format!("there is no index {index}"))
}

/// The database file, raw.
struct DatabaseFile {
    file: std::fs::File,
    page_bytes: usize,
}

impl DatabaseFile {
    fn open(scene: &Scene) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(scene.database())
            .context("cannot open the database file")?;
        let mut size = [0; 2];
        file.read_exact_at(&mut size, 16)?;
        let page_bytes = match u16::from_be_bytes(size) {
            // The one size that two bytes cannot hold.
            1 => 65_536,
            bytes => usize::from(bytes),
        };
        Ok(Self { file, page_bytes })
    }

    fn offset_of(&self, page: u32) -> u64 {
        u64::from(page.saturating_sub(1)) * self.page_bytes as u64
    }

    fn read(&self, page: u32) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; self.page_bytes];
        self.file
            .read_exact_at(&mut bytes, self.offset_of(page))
            .with_context(|| format!("cannot read page {page}"))?;
        Ok(bytes)
    }

    fn collect_leaves(&self, page: u32, leaves: &mut Vec<u32>) -> anyhow::Result<()> {
        let bytes = self.read(page)?;
        match bytes[0] {
            LEAF_INDEX_PAGE => leaves.push(page),
            INTERIOR_INDEX_PAGE => {
                for cell in cell_offsets(&bytes, 12)? {
                    self.collect_leaves(be_u32(&bytes, cell)?, leaves)?;
                }
                self.collect_leaves(be_u32(&bytes, 8)?, leaves)?;
            }
            other => bail!("page {page} is of kind {other:#04x}, not a page of an index"),
        }
        Ok(())
    }

    /// Gives some of the page's cells the rowid of the cell behind them, which stays as it is, and
    /// syncs.
    fn damage_rowids(
        &mut self,
        page: u32,
        random: &mut StdRng,
    ) -> anyhow::Result<Vec<DamagedCell>> {
        let bytes = self.read(page)?;
        let rowids: Vec<_> = cell_offsets(&bytes, 8)?
            .into_iter()
            .map(|cell| rowid_bytes(&bytes, cell))
            .collect();
        let pairs: Vec<_> = rowids
            .chunks_exact(2)
            .filter_map(|pair| Some((pair[0].clone()?, pair[1].clone()?)))
            .filter(|(own, other)| {
                own.len() == other.len() && bytes[own.clone()] != bytes[other.clone()]
            })
            .collect();
        let mut damaged = Vec::new();
        for (own, other) in pairs.sample(random, CELLS).cloned() {
            let offset = self.offset_of(page) + own.start as u64;
            let (before, after) = (&bytes[own], &bytes[other]);
            self.file
                .write_all_at(after, offset)
                .with_context(|| format!("cannot damage page {page}"))?;
            damaged.push(DamagedCell {
                offset,
                before: hex(before),
                after: hex(after),
            });
        }
        self.file.sync_all()?;
        Ok(damaged)
    }
}

/// Where the cells of a page begin; the pointers to them follow the page's header.
fn cell_offsets(page: &[u8], header_bytes: usize) -> anyhow::Result<Vec<usize>> {
    let count = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let pointers = page
        .get(header_bytes..header_bytes + 2 * count)
        .context("the page counts more cells than it can hold")?;
    Ok(pointers
        .chunks_exact(2)
        .map(|pointer| usize::from(u16::from_be_bytes([pointer[0], pointer[1]])))
        .collect())
}

/// Where the rowid lies in a leaf cell, the last column of its record; none when it takes no bytes
/// (0 or 1) or the record goes on in another page.
fn rowid_bytes(page: &[u8], cell: usize) -> Option<Range<usize>> {
    let (payload_bytes, read) = varint(page.get(cell..)?)?;
    let payload = cell + read;
    let (header_bytes, read) = varint(page.get(payload..)?)?;
    let body = payload + header_bytes;
    let mut next = payload + read;
    let mut end = body;
    let mut length = 0;
    while next < body {
        let (serial_type, read) = varint(page.get(next..)?)?;
        next += read;
        length = match serial_type {
            1..=4 => serial_type,
            5 => 6,
            6 | 7 => 8,
            12.. => (serial_type - 12) / 2,
            _ => 0,
        };
        end += length;
    }
    let fits = end == payload + payload_bytes && end <= page.len();
    (length > 0 && fits).then_some(end - length..end)
}

/// SQLite's variable-length integer: seven bits a byte, the high bit says that it goes on. The
/// ninth byte of the longest ones does not occur in the sizes read here.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value = (value << 7) | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn be_u32(bytes: &[u8], at: usize) -> anyhow::Result<u32> {
    let word = bytes.get(at..at + 4).context("the page ends too early")?;
    Ok(u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
}
