//! From values to evidence: whether the metrics of one target left their normal range, together.
//!
//! A pure stage. It says how far something is from normal; it never says what is wrong.
//!
//! A [`Detector`] watches any number of series. Each is named once and then known by a number, so
//! that [`Detector::step`] handles no text while all is normal. A row may have gaps.
//!
//! Two things bring an alarm. One series alone has become as unusual as it hardly ever was
//! (`evidence`, statistical); or several have shifted together, each beyond what it usually does,
//! for some rows in a row (`evidence` and `alarm`, behaviour). Both hold a value against the
//! history of its own series, so there is nothing to set for a metric, a unit or a period.

mod alarm;
mod anomaly;
mod constraints;
mod evidence;
mod histogram;
mod lasting;
mod normal;
mod season;
mod surge;
mod tail;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use anomaly::add_score;
pub use constraints::{ConstraintTable, bound_score};
pub use normal::Normal;
pub use surge::{Surge, SurgeLevel};

use crate::baseline::usable;
use crate::model::{Anomaly, BaselineSummary};
use alarm::{Alarm, Level};
use anomaly::Carrier;
use evidence::{Evidence, SeriesEvidence};
use lasting::Lasting;
use normal::{DEVIATIONS, Learned};

/// Series that one detector watches at most; later ones are not taken up.
pub const SERIES_LIMIT: usize = 1024;

/// Rows before which there is no alarm, whatever the options say: the tails of the evidence rest on
/// sixty values, and these on a reference of ten.
pub const ROWS_BEFORE_ALARM: u32 = 72;

/// What a detector needs to know beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectOptions {
    /// Values of one series that its baseline rests on at most.
    pub window: usize,
    /// Values from which on a baseline may be judged by; no alarm before so many rows.
    pub established_after: usize,
}

impl Default for DetectOptions {
    /// The specification's window, and the least that a median and a spread can rest on.
    fn default() -> Self {
        Self {
            window: 10_000,
            established_after: 30,
        }
    }
}

/// What a row came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// How anomalous the row is: 0 is certainly normal, 1 certainly not; half at the threshold.
    pub score: f64,
    /// Whether an anomaly is new: from its onset while its evidence stays, for some rows at most.
    pub alarm: bool,
    /// Whether it began at this row.
    pub onset: bool,
    /// Whether enough was seen to judge by; there is no alarm before.
    pub established: bool,
    /// The anomaly while it lasts: as long as the alarm, and then until what carried it is back or
    /// is accepted as normal.
    pub anomaly: Option<Anomaly>,
}

/// One series.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Watched {
    name: String,
    learned: Learned,
    evidence: SeriesEvidence,
}

/// Watches the series of one target or one table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Detector {
    options: DetectOptions,
    ids: BTreeMap<String, usize>,
    series: Vec<Watched>,
    alarm: Alarm,
    lasting: Lasting,
    rows: u32,
    /// By series: signed robust deviations of the last row.
    deviations: Vec<Option<f64>>,
    /// By series: what the last row says.
    evidence: Vec<Option<Evidence>>,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new(DetectOptions::default())
    }
}

