//! Which changes are made.
//!
//! | what | becomes |
//! | --- | --- |
//! | a whole number | one more, and one less |
//! | a number with a fraction | a hundredth more, and a hundredth less |
//! | `<=`, `<`, `>=`, `>` | the same with or without the border |
//! | `true`, `false` | the other |
//! | `max`, `min` | the other |
//! | `any`, `all`; `&&`, `||` | the other |
//! | a level, class, urgency, cascade level or end of a repair | the one before and the one behind |
//! | the kind of judgement (`hiccup`, `wall`, ...) | each of the others |
//! | a call that adds to an answer or narrows a choice (`at_least`, `because`, `wish`, `halt`, `filter`, ...) | nothing |
//! | an assignment | nothing |
//! | a text that names a repair, a kind or a fact | another one |
//!
//! Texts for people are left alone, and so are the bounds of parameters.

use std::path::Path;

use crate::lexer::{Kind, Token, tokens};

/// One change of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mutant {
    start: usize,
    end: usize,
    replacement: String,
    line: usize,
    column: usize,
    /// The line as it stands there, and what is replaced in it.
    context: String,
    replaced: String,
}

impl Mutant {
    fn new(source: &str, start: usize, end: usize, replacement: String) -> Self {
        let before = &source[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..]
            .find('\n')
            .map_or(source.len(), |at| start + at);
        let in_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            start,
            end,
            replacement,
            line: before.matches('\n').count() + 1,
            column: start - line_start + 1,
            context: in_line(&source[line_start..line_end]),
            replaced: in_line(&source[start..end]),
        }
    }

    pub(crate) fn applied_to(&self, source: &str) -> String {
        format!(
            "{}{}{}",
            &source[..self.start],
            self.replacement,
            &source[self.end..]
        )
    }

    /// What is changed, for a person.
    pub(crate) fn named(&self, path: &Path) -> String {
        let (path, replacement) = (path.display(), &self.replacement);
        let (line, column, replaced) = (self.line, self.column, &self.replaced);
        format!("{path}:{line}:{column}: `{replaced}` becomes `{replacement}`")
    }

    /// The same without the place in the file, which changes with every line before it.
    pub(crate) fn key(&self, path: &Path) -> String {
        let (path, context) = (path.display(), &self.context);
        format!(
            "{path} | {context} | {} | {}",
            self.replaced, self.replacement
        )
    }
}

/// Words in their order: each becomes its neighbours.
const SCALES: [(&str, &[&str]); 5] = [
    ("EscalationLevel", &["Normal", "Watch", "Warn", "Escalate"]),
    ("Classification", &["Hiccup", "Obstacle", "Wall", "Crisis"]),
    ("Urgency", &["Info", "Warning", "Critical"]),
    (
        "CascadeLevel",
        &["InPlace", "Snapshot", "Replay", "Rebuild"],
    ),
    (
        "OutcomeResult",
        &["Verified", "RolledBack", "Refused", "Failed"],
    ),
];
const JUDGEMENTS: [&str; 6] = [
    "quiet",
    "hiccup",
    "obstacle",
    "mendable_corruption",
    "wall",
    "crisis",
];
/// Takes severity and parameters.
const RATED: [&str; 3] = ["hiccup", "obstacle", "mendable_corruption"];
const PAIRS: [(&str, &str); 9] = [
    ("true", "false"),
    ("false", "true"),
    ("max", "min"),
    ("min", "max"),
    ("any", "all"),
    ("all", "any"),
    ("&&", "||"),
    ("||", "&&"),
    ("is_some", "is_none"),
];
const BORDERS: [(&str, &str); 4] = [("<=", "<"), ("<", "<="), (">=", ">"), (">", ">=")];
const CALLS: [&str; 13] = [
    "at_least", "because", "suggest", "wish", "alert", "halt", "repair", "classify", "level",
    "then", "filter", "push", "insert",
];
/// What begins no assignment.
const NO_ASSIGNMENT: [&str; 8] = [
    "let", "const", "static", "type", "use", "pub", "if", "while",
];
/// Macros whose texts are for people; of their arguments nothing decides.
const FOR_PEOPLE: [&str; 3] = ["reason", "format", "assert"];

