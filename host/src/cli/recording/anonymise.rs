//! `recording anonymise`: every name gives way to one that tells nothing, the same one each time.
//!
//! Names are found by where they stand: which database, table, index, column, process, path, person. They
//! are then replaced there, and wherever a text for people quotes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::AnonymiseArgs;
use super::rework::{Components, Output, Read, Rework};
use crate::cli::{Ended, complain};
use crate::recording::{Header, Recorded, RecordingReader};

/// Which names stand under which keys.
const KEYS: [(&str, &[&str]); 6] = [
    ("database", &["target"]),
    ("table", &["table", "parent"]),
    ("index", &["index"]),
    ("column", &["column", "columns", "missing"]),
    (
        "process",
        &["may_end", "holder_name", "reader_name", "process"],
    ),
    ("person", &["by"]),
];
/// Tables of names whose keys are databases.
const BY_DATABASE: [&str; 2] = ["targets", "windows"];
/// Lists of processes, each with its `name`.
const PROCESSES: [&str; 6] = [
    "holders",
    "readers",
    "writers",
    "waiting",
    "openers",
    "processes",
];
/// Texts for people, which quote names.
const PROSE: [&str; 12] = [
    "message",
    "reason",
    "reasons",
    "error",
    "summary",
    "text",
    "detail",
    "subject",
    "note",
    "notes",
    "unproven",
    "left_to_application",
];

pub(super) fn run(args: &AnonymiseArgs) -> Ended {
    let mut names = Names::default();
    let mut first = Read::new(RecordingReader::open(&args.recording)?);
    names.find(&serde_json::to_value(first.reader.header())?, "");
    while let Some(recorded) = first.next()? {
        names.find(&serde_json::to_value(&recorded.event)?, "");
    }
    let mut second = Read::new(RecordingReader::open(&args.recording)?);
    let mut header = serde_json::to_value(second.reader.header())?;
    names.replace(&mut header, "");
    let header: Header = serde_json::from_value(header)?;
    let components = Components::of(&args.write)?;
    let mut out = Output::begin(&args.write.output)?;
    let mut rework = Rework::of(header, &components)?;
    while let Some(recorded) = second.next()? {
        let mut event = serde_json::to_value(&recorded.event)?;
        names.replace(&mut event, "");
        let mut effects = serde_json::from_str(recorded.effects.get())?;
        names.replace(&mut effects, "");
        let recorded = Recorded {
            event: serde_json::from_value(event)?,
            effects: serde_json::value::to_raw_value(&effects)?,
        };
        rework.write(&recorded, &mut out)?;
    }
    let counts = names.counts();
    complain(&format!(
        "replaced {counts}; look through it before you give it away"
    ));
    out.end(&rework, second.damage.as_deref())
}

/// The names that were found, and what stands in their place.
#[derive(Default)]
struct Names {
    new: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Names {
    fn add(&mut self, kind: &'static str, name: &str) {
        // What SQLite or dbmedic calls so in every database tells nothing.
        if name.is_empty()
            || ["main", "temp", "none"].contains(&name)
            || name.starts_with("sqlite_")
        {
            return;
        }
        if !self.new.contains_key(name) {
            let count = self.counts.entry(kind).or_default();
            *count += 1;
            self.new.insert(name.to_owned(), format!("{kind}-{count}"));
        }
    }

    fn counts(&self) -> String {
        let all = self
            .counts
            .iter()
            .map(|(kind, count)| format!("{count} of kind {kind}"));
        let all: Vec<String> = all.collect();
        if all.is_empty() {
            "nothing".to_owned()
        } else {
            all.join(", ")
        }
    }

    /// Finds names below a key.
    fn find(&mut self, value: &Value, key: &str) {
        match value {
            Value::Object(fields) => self.find_in(fields, key),
            Value::Array(items) => items.iter().for_each(|item| self.find(item, key)),
            Value::String(text) => {
                let kind = KEYS.iter().find(|(_, keys)| keys.contains(&key));
                if let Some((kind, _)) = kind {
                    self.add(kind, text);
                }
                for path in paths(text) {
                    self.add("path", path);
                }
            }
            _ => {}
        }
    }

    fn find_in(&mut self, fields: &Map<String, Value>, key: &str) {
        if PROCESSES.contains(&key)
            && let Some(Value::String(name)) = fields.get("name")
        {
            self.add("process", name);
        }
        // A fact is a pair of a name and a typed value.
        if let (Some(Value::String(name)), Some(Value::Object(typed))) =
            (fields.get("name"), fields.get("value"))
        {
            typed.values().for_each(|value| self.find(value, name));
        }
        for (name, inside) in fields {
            if BY_DATABASE.contains(&key) {
                self.add("database", name);
            }
            self.find(inside, name);
        }
    }

    fn replace(&self, value: &mut Value, key: &str) {
        match value {
            Value::Object(fields) => {
                let by_database = BY_DATABASE.contains(&key);
                let old = std::mem::take(fields);
                for (name, mut inside) in old {
                    self.replace(&mut inside, &name);
                    let name = match self.new.get(&name) {
                        Some(new) if by_database => new.clone(),
                        _ => name,
                    };
                    fields.insert(name, inside);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace(item, key)),
            Value::String(text) => *text = self.replaced(text, key),
            _ => {}
        }
    }

    fn replaced(&self, text: &str, key: &str) -> String {
        if let Some(new) = self.new.get(text) {
            return new.clone();
        }
        let quotes = PROSE.contains(&key) || text.contains('/');
        if !quotes {
            return text.to_owned();
        }
        // The longest first: a name may be a part of another one.
        let mut names: Vec<(&String, &String)> = self.new.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let mut out = text.to_owned();
        for (name, new) in names {
            if out.contains(name.as_str()) {
                out = whole_words(&out, name, new);
            }
        }
        out
    }
}

/// Replaces a name where it stands as a word of its own.
fn whole_words(text: &str, name: &str, new: &str) -> String {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        out.push_str(before);
        let alone = !is_part(before.chars().next_back().or(out.chars().next_back()))
            && !is_part(after.chars().next());
        out.push_str(if alone { new } else { name });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The absolute paths in a text.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let is_end = |c: char| c.is_whitespace() || "\"'`,;:()[]".contains(c);
    let words = text.split(is_end);
    words.filter(|word| word.starts_with('/') && word.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_way_as_a_word_of_its_own() {
        assert_eq!(
            whole_words("orders, orders_2 and reorders", "orders", "table-1"),
            "table-1, orders_2 and reorders"
        );
        let mut names = Names::default();
        let event = serde_json::json!({
            "target": "shop", "holders": [{ "name": "batch", "pid": 7 }],
            "message": "table orders of /srv/shop.db is held by batch", "table": "orders",
            "facts": [{ "name": "holder_name", "value": { "Text": "nightly" } }],
            "kind": "lock.stale-holder",
        });
        names.find(&event, "");
        let mut new = event;
        names.replace(&mut new, "");
        let text = new.to_string();
        for name in ["shop", "batch", "orders", "/srv", "nightly"] {
            assert!(!text.contains(name), "{name}: {text}");
        }
        assert!(text.contains("lock.stale-holder"), "{text}");
        assert!(
            text.contains("table table-1 of path-1 is held by process-"),
            "{text}"
        );
    }
}
