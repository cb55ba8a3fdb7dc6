//! Rewrites expectations so that they say what the policy answers.
//!
//! Only the values of keys that are there change; everything else in a file stays as it was written. What
//! must never happen stays what must never happen.

use std::ops::Range;

use super::expect::{ANY, class, level, log_level, urgency, verbosity};
use super::follow::Followers;
use super::run::{Played, play};
use super::trail::Trail;
use super::write::{list, named, number, quoted};
use super::{Case, Expect, Often, Story};
use crate::document;
use crate::model::Verdict;
use crate::policy::{LogLine, Policy};

/// One value that is to be rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The line that it stands in, counted from 1.
    pub line: usize,
    /// The key.
    pub key: &'static str,
    /// The value as it is.
    pub old: String,
    /// The value as it will be.
    pub new: String,
    span: Range<usize>,
}

/// What of a case's expectations is not as a policy answers, in the text that the case stands in. Nothing
/// where two answers would have to be said by one expectation.
pub fn changes(policy: &Policy, case: &Case, text: &str) -> Vec<Change> {
    let (Ok(policy), Story::Events(events)) = (policy.with_settings(&case.parameters), &case.story)
    else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut followers = Followers::of(case);
    let mut trail = Trail::default();
    let mut number = 0;
    play(&policy, events, &mut |played: Played<'_>| {
        let expect = played.step.expect.as_ref().filter(|expect| !expect.refuses);
        if played.decision.failure.is_some() {
            return played
                .step
                .expect
                .as_ref()
                .is_some_and(|expect| expect.refuses);
        }
        if let Some(expect) = expect {
            let decision = &played.decision;
            let keys = expect.wrong(&decision.verdict, &decision.log);
            let keys: Vec<&str> = keys.iter().map(|wrong| wrong.key).collect();
            all.extend(rewritten(
                expect,
                &keys,
                &decision.verdict,
                &decision.log,
                text,
            ));
        }
        number += 1;
        let answer = played.into_numbered_answer(number);
        trail.push(std::sync::Arc::clone(&answer));
        followers.take(&answer, &trail);
        true
    });
    for unmet in followers.end(number) {
        let expected = &case.expect[unmet.expected];
        let expect = &expected.expect;
        match (&unmet.nearest, &expected.often) {
            (Some((around, wrong)), Often::Once | Often::Every) if !wrong.is_empty() => {
                let keys: Vec<&str> = wrong.iter().map(|wrong| wrong.key).collect();
                let answer = around.answer();
                all.extend(rewritten(expect, &keys, &answer.verdict, &answer.log, text));
            }
            (_, Often::Times(_)) => {
                all.extend(change(expect, "times", Some(unmet.met.to_string()), text));
            }
            _ => {}
        }
    }
    all.sort_by_key(|change| change.span.start);
    all.dedup();
    let contradict = |pair: &[Change]| pair[0].span.end > pair[1].span.start;
    if all.windows(2).any(contradict) {
        return Vec::new();
    }
    all
}

/// A text with these changes, which are in their order and do not overlap.
pub fn apply(text: &str, changes: &[Change]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for change in changes {
        out.push_str(&text[from..change.span.start]);
        out.push_str(&change.new);
        from = change.span.end;
    }
    out.push_str(&text[from..]);
    out
}

fn change(expect: &Expect, key: &'static str, new: Option<String>, text: &str) -> Option<Change> {
    let span = expect
        .places
        .iter()
        .find(|(known, _)| *known == key)?
        .1
        .clone();
    let old = text.get(span.clone())?.to_owned();
    let new = new.unwrap_or_else(|| "[]".to_owned());
    (old != new).then(|| Change {
        line: document::line_of(text, span.start),
        key,
        old,
        new,
        span,
    })
}

