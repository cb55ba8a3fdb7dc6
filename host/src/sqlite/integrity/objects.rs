//! The check object by object, where SQLite cannot check the database as a whole: one collation,
//! function, tokenizer or module that only the application has, and `integrity_check` refuses
//! everything.
//!
//! Each table is asked for by itself. Where that is refused too, its rows are read from its own
//! tree and each of its indexes is compared with them; what is left is named as not judged.

use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use super::messages::{Run, Schema};
use super::shape::Shape;
use super::values::{owned, refs};
use super::virtuals::Virtual;
use super::{
    Check, Gathered, compare, full_text, is_damage, is_out_of_memory, quoted, rebuildable, slices,
};
use crate::sqlite::btree::Pages;
use crate::sqlite::connection::without_values;
use crate::sqlite_state::{DamagedObject, IndexComparison, IntegrityFault, Mode, UnjudgedPart};

/// Messages after which SQLite ends the check of one table.
const OWN_LIMIT: u64 = 100;

/// How often a database must fit into the memory before what asks for more is called damaged.
const TIMES_IN_MEMORY: i64 = 4;

/// Memory that there is on any machine.
const LEAST_MEMORY_BYTES: i64 = 64 << 20;

/// A table of the schema.
struct Table {
    name: String,
    is_virtual: bool,
    without_rowid: bool,
}

/// Checks each table by itself.
///
/// # Errors
///
/// SQLite's own where it concerns all of the database: it is busy, or the time is over.
pub(super) fn run(
    connection: &Connection,
    schema: &Schema,
    check: Check,
    found: &mut Gathered,
) -> rusqlite::Result<()> {
    for table in tables(connection)? {
        one(connection, schema, check, found, &table)?;
        if found.faults.len() >= check.most_faults() {
            break;
        }
    }
    Ok(())
}

/// Checks one table by its name.
///
/// # Errors
///
/// As [`run`].
pub(super) fn run_one(
    connection: &Connection,
    schema: &Schema,
    check: Check,
    found: &mut Gathered,
    name: &str,
) -> rusqlite::Result<()> {
    match tables(connection)?.iter().find(|table| table.name == name) {
        Some(table) => {
            let known = found.faults.len();
            one(connection, schema, check, found, table)?;
            if found.faults.len() > known {
                full_text::settle(connection, schema, found)?;
            }
            Ok(())
        }
        None => Ok(()),
    }
}

/// The names of the tables, without the schema's own.
///
/// # Errors
///
/// SQLite's own.
pub(super) fn names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let tables = tables(connection)?.into_iter();
    Ok(tables.map(|table| table.name).collect())
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    connection
        .prepare(
            "SELECT name, type = 'virtual', wr FROM pragma_table_list \
             WHERE schema = 'main' AND type IN ('table', 'shadow', 'virtual') \
             AND name <> 'sqlite_schema' ORDER BY name",
        )?
        .query_map([], |row| {
            Ok(Table {
                name: row.get(0)?,
                is_virtual: row.get(1)?,
                without_rowid: row.get(2)?,
            })
        })?
        .collect()
}

