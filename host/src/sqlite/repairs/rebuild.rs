//! `index.rebuild` and `fulltext.rebuild`: builds again what is made of a table.
//!
//! What a rebuild removes is gone, so everything is proven before, on a copy and without any lock:
//! that what goes holds nothing which no row holds, that the rows can be read, that it can be built,
//! and how long that takes. The write lock is then held for the rebuild alone,
//! and only when nobody has written since the copy was taken: the proof is of this very state.
//! Under a writer that never rests the copy and the proof are made under the lock, if they fit
//! into what the guard allows.
//!
//! Until the transaction commits, SQLite takes everything back by itself, whatever happens to the
//! process, so every kill point is safe. Killed in the commit, the next start finds out which it
//! was. After the commit there is no way back that would not lose what others commit meanwhile; the
//! copy is then for a person.

mod full_text;
mod index;
mod proven;
mod words;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, TransactionBehavior};

use super::InRepair as _;
use super::{Scene, data_version, is_busy, step};
use crate::repair::{Intent, Loss, PlannedStep, Proof, Repair, RepairError, Resume};
use crate::sqlite::connection::{self, Deadline};
use full_text::FullText;
use index::Index;
use proven::{Derived, Proven};

/// How often the proof is made again when somebody wrote meanwhile.
const ATTEMPTS: u32 = 3;

/// Pages that are copied at a time in rollback mode, where a reader holds writers up: a millisecond
/// or two of copying.
const PAGES_AT_A_TIME: i32 = 256;

/// How long the copy may take in rollback mode, in which a commit by another process makes it begin
/// again.
const COPY_PATIENCE: Duration = Duration::from_mins(5);

/// What a step is expected to take under the lock, as a multiple of what it took before: caches are
/// colder, and the disk is another one.
const LOCK_MARGIN: u32 = 2;

/// Room that must be free, as a multiple of the database: for the copy and for the rehearsal.
const ROOM: u64 = 2;

const DATABASE: &str = "database";
const PROVEN: &str = "proven.json";

/// The repair.
pub(super) struct Rebuild {
    scene: Scene,
    /// The directory of the copy.
    copy: PathBuf,
    /// What is built again.
    derived: Box<dyn Derived>,
    /// How long writers may be held out.
    max_lock: Duration,
    /// The database as it was when it was copied, and what was proven of that.
    watched: Option<Watched>,
    proven: Option<Proven>,
    /// Whether this process committed.
    committed: bool,
}

/// A connection that knows whether anybody wrote since.
struct Watched {
    db: Connection,
    deadline: Deadline,
    version: i64,
    copied_in: Duration,
}

impl Rebuild {
    /// `index.rebuild`.
    pub(super) fn index(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let derived = Box::new(Index::of(&intent.finding)?);
        Ok(Self::new(scene, intent, derived))
    }

    /// `fulltext.rebuild`.
    pub(super) fn full_text(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let derived = Box::new(FullText::of(&intent.finding)?);
        Ok(Self::new(scene, intent, derived))
    }

    fn new(scene: Scene, intent: &Intent, derived: Box<dyn Derived>) -> Self {
        Self {
            copy: scene.site.copies.join(&intent.repair_id),
            derived,
            max_lock: Duration::from_millis(intent.max_lock_ms),
            watched: None,
            proven: None,
            committed: false,
            scene,
        }
    }

    fn copied(&self) -> PathBuf {
        self.copy.join(DATABASE)
    }

    /// A connection with its deadline, and what it knows of others' commits.
    fn opened(&self) -> Result<(Connection, Deadline, i64), RepairError> {
        let mut db = self.scene.open()?;
        let deadline = Deadline::of(&mut db).in_repair()?;
        let version = data_version(&db)?;
        Ok((db, deadline, version))
    }

    /// A copy of the database as it is now, synced. It holds what is damaged too.
    fn copy_aside(&mut self) -> Result<(), RepairError> {
        let begin = Instant::now();
        let (db, deadline, version) = self.opened()?;
        copy(&db, &self.copy, &self.copied())?;
        self.watched = Some(Watched {
            db,
            deadline,
            version,
            copied_in: begin.elapsed(),
        });
        Ok(())
    }

    /// Proves, on the copy alone, what the rebuild will do.
    fn prove(&mut self) -> Result<(), RepairError> {
        let proven = proven::prove(&self.copied(), &*self.derived)?;
        let (rebuild, allowed) = (proven.rebuilt_in(), self.max_lock);
        if rebuild > allowed {
            return Err(RepairError::Unmet {
                name: "lock-time",
                detail: format!(
                    "the rebuild took {} ms on a copy, writers may be held out for {} ms",
                    rebuild.as_millis(),
                    allowed.as_millis()
                ),
            });
        }
        proven::write_note(&self.copy, PROVEN, &proven)?;
        self.proven = Some(proven);
        Ok(())
    }

