//! The state of one target: its readings, its detector, its incidents and its levels.

use super::maintenance::Windows;
use super::rulings::Rulings;
use super::{Effect, HeldAlert, TargetOptions};
use crate::detect::{ConstraintTable, Detector, Judged, Surge, SurgeLevel};
use crate::diagnose::{self, Diagnosis, Diagnostician, Findings, UNEXPLAINED_AFTER};
use crate::incident::Incidents;
use crate::model::{
    Anomaly, BaselineSummary, Context, EscalationLevel, LocalTime, Metric, Point, Verbosity,
};
use crate::pattern::Pattern;
use crate::policy::{Line, Telemetry, TelemetryCopy};
use crate::series::{SERIES_LIMIT, SeriesTable};
use crate::source::{Observation, is_learned};

/// Main metrics that a policy is handed with each event.
const CONTEXT_METRICS: usize = 64;

/// One target's state.
pub(super) struct Target {
    pub(super) options: TargetOptions,
    pub(super) readings: Readings,
    /// The values of one look by the detector's numbers, kept for its memory.
    pub(super) row: Vec<Option<f64>>,
    pub(super) constraints: ConstraintTable,
    pub(super) diagnostician: Diagnostician,
    pub(super) incidents: Incidents,
    pub(super) level: EscalationLevel,
    pub(super) level_since_ms: u64,
    pub(super) verbosity: Verbosity,
    pub(super) line: Line,
    pub(super) rulings: Rulings,
    pub(super) windows: Windows,
    /// Alerts that wait for the end of a silence or a maintenance window.
    pub(super) held: Vec<HeldAlert>,
    /// The anomaly that lasts, and whether it is an incident of its own.
    pub(super) unexplained: Option<Unexplained>,
    pub(super) pattern: Pattern,
    pub(super) surge: Surge,
    /// What the policy asked for last; the host writes down no less in a surge.
    pub(super) asked_verbosity: Verbosity,
}

/// An anomaly that lasts.
#[derive(Debug)]
pub(super) struct Unexplained {
    /// The series that carried it most when it began.
    series: String,
    /// Looks on which nothing diagnosed explained it.
    looks: u32,
}

/// What a policy may read of one target beside its event.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) series: SeriesTable,
    pub(super) detector: Detector,
}

impl Readings {
    /// What a policy could read now, to be read later.
    pub(super) fn copy(&self) -> TelemetryCopy {
        let names = self.series.latest_points(SERIES_LIMIT);
        TelemetryCopy::of(self, names.map(|(name, _)| name))
    }
}

impl Telemetry for Readings {
    fn latest(&self, series: &str) -> Option<Point> {
        self.series.get(series)?.latest()
    }

    fn baseline(&self, series: &str) -> Option<BaselineSummary> {
        self.detector.baseline(series)
    }

    fn recent(&self, series: &str, limit: usize) -> Vec<Point> {
        self.series.recent_points(series, limit)
    }
}

impl Target {
    /// Takes up the samples of a look and judges them.
    pub(super) fn judge(&mut self, seen: &Observation) -> Judged {
        self.row.fill(None);
        for sample in &seen.samples {
            let point = Point {
                at_ms: seen.at_ms,
                value: sample.value,
            };
            self.readings.series.record(&sample.series, point);
            if is_learned(&sample.series)
                && let Some(id) = self.readings.detector.series(&sample.series)
            {
                if id >= self.row.len() {
                    self.row.resize(id + 1, None);
                }
                self.row[id] = Some(sample.value);
            }
        }
        self.surge.look(seen.at_ms);
        self.readings.detector.step(seen.at_ms, &self.row)
    }

    /// The problem that an anomaly is by itself, when it has lasted and nothing else explains it.
    pub(super) fn unexplained(
        &mut self,
        at_ms: u64,
        anomaly: Option<&Anomaly>,
        findings: &Findings,
        repair_runs: bool,
    ) -> Option<Diagnosis> {
        let Some(anomaly) = anomaly else {
            self.unexplained = None;
            return None;
        };
        self.surge.report(at_ms, &anomaly.series);
        let lasting = self.unexplained.get_or_insert_with(|| Unexplained {
            series: anomaly.series.first().cloned().unwrap_or_default(),
            looks: 0,
        });
        // A problem that is known, or a repair at work, is the explanation.
        if repair_runs
            || !findings.problems.is_empty()
            || !self.incidents.only_open(diagnose::UNEXPLAINED)
        {
            lasting.looks = 0;
            return None;
        }
        lasting.looks = lasting.looks.saturating_add(1);
        (lasting.looks >= UNEXPLAINED_AFTER).then(|| {
            let recent = self.surge.counts(at_ms);
            diagnose::unexplained(anomaly, &lasting.series, recent, self.pattern.ranking())
        })
    }

    /// The level in force from now on, and that it changed.
    pub(super) fn level_changed(
        &mut self,
        name: &str,
        at_ms: u64,
        to: EscalationLevel,
    ) -> Option<Effect> {
        let from = std::mem::replace(&mut self.level, to);
        if from == to {
            return None;
        }
        self.level_since_ms = at_ms;
        Some(Effect::LevelChanged {
            target: name.to_owned(),
            from,
            to,
        })
    }

    /// What is written down from now on, when it has changed: what the policy asked for, and no
    /// less than a surge of anomalies asks for (section 3.3 of the specification).
    pub(super) fn verbosity_changed(&mut self, name: &str, at_ms: u64) -> Option<Effect> {
        let least = self.surge.level(at_ms);
        let to = match self.asked_verbosity {
            Verbosity::Incident => Verbosity::Incident,
            _ if least == SurgeLevel::Incident => Verbosity::Incident,
            Verbosity::Normal if least == SurgeLevel::None => Verbosity::Normal,
            _ => Verbosity::Elevated,
        };
        let changed = std::mem::replace(&mut self.verbosity, to) != to;
        changed.then(|| Effect::VerbosityChanged {
            target: name.to_owned(),
            to,
        })
    }

    /// Everything but settings and memory, which are each policy's own.
    pub(super) fn context(&self, name: &str, at_ms: u64, local_time: Option<LocalTime>) -> Context {
        Context {
            now_ms: at_ms,
            target: name.to_owned(),
            level: self.level,
            level_since_ms: self.level_since_ms,
            repairs: self.incidents.repairs().to_vec(),
            incidents: self.incidents.summaries(),
            constraints: self
                .constraints
                .states(at_ms)
                .into_iter()
                .map(|constraint| constraint.state)
                .collect(),
            metrics: self
                .readings
                .series
                .latest_points(CONTEXT_METRICS)
                .map(|(name, point)| Metric {
                    name: name.to_owned(),
                    value: point.value,
                })
                .collect(),
            maintenance: self.windows.state(at_ms),
            local_time,
            settings: Vec::new(),
            memory: Vec::new(),
            target_kind: self.options.kind.clone(),
        }
    }
}
