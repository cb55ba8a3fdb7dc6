//! Generated histories: problems as they happen, again and again, with facts at and beside the edges that
//! rules have, repairs that end well or badly, and time that passes in steps of seconds or hours.
//!
//! What happens is taken from cases, the built-in policy's and the policy's own, and varied. The same seed
//! gives the same history, in every version that has the same cases.

use super::questions::typical_cases;
use super::{Case, Events, Known, Step, Story, When};
use crate::model::{
    Candidate, CascadeLevel, ConstraintState, DataLoss, EscalationLevel, Finding, Outcome,
    OutcomeResult, Parameter, PolicyEvent, RepairHistory, Value,
};

use super::coverage::number;
use super::read::words;

/// Times between two events, milliseconds.
const GAPS_MS: [u64; 9] = [
    0, 1_000, 5_000, 5_000, 60_000, 300_000, 600_000, 3_600_000, 86_400_000,
];
/// Most events of a history.
const STEPS: u64 = 24;

/// Numbers by chance, of a seed: `SplitMix64` (Steele, Lea and Flood 2014).
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// So often of a hundred times.
    fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }

    fn one<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let bound = all.len() as u64;
        all.get(usize::try_from(self.below(bound)).unwrap_or_default())
    }
}

/// What histories are made of.
pub(super) struct Corpus {
    findings: Vec<Finding>,
    constraints: Vec<ConstraintState>,
    metrics: Vec<(String, f64)>,
    gaps_ms: Vec<u64>,
    /// Numbers at which rules may have an edge.
    edges: Vec<f64>,
}

