//! Changes to TOML that leave most of it what it is.

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::mutate::{self, Leaf, chance, one};

/// Changes some values, and seldom lines or bytes.
pub(crate) fn change(rng: &mut StdRng, text: &str, changes: usize) -> Vec<u8> {
    let mut text = text.to_owned();
    for _ in 0..changes {
        if chance(rng, 85) {
            value(rng, &mut text);
        } else {
            line(rng, &mut text);
        }
    }
    if chance(rng, 10) {
        text = text.replace('\n', "\r\n");
    }
    let mut bytes = text.into_bytes();
    match rng.random_range(0..40) {
        0 => mutate::bytes(rng, &mut bytes, 2),
        1 => drop(bytes.splice(0..0, *b"\xef\xbb\xbf")),
        _ => {}
    }
    bytes
}

/// Gives something another value, mostly of the same type.
fn value(rng: &mut StdRng, text: &mut String) {
    let all: Vec<_> = mutate::leaves(text)
        .into_iter()
        .filter(|(range, leaf)| {
            let old = &text[range.clone()];
            *leaf != Leaf::Word || old == "true" || old == "false"
        })
        .collect();
    if all.is_empty() {
        return;
    }
    let (range, leaf) = one(rng, &all).clone();
    let old = text[range.clone()].replace('_', "");
    let new = match leaf {
        Leaf::Word => (*one(rng, &["true", "false"])).to_owned(),
        Leaf::Number if chance(rng, 70) => near(rng, &old),
        Leaf::Number => mutate::number(rng, &old),
        Leaf::Text | Leaf::Key if chance(rng, 60) => {
            let inner = text[range.clone()].trim_matches('"');
            format!("\"{inner}{}\"", one(rng, &["", "2", ".x", "_", "-"]))
        }
        Leaf::Text | Leaf::Key => quoted(&mutate::text(rng)),
    };
    text.replace_range(range, &new);
}

/// Something of the same size, and of the same sign.
fn near(rng: &mut StdRng, old: &str) -> String {
    if let Ok(old) = old.parse::<i64>() {
        let most = (old / 4).saturating_abs();
        let step = rng.random_range(-most..=most);
        return old.saturating_add(step).to_string();
    }
    let old = old.parse::<f64>().unwrap_or(1.0);
    format!("{:?}", old * rng.random_range(0.8..1.1))
}

/// Changes a line as a whole.
fn line(rng: &mut StdRng, text: &mut String) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return;
    }
    let at = rng.random_range(0..lines.len());
    match rng.random_range(0..14) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at].clone()),
        2 => lines.insert(at, format!("{} = 1", quoted(&mutate::text(rng)))),
        3 => lines.insert(at, format!("[{}]", quoted(&mutate::text(rng)))),
        4 => lines.insert(at, format!("x = {}", "[".repeat(5000))),
        5..10 => lines.insert(at, format!("# {}", one(rng, &["", "naïve 表", "x = 1"]))),
        _ => lines.insert(at, String::new()),
    }
    *text = lines.join("\n") + "\n";
}

/// A text as a basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let code = format!("\\u{:04X}", u32::from(c));
                out.push_str(&code);
            }
            c => out.push(c),
        }
    }
    out + "\""
}
