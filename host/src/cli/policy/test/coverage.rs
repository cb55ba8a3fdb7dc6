//! What of a policy its cases show, for `policy test --coverage`.

use serde::Serialize;

use crate::cli::say;
use crate::model::{Setting, Value};
use crate::policy::Policy;
use crate::policy_tests::{Case, CaseFile, Coverage, Report, Seen, fuzz};

/// Generated histories that are asked for rules which no case makes speak, and their seed.
const HISTORIES: u64 = 300;
const SEED: u64 = 1;
/// Sets of texts that are asked at most.
const DOCUMENTS: usize = 8;

/// A report with the coverage beside it, where that was asked for.
#[derive(Serialize)]
pub(super) struct WithCoverage<'a> {
    #[serde(flatten)]
    pub(super) report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) coverage: Option<&'a Coverage>,
}

/// The coverage of cases that ran.
pub(super) fn of(policy: &Policy, cases: &[(&CaseFile, &Case)], seen: &Seen) -> Coverage {
    let all: Vec<&Case> = cases.iter().map(|(_, case)| *case).collect();
    let mut generated = Seen::default();
    for texts in texts(&all) {
        // Settings that it refuses fail the case where it is run.
        if let Ok(policy) = policy.with_settings(&texts) {
            generated.merge(&fuzz::explore(&policy, &all, HISTORIES, SEED));
        }
    }
    Coverage::of(&policy.description().parameters, cases, seen, &generated)
}

/// The settings of cases that are texts, each set of them once: a policy of rules is another one with each document.
fn texts(cases: &[&Case]) -> Vec<Vec<Setting>> {
    let mut all: Vec<Vec<Setting>> = Vec::new();
    for case in cases {
        let is_text = |setting: &&Setting| matches!(setting.value, Value::Text(_));
        let texts: Vec<Setting> = case.parameters.iter().filter(is_text).cloned().collect();
        if !all.contains(&texts) && all.len() < DOCUMENTS {
            all.push(texts);
        }
    }
    all
}

/// What there is to say when fewer rules spoke than must.
pub(super) fn too_few_rules(least: Option<f64>, coverage: Option<&Coverage>) -> Option<String> {
    let (least, is) = (least?, coverage?.rules_percent);
    // As it is shown: a person must not read that 90.0 is less than 90.
    ((is * 10.0).round() / 10.0 < least)
        .then(|| format!("{is:.1} % of the known rules spoke; {least} % must"))
}

pub(super) fn tell(coverage: &Coverage) -> std::io::Result<()> {
    let spoke = coverage.rules.iter().filter(|rule| rule.spoke > 0);
    say(&format!(
        "rules      {} of {} known ones spoke, {:.1} %",
        spoke.count(),
        coverage.rules.len(),
        coverage.rules_percent
    ))?;
    for rule in &coverage.rules {
        let what = match (rule.spoke, rule.expected) {
            (0, true) => "expected, never spoke",
            (0, false) => "never spoke",
            (_, false) => "spoke, and no case expects it",
            (_, true) => continue,
        };
        say(&format!("           {}: {what}", rule.rule))?;
    }
    say("answers    class × level × repair, and how often")?;
    for answered in &coverage.answers {
        let kind = &answered.kind;
        say(&format!(
            "{:>10} {}/{}/{}",
            answered.answers, kind.classification, kind.level, kind.repair
        ))?;
    }
    let never = &coverage.never;
    let words = |words: &[&str]| words.join(", ");
    for (what, names) in [
        ("class", words(&never.classifications)),
        ("level", words(&never.levels)),
        ("repair", never.repairs.join(", ")),
    ] {
        if !names.is_empty() {
            say(&format!("never      {what} {names}"))?;
        }
    }
    for kind in &never.answers {
        say(&format!(
            "never      {}/{}/{}, which a generated history brought about",
            kind.classification, kind.level, kind.repair
        ))?;
    }
    for parameter in &coverage.parameters {
        let bound = |touched: Option<bool>, name| match touched {
            Some(false) => Some(name),
            Some(true) | None => None,
        };
        let untouched: Vec<&str> = [
            bound(parameter.minimum, "its smallest"),
            bound(parameter.maximum, "its largest"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if untouched.is_empty() {
            continue;
        }
        say(&format!(
            "parameter  {}: set by {} cases, never to {} number",
            parameter.name,
            parameter.cases,
            untouched.join(" nor ")
        ))?;
    }
    Ok(())
}