/// The new values of the keys that are wrong.
fn rewritten(
    expect: &Expect,
    wrong: &[&str],
    verdict: &Verdict,
    log: &[LogLine],
    text: &str,
) -> Vec<Change> {
    let mut all = Vec::new();
    let mut add = |key, new: Option<String>| all.extend(change(expect, key, new, text));
    let is_wrong = |key: &str| wrong.contains(&key);
    for key in [
        "classification",
        "level",
        "repair",
        "needs_approval",
        "halt",
        "confidence",
        "verbosity",
    ] {
        if is_wrong(key) {
            add(key, Some(simple(key, verdict)));
        }
    }
    if is_wrong("reasons") || is_wrong("no_rules") {
        rules(expect, verdict, &mut add);
    }
    if is_wrong("alerts") || is_wrong("no_alerts") {
        alerts(expect, verdict, &mut add);
    }
    let said = |piece: &String| verdict.suggestions.iter().any(|said| said.contains(piece));
    if is_wrong("suggestions") || is_wrong("no_suggestions") {
        let kept = survivors(
            &expect.suggestions,
            said,
            &verdict.suggestions,
            &expect.no_suggestions,
        );
        add("suggestions", list(kept.iter().map(|piece| quoted(piece))));
        let is_expected = |text: &str| kept.iter().any(|piece| text.contains(piece));
        let others = verdict.suggestions.iter().any(|text| !is_expected(text));
        add(
            "no_suggestions",
            absent(&expect.no_suggestions, said, others),
        );
    }
    let logged = |piece: &String| log.iter().any(|line| line.message.contains(piece));
    if is_wrong("log") || is_wrong("no_log") {
        lines(expect, log, &mut add);
        let is_expected = |line: &LogLine| {
            expect
                .log
                .iter()
                .any(|expected| line.message.contains(&expected.text))
        };
        let all_expected = expect.no_log.iter().any(|piece| piece == ANY);
        let others = !all_expected && log.iter().any(|line| !is_expected(line));
        add("no_log", absent(&expect.no_log, logged, others));
    }
    all
}

/// A value that a verdict has one of.
fn simple(key: &str, verdict: &Verdict) -> String {
    match key {
        "classification" => quoted(class(verdict.classification)),
        "level" => quoted(level(verdict.level)),
        "repair" => quoted(verdict.repair.as_deref().unwrap_or("none")),
        "needs_approval" => verdict.needs_approval.to_string(),
        "halt" => verdict.halt.to_string(),
        "confidence" => number(verdict.confidence),
        _ => quoted(verbosity(verdict.verbosity)),
    }
}

/// Of expected names those that were said, or all that were said where none is left, or where no other one
/// may be said.
fn survivors(
    expected: &[String],
    is_said: impl Fn(&String) -> bool,
    said: &[String],
    not: &[String],
) -> Vec<String> {
    let kept: Vec<String> = expected
        .iter()
        .filter(|name| is_said(name))
        .cloned()
        .collect();
    let no_other = not.iter().any(|name| name == ANY);
    if kept.is_empty() || no_other {
        said.to_vec()
    } else {
        kept
    }
}

/// Of unwanted names those that were not said; any other stays unwanted where none was said.
fn absent(not: &[String], is_said: impl Fn(&String) -> bool, others: bool) -> Option<String> {
    let left = not.iter().filter(|name| match name.as_str() {
        ANY => !others,
        _ => !is_said(name),
    });
    list(left.map(|name| quoted(name)))
}

