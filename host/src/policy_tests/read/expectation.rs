//! What a case expects of an answer, and what it forbids.

use super::{CLASSES, LEVELS, optional, owned, required};
use crate::document::Section;
use crate::model::{EscalationLevel, Urgency, Verbosity};
use crate::policy_tests::{Expect, ExpectedAlert, ExpectedReason, Never};

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

fn names(section: &mut Section<'_, '_>, key: &'static str, right: &str) -> Vec<String> {
    section
        .texts(key, right)
        .into_iter()
        .map(str::to_owned)
        .collect()
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
    }
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
    let class_words = words(section, "classification", &CLASSES[..4]);
    Never {
        classifications: class_words.into_iter().flatten().collect(),
        levels: words(section, "level", &LEVELS),
        repairs: names(section, "repair", "identifiers of repairs; \"*\" is any"),
        halt: section.flag("halt", false),
        rules: names(section, "rules", "rules among the reasons"),
        alerts: names(section, "alerts", "names of alerts"),
    }
}

/// Several of several words.
fn words<T: Copy>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    choices: &[(&str, T)],
) -> Vec<T> {
    let all: Vec<String> = choices
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect();
    let right = format!("a list of {}", all.join(", "));
    let mut chosen = Vec::new();
    for text in section.texts(key, &right) {
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => chosen.push(*value),
            None => section.error(key, format!("`{key}` names \"{text}\""), right.clone()),
        }
    }
    chosen
}
