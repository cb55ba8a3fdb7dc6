//! What a check of a database came to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BrokenRule, IntegrityFault, Unjudged};

/// How thorough a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `PRAGMA quick_check`: every tree, but not whether the indexes agree with their tables.
    Quick,
    /// `PRAGMA integrity_check`: everything, the indexes' content included.
    Full,
    /// A sample of the rows with their indexes, in under 100 ms whatever the size.
    Sampled {
        /// The seed of the generator that draws: the same seed on the same database draws the same
        /// rows, as far as time allows.
        seed: u64,
    },
    /// The tables in which something was written since they were proven.
    Incremental,
    /// Every row and every entry of an index, in transactions of some milliseconds: in rollback mode
    /// whoever reads keeps writers from committing. Not whether each page belongs to one object.
    Sliced,
}

/// The result of SQLite's own integrity check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Integrity {
    /// How thorough it was.
    pub mode: Mode,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// What it found; empty when all is well.
    pub faults: Vec<IntegrityFault>,
    /// Why it could not be done to its end (for example: busy); then `faults` is what was found
    /// until then.
    pub error: Option<String>,
    /// How much a check of a part looked at; none for one of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Each index with a fault, compared with its table entry by entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<IndexComparison>,
    /// Whether the database file is sound without the log or journal beside it. None when that was
    /// not checked: it is where they are at fault together, or cannot belong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound_alone: Option<bool>,
    /// Rules of the schema that rows break. No damage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken_rules: Vec<BrokenRule>,
    /// Whether every rule of the schema was looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rules_checked: bool,
    /// What could not be judged, and why. No damage either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unjudged: Vec<Unjudged>,
    /// How much of the file is used; none when that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Space>,
    /// Where a table is damaged, the tables against which nothing was found; none when not all of the
    /// database was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound_tables: Option<SoundTables>,
}

/// Tables that were looked at whole, with their indexes, and against which nothing was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundTables {
    /// How many.
    pub count: u64,
    /// The names of the first of them.
    pub names: Vec<String>,
}

/// How much of a database file is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Pages of the database.
    pub pages: u64,
    /// Pages among them that hold nothing.
    pub free_pages: u64,
    /// The size of one, bytes.
    pub page_bytes: u64,
    /// Whether free pages can be given back a few at a time (`auto_vacuum = INCREMENTAL`).
    pub incremental_vacuum: bool,
}

impl Integrity {
    /// A check that looked at nothing yet, or could not be made: then why.
    pub fn empty(mode: Mode, error: Option<String>) -> Self {
        Self {
            mode,
            duration_ms: 0,
            faults: Vec::new(),
            error,
            coverage: None,
            comparisons: Vec::new(),
            broken_rules: Vec::new(),
            rules_checked: false,
            unjudged: Vec::new(),
            space: None,
            sound_alone: None,
            sound_tables: None,
        }
    }
}