pub(crate) fn mutants(source: &str) -> Vec<Mutant> {
    let all = without_texts_for_people(&tokens(source));
    let mut found = Vec::new();
    let mut add = |start, end, replacement: String| {
        found.push(Mutant::new(source, start, end, replacement));
    };
    let is_parameters = |at: usize| {
        let before = all[..at].iter().rev();
        let mut open = before.filter(|token| token.is("{") && token.depth == 0);
        open.next().is_some_and(|brace| {
            let place = all.iter().position(|token| token == brace).unwrap_or(0);
            place >= 2 && all[place - 1].is("!") && all[place - 2].is("parameters")
        })
    };
    for (at, token) in all.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| all[at]);
        let after = all.get(at + 1);
        let is_behind = |text: &str| before.is_some_and(|before| before.is(text));
        let (start, end) = (token.start, token.end());
        match token.kind {
            Kind::Number if is_parameters(at) && !is_behind("=") => {}
            Kind::Number => {
                for replacement in numbers(token.text) {
                    add(start, end, replacement);
                }
            }
            Kind::Sign if is_comparison(source, token) => {
                if let Some((_, other)) = BORDERS.iter().find(|(sign, _)| token.is(sign)) {
                    add(start, end, (*other).to_owned());
                }
            }
            Kind::Text if is_identifier(token.text) => {
                let name = &token.text[1..token.text.len() - 1];
                add(start, end, format!("\"{name}-x\""));
            }
            _ => {}
        }
        if let Some((_, other)) = PAIRS.iter().find(|(word, _)| token.is(word)) {
            let is_closure = token.is("||") && (is_behind("(") || is_behind(",") || is_behind("="));
            if !is_closure {
                add(start, end, (*other).to_owned());
            }
        }
        if token.kind != Kind::Name {
            continue;
        }
        let is_import = all[..at]
            .iter()
            .rev()
            .take_while(|token| !token.is(";"))
            .any(|token| token.is("use"));
        for (owner, words) in SCALES {
            let is_owned = is_behind("::") && at >= 2 && all[at - 2].is(owner);
            let is_alone =
                !is_behind("::") && !is_import && !after.is_some_and(|after| after.is("::"));
            let Some(place) = words.iter().position(|word| token.is(word)) else {
                continue;
            };
            if is_owned || is_alone {
                let neighbours = [place.checked_sub(1), Some(place + 1)];
                for word in neighbours
                    .into_iter()
                    .flatten()
                    .filter_map(|at| words.get(at))
                {
                    add(start, end, (*word).to_owned());
                }
            }
        }
        if is_behind("::") && at >= 2 && (all[at - 2].is("Judgement") || all[at - 2].is("Self")) {
            let alike = JUDGEMENTS.iter().filter(|word| {
                !token.is(word) && RATED.contains(word) == RATED.contains(&token.text)
            });
            for word in alike.filter(|_| JUDGEMENTS.contains(&token.text)) {
                add(start, end, (*word).to_owned());
            }
        }
        let is_first = before.is_none_or(|before| matches!(before.text, ";" | "{" | "}"));
        if is_first && let Some(last) = assignment(&all, at) {
            add(start, all[last].end(), String::new());
        }
        let is_call = is_behind(".") && after.is_some_and(|after| after.is("("));
        if is_call
            && CALLS.contains(&token.text)
            && let Some(close) = closing(&all, at + 1)
        {
            // A statement stays one: `answer.halt();` becomes `answer;`.
            add(all[at - 1].start, all[close].end(), String::new());
        }
    }
    found
}

/// Of the macros that make texts only the closing bracket stays, so that brackets match.
fn without_texts_for_people<'a>(all: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut until: Option<usize> = None;
    for (at, token) in all.iter().enumerate() {
        if let Some(depth) = until {
            if token.depth == depth + 1 && matches!(token.text, ")" | "]" | "}") {
                until = None;
                kept.push(*token);
            }
            continue;
        }
        kept.push(*token);
        let is_open = matches!(token.text, "(" | "[" | "{");
        if is_open && at >= 2 && all[at - 1].is("!") && FOR_PEOPLE.contains(&all[at - 2].text) {
            until = Some(token.depth);
        }
    }
    kept
}

