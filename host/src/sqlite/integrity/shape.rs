//! What an index is made of: which values its entries hold, in which order, and how SQLite would
//! compute them from a row.

use std::cmp::Ordering;

use rusqlite::{Connection, OptionalExtension as _};

use super::application::{Terms, calls, hang_on_version, of_versions, takes_text, versioned_in};
use super::definition::Definition;
use super::values::{Owned, hash};
use super::{digits, quoted};
use crate::sqlite::btree::Stored;

/// What keeps an index from being compared with its table.
pub(super) type NotComparable = String;

/// An index with its table.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    table: String,
    /// The root pages of both trees.
    pub(super) root: u32,
    table_root: u32,
    /// What each entry holds, in the entry's order: the key, then what is missing to know the row.
    pub(super) parts: Vec<Part>,
    /// Where in an entry stands what identifies its row: the rowid, or the primary key.
    pub(super) identity: Vec<usize>,
    /// Whether rows are identified by a rowid.
    pub(super) has_rowid: bool,
    /// `FROM` and what keeps SQLite to the table's own tree.
    from: String,
    /// Which rows are in the index; none: all.
    partial: Option<String>,
    pub(super) unique: bool,
    /// Whether text is UTF-16: SQLite would give it as UTF-8, and what is no text would change.
    utf16: bool,
    terms: Terms,
}

/// One value of an entry.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// What a person calls it.
    pub(super) name: String,
    /// The expression that gives it from a row.
    sql: String,
    collation: Collation,
    collation_name: String,
    descending: bool,
    /// Whether it belongs to the key, not only to the row's identity.
    pub(super) is_key: bool,
    origin: Origin,
}

/// Where a value of an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A column that is stored, or the rowid.
    Stored,
    /// A column that is computed whenever a row is read.
    Virtual,
    Expression,
}

impl Part {
    /// Whether it is computed, and no column.
    fn is_expression(&self) -> bool {
        self.origin == Origin::Expression
    }

    /// Whether it is computed whenever a row is read: an expression, or a column that is not stored.
    pub(super) fn is_computed(&self) -> bool {
        self.origin != Origin::Stored
    }
}

/// How text is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collation {
    Binary,
    NoCase,
    Rtrim,
    /// An application's own.
    Unknown,
}

