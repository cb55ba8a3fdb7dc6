//! Test cases of a policy: what it is to answer, and what it must never do.
//!
//! Cases are TOML, in a folder `NAME.tests` beside `NAME.wasm`, or in custom sections
//! `dbmedic:tests` of the component itself. The gate runs what a policy carries before it comes into
//! service; `dbmedic policy test` runs the same by hand. A case asks the real component, in its
//! sandbox, and plays the host around it: time, level, memory, open incidents and what became of
//! repairs are carried on from event to event. No database and no clock is touched.
//!
//! `docs/cases.md` describes the format, key by key; [`schema`] gives it as JSON Schema, made of what
//! the reader itself asks for.

pub mod capture;
mod collect;
mod coverage;
mod expect;
mod follow;
pub mod fuzz;
mod generate;
mod host;
pub mod mutate;
mod notation;
mod questions;
mod read;
mod report;
mod run;
mod told;
mod trail;
pub mod update;
pub mod write;

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use crate::model::{
    BaselineSummary, Classification, ConstraintState, EscalationLevel, Finding, LocalTime,
    LogLevel, MaintenanceWindow, OpenIncident, Outcome, PolicyEvent, RepairAnswer, RepairHistory,
    Setting, Urgency, Verbosity,
};

pub use collect::{
    CaseText, CasesError, FILE_BYTES, beside, carried, folder_beside, from_paths, is_case_file,
};
pub use coverage::{Answered, Coverage, Kind, Missing, ParameterTried, RuleShown, Seen};
pub use questions::{Asked, questions, typical};
pub use read::{parse, schema};
pub use report::{CaseResult, Moment, Report, Said, Timeline};
pub use run::{Order, run, run_some};

/// The version of the format that this dbmedic reads.
pub const VERSION: u32 = 1;

/// One file, or one section of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseFile {
    /// How it is called: a path, or which section of which component.
    pub name: String,
    /// The rules that the policy has, as far as the file says so.
    pub rules: Vec<String>,
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
    /// What answers must be like.
    pub expect: Vec<Expected>,
    /// Whether each of these must be met later than the one before.
    pub in_order: bool,
    /// What no answer may be like.
    pub never: Never,
}

impl Case {
    /// Takes the metrics out of every event.
    pub fn forget_metrics(&mut self) {
        if let Story::Events(events) = &mut self.story {
            for step in &mut events.steps {
                step.known.metrics.clear();
            }
        }
    }
}

/// What happens in a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Story {
    /// Events, one after the other.
    Events(Events),
    /// What was recorded once.
    Recording(PathBuf),
}

/// Events as they are written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// When the case begins, milliseconds since the Unix epoch.
    pub begin_ms: u64,
    /// Samples of series, from the beginning on; none where nothing was measured.
    pub samples: Vec<(String, Vec<Option<f64>>)>,
    /// Time between two of them, milliseconds.
    pub sample_every_ms: u64,
    /// The events.
    pub steps: Vec<Step>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            begin_ms: BEGIN_MS,
            samples: Vec::new(),
            sample_every_ms: SAMPLE_EVERY_MS,
            steps: Vec::new(),
        }
    }
}

/// When a case begins that does not say so, milliseconds since the Unix epoch.
const BEGIN_MS: u64 = 1_000_000_000;
/// Between two samples, milliseconds.
const SAMPLE_EVERY_MS: u64 = 1_000;

/// One event of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When it is.
    pub when: When,
    /// How often it happens, once at least.
    pub times: u32,
    /// Time between two of these, milliseconds.
    pub every_ms: u64,
    /// What is to be judged. Sightings and times are filled in when it is run.
    pub event: PolicyEvent,
    /// What the host knows from here on.
    pub known: Known,
    /// What the answer must be like.
    pub expect: Option<Expect>,
}

impl Step {
    /// An event so long after the one before, of which the host knows nothing new.
    pub fn after(after_ms: u64, event: PolicyEvent) -> Self {
        Self {
            when: When::After(after_ms),
            times: 1,
            every_ms: 0,
            event,
            known: Known::default(),
            expect: None,
        }
    }
}

/// When an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So many milliseconds after the event before.
    After(u64),
    /// So many milliseconds after the beginning of the case, if that is not over.
    SinceBegin(u64),
    /// At a moment by a local clock, if that is not over.
    Local(LocalMoment),
}

