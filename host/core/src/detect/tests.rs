use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;
use normal::ACCEPT_AFTER;

const SEED: u64 = 20_261_124;
const MINUTE_MS: u64 = 60_000;

fn detector(series: usize) -> Detector {
    let mut detector = Detector::new(DetectOptions {
        window: 1000,
        established_after: 30,
    });
    for id in 0..series {
        detector.series(&format!("series_{id}")).unwrap();
    }
    detector
}

/// Steady noise around 100 for each of the series.
fn noise(rng: &mut StdRng, series: usize) -> Vec<Option<f64>> {
    (0..series)
        .map(|_| Some(100.0 + (0..4).map(|_| rng.random_range(-1.0..1.0)).sum::<f64>()))
        .collect()
}

/// A detector that has seen `rows` rows of noise, a minute apart, and the source of more.
fn learned(series: usize, rows: u64) -> (Detector, StdRng) {
    let (mut detector, mut rng) = (detector(series), StdRng::seed_from_u64(SEED));
    for row in 0..rows {
        detector.step(row * MINUTE_MS, &noise(&mut rng, series));
    }
    (detector, rng)
}

#[test]
fn nothing_is_anomalous_before_there_is_enough_to_judge_by() {
    let (mut detector, _) = learned(1, 40);
    let judged = detector.step(40 * MINUTE_MS, &[Some(1e6)]);
    assert_eq!((judged.alarm, judged.established), (false, false));
    let (mut detector, _) = learned(1, 100);
    assert!(detector.step(100 * MINUTE_MS, &[Some(1e6)]).established);
}

#[test]
fn four_and_forty_deviations_do_not_look_alike() {
    let score = |value| {
        let (mut detector, _) = learned(1, 1000);
        detector.step(1000 * MINUTE_MS, &[Some(value)]).score
    };
    let (usual, near, far) = (score(101.0), score(106.0), score(160.0));
    assert!(
        usual < near && near < far && far < 1.0,
        "{usual} {near} {far}"
    );
}

#[test]
fn several_series_that_shift_together_are_one_anomaly_with_one_onset() {
    let (mut detector, mut rng) = learned(10, 500);
    let (mut alarms, mut onsets) = (0, Vec::new());
    for row in 500..540 {
        let mut values = noise(&mut rng, 10);
        if (510..530).contains(&row) {
            for value in values[3..8].iter_mut().flatten() {
                *value += 40.0;
            }
        }
        let judged = detector.step(row * MINUTE_MS, &values);
        alarms += usize::from(judged.alarm);
        if judged.onset {
            let anomaly = judged.anomaly.unwrap();
            let mut carriers = anomaly.series.clone();
            carriers.sort();
            let expected: Vec<_> = (3..8).map(|id| format!("series_{id}")).collect();
            assert_eq!(carriers, expected);
            assert!(anomaly.confidence > 0.8, "{anomaly:?}");
            assert!(anomaly.reasons[0].contains("normal 97"), "{anomaly:?}");
            assert!(
                anomaly.reasons[0].ends_with("over the last 8 h"),
                "{anomaly:?}"
            );
            onsets.push(row);
        }
    }
    assert_eq!(onsets.len(), 1, "{onsets:?}");
    assert!(
        onsets[0] < 515 && alarms > 5,
        "{onsets:?}, {alarms} rows in alarm"
    );
    assert!(!detector.step(540 * MINUTE_MS, &noise(&mut rng, 10)).alarm);
}

#[test]
fn one_series_of_many_must_be_much_more_unusual_than_one_alone() {
    let score = |series| {
        let (mut detector, mut rng) = learned(series, 1000);
        let mut values = noise(&mut rng, series);
        values[0] = Some(120.0);
        detector.step(1000 * MINUTE_MS, &values).score
    };
    assert!(score(1) > 1.2 * score(50), "{} {}", score(1), score(50));
}

#[test]
fn one_of_many_that_breaks_down_is_told_however_many_there_are() {
    let (mut detector, mut rng) = learned(200, 300);
    let onset = (300..305_u64).find(|row| {
        let mut values = noise(&mut rng, 200);
        values[0] = Some(0.0);
        detector.step(row * MINUTE_MS, &values).onset
    });
    assert!(onset.is_some());
}

#[test]
fn another_series_has_its_own_onset_soon_after_and_the_same_one_has_not() {
    let onsets = |second: usize| {
        let (mut detector, mut rng) = learned(50, 400);
        let rows = (400..500_u64).filter(|row| {
            let mut values = noise(&mut rng, 50);
            match row {
                400..405 => values[0] = Some(0.0),
                425..430 => values[second] = Some(0.0),
                _ => {}
            }
            detector.step(row * MINUTE_MS, &values).onset
        });
        rows.collect::<Vec<_>>()
    };
    assert_eq!(onsets(0).len(), 1, "{:?}", onsets(0));
    let both = onsets(1);
    assert!(matches!(both[..], [400..405, 425..430]), "{both:?}");
}

