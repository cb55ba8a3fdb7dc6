//! The log on standard error: what happens, for people or for programs.
//!
//! What `dbmedic run` tells goes the same way as every other line of the log, with fields: under the target
//! `narrative`. `DBMEDIC_LOG` filters all of it, as `warn,narrative=info` does when it is not set. Nothing is
//! coloured: colours are characters that a terminal obeys, and what is told apart by them can be forged.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::clock::wall_ms;
use crate::escape::{escaped, escaped_json};
use crate::model::utc_ms;

/// The target of what is told to people.
pub const NARRATIVE: &str = "narrative";

/// The environment variable with the filter.
const FILTER: &str = "DBMEDIC_LOG";

/// The environment variable by which a worker process learns the format.
pub const FORMAT: &str = "DBMEDIC_LOG_FORMAT";

/// Where the text of a narrative begins, columns: behind the time.
const INDENT: usize = 26;

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A line of JSON each.
    Json,
    /// For systemd's journal, which has the time itself: `<6>` and the like before each line.
    Journald,
}

impl LogFormat {
    /// All of them, with their names in the configuration.
    pub const ALL: [(&str, Self); 3] = [
        ("text", Self::Text),
        ("json", Self::Json),
        ("journald", Self::Journald),
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL[usize::from(self.number())].0
    }

    fn number(self) -> u8 {
        match self {
            Self::Text => 0,
            Self::Json => 1,
            Self::Journald => 2,
        }
    }
}

static IN_FORCE: AtomicU8 = AtomicU8::new(0);

/// The format in force.
pub fn format() -> LogFormat {
    let number = usize::from(IN_FORCE.load(Ordering::Relaxed));
    LogFormat::ALL[number.min(2)].1
}

/// Writes the log in this format from now on.
pub fn set_format(format: LogFormat) {
    IN_FORCE.store(format.number(), Ordering::Relaxed);
}

/// Begins to log: as text, until the configuration says otherwise.
pub fn start() {
    let of_parent = std::env::var(FORMAT).unwrap_or_default();
    if let Some((_, format)) = LogFormat::ALL.iter().find(|(name, _)| *name == of_parent) {
        set_format(*format);
    }
    let asked = std::env::var(FILTER).unwrap_or_default();
    let filter = if asked.is_empty() { "warn" } else { &asked };
    let mut filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    if !asked.contains(NARRATIVE)
        && let Ok(told) = format!("{NARRATIVE}=info").parse()
    {
        filter = filter.add_directive(told);
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .event_format(Format)
        .with_writer(std::io::stderr)
        .init();
}

/// Writes one event.
struct Format;

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut spans = Vec::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let of_span = extensions.get::<FormattedFields<N>>();
            let of_span = of_span.map_or("", |fields| fields.fields.as_str());
            spans.push(if of_span.is_empty() {
                span.name().to_owned()
            } else {
                format!("{}{{{of_span}}}", span.name())
            });
        }
        let entry = Entry {
            level: *event.metadata().level(),
            module: event.metadata().target(),
            spans,
            fields,
        };
        for line in entry.lines(format(), wall_ms()) {
            writeln!(writer, "{line}")?;
        }
        Ok(())
    }
}

/// An event with everything that is in it.
struct Entry<'a> {
    level: Level,
    module: &'a str,
    spans: Vec<String>,
    fields: Fields,
}

