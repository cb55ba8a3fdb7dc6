//! Configured bounds, and anomalies that no diagnosis explains (specification 5.2, 6.3).
//!
//! Where a constraint stands is the host's measurement. The specification's thresholds for a lower
//! bound (6.1) can never fire, since they lie below the bound itself; this policy therefore judges
//! by the host's list of violations and by nothing that is derived from those thresholds.

use dbmedic_policy::{
    EscalationLevel, Finding,
    problems::{UnexplainedAnomaly, ViolatedConstraint},
    reason, seconds,
};

use crate::{Case, Parameters, judgement::Judgement, repairs, suggestions};

/// No rule of its own backs the operator's auto-fix, so it is rated like the damaged log.
const AUTO_FIX_CONFIDENCE: f64 = 0.8;

/// One violation is watched. Repeated ones are mended where the operator allowed it and the host
/// offers a way, the least invasive first; otherwise a person is called.
pub(crate) fn violated<'a>(
    violated: &ViolatedConstraint<'_>,
    finding: &'a Finding,
    case: &Case<'_>,
) -> Judgement<'a> {
    let parameters = case.parameters;
    let name = violated.constraint.unwrap_or(&finding.subject);
    let window_ms = parameters.violation_window_ms;
    let count = case.constraint(name).map_or(0, |state| {
        let recent = |at: &&u64| case.now_ms().saturating_sub(**at) < window_ms;
        state.violations_ms.iter().filter(recent).count()
    });
    let stands = match (violated.metric, violated.value, violated.bound) {
        (Some(metric), Some(value), Some(bound)) => format!("{metric} is {value}, bound {bound}; "),
        _ => String::new(),
    };
    let text = format!(
        "{name}: {stands}{count} violations in {}, {} call for action",
        seconds(window_ms),
        parameters.violations_before_action
    );
    let judgement =
        Judgement::obstacle(finding.severity, parameters).suggest(suggestions::CONSTRAINT);
    if count < parameters.violations_before_action as usize {
        return judgement.because(reason!("constraint.violated", "{text}"));
    }
    let judgement = judgement.because(reason!("constraint.repeated", "{text}"));
    if violated.auto_fix != Some(true) {
        return judgement
            .at_least(EscalationLevel::Escalate)
            .because(reason!(
                "constraint.no-auto-fix",
                "it may not be mended without a person"
            ));
    }
    match repairs::least_risk(&finding.candidates) {
        Some(candidate) => judgement
            .because(reason!(
                "constraint.auto-fix",
                "it may be mended by {}",
                candidate.id
            ))
            .wish(&candidate.id, AUTO_FIX_CONFIDENCE),
        None => judgement
            .at_least(EscalationLevel::Escalate)
            .because(reason!(
                "constraint.nothing-offered",
                "it may be mended, but no repair is offered"
            )),
    }
}

/// An anomaly by itself is looked at more closely; a slight one mends itself.
pub(crate) fn unexplained<'a>(
    anomaly: &UnexplainedAnomaly<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let series = anomaly.series.unwrap_or(&finding.subject);
    let judgement = if finding.severity < parameters.hiccup_watch_severity {
        Judgement::hiccup(finding.severity, parameters).at_least(EscalationLevel::Watch)
    } else {
        Judgement::obstacle(finding.severity, parameters)
    };
    let judgement = judgement.because(reason!(
        "anomaly.unexplained",
        "{series} left its normal range, confidence {:.2}, severity {:.2}; no known problem explains it",
        anomaly.confidence.unwrap_or(0.0),
        finding.severity
    ));
    // A duration, by the unit in its name.
    if series.ends_with("_ms") {
        judgement.suggest(suggestions::SLOW)
    } else {
        judgement
    }
}
