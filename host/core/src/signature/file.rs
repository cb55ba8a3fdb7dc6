//! Signature files: TOML, version 1, one signature a file, made to be read by people.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{EXAMPLES, Movement, Signature};

/// The version of the format that is read and written.
pub const VERSION: u32 = 1;

/// The strongest that a strength can be.
const STRONGEST: f64 = 6.0;

/// Names less alike than this (Jaro-Winkler, 0 to 1) are not taken for a slip of the pen.
const ALIKE: f64 = 0.7;

/// Everything that a file may name.
const KEYS: &[&str] = &[
    "version", "name", "summary", "episodes", "metrics", "moves", "strength", "spread", "seen",
];

/// What is wrong with a signature file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct FileError {
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

#[derive(Debug, Deserialize)]
struct Header {
    version: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[allow(dead_code, reason = "read by itself, before the rest")]
    version: i64,
    name: Spanned<String>,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    episodes: u32,
    metrics: Spanned<BTreeMap<String, Spanned<Entry>>>,
}

/// Which way a metric moves.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Moves {
    Up,
    Down,
}

/// One metric of a signature, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    moves: Moves,
    strength: f64,
    spread: f64,
    #[serde(default)]
    episodes: u32,
    #[serde(default)]
    seen: Vec<f64>,
}

impl From<Entry> for Movement {
    fn from(entry: Entry) -> Self {
        Self {
            episodes: entry.episodes,
            strength: match entry.moves {
                Moves::Up => entry.strength,
                Moves::Down => -entry.strength,
            },
            spread: entry.spread,
            seen: entry.seen,
        }
    }
}

impl Entry {
    fn mistake(&self, examples: usize) -> Option<String> {
        if !(0.0..=STRONGEST).contains(&self.strength) {
            return Some(format!(
                "`strength` must be 0 to {STRONGEST}; `moves` says which way"
            ));
        }
        if !(0.0..=STRONGEST).contains(&self.spread) {
            return Some(format!("`spread` must be 0 to {STRONGEST}"));
        }
        if self.seen.len() != examples {
            return Some(format!(
                "`seen` must be as long for every metric: {} here, {examples} before; `nan` stands \
                 where a metric was not measured",
                self.seen.len()
            ));
        }
        if examples > EXAMPLES {
            return Some(format!("`seen` may hold {EXAMPLES} strengths"));
        }
        let odd = |s: &&f64| s.is_infinite() || s.abs() > STRONGEST;
        let odd = self.seen.iter().find(odd)?;
        Some(format!("`seen` holds {odd}, which is no strength"))
    }
}

/// Reads a signature from the text of a file.
///
/// # Errors
/// The first mistake, by line.
pub fn parse(text: &str, file: &str) -> Result<Signature, FileError> {
    let fail = |offset: usize, message: String| FileError {
        file: file.to_owned(),
        line: text[..text.floor_char_boundary(offset)]
            .matches('\n')
            .count()
            + 1,
        message,
    };
    let told = |error: &toml::de::Error| {
        let span = error.span().unwrap_or_default();
        let message = error.message();
        let name = text.get(span.clone()).unwrap_or_default().trim_matches('"');
        match message.starts_with("unknown field").then(|| nearest(name)) {
            Some(Some(known)) => fail(
                span.start,
                format!("unknown key `{name}`; did you mean `{known}`?"),
            ),
            _ => fail(span.start, message.replace('\n', " ")),
        }
    };
    let header: Header = toml::from_str(text).map_err(|e| told(&e))?;
    match &header.version {
        None => {
            let message = format!("no `version`; write `version = {VERSION}`");
            return Err(fail(0, message));
        }
        Some(version) if *version.get_ref() != i64::from(VERSION) => {
            let message = format!(
                "version {} of signature files; this dbmedic reads version {VERSION}",
                version.get_ref()
            );
            return Err(fail(version.span().start, message));
        }
        Some(_) => {}
    }
    let document: Document = toml::from_str(text).map_err(|e| told(&e))?;
    let name = document.name.get_ref();
    if let Err(wrong) = check_name(name) {
        return Err(fail(document.name.span().start, wrong));
    }
    let place = document.metrics.span().start;
    let metrics = document.metrics.into_inner();
    let Some(examples) = metrics.values().map(|e| e.get_ref().seen.len()).max() else {
        return Err(fail(place, "no metric in `metrics`".to_owned()));
    };
    for entry in metrics.values() {
        if let Some(mistake) = entry.get_ref().mistake(examples) {
            return Err(fail(entry.span().start, mistake));
        }
    }
    Ok(Signature {
        name: document.name.into_inner(),
        summary: document.summary,
        episodes: document.episodes,
        metrics: metrics
            .into_iter()
            .map(|(metric, entry)| {
                let mut movement = Movement::from(entry.into_inner());
                if movement.episodes == 0 {
                    movement.episodes = document.episodes;
                }
                (metric, movement)
            })
            .collect(),
    })
}

/// Whether this can be the name of a signature, and of its file.
///
/// # Errors
///
/// What is wrong with it, for a person.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "`{name}` cannot be a signature's name: letters, digits, `_`, `-` and `.`, 64 at most, none \
         that begins with `.`"
    ))
}

fn nearest(name: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|known| (strsim::jaro_winkler(name, known), *known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// Writes a signature as the text of a file, the metrics that move most first.
pub fn render(signature: &Signature) -> String {
    let mut lines = vec![
        "# What the metrics do in this trouble, relative to the normal rows of the same run."
            .to_owned(),
        "# strength: 0 not at all, 1 about two deviations, 2.4 about ten, 5 the most".to_owned(),
        "# spread: how much the strength differs from episode to episode".to_owned(),
        format!("# seen: the strength in each of {EXAMPLES} episodes at most, down is negative"),
        format!("version = {VERSION}"),
        format!("name = {}", quoted(&signature.name)),
    ];
    if !signature.summary.is_empty() {
        lines.push(format!("summary = {}", quoted(&signature.summary)));
    }
    lines.push(format!("episodes = {}\n\n[metrics]", signature.episodes));
    let mut metrics: Vec<_> = signature.metrics.iter().collect();
    metrics.sort_by(|a, b| b.1.strength.abs().total_cmp(&a.1.strength.abs()));
    for (metric, m) in metrics {
        let moves = if m.strength < 0.0 { "down" } else { "up" };
        let mut entry = vec![
            format!("moves = \"{moves}\""),
            format!("strength = {}", short(m.strength.abs())),
            format!("spread = {}", short(m.spread)),
        ];
        if m.episodes != signature.episodes {
            entry.push(format!("episodes = {}", m.episodes));
        }
        if !m.seen.is_empty() {
            let seen: Vec<String> = m.seen.iter().map(|s| short(*s)).collect();
            entry.push(format!("seen = [{}]", seen.join(", ")));
        }
        lines.push(format!("{} = {{ {} }}", key(metric), entry.join(", ")));
    }
    lines.join("\n") + "\n"
}

/// A name as TOML writes a key.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A string as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A number of TOML with three digits behind the point at most.
fn short(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    let value = (value * 1000.0).round() / 1000.0;
    format!("{:?}", if value == 0.0 { 0.0 } else { value })
}