/// A moment by a local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMoment {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Minutes that the clock is ahead of UTC.
    pub utc_offset_minutes: i32,
}

/// What the host knows beside an event; what is not said stays as it was. All times in it count from
/// the event: back into the past, or forwards to the end of a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// The escalation level in force.
    pub level: Option<EscalationLevel>,
    /// How long it has been in force, milliseconds.
    pub level_for_ms: Option<u64>,
    /// The main metrics, by name.
    pub metrics: Vec<(String, f64)>,
    /// Where constraints stand.
    pub constraints: Vec<ConstraintState>,
    /// What became of earlier repairs.
    pub repairs: Vec<RepairHistory>,
    /// What telemetry answers.
    pub series: Vec<SeriesGiven>,
    /// The target's name.
    pub target: Option<String>,
    /// What kind of database the target is.
    pub target_kind: Option<String>,
    /// What people answered to repairs of the event's incident, in their order; the times are filled in.
    pub answers: Vec<RepairAnswer>,
    /// Who works on the event's incident.
    pub acknowledged_by: Option<String>,
    /// Incidents that are resolved, by identifier, kind or subject.
    pub resolved: Vec<String>,
    /// Every incident that is open, in the place of those that came of the events; none to keep those.
    pub incidents: Option<Vec<OpenIncident>>,
    /// The maintenance window that is open.
    pub maintenance: Option<MaintenanceWindow>,
    /// The next maintenance window.
    pub next_maintenance: Option<MaintenanceWindow>,
    /// How far the local time is from UTC.
    pub local_time: Option<LocalTime>,
    /// What the policy's last verdict left in its memory.
    pub memory: Option<Vec<u8>>,
}

/// What telemetry answers of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesGiven {
    /// The series.
    pub name: String,
    /// How long ago each point was, milliseconds, and its value; the oldest first.
    pub points: Vec<(u64, f64)>,
    /// What is normal for it.
    pub baseline: BaselineGiven,
}

/// What is normal for a series of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BaselineGiven {
    /// Nobody knows.
    None,
    /// What the case says.
    Is(BaselineSummary),
    /// What the points so far say, as the host reckons by default.
    FromPoints,
}

/// What some answers of a case must be like.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expected {
    /// The line that it begins at, counted from 1.
    pub line: usize,
    /// Which answers are meant.
    pub which: Which,
    /// How many of them must be as expected.
    pub often: Often,
    /// How long after the one before it must be met at the latest, milliseconds; from the beginning
    /// for the first.
    pub within_ms: Option<u64>,
    /// What they must be like.
    pub expect: Expect,
}

/// Which answers of a case are meant; what is not said may be anything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Which {
    /// The answer to this event, counted from 1.
    pub event: Option<u64>,
    /// What was put to the policy.
    pub about: Option<About>,
    /// The target.
    pub target: Option<String>,
    /// The incident.
    pub incident: Option<String>,
    /// The problem's kind.
    pub kind: Option<String>,
    /// The problem's subject.
    pub subject: Option<String>,
    /// From this time after the beginning of the case on, milliseconds.
    pub from_ms: Option<u64>,
    /// Up to this time after the beginning, milliseconds, that one included.
    pub until_ms: Option<u64>,
}

/// What was put to a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A problem.
    Finding,
    /// The end of a repair.
    Outcome,
    /// That time passed.
    Tick,
}

/// How many of the answers that are meant must be as expected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Often {
    /// One at least.
    #[default]
    Once,
    /// As many as lie in these bounds.
    Times(RangeInclusive<u64>),
    /// Each of them, and there must be one.
    Every,
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
    /// Lines that the policy must write into its log.
    pub log: Vec<ExpectedLine>,
    /// Pieces of text that must be in no line of its log; `*` is any line that is not expected.
    pub no_log: Vec<String>,
    /// Where this stands in its file: the value of each key, in bytes of the text.
    pub places: Vec<(&'static str, Range<usize>)>,
}

/// A line that must be in the policy's log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectedLine {
    /// How much it matters; none for any.
    pub level: Option<LogLevel>,
    /// A piece of its text.
    pub text: String,
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
    /// Pieces of text within a suggestion.
    pub suggestions: Vec<String>,
    /// Pieces of text within a line of its log.
    pub log: Vec<String>,
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
