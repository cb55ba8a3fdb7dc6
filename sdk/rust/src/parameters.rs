//! What the operator may set, declared once: the struct, its defaults, its bounds, the schema that
//! the operator sees and the check of what the operator wrote.

use std::ops::RangeInclusive;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Parameter, Setting, SettingError, Value};

/// Below this likeness (Jaro-Winkler, 0 to 1) a name is not proposed for a mistyped one.
const LIKENESS: f64 = 0.8;

/// A set of parameters. Written by [`parameters!`](crate::parameters!), not by hand.
pub trait Parameters: Serialize + DeserializeOwned + Default {
    /// What can be set, with defaults and bounds.
    fn schema() -> Vec<Parameter>;

    /// Sets one parameter.
    ///
    /// # Errors
    ///
    /// What is wrong with the name or the value.
    fn set(&mut self, name: &str, value: &Value) -> Result<(), SettingFault>;
}

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingFault {
    /// There is no parameter of this name.
    UnknownName,
    /// The value is of another type; this one is expected.
    WrongType(&'static str),
    /// The value is outside these bounds.
    OutOfBounds(String),
    /// The value means nothing, for each of these reasons.
    Invalid(Vec<String>),
}

/// A type that a parameter can have.
pub trait ParameterType: Sized + PartialOrd {
    /// What to call it in a message.
    const EXPECTED: &'static str;

    /// As a value of the contract.
    fn to_value(&self) -> Value;

    /// From a value of the contract; none when it is of another type.
    fn from_value(value: &Value) -> Option<Self>;

    /// As a bound in the schema; none for what has no order that matters.
    fn bound(&self) -> Option<f64>;

    /// As it stands in a message.
    fn shown(&self) -> String;
}

/// The contract keeps integers below 2^53; what is larger is shown as the largest.
const MOST: i64 = (1 << 53) - 1;

macro_rules! whole {
    ($($type:ty),+) => {$(
        impl ParameterType for $type {
            const EXPECTED: &'static str = "a whole number";

            fn to_value(&self) -> Value {
                Value::Integer(i64::try_from(*self).unwrap_or(MOST).min(MOST))
            }

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    // Below zero fits no unsigned type; `check` then says out of bounds.
                    Value::Integer(value) => Self::try_from(*value).ok(),
                    _ => None,
                }
            }

            #[allow(
                clippy::cast_precision_loss,
                reason = "the contract keeps integers below 2^53"
            )]
            fn bound(&self) -> Option<f64> {
                Some(u64::from(*self) as f64)
            }

            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
whole!(u32, u64);

impl ParameterType for f64 {
    const EXPECTED: &'static str = "a number";

    fn to_value(&self) -> Value {
        Value::Number(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(value) => Some(*value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "the contract keeps integers below 2^53"
            )]
            Value::Integer(value) => Some(*value as f64),
            _ => None,
        }
    }

    fn bound(&self) -> Option<f64> {
        Some(*self)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl ParameterType for bool {
    const EXPECTED: &'static str = "true or false";

    fn to_value(&self) -> Value {
        Value::Boolean(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    fn bound(&self) -> Option<f64> {
        None
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl ParameterType for String {
    const EXPECTED: &'static str = "a text";

    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(value) => Some(value.clone()),
            _ => None,
        }
    }

    fn bound(&self) -> Option<f64> {
        None
    }

    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

impl ParameterType for Vec<String> {
    const EXPECTED: &'static str = "a list of texts";

    fn to_value(&self) -> Value {
        Value::Texts(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Texts(values) => Some(values.clone()),
            _ => None,
        }
    }

    fn bound(&self) -> Option<f64> {
        None
    }

    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

/// For [`parameters!`](crate::parameters!): one line of the schema.
#[doc(hidden)]
pub fn line<T: ParameterType>(
    name: &str,
    summary: &str,
    default: &T,
    bounds: Option<&RangeInclusive<T>>,
) -> Parameter {
    Parameter {
        name: name.into(),
        summary: summary.trim().into(),
        default: default.to_value(),
        minimum: bounds.and_then(|bounds| bounds.start().bound()),
        maximum: bounds.and_then(|bounds| bounds.end().bound()),
    }
}

/// For [`parameters!`](crate::parameters!): the checked value.
#[doc(hidden)]
pub fn check<T: ParameterType>(
    value: &Value,
    bounds: Option<&RangeInclusive<T>>,
) -> Result<T, SettingFault> {
    let out_of_bounds = |bounds: &RangeInclusive<T>| {
        SettingFault::OutOfBounds(format!(
            "{} to {}",
            bounds.start().shown(),
            bounds.end().shown()
        ))
    };
    let Some(checked) = T::from_value(value) else {
        // A negative number for an unsigned parameter has the right type and the wrong size.
        return Err(match (value, T::EXPECTED, bounds) {
            (Value::Integer(_), "a whole number", Some(bounds)) => out_of_bounds(bounds),
            _ => SettingFault::WrongType(T::EXPECTED),
        });
    };
    match bounds {
        // A number that is not one lies in no range, so it ends here too.
        Some(bounds) if !bounds.contains(&checked) => Err(out_of_bounds(bounds)),
        _ => Ok(checked),
    }
}

/// The parameters with these settings, the rest at their defaults.
pub(crate) fn from_settings<P: Parameters>(settings: &[Setting]) -> Result<P, Vec<SettingError>> {
    let mut parameters = P::default();
    let mut errors = Vec::new();
    for (at, setting) in settings.iter().enumerate() {
        let messages = if settings[..at]
            .iter()
            .any(|other| other.name == setting.name)
        {
            vec!["it is set more than once; keep one".into()]
        } else {
            match parameters.set(&setting.name, &setting.value) {
                Ok(()) => Vec::new(),
                Err(SettingFault::Invalid(messages)) => messages,
                Err(fault) => vec![explain::<P>(&setting.name, &setting.value, fault)],
            }
        };
        errors.extend(messages.into_iter().map(|message| SettingError {
            name: setting.name.clone(),
            message,
        }));
    }
    if errors.is_empty() {
        Ok(parameters)
    } else {
        Err(errors)
    }
}

fn explain<P: Parameters>(name: &str, value: &Value, fault: SettingFault) -> String {
    match fault {
        SettingFault::Invalid(messages) => messages.join("; "),
        SettingFault::WrongType(expected) => {
            format!("{} is not {expected}", shown(value))
        }
        SettingFault::OutOfBounds(bounds) => {
            format!("{} is out of bounds; allowed is {bounds}", shown(value))
        }
        SettingFault::UnknownName => {
            let known = P::schema();
            let nearest = known
                .iter()
                .map(|known| (strsim::jaro_winkler(name, &known.name), &known.name))
                .filter(|(likeness, _)| *likeness >= LIKENESS)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, nearest)) = nearest {
                format!("there is no such parameter; did you mean `{nearest}`?")
            } else {
                let names: Vec<&str> = known.iter().map(|known| &*known.name).collect();
                format!("there is no such parameter; there are {}", names.join(", "))
            }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Text(value) => value.shown(),
        Value::Integers(values) => format!("{values:?}"),
        Value::Texts(values) => values.shown(),
    }
}

/// Declares a policy's parameters: a struct whose fields each have a doc comment (one line for the
/// operator), a type (`u64`, `u32`, `f64`, `bool`, `String`, `Vec<String>`), a default and, after a comma, bounds.
///
/// ```
/// dbmedic_policy::parameters! {
///     /// What the operator may set.
///     pub struct Parameters {
///         /// Age from which a write lock counts as stale, milliseconds.
///         pub stale_lock_age_ms: u64 = 300_000, 1_000..=86_400_000;
///         /// Whether repairs may be chosen at all.
///         pub repair: bool = true;
///     }
/// }
/// assert_eq!(Parameters::default().stale_lock_age_ms, 300_000);
/// ```
#[macro_export]
macro_rules! parameters {
    (
        $(#[$outer:meta])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field_visibility:vis $field:ident: $type:ty = $default:expr $(, $bounds:expr)?;
            )*
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "dbmedic_policy::serde")]
        $visibility struct $name {
            $($(#[doc = $doc])+ $field_visibility $field: $type,)*
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::Parameters for $name {
            fn schema() -> ::std::vec::Vec<$crate::Parameter> {
                let defaults = <Self as ::std::default::Default>::default();
                ::std::vec![$(
                    $crate::__parameters::line(
                        stringify!($field),
                        concat!($($doc),+),
                        &defaults.$field,
                        $crate::__bounds!($type $(, $bounds)?),
                    ),
                )*]
            }

            fn set(
                &mut self,
                name: &str,
                value: &$crate::Value,
            ) -> ::std::result::Result<(), $crate::SettingFault> {
                match name {
                    $(stringify!($field) => {
                        self.$field =
                            $crate::__parameters::check(value, $crate::__bounds!($type $(, $bounds)?))?;
                    })*
                    _ => return ::std::result::Result::Err($crate::SettingFault::UnknownName),
                }
                ::std::result::Result::Ok(())
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __bounds {
    ($type:ty) => {
        ::std::option::Option::<&::std::ops::RangeInclusive<$type>>::None
    };
    ($type:ty, $bounds:expr) => {
        ::std::option::Option::<&::std::ops::RangeInclusive<$type>>::Some(&($bounds))
    };
}

#[cfg(test)]
mod tests {
    use super::{ParameterType as _, Parameters as _, SettingFault, check, from_settings};
    use crate::{Setting, SettingError, Value};

    crate::parameters! {
        /// For the tests.
        struct Some {
            /// An age.
            age_ms: u64 = 300, 100..=1_000;
            /// A count.
            count: u32 = 3, 1..=10;
            /// A share that is described
            /// in two lines.
            share_percent: f64 = 5.0, 0.0..=100.0;
            /// A switch.
            repair: bool = true;
            /// A name.
            owner: String = String::from("nobody");
        }
    }

    fn set(name: &str, value: Value) -> Setting {
        Setting {
            name: name.into(),
            value,
        }
    }

    fn errors(settings: &[Setting]) -> Vec<(String, String)> {
        from_settings::<Some>(settings)
            .unwrap_err()
            .into_iter()
            .map(|SettingError { name, message }| (name, message))
            .collect()
    }

    #[test]
    fn the_schema_says_summary_default_and_bounds() {
        let schema = Some::schema();
        assert_eq!(schema[0].summary, "An age.");
        assert_eq!(schema[0].default, Value::Integer(300));
        assert_eq!(
            (schema[0].minimum, schema[0].maximum),
            (Option::Some(100.0), Option::Some(1_000.0))
        );
        assert_eq!(schema[2].summary, "A share that is described in two lines.");
        assert_eq!(schema[3].minimum, None);
        assert_eq!(schema[4].default, Value::Text("nobody".into()));
    }

    #[test]
    fn bounds_are_those_of_numbers_and_are_shown_as_they_are_written() {
        let schema = Some::schema();
        let bounds = |at: usize| (schema[at].minimum, schema[at].maximum);
        assert_eq!(bounds(2), (Option::Some(0.0), Option::Some(100.0)));
        assert_eq!((true.bound(), String::new().bound()), (None, None));
        let text = Value::Text("z".into());
        let allowed = "a".to_owned()..="m".to_owned();
        let fault = SettingFault::OutOfBounds("\"a\" to \"m\"".into());
        assert_eq!(check(&text, Option::Some(&allowed)), Err(fault));
        let fault = SettingFault::OutOfBounds("true to true".into());
        let checked = check(&Value::Boolean(false), Option::Some(&(true..=true)));
        assert_eq!(checked, Err(fault));
    }

    #[test]
    fn a_number_above_what_the_contract_carries_is_shown_as_the_largest() {
        let most = Value::Integer(9_007_199_254_740_991);
        assert_eq!(9_007_199_254_740_991_u64.to_value(), most);
        assert_eq!(9_007_199_254_740_992_u64.to_value(), most);
        assert_eq!(u64::MAX.to_value(), most);
    }

    #[test]
    fn what_is_not_named_takes_its_default() {
        let parameters: Some = from_settings(&[
            set("age_ms", Value::Integer(100)),
            set("share_percent", Value::Integer(7)),
            set("owner", Value::Text("ops".into())),
        ])
        .unwrap();
        assert_eq!(parameters.age_ms, 100);
        assert!((parameters.share_percent - 7.0).abs() < f64::EPSILON);
        assert_eq!(parameters.count, 3);
        assert_eq!(parameters.owner, "ops");
    }

    #[test]
    fn all_errors_are_reported_at_once_and_name_the_setting() {
        let errors = errors(&[
            set("age_mss", Value::Integer(200)),
            set("zzz", Value::Integer(1)),
            set("age_ms", Value::Number(1.5)),
            set("count", Value::Integer(11)),
            set("repair", Value::Text("yes".into())),
            set("share_percent", Value::Number(f64::NAN)),
        ]);
        let expected = [
            (
                "age_mss",
                "there is no such parameter; did you mean `age_ms`?",
            ),
            (
                "zzz",
                "there is no such parameter; there are age_ms, count, share_percent, repair, owner",
            ),
            ("age_ms", "1.5 is not a whole number"),
            ("count", "11 is out of bounds; allowed is 1 to 10"),
            ("repair", "\"yes\" is not true or false"),
            ("share_percent", "NaN is out of bounds; allowed is 0 to 100"),
        ];
        let expected = expected.map(|(name, message)| (name.into(), message.into()));
        assert_eq!(errors, expected);
    }

    #[test]
    fn a_negative_number_is_out_of_bounds_and_a_repetition_is_refused() {
        let errors = errors(&[
            set("age_ms", Value::Integer(-1)),
            set("count", Value::Integer(2)),
            set("count", Value::Integer(2)),
        ]);
        assert_eq!(errors[0].1, "-1 is out of bounds; allowed is 100 to 1000");
        assert_eq!(errors[1].1, "it is set more than once; keep one");
    }
}
