//! The repairs of a SQLite database, each with all its parts.
//!
//! They run in a worker (see [`InWorker`]); raw bytes of a live database are looked at, copied and put
//! back only in a worker of its own. No
//! connection here checkpoints when it is closed: to close the last connection would otherwise
//! drop everything behind a damaged frame of the log, unasked.

mod checkpoint;
mod end_holder;
mod end_process;
mod frames;
mod guarded;
mod hold;
mod in_worker;
mod keep_valid_prefix;
mod rebuild;
mod release_reader;
mod resume_holder;
mod set_aside;

use in_worker::InWorker;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use crate::model::{Finding, Value};
use crate::repair::{Intent, PlannedStep, Repair, RepairError, Repairs, Site};
use crate::sqlite::backup::free_bytes;
use crate::sqlite::connection::{self, Access};
use crate::sqlite::raw::{RawError, RawProcess};
use crate::sqlite::set_aside::Companion;
use crate::sqlite_state::{SqliteState, WalState, set};

/// The repairs of SQLite databases, their parts done by workers.
#[derive(Debug, Clone, Copy)]
pub struct SqliteRepairs;

impl Repairs for SqliteRepairs {
    fn prepare(&self, intent: &mut Intent, site: &Site) -> Result<Box<dyn Repair>, RepairError> {
        let mut repair = InWorker::new(intent, site)?;
        intent.before = repair.precondition()?;
        intent.plan = repair.plan();
        Ok(Box::new(repair.of(intent)?))
    }

    fn resumed(&self, intent: &Intent, site: &Site) -> Result<Box<dyn Repair>, RepairError> {
        Ok(Box::new(InWorker::resumed(intent, site)?))
    }
}

/// What SQLite says while a repair is carried out.
pub(super) trait InRepair<T> {
    /// As what a repair says.
    fn in_repair(self) -> Result<T, RepairError>;
}

impl<T> InRepair<T> for rusqlite::Result<T> {
    fn in_repair(self) -> Result<T, RepairError> {
        self.map_err(|error| RepairError::Database(Box::new(error)))
    }
}

impl From<RawError> for RepairError {
    fn from(error: RawError) -> Self {
        Self::Database(Box::new(error))
    }
}

/// The repair that an intent names, to be carried out by this very process, which must be a worker.
///
/// # Errors
/// When the repair is unknown or the finding lacks a fact that it needs.
pub fn for_intent(intent: &Intent, site: &Site) -> Result<Box<dyn Repair>, RepairError> {
    let scene = Scene::new(intent, site);
    let mut objection: fn(&SqliteState) -> Option<String> = set::objection;
    let repair: Box<dyn Repair> = match intent.candidate.id.as_str() {
        "lock.end-holder" => Box::new(end_holder::EndHolder::new(scene, intent)?),
        "lock.resume-holder" => Box::new(resume_holder::ResumeHolder::new(scene, intent)?),
        "wal.release-reader" => Box::new(release_reader::ReleaseReader::new(scene, intent)?),
        "wal.checkpoint" => Box::new(checkpoint::Checkpoint::new(scene, intent)?),
        "index.rebuild" => Box::new(rebuild::Rebuild::index(scene, intent)?),
        "fulltext.rebuild" => Box::new(rebuild::Rebuild::full_text(scene, intent)?),
        "wal.keep-valid-prefix" => {
            Box::new(keep_valid_prefix::KeepValidPrefix::new(scene, intent)?)
        }
        id @ ("wal.set-aside" | "journal.set-aside") => {
            let companion = match id {
                "wal.set-aside" => Companion::Log,
                _ => Companion::Journal,
            };
            objection = set::objection_but_to_log;
            Box::new(set_aside::SetAside::new(scene, intent, companion)?)
        }
        other => return Err(RepairError::UnknownRepair(other.to_owned())),
    };
    let scene = Scene::new(intent, site);
    Ok(Box::new(guarded::Guarded {
        scene,
        objection,
        repair,
    }))
}

/// The database that a repair works on.
struct Scene {
    site: Site,
    raw: Option<RawProcess>,
    /// How long writers may be held out.
    max_lock: Duration,
}

impl Scene {
    fn new(intent: &Intent, site: &Site) -> Self {
        Self {
            site: site.clone(),
            raw: None,
            max_lock: Duration::from_millis(intent.max_lock_ms),
        }
    }

    fn path(&self) -> &Path {
        &self.site.path
    }

    /// How long writers may be held out.
    fn max_lock(&self) -> Duration {
        self.max_lock
    }

