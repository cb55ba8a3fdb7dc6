//! What the host knows beside an event.

use super::{CLASSES, LEVELS, LONGEST_MS, MOST, SERIES, names, optional, owned, required, time};
use crate::document::{Section, TextOrNumbers};
use crate::model::{
    Attribution, BaselineSummary, ConstraintState, ConstraintStatus, EscalationLevel, LocalTime,
    MaintenanceWindow, OffsetChange, OpenIncident, RepairAnswer, RepairHistory, Value,
};
use crate::policy::{MEMORY_BYTES, RECENT_POINTS};
use crate::policy_tests::{BaselineGiven, Known, SAMPLE_EVERY_MS, SeriesGiven};

pub(in crate::policy_tests) const STATUS: [(&str, ConstraintStatus); 3] = [
    ("ok", ConstraintStatus::Ok),
    ("warning", ConstraintStatus::Warning),
    ("critical", ConstraintStatus::Critical),
];
/// Between two violations of a constraint that are only counted, milliseconds.
const VIOLATION_MS: u64 = 1000;
/// Violations of a constraint that a policy is told of.
const VIOLATIONS: usize = 32;
/// How long a maintenance window stays open that does not say so, milliseconds.
pub(in crate::policy_tests) const WINDOW_MS: u64 = 3_600_000;

pub(super) fn known(section: &mut Section<'_, '_>) -> Known {
    let (mut constraints, mut repairs, mut series) = (Vec::new(), Vec::new(), Vec::new());
    section.tables("constraints", |table| constraints.push(constraint(table)));
    section.tables("repairs", |table| repairs.push(history(table)));
    section.tables("series", |table| series.push(given(table)));
    let mut answers = Vec::new();
    section.tables("answers", |table| answers.push(answer(table)));
    let all_incidents = section.has("incidents");
    let mut incidents = Vec::new();
    section.tables("incidents", |table| incidents.push(incident(table)));
    let window = section.has("maintenance");
    let open = section.table("maintenance", maintenance);
    let has_next = section.has("next_maintenance");
    let next = section.table("next_maintenance", next_maintenance);
    Known {
        level: optional(section, "level", EscalationLevel::Normal, &LEVELS),
        level_for_ms: time(section, "level_for_ms"),
        metrics: section.table("metrics", metrics),
        constraints,
        repairs,
        series,
        target: owned(section, "target", "the target's name"),
        target_kind: owned(
            section,
            "target_kind",
            "`sqlite`, `postgresql`, `metrics` or another kind",
        ),
        answers,
        acknowledged_by: owned(section, "acknowledged_by", "who works on the incident"),
        resolved: names(
            section,
            "resolved",
            "incidents that are over, by identifier, kind or subject",
        ),
        incidents: all_incidents.then_some(incidents),
        maintenance: window.then_some(open),
        next_maintenance: has_next.then_some(next),
        local_time: local_time(section),
        memory: memory(section),
    }
}

fn metrics(table: &mut Section<'_, '_>) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for setting in table.settings(None) {
        match setting.value {
            #[allow(clippy::cast_precision_loss, reason = "whole numbers stay below 2^53")]
            Value::Integer(whole) => all.push((setting.name, whole as f64)),
            Value::Number(number) => all.push((setting.name, number)),
            _ => table.error(
                &setting.name,
                format!("`{}` is not a number", setting.name),
                "a metric is a finite number",
            ),
        }
    }
    all
}

fn local_time(section: &mut Section<'_, '_>) -> Option<LocalTime> {
    const MINUTES: std::ops::RangeInclusive<i32> = -1_080..=1_080;
    let there = section.has("utc_offset_minutes");
    let utc_offset_minutes = section.whole("utc_offset_minutes", 0, MINUTES, MINUTES);
    let has_change = section.has("clock_change");
    let change = section.table("clock_change", |table| OffsetChange {
        at_ms: time(table, "after_ms").unwrap_or_default(),
        utc_offset_minutes: table.whole("utc_offset_minutes", 0, MINUTES, MINUTES),
    });
    if has_change && !there {
        let hint = "say `utc_offset_minutes = 60`, for example";
        section.error(
            "clock_change",
            "the clock's present offset is missing",
            hint,
        );
    }
    there.then_some(LocalTime {
        utc_offset_minutes,
        next_change: has_change.then_some(change),
    })
}

