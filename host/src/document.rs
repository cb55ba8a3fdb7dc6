//! TOML that a person wrote: read option by option, with every mistake by file, line and field, and
//! what would be right. The configuration and the test cases of policies are read by it.

mod findings;
mod problem;
mod section;
mod shape;

use toml::de::DeTable;

pub use problem::{DocumentErrors, Problem, ProblemSeverity};

pub(crate) use findings::Findings;
pub(crate) use problem::line_of;
pub(crate) use section::{Section, TextOrNumbers, settings};
pub(crate) use shape::{Asked, schema};

/// Reads a text that stands in `file`. What `read` does not ask for is a mistake; where it hands back
/// nothing, the rest is not judged.
pub(crate) fn read<T>(
    text: &str,
    file: &str,
    read: impl FnOnce(&mut Section<'_, '_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), DocumentErrors> {
    let mut findings = Findings::new(file, text);
    let (table, mistakes) = DeTable::parse_recoverable(text);
    for mistake in &mistakes {
        let offset = mistake.span().map_or(0, |span| span.start);
        findings.error(offset, "", mistake.message().to_owned(), None);
    }
    if !mistakes.is_empty() {
        // What is left after a broken line would be judged by what it is not.
        return Err(DocumentErrors(findings.close().0));
    }
    let mut root = Section::root(&mut findings, table.get_ref());
    let value = read(&mut root);
    if value.is_some() {
        root.finish();
    }
    let (problems, _) = findings.close();
    let faulty = problems
        .iter()
        .any(|problem| problem.severity == ProblemSeverity::Error);
    match value {
        Some(value) if !faulty => Ok((value, problems)),
        _ => Err(DocumentErrors(problems)),
    }
}

/// Whether the file is one that can be judged.
pub(crate) fn version(root: &mut Section<'_, '_>, ours: u32) -> bool {
    if !root.has("version") {
        let hint = format!("begin the file with `version = {ours}`");
        root.error("version", "`version` is missing", hint);
        return true;
    }
    let Some(found) = root.finite("version", &format!("`version = {ours}`")) else {
        return true;
    };
    let known = (found - f64::from(ours)).abs() < f64::EPSILON;
    if !known {
        let message = format!("version {found} is unknown, this dbmedic reads version {ours}");
        root.error("version", message, "use the dbmedic that the file is for");
    }
    known
}

/// Which options a reader asks for.
pub(crate) fn options(read: impl FnOnce(&mut Section<'_, '_>)) -> Vec<Asked> {
    let mut findings = Findings::of_shapes();
    read(&mut Section::nothing(&mut findings));
    findings.shapes().map(std::mem::take).unwrap_or_default()
}

/// A name in a table, as a path.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
