//! What a candidate in the shadow would have decided otherwise.
//!
//! Counts are kept for every pair of verdicts by class, level and repair; examples for a few, so
//! that a shadow of any length stays small.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Classification, EscalationLevel, PolicyEvent, Verdict};
use crate::policy::Decision;

/// Examples that are kept.
const EXAMPLES: usize = 16;
/// Different pairs that are counted apart; more are counted together.
const PAIRS: usize = 256;

/// What counts of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Essence {
    /// What the problem means; none for a tick.
    pub classification: Option<String>,
    /// Who must know.
    pub level: String,
    /// The repair that it chose.
    pub repair: Option<String>,
    /// Whether it stops first.
    pub halt: bool,
}

impl From<&Verdict> for Essence {
    fn from(verdict: &Verdict) -> Self {
        let class = |class| match class {
            Classification::Hiccup => "hiccup",
            Classification::Obstacle => "obstacle",
            Classification::Wall => "wall",
            Classification::Crisis => "crisis",
        };
        let level = match verdict.level {
            EscalationLevel::Normal => "normal",
            EscalationLevel::Watch => "watch",
            EscalationLevel::Warn => "warn",
            EscalationLevel::Escalate => "escalate",
        };
        Self {
            classification: verdict.classification.map(|c| class(c).to_owned()),
            level: level.to_owned(),
            repair: verdict.repair.clone(),
            halt: verdict.halt,
        }
    }
}

/// A verdict beside another: of the policy in service, and of the candidate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    /// Of the policy in service.
    pub present: Essence,
    /// Of the candidate.
    pub candidate: Essence,
}

/// One event on which the two differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The target.
    pub target: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What was to be judged, in a few words.
    pub about: String,
    /// The verdicts.
    #[serde(flatten)]
    pub pair: Pair,
    /// Why the candidate says so, its first reason.
    pub because: Option<String>,
}

/// How often a pair was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The verdicts.
    #[serde(flatten)]
    pub pair: Pair,
    /// How often.
    pub decisions: u64,
}

/// A shadow so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    decisions: u64,
    differences: u64,
    failures: u64,
    first_failure: Option<String>,
    longest: Duration,
    pairs: BTreeMap<Pair, u64>,
    uncounted: u64,
    examples: Vec<Example>,
}

/// A shadow so far, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparisonReport {
    /// Decisions that both took.
    pub decisions: u64,
    /// On how many they differ in class, level, repair or halt.
    pub differences: u64,
    /// On how many the candidate failed.
    pub failures: u64,
    /// The first of these failures.
    pub first_failure: Option<String>,
    /// The longest that the candidate took, microseconds.
    pub longest_us: u64,
    /// Every pair of verdicts, equal ones included, the most frequent first.
    pub matrix: Vec<Count>,
    /// Decisions whose pair is not in the matrix for want of room.
    pub uncounted: u64,
    /// Some events on which they differ, the first ones.
    pub examples: Vec<Example>,
}

impl Comparison {
    /// Takes up one decision: what the policy in service said, and what the candidate did.
    pub fn add(
        &mut self,
        target: &str,
        at_ms: u64,
        event: &PolicyEvent,
        present: &Verdict,
        candidate: &Decision,
    ) {
        self.decisions += 1;
        self.longest = self.longest.max(candidate.duration);
        if let Some(failure) = candidate.failure.as_ref().filter(|f| f.is_misbehaviour()) {
            self.failures += 1;
            self.first_failure
                .get_or_insert_with(|| failure.to_string());
        }
        let pair = Pair {
            present: present.into(),
            candidate: (&candidate.verdict).into(),
        };
        let differs = pair.present != pair.candidate;
        self.differences += u64::from(differs);
        if differs && self.examples.len() < EXAMPLES {
            let reasons = &candidate.verdict.reasons;
            self.examples.push(Example {
                target: target.to_owned(),
                at_ms,
                about: about(event),
                pair: pair.clone(),
                because: reasons.first().map(|r| format!("{} ({})", r.text, r.rule)),
            });
        }
        if self.pairs.len() < PAIRS || self.pairs.contains_key(&pair) {
            *self.pairs.entry(pair).or_default() += 1;
        } else {
            self.uncounted += 1;
        }
    }

    /// Takes up what was compared after this.
    pub fn merge(&mut self, later: Self) {
        self.decisions += later.decisions;
        self.differences += later.differences;
        self.failures += later.failures;
        self.first_failure = self.first_failure.take().or(later.first_failure);
        self.longest = self.longest.max(later.longest);
        self.uncounted += later.uncounted;
        for (pair, decisions) in later.pairs {
            if self.pairs.len() < PAIRS || self.pairs.contains_key(&pair) {
                *self.pairs.entry(pair).or_default() += decisions;
            } else {
                self.uncounted += decisions;
            }
        }
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(later.examples.into_iter().take(room));
    }

    /// Decisions so far.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// The candidate's failures so far, and the first of them.
    pub fn failures(&self) -> (u64, Option<&str>) {
        (self.failures, self.first_failure.as_deref())
    }

    /// The share of decisions that differ, percent.
    pub fn difference_percent(&self) -> f64 {
        if self.decisions == 0 {
            return 0.0;
        }
        #[allow(clippy::cast_precision_loss, reason = "a share for a threshold")]
        let share = self.differences as f64 / self.decisions as f64;
        share * 100.0
    }

    /// As it is shown.
    pub fn report(&self) -> ComparisonReport {
        let mut matrix: Vec<Count> = self
            .pairs
            .iter()
            .map(|(pair, decisions)| Count {
                pair: pair.clone(),
                decisions: *decisions,
            })
            .collect();
        matrix.sort_by(|a, b| b.decisions.cmp(&a.decisions).then(a.pair.cmp(&b.pair)));
        ComparisonReport {
            decisions: self.decisions,
            differences: self.differences,
            failures: self.failures,
            first_failure: self.first_failure.clone(),
            longest_us: u64::try_from(self.longest.as_micros()).unwrap_or(u64::MAX),
            matrix,
            uncounted: self.uncounted,
            examples: self.examples.clone(),
        }
    }
}

/// An event in a few words.
pub fn about(event: &PolicyEvent) -> String {
    match event {
        PolicyEvent::Finding(finding) => {
            format!(
                "{} {} on {}",
                finding.incident, finding.kind, finding.subject
            )
        }
        PolicyEvent::Outcome(outcome) => {
            format!("{} outcome of {}", outcome.incident, outcome.repair)
        }
        PolicyEvent::Tick => "tick".to_owned(),
    }
}