fn memory(section: &mut Section<'_, '_>) -> Option<Vec<u8>> {
    const RIGHT: &str = "the bytes in hexadecimal digits, 16 KiB at most";
    let text = section.text("memory", RIGHT)?.to_owned();
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    let bytes = bytes.filter(|bytes| bytes.len() <= MEMORY_BYTES);
    if bytes.is_none() {
        section.error("memory", "`memory` is no such number of bytes", RIGHT);
    }
    bytes
}

/// What a person answered to a repair of the event's incident.
fn answer(section: &mut Section<'_, '_>) -> RepairAnswer {
    RepairAnswer {
        repair: required(section, "repair", "the identifier of a repair"),
        granted: section.flag("granted", true),
        said: Attribution {
            by: required(section, "by", "who answered"),
            at_ms: time(section, "ago_ms").unwrap_or_default(),
            note: owned(section, "note", "why"),
        },
    }
}

/// An open incident; its times count back from the event.
fn incident(section: &mut Section<'_, '_>) -> OpenIncident {
    let mut answers = Vec::new();
    section.tables("answers", |table| answers.push(answer(table)));
    let acknowledged = section.has("acknowledged");
    let who = section.table("acknowledged", |table| Attribution {
        by: required(table, "by", "who works on it"),
        at_ms: time(table, "ago_ms").unwrap_or_default(),
        note: owned(table, "note", "why"),
    });
    OpenIncident {
        id: required(section, "id", "an incident's identifier"),
        kind: required(section, "kind", "the problem's kind"),
        subject: required(section, "subject", "what is affected"),
        opened_ms: time(section, "opened_ago_ms").unwrap_or_default(),
        sightings: section.whole("sightings", 1, 0..=u32::MAX, 0..=u32::MAX),
        classification: optional(section, "classification", None, &CLASSES).flatten(),
        acknowledged: acknowledged.then_some(who),
        answers,
    }
}

/// The maintenance window that is open; its times count from the event.
fn maintenance(section: &mut Section<'_, '_>) -> MaintenanceWindow {
    MaintenanceWindow {
        begins_ms: time(section, "began_ago_ms").unwrap_or_default(),
        ..window(section)
    }
}

fn next_maintenance(section: &mut Section<'_, '_>) -> MaintenanceWindow {
    MaintenanceWindow {
        begins_ms: time(section, "begins_after_ms").unwrap_or_default(),
        ..window(section)
    }
}

fn window(section: &mut Section<'_, '_>) -> MaintenanceWindow {
    MaintenanceWindow {
        name: owned(section, "name", "the window's name").unwrap_or("maintenance".into()),
        begins_ms: 0,
        ends_ms: section.whole("ends_after_ms", WINDOW_MS, 1..=LONGEST_MS, 1..=LONGEST_MS),
        allow_repairs: section.flag("allow_repairs", false),
        by: owned(section, "by", "who opened it"),
        reason: owned(section, "reason", "why"),
    }
}

fn constraint(section: &mut Section<'_, '_>) -> ConstraintState {
    let name = required(
        section,
        "name",
        "a constraint's name, for example `wal_size`",
    );
    let metric = owned(section, "metric", "a metric's name").unwrap_or_else(|| name.clone());
    let status = section.choice("status", ConstraintStatus::Ok, &STATUS);
    let right = "a finite number";
    let times = section.whole("violations", 0_u64, 0..=32, 0..=32);
    let mut ago_ms: Vec<u64> = (0..times).map(|back| back * VIOLATION_MS).collect();
    if let Some(given) = ago(section, "violations_ago_ms", VIOLATIONS) {
        ago_ms = given;
        if section.has("violations") {
            let hint = "leave `violations` out: the list says how many there are";
            section.error("violations", "violations are counted twice", hint);
        }
    }
    ConstraintState {
        name,
        metric,
        value: section.finite("value", right).unwrap_or_default(),
        lower: section.finite("lower", right),
        upper: section.finite("upper", right),
        utilization: section.finite("utilization", right).unwrap_or_default(),
        status,
        // How long ago, the oldest first: when it was is known when the case is run.
        violations_ms: ago_ms.into_iter().rev().collect(),
    }
}

/// How long ago each of several things was, the latest first, milliseconds.
fn ago(section: &mut Section<'_, '_>, key: &'static str, most: usize) -> Option<Vec<u64>> {
    let right = format!("up to {most} whole numbers of milliseconds, for example [0, 59_999]");
    let numbers = section.numbers(key, &right)?;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within the bounds"
    )]
    let whole = |number: &f64| {
        let is_right = number.fract() == 0.0 && (0.0..=LONGEST_MS as f64).contains(number);
        is_right.then_some(*number as u64)
    };
    let all: Option<Vec<u64>> = numbers.iter().map(whole).collect();
    let Some(mut all) = all.filter(|all| all.len() <= most) else {
        section.error(key, format!("`{key}` is no list of times"), right);
        return Some(Vec::new());
    };
    all.sort_unstable();
    Some(all)
}

