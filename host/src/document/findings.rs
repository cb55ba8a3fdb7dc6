//! Collects problems, and turns options that nobody asked for into problems with the nearest
//! right name.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{Problem, ProblemSeverity, line_of};
use super::shape::Asked;

/// Names less alike than this (Jaro-Winkler, 0 to 1) are not taken for a slip of the pen.
const ALIKE: f64 = 0.85;

/// What was found in a document so far.
pub(crate) struct Findings<'t> {
    file: &'t str,
    text: &'t str,
    problems: Vec<Problem>,
    offsets: BTreeMap<String, usize>,
    known: BTreeMap<String, BTreeSet<&'static str>>,
    unknown: Vec<Unknown>,
    /// What was asked for, where a reader is only asked what it reads.
    shapes: Option<Vec<Asked>>,
}

/// An option that nobody asked for.
pub(crate) struct Unknown {
    /// The section as a person writes it; empty at the top.
    pub(crate) label: String,
    /// The option's path.
    pub(crate) field: String,
    pub(crate) name: String,
    pub(crate) is_table: bool,
    pub(crate) offset: usize,
}

impl<'t> Findings<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            text,
            problems: Vec::new(),
            offsets: BTreeMap::new(),
            known: BTreeMap::new(),
            unknown: Vec::new(),
            shapes: None,
        }
    }

    /// Collects what is asked for; there is nothing to be read.
    pub(crate) fn of_shapes() -> Self {
        Self {
            shapes: Some(Vec::new()),
            ..Self::new("", "")
        }
    }

    /// What was asked for so far, where that is collected.
    pub(crate) fn shapes(&mut self) -> Option<&mut Vec<Asked>> {
        self.shapes.as_mut()
    }

    pub(crate) fn error(
        &mut self,
        offset: usize,
        field: &str,
        message: String,
        hint: Option<String>,
    ) {
        self.add(ProblemSeverity::Error, offset, field, message, hint);
    }

    /// Notes that a section has this option.
    pub(crate) fn know(&mut self, label: &str, key: &'static str) {
        self.known.entry(label.to_owned()).or_default().insert(key);
    }

    /// Whether anybody asked for this option.
    pub(crate) fn knows(&self, label: &str, name: &str) -> bool {
        self.known
            .get(label)
            .is_some_and(|names| names.contains(name))
    }

    pub(crate) fn unknown(&mut self, unknown: Unknown) {
        self.unknown.push(unknown);
    }

    /// Notes where a field stands.
    pub(crate) fn place(&mut self, field: String, offset: usize) {
        self.offsets.insert(field, offset);
    }

    pub(crate) fn offset_of(&self, field: &str) -> Option<usize> {
        self.offsets.get(field).copied()
    }

    /// The line of an offset, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        line_of(self.text, offset)
    }

    pub(crate) fn add(
        &mut self,
        severity: ProblemSeverity,
        offset: usize,
        field: &str,
        message: String,
        hint: Option<String>,
    ) {
        let problem = Problem::of_file(self.file, message, hint).at(self.text, offset);
        self.problems.push(Problem {
            severity,
            field: field.to_owned(),
            ..problem
        });
    }

    /// Every option that was asked for, with the section that it is in.
    #[cfg(test)]
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let all = self.known.iter();
        all.flat_map(|(label, names)| names.iter().map(move |name| (label.as_str(), *name)))
    }

    /// All problems in the order of the file, and where each field stands.
    pub(crate) fn close(mut self) -> (Vec<Problem>, BTreeMap<String, usize>) {
        for unknown in std::mem::take(&mut self.unknown) {
            let hint = self.hint_for(&unknown);
            let Unknown {
                label,
                field,
                name,
                is_table,
                offset,
            } = unknown;
            let message = match (is_table, label.is_empty()) {
                (true, true) => format!("unknown section [{name}]"),
                (true, false) => format!("unknown section `{name}` in {label}"),
                (false, true) => format!("unknown option `{name}` at the top"),
                (false, false) => format!("unknown option `{name}` in {label}"),
            };
            self.error(offset, &field, message, Some(hint));
        }
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
        (self.problems, self.offsets)
    }

    fn hint_for(&self, unknown: &Unknown) -> String {
        let here = self.known.get(&unknown.label);
        let mut alike: Vec<(f64, &str)> = here
            .into_iter()
            .flatten()
            .map(|known| (strsim::jaro_winkler(known, &unknown.name), *known))
            .filter(|(likeness, _)| *likeness >= ALIKE)
            .collect();
        alike.sort_by(|a, b| b.0.total_cmp(&a.0));
        if let Some((_, nearest)) = alike.first() {
            return format!("did you mean `{nearest}`?");
        }
        let elsewhere = self
            .known
            .iter()
            .find(|(_, names)| names.contains(unknown.name.as_str()));
        match elsewhere {
            Some((label, _)) if label.is_empty() => {
                format!("`{}` belongs at the top, before any section", unknown.name)
            }
            Some((label, _)) => format!("`{}` belongs in {label}", unknown.name),
            None => {
                let names: Vec<&str> = here.into_iter().flatten().copied().collect();
                format!("known here: {}", names.join(", "))
            }
        }
    }
}
