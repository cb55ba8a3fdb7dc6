//! Test cases of a policy: what it is to answer, and what it must never do.
//!
//! Cases are TOML, in a folder `NAME.tests` beside `NAME.wasm`, or in custom sections
//! `dbmedic:tests` of the component itself. The gate runs what a policy carries before it comes into
//! service; `dbmedic policy test` runs the same by hand. A case asks the real component, in its
//! sandbox, and plays the host around it: time, level, memory, open incidents and what became of
//! repairs are carried on from event to event. No database and no clock is touched.
//!
//! # The format
//!
//! A file begins with `version = 1` and holds `[[cases]]`, each with a `name`, `parameters` where they
//! differ from their defaults (those that all cases share stand in `[parameters]` at the top; the text of
//! a file is one as `{ file = "PATH" }`), and either `events` or a `recording`. An event is a `finding`, an
//! `outcome` or `tick = true`, `after_ms` after the one before. Beside it may stand what the host knows:
//! `level`, `metrics`, `constraints`, `repairs`, `series`, `target_kind`, `answers` to repairs of the
//! event's incident (`[{ repair = "index.rebuild", by = "eve", granted = true }]`), `acknowledged_by`, and
//! `maintenance = { name = "backup", ends_after_ms = 600_000 }`. Instead of `after_ms` an event may say
//! when it is by a local clock: `at = "2026-11-27T17:30:00+01:00"`. The violations of a constraint are a
//! number, the latest now and each a second before the next, or how long ago each was:
//! `violations_ago_ms = [0, 59_999]`.
//!
//! What an answer must be like stands under `expect`, at an event or at the whole case:
//!
//! | field | what the answer must have |
//! | --- | --- |
//! | `classification` | `"hiccup"`, `"obstacle"`, `"wall"`, `"crisis"` or `"none"` |
//! | `level` | `"normal"`, `"watch"`, `"warn"` or `"escalate"` |
//! | `repair` | the identifier of a repair, or `"none"` |
//! | `needs_approval` | `true` or `false`: the repair waits for a person |
//! | `halt` | `true` or `false` |
//! | `confidence` | a number, `0.95`, or the bounds that it lies within, `[0.8, 0.95]` |
//! | `verbosity` | `"normal"`, `"elevated"` or `"incident"` |
//! | `rules` | rules that are among the reasons |
//! | `reasons` | the same with text: `{ rule = "lock.stale", text = "held 500.0 s" }` |
//! | `no_rules` | rules that are not among the reasons |
//! | `alerts` | alerts by their rule, or `{ rule = "person_needed", urgency = "critical", text = "lock" }` |
//! | `no_alerts` | alerts that are not raised |
//! | `suggestions` | pieces of text, each within one suggestion |
//! | `no_suggestions` | pieces of text that are within no suggestion |
//! | `refuses` | `true`: the policy refuses to judge |
//!
//! A `text` is a piece of what is said; the whole need not be written down. `"*"` under `no_rules`,
//! `no_alerts` and `no_suggestions` means every one that is not expected. Under `never` stand
//! `classification`, `level`, `repair`, `rules` and `alerts` as lists, and `halt = true`: what no answer
//! of the case may have.

mod collect;
mod expect;
mod host;
mod questions;
mod read;
mod run;

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::Serialize;

use crate::model::{
    Classification, ConstraintState, EscalationLevel, Finding, MaintenanceWindow, Outcome,
    PolicyEvent, RepairAnswer, RepairHistory, Setting, Urgency, Verbosity,
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
    /// When it is, by a local clock; then `after_ms` is 0.
    pub at: Option<LocalMoment>,
    /// What is to be judged. Sightings and times are filled in when it is run.
    pub event: PolicyEvent,
    /// What the host knows from here on.
    pub known: Known,
    /// What the answer must be like.
    pub expect: Option<Expect>,
}

/// A moment by a local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMoment {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Minutes that the clock is ahead of UTC.
    pub utc_offset_minutes: i32,
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
    /// What kind of database the target is.
    pub target_kind: Option<String>,
    /// What people answered to repairs of the event's incident, in their order; the times are filled in.
    pub answers: Vec<RepairAnswer>,
    /// Who works on the event's incident.
    pub acknowledged_by: Option<String>,
    /// The maintenance window that is open; its times count from the event.
    pub maintenance: Option<MaintenanceWindow>,
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
    /// Whether the repair waits for a person.
    pub needs_approval: Option<bool>,
    /// Whether it halts.
    pub halt: Option<bool>,
    /// The bounds of the confidence, 0 to 1.
    pub confidence: Option<RangeInclusive<f64>>,
    /// How much is written down.
    pub verbosity: Option<Verbosity>,
    /// Reasons that must be given.
    pub reasons: Vec<ExpectedReason>,
    /// Rules that must not be among the reasons; `*` is any that is not expected.
    pub no_rules: Vec<String>,
    /// Alerts that must be raised.
    pub alerts: Vec<ExpectedAlert>,
    /// Alerts that must not be raised; `*` is any that is not expected.
    pub no_alerts: Vec<String>,
    /// Pieces of text, each within a suggestion that must be made.
    pub suggestions: Vec<String>,
    /// Pieces of text that must be within no suggestion; `*` is any that is not expected.
    pub no_suggestions: Vec<String>,
    /// Whether it is to refuse to judge.
    pub refuses: bool,
}

/// A reason that must be given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectedReason {
    /// The rule.
    pub rule: String,
    /// A piece of its text; empty for any text.
    pub text: String,
}

/// An alert that must be raised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectedAlert {
    /// The rule.
    pub rule: String,
    /// How urgent it is; none for any urgency.
    pub urgency: Option<Urgency>,
    /// A piece of its message; empty for any message.
    pub text: String,
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
