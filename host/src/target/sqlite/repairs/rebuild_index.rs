//! `index.rebuild`: builds a damaged index again from its table.
//!
//! One write transaction from the first check to the last: until it commits, SQLite takes
//! everything back by itself, whatever happens to the process, so every kill point is safe. Killed
//! in the commit, the next start looks which it was. Before that a copy is taken. After the commit
//! there is no way back that would not lose what others commit meanwhile; the copy is then for a
//! person.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use sha2::{Digest as _, Sha256};

use super::{NO_LOSS, Scene, is_busy, step, text_fact};
use crate::journal::{Intent, PlannedStep};
use crate::repair::{Proof, Repair, RepairError, Resume};
use crate::target::sqlite::integrity::{self, Check, Mode, quoted};
use crate::target::sqlite::{DamagedObject, IntegrityFault};

/// How long the transaction may hold up writers.
const DEADLINE: Duration = Duration::from_secs(60);

/// Virtual machine instructions between two looks at the deadline.
const PROGRESS_OPS: i32 = 10_000;

/// Faults that are compared at most; more than that is nothing for a repair of one index.
const MAX_FAULTS: u32 = 100_000;

/// Room that must be free for the copy, as a multiple of the database: the specification's
/// `check_space(multiplier=2.0)`, section 1.2 C.
const ROOM: u64 = 2;

/// The repair.
pub(super) struct RebuildIndex {
    scene: Scene,
    /// The directory of the copy.
    copy: PathBuf,
    index: String,
    table: String,
    /// Whether this process committed.
    committed: bool,
}

impl RebuildIndex {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        Ok(Self {
            copy: scene.site.copies.join(&intent.repair_id),
            index: text_fact(&intent.finding, "index")?,
            table: text_fact(&intent.finding, "table")?,
            committed: false,
            scene,
        })
    }

    /// A copy of the database as it is now, synced. It holds the damaged index too.
    fn copy_aside(&self) -> Result<(), RepairError> {
        fs::create_dir_all(&self.copy)?;
        let file = self.copy.join("database");
        let from = self.scene.open()?;
        let mut to = Connection::open(&file)?;
        match Backup::new(&from, &mut to)?.step(-1)? {
            StepResult::Done => {}
            _ => return Err(busy("the database is busy, no copy could be taken")),
        }
        to.close().map_err(|(_, error)| error)?;
        File::open(&file)?.sync_all()?;
        File::open(&self.copy)?.sync_all()?;
        Ok(())
    }

    fn rebuild(&mut self) -> Result<(), RepairError> {
        let mut db = self.scene.open()?;
        let begin = Instant::now();
        db.progress_handler(PROGRESS_OPS, Some(move || begin.elapsed() > DEADLINE))?;
        let work = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(RepairError::from)
            .map_err(|error| match error {
                error if is_busy(&error) => busy("the write lock is taken"),
                error => error,
            })?;
        self.rebuild_in(&work)?;
        work.commit()?;
        self.committed = true;
        Ok(())
    }

    /// Rebuilds inside the transaction, and proves inside it that nothing but the index changed.
    fn rebuild_in(&self, work: &Transaction<'_>) -> Result<(), RepairError> {
        let faults_before = faults(work)?;
        if let Some(fault) = faults_before.iter().find(|f| self.is_of_table(f)) {
            return Err(RepairError::Unmet {
                name: "table-clean",
                detail: fault.message.clone(),
            });
        }
        let rows_before = digest(work, &self.table)?;
        work.execute_batch(&format!("REINDEX main.{}", quoted(&self.index)))?;
        // Another damaged index is its own incident: it may stay, but nothing may come to it.
        let known: BTreeSet<&str> = faults_before
            .iter()
            .filter(|f| !self.is_of_index(f))
            .map(|f| f.message.as_str())
            .collect();
        let faults_after = faults(work)?;
        let new = |f: &&IntegrityFault| !known.contains(f.message.as_str());
        if let Some(fault) = faults_after.iter().find(new) {
            return Err(RepairError::Unproven(fault.message.clone()));
        }
        if digest(work, &self.table)? != rows_before {
            let detail = format!("the rows of table `{}` changed", self.table);
            return Err(RepairError::Unproven(detail));
        }
        Ok(())
    }

    fn is_of_index(&self, fault: &IntegrityFault) -> bool {
        matches!(&fault.object, DamagedObject::Index { index, .. } if *index == self.index)
    }

    fn is_of_table(&self, fault: &IntegrityFault) -> bool {
        matches!(&fault.object, DamagedObject::Table { table } if *table == self.table)
            || fault.object == DamagedObject::Schema
    }
}