#[test]
fn healthy_noise_is_left_alone() {
    let (mut detector, mut rng) = learned(20, 100);
    let onsets: Vec<u64> = (100..3000)
        .filter(|row| detector.step(row * MINUTE_MS, &noise(&mut rng, 20)).onset)
        .collect();
    assert!(onsets.is_empty(), "{onsets:?}");
}

#[test]
fn slow_drift_is_followed() {
    let (mut detector, mut rng) = learned(1, 100);
    for row in 100..3000_u32 {
        let value = noise(&mut rng, 1)[0].unwrap() + f64::from(row - 100) * 0.02;
        let judged = detector.step(u64::from(row) * MINUTE_MS, &[Some(value)]);
        assert!(!judged.onset, "row {row}");
    }
    let baseline = detector.baseline("series_0").unwrap();
    assert!((143.0..153.0).contains(&baseline.median), "{baseline:?}");
}

#[test]
fn an_incident_is_not_learned_but_a_lasting_change_is() {
    let (mut detector, _) = learned(1, 300);
    let count = |detector: &Detector| detector.baseline("series_0").unwrap().count;
    for n in 1..=ACCEPT_AFTER {
        detector.step((300 + u64::from(n)) * MINUTE_MS, &[Some(0.0)]);
        assert_eq!(count(&detector), 300, "value {n}");
        assert!(detector.deviations()[0].unwrap() < -5.0);
    }
    for n in 1..=310 {
        detector.step((700 + n) * MINUTE_MS, &[Some(0.0)]);
    }
    assert_eq!(count(&detector), 610);
    assert!(
        detector.deviations()[0].unwrap().abs() < 1.0,
        "the new level is normal"
    );
}

#[test]
fn an_hour_of_the_day_has_its_own_normal() {
    let (mut detector, mut rng) = (detector(1), StdRng::seed_from_u64(SEED));
    // Five minutes a row: at night 20, by day 120.
    let usual = |row: u64| {
        if (8..20).contains(&(row / 12 % 24)) {
            120.0
        } else {
            20.0
        }
    };
    let mut step = |row: u64, level: f64| {
        let value = level + rng.random_range(-2.0..2.0);
        detector.step(row * 5 * MINUTE_MS, &[Some(value)])
    };
    for row in 0..288 * 10 {
        let judged = step(row, usual(row));
        assert!(row < 288 * 3 || !judged.onset, "row {row}");
    }
    let night = 288 * 10 + 12 * 2;
    let onset = (night..night + 12).find(|&row| step(row, 120.0).onset);
    assert!(onset.is_some(), "daylight at two in the night is noticed");
}

#[test]
fn a_99th_percentile_is_held_against_twice_its_baseline() {
    let mut detector = Detector::default();
    detector.series("p99_latency_ms").unwrap();
    let mut rng = StdRng::seed_from_u64(SEED);
    for row in 0..200 {
        detector.step(row * MINUTE_MS, &[Some(rng.random_range(20.0..80.0))]);
    }
    let normal = detector.normal("p99_latency_ms").unwrap();
    assert!((normal.upper - 2.0 * normal.median).abs() < 1e-9);
    assert!(normal.is_anomalous(2.1 * normal.median) && !normal.is_anomalous(1.9 * normal.median));
}

#[test]
fn gaps_and_rows_that_are_too_short_are_no_values() {
    let (mut detector, mut rng) = learned(3, 200);
    for values in [vec![], vec![None, Some(f64::NAN), Some(f64::INFINITY)]] {
        let judged = detector.step(200 * MINUTE_MS, &values);
        assert!(!judged.alarm);
        assert_eq!(detector.deviations(), [None, None, None]);
    }
    detector.step(201 * MINUTE_MS, &noise(&mut rng, 3));
    assert!(detector.deviations().iter().all(Option::is_some));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Units and column order change nothing; a power of two keeps every digit.
    #[test]
    fn units_and_order_of_the_series_do_not_matter(seed: u64, exponent in -20_i32..40, turn in 0_usize..6) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut plain, mut other) = (detector(6), detector(6));
        for row in 0..400_u64 {
            let mut values = noise(&mut rng, 6);
            if row % 97 > 80 {
                values[2] = Some(130.0);
                values[4] = None;
            }
            let mut turned: Vec<_> = values.iter().map(|v| v.map(|v| v * 2_f64.powi(exponent))).collect();
            turned.rotate_left(turn);
            let (a, b) = (plain.step(row * MINUTE_MS, &values), other.step(row * MINUTE_MS, &turned));
            prop_assert_eq!((a.score.to_bits(), a.alarm, a.onset), (b.score.to_bits(), b.alarm, b.onset));
            let mut deviations = plain.deviations().to_vec();
            deviations.rotate_left(turn);
            prop_assert_eq!(deviations, other.deviations());
            prop_assert_eq!(a.anomaly.map(|a| a.confidence), b.anomaly.map(|b| b.confidence));
        }
    }

    /// What was saved goes on as if it had never stopped.
    #[test]
    fn a_restored_detector_judges_the_same(seed: u64, at in 1_u64..400) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut plain = detector(3);
        for row in 0..at {
            plain.step(row * MINUTE_MS, &noise(&mut rng, 3));
        }
        let mut restored: Detector = serde_json::from_slice(&serde_json::to_vec(&plain).unwrap()).unwrap();
        for row in at..at + 200 {
            let mut values = noise(&mut rng, 3);
            values[0] = values[0].map(|v| if row % 50 > 40 { v * 3.0 } else { v });
            prop_assert_eq!(plain.step(row * MINUTE_MS, &values), restored.step(row * MINUTE_MS, &values));
            prop_assert_eq!(plain.deviations(), restored.deviations());
        }
    }
}