impl Corpus {
    /// From the cases of the built-in policy and others, and from a policy's parameters.
    pub(super) fn of(cases: &[&Case], parameters: &[Parameter]) -> Self {
        let mut corpus = Self {
            findings: Vec::new(),
            constraints: Vec::new(),
            metrics: Vec::new(),
            gaps_ms: GAPS_MS.to_vec(),
            edges: Vec::new(),
        };
        // They are read when dbmedic is tested: a mistake in them would show there.
        let typical = typical_cases().unwrap_or_default();
        let typical = typical.iter().flat_map(|file| &file.cases);
        for case in typical.chain(cases.iter().copied()) {
            if let Story::Events(events) = &case.story {
                events.steps.iter().for_each(|step| corpus.take(step));
            }
        }
        for parameter in parameters {
            let Some(edge) = number(&parameter.default) else {
                continue;
            };
            corpus.edges.push(edge);
            if parameter.name.ends_with("_ms") {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a time in milliseconds, below 2^53"
                )]
                let edge_ms = edge.max(0.0) as u64;
                corpus
                    .gaps_ms
                    .extend([edge_ms.saturating_sub(1), edge_ms, edge_ms + 1]);
            }
        }
        corpus
    }

    fn take(&mut self, step: &Step) {
        if let PolicyEvent::Finding(finding) = &step.event {
            self.findings.push(finding.clone());
        }
        self.constraints
            .extend(step.known.constraints.iter().cloned());
        self.metrics.extend(step.known.metrics.iter().cloned());
    }

    /// A history of a seed.
    pub(super) fn history(&self, seed: u64) -> Events {
        let mut chance = Chance::of(seed);
        let problems: Vec<Finding> = (0..=chance.below(3))
            .map(|_| self.problem(&mut chance))
            .collect();
        let mut steps = Vec::new();
        for number in 0..4 + chance.below(STEPS - 3) {
            let event = self.event(&problems, &mut chance);
            let gap_ms = chance.one(&self.gaps_ms).copied().unwrap_or_default();
            let mut step = Step::after(gap_ms, event);
            step.known = self.known(&problems, number == 0, &mut chance);
            steps.push(step);
        }
        // A repair that keeps failing.
        if chance.percent(30)
            && let Some(problem) = chance.one(&problems)
        {
            let at = usize::try_from(chance.below(steps.len() as u64)).unwrap_or_default();
            let failing = failing(problem, &mut chance);
            steps.splice(at..at, failing);
        }
        Events {
            steps,
            ..Events::default()
        }
    }

    /// A problem with facts at or beside the edges of rules.
    fn problem(&self, chance: &mut Chance) -> Finding {
        let Some(known) = chance.one(&self.findings) else {
            return made_up();
        };
        if chance.percent(3) {
            return made_up();
        }
        let mut problem = known.clone();
        problem.incident.clear();
        problem.facts.retain(|_| !chance.percent(6));
        for fact in &mut problem.facts {
            if chance.percent(30) {
                self.vary(&mut fact.value, chance);
            }
        }
        if chance.percent(40) {
            let severities = [0.0, 0.3, 0.49, 0.5, 0.69, 0.7, 0.79, 0.8, 0.95, 1.0];
            problem.severity = chance.one(&severities).copied().unwrap_or(0.5);
        }
        vary_candidates(&mut problem.candidates, chance);
        problem
    }

    fn vary(&self, value: &mut Value, chance: &mut Chance) {
        match value {
            Value::Boolean(flag) => *flag = !*flag,
            Value::Integer(whole) => {
                let is = *whole;
                #[allow(clippy::cast_possible_truncation, reason = "an edge lies below 2^53")]
                let edge = chance.one(&self.edges).map_or(is, |edge| *edge as i64);
                let all = [
                    is - 1,
                    is + 1,
                    0,
                    is.saturating_mul(10),
                    edge - 1,
                    edge,
                    edge + 1,
                ];
                *whole = chance.one(&all).copied().unwrap_or(is).clamp(0, 1 << 52);
            }
            Value::Number(number) => {
                let is = *number;
                let edge = chance.one(&self.edges).copied().unwrap_or(is);
                let all = [
                    is * 0.99,
                    is * 1.01,
                    0.0,
                    is * 10.0,
                    edge * 0.99,
                    edge,
                    edge * 1.01,
                ];
                *number = chance.one(&all).copied().unwrap_or(is);
            }
            Value::Text(_) | Value::Integers(_) | Value::Texts(_) => {}
        }
    }

    fn event(&self, problems: &[Finding], chance: &mut Chance) -> PolicyEvent {
        let Some(problem) = chance.one(problems) else {
            return PolicyEvent::Tick;
        };
        match chance.below(100) {
            0..20 => PolicyEvent::Tick,
            20..45 => match chance.one(&problem.candidates) {
                Some(candidate) => {
                    PolicyEvent::Outcome(outcome(problem, candidate, result(chance)))
                }
                None => PolicyEvent::Finding(problem.clone()),
            },
            45..55 => {
                let mut worse = problem.clone();
                for fact in &mut worse.facts {
                    if chance.percent(20) {
                        self.vary(&mut fact.value, chance);
                    }
                }
                PolicyEvent::Finding(worse)
            }
            _ => PolicyEvent::Finding(problem.clone()),
        }
    }

    fn known(&self, problems: &[Finding], is_first: bool, chance: &mut Chance) -> Known {
        let mut known = Known::default();
        if is_first && chance.percent(40) {
            let levels = [
                EscalationLevel::Watch,
                EscalationLevel::Warn,
                EscalationLevel::Escalate,
            ];
            known.level = chance.one(&levels).copied();
        }
        if chance.percent(10) {
            known.metrics.extend(chance.one(&self.metrics).cloned());
        }
        if chance.percent(10) {
            known
                .constraints
                .extend(chance.one(&self.constraints).cloned());
        }
        if is_first
            && chance.percent(30)
            && let Some(problem) = chance.one(problems)
            && let Some(candidate) = chance.one(&problem.candidates)
        {
            let failures = u32::try_from(chance.below(5)).unwrap_or_default();
            known.repairs.push(RepairHistory {
                kind: problem.kind.clone(),
                repair: candidate.id.clone(),
                successes: u32::try_from(chance.below(5)).unwrap_or_default(),
                failures,
                failures_in_a_row: failures,
                last_ms: 0,
            });
        }
        known
    }
}

