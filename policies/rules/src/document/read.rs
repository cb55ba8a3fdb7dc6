//! Reads tables of TOML entry by entry. What is not asked for is a mistake.

use toml::de::{DeTable, DeValue};

use crate::check::{self, Constant, Piece};
use crate::syntax::{self, Fault, Node};

use super::Words;

/// Where a text stands: the place of its first character, or of its quotation mark where what is
/// written there is not what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    at: usize,
    /// How many bytes from the beginning are written as they are.
    verbatim: usize,
}

impl Place {
    fn of(text: &str, value: &str, at: usize) -> Self {
        let raw = text.get(at..).unwrap_or_default();
        let quotes = ["'''", "\"\"\"", "'", "\""];
        let quote = quotes.into_iter().find(|quote| raw.starts_with(quote));
        let mut begin = at + quote.map_or(0, str::len);
        if quote.is_some_and(|quote| quote.len() == 3) {
            let line = text[begin..].strip_prefix('\r').unwrap_or(&text[begin..]);
            let line = line.strip_prefix('\n').unwrap_or(&text[begin..]);
            begin = text.len() - line.len();
        }
        let same = text[begin..].bytes().zip(value.bytes());
        let verbatim = same.take_while(|(a, b)| a == b).count();
        Self {
            at: begin,
            verbatim,
        }
    }

    fn offset(&self, within: usize) -> usize {
        self.at + within.min(self.verbatim)
    }
}

/// A text and where it stands.
pub(super) struct Text {
    pub(super) value: String,
    pub(super) place: Place,
}

/// What is wrong with the document.
pub(super) struct Mistakes<'t> {
    text: &'t str,
    all: Vec<(usize, String)>,
}

impl<'t> Mistakes<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            all: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn add(&mut self, at: usize, rule: Option<&str>, message: &str) {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[begin..].chars().count() + 1;
        let rule = rule.map_or_else(String::new, |rule| format!("rule `{rule}`: "));
        let told = format!("line {line}, column {column}: {rule}{message}");
        self.all.push((at, told));
    }

    pub(super) fn fault(&mut self, place: &Place, rule: Option<&str>, fault: &Fault) {
        self.add(place.offset(fault.at), rule, &fault.message);
    }

    /// All of them, in the order of the document.
    pub(super) fn told(mut self) -> Vec<String> {
        self.all.sort_by_key(|(at, _)| *at);
        self.all.into_iter().map(|(_, told)| told).collect()
    }
}

/// Reads a document. Nothing where it is no TOML.
pub(super) fn document<T>(
    text: &str,
    mistakes: &mut Mistakes<'_>,
    read: impl FnOnce(&mut Table<'_>, &mut Mistakes<'_>) -> T,
) -> Option<T> {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            mistakes.add(at, None, error.message());
            return None;
        }
    };
    let mut root = Table::new(text, table.get_ref(), 0, None);
    let value = read(&mut root, mistakes);
    root.finish(mistakes);
    Some(value)
}

/// One table.
pub(super) struct Table<'t> {
    text: &'t str,
    entries: &'t DeTable<'t>,
    pub(super) at: usize,
    /// The rule that it belongs to, once its name is known.
    pub(super) rule: Option<String>,
    asked: Vec<&'static str>,
}

impl<'t> Table<'t> {
    fn new(text: &'t str, entries: &'t DeTable<'t>, at: usize, rule: Option<String>) -> Self {
        Self {
            text,
            entries,
            at,
            rule,
            asked: Vec::new(),
        }
    }

    /// Notes what was not asked for.
    pub(super) fn finish(&self, mistakes: &mut Mistakes<'_>) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let hint = check::hint(name, self.asked.iter().copied());
                let message = format!("there is no `{name}` here; {hint}");
                mistakes.add(key.span().start, self.rule.as_deref(), &message);
            }
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A mistake in an entry; where it is missing, in the table.
    pub(super) fn fault(&self, key: &str, message: &str, mistakes: &mut Mistakes<'_>) {
        let entry = self.entries.get_key_value(key);
        let at = entry.map_or(self.at, |(_, value)| value.span().start);
        mistakes.add(at, self.rule.as_deref(), message);
    }

    fn ask(&mut self, key: &'static str) -> Option<(usize, &'t DeValue<'t>)> {
        self.asked.push(key);
        let value = self.entries.get(key)?;
        Some((value.span().start, value.get_ref()))
    }

    pub(super) fn is_table(&self, key: &str) -> bool {
        let value = self.entries.get(key);
        value.is_some_and(|value| value.get_ref().is_table())
    }

    pub(super) fn table(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Table<'t>> {
        let (at, value) = self.ask(key)?;
        let Some(table) = value.as_table() else {
            self.fault(key, &format!("`{key}` is a table; write [{key}]"), mistakes);
            return None;
        };
        Some(Table::new(self.text, table, at, self.rule.clone()))
    }

    pub(super) fn tables(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Vec<Table<'t>> {
        let Some((_, value)) = self.ask(key) else {
            return Vec::new();
        };
        let all = value.as_array().map_or(&[][..], |array| array);
        let tables: Vec<_> = all
            .iter()
            .filter_map(|one| {
                let table = one.get_ref().as_table()?;
                Some(Table::new(self.text, table, one.span().start, None))
            })
            .collect();
        if tables.len() != all.len() || !value.is_array() {
            let message =
                format!("`{key}` is a list of tables; write [[{key}]], with two brackets");
            self.fault(key, &message, mistakes);
        }
        tables
    }

