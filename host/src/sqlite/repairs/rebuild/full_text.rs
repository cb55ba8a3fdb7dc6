//! A full-text index, built again by its module's own 'rebuild'.
//!
//! It reads the text from the table that holds it and throws the old words away. Where the text was
//! damaged, these are the last that is known of it: so each word that can still be read must be in the new
//! index, at the same place of the same document. Where the table is not the index's own, the application
//! put the words in, and may have put in others than the text has (without markup, stemmed, of some rows
//! only): that it did not is proven with the same, and with the number of words of each row, which the index
//! keeps.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::super::InRepair as _;
use super::super::text_fact;
use super::proven::{Derived, Goes, Rows, faults};
use super::words::{Compared, Words};
use crate::model::Finding;
use crate::repair::RepairError;
use crate::sqlite::integrity::{FullTextTable, against_rebuild, full_text, quoted};
use crate::sqlite_state::{DamagedObject, IntegrityFault};

/// Documents that are named.
const MOST_NAMED: usize = 5;

/// A full-text index and the table with its text.
pub(super) struct FullText {
    table: String,
    module: String,
    /// The table that holds the text.
    source: String,
    /// Whether that table is the index's own.
    is_own: bool,
}

impl FullText {
    /// The index that a finding is about.
    pub(super) fn of(finding: &Finding) -> Result<Self, RepairError> {
        let table = text_fact(finding, "table")?;
        let content = text_fact(finding, "content")?;
        let is_own = content == "own";
        Ok(Self {
            module: text_fact(finding, "module")?,
            source: if is_own {
                format!("{table}_content")
            } else {
                content
            },
            is_own,
            table,
        })
    }

    /// Whether its words can be made again, and no document is known to it alone.
    fn may_be_rebuilt(&self, db: &Connection) -> Result<(), RepairError> {
        match against_rebuild(db, &self.table).in_repair()? {
            None => Ok(()),
            Some(detail) => Err(RepairError::Unmet {
                name: "text-whole",
                detail,
            }),
        }
    }

    fn command(&self, command: &str, rank: bool) -> String {
        let table = quoted(&self.table);
        if rank {
            format!("INSERT INTO main.{table}({table}, rank) VALUES('{command}', 1);")
        } else {
            format!("INSERT INTO main.{table}({table}) VALUES('{command}');")
        }
    }

    /// A digest of how many words each row has, as the index knows it; none where it does not.
    fn sizes(&self, db: &Connection) -> Result<Option<Rows>, RepairError> {
        self.keeps_sizes(db)?
            .then(|| Rows::of(db, &self.sizes_sql()))
            .transpose()
    }

    /// The statement that gives each document that the index knows, and how many words it has.
    fn sizes_sql(&self) -> String {
        let (id, sizes) = match self.module.as_str() {
            "fts5" => ("id", "sz"),
            _ => ("docid", "size"),
        };
        format!(
            "SELECT {id}, {sizes} FROM main.{} ORDER BY {id}",
            quoted(&self.sizes_table())
        )
    }

    /// The table in which the index keeps which rows it knows, and how many words each has.
    fn sizes_table(&self) -> String {
        format!("{}_docsize", self.table)
    }

    /// Whether it does; without it nobody knows of a row that was lost.
    fn keeps_sizes(&self, db: &Connection) -> Result<bool, RepairError> {
        db.query_row(
            "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?1",
            [self.sizes_table()],
            |row| row.get(0),
        )
        .in_repair()
    }

