//! From TOML to cases: every mistake by file and line, with what would be right.

mod expectation;

use std::path::{Path, PathBuf};

use super::{Case, CaseFile, FILE_BYTES, Known, LocalMoment, Never, Step, Story, VERSION};
use crate::document::{self, DocumentErrors, Section};
use crate::model::{
    Attribution, Candidate, CascadeLevel, Classification, ConstraintState, ConstraintStatus,
    DataLoss, EscalationLevel, Fact, Finding, MaintenanceWindow, Outcome, OutcomeResult, Point,
    PolicyEvent, Precondition, RepairAnswer, RepairHistory, Setting,
};
use crate::policy::Heard;
use crate::regular_file;

use expectation::{expectation, never};

const CLASSES: [(&str, Option<Classification>); 5] = [
    ("hiccup", Some(Classification::Hiccup)),
    ("obstacle", Some(Classification::Obstacle)),
    ("wall", Some(Classification::Wall)),
    ("crisis", Some(Classification::Crisis)),
    ("none", None),
];
const LEVELS: [(&str, EscalationLevel); 4] = [
    ("normal", EscalationLevel::Normal),
    ("watch", EscalationLevel::Watch),
    ("warn", EscalationLevel::Warn),
    ("escalate", EscalationLevel::Escalate),
];
const RESULTS: [(&str, OutcomeResult); 4] = [
    ("verified", OutcomeResult::Verified),
    ("rolled-back", OutcomeResult::RolledBack),
    ("refused", OutcomeResult::Refused),
    ("failed", OutcomeResult::Failed),
];
const CASCADE: [(&str, CascadeLevel); 4] = [
    ("in-place", CascadeLevel::InPlace),
    ("snapshot", CascadeLevel::Snapshot),
    ("replay", CascadeLevel::Replay),
    ("rebuild", CascadeLevel::Rebuild),
];
const STATUS: [(&str, ConstraintStatus); 3] = [
    ("ok", ConstraintStatus::Ok),
    ("warning", ConstraintStatus::Warning),
    ("critical", ConstraintStatus::Critical),
];
/// The subject of a finding that names none.
const SUBJECT: &str = "main";
/// Between two events that say nothing of it, milliseconds: what the host waits by default before
/// it puts the same finding again.
const AFTER_MS: u64 = 5000;
/// Between two violations of a constraint that are only counted, milliseconds.
const VIOLATION_MS: u64 = 1000;
const LONGEST_MS: u64 = 365 * 86_400_000;
const MOST: u32 = 1_000_000;

/// Reads the cases of a text that stands in `name`. Recordings are named from the directory `base`;
/// where there is none, as in a component, they are refused.
///
/// # Errors
/// All mistakes at once.
pub fn parse(text: &str, name: &str, base: Option<&Path>) -> Result<CaseFile, DocumentErrors> {
    let (cases, _) = document::read(text, name, |root| {
        let known = document::version(root, VERSION);
        let mut cases: Vec<Case> = Vec::new();
        let shared = root.table("parameters", |section| parameters(section, base));
        if known {
            root.tables("cases", |section| {
                let case = case(section, base, &shared);
                if cases.iter().any(|earlier| earlier.name == case.name) {
                    let message = format!("there is a case \"{}\" already", case.name);
                    section.error("name", message, "give each case a name of its own");
                }
                cases.push(case);
            });
            if !root.has("cases") {
                root.error("cases", "there is no case", "begin one with [[cases]]");
            }
        }
        known.then_some(cases)
    })?;
    Ok(CaseFile {
        name: name.to_owned(),
        cases,
    })
}

/// The parameters of a case, or of all cases of a file. A file whose text is one is named from the
/// directory `base`.
fn parameters(section: &mut Section<'_, '_>, base: Option<&Path>) -> Vec<Setting> {
    let read = |path: &Path| {
        let base = base.ok_or("a component holds no files: write the text itself")?;
        let path = base.join(path);
        let told = |what: String| format!("reading {}: {what}", path.display());
        let bytes =
            regular_file::read(&path, FILE_BYTES as u64).map_err(|e| told(e.to_string()))?;
        String::from_utf8(bytes).map_err(|_| told("it is no text in UTF-8".to_owned()))
    };
    section.settings(Some(&read))
}

