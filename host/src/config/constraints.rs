//! Reads constraints, as overrides of those that are given, and names.

use crate::constraint::Constraint;
use crate::document::Section;

/// The longest name of a target or constraint, bytes.
const NAME_BYTES: usize = 64;

/// The given constraints, as overridden by name. An override keeps what it does not name.
pub(super) fn constraints(section: &mut Section<'_, '_>, given: &[Constraint]) -> Vec<Constraint> {
    let mut constraints = given.to_vec();
    let mut seen: Vec<(String, usize)> = Vec::new();
    section.tables("constraints", |section| {
        let Some(name) = name(section, "constraint", &mut seen) else {
            // Read all the same, for the mistakes in it.
            constraint(section, Constraint::new("", "a_metric"));
            return;
        };
        let place = constraints.iter().position(|known| known.name == name);
        let before = place.map_or_else(|| Constraint::new(&name, ""), |at| constraints[at].clone());
        let constraint = constraint(section, before);
        match (constraint, place) {
            (Some(constraint), Some(at)) => constraints[at] = constraint,
            (Some(constraint), None) => constraints.push(constraint),
            (None, Some(at)) => {
                constraints.remove(at);
            }
            (None, None) => {}
        }
    });
    constraints
}

/// One constraint; none when it is switched off.
fn constraint(section: &mut Section<'_, '_>, before: Constraint) -> Option<Constraint> {
    let bound = "a finite number in the metric's unit";
    let share = "a share above 0 and below 1, as 0.8";
    let constraint = Constraint {
        metric: section
            .text("metric", "the series that is bounded, as \"wal_bytes\"")
            .map_or(before.metric, str::to_owned),
        lower: section.finite("lower", bound).or(before.lower),
        upper: section.finite("upper", bound).or(before.upper),
        warning_threshold: section
            .finite("warning_threshold", share)
            .unwrap_or(before.warning_threshold),
        critical_threshold: section
            .finite("critical_threshold", share)
            .unwrap_or(before.critical_threshold),
        auto_fix: section.flag("auto_fix", before.auto_fix),
        description: section
            .text("description", "one line for a person")
            .map_or(before.description, str::to_owned),
        name: before.name,
    };
    let enabled = section.flag("enabled", true);
    if constraint.metric.is_empty() && !section.has("metric") {
        section.error(
            "name",
            format!("the constraint `{}` has no metric", constraint.name),
            "add `metric = \"...\"`, the series that is bounded",
        );
    }
    match (constraint.lower, constraint.upper) {
        (None, None) if !section.has("lower") && !section.has("upper") => section.error(
            "name",
            format!("the constraint `{}` bounds nothing", constraint.name),
            "add `lower`, `upper` or both",
        ),
        (Some(lower), Some(upper)) if lower > upper => section.error(
            if section.has("lower") {
                "lower"
            } else {
                "upper"
            },
            format!("`lower` ({lower}) is above `upper` ({upper}): no value fits"),
            "exchange the two",
        ),
        _ => {}
    }
    for (key, threshold) in [
        ("warning_threshold", constraint.warning_threshold),
        ("critical_threshold", constraint.critical_threshold),
    ] {
        if threshold <= 0.0 || threshold >= 1.0 {
            section.error(key, format!("`{key}` is {threshold}"), share);
        } else if threshold < 0.5 {
            let message = format!("`{key}` is {threshold}, which is unusual");
            section.warning(key, message, "typical: 0.5 to 0.99");
        }
    }
    if constraint.warning_threshold > constraint.critical_threshold {
        section.error(
            if section.has("warning_threshold") {
                "warning_threshold"
            } else {
                "critical_threshold"
            },
            format!(
                "`warning_threshold` ({}) is above `critical_threshold` ({})",
                constraint.warning_threshold, constraint.critical_threshold
            ),
            "a warning comes first: let it be the lower of the two",
        );
    }
    enabled.then_some(constraint)
}

/// A name of its own among those of its kind, fit for a directory.
pub(super) fn name(
    section: &mut Section<'_, '_>,
    what: &str,
    seen: &mut Vec<(String, usize)>,
) -> Option<String> {
    let right = "letters, digits, `_`, `-` and `.`, 64 at most, a letter or digit first";
    if !section.has("name") {
        let message = format!("a {what} without a name");
        section.error("name", message, "add `name = \"...\"`");
    }
    let name = section.text("name", right)?;
    let fit = name.len() <= NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if !fit {
        let message = format!("the name {name:?} cannot name a directory");
        section.error("name", message, right);
    }
    if let Some((_, line)) = seen.iter().find(|(other, _)| other == name) {
        let message = format!("the {what} `{name}` is there already, in line {line}");
        section.error("name", message, format!("give each {what} its own name"));
    }
    seen.push((name.to_owned(), section.line("name")));
    Some(name.to_owned())
}
