//! What of a schema an application may define in its own way although SQLite has it built in:
//! collations but `BINARY`, and functions such as `lower` and `like`. Where rows seem to break a rule
//! by dbmedic's SQLite, they may keep it by the application's. So may they by another version of SQLite.

use rusqlite::Connection;

use super::definition::tokens;
use super::quoted;
use super::shape::Shape;
use super::values::{Owned, owned, refs};
use crate::sqlite::btree::Stored;
use crate::sqlite_state::IndexComparison;

/// Entries that must lie as SQLite's own definitions would have put them, before it is taken for shown
/// that the application uses these: by chance a hundred do not.
const LEAST_WITNESSES: u64 = 100;

/// Functions that nobody has a reason to define anew, because they ask for no language, and that every
/// version of SQLite computes alike: of them what dbmedic's SQLite says counts. All others are the
/// application's to define, or [`VERSIONED`].
const PLAIN: &[&str] = &[
    "abs", "ceil", "ceiling", "char", "coalesce", "floor", "ifnull", "iif", "max", "min", "mod",
    "nullif", "sign", "trunc", "typeof",
];

/// Functions that are plain but where they are given a floating-point number: they take it as text, and
/// versions of SQLite write it in other digits (see [`super::digits`]).
const OF_TEXT: &[&str] = &[
    "cast",
    "hex",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_object",
    "json_type",
    "json_valid",
    "length",
    "ltrim",
    "octet_length",
    "quote",
    "replace",
    "rtrim",
    "substr",
    "substring",
    "trim",
    "unicode",
];

/// Functions that versions of SQLite compute differently. `date('2023-02-29')` is that day itself in
/// SQLite 3.40 and the first of March in 3.54; others round in other ways.
const VERSIONED: &[&str] = &[
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "date",
    "datetime",
    "degrees",
    "exp",
    "format",
    "julianday",
    "ln",
    "log",
    "log10",
    "log2",
    "pow",
    "power",
    "printf",
    "radians",
    "round",
    "sin",
    "sinh",
    "sqrt",
    "strftime",
    "tan",
    "tanh",
    "time",
    "timediff",
    "unixepoch",
];

/// Types that a text is made a floating-point number for by `CAST`, which versions round differently.
const REAL_TYPES: &[&str] = &["real", "double", "float", "numeric", "decimal"];

/// Words that may stand before an opening bracket and are no functions.
const KEYWORDS: &[&str] = &[
    "all", "and", "as", "between", "by", "case", "check", "collate", "distinct", "else", "end",
    "escape", "exists", "from", "in", "is", "isnull", "not", "notnull", "null", "on", "or", "then",
    "values", "when", "where",
];

/// Operators that are calls of functions.
const OPERATORS: &[&str] = &["like", "glob", "regexp", "match"];

/// What the definition of a table says of how the expressions in it are computed.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    /// The columns that have a collation of their own.
    collated: Vec<String>,
    /// The columns that are computed whenever a row is read, each with its expression.
    computed: Vec<(String, String)>,
}

impl Terms {
    /// Of a `CREATE TABLE`.
    pub(super) fn of(sql: &str) -> Self {
        Self {
            collated: collated_columns(sql),
            computed: virtual_columns(sql),
        }
    }

    /// An expression, and those of computed columns that are computed with it. One may name another, so
    /// that where it names one all are.
    pub(super) fn with_computed<'s>(&'s self, sql: &'s str) -> impl Iterator<Item = &'s str> {
        let names_computed = names_one_of(sql, self.computed.iter().map(|(name, _)| name.as_str()));
        std::iter::once(sql).chain(self.computed().filter(move |_| names_computed))
    }

    /// The expressions of all computed columns.
    pub(super) fn computed(&self) -> impl Iterator<Item = &str> {
        self.computed.iter().map(|(_, sql)| sql.as_str())
    }

    /// As [`in_expression`], the computed columns that it names included.
    pub(super) fn in_expression(&self, sql: &str) -> Option<String> {
        let mut all = self.with_computed(sql);
        all.find_map(|sql| in_expression(sql, &self.collated))
    }
}

