//! Whether the repair that a rule wants may be tried, seen what became of it before
//! (specification 4.2, 5.1).

use std::cmp::Ordering;

use dbmedic_policy::{
    Candidate, Classification, EscalationLevel, Facts, Finding, Reason, RepairHistory, reason,
};

use crate::{Case, Memory, judgement::Judgement, suggestions};

/// Of several repairs the one of least risk, in whatever order they are offered: by how deep it goes,
/// then one whose preconditions hold, then by what may be lost, by whether it can be taken back, and
/// by name. A deeper one does not take the place of one that has to wait.
pub(crate) fn least_risk<'a>(
    candidates: impl IntoIterator<Item = &'a Candidate>,
) -> Option<&'a Candidate> {
    let waits = |candidate: &Candidate| candidate.preconditions.iter().any(|p| !p.holds);
    let risk = |a: &&Candidate, b: &&Candidate| -> Ordering {
        let (lost, other) = (&a.expected_loss, &b.expected_loss);
        a.level
            .cmp(&b.level)
            .then(waits(a).cmp(&waits(b)))
            .then(lost.commits.cmp(&other.commits))
            .then(lost.percent.total_cmp(&other.percent))
            .then(b.undoable.cmp(&a.undoable))
            .then(a.id.cmp(&b.id))
    };
    candidates.into_iter().min_by(risk)
}

/// After `failures_before_person` failures in a row a repair is not tried again.
///
/// The specification counts how often a problem is *decided on*, and one success of anything
/// resets the counts of everything. Counted here are failures of one repair on one kind of
/// problem, which only a success of that same repair resets; the host keeps the count.
pub(crate) fn failed_too_often(
    kind: &str,
    history: Option<&RepairHistory>,
    case: &Case<'_>,
) -> Option<Reason> {
    let history = history?;
    let limit = case.parameters.failures_before_person;
    (history.failures_in_a_row >= limit).then(|| {
        reason!(
            "repair.failed-too-often",
            "{} failed {} times in a row on {kind}, {limit} hand it to a person",
            history.repair,
            history.failures_in_a_row
        )
    })
}

/// How far a hiccup is from being solved: it takes `successes_before_solved` repairs that verified.
pub(crate) fn proof(history: Option<&RepairHistory>, case: &Case<'_>) -> (bool, Reason) {
    let successes = history.map_or(0, |history| history.successes);
    let needed = case.parameters.successes_before_solved;
    if successes >= needed {
        let text = format!("{successes} repairs verified so far");
        (true, reason!("hiccup.solved", "{text}"))
    } else {
        let text = format!("{successes} of {needed} repairs verified so far: watched until then");
        (false, reason!("hiccup.not-solved", "{text}"))
    }
}

/// Keeps the wish only when the host offers that repair, everything it requires holds, and it has
/// not failed too often.
pub(crate) fn settle(judgement: &mut Judgement<'_>, finding: &Finding, case: &Case<'_>) {
    let Some(wish) = judgement.wish.take() else {
        return;
    };
    // Damage that stays is worse than a nuisance that stays.
    let left_alone = if judgement.corruption {
        EscalationLevel::Escalate
    } else {
        EscalationLevel::Warn
    };
    let Some(candidate) = finding.candidate(wish.candidate) else {
        judgement.level = judgement.level.max(left_alone);
        judgement.reasons.push(reason!(
            "repair.not-offered",
            "{} would be right, but is not offered",
            wish.candidate
        ));
        return;
    };
    let history = case.history(&finding.kind, wish.candidate);
    if let Some(reason) = failed_too_often(&finding.kind, history, case) {
        judgement.class = Some(Classification::Wall);
        judgement.level = EscalationLevel::Escalate;
        judgement.reasons.insert(0, reason);
        judgement.suggestions.push(suggestions::REPEATED);
        return;
    }
    let mut holds = true;
    for precondition in candidate.preconditions.iter().filter(|p| !p.holds) {
        holds = false;
        judgement.reasons.push(reason!(
            "repair.precondition",
            "{} waits for {}: {}",
            candidate.id,
            precondition.name,
            precondition.detail
        ));
    }
    if !holds {
        judgement.level = judgement.level.max(left_alone);
        return;
    }
    if judgement.class == Some(Classification::Hiccup) {
        let (solved, reason) = proof(history, case);
        if !solved {
            judgement.level = judgement.level.max(EscalationLevel::Watch);
        }
        judgement.reasons.push(reason);
    }
    judgement.wish = Some(wish);
}

/// An obstacle that was mitigated `mitigations_before_escalation` times and is back needs a person.
///
/// The mitigation goes on meanwhile: to stop it would make the obstacle worse. The specification
/// names no span of time; without one, two mitigations in a year would count.
pub(crate) fn recurring(
    judgement: &mut Judgement<'_>,
    finding: &Finding,
    case: &Case<'_>,
    memory: &Memory,
) {
    if judgement.class != Some(Classification::Obstacle) {
        return;
    }
    let parameters = case.parameters;
    let window_ms = parameters.mitigation_window_ms;
    let count = memory.mitigations(&finding.kind, &finding.subject, case.now_ms(), window_ms);
    if count >= parameters.mitigations_before_escalation as usize {
        judgement.level = EscalationLevel::Escalate;
        judgement.reasons.push(reason!(
            "obstacle.recurs",
            "mitigated {count} times within {} and back, {} call a person",
            dbmedic_policy::seconds(window_ms),
            parameters.mitigations_before_escalation
        ));
        judgement.suggestions.push(suggestions::REPEATED);
    }
}
