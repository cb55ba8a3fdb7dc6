//! Ten million decisions, and what they leave in memory: after the first 100,000 the process may
//! grow by 1 MiB at most.
//!
//! `cargo bench -p dbmedic-bench --bench endurance [-- DECISIONS]`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise and tells what it measured"
)]

use std::time::Instant;

use dbmedic::model::PolicyEvent;
use dbmedic::policy::{Isolation, Limits, NoTelemetry, Policy, Runtime};
use dbmedic::signing::Verified;
use dbmedic_tests::{context, finding, resident_bytes};

const TYPICAL: &[u8] = include_bytes!("../../guests/typical/typical.wasm");
const WARM_UP: u64 = 100_000;
const MOST_BYTES: u64 = 1 << 20;

fn main() {
    let decisions: u64 = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(10_000_000);
    let runtime = Runtime::new(Limits::default()).unwrap();
    let fresh = runtime.load(&Verified::unsigned(TYPICAL), &[]).unwrap();
    let reused = fresh.with_isolation(Isolation::Reused {
        recycle_after: 1_000,
    });
    let event = finding();
    for (name, policy) in [("fresh", &fresh), ("reused", &reused)] {
        let grown = run(name, policy, &event, decisions);
        assert!(grown <= MOST_BYTES, "{name}: grew by {grown} bytes");
    }
}

/// How much the process grew after the warm-up, bytes.
fn run(name: &str, policy: &Policy, event: &PolicyEvent, decisions: u64) -> u64 {
    let mut context = context(policy);
    let began = Instant::now();
    let mut after_warm_up = 0;
    for n in 1..=decisions {
        let decision = policy.decide(event, &context, &mut NoTelemetry);
        assert_eq!(decision.failure, None, "decision {n}");
        context.memory = decision.verdict.memory;
        if n == WARM_UP {
            after_warm_up = resident_bytes();
        }
        if n.is_multiple_of(decisions / 10) {
            println!(
                "{name}: {n} decisions, {} KiB resident",
                resident_bytes() >> 10
            );
        }
    }
    let grown = resident_bytes().saturating_sub(after_warm_up);
    println!(
        "{name}: {decisions} decisions in {:.1} s, grew by {} KiB after the first {WARM_UP}; \
         at most {} KiB",
        began.elapsed().as_secs_f64(),
        grown >> 10,
        MOST_BYTES >> 10
    );
    grown
}
