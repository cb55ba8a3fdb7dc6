//! Cuts a condition into words, signs, numbers and texts.

use std::fmt;

use super::Fault;

/// One piece of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Int(i64),
    Double(f64),
    Text(String),
    /// Milliseconds.
    Duration(i64),
    Name(String),
    Sign(&'static str),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "`{value}`"),
            Self::Double(value) => write!(f, "`{value}`"),
            Self::Text(value) => write!(f, "the text {value:?}"),
            Self::Duration(_) => write!(f, "a duration"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
            Self::End => write!(f, "the end"),
        }
    }
}

/// Longer ones first, so that `<=` is not read as `<`.
const SIGNS: [&str; 22] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]",
];

/// What people write who do not know CEL, and what they should write.
const INSTEAD: [(&str, &str); 8] = [
    ("=", "`=` compares nothing; write `==`"),
    ("&", "a single `&` means nothing; write `&&`"),
    ("|", "a single `|` means nothing; write `||`"),
    (
        "“",
        "this is a typographic quotation mark; write a plain one: \"",
    ),
    (
        "”",
        "this is a typographic quotation mark; write a plain one: \"",
    ),
    (
        "‘",
        "this is a typographic quotation mark; write a plain one: \"",
    ),
    (
        "’",
        "this is a typographic quotation mark; write a plain one: \"",
    ),
    ("{", "maps cannot be written here"),
];

/// Milliseconds of each unit of time; longer names first.
const UNITS: [(&str, f64); 5] = [
    ("ms", 1.0),
    ("s", 1_000.0),
    ("m", 60_000.0),
    ("h", 3_600_000.0),
    ("d", 86_400_000.0),
];

/// Longer ones than ten thousand years are nobody's.
const LONGEST_MS: f64 = 3.2e14;

pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The next piece and where it begins.
    pub(super) fn next(&mut self) -> Result<(usize, Token), Fault> {
        self.skip();
        let at = self.at;
        let rest = self.rest();
        let mut characters = rest.chars();
        let Some(first) = characters.next() else {
            return Ok((at, Token::End));
        };
        let second = characters.next();
        let token = match (first, second) {
            ('r' | 'R', Some(quote @ ('"' | '\''))) => self.text(quote, true)?,
            ('"' | '\'', _) => self.text(first, false)?,
            ('0'..='9', _) | ('.', Some('0'..='9')) => self.number()?,
            (letter, _) if letter.is_ascii_alphabetic() || letter == '_' => self.name()?,
            _ => self.sign()?,
        };
        Ok((at, token))
    }

    /// Leaves out spaces and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn sign(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok(Token::Sign(sign));
        }
        let known = INSTEAD.iter().find(|(found, _)| rest.starts_with(found));
        let message = known.map_or_else(
            || {
                let found = rest.chars().next().unwrap_or_default();
                format!("{found:?} has no meaning in a condition")
            },
            |(_, message)| (*message).to_owned(),
        );
        Err(Fault::new(self.at, message))
    }

    fn name(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let name = &rest[..end];
        let instead = match name {
            "in" => {
                self.at += end;
                return Ok(Token::Sign("in"));
            }
            "and" | "AND" => "`and` is written `&&`",
            "or" | "OR" => "`or` is written `||`",
            "not" | "NOT" => "`not` is written `!`",
            "True" | "TRUE" => "`true` is written in small letters",
            "False" | "FALSE" => "`false` is written in small letters",
            "null" => "there is no `null` here; has(...) says whether something is there",
            _ => {
                self.at += end;
                return Ok(Token::Name(name.to_owned()));
            }
        };
        Err(Fault::new(self.at, instead))
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let begin = self.at;
        let rest = self.rest();
        let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'));
        let mut word = &rest[..word.unwrap_or(rest.len())];
        // The sign of an exponent belongs to it.
        let exponent = word.ends_with(['e', 'E']) && !word.starts_with("0x");
        if exponent && let Some('+' | '-') = rest[word.len()..].chars().next() {
            let digits = &rest[word.len() + 1..];
            let more = digits.find(|c: char| !c.is_ascii_digit());
            word = &rest[..word.len() + 1 + more.unwrap_or(digits.len())];
        }
        self.at += word.len();
        let number = if let Some(digits) = word.strip_prefix("0x").or(word.strip_prefix("0X")) {
            i64::from_str_radix(digits, 16).ok().map(Token::Int)
        } else if word.bytes().all(|b| b.is_ascii_digit()) {
            word.parse().ok().map(Token::Int)
        } else if !word.contains('_') && word.ends_with(|c: char| c.is_ascii_digit()) {
            let value = word.parse().ok().filter(|value: &f64| value.is_finite());
            value.map(Token::Double)
        } else {
            duration_ms(word).map(Token::Duration)
        };
        number.ok_or_else(|| {
            let message = if word.contains('_') {
                format!("`{word}` is no number here; write it without `_`")
            } else if word.ends_with(['u', 'U']) {
                format!("`{word}`: numbers without a sign are written without `u`")
            } else {
                format!("`{word}` is no number and no duration such as 250ms, 60s, 5m, 2h or 1d")
            };
            Fault::new(begin, message)
        })
    }

    fn text(&mut self, quote: char, raw: bool) -> Result<Token, Fault> {
        let begin = self.at;
        self.at += 1 + usize::from(raw);
        let triple: String = [quote; 2].iter().collect();
        if self.rest().starts_with(&triple) {
            return Err(Fault::new(begin, "a text is quoted once, not three times"));
        }
        let mut text = String::new();
        loop {
            let at = self.at;
            let Some(found) = self.rest().chars().next().filter(|c| *c != '\n') else {
                return Err(Fault::new(
                    begin,
                    "this text has no closing quotation mark on its line",
                ));
            };
            self.at += found.len_utf8();
            match found {
                '\\' if !raw => text.push(self.escape(at)?),
                found if found == quote => return Ok(Token::Text(text)),
                found => text.push(found),
            }
        }
    }

    /// What stands for the backslash at `begin` and what follows it.
    fn escape(&mut self, begin: usize) -> Result<char, Fault> {
        let wrong = || Fault::new(begin, "this backslash means nothing; write \\\\ for itself");
        let letter = self.rest().chars().next().ok_or_else(wrong)?;
        self.at += letter.len_utf8();
        let digits = match letter {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            '\\' | '\'' | '"' | '`' | '?' => return Ok(letter),
            'x' | 'X' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Err(wrong()),
        };
        let code = self.rest().get(..digits).ok_or_else(wrong)?;
        self.at += digits;
        let code = u32::from_str_radix(code, 16).map_err(|_| wrong())?;
        char::from_u32(code).ok_or_else(wrong)
    }
}

/// The milliseconds of `1h30m`, `2.5s` or `250ms`.
pub(super) fn duration_ms(text: &str) -> Option<i64> {
    let (mut rest, mut sum) = (text, 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, ms) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        sum += number * ms;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fractions of a millisecond are cut off; the range is checked"
    )]
    (sum <= LONGEST_MS).then_some(sum as i64)
}
