//! Damage of pages, rows and indexes, as a check found it.

use std::collections::BTreeMap;

use super::virtuals::{self, FullText};
use super::{Diagnosis, Look, NO_LOSS, boolean, first_of, integer, text};
use crate::model::{Candidate, CascadeLevel, EXPECTED_LOCK_MS, Fact, Precondition, Value};
use crate::sqlite_state::{
    DamagedObject, HeaderFault, IndexComparison, Integrity, Mode, SchemaEntry, SoundTables,
};

/// What the last checks found when they compared an index with its table, by index. A check of a
/// part compares nothing: what it sees is read in the light of the last one that did.
#[derive(Debug, Clone, Default)]
pub(super) struct Comparisons(BTreeMap<String, IndexComparison>);

impl Comparisons {
    pub(super) fn follow(&mut self, integrity: &Integrity) {
        if integrity.mode == Mode::Full {
            self.0.clear();
        }
        let new = integrity.comparisons.iter();
        self.0
            .extend(new.map(|compared| (compared.index.clone(), compared.clone())));
    }
}

/// Of what is said of each full-text index, what weighs most: that is one problem, whatever else is said
/// of it.
fn weightiest<'a>(
    objects: impl Iterator<Item = &'a DamagedObject>,
) -> BTreeMap<&'a str, (u64, bool)> {
    let mut weightiest = BTreeMap::new();
    for object in objects {
        if let Some((table, weight)) = weight(object) {
            let known = weightiest.entry(table).or_insert(weight);
            *known = weight.max(*known);
        }
    }
    weightiest
}

/// A full-text index, how many documents only it knows, and whether it cannot be made again.
fn weight(object: &DamagedObject) -> Option<(&str, (u64, bool))> {
    match object {
        DamagedObject::FullText {
            table,
            rebuildable,
            documents_without_text,
            ..
        } => Some((table, (*documents_without_text, !rebuildable))),
        _ => None,
    }
}

