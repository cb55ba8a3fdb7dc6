//! The rules as they are kept in the settings: checked, and in a form that is read in microseconds.
//!
//! The heads are read at each event, a body only when its rule is about the event.

use dbmedic_policy::{Event, Urgency, fingerprint};
use serde::{Deserialize, Serialize};

use crate::expression::{Expression, Template};

/// All rules.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Document<'a> {
    #[serde(borrow)]
    pub(crate) rules: Vec<Head<'a>>,
    /// Whether a rule says when the level falls: then nothing else lowers it.
    pub(crate) lowers: bool,
}

/// What an event must be for a rule to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum On {
    Any,
    Finding,
    Outcome,
    Tick,
}

/// What is known of a rule without its body.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Head<'a> {
    pub(crate) name: &'a str,
    pub(crate) on: On,
    /// The kinds of problems that it is about; all where there are none.
    #[serde(borrow)]
    pub(crate) kinds: Vec<&'a str>,
    /// Whether it is remembered for the whole target and not by problem.
    pub(crate) per_target: bool,
    /// How many of the moments at which it spoke are remembered.
    pub(crate) remembered: u8,
    pub(crate) body: &'a [u8],
}

/// When a rule speaks, and what it says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Body<'a> {
    #[serde(borrow)]
    pub(crate) when: Option<Expression<'a>>,
    pub(crate) class: Option<Template<'a>>,
    pub(crate) level: Option<Template<'a>>,
    /// A level by its number.
    pub(crate) lower: Option<u8>,
    pub(crate) repair: Option<Template<'a>>,
    pub(crate) confidence: f64,
    pub(crate) needs_approval: bool,
    pub(crate) halt: bool,
    pub(crate) reason: Option<Template<'a>>,
    /// The reason's name, where it is not the rule's.
    pub(crate) called: Option<&'a str>,
    pub(crate) alert: Option<Alert<'a>>,
    pub(crate) suggest: Vec<Template<'a>>,
    pub(crate) last: bool,
}

/// What people are told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Alert<'a> {
    pub(crate) name: &'a str,
    /// As in [`URGENCIES`].
    pub(crate) urgency: u8,
    #[serde(borrow)]
    pub(crate) message: Template<'a>,
}

/// How urgent an alert can be.
pub(crate) const URGENCIES: [(&str, Urgency); 3] = [
    ("info", Urgency::Info),
    ("warning", Urgency::Warning),
    ("critical", Urgency::Critical),
];

impl<'a> Document<'a> {
    /// Reads what [`document::compile`](crate::document::compile) wrote.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl<'a> Head<'a> {
    /// Whether the rule is about this event.
    pub(crate) fn is_about(&self, event: &Event) -> bool {
        let (on, kind) = match event {
            Event::Finding(finding) => (On::Finding, finding.kind.as_str()),
            Event::Outcome(outcome) => (On::Outcome, outcome.kind.as_str()),
            Event::Tick => (On::Tick, ""),
        };
        (self.on == On::Any || self.on == on)
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }

    pub(crate) fn body(&self) -> Option<Body<'a>> {
        postcard::from_bytes(self.body).ok()
    }

    /// Under which key it is remembered at this event.
    pub(crate) fn key(&self, event: &Event) -> u64 {
        let (kind, subject) = match event {
            _ if self.per_target => ("", ""),
            Event::Finding(finding) => (finding.kind.as_str(), finding.subject.as_str()),
            Event::Outcome(outcome) => (outcome.kind.as_str(), outcome.subject.as_str()),
            Event::Tick => ("", ""),
        };
        // A line break stands in none of them, so no two run together.
        fingerprint(&format!("{}\n{kind}\n{subject}", self.name))
    }
}