    fn words(&self) -> Words<'_> {
        Words {
            table: &self.table,
            module: &self.module,
        }
    }

    /// Whether each word of the damaged index, as far as it can be read, is in the rebuilt one.
    fn words_kept(&self, before: &Connection, after: &Connection) -> Result<Compared, RepairError> {
        let unmet = |detail: String| {
            Err(RepairError::Unmet {
                name: "words-kept",
                detail,
            })
        };
        let (table, source) = (&self.table, &self.source);
        if self.has_languages(before)? {
            return unmet(format!(
                "`{table}` has words of several languages (languageid=), which cannot be compared"
            ));
        }
        let compared = self.words().compare(before, after)?;
        let whose = "either the text was damaged or the index, and a rebuild would delete the last trace of \
                     what is lost: compare them with a backup";
        if compared.gone > 0 {
            return unmet(format!(
                "`{table}` knows {} that the text of table `{source}` does not hold{}: {whose}",
                counted(compared.gone, "place of a word", "places of words"),
                named(&compared.documents),
            ));
        }
        let documents = self.documents_of_other_size(before, after)?;
        if self.is_own && documents > 0 {
            return unmet(format!(
                "the text of table `{source}` has another number of words than `{table}` knows of {}: {whose}",
                counted(documents, "document", "documents")
            ));
        }
        Ok(compared)
    }

    /// Why it is not known that the old index held nothing that the text does not hold.
    fn doubt(&self, compared: &Compared) -> Option<String> {
        let table = &self.table;
        if !compared.is_whole {
            return Some(format!(
                "parts of `{table}` could not be read or are missing, so it is not known whether they held words \
                 that the text of `{}` does not hold",
                self.source
            ));
        }
        // Its words are told with their numbers only.
        (self.module != "fts5").then(|| {
            format!(
                "of `{table}` it was compared which words it holds and how often, not in which rows and in which \
                 order they stand"
            )
        })
    }

    /// Whether FTS4 keeps apart the words of several languages: the last hidden column has the name that
    /// is given for them.
    fn has_languages(&self, db: &Connection) -> Result<bool, RepairError> {
        if self.module == "fts5" {
            return Ok(false);
        }
        let last: String = db
            .query_row(
                "SELECT name FROM pragma_table_xinfo(?1) ORDER BY cid DESC LIMIT 1",
                [&self.table],
                |row| row.get(0),
            )
            .in_repair()?;
        Ok(last != "__langid")
    }

    /// Of how many documents that both know the number of words is another one.
    fn documents_of_other_size(
        &self,
        before: &Connection,
        after: &Connection,
    ) -> Result<u64, RepairError> {
        if !self.keeps_sizes(before)? {
            return Ok(0);
        }
        let sql = self.sizes_sql();
        let (mut old, mut new) = (
            before.prepare(&sql).in_repair()?,
            after.prepare(&sql).in_repair()?,
        );
        let (mut old, mut new) = (old.query([]).in_repair()?, new.query([]).in_repair()?);
        let (mut other, mut next) = (0, new.next().in_repair()?);
        while let Some(row) = old.next().in_repair()? {
            let id: i64 = row.get(0).in_repair()?;
            while let Some(known) = next
                && known.get::<_, i64>(0).in_repair()? < id
            {
                next = new.next().in_repair()?;
            }
            if let Some(known) = next
                && known.get::<_, i64>(0).in_repair()? == id
            {
                other += u64::from(known.get_ref(1).in_repair()? != row.get_ref(1).in_repair()?);
            }
        }
        Ok(other)
    }
}

/// So many of something.
fn counted(count: u64, one: &str, many: &str) -> String {
    let what = if count == 1 { one } else { many };
    format!("{count} {what}")
}

/// How many documents there are, and the first of them; nothing where none is known.
fn named(documents: &BTreeSet<i64>) -> String {
    if documents.is_empty() {
        return String::new();
    }
    let count = documents.len() as u64;
    let first: Vec<String> = documents
        .iter()
        .take(MOST_NAMED)
        .map(i64::to_string)
        .collect();
    let more = if documents.len() > MOST_NAMED {
        ", ..."
    } else {
        ""
    };
    format!(
        ", in {} ({}{more})",
        counted(count, "document", "documents"),
        first.join(", ")
    )
}

impl Derived for FullText {
    fn name(&self) -> String {
        format!("full-text index `{}`", self.table)
    }

    fn source(&self) -> &str {
        &self.source
    }

    fn statements(&self) -> String {
        let is_fts5 = self.module == "fts5";
        // For another table's text FTS5 compares it only when it is asked to.
        self.command("rebuild", false) + &self.command("integrity-check", is_fts5)
    }

    fn how(&self) -> String {
        format!(
            "'rebuild' of `{}` and its module's own 'integrity-check'",
            self.table
        )
    }

    fn how_proven(&self) -> String {
        format!(
            "on the copy: check table `{}`, rehearse the rebuild of `{}`, check it with its module, \
             compare the rows and each word that can still be read",
            self.source, self.table
        )
    }

    fn is_there(&self, db: &Connection) -> Result<(), RepairError> {
        let unmet = |detail: String| {
            Err(RepairError::Unmet {
                name: "text-there",
                detail,
            })
        };
        match full_text(db, &self.table).in_repair()? {
            Err(why) => unmet(why),
            Ok(FullTextTable { module, source }) => {
                if module == self.module && source == self.source {
                    self.may_be_rebuilt(db)
                } else {
                    unmet(format!(
                        "`{}` has its text in table `{source}` now, not in `{}`",
                        self.table, self.source
                    ))
                }
            }
        }
    }

