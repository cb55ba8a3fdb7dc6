//! Functions, methods, and what goes through lists.

use super::{Checked, Checker, MOST_ELEMENTS, hint};
use crate::expression::Expression;
use crate::syntax::{self, Fault, Kind, Node};
use crate::vocabulary::{EACH, Each, FUNCTIONS, Function, Global, Signature, Type};

impl<'a> Checker<'a> {
    pub(super) fn call(&mut self, at: usize, name: &'a str, arguments: &'a [Node]) -> Checked<'a> {
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
            return Err(Fault::new(
                at,
                format!("there is no function `{name}`; {hint}"),
            ));
        };
        self.apply(at, signature, arguments.iter())
    }

    pub(super) fn method(
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

    fn each(&mut self, at: usize, each: Each, of: &'a Node, arguments: &'a [Node]) -> Checked<'a> {
        let [variable, body] = arguments else {
            let message =
                "this takes a name and a condition, as incidents.exists(i, i.class == \"wall\")";
            return Err(Fault::new(at, message));
        };
        let Kind::Name(name) = &variable.kind else {
            return Err(Fault::new(
                variable.at,
                "a name of your own is expected here",
            ));
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
        Ok((
            Expression::Each(each, Box::new(list), Box::new(body)),
            gives,
        ))
    }
}

fn is_field(kind: &Kind) -> bool {
    match kind {
        Kind::Field(..) => true,
        Kind::Index(of, _) => {
            matches!(&of.kind, Kind::Name(name) if name == "facts" || name == "metrics")
        }
        _ => false,
    }
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
