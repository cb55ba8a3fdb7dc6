//! What the text of a schema entry says that no pragma does.

/// The parts of a CREATE INDEX that the pragmas do not tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Definition {
    /// Each member of the list, without its direction.
    pub(super) parts: Vec<String>,
    /// What stands behind WHERE.
    pub(super) filter: Option<String>,
}

impl Definition {
    /// Reads `CREATE [UNIQUE] INDEX name ON table (list) [WHERE filter]` as it stands in the
    /// schema; none when it does not look like that.
    pub(super) fn parse(sql: &str) -> Option<Self> {
        let tokens = tokens(sql)?;
        let word = |at: usize, wanted: &str| {
            tokens
                .get(at)
                .is_some_and(|token| sql[token.0..token.1].eq_ignore_ascii_case(wanted))
        };
        let on = (0..tokens.len()).find(|at| word(*at, "ON"))?;
        // The table's name, then the list.
        let open = on + 2;
        if !word(open, "(") {
            return None;
        }
        let mut parts = Vec::new();
        let (mut depth, mut begin) = (0_usize, open + 1);
        let mut close = None;
        for at in open..tokens.len() {
            let ends = if word(at, "(") {
                depth += 1;
                false
            } else if word(at, ")") {
                depth = depth.checked_sub(1)?;
                depth == 0
            } else {
                depth == 1 && word(at, ",")
            };
            if ends {
                let mut last = at;
                if last > begin + 1 && (word(last - 1, "ASC") || word(last - 1, "DESC")) {
                    last -= 1;
                }
                let (first, last) = (tokens.get(begin)?, tokens.get(last.checked_sub(1)?)?);
                parts.push(sql.get(first.0..last.1)?.to_owned());
                begin = at + 1;
                if depth == 0 {
                    close = Some(at);
                    break;
                }
            }
        }
        let close = close?;
        let filter = match tokens.get(close + 1) {
            None => None,
            Some(_) if word(close + 1, "WHERE") => {
                let (first, last) = (tokens.get(close + 2)?, tokens.last()?);
                Some(sql.get(first.0..last.1)?.to_owned())
            }
            Some(_) => return None,
        };
        Some(Self { parts, filter })
    }
}

/// Where each token of a statement begins and ends; comments and spaces are left out. None when a
/// string or a comment does not end.
pub(super) fn tokens(sql: &str) -> Option<Vec<(usize, usize)>> {
    let bytes = sql.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let begin = at;
        let rest = &bytes[at..];
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if rest.starts_with(b"--") {
            at += rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with(b"/*") {
            at += 4 + rest[2..].windows(2).position(|two| two == b"*/")?;
            continue;
        }
        at = match byte {
            b'\'' | b'"' | b'`' => quoted_end(bytes, at, byte)?,
            b'[' => at + 1 + rest.iter().position(|byte| *byte == b']')?,
            _ if is_word(byte) => {
                at + rest
                    .iter()
                    .position(|byte| !is_word(*byte))
                    .unwrap_or(rest.len())
            }
            _ => at + 1,
        };
        tokens.push((begin, at));
    }
    Some(tokens)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Behind the closing quote; a doubled one does not close.
fn quoted_end(bytes: &[u8], begin: usize, quote: u8) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        if *bytes.get(at)? == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return Some(at + 1);
            }
            at += 1;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_list_and_its_filter_are_read() {
        let read = |sql: &str| {
            let read = Definition::parse(sql).unwrap();
            (read.parts, read.filter)
        };
        let owned = |parts: &[&str]| {
            parts
                .iter()
                .map(|&part| part.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            read("CREATE INDEX \"ON (\" ON t(a, lower(b) DESC, c COLLATE NOCASE ASC)"),
            (owned(&["a", "lower(b)", "c COLLATE NOCASE"]), None)
        );
        assert_eq!(
            read(
                "CREATE UNIQUE INDEX i /* ON x( */ ON [t ,(] (substr(a, 1, 2), ')' || b) -- end\n WHERE a > ',' AND (b)"
            ),
            (
                owned(&["substr(a, 1, 2)", "')' || b"]),
                Some("a > ',' AND (b)".to_owned())
            )
        );
        assert_eq!(Definition::parse("CREATE INDEX i ON t(a"), None);
        assert_eq!(Definition::parse("CREATE INDEX i ON t('a"), None);
    }
}
