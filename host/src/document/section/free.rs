//! Tables whose names are free: parameters, facts, series.

use toml::de::DeValue;

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
    pub(crate) fn settings(&mut self) -> Vec<Setting> {
        self.is_free(Shape::Values);
        self.entries_as_values(false)
    }

    /// The same, with lists of whole numbers and of texts.
    fn values(&mut self) -> Vec<Setting> {
        self.is_free(Shape::ValuesAndLists);
        self.entries_as_values(true)
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

    fn entries_as_values(&mut self, lists: bool) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (name, value) in self.entries() {
            let value = match value {
                DeValue::Boolean(flag) => Some(Value::Boolean(*flag)),
                DeValue::String(text) => Some(Value::Text(text.to_string())),
                DeValue::Integer(integer) => {
                    let whole = i128::from_str_radix(integer.as_str(), integer.radix())
                        .ok()
                        .filter(|whole| (-WHOLE_MAX..=WHOLE_MAX).contains(whole))
                        .and_then(|whole| i64::try_from(whole).ok());
                    if whole.is_none() {
                        let message = format!("`{name}` is {integer}, too large for a policy");
                        self.error(name, message, "whole numbers stay below 2^53");
                    }
                    whole.map(Value::Integer)
                }
                DeValue::Float(_) => {
                    let number = number_of(value).filter(|number| number.is_finite());
                    if number.is_none() {
                        self.error(
                            name,
                            format!("`{name}` is not a finite number"),
                            "give a number that is finite",
                        );
                    }
                    number.map(Value::Number)
                }
                DeValue::Array(_) if lists => {
                    let list = list_of(value);
                    if list.is_none() {
                        let right = "a list holds whole numbers below 2^53, or texts";
                        self.error(name, format!("`{name}` is no list of one kind"), right);
                    }
                    list
                }
                other => {
                    self.error(
                        name,
                        format!("`{name}` is {}", kind(other)),
                        "a parameter is true or false, a number, or text",
                    );
                    None
                }
            };
            settings.extend(value.map(|value| Setting {
                name: name.to_owned(),
                value,
            }));
        }
        settings
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

/// A list of whole numbers, or of texts.
fn list_of(value: &DeValue<'_>) -> Option<Value> {
    let items = value.as_array()?;
    let whole = |item: &DeValue<'_>| match item {
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|whole| (-WHOLE_MAX..=WHOLE_MAX).contains(whole))
            .and_then(|whole| i64::try_from(whole).ok()),
        _ => None,
    };
    let texts: Option<Vec<String>> = items
        .iter()
        .map(|item| Some(item.get_ref().as_str()?.to_owned()))
        .collect();
    let numbers = || {
        let numbers: Option<Vec<i64>> = items.iter().map(|item| whole(item.get_ref())).collect();
        numbers.map(Value::Integers)
    };
    texts.map(Value::Texts).or_else(numbers)
}

/// Every entry of a table as a setting, lists among them.
pub(crate) fn values(section: &mut Section<'_, '_>) -> Vec<Setting> {
    section.values()
}

/// Every entry of a table as a setting.
pub(crate) fn settings(section: &mut Section<'_, '_>) -> Vec<Setting> {
    section.settings()
}
