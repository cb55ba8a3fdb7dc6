//! What a full-text index is made of: text that each version of SQLite cuts into the same words, and a row
//! for each document that the index knows.
//!
//! Versions of SQLite write REAL numbers as text in different digits, and take bytes that are no text in
//! different ways. So an index that the application's version made holds other words than this one makes,
//! and nothing is wrong. A document without a row is a row that was lost, or one whose words were kept by
//! mistake: the index is then the last that knows of it.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Rows};

use super::encoding::Encoding;
use super::messages::Schema;
use super::virtuals::{self, Virtual};
use super::{Gathered, is_damage, objects, quoted};
use crate::sqlite_state::{DamagedObject, IntegrityFault, UnjudgedPart};

const REAL: &str =
    "its text holds REAL numbers, which versions of SQLite write in different digits";
const NO_TEXT: &str = "it holds bytes that are no text in the encoding of the database, which versions of \
                       SQLite cut into different words";

const NUL: &str =
    "its text holds NUL characters, which versions of SQLite cut into different trigrams";

/// Why a full-text index must not be built again; none where nothing speaks against it.
///
/// # Errors
///
/// SQLite's own.
pub fn against_rebuild(connection: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let all = virtuals::list(connection)?;
    let Some(one) = all.iter().find(|one| one.table == table) else {
        return Ok(None);
    };
    let documents = one.documents_without_text(connection)?;
    Ok(if documents > 0 {
        Some(format!(
            "the index knows {documents} documents of which table `{}` has no text: a rebuild would \
             delete their last trace",
            one.source()
        ))
    } else {
        one.words_of_others(connection)?
            .map(|why| format!("it is not known which words are right: {why}"))
    })
}

/// Takes back what is said of full-text indexes where another version of SQLite makes other words of the
/// same text, and says of the others whether they can be built again.
///
/// # Errors
///
/// SQLite's own; not that a table cannot be read, which is its own fault.
pub(super) fn settle(
    connection: &Connection,
    schema: &Schema,
    found: &mut Gathered,
) -> rusqlite::Result<()> {
    let named = found.faults.iter().filter_map(|fault| match &fault.object {
        DamagedObject::FullText { table, .. } => Some(table.clone()),
        _ => None,
    });
    for name in named.collect::<BTreeSet<String>>() {
        let Some(one) = schema.virtuals.iter().find(|one| one.table == name) else {
            continue;
        };
        let documents = one.documents_without_text(connection)?;
        let odd = one.words_of_others(connection)?;
        // What is compared with another table's text is judged elsewhere.
        if let Some(why) = odd
            && documents == 0
            && one.content_of_others().is_none()
        {
            let count = found.faults.len();
            found.faults.retain(|fault| {
                !matches!(&fault.object, DamagedObject::FullText { table, .. } if *table == name)
                    || !is_of_words(&fault.message)
            });
            if found.faults.len() < count {
                found.unjudged(UnjudgedPart::VirtualTable, &name, why);
            }
        }
        for fault in &mut found.faults {
            if let DamagedObject::FullText {
                table,
                rebuildable,
                documents_without_text,
                ..
            } = &mut fault.object
                && *table == name
            {
                *rebuildable &= odd.is_none() && documents == 0;
                *documents_without_text = documents;
            }
        }
    }
    Ok(())
}

/// Says of each sound index over another table which of that table's rows are gone. Applications that
/// delete without telling the index are many, so it is no fault; that the table was emptied would look the
/// same.
///
/// # Errors
///
/// SQLite's own; not that a table cannot be read, which is its own fault.
pub(super) fn note_documents_without_row(
    connection: &Connection,
    schema: &Schema,
    found: &mut Gathered,
) -> rusqlite::Result<()> {
    for one in &schema.virtuals {
        let Some(source) = one.content_of_others() else {
            continue;
        };
        let is_of_it = |fault: &IntegrityFault| matches!(&fault.object, DamagedObject::FullText { table, .. } if *table == one.table);
        if found.faults.iter().any(is_of_it) {
            continue;
        }
        let documents = one.documents_without_text(connection)?;
        if documents > 0 {
            let why = format!(
                "it knows {documents} documents of which table `{source}` has no row: they were deleted \
                 without the index being told, or lost"
            );
            found.unjudged(UnjudgedPart::VirtualTable, &one.table, &why);
        }
    }
    Ok(())
}

