use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

const MS: u64 = 1_000_000;
const DONE: Ended = Ended::Completed { rows: 2, bytes: 10 };

fn limits(names: usize, threads: usize) -> OperationLimits {
    OperationLimits {
        names,
        threads,
        ..OperationLimits::default()
    }
}

fn of<'a>(bucket: &'a Bucket, name: &str) -> &'a OperationBucket {
    let mut found = bucket.operations.iter();
    found.find(|operation| operation.name == name).unwrap()
}

fn sampled(bucket: &Bucket) -> BTreeMap<String, f64> {
    let samples = bucket.samples().into_iter();
    samples
        .map(|sample| (sample.series, sample.value))
        .collect()
}

#[test]
fn a_bucket_tells_what_was_recorded_in_it() {
    let (recorder, mut collector) = recorder(limits(8, 8));
    let (query, write) = (recorder.operation("query"), recorder.operation("write"));
    collector.begin(0);
    for n in 1..=100 {
        recorder.record(query, n * MS, DONE);
    }
    recorder.record(write, 7 * MS, Ended::Failed(ErrorKind::Busy));
    recorder.record(write, 9 * MS, DONE);
    recorder.record(write, 0, Ended::Abandoned);
    let bucket = collector.turn(10_000);
    let samples = sampled(&bucket);
    for (series, expected) in [
        ("query.min_ms", 1.0),
        ("query.max_ms", 100.0),
        ("query.ops_per_s", 10.0),
        ("query.rows_per_s", 20.0),
        ("query.bytes_per_s", 100.0),
        ("query.error_rate_percent", 0.0),
        ("write.error_rate_percent", 200.0 / 3.0),
        ("write.max_ms", 9.0),
        ("ops_per_s", 10.3),
        ("error_rate_percent", 200.0 / 103.0),
        ("errors_busy_per_s", 0.1),
        ("concurrent_transaction_count", 0.0),
        ("mean_concurrency", 5.066 / 10.0),
    ] {
        let found = samples[series];
        assert!(
            (found - expected).abs() < 1e-9,
            "{series}: {found}, expected {expected}"
        );
    }
    for (series, expected) in [
        ("query.p50_ms", 50.0),
        ("query.p95_ms", 95.0),
        ("p99_latency_ms", 99.0),
    ] {
        let found = samples[series];
        assert!(
            (found - expected).abs() * 64.0 <= expected + 1.0,
            "{series}: {found}, expected {expected}"
        );
    }
}

#[test]
fn the_next_bucket_begins_empty_and_with_extremes_of_its_own() {
    let (recorder, mut collector) = recorder(limits(8, 8));
    let query = recorder.operation("query");
    collector.begin(0);
    recorder.record(query, 1, DONE);
    recorder.record(query, 500 * MS, DONE);
    collector.turn(10_000);
    recorder.record(query, 20 * MS + 1, DONE);
    recorder.record(query, 30 * MS + 7, DONE);
    let second = collector.turn(20_000);
    assert_eq!(of(&second, "query").durations.min_ns(), Some(20 * MS + 1));
    assert_eq!(of(&second, "query").durations.max_ns(), Some(30 * MS + 7));
    assert_eq!(of(&second, "query").rows, 4);
    let third = collector.turn(30_000);
    assert_eq!(of(&third, "query").durations.count(), 0);
    let samples = sampled(&third);
    assert_eq!(samples.get("query.p99_ms"), None);
    assert_eq!(samples["query.ops_per_s"].to_bits(), 0.0_f64.to_bits());
}

#[test]
fn names_beyond_the_bound_are_counted_together() {
    let (recorder, mut collector) = recorder(limits(2, 8));
    let ids: Vec<_> = (0..50)
        .map(|n| recorder.operation(&format!("op{n}")))
        .collect();
    assert_eq!(recorder.operation("op0"), ids[0]);
    assert_ne!(ids[0], ids[1]);
    assert!(ids[2..].iter().all(|id| *id == OperationId::OTHER));
    for id in ids {
        recorder.record(id, MS, DONE);
    }
    let bucket = collector.turn(0);
    assert_eq!(bucket.names_refused, 48);
    assert_eq!(of(&bucket, OTHER).durations.count(), 48);
    assert_eq!(bucket.durations.count(), 50);
    assert_eq!(collector.turn(0).names_refused, 0);
}

#[test]
fn a_name_has_no_dot_and_no_blank() {
    let (recorder, mut collector) = recorder(limits(8, 8));
    let id = recorder.operation("a.b c\u{e9}");
    recorder.record(id, MS, DONE);
    assert_eq!(collector.turn(0).operations[0].name, "a_b_c__");
    assert_eq!(recorder.operation(""), OperationId::OTHER);
    assert_eq!(recorder.operation("other"), OperationId::OTHER);
    let long = "x".repeat(1000);
    assert_eq!(recorder.operation(&long), recorder.operation(&long[..48]));
}

#[test]
fn what_is_under_way_and_what_waits_is_counted_until_it_ends() {
    let (recorder, mut collector) = recorder(limits(8, 8));
    let query = recorder.operation("query");
    let first = recorder.start(query);
    let second = recorder.start(query);
    let waiting = recorder.wait(query);
    let given_up = recorder.wait(query);
    assert_eq!((recorder.running(), recorder.waiting()), (2, 2));
    drop(given_up);
    let third = waiting.start();
    assert_eq!((recorder.running(), recorder.waiting()), (3, 0));
    first.complete(1, 1);
    second.error(ErrorKind::Io);
    let bucket = collector.turn(0);
    assert_eq!((bucket.running, of(&bucket, "query").running), (1, 1));
    drop(third);
    let bucket = collector.turn(0);
    assert_eq!((bucket.running, of(&bucket, "query").abandoned), (0, 1));
}