fn one(
    connection: &Connection,
    schema: &Schema,
    check: Check,
    found: &mut Gathered,
    table: &Table,
) -> rusqlite::Result<()> {
    let name = &table.name;
    let virtual_table = schema.virtuals.iter().find(|one| one.table == *name);
    if virtual_table.is_some_and(|one| !one.is_known || !one.missing.is_empty()) {
        // Named already.
        return Ok(());
    }
    // A number in that place would be a limit, not a table.
    let is_name = !name.starts_with(|first: char| first.is_ascii_digit() || "+-".contains(first));
    let error = if is_name {
        let pragma = format!(
            "PRAGMA main.{}('{}')",
            check.pragma(),
            name.replace('\'', "''")
        );
        let mut said = Run::default();
        let checked = said.collect(connection, schema, &pragma, check.most_faults());
        let is_cut = said.messages >= OWN_LIMIT;
        found.take(said);
        match checked {
            // Behind broken rules without number there may be damage.
            Ok(()) if is_cut && found.faults.len() < check.most_faults() => None,
            Ok(()) => return Ok(()),
            Err(error) if is_damage(&error) || concerns_an_object(&error) => Some(error),
            Err(error) if is_out_of_memory(&error) && table.is_virtual => Some(error),
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    if table.is_virtual {
        let Some(error) = error else { return Ok(()) };
        match virtual_table {
            Some(one) if is_damage(&error) || says_damage(&error) => {
                found.faults.push(IntegrityFault {
                    object: one.damaged(one.has_content()),
                    message: without_values(&error),
                });
            }
            Some(one) if is_out_of_memory(&error) => {
                if one.is_full_text() && is_far_smaller_than_memory(connection)? {
                    found.faults.push(IntegrityFault {
                        object: one.damaged(one.has_content()),
                        message: format!(
                            "{}: a block of it asks for more than the whole database is long",
                            without_values(&error)
                        ),
                    });
                } else {
                    let reason = "its module needs more memory than it may have".to_owned();
                    found.unjudged(UnjudgedPart::VirtualTable, name, &reason);
                }
            }
            _ => {
                let reason = virtual_table.and_then(Virtual::unknown_tokenizer);
                let reason = reason.unwrap_or_else(|| without_values(&error));
                found.unjudged(UnjudgedPart::VirtualTable, name, &reason);
            }
        }
        return Ok(());
    }
    if let Some(error) = error.as_ref().filter(|error| is_damage(error)) {
        let named = |fault: &IntegrityFault| fault.object.table() == Some(name);
        if check.mode != Mode::Quick && !table.without_rowid {
            slices::read_through(connection, name, found, check.most_faults())?;
        }
        if !found.faults.iter().any(named) {
            found.faults.push(IntegrityFault {
                object: DamagedObject::Table {
                    table: name.clone(),
                },
                message: without_values(error),
            });
        }
        return Ok(());
    }
    rows(connection, found, table, error.as_ref())?;
    indexes(connection, found, table, error.as_ref())
}

/// Whether the database would fit several times into the memory that SQLite may take: then a sound index
/// cannot ask for more.
fn is_far_smaller_than_memory(connection: &Connection) -> rusqlite::Result<bool> {
    let number = |pragma: &str| {
        let sql = format!("PRAGMA {pragma}");
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    let bytes = number("main.page_count")?.saturating_mul(number("main.page_size")?);
    let limit = number("hard_heap_limit")?;
    // Without a limit it was the system that had no more.
    Ok(bytes.saturating_mul(TIMES_IN_MEMORY) < if limit > 0 { limit } else { LEAST_MEMORY_BYTES })
}

/// Whether the full-text module says so, with the code of any error.
fn says_damage(error: &rusqlite::Error) -> bool {
    let message = error.to_string();
    message.contains("fts5: corrupt") || message.contains("invalid fts5 file format")
}

/// Reads every row from the table's own tree. `refused` is why SQLite does not check it.
fn rows(
    connection: &Connection,
    found: &mut Gathered,
    table: &Table,
    refused: Option<&rusqlite::Error>,
) -> rusqlite::Result<()> {
    let name = &table.name;
    let read =
        stored_columns(connection, name).and_then(|columns| read_rows(connection, table, &columns));
    let damage = match read {
        Ok(None) => return Ok(()),
        Ok(Some(fault)) => fault,
        Err(error) if is_damage(&error) => without_values(&error),
        Err(error) if concerns_an_object(&error) => {
            // Its own tree has an order that is not known: it can only be walked.
            let unreadable = if table.without_rowid {
                walk(connection, name)?
            } else {
                0
            };
            if unreadable == 0 {
                let reason = without_values(refused.unwrap_or(&error));
                found.unjudged(UnjudgedPart::Table, name, &reason);
                return Ok(());
            }
            format!("{unreadable} rows or pages cannot be read")
        }
        Err(error) => return Err(error),
    };
    found.faults.push(IntegrityFault {
        object: DamagedObject::Table {
            table: name.clone(),
        },
        message: damage,
    });
    Ok(())
}

/// The columns that are stored: others are computed, perhaps by what is not known here.
fn stored_columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    const VIRTUAL: i64 = 2;
    connection
        .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> ?2 ORDER BY cid")?
        .query_map(rusqlite::params![table, VIRTUAL], |row| row.get(0))?
        .collect()
}

/// Reads all rows; in words what is wrong with their order.
fn read_rows(
    connection: &Connection,
    table: &Table,
    columns: &[String],
) -> rusqlite::Result<Option<String>> {
    let is_taken = |id: &&str| columns.iter().any(|column| column.eq_ignore_ascii_case(id));
    let id = ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|id| !is_taken(id))
        .filter(|_| !table.without_rowid);
    let listed: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    let sql = format!(
        "SELECT {}, {} FROM main.{} NOT INDEXED",
        id.unwrap_or("NULL"),
        listed.join(", "),
        quoted(&table.name)
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut before: Option<i64> = None;
    while let Some(row) = rows.next()? {
        for column in 1..=columns.len() {
            // Reading the value is what reads its overflow pages.
            row.get_ref(column)?;
        }
        let id: Option<i64> = row.get(0)?;
        if let (Some(before), Some(id)) = (before, id)
            && id <= before
        {
            return Ok(Some(format!("rowid {id} out of order")));
        }
        before = id;
    }
    Ok(None)
}

/// How much of a table without rowids cannot be read from its pages.
fn walk(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    let root: Option<u32> = connection
        .query_row(
            "SELECT rootpage FROM main.sqlite_schema WHERE type = 'table' AND name = ?1",
            [table],
            |row| row.get(0),
        )
        .optional()?;
    let columns = stored_columns(connection, table)?.len();
    let Some(root) = root else { return Ok(0) };
    let walked =
        Pages::open(connection)?
            .walk_within::<rusqlite::Error>(root, 1..=columns, &mut |_| Ok(()))?;
    Ok(walked.unreadable.pages + walked.unreadable.entries)
}

/// Compares each index with the rows.
fn indexes(
    connection: &Connection,
    found: &mut Gathered,
    table: &Table,
    refused: Option<&rusqlite::Error>,
) -> rusqlite::Result<()> {
    let names: Vec<(String, bool)> = connection
        .prepare("SELECT name, origin = 'pk' FROM pragma_index_list(?1) ORDER BY name")?
        .query_map([&table.name], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (index, is_primary) in names {
        if table.without_rowid && is_primary {
            // It is the table.
            continue;
        }
        let compared = compare(connection, &index, &table.name)?;
        if let Some(why) = compared.is_computed_otherwise() {
            found.unjudged(UnjudgedPart::Index, &index, &why);
            continue;
        }
        let message = match fault_of(&compared.comparison) {
            Some(message) => Some(message),
            None => out_of_order(connection, &index, &table.name)?,
        };
        if let Some(message) = message {
            found.faults.push(IntegrityFault {
                object: DamagedObject::Index {
                    rebuildable: rebuildable(connection, &index),
                    index,
                    table: table.name.clone(),
                },
                message,
            });
        } else {
            let comparison = &compared.comparison;
            if let Some(why) = &comparison.unproven {
                let part = if comparison.is_compared {
                    UnjudgedPart::IndexOrder
                } else {
                    UnjudgedPart::Index
                };
                // Of a tree whose order is not known the planner says no more than that.
                let refused = refused.filter(|_| why.starts_with("no query solution"));
                let why = refused.map_or_else(|| why.clone(), without_values);
                found.unjudged(part, &index, &why);
            }
            if comparison.shared_keys > 0 {
                found.shared.insert((index, table.name.clone()));
            }
            continue;
        }
        found.compared(compared);
    }
    Ok(())
}

/// In words what the comparison says against an index.
fn fault_of(compared: &IndexComparison) -> Option<String> {
    let index = &compared.index;
    if compared.unreadable > 0 {
        return compared.unproven.clone();
    }
    if compared.disagreements > 0 {
        let rows = compared.disagreements;
        return Some(format!(
            "{rows} rows differ from their entries in index {index}"
        ));
    }
    if compared.missing_entries > 0 {
        let rows = compared.missing_entries;
        return Some(format!("{rows} rows are missing from index {index}"));
    }
    let surplus = compared.removable.total();
    (surplus > 0).then(|| format!("index {index} has {surplus} entries that no row has"))
}

/// In words where an index is out of order; none where its order is not known here.
fn out_of_order(
    connection: &Connection,
    index: &str,
    table: &str,
) -> rusqlite::Result<Option<String>> {
    let Ok(shape) = Shape::read(connection, index, table)? else {
        return Ok(None);
    };
    if !shape.order_is_known() {
        return Ok(None);
    }
    let (mut number, mut fault, mut before) = (0_u64, None, None::<Vec<_>>);
    Pages::open(connection)?.walk::<rusqlite::Error>(
        shape.root,
        shape.parts.len(),
        &mut |entry| {
            number += 1;
            let is_after = before
                .as_ref()
                .is_none_or(|before| shape.order(&refs(before), entry).is_le());
            if !is_after && fault.is_none() {
                fault = Some(format!("entry {number} of index {index} is out of order"));
            }
            before = Some(owned(entry));
            Ok(())
        },
    )?;
    Ok(fault)
}

/// Whether an error concerns one object, and not the database or the time.
pub(super) fn concerns_an_object(error: &rusqlite::Error) -> bool {
    // Without a code a value was not what it should be.
    error.sqlite_error_code().is_none_or(|code| {
        matches!(
            code,
            ErrorCode::Unknown
                | ErrorCode::TypeMismatch
                | ErrorCode::ConstraintViolation
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange
                | ErrorCode::AuthorizationForStatementDenied
        )
    })
}
