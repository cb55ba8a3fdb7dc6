//! `index.rebuild`: builds a damaged index again from its table.
//!
//! One write transaction from the first check to the last: until it commits, SQLite takes
//! everything back by itself, whatever happens to the process. Before that, the files are copied
//! aside. After a commit there is no way back that would not lose what others commit meanwhile;
//! the copy is then for a person.

use std::path::PathBuf;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use sha2::{Digest, Sha256};

use super::{Scene, step, text_fact};
use crate::journal::{Intent, PlannedStep};
use crate::model::DataLoss;
use crate::repair::{Proof, Repair, RepairError};

/// The repair.
pub(super) struct Rebuild {
    scene: Scene,
    copy: PathBuf,
    index: String,
    table: String,
    /// Rows of the table, as the rebuilding transaction saw them.
    rows: u64,
}

impl Rebuild {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        Ok(Self {
            copy: scene.site.copies.join(&intent.repair_id),
            index: text_fact(&intent.finding, "index")?,
            table: text_fact(&intent.finding, "table")?,
            rows: 0,
            scene,
        })
    }

    /// What SQLite says of this table and its indexes; empty when all is well.
    fn faults(&self, db: &Connection) -> Result<Vec<String>, RepairError> {
        let mut check = db.prepare("SELECT * FROM pragma_integrity_check(?1)")?;
        let lines: Vec<String> = check
            .query_map([&self.table], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

impl Repair for Rebuild {
    fn precondition(&mut self) -> Result<(), RepairError> {
        let db = self.scene.open()?;
        let known: bool = db.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = ?1 AND tbl_name = ?2",
            [&self.index, &self.table],
            |row| row.get(0),
        )?;
        if !known {
            let detail = format!("`{}` is no longer an index of `{}`", self.index, self.table);
            return Err(RepairError::Unmet {
                name: "index-exists",
                detail,
            });
        }
        // The table must be readable from end to end without any index.
        digest(&db, &self.table).map_err(|error| RepairError::Unmet {
            name: "table-clean",
            detail: error.to_string(),
        })?;
        Ok(())
    }

    fn plan(&self) -> Vec<PlannedStep> {
        vec![
            step(
                "copy-aside",
                "copy the database's files aside, synced".to_owned(),
            ),
            step(
                "rebuild",
                format!(
                    "in one transaction: read `{}` without indexes, REINDEX `{}`, check, read again, compare",
                    self.table, self.index
                ),
            ),
        ]
    }

    fn apply(&mut self, name: &str) -> Result<(), RepairError> {
        if name == "copy-aside" {
            // Nobody writes while the copy is made, so the files fit together.
            let mut db = self.scene.open()?;
            let quiet = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            self.scene.raw()?.copy(self.scene.path(), &self.copy)?;
            quiet.rollback()?;
            return Ok(());
        }
        let mut db = self.scene.open()?;
        let work = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.rows = rebuild(self, &work)?;
        work.commit()?;
        Ok(())
    }

    /// Seen anew, on another connection: the table and all its indexes agree.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let db = self.scene.open()?;
        if let Some(fault) = self.faults(&db)?.first() {
            return Err(RepairError::Unproven(fault.clone()));
        }
        let rows: i64 = db.query_row(
            &format!("SELECT count(*) FROM {} NOT INDEXED", quoted(&self.table)),
            [],
            |row| row.get(0),
        )?;
        let text = format!(
            "index `{}` agrees with table `{}` ({rows} rows), whose content did not change",
            self.index, self.table
        );
        Ok(Proof {
            text,
            loss: DataLoss {
                commits: 0,
                percent: 0.0,
            },
        })
    }

    fn undo(&mut self) -> Result<String, RepairError> {
        if self.rows > 0 {
            return Err(RepairError::NoWayBack(
                "the rebuilt index is committed, and others may have written since; the files as they were are copied aside",
            ));
        }
        Ok("the transaction was rolled back, nothing is changed".to_owned())
    }
}

/// Rebuilds inside a transaction, and proves inside it that no row changed.
fn rebuild(repair: &Rebuild, work: &Transaction<'_>) -> Result<u64, RepairError> {
    let before = digest(work, &repair.table)?;
    work.execute_batch(&format!("REINDEX {}", quoted(&repair.index)))?;
    // Another damaged index of the table is its own incident.
    let ours = format!("index {}", repair.index);
    if let Some(fault) = repair
        .faults(work)?
        .iter()
        .find(|line| line.ends_with(&ours))
    {
        return Err(RepairError::Unproven(fault.clone()));
    }
    let after = digest(work, &repair.table)?;
    if before != after {
        return Err(RepairError::Unproven(format!(
            "table `{}` changed",
            repair.table
        )));
    }
    Ok(after.0)
}

/// Count and SHA-256 of all rows of a table, read without any index.
fn digest(db: &Connection, table: &str) -> Result<(u64, [u8; 32]), RepairError> {
    let mut all = db.prepare(&format!("SELECT * FROM {} NOT INDEXED", quoted(table)))?;
    let columns = all.column_count();
    let mut rows = all.query([])?;
    let mut hash = Sha256::new();
    let mut count = 0;
    while let Some(row) = rows.next()? {
        count += 1;
        for column in 0..columns {
            let (tag, bytes): (u8, &[u8]) = match row.get_ref(column)? {
                ValueRef::Null => (0, &[]),
                ValueRef::Integer(value) => (1, &value.to_le_bytes()),
                ValueRef::Real(value) => (2, &value.to_bits().to_le_bytes()),
                ValueRef::Text(value) => (3, value),
                ValueRef::Blob(value) => (4, value),
            };
            hash.update([tag]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
    }
    Ok((count, hash.finalize().into()))
}

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
