//! Every name that a condition may use, its type, and what it says. The document's check, its hints
//! for mistyped names and the table in `docs/rules.md` come from here.

use serde::{Deserialize, Serialize};

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
    always(
        "target",
        Text,
        "The database's name in the configuration",
    ),
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

/// The records, as a person calls them, and their fields.
pub const SHAPES: &[(Shape, &str, &[Entry])] = &[
    (Shape::Finding, "finding", FINDING),
    (Shape::Candidate, "one of finding.candidates", CANDIDATE),
    (Shape::Anomaly, "one of finding.evidence", ANOMALY),
    (Shape::Outcome, "outcome", OUTCOME),
    (Shape::Incident, "incident, and one of incidents", INCIDENT),
    (Shape::Reply, "one of incident.answers", REPLY),
    (Shape::History, "repairs(...)", HISTORY),
    (
        Shape::Constraint,
        "constraint(...), and one of constraints",
        CONSTRAINT,
    ),
    (Shape::Maintenance, "maintenance", MAINTENANCE),
    (Shape::Time, "time", TIME),
    (Shape::Baseline, "baseline(...)", BASELINE),
    (Shape::Said, "answer", SAID),
];

const FINDING: &[Entry] = &[
    always("incident", Text, "The incident's identifier"),
    always("kind", Text, "The kind of problem, as `wal.oversized`"),
    always("subject", Text, "What is affected, as an index's name"),
    always("summary", Text, "One line for a person"),
    always("severity", Double, "0.0 harmless to 1.0 as bad as it gets"),
    always("age", Duration, "How long ago it was first seen"),
    always(
        "sightings",
        Int,
        "How often it was seen since the incident opened",
    ),
    always(
        "candidates",
        List(&Record(Shape::Candidate)),
        "The repairs that are offered",
    ),
    always(
        "evidence",
        List(&Record(Shape::Anomaly)),
        "The anomalies that point at it",
    ),
];
const CANDIDATE: &[Entry] = &[
    always("id", Text, "Its identifier, as `lock.end-holder`"),
    always("summary", Text, "One line for a person"),
    always(
        "level",
        Text,
        "How deep it goes: `in-place`, `snapshot`, `replay` or `rebuild`",
    ),
    always("ready", Bool, "Whether everything that it requires holds"),
    always(
        "waits_for",
        Text,
        "What it requires and does not hold, with what was seen",
    ),
    always("undoable", Bool, "Whether it can be taken back"),
    always("expected_duration", Duration, "How long it should take"),
    always("lost_commits", Int, "Committed transactions it would lose"),
    always(
        "lost_percent",
        Double,
        "The share of what is affected that it would lose, 0 to 100",
    ),
];
const ANOMALY: &[Entry] = &[
    always("series", List(&Text), "The series that carry it"),
    always("confidence", Double, "0.0 normal to 1.0 anomalous"),
    always("severity", Text, "`low`, `medium` or `high`"),
    always("reasons", List(&Text), "What was seen, for a person"),
];
const OUTCOME: &[Entry] = &[
    always("incident", Text, "The incident's identifier"),
    always("kind", Text, "The kind of problem"),
    always("subject", Text, "What was affected"),
    always("repair", Text, "The repair's identifier"),
    always(
        "result",
        Text,
        "`verified`, `rolled-back`, `refused` or `failed`",
    ),
    always("reason", Text, "Why, in one line"),
    always("duration", Duration, "How long it took"),
    always("lost_commits", Int, "Committed transactions that were lost"),
    always("notes", List(&Text), "What else a person should know"),
];
const INCIDENT: &[Entry] = &[
    always("id", Text, "Its identifier"),
    always("kind", Text, "The kind of problem"),
    always("subject", Text, "What is affected"),
    always("age", Duration, "How long it has been open"),
    always("sightings", Int, "How often it was seen"),
    always(
        "class",
        Text,
        "What the policy called it last: a class, or `none`",
    ),
    always(
        "acknowledged",
        Bool,
        "Whether somebody said that they work on it",
    ),
    maybe("acknowledged_by", Text, "Who works on it"),
    always(
        "answers",
        List(&Record(Shape::Reply)),
        "What people answered to its repairs, oldest first",
    ),
];
const REPLY: &[Entry] = &[
    always("repair", Text, "The repair's identifier"),
    always("granted", Bool, "Whether it was approved"),
    always("by", Text, "Who answered"),
    always("age", Duration, "How long ago"),
    maybe("note", Text, "Why, as it was given"),
];
const HISTORY: &[Entry] = &[
    always("successes", Int, "Repairs that verified, ever"),
    always(
        "failures",
        Int,
        "Repairs that failed or were rolled back, ever",
    ),
    always("failures_in_a_row", Int, "Failures since the last success"),
    maybe("age", Duration, "How long ago the last one ended"),
];
const CONSTRAINT: &[Entry] = &[
    always("name", Text, "Its name in the configuration"),
    always("metric", Text, "The metric's name"),
    always("value", Double, "The latest value"),
    maybe("lower", Double, "The lower bound"),
    maybe("upper", Double, "The upper bound"),
    always(
        "utilization",
        Double,
        "The share of the room up to the bound that is used; over 1.0 is a violation",
    ),
    always("status", Text, "`ok`, `warning` or `critical`"),
];
const MAINTENANCE: &[Entry] = &[
    always("open", Bool, "Whether people work on the target now"),
    maybe("name", Text, "The open window's name"),
    maybe("ends_in", Duration, "How long the window is still open"),
    maybe(
        "allow_repairs",
        Bool,
        "Whether repairs may begin meanwhile",
    ),
    maybe("by", Text, "Who opened it, where a person did"),
    maybe("reason", Text, "Why, as it was given"),
    maybe("next_in", Duration, "How long until the next window"),
];
const TIME: &[Entry] = &[
    always("hour", Int, "0 to 23"),
    always("minute", Int, "0 to 59"),
    always("minute_of_day", Int, "Minutes since midnight, 0 to 1439"),
    always("weekday", Text, "`monday` to `sunday`"),
    always(
        "is_known",
        Bool,
        "Whether the time zone is known; otherwise this is UTC",
    ),
];
const BASELINE: &[Entry] = &[
    always("count", Int, "How many values it rests on"),
    always("established", Bool, "Whether it has seen enough to judge by"),
    always("median", Double, "The median"),
    always("mad", Double, "The median absolute deviation"),
    always("mean", Double, "The mean"),
    always("stdev", Double, "The standard deviation"),
    always("p50", Double, "The 50th percentile"),
    always("p95", Double, "The 95th percentile"),
    always("p99", Double, "The 99th percentile"),
    always("min", Double, "The smallest value"),
    always("max", Double, "The largest value"),
];
const SAID: &[Entry] = &[
    always("class", Text, "The class so far, or `none`"),
    always(
        "level",
        Text,
        "The highest level that a rule has called for so far",
    ),
    always(
        "repair",
        Text,
        "The repair that the first rule with one wants, or `none`, whether or not it is offered",
    ),
    always("reason", Text, "The first reason so far; empty without one"),
];

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
        ("default", "default(facts.holder_name, \"an unknown process\")"),
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
