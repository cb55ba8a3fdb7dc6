//! Whether the database's files are there and begin as they should.

use super::{Diagnosis, Look, integer};
use crate::target::sqlite::HeaderFault;

impl Look<'_> {
    pub(super) fn file_problems(&self) -> Vec<Diagnosis> {
        let problem = |kind: &str, summary: String, severity, facts| Diagnosis {
            kind: kind.into(),
            subject: "database file".into(),
            summary,
            severity,
            facts,
            series: &["database_bytes"],
            candidates: Vec::new(),
        };
        let mut problems = Vec::new();
        if self.state.database_bytes.is_none() {
            problems.push(problem(
                "file.missing",
                "the database file is missing".into(),
                0.9,
                self.snapshot_facts(),
            ));
        }
        match &self.state.header_fault {
            Some(HeaderFault::NotADatabase) => problems.push(problem(
                "file.not-a-database",
                "the file does not begin like a SQLite database".into(),
                0.9,
                self.snapshot_facts(),
            )),
            Some(HeaderFault::Truncated {
                expected_pages,
                actual_pages,
            }) => {
                let mut facts = vec![
                    integer("expected_pages", *expected_pages),
                    integer("actual_pages", *actual_pages),
                ];
                facts.extend(self.snapshot_facts());
                problems.push(problem(
                    "file.truncated",
                    format!(
                        "the header counts {expected_pages} pages, the file holds {actual_pages}"
                    ),
                    0.9,
                    facts,
                ));
            }
            None => {}
        }
        problems
    }
}
