//! Test cases of a policy: what it is to answer, and what it must never do.
//!
//! Cases are TOML, in a folder `NAME.tests` beside `NAME.wasm`, or in custom sections
//! `dbmedic:tests` of the component itself. The gate runs what a policy carries before it comes into
//! service; `dbmedic policy test` runs the same by hand. A case asks the real component, in its
//! sandbox, and plays the host around it: time, level, memory, open incidents and what became of
//! repairs are carried on from event to event. No database and no clock is touched.

mod collect;
mod host;
mod questions;
mod read;
mod run;

use std::path::PathBuf;

use serde::Serialize;

use crate::model::{
    Classification, ConstraintState, EscalationLevel, Finding, Outcome, PolicyEvent, RepairHistory,
    Setting,
};
use crate::policy::Heard;

pub use collect::{
    CaseText, CasesError, FILE_BYTES, beside, carried, folder_beside, from_paths, is_case_file,
};
pub use questions::{Asked, questions, typical};
pub use read::parse;
pub use run::run;

/// The version of the format that this dbmedic reads.
pub const VERSION: u32 = 1;

/// One file, or one section of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseFile {
    /// How it is called: a path, or which section of which component.
    pub name: String,
    /// The cases in it.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it shows, unique in its file.
    pub name: String,
    /// The line that it begins at, counted from 1.
    pub line: usize,
    /// The policy's parameters; what is not named has its default.
    pub parameters: Vec<Setting>,
    /// What happens.
    pub story: Story,
    /// What at least one answer must be like.
    pub expect: Option<Expect>,
    /// What no answer may be like.
    pub never: Never,
}

/// What happens in a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Story {
    /// Events, one after the other.
    Events(Vec<Step>),
    /// What was recorded once.
    Recording(PathBuf),
}

/// One event of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Time since the event before, milliseconds.
    pub after_ms: u64,
    /// What is to be judged. Sightings and times are filled in when it is run.
    pub event: PolicyEvent,
    /// What the host knows from here on.
    pub known: Known,
    /// What the answer must be like.
    pub expect: Option<Expect>,
}

/// What the host knows beside an event; what is not said stays as it was.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// The escalation level in force.
    pub level: Option<EscalationLevel>,
    /// The main metrics, by name.
    pub metrics: Vec<(String, f64)>,
    /// Where constraints stand.
    pub constraints: Vec<ConstraintState>,
    /// What became of earlier repairs.
    pub repairs: Vec<RepairHistory>,
    /// What telemetry answers.
    pub series: Vec<Heard>,
}

/// What an answer must be like; what is not said may be anything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expect {
    /// The class, or that there is none.
    pub classification: Option<Option<Classification>>,
    /// The level.
    pub level: Option<EscalationLevel>,
    /// The repair, or that there is none.
    pub repair: Option<Option<String>>,
    /// Whether it halts.
    pub halt: Option<bool>,
    /// Rules that must be among the reasons.
    pub rules: Vec<String>,
    /// Alerts that must be raised.
    pub alerts: Vec<String>,
    /// Alerts that must not be raised.
    pub no_alerts: Vec<String>,
    /// Whether it is to refuse to judge.
    pub refuses: bool,
}

/// What must never happen in a case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Never {
    /// Classes.
    pub classifications: Vec<Classification>,
    /// Levels.
    pub levels: Vec<EscalationLevel>,
    /// Repairs; `*` is any.
    pub repairs: Vec<String>,
    /// A halt.
    pub halt: bool,
    /// Rules among the reasons.
    pub rules: Vec<String>,
    /// Alerts.
    pub alerts: Vec<String>,
}

/// What running cases came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Each case, in order.
    pub cases: Vec<CaseResult>,
}

impl Report {
    /// Every case that failed, with the first reason, in one line; none when all passed.
    pub fn failure(&self) -> Option<String> {
        let failed: Vec<String> = self
            .cases
            .iter()
            .filter_map(|case| Some(format!("{}: {}", case.name, case.failures.first()?)))
            .collect();
        (!failed.is_empty()).then(|| failed.join("; "))
    }
}

/// What one case came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The file or section.
    pub file: String,
    /// The line that the case begins at.
    pub line: usize,
    /// The case.
    pub name: String,
    /// Decisions that it took.
    pub decisions: u64,
    /// What was not as it must be, each in one line; empty when the case passed.
    pub failures: Vec<String>,
}

/// An event in a few words.
fn called(event: &PolicyEvent) -> String {
    match event {
        PolicyEvent::Finding(Finding { kind, .. }) => format!("finding {kind}"),
        PolicyEvent::Outcome(Outcome { repair, .. }) => format!("outcome of {repair}"),
        PolicyEvent::Tick => "tick".to_owned(),
    }
}

#[cfg(test)]
mod tests;
