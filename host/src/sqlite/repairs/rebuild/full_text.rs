//! A full-text index, built again by its module's own 'rebuild'.
//!
//! It reads the text from the table that holds it and throws the old words away. Where that table is the
//! index's own, its text is what was indexed. Where it is another one, the application put the words
//! in, and may have put in others than the text has (without markup, stemmed, of some rows only): that
//! it did not is proven with the number of words of each row, which the index keeps, and with words
//! that can still be read.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _};

use super::super::text_fact;
use super::proven::{Derived, Goes, Rows, faults};
use crate::model::Finding;
use crate::repair::RepairError;
use crate::sqlite::integrity::{FullTextTable, against_rebuild, full_text, quoted};
use crate::sqlite_state::{DamagedObject, IntegrityFault};

/// Words that are looked up in the damaged index at most, spread over all words.
const MOST_WORDS: u64 = 2_000;
/// Of those that it answers for, so many in a hundred must be what a rebuild makes of them: one damaged
/// page takes some with it, and another way to cut or stem words changes far more.
const LEAST_AGREEING_PERCENT: u64 = 90;

/// A temporary table that shows the words of an index.
const WORDS: &str = "temp.dbmedic_words";

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
        match against_rebuild(db, &self.table)? {
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
        let (id, sizes) = match self.module.as_str() {
            "fts5" => ("id", "sz"),
            _ => ("docid", "size"),
        };
        let sql = format!(
            "SELECT {id}, {sizes} FROM main.{} ORDER BY {id}",
            quoted(&self.sizes_table())
        );
        self.keeps_sizes(db)?
            .then(|| Rows::of(db, &sql))
            .transpose()
    }

    /// The table in which the index keeps which rows it knows, and how many words each has.
    fn sizes_table(&self) -> String {
        format!("{}_docsize", self.table)
    }

    /// Whether it does; without it nobody knows of a row that was lost.
    fn keeps_sizes(&self, db: &Connection) -> Result<bool, RepairError> {
        Ok(db.query_row(
            "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?1",
            [self.sizes_table()],
            |row| row.get(0),
        )?)
    }

    /// Makes the words of the index readable at [`WORDS`]; the columns are the word, in how many rows it
    /// is, and how often.
    fn show_words(&self, db: &Connection) -> Result<&'static str, RepairError> {
        let name = self.table.replace('\'', "''");
        let (using, all) = match self.module.as_str() {
            "fts5" => (
                format!("fts5vocab('main', '{name}', 'row')"),
                "term, doc, cnt FROM temp.dbmedic_words WHERE true",
            ),
            _ => (
                format!("fts4aux(main, '{name}')"),
                "term, documents, occurrences FROM temp.dbmedic_words WHERE col = '*'",
            ),
        };
        db.execute_batch(&format!(
            "DROP TABLE IF EXISTS {WORDS}; CREATE VIRTUAL TABLE {WORDS} USING {using}"
        ))?;
        Ok(all)
    }

    fn hide_words(db: &Connection) -> Result<(), RepairError> {
        Ok(db.execute_batch(&format!("DROP TABLE {WORDS}"))?)
    }

    /// How many words of the damaged index, as far as it can be read, the rebuilt one does not have.
    fn words_gone(&self, before: &Connection, after: &Connection) -> Result<u64, RepairError> {
        // A module that cannot even be opened names no word.
        let Ok(old) = self.show_words(before) else {
            return Ok(0);
        };
        let new = self.show_words(after)?;
        let mut gone = 0;
        {
            let mut lookup =
                after.prepare(&format!("SELECT 1 FROM (SELECT {new}) WHERE term = ?1"))?;
            let words = before.prepare(&format!("SELECT {old}"));
            if let Ok(mut words) = words
                && let Ok(mut words) = words.query([])
            {
                // What lies on a damaged page names no word either.
                while let Ok(Some(word)) = words.next() {
                    let term: Value = word.get(0)?;
                    gone += u64::from(!lookup.exists([term])?);
                }
            }
        }
        Self::hide_words(after)?;
        Self::hide_words(before)?;
        Ok(gone)
    }

    /// Looks up words of the rebuilt index in the damaged one: how many it answers for, and how many of
    /// these with the same numbers.
    fn words_agreeing(
        &self,
        before: &Connection,
        after: &Connection,
    ) -> Result<(u64, u64), RepairError> {
        let all = self.show_words(after)?;
        let count: i64 =
            after.query_row(&format!("SELECT count(*) FROM (SELECT {all})"), [], |row| {
                row.get(0)
            })?;
        let every = (u64::try_from(count).unwrap_or(0) / MOST_WORDS).max(1);
        let (mut answered, mut agreeing) = (0, 0);
        // A module that cannot even be opened answers nothing.
        let Ok(old) = self.show_words(before) else {
            Self::hide_words(after)?;
            return Ok((0, 0));
        };
        {
            let mut words = after.prepare(&format!("SELECT {all}"))?;
            let mut words = words.query([])?;
            let mut lookup = before.prepare(&format!("SELECT {old} AND term = ?1"))?;
            let mut number = 0_u64;
            while let Some(word) = words.next()? {
                number += 1;
                if !number.is_multiple_of(every) {
                    continue;
                }
                let term: Value = word.get(0)?;
                let expected: (Option<i64>, Option<i64>) = (word.get(1)?, word.get(2)?);
                let found = lookup
                    .query_row([term], |row| Ok((row.get(1)?, row.get(2)?)))
                    .optional();
                // What lies on a damaged page is no answer.
                if let Ok(found) = found {
                    answered += 1;
                    agreeing += u64::from(found == Some(expected));
                }
            }
        }
        Self::hide_words(after)?;
        Self::hide_words(before)?;
        Ok((answered, agreeing))
    }
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
             compare the rows{}",
            self.source,
            self.table,
            if self.is_own {
                ""
            } else {
                " and the words that can still be read"
            }
        )
    }

    fn is_there(&self, db: &Connection) -> Result<(), RepairError> {
        let unmet = |detail: String| {
            Err(RepairError::Unmet {
                name: "text-there",
                detail,
            })
        };
        match full_text(db, &self.table)? {
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
        let doubt = (!self.keeps_sizes(db)?).then(|| {
            format!(
                "`{}` does not keep which rows it knows (columnsize=0), so it is not known whether rows of \
                 `{}` were lost before",
                self.table, self.source
            )
        });
        Ok(Goes {
            text: "of the index only what is made of the text went".to_owned(),
            doubt,
        })
    }

    fn is_as_built(
        &self,
        before: &Connection,
        after: &Connection,
    ) -> Result<Option<String>, RepairError> {
        if self.is_own {
            let gone = self.words_gone(before, after)?;
            return Ok((gone > 0).then(|| {
                format!(
                    "{gone} words that the index knew are in no row of `{}`: text may have been lost before, \
                     or they were damaged",
                    self.source
                )
            }));
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
        let (answered, agreeing) = self.words_agreeing(before, after)?;
        let is_empty = new.is_some_and(|new| new.count() == 0);
        if !is_empty
            && (answered == 0
                || agreeing.saturating_mul(100) < answered.saturating_mul(LEAST_AGREEING_PERCENT))
        {
            return unmet(format!(
                "of {answered} words that can still be read of `{}` only {agreeing} are as the text \
                 of `{}` gives them: whether the application indexed it as it stands is not known",
                self.table, self.source
            ));
        }
        Ok(None)
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
        let all = self.show_words(db)?;
        let words = Rows::of(db, &format!("SELECT {all}"))?;
        Self::hide_words(db)?;
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
