//! Changes to bytes, texts and lines of JSON.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// Texts that have broken programs before: what a terminal obeys, what a format quotes, nothing.
pub(crate) const TEXTS: [&str; 17] = [
    "",
    " ",
    "a\nb",
    "\r",
    "\u{1b}[31mred\u{1b}[0m",
    "\u{1b}]0;title\u{7}",
    "\u{9b}2J",
    "\u{202e}desrever",
    "tab\there",
    "nul\0here",
    "../../etc/passwd",
    "'; DROP TABLE x; --",
    "\"quoted\"",
    "%s%n{}{0}",
    "naïve 表 🦀 e\u{301}",
    "\u{feff}bom",
    "-1e309",
];

/// Numbers at the edges of what types hold.
pub(crate) const NUMBERS: [&str; 20] = [
    "0",
    "1",
    "-1",
    "2",
    "10",
    "100",
    "255",
    "256",
    "65535",
    "2147483647",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e308",
    "-1e308",
    "5e-324",
    "0.5",
];

/// The generator of one input.
pub(crate) fn generator(kind: &str, seed: u64, number: u64) -> StdRng {
    let digest = Sha256::digest(format!("{kind}/{seed}/{number}"));
    StdRng::from_seed(digest.into())
}

/// One of several.
pub(crate) fn one<'a, T>(rng: &mut StdRng, of: &'a [T]) -> &'a T {
    of.choose(rng).expect("there is at least one")
}

/// Whether an event of this probability happens, percent.
pub(crate) fn chance(rng: &mut StdRng, percent: u32) -> bool {
    rng.random_range(0..100) < percent
}

/// A text from outside, sometimes very long.
pub(crate) fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..20) {
        0 => one(rng, &TEXTS).repeat(rng.random_range(1..400)),
        1..8 => format!("x{}", one(rng, &TEXTS)),
        _ => (*one(rng, &TEXTS)).to_owned(),
    }
}

/// Changes some bytes: flips, blocks, pieces moved, cut or repeated.
pub(crate) fn bytes(rng: &mut StdRng, bytes: &mut Vec<u8>, changes: usize) {
    for _ in 0..changes {
        if bytes.is_empty() {
            bytes.push(rng.random());
            continue;
        }
        let at = rng.random_range(0..bytes.len());
        let length = rng.random_range(1..=64).min(bytes.len() - at);
        match rng.random_range(0..12) {
            0..5 => bytes[at] ^= 1 << rng.random_range(0..8),
            5..7 => bytes[at] = *one(rng, &[0, 1, 0x7f, 0x80, 0xff]),
            7 => rng.fill_bytes(&mut bytes[at..at + length]),
            8 => bytes[at..at + length].fill(0),
            9 => {
                let piece = bytes[at..at + length].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            10 => drop(bytes.drain(at..at + length)),
            _ if chance(rng, 25) => bytes.truncate(at),
            _ => {
                let from = rng.random_range(0..=bytes.len() - length);
                bytes.copy_within(from..from + length, at);
            }
        }
    }
}

/// Changes bytes in place: the length stays, and everything behind keeps its place.
pub(crate) fn overwrite(rng: &mut StdRng, bytes: &mut [u8], changes: usize) {
    for _ in 0..changes {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let length = rng.random_range(1..=16).min(bytes.len() - at);
        match rng.random_range(0..6) {
            0..3 => bytes[at] ^= 1 << rng.random_range(0..8),
            3 => bytes[at] = *one(rng, &[0, 1, 0x7f, 0x80, 0xff]),
            4 => rng.fill_bytes(&mut bytes[at..at + length]),
            _ => bytes[at..at + length].fill(*one(rng, &[0, 0xff])),
        }
    }
}

/// Writes a number of this many bytes, big end first, with a value that is likely to matter.
pub(crate) fn put_number(rng: &mut StdRng, into: &mut [u8]) {
    let length = into.len();
    let mut old = [0; 8];
    old[8 - length..].copy_from_slice(into);
    let old = u64::from_be_bytes(old);
    let new = match rng.random_range(0..5) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => *one(
            rng,
            &[0, 1, 2, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u64::MAX],
        ),
        3 => rng.random_range(0..64),
        _ => rng.random(),
    };
    into.copy_from_slice(&new.to_be_bytes()[8 - length..]);
}

/// What a piece of JSON or TOML is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    Key,
    Text,
    Number,
    Word,
}

