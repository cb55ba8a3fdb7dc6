//! What is wrong with the content of a sound file: rules that rows break, indexes of text and of
//! other modules, entries of the schema.
//!
//! None of it spreads, so nothing stops for it and no snapshot is refused; what becomes of a row
//! is for a person to decide.

use dbmedic_policy::{
    EscalationLevel, Facts as _, Finding, Reason,
    problems::{
        BrokenCheck, BrokenEntry, BrokenForeignKey, BrokenNotNull, BrokenType, BrokenUnique,
        BrokenVirtualTable, CorruptFullText, CorruptVirtualTable,
    },
    reason,
};

use crate::{Parameters, judgement::Judgement, suggestions};

/// Rows that were stored when the rule did not hold. Nobody else is kept from anything.
fn rule<'a>(
    reason: Reason,
    suggestion: &'static str,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    Judgement::obstacle(finding.severity, parameters)
        .because(reason)
        .suggest(suggestion)
}

fn rows(rows: Option<u64>) -> String {
    rows.map_or_else(|| "rows".to_owned(), |rows| format!("{rows} rows"))
}

pub(crate) fn check<'a>(
    broken: &BrokenCheck<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let table = broken.table.unwrap_or(&finding.subject);
    let reason = reason!(
        "rule.check",
        "{} of {table} break a CHECK; the file is sound",
        rows(broken.rows)
    );
    rule(reason, suggestions::CORRECT_ROWS, finding, parameters)
}

pub(crate) fn not_null<'a>(
    broken: &BrokenNotNull<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let reason = reason!(
        "rule.not-null",
        "{} hold NULL in {}, which is NOT NULL; the file is sound",
        rows(broken.rows),
        finding.subject
    );
    rule(reason, suggestions::CORRECT_ROWS, finding, parameters)
}

pub(crate) fn type_of<'a>(
    broken: &BrokenType<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let reason = reason!(
        "rule.type",
        "{} hold another type in {} than the column has; the file is sound",
        rows(broken.rows),
        finding.subject
    );
    rule(reason, suggestions::CORRECT_ROWS, finding, parameters)
}

pub(crate) fn unique<'a>(
    broken: &BrokenUnique<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let reason = reason!(
        "rule.unique",
        "{} share {} keys of the unique index {}: it cannot be built again before a person decides \
         which of them stay",
        rows(broken.rows),
        broken.keys.unwrap_or(1),
        broken.index.unwrap_or(&finding.subject)
    );
    rule(reason, suggestions::DUPLICATES, finding, parameters).at_least(EscalationLevel::Warn)
}

pub(crate) fn foreign_key<'a>(
    broken: &BrokenForeignKey<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let reason = reason!(
        "rule.foreign-key",
        "{} of {} have no parent in {}; the file is sound",
        rows(broken.rows),
        broken.table.unwrap_or(&finding.subject),
        broken.parent.unwrap_or("another table")
    );
    rule(reason, suggestions::ORPHANS, finding, parameters)
}

/// The text is sound and the index is made of nothing else, so little can go wrong.
const REBUILD_CONFIDENCE: f64 = 0.9;
const REBUILD: &str = "fulltext.rebuild";

/// A damaged full-text index. Its text lies elsewhere, and searching fails or misses rows meanwhile.
pub(crate) fn full_text<'a>(
    index: &CorruptFullText<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let table = index.table.unwrap_or(&finding.subject);
    if index.rebuildable == Some(true) {
        let judgement = Judgement::obstacle(finding.severity, parameters)
            .at_least(EscalationLevel::Warn)
            .because(reason!(
                "fulltext.damaged",
                "the full-text index {table} is damaged; the text it was derived from is sound"
            ));
        // A host that cannot do it leaves it to a person.
        return if finding.candidate(REBUILD).is_some() {
            judgement.wish(REBUILD, REBUILD_CONFIDENCE)
        } else {
            judgement.suggest(suggestions::FULLTEXT_REBUILD)
        };
    }
    Judgement::wall()
        .because(reason!(
            "fulltext.not-rebuildable",
            "the full-text index {table} is damaged and cannot be made again in place"
        ))
        .suggest(match index.documents_without_text {
            Some(1..) => suggestions::FULLTEXT_LOST,
            _ => suggestions::FULLTEXT_FILL,
        })
}

/// A module contradicts itself; nobody knows whether what it holds can be made again.
pub(crate) fn virtual_table<'a>(
    table: &CorruptVirtualTable<'_>,
    finding: &Finding,
) -> Judgement<'a> {
    Judgement::wall()
        .because(reason!(
            "virtual-table.damaged",
            "virtual table {} of module {} contradicts itself",
            table.table.unwrap_or(&finding.subject),
            table.module.unwrap_or("of unknown name")
        ))
        .suggest(suggestions::VIRTUAL_FILL)
}

/// Tables are gone that a virtual table is made of: whoever uses it gets an error, and others do not.
pub(crate) fn virtual_table_broken<'a>(
    table: &BrokenVirtualTable<'_>,
    finding: &Finding,
) -> Judgement<'a> {
    Judgement::wall()
        .because(reason!(
            "virtual-table.broken",
            "virtual table {} cannot be used: {} gone",
            table.table.unwrap_or(&finding.subject),
            table.missing.unwrap_or("tables it is made of are")
        ))
        .suggest(suggestions::VIRTUAL_ENTRY)
}

/// One entry of the schema keeps everybody out.
pub(crate) fn entry<'a>(entry: &BrokenEntry<'_>, finding: &Finding) -> Judgement<'a> {
    let judgement = Judgement::wall().because(reason!(
        "schema.broken-entry",
        "the schema entry {} keeps every program from reading anything",
        entry.entry.unwrap_or(&finding.subject)
    ));
    let judgement = if entry.others_sound == Some(true) {
        judgement.because(reason!(
            "schema.others-sound",
            "everything else was checked without it and is sound"
        ))
    } else {
        judgement
    };
    judgement.suggest(if entry.removable == Some(false) {
        suggestions::CORRECT_ENTRY
    } else {
        suggestions::TAKE_ENTRY_OUT
    })
}
