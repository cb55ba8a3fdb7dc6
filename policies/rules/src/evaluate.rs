//! What a checked condition is worth at an event.

use std::borrow::Cow;

use dbmedic_policy::{EscalationLevel, Facts as _, telemetry};

use crate::check::MOST_COUNTED;
use crate::expression::{Expression, FactKind, Part, Template};
use crate::record::{LEVELS, NONE, Record, is_ready};
use crate::scope::Scope;
use crate::value::{self, Trouble, Value, float, seconds};
use crate::vocabulary::{Each, Function, field_name};

type Evaluated<'a> = Result<Value<'a>, Trouble>;

/// Whether a condition holds.
pub(crate) fn holds<'a>(
    condition: &Expression<'a>,
    scope: &Scope<'a, '_>,
) -> Result<bool, Trouble> {
    Evaluator {
        scope,
        elements: Vec::new(),
    }
    .value(condition)?
    .truth()
}

/// A text with its values; what is missing is shown as `?`.
pub(crate) fn render<'a>(
    template: &Template<'a>,
    scope: &Scope<'a, '_>,
) -> Result<Cow<'a, str>, Trouble> {
    if let [Part::Fixed(text)] = template.0[..] {
        return Ok(Cow::Borrowed(text));
    }
    let mut text = String::new();
    for part in &template.0 {
        match part {
            Part::Fixed(fixed) => text.push_str(fixed),
            Part::Value(expression) => {
                let mut evaluator = Evaluator {
                    scope,
                    elements: Vec::new(),
                };
                match evaluator.value(expression) {
                    Ok(value) => text.push_str(&value.shown()),
                    Err(Trouble::Missing) => text.push('?'),
                    Err(wrong) => return Err(wrong),
                }
            }
        }
    }
    Ok(Cow::Owned(text))
}

struct Evaluator<'a, 's> {
    scope: &'s Scope<'a, 's>,
    elements: Vec<Value<'a>>,
}

