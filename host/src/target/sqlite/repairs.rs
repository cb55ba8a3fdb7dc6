//! The repairs of a SQLite database, each with all its parts.
//!
//! Raw bytes of a live database are looked at, copied and put back only in the raw process.

mod index;
mod log;
mod process;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::journal::{Intent, PlannedStep};
use crate::model::{Finding, Value};
use crate::repair::{Repair, RepairError, Site};
use crate::target::sqlite::raw::RawProcess;
use crate::target::sqlite::{Process, SqliteState};

/// How long a repair waits for a lock that others hold for moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The repair that an intent names, ready to act on the site.
///
/// # Errors
/// When the repair is unknown or the finding lacks a fact that it needs.
pub fn for_intent(intent: &Intent, site: &Site) -> Result<Box<dyn Repair>, RepairError> {
    let scene = Scene { site: site.clone() };
    let finding = &intent.finding;
    Ok(match intent.candidate.id.as_str() {
        "lock.end-holder" => Box::new(process::EndHolder::new(scene, finding)?),
        "wal.release-reader" => Box::new(process::ReleaseReader::new(scene, finding)?),
        "wal.checkpoint" => Box::new(log::Checkpoint::new(scene)),
        "index.rebuild" => Box::new(index::Rebuild::new(scene, intent)?),
        "wal.keep-valid-prefix" => Box::new(log::KeepValidPrefix::new(scene, intent)?),
        other => return Err(RepairError::UnknownRepair(other.to_owned())),
    })
}

/// The database that a repair works on.
#[derive(Debug, Clone)]
struct Scene {
    site: Site,
}

impl Scene {
    fn raw(&self) -> Result<RawProcess, RepairError> {
        Ok(RawProcess::spawn(&self.site.exe)?)
    }

    /// A light look at the files and locks.
    fn look(&self, raw: &mut RawProcess, full: bool) -> Result<SqliteState, RepairError> {
        Ok(raw
            .look(&self.site.path, full, &[std::process::id()])?
            .state)
    }

    /// A connection that may write. The database must exist.
    fn open(&self) -> Result<Connection, RepairError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.site.path, flags)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        Ok(db)
    }

    fn path(&self) -> &Path {
        &self.site.path
    }
}

/// Whether a process is the one that was meant: a pid is used again, a pid with its start is not.
fn is_same(process: &Process, pid: u32, start_ticks: u64) -> bool {
    process.pid == pid && process.start_ticks == start_ticks
}

fn step(name: &str, what: String) -> PlannedStep {
    PlannedStep {
        name: name.to_owned(),
        what,
    }
}

fn integer_fact(finding: &Finding, name: &'static str) -> Result<u64, RepairError> {
    finding
        .facts
        .iter()
        .find(|fact| fact.name == name)
        .and_then(|fact| match fact.value {
            Value::Integer(value) => u64::try_from(value).ok(),
            _ => None,
        })
        .ok_or(RepairError::MissingFact(name))
}

fn text_fact(finding: &Finding, name: &'static str) -> Result<String, RepairError> {
    finding
        .facts
        .iter()
        .find(|fact| fact.name == name)
        .and_then(|fact| match &fact.value {
            Value::Text(value) => Some(value.clone()),
            _ => None,
        })
        .ok_or(RepairError::MissingFact(name))
}
