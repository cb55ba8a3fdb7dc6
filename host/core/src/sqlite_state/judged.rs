//! What a check says beside damage: rules of the schema that rows break, and what could not be
//! judged. Names objects, columns and rowids; never a value.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Rowids that are named of the rows that break a rule.
pub const MOST_ROWIDS: usize = 5;

/// Rows that break a rule of the schema. The file is sound: SQLite wrote these rows, at a time or
/// on a connection on which the rule did not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenRule {
    /// Which rule.
    pub rule: Rule,
    /// The table of the rows.
    pub table: String,
    /// The columns that the rule is about; empty when it is about the whole row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The table that the rows should have a parent in, for a foreign key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Whether that table exists.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parent_missing: bool,
    /// The unique index whose keys several rows share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// How many rows break it.
    pub rows: u64,
    /// For a unique index, how many keys several rows share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// Rowids of the first of these rows, [`MOST_ROWIDS`] at most; none in a table without rowids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rowids: Vec<i64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A rule of the schema.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A `CHECK` of the table.
    #[default]
    Check,
    /// A column is `NOT NULL`.
    NotNull,
    /// A column has a type: strictly, or as an affinity that the stored value does not have.
    Type,
    /// Keys of an index are unique.
    Unique,
    /// A row has a parent in another table.
    ForeignKey,
}

/// Something that a check could not judge. It says nothing against the database: often only the
/// application itself has what is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unjudged {
    /// What of the database.
    pub part: UnjudgedPart,
    /// Its name; empty for the database as a whole.
    pub name: String,
    /// Why: SQLite's message, without values.
    pub reason: String,
}

/// A part of a database that a check could not judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnjudgedPart {
    /// The rows of a table.
    Table,
    /// An index: whether it agrees with its table.
    Index,
    /// The order of an index's entries, and whether its keys are unique. What they hold was
    /// compared with the rows.
    IndexOrder,
    /// Whether the keys of a unique index are unique.
    UniqueKeys,
    /// A virtual table.
    VirtualTable,
    /// Whether the rows of a table hold to its `CHECK`s.
    Checks,
    /// Whether the rows of a table have the parents that its foreign keys ask for.
    ForeignKeys,
    /// Whether each page of the file belongs to exactly one object or to the list of free pages.
    Pages,
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, reason, .. } = self;
        match self.part {
            UnjudgedPart::Table => write!(f, "table `{name}`: {reason}"),
            UnjudgedPart::Index => write!(f, "index `{name}`: {reason}"),
            UnjudgedPart::IndexOrder => write!(
                f,
                "the order of index `{name}` (its entries agree with the rows): {reason}"
            ),
            UnjudgedPart::UniqueKeys => {
                write!(f, "whether the keys of index `{name}` are unique: {reason}")
            }
            UnjudgedPart::VirtualTable => write!(f, "virtual table `{name}`: {reason}"),
            UnjudgedPart::Checks => write!(f, "the CHECKs of table `{name}`: {reason}"),
            UnjudgedPart::ForeignKeys => write!(f, "the foreign keys of table `{name}`: {reason}"),
            UnjudgedPart::Pages => write!(
                f,
                "whether each page belongs to exactly one object: {reason}"
            ),
        }
    }
}
