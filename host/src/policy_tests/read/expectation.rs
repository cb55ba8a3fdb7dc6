//! What a case expects of an answer, and what it forbids.

use super::{CLASSES, LEVELS, MOST, maybe, names, optional, owned, required, time};
use crate::document::Section;
use crate::model::{EscalationLevel, LogLevel, Urgency, Verbosity};
use crate::policy_tests::{
    About, Expect, Expected, ExpectedAlert, ExpectedLine, ExpectedReason, Never, Often, Which,
};

const VERBOSITY: [(&str, Verbosity); 3] = [
    ("normal", Verbosity::Normal),
    ("elevated", Verbosity::Elevated),
    ("incident", Verbosity::Incident),
];
const URGENCY: [(&str, Urgency); 3] = [
    ("info", Urgency::Info),
    ("warning", Urgency::Warning),
    ("critical", Urgency::Critical),
];
/// What a text of an expectation is.
const PIECE: &str = "a piece of the text, as it is said";

const LOG_LEVELS: [(&str, LogLevel); 4] = [
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
];
const ABOUT: [(&str, About); 3] = [
    ("finding", About::Finding),
    ("outcome", About::Outcome),
    ("tick", About::Tick),
];
/// The keys of an expectation that may be rewritten.
const KEYS: [&str; 18] = [
    "classification",
    "level",
    "repair",
    "needs_approval",
    "halt",
    "confidence",
    "verbosity",
    "rules",
    "reasons",
    "no_rules",
    "alerts",
    "no_alerts",
    "suggestions",
    "no_suggestions",
    "log",
    "no_log",
    "refuses",
    "times",
];

/// What some answers of a whole case must be like.
pub(super) fn expected(section: &mut Section<'_, '_>) -> Expected {
    let which = which(section);
    let within_ms = time(section, "within_ms");
    let most = f64::from(MOST);
    let times = section.bounds("times", 0.0..=most);
    let every = section.flag("every", false);
    if every && times.is_some() {
        let hint = "leave one of the two out";
        section.error("every", "`every` and `times` both say how many", hint);
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds"
    )]
    let often = match times {
        _ if every => Often::Every,
        Some(times) => {
            if times.start().fract() != 0.0 || times.end().fract() != 0.0 {
                let right = "a whole number, or a list of the least and the most";
                section.error("times", "`times` is no whole number", right);
            }
            Often::Times(*times.start() as u64..=*times.end() as u64)
        }
        None => Often::Once,
    };
    let expect = expectation(section);
    if expect.refuses {
        let hint = "say it at the event that is refused";
        section.error("refuses", "`refuses` belongs to an event", hint);
    }
    Expected {
        line: section.line(""),
        which,
        often,
        within_ms,
        expect,
    }
}

fn which(section: &mut Section<'_, '_>) -> Which {
    let event = maybe(section, "event", u64::from(MOST));
    if event == Some(0) {
        section.error("event", "`event` is 0", "the answers are counted from 1");
    }
    Which {
        event,
        about: optional(section, "about", About::Tick, &ABOUT),
        target: owned(section, "target", "the target's name"),
        incident: owned(section, "incident", "an incident's identifier"),
        kind: owned(section, "kind", "the problem's kind"),
        subject: owned(section, "subject", "the problem's subject"),
        from_ms: time(section, "from_ms"),
        until_ms: time(section, "until_ms"),
    }
}

