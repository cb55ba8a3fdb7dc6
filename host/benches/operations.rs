//! What recording, judging and summing operations costs, beside a thread-local HDR histogram in the
//! same run. The clock is left out.
//!
//! `cargo bench -p dbmedic --bench operations`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use dbmedic::operations::{Ended, Histogram, OperationId, OperationLimits, Recorder, recorder};

const DONE: Ended = Ended::Completed {
    rows: 1,
    bytes: 100,
};

thread_local! {
    /// Three significant digits up to one hour, the usual choice.
    static PEER: RefCell<hdrhistogram::Histogram<u64>> =
        RefCell::new(hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap());
}

/// Durations between 10 µs and 20 ms, the next one cheap to make.
struct Durations(u64);

impl Durations {
    #[inline]
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        10_000 + (self.0 >> 40)
    }
}

fn ours(recorder: &Recorder, id: OperationId, times: u64) {
    let mut durations = Durations(1);
    for _ in 0..times {
        black_box(recorder.record(id, durations.next(), DONE));
    }
}

fn peer(times: u64) {
    let mut durations = Durations(1);
    for _ in 0..times {
        PEER.with_borrow_mut(|histogram| black_box(histogram.record(durations.next()).is_ok()));
    }
}

/// The time that each of two threads at once needs for so many records.
fn two_threads(work: impl Fn(u64) + Sync, times: u64) -> Duration {
    let barrier = Barrier::new(2);
    let run = || {
        work(1000);
        barrier.wait();
        let begun = Instant::now();
        work(times);
        begun.elapsed()
    };
    thread::scope(|scope| {
        let other = scope.spawn(run);
        let mine = run();
        mine.midpoint_with(other.join().unwrap())
    })
}

trait Midpoint {
    fn midpoint_with(self, other: Self) -> Self;
}

impl Midpoint for Duration {
    fn midpoint_with(self, other: Self) -> Self {
        (self + other) / 2
    }
}

fn record(criterion: &mut Criterion) {
    let (recorder, _collector) = recorder(OperationLimits::default());
    let id = recorder.operation("query");
    let mut group = criterion.benchmark_group("record one operation");
    group.bench_function("loop alone", |b| {
        let mut durations = Durations(1);
        b.iter(|| black_box(durations.next()));
    });
    group.bench_function("dbmedic, 1 thread", |b| {
        b.iter_custom(|times| {
            let begun = Instant::now();
            ours(&recorder, id, times);
            begun.elapsed()
        });
    });
    group.bench_function("thread-local hdrhistogram, 1 thread", |b| {
        b.iter_custom(|times| {
            let begun = Instant::now();
            peer(times);
            begun.elapsed()
        });
    });
    group.bench_function("dbmedic, 2 threads", |b| {
        b.iter_custom(|times| two_threads(|times| ours(&recorder, id, times), times));
    });
    group.bench_function("thread-local hdrhistogram, 2 threads", |b| {
        b.iter_custom(|times| two_threads(peer, times));
    });
    group.finish();
}

fn judge(criterion: &mut Criterion) {
    let (recorder, mut collector) = recorder(OperationLimits::default());
    let id = recorder.operation("query");
    for _ in 0..10 {
        ours(&recorder, id, 1000);
        collector.turn(0);
    }
    let mut durations = Durations(1);
    criterion.bench_function("judge one operation", |b| {
        b.iter(|| black_box(recorder.judge(id, durations.next())));
    });
}

fn quantiles(criterion: &mut Criterion) {
    let shares = [0.5, 0.95, 0.99, 0.999];
    let mut group = criterion.benchmark_group("four quantiles of a bucket");
    let mut histogram = Histogram::default();
    let mut peer =
        hdrhistogram::Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
    let mut durations = Durations(1);
    for _ in 0..100_000 {
        let duration = durations.next();
        histogram.record(duration);
        peer.record(duration).unwrap();
    }
    group.bench_function("dbmedic", |b| {
        b.iter(|| black_box(&histogram).quantiles(shares));
    });
    group.bench_function("hdrhistogram", |b| {
        b.iter(|| shares.map(|share| black_box(&peer).value_at_quantile(share)));
    });
    group.finish();
}

fn turn(criterion: &mut Criterion) {
    let (recorder, mut collector) = recorder(OperationLimits::default());
    let id = recorder.operation("query");
    thread::scope(|scope| {
        scope.spawn(|| ours(&recorder, id, 1000));
    });
    criterion.bench_function("turn a bucket of one operation", |b| {
        b.iter(|| {
            ours(&recorder, id, 1);
            black_box(collector.turn(0))
        });
    });
}

fn guarded(criterion: &mut Criterion) {
    let (recorder, _collector) = recorder(OperationLimits::default());
    let id = recorder.operation("query");
    criterion.bench_function("start and complete, two readings of the clock", |b| {
        b.iter(|| black_box(recorder.start(id).complete(1, 100)));
    });
}

criterion_group!(benches, record, judge, quantiles, turn, guarded);
criterion_main!(benches);