    pub(super) fn text(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Text> {
        let (at, value) = self.ask(key)?;
        let Some(value) = value.as_str() else {
            self.fault(
                key,
                &format!("`{key}` is a text in quotation marks"),
                mistakes,
            );
            return None;
        };
        Some(Text {
            value: value.to_owned(),
            place: Place::of(self.text, value, at),
        })
    }

    /// A text, or a list of them.
    fn some_texts(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Vec<Text> {
        let Some((at, value)) = self.ask(key) else {
            return Vec::new();
        };
        let items: Vec<(usize, &DeValue<'_>)> = match value {
            DeValue::Array(all) => all
                .iter()
                .map(|one| (one.span().start, one.get_ref()))
                .collect(),
            one => vec![(at, one)],
        };
        let mut texts = Vec::with_capacity(items.len());
        for (at, item) in items {
            let Some(value) = item.as_str() else {
                let message = format!("`{key}` is a text, or a list of texts");
                mistakes.add(at, self.rule.as_deref(), &message);
                continue;
            };
            texts.push(Text {
                value: value.to_owned(),
                place: Place::of(self.text, value, at),
            });
        }
        texts
    }

    pub(super) fn texts(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Vec<String> {
        let texts = self.some_texts(key, mistakes).into_iter();
        texts.map(|text| text.value).collect()
    }

    fn cut(&self, key: &'static str, text: &Text, mistakes: &mut Mistakes<'_>) -> Option<Words> {
        let pieces: Vec<(usize, Piece)> = check::pieces(&text.value)
            .map_err(|fault| mistakes.fault(&text.place, self.rule.as_deref(), &fault))
            .ok()?;
        if pieces.is_empty() {
            self.fault(key, &format!("`{key}` is empty"), mistakes);
            return None;
        }
        Some(Words {
            at: text.place,
            pieces,
        })
    }

    /// A text with values in it.
    pub(super) fn words(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Words> {
        let text = self.text(key, mistakes)?;
        self.cut(key, &text, mistakes)
    }

    /// Several such texts.
    pub(super) fn all_words(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Vec<Words> {
        let texts = self.some_texts(key, mistakes);
        let words = texts
            .iter()
            .filter_map(|text| self.cut(key, text, mistakes));
        words.collect()
    }

    pub(super) fn condition(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<(Place, Node)> {
        let text = self.text(key, mistakes)?;
        let node = syntax::parse(&text.value)
            .map_err(|fault| mistakes.fault(&text.place, self.rule.as_deref(), &fault))
            .ok()?;
        Some((text.place, node))
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
        mistakes: &mut Mistakes<'_>,
    ) -> Option<T> {
        let text = self.text(key, mistakes)?;
        let found = choices.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let hint = check::hint(&text.value, choices.iter().map(|(word, _)| *word));
            let message = format!("`{key}` is \"{}\"; {hint}", text.value);
            self.fault(key, &message, mistakes);
        }
        found.map(|(_, choice)| *choice)
    }

    pub(super) fn flag(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> bool {
        let Some((_, value)) = self.ask(key) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            let message = format!("`{key}` is true or false, without quotation marks");
            self.fault(key, &message, mistakes);
            false
        })
    }

    pub(super) fn number(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<f64> {
        let (_, value) = self.ask(key)?;
        let number = match constant(value) {
            #[expect(clippy::cast_precision_loss, reason = "it is from 0 to 1, or wrong")]
            Some(Constant::Int(whole)) => Some(whole as f64),
            Some(Constant::Double(number)) => Some(number),
            _ => None,
        };
        if number.is_none() {
            self.fault(key, &format!("`{key}` is a number"), mistakes);
        }
        number
    }

    pub(super) fn whole(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<i64> {
        let (_, value) = self.ask(key)?;
        let Some(Constant::Int(whole)) = constant(value) else {
            self.fault(key, &format!("`{key}` is a whole number"), mistakes);
            return None;
        };
        Some(whole)
    }

    /// Every entry of a table whose names are free.
    pub(super) fn constants(&mut self, mistakes: &mut Mistakes<'_>) -> Vec<(String, Constant)> {
        let mut all = Vec::new();
        for (key, value) in self.entries {
            let name: &str = key.get_ref();
            if let Some(value) = constant(value.get_ref()) {
                all.push((name.to_owned(), value));
            } else {
                let message = format!("`{name}` is true or false, a number, or a text");
                mistakes.add(value.span().start, None, &message);
            }
        }
        all
    }
}

/// Whole numbers that every language keeps whole.
const LARGEST: i64 = (1 << 53) - 1;

fn constant(value: &DeValue<'_>) -> Option<Constant> {
    match value {
        DeValue::Boolean(flag) => Some(Constant::Bool(*flag)),
        DeValue::String(text) => Some(Constant::Text(text.to_string())),
        DeValue::Integer(whole) => i64::from_str_radix(whole.as_str(), whole.radix())
            .ok()
            .filter(|whole| (-LARGEST..=LARGEST).contains(whole))
            .map(Constant::Int),
        DeValue::Float(number) => {
            let number = number.as_str().parse().ok();
            number.filter(|n: &f64| n.is_finite()).map(Constant::Double)
        }
        _ => None,
    }
}
