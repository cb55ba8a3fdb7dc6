//! Virtual tables that are damaged, or of which a part is gone. What a full-text index holds was
//! made from text that lies elsewhere: no row is lost with it.

use super::{Diagnosis, NO_LOSS, boolean, first_of, integer, text};
use crate::model::{Candidate, CascadeLevel, Precondition};

/// A damaged full-text index.
pub(super) struct FullText<'a> {
    pub(super) table: &'a str,
    pub(super) module: &'a str,
    /// As in [`DamagedObject::FullText`](crate::sqlite_state::DamagedObject::FullText).
    pub(super) content: Option<&'a str>,
    pub(super) rebuildable: bool,
    /// Documents that the index knows, and the table with the text does not have.
    pub(super) documents_without_text: u64,
    /// Whether nothing is known against the table that holds the text.
    pub(super) content_sound: bool,
    pub(super) messages: &'a [&'a str],
    /// How long the check took that found it, milliseconds.
    pub(super) check_ms: u64,
}

/// What building the index again is expected to take beside the checks, milliseconds.
const REBUILD_MS: u64 = 2000;

impl FullText<'_> {
    pub(super) fn problem(&self) -> Diagnosis {
        let Self { table, module, .. } = self;
        let rebuildable = self.rebuildable && self.content_sound;
        let (content, how) = match self.content {
            None => (
                "own",
                "it can be made again from its own content".to_owned(),
            ),
            Some("") => (
                "none",
                "it keeps no text to make it again from: the application has to fill it again"
                    .to_owned(),
            ),
            Some(other) => (other, format!("it can be made again from table `{other}`")),
        };
        let documents = self.documents_without_text;
        let how = if rebuildable || content == "none" {
            how
        } else if documents > 0 {
            let source = match self.content {
                Some(other) => other.to_owned(),
                None => format!("{table}_content"),
            };
            format!(
                "it knows {documents} documents of which table `{source}` has no text: either the \
                 table lost it, or the index kept what was deleted. A rebuild would delete \
                 the last trace of them; compare with a backup first"
            )
        } else if self.content_sound {
            "it cannot be made again in place: drop the full-text table, create and fill it again"
                .to_owned()
        } else {
            "the text it is made from is damaged as well".to_owned()
        };
        Diagnosis {
            kind: "fulltext.corrupt".into(),
            subject: (*table).into(),
            summary: format!(
                "the full-text index `{table}` is damaged, {how}: {}",
                first_of(self.messages)
            ),
            severity: 0.6,
            facts: vec![
                text("table", table),
                text("module", module),
                text("content", content),
                boolean("content_sound", self.content_sound),
                boolean("rebuildable", rebuildable),
                integer("faults", self.messages.len() as u64),
            ]
            .into_iter()
            .chain((documents > 0).then(|| integer("documents_without_text", documents)))
            .collect(),
            series: &["corruption_count"],
            candidates: self.candidate(rebuildable).into_iter().collect(),
        }
    }

    /// The rebuild by its own module, where there is text that it can be made from.
    fn candidate(&self, rebuildable: bool) -> Option<Candidate> {
        let table = self.table;
        let source = match self.content {
            Some("") => return None,
            Some(other) => format!("table `{other}`"),
            None => "its own content".to_owned(),
        };
        rebuildable.then(|| Candidate {
            id: "fulltext.rebuild".into(),
            summary: format!("build the full-text index `{table}` again from {source}"),
            level: CascadeLevel::InPlace,
            preconditions: vec![Precondition {
                name: "text-sound".into(),
                holds: true,
                detail: format!("nothing is known against {source}"),
            }],
            // It checks as much again before, in the rehearsal and after, and copies the database.
            expected_duration_ms: self.check_ms.saturating_mul(4).saturating_add(REBUILD_MS),
            expected_loss: NO_LOSS,
            undoable: true,
        })
    }
}

/// A virtual table of another module, or one that a table is missing of.
pub(super) fn problem(
    table: &str,
    module: &str,
    missing: &[String],
    messages: &[&str],
) -> Diagnosis {
    let mut facts = vec![text("table", table), text("module", module)];
    let (kind, summary, severity) = if missing.is_empty() {
        facts.push(integer("faults", messages.len() as u64));
        (
            "virtual-table.corrupt",
            format!(
                "what virtual table `{table}` ({module}) holds contradicts itself, other tables \
                 are not concerned: {}",
                first_of(messages).replace('\n', " ")
            ),
            0.7,
        )
    } else {
        let missing = missing.join(", ");
        facts.push(text("missing", &missing));
        (
            "virtual-table.broken",
            format!(
                "virtual table `{table}` ({module}) cannot be used: of the tables it is made of \
                 these are gone: {missing}; no other table is concerned"
            ),
            0.6,
        )
    };
    Diagnosis {
        kind: kind.into(),
        subject: table.into(),
        summary,
        severity,
        facts,
        series: &[],
        candidates: Vec::new(),
    }
}