/// Whether a message may come of words that differ, and not of pages or blocks that cannot be read.
fn is_of_words(message: &str) -> bool {
    [
        "malformed inverted index for FTS",
        "unable to validate the inverted index for FTS",
        "fts5: checksum mismatch",
        "database disk image is malformed",
    ]
    .iter()
    .any(|begin| message.starts_with(begin))
}

/// What cannot be asked says nothing: the table is damaged, or not as the definition has it.
fn where_known<T: Default>(asked: rusqlite::Result<T>) -> rusqlite::Result<T> {
    match asked {
        Err(error) if is_damage(&error) || objects::concerns_an_object(&error) => Ok(T::default()),
        other => other,
    }
}

impl Virtual {
    /// Whether its documents are rows of a table that is known.
    fn has_source(&self) -> bool {
        self.is_full_text() && (self.content.is_none() || self.content_is_table)
    }

    /// The table that holds its text.
    fn source(&self) -> String {
        match self.content_of_others() {
            Some(other) => other.to_owned(),
            None => format!("{}_content", self.table),
        }
    }

    /// Why another version of SQLite may make other words of its text.
    fn words_of_others(&self, connection: &Connection) -> rusqlite::Result<Option<&'static str>> {
        if !self.has_source() {
            return Ok(None);
        }
        where_known(self.odd_value(connection))
    }

    fn odd_value(&self, connection: &Connection) -> rusqlite::Result<Option<&'static str>> {
        let encoding = Encoding::of(connection)?;
        let nul_counts = self.is_cut_by("trigram");
        let values: Vec<String> = self
            .text_columns(connection)?
            .iter()
            .map(|column| {
                // Qualified: a name that there is not would be a string.
                let column = format!("s.{}", quoted(column));
                format!(
                    "CASE typeof({column}) WHEN 'real' THEN 0.5 \
                     WHEN 'text' THEN CAST({column} AS BLOB) WHEN 'blob' THEN {column} END"
                )
            })
            .collect();
        if values.is_empty() {
            return Ok(None);
        }
        let from = quoted(&self.source());
        let sql = format!(
            "SELECT {} FROM main.{from} AS s NOT INDEXED",
            values.join(", ")
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for place in 0..values.len() {
                match row.get_ref(place)? {
                    ValueRef::Real(_) => return Ok(Some(REAL)),
                    ValueRef::Blob(bytes) if !encoding.is_valid(bytes) => return Ok(Some(NO_TEXT)),
                    ValueRef::Blob(bytes) if nul_counts && encoding.has_nul(bytes) => {
                        return Ok(Some(NUL));
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// The columns with the text that is indexed.
    fn text_columns(&self, connection: &Connection) -> rusqlite::Result<Vec<String>> {
        let is_own = self.content.is_none();
        let indexed = self.columns.iter().enumerate();
        let indexed = indexed.filter(|(_, column)| column.is_indexed);
        if self.module == "fts5" {
            let name = |(number, column): (usize, &virtuals::Column)| {
                if is_own {
                    format!("c{number}")
                } else {
                    column.name.clone()
                }
            };
            return Ok(indexed.map(name).collect());
        }
        let all: Vec<String> = connection
            .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")?
            .query_map([self.source()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let is_left = |name: &str| {
            let mut left = self.columns.iter().filter(|column| !column.is_indexed);
            left.any(|column| column.name.eq_ignore_ascii_case(name))
        };
        if is_own {
            // "c", the number, and the column's name; the others are "docid" and that of the language.
            let named = |name: &String| {
                let rest = name.strip_prefix('c')?;
                let column = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
                (column.len() < rest.len() && !is_left(column)).then(|| name.clone())
            };
            return Ok(all.iter().filter_map(named).collect());
        }
        // Without columns it has all of the other table.
        let is_listed = |name: &str| {
            let mut columns = self.columns.iter();
            !self.columns.iter().any(|column| column.is_indexed)
                || columns.any(|column| column.name.eq_ignore_ascii_case(name))
        };
        let all = all.into_iter();
        Ok(all
            .filter(|name| is_listed(name) && !is_left(name))
            .collect())
    }

    /// How many documents it keeps the number of words of, although its table has no row of that number, or,
    /// where the table is its own, no text in that row.
    fn documents_without_text(&self, connection: &Connection) -> rusqlite::Result<u64> {
        if !self.has_source() {
            return Ok(0);
        }
        where_known(self.count_without_text(connection))
    }

    fn count_without_text(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let (own, sizes) = match self.module.as_str() {
            "fts5" => ("id", "sz"),
            _ => ("docid", "size"),
        };
        let id = match (self.content_of_others(), &self.content_rowid) {
            (None, _) => own,
            (Some(_), Some(id)) => id,
            (Some(_), None) => "rowid",
        };
        // An application may have indexed another text than that of its table.
        let is_empty = match self.content {
            None => all_empty(&self.text_columns(connection)?),
            Some(_) => "0".to_owned(),
        };
        // In order of the ids, side by side: nothing has to be kept of either.
        let sorted = |id: &str, more: &str, table: &str| {
            let (id, table) = (format!("s.{}", quoted(id)), quoted(table));
            let from = format!("FROM main.{table} AS s NOT INDEXED WHERE {id} IS NOT NULL");
            let is_other = format!("SELECT EXISTS (SELECT 1 {from} AND typeof({id}) <> 'integer')");
            let is_other: bool = connection.query_row(&is_other, [], |row| row.get(0))?;
            // FTS5 takes the number that a text or another number begins with. Where all are whole numbers
            // nothing has to be sorted.
            let id = if is_other {
                format!("CAST({id} AS INTEGER)")
            } else {
                id
            };
            connection.prepare(&format!("SELECT {id}, {more} {from} ORDER BY {id}"))
        };
        // A number of words that is not 0 has a bit that is not: it is written in seven bits a byte.
        let words = format!("trim(hex(s.{sizes}), '0') <> ''");
        let mut documents = sorted(own, &words, &format!("{}_docsize", self.table))?;
        let mut documents = documents.query([])?;
        let mut rows = sorted(id, &is_empty, &self.source())?;
        let mut rows = rows.query([])?;
        let (mut without, mut row) = (0, next_id(&mut rows)?);
        while let Some((document, has_words)) = next_id(&mut documents)? {
            while row.is_some_and(|(row, _)| row < document) {
                row = next_id(&mut rows)?;
            }
            without += u64::from(match row {
                Some((row, is_empty)) if row == document => has_words && is_empty,
                _ => true,
            });
        }
        Ok(without)
    }
}

/// An expression that is true for a row without any text in these columns.
fn all_empty(columns: &[String]) -> String {
    let empty: Vec<String> = columns
        .iter()
        // Qualified: a name that there is not would be a string.
        .map(|column| format!("coalesce(s.{}, '') IN ('', x'')", quoted(column)))
        .collect();
    if empty.is_empty() {
        "0".to_owned()
    } else {
        empty.join(" AND ")
    }
}

/// The next row of a statement whose first column is a whole number, with its second one as a truth value.
fn next_id(rows: &mut Rows<'_>) -> rusqlite::Result<Option<(i64, bool)>> {
    while let Some(row) = rows.next()? {
        if let ValueRef::Integer(id) = row.get_ref(0)? {
            return Ok(Some((id, row.get(1)?)));
        }
    }
    Ok(None)
}