    fn rebuild(&mut self) -> Result<(), RepairError> {
        for attempt in 1..=ATTEMPTS {
            let Some(mut watched) = self.watched.take() else {
                self.copy_again()?;
                continue;
            };
            let quiet = self.rebuild_if_quiet(&mut watched)?;
            self.watched = Some(watched);
            if quiet {
                return Ok(());
            }
            if attempt < ATTEMPTS {
                self.copy_again()?;
            }
        }
        self.rebuild_under_writers()
    }

    fn copy_again(&mut self) -> Result<(), RepairError> {
        self.watched = None;
        fs::remove_dir_all(&self.copy)?;
        self.copy_aside()?;
        self.prove()
    }

    /// Rebuilds when the database is what was copied and proven; says whether it was.
    fn rebuild_if_quiet(&mut self, watched: &mut Watched) -> Result<bool, RepairError> {
        let work = watched
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .in_repair()
            .map_err(lock_taken)?;
        if data_version(&work)? != watched.version {
            return Ok(false);
        }
        self.build(&work, &watched.deadline, Instant::now())?;
        work.commit().in_repair()?;
        self.committed = true;
        Ok(true)
    }

    /// Copies, proves and rebuilds under one write lock, where somebody writes all the time.
    fn rebuild_under_writers(&mut self) -> Result<(), RepairError> {
        let copied_in = self
            .watched
            .as_ref()
            .map_or(Duration::ZERO, |w| w.copied_in);
        let proven_in = self
            .proven
            .as_ref()
            .map_or(Duration::ZERO, Proven::proven_in);
        let rebuilt_in = self
            .proven
            .as_ref()
            .map_or(Duration::ZERO, Proven::rebuilt_in);
        let expected = (copied_in + proven_in + rebuilt_in) * LOCK_MARGIN;
        if expected > self.max_lock {
            return Err(RepairError::Unmet {
                name: "quiet",
                detail: format!(
                    "others wrote during {ATTEMPTS} attempts to prove it beforehand; to prove it \
                     while they wait takes about {} ms, they may be held out for {} ms",
                    expected.as_millis(),
                    self.max_lock.as_millis()
                ),
            });
        }
        self.watched = None;
        fs::remove_dir_all(&self.copy)?;
        let (mut db, deadline, version) = self.opened()?;
        let work = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .in_repair()
            .map_err(lock_taken)?;
        let begin = Instant::now();
        // Another connection: a backup cannot read from one that writes.
        copy(&self.scene.open()?, &self.copy, &self.copied())?;
        self.proven = None;
        let mut proven = proven::prove_without_rebuild(&self.copied(), &*self.derived)?;
        self.build(&work, &deadline, begin)?;
        // Nothing was rehearsed: what was built is compared before it is committed.
        proven.compare(&self.copied(), &work, &*self.derived)?;
        self.in_time(begin.elapsed())?;
        proven::write_note(&self.copy, PROVEN, &proven)?;
        self.proven = Some(proven);
        work.commit().in_repair()?;
        self.committed = true;
        self.watched = Some(Watched {
            db,
            deadline,
            version,
            copied_in: begin.elapsed(),
        });
        Ok(())
    }

    /// Builds it again in the transaction; whatever of the allowed time is left since `begin` is
    /// what it has.
    fn build(
        &self,
        work: &Connection,
        deadline: &Deadline,
        begin: Instant,
    ) -> Result<(), RepairError> {
        let allowed = self.max_lock;
        deadline.set(Some(begin + allowed));
        let done = work.execute_batch(&self.derived.statements());
        let took = begin.elapsed();
        deadline.set(None);
        match done {
            Ok(()) => self.in_time(took),
            Err(error)
                if error.sqlite_error_code() != Some(rusqlite::ErrorCode::OperationInterrupted) =>
            {
                Err(error).in_repair()
            }
            Err(_) => Err(self.too_long(took)),
        }
    }

    fn in_time(&self, took: Duration) -> Result<(), RepairError> {
        if took <= self.max_lock {
            Ok(())
        } else {
            Err(self.too_long(took))
        }
    }

    fn too_long(&self, took: Duration) -> RepairError {
        RepairError::Unmet {
            name: "lock-time",
            detail: format!(
                "it was stopped and taken back after {} ms: writers may be held out for {} ms",
                took.as_millis(),
                self.max_lock.as_millis()
            ),
        }
    }

    /// What was proven before the rebuild, in this process or in one that was killed.
    fn proven(&self) -> Result<Proven, RepairError> {
        match &self.proven {
            Some(proven) => Ok(proven.clone()),
            None => proven::read_note(&self.copy.join(PROVEN)),
        }
    }
}

