//! Holds an answer against what was expected of it, and against what it must never be.

use std::fmt::Display;

use super::{Expect, ExpectedAlert, ExpectedLine, ExpectedReason, Never};
use crate::model::{Alert, Classification, EscalationLevel, LogLevel, Urgency, Verbosity, Verdict};
use crate::policy::LogLine;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The key of the expectation.
    pub(super) key: &'static str,
    /// What is wrong, in a few words.
    pub(super) text: String,
}

fn wrong(key: &'static str, text: String) -> Wrong {
    Wrong { key, text }
}

/// Every name there is.
pub(super) const ANY: &str = "*";
/// What two confidences may differ by and still be equal.
const TOLERANCE: f64 = 1e-9;

impl Expect {
    /// What of an answer is not as expected, each in a few words.
    pub(super) fn wrong(&self, verdict: &Verdict, log: &[LogLine]) -> Vec<Wrong> {
        let mut all = Vec::new();
        let mut differ = |key: &'static str, expected: &dyn Display, actual: &dyn Display| {
            all.push(wrong(
                key,
                format!("expected {key} {expected}, got {actual}"),
            ));
        };
        if let Some(expected) = self.classification
            && expected != verdict.classification
        {
            differ(
                "classification",
                &class(expected),
                &class(verdict.classification),
            );
        }
        if let Some(expected) = self.level
            && expected != verdict.level
        {
            differ("level", &level(expected), &level(verdict.level));
        }
        if let Some(expected) = &self.repair
            && *expected != verdict.repair
        {
            let word = |repair: &Option<String>| repair.clone().unwrap_or("none".into());
            differ("repair", &word(expected), &word(&verdict.repair));
        }
        if let Some(expected) = self.needs_approval
            && expected != verdict.needs_approval
        {
            differ("needs_approval", &expected, &verdict.needs_approval);
        }
        if let Some(expected) = self.halt
            && expected != verdict.halt
        {
            differ("halt", &expected, &verdict.halt);
        }
        if let Some(bounds) = &self.confidence {
            let (low, high) = (bounds.start(), bounds.end());
            let allowed = low - TOLERANCE..=high + TOLERANCE;
            if !allowed.contains(&verdict.confidence) {
                let range = format!("from {low} to {high}");
                let is_one = high - low < TOLERANCE;
                let expected: &dyn Display = if is_one { low } else { &range };
                differ("confidence", expected, &verdict.confidence);
            }
        }
        if let Some(expected) = self.verbosity
            && expected != verdict.verbosity
        {
            differ(
                "verbosity",
                &verbosity(expected),
                &verbosity(verdict.verbosity),
            );
        }
        all.extend(self.wrong_reasons(verdict));
        all.extend(self.wrong_alerts(verdict));
        all.extend(self.wrong_suggestions(verdict));
        all.extend(self.wrong_lines(log));
        all
    }

    fn wrong_lines(&self, log: &[LogLine]) -> Vec<Wrong> {
        let mut all = Vec::new();
        let is = |line: &LogLine, expected: &ExpectedLine| {
            line.message.contains(&expected.text)
                && expected.level.is_none_or(|level| level == line.level)
        };
        for expected in &self.log {
            if !log.iter().any(|line| is(line, expected)) {
                let at = expected.level.map_or(String::new(), |level| {
                    format!("at level {} ", log_level(level))
                });
                let text = format!("expected the log line {at}\"{}\"", expected.text);
                all.push(wrong("log", text));
            }
        }
        for line in log {
            let is_expected = || self.log.iter().any(|expected| is(line, expected));
            let unwanted = self.no_log.iter().any(|piece| match piece.as_str() {
                ANY => !is_expected(),
                piece => line.message.contains(piece),
            });
            if unwanted {
                let text = format!("expected no log line \"{}\"", line.message);
                all.push(wrong("no_log", text));
            }
        }
        all
    }

    fn wrong_reasons(&self, verdict: &Verdict) -> Vec<Wrong> {
        let mut all = Vec::new();
        for ExpectedReason { rule, text } in &self.reasons {
            let said = verdict.reasons.iter().filter(|r| r.rule == *rule);
            let texts: Vec<&str> = said.map(|reason| &*reason.text).collect();
            if texts.is_empty() {
                all.push(wrong("reasons", format!("expected the rule {rule}")));
            } else if !texts.iter().any(|said| said.contains(text)) {
                let said = texts.join("\" and \"");
                let text =
                    format!("expected the rule {rule} to say \"{text}\", it says \"{said}\"");
                all.push(wrong("reasons", text));
            }
        }
        let given = verdict.reasons.iter().map(|reason| &*reason.rule);
        let is_expected = |rule: &str| self.reasons.iter().any(|reason| reason.rule == rule);
        let unwanted = unwanted(given, &self.no_rules, is_expected);
        all.extend(unwanted.map(|rule| wrong("no_rules", format!("expected no rule {rule}"))));
        all
    }

    fn wrong_alerts(&self, verdict: &Verdict) -> Vec<Wrong> {
        let mut all = Vec::new();
        for ExpectedAlert {
            rule,
            urgency: urgent,
            text,
        } in &self.alerts
        {
            let raised: Vec<_> = verdict.alerts.iter().filter(|a| a.rule == *rule).collect();
            let is_right = |alert: &Alert| {
                alert.message.contains(text) && urgent.is_none_or(|is| is == alert.urgency)
            };
            let shown = |alert: &Alert| format!("{} \"{}\"", urgency(alert.urgency), alert.message);
            if raised.is_empty() {
                all.push(wrong("alerts", format!("expected the alert {rule}")));
            } else if !raised.iter().any(|alert| is_right(alert)) {
                let got: Vec<String> = raised.iter().map(|alert| shown(alert)).collect();
                let wanted = urgent.map_or("with", urgency);
                let got = got.join(" and ");
                let text = format!("expected the alert {rule} {wanted} \"{text}\", got {got}");
                all.push(wrong("alerts", text));
            }
        }
        let given = verdict.alerts.iter().map(|alert| &*alert.rule);
        let is_expected = |rule: &str| self.alerts.iter().any(|alert| alert.rule == rule);
        let unwanted = unwanted(given, &self.no_alerts, is_expected);
        all.extend(unwanted.map(|rule| wrong("no_alerts", format!("expected no alert {rule}"))));
        all
    }

    fn wrong_suggestions(&self, verdict: &Verdict) -> Vec<Wrong> {
        let mut all = Vec::new();
        for piece in &self.suggestions {
            if !verdict.suggestions.iter().any(|s| s.contains(piece)) {
                let text = format!("expected the suggestion \"{piece}\"");
                all.push(wrong("suggestions", text));
            }
        }
        for suggestion in &verdict.suggestions {
            let contains = |piece: &String| suggestion.contains(piece);
            let is_expected = || self.suggestions.iter().any(contains);
            let is_any = |piece: &String| piece == ANY && !is_expected();
            if self
                .no_suggestions
                .iter()
                .any(|p| is_any(p) || p != ANY && contains(p))
            {
                let text = format!("expected no suggestion \"{suggestion}\"");
                all.push(wrong("no_suggestions", text));
            }
        }
        all
    }
}

