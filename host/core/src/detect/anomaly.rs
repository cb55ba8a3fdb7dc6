//! The record of an anomaly: what each method says, how sure all of them are together, and reasons
//! that a person understands.

use std::cmp::Ordering;

use super::alarm::Level;
use super::normal::Normal;
use crate::model::{Anomaly, DetectionMethod, MethodScore, Severity};

/// Series that an anomaly names at most.
const NAMED: usize = 16;

/// Reasons that an anomaly gives at most.
const REASONS: usize = 5;

/// The part of the threshold that a series must bring to count as a carrier.
const LEAST_PART: f64 = 1.0;

/// A series that may carry an anomaly.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    pub(super) name: &'a str,
    pub(super) value: f64,
    /// What it brings to the alarm, as a share of the threshold.
    pub(super) part: f64,
    /// Robust deviations from normal, signed.
    pub(super) deviation: f64,
    pub(super) normal: &'a Normal,
}

impl Carrier<'_> {
    /// Orders by what they bring, the strongest first; then by how far they are from normal.
    pub(super) fn stronger(&self, other: &Self) -> Ordering {
        let by_deviation = other.deviation.abs().total_cmp(&self.deviation.abs());
        other.part.total_cmp(&self.part).then(by_deviation)
    }
}

/// The anomaly that these series carry, strongest first.
pub(super) fn of(at_ms: u64, carriers: &[Carrier<'_>], level: Level) -> Anomaly {
    let carrying = carriers
        .iter()
        .take_while(|c| c.part >= LEAST_PART)
        .count()
        .max(1);
    let carriers = &carriers[..carrying.min(NAMED).min(carriers.len())];
    let mut anomaly = Anomaly {
        at_ms,
        series: carriers.iter().map(|c| c.name.to_owned()).collect(),
        scores: Vec::new(),
        confidence: 0.0,
        severity: Severity::Low,
        reasons: carriers.iter().take(REASONS).map(reason).collect(),
    };
    // As far as the strongest carrier is beyond its own bound, or as unusual as the alarm found it.
    let beyond = carriers
        .iter()
        .map(|c| c.normal.beyond(c.value))
        .fold(level.alone, f64::max);
    for (method, level) in [
        (DetectionMethod::Statistical, beyond),
        (DetectionMethod::Behavior, level.together),
    ] {
        add_score(&mut anomaly, method, level / (1.0 + level), None);
    }
    anomaly
}

/// Adds what one method says, 0 to 1, with a line for a person; confidence and severity follow.
/// A method that has spoken already is replaced.
///
/// The methods are combined as independent witnesses: the anomaly is doubted only as far as each of
/// them doubts it.
pub fn add_score(
    anomaly: &mut Anomaly,
    method: DetectionMethod,
    score: f64,
    reason: Option<String>,
) {
    let score = if score.is_finite() {
        score.clamp(0.0, 1.0)
    } else {
        0.0
    };
    anomaly.scores.retain(|s| s.method != method);
    anomaly.scores.push(MethodScore { method, score });
    anomaly.reasons.extend(reason);
    let doubt: f64 = anomaly.scores.iter().map(|s| 1.0 - s.score).product();
    anomaly.confidence = 1.0 - doubt;
    anomaly.severity = match anomaly.confidence {
        c if c > 0.9 => Severity::High,
        c if c > 0.7 => Severity::Medium,
        _ => Severity::Low,
    };
}

fn reason(carrier: &Carrier<'_>) -> String {
    let Carrier {
        name,
        value,
        normal,
        ..
    } = carrier;
    let (low, high, span) = (
        short(normal.low),
        short(normal.high),
        duration(normal.span_ms),
    );
    let value_text = short(*value);
    if (normal.low..=normal.high).contains(value) {
        // Alone it would be nothing: the values before it, or other series beside it, speak with it.
        return format!(
            "`{name}` {value_text}, within its normal {low} to {high} over the last {span}, but unusual \
             with what came before it and stands beside it"
        );
    }
    format!("`{name}` {value_text}, normal {low} to {high} over the last {span}")
}

/// A number as a person reads it: four significant digits, large ones by their unit.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e12 => (value / 1e12, " T"),
        v if v >= 1e9 => (value / 1e9, " G"),
        v if v >= 1e7 => (value / 1e6, " M"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        v if v >= 100.0 || scaled.fract() == 0.0 => 0,
        v if v >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// A duration as a person says it.
fn duration(ms: u64) -> String {
    match ms / 1000 {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_short() {
        let numbers = [
            0.0,
            412.0,
            35.5,
            0.12345,
            8_432_110.0,
            32_938_508_000.0,
            -3.0,
        ];
        let texts = ["0", "412", "35.5", "0.1235", "8432110", "32.94 G", "-3"];
        for (number, text) in numbers.into_iter().zip(texts) {
            assert_eq!(short(number), text);
        }
        let durations = [
            (90_000, "90 s"),
            (1_800_000, "30 min"),
            (21_600_000, "6 h"),
            (259_200_000, "3 d"),
        ];
        for (ms, text) in durations {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn each_method_adds_to_the_confidence() {
        let mut anomaly = of(
            0,
            &[],
            Level {
                alone: 1.0,
                together: 0.0,
                on: true,
                onset: true,
            },
        );
        assert!((anomaly.confidence - 0.5).abs() < 1e-12);
        add_score(
            &mut anomaly,
            DetectionMethod::Pattern,
            0.5,
            Some("like a lock".into()),
        );
        assert!((anomaly.confidence - 0.75).abs() < 1e-12);
        add_score(&mut anomaly, DetectionMethod::Pattern, f64::NAN, None);
        assert!((anomaly.confidence - 0.5).abs() < 1e-12);
        assert_eq!(anomaly.reasons, ["like a lock"]);
        assert_eq!(anomaly.severity, Severity::Low);
    }
}
