//! An ordinary policy: it looks at every metric, constraint, repair and candidate that it is
//! given, chooses a repair, gives three reasons and remembers 64 bytes.
//!
//! The benches run it as a component and natively, and beside the same rules in other languages
//! (`tests/bench/benches/peers`): a rule changed here is changed there too.

use dbmedic_policy::{
    Answer, Candidate, Classification, ConstraintState, EscalationLevel, Metric, Policy, Reason,
    Situation, export_policy, parameters, reason,
};
use serde::{Deserialize, Serialize};

parameters! {
    /// What the operator may set.
    pub struct Parameters {
        /// Utilisation from which a constraint is pressed, percent.
        pub pressed_percent: u64 = 80, 1..=100;
        /// Value from which a metric in milliseconds is slow.
        pub slow_ms: u64 = 500, 1..=60_000;
        /// Severity from which a problem without a repair is a wall, percent.
        pub wall_percent: u64 = 50, 1..=100;
        /// Sightings from which a problem is no hiccup any more.
        pub hiccup_sightings: u64 = 5, 1..=1_000;
        /// Failures in a row after which a repair is not chosen again.
        pub failures_in_a_row: u64 = 3, 1..=100;
        /// The most commits that a chosen repair may lose.
        pub loss_commits: u64 = 100, 0..=1_000_000;
    }
}

/// What is carried from one event to the next: with its header 64 bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Events judged, modulo 128.
    pub events: u8,
    /// The severities seen latest, percent, the newest first.
    pub severities: [u8; 32],
    /// The sightings seen latest, modulo 256, the newest first.
    pub sightings: [u8; 22],
}

/// The policy.
pub struct Typical;

impl Policy for Typical {
    type Parameters = Parameters;
    type Memory = Memory;
    const NAME: &'static str = "typical";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "A few rules of the ordinary kind, to measure by.";

    fn decide(case: &Situation<'_, Parameters>, memory: &mut Memory) -> Result<Answer, Reason> {
        let mut answer = Answer::at(case.context.level);
        let Some(finding) = case.finding() else {
            return Ok(answer);
        };
        let parameters = case.parameters;
        let severity = percent(finding.severity);
        remember(memory, severity, finding.sightings);

        let pressed = pressed(&case.context.constraints, parameters.pressed_percent);
        let slow = slow(&case.context.metrics, parameters.slow_ms);
        let choice = finding.candidates.iter().find(|c| may_try(c, case));

        let class = match choice {
            _ if pressed >= 4 => Classification::Crisis,
            None if severity >= parameters.wall_percent => Classification::Wall,
            None => Classification::Obstacle,
            Some(_) if u64::from(finding.sightings) >= parameters.hiccup_sightings => {
                Classification::Obstacle
            }
            Some(_) => Classification::Hiccup,
        };
        answer.classify(class);
        answer.at_least(match class {
            Classification::Hiccup => EscalationLevel::Watch,
            Classification::Obstacle => EscalationLevel::Warn,
            Classification::Wall | Classification::Crisis => EscalationLevel::Escalate,
        });
        answer.because(reason!(
            "typical.seen",
            "{} on {} was seen {} times, severity {severity} %",
            finding.kind,
            finding.subject,
            finding.sightings
        ));
        answer.because(reason!(
            "typical.pressure",
            "{pressed} of {} constraints are pressed, {slow} of {} metrics are slow",
            case.context.constraints.len(),
            case.context.metrics.len()
        ));
        if let Some(candidate) = choice.filter(|_| class != Classification::Crisis) {
            let successes = case
                .history(&finding.kind, &candidate.id)
                .map_or(0, |history| history.successes);
            answer.repair(&candidate.id, 0.9);
            answer.because(reason!(
                "typical.repair",
                "{} succeeded {successes} times and takes {} ms",
                candidate.id,
                candidate.expected_duration_ms
            ));
        } else {
            answer.because(reason!(
                "typical.no-repair",
                "none of the offered repairs may be tried"
            ));
        }
        Ok(answer)
    }
}

fn may_try(candidate: &Candidate, case: &Situation<'_, Parameters>) -> bool {
    let kind = case.finding().map_or("", |finding| finding.kind.as_str());
    let failures = case
        .history(kind, &candidate.id)
        .map_or(0, |history| history.failures_in_a_row);
    candidate.preconditions.iter().all(|p| p.holds)
        && candidate.expected_loss.commits <= case.parameters.loss_commits
        && u64::from(failures) < case.parameters.failures_in_a_row
}

fn pressed(constraints: &[ConstraintState], from_percent: u64) -> usize {
    let pressed = |c: &&ConstraintState| percent(c.utilization) >= from_percent;
    constraints.iter().filter(pressed).count()
}

fn slow(metrics: &[Metric], from_ms: u64) -> usize {
    #[allow(clippy::cast_precision_loss, reason = "a minute at most")]
    let slow = |m: &&Metric| m.name.ends_with("_ms") && m.value >= from_ms as f64;
    metrics.iter().filter(slow).count()
}

fn remember(memory: &mut Memory, severity: u64, sightings: u32) {
    memory.events = (memory.events + 1) % 128;
    memory.severities.rotate_right(1);
    memory.severities[0] = u8::try_from(severity).unwrap_or(u8::MAX);
    memory.sightings.rotate_right(1);
    memory.sightings[0] = sightings.to_le_bytes()[0];
}

/// A share as a whole number of percent.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is not negative, and what is too large saturates"
)]
fn percent(share: f64) -> u64 {
    (share * 100.0).round() as u64
}

export_policy!(Typical);
