//! `wal.keep-valid-prefix`: replays a damaged log up to its last sound transaction.
//!
//! SQLite does the replaying: its own recovery takes the longest valid prefix of the log, and its
//! checkpoint moves that into the database. It is done three times over: the files are copied
//! aside, the replay is rehearsed on the copy, and only then is it done in place, where it must
//! give the very same bytes. Meanwhile the database is held for this process alone, so that nobody
//! appends behind the damage.
//!
//! Safe at every kill point:
//! - before the replay nothing of the target is written;
//! - in the replay the log is whole until the database holds all of it and is synced; taken up
//!   again, by this repair or by any process that opens the database, it gives the same result;
//! - in the undo the log is put back first, whole and at once: database pages of before and after
//!   are then equal to SQLite, because the log holds each one that differs.
//!
//! When another process opened the database between the kill and the next start, SQLite replayed
//! the same prefix for it. What it wrote since is its own: then nothing is put back.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::InRepair as _;
use super::{Scene, integer_fact, is_busy, step, wal_checkpoint};
use crate::model::DataLoss;
use crate::repair::{Intent, Loss, PlannedStep, Proof, Repair, RepairError, Resume};
use crate::sqlite::connection::{self, Access};
use crate::sqlite::copies::{CopiedFile, DATABASE_NAME};
use crate::sqlite::files::fill_at;
use crate::sqlite::raw::{FailureKind, RawError};
use crate::sqlite::wal;
use crate::sqlite_state::WalState;

/// Room that must be free for the copy and the rehearsal, as a multiple of database and log.
const ROOM: u64 = 3;

/// How long to wait for a helper process of an earlier run to come to its end.
const UNDO_PATIENCE: Duration = Duration::from_secs(10);

const WAL_NAME: &str = "database-wal";

/// Tells how the replay left the files.
const LEFT_NOTE: &str = "left.json";

/// The digests of the files, as the repair knows them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fingerprint {
    v: u32,
    files: Vec<CopiedFile>,
}

/// The damage that was planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Damage {
    salts: (u64, u64),
    first_bad_frame: u64,
    last_commit_frame: u64,
    commits_lost: u64,
}

impl Damage {
    fn is(&self, wal: &WalState) -> bool {
        (u64::from(wal.salts.0), u64::from(wal.salts.1)) == self.salts
            && wal.first_bad_frame == Some(self.first_bad_frame)
            && wal.last_commit_frame == self.last_commit_frame
            && wal.lost_commits == self.commits_lost
    }
}

/// The repair.
pub(super) struct KeepValidPrefix {
    scene: Scene,
    /// The copy, with the repair's notes beside it.
    copy: PathBuf,
    damage: Damage,
    loss: DataLoss,
    /// The database, held for this process alone.
    held: Option<Connection>,
    /// Whether this process began to replay the log; it holds the database since.
    replayed: bool,
}

