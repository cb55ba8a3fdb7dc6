//! Decisions leave nothing behind in memory: a short form of the bench `endurance`, alone in its
//! process.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use dbmedic::policy::{Isolation, Limits, NoTelemetry, Runtime};
use dbmedic::signing::Verified;
use dbmedic_tests::{attacks, context, finding, resident_bytes};

const DEFAULT: &[u8] = include_bytes!("../policies/prebuilt/default.wasm");
const WARM_UP: u32 = 20_000;
const DECISIONS: u32 = 200_000;

#[test]
fn decisions_leave_nothing_behind() {
    let runtime = Runtime::new(Limits {
        deadline_ms: 1_000,
        ..Limits::default()
    })
    .unwrap();
    let fresh = runtime.load(&Verified::unsigned(DEFAULT), &[]).unwrap();
    let reused = fresh.with_isolation(Isolation::Reused { recycle_after: 100 });
    let hostile = attacks::component("trap-decide");
    let hostile = runtime.load(&Verified::unsigned(hostile), &[]).unwrap();
    let event = finding();
    let mut after_warm_up = 0;
    for n in 0..DECISIONS {
        // Failures must leave nothing behind either.
        let policy = match n % 20 {
            0 => &hostile,
            n if n % 2 == 0 => &reused,
            _ => &fresh,
        };
        let decision = policy.decide(&event, &context(policy), &mut NoTelemetry);
        assert_eq!(decision.failure.is_some(), n % 20 == 0, "{decision:?}");
        if n == WARM_UP {
            after_warm_up = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(after_warm_up);
    assert!(grown <= 1 << 20, "grew by {grown} bytes");
}
