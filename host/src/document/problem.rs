//! What is wrong or odd in a document, told by file, line, field, and what would be right.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::escape::Escaped;

/// Characters of a line that are shown at most.
const EXCERPT_CHARS: usize = 160;

/// Whether a problem stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemSeverity {
    /// The configuration cannot be used.
    Error,
    /// Valid, but unusual.
    Warning,
}

/// One thing that is wrong or odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it stands in the way.
    pub severity: ProblemSeverity,
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1; none when it concerns the whole file.
    pub line: Option<usize>,
    /// The column, counted in characters from 1.
    pub column: Option<usize>,
    /// The field's path, for example `observation.sample_interval_ms` or `targets[0].name`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// The line's text.
    #[serde(skip)]
    pub excerpt: String,
}

impl Problem {
    /// A problem of the whole file.
    pub(crate) fn of_file(file: &str, message: String, hint: Option<String>) -> Self {
        Self {
            severity: ProblemSeverity::Error,
            file: file.to_owned(),
            line: None,
            column: None,
            field: String::new(),
            message,
            hint,
            excerpt: String::new(),
        }
    }

    /// The same problem at a byte offset of the file's text.
    pub(crate) fn at(mut self, text: &str, offset: usize) -> Self {
        let offset = text.floor_char_boundary(offset);
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.line = Some(line_of(text, offset));
        self.column = Some(text[start..offset].chars().count() + 1);
        self.excerpt = text[start..]
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(EXCERPT_CHARS)
            .collect();
        self
    }
}

/// The line of a byte offset, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let offset = text.floor_char_boundary(offset);
    text[..offset].bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// `dbmedic.toml:7:1: unknown option ...`, the line itself, and a hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file_and_place(f)?;
        write!(f, ": {}", Escaped(&self.message))?;
        if let Some(line) = self.line {
            let excerpt = Escaped(self.excerpt.trim_end());
            write!(f, "\n  {line} | {excerpt}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {}", Escaped(hint))?;
        }
        Ok(())
    }
}

impl Problem {
    /// The same in one line, for where there is no room for more.
    pub fn in_one_line(&self) -> String {
        struct OneLine<'a>(&'a Problem);
        impl fmt::Display for OneLine<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.file_and_place(f)?;
                write!(f, ": {}", Escaped(&self.0.message))?;
                match &self.0.hint {
                    Some(hint) => write!(f, "; {}", Escaped(hint)),
                    None => Ok(()),
                }
            }
        }
        OneLine(self).to_string()
    }

    fn file_and_place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(&self.file))?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if self.severity == ProblemSeverity::Warning {
            f.write_str(": warning")?;
        }
        Ok(())
    }
}

/// Everything that keeps a document from being used, in the order of the file, warnings
/// included. There is at least one error. Serialises as the list of problems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DocumentErrors(pub Vec<Problem>);

impl DocumentErrors {
    /// One problem of the whole file.
    pub(crate) fn of_file(path: &Path, message: String, hint: Option<String>) -> Self {
        let file = path.display().to_string();
        Self(vec![Problem::of_file(&file, message, hint)])
    }
}

impl fmt::Display for DocumentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentErrors {}
