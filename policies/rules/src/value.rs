//! What a piece of a condition is worth, and what the operators make of it.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::record::Record;
use crate::syntax::Operator;

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Something was asked for that is not there: a fact, a metric, the finding of a tick.
    Missing,
    /// What was asked makes no sense with these values.
    Wrong(&'static str),
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    /// Milliseconds.
    Duration(i64),
    List(Vec<Self>),
    Record(Record<'a>),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> Value<'a> {
    /// A count or a moment of the contract, which stay below 2^53.
    pub(crate) fn whole(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A span between two moments; none is negative.
    pub(crate) fn between(from_ms: u64, to_ms: u64) -> Self {
        Self::Duration(i64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(i64::MAX))
    }

    /// A list of texts.
    pub(crate) fn texts(texts: &'a [String]) -> Self {
        Self::List(texts.iter().map(|text| text.as_str().into()).collect())
    }

    /// Whether it is true.
    pub(crate) fn truth(self) -> Result<bool, Trouble> {
        match self {
            Self::Bool(value) => Ok(value),
            _ => Err(Trouble::Wrong("a condition is not true or false")),
        }
    }

    pub(crate) fn text(self) -> Result<Cow<'a, str>, Trouble> {
        match self {
            Self::Text(value) => Ok(value),
            _ => Err(Trouble::Wrong("a value is no text")),
        }
    }

    /// As it stands in a text for a person.
    pub(crate) fn shown(self) -> Cow<'a, str> {
        match self {
            Self::Bool(value) => value.to_string().into(),
            Self::Int(value) => value.to_string().into(),
            Self::Double(value) => value.to_string().into(),
            Self::Text(value) => value,
            Self::Duration(ms) => seconds(ms).into(),
            Self::List(values) => {
                let all: Vec<_> = values.into_iter().map(Self::shown).collect();
                all.join(", ").into()
            }
            Self::Record(_) => "".into(),
        }
    }
}

/// Milliseconds as a person reads them.
pub(crate) fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", dbmedic_policy::seconds(ms.unsigned_abs()))
}

/// As a number with a fraction.
#[expect(
    clippy::cast_precision_loss,
    reason = "the contract keeps integers below 2^53"
)]
pub(crate) const fn float(value: i64) -> f64 {
    value as f64
}

/// Whether two values are the same; numbers by their worth.
fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Double(b)) | (Value::Double(b), Value::Int(a)) => {
            compare_mixed(*a, *b) == Some(Ordering::Equal)
        }
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (a, b) => a == b,
    }
}

/// A whole number and one with a fraction, without rounding the whole one first.
fn compare_mixed(a: i64, b: f64) -> Option<Ordering> {
    // 2^63: outside of it no whole number lies.
    const EDGE: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() {
        return None;
    }
    if b >= EDGE {
        return Some(Ordering::Less);
    }
    if b < -EDGE {
        return Some(Ordering::Greater);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it lies within the whole numbers, and the fraction is compared after it"
    )]
    let whole = b.trunc() as i64;
    Some(
        a.cmp(&whole)
            .then_with(|| 0.0_f64.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal)),
    )
}

fn order(a: &Value<'_>, b: &Value<'_>) -> Result<Option<Ordering>, Trouble> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => compare_mixed(*a, *b),
        (Value::Double(a), Value::Int(b)) => compare_mixed(*b, *a).map(Ordering::reverse),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => return Err(Trouble::Wrong("values of different types are compared")),
    })
}

/// What an operator makes of two values.
pub(crate) fn apply<'a>(
    operator: Operator,
    a: Value<'a>,
    b: Value<'a>,
) -> Result<Value<'a>, Trouble> {
    let ordered =
        |wanted: fn(Ordering) -> bool| Ok(Value::Bool(order(&a, &b)?.is_some_and(wanted)));
    match operator {
        Operator::Equal => Ok(Value::Bool(equal(&a, &b))),
        Operator::Unequal => Ok(Value::Bool(!equal(&a, &b))),
        Operator::Less => ordered(Ordering::is_lt),
        Operator::AtMost => ordered(Ordering::is_le),
        Operator::Greater => ordered(Ordering::is_gt),
        Operator::AtLeast => ordered(Ordering::is_ge),
        Operator::In => match &b {
            Value::List(values) => Ok(Value::Bool(values.iter().any(|value| equal(&a, value)))),
            _ => Err(Trouble::Wrong("behind `in` stands no list")),
        },
        _ => calculate(operator, a, b),
    }
}

fn calculate<'a>(operator: Operator, a: Value<'a>, b: Value<'a>) -> Result<Value<'a>, Trouble> {
    let large = Trouble::Wrong("a number is too large");
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            if b == 0 && matches!(operator, Operator::Over | Operator::Remainder) {
                return Err(Trouble::Wrong("a division by zero"));
            }
            let value = match operator {
                Operator::Plus => a.checked_add(b),
                Operator::Minus => a.checked_sub(b),
                Operator::Times => a.checked_mul(b),
                Operator::Over => a.checked_div(b),
                _ => a.checked_rem(b),
            };
            value.map(Value::Int).ok_or(large)
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(match operator {
            Operator::Plus => a + b,
            Operator::Minus => a - b,
            Operator::Times => a * b,
            Operator::Over => a / b,
            _ => return Err(Trouble::Wrong("`%` is for whole numbers")),
        })),
        (Value::Duration(a), Value::Duration(b)) => {
            let value = match operator {
                Operator::Plus => a.checked_add(b),
                Operator::Minus => a.checked_sub(b),
                _ => return Err(Trouble::Wrong("durations are only added and subtracted")),
            };
            value.map(Value::Duration).ok_or(large)
        }
        (Value::Text(a), Value::Text(b)) if operator == Operator::Plus => {
            Ok(Value::Text(format!("{a}{b}").into()))
        }
        (Value::List(mut a), Value::List(b)) if operator == Operator::Plus => {
            a.extend(b);
            Ok(Value::List(a))
        }
        _ => Err(Trouble::Wrong(
            "values of these types cannot be calculated with",
        )),
    }
}