fn rules(expect: &Expect, verdict: &Verdict, add: &mut impl FnMut(&'static str, Option<String>)) {
    let has = |key: &str| expect.places.iter().any(|(known, _)| *known == key);
    let said: Vec<String> = verdict
        .reasons
        .iter()
        .map(|reason| reason.rule.clone())
        .collect();
    let is_said = |rule: &String| said.contains(rule);
    let named_rules: Vec<String> = expect
        .reasons
        .iter()
        .map(|reason| reason.rule.clone())
        .collect();
    // Both keys give reasons; whoever has only one of them gets all of them there.
    let both = has("rules") && has("reasons");
    let names = if both {
        named_rules
            .iter()
            .filter(|rule| is_said(rule))
            .cloned()
            .collect()
    } else {
        survivors(&named_rules, is_said, &said, &expect.no_rules)
    };
    if has("rules") {
        add("rules", list(names.iter().map(|rule| quoted(rule))));
    }
    if has("reasons") {
        let rows = names.iter().map(|rule| {
            let mut expected = expect.reasons.iter().filter(|reason| reason.rule == *rule);
            let piece =
                expected.find_map(|reason| (!reason.text.is_empty()).then_some(&reason.text));
            let texts = verdict.reasons.iter().filter(|reason| reason.rule == *rule);
            let mut texts = texts.map(|reason| reason.text.as_str());
            let text = match piece {
                None => "",
                Some(piece) if texts.clone().any(|text| text.contains(piece)) => piece,
                Some(_) => texts.next().unwrap_or_default(),
            };
            named(rule, text)
        });
        add("reasons", list(rows));
    }
    let others = said.iter().any(|rule| !names.contains(rule));
    add("no_rules", absent(&expect.no_rules, is_said, others));
}

fn alerts(expect: &Expect, verdict: &Verdict, add: &mut impl FnMut(&'static str, Option<String>)) {
    let said: Vec<String> = verdict
        .alerts
        .iter()
        .map(|alert| alert.rule.clone())
        .collect();
    let is_said = |rule: &String| said.contains(rule);
    let expected: Vec<String> = expect
        .alerts
        .iter()
        .map(|alert| alert.rule.clone())
        .collect();
    let names = survivors(&expected, is_said, &said, &expect.no_alerts);
    let rows = names.iter().filter_map(|rule| {
        let alert = verdict.alerts.iter().find(|alert| alert.rule == *rule)?;
        let wanted = expect.alerts.iter().find(|wanted| wanted.rule == *rule);
        let plain = wanted.is_none_or(|wanted| wanted.text.is_empty() && wanted.urgency.is_none());
        if plain {
            return Some(quoted(rule));
        }
        let piece = wanted.map_or("", |wanted| &wanted.text);
        let text = if alert.message.contains(piece) {
            piece
        } else {
            &alert.message
        };
        let (rule, is, text) = (quoted(rule), quoted(urgency(alert.urgency)), quoted(text));
        Some(format!(
            "{{ rule = {rule}, urgency = {is}, text = {text} }}"
        ))
    });
    add("alerts", list(rows));
    let others = said.iter().any(|rule| !names.contains(rule));
    add("no_alerts", absent(&expect.no_alerts, is_said, others));
}

fn lines(expect: &Expect, log: &[LogLine], add: &mut impl FnMut(&'static str, Option<String>)) {
    let row = |line: &LogLine| {
        let (is, text) = (quoted(log_level(line.level)), quoted(&line.message));
        format!("{{ level = {is}, text = {text} }}")
    };
    let is = |line: &LogLine, piece: &str| line.message.contains(piece);
    let kept = expect
        .log
        .iter()
        .filter(|expected| log.iter().any(|line| is(line, &expected.text)));
    let kept: Vec<&str> = kept.map(|expected| expected.text.as_str()).collect();
    let no_other = expect.no_log.iter().any(|piece| piece == ANY);
    if kept.is_empty() || no_other {
        add("log", list(log.iter().map(row)));
        return;
    }
    let rows = kept.iter().filter_map(|piece| {
        let expected = expect.log.iter().find(|expected| expected.text == *piece)?;
        let line = log.iter().find(|line| is(line, piece))?;
        if expected.level.is_none() {
            return Some(quoted(piece));
        }
        let (is, text) = (quoted(log_level(line.level)), quoted(piece));
        Some(format!("{{ level = {is}, text = {text} }}"))
    });
    add("log", list(rows));
}
