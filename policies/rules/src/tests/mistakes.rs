//! Mistakes of an author: each by line, column and rule, and with what would be right.

use super::*;

/// Everything that is told of a document.
fn told(text: &str) -> Vec<String> {
    document::compile(text).expect_err("there is a mistake")
}

fn of_condition(condition: &str) -> String {
    let text = format!("version = 1\n[[rules]]\nname = \"a.b\"\nwhen = '{condition}'\n");
    let mut told = told(&text);
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

/// Conditions with a mistake: at which column, and the beginning of what is told.
const WRONG: &[(&str, usize, &str)] = &[
    (
        "facts.agems > 1",
        15,
        "no problem has a fact `agems`; did you mean `age_ms`?",
    ),
    (
        "findin.kind == \"x\"",
        9,
        "there is no name `findin`; did you mean `finding`?",
    ),
    (
        "finding.sevrity > 0.5",
        17,
        "there is no field `sevrity` here; did you mean `severity`?",
    ),
    (
        "conut(\"a.b\", 60s) > 1",
        9,
        "there is no function `conut`; did you mean `count`?",
    ),
    (
        "count(\"a.c\", 60s) > 1",
        15,
        "there is no rule `a.c`; did you mean `a.b`?",
    ),
    (
        "count(\"a.b\", 60) > 1",
        22,
        "this is a whole number, but what count(\"a.rule\", 60s) takes there is a duration; write 60s, or ms(...) for milliseconds",
    ),
    (
        "count(\"a.b\", 60s) > 99",
        29,
        "no more than 32 are counted, so this never holds",
    ),
    (
        "spoke(\"a.b\")",
        15,
        "this rule does not stand above; it speaks later or is this one",
    ),
    (
        "finding.kind == \"lock.stale-holdr\"",
        25,
        "there is no kind of problem `lock.stale-holdr`; did you mean `lock.stale-holder`?",
    ),
    (
        "finding.kind = \"a\"",
        22,
        "`=` compares nothing; write `==`",
    ),
    ("true and false", 14, "`and` is written `&&`"),
    (
        "finding.severity",
        17,
        "this is a number with a fraction, but a condition is true or false",
    ),
    (
        "facts.age_ms > 60s",
        22,
        "`>` cannot stand between a whole number and a duration; write ms(...) around the milliseconds",
    ),
    (
        "facts.age_ms * 0.5 > 1.0",
        22,
        "`*` cannot stand between a whole number and a number with a fraction; write double(...) around the whole one",
    ),
    (
        "finding.kind.startWith(\"a\")",
        22,
        "nothing is called `.startWith(...)`; did you mean `startsWith`?",
    ),
    (
        "since(\"warm\") > 1s",
        15,
        "one of \"watch\", \"warn\", \"escalate\" is expected",
    ),
    (
        "values.age > 1",
        16,
        "[values] has no `age`; there are none",
    ),
    (
        "(true",
        14,
        "parentheses are closed: `)` is missing before the end",
    ),
    (
        "true true",
        14,
        "`true` cannot stand here; an operator such as && is expected",
    ),
    (
        "has(facts)",
        9,
        "has(...) takes one name with a dot, as has(facts.age_ms)",
    ),
    (
        "facts.age_ms > 1_000",
        24,
        "`1_000` is no number here; write it without `_`",
    ),
    (
        "duration(\"soon\") > 1s",
        18,
        "duration(...) takes a text such as \"250ms\", \"60s\" or \"1h30m\"",
    ),
    (
        "finding.summary.matches(\"a\")",
        25,
        "nothing is called `.matches(...)`",
    ),
];

#[test]
fn each_is_told_by_line_and_column_and_with_what_would_be_right() {
    for (condition, column, message) in WRONG {
        let told = of_condition(condition);
        let begin = format!("line 4, column {column}: rule `a.b`: {message}");
        assert!(told.starts_with(&begin), "{condition}:\n{told}\n{begin}");
    }
}

#[test]
fn all_of_them_are_told_at_once_in_the_order_of_the_document() {
    let text = r#"version = 1
[[rules]]
name = "first"
clas = "hiccup"
[[rules]]
name = "a.b"
kind = "lock.stale-holdr"
class = "hicup"
level = "wan"
alert = "loud"
confidence = 0.5
[[rules]]
name = "a.b"
repair = "x"
confidence = 2
last = "yes"
reason = "{facts.age_ms"
suggest = [7]
"#;
    assert_eq!(
        told(text),
        [
            "line 3, column 8: a rule's name is words of a-z, 0-9 and - with dots between, at least two, as \
             \"lock.too-fresh\"",
            "line 4, column 1: there is no `clas` here; did you mean `class`?",
            "line 7, column 8: rule `a.b`: there is no kind of problem `lock.stale-holdr`; did you mean \
             `lock.stale-holder`?",
            "line 8, column 9: rule `a.b`: there is no class \"hicup\"; did you mean `hiccup`?",
            "line 9, column 9: rule `a.b`: there is no level \"wan\"; did you mean `warn`?",
            "line 10, column 9: rule `a.b`: `alert` is \"loud\"; there are `critical`, `info`, `warning`",
            "line 11, column 14: rule `a.b`: `confidence` says something of a `repair`",
            "line 12, column 1: rule `a.b`: another rule has this name",
            "line 15, column 14: rule `a.b`: `confidence` is a number from 0 to 1",
            "line 16, column 8: rule `a.b`: `last` is true or false, without quotation marks",
            "line 17, column 11: rule `a.b`: this `{` has no `}`; write `{{` for the sign itself",
            "line 18, column 12: rule `a.b`: `suggest` is a text, or a list of texts",
        ]
    );
}

#[test]
fn a_place_within_a_text_of_several_lines_is_found() {
    let text = "version = 1\n[[rules]]\nname = \"a.b\"\nwhen = '''\nfacts.age_ms > 5 &&\n  facts.agems > 1\n'''\n";
    assert_eq!(
        told(text),
        ["line 6, column 9: rule `a.b`: no problem has a fact `agems`; did you mean `age_ms`?"]
    );
    // Behind an escape the columns do not fit any more: the last one that does is told.
    let text = "version = 1\n[[rules]]\nname = \"a.b\"\nwhen = \"finding.kind == \\\"a\\\" && findin.kind == \\\"b\\\"\"\n";
    assert!(told(text)[0].starts_with("line 4, column 25: rule `a.b`: there is no name `findin`"));
}

#[test]
fn what_is_no_document_is_told_too() {
    assert!(told("version = 1\n[[rules]\n")[0].starts_with("line 2, column 9: "));
    assert_eq!(
        told("[[rules]]\nname = \"a.b\"\n"),
        ["line 1, column 1: begin the document with `version = 1`"]
    );
    assert_eq!(
        told("version = 2\n[[rules]]\nname = \"a.b\"\n"),
        ["line 1, column 11: begin the document with `version = 1`"]
    );
    assert_eq!(
        told("version = 1\n"),
        ["line 1, column 1: there is no rule; write [[rules]]"]
    );
    assert_eq!(
        told("version = 1\n[rules]\nname = \"a.b\"\n"),
        ["line 2, column 1: `rules` is a list of tables; write [[rules]], with two brackets"]
    );
    let long = format!("version = 1\n# {}\n", "x".repeat(200_000));
    assert_eq!(told(&long), ["the rules are longer than 131072 bytes"]);
}

#[test]
fn a_setting_of_another_name_or_type_is_refused() {
    let set = |name: &str, value| {
        let setting = Setting {
            name: name.into(),
            value,
        };
        let errors = dbmedic_policy::configure::<RulesPolicy>(&[setting]).unwrap_err();
        errors[0].message.clone()
    };
    assert_eq!(
        set("rule", Value::Text(String::new())),
        "there is no such parameter; did you mean `rules`?"
    );
    assert_eq!(
        set("rules", Value::Boolean(true)),
        "true is not a text that holds rules"
    );
}

#[test]
fn rules_that_are_too_many_for_the_settings_are_refused() {
    // Texts that no compression makes small.
    let noise = |n: u64| {
        let word = |k: u64| format!("{:016x}", dbmedic_policy::fingerprint(&format!("{n} {k}")));
        (0..10).map(word).collect::<String>()
    };
    let rule = |n: u64| format!("[[rules]]\nname = \"a.r{n}\"\nreason = \"{}\"\n", noise(n));
    let rules: String = (0..300).map(rule).collect();
    let setting = Setting {
        name: "rules".into(),
        value: Value::Text(format!("version = 1\n{rules}")),
    };
    let errors = dbmedic_policy::configure::<RulesPolicy>(&[setting]).unwrap_err();
    assert_eq!(
        errors[0].message,
        "all settings together exceed 16384 bytes"
    );
}

#[test]
fn deep_and_endless_conditions_are_refused() {
    let deep = format!("{}true{}", "(".repeat(100), ")".repeat(100));
    assert!(of_condition(&deep).contains("nested too deeply"));
    let nots = format!("{}true", "!".repeat(100));
    assert!(of_condition(&nots).contains("nested too deeply"));
    let sum = format!("1{} > 1", " + 1".repeat(100));
    assert!(of_condition(&sum).contains("too long a chain"));
    // What is joined by && may be as long as it likes.
    let text = format!(
        "[[rules]]\nname = \"a.b\"\nwhen = 'true{}'",
        " && true".repeat(1_000)
    );
    assert!(document::compile(&format!("version = 1\n{text}")).is_ok());
}
