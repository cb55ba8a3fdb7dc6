//! What comes from outside, as a terminal and a log may show it.
//!
//! Names of processes, tables and indexes, headers of tables, paths, what a policy says and what
//! SQLite says of all of it: each may hold characters that a terminal obeys, a line break that makes
//! a line of its own, or marks that turn the direction of what follows. They are shown as Rust writes
//! them in a string: `\n`, `\u{1b}`. Everything else stays as it is.
//!
//! This is the one place. It is applied where text leaves: to each line that is printed, to each
//! line of JSON, and to each line of the log.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Text in which nothing is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(self.0))
    }
}

/// One line of text, with what a terminal would obey shown instead.
pub fn escaped(text: &str) -> Cow<'_, str> {
    replaced(text, |out, c| match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Writing to a string cannot fail.
        c => write!(out, "{}", c.escape_unicode()).unwrap_or_default(),
    })
}

/// JSON that says the same, with every such character as an escape of JSON: they can stand in
/// strings only.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    replaced(json, |out, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}").unwrap_or_default();
        }
    })
}

fn replaced(text: &str, replace: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let Some(first) = text.find(is_obeyed) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_obeyed(c) {
            replace(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal, or whatever shows text, does something with a character instead of showing
/// it: Unicode's control characters (Cc), its format characters (Cf, of Unicode 16, but for the few
/// that are seen), and its two separators of lines.
pub fn is_obeyed(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(
        c,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{70f}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_is_shown_and_all_else_stays() {
        let cases = [
            ("orders", "orders"),
            (
                "naïve 表 🦀 e\u{301} \\n \"x\"",
                "naïve 表 🦀 e\u{301} \\n \"x\"",
            ),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\u{0}"),
            (
                "a\u{202e}b\u{2066}c\u{2029}",
                "a\\u{202e}b\\u{2066}c\\u{2029}",
            ),
            ("\u{feff}\u{e0041}", "\\u{feff}\\u{e0041}"),
        ];
        for (text, expected) in cases {
            assert_eq!(escaped(text), expected);
            assert_eq!(Escaped(text).to_string(), expected);
            assert!(!escaped(text).chars().any(is_obeyed));
        }
        assert_eq!(format!("[{:<6}]", Escaped("\n")), "[\\n    ]");
    }

    #[test]
    fn json_says_the_same() {
        let text = "a\u{1b}\n\u{9b}\u{202e}\u{e0041}\u{7f} 表";
        let json = serde_json::to_string(text).unwrap();
        let shown = escaped_json(&json);
        assert!(!shown.chars().any(is_obeyed), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        assert!(shown.contains("\\udb40\\udc41"), "{shown}");
    }
}