impl<'a> Evaluator<'a, '_> {
    fn value(&mut self, expression: &Expression<'a>) -> Evaluated<'a> {
        Ok(match expression {
            Expression::Bool(value) => Value::Bool(*value),
            Expression::Int(value) => Value::Int(*value),
            Expression::Double(value) => Value::Double(*value),
            Expression::Text(text) => (*text).into(),
            Expression::Duration(ms) => Value::Duration(*ms),
            Expression::List(all) => {
                let values: Result<_, _> = all.iter().map(|one| self.value(one)).collect();
                Value::List(values?)
            }
            Expression::Global(global) => self.scope.global(*global)?,
            Expression::Element(at) => {
                let element = self.elements.get(usize::from(*at));
                element.cloned().ok_or(Trouble::Missing)?
            }
            Expression::Fact(name, of) => self.fact(name, *of)?,
            Expression::Metric(name) => {
                let metric = self.scope.situation().metric(name);
                Value::Double(metric.ok_or(Trouble::Missing)?)
            }
            Expression::Field(of, number) => {
                let Value::Record(record) = self.value(of)? else {
                    return Err(Trouble::Wrong("a value has no fields"));
                };
                let field = record.field(field_name(*number), self.scope);
                field.ok_or(Trouble::Missing)?
            }
            Expression::Index(of, index) => {
                let (of, index) = (self.value(of)?, self.value(index)?);
                let (Value::List(values), Value::Int(index)) = (of, index) else {
                    return Err(Trouble::Wrong(
                        "only lists have places, which are whole numbers",
                    ));
                };
                let at = usize::try_from(index).ok();
                at.and_then(|at| values.into_iter().nth(at))
                    .ok_or(Trouble::Missing)?
            }
            Expression::Has(inner) => match self.value(inner) {
                Err(Trouble::Missing) => Value::Bool(false),
                other => other.map(|_| Value::Bool(true))?,
            },
            Expression::Not(inner) => Value::Bool(!self.value(inner)?.truth()?),
            Expression::Negate(inner) => match self.value(inner)? {
                Value::Int(value) => {
                    let negated = value.checked_neg();
                    Value::Int(negated.ok_or(Trouble::Wrong("a number is too large"))?)
                }
                Value::Double(value) => Value::Double(-value),
                Value::Duration(ms) => Value::Duration(ms.saturating_neg()),
                _ => {
                    return Err(Trouble::Wrong(
                        "`-` stands before something else than a number",
                    ));
                }
            },
            Expression::All(all) => self.decided_by(false, all.iter())?,
            Expression::Any(all) => self.decided_by(true, all.iter())?,
            Expression::Binary(operator, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                value::apply(*operator, left, right)?
            }
            Expression::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                let chosen = if self.value(condition)?.truth()? {
                    yes
                } else {
                    no
                };
                self.value(chosen)?
            }
            Expression::Call(function, arguments) => self.call(*function, arguments)?,
            Expression::Each(each, list, body) => self.each(*each, list, body)?,
        })
    }

    /// One of `deciding` decides, whatever trouble the others are in, as CEL says.
    fn decided_by<'e>(
        &mut self,
        deciding: bool,
        all: impl Iterator<Item = &'e Expression<'a>>,
    ) -> Evaluated<'a>
    where
        'a: 'e,
    {
        let mut trouble = None;
        for one in all {
            match self.value(one).and_then(Value::truth) {
                Ok(value) if value == deciding => return Ok(Value::Bool(deciding)),
                Ok(_) => {}
                Err(found) => trouble = trouble.or(Some(found)),
            }
        }
        trouble.map_or(Ok(Value::Bool(!deciding)), Err)
    }

    fn fact(&self, name: &str, of: Option<FactKind>) -> Evaluated<'a> {
        use dbmedic_policy::Value as Fact;

        let finding = self.scope.finding()?;
        let value = match of {
            Some(FactKind::Count) => finding.count(name).map(Value::whole),
            Some(FactKind::Number) => finding.number(name).map(Value::Double),
            Some(FactKind::Flag) => finding.flag(name).map(Value::Bool),
            Some(FactKind::Text) => finding.text(name).map(Value::from),
            None => finding.fact(name).map(|fact| match fact {
                Fact::Boolean(value) => Value::Bool(*value),
                Fact::Integer(value) => Value::Int(*value),
                Fact::Number(value) => Value::Double(*value),
                Fact::Text(text) => text.as_str().into(),
                Fact::Integers(values) => {
                    Value::List(values.iter().map(|value| Value::Int(*value)).collect())
                }
                Fact::Texts(texts) => Value::texts(texts),
            }),
        };
        value.ok_or(Trouble::Missing)
    }

    fn each(&mut self, each: Each, list: &Expression<'a>, body: &Expression<'a>) -> Evaluated<'a> {
        let Value::List(values) = self.value(list)? else {
            return Err(Trouble::Wrong("what is gone through is no list"));
        };
        let mut kept = Vec::new();
        let mut trouble = None;
        let mut matches = 0;
        for value in values {
            self.elements.push(value);
            let result = self.value(body);
            let element = self.elements.pop();
            match (
                each,
                result.and_then(|value| match each {
                    Each::Map => Ok(value),
                    _ => value.truth().map(Value::Bool),
                }),
            ) {
                (Each::Exists, Ok(Value::Bool(true))) => return Ok(Value::Bool(true)),
                (Each::All, Ok(Value::Bool(false))) => return Ok(Value::Bool(false)),
                (Each::Exists | Each::All, Err(found)) => trouble = trouble.or(Some(found)),
                (_, Err(found)) => return Err(found),
                (Each::ExistsOne, Ok(Value::Bool(true))) => matches += 1,
                (Each::Filter, Ok(Value::Bool(true))) => kept.extend(element),
                (Each::Map, Ok(value)) => kept.push(value),
                (_, Ok(_)) => {}
            }
        }
        match (each, trouble) {
            (_, Some(trouble)) => Err(trouble),
            (Each::Exists, None) => Ok(Value::Bool(false)),
            (Each::All, None) => Ok(Value::Bool(true)),
            (Each::ExistsOne, None) => Ok(Value::Bool(matches == 1)),
            (Each::Filter | Each::Map, None) => Ok(Value::List(kept)),
        }
    }

    fn call(&mut self, function: Function, arguments: &[Expression<'a>]) -> Evaluated<'a> {
        if function == Function::Default {
            let [first, second] = arguments else {
                return Err(Trouble::Missing);
            };
            return match self.value(first) {
                Err(Trouble::Missing) => self.value(second),
                other => other,
            };
        }
        let mut values = arguments.iter().map(|one| self.value(one));
        let first = values.next().transpose()?;
        let second = values.next().transpose()?;
        drop(values);
        match function {
            Function::Count(_) | Function::Spoke(_) | Function::Cooldown | Function::Since => {
                self.of_memory(function, first)
            }
            Function::Repairs
            | Function::Offered
            | Function::Ready
            | Function::LeastRisk
            | Function::Approvals
            | Function::Denied => self.of_repairs(function, first, second),
            Function::Violations
            | Function::Constraint
            | Function::Latest
            | Function::Baseline
            | Function::Recent => self.of_measurements(function, first, second),
            _ => of_values(function, first, second),
        }
    }

    fn of_memory(&self, function: Function, first: Option<Value<'a>>) -> Evaluated<'a> {
        let (scope, now_ms) = (self.scope, self.scope.now_ms());
        Ok(match (function, first) {
            (Function::Count(rule), Some(Value::Duration(span))) => {
                let key = scope.key(usize::from(rule)).ok_or(Trouble::Missing)?;
                let span_ms = u64::try_from(span).unwrap_or(0);
                let count = scope.memory.count(key, now_ms, span_ms);
                Value::Int(i64::try_from(count).unwrap_or(MOST_COUNTED))
            }
            (Function::Spoke(rule), None) => Value::Bool(scope.said.spoke(usize::from(rule))),
            (Function::Cooldown, Some(Value::Duration(span))) => {
                let key = scope.key(scope.own).ok_or(Trouble::Missing)?;
                let last_ms = scope.memory.last_ms(key);
                let span_ms = u64::try_from(span).unwrap_or(0);
                let rested = |last: u64| now_ms.saturating_sub(last) > span_ms;
                Value::Bool(last_ms.is_none_or(rested))
            }
            (Function::Since, Some(Value::Text(level))) => {
                let known = LEVELS.iter().find(|(name, _)| *name == level);
                let level = known.map_or(EscalationLevel::Escalate, |(_, level)| *level);
                Value::between(since_ms(scope, level), now_ms)
            }
            _ => return Err(Trouble::Missing),
        })
    }

    fn of_repairs(
        &self,
        function: Function,
        first: Option<Value<'a>>,
        second: Option<Value<'a>>,
    ) -> Evaluated<'a> {
        let scope = self.scope;
        let first = first.map(Value::text).transpose()?;
        let second = second.map(Value::text).transpose()?;
        let named = first.as_deref();
        Ok(match function {
            Function::Repairs => {
                let totals = scope.repairs(named.unwrap_or_default(), second.as_deref());
                Value::Record(Record::History(totals))
            }
            Function::Offered => Value::Bool(named.is_some_and(|id| scope.candidate(id).is_some())),
            Function::Ready => {
                let candidate = named.and_then(|id| scope.candidate(id));
                Value::Bool(candidate.is_some_and(is_ready))
            }
            Function::LeastRisk => {
                let least = scope.least_risk(named);
                least.map_or(NONE, |candidate| candidate.id.as_str()).into()
            }
            Function::Approvals => {
                let by = scope.situation().approvals(named.unwrap_or_default());
                Value::List(by.into_iter().map(Value::from).collect())
            }
            _ => Value::Bool(scope.is_denied(named.unwrap_or_default())),
        })
    }

    fn of_measurements(
        &self,
        function: Function,
        first: Option<Value<'a>>,
        second: Option<Value<'a>>,
    ) -> Evaluated<'a> {
        let name = first.ok_or(Trouble::Missing)?.text()?;
        Ok(match (function, second) {
            (Function::Violations, Some(Value::Duration(span))) => {
                let span_ms = u64::try_from(span).unwrap_or(0);
                let count = self.scope.violations(&name, span_ms);
                Value::Int(i64::try_from(count).unwrap_or(MOST_COUNTED))
            }
            (Function::Constraint, _) => {
                let known = self.scope.situation().constraint(&name);
                Value::Record(Record::Constraint(known.ok_or(Trouble::Missing)?))
            }
            (Function::Latest, _) => {
                let point = telemetry::latest(&name).ok_or(Trouble::Missing)?;
                Value::Double(point.value)
            }
            (Function::Baseline, _) => {
                let known = telemetry::baseline(&name).ok_or(Trouble::Missing)?;
                Value::Record(Record::Baseline(known))
            }
            (_, Some(Value::Int(limit))) => {
                let limit = u32::try_from(limit.max(0)).unwrap_or(u32::MAX);
                let points = telemetry::recent(&name, limit).into_iter();
                Value::List(points.map(|point| Value::Double(point.value)).collect())
            }
            _ => return Err(Trouble::Missing),
        })
    }
}

