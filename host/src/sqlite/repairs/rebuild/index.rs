//! An index, built again with `REINDEX`.

use rusqlite::Connection;

use super::super::InRepair as _;
use super::super::text_fact;
use super::proven::{Derived, Goes, Rows};
use crate::model::Finding;
use crate::repair::RepairError;
use crate::sqlite::integrity::{compare, quoted, rows_of};
use crate::sqlite_state::{DamagedObject, IndexComparison, IntegrityFault, RemovableEntries};

/// An index of a table.
pub(super) struct Index {
    index: String,
    table: String,
}

impl Index {
    /// The index that a finding is about.
    pub(super) fn of(finding: &Finding) -> Result<Self, RepairError> {
        Ok(Self {
            index: text_fact(finding, "index")?,
            table: text_fact(finding, "table")?,
        })
    }
}

impl Derived for Index {
    fn name(&self) -> String {
        format!("index `{}`", self.index)
    }

    fn source(&self) -> &str {
        &self.table
    }

    fn statements(&self) -> String {
        format!("REINDEX main.{}", quoted(&self.index))
    }

    fn how(&self) -> String {
        format!("REINDEX `{}`", self.index)
    }

    fn how_proven(&self) -> String {
        format!(
            "on the copy: compare each entry of `{}` with its row in `{}`, rehearse the rebuild, \
             check, compare again",
            self.index, self.table
        )
    }

    fn is_there(&self, db: &Connection) -> Result<(), RepairError> {
        let known: bool = db
            .query_row(
                "SELECT count(*) FROM main.sqlite_schema
             WHERE type = 'index' AND name = ?1 AND tbl_name = ?2",
                [&self.index, &self.table],
                |row| row.get(0),
            )
            .in_repair()?;
        if known {
            return Ok(());
        }
        Err(RepairError::Unmet {
            name: "index-exists",
            detail: format!("`{}` is no index of `{}`", self.index, self.table),
        })
    }

    fn is_of(&self, fault: &IntegrityFault) -> bool {
        matches!(&fault.object, DamagedObject::Index { index, .. } if *index == self.index)
    }

    fn is_of_source(&self, fault: &IntegrityFault) -> bool {
        matches!(&fault.object, DamagedObject::Table { table } if *table == self.table)
            || fault.object == DamagedObject::Schema
    }

    fn may_go(&self, db: &Connection, _: &[IntegrityFault]) -> Result<Goes, RepairError> {
        let compared = compare(db, &self.index, &self.table)
            .in_repair()?
            .comparison;
        may_go(&compared)?;
        Ok(what_goes(&compared))
    }

    fn is_as_built(&self, _: &Connection, _: &Connection) -> Result<Option<String>, RepairError> {
        // Each entry was compared with its row.
        Ok(None)
    }

    fn agrees(&self, db: &Connection) -> Result<Result<String, String>, RepairError> {
        let compared = compare(db, &self.index, &self.table)
            .in_repair()?
            .comparison;
        if let Some(why) = compared.unproven {
            return Ok(Err(why));
        }
        let differ = compared.missing_entries + compared.removable.total() + compared.disagreements;
        let Self { index, table } = self;
        Ok(if differ > 0 {
            Err(format!(
                "{differ} entries of index `{index}` still differ from the rows of `{table}`"
            ))
        } else {
            Ok(format!(
                "index `{index}` has the entry of each of the {} rows of table `{table}` that \
                 belong into it, and no other",
                compared.rows
            ))
        })
    }

    fn content(&self, _: &Connection) -> Result<Option<String>, RepairError> {
        Ok(None)
    }

    fn rows(&self, db: &Connection) -> Result<Rows, RepairError> {
        let sql = rows_of(db, &self.index, &self.table)
            .in_repair()?
            .map_err(RepairError::Unproven)?;
        Rows::of(db, &sql)
    }
}

/// Whether each entry that a rebuild removes may go.
fn may_go(compared: &IndexComparison) -> Result<(), RepairError> {
    let unmet = |name, detail| Err(RepairError::Unmet { name, detail });
    if compared.disagreements > 0 {
        return unmet(
            "entries-proven",
            format!(
                "{} entries of index `{}` say something else than their rows, and which is true \
                 cannot be known",
                compared.disagreements, compared.index
            ),
        );
    }
    if let Some(why) = &compared.unproven {
        return unmet("entries-proven", format!("not proven: {why}"));
    }
    if compared.shared_keys > 0 {
        return unmet(
            "keys-unique",
            format!(
                "{} keys are shared by several rows, and the index must be unique",
                compared.shared_keys
            ),
        );
    }
    Ok(())
}

/// What a rebuild removes and adds, in words.
fn what_goes(compared: &IndexComparison) -> Goes {
    let RemovableEntries {
        without_row,
        duplicates,
        misnamed,
        out_of_place,
    } = compared.removable;
    let kinds = [
        (without_row, "without a row"),
        (duplicates, "that stood there twice"),
        (misnamed, "under the rowid of another row"),
        (out_of_place, "where their key was never put"),
    ];
    let went: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let went = if went.is_empty() {
        "no entry went".to_owned()
    } else {
        format!(
            "entries went only where no row loses by it: {}",
            went.join(", ")
        )
    };
    let text = match compared.missing_entries {
        0 => went,
        missing => format!("{went}; {missing} missing ones came"),
    };
    let doubt = (without_row > 0).then(|| {
        format!(
            "{without_row} entries had no row: no other index of the table names these rows, but one that \
             was built after they were lost would not either"
        )
    });
    Goes { text, doubt }
}
