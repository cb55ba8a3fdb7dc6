//! What the messages of SQLite's check say, and of which object.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, ffi};

use super::virtuals::{self, Virtual};
use super::{HEADLINE, rebuildable};
use crate::sqlite_state::{BrokenRule, DamagedObject, IntegrityFault, Rule};

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Damage(DamagedObject),
    /// A row that breaks a rule; the column, where it is one.
    Broken(Rule, String, Option<String>),
    /// Several entries of a unique index have the same key.
    Shared {
        index: String,
        table: String,
    },
    /// Nothing is known against the object, but it could not be examined.
    Unjudged(DamagedObject),
}

/// What one run of a pragma said.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Messages, of whatever kind.
    pub(super) messages: u64,
    pub(super) faults: Vec<IntegrityFault>,
    /// Rows that break a rule, counted by rule, table and column.
    pub(super) broken: BTreeMap<(Rule, String, Option<String>), u64>,
    /// Unique indexes with a key of several entries, with their tables.
    pub(super) shared: BTreeSet<(String, String)>,
    /// Virtual tables that could not be examined, and why.
    pub(super) unjudged: BTreeMap<String, String>,
}

/// What SQLite gives as its last message when it could not read on: what follows was not checked.
const BROKEN_OFF: &str = "database disk image is malformed";

impl Run {
    /// Runs a pragma of the kind until it ends or has found so many faults.
    ///
    /// # Errors
    ///
    /// SQLite's own; that the image is malformed, also where SQLite says so in a message.
    pub(super) fn collect(
        &mut self,
        connection: &Connection,
        schema: &Schema,
        pragma: &str,
        most_faults: usize,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(pragma)?;
        let mut rows = statement.query([])?;
        // A rule that is broken in every row gives the same message for each.
        let mut last: Option<(String, Said)> = None;
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?;
            let text = String::from_utf8_lossy(text.as_bytes().unwrap_or_default());
            // The faults of the trees come in one row, under a headline, and name nothing but
            // pages. In every other row a line break is one of a name, or of the r-tree module's.
            let one = [&*text];
            let lines: Vec<&str> = if text.starts_with(HEADLINE) {
                text.lines().collect()
            } else {
                one.to_vec()
            };
            for line in lines {
                if line == "ok" || line.is_empty() || line.starts_with(HEADLINE) {
                    continue;
                }
                if line == BROKEN_OFF {
                    let code = ffi::Error::new(ffi::SQLITE_CORRUPT);
                    return Err(rusqlite::Error::SqliteFailure(code, None));
                }
                self.messages += 1;
                let said = match &last {
                    Some((known, said)) if known == line => said.clone(),
                    _ => schema.said(connection, line),
                };
                self.take(said.clone(), line);
                last = Some((line.to_owned(), said));
            }
            if self.faults.len() >= most_faults {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, said: Said, line: &str) {
        match said {
            Said::Damage(object) => self.faults.push(IntegrityFault {
                object,
                message: line.to_owned(),
            }),
            Said::Broken(rule, table, column) => {
                *self.broken.entry((rule, table, column)).or_default() += 1;
            }
            Said::Shared { index, table } => {
                self.shared.insert((index, table));
            }
            Said::Unjudged(object) => {
                if let Some(table) = object.table() {
                    self.unjudged.insert(table.to_owned(), line.to_owned());
                }
            }
        }
    }

    /// The rules that rows break.
    pub(super) fn broken_rules(&self) -> impl Iterator<Item = BrokenRule> + '_ {
        self.broken
            .iter()
            .map(|((rule, table, column), rows)| BrokenRule {
                rule: *rule,
                table: table.clone(),
                columns: column.iter().cloned().collect(),
                rows: *rows,
                ..BrokenRule::default()
            })
    }
}

/// The tables and indexes, as the messages name them.
#[derive(Debug, Default)]
pub(super) struct Schema {
    objects: Vec<(DamagedObject, Option<u32>)>,
    pub(super) virtuals: Vec<Virtual>,
}

impl Schema {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let virtuals = virtuals::list(connection)?;
        let mut statement =
            connection.prepare("SELECT type, name, tbl_name, rootpage FROM main.sqlite_schema")?;
        let mut rows = statement.query([])?;
        let mut objects = vec![(DamagedObject::Schema, Some(1))];
        while let Some(row) = rows.next()? {
            let (kind, name, table): (String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let object = match kind.as_str() {
                "table" => match virtuals.iter().find(|one| one.derives(&table)) {
                    // What it holds can be made again, but not while its tree is damaged.
                    Some(of) => of.damaged(false),
                    None => DamagedObject::Table { table },
                },
                "index" => DamagedObject::Index {
                    rebuildable: rebuildable(connection, &name),
                    index: name,
                    table,
                },
                _ => continue,
            };
            objects.push((object, row.get(3)?));
        }
        Ok(Self { objects, virtuals })
    }

    fn said(&self, connection: &Connection, message: &str) -> Said {
        if let Some(said) = self.of_virtual(message) {
            return said;
        }
        if let Some((rule, table, column)) = self.broken(message) {
            return Said::Broken(rule, table, column);
        }
        if message.starts_with("non-unique entry in index ")
            && let Some(DamagedObject::Index { index, table, .. }) = self.by_index(message)
        {
            return Said::Shared {
                index: index.clone(),
                table: table.clone(),
            };
        }
        Said::Damage(self.object_of(connection, message))
    }

    fn object_of(&self, connection: &Connection, message: &str) -> DamagedObject {
        self.by_tree(message)
            .or_else(|| self.by_index(message))
            .or_else(|| self.by_table(message))
            .or_else(|| self.by_page(connection, message))
            .cloned()
            .unwrap_or(DamagedObject::Pages)
    }

