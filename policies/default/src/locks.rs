//! Write locks (specification 4.2, 8.1).

use dbmedic_policy::{EscalationLevel, Finding, problems::StaleLock, reason, seconds};

use crate::{Parameters, judgement::Judgement, suggestions};

const CANDIDATE: &str = "lock.end-holder";
/// The specification's.
const CONFIDENCE: f64 = 0.95;

/// A lock is ended when it is old, there is a snapshot to fall back to and nobody else is at work.
///
/// The specification escalates whatever fails one of the three. A lock that is merely young, or
/// whose holder still commits, is a normal transaction: it is only watched. A process is ended
/// only when the operator listed it.
pub(crate) fn stale<'a>(
    lock: &StaleLock<'_>,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
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
    if !snapshot {
        against.push(reason!(
            "lock.no-snapshot",
            "no recent snapshot to fall back to"
        ));
    }
    if concurrent > 0 {
        against.push(reason!(
            "lock.concurrent-operations",
            "{concurrent} other operations might be disturbed"
        ));
    }

    if against.is_empty() {
        let cpu = lock.holder_cpu_ms.map_or_else(String::new, |cpu| {
            format!("; the holder used {} of processor time", seconds(cpu))
        });
        return Judgement::hiccup(finding.severity, parameters)
            .because(reason!("lock.stale", "{held}, threshold {threshold}{cpu}"))
            .because(reason!(
                "lock.snapshot",
                "a recent snapshot to fall back to"
            ))
            .because(reason!("lock.alone", "no other operation to disturb"))
            .wish(CANDIDATE, CONFIDENCE);
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
