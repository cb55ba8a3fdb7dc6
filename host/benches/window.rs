//! What a sample costs the statistics of its series, beside a window that is sorted for each sample.
//!
//! `cargo bench -p dbmedic --bench window`. After criterion's figures come two tables: the same work measured in
//! turns, so that a busy machine slows both sides alike, with the ratio; and the bytes that a window holds.

#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a benchmark prints what it found"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group};
use dbmedic::baseline::Window;
use peak_alloc::PeakAlloc;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const LENGTHS: [u32; 2] = [1_000, 10_000];

/// A daily wave with noise and, now and then, a value far out.
fn series() -> impl Iterator<Item = f64> {
    let mut random = StdRng::seed_from_u64(7);
    (0_u32..).map(move |minute| {
        let wave = (f64::from(minute) / 1_440.0 * std::f64::consts::TAU).sin();
        let noise: f64 = (0..4).map(|_| random.random::<f64>()).sum();
        let far = if random.random_bool(0.001) { 50.0 } else { 1.0 };
        (100.0 + 30.0 * wave + 10.0 * noise) * far
    })
}

/// The plain way: the last values, sorted for each question.
struct Sorted {
    values: VecDeque<f64>,
    scratch: Vec<f64>,
}

impl Sorted {
    fn push(&mut self, value: f64) {
        self.values.pop_front();
        self.values.push_back(value);
    }

    fn median_and_mad(&mut self) -> (f64, f64) {
        self.scratch.clear();
        self.scratch.extend(&self.values);
        let median = middle(&mut self.scratch);
        for value in &mut self.scratch {
            *value = (*value - median).abs();
        }
        (median, middle(&mut self.scratch))
    }
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        values[half - 1].midpoint(values[half])
    }
}

/// Both over the same full window, and the samples that come next.
fn full(length: u32) -> (Window, Sorted, Vec<f64>) {
    let mut samples = series();
    let mut window = Window::new(length);
    // Past the first layout: a window that has been in use for long.
    for value in samples.by_ref().take(50_000) {
        window.push(value);
    }
    let sorted = Sorted {
        values: window.iter().collect(),
        scratch: Vec::new(),
    };
    (window, sorted, samples.take(1 << 17).collect())
}

fn sample(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sample: push, median, MAD");
    for length in LENGTHS {
        let (mut window, mut sorted, samples) = full(length);
        let mut next = samples.iter().copied().cycle();
        group.bench_function(BenchmarkId::new("sliding", length), |bencher| {
            bencher.iter(|| {
                window.push(next.next().unwrap_or_default());
                window.median_and_mad()
            });
        });
        group.sample_size(20);
        group.bench_function(BenchmarkId::new("sorted", length), |bencher| {
            bencher.iter(|| {
                sorted.push(next.next().unwrap_or_default());
                sorted.median_and_mad()
            });
        });
    }
    group.finish();
}

fn statistics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sample: push, all statistics");
    for length in LENGTHS {
        let (mut window, _, samples) = full(length);
        let mut next = samples.iter().copied().cycle();
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| {
                window.push(next.next().unwrap_or_default());
                window.statistics()
            });
        });
    }
    group.finish();
}

fn calls(criterion: &mut Criterion) {
    for length in LENGTHS {
        let mut group = criterion.benchmark_group(format!("call/{length}"));
        let (mut window, _, samples) = full(length);
        let mut next = samples.iter().copied().cycle();
        group.bench_function("push", |bencher| {
            bencher.iter(|| window.push(next.next().unwrap_or_default()));
        });
        group.bench_function("median", |bencher| {
            bencher.iter(|| black_box(&window).median());
        });
        group.bench_function("median_and_mad", |bencher| {
            bencher.iter(|| black_box(&window).median_and_mad());
        });
        group.bench_function("percentiles of 4", |bencher| {
            bencher.iter(|| black_box(&window).percentiles(black_box(&[5.0, 50.0, 95.0, 99.0])));
        });
        group.bench_function("rank", |bencher| {
            bencher.iter(|| black_box(&window).rank(next.next().unwrap_or_default()));
        });
        group.bench_function("stdev", |bencher| {
            bencher.iter(|| black_box(&window).stdev());
        });
        group.finish();
    }
}

/// Nanoseconds a sample, the median of rounds of which each measures both sides.
fn side_by_side() {
    const ROUNDS: u32 = 41;
    const SLIDING: u32 = 20_000;
    const SORTED: u32 = 40;
    println!("\npush, median and MAD, side by side (median of {ROUNDS} rounds, ns a sample)");
    println!(
        "{:>8} {:>10} {:>12} {:>8}",
        "length", "sliding", "sorted", "ratio"
    );
    let mut at_length = Vec::new();
    for length in LENGTHS {
        let (mut window, mut sorted, samples) = full(length);
        let mut next = samples.iter().copied().cycle();
        let (mut sliding_ns, mut sorted_ns) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            sliding_ns.push(each(SLIDING, || {
                window.push(next.next().unwrap_or_default());
                black_box(window.median_and_mad());
            }));
            sorted_ns.push(each(SORTED, || {
                sorted.push(next.next().unwrap_or_default());
                black_box(sorted.median_and_mad());
            }));
        }
        let (sliding, plain) = (middle(&mut sliding_ns), middle(&mut sorted_ns));
        println!(
            "{length:>8} {sliding:>10.0} {plain:>12.0} {:>7.0}x",
            plain / sliding
        );
        at_length.push(sliding);
    }
    println!(
        "ten times the length costs {:.2} times as much",
        at_length[1] / at_length[0]
    );
}

fn each(times: u32, mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    (0..times).for_each(|_| work());
    began.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

/// Heap and own size of a window that has been in use for long.
fn memory() {
    println!("\n{:>8} {:>8} {:>12}", "length", "held", "bytes");
    for (length, held) in [(64, 64), (10_000, 64), (1_000, 1_000), (10_000, 10_000)] {
        let before = HEAP.current_usage();
        let mut window = Window::new(length);
        for value in series().take(if held == length { 50_000 } else { held } as usize) {
            window.push(value);
        }
        let bytes = HEAP.current_usage() - before + size_of::<Window>();
        println!("{length:>8} {held:>8} {bytes:>12}");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1)).sample_size(50);
    targets = sample, statistics, calls
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    side_by_side();
    memory();
}
