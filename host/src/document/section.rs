//! Reads tables of TOML option by option and collects every mistake on the way.
//!
//! Asking for an option makes it known; what a table holds beside the known ones is a mistake, so
//! there is no second list of names to keep in step. A wrong value is reported and its default
//! handed back, so that one mistake does not hide the next.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::{Findings, Unknown};
use super::problem::ProblemSeverity;
use crate::model::{Setting, Value};

/// Integers beyond this lose digits in languages whose numbers are floats.
const WHOLE_MAX: i128 = (1 << 53) - 1;

/// One table of the document, or its absence.
pub(crate) struct Section<'s, 't> {
    findings: &'s mut Findings<'t>,
    table: Option<&'t DeTable<'t>>,
    /// As a person writes it: empty at the top, `[guard]`, `[[targets]]`.
    label: String,
    /// As a field's path: empty at the top, `guard`, `targets[0]`.
    path: String,
    offset: usize,
}

impl<'s, 't> Section<'s, 't> {
    /// The document itself.
    pub(crate) fn root(findings: &'s mut Findings<'t>, table: &'t DeTable<'t>) -> Self {
        Self {
            findings,
            table: Some(table),
            label: String::new(),
            path: String::new(),
            offset: 0,
        }
    }

    /// Notes what was not asked for.
    pub(crate) fn finish(self) {
        for (key, value) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.findings.knows(&self.label, name) {
                self.findings.unknown(Unknown {
                    label: self.label.clone(),
                    field: join(&self.path, name),
                    name: name.to_owned(),
                    is_table: value.get_ref().is_table(),
                    offset: key.span().start,
                });
            }
        }
    }

    /// An option's value and the offset of its name.
    fn ask(&mut self, key: &'static str) -> Option<(usize, &'t DeValue<'t>)> {
        self.findings.know(&self.label, key);
        let (name, value) = self.table?.get_key_value(key)?;
        let offset = name.span().start;
        self.findings.place(join(&self.path, key), offset);
        Some((offset, value.get_ref()))
    }

    /// The line of an option, or of the section when it is not there; counted from 1.
    pub(crate) fn line(&self, key: &str) -> usize {
        self.findings.line(self.offset_of(key))
    }

    fn offset_of(&self, key: &str) -> usize {
        self.findings
            .offset_of(&join(&self.path, key))
            .unwrap_or(self.offset)
    }

    /// An option that makes no sense.
    pub(crate) fn error(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.report(ProblemSeverity::Error, key, message.into(), hint.into());
    }

    /// An option that is odd.
    pub(crate) fn warning(
        &mut self,
        key: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report(ProblemSeverity::Warning, key, message.into(), hint.into());
    }

    fn report(&mut self, severity: ProblemSeverity, key: &str, message: String, hint: String) {
        let (offset, field) = (self.offset_of(key), join(&self.path, key));
        self.findings
            .add(severity, offset, &field, message, Some(hint));
    }

    /// Whether the option is written down.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A table of this table, absent or not.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> T {
        let found = self.ask(key);
        let path = join(&self.path, key);
        let table = match found {
            Some((_, DeValue::Table(table))) => Some(table),
            Some((_, other)) => {
                let message = format!("`{path}` is {}, but must be one table", kind(other));
                self.error(key, message, format!("write [{path}]"));
                None
            }
            None => None,
        };
        let mut section = Section {
            offset: found.map_or(self.offset, |(offset, _)| offset),
            findings: &mut *self.findings,
            table,
            label: format!("[{path}]"),
            path,
        };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// A list of tables of this table.
    pub(crate) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_, 't>)) {
        let Some((offset, value)) = self.ask(key) else {
            return;
        };
        let path = join(&self.path, key);
        // Without the index that the field's path has.
        let inner = self.label.trim_matches(['[', ']']);
        let label = format!("[[{}]]", join(inner, key));
        let tables: Option<Vec<_>> = value.as_array().and_then(|items| {
            items
                .iter()
                .map(|item| Some((item.span().start, item.get_ref().as_table()?)))
                .collect()
        });
        let Some(tables) = tables else {
            let message = format!("`{path}` is {}, but must be a list of tables", kind(value));
            self.error(key, message, format!("write {label}, with two brackets"));
            return;
        };
        for (index, (start, table)) in tables.into_iter().enumerate() {
            let mut section = Section {
                findings: &mut *self.findings,
                table: Some(table),
                label: label.clone(),
                path: format!("{path}[{index}]"),
                offset: start.max(offset),
            };
            read(&mut section);
            section.finish();
        }
    }

    /// Every entry of a table whose names are free, sorted by name.
    pub(crate) fn entries(&mut self) -> Vec<(&'t str, &'t DeValue<'t>)> {
        let mut entries = Vec::new();
        for (key, value) in self.table.into_iter().flatten() {
            let name: &'t str = key.get_ref();
            self.findings
                .place(join(&self.path, name), key.span().start);
            entries.push((name, value.get_ref()));
        }
        self.table = None;
        entries
    }

    /// Every entry as a setting: whatever is there, as long as it has a type that a policy knows.
    /// `files` reads what `{ file = "PATH" }` names, where files may be named.
    pub(crate) fn settings(&mut self, files: Option<ReadText<'_>>) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (name, value) in self.entries() {
            let value = match (value, files) {
                (DeValue::Table(table), Some(read)) => self.setting_of_file(name, table, read),
                (value, _) => match setting_of(name, value) {
                    Ok(value) => Some(value),
                    Err((message, hint)) => {
                        self.error(name, message, hint);
                        None
                    }
                },
            };
            settings.extend(value.map(|value| Setting {
                name: name.to_owned(),
                value,
            }));
        }
        settings
    }

    /// The text of a file as a setting.
    fn setting_of_file(
        &mut self,
        name: &str,
        table: &DeTable<'_>,
        read: ReadText<'_>,
    ) -> Option<Value> {
        let file = table.get("file").and_then(|file| file.get_ref().as_str());
        let (Some(file), 1) = (file, table.len()) else {
            let hint =
                "write it as { file = \"PATH\" }, and the text of that file is the parameter";
            self.error(name, format!("`{name}` is a table"), hint);
            return None;
        };
        match read(Path::new(file)) {
            Ok(text) => Some(Value::Text(text)),
            Err(why) => {
                let hint = "name a file of text; paths start at this file's directory";
                self.error(name, why, hint);
                None
            }
        }
    }

    /// Whether the table is there at all.
    pub(crate) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// A whole number. Outside `allowed` is an error, outside `usual` a warning.
    pub(crate) fn whole<T>(
        &mut self,
        key: &'static str,
        default: T,
        allowed: RangeInclusive<T>,
        usual: RangeInclusive<T>,
    ) -> T
    where
        T: Copy + Display + PartialOrd + TryFrom<i128>,
    {
        let Some((_, value)) = self.ask(key) else {
            return default;
        };
        let right = format!(
            "a whole number{} from {} to {}; the default is {}",
            unit(key),
            grouped(allowed.start()),
            grouped(allowed.end()),
            grouped(&default)
        );
        let DeValue::Integer(integer) = value else {
            return self.wrong_type(key, value, right, default);
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| allowed.contains(number));
        let Some(number) = number else {
            let message = format!("`{key}` is {integer}, out of its bounds");
            self.error(key, message, right);
            return default;
        };
        self.unusual(key, &number, &usual, grouped);
        number
    }

    /// A number. Outside `allowed` is an error, outside `usual` a warning.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        default: f64,
        allowed: RangeInclusive<f64>,
        usual: RangeInclusive<f64>,
    ) -> f64 {
        let right = format!(
            "a number{} from {} to {}; the default is {default}",
            unit(key),
            allowed.start(),
            allowed.end()
        );
        let Some(number) = self.finite(key, &right) else {
            return default;
        };
        if !allowed.contains(&number) {
            let message = format!("`{key}` is {number}, out of its bounds");
            self.error(key, message, right);
            return default;
        }
        self.unusual(key, &number, &usual, f64::to_string);
        number
    }

    /// A finite number of any size; `right` says what would be right.
    pub(crate) fn finite(&mut self, key: &'static str, right: &str) -> Option<f64> {
        let (_, value) = self.ask(key)?;
        match number_of(value) {
            Some(number) if number.is_finite() => Some(number),
            Some(_) => {
                self.error(key, format!("`{key}` is not a finite number"), right);
                None
            }
            None => self.wrong_type(key, value, right.to_owned(), None),
        }
    }

    fn unusual<T: PartialOrd>(
        &mut self,
        key: &str,
        value: &T,
        usual: &RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) {
        if !usual.contains(value) {
            let message = format!("`{key}` is {}, which is unusual", show(value));
            let hint = format!(
                "typical: {} to {}{}",
                show(usual.start()),
                show(usual.end()),
                unit(key).replacen(" of", "", 1)
            );
            self.warning(key, message, hint);
        }
    }

    /// True or false.
    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        match self.ask(key) {
            None => default,
            Some((_, DeValue::Boolean(flag))) => *flag,
            Some((_, other)) => {
                let right = format!("true or false, without quotes; the default is {default}");
                self.wrong_type(key, other, right, default)
            }
        }
    }

    /// Text that is not empty; `right` says what would be right.
    pub(crate) fn text(&mut self, key: &'static str, right: &str) -> Option<&'t str> {
        let (_, value) = self.ask(key)?;
        match value {
            DeValue::String(text) if text.trim().is_empty() => {
                self.error(key, format!("`{key}` is empty"), right);
                None
            }
            DeValue::String(text) => Some(text),
            other => self.wrong_type(key, other, right.to_owned(), None),
        }
    }

    /// A list of texts; `right` says what would be right.
    pub(crate) fn texts(&mut self, key: &'static str, right: &str) -> Vec<&'t str> {
        let Some((_, value)) = self.ask(key) else {
            return Vec::new();
        };
        let texts: Option<Vec<&str>> = value
            .as_array()
            .and_then(|items| items.iter().map(|item| item.get_ref().as_str()).collect());
        if let Some(texts) = texts {
            return texts;
        }
        let message = match value {
            DeValue::Array(_) => format!("`{key}` has an entry that is not text"),
            other => format!("`{key}` is {}, but must be a list of texts", kind(other)),
        };
        self.error(key, message, right);
        Vec::new()
    }

    /// A list of texts and of tables, in their order; `right` says what would be right.
    pub(crate) fn texts_or_tables<T>(
        &mut self,
        key: &'static str,
        right: &str,
        of_text: impl Fn(&'t str) -> T,
        mut of_table: impl FnMut(&mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        let Some((offset, value)) = self.ask(key) else {
            return Vec::new();
        };
        let path = join(&self.path, key);
        let label = format!("[[{}]]", join(self.label.trim_matches(['[', ']']), key));
        let Some(items) = value.as_array() else {
            let message = format!("`{key}` is {}, but must be a list", kind(value));
            self.error(key, message, right);
            return Vec::new();
        };
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.get_ref() {
                DeValue::String(text) => all.push(of_text(text)),
                DeValue::Table(table) => {
                    let mut section = Section {
                        findings: &mut *self.findings,
                        table: Some(table),
                        label: label.clone(),
                        path: format!("{path}[{index}]"),
                        offset: item.span().start.max(offset),
                    };
                    all.push(of_table(&mut section));
                    section.finish();
                }
                other => {
                    let message = format!("`{key}` has an entry that is {}", kind(other));
                    self.error(key, message, right);
                }
            }
        }
        all
    }

    /// A list of finite numbers; `right` says what would be right.
    pub(crate) fn numbers(&mut self, key: &'static str, right: &str) -> Option<Vec<f64>> {
        let (_, value) = self.ask(key)?;
        let numbers: Option<Vec<f64>> = value.as_array().and_then(|items| {
            let finite = |item| number_of(item).filter(|number| number.is_finite());
            items.iter().map(|item| finite(item.get_ref())).collect()
        });
        if numbers.is_none() {
            let message = format!("`{key}` is no list of finite numbers");
            self.error(key, message, right);
        }
        numbers
    }

    /// Bounds: a list of two numbers, or one number that is both. Outside `allowed` is an error.
    pub(crate) fn bounds(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<f64>,
    ) -> Option<RangeInclusive<f64>> {
        let (_, value) = self.ask(key)?;
        let (low, high) = (allowed.start(), allowed.end());
        let right =
            format!("a number from {low} to {high}, or a list of the lowest and the highest");
        let bounds = if value.is_array() {
            let numbers = self.numbers(key, &right)?;
            let [first, last] = numbers[..] else {
                let message = format!("`{key}` is a list of {}, but must be of 2", numbers.len());
                self.error(key, message, right);
                return None;
            };
            first..=last
        } else {
            let number = self.finite(key, &right)?;
            number..=number
        };
        if bounds.is_empty() || !allowed.contains(bounds.start()) || !allowed.contains(bounds.end())
        {
            let (first, last) = (bounds.start(), bounds.end());
            self.error(key, format!("`{key}` is {first} to {last}"), right);
            return None;
        }
        Some(bounds)
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        let words: Vec<String> = choices
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let right = format!("one of {}", words.join(", "));
        let Some(text) = self.text(key, &right) else {
            return default;
        };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return *choice;
        }
        self.error(key, format!("`{key}` is \"{text}\""), right);
        default
    }

    fn wrong_type<T>(&mut self, key: &str, value: &DeValue<'_>, right: String, default: T) -> T {
        self.error(key, format!("`{key}` is {}", kind(value)), right);
        default
    }
}

/// Reads the text of a file that a document names, or says why it cannot.
pub(super) type ReadText<'r> = &'r dyn Fn(&Path) -> Result<String, String>;

/// Every entry of a table as a setting; none names a file.
pub(crate) fn settings(section: &mut Section<'_, '_>) -> Vec<Setting> {
    section.settings(None)
}

/// A value as a setting, or what is wrong with it and what would be right.
fn setting_of(name: &str, value: &DeValue<'_>) -> Result<Value, (String, &'static str)> {
    match value {
        DeValue::Boolean(flag) => Ok(Value::Boolean(*flag)),
        DeValue::String(text) => Ok(Value::Text(text.to_string())),
        DeValue::Integer(integer) => whole_of(value).map(Value::Integer).ok_or_else(|| {
            let message = format!("`{name}` is {integer}, too large for a policy");
            (message, "whole numbers stay below 2^53")
        }),
        DeValue::Float(_) => number_of(value)
            .filter(|number| number.is_finite())
            .map(Value::Number)
            .ok_or_else(|| {
                let message = format!("`{name}` is not a finite number");
                (message, "give a number that is finite")
            }),
        DeValue::Array(items) => {
            let all = || items.iter().map(Spanned::get_ref);
            let texts: Option<Vec<_>> =
                all().map(|item| item.as_str().map(str::to_owned)).collect();
            let wholes: Option<Vec<_>> = all().map(whole_of).collect();
            match (texts, wholes) {
                (Some(texts), _) => Ok(Value::Texts(texts)),
                (None, Some(wholes)) => Ok(Value::Integers(wholes)),
                (None, None) => Err((
                    format!("`{name}` is a list of other things than texts, or than whole numbers"),
                    "a list holds texts, or whole numbers below 2^53",
                )),
            }
        }
        other => Err((
            format!("`{name}` is {}", kind(other)),
            "a parameter is true or false, a number, a text, or a list of texts or whole numbers",
        )),
    }
}

/// A whole number that every language keeps whole.
fn whole_of(value: &DeValue<'_>) -> Option<i64> {
    let DeValue::Integer(integer) = value else {
        return None;
    };
    i128::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .filter(|whole| (-WHOLE_MAX..=WHOLE_MAX).contains(whole))
        .and_then(|whole| i64::try_from(whole).ok())
}

/// A number of either kind; none when the value is something else.
fn number_of(value: &DeValue<'_>) -> Option<f64> {
    match value {
        #[allow(
            clippy::cast_precision_loss,
            reason = "bounds are floats; a rounded one is meant"
        )]
        DeValue::Integer(integer) => {
            Some(i128::from_str_radix(integer.as_str(), integer.radix()).ok()? as f64)
        }
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    }
}

/// The type of a value, for a sentence.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The unit that an option's name ends in, for a sentence.
fn unit(key: &str) -> &'static str {
    match key.rsplit('_').next() {
        Some("ms") => " of milliseconds",
        Some("bytes") => " of bytes",
        Some("kib") => " of KiB",
        Some("mib") => " of MiB",
        _ => "",
    }
}

/// A whole number with an underscore between its thousands, as TOML writes it.
fn grouped<T: Display>(number: &T) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
