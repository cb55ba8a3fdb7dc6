//! Proves on a copy what a rebuild will do: what it removes, that it succeeds, that it changes no
//! row, and how long it takes.

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

use super::super::InRepair as _;
use crate::digest::hex;
use crate::repair::RepairError;
use crate::sqlite::connection::{self, Access, without_values};
use crate::sqlite::integrity::{self, Check};
use crate::sqlite_state::{IntegrityFault, Mode};

/// Faults that are compared at most; more than that is nothing for the repair of one object.
const MAX_FAULTS: u32 = 100_000;

/// What is made of a table, and can be made of it again.
pub(super) trait Derived {
    /// What it is, for a person.
    fn name(&self) -> String;
    /// The table that it is made of.
    fn source(&self) -> &str;
    /// The statements that build it, for one transaction.
    fn statements(&self) -> String;
    /// What they do, for a plan.
    fn how(&self) -> String;
    /// What is done on the copy before, for a plan.
    fn how_proven(&self) -> String;
    /// Whether it is there and can be built; [`RepairError::Unmet`] if not.
    fn is_there(&self, db: &Connection) -> Result<(), RepairError>;
    /// Whether a fault is its own.
    fn is_of(&self, fault: &IntegrityFault) -> bool;
    /// Whether a fault is one of what it is made of.
    fn is_of_source(&self, fault: &IntegrityFault) -> bool;
    /// Proves on a copy that nothing is lost by what a rebuild removes, and says what that is;
    /// [`RepairError::Unmet`] if it is not so.
    fn may_go(&self, db: &Connection, faults: &[IntegrityFault]) -> Result<Goes, RepairError>;
    /// Proves on two copies, one from before a rebuild and one from after it, that the application
    /// would have built the same; [`RepairError::Unmet`] if that is not known. Gives why it is not known
    /// that nothing was lost before; none when nothing speaks for it.
    fn is_as_built(
        &self,
        before: &Connection,
        after: &Connection,
    ) -> Result<Option<String>, RepairError>;
    /// Whether it agrees with the rows: in words what was seen, or what speaks against it.
    fn agrees(&self, db: &Connection) -> Result<Result<String, String>, RepairError>;
    /// A digest of what it holds, where that is worth comparing with a rehearsal.
    fn content(&self, db: &Connection) -> Result<Option<String>, RepairError>;
    /// The rows of the table.
    fn rows(&self, db: &Connection) -> Result<Rows, RepairError>;
}

/// What a rebuild removes and adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goes {
    /// In words.
    pub(super) text: String,
    /// Why it is not known that nothing is lost by it; none when that is proven.
    pub(super) doubt: Option<String>,
}

impl From<String> for Goes {
    /// Of which it is proven that nothing is lost by it.
    fn from(text: String) -> Self {
        Self { text, doubt: None }
    }
}

/// What was proven on a copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Proven {
    v: u32,
    /// What the rebuild removes and adds, in words.
    pub(super) went: String,
    /// Why it is not known that nothing is lost by what it removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) doubt: Option<String>,
    /// The rows of the table.
    pub(super) rows: Rows,
    /// What the check says of everything else: it may stay, but nothing may come to it.
    faults_elsewhere: BTreeSet<String>,
    /// What the rehearsal made; none when it was not rehearsed, or is not compared.
    content: Option<String>,
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