impl Entry<'_> {
    /// Its lines, in which nothing is obeyed.
    fn lines(mut self, format: LogFormat, now_ms: u64) -> Vec<String> {
        let at_ms = self.fields.take_number("at_ms").unwrap_or(now_ms);
        match format {
            LogFormat::Text => {
                let at = utc_ms(at_ms);
                let (head, rest) = self.text();
                let mut lines = vec![format!("{at}  {head}")];
                lines.extend(rest.iter().map(|line| format!("{:INDENT$}{line}", "")));
                lines
            }
            LogFormat::Journald => {
                let priority = match self.level {
                    Level::ERROR => 3,
                    Level::WARN => 4,
                    Level::INFO => 6,
                    _ => 7,
                };
                let (head, rest) = self.text();
                let rest = rest.iter().map(|line| format!("<{priority}>  {line}"));
                let head = std::iter::once(format!("<{priority}>{head}"));
                head.chain(rest).collect()
            }
            LogFormat::Json => vec![self.json(at_ms)],
        }
    }

    /// The first line, and what stands below it.
    fn text(&mut self) -> (String, Vec<String>) {
        if self.module == NARRATIVE {
            let label = self.fields.take_text("label");
            let details = self.fields.take_text("details");
            let details = details.split('\n').filter(|line| !line.is_empty());
            let head = format!("{label:<9} {}", escaped(&self.fields.message));
            return (
                head,
                details.map(|line| escaped(line).into_owned()).collect(),
            );
        }
        let mut text = format!("{:<9} {}: ", self.level.as_str(), self.module);
        for span in &self.spans {
            // Writing to a string cannot fail.
            write!(text, "{span}: ").unwrap_or_default();
        }
        text.push_str(&self.fields.message);
        for (name, value) in &self.fields.others {
            let value = match value {
                serde_json::Value::String(value) => value.clone(),
                other => other.to_string(),
            };
            write!(text, " {name}={value}").unwrap_or_default();
        }
        (escaped(&text).into_owned(), Vec::new())
    }

    fn json(mut self, at_ms: u64) -> String {
        let details = self.fields.take_text("details");
        let details: Vec<_> = details
            .split('\n')
            .filter(|line| !line.is_empty())
            .collect();
        let mut all = serde_json::Map::new();
        all.insert("at".to_owned(), utc_ms(at_ms).into());
        all.insert(
            "level".to_owned(),
            self.level.as_str().to_lowercase().into(),
        );
        all.insert("module".to_owned(), self.module.into());
        all.insert("message".to_owned(), self.fields.message.into());
        if !details.is_empty() {
            all.insert("details".to_owned(), details.into());
        }
        if !self.spans.is_empty() {
            all.insert("spans".to_owned(), self.spans.into());
        }
        all.extend(self.fields.others);
        let line = serde_json::Value::Object(all).to_string();
        escaped_json(&line).into_owned()
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, serde_json::Value)>,
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<serde_json::Value> {
        let at = self.others.iter().position(|(known, _)| known == name)?;
        Some(self.others.remove(at).1)
    }

    fn take_text(&mut self, name: &str) -> String {
        match self.take(name) {
            Some(serde_json::Value::String(text)) => text,
            _ => String::new(),
        }
    }

    fn take_number(&mut self, name: &str) -> Option<u64> {
        self.take(name)?.as_u64()
    }

    fn put(&mut self, field: &Field, value: serde_json::Value) {
        match (field.name(), value) {
            ("message", serde_json::Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (name, value) => self.others.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrative(message: &str, level: Level) -> Entry<'static> {
        let text = |name: &str, value: &str| (name.to_owned(), value.into());
        Entry {
            level,
            module: NARRATIVE,
            spans: Vec::new(),
            fields: Fields {
                message: message.to_owned(),
                others: vec![
                    text("label", "alert"),
                    ("at_ms".to_owned(), 1_500.into()),
                    text("database", "shop"),
                    text("details", "why\nand\u{1b}how"),
                ],
            },
        }
    }

    #[test]
    fn each_format_tells_the_same_and_nothing_is_obeyed() {
        let told = || narrative("all\nis lost", Level::WARN);
        assert_eq!(
            told().lines(LogFormat::Text, 0),
            [
                "1970-01-01T00:00:01.500Z  alert     all\\nis lost",
                "                          why",
                "                          and\\u{1b}how",
            ]
        );
        assert_eq!(
            told().lines(LogFormat::Journald, 0),
            [
                "<4>alert     all\\nis lost",
                "<4>  why",
                "<4>  and\\u{1b}how"
            ]
        );
        let json = told().lines(LogFormat::Json, 0);
        let [line] = &json[..] else {
            panic!("{json:?}")
        };
        assert!(!line.contains('\u{1b}') && !line.contains('\n'), "{line}");
        let read: serde_json::Value = serde_json::from_str(line).unwrap();
        let expected = serde_json::json!({
            "at": "1970-01-01T00:00:01.500Z", "level": "warn", "module": "narrative", "label": "alert",
            "database": "shop", "message": "all\nis lost", "details": ["why", "and\u{1b}how"],
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn other_lines_have_their_level_module_and_fields() {
        let entry = Entry {
            level: Level::DEBUG,
            module: "own_lock",
            spans: vec!["own_lock{held_us=7}".into()],
            fields: Fields {
                message: "let go".into(),
                others: vec![("n".into(), 3.into())],
            },
        };
        assert_eq!(
            entry.lines(LogFormat::Text, 0),
            ["1970-01-01T00:00:00.000Z  DEBUG     own_lock: own_lock{held_us=7}: let go n=3"]
        );
    }

    #[test]
    fn a_format_has_the_name_that_the_configuration_gives_it() {
        for (name, format) in LogFormat::ALL {
            assert_eq!(format.name(), name);
        }
    }
}
