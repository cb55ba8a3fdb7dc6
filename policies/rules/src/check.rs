//! Checks names and types of a condition, and makes of it what is kept in the settings.

use std::collections::BTreeMap;

use dbmedic_policy::problems::{self, FactType};

use crate::expression::{Expression, FactKind, Part, Template};
use crate::syntax::{self, Fault, Kind, Node, Operator};
use crate::vocabulary::{
    EACH, EACH_GLOBAL, Each, Entry, FUNCTIONS, Function, GLOBALS, Global, Signature, Type,
    field_number, fields,
};

/// `count(...)` counts no further: what is compared with more could never be.
pub(crate) const MOST_COUNTED: i64 = 32;
/// Lists within lists.
const MOST_ELEMENTS: usize = 4;
/// Below this likeness (Jaro-Winkler, 0 to 1) a name is not proposed for a mistyped one.
const LIKENESS: f64 = 0.8;

/// A value of the document's `[values]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
}

/// What a condition may refer to beside the vocabulary.
pub(crate) struct Names<'n> {
    /// The names of all rules, in their order.
    pub(crate) rules: &'n [&'n str],
    /// The rule that the condition belongs to.
    pub(crate) own: usize,
    pub(crate) values: &'n BTreeMap<String, Constant>,
}

/// The name among `known` that is most like a mistyped one.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let likeness = |known: &'k str| (strsim::jaro_winkler(name, known), known);
    let like = known.into_iter().map(likeness);
    like.filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// The end of a message about an unknown name.
pub(crate) fn hint<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone()) {
        return format!("did you mean `{nearest}`?");
    }
    let mut names: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
    names.sort();
    names.dedup();
    match names.len() {
        0 => "there are none".to_owned(),
        1..=40 => format!("there are {}", names.join(", ")),
        many => format!("none of the {many} that there are is like it"),
    }
}

/// Reads and checks a condition, which must be true or false.
pub(crate) fn condition<'a>(
    node: &'a Node,
    names: &'a Names<'_>,
) -> Result<Expression<'a>, Fault> {
    let mut checker = Checker {
        names,
        elements: Vec::new(),
    };
    checker.wanted(node, Type::Bool, "a condition")
}

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

struct Checker<'a> {
    names: &'a Names<'a>,
    /// What goes through lists at this place.
    elements: Vec<(&'a str, Type)>,
}

type Checked<'a> = Result<(Expression<'a>, Type), Fault>;

