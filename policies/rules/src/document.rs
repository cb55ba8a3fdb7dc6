//! The document of rules: from TOML to what is kept in the settings, with every mistake by line, column
//! and rule.

mod read;

use std::collections::BTreeMap;

use dbmedic_policy::{Urgency, is_rule_name};

use crate::check::{self, Constant, Names, Piece};
use crate::compiled::{Alert, Body, Document, Head, On, URGENCIES};
use crate::record::{CLASSES, LEVELS, NONE};
use crate::syntax::{Kind, Node};

use read::{Mistakes, Table};

/// Longer documents, and more rules, are nobody's.
const LONGEST_BYTES: usize = 128 << 10;
const MOST_RULES: usize = 512;
/// How many moments of a rule with a cool-down are remembered: the last one.
const LAST_ONE: u8 = 1;
const RULE_NAME: &str = "a rule's name is words of a-z, 0-9 and - with dots between, at least two, as \
                         \"lock.too-fresh\"";
/// The confidence in a repair where the rule does not say it.
const CONFIDENCE: f64 = 0.5;

/// Makes of a document what is kept in the settings.
///
/// # Errors
///
/// Every mistake, by line and column, in the order of the document.
pub(crate) fn compile(text: &str) -> Result<Vec<u8>, Vec<String>> {
    if text.len() > LONGEST_BYTES {
        return Err(vec![format!(
            "the rules are longer than {LONGEST_BYTES} bytes"
        )]);
    }
    let mut mistakes = Mistakes::new(text);
    let drafts = read::document(text, &mut mistakes, |root, mistakes| {
        version(root, mistakes);
        let values = values(root, mistakes);
        (values, rules(root, mistakes))
    });
    let Some((values, drafts)) = drafts else {
        return Err(mistakes.told());
    };
    same_names(&drafts, &mut mistakes);
    let bytes = assemble(&drafts, &values, &mut mistakes);
    let told = mistakes.told();
    if told.is_empty() {
        Ok(bytes)
    } else {
        Err(told)
    }
}

fn version(root: &mut Table<'_>, mistakes: &mut Mistakes<'_>) {
    if root.whole("version", mistakes) != Some(1) {
        root.fault("version", "begin the document with `version = 1`", mistakes);
    }
}

fn values(root: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> BTreeMap<String, Constant> {
    let mut values = BTreeMap::new();
    if let Some(mut table) = root.table("values", mistakes) {
        for (name, value) in table.constants(mistakes) {
            values.insert(name, value);
        }
    }
    values
}

/// A text of a rule, its place in the document, and its pieces.
struct Words {
    at: read::Place,
    pieces: Vec<(usize, Piece)>,
}

/// A rule whose conditions are read and not yet checked.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the document that is true or false"
)]
struct Draft {
    at: usize,
    name: String,
    on: On,
    kinds: Vec<String>,
    per_target: bool,
    when: Option<(read::Place, Node)>,
    class: Option<Words>,
    level: Option<Words>,
    lower: Option<u8>,
    repair: Option<Words>,
    confidence: f64,
    needs_approval: bool,
    halt: bool,
    reason: Option<Words>,
    called: Option<String>,
    alert: Option<(String, u8, Option<Words>)>,
    suggest: Vec<Words>,
    last: bool,
}