impl Repair for Rebuild {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        self.scene.sound_log()?;
        let db = self.scene.open()?;
        self.derived.is_there(&db)?;
        let bytes: i64 = db
            .query_row(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
                [],
                |row| row.get(0),
            )
            .in_repair()?;
        let bytes = u64::try_from(bytes).unwrap_or(0);
        super::room_for(&self.scene.site.copies, bytes.saturating_mul(ROOM))?;
        Ok(serde_json::Value::Null)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let copy = format!("copy the database to {}, synced", self.copy.display());
        let rebuild = format!(
            "if nobody wrote since: {} in one transaction of at most {} ms",
            self.derived.how(),
            self.max_lock.as_millis()
        );
        let prove = self.derived.how_proven();
        vec![
            step("copy-aside", copy),
            step("prove", prove),
            step("rebuild", rebuild),
        ]
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        let done = match step {
            "copy-aside" => self.copy_aside(),
            "prove" => self.prove(),
            _ => self.rebuild(),
        };
        // What is refused is not taken back: nothing was done but the copy.
        if matches!(done, Err(RepairError::Unmet { .. })) && self.copy.exists() {
            fs::remove_dir_all(&self.copy)?;
        }
        done
    }

    /// Examined again, in one read transaction: the table and what is made of it agree, and the rows
    /// are those of the copy.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let proven = self.proven()?;
        let opened;
        let (db, unwritten) = match &self.watched {
            Some(watched) if self.committed => (&watched.db, Some(watched.version)),
            _ => {
                opened = self.scene.open()?;
                (&opened, None)
            }
        };
        let moment = db.unchecked_transaction().in_repair()?;
        // Own commits do not count.
        let quiet = match unwritten {
            Some(version) => data_version(&moment)? == version,
            None => false,
        };
        let claim = self
            .derived
            .agrees(&moment)?
            .map_err(RepairError::Unproven)?;
        proven.no_new_faults(&moment, &*self.derived)?;
        let unchanged = self.derived.rows(&moment)? == proven.rows;
        if quiet && unchanged && !proven.is_rehearsed(self.derived.content(&moment)?.as_deref()) {
            let detail = format!("{} is not what the rehearsal made", self.derived.name());
            return Err(RepairError::Unproven(detail));
        }
        let loss = if let Some(doubt) = &proven.doubt {
            Loss::NotProven(doubt.clone())
        } else if unchanged {
            Loss::Nothing
        } else {
            Loss::NotProven("others wrote to the table since".to_owned())
        };
        let mut proof = Proof::new(claim, loss).and(proven.went.clone());
        if unchanged {
            proof = proof.and("no row was changed");
        } else if quiet {
            let detail = format!(
                "rows of table `{}` changed, and nobody else wrote",
                self.derived.source()
            );
            return Err(RepairError::Unproven(detail));
        } else {
            proof = proof.but_not("no row was changed", "others have written since");
        }
        Ok(proof.keeping(self.copied()))
    }

    fn undo(&mut self, begun: &[String]) -> Result<String, RepairError> {
        let may_be_committed = self.committed || begun.iter().any(|step| step == "rebuild");
        // Before it the check found fault with it. When it does not any more, it was committed; damaged anew meanwhile, only this process would know.
        let is_committed = self.committed || may_be_committed && self.is_sound()?;
        if is_committed {
            return Err(RepairError::NoWayBack(
                "what was rebuilt is committed, and others may have written since; the database as it was is copied aside",
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

impl Rebuild {
    fn is_sound(&self) -> Result<bool, RepairError> {
        let faults = proven::faults(&self.scene.open()?)?;
        Ok(!faults.iter().any(|fault| self.derived.is_of(fault)))
    }
}

fn lock_taken(error: RepairError) -> RepairError {
    if is_busy(&error) {
        busy("the write lock is taken")
    } else {
        error
    }
}

fn busy(detail: &str) -> RepairError {
    RepairError::Unmet {
        name: "not-busy",
        detail: detail.to_owned(),
    }
}

/// Copies the database as one moment shows it, synced. In write-ahead mode that holds up nobody; in
/// rollback mode it is done by parts, so that a writer waits for one of them at most.
fn copy(from: &Connection, dir: &Path, file: &Path) -> Result<(), RepairError> {
    fs::create_dir_all(dir)?;
    let mut to = connection::create(file).in_repair()?;
    let mode: String = from
        .query_row("PRAGMA main.journal_mode", [], |row| row.get(0))
        .in_repair()?;
    let pages = if mode == "wal" { -1 } else { PAGES_AT_A_TIME };
    let begin = Instant::now();
    let backup = Backup::new(from, &mut to).in_repair()?;
    loop {
        match backup.step(pages).in_repair()? {
            StepResult::Done => break,
            StepResult::More if begin.elapsed() < COPY_PATIENCE => {}
            StepResult::Busy | StepResult::Locked if begin.elapsed() < connection::BUSY_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(5));
            }
            _ => return Err(busy("the database is busy, no copy could be taken")),
        }
    }
    drop(backup);
    // One file: it needs no log of its own, and reading it writes nothing beside it.
    to.pragma_update(None, "journal_mode", "DELETE")
        .in_repair()?;
    to.close().map_err(|(_, error)| error).in_repair()?;
    File::open(file)?.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(())
}