impl Repair for RebuildIndex {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        self.scene.sound_log()?;
        let db = self.scene.open()?;
        let known: bool = db.query_row(
            "SELECT count(*) FROM main.sqlite_schema
             WHERE type = 'index' AND name = ?1 AND tbl_name = ?2",
            [&self.index, &self.table],
            |row| row.get(0),
        )?;
        if !known {
            let detail = format!("`{}` is no index of `{}`", self.index, self.table);
            return Err(RepairError::Unmet {
                name: "index-exists",
                detail,
            });
        }
        let bytes: i64 = db.query_row(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
            [],
            |row| row.get(0),
        )?;
        let bytes = u64::try_from(bytes).unwrap_or(0);
        super::room_for(&self.scene.site.copies, bytes.saturating_mul(ROOM))?;
        Ok(serde_json::Value::Null)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let copy = format!("copy the database to {}, synced", self.copy.display());
        let rebuild = format!(
            "in one transaction: read `{}` without indexes, REINDEX `{}`, check, read again, compare",
            self.table, self.index
        );
        vec![step("copy-aside", copy), step("rebuild", rebuild)]
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        if step == "copy-aside" {
            self.copy_aside()
        } else {
            self.rebuild()
        }
    }

    /// Seen anew, on another connection: the table and the index agree.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let db = self.scene.open()?;
        let faults = faults(&db)?;
        let wrong = |f: &&IntegrityFault| self.is_of_index(f) || self.is_of_table(f);
        if let Some(fault) = faults.iter().find(wrong) {
            return Err(RepairError::Unproven(fault.message.clone()));
        }
        Ok(Proof {
            text: format!(
                "index `{}` agrees with table `{}`, no row of which was changed",
                self.index, self.table
            ),
            loss: NO_LOSS,
        })
    }

    fn undo(&mut self, begun: &[String]) -> Result<String, RepairError> {
        let may_be_committed = self.committed || begun.iter().any(|step| step == "rebuild");
        // What was committed was clean when it was. A fault in the index says: not committed, or
        // damaged anew; only this process knows the difference.
        if self.committed
            || may_be_committed
                && !faults(&self.scene.open()?)?
                    .iter()
                    .any(|f| self.is_of_index(f))
        {
            return Err(RepairError::NoWayBack(
                "the rebuilt index is committed, and others may have written since; the database as it was is copied aside",
            ));
        }
        if self.copy.exists() {
            fs::remove_dir_all(&self.copy)?;
        }
        Ok("nothing was committed, nothing is changed".to_owned())
    }

    /// Not taken up again: if it was too much for the process once, it may be so again.
    fn resume(&self, _step: &str) -> Resume {
        Resume::TakeBack
    }
}

fn busy(detail: &str) -> RepairError {
    RepairError::Unmet {
        name: "not-busy",
        detail: detail.to_owned(),
    }
}

fn faults(db: &Connection) -> Result<Vec<IntegrityFault>, RepairError> {
    let check = Check {
        mode: Mode::Full,
        max_faults: MAX_FAULTS,
        deadline: None,
    };
    Ok(integrity::faults(db, check)?)
}

/// Count and SHA-256 of all rows of a table, read in its own order without any index.
fn digest(db: &Connection, table: &str) -> Result<(u64, [u8; 32]), RepairError> {
    let mut all = db.prepare(&format!("SELECT * FROM main.{} NOT INDEXED", quoted(table)))?;
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