    /// The messages of the full-text and r-tree modules.
    fn of_virtual(&self, message: &str) -> Option<Said> {
        let find = |name: &str| self.virtuals.iter().find(|one| one.table == name);
        if let Some(rest) = message.strip_prefix("In RTree main.") {
            let one = find(rest.split_once(":\n")?.0)?;
            return Some(Said::Damage(one.damaged(false)));
        }
        if let Some(rest) = message.strip_prefix("malformed inverted index for FTS") {
            let one = find(rest.split_once(" table main.")?.1)?;
            // The modules FTS3 and FTS4 compare their index with another table's text, which may
            // never have been what was indexed.
            return Some(if one.may_differ_from_content() {
                Said::Unjudged(one.damaged(false))
            } else {
                Said::Damage(one.damaged(one.has_content()))
            });
        }
        if message.starts_with("fts5: ") {
            let named = |one: &&Virtual| message.contains(&format!("\"{}\"", one.table));
            let one = self.virtuals.iter().filter(named);
            let one = one.max_by_key(|one| one.table.len())?;
            return Some(Said::Damage(one.damaged(one.has_content())));
        }
        let rest = message.strip_prefix("unable to validate the inverted index for FTS")?;
        let rest = rest.split_once(" table main.")?.1;
        let fits = |one: &&Virtual| rest.starts_with(&format!("{}: ", one.table));
        let one = self.virtuals.iter().filter(fits);
        let one = one.max_by_key(|one| one.table.len())?;
        let is_damage = rest.ends_with("database disk image is malformed");
        Some(if is_damage {
            Said::Damage(one.damaged(one.has_content()))
        } else {
            Said::Unjudged(one.damaged(false))
        })
    }

    /// "Tree 5 page 7 cell 3: ...": the number is the root page.
    fn by_tree(&self, message: &str) -> Option<&DamagedObject> {
        let number = message.strip_prefix("Tree ")?.split(' ').next()?;
        let root: u32 = number.parse().ok()?;
        self.objects
            .iter()
            .find(|(_, page)| *page == Some(root))
            .map(|(object, _)| object)
    }

    /// "Multiple uses for byte 644 of page 11", "Fragmentation of 3 bytes reported as 0 on page 11".
    fn by_page(&self, connection: &Connection, message: &str) -> Option<&DamagedObject> {
        if !message.starts_with("Multiple uses ") && !message.starts_with("Fragmentation ") {
            return None;
        }
        let page: i64 = message.rsplit_once(" page ")?.1.parse().ok()?;
        let owner: String = connection
            .query_row("SELECT name FROM dbstat WHERE pageno=?", [page], |row| {
                row.get(0)
            })
            .ok()?;
        self.find(|object| match object {
            DamagedObject::Index { index, .. } => *index == owner,
            DamagedObject::Schema => owner == "sqlite_schema",
            DamagedObject::Pages => false,
            _ => object.table() == Some(&owner),
        })
    }

    fn by_index(&self, message: &str) -> Option<&DamagedObject> {
        let after_row = |marker| {
            let is_row = message.starts_with("row ") || message.starts_with("rowid ");
            message.split_once(marker).filter(|_| is_row)
        };
        let name = message
            .strip_prefix("wrong # of entries in index ")
            .or_else(|| message.strip_prefix("non-unique entry in index "))
            .or_else(|| Some(after_row(" missing from index ")?.1))
            .or_else(|| Some(after_row(" values differ from index ")?.1))
            .or_else(|| Some(after_row(" of index ")?.1))
            .or_else(|| {
                let (name, _) = message
                    .strip_prefix("index ")?
                    .split_once(" stores an imprecise floating-point value")?;
                Some(name)
            })?;
        self.find(|object| matches!(object, DamagedObject::Index { index, .. } if index == name))
    }

    fn by_table(&self, message: &str) -> Option<&DamagedObject> {
        let name = message
            .strip_prefix("row not in PRIMARY KEY order for ")
            .or_else(|| Some(message.rsplit_once(" table main.")?.1))?;
        self.find(|object| object.index().is_none() && object.table() == Some(name))
    }

    /// A message about rows that SQLite stored so, although a rule of the schema forbids it.
    fn broken(&self, message: &str) -> Option<(Rule, String, Option<String>)> {
        if let Some(name) = message.strip_prefix("CHECK constraint failed in ") {
            return Some((Rule::Check, name.to_owned(), None));
        }
        let of = ["NULL", "NUMERIC", "TEXT", "non-"].iter().find_map(|kind| {
            let (_, column) = message.strip_prefix(kind)?.split_once(" value in ")?;
            Some((kind, column))
        });
        let (kind, column) = of?;
        // "table.column", and both may hold dots: the longest table that fits.
        let fitting = self.objects.iter().filter_map(|(object, _)| {
            let table = object.table().filter(|_| object.index().is_none())?;
            let column = column.strip_prefix(table)?.strip_prefix('.')?;
            Some((table, column))
        });
        let (table, column) = fitting.max_by_key(|(table, _)| table.len())?;
        let rule = if *kind == "NULL" {
            Rule::NotNull
        } else {
            Rule::Type
        };
        Some((rule, table.to_owned(), Some(column.to_owned())))
    }

    fn find(&self, wanted: impl Fn(&DamagedObject) -> bool) -> Option<&DamagedObject> {
        self.objects
            .iter()
            .map(|(object, _)| object)
            .find(|object| wanted(object))
    }
}