/// Why versions of SQLite may compute expressions differently from the rows that are there; none where
/// these hold nothing of the kind. They write and read the digits of numbers differently, where an expression
/// takes a column as text that holds a floating-point number, or calculates with one that holds text. They
/// read JSON differently that holds escapes (`\\u0000`, escaped keys), NUL characters or bytes.
///
/// # Errors
///
/// SQLite's own.
pub(super) fn hang_on_version(
    connection: &Connection,
    table: &str,
    expressions: &[&str],
) -> rusqlite::Result<Option<String>> {
    let take_text = expressions.iter().any(|sql| takes_text(sql));
    let operands: Vec<String> = expressions.iter().flat_map(|sql| operands(sql)).collect();
    if !take_text && operands.is_empty() {
        return Ok(None);
    }
    let columns: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 2 ORDER BY cid")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let is_named = |column: &&String| {
        let mut expressions = expressions.iter();
        expressions.any(|sql| names_one_of(sql, std::iter::once(column.as_str())))
    };
    let is_operand = |column: &&String| {
        let mut operands = operands.iter();
        operands.any(|operand| operand.eq_ignore_ascii_case(column))
    };
    let exists = |conditions: Vec<String>| {
        if conditions.is_empty() {
            return Ok(false);
        }
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM main.{} NOT INDEXED WHERE {})",
            quoted(table),
            conditions.join(" OR ")
        );
        connection.query_row(&sql, [], |row| row.get::<_, bool>(0))
    };
    let holds = |column: &String, kind: &str| format!("typeof({}) = '{kind}'", quoted(column));
    let reals = columns.iter().filter(|_| take_text).filter(is_named);
    let texts = columns.iter().filter(is_operand);
    let kinds = reals.map(|column| holds(column, "real"));
    if exists(
        kinds
            .chain(texts.map(|column| holds(column, "text")))
            .collect(),
    )? {
        return Ok(Some(super::digits::WHY.to_owned()));
    }
    let Some(function) = expressions.iter().find_map(|sql| json_in(sql)) else {
        return Ok(None);
    };
    let odd = |column: &String| {
        let column = quoted(column);
        format!(
            "typeof({column}) = 'blob' OR instr({column}, '\\') > 0 \
             OR instr(CAST({column} AS BLOB), x'00') > 0"
        )
    };
    let is_odd = exists(columns.iter().filter(is_named).map(odd).collect())?;
    Ok(is_odd.then(|| of_versions(&function)))
}

/// What in an expression reads JSON; none where nothing does.
fn json_in(sql: &str) -> Option<String> {
    if sql.contains("->") {
        return Some("->".to_owned());
    }
    let words = words(sql);
    let mut calls = words.windows(2);
    let call = calls.find(|two| two[1] == "(" && unquoted(&two[0]).starts_with("json"));
    call.map(|two| unquoted(&two[0]))
}

/// What in an expression an application may define in its own way; none when there is nothing of the
/// kind. `collated` are the columns that have a collation of their own.
fn in_expression(sql: &str, collated: &[String]) -> Option<String> {
    let Some(tokens) = tokens(sql) else {
        return Some("its text is not understood".to_owned());
    };
    if let Some(function) = versioned_in(sql) {
        return Some(of_versions(&function));
    }
    let text = |at: usize| tokens.get(at).map(|token| &sql[token.0..token.1]);
    for at in 0..tokens.len() {
        let Some(token) = text(at) else { continue };
        let lower = token.to_ascii_lowercase();
        let is_called = text(at + 1) == Some("(");
        let is_name = token.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
        let is_operator = OPERATORS.contains(&lower.as_str());
        if is_operator
            || is_called
                && is_name
                && ![PLAIN, OF_TEXT, KEYWORDS]
                    .iter()
                    .any(|known| known.contains(&lower.as_str()))
        {
            return Some(format!("the application may define {token} in its own way"));
        }
        if lower == "collate"
            && let Some(collation) = text(at + 1).filter(|name| !is_binary(name))
        {
            return Some(of_collation(collation));
        }
        if collated
            .iter()
            .any(|one| one.eq_ignore_ascii_case(&unquoted(token)))
        {
            return Some(format!(
                "the application may define the collation of `{}` in its own way",
                unquoted(token)
            ));
        }
    }
    None
}