fn rules(root: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> Vec<Draft> {
    let tables = root.tables("rules", mistakes);
    if tables.is_empty() && mistakes.is_empty() {
        mistakes.add(0, None, "there is no rule; write [[rules]]");
    }
    if tables.len() > MOST_RULES {
        mistakes.add(0, None, &format!("there are more than {MOST_RULES} rules"));
        return Vec::new();
    }
    let drafts = tables.into_iter().filter_map(|mut table| {
        let draft = rule(&mut table, mistakes);
        table.finish(mistakes);
        draft
    });
    drafts.collect()
}

fn rule(table: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> Option<Draft> {
    let name = table.text("name", mistakes).map(|text| text.value);
    let named = name.as_deref().is_some_and(is_rule_name);
    match name.as_deref() {
        None => table.fault("name", "a rule has a `name`", mistakes),
        Some(_) if !named => {
            table.fault("name", RULE_NAME, mistakes);
        }
        Some(name) => table.rule = Some(name.to_owned()),
    }
    let on = table.choice(
        "on",
        &[
            ("finding", On::Finding),
            ("outcome", On::Outcome),
            ("tick", On::Tick),
        ],
        mistakes,
    );
    let kinds = kinds(table, mistakes);
    let (reason, called) = reason(table, mistakes);
    let per = [("problem", false), ("target", true)];
    let lower = table.choice("lower", &LEVELS, mistakes);
    let number_of = |level| LEVELS.iter().position(|(_, known)| *known == level);
    let draft = Draft {
        at: table.at,
        on: match on {
            None if kinds.is_empty() => On::Any,
            None => On::Finding,
            Some(on) => on,
        },
        kinds,
        per_target: table.choice("per", &per, mistakes).unwrap_or(false),
        when: table.condition("when", mistakes),
        class: word(table, "class", CLASSES.map(|(name, _)| name), mistakes),
        level: word(table, "level", LEVELS.map(|(name, _)| name), mistakes),
        lower: lower
            .and_then(number_of)
            .and_then(|at| u8::try_from(at).ok()),
        repair: table.words("repair", mistakes),
        confidence: confidence(table, mistakes),
        needs_approval: table.flag("needs_approval", mistakes),
        halt: table.flag("halt", mistakes),
        reason,
        called,
        alert: alert(table, name.as_deref().unwrap_or_default(), mistakes),
        suggest: table.all_words("suggest", mistakes),
        last: table.flag("last", mistakes),
        name: name?,
    };
    if draft.repair.is_none() && table.has("confidence") {
        table.fault(
            "confidence",
            "`confidence` says something of a `repair`",
            mistakes,
        );
    }
    named.then_some(draft)
}

fn kinds(table: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> Vec<String> {
    let kinds = table.texts("kind", mistakes);
    for kind in &kinds {
        if let Err(message) = check::kind_is_known(kind) {
            table.fault("kind", &message, mistakes);
        }
    }
    kinds
}

fn confidence(table: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> f64 {
    let number = table.number("confidence", mistakes);
    let confidence = number.unwrap_or(CONFIDENCE);
    if !(0.0..=1.0).contains(&confidence) {
        table.fault(
            "confidence",
            "`confidence` is a number from 0 to 1",
            mistakes,
        );
    }
    confidence
}

/// A text that is one of several words, or holds a value.
fn word<const N: usize>(
    table: &mut Table<'_>,
    key: &'static str,
    known: [&str; N],
    mistakes: &mut Mistakes<'_>,
) -> Option<Words> {
    let words = table.words(key, mistakes)?;
    if let [(_, Piece::Fixed(word))] = &words.pieces[..]
        && !known.contains(&word.as_str())
        && word != NONE
    {
        let hint = check::hint(word, known);
        let message = format!("there is no {key} \"{word}\"; {hint}");
        table.fault(key, &message, mistakes);
    }
    Some(words)
}

/// A reason: a text, or a table with a name of its own.
fn reason(table: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> (Option<Words>, Option<String>) {
    if !table.is_table("reason") {
        return (table.words("reason", mistakes), None);
    }
    let Some(mut inner) = table.table("reason", mistakes) else {
        return (None, None);
    };
    let words = inner.words("text", mistakes);
    let name = inner.text("name", mistakes).map(|text| text.value);
    inner.finish(mistakes);
    if !inner.has("text") {
        inner.fault("text", "a reason has a `text`", mistakes);
    }
    if name.as_deref().is_some_and(|name| !is_rule_name(name)) {
        inner.fault("name", RULE_NAME, mistakes);
    }
    (words, name)
}

/// An alert: how urgent it is, or a table with more.
fn alert(
    table: &mut Table<'_>,
    rule: &str,
    mistakes: &mut Mistakes<'_>,
) -> Option<(String, u8, Option<Words>)> {
    let number_of = |urgency: Urgency| {
        let at = URGENCIES.iter().position(|(_, known)| *known == urgency);
        at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
    };
    if !table.is_table("alert") {
        let urgency = table.choice("alert", &URGENCIES, mistakes)?;
        return Some((rule.to_owned(), number_of(urgency), None));
    }
    let mut inner = table.table("alert", mistakes)?;
    let urgency = inner.choice("urgency", &URGENCIES, mistakes);
    let name = inner.text("name", mistakes).map(|text| text.value);
    let message = inner.words("message", mistakes);
    inner.finish(mistakes);
    if urgency.is_none() && !inner.has("urgency") {
        inner.fault("urgency", "an alert has an `urgency`", mistakes);
    }
    let name = name.unwrap_or_else(|| rule.to_owned());
    Some((name, number_of(urgency?), message))
}

fn same_names(drafts: &[Draft], mistakes: &mut Mistakes<'_>) {
    for (at, draft) in drafts.iter().enumerate() {
        if drafts[..at].iter().any(|before| before.name == draft.name) {
            mistakes.add(draft.at, Some(&draft.name), "another rule has this name");
        }
    }
}

/// Checks each rule and puts all of them together.
fn assemble(
    drafts: &[Draft],
    values: &BTreeMap<String, Constant>,
    mistakes: &mut Mistakes<'_>,
) -> Vec<u8> {
    let all: Vec<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
    let mut bodies = Vec::with_capacity(drafts.len());
    for (own, draft) in drafts.iter().enumerate() {
        let names = Names {
            rules: &all,
            own,
            values,
        };
        let body = body(draft, &names, mistakes);
        bodies.push(postcard::to_allocvec(&body).unwrap_or_default());
    }
    let remembered = remembered(drafts);
    let heads = drafts.iter().zip(&bodies).zip(remembered);
    let document = Document {
        rules: heads
            .map(|((draft, body), remembered)| Head {
                name: &draft.name,
                on: draft.on,
                kinds: draft.kinds.iter().map(String::as_str).collect(),
                per_target: draft.per_target,
                remembered,
                body,
            })
            .collect(),
        lowers: drafts.iter().any(|draft| draft.lower.is_some()),
    };
    postcard::to_allocvec(&document).unwrap_or_default()
}

fn body<'a>(draft: &'a Draft, names: &'a Names<'_>, mistakes: &mut Mistakes<'_>) -> Body<'a> {
    let when = draft.when.as_ref().and_then(|(place, node)| {
        let checked = check::condition(node, names);
        checked
            .map_err(|fault| mistakes.fault(place, Some(&draft.name), &fault))
            .ok()
    });
    let mut template = |words: &'a Words| {
        check::template(&words.pieces, names)
            .map_err(|fault| mistakes.fault(&words.at, Some(&draft.name), &fault))
            .unwrap_or_default()
    };
    let mut maybe = |words: &'a Option<Words>| words.as_ref().map(&mut template);
    let mut body = Body {
        when,
        class: maybe(&draft.class),
        level: maybe(&draft.level),
        lower: draft.lower,
        repair: maybe(&draft.repair),
        confidence: draft.confidence,
        needs_approval: draft.needs_approval,
        halt: draft.halt,
        reason: maybe(&draft.reason),
        called: draft.called.as_deref(),
        alert: None,
        suggest: Vec::new(),
        last: draft.last,
    };
    body.alert = draft.alert.as_ref().map(|(name, urgency, message)| Alert {
        name,
        urgency: *urgency,
        message: maybe(message)
            .or_else(|| body.reason.clone())
            .unwrap_or_default(),
    });
    body.suggest = draft.suggest.iter().map(&mut template).collect();
    if let Some((name, _, message)) = &draft.alert
        && message.is_none()
        && draft.reason.is_none()
    {
        let message =
            format!("the alert {name} says nothing: give it a `message`, or the rule a `reason`");
        mistakes.add(draft.at, Some(&draft.name), &message);
    }
    body
}

/// How many moments of each rule are remembered: only what a condition asks for.
fn remembered(drafts: &[Draft]) -> Vec<u8> {
    let mut most = vec![0; drafts.len()];
    for (own, draft) in drafts.iter().enumerate() {
        for node in draft.nodes() {
            node.visit(&mut |node| {
                let Kind::Call(None, name, arguments) = &node.kind else {
                    return;
                };
                match (name.as_str(), arguments.first().map(|first| &first.kind)) {
                    ("cooldown", _) => most[own] = most[own].max(LAST_ONE),
                    ("count", Some(Kind::Text(rule))) => {
                        let known = drafts.iter().position(|draft| draft.name == *rule);
                        if let Some(at) = known {
                            most[at] = u8::try_from(check::MOST_COUNTED).unwrap_or(u8::MAX);
                        }
                    }
                    _ => {}
                }
            });
        }
    }
    most
}

impl Draft {
    /// Every condition and value of the rule.
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        let message = self
            .alert
            .as_ref()
            .and_then(|(_, _, message)| message.as_ref());
        let texts = [&self.class, &self.level, &self.repair, &self.reason];
        let words = texts
            .into_iter()
            .flatten()
            .chain(message)
            .chain(&self.suggest);
        let values = words.flat_map(|words| &words.pieces);
        let values = values.filter_map(|(_, piece)| match piece {
            Piece::Value(node) => Some(node),
            Piece::Fixed(_) => None,
        });
        self.when.iter().map(|(_, node)| node).chain(values)
    }
}
