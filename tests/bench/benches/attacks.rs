//! How long each attack holds the host up: past its deadline, and until the next decision of a good
//! policy is there. Bars: deadline and 2 ms, 100 us.
//!
//! `cargo bench -p dbmedic-bench --bench attacks [-- NAME]`
//!
//! An attack that a slow machine holds up longer than the bars is named with OVER; only the median
//! counts, for what the scheduler does to single calls is not the policy's doing. How much that is
//! shows the first row: there nothing is attacked, the host itself is busy until the deadline.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise and tells what it measured"
)]

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use dbmedic::model::Context;
use dbmedic::policy::{Limits, NoTelemetry, Policy, PolicyFailure, Runtime};
use dbmedic::signing::Verified;
use dbmedic_tests::{attacks, context, finding};
use hdrhistogram::Histogram;

const TYPICAL: &[u8] = include_bytes!("../../guests/typical/typical.wasm");
const DEADLINE_MS: u64 = 50;
const ROUNDS: usize = 100;
const PAST_DEADLINE_US: u64 = DEADLINE_MS * 1000 + 2_000;
const NEXT_US: u64 = 100;

fn main() {
    let only: Option<String> = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let limits = Limits {
        deadline_ms: DEADLINE_MS,
        start_deadline_ms: 100,
        ..Limits::default()
    };
    let runtime = Runtime::new(limits).unwrap();
    let good = runtime.load(&Verified::unsigned(TYPICAL), &[]).unwrap();
    println!(
        "{:26} {:>28} {:>28}\n{:26} {:>9} {:>9} {:>8} {:>9} {:>9} {:>8}",
        "deadline 50 ms, us",
        "attack",
        "next decision",
        "",
        "p50",
        "p99",
        "max",
        "p50",
        "p99",
        "max"
    );
    let (ends, nexts) = measure(&good, &mut |deadline| {
        let began = Instant::now();
        while began.elapsed() < deadline {
            spin_loop();
        }
    });
    print_row("(the host, busy)", &ends, &nexts, "");
    let (mut all_ends, mut all_nexts) = (histogram(), histogram());
    for name in attacks::names() {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let bytes = attacks::component(&name);
        let Ok(attack) = runtime.load(&Verified::unsigned(bytes), &[]) else {
            continue;
        };
        let event = finding();
        let context = Context {
            settings: attack.settings().to_vec(),
            ..context(&good)
        };
        let (ends, nexts) = measure(&good, &mut |_| {
            attack.decide(&event, &context, &mut NoTelemetry);
        });
        let over = if ends.value_at_quantile(0.5) > PAST_DEADLINE_US
            || nexts.value_at_quantile(0.5) > NEXT_US
        {
            "OVER"
        } else {
            ""
        };
        print_row(&name, &ends, &nexts, over);
        all_ends.add(&ends).unwrap();
        all_nexts.add(&nexts).unwrap();
    }
    print_row("all", &all_ends, &all_nexts, "");
    let share = |all: &Histogram<u64>, most: u64| all.quantile_below(most) * 100.0;
    println!(
        "{:.2} % ended within {PAST_DEADLINE_US} us, {:.2} % of the next decisions within {NEXT_US} us",
        share(&all_ends, PAST_DEADLINE_US),
        share(&all_nexts, NEXT_US)
    );
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap()
}

/// How long what is done takes, and the decision of the good policy after it.
fn measure(good: &Policy, attack: &mut dyn FnMut(Duration)) -> (Histogram<u64>, Histogram<u64>) {
    let (mut ends, mut nexts) = (histogram(), histogram());
    let event = finding();
    let context = context(good);
    let expected = good.decide(&event, &context, &mut NoTelemetry);
    assert_eq!(expected.failure, None);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        attack(Duration::from_millis(DEADLINE_MS));
        let ended = Instant::now();
        let next = good.decide(&event, &context, &mut NoTelemetry);
        nexts.record(micros(ended)).unwrap();
        ends.record(u64::try_from((ended - began).as_micros()).unwrap())
            .unwrap();
        // On a machine that is busy the clock may cut off a good policy too.
        if !matches!(next.failure, Some(PolicyFailure::Deadline { .. })) {
            assert_eq!(next, expected, "the next decision is right");
        }
    }
    (ends, nexts)
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap()
}

fn print_row(name: &str, ends: &Histogram<u64>, nexts: &Histogram<u64>, over: &str) {
    let cells = |h: &Histogram<u64>| {
        format!(
            "{:>9} {:>9} {:>8}",
            h.value_at_quantile(0.5),
            h.value_at_quantile(0.99),
            h.max()
        )
    };
    println!("{name:26} {} {} {over}", cells(ends), cells(nexts));
}