/// Whether an expression calls a function, be it as an operator, or names a collation.
pub(super) fn calls(sql: &str) -> bool {
    let words = words(sql);
    let is_call = |two: &[String]| {
        let is_name = two[0].starts_with(|c: char| c.is_alphanumeric() || "_\"`[".contains(c));
        is_name && two[1] == "(" && !KEYWORDS.contains(&two[0].as_str())
    };
    let is_operator = |word: &String| word == "collate" || OPERATORS.contains(&word.as_str());
    sql.contains("->") || words.iter().any(is_operator) || words.windows(2).any(is_call)
}

/// The first function in an expression that versions of SQLite compute differently, whatever it is given.
pub(super) fn versioned_in(sql: &str) -> Option<String> {
    let words = words(sql);
    words.iter().enumerate().find_map(|(at, word)| {
        let next = words.get(at + 1).map(String::as_str);
        let is_called = next == Some("(") && VERSIONED.contains(&word.as_str());
        let is_cast = word == "as" && next.is_some_and(|next| REAL_TYPES.contains(&next));
        match (is_called, is_cast) {
            (true, _) => Some(word.clone()),
            (_, true) => Some("cast".to_owned()),
            _ => None,
        }
    })
}

/// Whether an expression takes values as text, so that a floating-point number in them counts by its
/// digits. What is not known to take numbers as they are takes them as text.
pub(super) fn takes_text(sql: &str) -> bool {
    let words = words(sql);
    let is_call = |two: &[String]| {
        let is_name = two[0].starts_with(|c: char| c.is_alphanumeric() || "_\"`[".contains(c));
        let takes_numbers = [PLAIN, KEYWORDS]
            .iter()
            .any(|known| known.contains(&two[0].as_str()));
        is_name && two[1] == "(" && !takes_numbers
    };
    let is_operator = |two: &[String]| two[0] == "|" && two[1] == "|";
    sql.contains("->")
        || words.iter().any(|word| OPERATORS.contains(&word.as_str()))
        || words.windows(2).any(|two| is_call(two) || is_operator(two))
}

/// The names that stand beside an operator which calculates.
fn operands(sql: &str) -> Vec<String> {
    let tokens = tokens(sql).unwrap_or_default();
    let text = |at: usize| tokens.get(at).map(|token| &sql[token.0..token.1]);
    let mut names = Vec::new();
    for at in 0..tokens.len() {
        if matches!(text(at), Some("+" | "-" | "*" | "/" | "%")) {
            let beside = [at.checked_sub(1).and_then(text), text(at + 1)];
            names.extend(beside.into_iter().flatten().map(unquoted));
        }
    }
    names
}

/// Whether an expression names one of these columns.
fn names_one_of<'c>(sql: &str, columns: impl Iterator<Item = &'c str>) -> bool {
    let Some(tokens) = tokens(sql) else {
        return true;
    };
    let names: Vec<String> = tokens
        .iter()
        .map(|token| unquoted(&sql[token.0..token.1]))
        .collect();
    let mut columns = columns;
    columns.any(|column| names.iter().any(|name| name.eq_ignore_ascii_case(column)))
}

fn words(sql: &str) -> Vec<String> {
    let tokens = tokens(sql).unwrap_or_default();
    let words = tokens.iter().map(|token| &sql[token.0..token.1]);
    words.map(str::to_ascii_lowercase).collect()
}

/// That versions of SQLite compute a function differently.
pub(super) fn of_versions(function: &str) -> String {
    format!("versions of SQLite compute {function} differently")
}

