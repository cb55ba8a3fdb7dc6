//! Who must know: the level rises at once and returns step by step (specification 5.2).

use dbmedic_policy::{Classification, EscalationLevel, OpenIncident, reason, seconds};

use crate::{Case, Memory, judgement::Judgement};

use EscalationLevel::{Escalate, Normal, Warn, Watch};

/// The level from now on: what the event calls for, or one step below the present level when that
/// has been quiet for long enough and no open incident forbids it.
///
/// The specification measures the time since the level was entered, although it says "no new
/// evidence"; here the time runs from the last evidence for that level or a higher one. It also
/// never leaves level escalate by itself; here it goes to warn after the same time as warn goes to
/// watch, but only when no incident at all is open. A person sees that in the log and in the report.
pub(crate) fn settle(
    judgement: &mut Judgement<'_>,
    case: &Case<'_>,
    memory: &mut Memory,
) -> EscalationLevel {
    let now_ms = case.now_ms();
    let present = case.context.level;
    memory.saw(judgement.level, now_ms);
    if judgement.level >= present {
        return judgement.level;
    }
    let (below, after_ms) = match present {
        Normal => return Normal,
        Watch => (Normal, case.parameters.watch_return_ms),
        Warn => (Watch, case.parameters.warn_return_ms),
        Escalate => (Warn, case.parameters.warn_return_ms),
    };
    let since_ms = case
        .context
        .level_since_ms
        .max(memory.last_seen_ms(present));
    let quiet_ms = now_ms.saturating_sub(since_ms);
    if quiet_ms <= after_ms {
        return present;
    }
    if let Some(open) = case
        .context
        .incidents
        .iter()
        .find(|open| keeps(open, present, judgement, case))
    {
        judgement.reasons.push(reason!(
            "level.held",
            "quiet for {}, but {} on {} is open",
            seconds(quiet_ms),
            open.kind,
            open.subject
        ));
        return present;
    }
    judgement.reasons.push(reason!(
        "level.returns",
        "no new evidence for {}, threshold {}: from {} to {}",
        seconds(quiet_ms),
        seconds(after_ms),
        name(present),
        name(below)
    ));
    below.max(judgement.level)
}

/// Whether an open incident keeps the level where it is.
fn keeps(
    open: &OpenIncident,
    present: EscalationLevel,
    judgement: &Judgement<'_>,
    case: &Case<'_>,
) -> bool {
    if present == Escalate {
        return true;
    }
    let own = case
        .finding()
        .is_some_and(|finding| finding.incident == open.id);
    let class = if own {
        judgement.class
    } else {
        open.classification
    };
    let gravity = match class {
        Some(Classification::Hiccup) => Watch,
        // What nobody has classified might be anything that is not worth a call yet.
        Some(Classification::Obstacle) | None => Warn,
        Some(Classification::Wall | Classification::Crisis) => Escalate,
    };
    gravity >= present
}

const fn name(level: EscalationLevel) -> &'static str {
    match level {
        Normal => "normal",
        Watch => "watch",
        Warn => "warn",
        Escalate => "escalate",
    }
}