impl<'a> Checker<'a> {
    fn wanted(
        &mut self,
        node: &'a Node,
        wanted: Type,
        what: &str,
    ) -> Result<Expression<'a>, Fault> {
        let (value, of) = self.check(node)?;
        if of.fits(wanted) {
            return Ok(value);
        }
        let mut message = format!("this is {}, but {what} is {}", of.name(), wanted.name());
        match (of, wanted) {
            (Type::Int, Type::Double) => message.push_str("; write double(...)"),
            (Type::Int, Type::Duration) => {
                message.push_str("; write 60s, or ms(...) for milliseconds");
            }
            _ => {}
        }
        Err(Fault::new(node.at, message))
    }

    fn check(&mut self, node: &'a Node) -> Checked<'a> {
        Ok(match &node.kind {
            Kind::Bool(value) => (Expression::Bool(*value), Type::Bool),
            Kind::Int(value) => (Expression::Int(*value), Type::Int),
            Kind::Double(value) => (Expression::Double(*value), Type::Double),
            Kind::Text(value) => (Expression::Text(value), Type::Text),
            Kind::Duration(value) => (Expression::Duration(*value), Type::Duration),
            Kind::List(nodes) => self.list(nodes)?,
            Kind::Name(name) => self.name(node.at, name)?,
            Kind::Field(of, name) => self.field(node.at, of, name)?,
            Kind::Index(of, index) => self.index(of, index)?,
            Kind::Call(None, name, arguments) => self.call(node.at, name, arguments)?,
            Kind::Call(Some(of), name, arguments) => self.method(node.at, of, name, arguments)?,
            Kind::Not(inner) => {
                let inner = self.wanted(inner, Type::Bool, "what `!` turns round")?;
                (Expression::Not(Box::new(inner)), Type::Bool)
            }
            Kind::Negate(inner) => {
                let (value, of) = self.check(inner)?;
                if !(of.is_number() || matches!(of, Type::Any | Type::Duration)) {
                    let message = format!("`-` cannot stand before {}", of.name());
                    return Err(Fault::new(node.at, message));
                }
                (Expression::Negate(Box::new(value)), of)
            }
            Kind::Chain(operator, nodes) => {
                let what = format!("each side of `{}`", operator.sign());
                let mut all = Vec::with_capacity(nodes.len());
                for node in nodes {
                    all.push(self.wanted(node, Type::Bool, &what)?);
                }
                let chain = match operator {
                    Operator::Or => Expression::Any(all),
                    _ => Expression::All(all),
                };
                (chain, Type::Bool)
            }
            Kind::Binary(operator, left, right) => {
                self.binary(node.at, *operator, left, right)?
            }
            Kind::Choice(condition, yes, no) => {
                let condition = self.wanted(condition, Type::Bool, "what stands before `?`")?;
                let ((yes, of), (no, other)) = (self.check(yes)?, self.check(no)?);
                let of = if of == other { of } else { Type::Any };
                (Expression::Choice(Box::new([condition, yes, no])), of)
            }
        })
    }

    fn list(&mut self, nodes: &'a [Node]) -> Checked<'a> {
        let mut of = None;
        let mut all = Vec::with_capacity(nodes.len());
        for node in nodes {
            let (value, found) = self.check(node)?;
            all.push(value);
            of = Some(match of {
                Some(before) if before != found => Type::Any,
                _ => found,
            });
        }
        Ok((Expression::List(all), of.unwrap_or(Type::Any).list()))
    }

    fn name(&mut self, at: usize, name: &'a str) -> Checked<'a> {
        let mut elements = self.elements.iter();
        if let Some(level) = elements.rposition(|(known, _)| *known == name) {
            let level_number = u8::try_from(level).unwrap_or(u8::MAX);
            return Ok((Expression::Element(level_number), self.elements[level].1));
        }
        let Some(index) = GLOBALS.iter().position(|known| known.name == name) else {
            let known = GLOBALS.iter().map(|known| known.name);
            let elements = self.elements.iter().map(|(name, _)| *name);
            let hint = hint(name, known.chain(elements));
            let message = format!("there is no name `{name}`; {hint}");
            return Err(Fault::new(at, message));
        };
        let (entry, global) = (&GLOBALS[index], EACH_GLOBAL[index]);
        if matches!(global, Global::Facts | Global::Metrics | Global::Values) {
            let message = format!("`{name}` is used with a name behind it, as `{name}.something`");
            return Err(Fault::new(at, message));
        }
        Ok((Expression::Global(global), entry.of))
    }

    /// The table that is looked up by name, if the node is one.
    fn table(&self, node: &Node) -> Option<Global> {
        let Kind::Name(name) = &node.kind else {
            return None;
        };
        if self.elements.iter().any(|(known, _)| known == name) {
            return None;
        }
        match name.as_str() {
            "facts" => Some(Global::Facts),
            "metrics" => Some(Global::Metrics),
            "values" => Some(Global::Values),
            _ => None,
        }
    }

    fn field(&mut self, at: usize, of: &'a Node, name: &'a str) -> Checked<'a> {
        match self.table(of) {
            Some(Global::Facts) => return fact(at, name),
            Some(Global::Metrics) => return Ok((Expression::Metric(name), Type::Double)),
            Some(_) => return self.value(at, name),
            None => {}
        }
        let (inner, of) = self.check(of)?;
        let Type::Record(shape) = of else {
            let message = format!("{} has no `{name}`: it has no fields", of.name());
            return Err(Fault::new(at, message));
        };
        let known = fields(shape).iter().find(|field| field.name == name);
        let (Some(Entry { of, .. }), Some(number)) = (known, field_number(shape, name)) else {
            let hint = hint(name, fields(shape).iter().map(|field| field.name));
            let message = format!("there is no field `{name}` here; {hint}");
            return Err(Fault::new(at, message));
        };
        Ok((Expression::Field(Box::new(inner), number), *of))
    }

    fn value(&self, at: usize, name: &str) -> Checked<'a> {
        let Some(value) = self.names.values.get(name) else {
            let hint = hint(name, self.names.values.keys().map(String::as_str));
            let message = format!("[values] has no `{name}`; {hint}");
            return Err(Fault::new(at, message));
        };
        Ok(match value {
            Constant::Bool(value) => (Expression::Bool(*value), Type::Bool),
            Constant::Int(value) => (Expression::Int(*value), Type::Int),
            Constant::Double(value) => (Expression::Double(*value), Type::Double),
            Constant::Text(value) => (Expression::Text(value), Type::Text),
        })
    }

    fn index(&mut self, of: &'a Node, index: &'a Node) -> Checked<'a> {
        if let Some(table) = self.table(of) {
            let Kind::Text(name) = &index.kind else {
                let message = "between these brackets, a name in quotation marks is expected";
                return Err(Fault::new(index.at, message));
            };
            return match table {
                Global::Facts => Ok((Expression::Fact(name, None), Type::Any)),
                Global::Metrics => Ok((Expression::Metric(name), Type::Double)),
                _ => self.value(index.at, name),
            };
        }
        let (list, of_list) = self.check(of)?;
        let element = match of_list {
            Type::List(element) => *element,
            Type::Any => Type::Any,
            other => {
                let message = format!("{} has no elements", other.name());
                return Err(Fault::new(of.at, message));
            }
        };
        let index = self.wanted(index, Type::Int, "the place in a list")?;
        Ok((Expression::Index(Box::new(list), Box::new(index)), element))
    }

    fn binary(
        &mut self,
        at: usize,
        operator: Operator,
        left: &'a Node,
        right: &'a Node,
    ) -> Checked<'a> {
        known_kind(left, right)?;
        too_many(operator, left, right)?;
        let (left, a) = self.check(left)?;
        let (right, b) = self.check(right)?;
        let either = |of: Type| a == of || b == of;
        let numbers = a.is_number() && b.is_number();
        let (fits, gives) = match operator {
            Operator::Equal | Operator::Unequal => (a.fits(b) || numbers, Type::Bool),
            Operator::In => {
                let fits = match b {
                    Type::List(element) => a.fits(*element) || a.is_number() && element.is_number(),
                    other => other == Type::Any,
                };
                (fits, Type::Bool)
            }
            Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => {
                let ordered = !(either(Type::Bool) || has_parts(a) || has_parts(b));
                ((a.fits(b) || numbers) && ordered, Type::Bool)
            }
            Operator::Plus => {
                let fits = a.fits(b) && !either(Type::Bool) && !matches!(a, Type::Record(_));
                (fits, if a == Type::Any { b } else { a })
            }
            Operator::Minus => {
                let counts = |of: Type| of.is_number() || matches!(of, Type::Any | Type::Duration);
                (a.fits(b) && counts(a) && counts(b), if a == Type::Any { b } else { a })
            }
            Operator::Remainder => (a.fits(Type::Int) && b.fits(Type::Int), Type::Int),
            _ => {
                let counts = |of: Type| of.is_number() || of == Type::Any;
                (a.fits(b) && counts(a) && counts(b), if a == Type::Any { b } else { a })
            }
        };
        if fits {
            let kind = Expression::Binary(operator, Box::new(left), Box::new(right));
            return Ok((kind, gives));
        }
        let sign = operator.sign();
        let mut message = format!("`{sign}` cannot stand between {} and {}", a.name(), b.name());
        if numbers {
            message.push_str("; write double(...) around the whole one");
        } else if either(Type::Duration) && either(Type::Int) {
            message.push_str("; write ms(...) around the milliseconds");
        }
        Err(Fault::new(at, message))
    }

    fn call(&mut self, at: usize, name: &'a str, arguments: &'a [Node]) -> Checked<'a> {
        match (name, arguments) {
            ("has", [Node { kind, .. }]) if is_field(kind) => {
                let (inner, _) = self.check(&arguments[0])?;
                return Ok((Expression::Has(Box::new(inner)), Type::Bool));
            }
            ("has", _) => {
                let message = "has(...) takes one name with a dot, as has(facts.age_ms)";
                return Err(Fault::new(at, message));
            }
            ("duration", [Node { kind, at }]) => {
                let ms = match kind {
                    Kind::Text(text) => syntax::duration_ms(text),
                    Kind::Field(table, name) if self.table(table) == Some(Global::Values) => {
                        match self.value(*at, name)?.0 {
                            Expression::Text(text) => syntax::duration_ms(text),
                            _ => None,
                        }
                    }
                    _ => None,
                };
                let message = "duration(...) takes a text such as \"250ms\", \"60s\" or \"1h30m\"";
                let ms = ms.ok_or_else(|| Fault::new(*at, message))?;
                return Ok((Expression::Duration(ms), Type::Duration));
            }
            ("matches", _) => {
                let message = "patterns are not known here; use startsWith, endsWith or contains";
                return Err(Fault::new(at, message));
            }
            _ => {}
        }
        let known = FUNCTIONS.iter().filter(|known| !known.is_method);
        let Some(signature) = known.clone().find(|known| known.name == name) else {
            let more = ["has", "duration"].into_iter();
            let hint = hint(name, known.map(|known| known.name).chain(more));
            return Err(Fault::new(at, format!("there is no function `{name}`; {hint}")));
        };
        self.apply(at, signature, arguments.iter())
    }

    fn method(
        &mut self,
        at: usize,
        of: &'a Node,
        name: &'a str,
        arguments: &'a [Node],
    ) -> Checked<'a> {
        if let Some((_, each)) = EACH.iter().find(|(known, _)| *known == name) {
            return self.each(at, *each, of, arguments);
        }
        let known = FUNCTIONS.iter().filter(|known| known.is_method);
        let Some(signature) = known.clone().find(|known| known.name == name) else {
            let more = EACH.iter().map(|(name, _)| *name);
            let hint = hint(name, known.map(|known| known.name).chain(more));
            let message = format!("nothing is called `.{name}(...)`; {hint}");
            return Err(Fault::new(at, message));
        };
        self.apply(at, signature, std::iter::once(of).chain(arguments))
    }

    fn apply(
        &mut self,
        at: usize,
        signature: &'static Signature,
        arguments: impl Iterator<Item = &'a Node>,
    ) -> Checked<'a> {
        let nodes: Vec<&'a Node> = arguments.collect();
        if !(signature.least..=signature.takes.len()).contains(&nodes.len()) {
            let message = format!(
                "`{}` is not called with so many values; write it as {}",
                signature.name, signature.usage
            );
            return Err(Fault::new(at, message));
        }
        let what = format!("what {} takes there", signature.usage);
        let mut all = Vec::with_capacity(nodes.len());
        let mut first = Type::Any;
        for (index, (node, wanted)) in nodes.iter().zip(signature.takes).enumerate() {
            let wants_span = matches!(signature.function, Function::Seconds);
            let value = self.wanted(node, *wanted, &what)?;
            if index == 0 && matches!(signature.function, Function::Default | Function::Seconds) {
                first = self.check(node)?.1;
                if wants_span && !first.fits(Type::Int) && !first.fits(Type::Duration) {
                    let message = format!(
                        "this is {}; milliseconds or a duration are expected",
                        first.name()
                    );
                    return Err(Fault::new(node.at, message));
                }
            }
            all.push(value);
        }
        let function = match (signature.function, &nodes[..]) {
            (Function::Count(_), [rule, _]) => {
                all.remove(0);
                Function::Count(self.rule(rule)?)
            }
            (Function::Spoke(_), [rule]) => {
                all.clear();
                let number = self.rule(rule)?;
                if usize::from(number) >= self.names.own {
                    let message = "this rule does not stand above; it speaks later or is this one";
                    return Err(Fault::new(rule.at, message));
                }
                Function::Spoke(number)
            }
            (function @ (Function::Since | Function::LeastRisk), [word]) => {
                word_of(function, word)?;
                function
            }
            (function, _) => function,
        };
        let gives = match function {
            Function::Default => first,
            _ => signature.gives,
        };
        Ok((Expression::Call(function, all), gives))
    }

    /// The rule that a text names.
    fn rule(&self, node: &Node) -> Result<u16, Fault> {
        let Kind::Text(name) = &node.kind else {
            let message = "a rule's name is expected, in quotation marks";
            return Err(Fault::new(node.at, message));
        };
        let at = self.names.rules.iter().position(|known| known == name);
        at.and_then(|at| u16::try_from(at).ok()).ok_or_else(|| {
            let hint = hint(name, self.names.rules.iter().copied());
            Fault::new(node.at, format!("there is no rule `{name}`; {hint}"))
        })
    }

    fn each(
        &mut self,
        at: usize,
        each: Each,
        of: &'a Node,
        arguments: &'a [Node],
    ) -> Checked<'a> {
        let [variable, body] = arguments else {
            let message = "this takes a name and a condition, as incidents.exists(i, i.class == \"wall\")";
            return Err(Fault::new(at, message));
        };
        let Kind::Name(name) = &variable.kind else {
            return Err(Fault::new(variable.at, "a name of your own is expected here"));
        };
        let (list, of_list) = self.check(of)?;
        let element = match of_list {
            Type::List(element) => *element,
            Type::Any => Type::Any,
            other => {
                let message = format!("{} has no elements to go through", other.name());
                return Err(Fault::new(of.at, message));
            }
        };
        if self.elements.len() == MOST_ELEMENTS {
            return Err(Fault::new(at, "lists are nested too deeply"));
        }
        self.elements.push((name, element));
        let checked = match each {
            Each::Map => self.check(body),
            _ => self
                .wanted(body, Type::Bool, "the condition on each element")
                .map(|body| (body, Type::Bool)),
        };
        self.elements.pop();
        let (body, of_body) = checked?;
        let gives = match each {
            Each::Map => of_body.list(),
            Each::Filter => of_list,
            _ => Type::Bool,
        };
        Ok((Expression::Each(each, Box::new(list), Box::new(body)), gives))
    }
}