/// Rows in alarm, and rows on which the anomaly lasts, when this is added to five of ten series from
/// row 510 on for so many rows.
fn lasts(added: f64, rows: u64) -> (usize, usize) {
    let (mut detector, mut rng) = learned(10, 500);
    let (mut alarms, mut lasting) = (0, 0);
    for row in 500..510 + rows + 60 {
        let mut values = noise(&mut rng, 10);
        if (510..510 + rows).contains(&row) {
            values[3..8].iter_mut().flatten().for_each(|v| *v += added);
        }
        let judged = detector.step(row * MINUTE_MS, &values);
        alarms += usize::from(judged.alarm);
        assert!(judged.anomaly.is_some() || !judged.alarm);
        if let Some(anomaly) = judged.anomaly {
            lasting += 1;
            let mut carriers = anomaly.series.iter();
            assert!(carriers.all(|name| ("series_3".."series_8").contains(&name.as_str())));
            assert!(row >= 510 + rows || anomaly.confidence > 0.5, "{anomaly:?}");
        }
    }
    (alarms, lasting)
}

#[test]
fn an_anomaly_lasts_until_what_carried_it_is_back() {
    let (alarms, lasting) = lasts(40.0, 100);
    assert!(alarms < 12, "{alarms}");
    assert!((96..=101).contains(&lasting), "{lasting}");
}

#[test]
fn a_change_for_good_is_accepted() {
    let (alarms, lasting) = lasts(40.0, 1000);
    assert!(alarms < 12, "{alarms}");
    let accepted = ACCEPT_AFTER as usize;
    assert!((accepted..accepted + 2).contains(&lasting), "{lasting}");
}

/// What a history says of magnitudes that it hardly ever saw, or never, beside what is true.
#[test]
fn a_tail_tells_the_probability_of_what_was_never_seen() {
    use statrs::distribution::{ContinuousCDF, Exp, Normal};
    let (exponential, normal) = (Exp::new(1.0).unwrap(), Normal::standard());
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut light = tail::Tail::<2, 5000>::default();
    let mut lighter = light.clone();
    for _ in 0..20_000 {
        light.step(exponential.inverse_cdf(rng.random_range(0.0..1.0)));
        lighter.step(normal.inverse_cdf(rng.random_range(0.5..1.0)));
    }
    for (decades, off) in [(2.0, 0.1), (3.0, 0.25), (4.0, 0.6)] {
        let rare = 10_f64.powf(-decades);
        let seen = light.clone().step(exponential.inverse_cdf(1.0 - rare));
        assert!((seen - decades).abs() < off, "exponential {decades} {seen}");
        let seen = lighter.clone().step(-normal.inverse_cdf(rare / 2.0));
        assert!((seen - decades).abs() < off, "normal {decades} {seen}");
    }
}

/// How seldom a healthy value is not learned from.
#[test]
fn hardly_any_healthy_value_is_left_out_of_the_baseline() {
    use statrs::distribution::{ContinuousCDF, Normal};
    let beyond = 2.0 * Normal::standard().sf(DEVIATIONS);
    assert!((5e-7..=6e-7).contains(&beyond), "{beyond}");
}

/// What was learned is read from a file, which anything may have changed.
#[test]
fn a_detector_of_changed_bytes_breaks_no_step() {
    let (detector, mut rng) = learned(2, 150);
    let whole = postcard::to_allocvec(&detector).unwrap();
    let mut read = 0;
    for at in (0..whole.len()).step_by(whole.len() / 800 + 1) {
        for with in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= with;
            let Ok(mut changed) = postcard::from_bytes::<Detector>(&bytes) else {
                continue;
            };
            read += 1;
            for row in 150..158 {
                changed.step(row * 30 * MINUTE_MS, &noise(&mut rng, 2));
            }
        }
    }
    assert!(read > 100, "only {read} were read");
}
