//! Checks names and types of a condition, and makes of it what is kept in the settings.

mod call;
mod template;

use std::collections::BTreeMap;

use dbmedic_policy::problems::{self, FactType};

use crate::expression::{Expression, FactKind};
use crate::syntax::{Fault, Kind, Node, Operator};
use crate::vocabulary::{EACH_GLOBAL, Entry, GLOBALS, Global, Type, field_number, fields};

pub(crate) use template::{Piece, pieces, template};

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
pub(crate) fn condition<'a>(node: &'a Node, names: &'a Names<'_>) -> Result<Expression<'a>, Fault> {
    let mut checker = Checker {
        names,
        elements: Vec::new(),
    };
    checker.wanted(node, Type::Bool, "a condition")
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
            Kind::Binary(operator, left, right) => self.binary(node.at, *operator, left, right)?,
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
                (
                    a.fits(b) && counts(a) && counts(b),
                    if a == Type::Any { b } else { a },
                )
            }
            Operator::Remainder => (a.fits(Type::Int) && b.fits(Type::Int), Type::Int),
            _ => {
                let counts = |of: Type| of.is_number() || of == Type::Any;
                (
                    a.fits(b) && counts(a) && counts(b),
                    if a == Type::Any { b } else { a },
                )
            }
        };
        if fits {
            let kind = Expression::Binary(operator, Box::new(left), Box::new(right));
            return Ok((kind, gives));
        }
        let sign = operator.sign();
        let mut message = format!(
            "`{sign}` cannot stand between {} and {}",
            a.name(),
            b.name()
        );
        if numbers {
            message.push_str("; write double(...) around the whole one");
        } else if either(Type::Duration) && either(Type::Int) {
            message.push_str("; write ms(...) around the milliseconds");
        }
        Err(Fault::new(at, message))
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
    let counts = |node: &Node| matches!(&node.kind, Kind::Call(None, name, _) if name == "count" || name == "violations");
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