/// Names that are there and must not be: those of `not`, and where that has [`ANY`], all others than
/// the expected ones.
fn unwanted<'a>(
    given: impl Iterator<Item = &'a str>,
    not: &[String],
    is_expected: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &'a str> {
    given.filter(move |name| {
        not.iter()
            .any(|not| not == name || not == ANY && !is_expected(name))
    })
}

impl Never {
    /// What of an answer must never be.
    pub(super) fn broken(&self, verdict: &Verdict, log: &[LogLine]) -> Vec<String> {
        let mut broken = Vec::new();
        if let Some(is) = verdict.classification
            && self.classifications.contains(&is)
        {
            broken.push(format!("classification {}", class(Some(is))));
        }
        if self.levels.contains(&verdict.level) {
            broken.push(format!("level {}", level(verdict.level)));
        }
        if let Some(repair) = &verdict.repair
            && self.repairs.iter().any(|id| id == ANY || id == repair)
        {
            broken.push(format!("repair {repair}"));
        }
        if self.halt && verdict.halt {
            broken.push("a halt".to_owned());
        }
        for reason in &verdict.reasons {
            if self.rules.contains(&reason.rule) {
                broken.push(format!("the rule {}", reason.rule));
            }
        }
        for alert in &verdict.alerts {
            if self.alerts.contains(&alert.rule) {
                broken.push(format!("the alert {}", alert.rule));
            }
        }
        for suggestion in &verdict.suggestions {
            if self
                .suggestions
                .iter()
                .any(|piece| suggestion.contains(piece))
            {
                broken.push(format!("the suggestion \"{suggestion}\""));
            }
        }
        for LogLine { message, .. } in log {
            if self.log.iter().any(|piece| message.contains(piece)) {
                broken.push(format!("the log line \"{message}\""));
            }
        }
        broken
    }
}

/// An answer in a few words: its class, its level and what is to be done.
pub(super) fn shown(verdict: &Verdict) -> String {
    format!(
        "{}/{}/{}",
        class(verdict.classification),
        level(verdict.level),
        verdict
            .repair
            .as_deref()
            .unwrap_or(if verdict.halt { "halt" } else { "no repair" })
    )
}

pub(super) fn class(class: Option<Classification>) -> &'static str {
    match class {
        Some(Classification::Hiccup) => "hiccup",
        Some(Classification::Obstacle) => "obstacle",
        Some(Classification::Wall) => "wall",
        Some(Classification::Crisis) => "crisis",
        None => "none",
    }
}

pub(super) fn level(level: EscalationLevel) -> &'static str {
    match level {
        EscalationLevel::Normal => "normal",
        EscalationLevel::Watch => "watch",
        EscalationLevel::Warn => "warn",
        EscalationLevel::Escalate => "escalate",
    }
}

pub(super) fn verbosity(verbosity: Verbosity) -> &'static str {
    match verbosity {
        Verbosity::Normal => "normal",
        Verbosity::Elevated => "elevated",
        Verbosity::Incident => "incident",
    }
}

pub(super) fn urgency(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Info => "info",
        Urgency::Warning => "warning",
        Urgency::Critical => "critical",
    }
}

pub(super) fn log_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}
