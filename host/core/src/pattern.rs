//! The pattern method: which known trouble an anomaly looks like while it lasts.
//!
//! A pure stage. It keeps, of one target, what was normal right before and what is abnormal now, and
//! compares the two with the signatures. It names nothing below the bar of a diagnosis, and learns
//! nothing from an anomaly.

use std::collections::VecDeque;

use crate::detect::{Detector, add_score};
use crate::model::{Anomaly, DetectionMethod};
use crate::signature::{Deviations, NORMAL_ROWS, Ranking, Signatures};

/// Abnormal looks that are compared, at most. The comparison is made at its first look and each
/// time their number has doubled: six times an anomaly, however long it lasts.
const ABNORMAL_LOOKS: usize = 32;

/// The values of one series that a comparison rests on.
#[derive(Debug, Default)]
struct Values {
    /// The last ones outside of any anomaly, at most [`NORMAL_ROWS`].
    normal: VecDeque<f64>,
    /// The first ones of the anomaly that lasts, at most [`ABNORMAL_LOOKS`].
    abnormal: Vec<f64>,
}

/// Compares the anomalies of one target with the signatures.
#[derive(Debug, Default)]
pub struct Pattern {
    /// By the detector's numbers.
    series: Vec<Values>,
    /// Looks of the anomaly that lasts at which anything was measured.
    looks: usize,
    /// The last comparison of the anomaly that lasts.
    ranking: Option<Ranking>,
}

impl Pattern {
    /// Takes up a row, its values by the detector's numbers. On an anomaly it adds what the method
    /// says: how sure it is of a trouble that it may name, or 0.
    pub fn step(
        &mut self,
        signatures: &Signatures,
        detector: &Detector,
        row: &[Option<f64>],
        anomaly: Option<&mut Anomaly>,
    ) {
        if row.len() > self.series.len() {
            self.series.resize_with(row.len(), Values::default);
        }
        let values = row.iter().zip(&mut self.series);
        let values = values.filter_map(|(value, of)| Some(((*value)?, of)));
        let Some(anomaly) = anomaly else {
            for (value, of) in values {
                if of.normal.len() == NORMAL_ROWS {
                    of.normal.pop_front();
                }
                of.normal.push_back(value);
            }
            self.end();
            return;
        };
        if self.looks < ABNORMAL_LOOKS && row.iter().any(Option::is_some) {
            self.looks += 1;
            values.for_each(|(value, of)| of.abnormal.push(value));
            if self.looks.is_power_of_two() {
                self.ranking = Some(signatures.rank(&self.deviations(detector)));
            }
        }
        let Some(ranking) = &self.ranking else {
            return;
        };
        let (score, reason) = ranking.diagnosis().map_or((0.0, None), |best| {
            let reason = format!("looks like `{}` ({:.2})", best.name, best.confidence);
            (best.confidence, Some(reason))
        });
        add_score(anomaly, DetectionMethod::Pattern, score, reason);
    }

    /// The last comparison of the anomaly that lasts; none without one.
    pub fn ranking(&self) -> Option<&Ranking> {
        self.ranking.as_ref()
    }

    fn end(&mut self) {
        if self.looks > 0 {
            self.series.iter_mut().for_each(|of| of.abnormal.clear());
        }
        self.looks = 0;
        self.ranking = None;
    }

    fn deviations(&mut self, detector: &Detector) -> Deviations {
        let series = self.series.iter_mut().enumerate();
        Deviations::between(series.filter_map(|(id, of)| {
            let normal: &[f64] = of.normal.make_contiguous();
            Some((detector.name(id)?, normal, &of.abnormal[..]))
        }))
    }
}
