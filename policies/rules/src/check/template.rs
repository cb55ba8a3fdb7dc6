//! Texts in which `{...}` stands for a value.

use super::{Checker, Names};
use crate::expression::{Part, Template};
use crate::syntax::{self, Fault, Node};
use crate::vocabulary::Type;

/// A text in which `{...}` stands for a value, cut into its pieces: where each begins, and whether it
/// is a value.
pub(crate) fn pieces(text: &str) -> Result<Vec<(usize, Piece)>, Fault> {
    let mut pieces = Vec::new();
    let mut fixed = String::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        if let Some(double) = ["{{", "}}"].into_iter().find(|sign| rest.starts_with(sign)) {
            fixed.push_str(&double[1..]);
            at += 2;
        } else if next == '{' {
            let end = closing(rest).ok_or_else(|| {
                Fault::new(at, "this `{` has no `}`; write `{{` for the sign itself")
            })?;
            if !fixed.is_empty() {
                pieces.push((at, Piece::Fixed(std::mem::take(&mut fixed))));
            }
            let moved = |fault: Fault| Fault::new(at + 1 + fault.at, fault.message);
            let node = syntax::parse(&rest[1..end]).map_err(moved)?;
            pieces.push((at + 1, Piece::Value(node)));
            at += end + 1;
        } else if next == '}' {
            let message = "this `}` has no `{`; write `}}` for the sign itself";
            return Err(Fault::new(at, message));
        } else {
            fixed.push(next);
            at += next.len_utf8();
        }
    }
    if !fixed.is_empty() {
        pieces.push((at, Piece::Fixed(fixed)));
    }
    Ok(pieces)
}

/// Where the brace at the beginning is closed, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, found) in text.char_indices() {
        match (quote, found) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), found) if open == found => quote = None,
            (None, '"' | '\'') => quote = Some(found),
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Fixed(String),
    Value(Node),
}

/// Checks the values in a text.
pub(crate) fn template<'a>(
    pieces: &'a [(usize, Piece)],
    names: &'a Names<'_>,
) -> Result<Template<'a>, Fault> {
    let mut parts = Vec::new();
    for (at, piece) in pieces {
        parts.push(match piece {
            Piece::Fixed(text) => Part::Fixed(text),
            Piece::Value(node) => {
                let mut checker = Checker {
                    names,
                    elements: Vec::new(),
                };
                let moved = |fault: Fault| Fault::new(at + fault.at, fault.message);
                let (value, of) = checker.check(node).map_err(moved)?;
                if matches!(of, Type::Record(_) | Type::List(_)) {
                    let message = format!("{} cannot stand in a text", of.name());
                    return Err(Fault::new(at + node.at, message));
                }
                Part::Value(value)
            }
        });
    }
    Ok(Template(parts))
}
