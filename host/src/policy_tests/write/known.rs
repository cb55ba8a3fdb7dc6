//! What the host knows beside an event.

use std::fmt::Write as _;

use super::toml::{Lines, Table, list, number, quoted, rows};
use crate::model::{
    Attribution, ConstraintState, MaintenanceWindow, OpenIncident, RepairAnswer, RepairHistory,
};
use crate::policy_tests::expect::{class, level};
use crate::policy_tests::read::words;
use crate::policy_tests::{BaselineGiven, Known, SeriesGiven};

pub(super) fn of_known(out: &mut Lines, known: &Known) {
    if let Some(is) = known.level {
        out.add("level", quoted(level(is)));
    }
    if let Some(for_ms) = known.level_for_ms {
        out.add("level_for_ms", for_ms);
    }
    for (key, text) in [
        ("target", &known.target),
        ("target_kind", &known.target_kind),
        ("acknowledged_by", &known.acknowledged_by),
    ] {
        if let Some(text) = text {
            out.add(key, quoted(text));
        }
    }
    if let Some(time) = &known.local_time {
        out.add("utc_offset_minutes", time.utc_offset_minutes);
        if let Some(change) = &time.next_change {
            let mut table = Table::new();
            table.add("after_ms", change.at_ms);
            table.add("utc_offset_minutes", change.utc_offset_minutes);
            out.add("clock_change", table);
        }
    }
    out.add_some(
        "resolved",
        list(known.resolved.iter().map(|name| quoted(name))),
    );
    let mut metrics = Table::new();
    for (name, value) in &known.metrics {
        metrics.add(name, number(*value));
    }
    out.add_some("metrics", metrics.some());
    out.add_some("constraints", rows(&known.constraints, constraint));
    out.add_some("repairs", rows(&known.repairs, history));
    out.add_some("series", rows(&known.series, series));
    out.add_some("answers", rows(&known.answers, answer));
    if let Some(incidents) = &known.incidents {
        out.add(
            "incidents",
            rows(incidents, incident).unwrap_or("[]".into()),
        );
    }
    let open = known
        .maintenance
        .as_ref()
        .map(|open| window(open, "began_ago_ms"));
    out.add_some("maintenance", open);
    let next = known
        .next_maintenance
        .as_ref()
        .map(|next| window(next, "begins_after_ms"));
    out.add_some("next_maintenance", next);
    if let Some(memory) = &known.memory {
        let mut digits = String::with_capacity(2 * memory.len());
        for byte in memory {
            // Writing to a string cannot fail.
            write!(digits, "{byte:02x}").unwrap_or_default();
        }
        // An empty text is a mistake in a case: no memory is what a case begins with.
        if !digits.is_empty() {
            out.add("memory", quoted(&digits));
        }
    }
}

fn constraint(constraint: &ConstraintState) -> Table {
    let mut table = Table::new();
    table.add("name", quoted(&constraint.name));
    table.text("metric", &constraint.metric, &constraint.name);
    table.add(
        "status",
        quoted(words::of(&words::STATUS, &constraint.status)),
    );
    table.add("value", number(constraint.value));
    table.maybe("lower", constraint.lower.map(number));
    table.maybe("upper", constraint.upper.map(number));
    table.add("utilization", number(constraint.utilization));
    let ago = constraint.violations_ms.iter().rev().map(u64::to_string);
    table.maybe("violations_ago_ms", list(ago));
    table
}

fn history(history: &RepairHistory) -> Table {
    let mut table = Table::new();
    table.add("kind", quoted(&history.kind));
    table.add("repair", quoted(&history.repair));
    for (key, count) in [
        ("successes", history.successes),
        ("failures", history.failures),
        ("failures_in_a_row", history.failures_in_a_row),
    ] {
        if count > 0 {
            table.add(key, count);
        }
    }
    if history.last_ms > 0 {
        table.add("last_ago_ms", history.last_ms);
    }
    table
}

fn series(series: &SeriesGiven) -> Table {
    let mut table = Table::new();
    table.add("name", quoted(&series.name));
    match &series.points[..] {
        [] => {}
        [(0, value)] => table.add("value", number(*value)),
        points => {
            let values = points.iter().map(|(_, value)| number(*value));
            table.maybe("points", list(values));
            let ago = points.iter().rev().map(|(ago_ms, _)| ago_ms.to_string());
            table.maybe("ago_ms", list(ago));
        }
    }
    if let BaselineGiven::Is(is) = &series.baseline {
        let mut baseline = Table::new();
        for (key, value) in [
            ("median", is.median),
            ("mad", is.mad),
            ("mean", is.mean),
            ("stdev", is.stdev),
            ("p50", is.p50),
            ("p95", is.p95),
            ("p99", is.p99),
            ("min", is.min),
            ("max", is.max),
        ] {
            baseline.add(key, number(value));
        }
        baseline.add("count", is.count);
        baseline.flag("established", is.established, true);
        table.add("baseline", baseline);
    }
    table
}

fn said(table: &mut Table, said: &Attribution) {
    table.add(
        "by",
        quoted(if said.by.is_empty() {
            "somebody"
        } else {
            &said.by
        }),
    );
    if said.at_ms > 0 {
        table.add("ago_ms", said.at_ms);
    }
    table.maybe("note", said.note.as_deref().map(quoted));
}

fn answer(answer: &RepairAnswer) -> Table {
    let mut table = Table::new();
    table.add("repair", quoted(&answer.repair));
    table.flag("granted", answer.granted, true);
    said(&mut table, &answer.said);
    table
}

fn incident(incident: &OpenIncident) -> Table {
    let mut table = Table::new();
    table.add("id", quoted(&incident.id));
    table.add("kind", quoted(&incident.kind));
    table.add("subject", quoted(&incident.subject));
    table.add("opened_ago_ms", incident.opened_ms);
    table.add("sightings", incident.sightings);
    let is = incident.classification.map(|is| quoted(class(Some(is))));
    table.maybe("classification", is);
    let acknowledged = incident.acknowledged.as_ref().map(|who| {
        let mut table = Table::new();
        said(&mut table, who);
        table
    });
    table.maybe("acknowledged", acknowledged);
    table.maybe("answers", rows(&incident.answers, answer));
    table
}

fn window(window: &MaintenanceWindow, begins: &str) -> Table {
    let mut table = Table::new();
    table.add("name", quoted(&window.name));
    if window.begins_ms > 0 {
        table.add(begins, window.begins_ms);
    }
    table.add("ends_after_ms", window.ends_ms.max(1));
    table.flag("allow_repairs", window.allow_repairs, false);
    table.maybe("by", window.by.as_deref().map(quoted));
    table.maybe("reason", window.reason.as_deref().map(quoted));
    table
}