/// How the entries of an index compare with the rows of its table, entry by entry. Names tables,
/// rowids, columns, types and lengths; never a value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexComparison {
    /// The index.
    pub index: String,
    /// Its table.
    pub table: String,
    /// Rows that belong into the index.
    pub rows: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Pages of the index.
    pub pages: u64,
    /// Rows that have no entry.
    pub missing_entries: u64,
    /// Entries that a rebuild removes, and of which it is proven that nothing is lost by it.
    pub removable: RemovableEntries,
    /// Entries that say something else than the row they name, where nobody knows which is true.
    pub disagreements: u64,
    /// Those among them that lie only in what functions compute which the application may define in
    /// its own way: to the application they may be none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub computed: u64,
    /// The first of them.
    pub examples: Vec<Disagreement>,
    /// Entries without a row of which another index of the table has one as well: the table seems to have
    /// lost these rows, and what the indexes hold is all that is left of them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub lost_rows: u64,
    /// Entries without a row where the table has no other index that could tell whether the row was deleted
    /// or lost. They are counted among [`RemovableEntries::without_row`].
    #[serde(default, skip_serializing_if = "is_none")]
    pub unasked_rows: u64,
    /// Keys that several rows share although the index is to be unique: it cannot be built.
    pub shared_keys: u64,
    /// Whether the entries and the rows were compared with each other.
    #[serde(default)]
    pub is_compared: bool,
    /// Entries and pages of the index that cannot be read.
    #[serde(default)]
    pub unreadable: u64,
    /// Why this is not the whole truth; none when every entry and every row was compared.
    pub unproven: Option<String>,
    /// How long a rebuild holds writers out, milliseconds, estimated by reading and sorting the
    /// rows and by the pages to write; none when it was not measured.
    pub expected_lock_ms: Option<u64>,
    /// What of the index the application may define in its own way, so that dbmedic's SQLite must not
    /// build it; none when there is nothing of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to_application: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Entries that a rebuild removes and that hold no value which is not also in a row, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovableEntries {
    /// There is no row of this identity, and no other index of the table has an entry of it.
    pub without_row: u64,
    /// The same entry is there another time.
    pub duplicates: u64,
    /// The row that it names has its own entry, and another row without one has its key: only which
    /// row it names is damaged.
    pub misnamed: u64,
    /// It lies where its key was never put, while the row's key belongs there or has its own
    /// entry: what it says was never written.
    pub out_of_place: u64,
}

impl RemovableEntries {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.without_row + self.duplicates + self.misnamed + self.out_of_place
    }
}

impl IndexComparison {
    /// Whether each entry that a rebuild removes is proven to be no loss.
    pub fn proves_no_loss(&self) -> bool {
        self.unproven.is_none() && self.disagreements == 0
    }
}

/// An entry and a row that disagree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The rowid that the entry names; none in a table without rowids.
    pub rowid: Option<i64>,
    /// Which entry of the index it is, counted from 1 in the order of the index.
    pub entry: u64,
    /// What differs.
    pub columns: Vec<ColumnDifference>,
    /// Other entries name the same row, which has an entry that agrees with it.
    pub surplus: bool,
    /// By its own WHERE the index should have no entry of the row.
    pub not_belonging: bool,
}

/// A column of which row and entry say different things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDifference {
    /// The column's name.
    pub column: String,
    /// What the row holds.
    pub row: ValueShape,
    /// What the entry holds.
    pub entry: ValueShape,
}

/// A value's type and length; never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueShape {
    /// Its type.
    pub kind: ValueKind,
    /// Its length in bytes, as it is stored.
    pub bytes: u64,
}

/// SQLite's storage classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// NULL.
    Null,
    /// A whole number.
    Integer,
    /// A floating-point number.
    Real,
    /// Text.
    Text,
    /// Bytes.
    Blob,
}

impl fmt::Display for ValueShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ValueKind::Null => return f.write_str("NULL"),
            ValueKind::Integer => "INTEGER",
            ValueKind::Real => "REAL",
            ValueKind::Text => "TEXT",
            ValueKind::Blob => "BLOB",
        };
        write!(f, "{kind} of {} bytes", self.bytes)
    }
}

/// How much a check of a part looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Rows that were read whole.
    pub rows: u64,
    /// Entries of indexes that were compared with their rows.
    pub entries: u64,
    /// Tables that were looked at.
    pub tables: u64,
    /// Rows of which a value is too long to be read in a slice, so that it was not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub long_rows: u64,
    /// How the slices were, for a check that was made in slices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slicing: Option<Slicing>,
}

/// The slices of a check that was made in short transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slicing {
    /// How many there were.
    pub slices: u64,
    /// How many were interrupted, for a writer or because a statement took too long.
    pub interrupted: u64,
    /// How long the longest kept writers from committing at most, microseconds.
    pub longest_us: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
pub(super) fn is_zero(value: &u64) -> bool {
    *value == 0
}
