//! What makes a history smaller, step by step.

use crate::model::{Finding, PolicyEvent};
use crate::policy_tests::generate::gap_ms;
use crate::policy_tests::{Events, Known, Step, When};

/// Something that makes a history smaller.
#[derive(Debug, Clone, Copy)]
pub(super) enum Smaller {
    WithoutStep(usize),
    Plain(usize),
    Sooner(usize),
    WithoutFact(usize, usize),
    WithoutCandidate(usize, usize),
    UsualSeverity(usize),
}

/// Everything that might make a history smaller, the coarsest first.
pub(super) fn changes(events: &Events) -> Vec<Smaller> {
    let steps = &events.steps;
    let mut all: Vec<Smaller> = (0..steps.len()).rev().map(Smaller::WithoutStep).collect();
    for (number, step) in steps.iter().enumerate() {
        all.extend([Smaller::Plain(number), Smaller::Sooner(number)]);
        if let PolicyEvent::Finding(finding) = &step.event {
            let candidates = 0..finding.candidates.len();
            all.extend(candidates.map(|at| Smaller::WithoutCandidate(number, at)));
            let facts = 0..finding.facts.len();
            all.extend(facts.map(|at| Smaller::WithoutFact(number, at)));
            all.push(Smaller::UsualSeverity(number));
        }
    }
    all
}

impl Smaller {
    /// Whether it changed anything.
    pub(super) fn apply(self, steps: &mut Vec<Step>) -> bool {
        let finding = |step: &mut Step, change: &dyn Fn(&mut Finding) -> bool| match &mut step.event
        {
            PolicyEvent::Finding(finding) => change(finding),
            PolicyEvent::Outcome(_) | PolicyEvent::Tick => false,
        };
        match self {
            Self::WithoutStep(number) => {
                steps.remove(number);
                true
            }
            Self::Plain(number) => {
                let step = &mut steps[number];
                let is_new = step.known != Known::default();
                step.known = Known::default();
                is_new
            }
            Self::Sooner(number) => {
                let step = &mut steps[number];
                let is_new = gap_ms(step) > 1_000;
                step.when = When::After(1_000);
                is_new
            }
            Self::WithoutFact(number, at) => finding(&mut steps[number], &|finding| {
                finding.facts.remove(at);
                true
            }),
            Self::WithoutCandidate(number, at) => finding(&mut steps[number], &|finding| {
                finding.candidates.remove(at);
                true
            }),
            Self::UsualSeverity(number) => finding(&mut steps[number], &|finding| {
                let is_new = (finding.severity - 0.5).abs() > 0.0;
                finding.severity = 0.5;
                is_new
            }),
        }
    }
}
