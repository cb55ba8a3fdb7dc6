//! Text, numbers, lists and tables as TOML writes them.

use std::fmt::{self, Display, Write as _};

/// A number that stays one with a fraction.
pub(in crate::policy_tests) fn number(is: f64) -> String {
    format!("{is:?}")
}

/// Text as TOML writes it.
pub(in crate::policy_tests) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Writing to a string cannot fail.
            c if crate::escape::is_obeyed(c) => {
                write!(out, "\\U{:08X}", u32::from(c)).unwrap_or_default();
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list; none where it is empty.
pub(in crate::policy_tests) fn list(items: impl Iterator<Item = String>) -> Option<String> {
    let items: Vec<String> = items.collect();
    (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
}

/// A list of tables, each in a line of its own where there are several.
pub(super) fn rows<T>(items: &[T], table: impl Fn(&T) -> Table) -> Option<String> {
    match items {
        [] => None,
        [one] => Some(format!("[{}]", table(one))),
        all => {
            let rows: Vec<String> = all
                .iter()
                .map(|item| format!("    {},\n", table(item)))
                .collect();
            Some(format!("[\n{}]", rows.concat()))
        }
    }
}

/// Lines of a document.
pub(super) struct Lines(pub(super) String);

impl Lines {
    pub(super) fn new(head: &str) -> Self {
        Self(format!("{head}\n"))
    }

    pub(super) fn head(&mut self, head: &str) {
        self.0.push_str(head);
        self.0.push('\n');
    }

    pub(super) fn add(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        writeln!(self.0, "{} = {value}", bare(key)).unwrap_or_default();
    }

    pub(super) fn add_some(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }
}

/// A table in one line.
pub(super) struct Table(pub(super) Vec<(String, String)>);

impl Table {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(&mut self, key: &str, value: impl Display) {
        self.0.push((key.to_owned(), value.to_string()));
    }

    pub(super) fn maybe(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }

    pub(super) fn text(&mut self, key: &str, text: &str, usual: &str) {
        if text != usual {
            self.add(key, quoted(text));
        }
    }

    pub(super) fn texts(&mut self, key: &str, texts: &[String]) {
        self.maybe(key, list(texts.iter().map(|text| quoted(text))));
    }

    pub(super) fn flag(&mut self, key: &str, flag: bool, usual: bool) {
        if flag != usual {
            self.add(key, flag);
        }
    }

    /// Nothing where there is nothing in it.
    pub(super) fn some(self) -> Option<Self> {
        (!self.0.is_empty()).then_some(self)
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.iter();
        let rows: Vec<String> = rows
            .map(|(key, value)| format!("{} = {value}", bare(key)))
            .collect();
        write!(f, "{{ {} }}", rows.join(", "))
    }
}

/// A key, in quotes where it needs some.
fn bare(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(is_bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}
