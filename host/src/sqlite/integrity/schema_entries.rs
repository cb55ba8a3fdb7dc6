//! Entries of the schema that cannot be read, and so keep everybody from reading anything.
//!
//! SQLite reads the whole schema before the first statement, and refuses every statement for one
//! entry that it makes no sense of. Here such entries are left out, as `PRAGMA writable_schema`
//! leaves them out, and the rest is checked without them. Nothing can be written: the connection
//! stays defensive.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::{Access, Check, Gathered, compare_damaged, quoted, rules, run};
use crate::sqlite::connection::{bound_cache, open_untouched, without_values};
use crate::sqlite_state::{DamagedObject, IntegrityFault, Mode, SchemaEntry};

/// Entries that are named at most: with more, the schema as a whole is damaged.
const MOST_NAMED: usize = 16;

/// Faults of the rest that are read at most. Each page of an index that is left out is one.
const MOST_FAULTS: u32 = 100_000;

/// How SQLite's message begins that names the first such entry.
const MALFORMED: &str = "malformed database schema (";

/// Names the entries that `error` is about, and in a full check examines everything else. False when
/// no single entry is at fault.
///
/// # Errors
///
/// SQLite's own; what was found until then counts.
pub(super) fn examine(
    path: &Path,
    access: Access,
    check: Check,
    error: &rusqlite::Error,
    found: &mut Gathered,
) -> rusqlite::Result<bool> {
    let connection = open_untouched(path, access, check.deadline())?;
    // Entries that cannot be read are passed over. To write the schema is still forbidden.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    bound_cache(&connection)?;
    // One moment for the entries and the rest.
    let _transaction = connection.unchecked_transaction()?;
    let unread = unread(&connection)?;
    if unread.is_empty() || unread.len() > MOST_NAMED {
        return Ok(false);
    }
    let said = without_values(error);
    for entry in unread {
        let why = said
            .strip_prefix(MALFORMED)
            .and_then(|rest| rest.strip_prefix(&entry.name)?.strip_prefix(") - "))
            .unwrap_or("it cannot be read");
        found.faults.push(IntegrityFault {
            message: why.to_owned(),
            object: DamagedObject::SchemaEntry(Box::new(entry)),
        });
    }
    if check.mode == Mode::Full {
        let whole = Check {
            max_faults: MOST_FAULTS,
            ..check
        };
        let checked = run(&connection, whole, found);
        leave_pages_of_entries(found);
        checked?;
        compare_damaged(&connection, found);
        rules::examine(&connection, found);
    }
    Ok(true)
}

/// The pages of an index that was left out belong to nobody as long as it is left out. Where a tree is
/// damaged they may be that tree's.
fn leave_pages_of_entries(found: &mut Gathered) {
    let of_tree = |fault: &IntegrityFault| fault.message.starts_with("Tree ");
    if !found.faults.iter().any(of_tree) {
        found.faults.retain(|fault| {
            fault.object != DamagedObject::Pages || !fault.message.ends_with(": never used")
        });
    }
}

/// An entry as it stands in the schema.
struct Entry {
    row: i64,
    kind: String,
    name: String,
    table: String,
    /// The first page of its tree; none when that is no number.
    root: Option<i64>,
    has_sql: bool,
    is_virtual: bool,
}

impl Entry {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        // Anything may stand there.
        let text = |at: usize| {
            Ok::<_, rusqlite::Error>(match row.get_ref(at)? {
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            })
        };
        let sql = text(5)?.to_ascii_lowercase();
        Ok(Self {
            row: row.get(0)?,
            kind: text(1)?,
            name: text(2)?,
            table: text(3)?,
            root: match row.get_ref(4)? {
                ValueRef::Integer(root) => Some(root),
                _ => None,
            },
            has_sql: !sql.is_empty(),
            is_virtual: sql.split_whitespace().take(2).eq(["create", "virtual"]),
        })
    }

    fn has_tree(&self) -> bool {
        matches!(self.kind.as_str(), "table" | "index") && !self.is_virtual
    }
}

/// The entries that SQLite did not read, without those that only lack the table that they belong to.
fn unread(connection: &Connection) -> rusqlite::Result<Vec<SchemaEntry>> {
    let pages: i64 = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0))?;
    let entries: Vec<Entry> = connection
        .prepare(
            "SELECT rowid, type, name, tbl_name, rootpage, sql FROM main.sqlite_schema \
             ORDER BY rowid",
        )?
        .query_map([], Entry::read)?
        .collect::<Result<_, _>>()?;
    let has_root = |entry: &Entry| match entry.root {
        Some(root) if entry.has_tree() => (2..=pages).contains(&root),
        root => !entry.has_tree() && root.is_none_or(|root| root == 0),
    };
    let mut unread: Vec<SchemaEntry> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let twin = entries[..at].iter().find(|before| {
            before.kind == entry.kind && before.name.eq_ignore_ascii_case(&entry.name)
        });
        // What a table's own definition asks for has no text, and comes and goes with the table.
        let is_read =
            twin.is_none() && has_root(entry) && (!entry.has_sql || is_known(connection, entry)?);
        let lacks_table = unread.iter().any(|known| {
            known.kind == "table"
                && known.name.eq_ignore_ascii_case(&entry.table)
                && entry.kind != "table"
        });
        if is_read || lacks_table {
            continue;
        }
        let same_tree = twin.is_some_and(|twin| twin.root == entry.root);
        unread.push(SchemaEntry {
            holds_rows: entry.kind == "table" && !entry.is_virtual && !same_tree
                || !entry.has_sql && entry.kind == "index",
            kind: entry.kind.clone(),
            name: entry.name.clone(),
            table: entry.table.clone(),
            row: entry.row,
        });
    }
    Ok(unread)
}

/// Whether SQLite read an entry: it compiles a statement about it then. Nothing is run.
fn is_known(connection: &Connection, entry: &Entry) -> rusqlite::Result<bool> {
    let drop = match entry.kind.as_str() {
        "table" | "view" => {
            return connection.query_row(
                "SELECT count(*) > 0 FROM pragma_table_list WHERE schema = 'main' \
                 AND name = ?1 COLLATE NOCASE AND (type = 'view') = (?2 = 'view')",
                [&entry.name, &entry.kind],
                |row| row.get(0),
            );
        }
        "index" => "INDEX",
        "trigger" => "TRIGGER",
        _ => return Ok(false),
    };
    let sql = format!("EXPLAIN DROP {drop} main.{}", quoted(&entry.name));
    Ok(match connection.prepare(&sql) {
        Ok(_) => true,
        Err(error) => !without_values(&error).starts_with("no such "),
    })
}