fn case(section: &mut Section<'_, '_>, base: Option<&Path>, shared: &[Setting]) -> Case {
    let right = "what the case shows, in one line";
    let name = section.text("name", right).map(str::to_owned);
    if !section.has("name") {
        section.error("name", "`name` is missing", right);
    }
    let line = section.line("name");
    let mut parameters = section.table("parameters", |section| parameters(section, base));
    for setting in shared {
        if !parameters.iter().any(|own| own.name == setting.name) {
            parameters.push(setting.clone());
        }
    }
    let recording = section.text(
        "recording",
        "the path of a recording, from this file's directory",
    );
    let mut events = Vec::new();
    section.tables("events", |event| events.push(step(event, events.len())));
    let story = match (recording, base) {
        (Some(path), Some(base)) => Story::Recording(base.join(path)),
        (Some(path), None) => {
            let hint = "write the events down, or put the case into a folder beside the component";
            section.error("recording", "a component holds no recordings", hint);
            Story::Recording(PathBuf::from(path))
        }
        (None, _) => Story::Events(events.clone()),
    };
    if recording.is_some() != events.is_empty() {
        let hint = "give `recording = \"FILE\"`, or events under [[cases.events]], one of the two";
        section.error("events", "a case needs either events or a recording", hint);
    }
    let expect = section.has("expect");
    let expected = section.table("expect", expectation);
    let never = section.table("never", never);
    let case = Case {
        name: name.unwrap_or_default(),
        line,
        parameters,
        story,
        expect: expect.then_some(expected),
        never,
    };
    if !checks_anything(&case) {
        let hint = "say under `expect` what an answer must be, or under `never` what it must not";
        section.error("name", "the case expects nothing, so it cannot fail", hint);
    }
    case
}

fn checks_anything(case: &Case) -> bool {
    let in_steps = match &case.story {
        Story::Events(steps) => steps.iter().any(|step| step.expect.is_some()),
        Story::Recording(_) => false,
    };
    in_steps || case.expect.is_some() || case.never != Never::default()
}

fn step(section: &mut Section<'_, '_>, before: usize) -> Step {
    let default = if before == 0 { 0 } else { AFTER_MS };
    let after_ms = section.whole("after_ms", default, 0..=LONGEST_MS, 0..=LONGEST_MS);
    let at = moment(section);
    let given: Vec<&str> = ["finding", "outcome", "tick"]
        .into_iter()
        .filter(|kind| section.has(kind))
        .collect();
    if given.len() != 1 {
        let message = format!("an event is one of three things, here {}", given.len());
        section.error(
            given.first().unwrap_or(&"finding"),
            message,
            "give `finding = {..}`, `outcome = {..}` or `tick = true`",
        );
    }
    let finding = section.table("finding", finding);
    let outcome = section.table("outcome", outcome);
    if section.has("tick") && !section.flag("tick", true) {
        section.error(
            "tick",
            "`tick` is false",
            "leave it out, or say `tick = true`",
        );
    }
    section.flag("tick", true);
    let event = match given.first() {
        Some(&"outcome") => PolicyEvent::Outcome(outcome),
        Some(&"tick") => PolicyEvent::Tick,
        _ => PolicyEvent::Finding(finding),
    };
    let level = optional(section, "level", EscalationLevel::Normal, &LEVELS);
    let metrics = section.table("metrics", |metrics| {
        let settings = metrics.settings(None);
        let mut all = Vec::new();
        for setting in settings {
            match number(&setting.value) {
                Some(value) => all.push((setting.name, value)),
                None => metrics.error(
                    &setting.name,
                    format!("`{}` is not a number", setting.name),
                    "a metric is a finite number",
                ),
            }
        }
        all
    });
    let (mut constraints, mut repairs, mut series) = (Vec::new(), Vec::new(), Vec::new());
    section.tables("constraints", |table| constraints.push(constraint(table)));
    section.tables("repairs", |table| repairs.push(history(table)));
    section.tables("series", |table| series.extend(heard(table)));
    let target_kind = owned(
        section,
        "target_kind",
        "`sqlite`, `postgresql`, `metrics` or another kind",
    );
    let mut answers = Vec::new();
    section.tables("answers", |table| answers.push(answer(table)));
    let acknowledged_by = owned(section, "acknowledged_by", "who works on the incident");
    let in_maintenance = section.has("maintenance");
    let window = section.table("maintenance", maintenance);
    let expect = section.has("expect");
    let expected = section.table("expect", expectation);
    Step {
        after_ms: if at.is_some() { 0 } else { after_ms },
        at,
        event,
        known: Known {
            level,
            metrics,
            constraints,
            repairs,
            series,
            target_kind,
            answers,
            acknowledged_by,
            maintenance: in_maintenance.then_some(window),
        },
        expect: expect.then_some(expected),
    }
}

