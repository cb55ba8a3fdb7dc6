//! Against a model that keeps the values in a list and sorts it for every question.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "small counts; and exact equality is what is tested"
)]

use proptest::prelude::*;

use super::*;
use crate::baseline::{MAX_MAGNITUDE, MAX_POINTS};

struct Model(Vec<f64>);

impl Model {
    fn sorted(&self) -> Vec<f64> {
        sorted(self.0.clone())
    }

    fn median_and_mad(&self) -> (f64, f64) {
        let median = quantile(&self.sorted(), 0.5);
        let distances = self.0.iter().map(|v| (v - median).abs()).collect();
        (median, quantile(&sorted(distances), 0.5))
    }

    /// Two passes over the values, scaled so that no square over- or underflows.
    fn mean_and_stdev(&self) -> (f64, f64) {
        let n = self.0.len() as f64;
        let mean = self.0.iter().map(|v| v / n).sum::<f64>();
        let scale = self.0.iter().map(|v| (v - mean).abs()).fold(0.0, f64::max);
        let squares = self.0.iter().map(|v| ((v - mean) / scale).powi(2));
        let variance = squares.sum::<f64>() / (n - 1.0).max(1.0);
        let spread = if scale > 0.0 {
            scale * variance.sqrt()
        } else {
            0.0
        };
        (mean, spread)
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let position = fraction * (sorted.len() - 1) as f64;
    let low = position.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + position.fract() * (sorted[high] - sorted[low])
}

/// Equal but for rounding, measured against the largest value that is summed; numbers too small for the full
/// precision are zero.
fn near(got: f64, expected: f64, largest: f64) -> bool {
    (got - expected).abs() <= f64::MIN_POSITIVE + 1e-11 * largest.max(expected.abs())
}

/// All answers of the window are those of the model: order statistics to the bit, moments but for rounding.
fn agree(window: &Window, model: &Model) -> Result<(), TestCaseError> {
    let sorted = model.sorted();
    let (median, mad) = model.median_and_mad();
    let all = window.statistics().unwrap();
    prop_assert_eq!(window.iter().collect::<Vec<_>>(), model.0.clone());
    prop_assert_eq!(window.last(), model.0.last().copied());
    prop_assert_eq!(window.len() as usize, model.0.len());
    prop_assert_eq!(all.count, window.len());
    prop_assert_eq!(window.median_and_mad(), Some((median, mad)));
    prop_assert_eq!((window.median(), window.mad()), (Some(median), Some(mad)));
    prop_assert_eq!((all.median, all.mad), (median, mad));
    prop_assert_eq!(Some(all.min), sorted.first().copied());
    prop_assert_eq!(Some(all.max), sorted.last().copied());
    for percent in [
        0.0, 1.0, 5.0, 12.34, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9, 100.0,
    ] {
        let expected = quantile(&sorted, percent / 100.0);
        prop_assert_eq!(window.percentile(percent), Some(expected), "{} %", percent);
    }
    prop_assert_eq!(window.percentiles(&[95.0, 99.0]), Some([all.p95, all.p99]));
    for value in [
        sorted[0],
        median,
        sorted[sorted.len() - 1],
        0.5,
        f64::INFINITY,
    ] {
        let smaller = sorted.iter().filter(|v| **v < value).count();
        let equal = sorted.iter().filter(|v| **v == value).count();
        let rank = window.rank(value);
        prop_assert_eq!(
            (rank.smaller as usize, rank.equal as usize),
            (smaller, equal)
        );
    }
    let largest = all.max.abs().max(all.min.abs());
    let (mean, stdev) = model.mean_and_stdev();
    prop_assert!(near(all.mean, mean, largest), "mean {} {mean}", all.mean);
    prop_assert!(
        near(all.stdev, stdev, largest),
        "stdev {} {stdev}",
        all.stdev
    );
    prop_assert_eq!(window.mean(), Some(all.mean));
    Ok(())
}

/// One kind of series, with what has broken such structures before: ties, runs, steps, magnitudes.
fn series(longest: usize) -> impl Strategy<Value = Vec<f64>> {
    let length = 1..=longest;
    prop_oneof![
        prop::collection::vec(-1e3..1e3, length.clone()),
        prop::collection::vec((-3_i32..=3).prop_map(f64::from), length.clone()),
        length.clone().prop_map(|n| vec![7.25; n]),
        length
            .clone()
            .prop_map(|n| (0..n).map(|i| i as f64).collect()),
        length
            .clone()
            .prop_map(|n| (0..n).map(|i| -(i as f64)).collect()),
        length
            .clone()
            .prop_map(|n| (0..n).map(|i| (i % 300) as f64).collect()),
        prop::collection::vec(
            prop_oneof![
                8 => -1.0..1.0,
                1 => Just(1e150),
                1 => Just(-1e150),
                1 => Just(5e-324),
                1 => Just(-0.0),
                1 => Just(0.0),
            ],
            length.clone()
        ),
        (prop::collection::vec(0.0..1.0, length), 1_usize..100).prop_map(|(mut values, step)| {
            for (i, value) in values.iter_mut().enumerate() {
                *value += (i / step) as f64 * 0.3;
            }
            values
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn short_windows_agree_with_sorting_at_every_value(values in series(150), capacity in 1_u32..60) {
        let mut window = Window::new(capacity);
        let mut model = Model(Vec::new());
        for value in values {
            prop_assert!(window.push(value));
            model.0.push(value);
            if model.0.len() > capacity as usize {
                model.0.remove(0);
            }
            agree(&window, &model)?;
        }
    }

    #[test]
    fn long_windows_agree_with_sorting_now_and_then(values in series(6_000), capacity in 100_u32..3_000) {
        let mut window = Window::new(capacity);
        for (n, value) in values.iter().enumerate() {
            window.push(*value);
            if n % 997 == 0 || n + 1 == values.len() {
                let from = (n + 1).saturating_sub(capacity as usize);
                agree(&window, &Model(values[from..=n].to_vec()))?;
            }
        }
    }

    #[test]
    fn a_restored_window_is_the_same_to_the_bit_and_stays_so(values in series(600), capacity in 1_u32..200, more in series(300)) {
        let mut window = Window::new(capacity);
        for value in values { window.push(value); }
        let saved = serde_json::to_string(&window).unwrap();
        let mut restored: Window = serde_json::from_str(&saved).unwrap();
        prop_assert_eq!(serde_json::to_string(&restored).unwrap(), saved);
        for value in more {
            prop_assert_eq!(restored.statistics(), window.statistics());
            window.push(value);
            restored.push(value);
        }
        prop_assert_eq!(restored.statistics(), window.statistics());
    }
}

#[test]
fn a_huge_value_leaves_no_trace() {
    for capacity in [3, 50, 1_000, MAX_POINTS] {
        let mut window = Window::new(capacity);
        let noise = |i: u32| f64::from(i * 7_919 % 1_000) / 1_000.0;
        window.push(MAX_MAGNITUDE);
        window.push(-1e100);
        (0..capacity).for_each(|i| {
            window.push(noise(i));
        });
        let (mean, stdev) = Model((0..capacity).map(noise).collect()).mean_and_stdev();
        assert!(near(window.mean().unwrap(), mean, 1.0), "{capacity}");
        assert!(near(window.stdev().unwrap(), stdev, 1.0), "{capacity}");
    }
}

#[test]
fn a_small_spread_on_a_large_level_is_seen() {
    let mut window = Window::new(1_000);
    for i in 0..5_000 {
        window.push(1e9 + f64::from(i % 2));
    }
    let expected = 0.25_f64.sqrt() * (1_000.0_f64 / 999.0).sqrt();
    assert!((window.stdev().unwrap() - expected).abs() < 1e-9);
}

#[test]
fn what_is_no_usable_number_changes_nothing() {
    let mut window = Window::new(10);
    window.push(1.0);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e151, -1e151] {
        assert!(!window.push(value), "{value}");
    }
    assert_eq!(window.iter().collect::<Vec<_>>(), [1.0]);
    assert_eq!(
        window.rank(f64::NAN),
        Rank {
            smaller: 0,
            equal: 0
        }
    );
}

#[test]
fn an_empty_window_has_no_statistics() {
    let mut window = Window::new(10);
    window.push(1.0);
    window.clear();
    assert!(window.is_empty());
    assert_eq!(window.statistics(), None);
    assert_eq!((window.median_and_mad(), window.stdev()), (None, None));
    assert_eq!((window.percentile(50.0), window.rank_of(0.0)), (None, None));
}

#[test]
fn a_window_that_cannot_have_been_saved_is_refused() {
    let saved = |capacity, values: &str, oldest, front| {
        let text = format!(
            r#"{{"queue":{{"capacity":{capacity},"values":{values}}},"grouping":{{"oldest":{oldest},"front":{front}}}}}"#
        );
        serde_json::from_str::<Window>(&text).map(|w| w.len()).ok()
    };
    assert_eq!(saved(9, "[1.0,2.0]", 2, 0), Some(2));
    assert_eq!(saved(0, "[]", 0, 0), None);
    assert_eq!(saved(10_001, "[]", 0, 0), None);
    assert_eq!(saved(1, "[1.0,2.0]", 0, 0), None);
    assert_eq!(saved(9, "[1e200]", 0, 0), None);
    assert_eq!(saved(9, "[1.0,2.0]", 3, 0), None);
    assert_eq!(saved(9, "[1.0,2.0]", 0, 4_294_967_295_u32), None);
}

#[test]
fn the_factors_are_those_of_a_normal_distribution() {
    use statrs::distribution::{ContinuousCDF, Normal};
    let quantile = |share| Normal::standard().inverse_cdf(share);
    assert!((MAD_TO_SIGMA * quantile(0.75) - 1.0).abs() < 1e-9);
    assert!((RANGE_90 - (quantile(0.95) - quantile(0.05))).abs() < 1e-9);
}
