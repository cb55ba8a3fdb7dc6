//! What a check finds damaged.

use serde::{Deserialize, Serialize};

use super::integrity::is_zero;

/// One line of the integrity check, laid to the object it speaks of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntegrityFault {
    /// The damaged object.
    pub object: DamagedObject,
    /// SQLite's words.
    pub message: String,
}

impl IntegrityFault {
    /// Whether something that was stored is damaged; a virtual table whose tables are gone is
    /// unusable, and nothing else is wrong.
    pub fn is_damage(&self) -> bool {
        !matches!(&self.object, DamagedObject::VirtualTable { missing, .. } if !missing.is_empty())
    }
}

/// An entry of the schema, as it stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SchemaEntry {
    /// Its name.
    pub name: String,
    /// What it says to be: `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// The table that it belongs to.
    pub table: String,
    /// Its rowid in `sqlite_schema`.
    pub row: i64,
    /// Whether rows or a table's own rules would go with it, so that it must not simply be taken out.
    pub holds_rows: bool,
}

impl SchemaEntry {
    /// The statements that take the entry out and nothing else, for a person to run on a copy; none
    /// where rows would go with it.
    pub fn removal(&self) -> Option<String> {
        let is_plain = |c: char| !c.is_control() && c != char::REPLACEMENT_CHARACTER;
        let named = if self.name.chars().all(is_plain) {
            format!(" AND name='{}'", self.name.replace('\'', "''"))
        } else {
            String::new()
        };
        // By this name old versions know the schema too. VACUUM gives back the pages of an index.
        (!self.holds_rows).then(|| {
            format!(
                "PRAGMA writable_schema=ON; DELETE FROM sqlite_master WHERE rowid={}{named}; \
                 PRAGMA writable_schema=RESET; VACUUM;",
                self.row
            )
        })
    }
}

/// What an integrity fault lies in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamagedObject {
    /// An index of a table.
    Index {
        /// The index.
        index: String,
        /// Its table.
        table: String,
        /// Whether the index can be built again with `REINDEX`. It cannot when a collation or
        /// function is unknown, or when the index's own tree is damaged (`REINDEX` walks it).
        rebuildable: bool,
    },
    /// A table's own tree.
    Table {
        /// The table.
        table: String,
    },
    /// A full-text index. What it holds was made from text that lies elsewhere.
    FullText {
        /// The virtual table.
        table: String,
        /// `fts3`, `fts4` or `fts5`.
        module: String,
        /// The table that holds the text; none when it is the index's own, empty when there is none.
        content: Option<String>,
        /// Whether it can be made again from its content.
        rebuildable: bool,
        /// Documents that the index knows and of which the table with the text has no row, or no text in it.
        #[serde(default, skip_serializing_if = "is_zero")]
        documents_without_text: u64,
    },
    /// A virtual table of another module.
    VirtualTable {
        /// The table.
        table: String,
        /// Its module, in lower case.
        module: String,
        /// The tables it is made of that are not there.
        missing: Vec<String>,
    },
    /// An entry of the schema that cannot be read, and keeps everybody from reading the rest.
    SchemaEntry(Box<SchemaEntry>),
    /// The schema cannot be read.
    Schema,
    /// Pages, the freelist, or something that could not be laid to an object.
    Pages,
}

impl DamagedObject {
    /// The table that it is, or belongs to.
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::Index { table, .. }
            | Self::Table { table }
            | Self::FullText { table, .. }
            | Self::VirtualTable { table, .. } => Some(table),
            Self::SchemaEntry(_) | Self::Schema | Self::Pages => None,
        }
    }

    /// The index that it is.
    pub fn index(&self) -> Option<&str> {
        match self {
            Self::Index { index, .. } => Some(index),
            _ => None,
        }
    }
}
