//! The write-ahead log (specification 4.2, 8.2).

use dbmedic_policy::{
    EscalationLevel, Finding, percent,
    problems::{CheckpointStarved, CorruptFrame, OversizedWal},
    reason, seconds,
};

use crate::{Case, Parameters, judgement::Judgement, locks, suggestions};

/// The specification's for a damaged log.
const CORRUPT_CONFIDENCE: f64 = 0.8;
/// Nothing can be lost by these, so they are rated between the lock and the damaged log.
const MITIGATION_CONFIDENCE: f64 = 0.9;

/// Damage is cut off only when it begins in the last `wal_tail_percent` of the log.
///
/// Earlier damage is a crisis, not only the specification's escalation: the next writer begins
/// behind the last valid commit and overwrites the frames behind the damage, which a person might
/// still have saved.
pub(crate) fn corrupt<'a>(
    frame: &CorruptFrame,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let (Some(first_bad), Some(total)) = (frame.first_bad_frame, frame.total_frames) else {
        return Judgement::fact_missing(finding, "first_bad_frame, total_frames");
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "the contract keeps integers below 2^53"
    )]
    let (position, length) = (first_bad as f64, total as f64);
    let tail = parameters.wal_tail_percent;
    let at = format!("damage begins at frame {first_bad} of {total}");
    let lost = frame.commits_lost.unwrap_or(0);
    let share = frame.percent_lost.map_or_else(String::new, |share| {
        format!(", {} of the log's commits", percent(share))
    });

    if position > length * (1.0 - tail / 100.0) {
        let judgement = Judgement::mendable_corruption(finding.severity, parameters)
            .because(reason!(
                "wal.tail",
                "{at}, within the last {}",
                percent(tail)
            ))
            .wish("wal.keep-valid-prefix", CORRUPT_CONFIDENCE);
        if lost == 0 {
            return judgement;
        }
        return judgement
            .at_least(EscalationLevel::Escalate)
            .because(reason!(
                "wal.data-loss",
                "the repair gives up {lost} commits{share}: a person must know"
            ))
            .suggest(suggestions::BACKUP_BEFORE_LOSS);
    }
    let mut judgement = Judgement::crisis()
        .because(reason!(
            "wal.too-early",
            "{at}, before the last {}",
            percent(tail)
        ))
        .because(reason!(
            "wal.data-loss",
            "cutting it off would give up {lost} commits{share}"
        ))
        .suggest(suggestions::WAL_OPTIONS);
    judgement.corruption = true;
    judgement
}

/// A reader that pins the log is released when it is old enough and listed among those
/// that a repair may end.
pub(crate) fn starved<'a>(
    wal: &CheckpointStarved<'_>,
    finding: &Finding,
    case: &Case<'_>,
) -> Judgement<'a> {
    let parameters = case.parameters;
    let (Some(age_ms), Some(may_be_ended)) = (wal.reader_age_ms, wal.reader_may_be_ended) else {
        return Judgement::fact_missing(finding, "reader_age_ms, reader_may_be_ended");
    };
    let reader = wal.reader_name.unwrap_or("an unknown process");
    let read = format!(
        "{reader} has been reading for {}, threshold {}",
        seconds(age_ms),
        seconds(parameters.reader_age_ms)
    );
    let backlog = wal.backlog_frames.map_or_else(String::new, |frames| {
        format!("; {frames} frames wait for a checkpoint")
    });
    if let Some(times) = wal.reader_holds {
        return Judgement::hiccup(finding.severity, parameters)
            .at_least(EscalationLevel::Watch)
            .because(reason!(
                "wal.reader-habit",
                "{reader} held the log back {times} times lately, and let go each time{backlog}"
            ));
    }
    if age_ms <= parameters.reader_age_ms {
        return Judgement::hiccup(finding.severity, parameters)
            .at_least(EscalationLevel::Watch)
            .because(reason!("wal.reader-too-fresh", "{read}{backlog}"));
    }
    let judgement = Judgement::obstacle(finding.severity, parameters);
    if wal.reader_outside == Some(true) {
        return judgement
            .at_least(EscalationLevel::Warn)
            .because(reason!(
                "wal.reader-outside",
                "{read}, from outside of what dbmedic can see{backlog}"
            ))
            .suggest(suggestions::LOOK_FROM_OUTSIDE);
    }
    if wal.reader_on_purpose == Some(true) {
        return judgement
            .at_least(EscalationLevel::Warn)
            .because(reason!(
                "wal.reader-on-purpose",
                "{read}, on purpose: it is never ended{backlog}"
            ))
            .suggest(suggestions::CHECK_REPLICATOR);
    }
    // A host that does not say so knows of no work.
    let idle_ms = wal.reader_idle_ms.unwrap_or(age_ms);
    if idle_ms <= parameters.reader_age_ms {
        return judgement
            .at_least(EscalationLevel::Warn)
            .because(reason!(
                "wal.reader-works",
                "{read}; it was at work {} ago and is not ended{backlog}",
                seconds(idle_ms)
            ))
            .suggest(suggestions::ASK_HOLDER);
    }
    if !may_be_ended {
        return judgement
            .at_least(EscalationLevel::Warn)
            .because(reason!(
                "wal.reader-not-listed",
                "{read}, but it is not listed among the processes that a repair may end{backlog}"
            ))
            .suggest(suggestions::ASK_HOLDER);
    }
    if wal.reader_stopped == Some(true) && locks::is_gentler_untried(finding, case) {
        return judgement
            .because(reason!(
                "wal.reader-stopped",
                "{read}, and is stopped: let go on before it is ended{backlog}"
            ))
            .wish(locks::GENTLER, MITIGATION_CONFIDENCE);
    }
    judgement
        .because(reason!("wal.starved", "{read}{backlog}"))
        .wish("wal.release-reader", MITIGATION_CONFIDENCE)
}

/// A log that has grown although nobody pins it is checkpointed.
pub(crate) fn oversized<'a>(
    wal: &OversizedWal,
    finding: &Finding,
    parameters: &Parameters,
) -> Judgement<'a> {
    let bytes = wal
        .wal_bytes
        .map_or_else(String::new, |bytes| format!(" to {bytes} bytes"));
    Judgement::obstacle(finding.severity, parameters)
        .because(reason!(
            "wal.oversized",
            "the log has grown{bytes} and no reader pins it"
        ))
        .wish("wal.checkpoint", MITIGATION_CONFIDENCE)
}
