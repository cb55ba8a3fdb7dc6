//! The workload: a database of a shop and several processes that write to it.
//!
//! The rows come from the seed; which of them must be there is in the acknowledgement logs.

use std::ops::Add;

use rustix::process::Signal;

use super::{
    DemoChild, DemoError, Scene,
    acknowledged::{self, whole_lines},
};

pub use super::writer::Pace;

/// What the writers have seen so far, all starts together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Commits that returned.
    pub acknowledged: u64,
    /// Transactions that gave up waiting for a lock.
    pub busy: u64,
    /// Transactions that met a damaged database.
    pub corrupt: u64,
    /// Transactions that failed otherwise.
    pub other: u64,
}

impl Add for Progress {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + more.acknowledged,
            busy: self.busy + more.busy,
            corrupt: self.corrupt + more.corrupt,
            other: self.other + more.other,
        }
    }
}

/// The writers. They are killed when this value is dropped, and end when this process does.
#[derive(Debug)]
pub struct Workload {
    scene: Scene,
    pace: Pace,
    writers: Vec<DemoChild>,
}

impl Workload {
    /// Makes the database of the scene, unless it is there, and starts the writers.
    pub fn start(scene: &Scene, pace: Pace) -> Result<Self, DemoError> {
        if !scene.database().exists() {
            scene.ask::<()>("found", &[], &())?;
        }
        let mut workload = Self {
            scene: scene.clone(),
            pace,
            writers: Vec::new(),
        };
        workload.resume()?;
        Ok(workload)
    }

    /// The scene that it writes in.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// The pace of the writers, present or next.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Asks the writers to end (SIGTERM) and waits until the last one has closed the database.
    pub fn stop(&mut self) -> Result<(), DemoError> {
        for writer in &self.writers {
            writer.signal(Signal::TERM)?;
        }
        for writer in self.writers.drain(..) {
            let status = writer.wait()?;
            if !status.success() {
                return Err(DemoError::Process {
                    process: "writer".into(),
                    detail: status.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Kills the writers (SIGKILL) at one instant: nobody closes the database, nobody checkpoints,
    /// and the write-ahead log stays as it is.
    pub fn kill(&mut self) -> Result<(), DemoError> {
        // All stand still before the first one dies: none writes over what another left half done.
        for writer in &self.writers {
            writer.freeze()?;
        }
        for writer in &self.writers {
            writer.signal(Signal::KILL)?;
        }
        for writer in self.writers.drain(..) {
            writer.wait()?;
        }
        Ok(())
    }

    /// Starts the writers again; nothing to do while they run.
    pub fn resume(&mut self) -> Result<(), DemoError> {
        if self.is_running() {
            return Ok(());
        }
        self.writers.clear();
        for writer in 1..=self.scene.writers {
            let mut flags = self.pace.flags();
            flags.push(format!("--writer={writer}"));
            let child = DemoChild::start(&self.scene, "writer", &flags)?;
            self.writers.push(child);
        }
        Ok(())
    }

    /// Changes the pace, of running writers with their next transaction.
    pub fn set_pace(&mut self, pace: Pace) -> Result<(), DemoError> {
        self.pace = pace;
        let line = serde_json::to_string(&pace).map_err(|error| DemoError::Process {
            process: "writer".into(),
            detail: error.to_string(),
        })?;
        for writer in &mut self.writers {
            writer.tell(&line)?;
        }
        Ok(())
    }

    /// Whether all writers are alive.
    pub fn is_running(&self) -> bool {
        !self.writers.is_empty() && self.writers.iter().all(DemoChild::is_running)
    }

    /// What the writers have seen so far, from their logs.
    pub fn progress(&self) -> Result<Progress, DemoError> {
        (1..=self.scene.writers).try_fold(Progress::default(), |sum, writer| {
            let acknowledged = whole_lines(&self.scene.acknowledgements(writer))?;
            let errors = whole_lines(&self.scene.errors(writer))?;
            let count = |class: &str| {
                errors
                    .lines()
                    .filter(|line| line.starts_with(class))
                    .count()
            };
            Ok(sum
                + Progress {
                    acknowledged: acknowledged.lines().count() as u64,
                    busy: count("busy") as u64,
                    corrupt: count("corrupt") as u64,
                    other: count("other") as u64,
                })
        })
    }

    /// The last acknowledged transaction of each writer, the first writer's first.
    pub(crate) fn last_sequences(&self) -> Result<Vec<i64>, DemoError> {
        (1..=self.scene.writers)
            .map(|writer| acknowledged::last_sequence(&self.scene, writer))
            .collect()
    }
}