impl Look<'_> {
    pub(super) fn page_problems(
        &self,
        integrity: &Integrity,
        comparisons: &Comparisons,
    ) -> Vec<Diagnosis> {
        let mut by_object: BTreeMap<&DamagedObject, Vec<&str>> = BTreeMap::new();
        // That the header is none is said of the file already, and nothing else was looked at.
        let is_said = |message: &str| {
            self.state.header_fault == Some(HeaderFault::NotADatabase)
                && message.starts_with("file is not a database")
        };
        let faults = integrity.faults.iter();
        for fault in faults.filter(|fault| !is_said(&fault.message)) {
            by_object
                .entry(&fault.object)
                .or_default()
                .push(&fault.message);
        }
        let unclean = |table: &str| {
            by_object.keys().any(|object| match object {
                DamagedObject::Table { table: t } => t == table,
                DamagedObject::Schema | DamagedObject::Pages => true,
                DamagedObject::Index { .. }
                | DamagedObject::SchemaEntry(_)
                | DamagedObject::FullText { .. }
                | DamagedObject::VirtualTable { .. } => false,
            })
        };
        let weightiest = weightiest(by_object.keys().copied());
        let is_said_of_its_whole = |object: &DamagedObject| {
            weight(object).is_some_and(|(table, weight)| weight < weightiest[table])
        };
        by_object
            .iter()
            .filter(|(object, _)| !is_said_of_its_whole(object))
            .map(|(object, messages)| match object {
                DamagedObject::Index {
                    index,
                    table,
                    rebuildable,
                } => {
                    let compared = comparisons.0.get(index).filter(|c| c.table == *table);
                    match compared.filter(|compared| compared.disagreements > 0) {
                        Some(compared) => disagreement(compared),
                        None => IndexFault {
                            index,
                            table,
                            rebuildable: *rebuildable,
                            table_clean: !unclean(table),
                            messages,
                            compared,
                            check_ms: integrity.duration_ms,
                        }
                        .problem(),
                    }
                }
                DamagedObject::Table { table } => self.table_problem(table, integrity, messages),
                DamagedObject::FullText {
                    table,
                    module,
                    content,
                    rebuildable,
                    documents_without_text,
                } => {
                    let text = content.clone().unwrap_or(format!("{table}_content"));
                    FullText {
                        table,
                        module,
                        content: content.as_deref(),
                        rebuildable: *rebuildable,
                        documents_without_text: *documents_without_text,
                        content_sound: !unclean(&text),
                        messages,
                        check_ms: integrity.duration_ms,
                    }
                    .problem()
                }
                DamagedObject::VirtualTable {
                    table,
                    module,
                    missing,
                } => virtuals::problem(table, module, missing, messages),
                DamagedObject::SchemaEntry(entry) => {
                    broken_entry(entry, others_are_sound(integrity), messages)
                }
                DamagedObject::Schema => {
                    let (kind, what) = ("schema.corrupt", "the schema");
                    self.lost_pages(kind, "schema", what, Vec::new(), messages)
                }
                DamagedObject::Pages => {
                    let facts = vec![integer("faults", messages.len() as u64)];
                    let (kind, what) = ("pages.corrupt", "the page structure");
                    self.lost_pages(kind, "pages", what, facts, messages)
                }
            })
            .collect()
    }

    /// A table's own tree is damaged.
    fn table_problem(&self, table: &str, integrity: &Integrity, messages: &[&str]) -> Diagnosis {
        let facts = vec![
            text("table", table),
            integer("faults", messages.len() as u64),
        ];
        let what = format!("table `{table}`");
        let mut problem = self.lost_pages("table.corrupt", table, &what, facts, messages);
        if let Some(sound) = &integrity.sound_tables {
            problem.facts.push(integer("sound_tables", sound.count));
            problem.summary.push_str(&beside(sound));
        }
        problem
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

/// Whether everything but entries of the schema was looked at and is sound.
fn others_are_sound(integrity: &Integrity) -> bool {
    let is_entry = |object: &DamagedObject| matches!(object, DamagedObject::SchemaEntry(_));
    integrity.mode == Mode::Full
        && integrity.error.is_none()
        && integrity.faults.iter().all(|fault| is_entry(&fault.object))
}

/// What is sound beside a damaged table.
fn beside(sound: &SoundTables) -> String {
    let named: Vec<String> = sound.names.iter().map(|name| format!("`{name}`")).collect();
    let others = sound.count - named.len() as u64;
    match (sound.count, others) {
        (0, _) => "; there is no other table that is known to be sound".to_owned(),
        (_, 0) => format!("; the other tables are sound: {}", named.join(", ")),
        _ => format!(
            "; {} other tables are sound: {} and {others} more",
            sound.count,
            named.join(", ")
        ),
    }
}

/// An entry of the schema that keeps everybody out. What is to become of it a person decides.
fn broken_entry(entry: &SchemaEntry, others_sound: bool, messages: &[&str]) -> Diagnosis {
    let SchemaEntry {
        name, kind, table, ..
    } = entry;
    let removal = entry.removal();
    let others = if others_sound {
        "; every other table and index was checked without it and is sound"
    } else {
        ""
    };
    let way_out = match &removal {
        Some(removal) => format!("; this takes the one entry out, on a copy first: {removal}"),
        None => "; its rows would go with it, so it must be corrected and not taken out: \
                 put the definition back that a backup or snapshot has"
            .to_owned(),
    };
    let mut facts = vec![
        text("entry", name),
        text("entry_type", kind),
        text("table", table),
        boolean("others_sound", others_sound),
        boolean("removable", removal.is_some()),
    ];
    facts.extend(removal.map(|removal| text("removal", &removal)));
    Diagnosis {
        kind: "schema.broken-entry".into(),
        subject: name.clone(),
        summary: format!(
            "one entry of the schema, {kind} `{name}` of table `{table}`, keeps every program from \
             reading anything ({}){others}{way_out}",
            first_of(messages)
        ),
        severity: 0.8,
        facts,
        series: &["corruption_count"],
        candidates: Vec::new(),
    }
}

/// Row and index say different things of the same row. Either may be the damaged one, and a rebuild
/// would make the row's word the only one: no repair is offered.
fn disagreement(compared: &IndexComparison) -> Diagnosis {
    let IndexComparison { index, table, .. } = compared;
    let mut facts = vec![
        text("index", index),
        text("table", table),
        integer("disagreements", compared.disagreements),
        integer("missing_entries", compared.missing_entries),
    ];
    let mut about = String::new();
    if let Some(first) = compared.examples.first() {
        let row = first.rowid.map_or_else(
            || "a row".to_owned(),
            |rowid| format!("the row of rowid {rowid}"),
        );
        if let Some(rowid) = first.rowid {
            facts.push(Fact {
                name: "rowid".into(),
                value: Value::Integer(rowid),
            });
        }
        facts.push(integer("entry", first.entry));
        about = match first.columns.first() {
            _ if first.not_belonging => {
                format!(": the index has an entry of {row}, which by its WHERE it should not have")
            }
            Some(column) if first.surplus => format!(
                ": the index has another entry of {row}, which differs in `{}`",
                column.column
            ),
            Some(column) => format!(
                ": {row} holds in `{}` {}, the index {}",
                column.column, column.row, column.entry
            ),
            None => format!(": an entry of {row}"),
        };
        if let Some(column) = first.columns.first() {
            facts.push(text("column", &column.column));
            facts.push(integer("row_bytes", column.row.bytes));
            facts.push(integer("entry_bytes", column.entry.bytes));
        }
        if compared.disagreements > 1 {
            about = format!("{about} (and {} more)", compared.disagreements - 1);
        }
    }
    Diagnosis {
        kind: "index.disagrees-with-row".into(),
        subject: index.clone(),
        summary: format!(
            "table `{table}` and its index `{index}` disagree, and which is right cannot be known\
             {about}"
        ),
        severity: 0.8,
        facts,
        series: &["corruption_count"],
        candidates: Vec::new(),
    }
}

/// What is proven of the entries that a rebuild removes.
fn what_goes(compared: &IndexComparison) -> String {
    let all = compared.removable.total();
    match compared.removable.without_row {
        0 => {
            format!("each of the {all} entries that go is proven to hold nothing that no row holds")
        }
        rows => format!(
            "of the {all} entries that go, {rows} have no row, and no other index of the table names one; \
             the others hold nothing that no row holds"
        ),
    }
}

/// An index that is at fault, and not its table as far as is known.
struct IndexFault<'a> {
    index: &'a str,
    table: &'a str,
    rebuildable: bool,
    table_clean: bool,
    messages: &'a [&'a str],
    compared: Option<&'a IndexComparison>,
    /// How long the check took that found it, milliseconds.
    check_ms: u64,
}

