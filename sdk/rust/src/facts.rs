//! A finding's facts by name and type.

use crate::{Candidate, Finding, Value, problems::FactType};

/// Reads a finding's facts. A fact that is missing, or of another type than asked for, is `None`:
/// the host may be newer or older than the policy, and neither may bring it down.
pub trait Facts {
    /// The fact's value, whatever its type.
    fn fact(&self, name: &str) -> Option<&Value>;

    /// The repair that the host offers under this identifier.
    fn candidate(&self, id: &str) -> Option<&Candidate>;

    /// A whole number.
    fn integer(&self, name: &str) -> Option<i64> {
        match self.fact(name)? {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// A whole number that is not negative, such as a count, an age or a size.
    fn count(&self, name: &str) -> Option<u64> {
        u64::try_from(self.integer(name)?).ok()
    }

    /// A number, whole or not.
    fn number(&self, name: &str) -> Option<f64> {
        match self.fact(name)? {
            Value::Number(value) => Some(*value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "the contract keeps integers below 2^53"
            )]
            Value::Integer(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// True or false.
    fn flag(&self, name: &str) -> Option<bool> {
        match self.fact(name)? {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// A text.
    fn text(&self, name: &str) -> Option<&str> {
        match self.fact(name)? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    /// Several whole numbers.
    fn integers(&self, name: &str) -> Option<&[i64]> {
        match self.fact(name)? {
            Value::Integers(values) => Some(values),
            _ => None,
        }
    }

    /// Several texts.
    fn texts(&self, name: &str) -> Option<&[String]> {
        match self.fact(name)? {
            Value::Texts(values) => Some(values),
            _ => None,
        }
    }
}

impl Facts for Finding {
    fn fact(&self, name: &str) -> Option<&Value> {
        let fact = self.facts.iter().find(|fact| fact.name == name)?;
        Some(&fact.value)
    }

    fn candidate(&self, id: &str) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.id == id)
    }
}

/// Types that a fact can be read as, for the views in [`problems`](crate::problems).
pub(crate) trait FromFact<'a>: Sized {
    /// What it is read as.
    const TYPE: FactType;

    fn from_fact(finding: &'a Finding, name: &str) -> Option<Self>;
}

impl<'a> FromFact<'a> for u64 {
    const TYPE: FactType = FactType::Count;

    fn from_fact(finding: &'a Finding, name: &str) -> Option<Self> {
        finding.count(name)
    }
}

impl<'a> FromFact<'a> for f64 {
    const TYPE: FactType = FactType::Number;

    fn from_fact(finding: &'a Finding, name: &str) -> Option<Self> {
        finding.number(name)
    }
}

impl<'a> FromFact<'a> for bool {
    const TYPE: FactType = FactType::Flag;

    fn from_fact(finding: &'a Finding, name: &str) -> Option<Self> {
        finding.flag(name)
    }
}

impl<'a> FromFact<'a> for &'a str {
    const TYPE: FactType = FactType::Text;

    fn from_fact(finding: &'a Finding, name: &str) -> Option<Self> {
        finding.text(name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, FromFact as _};
    use crate::{Value, testing};

    #[test]
    fn a_fact_of_another_type_is_none() {
        let finding = testing::finding(
            "k",
            &[
                ("n", Value::Integer(-3)),
                ("b", Value::Boolean(true)),
                ("t", Value::Text("x".into())),
                ("f", Value::Number(0.5)),
                ("is", Value::Integers(vec![1, 2])),
                ("ts", Value::Texts(vec!["x".into()])),
            ],
        );
        assert_eq!(finding.integer("n"), Some(-3));
        assert_eq!(finding.count("n"), None, "a count is not negative");
        assert_eq!(finding.number("n"), Some(-3.0));
        assert_eq!(finding.number("f"), Some(0.5));
        assert_eq!(finding.integer("f"), None);
        assert_eq!(finding.flag("b"), Some(true));
        assert_eq!(finding.text("t"), Some("x"));
        assert_eq!(finding.text("b"), None);
        assert_eq!(finding.integers("is"), Some(&[1, 2][..]));
        assert_eq!(finding.integers("n"), None);
        assert_eq!(finding.texts("ts"), Some(&["x".to_owned()][..]));
        assert_eq!(finding.texts("t"), None);
        assert_eq!(finding.fact("absent"), None);
        assert_eq!(f64::from_fact(&finding, "f"), Some(0.5));
        assert_eq!(bool::from_fact(&finding, "f"), None);
    }
}
