//! What the end of a repair means (specification 4.2, 5.1, 7.1).

use dbmedic_policy::{
    Classification, EscalationLevel, Outcome, OutcomeResult, problems::StaleLock, reason, seconds,
};

use crate::{Case, Memory, judgement::Judgement, repairs, suggestions};

/// Judges how a repair ended. The host has counted it in its history already.
///
/// The specification reports failed repairs under names that its own escalation does not know, so
/// they never raise the level; here they do.
pub(crate) fn judge<'a>(outcome: &Outcome, case: &Case<'_>, memory: &mut Memory) -> Judgement<'a> {
    let known = case.incident(&outcome.incident);
    let mut judgement = Judgement {
        class: known.and_then(|incident| incident.classification),
        ..Judgement::quiet()
    };
    let history = case.history(&outcome.kind, &outcome.repair);
    let ended = format!(
        "{} on {} after {}: {}",
        outcome.repair,
        outcome.subject,
        seconds(outcome.duration_ms),
        outcome.reason
    );
    match outcome.outcome_result {
        OutcomeResult::Verified => {
            memory.mitigated(&outcome.kind, &outcome.subject, case.now_ms());
            judgement = judgement.because(reason!("outcome.verified", "{ended}"));
            // The incident may be closed by now; a stale lock is known to be a hiccup.
            let hiccup = match judgement.class {
                Some(class) => class == Classification::Hiccup,
                None => outcome.kind == StaleLock::KIND,
            };
            if hiccup {
                let (solved, reason) = repairs::proof(history, case);
                judgement = judgement.because(reason);
                if !solved {
                    judgement = judgement.at_least(EscalationLevel::Watch);
                }
            }
        }
        OutcomeResult::RolledBack => {
            judgement = judgement
                .at_least(EscalationLevel::Warn)
                .because(reason!("outcome.rolled-back", "{ended}"));
        }
        OutcomeResult::Refused => {
            judgement = judgement
                .at_least(EscalationLevel::Watch)
                .because(reason!("outcome.refused", "{ended}"));
        }
        // Nobody knows what state the target is in: going on may do damage.
        OutcomeResult::Failed => {
            judgement = Judgement::crisis()
                .because(reason!("outcome.failed", "{ended}"))
                .suggest(suggestions::LEFT_OPEN);
        }
    }
    if outcome.outcome_result != OutcomeResult::Verified
        && let Some(reason) = repairs::failed_too_often(&outcome.kind, history, case)
    {
        judgement = judgement
            .at_least(EscalationLevel::Escalate)
            .because(reason)
            .suggest(suggestions::REPEATED);
        if judgement.class != Some(Classification::Crisis) {
            judgement.class = Some(Classification::Wall);
        }
    }
    if outcome.loss.commits > 0 {
        judgement = judgement
            .at_least(EscalationLevel::Escalate)
            .because(reason!(
                "outcome.data-loss",
                "{} commits were lost",
                outcome.loss.commits
            ))
            .suggest(suggestions::BACKUP_BEFORE_LOSS);
    }
    judgement
}