#[test]
fn an_operation_may_end_in_another_thread() {
    let (recorder, mut collector) = recorder(limits(8, 8));
    let query = recorder.operation("query");
    let running = recorder.start(query);
    thread::scope(|scope| {
        scope.spawn(move || running.complete(1, 1));
    });
    assert_eq!(recorder.running(), 0);
    assert_eq!(collector.turn(0).durations.count(), 1);
}

#[test]
fn a_single_operation_is_judged_once_normal_is_known() {
    let (recorder, mut collector) = recorder(OperationLimits {
        established_after: 3,
        ..limits(8, 8)
    });
    let query = recorder.operation("query");
    for _ in 0..3 {
        assert_eq!(recorder.record(query, 10 * MS, DONE), Judgement::Unknown);
        collector.turn(0);
    }
    assert_eq!(recorder.judge(query, 20 * MS), Judgement::Normal);
    let Judgement::Slow { limit_ns } = recorder.record(query, 21 * MS, DONE) else {
        panic!("not slow");
    };
    assert!(limit_ns.abs_diff(20 * MS) <= 20 * MS / 64, "{limit_ns}");
    let bucket = collector.turn(0);
    assert_eq!(of(&bucket, "query").slow, 1);
    // One bad bucket does not move what is normal.
    assert!(matches!(
        recorder.judge(query, 21 * MS),
        Judgement::Slow { .. }
    ));
}

#[test]
fn threads_beyond_the_bound_share_counters_and_lose_nothing() {
    let (recorder, mut collector) = recorder(limits(8, 1));
    let query = recorder.operation("query");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    recorder.record(query, MS, DONE);
                }
            });
        }
    });
    let bucket = collector.turn(0);
    assert_eq!(bucket.durations.count(), 40_000);
    assert_eq!(of(&bucket, "query").rows, 80_000);
}

/// Threads come and go while buckets turn: every record is in exactly one bucket.
#[test]
fn nothing_is_lost_or_counted_twice_when_buckets_turn_and_threads_end() {
    const THREADS: u64 = 12;
    const EACH: u64 = 20_000;
    let (recorder, mut collector) = recorder(limits(4, 5));
    let ids = ["read", "write", "scan"].map(|name| recorder.operation(name));
    let over = AtomicBool::new(false);
    let mut buckets = thread::scope(|scope| {
        let (recorder, over) = (&recorder, &over);
        let turner = scope.spawn(move || {
            let mut buckets = Vec::new();
            while !over.load(Ordering::Relaxed) {
                buckets.push(collector.turn(0));
            }
            (collector, buckets)
        });
        // Three waves, so that threads end and their places are taken by new ones meanwhile.
        for _ in 0..3 {
            let wave: Vec<_> = (0..THREADS / 3)
                .map(|_| {
                    thread::spawn({
                        let recorder = recorder.clone();
                        move || {
                            for n in 0..EACH {
                                let id = ids[usize::try_from(n % 3).unwrap()];
                                recorder.record(id, n, DONE);
                                if n % 100 == 0 {
                                    recorder.start(id).complete(0, 0);
                                }
                            }
                        }
                    })
                })
                .collect();
            for thread in wave {
                thread.join().unwrap();
            }
        }
        over.store(true, Ordering::Relaxed);
        let (mut collector, mut buckets) = turner.join().unwrap();
        buckets.push(collector.turn(0));
        buckets.push(collector.turn(0));
        buckets
    });
    let last = buckets.pop().unwrap();
    assert_eq!(
        (last.durations.count(), last.running),
        (0, 0),
        "something came late"
    );
    let operations = || buckets.iter().flat_map(|bucket| &bucket.operations);
    let extra = EACH / 100;
    assert_eq!(
        operations().map(|o| o.durations.count()).sum::<u64>(),
        THREADS * (EACH + extra)
    );
    assert_eq!(
        operations().map(|o| o.rows).sum::<u64>(),
        THREADS * EACH * 2
    );
    assert_eq!(
        operations().map(|o| o.bytes).sum::<u64>(),
        THREADS * EACH * 10
    );
    assert!(
        buckets.len() > 3,
        "the buckets did not turn while threads recorded"
    );
    for operation in operations().filter(|o| o.durations.count() > 0) {
        let (min, max) = (operation.durations.min_ns(), operation.durations.max_ns());
        assert!(min <= max);
    }
}

#[test]
fn two_recorders_in_one_thread_do_not_mix() {
    let (one, mut of_one) = recorder(limits(8, 8));
    let (two, mut of_two) = recorder(limits(1, 8));
    let (a, b) = (one.operation("a"), one.operation("b"));
    one.record(b, MS, DONE);
    two.record(two.operation("a"), MS, DONE);
    // The handle of another recorder, beyond what this one has.
    two.record(b, MS, DONE);
    one.record(a, MS, DONE);
    assert_eq!(of_one.turn(0).durations.count(), 2);
    let bucket = of_two.turn(0);
    assert_eq!(of(&bucket, OTHER).durations.count(), 1);
    assert_eq!(of(&bucket, "a").durations.count(), 1);
}
