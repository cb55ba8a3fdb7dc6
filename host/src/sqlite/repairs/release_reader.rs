//! `wal.release-reader`: ends the reader that pins the log, then checkpoints and truncates it.
//!
//! Safe at every kill point: a reader has nothing to lose, and a checkpoint can be done again.
//! Killed before the signal, nothing was done; after it, the rest is done at the next start. An
//! ended process is not started again.

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::end_process::{Culprit, Ending, GRACE, Moment};
use super::frames::{self, Noted};
use super::hold::{STILL_HOLDS, standing};
use super::{Scene, integer_fact, step, wal_checkpoint};
use crate::repair::{Intent, PlannedStep, Proof, Repair, RepairError, Resume};
use crate::sqlite_state::{Activity, Lock, LockHolder, SqliteState, WalIndexState};

/// How often verification looks for a moment without a frame that was appended since.
const LOOKS: u32 = 20;

/// Between two looks that show whether the reader runs.
const PAUSE: Duration = Duration::from_millis(200);

/// The read mark by which the reader pins the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    slot: u8,
    mark: u32,
    /// The log that it belongs to.
    #[serde(default)]
    salts: (u32, u32),
    /// For slot 0: frames that were copied into the database.
    #[serde(default)]
    backfilled: Option<u32>,
}

/// What must not move before the first signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    #[serde(flatten)]
    pin: Pin,
    /// By which it is seen whether the reader ran since; none in what older versions wrote down.
    #[serde(default)]
    run_mark: Option<u64>,
}

/// The repair.
pub(super) struct ReleaseReader {
    scene: Scene,
    reader: Culprit,
    /// The reader's run mark when the finding was made, if it says.
    found_mark: Option<u64>,
    before: Option<Before>,
    /// How the process was ended, in this run of dbmedic.
    ending: Option<Ending>,
    /// What the log held, when this process checkpointed it.
    noted: Option<Noted>,
}

impl ReleaseReader {
    pub(super) fn new(scene: Scene, intent: &Intent) -> Result<Self, RepairError> {
        Ok(Self {
            scene,
            reader: Culprit::of(&intent.finding, "reader")?,
            found_mark: integer_fact(&intent.finding, "reader_run_mark").ok(),
            before: Deserialize::deserialize(&intent.before)?,
            ending: None,
            noted: None,
        })
    }

    /// What the reader pins the log by, and what it had done by then.
    fn pinned(&mut self) -> Result<(Pin, Activity), RepairError> {
        let which = |held: &LockHolder, state: &SqliteState| {
            let index = state.wal_index.as_ref();
            index.is_some_and(|index| index.is_pinned_by(held.lock))
        };
        let standing = standing(&mut self.scene, &self.reader, &which)?;
        let pin = pin(&self.reader, &standing.state).ok_or_else(|| RepairError::Unmet {
            name: STILL_HOLDS,
            detail: format!("process {} does not pin the log", self.reader.pid),
        })?;
        Ok((pin, standing.activity))
    }

    /// The same while it does not run at all: neither during the look nor between two.
    fn idle(&mut self) -> Result<Before, RepairError> {
        let (_, before) = self.pinned()?;
        thread::sleep(PAUSE);
        let (pin, now) = self.pinned()?;
        if now.has_run_since(&before) {
            return Err(self.works());
        }
        Ok(Before {
            pin,
            run_mark: Some(now.mark()),
        })
    }

    /// The same right before a signal: it still is the transaction that the repair was begun for, and
    /// before the first one nobody ran since.
    fn in_the_way(&mut self, moment: Moment) -> Result<(), RepairError> {
        let now = match moment {
            Moment::First => self.idle()?,
            Moment::Last => Before {
                pin: self.pinned()?.0,
                run_mark: None,
            },
        };
        let Some(before) = self.before else {
            return Ok(());
        };
        if before.pin != now.pin {
            return Err(RepairError::Unmet {
                name: STILL_HOLDS,
                detail: format!("process {} began to read anew", self.reader.pid),
            });
        }
        // The first signal made it run.
        if moment == Moment::First && before.run_mark.is_some() && before.run_mark != now.run_mark {
            return Err(self.works());
        }
        Ok(())
    }

    fn works(&self) -> RepairError {
        RepairError::Unmet {
            name: "is-at-rest",
            detail: format!(
                "process {} ran since the finding: it is at work",
                self.reader.pid
            ),
        }
    }