/// Where the assignment ends that begins here.
fn assignment(all: &[Token<'_>], first: usize) -> Option<usize> {
    let depth = all[first].depth;
    let rest = all.iter().enumerate().skip(first);
    let inside = rest.take_while(|(_, token)| token.depth >= depth && !token.is("}"));
    let (last, _) = inside
        .clone()
        .find(|(_, token)| token.depth == depth && token.is(";"))?;
    let mut here = inside.take_while(|(at, _)| *at < last);
    let is_assigned = here.any(|(_, token)| token.depth == depth && token.is("="));
    (is_assigned && !NO_ASSIGNMENT.contains(&all[first].text)).then_some(last)
}

fn closing(all: &[Token<'_>], open: usize) -> Option<usize> {
    let depth = all[open].depth + 1;
    let rest = all.iter().enumerate().skip(open + 1);
    let mut closed = rest.filter(|(_, token)| token.depth == depth && token.is(")"));
    closed.next().map(|(at, _)| at)
}

/// A comparison stands between spaces, a bracket of types does not.
fn is_comparison(source: &str, token: &Token<'_>) -> bool {
    source[..token.start].ends_with(' ') && source[token.end()..].starts_with(' ')
}

/// A text that a machine compares: words of small letters, digits and `-`, `_`, `.`.
fn is_identifier(text: &str) -> bool {
    let inside = text.trim_matches('"');
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    text.starts_with('"') && inside.len() > 2 && inside.chars().all(is_part)
}

fn numbers(text: &str) -> Vec<String> {
    // A name may follow at once, as in `1_u64`.
    let digits = text.replace('_', "");
    if digits.starts_with("0x") {
        return Vec::new();
    }
    if let Ok(whole) = digits.parse::<u64>() {
        let less = whole.checked_sub(1);
        return [whole.checked_add(1), less]
            .into_iter()
            .flatten()
            .map(|n| n.to_string())
            .collect();
    }
    match digits.parse::<f64>() {
        Ok(number) => vec![
            format!("{:.4}", number + 0.01),
            format!("{:.4}", number - 0.01),
        ],
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::mutants;

    /// Every source that comes of this one.
    fn of(source: &str) -> Vec<String> {
        mutants(source)
            .iter()
            .map(|mutant| mutant.applied_to(source))
            .collect()
    }

    #[test]
    fn what_decides_is_changed() {
        assert_eq!(
            of("if concurrent > 0 {"),
            ["if concurrent >= 0 {", "if concurrent > 1 {"]
        );
        assert_eq!(
            of("Some(commits @ 1..)"),
            ["Some(commits @ 2..)", "Some(commits @ 0..)"]
        );
        assert_eq!(
            of("const A: f64 = 0.95;"),
            ["const A: f64 = 0.9600;", "const A: f64 = 0.9400;"]
        );
        assert_eq!(of("Warn => x"), ["Watch => x", "Escalate => x"]);
        assert_eq!(of("EscalationLevel::Normal"), ["EscalationLevel::Watch"]);
        assert_eq!(of("x.at_least(a(b)).c()"), ["x.c()"]);
        assert_eq!(of("answer.halt();"), ["answer;"]);
        assert_eq!(of("{ a; b.c = d(e); f }"), ["{ a;  f }"]);
        assert_eq!(of("a && b"), ["a || b"]);
        assert_eq!(of("x(\"lock.end-holder\")"), ["x(\"lock.end-holder-x\")"]);
        assert_eq!(
            of("Judgement::hiccup(s, p)"),
            [
                "Judgement::obstacle(s, p)",
                "Judgement::mendable_corruption(s, p)"
            ]
        );
    }

    #[test]
    fn what_does_not_decide_is_left_alone() {
        for source in [
            "reason!(\"lock.stale\", \"held {}\", seconds(5))",
            "use EscalationLevel::{Escalate, Normal};",
            "fn a<T>(b: &'a T) -> Vec<T>",
            "parameters! { pub struct P { pub a: u64 = b, 1..=9; } }",
            "\"Ask the owner of the process.\"",
            "// if a > 5",
            "{ let a = b(|c| { d == c }); }",
        ] {
            assert_eq!(of(source), Vec::<String>::new(), "{source}");
        }
        let default = of("parameters! { pub struct P { pub a: u64 = 5, 1..=9; } }");
        assert_eq!(default.len(), 2, "{default:?}");
        assert!(default[0].contains("= 6, 1..=9"), "{default:?}");
    }
}
