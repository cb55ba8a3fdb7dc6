//! From what was seen to what is wrong: observations in, findings with their facts and the repairs
//! that the host offers out.
//!
//! A pure stage. It states facts and preconditions; it never says how bad a problem is for the
//! operator or what should be done about it: that is the policy's part.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::constraint::CheckedConstraint;
use crate::model::{Anomaly, Candidate, ConstraintStatus, Fact, Finding, Severity, Value};
use crate::signature::Ranking;
use crate::source::{Observation, State};

mod sqlite;

/// What the stage needs to know beside the observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiagnoseOptions {
    /// From when on a write lock without progress is a finding, milliseconds.
    pub lock_hold_ms: u64,
    /// From when on a reader that holds the log back is a finding, milliseconds.
    pub reader_hold_ms: u64,
    /// How old a snapshot may be to count as recent, milliseconds.
    pub snapshot_recent_ms: u64,
    /// Names of processes that a repair may end.
    pub may_end: Vec<String>,
    /// Between two observations, milliseconds.
    #[serde(default = "usual_sample_interval_ms")]
    pub sample_interval_ms: u64,
}

fn usual_sample_interval_ms() -> u64 {
    1000
}

impl DiagnoseOptions {
    /// How long locks must be looked at until any that is a problem has shown, milliseconds.
    pub fn hold_ms(&self) -> u64 {
        self.lock_hold_ms.max(self.reader_hold_ms)
    }

    /// More time than this between two observations is a gap in which anything may have happened,
    /// milliseconds: five intervals, and no less than two seconds, which a busy machine takes.
    pub fn gap_ms(&self) -> u64 {
        self.sample_interval_ms.saturating_mul(5).max(2000)
    }
}

/// A problem as seen in one observation, before it belongs to an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// Open, dotted, stable identifier of the problem.
    pub kind: String,
    /// What is affected.
    pub subject: String,
    /// One line for a person.
    pub summary: String,
    /// 0 is harmless, 1 is as bad as it gets.
    pub severity: f64,
    /// The particulars.
    pub facts: Vec<Fact>,
    /// The series whose anomalies belong to it.
    pub series: &'static [&'static str],
    /// What the host can do about it.
    pub candidates: Vec<Candidate>,
}

impl Diagnosis {
    /// For a problem that is judged by its age, how old it is, milliseconds.
    pub fn age_ms(&self) -> Option<u64> {
        let is_age = |fact: &&Fact| matches!(fact.name.as_str(), "age_ms" | "reader_age_ms");
        match self.facts.iter().find(is_age)?.value {
            Value::Integer(age_ms) => u64::try_from(age_ms).ok(),
            _ => None,
        }
    }
}

/// A part of the target that an observation looked at. A problem is over only when the part in
/// which it would show was looked at and it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Whether the target can be looked at.
    Reach,
    /// The files and their headers.
    Files,
    /// Locks and the wal-index.
    Locks,
    /// What processes have open.
    Descriptors,
    /// Whether a log or a journal belongs to the file beside it.
    Belonging,
    /// The frames of the log.
    LogFrames,
    /// The pages of the database.
    Pages,
    /// Whether the indexes agree with their tables.
    Indexes,
    /// Whether the rows hold to the rules of the schema.
    Rules,
    /// The measured values.
    Metrics,
}

/// The kind of an anomaly that no diagnosed problem explains.
pub const UNEXPLAINED: &str = "anomaly.unexplained";

/// Looks that an anomaly must last without an explanation to become an incident of its own: most
/// problems show in the values a look or two before they can be diagnosed.
pub const UNEXPLAINED_AFTER: u32 = 3;

/// The part in which a kind of problem shows.
pub fn part_of(kind: &str) -> Part {
    match kind {
        "target.unreachable" => Part::Reach,
        "wal.corrupt-frame" => Part::LogFrames,
        "wal.unlinked" | "file.unlinked" | "lock.lost" | "wal.elsewhere" => Part::Descriptors,
        "wal.foreign" | "journal.foreign" | "journal.hot" => Part::Belonging,
        "schema.emptied" => Part::Files,
        "wal.oversized" | "constraint.violated" | UNEXPLAINED => Part::Metrics,
        _ => match kind.split('.').next() {
            Some("lock" | "wal") => Part::Locks,
            Some("index" | "fulltext" | "virtual-table") => Part::Indexes,
            Some("rule") => Part::Rules,
            Some("table" | "schema" | "pages") => Part::Pages,
            _ => Part::Files,
        },
    }
}

/// How long locks must be followed until a problem of this kind would show, milliseconds, when
/// others show after `hold_ms`.
pub fn shows_after_ms(kind: &str, hold_ms: u64) -> u64 {
    match kind {
        "lock.long-holder" => hold_ms.max(sqlite::LONG_HOLD_MS),
        _ => hold_ms,
    }
}

