//! From a case back to TOML, as a person would write it: what is as usual is left out.

mod known;
mod toml;

use super::expect::{class, level, log_level, urgency, verbosity};
use super::read::words;
use super::{BEGIN_MS, Case, Events, Expect, SAMPLE_EVERY_MS, Step, Story, When};
use crate::model::{Anomaly, Candidate, DataLoss, Finding, Outcome, PolicyEvent, Setting, Value};

use known::of_known;
use toml::{Lines, Table, rows};
pub(super) use toml::{list, number, quoted};

/// A file with these cases.
pub fn file(cases: &[Case]) -> String {
    let mut text = format!("version = {}\n", super::VERSION);
    for case in cases {
        text.push('\n');
        text.push_str(&one(case));
    }
    text
}

/// One case, beginning with `[[cases]]`. What a whole case expects is not written: nothing makes such.
pub fn one(case: &Case) -> String {
    let mut out = Lines::new("[[cases]]");
    out.add("name", quoted(&case.name));
    let parameters = values(&case.parameters);
    out.add_some("parameters", parameters);
    let mut never = Table::new();
    never.texts("repair", &case.never.repairs);
    never.texts("rules", &case.never.rules);
    never.texts("alerts", &case.never.alerts);
    never.flag("halt", case.never.halt, false);
    out.add_some("never", never.some());
    match &case.story {
        Story::Recording(path) => out.add("recording", quoted(&path.display().to_string())),
        Story::Events(events) => of_events(&mut out, events),
    }
    out.0
}

fn of_events(out: &mut Lines, events: &Events) {
    if events.begin_ms != BEGIN_MS {
        out.add("begins_ms", events.begin_ms);
    }
    if events.sample_every_ms != SAMPLE_EVERY_MS {
        out.add("sample_every_ms", events.sample_every_ms);
    }
    let mut samples = Table::new();
    for (name, all) in &events.samples {
        let all: Vec<String> = all
            .iter()
            .map(|value| value.map_or("_".to_owned(), number))
            .collect();
        samples.add(name, quoted(&all.join(" ")));
    }
    out.add_some("samples", samples.some());
    for step in &events.steps {
        out.head("[[cases.events]]");
        of_step(out, step);
    }
}

fn of_step(out: &mut Lines, step: &Step) {
    match step.when {
        When::After(after_ms) => out.add("after_ms", after_ms),
        When::SinceBegin(at_ms) => out.add("at_ms", at_ms),
        When::Local(at) => out.add("at", quoted(&local(at.at_ms, at.utc_offset_minutes))),
    }
    if step.times > 1 {
        out.add("times", step.times);
        out.add("every_ms", step.every_ms);
    }
    of_known(out, &step.known);
    match &step.event {
        PolicyEvent::Tick => out.add("tick", true),
        PolicyEvent::Finding(finding) => {
            out.head("[cases.events.finding]");
            of_finding(out, finding);
        }
        PolicyEvent::Outcome(outcome) => {
            out.head("[cases.events.outcome]");
            of_outcome(out, outcome);
        }
    }
    if let Some(expect) = &step.expect {
        out.head("[cases.events.expect]");
        of_expect(out, expect);
    }
}

/// A moment by a local clock, as a case writes it.
fn local(at_ms: u64, offset_minutes: i32) -> String {
    let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    let local_ms = at_ms.saturating_add(i64::from(offset_minutes) * 60_000);
    let sign = if offset_minutes < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
    let stamp = jiff::Timestamp::from_millisecond(local_ms).unwrap_or_default();
    let stamp = stamp.strftime("%Y-%m-%dT%H:%M:%S%.f");
    format!("{stamp}{sign}{hours:02}:{minutes:02}")
}

fn of_finding(out: &mut Lines, finding: &Finding) {
    out.add("kind", quoted(&finding.kind));
    if !finding.incident.is_empty() {
        out.add("incident", quoted(&finding.incident));
    }
    if finding.subject != words::SUBJECT {
        out.add("subject", quoted(&finding.subject));
    }
    if finding.summary != finding.kind {
        out.add("summary", quoted(&finding.summary));
    }
    out.add("severity", number(finding.severity));
    let mut facts = Table::new();
    for fact in &finding.facts {
        facts.add(&fact.name, value(&fact.value));
    }
    out.add_some("facts", facts.some());
    let plain = |candidate: &&Candidate| **candidate == words::offered(candidate.id.clone());
    let all_plain = finding.candidates.iter().all(|candidate| plain(&candidate));
    if all_plain {
        let ids = finding
            .candidates
            .iter()
            .map(|candidate| quoted(&candidate.id));
        out.add_some("candidates", list(ids));
    } else {
        out.add_some("candidate", rows(&finding.candidates, candidate));
    }
    out.add_some("evidence", rows(&finding.evidence, anomaly));
}

fn of_outcome(out: &mut Lines, outcome: &Outcome) {
    out.add("kind", quoted(&outcome.kind));
    if !outcome.incident.is_empty() {
        out.add("incident", quoted(&outcome.incident));
    }
    if outcome.subject != words::SUBJECT {
        out.add("subject", quoted(&outcome.subject));
    }
    out.add("repair", quoted(&outcome.repair));
    out.add(
        "result",
        quoted(words::of(&words::RESULTS, &outcome.outcome_result)),
    );
    out.add("reason", quoted(&outcome.reason));
    out.add("duration_ms", outcome.duration_ms);
    let mut lost = Table::new();
    loss(&mut lost, &outcome.loss);
    for (key, value) in lost.0 {
        out.add(&key, value);
    }
    out.add_some("notes", list(outcome.notes.iter().map(|note| quoted(note))));
}

