//! The values of entries and rows: kept, hashed, and for a person.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use crate::row_values::ShownValue;
use crate::sqlite::btree::Stored;
use crate::sqlite_state::{ValueKind, ValueShape};

/// The identity of an entry or of a row's key: equal when every value is.
pub(super) type Hash = u128;

pub(super) fn stored(value: ValueRef<'_>) -> Stored<'_> {
    match value {
        ValueRef::Null => Stored::Null,
        ValueRef::Integer(value) => Stored::Integer(value),
        ValueRef::Real(value) => Stored::Real(value),
        ValueRef::Text(value) => Stored::Text(value),
        ValueRef::Blob(value) => Stored::Blob(value),
    }
}

/// A value that is kept. Text need not be UTF-8: it may be damaged.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owned {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl<'v> From<&'v Owned> for Stored<'v> {
    fn from(value: &'v Owned) -> Self {
        match value {
            Owned::Null => Self::Null,
            Owned::Integer(value) => Self::Integer(*value),
            Owned::Real(value) => Self::Real(*value),
            Owned::Text(value) => Self::Text(value),
            Owned::Blob(value) => Self::Blob(value),
        }
    }
}

impl ToSql for Owned {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

impl From<&Owned> for ShownValue {
    fn from(value: &Owned) -> Self {
        match value {
            Owned::Null => Self::Null,
            Owned::Integer(value) => Self::Integer(*value),
            Owned::Real(value) => Self::Real(*value),
            Owned::Text(value) => Self::of_bytes(value, true),
            Owned::Blob(value) => Self::of_bytes(value, false),
        }
    }
}

pub(super) fn owned(entry: &[Stored<'_>]) -> Vec<Owned> {
    let values = entry.iter().map(|value| match value {
        Stored::Null => Owned::Null,
        Stored::Integer(value) => Owned::Integer(*value),
        Stored::Real(value) => Owned::Real(*value),
        Stored::Text(value) => Owned::Text(value.to_vec()),
        Stored::Blob(value) => Owned::Blob(value.to_vec()),
    });
    values.collect()
}

pub(super) fn refs(entry: &[Owned]) -> Vec<Stored<'_>> {
    entry.iter().map(Stored::from).collect()
}

pub(super) fn length(value: &Stored<'_>) -> usize {
    match value {
        Stored::Null => 0,
        Stored::Integer(_) | Stored::Real(_) => 8,
        Stored::Text(value) | Stored::Blob(value) => value.len(),
    }
}

pub(super) fn value_shape(value: &Stored<'_>) -> ValueShape {
    let kind = match value {
        Stored::Null => ValueKind::Null,
        Stored::Integer(_) => ValueKind::Integer,
        Stored::Real(_) => ValueKind::Real,
        Stored::Text(_) => ValueKind::Text,
        Stored::Blob(_) => ValueKind::Blob,
    };
    ValueShape {
        kind,
        bytes: length(value) as u64,
    }
}

/// A hash of values, equal for equal values and no others. A number is the same as a whole number
/// and as a floating-point one: SQLite stores the one for the other.
pub(super) fn hash(values: &[Stored<'_>]) -> Hash {
    let mut bytes = Vec::with_capacity(64);
    for value in values {
        match *value {
            Stored::Null => bytes.push(0),
            Stored::Integer(value) => add_integer(&mut bytes, value),
            Stored::Real(value) => {
                if let Some(value) = whole(value) {
                    add_integer(&mut bytes, value);
                } else {
                    bytes.push(2);
                    bytes.extend_from_slice(&value.to_bits().to_le_bytes());
                }
            }
            Stored::Text(value) => add_bytes(&mut bytes, 3, value),
            Stored::Blob(value) => add_bytes(&mut bytes, 4, value),
        }
    }
    let hash = blake3::hash(&bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_be_bytes(first)
}

fn add_integer(bytes: &mut Vec<u8>, value: i64) {
    bytes.push(1);
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn add_bytes(bytes: &mut Vec<u8>, tag: u8, value: &[u8]) {
    bytes.push(tag);
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value);
}

/// The whole number that a floating-point one is, to the last bit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "what was cut off shows when it is turned back"
)]
fn whole(value: f64) -> Option<i64> {
    let number = value as i64;
    ((number as f64).to_bits() == value.to_bits() && number != i64::MAX).then_some(number)
}