impl KeepValidPrefix {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        let finding = &intent.finding;
        let damage = Damage {
            salts: (
                integer_fact(finding, "salt_1")?,
                integer_fact(finding, "salt_2")?,
            ),
            first_bad_frame: integer_fact(finding, "first_bad_frame")?,
            last_commit_frame: integer_fact(finding, "last_commit_frame")?,
            commits_lost: integer_fact(finding, "commits_lost")?,
        };
        Ok(Self {
            copy: scene.site.copies.join(&intent.repair_id),
            damage,
            loss: DataLoss {
                commits: damage.commits_lost,
                ..intent.candidate.expected_loss
            },
            scene,
            held: None,
            replayed: false,
        })
    }

    /// Holds the database for this process alone. The wal-index is then in this process's memory;
    /// SQLite has read the log, and nothing is written.
    fn hold(&mut self) -> Result<&Connection, RepairError> {
        let db = match self.held.take() {
            Some(db) => db,
            None => hold(self.scene.path())?,
        };
        Ok(self.held.insert(db))
    }

    /// Gives the database back; nothing is checkpointed by that.
    fn release(&mut self) {
        self.held = None;
    }

    fn unmet<T>(&self, name: &'static str, detail: &str) -> Result<T, RepairError> {
        let detail = format!("{}: {detail}", self.scene.path().display());
        Err(RepairError::Unmet { name, detail })
    }

    /// Length and SHA-256 of each file, now.
    fn fingerprint(&mut self) -> Result<Fingerprint, RepairError> {
        let path = self.scene.path().to_owned();
        Ok(Fingerprint {
            v: 1,
            files: self.scene.raw()?.digest(&path)?,
        })
    }

    fn copied(&self) -> Result<Fingerprint, RepairError> {
        read_note(&self.copy.join("copied.json"))
    }

    fn rehearsed(&self) -> Result<Fingerprint, RepairError> {
        read_note(&self.copy.join("rehearsed.json"))
    }

    /// Whether the log is as it was copied: then nobody has committed anything since.
    fn has_same_log(&self, now: &Fingerprint) -> Result<bool, RepairError> {
        Ok(now.of(WAL_NAME).is_some() && now.of(WAL_NAME) == self.copied()?.of(WAL_NAME))
    }

    /// Whether the files are what the rehearsal made of them.
    fn is_as_rehearsed(&self, now: &Fingerprint) -> Result<bool, RepairError> {
        let has_log = now.of(WAL_NAME).is_some_and(|file| file.bytes > 0);
        Ok(!has_log && now.of(DATABASE_NAME) == self.rehearsed()?.of(DATABASE_NAME))
    }

    /// Copies the files and sees that the copy holds the damage that was planned for.
    fn copy_aside(&mut self) -> Result<(), RepairError> {
        match self.hold() {
            Ok(_) => {}
            Err(error) if is_busy(&error) => {
                return self.unmet("no-other-process", "another process has it open");
            }
            Err(error) => return Err(error),
        }
        let (path, copy) = (self.scene.path().to_owned(), self.copy.clone());
        let manifest = self.scene.raw()?.copy(&path, &copy, None)?;
        let log = self
            .scene
            .raw()?
            .look(&copy.join(DATABASE_NAME), true, &[])?;
        if !manifest.stable || !log.state.wal.is_some_and(|wal| self.damage.is(&wal)) {
            return self.unmet("same-damage", "the log is not damaged as was planned for");
        }
        if let Some((frame, page)) = self.newer_page()? {
            let detail = format!(
                "the database file already holds page {page} as frame {frame} has it, which lies \
                 behind the damage: the transactions before it would be put over newer pages. \
                 Whether the file alone is whole, a check of a copy of it without the log tells"
            );
            return self.unmet("file-not-newer", &detail);
        }
        let files = manifest.files;
        write_note(&self.copy, "copied.json", &Fingerprint { v: 1, files })
    }

    /// The first frame behind what is kept whose page is in the copied database as this frame has it, and
    /// not as what is kept would leave it, with that page: a checkpoint has moved transactions into the
    /// file that are to be dropped.
    fn newer_page(&self) -> Result<Option<(u64, u32)>, RepairError> {
        let log = File::open(self.copy.join(WAL_NAME))?;
        let database = File::open(self.copy.join(DATABASE_NAME))?;
        let header = wal::read_header(&mut &log)?;
        let page_bytes = header.page_bytes;
        if page_bytes == 0 {
            return Ok(None);
        }
        let frames = header.bytes.saturating_sub(wal::HEADER_BYTES) / wal::frame_bytes(page_bytes);
        let read = |file: &File, at: u64| -> std::io::Result<Option<Vec<u8>>> {
            let mut page = vec![0; page_bytes as usize];
            let read = fill_at(file, &mut page, at)?;
            Ok((read == page.len()).then_some(page))
        };
        let content = |frame: u64| {
            let at = wal::frame_offset(page_bytes, frame) + wal::FRAME_HEADER_BYTES;
            read(&log, at)
        };
        let mut header = [0; 32];
        if fill_at(&log, &mut header, 0)? < header.len() {
            return Ok(None);
        }
        let big_endian = header[3] & 1 == 1;
        let mut before = (word(&header, 24), word(&header, 28));
        // The last frame of each page among those that are kept.
        let mut kept = HashMap::new();
        for frame in 1..=frames {
            let mut header = [0; 24];
            if fill_at(&log, &mut header, wal::frame_offset(page_bytes, frame))? < header.len() {
                break;
            }
            let page = word(&header, 0);
            let salts = (u64::from(word(&header, 8)), u64::from(word(&header, 12)));
            let sum = (word(&header, 16), word(&header, 20));
            let chain = wal::checksum(before, &header[..8], big_endian);
            before = sum;
            if frame <= self.damage.last_commit_frame {
                kept.insert(page, frame);
                continue;
            }
            if page == 0 {
                continue;
            }
            let at = u64::from(page - 1) * u64::from(page_bytes);
            let Some(in_file) = read(&database, at)? else {
                continue;
            };
            // The sum of a frame is that of the page that was written, also where its copy is damaged.
            let is_this = wal::checksum(chain, &in_file, big_endian) == sum
                || salts == self.damage.salts && content(frame)?.as_ref() == Some(&in_file);
            let is_kept = match kept.get(&page) {
                Some(frame) => content(*frame)?.as_ref() == Some(&in_file),
                None => false,
            };
            if is_this && !is_kept {
                return Ok(Some((frame, page)));
            }
        }
        Ok(None)
    }

    /// Replays a copy of the copy, and notes what comes of it.
    fn rehearse(&mut self) -> Result<(), RepairError> {
        let stage = self.copy.join("rehearsal");
        fs::create_dir_all(&stage)?;
        let database = stage.join(DATABASE_NAME);
        for name in [DATABASE_NAME, WAL_NAME] {
            fs::copy(self.copy.join(name), stage.join(name))?;
        }
        let db = hold(&database)?;
        replay(&db, self.damage.last_commit_frame)?;
        check(&db)?;
        drop(db);
        let files = self.scene.raw()?.digest(&database)?;
        fs::remove_dir_all(&stage)?;
        write_note(&self.copy, "rehearsed.json", &Fingerprint { v: 1, files })
    }

    fn replay(&mut self) -> Result<(), RepairError> {
        let resumed = self.held.is_none();
        match self.hold() {
            Ok(_) => {}
            // Only after an interruption: another process opened it, and SQLite took the prefix
            // for it. What is behind the prefix is dropped for good when the log is truncated.
            Err(error) if resumed && is_busy(&error) => {
                let max_lock = self.scene.max_lock();
                return super::checkpoint_and_truncate(&self.scene.open()?, max_lock);
            }
            Err(error) => return Err(error),
        }
        let now = self.fingerprint()?;
        if !self.has_same_log(&now)? {
            if resumed {
                // Others had it since; verification says what became of it.
                return Ok(());
            }
            return self.unmet("same-damage", "the log changed while it was held");
        }
        let frames = self.damage.last_commit_frame;
        self.replayed = true;
        replay(self.hold()?, frames)
    }

    /// Proves what became of the replay of an earlier process.
    fn verify_resumed(&mut self) -> Result<Proof, RepairError> {
        match self.hold() {
            Ok(_) => {
                let now = self.fingerprint()?;
                if self.is_as_rehearsed(&now)? {
                    check(self.hold()?)?;
                    return Ok(self.proof(true));
                }
                if self.has_same_log(&now)? {
                    return Err(RepairError::Unproven("the log is not replayed".to_owned()));
                }
                check(self.hold()?)?;
            }
            Err(error) if is_busy(&error) => {
                check(&self.scene.open()?)?;
            }
            Err(error) => return Err(error),
        }
        self.release();
        let log = self.scene.look(true)?.wal;
        if log.is_some_and(|wal| self.damage.is(&wal)) {
            let detail = "the damaged frames are still in the log";
            return Err(RepairError::Unproven(detail.to_owned()));
        }
        Ok(self.proof(false))
    }

    fn proof(&self, alone: bool) -> Proof {
        let claim = format!("{} frames replayed", self.damage.last_commit_frame);
        let proof = Proof::new(claim, Loss::Announced(self.loss))
            .and("integrity check ok")
            .keeping(self.copy.clone());
        let same = "the database is, byte for byte, what the rehearsal made of it";
        if alone {
            proof.and(same).and("the log is empty")
        } else {
            proof.but_not(same, "another process has used it since")
        }
    }

    /// What the files may be for an undo: as this repair left them, and nobody else.
    fn left_by_us(&mut self) -> Result<Fingerprint, RepairError> {
        if self.copy.join(LEFT_NOTE).exists() {
            return read_note(&self.copy.join(LEFT_NOTE));
        }
        let ours = self.held.is_some() && self.replayed;
        self.hold()?;
        let now = self.fingerprint()?;
        if !ours && !self.has_same_log(&now)? && !self.is_as_rehearsed(&now)? {
            return Err(RepairError::NoWayBack(
                "another process has written since; the originals are copied aside",
            ));
        }
        write_note(&self.copy, LEFT_NOTE, &now)?;
        Ok(now)
    }
}