impl Detector {
    /// Makes one that has seen nothing.
    pub fn new(options: DetectOptions) -> Self {
        Self {
            options,
            ids: BTreeMap::new(),
            series: Vec::new(),
            alarm: Alarm::default(),
            lasting: Lasting::default(),
            rows: 0,
            deviations: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// Whether enough was seen to judge by; there is no alarm before.
    pub fn is_established(&self) -> bool {
        self.rows > ROWS_BEFORE_ALARM && self.rows as usize > self.options.established_after
    }

    /// The options it was made with.
    pub fn options(&self) -> DetectOptions {
        self.options
    }

    /// The number by which a series is known from now on: its place in the rows. None beyond
    /// [`SERIES_LIMIT`].
    pub fn series(&mut self, name: &str) -> Option<usize> {
        if let Some(&id) = self.ids.get(name) {
            return Some(id);
        }
        let id = self.series.len();
        if id >= SERIES_LIMIT {
            return None;
        }
        self.ids.insert(name.to_owned(), id);
        self.series.push(Watched {
            name: name.to_owned(),
            learned: Learned::new(
                self.options.window,
                self.options.established_after,
                is_p99(name),
            ),
            evidence: SeriesEvidence::new(self.options.window),
        });
        self.deviations.push(None);
        self.evidence.push(None);
        Some(id)
    }

    /// The name of a series.
    pub fn name(&self, id: usize) -> Option<&str> {
        self.series.get(id).map(|watched| watched.name.as_str())
    }

    /// What is normal for a series, in full; none before its first value.
    pub fn baseline(&self, name: &str) -> Option<BaselineSummary> {
        self.series[*self.ids.get(name)?].learned.summary()
    }

    /// What is normal for a series, to hold single values against; none before it is established.
    pub fn normal(&self, name: &str) -> Option<&Normal> {
        self.series[*self.ids.get(name)?].learned.normal()
    }

    /// How far each value of the last row is from what is normal for its series, in robust standard
    /// deviations, below zero when it is too low; by the series' number. None for a gap, and for a
    /// series whose baseline is not established. What is normal is not learned from an anomaly.
    pub fn deviations(&self) -> &[Option<f64>] {
        &self.deviations
    }

    /// Judges a row, then learns from it. `row` holds the values by the series' number; `None`, a
    /// value that is not finite and a row that is too short are gaps. Times rise, milliseconds
    /// since the Unix epoch.
    pub fn step(&mut self, at_ms: u64, row: &[Option<f64>]) -> Judged {
        self.rows = self.rows.saturating_add(1);
        let established = self.is_established();
        for (id, watched) in self.series.iter_mut().enumerate() {
            let value = row.get(id).copied().flatten().and_then(usable);
            let Some(value) = value else {
                self.deviations[id] = None;
                self.evidence[id] = None;
                continue;
            };
            self.deviations[id] = watched.learned.step(at_ms, value);
            self.evidence[id] = Some(watched.evidence.push(at_ms, value));
        }
        let level = self.alarm.step(&self.evidence, established);
        let deviations = &self.deviations;
        let lasts = level.on || self.lasting.calm(|id| is_far(deviations, id));
        if level.on {
            self.lasting.alarm(level.onset, self.alarm.carriers());
        }
        let greatest = level.alone.max(level.together);
        Judged {
            // Half at the threshold, then on towards one: 4 and 40 deviations do not look alike.
            score: greatest / (1.0 + greatest),
            alarm: level.on,
            onset: level.onset,
            established,
            anomaly: lasts.then(|| self.anomaly(at_ms, row, level)),
        }
    }

    fn anomaly(&self, at_ms: u64, row: &[Option<f64>], level: Level) -> Anomaly {
        let mut carriers: Vec<Carrier<'_>> = self
            .series
            .iter()
            .enumerate()
            .filter_map(|(id, watched)| {
                Some(Carrier {
                    name: &watched.name,
                    value: row.get(id).copied().flatten()?,
                    part: self.part(id, level.on),
                    deviation: self.deviations[id].unwrap_or(0.0),
                    normal: watched.learned.normal()?,
                })
            })
            .collect();
        carriers.sort_by(Carrier::stronger);
        anomaly::of(at_ms, &carriers, level)
    }

    /// What a series brings to an alarm that is on, at least the threshold once it has reached it;
    /// after the alarm, how far it still is from normal.
    fn part(&self, id: usize, alarm: bool) -> f64 {
        let carries = self.lasting.carries(id);
        if alarm {
            let part = self.evidence[id].map_or(0.0, alarm::part);
            if carries { part.max(1.0) } else { part }
        } else if carries {
            self.deviations[id].map_or(0.0, |d| d.abs() / DEVIATIONS)
        } else {
            0.0
        }
    }
}

/// What a detector is restored from. What the last row said is not part of it.
#[derive(Serialize, Deserialize)]
struct Saved {
    options: DetectOptions,
    series: Vec<Watched>,
    alarm: Alarm,
    lasting: Lasting,
    rows: u32,
}

impl From<Detector> for Saved {
    fn from(detector: Detector) -> Self {
        Self {
            options: detector.options,
            series: detector.series,
            alarm: detector.alarm,
            lasting: detector.lasting,
            rows: detector.rows,
        }
    }
}

impl TryFrom<Saved> for Detector {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        let known = saved.series.len();
        if known > SERIES_LIMIT {
            return Err(format!("{known} series, above {SERIES_LIMIT}"));
        }
        let mut ids = BTreeMap::new();
        for (id, watched) in saved.series.iter().enumerate() {
            if ids.insert(watched.name.clone(), id).is_some() {
                return Err(format!("the series `{}` twice", watched.name));
            }
        }
        Ok(Self {
            ids,
            deviations: vec![None; known],
            evidence: vec![None; known],
            options: saved.options,
            series: saved.series,
            alarm: saved.alarm,
            lasting: saved.lasting,
            rows: saved.rows,
        })
    }
}

/// Whether a series is so far from its normal that it is not learned from.
fn is_far(deviations: &[Option<f64>], id: usize) -> bool {
    let deviation = deviations.get(id).copied().flatten();
    deviation.is_some_and(|d| d.abs() > DEVIATIONS)
}

/// Whether a series carries a 99th percentile, which has a bound of its own.
fn is_p99(name: &str) -> bool {
    name.to_ascii_lowercase().contains("p99")
}

#[cfg(test)]
mod tests;
