//! The facts of problems: what the host tells, what the SDKs know, and what docs/facts.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Facts that only say which process, log or file was meant when a repair comes to it: no policy judges by them.
const IDENTITIES: [&str; 9] = [
    "change_counter",
    "entry",
    "holder_start_ticks",
    "journal_nonce",
    "read_mark",
    "reader_start_ticks",
    "rowid",
    "salt_1",
    "salt_2",
];

struct Fact {
    name: String,
    shown_type: &'static str,
    says: String,
}

struct Kind {
    name: String,
    says: String,
    facts: Vec<Fact>,
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

/// The typed views of the SDK of Rust, read as text: their documentation is wanted.
fn catalogue() -> Vec<Kind> {
    let text = fs::read_to_string(root().join("sdk/rust/src/problems.rs")).unwrap();
    let (_, body) = text.split_once("\nproblems! {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let mut kinds: Vec<Kind> = Vec::new();
    let mut says = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            let space = if says.is_empty() { "" } else { " " };
            write!(says, "{space}{}", doc.trim()).unwrap();
        } else if let Some((name, _)) = line.strip_prefix('"').and_then(|l| l.split_once("\" => "))
        {
            kinds.push(Kind {
                name: name.to_owned(),
                says: std::mem::take(&mut says),
                facts: Vec::new(),
            });
        } else if let Some((name, rust_type)) =
            line.strip_suffix(',').and_then(|l| l.split_once(": "))
        {
            let shown_type = match rust_type {
                "u64" => "whole number",
                "f64" => "number",
                "bool" => "true or false",
                "&'a str" => "text",
                other => panic!("{name} is of the type {other}"),
            };
            kinds.last_mut().unwrap().facts.push(Fact {
                name: name.to_owned(),
                shown_type,
                says: std::mem::take(&mut says),
            });
        }
    }
    kinds
}

fn page(kinds: &[Kind]) -> String {
    let mut page = "# Facts

What a finding of each kind says beside its summary, for policies and their cases. Every fact may be missing: it was not measured, or an
earlier dbmedic did not know it. [PROBLEMS.md](../PROBLEMS.md) says what the problems mean for you.

<!-- made from sdk/rust/src/problems.rs: UPDATE_DOCS=1 cargo test -p dbmedic-tests --test all facts:: -->
"
    .to_owned();
    for kind in kinds {
        writeln!(page, "\n## {}\n\n{}", kind.name, kind.says).unwrap();
        if !kind.facts.is_empty() {
            page.push_str("\n| fact | type | what it says |\n| --- | --- | --- |\n");
        }
        for fact in &kind.facts {
            writeln!(
                page,
                "| `{}` | {} | {} |",
                fact.name, fact.shown_type, fact.says
            )
            .unwrap();
        }
    }
    page
}

/// With `UPDATE_DOCS=1` in the environment the page is written anew.
#[test]
fn the_page_of_facts_is_what_the_sdk_says() {
    let path = root().join("docs/facts.md");
    let made = page(&catalogue());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "docs/facts.md differs; run this with UPDATE_DOCS=1"
    );
}

#[test]
fn each_fact_that_the_host_tells_is_known() {
    let mut told: BTreeMap<String, PathBuf> = BTreeMap::new();
    let diagnose = root().join("host/core/src");
    let mut ahead = vec![diagnose.join("diagnose"), diagnose.join("diagnose.rs")];
    while let Some(path) = ahead.pop() {
        if path.is_dir() {
            ahead.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for begin in ["integer(", "text(", "boolean(", "number("] {
            for (_, after) in text
                .match_indices(begin)
                .map(|(at, _)| text.split_at(at + begin.len()))
            {
                let name = after
                    .trim_start()
                    .strip_prefix('"')
                    .and_then(|name| name.split('"').next());
                if let Some(name) = name {
                    told.insert(name.to_owned(), path.clone());
                }
            }
        }
    }
    assert!(told.len() > 80, "{told:?}");
    let kinds = catalogue();
    let known: BTreeSet<&str> = kinds
        .iter()
        .flat_map(|kind| kind.facts.iter().map(|fact| fact.name.as_str()))
        .chain(IDENTITIES)
        .collect();
    let unknown: Vec<_> = told
        .iter()
        .filter(|(name, _)| !known.contains(name.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "in no view of sdk/rust/src/problems.rs: {unknown:?}"
    );
}