impl Shape {
    /// Reads what an index is made of.
    ///
    /// # Errors
    ///
    /// SQLite's own. What cannot be compared is no error.
    pub(super) fn read(
        connection: &Connection,
        index: &str,
        table: &str,
    ) -> rusqlite::Result<Result<Self, NotComparable>> {
        let Some(entry) = SchemaEntry::read(connection, index, table)? else {
            return Ok(Err(format!("index `{index}` is not in the schema")));
        };
        let SchemaEntry {
            root,
            sql,
            table_root,
            table_sql,
            without_rowid,
        } = entry;
        let encoding: String =
            connection.query_row("PRAGMA main.encoding", [], |row| row.get(0))?;
        let columns = columns(connection, table)?;
        let rowid = name_of_rowid(&columns);
        let text = sql
            .as_deref()
            .map_or(Some(Definition::default()), Definition::parse);
        let Some(text) = text else {
            return Ok(Err(
                "its definition is written in a way that is not understood".into(),
            ));
        };
        // An index that the table's own definition asks for has no text, and no expression.
        let unique: Option<(bool, bool)> = connection
            .query_row(
                "SELECT \"unique\", partial FROM pragma_index_list(?1) WHERE name = ?2",
                [table, index],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((unique, is_partial)) = unique else {
            return Ok(Err(format!(
                "index `{index}` is not one of table `{table}`"
            )));
        };
        let mut shape = Self {
            table: table.to_owned(),
            root,
            table_root,
            parts: Vec::new(),
            identity: Vec::new(),
            has_rowid: !without_rowid,
            from: format!("main.{} NOT INDEXED", quoted(table)),
            partial: None,
            unique,
            utf16: encoding != "UTF-8",
            terms: Terms::of(&table_sql),
        };
        if is_partial {
            shape.partial.clone_from(&text.filter);
            if shape.partial.is_none() {
                return Ok(Err("which rows belong into it is not understood".into()));
            }
        }
        let mut statement = connection.prepare(
            "SELECT cid, name, coll, \"desc\", key FROM pragma_index_xinfo(?1) ORDER BY seqno",
        )?;
        let mut rows = statement.query([index])?;
        let mut cids = Vec::new();
        while let Some(row) = rows.next()? {
            let (cid, name): (i64, Option<String>) = (row.get(0)?, row.get(1)?);
            let collation: Option<String> = row.get(2)?;
            let place = shape.parts.len();
            let column = usize::try_from(cid).ok().and_then(|cid| columns.get(cid));
            let origin = match column {
                _ if cid < -1 => Origin::Expression,
                Some((_, true)) => Origin::Virtual,
                _ => Origin::Stored,
            };
            let (name, sql) = match (cid, name) {
                (0.., Some(name)) => (name.clone(), quoted(&name)),
                (-1, _) => match rowid.or_else(|| alias_of_rowid(connection, table)) {
                    Some(id) => ("rowid".to_owned(), id.to_owned()),
                    None => return Ok(Err("columns have all names of the rowid".into())),
                },
                _ => match text.parts.get(place) {
                    Some(sql) => (format!("expression {}", place + 1), format!("({sql})")),
                    None => return Ok(Err("its expressions are not understood".into())),
                },
            };
            shape.parts.push(Part {
                name,
                sql,
                collation: Collation::of(collation.as_deref()),
                collation_name: collation.unwrap_or_else(|| "BINARY".to_owned()),
                descending: row.get(3)?,
                is_key: row.get(4)?,
                origin,
            });
            cids.push(cid);
        }
        Ok(if shape.identify(connection, &cids)? {
            Ok(shape)
        } else {
            Err("its entries do not name their rows".into())
        })
    }

    /// Finds what in an entry names its row; false when nothing does.
    fn identify(&mut self, connection: &Connection, cids: &[i64]) -> rusqlite::Result<bool> {
        if self.has_rowid {
            self.identity
                .extend(cids.iter().rposition(|cid| *cid == -1));
            return Ok(!self.identity.is_empty());
        }
        let primary: Vec<(i64, String)> = connection
            .prepare(
                "SELECT i.cid, l.name FROM pragma_index_list(?1) AS l
                 JOIN pragma_index_info(l.name) AS i
                 WHERE l.origin = 'pk' ORDER BY i.seqno",
            )?
            .query_map([&self.table], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        // Only the primary key's index is the table; NOT INDEXED lets SQLite take another one.
        if let Some((_, name)) = primary.first() {
            self.from = format!("main.{} INDEXED BY {}", quoted(&self.table), quoted(name));
        }
        for (cid, _) in primary {
            match cids.iter().rposition(|known| *known == cid) {
                Some(place) => self.identity.push(place),
                None => return Ok(false),
            }
        }
        Ok(!self.identity.is_empty())
    }

    /// The statement that gives the entry of each row, read from the table's own tree. Where text
    /// is UTF-16, each value comes as its bytes and whether it is text.
    pub(super) fn rows_sql(&self, filter: &str) -> String {
        let values: Vec<String> = self
            .parts
            .iter()
            .map(|part| {
                if self.utf16 {
                    format!(
                        "CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END, \
                         typeof({0}) = 'text'",
                        part.sql
                    )
                } else {
                    part.sql.clone()
                }
            })
            .collect();
        let partial = self
            .partial
            .as_deref()
            .map(|partial| format!("({partial})"));
        let filter = (!filter.is_empty()).then(|| filter.to_owned());
        let conditions: Vec<String> = partial.into_iter().chain(filter).collect();
        let mut sql = format!("SELECT {} FROM {}", values.join(", "), self.from);
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        sql
    }

    /// The statement that counts the rows that belong into the index.
    pub(super) fn count_sql(&self) -> String {
        let filter = self.partial.as_ref();
        format!(
            "SELECT count(*) FROM {}{}",
            self.from,
            filter.map_or_else(String::new, |filter| format!(" WHERE ({filter})"))
        )
    }

    /// The same for the row of one identity, whether or not it belongs into the index.
    pub(super) fn row_sql(&self) -> String {
        let whole = Self {
            partial: None,
            ..self.clone()
        };
        whole.rows_sql(&self.is_row())
    }

    /// Whether the row of one identity belongs into the index.
    pub(super) fn belongs_sql(&self) -> Option<String> {
        let partial = self.partial.as_ref()?;
        Some(format!(
            "SELECT 1 FROM {} WHERE ({partial}) AND {}",
            self.from,
            self.is_row()
        ))
    }

    /// The statement that gives all columns of all rows, from the table's own tree.
    pub(super) fn whole_rows_sql(&self) -> String {
        match self.rowid() {
            Some(rowid) => format!("SELECT {rowid}, * FROM {}", self.from),
            None => format!("SELECT * FROM {}", self.from),
        }
    }

    fn rowid(&self) -> Option<&str> {
        let place = *self.identity.first()?;
        self.has_rowid.then(|| self.parts[place].sql.as_str())
    }

    fn is_row(&self) -> String {
        let parts = self.identity.iter().enumerate();
        let equal: Vec<String> = parts
            .map(|(number, place)| {
                let equals = if self.has_rowid { "=" } else { "IS" };
                format!("{} {equals} ?{}", self.parts[*place].sql, number + 1)
            })
            .collect();
        equal.join(" AND ")
    }

    /// Whether there is a row between two rowids, both left out.
    pub(super) fn between_sql(&self) -> Option<String> {
        let id = self.rowid()?;
        Some(format!(
            "SELECT 1 FROM {} WHERE {id} > min(?1, ?2) AND {id} < max(?1, ?2) LIMIT 1",
            self.from
        ))
    }

    /// The statement that sorts the rows as the index would: most of what building it takes.
    pub(super) fn sort_sql(&self) -> String {
        let values: Vec<&str> = self.parts.iter().map(|part| part.sql.as_str()).collect();
        let places: Vec<String> = (1..=values.len()).map(|place| place.to_string()).collect();
        let filter = self.partial.as_ref();
        format!(
            "SELECT {} FROM {}{} ORDER BY {}",
            values.join(", "),
            self.from,
            filter.map_or_else(String::new, |filter| format!(" WHERE ({filter})")),
            places.join(", ")
        )
    }

    /// The statement that counts keys which several rows share, where that is not allowed.
    pub(super) fn shared_keys_sql(&self) -> Option<String> {
        let groups = self.shared_groups("1")?;
        Some(format!("SELECT count(*) FROM ({groups})"))
    }

    /// The statement that counts such keys and their rows.
    pub(super) fn shared_rows_sql(&self) -> Option<String> {
        let groups = self.shared_groups("count(*) AS n")?;
        Some(format!(
            "SELECT count(*), coalesce(sum(n), 0) FROM ({groups})"
        ))
    }

    /// The statement that gives for each such key the first and the last rowid.
    pub(super) fn shared_rowids_sql(&self, most: usize) -> Option<String> {
        let id = self.rowid()?;
        let groups = self.shared_groups(&format!("min({id}) AS first, max({id}) AS last"))?;
        Some(format!("SELECT first, last FROM ({groups}) LIMIT {most}"))
    }

    /// What a person calls the parts of its key.
    pub(super) fn key_names(&self) -> Vec<String> {
        let keys = self.parts.iter().filter(|part| part.is_key);
        keys.map(|part| part.name.clone()).collect()
    }

    /// The keys that several rows share, with what is asked for of each.
    fn shared_groups(&self, selected: &str) -> Option<String> {
        let keys: Vec<&Part> = self.parts.iter().filter(|part| part.is_key).collect();
        if !self.unique || keys.is_empty() {
            return None;
        }
        let listed: Vec<String> = keys
            .iter()
            .map(|part| format!("{} COLLATE {}", part.sql, quoted(&part.collation_name)))
            .collect();
        let filter = self.partial.iter().map(|filter| format!("({filter})"));
        // Of a NOT NULL column SQLite takes IS NOT NULL for granted, whatever it holds.
        let not_null = keys
            .iter()
            .map(|part| format!("typeof({}) <> 'null'", part.sql));
        let filter: Vec<String> = filter.chain(not_null).collect();
        Some(format!(
            "SELECT {selected} FROM {} WHERE {} GROUP BY {} HAVING count(*) > 1",
            self.from,
            filter.join(" AND "),
            listed.join(", ")
        ))
    }

    /// Values that a row of [`Self::rows_sql`] gives for each part.
    pub(super) fn width(&self) -> usize {
        if self.utf16 { 2 } else { 1 }
    }

    /// Whether SQLite reads the rows of a statement from the table's own tree and from nothing
    /// else. Seen in the compiled statement, not believed of what was asked for.
    ///
    /// # Errors
    ///
    /// SQLite's own.
    pub(super) fn reads_the_table(
        &self,
        connection: &Connection,
        sql: &str,
    ) -> rusqlite::Result<bool> {
        let mut statement = connection.prepare(&format!("EXPLAIN {sql}"))?;
        let parameters = vec![rusqlite::types::Null; statement.parameter_count()];
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        let mut reads = 0;
        while let Some(row) = rows.next()? {
            let (opcode, root): (String, i64) = (row.get("opcode")?, row.get("p2")?);
            if opcode == "OpenRead" {
                if root != i64::from(self.table_root) {
                    return Ok(false);
                }
                reads += 1;
            }
        }
        Ok(reads == 1)
    }

    /// Whether the order of the index is known here: it is when no application defined it.
    pub(super) fn order_is_known(&self) -> bool {
        !self.utf16
            && self
                .parts
                .iter()
                .all(|part| part.collation != Collation::Unknown)
    }

    /// Whether each row of the table has an entry in it.
    pub(super) fn has_every_row(&self) -> bool {
        self.partial.is_none()
    }

    /// Whether a key in it is computed whenever a row is read.
    pub(super) fn is_computed(&self) -> bool {
        self.parts.iter().any(Part::is_computed)
    }

    /// Whether the entry of a row and one of the index are the same but for the digits of numbers in what
    /// is computed.
    pub(super) fn are_alike(&self, row: &[Owned], entry: &[Owned]) -> bool {
        let mut parts = row.iter().zip(entry).zip(&self.parts);
        parts.all(|((of_row, of_entry), part)| {
            hash(&[of_row.into()]) == hash(&[of_entry.into()])
                || part.is_computed() && digits::are_alike(of_row, of_entry)
        })
    }

    /// Whether another version of SQLite may compute another entry for a row than this one.
    pub(super) fn may_differ(&self, row: &[Owned]) -> bool {
        let mut parts = row.iter().zip(&self.parts);
        parts.any(|(value, part)| part.is_computed() && digits::may_differ(value))
    }

    /// What of the index an application may define in its own way although SQLite has it built in: the
    /// collations but `BINARY`, and functions. What dbmedic's SQLite makes of it is then not known to be
    /// what the application's makes of it. None when there is nothing of the kind.
    pub(super) fn left_to_application(&self) -> Option<String> {
        let collation = self
            .parts
            .iter()
            .find(|part| !part.collation_name.eq_ignore_ascii_case("BINARY"));
        if let Some(part) = collation {
            return Some(format!(
                "the application may define the collation {} in its own way",
                part.collation_name
            ));
        }
        if let Some(function) = self.texts().into_iter().find_map(versioned_in) {
            return Some(of_versions(&function));
        }
        if self.texts().into_iter().any(calls) {
            return Some(
                "the application may define the functions in it in its own way".to_owned(),
            );
        }
        let mut texts = self.texts().into_iter();
        texts.find_map(|sql| self.terms.in_expression(sql))
    }

    /// The expressions that are computed for it: keys, which rows belong into it, and the columns that
    /// these name.
    fn texts(&self) -> Vec<&str> {
        let keys = self.parts.iter().filter(|part| part.is_expression());
        let own = keys.map(|part| part.sql.as_str());
        let own = own.chain(self.partial.as_deref());
        let mut texts: Vec<&str> = own.flat_map(|sql| self.terms.with_computed(sql)).collect();
        if self.parts.iter().any(|part| part.origin == Origin::Virtual) {
            texts.extend(self.terms.computed());
        }
        texts
    }

    /// Whether what is computed for it calls a function, or compares by a collation, that the application
    /// may define in its own way.
    pub(super) fn calls_of_application(&self) -> bool {
        let texts = self.texts();
        let mut texts = texts.iter();
        texts.any(|sql| self.terms.in_expression(sql).is_some() || takes_text(sql))
    }

    /// Why another version of SQLite may compute other keys, or other rows that belong into it; none when
    /// every version computes the same from the rows that are there.
    ///
    /// # Errors
    ///
    /// SQLite's own.
    pub(super) fn differs_by_version(
        &self,
        connection: &Connection,
    ) -> rusqlite::Result<Option<String>> {
        let texts = self.texts();
        if let Some(function) = texts.iter().find_map(|sql| versioned_in(sql)) {
            return Ok(Some(of_versions(&function)));
        }
        hang_on_version(connection, &self.table, &texts)
    }

    /// Whether which rows belong into it is computed by anything that an application, or another version
    /// of SQLite, may compute in its own way, whatever the rows hold.
    pub(super) fn filter_calls(&self) -> bool {
        let filter = self.partial.as_deref();
        filter.is_some_and(|sql| {
            self.terms.in_expression(sql).is_some() || self.terms.with_computed(sql).any(takes_text)
        })
    }

    /// The same index with keys that are equal only to the byte; none where it computes something that
    /// an application may define.
    pub(super) fn by_bytes(&self) -> Option<Self> {
        if self.is_computed() || self.filter_is_left() {
            return None;
        }
        let mut exact = self.clone();
        for part in &mut exact.parts {
            part.collation = Collation::Binary;
            "BINARY".clone_into(&mut part.collation_name);
        }
        Some(exact)
    }

    /// Whether which rows belong into it is computed by what an application, or another version of SQLite,
    /// may compute in its own way.
    pub(super) fn filter_is_left(&self) -> bool {
        let filter = self.partial.as_deref();
        filter.is_some_and(|sql| self.terms.in_expression(sql).is_some())
    }

    /// Whether which rows belong into it hangs on how a version of SQLite reads what the rows hold.
    ///
    /// # Errors
    ///
    /// SQLite's own.
    pub(super) fn filter_hangs_on_version(
        &self,
        connection: &Connection,
    ) -> rusqlite::Result<bool> {
        let Some(filter) = self.partial.as_deref() else {
            return Ok(false);
        };
        let texts: Vec<&str> = self.terms.with_computed(filter).collect();
        Ok(hang_on_version(connection, &self.table, &texts)?.is_some())
    }

    /// How two entries compare in the order of the index.
    pub(super) fn order(&self, one: &[Stored<'_>], other: &[Stored<'_>]) -> Ordering {
        for ((part, one), other) in self.parts.iter().zip(one).zip(other) {
            let order = compare(one, other, part.collation);
            let order = if part.descending {
                order.reverse()
            } else {
                order
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

/// What the schema says of an index and its table.
struct SchemaEntry {
    root: u32,
    sql: Option<String>,
    table_root: u32,
    table_sql: String,
    without_rowid: bool,
}

impl SchemaEntry {
    fn read(connection: &Connection, index: &str, table: &str) -> rusqlite::Result<Option<Self>> {
        connection
            .query_row(
                "SELECT i.rootpage, i.sql, t.rootpage, coalesce(t.sql, ''), l.wr
                 FROM main.sqlite_schema AS i
                 JOIN main.sqlite_schema AS t ON t.type = 'table' AND t.name = i.tbl_name
                 JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = t.name
                 WHERE i.type = 'index' AND i.name = ?1 AND i.tbl_name = ?2",
                [index, table],
                |row| {
                    Ok(Self {
                        root: row.get(0)?,
                        sql: row.get(1)?,
                        table_root: row.get(2)?,
                        table_sql: row.get(3)?,
                        without_rowid: row.get(4)?,
                    })
                },
            )
            .optional()
    }
}

/// The columns of a table, with each whether it is computed whenever a row is read.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<(String, bool)>> {
    connection
        .prepare("SELECT name, hidden = 2 FROM pragma_table_xinfo(?1) ORDER BY cid")?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// A name of the rowid that no column has.
fn name_of_rowid(columns: &[(String, bool)]) -> Option<&'static str> {
    ["rowid", "_rowid_", "oid"].into_iter().find(|id| {
        let mut names = columns.iter().map(|(name, _)| name);
        !names.any(|name| name.eq_ignore_ascii_case(id))
    })
}

/// The name of the column that is the rowid itself.
fn alias_of_rowid(connection: &Connection, table: &str) -> Option<&'static str> {
    let name: String = connection
        .query_row(
            "SELECT name FROM pragma_table_xinfo(?1) WHERE pk = 1 AND type = 'INTEGER' COLLATE NOCASE",
            [table],
            |row| row.get(0),
        )
        .ok()?;
    ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|id| name.eq_ignore_ascii_case(id))
}

impl Collation {
    fn of(name: Option<&str>) -> Self {
        match name.map(str::to_ascii_uppercase).as_deref() {
            None | Some("BINARY") => Self::Binary,
            Some("NOCASE") => Self::NoCase,
            Some("RTRIM") => Self::Rtrim,
            Some(_) => Self::Unknown,
        }
    }
}

/// SQLite's order of values: null, numbers, text, blobs.
fn compare(one: &Stored<'_>, other: &Stored<'_>, collation: Collation) -> Ordering {
    use Stored::{Blob, Integer, Null, Real, Text};
    let rank = |value: &Stored<'_>| match value {
        Null => 0,
        Integer(_) | Real(_) => 1,
        Text(_) => 2,
        Blob(_) => 3,
    };
    match (one, other) {
        (Integer(one), Integer(other)) => one.cmp(other),
        (Real(one), Real(other)) => one.partial_cmp(other).unwrap_or(Ordering::Equal),
        (Integer(one), Real(other)) => integer_with_real(*one, *other),
        (Real(one), Integer(other)) => integer_with_real(*other, *one).reverse(),
        (Text(one), Text(other)) => match collation {
            Collation::Binary | Collation::Unknown => one.cmp(other),
            Collation::NoCase => {
                let lower = |text: &[u8]| text.to_ascii_lowercase();
                lower(one).cmp(&lower(other))
            }
            Collation::Rtrim => rtrim(one).cmp(rtrim(other)),
        },
        (Blob(one), Blob(other)) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

fn rtrim(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ');
    &text[..end.map_or(0, |end| end + 1)]
}

/// As `sqlite3IntFloatCompare` does.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the bounds are looked at first, and what is cut off is compared after it"
)]
fn integer_with_real(integer: i64, real: f64) -> Ordering {
    if real.is_nan() || real < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    if real >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    integer.cmp(&(real as i64)).then_with(|| {
        (integer as f64)
            .partial_cmp(&real)
            .unwrap_or(Ordering::Equal)
    })
}