/// Since when nothing has called for this level or a higher one; the level in force counts from when it
/// was entered at the earliest.
pub(crate) fn since_ms(scope: &Scope<'_, '_>, level: EscalationLevel) -> u64 {
    let called_ms = scope.memory.called_ms(level);
    if level == scope.context.level {
        called_ms.max(scope.context.level_since_ms)
    } else {
        called_ms
    }
}

/// Functions of nothing but their values.
fn of_values<'a>(
    function: Function,
    first: Option<Value<'a>>,
    second: Option<Value<'a>>,
) -> Evaluated<'a> {
    let first = first.ok_or(Trouble::Missing)?;
    Ok(match (function, first, second) {
        (Function::Ms, Value::Int(ms), _) => Value::Duration(ms),
        (Function::Seconds, Value::Int(ms) | Value::Duration(ms), _) => {
            Value::Text(seconds(ms).into())
        }
        (Function::Percent, Value::Double(share), _) => {
            Value::Text(dbmedic_policy::percent(share).into())
        }
        (Function::Fixed, Value::Double(number), Some(Value::Int(digits))) => {
            let digits = usize::try_from(digits.clamp(0, 12)).unwrap_or(0);
            Value::Text(format!("{number:.digits$}").into())
        }
        (Function::Size, Value::Text(text), _) => {
            Value::Int(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))
        }
        (Function::Size, Value::List(values), _) => {
            Value::Int(i64::try_from(values.len()).unwrap_or(i64::MAX))
        }
        (Function::ToInt, Value::Int(value), _) => Value::Int(value),
        (Function::ToInt, Value::Double(value), _) => {
            // Beyond it, numbers with a fraction skip whole ones.
            if value.abs() >= 9.0e15 || value.is_nan() {
                return Err(Trouble::Wrong("a number is too large"));
            }
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the fraction is to be cut off; the range is checked"
            )]
            Value::Int(value as i64)
        }
        (Function::ToInt, Value::Text(text), _) => {
            let value = text
                .parse()
                .map_err(|_| Trouble::Wrong("a text is no whole number"))?;
            Value::Int(value)
        }
        (Function::ToDouble, Value::Double(value), _) => Value::Double(value),
        (Function::ToDouble, Value::Int(value), _) => Value::Double(float(value)),
        (Function::ToDouble, Value::Text(text), _) => {
            let value = text
                .parse()
                .map_err(|_| Trouble::Wrong("a text is no number"))?;
            Value::Double(value)
        }
        (Function::ToText, value, _) => Value::Text(value.shown()),
        (Function::StartsWith, Value::Text(text), Some(Value::Text(part))) => {
            Value::Bool(text.starts_with(&*part))
        }
        (Function::EndsWith, Value::Text(text), Some(Value::Text(part))) => {
            Value::Bool(text.ends_with(&*part))
        }
        (Function::Contains, Value::Text(text), Some(Value::Text(part))) => {
            Value::Bool(text.contains(&*part))
        }
        _ => {
            return Err(Trouble::Wrong(
                "a function is given a value of another type",
            ));
        }
    })
}
