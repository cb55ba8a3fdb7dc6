//! The memory that the statistics of a series hold, and all that detection keeps of it, in bytes of the heap. In a
//! binary of its own: what other tests allocate meanwhile would be counted too.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use dbmedic::baseline::{MAX_POINTS, Window};
use dbmedic::detect::{DetectOptions, Detector};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const KIB: usize = 1024;

type Series = (&'static str, fn(u32) -> f64);

/// Series that leave the sorted values packed in different ways.
fn series() -> [Series; 5] {
    [
        ("scattered", |i| f64::from(i.wrapping_mul(2_654_435_769))),
        ("rising", f64::from),
        ("falling", |i| -f64::from(i)),
        ("constant", |_| 7.0),
        // Every second value stays where it was while the others move away: holes everywhere.
        ("parting", |i| {
            f64::from(i % 10_000)
                + if i % 2 == 0 {
                    f64::from(i / 10_000) * 1e4
                } else {
                    0.0
                }
        }),
    ]
}

/// All in one test: the heap is one.
#[test]
fn a_window_holds_no_more_than_it_may() {
    for (name, value) in series() {
        let before = HEAP.current_usage();
        let mut window = Window::new(MAX_POINTS);
        let mut most = 0;
        for i in 0..100_000 {
            window.push(value(i));
            most = most.max(HEAP.current_usage() - before);
        }
        let held = HEAP.current_usage() - before;
        println!("{name}: {held} bytes held, {most} at most");
        assert!(most + size_of::<Window>() <= 256 * KIB, "{name}: {most}");
    }

    // A thousandth of 100,000 series in 2 GiB: 20 KiB each, of which the statistics may take a tenth.
    let before = HEAP.current_usage();
    let windows: Vec<Window> = (0..100)
        .map(|n| {
            let mut window = Window::new(if n % 2 == 0 { 64 } else { MAX_POINTS });
            (0..64).for_each(|i| {
                window.push(f64::from((i * 37 + n) % 64));
            });
            window
        })
        .collect();
    let each = (HEAP.current_usage() - before) / windows.len();
    println!("short: {each} bytes each");
    assert!(each <= 2 * KIB, "{each}");

    let before = HEAP.current_usage();
    let windows: Vec<Window> = (0..1000).map(|_| Window::new(MAX_POINTS)).collect();
    let each = (HEAP.current_usage() - before) / windows.len();
    assert!(each <= size_of::<Window>() + 16, "{each}");

    // All that detection keeps, after eight days, so that the hours of the day and the week count too.
    let each = detector(MAX_POINTS as usize, 1, |drawn| 1e9 + f64::from(drawn));
    println!("a series with a full window: {each} bytes");
    assert!(each <= 256 * KIB, "{each}");
    // Of both signs and of twenty octaves.
    let each = detector(64, 20, |drawn| {
        let sign = if drawn.is_multiple_of(2) { 1.0 } else { -1.0 };
        sign * (f64::from(drawn) / f64::from(u32::MAX) * 20.0).exp2()
    });
    println!("a series with a short window: {each} bytes");
    // 100,000 of them in 2 GiB.
    assert!(each <= 2 * KIB * KIB * KIB / 100_000, "{each}");
}

/// The bytes that a detector holds for each of its series after eight days of minutes, no two values alike.
fn detector(window: usize, series: u32, value: fn(u32) -> f64) -> usize {
    let before = HEAP.current_usage();
    let mut detector = Detector::new(DetectOptions {
        window,
        established_after: 30,
    });
    for nth in 0..series {
        detector.series(&format!("series_{nth}")).unwrap();
    }
    for row in 0..12_000 {
        let drawn = (0..series).map(|nth| (row * series + nth).wrapping_mul(2_654_435_769));
        let values: Vec<_> = drawn.map(|drawn| Some(value(drawn))).collect();
        detector.step(u64::from(row) * 60_000, &values);
    }
    (HEAP.current_usage() - before) / series as usize
}
