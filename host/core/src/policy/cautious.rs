//! What the host answers when its policy cannot: look, call a person, touch nothing.

use super::PolicyFailure;
use crate::model::{
    Alert, Classification, Context, EscalationLevel, PolicyEvent, Reason, Urgency, Verbosity,
    Verdict,
};

/// The host's own verdict after a failure of the policy. The same failure gives the same words
/// whatever the limits, the engine's version or the machine, so that replays agree.
pub fn cautious(event: &PolicyEvent, context: &Context, failure: &PolicyFailure) -> Verdict {
    let asked = match event {
        PolicyEvent::Finding(finding) => format!("{} on {}", finding.kind, finding.subject),
        PolicyEvent::Outcome(outcome) => format!("the outcome of {}", outcome.repair),
        PolicyEvent::Tick => "the passing of time".into(),
    };
    Verdict {
        classification: Some(Classification::Wall),
        level: EscalationLevel::Escalate,
        repair: None,
        halt: false,
        confidence: 0.0,
        verbosity: Verbosity::Incident,
        alerts: if is_known_already(event, failure) {
            Vec::new()
        } else {
            vec![Alert {
                rule: "policy.failed".into(),
                urgency: Urgency::Critical,
                message: format!("the policy did not judge {asked}: {}", failure.rule()),
            }]
        },
        reasons: reasons(failure),
        suggestions: vec![
            "Judge the problem yourself: nothing is repaired until the policy answers again."
                .into(),
            "Look at the policy's log, and put the last good policy back if it goes on.".into(),
        ],
        memory: context.memory.clone(),
        needs_approval: false,
    }
}

/// Whether people were alerted by what took the policy out of service, and nothing else is new.
fn is_known_already(event: &PolicyEvent, failure: &PolicyFailure) -> bool {
    matches!(
        (event, failure),
        (PolicyEvent::Tick, PolicyFailure::OutOfService { .. })
    )
}

/// The failure, and the policy's own reason when it gave one.
fn reasons(failure: &PolicyFailure) -> Vec<Reason> {
    let text = match failure {
        PolicyFailure::Deadline { .. } => "the policy did not answer in time".into(),
        PolicyFailure::Fuel { .. } => "the policy did not answer within its fuel".into(),
        PolicyFailure::Memory { .. } => "the policy wanted more memory than it may have".into(),
        PolicyFailure::Stack { .. } => "the policy used up its stack".into(),
        PolicyFailure::Trap { .. } => "the policy broke off".into(),
        PolicyFailure::Unreadable { .. } => "the policy handed over what cannot be read".into(),
        PolicyFailure::MalformedAnswer { what } => format!("the policy's answer: {what}"),
        PolicyFailure::UnknownCandidate { id } => {
            format!("the policy chose `{id}`, which the host did not offer")
        }
        PolicyFailure::Refused(_) => "the policy says that it cannot judge".into(),
        PolicyFailure::Busy { .. } => "too many decisions were running at the same time".into(),
        PolicyFailure::OutOfService { .. } => {
            "the policy failed too often and is not asked for a while".into()
        }
    };
    let mut reasons = vec![Reason {
        rule: failure.rule().into(),
        text,
    }];
    if let PolicyFailure::Refused(own) = failure {
        reasons.push(own.clone());
    }
    reasons
}
