//! Virtual tables: of which module they are, of which tables they are made, and which of them this
//! SQLite cannot judge.

use rusqlite::Connection;

use super::definition::tokens;
use crate::sqlite_state::{DamagedObject, Unjudged, UnjudgedPart};

/// A virtual table, as its definition describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Virtual {
    pub(super) table: String,
    /// In lower case.
    pub(super) module: String,
    /// What is said of `content`: none for a table with its own, empty for one without any.
    pub(super) content: Option<String>,
    /// The column of that table with the number of the row, where one is named.
    pub(super) content_rowid: Option<String>,
    /// The columns of a full-text table, as far as the definition names them.
    pub(super) columns: Vec<Column>,
    /// What cuts its text into words, where that is said.
    tokenizer: Option<String>,
    /// Whether what it reads its content from is a table of the database, not a view.
    pub(super) content_is_table: bool,
    /// The tables it is made of that are not there.
    pub(super) missing: Vec<String>,
    /// Whether this SQLite has the module.
    pub(super) is_known: bool,
}

/// A column of a full-text table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// Whether its words are in the index.
    pub(super) is_indexed: bool,
}

/// The virtual tables of the database.
///
/// # Errors
///
/// SQLite's own.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<Virtual>> {
    let all: Vec<(String, String, i64)> = connection
        .prepare(
            "SELECT name, sql, rootpage FROM main.sqlite_schema \
             WHERE type = 'table' AND sql IS NOT NULL ORDER BY name",
        )?
        .query_map([], |row| {
            let root: Option<i64> = row.get(2)?;
            Ok((row.get(0)?, row.get(1)?, root.unwrap_or(0)))
        })?
        .collect::<Result<_, _>>()?;
    let parse = |(name, sql, root): &(String, String, i64)| {
        // Only these have no tree.
        (*root == 0).then(|| Virtual::parse(name, sql)).flatten()
    };
    let mut found: Vec<Virtual> = all.iter().filter_map(parse).collect();
    let modules: Vec<String> = if found.is_empty() {
        Vec::new()
    } else {
        connection
            .prepare("SELECT lower(name) FROM pragma_module_list")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?
    };
    let is_there = |wanted: &str| {
        all.iter()
            .any(|(name, _, root)| name.eq_ignore_ascii_case(wanted) && *root > 0)
    };
    for one in &mut found {
        one.is_known = modules.contains(&one.module);
        one.missing = one.parts().filter(|part| !is_there(part)).collect();
        // As the schema spells it.
        let content = one.content.as_deref().and_then(|content| {
            let mut tables = all.iter().filter(|(_, _, root)| *root > 0);
            tables.find(|(name, ..)| name.eq_ignore_ascii_case(content))
        });
        one.content_is_table = content.is_some();
        if let Some((name, ..)) = content {
            one.content = Some(name.clone());
        }
    }
    Ok(found)
}

/// A full-text index that can be made again from a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTextTable {
    /// `fts3`, `fts4` or `fts5`.
    pub module: String,
    /// The table that holds its text.
    pub source: String,
}

/// The table that a full-text index can be made again from; in words why there is none.
///
/// # Errors
///
/// SQLite's own.
pub fn full_text(
    connection: &Connection,
    table: &str,
) -> rusqlite::Result<Result<FullTextTable, String>> {
    let all = list(connection)?;
    let Some(one) = all.iter().find(|one| one.table == table) else {
        return Ok(Err(format!("there is no full-text table `{table}`")));
    };
    if let Some(why) = one.unknown_tokenizer() {
        return Ok(Err(why));
    }
    if !one.is_known || !one.has_content() {
        return Ok(Err(format!(
            "the text of `{table}` is in no table that it can be read from"
        )));
    }
    Ok(Ok(FullTextTable {
        module: one.module.clone(),
        source: match one.content_of_others() {
            Some(other) => other.to_owned(),
            None => format!("{table}_content"),
        },
    }))
}

impl Virtual {
    /// Reads `CREATE VIRTUAL TABLE name USING module(arguments)`; none when it is another
    /// statement.
    fn parse(name: &str, sql: &str) -> Option<Self> {
        let tokens = tokens(sql)?;
        let text = |at: usize| tokens.get(at).map(|token| &sql[token.0..token.1]);
        let is = |at: usize, word: &str| text(at).is_some_and(|t| t.eq_ignore_ascii_case(word));
        if !is(0, "CREATE") || !is(1, "VIRTUAL") || !is(2, "TABLE") {
            return None;
        }
        let using = (3..tokens.len()).find(|at| is(*at, "USING"))?;
        let module = unquoted(text(using + 1)?).to_ascii_lowercase();
        let mut one = Self {
            table: name.to_owned(),
            module,
            content: None,
            content_rowid: None,
            columns: Vec::new(),
            tokenizer: None,
            content_is_table: false,
            missing: Vec::new(),
            is_known: false,
        };
        let mut not_indexed: Vec<String> = Vec::new();
        for at in using + 2..tokens.len() {
            let begins = is(at - 1, "(") || is(at - 1, ",");
            if !begins {
                continue;
            }
            if !is(at + 1, "=") {
                let name = text(at).map(unquoted).unwrap_or_default();
                one.columns.push(Column {
                    name,
                    is_indexed: !is(at + 1, "UNINDEXED"),
                });
                continue;
            }
            let value = text(at + 2).map(unquoted).unwrap_or_default();
            if is(at, "content") {
                one.content = Some(value);
            } else if is(at, "content_rowid") {
                one.content_rowid = Some(value);
            } else if is(at, "notindexed") {
                not_indexed.push(value);
            } else if is(at, "tokenize") {
                one.tokenizer = value.split_whitespace().next().map(str::to_owned);
            }
        }
        for column in &mut one.columns {
            let mut names = not_indexed.iter();
            column.is_indexed &= !names.any(|name| name.eq_ignore_ascii_case(&column.name));
        }
        Some(one)
    }

