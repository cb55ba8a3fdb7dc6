//! Write locks (specification 4.2, 8.1).

use dbmedic_policy::{
    EscalationLevel, Facts, Finding,
    problems::{LongLock, StaleLock},
    reason, seconds,
};

use crate::{Case, Parameters, judgement::Judgement, suggestions};

const CANDIDATE: &str = "lock.end-holder";
/// What lets a stopped holder go on, so that it can finish by itself.
pub(crate) const GENTLER: &str = "lock.resume-holder";
/// The specification's.
const CONFIDENCE: f64 = 0.95;

/// A lock is ended when it is old, there is a snapshot to fall back to and nobody else is at work.
///
/// The specification escalates whatever fails one of the three. A lock that is merely young, or
/// whose holder still commits, is a normal transaction: it is only watched. A process is ended
/// only when the operator listed it.
///
/// A stopped holder is let go on first; it is ended when that did not help.
pub(crate) fn stale<'a>(lock: &StaleLock<'_>, finding: &Finding, case: &Case<'_>) -> Judgement<'a> {
    let parameters = case.parameters;
    let (Some(age_ms), Some(snapshot), Some(concurrent), Some(may_be_ended)) = (
        lock.age_ms,
        lock.has_recent_snapshot,
        lock.concurrent_operations,
        lock.holder_may_be_ended,
    ) else {
        return Judgement::fact_missing(
            finding,
            "age_ms, has_recent_snapshot, concurrent_operations, holder_may_be_ended",
        );
    };
    let holder = lock.holder_name.unwrap_or("an unknown process");
    let held = format!("lock held {} by {holder}", seconds(age_ms));
    let threshold = seconds(parameters.stale_lock_age_ms);

    if let Some(found_ms) = lock.found_held_ms
        && age_ms <= parameters.stale_lock_age_ms
        && found_ms > parameters.stale_lock_age_ms
    {
        let why = reason!(
            "lock.not-proven",
            "found held by {holder} for {} and proven for {}, threshold {threshold}: it ran meanwhile and may have let go",
            seconds(found_ms),
            seconds(age_ms)
        );
        return long_held(found_ms, finding, parameters)
            .because(why)
            .suggest(suggestions::ASK_HOLDER);
    }

    let mut against = Vec::new();
    let mut passes = false;
    if age_ms <= parameters.stale_lock_age_ms {
        passes = true;
        against.push(reason!("lock.too-fresh", "{held}, threshold {threshold}"));
    }
    if let Some(commits @ 1..) = lock.commits_during_hold {
        passes = true;
        against.push(reason!(
            "lock.holder-commits",
            "{commits} commits while the lock was held: the holder is at work"
        ));
    }
    if !may_be_ended {
        against.push(reason!(
            "lock.holder-not-listed",
            "{holder} is not listed among the processes that a repair may end"
        ));
    }
    let stopped = lock.holder_stopped == Some(true);
    if stopped && against.is_empty() && is_gentler_untried(finding, case) {
        return Judgement::hiccup(finding.severity, parameters)
            .because(reason!(
                "lock.holder-stopped",
                "{held}, which is stopped, threshold {threshold}: let go on before it is ended"
            ))
            .wish(GENTLER, CONFIDENCE);
    }
    if !snapshot {
        against.push(reason!(
            "lock.no-snapshot",
            "no recent snapshot to fall back to"
        ));
    }
    // Who waits for the lock is not disturbed when it is let go.
    let waiting = lock.waiting_processes.unwrap_or(0);
    let concurrent = concurrent.saturating_sub(waiting);
    if concurrent > 0 {
        against.push(reason!(
            "lock.concurrent-operations",
            "{concurrent} other operations might be disturbed"
        ));
    }

    if against.is_empty() {
        return abandoned(lock, finding, parameters, &held);
    }
    let mut judgement = if passes {
        Judgement::hiccup(finding.severity, parameters).at_least(EscalationLevel::Watch)
    } else {
        // Other operations end by themselves; a snapshot does not come by itself.
        let level = if snapshot {
            EscalationLevel::Warn
        } else {
            EscalationLevel::Escalate
        };
        Judgement::obstacle(finding.severity, parameters)
            .at_least(level)
            .because(reason!("lock.stale", "{held}, threshold {threshold}"))
            .suggest(suggestions::ASK_HOLDER)
    };
    if !snapshot {
        judgement = judgement.suggest(suggestions::TAKE_SNAPSHOT);
    }
    judgement.reasons.extend(against);
    judgement
}

