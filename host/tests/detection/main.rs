//! The detector on real, labelled telemetry: one configuration for everything, rows fed one by one,
//! nothing looked at ahead. The judges are those that the data is published with.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test stops at the first surprise; counts are small"
)]

/// Streams of MySQL faults laid over a healthy trace, and their judge.
mod mysql;

/// The scorer of the Numenta Anomaly Benchmark.
mod nab;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use dbmedic::detect::{DetectOptions, Detector};
use flate2::read::GzDecoder;

/// The recorded telemetry.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data")
}

/// The content of a compressed file.
fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// What the detector says of each row.
#[derive(Debug, Default)]
struct Detections {
    alarm: Vec<bool>,
    onset: Vec<bool>,
    /// Whether the score is at least half.
    loud: Vec<bool>,
}

/// Feeds rows of so many columns, with their times in milliseconds.
fn detect<'a>(columns: usize, rows: impl Iterator<Item = (u64, &'a [f64])>) -> Detections {
    let mut detector = Detector::new(DetectOptions {
        window: 1_000,
        established_after: 30,
    });
    for column in 0..columns {
        detector.series(&format!("m{column:03}")).unwrap();
    }
    let mut said = Detections::default();
    let mut row = Vec::with_capacity(columns);
    for (at_ms, values) in rows {
        row.clear();
        row.extend(values.iter().map(|v| Some(*v)));
        let judged = detector.step(at_ms, &row);
        said.alarm.push(judged.alarm);
        said.onset.push(judged.onset);
        said.loud.push(judged.score >= 0.5);
    }
    said
}

/// The bars of the benchmark: the standard profile with the onsets as detections.
#[test]
fn the_benchmark_of_single_series_is_passed() {
    let series = nab::load(&data().join("nab"));
    assert_eq!(series.len(), 34);
    let said: Vec<_> = std::thread::scope(|scope| {
        let halves: Vec<_> = series
            .chunks(series.len().div_ceil(2))
            .map(|half| {
                scope.spawn(move || half.iter().map(nab::Series::detect).collect::<Vec<_>>())
            })
            .collect();
        halves.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    let mut categories: BTreeMap<&str, nab::Score> = BTreeMap::new();
    let mut totals = [nab::Score::default(); 3];
    for (one, said) in series.iter().zip(&said) {
        let onsets = one.score(&said.onset);
        categories.entry(&one.category).or_default().add(onsets);
        for (total, detections) in totals
            .iter_mut()
            .zip([&said.onset, &said.alarm, &said.loud])
        {
            total.add(one.score(detections));
        }
    }
    for (category, score) in categories {
        println!("{category:24} {score}");
    }
    let [onset, alarm, loud] = totals;
    println!("onset rows: {onset}\nalarm rows: {alarm}\nrows with a score of half or more: {loud}");
    assert!(onset.normalised() >= 70.0);
    assert!(alarm.normalised() >= 40.0);
    assert!(loud.normalised() >= 40.0);
}

#[test]
fn faults_of_a_database_are_found_and_its_health_left_alone() {
    let recorded = mysql::Recorded::load(&data().join("mysql-faults"));
    let plain = mysql::judge_seeds(&recorded, 1..=10, mysql::Laid::Faults);
    println!("faults: {plain}");
    assert!(plain.recall() >= 0.93);
    assert!(plain.weakest_kind() >= 0.6);
    assert!(plain.false_starts_per_hour() <= 0.8);
    assert!(plain.share_in_alarm() <= 0.01);
    assert!(plain.median_delay_rows() <= 4);
}

/// The negative control: laid over with its own healthy rows, the trace must stay as quiet.
#[test]
fn healthy_rows_laid_over_are_no_faults() {
    let recorded = mysql::Recorded::load(&data().join("mysql-faults"));
    let placebo = mysql::judge_seeds(&recorded, 1..=10, mysql::Laid::Health);
    println!("placebo: {placebo}");
    assert!(placebo.recall() <= 0.15);
}
