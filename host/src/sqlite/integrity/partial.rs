//! Partial indexes: `integrity_check` of SQLite 3.54 asks whether each row that belongs into one is in it,
//! and not whether other entries are. Here both sides are counted.

use rusqlite::Connection;

use super::objects::concerns_an_object;
use super::shape::Shape;
use super::{Gathered, is_damage, rebuildable};
use crate::sqlite::btree::Pages;
use crate::sqlite_state::{DamagedObject, IntegrityFault};

/// Finds partial indexes with more or fewer entries than rows belong into them. Those with a fault
/// that is known are left out. Of which the application may say what belongs into them is seen when their
/// entries are compared with the rows: an entry without a row is damage whoever says so.
///
/// # Errors
///
/// SQLite's own where it concerns all of the database: it is busy, or the time is over.
pub(super) fn count(connection: &Connection, found: &mut Gathered) -> rusqlite::Result<()> {
    let indexes: Vec<(String, String)> = connection
        .prepare(
            "SELECT l.name, t.name FROM pragma_table_list AS t \
             JOIN pragma_index_list(t.name) AS l \
             WHERE t.schema = 'main' AND t.type IN ('table', 'shadow') AND l.partial \
             ORDER BY l.name",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (index, table) in indexes {
        let is_known = |fault: &IntegrityFault| {
            fault.object.index() == Some(&index)
                || fault.object.index().is_none() && fault.object.table() == Some(&table)
        };
        if found.faults.iter().any(is_known) {
            continue;
        }
        match differs(connection, &index, &table) {
            Ok(false) => {}
            Ok(true) => found.faults.push(IntegrityFault {
                message: format!("wrong # of entries in index {index}"),
                object: DamagedObject::Index {
                    rebuildable: rebuildable(connection, &index),
                    index,
                    table,
                },
            }),
            // What damages it is told by the check itself.
            Err(error) if is_damage(&error) || concerns_an_object(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn differs(connection: &Connection, index: &str, table: &str) -> rusqlite::Result<bool> {
    let Ok(shape) = Shape::read(connection, index, table)? else {
        return Ok(false);
    };
    let sql = shape.count_sql();
    if !shape.reads_the_table(connection, &sql)? {
        return Ok(false);
    }
    let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    let walked = Pages::open(connection)?.walk::<rusqlite::Error>(
        shape.root,
        shape.parts.len(),
        &mut |_| Ok(()),
    )?;
    let is_whole = walked.unreadable.is_nothing();
    let entries = walked.entries + walked.long;
    Ok(is_whole && i64::try_from(entries) != Ok(rows))
}
