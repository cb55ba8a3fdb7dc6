//! The record of an anomaly: what each method says, how sure all of them are together, and reasons
//! that a person understands.

use super::{DEVIATIONS, MAD_TO_SIGMA};
use crate::model::{Anomaly, BaselineSummary, DetectionMethod, MethodScore, Severity};

/// A series that carries an anomaly.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    pub(super) name: &'a str,
    pub(super) value: f64,
    /// Robust deviations, signed.
    pub(super) deviation: f64,
    pub(super) normal: BaselineSummary,
}

/// The anomaly that these series carry, strongest first.
pub(super) fn of(at_ms: u64, carriers: &[Carrier<'_>]) -> Anomaly {
    let strongest = carriers.first().map_or(0.0, |c| c.deviation.abs());
    let mut anomaly = Anomaly {
        at_ms,
        series: carriers.iter().map(|c| c.name.to_owned()).collect(),
        scores: Vec::new(),
        confidence: 0.0,
        severity: Severity::Low,
        reasons: carriers.iter().map(reason).collect(),
    };
    let score = strongest / (strongest + DEVIATIONS);
    add_score(&mut anomaly, DetectionMethod::Statistical, score, None);
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
        deviation,
        normal,
    } = carrier;
    let reach = 2.0 * MAD_TO_SIGMA * normal.mad;
    format!(
        "`{name}` {}, normal {} to {} ({:.0} deviations off)",
        short(*value),
        short(normal.median - reach),
        short(normal.median + reach),
        deviation.abs(),
    )
}

/// A number as a person reads it.
fn short(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