impl IndexFault<'_> {
    fn problem(&self) -> Diagnosis {
        let Self { index, table, .. } = self;
        let lock_ms = self.compared.and_then(|compared| compared.expected_lock_ms);
        let mut facts = vec![
            text("index", index),
            text("table", table),
            boolean("table_clean", self.table_clean),
            integer("faults", self.messages.len() as u64),
            boolean("rebuildable", self.rebuildable),
        ];
        if let Some(compared) = self.compared {
            facts.push(integer("missing_entries", compared.missing_entries));
            facts.push(integer("removable_entries", compared.removable.total()));
        }
        facts.extend(lock_ms.map(|ms| integer(EXPECTED_LOCK_MS, ms)));
        Diagnosis {
            kind: "index.corrupt".into(),
            subject: (*index).into(),
            summary: self.summary(),
            severity: 0.7,
            facts,
            series: &["corruption_count"],
            candidates: vec![Candidate {
                id: "index.rebuild".into(),
                summary: format!("build index `{index}` again from table `{table}`"),
                level: CascadeLevel::InPlace,
                preconditions: self.preconditions(),
                // It checks as much again before and after, and copies the database.
                expected_duration_ms: self
                    .check_ms
                    .saturating_mul(3)
                    .saturating_add(lock_ms.unwrap_or(2000)),
                expected_loss: NO_LOSS,
                undoable: true,
            }],
        }
    }

    /// Only a comparison of each entry with its row tells that it is the index, and not a row.
    fn summary(&self) -> String {
        let Self { index, table, .. } = self;
        let first = first_of(self.messages);
        match (self.table_clean, self.compared) {
            (false, _) => format!("index `{index}` is damaged, table `{table}` as well: {first}"),
            (true, Some(_)) => {
                format!("index `{index}` is damaged, table `{table}` is sound: {first}")
            }
            (true, None) => format!(
                "index `{index}` and table `{table}` do not agree, and which of them is right is not known: {first}"
            ),
        }
    }

    fn preconditions(&self) -> Vec<Precondition> {
        let condition = |name: &str, holds: bool, detail: String| Precondition {
            name: name.into(),
            holds,
            detail,
        };
        let chosen = |holds: bool, yes: &str, no: &str| if holds { yes } else { no }.to_owned();
        let (proven, entries) = match self.compared {
            None => (
                false,
                "its entries are not compared with the rows: a full check does, of a copy or while nobody writes".into(),
            ),
            Some(IndexComparison {
                unproven: Some(why),
                ..
            }) => (false, format!("not proven: {why}")),
            Some(compared) => (
                true,
                what_goes(compared),
            ),
        };
        let shared = self.compared.map_or(0, |compared| compared.shared_keys);
        vec![
            condition(
                "table-clean",
                self.table_clean,
                match (self.table_clean, self.compared) {
                    (false, _) => "the table itself is damaged".to_owned(),
                    (true, Some(_)) => "the table's own tree is sound".to_owned(),
                    (true, None) => "no damage of the table is known".to_owned(),
                },
            ),
            condition(
                "rebuildable",
                self.rebuildable,
                chosen(
                    self.rebuildable,
                    "REINDEX can build it",
                    "REINDEX cannot build it",
                ),
            ),
            condition("entries-proven", proven, entries),
            condition(
                "keys-unique",
                shared == 0,
                if shared == 0 {
                    "no two rows share a key that must be unique".into()
                } else {
                    format!(
                        "{shared} keys are shared by several rows, and the index must be unique: \
                         a person decides which of the rows stay"
                    )
                },
            ),
        ]
    }
}
