//! Damaged, missing and unreachable databases (specification 4.2, 5.1).
//!
//! Corruption that no offered repair removes is a crisis: stop first, understand later.

use dbmedic_policy::{
    CascadeLevel, EscalationLevel, Finding,
    problems::{
        CorruptIndex, CorruptPages, CorruptTable, DisagreeingRow, HotJournal, MissingFile,
        NotADatabase, TruncatedFile, Unreachable,
    },
    reason, seconds,
};

use crate::{Case, Parameters, judgement::Judgement, repairs, suggestions};

/// The table is sound and holds all the index holds, so little can go wrong.
const REBUILD_CONFIDENCE: f64 = 0.9;
/// As for the damaged log: what came after the snapshot is lost.
const RESTORE_CONFIDENCE: f64 = 0.8;

/// An index over a sound table is rebuilt; over a damaged one it would be built from damage.
pub(crate) fn index<'a>(
    index: &CorruptIndex<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let (Some(table_clean), Some(rebuildable)) = (index.table_clean, index.rebuildable) else {
        return Judgement::fact_missing(finding, "table_clean, rebuildable");
    };
    let name = index.index.unwrap_or(&finding.subject);
    let table = index.table.unwrap_or("its table");
    if !table_clean {
        return corruption(reason!(
            "index.table-damaged",
            "index {name} is damaged and so is {table}: a rebuild would spread the damage"
        ));
    }
    if !rebuildable {
        let mut judgement = Judgement::wall()
            .because(reason!(
                "index.not-rebuildable",
                "index {name} cannot be built anew"
            ))
            .suggest(suggestions::SALVAGE);
        judgement.corruption = true;
        return judgement;
    }
    let faults = index.faults.unwrap_or(0);
    Judgement::mendable_corruption(finding.severity, parameters)
        .because(reason!(
            "index.damaged",
            "index {name} has {faults} faults; {table} is sound"
        ))
        .wish("index.rebuild", REBUILD_CONFIDENCE)
}

fn corruption<'a>(reason: dbmedic_policy::Reason) -> Judgement<'a> {
    let mut judgement = Judgement::crisis()
        .because(reason)
        .suggest(suggestions::SALVAGE);
    judgement.corruption = true;
    judgement
}

/// Row and index disagree: to rebuild the index would make the row's value the only one, and it may
/// be the damaged one. Nothing else of the database is in doubt, so it need not stop.
pub(crate) fn disagreeing<'a>(row: &DisagreeingRow<'_>, finding: &Finding) -> Judgement<'a> {
    let mut judgement = Judgement::wall()
        .because(reason!(
            "index.disagrees-with-row",
            "index {1} and {2} disagree in {0} places: only a person can know which is right",
            row.disagreements.unwrap_or(1),
            row.index.unwrap_or(&finding.subject),
            row.table.unwrap_or("its table")
        ))
        .suggest(suggestions::CHOOSE_VALUE);
    judgement.corruption = true;
    judgement
}

/// Rows are damaged: every write may make it worse.
pub(crate) fn table<'a>(table: &CorruptTable<'_>) -> Judgement<'a> {
    corruption(reason!(
        "table.damaged",
        "table {} has {} faults",
        table.table.unwrap_or("of unknown name"),
        table.faults.unwrap_or(0)
    ))
}

/// Without a schema nothing can be read rightly.
pub(crate) fn schema<'a>() -> Judgement<'a> {
    corruption(reason!("schema.damaged", "the schema is damaged"))
}

/// Pages are damaged that nobody can name.
pub(crate) fn pages<'a>(pages: &CorruptPages) -> Judgement<'a> {
    corruption(reason!(
        "pages.damaged",
        "{} faults in pages of no known table",
        pages.faults.unwrap_or(0)
    ))
}

/// A writer would reuse the page numbers of what was cut off.
pub(crate) fn truncated<'a>(file: &TruncatedFile) -> Judgement<'a> {
    let pages = |pages: Option<u64>| pages.map_or_else(|| "?".into(), |pages| pages.to_string());
    corruption(reason!(
        "file.truncated",
        "{} of {} pages are there",
        pages(file.actual_pages),
        pages(file.expected_pages)
    ))
}

/// Its beginning was overwritten, or it never was one.
pub(crate) fn not_a_database<'a>(file: NotADatabase) -> Judgement<'a> {
    if file.other_pages_sound == Some(true) {
        let mut judgement = Judgement::crisis()
            .because(reason!(
                "file.first-page-lost",
                "the first page is not that of a database, the others look like one: they are not lost"
            ))
            .suggest(suggestions::FIRST_PAGE);
        judgement.corruption = true;
        return judgement;
    }
    corruption(reason!(
        "file.not-a-database",
        "the file does not begin like a database"
    ))
    .suggest(suggestions::HEADER)
}

/// A missing file is restored when the host offers a snapshot that is young enough. A person is
/// called either way: files do not go by themselves.
pub(crate) fn missing<'a>(file: &MissingFile, finding: &'a Finding) -> Judgement<'a> {
    let judgement = Judgement::wall().suggest(suggestions::FIND_FILE);
    let candidates = finding.candidates.iter();
    let restore = repairs::least_risk(candidates.filter(|c| c.level == CascadeLevel::Snapshot));
    let age = file.snapshot_age_ms.map_or_else(
        || "of unknown age".into(),
        |age| format!("{} old", seconds(age)),
    );
    match (file.has_recent_snapshot, restore) {
        (Some(true), Some(restore)) => Judgement {
            class: Some(dbmedic_policy::Classification::Obstacle),
            ..judgement
        }
        .because(reason!(
            "file.restorable",
            "the file is gone; a snapshot is {age}"
        ))
        .wish(&restore.id, RESTORE_CONFIDENCE),
        (Some(true), None) => judgement.because(reason!(
            "file.missing",
            "the file is gone; a snapshot is {age}, but its restore is not offered"
        )),
        _ => judgement.because(reason!(
            "file.missing",
            "the file is gone and there is no recent snapshot"
        )),
    }
}

/// The next one who opens the database rolls the dead writer's transaction back; deleting the
/// journal would be the damage.
pub(crate) fn hot_journal<'a>(
    journal: &HotJournal,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    Judgement::hiccup(finding.severity, parameters)
        .at_least(EscalationLevel::Watch)
        .because(reason!(
            "journal.rolls-back",
            "a journal of {} bytes is left over; the next who opens the database rolls it back",
            journal.journal_bytes.unwrap_or(0)
        ))
}

/// An unreachable target is a hiccup at first and a wall after `unreachable_person_ms`.
pub(crate) fn unreachable<'a>(
    target: &Unreachable<'_>,
    finding: &Finding,
    case: &Case<'_>,
) -> Judgement<'a> {
    let gone_ms = case.now_ms().saturating_sub(finding.first_seen_ms);
    let limit_ms = case.parameters.unreachable_person_ms;
    let text = format!(
        "unreachable for {}, threshold {}: {}",
        seconds(gone_ms),
        seconds(limit_ms),
        target.reason.unwrap_or("no reason given")
    );
    if gone_ms <= limit_ms {
        Judgement::hiccup(finding.severity, case.parameters)
            .at_least(EscalationLevel::Watch)
            .because(reason!("target.unreachable-briefly", "{text}"))
    } else {
        Judgement::wall()
            .because(reason!("target.unreachable", "{text}"))
            .suggest(suggestions::CONNECTION)
    }
}