/// Whether the files are to be copied as they are when this problem is first seen: they do not belong
/// together, and the next program that opens them changes or deletes one of them.
pub fn calls_for_copies(finding: &Finding) -> bool {
    match finding.kind.as_str() {
        "wal.foreign" | "journal.foreign" => true,
        "file.emptied" => finding
            .facts
            .iter()
            .any(|fact| fact.name == "held_beside" && fact.value == Value::Boolean(true)),
        _ => false,
    }
}

/// What one observation came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    /// The problems seen.
    pub problems: Vec<Diagnosis>,
    /// The parts that were looked at.
    pub examined: BTreeSet<Part>,
}

/// Remembers from look to look what a single look cannot show: since when a lock is held.
#[derive(Debug, Clone, Default)]
pub struct Diagnostician {
    sqlite: sqlite::Memory,
}

impl Diagnostician {
    /// Diagnoses one observation, with where the target's constraints stand after it.
    pub fn diagnose(
        &mut self,
        seen: &Observation,
        constraints: &[CheckedConstraint],
        options: &DiagnoseOptions,
    ) -> Findings {
        let mut findings = match &seen.state {
            State::Sqlite(state) => self.sqlite.diagnose(seen, state, constraints, options),
            // Its constraints and anomalies are all there is to say.
            State::Samples => Findings {
                problems: Vec::new(),
                examined: BTreeSet::from([Part::Reach]),
            },
            State::Unreachable { reason } => Findings {
                problems: vec![Diagnosis {
                    kind: "target.unreachable".into(),
                    subject: "target".into(),
                    summary: format!("the target cannot be looked at: {reason}"),
                    severity: 0.8,
                    facts: vec![text("reason", reason)],
                    series: &[],
                    candidates: Vec::new(),
                }],
                examined: BTreeSet::from([Part::Reach]),
            },
        };
        if !seen.samples.is_empty() {
            // Of a target that cannot be looked at only the host was measured: what its own values
            // said is not over.
            if !matches!(seen.state, State::Unreachable { .. }) {
                findings.examined.insert(Part::Metrics);
            }
            // The log of a database that is looked at has a kind of problem of its own.
            let own_kind =
                |metric: &str| metric == sqlite::LOG_BYTES && !matches!(seen.state, State::Samples);
            let constraints = constraints.iter().filter(|c| !own_kind(&c.state.metric));
            findings.problems.extend(constraints.filter_map(violated));
        }
        findings
    }
}

/// An anomaly that no diagnosed problem explains. `series` carried it most when it began; `recent`
/// are the anomalous looks of the last minute, and those among them that errors carry. `ranking` is
/// how it compares with the known signatures, where it was compared.
pub fn unexplained(
    anomaly: &Anomaly,
    series: &str,
    recent: (usize, usize),
    ranking: Option<&Ranking>,
) -> Diagnosis {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let left = || format!("`{series}` left its normal range");
    let summary = match (
        ranking.and_then(Ranking::diagnosis),
        anomaly.reasons.first(),
    ) {
        (Some(best), reason) => format!(
            "this looks like `{}` ({:.2}): {}",
            best.name,
            best.confidence,
            reason.map_or_else(left, Clone::clone)
        ),
        (None, Some(reason)) => format!("no known problem explains this: {reason}"),
        (None, None) => left(),
    };
    let mut facts = vec![
        text("series", series),
        number("confidence", anomaly.confidence),
        integer("series_count", count(anomaly.series.len())),
        integer("anomalies_last_minute", count(recent.0)),
        integer("error_anomalies_last_minute", count(recent.1)),
    ];
    facts.extend(ranking.into_iter().flat_map(signature_facts));
    Diagnosis {
        kind: UNEXPLAINED.into(),
        subject: series.into(),
        summary,
        severity: match anomaly.severity {
            Severity::Low => 0.3,
            Severity::Medium => 0.5,
            Severity::High => 0.7,
        },
        facts,
        series: &[],
        candidates: Vec::new(),
    }
}

/// The signature that fits and the one after it, each with its probability; none below the bar of a
/// diagnosis. The probability that it is none of the known ones is always told.
fn signature_facts(ranking: &Ranking) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(best) = ranking.diagnosis() {
        facts.push(text("signature_best", &best.name));
        facts.push(number("signature_confidence", best.confidence));
        if let Some(second) = ranking.matches.get(1) {
            facts.push(text("signature_second", &second.name));
            facts.push(number("signature_second_confidence", second.confidence));
        }
    }
    facts.push(number("signature_none", ranking.none));
    facts
}

