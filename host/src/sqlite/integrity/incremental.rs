//! The incremental check: only the tables in which something was written since they were proven.
//!
//! What it proves: every table with a page that was written since is whole and agrees with its
//! indexes now; the other pages were proven by the full check that began the account. What it does
//! not: that pages nobody wrote are still what they were (a disk that rots), which a full check and
//! the samples look for; and pages that no tree reaches.
//!
//! Why the account is complete: a tree changes only by writing a page of it. A page that is new in
//! a tree is pointed to by one that was written, up to the root, which was in the tree before; and
//! a tree that is new, or whose root moved, is in a schema that was written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::messages::Schema;
use super::{Check, Gathered, objects, rules};
use crate::digest::hex;
use crate::sqlite_state::Mode;

/// Pages of a database of which it is kept whose they are, at most: 32 MiB of memory.
const MOST_PAGES: usize = 1 << 24;
/// Belongs to no tree that is known.
const NOBODY: u16 = 0;

/// What a clean check proved, and to which tree each page belonged then.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The owner of each page, page 1 first, as a place in `trees` counted from 1.
    owners: Vec<u16>,
    trees: Vec<Tree>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tree {
    name: String,
    table: String,
    root: i64,
}

const SCHEMA: &str = "sqlite_schema";

impl Proven {
    /// Takes down whose each page is, inside the transaction of a clean check. None when the
    /// database is too large to keep account of.
    ///
    /// # Errors
    ///
    /// SQLite's own, the end of the connection's time among them.
    pub(super) fn take(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let pages: i64 = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0))?;
        let trees = trees(connection)?;
        let pages = usize::try_from(pages).unwrap_or(usize::MAX);
        if pages > MOST_PAGES || trees.len() >= usize::from(u16::MAX) {
            return Ok(None);
        }
        let mut proven = Self {
            owners: vec![NOBODY; pages],
            trees,
        };
        for place in 0..proven.trees.len() {
            proven.own(connection, place)?;
        }
        Ok(Some(proven))
    }

    fn own(&mut self, connection: &Connection, place: usize) -> rusqlite::Result<()> {
        let owner = u16::try_from(place + 1).unwrap_or(NOBODY);
        let mut statement =
            connection.prepare("SELECT pageno FROM dbstat('main') WHERE name = ?1")?;
        let mut pages = statement.query([&self.trees[place].name])?;
        while let Some(row) = pages.next()? {
            let page: i64 = row.get(0)?;
            let Some(at) = usize::try_from(page)
                .ok()
                .and_then(|page| page.checked_sub(1))
            else {
                continue;
            };
            if at >= self.owners.len() {
                self.owners.resize((at + 1).min(MOST_PAGES), NOBODY);
            }
            if let Some(known) = self.owners.get_mut(at) {
                *known = owner;
            }
        }
        Ok(())
    }

    /// As one text, compressed: an account goes from the worker that proves to the one that checks next.
    pub(in crate::sqlite) fn pack(&self) -> String {
        let owners: Vec<u8> = self
            .owners
            .iter()
            .flat_map(|owner| owner.to_le_bytes())
            .collect();
        let mut compressed = DeflateEncoder::new(Vec::new(), Compression::fast());
        // Nothing fails that writes into memory.
        let _infallible = compressed.write_all(&owners);
        let owners = hex(&compressed.finish().unwrap_or_default());
        serde_json::to_string(&(owners, &self.trees)).unwrap_or_default()
    }

    /// What was packed; none where it is something else.
    pub(in crate::sqlite) fn unpack(text: &str) -> Option<Self> {
        let (owners, trees): (String, Vec<Tree>) = serde_json::from_str(text).ok()?;
        let digits = owners.as_bytes().chunks_exact(2);
        let compressed: Option<Vec<u8>> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let mut bytes = Vec::new();
        DeflateDecoder::new(compressed?.as_slice())
            .take(2 * MOST_PAGES as u64)
            .read_to_end(&mut bytes)
            .ok()?;
        let owners: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        let most = trees.len();
        let is_known = owners.iter().all(|owner| usize::from(*owner) <= most);
        is_known.then_some(Self { owners, trees })
    }

    /// The tables to look at: those that own a written page, and those that are new or moved. Then
    /// the trees as they are now.
    fn changed(
        &self,
        connection: &Connection,
        touched: &BTreeSet<u32>,
    ) -> rusqlite::Result<(BTreeSet<String>, Vec<Tree>)> {
        let now = trees(connection)?;
        let mut tables: BTreeSet<String> = touched
            .iter()
            .filter_map(|page| {
                let owner = *self.owners.get((*page as usize).checked_sub(1)?)?;
                let tree = self.trees.get(usize::from(owner).checked_sub(1)?)?;
                Some(tree.table.clone())
            })
            .collect();
        let new = now.iter().filter(|tree| !self.trees.contains(tree));
        tables.extend(new.map(|tree| tree.table.clone()));
        let existing: BTreeSet<&String> = now.iter().map(|tree| &tree.table).collect();
        tables.retain(|table| existing.contains(table));
        Ok((tables, now))
    }
}

/// The trees of the database: the schema, the tables and the indexes, each with its root.
fn trees(connection: &Connection) -> rusqlite::Result<Vec<Tree>> {
    connection
        .prepare(
            "SELECT 'sqlite_schema', 'sqlite_schema', 1 UNION ALL \
             SELECT name, tbl_name, rootpage FROM main.sqlite_schema WHERE rootpage > 0",
        )?
        .query_map([], |row| {
            Ok(Tree {
                name: row.get(0)?,
                table: row.get(1)?,
                root: row.get(2)?,
            })
        })?
        .collect()
}

/// Checks, within the caller's transaction, the tables in which a page of `touched` lies, and brings the account up to date when all
/// is well. Says how many tables were looked at.
///
/// # Errors
///
/// SQLite's own; then the account is as it was.
pub(super) fn run(
    connection: &Connection,
    proven: &mut Proven,
    touched: &BTreeSet<u32>,
    check: Check,
    found: &mut Gathered,
) -> rusqlite::Result<u64> {
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    let (tables, now) = proven.changed(connection, touched)?;
    let schema = Schema::read(connection)?;
    for table in &tables {
        // The schema's own tree has no check of its own: reading it whole is one.
        if table != SCHEMA {
            objects::run_one(connection, &schema, check, found, table)?;
        }
        if found.faults.len() >= check.most_faults() {
            break;
        }
    }
    rules::settle_shared(connection, found)?;
    if found.faults.is_empty() {
        let mut renewed = Proven {
            owners: proven.owners.clone(),
            trees: now,
        };
        // Owners are places among the trees: where those moved, the pages follow.
        let places: BTreeMap<(&str, i64), usize> = renewed
            .trees
            .iter()
            .enumerate()
            .map(|(place, tree)| ((tree.name.as_str(), tree.root), place))
            .collect();
        let moved: Vec<u16> = proven
            .trees
            .iter()
            .map(|tree| places.get(&(tree.name.as_str(), tree.root)))
            .map(|place| place.map_or(NOBODY, |place| u16::try_from(place + 1).unwrap_or(NOBODY)))
            .collect();
        for owner in &mut renewed.owners {
            if *owner != NOBODY {
                *owner = moved[usize::from(*owner) - 1];
            }
        }
        for place in 0..renewed.trees.len() {
            if tables.contains(&renewed.trees[place].table) {
                renewed.own(connection, place)?;
            }
        }
        *proven = renewed;
    }
    debug_assert!(matches!(check.mode, Mode::Incremental));
    Ok(tables.len() as u64)
}
