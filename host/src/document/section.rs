//! Reads tables of TOML option by option and collects every mistake on the way.
//!
//! Asking for an option makes it known; what a table holds beside the known ones is a mistake, so
//! there is no second list of names to keep in step. A wrong value is reported and its default
//! handed back, so that one mistake does not hide the next.

mod free;
mod lists;
mod tables;

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use super::findings::{Findings, Unknown};
use super::join;
use super::problem::ProblemSeverity;
use super::shape::{Asked, Shape};

pub(crate) use free::{TextOrNumbers, settings};

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
            table: Some(table),
            ..Self::nothing(findings)
        }
    }

    /// No document: for who asks a reader what it reads.
    pub(crate) fn nothing(findings: &'s mut Findings<'t>) -> Self {
        Self {
            findings,
            table: None,
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

    /// Says what an option must be, where the reader is only asked what it reads.
    fn shape(&mut self, name: &'static str, right: &str, shape: impl FnOnce() -> Shape) {
        if let Some(shapes) = self.findings.shapes() {
            shapes.push(Asked {
                table: self.path.clone(),
                name,
                shape: shape(),
                right: right.to_owned(),
            });
        }
    }

    /// Where an option's value stands, in bytes of the text.
    pub(crate) fn span(&self, key: &str) -> Option<Range<usize>> {
        Some(self.table?.get_key_value(key)?.1.span())
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
            if self.findings.shapes().is_some() {
                let bound = |bound: &T| bound.to_string().parse().unwrap_or_default();
                let (low, high) = (bound(allowed.start()), bound(allowed.end()));
                let right = format!("the default is {}", grouped(&default));
                self.shape(key, &right, || Shape::Whole(low, high));
            }
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
        let bounds = (*allowed.start(), *allowed.end());
        let Some(number) = self.finite_of(key, &right, Some(bounds)) else {
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
        self.finite_of(key, right, None)
    }

    fn finite_of(
        &mut self,
        key: &'static str,
        right: &str,
        bounds: Option<(f64, f64)>,
    ) -> Option<f64> {
        self.shape(key, right, || Shape::Number(bounds));
        let (_, value) = self.ask(key)?;
        self.finite_that_is(key, value, right)
    }

    fn finite_that_is(&mut self, key: &str, value: &DeValue<'_>, right: &str) -> Option<f64> {
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
        self.shape(key, "", || Shape::Flag);
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
        self.shape(key, right, || Shape::Text);
        self.text_that_is(key, right)
    }

    fn text_that_is(&mut self, key: &'static str, right: &str) -> Option<&'t str> {
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

    /// One of several words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        let right = format!("one of {}", quoted(choices));
        self.shape(key, "", || Shape::Word(words(choices)));
        let Some(text) = self.text_that_is(key, &right) else {
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

fn words<T>(choices: &[(&str, T)]) -> Vec<String> {
    choices.iter().map(|(word, _)| (*word).to_owned()).collect()
}

fn quoted<T>(choices: &[(&str, T)]) -> String {
    let words: Vec<String> = choices
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect();
    words.join(", ")
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
