//! The records that a condition can see, and their fields.

use super::Type::{Bool, Double, Duration, Int, List, Record, Text};
use super::{Entry, Shape, always, maybe};

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
    maybe("allow_repairs", Bool, "Whether repairs may begin meanwhile"),
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
    always(
        "established",
        Bool,
        "Whether it has seen enough to judge by",
    ),
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
