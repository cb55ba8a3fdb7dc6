//! Damage of pages, rows and indexes, as a check found it.

use std::collections::BTreeMap;

use super::{Diagnosis, Look, NO_LOSS, boolean, first_of, integer, text};
use crate::model::{Candidate, CascadeLevel, Fact, Precondition};
use crate::target::sqlite::{DamagedObject, Integrity};

impl Look<'_> {
    pub(super) fn page_problems(&self, integrity: &Integrity) -> Vec<Diagnosis> {
        let mut by_object: BTreeMap<&DamagedObject, Vec<&str>> = BTreeMap::new();
        for fault in &integrity.faults {
            by_object
                .entry(&fault.object)
                .or_default()
                .push(&fault.message);
        }
        let unclean = |table: &str| {
            by_object.keys().any(|object| match object {
                DamagedObject::Table { table: t } => t == table,
                DamagedObject::Schema | DamagedObject::Pages => true,
                DamagedObject::Index { .. } => false,
            })
        };
        by_object
            .iter()
            .map(|(object, messages)| match object {
                DamagedObject::Index {
                    index,
                    table,
                    rebuildable,
                } => index_problem(index, table, *rebuildable, !unclean(table), messages),
                DamagedObject::Table { table } => {
                    let facts = vec![
                        text("table", table),
                        integer("faults", messages.len() as u64),
                    ];
                    self.lost_pages(
                        "table.corrupt",
                        table,
                        &format!("table `{table}`"),
                        facts,
                        messages,
                    )
                }
                DamagedObject::Schema => self.lost_pages(
                    "schema.corrupt",
                    "schema",
                    "the schema",
                    Vec::new(),
                    messages,
                ),
                DamagedObject::Pages => {
                    let facts = vec![integer("faults", messages.len() as u64)];
                    self.lost_pages(
                        "pages.corrupt",
                        "pages",
                        "the page structure",
                        facts,
                        messages,
                    )
                }
            })
            .collect()
    }

    /// Damage that no index rebuild mends.
    fn lost_pages(
        &self,
        kind: &str,
        subject: &str,
        what: &str,
        mut facts: Vec<Fact>,
        messages: &[&str],
    ) -> Diagnosis {
        facts.extend(self.snapshot_facts());
        Diagnosis {
            kind: kind.into(),
            subject: subject.into(),
            summary: format!("{what} is damaged: {}", first_of(messages)),
            severity: 0.95,
            facts,
            series: &["corruption_count"],
            candidates: Vec::new(),
        }
    }
}

fn index_problem(
    index: &str,
    table: &str,
    rebuildable: bool,
    table_clean: bool,
    messages: &[&str],
) -> Diagnosis {
    let condition = |name: &str, holds: bool, yes: &str, no: &str| Precondition {
        name: name.into(),
        holds,
        detail: if holds { yes.into() } else { no.into() },
    };
    Diagnosis {
        kind: "index.corrupt".into(),
        subject: index.into(),
        summary: format!(
            "index `{index}` does not agree with table `{table}`: {}",
            first_of(messages)
        ),
        severity: 0.7,
        facts: vec![
            text("index", index),
            text("table", table),
            boolean("table_clean", table_clean),
            integer("faults", messages.len() as u64),
            boolean("rebuildable", rebuildable),
        ],
        series: &["corruption_count"],
        candidates: vec![Candidate {
            id: "index.rebuild".into(),
            summary: format!("build index `{index}` again from table `{table}`"),
            level: CascadeLevel::InPlace,
            preconditions: vec![
                condition(
                    "table-clean",
                    table_clean,
                    "the table's own tree is sound",
                    "the table itself is damaged",
                ),
                condition(
                    "rebuildable",
                    rebuildable,
                    "REINDEX can build it",
                    "REINDEX cannot build it",
                ),
            ],
            expected_duration_ms: 2000,
            expected_loss: NO_LOSS,
            undoable: true,
        }],
    }
}
