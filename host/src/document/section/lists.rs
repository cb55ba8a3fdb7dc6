//! Lists of texts, of words, of numbers.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::free::TextOrNumbers;
use super::{Section, kind, number_of, quoted, words};
use crate::document::shape::Shape;

impl<'t> Section<'_, 't> {
    /// A list of texts; `right` says what would be right.
    pub(crate) fn texts(&mut self, key: &'static str, right: &str) -> Vec<&'t str> {
        self.shape(key, right, || Shape::Texts);
        self.texts_that_are(key, right)
    }

    /// A list of several of several words.
    pub(crate) fn words<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Vec<T> {
        let right = format!("a list of {}", quoted(choices));
        self.shape(key, "", || Shape::Words(words(choices)));
        let mut chosen = Vec::new();
        for text in self.texts_that_are(key, &right) {
            match choices.iter().find(|(word, _)| *word == text) {
                Some((_, value)) => chosen.push(*value),
                None => self.error(key, format!("`{key}` names \"{text}\""), right.clone()),
            }
        }
        chosen
    }

    /// Text, or a list of numbers; `right` says what would be right.
    pub(crate) fn text_or_numbers(
        &mut self,
        key: &'static str,
        right: &str,
    ) -> Option<TextOrNumbers> {
        self.shape(key, right, || Shape::TextOrNumbers);
        let (_, value) = self.ask(key)?;
        let read = TextOrNumbers::of(value);
        if read.is_none() {
            self.error(key, format!("`{key}` is {}", kind(value)), right);
        }
        read
    }

    fn texts_that_are(&mut self, key: &'static str, right: &str) -> Vec<&'t str> {
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

    /// A list of finite numbers; `right` says what would be right.
    pub(crate) fn numbers(&mut self, key: &'static str, right: &str) -> Option<Vec<f64>> {
        self.shape(key, right, || Shape::Numbers);
        self.numbers_that_are(key, right)
    }

    fn numbers_that_are(&mut self, key: &'static str, right: &str) -> Option<Vec<f64>> {
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
        self.shape(key, "", || Shape::Bounds(*allowed.start(), *allowed.end()));
        let (_, value) = self.ask(key)?;
        let (low, high) = (allowed.start(), allowed.end());
        let right =
            format!("a number from {low} to {high}, or a list of the lowest and the highest");
        let bounds = if value.is_array() {
            let numbers = self.numbers_that_are(key, &right)?;
            let [first, last] = numbers[..] else {
                let message = format!("`{key}` is a list of {}, but must be of 2", numbers.len());
                self.error(key, message, right);
                return None;
            };
            first..=last
        } else {
            let number = self.finite_that_is(key, value, &right)?;
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
}
