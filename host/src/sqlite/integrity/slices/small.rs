//! Tables that SQLite itself checks within one slice.

use rusqlite::{Connection, OptionalExtension as _};

use super::super::messages::Schema;
use super::{
    Came, Check, Coverage, Entries, Gathered, Rows, UnjudgedPart, Work, compare_damaged, is_damage,
    is_interrupted, leave_key_order_to_application, objects, quoted, rules,
};

/// Tables whose numbers span no more than this are checked by SQLite itself, in one slice.
const SMALL_SPAN: u64 = 4000;

/// Has SQLite check a table with its indexes where that can be short; else says what to read instead.
pub(super) fn whole_table(
    connection: &Connection,
    check: Check,
    schema: &Schema,
    table: &str,
    found: &mut Gathered,
    coverage: &mut Coverage,
) -> rusqlite::Result<Came> {
    let kind: Option<(bool, bool)> = connection
        .prepare(
            "SELECT type = 'virtual', wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1",
        )?
        .query_row([table], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((is_virtual, without_rowid)) = kind else {
        return Ok(Came::Ended(Vec::new()));
    };
    let by_rows = !is_virtual && !without_rowid;
    let is_small = match Rows::span(connection, table) {
        _ if !by_rows => true,
        Ok(span) => span.is_some_and(|span| span <= SMALL_SPAN),
        Err(error) if is_damage(&error) => false,
        Err(error) => return Err(error),
    };
    if is_small {
        let mut alone = Gathered::default();
        let checked = objects::run_one(connection, schema, check, &mut alone, table);
        let in_time = match checked {
            Ok(()) => true,
            Err(error) if is_interrupted(&error) => false,
            Err(error) => return Err(error),
        };
        if in_time {
            leave_key_order_to_application(connection, &mut alone);
            compare_damaged(connection, &mut alone);
            rules::settle_shared(connection, &mut alone)?;
            found.join(alone);
            if by_rows {
                let sql = format!("SELECT count(*) FROM main.{}", quoted(table));
                let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
                coverage.rows += u64::try_from(rows).unwrap_or(0);
            }
            return Ok(Came::Ended(Vec::new()));
        }
    }
    if !by_rows {
        let part = if is_virtual {
            UnjudgedPart::VirtualTable
        } else {
            UnjudgedPart::Table
        };
        found.unjudged(
            part,
            table,
            "it is too large to be checked in the few milliseconds for which writers may be kept \
             waiting; a check of a copy, or while nobody writes, judges it",
        );
    }
    Ok(Came::Ended(if is_virtual {
        Vec::new()
    } else {
        parts(connection, table, by_rows)?
    }))
}

/// The rows of a table, where they have numbers, and the entries of each of its indexes.
pub(super) fn parts(
    connection: &Connection,
    table: &str,
    by_rows: bool,
) -> rusqlite::Result<Vec<Work>> {
    let indexes: Vec<String> = connection
        .prepare(
            "SELECT name FROM pragma_index_list(?1) WHERE NOT (origin = 'pk' AND NOT ?2) ORDER BY name",
        )?
        .query_map(rusqlite::params![table, by_rows], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let rows = by_rows.then(|| Work::Rows(Rows::new(table)));
    let entries = |index: &String| Work::Entries(Entries::new(table, index));
    Ok(rows
        .into_iter()
        .chain(indexes.iter().map(entries))
        .collect())
}