fn is_field(kind: &Kind) -> bool {
    match kind {
        Kind::Field(..) => true,
        Kind::Index(of, _) => matches!(&of.kind, Kind::Name(name) if name == "facts" || name == "metrics"),
        _ => false,
    }
}

fn has_parts(of: Type) -> bool {
    matches!(of, Type::List(_) | Type::Record(_))
}

/// A fact by its name. What no problem of this version has is a mistake: a newer host's facts are asked
/// for as `facts["name"]`.
fn fact(at: usize, name: &str) -> Checked<'_> {
    let all = problems::CATALOGUE.iter().flat_map(|(_, facts)| *facts);
    let mut types = all.clone().filter(|(known, _)| *known == name);
    let Some((_, first)) = types.next() else {
        let hint = hint(name, all.map(|(known, _)| *known));
        let message = format!("no problem has a fact `{name}`; {hint}");
        return Err(Fault::new(at, message));
    };
    if types.any(|(_, other)| other != first) {
        return Ok((Expression::Fact(name, None), Type::Any));
    }
    let of = match first {
        FactType::Count => Type::Int,
        FactType::Number => Type::Double,
        FactType::Flag => Type::Bool,
        FactType::Text => Type::Text,
    };
    Ok((Expression::Fact(name, Some(FactKind::from(*first))), of))
}