/// A problem that nobody has a rule for.
fn made_up() -> Finding {
    Finding {
        incident: String::new(),
        kind: "made-up.problem".into(),
        subject: words::SUBJECT.into(),
        summary: "made-up.problem".into(),
        severity: 0.5,
        first_seen_ms: 0,
        last_seen_ms: 0,
        sightings: 0,
        facts: Vec::new(),
        evidence: Vec::new(),
        candidates: vec![words::offered("made-up.repair".into())],
    }
}

/// Repairs go missing, have to wait, stand in another order, or stand behind one that loses much.
fn vary_candidates(candidates: &mut Vec<Candidate>, chance: &mut Chance) {
    candidates.retain(|_| !chance.percent(10));
    for candidate in candidates.iter_mut() {
        // What the host would not offer at all is not plausible.
        let loss = &mut candidate.expected_loss;
        loss.commits = loss.commits.min(5);
        loss.percent = loss.percent.min(1.0);
        if chance.percent(5) {
            candidate.preconditions.push(crate::model::Precondition {
                name: "made-up".into(),
                holds: false,
                detail: "as the case says".into(),
            });
        }
    }
    if !candidates.is_empty() && chance.percent(40) {
        let lossy = Candidate {
            level: CascadeLevel::Rebuild,
            expected_loss: DataLoss::of(100_000, 90.0),
            undoable: false,
            ..words::offered("made-up.begin-anew".into())
        };
        let at = usize::try_from(chance.below(2)).unwrap_or_default();
        candidates.insert(at.min(candidates.len()), lossy);
    }
}

fn result(chance: &mut Chance) -> OutcomeResult {
    match chance.below(10) {
        0..4 => OutcomeResult::Verified,
        4..7 => OutcomeResult::RolledBack,
        7..9 => OutcomeResult::Failed,
        _ => OutcomeResult::Refused,
    }
}

fn outcome(problem: &Finding, candidate: &Candidate, result: OutcomeResult) -> Outcome {
    Outcome {
        incident: String::new(),
        kind: problem.kind.clone(),
        subject: problem.subject.clone(),
        repair: candidate.id.clone(),
        outcome_result: result,
        reason: "as the case says".into(),
        duration_ms: words::DURATION_MS,
        loss: DataLoss::NONE,
        notes: Vec::new(),
    }
}

/// The same repair of a problem fails three to five times, and the problem is still there.
fn failing(problem: &Finding, chance: &mut Chance) -> Vec<Step> {
    let Some(candidate) = chance.one(&problem.candidates) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    for _ in 0..3 + chance.below(3) {
        let failed = outcome(problem, candidate, OutcomeResult::RolledBack);
        steps.push(Step::after(5_000, PolicyEvent::Finding(problem.clone())));
        steps.push(Step::after(1_000, PolicyEvent::Outcome(failed)));
    }
    steps.push(Step::after(5_000, PolicyEvent::Finding(problem.clone())));
    steps
}

/// A gap between two events; 0 where it is said otherwise.
pub(super) fn gap_ms(step: &Step) -> u64 {
    match step.when {
        When::After(after_ms) => after_ms,
        When::SinceBegin(_) | When::Local(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_history_again() {
        let corpus = Corpus::of(&[], &[]);
        assert!(corpus.findings.len() > 50, "{}", corpus.findings.len());
        assert_eq!(corpus.history(7), corpus.history(7));
        assert_ne!(corpus.history(7), corpus.history(8));
        let lossy = (0..200).flat_map(|seed| corpus.history(seed).steps);
        let lossy = lossy.filter(|step| match &step.event {
            PolicyEvent::Finding(finding) => finding
                .candidates
                .iter()
                .any(|c| c.expected_loss.percent > 5.0),
            _ => false,
        });
        assert!(lossy.count() > 20);
    }
}
