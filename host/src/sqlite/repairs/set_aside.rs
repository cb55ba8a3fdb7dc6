//! `wal.set-aside` and `journal.set-aside`: gives a log or journal that does not belong to the database
//! file another name.
//!
//! Nothing is deleted and nothing is opened by SQLite together. The files are copied aside first; the
//! file alone is checked before and after. Safe at every kill point: a rename is whole or not at all,
//! and can be taken back as long as nobody has used the database since.

use std::fs;
use std::path::PathBuf;

use super::{Scene, fact, integer_fact, step};
use crate::model::Value;
use crate::repair::{Intent, Loss, PlannedStep, Proof, Repair, RepairError, Resume};
use crate::sqlite::copies::{CopiedFile, DATABASE_NAME, MANIFEST_NAME, Manifest};
use crate::sqlite::integrity::{self, Access, Check};
use crate::sqlite::raw::AsideWish;
use crate::sqlite::set_aside::{Companion, name_aside};
use crate::sqlite_state::{IntegrityFault, Mode, SqliteState, set};

/// The step that renames.
const RENAME: &str = "set-aside";

/// The companion that was found not to belong to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// A log, by its salts and its length.
    Log(u64, u64, u64),
    /// A journal, by its random number and its length.
    Journal(u64, u64),
}

impl Mark {
    fn companion(self) -> Companion {
        match self {
            Self::Log(..) => Companion::Log,
            Self::Journal(..) => Companion::Journal,
        }
    }

    fn is_in(self, state: &SqliteState) -> bool {
        let now = match self {
            Self::Log(..) if set::has_left_log(state) => state.wal.as_ref().map(|log| {
                let (salt_1, salt_2) = log.salts;
                Self::Log(u64::from(salt_1), u64::from(salt_2), log.bytes)
            }),
            Self::Journal(..) if set::has_left_journal(state) => {
                let journal = state.set.journal.zip(state.journal_bytes);
                journal.map(|(journal, bytes)| Self::Journal(u64::from(journal.nonce), bytes))
            }
            _ => None,
        };
        now == Some(self)
    }
}

/// The repair.
pub(super) struct SetAside {
    scene: Scene,
    copy: PathBuf,
    mark: Mark,
    /// Transactions in it, where that is known.
    commits: Option<u64>,
    /// Whether it is proven that it does not belong to the file.
    proven: bool,
}

impl SetAside {
    pub(super) fn new(
        scene: Scene,
        intent: &Intent,
        companion: Companion,
    ) -> Result<Self, RepairError> {
        let finding = &intent.finding;
        let mark = match companion {
            Companion::Log => Mark::Log(
                integer_fact(finding, "salt_1")?,
                integer_fact(finding, "salt_2")?,
                integer_fact(finding, "wal_bytes")?,
            ),
            Companion::Journal => Mark::Journal(
                integer_fact(finding, "journal_nonce")?,
                integer_fact(finding, "journal_bytes")?,
            ),
        };
        Ok(Self {
            copy: scene.site.copies.join(&intent.repair_id),
            mark,
            commits: integer_fact(finding, "wal_commits").ok(),
            proven: fact(finding, "proven") == Some(&Value::Boolean(true)),
            scene,
        })
    }

    fn unmet<T>(name: &'static str, detail: impl Into<String>) -> Result<T, RepairError> {
        let detail = detail.into();
        Err(RepairError::Unmet { name, detail })
    }

    /// What is wrong with the file by itself; none when it is sound.
    fn fault_of_file(&self) -> Option<String> {
        let check = Check {
            mode: Mode::Full,
            max_faults: 100,
            deadline: None,
        };
        let checked = integrity::check(self.scene.path(), Access::Alone, check).integrity;
        let mut damage = checked.faults.into_iter().filter(IntegrityFault::is_damage);
        checked.error.or_else(|| Some(damage.next()?.message))
    }

    fn manifest(&self) -> Result<Manifest, RepairError> {
        Ok(serde_json::from_slice(&fs::read(
            self.copy.join(MANIFEST_NAME),
        )?)?)
    }

    /// The companion and the token of its new name, as they were copied.
    fn copied(&self) -> Result<(CopiedFile, String), RepairError> {
        let manifest = self.manifest()?;
        let name = format!("{DATABASE_NAME}{}", self.mark.companion().suffix());
        let companion = manifest.files.into_iter().find(|file| file.name == name);
        let missing = RepairError::Unproven(format!("the copy holds no {name}"));
        Ok((companion.ok_or(missing)?, manifest.token))
    }

    fn path_aside(&self, token: &str) -> PathBuf {
        let path = self.scene.path();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().unwrap_or_default().to_owned();
        path.with_file_name(name_aside(&name, self.mark.companion(), token))
    }

    /// Whether the database file is what was copied.
    fn file_is_as_copied(&mut self) -> Result<bool, RepairError> {
        let path = self.scene.path().to_owned();
        let now = self.scene.raw()?.digest(&path)?;
        let of = |files: &[CopiedFile]| {
            files
                .iter()
                .find(|file| file.name == DATABASE_NAME)
                .cloned()
        };
        Ok(of(&now).is_some() && of(&now) == of(&self.manifest()?.files))
    }

