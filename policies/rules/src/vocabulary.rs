//! Every name that a condition may use, its type, and what it says. The document's check, its hints
//! for mistyped names and the table in `docs/rules.md` come from here.

mod fields;
mod functions;

use serde::{Deserialize, Serialize};

pub use fields::SHAPES;
pub(crate) use functions::Function;
pub use functions::{FUNCTIONS, Signature};

use Type::{Bool, Double, Duration, Int, List, Record, Text};

/// What a piece of a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Known only when it is asked for.
    Any,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number with a fraction.
    Double,
    /// A text.
    Text,
    /// A span of time.
    Duration,
    /// A list of these.
    List(&'static Type),
    /// Something with fields.
    Record(Shape),
}

/// What kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Shape {
    Finding,
    Anomaly,
    Candidate,
    Outcome,
    Incident,
    Reply,
    History,
    Constraint,
    Maintenance,
    Time,
    Baseline,
    Said,
    /// What is looked up by name in its own way.
    Facts,
    Metrics,
    Values,
}

/// A name.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As it is written.
    pub name: &'static str,
    /// Its type.
    pub of: Type,
    /// Whether it may be missing: `has(...)` asks that.
    pub may_be_missing: bool,
    /// One line for a person.
    pub says: &'static str,
}

const fn always(name: &'static str, of: Type, says: &'static str) -> Entry {
    Entry {
        name,
        of,
        may_be_missing: false,
        says,
    }
}

const fn maybe(name: &'static str, of: Type, says: &'static str) -> Entry {
    Entry {
        name,
        of,
        may_be_missing: true,
        says,
    }
}

/// What stands for itself at the beginning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Global {
    Event,
    NowMs,
    Target,
    TargetKind,
    Level,
    Time,
    Finding,
    Outcome,
    Incident,
    Incidents,
    Maintenance,
    Constraints,
    Answer,
    /// Looked up by name; never read as a whole.
    Facts,
    Metrics,
    Values,
}

/// The names at the beginning.
pub const GLOBALS: &[Entry] = &[
    always(
        "event",
        Text,
        "Why the rules are asked: `finding`, `outcome` (a repair ended) or `tick` (time passed)",
    ),
    always(
        "now_ms",
        Int,
        "The event's time, milliseconds since 1970 UTC",
    ),
    always("target", Text, "The database's name in the configuration"),
    always(
        "target_kind",
        Text,
        "What it is: `sqlite`, `postgresql` or `metrics`",
    ),
    always("level", Text, "The escalation level in force"),
    always("time", Record(Shape::Time), "The local time at the event"),
    maybe(
        "finding",
        Record(Shape::Finding),
        "The problem, where the event is a finding",
    ),
    maybe(
        "outcome",
        Record(Shape::Outcome),
        "The end of a repair, where the event is an outcome",
    ),
    maybe(
        "incident",
        Record(Shape::Incident),
        "The open incident that the event belongs to",
    ),
    always(
        "incidents",
        List(&Record(Shape::Incident)),
        "All open incidents of the target",
    ),
    always(
        "maintenance",
        Record(Shape::Maintenance),
        "The maintenance of the target",
    ),
    always(
        "constraints",
        List(&Record(Shape::Constraint)),
        "The configured bounds and where they stand",
    ),
    always(
        "answer",
        Record(Shape::Said),
        "What the rules above have said at this event",
    ),
    maybe(
        "facts",
        Record(Shape::Facts),
        "The particulars of the finding: `facts.age_ms`",
    ),
    maybe(
        "metrics",
        Record(Shape::Metrics),
        "The main metrics: `metrics.disk_free_percent`",
    ),
    maybe(
        "values",
        Record(Shape::Values),
        "The document's own `[values]`",
    ),
];

/// In the order of [`GLOBALS`].
pub(crate) const EACH_GLOBAL: [Global; 16] = [
    Global::Event,
    Global::NowMs,
    Global::Target,
    Global::TargetKind,
    Global::Level,
    Global::Time,
    Global::Finding,
    Global::Outcome,
    Global::Incident,
    Global::Incidents,
    Global::Maintenance,
    Global::Constraints,
    Global::Answer,
    Global::Facts,
    Global::Metrics,
    Global::Values,
];

/// What goes through a list, element by element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Each {
    Exists,
    All,
    ExistsOne,
    Filter,
    Map,
}

/// As they are written.
pub(crate) const EACH: [(&str, Each); 5] = [
    ("exists", Each::Exists),
    ("all", Each::All),
    ("exists_one", Each::ExistsOne),
    ("filter", Each::Filter),
    ("map", Each::Map),
];

/// The fields of a record; none of what is looked up by name.
pub(crate) fn fields(shape: Shape) -> &'static [Entry] {
    let known = SHAPES.iter().find(|(known, ..)| *known == shape);
    known.map_or(&[], |(_, _, fields)| fields)
}

/// More fields than a record has.
const STRIDE: usize = 32;

/// A record's field as a number, for the compiled document.
pub(crate) fn field_number(shape: Shape, name: &str) -> Option<u16> {
    let at = SHAPES.iter().position(|(known, ..)| *known == shape)?;
    let field = SHAPES[at].2.iter().position(|field| field.name == name)?;
    u16::try_from(at * STRIDE + field).ok()
}

/// The name that [`field_number`] made a number.
pub(crate) fn field_name(number: u16) -> &'static str {
    let number = usize::from(number);
    let fields = SHAPES.get(number / STRIDE).map_or(&[][..], |(_, _, f)| f);
    fields.get(number % STRIDE).map_or("", |field| field.name)
}

impl Type {
    /// For a sentence.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Bool => "true or false",
            Int => "a whole number",
            Double => "a number with a fraction",
            Text => "a text",
            Duration => "a duration",
            List(_) => "a list",
            Record(_) => "a record with fields",
        }
    }

    /// Whether this may be what is wanted.
    pub(crate) fn fits(self, wanted: Self) -> bool {
        self == wanted
            || self == Self::Any
            || wanted == Self::Any
            || matches!((self, wanted), (List(a), List(b)) if a.fits(*b))
    }

    /// A list of these.
    pub(crate) fn list(self) -> Self {
        match self {
            Bool => List(&Bool),
            Int => List(&Int),
            Double => List(&Double),
            Text => List(&Text),
            Duration => List(&Duration),
            Self::Any | List(_) | Record(_) => List(&Self::Any),
        }
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Int | Double)
    }
}
