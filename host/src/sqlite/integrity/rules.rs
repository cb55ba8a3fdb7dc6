//! The rules of the schema that rows break: not damage, but nothing that SQLite would let anybody
//! store now. `integrity_check` names some of them among the damage, one row at a time; others it
//! does not look at.

use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use super::application::{Terms, collated_columns, hang_on_version};
use super::definition::tokens;
use super::digits;
use super::objects::concerns_an_object;
use super::shape::Shape;
use super::{Gathered, is_damage, quoted, rebuildable};
use crate::sqlite::connection::without_values;
use crate::sqlite_state::{
    BrokenRule, DamagedObject, IntegrityFault, MOST_ROWIDS, Rule, UnjudgedPart,
};

/// Decides of each unique index with a key of several entries whether several rows have that key,
/// or the index is damaged.
///
/// # Errors
///
/// SQLite's own where it concerns all of the database.
pub(super) fn settle_shared(connection: &Connection, found: &mut Gathered) -> rusqlite::Result<()> {
    for (index, table) in std::mem::take(&mut found.shared) {
        match duplicates(connection, &index, &table) {
            Ok(Shared::Rows(rule)) => found.broken(*rule),
            Ok(Shared::Definitions(why)) => {
                found.unjudged(UnjudgedPart::UniqueKeys, &index, &why);
            }
            Ok(Shared::Nothing) => found.faults.push(IntegrityFault {
                message: format!("non-unique entry in index {index}"),
                object: DamagedObject::Index {
                    rebuildable: rebuildable(connection, &index),
                    index,
                    table,
                },
            }),
            Err(error) if concerns_an_object(&error) || is_damage(&error) => {
                found.unjudged(UnjudgedPart::IndexOrder, &index, &without_values(&error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether rows share a key of a unique index.
enum Shared {
    /// None do.
    Nothing,
    /// They do.
    Rows(Box<BrokenRule>),
    /// They do by dbmedic's SQLite, and need not by the application's: why.
    Definitions(String),
}

/// The rows that share a key of a unique index.
fn duplicates(connection: &Connection, index: &str, table: &str) -> rusqlite::Result<Shared> {
    let Ok(shape) = Shape::read(connection, index, table)? else {
        return Ok(Shared::Nothing);
    };
    let (keys, rows) = shared(connection, &shape)?;
    if keys == 0 {
        return Ok(Shared::Nothing);
    }
    // Keys that are the same to the byte are the same by any order.
    let (shape, keys, rows) = match shape.left_to_application() {
        None => (shape, keys, rows),
        Some(why) => {
            let Some(exact) = shape.by_bytes() else {
                return Ok(Shared::Definitions(why));
            };
            let (keys, rows) = shared(connection, &exact)?;
            if keys == 0 {
                return Ok(Shared::Definitions(why));
            }
            (exact, keys, rows)
        }
    };
    let mut rowids = Vec::new();
    if let Some(sql) = shape.shared_rowids_sql(MOST_ROWIDS.div_ceil(2)) {
        let mut statement = connection.prepare(&sql)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            rowids.extend([row.get::<_, i64>(0)?, row.get(1)?]);
        }
    }
    Ok(Shared::Rows(Box::new(BrokenRule {
        rule: Rule::Unique,
        table: table.to_owned(),
        columns: shape.key_names(),
        index: Some(index.to_owned()),
        rows,
        keys: Some(keys),
        rowids,
        ..BrokenRule::default()
    })))
}

/// How many keys several rows share, and how many rows that are.
fn shared(connection: &Connection, shape: &Shape) -> rusqlite::Result<(u64, u64)> {
    let Some(sql) = shape.shared_rows_sql() else {
        return Ok((0, 0));
    };
    if !shape.reads_the_table(connection, &sql)? {
        return Ok((0, 0));
    }
    let (keys, rows): (i64, i64) =
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((
        u64::try_from(keys).unwrap_or(0),
        u64::try_from(rows).unwrap_or(0),
    ))
}

/// Looks at the rules that the check of the pages does not: `CHECK` and foreign keys. Whatever
/// keeps that from being done is no reason to lose what the check found.
pub(super) fn examine(connection: &Connection, found: &mut Gathered) {
    let examined = settle_shared(connection, found)
        .and_then(|()| name_rowids(connection, found))
        .and_then(|()| checks(connection, found))
        .and_then(|()| foreign_keys(connection, found));
    found.rules_checked = examined.is_ok();
    if let Err(error) = examined {
        let reason = match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => "the time for the check was over".to_owned(),
            _ => without_values(&error),
        };
        found.unjudged(UnjudgedPart::ForeignKeys, "", &reason);
    }
}

/// Names the first rows that break a rule about one column.
fn name_rowids(connection: &Connection, found: &mut Gathered) -> rusqlite::Result<()> {
    for rule in &mut found.broken_rules {
        let [column] = rule.columns.as_slice() else {
            continue;
        };
        if rule.rule != Rule::NotNull {
            continue;
        }
        // Of a NOT NULL column SQLite takes IS NULL for false, whatever it holds.
        let filter = format!("typeof({}) = 'null'", quoted(column));
        rule.rowids = first_rowids(connection, &rule.table, &filter)?;
    }
    Ok(())
}

/// The rowids of the first rows for which a condition holds; none in a table without rowids.
fn first_rowids(connection: &Connection, table: &str, filter: &str) -> rusqlite::Result<Vec<i64>> {
    let columns: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_xinfo(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let is_taken = |id: &&str| columns.iter().any(|column| column.eq_ignore_ascii_case(id));
    let Some(id) = ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|id| !is_taken(id))
    else {
        return Ok(Vec::new());
    };
    let sql = format!(
        "SELECT {id} FROM main.{} NOT INDEXED WHERE {filter} LIMIT {MOST_ROWIDS}",
        quoted(table)
    );
    // There is none in a table without rowids.
    let Ok(mut statement) = connection.prepare(&sql) else {
        return Ok(Vec::new());
    };
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Counts the rows for which a `CHECK` of their table is false.
fn checks(connection: &Connection, found: &mut Gathered) -> rusqlite::Result<()> {
    let tables: Vec<(String, String)> = connection
        .prepare(
            "SELECT name, sql FROM main.sqlite_schema \
             WHERE type = 'table' AND rootpage > 0 AND sql LIKE '%check%' ORDER BY name",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (table, definition) in tables {
        let conditions = match check_conditions(&definition) {
            Ok(conditions) if conditions.is_empty() => continue,
            Ok(conditions) => conditions,
            Err(why) => {
                found.unjudged(UnjudgedPart::Checks, &table, why);
                continue;
            }
        };
        let broken: Vec<String> = conditions
            .iter()
            .map(|condition| format!("NOT ({condition}\n)"))
            .collect();
        let filter = broken.join(" OR ");
        let from = format!("main.{} NOT INDEXED", quoted(&table));
        let sql = format!("SELECT count(*) FROM {from} WHERE {filter}");
        let rows = connection.query_row(&sql, [], |row| row.get::<_, i64>(0));
        let rows = match rows {
            Ok(0) => continue,
            Ok(rows) => u64::try_from(rows).unwrap_or(0),
            Err(error) if concerns_an_object(&error) => {
                found.unjudged(UnjudgedPart::Checks, &table, &without_values(&error));
                continue;
            }
            // The check of its pages has said so.
            Err(error) if is_damage(&error) => continue,
            Err(error) => return Err(error),
        };
        let terms = Terms::of(&definition);
        let own = conditions.iter().find_map(|sql| terms.in_expression(sql));
        let all: Vec<&str> = conditions
            .iter()
            .flat_map(|sql| terms.with_computed(sql))
            .collect();
        let own = match own {
            None => hang_on_version(connection, &table, &all)?,
            own => own,
        };
        if let Some(why) = own {
            let why = format!("{rows} rows break one by SQLite's own definitions, and {why}");
            found.unjudged(UnjudgedPart::Checks, &table, &why);
            continue;
        }
        let rowids = first_rowids(connection, &table, &filter)?;
        found.broken(BrokenRule {
            rule: Rule::Check,
            table,
            rows,
            rowids,
            ..BrokenRule::default()
        });
    }
    Ok(())
}

/// The conditions of the `CHECK`s in a `CREATE TABLE`. A subquery, which SQLite forbids there, is
/// not run.
fn check_conditions(sql: &str) -> Result<Vec<String>, &'static str> {
    const NOT_UNDERSTOOD: &str = "its definition is written in a way that is not understood";
    let tokens = tokens(sql).ok_or(NOT_UNDERSTOOD)?;
    let is = |at: usize, word: &str| {
        tokens
            .get(at)
            .is_some_and(|token| sql[token.0..token.1].eq_ignore_ascii_case(word))
    };
    let mut conditions = Vec::new();
    let mut depth = 0_usize;
    let mut begin = None;
    for at in 0..tokens.len() {
        if is(at, "(") {
            depth += 1;
            // CHECK is no name unless it is quoted: in the list of columns it begins a rule.
            if depth == 2 && is(at - 1, "CHECK") {
                begin = Some(at + 1);
            }
        } else if is(at, ")") {
            depth = depth.checked_sub(1).ok_or(NOT_UNDERSTOOD)?;
            if depth == 1
                && let Some(begin) = begin.take()
            {
                let (first, last) = (tokens.get(begin), tokens.get(at - 1));
                let (first, last) = first.zip(last).ok_or(NOT_UNDERSTOOD)?;
                let condition = sql.get(first.0..last.1).ok_or(NOT_UNDERSTOOD)?;
                conditions.push(condition.to_owned());
            }
        } else if begin.is_some() && (is(at, "SELECT") || is(at, "WITH") || is(at, "VALUES")) {
            return Err("it holds a subquery");
        }
    }
    Ok(conditions)
}

/// Counts the rows that have no parent where a foreign key asks for one.
fn foreign_keys(connection: &Connection, found: &mut Gathered) -> rusqlite::Result<()> {
    let tables: Vec<String> = connection
        .prepare(
            "SELECT DISTINCT s.name FROM main.sqlite_schema AS s \
             JOIN pragma_foreign_key_list(s.name) WHERE s.type = 'table' ORDER BY s.name",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        match orphans(connection, &table) {
            Ok(rules) => {
                for rule in rules {
                    let meant = match collated_parent(connection, &rule)? {
                        None => meant_otherwise(connection, &rule)?,
                        why => why,
                    };
                    match meant {
                        Some(why) => found.unjudged(UnjudgedPart::ForeignKeys, &table, &why),
                        None => found.broken(rule),
                    }
                }
            }
            Err(error) if concerns_an_object(&error) => {
                found.unjudged(UnjudgedPart::ForeignKeys, &table, &without_values(&error));
            }
            // The check of its pages has said so.
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why the parents of a foreign key may be there by the application's SQLite: their keys are compared by
/// a collation that it may define.
fn collated_parent(connection: &Connection, rule: &BrokenRule) -> rusqlite::Result<Option<String>> {
    let Some(parent) = rule.parent.as_deref().filter(|_| !rule.parent_missing) else {
        return Ok(None);
    };
    let definition: Option<String> = connection
        .query_row(
            "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
            [parent],
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    let collated = definition.as_deref().map(collated_columns);
    let keys: Vec<String> = connection
        .prepare(
            "SELECT DISTINCT coalesce(f.\"to\", x.name) FROM pragma_foreign_key_list(?1) AS f \
             LEFT JOIN pragma_table_xinfo(f.\"table\") AS x ON f.\"to\" IS NULL AND x.pk > 0 \
             WHERE f.\"table\" = ?2 COLLATE NOCASE AND coalesce(f.\"to\", x.name) IS NOT NULL",
        )?
        .query_map([&rule.table, parent], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let is_collated = |key: &&String| {
        let mut collated = collated.iter().flatten();
        collated.any(|column| column.eq_ignore_ascii_case(key))
    };
    Ok(keys.iter().find(is_collated).map(|key| {
        format!(
            "{} rows have no parent by SQLite's own definitions, and the application may define the \
             collation of `{parent}`.`{key}` in its own way",
            rule.rows
        )
    }))
}

/// Why rows without a parent may be what the application means. SQLite enforces foreign keys only for
/// who asks for it on each connection.
fn meant_otherwise(connection: &Connection, rule: &BrokenRule) -> rusqlite::Result<Option<String>> {
    let rows = rule.rows;
    let parent = rule.parent.as_deref().unwrap_or_default();
    if rule.parent_missing {
        // Nobody can write such a row who has foreign keys enforced: it is the application that looks
        // the parent up, in another database perhaps.
        return Ok(Some(format!(
            "{rows} rows name rows of table `{parent}`, which is not in this database"
        )));
    }
    let [column] = rule.columns.as_slice() else {
        return Ok(None);
    };
    let (child, table, parent_table) = (quoted(column), quoted(&rule.table), quoted(parent));
    let keys: Option<String> = connection
        .query_row(
            "SELECT coalesce(f.\"to\", x.name) FROM pragma_foreign_key_list(?1) AS f \
             LEFT JOIN pragma_table_xinfo(f.\"table\") AS x ON f.\"to\" IS NULL AND x.pk > 0 \
             WHERE f.\"table\" = ?2 COLLATE NOCASE AND f.\"from\" = ?3 COLLATE NOCASE",
            [&rule.table, parent, column],
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    let Some(key) = keys.as_deref().map(quoted) else {
        return Ok(None);
    };
    // Of rows with a value that no parent has, what kinds of values these are.
    let sql = format!(
        "SELECT count(*), coalesce(sum(c.{child} = 0 AND typeof(c.{child}) = 'integer'), 0), \
         coalesce(sum(typeof(c.{child}) = 'real' \
         AND CAST(printf('%.15g', c.{child}) AS REAL) <> c.{child}), 0) FROM main.{table} AS c NOT INDEXED \
         WHERE c.{child} IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM main.{parent_table} AS p WHERE p.{key} = c.{child})"
    );
    let (all, zeros, reals): (i64, i64, i64) =
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if all > 0 && zeros == all {
        return Ok(Some(format!(
            "{rows} rows have 0 in `{column}`, which may stand for no row of `{parent}`"
        )));
    }
    let holds_text: bool = connection.query_row(
        &format!("SELECT EXISTS (SELECT 1 FROM main.{parent_table} WHERE typeof({key}) = 'text')"),
        [],
        |row| row.get(0),
    )?;
    Ok((reals > 0 && holds_text).then(|| {
        format!(
            "{rows} rows have no parent by this version's digits, and {}",
            digits::WHY
        )
    }))
}

/// The foreign keys of a table that rows break.
fn orphans(connection: &Connection, table: &str) -> rusqlite::Result<Vec<BrokenRule>> {
    let mut rules: std::collections::BTreeMap<i64, BrokenRule> = std::collections::BTreeMap::new();
    let sql = format!(
        "PRAGMA main.foreign_key_check('{}')",
        table.replace('\'', "''")
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let rule = rules.entry(row.get(3)?).or_default();
        rule.rows += 1;
        if rule.parent.is_none() {
            rule.parent = Some(row.get(2)?);
        }
        if let Some(rowid) = row.get::<_, Option<i64>>(1)?
            && rule.rowids.len() < MOST_ROWIDS
        {
            rule.rowids.push(rowid);
        }
    }
    for (id, rule) in &mut rules {
        rule.rule = Rule::ForeignKey;
        table.clone_into(&mut rule.table);
        rule.columns = connection
            .prepare("SELECT \"from\" FROM pragma_foreign_key_list(?1) WHERE id = ?2 ORDER BY seq")?
            .query_map(rusqlite::params![table, id], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let parent_exists: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema \
             WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE)",
            [&rule.parent],
            |row| row.get(0),
        )?;
        rule.parent_missing = !parent_exists;
    }
    Ok(rules.into_values().collect())
}

impl Gathered {
    fn broken(&mut self, rule: BrokenRule) {
        if !self.broken_rules.contains(&rule) {
            self.broken_rules.push(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_conditions;

    #[test]
    fn the_conditions_of_a_table_are_read_from_its_definition() {
        let read = |sql: &str| check_conditions(sql).unwrap();
        assert_eq!(
            read(
                "CREATE TABLE \"check (\" (a INT CHECK(a > (1)), \"CHECK\" TEXT DEFAULT (1), \
                 b AS (a + 1) CONSTRAINT c CHECK /* ( */ (b <> ')'), CHECK (a < b -- )\n))"
            ),
            ["a > (1)", "b <> ')'", "a < b"]
        );
        assert_eq!(read("CREATE TABLE t(a, b)"), Vec::<String>::new());
        assert!(check_conditions("CREATE TABLE t(a CHECK (a IN (SELECT 1)))").is_err());
        assert!(check_conditions("CREATE TABLE t(a CHECK ('").is_err());
    }
}
