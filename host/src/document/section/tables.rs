//! Tables of a table.

use toml::de::DeValue;

use super::{Section, join, kind};
use crate::document::shape::Shape;

impl<'t> Section<'_, 't> {
    /// A table of this table, absent or not.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> T {
        let found = self.ask(key);
        self.shape(key, "", || Shape::Table);
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
    pub(crate) fn tables(&mut self, key: &'static str, read: impl FnMut(&mut Section<'_, 't>)) {
        self.shape(key, "", || Shape::Tables);
        self.each_table(key, read);
    }

    /// One table, or a list of them.
    pub(crate) fn table_or_tables(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_, 't>),
    ) {
        self.shape(key, "", || Shape::TableOrTables);
        match self.ask(key) {
            Some((offset, DeValue::Table(table))) => {
                let path = join(&self.path, key);
                let mut section = Section {
                    findings: &mut *self.findings,
                    table: Some(table),
                    label: format!("[{path}]"),
                    path,
                    offset,
                };
                read(&mut section);
                section.finish();
            }
            _ => self.each_table(key, read),
        }
    }

    fn each_table(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_, 't>)) {
        let found = self.ask(key);
        if self.findings.shapes().is_some() {
            return self.described(key, read);
        }
        let Some((offset, value)) = found else {
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

    /// Has a reader say what it reads of a table.
    fn described(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, 't>)) {
        let path = join(&self.path, key);
        read(&mut Section {
            findings: &mut *self.findings,
            table: None,
            label: format!("[{path}]"),
            path,
            offset: 0,
        });
    }

    /// A list of texts and of tables, in their order; `right` says what would be right.
    pub(crate) fn texts_or_tables<T>(
        &mut self,
        key: &'static str,
        right: &str,
        of_text: impl Fn(&'t str) -> T,
        mut of_table: impl FnMut(&mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        self.shape(key, right, || Shape::TextsOrTables);
        let found = self.ask(key);
        if self.findings.shapes().is_some() {
            self.described(key, |table| drop(of_table(table)));
        }
        let Some((offset, value)) = found else {
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
}
