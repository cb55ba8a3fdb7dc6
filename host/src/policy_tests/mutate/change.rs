//! The small changes of parameters and facts.

use std::collections::BTreeSet;

use crate::model::{Fact, Finding, Parameter, PolicyEvent, Setting, Value};
use crate::policy::Policy;
use crate::policy_tests::coverage::number;
use crate::policy_tests::{Case, Story};

/// A small change.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// A parameter has another number.
    Parameter { parameter: Parameter, up: bool },
    /// A fact of a kind of problem is not there, turned round, or another number.
    Fact {
        kind: String,
        name: String,
        how: How,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    Gone,
    TurnedRound,
    More,
    Less,
}

impl Change {
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Parameter { parameter, up } => {
                let word = if *up {
                    "a little more"
                } else {
                    "a little less"
                };
                format!("the parameter {} is {word}", parameter.name)
            }
            Self::Fact { kind, name, how } => {
                let word = match how {
                    How::Gone => "is not there",
                    How::TurnedRound => "is turned round",
                    How::More => "is a little more",
                    How::Less => "is a little less",
                };
                format!("the fact {name} of {kind} {word}")
            }
        }
    }

    /// A case with this change; none where it has nothing to change, or the change is not possible.
    pub(super) fn of(&self, case: &Case) -> Option<Case> {
        match self {
            Self::Parameter { parameter, up } => {
                let own = case
                    .parameters
                    .iter()
                    .find(|own| own.name == parameter.name);
                let value = own.map_or(&parameter.default, |own| &own.value);
                let moved = moved(value, *up)?;
                let is = number(&moved)?;
                let in_bounds = parameter.minimum.is_none_or(|minimum| is >= minimum)
                    && parameter.maximum.is_none_or(|maximum| is <= maximum);
                let mut changed = case.clone();
                changed.parameters.retain(|own| own.name != parameter.name);
                changed.parameters.push(Setting {
                    name: parameter.name.clone(),
                    value: moved,
                });
                in_bounds.then_some(changed)
            }
            Self::Fact { kind, name, how } => {
                let mut changed = case.clone();
                let mut any = false;
                if let Story::Events(events) = &mut changed.story {
                    for step in &mut events.steps {
                        if let PolicyEvent::Finding(finding) = &mut step.event
                            && finding.kind == *kind
                        {
                            any |= change_fact(finding, name, *how);
                        }
                    }
                }
                any.then_some(changed)
            }
        }
    }
}

fn change_fact(finding: &mut Finding, name: &str, how: How) -> bool {
    let before = finding.facts.len();
    if how == How::Gone {
        finding.facts.retain(|fact| fact.name != name);
        return finding.facts.len() < before;
    }
    let Some(fact) = finding.facts.iter_mut().find(|fact| fact.name == name) else {
        return false;
    };
    let new = match (how, &fact.value) {
        (How::TurnedRound, Value::Boolean(flag)) => Some(Value::Boolean(!flag)),
        (How::More, value) => moved(value, true),
        (How::Less, value) => moved(value, false),
        (How::Gone | How::TurnedRound, _) => None,
    };
    let any = new.is_some();
    if let Some(new) = new {
        fact.value = new;
    }
    any
}

/// The least that counts more or less: one of what is whole, a hundredth of what is not.
fn moved(value: &Value, up: bool) -> Option<Value> {
    match value {
        Value::Integer(whole) if up => Some(Value::Integer(whole + 1)),
        Value::Integer(whole) => (*whole > 0).then(|| Value::Integer(whole - 1)),
        Value::Number(number) => {
            let by = (number.abs() * 0.01).max(0.001);
            Some(Value::Number(if up { number + by } else { number - by }))
        }
        Value::Boolean(_) | Value::Text(_) | Value::Integers(_) | Value::Texts(_) => None,
    }
}

pub(super) fn parameter_changes(policy: &Policy) -> Vec<Change> {
    let parameters = &policy.description().parameters;
    let numeric = parameters
        .iter()
        .filter(|parameter| number(&parameter.default).is_some());
    let both = numeric.flat_map(|parameter| {
        [true, false].map(|up| Change::Parameter {
            parameter: parameter.clone(),
            up,
        })
    });
    both.collect()
}

pub(super) fn fact_changes(cases: &[&Case]) -> Vec<Change> {
    let mut all = BTreeSet::new();
    for finding in cases.iter().flat_map(|case| findings(case)) {
        for Fact { name, value } in &finding.facts {
            let mut add = |how| all.insert((finding.kind.clone(), name.clone(), how));
            add(How::Gone);
            match value {
                Value::Boolean(_) => drop(add(How::TurnedRound)),
                Value::Integer(_) | Value::Number(_) => {
                    add(How::More);
                    add(How::Less);
                }
                Value::Text(_) | Value::Integers(_) | Value::Texts(_) => {}
            }
        }
    }
    let all = all.into_iter();
    all.map(|(kind, name, how)| Change::Fact { kind, name, how })
        .collect()
}

pub(super) fn findings(case: &Case) -> impl Iterator<Item = &Finding> {
    let steps = match &case.story {
        Story::Events(events) => &events.steps[..],
        Story::Recording(_) => &[],
    };
    steps.iter().filter_map(|step| match &step.event {
        PolicyEvent::Finding(finding) => Some(finding),
        PolicyEvent::Outcome(_) | PolicyEvent::Tick => None,
    })
}