fn history(section: &mut Section<'_, '_>) -> RepairHistory {
    let mut count = |key| section.whole(key, 0_u32, 0..=MOST, 0..=MOST);
    let (successes, failures, failures_in_a_row) = (
        count("successes"),
        count("failures"),
        count("failures_in_a_row"),
    );
    RepairHistory {
        kind: required(section, "kind", "the kind of the problem"),
        repair: required(section, "repair", "the identifier of the repair"),
        successes,
        failures: failures.max(failures_in_a_row),
        failures_in_a_row,
        last_ms: time(section, "last_ago_ms").unwrap_or_default(),
    }
}

/// What telemetry answers of a series: its latest value, or its points, and its baseline.
fn given(section: &mut Section<'_, '_>) -> SeriesGiven {
    let name = required(section, "name", "the name of a series");
    let value = section.finite("value", "its latest value, a finite number");
    let every_ms = section.whole("every_ms", SAMPLE_EVERY_MS, 1..=LONGEST_MS, 1..=LONGEST_MS);
    let text = section.text_or_numbers("points", SERIES);
    let ago_ms = ago(section, "ago_ms", RECENT_POINTS);
    let mut points = match (text, &ago_ms) {
        (Some(text), Some(ago_ms)) => timed(section, text, ago_ms),
        (Some(text), None) => evenly(section, text, every_ms),
        (None, _) => Vec::new(),
    };
    if ago_ms.is_some() && !section.has("points") {
        let hint = "give the `points` that they are the times of";
        section.error("ago_ms", "`ago_ms` without `points`", hint);
    }
    if section.has("points") && value.is_some() {
        let hint = "leave `value` out: the last of the points is the latest";
        section.error("value", "the latest value is given twice", hint);
    }
    points.extend(value.map(|value| (0, value)));
    points.drain(..points.len().saturating_sub(RECENT_POINTS));
    let has_baseline = section.has("baseline");
    let summary = section.table("baseline", baseline);
    SeriesGiven {
        name,
        points,
        baseline: if has_baseline {
            BaselineGiven::Is(summary)
        } else {
            BaselineGiven::None
        },
    }
}

/// Points of which each lies as long before the next, the last one now.
fn evenly(section: &mut Section<'_, '_>, text: TextOrNumbers, every_ms: u64) -> Vec<(u64, f64)> {
    match super::values(text, every_ms) {
        Ok(values) => {
            let back = (0..values.len() as u64).rev().map(|back| back * every_ms);
            let points = back.zip(values);
            points
                .filter_map(|(ago, value)| Some((ago, value?)))
                .collect()
        }
        Err(what) => {
            section.error("points", format!("`points`: {what}"), SERIES);
            Vec::new()
        }
    }
}

/// Points with a time each; the times are the latest first.
fn timed(section: &mut Section<'_, '_>, text: TextOrNumbers, ago_ms: &[u64]) -> Vec<(u64, f64)> {
    match text {
        TextOrNumbers::Numbers(values) if values.len() == ago_ms.len() => {
            ago_ms.iter().rev().copied().zip(values).collect()
        }
        _ => {
            let hint = "give a list of as many numbers, the oldest first";
            section.error(
                "ago_ms",
                "`ago_ms` has a time for each of the `points`",
                hint,
            );
            Vec::new()
        }
    }
}

/// What is normal for a series; what is not said follows from the median.
fn baseline(section: &mut Section<'_, '_>) -> BaselineSummary {
    let right = "a finite number, in the unit of the series";
    let median = section.finite("median", right).unwrap_or_default();
    let mut or = |key, default: f64| section.finite(key, right).unwrap_or(default);
    let (mad, mean, stdev) = (or("mad", 0.0), or("mean", median), or("stdev", 0.0));
    let (p50, p95, p99) = (or("p50", median), or("p95", median), or("p99", median));
    let (min, max) = (or("min", median), or("max", median));
    BaselineSummary {
        count: section.whole("count", 1_000, 0..=MOST, 0..=MOST),
        established: section.flag("established", true),
        median,
        mad,
        mean,
        stdev,
        p50,
        p95,
        p99,
        min,
        max,
    }
}