impl Repair for KeepValidPrefix {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        let state = self.scene.look(true)?;
        if let Some(other) = state.locks.first() {
            let process = &other.process;
            let detail = format!("open in {} (pid {})", process.name, process.pid);
            return self.unmet("no-other-process", &detail);
        }
        if state.journal_bytes.is_some() {
            return self.unmet("no-rollback-journal", "a rollback journal lies beside it");
        }
        if !state.wal.as_ref().is_some_and(|wal| self.damage.is(wal)) {
            return self.unmet("same-damage", "the log is not damaged as was planned for");
        }
        let bytes = state.database_bytes.unwrap_or(0) + state.wal.map_or(0, |wal| wal.bytes);
        super::room_for(&self.scene.site.copies, bytes.saturating_mul(ROOM))?;
        Ok(serde_json::Value::Null)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let frame = self.damage.last_commit_frame;
        vec![
            step(
                "copy-aside",
                format!(
                    "hold the database alone, copy its files to {}, synced",
                    self.copy.display()
                ),
            ),
            step(
                "rehearse",
                format!("replay the log up to frame {frame} on a copy of the copy, and check it"),
            ),
            step(
                "replay",
                format!("replay the log up to frame {frame} in place, and truncate it"),
            ),
        ]
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        match step {
            "copy-aside" => self.copy_aside(),
            "rehearse" => self.rehearse(),
            _ => self.replay(),
        }
    }

    /// The database is, byte for byte, what the rehearsal made of it, and SQLite finds it whole.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        if !self.replayed {
            return self.verify_resumed();
        }
        let now = self.fingerprint()?;
        // So that an undo that is cut off knows them again.
        write_note(&self.copy, LEFT_NOTE, &now)?;
        if !self.is_as_rehearsed(&now)? {
            let detail = "the database is not what the rehearsal made of it".to_owned();
            return Err(RepairError::Unproven(detail));
        }
        check(self.hold()?)?;
        self.release();
        Ok(self.proof(true))
    }

    fn undo(&mut self, begun: &[String]) -> Result<String, RepairError> {
        if !begun.iter().any(|step| step == "replay") {
            self.release();
            return Ok("nothing of the database was written".to_owned());
        }
        let left = self.left_by_us()?;
        self.release();
        let (path, copy) = (self.scene.path().to_owned(), self.copy.clone());
        let begin = Instant::now();
        loop {
            match self.scene.raw()?.restore_over(&path, &copy, &left.files) {
                Ok(_) => return Ok("the files were put back as they were".to_owned()),
                Err(RawError::Failed(failure))
                    if matches!(failure.kind, FailureKind::InUse(_))
                        && begin.elapsed() < UNDO_PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Before the replay nothing is written and the approval was for a moment that is past. Once
    /// begun, going on is the safer way: it needs the log alone, which is still there.
    fn resume(&self, step: &str) -> Resume {
        if step == "replay" {
            Resume::Finish
        } else {
            Resume::TakeBack
        }
    }
}

impl Fingerprint {
    fn of(&self, name: &str) -> Option<&CopiedFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// Opens a database for this process alone, its wal-index in memory.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn hold(path: &Path) -> Result<Connection, RepairError> {
    // Read before that, the wal-index would be the shared one.
    let db = connection::open_untouched(path, Access::Write, None).in_repair()?;
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")
        .in_repair()?;
    // The first read takes the lock.
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .in_repair()?;
    connection::bound_cache(&db).in_repair()?;
    let mode: String = db
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .in_repair()?;
    if mode != "wal" {
        return Err(RepairError::Unmet {
            name: "wal-mode",
            detail: format!("{} is in {mode} mode", path.display()),
        });
    }
    Ok(db)
}

/// Moves the valid prefix of the log into the database and truncates the log. The frames are
/// counted before any is let go of.
fn replay(db: &Connection, frames: u64) -> Result<(), RepairError> {
    let moved = wal_checkpoint(db, "PASSIVE")?;
    let all = u64::try_from(moved.done_frames) == Ok(frames) && moved.backlog() == 0;
    if !all {
        return Err(RepairError::Unproven(format!(
            "{} of {} frames were replayed, {frames} were planned",
            moved.done_frames, moved.log_frames
        )));
    }
    if wal_checkpoint(db, "TRUNCATE")?.busy {
        let detail = "the log could not be truncated".to_owned();
        return Err(RepairError::Unproven(detail));
    }
    Ok(())
}

fn check(db: &Connection) -> Result<(), RepairError> {
    let verdict: String = db
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .in_repair()?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(RepairError::Unproven(verdict))
    }
}

/// Writes a note whole: synced under another name, then named.
fn write_note(dir: &Path, name: &str, note: &Fingerprint) -> Result<(), RepairError> {
    let unfinished = dir.join(format!("{name}.new"));
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(name))?;
    File::open(dir)?.sync_all()?;
    Ok(())
}

fn read_note<T: DeserializeOwned>(path: &Path) -> Result<T, RepairError> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
