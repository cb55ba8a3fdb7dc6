//! The tables of names in `docs/rules.md` are what the vocabulary says. `UPDATE_DOCS=1` writes them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;
use std::path::Path;

use rules_policy::vocabulary::{Entry, FUNCTIONS, GLOBALS, SHAPES, Shape, Type};

const BEGIN: &str = "<!-- names:";
const END: &str = "<!-- end of names -->";

fn type_name(of: Type) -> &'static str {
    match of {
        Type::Any => "any",
        Type::Bool => "true or false",
        Type::Int => "whole number",
        Type::Double => "number",
        Type::Text => "text",
        Type::Duration => "duration",
        Type::List(_) => "list",
        Type::Record(_) => "record",
    }
}

fn table(text: &mut String, entries: &[Entry]) {
    text.push_str("| name | type | what it says |\n| --- | --- | --- |\n");
    for entry in entries {
        let missing = if entry.may_be_missing {
            "; may be missing"
        } else {
            ""
        };
        let of = type_name(entry.of);
        writeln!(
            text,
            "| `{}` | {of}{missing} | {} |",
            entry.name, entry.says
        )
        .unwrap();
    }
}

fn names() -> String {
    let mut text = String::from("\n## What a condition can see\n\n");
    table(&mut text, GLOBALS);
    for (shape, name, fields) in SHAPES {
        let more = match shape {
            Shape::Finding => "; the facts are called `facts.NAME`",
            _ => "",
        };
        write!(text, "\n### {name}{more}\n\n").unwrap();
        table(&mut text, fields);
    }
    text.push_str("\n### Functions\n\n| as | gives | what it says |\n| --- | --- | --- |\n");
    for function in FUNCTIONS {
        let gives = type_name(function.gives);
        writeln!(
            text,
            "| `{}` | {gives} | {} |",
            function.usage, function.says
        )
        .unwrap();
    }
    text
}

#[test]
fn the_manual_lists_every_name() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
    let manual = std::fs::read_to_string(&path).unwrap();
    let begin = manual.find(BEGIN).unwrap();
    let begin = begin + manual[begin..].find('\n').unwrap() + 1;
    let end = manual.find(END).unwrap();
    let expected = names();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let updated = format!("{}{expected}\n{}", &manual[..begin], &manual[end..]);
        std::fs::write(&path, updated).unwrap();
        return;
    }
    assert_eq!(
        manual[begin..end].trim(),
        expected.trim(),
        "run it once with UPDATE_DOCS=1"
    );
}