/// A lock that nothing speaks against ending.
fn abandoned<'a>(
    lock: &StaleLock<'_>,
    finding: &Finding,
    parameters: &Parameters,
    held: &str,
) -> Judgement<'a> {
    let threshold = seconds(parameters.stale_lock_age_ms);
    let waiting = lock.waiting_processes.unwrap_or(0);
    let cpu = lock.holder_cpu_ms.map_or_else(String::new, |cpu| {
        format!("; the holder used {} of processor time", seconds(cpu))
    });
    let waits = match waiting {
        0 => String::new(),
        1 => "; 1 process waits for it".to_owned(),
        count => format!("; {count} processes wait for it"),
    };
    Judgement::hiccup(finding.severity, parameters)
        .because(reason!(
            "lock.stale",
            "{held}, threshold {threshold}{cpu}{waits}"
        ))
        .because(reason!(
            "lock.snapshot",
            "a recent snapshot to fall back to"
        ))
        .because(reason!("lock.alone", "no other operation to disturb"))
        .wish(CANDIDATE, CONFIDENCE)
}

/// Whether the host offers to let a stopped holder go on, and that did not fail last time.
pub(crate) fn is_gentler_untried(finding: &Finding, case: &Case<'_>) -> bool {
    let history = case.history(&finding.kind, GENTLER);
    finding.candidate(GENTLER).is_some()
        && history.is_none_or(|history| history.failures_in_a_row == 0)
}

/// A lock whose holder is at work, may have let go meanwhile, or cannot be seen: nobody is ended,
/// and by its age a person is told, then called.
///
/// An upgrade may take hours and begins again when it is cut off; so the threshold for calling a
/// person is another one than that for ending a process.
pub(crate) fn long<'a>(
    lock: &LongLock<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let Some(age_ms) = lock.age_ms else {
        return Judgement::fact_missing(finding, "age_ms");
    };
    let held = seconds(age_ms);
    let judgement = long_held(age_ms, finding, parameters);
    if lock.holder_outside == Some(true) {
        return judgement
            .because(reason!(
                "lock.holder-outside",
                "lock held {held} from outside of what dbmedic can see"
            ))
            .suggest(suggestions::LOOK_FROM_OUTSIDE);
    }
    let holder = lock.holder_name.unwrap_or("an unknown process");
    let cpu = lock.holder_cpu_ms.map_or_else(String::new, |cpu| {
        format!(", which used {} of processor time", seconds(cpu))
    });
    judgement
        .because(reason!(
            "lock.holder-works",
            "lock held {held} by {holder}{cpu}: it is at work or lets go for moments, and is not ended"
        ))
        .suggest(suggestions::WAIT_FOR_HOLDER)
}

fn long_held<'a>(age_ms: u64, finding: &Finding, parameters: &Parameters) -> Judgement<'a> {
    if age_ms > parameters.long_lock_person_ms {
        Judgement::obstacle(finding.severity, parameters).at_least(EscalationLevel::Escalate)
    } else if age_ms > parameters.stale_lock_age_ms {
        Judgement::obstacle(finding.severity, parameters).at_least(EscalationLevel::Warn)
    } else {
        Judgement::hiccup(finding.severity, parameters).at_least(EscalationLevel::Watch)
    }
}
