//! Rust source as tokens, as far as mutation needs it: comments, attributes, text and what follows the
//! first `#[cfg(test)]` are left out.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Name,
    Number,
    Text,
    Sign,
}

/// A piece of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// Where it begins, bytes.
    pub(crate) start: usize,
    /// How many brackets are open before it.
    pub(crate) depth: usize,
}

impl Token<'_> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// Longer signs first.
const SIGNS: [&str; 16] = [
    "..=", "<<=", ">>=", "::", "->", "=>", "==", "!=", "<=", ">=", "&&", "||", "..", "+=", "-=",
    "*=",
];

pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let source = &source[..source.find("\n#[cfg(test)]").unwrap_or(source.len())];
    let mut found: Vec<Token<'_>> = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else {
            break;
        };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with("#[") || rest.starts_with("#![") {
            at += attribute(rest);
            continue;
        }
        let (kind, length) = if first.is_alphabetic() || first == '_' {
            (Kind::Name, name(rest))
        } else if first.is_ascii_digit() {
            (Kind::Number, number(rest))
        } else if first == '"' {
            (Kind::Text, text(rest))
        } else if first == '\'' {
            (Kind::Text, quoted(rest))
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            (Kind::Sign, sign.map_or(first.len_utf8(), |sign| sign.len()))
        };
        let token = Token {
            kind,
            text: &rest[..length],
            start: at,
            depth,
        };
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        found.push(token);
        at += length;
    }
    found
}

fn name(rest: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    rest.find(|c: char| !is_part(c)).unwrap_or(rest.len())
}

/// A number with its fraction; `1..` is a number before a range.
fn number(rest: &str) -> usize {
    let whole = name(rest);
    let fraction = rest[whole..].strip_prefix('.').filter(|after| {
        let next = after.chars().next();
        next.is_some_and(|next| next.is_ascii_digit())
    });
    fraction.map_or(whole, |after| whole + 1 + name(after))
}

fn text(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character, or a lifetime.
fn quoted(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), _) => rest[2..].find('\'').map_or(rest.len(), |at| at + 3),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1 + name(&rest[1..]),
    }
}

fn attribute(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(c) = rest[at..].chars().next() {
        match c {
            '"' => {
                at += text(&rest[at..]);
                continue;
            }
            '[' => depth += 1,
            ']' if depth == 1 => return at + 1,
            ']' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn a_source_is_cut_into_tokens() {
        let source = "/// Doc.\n#[allow(x = \"]\")]\nfn a<'b>(c: 'x') { if d <= 1.5 && e.f(1..) { \"g\\\"h\" } } // i\n#[cfg(test)]\nmod j {}";
        let all: Vec<&str> = tokens(source).iter().map(|token| token.text).collect();
        let expected = "fn a < 'b > ( c : 'x' ) { if d <= 1.5 && e . f ( 1 .. ) { \"g\\\"h\" } }";
        assert_eq!(all.join(" "), expected);
        for token in tokens(source) {
            assert_eq!(&source[token.start..token.end()], token.text);
        }
    }
}