/// The keys and leaves of a text in JSON or TOML, in their order.
pub(crate) fn leaves(json: &str) -> Vec<(Range<usize>, Leaf)> {
    let bytes = json.as_bytes();
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begin = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                let is_key = bytes.get(at) == Some(&b':');
                all.push((begin..at, if is_key { Leaf::Key } else { Leaf::Text }));
            }
            b'-' | b'0'..=b'9' => {
                let of_number = |b: &u8| b"+-.eE_0123456789".contains(b);
                at += bytes[at..].iter().take_while(|b| of_number(b)).count();
                all.push((begin..at, Leaf::Number));
            }
            b'a'..=b'z' => {
                let of_word = |b: &u8| b.is_ascii_alphanumeric() || b"_-.".contains(b);
                at += bytes[at..].iter().take_while(|b| of_word(b)).count();
                all.push((begin..at, Leaf::Word));
            }
            b'#' => at += bytes[at..].iter().take_while(|&&b| b != b'\n').count(),
            _ => at += 1,
        }
    }
    all
}

/// Changes one place of a JSON text: mostly a leaf becomes another of its type. Everything else stays
/// spelled as it is.
pub(crate) fn json(rng: &mut StdRng, json: &mut String) {
    let all = leaves(json);
    if all.is_empty() {
        return;
    }
    let (mut range, mut leaf) = one(rng, &all).clone();
    if leaf == Leaf::Key && chance(rng, 95) {
        // Its value, where that is a leaf.
        let next = all.iter().find(|(r, _)| r.start >= range.end);
        if let Some(next) = next {
            (range, leaf) = next.clone();
        }
    }
    let old = &json[range.clone()];
    let new = match (rng.random_range(0..30), leaf) {
        (0, Leaf::Text | Leaf::Number | Leaf::Word) => "null".to_owned(),
        (1, Leaf::Text | Leaf::Number | Leaf::Word) => "[]".to_owned(),
        (_, Leaf::Word) => (*one(rng, &["true", "false", "null"])).to_owned(),
        (_, Leaf::Number) => number(rng, old),
        (2..20, Leaf::Text) => {
            let inner: String = serde_json::from_str(old).unwrap_or_default();
            quoted(&changed(rng, &inner))
        }
        (_, Leaf::Key | Leaf::Text) => quoted(&text(rng)),
    };
    json.replace_range(range, &new);
}

/// A number near another one, or at an edge.
pub(crate) fn number(rng: &mut StdRng, old: &str) -> String {
    if chance(rng, 35) {
        return (*one(rng, &NUMBERS)).to_owned();
    }
    if let Ok(whole) = old.parse::<i128>() {
        let near = match rng.random_range(0..4) {
            0 => whole + 1,
            1 => whole - 1,
            2 => whole * rng.random_range(2..1000),
            _ => whole / rng.random_range(2..1000),
        };
        return near.to_string();
    }
    let real = old.parse::<f64>().unwrap_or(1.0) * rng.random_range(-2.0..2.0);
    // Never without its point: a number without one would be of another type.
    format!("{real:?}")
}

/// A text with something put into it, or a piece of it.
pub(crate) fn changed(rng: &mut StdRng, old: &str) -> String {
    let mut new = old.to_owned();
    let at = old.floor_char_boundary(rng.random_range(0..=old.len()));
    if rng.random_range(0..5) == 0 {
        new.truncate(at);
    } else {
        let added = *one(rng, &TEXTS);
        new.insert_str(at, added);
    }
    new
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Changes lines of JSON after the first `keep`: mostly leaves, seldom whole lines. Says from which
/// line on something changed.
pub(crate) fn json_lines(rng: &mut StdRng, lines: &mut Vec<String>, keep: usize) -> usize {
    let mut first = lines.len();
    for _ in 0..rng.random_range(1..=3) {
        if lines.len() <= keep {
            break;
        }
        let at = rng.random_range(keep..lines.len());
        first = first.min(at);
        match rng.random_range(0..40) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => {
                lines.swap(at, keep);
                first = keep;
            }
            3 => {
                let cut = lines[at].floor_char_boundary(lines[at].len() / 2);
                lines[at].truncate(cut);
            }
            4 => lines[at].push_str(&"[".repeat(2000)),
            _ => {
                for _ in 0..rng.random_range(1..=3) {
                    json(rng, &mut lines[at]);
                }
            }
        }
    }
    first
}
