//! A condition as it is kept in the settings: every name is known and every type was checked.

use dbmedic_policy::problems::FactType;
use serde::{Deserialize, Serialize};

use crate::syntax::Operator;
use crate::vocabulary::{Each, Function, Global};

/// A checked piece of a condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Expression<'a> {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'a str),
    /// Milliseconds.
    Duration(i64),
    #[serde(borrow)]
    List(Vec<Self>),
    Global(Global),
    /// The element that a list is at; counted from the outermost.
    Element(u8),
    /// A fact of the finding; of another type it is missing. Without a type, any will do.
    Fact(&'a str, Option<FactKind>),
    Metric(&'a str),
    /// A field, by its number in the vocabulary.
    Field(Box<Self>, u16),
    Index(Box<Self>, Box<Self>),
    Has(Box<Self>),
    Not(Box<Self>),
    Negate(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
    Choice(Box<[Self; 3]>),
    Call(Function, Vec<Self>),
    Each(Each, Box<Self>, Box<Self>),
}

/// The type of a fact, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FactKind {
    Count,
    Number,
    Flag,
    Text,
}

impl From<FactType> for FactKind {
    fn from(of: FactType) -> Self {
        match of {
            FactType::Count => Self::Count,
            FactType::Number => Self::Number,
            FactType::Flag => Self::Flag,
            FactType::Text => Self::Text,
        }
    }
}

/// A text with conditions' values in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Template<'a>(#[serde(borrow)] pub(crate) Vec<Part<'a>>);

/// A piece of such a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Part<'a> {
    Fixed(&'a str),
    Value(Expression<'a>),
}