    fn has_companion(&mut self) -> Result<bool, RepairError> {
        let state = self.scene.look(false)?;
        Ok(match self.mark.companion() {
            Companion::Log => state.wal.is_some(),
            Companion::Journal => state.journal_bytes.is_some(),
        })
    }

    fn copy_aside(&mut self) -> Result<(), RepairError> {
        let (path, copy) = (self.scene.path().to_owned(), self.copy.clone());
        let manifest = self.scene.raw()?.copy(&path, &copy, None)?;
        if !manifest.stable || !self.mark.is_in(&self.scene.look(true)?) {
            return Self::unmet("same-companion", "it changed while it was copied");
        }
        Ok(())
    }

    fn ask(
        &mut self,
        token: &str,
        expected: &CopiedFile,
        wish: AsideWish,
    ) -> Result<(), RepairError> {
        let (path, companion) = (self.scene.path().to_owned(), self.mark.companion());
        let raw = self.scene.raw()?;
        Ok(raw.aside(&path, companion, token, expected, wish)?)
    }

    fn rename(&mut self) -> Result<(), RepairError> {
        let (expected, token) = self.copied()?;
        self.ask(&token, &expected, AsideWish::SetAside)
    }
}

impl Repair for SetAside {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        let state = self.scene.look(true)?;
        // Also one that holds no lock: it may take none, and would write on under the other name.
        let mut users = state.locks.iter().map(|held| &held.process);
        let mut openers = state.set.openers.iter().flatten();
        if let Some(process) = users.next().or_else(|| openers.next()) {
            let detail = format!("open in {} (pid {})", process.name, process.pid);
            return Self::unmet("no-other-process", detail);
        }
        if !self.mark.is_in(&state) {
            let detail = "what lies beside the file is not what was found";
            return Self::unmet("same-companion", detail);
        }
        if self.proven && set::contradiction(&state).is_none() {
            let detail = "what proved that it does not belong to the file is not so any more";
            return Self::unmet("same-companion", detail);
        }
        if let Some(fault) = self.fault_of_file() {
            return Self::unmet("file-sound", format!("the file by itself: {fault}"));
        }
        let beside = state.wal.map_or(0, |wal| wal.bytes) + state.journal_bytes.unwrap_or(0);
        let bytes = state.database_bytes.unwrap_or(0).saturating_add(beside);
        super::room_for(&self.scene.site.copies, bytes)?;
        Ok(serde_json::Value::Null)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let suffix = self.mark.companion().suffix();
        vec![
            step(
                "copy-aside",
                format!("copy the files to {}, synced", self.copy.display()),
            ),
            step(
                RENAME,
                format!(
                    "hold the database alone and rename its {suffix} to {suffix}.set-aside-TOKEN beside it"
                ),
            ),
        ]
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        match step {
            "copy-aside" => self.copy_aside(),
            _ => self.rename(),
        }
    }

    fn verify(&mut self) -> Result<Proof, RepairError> {
        let (expected, token) = self.copied()?;
        let companion = self.mark.companion();
        self.ask(&token, &expected, AsideWish::Verify)?;
        let aside = self.path_aside(&token);
        let what = match (companion, self.commits) {
            (Companion::Log, Some(commits)) => format!("its {commits} transactions"),
            (Companion::Log, None) => "what the log holds".to_owned(),
            (Companion::Journal, _) => "the rollback that it holds".to_owned(),
        };
        let loss = if self.proven {
            Loss::Untouched
        } else {
            Loss::NotProven(format!(
                "whether {what} belongs to this database is not known; it is kept in {}",
                aside.display()
            ))
        };
        let proof = Proof::new(
            format!(
                "{} bytes are set aside, whole, as {}",
                expected.bytes,
                aside.display()
            ),
            loss,
        )
        .keeping(self.copy.clone());
        let same = "the database file is, byte for byte, what it was";
        // Only after an interruption: the lock was held until the name was given.
        if self.has_companion()? {
            return Ok(proof.but_not(same, "another process has used it since"));
        }
        if let Some(fault) = self.fault_of_file() {
            let detail = format!("the file by itself: {fault}");
            return Err(RepairError::Unproven(detail));
        }
        let proof = proof.and("the file is sound by itself");
        Ok(if self.file_is_as_copied()? {
            proof.and(same)
        } else {
            proof.but_not(same, "another process has used it since")
        })
    }

    fn undo(&mut self, begun: &[String]) -> Result<String, RepairError> {
        if !begun.iter().any(|step| step == RENAME) {
            return Ok("nothing was renamed".to_owned());
        }
        if !self.file_is_as_copied()? {
            return Err(RepairError::NoWayBack(
                "another process has written since; the originals are copied aside",
            ));
        }
        let (expected, token) = self.copied()?;
        self.ask(&token, &expected, AsideWish::PutBack)?;
        Ok("it has its name again".to_owned())
    }

    /// A rename is whole or not at all: to go on is as safe as to go back.
    fn resume(&self, step: &str) -> Resume {
        if step == RENAME {
            Resume::Finish
        } else {
            Resume::TakeBack
        }
    }
}
