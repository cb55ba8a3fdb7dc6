//! Rules of the schema that rows break, as a check found them. The file is sound: what is to become
//! of such rows is for a person to decide, so no repair is offered.

use super::{Diagnosis, integer, text};
use crate::model::{Fact, Value};
use crate::sqlite_state::{BrokenRule, Integrity, Rule};

/// Broken rules that are reported one by one.
const MOST_REPORTED: usize = 50;

pub(super) fn problems(integrity: &Integrity) -> impl Iterator<Item = Diagnosis> + '_ {
    integrity
        .broken_rules
        .iter()
        .take(MOST_REPORTED)
        .map(problem)
}

fn problem(broken: &BrokenRule) -> Diagnosis {
    let BrokenRule { table, rows, .. } = broken;
    let columns = broken.columns.join(", ");
    let of_columns = match broken.columns.as_slice() {
        [] => table.clone(),
        [one] => format!("{table}.{one}"),
        _ => format!("{table}({columns})"),
    };
    let mut facts = vec![text("table", table), integer("rows", *rows)];
    if !columns.is_empty() {
        facts.push(text("columns", &columns));
    }
    let (kind, subject, summary) = match broken.rule {
        Rule::Check => (
            "rule.check",
            table.clone(),
            format!("{} of table `{table}` break a CHECK", counted(*rows)),
        ),
        Rule::NotNull => (
            "rule.not-null",
            of_columns.clone(),
            format!(
                "{} of table `{table}` hold NULL in `{columns}`, which is NOT NULL",
                counted(*rows)
            ),
        ),
        Rule::Type => (
            "rule.type",
            of_columns.clone(),
            format!(
                "{} of table `{table}` hold a value in `{columns}` that is not of the column's type",
                counted(*rows)
            ),
        ),
        Rule::Unique => {
            let index = broken.index.as_deref().unwrap_or_default();
            let keys = broken.keys.unwrap_or(0);
            facts.push(text("index", index));
            facts.push(integer("keys", keys));
            (
                "rule.unique",
                index.to_owned(),
                format!(
                    "{} of table `{table}` share {keys} keys that are to be unique by index \
                     `{index}`: duplicates in {columns}",
                    counted(*rows)
                ),
            )
        }
        Rule::ForeignKey => {
            let parent = broken.parent.as_deref().unwrap_or_default();
            facts.push(text("parent", parent));
            let missing = if broken.parent_missing {
                ", which does not exist"
            } else {
                ""
            };
            (
                "rule.foreign-key",
                of_columns,
                format!(
                    "{} of table `{table}` have no parent in table `{parent}`{missing}, which \
                     their foreign key ({columns}) asks for",
                    counted(*rows)
                ),
            )
        }
    };
    let mut summary = summary;
    if let Some(first) = broken.rowids.first() {
        facts.push(Fact {
            name: "rowid".into(),
            value: Value::Integer(*first),
        });
        let all: Vec<String> = broken.rowids.iter().map(ToString::to_string).collect();
        let all = all.join(", ");
        let first = if *rows > broken.rowids.len() as u64 {
            "first rowids"
        } else {
            "rowids"
        };
        summary = format!("{summary} ({first} {all})");
        facts.push(text("rowids", &all));
    }
    Diagnosis {
        kind: kind.into(),
        subject,
        summary,
        severity: 0.3,
        facts,
        series: &[],
        candidates: Vec::new(),
    }
}

fn counted(rows: u64) -> String {
    match rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    }
}
