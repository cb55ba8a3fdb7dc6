//! What a condition can call.

use serde::{Deserialize, Serialize};

use super::Shape;
use super::Type::{self, Bool, Double, Duration, Int, List, Record, Text};

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Function {
    /// Of this rule.
    Count(u16),
    /// Of this rule.
    Spoke(u16),
    Cooldown,
    Since,
    Repairs,
    Offered,
    Ready,
    LeastRisk,
    Approvals,
    Denied,
    Violations,
    Constraint,
    Latest,
    Baseline,
    Recent,
    Ms,
    Seconds,
    Percent,
    Fixed,
    Default,
    Size,
    ToInt,
    ToDouble,
    ToText,
    StartsWith,
    EndsWith,
    Contains,
}

/// A function as a person knows it.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// As it is written.
    pub name: &'static str,
    /// What it is called with; for a person.
    pub usage: &'static str,
    /// What it is given.
    pub takes: &'static [Type],
    /// How many of these must be there.
    pub least: usize,
    /// What it gives.
    pub gives: Type,
    /// Whether it stands behind a dot: `text.startsWith("a")`.
    pub is_method: bool,
    /// One line for a person.
    pub says: &'static str,
    pub(crate) function: Function,
}

const fn call(
    function: Function,
    usage: (&'static str, &'static str),
    takes: &'static [Type],
    gives: Type,
    says: &'static str,
) -> Signature {
    Signature {
        name: usage.0,
        usage: usage.1,
        takes,
        least: takes.len(),
        gives,
        is_method: false,
        says,
        function,
    }
}

const fn from(least: usize, signature: Signature) -> Signature {
    Signature { least, ..signature }
}

const fn method(signature: Signature) -> Signature {
    Signature {
        is_method: true,
        ..signature
    }
}

/// What can be called, beside `has(...)`, `duration(...)` and what goes through lists.
pub const FUNCTIONS: &[Signature] = &[
    call(
        Function::Count(0),
        ("count", "count(\"a.rule\", 60s)"),
        &[Text, Duration],
        Int,
        "At how many moments within the last 60 s that rule spoke about the same problem, this event \
         included if it stands above; 32 at most",
    ),
    call(
        Function::Spoke(0),
        ("spoke", "spoke(\"a.rule\")"),
        &[Text],
        Bool,
        "Whether that rule, which stands above, spoke at this event",
    ),
    call(
        Function::Cooldown,
        ("cooldown", "cooldown(300s)"),
        &[Duration],
        Bool,
        "Whether this rule has not spoken about the same problem for more than 300 s",
    ),
    call(
        Function::Since,
        ("since", "since(\"warn\")"),
        &[Text],
        Duration,
        "How long no event has called for this level or a higher one; of the level in force, at most \
         as long as it has been in force",
    ),
    from(
        1,
        call(
            Function::Repairs,
            ("repairs", "repairs(finding.kind, \"index.rebuild\")"),
            &[Text, Text],
            Record(Shape::History),
            "What became of a repair on this kind of problem; without the repair's name, of all of them \
             together",
        ),
    ),
    call(
        Function::Offered,
        ("offered", "offered(\"index.rebuild\")"),
        &[Text],
        Bool,
        "Whether the host offers this repair for the finding",
    ),
    call(
        Function::Ready,
        ("ready", "ready(\"index.rebuild\")"),
        &[Text],
        Bool,
        "Whether it is offered and everything that it requires holds",
    ),
    from(
        0,
        call(
            Function::LeastRisk,
            ("least_risk", "least_risk(\"snapshot\")"),
            &[Text],
            Text,
            "The offered repair of least risk, with a word only among those that go as deep; `none` \
             without one",
        ),
    ),
    call(
        Function::Approvals,
        ("approvals", "approvals(\"index.rebuild\")"),
        &[Text],
        List(&Text),
        "Who approves this repair of the incident at present, each once",
    ),
    call(
        Function::Denied,
        ("denied", "denied(\"index.rebuild\")"),
        &[Text],
        Bool,
        "Whether the last answer to this repair of the incident was no",
    ),
    call(
        Function::Violations,
        ("violations", "violations(\"wal_size\", 60s)"),
        &[Text, Duration],
        Int,
        "How often this constraint was not ok within the last 60 s; 32 at most",
    ),
    call(
        Function::Constraint,
        ("constraint", "constraint(\"wal_size\")"),
        &[Text],
        Record(Shape::Constraint),
        "The constraint of this name; missing where there is none",
    ),
    call(
        Function::Latest,
        ("latest", "latest(\"commits_per_s\")"),
        &[Text],
        Double,
        "The latest value of a series; missing where there is none",
    ),
    call(
        Function::Baseline,
        ("baseline", "baseline(\"commits_per_s\")"),
        &[Text],
        Record(Shape::Baseline),
        "What is normal for a series; missing where there is none",
    ),
    call(
        Function::Recent,
        ("recent", "recent(\"commits_per_s\", 10)"),
        &[Text, Int],
        List(&Double),
        "The latest values of a series, oldest first; 512 at most",
    ),
    call(
        Function::Ms,
        ("ms", "ms(facts.age_ms)"),
        &[Int],
        Duration,
        "So many milliseconds as a duration",
    ),
    call(
        Function::Seconds,
        ("seconds", "seconds(facts.age_ms)"),
        &[Type::Any],
        Text,
        "Milliseconds or a duration as a person reads it: `4.2 s`",
    ),
    call(
        Function::Percent,
        ("percent", "percent(metrics.disk_free_percent)"),
        &[Double],
        Text,
        "A share as a person reads it: `4.2 %`",
    ),
    call(
        Function::Fixed,
        ("fixed", "fixed(finding.severity, 2)"),
        &[Double, Int],
        Text,
        "A number with so many digits behind the point",
    ),
    call(
        Function::Default,
        (
            "default",
            "default(facts.holder_name, \"an unknown process\")",
        ),
        &[Type::Any, Type::Any],
        Type::Any,
        "The first, or the second where the first is missing",
    ),
    call(
        Function::Size,
        ("size", "size(finding.candidates)"),
        &[Type::Any],
        Int,
        "How many a list has, or how many characters a text has",
    ),
    call(
        Function::ToInt,
        ("int", "int(1.9)"),
        &[Type::Any],
        Int,
        "As a whole number; a fraction is cut off",
    ),
    call(
        Function::ToDouble,
        ("double", "double(facts.faults)"),
        &[Type::Any],
        Double,
        "As a number with a fraction",
    ),
    call(
        Function::ToText,
        ("string", "string(facts.faults)"),
        &[Type::Any],
        Text,
        "As a text",
    ),
    method(call(
        Function::StartsWith,
        ("startsWith", "finding.kind.startsWith(\"wal.\")"),
        &[Text, Text],
        Bool,
        "Whether the text begins so",
    )),
    method(call(
        Function::EndsWith,
        ("endsWith", "finding.kind.endsWith(\".corrupt\")"),
        &[Text, Text],
        Bool,
        "Whether the text ends so",
    )),
    method(call(
        Function::Contains,
        ("contains", "finding.summary.contains(\"backup\")"),
        &[Text, Text],
        Bool,
        "Whether this is a part of the text",
    )),
    method(call(
        Function::Size,
        ("size", "finding.candidates.size()"),
        &[Type::Any],
        Int,
        "The same as size(...)",
    )),
];
