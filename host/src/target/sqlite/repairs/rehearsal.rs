//! Proves on a copy what a rebuild of an index will do: what it removes, that it succeeds, that it
//! changes no row, and how long it takes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::repair::RepairError;
use crate::target::sqlite::connection::{self, Access, without_values};
use crate::target::sqlite::integrity::{self, Check, Mode, compare, quoted, rows_of};
use crate::target::sqlite::{DamagedObject, IndexComparison, IntegrityFault, RemovableEntries};

/// Faults that are compared at most; more than that is nothing for a repair of one index.
const MAX_FAULTS: u32 = 100_000;

/// What was proven on a copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Proven {
    v: u32,
    removable: RemovableEntries,
    missing_entries: u64,
    /// The rows of the table.
    pub(super) rows: Rows,
    /// What the check says of everything else: it may stay, but nothing may come to it.
    faults_elsewhere: BTreeSet<String>,
    proof_ms: u64,
    /// 0 when it was not rehearsed.
    rebuild_ms: u64,
}

/// How many rows there are, and a digest of all their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rows {
    count: u64,
    sha256: String,
}

impl Proven {
    /// How long it took to prove.
    pub(super) fn proven_in(&self) -> Duration {
        Duration::from_millis(self.proof_ms)
    }

    /// How long the rebuild took on the copy, its commit included.
    pub(super) fn rebuilt_in(&self) -> Duration {
        Duration::from_millis(self.rebuild_ms)
    }

    /// What the rebuild removes and adds, in words.
    pub(super) fn what_went(&self) -> String {
        let RemovableEntries {
            without_row,
            duplicates,
            misnamed,
            out_of_place,
        } = self.removable;
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
        match self.missing_entries {
            0 => went,
            missing => format!("{went}; {missing} missing ones came"),
        }
    }
}

/// Proves everything, the rebuild rehearsed on a copy of the copy.
pub(super) fn prove(copy: &Path, index: &str, table: &str) -> Result<Proven, RepairError> {
    let mut proven = prove_without_rebuild(copy, index, table)?;
    let stage = copy.with_file_name("rehearsal");
    fs::create_dir_all(&stage)?;
    let database = stage.join("database");
    fs::copy(copy, &database)?;
    let rehearsed = rehearse(&database, index, table, &mut proven);
    fs::remove_dir_all(&stage)?;
    rehearsed?;
    Ok(proven)
}

fn rehearse(
    database: &Path,
    index: &str,
    table: &str,
    proven: &mut Proven,
) -> Result<(), RepairError> {
    let db = connection::open(database, Access::Copy, None)?;
    let begin = Instant::now();
    db.execute_batch(&format!("REINDEX main.{}", quoted(index)))
        .map_err(|error| RepairError::Unmet {
            name: "rebuildable",
            detail: without_values(&error),
        })?;
    proven.rebuild_ms = milliseconds(begin.elapsed());
    let after = compare(&db, index, table)?.comparison;
    let differ = after.missing_entries + after.removable.total() + after.disagreements;
    if differ > 0 || after.unproven.is_some() {
        return Err(RepairError::Unmet {
            name: "rebuildable",
            detail: format!(
                "after the rebuild of a copy {differ} entries still differ{}",
                after
                    .unproven
                    .map_or_else(String::new, |why| format!(", {why}"))
            ),
        });
    }
    no_new_faults(&db, proven, index, table)?;
    if rows(&db, index, table)? != proven.rows {
        let detail = format!("the rebuild of a copy changed rows of table `{table}`");
        return Err(RepairError::Unproven(detail));
    }
    Ok(())
}

/// Proves what the rebuild removes, and takes down what must stay as it is.
pub(super) fn prove_without_rebuild(
    copy: &Path,
    index: &str,
    table: &str,
) -> Result<Proven, RepairError> {
    let begin = Instant::now();
    // Nothing is written to it.
    let db = connection::open(copy, Access::Copy, None)?;
    let found = faults(&db)?;
    let of_table = |fault: &&IntegrityFault| is_of_table(fault, table);
    if let Some(fault) = found.iter().find(of_table) {
        return Err(RepairError::Unmet {
            name: "table-clean",
            detail: fault.message.clone(),
        });
    }
    let compared = compare(&db, index, table)?.comparison;
    may_go(&compared)?;
    Ok(Proven {
        v: 1,
        removable: compared.removable,
        missing_entries: compared.missing_entries,
        rows: rows(&db, index, table)?,
        faults_elsewhere: found
            .iter()
            .filter(|fault| !is_of_index(fault, index))
            .map(|fault| fault.message.clone())
            .collect(),
        proof_ms: milliseconds(begin.elapsed()),
        rebuild_ms: 0,
    })
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

/// That the check finds nothing of the index and its table, and nothing new elsewhere.
pub(super) fn no_new_faults(
    db: &Connection,
    proven: &Proven,
    index: &str,
    table: &str,
) -> Result<(), RepairError> {
    let bad = |fault: &&IntegrityFault| {
        is_of_index(fault, index)
            || is_of_table(fault, table)
            || !proven.faults_elsewhere.contains(&fault.message)
    };
    match faults(db)?.iter().find(bad) {
        Some(fault) => Err(RepairError::Unproven(fault.message.clone())),
        None => Ok(()),
    }
}

/// Everything that SQLite's full check finds.
pub(super) fn faults(db: &Connection) -> Result<Vec<IntegrityFault>, RepairError> {
    let check = Check {
        mode: Mode::Full,
        max_faults: MAX_FAULTS,
        deadline: None,
    };
    Ok(integrity::faults(db, check)?)
}

pub(super) fn is_of_index(fault: &IntegrityFault, name: &str) -> bool {
    matches!(&fault.object, DamagedObject::Index { index, .. } if index == name)
}

fn is_of_table(fault: &IntegrityFault, name: &str) -> bool {
    matches!(&fault.object, DamagedObject::Table { table } if table == name)
        || fault.object == DamagedObject::Schema
}

/// Count and SHA-256 of all rows of the index's table, read in its own order from its own tree.
pub(super) fn rows(db: &Connection, index: &str, table: &str) -> Result<Rows, RepairError> {
    let sql = rows_of(db, index, table)?.map_err(RepairError::Unproven)?;
    let mut all = db.prepare(&sql)?;
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
    Ok(Rows {
        count,
        sha256: hex(&hash.finalize()),
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a note whole: synced under another name, then named.
pub(super) fn write_note(dir: &Path, name: &str, note: &impl Serialize) -> Result<(), RepairError> {
    let unfinished = dir.join(format!("{name}.new"));
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(name))?;
    fs::File::open(dir)?.sync_all()?;
    Ok(())
}

pub(super) fn read_note<T: DeserializeOwned>(path: &Path) -> Result<T, RepairError> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
