//! What of a schema an application may define in its own way although SQLite has it built in:
//! collations but `BINARY`, and functions such as `lower` and `like`. Where rows seem to break a rule
//! by dbmedic's SQLite, they may keep it by the application's.

use super::definition::tokens;
use super::shape::Shape;
use super::values::{Owned, owned, refs};
use crate::target::sqlite::IndexComparison;
use crate::target::sqlite::btree::Stored;

/// Entries that must lie as SQLite's own definitions would have put them, before it is taken for shown
/// that the application uses these: by chance a hundred do not.
const LEAST_WITNESSES: u64 = 100;

/// Functions that nobody has a reason to define anew, because they ask for no language: of them what
/// dbmedic's SQLite says counts. All others are the application's to define.
const PLAIN: &[&str] = &[
    "abs",
    "cast",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "date",
    "datetime",
    "floor",
    "hex",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_object",
    "json_type",
    "json_valid",
    "julianday",
    "length",
    "ltrim",
    "max",
    "min",
    "mod",
    "nullif",
    "octet_length",
    "quote",
    "replace",
    "round",
    "rtrim",
    "sign",
    "strftime",
    "substr",
    "substring",
    "time",
    "trim",
    "trunc",
    "typeof",
    "unicode",
    "unixepoch",
];

/// Words that may stand before an opening bracket and are no functions.
const KEYWORDS: &[&str] = &[
    "all", "and", "as", "between", "by", "case", "check", "collate", "distinct", "else", "end",
    "escape", "exists", "from", "in", "is", "isnull", "not", "notnull", "null", "on", "or", "then",
    "values", "when", "where",
];

/// Operators that are calls of functions.
const OPERATORS: &[&str] = &["like", "glob", "regexp", "match"];

/// What in an expression an application may define in its own way; none when there is nothing of the
/// kind. `collated` are the columns that have a collation of their own.
pub(super) fn in_expression(sql: &str, collated: &[String]) -> Option<String> {
    let Some(tokens) = tokens(sql) else {
        return Some("its text is not understood".to_owned());
    };
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
                && !PLAIN.contains(&lower.as_str())
                && !KEYWORDS.contains(&lower.as_str())
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

/// The columns of a `CREATE TABLE` that have a collation other than `BINARY`.
pub(super) fn collated_columns(sql: &str) -> Vec<String> {
    let Some(tokens) = tokens(sql) else {
        return Vec::new();
    };
    let text = |at: usize| tokens.get(at).map_or("", |token| &sql[token.0..token.1]);
    let mut found = Vec::new();
    let (mut depth, mut column) = (0_usize, None);
    for at in 0..tokens.len() {
        match text(at) {
            "(" => {
                depth += 1;
                if depth == 1 {
                    column = Some(at + 1);
                }
            }
            ")" => depth = depth.saturating_sub(1),
            "," if depth == 1 => column = Some(at + 1),
            word if depth == 1 && word.eq_ignore_ascii_case("COLLATE") => {
                if let Some(column) = column
                    && !is_binary(text(at + 1))
                {
                    found.push(unquoted(text(column)));
                }
            }
            _ => {}
        }
    }
    found
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
            is_ordered: shape.order_is_known(),
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
            "coalesce(a, b) NOT BETWEEN 1 AND 2",
            "typeof(\"price\") = 'integer'",
            "code = 'x' COLLATE binary",
        ] {
            assert!(!own(judged), "{judged}");
        }
        for left in [
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
    fn columns_with_a_collation_are_read_from_the_definition() {
        let sql = "CREATE TABLE t(a TEXT COLLATE NOCASE, \"b,\" TEXT CHECK (a <> 'x' COLLATE RTRIM), \
                   c TEXT COLLATE BINARY, [d] COLLATE \"RTRIM\", UNIQUE (c))";
        assert_eq!(collated_columns(sql), ["a", "d"]);
    }
}
