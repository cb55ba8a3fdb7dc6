//! The scorer of the Numenta Anomaly Benchmark (Lavin & Ahmad 2015), as its sweeper computes it.

use std::fmt;
use std::path::Path;

use jiff::civil::DateTime;

use crate::{Detections, detect, unpacked};

/// The standard profile: what a false alarm costs, against 1 for a window found or missed.
const FALSE_POSITIVE: f64 = 0.11;

/// One file.
pub(crate) struct Series {
    pub(crate) category: String,
    rows: Vec<(u64, f64)>,
    /// First and last row of each labelled window.
    windows: Vec<(usize, usize)>,
}

/// Sums over files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Score {
    raw: f64,
    windows: usize,
    found: usize,
    false_alarms: usize,
}

impl Score {
    pub(crate) fn add(&mut self, other: Self) {
        self.raw += other.raw;
        self.windows += other.windows;
        self.found += other.found;
        self.false_alarms += other.false_alarms;
    }

    /// 0 for a detector that never speaks, 100 for a perfect one.
    pub(crate) fn normalised(&self) -> f64 {
        let windows = self.windows as f64;
        100.0 * (self.raw + windows) / (2.0 * windows)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.windows > 0 {
            write!(f, "{:5.1}, ", self.normalised())?;
        }
        let (found, windows) = (self.found, self.windows);
        write!(
            f,
            "{found} of {windows} windows, {} false alarms",
            self.false_alarms
        )
    }
}

fn at_ms(text: &str) -> u64 {
    let time: DateTime = text.parse().unwrap();
    let since = time
        .to_zoned(jiff::tz::TimeZone::UTC)
        .unwrap()
        .timestamp()
        .as_millisecond();
    u64::try_from(since).unwrap()
}

/// All series, by category and name.
pub(crate) fn load(dir: &Path) -> Vec<Series> {
    let labels = std::fs::read(dir.join("labels/windows.json")).unwrap();
    let labels: std::collections::BTreeMap<String, Vec<[String; 2]>> =
        serde_json::from_slice(&labels).unwrap();
    labels
        .into_iter()
        .map(|(file, windows)| {
            let text = unpacked(&dir.join(format!("{file}.gz")));
            let rows: Vec<(u64, f64)> = csv::Reader::from_reader(text.as_bytes())
                .records()
                .map(|record| {
                    let record = record.unwrap();
                    (at_ms(&record[0]), record[1].parse().unwrap())
                })
                .collect();
            let windows = windows.iter().map(|[from, to]| {
                let (from, to) = (at_ms(from), at_ms(to));
                let first = rows.iter().position(|(at, _)| *at >= from).unwrap();
                let last = rows.iter().rposition(|(at, _)| *at <= to).unwrap();
                (first, last)
            });
            Series {
                category: file.split('/').next().unwrap().to_owned(),
                windows: windows.collect(),
                rows,
            }
        })
        .collect()
}

/// From near 1 at the start of a window over 0 at its end towards -1 beyond it.
fn worth(position: f64) -> f64 {
    if position > 3.0 {
        -1.0
    } else {
        2.0 / (1.0 + (5.0 * position).exp()) - 1.0
    }
}

impl Series {
    pub(crate) fn detect(&self) -> Detections {
        detect(
            1,
            self.rows
                .iter()
                .map(|(at, value)| (*at, std::slice::from_ref(value))),
        )
    }

    /// For each window the earliest detection counts; each detection outside costs by its distance
    /// to the window before it; those in the probation at the beginning do not count.
    pub(crate) fn score(&self, detected: &[bool]) -> Score {
        let probation = (self.rows.len() * 15 / 100).min(750);
        let mut score = Score {
            windows: self.windows.len(),
            ..Score::default()
        };
        for &(first, last) in &self.windows {
            match (first.max(probation)..=last).find(|&row| detected[row]) {
                Some(row) => {
                    let position = -((last - row + 1) as f64) / (last - first + 1) as f64;
                    score.raw += worth(position) / worth(-1.0);
                    score.found += 1;
                }
                None => score.raw -= 1.0,
            }
        }
        for row in (probation..detected.len()).filter(|&row| detected[row]) {
            if self
                .windows
                .iter()
                .any(|&(first, last)| (first..=last).contains(&row))
            {
                continue;
            }
            let before = self.windows.iter().rev().find(|(_, last)| *last < row);
            score.raw += FALSE_POSITIVE
                * before.map_or(-1.0, |&(first, last)| {
                    worth((row - last) as f64 / (last - first) as f64)
                });
            score.false_alarms += 1;
        }
        score
    }
}

#[test]
fn the_scorer_knows_silence_perfection_and_noise() {
    let series = Series {
        category: String::new(),
        rows: (0..1000).map(|row| (row, 0.0)).collect(),
        windows: vec![(400, 499), (700, 799)],
    };
    let score = |rows: &[usize]| {
        let mut detected = vec![false; 1000];
        for &row in rows {
            detected[row] = true;
        }
        series.score(&detected).normalised()
    };
    assert!((score(&[]) - 0.0).abs() < 1e-9);
    assert!((score(&[400, 700]) - 100.0).abs() < 1e-9);
    // Late in the window is worth little; again in the same window nothing more.
    assert!((score(&[499, 700]) - (75.0 + 25.0 * worth(-0.01) / worth(-1.0))).abs() < 1e-9);
    assert!((score(&[400, 450, 700]) - 100.0).abs() < 1e-9);
    // Before any window a false alarm costs 0.11 of a window; in the probation nothing.
    assert!((score(&[300, 400, 700]) - (100.0 - 25.0 * FALSE_POSITIVE)).abs() < 1e-9);
    assert!((score(&[100, 400, 700]) - 100.0).abs() < 1e-9);
    // Right behind a window it costs little.
    assert!(score(&[400, 501, 700]) > 99.0);
}