/// A bound that is violated.
fn violated(constraint: &CheckedConstraint) -> Option<Diagnosis> {
    let CheckedConstraint { state, auto_fix } = constraint;
    if state.status == ConstraintStatus::Ok {
        return None;
    }
    let bound = constraint.nearest_bound()?;
    Some(Diagnosis {
        kind: "constraint.violated".into(),
        subject: state.name.clone(),
        summary: format!(
            "`{}` is {:.0}, its bound {bound:.0} is used to {:.0} %",
            state.metric,
            state.value,
            state.utilization * 100.0
        ),
        severity: if state.status == ConstraintStatus::Critical {
            0.7
        } else {
            0.4
        },
        facts: vec![
            text("constraint", &state.name),
            text("metric", &state.metric),
            number("value", state.value),
            number("bound", bound),
            number("utilization", state.utilization),
            boolean("auto_fix", *auto_fix),
        ],
        series: &[],
        candidates: Vec::new(),
    })
}

/// A fact that is a whole number. Larger than 2^53 is held there, as the contract asks.
pub fn integer(name: &str, value: u64) -> Fact {
    const LARGEST: u64 = 1 << 53;
    let value = i64::try_from(value.min(LARGEST)).unwrap_or(i64::MAX);
    Fact {
        name: name.into(),
        value: Value::Integer(value),
    }
}

/// A fact that is a finite number.
pub fn number(name: &str, value: f64) -> Fact {
    let value = if value.is_finite() { value } else { 0.0 };
    Fact {
        name: name.into(),
        value: Value::Number(value),
    }
}

/// A fact that is true or false.
pub fn boolean(name: &str, value: bool) -> Fact {
    Fact {
        name: name.into(),
        value: Value::Boolean(value),
    }
}

/// A fact that is text.
pub fn text(name: &str, value: &str) -> Fact {
    Fact {
        name: name.into(),
        value: Value::Text(value.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ConstraintState;
    use crate::source::Sample;

    pub(super) const OPTIONS: DiagnoseOptions = DiagnoseOptions {
        lock_hold_ms: 1000,
        reader_hold_ms: 1000,
        snapshot_recent_ms: 60_000,
        may_end: Vec::new(),
        sample_interval_ms: 1000,
    };

    /// A bound of 1 at a value of 2.
    pub(super) fn violated_bound(name: &str, metric: &str, auto_fix: bool) -> CheckedConstraint {
        CheckedConstraint {
            state: ConstraintState {
                name: name.into(),
                metric: metric.into(),
                value: 2.0,
                lower: None,
                upper: Some(1.0),
                utilization: 2.0,
                status: ConstraintStatus::Critical,
                violations_ms: Vec::new(),
            },
            auto_fix,
        }
    }

    /// The violated bounds that are told of a target in this state, and whether they may be mended.
    fn violated(state: State, auto_fix: bool) -> Vec<(String, bool)> {
        let seen = Observation {
            target: "shop".into(),
            at_ms: 0,
            samples: vec![Sample {
                series: "queue".into(),
                value: 2.0,
            }],
            snapshot_at_ms: None,
            state,
        };
        let bounds = [
            violated_bound("wal_size", "wal_bytes", auto_fix),
            violated_bound("queue", "queue", auto_fix),
        ];
        let found = Diagnostician::default().diagnose(&seen, &bounds, &OPTIONS);
        let told = found.problems.into_iter();
        told.filter(|problem| problem.kind == "constraint.violated")
            .map(|problem| {
                let fact = problem.facts.iter().find(|f| f.name == "auto_fix").unwrap();
                (problem.subject, fact.value == Value::Boolean(true))
            })
            .collect()
    }

    #[test]
    fn what_is_measured_of_the_host_says_nothing_of_a_target_out_of_reach() {
        let unreachable = State::Unreachable {
            reason: "gone".into(),
        };
        let sqlite = State::Sqlite(crate::sqlite_state::SqliteState::default());
        for (state, examined) in [(State::Samples, true), (sqlite, true), (unreachable, false)] {
            let seen = Observation {
                target: "shop".into(),
                at_ms: 0,
                samples: vec![Sample {
                    series: "disk_free_bytes".into(),
                    value: 2.0,
                }],
                snapshot_at_ms: None,
                state,
            };
            let found = Diagnostician::default().diagnose(&seen, &[], &OPTIONS);
            assert_eq!(found.examined.contains(&Part::Metrics), examined);
        }
    }

    #[test]
    fn the_log_has_a_kind_of_its_own_where_there_are_files() {
        let unreachable = State::Unreachable {
            reason: "gone".into(),
        };
        for (state, subjects) in [
            (
                State::Sqlite(crate::sqlite_state::SqliteState::default()),
                &["queue"][..],
            ),
            (unreachable, &["queue"]),
            (State::Samples, &["wal_size", "queue"]),
        ] {
            for auto_fix in [false, true] {
                let expected: Vec<_> = subjects.iter().map(|s| ((*s).into(), auto_fix)).collect();
                assert_eq!(violated(state.clone(), auto_fix), expected);
            }
        }
    }
}