fn of_expect(out: &mut Lines, expect: &Expect) {
    if expect.refuses {
        out.add("refuses", true);
    }
    if let Some(is) = expect.classification {
        out.add("classification", quoted(class(is)));
    }
    if let Some(is) = expect.level {
        out.add("level", quoted(level(is)));
    }
    if let Some(repair) = &expect.repair {
        out.add("repair", quoted(repair.as_deref().unwrap_or("none")));
    }
    if let Some(flag) = expect.needs_approval {
        out.add("needs_approval", flag);
    }
    if let Some(flag) = expect.halt {
        out.add("halt", flag);
    }
    if let Some(bounds) = &expect.confidence {
        let (low, high) = (number(*bounds.start()), number(*bounds.end()));
        out.add(
            "confidence",
            if low == high {
                low
            } else {
                format!("[{low}, {high}]")
            },
        );
    }
    if let Some(is) = expect.verbosity {
        out.add("verbosity", quoted(verbosity(is)));
    }
    let plain = expect.reasons.iter().all(|reason| reason.text.is_empty());
    let reasons = expect
        .reasons
        .iter()
        .map(|reason| named(&reason.rule, &reason.text));
    out.add_some(if plain { "rules" } else { "reasons" }, list(reasons));
    let names = |names: &[String]| list(names.iter().map(|name| quoted(name)));
    out.add_some("no_rules", names(&expect.no_rules));
    let alerts = expect.alerts.iter().map(|alert| {
        let mut table = Table::new();
        table.add("rule", quoted(&alert.rule));
        if let Some(is) = alert.urgency {
            table.add("urgency", quoted(urgency(is)));
        }
        table.text("text", &alert.text, "");
        if table.0.len() == 1 {
            quoted(&alert.rule)
        } else {
            table.to_string()
        }
    });
    out.add_some("alerts", list(alerts));
    out.add_some("no_alerts", names(&expect.no_alerts));
    out.add_some("suggestions", names(&expect.suggestions));
    out.add_some("no_suggestions", names(&expect.no_suggestions));
    let lines = expect.log.iter().map(|line| match line.level {
        None => quoted(&line.text),
        Some(is) => {
            let mut table = Table::new();
            table.add("level", quoted(log_level(is)));
            table.text("text", &line.text, "");
            table.to_string()
        }
    });
    out.add_some("log", list(lines));
    out.add_some("no_log", names(&expect.no_log));
}

/// A rule, with a piece of its text where there is one.
pub(super) fn named(rule: &str, text: &str) -> String {
    if text.is_empty() {
        return quoted(rule);
    }
    let mut table = Table::new();
    table.add("rule", quoted(rule));
    table.add("text", quoted(text));
    table.to_string()
}

fn candidate(candidate: &Candidate) -> Table {
    let mut table = Table::new();
    table.add("id", quoted(&candidate.id));
    table.text("summary", &candidate.summary, &candidate.id);
    let usual = words::offered(candidate.id.clone());
    if candidate.level != usual.level {
        table.add(
            "level",
            quoted(words::of(&words::CASCADE, &candidate.level)),
        );
    }
    let names = |holds: bool| {
        let all = candidate.preconditions.iter();
        let all = all.filter(move |precondition| precondition.holds == holds);
        all.map(|precondition| precondition.name.clone())
            .collect::<Vec<_>>()
    };
    table.texts("met", &names(true));
    table.texts("unmet", &names(false));
    if candidate.expected_duration_ms != usual.expected_duration_ms {
        table.add("duration_ms", candidate.expected_duration_ms);
    }
    loss(&mut table, &candidate.expected_loss);
    table.flag("undoable", candidate.undoable, true);
    table
}

fn loss(table: &mut Table, loss: &DataLoss) {
    if loss.commits > 0 {
        table.add("loss_commits", loss.commits);
    }
    if loss.percent > 0.0 {
        table.add("loss_percent", number(loss.percent));
    }
    table.maybe("loss_rows", loss.rows);
    table.maybe("loss_since_ms", loss.since_ms);
}

fn anomaly(anomaly: &Anomaly) -> Table {
    let mut table = Table::new();
    if anomaly.at_ms > 0 {
        table.add("ago_ms", anomaly.at_ms);
    }
    table.texts("series", &anomaly.series);
    let mut scores = Table::new();
    for score in &anomaly.scores {
        scores.add(
            words::of(&words::METHODS, &score.method),
            number(score.score),
        );
    }
    if let Some(scores) = scores.some() {
        table.add("scores", scores);
    }
    table.add("confidence", number(anomaly.confidence));
    table.add(
        "severity",
        quoted(words::of(&words::SEVERITY, &anomaly.severity)),
    );
    table.texts("reasons", &anomaly.reasons);
    table
}

fn values(settings: &[Setting]) -> Option<Table> {
    let mut table = Table::new();
    for setting in settings {
        table.add(&setting.name, value(&setting.value));
    }
    table.some()
}

pub(super) fn value(is: &Value) -> String {
    match is {
        Value::Boolean(flag) => flag.to_string(),
        Value::Integer(whole) => whole.to_string(),
        Value::Number(is) => number(*is),
        Value::Text(text) => quoted(text),
        Value::Integers(all) => format!("{all:?}"),
        Value::Texts(all) => {
            let all: Vec<String> = all.iter().map(|text| quoted(text)).collect();
            format!("[{}]", all.join(", "))
        }
    }
}