    /// The helper process; it is started when it is first needed.
    fn raw(&mut self) -> Result<&mut RawProcess, RepairError> {
        let raw = match self.raw.take() {
            Some(raw) => raw,
            None => RawProcess::spawn(&self.site.exe)?,
        };
        Ok(self.raw.insert(raw))
    }

    /// The files and the locks of other processes; with `frames`, every frame of the log as well.
    fn look(&mut self, frames: bool) -> Result<SqliteState, RepairError> {
        let path = self.site.path.clone();
        let looked = self.raw()?.look(&path, frames, &[std::process::id()])?;
        Ok(looked.state)
    }

    /// A connection that may write. The database must exist. Closing it checkpoints nothing.
    fn open(&self) -> Result<Connection, RepairError> {
        connection::open(self.path(), Access::Write, None).in_repair()
    }

    /// What a write, or a checkpoint, would drop for good must not be there: transactions behind a
    /// damaged frame of the log. Returns the log as it is.
    fn sound_log(&mut self) -> Result<Option<WalState>, RepairError> {
        let wal = self.look(true)?.wal;
        match wal.as_ref().and_then(|wal| wal.first_bad_frame) {
            Some(frame) => Err(RepairError::Unmet {
                name: "log-sound",
                detail: format!("frame {frame} is damaged: what follows it would be dropped"),
            }),
            None => Ok(wal),
        }
    }
}

/// Whether an error says that somebody else has the lock.
fn is_busy(error: &RepairError) -> bool {
    match error {
        RepairError::Database(error) => error
            .downcast_ref::<rusqlite::Error>()
            .is_some_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)),
        _ => false,
    }
}

/// What `PRAGMA wal_checkpoint` answers; frames are -1 when there is no log.
struct Checkpointed {
    busy: bool,
    log_frames: i64,
    done_frames: i64,
}

impl Checkpointed {
    /// Frames that are not in the database yet.
    fn backlog(&self) -> u64 {
        u64::try_from(self.log_frames - self.done_frames).unwrap_or(0)
    }
}

fn wal_checkpoint(db: &Connection, mode: &str) -> Result<Checkpointed, RepairError> {
    db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(Checkpointed {
            busy: row.get::<_, i64>(0)? != 0,
            log_frames: row.get(1)?,
            done_frames: row.get(2)?,
        })
    })
    .in_repair()
}

/// Checkpoints as far as it goes without holding anybody up, then truncates the log if nobody is
/// in the way. Safe at every point: SQLite syncs the database before it lets go of a frame. While
/// it waits for readers to truncate, writers wait too: not longer than `max_lock`.
fn checkpoint_and_truncate(db: &Connection, max_lock: Duration) -> Result<(), RepairError> {
    wal_checkpoint(db, "PASSIVE")?;
    db.busy_timeout(connection::BUSY_TIMEOUT.min(max_lock))
        .in_repair()?;
    if wal_checkpoint(db, "TRUNCATE")?.busy {
        wal_checkpoint(db, "PASSIVE")?;
    }
    Ok(())
}

/// Changes when another connection has committed, in this process or in another one.
fn data_version(db: &Connection) -> Result<i64, RepairError> {
    db.query_row("PRAGMA main.data_version", [], |row| row.get(0))
        .in_repair()
}

/// Whether there is room for copies.
fn room_for(copies: &Path, bytes: u64) -> Result<(), RepairError> {
    std::fs::create_dir_all(copies)?;
    let free = free_bytes(copies)?;
    if free < bytes {
        return Err(RepairError::Unmet {
            name: "room",
            detail: format!(
                "{} has {free} bytes free, {bytes} are needed",
                copies.display()
            ),
        });
    }
    Ok(())
}

fn step(name: &str, what: String) -> PlannedStep {
    PlannedStep {
        name: name.to_owned(),
        what,
    }
}

fn fact<'a>(finding: &'a Finding, name: &str) -> Option<&'a Value> {
    let fact = finding.facts.iter().find(|fact| fact.name == name)?;
    Some(&fact.value)
}

fn integer_fact(finding: &Finding, name: &'static str) -> Result<u64, RepairError> {
    match fact(finding, name) {
        Some(Value::Integer(value)) => u64::try_from(*value).ok(),
        _ => None,
    }
    .ok_or(RepairError::MissingFact(name))
}

fn text_fact(finding: &Finding, name: &'static str) -> Result<String, RepairError> {
    match fact(finding, name) {
        Some(Value::Text(value)) => Ok(value.clone()),
        _ => Err(RepairError::MissingFact(name)),
    }
}
