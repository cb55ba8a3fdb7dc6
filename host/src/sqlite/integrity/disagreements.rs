//! What an index and its table disagree in, and what of it the application may have defined in its
//! own way.

use std::collections::BTreeSet;

use rusqlite::{Connection, ErrorCode};

use super::compare::{Compared, compare, may_be_computed_otherwise};
use super::{DamagedObject, Gathered, IndexComparison, IntegrityFault, without_values};
use crate::sqlite_state::UnjudgedPart;

/// What SQLite says of rows of a table without rowids that are not in the order of its key.
const KEY_ORDER: &str = "row not in PRIMARY KEY order for ";

/// Takes back what SQLite says of the order of a table's own key where the application may define that
/// order: its rows are read whole all the same.
pub(super) fn leave_key_order_to_application(connection: &Connection, found: &mut Gathered) {
    let of_order = |fault: &IntegrityFault| match &fault.object {
        DamagedObject::Table { table } if fault.message.starts_with(KEY_ORDER) => {
            Some(table.clone())
        }
        _ => None,
    };
    let tables: BTreeSet<String> = found.faults.iter().filter_map(of_order).collect();
    for table in tables {
        let collation = connection.query_row(
            "SELECT x.coll FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x
             WHERE l.origin = 'pk' AND x.key AND x.coll <> 'BINARY' COLLATE NOCASE",
            [&table],
            |row| row.get::<_, String>(0),
        );
        let Ok(collation) = collation else {
            continue;
        };
        found
            .faults
            .retain(|fault| of_order(fault).as_ref() != Some(&table));
        let why = format!(
            "the application may define the collation {collation} of its key in its own way"
        );
        found.unjudged(UnjudgedPart::IndexOrder, &table, &why);
    }
}

/// Indexes that are compared in one check; others wait until these are mended, but for those that are
/// computed.
const MOST_COMPARED: usize = 32;

/// Compares each index with a fault with its table: whether the index or the row is wrong is
/// nothing that the check itself knows.
pub(super) fn compare_damaged(connection: &Connection, found: &mut Gathered) {
    let damaged: BTreeSet<(String, String)> = found
        .faults
        .iter()
        .filter_map(|fault| match &fault.object {
            DamagedObject::Index { index, table, .. } => Some((index.clone(), table.clone())),
            _ => None,
        })
        .collect();
    let compared: Vec<String> = found.comparisons.iter().map(|c| c.index.clone()).collect();
    let new = |(index, _): &(String, String)| !compared.contains(index);
    for (place, (index, table)) in damaged.into_iter().filter(new).enumerate() {
        let (index, table) = (index.as_str(), table.as_str());
        // What may be no fault to the application is never told because there are many.
        if place >= MOST_COMPARED && !may_be_computed_otherwise(connection, index, table) {
            continue;
        }
        let compared = compare(connection, index, table).unwrap_or_else(|error| Compared {
            comparison: IndexComparison {
                index: index.to_owned(),
                table: table.to_owned(),
                unproven: Some(match error.sqlite_error_code() {
                    Some(ErrorCode::OperationInterrupted) => {
                        "the time for the check was over before its entries were compared".into()
                    }
                    _ => without_values(&error),
                }),
                ..IndexComparison::default()
            },
            ..Compared::default()
        });
        if leave_to_application(&compared, found) {
            continue;
        }
        if compared.comparison.shared_keys > 0 {
            found.shared.insert((index.to_owned(), table.to_owned()));
        }
        if compared.comparison.lost_rows > 0 {
            name_lost_rows(found, table, compared.comparison.lost_rows);
        }
        found.compared(compared);
    }
}

/// Names rows that several indexes of a table have entries of, and the table does not hold: a page of the
/// table was lost, or never written, and is well formed all the same.
fn name_lost_rows(found: &mut Gathered, table: &str, rows: u64) {
    const ENDING: &str = " rows that several of its indexes name are not in it";
    let object = DamagedObject::Table {
        table: table.to_owned(),
    };
    let is_known =
        |fault: &IntegrityFault| fault.object == object && fault.message.ends_with(ENDING);
    if !found.faults.iter().any(is_known) {
        found.faults.push(IntegrityFault {
            message: format!("{rows}{ENDING}"),
            object,
        });
    }
}

/// Where the entries of an index are those of the rows but for their order, or for what functions
/// compute, and the application may define these: takes the faults back, which are none to the
/// application, and says what was not judged. Says whether it did.
fn leave_to_application(compared: &Compared, found: &mut Gathered) -> bool {
    let of = &compared.comparison;
    let otherwise = compared.is_computed_otherwise();
    let left = of.left_to_application.as_ref();
    if otherwise.is_none() && left.is_none() {
        return false;
    }
    let of_index = |fault: &IntegrityFault| matches!(&fault.object, DamagedObject::Index { index, .. } if *index == of.index);
    // What an entry is missed by, and seems to be there twice by, is the order.
    let is_order = |fault: &IntegrityFault| {
        fault.message.contains(" missing from index ")
            || fault.message.starts_with("non-unique entry in index ")
    };
    let is_value = |fault: &IntegrityFault| {
        is_order(fault)
            || fault.message.contains(" differ from ")
            || fault
                .message
                .contains(" stores an imprecise floating-point value")
            || fault.message.contains(" missing from index ")
            || fault.message.starts_with("wrong # of entries in index ")
    };
    let all = |is: &dyn Fn(&IntegrityFault) -> bool| {
        found.faults.iter().filter(|fault| of_index(fault)).all(is)
    };
    let (part, why) = match otherwise {
        Some(why) if all(&is_value) => (UnjudgedPart::Index, why),
        Some(_) => return false,
        None => {
            let differs = of.disagreements > 0
                || of.missing_entries > 0
                || of.removable.total() > 0
                || of.rows != of.entries;
            if differs || !all(&is_order) {
                return false;
            }
            let Some(why) = left else { return false };
            (UnjudgedPart::IndexOrder, why.clone())
        }
    };
    found.faults.retain(|fault| !of_index(fault));
    found.unjudged(part, &of.index, &why);
    true
}
