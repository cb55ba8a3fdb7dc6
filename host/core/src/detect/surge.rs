//! Anomalies that come in a rush: section 3.3 of the specification.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The time in which anomalies are counted, milliseconds, and the looks that lie within it at least:
/// one that looks every ten seconds sees six in a minute, and never eleven anomalies.
const SURGE_WINDOW_MS: u64 = 60_000;
const LEAST_LOOKS: usize = 12;

/// Anomalies in that time from which on the host looks closer.
const ELEVATED_FROM: usize = 5;

/// Anomalies of errors in that time above which everything is written down.
const INCIDENT_ABOVE: usize = 10;

/// Anomalies that are remembered; more in a minute say no more.
const KEPT: usize = 1024;

/// What the anomalies of the last minute come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SurgeLevel {
    /// Few or none.
    #[default]
    None,
    /// Five or more.
    Elevated,
    /// More than ten that are carried by errors.
    Incident,
}

/// Counts the anomalous looks of the last minute, or of the last dozen looks where that is longer. A look on which an anomaly lasts is one, as a
/// reported anomaly is in the specification; its onset alone would never come five times a minute.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Surge {
    /// The last times that were looked at.
    looks: VecDeque<u64>,
    /// When, and whether errors carry it.
    anomalies: VecDeque<(u64, bool)>,
}

impl Surge {
    /// Takes up a look, with an anomaly or not.
    pub fn look(&mut self, at_ms: u64) {
        if self.looks.len() == LEAST_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(at_ms);
    }

    /// Takes up an anomaly that `series` carry.
    pub fn report(&mut self, at_ms: u64, series: &[String]) {
        if self.anomalies.len() == KEPT {
            self.anomalies.pop_front();
        }
        self.anomalies
            .push_back((at_ms, series.iter().any(|name| counts_errors(name))));
    }

    /// What the time up to now comes to.
    pub fn level(&mut self, at_ms: u64) -> SurgeLevel {
        let (all, errors) = self.counts(at_ms);
        if errors > INCIDENT_ABOVE {
            SurgeLevel::Incident
        } else if all >= ELEVATED_FROM {
            SurgeLevel::Elevated
        } else {
            SurgeLevel::None
        }
    }

    /// The anomalies of that time, and those among them that errors carry.
    pub fn counts(&mut self, at_ms: u64) -> (usize, usize) {
        let minute = at_ms.saturating_sub(SURGE_WINDOW_MS);
        let since = self.looks.front().map_or(minute, |look| minute.min(*look));
        while self.anomalies.front().is_some_and(|(at, _)| *at < since) {
            self.anomalies.pop_front();
        }
        let errors = self.anomalies.iter().filter(|(_, error)| *error).count();
        (self.anomalies.len(), errors)
    }
}

/// Whether a series counts failures, by the words that metrics are named with.
fn counts_errors(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["error", "fail", "abort", "rollback", "timeout", "deadlock"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_seldom_sees_a_surge_too() {
        let errors = ["error_rate_percent".to_owned()];
        let mut surge = Surge::default();
        let mut levels = Vec::new();
        for at_ms in (0..20).map(|look| look * 30_000) {
            surge.look(at_ms);
            surge.report(at_ms, &errors);
            levels.push(surge.level(at_ms));
        }
        assert_eq!(levels[3], SurgeLevel::None);
        assert_eq!(levels[4], SurgeLevel::Elevated);
        assert_eq!(levels[10], SurgeLevel::Incident);
        for at_ms in (20..40).map(|look| look * 30_000) {
            surge.look(at_ms);
        }
        assert_eq!(surge.level(40 * 30_000), SurgeLevel::None);
    }

    #[test]
    fn five_in_a_minute_are_a_surge_and_eleven_of_errors_an_incident() {
        let (plain, errors) = (
            ["commits_per_s".to_owned()],
            ["error_rate_percent".to_owned()],
        );
        let mut surge = Surge::default();
        for at_ms in [0, 1_000, 2_000, 3_000] {
            surge.report(at_ms, &plain);
        }
        assert_eq!(surge.level(3_000), SurgeLevel::None);
        surge.report(60_000, &plain);
        assert_eq!(surge.level(60_000), SurgeLevel::Elevated);
        assert_eq!(surge.level(60_001), SurgeLevel::None, "the first is over");
        for at_ms in 100_000..100_010 {
            surge.report(at_ms, &errors);
        }
        assert_eq!(surge.level(100_010), SurgeLevel::Elevated);
        surge.report(100_010, &errors);
        assert_eq!(surge.level(100_010), SurgeLevel::Incident);
        assert_eq!(surge.level(200_000), SurgeLevel::None);
    }
}