/// Each token of a column's definition in a `CREATE TABLE` that stands in no brackets of its own: its place
/// among the tokens, and the place of the column's name.
fn of_columns(sql: &str, tokens: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let (mut depth, mut column) = (0_usize, None);
    for (at, token) in tokens.iter().enumerate() {
        match &sql[token.0..token.1] {
            "(" => {
                depth += 1;
                if depth == 1 {
                    column = Some(at + 1);
                }
            }
            ")" => depth = depth.saturating_sub(1),
            "," if depth == 1 => column = Some(at + 1),
            _ if depth == 1 => found.extend(column.map(|column| (at, column))),
            _ => {}
        }
    }
    found
}

/// The columns of a `CREATE TABLE` that are computed whenever a row is read, each with its expression.
fn virtual_columns(sql: &str) -> Vec<(String, String)> {
    let tokens = tokens(sql).unwrap_or_default();
    let text = |at: usize| tokens.get(at).map_or("", |token| &sql[token.0..token.1]);
    // The bracket that closes the one at a place.
    let closes = |open: usize| {
        let mut depth = 0_usize;
        (open..tokens.len()).find(|&at| {
            match text(at) {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            depth == 0
        })
    };
    let computed = |(at, column): (usize, usize)| {
        if !text(at).eq_ignore_ascii_case("AS") || text(at + 1) != "(" {
            return None;
        }
        let close = closes(at + 1)?;
        let expression = &sql[tokens[at + 1].0..tokens[close].1];
        let is_stored = text(close + 1).eq_ignore_ascii_case("STORED");
        (!is_stored).then(|| (unquoted(text(column)), expression.to_owned()))
    };
    of_columns(sql, &tokens)
        .into_iter()
        .filter_map(computed)
        .collect()
}

/// The columns of a `CREATE TABLE` that have a collation other than `BINARY`.
pub(super) fn collated_columns(sql: &str) -> Vec<String> {
    let tokens = tokens(sql).unwrap_or_default();
    let text = |at: usize| tokens.get(at).map_or("", |token| &sql[token.0..token.1]);
    let is_collated =
        |at: usize| text(at).eq_ignore_ascii_case("COLLATE") && !is_binary(text(at + 1));
    of_columns(sql, &tokens)
        .into_iter()
        .filter(|(at, _)| is_collated(*at))
        .map(|(_, column)| unquoted(text(column)))
        .collect()
}

/// That a collation is the application's to define.
pub(super) fn of_collation(collation: &str) -> String {
    format!(
        "the application may define the collation {} in its own way",
        unquoted(collation)
    )
}

/// Whether the entries that the application wrote show that it uses SQLite's own collations and
/// functions: all of them lie in that order and hold what these functions compute, and no text goes
/// beyond ASCII, where other definitions differ.
pub(super) struct Witness {
    shape: Shape,
    before: Option<Vec<Owned>>,
    is_ordered: bool,
    is_ascii: bool,
}

impl Witness {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            // Which rows belong into it shows in no entry.
            is_ordered: shape.order_is_known() && !shape.filter_calls(),
            shape,
            before: None,
            is_ascii: true,
        }
    }

    /// Takes in the next entry of the index.
    pub(super) fn entry(&mut self, entry: &[Stored<'_>]) {
        if !self.is_ordered {
            return;
        }
        if let Some(before) = &self.before {
            self.is_ordered = self.shape.order(&refs(before), entry).is_le();
        }
        self.before = Some(owned(entry));
        self.row(entry);
    }

    /// Takes in the entry that a row should have.
    pub(super) fn row(&mut self, entry: &[Stored<'_>]) {
        self.is_ascii &= entry.iter().all(|value| match value {
            Stored::Text(text) => text.is_ascii(),
            _ => true,
        });
    }

    /// Whether that is shown, seen what came of the comparison.
    pub(super) fn shows_own_definitions(&self, found: &IndexComparison) -> bool {
        let odd = found.removable.total() + found.disagreements;
        self.is_ordered
            && self.is_ascii
            && found.unreadable == 0
            && odd == 0
            && found.entries >= LEAST_WITNESSES
            && found.entries.saturating_mul(2) >= found.rows
    }
}

fn is_binary(collation: &str) -> bool {
    unquoted(collation).eq_ignore_ascii_case("BINARY")
}

/// A name without its quotes.
fn unquoted(token: &str) -> String {
    let quotes = [('"', '"'), ('`', '`'), ('[', ']'), ('\'', '\'')];
    for (open, close) in quotes {
        if let Some(name) = token
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
        {
            let doubled = format!("{close}{close}");
            return name.replace(&doubled, &close.to_string());
        }
    }
    token.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_application_may_define_is_seen() {
        let collated = ["name".to_owned()];
        let own = |sql: &str| in_expression(sql, &collated).is_some();
        for judged in [
            "price > 0",
            "length(code) = (2) AND kind IN ('a', 'lower(')",
            "CAST(code AS INTEGER) > 0",
            "coalesce(a, b) NOT BETWEEN 1 AND 2",
            "typeof(\"price\") = 'integer'",
            "code = 'x' COLLATE binary",
        ] {
            assert!(!own(judged), "{judged}");
        }
        for left in [
            "date(day) >= '2023-03-01'",
            "CAST(price AS REAL) > 0",
            "email = lower(email)",
            "email = \"lower\"(email)",
            "email LIKE '%@%'",
            "code GLOB 'A*'",
            "code = 'x' COLLATE NOCASE",
            "Name <> ''",
            "[name] <> ''",
            "code = 'x",
        ] {
            assert!(own(left), "{left}");
        }
    }

    #[test]
    fn computed_columns_are_read_from_the_definition() {
        let sql = "CREATE TABLE t(a, lc TEXT GENERATED ALWAYS AS (lower(a)) VIRTUAL NOT NULL, \
                   s AS (a || 'x') STORED, \"x y\" AS ((lc)), CHECK (CAST(a AS TEXT) <> ''))";
        let expected = [("lc", "(lower(a))"), ("x y", "((lc))")];
        assert_eq!(
            virtual_columns(sql),
            expected.map(|(name, sql)| (name.to_owned(), sql.to_owned()))
        );
        assert!(names_one_of("\"LC\" = a", ["lc"].into_iter()));
        assert!(!names_one_of("'x' = a", ["lc"].into_iter()));
    }

    #[test]
    fn what_depends_on_the_version_is_seen() {
        assert_eq!(versioned_in("(date ( t ) > 1)").as_deref(), Some("date"));
        assert_eq!(versioned_in("cast(t as Real)").as_deref(), Some("cast"));
        assert_eq!(versioned_in("\"date\" > 1 AND length(t)"), None);
        assert!(
            takes_text("length(t) > 1") && takes_text("a || b") && takes_text("cast(a as text)")
        );
        assert_eq!(
            json_in("(JSON_extract (v, '$.a')) > 1").as_deref(),
            Some("json_extract")
        );
        assert_eq!(json_in("v ->> '$.a'").as_deref(), Some("->"));
        assert_eq!(json_in("json_text > length(v)"), None);
        for sql in [
            "a LIKE '%5'",
            "a GLOB '*9'",
            "concat_ws(',', a, b)",
            "a->>'$'",
            "json_array(a)",
        ] {
            assert!(takes_text(sql), "{sql}");
        }
        assert!(!takes_text("length > 1") && !takes_text("abs(a) > 1 AND b IN (1, 2)"));
        assert!(calls("(a + abs (b))") && calls("a->'$.b'") && calls("a LIKE b"));
        assert!(!calls("(a + (b = 7)) AND (c IN ('lower('))"));
        assert_eq!(operands("a > 'x' AND \"b c\" + 0.0 > 1"), ["b c", "0"]);
    }

    #[test]
    fn columns_with_a_collation_are_read_from_the_definition() {
        let sql = "CREATE TABLE t(a TEXT COLLATE NOCASE, \"b,\" TEXT CHECK (a <> 'x' COLLATE RTRIM), \
                   c TEXT COLLATE BINARY, [d] COLLATE \"RTRIM\", UNIQUE (c))";
        assert_eq!(collated_columns(sql), ["a", "d"]);
    }
}
