//! Virtual tables that are damaged, or of which a part is gone. What a full-text index holds was
//! made from text that lies elsewhere: no row is lost with it.

use super::{Diagnosis, boolean, first_of, integer, text};

/// A damaged full-text index.
pub(super) struct FullText<'a> {
    pub(super) table: &'a str,
    pub(super) module: &'a str,
    /// As in [`DamagedObject::FullText`](crate::target::sqlite::DamagedObject::FullText).
    pub(super) content: Option<&'a str>,
    pub(super) rebuildable: bool,
    /// Whether nothing is known against the table that holds the text.
    pub(super) content_sound: bool,
    pub(super) messages: &'a [&'a str],
}

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
        let how = if rebuildable || content == "none" {
            how
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
            ],
            series: &["corruption_count"],
            candidates: Vec::new(),
        }
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
