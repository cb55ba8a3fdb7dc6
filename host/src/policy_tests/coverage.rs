//! What a policy showed in its cases, and what it never showed: rules, answers, and the bounds of its
//! parameters.
//!
//! Nothing in a component says which rules it has. Those are known that spoke, that a case names, that a
//! file of cases lists under `rules`, and that generated histories made speak.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::trail::Answer;
use super::{Case, CaseFile, Expect, Story};
use crate::model::{Classification, EscalationLevel, Parameter, PolicyEvent, Value, Verdict};

/// What of answers is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kind {
    /// The class.
    pub classification: &'static str,
    /// The level.
    pub level: &'static str,
    /// The repair, `halt`, or `none`.
    pub repair: String,
}

impl Kind {
    pub(super) fn of(verdict: &Verdict) -> Self {
        let other = if verdict.halt { "halt" } else { "none" };
        Self {
            classification: super::expect::class(verdict.classification),
            level: super::expect::level(verdict.level),
            repair: verdict.repair.clone().unwrap_or_else(|| other.to_owned()),
        }
    }
}

/// What a policy showed in some decisions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    rules: BTreeMap<String, u64>,
    alerts: BTreeMap<String, u64>,
    kinds: BTreeMap<Kind, u64>,
    /// Repairs that were offered.
    offered: BTreeSet<String>,
}

impl Seen {
    pub(super) fn take(&mut self, answer: &Answer) {
        if let PolicyEvent::Finding(finding) = &answer.event {
            for candidate in &finding.candidates {
                if !self.offered.contains(&candidate.id) {
                    self.offered.insert(candidate.id.clone());
                }
            }
        }
        if answer.failure.is_none() {
            self.said(&answer.verdict);
        }
    }

    pub(super) fn said(&mut self, verdict: &Verdict) {
        for reason in &verdict.reasons {
            count(&mut self.rules, &reason.rule);
        }
        for alert in &verdict.alerts {
            count(&mut self.alerts, &alert.rule);
        }
        *self.kinds.entry(Kind::of(verdict)).or_default() += 1;
    }

    /// Takes up what was shown elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (rule, times) in &other.rules {
            *self.rules.entry(rule.clone()).or_default() += times;
        }
        for (rule, times) in &other.alerts {
            *self.alerts.entry(rule.clone()).or_default() += times;
        }
        for (kind, times) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += times;
        }
        self.offered.extend(other.offered.iter().cloned());
    }
}

fn count(all: &mut BTreeMap<String, u64>, name: &str) {
    match all.get_mut(name) {
        Some(times) => *times += 1,
        None => drop(all.insert(name.to_owned(), 1)),
    }
}

/// How much of a policy its cases show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// Of the known rules those that spoke, percent.
    pub rules_percent: f64,
    /// Every known rule, by name.
    pub rules: Vec<RuleShown>,
    /// Alerts that were raised, and how often.
    pub alerts: BTreeMap<String, u64>,
    /// Class × level × repair as they were answered.
    pub answers: Vec<Answered>,
    /// What was never answered in a case.
    pub never: Missing,
    /// Every parameter that is a number.
    pub parameters: Vec<ParameterTried>,
}

/// A rule, and what cases show of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleShown {
    /// Its name.
    pub rule: String,
    /// Answers in which it spoke.
    pub spoke: u64,
    /// Whether a case expects it by name.
    pub expected: bool,
}

/// A kind of answer, and how often it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// Which.
    #[serde(flatten)]
    pub kind: Kind,
    /// How often.
    pub answers: u64,
}

/// What no case shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Classes.
    pub classifications: Vec<&'static str>,
    /// Levels.
    pub levels: Vec<&'static str>,
    /// Repairs that cases offered and no answer chose.
    pub repairs: Vec<String>,
    /// Class × level × repair that generated histories brought about.
    pub answers: Vec<Kind>,
}

/// A parameter, and which of its values cases set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterTried {
    /// Its name.
    pub name: String,
    /// Cases that set it.
    pub cases: usize,
    /// Whether a case sets it to its smallest number; none where it has none.
    pub minimum: Option<bool>,
    /// Whether a case sets it to its largest number; none where it has none.
    pub maximum: Option<bool>,
}