/// When an event is, by a local clock, where it says so.
fn moment(section: &mut Section<'_, '_>) -> Option<LocalMoment> {
    const RIGHT: &str =
        "a time with its offset from UTC, for example \"2026-11-27T17:30:00+01:00\"";
    let text = section.text("at", RIGHT)?.to_owned();
    // The offset stands in the time itself: no table of time zones is needed.
    let read = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%:z", &text).ok();
    let moment = read.and_then(|read| {
        let at_ms = read.to_timestamp().ok()?.as_millisecond();
        Some(LocalMoment {
            at_ms: u64::try_from(at_ms).ok()?,
            utc_offset_minutes: read.offset()?.seconds() / 60,
        })
    });
    if moment.is_none() {
        section.error("at", format!("`at` is \"{text}\""), RIGHT);
    }
    if section.has("after_ms") {
        let hint = "leave one of the two out";
        section.error("at", "`at` and `after_ms` both say when the event is", hint);
    }
    moment
}

fn number(value: &crate::model::Value) -> Option<f64> {
    match value {
        #[allow(clippy::cast_precision_loss, reason = "whole numbers stay below 2^53")]
        crate::model::Value::Integer(whole) => Some(*whole as f64),
        crate::model::Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// One of several words, where the option is there.
fn optional<T: Copy>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    default: T,
    choices: &[(&str, T)],
) -> Option<T> {
    let there = section.has(key);
    let chosen = section.choice(key, default, choices);
    there.then_some(chosen)
}

fn required(section: &mut Section<'_, '_>, key: &'static str, right: &str) -> String {
    let text = section.text(key, right).map(str::to_owned);
    if !section.has(key) && section.is_there() {
        section.error(key, format!("`{key}` is missing"), right);
    }
    text.unwrap_or_default()
}

fn owned(section: &mut Section<'_, '_>, key: &'static str, right: &str) -> Option<String> {
    section.text(key, right).map(str::to_owned)
}

fn finding(section: &mut Section<'_, '_>) -> Finding {
    let kind = required(
        section,
        "kind",
        "a problem's kind, for example `wal.corrupt-frame`",
    );
    let facts = section.table("facts", document::settings);
    let right = "the identifiers of repairs that the host offers";
    let plain = section.texts("candidates", right);
    let mut candidates: Vec<Candidate> =
        plain.into_iter().map(|id| offered(id.to_owned())).collect();
    section.tables("candidate", |table| candidates.push(candidate(table)));
    Finding {
        incident: owned(section, "incident", "an incident's identifier").unwrap_or_default(),
        subject: owned(section, "subject", "what is affected").unwrap_or(SUBJECT.into()),
        summary: owned(section, "summary", "one line").unwrap_or_else(|| kind.clone()),
        kind,
        severity: section.number("severity", 0.5, 0.0..=1.0, 0.0..=1.0),
        first_seen_ms: 0,
        last_seen_ms: 0,
        sightings: 0,
        facts: facts
            .into_iter()
            .map(|setting| Fact {
                name: setting.name,
                value: setting.value,
            })
            .collect(),
        evidence: Vec::new(),
        candidates,
    }
}

/// A repair that loses nothing and can be taken back.
fn offered(id: String) -> Candidate {
    Candidate {
        summary: id.clone(),
        id,
        level: CascadeLevel::InPlace,
        preconditions: Vec::new(),
        expected_duration_ms: 500,
        expected_loss: DataLoss::NONE,
        undoable: true,
    }
}

fn candidate(section: &mut Section<'_, '_>) -> Candidate {
    let id = required(section, "id", "the identifier of a repair");
    let holds = |held: bool| {
        move |name: &str| Precondition {
            name: name.to_owned(),
            holds: held,
            detail: "as the case says".to_owned(),
        }
    };
    let right = "names of preconditions";
    let met = section.texts("met", right).into_iter().map(holds(true));
    let met: Vec<Precondition> = met.collect();
    let unmet = section.texts("unmet", right).into_iter().map(holds(false));
    Candidate {
        level: section.choice("level", CascadeLevel::InPlace, &CASCADE),
        preconditions: met.into_iter().chain(unmet).collect(),
        expected_duration_ms: section.whole("duration_ms", 500, 0..=LONGEST_MS, 0..=LONGEST_MS),
        expected_loss: loss(section),
        undoable: section.flag("undoable", true),
        ..offered(id)
    }
}

fn loss(section: &mut Section<'_, '_>) -> DataLoss {
    DataLoss {
        commits: section.whole("loss_commits", 0, 0..=u64::from(MOST), 0..=u64::from(MOST)),
        percent: section.number("loss_percent", 0.0, 0.0..=100.0, 0.0..=100.0),
        ..DataLoss::NONE
    }
}

fn outcome(section: &mut Section<'_, '_>) -> Outcome {
    Outcome {
        incident: owned(section, "incident", "an incident's identifier").unwrap_or_default(),
        kind: required(section, "kind", "the kind of the problem that was repaired"),
        subject: owned(section, "subject", "what is affected").unwrap_or(SUBJECT.into()),
        repair: required(section, "repair", "the identifier of the repair"),
        outcome_result: section.choice("result", OutcomeResult::Verified, &RESULTS),
        reason: owned(section, "reason", "one line").unwrap_or("as the case says".into()),
        duration_ms: section.whole("duration_ms", 500, 0..=LONGEST_MS, 0..=LONGEST_MS),
        loss: loss(section),
        notes: section
            .texts("notes", "what else a person should know, one line each")
            .into_iter()
            .map(str::to_owned)
            .collect(),
    }
}

/// What a person answered to a repair of the event's incident.
fn answer(section: &mut Section<'_, '_>) -> RepairAnswer {
    RepairAnswer {
        repair: required(section, "repair", "the identifier of a repair"),
        granted: section.flag("granted", true),
        said: Attribution {
            by: required(section, "by", "who answered"),
            at_ms: 0,
            note: owned(section, "note", "why"),
        },
    }
}

/// The maintenance window that is open; its times count from the event.
fn maintenance(section: &mut Section<'_, '_>) -> MaintenanceWindow {
    MaintenanceWindow {
        name: owned(section, "name", "the window's name").unwrap_or("maintenance".into()),
        begins_ms: 0,
        ends_ms: section.whole("ends_after_ms", 3_600_000, 1..=LONGEST_MS, 1..=LONGEST_MS),
        allow_repairs: section.flag("allow_repairs", false),
        by: owned(section, "by", "who opened it"),
        reason: owned(section, "reason", "why"),
    }
}

fn constraint(section: &mut Section<'_, '_>) -> ConstraintState {
    let name = required(
        section,
        "name",
        "a constraint's name, for example `wal_size`",
    );
    let metric = owned(section, "metric", "a metric's name").unwrap_or_else(|| name.clone());
    let status = section.choice("status", ConstraintStatus::Ok, &STATUS);
    let right = "a finite number";
    let times = section.whole("violations", 0_u64, 0..=32, 0..=32);
    let mut ago_ms: Vec<u64> = (0..times).map(|back| back * VIOLATION_MS).collect();
    if section.has("violations_ago_ms") {
        ago_ms = violations_ago_ms(section);
        if section.has("violations") {
            let hint = "leave `violations` out: the list says how many there are";
            section.error("violations", "violations are counted twice", hint);
        }
    }
    ConstraintState {
        name,
        metric,
        value: section.finite("value", right).unwrap_or_default(),
        lower: section.finite("lower", right),
        upper: section.finite("upper", right),
        utilization: section.finite("utilization", right).unwrap_or_default(),
        status,
        // How long ago, the oldest first: when it was is known when the case is run.
        violations_ms: ago_ms.into_iter().rev().collect(),
    }
}

/// How long ago each violation was, the latest first, milliseconds.
fn violations_ago_ms(section: &mut Section<'_, '_>) -> Vec<u64> {
    let right = "up to 32 whole numbers of milliseconds, for example [0, 59_999]";
    let numbers = section
        .numbers("violations_ago_ms", right)
        .unwrap_or_default();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within the bounds"
    )]
    let whole = |number: &f64| {
        let is_right = number.fract() == 0.0 && (0.0..=LONGEST_MS as f64).contains(number);
        is_right.then_some(*number as u64)
    };
    let all: Option<Vec<u64>> = numbers.iter().map(whole).collect();
    let Some(mut all) = all.filter(|all| all.len() <= 32) else {
        let message = "`violations_ago_ms` is no list of times";
        section.error("violations_ago_ms", message, right);
        return Vec::new();
    };
    all.sort_unstable();
    all
}

fn history(section: &mut Section<'_, '_>) -> RepairHistory {
    let mut count = |key| section.whole(key, 0_u32, 0..=MOST, 0..=MOST);
    let (successes, failures, failures_in_a_row) = (
        count("successes"),
        count("failures"),
        count("failures_in_a_row"),
    );
    RepairHistory {
        kind: required(section, "kind", "the kind of the problem"),
        repair: required(section, "repair", "the identifier of the repair"),
        successes,
        failures: failures.max(failures_in_a_row),
        failures_in_a_row,
        last_ms: 0,
    }
}

/// The latest point of a series, which is all that it ever had.
fn heard(section: &mut Section<'_, '_>) -> Vec<Heard> {
    let series = required(section, "name", "the name of a series");
    let value = section.finite("value", "its latest value, a finite number");
    let point = value.map(|value| Point { at_ms: 0, value });
    vec![
        Heard::Latest {
            series: series.clone(),
            answer: point,
        },
        Heard::Baseline {
            series,
            answer: None,
        },
    ]
}
