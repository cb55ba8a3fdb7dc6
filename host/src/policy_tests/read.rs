//! From TOML to cases: every mistake by file and line, with what would be right.

mod event;
mod expectation;
mod finding;
mod known;

use std::path::{Path, PathBuf};

use super::{
    BEGIN_MS, Case, CaseFile, Events, FILE_BYTES, Never, Often, SAMPLE_EVERY_MS, Story, VERSION,
    notation,
};
use crate::document::{self, DocumentErrors, Section, TextOrNumbers};
use crate::model::{Classification, EscalationLevel, Setting};
use crate::regular_file;

/// What the format's words and usual values stand for; whoever writes cases needs the same.
pub(super) mod words {
    pub(in crate::policy_tests) use super::finding::{
        CASCADE, DURATION_MS, METHODS, RESULTS, SEVERITY, SUBJECT, offered,
    };
    pub(in crate::policy_tests) use super::known::STATUS;

    /// The word for a value.
    pub(in crate::policy_tests) fn of<T: PartialEq>(
        words: &[(&'static str, T)],
        is: &T,
    ) -> &'static str {
        let found = words.iter().find(|(_, value)| value == is);
        found.map_or("", |(word, _)| word)
    }
}

use event::step;
use expectation::{expected, never};

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
const LONGEST_MS: u64 = 365 * 86_400_000;
/// The last moment that a case may begin at: the year 2286.
const LAST_MS: u64 = 9_999_999_999_999;
const MOST: u32 = 1_000_000;
const SERIES: &str = "samples such as \"5x10, 5..50/1m\", or a list of numbers";

/// Reads the cases of a text that stands in `name`. Recordings are named from the directory `base`;
/// where there is none, as in a component, they are refused.
///
/// # Errors
/// All mistakes at once.
pub fn parse(text: &str, name: &str, base: Option<&Path>) -> Result<CaseFile, DocumentErrors> {
    let (file, _) = document::read(text, name, |root| {
        document::version(root, VERSION).then(|| file(root, base))
    })?;
    Ok(CaseFile {
        name: name.to_owned(),
        ..file
    })
}

/// The format as JSON Schema.
pub fn schema() -> serde_json::Value {
    let options = document::options(|root| {
        root.finite("version", &format!("the version of the format, {VERSION}"));
        file(root, None);
    });
    let mut schema = document::schema("Test cases of a dbmedic policy", &options);
    let required = [
        ("", &["version", "cases"][..]),
        ("/properties/cases/items", &["name"]),
    ];
    for (place, names) in required {
        if let Some(table) = schema
            .pointer_mut(place)
            .and_then(|table| table.as_object_mut())
        {
            table.insert("required".to_owned(), serde_json::json!(names));
        }
    }
    schema
}

fn file(root: &mut Section<'_, '_>, base: Option<&Path>) -> CaseFile {
    let rules = names(
        root,
        "rules",
        "every rule that the policy has, for the coverage",
    );
    let shared = root.table("parameters", |section| parameters(section, base));
    let mut cases: Vec<Case> = Vec::new();
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
    CaseFile {
        name: String::new(),
        rules,
        cases,
    }
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
    let story = story(section, base);
    let mut expect = Vec::new();
    section.table_or_tables("expect", |table| expect.push(expected(table)));
    let in_order = section.flag("in_order", false);
    let out_of_order = |often: &Often| match often {
        Often::Once => false,
        Often::Times(times) => *times.start() == 0,
        Often::Every => true,
    };
    if in_order && expect.iter().any(|expected| out_of_order(&expected.often)) {
        let message = "`in_order` and an expectation that no single answer meets";
        let hint = "leave `every` and `times = 0` out, or put them into a case of their own";
        section.error("in_order", message, hint);
    }
    if !in_order && expect.iter().any(|expected| expected.within_ms.is_some()) {
        let hint = "say `in_order = true`, or count from the beginning with `until_ms`";
        let message = "`within_ms` counts from the expectation before, and these have no order";
        section.error("expect", message, hint);
    }
    let never = section.table("never", never);
    let case = Case {
        name: name.unwrap_or_default(),
        line,
        parameters,
        story,
        expect,
        in_order,
        never,
    };
    if !checks_anything(&case) {
        let hint = "say under `expect` what an answer must be, or under `never` what it must not";
        section.error("name", "the case expects nothing, so it cannot fail", hint);
    }
    case
}

fn story(section: &mut Section<'_, '_>, base: Option<&Path>) -> Story {
    let right = "the path of a recording, from this file's directory";
    let recording = section.text("recording", right);
    let begin_ms = section.whole("begins_ms", BEGIN_MS, 0..=LAST_MS, 0..=LAST_MS);
    let every = 1..=LONGEST_MS;
    let every_ms = section.whole("sample_every_ms", SAMPLE_EVERY_MS, every.clone(), every);
    let samples = section.table("samples", |table| samples(table, every_ms));
    let mut steps = Vec::new();
    section.tables("events", |event| steps.push(step(event, steps.is_empty())));
    if recording.is_some() != steps.is_empty() {
        let hint = "give `recording = \"FILE\"`, or events under [[cases.events]], one of the two";
        section.error("events", "a case needs either events or a recording", hint);
    }
    for key in ["samples", "begins_ms", "sample_every_ms"] {
        if recording.is_some() && section.has(key) {
            let hint = "leave it out, or write the events down";
            section.error(key, format!("`{key}` and a recording"), hint);
        }
    }
    match (recording, base) {
        (Some(path), Some(base)) => Story::Recording(base.join(path)),
        (Some(path), None) => {
            let hint = "write the events down, or put the case into a folder beside the component";
            section.error("recording", "a component holds no recordings", hint);
            Story::Recording(PathBuf::from(path))
        }
        (None, _) => Story::Events(Events {
            begin_ms,
            samples,
            sample_every_ms: every_ms,
            steps,
        }),
    }
}

fn samples(table: &mut Section<'_, '_>, every_ms: u64) -> Vec<(String, Vec<Option<f64>>)> {
    let mut all = Vec::new();
    for (name, given) in table.series(SERIES) {
        match values(given, every_ms) {
            Ok(values) => all.push((name, values)),
            Err(what) => table.error(&name, format!("`{name}`: {what}"), SERIES),
        }
    }
    all
}

/// Samples in either way of writing.
fn values(given: TextOrNumbers, every_ms: u64) -> Result<Vec<Option<f64>>, String> {
    match given {
        TextOrNumbers::Text(text) => notation::samples(&text, every_ms),
        TextOrNumbers::Numbers(all) if all.is_empty() => Err("there is no sample in it".into()),
        TextOrNumbers::Numbers(all) => Ok(all.into_iter().map(Some).collect()),
    }
}

fn checks_anything(case: &Case) -> bool {
    let in_steps = match &case.story {
        Story::Events(events) => events.steps.iter().any(|step| step.expect.is_some()),
        Story::Recording(_) => false,
    };
    in_steps || !case.expect.is_empty() || case.never != Never::default()
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

/// A whole number up to a bound, where the option is there.
fn maybe(section: &mut Section<'_, '_>, key: &'static str, most: u64) -> Option<u64> {
    let there = section.has(key);
    let number = section.whole(key, 0, 0..=most, 0..=most);
    there.then_some(number)
}

/// A time in milliseconds, where the option is there.
fn time(section: &mut Section<'_, '_>, key: &'static str) -> Option<u64> {
    maybe(section, key, LONGEST_MS)
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

fn names(section: &mut Section<'_, '_>, key: &'static str, right: &str) -> Vec<String> {
    let texts = section.texts(key, right).into_iter();
    texts.map(str::to_owned).collect()
}
