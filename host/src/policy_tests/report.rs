//! What running cases came to.

use serde::{Serialize, Serializer};

use super::expect::{class, level, log_level, urgency};
use crate::model::{Alert, Classification, EscalationLevel, Reason, Value, Verdict};
use crate::policy::LogLine;

/// What running cases came to.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Each case, in order.
    pub cases: Vec<CaseResult>,
}

impl Report {
    /// Takes up what a case came to.
    pub(super) fn add(&mut self, result: CaseResult) {
        if result.failures.is_empty() {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
        self.cases.push(result);
    }

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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseResult {
    /// The file or section.
    pub file: String,
    /// The line that the case begins at.
    pub line: usize,
    /// The case.
    pub name: String,
    /// Decisions that it took.
    pub decisions: u64,
    /// Time that it took, microseconds.
    pub duration_us: u64,
    /// What was not as it must be, each in one line; empty when the case passed.
    pub failures: Vec<String>,
    /// What happened around the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timelines: Vec<Timeline>,
}

/// What happened around an answer that was not as it must be, or that came nearest to what was expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// Which of the failures it belongs to, counted from 0.
    pub failure: usize,
    /// Which of the moments is the one that matters, counted from 0.
    pub at: usize,
    /// The answers, in their order.
    pub moments: Vec<Moment>,
}

/// One answer, with what led to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// Which event, in a few words.
    pub event: String,
    /// Time since the beginning of the case, milliseconds.
    pub at_ms: u64,
    /// The incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The problem's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The problem's subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The level in force before.
    pub level: EscalationLevel,
    /// How bad the problem is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<f64>,
    /// The particulars of the problem.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "plain")]
    pub facts: Vec<(String, Value)>,
    /// The repairs that were offered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// What the answer was to be and is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<String>,
    /// Why the policy's own answer does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The answer.
    pub said: Said,
    /// What the policy wrote into its log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
}

/// What of an answer is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Said {
    /// What the problem means.
    pub classification: Option<Classification>,
    /// The level from now on.
    pub level: EscalationLevel,
    /// The chosen repair.
    pub repair: Option<String>,
    /// Whether that waits for a person.
    pub needs_approval: bool,
    /// Whether everything stops.
    pub halt: bool,
    /// How sure the policy is.
    pub confidence: f64,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What people are told.
    pub alerts: Vec<Alert>,
    /// What a person might do.
    pub suggestions: Vec<String>,
}

impl Said {
    pub(super) fn of(verdict: &Verdict) -> Self {
        Self {
            classification: verdict.classification,
            level: verdict.level,
            repair: verdict.repair.clone(),
            needs_approval: verdict.needs_approval,
            halt: verdict.halt,
            confidence: verdict.confidence,
            reasons: verdict.reasons.clone(),
            alerts: verdict.alerts.clone(),
            suggestions: verdict.suggestions.clone(),
        }
    }
}

impl Timeline {
    /// The timeline as lines for a person, each moment below the one before.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, moment) in self.moments.iter().enumerate() {
            let mark = if number == self.at { '>' } else { ' ' };
            let mut head = format!("{mark} {:>9}  {}", time(moment.at_ms), moment.event);
            for name in [&moment.incident, &moment.subject].into_iter().flatten() {
                head.push_str(", ");
                head.push_str(name);
            }
            head.push_str(", at level ");
            head.push_str(level(moment.level));
            lines.push(head);
            let parts = moment.parts(number == self.at);
            lines.extend(
                parts
                    .into_iter()
                    .map(|(what, text)| format!("             {what:<8} {text}")),
            );
        }
        lines
    }
}

impl Moment {
    /// What is shown of a moment, each with its name; more of the one that matters.
    fn parts(&self, matters: bool) -> Vec<(&'static str, String)> {
        let mut parts = Vec::new();
        let facts = self
            .facts
            .iter()
            .map(|(name, value)| format!("{name} = {}", shown(value)));
        let severity = self.severity.map(|severity| format!("severity {severity}"));
        let facts: Vec<String> = severity.into_iter().chain(facts).collect();
        if matters && !facts.is_empty() {
            parts.push(("facts", facts.join(", ")));
        }
        if matters && !self.candidates.is_empty() {
            parts.push(("offered", self.candidates.join(", ")));
        }
        for expected in &self.expected {
            parts.push((
                "expected",
                expected
                    .strip_prefix("expected ")
                    .unwrap_or(expected)
                    .to_owned(),
            ));
        }
        if let Some(failure) = &self.failure {
            parts.push(("failed", failure.clone()));
        } else {
            parts.push(("said", self.said.in_words()));
        }
        let reasons = self.said.reasons.iter();
        let reasons = reasons.map(|Reason { rule, text }| format!("{rule}: {text}"));
        parts.extend(reasons.map(|text| ("because", text)));
        if matters {
            let alerts = self.said.alerts.iter();
            parts.extend(alerts.map(|alert| {
                let text = format!(
                    "{} {}: {}",
                    urgency(alert.urgency),
                    alert.rule,
                    alert.message
                );
                ("alert", text)
            }));
            parts.extend(
                self.said
                    .suggestions
                    .iter()
                    .map(|text| ("suggests", text.clone())),
            );
        }
        let log = self.log.iter();
        parts
            .extend(log.map(|line| ("log", format!("{} {}", log_level(line.level), line.message))));
        parts
    }
}

impl Said {
    fn in_words(&self) -> String {
        let repair = match (&self.repair, self.halt) {
            (Some(repair), _) => repair.as_str(),
            (None, true) => "halt",
            (None, false) => "no repair",
        };
        let waits = if self.needs_approval {
            ", after approval"
        } else {
            ""
        };
        let (class, level) = (class(self.classification), level(self.level));
        format!(
            "{class}/{level}/{repair}{waits}, confidence {}",
            self.confidence
        )
    }
}

/// A value as a case writes it.
fn shown(value: &Value) -> String {
    match value {
        Value::Boolean(flag) => flag.to_string(),
        Value::Integer(whole) => whole.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("\"{text}\""),
        Value::Integers(all) => format!("{all:?}"),
        Value::Texts(all) => format!("{all:?}"),
    }
}

/// Facts as a table of plain values.
fn plain<S: Serializer>(facts: &[(String, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    let plain = |value: &Value| match value {
        Value::Boolean(flag) => serde_json::json!(flag),
        Value::Integer(whole) => serde_json::json!(whole),
        Value::Number(number) => serde_json::json!(number),
        Value::Text(text) => serde_json::json!(text),
        Value::Integers(all) => serde_json::json!(all),
        Value::Texts(all) => serde_json::json!(all),
    };
    serializer.collect_map(facts.iter().map(|(name, value)| (name, plain(value))))
}

/// A time since the beginning of a case.
fn time(ms: u64) -> String {
    if ms.is_multiple_of(1_000) {
        format!("{} s", ms / 1_000)
    } else {
        format!("{}.{:03} s", ms / 1_000, ms % 1_000)
    }
}
