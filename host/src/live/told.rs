//! What a live run tells, as it happens.

use serde::Serialize;

use crate::pipeline::Effect;
use crate::repair_run::StepReport;

/// The label of a note on a repair that an earlier run left open, of a database that is not under
/// care here.
pub const OPEN_REPAIR: &str = "open repair";

/// The label of a note on the state directory and what stands in it.
pub const STATE: &str = "state";

/// The label of a note on a target that is halted because a repair of it is not known any more.
pub const HALT: &str = "halt";

/// Something to tell, as it happens.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told<'a> {
    /// An effect of the pipeline.
    Effect(&'a Effect),
    /// A step of a repair.
    Step(&'a StepReport),
    /// Something the driver did: what, and a line for a person.
    Note(&'static str, &'a str),
}

/// Something told, with its time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ToldAt<'a> {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub told: Told<'a>,
}

impl<'a> Told<'a> {
    /// The same with its time.
    pub fn at(self, at_ms: u64) -> ToldAt<'a> {
        ToldAt { at_ms, told: self }
    }
}

/// Hears what happens, with its time in milliseconds since the Unix epoch.
pub type Listener<'a> = dyn FnMut(u64, Told<'_>) + 'a;