/// A word that must be one of several.
fn word_of(function: Function, node: &Node) -> Result<(), Fault> {
    let words: &[&str] = match function {
        Function::Since => &["watch", "warn", "escalate"],
        _ => &["in-place", "snapshot", "replay", "rebuild"],
    };
    match &node.kind {
        Kind::Text(word) if words.contains(&word.as_str()) => Ok(()),
        _ => {
            let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
            let message = format!("one of {} is expected", quoted.join(", "));
            Err(Fault::new(node.at, message))
        }
    }
}

/// A kind that is compared with a text which is nearly one that is known is mistyped.
fn known_kind(left: &Node, right: &Node) -> Result<(), Fault> {
    let asks_kind = |node: &Node| matches!(&node.kind, Kind::Field(_, name) if name == "kind");
    let texts: Vec<&Node> = match (asks_kind(left), asks_kind(right), &right.kind) {
        (true, _, Kind::List(nodes)) => nodes.iter().collect(),
        (true, _, _) => vec![right],
        (_, true, _) => vec![left],
        _ => return Ok(()),
    };
    for node in texts {
        if let Kind::Text(kind) = &node.kind {
            kind_is_known(kind).map_err(|message| Fault::new(node.at, message))?;
        }
    }
    Ok(())
}

/// Whether a kind is known, or unlike all that are: a newer host may have others.
pub(crate) fn kind_is_known(kind: &str) -> Result<(), String> {
    if problems::KINDS.contains(&kind) {
        return Ok(());
    }
    match nearest(kind, problems::KINDS.iter().copied()) {
        Some(like) if strsim::levenshtein(kind, like) <= 3 => Err(format!(
            "there is no kind of problem `{kind}`; did you mean `{like}`?"
        )),
        _ => Ok(()),
    }
}

/// A count that is compared with more than is counted.
fn too_many(operator: Operator, left: &Node, right: &Node) -> Result<(), Fault> {
    let counts = |node: &Node| {
        matches!(&node.kind, Kind::Call(None, name, _) if name == "count" || name == "violations")
    };
    let (number, least) = match (counts(left), counts(right)) {
        (true, _) => (right, operator == Operator::Greater),
        (_, true) => (left, operator == Operator::Less),
        _ => return Ok(()),
    };
    match number.kind {
        Kind::Int(value) if value > MOST_COUNTED || least && value == MOST_COUNTED => {
            let message = format!("no more than {MOST_COUNTED} are counted, so this never holds");
            Err(Fault::new(number.at, message))
        }
        _ => Ok(()),
    }
}

