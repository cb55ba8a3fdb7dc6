//! What people are told, and how seldom (specification 5.3, 8.3).
//!
//! A rule fires when its condition held often enough within its window, and not again about the
//! same thing before the cool-down has passed. The specification keeps violations of any age in its
//! count; here those outside the window are dropped.

use dbmedic_policy::{Answer, Classification, EscalationLevel, Urgency, percent, reason};

use crate::{Case, Memory, Parameters, judgement::Judgement, suggestions};

/// A rule over the main metrics.
struct Rule {
    name: &'static str,
    urgency: Urgency,
    /// Whether it speaks of one finding rather than of the whole target.
    of_finding: bool,
    /// What to say when the condition holds.
    condition: fn(&Judgement<'_>, &Case<'_>) -> Option<String>,
    /// How often it must hold, and within how many milliseconds.
    count: fn(&Parameters) -> (u32, u64),
}

const RULES: [Rule; 3] = [
    Rule {
        name: "high_error_rate",
        urgency: Urgency::Warning,
        of_finding: false,
        condition: |_, case| {
            let limit = case.parameters.error_rate_percent;
            let rate = case
                .metric("error_rate_percent")
                .filter(|rate| *rate > limit)?;
            Some(format!(
                "error rate {}, threshold {}",
                percent(rate),
                percent(limit)
            ))
        },
        count: |parameters| (parameters.error_rate_count, parameters.error_rate_window_ms),
    },
    Rule {
        name: "disk_almost_full",
        urgency: Urgency::Critical,
        of_finding: false,
        condition: |_, case| {
            let limit = case.parameters.disk_critical_percent;
            let free = case
                .metric("disk_free_percent")
                .filter(|free| *free < limit)?;
            Some(format!(
                "{} of the disk is free, threshold {}",
                percent(free),
                percent(limit)
            ))
        },
        count: |_| (1, 30_000),
    },
    Rule {
        name: "data_corruption_detected",
        urgency: Urgency::Critical,
        of_finding: true,
        condition: |judgement, case| {
            if judgement.corruption {
                return case.finding().map(|finding| finding.summary.clone());
            }
            let count = case
                .metric("corruption_count")
                .filter(|count| *count > 0.0)?;
            Some(format!("faults that the latest check found: {count}"))
        },
        count: |_| (1, 5_000),
    },
];

/// Low disk space raises the level by itself.
///
/// At the critical mark the specification halts the database's writers, which is nothing that a
/// policy or its host can do to other processes; dbmedic's own halt would copy files aside, the
/// last thing to do on a full disk. So a person is called.
pub(crate) fn disk(judgement: &mut Judgement<'_>, case: &Case<'_>) {
    let parameters = case.parameters;
    let Some(free) = case.metric("disk_free_percent") else {
        return;
    };
    let (level, reason) = if free < parameters.disk_critical_percent {
        let limit = percent(parameters.disk_critical_percent);
        let text = format!("{} of the disk is free, threshold {limit}", percent(free));
        (
            EscalationLevel::Escalate,
            reason!("disk.almost-full", "{text}"),
        )
    } else if free < parameters.disk_low_percent {
        let limit = percent(parameters.disk_low_percent);
        let text = format!("{} of the disk is free, threshold {limit}", percent(free));
        (EscalationLevel::Watch, reason!("disk.low", "{text}"))
    } else {
        return;
    };
    judgement.level = judgement.level.max(level);
    judgement.reasons.push(reason);
    judgement.suggestions.push(suggestions::FREE_SPACE);
}

/// Fires the rules, then calls a person if the event itself needs one.
pub(crate) fn tell(
    judgement: &Judgement<'_>,
    case: &Case<'_>,
    memory: &mut Memory,
    answer: &mut Answer,
) {
    let now_ms = case.now_ms();
    let cooldown_ms = case.parameters.alert_cooldown_ms;
    let about = about(case);
    for (at, rule) in RULES.iter().enumerate() {
        let Some(message) = (rule.condition)(judgement, case) else {
            continue;
        };
        let (count, window_ms) = (rule.count)(case.parameters);
        let subject = if rule.of_finding { about.as_str() } else { "" };
        if memory.violation(at, now_ms, window_ms) >= count as usize
            && memory.may_send(rule.name, subject, now_ms, cooldown_ms)
        {
            answer.alert(rule.name, rule.urgency, message);
        }
    }
    let rule = match (judgement.class, judgement.level) {
        (Some(Classification::Crisis), _) => "target_halted",
        (_, EscalationLevel::Escalate) => "person_needed",
        _ => return,
    };
    if memory.may_send(rule, &about, now_ms, cooldown_ms) {
        let why = judgement.reasons.first().map_or("", |reason| &reason.text);
        answer.alert(rule, Urgency::Critical, format!("{about}: {why}"));
    }
}

/// What the event is about, as a person reads it.
fn about(case: &Case<'_>) -> String {
    match (case.finding(), case.outcome()) {
        (Some(finding), _) => format!("{} on {}", finding.kind, finding.subject),
        (_, Some(outcome)) => format!("{} on {}", outcome.kind, outcome.subject),
        _ => String::new(),
    }
}