    /// Why it cannot be examined, where its definition says it and SQLite does not.
    pub(super) fn unknown_tokenizer(&self) -> Option<String> {
        const KNOWN: &[&str] = &["unicode61", "ascii", "porter", "trigram", "simple"];
        let tokenizer = self.tokenizer.as_deref()?;
        let is_known = KNOWN.iter().any(|one| tokenizer.eq_ignore_ascii_case(one));
        (self.is_full_text() && !is_known).then(|| format!("no such tokenizer: {tokenizer}"))
    }

    /// Whether this is what cuts its text into words.
    pub(super) fn is_cut_by(&self, tokenizer: &str) -> bool {
        self.tokenizer.as_deref().is_some_and(|own| {
            let own = own.trim_matches(['\'', '"']);
            own.eq_ignore_ascii_case(tokenizer)
        })
    }

    pub(super) fn is_full_text(&self) -> bool {
        matches!(self.module.as_str(), "fts3" | "fts4" | "fts5")
    }

    /// The table it reads its content from, where that is not its own.
    pub(super) fn content_of_others(&self) -> Option<&str> {
        self.content.as_deref().filter(|name| !name.is_empty())
    }

    /// Whether its index can be made again: from its own content, or from a table's.
    pub(super) fn has_content(&self) -> bool {
        self.is_full_text()
            && self.missing.is_empty()
            && match self.content.as_deref() {
                None => true,
                Some("") => false,
                Some(_) => self.content_is_table,
            }
    }

    /// Whether the module's check compares the index with text that need not be what was indexed.
    pub(super) fn may_differ_from_content(&self) -> bool {
        self.module != "fts5" && self.content_of_others().is_some()
    }

    /// The tables it cannot do without.
    fn parts(&self) -> impl Iterator<Item = String> + '_ {
        let suffixes: &[&str] = match self.module.as_str() {
            "fts5" if self.content.is_none() => &["data", "idx", "config", "content"],
            "fts5" => &["data", "idx", "config"],
            "fts3" | "fts4" if self.content.is_none() => &["segments", "segdir", "content"],
            "fts3" | "fts4" => &["segments", "segdir"],
            "rtree" | "rtree_i32" | "geopoly" => &["node", "rowid", "parent"],
            _ => &[],
        };
        suffixes.iter().map(|part| format!("{}_{part}", self.table))
    }

    /// Whether a table of this name holds only what was made from the content.
    pub(super) fn derives(&self, table: &str) -> bool {
        const DERIVED: &[&str] = &["data", "idx", "docsize", "segments", "segdir", "stat"];
        self.is_full_text()
            && table
                .strip_prefix(self.table.as_str())
                .and_then(|rest| rest.strip_prefix('_'))
                .is_some_and(|part| DERIVED.contains(&part))
    }

    /// This table as what is damaged.
    pub(super) fn damaged(&self, rebuildable: bool) -> DamagedObject {
        if self.is_full_text() {
            DamagedObject::FullText {
                table: self.table.clone(),
                module: self.module.clone(),
                content: self.content.clone(),
                rebuildable,
                documents_without_text: 0,
            }
        } else {
            DamagedObject::VirtualTable {
                table: self.table.clone(),
                module: self.module.clone(),
                missing: self.missing.clone(),
            }
        }
    }

    /// This table as one whose tables are gone.
    pub(super) fn broken(&self) -> DamagedObject {
        DamagedObject::VirtualTable {
            table: self.table.clone(),
            module: self.module.clone(),
            missing: self.missing.clone(),
        }
    }

    /// What is known of a table of a module that is not there.
    pub(super) fn unknown_module(&self) -> Option<Unjudged> {
        (!self.is_known).then(|| Unjudged {
            part: UnjudgedPart::VirtualTable,
            name: self.table.clone(),
            reason: format!("no such module: {}", self.module),
        })
    }
}

/// A name or string without its quotes.
fn unquoted(text: &str) -> String {
    let mut characters = text.chars();
    let (first, last) = (characters.next(), characters.next_back());
    match (first, last) {
        (Some(quote @ ('\'' | '"' | '`')), Some(end)) if end == quote => characters
            .as_str()
            .replace(&format!("{quote}{quote}"), &quote.to_string()),
        (Some('['), Some(']')) => characters.as_str().to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_full_text_table_are_read() {
        let read = |sql: &str| Virtual::parse("f", sql).unwrap();
        let own = read("CREATE VIRTUAL TABLE IF NOT EXISTS f USING FTS5(a, content_ , b)");
        assert_eq!((own.module.as_str(), &own.content), ("fts5", &None));
        let other = read(
            "create virtual table \"f\" using fts5(a, content = 'it''s', content_rowid=id, columnsize=0)",
        );
        assert_eq!(other.content.as_deref(), Some("it's"));
        let none = read("CREATE VIRTUAL TABLE f USING fts4(content=\"\", a TEXT)");
        assert_eq!(none.content.as_deref(), Some(""));
        assert!(!none.has_content() && !none.may_differ_from_content());
        assert_eq!(
            read("CREATE VIRTUAL TABLE f USING vec0").module,
            "vec0".to_owned()
        );
        assert_eq!(Virtual::parse("t", "CREATE TABLE t(virtual)"), None);
    }
}
