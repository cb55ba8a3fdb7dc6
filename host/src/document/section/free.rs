//! Tables whose names are free: parameters, facts, series.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Section, WHOLE_MAX, join, kind, number_of};
use crate::document::shape::Shape;
use crate::model::{Setting, Value};

impl<'t> Section<'_, 't> {
    /// Says that the names in this table are free.
    fn is_free(&mut self, shape: Shape) {
        let path = self.path.clone();
        if let Some(shapes) = self.findings.shapes()
            && let Some(asked) = shapes
                .iter_mut()
                .rfind(|asked| join(&asked.table, asked.name) == path)
        {
            asked.shape = shape;
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
        self.is_free(match files {
            Some(_) => Shape::ValuesOrFiles,
            None => Shape::Values,
        });
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

    /// Every entry as text or as a list of numbers; `right` says what would be right.
    pub(crate) fn series(&mut self, right: &str) -> Vec<(String, TextOrNumbers)> {
        self.is_free(Shape::Series);
        let mut all = Vec::new();
        for (name, value) in self.entries() {
            match TextOrNumbers::of(value) {
                Some(read) => all.push((name.to_owned(), read)),
                None => self.error(name, format!("`{name}` is {}", kind(value)), right),
            }
        }
        all
    }
}

/// Text, or numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TextOrNumbers {
    Text(String),
    Numbers(Vec<f64>),
}

impl TextOrNumbers {
    pub(super) fn of(value: &DeValue<'_>) -> Option<Self> {
        if let DeValue::String(text) = value {
            return Some(Self::Text(text.to_string()));
        }
        let finite = |item| number_of(item).filter(|number: &f64| number.is_finite());
        let items = value.as_array()?.iter();
        let numbers: Option<Vec<f64>> = items.map(|item| finite(item.get_ref())).collect();
        numbers.map(Self::Numbers)
    }
}

/// Reads the text of a file that a document names, or says why it cannot.
pub(crate) type ReadText<'r> = &'r dyn Fn(&Path) -> Result<String, String>;

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
                    format!("`{name}` is no list of one kind"),
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