impl Coverage {
    /// Of cases that ran, of what they showed, and of what generated histories showed beside.
    pub fn of(
        parameters: &[Parameter],
        cases: &[(&CaseFile, &Case)],
        seen: &Seen,
        generated: &Seen,
    ) -> Self {
        let expected = expected_rules(cases);
        let mut known: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        known.extend(
            cases
                .iter()
                .flat_map(|(file, _)| file.rules.iter().map(String::as_str)),
        );
        known.extend(
            seen.rules
                .keys()
                .chain(generated.rules.keys())
                .map(String::as_str),
        );
        let rules = known.iter().map(|rule| RuleShown {
            rule: (*rule).to_owned(),
            spoke: seen.rules.get(*rule).copied().unwrap_or_default(),
            expected: expected.contains(*rule),
        });
        let rules: Vec<RuleShown> = rules.collect();
        let spoke = rules.iter().filter(|rule| rule.spoke > 0).count();
        let answers = seen.kinds.iter().map(|(kind, answers)| Answered {
            kind: kind.clone(),
            answers: *answers,
        });
        Self {
            rules_percent: percent(spoke, rules.len()),
            rules,
            alerts: seen.alerts.clone(),
            answers: answers.collect(),
            never: Missing::of(seen, generated),
            parameters: tried(parameters, cases),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "numbers of rules")]
fn percent(part: usize, of: usize) -> f64 {
    if of == 0 {
        100.0
    } else {
        100.0 * part as f64 / of as f64
    }
}

impl Missing {
    fn of(seen: &Seen, generated: &Seen) -> Self {
        let classes = [
            Some(Classification::Hiccup),
            Some(Classification::Obstacle),
            Some(Classification::Wall),
            Some(Classification::Crisis),
        ];
        let levels = [
            EscalationLevel::Normal,
            EscalationLevel::Watch,
            EscalationLevel::Warn,
            EscalationLevel::Escalate,
        ];
        let is_chosen = |id: &&String| seen.kinds.keys().any(|kind| kind.repair == **id);
        let classes = classes.map(super::expect::class).into_iter();
        let levels = levels.map(super::expect::level).into_iter();
        let is_new = |kind: &&Kind| !seen.kinds.contains_key(*kind);
        Self {
            classifications: classes
                .filter(|class| seen.kinds.keys().all(|kind| kind.classification != *class))
                .collect(),
            levels: levels
                .filter(|level| seen.kinds.keys().all(|kind| kind.level != *level))
                .collect(),
            repairs: seen
                .offered
                .iter()
                .filter(|id| !is_chosen(id))
                .cloned()
                .collect(),
            answers: generated.kinds.keys().filter(is_new).cloned().collect(),
        }
    }
}

/// The rules that cases expect by name.
fn expected_rules(cases: &[(&CaseFile, &Case)]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut take = |expect: &Expect| {
        all.extend(expect.reasons.iter().map(|reason| reason.rule.clone()));
    };
    for (_, case) in cases {
        case.expect
            .iter()
            .for_each(|expected| take(&expected.expect));
        if let Story::Events(events) = &case.story {
            let expects = events.steps.iter().filter_map(|step| step.expect.as_ref());
            expects.for_each(&mut take);
        }
    }
    all
}

fn tried(parameters: &[Parameter], cases: &[(&CaseFile, &Case)]) -> Vec<ParameterTried> {
    let numeric = parameters
        .iter()
        .filter(|parameter| number(&parameter.default).is_some());
    let tried = numeric.map(|parameter| {
        let settings = cases.iter().flat_map(|(_, case)| &case.parameters);
        let set = settings.filter(|setting| setting.name == parameter.name);
        let values: Vec<f64> = set.filter_map(|setting| number(&setting.value)).collect();
        let is_set = |bound: f64| values.iter().any(|value| value.total_cmp(&bound).is_eq());
        ParameterTried {
            name: parameter.name.clone(),
            cases: values.len(),
            minimum: parameter.minimum.map(is_set),
            maximum: parameter.maximum.map(is_set),
        }
    });
    tried.collect()
}

/// A number of either kind.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        #[allow(clippy::cast_precision_loss, reason = "whole numbers stay below 2^53")]
        Value::Integer(whole) => Some(*whole as f64),
        Value::Number(number) => Some(*number),
        Value::Boolean(_) | Value::Text(_) | Value::Integers(_) | Value::Texts(_) => None,
    }
}
