//! Reads what a policy may use, how a candidate has to prove itself, and when a policy is taken out of
//! service. What a section does not say is as in the one that is handed over.

use super::read::{DAY, HOUR, MINUTE, SECOND};
use crate::document::Section;
use crate::gate::{ProbationSettings, ShadowSettings};
use crate::policy::{BreakerOptions, Isolation, Limits};

pub(super) fn shadow(section: &mut Section<'_, '_>, default: &ShadowSettings) -> ShadowSettings {
    let promote = [("auto", true), ("manual", false)];
    ShadowSettings {
        decisions: section.whole("decisions", default.decisions, 0..=1_000_000, 10..=10_000),
        time_ms: section.whole("time_ms", default.time_ms, SECOND..=30 * DAY, MINUTE..=DAY),
        promote_by_itself: section.choice("promote", default.promote_by_itself, &promote),
        difference_percent: section.number(
            "difference_percent",
            default.difference_percent,
            0.0..=100.0,
            0.0..=50.0,
        ),
        failures: section.whole("failures", default.failures, 0..=1_000_000, 0..=10),
    }
}

pub(super) fn probation(
    section: &mut Section<'_, '_>,
    default: &ProbationSettings,
) -> ProbationSettings {
    ProbationSettings {
        decisions: section.whole("decisions", default.decisions, 1..=1_000_000, 10..=100_000),
        time_ms: section.whole(
            "time_ms",
            default.time_ms,
            SECOND..=30 * DAY,
            MINUTE..=7 * DAY,
        ),
        failures: section.whole("failures", default.failures, 1..=1000, 1..=10),
        slow_ms: section.whole("slow_ms", default.slow_ms, 1..=10_000, 2..=1000),
        slow_decisions: section.whole("slow_decisions", default.slow_decisions, 1..=1000, 1..=100),
    }
}

pub(super) fn isolation(section: &mut Section<'_, '_>, inherited: Isolation) -> Isolation {
    let recycled = match inherited {
        Isolation::Fresh => 1000,
        Isolation::Reused { recycle_after } => recycle_after,
    };
    let recycle_after = section.whole("recycle_after", recycled, 1..=1_000_000_000, 10..=1_000_000);
    let reused = Isolation::Reused { recycle_after };
    let default = match inherited {
        Isolation::Fresh => Isolation::Fresh,
        Isolation::Reused { .. } => reused,
    };
    section.choice(
        "isolation",
        default,
        &[("fresh", Isolation::Fresh), ("reused", reused)],
    )
}

pub(super) fn breaker(section: &mut Section<'_, '_>, default: &BreakerOptions) -> BreakerOptions {
    let breaker = BreakerOptions {
        failures_in_a_row: section.whole(
            "failures_in_a_row",
            default.failures_in_a_row,
            1..=100,
            2..=10,
        ),
        rate_decisions: section.whole(
            "rate_decisions",
            default.rate_decisions,
            10..=1000,
            20..=200,
        ),
        rate_percent: section.number(
            "rate_percent",
            default.rate_percent,
            1.0..=100.0,
            5.0..=50.0,
        ),
        backoff_ms: section.whole(
            "backoff_ms",
            default.backoff_ms,
            SECOND..=DAY,
            10 * SECOND..=HOUR,
        ),
        backoff_max_ms: section.whole(
            "backoff_max_ms",
            default.backoff_max_ms,
            SECOND..=30 * DAY,
            MINUTE..=DAY,
        ),
    };
    if breaker.backoff_max_ms < breaker.backoff_ms {
        section.error(
            if section.has("backoff_max_ms") {
                "backoff_max_ms"
            } else {
                "backoff_ms"
            },
            format!(
                "`backoff_max_ms` is below `backoff_ms` ({})",
                breaker.backoff_ms
            ),
            "the wait begins with `backoff_ms` and doubles up to `backoff_max_ms`",
        );
    }
    breaker
}

/// The decision that counts, one of a candidate in the shadow, and a candidate that is prepared: with
/// fewer, the first would find none free.
const LEAST_INSTANCES: u32 = 3;

/// Within the bounds that the runtime holds itself, and closer where a person may slip.
pub(super) fn policy_limits(section: &mut Section<'_, '_>, default: &Limits) -> Limits {
    let is_counted = section.has("fuel") || default.fuel.is_some();
    let fuel = section.whole(
        "fuel",
        default.fuel.unwrap_or(10_000_000),
        10_000..=u64::MAX,
        1_000_000..=1_000_000_000,
    );
    Limits {
        isolation: default.isolation,
        deadline_ms: section.whole("deadline_ms", default.deadline_ms, 1..=10_000, 5..=1000),
        start_deadline_ms: section.whole(
            "start_deadline_ms",
            default.start_deadline_ms,
            1..=60_000,
            100..=10_000,
        ),
        memory_mib: section.whole("memory_mib", default.memory_mib, 1..=1024, 1..=256),
        max_instances: section.whole(
            "max_instances",
            default.max_instances,
            LEAST_INSTANCES..=1000,
            LEAST_INSTANCES..=64,
        ),
        core_instances: section.whole("core_instances", default.core_instances, 1..=1000, 1..=100),
        memories: section.whole("memories", default.memories, 1..=16, 1..=16),
        tables: section.whole("tables", default.tables, 1..=100, 1..=100),
        table_elements: section.whole(
            "table_elements",
            default.table_elements,
            1..=1_000_000,
            1000..=100_000,
        ),
        stack_kib: section.whole("stack_kib", default.stack_kib, 16..=1024, 64..=1024),
        hostcall_fuel: section.whole(
            "hostcall_fuel",
            default.hostcall_fuel,
            1 << 16..=1 << 30,
            1 << 18..=1 << 26,
        ),
        fuel: is_counted.then_some(fuel),
        component_mib: section.whole("component_mib", default.component_mib, 1..=1024, 1..=256),
    }
}