impl Rows {
    /// Digests the rows of a statement.
    pub(super) fn of(db: &Connection, sql: &str) -> Result<Self, RepairError> {
        let mut all = db.prepare(sql).in_repair()?;
        let columns = all.column_count();
        let mut rows = all.query([]).in_repair()?;
        let mut hash = Sha256::new();
        let mut count = 0;
        while let Some(row) = rows.next().in_repair()? {
            count += 1;
            for column in 0..columns {
                let (tag, bytes): (u8, &[u8]) = match row.get_ref(column).in_repair()? {
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
        Ok(Self {
            count,
            sha256: hex(&hash.finalize()),
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The digest of all their values.
    pub(super) fn digest(&self) -> &str {
        &self.sha256
    }
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

    /// Compares what was built with the copy from before.
    pub(super) fn compare(
        &mut self,
        copy: &Path,
        built: &Connection,
        derived: &dyn Derived,
    ) -> Result<(), RepairError> {
        let begin = Instant::now();
        let before = connection::open(copy, Access::Copy, None).in_repair()?;
        let doubt = derived.is_as_built(&before, built)?;
        self.doubt = self.doubt.take().or(doubt);
        self.proof_ms = self.proof_ms.saturating_add(milliseconds(begin.elapsed()));
        Ok(())
    }

    /// Whether this is what the rehearsal made, as far as there was one.
    pub(super) fn is_rehearsed(&self, content: Option<&str>) -> bool {
        self.content.is_none() || self.content.as_deref() == content
    }

    /// That the check finds nothing of it and its table, and nothing new elsewhere.
    pub(super) fn no_new_faults(
        &self,
        db: &Connection,
        derived: &dyn Derived,
    ) -> Result<(), RepairError> {
        let bad = |fault: &&IntegrityFault| {
            derived.is_of(fault)
                || derived.is_of_source(fault)
                || !self.faults_elsewhere.contains(&fault.message)
        };
        match faults(db)?.iter().find(bad) {
            Some(fault) => Err(RepairError::Unproven(fault.message.clone())),
            None => Ok(()),
        }
    }
}

/// Proves everything, the rebuild rehearsed on a copy of the copy.
pub(super) fn prove(copy: &Path, derived: &dyn Derived) -> Result<Proven, RepairError> {
    let mut proven = prove_without_rebuild(copy, derived)?;
    let stage = copy.with_file_name("rehearsal");
    fs::create_dir_all(&stage)?;
    let database = stage.join("database");
    fs::copy(copy, &database)?;
    let rehearsed = rehearse(copy, &database, derived, &mut proven);
    fs::remove_dir_all(&stage)?;
    rehearsed?;
    Ok(proven)
}

fn rehearse(
    copy: &Path,
    database: &Path,
    derived: &dyn Derived,
    proven: &mut Proven,
) -> Result<(), RepairError> {
    let mut db = connection::open(database, Access::Copy, None).in_repair()?;
    let begin = Instant::now();
    let refused = |error: rusqlite::Error| RepairError::Unmet {
        name: "rebuildable",
        detail: without_values(&error),
    };
    let work = db.transaction().in_repair()?;
    work.execute_batch(&derived.statements()).map_err(refused)?;
    work.commit().in_repair()?;
    proven.rebuild_ms = milliseconds(begin.elapsed());
    if let Err(why) = derived.agrees(&db)? {
        return Err(RepairError::Unmet {
            name: "rebuildable",
            detail: format!("after the rebuild of a copy {why}"),
        });
    }
    proven.no_new_faults(&db, derived)?;
    if derived.rows(&db)? != proven.rows {
        let detail = format!(
            "the rebuild of a copy changed rows of table `{}`",
            derived.source()
        );
        return Err(RepairError::Unproven(detail));
    }
    proven.compare(copy, &db, derived)?;
    proven.content = derived.content(&db)?;
    Ok(())
}

/// Proves what the rebuild removes, and takes down what must stay as it is.
pub(super) fn prove_without_rebuild(
    copy: &Path,
    derived: &dyn Derived,
) -> Result<Proven, RepairError> {
    let begin = Instant::now();
    // Nothing is written to it.
    let db = connection::open(copy, Access::Copy, None).in_repair()?;
    let found = faults(&db)?;
    if let Some(fault) = found.iter().find(|fault| derived.is_of_source(fault)) {
        return Err(RepairError::Unmet {
            name: "table-clean",
            detail: fault.message.clone(),
        });
    }
    let Goes { text, doubt } = derived.may_go(&db, &found)?;
    Ok(Proven {
        v: 1,
        went: text,
        doubt,
        rows: derived.rows(&db)?,
        faults_elsewhere: found
            .iter()
            .filter(|fault| !derived.is_of(fault))
            .map(|fault| fault.message.clone())
            .collect(),
        content: None,
        proof_ms: milliseconds(begin.elapsed()),
        rebuild_ms: 0,
    })
}

/// Everything that SQLite's full check finds.
pub(super) fn faults(db: &Connection) -> Result<Vec<IntegrityFault>, RepairError> {
    let check = Check {
        mode: Mode::Full,
        max_faults: MAX_FAULTS,
        deadline: None,
    };
    let (faults, _) = integrity::faults(db, check).in_repair()?;
    Ok(faults)
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
