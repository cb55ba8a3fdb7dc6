//! What a sample costs: through its baseline and all methods, beside a sort of the same window; and
//! holding one operation against its baseline.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench stops at the first surprise; criterion's macros document nothing"
)]

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dbmedic::detect::{DetectOptions, Detector};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const SECOND_MS: u64 = 1_000;

/// Values around 100, the same in each run.
fn values() -> impl Iterator<Item = f64> {
    let mut rng = StdRng::seed_from_u64(20_261_124);
    std::iter::repeat_with(move || 100.0 + (0..4).map(|_| rng.random_range(-1.0..1.0)).sum::<f64>())
}

/// A detector of one series whose baseline's window is full.
fn full(window: usize) -> Detector {
    let mut detector = Detector::new(DetectOptions {
        window,
        established_after: 30,
    });
    detector.series("p99_latency_ms").unwrap();
    for (value, at) in values().take(window + 1_000).zip(0..) {
        detector.step(at * SECOND_MS, &[Some(value)]);
    }
    detector
}

/// What the sketch in the specification does for each value.
fn sorted_median_and_mad(window: &VecDeque<f64>) -> (f64, f64) {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let median = middle(window.iter().copied().collect());
    let mad = middle(window.iter().map(|v| (v - median).abs()).collect());
    (median, mad)
}

fn one_sample(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one sample");
    for window in [1_000, 10_000] {
        group.bench_function(
            format!("baseline and all methods, window {window}"),
            |bench| {
                let mut detector = full(window);
                let mut values = values();
                let mut at_ms = 20_000 * SECOND_MS;
                bench.iter(|| {
                    at_ms += SECOND_MS;
                    detector.step(at_ms, &[Some(values.next().unwrap())])
                });
            },
        );
        group.bench_function(format!("sorted median and MAD, window {window}"), |bench| {
            let mut values = values();
            let mut held: VecDeque<f64> = values.by_ref().take(window).collect();
            bench.iter(|| {
                held.pop_front();
                held.extend(values.next());
                sorted_median_and_mad(&held)
            });
        });
    }
    group.finish();
}

fn one_operation(criterion: &mut Criterion) {
    let detector = full(10_000);
    let normal = *detector.normal("p99_latency_ms").unwrap();
    let mut values = values();
    let durations: Vec<f64> = values.by_ref().take(1_024).collect();
    let mut next = 0;
    criterion.bench_function("one operation against its baseline", |bench| {
        bench.iter(|| {
            next = (next + 1) % durations.len();
            black_box(&normal).is_anomalous(black_box(durations[next]))
        });
    });
}

criterion_group!(benches, one_sample, one_operation);
criterion_main!(benches);
