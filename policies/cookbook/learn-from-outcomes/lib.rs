//! Chooses the repair that has helped most often here: each outcome is remembered, and what fails more than it helps is
//! left to a person.

use std::collections::BTreeMap;

use dbmedic_policy::serde::{Deserialize, Serialize};
use dbmedic_policy::{
    Answer, Classification, Event, OutcomeResult, Policy, Situation, export_policy, not_judged,
    parameters, reason,
};

parameters! {
    /// What the operator may set.
    pub struct Parameters {
        /// A repair that helped in fewer of 100 cases is not chosen any more, once it was tried three times.
        pub least_percent: u64 = 50, 0..=100;
    }
}

/// Tries after which a share counts.
const TRIES: u32 = 3;
/// Repairs of kinds of problems that are remembered.
const MOST: usize = 64;

/// How often a repair was tried, and how often it helped.
#[derive(Default, Clone, Copy, Serialize, Deserialize)]
#[serde(crate = "dbmedic_policy::serde")]
pub struct Record {
    tried: u32,
    helped: u32,
}

impl Record {
    /// The share in which it helped, percent; an untried one counts as likely as not.
    fn percent(self) -> u64 {
        u64::from((self.helped + 1) * 100 / (self.tried + 2))
    }
}

/// What became of repairs, by kind of problem and repair.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "dbmedic_policy::serde")]
pub struct Memory {
    records: BTreeMap<String, Record>,
}

/// The policy.
pub struct LearnFromOutcomes;

fn key(kind: &str, repair: &str) -> String {
    format!("{kind} {repair}")
}

impl Policy for LearnFromOutcomes {
    type Parameters = Parameters;
    type Memory = Memory;
    const NAME: &'static str = "learn-from-outcomes";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Chooses the repair that has helped most often here.";

    fn classify(case: &Situation<'_, Parameters>, memory: &mut Memory, answer: &mut Answer) {
        if let Event::Outcome(outcome) = case.event {
            let key = key(&outcome.kind, &outcome.repair);
            if memory.records.len() < MOST || memory.records.contains_key(&key) {
                let record = memory.records.entry(key).or_default();
                match outcome.outcome_result {
                    OutcomeResult::Verified => {
                        record.tried += 1;
                        record.helped += 1;
                    }
                    OutcomeResult::RolledBack | OutcomeResult::Failed => record.tried += 1,
                    // It was never begun.
                    OutcomeResult::Refused => {}
                }
            }
            return;
        }
        match case.finding() {
            Some(finding) if !finding.candidates.is_empty() => {
                answer.classify(Classification::Obstacle).because(reason!(
                    "problem.repairable",
                    "{}",
                    finding.summary
                ));
            }
            _ => not_judged(case, answer),
        }
    }

    fn choose(case: &Situation<'_, Parameters>, memory: &mut Memory, answer: &mut Answer) {
        let Some(finding) = case.finding() else {
            return;
        };
        let ready = finding
            .candidates
            .iter()
            .filter(|it| it.preconditions.iter().all(|one| one.holds));
        let known = ready.map(|candidate| {
            let record = memory.records.get(&key(&finding.kind, &candidate.id));
            (record.copied().unwrap_or_default(), candidate)
        });
        // Of equal ones the first, which the host thinks least of harm.
        let best = known.rev().max_by_key(|(record, _)| record.percent());
        let Some((record, candidate)) = best else {
            return;
        };
        let percent = record.percent();
        if record.tried >= TRIES && percent < case.parameters.least_percent {
            answer.because(reason!(
                "repair.seldom-helps",
                "{} helped in {} of {} cases",
                candidate.id,
                record.helped,
                record.tried
            ));
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most a hundred")]
        answer
            .repair(&candidate.id, percent as f64 / 100.0)
            .because(reason!(
                "repair.best",
                "{} helped in {} of {} cases",
                candidate.id,
                record.helped,
                record.tried
            ));
    }
}

export_policy!(LearnFromOutcomes);