    fn is_of(&self, fault: &IntegrityFault) -> bool {
        matches!(&fault.object, DamagedObject::FullText { table, .. } if *table == self.table)
    }

    fn is_of_source(&self, fault: &IntegrityFault) -> bool {
        match &fault.object {
            DamagedObject::Table { table } => *table == self.source,
            // Nobody knows whose these are.
            DamagedObject::Schema | DamagedObject::Pages => true,
            _ => false,
        }
    }

    fn may_go(&self, db: &Connection, faults: &[IntegrityFault]) -> Result<Goes, RepairError> {
        let mut own = faults.iter().filter(|fault| self.is_of(fault)).peekable();
        let unmet = |name, detail| Err(RepairError::Unmet { name, detail });
        if own.peek().is_none() {
            let detail = format!("nothing is found against `{}` any more", self.table);
            return unmet("damaged", detail);
        }
        let broken = |fault: &&IntegrityFault| {
            matches!(
                &fault.object,
                DamagedObject::FullText {
                    rebuildable: false,
                    ..
                }
            )
        };
        if let Some(fault) = own.find(broken) {
            return unmet("rebuildable", fault.message.clone());
        }
        self.may_be_rebuilt(db)?;
        Ok(
            "each word that could still be read of the index is in the new one"
                .to_owned()
                .into(),
        )
    }

    fn is_as_built(
        &self,
        before: &Connection,
        after: &Connection,
    ) -> Result<Option<String>, RepairError> {
        if self.is_own {
            let compared = self.words_kept(before, after)?;
            // What could be read is all in the text. Of what could not, only the sizes tell.
            let is_known = compared.is_whole || self.keeps_sizes(before)?;
            if is_known {
                return Ok(self.doubt(&compared));
            }
            return Ok(Some(format!(
                "`{}` does not keep which rows it knows (columnsize=0, matchinfo=fts3), and not all of its \
                 words could be read, so it is not known whether rows of `{}` were lost before",
                self.table, self.source
            )));
        }
        let unmet = |detail: String| {
            Err(RepairError::Unmet {
                name: "same-text",
                detail,
            })
        };
        let (old, new) = (self.sizes(before), self.sizes(after)?);
        match old {
            Ok(Some(old)) if Some(&old) == new.as_ref() => {}
            Ok(None) => {
                return unmet(format!(
                    "`{}` does not keep how many words each row has (columnsize=0), so it is not \
                     known whether the application indexed the text of `{}` as it stands",
                    self.table, self.source
                ));
            }
            Ok(Some(_)) => {
                return unmet(format!(
                    "the rows of `{}` have other numbers of words than `{}` was filled with: the \
                     application indexes another text, or not each row",
                    self.source, self.table
                ));
            }
            Err(error) => return Err(error),
        }
        let compared = self.words_kept(before, after)?;
        let doubt = self.doubt(&compared);
        let is_empty = new.is_some_and(|new| new.count() == 0);
        if !is_empty && compared.read == 0 {
            return unmet(format!(
                "no word of `{}` can still be read: whether the application indexed the text of `{}` as it \
                 stands is not known",
                self.table, self.source
            ));
        }
        Ok(doubt)
    }

    fn agrees(&self, db: &Connection) -> Result<Result<String, String>, RepairError> {
        let found = faults(db)?;
        Ok(match found.iter().find(|fault| self.is_of(fault)) {
            None => Ok(format!(
                "the full-text index `{}` is made again of the {} rows of table `{}`, and its \
                 module finds nothing against it",
                self.table,
                self.rows(db)?.count(),
                self.source
            )),
            Some(fault) => Err(fault.message.clone()),
        })
    }

    fn content(&self, db: &Connection) -> Result<Option<String>, RepairError> {
        let words = self.words().digested(db, |all| Rows::of(db, all))?;
        let sizes = self.sizes(db)?;
        let sizes = sizes.as_ref().map_or("", Rows::digest);
        Ok(Some(format!("{} {sizes}", words.digest())))
    }

    fn rows(&self, db: &Connection) -> Result<Rows, RepairError> {
        let from = format!("FROM main.{} NOT INDEXED", quoted(&self.source));
        let with_rowid = format!("SELECT rowid, * {from}");
        // A table without rowids has none.
        match db.prepare(&with_rowid) {
            Ok(_) => Rows::of(db, &with_rowid),
            Err(_) => Rows::of(db, &format!("SELECT * {from}")),
        }
    }
}