pub(super) fn expectation(section: &mut Section<'_, '_>) -> Expect {
    let repair = owned(section, "repair", "the identifier of a repair, or \"none\"");
    let rules = names(section, "rules", "rules among the reasons").into_iter();
    let rules = rules.map(|rule| ExpectedReason {
        rule,
        ..ExpectedReason::default()
    });
    Expect {
        classification: optional(section, "classification", None, &CLASSES),
        level: optional(section, "level", EscalationLevel::Normal, &LEVELS),
        repair: repair.map(|id| (id != "none").then_some(id)),
        needs_approval: section
            .has("needs_approval")
            .then(|| section.flag("needs_approval", true)),
        halt: section.has("halt").then(|| section.flag("halt", true)),
        confidence: section.bounds("confidence", 0.0..=1.0),
        verbosity: optional(section, "verbosity", Verbosity::Normal, &VERBOSITY),
        reasons: rules.chain(expected_reasons(section)).collect(),
        no_rules: names(section, "no_rules", "rules; \"*\" is any other"),
        alerts: expected_alerts(section),
        no_alerts: names(section, "no_alerts", "names of alerts; \"*\" is any other"),
        suggestions: pieces(section, "suggestions", "pieces of the suggestions' text"),
        no_suggestions: pieces(
            section,
            "no_suggestions",
            "pieces of text; \"*\" is any other",
        ),
        refuses: section.flag("refuses", false),
        log: expected_lines(section),
        no_log: pieces(section, "no_log", "pieces of text; \"*\" is any other"),
        places: KEYS
            .iter()
            .filter_map(|key| Some((*key, section.span(key)?)))
            .collect(),
    }
}

fn expected_lines(section: &mut Section<'_, '_>) -> Vec<ExpectedLine> {
    let right = "pieces of text, or tables such as { level = \"warn\", text = \"retrying\" }";
    let plain = |text: &str| ExpectedLine {
        level: None,
        text: text.to_owned(),
    };
    section.texts_or_tables("log", right, plain, |table| ExpectedLine {
        level: optional(table, "level", LogLevel::Info, &LOG_LEVELS),
        text: owned(table, "text", PIECE).unwrap_or_default(),
    })
}

fn expected_reasons(section: &mut Section<'_, '_>) -> Vec<ExpectedReason> {
    let right = "rules, or tables such as { rule = \"lock.stale\", text = \"held 500.0 s\" }";
    let plain = |rule: &str| ExpectedReason {
        rule: rule.to_owned(),
        ..ExpectedReason::default()
    };
    section.texts_or_tables("reasons", right, plain, |table| ExpectedReason {
        rule: required(table, "rule", "the name of a rule"),
        text: owned(table, "text", PIECE).unwrap_or_default(),
    })
}

fn expected_alerts(section: &mut Section<'_, '_>) -> Vec<ExpectedAlert> {
    let right = "names of alerts, or tables such as \
                 { rule = \"person_needed\", urgency = \"critical\", text = \"lock\" }";
    let plain = |rule: &str| ExpectedAlert {
        rule: rule.to_owned(),
        ..ExpectedAlert::default()
    };
    section.texts_or_tables("alerts", right, plain, |table| ExpectedAlert {
        rule: required(table, "rule", "the name of an alert"),
        urgency: optional(table, "urgency", Urgency::Info, &URGENCY),
        text: owned(table, "text", PIECE).unwrap_or_default(),
    })
}

/// Pieces of text; an empty one would be found everywhere.
fn pieces(section: &mut Section<'_, '_>, key: &'static str, right: &str) -> Vec<String> {
    let all = names(section, key, right);
    if all.iter().any(String::is_empty) {
        section.error(key, format!("`{key}` has an empty text"), right);
    }
    all
}

pub(super) fn never(section: &mut Section<'_, '_>) -> Never {
    let classes = section.words("classification", &CLASSES[..4]);
    Never {
        classifications: classes.into_iter().flatten().collect(),
        levels: section.words("level", &LEVELS),
        repairs: names(section, "repair", "identifiers of repairs; \"*\" is any"),
        halt: section.flag("halt", false),
        rules: names(section, "rules", "rules among the reasons"),
        alerts: names(section, "alerts", "names of alerts"),
        suggestions: pieces(section, "suggestions", "pieces of text within a suggestion"),
        log: pieces(
            section,
            "log",
            "pieces of text within a line of the policy's log",
        ),
    }
}