    /// Who pins the log now, if it was checkpointed further than this reader let it.
    fn further(&self, state: &SqliteState) -> Option<String> {
        let index = state.wal_index.as_ref()?;
        let before = self.before?.pin;
        let is_further = index.salts != before.salts
            || index.backfilled > before.backfilled.unwrap_or(before.mark);
        let is_other =
            |held: &&LockHolder| !self.reader.holds(held) && index.is_pinned_by(held.lock);
        let other = state.locks.iter().find(is_other)?;
        let (pid, name) = (other.process.pid, &other.process.name);
        is_further.then(|| format!("process {pid} ({name})"))
    }
}

impl Repair for ReleaseReader {
    fn precondition(&mut self) -> Result<serde_json::Value, RepairError> {
        self.reader.may_be_ended(&self.scene.site.may_end)?;
        self.scene.sound_log()?;
        let now = self.idle()?;
        if self.found_mark.is_some() && self.found_mark != now.run_mark {
            return Err(self.works());
        }
        Ok(serde_json::to_value(now)?)
    }

    fn plan(&self) -> Vec<PlannedStep> {
        let end = format!(
            "SIGTERM to process {} ({}), SIGKILL after {} s, if it still pins the log",
            self.reader.pid,
            self.reader.name,
            GRACE.as_secs()
        );
        let checkpoint = "checkpoint the log into the database and truncate it".to_owned();
        vec![step("end-process", end), step("checkpoint", checkpoint)]
    }

    fn apply(&mut self, step: &str) -> Result<(), RepairError> {
        if step == "checkpoint" {
            self.noted = Some(frames::checkpoint(&mut self.scene)?);
            return Ok(());
        }
        let (reader, may_end) = (self.reader.clone(), self.scene.site.may_end.clone());
        let ending = reader.end(&may_end, &mut |moment| self.in_the_way(moment))?;
        self.ending = Some(ending);
        Ok(())
    }

    /// The reader is out of the way and the log is checkpointed to its end: `log == checkpointed`,
    /// as the file's size says nothing (a log that is reused keeps its size). Where another reader
    /// pins it now, it is checkpointed further than this one let it, which is said.
    fn verify(&mut self) -> Result<Proof, RepairError> {
        let pid = self.reader.pid;
        let pinned = pin(&self.reader, &self.scene.look(false)?);
        if pinned.is_some() && pinned == self.before.map(|before| before.pin) {
            let detail = format!("process {pid} still pins the log");
            return Err(RepairError::Unproven(detail));
        }
        let what = match self.ending {
            Some(Ending::AfterTerm) => format!("process {pid} ended on SIGTERM"),
            Some(Ending::AfterKill) => format!("process {pid} was ended with SIGKILL"),
            Some(Ending::LetGo) => format!("process {pid} let go on SIGTERM and lives"),
            Some(Ending::WasGone) => format!("process {pid} had ended by itself"),
            None if self.reader.is_running() => format!("process {pid} let go and lives"),
            None => format!("process {pid} is gone"),
        };
        let db = self.scene.open()?;
        let mut backlog = 0;
        // Writers go on meanwhile: a frame appended since is not a failure.
        for _ in 0..LOOKS {
            backlog = wal_checkpoint(&db, "PASSIVE")?.backlog();
            if backlog == 0 {
                let claim = format!("{what}; the log is checkpointed to its end");
                return frames::prove(&mut self.scene, self.noted.as_ref(), claim);
            }
        }
        let state = self.scene.look(false)?;
        match self.further(&state) {
            Some(other) => {
                let claim = format!(
                    "{what}; the log is checkpointed past it, {backlog} frames more wait for {other}"
                );
                frames::prove(&mut self.scene, self.noted.as_ref(), claim)
            }
            None => Err(RepairError::Unproven(format!(
                "{backlog} frames are still not checkpointed"
            ))),
        }
    }

    fn undo(&mut self, _begun: &[String]) -> Result<String, RepairError> {
        if pin(&self.reader, &self.scene.look(false)?).is_some() {
            return Ok("the reader was not ended, no row is changed".to_owned());
        }
        Err(RepairError::NoWayBack(
            "an ended process is not started again",
        ))
    }

    fn resume(&self, _step: &str) -> Resume {
        Resume::Finish
    }
}

/// What the reader pins the log by; of several locks the one that is furthest back.
fn pin(reader: &Culprit, state: &SqliteState) -> Option<Pin> {
    let index: &WalIndexState = state.wal_index.as_ref()?;
    let pins = state.locks.iter().filter(|held| reader.holds(held));
    pins.filter(|held| index.is_pinned_by(held.lock))
        .filter_map(|held| match held.lock {
            Lock::WalRead(slot) => Some(Pin {
                slot,
                mark: index.read_mark(held.lock)?,
                salts: index.salts,
                backfilled: (slot == 0).then_some(index.backfilled),
            }),
            _ => None,
        })
        .min_by_key(|pin| pin.mark)
}
